/* test_choose.c - variants of a model in one graph: those that are not chosen leave no trace. */
#include "tests/rewrite.h"

enum { ROWS = 6, WIDTH = 8, CLASSES = 11 };

/* A loss; with `variants` beside others that read its logits, that have no gradient, and that are
 * of other types. All weights are there either way. */
static weft_graph *build(bool variants)
{
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 2, ROWS, WIDTH, 0);
    weft_val t = input(g, "targets", WEFT_I32, 1, ROWS, 0, 0);
    weft_val w = weight(g, "w", 2, CLASSES, WIDTH), v = weight(g, "v", 2, WIDTH, CLASSES);
    weft_val logits = EMIT(g, "matmul", "tb=1", x, w), other;
    if (variants) {
        weft_val ids = EMIT(g, "argmax", "", logits);
        weft_val bad =
            EMIT(g, "gradient", "", EMIT(g, "mean", "axis=0", EMIT(g, "cast", "to=f32", ids)), w);
        logits = EMIT(g, "choose", "which=1", ids, logits);
        other = EMIT(g, "matmul", "", EMIT(g, "dropout", "p=0.1", x), v);
        logits = EMIT(g, "choose", "which=0", logits, other, bad);
    }
    weft_val loss = EMIT(g, "cross_entropy", "", logits, t);
    if (variants) {
        other = EMIT(g, "mean", "axis=0",
                     EMIT(g, "reshape", "dims=66", EMIT(g, "mul", "", logits, logits)));
        loss = EMIT(g, "choose", "which=2", other, x, loss);
    }
    ok(weft_graph_output(g, "dx", EMIT(g, "gradient", "", loss, x)));
    ok(weft_graph_output(g, "loss", loss));
    return g;
}

static int count_op(const weft_graph *g, const char *op)
{
    int n = 0;
    for (int k = 0; k < g->n_node; k++)
        n += !strcmp(g->node[k].op->name, op);
    return n;
}

/* The lowered graph is the one without variants, node by node. */
static void test_no_trace(void **state)
{
    (void)state;
    weft_graph *g[2] = {build(false), build(true)}, *h[2];
    weft_graph_size size[2];
    for (int i = 0; i < 2; i++) {
        ok(weft_graph_verify(g[i]));
        ok(weft_graph_measure(g[i], &size[i]));
        ok(weft_graph_lower(g[i], &h[i]));
        ok(weft_graph_verify(h[i]));
    }
    assert_int_equal(count_op(g[1], "choose"), 3);
    assert_true(size[0].flops == size[1].flops && size[0].flops > 2 * ROWS * WIDTH * CLASSES);
    assert_int_equal(h[0]->n_node, h[1]->n_node);
    assert_int_equal(h[0]->n_value + 1, h[1]->n_value); /* inputs and states stay, "rng" too */
    for (int k = 0; k < h[0]->n_node; k++)
        assert_ptr_equal(h[0]->node[k].op, h[1]->node[k].op);
    for (int i = 0; i < 2; i++) {
        weft_graph_free(h[i]);
        weft_graph_free(g[i]);
    }
}

/* Fused although other variants read the logits: the same steps, memory and FLOPs. */
static void test_programs(void **state)
{
    (void)state;
    const char *fetch[] = {"loss", "dx"};
    weft_program_size size[2];
    for (int i = 0; i < 2; i++) {
        weft_graph *g = build(i), *h;
        weft_session *s;
        weft_program *p;
        ok(weft_graph_prepare(g, fetch, 2, &(weft_rewrite_options){.train = true}, &h));
        assert_int_equal(count_op(h, "linear_cross_entropy"), 1);
        assert_int_equal(count_op(h, "matmul"), 0);
        ok(weft_session_new(ctx, false, &s));
        ok(weft_program_compile(s, g, fetch, 2, &(weft_compile_options){.train = true}, &p));
        weft_program_measure(p, &size[i]);
        weft_session_free(s);
        weft_graph_free(h);
        weft_graph_free(g);
    }
    assert_int_equal(size[0].n_step, size[1].n_step);
    assert_int_equal(size[0].plan_bytes, size[1].plan_bytes);
    assert_true(size[0].flops == size[1].flops);
}

/* The derivative by a chosen value is that by the value itself. */
static void test_gradient_by_choice(void **state)
{
    (void)state;
    weft_graph *g = weft_graph_new(ctx), *h;
    weft_val x = input(g, "x", WEFT_F32, 1, 5, 0, 0), a = EMIT(g, "tanh", "", x);
    weft_val y = EMIT(g, "choose", "which=1", EMIT(g, "exp", "", x), a);
    weft_val loss = EMIT(g, "mean", "axis=0", EMIT(g, "mul", "", y, a));
    ok(weft_graph_output(g, "dy", EMIT(g, "gradient", "", loss, y)));
    ok(weft_graph_output(g, "da", EMIT(g, "gradient", "", loss, a)));
    ok(weft_graph_lower(g, &h));
    assert_int_equal(count_op(h, "exp"), 0);
    weft_graph_free(g);
    ok(weft_graph_optimize(h, &(weft_rewrite_options){0}, &g));
    assert_int_equal(weft_graph_find_output(g, "dy"), weft_graph_find_output(g, "da"));
    weft_graph_free(g);
    weft_graph_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_trace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_programs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gradient_by_choice, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
