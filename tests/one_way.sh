#!/bin/bash
# one_way.sh - calls between the files of graph/ run one way, and graph/ has no name of a model's own.
set -u
: "${BUILD:?the build directory}"
failed=0
list=$(mktemp)
trap 'rm -f "$list"' EXIT

# pairs "user used" of all files of graph/; compile, layout, plan and session count as one
graph=$(cd graph && ls ./*.c | sed 's|^\./||')
nm "$BUILD/libweft.a" 2>/dev/null | awk -v graph="$graph" '
    BEGIN { n = split(graph, g, "\n"); for (i = 1; i <= n; i++) ours[g[i] ".o"] = 1 }
    /^[^ ]+\.o:$/ { file = substr($1, 1, length($1) - 1); next }
    !(file in ours) { next }
    NF == 3 && $2 ~ /[TDRBC]/ { made[$3] = file }
    NF == 2 && $1 == "U" { used[file " " $2] = 1 }
    function name(f) { sub(/\.c\.o$/, "", f); return f ~ /^(compile|layout|plan|session)$/ ? "session" : f }
    END {
        for (u in used) {
            split(u, part, " ")
            if (part[2] in made && name(part[1]) != name(made[part[2]]))
                print name(part[1]), name(made[part[2]])
        }
    }' >"$list"
[ "$(wc -l <"$list")" -gt 200 ] || { echo "FAILED: only $(wc -l <"$list") calls between files were found"; failed=1; }
tsort "$list" >/dev/null || { echo "FAILED: files of graph/ that call each other (above)"; failed=1; }

if grep -nE '"(label|score|concept_logits|concept_loss|lm_loss)"|"(teacher|sae|transformer)\.' graph/*.[ch] | grep -vE ':[0-9]+: *(/\*| \*)'; then
    echo "FAILED: graph/ names what only a model has"
    failed=1
fi
if grep -nE '#include "(ops|tools|models)/' graph/*.[ch]; then
    echo "FAILED: graph/ includes what depends on it"
    failed=1
fi
if grep -nE '#include "(graph|ops|models)/' tools/*.[ch] | grep -vE '"graph/(weft|util|io|json|data|sniff)\.h"'; then
    echo "FAILED: tools/ includes what only graph/ may know"
    failed=1
fi
# files are opened, looked at and changed through graph/io.h: what a test cannot make fail is not done
calls='\b(fopen|freopen|open|openat|stat|lstat|access|unlink|remove|rename|mkdir|rmdir|opendir|truncate|flock)\('
if grep -nE "(^|[^_>.a-zA-Z])$calls" graph/*.[ch] ops/*.[ch] tools/*.[ch] | grep -vE ':[0-9]+: *(/\*| \*|int \(\*)' |
    grep -vE '^graph/io_system\.c:|"/proc/self/|"/dev/null"|^tools/generate\.c:.*fopen\(spec \+ 1'; then
    echo "FAILED: files are used past graph/io.h"
    failed=1
fi
# numbers have one form, and letters are ASCII, whatever locale a program has set: graph/number.c
if grep -nE '(^|[^_a-z])(strto(d|f|ld)|atof|v?s?n?printf_l|strn?casecmp|is(alpha|alnum|digit|space|print|punct|upper|lower|x?digit)|to(upper|lower))\(|[^_]vsnprintf\(' \
    graph/*.[ch] ops/*.[ch] | grep -v '^graph/number\.c:'; then
    echo "FAILED: graph/ and ops/ read or write text as the locale has it"
    failed=1
fi
if grep -nE '(^|[^_a-z])snprintf\([^;]*%[-+0-9.*]*[eEgG]|(^|[^_a-z])snprintf\([^;]*%[-+0-9.*]*[1-9*]f' graph/*.c ops/*.c; then
    echo "FAILED: graph/ and ops/ write numbers as the locale has them: weft_snprintf"
    failed=1
fi
if grep -nE 'setlocale' graph/*.[ch] ops/*.[ch] tools/*.[ch]; then
    echo "FAILED: the locale is the program's, and the tool's is C"
    failed=1
fi
exit $failed
