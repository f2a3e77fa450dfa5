/* sparse_dot.c - a few columns of a product, others for each row: y = (x @ op(w))[index].
 *
 * A matrix [n,d] gives its rows, which are contiguous.  A matrix [d,n] is not transposed: the
 * entries are sorted by position (columns.h), and 8 rows of it at a time are walked from left to
 * right.  The walks are cut into a fixed number of groups, whose sums are added in order: the bits
 * do not depend on the number of threads. */
#include <omp.h>

#include "graph/rule.h"
#include "ops/columns.h"
#include "ops/ids.h"
#include "ops/simd.h"
#include "ops/sparse.h"

enum { LANES = 8, GROUPS = 8, MOST_ROWS = 2048 };

/* ---- shapes ---- */
static void infer_sparse_dot(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0), *w = weft_call_in(c, 1), *index = weft_call_in(c, 2);
    bool tb = weft_attr_int(c, "tb");
    if (!weft_infer_rows(c, 0, "x", 2, "index", false))
        return;
    if (w->rank != 2 || w->dim[tb] != x->dim[x->rank - 1])
        weft_call_fail(c, "depths differ: x is %s, so w must be %s, but is %s",
                       weft_type_text(c, x), tb ? "[n,d] with that d" : "[d,n] with that d",
                       weft_type_text(c, w));
    weft_infer_out(c, 0, weft_type_rows(x, x->dtype, index->dim[index->rank - 1]));
}

/* With D = scatter(dy, index), the gradient of the product:  dx = D op(w)^T,  dw = x^T D or its
 * transpose. */
static void grad_sparse_dot(weft_grad *g)
{
    weft_val x = weft_x(g, 0), w = weft_x(g, 1), index = weft_x(g, 2), dy = weft_dy(g, 0);
    int tb = weft_attr_int(g, "tb") != 0;
    if (weft_needs(g, 0))
        weft_dx(g, 0, weft_emit(g, "sparse_matmul", (weft_val[]){dy, index, w}, 3, "tb=%d", !tb));
    if (weft_needs(g, 1))
        weft_dx(g, 1,
                weft_emit(g, "sparse_outer", (weft_val[]){dy, index, x}, 3, "n=%lld tb=%d",
                          (long long)weft_call_in(g, 1)->dim[!tb], !tb));
}

static void incr_sparse_dot(weft_incr *c) { weft_incr_rows(c, "sparse_dot", 5, 1); }

/* ---- w [n,d]: products with its rows ---- */
WEFT_CLONES static void sparse_dot_row(float *y, const float *x, const float *w,
                                       const weft_tensor *index, int64_t first, int64_t k,
                                       int64_t d)
{
    for (int64_t j = 0; j < k; j++)
        y[j] = (float)weft_dot(x, w + weft_id(index, first + j) * d, d);
}

static void run_by_rows(const weft_run *r)
{
    const weft_tensor *index = &r->in[2], *w = &r->in[1];
    int64_t k = weft_row_size(index), rows = weft_row_count(index), d = w->dim[1];
    if (!weft_index_good(r, index, w->dim[0]))
        return;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (index->count * d > WEFT_GRAIN)
    for (int64_t row = 0; row < rows; row++)
        sparse_dot_row((float *)r->out[0].data + row * k, (const float *)r->in[0].data + row * d,
                       w->data, index, row * k, k, d);
}

/* ---- w [d,n]: walks along its rows ---- */
/* sum[e] += w[c..c+7, column] . x[row, c..c+7] over all entries e; `lane` has these 8 columns of x,
 * `w` the first elements of these 8 rows. */
WEFT_CLONES static void sparse_dot_walk(float *sum, const weft_columns *l, const float *lane,
                                        const float *const *w)
{
    for (int32_t u = 0; u < l->columns; u++) {
        int32_t at = l->column[u];
        const weft_f32x8 v = {w[0][at], w[1][at], w[2][at], w[3][at],
                              w[4][at], w[5][at], w[6][at], w[7][at]};
        for (int32_t e = l->begin[u]; e < l->begin[u + 1]; e++) {
            weft_f32x8 p = v * *(const weft_f32x8 *)(lane + (int64_t)LANES * l->row[e]);
            sum[e] += ((p[0] + p[4]) + (p[1] + p[5])) + ((p[2] + p[6]) + (p[3] + p[7]));
        }
    }
}

/* The same for the last rows of w, if they are fewer than 8. */
static void sparse_dot_rest(float *sum, const weft_columns *l, const float *lane, const float *w,
                            int64_t n, int64_t lanes)
{
    for (int32_t u = 0; u < l->columns; u++)
        for (int32_t e = l->begin[u]; e < l->begin[u + 1]; e++)
            for (int64_t i = 0; i < lanes; i++)
                sum[e] += w[i * n + l->column[u]] * lane[(int64_t)LANES * l->row[e] + i];
}

/* Depths c..c+7 of the products. */
static void walk_lanes(const weft_run *r, const weft_columns *l, const float *x, float *lane,
                       float *sum, int64_t rows, int64_t c)
{
    int64_t d = r->in[1].dim[0], n = r->in[1].dim[1], lanes = d - c < LANES ? d - c : LANES;
    const float *first = (const float *)r->in[1].data + c * n, *w[LANES];
    for (int64_t row = 0; row < rows; row++)
        memcpy(lane + row * LANES, x + row * d + c, (size_t)lanes * sizeof *x);
    for (int i = 0; i < LANES; i++)
        w[i] = first + i * n;
    if (lanes == LANES)
        sparse_dot_walk(sum, l, lane, w);
    else
        sparse_dot_rest(sum, l, lane, first, n, lanes);
}

/* Rows of one list, and where the parts of the scratch begin, in floats. */
typedef struct {
    int64_t most, lanes, sums, list;
} plan;

static void add_groups(float *y, const weft_columns *l, const float *sums, int64_t entries)
{
    for (int64_t e = 0; e < entries; e++) {
        float total = sums[e];
        for (int g = 1; g < GROUPS; g++)
            total += sums[g * entries + e];
        y[l->entry[e]] = total;
    }
}

static void run_by_columns(const weft_run *r)
{
    const plan *p = r->data;
    const weft_tensor *index = &r->in[2];
    int64_t k = weft_row_size(index), rows = weft_row_count(index), d = r->in[1].dim[0],
            walks = (d + LANES - 1) / LANES;
    float *scratch = r->scratch, *sums = scratch + p->sums;
    if (!weft_index_good(r, index, r->in[1].dim[1]))
        return;
    for (int64_t first = 0; first < rows; first += p->most) {
        int64_t part = rows - first < p->most ? rows - first : p->most, entries = part * k;
        const float *x = (const float *)r->in[0].data + first * d;
        weft_columns l = weft_columns_make(scratch + p->list, index, r->in[1].dim[1], first, part);
#pragma omp parallel for num_threads(r->threads) schedule(static) if (entries * d > WEFT_GRAIN)
        for (int g = 0; g < GROUPS; g++) {
            float *sum = sums + g * entries;
            memset(sum, 0, (size_t)entries * sizeof *sum);
            for (int64_t i = g * walks / GROUPS; i < (g + 1) * walks / GROUPS; i++)
                walk_lanes(r, &l, x, scratch + p->lanes * omp_get_thread_num(), sum, part,
                           i * LANES);
        }
        add_groups((float *)r->out[0].data + first * k, &l, sums, entries);
    }
}

/* ---- kernel and reference ---- */
static void kernel_sparse_dot(weft_kernel *c)
{
    const weft_tensor *index = weft_kernel_in(c, 2);
    int64_t k = weft_row_size(index), rows = weft_row_count(index);
    weft_kernel_run(c, weft_attr_int(c, "tb") ? run_by_rows : run_by_columns);
    if (weft_attr_int(c, "tb"))
        return;
    plan *p = weft_kernel_data(c, sizeof *p);
    if (!p)
        return;
    p->most = rows < MOST_ROWS ? rows : MOST_ROWS;
    p->most = p->most < weft_columns_most(k) ? p->most : weft_columns_most(k);
    p->lanes = p->most * LANES;
    p->sums = p->lanes * weft_kernel_threads(c);
    p->list = p->sums + GROUPS * p->most * k;
    weft_kernel_scratch(c, (size_t)p->list * sizeof(float) +
                               weft_columns_bytes(weft_kernel_in(c, 1)->dim[1], p->most, k));
}

static void ref_sparse_dot(const weft_run *r)
{
    const weft_tensor *x = &r->in[0], *w = &r->in[1], *index = &r->in[2];
    bool tb = weft_run_int(r, "tb");
    int64_t k = weft_row_size(index), d = weft_row_size(x), n = w->dim[!tb];
    if (!weft_index_good(r, index, n))
        return;
    for (int64_t i = 0; i < index->count; i++) {
        int64_t at = weft_get_int(index, i);
        double sum = 0;
        for (int64_t c = 0; c < d; c++)
            sum += weft_get(x, i / k * d + c) * weft_get(w, tb ? at * d + c : c * n + at);
        weft_put(&r->out[0], i, sum);
    }
}

static double flops_sparse_dot(const weft_call *c)
{
    const weft_type *x = weft_call_in(c, 0);
    return 2.0 * (double)weft_type_count(weft_call_in(c, 2)) * (double)x->dim[x->rank - 1];
}

const weft_op weft_op_sparse_dot = {
    .name = "sparse_dot",
    .doc = "Chosen columns of a product: y = gather(x @ op(w), index), that is y[...,j] = sum_c "
           "x[...,c] op(w)[c,index[...,j]], with op(w) = w, or its transpose if tb. The other "
           "columns are not computed. An index outside 0..n-1 stops the run.",
    .in = {{"x", WEFT_FLOAT, "[...,d]"},
           {"w", WEFT_FLOAT, "[d,n]; with tb=1 [n,d], the layout of nn.Linear"},
           {"index", WEFT_INT, "[...,k]: which columns"}},
    .out = {{"y", WEFT_FLOAT, "[...,k]"}},
    .attr = {{"tb", WEFT_ATTR_BOOL, 0, "w is [n,d]"}},
    .infer = infer_sparse_dot,
    .grad = grad_sparse_dot,
    .incr = incr_sparse_dot,
    .kernel = kernel_sparse_dot,
    .ref = ref_sparse_dot,
    .flops = flops_sparse_dot,
};

/* ---- rule ---- */
static void rule_sparse_dot(weft_match *m)
{
    weft_val y = weft_x(m, 0), x = weft_match_in(m, y, 0), w = weft_match_in(m, y, 1);
    if (!weft_match_is(m, y, "matmul") || weft_match_uses(m, y) != 1 ||
        weft_match_in(m, y, 2) >= 0 || weft_match_attr(m, y, "ta")->i ||
        weft_val_type(m, w)->rank != 2)
        return;
    double alpha = weft_match_attr(m, y, "alpha")->f;
    weft_val dots = weft_emit(m, "sparse_dot", (weft_val[]){x, w, weft_x(m, 1)}, 3, "tb=%d",
                              weft_match_attr(m, y, "tb")->i != 0);
    if (alpha != 1)
        dots = weft_emit(m, "scale", &dots, 1, "alpha=%.17g", alpha);
    weft_match_replace(m, 0, dots);
}

const weft_rule weft_rule_sparse_dot = {
    .name = "sparse_dot",
    .root = "gather",
    .doc =
        "gather(matmul(x, w), i) -> sparse_dot(x, w, i) when nothing else reads the product, for "
        "w with two axes",
    .apply = rule_sparse_dot,
    .fuses = true,
};
