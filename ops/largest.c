/* largest.c - the k largest numbers of a row. */
#include "ops/largest.h"

/* About four blocks per chosen number: the bound is then close to the k-th largest number. */
weft_largest weft_largest_of(int64_t n, int64_t k)
{
    weft_largest p = {.n = n, .k = k, .block = n / (4 * k) / 16 * 16};
    p.block = p.block < 16 ? 16 : p.block > 128 ? 128 : p.block;
    p.blocks = (n + p.block - 1) / p.block;
    p.bytes = (size_t)k * sizeof(uint64_t) + (size_t)p.blocks * sizeof(float);
    p.bytes = (p.bytes + 63) / 64 * 64;
    return p;
}

/* Largest of x[0..n-1], -inf for none: NaN and masked-out numbers are skipped. */
WEFT_INLINE float block_max(const float *x, const float *among, int64_t n)
{
    float lane[16], m = -INFINITY;
    int64_t i = 0;
    for (int l = 0; l < 16; l++)
        lane[l] = -INFINITY;
    for (; i + 16 <= n; i += 16) {
#pragma omp simd
        for (int l = 0; l < 16; l++) {
            float v = x[i + l];
            if (among)
                v = among[i + l] == 0 ? -INFINITY : v;
            lane[l] = v > lane[l] ? v : lane[l];
        }
    }
    for (; i < n; i++)
        lane[0] = x[i] > lane[0] && !(among && among[i] == 0) ? x[i] : lane[0];
    for (int l = 0; l < 16; l++)
        m = lane[l] > m ? lane[l] : m;
    return m;
}

/* top[b] = largest number of block b. One loop each without and with a mask, which is known there.
 */
WEFT_CLONES static void block_maxima(float *top, const float *x, int64_t n, int64_t block)
{
    for (int64_t at = 0; at < n; at += block)
        *top++ = block_max(x + at, NULL, at + block < n ? block : n - at);
}

WEFT_CLONES static void block_maxima_among(float *top, const float *x, const float *among,
                                           int64_t n, int64_t block)
{
    for (int64_t at = 0; at < n; at += block)
        *top++ = block_max(x + at, among + at, at + block < n ? block : n - at);
}

/* A number that k others of the row are not below, if the blocks tell one. */
static float lower_bound(weft_heap *h, const weft_largest *p, const float *top)
{
    if (p->blocks < p->k)
        return -INFINITY;
    h->n = 0;
    for (int64_t b = 0; b < p->blocks; b++)
        weft_heap_offer(h, weft_key(weft_key_rank(top[b]), b));
    return top[weft_key_index(h->key[0])];
}

weft_heap weft_largest_row(const weft_largest *p, void *memory, const float *x, const float *among)
{
    weft_heap h = {.key = memory, .k = p->k};
    float *top = (float *)(void *)(h.key + p->k);
    if (among)
        block_maxima_among(top, x, among, p->n, p->block);
    else
        block_maxima(top, x, p->n, p->block);
    float bound = lower_bound(&h, p, top);
    h.n = 0;
    for (int64_t b = 0; b < p->blocks; b++) {
        int64_t from = b * p->block, to = from + p->block < p->n ? from + p->block : p->n;
        if (top[b] < bound || !weft_heap_wants(&h, weft_key(weft_key_rank(top[b]), from)))
            continue;
        for (int64_t i = from; i < to; i++) {
            bool out = among && among[i] == 0;
            if (bound == -INFINITY || (x[i] >= bound && !out))
                weft_heap_offer(&h, weft_key(out ? 0 : weft_key_rank(x[i]), i));
        }
    }
    return h;
}
