# add_op.sh - adding an op touches its file, ops/all.def and its cases, nothing else: the op of docs/adding-an-op.md is
# added to a copy of the tree, its cases and its gradient pass, and a model file uses it.
set -eu
fail() { echo "add_op: $*" >&2; exit 1; }
grep -q '^WEFT_SANITIZE:[A-Z]*=OFF' "$BUILD/CMakeCache.txt" || exit 77 # one build of the copy is enough
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
cp -R graph ops tools tests docs "$work/tree/"
cd "$work/tree"

awk '/^```c$/ {on = 1; next} /^```$/ {on = 0} on' docs/adding-an-op.md >ops/leaky_sum.c
grep -E '^(! )?leaky_sum ' docs/adding-an-op.md >tests/cases/leaky_sum.txt
[ "$(grep -c '^leaky_sum ' tests/cases/leaky_sum.txt)" -ge 3 ] || fail "the page has no cases"
awk '{print} /^WEFT_OP\(layer_norm_grad_affine\)/ {print "WEFT_OP(leaky_sum)"}' ops/all.def >all.def && mv all.def ops/all.def
grep -q leaky_sum ops/all.def || fail "all.def has no line after which to put it"

# Only the new file and the table are compiled; every other object is the one that the tree's build made.
flags="-std=gnu11 -O1 -Wall -Wextra -Werror -Wno-missing-field-initializers -fopenmp -ffp-contract=off -fno-math-errno -D_GNU_SOURCE -I. -I$BUILD/proto"
libs="$BUILD/libweft_tools.a $BUILD/libweft.a $(pkg-config --libs libprotobuf-c libutf8proc) -ldnnl -lpthread -lm"
# shellcheck disable=SC2086  # flags are words
{
    ${CC:-gcc} $flags -c ops/leaky_sum.c ops/registry.c
    ${CC:-gcc} $flags tools/weft.c leaky_sum.o registry.o $libs -o weft
    ${CC:-gcc} $flags -DWEFT_SOURCE_DIR='"."' -DWEFT_BINARY_DIR='"."' tests/test_cases.c leaky_sum.o registry.o $libs \
        -lcmocka -o test_cases
}
./weft ops leaky_sum | grep -q 'y\[i\] = x\[i\] + decay y\[i - 1\]' || fail "weft ops does not know it"
./weft ops --markdown >ops.md
diff docs/ops.md ops.md | grep -q '^> ## leaky_sum' || fail "the page of the ops does not get it"
./test_cases leaky_sum >log 2>&1 || { cat log; fail "its cases fail"; }
grep -q leaky_sum log || fail "its cases were not run: $(cat log)"

# model AXIS-OF-TIME-OR-NOT ATTRIBUTES: a language model around it
model() {
    cat <<END
main: "m"
module {
  name: "m" param: "B=1" param: "T=12" param: "d=6" param: "vocab=17"
  input  { name: "tokens" type: "i32[B,T]" } input { name: "targets" type: "i32[B,T]" }
  weight { name: "wte" type: "f32[vocab,d]" init: "normal(1)" }
  node { op: "embedding" in: ["wte", "tokens"] out: "x" }
  node { op: "transpose" in: "x" out: "xt" attr: "perm=0,2,1" }
  node { op: "leaky_sum" in: "xt" out: "st" attr: ["decay=0.7", "$1"] }
  node { op: "transpose" in: "st" out: "s" attr: "perm=0,2,1" }
  node { op: "tanh" in: "s" out: "h" }
  node { op: "matmul" in: ["h", "wte"] out: "logits" attr: "tb=1" }
  node { op: "cross_entropy" in: ["logits", "targets"] out: "loss" }
  output: ["loss", "logits"]
}
END
}
decoded() { ./weft generate m.txtpb --ids --prompt "3 5 7" --tokens 30 --seed 2 "$@" 2>log || { cat log; fail "generate $*"; }; }
for axis in axis=-1 axis=1; do # a view of other strides reaches the kernel; time, and another axis
    model $axis >m.txtpb
    ./weft gradcheck m.txtpb >log 2>&1 || { cat log; fail "its gradient is wrong along $axis"; }
    [ "$(decoded)" = "$(decoded --no-cache)" ] || fail "decoding step by step gives another text along $axis"
done
model 'reverse=1' >m.txtpb
decoded --no-cache >/dev/null
if ./weft generate m.txtpb --ids --prompt "3 5 7" --tokens 3 >log 2>&1; then fail "a sum from the end was decoded"; fi
grep -q 'a sum from the end cannot be computed step by step' log || { cat log; fail "the refusal is not the op's"; }
