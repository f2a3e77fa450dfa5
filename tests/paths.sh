#!/bin/bash
# paths.sh - paths in a recipe and in a run mean the same from every folder.
. tests/tokens.inc
. "$root/tests/labels.inc"
train() { "$weft" train "$@" --quiet; }

# a project: recipe in a folder of its own, data beside it, runs below
mkdir -p project/cfg project/data elsewhere
mv train.bin val.bin project/data
mv tiny.txtpb project/cfg
cat >project/cfg/lm.txtpb <<'END'
name: "lm"
model: "tiny.txtpb"
root: ".."
data { train: "data/train.bin" val: "data/val.bin" sampling: "windows" }
train { steps: 4 batch: 4 length: 16 }
eval { every: 2 }
checkpoint { every: 2 }
END
sed 's/name: "lm"/name: "student"/' project/cfg/lm.txtpb >project/cfg/student.txtpb
echo 'load { file: "sae.safetensors" scope: "sae." }' >>project/cfg/student.txtpb

# one recipe, from four folders: the same run
cd project || exit 1
expect 0 train cfg/lm.txtpb --out runs/a
grep -q '^root: "\.\./\.\."$' runs/a/recipe.txtpb || fail "the run's root is not relative: $(grep root runs/a/recipe.txtpb)"
(cd cfg && train lm.txtpb --out ../runs/b >/dev/null) || fail "from the recipe's folder"
(cd ../elsewhere && train ../project/cfg/lm.txtpb --out ../project/runs/c >/dev/null) || fail "from elsewhere"
(cd / && train "$work/project/cfg/lm.txtpb" --out "$work/project/runs/d" >/dev/null) || fail "by an absolute path"
for run in b c d; do
    same runs/a/recipe.txtpb runs/$run/recipe.txtpb
    same runs/a/log.jsonl runs/$run/log.jsonl
done

# frozen weights and labels are found from everywhere, too
perl -e 'my $b = pack("f<*", map { sin $_ } 1 .. 480);
    my $h = sprintf "%-72s", "{\"w\":{\"dtype\":\"F32\",\"shape\":[12,40],\"data_offsets\":[0,1920]}}";
    print pack("Q<", length $h), $h, $b' >sae.safetensors
expect 0 train cfg/student.txtpb --out runs/s --stop-at 2
expect 0 "$weft" labels cfg/student.txtpb --out data/train.labels --quiet
expect 0 train cfg/student.txtpb --out runs/l --set data.labels=data/train.labels

# used from anywhere, and after the whole project has moved
mv ../project ../moved && cd ../elsewhere || exit 1
ln -s ../moved/runs/a latest
for run in ../moved/runs/a latest "$work/moved/runs/a" ../moved/runs/a/checkpoints/step-000004; do
    expect 0 "$weft" eval $run --json
    says out '"loss":'
done
expect 0 train ../moved/runs/s --resume
expect 0 "$weft" eval ../moved/runs/s --json
expect 0 train ../moved/runs/l --resume --steps 6
says ../moved/runs/l/recipe.txtpb 'labels: "data/train.labels"'
expect 0 "$weft" labels ../moved/runs/s --out own.labels --quiet
same own.labels ../moved/data/train.labels
expect 0 "$weft" compare ../moved/runs/a "$work/moved/runs/b"
says out '^lm  *2 '
grep -q 'cannot be told\|different data' out && fail "compare does not find the data: $(cat out)"
head -c 300 ../moved/data/train.bin >own.bin
expect 0 "$weft" eval ../moved/runs/a --data own.bin

# what the command line names is seen from the working directory; a run that lies elsewhere has an absolute root
tokens other.bin 2000
expect 0 train ../moved/cfg/lm.txtpb --out here --set data.train=other.bin
says here/recipe.txtpb "train: \"$work/elsewhere/other.bin\""
says here/recipe.txtpb "^root: \"$work/moved\""
cd ../moved || exit 1
expect 0 train ../elsewhere/here --resume --steps 5
expect 0 "$weft" eval ../elsewhere/here
mkdir ../disk && mv runs ../disk/runs && ln -s ../disk/runs runs
expect 0 train cfg/lm.txtpb --out runs/e # the way back from there is not the way there
says runs/e/recipe.txtpb "^root: \"$work/moved\""
expect 0 "$weft" eval ../disk/runs/e
expect 0 train cfg/lm.txtpb --out runs/f --set root=../elsewhere --set data.train=data/train.bin --set data.val=data/val.bin
says runs/f/recipe.txtpb "train: \"$work/moved/data/train.bin\""
same runs/f/log.jsonl runs/e/log.jsonl

# what is not there: which field, seen from where, and what to write; version 0.1 saw all paths from the working directory
cd ../elsewhere && mkdir data share share/recipes && cp ../moved/data/*.bin data && cp ../moved/cfg/tiny.txtpb share || exit 1
sed 's,"tiny,"../tiny,' ../moved/cfg/lm.txtpb >share/recipes/lm.txtpb
expect 66 train share/recipes/lm.txtpb --out x
says err 'cannot open share/data/train.bin'
says err 'data.train: "data/train.bin", seen from share, the root of the recipe; it is in the working directory: --set root=. takes that, as does root: "../.." in'
[ -e x ] && fail "a refused run leaves a folder"
expect 0 train share/recipes/lm.txtpb --out x --set root=.
cd share || exit 1
expect 66 train recipes/lm.txtpb --out x
says err 'data.train: "data/train.bin"$'
cd recipes || exit 1
expect 66 train lm.txtpb --out x
says err 'data.train: "data/train.bin", seen from .., the root of the recipe; --set root=. sees its paths from the working directory'
cd ../.. && mkdir old && cp -r x old/run && sed -i '/^root/d' old/run/recipe.txtpb
expect 66 "$weft" eval old/run
says err 'data.val: "data/val.bin", seen from old/run, .*: --set root=. takes that, as does root: "../.."'
expect 0 "$weft" eval old/run --set root=.
expect 66 "$weft" generate old/run --prompt a --set data.tokenizer=gone.json
says err "data.tokenizer: \"gone.json\""
sed 's/{ train/{ tokenizer: "data\/t.json" train/' share/recipes/lm.txtpb >share/recipes/spoken.txtpb
for verb in eval "generate --prompt a" "concepts --top 2"; do
    expect 66 "$weft" $verb share/recipes/spoken.txtpb
    says err 'data.tokenizer: "data/t.json"'
done
expect 66 train old/run --resume --steps 5
says err 'data.train: "data/train.bin", seen from old/run, .*: --set root=. takes that'
expect 0 train old/run --resume --steps 5 --set root=.
finish
