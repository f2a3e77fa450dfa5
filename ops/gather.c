/* gather.c - numbers of a row by their positions, and the other way round: numbers put at their
 * positions in a row of zeros (the dense meaning of a k-sparse row).
 *
 * Each is the gradient of the other, so gradients of gradients need nothing more. */
#include <string.h>

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
        weft_dx(g, 0,
                weft_emit(g, "scatter", (weft_val[]){weft_dy(g, 0), weft_x(g, 1)}, 2, "n=%lld",
                          (long long)x->dim[x->rank - 1]));
}

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
