/* test_memory.c - the memory planner on random lifetimes, against the independent checker and the
 * lower bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "graph/plan.h"

enum { MAX = 300 };

static uint32_t draw(uint64_t set, uint64_t i)
{
    uint32_t w[4];
    weft_random4(w, 11, set, 0, i);
    return w[0];
}

static int random_lives(uint64_t set, weft_life *life)
{
    int n = (int)(draw(set, 0) % MAX) + 1, steps = (int)(draw(set, 1) % 200) + 1;
    uint32_t largest = set % 3 == 0   ? 16
                       : set % 3 == 1 ? 5000
                                      : 1u << 26; /* ties, odd sizes, large ones */
    for (int i = 0; i < n; i++) {
        uint64_t at = 2 + 3 * (uint64_t)i;
        int first = (int)(draw(set, at) % (uint32_t)steps);
        int span = (int)(draw(set, at + 1) % (draw(set, at + 1) % 7 ? 8u : 200u));
        life[i] = (weft_life){draw(set, at + 2) % largest, first, first + span};
    }
    return n;
}

static size_t lower_bound(const weft_life *life, int n, size_t align)
{
    size_t bound = 0;
    for (int step = 0; step < 400; step++) {
        size_t sum = 0;
        for (int i = 0; i < n; i++)
            if (life[i].first <= step && step <= life[i].last)
                sum += (life[i].bytes + align - 1) / align * align;
        bound = sum > bound ? sum : bound;
    }
    return bound;
}

static void test_random_sets(void **state)
{
    (void)state;
    weft_life life[MAX];
    size_t offset[MAX];
    int work[2 * MAX], a, b;
    double ratio = 0;
    for (uint64_t set = 0; set < 1500; set++) {
        int n = random_lives(set, life);
        size_t peak = weft_memory_plan(life, n, 64, offset, work), bound = lower_bound(life, n, 64);
        assert_true(weft_memory_check(life, n, offset, peak, work, &a, &b));
        for (int i = 0; i < n; i++)
            assert_int_equal(offset[i] % 64, 0);
        assert_true(peak >= bound);
        ratio += bound ? (double)peak / (double)bound : 1;
    }
    /* Greedy by size stays near the bound on average; a planner that never reuses would be at
     * about 10. */
    assert_true(ratio / 1500 < 1.15);
}

/* The checker must see an overlap planted anywhere, and a buffer that leaves the block. */
static void test_checker_sees(void **state)
{
    (void)state;
    weft_life life[MAX];
    size_t offset[MAX];
    int work[2 * MAX], a, b, planted = 0;
    for (uint64_t set = 0; set < 200; set++) {
        int n = random_lives(set, life);
        size_t peak = weft_memory_plan(life, n, 64, offset, work);
        int i = (int)(draw(set, 5000) % (uint32_t)n), j = (int)(draw(set, 5001) % (uint32_t)n);
        size_t old = offset[i];
        if (i == j || !life[i].bytes || !life[j].bytes || life[i].first > life[j].last ||
            life[j].first > life[i].last)
            continue;
        planted++;
        offset[i] = offset[j] + life[j].bytes - 1; /* one byte in common */
        assert_false(weft_memory_check(life, n, offset, (size_t)1 << 40, work, &a, &b));
        offset[i] = old;
        assert_true(weft_memory_check(life, n, offset, peak, work, &a, &b));
        offset[i] = peak - life[i].bytes + 1;
        assert_false(weft_memory_check(life, n, offset, peak, work, &a, &b));
    }
    assert_true(planted > 20);
}

static void test_known_plan(void **state)
{
    (void)state;
    /* A chain: each buffer lives until the next is made, so two places serve all. */
    weft_life chain[6];
    size_t offset[6];
    int work[12], a, b;
    for (int i = 0; i < 6; i++)
        chain[i] = (weft_life){100, i, i + 1};
    assert_int_equal(weft_memory_plan(chain, 6, 64, offset, work), 256);
    assert_true(weft_memory_check(chain, 6, offset, 256, work, &a, &b));
    assert_int_equal(weft_memory_plan(chain, 0, 64, offset, work), 0);
}

/* Sizes that wrap around are no plan; what just fits is one. */
static void test_sums_are_checked(void **state)
{
    (void)state;
    const size_t quarter = (size_t)1 << 62;
    weft_life life[4] = {{0}};
    size_t offset[4];
    int work[8], a, b;
    for (int i = 0; i < 4; i++)
        life[i] = (weft_life){quarter, 0, 1};
    assert_true(weft_memory_plan(life, 4, 64, offset, work) == SIZE_MAX);
    assert_true(weft_memory_plan(life, 2, 64, offset, work) == SIZE_MAX);
    assert_true(weft_memory_plan(life, 1, 64, offset, work) == quarter);
    life[0].bytes = SIZE_MAX;
    assert_true(weft_memory_plan(life, 1, 64, offset, work) == SIZE_MAX);
    life[0].bytes = life[1].bytes = PTRDIFF_MAX / 2 - 63;
    size_t peak = weft_memory_plan(life, 2, 64, offset, work);
    assert_true(peak <= PTRDIFF_MAX && weft_memory_check(life, 2, offset, peak, work, &a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_sets),
        cmocka_unit_test(test_checker_sees),
        cmocka_unit_test(test_known_plan),
        cmocka_unit_test(test_sums_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
