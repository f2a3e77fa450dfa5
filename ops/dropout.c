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
}

/* Elements first..first+n-1; `first` is a multiple of WEFT_RANDOM_BLOCK. */
WEFT_CLONES static void drop(float *y, const float *x, int64_t first, int64_t n, const weft_drop *m)
{
    for (int64_t at = 0; at < n; at += WEFT_RANDOM_BLOCK) {
        uint32_t word[WEFT_RANDOM_BLOCK], below = m->below;
        int64_t k = n - at < WEFT_RANDOM_BLOCK ? n - at : WEFT_RANDOM_BLOCK;
        weft_random_block(word, &m->random, first + at);
        float factor = m->factor;
#pragma omp simd
        for (int64_t i = 0; i < k; i++)
            y[at + i] = word[i] < below ? 0 : x[at + i] * factor;
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
