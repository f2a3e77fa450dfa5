/* test_rng.c - Philox against the published vectors; normal numbers against the C library and their
 * moments. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "graph/rng.h"

static void check(uint64_t seed, uint64_t step, uint32_t stream, uint64_t index,
                  const uint32_t want[4])
{
    uint32_t got[4];
    weft_random4(got, seed, step, stream, index);
    for (int i = 0; i < 4; i++)
        assert_int_equal(got[i], want[i]);
}

/* The three philox4x32-10 lines of Random123's kat_vectors, their counters cut into our (index,
 * step, stream). */
static void test_known_answers(void **state)
{
    (void)state;
    check(0, 0, 0, 0, (uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    check(~(uint64_t)0, 0xffffffffffff, 0xffffffff, 0xffffffffffff,
          (uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    check(0x299f31d0a4093822, 0x85a313198a2e, 0x03707344, 0x08d3243f6a88,
          (uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

/* Against log, cos and sin of the C library in double: what is left is the rounding to float,
 * 2^-24. */
static void test_normal_values(void **state)
{
    (void)state;
    enum { N = 40000 };
    static float z[N];
    double worst = 0;
    weft_random_normals(z, N, 1, 7, 5, 3, 11);
    for (int i = 0; i < N; i += 2) {
        uint32_t w[4];
        weft_random4(w, 7, 5, 3, 11 + (uint64_t)i / 4);
        double r = sqrt(-2 * log(weft_random_unit(w[i % 4]))),
               t = 2 * M_PI * (w[i % 4 + 1] / 4294967296.0);
        worst = fmax(worst, fabs(z[i] - r * cos(t)) / fmax(fabs(r * cos(t)), 1e-3));
        worst = fmax(worst, fabs(z[i + 1] - r * sin(t)) / fmax(fabs(r * sin(t)), 1e-3));
    }
    assert_true(worst < 1.001 / 16777216);
    float part[8];
    weft_random_normals(part, 8, 1, 7, 5, 3, 11 + 25); /* the same wherever a run starts */
    for (int i = 0; i < 8; i++)
        assert_true(part[i] == z[100 + i]);
}

/* Moments of a million numbers: five standard errors each (sd of the mean 1e-3, of the variance
 * sqrt 2 e-3, of the fourth moment sqrt 96 e-3; uniform: sd of the mean sqrt(1/12) e-3). */
static void test_moments(void **state)
{
    (void)state;
    enum { N = 1000000 };
    static float z[N];
    double sum = 0, sum2 = 0, sum4 = 0, low = 1, high = 0;
    weft_random_normals(z, N, 1, 42, 3, 9, 0);
    for (int i = 0; i < N; i++) {
        double q = (double)z[i] * z[i];
        sum += z[i];
        sum2 += q;
        sum4 += q * q;
        assert_true(isfinite(z[i]));
    }
    assert_true(fabs(sum / N) < 5e-3);
    assert_true(fabs(sum2 / N - 1) < 7.1e-3);
    assert_true(fabs(sum4 / N - 3) < 49e-3);
    weft_random_uniforms(z, N, -1, 3, 42, 4, 9, 0);
    sum = 0;
    for (int i = 0; i < N; i++) {
        sum += z[i];
        low = fmin(low, z[i]);
        high = fmax(high, z[i]);
    }
    assert_true(fabs(sum / N - 1) < 4 * 1.45e-3);
    assert_true(low >= -1 && low < -0.9999 && high <= 3 && high > 2.9999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_normal_values),
        cmocka_unit_test(test_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
