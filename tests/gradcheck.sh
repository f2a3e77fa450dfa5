#!/bin/bash
# gradcheck.sh - `weft gradcheck` on a small GPT-2: every weight, the rewritten graph too; exit codes.
set -u
: "${WEFT:?the tool to test}"
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
failed=0
small="--set n_layer=1 --set n_head=2 --set d=4 --set vocab=7 --set ctx=3 --set B=1 --ints-below=7 --output=loss"

# gradcheck CODE PATTERN ARGUMENT...: the exit code, and a line that matches.
gradcheck() {
    local code=$1 pattern=$2
    shift 2
    "$WEFT" gradcheck "$@" >"$out" 2>&1
    local got=$?
    [ $got = "$code" ] || { echo "FAILED: $*: exit code $got, expected $code"; cat "$out"; failed=1; }
    grep -q -- "$pattern" "$out" || { echo "FAILED: $*: no '$pattern'"; cat "$out"; failed=1; }
}

gradcheck 0 '^ok: 16 tensors' models/gpt2.txtpb $small
gradcheck 0 '^ok: 16 tensors' models/gpt2.txtpb $small --set dropout=0.3
gradcheck 0 '^ok: 16 tensors' models/gpt2.txtpb $small --rewrite
gradcheck 0 '"name":"h.0.attn.c_attn.weight","elements":48,"probes":48' models/gpt2.txtpb $small --json
gradcheck 0 '^ok: 5 tensors' tests/losses.txtpb --ints-below=7
gradcheck 0 '^ok: 5 tensors' tests/losses.txtpb --ints-below=7 --rewrite
sae="models/sae.txtpb --set t_layer=1 --set t_head=2 --set t_d=8 --set vocab=7 --set t_ctx=3 --set t_tap=1 --set B=2
    --set n_latent=12 --set k=3 --set k_aux=2 --ints-below=7 --output=loss"
gradcheck 0 '^ok: 4 tensors' $sae
gradcheck 0 '^ok: 4 tensors' $sae --rewrite
gradcheck 0 '^ok: 4 tensors' $sae --set relu=1 --set l1=0.1
# What stops gradients is held: gates, thresholds with a straight-through derivative, positions; a counter stands still.
for kind in 0 1 2; do
    gradcheck 0 '^ok: ' tests/gates.txtpb --set kind=$kind
    gradcheck 0 '^ok: ' tests/gates.txtpb --set kind=$kind --rewrite
done
# A difference cannot be exact: a bound below its own rounding error must be reported as exceeded.
gradcheck 1 'differs from central differences' models/gpt2.txtpb $small --tolerance=1e-15
gradcheck 2 'no float output called nothing' models/gpt2.txtpb $small --output=nothing
gradcheck 66 'missing.txtpb' missing.txtpb
exit $failed
