/* test_dtypes.c - every op with every element type: an input of another type than a line of
 * tests/cases/ has is refused, by name, or the kernel gives what the reference gives. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "graph/plan.h"
#include "tests/case.h"

static const weft_dtype all[] = {WEFT_F32, WEFT_BF16, WEFT_I32, WEFT_I64, WEFT_U16, WEFT_BOOL};
enum {
    TYPES = sizeof all / sizeof *all,
    MOST = 3000 /* elements of an input: enough for a type */
};

static int n_run, n_refused, n_failed;

static void complain(const test_case *c, const char *fmt, ...) WEFT_PRINTF(2, 3);
static void complain(const test_case *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s:%d: ", c->file, c->number);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n    %s", c->op->name);
    for (int k = 0; k < c->n_in; k++)
        fprintf(stderr, " %s=%s", c->op->in[c->in[k].port].name,
                weft_dtype_name(c->in[k].type.dtype));
    fprintf(stderr, " %s\n", c->attrs);
    va_end(ap);
    n_failed++;
}

/* Element i of input k in x, as the type of the case rounds it. */
static void put(const test_case *c, int k, weft_tensor *x, int64_t i)
{
    uint64_t word = 0;
    weft_tensor one = {.data = &word, .dtype = c->in[k].type.dtype, .count = 1};
    weft_put(&one, 0, case_number(c, k, i));
    weft_put(x, i, weft_get(&one, 0));
}

static void fill(const test_case *c, int k, void *to, weft_dtype dtype)
{
    int64_t n = weft_type_count(&c->in[k].type);
    weft_tensor x = {.data = to, .dtype = dtype, .rank = 1, .count = n, .dim = {n}, .stride = {1}};
    for (int64_t i = 0; i < n; i++)
        put(c, k, &x, i);
}

static weft_status run(const test_case *c, weft_graph *g, weft_session *s, weft_program **p)
{
    const char *fetch[CASE_IN];
    weft_type t;
    const weft_compile_options o = {
        .train = true, .no_rewrite = s->reference, .reference = s->reference};
    for (int i = 0; i < g->n_output; i++)
        fetch[i] = g->output[i].name;
    WEFT_TRY(weft_session_add_states(s, g));
    WEFT_TRY(weft_session_init(s, 1));
    WEFT_TRY(weft_program_compile(s, g, fetch, g->n_output, &o, p));
    for (int k = 0; k < c->n_in; k++) {
        char name[32];
        snprintf(name, sizeof name, "in%d", k);
        weft_state *state = weft_session_state(s, name);
        void *to = state ? state->data : weft_program_input(*p, name, &t);
        if (to)
            fill(c, k, to, state ? state->type.dtype : t.dtype);
    }
    int64_t *rng = weft_program_input(*p, "rng", &t);
    if (rng)
        rng[0] = 5, rng[1] = 7;
    return weft_program_run(*p);
}

static void compare(const test_case *c, weft_program *got, weft_program *want, int out)
{
    weft_type t, f;
    char name[32];
    double top = 0;
    snprintf(name, sizeof name, "y%d", out);
    const void *a = weft_program_output(got, name, &t), *b = weft_program_output(want, name, &f);
    for (int64_t i = 0; i < weft_type_count(&t); i++)
        top = fmax(top, fabs(weft_element(&f, b, i)));
    /* bf16 holds 8 bits of a result; sums of such numbers are as exact as those of test_cases */
    double bound = t.dtype == WEFT_BF16           ? 0x1p-8 * top
                   : weft_dtype_is_float(t.dtype) ? 1e-5 * (1 + top)
                                                  : 0;
    for (int64_t i = 0; i < weft_type_count(&t); i++) {
        double x = weft_element(&t, a, i), y = weft_element(&f, b, i);
        if (x == y || (x != x && y != y) || fabs(x - y) <= bound)
            continue;
        complain(c, "output %s[%lld] is %.9g, the reference says %.9g", c->op->out[out].name,
                 (long long)i, x, y);
        return;
    }
}

/* A refusal names op, input and type, and what makes another of it; or it is of two types that
 * must be one. */
static void check_refusal(const test_case *c, const char *error)
{
    char start[128];
    n_refused++;
    snprintf(start, sizeof start, "%s: input '", c->op->name);
    bool port = !strncmp(error, start, strlen(start)) && strstr(error, " but is ") &&
                strstr(error, "cast to=");
    if (!port && strncmp(error, c->op->name, strlen(c->op->name)))
        complain(c, "the message does not say what to do: %s", error);
}

static void check(const test_case *c)
{
    weft_ctx *ctx = weft_open(NULL);
    weft_graph *g = weft_graph_new(ctx);
    weft_session *s[2] = {0};
    weft_program *p[2] = {0};
    int node = case_graph(g, c, false);
    weft_status status = node < 0 ? ctx->status : WEFT_OK;
    if (status == WEFT_MALFORMED)
        check_refusal(c, weft_error(ctx));
    else if (status)
        complain(c, "%s", weft_error(ctx));
    for (int i = 0; i < 2 && !status; i++)
        if ((status = weft_session_new(ctx, i, &s[i])) || (status = run(c, g, s[i], &p[i])))
            complain(c, "%s: %s", i ? "reference" : "kernel", weft_error(ctx));
    for (int i = 0; node >= 0 && i < g->node[node].n_out && !status; i++)
        compare(c, p[0], p[1], i);
    n_run += !status;
    weft_session_free(s[0]);
    weft_session_free(s[1]);
    weft_graph_free(g);
    weft_close(ctx);
}

/* Numbers that the type holds: what was drawn from a range of reals is drawn from whole ones. */
static void retype(case_input *x, weft_dtype t)
{
    bool was = weft_dtype_is_float(x->type.dtype), is = weft_dtype_is_float(t);
    x->type.dtype = t;
    if (was && !is) {
        x->low = 0;
        x->high = t == WEFT_BOOL ? 2 : 5;
    }
    if (t == WEFT_BOOL && x->high > 2)
        x->high = 2;
}

static void check_line(const test_case *line)
{
    for (int k = 0; k < line->n_in; k++)
        if (weft_type_count(&line->in[k].type) > MOST)
            return;
    for (int t = 0; t < TYPES; t++) {
        test_case c = *line; /* all inputs of this kind at once */
        for (int k = 0; k < c.n_in; k++) {
            test_case one = *line;
            if (one.in[k].type.dtype != all[t]) {
                retype(&one.in[k], all[t]);
                check(&one);
            }
            if (weft_dtype_is_float(c.in[k].type.dtype))
                retype(&c.in[k], all[t]);
        }
        check(&c);
    }
}

static void test_every_op_and_type(void **state)
{
    (void)state;
    struct dirent *e;
    DIR *d = opendir(WEFT_SOURCE_DIR "/tests/cases");
    assert_non_null(d);
    while ((e = readdir(d))) {
        char path[512], text[512];
        test_case c;
        if (!strstr(e->d_name, ".txt"))
            continue;
        snprintf(path, sizeof path, "%s/tests/cases/%s", WEFT_SOURCE_DIR, e->d_name);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        for (int number = 1; fgets(text, sizeof text, f); number++)
            if (case_parse(&c, text, e->d_name, number) > 0 && !c.fails)
                check_line(&c);
        fclose(f);
    }
    closedir(d);
    printf("%d runs, %d refusals\n", n_run, n_refused);
    assert_true(n_run > 1000 && n_refused > 1000);
    assert_int_equal(n_failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_op_and_type)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
