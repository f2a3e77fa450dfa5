/* dropout.c - random zeros in training (Srivastava et al., 2014), from counters: nothing is stored
 * for backward. */
#include "graph/rule.h"
#include "ops/loops.h"
#include "ops/simd.h"

enum { LANES = 16 };

/* Elements come in blocks of 4 * LANES: element j of block b is dropped when word j / LANES of the
 * random numbers at index b * LANES + j % LANES is below p * 2^32. So whole vectors are made and
 * used without shuffling. */
static uint32_t threshold(double p) { return (uint32_t)(p * 4294967296.0); }

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

typedef struct {
    uint64_t seed, step;
    uint32_t stream, below;
    float factor;
} mask;

static mask mask_of(const weft_run *r)
{
    double p = weft_run_float(r, "p");
    return (mask){.seed = (uint64_t)weft_get_int(&r->in[1], 0),
                  .step = (uint64_t)weft_get_int(&r->in[1], 1),
                  .stream = r->stream,
                  .below = threshold(p),
                  .factor = (float)(1 / (1 - p))};
}

/* weft_random4 for LANES indices at once: word[w * LANES + l] is word w at index + l. Ten rounds of
 * Philox4x32 (Salmon et al., 2011), the counter laid out as in graph/rng.c; the case tests compare
 * both. */
WEFT_INLINE void random_lanes(uint32_t word[4 * LANES], const mask *m, uint64_t index)
{
    uint32_t k0 = (uint32_t)m->seed, k1 = (uint32_t)(m->seed >> 32);
    uint32_t *w0 = word, *w1 = word + LANES, *w2 = word + 2 * LANES, *w3 = word + 3 * LANES;
    for (int l = 0; l < LANES; l++) {
        uint64_t i = index + (uint64_t)l;
        w0[l] = (uint32_t)i;
        w1[l] = (uint32_t)(i >> 32 & 0xffff) | (uint32_t)(m->step >> 32 & 0xffff) << 16;
        w2[l] = (uint32_t)m->step;
        w3[l] = m->stream;
    }
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * w0[l], p1 = (uint64_t)0xCD9E8D57u * w2[l];
            w0[l] = (uint32_t)(p1 >> 32) ^ w1[l] ^ k0;
            w2[l] = (uint32_t)(p0 >> 32) ^ w3[l] ^ k1;
            w1[l] = (uint32_t)p1;
            w3[l] = (uint32_t)p0;
        }
    }
}

/* Elements first..first+n-1; `first` is a multiple of 4 * LANES. */
WEFT_CLONES static void drop(float *y, const float *x, int64_t first, int64_t n, const mask *m)
{
    for (int64_t at = 0; at < n; at += 4 * LANES) {
        uint32_t word[4 * LANES], below = m->below;
        int64_t k = n - at < 4 * LANES ? n - at : 4 * LANES;
        random_lanes(word, m, (uint64_t)(first + at) / 4);
        float factor = m->factor;
#pragma omp simd
        for (int64_t i = 0; i < k; i++)
            y[at + i] = word[i] < below ? 0 : x[at + i] * factor;
    }
}

static void run_dropout(const weft_run *r)
{
    const mask m = mask_of(r);
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
    const mask m = mask_of(r);
    double factor = 1 / (1 - weft_run_float(r, "p"));
    for (int64_t i = 0; i < r->out[0].count; i++) {
        uint32_t word[4];
        int64_t j = i % (4 * LANES);
        weft_random4(word, m.seed, m.step, m.stream,
                     (uint64_t)(i / (4 * LANES) * LANES + j % LANES));
        weft_put(&r->out[0], i, word[j / LANES] < m.below ? 0 : factor * weft_get(&r->in[0], i));
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
