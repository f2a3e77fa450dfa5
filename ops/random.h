/* random.h - a random word for every element of a tensor, in whole vectors.
 *
 * Elements come in blocks of WEFT_RANDOM_BLOCK = 4 * LANES: element j of block b has word j / LANES
 * of the counter-based numbers (weft_random4) at index b * LANES + j % LANES.  So vectors are made
 * and used without shuffling, and a word depends on seed, step, stream and position alone. */
#ifndef WEFT_OPS_RANDOM_H
#define WEFT_OPS_RANDOM_H

#include "graph/op.h"
#include "ops/simd.h"

enum { WEFT_RANDOM_LANES = 16, WEFT_RANDOM_BLOCK = 4 * WEFT_RANDOM_LANES };

typedef struct {
    uint64_t seed, step;
    uint32_t stream;
} weft_random;

/* Of a node whose input i is the WEFT_INPUT_RNG one. */
static inline weft_random weft_random_of(const weft_run *r, int i)
{
    return (weft_random){.seed = (uint64_t)weft_get_int(&r->in[i], 0),
                         .step = (uint64_t)weft_get_int(&r->in[i], 1),
                         .stream = r->stream};
}

/* The words of elements first..first+WEFT_RANDOM_BLOCK-1, `first` a multiple of it. Ten rounds of
 * Philox4x32 (Salmon et al., 2011) for all lanes at once, the counter laid out as in graph/rng.c;
 * the case tests compare both. */
WEFT_INLINE void weft_random_block(uint32_t word[WEFT_RANDOM_BLOCK], const weft_random *m,
                                   int64_t first)
{
    enum { LANES = WEFT_RANDOM_LANES };
    uint64_t index = (uint64_t)first / 4;
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

/* The word of one element, by the plain generator: for references. */
static inline uint32_t weft_random_word(const weft_random *m, int64_t i)
{
    uint32_t word[4];
    int64_t j = i % WEFT_RANDOM_BLOCK;
    weft_random4(word, m->seed, m->step, m->stream,
                 (uint64_t)(i / WEFT_RANDOM_BLOCK * WEFT_RANDOM_LANES + j % WEFT_RANDOM_LANES));
    return word[j / WEFT_RANDOM_LANES];
}

/* Dropout: element i becomes 0 when its word is below p * 2^32, else it is divided by 1 - p. */
typedef struct {
    weft_random random;
    uint32_t below;
    float factor; /* 1 / (1 - p) */
} weft_drop;

/* Of a node with an attribute p whose input `rng` is the WEFT_INPUT_RNG one. */
static inline weft_drop weft_drop_of(const weft_run *r, int rng)
{
    double p = weft_run_float(r, "p");
    return (weft_drop){.random = weft_random_of(r, rng),
                       .below = (uint32_t)(p * 4294967296.0),
                       .factor = (float)(1 / (1 - p))};
}

/* Is element i dropped? For references. */
static inline bool weft_drop_hits(const weft_drop *d, int64_t i)
{
    return weft_random_word(&d->random, i) < d->below;
}

#endif
