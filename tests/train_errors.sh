#!/bin/bash
# train_errors.sh - what can be wrong with a training run: exit codes, and messages that say what to do.
. tests/tokens.inc

train() { "$weft" train "$recipe" --quiet "$@"; }

# resuming something else
expect 66 train --out a --resume
expect 0 train --out a --steps 4
says out 'a: step 4, loss'
expect 73 train --out a --steps 4
says err 'resume'
expect 78 train --out a --steps 8 --resume --set train.seed=2
says err 'seed'
expect 78 train --out a --steps 8 --resume --set n_layer=1
says err 'n_layer was 2, is 1'
tokens other.bin 12000
expect 78 train --out a --steps 8 --resume --set data.train=other.bin
says err 'training data'
expect 0 train --out a --steps 8 --resume=auto
expect 0 train --out b --steps 2 --resume=auto

# two runs, one directory
"$weft" train "$recipe" --quiet --steps 100000 --out c >/dev/null 2>&1 &
pid=$!
await $pid lines c/log.jsonl 1
expect 75 train --out c --resume=auto
says err "$pid"
kill -TERM $pid
wait $pid

# numbers that blow up: stopped before the update, with the node and the last checkpoint
expect 80 train --out d --set schedule.lr=1e6 --set schedule.warmup=0 --set optimizer.clip=0 --set checkpoint.every=1
says err 'step [0-9]*: loss'
says err 'first bad value'
says err 'last good checkpoint: d/checkpoints/step-'
last=$(ls d/checkpoints | tail -1)
# the checkpoint is whole: what fails is the loss, which at these weights is no number for an evaluation either
expect 80 "$weft" eval d/checkpoints/"$last" --data val.bin --json
says err "^weft: error: 'loss' over 2976 tokens is "

# data
expect 66 train --out e --set data.train=nothing.bin
says err 'nothing.bin'
printf 'abc' >odd.bin
expect 65 train --out e --set data.train=odd.bin
head -c 20 train.bin >short.bin
expect 65 train --out e --set data.train=short.bin
says err 'too few'
expect 65 train --out e --set data.val=short.bin
perl -e 'print pack("v*", (5) x 500, 77, (5) x 5000)' >vocab.bin
expect 65 train --out e --set data.train=vocab.bin --set data.sampling=sequential
says err '77'

# settings
expect 2 train --out f --set train.stepz=4
says err 'steps'
expect 2 train --out f --set train.steps=x
expect 2 train --out f --set schedule.shape=square
says err 'cosine'
expect 2 train --out f --set train.batch=0
says err "setting 'train.batch=0': expected an integer from 1 to"
expect 2 train --out f --set B=4
says err 'train.batch'
expect 2 train --out f --set n_layers=4
says err 'n_layer'
expect 2 train --out f --set "$(printf 'dropout=0.\317')"
says err 'not valid UTF-8 (byte 0xcf, number 11)'
expect 69 train --out f --set train.precision=bf16
expect 2 train --out f --resume=perhaps
expect 71 train --out f --set train.max_memory=1000
says err 'limit'
expect 65 train --out f --set train.loss=lost
says err "did you mean 'loss'"

# a recipe and a model whose names are no text: what a run and `show` write is read back
bad=$(printf 'caf\351')
sed "s|^model:.*|model: \"$root/models/gpt2.txtpb\"|" "$recipe" >"$bad.txtpb"
"$weft" train "$bad.txtpb" --out g --set train.steps=1 --set eval.every=0 >out 2>err || fail "training $bad"
"$weft" check g/recipe.txtpb >out 2>err || fail "the recipe of the run is refused: $(cat err)"
cp "$root/models/gpt2.txtpb" "$bad-model.txtpb"
"$weft" show "$bad-model.txtpb" --set n_layer=1 --stage=expanded --as=txtpb >flat.txtpb 2>err && "$weft" check flat.txtpb >out 2>err ||
    fail "an expanded graph is refused: $(cat err)"

# a file-size limit is a full disk, not a signal
(ulimit -f 2; expect 74 train --out limited --set checkpoint.every=10; exit $fails) || fail "training under a file-size limit"
says err 'File too large'

# a place that cannot be written
: >file
expect 73 train --out file/run
says err 'cannot create the folder'
finish
