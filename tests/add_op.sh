#!/bin/bash
# add_op.sh - adding an op touches its file, a line of ops/all.def and its cases, nothing else: adds one to an overlay of
# the sources and runs its cases, gradient included, with everything else as it was built.
set -eu
: "${WEFT:?the tool}" "${BUILD:?the build folder}"
source=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/ops" "$dir/tests/cases"

# 1: the op's file.
cat >"$dir/ops/cube.c" <<'END'
/* cube.c - the third power. */
#include "ops/loops.h"

static void span_cube(const weft_span *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        float x = ((const float *)s->p[1])[i * s->stride[1]];
        ((float *)s->p[0])[i] = x * x * x;
    }
}

static void run_cube(const weft_run *r) { weft_run_walk(r, 1, span_cube, NULL); }

static double cube(double x) { return x * x * x; }
static void ref_cube(const weft_run *r) { weft_ref_unary(r, cube); }

/* dx = 3 x^2 dy */
static void grad_cube(weft_grad *g)
{
    weft_val v = weft_emit2(g, "mul", weft_emit2(g, "mul", weft_x(g, 0), weft_x(g, 0)), weft_dy(g, 0));
    weft_dx(g, 0, weft_emit(g, "scale", &v, 1, "alpha=3"));
}

const weft_op weft_op_cube = {
    .name = "cube",
    .doc = "Third power: y = x^3.",
    .in = {{"x", WEFT_FLOAT, "any shape", 0}},
    .out = {{"y", WEFT_FLOAT, "as x", 0}},
    .flags = WEFT_INPLACE | WEFT_STRIDED | WEFT_ELEMENTWISE,
    .infer = weft_infer_like_first,
    .grad = grad_cube,
    .run = run_cube,
    .ref = ref_cube,
};
END

# 2: one line of all.def.
{ cat ops/all.def; echo 'WEFT_OP(cube)'; } >"$dir/ops/all.def"

# 3: its cases.
printf '%s\n' 'cube x=f32[4,5]' 'cube x=f32[1]' 'cube x=f32[3,7,5]' '! cube x=i32[3] -> must have a float type' \
    >"$dir/tests/cases/cube.txt"

# The compiler and flags of the build, with the overlay in front of the sources.
command=$(grep -B1 '"file": ".*/ops/registry\.c"' "$BUILD/compile_commands.json" | sed -n 's/.*"command": "//p')
[ -n "$command" ] || { echo "no compile command in $BUILD"; exit 77; }
command=$(sed -e 's/ -o [^ ]*//' -e 's/ -c .*//' -e 's/ -D[A-Z_]*=\\[^ ]*//g' <<<"$command")
flags="-I$dir -I$source -DWEFT_SOURCE_DIR=\"$dir\" -DWEFT_BINARY_DIR=\"$BUILD\""
first=${command%% -*}
rest=${command#"$first"}
# shellcheck disable=SC2086
$first $flags $rest -w -o "$dir/test_cases" tests/test_cases.c ops/registry.c "$dir/ops/cube.c" "$BUILD/libweft.a" \
    -lcmocka -ldnnl -lprotobuf-c -ljansson -lutf8proc -lpthread -lm -lgomp

"$dir/test_cases" cube >"$dir/out.txt" 2>&1 || { cat "$dir/out.txt"; exit 1; }
grep -q '^4 cases, 3 gradients' "$dir/out.txt" || { cat "$dir/out.txt"; exit 1; }

# The same with a gradient that is wrong must fail.
sed -i 's/alpha=3/alpha=2/' "$dir/ops/cube.c"
# shellcheck disable=SC2086
$first $flags $rest -w -o "$dir/test_cases" tests/test_cases.c ops/registry.c "$dir/ops/cube.c" "$BUILD/libweft.a" \
    -lcmocka -ldnnl -lprotobuf-c -ljansson -lutf8proc -lpthread -lm -lgomp
if "$dir/test_cases" cube >"$dir/out.txt" 2>&1; then
    echo "a wrong gradient passed"
    exit 1
fi
grep -q 'differs from central differences' "$dir/out.txt"
