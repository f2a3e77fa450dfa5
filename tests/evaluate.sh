#!/bin/bash
# evaluate.sh - an evaluation is of all sequences of its file, whatever the batch: what is left over, short files, graphs with a
# batch of their own, ratios over all tokens.
. tests/tokens.inc

# model FILE B T [PARAMETERS]: a loss that depends on every token
model() {
    cat >"$1" <<END
main: "m"
module {
  name: "m" ${4:-}
  input { name: "tokens" type: "i32[$2,$3]" } input { name: "targets" type: "i32[$2,$3]" }
  weight { name: "w" type: "f32[64,8]" init: "normal(0.5)" } weight { name: "v" type: "f32[8,64]" init: "normal(0.5)" }
  node { op: "embedding" in: ["w", "tokens"] out: "h" } node { op: "matmul" in: ["h", "v"] out: "logits" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  node { op: "mean" in: "logits" out: "level" }
  output: ["loss", "logits", "level"]
}
END
}
model free.txtpb B T 'param: "B=3" param: "T=16"'
model flat.txtpb 3 16
model half.txtpb 3 16 'param: "unused=1"'
number() { sed -n "s/.*\"$2\":\([^,}]*\).*/\1/p" "$1" | tail -1; }
# near A B WHAT: to six digits, as sums of other orders round
near() { perl -e 'exit !(abs($ARGV[0] - $ARGV[1]) <= 1e-6 * (1 + abs($ARGV[1])))' "$1" "$2" || fail "$3: $1 and $2"; }

# sequences of 16 in a file: 1, 2 (less than a batch of 3), 3, 5 and 8
for n in 1 2 3 5 8; do
    tokens val.bin $((16 * n + 1 + n % 3))
    expect 0 "$weft" eval free.txtpb --data val.bin --batch 1 --json
    true_loss=$(number out loss)
    for m in free flat half; do
        for batches in 0 1 4; do
            cat >r.txtpb <<END
name: "r" model: "$m.txtpb" data { train: "train.bin" val: "val.bin" } train { steps: 1 batch: 3 length: 16 }
eval { batches: $batches log: ["level"] } schedule { lr: 0 min_lr: 0 } optimizer { weight_decay: 0 }
END
            rm -rf run
            expect 0 "$weft" train r.txtpb --out run --quiet
            all=$((16 * n))
            [ $batches = 1 ] && [ $n -gt 3 ] && all=48
            [ "$(number run/log.jsonl val_tokens)" = $all ] || fail "$m, $n, $batches: $(cat run/log.jsonl)"
            [ $all != $((16 * n)) ] || near "$(number run/log.jsonl val_loss)" "$true_loss" "$m, $n sequences, batches $batches"
        done
        expect 0 "$weft" eval run --json
        near "$(number out loss)" "$true_loss" "eval of $m, $n sequences"
        [ "$(number out tokens)" = $((16 * n)) ] || fail "eval of $m: $(number out tokens) tokens"
        expect 0 "$weft" eval $m.txtpb --weights run --data val.bin --json
        near "$(number out loss)" "$true_loss" "$m.txtpb, $n sequences"
    done
done

# less than one sequence; a batch that is not the graph's
tokens short.bin 16
expect 65 "$weft" train r.txtpb --out none --quiet --set data.val=short.bin
says err 'short.bin: 16 tokens are too few for one sequence of 16'
for verb in "check r.txtpb" "train r.txtpb --out none --quiet"; do
    # shellcheck disable=SC2086 # the words are arguments
    expect 65 "$weft" $verb --set train.batch=4
    says err 'train.batch is 4, but the model has no parameter B: its tokens are 3 sequences of 16'
    # shellcheck disable=SC2086
    expect 65 "$weft" $verb --set train.length=8
    says err 'train.length is 8, but the model has no parameter T: its tokens are 3 sequences of 16'
done
expect 2 "$weft" eval flat.txtpb --data val.bin --batch 2
says err 'no parameters B and T: its tokens are 3 sequences of 16, not 2 of 16'

# metrics that are ratios: of sums over all tokens, whatever the batch and what is left over of it
tokens val.bin $((32 * 23 + 5))
cat >sae.txtpb <<END
model: "$root/models/sae.txtpb"
set: ["t_layer=2", "t_head=2", "t_d=16", "t_ctx=32", "t_tap=1", "vocab=64", "n_latent=48", "k=4", "k_aux=8"]
data { train: "train.bin" val: "val.bin" } train { steps: 12 batch: 4 length: 32 }
optimizer { weight_decay: 0 } schedule { lr: 1e-2 shape: "constant" }
start { weight: "pre_bias" value: "median" } start { weight: "decoder.weight" value: "tied" }
eval { every: 0 loss: "lm_loss_sae" log: ["lm_loss", "lm_loss_mean", "loss_recovered", "explained_variance", "mse", "l0"] }
END
expect 0 "$weft" train sae.txtpb --out s --quiet --set train.seed=4
names="loss lm_loss lm_loss_mean explained_variance mse l0"
# all 23 sequences as one batch, as a program that runs once computes it: there the batch is the data
perl -e 'local $/; open F, "<val.bin"; my @t = unpack "v*", <F>; open O, ">tokens.txt"; print O "@t[0 .. 735]";
    open O, ">targets.txt"; print O "@t[1 .. 736]"'
settings="--set t_layer=2 --set t_head=2 --set t_d=16 --set t_ctx=32 --set t_tap=1 --set vocab=64 --set n_latent=48 --set k=4 --set k_aux=8"
# shellcheck disable=SC2086 # the words are arguments
expect 0 "$weft" run "$root/models/sae.txtpb" $settings --set B=23 --weights s/checkpoints/step-000012 --seed 4 --input tokens=tokens.txt \
    --input targets=targets.txt --fetch h --fetch rec --fetch u --fetch v --fetch lm_loss_mean --fetch loss_recovered --fetch lm_loss \
    --output all.safetensors --show 1
# ... and by the formulas, in double, from the rows that came out
perl -e '
    open my $f, "<", "all.safetensors"; binmode $f; read $f, my $n, 8; read $f, my $h, $n = unpack("Q<", $n);
    sub rows { $h =~ /"$_[0]":\{[^}]*"data_offsets":\[(\d+),(\d+)\]/ or die; seek $f, 8 + $n + $1, 0; read $f, my $d, $2 - $1; unpack "f<*", $d }
    sub nmse {
        my ($y, $x, $d) = @_; my (@m, $e, $v);
        $m[$_ % $d] += $x->[$_] / (@$x / $d) for 0 .. $#$x;
        for (0 .. $#$x) { $e += ($y->[$_] - $x->[$_]) ** 2; $v += ($x->[$_] - $m[$_ % $d]) ** 2 }
        $e / $v
    }
    my @x = map { [rows($_)] } qw(rec h v u);
    printf "explained_variance %.9g\nmse %.9g\nlm_loss_mean %.9g\nlm_loss %.9g\n",
        1 - nmse($x[0], $x[1], 16), nmse($x[2], $x[3], 16), rows("lm_loss_mean"), rows("lm_loss")' >formula
for batch in 1 3 4 8 22 23 64; do
    expect 0 "$weft" eval s --batch $batch --json
    while read -r name value; do near "$(number out "$name")" "$value" "$name, batch $batch"; done <formula
    perl -e 'my ($mean, $sae, $plain, $got) = @ARGV; exit !(abs(($mean - $sae) / ($mean - $plain) - $got) < 1e-3)' \
        "$(number out lm_loss_mean)" "$(number out loss)" "$(number out lm_loss)" "$(number out loss_recovered)" ||
        fail "loss_recovered, batch $batch: $(cat out)"
    [ "$(number out tokens)" = 736 ] || fail "$(number out tokens) tokens of two rounds"
    expect 0 "$weft" eval s --batch $batch --reference --json
    sed 's/"tokens_per_s.*//' out >"ref$batch"
    perl -e 'local $/; my ($a, $b) = map { open F, "<$_"; <F> } @ARGV; my @a = $a =~ /:([0-9.e-]+)/g; my @b = $b =~ /:([0-9.e-]+)/g;
        for (0 .. $#a) { exit 1 if abs($a[$_] - $b[$_]) > 2e-7 * (1 + abs $b[$_]) } exit !(@a == @b && @a > 8)' "ref$batch" ref1 ||
        fail "batch $batch, in double: $(diff "ref$batch" ref1)" # what is between rounds is f32 nowhere
done
for name in $names; do near "$(number s/log.jsonl "val_$name")" "$(number ref1 "$name")" "val_$name of training"; done

# means of means, a graph with a batch of its own, and what is no mean over the batch
pooled() { # FILE B PARAMETERS: the variance over the data of the first logit, and its largest distance from the mean
    cat >"$1" <<END
main: "m"
module {
  name: "m" $3
  input { name: "tokens" type: "i32[$2,16]" } input { name: "targets" type: "i32[$2,16]" }
  weight { name: "w" type: "f32[64,1]" init: "normal(0.5)" }
  node { op: "embedding" in: ["w", "tokens"] out: "x" } node { op: "cast" in: "targets" out: "far" attr: "to=f32" }
  node { op: "mean" in: "x" out: "m0" } node { op: "data_mean" in: "m0" out: "m1" }
  node { op: "sub" in: ["x", "m1"] out: "c" } node { op: "mul" in: ["c", "c"] out: "c2" }
  node { op: "mean" in: "c2" out: "v0" } node { op: "data_mean" in: "v0" out: "v1" }
  node { op: "sqrt" in: "v1" out: "std" } node { op: "div" in: ["c", "std"] out: "z" }
  node { op: "mul" in: ["z", "z"] out: "z2" } node { op: "mean" in: "z2" out: "one" }
  node { op: "mul" in: ["z2", "z2"] out: "z4" } node { op: "mean" in: "z4" out: "kurtosis" }
  node { op: "data_mean" in: "$4" out: "p" } node { op: "mean" in: "p" out: "other" }
  output: ["m0", "m1", "v1", "std", "one", "kurtosis", "other"]
}
END
}
tokens val.bin $((16 * 7 + 2))
pooled free.txtpb B 'param: "B=2"' far
pooled flat.txtpb 2 '' far
for m in free flat; do
    cat >p.txtpb <<END
model: "$m.txtpb" data { val: "val.bin" } train { batch: 2 length: 16 loss: "m0" } eval { log: ["m1", "v1", "std", "one", "kurtosis"] }
END
    expect 0 "$weft" eval p.txtpb --json
    near "$(number out loss)" "$(number out m1)" "a mean is its mean, $m"
    near "$(number out one)" 1 "standardised by the whole data, $m"
    near "$(perl -e 'print sqrt $ARGV[0]' "$(number out v1)")" "$(number out std)" "$m"
    kurtosis=$(number out kurtosis)
    [ -z "${before:-}" ] || near "$kurtosis" "$before" "$m"
    before=$kurtosis
    [ "$(number out tokens)" = 112 ] || fail "tokens: $(cat out)"
done
sed -i 's/m1", "v1/other", "v1/' p.txtpb
expect 0 "$weft" eval p.txtpb # a graph that has one batch only has one type
expect 65 "$weft" eval p.txtpb --set model=free.txtpb
says err "data_mean: 'far' is f32\[2,16\] in a batch of 2, but f32\[1,16\] in a batch of one"

# a loss that ignores a token is a ratio, too: of its sum and the number of the others
cat >ignore.txtpb <<'END'
main: "m"
module {
  name: "m" param: "B=2" param: "T=16"
  input { name: "tokens" type: "i32[B,T]" } input { name: "targets" type: "i32[B,T]" }
  weight { name: "w" type: "f32[64,64]" init: "normal(2)" }
  node { op: "embedding" in: ["w", "tokens"] out: "logits" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: ["batch_loss", "nll"] attr: "ignore=0" }
  node { op: "above" in: "targets" out: "kept" } node { op: "mean" in: "kept" out: "k0" } node { op: "data_mean" in: "k0" out: "k" }
  node { op: "mean" in: "nll" out: "n0" } node { op: "data_mean" in: "n0" out: "n" } node { op: "div" in: ["n", "k"] out: "loss" }
  output: ["loss", "batch_loss"]
}
END
perl -e 'local $/; open F, "<train.bin"; my @t = unpack "v*", <F>; $_ = $_ % 3 && $_ for @t[0 .. 40]; open O, ">val.bin"; print O pack "v*", @t[0 .. 200]'
echo 'model: "ignore.txtpb" data { val: "val.bin" } train { batch: 2 length: 16 } eval { log: ["batch_loss"] }' >ignore-r.txtpb
expect 0 "$weft" eval ignore-r.txtpb --batch 12 --json
loss=$(number out batch_loss)
for batch in 1 2 5 12; do
    expect 0 "$weft" eval ignore-r.txtpb --batch $batch --json
    near "$(number out loss)" "$loss" "ignored tokens, batch $batch"
done
finish
