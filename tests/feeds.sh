#!/bin/bash
# feeds.sh - every input that a program reads is fed by somebody, with its type, in every verb: else a refusal by name.
. tests/tokens.inc

# model FILE [PORTS] [TARGETS] [LINES] [LOSS]: a head on an embedding; what it computes x from, and the loss
model() {
    local x='node { op: "scale" in: "h" out: "x" }' loss='node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }'
    [ -z "${4:-}" ] || x=$4
    [ -z "${5:-}" ] || loss=$5
    cat >"$1" <<END
main: "m"
module {
  name: "m" param: "B=2" param: "T=16"
  input { name: "tokens" type: "i32[B,T]" }
  input { name: "targets" type: "${3:-i32[B,T]}" }
  ${2:-}
  weight { name: "w" type: "f32[64,8]" init: "normal(0.5)" }
  weight { name: "v" type: "f32[8,64]" init: "normal(0.5)" }
  node { op: "embedding" in: ["w", "tokens"] out: "h" }
  $x
  node { op: "matmul" in: ["x", "v"] out: "logits" }
  $loss
  node { op: "topk" in: "logits" out: ["score", "label"] attr: "k=3" }
  output: ["loss", "logits", "label", "score"]
}
END
}
cat >r.txtpb <<'END'
model: "m.txtpb" data { train: "train.bin" val: "val.bin" sampling: "windows" } train { steps: 2 batch: 2 length: 16 } eval { batches: 2 }
END
# all PATTERN VERB...: each of these verbs refuses with it
all() {
    local pattern=$1 verb
    shift
    for verb; do
        rm -rf run c
        case $verb in
            check) set -- check r.txtpb ;;
            plan) set -- check r.txtpb --no-files ;;
            train) set -- train r.txtpb --out run --quiet ;;
            micro) set -- train r.txtpb --out run --quiet --set train.accumulate=2 ;;
            eval) set -- eval r.txtpb ;;
            model) set -- eval m.txtpb --data val.bin ;;
            generate) set -- generate m.txtpb --ids --prompt 5 --tokens 3 ;;
            window) set -- generate m.txtpb --ids --prompt 5 --tokens 3 --no-cache ;;
            labels) set -- labels r.txtpb --out l --quiet ;;
            compare) set -- compare --train --seeds=1 --out c r.txtpb ;;
            concepts) set -- concepts m.txtpb --concept-value logits --data val.bin --concept 3 --label-value label ;;
            steer) set -- generate m.txtpb --ids --prompt 5 --tokens 3 --steer 1*2 --steer-at h --steer-on prompt ;;
        esac
        expect 65 "$weft" "$@"
        says err "$pattern"
    done
}

model m.txtpb
for verb in "check r.txtpb" "train r.txtpb --out fine --quiet" "eval r.txtpb" "labels r.txtpb --out l --quiet" \
    "generate m.txtpb --ids --prompt 5 --tokens 3" "compare --train --seeds=1 --out d r.txtpb" \
    "concepts m.txtpb --concept-value logits --data val.bin --concept 3 --label-value label"; do
    # shellcheck disable=SC2086 # the words are arguments
    expect 0 "$weft" $verb
done

# nobody feeds it
model m.txtpb 'input { name: "mask" type: "f32[B,T,1]" }' '' 'node { op: "mul" in: ["h", "mask"] out: "x" }'
all "^weft: error: nothing feeds the input 'mask': f32\[[12],[0-9]*,1\]; [a-z ]* feeds 'tokens'" \
    check plan train micro eval model generate window labels compare concepts steer
says err "weft run --input mask=FILE"
expect 0 "$weft" check m.txtpb
expect 0 "$weft" run m.txtpb
expect 0 "$weft" gradcheck m.txtpb --set T=2 --output loss
model m.txtpb 'input { name: "mask" type: "f32[B,T]" }' '' '' \
    'node { op: "cross_entropy" in: ["logits", "targets"] out: ["l", "nll"] }
     node { op: "mul" in: ["nll", "mask"] out: "kept" } node { op: "mean" in: "kept" out: "loss" }'
all "nothing feeds the input 'mask'" check train eval
expect 0 "$weft" generate m.txtpb --ids --prompt 5 --tokens 3 # its logits do without
model m.txtpb 'input { name: "target" type: "i32[B,T]" }' '' '' 'node { op: "cross_entropy" in: ["logits", "target"] out: "loss" }'
all "nothing feeds the input 'target'.*; did you mean 'targets'?" check train eval

# only what is evaluated reads it
model m.txtpb 'input { name: "mask" type: "f32[B,T]" }' '' '' \
    'node { op: "cross_entropy" in: ["logits", "targets"] out: ["loss", "nll"] }
     node { op: "mul" in: ["nll", "mask"] out: "kept" } node { op: "mean" in: "kept" out: "masked" }'
sed -i 's/output: \["loss"/output: ["masked", "loss"/' m.txtpb
sed -i 's/eval {/eval { log: "masked"/' r.txtpb
all "nothing feeds the input 'mask': .*; evaluation feeds" check plan train eval
sed -i 's/ log: "masked"//' r.txtpb
expect 0 "$weft" check r.txtpb

# what is fed elsewhere is not fed here
model m.txtpb '' '' 'node { op: "embedding" in: ["w", "targets"] out: "next" } node { op: "add" in: ["h", "next"] out: "x" }'
expect 0 "$weft" check r.txtpb
all "nothing feeds the input 'targets': i32\[1,[0-9]*\]; generation feeds 'tokens'" generate window
model m.txtpb 'input { name: "first" type: "i32[]" }' '' \
    'node { op: "cast" in: "first" out: "f" attr: "to=f32" } node { op: "mul" in: ["h", "f"] out: "x" }'
all "nothing feeds the input 'first': i32\[\]" check train eval

# fed, but with another type: what it would have written beyond its end
model m.txtpb '' 'i32[1]' '' 'node { op: "embedding" in: ["w", "targets"] out: "g" } node { op: "mean" in: "g" out: "b" }
    node { op: "mean" in: "logits" out: "a" } node { op: "add" in: ["a", "b"] out: "loss" }'
all "input 'targets' is i32\[1\], but [a-z]* feeds i32\[[12],16\]: the tokens that follow" check train micro eval model
model m.txtpb '' 'f32[B,T]' '' 'node { op: "mean" in: "targets" out: "b" } node { op: "mean" in: "logits" out: "a" }
    node { op: "add" in: ["a", "b"] out: "loss" }'
all "input 'targets' is f32\[[12],16\], but [a-z]* feeds i32\[[12],16\]" check train eval
for rng in 'f32[1]' 'i64[3]' 'i64[2,1]'; do
    model m.txtpb "input { name: \"rng\" type: \"$rng\" }" '' "node { op: \"cast\" in: \"rng\" out: \"r\" attr: \"to=f32\" }
        node { op: \"mean\" in: \"r\" out: \"r1\" } node { op: \"mul\" in: [\"h\", \"r1\"] out: \"x\" }"
    all "input 'rng' is ${rng//[\[\]]/.}, but [a-z ]* feeds i64\[2\]: seed and" check train eval generate window labels concepts
    expect 0 "$weft" run m.txtpb
done

# spans of an intervention that the model has as inputs of its own
model m.txtpb 'input { name: "span:prompt" type: "f32[1]" }' '' 'node { op: "mul" in: ["h", "span:prompt"] out: "x" }'
all "nothing feeds the input 'span:prompt'" check train eval
all "input 'span:prompt' is f32\[1\], but generation feeds i32\[2\]" generate window

# the values of a label file: labels of one sequence are no labels of two
model m.txtpb 'weight { name: "u" type: "f32[64,1]" init: "ones" }' '' '' \
    'node { op: "cross_entropy" in: ["logits", "targets"] out: "lm" }
     node { op: "slice" in: "logits" out: "one" attr: ["axis=0", "to=1"] }
     node { op: "topk" in: "one" out: ["value", "id"] attr: "k=3" }
     node { op: "embedding" in: ["u", "id"] out: "e" } node { op: "mean" in: "e" out: "m" }
     node { op: "add" in: ["lm", "m"] out: "loss" }'
sed -i 's/name: "[wv]" type/trainable: false &/' m.txtpb
expect 0 "$weft" labels r.txtpb --out id.labels --quiet --batch 1 --set data.label_value=id
cat >r.txtpb <<'END'
model: "m.txtpb" train { steps: 2 batch: 2 length: 16 }
data { train: "train.bin" sampling: "windows" labels: "id.labels" label_value: "id" score_value: "value" }
END
all "input 'id' is i32\[1,16,3\], but training feeds i32\[2,16,3\]: labels of a file" check train

# numbers of a text file: what an integer does not hold is not cut
printf 'main: "m"\nmodule { name: "m" input { name: "n" type: "i32[2]" } node { op: "cast" in: "n" out: "y" attr: "to=f32" } output: "y" }\n' >n.txtpb
echo '1 -2' >n.txt
expect 0 "$weft" run n.txtpb --input n=n.txt
for bad in 1e30 2.5 nan inf; do
    echo "1 $bad" >n.txt
    expect 65 "$weft" run n.txtpb --input n=n.txt
    says err "n.txt@2: $bad, but input 'n' is\|n.txt@2: 1e+30, but input 'n' is"
done
# tensors of a file: of the input's shape, and of a type in which no number is another one
tensor() { # FILE DTYPE SHAPE HEX
    perl -e 'my $d = pack "H*", $ARGV[2]; my $h = "{\"x\":{\"dtype\":\"$ARGV[0]\",\"shape\":[$ARGV[1]],\"data_offsets\":[0," . length($d) . "]}}";
        print pack("Q<", length $h), $h, $d' "$2" "$3" "$4" >"$1"
}
i32=$(printf '%02x000000' 1 2 3 4 5 6) i64=$(printf '%02x00000000000000' 1 2 3 4 5 6)
printf 'main: "m"\nmodule { name: "m" input { name: "n" type: "i32[2,3]" } node { op: "cast" in: "n" out: "y" attr: "to=f32" } output: "y" }\n' >n.txtpb
for shape in 3,2 6 1,2,3 2,3,1; do
    tensor n.safetensors I32 $shape "$i32"
    expect 78 "$weft" run n.txtpb --input n=n.safetensors
    says err "n.safetensors: tensor 'x' is I32\[$shape\], but input 'n' is i32\[2,3\]"
done
tensor n.safetensors I32 2,3 "$i32"
expect 0 "$weft" run n.txtpb --input n=n.safetensors --output a.safetensors
tensor n.safetensors I64 2,3 "$i64"
expect 0 "$weft" run n.txtpb --input n=n.safetensors --output b.safetensors
same a.safetensors b.safetensors
tensor n.safetensors I64 2,3 "${i64%00000000}01000000" # 6 + 2^32
expect 65 "$weft" run n.txtpb --input n=n.safetensors
says err "element 5 is out of range, which does not fit i32"
printf 'main: "m"\nmodule { name: "m" input { name: "n" type: "f32[2]" } node { op: "neg" in: "n" out: "y" } output: "y" }\n' >n.txtpb
tensor n.safetensors F64 2 000000000000e03f000000000000f87f # 0.5, NaN
expect 0 "$weft" run n.txtpb --input n=n.safetensors
tensor n.safetensors F64 2 000000000000e03f9a9999999999b93f # 0.5, 0.1
expect 78 "$weft" run n.txtpb --input n=n.safetensors
says err "tensor 'x' is F64\[2\], but input 'n' is f32\[2\]"
says err 'element 1 is 0.10000000000000001, which the input does not hold exactly: save the tensor as f32'
finish
