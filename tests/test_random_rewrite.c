/* test_random_rewrite.c - random graphs made from the op registry: rewriting changes no value and
 * is a fixed point.
 *
 * A graph is valid by construction: a node stays if inference accepts it.  A new op takes part
 * without any code here. Patterns that rules look for are strewn in; each rule must matter in some
 * graph.  A failing graph is cut down to the shortest prefix that fails, and printed. */
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

enum { GRAPHS = 240, MOST_NODES = 24, TRIES = 60, MAX_FETCH = 64 };

static weft_ctx *ctx;

/* ---- random choices ---- */
typedef struct {
    uint64_t state;
    weft_graph *g;
    int made; /* for names */
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

static int64_t a_size(maker *m)
{
    static const int64_t sizes[] = {1, 2, 2, 3, 4, 6};
    return sizes[pick(m, 6)];
}

static weft_val source(maker *m, weft_dtype t, int rank, const int64_t *dim)
{
    char name[32];
    weft_type type = weft_type_make(t, rank, dim);
    snprintf(name, sizeof name, "%s%d", t == WEFT_F32 ? "x" : "i", m->made++);
    if (t == WEFT_F32 && often(m, 30))
        return weft_graph_state(m->g, name, &type, "normal(0.7)", true);
    return weft_graph_input(m->g, name, &type);
}

/* ---- random nodes ---- */
static bool takes(const weft_port *p, weft_dtype t)
{
    int kind = t == WEFT_F32 ? WEFT_FLOAT : t == WEFT_BOOL ? WEFT_BYTE : WEFT_INT;
    return p->kind & kind;
}

/* A counter, which some node updates: nothing may read it behind that. */
static bool is_counter(const maker *m, weft_val v)
{
    return m->g->value[v].kind == WEFT_VALUE_STATE && !m->g->value[v].trainable;
}

static bool is_source(const maker *m, weft_val v) { return m->g->value[v].kind != WEFT_VALUE_NODE; }

/* Does a small change of an input make the output jump?  Choices do: integer-valued functions, and
 * the k largest put in their places. */
static bool jumps(const weft_op *op)
{
    bool chooses = (op->flags & WEFT_NO_GRADIENT) || !strcmp(op->name, "topk_mask");
    for (int i = 0; i < weft_op_n_out(op); i++)
        chooses = chooses || (op->out[i].kind & WEFT_KIND) == WEFT_INT;
    return chooses;
}

/* A value for port p; often one like `like`. Steps in a value of rounded floats would turn
 * roundings into jumps, so choices look at sources only. */
static weft_val operand(maker *m, const weft_op *op, const weft_port *p, weft_val like)
{
    for (int i = 0; i < 40; i++) {
        weft_val v = pick(m, m->g->n_value);
        const weft_type *t = &m->g->value[v].type;
        if (v == m->g->rng || is_counter(m, v) || !takes(p, t->dtype) ||
            (jumps(op) && !is_source(m, v)))
            continue;
        if (like < 0 || i > 30 || often(m, 20) || weft_type_equal(t, &m->g->value[like].type))
            return v;
    }
    return WEFT_NONE;
}

static void ints_text(maker *m, char *out, size_t n)
{
    const weft_type *t = &m->g->value[pick(m, m->g->n_value)].type;
    int64_t v[WEFT_MAX_RANK];
    bool perm = often(m, 50);
    for (int i = 0; i < t->rank; i++)
        v[i] = perm ? i : t->dim[i];
    for (int i = t->rank - 1; i > 0; i--) {
        int k = pick(m, i + 1);
        int64_t keep = v[i];
        v[i] = v[k];
        v[k] = keep;
    }
    size_t k = 0;
    out[0] = 0;
    for (int i = 0; i < t->rank; i++)
        k += (size_t)snprintf(out + k, n - k, "%s%lld", i ? "," : "", (long long)v[i]);
}

static void choice_text(maker *m, const char *choices, char *out, size_t n)
{
    int count = 1, at;
    for (const char *p = choices; *p; p++)
        count += *p == '|';
    at = pick(m, count);
    while (at--)
        choices = strchr(choices, '|') + 1;
    snprintf(out, n, "%.*s", (int)strcspn(choices, "|"), choices);
}

static void attr_text(maker *m, const weft_attr_def *a, char *out, size_t n)
{
    static const double floats[] = {0.5, 1, 0, 0.25, 2};
    if (a->kind == WEFT_ATTR_FLOAT)
        snprintf(out, n, "%g", floats[pick(m, 5)]);
    else if (a->kind == WEFT_ATTR_ENUM)
        choice_text(m, a->choices, out, n);
    else if (a->kind == WEFT_ATTR_INTS)
        ints_text(m, out, n);
    else
        snprintf(out, n, "%d", a->kind == WEFT_ATTR_BOOL ? pick(m, 2) : pick(m, 9) - 2);
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
        if (p->kind & WEFT_INPUT_RNG || ((p->kind & WEFT_OPTIONAL) && often(m, 50)))
            break;
        in[n] = operand(m, op, p, like);
        if (in[n] < 0)
            return WEFT_NONE;
        like = like < 0 ? in[n] : like;
        n++;
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
        if (!op->lower && !(op->flags & WEFT_EFFECT) && try_op(m, op) >= 0)
            return;
    }
}

#include "tests/random_patterns.h"

static void step(maker *m)
{
    if (often(m, 45))
        patterns[pick(m, (int)(sizeof patterns / sizeof *patterns))](m);
    else
        random_node(m);
}

/* Values that nobody reads are outputs, and some of the others; of what a node gives on the side
 * (means, indices) some are dropped, as models do. */
static void choose_outputs(maker *m)
{
    weft_graph *g = m->g;
    char name[32];
    bool *used = calloc((size_t)g->n_value, sizeof *used);
    assert_non_null(used);
    for (int k = 0; k < g->n_node; k++)
        for (int i = 0; i < g->node[k].n_in; i++)
            if (g->node[k].in[i] >= 0)
                used[g->node[k].in[i]] = true;
    for (weft_val v = 0; v < g->n_value && g->n_output < MAX_FETCH; v++)
        if (!is_source(m, v) && (used[v] ? v % 7 == 3 : !g->value[v].port || often(m, 60))) {
            snprintf(name, sizeof name, "out%d", (int)v);
            assert_int_equal(weft_graph_output(g, name, v), WEFT_OK);
        }
    free(used);
}

/* Gradients of the sum of some value for all float sources, where its ops have gradients. */
static void differentiate(maker *m)
{
    weft_graph *g = m->g;
    weft_val xs[64], d[64], y = a_float(m);
    int n = 0;
    weft_val loss = emit(m, "reshape", "dims=", emit(m, "sum", "", y, NO, NO), NO, NO);
    for (weft_val v = 0; v < g->n_value && n < 64; v++)
        if (is_source(m, v) && g->value[v].type.dtype == WEFT_F32)
            xs[n++] = v;
    weft_graph_gradient(g, loss, xs, n, d);
    weft_error_clear(ctx);
    g->at_backward = false;
}

/* The first `nodes` steps of graph `seed`. */
static weft_graph *make(uint64_t seed, int nodes)
{
    maker m = {.state = seed, .g = weft_graph_new(ctx)};
    for (int i = 0; i < 4; i++)
        source(&m, WEFT_F32, pick(&m, 5),
               (int64_t[]){a_size(&m), a_size(&m), a_size(&m), a_size(&m)});
    source(&m, WEFT_I32, pick(&m, 3), (int64_t[]){a_size(&m), a_size(&m)});
    for (int i = 0; i < nodes; i++)
        step(&m);
    if (seed % 3)
        differentiate(&m);
    choose_outputs(&m);
    return m.g;
}

/* ---- running ---- */
static void feed(weft_program *p, const weft_graph *g)
{
    for (weft_val v = 0; v < g->n_value; v++) {
        weft_type t;
        void *data = g->value[v].kind == WEFT_VALUE_INPUT
                         ? weft_program_input(p, g->value[v].name, &t)
                         : NULL;
        for (int64_t i = 0; data && i < weft_type_count(&t); i++) {
            uint32_t r[4];
            weft_random4(r, 1, 2, (uint32_t)v, (uint64_t)i);
            double u = (double)r[0] / 2147483648.0 - 1;
            if (t.dtype == WEFT_F32)
                ((float *)data)[i] = (float)u;
            else if (t.dtype == WEFT_F64)
                ((double *)data)[i] = (float)u;
            else if (t.dtype == WEFT_I32)
                ((int32_t *)data)[i] = r[0] & 1; /* any table has row 0, nearly all have row 1 */
            else
                ((int64_t *)data)[i] = 3; /* seed and step */
        }
    }
}

/* Results of one graph in one of the four ways: all outputs after each other. */
typedef struct {
    double *v;
    int64_t n;
    bool ran;
} results;

static results run(const weft_graph *g, bool reference, bool plain, bool train)
{
    const char *fetch[MAX_FETCH];
    results y = {0};
    weft_session *s = NULL;
    weft_program *p = NULL;
    for (int i = 0; i < g->n_output; i++)
        fetch[i] = g->output[i].name;
    if (weft_session_new(ctx, reference, &s) ||
        weft_program_compile(s, g, fetch, g->n_output,
                             &(weft_compile_options){.train = train, .no_rewrite = plain}, &p) ||
        weft_session_init(s, 11))
        fail_msg("%s", weft_error(ctx));
    feed(p, g);
    y.ran = !weft_program_run(p);
    weft_error_clear(ctx);
    for (int i = 0; y.ran && i < g->n_output; i++) {
        weft_type t;
        const void *data = weft_program_output(p, fetch[i], &t);
        int64_t n = weft_type_count(&t);
        y.v = realloc(y.v, sizeof *y.v * (size_t)(y.n + n));
        weft_tensor flat = {(void *)(uintptr_t)data, t.dtype, 1, n, {n}, {1}};
        for (int64_t k = 0; k < n; k++)
            y.v[y.n++] = weft_get(&flat, k);
    }
    weft_session_free(s);
    return y;
}

/* One output: its largest value, and how far the others are from it. */
static const char *judge(const results y[4], int64_t from, int64_t n, int *checked)
{
    const double *f32 = y[0].v + from, *plain = y[1].v + from, *f64 = y[2].v + from,
                 *exact = y[3].v + from;
    double top = 0, plain_error = 0, error = 0, error64 = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(exact[i]) < 1e6) || !isfinite(plain[i]))
            return NULL; /* nothing to learn from an overflow */
        top = fmax(top, fabs(exact[i]));
        plain_error = fmax(plain_error, fabs(plain[i] - exact[i]));
    }
    if (plain_error > 0.01 * top)
        return NULL; /* f32 has lost the value before any rewriting */
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(f32[i]) || !isfinite(f64[i]))
            return "a value is not finite any more";
        error = fmax(error, fabs(f32[i] - exact[i]));
        error64 = fmax(error64, fabs(f64[i] - exact[i]));
    }
    *checked += 1;
    /* Roundings in another order: as large as those that were there, with room for their chance. */
    if (error > 10 * plain_error + 5e-6 * top)
        return "f32 values differ";
    if (error64 >
        1e-7 * plain_error + 1e-12 * (top + plain_error * 1e7)) /* 2^-29 of the errors of f32 */
        return "reference values differ";
    return NULL;
}

/* NULL, or what is wrong. */
static const char *compare_values(const weft_graph *g, bool train, int *checked)
{
    results y[4]; /* f32 rewritten, f32 plain, f64 rewritten, f64 plain */
    const char *wrong = NULL;
    bool all = true;
    for (int i = 0; i < 4; i++) {
        y[i] = run(g, i / 2, i % 2, train);
        all = all && y[i].ran;
        if (y[i].ran != y[0].ran)
            wrong = "one way runs and another does not";
    }
    int64_t from = 0;
    for (int i = 0; all && !wrong && i < g->n_output; i++) {
        int64_t n = weft_type_count(&g->value[g->output[i].value].type);
        wrong = judge(y, from, n, checked);
        from += n;
    }
    for (int i = 0; i < 4; i++)
        free(y[i].v);
    return wrong;
}

static char *text_of(const weft_graph *g)
{
    weft_string s;
    weft_string_init(&s, ctx);
    assert_int_equal(weft_graph_print(g, &s), WEFT_OK);
    return s.s;
}

/* Which rules change this graph: without one of them the result is another. */
static void note_rules(const weft_graph *g, bool train, const char *with_all, int *fired)
{
    for (int r = 0; r < weft_rule_count(); r++) {
        weft_graph *h;
        const weft_rewrite_options o = {.train = train, .disable = weft_rule_at(r)->name};
        assert_int_equal(weft_graph_rewrite(g, &o, &h, NULL), WEFT_OK);
        char *text = text_of(h);
        fired[r] += strcmp(text, with_all) != 0;
        weft_free(ctx, text);
        weft_graph_free(h);
    }
}

/* Verifier, fixed point, values. NULL, or what is wrong. */
static const char *check(uint64_t seed, int nodes, int *fired, int *checked)
{
    weft_graph *g = make(seed, nodes), *h = NULL, *again = NULL;
    bool train = seed % 2;
    const weft_rewrite_options o = {.train = train};
    const char *wrong = NULL;
    if (weft_graph_verify(g) || weft_graph_rewrite(g, &o, &h, NULL) || weft_graph_verify(h) ||
        weft_graph_rewrite(h, &o, &again, NULL))
        fail_msg("seed %d: %s", (int)seed, weft_error(ctx));
    char *once = text_of(h), *twice = text_of(again);
    if (strcmp(once, twice))
        wrong = "rewriting the result changes it";
    if (h->n_node > 2 * g->n_node) /* pairs of value and position are two nodes for one */
        wrong = "rewriting made the graph larger";
    if (fired)
        note_rules(g, train, once, fired);
    weft_free(ctx, once);
    weft_free(ctx, twice);
    if (!wrong)
        wrong = compare_values(g, train, checked);
    weft_graph_free(g);
    weft_graph_free(h);
    weft_graph_free(again);
    return wrong;
}

static void report(uint64_t seed, int nodes, const char *wrong)
{
    int shortest = nodes, ignored = 0;
    for (int n = 1; n < nodes; n++)
        if (check(seed, n, NULL, &ignored)) {
            shortest = n;
            break;
        }
    weft_graph *g = make(seed, shortest), *h;
    assert_int_equal(weft_graph_rewrite(g, &(weft_rewrite_options){.train = seed % 2}, &h, NULL),
                     WEFT_OK);
    fail_msg("seed %d, %d steps (%s): %s\n%s-- rewritten:\n%s", (int)seed, shortest,
             seed % 2 ? "train" : "eval", wrong, text_of(g), text_of(h));
}

static void test_random_graphs(void **state)
{
    (void)state;
    int fired[256] = {0}, checked = 0;
    assert_true(weft_rule_count() <= 256);
    for (uint64_t seed = 1; seed <= GRAPHS; seed++) {
        int nodes = 4 + (int)(seed % (MOST_NODES - 3));
        const char *wrong = check(seed, nodes, fired, &checked);
        if (wrong)
            report(seed, nodes, wrong);
    }
    assert_true(checked > 4 * GRAPHS); /* outputs whose values said something */
    for (int r = 0; r < weft_rule_count(); r++)
        if (!fired[r])
            fail_msg("rule '%s' matters in none of %d graphs", weft_rule_at(r)->name, GRAPHS);
}

/* Nine ops in ten of the registry take part. */
static void test_ops_take_part(void **state)
{
    (void)state;
    bool seen[512] = {false};
    int n = 0, could = 0;
    for (uint64_t seed = 1; seed <= GRAPHS; seed++) {
        weft_graph *g = make(seed, 4 + (int)(seed % (MOST_NODES - 3)));
        for (int k = 0; k < g->n_node; k++)
            for (int i = 0; i < weft_op_count() && i < 512; i++)
                seen[i] = seen[i] || weft_op_at(i) == g->node[k].op;
        weft_graph_free(g);
    }
    for (int i = 0; i < weft_op_count(); i++) {
        bool can = !weft_op_at(i)->lower && !(weft_op_at(i)->flags & WEFT_EFFECT);
        could += can;
        n += seen[i];
        if (can && !seen[i])
            print_message("not in any graph: %s\n", weft_op_at(i)->name);
    }
    assert_true(10 * n >= 9 * could);
}

static int setup(void **state)
{
    (void)state;
    ctx = weft_open(&(weft_options){.threads = 1});
    return !ctx;
}

static int teardown(void **state)
{
    (void)state;
    weft_close(ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_ops_take_part),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
