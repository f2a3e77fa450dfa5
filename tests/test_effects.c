/* test_effects.c - updates of states: they come behind all readers of the old value, readers of
 * their output see the new one, and outside training they stand still. */
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

enum { N = 4 };

#define EMIT(g, op, attrs, ...)                                                                    \
    weft_graph_emit(g, op, (weft_val[]){__VA_ARGS__},                                              \
                    (int)(sizeof((weft_val[]){__VA_ARGS__}) / sizeof(weft_val)), "%s", attrs)

typedef struct {
    weft_ctx *c;
    weft_graph *g;
    weft_val m;    /* f32[N], begins as ones */
    weft_val n;    /* i64[], begins as 0 */
    weft_val zero; /* i32[] 0 */
    weft_val x;    /* f32[N] input */
} model;

static void open_model(model *t)
{
    const weft_type f = weft_type_make(WEFT_F32, 1, (int64_t[]){N});
    const weft_type i = {.dtype = WEFT_I32}, n = {.dtype = WEFT_I64};
    t->c = weft_open(NULL);
    t->g = weft_graph_new(t->c);
    t->m = weft_graph_state(t->g, "m", &f, "ones", false);
    t->n = weft_graph_state(t->g, "n", &n, "zeros", false);
    t->zero = weft_graph_state(t->g, "zero", &i, "zeros", false);
    t->x = weft_graph_input(t->g, "x", &f);
}

static void close_model(model *t)
{
    weft_graph_free(t->g);
    weft_close(t->c);
}

static void ok(weft_ctx *c, weft_status s)
{
    if (s)
        fail_msg("%s", weft_error(c));
}

/* m := v */
static weft_val assign(model *t, weft_val v)
{
    return EMIT(t->g, "cache_write", "", t->m, v, t->zero);
}
static weft_val twice(model *t, weft_val v) { return EMIT(t->g, "scale", "alpha=2", v); }

static void out(model *t, const char *name, weft_val v)
{
    ok(t->c, t->c->status);
    ok(t->c, weft_graph_output(t->g, name, v));
}

static double first(weft_program *p, const char *name)
{
    weft_type type;
    const void *y = weft_program_output(p, name, &type);
    if (!y)
        fail_msg("no %s", name);
    return weft_element(&type, y, 0);
}

static double state_of(weft_session *s, const char *name)
{
    weft_type type;
    const void *y = weft_session_data(s, name, &type);
    return weft_element(&type, y, 0);
}

static void feed(weft_program *p, double x)
{
    weft_type type;
    void *to = weft_program_input(p, "x", &type);
    for (int i = 0; to && i < N; i++)
        if (type.dtype == WEFT_F32)
            ((float *)to)[i] = (float)x;
        else
            ((double *)to)[i] = x;
}

/* Runs the program of all outputs `times` times with x = 3, and hands it to `look` each time; with
 * kernels, with references and without rewriting. */
static void each_way(const model *t, bool train, int times,
                     void (*look)(weft_session *s, weft_program *p, int time))
{
    for (int way = 0; way < 3; way++) {
        const weft_compile_options o = {.train = train, .no_rewrite = way == 1};
        const char *fetch[8];
        weft_session *s;
        weft_program *p;
        for (int i = 0; i < t->g->n_output; i++)
            fetch[i] = t->g->output[i].name;
        ok(t->c, weft_session_new(t->c, way == 2, &s));
        ok(t->c, weft_program_compile(s, t->g, fetch, t->g->n_output, &o, &p));
        ok(t->c, weft_session_init(s, 1));
        for (int i = 0; i < times; i++) {
            feed(p, 3);
            ok(t->c, weft_program_run(p));
            look(s, p, i);
        }
        weft_session_free(s);
    }
}

/* ---- order ---- */
static void look_read_behind(weft_session *s, weft_program *p, int time)
{
    assert_true(first(p, "y") == time + 1);
    assert_true(first(p, "z") == time);
    assert_true(first(p, "n") == time);
    assert_true(state_of(s, "n") == time + 1);
}

/* The update stands before a reader of the old value, and the state itself is fetched. */
static void test_read_behind(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    out(&t, "y", EMIT(t.g, "increment", "", t.n));
    out(&t, "z", EMIT(t.g, "cast", "to=f32", t.n));
    out(&t, "n", t.n);
    each_way(&t, true, 3, look_read_behind);
    close_model(&t);
}

static void look_both(weft_session *s, weft_program *p, int time)
{
    double old = time ? 3 : 1; /* then m = x */
    assert_true(first(p, "y") == old + 3);
    assert_true(first(p, "view") == 2 * old + 3);
    assert_true(state_of(s, "m") == 3);
}

/* A reader of the old value that reads the new one, too, which no order can serve; and a view. */
static void test_reads_both(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    weft_val v = EMIT(t.g, "reshape", "dims=2,2", t.m), m1 = assign(&t, t.x);
    out(&t, "y", EMIT(t.g, "add", "", t.m, m1));
    out(&t, "view", EMIT(t.g, "add", "", EMIT(t.g, "scale", "alpha=2", v),
                         EMIT(t.g, "reshape", "dims=2,2", m1)));
    each_way(&t, true, 2, look_both);
    close_model(&t);
}

static void look_late_view(weft_session *s, weft_program *p, int time)
{
    (void)s;
    assert_true(first(p, "y") == 4 * (time ? 3 : 1) + 3);
}

/* A view that is made behind the update, by a node that needs the update. */
static void test_late_view(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    weft_val m1 = assign(&t, t.x), v = EMIT(t.g, "reshape", "dims=2,2", t.m);
    weft_val w = EMIT(t.g, "reshape", "dims=4", EMIT(t.g, "transpose", "perm=1,0", v));
    out(&t, "y", EMIT(t.g, "add", "", EMIT(t.g, "scale", "alpha=4", w), m1));
    each_way(&t, true, 2, look_late_view);
    close_model(&t);
}

static void look_swap(weft_session *s, weft_program *p, int time)
{
    (void)p;
    assert_true(state_of(s, "m") == (time % 2 ? 1 : 5));
    assert_true(state_of(s, "b") == (time % 2 ? 5 : 1));
}

/* Two states that exchange their values: each update reads what the other overwrites. */
static void test_swap(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    const weft_type f = weft_type_make(WEFT_F32, 1, (int64_t[]){N});
    weft_val b = weft_graph_state(t.g, "b", &f, "constant(5)", false);
    out(&t, "m1", assign(&t, b));
    out(&t, "b1", EMIT(t.g, "cache_write", "", b, t.m, t.zero));
    each_way(&t, true, 3, look_swap);
    close_model(&t);
}

static void look_shift(weft_session *s, weft_program *p, int time)
{
    weft_type type;
    const void *m = weft_session_data(s, "m", &type);
    (void)p;
    for (int i = 0; i < N; i++) /* x at the end, what was there one place to the left */
        assert_true(weft_element(&type, m, i) == (i + time + 1 >= N ? 3 : 1));
}

/* An update that reads another part of what it overwrites, then one of what the first has made. */
static void test_shift(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    const weft_type scalar = {.dtype = WEFT_I32};
    weft_val last = weft_graph_state(t.g, "last", &scalar, "constant(3)", false);
    weft_val moved = assign(&t, EMIT(t.g, "slice", "axis=0 from=1", t.m));
    weft_val one = EMIT(t.g, "slice", "axis=0 to=1", t.x);
    out(&t, "m2", EMIT(t.g, "cache_write", "", moved, one, last));
    each_way(&t, true, 3, look_shift);
    close_model(&t);
}

static void look_chain(weft_session *s, weft_program *p, int time)
{
    double old = time ? 6 : 1;
    assert_true(first(p, "old") == 2 * old && first(p, "middle") == 6 && first(p, "new") == 12);
    assert_true(state_of(s, "m") == 6);
}

/* An update of an update: three values of one state, all read at the end. */
static void test_chain(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    weft_val m1 = assign(&t, t.x);
    weft_val m2 = EMIT(t.g, "cache_write", "", m1, twice(&t, m1), t.zero);
    out(&t, "new", twice(&t, m2));
    out(&t, "middle", twice(&t, m1));
    out(&t, "old", twice(&t, t.m));
    each_way(&t, true, 2, look_chain);
    close_model(&t);
}

static void look_recompute(weft_session *s, weft_program *p, int time)
{
    assert_true(first(p, "y") == time + 1);
    assert_true(state_of(s, "n") == time + 1);
}

/* Backward computes the values of a segment again, but no update happens again. */
static void test_recompute(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    t.g->at_segment = 1;
    weft_val n1 = EMIT(t.g, "increment", "", t.n);
    weft_val f = EMIT(t.g, "mul", "", EMIT(t.g, "exp", "", t.x), EMIT(t.g, "cast", "to=f32", n1));
    weft_val loss = EMIT(t.g, "sum", "", EMIT(t.g, "exp", "", f)), dx;
    t.g->at_segment = 0;
    ok(t.c, weft_graph_gradient(t.g, loss, &t.x, 1, &dx));
    out(&t, "y", n1);
    out(&t, "dx", dx);
    each_way(&t, true, 3, look_recompute);
    close_model(&t);
}

/* ---- random graphs against an oracle in which every value has memory of its own ---- */
enum { STATES = 3, VALUES = 24, SEEDS = 60 };

typedef struct {
    enum { START, ADD, VIEW, WRITE } how;
    int a, b;      /* values that it is made of; START: the state */
    weft_val v;    /* in the graph */
    double now[N]; /* in this run */
    char name[8];
} oracle;

static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 8) % below;
}

/* Reads the elements in the order 0 2 1 3, through views. */
static weft_val turned(model *t, weft_val v)
{
    weft_val w = EMIT(t->g, "reshape", "dims=2,2", v);
    return EMIT(t->g, "reshape", "dims=4", EMIT(t->g, "transpose", "perm=1,0", w));
}

/* last[k]: the newest value of state k. Returns how many values there are. */
static int random_graph(model *t, uint32_t *seed, oracle *x, int *last)
{
    const weft_type f = weft_type_make(WEFT_F32, 1, (int64_t[]){N});
    int n = 0;
    for (; n < STATES; n++) {
        char name[8], init[16];
        snprintf(name, sizeof name, "s%d", n);
        snprintf(init, sizeof init, "constant(%d)", n + 1);
        x[n] = (oracle){.how = START, .a = n, .v = weft_graph_state(t->g, name, &f, init, false)};
        last[n] = n;
    }
    for (; n < VALUES; n++) {
        int k = (int)draw(seed, STATES);
        oracle *y = &x[n];
        *y = (oracle){.a = (int)draw(seed, (uint32_t)n), .b = (int)draw(seed, (uint32_t)n)};
        y->how = draw(seed, 4) == 0 ? WRITE : draw(seed, 3) == 0 ? VIEW : ADD;
        if (y->how == WRITE) {
            y->a = last[k];
            y->v = EMIT(t->g, "cache_write", "", x[y->a].v, x[y->b].v, t->zero);
            last[k] = n;
        } else
            y->v = y->how == VIEW ? turned(t, x[y->a].v)
                                  : EMIT(t->g, "scale", "alpha=0.5",
                                         EMIT(t->g, "add", "", x[y->a].v, x[y->b].v));
    }
    return n;
}

static void run_oracle(oracle *x, int n, double state[STATES][N], const int *last)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < N; j++) {
            const double *a = x[x[i].a].now, *b = x[x[i].b].now;
            x[i].now[j] = x[i].how == START  ? state[x[i].a][j]
                          : x[i].how == ADD  ? 0.5 * (a[j] + b[j])
                          : x[i].how == VIEW ? a[j == 1 ? 2 : j == 2 ? 1 : j]
                                             : b[j];
        }
    for (int k = 0; k < STATES; k++)
        memcpy(state[k], x[last[k]].now, sizeof state[k]);
}

static void check_values(weft_program *p, const oracle *x, int n, uint32_t seed)
{
    for (int i = 0; i < n; i++) {
        weft_type type;
        const void *y = *x[i].name ? weft_program_output(p, x[i].name, &type) : NULL;
        for (int j = 0; y && j < N; j++)
            if (weft_element(&type, y, j) != x[i].now[j])
                fail_msg("graph %u: element %d of value %d is %g instead of %g", seed, j, i,
                         weft_element(&type, y, j), x[i].now[j]);
    }
}

static void random_case(uint32_t number)
{
    uint32_t seed = number * 7919 + 1;
    model t;
    oracle x[VALUES] = {{0}};
    int last[STATES], n_fetch = 0;
    const char *fetch[VALUES + 1];
    double state[STATES][N];
    open_model(&t);
    int n = random_graph(&t, &seed, x, last);
    for (int i = 0; i < n; i++)
        if (x[i].how == WRITE || draw(&seed, 2)) {
            snprintf(x[i].name, sizeof x[i].name, "y%d", i);
            out(&t, x[i].name, x[i].v);
            fetch[n_fetch++] = x[i].name;
        }
    const weft_compile_options o = {.train = true, .no_rewrite = number % 2};
    weft_session *s;
    weft_program *p;
    ok(t.c, weft_session_new(t.c, number % 3 == 0, &s));
    ok(t.c, weft_session_add_states(s, t.g));
    ok(t.c, weft_program_compile(s, t.g, fetch, n_fetch, &o, &p));
    ok(t.c, weft_session_init(s, 1));
    for (int k = 0; k < STATES; k++)
        for (int j = 0; j < N; j++)
            state[k][j] = k + 1;
    for (int j = 0; j < N; j++) { /* elements that differ, or views would not be seen */
        weft_type type;
        void *data = weft_session_data(s, "s0", &type);
        state[0][j] = 16 * j;
        if (type.dtype == WEFT_F32)
            ((float *)data)[j] = (float)state[0][j];
        else
            ((double *)data)[j] = state[0][j];
    }
    for (int run = 0; run < 2; run++) {
        run_oracle(x, n, state, last);
        ok(t.c, weft_program_run(p));
        check_values(p, x, n, number);
    }
    weft_session_free(s);
    close_model(&t);
}

static void test_random_graphs(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SEEDS; i++)
        random_case(i);
}

/* ---- outside training ---- */
static void look_still(weft_session *s, weft_program *p, int time)
{
    (void)time;
    assert_true(first(p, "y") == 0 && first(p, "z") == 2 && state_of(s, "n") == 0);
    assert_true(state_of(s, "m") == 1);
}

static void test_still(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    out(&t, "y", EMIT(t.g, "increment", "", t.n));
    out(&t, "z", twice(&t, assign(&t, t.x)));
    each_way(&t, false, 3, look_still);
    close_model(&t);
}

static void look_always(weft_session *s, weft_program *p, int time)
{
    assert_true(first(p, "y") == time + 1 && first(p, "z") == 6);
    assert_true(state_of(s, "n") == time + 1 && state_of(s, "m") == 3);
}

static void test_always(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    out(&t, "y", EMIT(t.g, "increment", "always=1", t.n));
    out(&t, "z", twice(&t, EMIT(t.g, "cache_write", "always=1", t.m, t.x, t.zero)));
    each_way(&t, false, 3, look_always);
    close_model(&t);
}

/* Old checkpoints have the hashes of graphs whose ops did not have this attribute. */
static void test_hash(void **state)
{
    (void)state;
    uint64_t hash[2];
    for (int always = 0; always < 2; always++) {
        model t;
        open_model(&t);
        out(&t, "y", EMIT(t.g, "increment", always ? "always=1" : "", t.n));
        hash[always] = weft_graph_hash(t.g);
        close_model(&t);
    }
    assert_true(hash[0] == UINT64_C(0x82efd55b142400d7) && hash[0] != hash[1]);
}

/* ---- refusals ---- */
static void refuse(model *t, const char *what)
{
    assert_int_equal(weft_graph_check_updates(t->g), WEFT_MALFORMED);
    if (!strstr(weft_error(t->c), what))
        fail_msg("no '%s' in: %s", what, weft_error(t->c));
    close_model(t);
}

static void test_refused(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    EMIT(t.g, "cache_write", "", t.x, t.m, t.zero);
    refuse(&t, "cache_write updates its input 'cache', which must be a weight of the model or what "
               "another update has made of one, but 'x' is an input");
    open_model(&t);
    EMIT(t.g, "cache_write", "", twice(&t, t.m), t.m, t.zero);
    refuse(&t, "is computed by scale");
    open_model(&t);
    EMIT(t.g, "increment", "", t.n);
    EMIT(t.g, "increment", "", t.n);
    refuse(&t, "'n' is updated twice, by increment and by increment");
}

/* A trained weight that the model updates by itself belongs to two masters. */
static void test_trained_twice(void **state)
{
    (void)state;
    model t;
    open_model(&t);
    t.g->value[t.m].trainable = true;
    out(&t, "loss", EMIT(t.g, "sum", "", EMIT(t.g, "mul", "", t.m, t.x)));
    out(&t, "m1", assign(&t, t.x));
    Weft__Recipe r = WEFT__RECIPE__INIT;
    weft_optim o;
    assert_int_equal(weft_optim_append(t.g, &r, &o), WEFT_MALFORMED);
    refuse(&t, "'m' is updated twice, by cache_write and by adamw of optimizer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_behind), cmocka_unit_test(test_reads_both),
        cmocka_unit_test(test_late_view),   cmocka_unit_test(test_swap),
        cmocka_unit_test(test_shift),       cmocka_unit_test(test_chain),
        cmocka_unit_test(test_recompute),   cmocka_unit_test(test_still),
        cmocka_unit_test(test_always),      cmocka_unit_test(test_hash),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_trained_twice),
        cmocka_unit_test(test_random_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
