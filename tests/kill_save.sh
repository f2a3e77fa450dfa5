#!/bin/bash
# kill_save.sh - kill -9 at every system call of a checkpoint save (strace injects the signal): the directory then holds
# the old or the new checkpoint, whole. tests/test_crash.c does the same at every call of the I/O table.
set -u
command -v strace >/dev/null || { echo "strace is not installed: skipped"; exit 77; }
prog=$BUILD/test_crash
place=/tmp; [ -w /dev/shm ] && place=/dev/shm
work=$(mktemp -d "$place/weft-kill-XXXXXX"); trap 'rm -rf "$work"' EXIT
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" # the leak checker cannot run under a tracer

"$prog" prepare "$work/base" || exit 1
cp -r "$work/base" "$work/traced"
strace -o "$work/trace" "$prog" save "$work/traced" 2>/dev/null || { echo "tracing is not allowed here: skipped"; exit 77; }

# Lines "name k": the k-th call of that name in the process, for all calls between the two marks.
awk -F'[(]' '
    /weft-save-begins/ { inside = 1 }
    /^[a-z_0-9]+\(/ { n[$1]++; if (inside && !/weft-save-(begins|ends)/) print $1, n[$1] }
    /weft-save-ends/ { exit }
' "$work/trace" > "$work/points"
total=$(wc -l < "$work/points")
[ "$total" -ge 100 ] || { echo "only $total system calls in a save?"; exit 1; }

killed=0
while read -r name k; do
    dir="$work/at-$name-$k"
    cp -r "$work/base" "$dir"
    strace -o /dev/null -e trace="$name" -e inject="$name:signal=KILL:when=$k" "$prog" save "$dir" 2>/dev/null
    [ $? -eq 137 ] && killed=$((killed + 1))
done < "$work/points" 2>/dev/null # the shell reports every kill
[ "$killed" -ge $((total * 9 / 10)) ] || { echo "only $killed of $total runs were killed"; exit 1; }

"$prog" verify "$work"/at-* || exit 1
echo "killed at $killed of $total system calls of a save: a whole checkpoint every time"
