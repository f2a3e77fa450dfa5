#!/bin/bash
# resume_settings.sh - settings given on resume are what the run directory says: recipe, log, state; what must stay is refused by name.
. tests/tokens.inc
train() { "$weft" train "$@" --quiet; }
steps() { sed -n 's/.*"kind":"step","step":\([0-9]*\).*"lr":\([^,}]*\).*/\1 \2/p' "$1/log.jsonl"; }
base="--set eval.every=5 --set checkpoint.every=5 --set eval.batches=2 --set schedule.warmup=0"

# more steps than at first: the run is stopped until it has done them, and goes on by itself
expect 0 train "$recipe" $base --out a --steps 10
expect 0 train "$recipe" $base --out b --steps 10
expect 0 train "$recipe" $base --out b --steps 20 --resume --stop-at 15
says err 'b: train.steps was 10, is 20 from step 10 on'
says b/recipe.txtpb '^train { steps: 20 '
says b/log.jsonl '^{"kind":"set","step":10,"tokens":2560,"name":"train.steps","was":"10","is":"20"}$'
expect 0 "$weft" compare a b
says out '1 .* finished *a$'
says out 'stopped at 15 of 20  b$'
expect 0 train b --resume
says out 'b: step 20,'
same b/recipe.txtpb b/checkpoints/step-000020/run.txtpb
grep -q '"run.txtpb": {"bytes": [0-9]*, "hash": "' b/checkpoints/step-000020/manifest.json || fail "no hash of the recipe in the manifest"

# another learning rate on the way: resuming without it goes on with it
expect 0 train "$recipe" $base --out c --steps 20 --stop-at 5
expect 0 train c --resume --set schedule.lr=3e-3 --stop-at 10
says err 'c: schedule.lr was 0.01, is 0.003 from step 5 on'
expect 0 train c --resume --stop-at 15
[ -s err ] && fail "nothing changed, but: $(cat err)"
expect 0 train c --resume
[ "$(grep -c '"kind":"set"' c/log.jsonl)" = 1 ] || fail "the log tells it more than once"
expect 0 train "$recipe" $base --out d --steps 20 --set schedule.lr=3e-3
[ "$(steps c | tail -15)" = "$(steps d | tail -15)" ] || fail "the learning rates are not those of the new setting"

# the same interruptions in other places: the same bytes; no step, no change
expect 0 train "$recipe" $base --out e --steps 20 --stop-at 5
expect 0 train e --resume --set schedule.lr=3e-3 --stop-at 5 # before its first step
says e/recipe.txtpb 'lr: 0.003'
expect 0 train e --resume --stop-at 5 --set schedule.lr=0.004
expect 0 train e --resume --set schedule.lr=0.0030
says err 'warning: e/recipe.txtpb has been changed since the checkpoint of step 5 was saved'
says err 'e: schedule.lr was 0.01, is 0.003 from step 5 on'
same c/log.jsonl e/log.jsonl
same c/recipe.txtpb e/recipe.txtpb
for f in model optimizer; do same c/checkpoints/step-000020/$f.safetensors e/checkpoints/step-000020/$f.safetensors; done

# compare: two settings are not two seeds
expect 0 train "$recipe" $base --out d2 --steps 20 --set schedule.lr=3e-3 --set train.seed=2
expect 0 "$weft" compare c d d2 e --json
perl -0ne 'exit !(/"name":"gpt2-tiny schedule.lr until step 5=0.01"/ && /"name":"gpt2-tiny"/)' out || fail "$(grep -o '"name":"[^"]*"' out)"
expect 0 "$weft" compare x=c x=d
says out 'x: c and d were run with different settings: schedule.lr until step 5 (0.01, none)'

# what makes no other run is taken and is no line of the log: threads, memory, checkpoints
expect 0 train "$recipe" $base --out f --steps 10 --stop-at 5
expect 0 train f --resume --threads 2 --set checkpoint.every=3 --set checkpoint.keep=3 --set train.max_memory=1000000000
same a/log.jsonl f/log.jsonl
says f/recipe.txtpb 'checkpoint { every: 3 keep: 3'

# a recipe file that was edited meanwhile is the same thing, named
sed 's/min_lr: 1e-3/min_lr: 2e-3/' "$recipe" >edited.txtpb
expect 0 train "$recipe" $base --out g --steps 10 --stop-at 5
expect 0 train edited.txtpb $base --out g --steps 10 --resume
says err 'g: schedule.min_lr was 0.001, is 0.002 from step 5 on'
# and the run's own, edited by hand
expect 0 train "$recipe" $base --out h --steps 10 --stop-at 5
cp -r h i
sed -i 's/min_lr: 0.001/min_lr: 0.002/' h/recipe.txtpb
expect 0 "$weft" eval h
says err 'warning: h/recipe.txtpb has been changed since the checkpoint of step 5 was saved'
expect 0 "$weft" compare a h
says out 'note: h: recipe.txtpb has been CHANGED since the checkpoint of step 5 was saved'
expect 0 train h --resume
says err 'warning: h/recipe.txtpb has been changed'
says err 'h: schedule.min_lr was 0.001, is 0.002 from step 5 on'
same g/log.jsonl h/log.jsonl
expect 0 "$weft" eval h
[ -s err ] && fail "it is as it was saved, but: $(cat err)"
rm i/recipe.txtpb
expect 0 train "$recipe" $base --out i --steps 10 --resume
same a/log.jsonl i/log.jsonl
same a/recipe.txtpb i/recipe.txtpb

# what must stay is refused, with both values, and nothing is touched
expect 0 train "$recipe" $base --out k --steps 10 --stop-at 5
cp -r k kept
refuse() { # MESSAGE SETTING...
    local message=$1
    shift
    expect 78 train "$recipe" $base --out k --steps 10 --resume "$@"
    says err "cannot resume from k/checkpoints/step-000005: $message"
    diff -r -x lock k kept >differences || fail "a refused resumption changes the run: $(cat differences)"
}
refuse 'train.batch was 8, is 4' --set train.batch=4
refuse 'train.length was 32, is 16' --set train.length=16
refuse 'dropout was 0, is 0.1' --set dropout=0.1
refuse 'n_layer was 2, is 1' --set n_layer=1
refuse 'train.seed was 1, is 2; train.batch was 8, is 2; d was 32, is 16' --set d=16 --set train.batch=2 --set train.seed=2
refuse 'data.sampling was shuffle, is windows' --set data.sampling=windows
tokens other.bin 12000
refuse 'its training data' --set data.train=other.bin
sed 's/op: "gelu"/op: "relu"/' "$root/models/gpt2.txtpb" >relu.txtpb
refuse 'its model graph' --set model=relu.txtpb
# a run that has come as far already is left as it is
expect 0 train "$recipe" $base --out k --resume --set train.steps=3
diff -r -x lock -x timing.jsonl k kept >differences || fail "nothing was done, but the run changed: $(cat differences)"
# steps are counted by checkpoints, where not every step has a line in the log
expect 0 train "$recipe" $base --out few --steps 20 --stop-at 7 --set train.log_every=5
expect 0 train "$recipe" $base --out whole --steps 20
expect 0 "$weft" compare few whole
says out 'stopped at 7 of 20  few$'

# another model file in the run directory: whoever opens it says so, and a comment is no other model
expect 0 train "$recipe" $base --out m --steps 10
cp -r m m2
sed -i '1i # a word about it' m2/model.txtpb
expect 0 "$weft" eval m2
[ -s err ] && fail "a comment is no other model, but: $(cat err)"
sed -i 's/op: "gelu"/op: "relu"/' m2/model.txtpb
warned='warning: m2/model.txtpb has been changed since the checkpoint of step 10 was saved'
expect 0 "$weft" eval m2
says err "$warned"
expect 0 "$weft" export m2 --names=hf-gpt2 --out=m2.hf
says err "$warned"
expect 0 "$weft" export m2/checkpoints/step-000010 --names=hf-gpt2 --out=m3.hf
says err "$warned"
expect 0 "$weft" eval m2/checkpoints/step-000010
says err "$warned"
expect 0 "$weft" generate m2 --ids --prompt "1 2 3" --tokens=2
says err "$warned"
expect 0 "$weft" compare m m2
says out 'note: m2: model.txtpb has been CHANGED since the checkpoint of step 10 was saved'
cp -r m2 m3
expect 78 train m3 --resume --steps 20
says err 'cannot resume from m3/checkpoints/step-000010: its model graph is not that of m3/model.txtpb, which has been changed'
diff -r -x lock m2 m3 >differences || fail "a refused resumption changes the run: $(cat differences)"

# compare goes by what was run, whatever was written into the recipe since
cp -r m n
sed -i 's/seed: 1/seed: 2/; s/lr: 0.01/lr: 0.02/' n/recipe.txtpb
expect 0 "$weft" compare m n
says out 'note: n: recipe.txtpb has been CHANGED .* the recipe in that checkpoint, which was run, is taken'
says out 'note: m and n have the same seed 1: not independent'
grep -q 'lr=' out && fail "an edited learning rate is taken for what was run: $(cat out)"
expect 0 "$weft" export n --names=hf-gpt2 --out=n.hf
says err 'warning: n/recipe.txtpb has been changed since the checkpoint of step 10 was saved'

# a line of the log that is missing or edited: no range of steps that there is not
expect 0 train "$recipe" $base --out o --steps 10 --stop-at 5
cp -r o p
sed -i '2d' o/log.jsonl
expect 0 train o --resume
says err 'o/log.jsonl has been changed: lines of steps up to 5, .* are missing or are not as they were written: going on from step 5 after the lines that are there'
sed -i '2s/"loss":/"loss":1/' p/log.jsonl
expect 0 train p --resume
says err 'p/log.jsonl has been changed: lines of steps up to 5'
finish
