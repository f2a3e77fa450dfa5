/* pack.c - copying a matrix or its transpose, in blocks of eight by eight, over all threads. */
#include "graph/pack.h"

#include <string.h>

#include "graph/clones.h"

#define CLONES WEFT_CLONES_FOR("avx2", "default")

enum { BLOCK = 8, STRIP = 32 }; /* STRIP: rows of y that one task makes, whole cache lines of x */

/* Rows of y are an odd number of cache lines apart, so that they do not compete for the same ones.
 */
weft_pack weft_pack_make(int64_t rows, int64_t cols, int64_t in_stride, bool turned)
{
    return (weft_pack){rows, cols, in_stride, (cols + 31) / 32 * 32 + 16, turned};
}

size_t weft_pack_bytes(const weft_pack *p)
{
    return sizeof(float) * (size_t)(p->rows * p->out_stride);
}

typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t index8 __attribute__((vector_size(32)));

#ifdef __clang__
#define MIX(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MIX(a, b, ...) __builtin_shuffle(a, b, (index8){__VA_ARGS__})
#endif

/* Three rounds of interleaving: pairs, pairs of pairs, halves. */
static inline __attribute__((always_inline)) void turn_block(float *y, int64_t ys, const float *x,
                                                             int64_t xs)
{
    lanes a[BLOCK], b[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        a[i] = *(const lanes *)(x + i * xs);
    for (int i = 0; i < BLOCK; i += 2) {
        b[i] = MIX(a[i], a[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        b[i + 1] = MIX(a[i], a[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < BLOCK; i += 4)
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] = MIX(b[i + j], b[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            a[i + 2 * j + 1] = MIX(b[i + j], b[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < BLOCK / 2; i++) {
        *(lanes *)(y + i * ys) = MIX(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        *(lanes *)(y + (i + 4) * ys) = MIX(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* Rows r0..r1 of y. */
CLONES static void turn_strip(const weft_pack *p, int64_t r0, int64_t r1, float *y, const float *x)
{
    int64_t c = 0;
    for (; c + BLOCK <= p->cols; c += BLOCK) {
        int64_t r = r0;
        for (; r + BLOCK <= r1; r += BLOCK)
            turn_block(y + r * p->out_stride + c, p->out_stride, x + c * p->in_stride + r,
                       p->in_stride);
        for (; r < r1; r++)
            for (int i = 0; i < BLOCK; i++)
                y[r * p->out_stride + c + i] = x[(c + i) * p->in_stride + r];
    }
    for (; c < p->cols; c++)
        for (int64_t r = r0; r < r1; r++)
            y[r * p->out_stride + c] = x[c * p->in_stride + r];
}

static void copy_strip(const weft_pack *p, int64_t r0, int64_t r1, float *y, const float *x)
{
    for (int64_t r = r0; r < r1; r++)
        memcpy(y + r * p->out_stride, x + r * p->in_stride, sizeof *y * (size_t)p->cols);
}

void weft_pack_run(const weft_pack *p, int threads, float *y, const float *x)
{
    int64_t n = (p->rows + STRIP - 1) / STRIP;
    (void)threads; /* clang with libgomp ignores the pragma */
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int64_t end = (i + 1) * STRIP < p->rows ? (i + 1) * STRIP : p->rows;
        (p->turned ? turn_strip : copy_strip)(p, i * STRIP, end, y, x);
    }
}
