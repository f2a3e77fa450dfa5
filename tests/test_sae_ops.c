/* test_sae_ops.c - ops of training autoencoders where the answer is known beforehand: medians of
 * points in the plane, counts over several runs, in training and outside of it. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/ir.h"
#include "graph/plan.h"

typedef struct {
    weft_ctx *ctx;
    weft_graph *g;
    weft_session *s;
    weft_program *p;
} rig;

static void open_rig(rig *t)
{
    memset(t, 0, sizeof *t);
    t->ctx = weft_open(&(weft_options){.threads = 2});
    assert_non_null(t->ctx);
    t->g = weft_graph_new(t->ctx);
    if (!t->g || weft_session_new(t->ctx, false, &t->s))
        fail_msg("%s", weft_error(t->ctx));
}

static void close_rig(rig *t)
{
    weft_session_free(t->s);
    weft_graph_free(t->g);
    weft_close(t->ctx);
}

static weft_val input(rig *t, const char *name, weft_dtype d, int64_t rows, int64_t cols)
{
    weft_type type = weft_type_make(d, 2, (int64_t[]){rows, cols});
    return weft_graph_input(t->g, name, &type);
}

/* The program that computes y, called "y". */
static void compile(rig *t, weft_val y, bool train)
{
    const char *fetch[] = {"y"};
    const weft_compile_options o = {.train = train};
    if (y < 0 || (weft_graph_find_output(t->g, "y") < 0 && weft_graph_output(t->g, "y", y)) ||
        weft_program_compile(t->s, t->g, fetch, 1, &o, &t->p) || weft_session_init(t->s, 1))
        fail_msg("%s", weft_error(t->ctx));
}

static const void *run(rig *t, const char *name, const void *data, size_t bytes)
{
    memcpy(weft_program_input(t->p, name, NULL), data, bytes);
    if (weft_program_run(t->p))
        fail_msg("%s", weft_error(t->ctx));
    return weft_program_output(t->p, "y", NULL);
}

/* ---- geometric_median ---- */
static void median_of(const float *rows, int64_t n, int64_t iterations, float out[2])
{
    rig t;
    open_rig(&t);
    weft_val x = input(&t, "x", WEFT_F32, n, 2);
    compile(&t, weft_graph_emit(t.g, "geometric_median", &x, 1, "iterations=%d", (int)iterations),
            false);
    memcpy(out, run(&t, "x", rows, sizeof(float) * 2 * (size_t)n), 2 * sizeof *out);
    close_rig(&t);
}

/* Of four corners of a convex figure it is where the diagonals cross (Fagnano), here the lines
 * y = x and y = 2 - x/2. */
static void median_of_four(void **unused)
{
    (void)unused;
    static const float corner[] = {0, 0, 4, 0, 3, 3, 0, 2};
    float m[2];
    median_of(corner, 4, 1000, m);
    assert_true(fabsf(m[0] - 4 / 3.0f) < 1e-5f && fabsf(m[1] - 4 / 3.0f) < 1e-5f);
    median_of(corner, 4, 0, m); /* the mean */
    assert_true(fabsf(m[0] - 1.75f) < 1e-6f && fabsf(m[1] - 1.25f) < 1e-6f);
}

/* Far rows do not move it, as they do the mean; a row on the point itself is no division by 0. */
static void median_is_robust(void **unused)
{
    (void)unused;
    float row[2 * 9] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, m[2];
    for (int i = 5; i < 9; i++)
        row[2 * i] = 1e6f, row[2 * i + 1] = -1e6f;
    median_of(row, 9, 100, m);
    assert_true(fabsf(m[0] - 1) < 1e-3f && fabsf(m[1] - 1) < 1e-3f);
}

/* ---- idle_count ---- */
static weft_val idle(rig *t, weft_val x, weft_val index)
{
    const weft_type type = weft_type_make(WEFT_I32, 1, (int64_t[]){4});
    weft_val in[] = {weft_graph_state(t->g, "count", &type, "zeros", false), x, index};
    return weft_graph_emit(t->g, "idle_count", in, index < 0 ? 2 : 3, "above=%g", 0.5);
}

static void expect_counts(rig *t, const float *x, int32_t a, int32_t b, int32_t c, int32_t d)
{
    const int32_t want[] = {a, b, c, d};
    assert_memory_equal(run(t, "x", x, sizeof(float) * 8), want, sizeof want);
}

/* Rows since the last activity; what is not above the limit is none. The state itself changes. */
static void counts_rows(void **unused)
{
    (void)unused;
    static const float none[8] = {0.5f, 0.4f, -9}, first[8] = {1, 0, 0, 0, 0, 0, 0, 0.6f};
    rig t;
    open_rig(&t);
    compile(&t, idle(&t, input(&t, "x", WEFT_F32, 2, 4), WEFT_NONE), true);
    expect_counts(&t, none, 2, 2, 2, 2);
    expect_counts(&t, first, 0, 4, 4, 0);
    expect_counts(&t, none, 2, 6, 6, 2);
    int32_t *count = weft_session_data(t.s, "count", NULL);
    assert_int_equal(count[1], 6);
    count[1] = INT_MAX - 1; /* it stays at the largest number */
    expect_counts(&t, none, 4, INT_MAX, 8, 4);
    expect_counts(&t, none, 6, INT_MAX, 10, 6);
    compile(&t, weft_graph_find_output(t.g, "y"), false); /* outside training it stands still */
    const int32_t *y = weft_program_run(t.p) ? NULL : weft_program_output(t.p, "y", NULL);
    assert_true(y && y[0] == 6 && count[0] == 6);
    close_rig(&t);
}

static void counts_sparse_rows(void **unused)
{
    (void)unused;
    static const float x[8] = {1, 0.2f, 0, 1, 0, 0, 0, 0};
    rig t;
    open_rig(&t);
    weft_val v = input(&t, "x", WEFT_F32, 2, 4), i = input(&t, "i", WEFT_I32, 2, 4);
    compile(&t, idle(&t, v, i), true);
    int32_t *index = weft_program_input(t.p, "i", NULL);
    memcpy(index, (int32_t[]){2, 1, 0, 2, 3, 0, 1, 2}, 8 * sizeof *index);
    expect_counts(&t, x, 2, 2, 0, 2);
    index = weft_program_input(t.p, "i", NULL); /* an index that is out of range */
    memcpy(index, (int32_t[]){2, 1, 0, 4, 3, 0, 1, 2}, 8 * sizeof *index);
    memcpy(weft_program_input(t.p, "x", NULL), x, sizeof x);
    assert_int_not_equal(weft_program_run(t.p), WEFT_OK);
    assert_non_null(strstr(weft_error(t.ctx), "index 4 is outside of 0..3"));
    close_rig(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(median_of_four),
        cmocka_unit_test(median_is_robust),
        cmocka_unit_test(counts_rows),
        cmocka_unit_test(counts_sparse_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
