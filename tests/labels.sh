#!/bin/bash
# labels.sh - label files from outside: what is in them, interruption, refusal.
. tests/tokens.inc
. "$root/tests/labels.inc"
labels() { "$weft" labels tiny-recipe.txtpb --quiet "$@" >out 2>err; }

# the file, and that it can be checked
expect 0 "$weft" labels tiny-recipe.txtpb --out a --json
says out '"windows":1249,"done":1249,"resumed":0,"length":16,"labels":3,"concepts":40,"batch":4,"scores":false'
says err 'window 1249/1249  [0-9]* tok/s  0:00:00 left'
[ "$(grep -c 'warning: frozen weights' err)" = 2 ] || fail "two parts are random: $(cat err)"
says err "frozen weights 'teacher\.\*' (2 tensors) were loaded from nothing"
says err "frozen weights 'sae\.\*' (1 tensor) were loaded from nothing"
expect 0 "$weft" labels a --check
says out '^a: 1,249 of 1,249 windows of 16 tokens, 3 labels each of 40 concepts'
[ ! -e a.tmp ] || fail "a.tmp is still there"

# the labels are those that the model computes: one window as the model runs it
head -c 34 train.bin | perl -e 'local $/; my @t = unpack("v*", <STDIN>);
    open F, ">tokens.txt"; print F "@t[0..15]"; open F, ">targets.txt"; print F "@t[1..16]"'
expect 0 "$weft" run tiny.txtpb --input tokens=tokens.txt --input targets=targets.txt --fetch label --show 48
tail -1 out | tr -s ' ' '\n' | grep . >want
labels --out s --batch 1 --scores || fail "scores: $(cat err)"
perl -e 'local $/; open F, "<s"; print join("\n", unpack("v48", substr(<F>, 128))), "\n"' >got
same want got
expect 0 "$weft" run tiny.txtpb --input tokens=tokens.txt --input targets=targets.txt --fetch score --show 48
tail -1 out | tr -s ' ' '\n' | grep . | head -5 >want
perl -e 'local $/; open F, "<s"; printf "%.9g\n", $_ for unpack("f<5", substr(<F>, 128 + 96))' >got
same want got

# not a matter of threads, rules or windows in a batch (1249 is no multiple of any)
for how in "--threads 1" "--threads 3" "--threads 8" --no-rewrite "--batch 1" "--batch 3" "--batch 7" "--batch 2000"; do
    labels --out b $how || fail "$how: $(cat err)"
    cmp <(tail -c +129 a) <(tail -c +129 b) || fail "other labels: $how"
    [ "${how#--b}" = "$how" ] && same a b
done

# standard input and error closed: what is said does not go into the file that gets their number
(exec "$weft" labels tiny-recipe.txtpb --out n <&- >/dev/null 2>&-)
same a n

# stopped by signals, killed, and resumed: the bytes of an undisturbed run
for _ in 1 2 3 4 5 6 7 8 9 10; do cat train.bin; done >long.bin
labels --data long.bin --batch 1 --out whole || fail "long data: $(cat err)"
# at SIGNAL CALL COMMAND...: the kernel sends the signal at that call of write to l.tmp, so no clock decides where it is stopped
at() {
    local signal=$1 call=$2
    shift 2
    ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" strace -qq -o /dev/null -P "$work/l.tmp" -e trace=write -e inject="write:signal=$signal:when=$call" "$@"
}
stopped=0
if strace -o /dev/null true 2>/dev/null; then
    # SIGNAL:EXIT:CALL:WINDOWS, of the whole file. Call 1 writes the header, and again in a file without windows; a kill comes
    # before its call writes, the others after it.
    for way in INT:130:1:0 TERM:143:200:199 KILL:137:3000:3198 INT:130:9000:12198; do
        IFS=: read -r signal want call windows <<<"$way"
        at $signal $call "$weft" labels tiny-recipe.txtpb --data long.bin --batch 1 --out l --resume --quiet >out 2>err
        code=$?
        [ $code -eq $want ] || fail "$signal: exit $code: $(cat err)"
        [ -e l ] && fail "complete after $signal"
        [ "$(stat -c %s l.tmp)" = $((128 + 104 * windows)) ] || fail "$signal: $(stat -c %s l.tmp) bytes, not $windows windows"
        [ $code -eq 137 ] || says err "stopped after $windows of 12499 windows; --resume goes on from l.tmp"
        stopped=$((stopped + 1))
    done
else
    echo "strace cannot trace here: nothing is interrupted"
fi
echo "stopped $stopped times"
labels --data long.bin --batch 1 --out l --resume || fail "resume: $(cat err)"
same whole l
expect 0 "$weft" labels tiny-recipe.txtpb --data long.bin --batch 1 --out l --resume --json # nothing is left to do
says out '"done":12499,"resumed":12499'

# refused, with the reason
expect 78 "$weft" labels tiny-recipe.txtpb --out a --resume --set n_concept=50
says err 'number of concepts is 40, expected 50'
expect 78 "$weft" labels tiny-recipe.txtpb --out a --resume --set train.seed=2
says err 'weight hash (the extractor has other weights)'
expect 78 "$weft" labels tiny-recipe.txtpb --out a --resume --data long.bin
says err 'number of tokens is 20000, expected 200000'
expect 65 "$weft" labels "$recipe" --data train.bin --out x
says err "computes no value 'label': i32\[B,T,k\]"
expect 2 "$weft" labels tiny-recipe.txtpb
says err 'no file for the labels'
expect 2 "$weft" labels tiny.txtpb --out x
says err 'no token file'
expect 73 "$weft" labels tiny-recipe.txtpb --out long.bin/x
expect 0 "$weft" labels tiny-recipe.txtpb --out made/for/it
same a made/for/it
expect 66 "$weft" labels tiny-recipe.txtpb --data none --out x
expect 66 "$weft" labels none --check
for option in "--set x=1" "--out b" "--data train.bin" --scores --resume "--weights a" "--batch 2" "--length 8" --no-rewrite \
    "--label-value x" "--score-value x"; do
    expect 2 "$weft" labels a --check $option
    says err "check only reads a label file: ${option%% *} has no use"
done
expect 65 "$weft" labels train.bin --check
says err 'not a label file'
head -c 5000 a >cut
expect 65 "$weft" labels cut --check
says err 'the header promises 1249 windows'
expect 78 "$weft" labels tiny-recipe.txtpb --set train.length=30000 --out x
perl -e 'binmode STDOUT; print pack("v*", (70) x 100)' >high.bin # ids beyond the vocabulary
expect 65 "$weft" labels tiny-recipe.txtpb --data high.bin --out x
[ -e x.tmp ] && fail "x.tmp is there, without a window"
{ head -c 8000 train.bin; cat high.bin; } >later.bin
expect 65 "$weft" labels tiny-recipe.txtpb --data later.bin --out x
[ -e x.tmp ] || fail "the windows before the failure are gone"
rm x.tmp
# ids that the model knows, but not the tokenizer
seq 1 3000 >numbers.txt
expect 0 "$weft" tokenize train --vocab 257 --out tok.json numbers.txt
perl -e 'binmode STDOUT; print pack("v*", (300) x 100)' >beyond.bin
expect 65 "$weft" labels tiny-recipe.txtpb --set vocab=400 --data beyond.bin --out x --set data.tokenizer=tok.json
says err 'beyond.bin: token 0 is 300, the tokenizer has 257 tokens'
expect 0 "$weft" labels tiny-recipe.txtpb --set vocab=400 --data beyond.bin --out beyond

# nothing of the user's is overwritten: not the tokens, by whatever name, nor any file that holds no labels
cp train.bin kept.bin
ln train.bin hard.bin
ln -s train.bin soft.bin
cp train.bin own.tmp
for out in train.bin ./train.bin hard.bin soft.bin; do
    expect 2 "$weft" labels tiny-recipe.txtpb --out $out
    says err "$out is the token file: labels need a file of their own"
done
expect 2 "$weft" labels tiny-recipe.txtpb --data own.tmp --out own
says err 'own.tmp is the token file'
expect 2 "$weft" labels tiny-recipe.txtpb --set data.labels=train.bin
for out in val.bin tiny.txtpb own; do
    expect 73 "$weft" labels tiny-recipe.txtpb --out $out
    says err "$out\(.tmp\)* is there and no label file"
done
same train.bin kept.bin
same own.tmp kept.bin
mkdir folder
expect 73 "$weft" labels tiny-recipe.txtpb --out folder
says err 'folder is a folder'
: >empty
labels --out empty || fail "an empty file holds nothing: $(cat err)"
labels --out empty || fail "labels are made anew: $(cat err)"
same a empty
finish
