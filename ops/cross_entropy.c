/* cross_entropy.c - negative log-likelihood of classes under softmax of logits, and its gradient.
 */
#include "ops/ids.h"
#include "ops/rows.h"

/* Leading sizes of logits without the class axis; false with the error recorded when targets
 * disagree. */
static bool infer_rows(weft_infer *c, weft_type *rows)
{
    const weft_type *x = weft_call_in(c, 0), *t = weft_call_in(c, 1);
    *rows = *x;
    if (x->rank < 1) {
        weft_call_fail(c, "logits is %s, expected [...,V]", weft_type_text(c, x));
        return false;
    }
    rows->rank--;
    bool same = t->rank == rows->rank;
    for (int i = 0; same && i < t->rank; i++)
        same = t->dim[i] == rows->dim[i];
    if (!same)
        weft_call_fail(c, "targets is %s, expected the shape of logits %s without its last axis",
                       weft_type_text(c, t), weft_type_text(c, x));
    return same;
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

/* Targets come from data files, see ids.h. */
static bool targets_good(const weft_run *r, int64_t classes)
{
    int64_t bad = weft_ids_check(&r->in[1], classes, weft_run_int(r, "ignore"));
    if (bad >= 0)
        weft_run_fail(r, "target %lld at position %lld is outside 0..%lld and is not ignore=%lld",
                      (long long)weft_get_int(&r->in[1], bad), (long long)bad,
                      (long long)classes - 1, (long long)weft_run_int(r, "ignore"));
    return bad < 0;
}

/* Rows that count: a scan of integers, cheap beside a row of logits. */
static int64_t count_rows(const weft_run *r)
{
    int64_t n = 0, ignore = weft_run_int(r, "ignore");
    for (int64_t i = 0; i < r->in[1].count; i++)
        n += weft_get_int(&r->in[1], i) != ignore;
    return n;
}

/* Mean of nll in the order of rows; 0 when every row is ignored. */
static double mean_nll(const weft_run *r)
{
    double sum = 0;
    int64_t n = count_rows(r);
    for (int64_t i = 0; i < r->in[1].count; i++)
        sum += weft_get(&r->out[1], i);
    return n ? sum / (double)n : 0;
}

/* ---- forward ---- */

WEFT_CLONES static double row_lse(const float *x, int64_t n) { return weft_lse_row(x, n); }

static void run_cross_entropy(const weft_run *r)
{
    const weft_tensor *x = &r->in[0], *t = &r->in[1];
    int64_t classes = x->dim[x->rank - 1], ignore = weft_run_int(r, "ignore");
    const float *logits = x->data;
    float *nll = r->out[1].data, *lse = r->out[2].data;
    if (!targets_good(r, classes))
        return;
#pragma omp parallel for num_threads(r->threads) if (x->count > WEFT_GRAIN)
    for (int64_t row = 0; row < t->count; row++) {
        int64_t id = weft_id(t, row);
        double l = row_lse(logits + row * classes, classes);
        lse[row] = (float)l;
        nll[row] = id == ignore ? 0 : (float)(l - logits[row * classes + id]);
    }
    ((float *)r->out[0].data)[0] = (float)mean_nll(r);
}

/* Plain loops: maximum, sum, logarithm; a row at a time. */
static void ref_cross_entropy(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    int64_t classes = x->dim[x->rank - 1], ignore = weft_run_int(r, "ignore");
    if (!targets_good(r, classes))
        return;
    for (int64_t row = 0; row < r->in[1].count; row++) {
        int64_t id = weft_get_int(&r->in[1], row);
        double max = -INFINITY, sum = 0;
        for (int64_t i = 0; i < classes; i++)
            max = fmax(max, weft_get(x, row * classes + i));
        for (int64_t i = 0; i < classes; i++)
            sum += exp(weft_get(x, row * classes + i) - max);
        double l = max + log(sum);
        weft_put(&r->out[2], row, l);
        weft_put(&r->out[1], row, id == ignore ? 0 : l - weft_get(x, row * classes + id));
    }
    weft_put(&r->out[0], 0, mean_nll(r));
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
    .doc = "Mean negative log-likelihood: loss = mean of nll over rows with targets != ignore (0 "
           "if none), "
           "nll = lse - logits[...,targets], lse = log sum exp(logits).",
    .in = {{"logits", WEFT_FLOAT, "unnormalised log-probabilities [...,V]"},
           {"targets", WEFT_INT, "class of each row [...], 0..V-1 or `ignore`"}},
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

static row_weight weight_of(const weft_run *r, int64_t row, double dloss)
{
    row_weight w = {0, row_value(r, 5, row)};
    if (weft_get_int(&r->in[1], row) != weft_run_int(r, "ignore"))
        w.nll = dloss + row_value(r, 4, row);
    return w;
}

/* What every row that counts gets of the loss. */
static double loss_share(const weft_run *r)
{
    int64_t n = count_rows(r);
    return n ? weft_get(&r->in[3], 0) / (double)n : 0;
}

/* exp(x - lse) is the probability; lse >= x, so the cheaper exponential does. */
WEFT_CLONES static void nll_grad_row(float *dx, const float *x, int64_t n, float lse, float scale)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dx[i] = scale * weft_exp_nonpositive(x[i] - lse);
}

/* One row; dx may be x. */
static void grad_one(const weft_run *r, int64_t row, int64_t classes, double share)
{
    const float *x = (const float *)r->in[0].data + row * classes;
    float *dx = (float *)r->out[0].data + row * classes;
    row_weight w = weight_of(r, row, share);
    if (w.nll == 0 && w.lse == 0) {
        memset(dx, 0, (size_t)classes * sizeof *dx);
        return;
    }
    nll_grad_row(dx, x, classes, ((const float *)r->in[2].data)[row], (float)(w.nll + w.lse));
    if (w.nll != 0)
        dx[weft_id(&r->in[1], row)] -= (float)w.nll;
}

static void run_cross_entropy_grad(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    int64_t classes = x->dim[x->rank - 1];
    if (!targets_good(r, classes))
        return;
    double share = loss_share(r);
#pragma omp parallel for num_threads(r->threads) if (x->count > WEFT_GRAIN)
    for (int64_t row = 0; row < r->in[1].count; row++)
        grad_one(r, row, classes, share);
}

/* The formula of the schema; dlogits may be logits, which are read just before. */
static void ref_cross_entropy_grad(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    int64_t classes = x->dim[x->rank - 1];
    if (!targets_good(r, classes))
        return;
    double share = loss_share(r);
    for (int64_t row = 0; row < r->in[1].count; row++) {
        row_weight w = weight_of(r, row, share);
        double lse = weft_get(&r->in[2], row);
        for (int64_t i = 0; i < classes; i++) {
            double p = exp(weft_get(x, row * classes + i) - lse);
            double hit = i == weft_get_int(&r->in[1], row) ? w.nll : 0;
            weft_put(&r->out[0], row * classes + i, (w.nll + w.lse) * p - hit);
        }
    }
}

const weft_op weft_op_cross_entropy_grad = {
    .name = "cross_entropy_grad",
    .doc = "Gradient of cross_entropy: dlogits = (a + dlse) * exp(logits - lse) - a * [class = "
           "target] with "
           "a = dloss / (rows that count) + dnll, and a = 0 where ignored.",
    .in = {{"logits", WEFT_FLOAT, "unnormalised log-probabilities [...,V]"},
           {"targets", WEFT_INT, "class of each row [...]"},
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
