/* embedding.c - rows of a table picked by ids, and the gradient of the table. */
#include "graph/rule.h"
#include "ops/ids.h"
#include "ops/simd.h"

static void infer_embedding(weft_infer *c)
{
    const weft_type *w = weft_call_in(c, 0), *ids = weft_call_in(c, 1);
    if (w->rank != 2) {
        weft_call_fail(c, "weight is %s, expected a table [V,d]", weft_type_text(c, w));
        return;
    }
    if (ids->rank == WEFT_MAX_RANK) {
        weft_call_fail(c, "ids is %s, expected rank below %d", weft_type_text(c, ids),
                       WEFT_MAX_RANK);
        return;
    }
    weft_type y = *ids;
    y.dtype = w->dtype;
    y.dim[y.rank++] = w->dim[1];
    weft_infer_out(c, 0, y);
}

/* d weight[v] = sum of dy at the positions where ids = v. */
static void grad_embedding(weft_grad *g)
{
    if (weft_needs(g, 0))
        weft_dx(g, 0,
                weft_emit(g, "embedding_grad", (weft_val[]){weft_dy(g, 0), weft_x(g, 1)}, 2,
                          "rows=%lld", (long long)weft_call_in(g, 0)->dim[0]));
}

/* Decoding: the rows of the new positions alone; the table itself has no time. */
static void incr_embedding(weft_incr *c)
{
    if (weft_incr_axis(c, 0) >= 0)
        weft_call_fail(c, "the table changes with time, so it cannot be decoded step by step");
    else
        weft_incr_out(c, 0, weft_emit2(c, "embedding", weft_incr_new(c, 0), weft_incr_new(c, 1)),
                      weft_incr_axis(c, 1));
    weft_incr_keys(c, 0, weft_incr_later(c, 1), -1);
}

/* Ids come from data files: looking is always on, and what is read outside the table would be worse
 * than a stopped run. */
static bool ids_good(const weft_run *r, const weft_tensor *ids, int64_t rows)
{
    int64_t bad = weft_ids_check(ids, rows, 0);
    if (bad >= 0)
        weft_run_fail(r, "id %lld at position %lld is outside 0..%lld (the table has %lld rows)",
                      (long long)weft_get_int(ids, bad), (long long)bad, (long long)rows - 1,
                      (long long)rows);
    return bad < 0;
}

/* A gather: bound by memory, so plain copies are as fast as anything. */
static void run_embedding(const weft_run *r)
{
    const weft_tensor *ids = &r->in[1];
    int64_t d = r->in[0].dim[1];
    const float *w = r->in[0].data;
    float *y = r->out[0].data;
    if (!ids_good(r, ids, r->in[0].dim[0]))
        return;
#pragma omp parallel for num_threads(r->threads) if (r->out[0].count > WEFT_GRAIN)
    for (int64_t i = 0; i < ids->count; i++)
        memcpy(y + i * d, w + weft_id(ids, i) * d, (size_t)d * sizeof *y);
}

/* The definition, element by element, with whatever strides and types the inputs have. */
static void ref_embedding(const weft_run *r)
{
    int64_t d = r->in[0].dim[1];
    if (!ids_good(r, &r->in[1], r->in[0].dim[0]))
        return;
    for (int64_t i = 0; i < r->in[1].count; i++)
        for (int64_t j = 0; j < d; j++)
            weft_put(&r->out[0], i * d + j,
                     weft_get(&r->in[0], weft_get_int(&r->in[1], i) * d + j));
}

const weft_op weft_op_embedding = {
    .name = "embedding",
    .doc = "Rows of a table: y[...,j] = weight[ids[...],j]. An id outside 0..V-1 stops the run.",
    .in = {{"weight", WEFT_FLOAT, "table [V,d]"}, {"ids", WEFT_INT, "row numbers, any shape"}},
    .out = {{"y", WEFT_FLOAT, "rows, shape of ids and then d"}},
    .infer = infer_embedding,
    .grad = grad_embedding,
    .incr = incr_embedding,
    .run = run_embedding,
    .ref = ref_embedding,
};

/* ---- embedding_grad ---- */

/* Inputs `at` and at + 1: dy and ids. */
static bool infer_scatter(weft_infer *c, int at, int64_t rows)
{
    const weft_type *dy = weft_call_in(c, at), *ids = weft_call_in(c, at + 1);
    bool good = dy->rank == ids->rank + 1;
    for (int i = 0; good && i < ids->rank; i++)
        good = dy->dim[i] == ids->dim[i];
    if (!good)
        weft_call_fail(c, "dy is %s, expected the shape of ids %s and then d",
                       weft_type_text(c, dy), weft_type_text(c, ids));
    else
        weft_infer_out(c, 0, weft_type_make(dy->dtype, 2, (int64_t[]){rows, dy->dim[ids->rank]}));
    return good;
}

/* How many rows the table has cannot be told from dy and ids, hence the attribute. */
static void infer_embedding_grad(weft_infer *c) { infer_scatter(c, 0, weft_attr_int(c, "rows")); }

static void infer_embedding_grad_add(weft_infer *c)
{
    const weft_type *into = weft_call_in(c, 0);
    if (into->rank != 2)
        weft_call_fail(c, "into is %s, expected a table [V,d]", weft_type_text(c, into));
    else if (infer_scatter(c, 1, into->dim[0]) && !weft_type_equal(into, weft_call_out(c, 0)))
        weft_call_fail(c, "into is %s, expected %s", weft_type_text(c, into),
                       weft_type_text(c, weft_call_out(c, 0)));
}

/* Scratch: positions sorted by id (the last input), and where the positions of each row start. */
static void kernel_scatter(weft_kernel *k)
{
    int64_t rows = weft_kernel_out(k, 0)->dim[0];
    int64_t n = weft_kernel_in(k, weft_call_n_in(k) - 1)->count;
    weft_kernel_scratch(k, (size_t)(rows + 2 + n) * sizeof(int64_t));
}

/* Stable counting sort: afterwards the positions of id v are order[start[v]] .. order[start[v + 1]
 * - 1], ascending. Counts go one slot further up, so that filling `order` leaves the starts where
 * they are read. */
static void sort_ids(const weft_tensor *ids, int64_t rows, int64_t *start, int64_t *order)
{
    memset(start, 0, (size_t)(rows + 2) * sizeof *start);
    for (int64_t i = 0; i < ids->count; i++)
        start[weft_id(ids, i) + 2]++;
    for (int64_t v = 2; v <= rows; v++)
        start[v] += start[v - 1];
    for (int64_t i = 0; i < ids->count; i++)
        order[start[weft_id(ids, i) + 1]++] = i;
}

WEFT_CLONES static void row_add(float *y, const float *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

/* One thread owns a row and adds in the order of positions: the same bits for every thread count.
 * `base` is what the rows start from (NULL: zero); it may be the output itself. */
static void scatter(const weft_run *r, int at, const float *base)
{
    const weft_tensor *ids = &r->in[at + 1];
    const float *dy = r->in[at].data;
    float *y = r->out[0].data;
    int64_t rows = r->out[0].dim[0], d = r->out[0].dim[1];
    int64_t *start = r->scratch, *order = start + rows + 2;
    if (!ids_good(r, ids, rows))
        return;
    sort_ids(ids, rows, start, order);
#pragma omp parallel for num_threads(r->threads)                                                   \
    schedule(dynamic, 64) if (r->out[0].count > WEFT_GRAIN)
    for (int64_t v = 0; v < rows; v++) {
        if (!base)
            memset(y + v * d, 0, (size_t)d * sizeof *y);
        else if (base != y)
            memcpy(y + v * d, base + v * d, (size_t)d * sizeof *y);
        for (int64_t i = start[v]; i < start[v + 1]; i++)
            row_add(y + v * d, dy + order[i] * d, d);
    }
}

static void run_embedding_grad(const weft_run *r) { scatter(r, 0, NULL); }
static void run_embedding_grad_add(const weft_run *r) { scatter(r, 1, r->in[0].data); }

static void ref_scatter(const weft_run *r, int at, const weft_tensor *base)
{
    const weft_tensor *ids = &r->in[at + 1], *y = &r->out[0];
    int64_t d = y->dim[1];
    if (!ids_good(r, ids, y->dim[0]))
        return;
    for (int64_t i = 0; i < y->count; i++)
        weft_put(y, i, base ? weft_get(base, i) : 0.0);
    for (int64_t i = 0; i < ids->count; i++)
        for (int64_t j = 0; j < d; j++) {
            int64_t to = weft_get_int(ids, i) * d + j;
            weft_put(y, to, weft_get(y, to) + weft_get(&r->in[at], i * d + j));
        }
}

static void ref_embedding_grad(const weft_run *r) { ref_scatter(r, 0, NULL); }
static void ref_embedding_grad_add(const weft_run *r) { ref_scatter(r, 1, &r->in[0]); }

/* One addition per element of dy. */
static double flops_scatter(const weft_call *c)
{
    return (double)weft_type_count(weft_call_in(c, weft_call_n_in(c) - 2));
}

const weft_op weft_op_embedding_grad = {
    .name = "embedding_grad",
    .doc =
        "Gradient of an embedding table: y[v,j] = sum of dy[i,j] over positions i with ids[i] = v.",
    .in = {{"dy", WEFT_FLOAT, "gradient of the rows, shape of ids and then d"},
           {"ids", WEFT_INT, "row numbers"}},
    .out = {{"y", WEFT_FLOAT, "gradient of the table [rows,d]"}},
    .attr = {{"rows", WEFT_ATTR_INT, 0, "rows of the table", 1, 1e12, NULL, true}},
    .infer = infer_embedding_grad,
    .kernel = kernel_scatter,
    .run = run_embedding_grad,
    .ref = ref_embedding_grad,
    .flops = flops_scatter,
};

const weft_op weft_op_embedding_grad_add = {
    .name = "embedding_grad_add",
    .doc = "Gradient of an embedding table added to another one (a tied projection's): "
           "y[v,j] = into[v,j] + sum of dy[i,j] over positions i with ids[i] = v.",
    .in = {{"into", WEFT_FLOAT, "gradient so far [V,d]"},
           {"dy", WEFT_FLOAT, "gradient of the rows, shape of ids and then d"},
           {"ids", WEFT_INT, "row numbers"}},
    .out = {{"y", WEFT_FLOAT, "gradient of the table [V,d]"}},
    .flags = WEFT_INPLACE,
    .infer = infer_embedding_grad_add,
    .kernel = kernel_scatter,
    .run = run_embedding_grad_add,
    .ref = ref_embedding_grad_add,
    .flops = flops_scatter,
};

/* The two gradients of a tied table: no second table, and most rows are not touched again. */
static void rule_embedding_grad_add(weft_match *m)
{
    for (int i = 0; i < 2; i++) {
        weft_val scattered = weft_x(m, i), into = weft_x(m, !i);
        if (!weft_match_is(m, scattered, "embedding_grad") || weft_match_uses(m, scattered) != 1 ||
            !weft_type_equal(weft_val_type(m, into), weft_call_out(m, 0)))
            continue;
        weft_val in[] = {into, weft_match_in(m, scattered, 0), weft_match_in(m, scattered, 1)};
        weft_match_replace(m, 0, weft_emit(m, "embedding_grad_add", in, 3, "%s", ""));
        return;
    }
}

const weft_rule weft_rule_embedding_grad_add = {
    .name = "embedding_grad_add",
    .root = "add",
    .doc = "add(embedding_grad(dy, ids), x) -> embedding_grad_add(x, dy, ids) when nothing else "
           "reads the first",
    .apply = rule_embedding_grad_add,
};
