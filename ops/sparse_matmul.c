/* sparse_matmul.c - k-sparse rows times a matrix: only k rows (or columns) of it are touched per
 * row.
 *
 * A matrix [n,d] gives its rows, which are contiguous.  A matrix [d,n], the layout of nn.Linear, is
 * not transposed: the entries are sorted by position, and 8 rows of it at a time are walked from
 * left to right, while the sums of 8 columns of y are kept for all sparse rows (columns.h). */
#include <omp.h>

#include "graph/rule.h"
#include "ops/columns.h"
#include "ops/ids.h"
#include "ops/simd.h"
#include "ops/sparse.h"

enum { LANES = 8, MOST_ROWS = 2048 }; /* sums of one walk: 64 KB, in the second-level cache */

/* ---- shapes ---- */
static void infer_sparse_matmul(weft_infer *c)
{
    const weft_type *value = weft_call_in(c, 0), *w = weft_call_in(c, 2),
                    *bias = weft_call_in(c, 3);
    bool tb = weft_attr_int(c, "tb");
    if (!weft_infer_rows(c, 0, "value", 1, "index", true))
        return;
    if (w->rank != 2) {
        weft_call_fail(c, "w is %s, expected two axes", weft_type_text(c, w));
        return;
    }
    int64_t d = w->dim[!tb];
    if (weft_call_has(c, 3) && (bias->rank != 1 || bias->dim[0] != d))
        weft_call_fail(c, "bias must be [%lld], as y has with w: %s%s, but is %s", (long long)d,
                       weft_type_text(c, w), tb ? " and tb=1" : "", weft_type_text(c, bias));
    weft_infer_out(c, 0, weft_type_rows(value, value->dtype, d));
}

/* y = S op(w) + bias for S = scatter(value, index):  dS = dy op(w)^T, of which only the entries are
 * asked for;  dw = S^T dy or its transpose;  dbias = sum of dy over rows. */
static void grad_sparse_matmul(weft_grad *g)
{
    weft_val value = weft_x(g, 0), index = weft_x(g, 1), w = weft_x(g, 2), dy = weft_dy(g, 0);
    int tb = weft_attr_int(g, "tb") != 0;
    if (weft_needs(g, 0))
        weft_dx(g, 0, weft_emit(g, "sparse_dot", (weft_val[]){dy, w, index}, 3, "tb=%d", !tb));
    if (weft_needs(g, 2))
        weft_dx(g, 2,
                weft_emit(g, "sparse_outer", (weft_val[]){value, index, dy}, 3, "n=%lld tb=%d",
                          (long long)weft_call_in(g, 2)->dim[tb], tb));
    if (weft_needs(g, 3))
        weft_dx(g, 3, dy);
}

static void incr_sparse_matmul(weft_incr *c) { weft_incr_rows(c, "sparse_matmul", 3, 1); }

/* ---- w [n,d]: sums of its rows ---- */
/* Four rows at a time, so that y is loaded and stored less often; each sum keeps its order. */
WEFT_CLONES static void sparse_matmul_rows(float *y, const float *value, const int64_t *at,
                                           int64_t k, const float *w, int64_t d)
{
    int64_t j = 0;
    for (; j + 4 <= k; j += 4) {
        const float *a = w + at[j] * d, *b = w + at[j + 1] * d, *c = w + at[j + 2] * d,
                    *e = w + at[j + 3] * d;
        float p = value[j], q = value[j + 1], r = value[j + 2], s = value[j + 3];
#pragma omp simd
        for (int64_t i = 0; i < d; i++)
            y[i] = (((y[i] + p * a[i]) + q * b[i]) + r * c[i]) + s * e[i];
    }
    for (; j < k; j++) {
        const float *a = w + at[j] * d;
        float p = value[j];
#pragma omp simd
        for (int64_t i = 0; i < d; i++)
            y[i] += p * a[i];
    }
}

static void start_row(float *y, const float *bias, int64_t d)
{
    if (bias)
        memcpy(y, bias, (size_t)d * sizeof *y);
    else
        memset(y, 0, (size_t)d * sizeof *y);
}

static void run_by_rows(const weft_run *r)
{
    const weft_tensor *index = &r->in[1], *w = &r->in[2];
    const float *bias = r->n_in > 3 ? r->in[3].data : NULL;
    int64_t k = weft_row_size(index), rows = weft_row_count(index), d = w->dim[1];
    if (!weft_index_good(r, index, w->dim[0]))
        return;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (index->count * d > WEFT_GRAIN)
    for (int64_t row = 0; row < rows; row++) {
        float *y = (float *)r->out[0].data + row * d;
        start_row(y, bias, d);
        for (int64_t j = 0; j < k; j += 64) {
            int64_t at[64], part = k - j < 64 ? k - j : 64;
            for (int64_t i = 0; i < part; i++)
                at[i] = weft_id(index, row * k + j + i);
            sparse_matmul_rows(y, (const float *)r->in[0].data + row * k + j, at, part, w->data, d);
        }
    }
}

/* ---- w [d,n]: walks along its rows ---- */
/* sum[row] += value * w[c..c+7, column] over all entries; `w` has the first elements of the 8 rows.
 */
WEFT_CLONES static void sparse_matmul_walk(float *sum, const weft_columns *l, const float *value,
                                           const float *const *w)
{
    for (int32_t u = 0; u < l->columns; u++) {
        int32_t at = l->column[u];
        const weft_f32x8 x = {w[0][at], w[1][at], w[2][at], w[3][at],
                              w[4][at], w[5][at], w[6][at], w[7][at]};
        for (int32_t e = l->begin[u]; e < l->begin[u + 1]; e++)
            *(weft_f32x8 *)(sum + (int64_t)LANES * l->row[e]) += value[e] * x;
    }
}

/* Columns c..c+7 of y for the rows of the list. */
static void walk_lanes(const weft_run *r, const weft_columns *l, const float *value, float *sum,
                       float *y, int64_t rows, int64_t c)
{
    int64_t d = r->in[2].dim[0], n = r->in[2].dim[1], lanes = d - c < LANES ? d - c : LANES;
    const float *w[LANES], *bias = r->n_in > 3 ? r->in[3].data : NULL;
    for (int i = 0; i < LANES; i++) /* beyond the last row: any row, the sums are not used */
        w[i] = (const float *)r->in[2].data + (i < lanes ? c + i : c) * n;
    for (int64_t row = 0; row < rows; row++)
        for (int i = 0; i < LANES; i++)
            sum[row * LANES + i] = bias && i < lanes ? bias[c + i] : 0;
    sparse_matmul_walk(sum, l, value, w);
    for (int64_t row = 0; row < rows; row++)
        memcpy(y + row * d + c, sum + row * LANES, (size_t)lanes * sizeof *y);
}

static void run_by_columns(const weft_run *r)
{
    const weft_tensor *index = &r->in[1];
    const int64_t *most = r->data; /* rows of one list */
    int64_t k = weft_row_size(index), rows = weft_row_count(index), d = r->in[2].dim[0],
            n = r->in[2].dim[1];
    float *sums = r->scratch, *value = sums + (int64_t)r->threads * *most * LANES;
    if (!weft_index_good(r, index, n))
        return;
    for (int64_t first = 0; first < rows; first += *most) {
        int64_t part = rows - first < *most ? rows - first : *most;
        weft_columns l = weft_columns_make(value + *most * k, index, n, first, part);
        for (int64_t e = 0; e < part * k; e++)
            value[e] = ((const float *)r->in[0].data)[first * k + l.entry[e]];
#pragma omp parallel for num_threads(r->threads) schedule(static) if (part * k * d > WEFT_GRAIN)
        for (int64_t c = 0; c < d; c += LANES)
            walk_lanes(r, &l, value, sums + omp_get_thread_num() * *most * LANES,
                       (float *)r->out[0].data + first * d, part, c);
    }
}

/* ---- kernel and reference ---- */
static void kernel_sparse_matmul(weft_kernel *c)
{
    const weft_tensor *index = weft_kernel_in(c, 1);
    int64_t k = weft_row_size(index), rows = weft_row_count(index);
    weft_kernel_run(c, weft_attr_int(c, "tb") ? run_by_columns : run_by_rows);
    if (!weft_attr_int(c, "tb"))
        return;
    int64_t *most = weft_kernel_data(c, sizeof *most);
    if (!most)
        return;
    *most = rows < MOST_ROWS ? rows : MOST_ROWS;
    *most = *most < weft_columns_most(k) ? *most : weft_columns_most(k);
    int64_t sums = (int64_t)weft_kernel_threads(c) * *most * LANES;
    weft_kernel_scratch(c, (size_t)(sums + *most * k) * sizeof(float) +
                               weft_columns_bytes(weft_kernel_in(c, 2)->dim[1], *most, k));
}

static void ref_sparse_matmul(const weft_run *r)
{
    const weft_tensor *value = &r->in[0], *index = &r->in[1], *w = &r->in[2], *y = &r->out[0];
    bool tb = weft_run_int(r, "tb"), bias = r->n_in > 3 && r->in[3].data;
    int64_t k = weft_row_size(index), d = weft_row_size(y), n = w->dim[tb];
    if (!weft_index_good(r, index, n))
        return;
    for (int64_t i = 0; i < y->count; i++) {
        int64_t row = i / d, c = i % d;
        double sum = bias ? weft_get(&r->in[3], c) : 0;
        for (int64_t j = row * k; j < row * k + k; j++) {
            int64_t at = weft_get_int(index, j);
            sum += weft_get(value, j) * weft_get(w, tb ? c * n + at : at * d + c);
        }
        weft_put(y, i, sum);
    }
}

static double flops_sparse_matmul(const weft_call *c)
{
    const weft_type *y = weft_call_out(c, 0);
    return 2.0 * (double)weft_type_count(weft_call_in(c, 1)) * (double)y->dim[y->rank - 1];
}

/* Of w a row reads as many rows (columns with tb) as it has values. */
static int64_t active_sparse_matmul(const weft_call *c, int in)
{
    const weft_type *index = weft_call_in(c, 1), *y = weft_call_out(c, 0);
    return in == 2 ? index->dim[index->rank - 1] * y->dim[y->rank - 1] : -1;
}

const weft_op weft_op_sparse_matmul = {
    .name = "sparse_matmul",
    .doc =
        "k-sparse rows times a matrix: y = scatter(value, index) @ op(w) + bias, that is y[...,c] "
        "= bias[c] + sum_j value[...,j] op(w)[index[...,j],c], with op(w) = w, or its transpose "
        "if tb. A dense row is never made. An index outside 0..n-1 stops the run.",
    .in = {{"value", WEFT_FLOAT, "[...,k]"},
           {"index", WEFT_INT, "[...,k]: positions of the values; equal ones add up"},
           {"w", WEFT_FLOAT, "[n,d]; with tb=1 [d,n], the layout of nn.Linear"},
           {"bias", WEFT_FLOAT | WEFT_OPTIONAL, "[d]"}},
    .out = {{"y", WEFT_FLOAT, "[...,d]"}},
    .attr = {{"tb", WEFT_ATTR_BOOL, 0, "w is [d,n]"}},
    .infer = infer_sparse_matmul,
    .grad = grad_sparse_matmul,
    .incr = incr_sparse_matmul,
    .kernel = kernel_sparse_matmul,
    .ref = ref_sparse_matmul,
    .flops = flops_sparse_matmul,
    .active = active_sparse_matmul,
};

/* ---- rule ---- */
static void rule_sparse_matmul(weft_match *m)
{
    weft_val value, index, w = weft_x(m, 1), bias = weft_x(m, 2);
    double alpha = weft_attr_float(m, "alpha");
    if (weft_attr_int(m, "ta") || weft_call_in(m, 1)->rank != 2 ||
        !weft_match_scatter(m, weft_x(m, 0), &value, &index))
        return;
    if (alpha != 1)
        value = weft_emit(m, "scale", &value, 1, "alpha=%.17g", alpha);
    weft_match_replace(m, 0,
                       weft_emit(m, "sparse_matmul", (weft_val[]){value, index, w, bias},
                                 bias < 0 ? 3 : 4, "tb=%d", weft_attr_int(m, "tb") != 0));
}

const weft_rule weft_rule_sparse_matmul = {
    .name = "sparse_matmul",
    .root = "matmul",
    .doc = "matmul(scatter(v, i), w, bias) -> sparse_matmul(v, i, w, bias) for w with two axes",
    .apply = rule_sparse_matmul,
    .fuses = true,
};
