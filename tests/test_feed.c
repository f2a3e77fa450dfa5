/* test_feed.c - named values as inputs: what stays, what goes, and that numbers and derivatives are
 * those of a constant. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "graph/plan.h"

static void ok(weft_ctx *c, weft_status s)
{
    if (s)
        fail_msg("%s", weft_error(c));
}

#define EMIT(g, op, attrs, ...)                                                                    \
    weft_graph_emit(g, op, (weft_val[]){__VA_ARGS__},                                              \
                    (int)(sizeof((weft_val[]){__VA_ARGS__}) / sizeof(weft_val)), "%s", attrs)

static weft_val name(weft_graph *g, weft_val v, const char *text)
{
    weft_graph_name(g, v, text);
    return v;
}

static weft_val scalar(weft_graph *g, weft_val x)
{
    return EMIT(g, "reshape", "dims=", EMIT(g, "sum", "", EMIT(g, "mul", "", x, x)));
}

/* x -> teacher.w -> h -> (y, mean, rstd of a norm), y -> student.w -> loss; da = d loss / d h,
 * dx = d loss / d x; "unused" is a weight without influence. */
static weft_graph *net(weft_ctx *c)
{
    weft_graph *g = weft_graph_new(c);
    const weft_type xt = weft_type_make(WEFT_F32, 2, (int64_t[]){5, 8});
    const weft_type wt = weft_type_make(WEFT_F32, 2, (int64_t[]){8, 8});
    const weft_type nt = weft_type_make(WEFT_F32, 1, (int64_t[]){8});
    weft_val x = weft_graph_input(g, "x", &xt), z = weft_graph_input(g, "z", &xt);
    weft_val tw = weft_graph_state(g, "teacher.w", &wt, "normal(0.5)", true);
    weft_val sw = weft_graph_state(g, "student.w", &wt, "normal(0.5)", true);
    weft_val s1 = weft_graph_state(g, "norm.w", &nt, "normal(1)", true);
    weft_graph_state(g, "unused", &nt, "zeros", true);
    weft_val h = name(g, EMIT(g, "tanh", "", EMIT(g, "matmul", "", x, tw)), "h");
    weft_val y = name(g, EMIT(g, "layer_norm", "", h, s1), "y");
    name(g, g->node[g->value[y].node].out[1], "mean");
    weft_val u = name(g, EMIT(g, "add", "", EMIT(g, "matmul", "", y, sw), z), "u");
    weft_val loss = scalar(g, u);
    weft_val dh = EMIT(g, "gradient", "", loss, h), dx = EMIT(g, "gradient", "", loss, x);
    weft_val dsw = EMIT(g, "gradient", "", loss, sw);
    ok(c, c->status);
    ok(c, weft_graph_output(g, "loss", loss));
    ok(c, weft_graph_output(g, "dh", dh));
    ok(c, weft_graph_output(g, "dx", dx));
    ok(c, weft_graph_output(g, "dsw", dsw));
    return g;
}

static void fill(weft_program *p, const char *in, double scale)
{
    weft_type t;
    float *d = weft_program_input(p, in, &t);
    assert_non_null(d);
    for (int64_t i = 0; i < weft_type_count(&t); i++)
        d[i] = (float)(scale * sin(1.0 + (double)i));
}

static void get(weft_program *p, const char *out, float *to, int64_t n)
{
    weft_type t;
    const float *d = weft_program_output(p, out, &t);
    assert_non_null(d);
    assert_int_equal(weft_type_count(&t), n);
    memcpy(to, d, sizeof *to * (size_t)n);
}

/* A value that is fed with what it would have been: the same bits in every output that depends on
 * it, the derivative by it is unchanged, by what made it zero. */
static void test_values_and_gradients(void **state)
{
    (void)state;
    static const char *const fetch[] = {"loss", "dh", "dx", "dsw", "h"};
    static const char *const cut[] = {"h"};
    for (int plain = 0; plain < 2; plain++) {
        weft_ctx *c = weft_open(&(weft_options){.threads = 2});
        weft_graph *g = net(c), *f;
        weft_session *s;
        weft_program *p, *q;
        float h[40], dh[40], dx[40], dsw[64], loss, fed_dh[40], fed_dx[40], fed_dsw[64], fed_loss;
        const weft_compile_options o = {.train = true, .no_rewrite = plain};
        ok(c, weft_session_new(c, false, &s));
        ok(c, weft_program_compile(s, g, fetch, 5, &o, &p));
        ok(c, weft_session_init(s, 3));
        fill(p, "x", 1);
        fill(p, "z", 0.5);
        ok(c, weft_program_run(p));
        get(p, "loss", &loss, 1);
        get(p, "dh", dh, 40);
        get(p, "dx", dx, 40);
        get(p, "dsw", dsw, 64);
        get(p, "h", h, 40);
        ok(c, weft_graph_feed(g, cut, 1, fetch, 4, &f));
        ok(c, weft_graph_verify(f));
        ok(c, weft_program_compile(s, f, fetch, 4, &o, &q));
        weft_type t;
        float *in = weft_program_input(q, "h", &t);
        assert_non_null(in);
        assert_null(weft_program_input(q, "x", &t)); /* dx is zeros whatever x is */
        memcpy(in, h, sizeof h);
        fill(q, "z", 0.5);
        ok(c, weft_program_run(q));
        get(q, "loss", &fed_loss, 1);
        get(q, "dh", fed_dh, 40);
        get(q, "dx", fed_dx, 40);
        get(q, "dsw", fed_dsw, 64);
        assert_memory_equal(&loss, &fed_loss, sizeof loss);
        assert_memory_equal(dh, fed_dh, sizeof dh);
        assert_memory_equal(dsw, fed_dsw, sizeof dsw);
        double norm = 0;
        for (int i = 0; i < 40; i++) {
            assert_true(fed_dx[i] == 0);
            norm += fabs((double)dx[i]);
        }
        assert_true(norm > 0.1);
        weft_graph_free(f);
        weft_graph_free(g);
        weft_session_free(s);
        weft_close(c);
    }
}

static bool has(const weft_graph *g, const char *value) { return weft_graph_find(g, value) >= 0; }

static int nodes(const weft_graph *g, const char *op)
{
    int n = 0;
    for (int k = 0; k < g->n_node; k++)
        n += !strcmp(g->node[k].op->name, op);
    return n;
}

/* Producers, their weights and inputs go when nobody else needs them. */
static void test_what_stays(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = net(c), *f;
    const char *feed[] = {"h", "u"}, *keep[] = {"loss"};
    ok(c, weft_graph_feed(g, feed, 1, keep, 1, &f));
    assert_true(has(f, "h") && f->value[weft_graph_find(f, "h")].kind == WEFT_VALUE_INPUT);
    assert_true(!has(f, "x") && !has(f, "teacher.w") && has(f, "z") && has(f, "norm.w"));
    assert_true(has(f, "unused")); /* what had no influence before is still a weight */
    assert_int_equal(nodes(f, "tanh"), 0);
    assert_int_equal(nodes(f, "gradient"), 0);
    assert_true(weft_graph_find_output(f, "loss") >= 0 && weft_graph_find_output(f, "dh") < 0);
    weft_graph_free(f);
    /* all outputs: d loss / d x needs x as the variable, not what was computed from it */
    ok(c, weft_graph_feed(g, feed, 1, NULL, 0, &f));
    assert_true(has(f, "x") && !has(f, "teacher.w"));
    assert_int_equal(f->n_output, 4);
    weft_graph_free(f);
    /* fed values that need each other */
    ok(c, weft_graph_feed(g, feed, 2, keep, 1, &f));
    assert_true(has(f, "u") && !has(f, "z") && !has(f, "student.w") && !has(f, "norm.w"));
    weft_graph_free(f);
    /* one output of a node, its sibling still computed; the fed one reaches the readers */
    ok(c, weft_graph_feed(g, (const char *const[]){"y"}, 1, (const char *const[]){"loss", "mean"},
                          2, &f));
    assert_int_equal(nodes(f, "layer_norm"), 1);
    assert_int_equal(f->value[weft_graph_find(f, "y")].kind, WEFT_VALUE_INPUT);
    for (int k = 0; k < f->n_node; k++)
        if (!strcmp(f->node[k].op->name, "matmul") && f->value[f->node[k].in[1]].name &&
            !strcmp(f->value[f->node[k].in[1]].name, "student.w"))
            assert_int_equal(f->node[k].in[0], weft_graph_find(f, "y"));
    weft_graph_free(f);
    weft_graph_free(g);
    weft_close(c);
}

/* An effect that a fed value does not need is alive though nobody reads it; one that only the fed
 * value was made by goes with it. */
static void test_effects(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = net(c), *f;
    const weft_type count = weft_type_make(WEFT_I64, 0, NULL);
    weft_val n = weft_graph_state(g, "count", &count, "zeros", false);
    name(g, EMIT(g, "increment", "", n), "next");
    const char *h[] = {"h"}, *next[] = {"next"}, *keep[] = {"loss"};
    ok(c, weft_graph_feed(g, h, 1, keep, 1, &f));
    assert_int_equal(nodes(f, "increment"), 1);
    weft_graph_free(f);
    ok(c, weft_graph_feed(g, next, 1, keep, 1, &f));
    assert_true(!nodes(f, "increment") && !has(f, "count"));
    weft_graph_free(f);
    weft_graph_free(g);
    weft_close(c);
}

/* An input stays what it is; a weight, an output by its name, nothing at all; and unknown names. */
static void test_other_names(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = net(c), *f;
    ok(c, weft_graph_feed(g, (const char *const[]){"x", "student.w"}, 2, NULL, 0, &f));
    assert_int_equal(f->value[weft_graph_find(f, "student.w")].kind, WEFT_VALUE_INPUT);
    assert_int_equal(f->n_node, g->n_node);
    weft_graph_free(f);
    ok(c, weft_graph_feed(g, NULL, 0, NULL, 0, &f));
    assert_int_equal(weft_graph_hash(f), weft_graph_hash(g));
    weft_graph_free(f);
    ok(c, weft_graph_feed(g, (const char *const[]){"loss"}, 1, NULL, 0, &f));
    assert_int_equal(f->value[weft_graph_find_output(f, "loss")].kind, WEFT_VALUE_INPUT);
    weft_graph_free(f);
    assert_int_equal(weft_graph_feed(g, (const char *const[]){"teacher.ww"}, 1, NULL, 0, &f),
                     WEFT_USAGE);
    assert_null(f);
    assert_non_null(
        strstr(weft_error(c), "no output or value 'teacher.ww'; did you mean 'teacher.w'?"));
    weft_error_clear(c);
    assert_int_equal(
        weft_graph_feed(g, (const char *const[]){"h"}, 1, (const char *const[]){"losss"}, 1, &f),
        WEFT_USAGE);
    weft_error_clear(c);
    weft_graph_free(g);
    weft_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_and_gradients), cmocka_unit_test(test_what_stays),
        cmocka_unit_test(test_effects), cmocka_unit_test(test_other_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
