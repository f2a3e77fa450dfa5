#!/bin/bash
# outputs.sh - where results go: folders of files are made, a reader that leaves (| head) ends a verb without a word, a full
# disk behind standard output is an error.
. tests/tokens.inc
gpt2=$root/models/gpt2.txtpb
small="--set n_layer=2 --set n_head=2 --set d=32 --set vocab=64 --set ctx=32 --set B=2"
yes 'the quick brown fox and the lazy dog' | head -100 >text.txt
cp val.bin full && mkdir -p taken && : >taken/file

# ---- folders, three deep ----
# made FILE COMMAND...: FILE is there afterwards; with a file in its way, exit code 73 and one message
made() {
    local file=$1 what
    shift
    expect 0 "${@//@/a/b/$file}"
    [ -e "a/b/$file" ] || fail "no a/b/$file: $*"
    rm -rf a
    expect 73 "${@//@/taken/file/x/$file}"
    what=$(grep -c '^weft: error: ' err)
    [ "$what" = 1 ] || fail "$what messages: $(cat err)"
    says err 'taken/file'
}
expect 0 "$weft" train "$recipe" --out runs/deep/r --quiet --set train.steps=4 --set eval.every=2
run=runs/deep/r
made tok.json "$weft" tokenize train --vocab 270 --out @ text.txt
"$weft" tokenize train --vocab 270 --out tok.json text.txt >out 2>err
made d "$weft" tokenize encode --tokenizer tok.json --val 0 --out @ text.txt
made flat.txtpb "$weft" show "$gpt2" $small --as=txtpb --output=@
made flat.binpb "$weft" show "$gpt2" $small --as=binpb --output=@
made plan.txt "$weft" show "$gpt2" $small --stage=plan --output=@
made packed.binpb "$weft" pack "$gpt2" @
made out.safetensors "$weft" run "$gpt2" $small --output=@
made hf "$weft" export $run --names=hf-gpt2 --out=@
"$weft" export $run --names=hf-gpt2 --out=hf >out 2>err || fail "export"
made w.safetensors "$weft" import hf --names=hf-gpt2 --out=@
made p.svg "$weft" compare $run --svg @
made p.md "$weft" compare $run --md @
made s "$weft" steer $run --steer 3*5 --steer-at logits --out @
made r "$weft" train "$recipe" --quiet --set train.steps=2 --out @

# ---- a reader that leaves, and a disk that is full ----
# gone COMMAND...: quiet, 141 as a shell says of a process that SIGPIPE ended; then /dev/full: 74 and a message
gone() {
    local pipe code
    exec {pipe}> >(exec true)
    pid=$!
    while kill -0 $pid 2>/dev/null; do sleep 0.02; done
    "$@" >&$pipe 2>err
    code=$?
    exec {pipe}>&-
    [ $code = 141 ] || fail "exit $code instead of 141: $*"
    [ ! -s err ] || fail "words of a closed pipe: $*: $(cat err)"
    "$@" >/dev/full 2>err
    code=$?
    [ $code = 74 ] || fail "exit $code instead of 74: $*"
    [ "$(grep -c '^weft: error: .*standard output' err)" = 1 ] || fail "no message of a full disk: $*: $(cat err)"
}
gone "$weft"
gone "$weft" --version
gone "$weft" help
gone "$weft" train --help
gone "$weft" ops
gone "$weft" ops --markdown
gone "$weft" check "$gpt2" $small
gone "$weft" show "$gpt2" $small
gone "$weft" show "$gpt2" $small --stage=plan
gone "$weft" eval $run
gone "$weft" eval $run --json
gone "$weft" generate $run --ids --prompt 1 --tokens 8
gone "$weft" generate $run --ids --prompt 1 --tokens 4 --n 3 --json
gone "$weft" run "$gpt2" $small --show 1000
gone "$weft" weights $run --stats
gone "$weft" compare $run
gone "$weft" compare $run --json
gone "$weft" bench "$recipe" --steps 1 --warmup 0 --gemm-seconds 0.02
gone "$weft" import --list
gone "$weft" tokenize ids --tokenizer tok.json text
gone "$weft" tokenize count --tokenizer tok.json text.txt
gone "$weft" tokenize encode --tokenizer tok.json --val 0 --out t text.txt
gone "$weft" tokenize decode --tokenizer tok.json --file t/train.bin
gone "$weft" tokenize decode --tokenizer tok.json 1 2 3
gone sh -c 'rm -rf gone; exec "$0" train "$1" --quiet --steps 2 --out gone' "$weft" "$recipe"
[ -e t/train.bin ] && [ -e gone/recipe.txtpb ] || fail "what was to be written is not"
# an error of its own stays one
{ "$weft" check nowhere.txtpb 2>err; echo $? >code; } | true
[ "$(cat code)" = 66 ] && says err nowhere || fail "exit $(cat code) behind a closed pipe"
finish
