/* test_intervene.c - interventions: every reader of a value reads what was made of it, names
 * follow, and what does not fit is refused. */
#include "tests/rewrite.h"

static weft_graph *chain(void)
{
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 3, 2, 3, 4), w = weight(g, "w", 2, 4, 5);
    weft_val h = EMIT(g, "tanh", "", x);
    weft_graph_name(g, h, "h");
    weft_val logits = EMIT(g, "matmul", "", h, w);
    weft_graph_name(g, logits, "logits");
    weft_val both = EMIT(g, "mul", "", logits, logits);
    ok(weft_graph_output(g, "logits", logits));
    ok(weft_graph_output(g, "h", h));
    ok(weft_graph_output(g, "loss", EMIT(g, "sum", "", both)));
    return g;
}

static weft_val in_of(const weft_graph *g, weft_val v, int i)
{
    return g->node[g->value[v].node].in[i];
}

static const char *op_of(const weft_graph *g, weft_val v)
{
    return g->value[v].kind == WEFT_VALUE_NODE ? g->node[g->value[v].node].op->name : "";
}

static void test_readers(void **state)
{
    (void)state;
    static const weft_intervention list[] = {
        {"logits", "steer", "id=1 how=scale amount=3", 0, NULL},
        {"h", "relu", "", 0, NULL},
        {"logits", "scale", "alpha=2", 0, NULL}};
    weft_graph *g = chain(), *h;
    ok(weft_graph_intervene(g, list, 3, &h));
    ok(weft_graph_verify(h));
    weft_val y = weft_graph_find(h, "logits"), old = weft_graph_find(h, "logits.before");
    assert_string_equal(op_of(h, y), "scale"); /* the last of the list is what readers see */
    assert_string_equal(op_of(h, in_of(h, y, 0)), "steer");
    assert_int_equal(in_of(h, in_of(h, y, 0), 0), old);
    assert_string_equal(op_of(h, old), "matmul");
    assert_int_equal(weft_graph_find_output(h, "logits"), y);
    weft_val both = in_of(h, weft_graph_find_output(h, "loss"), 0);
    assert_int_equal(in_of(h, both, 0), y);
    assert_int_equal(in_of(h, both, 1), y);
    assert_int_equal(in_of(h, old, 0), weft_graph_find_output(h, "h"));
    assert_string_equal(op_of(h, weft_graph_find(h, "h")), "relu");
    assert_int_equal(count(g, "steer"), 0); /* the old graph stays */
    weft_graph_free(h);
    weft_graph_free(g);
}

/* Inputs and weights keep their names: files are read by them. */
static void test_sources(void **state)
{
    (void)state;
    static const weft_intervention list[] = {{"w", "scale", "alpha=0", 0, NULL},
                                             {"x", "neg", "", 0, NULL}};
    weft_graph *g = chain(), *h;
    ok(weft_graph_intervene(g, list, 2, &h));
    ok(weft_graph_verify(h));
    assert_int_equal(h->value[weft_graph_find(h, "w")].kind, WEFT_VALUE_STATE);
    assert_string_equal(op_of(h, in_of(h, weft_graph_find(h, "logits"), 1)), "scale");
    assert_string_equal(op_of(h, in_of(h, weft_graph_find(h, "h"), 0)), "neg");
    weft_graph_free(h);
    weft_graph_free(g);
}

/* A fed strength: one program for all of them, and what cannot be fed is refused. */
static void test_fed(void **state)
{
    (void)state;
    static const weft_intervention list[] = {
        {"h", "steer", "id=1 how=add amount=2", 0, "strength=dose"},
        {"h", "steer", "id=2 how=set amount=1", 0, "strength=dose"},
        {"logits", "steer", "id=1 how=scale amount=3", 0, "strength=other"}};
    static const struct {
        const char *feed, *message;
    } bad[] = {{"strength", "expected INPUT=NAME"}, {"stren=a", "feeds no further input"},
               {"x=a", "feeds no further input"},   {"strength=h", "has a value 'h' already"},
               {"=a", "feeds no further input"},    {"strength=logits", "value 'logits' already"}};
    weft_graph *g = chain(), *h;
    weft_type t;
    int inputs = 0;
    ok(weft_graph_intervene(g, list, 3, &h));
    ok(weft_graph_verify(h));
    for (const char *name; (name = weft_graph_input_at(h, inputs, &t)); inputs++)
        if (inputs)
            assert_true(t.dtype == WEFT_F32 && t.rank == 0);
    assert_int_equal(inputs, 3); /* x, dose, other */
    weft_graph_free(h);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const weft_intervention x = {"h", "steer", "id=1 amount=2", 0, bad[i].feed};
        assert_int_equal(weft_graph_intervene(g, &x, 1, &h), WEFT_USAGE);
        if (!strstr(weft_error(ctx), bad[i].message))
            fail_msg("'%s' is not in: %s", bad[i].message, weft_error(ctx));
        weft_error_clear(ctx);
    }
    weft_graph_free(g);
}

typedef struct {
    int32_t id[12];
    int n;
} drawn;

static bool on_token(void *user, int32_t id)
{
    drawn *d = user;
    d->id[d->n++] = id;
    return true;
}

/* One generator at several strengths: each as a generator that is not fed draws at it. */
static void test_fed_generator(void **state)
{
    (void)state;
    static const double strength[] = {0, 3, -2.5, 0, 40};
    const int32_t prompt[] = {5, 9};
    drawn fed, fixed, first;
    weft_trained *t;
    weft_generator *g;
    weft_intervention x = {"logits", "steer", "id=7 how=add amount=2", 0, "strength=dose"};
    weft_generate_options o = {.prompt = prompt,
                               .n_prompt = 2,
                               .n_new = 12,
                               .temperature = 1,
                               .top_p = 1,
                               .seed = 3,
                               .intervene = &x,
                               .n_intervene = 1,
                               .token = on_token,
                               .user = &fed};
    ok(weft_trained_open(ctx, "models/recipes/gpt2-tiny.txtpb", NULL, NULL, 0, &t));
    for (int cached = 0; cached < 2; cached++) {
        o.no_cache = !cached;
        ok(weft_generator_new(t, &o, &g));
        assert_int_equal(weft_generator_run(g, 0), WEFT_USAGE);
        assert_non_null(strstr(weft_error(ctx), "reads 'dose', which nobody has fed"));
        weft_error_clear(ctx);
        for (int i = 0; i < 5; i++) {
            char attrs[64];
            snprintf(attrs, sizeof attrs, "id=7 how=add amount=%.17g", 2 * strength[i]);
            weft_intervention y = {"logits", "steer", attrs, 0, NULL};
            weft_generate_options p = o;
            p.intervene = &y;
            p.user = &fixed;
            fed.n = fixed.n = 0;
            ok(weft_generator_feed(g, "dose", (float)strength[i]));
            ok(weft_generator_run(g, 0));
            ok(weft_generate(t, &p));
            assert_int_equal(fed.n, 12);
            assert_memory_equal(fed.id, fixed.id, sizeof fed.id);
            first = i ? first : fed;
        }
        assert_memory_not_equal(fed.id, first.id, sizeof fed.id);
        assert_int_equal(weft_generator_feed(g, "doze", 1), WEFT_USAGE);
        assert_non_null(strstr(weft_error(ctx), "no intervention reads a scalar input 'doze'"));
        weft_error_clear(ctx);
        assert_int_equal(weft_generator_feed(g, "tokens", 1), WEFT_USAGE);
        weft_error_clear(ctx);
        weft_generator_free(g);
    }
    assert_int_equal(weft_trained_save(t, &x, 1, "nowhere"), WEFT_USAGE);
    weft_error_clear(ctx);
    weft_trained_free(t);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        weft_intervention x;
        const char *message;
    } bad[] = {
        {{"logit", "steer", "id=1 amount=2", 0, NULL}, "did you mean 'logits'"},
        {{"logits", "steer", "id=5 amount=2", 0, NULL}, "id=5 is none of the 5 ids"},
        {{"logits", "steer", "amount=2", 0, NULL}, "'id'"},
        {{"logits", "steer", "id=1 amount=2 how=raise", 0, NULL}, "scale|add|set"},
        {{"logits", "steerr", "id=1 amount=2", 0, NULL}, "no op 'steerr'"},
        {{"logits", "matmul", "", 0, NULL}, "at least 2 inputs"},
        {{"logits", "sum", "", 0, NULL}, "changes the type"},
        {{"logits", "steer", "id=1 amount=2", WEFT_ON_PROMPT, NULL}, "only positions of tokens"}};
    int n = (int)(sizeof bad / sizeof *bad);
    for (int i = 0; i < n; i++) {
        weft_graph *g = chain(), *h;
        assert_int_equal(weft_graph_intervene(g, &bad[i].x, 1, &h), WEFT_USAGE);
        if (!strstr(weft_error(ctx), bad[i].message))
            fail_msg("'%s' is not in: %s", bad[i].message, weft_error(ctx));
        assert_null(h);
        weft_error_clear(ctx);
        weft_graph_free(g);
    }
    print_message("%d interventions refused\n", n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers), cmocka_unit_test(test_sources), cmocka_unit_test(test_fed),
        cmocka_unit_test(test_fed_generator), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
