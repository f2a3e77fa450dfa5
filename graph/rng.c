/* rng.c - counter-based random numbers: Philox4x32-10, and exactly reproducible normal numbers. */
#include "graph/rng.h"

#include <math.h>
#include <string.h>

/* Ten rounds of Philox with 4 x 32-bit words (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011;
 * constants and test vectors from the Random123 distribution). */
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

/* The counter has 128 bits for step, stream and index; 48 bits of step and of index are enough for both and leave
 * the stream its own word, so that no two (step, stream, index) below 2^48 share a counter. */
void weft_random4(uint32_t out[4], uint64_t seed, uint64_t step, uint32_t stream, uint64_t index)
{
    out[0] = (uint32_t)index;
    out[1] = (uint32_t)(index >> 32 & 0xffff) | (uint32_t)(step >> 32 & 0xffff) << 16;
    out[2] = (uint32_t)step;
    out[3] = stream;
    philox(out, (uint32_t)seed, (uint32_t)(seed >> 32));
}

/* log of a normal number in (0, 1], to 1e-15 relative: x = 2^e m with m in [sqrt(1/2), sqrt 2), then
 * log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.1716. Only + - * /, which IEEE 754 rounds the same on every
 * machine; the C library's log differs between CPUs in the last bit. */
static double log_unit(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int e = (int)(bits >> 52) - 1022;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1022 << 52; /* m in [1/2, 1) */
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m < 0.70710678118654752) {
        m *= 2;
        e--;
    }
    double s = (m - 1) / (m + 1), z = s * s, sum = 0;
    for (int n = 19; n >= 1; n -= 2) /* s^21/21 < 4e-18 */
        sum = sum * z + 1.0 / n;
    return e * 0.69314718055994531 + 2 * s * sum;
}

/* cos and sin of 2 pi w / 2^32: the octant is exact in integers, the rest is a Taylor series on |t| <= pi/4. */
static void sincos_turn(uint32_t w, double *c, double *s)
{
    uint32_t shifted = w + 0x20000000u;        /* nearest quarter turn in the two top bits */
    int quarter = (int)(shifted >> 30);
    double t = (double)((int64_t)(shifted & 0x3fffffffu) - 0x20000000) * (6.283185307179586 / 4294967296.0);
    double z = t * t, cs = 1, sn = 1;
    for (int n = 16; n >= 2; n -= 2) { /* nested: 1 - z/(1*2) (1 - z/(3*4) (...)) */
        cs = 1 - z / (n * (n - 1)) * cs;
        sn = 1 - z / (n * (n + 1)) * sn;
    }
    sn *= t;
    *c = quarter == 0 ? cs : quarter == 1 ? -sn : quarter == 2 ? -cs : sn;
    *s = quarter == 0 ? sn : quarter == 1 ? cs : quarter == 2 ? -sn : -cs;
}

double weft_random_unit(uint32_t word) { return (word + 0.5) * (1.0 / 4294967296.0); }

/* Box and Muller (1958), one pair from each half of the four words. */
void weft_random_normal4(double out[4], const uint32_t word[4])
{
    for (int i = 0; i < 4; i += 2) {
        double r = sqrt(-2 * log_unit(weft_random_unit(word[i]))), c, s;
        sincos_turn(word[i + 1], &c, &s);
        out[i] = r * c;
        out[i + 1] = r * s;
    }
}
