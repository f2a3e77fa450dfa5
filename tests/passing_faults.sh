#!/bin/bash
# passing_faults.sh - errors that pass, given by the kernel (strace injects them) to the tool as it is: a reading error never gives older
# weights, a disk that is full for a moment costs no line of the log. tests/test_read_faults.c and test_runlog.c do the same in the process,
# at every call.
. tests/tokens.inc
command -v strace >/dev/null || { echo "strace is not installed: skipped"; exit 77; }
strace -o /dev/null true 2>/dev/null || { echo "tracing is not allowed here: skipped"; exit 77; }
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" # the leak checker cannot run under a tracer

# at PATH CALL ERROR[:when=N] COMMAND...: the calls on that path fail
at() { strace -f -o trace -P "$1" -e trace="$2" -e inject="$2:error=$3" "${@:4}"; }
set -- --steps 6 --set checkpoint.every=2 --set eval.every=0 --quiet
expect 0 "$weft" train "$recipe" --out r "$@"
expect 0 "$weft" export r --names=hf-gpt2 --out=whole
newest=r/checkpoints/step-000006
for fault in "$newest/manifest.json openat EIO" "$newest/manifest.json openat EMFILE" "$newest/model.safetensors openat EACCES" \
    "$newest/model.safetensors pread64 EIO" "r/checkpoints openat ENFILE" "r/checkpoints /stat EIO"; do
    expect 74 at $fault "$weft" export r --names=hf-gpt2 --out=hf
    grep -q INJECTED trace || fail "nothing was injected: $fault"
    [ -e hf ] && fail "an export that failed left something: $fault"
    expect 74 at $fault "$weft" eval r --data val.bin
    expect 74 at $fault "$weft" train "$recipe" --out r "$@" --steps 8 --resume
    says err "$newest\|r/checkpoints"
done
# damage is no passing error: the one before, and that is told
cp -r r damaged
printf x >>damaged/checkpoints/step-000006/model.safetensors
expect 0 "$weft" export damaged --names=hf-gpt2 --out=older
says err 'skipping a checkpoint: damaged/checkpoints/step-000006/model.safetensors: damaged'

# the log's disk is full for two writes, and once its fsync fails
expect 0 at "$work/full/log.jsonl" write ENOSPC:when=2..3 "$weft" train "$recipe" --out full "$@"
grep -q INJECTED trace || fail "no write failed"
says err 'full/log.jsonl cannot be written now, its lines wait in memory: No space left on device'
same r/log.jsonl full/log.jsonl
expect 0 at "$work/sync/log.jsonl" fsync EIO:when=1 "$weft" train "$recipe" --out sync "$@"
says err 'saving step 2 failed'
same r/log.jsonl sync/log.jsonl
same "$newest/model.safetensors" sync/checkpoints/step-000006/model.safetensors
finish
