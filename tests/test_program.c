/* test_program.c - compiling and running small graphs: values, updates, memory, checks and their
 * messages. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/plan.h"

/* ---- helpers -------------------------------------------------------------------------------- */
static weft_type f32(int rank, int64_t a, int64_t b, int64_t c)
{
    return weft_type_make(WEFT_F32, rank, (int64_t[]){a, b, c});
}

static weft_val input(weft_graph *g, const char *name, weft_type t)
{
    return weft_graph_input(g, name, &t);
}

static weft_val state(weft_graph *g, const char *name, weft_type t, const char *init)
{
    return weft_graph_state(g, name, &t, init, true);
}

#define EMIT(g, op, attrs, ...)                                                                    \
    weft_graph_emit(g, op, (weft_val[]){__VA_ARGS__},                                              \
                    (int)(sizeof((weft_val[]){__VA_ARGS__}) / sizeof(weft_val)), "%s", attrs)

static void ok(weft_ctx *c, weft_status s)
{
    if (s)
        fail_msg("%s", weft_error(c));
}

/* The failure must have this status and mention these texts. */
static void refused(weft_ctx *c, weft_status got, weft_status want, const char *a, const char *b)
{
    if (got != want || !strstr(weft_error(c), a) || !strstr(weft_error(c), b))
        fail_msg("status %d, wanted %d with '%s' and '%s': %s", got, want, a, b, weft_error(c));
    weft_error_clear(c);
}

static weft_program *compile(weft_session *s, const weft_graph *g, const char *fetch,
                             const weft_compile_options *o)
{
    weft_program *p;
    ok(s->ctx, weft_program_compile(s, g, &fetch, 1, o, &p));
    return p;
}

/* x [5,8] -> two layers -> sum of squares, with dx and dw of both layers as outputs. */
static weft_graph *small_net(weft_ctx *c)
{
    weft_graph *g = weft_graph_new(c);
    weft_val x = input(g, "x", f32(2, 5, 8, 0));
    weft_val w1 = state(g, "w1", f32(2, 8, 16, 0), "normal(0.5)"),
             b1 = state(g, "b1", f32(1, 16, 0, 0), "normal(0.1)");
    weft_val w2 = state(g, "w2", f32(2, 3, 16, 0), "uniform(-1,1)");
    weft_val h = EMIT(g, "tanh", "", EMIT(g, "matmul", "", x, w1, b1));
    weft_val y = EMIT(g, "matmul", "tb=1", h, w2);
    weft_val loss = EMIT(g, "sum", "", EMIT(g, "mul", "", y, y));
    loss = EMIT(g, "reshape", "dims=", loss);
    ok(c, c->status);
    weft_val xs[] = {x, w1, b1, w2}, d[4];
    ok(c, weft_graph_gradient(g, loss, xs, 4, d));
    ok(c, weft_graph_output(g, "loss", loss));
    ok(c, weft_graph_output(g, "dx", d[0]));
    ok(c, weft_graph_output(g, "dw1", d[1]));
    ok(c, weft_graph_output(g, "db1", d[2]));
    ok(c, weft_graph_output(g, "dw2", d[3]));
    return g;
}

static void feed(weft_program *p, const char *name, double scale)
{
    weft_type t;
    void *data = weft_program_input(p, name, &t);
    assert_non_null(data);
    for (int64_t i = 0; i < weft_type_count(&t); i++) {
        float v = (float)(scale * sin(1.0 + (double)i));
        if (t.dtype == WEFT_F64)
            ((double *)data)[i] = v;
        else
            ((float *)data)[i] = v;
    }
}

static double fetched(weft_program *p, const char *name, int64_t i)
{
    weft_type t;
    const void *data = weft_program_output(p, name, &t);
    assert_non_null(data);
    assert_true(i < weft_type_count(&t));
    return t.dtype == WEFT_F64 ? ((const double *)data)[i] : ((const float *)data)[i];
}

/* ---- values --------------------------------------------------------------------------------- */
/* Kernels against the double references through the whole path: compile, plan, run, fetch. */
static void test_against_reference(void **state_)
{
    (void)state_;
    static const char *const names[] = {"loss", "dx", "dw1", "db1", "dw2"};
    static const int64_t counts[] = {1, 40, 128, 16, 48};
    weft_ctx *c = weft_open(&(weft_options){.threads = 2});
    weft_graph *g = small_net(c);
    weft_session *s[2];
    weft_program *p[2];
    for (int i = 0; i < 2; i++) {
        ok(c, weft_session_new(c, i, &s[i]));
        ok(c, weft_program_compile(s[i], g, names, 5,
                                   &(weft_compile_options){.train = true, .check_nan = !i}, &p[i]));
        ok(c, weft_session_init(s[i], 3));
        feed(p[i], "x", 1);
        ok(c, weft_program_run(p[i]));
    }
    for (int k = 0; k < 5; k++)
        for (int64_t i = 0; i < counts[k]; i++) {
            double a = fetched(p[0], names[k], i), b = fetched(p[1], names[k], i);
            assert_true(fabs(b) > 1e-6); /* not a comparison of zeros */
            assert_true(fabs(a - b) <=
                        2e-5 * (1 + fabs(b))); /* a few dozen roundings of values near 10 */
        }
    weft_session_free(s[0]);
    weft_session_free(s[1]);
    weft_graph_free(g);
    weft_close(c);
}

/* The third input of accumulate: 0, go on. */
static weft_val no_start(weft_graph *g)
{
    const weft_type t = weft_type_make(WEFT_I32, 0, NULL);
    return weft_graph_state(g, "no", &t, "zeros", false);
}

/* ---- updates of states ---------------------------------------------------------------------- */
/* w accumulates x on every run: state lives across runs and the fetched output is the state's new
 * value. */
static void test_state_update(void **state_)
{
    (void)state_;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = weft_graph_new(c);
    weft_val x = input(g, "x", f32(1, 4, 0, 0)), w = state(g, "w", f32(1, 4, 0, 0), "constant(2)");
    weft_val before = EMIT(g, "scale", "alpha=10", w);
    weft_val y = EMIT(g, "accumulate", "", w, x, no_start(g));
    ok(c, weft_graph_output(g, "before", before));
    ok(c, weft_graph_output(g, "w_new", y));
    weft_session *s;
    ok(c, weft_session_new(c, false, &s));
    weft_program *p;
    ok(c, weft_program_compile(s, g, (const char *[]){"before", "w_new"}, 2,
                               &(weft_compile_options){.train = true}, &p));
    refused(c, weft_program_run(p), WEFT_USAGE, "'w'", "neither initialised nor loaded");
    ok(c, weft_session_init(s, 0));
    for (int run = 0; run < 3; run++) {
        float *in = weft_program_input(p, "x", NULL);
        for (int i = 0; i < 4; i++)
            in[i] = (float)i;
        ok(c, weft_program_run(p));
        for (int i = 0; i < 4; i++) {
            assert_true(fetched(p, "before", i) == 10.0 * (2 + run * i));
            assert_true(fetched(p, "w_new", i) == 2 + (run + 1) * i);
            assert_true(((float *)weft_session_data(s, "w", NULL))[i] ==
                        (float)(2 + (run + 1) * i));
        }
    }
    weft_session_free(s);
    weft_graph_free(g);
    weft_close(c);
}

/* ---- memory --------------------------------------------------------------------------------- */
typedef struct {
    int64_t calls;
} counter;

static void *count_alloc(void *user, size_t n)
{
    ((counter *)user)->calls++;
    return malloc(n);
}
static void *count_realloc(void *user, void *p, size_t n)
{
    ((counter *)user)->calls++;
    return realloc(p, n);
}
static void count_free(void *user, void *p)
{
    ((counter *)user)->calls++;
    free(p);
}

static void test_no_allocation_in_a_run(void **state_)
{
    (void)state_;
    counter n = {0};
    weft_allocator a = {count_alloc, count_realloc, count_free, &n};
    weft_ctx *c = weft_open(&(weft_options){.allocator = &a, .threads = 2});
    weft_graph *g = small_net(c);
    weft_session *s;
    weft_program *p;
    ok(c, weft_session_new(c, false, &s));
    ok(c, weft_program_compile(s, g, (const char *[]){"loss", "dw1", "dx"}, 3,
                               &(weft_compile_options){.train = true}, &p));
    ok(c, weft_session_init(s, 1));
    int64_t before = n.calls;
    assert_true(before > 0);
    for (int i = 0; i < 3; i++) {
        feed(p, "x", 1 + i);
        ok(c, weft_program_run(p));
    }
    assert_int_equal(n.calls, before);
    weft_session_free(s);
    weft_graph_free(g);
    weft_close(c);
}

/* A chain of n element-wise nodes needs one buffer if in place, two if not; never n. */
static void test_reuse(void **state_)
{
    (void)state_;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = weft_graph_new(c);
    weft_val v = input(g, "x", f32(1, 1000, 0, 0));
    for (int i = 0; i < 20; i++)
        v = EMIT(g, "scale", "alpha=1.5", v);
    ok(c, weft_graph_output(g, "y", v));
    weft_session *s;
    ok(c, weft_session_new(c, false, &s));
    weft_program *p = compile(s, g, "y", &(weft_compile_options){.no_rewrite = true});
    weft_program_size size;
    weft_program_measure(p, &size);
    assert_int_equal(size.n_step, 20);
    assert_true(size.plan_bytes >= 4000 && size.plan_bytes <= 2 * 4032);
    float *x = weft_program_input(p, "x", NULL);
    for (int i = 0; i < 1000; i++)
        x[i] = 2;
    ok(c, weft_program_run(p));
    assert_true(fabs(fetched(p, "y", 999) - 2 * pow(1.5, 20)) < 1e-2);
    weft_session_free(s);
    weft_graph_free(g);
    weft_close(c);
}

/* Programs of one session share one block: a larger one moves the smaller, which must keep working.
 */
static void test_two_programs(void **state_)
{
    (void)state_;
    weft_ctx *c = weft_open(NULL);
    weft_session *s;
    weft_graph *g[2];
    weft_program *p[2];
    ok(c, weft_session_new(c, false, &s));
    for (int i = 0; i < 2; i++) {
        g[i] = weft_graph_new(c);
        weft_val w = state(g[i], "w", f32(1, 4, 0, 0), "constant(3)");
        weft_val x = input(g[i], "x", f32(2, i ? 5000 : 10, 4, 0));
        ok(c, weft_graph_output(g[i], "y", EMIT(g[i], "mul", "", EMIT(g[i], "exp", "", x), w)));
        p[i] = compile(s, g[i], "y", NULL);
    }
    ok(c, weft_session_init(s, 0));
    for (int turn = 0; turn < 4; turn++) {
        feed(p[turn % 2], "x", 0);
        ok(c, weft_program_run(p[turn % 2]));
        assert_true(fetched(p[turn % 2], "y", 39) == 3);
    }
    weft_graph *other = weft_graph_new(c);
    ok(c, weft_graph_output(other, "y",
                            EMIT(other, "exp", "", state(other, "w", f32(1, 5, 0, 0), "ones"))));
    weft_program *none;
    refused(c, weft_program_compile(s, other, (const char *[]){"y"}, 1, NULL, &none), WEFT_MISMATCH,
            "f32[4]", "f32[5]");
    weft_session_free(s);
    weft_graph_free(g[0]);
    weft_graph_free(g[1]);
    weft_graph_free(other);
    weft_close(c);
}

static void test_memory_limit(void **state_)
{
    (void)state_;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = small_net(c);
    weft_session *s;
    weft_program *p;
    ok(c, weft_session_new(c, false, &s));
    const char *fetch[] = {"dw1"};
    refused(c,
            weft_program_compile(s, g, fetch, 1, &(weft_compile_options){.max_memory = 1000}, &p),
            WEFT_NOMEM, "over the limit of 1000", "f32[8,16]");
    ok(c, weft_program_compile(s, g, fetch, 1, &(weft_compile_options){.max_memory = 1 << 20}, &p));
    char *text;
    ok(c, weft_program_text(p, &text));
    assert_non_null(strstr(text, "matmul"));
    weft_text_free(c, text);
    weft_session_free(s);
    weft_graph_free(g);
    weft_close(c);
}

/* ---- checks --------------------------------------------------------------------------------- */
static void test_first_nan(void **state_)
{
    (void)state_;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = weft_graph_new(c);
    g->at_scope = "h.3.mlp";
    g->at_file = "some.txtpb";
    g->at_line = 17;
    weft_val x = input(g, "x", f32(1, 8, 0, 0));
    weft_val y = EMIT(g, "log", "", EMIT(g, "scale", "alpha=-1", x));
    ok(c, weft_graph_output(g, "y", EMIT(g, "exp", "", y)));
    weft_session *s;
    ok(c, weft_session_new(c, false, &s));
    weft_program *p = compile(s, g, "y", &(weft_compile_options){.check_nan = true});
    float *in = weft_program_input(p, "x", NULL);
    for (int i = 0; i < 8; i++)
        in[i] = i == 5 ? 1 : -1;
    refused(c, weft_program_run(p), WEFT_NUMERIC, "log gave NaN at element 5", "some.txtpb:17");
    for (int i = 0; i < 8; i++)
        in[i] = -1;
    ok(c, weft_program_run(p));
    weft_session_free(s);
    weft_graph_free(g);
    weft_close(c);
}

/* A kernel that writes one element too many, and one that forgets the last: the check mode names
 * both. */
static void infer_same(weft_infer *c) { weft_infer_out(c, 0, *weft_call_in(c, 0)); }

static void run_too_much(const weft_run *r)
{
    for (int64_t i = 0; i <= r->out[0].count; i++)
        ((float *)r->out[0].data)[i] = 1;
}

static void run_too_little(const weft_run *r)
{
    for (int64_t i = 0; i < r->out[0].count - 1; i++)
        ((float *)r->out[0].data)[i] = 1;
}

static void run_refuse(const weft_run *r)
{
    weft_run_fail(r, "id %d is not below %d", 70000, 50257);
}

static void test_bad_kernels(void **state_)
{
    (void)state_;
    static const struct {
        weft_op op;
        weft_status status;
        const char *message;
    } bad[] = {{{.name = "too_much",
                 .in = {{"x", WEFT_FLOAT, ""}},
                 .out = {{"y", WEFT_FLOAT, ""}},
                 .infer = infer_same,
                 .run = run_too_much},
                WEFT_INTERNAL,
                "wrote beyond its memory"},
               {{.name = "too_little",
                 .in = {{"x", WEFT_FLOAT, ""}},
                 .out = {{"y", WEFT_FLOAT, ""}},
                 .infer = infer_same,
                 .run = run_too_little},
                WEFT_NUMERIC,
                "gave NaN at element 15"},
               {{.name = "refuse",
                 .in = {{"x", WEFT_FLOAT, ""}},
                 .out = {{"y", WEFT_FLOAT, ""}},
                 .infer = infer_same,
                 .run = run_refuse},
                WEFT_MALFORMED,
                "id 70000 is not below 50257"}};
    for (int i = 0; i < 3; i++) {
        weft_ctx *c = weft_open(NULL);
        weft_graph *g = weft_graph_new(c);
        weft_val x = input(g, "x", f32(1, 16, 0, 0)), y;
        assert_true(weft_graph_append(g, &bad[i].op, &x, 1, NULL, &y) >= 0);
        ok(c, weft_graph_output(g, "y", y));
        weft_session *s;
        ok(c, weft_session_new(c, false, &s));
        weft_program *p = compile(s, g, "y", &(weft_compile_options){.check_nan = true});
        feed(p, "x", 1);
        refused(c, weft_program_run(p), bad[i].status, bad[i].message, bad[i].op.name);
        weft_session_free(s);
        weft_graph_free(g);
        weft_close(c);
    }
}

static void test_unknown_names(void **state_)
{
    (void)state_;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = small_net(c);
    weft_session *s;
    weft_program *p;
    ok(c, weft_session_new(c, false, &s));
    refused(c, weft_program_compile(s, g, (const char *[]){"los"}, 1, NULL, &p), WEFT_USAGE,
            "'los'", "'loss'");
    p = compile(s, g, "loss", NULL);
    weft_type t = f32(1, 1, 0, 0);
    assert_null(weft_program_input(p, "nothing", &t));
    assert_int_equal(t.dtype, 0);
    assert_null(weft_program_output(p, "dx", &t));
    weft_session_free(s);
    weft_graph_free(g);
    weft_close(c);
    c = weft_open(NULL);
    g = weft_graph_new(c);
    ok(c,
       weft_graph_output(g, "y", EMIT(g, "exp", "", state(g, "w", f32(1, 4, 0, 0), "gauss(1)"))));
    ok(c, weft_session_new(c, false, &s));
    compile(s, g, "y", NULL);
    refused(c, weft_session_init(s, 0), WEFT_MALFORMED, "gauss(1)", "normal(std)");
    weft_session_free(s);
    weft_graph_free(g);
    weft_close(c);
}

/* ---- initialisers and threads --------------------------------------------------------------- */
/* Bits depend on seed, name and index: not on threads, on other states or on the order of their
 * appearance. */
static void test_initialisers(void **state_)
{
    (void)state_;
    float kept[5003];
    for (int threads = 1; threads <= 3; threads++) {
        weft_ctx *c = weft_open(&(weft_options){.threads = threads});
        weft_graph *g = weft_graph_new(c);
        for (int i = 0; i < threads; i++) {
            char name[16];
            snprintf(name, sizeof name, "other%d", i);
            state(g, name, f32(1, 7, 0, 0), "uniform(2, 3)");
        }
        state(g, "w", f32(1, 5003, 0, 0), "normal(0.02)");
        weft_session *s;
        ok(c, weft_session_new(c, false, &s));
        ok(c, weft_session_add_states(s, g));
        ok(c, weft_session_init(s, 99));
        const float *w = weft_session_data(s, "w", NULL), *o = weft_session_data(s, "other0", NULL);
        double sum = 0;
        for (int i = 0; i < 5003; i++)
            sum += (double)w[i] * w[i];
        assert_true(fabs(sqrt(sum / 5003) / 0.02 - 1) <
                    0.05); /* five standard errors of 1/sqrt(2 n) */
        assert_true(o[0] > 2 && o[6] < 3 && o[0] != o[1]);
        if (threads == 1)
            memcpy(kept, w, sizeof kept);
        assert_memory_equal(kept, w, sizeof kept);
        weft_session_free(s);
        weft_graph_free(g);
        weft_close(c);
    }
}

static void test_thread_counts(void **state_)
{
    (void)state_;
    static const int threads[] = {1, 2, 3, 8, 16};
    float kept[128 + 1];
    for (int k = 0; k < 5; k++) {
        weft_ctx *c = weft_open(&(weft_options){.threads = threads[k]});
        weft_graph *g = small_net(c);
        weft_session *s;
        weft_program *p;
        ok(c, weft_session_new(c, false, &s));
        ok(c, weft_program_compile(s, g, (const char *[]){"loss", "dw1"}, 2, NULL, &p));
        ok(c, weft_session_init(s, 5));
        feed(p, "x", 1);
        ok(c, weft_program_run(p));
        float got[129];
        memcpy(got, weft_program_output(p, "dw1", NULL), 128 * sizeof *got);
        memcpy(got + 128, weft_program_output(p, "loss", NULL), sizeof *got);
        if (!k)
            memcpy(kept, got, sizeof kept);
        assert_memory_equal(kept, got, sizeof kept);
        weft_session_free(s);
        weft_graph_free(g);
        weft_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_state_update),
        cmocka_unit_test(test_no_allocation_in_a_run),
        cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_two_programs),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_first_nan),
        cmocka_unit_test(test_bad_kernels),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_initialisers),
        cmocka_unit_test(test_thread_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
