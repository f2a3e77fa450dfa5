#!/bin/bash
# evaluate.sh - an evaluation is of all sequences of its file, whatever the batch: what is left over, short files, graphs with a
# batch of their own.
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
finish
