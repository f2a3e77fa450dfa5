#!/bin/bash
# labels_train.sh - training by kept labels is training by computed ones, bit for bit, without the extractor.
. tests/tokens.inc
. "$root/tests/labels.inc"
train() { "$weft" train "$@" --quiet >out 2>err || fail "train $*: $(cat err)"; }
# equal A B STEP: same log, weights and optimizer state
equal() {
    same "$1/log.jsonl" "$2/log.jsonl"
    for f in model optimizer; do
        same "$1/checkpoints/$3/$f.safetensors" "$2/checkpoints/$3/$f.safetensors"
    done
}

# a toy extractor inside of one file: over several epochs, with dropout in the student
expect 0 "$weft" labels tiny-recipe.txtpb --out a --scores --quiet
with="--set data.labels=a --set dropout=0.1"
train tiny-recipe.txtpb --set dropout=0.1 --steps 400 --out r
train tiny-recipe.txtpb $with --steps 400 --out c
equal r c step-000400
for t in 1 3; do
    train tiny-recipe.txtpb $with --steps 400 --threads $t --out t$t
    equal r t$t step-000400
done
train tiny-recipe.txtpb $with --steps 400 --stop-at 133 --out s # stopped with labels, resumed without, and the other way round
train tiny-recipe.txtpb --set dropout=0.1 --steps 400 --stop-at 271 --out s --resume
train tiny-recipe.txtpb $with --steps 400 --out s --resume --threads 1
equal r s step-000400
train tiny-recipe.txtpb --set dropout=0.1 --steps 30 --set train.accumulate=3 --out ra
train tiny-recipe.txtpb $with --steps 30 --set train.accumulate=3 --out ca
equal ra ca step-000030
train tiny-recipe.txtpb --set data.sampling=sequential --steps 30 --out rs
train tiny-recipe.txtpb --set data.sampling=sequential --steps 30 --set data.labels=a --out cs
equal rs cs step-000030
expect 0 "$weft" labels tiny-recipe.txtpb --data val.bin --out av --quiet # labels of the validation data
train tiny-recipe.txtpb --steps 400 $with --set data.val_labels=av --out cv
equal r cv step-000400

# the extractor is no part of the step
expect 0 "$weft" show tiny-recipe.txtpb --set data.labels=a --stage=plan
grep -q 'teacher' out && fail "the teacher is in the step: $(grep -m1 teacher out)"
expect 0 "$weft" show tiny-recipe.txtpb --stage=plan
says out 'teacher'
expect 0 "$weft" bench tiny-recipe.txtpb --set data.labels=a --steps 1 --gemm-seconds 0.05
# the same model under other names, which the recipe says: nothing else knows them
sed 's/"score"/"rank"/g; s/"label"/"tag"/g; s/"concept_logits"/"guess"/g' tiny.txtpb >named.txtpb
sed 's/model: .*/model: "named.txtpb"/; s/sampling/label_value: "tag" score_value: "rank" sampling/' tiny-recipe.txtpb >named-recipe.txtpb
expect 0 "$weft" labels named-recipe.txtpb --out na --scores --quiet
cmp <(tail -c +129 a) <(tail -c +129 na) || fail "other labels under other names"
train named-recipe.txtpb $with --set data.labels=na --steps 400 --out cn
equal r cn step-000400
expect 0 "$weft" show named-recipe.txtpb --set data.labels=na --stage=plan
grep -q 'teacher' out && fail "the teacher is in the step of the other names"
expect 0 "$weft" bench named-recipe.txtpb --set data.labels=na --steps 1 --gemm-seconds 0.05
expect 0 "$weft" labels named.txtpb --label-value tag --score-value rank --scores --data train.bin --batch 4 --out nm --quiet
cmp <(tail -c +129 a) <(tail -c +129 nm) || fail "other labels of the model file"
expect 65 "$weft" labels named.txtpb --data train.bin --out x
says err "computes no value 'label': i32\[B,T,k\]; recipes name the labels by data.label_value"
expect 65 "$weft" labels named-recipe.txtpb --set data.label_value=logits --data train.bin --out x
says err "value 'logits' is f32\[4,16,64\], expected i32\[B,T,k\]"
expect 65 "$weft" labels named-recipe.txtpb --set data.score_value=none --scores --data train.bin --out x
says err "has no value 'none'; recipes name the scores by data.score_value"
expect 65 "$weft" train named-recipe.txtpb --set data.label_value=label --set data.labels=na --out x
says err "computes no value 'label'"
expect 0 "$weft" check tiny-recipe.txtpb --set data.labels=a

# CoCoMix itself: a teacher and an autoencoder from files, all in one graph
tiny="n_layer=2 n_head=2 d=32 vocab=64 ctx=32"
train "$recipe" --steps 40 --set eval.every=0 --out teacher
cat >sae.txtpb <<END
name: "sae"
model: "$root/models/sae.txtpb"
set: ["t_layer=2", "t_head=2", "t_d=32", "t_ctx=32", "t_tap=1", "vocab=64", "n_latent=48", "k=8", "k_aux=8", "dead_after=100000"]
load { file: "teacher" scope: "teacher." }
data { train: "train.bin" }
train { steps: 20 batch: 4 length: 32 }
schedule { lr: 1e-3 }
END
train sae.txtpb --out sae
cat >mix.txtpb <<END
name: "mix"
model: "$root/models/cocomix.txtpb"
set: ["n_layer=3", "n_head=2", "d=24", "vocab=64", "ctx=32", "insert=1", "n_concept=48", "k=8", "k_label=4", "dropout=0.1"]
set: ["t_layer=2", "t_head=2", "t_d=32", "t_ctx=32", "t_tap=1"]
load { file: "teacher" scope: "teacher." }
load { file: "saew.safetensors" scope: "sae." }
data { train: "train.bin" val: "val.bin" sampling: "windows" }
train { steps: 40 batch: 4 length: 32 log: ["lm_loss", "concept_loss"] }
schedule { lr: 3e-3 warmup: 5 }
eval { every: 20 batches: 5 loss: "lm_loss" }
checkpoint { every: 15 }
END
# what a user of the autoencoder needs of the run that trained it
perl -e 'local $/; open F, shift; my $s = <F>; my $n = unpack("Q<", $s); my $h = substr($s, 8, $n); my $d = substr($s, 8 + $n);
    my ($out, $data) = ("", "");
    while ($h =~ /"([^"]+)":\s*\{([^}]*)"data_offsets":\s*\[(\d+),\s*(\d+)\]\s*\}/g) {
        my ($name, $what, $from, $to) = ($1, $2, $3, $4);
        next unless $name =~ /^(sae\.)?(pre_bias|latent_bias|(en|de)coder\.weight)$/;
        $name =~ s/^sae\.//;
        $out .= ($out ? "," : "{") . "\"$name\":{$what\"data_offsets\":[" . length($data) . "," . (length($data) + $to - $from) . "]}";
        $data .= substr($d, $from, $to - $from);
    }
    $out .= "}"; $out .= " " while length($out) % 8;
    open G, ">", shift; binmode G; print G pack("Q<", length $out), $out, $data;' \
    "$(ls -d sae/checkpoints/*)/model.safetensors" saew.safetensors
expect 0 "$weft" labels mix.txtpb --out m --scores --quiet
grep -q warning err && fail "labels as they should be, but: $(cat err)"
expect 0 "$weft" labels mix.txtpb --out few --quiet --set k_label=10 # 8 latents are active
says err 'warning: 2 of the 10 labels are the same at every token, concept [01] for one: are fewer than 10 concepts active?'
train mix.txtpb --out mr
train mix.txtpb --set data.labels=m --out mc
equal mr mc step-000040
says mc/log.jsonl '"concept_loss":[0-9]'
for t in 1 3; do
    train mix.txtpb --set data.labels=m --threads $t --stop-at $((t * 9)) --out mt$t
    train mix.txtpb --set data.labels=m --threads $((4 - t)) --resume --out mt$t
    equal mr mt$t step-000040
done
expect 0 "$weft" labels mix.txtpb --out m4 --quiet
for b in 1 3 8; do # nor do the labels of a window depend on the others of its batch
    expect 0 "$weft" labels mix.txtpb --out mb --batch $b --quiet
    cmp <(tail -c +129 m4) <(tail -c +129 mb) || fail "batch $b gives other labels"
done
expect 0 "$weft" labels mix.txtpb --out mn --scores --no-rewrite --quiet
expect 0 "$weft" eval mc --json

# neither teacher nor autoencoder need to be there; if they are, they must be the right ones
mkdir away && mv teacher saew.safetensors away
train mix.txtpb --set data.labels=m --out md
says err 'teacher is not there: whether the labels were made with these weights is not checked'
equal mr md step-000040
train "$recipe" --steps 41 --set eval.every=0 --out teacher
cp away/saew.safetensors .
mkdir sub # the same teacher, whatever folder this is said in
(cd sub && "$weft" train ../mix.txtpb --set data.labels=../m --out g4 --quiet >../out 2>../err)
[ $? = 78 ] || fail "in another folder: $(cat err)"
says err "'teacher.\*' of ../teacher, 'sae.\*' of ../saew.safetensors"
expect 78 "$weft" train mix.txtpb --set data.labels=m --out x --quiet
says err 'm: these labels do not belong here: their weight hash (the extractor has other weights) is'
says err "in mix.txtpb: data.labels; expected is the extractor here: 'teacher.\*' of teacher, 'sae.\*' of saew.safetensors"
rm -rf teacher && mv away/teacher teacher

# weft eval reads the labels of the validation data as training's evaluation does, and does without the extractor, too
evaluate() { # OUT ARGUMENT...
    expect 0 "$weft" eval mv --json "${@:2}"
    sed 's/,"tokens_per_s".*//' out >"$1"
}
all="--set eval.loss=loss --set eval.batches=0" # 93 windows: 23 batches and a rest
expect 0 "$weft" labels mix.txtpb --data val.bin --out m.val --scores --quiet
train mix.txtpb --set data.labels=m --out mu $all
train mix.txtpb --set data.labels=m --set data.val_labels=m.val --out mv $all
equal mu mv step-000040
evaluate read
evaluate computed --set data.val_labels=
same computed read
for how in "--batch 1" "--batch 3" "--no-rewrite" "--batches 7" "--threads 1" "--steer 5*40"; do
    evaluate read $how
    evaluate computed $how --set data.val_labels=
    same computed read
done
evaluate other --data train.bin --batches 3 # labels of val.bin are not for it
evaluate computed --data train.bin --batches 3 --set data.val_labels=
same computed other
mv teacher away
expect 66 "$weft" eval mv --set data.val_labels=
evaluate read
says err 'teacher is not there: whether the labels were made with these weights is not checked'
mv away/teacher teacher
evaluate computed --set data.val_labels=
same computed read
expect 78 "$weft" eval mv --set data.val_labels=m
says err "m: these labels do not belong here: their data's number of tokens is 20000, expected 3000"
says err 'data.val_labels; without it labels are computed'
expect 78 "$weft" eval mv --length 16
says err 'T, the length of a sequence is 32, expected 16'
expect 78 "$weft" eval mv --set label_score=1
says err 'label_score is 0 by .*config.json, but 1 by --set'
expect 78 "$weft" eval mv --steer 5*4 --steer-at z # a change of the extractor
says err 'graph hash'
perl -e 'local $/; open F, "<m.val"; $_ = <F>; substr($_, 6000, 1) ^= "\x01"; open G, ">flipped.val"; print G $_'
expect 65 "$weft" eval mv --set data.val_labels=flipped.val
says err 'window [0-9]* (bytes .*) is damaged'
expect 66 "$weft" eval mv --set data.val_labels=nothere
says err 'nothere'
cp -r teacher away/teacher
expect 0 "$weft" train "$recipe" --steps 41 --set eval.every=0 --out teacher --quiet --resume
expect 78 "$weft" eval mv
says err 'weight hash (the extractor has other weights)'
says err "in mv/recipe.txtpb: data.val_labels; expected is the extractor here: 'teacher.\*' of teacher, 'sae.\*' of"
rm -rf teacher && mv away/teacher teacher

# a model without labels: who asked for them is said
for verb in train check; do
    expect 65 "$weft" $verb "$recipe" --set data.train=train.bin --set data.val=val.bin --set data.sampling=windows --set data.labels=m
    says err "computes no value 'label'"
    says err "in .*gpt2-tiny.txtpb: .*label"
done

# refused, with the reason
refuse() { # STATUS MESSAGE ARGUMENT...
    local status=$1 message=$2
    shift 2
    rm -rf x
    expect "$status" "$weft" train mix.txtpb --set data.labels=m --out x --quiet "$@"
    says err "$message"
}
refuse 2 "setting 'data.sampling=shuffle': expected windows or sequential" --set data.sampling=shuffle
refuse 78 'T, the length of a sequence is 32, expected 16' --set train.length=16
refuse 78 'k, the labels of a position is 4, expected 5' --set k_label=5
refuse 78 'graph hash (the part of the model that makes them is another)' --set label_score=1
refuse 78 'graph hash' --set label_pre=1
refuse 78 'graph hash' --set t_tap=2
refuse 78 "data's number of tokens is 20000, expected 3000" --set data.train=val.bin
refuse 66 'nothere' --set data.labels=nothere
refuse 65 'not a label file' --set data.labels=train.bin
refuse 78 'data.val_labels' --set data.val_labels=m
perl -e 'local $/; open F, "<train.bin"; $_ = <F>; substr($_, 30000, 2) = pack("v", 1); open G, ">other.bin"; print G' # another token
cmp -s train.bin other.bin && fail "the other data are the same"
refuse 78 'data hash (they are of another token file)' --set data.train=other.bin
head -c 4000 m >cut
refuse 65 'the header promises 624 windows' --set data.labels=cut
perl -e 'local $/; open F, "<m"; $_ = <F>; substr($_, 60000, 1) ^= "\x01"; open G, ">flipped"; print G $_'
refuse 65 'window [0-9]* (bytes .*) is damaged' --set data.labels=flipped --steps 200
sed -i 's/name: "teacher" trainable: false/name: "teacher"/' tiny.txtpb
expect 65 "$weft" train tiny-recipe.txtpb --set data.labels=a --out x
says err "data.labels: the labels are computed from 'teacher.wte', which is trained"
finish
