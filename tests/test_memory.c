/* test_memory.c - the memory planner on random lifetimes, against the independent checker and the
 * lower bound, and against a walk over all buffers.  Plans of very many buffers are quick. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "graph/plan.h"

enum { MAX = 300 };

static uint32_t draw(uint64_t set, uint64_t i)
{
    uint32_t w[4];
    weft_random4(w, 11, set, 0, i);
    return w[0];
}

/* With as much scratch as was said, so that a sanitizer sees what goes beyond it. */
static size_t plan(const weft_life *life, int n, size_t *offset)
{
    void *work = malloc(weft_memory_work(n));
    assert_non_null(work);
    size_t peak = weft_memory_plan(life, n, 64, offset, work);
    free(work);
    return peak;
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
        size_t peak = plan(life, n, offset), bound = lower_bound(life, n, 64);
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
        size_t peak = plan(life, n, offset);
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
    assert_int_equal(plan(chain, 6, offset), 256);
    assert_true(weft_memory_check(chain, 6, offset, 256, work, &a, &b));
    assert_int_equal(plan(chain, 0, offset), 0);
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
    assert_true(plan(life, 4, offset) == SIZE_MAX);
    assert_true(plan(life, 2, offset) == SIZE_MAX);
    assert_true(plan(life, 1, offset) == quarter);
    life[0].bytes = SIZE_MAX;
    assert_true(plan(life, 1, offset) == SIZE_MAX);
    life[0].bytes = life[1].bytes = PTRDIFF_MAX / 2 - 63;
    size_t peak = plan(life, 2, offset);
    assert_true(peak <= PTRDIFF_MAX && weft_memory_check(life, 2, offset, peak, work, &a, &b));
}

/* ---- the same plan, by walking over all buffers ---- */
static int compare_by_size(const void *p, const void *q)
{
    const weft_life *a = *(const weft_life *const *)p, *b = *(const weft_life *const *)q;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    return a->first != b->first ? (a->first > b->first) - (a->first < b->first) : (a > b) - (a < b);
}

static size_t plain_gap(const weft_life *life, const int *at, int n, int b, const size_t *offset)
{
    size_t need = (life[b].bytes + 63) / 64 * 64, end = 0, best = 0, size = SIZE_MAX;
    for (int i = 0; i < n; i++) {
        const weft_life *p = &life[at[i]];
        if (p->last < life[b].first || p->first > life[b].last)
            continue;
        size_t start = offset[at[i]], stop = start + (p->bytes + 63) / 64 * 64;
        if (start >= end && start - end >= need && start - end < size) {
            best = end;
            size = start - end;
        }
        end = stop > end ? stop : end;
    }
    return size == SIZE_MAX ? end : best;
}

static void plain_plan(const weft_life *life, int n, size_t *offset)
{
    const weft_life **order = calloc((size_t)n, sizeof *order);
    int *at = calloc((size_t)n, sizeof *at);
    assert_true(order && at);
    for (int i = 0; i < n; i++)
        order[i] = &life[i];
    qsort(order, (size_t)n, sizeof *order, compare_by_size);
    for (int k = 0; k < n; k++) {
        int b = (int)(order[k] - life), i = k;
        offset[b] = life[b].bytes ? plain_gap(life, at, k, b, offset) : 0;
        for (; i > 0 && offset[at[i - 1]] > offset[b]; i--)
            at[i] = at[i - 1];
        at[i] = b;
    }
    free(order);
    free(at);
}

/* Lives as those of training a chain: activations that the backward pass reads, last one first,
 * gradients that all live to the end, and values of one step, of sizes that differ by `sizes`. */
static int chain_lives(weft_life *life, int n, uint32_t sizes)
{
    for (int i = 0; i < n; i++) {
        int first = i % 3 == 2 ? 2 * n - i : i;
        int last = i % 3 == 0 ? 2 * n - i : i % 3 == 1 ? i + 1 : 2 * n;
        life[i] =
            (weft_life){(i % 3 == 2 ? 16 : 8) + 64 * (draw(7, (uint64_t)i) % sizes), first, last};
    }
    return n;
}

static void test_plain_plan_is_equal(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    static weft_life life[MANY];
    static size_t offset[MANY], plain[MANY];
    for (uint64_t set = 0; set < 210; set++) {
        int n = set < 200 ? random_lives(set, life)
                          : chain_lives(life, 300 * (int)(set - 199), 1u << set % 5);
        plan(life, n, offset);
        plain_plan(life, n, plain);
        assert_memory_equal(offset, plain, sizeof *offset * (size_t)n);
    }
}

/* Looking at every buffer for every other would take minutes. */
static void test_many_buffers(void **state)
{
    (void)state;
    enum { MANY = 120000 };
    weft_life *life = calloc(MANY, sizeof *life);
    size_t *offset = calloc(MANY, sizeof *offset);
    int *work = calloc(2 * MANY, sizeof *work), a, b;
    assert_true(life && offset && work);
    clock_t start = clock();
    size_t peak = plan(life, chain_lives(life, MANY, 1), offset);
    assert_true(weft_memory_check(life, MANY, offset, peak, work, &a, &b));
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 10);
    free(life);
    free(offset);
    free(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_sets),         cmocka_unit_test(test_checker_sees),
        cmocka_unit_test(test_known_plan),          cmocka_unit_test(test_sums_are_checked),
        cmocka_unit_test(test_plain_plan_is_equal), cmocka_unit_test(test_many_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
