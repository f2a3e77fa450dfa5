/* sparse_outer.c - the gradient of the matrix of sparse_matmul: zero but in the rows (or columns)
 * that some entry touched.
 *
 * The result is written once.  Each of its rows belongs to one thread, and every element is a sum
 * in the order of the sparse rows, so the bits do not depend on the number of threads. */
#include <omp.h>

#include "graph/rule.h"
#include "ops/columns.h"
#include "ops/simd.h"
#include "ops/sparse.h"

enum { LANES = 8, PIECE = 512 }; /* columns that are cleared and filled at once: 16 KB of 8 rows */

/* Inputs at..at+2: value, index, dy. */
static bool infer_inputs(weft_infer *c, int at)
{
    return weft_infer_rows(c, at, "value", at + 1, "index", true) &&
           weft_infer_rows(c, at, "value", at + 2, "dy", false);
}

static weft_type type_of(const weft_call *c, int at, int64_t n)
{
    const weft_type *dy = weft_call_in(c, at + 2);
    int64_t d = dy->dim[dy->rank - 1];
    bool tb = weft_attr_int(c, "tb");
    return weft_type_make(dy->dtype, 2, (int64_t[]){tb ? d : n, tb ? n : d});
}

static void infer_sparse_outer(weft_infer *c)
{
    if (infer_inputs(c, 0))
        weft_infer_out(c, 0, type_of(c, 0, weft_attr_int(c, "n")));
}

static void infer_sparse_outer_add(weft_infer *c)
{
    const weft_type *into = weft_call_in(c, 0);
    if (!infer_inputs(c, 1))
        return;
    weft_type y = type_of(c, 1, into->rank == 2 ? into->dim[weft_attr_int(c, "tb") != 0] : 0);
    if (!weft_type_equal(&y, into))
        weft_call_fail(c, "into is %s, expected %s with the depth of dy: %s",
                       weft_type_text(c, into), weft_attr_int(c, "tb") ? "[d,n]" : "[n,d]",
                       weft_type_text(c, weft_call_in(c, 3)));
    weft_infer_out(c, 0, *into);
}

/* dw = S^T dy (or its transpose) for S = scatter(value, index), with G the gradient of dw:
 * dS = dy op(G)^T at the entries, ddy = S op(G). */
static void grad_at(weft_grad *g, int at)
{
    weft_val value = weft_x(g, at), index = weft_x(g, at + 1), dy = weft_x(g, at + 2),
             up = weft_dy(g, 0);
    int tb = weft_attr_int(g, "tb") != 0;
    if (weft_needs(g, at))
        weft_dx(g, at, weft_emit(g, "sparse_dot", (weft_val[]){dy, up, index}, 3, "tb=%d", !tb));
    if (weft_needs(g, at + 2))
        weft_dx(g, at + 2,
                weft_emit(g, "sparse_matmul", (weft_val[]){value, index, up}, 3, "tb=%d", tb));
}

static void grad_sparse_outer(weft_grad *g) { grad_at(g, 0); }

static void grad_sparse_outer_add(weft_grad *g)
{
    weft_dx(g, 0, weft_dy(g, 0));
    grad_at(g, 1);
}

/* n numbers that the sums start from: zeros, or those of `base`, which may be there already. */
static void start_at(float *y, const float *base, int64_t n)
{
    if (!base)
        memset(y, 0, (size_t)n * sizeof *y);
    else if (base != y)
        memcpy(y, base, (size_t)n * sizeof *y);
}

/* The inputs of both ops. */
typedef struct {
    const weft_tensor *index;
    const float *value, *dy, *base; /* base NULL: zeros */
} operands;

static operands operands_of(const weft_run *r)
{
    int at = r->n_in - 3;
    return (operands){&r->in[at + 1], r->in[at].data, r->in[at + 2].data,
                      at ? r->in[0].data : NULL};
}

/* ---- dw [n,d] ---- */
WEFT_CLONES static void sparse_outer_row(float *y, const weft_columns *l, const float *value,
                                         const float *dy, int64_t v, int64_t d)
{
    for (int32_t e = l->start[v]; e < l->start[v + 1]; e++) {
        const float *x = dy + l->row[e] * d;
        float scale = value[l->entry[e]];
#pragma omp simd
        for (int64_t i = 0; i < d; i++)
            y[i] += scale * x[i];
    }
}

static void run_by_rows(const weft_run *r)
{
    const operands in = operands_of(r);
    int64_t n = r->out[0].dim[0], d = r->out[0].dim[1];
    if (!weft_index_good(r, in.index, n))
        return;
    weft_columns l = weft_columns_make(r->scratch, in.index, n, 0, weft_row_count(in.index));
#pragma omp parallel for num_threads(r->threads)                                                   \
    schedule(dynamic, 64) if (r->out[0].count > WEFT_GRAIN)
    for (int64_t v = 0; v < n; v++) {
        float *y = (float *)r->out[0].data + v * d;
        start_at(y, in.base ? in.base + v * d : NULL, d);
        sparse_outer_row(y, &l, in.value, in.dy, v, d);
    }
}

/* ---- dw [d,n] ---- */
/* Columns of the list from u on that are below `to`, in 8 rows; returns the first one that is not.
 */
WEFT_CLONES static int32_t sparse_outer_piece(float *const *y, int lanes, const weft_columns *l,
                                              int32_t u, int64_t to, const float *value,
                                              const float *dy)
{
    for (; u < l->columns && l->column[u] < to; u++) {
        weft_f32x8 sum = {0};
        for (int32_t e = l->begin[u]; e < l->begin[u + 1]; e++)
            sum += value[e] * *(const weft_f32x8 *)(dy + (int64_t)LANES * l->row[e]);
        for (int i = 0; i < lanes; i++)
            y[i][l->column[u]] += sum[i];
    }
    return u;
}

/* Rows c..c+7 of dw; `lane` receives 8 columns of dy; `value` is in the order of the list. */
static void outer_lanes(const weft_run *r, const operands *in, const weft_columns *l,
                        const float *value, float *lane, int64_t c)
{
    int64_t d = r->out[0].dim[0], n = r->out[0].dim[1], rows = weft_row_count(in->index);
    int lanes = d - c < LANES ? (int)(d - c) : LANES;
    float *y[LANES];
    for (int i = 0; i < LANES; i++)
        y[i] = (float *)r->out[0].data + (i < lanes ? c + i : c) * n;
    for (int64_t row = 0; row < rows; row++)
        for (int i = 0; i < LANES; i++)
            lane[row * LANES + i] = i < lanes ? in->dy[row * d + c + i] : 0;
    int32_t u = 0;
    for (int64_t from = 0; from < n; from += PIECE) {
        int64_t size = n - from < PIECE ? n - from : PIECE;
        for (int i = 0; i < lanes; i++)
            start_at(y[i] + from, in->base ? in->base + (c + i) * n + from : NULL, size);
        u = sparse_outer_piece(y, lanes, l, u, from + size, value, lane);
    }
}

static void run_by_columns(const weft_run *r)
{
    const operands in = operands_of(r);
    int64_t d = r->out[0].dim[0], n = r->out[0].dim[1], rows = weft_row_count(in.index);
    float *lanes = r->scratch, *value = lanes + (int64_t)r->threads * rows * LANES;
    if (!weft_index_good(r, in.index, n))
        return;
    weft_columns l = weft_columns_make(value + in.index->count, in.index, n, 0, rows);
    for (int64_t e = 0; e < in.index->count; e++)
        value[e] = in.value[l.entry[e]];
#pragma omp parallel for num_threads(r->threads) schedule(static) if (r->out[0].count > WEFT_GRAIN)
    for (int64_t c = 0; c < d; c += LANES)
        outer_lanes(r, &in, &l, value, lanes + omp_get_thread_num() * rows * LANES, c);
}

/* ---- kernel and reference ---- */
static void kernel_sparse_outer(weft_kernel *c)
{
    const weft_tensor *index = weft_kernel_in(c, weft_call_n_in(c) - 2);
    bool tb = weft_attr_int(c, "tb");
    int64_t k = weft_row_size(index), rows = weft_row_count(index),
            n = weft_kernel_out(c, 0)->dim[tb];
    if (rows > weft_columns_most(k) || n > INT32_MAX - 2) {
        weft_call_fail(c, "%lld entries of rows of %lld are too many: both must be below 2^31",
                       (long long)index->count, (long long)n);
        return;
    }
    int64_t lanes = (int64_t)weft_kernel_threads(c) * rows * LANES + index->count;
    weft_kernel_run(c, tb ? run_by_columns : run_by_rows);
    weft_kernel_scratch(c,
                        (tb ? (size_t)lanes * sizeof(float) : 0) + weft_columns_bytes(n, rows, k));
}

static void ref_sparse_outer(const weft_run *r)
{
    int at = r->n_in - 3;
    const weft_tensor *value = &r->in[at], *index = value + 1, *dy = value + 2, *y = &r->out[0];
    bool tb = weft_run_int(r, "tb");
    int64_t k = weft_row_size(index), d = weft_row_size(dy), n = y->dim[tb];
    if (!weft_index_good(r, index, n))
        return;
    for (int64_t i = 0; i < y->count; i++)
        weft_put(y, i, at ? weft_get(&r->in[0], i) : 0);
    for (int64_t e = 0; e < index->count; e++)
        for (int64_t c = 0; c < d; c++) {
            int64_t v = weft_get_int(index, e), to = tb ? c * n + v : v * d + c;
            weft_put(y, to, weft_get(y, to) + weft_get(value, e) * weft_get(dy, e / k * d + c));
        }
}

static double flops_sparse_outer(const weft_call *c)
{
    int n = weft_call_n_in(c);
    const weft_type *dy = weft_call_in(c, n - 1);
    return 2.0 * (double)weft_type_count(weft_call_in(c, n - 2)) * (double)dy->dim[dy->rank - 1];
}

const weft_op weft_op_sparse_outer = {
    .name = "sparse_outer",
    .doc = "Gradient of a matrix that k-sparse rows were multiplied with: dw = scatter(value, "
           "index)^T @ dy, or its transpose if tb, over all rows.",
    .in = {{"value", WEFT_FLOAT, "[...,k]"},
           {"index", WEFT_INT, "[...,k]: positions of the values"},
           {"dy", WEFT_FLOAT, "[...,d]: gradient of the product"}},
    .out = {{"dw", WEFT_FLOAT, "[n,d]; with tb=1 [d,n]"}},
    .attr = {{"n", WEFT_ATTR_INT, 0, "numbers in a sparse row", 1, 1e12, NULL, true},
             {"tb", WEFT_ATTR_BOOL, 0, "dw is [d,n]"}},
    .infer = infer_sparse_outer,
    .grad = grad_sparse_outer,
    .kernel = kernel_sparse_outer,
    .ref = ref_sparse_outer,
    .flops = flops_sparse_outer,
};

const weft_op weft_op_sparse_outer_add = {
    .name = "sparse_outer_add",
    .doc = "Such a gradient added to another one: y = into + scatter(value, index)^T @ dy, or its "
           "transpose if tb. Made by a rewrite rule.",
    .in = {{"into", WEFT_FLOAT, "[n,d]; with tb=1 [d,n]"},
           {"value", WEFT_FLOAT, "[...,k]"},
           {"index", WEFT_INT, "[...,k]: positions of the values"},
           {"dy", WEFT_FLOAT, "[...,d]"}},
    .out = {{"y", WEFT_FLOAT, "as into"}},
    .attr = {{"tb", WEFT_ATTR_BOOL, 0, "y is [d,n]"}},
    .flags = WEFT_INPLACE,
    .infer = infer_sparse_outer_add,
    .grad = grad_sparse_outer_add,
    .kernel = kernel_sparse_outer,
    .ref = ref_sparse_outer,
    .flops = flops_sparse_outer,
};

/* ---- rules ---- */
/* Is v = scatter(value, index) with two axes?  Also where leading axes became one behind it. */
static bool sparse_rows(weft_match *m, weft_val v, weft_val *value, weft_val *index)
{
    const weft_type *t = weft_val_type(m, v);
    weft_val from = weft_match_is(m, v, "reshape") ? weft_match_in(m, v, 0) : v;
    const weft_type *s = weft_val_type(m, from);
    if (t->rank != 2 || s->rank < 1 || s->dim[s->rank - 1] != t->dim[1] ||
        !weft_match_may_bypass(m, v) || !weft_match_scatter(m, from, value, index))
        return false;
    weft_type rows = *weft_val_type(m, *index);
    rows = weft_type_make(rows.dtype, 2, (int64_t[]){t->dim[0], rows.dim[rows.rank - 1]});
    *index = weft_emit_reshape(m, *index, &rows);
    rows.dtype = t->dtype;
    *value = weft_emit_reshape(m, *value, &rows);
    return true;
}

/* x^T w of two tables of rows, one of them sparse. */
static void rule_sparse_outer(weft_match *m)
{
    weft_val value, index, x = weft_x(m, 0), w = weft_x(m, 1);
    double alpha = weft_attr_float(m, "alpha");
    if (!weft_attr_int(m, "ta") || weft_attr_int(m, "tb") || weft_call_in(m, 0)->rank != 2 ||
        weft_call_in(m, 1)->rank != 2 || weft_x(m, 2) >= 0)
        return;
    bool second = !sparse_rows(m, x, &value, &index);
    if (second && !sparse_rows(m, w, &value, &index))
        return;
    if (alpha != 1)
        value = weft_emit(m, "scale", &value, 1, "alpha=%.17g", alpha);
    weft_match_replace(m, 0,
                       weft_emit(m, "sparse_outer", (weft_val[]){value, index, second ? x : w}, 3,
                                 "n=%lld tb=%d", (long long)weft_call_out(m, 0)->dim[second],
                                 second));
}

const weft_rule weft_rule_sparse_outer = {
    .name = "sparse_outer",
    .root = "matmul",
    .doc = "matmul(scatter(v, i), y, ta=1) -> sparse_outer(v, i, y), matmul(x, scatter(v, i), "
           "ta=1) -> "
           "sparse_outer(v, i, x, tb=1)",
    .apply = rule_sparse_outer,
    .fuses = true,
};

/* No second table, and most of the first one is not touched again. */
static void rule_sparse_outer_add(weft_match *m)
{
    for (int i = 1; i >= 0; i--) {
        weft_val outer = weft_x(m, i), into = weft_x(m, !i);
        if (!weft_match_is(m, outer, "sparse_outer") || weft_match_uses(m, outer) != 1 ||
            !weft_type_equal(weft_val_type(m, into), weft_call_out(m, 0)))
            continue;
        weft_val in[] = {into, weft_match_in(m, outer, 0), weft_match_in(m, outer, 1),
                         weft_match_in(m, outer, 2)};
        weft_match_replace(m, 0,
                           weft_emit(m, "sparse_outer_add", in, 4, "tb=%d",
                                     weft_match_attr(m, outer, "tb")->i != 0));
        return;
    }
}

const weft_rule weft_rule_sparse_outer_add = {
    .name = "sparse_outer_add",
    .root = "add",
    .doc =
        "add(x, sparse_outer(v, i, dy)) -> sparse_outer_add(x, v, i, dy) when nothing else reads "
        "the second",
    .apply = rule_sparse_outer_add,
};
