/* binary.c - sum, difference, product and quotient of two tensors, with NumPy broadcasting.
 *
 * The operands are walked together in rows (loops.h): an axis along which one is repeated has
 * stride 0 there, and adjacent axes that all operands cross evenly count as one. So equal shapes
 * are a single row, a bias is one row per position, and nothing is ever copied to be broadcast.
 * Gradients do not sum over repeated axes: weft_dx does, for all ops alike. */
#include "ops/loops.h"
#include "ops/simd.h"

static void infer_binary(weft_infer *c) { weft_infer_out(c, 0, weft_infer_broadcast(c, 2)); }

/* One loop per way that an operand can lie: along the row, one value for the row, or strided. */
WEFT_INLINE void binary_loop(const weft_span *s, float (*f)(float, float))
{
    float *y = (float *)s->p[0];
    const float *a = (const float *)s->p[1], *b = (const float *)s->p[2];
    int64_t n = s->n, sa = s->stride[1], sb = s->stride[2];
    if (sa == 1 && sb == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = f(a[i], b[i]);
    } else if (sa == 1 && sb == 0) {
        float value = *b;
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = f(a[i], value);
    } else if (sa == 0 && sb == 1) {
        float value = *a;
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = f(value, b[i]);
    } else {
        for (int64_t i = 0; i < n; i++)
            y[i] = f(a[i * sa], b[i * sb]);
    }
}

/* The functions are inlined into a loop of their own per clone: the call is resolved at compile
 * time. */
WEFT_INLINE float add_one(float a, float b) { return a + b; }
WEFT_INLINE float sub_one(float a, float b) { return a - b; }
WEFT_INLINE float mul_one(float a, float b) { return a * b; }
WEFT_INLINE float div_one(float a, float b) { return a / b; }

WEFT_CLONES static void span_add(const weft_span *s) { binary_loop(s, add_one); }
WEFT_CLONES static void span_sub(const weft_span *s) { binary_loop(s, sub_one); }
WEFT_CLONES static void span_mul(const weft_span *s) { binary_loop(s, mul_one); }
WEFT_CLONES static void span_div(const weft_span *s) { binary_loop(s, div_one); }

static void run_add(const weft_run *r) { weft_run_walk(r, 2, span_add, NULL); }
static void run_sub(const weft_run *r) { weft_run_walk(r, 2, span_sub, NULL); }
static void run_mul(const weft_run *r) { weft_run_walk(r, 2, span_mul, NULL); }
static void run_div(const weft_run *r) { weft_run_walk(r, 2, span_div, NULL); }

static double add_exact(double a, double b) { return a + b; }
static double sub_exact(double a, double b) { return a - b; }
static double mul_exact(double a, double b) { return a * b; }
static double div_exact(double a, double b) { return a / b; }

static void ref_add(const weft_run *r) { weft_ref_binary(r, add_exact); }
static void ref_sub(const weft_run *r) { weft_ref_binary(r, sub_exact); }
static void ref_mul(const weft_run *r) { weft_ref_binary(r, mul_exact); }
static void ref_div(const weft_run *r) { weft_ref_binary(r, div_exact); }

static void grad_add(weft_grad *g)
{
    weft_dx(g, 0, weft_dy(g, 0));
    weft_dx(g, 1, weft_dy(g, 0));
}

static void grad_sub(weft_grad *g)
{
    weft_dx(g, 0, weft_dy(g, 0));
    if (weft_needs(g, 1))
        weft_dx(g, 1, weft_emit1(g, "neg", weft_dy(g, 0)));
}

static void grad_mul(weft_grad *g)
{
    if (weft_needs(g, 0))
        weft_dx(g, 0, weft_emit2(g, "mul", weft_dy(g, 0), weft_x(g, 1)));
    if (weft_needs(g, 1))
        weft_dx(g, 1, weft_emit2(g, "mul", weft_dy(g, 0), weft_x(g, 0)));
}

/* da = dy / b,  db = -y da */
static void grad_div(weft_grad *g)
{
    weft_val da = weft_emit2(g, "div", weft_dy(g, 0), weft_x(g, 1));
    weft_dx(g, 0, da);
    if (weft_needs(g, 1))
        weft_dx(g, 1, weft_emit1(g, "neg", weft_emit2(g, "mul", da, weft_y(g, 0))));
}

/* 0 at either factor is enough, whatever finite number the other one has there. */
static void incr_mul(weft_incr *c)
{
    weft_incr_elementwise(c);
    weft_incr_masked(c, 0, weft_incr_zero_at(c, 0));
    if (weft_incr_zero_at(c, 0) < 0)
        weft_incr_masked(c, 0, weft_incr_zero_at(c, 1));
}

/* 0 / b = 0 if b is there: in what is not, it might be 0, too. */
static void incr_div(weft_incr *c)
{
    weft_incr_elementwise(c);
    if (weft_incr_later(c, 1) < 0)
        weft_incr_masked(c, 0, weft_incr_zero_at(c, 0));
}

const weft_op weft_op_add = {
    .name = "add",
    .doc = "Sum with broadcasting: y = a + b.",
    .in = {{"a", WEFT_FLOAT, "first term, any shape"},
           {"b", WEFT_FLOAT, "second term; sizes broadcast with a's"}},
    .out = {{"y", WEFT_FLOAT, "the common shape of a and b"}},
    .flags = WEFT_INPLACE | WEFT_STRIDED | WEFT_ELEMENTWISE | WEFT_KEEPS_ZERO,
    .infer = infer_binary,
    .grad = grad_add,
    .run = run_add,
    .ref = ref_add,
    .flops = weft_flops_elements,
};

const weft_op weft_op_sub = {
    .name = "sub",
    .doc = "Difference with broadcasting: y = a - b.",
    .in = {{"a", WEFT_FLOAT, "any shape"},
           {"b", WEFT_FLOAT, "what is taken off; sizes broadcast with a's"}},
    .out = {{"y", WEFT_FLOAT, "the common shape of a and b"}},
    .flags = WEFT_INPLACE | WEFT_STRIDED | WEFT_ELEMENTWISE | WEFT_KEEPS_ZERO,
    .infer = infer_binary,
    .grad = grad_sub,
    .run = run_sub,
    .ref = ref_sub,
    .flops = weft_flops_elements,
};

const weft_op weft_op_mul = {
    .name = "mul",
    .doc = "Product of elements with broadcasting: y = a * b.",
    .in = {{"a", WEFT_FLOAT, "first factor, any shape"},
           {"b", WEFT_FLOAT, "second factor; sizes broadcast with a's"}},
    .out = {{"y", WEFT_FLOAT, "the common shape of a and b"}},
    .flags = WEFT_INPLACE | WEFT_STRIDED | WEFT_ELEMENTWISE,
    .infer = infer_binary,
    .grad = grad_mul,
    .incr = incr_mul,
    .run = run_mul,
    .ref = ref_mul,
    .flops = weft_flops_elements,
};

const weft_op weft_op_div = {
    .name = "div",
    .doc = "Quotient of elements with broadcasting: y = a / b.",
    .in = {{"a", WEFT_FLOAT, "numerator, any shape"},
           {"b", WEFT_FLOAT, "denominator; sizes broadcast with a's"}},
    .out = {{"y", WEFT_FLOAT, "the common shape of a and b"}},
    .flags = WEFT_INPLACE | WEFT_STRIDED | WEFT_ELEMENTWISE,
    .infer = infer_binary,
    .grad = grad_div,
    .incr = incr_div,
    .run = run_div,
    .ref = ref_div,
    .flops = weft_flops_elements,
};
