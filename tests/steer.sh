#!/bin/bash
# steer.sh - interventions on a trained model: generated with and without cache, evaluated, saved; and
# every malformed steering word is refused with its reason.
. tests/tokens.inc
expect 0 "$weft" train "$recipe" --out r --set train.steps=20 --json

# a logit set very high is the token that follows; spans count the prompt's tokens
gen="$weft generate r --ids --prompt 1,2,3 --temperature 0 --steer-at logits"
expect 0 $gen --tokens 5 --steer 7=1e6
says out '^7 7 7 7 7$'
expect 0 ${gen% --steer-at logits} --tokens 5
cp out plain
read -r first rest <plain
expect 0 $gen --tokens 5 --steer 7=1e6 --steer-on generated
says out "^$first 7 7 7 7\$"
expect 0 $gen --tokens 1 --steer 7=1e6 --steer-on prompt
says out '^7$'
expect 0 $gen --tokens 5 --steer 7*1 --steer 8+0 --steer 9-0
same out plain

# the same text with the cache and without, over windows that slide
for how in "--steer 3*40 --steer-at x" "--steer 3+9 --steer 5=-7 --steer-at h.1.u --steer-on prompt" \
    "--steer 3-20 --steer-at xf --steer-on generated --seed 3" "--steer 1*-5 --steer-at logits --n 2"; do
    expect 0 "$weft" generate r --ids --prompt "1 2,3" --tokens 70 $how
    cp out cached
    expect 0 "$weft" generate r --ids --prompt "1 2,3" --tokens 70 $how --no-cache --threads 1
    same out cached
done

# side by side: the left column is what no steering gives, with the same numbers drawn
expect 0 "$weft" generate r --ids --prompt 1 --tokens 9 --seed 4 --json
tokens=$(sed 's/.*"tokens":\[\([0-9,]*\)\].*/\1/' out)
expect 0 "$weft" generate r --ids --prompt 1 --tokens 9 --seed 4 --json --compare --steer-at logits --steer 9=1e6
says out "\"unsteered\":\[$tokens\],\"steered\":\[9,9,9,9,9,9,9,9,9\]"
expect 0 "$weft" generate r --ids --prompt 1 --tokens 9 --seed 4 --compare --steer-at logits --steer 9=1e6
says out "^unsteered .* | steered\$"
says out "^${tokens//,/ } .* | 9 9 9 9 9 9 9 9 9\$"

# evaluated as it is generated; saved and evaluated it is the same
expect 0 "$weft" eval r --batch 1 --json
loss=$(sed 's/.*"loss":\([0-9.]*\).*/\1/' out)
expect 0 "$weft" eval r --batch 1 --json --steer-at x --steer 3*5 --steer 4+2
steered=$(sed 's/.*"loss":\([0-9.]*\).*/\1/' out)
[ "$loss" != "$steered" ] || fail "steering does not change the loss"
for json in "" --json; do
    expect 80 "$weft" eval r --batches 1 $json --steer-at logits --steer 3=3e38 --steer 3*10
    says err "^weft: error: 'loss' over [0-9]* tokens is -\?\(nan\|inf\)"
    [ -s out ] && fail "a loss that is no number is printed: $(cat out)"
done
expect 0 "$weft" steer r --steer-at x --steer 3*5 --steer 4+2 --out s
expect 0 "$weft" eval s --json --data val.bin
says out "\"loss\":$steered,"
[ "$(grep -c 'op: "steer"' s/model.txtpb)" = 2 ] || fail "no steer nodes in s/model.txtpb"
expect 0 "$weft" generate r --ids --prompt 1 --tokens 40 --steer-at x --steer 3*5 --steer 4+2
cp out steered
expect 0 "$weft" generate s --ids --prompt 1 --tokens 40
same out steered
expect 0 "$weft" check s/model.txtpb
expect 2 "$weft" eval s --data val.bin --batch 2
says err 'no parameters B and T'
expect 73 "$weft" steer r --steer-at x --steer 3*5 --out s
says err 'choose another directory'
expect 2 "$weft" steer r --steer 3*5
# a saved model is steered everywhere and by one strength: what only measuring uses is refused, not ignored
for word in "steer-on prompt" "steer-on promt" "how set" "strengths 7" "concept 3" "data val.bin" "prompt x" "prompts 8" \
    "prompt-tokens 16" "tokens 64" "temperature 0.8" "top-k 0" "top-p 1" "seed 1" "k 2" "judge none" "active none" "show 1" \
    "svg a.svg" json quiet "tokenizer tok.json"; do
    expect 2 "$weft" steer r --steer-at x --steer 3*5 --out t --$word
    says err "^weft: error: --${word%% *} needs --measure"
    [ -e t ] && fail "--$word: a model is saved"
done
expect 2 "$weft" steer r --steer-at x --steer 3*5 --out t --steer-on prompt
says err 'no notion of a prompt'
for word in "steer-at nosuch" "steer-at x" "steer-on generated" compare; do
    expect 2 "$weft" generate r --ids --prompt 1 --$word
    says err "^weft: error: --${word%% *} needs --steer"
done
expect 2 "$weft" eval r --steer-at x
says err '^weft: error: --steer-at needs --steer'
# what ends a text early stands on a line of its own
expect 80 "$weft" generate r --ids --prompt 1 --temperature 0 --steer-at logits --steer 3=3e38 --steer 3*10 --steer-on generated
[ "$(wc -l <out)" = 1 ] && says out '^[0-9]*$' || fail "no text before the error, or no newline: $(cat out)"
says err '^weft: error: the logit of token 3 is inf'

# concepts between tokens: the same text with the cache, on two time scales
concepts="--set n_layer=3 --set n_head=2 --set d=32 --set vocab=64 --set ctx=32 --set insert=1 --set n_concept=40
    --set k=4 --set t_layer=2 --set t_head=2 --set t_d=16 --set t_ctx=32 --set t_tap=1"
for on in all prompt generated; do
    set -- generate "$root/models/cocomix.txtpb" $concepts --ids --prompt "1 2 3" --tokens 40 --steer 3=60 --steer 5-20 --steer-on $on
    expect 0 "$weft" "$@"
    cp out cached
    expect 0 "$weft" "$@" --no-cache
    same out cached
done
expect 2 "$weft" generate "$root/models/cocomix.txtpb" $concepts --ids --prompt 1 --steer 40*2
says err "id=40 is none of the 40 ids"

# what nothing that is wanted is computed from cannot be steered
refuses_rec() { # VERB OUTPUTS OPTION...: the autoencoder's reconstruction is in the graph, but only training it reads it
    expect 2 "$weft" "$1" "$root/models/cocomix.txtpb" $concepts --steer 3+5 --steer-at rec "${@:3}"
    says err "'rec' does not reach $2: to change it changes nothing"
}
refuses_rec generate "'logits'" --ids --prompt 1
refuses_rec eval "'loss'" --data val.bin
refuses_rec steer "'loss' or 'logits'" --out z

# a model without weights says something too: that these are start values is told, once
for verb in "generate --ids --prompt 1 --tokens 1 --compare --steer 3+5" "eval --data val.bin" "steer --steer 3+5 --out z"; do
    expect 0 "$weft" ${verb%% *} "$root/models/cocomix.txtpb" $concepts ${verb#* }
    [ "$(grep -c "^weft: warning: the model's own weights have start values" err)" = 1 ] || fail "${verb%% *}: start values: $(cat err)"
done
expect 0 "$weft" generate r --ids --prompt 1 --tokens 1
[ -s err ] && fail "a trained model: $(cat err)"

# what is no steering word: word | what the message says
refused=0
while IFS='|' read -r word message; do
    for verb in "generate r --ids --prompt 1 --tokens 1" "eval r --data val.bin" "steer r --out t"; do
        expect 2 "$weft" $verb --steer-at logits "--steer=$word"
        says err "$message"
        refused=$((refused + 1))
    done
done <<'TABLE'
|expected ID\*F, ID+V, ID-V or ID=V
7|expected ID\*F
concept|expected ID\*F
*3|number of a concept before '\*'
=|number of a concept
-3*2|number of a concept
3.5*2|number of a concept
1e2*2|number of a concept
0x3*2|number of a concept
99999999999999999999*2|number of a concept
7*|finite number behind '\*'
7*x|finite number
7*2x|finite number
7**2|finite number
7= 2|finite number
7=nan|finite number
7=inf|finite number
7*1e999|finite number
7=1e39|finite number
7+0x10|finite number
64*2|id=64 is none of the 64 ids
2000000000=1|id=2000000000 is none
TABLE
while IFS='|' read -r options message; do
    expect 2 "$weft" generate r --ids --prompt 1 --tokens 1 $options
    says err "$message"
    refused=$((refused + 1))
done <<'TABLE'
--steer 1*2|no output or value 'concept_logits'
--steer 1*2 --steer-at logit|did you mean 'logits'
--steer 1*2 --steer-at tokens|must be f32
--steer 1*2 --steer-at logits --steer-on promt|did you mean 'prompt'
--steer 1*2 --steer-at ln_f.weight --steer-on prompt|only positions of tokens
TABLE
echo "$refused malformed steering arguments refused"
finish
