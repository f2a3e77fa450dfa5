/* standardize.c - mean 0 and standard deviation 1 over the last axis, the statistics beside it, and
 * its gradient.
 *
 * As OpenAI's sparse autoencoders do it (openai/sparse_autoencoder, model.py, LN): the deviation is
 * the unbiased one, and eps is added to it, not to the variance.  Unlike in layer_norm, mean and
 * deviation are values that models use, to undo it; they keep the last axis, with size 1. */
#include "graph/op.h"
#include "ops/simd.h"

/* Deviations that count as none: their inverse, times a gradient, would leave the range of f32. */
static const double none = 1e-30;

static weft_type rows_of(weft_type x)
{
    x.dim[x.rank - 1] = 1;
    return x;
}

static void infer_standardize(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0);
    if (x->rank < 1 || x->dim[x->rank - 1] < 2) {
        weft_call_fail(c,
                       "x is %s, expected at least 2 values on the last axis: one has no "
                       "deviation",
                       weft_type_text(c, x));
        return;
    }
    weft_infer_out(c, 0, *x);
    weft_infer_out(c, 1, rows_of(*x));
    weft_infer_out(c, 2, rows_of(*x));
}

/* From y and the deviation, so that x need not be kept. */
static void grad_standardize(weft_grad *g)
{
    weft_val in[] = {weft_dy(g, 0), weft_y(g, 0), weft_y(g, 2),
                     weft_has_dy(g, 1) ? weft_dy(g, 1) : WEFT_NONE,
                     weft_has_dy(g, 2) ? weft_dy(g, 2) : WEFT_NONE};
    weft_dx(g, 0, weft_emit(g, "standardize_grad", in, 5, "%s", weft_attrs_text(g)));
}

/* Rows do not see each other: new positions alone, unless time is the normalised axis itself. */
static void incr_standardize(weft_incr *c)
{
    int axis = weft_incr_axis(c, 0);
    if (axis == weft_incr_type(c, 0)->rank - 1) {
        weft_call_fail(c, "the normalised axis is time, so it cannot be decoded step by step");
        return;
    }
    if (weft_incr_blocked(c, 0, weft_incr_type(c, 0)->rank - 1, "normalise"))
        return;
    weft_val x = weft_incr_new(c, 0);
    weft_val y = weft_emit(c, "standardize", &x, 1, "%s", weft_attrs_text(c));
    for (int i = 0; i < 3; i++)
        weft_incr_out(c, i, weft_emit_nth(c, y, i), axis);
    for (int i = 0; i < 3; i++)
        weft_incr_keys(c, i, weft_incr_later(c, 0), -1);
}

/* ---- forward ---- */
/* y may be x. Squares in double: deviations of any size are neither lost nor infinite. */
WEFT_CLONES static void standardize_row(float *y, float *mean_out, float *std_out, const float *x,
                                        int64_t d, double eps)
{
    float mean = (float)(weft_sum(x, d) / (double)d);
#pragma omp simd
    for (int64_t i = 0; i < d; i++)
        y[i] = x[i] - mean;
    float std = (float)sqrt(weft_squares(y, d) / (double)(d - 1));
    float scale = std + eps < none ? 0 : (float)(1 / (std + eps));
#pragma omp simd
    for (int64_t i = 0; i < d; i++)
        y[i] *= scale;
    *mean_out = mean;
    *std_out = std;
}

static void run_standardize(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    int64_t d = x->dim[x->rank - 1];
    double eps = weft_run_float(r, "eps");
    float *y = r->out[0].data, *mean = r->out[1].data, *std = r->out[2].data;
#pragma omp parallel for num_threads(r->threads) if (x->count > WEFT_GRAIN)
    for (int64_t i = 0; i < r->out[1].count; i++)
        standardize_row(y + i * d, mean + i, std + i, (const float *)x->data + i * d, d, eps);
}

static void ref_standardize(const weft_run *r)
{
    int64_t d = r->in[0].dim[r->in[0].rank - 1];
    double eps = weft_run_float(r, "eps");
    for (int64_t row = 0; row < r->out[1].count; row++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < d; i++)
            mean += weft_get(&r->in[0], row * d + i) / (double)d;
        for (int64_t i = 0; i < d; i++)
            square += pow(weft_get(&r->in[0], row * d + i) - mean, 2);
        double std = sqrt(square / (double)(d - 1));
        for (int64_t i = 0; i < d; i++) {
            double c = weft_get(&r->in[0], row * d + i) - mean;
            weft_put(&r->out[0], row * d + i, std + eps < none ? 0 : c / (std + eps));
        }
        weft_put(&r->out[1], row, mean);
        weft_put(&r->out[2], row, std);
    }
}

/* Counted by convention: mean (1), difference (1), squares (2), scale (1). */
static double flops_standardize(const weft_call *c)
{
    return 5.0 * (double)weft_type_count(weft_call_in(c, 0));
}

#define EPS_ATTR                                                                                   \
    {                                                                                              \
        "eps", WEFT_ATTR_FLOAT, 1e-5, "added to the standard deviation", 0, 1e30                   \
    }

const weft_op weft_op_standardize = {
    .name = "standardize",
    .doc =
        "Mean 0 and deviation 1 over the last axis of d values: y = (x - mean) / (std + eps) "
        "with the unbiased std = sqrt(sum (x - mean)^2 / (d - 1)); y = 0 where std + eps < 1e-30.",
    .in = {{"x", WEFT_FLOAT, "rows [...,d], d >= 2"}},
    .out = {{"y", WEFT_FLOAT, "as x"},
            {"mean", WEFT_FLOAT, "mean of each row [...,1]"},
            {"std", WEFT_FLOAT, "standard deviation of each row [...,1], without eps"}},
    .attr = {EPS_ATTR},
    .flags = WEFT_INPLACE | WEFT_ROWS,
    .infer = infer_standardize,
    .grad = grad_standardize,
    .incr = incr_standardize,
    .run = run_standardize,
    .ref = ref_standardize,
    .flops = flops_standardize,
};

/* ---- gradient ---- */
static void infer_standardize_grad(weft_infer *c)
{
    if (!weft_infer_same(c, 0, 1))
        return;
    const weft_type *y = weft_call_in(c, 1);
    if (y->rank < 1 || y->dim[y->rank - 1] < 2) {
        weft_call_fail(c, "y is %s, expected at least 2 values on the last axis",
                       weft_type_text(c, y));
        return;
    }
    weft_type want = rows_of(*y);
    for (int i = 2; i < 5; i++)
        if (weft_call_has(c, i) && !weft_type_equal(weft_call_in(c, i), &want))
            weft_call_fail(c, "input %d is %s, expected one value per row, %s", i,
                           weft_type_text(c, weft_call_in(c, i)), weft_type_text(c, &want));
    weft_infer_out(c, 0, *y);
}

/* With c = x - mean = y (std + eps) and s = std, d s / d c = c / ((d - 1) s): dx is the factor
 * `outer` of dy - mean(dy), `inner` of y, and a constant. A row without deviation has no direction
 * in which s grows: its term is 0. */
typedef struct {
    double outer, inner, mean;
} grad_terms;

WEFT_INLINE grad_terms find_terms(double std, double eps, double d, double dy_mean, double dy_y,
                                  double dmean, double dstd)
{
    grad_terms t = {.outer = std + eps < none ? 0 : 1 / (std + eps)};
    t.inner = std < none ? 0 : (dstd - t.outer * dy_y) * ((std + eps) / ((d - 1) * std));
    t.mean = dmean / d - t.outer * dy_mean;
    return t;
}

/* Number `row` of optional input i, 0 when it is absent. */
static double row_value(const weft_run *r, int i, int64_t row)
{
    return i < r->n_in && r->in[i].data ? weft_get(&r->in[i], row) : 0;
}

/* dx may be dy. */
WEFT_CLONES static void standardize_grad_row(const weft_run *r, int64_t row, int64_t d, double eps)
{
    const float *dy = (const float *)r->in[0].data + row * d;
    const float *y = (const float *)r->in[1].data + row * d;
    float *dx = (float *)r->out[0].data + row * d;
    grad_terms t =
        find_terms(((const float *)r->in[2].data)[row], eps, (double)d, weft_sum(dy, d) / (double)d,
                   weft_dot(dy, y, d), row_value(r, 3, row), row_value(r, 4, row));
    float outer = (float)t.outer, inner = (float)t.inner, mean = (float)t.mean;
#pragma omp simd
    for (int64_t i = 0; i < d; i++)
        dx[i] = outer * dy[i] + inner * y[i] + mean;
}

static void run_standardize_grad(const weft_run *r)
{
    const weft_tensor *y = &r->in[1];
    int64_t d = y->dim[y->rank - 1];
    double eps = weft_run_float(r, "eps");
#pragma omp parallel for num_threads(r->threads) if (y->count > WEFT_GRAIN)
    for (int64_t row = 0; row < r->in[2].count; row++)
        standardize_grad_row(r, row, d, eps);
}

/* The formula of the schema, term by term. */
static void ref_standardize_grad(const weft_run *r)
{
    int64_t d = r->in[1].dim[r->in[1].rank - 1];
    double eps = weft_run_float(r, "eps"), n = (double)d;
    for (int64_t row = 0; row < r->in[2].count; row++) {
        double std = weft_get(&r->in[2], row), sum = 0, dot = 0;
        for (int64_t i = row * d; i < (row + 1) * d; i++) {
            sum += weft_get(&r->in[0], i);
            dot += weft_get(&r->in[0], i) * weft_get(&r->in[1], i);
        }
        double scale = std + eps < none ? 0 : 1 / (std + eps);
        for (int64_t i = row * d; i < (row + 1) * d; i++) {
            double c = weft_get(&r->in[1], i) * (std + eps);
            double along = std < none ? 0 : c / ((n - 1) * std);
            weft_put(&r->out[0], i,
                     scale * (weft_get(&r->in[0], i) - sum / n) +
                         (row_value(r, 4, row) - scale * dot) * along + row_value(r, 3, row) / n);
        }
    }
}

static double flops_standardize_grad(const weft_call *c)
{
    return 7.0 * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_standardize_grad = {
    .name = "standardize_grad",
    .doc = "Gradient of standardize: dx = (dy - mean(dy)) / (std + eps) + (dstd - sum(dy * y) / "
           "(std + eps)) * c / ((d - 1) * std) + dmean / d with c = y * (std + eps) = x - mean; "
           "the second term is 0 where std < 1e-30, the first where std + eps < 1e-30.",
    .in = {{"dy", WEFT_FLOAT, "gradient of y [...,d]"},
           {"y", WEFT_FLOAT, "output y of the forward node [...,d]"},
           {"std", WEFT_FLOAT, "its output std [...,1]"},
           {"dmean", WEFT_FLOAT | WEFT_OPTIONAL, "gradient of mean [...,1]"},
           {"dstd", WEFT_FLOAT | WEFT_OPTIONAL, "gradient of std [...,1]"}},
    .out = {{"dx", WEFT_FLOAT, "gradient of x [...,d]"}},
    .attr = {EPS_ATTR},
    .flags = WEFT_INPLACE,
    .infer = infer_standardize_grad,
    .run = run_standardize_grad,
    .ref = ref_standardize_grad,
    .flops = flops_standardize_grad,
};
