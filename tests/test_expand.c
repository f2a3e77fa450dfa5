/* test_expand.c - expansion, the flat graph as a file, differentiation: structure, not numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "graph/expr.h"
#include "graph/ir.h"
#include "graph/load.h"

static weft_ctx *ctx;

static int setup(void **state)
{
    (void)state;
    ctx = weft_open(NULL);
    return ctx == NULL;
}

static int teardown(void **state)
{
    (void)state;
    weft_close(ctx);
    return 0;
}

static weft_graph *expand(const char *path, const char *const *set, int n)
{
    weft_model *m = NULL;
    weft_graph *g = NULL;
    if (weft_model_load(ctx, path, set, n, &m) || weft_graph_expand(m, &g))
        fail_msg("%s", weft_error(ctx));
    weft_model_free(m);
    assert_int_equal(weft_graph_verify(g), WEFT_OK);
    return g;
}

static int64_t parameters(const weft_graph *g)
{
    int64_t n = 0;
    for (weft_val v = 0; v < g->n_value; v++)
        if (g->value[v].kind == WEFT_VALUE_STATE)
            n += weft_type_count(&g->value[v].type);
    return n;
}

/* The numbers that everybody knows: OpenAI's small and medium models. */
static void test_gpt2_parameters(void **state)
{
    (void)state;
    const char *const medium[] = {"n_layer=24", "n_head=16", "d=1024"};
    weft_graph *g = expand("models/gpt2.txtpb", NULL, 0);
    assert_int_equal(parameters(g), 124439808);
    const weft_value *w = &g->value[weft_graph_find(g, "h.11.mlp.c_fc.weight")];
    assert_int_equal(w->type.dim[0], 768);
    assert_int_equal(w->type.dim[1], 3072);
    assert_string_equal(g->value[weft_graph_find(g, "h.0.attn.c_proj.weight")].init,
                        "normal(0.004082482904638631)");
    weft_graph_free(g);
    g = expand("models/gpt2.txtpb", medium, 3);
    assert_int_equal(parameters(g), 354823168);
    weft_graph_free(g);
}

static void write_flat(const weft_graph *g, weft_string *out)
{
    weft_model *flat = NULL;
    weft_string_init(out, ctx);
    assert_int_equal(weft_graph_to_model(g, &flat), WEFT_OK);
    assert_int_equal(weft_text_print(&flat->root->base, out), WEFT_OK);
    weft_model_free(flat);
}

static weft_graph *read_flat(const char *path) { return expand(path, NULL, 0); }

static void save(const char *path, const weft_string *s)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s->s, 1, s->len, f), s->len);
    fclose(f);
}

/* expand -> write -> read -> write gives the same bytes; so does the graph with gradients in it. */
static void fixed_point(bool with_gradients)
{
    const char *const tiny[] = {"n_layer=2", "n_head=2", "d=8",        "vocab=11",
                                "ctx=6",     "B=2",      "dropout=0.1"};
    const char *path = with_gradients ? "test_expand_grad.txtpb" : "test_expand_flat.txtpb";
    char full[512];
    snprintf(full, sizeof full, "%s/%s", WEFT_BINARY_DIR, path);
    weft_graph *g = expand("models/gpt2.txtpb", tiny, 7);
    weft_string a, b;
    if (with_gradients) {
        weft_val xs[2] = {weft_graph_find(g, "wte.weight"), weft_graph_find(g, "h.0.ln_1.weight")},
                 dx[2];
        assert_int_equal(weft_graph_gradient(g, weft_graph_find_output(g, "loss"), xs, 2, dx),
                         WEFT_OK);
        assert_int_equal(weft_graph_output(g, "dwte", dx[0]), WEFT_OK);
        assert_int_equal(weft_graph_verify(g), WEFT_OK);
    }
    write_flat(g, &a);
    save(full, &a);
    weft_graph *h = read_flat(full);
    write_flat(h, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.s, b.s, a.len);
    assert_int_equal(g->n_node, h->n_node);
    weft_string_free(&a);
    weft_string_free(&b);
    weft_graph_free(g);
    weft_graph_free(h);
}

static void test_fixed_point(void **state)
{
    (void)state;
    fixed_point(false);
    fixed_point(true);
}

/* Only what is asked is differentiated: nothing above the last value asked for, nothing for frozen
 * weights. */
static void test_gradient_is_lazy(void **state)
{
    (void)state;
    const char *const tiny[] = {"n_layer=4", "n_head=2", "d=8", "vocab=11", "ctx=6", "B=2"};
    weft_graph *g = expand("models/gpt2.txtpb", tiny, 6);
    int forward = g->n_node, seen = 0;
    weft_val x = weft_graph_find(g, "h.2.x"), dx;
    assert_true(x >= 0);
    assert_int_equal(weft_graph_gradient(g, weft_graph_find_output(g, "loss"), &x, 1, &dx),
                     WEFT_OK);
    for (int k = forward; k < g->n_node; k++) {
        const weft_node *n = &g->node[k];
        assert_true(n->backward);
        assert_true(strncmp(n->scope, "h.0", 3) && strncmp(n->scope, "h.1", 3) &&
                    strncmp(n->scope, "h.2", 3));
        seen += !strncmp(n->scope, "h.3", 3);
        for (int i = 0; i < n->n_out; i++)
            assert_true(strncmp(n->op->name, "embedding", 9) !=
                        0); /* no gradient for weights was asked */
    }
    assert_true(seen > 10);
    weft_graph_free(g);
}

static void check_expr(const char *text, double want)
{
    weft_param p[] = {{"d", 768, ""}, {"n_head", 12, ""}};
    weft_params s = {.p = p, .n = 2, .cap = 2};
    char why[256] = "";
    double v = -1;
    if (!weft_expr_eval(&s, text, strlen(text), &v, why, sizeof why))
        fail_msg("%s: %s", text, why);
    assert_true(v == want);
}

static void check_bad_expr(const char *text, const char *want)
{
    weft_param p[] = {{"d", 768, ""}, {"n_head", 12, ""}};
    weft_params s = {.p = p, .n = 2, .cap = 2};
    char why[256] = "";
    double v;
    assert_false(weft_expr_eval(&s, text, strlen(text), &v, why, sizeof why));
    assert_string_equal(why, want);
}

static void test_expressions(void **state)
{
    (void)state;
    check_expr("1+2*3", 7);
    check_expr("(1+2)*3", 9);
    check_expr("8/4/2", 1);
    check_expr("2-3-4", -5);
    check_expr("-d+1", -767);
    check_expr("2*-3", -6);
    check_expr("1/sqrt(d/n_head)", 0.125);
    check_expr("min(d, max(3, n_head))", 12);
    check_expr("1.5e-3*2", 0.003);
    check_bad_expr("", "the expression is empty");
    check_bad_expr("1+", "the expression ends where a value is expected");
    check_bad_expr("1 2", "an operator is expected at '2'");
    check_bad_expr("(1", "'(' without ')'");
    check_bad_expr("1)", "')' or ',' without '('");
    check_bad_expr("n_heads", "unknown parameter 'n_heads'; did you mean 'n_head'?");
    check_bad_expr("1/0", "division by zero");
    check_bad_expr("min(1)", "min takes 2 arguments, but 1 is given");
    check_bad_expr("sqrt(0-4)", "sqrt of the negative number -4");
    check_bad_expr("1.2.3", "'1.2.3' is not a number");
    check_bad_expr("1e999", "'1e999' is not a number");
    char deep[300];
    memset(deep, '(', sizeof deep);
    weft_params none = {0};
    char why[256];
    double v;
    assert_false(weft_expr_eval(&none, deep, sizeof deep, &v, why, sizeof why));
}

/* The verifier finds each kind of damage that a pass could do. */
static void damage(int kind)
{
    const char *const tiny[] = {"n_layer=1", "n_head=2", "d=8", "vocab=11", "ctx=6", "B=2"};
    weft_graph *g = expand("models/gpt2.txtpb", tiny, 6);
    weft_node *n = &g->node[5];
    switch (kind) {
    case 0:
        g->value[n->out[0]].type.dim[0]++;
        break;
    case 1:
        g->value[n->out[0]].type.dtype = 0;
        break;
    case 2:
        g->value[n->out[0]].node = 0;
        break;
    case 3:
        n->in[0] = g->node[g->n_node - 1].out[0];
        break;
    case 4:
        n->in[0] = g->n_value;
        break;
    case 5:
        n->n_out = 0;
        break;
    case 6:
        g->output[0].value = -1;
        break;
    case 7:
        g->value[0].name = NULL;
        break;
    case 8:
        g->value[0].name = "h.0.x";
        break;
    case 9:
        g->value[n->out[0]].type.rank = 99;
        break;
    }
    assert_int_equal(weft_graph_verify(g), WEFT_INTERNAL);
    weft_error_clear(ctx);
    weft_graph_free(g);
}

static void test_verifier(void **state)
{
    (void)state;
    for (int kind = 0; kind < 10; kind++)
        damage(kind);
}

/* The k-th repetition of a call without a name has suffix k, found at once: this took minutes when
 * every name was looked for from the first suffix on. Memory is in proportion to the nodes. */
static void test_unnamed_calls(void **state)
{
    (void)state;
    enum { N = 40000 };
    const char *const many[] = {"n=40000"};
    weft_graph *g = expand("tests/unnamed.txtpb", many, 1);
    assert_int_equal(g->n_node, 3 * N);
    assert_int_equal(weft_graph_find(g, "t"), g->node[0].out[0]);
    assert_int_equal(weft_graph_find(g, "y"), g->node[2].out[0]); /* the caller's name */
    assert_int_equal(weft_graph_find(g, "z~2"), g->node[5].out[0]);
    assert_int_equal(weft_graph_find(g, "t~2"), g->node[3].out[0]);
    assert_int_equal(weft_graph_find(g, "t~40000"), g->node[3 * N - 3].out[0]);
    assert_int_equal(weft_graph_find(g, "y~2"), g->node[3 * N - 1].out[0]);
    assert_true(weft_arena_used(g->arena) < (size_t)(3 * N) * 1000);
    weft_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expressions), cmocka_unit_test(test_gpt2_parameters),
        cmocka_unit_test(test_fixed_point), cmocka_unit_test(test_gradient_is_lazy),
        cmocka_unit_test(test_unnamed_calls),
        cmocka_unit_test(test_verifier),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
