#!/bin/sh
# cocomix_size.sh - parameters and FLOPs of the paper's models as `weft check` counts them, against closed formulas; every
# recipe passes it.
#
# The FLOPs a token that a CoCoMix step of the 69M model needs, a multiply-add counting two, causal scores, matrix
# products alone: 1048.2 million, 550.8 million with cached labels (student 229.6 + 66.1 + 154.4 + 100.7 + 0.1, extractor
# 265.9 + 181.0, encoder 50.3, attribution 0.05). What is not a product (norms, softmax, AdamW) is in our count and
# not in that one: within 2 %.
set -eu
weft=$WEFT
failed=0

# field NAME FILE [SETTING]...: a number of weft check --json
field() {
    name=$1
    shift
    "$weft" check "$@" --no-files --json | tr ',{}' '\n\n\n' | sed -n "s/^\"$name\":\([0-9.e+]*\)$/\1/p"
}
# near WHAT FOUND EXPECTED SHARE
near() {
    awk -v f="$2" -v e="$3" -v s="$4" 'BEGIN { exit !(f != "" && f >= e * (1 - s) && f <= e * (1 + s)) }' && echo "ok: $1 $2" || {
        echo "FAILED: $1 is '$2', expected $3 within $4"
        failed=1
    }
}
per_token() { awk -v a="$1" -v t="$2" 'BEGIN { printf "%.2f", a / t / 1e6 }'; }

m=models/cocomix.txtpb
near "69M: trained parameters" "$(field trainable $m)" 85064192 0
near "69M: active parameters (the paper's formula: 51.5M + (C + K) d and biases)" "$(field active $m)" 68302848 0.0005
tokens=$(field tokens $m)
near "69M: MFLOP a token" "$(per_token "$(field flops_training $m)" "$tokens")" 1048.2 0.02
near "69M: MFLOP a token, cached labels" "$(per_token "$(field flops_cached $m)" "$tokens")" 550.8 0.02
# of a recipe that accumulates, too, all are of `tokens`; without a concept loss there is no label to compute
r=models/recipes/cocomix-69m
tokens=$(field tokens $r.txtpb)
near "the recipe, which accumulates: MFLOP a token, labels computed" "$(per_token "$(field flops_computed $r.txtpb)" "$tokens")" 1048.2 0.02
near "the recipe: MFLOP a token, cached labels" "$(per_token "$(field flops_cached $r.txtpb)" "$tokens")" 550.8 0.02
near "insertion only: no label is computed" "$(field flops_training $r-insert-only.txtpb)" "$(field flops_cached $r-insert-only.txtpb)" 1e-4
near "insertion only: MFLOP a token" "$(per_token "$(field flops_training $r-insert-only.txtpb)" "$tokens")" 488 0.002
set -- --set n_layer=24 --set n_head=16 --set insert=5
near "386M: trained parameters" "$(field trainable $m "$@" --set d=1024)" 421966848 0
near "386M: active parameters" "$(field active $m "$@" --set d=1024)" 388400000 0.001
near "1.38B: trained parameters" "$(field trainable $m "$@" --set d=2048)" 1447880704 0
near "1.38B: active parameters" "$(field active $m "$@" --set d=2048)" 1380800000 0.001
near "NTP 69M" "$(field trainable models/gpt2.txtpb --set n_layer=8 --set n_head=8 --set d=624)" 69445584 0
near "NTP 386M" "$(field trainable models/gpt2.txtpb --set n_layer=24 --set n_head=16 --set d=1072)" 386274832 0
near "NTP 1.38B" "$(field trainable models/gpt2.txtpb --set n_layer=24 --set n_head=16 --set d=2096)" 1373389328 0
# a student's dropout is not its teacher's
for m in cocomix distill pause regress; do
    "$weft" show models/$m.txtpb --set dropout=0.1 --stage=expanded | grep -q 'dropout .* p=0\.1 .*\[teacher' || continue
    echo "FAILED: $m: the teacher has dropout"
    failed=1
done
for r in models/recipes/*.txtpb; do
    out=$("$weft" check "$r" --no-files 2>&1) && continue
    echo "FAILED: weft check $r"
    echo "$out" | tail -3
    failed=1
done
exit $failed
