/* layer_norm.c - normalisation over the last axis, and its gradients. */
#include "ops/simd.h"

#include "graph/op.h"

/* Checks that input i is a vector as long as the last axis of x. */
static bool infer_affine(weft_infer *c, int x, int i, const char *name)
{
    const weft_type *t = weft_call_in(c, x), *w = weft_call_in(c, i);
    if (!weft_call_has(c, i) || (w->rank == 1 && w->dim[0] == t->dim[t->rank - 1]))
        return true;
    weft_call_fail(c, "%s is %s, expected one value per element of the last axis of %s", name,
                   weft_type_text(c, w), weft_type_text(c, t));
    return false;
}

/* Without a last axis there is nothing to take a mean over. */
static bool infer_rank(weft_infer *c, int i)
{
    if (weft_call_in(c, i)->rank < 1)
        weft_call_fail(c, "the value to normalise is a scalar, expected rank >= 1");
    return !weft_call_failed(c);
}

/* mean and rstd are outputs because the gradient needs them: two numbers a row are cheaper to keep
 * than a second pass over x. */
static void infer_layer_norm(weft_infer *c)
{
    if (!infer_rank(c, 0) || !infer_affine(c, 0, 1, "weight") || !infer_affine(c, 0, 2, "bias"))
        return;
    weft_type rows = *weft_call_in(c, 0);
    weft_infer_out(c, 0, rows);
    rows.rank--;
    weft_infer_out(c, 1, rows);
    weft_infer_out(c, 2, rows);
}

/* dx and the gradients of weight and bias are nodes of their own, so that a frozen norm costs no
 * second one; gradients of mean and rstd exist only when a model reads these outputs. */
static void grad_layer_norm(weft_grad *g)
{
    weft_val dy = weft_dy(g, 0), x = weft_x(g, 0), mean = weft_y(g, 1), rstd = weft_y(g, 2);
    if (weft_needs(g, 0)) {
        weft_val dmean = weft_has_dy(g, 1) ? weft_dy(g, 1) : WEFT_NONE;
        weft_val drstd = weft_has_dy(g, 2) ? weft_dy(g, 2) : WEFT_NONE;
        weft_val in[] = {dy, x, mean, rstd, weft_x(g, 1), dmean, drstd};
        weft_dx(g, 0, weft_emit(g, "layer_norm_grad", in, 7, "%s", ""));
    }
    bool dweight = weft_call_has(g, 1) && weft_needs(g, 1);
    bool dbias = weft_call_has(g, 2) && weft_needs(g, 2);
    if (!dweight && !dbias)
        return;
    weft_val dw =
        weft_emit(g, "layer_norm_grad_affine", (weft_val[]){dy, x, mean, rstd}, 4, "%s", "");
    if (dweight)
        weft_dx(g, 1, dw);
    if (dbias)
        weft_dx(g, 2, weft_emit_nth(g, dw, 1));
}

/* Rows do not see each other: new positions alone, unless time is the normalised axis itself. */
static void incr_layer_norm(weft_incr *c)
{
    int axis = weft_incr_axis(c, 0);
    if (axis == weft_incr_type(c, 0)->rank - 1) {
        weft_call_fail(c, "the normalised axis is time, so it cannot be decoded step by step");
        return;
    }
    if (weft_incr_axis(c, 1) >= 0 || weft_incr_axis(c, 2) >= 0) {
        weft_call_fail(c, "weight and bias change with time");
        return;
    }
    if (weft_incr_blocked(c, 0, weft_incr_type(c, 0)->rank - 1, "normalise"))
        return;
    weft_val in[3];
    for (int i = 0; i < 3; i++)
        in[i] = weft_call_has(c, i) ? weft_incr_new(c, i) : WEFT_NONE;
    weft_val y = weft_emit(c, "layer_norm", in, weft_call_n_in(c), "%s", weft_attrs_text(c));
    for (int i = 0; i < 3; i++)
        weft_incr_out(c, i, weft_emit_nth(c, y, i), axis);
    for (int i = 0; i < 3; i++)
        weft_incr_keys(c, i, weft_incr_later(c, 0), -1);
}

/* ---- forward ---- */

typedef struct {
    const float *x, *dy, *weight, *bias, *dmean, *drstd;
    float *y, *mean, *rstd; /* y: dx in the gradient */
    int64_t rows, d;
    double eps;
} norm_args;

/* Data of an optional input, or NULL. */
static const float *optional(const weft_run *r, int i)
{
    return i < r->n_in ? r->in[i].data : NULL;
}

/* y = y * rstd * weight + bias.  The usual case, both given, is one pass; the others need no speed.
 */
WEFT_INLINE void scale_row(float *y, float rstd, const float *w, const float *b, int64_t d)
{
    if (w && b) {
#pragma omp simd
        for (int64_t i = 0; i < d; i++)
            y[i] = y[i] * rstd * w[i] + b[i];
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < d; i++)
        y[i] *= rstd;
    for (int64_t i = 0; w && i < d; i++)
        y[i] *= w[i];
    for (int64_t i = 0; b && i < d; i++)
        y[i] += b[i];
}

/* Two passes over the row, which is in cache: the mean, then the squares about it. */
WEFT_CLONES static void norm_row(const norm_args *a, int64_t row)
{
    const float *x = a->x + row * a->d;
    float *y = a->y + row * a->d;
    float mean = (float)(weft_sum(x, a->d) / (double)a->d);
#pragma omp simd
    for (int64_t i = 0; i < a->d; i++)
        y[i] = x[i] - mean;
    float rstd = (float)(1.0 / sqrt(weft_dot(y, y, a->d) / (double)a->d + a->eps));
    scale_row(y, rstd, a->weight, a->bias, a->d);
    a->mean[row] = mean;
    a->rstd[row] = rstd;
}

static void run_layer_norm(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    norm_args a = {.x = x->data,
                   .weight = optional(r, 1),
                   .bias = optional(r, 2),
                   .y = r->out[0].data,
                   .mean = r->out[1].data,
                   .rstd = r->out[2].data,
                   .rows = r->out[1].count,
                   .d = x->dim[x->rank - 1],
                   .eps = weft_run_float(r, "eps")};
#pragma omp parallel for num_threads(r->threads) if (x->count > WEFT_GRAIN)
    for (int64_t i = 0; i < a.rows; i++)
        norm_row(&a, i);
}

/* Element i of optional input k, or `missing`. */
static double get_or(const weft_run *r, int k, int64_t i, double missing)
{
    return k < r->n_in && r->in[k].data ? weft_get(&r->in[k], i) : missing;
}

/* The definition in double; the variance about the mean, not E[x^2] - mean^2, which cancels. */
static void ref_layer_norm(const weft_run *r)
{
    int64_t d = r->in[0].dim[r->in[0].rank - 1];
    double eps = weft_run_float(r, "eps");
    for (int64_t row = 0; row < r->out[1].count; row++) {
        double mean = 0, var = 0;
        for (int64_t i = 0; i < d; i++)
            mean += weft_get(&r->in[0], row * d + i) / (double)d;
        for (int64_t i = 0; i < d; i++)
            var += pow(weft_get(&r->in[0], row * d + i) - mean, 2) / (double)d;
        double rstd = 1 / sqrt(var + eps);
        for (int64_t i = 0; i < d; i++) {
            double n = (weft_get(&r->in[0], row * d + i) - mean) * rstd;
            weft_put(&r->out[0], row * d + i, n * get_or(r, 1, i, 1) + get_or(r, 2, i, 0));
        }
        weft_put(&r->out[1], row, mean);
        weft_put(&r->out[2], row, rstd);
    }
}

/* Counted by convention: mean (1), difference (1), squares (2), scale (2), weight and bias (2). */
static double flops_norm(const weft_call *c)
{
    return 8.0 * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_layer_norm = {
    .name = "layer_norm",
    .doc =
        "Normalisation over the last axis (Ba et al., 2016): y = (x - mean) * rstd * weight + bias "
        "with mean = mean(x), rstd = 1 / sqrt(mean((x - mean)^2) + eps).",
    .in = {{"x", WEFT_FLOAT, "values [...,d]"},
           {"weight", WEFT_FLOAT | WEFT_OPTIONAL, "scale [d]; 1 when absent"},
           {"bias", WEFT_FLOAT | WEFT_OPTIONAL, "shift [d]; 0 when absent"}},
    .out = {{"y", WEFT_FLOAT, "normalised values, shape of x"},
            {"mean", WEFT_FLOAT, "mean of each row [...]"},
            {"rstd", WEFT_FLOAT, "reciprocal standard deviation of each row [...]"}},
    .attr = {{"eps", WEFT_ATTR_FLOAT, 1e-5, "added to the variance", 0, 1}},
    .flags = WEFT_ROWS,
    .infer = infer_layer_norm,
    .grad = grad_layer_norm,
    .incr = incr_layer_norm,
    .run = run_layer_norm,
    .ref = ref_layer_norm,
    .flops = flops_norm,
};

/* ---- gradient of x ---- */

/* Shared by both gradients: dy like x, everything else one number a row, weight as in the forward
 * node. */
static bool infer_grad_inputs(weft_infer *c)
{
    weft_type rows = *weft_call_in(c, 1);
    if (!infer_rank(c, 1) || !weft_infer_same(c, 0, 1))
        return false;
    rows.rank--;
    for (int i = 2; i < 7; i++)
        if (i != 4 && weft_call_has(c, i) && !weft_type_equal(weft_call_in(c, i), &rows))
            weft_call_fail(c, "input %d is %s, expected one value per row, %s", i,
                           weft_type_text(c, weft_call_in(c, i)), weft_type_text(c, &rows));
    return !weft_call_failed(c) && infer_affine(c, 1, 4, "weight");
}

static void infer_layer_norm_grad(weft_infer *c)
{
    if (infer_grad_inputs(c))
        weft_infer_out(c, 0, *weft_call_in(c, 1));
}

/* dx = rstd * (g - mean(g) - n * mean(g * n)) + dmean / d - drstd * rstd^2 * n / d with g = dy *
 * weight and n = (x - mean) * rstd.  The sums are taken block by block, g staying in dx; dx may be
 * dy. */
WEFT_CLONES static void norm_grad_row(const norm_args *a, int64_t row)
{
    enum { BLOCK = 512 };
    const float *x = a->x + row * a->d, *dy = a->dy + row * a->d, *w = a->weight;
    float *dx = a->y + row * a->d, mean = a->mean[row], rstd = a->rstd[row], n[BLOCK];
    double sum_g = 0, sum_gn = 0, d = (double)a->d;
    for (int64_t at = 0; at < a->d; at += BLOCK) {
        int64_t len = a->d - at < BLOCK ? a->d - at : BLOCK;
#pragma omp simd
        for (int64_t i = 0; i < len; i++) {
            n[i] = (x[at + i] - mean) * rstd;
            dx[at + i] = w ? dy[at + i] * w[at + i] : dy[at + i];
        }
        sum_g += weft_sum(dx + at, len);
        sum_gn += weft_dot(dx + at, n, len);
    }
    double dmean = a->dmean ? a->dmean[row] : 0, drstd = a->drstd ? a->drstd[row] : 0;
    float shift = (float)((dmean - rstd * sum_g) / d);
    float slope = (float)(-(rstd * sum_gn + drstd * rstd * rstd) / d * rstd);
#pragma omp simd
    for (int64_t i = 0; i < a->d; i++)
        dx[i] = dx[i] * rstd + shift + (x[i] - mean) * slope;
}

/* dx may be dy: a row is read before its elements are overwritten, position by position. */
static void run_layer_norm_grad(const weft_run *r)
{
    const weft_tensor *x = &r->in[1];
    norm_args a = {.x = x->data,
                   .dy = r->in[0].data,
                   .mean = r->in[2].data,
                   .rstd = r->in[3].data,
                   .weight = optional(r, 4),
                   .dmean = optional(r, 5),
                   .drstd = optional(r, 6),
                   .y = r->out[0].data,
                   .rows = r->in[2].count,
                   .d = x->dim[x->rank - 1]};
#pragma omp parallel for num_threads(r->threads) if (x->count > WEFT_GRAIN)
    for (int64_t i = 0; i < a.rows; i++)
        norm_grad_row(&a, i);
}

/* The formula of the schema, term by term. */
static void ref_layer_norm_grad(const weft_run *r)
{
    int64_t d = r->in[1].dim[r->in[1].rank - 1];
    for (int64_t row = 0; row < r->in[2].count; row++) {
        double mean = weft_get(&r->in[2], row), rstd = weft_get(&r->in[3], row), g = 0, gn = 0;
        for (int64_t i = 0; i < d; i++) {
            double v = weft_get(&r->in[0], row * d + i) * get_or(r, 4, i, 1);
            g += v / (double)d;
            gn += v * (weft_get(&r->in[1], row * d + i) - mean) * rstd / (double)d;
        }
        for (int64_t i = 0; i < d; i++) {
            double v = weft_get(&r->in[0], row * d + i) * get_or(r, 4, i, 1);
            double n = (weft_get(&r->in[1], row * d + i) - mean) * rstd;
            double outer = get_or(r, 5, row, 0) - get_or(r, 6, row, 0) * rstd * rstd * n;
            weft_put(&r->out[0], row * d + i, rstd * (v - g - n * gn) + outer / (double)d);
        }
    }
}

static double flops_grad(const weft_call *c)
{
    return 11.0 * (double)weft_type_count(weft_call_in(c, 1));
}

const weft_op weft_op_layer_norm_grad = {
    .name = "layer_norm_grad",
    .doc =
        "Gradient of layer_norm for x: dx = rstd * (g - mean(g) - n * mean(g * n)) + dmean / d - "
        "drstd * rstd^2 * n / d with g = dy * weight, n = (x - mean) * rstd.",
    .in = {{"dy", WEFT_FLOAT, "gradient of y [...,d]"},
           {"x", WEFT_FLOAT, "input of the forward node [...,d]"},
           {"mean", WEFT_FLOAT, "its output mean [...]"},
           {"rstd", WEFT_FLOAT, "its output rstd [...]"},
           {"weight", WEFT_FLOAT | WEFT_OPTIONAL, "scale [d]; 1 when absent"},
           {"dmean", WEFT_FLOAT | WEFT_OPTIONAL, "gradient of mean [...]"},
           {"drstd", WEFT_FLOAT | WEFT_OPTIONAL, "gradient of rstd [...]"}},
    .out = {{"dx", WEFT_FLOAT, "gradient of x"}},
    .flags = WEFT_INPLACE,
    .infer = infer_layer_norm_grad,
    .run = run_layer_norm_grad,
    .ref = ref_layer_norm_grad,
    .flops = flops_grad,
};

/* ---- gradients of weight and bias ---- */

/* Both outputs always: they share the reading of dy and x, and a bias costs one addition an
 * element. */
static void infer_layer_norm_grad_affine(weft_infer *c)
{
    if (!infer_grad_inputs(c))
        return;
    const weft_type *x = weft_call_in(c, 1);
    weft_type w = weft_type_make(x->dtype, 1, &x->dim[x->rank - 1]);
    weft_infer_out(c, 0, w);
    weft_infer_out(c, 1, w);
}

/* Rows are summed in parts whose number depends on the sizes alone, so threads do not change the
 * bits. */
static int64_t n_parts(int64_t rows)
{
    int64_t n = (rows + 15) / 16;
    return n < 64 ? n : 64;
}

/* Scratch: one row of sums for weight and one for bias in every part. */
static void kernel_affine(weft_kernel *k)
{
    const weft_tensor *x = weft_kernel_in(k, 1);
    int64_t parts = n_parts(weft_kernel_in(k, 2)->count);
    weft_kernel_scratch(k, (size_t)(parts * 2 * x->dim[x->rank - 1]) * sizeof(float));
}

/* Sums of rows [from,to) into part[0..d-1] (weight) and part[d..2d-1] (bias). */
WEFT_CLONES static void affine_part(const norm_args *a, float *part, int64_t from, int64_t to)
{
    float *dw = part, *db = part + a->d;
    memset(part, 0, (size_t)a->d * 2 * sizeof *part);
    for (int64_t row = from; row < to; row++) {
        const float *x = a->x + row * a->d, *dy = a->dy + row * a->d;
        float mean = a->mean[row], rstd = a->rstd[row];
#pragma omp simd
        for (int64_t i = 0; i < a->d; i++) {
            dw[i] += dy[i] * ((x[i] - mean) * rstd);
            db[i] += dy[i];
        }
    }
}

/* y[i] = sum of part[p * stride + i] over p in order, for i < n <= 256. */
WEFT_CLONES static void parts_sum(float *y, const float *part, int64_t parts, int64_t stride,
                                  int64_t n)
{
    double sum[256] = {0};
    for (int64_t p = 0; p < parts; p++) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            sum[i] += part[p * stride + i];
    }
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)sum[i];
}

/* First the parts, each by one thread; then columns, each adding the parts in order. */
static void run_layer_norm_grad_affine(const weft_run *r)
{
    const weft_tensor *x = &r->in[1];
    int64_t rows = r->in[2].count, d = x->dim[x->rank - 1], parts = n_parts(rows);
    float *part = r->scratch, *dw = r->out[0].data, *db = r->out[1].data;
    norm_args a = {
        .x = x->data, .dy = r->in[0].data, .mean = r->in[2].data, .rstd = r->in[3].data, .d = d};
#pragma omp parallel for num_threads(r->threads) if (x->count > WEFT_GRAIN)
    for (int64_t p = 0; p < parts; p++)
        affine_part(&a, part + p * 2 * d, rows * p / parts, rows * (p + 1) / parts);
#pragma omp parallel for num_threads(r->threads) if (x->count > WEFT_GRAIN)
    for (int64_t at = 0; at < d; at += 256) {
        int64_t n = d - at < 256 ? d - at : 256;
        parts_sum(dw + at, part + at, parts, 2 * d, n);
        parts_sum(db + at, part + d + at, parts, 2 * d, n);
    }
}

static void ref_layer_norm_grad_affine(const weft_run *r)
{
    int64_t d = r->out[0].count;
    for (int64_t i = 0; i < d; i++) {
        double dw = 0, db = 0;
        for (int64_t row = 0; row < r->in[2].count; row++) {
            double dy = weft_get(&r->in[0], row * d + i);
            double c = weft_get(&r->in[1], row * d + i) - weft_get(&r->in[2], row);
            dw += dy * c * weft_get(&r->in[3], row);
            db += dy;
        }
        weft_put(&r->out[0], i, dw);
        weft_put(&r->out[1], i, db);
    }
}

const weft_op weft_op_layer_norm_grad_affine = {
    .name = "layer_norm_grad_affine",
    .doc = "Gradients of layer_norm for weight and bias: dweight = sum of dy * (x - mean) * rstd, "
           "dbias = sum of dy, over all rows.",
    .in = {{"dy", WEFT_FLOAT, "gradient of y [...,d]"},
           {"x", WEFT_FLOAT, "input of the forward node [...,d]"},
           {"mean", WEFT_FLOAT, "its output mean [...]"},
           {"rstd", WEFT_FLOAT, "its output rstd [...]"}},
    .out = {{"dweight", WEFT_FLOAT, "gradient of weight [d]"},
            {"dbias", WEFT_FLOAT, "gradient of bias [d]"}},
    .infer = infer_layer_norm_grad_affine,
    .kernel = kernel_affine,
    .run = run_layer_norm_grad_affine,
    .ref = ref_layer_norm_grad_affine,
    .flops = flops_grad,
};
