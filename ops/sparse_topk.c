/* sparse_topk.c - the k largest of k-sparse rows, as topk finds them in the dense rows that they
 * mean.
 *
 * Candidates are the entries, and of the positions without an entry, which hold 0, the first k:
 * more of them cannot be chosen.  So nothing is as wide as a row. */
#include <omp.h>

#include "graph/rule.h"
#include "ops/ids.h"
#include "ops/largest.h"
#include "ops/sparse.h"

/* ---- shapes ---- */
static void infer_sparse_topk(weft_infer *c)
{
    const weft_type *value = weft_call_in(c, 0);
    int64_t k = weft_attr_int(c, "k"), n = weft_attr_int(c, "n");
    if (!weft_infer_rows(c, 0, "value", 1, "index", true) ||
        (weft_call_has(c, 2) && !weft_infer_rows(c, 0, "value", 2, "among", true)))
        return;
    if (k > n)
        weft_call_fail(c, "k=%lld is more than the n=%lld numbers in a row", (long long)k,
                       (long long)n);
    weft_infer_out(c, 0, weft_type_rows(value, value->dtype, k));
    weft_infer_out(c, 1, weft_type_rows(value, WEFT_I32, k));
}

/* To the entries that were chosen, by way of dense rows: their gradient is not needed where speed
 * matters. */
static void grad_sparse_topk(weft_grad *g)
{
    if (!weft_has_dy(g, 0) || !weft_needs(g, 0))
        return;
    weft_val dense = weft_emit_scatter(g, weft_dy(g, 0), weft_y(g, 1), weft_attr_int(g, "n"));
    weft_dx(g, 0, weft_emit2(g, "gather", dense, weft_x(g, 1)));
}

static void incr_sparse_topk(weft_incr *c) { weft_incr_rows(c, "sparse_topk", 7, 2); }

/* ---- kernel ---- */
/* Work space of one thread. */
typedef struct {
    uint64_t *order, *best; /* entries by position; the k largest so far */
    int32_t *position;      /* of the merged entries, ascending */
    float *value;
    int64_t entries; /* merged ones */
} row_work;

static size_t work_bytes(int64_t m, int64_t k)
{
    size_t bytes = (size_t)(m + k) * sizeof(uint64_t) + (size_t)m * 2 * sizeof(float);
    return (bytes + 63) / 64 * 64;
}

static row_work work_at(void *memory, int64_t m, int64_t k)
{
    row_work w = {.order = memory};
    w.best = w.order + m;
    w.position = (int32_t *)(void *)(w.best + k);
    w.value = (float *)(void *)(w.position + m);
    return w;
}

/* Sorts the entries of a row by position and adds up those of one position, in their order, from 0
 * on as scatter does.  Offers each to the heap, and the first k positions that have none. */
static void offer_row(row_work *w, weft_heap *best, const float *value, const weft_tensor *index,
                      const float *among, int64_t first, int64_t m, int64_t n)
{
    weft_heap order = {.key = w->order, .k = m};
    for (int64_t j = 0; j < m; j++) /* complements: the sorted list begins with the largest */
        weft_heap_offer(&order, ~((uint64_t)weft_id(index, first + j) << 32 | (uint64_t)j));
    weft_heap_sort(&order);
    int64_t next = 0, free = 0; /* the next position, and how many without an entry there were */
    uint32_t nothing = among ? 0 : weft_key_rank(0);
    for (int64_t j = 0; j < m;) {
        int64_t at = (int64_t)(~w->order[j] >> 32);
        float sum = 0, mark = 0;
        for (; next < at && free < best->k; next++, free++)
            weft_heap_offer(best, weft_key(nothing, next));
        for (; j < m && (int64_t)(~w->order[j] >> 32) == at; j++) {
            int64_t e = first + (int64_t)(~w->order[j] & 0xffffffffu);
            sum += value[e];
            mark += among ? among[e] : 1;
        }
        weft_heap_offer(best, weft_key(among && mark == 0 ? 0 : weft_key_rank(sum), at));
        w->position[w->entries] = (int32_t)at;
        w->value[w->entries++] = sum;
        next = at + 1;
    }
    for (; next < n && free < best->k; next++, free++)
        weft_heap_offer(best, weft_key(nothing, next));
}

static float value_at(const row_work *w, int32_t position)
{
    int64_t low = 0, high = w->entries;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (w->position[middle] < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low < w->entries && w->position[low] == position ? w->value[low] : 0;
}

static void kernel_sparse_topk(weft_kernel *c)
{
    int64_t m = weft_row_size(weft_kernel_in(c, 0)), k = weft_attr_int(c, "k");
    weft_kernel_scratch(c, work_bytes(m, k) * (size_t)weft_kernel_threads(c));
}

static void run_sparse_topk(const weft_run *r)
{
    const weft_tensor *index = &r->in[1];
    const float *among = r->n_in > 2 ? r->in[2].data : NULL;
    int64_t m = weft_row_size(index), rows = weft_row_count(index), n = weft_run_int(r, "n"),
            k = weft_run_int(r, "k");
    if (!weft_index_good(r, index, n))
        return;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (index->count > 1024)
    for (int64_t row = 0; row < rows; row++) {
        char *mine = (char *)r->scratch + work_bytes(m, k) * (size_t)omp_get_thread_num();
        row_work w = work_at(mine, m, k);
        weft_heap best = {.key = w.best, .k = k};
        offer_row(&w, &best, r->in[0].data, index, among, row * m, m, n);
        weft_heap_sort(&best);
        for (int64_t j = 0; j < k; j++) {
            int32_t at = (int32_t)weft_key_index(w.best[j]);
            ((int32_t *)r->out[1].data)[row * k + j] = at;
            ((float *)r->out[0].data)[row * k + j] = value_at(&w, at);
        }
    }
}

/* ---- reference: topk of scatter, a number of the dense row at a time ---- */
static double dense_at(const weft_run *r, int input, int64_t row, int64_t at)
{
    int64_t m = weft_row_size(&r->in[1]);
    double sum = 0;
    for (int64_t j = row * m; j < row * m + m; j++)
        sum += weft_get_int(&r->in[1], j) == at ? weft_get(&r->in[input], j) : 0;
    return sum;
}

/* Does position a of a dense row come before position b? */
static bool comes_before(const weft_run *r, int64_t row, int64_t a, int64_t b)
{
    bool among = r->n_in > 2 && r->in[2].data;
    double x = dense_at(r, 0, row, a), y = dense_at(r, 0, row, b);
    bool out_a = among && dense_at(r, 2, row, a) == 0, out_b = among && dense_at(r, 2, row, b) == 0;
    if (out_a != out_b)
        return out_b;
    if (out_a || x == y || (isnan(x) && isnan(y)))
        return a < b;
    return x > y || isnan(y);
}

static void ref_sparse_topk(const weft_run *r)
{
    int64_t n = weft_run_int(r, "n"), k = weft_run_int(r, "k"), last = -1;
    if (!weft_index_good(r, &r->in[1], n))
        return;
    for (int64_t i = 0; i < r->out[0].count; i++) {
        int64_t best = -1, row = i / k;
        for (int64_t at = 0; at < n; at++)
            if ((i % k == 0 || comes_before(r, row, last, at)) &&
                (best < 0 || comes_before(r, row, at, best)))
                best = at;
        weft_put(&r->out[0], i, dense_at(r, 0, row, best));
        weft_put(&r->out[1], i, (double)best);
        last = best;
    }
}

static double flops_sparse_topk(const weft_call *c)
{
    return (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_sparse_topk = {
    .name = "sparse_topk",
    .doc =
        "The k largest of k-sparse rows: value, index = topk(scatter(value, index), among = "
        "scatter(among, index)), without the dense rows. Where too few entries count, the lowest "
        "other positions of 0..n-1 follow, as in topk. Made by a rewrite rule.",
    .in = {{"value", WEFT_FLOAT, "[...,m]"},
           {"index", WEFT_INT, "[...,m]: positions of the values; equal ones add up"},
           {"among", WEFT_FLOAT | WEFT_OPTIONAL, "[...,m]: as in topk, at the same positions"}},
    .out = {{"value", WEFT_FLOAT, "[...,k], largest first"},
            {"index", WEFT_INT, "i32[...,k]: their positions in 0..n-1"}},
    .attr = {{"k", WEFT_ATTR_INT, 0, "how many", 1, 1e9, NULL, true},
             {"n", WEFT_ATTR_INT, 0, "numbers in a dense row", 1, 2147483647, NULL, true}},
    .infer = infer_sparse_topk,
    .grad = grad_sparse_topk,
    .incr = incr_sparse_topk,
    .kernel = kernel_sparse_topk,
    .run = run_sparse_topk,
    .ref = ref_sparse_topk,
    .flops = flops_sparse_topk,
};

/* ---- rule ---- */
/* A dense x is looked at only where `among` has entries; its values are then fetched by position,
 * since where too few count they are those of other positions. */
static void rule_sparse_topk(weft_match *m)
{
    weft_val value, index, among = WEFT_NONE, at;
    weft_val x = weft_x(m, 0), mask = weft_x(m, 1);
    const weft_type *t = weft_call_in(m, 0);
    bool pairs = weft_match_scatter(m, x, &value, &index);
    if (mask >= 0 && (!weft_match_scatter(m, mask, &among, &at) || (pairs && at != index)))
        return;
    if (!pairs && (mask < 0 || !weft_match_distinct(m, at)))
        return;
    if (!pairs)
        value = weft_emit2(m, "gather", x, index = at);
    weft_val y = weft_emit(m, "sparse_topk", (weft_val[]){value, index, among}, mask < 0 ? 2 : 3,
                           "k=%lld n=%lld", (long long)weft_attr_int(m, "k"),
                           (long long)t->dim[t->rank - 1]);
    weft_val chosen = weft_emit_nth(m, y, 1);
    if (weft_match_used(m, 0))
        weft_match_replace(m, 0, pairs ? y : weft_emit2(m, "gather", x, chosen));
    weft_match_replace(m, 1, chosen);
}

const weft_rule weft_rule_sparse_topk = {
    .name = "sparse_topk",
    .root = "topk",
    .doc =
        "topk(scatter(s, i), among=scatter(z, i)) -> sparse_topk(s, i, among=z); for a dense x in "
        "the place of scatter(s, i), and different positions: s = gather(x, i)",
    .apply = rule_sparse_topk,
    .fuses = true,
};
