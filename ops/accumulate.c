/* accumulate.c - states that grow: a sum over micro-batches, and a counter. */
#include "ops/simd.h"

#include "graph/op.h"

/* first is an input and not a second node: the same program serves every micro-batch. */
static void infer_accumulate(weft_infer *c)
{
    const weft_type *first = weft_call_in(c, 2);
    if (first->rank != 0)
        weft_call_fail(c, "first is %s, expected a scalar", weft_type_text(c, first));
    else if (weft_infer_same(c, 0, 1))
        weft_infer_out(c, 0, *weft_call_in(c, 0));
}

WEFT_CLONES static void add_scaled(float *y, const float *acc, const float *g, float scale,
                                   int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = acc[i] + scale * g[i];
}

/* What was in the sum before the first addition may be anything, NaN too: it is not read. */
WEFT_CLONES static void set_scaled(float *y, const float *g, float scale, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = scale * g[i];
}

/* Elements do not see each other, so blocks may go to any thread. */
static void run_accumulate(const weft_run *r)
{
    enum { BLOCK = 16384 };
    const float *acc = r->in[0].data, *g = r->in[1].data;
    float *y = r->out[0].data, scale = (float)weft_run_float(r, "scale");
    bool first = weft_get_int(&r->in[2], 0) != 0;
    int64_t n = r->in[0].count;
#pragma omp parallel for num_threads(r->threads) if (n > WEFT_GRAIN)
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t len = n - at < BLOCK ? n - at : BLOCK;
        if (first)
            set_scaled(y + at, g + at, scale, len);
        else
            add_scaled(y + at, acc + at, g + at, scale, len);
    }
}

/* The formula, in double. */
static void ref_accumulate(const weft_run *r)
{
    double scale = weft_run_float(r, "scale");
    bool first = weft_get_int(&r->in[2], 0) != 0;
    for (int64_t i = 0; i < r->in[0].count; i++)
        weft_put(&r->out[0], i,
                 (first ? 0 : weft_get(&r->in[0], i)) + scale * weft_get(&r->in[1], i));
}

static double flops_accumulate(const weft_call *c)
{
    return 2.0 * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_accumulate = {
    .name = "accumulate",
    .doc = "Sum over micro-batches: acc' = scale * g if first, else acc + scale * g.",
    .in = {{"acc", WEFT_FLOAT, "the sum so far, a state"},
           {"g", WEFT_FLOAT, "what is added, same type"},
           {"first", WEFT_INT, "scalar; not 0: the sum starts anew"}},
    .out = {{"y", WEFT_FLOAT, "the sum after the addition", 1}},
    .attr = {{"scale", WEFT_ATTR_FLOAT, 1, "factor of g (one over the number of micro-batches)"}},
    .flags = WEFT_EFFECT,
    .infer = infer_accumulate,
    .run = run_accumulate,
    .ref = ref_accumulate,
    .flops = flops_accumulate,
};

/* ---- increment ---- */

/* guard is the optimizer's factor of gradients: NaN says that no step was taken. */
static void infer_increment(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0), *guard = weft_call_in(c, 1);
    if (x->rank != 0)
        weft_call_fail(c, "x is %s, expected a scalar", weft_type_text(c, x));
    else if (weft_call_has(c, 1) && guard->rank != 0)
        weft_call_fail(c, "guard is %s, expected a scalar", weft_type_text(c, guard));
    else
        weft_infer_out(c, 0, *x);
}

/* Kernel and reference in one: integers are exact. */
static void run_increment(const weft_run *r)
{
    int64_t x = weft_get_int(&r->in[0], 0);
    bool go = r->n_in < 2 || !r->in[1].data || isfinite(weft_get(&r->in[1], 0));
    x += go;
    if (r->out[0].dtype == WEFT_I64) /* weft_put takes a double, which holds 53 bits */
        *(int64_t *)r->out[0].data = x;
    else
        *(int32_t *)r->out[0].data = (int32_t)x;
}

const weft_op weft_op_increment = {
    .name = "increment",
    .doc = "A counter: x' = x + 1, or x' = x when guard is not finite.",
    .in = {{"x", WEFT_INT, "the count so far, a scalar state"},
           {"guard", WEFT_FLOAT | WEFT_OPTIONAL,
            "scalar; NaN or Inf: do not count (no step was taken)"}},
    .out = {{"y", WEFT_INT, "the count after", 1}},
    .attr = {{"always", WEFT_ATTR_BOOL, 0, "1: also outside training, where updates stand still",
              .late = true}},
    .flags = WEFT_EFFECT | WEFT_NO_GRADIENT,
    .infer = infer_increment,
    .run = run_increment,
    .ref = run_increment,
};
