#!/bin/bash
# sae_train.sh - training an autoencoder on a frozen model: what it learns and saves, the same bits after stops, on other
# thread counts and without the teacher's weights in checkpoints; and what can be wrong with those.
. tests/tokens.inc
export OMP_WAIT_POLICY=passive # more threads than cores wait for each other

cat >sae.txtpb <<EOF
name: "sae"
model: "$root/models/sae.txtpb"
set: ["t_layer=2", "t_head=2", "t_d=32", "t_ctx=32", "t_tap=1", "vocab=64"]
set: ["n_latent=96", "k=4", "k_aux=16", "dead_after=1500"]
load { file: "teacher" scope: "teacher." }
start { weight: "pre_bias" value: "median" }
start { weight: "decoder.weight" value: "tied" }
data { train: "train.bin" val: "val.bin" }
train { steps: 24 batch: 8 length: 32 log: ["aux_k", "dead", "l0"] }
optimizer { weight_decay: 0 group { match: "decoder.weight" unit_norm: 0 } }
schedule { lr: 2e-2 shape: "constant" }
eval { every: 12 loss: "lm_loss_sae" log: ["explained_variance", "loss_recovered", "lm_loss", "dead"] }
checkpoint { every: 10 }
EOF
train() { "$weft" train sae.txtpb --quiet "$@" >out 2>err; }
# equal A B STEP: same log, weights and optimizer state
equal() {
    same "$1/log.jsonl" "$2/log.jsonl"
    for f in model optimizer; do
        same "$1/checkpoints/$3/$f.safetensors" "$2/checkpoints/$3/$f.safetensors"
    done
}
# names FILE: the tensors of a safetensors file, sorted
names() {
    perl -e '
        open my $f, "<", shift; binmode $f; read $f, my $n, 8; read $f, my $h, unpack("Q<", $n);
        print "$_\n" for sort grep { $_ ne "__metadata__" } $h =~ /"([^"]+)":\{"dtype"/g' "$1"
}
# lengths FILE NAME: smallest and largest length of the columns of a matrix
lengths() {
    perl -e '
        my ($file, $name) = @ARGV;
        open my $f, "<", $file; binmode $f; read $f, my $n, 8; read $f, my $h, $n = unpack("Q<", $n);
        $h =~ /"\Q$name\E":\{[^}]*"shape":\[(\d+),(\d+)\],"data_offsets":\[(\d+),(\d+)\]/ or die;
        my ($rows, $cols, $from, $to) = ($1, $2, $3, $4);
        seek $f, 8 + $n + $from, 0; read $f, my $data, $to - $from;
        my (@x, @s) = unpack("f<*", $data);
        $s[$_ % $cols] += $x[$_] ** 2 for 0 .. $#x;
        my @l = sort { $a <=> $b } map { sqrt } @s;
        printf "%.5f %.5f\n", $l[0], $l[-1]' "$1" "$2"
}

expect 0 "$weft" train "$recipe" --quiet --out teacher
expect 0 "$weft" check sae.txtpb

# first values: the encoder's transpose with columns of length 1, and a bias from the data
for batch in 4 8; do
    train --out s$batch --steps 1 --set schedule.lr=0 --set train.batch=$batch || fail "start: $(cat err)"
done
[ "$(lengths s8/checkpoints/step-000001/model.safetensors decoder.weight)" = "1.00000 1.00000" ] || fail "decoder at first"
cmp -s s4/checkpoints/step-000001/model.safetensors s8/checkpoints/step-000001/model.safetensors &&
    fail "pre_bias does not depend on the first batch"

# the undisturbed run: what it holds, that it learns, that latents die and the auxiliary loss then is there
train --out a || fail "training: $(cat err)"
end=a/checkpoints/step-000024
[ "$(names $end/model.safetensors | tr '\n' ' ')" = "decoder.weight encoder.weight latent_bias pre_bias " ] ||
    fail "weights: $(names $end/model.safetensors)"
[ "$(names $end/optimizer.safetensors | grep -cv '^adam')" = 1 ] || fail "one counter was expected"
says $end/manifest.json '"scope": "teacher.", "file": "teacher"'
[ "$(lengths $end/model.safetensors decoder.weight)" = "1.00000 1.00000" ] || fail "decoder's columns"
perl -ne '
    $aux{$1 > 0}{$2 > 0}++ if /"aux_k":([0-9.e-]+),"dead":([0-9.e-]+)/;
    ($ev, $lm) = ($1, $2) if /"val_explained_variance":([0-9.]+),"val_loss_recovered":([0-9.]+)/;
    END {
        exit 1 unless $ev > 0.6 && $lm > 0.6;    # of 32 dimensions, 4 latents
        exit 2 if $aux{""}{1} || $aux{1}{""} || !$aux{1}{1} || !$aux{""}{""};
    }' a/log.jsonl || fail "it learns little or AuxK is not tied to dead latents ($?): $(tail -1 a/log.jsonl)"
expect 0 "$weft" eval a --data val.bin --json
says out '"explained_variance":'
dead=$(sed -n 's/.*"val_dead":\([0-9.]*\).*/\1/p' a/log.jsonl | tail -1)
says out "\"dead\": *${dead:0:8}" # the counters come with the weights
expect 0 "$weft" eval a --data val.bin
says out '^loss_recovered'
expect 0 "$weft" eval a --data val.bin --batches 1 --reference # whose teacher has other bytes, of the same numbers

# stopped at two random steps, resumed each time; thread counts; accumulation
at=$((RANDOM % 12 + 1))
at2=$((at + RANDOM % 11 + 1))
echo "stopping at $at and $at2"
train --out b --stop-at $at || fail "stop at $at: $(cat err)"
train --out b --resume --stop-at $at2 || fail "resume: $(cat err)"
train --out b --resume || fail "second resume: $(cat err)"
equal a b step-000024
for t in 1 3 8; do
    train --out t$t --threads $t || fail "$t threads: $(cat err)"
    equal a t$t step-000024
done
train --out c --set train.accumulate=3 --steps 6
train --out d --set train.accumulate=3 --steps 6 --stop-at 3
train --out d --set train.accumulate=3 --steps 6 --resume --threads 3 || fail "accumulation: $(cat err)"
equal c d step-000006

# the ReLU + L1 variant, without AuxK and without rewrite rules
train --out e --set relu=1 --set l1=0.05 --set aux=0 --no-rewrite || fail "relu: $(cat err)"
perl -ne '$l0 = $1 if /"l0":([0-9.]+)/; END { exit !($l0 > 0 && $l0 < 96) }' e/log.jsonl || fail "L0 of the ReLU variant"

# a teacher that is gone, elsewhere, or another one
mv teacher moved
expect 66 "$weft" train sae.txtpb --quiet --out b --resume --steps 30
says err 'in sae.txtpb: load\[0\].file: "teacher"'
expect 66 "$weft" eval a --data val.bin
mv moved teacher
(cd / && "$weft" eval "$work/a" --data "$work/val.bin" >"$work/out" 2>&1) || fail "from elsewhere: $(cat out)"
cp -r teacher kept
expect 0 "$weft" train "$recipe" --quiet --out teacher --resume --steps 64
expect 78 "$weft" train sae.txtpb --quiet --out b --resume --steps 30
says err "other weights 'teacher\.\*'"
expect 78 "$weft" eval a --data val.bin
rm -rf teacher
mv kept teacher
train --out b --resume --steps 26 || fail "the old teacher is back: $(cat err)"

# a student that was distilled does without its teacher, unless the whole loss is asked for
cat >kd.txtpb <<EOF
model: "$root/models/distill.txtpb"
set: ["n_layer=1", "n_head=2", "d=16", "ctx=32", "vocab=64", "t_layer=2", "t_head=2", "t_d=32", "t_ctx=32"]
load { file: "teacher" scope: "teacher." }
data { train: "train.bin" val: "val.bin" }
train { steps: 4 batch: 4 length: 32 log: "kd_loss" }
eval { loss: "lm_loss" }
EOF
expect 0 "$weft" train kd.txtpb --quiet --out kd
says kd/log.jsonl '"kd_loss":[0-9]'
names kd/checkpoints/step-000004/model.safetensors | grep -q teacher && fail "a checkpoint holds the teacher"
# a student as the teacher of another: what its run says of its own teacher is not about it
expect 0 "$weft" train kd.txtpb --quiet --out kd2 --set 'load[0].file=kd' --set t_layer=1 --set t_d=16
mv teacher moved
expect 0 "$weft" generate kd --ids --prompt "1 2 3" --tokens 5
expect 0 "$weft" eval kd --data val.bin
expect 66 "$weft" eval kd --data val.bin --set eval.loss=loss
finish
