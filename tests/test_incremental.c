/* test_incremental.c - graphs over new positions with caches give what the whole window gives, op
 * by op and for GPT-2. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "graph/plan.h"

enum { T = 6, B = 2 };

static weft_graph *new_graph(weft_ctx *c, weft_val *x)
{
    const weft_type t = weft_type_make(WEFT_F32, 3, (int64_t[]){B, T, 4});
    weft_graph *g = weft_graph_new(c);
    *x = weft_graph_input(g, "x", &t);
    return g;
}

#define EMIT(g, op, attrs, ...)                                                                    \
    weft_graph_emit(g, op, (weft_val[]){__VA_ARGS__},                                              \
                    (int)(sizeof((weft_val[]){__VA_ARGS__}) / sizeof(weft_val)), "%s", attrs)

static void must(weft_ctx *c, weft_status s)
{
    if (s)
        fail_msg("%s", weft_error(c));
}

/* Element i of an input of the whole window. */
static double number(int64_t i, weft_dtype t)
{
    return t == WEFT_I32 ? (double)(i * 7 % 11) : sin(0.7 * (double)i + 1);
}

/* Fills the input with positions from..from+n-1 of axis 1. */
static void feed(weft_program *p, const char *name, int64_t from)
{
    weft_type t;
    void *data = weft_program_input(p, name, &t);
    if (!data)
        return;
    int64_t n = t.dim[1], d = weft_type_count(&t) / t.dim[0] / n;
    weft_tensor y = {
        .data = data, .dtype = t.dtype, .rank = 1, .count = weft_type_count(&t), .stride = {1}};
    y.dim[0] = y.count;
    for (int64_t i = 0; i < y.count; i++)
        weft_put(&y, i, number((i / d / n * T + from + i / d % n) * d + i % d, t.dtype));
}

/* Compares piece (positions from..) with whole, along `axis`. */
static void compare(const float *whole, const weft_type *w, const float *piece, const weft_type *p,
                    int axis, int64_t from)
{
    int64_t inner = 1, n = p->dim[axis];
    for (int i = axis + 1; i < p->rank; i++)
        inner *= p->dim[i];
    assert_int_equal(w->rank, p->rank);
    for (int64_t i = 0; i < weft_type_count(p); i++) {
        int64_t at = i / inner % n, before = i / inner / n;
        float want = whole[(before * w->dim[axis] + from + at) * inner + i % inner];
        if (fabsf(piece[i] - want) >
            1e-5f * fmaxf(1, fabsf(want))) /* sums of some ten f32 terms in other orders */
            fail_msg("position %lld: %g, the whole window gives %g", (long long)(from + at),
                     piece[i], want);
    }
}

/* Rubbish where nothing has been written yet. */
static void fill_caches(weft_session *s)
{
    for (int i = 0; i < s->n_state; i++)
        if (!strncmp(s->state[i].name, "cache:", 6) && s->state[i].type.dtype == WEFT_F32)
            for (int64_t k = 0; k < weft_type_count(&s->state[i].type); k++)
                ((float *)s->state[i].data)[k] = k % 2 ? 7.5f : -5.25f;
}

/* Runs the output "y" over the whole window, then piece by piece. */
static void check(weft_ctx *c, const weft_graph *g, const char *input, int axis,
                  const int64_t *pieces, int n)
{
    const weft_compile_options o = {0};
    const char *fetch = "y";
    weft_session *s;
    weft_program *p;
    weft_type t, wt;
    int64_t from = 0;
    float whole[4096];
    must(c, weft_session_new(c, false, &s));
    must(c, weft_session_add_states(s, g));
    must(c, weft_session_init(s, 3));
    must(c, weft_program_compile(s, g, &fetch, 1, &o, &p));
    feed(p, input, 0);
    must(c, weft_program_run(p));
    const void *y = weft_program_output(p, "y", &wt);
    assert_true(weft_type_bytes(&wt) <= sizeof whole);
    memcpy(whole, y, weft_type_bytes(&wt));
    for (int k = 0; k < n; from += pieces[k++]) {
        weft_graph *h;
        must(c, weft_graph_incremental(g, pieces[k], &input, 1, &h));
        must(c, weft_graph_verify(h));
        must(c, weft_session_add_states(s, h));
        must(c, weft_session_init(s, 3));
        if (!k)
            fill_caches(s);
        must(c, weft_program_compile(s, h, &fetch, 1, &o, &p));
        feed(p, input, from);
        int32_t *pos = weft_program_input(p, WEFT_POS, &t);
        if (pos)
            *pos = (int32_t)from;
        must(c, weft_program_run(p));
        y = weft_program_output(p, "y", &t);
        assert_int_equal(t.dim[axis], pieces[k]);
        compare(whole, &wt, y, &t, axis, from);
        weft_graph_free(h);
    }
    weft_session_free(s);
}

static const int64_t pieces[] = {3, 1,
                                 2}; /* also one that does not start at a multiple of its length */

static void finish(weft_ctx *c, weft_graph *g, weft_val y, int axis)
{
    must(c, weft_error_status(c));
    must(c, weft_graph_output(g, "y", y));
    check(c, g, "x", axis, pieces, 3);
    weft_graph_free(g);
    weft_close(c);
}

static void test_shape_ops(void **state)
{
    (void)state;
    weft_val x;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = new_graph(c, &x);
    weft_val v = EMIT(g, "reshape", "dims=2,6,2,2", x);         /* [B,T,2,2] */
    v = EMIT(g, "transpose", "perm=3,0,2,1", v);                /* [2,B,2,T] */
    v = EMIT(g, "concat", "axis=2", v, EMIT(g, "gelu", "", v)); /* [2,B,4,T] */
    v = EMIT(g, "slice", "axis=2 from=1", v);                   /* [2,B,3,T] */
    finish(c, g, EMIT(g, "reshape", "dims=4,3,6", v), 2);
}

static void test_sums(void **state)
{
    (void)state;
    weft_val x;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = new_graph(c, &x);
    weft_val a = EMIT(g, "sum", "axis=0", x),
             b = EMIT(g, "mean", "axis=-1 keep=1", x); /* [T,4], [B,T,1] */
    weft_val m = EMIT(g, "max", "axis=-1 keep=1", x);
    weft_val y = EMIT(g, "add", "", EMIT(g, "add", "", a, b), m);
    finish(c, g, EMIT(g, "sum", "axis=-1", y), 1);
}

/* Rows and their largest; what is gathered from a table by position, which is cut to the window. */
static void test_sparse_rows(void **state)
{
    (void)state;
    weft_val x;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = new_graph(c, &x);
    const weft_type t = weft_type_make(WEFT_F32, 3, (int64_t[]){B, T, 4});
    weft_val table = weft_graph_state(g, "table", &t, "normal(1)", true);
    weft_val top = EMIT(g, "topk", "k=2", x, EMIT(g, "relu", "", x));
    weft_val at = g->node[g->value[top].node].out[1];
    weft_val y = EMIT(g, "mul", "", top, EMIT(g, "gather", "", table, at));
    const weft_type wt = weft_type_make(WEFT_F32, 2, (int64_t[]){4, 7});
    weft_val w = weft_graph_state(g, "w", &wt, "normal(1)", true);
    weft_val product = EMIT(g, "sparse_matmul", "", y, at, w);
    y = EMIT(g, "sparse_dot", "tb=1", product, w, at);
    y = EMIT(g, "scatter", "n=4", y, at);
    finish(c, g, EMIT(g, "add", "", y, EMIT(g, "topk_mask", "k=3", x)), 1);
}

/* A table by position is cut to the window; one value for all positions is not. */
static void test_tables_by_position(void **state)
{
    (void)state;
    weft_val x;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = new_graph(c, &x);
    const weft_type rows = weft_type_make(WEFT_F32, 2, (int64_t[]){9, 4}),
                    one = weft_type_make(WEFT_F32, 1, (int64_t[]){4});
    weft_val table = weft_graph_state(g, "table", &rows, "normal(1)", true);
    weft_val bias = weft_graph_state(g, "bias", &one, "normal(1)", true);
    weft_val y = EMIT(g, "add", "", EMIT(g, "slice", "to=6", table), EMIT(g, "mul", "", x, bias));
    finish(c, g, EMIT(g, "dropout", "p=0.5", EMIT(g, "stop_gradient", "", y)), 1);
}

static void test_attention_with_cache(void **state)
{
    (void)state;
    weft_val x;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = new_graph(c, &x);
    const weft_type wt = weft_type_make(WEFT_F32, 2, (int64_t[]){4, 12});
    weft_val qkv = EMIT(g, "matmul", "", x, weft_graph_state(g, "w", &wt, "normal(0.7)", true));
    weft_val q = EMIT(g, "split_heads", "n_head=2", qkv);
    const weft_node *n = &g->node[g->value[q].node];
    weft_val k = n->out[1], v = n->out[2];
    weft_val p = EMIT(g, "causal_softmax", "", EMIT(g, "matmul", "tb=1 alpha=0.7", q, k));
    finish(c, g, EMIT(g, "merge_heads", "", EMIT(g, "matmul", "", p, v)), 1);
}

/* Causal attention of one layer with weights of its own, on the residual stream x [B,T,4]. */
static weft_val layer(weft_graph *g, weft_val x, const char *name)
{
    char w[32];
    const weft_type wt = weft_type_make(WEFT_F32, 2, (int64_t[]){4, 12});
    snprintf(w, sizeof w, "%s.w", name);
    weft_val n = EMIT(g, "layer_norm", "", x);
    weft_val q = EMIT(g, "split_heads", "n_head=2",
                      EMIT(g, "matmul", "", n, weft_graph_state(g, w, &wt, "normal(0.7)", true)));
    weft_val k = g->node[g->value[q].node].out[1], v = g->node[g->value[q].node].out[2];
    weft_val p = EMIT(g, "causal_softmax", "", EMIT(g, "matmul", "tb=1 alpha=0.7", q, k));
    weft_val a = EMIT(g, "merge_heads", "", EMIT(g, "matmul", "", p, v));
    return EMIT(g, "add", "", x, EMIT(g, "gelu", "", a));
}

/* Layers at T, then at 2T between concepts and tokens with a table by position of 2T, then one slot
 * of each pair, at T again: windows, caches and positions on two time scales. */
static void check_interleaved(int slot, bool twice, const int64_t *piece, int n)
{
    char cut[32];
    weft_val x;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = new_graph(c, &x);
    const weft_type rows = weft_type_make(WEFT_F32, 2, (int64_t[]){2 * T, 4}),
                    pause = weft_type_make(WEFT_F32, 3, (int64_t[]){B, T, 4});
    weft_val table = weft_graph_state(g, "table", &rows, "normal(1)", true);
    weft_val learned = weft_graph_state(g, "pause", &pause, "normal(1)", true);
    weft_val h = layer(g, x, "below");
    weft_val y = EMIT(g, "interleave", "axis=1", EMIT(g, "tanh", "", h), twice ? learned : h);
    y = layer(g, layer(g, EMIT(g, "add", "", y, table), "mixed.0"), "mixed.1");
    snprintf(cut, sizeof cut, "axis=1 from=%d step=2", slot);
    if (twice) { /* 4T and back in two steps */
        y = layer(g, EMIT(g, "interleave", "axis=1", y, EMIT(g, "neg", "", y)), "finer");
        y = EMIT(g, "slice", "axis=1 from=1 step=2", y);
    }
    y = layer(g, EMIT(g, "slice", cut, y), "above");
    must(c, weft_error_status(c));
    must(c, weft_graph_output(g, "y", y));
    check(c, g, "x", 1, piece, n);
    weft_graph_free(g);
    weft_close(c);
}

static void test_interleaved(void **state)
{
    (void)state;
    static const int64_t one[] = {1, 1, 1, 1, 1, 1}, whole[] = {6};
    for (int slot = 0; slot < 2; slot++)
        for (int twice = 0; twice < 2; twice++) {
            check_interleaved(slot, twice, pieces, 3);
            check_interleaved(slot, twice, one, 6);
            check_interleaved(slot, twice, whole, 1);
        }
}

static void test_gpt2(void **state)
{
    (void)state;
    static const char *const set[] = {"n_layer=2", "n_head=2", "d=8", "vocab=11",
                                      "ctx=9",     "B=2",      "T=6"};
    weft_ctx *c = weft_open(NULL);
    weft_model *m;
    weft_graph *g, *h;
    must(c, weft_model_load(c, "models/gpt2.txtpb", set, 7, &m));
    must(c, weft_graph_expand(m, &g));
    weft_val logits = weft_graph_find_output(g, "logits");
    must(c, weft_graph_prune(g, &logits, 1, &h, NULL));
    must(c, weft_graph_output(h, "y", weft_graph_find_output(h, "logits")));
    check(c, h, "tokens", 1, pieces, 3);
    check(c, h, "tokens", 1, (const int64_t[]){1, 1, 1, 1, 1, 1}, 6);
    weft_graph_free(g);
    weft_graph_free(h);
    weft_model_free(m);
    weft_close(c);
}

/* A steered feature of positions that are counted from the start of the text, on both scales. */
static void test_steered(void **state)
{
    (void)state;
    static const char *const how[] = {"id=1 how=set amount=3 from=2 to=5",
                                      "id=3 how=scale amount=-2", "id=0 how=add amount=5 from=4"};
    for (int i = 0; i < 3; i++)
        for (int fine = 0; fine < 2; fine++) {
            weft_val x;
            weft_ctx *c = weft_open(NULL);
            weft_graph *g = new_graph(c, &x);
            const weft_type one = {.dtype = WEFT_I32}, scalar = {.dtype = WEFT_F32};
            weft_val z = layer(g, x, "a");
            z = fine ? EMIT(g, "interleave", "axis=1", z, x) : z;
            weft_val shift = weft_graph_state(g, "shift", &one, "zeros", false);
            weft_val y = EMIT(g, "steer", how[i], z);
            y = weft_graph_emit(g, "steer", (weft_val[]){y, WEFT_NONE, shift}, 3, "%s", how[i]);
            weft_val dose = weft_graph_state(g, "dose", &scalar, "normal(1)", false);
            y = weft_graph_emit(g, "steer", (weft_val[]){y, WEFT_NONE, WEFT_NONE, dose}, 4, "%s",
                                how[(i + 1) % 3]);
            y = layer(g, y, "b");
            finish(c, g, fine ? EMIT(g, "slice", "axis=1 from=1 step=2", y) : y, 1);
        }
}

/* What mixes positions in a way that has no step-by-step form is refused with its reason. */
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *op, *attrs, *message;
    } bad[] = {{"sum", "axis=1", "cannot sum over the time axis 1"},
               {"max", "axis=1", "along the time axis 1"},
               {"slice", "axis=1 from=2", "cannot cut along the time axis 1"},
               {"slice", "axis=1 step=2", "cannot cut along the time axis 1"},
               {"reshape", "dims=12,4", "to stay an axis of its own"},
               {"concat", "axis=1", "cannot concatenate along the time axis 1"},
               {"sum_to", "dims=6,4", "cannot be decoded step by step"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        weft_val x;
        weft_ctx *c = weft_open(NULL);
        weft_graph *g = new_graph(c, &x), *h;
        must(c, weft_graph_output(g, "y", EMIT(g, bad[i].op, bad[i].attrs, x)));
        assert_true(weft_graph_incremental(g, 1, (const char *const[]){"x"}, 1, &h) != WEFT_OK);
        if (!strstr(weft_error(c), bad[i].message))
            fail_msg("%s: %s", bad[i].op, weft_error(c));
        weft_graph_free(g);
        weft_close(c);
    }
}

/* Keys of later positions are not there: what adds up, compares or picks along their axis before
 * they are masked would read rubbish, and is refused by name. */
static void test_keys_refused(void **state)
{
    (void)state;
    static const struct {
        const char *op, *attrs;
    } bad[] = {{"softmax", ""},
               {"sum", "axis=2"},
               {"mean", "axis=-1"},
               {"max", "axis=2"},
               {"argmax", "axis=-1"},
               {"slice", "axis=2 to=4"},
               {"reshape", "dims=2,6,3,2"},
               {"reshape", "dims=2,36"},
               {"standardize", ""},
               {"layer_norm", ""},
               {"topk", "k=2"},
               {"topk_mask", "k=2"},
               {"split_heads", "n_head=1"},
               {"steer", "id=1 amount=2"},
               {"sum", ""}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        weft_val x;
        weft_ctx *c = weft_open(NULL);
        weft_graph *g = new_graph(c, &x), *h;
        weft_val s = EMIT(g, "tanh", "", EMIT(g, "matmul", "tb=1", x, x));
        g->at_file = "model.txtpb";
        g->at_line = 17;
        must(c, weft_graph_output(g, "y", EMIT(g, bad[i].op, bad[i].attrs, s)));
        must(c, weft_error_status(c));
        weft_status st = weft_graph_incremental(g, 1, (const char *const[]){"x"}, 1, &h);
        if (st != WEFT_UNSUPPORTED || strncmp(weft_error(c), bad[i].op, strlen(bad[i].op)) ||
            !strstr(weft_error(c), "model.txtpb:17") || !strstr(weft_error(c), "--no-cache"))
            fail_msg("%s: %d %s", bad[i].op, (int)st, weft_error(c));
        weft_graph_free(g);
        weft_close(c);
    }
}

static bool refused(weft_ctx *c, weft_graph *g, weft_val y, const char *message)
{
    weft_graph *h;
    must(c, weft_error_status(c));
    must(c, weft_graph_output(g, "y", y));
    weft_status s = weft_graph_incremental(g, 1, (const char *const[]){"x"}, 1, &h);
    bool good = s == WEFT_UNSUPPORTED && strstr(weft_error(c), message);
    if (!good)
        print_error("%d %s\n", (int)s, weft_error(c));
    weft_graph_free(g);
    weft_close(c);
    return good;
}

/* Products along positions that would read what is not there. */
static weft_val wrong_product(weft_graph *g, weft_val x, int i)
{
    const weft_type mix = weft_type_make(WEFT_F32, 2, (int64_t[]){T, T});
    if (i == 0) /* a sum over all positions */
        return EMIT(g, "matmul", "ta=1", x, x);
    if (i == 1) { /* keys are coarser than queries */
        weft_val fine = EMIT(g, "interleave", "axis=1", x, EMIT(g, "neg", "", x));
        return EMIT(g, "causal_softmax", "", EMIT(g, "matmul", "tb=1", fine, x));
    }
    weft_val s = EMIT(g, "matmul", "tb=1", x, x);
    if (i == 2)
        return EMIT(g, "matmul", "", s, x);
    if (i == 3) /* a mask that nobody knows */
        return EMIT(g, "matmul", "",
                    EMIT(g, "add", "", s, weft_graph_state(g, "m", &mix, "zeros", true)), x);
    if (i == 4) /* e^0 = 1 where zeros were */
        return EMIT(g, "matmul", "", EMIT(g, "exp", "", EMIT(g, "causal_softmax", "", s)), x);
    if (i == 5) /* queries by keys turned round */
        return EMIT(g, "matmul", "", EMIT(g, "transpose", "perm=0,2,1", s), x);
    if (i == 6)
        return EMIT(g, "concat", "axis=2", s, s);
    if (i == 7)
        return EMIT(g, "interleave", "axis=2", s, s);
    weft_val p = EMIT(g, "causal_softmax", "", s);
    if (i == 8) /* scores as values: a row of them is never completed */
        return EMIT(g, "matmul", "", p, s);
    if (i == 9)
        return EMIT(g, "matmul", "", EMIT(g, "scale", "beta=1", p), x);
    if (i == 10) /* 0/0 where nothing is yet */
        return EMIT(g, "matmul", "", EMIT(g, "div", "", p, s), x);
    return s;
}

static void test_products_refused(void **state)
{
    (void)state;
    static const char *const why[] = {"time is axis 1 of x",
                                      "keys of later positions",
                                      "cannot add up along axis 2",
                                      "cannot add up along axis 2",
                                      "not known to be 0",
                                      "time is axis 2 of x",
                                      "cannot concatenate along",
                                      "cannot interleave along",
                                      "cannot keep what is computed along",
                                      "not known to be 0",
                                      "cannot add up along axis 2",
                                      "output 'y'"};
    for (int i = 0; i < 12; i++) {
        weft_val x;
        weft_ctx *c = weft_open(NULL);
        weft_graph *g = new_graph(c, &x);
        assert_true(refused(c, g, wrong_product(g, x, i), why[i]));
    }
}

/* Masked probabilities may be scaled, weighted and combined as long as what is masked stays 0. */
static void test_masked_keys(void **state)
{
    (void)state;
    const weft_type mix = weft_type_make(WEFT_F32, 2, (int64_t[]){T, T});
    for (int i = 0; i < 6; i++) {
        weft_val x;
        weft_ctx *c = weft_open(NULL);
        weft_graph *g = new_graph(c, &x);
        weft_val m = weft_graph_state(g, "m", &mix, "normal(1)", true);
        weft_val s = EMIT(g, "matmul", "tb=1", x, EMIT(g, "tanh", "", x));
        weft_val p = EMIT(g, "causal_softmax", "", EMIT(g, "add", "", s, m));
        weft_val q = EMIT(g, "causal_softmax", "", EMIT(g, "scale", "alpha=0.3", s));
        if (i == 0) /* differential attention */
            p = EMIT(g, "sub", "", p, EMIT(g, "scale", "alpha=0.8", q));
        else if (i == 1) /* a table of weights by pair of positions */
            p = EMIT(g, "mul", "", EMIT(g, "relu", "", p), m);
        else if (i == 2) /* scores themselves, masked and not normalised */
            p = EMIT(g, "mul", "", s, EMIT(g, "div", "", p, m));
        else if (i == 3) /* of the masked row, every op may see all of it */
            p = EMIT(g, "softmax", "", EMIT(g, "sum", "axis=-1 keep=1", p));
        else if (i == 4) /* masked where it does not depend on the text */
            p = EMIT(g, "mul", "", s,
                     EMIT(g, "causal_softmax", "",
                          EMIT(g, "mul", "", m, EMIT(g, "mean", "axis=-1 keep=1", x))));
        else /* by way of other shapes */
            p = EMIT(
                g, "reshape", "dims=2,6,6",
                EMIT(g, "transpose", "perm=1,0,2,3", EMIT(g, "broadcast_to", "dims=1,2,6,6", p)));
        finish(c, g, i == 3 ? EMIT(g, "mul", "", p, x) : EMIT(g, "matmul", "", p, x), 1);
    }
}

/* Names of a model are free: "pos" and "cache" are not taken by what decoding adds. */
static void test_names_of_a_model(void **state)
{
    (void)state;
    weft_val x;
    weft_ctx *c = weft_open(NULL);
    weft_graph *g = new_graph(c, &x);
    const weft_type rows = weft_type_make(WEFT_F32, 2, (int64_t[]){T, 4});
    weft_val y = EMIT(g, "add", "", x, weft_graph_state(g, "pos", &rows, "normal(1)", true));
    weft_val k = EMIT(g, "tanh", "", y);
    weft_graph_name(g, k, "cache");
    weft_val p = EMIT(g, "causal_softmax", "", EMIT(g, "matmul", "tb=1", y, k));
    finish(c, g, EMIT(g, "matmul", "", p, k), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shape_ops),
                                       cmocka_unit_test(test_sums),
                                       cmocka_unit_test(test_sparse_rows),
                                       cmocka_unit_test(test_tables_by_position),
                                       cmocka_unit_test(test_attention_with_cache),
                                       cmocka_unit_test(test_interleaved),
                                       cmocka_unit_test(test_gpt2),
                                       cmocka_unit_test(test_steered),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_keys_refused),
                                       cmocka_unit_test(test_products_refused),
                                       cmocka_unit_test(test_masked_keys),
                                       cmocka_unit_test(test_names_of_a_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
