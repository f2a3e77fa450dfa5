/* largest.h - the k largest numbers of a row: their order, and the selection.
 *
 * The order is total, so the result is unique: larger first, NaN after all numbers, among equals
 * (0 and -0 are) the lower position first.  Masked-out numbers come last, by position alone.  A
 * number and its position become one key; a heap of the k largest keys has the smallest on top.
 *
 * A row of many numbers is looked at twice: once for the maximum of each block (SIMD), and then
 * only those blocks that can hold one of the k largest: the k-th largest maximum bounds the k-th
 * largest number from below. */
#ifndef WEFT_OPS_LARGEST_H
#define WEFT_OPS_LARGEST_H

#include <stdbool.h>

#include "ops/simd.h"

typedef struct {
    uint64_t *key; /* [k] */
    int64_t n, k;
} weft_heap;

/* Position and rank of a key. */
WEFT_INLINE int64_t weft_key_index(uint64_t key) { return (int64_t)(~key & 0xffffffffu); }

/* Bits of a float in the order of its values, from 2 on; 1: NaN. */
WEFT_INLINE uint32_t weft_key_rank(float x)
{
    uint32_t b = weft_to_bits(x);
    if (x != x)
        return 1;
    return x == 0 ? 0x80000000u : b >> 31 ? ~b : b | 0x80000000u;
}

WEFT_INLINE uint64_t weft_key(uint32_t rank, int64_t index)
{
    return (uint64_t)rank << 32 | (uint32_t) ~(uint32_t)index;
}

WEFT_INLINE void weft_heap_sink(uint64_t *key, int64_t n, int64_t at, uint64_t x)
{
    for (int64_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        child += child + 1 < n && key[child + 1] < key[child];
        if (key[child] >= x)
            break;
        key[at] = key[child];
        at = child;
    }
    key[at] = x;
}

/* Would a key get into the heap? */
WEFT_INLINE bool weft_heap_wants(const weft_heap *h, uint64_t x)
{
    return h->n < h->k || x > h->key[0];
}

WEFT_INLINE void weft_heap_offer(weft_heap *h, uint64_t x)
{
    if (h->n == h->k) {
        if (x > h->key[0])
            weft_heap_sink(h->key, h->n, 0, x);
        return;
    }
    int64_t at = h->n++;
    for (; at && h->key[(at - 1) / 2] > x; at = (at - 1) / 2)
        h->key[at] = h->key[(at - 1) / 2];
    h->key[at] = x;
}

/* Turns the heap into a list, largest first. */
WEFT_INLINE void weft_heap_sort(weft_heap *h)
{
    for (int64_t n = h->n - 1; n > 0; n--) {
        uint64_t last = h->key[n];
        h->key[n] = h->key[0];
        weft_heap_sink(h->key, n, 0, last);
    }
}

/* How rows of n numbers are searched for k of them. */
typedef struct {
    int64_t n, k, block, blocks; /* numbers, chosen ones, numbers per block, blocks */
    size_t bytes;                /* of work space: k keys and a maximum per block */
} weft_largest;

weft_largest weft_largest_of(int64_t n, int64_t k);
/* Keys of the k largest of x[n], as a heap in `memory` (p->bytes, aligned to 8). `among` may be
 * NULL: [n], 0 where a number is masked out. */
weft_heap weft_largest_row(const weft_largest *p, void *memory, const float *x, const float *among);

#endif
