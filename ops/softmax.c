/* softmax.c - softmax along one axis, and its gradient. */
#include "ops/rows.h"

#include "graph/op.h"

/* weft_attr_axis records the error of a bad axis itself. */
static void infer_softmax(weft_infer *c)
{
    if (weft_attr_axis(c, "axis") >= 0)
        weft_infer_out(c, 0, *weft_call_in(c, 0));
}

/* dx = y * (dy - sum(dy * y, axis)); uses the output, so x need not be kept. */
static void grad_softmax(weft_grad *g)
{
    weft_dx(g, 0,
            weft_emit(g, "softmax_grad", (weft_val[]){weft_dy(g, 0), weft_y(g, 0)}, 2, "%s",
                      weft_attrs_text(g)));
}

/* Other axes than time: new positions alone. */
static void incr_softmax(weft_incr *c)
{
    int time = weft_incr_axis(c, 0), rank = weft_incr_type(c, 0)->rank;
    int64_t axis = weft_attr_int(c, "axis");
    if (weft_incr_blocked(c, 0, (int)(axis < 0 ? axis + rank : axis), "take the softmax along"))
        return;
    if (time >= 0 && time == (axis < 0 ? axis + rank : axis)) {
        weft_call_fail(c,
                       "axis=%lld is time: later positions would change earlier ones; "
                       "causal_softmax is the op for attention",
                       (long long)axis);
        return;
    }
    weft_val x = weft_incr_new(c, 0);
    weft_incr_out(c, 0, weft_emit(c, "softmax", &x, 1, "%s", weft_attrs_text(c)), time);
    weft_incr_keys(c, 0, weft_incr_later(c, 0), -1);
}

/* A dense tensor around one axis: outer * n * inner elements. */
typedef struct {
    int64_t outer, n, inner;
} axis_sizes;

static axis_sizes sizes_about(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    int axis = weft_run_axis(r, "axis");
    axis_sizes s = {1, x->dim[axis], 1};
    for (int i = 0; i < axis; i++)
        s.outer *= x->dim[i];
    for (int i = axis + 1; i < x->rank; i++)
        s.inner *= x->dim[i];
    return s;
}

/* ---- forward ---- */

WEFT_CLONES static void softmax_row(float *y, const float *x, int64_t n)
{
    weft_softmax_row(y, x, n);
}

/* Up to 64 neighbouring columns at once, each `n` long with elements `inner` apart. */
WEFT_CLONES static void softmax_columns(float *y, const float *x, int64_t n, int64_t inner,
                                        int cols)
{
    float max[64];
    double sum[64] = {0};
    for (int j = 0; j < cols; j++)
        max[j] = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
#pragma omp simd
        for (int j = 0; j < cols; j++)
            max[j] = x[i * inner + j] > max[j] ? x[i * inner + j] : max[j];
    }
    for (int64_t i = 0; i < n; i++) {
#pragma omp simd
        for (int j = 0; j < cols; j++)
            y[i * inner + j] = weft_exp_nonpositive(x[i * inner + j] - max[j]);
        for (int j = 0; j < cols; j++)
            sum[j] += y[i * inner + j];
    }
    for (int j = 0; j < cols; j++)
        max[j] = (float)(1.0 / sum[j]);
    for (int64_t i = 0; i < n; i++) {
#pragma omp simd
        for (int j = 0; j < cols; j++)
            y[i * inner + j] *= max[j];
    }
}

/* Rows of the last axis are contiguous; other axes go by blocks of 64 neighbouring columns, so that
 * every load is of whole vectors. */
static void run_softmax(const weft_run *r)
{
    axis_sizes s = sizes_about(r);
    int64_t blocks = (s.inner + 63) / 64;
    const float *x = r->in[0].data;
    float *y = r->out[0].data;
#pragma omp parallel for num_threads(r->threads) if (r->in[0].count > WEFT_GRAIN)
    for (int64_t b = 0; b < s.outer * blocks; b++) {
        int64_t col = b % blocks * 64, at = b / blocks * s.n * s.inner + col;
        int64_t cols = s.inner - col < 64 ? s.inner - col : 64;
        if (s.inner == 1)
            softmax_row(y + at, x + at, s.n);
        else
            softmax_columns(y + at, x + at, s.n, s.inner, (int)cols);
    }
}

/* Three plain loops about the axis; the maximum keeps exp from overflowing. */
static void ref_softmax(const weft_run *r)
{
    axis_sizes s = sizes_about(r);
    for (int64_t k = 0; k < s.outer * s.inner; k++) {
        int64_t at = k / s.inner * s.n * s.inner + k % s.inner;
        double max = -INFINITY, sum = 0;
        for (int64_t i = 0; i < s.n; i++)
            max = fmax(max, weft_get(&r->in[0], at + i * s.inner));
        for (int64_t i = 0; i < s.n; i++)
            sum += exp(weft_get(&r->in[0], at + i * s.inner) - max);
        for (int64_t i = 0; i < s.n; i++)
            weft_put(&r->out[0], at + i * s.inner,
                     exp(weft_get(&r->in[0], at + i * s.inner) - max) / sum);
    }
}

/* Counted by convention: subtract, exponential (8), sum, scale. */
static double flops_softmax(const weft_call *c)
{
    return 11.0 * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_softmax = {
    .name = "softmax",
    .doc =
        "Exponentials scaled to sum to one along `axis`: y = exp(x - max x) / sum exp(x - max x).",
    .in = {{"x", WEFT_FLOAT, "logits, rank >= 1"}},
    .out = {{"y", WEFT_FLOAT, "probabilities, same shape as x"}},
    .attr = {{"axis", WEFT_ATTR_INT, -1, "axis that is normalised; negative counts from the last"}},
    .flags = WEFT_INPLACE,
    .infer = infer_softmax,
    .grad = grad_softmax,
    .incr = incr_softmax,
    .run = run_softmax,
    .ref = ref_softmax,
    .flops = flops_softmax,
};

/* ---- gradient ---- */

static void infer_softmax_grad(weft_infer *c)
{
    if (weft_infer_same(c, 0, 1) && weft_attr_axis(c, "axis") >= 0)
        weft_infer_out(c, 0, *weft_call_in(c, 1));
}

WEFT_CLONES static void softmax_grad_row(float *dx, const float *dy, const float *y, int64_t n)
{
    weft_softmax_grad_row(dx, dy, y, n);
}

/* As softmax_columns: the sum of a column is taken in double, row after row. */
WEFT_CLONES static void softmax_grad_columns(float *dx, const float *dy, const float *y, int64_t n,
                                             int64_t inner, int cols)
{
    double sum[64] = {0};
    float dot[64];
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < cols; j++)
            sum[j] += (double)dy[i * inner + j] * y[i * inner + j];
    for (int j = 0; j < cols; j++)
        dot[j] = (float)sum[j];
    for (int64_t i = 0; i < n; i++) {
#pragma omp simd
        for (int j = 0; j < cols; j++)
            dx[i * inner + j] = y[i * inner + j] * (dy[i * inner + j] - dot[j]);
    }
}

/* dx may be dy: the sum of a row or column is known before its first element is overwritten. */
static void run_softmax_grad(const weft_run *r)
{
    axis_sizes s = sizes_about(r);
    int64_t blocks = (s.inner + 63) / 64;
    const float *dy = r->in[0].data, *y = r->in[1].data;
    float *dx = r->out[0].data;
#pragma omp parallel for num_threads(r->threads) if (r->in[0].count > WEFT_GRAIN)
    for (int64_t b = 0; b < s.outer * blocks; b++) {
        int64_t col = b % blocks * 64, at = b / blocks * s.n * s.inner + col;
        int64_t cols = s.inner - col < 64 ? s.inner - col : 64;
        if (s.inner == 1)
            softmax_grad_row(dx + at, dy + at, y + at, s.n);
        else
            softmax_grad_columns(dx + at, dy + at, y + at, s.n, s.inner, (int)cols);
    }
}

/* Two plain loops about the axis. */
static void ref_softmax_grad(const weft_run *r)
{
    axis_sizes s = sizes_about(r);
    for (int64_t k = 0; k < s.outer * s.inner; k++) {
        int64_t at = k / s.inner * s.n * s.inner + k % s.inner;
        double dot = 0;
        for (int64_t i = 0; i < s.n; i++)
            dot += weft_get(&r->in[0], at + i * s.inner) * weft_get(&r->in[1], at + i * s.inner);
        for (int64_t i = 0; i < s.n; i++) {
            double dy = weft_get(&r->in[0], at + i * s.inner);
            weft_put(&r->out[0], at + i * s.inner,
                     weft_get(&r->in[1], at + i * s.inner) * (dy - dot));
        }
    }
}

/* Product and sum, then difference and product. */
static double flops_softmax_grad(const weft_call *c)
{
    return 4.0 * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_softmax_grad = {
    .name = "softmax_grad",
    .doc = "Gradient of softmax along `axis`: dx = y * (dy - sum(dy * y)).",
    .in = {{"dy", WEFT_FLOAT, "gradient of the probabilities"},
           {"y", WEFT_FLOAT, "probabilities, output of the forward node"}},
    .out = {{"dx", WEFT_FLOAT, "gradient of the logits"}},
    .attr = {{"axis", WEFT_ATTR_INT, -1, "axis that is normalised; negative counts from the last"}},
    .flags = WEFT_INPLACE,
    .infer = infer_softmax_grad,
    .run = run_softmax_grad,
    .ref = ref_softmax_grad,
    .flops = flops_softmax_grad,
};
