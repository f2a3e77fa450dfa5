/* topk.c - the k largest of each row: as pairs of value and position (topk), or in their places
 * with zeros around them (topk_mask).
 *
 * Rows are independent, so threads share them out.  How a row is searched: largest.h. */
#include <omp.h>

#include "graph/rule.h"
#include "ops/largest.h"
#include "ops/sparse.h"

/* ---- shapes ---- */
static bool k_fits(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0);
    int64_t k = weft_attr_int(c, "k"), n = x->rank ? x->dim[x->rank - 1] : 0;
    if (!x->rank)
        weft_call_fail(c, "x is %s, expected at least one axis", weft_type_text(c, x));
    else if (k > n)
        weft_call_fail(c, "k=%lld is more than the %lld numbers in a row of x: %s", (long long)k,
                       (long long)n, weft_type_text(c, x));
    return x->rank && k <= n;
}

static void infer_topk(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0);
    int64_t k = weft_attr_int(c, "k");
    if (!k_fits(c) || (weft_call_has(c, 1) && !weft_infer_rows(c, 0, "x", 1, "among", true)))
        return;
    weft_infer_out(c, 0, weft_type_rows(x, x->dtype, k));
    weft_infer_out(c, 1, weft_type_rows(x, WEFT_I32, k));
}

static void infer_topk_mask(weft_infer *c)
{
    if (k_fits(c))
        weft_infer_out(c, 0, *weft_call_in(c, 0));
}

static int64_t last_size(weft_grad *g)
{
    const weft_type *x = weft_call_in(g, 0);
    return x->dim[x->rank - 1];
}

/* ---- gradients: to the numbers that were chosen ---- */
static void grad_topk(weft_grad *g)
{
    if (weft_has_dy(g, 0) && weft_needs(g, 0))
        weft_dx(g, 0, weft_emit_scatter(g, weft_dy(g, 0), weft_y(g, 1), last_size(g)));
}

/* The same nodes as the gradient of scatter(topk(x)), which topk_mask is: the positions cannot be
 * told from y, where a chosen zero looks like the others. */
static void grad_topk_mask(weft_grad *g)
{
    weft_val x = weft_x(g, 0);
    weft_val top = weft_emit(g, "topk", &x, 1, "%s", weft_attrs_text(g));
    weft_val at = weft_emit_nth(g, top, 1), dy = weft_emit2(g, "gather", weft_dy(g, 0), at);
    weft_dx(g, 0, weft_emit_scatter(g, dy, at, last_size(g)));
}

static void incr_topk(weft_incr *c) { weft_incr_rows(c, "topk", 3, 2); }
static void incr_topk_mask(weft_incr *c) { weft_incr_rows(c, "topk_mask", 1, 1); }

/* ---- selection ---- */
static void kernel_topk(weft_kernel *c)
{
    weft_largest *p = weft_kernel_data(c, sizeof *p);
    if (!p)
        return;
    *p = weft_largest_of(weft_row_size(weft_kernel_in(c, 0)), weft_attr_int(c, "k"));
    weft_kernel_scratch(c, p->bytes * (size_t)weft_kernel_threads(c));
}

typedef void put_row(const weft_run *r, weft_heap *h, int64_t row, int64_t n);

static void each_row(const weft_run *r, put_row *put)
{
    const weft_largest *p = r->data;
    const float *x = r->in[0].data, *among = r->n_in > 1 ? r->in[1].data : NULL;
    int64_t rows = weft_row_count(&r->in[0]);
#pragma omp parallel for num_threads(r->threads) schedule(static) if (r->in[0].count > WEFT_GRAIN)
    for (int64_t row = 0; row < rows; row++) {
        void *mine = (char *)r->scratch + p->bytes * (size_t)omp_get_thread_num();
        weft_heap h = weft_largest_row(p, mine, x + row * p->n, among ? among + row * p->n : NULL);
        put(r, &h, row, p->n);
    }
}

static void put_pairs(const weft_run *r, weft_heap *h, int64_t row, int64_t n)
{
    const float *x = (const float *)r->in[0].data + row * n;
    float *value = (float *)r->out[0].data + row * h->k;
    int32_t *index = (int32_t *)r->out[1].data + row * h->k;
    weft_heap_sort(h);
    for (int64_t j = 0; j < h->n; j++) {
        index[j] = (int32_t)weft_key_index(h->key[j]);
        value[j] = x[index[j]];
    }
}

static void put_in_place(const weft_run *r, weft_heap *h, int64_t row, int64_t n)
{
    const float *x = (const float *)r->in[0].data + row * n;
    float *y = (float *)r->out[0].data + row * n;
    memset(y, 0, (size_t)n * sizeof *y);
    for (int64_t j = 0; j < h->n; j++)
        y[weft_key_index(h->key[j])] = x[weft_key_index(h->key[j])];
}

static void run_topk(const weft_run *r) { each_row(r, put_pairs); }
static void run_topk_mask(const weft_run *r) { each_row(r, put_in_place); }

/* ---- references: each time the first of those that come after the one before ---- */
/* Does number i of a tensor come before number j? */
static bool comes_before(const weft_tensor *x, const weft_tensor *among, int64_t i, int64_t j)
{
    double a = weft_get(x, i), b = weft_get(x, j);
    bool out_a = among && weft_get(among, i) == 0, out_b = among && weft_get(among, j) == 0;
    if (out_a != out_b)
        return out_b;
    if (out_a || a == b || (isnan(a) && isnan(b)))
        return i < j;
    return a > b || isnan(b);
}

/* The number that follows number `last` of the same row (-1: the first one). */
static int64_t next_in_order(const weft_run *r, int64_t row, int64_t last)
{
    const weft_tensor *x = &r->in[0];
    const weft_tensor *among = r->n_in > 1 && r->in[1].data ? &r->in[1] : NULL;
    int64_t n = weft_row_size(x), best = -1;
    for (int64_t i = row * n; i < row * n + n; i++)
        if ((last < 0 || comes_before(x, among, last, i)) &&
            (best < 0 || comes_before(x, among, i, best)))
            best = i;
    return best;
}

static void ref_topk(const weft_run *r)
{
    int64_t n = weft_row_size(&r->in[0]), k = weft_row_size(&r->out[0]), at = -1;
    for (int64_t i = 0; i < r->out[0].count; i++) {
        at = next_in_order(r, i / k, i % k ? at : -1);
        weft_put(&r->out[0], i, weft_get(&r->in[0], at));
        weft_put(&r->out[1], i, (double)(at % n));
    }
}

static void ref_topk_mask(const weft_run *r)
{
    int64_t k = weft_run_int(r, "k"), at = -1;
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_put(&r->out[0], i, 0);
    for (int64_t i = 0; i < weft_row_count(&r->in[0]) * k; i++) {
        at = next_in_order(r, i / k, i % k ? at : -1);
        weft_put(&r->out[0], at, weft_get(&r->in[0], at));
    }
}

/* One comparison per number. */
static double flops_topk(const weft_call *c) { return (double)weft_type_count(weft_call_in(c, 0)); }

#define K_ATTR                                                                                     \
    {                                                                                              \
        "k", WEFT_ATTR_INT, 0, "how many; at most the numbers of a row", 1, 1e9, NULL, true        \
    }

const weft_op weft_op_topk = {
    .name = "topk",
    .doc = "The k largest of each row: index[...,j] = position of the j-th largest of x[...,:], "
           "value[...,j] = x[...,index[...,j]]. Equal numbers: the lower position first; NaN comes "
           "after all numbers. With `among`, positions where it is 0 come after all others, by "
           "position alone; their value is that of x.",
    .in = {{"x", WEFT_FLOAT, "rows [...,n]"},
           {"among", WEFT_FLOAT | WEFT_OPTIONAL,
            "as x: 0 where a position may be taken only when "
            "too few others are left"}},
    .out = {{"value", WEFT_FLOAT, "[...,k], largest first"},
            {"index", WEFT_INT, "i32[...,k]: their positions in the row"}},
    .attr = {K_ATTR},
    .infer = infer_topk,
    .grad = grad_topk,
    .incr = incr_topk,
    .kernel = kernel_topk,
    .run = run_topk,
    .ref = ref_topk,
    .flops = flops_topk,
};

const weft_op weft_op_topk_mask = {
    .name = "topk_mask",
    .doc = "The k largest of each row where they are, 0 elsewhere: y = scatter(topk(x)). The order "
           "is that of topk.",
    .in = {{"x", WEFT_FLOAT, "rows [...,n]"}},
    .out = {{"y", WEFT_FLOAT, "as x"}},
    .attr = {K_ATTR},
    .flags = WEFT_ROWS,
    .infer = infer_topk_mask,
    .grad = grad_topk_mask,
    .incr = incr_topk_mask,
    .kernel = kernel_topk,
    .run = run_topk_mask,
    .ref = ref_topk_mask,
    .flops = flops_topk,
};

/* The same numbers as pairs: what reads them can then leave the zeros alone. */
static void rule_topk_mask_pairs(weft_match *m)
{
    weft_val x = weft_x(m, 0), top = weft_emit(m, "topk", &x, 1, "%s", weft_attrs_text(m));
    weft_match_replace(m, 0, weft_emit_scatter(m, top, weft_emit_nth(m, top, 1), last_size(m)));
}

const weft_rule weft_rule_topk_mask_pairs = {
    .name = "topk_mask_pairs",
    .root = "topk_mask",
    .doc = "topk_mask(x) -> scatter(topk(x))",
    .apply = rule_topk_mask_pairs,
    .fuses = true,
};
