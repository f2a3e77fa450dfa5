#!/bin/bash
# messages.sh - mistakes of somebody new: a file of another kind, a name that is nearly right, a part too many. Each gets
# one answer that says what it is, what was expected and what to do.
. tests/tokens.inc
cp "$root/models/gpt2.txtpb" .
cat >tiny.txtpb <<'END'
model: "gpt2.txtpb"
set: ["n_layer=1", "n_head=2", "d=16", "vocab=64", "ctx=32"]
data { train: "train.bin" val: "val.bin" }
train { steps: 2 batch: 2 }
END
expect 0 "$weft" train tiny.txtpb --out run --quiet
seq 1 3000 >text.txt
expect 0 "$weft" tokenize train --vocab 257 --out tok.json text.txt
mkdir empty

# answer CODE PATTERN COMMAND...: it fails with CODE, writes nothing to standard output, and its message matches
answer() {
    local code=$1 pattern=$2
    shift 2
    expect "$code" "$weft" "$@"
    [ -s out ] && fail "output beside the error: $*"
    says err "$pattern"
}

# ---- files of another kind
answer 65 '^weft: error: gpt2.txtpb is a model; expected a recipe' train gpt2.txtpb
for line in 'model: "gpt2.txtpb"' 'data { train: ' 'train { steps: ' 'schedule { lr: '; do says err "^  $line"; done
sed -n 's/^  \(model:\|data {\|train {\|schedule {\)/\1/p' err >shown.txtpb
sed 's,data/,,g; s/steps: 1000/steps: 1/' shown.txtpb >made.txtpb
expect 0 "$weft" train made.txtpb --set n_layer=1 --set n_head=2 --set d=16 --set vocab=64 --set ctx=32 --out made --quiet
answer 65 "gpt2.txtpb is a model" train "$root/models/gpt2.txtpb"
answer 65 'tok.json is JSON, a tokenizer as it looks; expected a recipe' train tok.json
answer 65 'it is no text, so it was read as a recipe' train train.bin
answer 65 'expected a field' train text.txt
answer 73 '\-\-resume goes on from there' train run
answer 66 'cannot read empty: Is a directory' generate run --ids --prompt @empty
expect 66 "$weft" generate run --ids --prompt - <empty
says err 'cannot read standard input: Is a directory'
mkdir hf && echo '{"model_type": "gpt2"}' >hf/config.json
for verb in check show bench train; do
    answer 66 'no run directory, as there is no recipe.txtpb in it: name a file, a recipe or a model' $verb empty
    answer 66 'it is a model of another program, as it looks: weft generate hf and weft eval hf' $verb hf
    says err 'weft import makes a file of it'
    answer 66 'run/checkpoints holds the checkpoints of a run: name the run, run$' $verb run/checkpoints
    answer 66 'step-[0-9]* is a checkpoint of a run: name the run, run$' $verb run/checkpoints/step-*
    [ "$(grep -c '^weft: error' err)" = 1 ] || fail "messages: $(cat err)"
done
cp tiny.txtpb folder.txtpb && sed -i 's/gpt2.txtpb/hf/' folder.txtpb
answer 66 'it is a model of another program, as it looks' train folder.txtpb
answer 65 'tiny.txtpb is a recipe; expected a model' gradcheck tiny.txtpb
says err "named by its field 'model'"
answer 65 'tiny.txtpb is a recipe; expected a model' run tiny.txtpb
for verb in check show bench gradcheck run; do
    answer 65 'tok.json is JSON, a tokenizer as it looks; expected a model' $verb tok.json
    answer 65 'it is no text, so it was read as a model' $verb train.bin
done
answer 66 'its recipe is run/recipe.txtpb' show run
answer 65 'tok.json is JSON' generate tok.json --ids --prompt 1
answer 65 'a tokenizer is a tokenizer.json' generate run --prompt x --tokenizer gpt2.txtpb
answer 65 'a tokenizer is a tokenizer.json' generate run --prompt x --tokenizer val.bin
answer 65 'tiny.txtpb: this is text; weights are read from' eval tiny.txtpb --weights tiny.txtpb
answer 65 'tok.json: this JSON has no weight_map' eval tiny.txtpb --weights tok.json
answer 65 'this is text; it becomes ids with weft tokenize encode' eval run --data text.txt
answer 66 'compare --train takes recipes' compare tiny.txtpb run
answer 65 'gpt2.txtpb is a model; expected a name map' export run --names gpt2.txtpb --out e
answer 2 'weft labels --out FILE' labels tiny.txtpb

# ---- settings
answer 2 "setting lr: .* did you mean 'schedule.lr'?" train tiny.txtpb --set lr=1
answer 2 "did you mean 'train.steps'?" train tiny.txtpb --set steps=1
answer 2 "did you mean 'train.batch'?" train tiny.txtpb --set batch_size=1
answer 2 "did you mean 'eval.every' or 'checkpoint.every'?" train tiny.txtpb --set every=1
answer 2 "setting optimizer.lr: unknown field 'lr' of Optimizer; did you mean 'schedule.lr'?" train tiny.txtpb --set optimizer.lr=1
answer 2 "did you mean 'n_layer'?" train tiny.txtpb --set n_layers=1
answer 2 "known: n_layer, n_head, d" check tiny.txtpb --set depth=1
says err 'like train.steps or schedule.lr'
answer 2 "known: n_layer, n_head, d" check gpt2.txtpb --set lr=1

# ---- words of the command line
answer 2 "unknown verb 'learn'; there are .*train" learn
answer 2 "unknown command 'text.txt'; there are train, encode" tokenize text.txt
answer 2 "did you mean '--temperature'?" generate run --tempreature 1
answer 2 "did you mean 'softmax'?" ops soft

# ---- models
# mistake PATTERN NODE: a node of a small model
mistake() {
    cat >m.txtpb <<END
main: "m"
module { name: "blk" param: "d" param: "n_head=2" input { name: "x" type: "f32[B,T,d]" } node { op: "relu" in: "x" out: "y" } output: "y" }
module { name: "m" param: "B=1" param: "T=6" param: "width=4"
  input { name: "tokens" type: "i32[B,T]" }
  weight { name: "w" type: "f32[16,width]" init: "normal(1)" }
  node { op: "embedding" in: ["w", "tokens"] out: "h" }
  node { $2 }
  output: "y"
}
END
    answer 65 "$1" check m.txtpb
    says err 'm.txtpb:[37]'
}
mistake "softmax has no attribute 'dim'; its attributes: axis" 'op: "softmax" in: "h" out: "y" attr: "dim=1"'
mistake "relu has no attribute 'axis': it takes none" 'op: "relu" in: "h" out: "y" attr: "axis=1"'
mistake "matmul takes at least 2 inputs, but 1 is given; its inputs: x, w and, if wanted, bias" 'op: "matmul" in: "h" out: "y"'
mistake "matmul takes at most 3 inputs, but 4 are given; its inputs: x, w and" 'op: "matmul" in: ["h","w","w","w"] out: "y"'
mistake "add takes 2 inputs, but 3 are given; its inputs: a, b" 'op: "add" in: ["h","h","h"] out: "y"'
mistake "softmax has 1 output, but 2 are named; its outputs: y" 'op: "softmax" in: "h" out: ["y","z"]'
mistake "unknown function 'cos'; there are sqrt, min, max" 'op: "scale" in: "h" out: "y" attr: "alpha=cos(1)"'
mistake "unknown function 'sqr'; did you mean 'sqrt'?" 'op: "scale" in: "h" out: "y" attr: "alpha=sqr(1)"'
mistake "min takes 2 arguments, but 1 is given" 'op: "scale" in: "h" out: "y" attr: "alpha=min(1)"'
mistake "belong to no function" 'op: "scale" in: "h" out: "y" attr: "alpha=(1,2)"'
mistake "unknown parameter 'zz'; known here: B, T, width" 'op: "scale" in: "h" out: "y" attr: "alpha=zz"'
mistake "unknown op 'convolution' (.weft ops. lists them all)" 'op: "convolution" in: "h" out: "y"'
mistake "unknown op 'blk'; it is a module: call: \"blk\"" 'op: "blk" in: "h" out: "y"'
mistake "unknown module 'relu'; it is an op: op: \"relu\"" 'call: "relu" in: "h" out: "y"'
mistake "unknown module 'transformer'; there are blk, m" 'call: "transformer" in: "h" out: "y"'
mistake "module 'blk' has no parameter 'width'; its parameters: d, n_head" 'call: "blk" in: "h" out: "y" attr: "width=2"'
mistake "module 'blk' takes 1 input, but 2 are given; its inputs: x" 'call: "blk" in: ["h","w"] out: "y" attr: "d=4"'
mistake "module 'blk' has 1 output, but 2 are named; its outputs: y" 'call: "blk" in: "h" out: ["y","z"] attr: "d=4"'
mistake "unknown value 'y'; known here: tokens, w, h, z" 'op: "relu" in: "h" out: "z"'

finish
