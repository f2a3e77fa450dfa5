#!/bin/bash
# train_cocomix.sh - training CoCoMix with labels computed inside: what it saves, that both losses fall, the same bits after
# stops and on every number of threads, for each way of mixing and the baselines; without rewrite rules the same losses.
. tests/tokens.inc
export OMP_WAIT_POLICY=passive # more threads than cores wait for each other

teacher="t_layer=2 t_head=2 t_d=32 t_ctx=32"
# recipe FILE MODEL LINES SETTING...: a recipe for one of the models, all with the same teacher and data
recipe_for() {
    local file=$1 model=$2 lines=$3
    shift 3
    {
        echo "model: \"$root/models/$model.txtpb\" load { file: \"teacher\" scope: \"teacher.\" }"
        for s in $teacher vocab=64 "$@"; do echo "set: \"$s\""; done
        echo 'data { train: "train.bin" val: "val.bin" } checkpoint { every: 7 }'
        echo "$lines"
    } >"$file"
}
student="n_layer=3 n_head=2 d=24 ctx=32 insert=1 dropout=0.1"
concepts="t_tap=1 n_concept=512 k=8 k_label=3"
recipe_for sae.txtpb sae 'start { weight: "pre_bias" value: "median" } start { weight: "decoder.weight" value: "tied" }
    train { steps: 30 batch: 8 length: 32 } optimizer { weight_decay: 0 group { match: "decoder.weight" unit_norm: 0 } }
    schedule { lr: 2e-2 shape: "constant" } eval { every: 0 loss: "mse" }' t_tap=1 n_latent=512 k=8 k_aux=16 dead_after=1500
recipe_for cocomix.txtpb cocomix 'load { file: "sae" scope: "sae." }
    train { steps: 20 batch: 8 length: 32 log: ["lm_loss", "concept_loss"] }
    schedule { lr: 1e-2 warmup: 4 } eval { every: 10 batches: 4 loss: "lm_loss" log: "concept_loss" }' $student $concepts
short='train { steps: 6 batch: 8 length: 32 } schedule { lr: 1e-2 } eval { every: 0 batches: 2 loss: "lm_loss" }'
recipe_for pause.txtpb pause "$short" $student lambda_kd=0.1
recipe_for regress.txtpb regress "$short" $student t_tap=1

train() { "$weft" train "$@" --quiet >out 2>err || fail "train $*: $(cat err)"; }
# equal A B STEP: same log, weights and optimizer state
equal() {
    same "$1/log.jsonl" "$2/log.jsonl"
    for f in model optimizer; do
        same "$1/checkpoints/$3/$f.safetensors" "$2/checkpoints/$3/$f.safetensors"
    done
}
# logged FILE NAME: the values of a name in a log, a line each
logged() { grep -o "\"$2\":[-0-9.e+]*" "$1" | cut -d: -f2; }

expect 0 "$weft" train "$recipe" --quiet --out teacher
train sae.txtpb --out sae

# the undisturbed run: both losses fall, teacher and autoencoder stay outside of checkpoints
train cocomix.txtpb --out a
grep -q warning err && fail "everything was loaded, but: $(cat err)"
for name in lm_loss concept_loss; do
    logged a/log.jsonl $name | perl -e '@x = <>; exit !(@x >= 20 && $x[-1] < $x[0] - 0.2)' ||
        fail "$name does not fall: $(logged a/log.jsonl $name | tr '\n' ' ')"
done
end=a/checkpoints/step-000020
head -c 20000 $end/model.safetensors | grep -aq '"transformer.concept_predictor.weight"' || fail "no concept predictor saved"
head -c 20000 $end/model.safetensors | grep -aqE '"(teacher|sae)\.' && fail "a checkpoint holds the extractor"
grep -q '"scope": "sae.", "file": "sae"' $end/manifest.json || fail "the manifest does not say which autoencoder"

expect 73 "$weft" check a # as weft train a
says err "a: has checkpoints (step [0-9]*); --resume goes on from there"
expect 0 "$weft" check a --resume

# stopped at two random steps, resumed each time
at=$((RANDOM % 10 + 1))
at2=$((at + RANDOM % 9 + 1))
echo "stopping at $at and $at2"
train cocomix.txtpb --out b --stop-at $at --threads 3
train cocomix.txtpb --out b --resume --stop-at $at2 --threads 1
train cocomix.txtpb --out b --resume
equal a b step-000020

# thread counts; each way of mixing, the baselines, accumulation
for t in 1 2 3 8; do
    train cocomix.txtpb --out t$t --threads $t
    equal a t$t step-000020
done
variant=0
for how in "cocomix mix=0" "cocomix mix=2" "cocomix slot=0" "cocomix label_pre=1" "cocomix label_at=1" "cocomix plain_head=1" \
    "cocomix lambda_c=0" "cocomix label_score=4" \
    "cocomix train.accumulate=2" "pause mix=1" "regress distance=2"; do
    variant=$((variant + 1))
    set -- $how
    train $1.txtpb --set $2 --steps 6 --out v$variant-1 --threads 1
    train $1.txtpb --set $2 --steps 6 --out v$variant-3 --threads 3 --stop-at 4
    train $1.txtpb --set $2 --steps 6 --out v$variant-3 --threads 8 --resume
    equal v$variant-1 v$variant-3 step-000006
done

# without rewrite rules: other bits (fused ops round differently), the same losses to 1e-5 (seen: 2e-7)
train cocomix.txtpb --out plain --no-rewrite --steps 8 --set dropout=0
train cocomix.txtpb --out rules --steps 8 --set dropout=0
paste <(logged plain/log.jsonl loss) <(logged rules/log.jsonl loss) >losses
perl -ne '($a, $b) = split; $n++; $bad++ if abs($a - $b) > 1e-5 * $b; END { exit !($n >= 8 && !$bad) }' losses ||
    fail "rules change the losses: $(cat losses)"

# the student alone: exported, it generates in the bare model file as its run does, steered too; the losses need the teacher
expect 0 "$weft" export a --names=cocomix --out=alone
sets=$(for s in $teacher vocab=64 $student $concepts; do echo --set $s; done)
for how in "" "--steer 3*4 --steer 5+1"; do
    expect 0 "$weft" generate a --ids --prompt "1 2 3" --tokens 20 $how
    mv out run
    expect 0 "$weft" generate "$root/models/cocomix.txtpb" $sets --weights alone --ids --prompt "1 2 3" --tokens 20 $how
    same out run
    # and its folder alone says all of it, without a model file or a setting
    expect 0 "$weft" generate alone --ids --prompt "1 2 3" --tokens 20 $how
    same out run
done
# steered, it is a model of its own
expect 0 "$weft" steer alone --steer 3*4 --steer 5+1 --out steered
expect 0 "$weft" generate steered --ids --prompt "1 2 3" --tokens 20
same out run
expect 78 "$weft" eval "$root/models/cocomix.txtpb" $sets --weights alone --data val.bin
says err "missing: teacher\.wte\.weight"
expect 0 "$weft" eval a --data val.bin --batch 1 --set eval.loss=lm_loss --set 'eval.log=lm_loss'
loss=$(sed -n 's/^loss *//p' out)
expect 0 "$weft" eval alone --data val.bin
says out "^loss *$loss\$"
expect 78 "$weft" generate alone --ids --prompt 1 --set k=3
says err 'k is [0-9]* by alone/config.yaml (concept_num), but 3 by --set'
rm -r alone/config.yaml
expect 2 "$weft" generate alone --ids --prompt 1
says err 'insert is not told by these files (insert_layer_index of config.yaml): give --set insert=NUMBER'

# an extractor is read as it was trained: with its parameters, at its depth, on its teacher; the student's own are not its
refuse() { # MESSAGE ARGUMENT...
    rm -rf x
    expect 78 "$weft" train cocomix.txtpb --quiet --steps 1 --out x "${@:2}"
    says err "$1"
    says err 'if that is meant, load .*/model.safetensors: a file is taken as it is'
    says err 'in cocomix.txtpb: load {'
}
expect 0 "$weft" train "$recipe" --quiet --out teacher2 --set train.seed=2
train sae.txtpb --out sae2 --set 'load[0].file=teacher2' --steps 2
train sae.txtpb --out saer --set relu=1 --set l1=0.05 --steps 2
refuse "sae/checkpoints/step-000030: was trained with k=8, but this model reads 'sae\.\*' with k=9" --set k=9
refuse "was trained with k=8, but this model reads 'sae\.\*' with k=6" --set t_k=6
refuse "was trained with t_tap=1, but this model reads 'sae\.\*' with t_tap=2" --set t_tap=2
refuse "teacher/.*: was trained with n_head=2, but this model reads 'teacher\.\*' with n_head=4" --set t_head=4
refuse "saer/.*: was trained with relu=1, but this model reads 'sae\.\*' with relu=0" --set 'load[1].file=saer'
refuse "sae2/.*: was trained on other weights 'teacher\.\*': those of teacher2 had the hash [0-9a-f]*, those of teacher have" \
    --set 'load[1].file=sae2'
refuse "sae/.*: was trained on other weights 'teacher\.\*'" --set 'load[0].file=teacher2'
expect 78 "$weft" labels cocomix.txtpb --quiet --out x.labels --set t_tap=2
says err "was trained with t_tap=1"
for how in "load[0].file=teacher2 load[1].file=sae2" "k=9 t_k=8" "n_head=4 insert=2 k_label=2 n_layer=4 dropout=0.2" \
    "k=9 load[1].file=sae/checkpoints/step-000030/model.safetensors"; do
    train cocomix.txtpb $(for s in $how; do echo --set "$s"; done) --steps 1 --out x --resume=never
    rm -rf x
done

# an extractor that nothing loads is told, once for each part of it, when a run begins and when it goes on
random="warning: frozen weights 'sae\.\*' (4 tensors) were loaded from nothing: they are random; add load { file: \"...\" scope: \"sae\.\" }"
for part in 'sae' 'teacher\|sae'; do
    grep -v "^load.*sae" cocomix.txtpb | sed "s/load { file: \"\($part\)\" scope: \"[a-z.]*\" }//" >unloaded.txtpb
    train unloaded.txtpb --out "u$part" --steps 2
    for again in 1 2; do
        [ "$(grep -c "$random" err)" = 1 ] || fail "$part is not loaded: $(cat err)"
        [ "$(grep -c "warning: frozen weights 'teacher" err)" = $([ "$part" = sae ]; echo $?) ] || fail "$part: $(cat err)"
        train "u$part" --resume --steps 3
    done
done
expect 0 "$weft" generate usae --ids --prompt "1 2 3" --tokens 2 # needs none of it
grep -q warning err && fail "generation reads no extractor, but: $(cat err)"

# another autoencoder than the one a run was trained with is refused
train sae.txtpb --out sae --steps 32 --resume
expect 78 "$weft" train cocomix.txtpb --quiet --out b --resume --steps 24
says err "other weights 'sae\.\*'"
finish
