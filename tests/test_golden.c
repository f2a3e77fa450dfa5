/* test_golden.c - a tiny GPT-2 against PyTorch: logits, every gradient, ten AdamW steps
 * (tests/golden/gpt2.py).
 *
 * Tolerances: PyTorch's own float32 differs from its float64 by up to 1e-6 of the largest logit and
 * 1e-6 relative L2 in a gradient; we allow ten times that. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/load.h"
#include "graph/optim.h"
#include "graph/plan.h"
#include "graph/safetensors.h"

static weft_ctx *ctx;
static weft_tensor_file *golden;
static const char *const settings[] = {"n_layer=2", "n_head=3", "d=24", "vocab=61",
                                       "ctx=20",    "B=2",      "T=17"};

#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) != WEFT_OK)                                                                     \
            fail_msg("%s", weft_error(ctx));                                                       \
    } while (0)

static float *golden_f32(const char *prefix, const char *name, int64_t *count)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const weft_tensor_entry *e = weft_tensor_file_find(golden, full);
    if (!e)
        fail_msg("no tensor '%s' in the golden file", full);
    int64_t n = 1;
    for (int i = 0; i < e->rank; i++)
        n *= e->dim[i];
    float *x = malloc((size_t)n * sizeof *x);
    OK(weft_tensor_file_read(golden, e, WEFT_F32, true, x));
    *count = n;
    return x;
}

static void golden_i32(const char *name, void *dst)
{
    OK(weft_tensor_file_read(golden, weft_tensor_file_find(golden, name), WEFT_I32, false, dst));
}

static double relative_l2(const float *x, const float *want, int64_t n)
{
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)x[i] - want[i]) * ((double)x[i] - want[i]);
        s += (double)want[i] * want[i];
    }
    return sqrt(d / s);
}

static int setup(void **state)
{
    (void)state;
    ctx = weft_open(NULL);
    OK(weft_tensor_file_open(ctx, "tests/golden/gpt2.safetensors", &golden));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    weft_tensor_file_close(golden);
    weft_close(ctx);
    return 0;
}

/* Forward graph, lowered; rewritten too unless `plain`. */
static weft_graph *forward(bool plain)
{
    weft_model *m;
    weft_graph *g, *lowered, *out;
    OK(weft_model_load(ctx, "models/gpt2.txtpb", settings, 7, &m));
    OK(weft_graph_expand(m, &g));
    OK(weft_graph_lower(g, &lowered));
    const weft_rewrite_options o = {.train = true, .no_rewrite = plain};
    OK(weft_graph_rewrite(lowered, &o, &out, NULL));
    weft_graph_free(g);
    weft_graph_free(lowered);
    weft_model_free(m);
    return out;
}

static void load_weights(weft_session *s, const weft_graph *g)
{
    for (weft_val v = 0; v < g->n_value; v++) {
        const weft_value *x = &g->value[v];
        if (x->kind != WEFT_VALUE_STATE || !x->trainable)
            continue;
        int64_t n;
        weft_type t;
        float *w = golden_f32("weight:", x->name, &n);
        void *dst = weft_session_data(s, x->name, &t);
        assert_non_null(dst);
        assert_int_equal(weft_type_count(&t), n);
        for (int64_t i = 0; i < n; i++) {
            if (t.dtype == WEFT_F64)
                ((double *)dst)[i] = w[i];
            else
                ((float *)dst)[i] = w[i];
        }
        free(w);
    }
}

static void feed(weft_program *p)
{
    weft_type t;
    golden_i32("tokens", weft_program_input(p, "tokens", &t));
    golden_i32("targets", weft_program_input(p, "targets", &t));
}

static void check_logits(weft_program *p)
{
    int64_t n;
    double worst = 0, top = 0;
    float *want = golden_f32("", "logits", &n);
    const float *x = weft_program_output(p, "logits", NULL);
    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)x[i] - want[i]));
        top = fmax(top, fabs((double)want[i]));
    }
    print_message("logits: largest difference %.2e of the largest logit\n", worst / top);
    assert_true(worst <= 1e-5 * top);
    free(want);
}

static void logits_and_gradients(bool plain)
{
    weft_graph *g = forward(plain);
    weft_val xs[64], dx[64];
    const char *fetch[66] = {"logits", "loss"};
    int n = 0;
    for (weft_val v = 0; v < g->n_value; v++)
        if (g->value[v].kind == WEFT_VALUE_STATE)
            xs[n++] = v;
    OK(weft_graph_gradient(g, weft_graph_find_output(g, "loss"), xs, n, dx));
    for (int i = 0; i < n; i++) {
        char name[256];
        snprintf(name, sizeof name, "grad:%s", g->value[xs[i]].name);
        OK(weft_graph_output(g, name, dx[i]));
        fetch[2 + i] = g->output[g->n_output - 1].name;
    }
    weft_session *s;
    weft_program *p;
    const weft_compile_options o = {.train = true, .no_rewrite = plain, .check_nan = true};
    OK(weft_session_new(ctx, false, &s));
    OK(weft_program_compile(s, g, fetch, 2 + n, &o, &p));
    OK(weft_session_init(s, 1));
    load_weights(s, g);
    feed(p);
    OK(weft_program_run(p));
    check_logits(p);
    double worst = 0;
    for (int i = 0; i < n; i++) {
        int64_t count;
        float *want = golden_f32("", fetch[2 + i], &count);
        double d = relative_l2(weft_program_output(p, fetch[2 + i], NULL), want, count);
        if (d > 1e-5)
            fail_msg("%s: relative L2 %.2e", fetch[2 + i], d);
        worst = fmax(worst, d);
        free(want);
    }
    print_message("%d gradients: worst relative L2 %.2e\n", n, worst);
    assert_int_equal(n, 28);
    weft_session_free(s);
    weft_graph_free(g);
}

static void test_gradients(void **state)
{
    (void)state;
    logits_and_gradients(false);
}

static void test_gradients_without_rewrite(void **state)
{
    (void)state;
    logits_and_gradients(true);
}

static Weft__Recipe *recipe(weft_arena *a)
{
    static const char text[] = "train { steps: 10 } schedule { lr: 3e-3 min_lr: 3e-4 warmup: 3 }"
                               "optimizer { weight_decay: 0.1 clip: 1.0 group { match: \"*\" "
                               "max_rank: 1 weight_decay: 0 } }";
    ProtobufCMessage *m;
    OK(weft_text_parse(a, &weft__recipe__descriptor, text, sizeof text - 1, "recipe",
                       weft_lines_new(a), &m));
    return (Weft__Recipe *)m;
}

/* Ten steps of AdamW with clipping, warm-up, cosine and decay on matrices only: losses, norms,
 * final weights. */
static void ten_steps(bool reference)
{
    weft_graph *g = forward(false);
    weft_arena *a = weft_arena_new(ctx, 0);
    weft_optim optim;
    weft_session *s;
    weft_program *p;
    const weft_compile_options o = {.train = true, .reference = reference};
    double losses[10], norms[10];
    OK(weft_optim_append(g, recipe(a), &optim));
    OK(weft_session_new(ctx, reference, &s));
    OK(weft_program_compile(s, g, optim.update, optim.n_update, &o, &p));
    OK(weft_session_init(s, 1));
    load_weights(s, g);
    OK(weft_tensor_file_read(golden,
                             weft_tensor_file_find(golden, reference ? "f64:losses" : "losses"),
                             WEFT_F64, true, losses));
    OK(weft_tensor_file_read(golden,
                             weft_tensor_file_find(golden, reference ? "f64:norms" : "norms"),
                             WEFT_F64, true, norms));
    double worst = 0, worst_norm = 0;
    for (int k = 0; k < 10; k++) {
        feed(p);
        OK(weft_program_run(p));
        const void *loss = weft_program_output(p, optim.loss, NULL),
                   *norm = weft_program_output(p, optim.grad_norm, NULL);
        double l = reference ? *(const double *)loss : *(const float *)loss;
        double q = reference ? *(const double *)norm : *(const float *)norm;
        worst = fmax(worst, fabs(l - losses[k]));
        worst_norm = fmax(worst_norm, fabs(q - norms[k]) / norms[k]);
    }
    print_message("%s: ten losses within %.2e, gradient norms within %.2e relative\n",
                  reference ? "double" : "float", worst, worst_norm);
    /* In double the two implementations differ by rounding alone (constants pass through float
     * attributes' text). */
    assert_true(worst <= (reference ? 1e-9 : 1e-5));
    assert_true(worst_norm <= (reference ? 1e-8 : 1e-5));
    weft_session_free(s);
    weft_graph_free(g);
    weft_arena_free(a);
}

static void test_ten_steps(void **state)
{
    (void)state;
    ten_steps(false);
}

static void test_ten_steps_reference(void **state)
{
    (void)state;
    ten_steps(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_gradients_without_rewrite),
        cmocka_unit_test(test_ten_steps),
        cmocka_unit_test(test_ten_steps_reference),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
