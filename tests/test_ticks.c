/* test_ticks.c - ticks of an axis: round numbers inside, as many as asked for, and an end for every
 * range that a file or an option can make. */
#include <math.h>

#include "tests/store.h"

#include "tools/ticks.h"

static void check(double low, double high, int want)
{
    ticks t = ticks_in(low, high, want);
    assert_true(t.n >= 0 && t.n <= TICKS_MOST && ticks_decimals(&t) >= 0);
    for (int i = 0; i < t.n; i++) {
        assert_true(ticks_at(&t, i) >= low - 1e-9 * t.step &&
                    ticks_at(&t, i) <= high + 1e-9 * t.step);
        assert_true(!i || ticks_at(&t, i) > ticks_at(&t, i - 1));
    }
}

static void test_plain(void **state)
{
    (void)state;
    ticks t = ticks_in(0, 10, 5);
    assert_int_equal(t.n, 6);
    assert_true(t.step == 2 && ticks_at(&t, 5) == 10 && ticks_decimals(&t) == 0);
    t = ticks_in(-0.31, 0.32, 6);
    assert_int_equal(t.n, 7);
    assert_true(t.step == 0.1 && ticks_at(&t, 3) == 0 && !signbit(ticks_at(&t, 3)));
    assert_int_equal(ticks_decimals(&t), 1);
    for (double low = -3; low < 3; low += 0.37)
        for (double range = 1e-6; range < 1e9; range *= 3.3) {
            t = ticks_in(low, low + range, 5);
            assert_true(t.n >= 2 && t.n <= 11);
            check(low, low + range, 5);
        }
}

/* Of each of these x += step would never end, or nearly so. */
static void test_no_end(void **state)
{
    (void)state;
    static const double odd[] = {0,        1,         -1,     1e17,        1e17 + 16,
                                 -1e17,    1e300,     -1e300, 1.7e308,     -1.7e308,
                                 5e-324,   1e-310,    1e-300, 1 + 2.3e-16, NAN,
                                 INFINITY, -INFINITY, 0.1,    3e15,        3e15 + 1};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        for (size_t k = 0; k < sizeof odd / sizeof *odd; k++)
            for (int want = 1; want < 10; want++)
                check(odd[i], odd[k], want);
    assert_int_equal(ticks_in(1e17, 1e17 + 16, 6).n, 0);
    assert_int_equal(ticks_in(1, 1, 5).n, 0);
    assert_int_equal(ticks_in(2, 1, 5).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
