/* cross_entropy.c - negative log-likelihood of classes under softmax of logits, and its gradient.
 */
#include "ops/rows.h"
#include "ops/targets.h"

/* Leading sizes of logits without the class axis; false with the error recorded when targets
 * disagree. */
static bool infer_rows(weft_infer *c, weft_type *rows)
{
    *rows = *weft_call_in(c, 0);
    if (rows->rank < 1) {
        weft_call_fail(c, "logits is %s, expected [...,V]", weft_type_text(c, rows));
        return false;
    }
    rows->rank--;
    return weft_targets_infer(c, 0, "logits", 1);
}

/* lse is an output because the gradient needs it: it spares a pass over the logits, the widest
 * value of a language model. */
static void infer_cross_entropy(weft_infer *c)
{
    weft_type rows;
    if (!infer_rows(c, &rows))
        return;
    weft_infer_out(c, 0, weft_type_make(rows.dtype, 0, NULL));
    weft_infer_out(c, 1, rows);
    weft_infer_out(c, 2, rows);
}

/* One node for all three outputs; nll and lse only take part when the model reads them. */
static void grad_cross_entropy(weft_grad *g)
{
    weft_val in[] = {weft_x(g, 0),
                     weft_x(g, 1),
                     weft_y(g, 2),
                     weft_dy(g, 0),
                     weft_has_dy(g, 1) ? weft_dy(g, 1) : WEFT_NONE,
                     weft_has_dy(g, 2) ? weft_dy(g, 2) : WEFT_NONE};
    weft_dx(g, 0, weft_emit(g, "cross_entropy_grad", in, 6, "%s", weft_attrs_text(g)));
}

/* Targets of a forward or gradient node. */
static weft_targets targets_of(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    int64_t classes = x->dim[x->rank - 1];
    return weft_targets_of(r, 1, x->count / classes, classes);
}

/* ---- forward ---- */

WEFT_CLONES static double row_lse(const float *x, int64_t n) { return weft_lse_row(x, n); }

static void run_cross_entropy(const weft_run *r)
{
    const weft_targets t = targets_of(r);
    const float *logits = r->in[0].data;
    float *nll = r->out[1].data, *lse = r->out[2].data;
    if (!weft_targets_good(r, &t))
        return;
#pragma omp parallel for num_threads(r->threads) if (r->in[0].count > WEFT_GRAIN)
    for (int64_t row = 0; row < t.rows; row++) {
        const float *x = logits + row * t.classes;
        double l = row_lse(x, t.classes);
        lse[row] = (float)l;
        nll[row] = weft_targets_nll(&t, row, x, l);
    }
    ((float *)r->out[0].data)[0] = (float)(weft_targets_sum(&r->out[1]) * weft_targets_share(&t));
}

/* log sum exp of a row by plain loops: maximum, sum, logarithm. */
static double ref_lse(const weft_tensor *x, int64_t row, int64_t classes)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < classes; i++)
        max = fmax(max, weft_get(x, row * classes + i));
    for (int64_t i = 0; i < classes; i++)
        sum += exp(weft_get(x, row * classes + i) - max);
    return max + log(sum);
}

static void ref_cross_entropy(const weft_run *r)
{
    const weft_targets t = targets_of(r);
    double total = 0, counted = 0;
    if (!weft_targets_good(r, &t))
        return;
    for (int64_t row = 0; row < t.rows; row++) {
        double l = ref_lse(&r->in[0], row, t.classes), sum = 0, n = 0;
        for (int64_t j = 0; j < t.k; j++) {
            int64_t id = weft_get_int(&r->in[1], row * t.k + j);
            sum += id == t.ignore ? 0 : l - weft_get(&r->in[0], row * t.classes + id);
            n += id != t.ignore;
        }
        weft_put(&r->out[2], row, l);
        weft_put(&r->out[1], row, n > 0 ? sum / n : 0);
        total += n > 0 ? sum / n : 0;
        counted += n > 0;
    }
    weft_put(&r->out[0], 0, counted > 0 ? total / counted : 0);
}

/* Exponential (8), difference and sum. */
static double flops_cross_entropy(const weft_call *c)
{
    return 10.0 * (double)weft_type_count(weft_call_in(c, 0));
}

#define IGNORE_ATTR                                                                                \
    {                                                                                              \
        "ignore", WEFT_ATTR_INT, -1, "target of rows that do not count", -2147483648.0,            \
            2147483647.0                                                                           \
    }

const weft_op weft_op_cross_entropy = {
    .name = "cross_entropy",
    .doc = "Mean negative log-likelihood: loss = mean of nll over rows with a target != ignore (0 "
           "if none), nll = mean of lse - logits[...,target] over the targets of the row that are "
           "not ignore, lse = log sum exp(logits).",
    .in = {{"logits", WEFT_FLOAT, "unnormalised log-probabilities [...,V]"},
           {"targets", WEFT_INT,
            "class of each row [...], 0..V-1 or `ignore`; or [...,k]: k classes of each, "
            "the same one more than once too"}},
    .out = {{"loss", WEFT_FLOAT, "mean over the rows that count, scalar"},
            {"nll", WEFT_FLOAT, "negative log-likelihood of each row [...]; 0 where ignored"},
            {"lse", WEFT_FLOAT, "log of the sum of exponentials of each row [...]"}},
    .attr = {IGNORE_ATTR},
    .infer = infer_cross_entropy,
    .grad = grad_cross_entropy,
    .run = run_cross_entropy,
    .ref = ref_cross_entropy,
    .flops = flops_cross_entropy,
};

/* ---- gradient ---- */

/* Like the forward node, and one number a row for everything that came out of it. */
static void infer_cross_entropy_grad(weft_infer *c)
{
    weft_type rows;
    if (!infer_rows(c, &rows))
        return;
    for (int i = 2; i < 6; i++) {
        weft_type want = i == 3 ? weft_type_make(rows.dtype, 0, NULL) : rows;
        if (weft_call_has(c, i) && !weft_type_equal(weft_call_in(c, i), &want))
            weft_call_fail(c, "input %d is %s, expected %s", i,
                           weft_type_text(c, weft_call_in(c, i)), weft_type_text(c, &want));
    }
    weft_infer_out(c, 0, *weft_call_in(c, 0));
}

/* Cotangent of row's nll (loss included) and of its lse. */
typedef struct {
    double nll, lse;
} row_weight;

/* Element of an optional row vector; 0 when it is absent. */
static double row_value(const weft_run *r, int i, int64_t row)
{
    return i < r->n_in && r->in[i].data ? weft_get(&r->in[i], row) : 0;
}

static row_weight weight_of(const weft_run *r, const weft_targets *t, int64_t row, double dloss)
{
    row_weight w = {0, row_value(r, 5, row)};
    if (weft_targets_count(t, row))
        w.nll = dloss + row_value(r, 4, row);
    return w;
}

/* What every row that counts gets of the loss. */
static double loss_share(const weft_run *r, const weft_targets *t)
{
    return weft_get(&r->in[3], 0) * weft_targets_share(t);
}

/* exp(x - lse) is the probability; lse >= x, so the cheaper exponential does. */
WEFT_CLONES static void nll_grad_row(float *dx, const float *x, int64_t n, float lse, float scale)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dx[i] = scale * weft_exp_nonpositive(x[i] - lse);
}

/* One row; dx may be x. */
static void grad_one(const weft_run *r, const weft_targets *t, int64_t row, double share)
{
    const float *x = (const float *)r->in[0].data + row * t->classes;
    float *dx = (float *)r->out[0].data + row * t->classes;
    row_weight w = weight_of(r, t, row, share);
    if (w.nll == 0 && w.lse == 0) {
        memset(dx, 0, (size_t)t->classes * sizeof *dx);
        return;
    }
    nll_grad_row(dx, x, t->classes, ((const float *)r->in[2].data)[row], (float)(w.nll + w.lse));
    if (w.nll != 0)
        weft_targets_subtract(t, row, dx, w.nll);
}

static void run_cross_entropy_grad(const weft_run *r)
{
    const weft_targets t = targets_of(r);
    if (!weft_targets_good(r, &t))
        return;
    double share = loss_share(r, &t);
#pragma omp parallel for num_threads(r->threads) if (r->in[0].count > WEFT_GRAIN)
    for (int64_t row = 0; row < t.rows; row++)
        grad_one(r, &t, row, share);
}

/* Share of class i among the targets of a row that count. */
static double ref_hit(const weft_tensor *id, const weft_targets *t, int64_t row, int64_t i)
{
    double hits = 0, n = 0;
    for (int64_t j = 0; j < t->k; j++) {
        hits += weft_get_int(id, row * t->k + j) == i && i != t->ignore;
        n += weft_get_int(id, row * t->k + j) != t->ignore;
    }
    return n > 0 ? hits / n : 0;
}

/* The formula of the schema; dlogits may be logits, which are read just before. */
static void ref_cross_entropy_grad(const weft_run *r)
{
    const weft_targets t = targets_of(r);
    if (!weft_targets_good(r, &t))
        return;
    double share = loss_share(r, &t);
    for (int64_t row = 0; row < t.rows; row++) {
        row_weight w = weight_of(r, &t, row, share);
        double lse = weft_get(&r->in[2], row);
        for (int64_t i = 0; i < t.classes; i++) {
            double p = exp(weft_get(&r->in[0], row * t.classes + i) - lse);
            weft_put(&r->out[0], row * t.classes + i,
                     (w.nll + w.lse) * p - w.nll * ref_hit(&r->in[1], &t, row, i));
        }
    }
}

const weft_op weft_op_cross_entropy_grad = {
    .name = "cross_entropy_grad",
    .doc = "Gradient of cross_entropy: dlogits = (a + dlse) * exp(logits - lse) - a * (share of "
           "the class among the row's targets that are not ignore) with a = dloss / (rows that "
           "count) + dnll, and a = 0 where all are ignored.",
    .in = {{"logits", WEFT_FLOAT, "unnormalised log-probabilities [...,V]"},
           {"targets", WEFT_INT, "class of each row [...] or [...,k]"},
           {"lse", WEFT_FLOAT, "output lse of the forward node [...]"},
           {"dloss", WEFT_FLOAT, "gradient of loss, scalar"},
           {"dnll", WEFT_FLOAT | WEFT_OPTIONAL, "gradient of nll [...]"},
           {"dlse", WEFT_FLOAT | WEFT_OPTIONAL, "gradient of lse [...]"}},
    .out = {{"dlogits", WEFT_FLOAT, "gradient of logits [...,V]"}},
    .attr = {IGNORE_ATTR},
    .flags = WEFT_INPLACE,
    .infer = infer_cross_entropy_grad,
    .run = run_cross_entropy_grad,
    .ref = ref_cross_entropy_grad,
    .flops = flops_cross_entropy,
};
