#!/bin/bash
# effects.sh - states that a model updates by itself: evaluation leaves them alone; and weights with the names that the
# optimizer and decoding use for theirs.
. tests/tokens.inc

model() { # FILE, the rest of the module on standard input: x[B,T,d] is there, loss and logits must be
    cat >"$1" <<'E'
main: "m"
module {
  name: "m" param: "vocab=64" param: "d=8" param: "B=4" param: "T=16"
  input { name: "tokens" type: "i32[B,T]" } input { name: "targets" type: "i32[B,T]" }
  weight { name: "wte" type: "f32[vocab,d]" init: "normal(0.5)" }
  node { op: "embedding" in: ["wte", "tokens"] out: "x" }
E
    cat >>"$1"
    echo '}' >>"$1"
}
recipe() { # FILE MODEL, further lines on standard input
    printf 'model: "%s"\ndata { train: "train.bin" val: "val.bin" }\nschedule { lr: 1e-2 warmup: 2 shape: "constant" }\n' "$2" >"$1"
    cat >>"$1"
}
train() { "$weft" train "$@" --quiet; }
steps() { grep '"kind":"step"' "$1/log.jsonl"; }

# ---- a loss whose weight falls with a counter, and a running mean, read before and behind their updates ----
model sched.txtpb <<'E'
  weight { name: "count" type: "i64[]" }
  weight { name: "mean" type: "f32[d]" trainable: false }
  weight { name: "zero" type: "i32[]" }
  node { op: "increment" in: "count" out: "count1" }
  node { op: "lr_schedule" in: "count" out: "coef" attr: ["shape=linear", "peak=1", "floor=0.1", "total=40"] }
  node { op: "cast" in: "count1" out: "n" attr: "to=f32" }
  node { op: "mean" in: "x" out: "x0" attr: "axis=0" } node { op: "mean" in: "x0" out: "x1" attr: "axis=0" }
  node { op: "scale" in: "x1" out: "x2" attr: "alpha=0.1" }
  node { op: "stop_gradient" in: "x2" out: "x3" }
  node { op: "scale" in: "mean" out: "old" attr: "alpha=0.9" } node { op: "add" in: ["old", "x3"] out: "new" }
  node { op: "cache_write" in: ["mean", "new", "zero"] out: "mean1" attr: "axis=0" }
  node { op: "mul" in: ["mean1", "mean1"] out: "m2" } node { op: "sum" in: "m2" out: "size" }
  node { op: "mul" in: ["mean", "mean"] out: "o2" } node { op: "sum" in: "o2" out: "size0" }
  node { op: "sub" in: ["x", "mean1"] out: "xc" }
  node { op: "matmul" in: ["xc", "wte"] out: "logits" attr: "tb=1" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "l1" }
  node { op: "mul" in: ["l1", "coef"] out: "l2" } node { op: "add" in: ["l1", "l2"] out: "loss" }
  output: ["loss", "logits", "l1", "coef", "n", "size", "size0"]
E
recipe sched.recipe sched.txtpb <<'E'
train { steps: 12 batch: 4 log_every: 1 log: ["coef", "n", "size", "size0"] }
eval { every: 5 batches: 4 log: ["coef", "n", "size", "size0"] loss: "l1" }
E
expect 0 train sched.recipe --out often
expect 0 train sched.recipe --out never --set eval.every=0
steps often >a
steps never >b
same a b
says a '"step":1,.*"coef":1,"n":1,.*"size0":0}'
says a '"step":5,.*"coef":0.9[0-9]*,"n":5,'
# what an evaluation reads is what the last step has left, and it reads it every time
grep '"kind":"eval"' often/log.jsonl >evals
says evals '"step":5,.*"val_coef":0.8[0-9]*,"val_n":5,'
says evals '"step":12,.*"val_n":12,'
sed -n 's/.*"val_size":\([^,]*\),"val_size0":\([^}]*\)}/\1 \2/p' evals >sizes
[ "$(wc -l <sizes)" -ge 3 ] || fail 'too few evaluations'
while read -r new old; do [ "$new" = "$old" ] || fail "the mean moved in an evaluation: $old to $new"; done <sizes
expect 0 train sched.recipe --out half --steps 7
expect 0 train sched.recipe --out half --resume=auto
steps half >b
same a b
expect 0 "$weft" eval often --data val.bin --json
says out '"n":12'
# so does what generation reads, with a cache and without
expect 0 "$weft" generate often --ids --prompt "1 2 3" --tokens 8 --temperature 0
cp out cached
expect 0 "$weft" generate often --ids --prompt "1 2 3" --tokens 8 --temperature 0 --no-cache
same out cached
# with micro-batches an update happens in each of them
expect 0 train sched.recipe --out micro --set train.accumulate=2 --set train.steps=3 --set eval.every=0
steps micro >a
says a '"step":1,.*"n":1.5,'
says a '"step":3,.*"n":5.5,'

# ---- labels of a part that moves, and of one that picks nothing ----
model label.txtpb <<'E'
  weight { name: "count" type: "i64[]" }
  node { op: "increment" in: "count" out: "count1" }
  node { op: "stop_gradient" in: "x" out: "x0" } node { op: "cast" in: "count" out: "c" attr: "to=f32" }
  node { op: "add" in: ["x0", "c"] out: "x1" } node { op: "topk" in: "x1" out: ["score", "label"] attr: "k=2" }
  node { op: "cast" in: "x0" out: "x2" attr: "to=i32" }
  node { op: "scale" in: "x0" out: "x3" attr: "alpha=1000" } node { op: "cast" in: "x3" out: "wild" attr: "to=i32" }
  node { op: "embedding" in: ["wte", "label"] out: "l0" } node { op: "mean" in: "l0" out: "l1" attr: "axis=2" }
  node { op: "add" in: ["x", "l1"] out: "y" } node { op: "matmul" in: ["y", "wte"] out: "logits" attr: "tb=1" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: ["loss", "logits"]
E
sed -i '/name: "wte"/s/ init: "normal(0.5)"/& trainable: false/; s/^  weight { name: "count"/  weight { name: "own" type: "f32[vocab]" }\n&/; s/out: "logits" attr/out: "lg" attr/; s/^  node { op: "cross_entropy"/  node { op: "add" in: ["lg", "own"] out: "logits" }\n&/' label.txtpb
recipe label.recipe label.txtpb <<<'train { steps: 2 batch: 4 }'
expect 0 "$weft" labels label.recipe --out train.labels
expect 65 train label.recipe --out labelled --set data.labels=train.labels --set data.sampling=windows
says err "the labels are computed from 'count', which is updated by the model while it is trained"
expect 65 "$weft" labels label.recipe --out wild.labels --label-value wild
says err 'labels are indices into the last axis of what they are chosen from'

# ---- a trained weight that the model updates ----
model twice.txtpb <<'E'
  weight { name: "zero" type: "i32[]" }
  node { op: "scale" in: "wte" out: "half" attr: "alpha=0.5" }
  node { op: "cache_write" in: ["wte", "half", "zero"] out: "w1" attr: "axis=0" }
  node { op: "matmul" in: ["x", "wte"] out: "logits" attr: "tb=1" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: ["loss", "logits"]
E
recipe twice.recipe twice.txtpb </dev/null
expect 65 train twice.recipe --out twice --steps 1
says err "'wte' is updated twice, by cache_write and by adamw"
says err 'twice.txtpb:9'

# ---- names that look like those of made states ----
model names.txtpb <<'E'
  weight { name: "adam.bias" type: "f32[d]" init: "normal(1)" trainable: false }
  weight { name: "cache.x" type: "f32[d]" init: "uniform(1,2)" trainable: false }
  weight { name: "acc.w" type: "f32[d]" init: "ones" }
  weight { name: "a:b" type: "f32[d]" init: "normal(1)" trainable: false }
  node { op: "add" in: ["x", "adam.bias"] out: "x1" } node { op: "mul" in: ["x1", "cache.x"] out: "x2" }
  node { op: "mul" in: ["x2", "acc.w"] out: "x3" } node { op: "add" in: ["x3", "a:b"] out: "x4" }
  node { op: "matmul" in: ["x4", "wte"] out: "logits" attr: "tb=1" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: ["loss", "logits"]
E
recipe names.recipe names.txtpb <<<'train { steps: 6 batch: 4 log_every: 1 accumulate: 2 }'
expect 0 train names.recipe --out whole
expect 0 train names.recipe --out parts --steps 3
expect 0 train names.recipe --out parts --resume=auto
steps whole >a
steps parts >b
same a b
expect 0 "$weft" eval whole --data val.bin --json
sed 's/,"tokens_per_s.*//' out >one
expect 0 "$weft" eval names.recipe --weights whole --data val.bin --json
sed 's/,"tokens_per_s.*//' out >two
same one two
grep -q '"loss"' one || fail 'no loss'
expect 0 "$weft" weights whole
for name in adam.bias cache.x acc.w a:b; do says out "$name"; done

# all but one frozen, from that run
cat >load.txtpb <<'E'
import: "teacher.txtpb"
main: "student"
module {
  name: "student" param: "d=8" param: "vocab=64" param: "B=4" param: "T=16"
  input { name: "tokens" type: "i32[B,T]" } input { name: "targets" type: "i32[B,T]" }
  weight { name: "w" type: "f32[vocab]" }
  node { call: "m" name: "adam" trainable: false in: ["tokens", "targets"] out: ["l0", "logits0"] }
  node { op: "add" in: ["logits0", "w"] out: "logits" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: ["loss", "logits"]
}
E
sed '/^main/d' names.txtpb >teacher.txtpb
recipe load.recipe load.txtpb <<'E'
train { steps: 4 batch: 4 log_every: 1 }
load { file: "whole" scope: "adam." }
E
expect 0 train load.recipe --out loaded
expect 0 train load.recipe --out again --steps 2
expect 0 train load.recipe --out again --resume=auto
steps loaded >a
steps again >b
same a b
expect 0 "$weft" eval loaded --data val.bin

# a weight that is loaded, not trained, and updated by the model: checkpoints have it
sed '/^  output/d; $d' names.txtpb >moving.txtpb
cat >>moving.txtpb <<'E'
  weight { name: "zero" type: "i32[]" }
  node { op: "scale" in: "adam.bias" out: "half" attr: "alpha=0.5" }
  node { op: "cache_write" in: ["adam.bias", "half", "zero"] out: "bias1" attr: "axis=0" }
  node { op: "mul" in: ["adam.bias", "adam.bias"] out: "b2" } node { op: "sum" in: "b2" out: "size" }
  output: ["loss", "logits", "size"]
}
E
recipe moving.recipe moving.txtpb <<'E'
train { steps: 6 batch: 4 log_every: 1 log: "size" }
load { file: "whole" scope: "" }
E
expect 0 train moving.recipe --out moved
expect 0 train moving.recipe --out halfway --steps 3
expect 0 train moving.recipe --out halfway --resume=auto
steps moved >a
steps halfway >b
same a b
expect 0 "$weft" weights moved
says out 'adam.bias'

# a name that the optimizer needs
sed 's/acc\.w/adam.step/' names.txtpb >clash.txtpb
recipe clash.recipe clash.txtpb <<<'train { steps: 2 batch: 4 }'
expect 65 train clash.recipe --out clash
says err "the optimizer needs the name 'adam.step' for a state of its own, but the model has a weight of this name"
sed 's/acc\.w/first/' names.txtpb >clash.txtpb
expect 65 train clash.recipe --out clash --set train.accumulate=2
says err "the optimizer needs the name 'first' for itself, but the model has a value of this name"
sed 's/"loss"/"update:wte"/g' names.txtpb >clash.txtpb
expect 65 train clash.recipe --out clash --set train.loss=update:wte --set eval.every=0
says err "the optimizer needs the name 'update:wte' for itself, but the model has an output of this name"
sed -e 's/acc\.w/rng/' -e '/op: "cross_entropy"/s/.*/  node { op: "dropout" in: "logits" out: "y" attr: "p=0.5" }\n&/' names.txtpb >clash.txtpb
expect 65 "$weft" check clash.txtpb
says err "the name 'rng' belongs to the random numbers"

# an update of what `choose` gives: `check` says what a training would
expect 65 "$weft" check "$root/tests/broken/update-chosen.txtpb"
says err "but 'e' is computed by cast"
expect 0 "$weft" check "$root/tests/broken/update-chosen.txtpb" --set which=0
finish
