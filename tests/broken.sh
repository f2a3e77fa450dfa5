#!/bin/bash
# broken.sh - every broken input of tests/broken gives its documented exit code and message, and nothing else.
#
# NAME.expect stands beside NAME.txtpb (or NAME.binpb, or any other suffix):
#   # why the input is wrong
#   # run: weft check NAME.txtpb --set d=3     the command; default: weft check FILE
#   exit: 65
#   a piece of the message                     each line must be found in standard error, in this order
# Standard output must stay empty, and the run must end by itself, within half a minute of processor time (a busy machine
# changes nothing about that).
set -u
cd "$(dirname "$0")/broken" || exit 1
weft=$(realpath "${WEFT:?the tool}")
failed=0 count=0

complain() { # NAME WHAT
    echo "broken/$1: $2"
    failed=$((failed + 1))
}

check_case() { # NAME
    local name=$1 run want got line rest file
    run=$(sed -n 's/^# run: weft //p' "$name.expect")
    want=$(sed -n 's/^exit: //p' "$name.expect")
    if [ -z "$run" ]; then
        file=$(ls "$name".* | grep -v '\.expect$')
        run="check $file"
    fi
    # shellcheck disable=SC2086 # the words of `run` are the arguments
    (ulimit -t 30; exec "$weft" $run) > "$tmp/out" 2> "$tmp/err"
    got=$?
    [ "$got" = "$want" ] || complain "$name" "exit code $got, expected $want"
    [ ! -s "$tmp/out" ] || complain "$name" "standard output is not empty: $(head -c 200 "$tmp/out")"
    rest=$(cat "$tmp/err")
    while IFS= read -r line; do
        case $line in '#'* | 'exit: '* | '') continue ;; esac
        if [[ $rest != *"$line"* ]]; then
            complain "$name" "expected: $line"$'\n'"  found: $(cat "$tmp/err")"
            return
        fi
        rest=${rest#*"$line"}
    done < "$name.expect"
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for expect in *.expect; do
    check_case "${expect%.expect}"
    count=$((count + 1))
done
for file in *.*; do # a case without an expectation would never be looked at
    [ -e "${file%.*}.expect" ] || complain "$file" "has no .expect"
done
echo "$count broken inputs, $failed complaints"
[ "$failed" = 0 ] && [ "$count" -ge 100 ]
