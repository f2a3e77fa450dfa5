/* test_step.c - loss and gradients of a small GPT-2 as training computes them.
 *
 * The same bits for every thread count, close to the double references, no allocation, no slow path
 * of oneDNN, no read of memory that nobody wrote. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/plan.h"

static int64_t allocations;

static void *count_alloc(void *user, size_t n)
{
    (void)user;
    allocations++;
    return malloc(n);
}
static void *count_realloc(void *user, void *p, size_t n)
{
    (void)user;
    allocations++;
    return realloc(p, n);
}
static void count_free(void *user, void *p)
{
    (void)user;
    allocations++;
    free(p);
}

enum { MOST = 64 };

/* Loss and gradients, kept as doubles after the context is gone. */
typedef struct {
    int n;
    char name[MOST][64];
    double *value[MOST];
    int64_t count[MOST];
} result;

static void result_free(result *r)
{
    for (int i = 0; i < r->n; i++)
        free(r->value[i]);
    r->n = 0;
}

static void feed(weft_program *p, const char *name, int step)
{
    weft_type t;
    int32_t *x = weft_program_input(p, name, &t);
    for (int64_t i = 0; x && i < weft_type_count(&t); i++)
        x[i] = (int32_t)((i * i + 7 * i + step + name[1]) % 211);
}

static void keep(result *r, weft_program *p)
{
    for (int k = 0; k < p->n_fetch; k++) {
        weft_type t;
        const void *y = weft_program_output(p, p->fetch_name[k], &t);
        r->count[k] = weft_type_count(&t);
        r->value[k] = malloc(sizeof(double) * (size_t)r->count[k]);
        strncpy(r->name[k], p->fetch_name[k], sizeof r->name[k] - 1);
        for (int64_t i = 0; i < r->count[k]; i++)
            r->value[k][i] = weft_element(&t, y, i);
    }
    r->n = p->n_fetch;
}

static void check_steps(const weft_program *p)
{
    weft_step_info s;
    for (int i = 0; weft_program_step_at(p, i, &s); i++)
        if (strstr(s.impl, "ref:"))
            fail_msg("%s in '%s' takes a slow path: %s", s.op, s.scope, s.impl);
}

static weft_graph *gradients(weft_ctx *c, bool fused)
{
    static const char *const set[] = {"n_layer=2", "n_head=3", "d=48",       "vocab=211",
                                      "ctx=40",    "B=3",      "dropout=0.1"};
    const weft_rewrite_options o = {.train = true, .no_rewrite = !fused};
    const char *loss = "loss";
    weft_model *m;
    weft_graph *g = NULL, *small = NULL, *out = NULL;
    if (weft_model_load(c, WEFT_SOURCE_DIR "/models/gpt2.txtpb", set, 7, &m) ||
        weft_graph_expand(m, &g) || weft_graph_prepare(g, &loss, 1, &o, &small) ||
        weft_graph_differentiate(small, loss, &out))
        fail_msg("%s", weft_error(c));
    weft_graph_free(g);
    weft_graph_free(small);
    weft_model_free(m);
    return out;
}

static result run(int threads, bool reference, bool fused, bool check)
{
    result r = {0};
    const weft_allocator counting = {count_alloc, count_realloc, count_free, NULL};
    weft_ctx *c = weft_open(&(weft_options){.threads = threads, .allocator = &counting});
    weft_graph *g = gradients(c, fused);
    const weft_compile_options o = {.train = true, .no_rewrite = !fused, .check_nan = check};
    const char *fetch[MOST];
    weft_session *s;
    weft_program *p;
    assert_true(g->n_output <= MOST);
    for (int i = 0; i < g->n_output; i++)
        fetch[i] = g->output[i].name;
    if (weft_session_new(c, reference, &s) ||
        weft_program_compile(s, g, fetch, g->n_output, &o, &p) || weft_session_init(s, 5))
        fail_msg("%s", weft_error(c));
    check_steps(p);
    int64_t before = allocations;
    for (int step = 0; step < 2;
         step++) { /* the second overwrites all that the first left behind */
        int64_t *rng = weft_program_input(p, "rng", NULL);
        feed(p, "tokens", step);
        feed(p, "targets", step);
        rng[0] = 9;
        rng[1] = step;
        if (weft_program_run(p))
            fail_msg("%s", weft_error(c));
    }
    assert_int_equal(allocations, before);
    keep(&r, p);
    weft_session_free(s);
    weft_graph_free(g);
    weft_close(c);
    return r;
}

static void same_bits(const result *a, const result *b)
{
    assert_int_equal(a->n, b->n);
    for (int k = 0; k < a->n; k++)
        for (int64_t i = 0; i < a->count[k]; i++)
            if (memcmp(&a->value[k][i], &b->value[k][i], sizeof(double)))
                fail_msg("%s differs at %ld: %.9g, not %.9g", a->name[k], (long)i, b->value[k][i],
                         a->value[k][i]);
}

static void test_thread_counts(void **state)
{
    (void)state;
    static const int threads[] = {2, 3, 8, 16};
    for (int fused = 0; fused < 2; fused++) {
        result one = run(1, false, fused, false);
        assert_true(one.n > 20);
        for (int i = 0; i < 4; i++) {
            result more = run(threads[i], false, fused, false);
            same_bits(&one, &more);
            result_free(&more);
        }
        result checked = run(2, false, fused, true); /* poisoned memory, guarded buffers */
        same_bits(&one, &checked);
        result_free(&checked);
        result_free(&one);
    }
}

/* Relative 2-norm of the difference per tensor: the project's bound for f32 against double. */
static void test_against_reference(void **state)
{
    (void)state;
    result want = run(2, true, false, false);
    for (int fused = 0; fused < 2; fused++) {
        result got = run(2, false, fused, false);
        assert_int_equal(got.n, want.n);
        for (int k = 0; k < want.n; k++) {
            double error = 0, norm = 0;
            for (int64_t i = 0; i < want.count[k]; i++) {
                error += pow(got.value[k][i] - want.value[k][i], 2);
                norm += pow(want.value[k][i], 2);
            }
            if (!(norm > 0) || !(sqrt(error / norm) <= 1e-5))
                fail_msg("%s: relative error %g, norm %g", want.name[k], sqrt(error / norm),
                         sqrt(norm));
        }
        result_free(&got);
    }
    result_free(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thread_counts),
        cmocka_unit_test(test_against_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
