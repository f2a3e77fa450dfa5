/* simd.h - inner loops that vectorise on every x86-64: run-time clones, fixed-order sums, exp and
 * tanh.
 *
 * Results are the same for every instruction set and every thread count: no fused multiply-add (the
 * build has -ffp-contract=off), and sums run over a fixed number of lanes that are combined in a
 * fixed order. */
#ifndef WEFT_OPS_SIMD_H
#define WEFT_OPS_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "graph/clones.h"

/* Compiles a function for several instruction sets; the loader picks one.  An OpenMP parallel
 * region inside would be outlined without the clones: let the region call a cloned function on a
 * range instead.  Loops that must vectorise say `#pragma omp simd`, because -O2 alone declines most
 * of them.  Even a static function with clones needs a name that no other one has: clang 14 gives
 * its resolver external linkage. */
#define WEFT_CLONES WEFT_CLONES_FOR("avx512f", "avx2", "default")

#define WEFT_INLINE static inline __attribute__((always_inline, unused))

/* A parallel loop costs some microseconds; below this many elements one thread is faster. */
enum { WEFT_GRAIN = 16384 };

/* Eight lanes in one value; may alias float arrays at any 4-byte address. */
typedef float weft_f32x8 __attribute__((vector_size(32), aligned(4), may_alias));

WEFT_INLINE float weft_from_bits(uint32_t b)
{
    float f;
    memcpy(&f, &b, sizeof f);
    return f;
}

WEFT_INLINE uint32_t weft_to_bits(float f)
{
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    return b;
}

/* e^x with relative error below 1e-7 where the result is a normal number, 0 below, inf above; NaN
 * stays NaN. x = n ln 2 + r, |r| <= ln 2 / 2; e^r by the degree-7 form of Cephes' expf (Moshier,
 * netlib.org/cephes). */
WEFT_INLINE float weft_exp(float x)
{
    const float top = 88.7228f,
                bottom = -87.3365f; /* ln of the largest and smallest normal numbers */
    float c = x > top ? top : x;
    c = c < bottom ? bottom : c;
    float t = c * 1.44269504f +
              12582912.0f; /* adding 1.5 * 2^23 rounds to an integer held in the low bits */
    float n = t - 12582912.0f;
    float r = (c - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    float y = p * (r * r) + r + 1.0f;
    /* 2^n in two factors, since n reaches 128. */
    int32_t e = (int32_t)(weft_to_bits(t) - 0x4B400000u), half = e >> 1;
    y *= weft_from_bits((uint32_t)(half + 127) << 23);
    y *= weft_from_bits((uint32_t)(e - half + 127) << 23);
    y = x < bottom ? 0.0f : y;
    return x > top ? INFINITY : y;
}

/* e^x for x <= 0 alone (softmax after its maximum is taken off): the same values, two thirds of the
 * work. */
WEFT_INLINE float weft_exp_nonpositive(float x)
{
    const float bottom = -87.3365f;
    float c = x < bottom ? bottom : x;
    float t = c * 1.44269504f + 12582912.0f;
    float n = t - 12582912.0f;
    float r = (c - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    float y = p * (r * r) + r + 1.0f;
    y *= weft_from_bits((weft_to_bits(t) - (0x4B400000u - 127u)) << 23);
    return x < bottom ? 0.0f : y;
}

/* tanh x, relative error below 2e-7: Cephes' tanhf polynomial for |x| < 0.625, else 1 - 2 / (e^2|x|
 * + 1). */
WEFT_INLINE float weft_tanh(float x)
{
    float a = weft_from_bits(weft_to_bits(x) & 0x7fffffffu), z = x * x;
    float big = 1.0f - 2.0f / (weft_exp(2.0f * a) + 1.0f);
    big = weft_from_bits(weft_to_bits(big) | (weft_to_bits(x) & 0x80000000u));
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    float small = p * z * x + x;
    return a < 0.625f ? small : big;
}

/* By address: a vector argument would depend on the instruction set's calling convention. */
WEFT_INLINE double weft_lanes_sum(const weft_f32x8 *p)
{
    weft_f32x8 v = *p;
    return (((double)v[0] + v[1]) + ((double)v[2] + v[3])) +
           (((double)v[4] + v[5]) + ((double)v[6] + v[7]));
}

/* Sum of n values: eight lanes in float over at most 1024 values, then double. */
WEFT_INLINE double weft_sum(const float *x, int64_t n)
{
    double total = 0;
    int64_t i = 0;
    while (i + 8 <= n) {
        int64_t end = n - i > 1024 ? i + 1024 : n;
        weft_f32x8 a = {0}, b = {0};
        for (; i + 16 <= end; i += 16) {
            a += *(const weft_f32x8 *)(x + i);
            b += *(const weft_f32x8 *)(x + i + 8);
        }
        for (; i + 8 <= end; i += 8)
            a += *(const weft_f32x8 *)(x + i);
        a += b;
        total += weft_lanes_sum(&a);
    }
    for (; i < n; i++)
        total += x[i];
    return total;
}

/* Sum of x[i] * y[i], in the same order. */
WEFT_INLINE double weft_dot(const float *x, const float *y, int64_t n)
{
    double total = 0;
    int64_t i = 0;
    while (i + 8 <= n) {
        int64_t end = n - i > 1024 ? i + 1024 : n;
        weft_f32x8 a = {0}, b = {0};
        for (; i + 16 <= end; i += 16) {
            a += *(const weft_f32x8 *)(x + i) * *(const weft_f32x8 *)(y + i);
            b += *(const weft_f32x8 *)(x + i + 8) * *(const weft_f32x8 *)(y + i + 8);
        }
        for (; i + 8 <= end; i += 8)
            a += *(const weft_f32x8 *)(x + i) * *(const weft_f32x8 *)(y + i);
        a += b;
        total += weft_lanes_sum(&a);
    }
    for (; i < n; i++)
        total += (double)x[i] * y[i];
    return total;
}

/* Sum of squares in double throughout, so that neither tiny nor huge values are lost. */
WEFT_INLINE double weft_squares(const float *x, int64_t n)
{
    typedef double f64x4 __attribute__((vector_size(32)));
    typedef float f32x4 __attribute__((vector_size(16), aligned(4), may_alias));
    f64x4 sum[4] = {{0}};
    double total = 0;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) /* four chains of additions hide their latency */
        for (int k = 0; k < 4; k++) {
            f64x4 v = __builtin_convertvector(*(const f32x4 *)(x + i + 4 * k), f64x4);
            sum[k] += v * v;
        }
    for (; i < n; i++)
        total += (double)x[i] * x[i];
    sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return total + ((sum[0][0] + sum[0][1]) + (sum[0][2] + sum[0][3]));
}

/* Largest of n values, -inf for none.  NaN is skipped: it shows in the sum that follows. */
WEFT_INLINE float weft_max(const float *x, int64_t n)
{
    float lane[16], m = -INFINITY;
    int64_t i = 0;
    for (int l = 0; l < 16; l++)
        lane[l] = -INFINITY;
    for (; i + 16 <= n; i += 16) {
#pragma omp simd
        for (int l = 0; l < 16; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    }
    for (int l = 0; l < 16; l++)
        m = lane[l] > m ? lane[l] : m;
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

#endif
