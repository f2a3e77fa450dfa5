/* attention.c - causal self-attention of packed queries, keys and values, and its gradient; reached
 * by a rule.
 *
 * Blocked as in FlashAttention (Dao et al., 2022; Dao, 2023): scores exist one block at a time,
 * masked blocks are skipped, and backward computes the probabilities again from `lse`, so memory
 * grows with T, not with T * T. */
#include "ops/attention_kernel.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "graph/op.h"
#include "graph/rule.h"

/* Rows of y: every position from `from` on, `step` apart, or the first `rows` of them. */
static int64_t n_query(int64_t t, int64_t from, int64_t step, int64_t rows)
{
    int64_t all = from < t ? (t - from + step - 1) / step : 0;
    return rows ? rows : all;
}

static int64_t queries_of(const weft_call *c)
{
    return n_query(weft_call_in(c, 0)->dim[1], weft_attr_int(c, "from"), weft_attr_int(c, "step"),
                   weft_attr_int(c, "rows"));
}

/* Checks qkv [B,T,3C] against n_head, and the queries against T. */
static bool infer_qkv(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0);
    int64_t heads = weft_attr_int(c, "n_head");
    if (x->rank != 3 || x->dim[2] % (3 * heads))
        weft_call_fail(c, "qkv is %s, expected [B,T,3*C] with C a multiple of n_head=%lld",
                       weft_type_text(c, x), (long long)heads);
    else if (queries_of(c) < 1 ||
             weft_attr_int(c, "from") + (queries_of(c) - 1) * weft_attr_int(c, "step") >= x->dim[1])
        weft_call_fail(c,
                       "from=%lld step=%lld rows=%lld: the queries are not among the %lld "
                       "positions of qkv: %s",
                       (long long)weft_attr_int(c, "from"), (long long)weft_attr_int(c, "step"),
                       (long long)weft_attr_int(c, "rows"), (long long)x->dim[1],
                       weft_type_text(c, x));
    return !weft_call_failed(c);
}

static weft_type output_type(weft_infer *c)
{
    weft_type y = *weft_call_in(c, 0);
    y.dim[1] = queries_of(c);
    y.dim[2] /= 3;
    return y;
}

static weft_type lse_type(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0);
    return weft_type_make(x->dtype, 3,
                          (int64_t[]){x->dim[0], weft_attr_int(c, "n_head"), queries_of(c)});
}

static void infer_attention(weft_infer *c)
{
    if (!infer_qkv(c))
        return;
    weft_infer_out(c, 0, output_type(c));
    weft_infer_out(c, 1, lse_type(c));
}

static void grad_attention(weft_grad *g)
{
    if (weft_has_dy(g, 1))
        weft_call_fail(g, "lse is for the gradient of y and has none itself");
    weft_val in[] = {weft_x(g, 0), weft_y(g, 0), weft_y(g, 1), weft_dy(g, 0)};
    bool drops = weft_call_n_in(g) > 1;
    weft_dx(g, 0,
            weft_emit(g, drops ? "attention_dropout_grad" : "attention_grad", in, 4, "%s",
                      weft_attrs_text(g)));
}

/* ---- kernels ---- */
typedef struct {
    const attention_isa *isa;
    attention_head head;            /* sizes; pointers are set per task */
    int64_t b, h, keys, per_thread; /* keys: floats of all heads' K and V, first in the scratch */
    int rng;                        /* the input that gives random numbers, 0: no dropout */
    bool whole; /* backward: a task is a head; else a block of keys or queries. The bits are the
                   same. */
} attention_plan;

static attention_plan *plan_of(weft_kernel *k, bool backward)
{
    attention_plan *p = weft_kernel_data(k, sizeof *p);
    const weft_tensor *x = weft_kernel_in(k, 0);
    if (!p)
        return NULL;
    int given = backward ? 4 : 1;
    p->rng = weft_call_n_in(k) > given ? given : 0;
    p->isa = weft_attention_isa(0);
    p->b = x->dim[0];
    p->h = weft_attr_int(k, "n_head");
    p->head.t = x->dim[1];
    p->head.from = weft_attr_int(k, "from");
    p->head.step = weft_attr_int(k, "step");
    p->head.n_query = queries_of(k);
    p->head.c = x->dim[2] / 3;
    p->head.d = p->head.c / p->h;
    p->head.dp = (p->head.d + p->isa->panel - 1) / p->isa->panel * p->isa->panel;
    p->head.ld = weft_attention_ld(p->head.dp);
    p->head.scale = (float)weft_attr_float(k, "scale");
    /* Whole heads save one product in seven, blocks feed many threads. */
    p->whole = backward && p->b * p->h >= 2 * weft_kernel_threads(k);
    p->per_thread = weft_attention_work(p->head.dp, p->head.t, p->whole) +
                    (backward ? weft_attention_queries(&p->head, NULL) : 0);
    p->per_thread = (p->per_thread + 15) / 16 * 16;
    p->keys = p->b * p->h * 2 * p->head.t * p->head.ld;
    weft_kernel_scratch(k,
                        sizeof(float) * (size_t)(p->keys + p->per_thread * weft_kernel_threads(k)));
    weft_kernel_impl(k, p->isa->name);
    return p;
}

static int64_t blocks(int64_t t, int64_t size) { return (t + size - 1) / size; }

static float *work_of(const attention_plan *p, const weft_run *r)
{
    return (float *)r->scratch + p->keys + p->per_thread * omp_get_thread_num();
}

/* One head, and where its numbers begin in qkv, in y, and in lse. */
typedef struct {
    attention_head g;
    int64_t x, y, lse;
} head_task;

static head_task task_of(const attention_plan *p, const weft_run *r, int64_t head,
                         const weft_drop *drop)
{
    int64_t b = head / p->h, column = head % p->h * p->head.d;
    head_task k = {.g = p->head,
                   .x = b * p->head.t * 3 * p->head.c + column,
                   .y = b * p->head.n_query * p->head.c + column,
                   .lse = head * p->head.n_query};
    k.g.drop = p->rng ? drop : NULL;
    k.g.first = head * p->head.t * p->head.t;
    k.g.qkv = (const float *)r->in[0].data + k.x;
    k.g.k = (const float *)r->scratch + head * 2 * k.g.t * k.g.ld;
    k.g.v = k.g.k + k.g.t * k.g.ld;
    return k;
}

static weft_drop drop_of(const attention_plan *p, const weft_run *r)
{
    return p->rng ? weft_drop_of(r, p->rng) : (weft_drop){.factor = 1};
}

/* K and V of every head side by side, before the tasks that read them. */
static void copy_keys(const attention_plan *p, const weft_run *r)
{
    int64_t n = blocks(p->head.t, WEFT_ATTENTION_K), heads = p->b * p->h;
#pragma omp parallel for num_threads(r->threads) schedule(static)
    for (int64_t i = 0; i < n * heads; i++) {
        head_task k = task_of(p, r, i / n, NULL);
        int64_t k0 = i % n * WEFT_ATTENTION_K, left = k.g.t - k0;
        float *to = (float *)r->scratch + i / n * 2 * k.g.t * k.g.ld;
        p->isa->keys(&k.g, k0, left < WEFT_ATTENTION_K ? left : WEFT_ATTENTION_K, to,
                     to + k.g.t * k.g.ld);
    }
}

/* Tasks are heads x blocks of queries; the last blocks see the most keys and go first. */
static void run_attention(const weft_run *r)
{
    const attention_plan *p = r->data;
    const weft_drop drop = drop_of(p, r);
    float *y = r->out[0].data, *lse = r->out[1].data;
    int64_t n = blocks(p->head.n_query, WEFT_ATTENTION_Q), heads = p->b * p->h;
    copy_keys(p, r);
#pragma omp parallel for num_threads(r->threads) schedule(dynamic)
    for (int64_t i = 0; i < n * heads; i++) {
        head_task k = task_of(p, r, i % heads, &drop);
        p->isa->forward(&k.g, (n - 1 - i / heads) * WEFT_ATTENTION_Q, y + k.y, lse + k.lse,
                        work_of(p, r));
    }
}

/* dQ = 0 from position `at` to `end`; the kernels then write that of the queries. */
static void clear_queries(const attention_head *g, float *dqkv, int64_t at, int64_t end)
{
    if (g->n_query < g->t)
        for (; at < end; at++)
            memset(dqkv + at * 3 * g->c, 0, sizeof *dqkv * (size_t)g->d);
}

/* One block of queries, and the positions up to the next. */
static void grad_queries(const attention_plan *p, const attention_head *g, int64_t q0, float *dqkv,
                         float *work)
{
    int64_t next = q0 + WEFT_ATTENTION_Q;
    clear_queries(g, dqkv, q0 ? g->from + g->step * q0 : 0,
                  next < g->n_query ? g->from + g->step * next : g->t);
    p->isa->backward_queries(g, q0, dqkv, work);
}

static void run_attention_grad(const weft_run *r)
{
    const attention_plan *p = r->data;
    const weft_drop drop = drop_of(p, r);
    int64_t nq = blocks(p->head.n_query, WEFT_ATTENTION_Q),
            nk = blocks(p->head.t, WEFT_ATTENTION_K);
    int64_t n = p->whole ? 1 : nq + nk, heads = p->b * p->h;
    copy_keys(p, r);
#pragma omp parallel for num_threads(r->threads) schedule(dynamic)
    for (int64_t i = 0; i < n * heads; i++) {
        head_task k = task_of(p, r, i % heads, &drop);
        int64_t j = i / heads;
        float *work = work_of(p, r), *dqkv = (float *)r->out[0].data + k.x;
        work += weft_attention_queries(&k.g, work);
        k.g.y = (const float *)r->in[1].data + k.y;
        k.g.lse = (const float *)r->in[2].data + k.lse;
        k.g.dy = (const float *)r->in[3].data + k.y;
        if (p->whole) {
            clear_queries(&k.g, dqkv, 0, k.g.t);
            p->isa->backward(&k.g, dqkv, work);
        } else if (j < nk)
            p->isa->backward_keys(&k.g, j * WEFT_ATTENTION_K, dqkv, work);
        else
            grad_queries(p, &k.g, (nq - 1 - (j - nk)) * WEFT_ATTENTION_Q, dqkv, work);
    }
}

static void kernel_attention(weft_kernel *k)
{
    if (plan_of(k, false))
        weft_kernel_run(k, run_attention);
}

static void kernel_attention_grad(weft_kernel *k)
{
    if (plan_of(k, true))
        weft_kernel_run(k, run_attention_grad);
}

/* ---- references ---- */
typedef struct {
    const weft_run *r;
    int64_t b, h, t, c, d, from, step, rows; /* query row i stands at from + step * i */
    double scale;
    bool drops;
    weft_drop drop;
    double factor; /* 1 / (1 - p) */
} head_ref;

/* `rng`: the input that gives random numbers, if there is dropout. */
static head_ref ref_head(const weft_run *r, int64_t bh, int rng)
{
    int64_t heads = weft_run_int(r, "n_head"), c = r->in[0].dim[2] / 3, t = r->in[0].dim[1];
    int64_t from = weft_run_int(r, "from"), step = weft_run_int(r, "step");
    head_ref a = {.r = r,
                  .b = bh / heads,
                  .h = bh % heads,
                  .t = t,
                  .from = from,
                  .step = step,
                  .rows = n_query(t, from, step, weft_run_int(r, "rows")),
                  .c = c,
                  .d = c / heads,
                  .scale = weft_run_float(r, "scale"),
                  .drops = r->n_in > rng,
                  .factor = 1};
    if (a.drops) {
        a.drop = weft_drop_of(r, rng);
        a.factor = 1 / (1 - weft_run_float(r, "p"));
    }
    return a;
}

/* Element d of q (which = 0), k (1) or v (2) at position t. */
static int64_t qkv_at(const head_ref *a, int which, int64_t t, int64_t d)
{
    return ((a->b * a->t + t) * 3 + which) * a->c + a->h * a->d + d;
}

static int64_t y_at(const head_ref *a, int64_t t, int64_t d)
{
    return (a->b * a->rows + t) * a->c + a->h * a->d + d;
}

static int64_t ref_position(const head_ref *a, int64_t i) { return a->from + a->step * i; }

/* What dropout makes of the probability of query row i and key j: the factor. Probabilities are
 * numbered as in [B,n_head,T,T], whichever rows are asked for. */
static double ref_kept(const head_ref *a, int64_t i, int64_t j)
{
    int64_t row = (a->b * (a->c / a->d) + a->h) * a->t + ref_position(a, i);
    return a->drops && weft_drop_hits(&a->drop, row * a->t + j) ? 0 : a->factor;
}

static double ref_score(const head_ref *a, int64_t i, int64_t j)
{
    double s = 0;
    for (int64_t d = 0; d < a->d; d++)
        s += weft_get(&a->r->in[0], qkv_at(a, 0, ref_position(a, i), d)) *
             weft_get(&a->r->in[0], qkv_at(a, 1, j, d));
    return s * a->scale;
}

static double ref_lse(const head_ref *a, int64_t i)
{
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j <= ref_position(a, i); j++)
        max = fmax(max, ref_score(a, i, j));
    for (int64_t j = 0; j <= ref_position(a, i); j++)
        sum += exp(ref_score(a, i, j) - max);
    return max + log(sum);
}

static void add_to(const weft_tensor *t, int64_t i, double v)
{
    weft_put(t, i, weft_get(t, i) + v);
}

static void ref_attention(const weft_run *r)
{
    for (int64_t bh = 0; bh < r->in[0].dim[0] * weft_run_int(r, "n_head"); bh++) {
        head_ref a = ref_head(r, bh, 1);
        for (int64_t i = 0; i < a.rows; i++) {
            double lse = ref_lse(&a, i);
            weft_put(&r->out[1], bh * a.rows + i, lse);
            for (int64_t d = 0; d < a.d; d++)
                weft_put(&r->out[0], y_at(&a, i, d), 0);
            for (int64_t j = 0; j <= ref_position(&a, i); j++) {
                double p = exp(ref_score(&a, i, j) - lse) * ref_kept(&a, i, j);
                for (int64_t d = 0; d < a.d; d++)
                    add_to(&r->out[0], y_at(&a, i, d),
                           p * weft_get(&r->in[0], qkv_at(&a, 2, j, d)));
            }
        }
    }
}

/* Row i: ds = p * (dp - sum(dy * y)) * scale with dp[j] = dy . v[j]; with dropout by factors
 * kept[j], v has the weight kept * p, and dp the factor kept. */
static void ref_grad_row(const head_ref *a, int64_t bh, int64_t i)
{
    const weft_tensor *x = a->r->in, *y = x + 1, *dy = x + 3, *dx = a->r->out;
    double lse = weft_get(x + 2, bh * a->rows + i), delta = 0;
    for (int64_t d = 0; d < a->d; d++)
        delta += weft_get(dy, y_at(a, i, d)) * weft_get(y, y_at(a, i, d));
    for (int64_t j = 0; j <= ref_position(a, i); j++) {
        double p = exp(ref_score(a, i, j) - lse), kept = ref_kept(a, i, j), dp = 0;
        for (int64_t d = 0; d < a->d; d++)
            dp += weft_get(dy, y_at(a, i, d)) * weft_get(x, qkv_at(a, 2, j, d));
        double ds = p * (kept * dp - delta) * a->scale;
        for (int64_t d = 0; d < a->d; d++) {
            int64_t q = qkv_at(a, 0, ref_position(a, i), d), k = qkv_at(a, 1, j, d);
            add_to(dx, q, ds * weft_get(x, k));
            add_to(dx, k, ds * weft_get(x, q));
            add_to(dx, qkv_at(a, 2, j, d), kept * p * weft_get(dy, y_at(a, i, d)));
        }
    }
}

static void ref_attention_grad(const weft_run *r)
{
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_put(&r->out[0], i, 0);
    for (int64_t bh = 0; bh < r->in[0].dim[0] * weft_run_int(r, "n_head"); bh++) {
        head_ref a = ref_head(r, bh, 4);
        for (int64_t i = 0; i < a.rows; i++)
            ref_grad_row(&a, bh, i);
    }
}

/* ---- schema ---- */
#define ATTENTION_ATTRS                                                                            \
    {"n_head", WEFT_ATTR_INT, 0, "number of heads; divides C", 1, 65536, NULL, true},              \
        {"scale", WEFT_ATTR_FLOAT, 0, "factor of the scores, 1/sqrt(C/n_head)", 0, 0, NULL, true}, \
        {"from", WEFT_ATTR_INT, 0, "position of the first query", 0, 2e9},                         \
        {"step", WEFT_ATTR_INT, 1, "distance of the queries", 1, 2e9},                             \
    {                                                                                              \
        "rows", WEFT_ATTR_INT, 0, "number R of queries; 0: all to the end", 0, 2e9                 \
    }

/* Multiply-adds count two; only pairs that the mask leaves. */
static double flops(const weft_call *c, double products)
{
    const weft_type *x = weft_call_in(c, 0);
    double n = (double)queries_of(c), from = (double)weft_attr_int(c, "from"),
           step = (double)weft_attr_int(c, "step");
    double pairs = n * (from + 1) + step * n * (n - 1) / 2;
    return 2 * products * (double)x->dim[0] * pairs * (double)x->dim[2] / 3;
}

static double flops_attention(const weft_call *c) { return flops(c, 2); }
/* dv, dp, dq, dk. The scores, computed a second time instead of kept, are not counted:
 * recomputation is no work that the model asks for (the convention of model FLOPs: Chowdhery et
 * al., 2022, app. B). */
static double flops_attention_grad(const weft_call *c) { return flops(c, 4); }

const weft_op weft_op_attention = {
    .name = "attention",
    .doc =
        "Causal multi-head self-attention: y = merge_heads(causal_softmax(scale * q k^T) v) with "
        "q, k, v = split_heads(qkv), at the positions from + step * r, r < R; R = T unless said. "
        "Made "
        "by a rewrite rule from those ops.",
    .in = {{"qkv", WEFT_FLOAT, "queries, keys and values side by side [B,T,3*C]"}},
    .out = {{"y", WEFT_FLOAT, "weighted sums of values, of each query [B,R,C]"},
            {"lse", WEFT_FLOAT, "log sum exp of the scores of each query [B,n_head,R]"}},
    .attr = {ATTENTION_ATTRS},
    .infer = infer_attention,
    .grad = grad_attention,
    .kernel = kernel_attention,
    .ref = ref_attention,
    .flops = flops_attention,
};

#define ATTENTION_DROPOUT                                                                          \
    {                                                                                              \
        "p", WEFT_ATTR_FLOAT, 0, "probability of a zero", 0, 0.99                                  \
    }

/* An op of its own: attention without dropout then needs no random numbers, and equal nodes of it
 * are one. */
const weft_op weft_op_attention_dropout = {
    .name = "attention_dropout",
    .doc = "attention with dropout of the probabilities, in training and outside: y = "
           "merge_heads(dropout(causal_softmax(scale * q k^T)) v) with the same random zeros as "
           "the op dropout draws for [B,n_head,T,T]. Made by a rewrite rule, in training only.",
    .in = {{"qkv", WEFT_FLOAT, "queries, keys and values side by side [B,T,3*C]"},
           {"rng", WEFT_INT | WEFT_INPUT_RNG, "seed and step"}},
    .out = {{"y", WEFT_FLOAT, "weighted sums of values, of each query [B,R,C]"},
            {"lse", WEFT_FLOAT, "log sum exp of the scores of each query [B,n_head,R]"}},
    .attr = {ATTENTION_ATTRS, ATTENTION_DROPOUT},
    .flags = WEFT_DRAWS,
    .infer = infer_attention,
    .grad = grad_attention,
    .kernel = kernel_attention,
    .ref = ref_attention,
    .flops = flops_attention,
};

static void infer_attention_grad(weft_infer *c)
{
    if (!infer_qkv(c))
        return;
    weft_type y = output_type(c), lse = lse_type(c);
    if (!weft_type_equal(weft_call_in(c, 1), &y) || !weft_infer_same(c, 1, 3))
        weft_call_fail(c, "y and dy must be %s", weft_type_text(c, &y));
    else if (!weft_type_equal(weft_call_in(c, 2), &lse))
        weft_call_fail(c, "lse must be %s", weft_type_text(c, &lse));
    else
        weft_infer_out(c, 0, *weft_call_in(c, 0));
}

const weft_op weft_op_attention_grad = {
    .name = "attention_grad",
    .doc = "Gradient of attention: with p = exp(scale * q k^T - lse) and ds = p * (dy v^T - sum(dy "
           "* y)), "
           "dq = scale * ds k, dk = scale * ds^T q, dv = p^T dy.",
    .in = {{"qkv", WEFT_FLOAT, "as given to attention [B,T,3*C]"},
           {"y", WEFT_FLOAT, "output of attention [B,R,C]"},
           {"lse", WEFT_FLOAT, "output of attention [B,n_head,R]"},
           {"dy", WEFT_FLOAT, "gradient of y [B,R,C]"}},
    .out = {{"dqkv", WEFT_FLOAT, "gradient of qkv [B,T,3*C]"}},
    .attr = {ATTENTION_ATTRS},
    .infer = infer_attention_grad,
    .kernel = kernel_attention_grad,
    .ref = ref_attention_grad,
    .flops = flops_attention_grad,
};

const weft_op weft_op_attention_dropout_grad = {
    .name = "attention_dropout_grad",
    .doc = "Gradient of attention_dropout: with d = 0 or 1 / (1 - p), ds = p * (d * (dy v^T) - "
           "sum(dy * y)) and dv = (d * p)^T dy; the rest as in attention_grad.",
    .in = {{"qkv", WEFT_FLOAT, "as given to attention_dropout [B,T,3*C]"},
           {"y", WEFT_FLOAT, "output of attention_dropout [B,R,C]"},
           {"lse", WEFT_FLOAT, "output of attention_dropout [B,n_head,R]"},
           {"dy", WEFT_FLOAT, "gradient of y [B,R,C]"},
           {"rng", WEFT_INT | WEFT_INPUT_RNG, "seed and step"}},
    .out = {{"dqkv", WEFT_FLOAT, "gradient of qkv [B,T,3*C]"}},
    .attr = {ATTENTION_ATTRS, ATTENTION_DROPOUT},
    .flags = WEFT_DRAWS,
    .infer = infer_attention_grad,
    .kernel = kernel_attention_grad,
    .ref = ref_attention_grad,
    .flops = flops_attention_grad,
};

/* ---- the rule ---- */
/* Is v a product of two operands without bias, transposed or not on the right as asked, read only
 * by the chain? */
static bool plain_matmul(weft_match *m, weft_val v, bool tb)
{
    return weft_match_is(m, v, "matmul") && weft_match_uses(m, v) == 1 &&
           weft_match_in(m, v, 2) < 0 && !weft_match_attr(m, v, "ta")->i &&
           weft_match_attr(m, v, "tb")->i == tb;
}

/* Is v output `port` of the split_heads node whose output 0 is q? */
static bool split_part(weft_match *m, weft_val v, weft_val q, int port)
{
    return v >= 0 && weft_match_nth(m, q, port) == v && weft_match_port(m, v) == port;
}

static void rule_attention(weft_match *m)
{
    weft_val o = weft_x(m, 0), d = weft_match_in(m, o, 0), v = weft_match_in(m, o, 1), p = d;
    double drop = 0;
    if (weft_match_is(m, d, "dropout") && weft_match_uses(m, d) == 1) {
        drop = weft_match_attr(m, d, "p")->f;
        p = weft_match_in(m, d, 0);
    }
    weft_val s = weft_match_in(m, p, 0), q = weft_match_in(m, s, 0), k = weft_match_in(m, s, 1);
    if (!plain_matmul(m, o, false) || weft_match_attr(m, o, "alpha")->f != 1 ||
        !weft_match_is(m, p, "causal_softmax") || weft_match_in(m, p, 1) >= 0 ||
        weft_match_uses(m, p) != 1 || !plain_matmul(m, s, true) ||
        !weft_match_is(m, q, "split_heads") || !split_part(m, k, q, 1) || !split_part(m, v, q, 2) ||
        !weft_match_may_bypass(m, q) || !weft_match_may_bypass(m, k) ||
        !weft_match_may_bypass(m, v))
        return;
    weft_val qkv = weft_match_in(m, q, 0);
    long long heads = weft_match_attr(m, q, "n_head")->i;
    double scale = weft_match_attr(m, s, "alpha")->f;
    weft_val y;
    if (drop == 0) {
        y = weft_emit(m, "attention", &qkv, 1, "n_head=%lld scale=%.17g", heads, scale);
    } else {
        y = weft_emit(m, "attention_dropout", &qkv, 1, "n_head=%lld scale=%.17g p=%.17g", heads,
                      scale, drop);
        weft_match_draw_as(m, y, d); /* the same zeros as without the rule */
    }
    weft_match_replace(m, 0, y);
}

const weft_rule weft_rule_attention = {
    .name = "attention",
    .root = "merge_heads",
    .doc = "merge_heads(matmul(causal_softmax(matmul(q, k, tb=1, alpha)), v)) with q, k, v = "
           "split_heads(x) "
           "-> attention(x); with dropout of the probabilities -> attention_dropout(x)",
    .apply = rule_attention,
    .fuses = true,
};
