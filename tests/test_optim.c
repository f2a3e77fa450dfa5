/* test_optim.c - the optimizer graph: a tiny GPT-2 learns, accumulation, groups, NaN guard, errors,
 * thread counts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/optim.h"
#include "graph/plan.h"

enum { VOCAB = 61, TOKENS = 24 };

/* A tiny GPT-2 with its optimizer, compiled. */
typedef struct {
    weft_ctx *ctx;
    weft_model *model;
    weft_graph *full, *g;
    weft_session *s;
    weft_program *micro, *update;
    weft_optim o;
    char log[4096];
} rig;

static void keep_log(void *user, const char *line)
{
    char *log = user;
    size_t n = strlen(log);
    snprintf(log + n, 4096 - n, "%s\n", line);
}

static void open_rig(rig *t, int threads, const char *extra)
{
    const char *set[] = {"n_layer=2", "n_head=2", "d=32", "vocab=61",
                         "ctx=24",    "B=2",      "T=24", extra};
    memset(t, 0, sizeof *t);
    t->ctx = weft_open(&(weft_options){.threads = threads, .log = keep_log, .log_user = t->log});
    assert_non_null(t->ctx);
    if (weft_model_load(t->ctx, "models/gpt2.txtpb", set, extra ? 8 : 7, &t->model) ||
        weft_graph_expand(t->model, &t->full) || weft_graph_lower(t->full, &t->g) ||
        weft_session_new(t->ctx, false, &t->s))
        fail_msg("%s", weft_error(t->ctx));
}

static void close_rig(rig *t)
{
    weft_session_free(t->s);
    weft_graph_free(t->g);
    weft_graph_free(t->full);
    weft_model_free(t->model);
    weft_close(t->ctx);
}

/* The recipe of these tests; the caller adds what it is about. */
typedef struct {
    Weft__Recipe recipe;
    Weft__Train train;
    Weft__Optimizer opt;
    Weft__Schedule sched;
} settings;

static void default_settings(settings *s)
{
    s->recipe = (Weft__Recipe)WEFT__RECIPE__INIT;
    s->train = (Weft__Train)WEFT__TRAIN__INIT;
    s->opt = (Weft__Optimizer)WEFT__OPTIMIZER__INIT;
    s->sched = (Weft__Schedule)WEFT__SCHEDULE__INIT;
    s->recipe.train = &s->train;
    s->recipe.optimizer = &s->opt;
    s->recipe.schedule = &s->sched;
    s->train.steps = 100;
    s->sched.lr = 3e-3;
    s->sched.warmup = 5;
}

static void append(rig *t, const settings *s)
{
    if (weft_optim_append(t->g, &s->recipe, &t->o))
        fail_msg("%s", weft_error(t->ctx));
}

static void compile(rig *t)
{
    const weft_compile_options train = {.train = true};
    const weft_optim *o = &t->o;
    if ((o->n_micro && weft_program_compile(t->s, t->g, o->micro, o->n_micro, &train, &t->micro)) ||
        weft_program_compile(t->s, t->g, o->update, o->n_update, &train, &t->update) ||
        weft_session_init(t->s, 7))
        fail_msg("%s", weft_error(t->ctx));
}

/* Text that can be learnt: the next token is a fixed function of the last one. */
static void feed(weft_program *p, int64_t batch)
{
    weft_type type;
    int32_t *x = weft_program_input(p, "tokens", &type),
            *y = weft_program_input(p, "targets", NULL);
    assert_non_null(x);
    for (int64_t i = 0; i < weft_type_count(&type); i++) {
        x[i] = (int32_t)((i % TOKENS * 7 + i / TOKENS * 11 + batch * 5) % VOCAB);
        y[i] = (x[i] * 3 + 1) % VOCAB;
    }
    int64_t *rng = weft_program_input(p, "rng", NULL); /* with dropout: seed and step */
    if (rng)
        memcpy(rng, (int64_t[]){3, batch}, 2 * sizeof *rng);
}

static float value(rig *t, weft_program *p, const char *name)
{
    const float *v = weft_program_output(p, name, NULL);
    if (!v)
        fail_msg("no output %s: %s", name, weft_error(t->ctx));
    return *v;
}

static void run(rig *t, weft_program *p)
{
    if (weft_program_run(p))
        fail_msg("%s", weft_error(t->ctx));
}

/* One optimizer step; returns its loss. */
static float step(rig *t, int64_t batch)
{
    for (int64_t k = 0; t->micro && k < t->o.accumulate; k++) {
        feed(t->micro, batch * t->o.accumulate + k);
        *(int32_t *)weft_program_input(t->micro, t->o.first, NULL) = k == 0;
        run(t, t->micro);
    }
    if (!t->micro)
        feed(t->update, batch);
    run(t, t->update);
    return value(t, t->update, t->o.loss);
}

static uint64_t hash_of_states(const rig *t)
{
    uint64_t h = 0;
    for (int i = 0; i < t->s->n_state; i++)
        h = weft_hash(t->s->state[i].data, weft_type_bytes(&t->s->state[i].type), h);
    return h;
}

/* ---- tests ---- */

static void loss_falls(void **unused)
{
    (void)unused;
    rig t;
    settings s;
    default_settings(&s);
    open_rig(&t, 2, NULL);
    append(&t, &s);
    assert_int_equal(t.o.n_micro, 0);
    compile(&t);
    float first = step(&t, 0), last = 0;
    assert_true(fabsf(first - logf(VOCAB)) <
                0.2f); /* weights of 0.02: all tokens about equally likely */
    assert_true(fabsf(value(&t, t.update, t.o.lr) - 3e-3f / 5) < 1e-9f);
    assert_true(value(&t, t.update, t.o.grad_norm) > 0);
    for (int i = 1; i < 60; i++)
        last = step(&t, i);
    assert_true(last < 0.5f * first);
    assert_int_equal(*(int64_t *)weft_session_data(t.s, "adam.step", NULL), 60);
    close_rig(&t);
}

/* Row m of the batch of `one` becomes the micro-batch of `two`. */
static void feed_half(rig *one, rig *two, int m)
{
    static const char *const name[] = {"tokens", "targets"};
    for (int i = 0; i < 2; i++) {
        const int32_t *from = weft_program_input(one->update, name[i], NULL);
        memcpy(weft_program_input(two->micro, name[i], NULL), from + m * TOKENS, TOKENS * 4);
    }
    *(int32_t *)weft_program_input(two->micro, two->o.first, NULL) = m == 0;
}

/* Two micro-batches of one sequence each are a batch of two, up to the order of additions. */
static void accumulation_equals_a_larger_batch(void **unused)
{
    (void)unused;
    rig one, two;
    settings s;
    weft_type type;
    default_settings(&s);
    open_rig(&one, 1, NULL);
    append(&one, &s);
    compile(&one);
    s.train.accumulate = 2;
    open_rig(&two, 1, "B=1");
    append(&two, &s);
    compile(&two);
    for (int k = 0; k < 5; k++) {
        feed(one.update, k);
        for (int m = 0; m < 2; m++) { /* before the run: feeds share memory with later values */
            feed_half(&one, &two, m);
            run(&two, two.micro);
        }
        run(&one, one.update);
        run(&two, two.update);
        float a = value(&one, one.update, one.o.loss), b = value(&two, two.update, two.o.loss);
        assert_true(fabsf(a - b) < 1e-5f * a); /* f32 sums in another order, five steps */
        a = value(&one, one.update, one.o.grad_norm), b = value(&two, two.update, two.o.grad_norm);
        assert_true(fabsf(a - b) < 1e-4f * a);
    }
    assert_null(weft_program_input(two.update, "tokens", &type)); /* the update needs no data */
    close_rig(&one);
    close_rig(&two);
}

static void not_finite_changes_nothing(void **unused)
{
    (void)unused;
    for (int n = 1; n <= 2; n++) {
        rig t;
        settings s;
        default_settings(&s);
        s.train.accumulate = n;
        open_rig(&t, 2, NULL);
        append(&t, &s);
        compile(&t);
        step(&t, 0);
        float *w = weft_session_data(t.s, "ln_f.weight", NULL), before = w[3];
        float *wte = weft_session_data(t.s, "wte.weight", NULL), first = wte[0];
        float *m = weft_session_data(t.s, "adam.m.wte.weight", NULL), moment = m[0];
        w[3] = NAN;
        assert_false(isfinite(step(&t, 1)));
        assert_true(wte[0] == first && m[0] == moment);
        assert_int_equal(*(int64_t *)weft_session_data(t.s, "adam.step", NULL), 1);
        w[3] = before; /* and it goes on as if nothing had been */
        assert_true(isfinite(step(&t, 2)));
        assert_true(wte[0] != first);
        assert_int_equal(*(int64_t *)weft_session_data(t.s, "adam.step", NULL), 2);
        close_rig(&t);
    }
}

static void same_bits_for_every_thread_count(void **unused)
{
    (void)unused;
    uint64_t want = 0;
    for (int threads = 1; threads <= 8; threads += threads == 3 ? 5 : 1) {
        rig t;
        settings s;
        default_settings(&s);
        open_rig(&t, threads, "dropout=0.1");
        append(&t, &s);
        compile(&t);
        for (int k = 0; k < 3; k++)
            step(&t, k);
        uint64_t h = hash_of_states(&t);
        want = threads == 1 ? h : want;
        assert_true(h == want);
        close_rig(&t);
    }
}

static double attr_of(const weft_node *n, const char *name)
{
    int i = weft_op_attr(n->op, name);
    assert_true(i >= 0);
    return n->attr[i].f;
}

/* The update node of a weight. */
static const weft_node *update_of(const rig *t, const char *weight)
{
    char name[256];
    snprintf(name, sizeof name, "update:%s", weight);
    weft_val v = weft_graph_find_output(t->g, name);
    assert_true(v >= 0);
    return &t->g->node[t->g->value[v].node];
}

static void groups(void **unused)
{
    (void)unused;
    rig t;
    settings s;
    char *embeddings[] = {"w?e.*"}, *nothing[] = {"*.nosuch", "other"};
    Weft__Group a = WEFT__GROUP__INIT, b = WEFT__GROUP__INIT, c = WEFT__GROUP__INIT;
    Weft__Group *list[] = {&a, &b, &c};
    default_settings(&s);
    a.match = embeddings, a.n_match = 1, a.lr_scale = 0.5; /* weight decay: the optimizer's */
    b.has_max_rank = true, b.max_rank = 1, b.has_weight_decay = true, b.weight_decay = 0;
    c.match = nothing, c.n_match = 2;
    s.opt.group = list, s.opt.n_group = 3;
    open_rig(&t, 1, NULL);
    append(&t, &s);
    assert_true(attr_of(update_of(&t, "wte.weight"), "lr_scale") == 0.5);
    assert_true(attr_of(update_of(&t, "wte.weight"), "weight_decay") == 0.1);
    assert_true(attr_of(update_of(&t, "h.0.ln_1.weight"), "weight_decay") == 0);
    assert_true(attr_of(update_of(&t, "h.0.ln_1.weight"), "lr_scale") == 1);
    assert_true(attr_of(update_of(&t, "h.1.attn.c_attn.weight"), "weight_decay") == 0.1);
    assert_non_null(strstr(t.log, "group 3 (match \"*.nosuch\", ...) gets no weight"));
    assert_null(strstr(t.log, "group 1"));
    close_rig(&t);
}

/* Length of column k of a matrix, or with w its product with column k of w. */
static double column(rig *t, const char *name, const float *w, int k)
{
    weft_type type;
    const float *x = weft_session_data(t->s, name, &type);
    double sum = 0;
    for (int64_t i = 0; i < type.dim[0]; i++)
        sum +=
            (double)x[i * type.dim[1] + k] * (w ? w[i * type.dim[1] + k] : x[i * type.dim[1] + k]);
    return w ? sum : sqrt(sum);
}

/* Columns of length 1 stay so, and the first moment, which after the first step is the gradient up
 * to a factor, has no part along them. Nothing of it happens when the loss is not finite. */
static void unit_norm(void **unused)
{
    (void)unused;
    static const char *const name = "h.0.mlp.c_fc.weight", *const m = "adam.m.h.0.mlp.c_fc.weight";
    rig t;
    settings s;
    char *match[] = {"h.0.mlp.c_fc.weight"};
    float before[32 * 128];
    weft_type type;
    Weft__Group a = WEFT__GROUP__INIT, *list[] = {&a};
    default_settings(&s);
    a.match = match, a.n_match = 1, a.has_unit_norm = true, a.unit_norm = -2;
    s.opt.group = list, s.opt.n_group = 1;
    open_rig(&t, 2, NULL);
    append(&t, &s);
    compile(&t);
    float *w = weft_session_data(t.s, name, &type);
    assert_int_equal(weft_type_count(&type), 32 * 128);
    for (int k = 0; k < 128; k++) {
        double length = column(&t, name, NULL, k);
        for (int i = 0; i < 32; i++)
            w[i * 128 + k] = (float)(w[i * 128 + k] / length);
    }
    memcpy(before, w, sizeof before);
    step(&t, 0);
    double size = 0;
    for (int k = 0; k < 128; k++) {
        size += column(&t, m, NULL, k);
        /* roundings of w and of sums of 32 products */
        assert_true(fabs(column(&t, m, before, k)) < 1e-5 * column(&t, m, NULL, k));
        assert_true(fabs(column(&t, name, NULL, k) - 1) < 1e-6);
    }
    assert_true(size > 0 && memcmp(before, w, sizeof before));
    memcpy(before, w, sizeof before);
    ((float *)weft_session_data(t.s, "ln_f.weight", NULL))[3] = NAN;
    step(&t, 1);
    assert_memory_equal(before, w, sizeof before);
    close_rig(&t);
}

static void freeze(rig *t, bool all)
{
    for (int i = 0; i < t->g->n_value; i++)
        if (all || !strstr(t->g->value[i].name ? t->g->value[i].name : "", "mlp"))
            t->g->value[i].trainable = false;
}

static void only_trainable_weights(void **unused)
{
    (void)unused;
    rig t;
    settings s;
    default_settings(&s);
    open_rig(&t, 1, NULL);
    freeze(&t, false);
    append(&t, &s);
    assert_int_equal(t.o.n_weight, 8);
    assert_int_equal(weft_graph_find(t.g, "adam.m.wte.weight"), WEFT_NONE);
    /* nothing is differentiated below the lowest trained weight, in block 0 */
    for (int i = 0; i < t.g->n_node; i++)
        if (t.g->node[i].backward)
            assert_null(strstr(t.g->node[i].scope, "h.0.attn"));
    compile(&t);
    step(&t, 0);
    close_rig(&t);
}

static void expect_error(rig *t, const settings *s, const char *want)
{
    weft_status status = weft_optim_append(t->g, &s->recipe, &t->o);
    assert_int_not_equal(status, WEFT_OK);
    if (!strstr(weft_error(t->ctx), want))
        fail_msg("no '%s' in: %s", want, weft_error(t->ctx));
    close_rig(t);
}

static void errors(void **unused)
{
    (void)unused;
    rig t;
    settings s;
    default_settings(&s);
    open_rig(&t, 1, NULL);
    freeze(&t, true);
    expect_error(&t, &s, "nothing to train: all 28 weights are frozen");
    open_rig(&t, 1, NULL);
    s.train.loss = "los";
    expect_error(&t, &s, "no output 'los'; did you mean 'loss'?");
    open_rig(&t, 1, NULL);
    s.train.loss = "logits";
    expect_error(&t, &s, "must be a scalar");
    open_rig(&t, 1, NULL);
    s.train.loss = "loss";
    s.train.accumulate = 0;
    expect_error(&t, &s, "train.accumulate=0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_falls),
        cmocka_unit_test(accumulation_equals_a_larger_batch),
        cmocka_unit_test(not_finite_changes_nothing),
        cmocka_unit_test(same_bits_for_every_thread_count),
        cmocka_unit_test(groups),
        cmocka_unit_test(unit_norm),
        cmocka_unit_test(only_trainable_weights),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
