/* geometric_median.c - the point with the smallest sum of distances to the rows: a centre that a
 * few far rows do not move.
 *
 * Weiszfeld's algorithm (Weiszfeld, 1937), as the reference trainer of sparse autoencoders uses it
 * for the first value of pre_bias (openai/sparse_autoencoder, train.py).  A fixed number of
 * iterations from the mean; everything is accumulated in double over blocks of rows that are a
 * function of the sizes alone. */
#include <string.h>

#include "graph/op.h"
#include "ops/simd.h"

static void infer_geometric_median(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0);
    if (x->rank < 2) {
        weft_call_fail(c, "x is %s, expected rows: at least 2 axes", weft_type_text(c, x));
        return;
    }
    weft_infer_out(c, 0, weft_type_make(x->dtype, 1, &x->dim[x->rank - 1]));
}

/* A row on the point itself has weight 1 / NEAR and not infinity. */
static const double near_distance = 1e-6;

enum { BLOCKS = 64 }; /* partial sums at most */

typedef struct {
    const float *x;
    int64_t rows, d, blocks, rows_each;
    double *point, *part; /* [d]; [blocks][d+1]: weighted sum of rows, sum of weights */
} medians;

/* One block of rows. point NULL: all weights are 1. */
WEFT_CLONES static void median_rows(double *part, const float *x, int64_t rows, int64_t d,
                                    const double *point)
{
    memset(part, 0, sizeof *part * (size_t)(d + 1));
    for (int64_t r = 0; r < rows; r++) {
        const float *a = x + r * d;
        double square = 0, weight = 1;
        for (int64_t i = 0; point && i < d; i++)
            square += (a[i] - point[i]) * (a[i] - point[i]);
        if (point)
            weight = 1 / (sqrt(square) > near_distance ? sqrt(square) : near_distance);
#pragma omp simd
        for (int64_t i = 0; i < d; i++)
            part[i] += weight * a[i];
        part[d] += weight;
    }
}

/* The weighted mean of all rows becomes the point. */
static void iterate(const weft_run *r, const medians *m, bool first)
{
    (void)r; /* in a build without OpenMP */
#pragma omp parallel for num_threads(r->threads) if (m->rows * m->d > WEFT_GRAIN)
    for (int64_t b = 0; b < m->blocks; b++) {
        int64_t from = b * m->rows_each, n = m->rows - from;
        median_rows(m->part + b * (m->d + 1), m->x + from * m->d,
                    n < m->rows_each ? n : m->rows_each, m->d, first ? NULL : m->point);
    }
    double weight = 0;
    memset(m->point, 0, sizeof *m->point * (size_t)m->d);
    for (int64_t b = 0; b < m->blocks; b++) {
        for (int64_t i = 0; i < m->d; i++)
            m->point[i] += m->part[b * (m->d + 1) + i];
        weight += m->part[b * (m->d + 1) + m->d];
    }
    for (int64_t i = 0; i < m->d; i++)
        m->point[i] /= weight;
}

static medians cut(const weft_tensor *x)
{
    medians m = {.x = x->data, .d = x->dim[x->rank - 1]};
    m.rows = x->count / m.d;
    m.rows_each = (m.rows + BLOCKS - 1) / BLOCKS;
    m.blocks = (m.rows + m.rows_each - 1) / m.rows_each;
    return m;
}

static void kernel_geometric_median(weft_kernel *k)
{
    medians m = cut(weft_kernel_in(k, 0));
    weft_kernel_scratch(k, sizeof(double) * (size_t)(m.d + m.blocks * (m.d + 1)));
}

static void run_geometric_median(const weft_run *r)
{
    medians m = cut(&r->in[0]);
    float *y = r->out[0].data;
    m.point = r->scratch;
    m.part = m.point + m.d;
    for (int64_t i = 0, n = weft_run_int(r, "iterations"); i <= n; i++)
        iterate(r, &m, i == 0);
    for (int64_t i = 0; i < m.d; i++)
        y[i] = (float)m.point[i];
}

/* The formula row by row. The point of the last iteration stands on the stack: references get no
 * scratch. */
static void ref_geometric_median(const weft_run *r)
{
    enum { MOST = 16384 };
    double old[MOST];
    const weft_tensor *x = &r->in[0];
    int64_t d = r->out[0].count, rows = x->count / d;
    if (d > MOST) {
        weft_run_fail(r, "the reference takes at most %d columns, x has %lld", MOST, (long long)d);
        return;
    }
    for (int64_t n = 0; n <= weft_run_int(r, "iterations"); n++) {
        double weights = 0;
        for (int64_t i = 0; i < d; i++) {
            old[i] = n ? weft_get(&r->out[0], i) : 0;
            weft_put(&r->out[0], i, 0);
        }
        for (int64_t k = 0; k < rows; k++) {
            double square = 0;
            for (int64_t i = 0; i < d; i++)
                square += pow(weft_get(x, k * d + i) - old[i], 2);
            double weight = n ? 1 / fmax(sqrt(square), near_distance) : 1;
            for (int64_t i = 0; i < d; i++)
                weft_put(&r->out[0], i, weft_get(&r->out[0], i) + weight * weft_get(x, k * d + i));
            weights += weight;
        }
        for (int64_t i = 0; i < d; i++)
            weft_put(&r->out[0], i, weft_get(&r->out[0], i) / weights);
    }
}

static double flops_geometric_median(const weft_call *c)
{
    const weft_attr *n = weft_attr_get(c, "iterations");
    return 5.0 * (double)weft_type_count(weft_call_in(c, 0)) * (double)(n->i + 1);
}

const weft_op weft_op_geometric_median = {
    .name = "geometric_median",
    .doc = "Geometric median of rows (Weiszfeld, 1937): y = argmin_y sum over rows |x_r - y|, from "
           "the mean by iterations y = sum_r w_r x_r / sum_r w_r, w_r = 1 / max(|x_r - y|, 1e-6).",
    .in = {{"x", WEFT_FLOAT, "[...,d]"}},
    .out = {{"y", WEFT_FLOAT, "[d]"}},
    .attr = {{"iterations", WEFT_ATTR_INT, 100, "a fixed number of them", 0, 10000}},
    .infer = infer_geometric_median,
    .kernel = kernel_geometric_median,
    .run = run_geometric_median,
    .ref = ref_geometric_median,
    .flops = flops_geometric_median,
};
