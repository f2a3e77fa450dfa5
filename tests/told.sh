#!/bin/bash
# told.sh - what weights tell of their model: it is taken where nobody says anything, and refused where a setting says
# something else; folders of other programs are evaluated and go on without a model file; ids of the tokens that begin and
# end a text; a weight of two names under either.
. tests/tokens.inc
cat >base.txtpb <<EOF
model: "$root/models/gpt2.txtpb"
set: ["n_layer=2", "n_head=6", "d=24", "vocab=320", "ctx=32", "dropout=0.1"]
data { train: "train.bin" val: "val.bin" }
train { steps: 20 batch: 8 length: 32 }
schedule { lr: 1e-2 shape: "constant" }
eval { every: 0 }
EOF
expect 0 "$weft" train base.txtpb --quiet --out run
step=run/checkpoints/step-000020
expect 0 "$weft" export run --names=hf-gpt2 --out=hf
expect 0 "$weft" export run --names=hf-gpt2 --out=shards --max-shard-size=40KB
expect 0 "$weft" import hf --names=hf-gpt2 --out=import.safetensors
gpt2=$root/models/gpt2.txtpb
at="--data val.bin --batch 8"
expect 0 "$weft" eval run
right=$(sed -n 's/^loss *//p' out)
same_loss() { # COMMAND...: it prints the loss of the run
    expect 0 "$@"
    [ "$(sed -n 's/^loss *//p' out)" = "$right" ] || fail "$(grep ^loss out) instead of $right: $*"
}

# the model file with nothing but the weights, whatever these are: the parameters are theirs
for weights in run $step $step/model.safetensors hf shards shards/model.safetensors.index.json import.safetensors; do
    same_loss "$weft" eval "$gpt2" --weights $weights $at
    expect 78 "$weft" eval "$gpt2" --weights $weights --set n_head=4 $at
    says err 'n_head is 6 by .*, but 4 by --set'
    expect 78 "$weft" generate "$gpt2" --weights $weights --set n_head=2*2 --ids --prompt 1
    says err 'n_head is 6 by .*, but 4 by'
done
expect 0 "$weft" run "$gpt2" --weights hf --set B=1 --set T=8 --fetch loss
expect 78 "$weft" run "$gpt2" --weights hf --set B=1 --set T=8 --set n_head=12 --fetch loss
says err 'n_head is 6 by hf/config.json (n_head), but 12 by --set'

# weights alone: the model file is the tool's own, wherever it runs
for weights in hf shards hf/model.safetensors shards/model.safetensors.index.json import.safetensors; do
    same_loss "$weft" eval $weights $at
done
mkdir elsewhere && cd elsewhere || exit 1
echo nonsense >gpt2.txtpb
expect 0 "$weft" generate ../hf --ids --prompt "1 2 3" --tokens 20 --temperature 0
cp out ../alone
cd ..
expect 0 "$weft" generate run --ids --prompt "1 2 3" --tokens 20 --temperature 0
same out alone
expect 0 "$weft" check shipped:gpt2
expect 66 "$weft" check shipped:gpt3
says err 'there are cocomix, '
expect 2 "$weft" eval hf --weights run $at
says err 'hf holds weights itself'
expect 78 "$weft" eval hf --set n_head=4 $at
says err 'n_head is 6 by hf/config.json (n_head), but 4 by --set'
expect 78 "$weft" eval hf --set d=32 $at
says err 'd is 24 by .*, but 32 by --set'

# a description of what the model file cannot do, or that is not there
for change in 's/gelu_new/gelu/' 's/1e-05/1e-06/' 's/\("scale_attn_by_inverse_layer_idx": \)false/\1true/'; do
    rm -rf odd && cp -r hf odd && sed -i "$change" odd/config.json
    for model in odd "$gpt2 --weights odd" "base.txtpb --weights odd"; do
        expect 69 "$weft" eval $model $at
        says err '^weft: error: odd/config.json: '
    done
done
mkdir bare && cp hf/model.safetensors bare/
expect 2 "$weft" eval bare $at
says err 'n_head is not told by these files (n_head of config.json): give --set n_head=NUMBER'
same_loss "$weft" eval bare --set n_head=6 $at
mkdir empty
expect 66 "$weft" eval empty $at
says err 'expected a run directory, one of its checkpoints or a folder of weights'

# a checkpoint whose description cannot be read is damaged
cp -r $step torn && echo '{"param' >torn/config.json
expect 81 "$weft" eval "$gpt2" --weights torn $at
says err 'torn/config.json'
rm torn/manifest.json
expect 65 "$weft" eval "$gpt2" --weights torn $at

# recipes and runs: whole numbers are the model's, fractions may be the training's
same_loss "$weft" eval run --set dropout=0.1
expect 78 "$weft" eval run --set n_head=4
says err "n_head is 6 by $step/config.json, but 4 by --set"
for how in run hf "$gpt2 --weights hf"; do
    expect 78 "$weft" steer $how --set n_head=4 --steer 3+1 --steer-at logits --out z
    says err 'n_head is 6 by .*, but 4 by --set'
    expect 78 "$weft" concepts $how --set n_head=4 --text x
    says err 'n_head is 6 by .*, but 4 by --set'
    expect 78 "$weft" labels $how --set n_head=4 --data val.bin --out z
    says err 'n_head is 6 by .*, but 4 by --set'
done
sed 's/n_head=6/n_head=4/' base.txtpb >four.txtpb
expect 78 "$weft" eval four.txtpb --weights run
says err "n_head is 6 by $step/config.json, but 4 by four.txtpb"
sed 's/"n_head=6", //;s/dropout=0.1/dropout=0.2/' base.txtpb >none.txtpb
same_loss "$weft" eval none.txtpb --weights run
# a whole model that training begins with
for weights in run hf import.safetensors; do
    for recipe in four base; do
        rm -rf x && sed "s|^data|load { file: \"$weights\" }\ndata|" $recipe.txtpb >go-on.txtpb
        [ $recipe = base ] || expect 78 "$weft" train go-on.txtpb --quiet --out x
        [ $recipe = base ] || says err "was .* with n_head=6, but this model reads .* with n_head=4"
        [ $recipe = four ] || expect 0 "$weft" train go-on.txtpb --quiet --out x --steps 1
    done
done

# export
for set in n_head=4 n_layer=3 d=12; do
    expect 78 "$weft" export run --names=hf-gpt2 --out=y --set $set
    says err "${set%=*} is .* by .*, but ${set#*=} by --set"
done
[ -e y ] && fail "a refused export leaves a folder"
expect 0 "$weft" export run --names=hf-gpt2 --out=again --set n_head=6
same again/config.json hf/config.json
expect 0 "$weft" export import.safetensors --names=hf-gpt2 --out=again2
same again2/config.json hf/config.json
expect 0 "$weft" export hf --names=hf-gpt2 --out=again3 # another program's folder
same again3/config.json hf/config.json
same again3/model.safetensors hf/model.safetensors

# an autoencoder is no model that goes on
cat >sae.txtpb <<EOF
model: "$root/models/sae.txtpb"
set: ["t_layer=2", "t_head=6", "t_d=24", "t_ctx=32", "t_tap=1", "vocab=320", "n_latent=96", "k=4", "k_aux=16"]
load { file: "run" scope: "teacher." }
data { train: "train.bin" val: "val.bin" }
train { steps: 3 batch: 4 length: 32 }
EOF
expect 0 "$weft" train sae.txtpb --quiet --out sae
for set in k=8 relu=1 n_latent=80; do
    expect 78 "$weft" export sae --names=saelens --out=y --set $set
    says err "${set%=*} is [0-9]* by .*, but ${set#*=} by --set"
done
expect 78 "$weft" eval sae --set k=8
says err 'k is 4 by .*, but 8 by --set'
for names in saelens openai-sae; do
    expect 0 "$weft" export sae --names=$names --out=$names
    expect 69 "$weft" eval $names $at
    says err "$names: is a part of a model.*weft import $names --names=$names --out=FILE"
    expect 69 "$weft" generate $names --ids --prompt 1
    # its k comes with an import
    expect 0 "$weft" import $names --names=$names --out=$names.safetensors
    cat >check.txtpb <<EOF
model: "$root/models/sae_check.txtpb"
set: ["t_layer=2", "t_head=6", "d=24", "t_ctx=32", "t_tap=1", "vocab=320", "n_latent=96", "k=4"]
load { file: "run" scope: "teacher." }
load { file: "$names.safetensors" scope: "sae." }
data { val: "val.bin" }
train { batch: 1 length: 32 loss: "lm_loss" }
eval { log: ["explained_variance"] }
EOF
    expect 0 "$weft" eval check.txtpb
    expect 78 "$weft" eval check.txtpb --set k=5
    says err "k=4, but this model reads 'sae.\*' with k=5"
done

# ids of the tokens that begin and end a text: nobody knows them here
grep token_id hf/config.json $step/config.json && fail "ids of tokens that nobody told"
# those of the run's tokenizer, whatever place they have; of what a checkpoint guessed before, nothing is left
perl -e 'srand 1; print join " ", map { join "", map { chr 97 + int rand 26 } 1 .. 4 } 1 .. 400' >text
expect 0 "$weft" tokenize train --vocab 300 --out tokenizer.json text
end=$(sed -n 's/.*"id": *\([0-9]*\),.*<|endoftext|>.*/\1/p' tokenizer.json | head -1)
[ -n "$end" ] || fail "no <|endoftext|> in tokenizer.json"
sed 's|^data {|data { tokenizer: "tokenizer.json"|' base.txtpb >tok.txtpb
expect 0 "$weft" train tok.txtpb --quiet --out tok --steps 2
ids() { # FOLDER ID: both ids in its config.json
    [ "$(sed -n 's/^  "[be]os_token_id": \([0-9]*\),*$/\1/p' "$1"/config.json)" = "$2
$2" ] || { fail "not twice $2 in $1/config.json"; grep token_id "$1"/config.json; }
}
ids tok/checkpoints/step-000002 "$end"
sed -i "s/token_id\": $end/token_id\": 319/" tok/checkpoints/step-000002/config.json
rm tok/checkpoints/step-000002/manifest.json # an old one, as it was
expect 0 "$weft" export tok/checkpoints/step-000002 --names=hf-gpt2 --out=hf-tok
ids hf-tok "$end"
# as the tokenizer of a run declares it, which the run keeps
mkdir with && cp tokenizer.json with/
echo '{"bos_token": "b", "eos_token": {"content": "b"}, "model_max_length": 1000000000000000019884624838656}' \
    >with/tokenizer_config.json
b=$(tr ',{' '\n\n' <tokenizer.json | sed -n 's/^ *"b": *\([0-9]*\).*/\1/p' | head -1)
expect 0 "$weft" train tok.txtpb --quiet --out declares --steps 2 --set data.tokenizer=with/tokenizer.json
ids declares/checkpoints/step-000002 "$b"
rm -r with && expect 0 "$weft" train tok.txtpb --quiet --out declares --steps 3 --resume
ids declares/checkpoints/step-000003 "$b"
expect 0 "$weft" export declares --names=hf-gpt2 --out=hf-declares
ids hf-declares "$b"
# imported ones are kept: through an import, and where training begins with them
cp -r hf hf-ids && sed -i 's/^{/{\n  "bos_token_id": 7,\n  "eos_token_id": 7,/' hf-ids/config.json
expect 0 "$weft" import hf-ids --names=hf-gpt2 --out=ids.safetensors
for from in ids.safetensors hf-ids; do
    rm -rf kept && expect 0 "$weft" export $from --names=hf-gpt2 --out=kept
    ids kept 7
    rm -rf x kept && sed "s|^data|load { file: \"$from\" }\ndata|" base.txtpb >go-on.txtpb
    expect 0 "$weft" train go-on.txtpb --quiet --out x --steps 1
    ids x/checkpoints/step-000001 7
    expect 0 "$weft" train go-on.txtpb --quiet --out x --steps 2 --resume
    ids x/checkpoints/step-000002 7
    expect 0 "$weft" export x --names=hf-gpt2 --out=kept
    ids kept 7
done
# a list of those that end a text goes the same ways
sed 's/"eos_token_id": 7/"eos_token_id": [7, 3]/' hf-ids/config.json >list.json
mkdir hf-list && cp hf-ids/model.safetensors hf-list/ && cp list.json hf-list/config.json
expect 0 "$weft" import hf-list --names=hf-gpt2 --out=list.safetensors
for from in list.safetensors hf-list; do
    rm -rf kept && expect 0 "$weft" export $from --names=hf-gpt2 --out=kept
    says kept/config.json '"eos_token_id": \[7, 3\]'
    says kept/config.json '"bos_token_id": 7,'
    rm -rf x kept && sed "s|^data|load { file: \"$from\" }\ndata|" base.txtpb >go-on.txtpb
    expect 0 "$weft" train go-on.txtpb --quiet --out x --steps 1
    expect 0 "$weft" train go-on.txtpb --quiet --out x --steps 2 --resume
    expect 0 "$weft" export x --names=hf-gpt2 --out=kept
    says kept/config.json '"eos_token_id": \[7, 3\]'
done
# what is no id of the model is left out, and said
mkdir badly
for bad in -1 3.5 '"x"' 320 '[320]' '{}' '[-1, "x"]'; do
    sed "s/\"eos_token_id\": 7/\"eos_token_id\": $bad/" hf-ids/config.json >hf-list/config.json
    expect 0 "$weft" import hf-list --names=hf-gpt2 --out=badly/import.safetensors
    says err 'warning: hf-list/config.json: eos_token_id is .*, which is no token of the model (expected a whole number from 0 to 319): left out'
    rm -rf kept && expect 0 "$weft" export hf-list --names=hf-gpt2 --out=kept
    says err 'hf-list/config.json: eos_token_id is '
    says kept/config.json '"bos_token_id": 7,'
    grep eos_token_id kept/config.json && fail "eos_token_id $bad is exported"
    rm -rf kept && expect 0 "$weft" export badly/import.safetensors --names=hf-gpt2 --out=kept
    grep eos_token_id kept/config.json && fail "eos_token_id $bad goes through an import"
done
sed 's/"eos_token_id": 7/"eos_token_id": [900, 3, 5]/' hf-ids/config.json >hf-list/config.json
rm -rf kept && expect 0 "$weft" export hf-list --names=hf-gpt2 --out=kept
says err 'hf-list/config.json: eos_token_id is 900, '
says kept/config.json '"eos_token_id": \[3, 5\]'
# so in the file for generation alone
sed '/eos_token_id/d' hf-ids/config.json >hf-list/config.json
echo '{"eos_token_id": [900, 5]}' >hf-list/generation_config.json
rm -rf kept && expect 0 "$weft" export hf-list --names=hf-gpt2 --out=kept
says err 'hf-list/generation_config.json: eos_token_id is 900, '
says kept/config.json '"eos_token_id": 5,'
# what the tokenizer declares
cp tokenizer.json hf/ && cp -r hf hf-declared
echo '{"bos_token": null, "eos_token": {"content": "a"}}' >hf-declared/tokenizer_config.json
expect 0 "$weft" export hf-declared --names=hf-gpt2 --out=declared
grep bos_token_id declared/config.json && fail "a token that begins texts, which the tokenizer does not have"
a=$(tr ',{' '\n\n' <tokenizer.json | sed -n 's/^ *"a": *\([0-9]*\).*/\1/p' | head -1)
says declared/config.json "\"eos_token_id\": $a,"
# generation stops there: the third token drawn is declared to be the end
drawn() { sed 's/.*"tokens":\[\([0-9,]*\)\].*/\1/' out; }
expect 0 "$weft" generate hf --prompt "ab" --tokens 12 --temperature 0 --to-end --json
third=$(drawn | cut -d, -f3)
before=$(drawn | tr , '\n' | sed "/^$third\$/,\$d" | wc -l) # it may have come earlier
sed -i "s/^{/{\n  \"eos_token_id\": $third,/" hf-declared/config.json
expect 0 "$weft" generate hf-declared --prompt "ab" --tokens 12 --temperature 0 --json
[ "$(drawn | tr , '\n' | grep -c .)" = "$before" ] || fail "$(drawn) does not stop before $third"
expect 0 "$weft" generate hf-declared --prompt "ab" --tokens 12 --temperature 0 --json --to-end
[ "$(drawn | tr , '\n' | grep -c .)" = 12 ] || fail "--to-end stops"

# so it does where only the file for generation says so, as a list
sed -i "/\"eos_token_id\": $third,/d" hf-declared/config.json
echo "{\"eos_token_id\": [$third, 319]}" >hf-declared/generation_config.json
expect 0 "$weft" generate hf-declared --prompt "ab" --tokens 12 --temperature 0 --json
[ "$(drawn | tr , '\n' | grep -c .)" = "$before" ] || fail "$(drawn) does not stop before $third"

# one weight with two names: either will do, both if they are equal
python3 - <<'EOF'
import json, os, shutil, struct
def read(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    head.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in head.items()}
def write(folder, tensors):
    os.makedirs(folder)
    shutil.copy("again/config.json", folder)
    head, data = {}, b""
    for k, (dtype, shape, body) in tensors.items():
        head[k] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    text = json.dumps(head).encode()
    open(folder + "/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
t = read("again/model.safetensors")
head = t["transformer.wte.weight"]
both = dict(t, **{"lm_head.weight": head})
one = dict(both)
del one["transformer.wte.weight"]
write("both", both)
write("one", one)
write("two", dict(both, **{"lm_head.weight": (head[0], head[1], head[2][:-1] + bytes([head[2][-1] ^ 1]))}))
EOF
for weights in both one; do
    same_loss "$weft" eval $weights $at
    same_loss "$weft" eval "$gpt2" --weights $weights $at
    sed "s|^data|load { file: \"$weights\" }\ndata|" base.txtpb >tied.txtpb
    same_loss "$weft" eval tied.txtpb
    expect 0 "$weft" import $weights --names=hf-gpt2 --out=$weights.safetensors
    expect 0 "$weft" weights $weights.safetensors import.safetensors
done
expect 78 "$weft" eval two $at
says err 'two'
for command in "import two --names=hf-gpt2 --out=x.safetensors" "eval $gpt2 --weights two --set n_head=6 $at"; do
    expect 78 "$weft" $command
    says err 'lm_head.weight .*but the .* has one weight for both: save it with tied embeddings'
done

# what lies above weights is another project's, unless they are a checkpoint of a run
mkdir -p other/a && cp -r hf other/a/hf && rm -f other/a/hf/tokenizer*.json other/a/hf/*token*
cp base.txtpb other/recipe.txtpb && cp base.txtpb other/a/recipe.txtpb
printf '{"model":{"type":"BPE","vocab":{},"merges":[]}}' >other/tokenizer.json
cp other/tokenizer.json other/a/
same_loss "$weft" eval other/a/hf $at
finish
