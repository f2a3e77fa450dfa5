#!/bin/bash
# json.sh - what is for machines is JSON, whatever stands in it: --json and the logs with names that hold quotes, control
# characters and marks of direction, and numbers that are none (expect of tokens.inc reads what --json printed, here and in
# all other scripts). Messages and tables of the same hold no control characters.
. tests/tokens.inc
command -v python3 >/dev/null || { echo "no python3: skipped"; exit 77; }

# run COMMAND...: for people; what it says is looked at in the end
run() { { printf '== %q ' "$@" | tr -d '\000-\037\177'; echo; "$@" 2>&1; } >>said; }

# ---- a model with the names of somebody who means ill, and outputs that are no number ----
esc=$(printf '\033[31m')
bidi=$(printf '\342\200\256')
cat >odd.txtpb <<END
main: "odd"
module {
  name: "odd"
  param: ["vocab=64", "width=8", "B=2", "T=8", "huge=1e30"]
  input { name: "tokens" type: "i32[B,T]" }
  input { name: "targets" type: "i32[B,T]" }
  weight { name: "ta\"ble\\n\\033[31m" type: "f32[vocab,width]" init: "normal(0.02)" }
  node { op: "embedding" in: ["ta\"ble\\n\\033[31m", "tokens"] out: "x" }
  node { op: "matmul" in: ["x", "ta\"ble\\n\\033[31m"] out: "logits" attr: "tb=1" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  node { op: "scale" in: "loss" out: "zero" attr: "alpha=0" }
  node { op: "div" in: ["zero", "zero"] out: "na\"n\\\\\\n\\033\\342\\200\\256" }
  node { op: "div" in: ["loss", "zero"] out: "inf" }
  output: ["loss", "logits", "na\"n\\\\\\n\\033\\342\\200\\256", "inf"]
}
END
cat >odd-r.txtpb <<END
name: "o\"dd${bidi}"
model: "odd.txtpb"
data { train: "train.bin" val: "val.bin" }
train { steps: 4 batch: 4 length: 16 seed: 1 log: ["na\"n\\\\\\n\\033\\342\\200\\256", "inf"] }
schedule { lr: 1e-2 }
eval { every: 2 log: ["na\"n\\\\\\n\\033\\342\\200\\256", "inf"] }
END
printf '%s\n' 'the quick brown fox jumps over the lazy dog, and "then" the others' >text.txt
for i in 1 2 3 4; do cat text.txt text.txt >more.txt; mv more.txt text.txt; done
"$weft" tokenize train --vocab 280 --min-count 1 --out tok.json text.txt >out || fail "a tokenizer"

expect 0 "$weft" check odd-r.txtpb --json
expect 0 "$weft" check odd.txtpb --json
expect 0 "$weft" train odd-r.txtpb --out "r\"un$esc" --json --quiet
run="r\"un$esc"
for log in log timing; do python3 "$root/tests/strict_json.py" "$run/$log.jsonl" lines || fail "$log.jsonl: $(head -2 "$run/$log.jsonl")"; done
for file in "$run"/*.json "$run"/checkpoints/*/*.json "$run"/*/*/*.json; do
    [ ! -e "$file" ] || python3 "$root/tests/strict_json.py" "$file" || fail "$file is no JSON"
done
grep -q '"val_inf":null' "$run/log.jsonl" || fail "an infinite value is not null: $(tail -1 "$run/log.jsonl")"
expect 80 "$weft" eval "$run" --json # names the output, and prints nothing
[ ! -s out ] || fail "half an evaluation"
expect 0 "$weft" eval odd.txtpb --data val.bin --json
expect 0 "$weft" run odd.txtpb --json --seed 1
grep -q ':null' out || fail "values of run that are no number: $(head -c 300 out)"
expect 0 "$weft" run odd.txtpb --json --show 100
expect 0 "$weft" weights "$run" --json
expect 0 "$weft" weights "$run" --json --stats
# two files: what differs, in the text too
expect 0 "$weft" weights "$run" "$run" --json
grep -q '"equal":[1-9][0-9]*,"not_equal":0}' out || fail "equal files: $(cat out)"
expect 2 "$weft" weights "$run" "$run" --json --stats
says err '--stats is for one file'
perl -e '
    sub put { my ($file, $head, @x) = @_; open my $f, ">", $file; binmode $f; print $f pack("Q<", length $head), $head, pack("f<*", @x) }
    put("a.safetensors", q({"s":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"v\"":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"one":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},"n":{"dtype":"F32","shape":[1],"data_offsets":[16,20]}}), 1, 2, 3, 4, 5);
    put("b.safetensors", q({"s":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v\"":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"two":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"n":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}), 1, 3.5, 4, "nan");'
expect 1 "$weft" weights a.safetensors b.safetensors --json
python3 "$root/tests/strict_json.py" out || fail "no JSON: $(cat out)"
python3 - out <<'END' || fail "differences of two files: $(cat out)"
import json, sys
j = json.load(open(sys.argv[1]))
d = {x.pop("name"): x for x in j["differences"]}
assert d == {"s": {"types": ["F32[2]", "F32[1]"]}, 'v"': {"distance": 0.5}, "one": {"only_in": 1}, "two": {"only_in": 2},
             "n": {"distance": None}}, d
assert (j["equal"], j["not_equal"]) == (0, 5)
END
expect 1 "$weft" weights a.safetensors b.safetensors --tolerance 1
says out '^1 tensors equal, 4 not'
expect 1 "$weft" weights a.safetensors b.safetensors
for line in '^s  *of another shape' '^v"  *differs by up to 0.5' '^one  *only in a.saf' '^two  *only in b.saf' '^0 tensors equal, 5 not'; do says out "$line"; done
expect 0 "$weft" compare "$run" --json
cp -r "$run" second
expect 0 "$weft" compare "A\"B$esc=$run" "x=second" --json
expect 0 "$weft" generate "$run" --ids --prompt 1 --tokens 3 --n 2 --json
expect 0 "$weft" bench odd-r.txtpb --steps 1 --warmup 0 --gemm-seconds 0.02 --json
sed '/op: "div"/d;s/^  output:.*/  output: ["loss"]/' odd.txtpb >number.txtpb
expect 0 "$weft" gradcheck number.txtpb --json
expect 0 "$weft" ops --json
expect 0 "$weft" ops --rules --json
expect 0 "$weft" tokenize ids --json --tokenizer tok.json 'the "lazy" dog'
expect 0 "$weft" tokenize count --json --tokenizer tok.json text.txt
expect 0 "$weft" tokenize encode --json --tokenizer tok.json --out "t\"ok$esc" --val 0 text.txt

# ---- the same for people: names are visible, and nothing else ----
run "$weft" check odd.txtpb
run "$weft" show odd.txtpb
run "$weft" show odd-r.txtpb --stage=plan
run "$weft" show odd.txtpb --as=dot
run "$weft" check odd.txtpb --max-memory=100
run "$weft" weights "$run"
run "$weft" eval "$run"
run "$weft" compare "A$esc$bidi=$run" "x=second"
run "$weft" run odd.txtpb --show 0
run "$weft" gradcheck number.txtpb
run "$weft" tokenize encode --tokenizer tok.json --out "t$esc" --val 0 text.txt
run "$weft" train odd-r.txtpb --out "q$esc" --steps 1
# and in what is wrong
word="$esc$bidi$(printf 'a\nb\233\302\233')"
for args in "check" "show" "train" "eval" "generate" "compare" "run" "bench" "gradcheck" "labels" "import" "weights" \
    "concepts" "pack" "steer" "ops" "tokenize" "tokenize ids" "tokenize encode" "tokenize count" "tokenize train --vocab 300 --out x" ""; do
    run "$weft" $args "$word" "$word"
    run "$weft" $args "--$word=1"
done
run "$weft" check odd.txtpb --set "$word=1"
run "$weft" check odd.txtpb --set "width=$word"
run "$weft" train odd-r.txtpb --set "$word"
run "$weft" train odd-r.txtpb --out s --set "data.train=$word"
run "$weft" eval "$run" --data "$word"
run "$weft" eval odd-r.txtpb --weights "$word"
run "$weft" generate "$run" --prompt "@$word"
run "$weft" generate "$run" --ids --prompt "$word"
run "$weft" tokenize ids --tokenizer "$word" x
run "$weft" show odd.txtpb --output "none/$word"
run "$weft" compare "$word=$run" "$word=$run" --metric "$word"
printf '{"%s": 1}' "$(printf '\302\233')" >odd.json
run "$weft" tokenize ids --tokenizer odd.json x
printf 'module { name: "m" node { op: "\\033]0;x\\007\\342\\200\\256" in: "\\033" out: "\\n\\nz" } }' >ill.txtpb
run "$weft" check ill.txtpb
printf 'module { name: "m\\033" input { name: "x" type: "\\033[f32" } output: "\\033y" }' >ill.txtpb
run "$weft" check ill.txtpb
python3 - <<'END' || fail "control characters in messages or tables"
import sys, unicodedata
bad = 0
for said in open("said", "rb").read().split(b"\n== ")[1:]:
    command, _, text = said.partition(b"\n")
    try:
        hidden = {c for c in text.decode("utf-8") if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}
    except ValueError as e:
        hidden = e
    if hidden:
        bad += 1
        print(command.decode("ascii", "replace"), hidden, text[:300])
sys.exit(bad > 0)
END
finish
