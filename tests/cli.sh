#!/bin/bash
# cli.sh - the tool from outside: every verb's help, options and their errors, outputs, exit codes.
. tests/tokens.inc
gpt2=$root/models/gpt2.txtpb
small="--set n_layer=2 --set n_head=2 --set d=32 --set vocab=64 --set ctx=32 --set B=2"

# the table, help, version
expect 0 "$weft"
verbs=$(sed -n 's/^  \([a-z]*\)  *.*/\1/p' out)
[ "$(echo "$verbs" | wc -w)" -ge 11 ] || fail "only these verbs: $verbs"
for v in $verbs; do
    expect 0 "$weft" "$v" --help
    says out "^usage: weft $v"
    expect 0 "$weft" help "$v"
    [ "$v" = tokenize ] && continue
    expect 2 "$weft" "$v" --no-such-option
    says err "no-such-option"
done
expect 0 "$weft" --version
for word in weft compiler onednn openmp protobuf-c; do says out "^$word"; done
expect 2 "$weft" trian
says err "did you mean 'train'"
expect 2 "$weft" check
expect 2 "$weft" check a b
expect 2 "$weft" check "$gpt2" --max-memory=-1
says err 'an integer in 0\.\.'
expect 2 "$weft" check "$gpt2" --max-memory=12x
expect 2 "$weft" check "$gpt2" --max-memory=0x10
expect 2 "$weft" check "$gpt2" --max-memory="$(printf '\t5')"
expect 2 "$weft" generate x --temperature=0x1p-1
expect 2 "$weft" check "$gpt2" --set
says err 'needs an argument'
expect 2 "$weft" generate x --top-p=0

# parameters, and the whole line up to the plan
expect 0 "$weft" check "$gpt2" --set T=64
says out '124,439,808 stored, 124,439,808 trainable'
expect 0 "$weft" check "$gpt2" --set n_layer=24 --set n_head=16 --set d=1024 --set T=64 --json
says out '"parameters":354823168'
expect 0 "$weft" check "$recipe" --set train.accumulate=2
says out '^recipe'
expect 71 "$weft" check "$gpt2" --set T=64 --max-memory=1000000
says err '^  .*[0-9] bytes  .*\(wte.weight\|logits\|f32\[\)'
expect 2 "$weft" check "$gpt2" --set n_layers=2
says err "n_layer"
expect 66 "$weft" check nothing.txtpb
expect 66 "$weft" check /dev/null
: >empty.txtpb
expect 65 "$weft" check empty.txtpb

# stages; the expanded graph is a model file and a fixed point
for stage in loaded expanded grad optimized plan; do
    expect 0 "$weft" show "$gpt2" $small --stage=$stage
    [ -s out ] || fail "nothing at stage $stage"
done
expect 0 "$weft" show "$gpt2" $small --as=txtpb --output=flat.txtpb
expect 0 "$weft" show flat.txtpb --as=txtpb --output=flat2.txtpb
same flat.txtpb flat2.txtpb
expect 0 "$weft" show flat.txtpb --as=binpb --output=flat.binpb
expect 0 "$weft" show flat.binpb --as=txtpb --output=flat3.txtpb
same flat.txtpb flat3.txtpb
expect 0 "$weft" pack "$gpt2" gpt2.binpb
"$weft" check "$gpt2" --set T=64 --json | sed 's/.*"kind"//;s/"compile_ns".*//' >one
"$weft" check gpt2.binpb --set T=64 --json | sed 's/.*"kind"//;s/"compile_ns".*//' >two
same one two
expect 2 "$weft" show "$gpt2" --stage=expandet
says err "did you mean 'expanded'"
expect 2 "$weft" show "$gpt2" --as=binpb

# drawings: repeats folded, nested clusters, types; the picture does not grow with the layers
for n in 4 24; do
    expect 0 "$weft" show "$gpt2" --set n_layer=$n --set T=64 --as=dot
    says out "h.{0..$((n - 1))}  ×$n"
    says out 'subgraph cluster'
    says out 'f32\[4,64,768\]'
    grep -c . out >lines.$n
done
same lines.4 lines.24
expect 0 "$weft" show "$gpt2" --set n_layer=3 --set T=64 --as=dot --unfold
says out 'label="h.2"'
expect 0 "$weft" show "$gpt2" --set n_layer=3 --set T=64 --as=dot --depth=1 --rankdir=LR
says out 'rankdir=LR'
if command -v dot >/dev/null; then
    for stage in expanded grad; do
        expect 0 "$weft" show "$gpt2" --set n_layer=4 --set T=64 --stage=$stage --as=svg --output=x.svg
        grep -q '</svg>' x.svg || fail "no drawing at stage $stage"
        [ -s err ] && fail "dot complains: $(head -1 err)"
    done
fi

# ops
expect 0 "$weft" ops
says out '^matmul '
expect 0 "$weft" ops layer_norm
says out 'attr eps'
expect 2 "$weft" ops layernorm
says err "did you mean 'layer_norm'"
expect 0 "$weft" ops --rules

# running: files in, files out, the reference, NaN
expect 0 "$weft" run "$gpt2" $small --below 64 --output out.safetensors --json
says out '"loss"'
expect 0 "$weft" run "$gpt2" $small --below 64 --fetch loss --reference
a=$(sed -n '2s/ //gp' out)
expect 0 "$weft" run "$gpt2" $small --below 64 --fetch loss --profile --check-nan --no-rewrite
says err 'matmul'
perl -e 'exit !(abs($ARGV[0] - $ARGV[1]) < 1e-5 && $ARGV[0] > 4)' "$a" "$(sed -n '2s/ //gp' out)" || fail "reference differs"
seq 0 63 >tokens.txt
expect 0 "$weft" run "$gpt2" $small --below 64 --input tokens=tokens.txt --fetch loss
expect 78 "$weft" run "$gpt2" $small --below 64 --input tokens=train.bin
says err '40000 bytes'
expect 2 "$weft" run "$gpt2" $small --input tokns=tokens.txt
says err "did you mean 'tokens'"
seq 100 163 >bad.txt
expect 65 "$weft" run "$gpt2" $small --input tokens=bad.txt
says err '100'

# any value can be fed: the same loss from the hidden state, without the tokens that made it
expect 0 "$weft" run "$gpt2" $small --below 64 --fetch x --fetch loss --output mid.safetensors --show 1
a=$(tail -1 out)
expect 0 "$weft" run "$gpt2" $small --below 64 --feed x=mid.safetensors --fetch loss --show 1
[ "$a" = "$(tail -1 out)" ] || fail "loss from a fed value: $(tail -1 out) instead of $a"
expect 2 "$weft" run "$gpt2" $small --feed y=mid.safetensors
says err "no output or value 'y'"

# a trained model: evaluation and generation, with the cache and without
expect 0 "$weft" train "$recipe" --out r --json
says out '"step":60'
expect 0 "$weft" train r --resume
says out '^r: step 60, nothing to do: the run had come as far already$'
expect 0 "$weft" eval r --json
loss=$(sed 's/.*"loss":\([0-9.]*\).*/\1/' out)
says r/log.jsonl "\"val_loss\":$loss"
expect 0 "$weft" eval r/checkpoints/step-000060 --data train.bin --batches 3
expect 0 "$weft" eval "$gpt2" $small --set T=32 --weights r --data val.bin --batch 8 --json
says out "\"loss\":$loss"
expect 0 "$weft" eval "$gpt2" $small --set T=32 --weights r/checkpoints/step-000060/model.safetensors --data val.bin --batch 8 --json
says out "\"loss\":$loss"
# what is left after the last whole batch counts: the same mean whatever the batch
tokens odd.bin 1000
expect 0 "$weft" eval r --data odd.bin --json
says out '"tokens":992,'
odd=$(sed 's/.*"loss":\([0-9.]*\).*/\1/' out)
for batch in 1 5 31 40; do
    expect 0 "$weft" eval r --data odd.bin --json --batch $batch
    says out '"tokens":992,'
    perl -e 'exit !(abs($ARGV[0] - $ARGV[1]) < 2e-6)' "$odd" "$(sed 's/.*"loss":\([0-9.]*\).*/\1/' out)" || fail "batch $batch: another loss than $odd"
done
expect 0 "$weft" eval r --data odd.bin --json --batches 2
says out '"tokens":512,'
for how in "--temperature 0" "--seed 5 --top-k 20 --top-p 0.9" "--n 2"; do
    expect 0 "$weft" generate r --ids --prompt "1 2,3" --tokens 70 $how
    cp out cached
    expect 0 "$weft" generate r --ids --prompt "1 2,3" --tokens 70 $how --no-cache --threads 1
    same out cached
done
[ "$(head -1 cached | wc -w)" = 70 ] || fail "not 70 tokens"
seq 1 50 | "$weft" generate r --ids --prompt - --tokens 3 --json >out || fail "prompt from standard input"
says out '"tokens":\['
expect 78 "$weft" generate r --ids --prompt 64
expect 2 "$weft" generate r --ids --prompt x
expect 2 "$weft" generate r --ids --prompt @
says err '^weft: error: --prompt=@: expected the name of a file'
expect 2 "$weft" generate r --prompt hello
says err 'tokenizer'
expect 66 "$weft" eval nowhere --data val.bin

# the benchmark; no kernel of a shipped model is oneDNN's slow reference
expect 0 "$weft" bench "$recipe" --steps 2 --warmup 1 --gemm-seconds 0.05 --json
# both speeds are times of this moment, so their ratio may be any on a busy machine, but it must be their ratio
perl -ne '
    my ($flops, $rate, $share) = /"flops":([^,]+),"gemm_flops_per_s":([^,]+),"share_of_gemm":([^,]+),/ or exit 1;
    my ($seconds) = /"seconds":([^,]+),/ or exit 1;
    exit !($share > 0 && abs($share * $seconds * $rate / $flops - 1) < 1e-6)' out || fail "share of the machine: $(cat out)"
grep -q '"impl":"ref' out && fail "a reference implementation is in use"
expect 0 "$weft" bench "$gpt2" $small --batch 2 --length 32 --steps 1 --gemm-seconds 0.05 --forward
says out 'tokens/s'

# JSON is JSON
if command -v python3 >/dev/null; then
    for args in "check $recipe --json" "ops --json" "ops --rules --json" "eval r --json" "run $gpt2 $small --json" \
        "generate r --ids --prompt 1 --tokens 2 --json" "bench $recipe --steps 1 --gemm-seconds 0.05 --json"; do
        "$weft" $args 2>/dev/null | python3 -m json.tool >/dev/null || fail "no JSON: weft $args"
    done
    python3 -c 'import json,sys; [json.loads(l) for f in sys.argv[1:] for l in open(f)]' r/log.jsonl r/timing.jsonl ||
        fail "logs are no JSON lines"
fi

# --output replaces a file as a whole: where the disk takes too little the old one stays
echo old >kept.txt
(ulimit -f 4; expect 74 "$weft" show "$gpt2" --output=kept.txt; exit $fails) || fail "show where the disk is full"
[ "$(cat kept.txt)" = old ] || fail "show --output left half a file"
expect 0 "$weft" show "$gpt2" $small --stage=plan --output=kept.txt
says kept.txt 'matmul'
if command -v dot >/dev/null; then
    echo old >kept.svg
    (ulimit -f 4; expect 74 "$weft" show "$gpt2" $small --as=svg --output=kept.svg; exit $fails) || fail "a drawing"
    [ "$(cat kept.svg)" = old ] || fail "show --as=svg left half a file"
fi

# what is no regular file keeps its place
mkfifo fifo
ln -s fifo link
mkdir folder
for place in fifo link folder; do # not /dev/null: what fails here as root must not harm the machine
    for args in "show $gpt2 --output=$place" "show $gpt2 --as=txtpb --output=$place" "pack $gpt2 $place" "tokenize train --vocab 300 --out $place $root/README.md"; do
        expect 73 "$weft" $args
        says err 'no regular file'
    done
done
[ -p fifo ] && [ -L link ] && [ -d folder ] || fail "a file took the place of a device"

# a path that is empty, as the variable of a script that was not set
for args in "train $recipe --out=" "show $gpt2 --output=" "eval r --data=" "generate r --ids --tokenizer= --prompt 1" \
    "labels $recipe --out=" "export r --names=hf-gpt2 --out="; do
    expect 2 "$weft" $args
    says err 'is empty, expected'
done
for verb in train eval show check generate; do
    expect 2 "$weft" $verb ""
    says err '^weft: error: argument 1 is empty'
done

# as many threads as the environment says, within reason; what is no number is OpenMP's to complain about
expect 0 "$weft" run "$gpt2" $small --below 64 --fetch loss
cp out usual
for n in 0 -1 abc 4,2 3 1024 2000 100000 99999999999999999999; do
    expect 0 env OMP_NUM_THREADS=$n "$weft" run "$gpt2" $small --below 64 --fetch loss
    same out usual
done
expect 0 env OMP_NUM_THREADS=100000 "$weft" run "$gpt2" $small --below 64 --fetch loss
says err 'weft: warning: 100000 threads were asked for (OMP_NUM_THREADS), 1024 are taken'
expect 2 "$weft" run "$gpt2" $small --threads 1025
# where the system does not start as many: address space for some hundred stacks (a sanitizer needs all of it)
if (ulimit -v 4000000; "$weft" --version >/dev/null 2>&1); then
    (ulimit -v 4000000; expect 0 env OMP_NUM_THREADS=1000 "$weft" run "$gpt2" $small --below 64 --fetch loss; exit $fails) ||
        fail "1000 threads where some hundred start"
    (ulimit -v 4000000; expect 2 "$weft" run "$gpt2" $small --below 64 --fetch loss --threads 1000; exit $fails) ||
        fail "--threads 1000 where some hundred start"
    says err 'threads=1000: the system does not start as many'
fi

# standard input, output and error that are closed: no file gets their numbers
expect 0 "$weft" train "$recipe" --steps 4 --out u --quiet
sh -c "'$weft' train '$recipe' --steps 4 --out v --quiet <&- >&- 2>&-"
[ $? = 74 ] || fail "training without standard output: exit $?"
same u/log.jsonl v/log.jsonl
same u/checkpoints/step-000004/model.safetensors v/checkpoints/step-000004/model.safetensors
sh -c "'$weft' generate r --ids --prompt - --tokens 3 <&- >out2 2>err"
[ $? = 74 ] || fail "a prompt from closed standard input: exit $?"

# standard output that is full or closed
expect 74 sh -c "'$weft' ops >/dev/full"
expect 74 sh -c "'$weft' ops >&-"
"$weft" ops --markdown | head -1 >/dev/null
expect 0 sh -c "'$weft' train '$recipe' --steps 2 --out s 2>/dev/full >out2"
finish
