#!/bin/bash
# preflight.sh - what weft train refuses before its first step, weft check refuses too: with the same words and exit code, writing
# nothing, and without reading large files.
. tests/tokens.inc
. "$root/tests/labels.inc"
cp -r "$root"/tests/broken/parts "$root"/tests/broken/recipe-*.txtpb .
count=0
snapshot() { find . -mindepth 1 -not -name 'out' -not -name 'err' -not -name '*.list' -printf '%p %y %s %T@\n' | sort; }
# refused CODE ARGUMENT...: by both
refused() {
    local want=$1
    shift
    snapshot >before.list
    "$weft" check "$@" >out 2>err
    local got=$?
    snapshot >after.list
    cmp -s before.list after.list || fail "check $* writes: $(diff before.list after.list | head -3)"
    [ -s out ] && fail "check $* prints $(head -1 out)"
    mv err check.list
    "$weft" train "$@" --quiet >out 2>err
    local code=$?
    [ $got = $code ] || fail "$*: check ends with $got, train with $code: $(head -2 check.list err)"
    [ "$want" = any ] || [ $code = "$want" ] || fail "$*: train ends with $code instead of $want: $(head -2 err)"
    [ $code != 0 ] || fail "$*: train goes on"
    cmp -s check.list err || fail "$*: other words: $(diff check.list err)"
    count=$((count + 1))
}

# every recipe that is broken by itself
for f in recipe-*.txtpb; do
    refused any "$f"
done
# data
printf 'abc' >odd.bin
head -c 20 train.bin >short.bin
perl -e 'print pack("v*", map { $_ % 64 } 1 .. 30000), pack("v*", (77) x 100)' >vocab.bin
echo 'The quick brown fox jumps over the lazy dog, twenty times and more.' >text.bin
for what in train val; do
    refused 66 "$recipe" --set data.$what=nothing.bin
    refused 65 "$recipe" --set data.$what=odd.bin
    refused 65 "$recipe" --set data.$what=short.bin
    refused 65 "$recipe" --set data.$what=vocab.bin
    refused 65 "$recipe" --set data.$what=text.bin
    refused 66 "$recipe" --set data.$what=parts
done
# ids that the model knows, but not the tokenizer; without one they are taken
perl -e 'print map { pack("v", $_ % 60) } 1 .. 3000' >low.bin
perl -e 'print map { pack("v", 300 + $_ % 60) } 1 .. 3000' >high.bin
seq 1 3000 >numbers.txt
expect 0 "$weft" tokenize train --vocab 257 --out tok.json numbers.txt
padded="--set vocab=400 --set data.train=low.bin --set data.val=low.bin"
named="$padded --set data.tokenizer=tok.json"
beyond='high.bin: token 0 is 301, the tokenizer has 257 tokens'
for what in train val; do
    refused 65 "$recipe" $named --set data.$what=high.bin
    says err "$beyond"
    expect 0 "$weft" check "$recipe" $padded --set data.$what=high.bin
done
expect 0 "$weft" check "$recipe" $named
expect 0 "$weft" eval "$recipe" $named
expect 0 "$weft" eval "$recipe" $padded --data high.bin
for verb in "eval $recipe $named --data high.bin" "eval $recipe $padded --data high.bin --tokenizer tok.json" \
    "compare --train --seeds 1 --out c $recipe $named --set data.val=high.bin"; do
    # shellcheck disable=SC2086 # the words are arguments
    expect 65 "$weft" $verb
    says err "$beyond"
done
refused 65 "$recipe" --set data.train=
refused 66 "$recipe" --set data.tokenizer=nothing.json
refused 65 "$recipe" --set data.tokenizer=text.bin
# settings and sizes
refused 2 "$recipe" --set n_layers=3
refused 2 "$recipe" --set train.stepz=3
refused 71 "$recipe" --set train.max_memory=1000
refused 65 "$recipe" --set train.loss=lost
refused 65 "$recipe" --set eval.loss=lost
refused 65 "$recipe" --set train.length=64 # longer than its positions
# inputs that nobody feeds
cat >unfed.txtpb <<'END'
main: "m"
module {
  name: "m" param: "B=1" param: "T=8"
  input { name: "tokens" type: "i32[B,T]" } input { name: "targets" type: "i32[B,T]" } input { name: "mask" type: "f32[64]" }
  weight { name: "w" type: "f32[64,64]" init: "normal(0.1)" }
  node { op: "embedding" in: ["w", "tokens"] out: "x" }
  node { op: "mul" in: ["x", "mask"] out: "logits" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: ["loss", "logits"]
}
END
refused 65 tiny-recipe.txtpb --set model=unfed.txtpb
# labels: none there, of another file, of another model, cut
expect 0 "$weft" labels tiny-recipe.txtpb --out a.labels --quiet
head -c 500 a.labels >cut.labels
head -c 10000 train.bin >half.bin
refused 66 tiny-recipe.txtpb --set data.labels=nothing.labels
refused 65 tiny-recipe.txtpb --set data.labels=cut.labels
refused 65 tiny-recipe.txtpb --set data.labels=train.bin
refused 78 tiny-recipe.txtpb --set data.labels=a.labels --set data.train=half.bin
refused 78 tiny-recipe.txtpb --set data.labels=a.labels --set k_label=2
refused 78 tiny-recipe.txtpb --set data.labels=a.labels --set train.length=8
refused 78 tiny-recipe.txtpb --set data.val_labels=a.labels
# weights that are loaded: not there, of other shapes, damaged, of a run that was something else
weights() { # FILE ROWS
    perl -e 'my $n = $ARGV[1] * 40 * 4; my $h = sprintf "%-80s", "{\"w\":{\"dtype\":\"F32\",\"shape\":[$ARGV[1],40],\"data_offsets\":[0,$n]}}";
        print pack("Q<", length $h), $h, "\0" x $n' x "$2" >"$1"
}
weights good.safetensors 12
weights bad.safetensors 10
head -c 1000 good.safetensors >cut.safetensors
for file in nothing bad cut; do
    sed '$a load { file: "'$file'.safetensors" scope: "sae." }' tiny-recipe.txtpb >load.txtpb
    refused any load.txtpb
done
sed '$a load { file: "text.bin" scope: "sae." }' tiny-recipe.txtpb >load.txtpb
refused any load.txtpb
sed '$a load { file: "lm" scope: "teacher." }' tiny-recipe.txtpb >load.txtpb
refused 66 load.txtpb
mkdir lm
refused 66 load.txtpb
sed '$a start { weight: "head" value: "sae.w" }' tiny-recipe.txtpb >start.txtpb
refused 65 start.txtpb
# where it would be trained
: >file
refused 73 "$recipe" --out file
refused 73 "$recipe" --out file/run
refused 66 "$recipe" --out none --resume
[ -e none ] && fail "a run that is not there leaves a folder"
expect 0 "$weft" train "$recipe" --quiet --out done --steps 4
refused 73 "$recipe" --out done
for set in train.batch=4 dropout=0.1 train.seed=2 data.train=half.bin data.sampling=windows; do
    refused 78 "$recipe" --out done --resume --set $set
    refused 78 done --resume --set $set
done
cut=$(ls -d done/checkpoints/*/)
cp "$cut"/manifest.json kept.list && echo >>"$cut"/manifest.json
refused 81 "$recipe" --out done --resume
cp kept.list "$cut"/manifest.json
# a lock that is another file, or none that can be taken
mv done/lock kept.list
: >other
ln -s ../other done/lock
refused 73 done --resume
says err 'is a link to another file'
rm done/lock && ln other done/lock
refused 73 done --resume
rm done/lock && mkdir done/lock
refused 73 done --resume
mkdir -p fresh/lock
refused 73 "$recipe" --out fresh
rmdir done/lock && mv kept.list done/lock
[ $count -ge 89 ] || fail "only $count refusals were compared"

# what train takes, check takes; one that only evaluates, and one whose files are elsewhere
snapshot >before.list
expect 0 "$weft" check "$recipe"
says out '^ok$'
expect 0 "$weft" check "$recipe" --out done --resume
expect 0 "$weft" check done --resume --json
expect 0 "$weft" check "$recipe" --set data.train=nothing.bin --set data.tokenizer=nothing --no-files
expect 0 "$weft" check "$root/models/recipes/sae-check.txtpb"
snapshot >after.list
same before.list after.list

# a weight that cannot be trained, where the loss does not depend on it: it stays as it is, for both
cat >beside.txtpb <<'END'
main: "m"
module {
  name: "m" param: "B=1" param: "T=8"
  input { name: "tokens" type: "i32[B,T]" } input { name: "targets" type: "i32[B,T]" }
  weight { name: "w" type: "f32[64,64]" init: "normal(0.1)" }
  weight { name: "half" type: "bf16[64]" init: "normal(1)" }
  node { op: "cast" in: "half" out: "wide" attr: "to=f32" }
  node { op: "embedding" in: ["w", "tokens"] out: "logits" } node { op: "add" in: ["logits", "wide"] out: "moved" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: ["loss", "logits", "moved"]
}
END
expect 0 "$weft" train tiny-recipe.txtpb --set model=beside.txtpb --quiet --out beside
says err "'loss' does not depend on weight 'half', which stays as it is"
expect 0 "$weft" check tiny-recipe.txtpb --set model=beside.txtpb
expect 0 "$weft" check beside.txtpb
sed '/cross_entropy/s/"logits"/"moved"/' beside.txtpb >behind.txtpb
refused 65 tiny-recipe.txtpb --set model=behind.txtpb
says err "'half' is bf16\[64\], and only f32 has gradients"

# memory is that of training, evaluation and weights that no step reads among it; --max-memory is the limit of all of it
expect 0 "$weft" check "$recipe" --json
memory=$(perl -ne '/"state_bytes":(\d+),"plan_bytes":(\d+)/ and print $1 + $2' out)
expect 71 "$weft" check "$recipe" --max-memory=1000
expect 71 "$weft" train "$recipe" --set train.max_memory=1000 --out never --quiet
expect 0 "$weft" check "$recipe" --max-memory="$memory"

# eight gigabytes of frozen weights and of tokens: neither read nor allocated
cat >big.txtpb <<'END'
main: "m"
module {
  name: "m" param: "B=1" param: "T=8"
  input { name: "tokens" type: "i32[B,T]" } input { name: "targets" type: "i32[B,T]" }
  weight { name: "big.w" type: "f32[524288,4096]" init: "normal(1)" trainable: false }
  weight { name: "head" type: "f32[4096,64]" init: "normal(0.1)" }
  node { op: "embedding" in: ["big.w", "tokens"] out: "x" }
  node { op: "matmul" in: ["x", "head"] out: "logits" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: ["loss", "logits"]
}
END
cat >big-recipe.txtpb <<'END'
model: "big.txtpb"
data { train: "big.bin" val: "big.bin" }
load { file: "big.safetensors" scope: "big." }
END
truncate -s 8G big.bin
perl -e 'my $h = sprintf "%-88s", "{\"w\":{\"dtype\":\"F32\",\"shape\":[524288,4096],\"data_offsets\":[0,8589934592]}}";
    print pack("Q<", length $h), $h' >big.safetensors
truncate -s $((8 + 88 + 8589934592)) big.safetensors
(ulimit -t 5; exec "$weft" check big-recipe.txtpb) >out 2>err || fail "large files: exit $?: $(cat err)"
says out '^memory  *8\.0'
finish
