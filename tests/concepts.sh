#!/bin/bash
# concepts.sh - what weft concepts says of a tiny CoCoMix agrees with numbers computed apart, its page works, and
# questions that cannot be answered are told so.
. tests/tokens.inc

concepts() { "$weft" concepts "$@"; }
"$weft" tokenize train --vocab 300 --out tok.json "$root/docs/design.md" >/dev/null 2>&1 || fail "no tokenizer"
for part in train val; do
    "$weft" tokenize encode --tokenizer tok.json --out $part --val 0 "$root/docs/design.md" >/dev/null 2>err || fail "no tokens: $(cat err)"
done
mkdir data && mv train/train.bin data/train.bin && mv val/train.bin data/val.bin
cat >tiny.txtpb <<END
name: "tiny"
model: "$root/models/cocomix.txtpb"
set: ["n_layer=2", "n_head=2", "d=16", "vocab=300", "ctx=32", "insert=1", "n_concept=48", "k=4", "k_label=2",
      "t_layer=2", "t_head=2", "t_d=24", "t_ctx=32", "t_tap=1"]
data { train: "data/train.bin" val: "data/val.bin" tokenizer: "tok.json" }
train { steps: 12 batch: 2 length: 32 }
schedule { lr: 1e-2 }
END
expect 0 "$weft" train tiny.txtpb --out run --quiet

# ---- a table over two windows against the same values from weft run, counted in Python
expect 0 concepts run --top 48 --tokens 64 --json
cp out list.json
expect 0 concepts run --concept 7 --tokens 64 --contexts 64 --json
cp out seven.json
expect 0 concepts run --concept 7 --tokens 64 --from label --json
cp out label.json
# a tokenizer that lacks ids of the data
seq 1 3000 >numbers.txt
expect 0 "$weft" tokenize train --vocab 257 --out small.json numbers.txt
expect 65 concepts run --top 3 --tokens 640 --tokenizer small.json
says err 'data/val.bin: token [0-9]* is 2[5-9][0-9], the tokenizer has 257 tokens'
expect 65 "$weft" steer run --measure --concept 7 --quiet --prompts 2 --prompt-tokens 20 --tokens 4 --tokenizer small.json
says err 'data/val.bin: token [0-9]* is 2[5-9][0-9], the tokenizer has 257 tokens'
last=run/$(cd run && ls -d checkpoints/step-* | tail -1)
cat >oracle.py <<'END'
import array, json, struct, subprocess, sys
weft, weights = sys.argv[1], sys.argv[2]
def tensors(path):
    raw = open(path, 'rb').read()
    n = struct.unpack('<Q', raw[:8])[0]
    out = {}
    for name, t in json.loads(raw[8:8 + n]).items():
        if name != '__metadata__':
            a, b = t['data_offsets']
            out[name] = array.array({'F32': 'f', 'I32': 'i', 'I64': 'q'}[t['dtype']], raw[8 + n + a:8 + n + b])
    return out
ids = array.array('H', open('data/val.bin', 'rb').read()[:130])
for name, part in ('tokens', ids[:64]), ('targets', ids[1:65]):
    open(name + '.txt', 'w').write(' '.join(map(str, part)))
subprocess.check_call([weft, 'run', 'run/model.txtpb', '--weights', weights, '--set', 'B=2', '--set', 'T=32', '--input',
    'tokens=tokens.txt', '--input', 'targets=targets.txt', '--fetch', 'concept_logits', '--fetch', 'label', '--fetch',
    'score', '--output', 'run.safetensors'], stdout=subprocess.DEVNULL)
v = tensors('run.safetensors')
N, K = 48, 4
top = [sorted(range(N), key=lambda i: (-v['concept_logits'][t * N + i], i))[:K] for t in range(64)]
label = [list(v['label'][2 * t:2 * t + 2]) for t in range(64)]
def near(what, a, b, tol=2e-5):    # the digits that are printed, and another batch of the matrix products
    assert a is not None and abs(a - b) <= tol * (1 + abs(b)), (what, a, b)
found = json.load(open('list.json'))
near('recall 2', found['recall_labels'], sum(l in top[t][:2] for t in range(64) for l in label[t]) / 128)
near('recall 4', found['recall_active'], sum(l in top[t] for t in range(64) for l in label[t]) / 128)
assert sorted(c['id'] for c in found['list']) == list(range(N))
dens = [c['density'] for c in found['list']]
assert dens == sorted(dens, reverse=True), 'order'
w = tensors(weights + '/model.safetensors')
for c in found['list']:
    i = c['id']
    at = [t for t in range(64) if i in top[t]]
    near('density', c['density'], len(at) / 64)
    near('label density', c['label_density'], sum(i in l for l in label) / 64)
    if at:
        near('mean', c['mean'], sum(v['concept_logits'][t * N + i] for t in at) / len(at))
        near('max', c['max'], max(v['concept_logits'][t * N + i] for t in at))
    near('norm', c['norm'], sum(x * x for x in w['transformer.compress_layer.weight'][i::N]) ** .5)
# contexts: all places, strongest first; tokens that the column raises and lowers
s = json.load(open('seven.json'))
at = sorted((t for t in range(64) if 7 in top[t]), key=lambda t: -v['concept_logits'][t * N + 7])
assert [c['at'] for c in s['contexts']] == at, ([c['at'] for c in s['contexts']], at)
assert all(c['token'] == ids[c['at']] for c in s['contexts'])
assert sum(s['histogram']['count']) == len(at)
col, wte, d = w['transformer.compress_layer.weight'][7::N], w['transformer.wte.weight'], 16
logit = [sum(col[j] * wte[t * d + j] for j in range(d)) for t in range(300)]
mean = sum(logit) / 300
for key, sign in ('promotes', -1), ('suppresses', 1):
    want = sorted(range(300), key=lambda t: sign * logit[t])[:10]
    got = s['effects'][0][key]
    assert [g['token'] for g in got] == want, key
    for g in got:
        near(key, g['logit'], logit[g['token']] - mean)
assert [e['who'] for e in s['effects']] == ['model', 'extractor']
l = json.load(open('label.json'))
near('label density', l['density'], sum(7 in x for x in label) / 64)
score = [v['score'][2 * t + j] for t in range(64) for j in range(2) if label[t][j] == 7]
if score:
    near('label max', l['max'], max(score))
print('oracle agrees')
END
python3 oracle.py "$weft" "$last" || fail "the oracle does not agree"

# ---- a text: predictions of every token, labels of all but the last
expect 0 concepts run --text "Nothing in graph" --json
python3 - <<'END' || fail "the text's JSON"
import json
t = json.load(open('out'))
n = len(t['tokens'])
assert ''.join(x['text'] for x in t['tokens']) == 'Nothing in graph' and n > 2, n
assert [len(x['labels']) for x in t['tokens']] == [2] * (n - 1) + [0]
assert all(len(x['predicted']) == 5 for x in t['tokens'])
assert list(t['recall']) == ['2', '4'] and t['recall']['2'] <= t['recall']['4']
for x in t['tokens']:
    v = [p['value'] for p in x['predicted']]
    assert v == sorted(v, reverse=True)
END
expect 0 concepts run --text "Nothing in graph" --show 3
says out '^agreement: of'
says out 'predicted .*->'
says out "^predicted: largest values of concept_logits; label: the extractor's, with its score, .*; \*: a label that is one of the 4 best"
[ "$(grep -c '^predicted: ' out)" = 1 ] || fail "legends: $(cat out)"
grep -q "$(printf '\033')" out && fail "colours in a file"
expect 0 concepts run --text "Nothing in graph" --color=always --data data/val.bin --tokens 64
grep -q "$(printf '\033')\[7mN" out || fail "no colours"
# a byte 0 is a token like others
printf 'a\0b' >zero.txt
expect 0 concepts run --file zero.txt
says out '^\[\\x00\]$'
expect 0 concepts run --file zero.txt --json
says out '"text":"\\\\x00"'
expect 0 concepts run --text a --data data/val.bin --tokens 64 --from label --contexts 3
head -c 3000 "$root/docs/design.md" >long.txt # several windows
expect 0 concepts run --file long.txt --show 1
says out '^agreement'
expect 0 concepts run --text "N"
grep -q agreement out && fail "agreement without a label"
# other values by name, and an extractor by itself
expect 0 concepts run --concept 3 --tokens 64 --concept-value logits
says out '^density'
says err "labels are left out: 'label' has ids of 48 concepts, but 'logits' has 300 values"
grep -q 'label\|extractor' out && fail "labels of other things: $(cat out)"
expect 0 concepts run --concept 3 --tokens 64 --concept-value logits --label-value label # who asks gets them
says out '^label'
[ -s err ] && fail "labels by name: $(cat err)"
expect 0 concepts run --concept 3 --tokens 64 --concept-value z
says out '^label'
expect 2 concepts run --top 3 --concept-value logits --embedding nothing
says err 'expected weights'
expect 0 concepts run --top 3 --tokens 64 --by norm --from label

# without labels: nothing of the extractor
for words in "--text Nothing" "--concept 3 --tokens 64" "--top 3 --tokens 64"; do
    expect 0 concepts run --label-value none $words
    grep -q 'label\|extractor\|agreement' out && fail "labels with --label-value none: $(cat out)"
done
# of a model that nobody trained: a warning, once
for words in "--text Nothing" "--top 3 --tokens 64"; do
    expect 0 concepts tiny.txtpb $words
    [ "$(grep -c "^weft: warning: the model's own weights have start values" err)" = 1 ] || fail "start values, $words: $(cat err)"
    expect 0 concepts run $words
    [ -s err ] && fail "a run, $words: $(cat err)"
done

# ---- the page
expect 0 concepts run --html page.html --tokens 640 --contexts 3
[ "$(stat -c %s page.html)" -lt 5000000 ] || fail "a large page"
for word in '<noscript>' 'prefers-color-scheme' 'application/json'; do grep -q "$word" page.html || fail "no $word"; done
if command -v node >/dev/null; then
    node "$root/tests/concepts_page.js" page.html >node.out || fail "the page's script: $(tail -3 node.out)"
    # sorted by a column that the page does not have
    expect 0 concepts run --html logits.html --tokens 64 --concept-value logits --by norm
    node "$root/tests/concepts_page.js" logits.html >node.out || fail "a page without columns: $(tail -3 node.out)"
fi

# a page replaces a page, and nothing else
: >empty.html
for path in page.html empty.html; do
    expect 0 concepts run --html $path --tokens 64
done
cp data/val.bin kept.bin
expect 73 concepts run --html data/val.bin --tokens 64
says err "^weft: error: --html=data/val.bin: the file is there and does not begin with '<!doctype html': it is not replaced"
same data/val.bin kept.bin

# ---- what cannot be answered
printf abc >odd.bin
head -c 40 data/val.bin >short.bin
count=0
while IFS='|' read -r code words message; do
    # shellcheck disable=SC2086 # words of a command line
    expect "$code" concepts $words
    says err "$message"
    count=$((count + 1))
done <<'END'
2|run|one of --text
2|run --text a --top 3|different things
2|run --concept 48 --tokens 64|concepts 0..47
2|run --concept 48 --tokens 64 --html x.html|concepts 0..47
2|run --concept -1|an integer in 0
2|run --top 0|an integer in 1
2|run --top 3 --by size|density, mean, max, norm, label
2|run --top 3 --from above|predicted, label
2|run --top 3 --color red|auto, always, never
2|run --text a --from label|--from needs a corpus
2|run --text a --contexts 3|--contexts needs a corpus
2|run --file tok.json --tokens 64|--tokens needs a corpus
2|run --text a --by norm|--by needs --top or --html
2|run --concept 3 --by norm|--by needs --top or --html
2|run --text a --data data/val.bin --by norm|--by needs --top or --html
2|run --top 3 --page 9|--page needs --html
2|run --top 3 --show 9|--show needs --text
2|run --top 3 --contexts 65|an integer in 1..64
66|run --top 3 --data nothing.bin|nothing.bin
66|run --file nothing.txt|nothing.txt
65|run --top 3 --data odd.bin|odd.bin
65|run --top 3 --data short.bin|too few
66|nothing --top 3|nothing
2|run --top 3 --concept-value concept_logit|did you mean 'concept_logits'
78|run --top 3 --concept-value h --label-value label|'label' has ids of 48 concepts, but 'h' has 24 values
78|run --top 3 --concept-value loss|expected f32.B,T,n_concept
78|run --top 3 --label-value loss|label-value\|i32\|expected
2|run --top 3 --decoder nothing|expected weights
2|run --top 3 --label-value none --by label|no labels
2|run --top 3 --label-value none --from label|--label-value names
73|run --html tok.json/page.html --tokens 64|tok.json
END
echo "$count questions refused"

# ---- an extractor in files of its own, which may be gone: one warning, and no labels
cat >apart.txtpb <<END
name: "apart"
model: "$root/models/cocomix.txtpb"
set: ["n_layer=2", "n_head=2", "d=16", "vocab=300", "ctx=32", "insert=1", "n_concept=48", "k=4", "k_label=2",
      "t_layer=2", "t_head=2", "t_d=24", "t_ctx=32", "t_tap=1"]
load { file: "extractor.safetensors" scope: "teacher." }
data { train: "data/train.bin" val: "data/val.bin" tokenizer: "tok.json" }
train { steps: 2 batch: 2 length: 32 }
END
python3 - "$last/model.safetensors" <<'END'
import json, struct, sys
raw = open(sys.argv[1], 'rb').read()
n = struct.unpack('<Q', raw[:8])[0]
head, data, out = json.loads(raw[8:8 + n]), b'', {}
for name, t in head.items():
    if name.startswith('teacher.'):
        a, b = t['data_offsets']
        out[name[len('teacher.'):]] = dict(t, data_offsets=[len(data), len(data) + b - a])
        data += raw[8 + n + a:8 + n + b]
text = json.dumps(out).encode()
text += b' ' * (-len(text) % 8)
open('extractor.safetensors', 'wb').write(struct.pack('<Q', len(text)) + text + data)
END
expect 0 "$weft" train apart.txtpb --out apart --quiet
expect 0 concepts apart --text "Nothing in graph" --json
says out '"labels":\[{'
predicted=$(sed 's/"labels":\[[^]]*\]//g; s/,"recall".*//' out)
mv extractor.safetensors gone.safetensors
expect 0 concepts apart --text "Nothing in graph" --json
[ "$(sed 's/"labels":\[[^]]*\]//g; s/,"recall".*//' out)" = "$predicted" ] || fail "other predictions without labels: $(cat out)"
grep -q '"labels":\[{' out && fail "labels without an extractor"
for words in "--text Nothing" "--top 3 --tokens 64" "--concept 3 --tokens 64" "--html apart.html --tokens 64"; do
    expect 0 concepts apart $words
    [ "$(grep -c '^weft: warning: .*labels are left out: .*extractor.safetensors' err)" = 1 ] || fail "no warning, $words: $(cat err)"
    grep -q 'label\|extractor' out && fail "labels of a missing extractor, $words: $(cat out)"
    expect 0 concepts apart --label-value none $words
    [ -s err ] && fail "--label-value none: $(cat err)"
done
for words in "--from label" "--by label" "--label-value label"; do
    expect 66 concepts apart --top 3 --tokens 64 $words
    says err 'extractor.safetensors'
done
expect 2 concepts run --text ""
says err 'empty'
expect 2 concepts "$root/models/cocomix.txtpb" --set T=8 --text x
says err 'tokenizer'

# a text with byte 0 is whole in JSON, and in columns
printf 'In\0to' >zero.txt
expect 0 "$weft" generate run --prompt @zero.txt --tokens 2 --seed 1 --json
python3 -c 'import json, sys; assert json.load(open("out"))["text"].startswith("In\0to"), open("out").read()' || fail "byte 0 in JSON"
expect 0 "$weft" generate run --prompt @zero.txt --tokens 2 --seed 1 --compare --steer 3+1
says out '^In to'
# characters of several bytes are shown as they are, what moves the cursor is not
python3 -c 'print("\u00e9t\u00e9 \u2192 \ud55c \u001b[31m " * 40)' >wide.txt
expect 0 "$weft" tokenize encode --tokenizer tok.json --out wide --val 0 wide.txt
expect 0 concepts run --data wide/train.bin --top 1 --by density --json
id=$(sed 's/.*"list":\[{"id":\([0-9]*\).*/\1/' out)
expect 0 concepts run --data wide/train.bin --concept "$id" --contexts 20
for word in 'été' '→' '한' '\\x1b\[31m'; do
    says out "$word"
done
grep -q "$(printf '\033')\[31m" out && fail "a text has set colours"
finish
