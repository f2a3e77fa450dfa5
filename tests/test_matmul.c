/* test_matmul.c - matmul on views of every kind: permuted, sliced and repeated operands, exact
 * against the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/plan.h"

typedef struct {
    uint64_t seed, at;
    weft_graph *g;
} maker;

static uint32_t draw(maker *m, uint32_t below)
{
    uint32_t w[4];
    weft_random4(w, m->seed, 0, 23, m->at++);
    return w[0] % below;
}

static const char *list(char *out, const char *name, int n, const int64_t *v)
{
    int k = sprintf(out, "%s=", name);
    for (int i = 0; i < n; i++)
        k += sprintf(out + k, "%s%d", i ? "," : "", (int)v[i]);
    return out;
}

/* A tensor of these sizes as a view of an input: axes permuted, each possibly a slice of a longer
 * one. */
static weft_val viewed(maker *m, const char *name, int rank, const int64_t *dim)
{
    int64_t perm[WEFT_MAX_RANK] = {0}, base[WEFT_MAX_RANK] = {0}, back[WEFT_MAX_RANK] = {0};
    char text[128];
    for (int i = 0; i < rank; i++) {
        int j = (int)draw(m, 3) ? i : (int)draw(m, (uint32_t)i + 1);
        perm[i] = perm[j];
        perm[j] = i;
    }
    for (int i = 0; i < rank; i++) {
        base[i] = dim[perm[i]] + (draw(m, 4) ? 0 : 1 + (int64_t)draw(m, 3));
        back[perm[i]] = i;
    }
    weft_type t = weft_type_make(WEFT_F32, rank, base);
    weft_val v = weft_graph_input(m->g, name, &t);
    for (int i = 0; i < rank; i++)
        if (base[i] != dim[perm[i]]) {
            sprintf(text, "axis=%d from=%d to=%d", i, (int)(base[i] - dim[perm[i]]), (int)base[i]);
            v = weft_graph_emit(m->g, "slice", &v, 1, "%s", text);
        }
    return rank > 1
               ? weft_graph_emit(m->g, "transpose", &v, 1, "%s", list(text, "perm", rank, back))
               : v;
}

/* Repeats v along a new first axis: stride 0. */
static weft_val repeated(maker *m, weft_val v, int64_t times, int rank, const int64_t *dim)
{
    int64_t all[WEFT_MAX_RANK] = {times};
    char text[128];
    memcpy(all + 1, dim, sizeof *dim * (size_t)rank);
    return weft_graph_emit(m->g, "broadcast_to", &v, 1, "%s", list(text, "dims", rank + 1, all));
}

static weft_graph *random_product(weft_ctx *c, uint64_t seed)
{
    static const int sizes[] = {1, 2, 3, 5, 7, 16, 33};
    maker m = {.seed = seed, .g = weft_graph_new(c)};
    int lead = (int)draw(&m, 4);
    bool batched = lead && draw(&m, 2), ta = draw(&m, 2) && (batched || !lead), tb = draw(&m, 2);
    int64_t x[WEFT_MAX_RANK], w[WEFT_MAX_RANK], M = sizes[draw(&m, 7)], N = sizes[draw(&m, 7)],
                                                K = sizes[draw(&m, 7)];
    int r = lead + 2, s = batched ? r : 2;
    for (int i = 0; i < lead; i++)
        x[i] = w[i] = 1 + draw(&m, 3);
    x[r - 2] = ta ? K : M;
    x[r - 1] = ta ? M : K;
    w[s - 2] = tb ? N : K;
    w[s - 1] = tb ? K : N;
    weft_val in[3];
    bool vector = !lead && !ta && !draw(&m, 6), repeat = lead && !draw(&m, 4);
    in[0] = vector   ? viewed(&m, "x", 1, &K)
            : repeat ? repeated(&m, viewed(&m, "x", r - 1, x + 1), x[0], r - 1, x + 1)
                     : viewed(&m, "x", r, x);
    in[1] = viewed(&m, "w", s, w);
    if (s == 2 && !draw(&m, 5)) { /* every column the same */
        int64_t one = 1;
        char text[64];
        in[1] = weft_graph_emit(m.g, "slice", &in[1], 1, "axis=0 from=0 to=%d", (int)one);
        in[1] = weft_graph_emit(m.g, "broadcast_to", &in[1], 1, "%s", list(text, "dims", 2, w));
    }
    bool bias = draw(&m, 2);
    in[2] = bias ? viewed(&m, "bias", 1, &N) : WEFT_NONE;
    weft_val y = weft_graph_emit(m.g, "matmul", in, bias ? 3 : 2, "ta=%d tb=%d alpha=%s", ta, tb,
                                 draw(&m, 2) ? "1" : "0.5");
    weft_graph_output(m.g, "y", y);
    return m.g;
}

static void feed(weft_program *p, const char *name)
{
    weft_type t;
    void *x = weft_program_input(p, name, &t);
    for (int64_t i = 0; x && i < weft_type_count(&t); i++) {
        int v = (int)((i * 7 + name[0]) % 11) - 5;
        if (t.dtype == WEFT_F64)
            ((double *)x)[i] = v;
        else
            ((float *)x)[i] = (float)v;
    }
}

static void *run(weft_ctx *c, const weft_graph *g, bool reference, weft_session **s, weft_type *t)
{
    weft_program *p;
    const weft_compile_options o = {.no_rewrite = true, .check_nan = true};
    *s = NULL;
    if (weft_session_new(c, reference, s) ||
        weft_program_compile(*s, g, (const char *[]){"y"}, 1, &o, &p))
        return NULL;
    feed(p, "x");
    feed(p, "w");
    feed(p, "bias");
    weft_program_run(p);
    return (void *)(uintptr_t)weft_program_output(p, "y", t);
}

static void test_views(void **state)
{
    (void)state;
    int64_t compared = 0, copies = 0;
    for (uint64_t seed = 0; seed < 1500; seed++) {
        weft_ctx *c = weft_open(&(weft_options){.threads = 1 + (int)(seed % 4)});
        weft_graph *g = random_product(c, seed);
        weft_session *s[2] = {NULL, NULL};
        weft_type t;
        const float *got = run(c, g, false, &s[0], &t);
        const double *want = run(c, g, true, &s[1], &t);
        if (c->status)
            fail_msg("seed %lu: %s", (unsigned long)seed, weft_error(c));
        for (int64_t i = 0; i < weft_type_count(&t); i++) /* small integers: exact */
            if (got[i] != want[i])
                fail_msg("seed %lu element %ld: %g, not %g", (unsigned long)seed, (long)i, got[i],
                         want[i]);
            else
                compared += want[i] != 0;
        for (int i = 0; i < s[0]->program[0]->n_step; i++) {
            const weft_step *x = &s[0]->program[0]->step[i];
            copies += x->scratch_bytes > 0;
        }
        weft_session_free(s[0]);
        weft_session_free(s[1]);
        weft_graph_free(g);
        weft_close(c);
    }
    assert_true(compared > 100000);
    assert_true(copies > 100); /* operands that no product takes have occurred */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_views)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
