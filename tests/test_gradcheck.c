/* test_gradcheck.c - the gradient check itself: right gradients pass, planted wrong ones are
 * caught, large tensors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "graph/ir.h"

/* A square whose gradient can be told to lie: 2x * (1 + error). Known to this test alone. */
static double planted;

static void infer_square(weft_infer *c) { weft_infer_out(c, 0, *weft_call_in(c, 0)); }

static void grad_square(weft_grad *g)
{
    weft_val v = weft_emit2(g, "mul", weft_dy(g, 0), weft_x(g, 0));
    weft_dx(g, 0, weft_emit(g, "scale", &v, 1, "alpha=%.17g", 2 * (1 + planted)));
}

static void ref_square(const weft_run *r)
{
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_put(&r->out[0], i, weft_get(&r->in[0], i) * weft_get(&r->in[0], i));
}

static const weft_op square = {
    .name = "test_square",
    .doc = "y = x * x.",
    .in = {{"x", WEFT_FLOAT, "any shape", 0}},
    .out = {{"y", WEFT_FLOAT, "as x", 0}},
    .infer = infer_square,
    .grad = grad_square,
    .run = ref_square,
    .ref = ref_square,
};

typedef struct {
    int tensors;
    int64_t probes;
    double norm, error;
} summary;

static void note(void *user, const weft_gradcheck_result *r)
{
    summary *s = user;
    s->tensors++;
    s->probes += r->probes;
    s->norm += r->norm;
    s->error = r->error > s->error ? r->error : s->error;
}

static weft_graph *square_graph(weft_ctx *c, int64_t n)
{
    weft_graph *g = weft_graph_new(c);
    const weft_type t = weft_type_make(WEFT_F32, 1, &n);
    weft_val x = weft_graph_input(g, "x", &t), w = weft_graph_state(g, "w", &t, "ones", true), y;
    weft_val p = weft_graph_emit(g, "mul", (weft_val[]){x, w}, 2, "%s", "");
    assert_true(weft_graph_append(g, &square, &p, 1, NULL, &y) >= 0);
    assert_int_equal(weft_graph_output(g, "y", y), WEFT_OK);
    return g;
}

static weft_status check(double error, int64_t n, summary *s, char *message)
{
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = square_graph(c, n);
    *s = (summary){0};
    planted = error;
    weft_status status =
        weft_graph_gradcheck(g, &(weft_gradcheck_options){.report = note, .user = s, .seed = 3});
    strcpy(message, weft_error(c));
    weft_graph_free(g);
    weft_close(c);
    return status;
}

static void test_right_gradient_passes(void **state)
{
    (void)state;
    summary s;
    char message[8192];
    assert_int_equal(check(0, 7, &s, message), WEFT_OK);
    assert_int_equal(s.tensors, 2);
    assert_int_equal(s.probes, 14); /* every element of both */
    assert_true(s.norm > 0.1 && s.error > 0 && s.error < 1e-8);
}

static void test_planted_error_is_caught(void **state)
{
    (void)state;
    summary s;
    char message[8192];
    assert_int_equal(check(1e-6, 7, &s, message), WEFT_FAILED); /* ten times the bound */
    assert_non_null(strstr(message, "differs from central differences"));
    assert_true(s.error > 0.9e-6 && s.error < 1.1e-6);
    assert_int_equal(check(-2, 7, &s, message), WEFT_FAILED); /* a wrong sign */
}

static void test_large_tensors_by_directions(void **state)
{
    (void)state;
    summary s;
    char message[8192];
    assert_int_equal(check(0, 10001, &s, message), WEFT_OK);
    assert_int_equal(s.probes, 2 * 64);
    assert_int_equal(check(1e-5, 10001, &s, message), WEFT_FAILED);
}

/* The derivative of a derivative: gradient() in the graph, checked as a value. */
static void test_gradient_node(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = weft_graph_new(c);
    const weft_type t = weft_type_make(WEFT_F32, 2, (int64_t[]){3, 4});
    summary s = {0};
    weft_val x = weft_graph_input(g, "x", &t), y = weft_graph_emit(g, "gelu", &x, 1, "%s", "");
    weft_val loss = weft_graph_emit(g, "mean", &y, 1, "%s", "");
    weft_val dx = weft_graph_emit(g, "gradient", (weft_val[]){loss, x}, 2, "%s", "");
    assert_int_equal(weft_graph_output(g, "dx", dx), WEFT_OK);
    assert_int_equal(weft_graph_gradcheck(g, &(weft_gradcheck_options){.report = note, .user = &s}),
                     WEFT_OK);
    assert_int_equal(s.tensors, 1);
    assert_true(s.norm > 0.01);
    weft_graph_free(g);
    weft_close(c);
}

static void test_refusals(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = square_graph(c, 3);
    assert_int_equal(weft_graph_gradcheck(g, &(weft_gradcheck_options){.output = "z"}), WEFT_USAGE);
    assert_non_null(strstr(weft_error(c), "no float output called z"));
    weft_graph_free(g);
    weft_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_right_gradient_passes),
                                       cmocka_unit_test(test_planted_error_is_caught),
                                       cmocka_unit_test(test_large_tensors_by_directions),
                                       cmocka_unit_test(test_gradient_node),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
