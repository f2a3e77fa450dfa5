#!/bin/bash
# tokenize.sh - `weft tokenize` as a user sees it: train, encode for every number of threads, the split by document and
# seed, decode, and the exit codes of what goes wrong.
set -u
: "${WEFT:?the tool to test}"
dir=$(mktemp -d) && cd "$dir" || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

fail() {
    echo "FAILED: $*"
    failed=1
}

# expect CODE PATTERN COMMAND...: the exit code, and one line of error that matches.
expect() {
    local code=$1 pattern=$2
    shift 2
    "$@" >out.txt 2>err.txt
    local got=$?
    [ $got = "$code" ] || fail "$*: exit code $got, expected $code: $(cat err.txt)"
    [ -z "$pattern" ] || grep -q -- "$pattern" err.txt || fail "$*: '$(cat err.txt)' does not match '$pattern'"
    [ "$code" = 0 ] || [ ! -s out.txt ] || fail "$*: text on standard output"
}

# 40 documents of a few sentences, each with its number.
awk 'BEGIN {
    n = split("the quick brown fox jumps over the lazy dog and then they are there at last", w, " ")
    for (d = 1; d <= 40; d++) {
        for (l = 0; l < 30; l++) {
            line = "doc " d ":"
            for (k = 0; k < 12; k++) line = line " " w[(d * 7 + l * 3 + k * k) % n + 1]
            print line "."
        }
        print "<|endoftext|>"
    }
}' >corpus.txt

# ---- the same result for every number of threads ----
expect 0 '' "$WEFT" tokenize train --vocab 330 --out tok.json corpus.txt
for n in 1 2 3 8; do
    expect 0 '' "$WEFT" tokenize train --vocab 330 --out tok$n.json --threads $n corpus.txt
    cmp tok.json tok$n.json || fail "training with $n threads"
    expect 0 '' "$WEFT" tokenize encode --tokenizer tok.json --out t$n --val 0.1 --seed 3 --threads $n corpus.txt
    cmp t1/train.bin t$n/train.bin && cmp t1/val.bin t$n/val.bin || fail "encoding with $n threads"
done
cmp tok.json t1/tokenizer.json || fail "the folder's tokenizer"

# ---- added tokens: the same in a corpus, in a prompt, and for every number of threads ----
sed 's/"added_tokens": \[/&{"id": 330, "content": "<concept>", "normalized": true, "special": false},\
  {"id": 331, "content": "    ", "normalized": true, "special": false},\
  {"id": 332, "content": "<s>", "normalized": false, "special": true, "lstrip": true, "rstrip": true},/' tok.json >added.json
printf 'a <concept> b\nif x:\n    return <s> 1<|endoftext|>\n' >added.txt
want='64 220 330'
expect 0 '' "$WEFT" tokenize ids --tokenizer added.json 'a <concept>'
[ "$(cat out.txt)" = "$want" ] || fail "ids of an added token: $(cat out.txt), not $want"
expect 0 '' "$WEFT" tokenize encode --tokenizer added.json --out added --val 0 --documents file added.txt
expect 0 '' "$WEFT" tokenize ids --tokenizer added.json <added.txt
[ "$(cat out.txt) 329" = "$(od -An -v -tu2 -w10000 added/train.bin | xargs)" ] || fail "a corpus and a prompt differ"
grep -qw 331 out.txt && grep -qw 332 out.txt && grep -qw 329 out.txt || fail "added tokens in $(cat out.txt)"
expect 0 '' "$WEFT" tokenize encode --tokenizer added.json --out spelled --val 0 --documents file --split-special-tokens added.txt
ids=$(od -An -v -tu2 -w10000 spelled/train.bin)
grep -qw 331 <<<"$ids" && ! grep -qw 332 <<<"$ids" || fail "--split-special-tokens: $ids"
[ "$(grep -ow 329 <<<"$ids" | wc -l)" = 1 ] || fail "--split-special-tokens and the end of a document: $ids"
expect 0 '' "$WEFT" tokenize count --json --tokenizer added.json --documents file added.txt
n=$(($(stat -c %s added/train.bin) / 2 - 1))
grep -q "\"tokens\": $n," out.txt || fail "count and encode differ: $(cat out.txt), not $n"
awk 'BEGIN {for (i = 0; i < 60000; i++) printf "%s", (i * 7919) % 11 < 3 ? "  <concept>    x" : (i % 5 ? " a <s> " : "the  \n")}' >many.txt
for n in 1 3; do
    expect 0 '' "$WEFT" tokenize encode --tokenizer added.json --out m$n --val 0 --documents file --threads $n many.txt
done
cmp m1/train.bin m3/train.bin || fail "added tokens with 1 and 3 threads"
expect 0 '' "$WEFT" tokenize ids --tokenizer added.json <many.txt
(tr -d '\n' <out.txt | tr ' ' '\n'; echo; echo 329) | cmp - <(od -An -v -tu2 -w2 m1/train.bin | tr -d ' ') || fail "a corpus cut in parts"

# ---- what is in the files ----
expect 0 '' "$WEFT" tokenize decode --tokenizer t1 --file t1/train.bin
cp out.txt train.txt
expect 0 '' "$WEFT" tokenize decode --tokenizer t1 --file t1/val.bin
cp out.txt val.txt
[ "$(grep -o '<|endoftext|>' train.txt | wc -l)" = 36 ] || fail "36 documents for training"
[ "$(grep -o '<|endoftext|>' val.txt | wc -l)" = 4 ] || fail "4 documents for validation"
cat train.txt val.txt | sed 's/<|endoftext|>//' | sort >parts.txt
grep -v '^<|endoftext|>' corpus.txt | sort | cmp - parts.txt || fail "the documents are not those of the corpus"
[ "$(od -An -tu2 -v t1/val.bin | awk '{n += NF; last = $NF} END {print last}')" = 329 ] || fail "end of text at the end"
expect 0 '' "$WEFT" tokenize encode --tokenizer tok.json --out s4 --val 0.1 --seed 4 corpus.txt
cmp -s t1/val.bin s4/val.bin && fail "another seed gives the same documents"

# ---- what is no text is refused, unless somebody means it ----
refuse() { # FILE PATTERN: by every command that reads a corpus
    expect 65 "$2" "$WEFT" tokenize train --vocab 330 --out no.json "$1"
    expect 65 "$2" "$WEFT" tokenize encode --tokenizer tok.json --out no "$1"
    expect 65 "$2" "$WEFT" tokenize encode --tokenizer tok.json --out no corpus.txt "$1"
    expect 65 "$2" "$WEFT" tokenize count --tokenizer tok.json "$1"
    expect 65 "${2/#$1/standard input}" "$WEFT" tokenize ids --tokenizer tok.json <"$1"
    expect 0 '' "$WEFT" tokenize ids --tokenizer tok.json --as-text <"$1"
    [ ! -e no ] && [ ! -e no.json ] || fail "$1 left something behind"
}
gzip -c corpus.txt >corpus.gz && refuse corpus.gz 'corpus.gz: this is a gzip archive; unpack it first: gzip -d FILE, expected text'
{ printf '\377\376'; sed 's/./&\x00/g; s/$/\x0d\x00/' corpus.txt; } >corpus.utf16 && refuse corpus.utf16 'this is text in UTF-16'
refuse s4/train.bin ': this is binary'
sed 's/.*/{"title": "x", "body": "&, which is long"}/' corpus.txt >corpus.jsonl
refuse corpus.jsonl 'corpus.jsonl: every line is a JSON object.*json.loads(l)\["body"\].*--as-text takes it as it is'
{ echo '['; sed '$!s/$/,/' corpus.jsonl; echo ']'; } >corpus.json
refuse corpus.json 'corpus.json: this is a JSON array of objects.*print(d\["body"\].*json.load(sys.stdin)\].*--as-text takes it as it is'
printf '[{"text":"a \\"]}{ b","n":[1,{"m":2}]},{"text":"c"}]' >small.json
refuse small.json 'small.json: this is a JSON array of objects.*print(d\["text"\]'
expect 66 'Is a directory' "$WEFT" tokenize ids --tokenizer tok.json <.
expect 0 '' "$WEFT" tokenize encode --tokenizer tok.json --out jsonl --documents file --val 0 --as-text corpus.jsonl
expect 0 '' "$WEFT" tokenize decode --tokenizer tok.json --file jsonl/train.bin
cmp -n "$(stat -c %s corpus.jsonl)" out.txt corpus.jsonl || fail "JSON lines as text"
expect 0 '' "$WEFT" tokenize count --tokenizer tok.json --as-text corpus.gz
for text in '{"a": 1}' '{a}\n{b}' '[1]\n[2]' '{"a": 1}\n{"b": 2}\nand so on' '{}\n{}' '[{}]' '[{a}]' '[{"a": 1}' '[{"a": 1}]x, y' '[' '[{' 'caf\351' '\000' 'PAR1 and PK'; do
    printf "$text\n" >odd.txt # text, or too little to tell
    expect 0 '' "$WEFT" tokenize count --tokenizer tok.json odd.txt
done
expect 0 '' "$WEFT" tokenize encode --tokenizer tok.json --out v0 --val 0 corpus.txt
[ -e v0/val.bin ] && [ ! -s v0/val.bin ] || fail "--val 0"
expect 0 '' "$WEFT" tokenize encode --tokenizer v0 --out v0 --val 0 --json corpus.txt
grep -q '^{"vocab": 330, "train": {"documents": 40, "tokens": [0-9]*, "bytes": [0-9]*}, "val": {"documents": 0,' out.txt || fail "--json"
expect 0 '' "$WEFT" tokenize count --tokenizer tok.json --json corpus.txt
grep -q '^{"documents": 40, ' out.txt || fail "count --json"

# ---- one text ----
expect 0 '' "$WEFT" tokenize ids --tokenizer tok.json 'the <|endoftext|>'
read -r ids <out.txt
expect 0 '' "$WEFT" tokenize decode --tokenizer tok.json $ids
[ "$(cat out.txt)" = 'the <|endoftext|>' ] || fail "ids and back"
printf 'a\0b\377\n' >bytes
"$WEFT" tokenize ids --tokenizer tok.json --as-text <bytes | "$WEFT" tokenize decode --tokenizer tok.json | cmp - bytes || fail "any bytes"
expect 0 '' "$WEFT" tokenize ids --tokenizer tok.json --json '<|endoftext|>'
[ "$(cat out.txt)" = '[329]' ] || fail "<|endoftext|> is its id by default"
expect 0 '' "$WEFT" tokenize ids --tokenizer tok.json --split-special-tokens --json '<|endoftext|>'
case "$(cat out.txt)" in '[329]' | '[]') fail "--split-special-tokens" ;; esac
expect 2 'exclude each other' "$WEFT" tokenize ids --tokenizer tok.json --split-special-tokens --special x
expect 0 '' "$WEFT" tokenize ids --tokenizer tok.json --special --json '<|endoftext|>'
[ "$(cat out.txt)" = '[329]' ] || fail "--special --json"

# ---- what goes wrong ----
expect 2 'usage: weft tokenize' "$WEFT" tokenize
expect 2 "unknown command 'encod'; did you mean 'encode'?" "$WEFT" tokenize encod
for v in 256 0 -5 0x200 1e9 '' nan 99999999999999999999 300x; do
    expect 2 '--vocab=' "$WEFT" tokenize train --vocab="$v" --out x.json corpus.txt
done
for v in -0.1 1 nan inf '' 0.5x; do
    expect 2 '--val=' "$WEFT" tokenize encode --tokenizer tok.json --out x --val="$v" corpus.txt
done
expect 2 '--threads=' "$WEFT" tokenize count --tokenizer tok.json --threads=0 corpus.txt
expect 2 'are needed' "$WEFT" tokenize train corpus.txt
expect 2 'are needed' "$WEFT" tokenize encode --tokenizer tok.json corpus.txt
expect 2 'is needed' "$WEFT" tokenize ids x
expect 2 'mark, blank or file' "$WEFT" tokenize count --tokenizer tok.json --documents=line corpus.txt
expect 2 'expected some text' "$WEFT" tokenize count --tokenizer tok.json --doc-separator= corpus.txt
expect 2 'one document, which cannot be split' "$WEFT" tokenize encode --tokenizer tok.json --out x --documents file corpus.txt
expect 2 "'12x': expected an id" "$WEFT" tokenize decode --tokenizer tok.json 12x
expect 2 "'-1': expected an id" "$WEFT" tokenize decode --tokenizer tok.json -- -1
expect 78 'id 330 is not in the vocabulary, whose ids are 0..329' "$WEFT" tokenize decode --tokenizer tok.json 330
expect 78 'too small for 60000 tokens' "$WEFT" tokenize train --vocab 60000 --out x.json corpus.txt
expect 66 'nowhere' "$WEFT" tokenize count --tokenizer tok.json nowhere
expect 66 'nowhere' "$WEFT" tokenize ids --tokenizer nowhere x
expect 66 '' "$WEFT" tokenize count --tokenizer tok.json "$dir"
: >empty
expect 65 'hold no text' "$WEFT" tokenize encode --tokenizer tok.json --out x empty
expect 65 'hold no text' "$WEFT" tokenize train --vocab 300 --out x.json empty
expect 73 '' "$WEFT" tokenize encode --tokenizer tok.json --out corpus.txt/x corpus.txt
expect 73 '' "$WEFT" tokenize train --vocab 300 --out tok.json/x.json corpus.txt
printf 'abc' >odd.bin
expect 65 'odd.bin' "$WEFT" tokenize decode --tokenizer tok.json --file odd.bin
printf '\112\001' >330.bin
expect 65 '330' "$WEFT" tokenize decode --tokenizer tok.json --file 330.bin
[ ! -e x ] && [ ! -e x.json ] || fail "output of a failed run"
ls -A | grep -q '\.tmp$' && fail "temporary files are left"

# More ids than 16 bits can name.
awk '/"added_tokens"/ { print; for (i = 330; i < 65540; i++) printf "{\"id\": %d, \"content\": \"<%d>\"},\n", i, i; next } { print }' tok.json >big.json
expect 69 'at most 65536' "$WEFT" tokenize encode --tokenizer big.json --out x corpus.txt
expect 0 '' "$WEFT" tokenize count --tokenizer big.json corpus.txt

"$WEFT" tokenize ids --tokenizer tok.json x >/dev/full 2>err.txt
[ $? = 74 ] || fail "standard output is full"
exit $failed
