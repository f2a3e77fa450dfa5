#!/bin/bash
# steer_measure.sh - weft steer --measure: on a planted model, whose concepts decide the tokens, its numbers are counted again
# from the texts and steering must do what it was planted to do; on a trained CoCoMix with and without its extractor.
. tests/tokens.inc
export OMP_WAIT_POLICY=passive # more threads than cores wait for each other

# Concept c stands for the tokens v with v % 8 = c. The extractor knows it (z, t_logits); the model's concept logits follow from
# the last token: random ones in 0.2..1.2, but concept 5 always has -0.5 and is never among the 2 that are kept.
cat >planted.txtpb <<'END'
main: "planted"
module {
  name: "planted"
  param: "vocab=64" param: "n=8" param: "k=2" param: "by=0" param: "B=1" param: "T=96"
  input { name: "tokens"  type: "i32[B,T]" }
  input { name: "targets" type: "i32[B,T]" }
  weight { name: "code" type: "f32[vocab,n]" trainable: false }
  weight { name: "guess" type: "f32[n,vocab]" trainable: false }
  weight { name: "predictor" type: "f32[vocab,n]" }
  weight { name: "compress" type: "f32[n,vocab]" }
  node { op: "embedding" in: ["code", "tokens"] out: "z" }
  node { op: "matmul" in: ["z", "guess"] out: "t_logits" }
  node { op: "topk" in: "z" out: ["score", "label"] attr: "k=1" }
  node { op: "embedding" in: ["predictor", "tokens"] out: "concept_logits" }
  node { op: "topk_mask" in: "concept_logits" out: "kept" attr: "k=k" }
  node { op: "matmul" in: ["kept", "compress"] out: "logits" }
  node { op: "choose" in: ["logits", "t_logits"] out: "judged" attr: "which=by" }
  node { op: "cross_entropy" in: ["judged", "targets"] out: "loss" }
  output: ["loss", "logits"]
}
END
perl -e '
    my $x = 77;
    sub r { $x = ($x * 1103515245 + 12345) % 2147483648; $x / 2147483648 }
    my (%w, $head, $data);
    for my $v (0 .. 63) {
        for my $c (0 .. 7) {
            push @{$w{code}}, $v % 8 == $c ? 2 : 0;
            push @{$w{predictor}}, $c == 5 ? -0.5 : 0.2 + r();
        }
    }
    for my $c (0 .. 7) {
        for my $v (0 .. 63) {
            push @{$w{guess}}, r();
            push @{$w{compress}}, $v % 8 == $c ? 1 : 0;
        }
    }
    for my $name (sort keys %w) {
        my $at = length $data;
        $data .= pack "f<*", @{$w{$name}};
        my $shape = $name =~ /code|predictor/ ? "64,8" : "8,64";
        $head .= sprintf "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%d,%d]}", $head ? "," : "", $name, $shape,
            $at, length $data;
    }
    $head = "{$head}";
    $head .= " " x (-length($head) % 8);
    binmode STDOUT;
    print pack("Q<", length $head), $head, $data;' >planted.safetensors
planted="$weft steer planted.txtpb --weights planted.safetensors --measure --data val.bin --quiet"
# value ID STRENGTH KEY: a number of a row of the JSON in out; STRENGTH null: unsteered
value() {
    perl -e '
        my ($id, $s, $key) = @ARGV;
        local $/; open my $f, "<", "out"; my $all = <$f>;
        my ($c) = $all =~ /\{"id":$id,"rows":\[(.*?)\]\]\}\]/s or die "no concept $id";
        my ($row) = $c =~ /"strength":\Q$s\E,([^\[]*)/ or die "no strength $s";
        my ($v) = $row =~ /"$key":([^,]*)/ or die "no $key";
        print "$v\n";' "$1" "$2" "$3"
}
# holds EXPRESSION: a comparison of numbers
holds() { perl -e 'exit !eval $ARGV[0]' "$1" || fail "not so: $1"; }

# adding: presence goes up and down with the strength; 0 is no steering at all, bit by bit
expect 0 $planted --concept 3,5 --strengths=-6,0,4,9 --prompts 6 --tokens 30 --prompt-tokens 4 --json
cp out add
for k in loss judge_loss active activation predicted kept distinct_2; do
    [ "$(value 3 0 $k)" = "$(value 3 null $k)" ] || fail "strength 0 changes $k"
done
holds "$(value 3 9 active) > 0.99 && $(value 3 9 kept) == 1 && $(value 3 -6 kept) == 0"
holds "$(value 3 -6 active) < $(value 3 null active) && $(value 3 null active) < $(value 3 4 active)"
holds "$(value 3 null active) < 0.4 && $(value 3 4 active) > 0.7"
holds "$(value 3 9 active_change) > 6 * $(value 3 9 active_change_error)"
holds "abs($(value 3 9 activation) - 2 * $(value 3 9 active)) < 1e-9 && $(value 3 9 loss) > $(value 3 null loss) + 0.2"
holds "$(value 3 9 distinct_2) < $(value 3 null distinct_2)"
holds "$(value 5 null predicted) == 0 && $(value 5 -6 active) == $(value 5 null active) && $(value 5 9 active) > 0.99"

# the same numbers, counted here from the tokens; and the losses that weft eval finds for one of the texts
perl -0ne '
    my $bad = 0;
    while (/\{"id":(\d+),"rows":\[(.*?)\]\]\}\]/sg) {
        my ($id, $rows) = ($1, "$2]]}");
        while ($rows =~ /"active":([^,]*),.*?"distinct_2":([^,]*),.*?"tokens":\[\[(.*?)\]\]/sg) {
            my ($active, $distinct, $n, $sum, $d) = ($1, $2, 0, 0, 0);
            for (split /\],\[/, $3) {
                my @t = split /,/; @t = @t[4 .. $#t]; die if @t != 30;
                my %seen;
                $sum += grep { $_ % 8 == $id } @t; $n += @t;
                $seen{"$t[$_-1],$t[$_]"} = 1 for 1 .. $#t;
                $d += keys(%seen) / $#t / 6;
            }
            $bad++ if abs($sum / $n - $active) > 1e-9 || abs($d - $distinct) > 1e-9;
            $rows_seen++;
        }
    }
    exit 1 if $bad || $rows_seen != 10' add || fail "presence or distinct-2 are not those of the texts"
expect 0 $planted --concept 3 --strengths 3 --prompts 1 --tokens 30 --prompt-tokens 1 --json
cp out one
loss=$(value 3 3 loss) judged=$(value 3 3 judge_loss)
perl -ne 'print pack "v*", split /,/, $1 if /"strength":3,.*"tokens":\[\[(.*?)\]\]/' one >one.bin
for by in 0 1; do
    expect 0 "$weft" eval planted.txtpb --weights planted.safetensors --data one.bin --length 30 --set by=$by --json
    want=$(sed 's/.*"loss":\([0-9.]*\).*/\1/' out)
    holds "abs($want - $([ $by = 0 ] && echo "$loss" || echo "$judged")) < 1e-5" # float32 losses of 30 tokens
done
# and the text is the one that weft generate makes
tokens=$(perl -ne 'print "$1 $2" if /"strength":3,.*"tokens":\[\[(\d+),(.*?)\]\]/' one)
expect 0 "$weft" generate planted.txtpb --weights planted.safetensors --ids --prompt "${tokens%% *}" --tokens 30 --steer 3+3 --json
says out "\"tokens\":\[${tokens#* }\]"

# set decides what is kept; scaling pushes a negative logit away, and a negative factor pulls it in
expect 0 $planted --concept 3 --how set --strengths=-1e6,1e6 --prompts 2 --tokens 20 --json
holds "$(value 3 -1000000 kept) == 0 && $(value 3 1000000 kept) == 1 && $(value 3 1000000 active) == 1"
expect 0 $planted --concept 5 --how scale --strengths=-10,1,10 --prompts 2 --tokens 20 --json
holds "$(value 5 10 kept) == 0 && $(value 5 -10 kept) == 1 && $(value 5 1 loss) == $(value 5 null loss)"
# positions: what only the prompt is steered by is gone after it, as nothing here looks back
expect 0 $planted --concept 3 --how set --strengths 1e6 --prompts 2 --tokens 20 --steer-on prompt --json
holds "$(value 3 1000000 kept) == $(value 3 1000000 predicted)"
expect 0 $planted --concept 3 --how set --strengths 1e6 --prompts 2 --tokens 20 --steer-on generated --json
holds "$(value 3 1000000 kept) == 1"
cp out cached
expect 0 $planted --concept 3 --how set --strengths 1e6 --prompts 2 --tokens 20 --steer-on generated --json --no-cache
same out cached

# labels instead of latents, no judge, other steered values, other k; the same on one thread
expect 0 $planted --concept 3 --active label --judge none --strengths 9 --prompts 2 --tokens 20 --json
holds "$(value 3 9 active) > 0.99"
says out '"judge_loss":null.*"activation":null'
expect 0 $planted --concept 3 --k 8 --strengths 9 --prompts 2 --tokens 20 --json --threads 1
holds "$(value 3 null predicted) == 1"
expect 0 $planted --concept 7 --steer-at logits --strengths 50 --prompts 2 --tokens 20 --active none
says out '^50 .* - .* 100.00 '
expect 0 $planted --concept 3,5 --strengths=-6,0,4,9 --prompts 6 --tokens 30 --prompt-tokens 4 --json --threads 1
same out add

# table, texts, picture, progress
expect 0 $planted --concept 3,5 --strengths 9,-6,9 --prompts 2 --tokens 6 --show 1 --svg a.svg
says out '^concept 5: concept_logits add on all positions, 2 texts of 16 + 6 tokens'
[ "$(grep -c '^9 ' out)" = 2 ] && [ "$(grep -c '^    0: [0-9 ]*$' out)" = 6 ] || fail "table: $(cat out)"
[ -s err ] && fail "--quiet is not"
cp planted.txtpb kept.txtpb
expect 73 $planted --concept 3 --strengths 9 --prompts 2 --tokens 6 --svg planted.txtpb
says err "^weft: error: --svg=planted.txtpb: the file is there and does not begin with '<svg': it is not replaced"
same planted.txtpb kept.txtpb
echo "<svg/>" >b.svg # a picture replaces a picture
expect 0 $planted --concept 3 --strengths 9 --prompts 2 --tokens 6 --svg b.svg
[ "$(tail -1 b.svg)" = "</svg>" ] || fail "b.svg"
[ "$(grep -c '<clipPath' a.svg)" = 6 ] && [ "$(tail -1 a.svg)" = "</svg>" ] || fail "a.svg"
expect 0 ${planted% --quiet} --concept 3 --strengths 9 --prompts 2 --tokens 6
says err 'text 4 of 4, 0:00 left'

# a trained one: extractor in files of its own
cat >sae.txtpb <<EOF
name: "sae" model: "$root/models/sae.txtpb"
set: ["t_layer=2", "t_head=2", "t_d=32", "t_ctx=32", "t_tap=1", "vocab=64", "n_latent=96", "k=4", "k_aux=16", "dead_after=1500"]
load { file: "teacher" scope: "teacher." }
data { train: "train.bin" val: "val.bin" }
train { steps: 8 batch: 8 length: 32 }
EOF
cat >cocomix.txtpb <<EOF
name: "cocomix" model: "$root/models/cocomix.txtpb"
set: ["n_layer=2", "n_head=2", "vocab=64", "ctx=32", "d=16", "insert=1", "n_concept=96", "k=4"]
set: ["t_layer=2", "t_head=2", "t_d=32", "t_ctx=32", "t_tap=1"]
load { file: "teacher" scope: "teacher." } load { file: "sae" scope: "sae." }
data { train: "train.bin" val: "val.bin" sampling: "windows" }
train { steps: 8 batch: 4 }
EOF
expect 0 "$weft" train "$recipe" --quiet --out teacher
expect 0 "$weft" train sae.txtpb --quiet --out sae
expect 0 "$weft" train cocomix.txtpb --quiet --out run
measure="$weft steer run --measure --quiet --prompts 2 --prompt-tokens 5 --tokens 12"
expect 0 $measure --concept 7 --how set --strengths=-1e3,1e3 --json
holds "$(value 7 -1000 kept) == 0 && $(value 7 1000 kept) == 1"
holds "$(value 7 1000 judge_loss) > 0 && $(value 7 1000 activation) >= 0"
says out '"k":4,'
with=$(value 7 1000 loss)
mv teacher gone
expect 0 $measure --concept 7 --how set --strengths=-1e3,1e3 --json
says err 'only the model judges: .*teacher'
says out '"judge_loss":null.*"active":null'
[ "$(value 7 1000 loss)" = "$with" ] || fail "without the extractor the model says something else"
expect 66 $measure --concept 7 --judge t_logits
says err 'teacher'

# what cannot be measured: options | exit code | what the message says
refused=0
while IFS='|' read -r options code message; do
    expect "$code" "$weft" steer planted.txtpb --weights planted.safetensors --data val.bin $options
    says err "$message"
    refused=$((refused + 1))
done <<'TABLE'
--measure|2|--concept=ID
--measure --concept 8|2|id=8 is none of the 8 ids
--measure --concept 3,8|2|id=8 is none of the 8 ids
--measure --concept -3|2|'-3' is no number of a concept
--measure --concept 3,|2|expected numbers between commas
--measure --concept 3;4|2|'3;4' is no number
--measure --concept 99999999999|2|is no number of a concept
--measure --concept 3 --strengths 1,x|2|'x' is no finite number
--measure --concept 3 --strengths 1,,2|2|expected numbers between commas
--measure --concept 3 --strengths 1e39|2|'1e39' is no finite number
--measure --concept 3 --how mul|2|expected add, set or scale
--measure --concept 3 --steer-on promt|2|expected prompt, generated or all
--measure --concept 3 --steer-at concept_logit|2|did you mean 'concept_logits'
--measure --concept 3 --steer-at tokens|2|must be f32
--measure --concept 3 --steer-at z|2|'z' does not reach 'logits'
--measure --concept 3 --steer-at predictor|78|expected f32\[1,T,n\]
--measure --concept 3 --judge t_logit|2|did you mean 't_logits'
--measure --concept 3 --judge concept_logits|78|knows 8 tokens, but the model generates 64
--measure --concept 3 --active zz|2|no output or value 'zz'
--measure --concept 3 --active guess|78|expected f32\[1,T,n\] or i32\[1,T,k\]
--measure --concept 7 --active score|78|value 'score' of the extractor has only 1
--measure --concept 3 --tokens 90|2|do not fit the model's context of 96
--measure --concept 3 --tokens 3 --prompts 99999|78|too few for 99999 prompts
--measure --concept 3 --prompt hello|2|--prompt needs a tokenizer
--measure --concept 3 --tokens 0|2|--tokens
--measure --concept 3 --tokens 9 --quiet --svg train.bin/a.svg|73|train.bin
--measure --concept 3 --out d|2|--measure saves nothing
--measure --steer 3+4|2|--measure saves nothing
--concept 3 --out d --steer 3+4|2|--data needs --measure
--measure --concept 3 --data no.bin|66|no.bin
TABLE
echo "$refused ways to ask for what cannot be measured refused"
finish
