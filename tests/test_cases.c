/* test_cases.c - runs every line of tests/cases/ (syntax: case.h): the f32 kernel against the
 * double reference, inputs of transposed storage, 1, 2, 3 and 8 threads bit for bit, gradients
 * against central differences. With arguments it runs only the cases of those ops, and says what it
 * measured. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "graph/plan.h"
#include "tests/case.h"

/* Tolerances of f32 results (docs/numerics.md): relative and absolute as torch.testing.assert_close
 * has them for f32, or 4 sqrt(K) 2^-24 of the largest result for sums of K terms. Gradients of the
 * f32 kernels: 1e-5 in 2-norm, of a norm of at least 0.01: smaller ones are differences of numbers
 * near 1. */
static const double rel_tol = 1.3e-6, abs_tol = 1e-5, grad_tol = 1e-5;

static const char *only[64];
static int n_only, n_cases, n_gradients, n_failed;
static double worst_error;
static char worst_line[512];
static struct {
    int cases, ones, odds, gradients;
} seen[512];

static int op_index(const weft_op *op)
{
    int i = 0;
    while (weft_op_at(i) != op)
        i++;
    return i;
}

static void complain(const test_case *c, const char *fmt, ...) WEFT_PRINTF(2, 3);
static void complain(const test_case *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s:%d: ", c->file, c->number);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n    %s\n", c->line);
    va_end(ap);
    n_failed++;
}

/* ---- data ---- */
static void put_raw(void *to, weft_dtype t, int64_t i, double v)
{
    weft_tensor x = {
        .data = to, .dtype = t, .rank = 1, .count = i + 1, .dim = {i + 1}, .stride = {1}};
    weft_put(&x, i, v);
}

/* Input k into `to`; transposed storage when it is seen through a view. */
static void fill_input(const test_case *c, int k, void *to, weft_dtype dtype, bool viewed)
{
    const weft_type *t = &c->in[k].type;
    int64_t n = weft_type_count(t), cols = t->rank ? t->dim[t->rank - 1] : 1;
    int64_t rows = t->rank > 1 ? t->dim[t->rank - 2] : 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i % cols, row = i / cols % rows, block = i / cols / rows;
        put_raw(to, dtype, viewed ? (block * cols + at) * rows + row : i, case_number(c, k, i));
    }
}

static const int64_t rng_words[2] = {0x123456789abcdef, 7};

/* ---- the reference: the op's own function on f64 tensors that are made here ---- */
static void dense(weft_tensor *t, const weft_type *type, void *data)
{
    *t = (weft_tensor){
        .data = data, .dtype = type->dtype, .rank = type->rank, .count = weft_type_count(type)};
    if (weft_dtype_is_float(type->dtype))
        t->dtype = WEFT_F64;
    int64_t stride = 1;
    for (int i = type->rank - 1; i >= 0; i--) {
        t->dim[i] = type->dim[i];
        t->stride[i] = stride;
        stride *= type->dim[i];
    }
}

static void *bytes_for(weft_arena *a, const weft_type *t)
{
    return weft_arena_alloc(a, 8 * (size_t)weft_type_count(t));
}

/* Which input of the case feeds input i of the node: they are in the same order, left-out ones
 * skipped. */
static int case_input_of(const test_case *c, const weft_graph *g, const weft_node *n, int i)
{
    int k = 0;
    for (int j = 0; j < i; j++)
        k += n->in[j] >= 0 && n->in[j] != g->rng;
    return n->in[i] < 0 || n->in[i] == g->rng || k >= c->n_in ? -1 : k;
}

static void run_reference(const test_case *c, const weft_graph *g, int node, weft_tensor *out)
{
    const weft_node *n = &g->node[node];
    weft_tensor in[CASE_IN] = {{0}};
    weft_run r = {.op = n->op,
                  .attr = n->attr,
                  .n_in = n->n_in,
                  .n_out = n->n_out,
                  .in = in,
                  .out = out,
                  .threads = 1,
                  .stream = n->stream};
    for (int i = 0; i < n->n_in; i++) {
        int k = case_input_of(c, g, n, i);
        if (n->in[i] < 0)
            continue;
        dense(&in[i], &g->value[n->in[i]].type, bytes_for(g->arena, &g->value[n->in[i]].type));
        if (n->in[i] == g->rng)
            memcpy(in[i].data, rng_words, sizeof rng_words);
        else
            fill_input(c, k, in[i].data, in[i].dtype, false);
    }
    for (int i = 0; i < n->n_out; i++) {
        const weft_type *t = &g->value[n->out[i]].type;
        int alias = n->op->out[i].alias;
        dense(&out[i], t, alias ? in[alias - 1].data : bytes_for(g->arena, t));
    }
    n->op->ref(&r);
}

/* ---- the kernel: a compiled program ---- */
typedef struct {
    void *y[CASE_IN];
    weft_type type[CASE_IN];
    int n;
} result;

static void feed(const test_case *c, weft_session *s, weft_program *p, bool viewed)
{
    weft_type t;
    char name[32];
    for (int k = 0; k < c->n_in; k++) {
        snprintf(name, sizeof name, "in%d", k);
        weft_state *state = weft_session_state(s, name);
        void *to = state ? state->data : weft_program_input(p, name, &t);
        weft_dtype dtype = state ? state->type.dtype : t.dtype;
        if (to)
            fill_input(c, k, to, dtype, viewed && case_can_view(c, k) && !state);
    }
    int64_t *rng = weft_program_input(p, "rng", &t);
    if (rng)
        memcpy(rng, rng_words, sizeof rng_words);
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "cot%d", i);
        void *to = weft_program_input(p, name, &t);
        for (int64_t j = 0; to && j < weft_type_count(&t); j++)
            put_raw(to, t.dtype, j, (float)(2 * case_unit(c, CASE_IN + i, j) - 1));
    }
}

/* Compiles and runs twice, for nothing may depend on what a run leaves behind. */
static weft_status run_twice(const test_case *c, weft_graph *g, weft_session *s, bool viewed,
                             bool reference, result *out)
{
    weft_program *p = NULL;
    const char *fetch[CASE_IN];
    const weft_compile_options o = {.train = true, .no_rewrite = true, .reference = reference};
    out->n = g->n_output;
    for (int i = 0; i < out->n; i++)
        fetch[i] = g->output[i].name;
    WEFT_TRY(weft_session_add_states(s, g));
    WEFT_TRY(weft_session_init(s, 1));
    WEFT_TRY(weft_program_compile(s, g, fetch, out->n, &o, &p));
    for (int turn = 0; turn < 2; turn++) {
        feed(c, s, p, viewed);
        WEFT_TRY(weft_program_run(p));
        for (int i = 0; i < out->n; i++) {
            const void *y = weft_program_output(p, fetch[i], &out->type[i]);
            size_t size = weft_type_bytes(&out->type[i]);
            if (!turn)
                memcpy(out->y[i] = bytes_for(g->arena, &out->type[i]), y, size);
            else if (memcmp(out->y[i], y, size))
                complain(c, "the second run gives '%s' other bits than the first", fetch[i]);
        }
    }
    return WEFT_OK;
}

static weft_status run_program(const test_case *c, weft_graph *g, int threads, bool viewed,
                               bool reference, result *out)
{
    weft_session *s = NULL;
    WEFT_TRY(weft_threads_set(g->ctx, threads));
    WEFT_TRY(weft_session_new(g->ctx, reference, &s));
    weft_status status = run_twice(c, g, s, viewed, reference, out);
    weft_session_free(s);
    return status;
}

/* ---- comparing ---- */
/* Expected results that say nothing: all equal, or nearly all zero. */
static bool mistrusted(const test_case *c, const weft_tensor *y)
{
    int64_t zeros = 0, same = 0;
    for (int64_t i = 0; i < y->count; i++) {
        zeros += weft_get(y, i) == 0;
        same += weft_get(y, i) == weft_get(y, 0);
    }
    return !c->plain && (zeros * 10 > y->count * 9 || (y->count > 3 && same == y->count));
}

static double largest(const weft_tensor *y)
{
    double top = 0;
    for (int64_t i = 0; i < y->count; i++)
        top = fmax(top, fabs(weft_get(y, i)));
    return top;
}

static bool close_enough(const test_case *c, double got, double want, double top)
{
    if (got == want || (got != got && want != want))
        return true;
    if (c->exact)
        return false;
    double bound = c->k > 0 ? 4 * sqrt(c->k) * 0x1p-24 * top : abs_tol + rel_tol * fabs(want);
    return fabs(got - want) <= bound;
}

static void compare(const test_case *c, const weft_tensor *want, const result *got, int o,
                    const char *how)
{
    double top = largest(want);
    const weft_tensor y = {.data = got->y[o],
                           .dtype = got->type[o].dtype,
                           .rank = 1,
                           .count = want->count,
                           .dim = {want->count},
                           .stride = {1}};
    if (weft_type_count(&got->type[o]) != want->count) {
        complain(c, "output %d has the wrong size", o);
        return;
    }
    for (int64_t i = 0; i < want->count; i++) {
        double a = weft_get(&y, i), b = weft_get(want, i), e = fabs(a - b) / (top > 0 ? top : 1);
        bool is_float = weft_dtype_is_float(y.dtype);
        if (is_float && e > worst_error) {
            worst_error = e;
            snprintf(worst_line, sizeof worst_line, "%s", c->line);
        }
        if (is_float ? !close_enough(c, a, b, top) : a != b) {
            complain(c, "output %s[%lld] is %.9g, the reference says %.9g%s", c->op->out[o].name,
                     (long long)i, a, b, how);
            return;
        }
    }
}

static void check_forward(const test_case *c, weft_ctx *ctx, bool viewed)
{
    static const int threads[] = {1, 2, 3, 8};
    weft_tensor want[8];
    result got[4];
    weft_graph *g = weft_graph_new(ctx);
    int node = case_graph(g, c, viewed);
    if (node < 0) {
        complain(c, "%s", weft_error(ctx));
        weft_graph_free(g);
        return;
    }
    run_reference(c, g, node, want);
    for (int i = 0; i < g->node[node].n_out; i++)
        if (mistrusted(c, &want[i]))
            complain(c, "the expected output '%s' is constant or mostly zero: it proves nothing",
                     c->op->out[i].name);
    for (int t = 0; t < 4; t++) {
        if (run_program(c, g, threads[t], viewed, false, &got[t])) {
            complain(c, "%s", weft_error(ctx));
            break;
        }
        for (int i = 0; i < got[t].n; i++)
            if (t == 0)
                compare(c, &want[i], &got[0], i, viewed ? " (inputs are views)" : "");
            else if (memcmp(got[t].y[i], got[0].y[i], weft_type_bytes(&got[0].type[i])))
                complain(c, "output '%s' has other bits with %d threads than with 1",
                         c->op->out[i].name, threads[t]);
    }
    weft_graph_free(g);
}

/* ---- gradients ---- */
typedef struct {
    const test_case *c;
    double norm;
    int tensors;
} gradient_report;

static bool fill_case(void *user, const char *name, const weft_type *t, void *data)
{
    const gradient_report *r = user;
    if (!strcmp(name, "rng")) {
        memcpy(data, rng_words, sizeof rng_words);
        return true;
    }
    if (strncmp(name, "in", 2) || !isdigit((unsigned char)name[2]))
        return false;
    fill_input(r->c, atoi(name + 2), data, t->dtype, false);
    return true;
}

static void note_gradient(void *user, const weft_gradcheck_result *one)
{
    gradient_report *r = user;
    r->norm += one->norm;
    r->tensors++;
}

static bool has_float_input(const test_case *c)
{
    for (int k = 0; k < c->n_in; k++)
        if (weft_dtype_is_float(c->in[k].type.dtype))
            return true;
    return false;
}

static void check_gradient(const test_case *c, weft_ctx *ctx)
{
    gradient_report r = {.c = c};
    static const char *const names[] = {"y0", "y1", "y2", "y3", "y4", "y5", "y6", "y7"};
    const weft_gradcheck_options o = {.output = c->grad_output < 0 ? NULL : names[c->grad_output],
                                      .seed = 5,
                                      .elements = 400,
                                      .fill = fill_case,
                                      .report = note_gradient,
                                      .user = &r};
    weft_graph *g = weft_graph_new(ctx);
    if (case_graph(g, c, false) >= 0 && weft_graph_gradcheck(g, &o))
        complain(c, "%s", weft_error(ctx));
    else if (r.norm == 0 && !c->plain)
        complain(c, "the gradient is zero: it proves nothing");
    n_gradients += r.tensors;
    seen[op_index(c->op)].gradients += r.norm > 0;
    weft_graph_free(g);
}

/* The graph with outputs d0, d1, ...: gradients by all float inputs of the products of outputs and
 * random numbers. */
static weft_status gradient_graph(weft_graph *g, const test_case *c)
{
    weft_val xs[CASE_IN], dx[CASE_IN], loss = WEFT_NONE;
    int n = 0, n_out = g->n_output;
    char name[32];
    for (int i = 0; i < n_out; i++) {
        weft_val y = g->output[i].value;
        if (!weft_dtype_is_float(g->value[y].type.dtype) ||
            (c->grad_output >= 0 && c->grad_output != i))
            continue;
        snprintf(name, sizeof name, "cot%d", i);
        weft_val cot = weft_graph_input(g, name, &g->value[y].type);
        weft_val term = weft_graph_emit(g, "mul", (weft_val[]){y, cot}, 2, "%s", "");
        term = weft_graph_emit(g, "sum", &term, 1, "%s", "");
        loss = loss < 0 ? term : weft_graph_emit(g, "add", (weft_val[]){loss, term}, 2, "%s", "");
    }
    for (int k = 0; k < c->n_in; k++) {
        snprintf(name, sizeof name, "in%d", k);
        if (weft_dtype_is_float(c->in[k].type.dtype))
            xs[n++] = weft_graph_find(g, name);
    }
    WEFT_TRY(weft_graph_gradient(g, loss, xs, n, dx));
    g->n_output = 0;
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "d%d", i);
        WEFT_TRY(weft_graph_output(g, name, dx[i]));
    }
    return WEFT_OK;
}

/* Gradients as the f32 kernels compute them against those of the references, 1 and 3 threads bit
 * for bit. */
static void check_gradient_kernels(const test_case *c, weft_ctx *ctx)
{
    result got, more, want;
    weft_graph *g = weft_graph_new(ctx);
    if (case_graph(g, c, false) < 0 || gradient_graph(g, c) ||
        run_program(c, g, 1, false, false, &got) || run_program(c, g, 3, false, false, &more) ||
        run_program(c, g, 1, false, true, &want)) {
        complain(c, "gradient: %s", weft_error(ctx));
        weft_graph_free(g);
        return;
    }
    for (int i = 0; i < got.n; i++) {
        double e = 0, norm = 0;
        for (int64_t j = 0; j < weft_type_count(&want.type[i]); j++) {
            double a = ((const float *)got.y[i])[j], b = ((const double *)want.y[i])[j];
            e += (a - b) * (a - b);
            norm += b * b;
        }
        if (!(sqrt(e) <= grad_tol * fmax(sqrt(norm), 0.01)))
            complain(c, "gradient d%d of the kernels is off by %.3g of its norm %.3g", i,
                     sqrt(e / norm), sqrt(norm));
        if (memcmp(got.y[i], more.y[i], weft_type_bytes(&got.type[i])))
            complain(c, "gradient d%d has other bits with 3 threads than with 1", i);
    }
    weft_graph_free(g);
}

/* ---- running ---- */
static void check_failure(const test_case *c, weft_ctx *ctx)
{
    result got;
    weft_graph *g = weft_graph_new(ctx);
    weft_status s = case_graph(g, c, false) < 0 ? weft_error_status(ctx)
                                                : run_program(c, g, 1, false, false, &got);
    if (!s)
        complain(c, "this must fail, but does not");
    else if (!strstr(weft_error(ctx), c->expect))
        complain(c, "the message is not the expected one: %s", weft_error(ctx));
    weft_graph_free(g);
}

static void count_case(const test_case *c)
{
    int i = op_index(c->op);
    seen[i].cases++;
    bool one = c->n_in == 0, odd = true; /* odd: unless an input has sizes */
    for (int k = 0; k < c->n_in; k++)
        odd = odd && c->in[k].type.rank == 0;
    for (int k = 0; k < c->n_in; k++) {
        one = one || c->in[k].type.rank == 0;
        for (int d = 0; d < c->in[k].type.rank; d++) {
            one = one || c->in[k].type.dim[d] == 1;
            odd = odd || (c->in[k].type.dim[d] > 1 && c->in[k].type.dim[d] % 2);
        }
    }
    seen[i].ones += one;
    seen[i].odds += odd;
}

static void run_case(const test_case *c)
{
    weft_ctx *ctx = weft_open(NULL);
    bool views = false;
    for (int k = 0; k < c->n_in; k++)
        views = views || case_can_view(c, k);
    n_cases++;
    if (c->fails) {
        check_failure(c, ctx);
        weft_close(ctx);
        return;
    }
    count_case(c);
    check_forward(c, ctx, false);
    weft_error_clear(ctx);
    if (views)
        check_forward(c, ctx, true);
    weft_error_clear(ctx);
    if (c->op->grad && c->smooth && has_float_input(c))
        check_gradient(c, ctx);
    weft_error_clear(ctx);
    if (c->op->grad && has_float_input(c))
        check_gradient_kernels(c, ctx);
    weft_close(ctx);
}

static bool wanted(const test_case *c)
{
    for (int i = 0; i < n_only; i++)
        if (!strcmp(only[i], c->op->name))
            return true;
    return n_only == 0;
}

static void run_file(const char *name)
{
    char path[512], line[512];
    test_case c;
    snprintf(path, sizeof path, "%s/tests/cases/%s", WEFT_SOURCE_DIR, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int number = 1; fgets(line, sizeof line, f); number++) {
        int k = case_parse(&c, line, name, number);
        if (k < 0)
            complain(&c, "this line cannot be read");
        else if (k > 0 && wanted(&c))
            run_case(&c);
    }
    fclose(f);
}

static void test_lines(void **state)
{
    (void)state;
    struct dirent *e;
    DIR *d = opendir(WEFT_SOURCE_DIR "/tests/cases");
    assert_non_null(d);
    while ((e = readdir(d)))
        if (strstr(e->d_name, ".txt"))
            run_file(e->d_name);
    closedir(d);
    printf("%d cases, %d gradients; largest error of the rest against the reference: %.3g of the "
           "largest element\n"
           "    %s\n",
           n_cases, n_gradients, worst_error, worst_line);
    assert_int_equal(n_failed, 0);
}

/* Every op has at least three cases, one of them with a size of 1 and one with an odd size. */
static void test_every_op_has_cases(void **state)
{
    (void)state;
    int missing = 0;
    if (n_only)
        return;
    for (int i = 0; i < weft_op_count(); i++) {
        if (weft_op_at(i)->lower || (seen[i].cases >= 3 && seen[i].ones && seen[i].odds))
            continue;
        fprintf(stderr,
                "op '%s' needs 3 cases in tests/cases/, with a size of 1 and an odd one: it has "
                "%d, %d, %d\n",
                weft_op_at(i)->name, seen[i].cases, seen[i].ones, seen[i].odds);
        missing++;
    }
    assert_int_equal(missing, 0);
}

/* Every op with a gradient had it compared with differences, and it was not zero. */
static void test_every_gradient_is_checked(void **state)
{
    (void)state;
    int missing = 0;
    for (int i = 0; i < weft_op_count() && !n_only; i++)
        if (weft_op_at(i)->grad && !seen[i].gradients) {
            fprintf(stderr, "no case checks the gradient of '%s'\n", weft_op_at(i)->name);
            missing++;
        }
    assert_int_equal(missing, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_every_op_has_cases),
                                       cmocka_unit_test(test_every_gradient_is_checked)};
    for (int i = 1; i < argc && n_only < 64; i++)
        only[n_only++] = argv[i];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
