#!/bin/bash
# tsan.sh - trainings, evaluation, generation, labels and the tokenizer on four threads under ThreadSanitizer: no data race.
# For builds with clang and -DWEFT_SANITIZE=thread (tools/check makes one); others skip it.
#
# Archer tells ThreadSanitizer what OpenMP's barriers order; without it, and with gcc's runtime, loops without a race are
# reported. oneDNN is not instrumented: what it does inside is not looked at. Its copy of libgomp is loaded, but its calls go to
# clang's runtime, which is loaded before and has the same names.
: "${WEFT:?set WEFT to the tool}"
nm "$WEFT" 2>/dev/null | grep -q __tsan_init || { echo "no build for ThreadSanitizer"; exit 77; }
. tests/tokens.inc
unset OMP_WAIT_POLICY

omp=$(ldd "$weft" | sed -n 's/.*libomp[^ ]* => \([^ ]*\) .*/\1/p')
archer=$(dirname "$(realpath "${omp:-/}")")/libarcher.so
[ -f "$archer" ] || { echo "no Archer beside '$omp'"; exit 77; }
export OMP_NUM_THREADS=4 OMP_TOOL_LIBRARIES=$archer TSAN_OPTIONS="ignore_noninstrumented_modules=1 exitcode=99"

fixed=
# ThreadSanitizer of LLVM 14 cannot live with the 32 random bits that newer kernels give to addresses.
if ! "$weft" --version >out 2>err && grep -q 'unexpected memory mapping' err; then
    setarch -R "$weft" --version >out 2>err || { echo "no memory layout for ThreadSanitizer"; exit 77; }
    fixed="setarch -R"
fi
ARCHER_OPTIONS=verbose=1 $fixed "$weft" train "$recipe" --set root=. --steps 1 --quiet --out first >out 2>err
says out 'Archer detected OpenMP application with TSan'

# A race is seen: the same compiler, runtime and options.
cat >race.c <<'END'
int main(void)
{
    int sum = 0;
#pragma omp parallel for num_threads(4)
    for (int i = 0; i < 100000; i++)
        sum += i;
    return sum == 1;
}
END
"${CC:?}" -O1 -g -fopenmp -fsanitize=thread race.c -o race 2>err || fail "compiling race.c: $(cat err)"
$fixed ./race 2>err
says err 'WARNING: ThreadSanitizer: data race'

clean() { # COMMAND...: succeeds, and no race was reported
    $fixed "$@" >out 2>err || fail "exit $?: $*: $(grep -v '^ *$' err | head -40)"
    grep -q 'WARNING: ThreadSanitizer' err && fail "$*: $(grep -v '^ *$' err | head -40)"
}

# GPT-2 with dropout: training with evaluation, going on, evaluation alone, generation
clean "$weft" train "$recipe" --set root=. --quiet --out teacher --steps 4 --set dropout=0.1 --set train.accumulate=2
clean "$weft" train "$recipe" --set root=. --quiet --out teacher --steps 6 --resume --set dropout=0.1 --set train.accumulate=2
clean "$weft" eval teacher --data val.bin --batches 2
clean "$weft" generate teacher --ids --prompt "1 2 3" --tokens 8

# CoCoMix: an autoencoder, then the student with labels computed in the step
recipe_for() { # FILE MODEL LINES SETTING...
    local file=$1 model=$2 lines=$3
    shift 3
    {
        echo "model: \"$root/models/$model.txtpb\" load { file: \"teacher\" scope: \"teacher.\" }"
        for s in t_layer=2 t_head=2 t_d=32 t_ctx=32 vocab=64 t_tap=1 k=8 "$@"; do echo "set: \"$s\""; done
        echo "data { train: \"train.bin\" val: \"val.bin\" } $lines"
    } >"$file"
}
recipe_for sae.txtpb sae 'train { steps: 3 batch: 4 length: 32 } eval { every: 0 loss: "mse" batches: 1 }
    start { weight: "pre_bias" value: "median" } start { weight: "decoder.weight" value: "tied" }
    optimizer { weight_decay: 0 group { match: "decoder.weight" unit_norm: 0 } }' n_latent=256 k_aux=16 dead_after=100
recipe_for cocomix.txtpb cocomix 'load { file: "sae" scope: "sae." } train { steps: 3 batch: 4 length: 32 }
    eval { every: 2 batches: 1 loss: "lm_loss" }' n_layer=3 n_head=2 d=24 ctx=32 insert=1 n_concept=256 k_label=3 dropout=0.1
clean "$weft" train sae.txtpb --quiet --out sae
clean "$weft" train cocomix.txtpb --quiet --out cocomix
clean "$weft" labels cocomix.txtpb --out train.labels --set train.batch=4

# the tokenizer
perl -e 'srand(7); print join(" ", map { join "", map { chr(97 + rand(12) ** 2 / 12) } 0 .. rand 6 } 1 .. 12), "\n\n" for 1 .. 3000' >text
clean "$weft" tokenize train --vocab 320 --documents blank --threads 4 --out tokenizer.json text
clean "$weft" tokenize encode --tokenizer tokenizer.json --documents blank --threads 4 --out data text
finish
