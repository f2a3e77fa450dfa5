# add_op.sh - adding an op touches its file, ops/all.def and its cases, nothing else: the op of docs/adding-an-op.md is
# added to a copy of the tree, its cases and its gradient pass, and a model file uses it.
set -eu
fail() { echo "add_op: $*" >&2; exit 1; }
grep -q 'WEFT_SANITIZE:BOOL=ON' "$BUILD/CMakeCache.txt" && exit 77 # one build of the copy is enough
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
cp -R graph ops tools tests docs "$work/tree/"
cd "$work/tree"

awk '/^```c$/ {on = 1; next} /^```$/ {on = 0} on' docs/adding-an-op.md >ops/softplus.c
awk '/^```c$/ {c = 1; next} /^```$/ {if (c) c = 0; else on = !on; next} on && /^softplus /' docs/adding-an-op.md >tests/cases/softplus.txt
[ "$(wc -l <tests/cases/softplus.txt)" -ge 3 ] || fail "the page has no cases"
awk '{print} /^WEFT_OP\(softmax_grad\)/ {print "WEFT_OP(softplus)"}' ops/all.def >all.def && mv all.def ops/all.def
grep -q softplus ops/all.def || fail "all.def has no line after which to put it"

# Only the new file and the table are compiled; every other object is the one that the tree's build made.
flags="-std=gnu11 -O1 -Wall -Wextra -Werror -Wno-missing-field-initializers -fopenmp -ffp-contract=off -fno-math-errno -D_GNU_SOURCE -I. -I$BUILD/proto"
libs="$BUILD/libweft_tools.a $BUILD/libweft.a $(pkg-config --libs libprotobuf-c libutf8proc) -ldnnl -lpthread -lm"
# shellcheck disable=SC2086  # flags are words
{
    ${CC:-gcc} $flags -c ops/softplus.c ops/registry.c
    ${CC:-gcc} $flags tools/weft.c softplus.o registry.o $libs -o weft
    ${CC:-gcc} $flags -DWEFT_SOURCE_DIR='"."' -DWEFT_BINARY_DIR='"."' tests/test_cases.c softplus.o registry.o $libs \
        -lcmocka -o test_cases
}
./weft ops softplus | grep -q 'log(1 + exp(x))' || fail "weft ops does not know it"
./test_cases softplus >log 2>&1 || { cat log; fail "its cases fail"; }
grep -q softplus log || fail "its cases were not run: $(cat log)"
cat >model.txtpb <<'END'
main: "m"
module {
  name: "m"
  input  { name: "x" type: "f32[4,3]" }
  weight { name: "w" type: "f32[4,3]" init: "normal(1)" }
  node { op: "mul" in: ["x", "w"] out: "u" }
  node { op: "softplus" in: "u" out: "v" }
  node { op: "sum" in: "v" out: "loss" }
  output: "loss"
}
END
./weft gradcheck model.txtpb >log 2>&1 || { cat log; fail "its gradient is wrong"; }
