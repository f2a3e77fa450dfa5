/* rng.c - counter-based random numbers: Philox4x32-10, and exactly reproducible normal numbers. */
#include "graph/rng.h"

#include <math.h>
#include <string.h>

#include "graph/clones.h"

#define CLONES WEFT_CLONES_FOR("avx512f", "avx2", "default")

#define INLINE static inline __attribute__((always_inline))

/* Ten rounds of Philox with 4 x 32-bit words (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011; constants and test vectors from the Random123 distribution). */
static void philox(uint32_t x[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * x[0], p1 = (uint64_t)0xCD9E8D57u * x[2];
        uint32_t y0 = (uint32_t)(p1 >> 32) ^ x[1] ^ k0, y2 = (uint32_t)(p0 >> 32) ^ x[3] ^ k1;
        x[0] = y0;
        x[1] = (uint32_t)p1;
        x[2] = y2;
        x[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* The counter has 128 bits for step, stream and index; 48 bits of step and of index are enough for
 * both and leave the stream its own word, so that no two (step, stream, index) below 2^48 share a
 * counter. */
void weft_random4(uint32_t out[4], uint64_t seed, uint64_t step, uint32_t stream, uint64_t index)
{
    out[0] = (uint32_t)index;
    out[1] = (uint32_t)(index >> 32 & 0xffff) | (uint32_t)(step >> 32 & 0xffff) << 16;
    out[2] = (uint32_t)step;
    out[3] = stream;
    philox(out, (uint32_t)seed, (uint32_t)(seed >> 32));
}

/* log of a normal number in (0, 1), to 1e-15 relative: x = 2^e m with m in [sqrt(1/2), sqrt 2),
 * then log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.1716. Only + - * /, which IEEE 754 rounds
 * the same on every machine; the C library's log differs between CPUs in the last bit. No branches,
 * so that loops of it vectorise. */
INLINE double log_unit(double x)
{
    int64_t bits, shift;
    memcpy(&bits, &x, sizeof bits);
    /* Adding the distance of sqrt(1/2) from 1 makes numbers from there on carry into the exponent.
     */
    shift = bits + (0x3ff0000000000000 - 0x3fe6a09e667f3bcd);
    int64_t e = (shift >> 52) - 1023;
    bits -= (int64_t)((uint64_t)e << 52);
    double m;
    memcpy(&m, &bits, sizeof m);
    double s = (m - 1) / (m + 1), z = s * s, sum = 1.0 / 19; /* s^21/21 < 4e-18 */
    sum = sum * z + 1.0 / 17;
    sum = sum * z + 1.0 / 15;
    sum = sum * z + 1.0 / 13;
    sum = sum * z + 1.0 / 11;
    sum = sum * z + 1.0 / 9;
    sum = sum * z + 1.0 / 7;
    sum = sum * z + 1.0 / 5;
    sum = sum * z + 1.0 / 3;
    sum = sum * z + 1.0;
    return (double)(int32_t)e * 0.69314718055994531 + 2 * s * sum;
}

/* cos and sin of 2 pi w / 2^32: the quarter turn is exact in integers, the rest is a Taylor series
 * on |t| <= pi/4, nested: 1 - z/(1*2) (1 - z/(3*4) (...)). */
INLINE void sincos_turn(uint32_t w, double *c, double *s)
{
    uint32_t shifted = w + 0x20000000u; /* nearest quarter turn in the two top bits */
    uint32_t quarter = shifted >> 30;
    double t = (double)((int32_t)(shifted & 0x3fffffffu) - 0x20000000) *
               (6.283185307179586 / 4294967296.0);
    double z = t * t, cs = 1, sn = 1;
#define TERM(n)                                                                                    \
    cs = 1 - z * (1.0 / ((n) * ((n)-1))) * cs;                                                     \
    sn = 1 - z * (1.0 / ((n) * ((n) + 1))) * sn;
    TERM(16)
    TERM(14)
    TERM(12) TERM(10) TERM(8) TERM(6) TERM(4) TERM(2)
#undef TERM
        sn *= t;
    double x = quarter & 1 ? sn : cs, y = quarter & 1 ? cs : sn;
    *c = (quarter + 1) & 2 ? -x : x;
    *s = quarter & 2 ? -y : y;
}

double weft_random_unit(uint32_t word) { return (word + 0.5) * (1.0 / 4294967296.0); }

/* Box and Muller (1958): two numbers from two words. */
INLINE void box_muller(double *x, double *y, const uint32_t word[2])
{
    /* (word + 1/2) / 2^32 through a signed conversion, which every vector unit has. */
    double u = ((double)(int32_t)(word[0] ^ 0x80000000u) + 2147483648.5) * (1.0 / 4294967296.0);
    double r = sqrt(-2 * log_unit(u)), c, s;
    sincos_turn(word[1], &c, &s);
    *x = r * c;
    *y = r * s;
}

void weft_random_normal4(double out[4], const uint32_t word[4])
{
    box_muller(out, out + 1, word);
    box_muller(out + 2, out + 3, word + 2);
}

CLONES static void normals(float *restrict out, const uint32_t *restrict word, int n,
                           double deviation)
{
#pragma omp simd
    for (int i = 0; i < n; i += 2) {
        double x, y;
        box_muller(&x, &y, word + i);
        out[i] = (float)(x * deviation);
        out[i + 1] = (float)(y * deviation);
    }
}

enum { BATCH = 256 };

static void words(uint32_t *word, int n, uint64_t seed, uint64_t step, uint32_t stream,
                  uint64_t index)
{
    for (int i = 0; i < n; i += 4)
        weft_random4(word + i, seed, step, stream, index + (uint64_t)i / 4);
}

void weft_random_normals(float *out, int n, double deviation, uint64_t seed, uint64_t step,
                         uint32_t stream, uint64_t index)
{
    for (int i = 0; i < n; i += BATCH) {
        uint32_t word[BATCH];
        int k = n - i < BATCH ? n - i : BATCH;
        words(word, k, seed, step, stream, index + (uint64_t)i / 4);
        normals(out + i, word, k, deviation);
    }
}

void weft_random_uniforms(float *out, int n, double a, double b, uint64_t seed, uint64_t step,
                          uint32_t stream, uint64_t index)
{
    uint32_t word[4];
    for (int i = 0; i < n; i++) {
        if (i % 4 == 0)
            weft_random4(word, seed, step, stream, index + (uint64_t)i / 4);
        out[i] = (float)(a + (b - a) * weft_random_unit(word[i % 4]));
    }
}
