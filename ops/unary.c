/* unary.c - element-wise functions of one tensor.
 *
 * Where it is possible a gradient is written in terms of the output: then the input need not be
 * kept until the backward pass, and the op may work in place. All but relu need no gradient op of
 * their own: theirs are products of other nodes, which gradients of gradients can differentiate
 * again. */
#include <math.h>

#include "ops/loops.h"
#include "ops/simd.h"

WEFT_INLINE void unary_loop(const weft_span *s, float (*f)(float))
{
    float *y = (float *)s->p[0];
    const float *x = (const float *)s->p[1];
    int64_t n = s->n, sx = s->stride[1];
    if (sx == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = f(x[i]);
    } else {
        for (int64_t i = 0; i < n; i++)
            y[i] = f(x[i * sx]);
    }
}

WEFT_INLINE float neg_one(float x) { return -x; }
WEFT_INLINE float relu_one(float x) { return x < 0 ? 0 : x; }                  /* NaN stays NaN */
WEFT_INLINE float sign_one(float x) { return x > 0 ? 1 : x < 0 ? -1 : x * 0; } /* here too */

static double neg_exact(double x) { return -x; }
static double relu_exact(double x) { return x < 0 ? 0 : x; }
static double sign_exact(double x) { return (x > 0) - (x < 0) + (isnan(x) ? x : 0); }

/* Kernel run_NAME and reference ref_NAME of y = f(x). */
#define UNARY(name, f, exact)                                                                      \
    WEFT_CLONES static void span_##name(const weft_span *s) { unary_loop(s, f); }                  \
    static void run_##name(const weft_run *r) { weft_run_walk(r, 1, span_##name, NULL); }          \
    static void ref_##name(const weft_run *r) { weft_ref_unary(r, exact); }

UNARY(abs, fabsf, fabs)
UNARY(sign, sign_one, sign_exact)
UNARY(neg, neg_one, neg_exact)
UNARY(exp, weft_exp, exp)
UNARY(log, logf, log)
UNARY(sqrt, sqrtf, sqrt)
UNARY(tanh, weft_tanh, tanh)
UNARY(relu, relu_one, relu_exact)

WEFT_CLONES static void span_scale(const weft_span *s)
{
    float *y = (float *)s->p[0], alpha = s->param[0], beta = s->param[1];
    const float *x = (const float *)s->p[1];
    int64_t n = s->n, sx = s->stride[1];
    if (sx != 1) {
        for (int64_t i = 0; i < n; i++)
            y[i] = alpha * x[i * sx] + beta;
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = alpha * x[i] + beta;
}

static void run_scale(const weft_run *r)
{
    float param[] = {(float)weft_run_float(r, "alpha"), (float)weft_run_float(r, "beta")};
    weft_run_walk(r, 1, span_scale, param);
}

static void ref_scale(const weft_run *r)
{
    double alpha = weft_run_float(r, "alpha"), beta = weft_run_float(r, "beta");
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_put(&r->out[0], i, alpha * weft_get(&r->in[0], i) + beta);
}

/* ---- gradients ---- */
static weft_val scaled(weft_grad *g, weft_val v, double alpha, double beta)
{
    return weft_emit(g, "scale", &v, 1, "alpha=%.17g beta=%.17g", alpha, beta);
}

/* 0 at 0, as everybody else has it. */
static void grad_abs(weft_grad *g)
{
    weft_dx(g, 0, weft_emit2(g, "mul", weft_dy(g, 0), weft_emit1(g, "sign", weft_x(g, 0))));
}
static void grad_neg(weft_grad *g) { weft_dx(g, 0, weft_emit1(g, "neg", weft_dy(g, 0))); }
static void grad_scale(weft_grad *g)
{
    weft_dx(g, 0, scaled(g, weft_dy(g, 0), weft_attr_float(g, "alpha"), 0));
}
static void grad_exp(weft_grad *g)
{
    weft_dx(g, 0, weft_emit2(g, "mul", weft_dy(g, 0), weft_y(g, 0)));
}
static void grad_log(weft_grad *g)
{
    weft_dx(g, 0, weft_emit2(g, "div", weft_dy(g, 0), weft_x(g, 0)));
}

/* dx = dy / (2 y) */
static void grad_sqrt(weft_grad *g)
{
    weft_dx(g, 0, scaled(g, weft_emit2(g, "div", weft_dy(g, 0), weft_y(g, 0)), 0.5, 0));
}

/* dx = dy (1 - y^2) */
static void grad_tanh(weft_grad *g)
{
    weft_val slope = scaled(g, weft_emit2(g, "mul", weft_y(g, 0), weft_y(g, 0)), -1, 1);
    weft_dx(g, 0, weft_emit2(g, "mul", weft_dy(g, 0), slope));
}

/* From the output, so that x need not be kept. */
static void grad_relu(weft_grad *g)
{
    weft_dx(g, 0, weft_emit2(g, "relu_grad", weft_y(g, 0), weft_dy(g, 0)));
}

/* ---- relu_grad ---- */
static void infer_relu_grad(weft_infer *c)
{
    if (weft_infer_same(c, 0, 1))
        weft_infer_like_first(c);
}

WEFT_CLONES static void span_relu_grad(const weft_span *s)
{
    float *dx = (float *)s->p[0];
    const float *y = (const float *)s->p[1], *dy = (const float *)s->p[2];
    int64_t n = s->n, sy = s->stride[1], sd = s->stride[2];
    if (sy != 1 || sd != 1) {
        for (int64_t i = 0; i < n; i++)
            dx[i] = y[i * sy] > 0 ? dy[i * sd] : 0;
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] > 0 ? dy[i] : 0;
}

static void run_relu_grad(const weft_run *r) { weft_run_walk(r, 2, span_relu_grad, NULL); }

static double relu_grad_exact(double y, double dy) { return y > 0 ? dy : 0; }
static void ref_relu_grad(const weft_run *r) { weft_ref_binary(r, relu_grad_exact); }

static void grad_relu_grad(weft_grad *g)
{
    if (weft_needs(g, 1))
        weft_dx(g, 1, weft_emit2(g, "relu_grad", weft_x(g, 0), weft_dy(g, 0)));
}

/* Masked entries stay 0 unless something is added. */
static void incr_scale(weft_incr *c)
{
    weft_incr_elementwise(c);
    if (weft_attr_float(c, "beta") == 0)
        weft_incr_masked(c, 0, weft_incr_zero_at(c, 0));
}

/* ---- schemas ---- */
#define UNARY_OP(op)                                                                               \
    .name = #op, .in = {{"x", WEFT_FLOAT, "any shape"}}, .out = {{"y", WEFT_FLOAT, "as x"}},       \
    .infer = weft_infer_like_first, .run = run_##op, .ref = ref_##op, .flops = weft_flops_elements
#define UNARY_GRAD_OP(op, more)                                                                    \
    UNARY_OP(op), .flags = WEFT_INPLACE | WEFT_STRIDED | WEFT_ELEMENTWISE | (more),                \
                  .grad = grad_##op

const weft_op weft_op_abs = {
    UNARY_GRAD_OP(abs, WEFT_KEEPS_ZERO),
    .doc = "Absolute value: y = |x|; its derivative at 0 is 0.",
};

const weft_op weft_op_sign = {
    UNARY_OP(sign),
    .flags = WEFT_INPLACE | WEFT_STRIDED | WEFT_ELEMENTWISE | WEFT_NO_GRADIENT | WEFT_KEEPS_ZERO,
    .doc = "Sign: y = 1 where x > 0, -1 where x < 0, 0 where x = 0.",
};

const weft_op weft_op_neg = {
    UNARY_GRAD_OP(neg, WEFT_KEEPS_ZERO),
    .doc = "The negative: y = -x.",
};

const weft_op weft_op_scale = {
    UNARY_GRAD_OP(scale, 0),
    .incr = incr_scale,
    .doc = "Scaled and shifted by constants: y = alpha * x + beta.",
    .attr = {{"alpha", WEFT_ATTR_FLOAT, 1, "factor"},
             {"beta", WEFT_ATTR_FLOAT, 0, "what is added"}},
};

const weft_op weft_op_exp = {
    UNARY_GRAD_OP(exp, 0),
    .doc = "Exponential: y = e^x; inf where it exceeds the range of f32.",
};

const weft_op weft_op_log = {
    UNARY_GRAD_OP(log, 0),
    .doc = "Natural logarithm: y = ln x; NaN for x < 0.",
};

const weft_op weft_op_sqrt = {
    UNARY_GRAD_OP(sqrt, WEFT_KEEPS_ZERO),
    .doc = "Square root: y = x^(1/2); NaN for x < 0.",
};

const weft_op weft_op_tanh = {
    UNARY_GRAD_OP(tanh, WEFT_KEEPS_ZERO),
    .doc = "Hyperbolic tangent: y = (e^x - e^-x) / (e^x + e^-x).",
};

const weft_op weft_op_relu = {
    UNARY_GRAD_OP(relu, WEFT_KEEPS_ZERO),
    .doc = "Positive part: y = max(x, 0).",
};

const weft_op weft_op_relu_grad = {
    .name = "relu_grad",
    .doc = "Gradient of relu from its output: dx = dy where y > 0, else 0.",
    .in = {{"y", WEFT_FLOAT, "output of relu"}, {"dy", WEFT_FLOAT, "its gradient, as y"}},
    .out = {{"dx", WEFT_FLOAT, "as y"}},
    .flags = WEFT_INPLACE | WEFT_STRIDED | WEFT_ELEMENTWISE,
    .infer = infer_relu_grad,
    .grad = grad_relu_grad,
    .run = run_relu_grad,
    .ref = ref_relu_grad,
    .flops = weft_flops_elements,
};
