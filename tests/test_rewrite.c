/* test_rewrite.c - the rewrite engine and its rules: what fires where, and what does not. */
#include "tests/rewrite.h"

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
        {"scale", "alpha=1 beta=0", 0},
        {"scale", "alpha=1 beta=0.5", 1},
        {"scale", "alpha=0 beta=3", 0},
        {"scale", "alpha=2", 1},
        {"reshape", "dims=3,4", 0},
        {"reshape", "dims=4,3", 1},
        {"slice", "axis=0 to=3", 0},
        {"slice", "axis=0 to=2", 1},
        {"slice", "axis=1 from=1", 1},
        {"sum_to", "dims=3,4", 0},
        {"sum_to", "dims=1,4", 1},
        {"broadcast_to", "dims=3,4", 0},
        {"broadcast_to", "dims=2,3,4", 1},
        {"transpose", "perm=0,1", 0},
        {"transpose", "perm=0,-1", 0},
        {"transpose", "perm=1,0", 1},
        {"transpose", "", 1},
        {"concat", "axis=0", 0},
        {"cast", "to=f32", 1},
        {"cast", "to=i32", 1},
        {"dropout", "p=0", 0},
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
        {"mul", "value=0", false, 0},
        {"mul", "value=0 dims=2,1,1", true, 0}, /* zeros of the larger sizes */
        {"mul", "value=0.5", false, 1},
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

/* A part of the loss with the factor 0: neither it nor its gradient is computed. */
static void test_switched_off(void **state)
{
    (void)state;
    const char *loss = "loss";
    for (int on = 0; on < 2; on++) {
        weft_graph *g = weft_graph_new(ctx), *h;
        weft_val x = input(g, "x", WEFT_F32, 2, 6, 8, 0), w = weight(g, "w", 2, 8, 8);
        weft_val y = EMIT(g, "tanh", "", EMIT(g, "matmul", "", x, w));
        weft_val other = EMIT(g, "exp", "", EMIT(g, "matmul", "", y, weight(g, "v", 2, 8, 8)));
        other = EMIT(g, "scale", on ? "alpha=0.1" : "alpha=0", EMIT(g, "mean", "", other));
        ok(weft_graph_output(g, loss, EMIT(g, "add", "", EMIT(g, "mean", "", y), other)));
        ok(weft_graph_prepare(g, &loss, 1, &(weft_rewrite_options){.train = true}, &h));
        assert_int_equal(count(h, "matmul"), 1 + on);
        assert_int_equal(count(h, "exp"), on);
        weft_val v[] = {weft_graph_find(h, "w"), weft_graph_find(h, "v")}, d[2];
        ok(weft_graph_gradient(h, weft_graph_find_output(h, loss), v, 2, d));
        assert_int_equal(count(h, "matmul"), on ? 5 : 2);
        weft_graph_free(h);
        weft_graph_free(g);
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

static void test_attention_fires(void **state)
{
    (void)state;
    expect(attention_graph(2, 5, 2, 4, 0), true, "attention", 1);
    expect(attention_graph(2, 5, 2, 4, 0), false, "attention", 1);
    expect(attention_graph(2, 5, 2, 4, DROPOUT), false, "attention", 1);
    expect(attention_graph(2, 5, 2, 4, DROPOUT), true, "attention", 0);
    expect(attention_graph(2, 5, 2, 4, DROPOUT), true, "attention_dropout", 1);
    expect(attention_graph(2, 5, 2, 4, DROPOUT | SEEN), true, "attention_dropout", 0);
    static const int no[] = {SEEN, NO_MASK, ALPHA_2, SHUFFLED, BIAS, FIRST};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        expect(attention_graph(2, 5, 2, 4, no[i]), false, "attention", 0);
}

static void test_linear_cross_entropy_fires(void **state)
{
    (void)state;
    expect(head_graph(false, "tb=1", false), true, "linear_cross_entropy", 1);
    expect(head_graph(false, "tb=1", true), false, "linear_cross_entropy", 1);
    expect(head_graph(true, "tb=1", false), true, "linear_cross_entropy", 0);
    expect(head_graph(false, "tb=1 alpha=2", false), true, "linear_cross_entropy", 0);
    expect(labels_graph(6), true, "linear_cross_entropy", 1);
}

/* Differentiated, the loss and its gradients come from one node, without a product by dloss = 1. */
static void test_linear_cross_entropy_once(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool frozen = i % 2;
        weft_graph *g = i < 2 ? head_graph(false, "tb=1", true) : labels_graph(6);
        weft_graph *h = rewritten(g, true, NULL, NULL), *k;
        weft_val xs[] = {weft_graph_find(h, "x"), weft_graph_find(h, "w"), weft_graph_find(h, "b")};
        weft_val d[3];
        int n = frozen ? 1 : i < 2 ? 2 : 3;
        ok(weft_graph_gradient(h, weft_graph_find_output(h, "loss"), xs, n, d));
        for (int j = 0; j < n; j++)
            ok(weft_graph_output(h, ((const char *[]){"dx", "dw", "db"})[j], d[j]));
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

/* With a factor 0 before the loss, its labels are not computed, whatever the loss might have been
 * joined with. */
static void test_switched_off_not_fused(void **state)
{
    (void)state;
    const char *names[] = {"loss", "value", "index"};
    for (int on = 0; on < 2; on++)
        for (int bias = 0; bias < 2; bias++) {
            weft_graph *g = weft_graph_new(ctx), *h;
            weft_val in[] = {input(g, "x", WEFT_F32, 2, 6, 8, 0), weight(g, "w", 2, 20, 8),
                             bias ? weight(g, "b", 1, 20, 0) : WEFT_NONE};
            weft_val z = weft_graph_emit(g, "matmul", in, 2 + bias, "tb=1");
            weft_val label = EMIT(g, "topk", "k=2", EMIT(g, "tanh", "", in[0])) + 1;
            weft_val loss = EMIT(g, "cross_entropy", "", z, label), top = EMIT(g, "topk", "k=3", z);
            ok(weft_graph_output(g, "loss", EMIT(g, "scale", on ? "alpha=0.1" : "alpha=0", loss)));
            ok(weft_graph_output(g, "value", top));
            ok(weft_graph_output(g, "index", top + 1));
            ok(weft_graph_prepare(g, names, 3, &(weft_rewrite_options){.train = true}, &h));
            assert_int_equal(count(h, "linear_cross_entropy"), on);
            assert_int_equal(count(h, "tanh"), on);
            assert_int_equal(count(h, "topk"), 1); /* the labels', or the head's */
            assert_int_equal(count(h, "matmul"), !on);
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
        cmocka_unit_test(test_switched_off),
        cmocka_unit_test(test_views_of_views),
        cmocka_unit_test(test_attention_fires),
        cmocka_unit_test(test_linear_cross_entropy_fires),
        cmocka_unit_test(test_linear_cross_entropy_once),
        cmocka_unit_test(test_switched_off_not_fused),
        cmocka_unit_test(test_embedding_grad_add),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
