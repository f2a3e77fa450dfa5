#!/bin/bash
# names.sh - weft import and weft export from outside: runs to folders of other programs and back, the check of an
# autoencoder on activations with the trap of TopK weights read as ReLU, PyTorch files, and wrong command lines.
. tests/tokens.inc
expect 0 "$weft" train "$recipe" --quiet --out teacher
cat >sae.txtpb <<EOF
name: "sae"
model: "$root/models/sae.txtpb"
set: ["t_layer=2", "t_head=2", "t_d=32", "t_ctx=32", "t_tap=1", "vocab=64", "n_latent=96", "k=4", "k_aux=16", "dead_after=1500"]
load { file: "teacher" scope: "teacher." }
start { weight: "pre_bias" value: "median" }
start { weight: "decoder.weight" value: "tied" }
data { train: "train.bin" val: "val.bin" }
train { steps: 60 batch: 8 length: 32 }
optimizer { weight_decay: 0 group { match: "decoder.weight" unit_norm: 0 } }
schedule { lr: 2e-2 shape: "constant" }
EOF
expect 0 "$weft" train sae.txtpb --quiet --out sae

# a run as Hugging Face reads it: config.json of the checkpoint has its keys already; shards; the same losses again
says teacher/checkpoints/step-000060/config.json '"n_embd": 32'
says teacher/checkpoints/step-000060/config.json '"activation_function": "gelu_new"'
expect 0 "$weft" export teacher --names=hf-gpt2 --out=hf --max-shard-size=20KB
says out 'in [2-9] files'
says hf/config.json '"n_head": 2'
says hf/model.safetensors.index.json '"transformer.h.1.mlp.c_proj.bias": "model-0000[2-9]-of'
expect 73 "$weft" export teacher --names=hf-gpt2 --out=hf
says err 'is there already'
expect 0 "$weft" import hf --names=hf-gpt2 --out=gpt2.safetensors --check="$root/models/gpt2.txtpb"
says out '--set n_layer=2 --set vocab=64 --set d=32 --set ctx=32 --set n_head=2$'
says out '^checked'
expect 0 "$weft" eval teacher --json
loss=$(sed 's/.*"loss":\([0-9.]*\).*/\1/' out)
small="--set n_layer=2 --set n_head=2 --set d=32 --set vocab=64 --set ctx=32 --set T=32 --data val.bin --batch 8"
for weights in hf gpt2.safetensors; do
    expect 0 "$weft" eval "$root/models/gpt2.txtpb" $small --weights $weights --json
    says out "\"loss\":$loss"
done
# in a recipe a whole model is the one that is evaluated
expect 0 "$weft" eval teacher --batches=4
loss=$(sed -n 's/^loss *//p' out)
expect 0 "$weft" import hf --names=hf-gpt2 --out=gpt2.safetensors --check="$recipe" --data=val.bin --batches=4
says out "^loss  *$loss$"
says out '^checked'
expect 0 "$weft" import hf --names=hf-gpt2 --out=gpt2.safetensors --check="$recipe" --data=val.bin --batches=4 --json
says out "\"check\":\[{\"name\":\"loss\",\"value\":${loss%???}"
expect 0 "$weft" import hf --names=hf-gpt2 --out=gpt2.safetensors --check="$root/models/gpt2.txtpb" --json
says out '"check":null}$'
# nothing is said of weights by start values beside them, nor by a value that does not read them
expect 78 "$weft" import hf --names=hf-gpt2 --out=x.safetensors --check=sae.txtpb --as='load[0].file'
says err 'sae.txtpb evaluates weights that have their start values'
says err '4 without a file: .*pre_bias'
says out '^left out .*n_layer.*: no parameters of sae.txtpb'
expect 78 "$weft" import hf --names=hf-gpt2 --out=x.safetensors --check="$root/models/gpt2.txtpb" --set vocab=65
says err 'vocab is 64 by .*, but 65 by --set'
sed -i 's/"model-00002/"..\/model-00002/' hf/model.safetensors.index.json
expect 65 "$weft" import hf --names=hf-gpt2 --out=x.safetensors
says err 'expected a file of the same folder'
expect 0 "$weft" export teacher --names=hf-gpt2 --out=half --dtype=bf16 --json
says half/config.json '"torch_dtype": "bfloat16"'

# a steered model is more than its weights, wherever these are named
expect 0 "$weft" steer teacher --steer 3+10 --steer-at logits --out steered
for weights in steered steered/model.safetensors; do
    expect 69 "$weft" export $weights --names=hf-gpt2 --out=x --set n_head=2
    says err "steered/model.txtpb intervenes on what it computes ('logits'), which no layout of weights holds"
done
[ -e x ] && fail "a refused export leaves a folder"
cp -r steered run && mkdir -p run/checkpoints && cp -r teacher/checkpoints/step-000060 run/checkpoints/
expect 69 "$weft" export run --names=hf-gpt2 --out=x
sed 's/op: "steer"/op: "scale"/;/attr: .*id=/d' steered/model.txtpb >run/model.txtpb # another op
expect 69 "$weft" export run --names=hf-gpt2 --out=x
says err "('logits')"

# an autoencoder to both formats and back, run on activations; TopK weights that call themselves ReLU are noticed
check="--check=$root/models/recipes/sae-check.txtpb --data=val.bin --batches=90 --set load[0].file=teacher
       --set t_layer=2 --set t_head=2 --set t_ctx=32 --set t_tap=1 --set vocab=64"
for names in saelens openai-sae; do
    expect 0 "$weft" export sae --names=$names --out=$names
    expect 0 "$weft" import $names --names=$names --out=$names.safetensors $check
    says out 'explained_variance  *0\.9'
    says out '^l0  *4\.0'
    [ -s err ] && fail "$names: $(cat err)"
done
cat >blind.txtpb <<EOF
model: "$root/models/sae_check.txtpb"
load { file: "teacher" scope: "teacher." }
load { file: "sae" scope: "sae." }
train { batch: 1 loss: "lm_loss" }
EOF
cp blind.txtpb dumb.txtpb && echo 'eval { log: ["explained_variance_topk"] }' >>dumb.txtpb
expect 78 "$weft" import saelens --names=saelens --out=x.safetensors ${check/*sae-check.txtpb/--check=dumb.txtpb}
says err 'dumb.txtpb gives no explained_variance'
expect 78 "$weft" import saelens --names=saelens --out=x.safetensors ${check/*sae-check.txtpb/--check=blind.txtpb}
says err 'evaluates nothing that reads a weight of x.safetensors'
# the model files that --list names take them, with their own names for the sizes
toy="--set t_head=2 --set k_aux=16"
expect 0 "$weft" import saelens --names=saelens --out=x.safetensors --check="$root/models/sae.txtpb" $toy --set t_d=32
says out '^left out    d: no parameters of .*models/sae.txtpb'
expect 0 "$weft" import saelens --names=saelens --out=x.safetensors --check="$root/models/sae_check.txtpb" --set t_head=2
expect 78 "$weft" import saelens --names=saelens --out=x.safetensors --check="$root/models/sae.txtpb" $toy
says err '3 of another shape: .*pre_bias \[32\] where the graph has \[768\]'
expect 78 "$weft" import saelens --names=saelens --out=x.safetensors --check="$root/models/sae_check.txtpb" --set t_head=2 --scope=teacher.
says err '4 not in the graph'
expect 2 "$weft" import saelens --names=saelens --out=x.safetensors --check="$root/models/sae.txtpb" --set t_b=32
says err "no such parameter; did you mean 't_d'"
perl -ne 'exit !/"architecture": "topk"/ if /archi/' saelens/cfg.json || fail "no architecture"
sed -i 's/"topk"/"standard"/;s/layer_norm/none/' saelens/cfg.json
expect 78 "$weft" import saelens --names=saelens --out=trap.safetensors $check --set k=4
says out 'explained_variance_topk  *0.9'
grep -q '^checked' out && fail "weights that are read wrongly are taken"
says err 'error: read as topk these weights explain 0\.9.* right?'
sed -i 's/"standard"/"gated"/' saelens/cfg.json
expect 69 "$weft" import saelens --names=saelens --out=x.safetensors
says err 'architecture is gated: sae.txtpb has no gate'

# what is wrong with the check is said before anything is written
rm -f new.safetensors
expect 2 "$weft" import openai-sae --names=openai-sae --out=new.safetensors ${check/--data=val.bin/}
says err 'a recipe needs --data=TOKENS'
expect 66 "$weft" import openai-sae --names=openai-sae --out=new.safetensors --check=gone.txtpb
expect 2 "$weft" import openai-sae --names=openai-sae --out=new.safetensors --check="$root/models/sae.txtpb" --data=val.bin
says err 'for a recipe, but .*sae.txtpb is a model file'
[ -e new.safetensors ] && fail "written before the command line was looked at"

# looking into files
expect 0 "$weft" weights gpt2.safetensors --stats
says out '^wte.weight  *F32\[64,32\]  *min .* std '
says out '^28 tensors, 28,544 elements'
expect 0 "$weft" weights teacher gpt2.safetensors
says out '^28 tensors equal, 0 not'
expect 0 "$weft" export teacher --names=hf-gpt2 --out=hf2
expect 1 "$weft" weights teacher hf2
says out '^wte.weight  *only in teacher'
expect 0 "$weft" import half --names=hf-gpt2 --out=half.safetensors
expect 1 "$weft" weights teacher half.safetensors
says out '^wte.weight  *differs by up to 0.00'
expect 0 "$weft" weights teacher half.safetensors --tolerance=0.01
expect 0 "$weft" weights half --json --stats
python3 -c 'import json, sys; j = json.load(sys.stdin); sys.exit(not (len(j) == 28 and j[0]["type"].startswith("BF16")))' <out || fail "no JSON"

python3 - <<'EOF'
import json, struct
for path, shape in ("odd.safetensors", [1]), ("odd2.safetensors", [1, 1]):
    text = json.dumps({"a\u001b]0;b\u0007": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + bytes(4))
EOF
for paths in odd.safetensors "odd.safetensors odd2.safetensors" "half odd.safetensors" "odd.safetensors half"; do
    "$weft" weights $paths >out 2>err
    says out '^a\\x1b\]0;b\\x07  *[Fo]'
    grep -q "$(printf '\033')" out && fail "an escape sequence of a file reaches the terminal"
done

# command lines
expect 0 "$weft" import --list
[ "$(wc -l <out)" = "$(ls "$root"/models/names/*.txtpb | wc -l)" ] || fail "not all maps are listed"
for map in "$root"/models/names/*.txtpb; do
    expect 0 "$weft" import --show "$(basename "$map" .txtpb)"
    same out "$map"
    expect 0 "$weft" import --show "$map" # a file of one's own: as it was read
    cp out own.txtpb
    expect 0 "$weft" import --show own.txtpb
    same out own.txtpb
    [ -s out ] || fail "nothing was shown of $map"
done
expect 2 "$weft" import hf --out=x
says err 'names=MAP is needed'
expect 2 "$weft" import hf --names=hf-gpt
says err 'out is needed'
expect 2 "$weft" import hf --names=hf-gpt --out=x
says err "did you mean 'hf-gpt2'"
expect 2 "$weft" import openai-sae --names=openai-sae --out=x --set kk=3
says err 'knows no such parameter'
expect 2 "$weft" export teacher --names=hf-gpt2 --out=x --max-shard-size=5XB
says err 'a size like 5GB'
expect 2 "$weft" export teacher --names=hf-gpt2 --out=x --dtype=f64
says err 'expected f32, bf16 or f16'
expect 78 "$weft" export teacher --names=cocomix --out=x
says err '[0-9]* missing: transformer.pre_bias\|[0-9]* missing: transformer.wte.weight'

# PyTorch's own files: refused with the way out, which works where PyTorch is
printf 'PK\003\004 and so on, with more bytes' >w.pt
expect 69 "$weft" import w.pt --names=openai-sae --out=x
says err 'tools/convert-pt'
mkdir bin zip && cp w.pt bin/pytorch_model.bin
printf 'PK\003\004\000\000\000\000 read as a number this would be a header' >zip/pytorch_model.bin
for folder in bin zip; do
    expect 69 "$weft" import $folder --names=hf-gpt2 --out=x
    says err "$folder/pytorch_model.bin: this is a zip archive.*tools/convert-pt"
done
mkdir none && echo 'raise ImportError("no such thing")' >none/torch.py
PYTHONPATH=none expect 1 python3 "$root/tools/convert-pt" w.pt w.safetensors
says err 'PyTorch is needed, and .* has none (no such thing)'
[ "$(wc -l <err)" = 1 ] || fail "a traceback"
for python in /usr/bin/python3 python3; do
    "$python" -c 'import torch' 2>/dev/null || continue
    "$python" - <<EOF || fail "no .pt file"
import torch
torch.manual_seed(1)
torch.save({"pre_bias": torch.randn(8), "encoder.weight": torch.randn(12, 8), "latent_bias": torch.randn(12),
            "decoder.weight": torch.randn(8, 12), "stats_last_nonzero": torch.zeros(12, dtype=torch.int64),
            "activation": "TopK", "activation_state_dict": {"k": 3, "postact_fn": "ReLU"}}, "w.pt")
EOF
    expect 0 "$python" "$root/tools/convert-pt" w.pt w.safetensors
    expect 0 "$weft" import w.safetensors --names=openai-sae --out=y.safetensors
    says out '--set d=8 --set n_latent=12 --set k=3 --set relu=0'
    says out '1 as no weights'
    expect 0 "$weft" export y.safetensors --names=openai-sae --out=openai
    expect 0 "$python" "$root/tools/convert-pt" openai/model.safetensors back.pt
    "$python" - <<EOF || fail "not what was there, or not what OpenAI's class asks for"
import torch
a, b = torch.load("w.pt"), torch.load("back.pt")
assert all(torch.equal(b[k], v) if isinstance(v, torch.Tensor) else b[k] == v for k, v in a.items())
assert b["latents_activation_frequency"].shape == b["latents_mean_square"].shape == (12,) and len(b) == 9
EOF
    break
done
finish
