#!/bin/bash
# ops_doc.sh - docs/ops.md and docs/rules.md are what the tool makes from the schemas.
set -u
: "${WEFT:?the tool to test}"
failed=0

current() { # FILE ARGUMENT...
    local file=$1
    shift
    if ! "$WEFT" ops "$@" | diff "$file" - >/dev/null; then
        echo "FAILED: $file is out of date; make it again: weft ops $* > $file"
        "$WEFT" ops "$@" | diff "$file" - | head -20
        failed=1
    fi
}

current docs/ops.md --markdown
current docs/rules.md --rules --markdown
exit $failed
