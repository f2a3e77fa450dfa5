/* test_random_decode.c - random graphs made from the op registry, decoded step by step: each is
 * refused or gives at every position what the whole window gives.
 *
 * A new op takes part without any code here.  Sizes are chosen so that axes can be mistaken for
 * time (tables of T and 2T positions); attention and its parts are strewn in.  Reference sessions,
 * so that roundings are far below any real difference, and caches begin full of rubbish, so that
 * reading a position that is not there yet shows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/plan.h"

enum { GRAPHS = 160, NODES = 18, TRIES = 80, T = 6, B = 2, MOST = 256, MOST_ELEMENTS = 1500 };

static weft_ctx *ctx;
static int n_refused, n_decoded, n_attended;

/* ---- random choices ---- */
typedef struct {
    uint64_t state;
    weft_graph *g;
    bool dead[MOST];    /* cannot be decoded: nothing is built on it */
    weft_val out[MOST]; /* what was taken and is compared */
    int n_out;
} maker;

static uint64_t next(maker *m)
{
    uint64_t z = (m->state += 0x9e3779b97f4a7c15u); /* splitmix64 (Steele et al., 2014) */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int pick(maker *m, int n) { return (int)(next(m) % (uint64_t)n); }
static bool often(maker *m, int percent) { return pick(m, 100) < percent; }

static void must(weft_status s)
{
    if (s)
        fail_msg("%s", weft_error(ctx));
}

static weft_val state(maker *m, const char *name, int rank, const int64_t *dim)
{
    const weft_type t = weft_type_make(WEFT_F32, rank, dim);
    return weft_graph_state(m->g, name, &t, "normal(0.7)", true);
}

static void sources(maker *m)
{
    const weft_type x = weft_type_make(WEFT_F32, 3, (int64_t[]){B, T, 4});
    weft_graph_input(m->g, "x", &x);
    state(m, "rows", 2, (int64_t[]){T, 4});
    state(m, "square", 2, (int64_t[]){4, 4});
    state(m, "wide", 2, (int64_t[]){4, T});
    state(m, "mix", 2, (int64_t[]){T, T});
    state(m, "fine", 2, (int64_t[]){2 * T, 4});
    state(m, "packed", 2, (int64_t[]){4, 12});
    state(m, "vector", 1, (int64_t[]){4});
}

/* ---- random nodes ---- */
static bool takes(const weft_port *p, weft_dtype t)
{
    int kind = p->kind & WEFT_KIND;
    return kind == WEFT_ANY || (kind == WEFT_FLOAT && t == WEFT_F32) ||
           (kind == WEFT_INT && t == WEFT_I32);
}

static weft_val operand(maker *m, const weft_port *p, weft_val like)
{
    for (int i = 0; i < 30; i++) {
        /* half of the time one of the latest, so that graphs get deep */
        int n = m->g->n_value, from = often(m, 50) && n > 12 ? n - 6 : 0;
        weft_val v = from + pick(m, n - from);
        const weft_type *t = &m->g->value[v].type;
        if (v == m->g->rng || m->dead[v] || !takes(p, t->dtype))
            continue;
        if (like < 0 || i > 20 || often(m, 40) || weft_type_equal(t, &m->g->value[like].type))
            return v;
    }
    return WEFT_NONE;
}

static void ints_text(maker *m, char *out, size_t n)
{
    const weft_type *t = &m->g->value[pick(m, m->g->n_value)].type;
    int64_t v[WEFT_MAX_RANK + 1];
    int rank = t->rank, kind = pick(m, 3);
    for (int i = 0; i < rank; i++)
        v[i] = kind == 1 ? i : t->dim[i];
    if (kind == 2 && rank > 1 && often(m, 60)) { /* two axes as one */
        int k = pick(m, rank - 1);
        v[k] *= v[k + 1];
        memmove(v + k + 1, v + k + 2, sizeof *v * (size_t)(rank - k - 2));
        rank--;
    }
    for (int i = rank - 1; kind < 2 && i > 0; i--) {
        int k = pick(m, i + 1);
        int64_t keep = v[i];
        v[i] = v[k];
        v[k] = keep;
    }
    if (kind == 1 && often(m, 40))
        rank = rank ? 1 : 0; /* one axis, for sums */
    size_t k = 0;
    out[0] = 0;
    for (int i = 0; i < rank; i++)
        k += (size_t)snprintf(out + k, n - k, "%s%lld", i ? "," : "", (long long)v[i]);
}

static void attr_text(maker *m, const weft_attr_def *a, char *out, size_t n)
{
    static const double floats[] = {0.5, 1, 0, 0.25, 2};
    if (a->kind == WEFT_ATTR_FLOAT)
        snprintf(out, n, "%g", floats[pick(m, 5)]);
    else if (a->kind == WEFT_ATTR_ENUM)
        snprintf(out, n, "%.*s", (int)strcspn(a->choices, "|"), a->choices);
    else if (a->kind == WEFT_ATTR_INTS)
        ints_text(m, out, n);
    else
        snprintf(out, n, "%d", a->kind == WEFT_ATTR_BOOL ? pick(m, 2) : pick(m, 6) - 2);
}

static weft_val try_op(maker *m, const weft_op *op)
{
    weft_val in[8], like = WEFT_NONE;
    char attrs[512] = "", value[128];
    int n = 0, rest = weft_op_n_in(op);
    if (rest > 8)
        return WEFT_NONE;
    for (int i = 0; i < rest; i++) {
        const weft_port *p = &op->in[i];
        if (p->kind & WEFT_INPUT_RNG || ((p->kind & WEFT_OPTIONAL) && often(m, 60)))
            break;
        if ((in[n] = operand(m, p, like)) < 0)
            return WEFT_NONE;
        like = like < 0 ? in[n] : like;
        n++;
        if (p->kind & WEFT_VARIADIC && n < 3 && often(m, 60))
            i--;
    }
    for (int i = 0; op->attr[i].name; i++)
        if (op->attr[i].required || often(m, 60)) {
            attr_text(m, &op->attr[i], value, sizeof value);
            size_t k = strlen(attrs);
            snprintf(attrs + k, sizeof attrs - k, " %s=%s", op->attr[i].name, value);
        }
    weft_val v = weft_graph_emit(m->g, op->name, in, n, "%s", attrs);
    weft_error_clear(ctx);
    return v;
}

static void random_node(maker *m)
{
    for (int i = 0; i < TRIES; i++) {
        const weft_op *op = weft_op_at(pick(m, weft_op_count()));
        /* drawing ops have numbers of their own at every place; others are lowered or for training
         */
        if (!op->lower && !(op->flags & (WEFT_EFFECT | WEFT_DRAWS)) && !strstr(op->name, "_grad") &&
            try_op(m, op) >= 0)
            return;
    }
}

/* ---- attention in parts, right and wrong ---- */
static weft_val emit(maker *m, const char *op, const char *attrs, weft_val a, weft_val b)
{
    if (a < 0 || (b < 0 && b != WEFT_NONE))
        return WEFT_NONE;
    weft_val v = weft_graph_emit(m->g, op, (weft_val[]){a, b}, b < 0 ? 1 : 2, "%s", attrs);
    weft_error_clear(ctx);
    return v;
}

static weft_val like_x(maker *m)
{
    for (int i = 0; i < 50; i++) {
        weft_val v = pick(m, m->g->n_value);
        const weft_type *t = &m->g->value[v].type;
        if (!m->dead[v] && t->dtype == WEFT_F32 && t->rank == 3 && t->dim[2] == 4)
            return v;
    }
    return 0;
}

static void attend(maker *m)
{
    static const char *const masks[] = {"causal_softmax", "causal_softmax", "causal_softmax",
                                        "softmax",        "tanh",           "topk_mask"};
    static const char *const between[][2] = {{"scale", "alpha=0.5"},
                                             {"mul", ""},
                                             {"add", ""},
                                             {"relu", ""},
                                             {"transpose", "perm=0,2,1"},
                                             {"neg", ""},
                                             {"exp", ""},
                                             {"broadcast_to", "dims=2,6,6"},
                                             {"sub", ""},
                                             {"div", ""}};
    static const char *const along[][2] = {{"sum", "axis=2 keep=1"},   {"max", "axis=2 keep=1"},
                                           {"slice", "axis=2 to=4"},   {"concat", "axis=2"},
                                           {"interleave", "axis=2"},   {"reshape", "dims=2,6,3,2"},
                                           {"standardize", ""},        {"layer_norm", ""},
                                           {"slice", "axis=2 step=2"}, {"topk", "k=3"}};
    weft_val mix = weft_graph_find(m->g, "mix");
    weft_val s = emit(m, "matmul", "tb=1 alpha=0.5", like_x(m), like_x(m));
    for (int k = 0; k < 2; k++) {
        while (s >= 0 && often(m, 40)) {
            int b = pick(m, 10);
            bool two = b == 1 || b == 2 || b >= 8;
            weft_val other = !two ? WEFT_NONE : often(m, 50) ? mix : s;
            weft_val v = two && often(m, 30) ? emit(m, between[b][0], "", mix, s)
                                             : emit(m, between[b][0], between[b][1], s, other);
            s = v >= 0 ? v : s;
        }
        if (s >= 0 && often(m, 10)) {
            int b = pick(m, 10);
            emit(m, along[b][0], along[b][1], s, b == 3 || b == 4 ? s : WEFT_NONE);
        }
        if (!k && s >= 0) {
            const char *mask = masks[pick(m, 6)];
            s = emit(m, mask, !strcmp(mask, "topk_mask") ? "k=2" : "", s, WEFT_NONE);
        }
    }
    if (s >= 0)
        n_attended += emit(m, "matmul", often(m, 20) ? "ta=1" : "", s, like_x(m)) >= 0;
}

/* ---- which of the new values can be decoded ---- */
static void try_value(maker *m, weft_val v)
{
    weft_graph *h, *step;
    weft_val map[MOST];
    must(weft_graph_prune(m->g, &v, 1, &h, map));
    must(weft_graph_output(h, "y", map[v]));
    weft_status s = weft_graph_incremental(h, 1, (const char *const[]){"x"}, 1, &step);
    if (s) {
        if (s != WEFT_UNSUPPORTED || !strstr(weft_error(ctx), "--no-cache"))
            fail_msg("a refusal that says not enough (%d): %s", (int)s, weft_error(ctx));
        m->dead[v] = !strstr(weft_error(ctx), "output");
        n_refused++;
        weft_error_clear(ctx);
    } else {
        weft_graph_free(step);
        m->out[m->n_out++] = v;
        n_decoded++;
    }
    weft_graph_free(h);
}

static weft_graph *make(uint64_t seed)
{
    maker m = {.state = seed, .g = weft_graph_new(ctx)};
    weft_graph *h;
    weft_val map[MOST];
    char name[16];
    sources(&m);
    for (int i = 0, seen = m.g->n_value; i < NODES && m.g->n_value < MOST - 40; i++) {
        if (often(&m, 20))
            attend(&m);
        else
            random_node(&m);
        for (; seen < m.g->n_value; seen++) {
            m.dead[seen] = weft_type_count(&m.g->value[seen].type) > MOST_ELEMENTS;
            for (int k = 0, n = m.g->value[seen].node; k < m.g->node[n].n_in; k++)
                m.dead[seen] |= m.g->node[n].in[k] >= 0 && m.dead[m.g->node[n].in[k]];
            if (!m.dead[seen])
                try_value(&m, seen);
        }
    }
    must(weft_graph_prune(m.g, m.out, m.n_out, &h, map));
    for (int i = 0; i < m.n_out; i++) {
        snprintf(name, sizeof name, "y%d", i);
        must(weft_graph_output(h, name, map[m.out[i]]));
    }
    weft_graph_free(m.g);
    return h;
}

/* ---- running ---- */
static void feed(weft_program *p, int64_t from)
{
    weft_type t;
    double *x = weft_program_input(p, "x", &t);
    if (!x)
        return;
    assert_int_equal(t.dtype, WEFT_F64);
    for (int64_t i = 0; i < weft_type_count(&t); i++) {
        int64_t n = t.dim[1], at = i / 4 % n, batch = i / 4 / n;
        x[i] = sin(0.9 * (double)((batch * T + from + at) * 4 + i % 4) + 1) * 1.5;
    }
}

static void fill_caches(weft_session *s)
{
    for (int i = 0; i < s->n_state; i++)
        if (!strncmp(s->state[i].name, "cache:", 6))
            for (int64_t k = 0; k < weft_type_count(&s->state[i].type); k++)
                ((double *)s->state[i].data)[k] = k % 2 ? 7.5 : -5.25;
}

static double number(const void *data, weft_dtype t, int64_t i)
{
    weft_tensor flat = {(void *)(uintptr_t)data, t, 1, i + 1, {i + 1}, {1}};
    return weft_get(&flat, i);
}

/* One output at `n` positions from `from`, or the whole of one without time. */
static void compare(const weft_graph *g, uint64_t seed, const char *name, const double *whole,
                    const weft_type *w, const void *piece, const weft_type *p, int64_t from)
{
    int axis = 0;
    int64_t inner = 1;
    while (axis < w->rank && w->dim[axis] == p->dim[axis])
        axis++;
    for (int i = axis + 1; i < w->rank; i++)
        inner *= w->dim[i];
    for (int64_t i = 0; i < weft_type_count(p); i++) {
        int64_t at = i;
        if (axis < w->rank) {
            int64_t n = p->dim[axis], scale = w->dim[axis] / T;
            at = (i / inner / n * w->dim[axis] + from * scale + i / inner % n) * inner + i % inner;
        }
        double have = number(piece, p->dtype, i), want = whole[at];
        /* f64 in sums of other orders; standardize makes errors of equal numbers 1e5 larger */
        if (fabs(have - want) > 1e-7 * fmax(1, fabs(want)) && !(isnan(have) && isnan(want))) {
            weft_string s;
            char *text = NULL;
            weft_string_init(&s, ctx);
            weft_graph_print(g, &s);
            weft_string_take(&s, &text);
            fail_msg("graph %llu, output %s from position %lld: %.9g, the whole window gives "
                     "%.9g\n%s",
                     (unsigned long long)seed, name, (long long)from, have, want, text);
        }
    }
}

typedef struct {
    double *whole;
    weft_type type;
} result;

static void check(uint64_t seed)
{
    static const int64_t pieces[] = {3, 1, 2};
    weft_graph *g = make(seed), *h;
    const char *fetch[MOST];
    const weft_compile_options o = {0};
    static result y[MOST];
    weft_session *s;
    weft_program *p;
    int n = g->n_output;
    bool ran = n > 0;
    for (int i = 0; i < n; i++)
        fetch[i] = g->output[i].name;
    must(weft_session_new(ctx, true, &s));
    must(weft_session_add_states(s, g));
    must(weft_session_init(s, 3));
    if (ran) {
        must(weft_program_compile(s, g, fetch, n, &o, &p));
        feed(p, 0);
        ran = !weft_program_run(p); /* an index may be outside of its table */
        weft_error_clear(ctx);
    }
    for (int i = 0; ran && i < n; i++) {
        const void *data = weft_program_output(p, fetch[i], &y[i].type);
        int64_t count = weft_type_count(&y[i].type);
        assert_non_null(y[i].whole = malloc(sizeof(double) * (size_t)count));
        for (int64_t k = 0; k < count; k++)
            y[i].whole[k] = number(data, y[i].type.dtype, k);
    }
    int64_t from = 0;
    for (int k = 0; ran && k < 3; from += pieces[k++]) {
        must(weft_graph_incremental(g, pieces[k], (const char *const[]){"x"}, 1, &h));
        must(weft_graph_verify(h));
        must(weft_session_add_states(s, h));
        must(weft_session_init(s, 3));
        if (!k)
            fill_caches(s);
        must(weft_program_compile(s, h, fetch, n, &o, &p));
        feed(p, from);
        weft_type t;
        int32_t *pos = weft_program_input(p, WEFT_POS, &t);
        if (pos)
            *pos = (int32_t)from;
        must(weft_program_run(p));
        for (int i = 0; i < n; i++) {
            const void *data = weft_program_output(p, fetch[i], &t);
            compare(g, seed, fetch[i], y[i].whole, &y[i].type, data, &t, from);
        }
        weft_graph_free(h);
    }
    for (int i = 0; ran && i < n; i++)
        free(y[i].whole);
    weft_session_free(s);
    weft_graph_free(g);
}

static void test_random_graphs(void **state)
{
    (void)state;
    const char *only = getenv("SEED");
    ctx = weft_open(NULL);
    for (uint64_t seed = only ? strtoull(only, NULL, 10) : 1; seed <= GRAPHS || only; seed++) {
        check(seed);
        if (only)
            break;
    }
    print_message("%d values decoded, %d refused, %d attentions\n", n_decoded, n_refused,
                  n_attended);
    /* of each kind enough for the test to mean something */
    assert_true(only || (n_decoded > 1000 && n_refused > 300 && n_attended > 100));
    weft_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_graphs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
