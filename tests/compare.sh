#!/bin/bash
# compare.sh - runs against each other: known curves give known numbers, trained arms pair by seed, and what is wrong
# with a run or a log is said.
. tests/tokens.inc

compare() { "$weft" compare "$@"; }
# number FILE KEY: the first number under a JSON key
number() { grep -o "\"$2\":[-0-9.e+][-0-9.e+]*" "$1" | head -1 | cut -d: -f2; }
# near WHAT FOUND EXPECTED: to 1e-6 of it, the digits that are printed
near() { perl -e 'exit !($ARGV[0] ne "" && abs($ARGV[0] - $ARGV[1]) <= 1e-6 * (1 + abs($ARGV[1])))' -- "$2" "$3" || fail "$1 is $2, not $3"; }

# ---- curves that were written by hand: a run directory is its recipe, its model and its log
expect 0 "$weft" train "$recipe" --quiet --steps 1 --out seed --set train.steps=40
# run DIR SEED STEPS TOKENS:LOSS...: 256 tokens a step
run() {
    local dir=$1 seed=$2 steps=$3
    shift 3
    mkdir -p "$dir"
    cp seed/model.txtpb "$dir"
    sed "s/steps: 1 /steps: $steps /; s/seed: 1 /seed: $seed /" seed/recipe.txtpb >"$dir/recipe.txtpb"
    for point in "$@"; do
        echo "{\"kind\":\"eval\",\"step\":$((${point%:*} / 256)),\"tokens\":${point%:*},\"val_loss\":${point#*:},\"val_tokens\":2816}"
    done >"$dir/log.jsonl"
}
run a1 1 40 2560:3.0 5120:2.5 7680:2.2 10240:2.1
run a2 2 40 2560:3.2 5120:2.7 7680:2.4 10240:2.3
run b1 1 40 2560:2.8 5120:2.4 7680:2.0 10240:1.9
run b2 2 40 2560:2.8 5120:2.4 7680:2.2 10240:2.0
expect 0 compare a=a1,a2 b=b1,b2 --json
cp out both.json
# means 2.2 and 1.95; differences -0.2 and -0.3, sd 0.1/sqrt 2, 95 % interval with t(1) = 12.706
near mean "$(number out mean)" 2.2
near sd "$(number out sd)" 0.141421356
sed 's/.*"against_baseline"//' out >tail.json
near difference "$(number tail.json mean)" -0.25
near "its sd" "$(number tail.json sd)" 0.0707106781
near "its low" "$(number tail.json low)" -0.8853
# b comes down to 2.2 between 2.4 at 5120 and 2.1 at 7680
near "tokens to equal loss" "$(grep -o '"to_equal_loss":{[^}]*' out | grep -o '"tokens":[0-9.]*' | cut -d: -f2)" 6826.66667
near "their share" "$(number tail.json tokens_share)" 0.666666667
grep -q '"baseline_to_equal_loss":{"reached":false,"tokens":null' out || fail "the baseline does not reach 1.95"
expect 0 compare a=a1,a2 b=b1,b2
says out 'not reached'
says out '66\.7 %'
says out '-0\.8853 .. +0\.3853'
# below the target from the first evaluation on: known only from one side
expect 0 compare b=b1 a=a1 --at 2560
says out '<= 2\.56k'
# the other way round, by name
expect 0 compare a=a1,a2 b=b1,b2 --baseline=b
says out 'Against b'
expect 2 compare a=a1 b=b1 --baseline=bb
says err "did you mean 'b'"
# grouped by recipe and settings: all four are seeds of one recipe
expect 0 compare a1 a2 b1 b2
says out '^gpt2-tiny  *4 '
says out 'same seed 1'
# and of one model: another one under the same settings is another arm, in a group of one name it is said. Comments and
# a parameter that is set to its default change nothing.
run c2 2 40 2560:3.1 5120:2.6 7680:2.3 10240:2.2
sed -i 's/"gelu"/"relu"/' c2/model.txtpb
cmp -s c2/model.txtpb seed/model.txtpb && fail "the model has no gelu"
expect 0 compare a1 c2
says out '^gpt2-tiny  *1 '
says out '^gpt2-tiny model of c2  *1 '
expect 0 compare c=a1,c2
says out 'a1 and c2 were run with different models, see'
sed -i 's/"d=32"/"d=64", "dropout=0"/' c2/recipe.txtpb
expect 0 compare c=a1,c2
says out 'different models and settings: d (32, 64), see'
cp seed/model.txtpb c2
expect 0 compare c=a1,c2
says out 'different settings: d (32, 64)$'
sed -i 's/d=64/d=32/; 1i doc: "the same"' c2/recipe.txtpb
sed -i '1i # the same' c2/model.txtpb
expect 0 compare a1 c2
says out '^gpt2-tiny  *2 '
# arms are called by all in which they differ from any other, by the file of a path if that tells it; what does not fit
# is in a note
change() { sed -i "$2" "$1/recipe.txtpb"; }
mkdir -p sub
cp train.bin sub
cp train.bin sub/more.bin
for i in 1 2 3 4; do run "n$i" 1 40 2560:3.0 10240:2.1; done
change n2 's/"d=32"/&, "dropout=0.1"/; s/lr: 0.01/lr: 0.02/'
change n3 's/"d=32"/&, "dropout=0.1"/; s/"train.bin"/"sub\/more.bin"/'
expect 0 compare n1 n2 n3
says out '^gpt2-tiny schedule.lr=0.01 data.train=train.bin  *1 '
says out '^gpt2-tiny dropout=0.1 schedule.lr=0.02 data.train=train.bin  *1 '
says out '^gpt2-tiny dropout=0.1 data.train=more.bin schedule.lr=0.01  *1 '
grep -q ' also has ' out && fail "notes on names that say all"
change n4 's/"train.bin"/"sub\/train.bin"/; s/beta1: 0.9$/beta1: 0.8/; s/beta2: 0.95/beta2: 0.9/; s/warmup: 5/warmup: 6/'
cp -r n4 n5
change n5 's/weight_decay: 0.1$/weight_decay: 0.25/'
expect 0 compare n1 n4 n5 --svg x.svg
says out '^gpt2-tiny data.train=sub/train.bin .* \.\.\.  *1 '
says out '^gpt2-tiny optimizer.weight_decay=0.25 .* \.\.\.  *1 '
says out '^note: arm .* \.\.\. also has .*schedule.warmup=6'
[ "$(sed -n '2,4p' out | cut -c1-72 | sort -u | wc -l)" = 3 ] || fail "names are not three"
[ "$(grep -o '>gpt2-tiny[^<]*' x.svg | awk '{ print length }' | sort -n | tail -1)" -lt 110 ] || fail "the legend is too long"
# losses that neighbouring ticks of an axis cannot tell apart, and none at all: the picture ends
cp -r n1 huge && perl -pi -e '$k = 1e17 + 16 * $n++ if /"val_loss"/; s/"val_loss":[^,}]*/sprintf "\"val_loss\":%.17g", $k/e' huge/log.jsonl
grep -q 'val_loss":1.*e+17\|val_loss":1000000000000000' huge/log.jsonl || fail "no huge losses"
expect 0 timeout 60 "$weft" compare huge --svg huge.svg
[ "$(tail -1 huge.svg)" = '</svg>' ] || fail "the picture of huge losses"
grep -q 'nan\|inf' huge.svg && fail "a picture with what is no number"
long=$(printf 'x%.0s' $(seq 1200))
change n5 "s/data {/data { tokenizer: \"$long\"/"
expect 0 compare n=n1,n5
says out "^note: arm n: .*data.tokenizer (none, $long)$" # a note is never cut
# at fewer tokens: between evaluations on a straight line
expect 0 compare a=a1 b=b1 --at 6400 --json
near "loss at 6400 tokens" "$(number out final)" 2.35

# where nothing was evaluated there is nothing to compare; where some were not, it is said of them
expect 2 compare a=a1 b=b1 --at 5000000
says err 'first is at 2560 tokens (step 10), the last at 10240 (step 40)'
expect 2 compare a=a1 b=b1 --at 100 --json
run longer 1 80 2560:3.0 20480:2.0
expect 0 compare a=a1 b=longer --at 12000
says out '^note: a1: left out, its last evaluation is at 10240 tokens (step 40)$'
grep -q 'no finished run' out && fail "the run is finished"

# pictures and Markdown
expect 0 compare a=a1,a2 b=b1,b2 --svg x.svg --md x.md
for word in '<svg ' 'training FLOPs' 'training tokens' prefers-color-scheme '<polygon' 'a: 2 runs' '</svg>'; do
    grep -q "$word" x.svg || fail "no $word in the picture"
done
[ "$(grep -c '<polyline' x.svg)" = 4 ] || fail "not two curves in two panels"
python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' x.svg || fail "the picture is no XML"
grep -q '^| --' x.md || fail "no Markdown table"
expect 73 compare a=a1 --svg train.bin/x.svg
expect 0 compare a=a1,a2 b=b1,b2 --svg x.svg --md x.md
for option in svg md; do
    echo "my notes" >notes.txt
    expect 73 compare a=a1 --$option notes.txt
    says err "notes.txt: the file is there and does not begin with"
    [ "$(cat notes.txt)" = "my notes" ] || fail "a file was replaced"
done
python3 -c 'import sys, json; json.load(open(sys.argv[1]))' both.json || fail "the JSON is not"

# ---- FLOPs are those of weft check
expect 0 "$weft" check "$recipe" --json
near "FLOPs" "$(number both.json flops_per_token)" "$(perl -e 'print $ARGV[0] / 256' "$(number out flops_training)")"
near "active parameters" "$(number both.json active)" 28544

# ---- runs that are not as they should be
run early 3 40 2560:3.0 5120:2.5
expect 0 compare a=a1,early b=b1
says out 'early: stopped early, last evaluated at step 20 of 40'
says out '^a  *1 of 2'
expect 0 compare a=a1,early b=b1 --at=common
says out '^a  *2  *5.12k'
expect 0 compare a=early b=b1
says out 'no finished run'
run none 1 40
expect 0 compare a=a1 none
says out 'none: no val_loss in its log: left out'
expect 78 compare none
says err 'no run has an evaluation'
run other 2 40 1280:3.1 6400:2.5 10240:2.2
expect 0 compare a=a1,other
says out 'evaluated at different steps'
run short 1 20 2560:3.0 5120:2.5
expect 0 compare a=a1 short
says out 'not at equal tokens'
run cut 1 40 2560:3.0 10240:2.5
printf '{"kind":"eval","step":41,"tok' >>cut/log.jsonl
expect 0 compare cut
says err 'last line is cut short'
run few 1 40 2560:3.0 10240:2.5
sed -i 's/2816/2800/' few/log.jsonl
expect 78 compare a=a1 b=few
says err 'a1 was evaluated on 2816 tokens, few on 2800'
expect 78 compare a=a1,few
expect 78 compare b=none,few a=a1 # the first one has no evaluation to hold others against
expect 0 compare a=a1 b=few --force
says out 'note: a1 was evaluated on 2816 tokens, few on 2800: DIFFERENT'
sed 's/,"val_tokens":2800//' few/log.jsonl >unknown.jsonl
cp unknown.jsonl few/log.jsonl
expect 0 compare a=a1 b=few # not known
# other validation data: refused, unless forced; equal contents elsewhere are fine
cp val.bin val2.bin
tokens other.bin 3000
printf 'x\0' | dd of=other.bin bs=1 seek=100 conv=notrunc 2>/dev/null
run moved 1 40 2560:3.0 10240:2.5
sed -i 's/val\.bin/val2.bin/' moved/recipe.txtpb
expect 0 compare a=a1 b=moved
run foreign 1 40 2560:3.0 10240:2.5
sed -i 's/val\.bin/other.bin/' foreign/recipe.txtpb
expect 78 compare a=a1 b=foreign
says err 'their contents differ'
expect 0 compare a=a1 b=foreign --force
says out 'DIFFERENT data'
sed -i 's/other\.bin/gone.bin/' foreign/recipe.txtpb
expect 0 compare a=a1 b=foreign
says out 'cannot be told'
expect 2 compare a1 a1
says err 'given twice'
expect 2 compare a1 ./a1/ --metric=val_los
says err "no 'val_los'"
expect 66 compare nothing
says err 'not a run directory'
expect 2 compare a= b1
expect 2 compare a1 --at=soon
expect 2 compare a1 --seeds 1,2

# ---- logs that are none: the file, the line, what was expected
count=0
while IFS='|' read -r text message; do
    run bad 1 40 2560:3.0
    printf '%b\n' "$text" >>bad/log.jsonl
    expect 65 compare bad
    says err "bad/log.jsonl:2"
    says err "$message"
    count=$((count + 1))
done <<'END'
[1]|expected an object, found a list
7|found a whole number
{"step":1}|a kind, found nothing
{"kind":3,"step":1}|a kind, found a whole number
{"kind":"eval"}|needs step
{"kind":"eval","step":-1}|'step' is negative
{"kind":"eval","step":1.5}|'step' is a fraction
{"kind":"eval","step":"x"}|'step' is a string
{"kind":"eval","step":20,"tokens":[]}|'tokens' is a list
{"kind":"eval","step":20,"tokens":5120,"val_loss":NaN}|:2:
{"kind":"eval","step":20,"tokens":5120,"val_loss":1,"val_loss":1}|:2:
{"kind":"eval","step":9999999999999999999,"tokens":1}|:2:
{"kind":"eval","step":5,"tokens":1280,"val_loss":2}|after one at step 10
{"kind":"eval","step":10,"tokens":2560,"val_loss":2}|after one at step 10
{"kind":"eval","step":11,"tokens":2560,"val_loss":2}|after one at step 10
{"kind":"step","step":11|:2:
{"kind":"step","step":11}}|:2:
\\x00\\x01|:2:
\\xff\\xfe|:2:
|:2:
END
echo "$count malformed logs refused"
[ $count = 20 ] || fail "only $count malformed logs"
run bad 1 40 2560:3.0 10240:null
expect 0 compare bad # a loss that is not finite is no point of the curve
says out 'stopped early, last evaluated at step 10'

# ---- training what is missing, and going on
train() { compare --train "small=$recipe" "wide=$recipe,d=48" --set train.steps=24 --set eval.every=8 --seeds 1,2 --out runs --quiet "$@"; }
expect 0 train --json
[ "$(ls runs | wc -l)" = 4 ] || fail "not two arms of two seeds: $(ls runs)"
grep -q '"pairs":\[{"seed":1' out || fail "seeds do not pair"
cp runs/small-1/log.jsonl first.jsonl
expect 0 train
same first.jsonl runs/small-1/log.jsonl
expect 0 compare runs/*
says out '^gpt2-tiny d=32 '
says out '^gpt2-tiny d=48 '
# one was killed on the way: it goes on and ends with the same bits
rm -r runs/small-1
expect 0 "$weft" train "$recipe" --quiet --set train.steps=24 --set eval.every=8 --stop-at 10 --out runs/small-1
expect 0 train
same first.jsonl runs/small-1/log.jsonl
# a run of other settings is not taken for this one
expect 78 train --set train.steps=30
says err 'train.steps=24'
# also in what only one of the two says: what the other has by default is told
expect 78 train --set dropout=0.1
says err 'runs/small-1 was trained with dropout=0, now it is dropout=0.1'
cp -r runs/small-1 kept
sed -i 's/"d=32"/&, "dropout=0.1"/' runs/small-1/recipe.txtpb
expect 78 train
says err 'runs/small-1 was trained with dropout=0.1, now it is dropout=0:'
rm -r runs/small-1
cp -r kept runs/small-1
sed -i 's/data {/data { tokenizer: "x"/' runs/small-1/recipe.txtpb
expect 78 train
says err 'runs/small-1 was trained with data.tokenizer=x, now there is none'
rm -r runs/small-1
cp -r kept runs/small-1
sed -i 's/"gelu"/"relu"/' runs/small-1/model.txtpb
expect 78 train
says err 'runs/small-1 was trained with another model'
rm -r runs/small-1
mv kept runs/small-1
expect 78 train --set data.tokenizer=x
says err 'runs/small-1 was trained without data.tokenizer, now it is data.tokenizer=x'
expect 2 compare --train "$recipe" "$recipe,d=48" --seeds 1 --out runs2 --quiet --set train.steps=2
says err "NAME=RECIPE"
# all that can be wrong is found before the first arm is trained
before() {
    local code=$1
    shift
    expect "$code" compare --train "small=$recipe,train.steps=2" "$@" --out runs3 --quiet
    [ ! -e runs3 ] || { fail "something is left of: $*"; rm -r runs3; }
}
before 66 nothing.txtpb
before 2 "wide=$recipe,xx=3"
says err 'to train runs3/wide-1'
before 65 "wide=$recipe,d=33" # not to be divided by two heads
before 2 --seeds 1,a
before 2 --seeds 1,1
says err '1 is given twice'
before 2 --seeds ,
before 2 --at=soon
before 2 --baseline=smal
says err "did you mean 'small'"
before 66 "other=$recipe,data.train=gone.bin"
before 66 "other=$recipe,data.tokenizer=gone.json"
mkdir -p runs3/wide-1
cp seed/model.txtpb runs3/wide-1 && sed 's,^root: .*,root: "../..",' seed/recipe.txtpb >runs3/wide-1/recipe.txtpb # it lies deeper
expect 78 compare --train "small=$recipe,train.steps=2" "wide=$recipe,train.steps=3" --out runs3 --quiet
says err 'runs3/wide-1 was trained with train.steps=1'
[ "$(ls -A runs3)" = wide-1 ] || fail "something was trained: $(ls -A runs3)"
rm -r runs3

# ---- a label cache: the same losses for fewer FLOPs, and both counts are told
cat >co.txtpb <<END
name: "co"
model: "$root/models/cocomix.txtpb"
set: ["n_layer=2", "n_head=2", "d=16", "vocab=64", "ctx=32", "insert=1", "n_concept=48", "k=4", "k_label=2"]
set: ["t_layer=2", "t_head=2", "t_d=24", "t_ctx=32", "t_tap=1"]
data { train: "train.bin" val: "val.bin" sampling: "windows" }
train { steps: 6 batch: 2 length: 32 }
eval { every: 3 loss: "lm_loss" }
END
expect 0 "$weft" labels co.txtpb --out labels.bin --quiet
expect 0 compare --train computed=co.txtpb cached=co.txtpb,data.labels=labels.bin --seeds 1 --out runs4 --quiet --json
cp out labels.json
python3 - <<'END' || fail "label cache"
import json
a, b = json.load(open('labels.json'))['arms']
assert a['final'] == b['final'], (a['final'], b['final'])
assert a['flops_per_token'] == a['flops_per_token_computed'] == b['flops_per_token_computed']
assert b['flops_per_token'] == b['flops_per_token_cached'] == a['flops_per_token_cached'] < a['flops_per_token']
# of the compress layer a token reads k of the n_concept columns
assert a['trainable'] - a['active'] == (48 - 4) * 16, (a['trainable'], a['active'])
assert a['runs'][0]['output'] == 'lm_loss'
END
# labels of another extractor: of a second seed, which it takes its weights from, and of another model
before 78 co=co.txtpb,data.labels=labels.bin --seeds 1,2
says err 'other weights'
says err 'to train runs3/co-2'
before 78 co=co.txtpb,data.labels=labels.bin,t_tap=0
says err 'do not belong here'
expect 0 compare runs4/*
says out 'labels cached'
expect 0 "$weft" check co.txtpb
says out 'with labels cached'
expect 0 "$weft" check co.txtpb --set data.labels=labels.bin
says out 'with labels computed'
finish
