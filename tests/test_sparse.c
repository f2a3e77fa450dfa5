/* test_sparse.c - the k largest of a row in all the corners (equal numbers, NaN, infinities, too
 * few candidates), and long rows, where blocks are skipped. */
#include "tests/rewrite.h"

/* Runs topk on rows of n numbers; `among` may be NULL. */
static void run_topk(const float *x, const float *among, int64_t rows, int64_t n, int k,
                     bool reference, float *value, int32_t *index)
{
    const char *fetch[] = {"value", "index"};
    char attrs[32];
    weft_session *s;
    weft_program *p;
    weft_type t;
    weft_graph *g = weft_graph_new(ctx);
    weft_val in[] = {input(g, "x", WEFT_F32, 2, rows, n, 0),
                     among ? input(g, "among", WEFT_F32, 2, rows, n, 0) : WEFT_NONE};
    snprintf(attrs, sizeof attrs, "k=%d", k);
    weft_val y = weft_graph_emit(g, "topk", in, among ? 2 : 1, "%s", attrs);
    ok(weft_graph_output(g, "value", y));
    ok(weft_graph_output(g, "index", nth(g, y, 1)));
    ok(weft_session_new(ctx, reference, &s));
    ok(weft_program_compile(s, g, fetch, 2, &(weft_compile_options){.no_rewrite = true}, &p));
    for (int i = 0; i < (among ? 2 : 1); i++) {
        void *to = weft_program_input(p, i ? "among" : "x", &t);
        weft_tensor flat = {to, t.dtype, 1, rows * n, {rows * n}, {1}};
        for (int64_t j = 0; j < rows * n; j++)
            weft_put(&flat, j, (double)(i ? among : x)[j]);
    }
    ok(weft_program_run(p));
    const void *v = weft_program_output(p, "value", &t);
    weft_tensor flat = {(void *)(uintptr_t)v, t.dtype, 1, rows * k, {rows * k}, {1}};
    for (int64_t j = 0; j < rows * k; j++)
        value[j] = (float)weft_get(&flat, j);
    memcpy(index, weft_program_output(p, "index", &t), sizeof *index * (size_t)(rows * k));
    weft_session_free(s);
    weft_graph_free(g);
}

/* The order is total: what the op, and its reference, give for one row is known by hand. */
static void test_order(void **state)
{
    (void)state;
    static const struct {
        float x[8], among[8];
        bool masked;
        int32_t want[8];
    } rows[] = {
        {{1, 3, 3, 2, 3, 0, 1, 2}, {0}, false, {1, 2, 4, 3, 7, 0, 6, 5}},
        {{0, -0.0f, 1, -1, 0, -0.0f, 2, 0}, {0}, false, {6, 2, 0, 1, 4, 5, 7, 3}},
        {{NAN, INFINITY, -INFINITY, NAN, 0, -1, INFINITY, 1}, {0}, false, {1, 6, 7, 4, 5, 2, 0, 3}},
        {{NAN, NAN, NAN, NAN, NAN, NAN, NAN, -INFINITY}, {0}, false, {7, 0, 1, 2, 3, 4, 5, 6}},
        {{9, 8, 7, 6, 5, 4, 3, 2}, {0, 1, 0, 0, 2, -1, 0, 0}, true, {1, 4, 5, 0, 2, 3, 6, 7}},
        {{9, -8, 7, NAN, 5, 4, 3, 2},
         {0, 1, -0.0f, NAN, 0, 0, 0, 0},
         true,
         {1, 3, 0, 2, 4, 5, 6, 7}},
        {{1, 2, 3, NAN, 5, 6, 7, 8}, {0}, true, {0, 1, 2, 3, 4, 5, 6, 7}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (int k = 1; k <= 8; k++)
            for (int reference = 0; reference < 2; reference++) {
                float value[8];
                int32_t index[8];
                run_topk(rows[r].x, rows[r].masked ? rows[r].among : NULL, 1, 8, k, reference,
                         value, index);
                for (int j = 0; j < k; j++) {
                    float want = rows[r].x[rows[r].want[j]];
                    if (index[j] != rows[r].want[j] || memcmp(&value[j], &want, sizeof want))
                        if (index[j] != rows[r].want[j] || !(isnan(want) && isnan(value[j])))
                            fail_msg("row %d, k=%d: place %d has index %d, value %g", (int)r, k, j,
                                     (int)index[j], (double)value[j]);
                }
            }
}

static float number(int kind, uint32_t row, int64_t i, int64_t n)
{
    uint32_t w[4];
    weft_random4(w, 5, 6, row, (uint64_t)i);
    switch (kind) {
    case 0:
        return (float)(int32_t)w[0];
    case 1:
        return (float)i; /* every number is the largest so far */
    case 2:
        return w[0] % 100 == 0 ? (float)w[1] : 0; /* mostly zeros, as behind a relu */
    case 3:
        return w[0] % 50 ? NAN : -(float)(w[1] % 9); /* blocks of NaN alone */
    case 4:
        return i == n - 1 ? 1 : -INFINITY;
    default:
        return (float)(w[0] % 5);
    }
}

static const float *sorted_x, *sorted_among; /* for qsort */

static int by_order(const void *pa, const void *pb)
{
    int32_t a = *(const int32_t *)pa, b = *(const int32_t *)pb;
    float x = sorted_x[a], y = sorted_x[b];
    bool out_a = sorted_among && sorted_among[a] == 0, out_b = sorted_among && sorted_among[b] == 0;
    if (out_a != out_b)
        return out_a - out_b;
    if (out_a || x == y || (isnan(x) && isnan(y)))
        return a - b;
    return isnan(x) || x < y ? 1 : -1;
}

/* Long rows, where the kernel skips blocks, against sorting. */
static void test_long_rows(void **state)
{
    (void)state;
    enum { N = 2100, ROWS = 3, MOST = 40 };
    static float x[ROWS * N], among[ROWS * N];
    for (int kind = 0; kind < 6; kind++)
        for (int masked = 0; masked < 3; masked++) {
            for (int64_t i = 0; i < ROWS * N; i++) {
                uint32_t w[4];
                weft_random4(w, 7, 8, (uint32_t)masked, (uint64_t)i);
                x[i] = number(kind, (uint32_t)(i / N), i % N, N);
                among[i] = masked == 1 ? (float)(w[0] % 2) : (float)(w[0] % 200 == 0);
            }
            int32_t all[ROWS * N], index[ROWS * MOST];
            for (int64_t i = 0; i < ROWS * N; i++)
                all[i] = (int32_t)(i % N);
            for (int64_t row = 0; row < ROWS; row++) {
                sorted_x = x + row * N;
                sorted_among = masked ? among + row * N : NULL;
                qsort(all + row * N, N, sizeof *all, by_order);
            }
            for (int k = 1; k <= MOST; k = k * 3 + 1) {
                float value[ROWS * MOST];
                run_topk(x, masked ? among : NULL, ROWS, N, k, false, value, index);
                for (int64_t row = 0; row < ROWS; row++)
                    if (memcmp(index + row * k, all + row * N, sizeof *all * (size_t)k))
                        fail_msg("numbers %d, masked %d, k=%d: not as sorted", kind, masked, k);
            }
        }
}

/* The gradient of a chosen zero reaches it: the mask is by position, not by value. */
static void test_mask_of_zeros(void **state)
{
    (void)state;
    const char *fetch = "dx";
    weft_session *s;
    weft_program *p;
    weft_type t;
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 1, 4, 0, 0), d;
    weft_val y = EMIT(g, "sum", "", EMIT(g, "topk_mask", "k=3", x));
    ok(weft_graph_gradient(g, y, &x, 1, &d));
    ok(weft_graph_output(g, "dx", d));
    ok(weft_session_new(ctx, false, &s));
    ok(weft_program_compile(s, g, &fetch, 1, &(weft_compile_options){.no_rewrite = true}, &p));
    memcpy(weft_program_input(p, "x", &t), (float[]){0, -1, 5, 0}, 4 * sizeof(float));
    ok(weft_program_run(p));
    assert_memory_equal(weft_program_output(p, "dx", &t), ((float[]){1, 0, 1, 1}),
                        4 * sizeof(float));
    weft_session_free(s);
    weft_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_mask_of_zeros),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
