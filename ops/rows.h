/* rows.h - softmax of one row held in memory, shared by softmax, causal_softmax and their
 * gradients, and log sum exp of a row.
 *
 * Called from functions with WEFT_CLONES, into which these are inlined. */
#ifndef WEFT_OPS_ROWS_H
#define WEFT_OPS_ROWS_H

#include "ops/simd.h"

/* y[i] = exp(x[i] - max x) / sum; y may be x.  A NaN in x reaches every element; so does a row of
 * -inf. */
WEFT_INLINE void weft_softmax_row(float *y, const float *x, int64_t n)
{
    float max = weft_max(x, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = weft_exp_nonpositive(x[i] - max);
    float scale = (float)(1.0 / weft_sum(y, n));
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] *= scale;
}

/* dx[i] = y[i] * (dy[i] - sum(dy * y)); dx may be dy or y. */
WEFT_INLINE void weft_softmax_grad_row(float *dx, const float *dy, const float *y, int64_t n)
{
    float dot = (float)weft_dot(dy, y, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] * (dy[i] - dot);
}

/* log sum exp(x) in one pass over memory: a block is still in cache when its exponentials are
 * taken, and the sum so far is rescaled when a block raises the maximum (Milakov and Gimelshein,
 * 2018). */
WEFT_INLINE double weft_lse_row(const float *x, int64_t n)
{
    enum { BLOCK = 1024 };
    float e[BLOCK], max = -INFINITY;
    double sum = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t len = n - at < BLOCK ? n - at : BLOCK;
        float top = weft_max(x + at, len);
        if (top > max) {
            sum *= exp((double)max - top);
            max = top;
        }
        float base = max > -INFINITY ? max : 0; /* -inf - -inf would be NaN */
#pragma omp simd
        for (int64_t i = 0; i < len; i++)
            e[i] = weft_exp_nonpositive(x[at + i] - base);
        sum += weft_sum(e, len);
    }
    return max + log(sum);
}

#endif
