/* kl_divergence.c - Kullback-Leibler divergence of two softmax distributions, from their logits,
 * and its gradients.
 *
 * Logits of both are the widest values of a model: no probabilities are stored. A row is read while
 * it is in cache, and the gradients need no more than three numbers a row besides. */
#include "graph/op.h"
#include "ops/rows.h"

enum { LOSS, KL, LSE_P, LSE_Q }; /* outputs */
enum { BLOCK = 1024 };

static void infer_kl_divergence(weft_infer *c)
{
    const weft_type *p = weft_call_in(c, 0);
    if (!weft_infer_same(c, 0, 1))
        return;
    if (p->rank < 1) {
        weft_call_fail(c, "p is %s, expected [...,V]", weft_type_text(c, p));
        return;
    }
    weft_type rows = *p;
    rows.rank--;
    weft_infer_out(c, LOSS, weft_type_make(rows.dtype, 0, NULL));
    for (int i = KL; i <= LSE_Q; i++)
        weft_infer_out(c, i, rows);
}

/* A node for each: the teacher's logits are usually frozen, and nothing is computed for them. */
static void grad_kl_divergence(weft_grad *g)
{
    if (weft_has_dy(g, LSE_P) || weft_has_dy(g, LSE_Q)) {
        weft_call_fail(g, "p_lse and q_lse have no gradients; the op of a log sum exp with one is "
                          "cross_entropy");
        return;
    }
    weft_val in[] = {weft_x(g, 0),
                     weft_x(g, 1),
                     weft_y(g, KL),
                     weft_y(g, LSE_P),
                     weft_y(g, LSE_Q),
                     weft_dy(g, LOSS),
                     weft_has_dy(g, KL) ? weft_dy(g, KL) : WEFT_NONE};
    for (int i = 0; i < 2; i++)
        if (weft_needs(g, i))
            weft_dx(g, i, weft_emit(g, "kl_divergence_grad", in, 7, "by=%s", i ? "q" : "p"));
}

/* ---- forward ---- */
/* sum p * (log p - log q) with p = exp(x - p_lse). The logits are subtracted first, which is exact
 * where they are close; 0 * log 0 = 0. */
WEFT_CLONES static double kl_row(const float *x, const float *z, int64_t n, double p_lse,
                                 double q_lse)
{
    float e[BLOCK], base = (float)p_lse, shift = (float)(p_lse - q_lse);
    double sum = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t len = n - at < BLOCK ? n - at : BLOCK;
#pragma omp simd
        for (int64_t i = 0; i < len; i++) {
            float p = weft_exp_nonpositive(x[at + i] - base);
            float log_ratio = (x[at + i] - z[at + i]) - shift;
            e[i] = p == 0 ? 0 : p * log_ratio;
        }
        sum += weft_sum(e, len);
    }
    return sum;
}

WEFT_CLONES static double kl_lse(const float *x, int64_t n) { return weft_lse_row(x, n); }

static void run_kl_divergence(const weft_run *r)
{
    const weft_tensor *p = &r->in[0];
    int64_t n = p->dim[p->rank - 1], rows = r->out[KL].count;
    float *kl = r->out[KL].data, *p_lse = r->out[LSE_P].data, *q_lse = r->out[LSE_Q].data;
    double sum = 0;
#pragma omp parallel for num_threads(r->threads) if (p->count > WEFT_GRAIN)
    for (int64_t i = 0; i < rows; i++) {
        const float *x = (const float *)p->data + i * n, *z = (const float *)r->in[1].data + i * n;
        double a = kl_lse(x, n), b = kl_lse(z, n);
        kl[i] = (float)kl_row(x, z, n, a, b);
        p_lse[i] = (float)a;
        q_lse[i] = (float)b;
    }
    for (int64_t i = 0; i < rows; i++)
        sum += kl[i];
    ((float *)r->out[LOSS].data)[0] = (float)(sum / (double)rows);
}

/* log sum exp of row `row` by plain loops. */
static double ref_lse(const weft_tensor *x, int64_t row, int64_t n)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = row * n; i < (row + 1) * n; i++)
        max = fmax(max, weft_get(x, i));
    for (int64_t i = row * n; i < (row + 1) * n; i++)
        sum += exp(weft_get(x, i) - max);
    return max + log(sum);
}

static void ref_kl_divergence(const weft_run *r)
{
    const weft_tensor *p = &r->in[0], *q = &r->in[1];
    int64_t n = p->dim[p->rank - 1], rows = r->out[KL].count;
    double total = 0;
    for (int64_t row = 0; row < rows; row++) {
        double a = ref_lse(p, row, n), b = ref_lse(q, row, n), sum = 0;
        for (int64_t i = row * n; i < (row + 1) * n; i++) {
            double log_p = weft_get(p, i) - a;
            sum += exp(log_p) == 0 ? 0 : exp(log_p) * (log_p - (weft_get(q, i) - b));
        }
        weft_put(&r->out[KL], row, sum);
        weft_put(&r->out[LSE_P], row, a);
        weft_put(&r->out[LSE_Q], row, b);
        total += sum / (double)rows;
    }
    weft_put(&r->out[LOSS], 0, total);
}

/* By convention an exponential is 8: two log sum exp (10 each), p (9), ratio (2), product and sum
 * (2). */
static double flops_kl_divergence(const weft_call *c)
{
    return 33.0 * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_kl_divergence = {
    .name = "kl_divergence",
    .doc = "Kullback-Leibler divergence of two distributions given by logits: loss = mean of kl "
           "over rows, kl = sum P * (log P - log Q) with P = softmax(p), Q = softmax(q).",
    .in = {{"p", WEFT_FLOAT,
            "logits of the distribution that is approached, say a teacher's "
            "[...,V]"},
           {"q", WEFT_FLOAT, "logits of the one that approaches it, as p"}},
    .out = {{"loss", WEFT_FLOAT, "mean over all rows, scalar"},
            {"kl", WEFT_FLOAT, "divergence of each row [...]"},
            {"p_lse", WEFT_FLOAT,
             "log of the sum of exponentials of each row of p [...]; has no "
             "gradient"},
            {"q_lse", WEFT_FLOAT, "the same of q [...]"}},
    .infer = infer_kl_divergence,
    .grad = grad_kl_divergence,
    .run = run_kl_divergence,
    .ref = ref_kl_divergence,
    .flops = flops_kl_divergence,
};

/* ---- gradients ---- */
static void infer_kl_divergence_grad(weft_infer *c)
{
    if (!weft_infer_same(c, 0, 1))
        return;
    weft_type rows = *weft_call_in(c, 0);
    if (rows.rank < 1) {
        weft_call_fail(c, "p is %s, expected [...,V]", weft_type_text(c, &rows));
        return;
    }
    rows.rank--;
    for (int i = 2; i < 7; i++) {
        weft_type want = i == 5 ? weft_type_make(rows.dtype, 0, NULL) : rows;
        if (weft_call_has(c, i) && !weft_type_equal(weft_call_in(c, i), &want))
            weft_call_fail(c, "input %d is %s, expected %s", i,
                           weft_type_text(c, weft_call_in(c, i)), weft_type_text(c, &want));
    }
    weft_infer_out(c, 0, *weft_call_in(c, 0));
}

/* Cotangent of a row's kl, the loss included. */
static double row_weight(const weft_run *r, int64_t row, int64_t rows)
{
    double own = r->n_in > 6 && r->in[6].data ? weft_get(&r->in[6], row) : 0;
    return weft_get(&r->in[5], 0) / (double)rows + own;
}

/* Numbers of one row. */
typedef struct {
    float scale, kl, p_lse, q_lse, shift;
} row_numbers;

/* dp = scale * P * (log P - log Q - kl); dp may be x. */
WEFT_CLONES static void grad_p_row(float *dp, const float *x, const float *z, int64_t n,
                                   const row_numbers *k)
{
    float scale = k->scale, base = k->p_lse, shift = k->shift, kl = k->kl;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float p = weft_exp_nonpositive(x[i] - base), log_ratio = (x[i] - z[i]) - shift;
        dp[i] = p == 0 ? 0 : scale * p * (log_ratio - kl);
    }
}

/* dq = scale * (Q - P); dq may be x. */
WEFT_CLONES static void grad_q_row(float *dq, const float *x, const float *z, int64_t n,
                                   const row_numbers *k)
{
    float scale = k->scale, p_lse = k->p_lse, q_lse = k->q_lse;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dq[i] = scale * (weft_exp_nonpositive(z[i] - q_lse) - weft_exp_nonpositive(x[i] - p_lse));
}

static void run_kl_divergence_grad(const weft_run *r)
{
    const weft_tensor *p = &r->in[0];
    int64_t n = p->dim[p->rank - 1], rows = r->in[2].count;
    bool by_q = weft_run_int(r, "by");
#pragma omp parallel for num_threads(r->threads) if (p->count > WEFT_GRAIN)
    for (int64_t i = 0; i < rows; i++) {
        const float *x = (const float *)p->data + i * n, *z = (const float *)r->in[1].data + i * n;
        row_numbers k = {.scale = (float)row_weight(r, i, rows),
                         .kl = ((const float *)r->in[2].data)[i],
                         .p_lse = ((const float *)r->in[3].data)[i],
                         .q_lse = ((const float *)r->in[4].data)[i]};
        k.shift = k.p_lse - k.q_lse;
        (by_q ? grad_q_row : grad_p_row)((float *)r->out[0].data + i * n, x, z, n, &k);
    }
}

/* The formulas of the schema; the output may be p, whose element is read just before. */
static void ref_kl_divergence_grad(const weft_run *r)
{
    const weft_tensor *p = &r->in[0];
    int64_t n = p->dim[p->rank - 1], rows = r->in[2].count;
    for (int64_t i = 0; i < p->count; i++) {
        double w = row_weight(r, i / n, rows), log_p = weft_get(p, i) - weft_get(&r->in[3], i / n);
        double log_q = weft_get(&r->in[1], i) - weft_get(&r->in[4], i / n);
        double by_p =
            exp(log_p) == 0 ? 0 : exp(log_p) * (log_p - log_q - weft_get(&r->in[2], i / n));
        weft_put(&r->out[0], i, w * (weft_run_int(r, "by") ? exp(log_q) - exp(log_p) : by_p));
    }
}

static double flops_kl_divergence_grad(const weft_call *c)
{
    return (weft_attr_int(c, "by") ? 20.0 : 14.0) * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_kl_divergence_grad = {
    .name = "kl_divergence_grad",
    .doc = "Gradient of kl_divergence: by q, d = a * (Q - P); by p, d = a * P * (log P - log Q - "
           "kl), with a = dloss / rows + dkl, log P = p - p_lse, log Q = q - q_lse.",
    .in = {{"p", WEFT_FLOAT, "logits [...,V]"},
           {"q", WEFT_FLOAT, "logits, as p"},
           {"kl", WEFT_FLOAT, "output kl of the forward node [...]"},
           {"p_lse", WEFT_FLOAT, "its output p_lse [...]"},
           {"q_lse", WEFT_FLOAT, "its output q_lse [...]"},
           {"dloss", WEFT_FLOAT, "gradient of loss, scalar"},
           {"dkl", WEFT_FLOAT | WEFT_OPTIONAL, "gradient of kl [...]"}},
    .out = {{"d", WEFT_FLOAT, "gradient of p or q [...,V]"}},
    .attr = {{.name = "by",
              .kind = WEFT_ATTR_ENUM,
              .help = "which gradient",
              .choices = "p|q",
              .required = true}},
    .flags = WEFT_INPLACE,
    .infer = infer_kl_divergence_grad,
    .run = run_kl_divergence_grad,
    .ref = ref_kl_divergence_grad,
    .flops = flops_kl_divergence_grad,
};
