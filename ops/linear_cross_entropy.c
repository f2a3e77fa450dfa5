/* linear_cross_entropy.c - a projection to classes and its cross-entropy without the logits in
 * memory; by a rule.
 *
 * The rows are taken in chunks: logits of a chunk, log sum exp, and, if gradients are wanted, the
 * gradient of the logits in place and its two products, while the chunk is at hand (as Liger Kernel
 * does, Hsu et al., 2024).  That needs no dloss: the loss is a scalar, so backward only scales.
 * Memory: one chunk instead of two arrays [rows, V]. */
#include <omp.h>

#include "graph/dnnl.h"
#include "graph/op.h"
#include "ops/largest.h"
#include "ops/linear_cross_entropy.h"
#include "ops/rows.h"
#include "ops/sparse.h"
#include "ops/targets.h"

static const int input_of[] = {X, W, BIAS}; /* of DX, DW, DB */

static bool infer_sizes(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, X), *w = weft_call_in(c, W), *b = weft_call_in(c, BIAS);
    if (x->rank < 1 || w->rank != 2 || w->dim[1] != x->dim[x->rank - 1])
        weft_call_fail(c, "x is %s and w %s, expected [...,C] and [V,C]", weft_type_text(c, x),
                       weft_type_text(c, w));
    else if (weft_call_has(c, BIAS) && (b->rank != 1 || b->dim[0] != w->dim[0]))
        weft_call_fail(c, "bias is %s, expected one number for each row of w %s",
                       weft_type_text(c, b), weft_type_text(c, w));
    else if (weft_attr_int(c, "db") && !weft_call_has(c, BIAS))
        weft_call_fail(c, "db=1 asks for the gradient of a bias, but there is none");
    else if (weft_attr_int(c, "topk") > w->dim[0])
        weft_call_fail(c, "topk=%lld is more than the classes of w: %s",
                       (long long)weft_attr_int(c, "topk"), weft_type_text(c, w));
    else
        weft_targets_infer(c, X, "x", TARGETS);
    return !weft_call_failed(c);
}

static void infer_linear_cross_entropy(weft_infer *c)
{
    static const char *const asked[] = {"dx", "dw", "db"};
    if (!infer_sizes(c))
        return;
    weft_type rows = *weft_call_in(c, X), scalar = weft_type_make(rows.dtype, 0, NULL);
    rows.rank--;
    weft_infer_out(c, LOSS, scalar);
    weft_infer_out(c, NLL, rows);
    weft_infer_out(c, LSE, rows);
    for (int i = 0; i < 3; i++)
        weft_infer_out(c, DX + i,
                       weft_attr_int(c, asked[i]) ? *weft_call_in(c, input_of[i]) : scalar);
    int64_t k = weft_attr_int(c, "topk");
    weft_type top = k ? weft_type_rows(weft_call_in(c, X), rows.dtype, k) : scalar;
    weft_infer_out(c, VALUE, top);
    top.dtype = WEFT_I32;
    weft_infer_out(c, INDEX, top);
}

/* Gradients of nll and lse differ from row to row: the unfused way. */
static void grad_by_logits(weft_grad *g)
{
    weft_val x = weft_x(g, X), w = weft_x(g, W);
    weft_val logits = weft_emit(g, "matmul", (weft_val[]){x, w, weft_x(g, BIAS)},
                                weft_call_has(g, BIAS) ? 3 : 2, "tb=1");
    weft_val in[] = {logits,
                     weft_x(g, TARGETS),
                     weft_y(g, LSE),
                     weft_dy(g, LOSS),
                     weft_has_dy(g, NLL) ? weft_dy(g, NLL) : WEFT_NONE,
                     weft_has_dy(g, LSE) ? weft_dy(g, LSE) : WEFT_NONE};
    weft_val d = weft_emit(g, "cross_entropy_grad", in, 6, "ignore=%lld",
                           (long long)weft_attr_int(g, "ignore"));
    weft_type flat_d = *weft_call_in(g, W), flat_x = flat_d; /* [rows,V] and [rows,C] */
    flat_d.dim[0] = flat_x.dim[0] = weft_type_count(weft_call_out(g, LSE));
    flat_d.dim[1] = weft_call_in(g, W)->dim[0];
    if (weft_needs(g, X))
        weft_dx(g, X, weft_emit2(g, "matmul", d, w));
    if (weft_needs(g, W)) {
        weft_val both[] = {weft_emit_reshape(g, d, &flat_d), weft_emit_reshape(g, x, &flat_x)};
        weft_dx(g, W, weft_emit(g, "matmul", both, 2, "ta=1"));
    }
    weft_dx(g, BIAS, d);
}

/* The largest logits: k columns of the product for each row. */
static void grad_by_largest(weft_grad *g)
{
    weft_val d = weft_dy(g, VALUE), index = weft_y(g, INDEX);
    const weft_type *t = weft_val_type(g, d);
    int64_t classes = weft_call_in(g, W)->dim[0], entries = weft_type_count(t);
    weft_type flat = weft_type_make(t->dtype, 1, &entries), flat_index = flat;
    flat_index.dtype = WEFT_I32;
    if (weft_needs(g, X))
        weft_dx(g, X, weft_emit3(g, "sparse_matmul", d, index, weft_x(g, W)));
    if (weft_needs(g, W))
        weft_dx(g, W,
                weft_emit(g, "sparse_outer", (weft_val[]){d, index, weft_x(g, X)}, 3, "n=%lld",
                          (long long)classes));
    if (weft_needs(g, BIAS))
        weft_dx(g, BIAS,
                weft_emit_scatter(g, weft_emit_reshape(g, d, &flat),
                                  weft_emit_reshape(g, index, &flat_index), classes));
}

/* A second node that gives gradients as well; the rule below makes one of the two. */
static void grad_linear_cross_entropy(weft_grad *g)
{
    weft_val in[4];
    if (weft_has_dy(g, DX) || weft_has_dy(g, DW) || weft_has_dy(g, DB)) {
        weft_call_fail(g, "second derivatives are not available");
        return;
    }
    if (weft_has_dy(g, VALUE))
        grad_by_largest(g);
    if (weft_has_dy(g, NLL) || weft_has_dy(g, LSE)) {
        grad_by_logits(g);
        return;
    }
    if (!weft_has_dy(g, LOSS))
        return;
    weft_val y = weft_emit(g, "linear_cross_entropy", in, weft_linear_inputs(g, in),
                           "ignore=%lld dx=%d dw=%d db=%d", (long long)weft_attr_int(g, "ignore"),
                           weft_needs(g, X), weft_needs(g, W), weft_needs(g, BIAS));
    for (int i = 0; i < 3; i++)
        if (weft_needs(g, input_of[i]))
            weft_dx(g, input_of[i],
                    weft_emit2(g, "mul", weft_emit_nth(g, y, DX + i), weft_dy(g, LOSS)));
}

/* ---- kernel ---- */
/* Products of a chunk of `rows` rows; absent ones NULL. */
typedef struct {
    const weft_gemm *logits, *dx, *dw_first, *dw_more;
} chunk_products;

typedef struct {
    int64_t rows, classes, width, chunk; /* N, V, C, rows of a chunk */
    chunk_products whole, rest;          /* rest: the last chunk, if it is smaller */
    bool dx, dw, db;
    weft_largest largest; /* k = 0: not asked for */
} plan;

/* Rows of a chunk: 64 MiB of logits, at least 256 so that the products stay near full speed, even
 * parts of N.  A function of sizes alone, because the order of sums depends on it. */
static int64_t chunk_rows(int64_t rows, int64_t classes)
{
    int64_t most = ((int64_t)64 << 20) / (4 * classes);
    most = most < 256 ? 256 : most;
    int64_t n = (rows + most - 1) / most, even = (rows + n - 1) / n;
    even = (even + 15) / 16 * 16;
    return even < rows ? even : rows;
}

static chunk_products products(weft_kernel *k, const plan *p, int64_t rows)
{
    int64_t v = p->classes, c = p->width;
    chunk_products g = {0};
    weft_gemm_desc d = {.batch = 1, .dtype = WEFT_F32, .alpha = 1};
    d.m = rows, d.n = v, d.k = c; /* x W^T */
    d.a_row = c, d.a_col = 1, d.b_row = 1, d.b_col = c, d.c_row = v;
    d.bias = weft_call_has(k, BIAS);
    g.logits = weft_kernel_gemm(k, &d);
    d.bias = false;
    d.m = rows, d.n = c, d.k = v; /* dlogits W */
    d.a_row = v, d.a_col = 1, d.b_row = c, d.b_col = 1, d.c_row = c;
    g.dx = p->dx ? weft_kernel_gemm(k, &d) : NULL;
    d.m = v, d.n = c, d.k = rows; /* dlogits^T x */
    d.a_row = 1, d.a_col = v, d.b_row = c, d.b_col = 1, d.c_row = c;
    g.dw_first = p->dw ? weft_kernel_gemm(k, &d) : NULL;
    d.accumulate = true;
    g.dw_more = p->dw ? weft_kernel_gemm(k, &d) : NULL;
    return g;
}

/* Rows [from, from + n) of everything. */
typedef struct {
    const weft_run *r;
    weft_targets targets;
    float *logits;
    int64_t from, n;
    float share; /* 1 / rows that count */
    bool grad;
} chunk_run;

/* lse and nll of row i of the chunk; then its logits become their gradient. */
WEFT_CLONES static void finish_row(const chunk_run *c, int64_t i)
{
    int64_t n = c->targets.classes, row = c->from + i;
    float *x = c->logits + i * n;
    double l = weft_lse_row(x, n);
    ((float *)c->r->out[LSE].data)[row] = (float)l;
    ((float *)c->r->out[NLL].data)[row] = weft_targets_nll(&c->targets, row, x, l);
    if (!c->grad)
        return;
    if (!weft_targets_count(&c->targets, row)) {
        memset(x, 0, (size_t)n * sizeof *x);
        return;
    }
    float base = (float)l;
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        x[j] = c->share * weft_exp_nonpositive(x[j] - base);
    weft_targets_subtract(&c->targets, row, x, c->share);
}

/* Scratch for the logits of a chunk; what comes behind is aligned as the scratch itself. */
static size_t logits_bytes(const plan *p)
{
    return (sizeof(float) * (size_t)(p->chunk * p->classes) + 63) / 64 * 64;
}

/* The largest logits of row i of the chunk, while they are logits. */
static void take_largest(const plan *p, const chunk_run *c, int64_t i)
{
    char *space = (char *)c->logits + logits_bytes(p);
    weft_heap h =
        weft_largest_row(&p->largest, space + p->largest.bytes * (size_t)omp_get_thread_num(),
                         c->logits + i * p->classes, NULL);
    weft_heap_sort(&h);
    for (int64_t j = 0, to = (c->from + i) * h.k; j < h.k; j++, to++) {
        int64_t at = weft_key_index(h.key[j]);
        ((int32_t *)c->r->out[INDEX].data)[to] = (int32_t)at;
        ((float *)c->r->out[VALUE].data)[to] = c->logits[i * p->classes + at];
    }
}

enum { COLUMNS = 256 }; /* of the bias, that a task sums */

/* db[0..n-1] += (or = for the first chunk) sums of columns, row after row. */
WEFT_CLONES static void add_columns(float *db, const float *x, int64_t rows, int64_t stride,
                                    int64_t n, bool first)
{
    double sum[COLUMNS] = {0};
    for (int64_t i = 0; i < rows; i++) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            sum[j] += x[i * stride + j];
    }
    for (int64_t j = 0; j < n; j++)
        db[j] = (float)(first ? sum[j] : db[j] + sum[j]);
}

static void run_bias(const plan *p, const chunk_run *c)
{
    float *db = c->r->out[DB].data;
#pragma omp parallel for num_threads(c->r->threads) schedule(static)
    for (int64_t at = 0; at < p->classes; at += COLUMNS) {
        int64_t n = p->classes - at < COLUMNS ? p->classes - at : COLUMNS;
        add_columns(db + at, c->logits + at, c->n, p->classes, n, !c->from);
    }
}

static void run_chunk(const plan *p, const chunk_run *c)
{
    const weft_run *r = c->r;
    const chunk_products *g = c->n == p->chunk ? &p->whole : &p->rest;
    const float *x = (const float *)r->in[X].data + c->from * p->width, *w = r->in[W].data;
    weft_gemm_run(g->logits, r, x, w, r->n_in > BIAS ? r->in[BIAS].data : NULL, c->logits);
#pragma omp parallel for num_threads(r->threads) schedule(static)
    for (int64_t i = 0; i < c->n; i++) {
        if (p->largest.k)
            take_largest(p, c, i);
        finish_row(c, i);
    }
    if (p->dx)
        weft_gemm_run(g->dx, r, c->logits, w, NULL, (float *)r->out[DX].data + c->from * p->width);
    if (p->dw)
        weft_gemm_run(c->from ? g->dw_more : g->dw_first, r, c->logits, x, NULL, r->out[DW].data);
    if (p->db)
        run_bias(p, c);
}

static weft_targets targets_of(const weft_run *r)
{
    return weft_targets_of(r, TARGETS, r->out[LSE].count, r->in[W].dim[0]);
}

/* Mean of nll; outputs that were not asked for are zero scalars. */
static void finish(const weft_run *r, double share)
{
    static const char *const asked[] = {"dx", "dw", "db"};
    weft_put(&r->out[LOSS], 0, weft_targets_sum(&r->out[NLL]) * share);
    for (int i = 0; i < 3; i++)
        if (!weft_run_int(r, asked[i]))
            weft_put(&r->out[DX + i], 0, 0);
    for (int o = VALUE; o <= INDEX && !weft_run_int(r, "topk"); o++)
        weft_put(&r->out[o], 0, 0);
}

static void run_linear_cross_entropy(const weft_run *r)
{
    const plan *p = r->data;
    const weft_targets t = targets_of(r);
    if (!weft_targets_good(r, &t))
        return;
    double share = weft_targets_share(&t);
    chunk_run c = {.r = r,
                   .targets = t,
                   .logits = r->scratch,
                   .share = (float)share,
                   .grad = p->dx || p->dw || p->db};
    for (; c.from < p->rows; c.from += c.n) {
        c.n = p->rows - c.from < p->chunk ? p->rows - c.from : p->chunk;
        run_chunk(p, &c);
    }
    finish(r, share);
}

static void kernel_linear_cross_entropy(weft_kernel *k)
{
    const weft_tensor *w = weft_kernel_in(k, W);
    plan *p = weft_kernel_data(k, sizeof *p);
    if (!p)
        return;
    p->rows = weft_kernel_out(k, LSE)->count;
    p->classes = w->dim[0];
    p->width = w->dim[1];
    p->chunk = chunk_rows(p->rows, p->classes);
    p->dx = weft_attr_int(k, "dx");
    p->dw = weft_attr_int(k, "dw");
    p->db = weft_attr_int(k, "db");
    p->whole = products(k, p, p->chunk);
    if (p->rows % p->chunk)
        p->rest = products(k, p, p->rows % p->chunk);
    size_t select = 0;
    if (weft_attr_int(k, "topk")) {
        p->largest = weft_largest_of(p->classes, weft_attr_int(k, "topk"));
        select = p->largest.bytes * (size_t)weft_kernel_threads(k);
    }
    weft_kernel_scratch(k, logits_bytes(p) + select);
    weft_kernel_run(k, run_linear_cross_entropy);
}

/* ---- reference ---- */
static double ref_logit(const weft_run *r, int64_t row, int64_t class)
{
    int64_t c = r->in[W].dim[1];
    double sum = r->n_in > BIAS && r->in[BIAS].data ? weft_get(&r->in[BIAS], class) : 0;
    for (int64_t i = 0; i < c; i++)
        sum += weft_get(&r->in[X], row * c + i) * weft_get(&r->in[W], class * c + i);
    return sum;
}

static void add_to(const weft_tensor *t, int64_t i, double v)
{
    weft_put(t, i, weft_get(t, i) + v);
}

/* dx += d w[class], dw[class] += d x, db[class] += d for one logit's gradient d. */
static void ref_add(const weft_run *r, int64_t row, int64_t class, double d)
{
    int64_t c = r->in[W].dim[1];
    for (int64_t i = 0; i < c; i++) {
        if (weft_run_int(r, "dx"))
            add_to(&r->out[DX], row * c + i, d * weft_get(&r->in[W], class * c + i));
        if (weft_run_int(r, "dw"))
            add_to(&r->out[DW], class * c + i, d * weft_get(&r->in[X], row * c + i));
    }
    if (weft_run_int(r, "db"))
        add_to(&r->out[DB], class, d);
}

static void ref_row(const weft_run *r, const weft_targets *t, int64_t row, double share)
{
    double max = -INFINITY, sum = 0, nll = 0, n = (double)weft_targets_count(t, row);
    for (int64_t i = 0; i < t->classes; i++)
        max = fmax(max, ref_logit(r, row, i));
    for (int64_t i = 0; i < t->classes; i++)
        sum += exp(ref_logit(r, row, i) - max);
    double l = max + log(sum);
    for (int64_t i = 0; n > 0 && i < t->classes; i++)
        ref_add(r, row, i, share * exp(ref_logit(r, row, i) - l));
    for (int64_t j = 0; j < t->k; j++) {
        int64_t id = weft_get_int(t->id, row * t->k + j);
        if (id == t->ignore)
            continue;
        nll += (l - ref_logit(r, row, id)) / n;
        ref_add(r, row, id, -share / n);
    }
    weft_put(&r->out[LSE], row, l);
    weft_put(&r->out[NLL], row, nll);
}

/* Does logit a of a row come before logit b, in the order of topk? */
static bool comes_before(const weft_run *r, int64_t row, int64_t a, int64_t b)
{
    double x = ref_logit(r, row, a), y = ref_logit(r, row, b);
    if (x == y || (isnan(x) && isnan(y)))
        return a < b;
    return x > y || isnan(y);
}

static void ref_largest(const weft_run *r, const weft_targets *t)
{
    int64_t k = weft_run_int(r, "topk"), last = -1;
    for (int64_t i = 0; i < t->rows * k; i++) {
        int64_t row = i / k, best = -1;
        for (int64_t at = 0; at < t->classes; at++)
            if ((i % k == 0 || comes_before(r, row, last, at)) &&
                (best < 0 || comes_before(r, row, at, best)))
                best = at;
        weft_put(&r->out[VALUE], i, ref_logit(r, row, best));
        weft_put(&r->out[INDEX], i, (double)best);
        last = best;
    }
}

static void ref_linear_cross_entropy(const weft_run *r)
{
    const weft_targets t = targets_of(r);
    if (!weft_targets_good(r, &t))
        return;
    double share = weft_targets_share(&t);
    for (int o = DX; o <= DB; o++)
        for (int64_t i = 0; i < r->out[o].count; i++)
            weft_put(&r->out[o], i, 0);
    for (int64_t row = 0; row < t.rows; row++)
        ref_row(r, &t, row, share);
    ref_largest(r, &t);
    finish(r, share);
}

/* ---- schema ---- */
static double flops_linear_cross_entropy(const weft_call *c)
{
    double products = 1 + (double)weft_attr_int(c, "dx") + (double)weft_attr_int(c, "dw");
    const weft_type *w = weft_call_in(c, W);
    return (2 * products * (double)w->dim[1] + 10) * (double)w->dim[0] *
           (double)weft_type_count(weft_call_out(c, LSE));
}

const weft_op weft_op_linear_cross_entropy = {
    .name = "linear_cross_entropy",
    .doc =
        "Cross-entropy of logits = x w^T + bias that are never stored: loss = mean of nll over "
        "rows with a target != ignore (0 if none), nll = mean of lse - logits[...,target] over "
        "the targets of the row that are not ignore, lse = log sum exp(logits), and on demand "
        "dx, dw, db = gradients of loss and value, index = topk(logits). Made by a rewrite rule.",
    .in = {{"x", WEFT_FLOAT, "rows [...,C]"},
           {"w", WEFT_FLOAT, "class vectors [V,C]"},
           {"targets", WEFT_INT,
            "class of each row [...], 0..V-1 or `ignore`; or [...,k]: k classes"},
           {"bias", WEFT_FLOAT | WEFT_OPTIONAL, "[V]"}},
    .out = {{"loss", WEFT_FLOAT, "mean over the rows that count, scalar"},
            {"nll", WEFT_FLOAT, "negative log-likelihood of each row [...]; 0 where ignored"},
            {"lse", WEFT_FLOAT, "log of the sum of exponentials of each row [...]"},
            {"dx", WEFT_FLOAT, "gradient of loss for x, or a scalar 0 if dx=0"},
            {"dw", WEFT_FLOAT, "gradient of loss for w, or a scalar 0 if dw=0"},
            {"db", WEFT_FLOAT, "gradient of loss for bias, or a scalar 0 if db=0"},
            {"value", WEFT_FLOAT, "the largest logits [...,topk], or a scalar 0 if topk=0"},
            {"index", WEFT_INT, "their classes i32[...,topk], or a scalar 0 if topk=0"}},
    .attr = {{.name = "ignore",
              .kind = WEFT_ATTR_INT,
              .def = -1,
              .help = "target of rows that do not count",
              .min = -2147483648.0,
              .max = 2147483647.0},
             {.name = "dx", .kind = WEFT_ATTR_BOOL, .help = "compute the gradient for x"},
             {.name = "dw", .kind = WEFT_ATTR_BOOL, .help = "compute the gradient for w"},
             {.name = "db", .kind = WEFT_ATTR_BOOL, .help = "compute the gradient for bias"},
             {.name = "topk",
              .kind = WEFT_ATTR_INT,
              .min = 0,
              .max = 1e9,
              .help = "how many of the largest logits to give"}},
    .infer = infer_linear_cross_entropy,
    .grad = grad_linear_cross_entropy,
    .kernel = kernel_linear_cross_entropy,
    .ref = ref_linear_cross_entropy,
    .flops = flops_linear_cross_entropy,
};
