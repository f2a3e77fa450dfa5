/* fuzz_graph.c - model files through every stage: expanded, verified, printed and read back,
 * lowered, differentiated, rewritten, compiled, run.  Rewriting changes no value: f32 and the
 * double reference are each run with and without it.
 *
 * Parts: model.txtpb (or what stands before the first mark), others for its imports, set (a setting
 * a line). mutate.c adds nodes by the registry of ops. */
#include <math.h>

#include "graph/op.h"
#include "graph/plan.h"
#include "graph/rng.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_FETCH = 32, MOST_NODES = 2000, MOST_ELEMENTS = 1 << 16, MOST_FLOPS = 4000000 };

/* ---- running ---- */
typedef struct {
    double *v;
    int64_t n;
    bool ran;
} results;

static double random_number(uint32_t value, int64_t i)
{
    uint32_t r[4];
    weft_random4(r, 1, 2, value, (uint64_t)i);
    return (double)(float)((double)r[0] / 2147483648.0 - 1);
}

static void feed(weft_program *p, const weft_graph *g)
{
    for (weft_val v = 0; v < g->n_value; v++) {
        weft_type t;
        bool input = g->value[v].kind == WEFT_VALUE_INPUT;
        void *data = input ? weft_program_input(p, g->value[v].name, &t) : NULL;
        if (!data)
            continue;
        int64_t n = weft_type_count(&t);
        weft_tensor flat = {data, t.dtype, 1, n, {n}, {1}};
        for (int64_t i = 0; i < n; i++) {
            double u = random_number((uint32_t)v, i);
            bool floats = t.dtype <= WEFT_BF16;
            weft_put(&flat, i, floats ? u : t.dtype == WEFT_I64 ? 3 : u > 0);
        }
    }
}

static void take(results *y, const weft_type *t, const void *data)
{
    int64_t n = weft_type_count(t);
    weft_tensor flat = {(void *)(uintptr_t)data, t->dtype, 1, n, {n}, {1}};
    y->v = realloc(y->v, sizeof *y->v * (size_t)(y->n + n + 1));
    FUZZ_REQUIRE(y->v, "no memory");
    for (int64_t k = 0; k < n; k++)
        y->v[y->n++] = weft_get(&flat, k);
}

static results run(weft_ctx *c, const weft_graph *g, const char **fetch, int n, bool reference,
                   const weft_compile_options *o)
{
    results y = {0};
    weft_session *s = NULL;
    weft_program *p = NULL;
    if (!fuzz_done(c, weft_session_new(c, reference, &s)))
        return y;
    if (fuzz_done(c, weft_program_compile(s, g, fetch, n, o, &p)) &&
        fuzz_done(c, weft_session_init(s, 11))) {
        feed(p, g);
        y.ran = fuzz_done(c, weft_program_run(p));
        for (int i = 0; y.ran && i < n; i++) {
            weft_type t;
            const void *data = weft_program_output(p, fetch[i], &t);
            FUZZ_REQUIRE(data, "'%s' was not fetched", fetch[i]);
            take(&y, &t, data);
        }
    }
    weft_session_free(s);
    return y;
}

/* ---- comparing ---- */
/* Does a small change of an input make the output jump?  Roundings would, too. */
static bool jumps(const weft_op *op)
{
    bool chooses = (op->flags & WEFT_NO_GRADIENT) || !op->grad || !strcmp(op->name, "topk_mask");
    for (int i = 0; i < weft_op_n_out(op); i++)
        chooses = chooses || (op->out[i].kind & WEFT_KIND) == WEFT_INT;
    return chooses;
}

/* Are there choices by numbers that were computed? */
static bool is_steady(const weft_graph *g)
{
    for (int k = 0; k < g->n_node; k++)
        for (int i = 0; i < g->node[k].n_in && jumps(g->node[k].op); i++) {
            weft_val v = g->node[k].in[i];
            if (v >= 0 && g->value[v].kind == WEFT_VALUE_NODE &&
                g->value[v].type.dtype <= WEFT_BF16)
                return false;
        }
    return true;
}

/* f32 rewritten, f32 plain, f64 rewritten, f64 plain; the bounds of test_random_rewrite.c. */
static void judge(const results y[4], int64_t from, int64_t n, const char *name)
{
    const double *f32 = y[0].v + from, *plain = y[1].v + from, *f64 = y[2].v + from,
                 *exact = y[3].v + from;
    double top = 0, plain_error = 0, error = 0, error64 = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(exact[i]) < 1e6) || !isfinite(plain[i]))
            return; /* nothing to learn from an overflow */
        top = fmax(top, fabs(exact[i]));
        plain_error = fmax(plain_error, fabs(plain[i] - exact[i]));
    }
    if (plain_error > 0.001 * top)
        return; /* f32 has lost the value before any rewriting */
    for (int64_t i = 0; i < n; i++) {
        FUZZ_REQUIRE(isfinite(f32[i]) && isfinite(f64[i]), "%s: rewritten, element %lld is no more",
                     name, (long long)i);
        error = fmax(error, fabs(f32[i] - exact[i]));
        error64 = fmax(error64, fabs(f64[i] - exact[i]));
    }
    FUZZ_REQUIRE(error <= 10 * plain_error + 1e-5 * top, "%s: %g off instead of %g, largest %g",
                 name, error, plain_error, top);
    FUZZ_REQUIRE(error64 <= 1e-7 * plain_error + 1e-12 * (top + plain_error * 1e7),
                 "%s: the reference is %g off, largest %g", name, error64, top);
}

static void run_all(weft_ctx *c, const weft_graph *g, bool train)
{
    results y[4] = {{0}};
    const char *fetch[MAX_FETCH];
    int n = 0;
    bool all = true;
    while (n < g->n_output && n < MAX_FETCH) {
        fetch[n] = g->output[n].name;
        n++;
    }
    for (int i = 0; i < 4; i++) {
        weft_compile_options o = {
            .train = train, .no_rewrite = i % 2, .max_memory = (size_t)32 << 20};
        y[i] = run(c, g, fetch, n, i / 2, &o);
        all = all && y[i].ran;
    }
    int64_t from = 0;
    for (int i = 0; all && is_steady(g) && i < n; i++) {
        int64_t count = weft_type_count(&g->value[g->output[i].value].type);
        judge(y, from, count, fetch[i]);
        from += count;
    }
    for (int i = 0; i < 4; i++)
        free(y[i].v);
}

/* ---- stages ---- */
static bool is_small(const weft_graph *g)
{
    int64_t sum = 0;
    weft_graph_size size;
    if (g->n_node > MOST_NODES || weft_graph_measure(g, &size)) {
        weft_error_clear(g->ctx);
        return false;
    }
    for (weft_val v = 0; v < g->n_value; v++)
        if (!weft_add_ok(sum, weft_type_count(&g->value[v].type), &sum) || sum > MOST_ELEMENTS)
            return false;
    return size.flops < MOST_FLOPS;
}

/* The flat graph as a file means a graph that is the same as a file. */
static void read_back(weft_ctx *c, const weft_graph *g)
{
    weft_model *m = NULL, *back = NULL, *again = NULL;
    weft_graph *h = NULL;
    char *one = NULL, *two = NULL;
    if (fuzz_done(c, weft_graph_to_model(g, &m)) &&
        fuzz_done(c, weft_model_save(m, "flat.txtpb")) && fuzz_done(c, weft_model_text(m, &one))) {
        weft_status s = weft_model_load(c, "flat.txtpb", NULL, 0, &back);
        s = s ? s : weft_graph_expand(back, &h);
        s = s ? s : weft_graph_to_model(h, &again);
        s = s ? s : weft_model_text(again, &two);
        FUZZ_REQUIRE(!s || s == WEFT_NOMEM, "the flat graph is refused: %s\n%s", weft_error(c),
                     one);
        FUZZ_REQUIRE(s || !strcmp(one, two), "%s\nread back as\n%s", one, two);
        weft_error_clear(c);
    }
    weft_text_free(c, one);
    weft_text_free(c, two);
    weft_graph_free(h);
    weft_model_free(again);
    weft_model_free(back);
    weft_model_free(m);
}

/* Rewriting again changes nothing. */
static void rewrite(weft_ctx *c, const weft_graph *g, bool train)
{
    weft_graph *h = NULL, *again = NULL;
    char *one = NULL, *two = NULL;
    const weft_rewrite_options o = {.train = train};
    if (fuzz_done(c, weft_graph_optimize(g, &o, &h)) && fuzz_done(c, weft_graph_verify(h)) &&
        fuzz_done(c, weft_graph_optimize(h, &o, &again)) &&
        fuzz_done(c, weft_graph_text(h, &one)) && fuzz_done(c, weft_graph_text(again, &two)))
        FUZZ_REQUIRE(!strcmp(one, two), "%s\nrewritten again is\n%s", one, two);
    weft_text_free(c, one);
    weft_text_free(c, two);
    weft_graph_free(h);
    weft_graph_free(again);
}

static const char *a_loss(const weft_graph *g)
{
    for (int i = 0; i < g->n_output; i++) {
        const weft_type *t = &g->value[g->output[i].value].type;
        if (!t->rank && t->dtype == WEFT_F32)
            return g->output[i].name;
    }
    return NULL;
}

static void use(weft_ctx *c, const weft_graph *expanded)
{
    weft_graph *lowered = NULL, *grad = NULL;
    char *dot = NULL;
    fuzz_done(c, weft_graph_verify(expanded));
    if (!is_small(expanded))
        return;
    if (fuzz_done(c, weft_graph_dot(expanded, &(weft_dot_options){0}, &dot)))
        weft_text_free(c, dot);
    read_back(c, expanded);
    if (!fuzz_done(c, weft_graph_lower(expanded, &lowered)))
        return;
    fuzz_done(c, weft_graph_verify(lowered));
    const char *loss = a_loss(lowered);
    if (loss && fuzz_done(c, weft_graph_differentiate(lowered, loss, &grad)))
        fuzz_done(c, weft_graph_verify(grad));
    const weft_graph *g = grad ? grad : lowered;
    for (int train = 0; train < 2 && is_small(g); train++) {
        rewrite(c, g, train);
        run_all(c, g, train);
    }
    weft_graph_free(grad);
    weft_graph_free(lowered);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_part part[FUZZ_PARTS];
    char *set[16];
    weft_model *m;
    weft_graph *g;
    int parts = fuzz_split(data, n, "model.txtpb", part);
    int n_set = fuzz_lines(fuzz_find(part, parts, "set"), set, 16);
    weft_ctx *c = fuzz_open((size_t)512 << 20, false);
    fuzz_files("m", part, parts);
    if (fuzz_done(c, weft_model_load(c, "m/model.txtpb", (const char *const *)set, n_set, &m))) {
        if (fuzz_done(c, weft_graph_expand(m, &g))) {
            use(c, g);
            weft_graph_free(g);
        }
        weft_model_free(m);
    }
    if (n_set)
        free(set[0]);
    fuzz_close(c);
    return 0;
}
