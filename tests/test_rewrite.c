/* test_rewrite.c - the rewrite engine and its rules: what fires where, and that values stay what
 * they were. */
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
#include "graph/rule.h"

/* ---- helpers ---- */
static weft_ctx *ctx;

static int setup(void **state)
{
    (void)state;
    ctx = weft_open(&(weft_options){.threads = 2});
    return !ctx;
}

static int teardown(void **state)
{
    (void)state;
    weft_close(ctx);
    return 0;
}

static void ok(weft_status s)
{
    if (s)
        fail_msg("%s", weft_error(ctx));
}

static weft_val input(weft_graph *g, const char *name, weft_dtype t, int rank, int64_t a, int64_t b,
                      int64_t c)
{
    weft_type type = weft_type_make(t, rank, (int64_t[]){a, b, c});
    return weft_graph_input(g, name, &type);
}

static weft_val weight(weft_graph *g, const char *name, int rank, int64_t a, int64_t b)
{
    weft_type type = weft_type_make(WEFT_F32, rank, (int64_t[]){a, b});
    return weft_graph_state(g, name, &type, "normal(0.5)", true);
}

#define EMIT(g, op, attrs, ...)                                                                    \
    weft_graph_emit(g, op, (weft_val[]){__VA_ARGS__},                                              \
                    (int)(sizeof((weft_val[]){__VA_ARGS__}) / sizeof(weft_val)), "%s", attrs)

static weft_val nth(const weft_graph *g, weft_val v, int i)
{
    return g->node[g->value[v].node].out[i];
}

static int count(const weft_graph *g, const char *op)
{
    int n = 0;
    for (int i = 0; i < g->n_node; i++)
        n += !strcmp(g->node[i].op->name, op);
    return n;
}

static weft_graph *rewritten(const weft_graph *g, bool train, const char *disable, weft_val *map)
{
    weft_graph *h;
    ok(weft_graph_rewrite(g, &(weft_rewrite_options){.train = train, .disable = disable}, &h, map));
    ok(weft_graph_verify(h));
    return h;
}

static char *dump(const weft_graph *g)
{
    weft_string s;
    weft_string_init(&s, ctx);
    ok(weft_graph_print(g, &s));
    return s.s;
}

static void same_dump(const weft_graph *a, const weft_graph *b)
{
    char *x = dump(a), *y = dump(b);
    assert_string_equal(x, y);
    weft_free(ctx, x);
    weft_free(ctx, y);
}

/* Once more changes nothing. */
static void is_fixed_point(const weft_graph *h, bool train)
{
    weft_graph *again = rewritten(h, train, NULL, NULL);
    same_dump(h, again);
    weft_graph_free(again);
}

/* Rewrites and expects `op` this many times; frees the graph. */
static void expect(weft_graph *g, bool train, const char *op, int times)
{
    ok(ctx->status);
    ok(weft_graph_verify(g));
    weft_graph *h = rewritten(g, train, NULL, NULL);
    if (count(h, op) != times)
        fail_msg("%d nodes of %s, expected %d:\n%s", count(h, op), op, times, dump(h));
    is_fixed_point(h, train);
    weft_graph_free(g);
    weft_graph_free(h);
}

/* ---- engine ---- */
static void test_share(void **state)
{
    (void)state;
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 2, 3, 4, 0);
    weft_val a = EMIT(g, "scale", "alpha=2", EMIT(g, "exp", "", x));
    weft_val b = EMIT(g, "scale", "alpha=2", EMIT(g, "exp", "", x));
    weft_val d = EMIT(g, "scale", "alpha=3", EMIT(g, "exp", "", x));
    ok(weft_graph_output(g, "a", a));
    ok(weft_graph_output(g, "b", b));
    ok(weft_graph_output(g, "d", d));
    weft_val map[16];
    weft_graph *h = rewritten(g, false, NULL, map);
    assert_int_equal(count(h, "exp"), 1);
    assert_int_equal(count(h, "scale"), 2);
    assert_int_equal(weft_graph_find_output(h, "a"), weft_graph_find_output(h, "b"));
    assert_int_not_equal(weft_graph_find_output(h, "a"), weft_graph_find_output(h, "d"));
    assert_int_equal(map[a], weft_graph_find_output(h, "a"));
    assert_int_equal(map[b], map[a]);
    weft_graph_free(h);
    h = rewritten(g, false, "share", NULL);
    assert_int_equal(count(h, "exp"), 3);
    weft_graph_free(h);
    weft_graph_free(g);
}

/* Random numbers and updates are never shared, nor the second computation of a recomputed value. */
static void test_not_shared(void **state)
{
    (void)state;
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 2, 3, 4, 0);
    ok(weft_graph_output(g, "a", EMIT(g, "dropout", "p=0.5", x)));
    ok(weft_graph_output(g, "b", EMIT(g, "dropout", "p=0.5", x)));
    ok(weft_graph_output(g, "c", EMIT(g, "exp", "", x)));
    ok(weft_graph_output(g, "d", EMIT(g, "exp", "", x)));
    g->node[3].again = true;
    weft_graph *h = rewritten(g, true, NULL, NULL);
    assert_int_equal(count(h, "dropout"), 2);
    assert_int_equal(h->node[0].stream, g->node[0].stream);
    assert_int_equal(h->node[1].stream, g->node[1].stream);
    assert_int_equal(count(h, "exp"), 2);
    weft_graph_free(h);
    h = rewritten(g, false, NULL, NULL); /* outside training the first two are x itself */
    assert_int_equal(count(h, "dropout"), 0);
    assert_int_equal(weft_graph_find_output(h, "a"), weft_graph_find(h, "x"));
    weft_graph_free(h);
    ok(weft_graph_rewrite(g, &(weft_rewrite_options){.no_rewrite = true}, &h, NULL));
    assert_int_equal(count(h, "dropout"), 0); /* this is correctness, not speed */
    assert_int_equal(count(h, "exp"), 2);
    weft_graph_free(h);
    weft_graph_free(g);
}

static void test_unknown_rule(void **state)
{
    (void)state;
    weft_graph *g = weft_graph_new(ctx), *h;
    const weft_rewrite_options o = {.disable = "share,atention"};
    assert_int_equal(weft_graph_rewrite(g, &o, &h, NULL), WEFT_USAGE);
    assert_non_null(strstr(weft_error(ctx), "no rewrite rule 'atention'"));
    assert_non_null(strstr(weft_error(ctx), "did you mean 'attention'?"));
    weft_error_clear(ctx);
    weft_graph_free(g);
}

/* Inputs and states stay, used or not, and names of values move with the values. */
static void test_sources_and_names(void **state)
{
    (void)state;
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 2, 3, 4, 0);
    weight(g, "unused", 2, 5, 6);
    weft_val a = EMIT(g, "exp", "", x), b = EMIT(g, "scale", "", a);
    weft_graph_name(g, b, "b");
    ok(weft_graph_output(g, "out", EMIT(g, "tanh", "", b)));
    weft_graph *h = rewritten(g, false, NULL, NULL);
    assert_true(weft_graph_find(h, "unused") >= 0);
    assert_true(weft_graph_find(h, "b") >= 0);
    assert_int_equal(count(h, "scale"), 0);
    weft_graph_free(h);
    weft_graph_free(g);
}

/* A value that is a copy of a state now is not the state later. */
static void test_state_that_changes(void **state)
{
    (void)state;
    for (int update = 0; update < 2; update++) {
        weft_graph *g = weft_graph_new(ctx);
        weft_type t = weft_type_make(WEFT_I64, 0, NULL);
        weft_val n = weft_graph_state(g, "n", &t, "zeros", false), w = weight(g, "w", 2, 4, 4);
        weft_val view = EMIT(g, "reshape", "dims=16", w);
        ok(weft_graph_output(g, "before", EMIT(g, "scale", "alpha=1", view)));
        if (update) {
            weft_val pos = input(g, "pos", WEFT_I32, 0, 0, 0, 0),
                     row = input(g, "row", WEFT_F32, 2, 1, 4, 0);
            ok(weft_graph_output(g, "after", EMIT(g, "cache_write", "axis=0", w, row, pos)));
        }
        (void)n;
        expect(g, false, "scale", update); /* only an unchanging state may stand in */
    }
}

/* ---- rules that drop nodes ---- */
static void test_identities(void **state)
{
    (void)state;
    static const struct {
        const char *op, *attrs;
        int kept;
    } cases[] = {
        {"scale", "alpha=1 beta=0", 0},  {"scale", "alpha=1 beta=0.5", 1},
        {"scale", "alpha=2", 1},         {"reshape", "dims=3,4", 0},
        {"reshape", "dims=4,3", 1},      {"slice", "axis=0 to=3", 0},
        {"slice", "axis=0 to=2", 1},     {"slice", "axis=1 from=1", 1},
        {"sum_to", "dims=3,4", 0},       {"sum_to", "dims=1,4", 1},
        {"broadcast_to", "dims=3,4", 0}, {"broadcast_to", "dims=2,3,4", 1},
        {"transpose", "perm=0,1", 0},    {"transpose", "perm=0,-1", 0},
        {"transpose", "perm=1,0", 1},    {"transpose", "", 1},
        {"concat", "axis=0", 0},         {"cast", "to=f32", 0},
        {"cast", "to=i32", 1},           {"dropout", "p=0", 0},
        {"dropout", "p=0.25", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_graph *g = weft_graph_new(ctx);
        weft_val x = input(g, "x", WEFT_F32, 2, 3, 4, 0);
        ok(weft_graph_output(g, "y", EMIT(g, cases[i].op, cases[i].attrs, x)));
        expect(g, true, cases[i].op, cases[i].kept);
    }
}

static void test_constants(void **state)
{
    (void)state;
    static const struct {
        const char *op, *fill;
        bool first; /* the constant is the first operand */
        int kept;
    } cases[] = {
        {"add", "value=0 dims=3,4", false, 0},
        {"add", "value=0 dims=4", true, 0},
        {"add", "value=0 dims=2,3,4", true, 1}, /* broadcasts x */
        {"add", "value=1 dims=4", false, 1},
        {"sub", "value=0", false, 0},
        {"sub", "value=0", true, 1},
        {"mul", "value=1", false, 0},
        {"mul", "value=1 dims=3,1", true, 0},
        {"mul", "value=0", false, 1},
        {"div", "value=1", false, 0},
        {"div", "value=1", true, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_graph *g = weft_graph_new(ctx);
        weft_val x = input(g, "x", WEFT_F32, 2, 3, 4, 0);
        weft_val f = weft_graph_emit(g, "fill", NULL, 0, "%s", cases[i].fill);
        weft_val in[] = {cases[i].first ? f : x, cases[i].first ? x : f};
        ok(weft_graph_output(g, "y", weft_graph_emit(g, cases[i].op, in, 2, "%s", "")));
        expect(g, true, cases[i].op, cases[i].kept);
    }
}

static void test_views_of_views(void **state)
{
    (void)state;
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 3, 2, 3, 4);
    weft_val r = EMIT(g, "reshape", "dims=4,-1", EMIT(g, "reshape", "dims=24", x));
    weft_val back = EMIT(g, "reshape", "dims=2,3,4", r);
    weft_val t = EMIT(g, "transpose", "perm=2,0,1", EMIT(g, "transpose", "perm=1,0,2", x));
    weft_val none = EMIT(g, "transpose", "perm=1,2,0", EMIT(g, "transpose", "perm=2,0,1", x));
    ok(weft_graph_output(g, "r", r));
    ok(weft_graph_output(g, "back", back));
    ok(weft_graph_output(g, "t", t));
    ok(weft_graph_output(g, "none", none));
    weft_graph *h = rewritten(g, false, NULL, NULL);
    assert_int_equal(count(h, "reshape"), 1);
    assert_int_equal(count(h, "transpose"), 1);
    assert_int_equal(weft_graph_find_output(h, "back"), weft_graph_find(h, "x"));
    assert_int_equal(weft_graph_find_output(h, "none"), weft_graph_find(h, "x"));
    const weft_type *to =
        &h->value[weft_graph_find_output(h, "t")].type; /* 1,0,2 then 2,0,1: 2,1,0 */
    assert_int_equal(to->dim[0], 4);
    assert_int_equal(to->dim[1], 3);
    assert_int_equal(to->dim[2], 2);
    weft_graph_free(h);
    weft_graph_free(g);
}

/* ---- attention ---- */
enum { SEEN = 1, NO_MASK = 2, ALPHA_2 = 4, DROPOUT = 8, SHUFFLED = 16, BIAS = 32, FIRST = 64 };

/* The layers of gpt2.txtpb from the packed projection to the merged heads, with deviations. */
static weft_graph *attention_graph(int64_t b, int64_t t, int64_t heads, int64_t d, int how)
{
    char attrs[128];
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 3, b, t, 3 * heads * d);
    snprintf(attrs, sizeof attrs, "n_head=%d", (int)heads);
    weft_val q = EMIT(g, "split_heads", attrs, x), k = nth(g, q, 1), v = nth(g, q, 2);
    snprintf(attrs, sizeof attrs, "tb=1 alpha=%.17g", 1 / sqrt((double)d));
    weft_val s = EMIT(g, "matmul", attrs, q, how & SHUFFLED ? v : k);
    if (how & BIAS) {
        weft_val bias = weight(g, "bias", 1, t, 0);
        s = EMIT(g, "matmul", attrs, q, k, bias);
    }
    weft_val p = EMIT(g, how & NO_MASK ? "softmax" : "causal_softmax", "", s);
    p = EMIT(g, "dropout", how & DROPOUT ? "p=0.25" : "p=0", p);
    weft_val o = EMIT(g, "matmul", how & ALPHA_2 ? "alpha=2" : "", p, how & SHUFFLED ? k : v);
    ok(weft_graph_output(g, "y", EMIT(g, "merge_heads", "", o)));
    if (how & SEEN)
        ok(weft_graph_output(g, "p", p));
    if (how & FIRST)
        ok(weft_graph_output(g, "s", s));
    return g;
}

static void test_attention_fires(void **state)
{
    (void)state;
    expect(attention_graph(2, 5, 2, 4, 0), true, "attention", 1);
    expect(attention_graph(2, 5, 2, 4, 0), false, "attention", 1);
    expect(attention_graph(2, 5, 2, 4, DROPOUT), false, "attention", 1);
    expect(attention_graph(2, 5, 2, 4, DROPOUT), true, "attention",
           0); /* random zeros are not in the fused op */
    static const int no[] = {SEEN, NO_MASK, ALPHA_2, SHUFFLED, BIAS, FIRST};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        expect(attention_graph(2, 5, 2, 4, no[i]), false, "attention", 0);
}

/* ---- linear cross-entropy ---- */
static weft_graph *head_graph(bool logits_seen, const char *attrs, bool nll)
{
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 3, 2, 5, 8), w = weight(g, "w", 2, 11, 8);
    weft_val targets = input(g, "targets", WEFT_I32, 2, 2, 5, 0);
    weft_val z = EMIT(g, "matmul", attrs, x, w);
    weft_val loss = EMIT(g, "cross_entropy", "ignore=-7", z, targets);
    if (nll)
        ok(weft_graph_output(g, "nll", nth(g, loss, 1)));
    ok(weft_graph_output(g, "loss", loss));
    if (logits_seen)
        ok(weft_graph_output(g, "logits", z));
    return g;
}

static void test_linear_cross_entropy_fires(void **state)
{
    (void)state;
    expect(head_graph(false, "tb=1", false), true, "linear_cross_entropy", 1);
    expect(head_graph(false, "tb=1", true), false, "linear_cross_entropy", 1);
    expect(head_graph(true, "tb=1", false), true, "linear_cross_entropy", 0);
    expect(head_graph(false, "tb=1 alpha=2", false), true, "linear_cross_entropy", 0);
}

/* Differentiated, the loss and its gradients come from one node, without a product by dloss = 1. */
static void test_linear_cross_entropy_once(void **state)
{
    (void)state;
    for (int frozen = 0; frozen < 2; frozen++) {
        weft_graph *g = head_graph(false, "tb=1", true), *h = rewritten(g, true, NULL, NULL), *k;
        weft_val xs[] = {weft_graph_find(h, "x"), weft_graph_find(h, "w")}, d[2];
        ok(weft_graph_gradient(h, weft_graph_find_output(h, "loss"), xs, 2 - frozen, d));
        ok(weft_graph_output(h, "dx", d[0]));
        if (!frozen)
            ok(weft_graph_output(h, "dw", d[1]));
        k = rewritten(h, true, NULL, NULL);
        assert_int_equal(k->n_node, 1);
        assert_int_equal(count(k, "linear_cross_entropy"), 1);
        assert_int_equal(k->node[0].attr[weft_op_attr(k->node[0].op, "dw")].i, !frozen);
        is_fixed_point(k, true);
        weft_graph_free(k);
        weft_graph_free(h);
        weft_graph_free(g);
    }
}

static void test_embedding_grad_add(void **state)
{
    (void)state;
    weft_graph *g = weft_graph_new(ctx);
    weft_val dy = input(g, "dy", WEFT_F32, 2, 5, 8, 0), ids = input(g, "ids", WEFT_I32, 1, 5, 0, 0);
    weft_val into = EMIT(g, "exp", "", input(g, "z", WEFT_F32, 2, 11, 8, 0));
    weft_val e = EMIT(g, "embedding_grad", "rows=11", dy, ids);
    ok(weft_graph_output(g, "y", EMIT(g, "add", "", e, into)));
    expect(g, true, "embedding_grad_add", 1);
}

/* ---- values: fused against plain, forward and all gradients ---- */
typedef struct {
    weft_session *s;
    weft_program *p;
} compiled;

static compiled compile(const weft_graph *g, bool reference, bool plain, const char *const *fetch,
                        int n)
{
    compiled c;
    ok(weft_session_new(ctx, reference, &c.s));
    ok(weft_program_compile(c.s, g, fetch, n,
                            &(weft_compile_options){.train = true, .no_rewrite = plain}, &c.p));
    ok(weft_session_init(c.s, 7));
    return c;
}

static void feed(weft_program *p, const char *name, int classes)
{
    weft_type t;
    void *data = weft_program_input(p, name, &t);
    assert_non_null(data);
    for (int64_t i = 0; i < weft_type_count(&t); i++) {
        uint32_t r[4];
        weft_random4(r, 5, 1, (uint32_t)strlen(name), (uint64_t)i);
        double u = (double)r[0] / 4294967296.0;
        if (t.dtype == WEFT_F32)
            ((float *)data)[i] = (float)(4 * u - 2);
        else if (t.dtype == WEFT_F64)
            ((double *)data)[i] = (float)(4 * u - 2);
        else
            ((int32_t *)data)[i] =
                i % 6 == 4 ? -7 : (int32_t)(u * classes); /* -7: a row to ignore */
    }
}

static void feed_all(weft_program *p, const weft_graph *g, int classes)
{
    static const char *const names[] = {"x", "cotangent", "targets"};
    for (int i = 0; i < 3; i++)
        if (weft_graph_find(g, names[i]) >= 0)
            feed(p, names[i], classes);
}

static double fetched(weft_program *p, const char *name, int64_t i)
{
    weft_type t;
    const void *data = weft_program_output(p, name, &t);
    assert_non_null(data);
    return t.dtype == WEFT_F64 ? ((const double *)data)[i] : ((const float *)data)[i];
}

/* Relative L2 distance, and that there is something to compare. */
static double distance(weft_program *a, weft_program *b, const char *name)
{
    weft_type t;
    double diff = 0, norm = 0;
    int64_t zeros = 0;
    weft_program_output(a, name, &t);
    for (int64_t i = 0; i < weft_type_count(&t); i++) {
        double x = fetched(a, name, i), y = fetched(b, name, i);
        diff += (x - y) * (x - y);
        norm += y * y;
        zeros += y == 0;
    }
    assert_true(norm > 0 && isfinite(norm) && 10 * zeros <= 9 * weft_type_count(&t));
    return sqrt(diff / norm);
}

/* g rewritten before differentiation against g plain; loss = sum of outputs `y` weighted, or the
 * output "loss". */
static void differentiate(const weft_graph *g, bool plain, weft_graph **out)
{
    weft_graph *h;
    ok(weft_graph_rewrite(g, &(weft_rewrite_options){.train = true, .no_rewrite = plain}, &h,
                          NULL));
    weft_val loss = weft_graph_find_output(h, "loss"), xs[2], d[2];
    if (loss < 0) {
        weft_val y = weft_graph_find_output(h, "y");
        weft_val r = weft_graph_input(h, "cotangent", &h->value[y].type);
        loss = EMIT(h, "sum", "", EMIT(h, "mul", "", y, r));
        loss = EMIT(h, "reshape", "dims=", loss);
        ok(weft_graph_output(h, "loss", loss));
    }
    int n = 0;
    xs[n++] = weft_graph_find(h, "x");
    if (weft_graph_find(h, "w") >= 0)
        xs[n++] = weft_graph_find(h, "w");
    ok(weft_graph_gradient(h, loss, xs, n, d));
    ok(weft_graph_output(h, "dx", d[0]));
    if (n > 1)
        ok(weft_graph_output(h, "dw", d[1]));
    *out = h;
}

/* Fused, plain, and, for graphs of moderate size, the references of both. */
static void compare(weft_graph *g, const char *fused, const char *const *names, int n, int classes,
                    bool reference)
{
    weft_graph *h[2];
    weft_program *p[4];
    weft_session *s[4];
    int ways = reference ? 4 : 2;
    for (int i = 0; i < 2; i++) {
        differentiate(g, i, &h[i]);
        assert_int_equal(count(h[i], fused) > 0, !i);
    }
    for (int i = 0; i < ways; i++) {
        compiled c = compile(h[i % 2], i / 2, i % 2, names, n);
        s[i] = c.s;
        p[i] = c.p;
        feed_all(p[i], h[0], classes);
        ok(weft_program_run(p[i]));
    }
    for (int i = 0; i < n; i++) {
        /* f32: a hundred roundings in random directions at most, or, without a reference, sums of
         * 65600 products in two orders; f64: the same in double. */
        double f32 = distance(p[0], p[ways - 1], names[i]),
               f64 = reference ? distance(p[2], p[3], names[i]) : 0;
        if (f32 > (reference ? 2e-6 : 1e-5) || f64 > 1e-13)
            fail_msg("%s of %s: %g from the plain graph in f32, %g in f64", names[i], fused, f32,
                     f64);
    }
    for (int i = 0; i < ways; i++)
        weft_session_free(s[i]);
    weft_graph_free(h[0]);
    weft_graph_free(h[1]);
    weft_graph_free(g);
}

static void test_attention_values(void **state)
{
    (void)state;
    static const char *const names[] = {"y", "dx"};
    static const int64_t sizes[][4] = {{2, 33, 3, 8},  {1, 1, 2, 5},   {1, 130, 2, 67},
                                       {3, 64, 1, 16}, {1, 97, 2, 78}, {1, 200, 1, 131}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        compare(attention_graph(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], 0), "attention",
                names, 2, 0, true);
}

static void test_linear_cross_entropy_values(void **state)
{
    (void)state;
    static const char *const names[] = {"loss", "dx", "dw"};
    compare(head_graph(false, "tb=1", false), "linear_cross_entropy", names, 3, 11, true);
}

/* Several chunks with a smaller last one: 600 rows of 65600 classes are chunks of 208, 208 and 184
 * rows. */
static void test_linear_cross_entropy_chunks(void **state)
{
    (void)state;
    static const char *const names[] = {"loss", "dx", "dw"};
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 2, 600, 3, 0), w = weight(g, "w", 2, 65600, 3);
    weft_val z = EMIT(g, "matmul", "tb=1", x, w);
    weft_val loss =
        EMIT(g, "cross_entropy", "ignore=-7", z, input(g, "targets", WEFT_I32, 1, 600, 0, 0));
    ok(weft_graph_output(g, "loss", loss));
    compare(g, "linear_cross_entropy", names, 3, 65600, false);
}

/* ---- bits do not depend on the threads ---- */
static void same_bits(weft_graph *g, const char *const *names, int n, int classes)
{
    static const int threads[] = {1, 2, 3, 8, 16};
    weft_graph *h;
    uint64_t first[4] = {0};
    differentiate(g, false, &h);
    for (size_t k = 0; k < sizeof threads / sizeof *threads; k++) {
        ok(weft_threads_set(ctx, threads[k]));
        compiled c = compile(h, false, false, names, n);
        feed_all(c.p, h, classes);
        ok(weft_program_run(c.p));
        for (int i = 0; i < n; i++) {
            weft_type t;
            const void *data = weft_program_output(c.p, names[i], &t);
            uint64_t hash = weft_hash(data, weft_type_bytes(&t), 0);
            first[i] = k ? first[i] : hash;
            if (hash != first[i])
                fail_msg("%s differs with %d threads", names[i], threads[k]);
        }
        weft_session_free(c.s);
    }
    ok(weft_threads_set(ctx, 2));
    weft_graph_free(h);
    weft_graph_free(g);
}

/* 8 heads: a task is a head up to 4 threads, blocks of keys or queries beyond. */
static void test_threads(void **state)
{
    (void)state;
    same_bits(attention_graph(2, 210, 4, 20, 0), (const char *const[]){"y", "dx"}, 2, 0);
    same_bits(head_graph(false, "tb=1", false), (const char *const[]){"loss", "dx", "dw"}, 3, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_not_shared),
        cmocka_unit_test(test_unknown_rule),
        cmocka_unit_test(test_sources_and_names),
        cmocka_unit_test(test_state_that_changes),
        cmocka_unit_test(test_identities),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_views_of_views),
        cmocka_unit_test(test_attention_fires),
        cmocka_unit_test(test_linear_cross_entropy_fires),
        cmocka_unit_test(test_linear_cross_entropy_once),
        cmocka_unit_test(test_embedding_grad_add),
        cmocka_unit_test(test_attention_values),
        cmocka_unit_test(test_linear_cross_entropy_values),
        cmocka_unit_test(test_linear_cross_entropy_chunks),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
