#!/bin/bash
# generate.sh - generation from outside: what cannot be decoded step by step, vocabularies that are wider than the
# tokenizer, prompts of any length, and what was drawn before an error.
. tests/tokens.inc
gen="$weft generate"

# ---- attention of three kinds: causal, of both directions, and with a prefix that sees itself
cat >masks.txtpb <<'END'
main: "lm"
module { name: "lm" param: "B=1" param: "T=12" param: "d=8" param: "vocab=64" param: "kind=0"
  input { name: "tokens" type: "i32[B,T]" } input { name: "targets" type: "i32[B,T]" }
  weight { name: "wte" type: "f32[vocab,d]" init: "normal(1)" } weight { name: "pos" type: "f32[T,d]" init: "normal(1)" }
  weight { name: "mask" type: "f32[T,T]" init: "normal(3)" }
  node { op: "embedding" in: ["wte", "tokens"] out: "e" }
  node { op: "add" in: ["e", "pos"] out: "h" }
  node { op: "matmul" in: ["h", "h"] out: "s" attr: "tb=1" }
  node { op: "add" in: ["s", "mask"] out: "sm" }
  node { op: "causal_softmax" in: "sm" out: "p0" }
  node { op: "softmax" in: "s" out: "p1" }
  node { op: "softmax" in: "sm" out: "p2" }
  node { op: "choose" in: ["p0", "p1", "p2"] out: "p" attr: "which=kind" }
  node { op: "matmul" in: ["p", "h"] out: "a" }
  node { op: "matmul" in: ["a", "wte"] out: "logits" attr: "tb=1" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: "loss" output: "logits"
}
END
# the window slides twice
expect 0 $gen masks.txtpb --ids --prompt "1 2 3" --tokens 30 --seed 4
cp out cached
expect 0 $gen masks.txtpb --ids --prompt "1 2 3" --tokens 30 --seed 4 --no-cache
same out cached
for kind in 1 2; do
    expect 69 $gen masks.txtpb --ids --prompt "1 2 3" --tokens 5 --set kind=$kind
    says err 'softmax: cannot take the softmax along axis 2 of f32\[1,12,12\], the keys'
    says err "in node 'softmax' of scope '' (masks.txtpb:1[12])"
    says err 'decoded step by step; --no-cache computes the whole window'
    [ -s out ] && fail "a refused model was generated from"
    expect 0 $gen masks.txtpb --ids --prompt "1 2 3" --tokens 5 --set kind=$kind --no-cache
    [ "$(wc -w <out)" = 5 ] || fail "kind $kind without a cache: $(cat out)"
done

# ---- logits that do not depend on the text: the same with and without a cache, and a warning
cat >free.txtpb <<'END'
main: "m"
module { name: "m" param: "B=1" param: "T=4" param: "vocab=8"
  input { name: "tokens" type: "i32[B,T]" } input { name: "targets" type: "i32[B,T]" }
  weight { name: "pos" type: "f32[T,vocab]" init: "normal(3)" }
  node { op: "broadcast_to" in: "pos" out: "logits" attr: "dims=B,T,vocab" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: "loss" output: "logits"
}
END
expect 0 $gen free.txtpb --ids --prompt "1 2" --tokens 12
says err "'logits' does not depend on the input 'tokens'"
cp out cached
expect 0 $gen free.txtpb --ids --prompt "7" --tokens 12 --no-cache
[ "$(wc -w <out)" = 12 ] || fail "logits without text: $(cat out)"
expect 0 $gen free.txtpb --ids --prompt "3 4" --tokens 12 --no-cache
same out cached

# ---- a model with random numbers of its own: a position has the same ones with and without a cache
sed 's/add" in: \["e", "pos"\]/add" in: ["e", "noise"]/; s/  node { op: "embedding"/  node { op: "uniform" in: "pos" out: "noise" }\n&/' \
    masks.txtpb >noise.txtpb
for n in 1 3; do
    expect 0 $gen noise.txtpb --ids --prompt "1 2 3" --tokens 30 --n $n
    cp out cached
    expect 0 $gen noise.txtpb --ids --prompt "1 2 3" --tokens 30 --n $n --no-cache
    same out cached
done

# ---- a vocabulary of 257 tokens, a model of 400
seq 1 3000 >text.txt
expect 0 "$weft" tokenize train --vocab 257 --out tok.json text.txt
wide="masks.txtpb --set vocab=4000 --tokens 40 --to-end"
for how in "--temperature 0" "--temperature 1" "--top-k 1" "--top-p 0.3 --temperature 2"; do
    expect 0 $gen $wide --ids --prompt "16 17" $how
    perl -ne 'exit !grep { $_ > 256 } split' out || fail "the model does not draw what the tokenizer lacks: $(cat out)"
    expect 0 $gen $wide --ids --tokenizer tok.json --prompt "16 17" $how
    perl -ne 'exit !!grep { $_ > 256 } split' out || fail "$how: ids beyond the tokenizer: $(cat out)"
    tr ' ' , <out >ids
    expect 0 $gen $wide --tokenizer tok.json --prompt 12 $how --json
    grep -q "\"tokens\":\[$(cat ids)\]" out || fail "$how: the text has other tokens than its ids"
done

# ---- a long prompt: the model goes on from its end
perl -e 'print join(" ", map { $_ * 7 % 61 } 1 .. 600000)' >long.ids
tail -c 100 long.ids >end.ids
perl -e 'print "the river was cold . " x 60000, "12 34 56"' >long.txt
for from in @long.ids -; do
    expect 0 $gen masks.txtpb --ids --prompt @end.ids --tokens 9
    cp out short
    $gen masks.txtpb --ids --prompt $from --tokens 9 <long.ids >out 2>err || fail "a long prompt from $from: $(cat err)"
    same out short
done
for from in @long.txt -; do
    $gen $wide --tokenizer tok.json --prompt $from --json <long.txt >out 2>err || fail "a long text from $from: $(cat err)"
    perl -ne 'exit !/"prompt":\[[^]]*,16,17,220,18,19,220,20,21\],/' out || fail "the prompt does not end as its text does"
    expect 0 $gen $wide --tokenizer tok.json --prompt "$(tail -c 40 long.txt)" --json
done

# ---- an error in the middle: what was drawn is there
late="masks.txtpb --ids --prompt 1 --temperature 0 --steer-at logits --steer 3=3e38 --steer 3*10 --steer-on generated"
expect 80 $gen $late
says err 'the logit of token 3 is inf'
[ "$(wc -w <out)" = 1 ] || fail "what was drawn before an error: '$(cat out)'"
expect 80 $gen $late --json
says out '^{"sample":0,"prompt":\[1\],"tokens":\[[0-9]*\],"error":"the logit of token 3 is inf'
expect 80 $gen $late --json --compare --tokens 4
says out '"unsteered":\[[0-9]*,[0-9]*,[0-9]*,[0-9]*\],"steered":\[[0-9]*\],"error":"the logit'
expect 80 $gen masks.txtpb --tokenizer tok.json --set vocab=4000 --prompt 1 --temperature 0 --tokens 5 --steer-at logits \
    --steer 3=3e38 --steer '3*10' --steer-on generated --json
says out '"text":"1..*","error":"'
if [ -w /dev/full ]; then
    $gen masks.txtpb --ids --prompt 1 >/dev/full 2>err
    [ $? = 74 ] || fail "a full disk: $(cat err)"
fi

# ---- a signal asks for the end: the line is finished
$gen masks.txtpb --ids --prompt 1 --tokens 100000000 >said 2>err &
pid=$!
await $pid test -s said
kill -TERM $pid
wait $pid
[ $? = 143 ] || fail "exit after SIGTERM: $(cat err)"
perl -0777 -ne 'exit !/\n\z/' said || fail "the line was not ended"

finish
