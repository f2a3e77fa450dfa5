#!/bin/bash
# train_resume.sh - runs that are stopped, killed or spread over other thread counts end with the same bits.
. tests/tokens.inc

train() { "$weft" train "$recipe" --quiet --set dropout=0.1 "$@" >out 2>err; }
# equal A B STEP: same log, weights and optimizer state
equal() {
    same "$1/log.jsonl" "$2/log.jsonl"
    for f in model optimizer; do
        same "$1/checkpoints/$3/$f.safetensors" "$2/checkpoints/$3/$f.safetensors"
    done
}

# the undisturbed run, and that it learns
train --out a || fail "training: $(cat err)"
first=$(sed -n '1s/.*"loss":\([0-9.]*\).*/\1/p' a/log.jsonl)
last=$(sed -n 's/.*"val_loss":\([0-9.]*\).*/\1/p' a/log.jsonl | tail -1)
perl -e 'exit !($ARGV[0] > 3.5 && $ARGV[1] < 2.9)' "$first" "$last" || fail "loss went from $first to $last only"

# stopped at two random steps, resumed each time
at=$((RANDOM % 28 + 1))
at2=$((at + RANDOM % 30 + 1))
echo "stopping at $at and $at2"
train --out b --stop-at $at || fail "stop at $at: $(cat err)"
train --out b --resume --stop-at $at2 || fail "resume: $(cat err)"
train --out b --resume || fail "second resume: $(cat err)"
equal a b step-000060

# thread counts
for t in 1 2 3 8; do
    train --out t$t --threads $t || fail "$t threads: $(cat err)"
    equal a t$t step-000060
done

# the plain ops draw the dropout of the fused ones: roundings apart (1e-7 of a loss, grown over ten
# steps), the losses are the same; other zeros would be an error of 1e-3 at the first step
train --out n --stop-at 10 --no-rewrite || fail "plain ops: $(cat err)"
perl -e 'local $/; my @l = map { open my $f, "<", "$_/log.jsonl"; [map { $_ + 0 } <$f> =~ /"loss":([0-9.]+)/g] } "a", "n";
    exit !(@{$l[1]} >= 10 && !grep { abs($l[0][$_] - $l[1][$_]) > 2e-5 } 0 .. 9)' || fail "without rules: other losses"

# gradient accumulation, stopped and resumed
train --out c --set train.accumulate=3 --steps 12
train --out d --set train.accumulate=3 --steps 12 --stop-at 5
train --out d --set train.accumulate=3 --steps 12 --resume --threads 3 || fail "accumulation: $(cat err)"
equal c d step-000012

# the number of micro-batches may change: what is summed over them begins anew in every step
for from in 1 4; do
    train --out m$from --set train.accumulate=$from --steps 4
    for to in 1 2 4; do
        cp -r m$from m$from-$to
        train --out m$from-$to --set train.accumulate=$to --steps 6 --resume || fail "micro-batches $from -> $to: $(cat err)"
    done
done

# fixed windows, over more than one epoch (624 windows of 32 tokens, 8 a step)
train --out g --set data.sampling=windows --steps 90
train --out h --set data.sampling=windows --steps 90 --stop-at 37
train --out h --set data.sampling=windows --steps 90 --resume || fail "windows: $(cat err)"
equal g h step-000090
cmp -s a/log.jsonl g/log.jsonl && fail "windows are drawn like shifted blocks"

# signals: the step is finished, saved, and the run goes on with the same bits; so many steps that no signal is late
long="--steps 100000 --set checkpoint.every=0 --set eval.every=0"
for signal in INT:130 TERM:143 HUP:129; do
    rm -rf e f
    "$weft" train "$recipe" --quiet --set dropout=0.1 $long --out e >out 2>err &
    pid=$!
    await $pid lines e/log.jsonl 3
    kill -${signal%:*} $pid
    [ $signal = HUP:129 ] && kill -HUP $pid 2>/dev/null # a terminal that closes sends more than one
    wait $pid
    code=$?
    [ $code -eq ${signal#*:} ] || fail "$signal: exit $code: $(cat err)"
    step=$(ls e/checkpoints | sed 's/step-0*//')
    [ "$(tail -1 e/log.jsonl | sed 's/.*"step":\([0-9]*\).*/\1/')" = "$step" ] || fail "log does not end at step $step"
    train --out e $long --resume --stop-at $((step + 4)) || fail "resume after $signal: $(cat err)"
    train --out f $long --stop-at $((step + 4))
    equal e f $(printf 'step-%06d' $((step + 4)))
done

# under nohup a terminal that closes is none of its business
rm -rf e
(trap '' HUP; exec "$weft" train "$recipe" --quiet $long --out e >out 2>err) &
pid=$!
await $pid lines e/log.jsonl 3
kill -HUP $pid
n=$(wc -l <e/log.jsonl)
await $pid lines e/log.jsonl $((n + 3))
kill -TERM $pid
wait $pid
code=$?
[ $code -eq 143 ] || fail "nohup: exit $code: $(cat err)"

# kill -9: the last checkpoint counts
rm -rf e f
"$weft" train "$recipe" --quiet --set dropout=0.1 --out e --steps 100000 --set checkpoint.every=5 >out 2>err &
pid=$!
await $pid lines e/log.jsonl 13
kill -KILL $pid
wait $pid 2>/dev/null
step=$(ls e/checkpoints | grep -v tmp | tail -1 | sed 's/step-0*//')
train --out e --steps 100000 --set checkpoint.every=5 --resume --stop-at $((step + 7)) || fail "after kill -9: $(cat err)"
train --out f --steps 100000 --set checkpoint.every=5 --stop-at $((step + 7))
equal e f $(printf 'step-%06d' $((step + 7)))

# weights that are stored as bf16 and computed with as f32: frozen, in checkpoints, the same after a stop
cat >half.txtpb <<'END'
main: "m"
module {
  name: "m" param: "B=2" param: "T=16"
  input { name: "tokens" type: "i32[B,T]" } input { name: "targets" type: "i32[B,T]" }
  weight { name: "table" type: "bf16[64,8]" init: "normal(0.5)" trainable: false }
  weight { name: "v" type: "f32[8,64]" init: "normal(0.5)" }
  node { op: "cast" in: "table" out: "wide" attr: "to=f32" } node { op: "embedding" in: ["wide", "tokens"] out: "h" }
  node { op: "matmul" in: ["h", "v"] out: "logits" } node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: ["loss", "logits"]
}
END
echo 'model: "half.txtpb" data { train: "train.bin" val: "val.bin" } train { steps: 6 batch: 2 length: 16 } eval { every: 3 }' >half-r.txtpb
expect 0 "$weft" train half-r.txtpb --out h1 --quiet
expect 0 "$weft" train half-r.txtpb --out h2 --quiet --stop-at 3
expect 0 "$weft" train half-r.txtpb --out h2 --quiet --resume
same h1/log.jsonl h2/log.jsonl
same h1/checkpoints/step-000006/model.safetensors h2/checkpoints/step-000006/model.safetensors
expect 0 "$weft" weights h1
says out '^table  *BF16\[64,8\]'
expect 0 "$weft" eval h1 --json
loss=$(sed 's/.*"loss":\([0-9.]*\).*/\1/' out)
says h1/log.jsonl "\"step\":6.*\"val_loss\":${loss:0:7}"
expect 0 "$weft" generate h1 --ids --prompt 5 --tokens 3
finish
