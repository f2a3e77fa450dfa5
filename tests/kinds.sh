#!/bin/bash
# kinds.sh - a file of another kind is named and refused by every verb and option that reads one, before anything is written.
. tests/tokens.inc
yes 'the quick brown fox and the lazy dog' | head -100 >text.txt
"$weft" tokenize train --vocab 270 --out tok.json text.txt >out 2>err || fail "a tokenizer"
"$weft" train "$recipe" --out run --quiet --set train.steps=2 >out 2>err || fail "a run"
cp -r run damaged

gzip -nc text.txt >gzip.x
printf 'PK\003\004\024\000\000\000\010\000%016d\011\000\000\000arr_0.npy and more' 0 >zip.x
printf "\223NUMPY\001\000v\000{'descr': '<u2', 'fortran_order': False, 'shape': (40,), }%60s\n%80s" '' '' >npy.x
printf 'PAR1\025\004\025\220\002%060dPAR1' 0 >parquet.x
printf '\211HDF\r\n\032\n%060d' 0 >hdf5.x
printf '%%PDF-1.7\n%060d' 0 >pdf.x
cp "$weft" elf.x
printf '\050\265\057\375\004\000%060d' 0 >zstd.x
cp run/checkpoints/*/model.safetensors safetensors.x 2>/dev/null || cp $(find run -name '*.safetensors' | head -1) safetensors.x
{ printf '\377\376'; sed 's/./&\x00/g' <text.txt | head -3 | tr -d '\n'; printf 'x\000'; } >utf16.x

declare -A says=([gzip]='a gzip archive' [zip]='NumPy arrays' [npy]='a NumPy array' [parquet]='a Parquet file' [hdf5]='an HDF5 file'
    [pdf]='a PDF document' [elf]='an ELF file' [zstd]='a zstd archive' [safetensors]='a safetensors file' [utf16]='text in UTF-16')
# refuse KIND COMMAND...: exit 65, or 69 where another reader would be needed; one message, nothing printed, nothing made
refuse() {
    local kind=$1 code
    shift
    "$@" >out 2>err
    code=$?
    [ $code = 65 ] || [ $code = 69 ] || fail "exit $code: $*: $(cat err)"
    grep -q "this is ${says[$kind]}" err || fail "no '${says[$kind]}': $*: $(cat err)"
    [ "$(grep -c '^weft: error' err)" = 1 ] || fail "messages: $(cat err)"
    [ ! -s out ] || fail "printed: $*: $(head -c 200 out)"
    [ ! -e made ] || { fail "made something: $*"; rm -rf made; }
}
for kind in gzip zip npy parquet hdf5 pdf elf zstd safetensors utf16; do
    x=$kind.x
    refuse $kind "$weft" check $x
    refuse $kind "$weft" train $x --out made
    refuse $kind "$weft" eval $x --data val.bin
    refuse $kind "$weft" pack $x made
    refuse $kind "$weft" tokenize train --vocab 300 --out made $x
    refuse $kind "$weft" tokenize encode --tokenizer tok.json --out made $x
    refuse $kind "$weft" tokenize encode --tokenizer $x --out made text.txt
    refuse $kind "$weft" tokenize count --tokenizer tok.json text.txt $x
    refuse $kind "$weft" tokenize ids --tokenizer $x hello
    refuse $kind "$weft" eval run --tokenizer $x
    refuse $kind "$weft" generate run --tokenizer $x --prompt hello
    refuse $kind "$weft" generate run --tokenizer tok.json --prompt @$x
    refuse $kind "$weft" labels $x --check
    refuse $kind "$weft" run "$root/models/gpt2.txtpb" --set n_layer=1 --set d=32 --set n_head=2 --set vocab=64 --set ctx=16 --feed tokens=$x
    cp $x damaged/log.jsonl
    refuse $kind "$weft" compare damaged
    mkdir hf && cp $x hf/config.json && cp safetensors.x hf/model.safetensors
    refuse $kind "$weft" import hf --names hf-gpt2 --out made
    rm -rf hf
    [ $kind = safetensors ] || refuse $kind "$weft" eval "$recipe" --weights $x
    [ $kind = safetensors ] || refuse $kind "$weft" weights $x
    refuse $kind "$weft" eval run --data $x
    refuse $kind "$weft" train "$recipe" --out made --set data.train=$x
    refuse $kind "$weft" train "$recipe" --out made --set data.val=$x
    refuse $kind "$weft" tokenize decode --tokenizer tok.json --file $x
done
finish
