/* idle_count.c - for how many rows each feature has not been active: what tells the dead latents of
 * an autoencoder.
 *
 * The reference trainer (openai/sparse_autoencoder, train.py, stats_last_nonzero) counts steps;
 * rows make the limit independent of the batch.  A state that only training changes: outside of it
 * the count stands still. */
#include <limits.h>
#include <string.h>

#include "graph/op.h"
#include "graph/rule.h"
#include "ops/simd.h"

static int64_t rows_of(int rank, const int64_t *dim)
{
    int64_t rows = 1;
    for (int i = 0; i + 1 < rank; i++)
        rows *= dim[i];
    return rows;
}

static void infer_idle_count(weft_infer *c)
{
    const weft_type *count = weft_call_in(c, 0), *x = weft_call_in(c, 1),
                    *index = weft_call_in(c, 2);
    if (count->rank != 1 || count->dtype != WEFT_I32) {
        weft_call_fail(c, "count is %s, expected i32[n]", weft_type_text(c, count));
        return;
    }
    if (weft_call_has(c, 2)) {
        bool same = x->rank == index->rank && x->rank > 0;
        for (int i = 0; same && i < x->rank; i++)
            same = x->dim[i] == index->dim[i];
        if (!same)
            weft_call_fail(c, "index is %s, expected the sizes of x: %s", weft_type_text(c, index),
                           weft_type_text(c, x));
    } else if (x->rank < 1 || x->dim[x->rank - 1] != count->dim[0])
        weft_call_fail(c, "x is %s, expected %lld values on the last axis, as count has",
                       weft_type_text(c, x), (long long)count->dim[0]);
    weft_infer_out(c, 0, *count);
}

/* ---- which features were active ---- */
enum { COLUMNS = 512 }; /* features of a task: their flags stay in the first cache */

WEFT_CLONES static void mark_columns(unsigned char *active, const float *x, int64_t rows,
                                     int64_t stride, int64_t n, float limit)
{
    memset(active, 0, (size_t)n);
    for (int64_t r = 0; r < rows; r++) {
        const float *a = x + r * stride;
#pragma omp simd
        for (int64_t k = 0; k < n; k++)
            active[k] |= a[k] > limit;
    }
}

static void mark_dense(const weft_run *r, unsigned char *active, float limit)
{
    const weft_tensor *x = &r->in[1];
    int64_t n = r->in[0].count, rows = rows_of(x->rank, x->dim);
#pragma omp parallel for num_threads(r->threads) if (rows * n > WEFT_GRAIN)
    for (int64_t at = 0; at < n; at += COLUMNS)
        mark_columns(active + at, (const float *)x->data + at, rows, n,
                     n - at < COLUMNS ? n - at : COLUMNS, limit);
}

/* One thread: threads would write the same flags, and there are few values. */
static bool mark_sparse(const weft_run *r, unsigned char *active, double limit)
{
    int64_t n = r->in[0].count;
    memset(active, 0, (size_t)n);
    for (int64_t i = 0; i < r->in[1].count; i++) {
        int64_t j = weft_get_int(&r->in[2], i);
        if (j < 0 || j >= n) {
            weft_run_fail(r, "index %lld is outside of 0..%lld", (long long)j, (long long)n - 1);
            return false;
        }
        active[j] |= weft_get(&r->in[1], i) > limit;
    }
    return true;
}

static bool is_sparse(const weft_run *r) { return r->n_in > 2 && r->in[2].data; }

static void kernel_idle_count(weft_kernel *k)
{
    weft_kernel_scratch(k, (size_t)weft_kernel_in(k, 0)->count);
}

static int32_t longer(int32_t count, int64_t rows)
{
    return rows > INT32_MAX - count ? INT32_MAX : (int32_t)(count + rows);
}

static void run_idle_count(const weft_run *r)
{
    unsigned char *active = r->scratch;
    double limit = weft_run_float(r, "above");
    const int32_t *count = r->in[0].data;
    int32_t *y = r->out[0].data;
    int64_t rows = rows_of(r->in[1].rank, r->in[1].dim);
    if (!is_sparse(r))
        mark_dense(r, active, (float)limit);
    else if (!mark_sparse(r, active, limit))
        return;
    for (int64_t i = 0; i < r->out[0].count; i++)
        y[i] = active[i] ? 0 : longer(count[i], rows);
}

/* Every feature looks at all rows for itself. */
static void ref_idle_count(const weft_run *r)
{
    const weft_tensor *x = &r->in[1];
    double limit = weft_run_float(r, "above");
    int64_t n = r->in[0].count, rows = rows_of(x->rank, x->dim);
    for (int64_t i = 0; i < n; i++) {
        bool active = false;
        for (int64_t k = 0; k < x->count; k++) {
            int64_t feature = is_sparse(r) ? weft_get_int(&r->in[2], k) : k % n;
            active |= feature == i && weft_get(x, k) > limit;
        }
        double count = active ? 0 : (double)weft_get_int(&r->in[0], i) + (double)rows;
        weft_put(&r->out[0], i, fmin(count, INT32_MAX));
    }
}

const weft_op weft_op_idle_count = {
    .name = "idle_count",
    .doc = "Rows since a feature was last active: y[i] = 0 if x[r,i] > above in any row r, else "
           "count[i] + number of rows. With `index`, x are values at positions of a row: x[r,j] is "
           "feature index[r,j].",
    .in = {{"count", WEFT_INT, "the count so far: i32[n], a state"},
           {"x", WEFT_FLOAT, "[...,n]; with `index` [...,k]"},
           {"index", WEFT_INT | WEFT_OPTIONAL, "[...,k]"}},
    .out = {{"y", WEFT_INT, "the count after", 1}},
    .attr = {{"above", WEFT_ATTR_FLOAT, 0, "active is what is above this", -1e30, 1e30}},
    .flags = WEFT_EFFECT | WEFT_TRAIN_ONLY | WEFT_NO_GRADIENT,
    .infer = infer_idle_count,
    .kernel = kernel_idle_count,
    .run = run_idle_count,
    .ref = ref_idle_count,
};
