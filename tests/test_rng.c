/* test_rng.c - Philox against the published vectors; normal numbers against the C library and their moments. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph/rng.h"

static void check(uint64_t seed, uint64_t step, uint32_t stream, uint64_t index, const uint32_t want[4])
{
    uint32_t got[4];
    weft_random4(got, seed, step, stream, index);
    for (int i = 0; i < 4; i++)
        assert_int_equal(got[i], want[i]);
}

/* The three philox4x32-10 lines of Random123's kat_vectors, their counters cut into our (index, step, stream). */
static void test_known_answers(void **state)
{
    (void)state;
    check(0, 0, 0, 0, (uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    check(~(uint64_t)0, 0xffffffffffff, 0xffffffff, 0xffffffffffff,
          (uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    check(0x299f31d0a4093822, 0x85a313198a2e, 0x03707344, 0x08d3243f6a88,
          (uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

/* Against log, cos and sin of the C library: both sides are good to about 1e-15, |z| <= 6.7. */
static void test_normal_values(void **state)
{
    (void)state;
    const uint32_t edge[] = {0, 1, 0x1fffffff, 0x20000000, 0x40000000, 0x7fffffff, 0x80000000, 0xa0000000,
                             0xc0000000, 0xfffffffe, 0xffffffff};
    const int n = sizeof edge / sizeof *edge;
    double worst = 0;
    for (int i = 0; i < n * n + 10000; i++) {
        uint32_t w[4];
        weft_random4(w, 7, 0, 0, (uint64_t)i);
        if (i < n * n) {
            w[0] = edge[i / n];
            w[1] = edge[i % n];
        }
        double z[4];
        weft_random_normal4(z, w);
        double r = sqrt(-2 * log(weft_random_unit(w[0]))), t = 2 * M_PI * (w[1] / 4294967296.0);
        worst = fmax(worst, fmax(fabs(z[0] - r * cos(t)), fabs(z[1] - r * sin(t))));
        assert_true(isfinite(z[0]) && isfinite(z[1]) && isfinite(z[2]) && isfinite(z[3]));
    }
    assert_true(worst < 1e-14);
}

/* Moments of a million numbers: five standard errors each (sd of the mean 1e-3, of the variance sqrt 2 e-3, of the
 * fourth moment sqrt 96 e-3). */
static void test_normal_moments(void **state)
{
    (void)state;
    double sum = 0, sum2 = 0, sum4 = 0;
    const int n = 1000000;
    for (int i = 0; i < n / 4; i++) {
        uint32_t w[4];
        double z[4];
        weft_random4(w, 42, 3, 9, (uint64_t)i);
        weft_random_normal4(z, w);
        for (int j = 0; j < 4; j++) {
            sum += z[j];
            sum2 += z[j] * z[j];
            sum4 += z[j] * z[j] * z[j] * z[j];
        }
    }
    assert_true(fabs(sum / n) < 5e-3);
    assert_true(fabs(sum2 / n - 1) < 7.1e-3);
    assert_true(fabs(sum4 / n - 3) < 49e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_normal_values),
        cmocka_unit_test(test_normal_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
