/* gelu.c - the Gaussian error linear unit (Hendrycks and Gimpel, 2016, arXiv:1606.08415), and its
 * gradient. */
#include <math.h>

#include "ops/loops.h"
#include "ops/simd.h"

/* The tanh form is x s with s = (1 + tanh u) / 2 = 1 / (1 + e^(-2u)) and u = sqrt(2/pi) (x +
 * 0.044715 x^3). */
#define U0 0.79788456080286536 /* sqrt(2/pi) */
#define U1 0.044715

/* ---- forward ---- */
WEFT_INLINE float gelu_tanh_one(float x)
{
    float u2 = (float)(-2 * U0) * (x + (float)U1 * (x * x * x));
    return x / (1.0f + weft_exp(u2));
}

/* The normal distribution function, Phi(x) = erfc(-x / sqrt 2) / 2.  For a >= 0, erfc(a) = t
 * e^(P(t) - a^2) with t = 1 / (1 + a / 2) and P a polynomial fitted here to 6e-8 relative error on
 * 0..14 (the form is that of Press et al., Numerical Recipes, 6.2). */
WEFT_INLINE float phi(float x)
{
    float a = fabsf(x) * 0.707106781f, t = 1.0f / (1.0f + 0.5f * a);
    float p = 0.1609919222f;
    p = p * t - 0.7680075875f;
    p = p * t + 1.3610220176f;
    p = p * t - 0.9666716176f;
    p = p * t + 0.1418020457f;
    p = p * t - 0.1156328905f;
    p = p * t + 0.0738809417f;
    p = p * t + 0.3785524478f;
    p = p * t + 0.9995549691f;
    p = p * t - 1.2654921885f;
    float half = 0.5f * t * weft_exp(p - a * a);
    return x < 0 ? half : 1.0f - half;
}

WEFT_INLINE float gelu_erf_one(float x) { return x * phi(x); }

WEFT_INLINE void gelu_loop(const weft_span *s, float (*f)(float))
{
    float *y = (float *)s->p[0];
    const float *x = (const float *)s->p[1];
    int64_t n = s->n, sx = s->stride[1];
    if (sx != 1) {
        for (int64_t i = 0; i < n; i++)
            y[i] = f(x[i * sx]);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = f(x[i]);
}

WEFT_CLONES static void gelu_span_tanh(const weft_span *s) { gelu_loop(s, gelu_tanh_one); }
WEFT_CLONES static void span_erf(const weft_span *s) { gelu_loop(s, gelu_erf_one); }

static void run_gelu(const weft_run *r)
{
    weft_run_walk(r, 1, weft_run_int(r, "exact") ? span_erf : gelu_span_tanh, NULL);
}

static double gelu_tanh_exact(double x) { return 0.5 * x * (1 + tanh(U0 * (x + U1 * x * x * x))); }
static double gelu_erf_exact(double x) { return 0.5 * x * erfc(-x * M_SQRT1_2); }

static void ref_gelu(const weft_run *r)
{
    weft_ref_unary(r, weft_run_int(r, "exact") ? gelu_erf_exact : gelu_tanh_exact);
}

static void grad_gelu(weft_grad *g)
{
    weft_dx(g, 0,
            weft_emit(g, "gelu_grad", (weft_val[]){weft_x(g, 0), weft_dy(g, 0)}, 2, "%s",
                      weft_attrs_text(g)));
}

/* ---- gradient ---- */
/* d(x s)/dx = s + 2 x s (1 - s) du/dx,  du/dx = sqrt(2/pi) (1 + 3 * 0.044715 x^2) */
WEFT_INLINE float slope_tanh_one(float x)
{
    float z = x * x;
    float s = 1.0f / (1.0f + weft_exp((float)(-2 * U0) * (x + (float)U1 * (z * x))));
    return s + (x * s) * (1.0f - s) * ((float)(2 * U0) + (float)(6 * U0 * U1) * z);
}

/* d(x Phi)/dx = Phi + x phi(x), phi the normal density */
WEFT_INLINE float slope_erf_one(float x)
{
    return phi(x) + x * 0.398942280f * weft_exp(-0.5f * (x * x));
}

WEFT_INLINE void slope_loop(const weft_span *s, float (*f)(float))
{
    float *dx = (float *)s->p[0];
    const float *x = (const float *)s->p[1], *dy = (const float *)s->p[2];
    int64_t n = s->n, sx = s->stride[1], sd = s->stride[2];
    if (sx != 1 || sd != 1) {
        for (int64_t i = 0; i < n; i++)
            dx[i] = dy[i * sd] * f(x[i * sx]);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] * f(x[i]);
}

WEFT_CLONES static void span_tanh_grad(const weft_span *s) { slope_loop(s, slope_tanh_one); }
WEFT_CLONES static void span_erf_grad(const weft_span *s) { slope_loop(s, slope_erf_one); }

static void run_gelu_grad(const weft_run *r)
{
    weft_run_walk(r, 2, weft_run_int(r, "exact") ? span_erf_grad : span_tanh_grad, NULL);
}

static double slope_tanh_exact(double x, double dy)
{
    double t = tanh(U0 * (x + U1 * x * x * x));
    return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * U0 * (1 + 3 * U1 * x * x));
}

static double slope_erf_exact(double x, double dy)
{
    return dy *
           (0.5 * erfc(-x * M_SQRT1_2) + x * exp(-0.5 * x * x) * (0.5 * M_2_SQRTPI * M_SQRT1_2));
}

static void ref_gelu_grad(const weft_run *r)
{
    weft_ref_binary(r, weft_run_int(r, "exact") ? slope_erf_exact : slope_tanh_exact);
}

static void infer_gelu_grad(weft_infer *c)
{
    if (weft_infer_same(c, 0, 1))
        weft_infer_like_first(c);
}

static weft_val scaled(weft_grad *g, weft_val v, double alpha, double beta)
{
    return weft_emit(g, "scale", &v, 1, "alpha=%.17g beta=%.17g", alpha, beta);
}

/* (x Phi)'' = phi(x) (2 - x^2) */
static weft_val curve_erf(weft_grad *g, weft_val z)
{
    weft_val density =
        scaled(g, weft_emit1(g, "exp", scaled(g, z, -0.5, 0)), 0.5 * M_2_SQRTPI * M_SQRT1_2, 0);
    return weft_emit2(g, "mul", density, scaled(g, z, -1, 2));
}

/* With t = tanh u and k = u': (x (1 + t) / 2)'' = (1 - t^2) (k + x (k' - 2 t k^2) / 2). */
static weft_val curve_tanh(weft_grad *g, weft_val x, weft_val z)
{
    weft_val t = weft_emit1(g, "tanh", weft_emit2(g, "mul", x, scaled(g, z, U0 * U1, U0)));
    weft_val k = scaled(g, z, 3 * U0 * U1, U0),
             tk2 = weft_emit2(g, "mul", t, weft_emit2(g, "mul", k, k));
    weft_val inner = weft_emit2(g, "sub", scaled(g, x, 3 * U0 * U1, 0), tk2);
    weft_val sum = weft_emit2(g, "add", k, weft_emit2(g, "mul", x, inner));
    return weft_emit2(g, "mul", scaled(g, weft_emit2(g, "mul", t, t), -1, 1), sum);
}

/* By dy it is linear; by x it needs the second derivative, for gradients of gradients. */
static void grad_gelu_grad(weft_grad *g)
{
    weft_val x = weft_x(g, 0);
    if (weft_needs(g, 1))
        weft_dx(
            g, 1,
            weft_emit(g, "gelu_grad", (weft_val[]){x, weft_dy(g, 0)}, 2, "%s", weft_attrs_text(g)));
    if (!weft_needs(g, 0))
        return;
    weft_val z = weft_emit2(g, "mul", x, x),
             both = weft_emit2(g, "mul", weft_dy(g, 0), weft_x(g, 1));
    weft_dx(g, 0,
            weft_emit2(g, "mul", both,
                       weft_attr_int(g, "exact") ? curve_erf(g, z) : curve_tanh(g, x, z)));
}

static double flops_gelu(const weft_call *c) { return 30 * weft_flops_elements(c); }

#define GELU_ATTRS                                                                                 \
    {                                                                                              \
        {                                                                                          \
            "exact", WEFT_ATTR_BOOL, 0,                                                            \
                "0: by tanh, as GPT-2 (gelu_new); 1: by the error function"                        \
        }                                                                                          \
    }

const weft_op weft_op_gelu = {
    .name = "gelu",
    .doc = "Gaussian error linear unit: y = x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, or "
           "with `exact` "
           "y = x (1 + erf(x / sqrt 2)) / 2.",
    .in = {{"x", WEFT_FLOAT, "any shape"}},
    .out = {{"y", WEFT_FLOAT, "as x"}},
    .attr = GELU_ATTRS,
    .flags = WEFT_INPLACE | WEFT_STRIDED | WEFT_ELEMENTWISE | WEFT_KEEPS_ZERO,
    .infer = weft_infer_like_first,
    .grad = grad_gelu,
    .run = run_gelu,
    .ref = ref_gelu,
    .flops = flops_gelu,
};

const weft_op weft_op_gelu_grad = {
    .name = "gelu_grad",
    .doc = "Gradient of gelu: dx = dy * gelu'(x).",
    .in = {{"x", WEFT_FLOAT, "input of gelu"}, {"dy", WEFT_FLOAT, "gradient of its output, as x"}},
    .out = {{"dx", WEFT_FLOAT, "as x"}},
    .attr = GELU_ATTRS,
    .flags = WEFT_INPLACE | WEFT_STRIDED | WEFT_ELEMENTWISE,
    .infer = infer_gelu_grad,
    .grad = grad_gelu_grad,
    .run = run_gelu_grad,
    .ref = ref_gelu_grad,
    .flops = flops_gelu,
};
