/* causal_softmax.c - softmax of attention scores over the keys that a query may see, and its
 * gradient. */
#include "ops/rows.h"

#include "graph/op.h"

/* Queries and keys need not be equally many: a window of new queries sees all keys. */
static bool infer_scores(weft_infer *c, int scores, int pos)
{
    const weft_type *s = weft_call_in(c, scores), *p = weft_call_in(c, pos);
    if (s->rank < 2)
        weft_call_fail(c, "scores is %s, expected [...,queries,keys]", weft_type_text(c, s));
    else if (weft_call_has(c, pos) && p->rank != 0)
        weft_call_fail(c, "pos is %s, expected one integer", weft_type_text(c, p));
    return !weft_call_failed(c);
}

static void infer_causal_softmax(weft_infer *c)
{
    if (infer_scores(c, 0, 1))
        weft_infer_out(c, 0, *weft_call_in(c, 0));
}

/* From the output, like softmax; masked probabilities are 0, so what stands there needs no second
 * mask. */
static void grad_causal_softmax(weft_grad *g)
{
    weft_val in[] = {weft_dy(g, 0), weft_y(g, 0), weft_x(g, 1)};
    weft_dx(g, 0, weft_emit(g, "causal_softmax_grad", in, weft_call_has(g, 1) ? 3 : 2, "%s", ""));
}

/* Row i sees keys 0..i. Where queries are as fine on the time scale as keys, or coarser, all of
 * these are there; with a `pos` given at run time nobody knows. */
static bool sees_the_past(weft_incr *c)
{
    const weft_type *s = weft_incr_type(c, 0);
    return !weft_call_has(c, 1) && s->dim[s->rank - 2] <= s->dim[s->rank - 1];
}

/* New queries against all keys: `pos` more keys come before the first query. */
static void incr_causal_softmax(weft_incr *c)
{
    int time = weft_incr_axis(c, 0), rank = weft_incr_type(c, 0)->rank;
    int later = weft_incr_later(c, 0);
    if (time == rank - 1) {
        weft_call_fail(c, "the key axis is time, expected the query axis");
        return;
    }
    if (later == rank - 1 && (time != rank - 2 || !sees_the_past(c))) {
        weft_call_fail(c, "rows would see keys of later positions");
        return;
    }
    weft_val given = weft_call_has(c, 1) ? weft_incr_new(c, 1) : WEFT_NONE, pos = given;
    if (time == rank - 2)
        pos = given < 0 ? weft_incr_pos(c) : weft_emit2(c, "position", weft_incr_pos(c), given);
    weft_val in[] = {weft_incr_new(c, 0), pos};
    weft_incr_out(c, 0, weft_emit(c, "causal_softmax", in, pos < 0 ? 1 : 2, "%s", ""), time);
    weft_incr_keys(c, 0, later == rank - 1 ? -1 : later,
                   time == rank - 2 && sees_the_past(c) ? rank - 1 : -1);
}

/* Keys visible to query i: 0..i+pos, within 0..keys. */
static int64_t visible(int64_t i, int64_t pos, int64_t keys)
{
    int64_t n = i + pos + 1;
    return n < 0 ? 0 : n > keys ? keys : n;
}

/* The scalar in input i, 0 when it is absent. */
static int64_t pos_of(const weft_run *r, int i)
{
    return i < r->n_in && r->in[i].data ? weft_get_int(&r->in[i], 0) : 0;
}

/* ---- forward ---- */

/* Masked scores are not even read: in a cache of keys, later positions hold anything. */
WEFT_CLONES static void causal_row(float *y, const float *x, int64_t n, int64_t keys)
{
    weft_softmax_row(y, x, n);
    memset(y + n, 0, (size_t)(keys - n) * sizeof *y);
}

/* Later rows are longer: rows are dealt out by 16, so that every thread gets short and long ones.
 */
static void run_causal_softmax(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    int64_t keys = x->dim[x->rank - 1], queries = x->dim[x->rank - 2], pos = pos_of(r, 1);
    const float *in = x->data;
    float *out = r->out[0].data;
#pragma omp parallel for num_threads(r->threads) schedule(static, 16) if (x->count > WEFT_GRAIN)
    for (int64_t row = 0; row < x->count / keys; row++)
        causal_row(out + row * keys, in + row * keys, visible(row % queries, pos, keys), keys);
}

/* The definition: softmax of the first n scores, zeros behind. */
static void ref_causal_softmax(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    int64_t keys = x->dim[x->rank - 1], queries = x->dim[x->rank - 2], pos = pos_of(r, 1);
    for (int64_t row = 0; row < x->count / keys; row++) {
        int64_t n = visible(row % queries, pos, keys);
        double max = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++)
            max = fmax(max, weft_get(x, row * keys + j));
        for (int64_t j = 0; j < n; j++)
            sum += exp(weft_get(x, row * keys + j) - max);
        for (int64_t j = 0; j < keys; j++)
            weft_put(&r->out[0], row * keys + j,
                     j < n ? exp(weft_get(x, row * keys + j) - max) / sum : 0);
    }
}

/* Half of the scores are masked; the rest counts as in softmax. */
static double flops_causal(const weft_call *c)
{
    return 5.5 * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_causal_softmax = {
    .name = "causal_softmax",
    .doc = "Softmax over the visible keys: y[...,i,j] = exp(x[...,i,j]) / sum over k <= i + pos of "
           "exp(x[...,i,k]) for j <= i + pos, else 0.",
    .in = {{"scores", WEFT_FLOAT, "attention scores [...,queries,keys]"},
           {"pos", WEFT_INT | WEFT_OPTIONAL,
            "scalar: number of keys before the first query's own; 0 when absent"}},
    .out = {{"y", WEFT_FLOAT, "probabilities, same shape as scores"}},
    .flags = WEFT_INPLACE,
    .infer = infer_causal_softmax,
    .grad = grad_causal_softmax,
    .incr = incr_causal_softmax,
    .run = run_causal_softmax,
    .ref = ref_causal_softmax,
    .flops = flops_causal,
};

/* ---- gradient ---- */

static void infer_causal_softmax_grad(weft_infer *c)
{
    if (infer_scores(c, 1, 2) && weft_infer_same(c, 0, 1))
        weft_infer_out(c, 0, *weft_call_in(c, 1));
}

WEFT_CLONES static void causal_grad_row(float *dx, const float *dy, const float *y, int64_t n,
                                        int64_t keys)
{
    weft_softmax_grad_row(dx, dy, y, n);
    memset(dx + n, 0, (size_t)(keys - n) * sizeof *dx);
}

/* dx may be dy, see softmax_grad. */
static void run_causal_softmax_grad(const weft_run *r)
{
    const weft_tensor *y = &r->in[1];
    int64_t keys = y->dim[y->rank - 1], queries = y->dim[y->rank - 2], pos = pos_of(r, 2);
    const float *dy = r->in[0].data, *p = y->data;
    float *dx = r->out[0].data;
#pragma omp parallel for num_threads(r->threads) schedule(static, 16) if (y->count > WEFT_GRAIN)
    for (int64_t row = 0; row < y->count / keys; row++) {
        int64_t at = row * keys;
        causal_grad_row(dx + at, dy + at, p + at, visible(row % queries, pos, keys), keys);
    }
}

static void ref_causal_softmax_grad(const weft_run *r)
{
    const weft_tensor *y = &r->in[1];
    int64_t keys = y->dim[y->rank - 1], queries = y->dim[y->rank - 2], pos = pos_of(r, 2);
    for (int64_t row = 0; row < y->count / keys; row++) {
        int64_t n = visible(row % queries, pos, keys), at = row * keys;
        double dot = 0;
        for (int64_t j = 0; j < n; j++)
            dot += weft_get(&r->in[0], at + j) * weft_get(y, at + j);
        for (int64_t j = 0; j < keys; j++) {
            double dy = weft_get(&r->in[0], at + j);
            weft_put(&r->out[0], at + j, j < n ? weft_get(y, at + j) * (dy - dot) : 0);
        }
    }
}

static double flops_causal_grad(const weft_call *c)
{
    return 2.0 * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_causal_softmax_grad = {
    .name = "causal_softmax_grad",
    .doc =
        "Gradient of causal_softmax: dx[...,i,j] = y * (dy - sum over k <= i + pos of dy * y) for "
        "j <= i + pos, else 0.",
    .in = {{"dy", WEFT_FLOAT, "gradient of the probabilities"},
           {"y", WEFT_FLOAT, "probabilities, output of the forward node"},
           {"pos", WEFT_INT | WEFT_OPTIONAL, "as in causal_softmax"}},
    .out = {{"dx", WEFT_FLOAT, "gradient of the scores; 0 where masked"}},
    .flags = WEFT_INPLACE,
    .infer = infer_causal_softmax_grad,
    .run = run_causal_softmax_grad,
    .ref = ref_causal_softmax_grad,
    .flops = flops_causal_grad,
};
