/* above.c - a comparison with a constant, as a number to multiply with. */
#include "graph/op.h"
#include "ops/simd.h"

static void infer_above(weft_infer *c)
{
    weft_type y = *weft_call_in(c, 0);
    /* y is there to be multiplied with floats */
    if (!weft_dtype_is_float(y.dtype))
        y.dtype = WEFT_F32;
    weft_infer_out(c, 0, y);
}

WEFT_CLONES static void above_floats(float *y, const float *x, float limit, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        /* false for NaN, as in the reference */
        y[i] = x[i] > limit ? 1 : 0;
}

/* Integers are few (counters): element by element. */
static void ref_above(const weft_run *r)
{
    double limit = weft_run_float(r, "limit");
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_put(&r->out[0], i, weft_get(&r->in[0], i) > limit);
}

static void run_above(const weft_run *r)
{
    enum { BLOCK = 16384 };
    int64_t n = r->out[0].count;
    if (r->in[0].dtype != WEFT_F32) {
        ref_above(r);
        return;
    }
    const float *x = r->in[0].data;
    float *y = r->out[0].data, limit = (float)weft_run_float(r, "limit");
#pragma omp parallel for num_threads(r->threads) if (n > WEFT_GRAIN)
    for (int64_t at = 0; at < n; at += BLOCK)
        above_floats(y + at, x + at, limit, n - at < BLOCK ? n - at : BLOCK);
}

const weft_op weft_op_above = {
    .name = "above",
    .doc = "Comparison with a constant: y = 1 if x > limit, else 0.",
    .in = {{"x", WEFT_ANY, "any sizes"}},
    .out = {{"y", WEFT_FLOAT, "as x; f32 for integers"}},
    .attr = {{"limit", WEFT_ATTR_FLOAT, 0, "y is 1 above this", -1e30, 1e30}},
    .flags = WEFT_ELEMENTWISE | WEFT_NO_GRADIENT,
    .infer = infer_above,
    .run = run_above,
    .ref = ref_above,
};
