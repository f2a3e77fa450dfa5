/* dropout.c - random zeros in training (Srivastava et al., 2014), from counters: nothing is stored
 * for backward. */
#include "graph/rule.h"
#include "ops/loops.h"
#include "ops/random.h"

/* The gradient multiplies by the same mask: the same op again, on the same random stream, which the
 * framework hands from a node to what its gradient emits. */
static void grad_dropout(weft_grad *g)
{
    weft_val dy = weft_dy(g, 0);
    weft_dx(g, 0, weft_emit(g, "dropout", &dy, 1, "%s", weft_attrs_text(g)));
}

/* Decoding is never training, where dropout is the identity. */
static void incr_dropout(weft_incr *c)
{
    weft_incr_out(c, 0, weft_incr_new(c, 0), weft_incr_axis(c, 0));
    weft_incr_keys(c, 0, weft_incr_later(c, 0), weft_incr_zero(c, 0));
}

/* n elements, numbered from `first` on. */
WEFT_CLONES static void drop(float *y, const float *x, int64_t first, int64_t n, const weft_drop *m)
{
    for (int64_t at = 0; at < n;) {
        uint32_t word[WEFT_RANDOM_BLOCK], below = m->below;
        int64_t skip = (first + at) % WEFT_RANDOM_BLOCK, k = WEFT_RANDOM_BLOCK - skip;
        weft_random_block(word, &m->random, first + at - skip);
        float factor = m->factor;
        k = k < n - at ? k : n - at;
#pragma omp simd
        for (int64_t i = 0; i < k; i++)
            y[at + i] = word[skip + i] < below ? 0 : x[at + i] * factor;
        at += k;
    }
}

static void run_dropout(const weft_run *r)
{
    const weft_drop m = weft_drop_of(r, 1);
    const float *x = r->in[0].data;
    float *y = r->out[0].data;
    int64_t n = r->out[0].count, chunks = (n + WEFT_GRAIN - 1) / WEFT_GRAIN;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (chunks > 1)
    for (int64_t c = 0; c < chunks; c++) {
        int64_t from = c * WEFT_GRAIN;
        drop(y + from, x + from, from, n - from < WEFT_GRAIN ? n - from : WEFT_GRAIN, &m);
    }
}

static void ref_dropout(const weft_run *r)
{
    const weft_drop m = weft_drop_of(r, 1);
    double factor = 1 / (1 - weft_run_float(r, "p"));
    for (int64_t i = 0; i < r->out[0].count; i++) {
        double x = weft_get(&r->in[0], i);
        weft_put(&r->out[0], i, weft_drop_hits(&m, i) ? 0 : factor * x);
    }
}

const weft_op weft_op_dropout = {
    .name = "dropout",
    .doc = "Random zeros in training: y = x / (1 - p) with probability 1 - p, else 0; outside "
           "training y = x.",
    .in = {{"x", WEFT_FLOAT, "any shape"}, {"rng", WEFT_INT | WEFT_INPUT_RNG, "seed and step"}},
    .out = {{"y", WEFT_FLOAT, "as x"}},
    .attr = {{"p", WEFT_ATTR_FLOAT, 0, "probability of a zero", 0, 0.99}},
    .flags = WEFT_INPLACE | WEFT_DRAWS | WEFT_TRAIN_ONLY,
    .infer = weft_infer_like_first,
    .grad = grad_dropout,
    .incr = incr_dropout,
    .run = run_dropout,
    .ref = ref_dropout,
    .flops = weft_flops_elements,
};

/* ---- dropout of some positions ---- */
static void infer_dropout_slice(weft_infer *c)
{
    int axis = weft_attr_axis(c, "axis");
    if (weft_call_failed(c))
        return;
    int64_t last =
        weft_attr_int(c, "from") + (weft_call_in(c, 0)->dim[axis] - 1) * weft_attr_int(c, "step");
    if (last >= weft_attr_int(c, "size"))
        weft_call_fail(c, "the last position on axis %d is %lld, expected one of %lld: x is %s",
                       axis, (long long)last, (long long)weft_attr_int(c, "size"),
                       weft_type_text(c, weft_call_in(c, 0)));
    else
        weft_infer_out(c, 0, *weft_call_in(c, 0));
}

static void grad_dropout_slice(weft_grad *g)
{
    weft_val dy = weft_dy(g, 0);
    weft_dx(g, 0, weft_emit(g, "dropout_slice", &dy, 1, "%s", weft_attrs_text(g)));
}

/* A row: the elements of one position, next to each other. */
typedef struct {
    int64_t n_row, row, positions, size, from, step;
} slice_rows;

static slice_rows rows_of(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    slice_rows p = {.row = 1,
                    .positions = r->in[0].dim[axis],
                    .size = weft_run_int(r, "size"),
                    .from = weft_run_int(r, "from"),
                    .step = weft_run_int(r, "step")};
    for (int i = axis + 1; i < r->in[0].rank; i++)
        p.row *= r->in[0].dim[i];
    p.n_row = r->in[0].count / p.row;
    return p;
}

/* Number of the first element of row k in the tensor with all positions. */
static int64_t number_of(const slice_rows *p, int64_t k)
{
    return (k / p->positions * p->size + p->from + k % p->positions * p->step) * p->row;
}

static void run_dropout_slice(const weft_run *r)
{
    const weft_drop m = weft_drop_of(r, 1);
    const slice_rows p = rows_of(r);
    const float *x = r->in[0].data;
    float *y = r->out[0].data;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (r->in[0].count > WEFT_GRAIN)
    for (int64_t k = 0; k < p.n_row; k++)
        drop(y + k * p.row, x + k * p.row, number_of(&p, k), p.row, &m);
}

static void ref_dropout_slice(const weft_run *r)
{
    const weft_drop m = weft_drop_of(r, 1);
    const slice_rows p = rows_of(r);
    double factor = 1 / (1 - weft_run_float(r, "p"));
    for (int64_t i = 0; i < r->out[0].count; i++) {
        bool hit = weft_drop_hits(&m, number_of(&p, i / p.row) + i % p.row);
        weft_put(&r->out[0], i, hit ? 0 : factor * weft_get(&r->in[0], i));
    }
}

const weft_op weft_op_dropout_slice = {
    .name = "dropout_slice",
    .doc = "Dropout of some positions, with the zeros that they have among all: for x = slice(z), "
           "y = slice(dropout(z)). Made by a rewrite rule.",
    .in = {{"x", WEFT_FLOAT, "positions from, from + step, ... of z"},
           {"rng", WEFT_INT | WEFT_INPUT_RNG, "seed and step"}},
    .out = {{"y", WEFT_FLOAT, "as x"}},
    .attr = {{"axis", WEFT_ATTR_INT, 0, "axis of the positions", 0, 0, NULL, true},
             {"from", WEFT_ATTR_INT, 0, "the first position", 0, 2e9},
             {"step", WEFT_ATTR_INT, 1, "distance of the positions", 1, 2e9},
             {"size", WEFT_ATTR_INT, 0, "positions of z on this axis", 1, 2e9, NULL, true},
             {"p", WEFT_ATTR_FLOAT, 0, "probability of a zero", 0, 0.99}},
    .flags = WEFT_INPLACE | WEFT_DRAWS | WEFT_TRAIN_ONLY,
    .infer = infer_dropout_slice,
    .grad = grad_dropout_slice,
    .run = run_dropout_slice,
    .ref = ref_dropout_slice,
    .flops = weft_flops_elements,
};

/* ---- rule ---- */
static void apply_no_dropout(weft_match *m)
{
    if (weft_attr_float(m, "p") == 0 && weft_match_may_bypass(m, weft_x(m, 0)))
        weft_match_replace(m, 0, weft_x(m, 0));
}

const weft_rule weft_rule_no_dropout = {
    .name = "no_dropout",
    .root = "dropout",
    .doc = "dropout(x, p=0) -> x",
    .apply = apply_no_dropout,
    .fuses = true,
};
