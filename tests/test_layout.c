/* test_layout.c - random graphs on kernels with views and memory reuse against the references.
 *
 * Views, element-wise ops, sums and products: kernels with views, copies, in-place reuse and the
 * memory plan must agree with the references, which run without them. */
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

typedef struct {
    uint64_t seed, at;
    weft_graph *g;
    weft_val pool[64]; /* values that the next op may read */
    int n;
} maker;

static uint32_t draw(maker *m, uint32_t below)
{
    uint32_t w[4];
    weft_random4(w, m->seed, 0, 17, m->at++);
    return w[0] % below;
}

static weft_val pick(maker *m) { return m->pool[draw(m, (uint32_t)m->n)]; }
static const weft_type *type_of(maker *m, weft_val v) { return &m->g->value[v].type; }

static weft_val one(maker *m, const char *op, weft_val x, const char *attrs)
{
    return weft_graph_emit(m->g, op, &x, 1, "%s", attrs);
}

static weft_val two(maker *m, const char *op, weft_val a, weft_val b, const char *attrs)
{
    return weft_graph_emit(m->g, op, (weft_val[]){a, b}, 2, "%s", attrs);
}

static weft_val make_transpose(maker *m, weft_val x)
{
    int r = type_of(m, x)->rank, perm[WEFT_MAX_RANK];
    char text[64] = "perm=";
    if (r < 2)
        return x;
    for (int i = 0; i < r; i++) {
        int j = (int)draw(m, (uint32_t)i + 1);
        perm[i] = perm[j];
        perm[j] = i;
    }
    for (int i = 0; i < r; i++)
        sprintf(text + strlen(text), "%s%d", i ? "," : "", perm[i]);
    return one(m, "transpose", x, text);
}

static weft_val make_slice(maker *m, weft_val x)
{
    const weft_type *t = type_of(m, x);
    if (!t->rank)
        return x;
    int axis = (int)draw(m, (uint32_t)t->rank);
    int64_t from = draw(m, (uint32_t)t->dim[axis]),
            to = from + 1 + draw(m, (uint32_t)(t->dim[axis] - from));
    char text[64];
    sprintf(text, "axis=%d from=%d to=%d", axis, (int)from, (int)to);
    return one(m, "slice", x, text);
}

/* Splits or joins axes. */
static weft_val make_reshape(maker *m, weft_val x)
{
    weft_type t = *type_of(m, x);
    char text[128] = "dims=";
    if (t.rank > 1 && draw(m, 2)) {
        int i = (int)draw(m, (uint32_t)t.rank - 1);
        t.dim[i] *= t.dim[i + 1];
        memmove(&t.dim[i + 1], &t.dim[i + 2], sizeof *t.dim * (size_t)(t.rank - i - 2));
        t.rank--;
    } else if (t.rank && t.rank < 4 && t.dim[0] % 2 == 0) {
        memmove(&t.dim[1], &t.dim[0], sizeof *t.dim * (size_t)t.rank);
        t.dim[0] = 2;
        t.dim[1] /= 2;
        t.rank++;
    }
    for (int i = 0; i < t.rank; i++)
        sprintf(text + strlen(text), "%s%d", i ? "," : "", (int)t.dim[i]);
    return one(m, "reshape", x, text);
}

static weft_val make_broadcast(maker *m, weft_val x)
{
    weft_type t = *type_of(m, x);
    char text[128];
    if (t.rank >= 4 || weft_type_count(&t) > 500)
        return x;
    sprintf(text, "dims=%d", 1 + (int)draw(m, 4));
    for (int i = 0; i < t.rank; i++)
        sprintf(text + strlen(text), ",%d", (int)t.dim[i]);
    return one(m, "broadcast_to", x, text);
}

/* x times x transposed, or times a fresh matrix on the right. */
static weft_val make_product(maker *m, weft_val x)
{
    const weft_type *t = type_of(m, x);
    if (t->rank < 1)
        return x;
    weft_val s = one(m, "scale", x, "alpha=0.2");
    if (t->rank >= 2 && draw(m, 2))
        return two(m, "matmul", s, x, t->rank == 2 && draw(m, 2) ? "ta=1" : "tb=1");
    char name[32];
    sprintf(name, "w%d", m->g->n_value);
    weft_type w = weft_type_make(WEFT_F32, 2, (int64_t[]){t->dim[t->rank - 1], 1 + draw(m, 9)});
    weft_val v = weft_graph_state(m->g, name, &w, "normal(0.5)", true);
    if (draw(m, 2))
        return two(m, "matmul", s,
                   one(m, "transpose", one(m, "transpose", v, "perm=1,0"), "perm=1,0"), "");
    return two(m, "matmul", s, one(m, "transpose", v, "perm=1,0"), "tb=1");
}

static weft_val make_binary(maker *m, weft_val x)
{
    static const char *const ops[] = {"add", "mul", "sub"};
    const char *op = ops[draw(m, 3)];
    for (int attempt = 0; attempt < 8;
         attempt++) { /* another value that broadcasts with x, else x itself */
        weft_val y = pick(m);
        const weft_type *a = type_of(m, x), *b = type_of(m, y);
        bool fits = true;
        for (int i = 1; i <= a->rank && i <= b->rank; i++)
            fits = fits && (a->dim[a->rank - i] == b->dim[b->rank - i] || b->dim[b->rank - i] == 1);
        if (fits && b->rank <= a->rank)
            return two(m, op, x, y, "");
    }
    return two(m, op, x, x, "");
}

static weft_val make_sum(maker *m, weft_val x)
{
    const weft_type *t = type_of(m, x);
    char text[64];
    if (!t->rank)
        return x;
    sprintf(text, "axis=%d keep=%d", (int)draw(m, (uint32_t)t->rank), (int)draw(m, 2));
    return one(m, "sum", x, text);
}

/* A fresh value with a view of itself: must not be overwritten in place while the view is read. */
static weft_val make_self(maker *m, weft_val x)
{
    weft_val fresh = one(m, "tanh", x, "");
    const weft_type *t = type_of(m, x);
    char text[64];
    if (!t->rank)
        return x;
    int axis = (int)draw(m, (uint32_t)t->rank), at = (int)draw(m, (uint32_t)t->dim[axis]);
    sprintf(text, "axis=%d from=%d to=%d", axis, at, at + 1);
    return two(m, draw(m, 2) ? "add" : "mul", fresh, one(m, "slice", fresh, text), "");
}

static weft_val make_unary(maker *m, weft_val x)
{
    static const char *const ops[] = {"tanh", "relu",
                                      "softmax"}; /* softmax takes dense input only */
    return type_of(m, x)->rank ? one(m, ops[draw(m, 3)], x, "") : x;
}

/* Values stay near one: products are squashed again. */
static weft_graph *random_graph(weft_ctx *c, uint64_t seed, maker *m)
{
    static weft_val (*const make[])(maker *, weft_val) = {
        make_transpose, make_slice, make_reshape, make_broadcast, make_product,
        make_binary,    make_sum,   make_unary,   make_self};
    weft_type t = weft_type_make(WEFT_F32, 3, (int64_t[]){2, 6, 8});
    *m = (maker){.seed = seed, .g = weft_graph_new(c), .n = 2};
    m->pool[0] = weft_graph_input(m->g, "x", &t);
    m->pool[1] = weft_graph_state(m->g, "s", &t, "normal(1)", true);
    for (int i = 0; i < 24 && m->n < 60; i++) {
        weft_val v = make[draw(m, 9)](m, pick(m));
        if (v >= 0 && weft_type_count(type_of(m, v)) <= 4000)
            m->pool[m->n++] = one(m, "tanh", v, "");
        if (v >= 0 && draw(m, 2) && weft_type_count(type_of(m, v)) <= 4000)
            m->pool[m->n++] = v;
    }
    if (c->status)
        fail_msg("seed %lu: %s", (unsigned long)seed, weft_error(c));
    for (int i = 0; i < 6; i++) {
        char name[16];
        sprintf(name, "y%d", i);
        weft_graph_output(m->g, name, m->pool[m->n - 1 - (int)draw(m, (uint32_t)m->n)]);
    }
    return m->g;
}

static const char *const outputs[] = {"y0", "y1", "y2", "y3", "y4", "y5"};

/* Runs twice (what a run leaves behind must not matter) and keeps the outputs as doubles. */
static double *run(weft_ctx *c, const weft_graph *g, bool reference, const weft_compile_options *o,
                   int64_t *count)
{
    weft_session *s;
    weft_program *p = NULL;
    double *all = NULL;
    weft_session_new(c, reference, &s);
    weft_program_compile(s, g, outputs, 6, o, &p);
    weft_session_init(s, 7);
    for (int turn = 0; turn < 2 && !c->status; turn++) {
        weft_type t;
        void *x = weft_program_input(p, "x", &t);
        for (int64_t i = 0; x && i < weft_type_count(&t); i++) {
            float v = (float)sin(0.7 * (double)i + 0.3);
            if (t.dtype == WEFT_F64)
                ((double *)x)[i] = v;
            else
                ((float *)x)[i] = v;
        }
        weft_program_run(p);
    }
    *count = 0;
    for (int k = 0; k < 6 && !c->status; k++) {
        weft_type t;
        const void *y = weft_program_output(p, outputs[k], &t);
        int64_t n = weft_type_count(&t);
        all = realloc(all, sizeof *all * (size_t)(*count + n));
        for (int64_t i = 0; i < n; i++)
            all[(*count)++] = t.dtype == WEFT_F64 ? ((const double *)y)[i] : ((const float *)y)[i];
    }
    weft_session_free(s);
    return all;
}

static void test_random_graphs(void **state)
{
    (void)state;
    int64_t different = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        weft_ctx *c = weft_open(&(weft_options){.threads = 1 + (int)(seed % 3)});
        maker m;
        weft_graph *g = random_graph(c, seed, &m);
        int64_t n, k;
        double *want = run(c, g, true, &(weft_compile_options){.no_rewrite = true}, &n);
        for (int mode = 0; mode < 3 && !c->status; mode++) {
            const weft_compile_options o = {.no_rewrite = mode < 2, .check_nan = mode == 1};
            double *got = run(c, g, false, &o, &k);
            assert_true(c->status || n == k);
            for (int64_t i = 0; i < n && !c->status; i++) {
                if (!(fabs(got[i] - want[i]) <=
                      2e-4 * (1 + fabs(want[i])))) /* some 20 float ops deep */
                    fail_msg("seed %lu mode %d element %ld: %g, not %g", (unsigned long)seed, mode,
                             (long)i, got[i], want[i]);
                different += got[i] != 0;
            }
            free(got);
        }
        if (c->status)
            fail_msg("seed %lu: %s", (unsigned long)seed, weft_error(c));
        free(want);
        weft_graph_free(g);
        weft_close(c);
    }
    assert_true(different > 100000); /* the comparison was not of zeros */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
