/* gather.c - numbers of a row by their positions, and the other way round: numbers put at their
 * positions in a row of zeros (the dense meaning of a k-sparse row).
 *
 * Each is the gradient of the other, so gradients of gradients need nothing more. */
#include <string.h>

#include "graph/rule.h"
#include "ops/ids.h"
#include "ops/loops.h"
#include "ops/simd.h"
#include "ops/sparse.h"

/* ---- gather ---- */
static void infer_gather(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0), *index = weft_call_in(c, 1);
    if (weft_infer_rows(c, 0, "x", 1, "index", false))
        weft_infer_out(c, 0, weft_type_rows(x, x->dtype, index->dim[index->rank - 1]));
}

static void grad_gather(weft_grad *g)
{
    const weft_type *x = weft_call_in(g, 0);
    if (weft_needs(g, 0))
        weft_dx(g, 0, weft_emit_scatter(g, weft_dy(g, 0), weft_x(g, 1), x->dim[x->rank - 1]));
}

/* 3, here and below 7: a bit for each input that is rows, not weights */
static void incr_gather(weft_incr *c) { weft_incr_rows(c, "gather", 3, 1); }

/* One row; elements of 1, 2, 4 or 8 bytes, whatever they mean. */
static void gather_row(char *y, const char *x, const weft_tensor *index, int64_t first, int64_t k,
                       size_t size)
{
    for (int64_t j = 0; j < k; j++)
        memcpy(y + (size_t)j * size, x + (size_t)weft_id(index, first + j) * size, size);
}

static void run_gather(const weft_run *r)
{
    const weft_tensor *x = &r->in[0], *index = &r->in[1];
    int64_t n = weft_row_size(x), k = weft_row_size(index), rows = weft_row_count(x);
    size_t size = weft_dtype_size(x->dtype);
    if (!weft_index_good(r, index, n))
        return;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (index->count > WEFT_GRAIN)
    for (int64_t row = 0; row < rows; row++)
        gather_row((char *)r->out[0].data + (size_t)(row * k) * size,
                   (const char *)x->data + (size_t)(row * n) * size, index, row * k, k, size);
}

static void ref_gather(const weft_run *r)
{
    int64_t n = weft_row_size(&r->in[0]), k = weft_row_size(&r->in[1]);
    if (!weft_index_good(r, &r->in[1], n))
        return;
    for (int64_t i = 0; i < r->in[1].count; i++)
        weft_ref_move(&r->out[0], i, &r->in[0], i / k * n + weft_get_int(&r->in[1], i));
}

const weft_op weft_op_gather = {
    .name = "gather",
    .doc = "Numbers of each row by position: y[...,j] = x[...,index[...,j]]. An index outside "
           "0..n-1 stops the run.",
    .in = {{"x", WEFT_ANY, "rows [...,n]"},
           {"index", WEFT_INT, "positions [...,k], the axes of x before the last one"}},
    .out = {{"y", WEFT_ANY, "[...,k], element type of x"}},
    .infer = infer_gather,
    .grad = grad_gather,
    .incr = incr_gather,
    .run = run_gather,
    .ref = ref_gather,
};

/* ---- scatter ---- */
static void infer_scatter(weft_infer *c)
{
    const weft_type *value = weft_call_in(c, 0);
    if (weft_infer_rows(c, 0, "value", 1, "index", true))
        weft_infer_out(c, 0, weft_type_rows(value, value->dtype, weft_attr_int(c, "n")));
}

static void grad_scatter(weft_grad *g)
{
    if (weft_needs(g, 0))
        weft_dx(g, 0, weft_emit2(g, "gather", weft_dy(g, 0), weft_x(g, 1)));
}

static void incr_scatter(weft_incr *c) { weft_incr_rows(c, "scatter", 3, 1); }

/* A row of zeros is written at the speed of memory; the few additions find it in cache. */
static void run_scatter(const weft_run *r)
{
    const weft_tensor *index = &r->in[1];
    int64_t n = weft_row_size(&r->out[0]), k = weft_row_size(index), rows = weft_row_count(index);
    if (!weft_index_good(r, index, n))
        return;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (r->out[0].count > WEFT_GRAIN)
    for (int64_t row = 0; row < rows; row++) {
        const float *value = (const float *)r->in[0].data + row * k;
        float *y = (float *)r->out[0].data + row * n;
        memset(y, 0, (size_t)n * sizeof *y);
        /* in order, by one thread: equal positions add up to the same bits on any number of threads
         */
        for (int64_t j = 0; j < k; j++)
            y[weft_id(index, row * k + j)] += value[j];
    }
}

static void ref_scatter(const weft_run *r)
{
    const weft_tensor *index = &r->in[1], *y = &r->out[0];
    int64_t n = weft_row_size(y), k = weft_row_size(index);
    if (!weft_index_good(r, index, n))
        return;
    for (int64_t i = 0; i < y->count; i++)
        weft_put(y, i, 0);
    for (int64_t i = 0; i < index->count; i++) {
        int64_t to = i / k * n + weft_get_int(index, i);
        weft_put(y, to, weft_get(y, to) + weft_get(&r->in[0], i));
    }
}

static double flops_scatter(const weft_call *c)
{
    return (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_scatter = {
    .name = "scatter",
    .doc = "Numbers at their positions, 0 elsewhere: y[...,i] = sum of value[...,j] over j with "
           "index[...,j] = i. An index outside 0..n-1 stops the run.",
    .in = {{"value", WEFT_FLOAT, "[...,k]"},
           {"index", WEFT_INT, "[...,k]: positions, in any order"}},
    .out = {{"y", WEFT_FLOAT, "rows [...,n]"}},
    .attr = {{"n", WEFT_ATTR_INT, 0, "numbers in a row of y", 1, 1e12, NULL, true}},
    .infer = infer_scatter,
    .grad = grad_scatter,
    .incr = incr_scatter,
    .run = run_scatter,
    .ref = ref_scatter,
    .flops = flops_scatter,
};

/* Where a position comes twice, gather gives the sum of two values, not either of them. */
static void rule_gather_scatter(weft_match *m)
{
    weft_val value, index;
    if (weft_match_scatter(m, weft_x(m, 0), &value, &index) && index == weft_x(m, 1) &&
        weft_match_distinct(m, index))
        weft_match_replace(m, 0, value);
}

const weft_rule weft_rule_gather_scatter = {
    .name = "gather_scatter",
    .root = "gather",
    .doc = "gather(scatter(v, i), i) -> v for different positions",
    .apply = rule_gather_scatter,
    .fuses = true,
};

/* A product of wide tensors of which a few numbers are asked for. */
static void rule_gather_mul(weft_match *m)
{
    weft_val x = weft_x(m, 0), index = weft_x(m, 1), part[2];
    if (!weft_match_is(m, x, "mul") || weft_match_uses(m, x) != 1)
        return;
    /* a factor that is repeated along rows has other positions than the product */
    for (int i = 0; i < 2; i++)
        if (!weft_type_equal(weft_val_type(m, weft_match_in(m, x, i)), weft_val_type(m, x)))
            return;
    for (int i = 0; i < 2; i++)
        part[i] = weft_emit2(m, "gather", weft_match_in(m, x, i), index);
    weft_match_replace(m, 0, weft_emit2(m, "mul", part[0], part[1]));
}

const weft_rule weft_rule_gather_mul = {
    .name = "gather_mul",
    .root = "gather",
    .doc = "gather(mul(a, b), i) -> mul(gather(a, i), gather(b, i)) when nothing else reads the "
           "product of equal sizes",
    .apply = rule_gather_mul,
    .fuses = true,
};

/* ---- scatter_add ---- */
static void infer_scatter_add(weft_infer *c)
{
    if (weft_infer_rows(c, 1, "value", 2, "index", true) &&
        weft_infer_rows(c, 0, "into", 1, "value", false))
        weft_infer_like_first(c);
}

static void grad_scatter_add(weft_grad *g)
{
    weft_dx(g, 0, weft_dy(g, 0));
    if (weft_needs(g, 1))
        weft_dx(g, 1, weft_emit2(g, "gather", weft_dy(g, 0), weft_x(g, 2)));
}

static void incr_scatter_add(weft_incr *c) { weft_incr_rows(c, "scatter_add", 7, 1); }

/* y may be `into` itself: then only the entries are touched. */
static void run_scatter_add(const weft_run *r)
{
    const weft_tensor *index = &r->in[2];
    int64_t n = weft_row_size(&r->out[0]), k = weft_row_size(index), rows = weft_row_count(index);
    if (!weft_index_good(r, index, n))
        return;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (r->out[0].count > WEFT_GRAIN)
    for (int64_t row = 0; row < rows; row++) {
        const float *value = (const float *)r->in[1].data + row * k,
                    *into = (const float *)r->in[0].data + row * n;
        float *y = (float *)r->out[0].data + row * n;
        if (y != into)
            memcpy(y, into, (size_t)n * sizeof *y);
        for (int64_t j = 0; j < k; j++)
            y[weft_id(index, row * k + j)] += value[j];
    }
}

static void ref_scatter_add(const weft_run *r)
{
    const weft_tensor *index = &r->in[2], *y = &r->out[0];
    int64_t n = weft_row_size(y), k = weft_row_size(index);
    if (!weft_index_good(r, index, n))
        return;
    for (int64_t i = 0; i < y->count; i++)
        weft_put(y, i, weft_get(&r->in[0], i));
    for (int64_t i = 0; i < index->count; i++) {
        int64_t to = i / k * n + weft_get_int(index, i);
        weft_put(y, to, weft_get(y, to) + weft_get(&r->in[1], i));
    }
}

static double flops_scatter_add(const weft_call *c)
{
    return (double)weft_type_count(weft_call_in(c, 1));
}

const weft_op weft_op_scatter_add = {
    .name = "scatter_add",
    .doc = "Numbers added at their positions: y = into + scatter(value, index). An index outside "
           "0..n-1 stops the run. Made by a rewrite rule.",
    .in = {{"into", WEFT_FLOAT, "rows [...,n]"},
           {"value", WEFT_FLOAT, "[...,k]"},
           {"index", WEFT_INT, "[...,k]: positions, in any order; equal ones add up"}},
    .out = {{"y", WEFT_FLOAT, "as into"}},
    .flags = WEFT_INPLACE,
    .infer = infer_scatter_add,
    .grad = grad_scatter_add,
    .incr = incr_scatter_add,
    .run = run_scatter_add,
    .ref = ref_scatter_add,
    .flops = flops_scatter_add,
};

/* If others read the scatter, its dense rows are stored anyway, and nothing is saved. */
static void rule_scatter_add(weft_match *m)
{
    for (int i = 0; i < 2; i++) {
        weft_val value, index, into = weft_x(m, !i);
        if (!weft_match_scatter(m, weft_x(m, i), &value, &index) ||
            weft_match_uses(m, weft_x(m, i)) != 1 ||
            !weft_type_equal(weft_val_type(m, into), weft_call_out(m, 0)) ||
            !weft_type_equal(weft_val_type(m, weft_x(m, i)), weft_call_out(m, 0)))
            continue;
        weft_match_replace(m, 0, weft_emit3(m, "scatter_add", into, value, index));
        return;
    }
}

const weft_rule weft_rule_scatter_add = {
    .name = "scatter_add",
    .root = "add",
    .doc = "add(x, scatter(v, i)) -> scatter_add(x, v, i) when nothing else reads the second",
    .apply = rule_scatter_add,
};
