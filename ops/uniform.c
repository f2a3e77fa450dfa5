/* uniform.c - random numbers as a value of the graph, from counters: the same again for the same
 * seed and step. */
#include "ops/random.h"

static void infer_uniform(weft_infer *c)
{
    weft_type y = *weft_call_in(c, 0);
    y.dtype = WEFT_F32;
    weft_infer_out(c, 0, y);
}

/* 24 bits are what a float of this range holds evenly spaced. */
WEFT_INLINE float unit(uint32_t word) { return (float)(int32_t)(word >> 8) * 0x1p-24f; }

/* Elements first..first+n-1; `first` is a multiple of WEFT_RANDOM_BLOCK. */
WEFT_CLONES static void draw_units(float *y, int64_t first, int64_t n, const weft_random *m)
{
    for (int64_t at = 0; at < n; at += WEFT_RANDOM_BLOCK) {
        uint32_t word[WEFT_RANDOM_BLOCK];
        int64_t k = n - at < WEFT_RANDOM_BLOCK ? n - at : WEFT_RANDOM_BLOCK;
        weft_random_block(word, m, first + at);
#pragma omp simd
        for (int64_t i = 0; i < k; i++)
            y[at + i] = unit(word[i]);
    }
}

static void run_uniform(const weft_run *r)
{
    const weft_random m = weft_random_of(r, 1);
    float *y = r->out[0].data;
    int64_t n = r->out[0].count, chunks = (n + WEFT_GRAIN - 1) / WEFT_GRAIN;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (chunks > 1)
    for (int64_t c = 0; c < chunks; c++) {
        int64_t from = c * WEFT_GRAIN;
        draw_units(y + from, from, n - from < WEFT_GRAIN ? n - from : WEFT_GRAIN, &m);
    }
}

static void ref_uniform(const weft_run *r)
{
    const weft_random m = weft_random_of(r, 1);
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_put(&r->out[0], i, (weft_random_word(&m, i) >> 8) / 16777216.0);
}

/* Ten rounds for four numbers; a convention, as all of these are. */
static double flops_uniform(const weft_call *c)
{
    return 10.0 * (double)weft_type_count(weft_call_out(c, 0));
}

const weft_op weft_op_uniform = {
    .name = "uniform",
    .doc = "Random numbers that are uniform in [0,1): y = i / 2^24 with whole random i, anew in "
           "every step, in training and outside.",
    .in = {{"x", WEFT_ANY, "gives the sizes; its elements do not matter"},
           {"rng", WEFT_INT | WEFT_INPUT_RNG, "seed and step"}},
    .out = {{"y", WEFT_FLOAT, "f32 of the sizes of x"}},
    .flags = WEFT_STRIDED | WEFT_DRAWS | WEFT_NO_GRADIENT,
    .infer = infer_uniform,
    .run = run_uniform,
    .ref = ref_uniform,
    .flops = flops_uniform,
};
