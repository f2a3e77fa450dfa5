/* rewrite.h - what the tests of rewriting share: building graphs and the patterns of the fusing
 * rules. */
#ifndef TESTS_REWRITE_H
#define TESTS_REWRITE_H

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

/* ---- helpers ----------------------------------------------------------------------------- */
static weft_ctx *ctx;

static __attribute__((unused)) int setup(void **state)
{
    (void)state;
    ctx = weft_open(&(weft_options){.threads = 2});
    return !ctx;
}

static __attribute__((unused)) int teardown(void **state)
{
    (void)state;
    weft_close(ctx);
    return 0;
}

static __attribute__((unused)) void ok(weft_status s)
{
    if (s)
        fail_msg("%s", weft_error(ctx));
}

static __attribute__((unused)) weft_val input(weft_graph *g, const char *name, weft_dtype t,
                                              int rank, int64_t a, int64_t b, int64_t c)
{
    weft_type type = weft_type_make(t, rank, (int64_t[]){a, b, c});
    return weft_graph_input(g, name, &type);
}

static __attribute__((unused)) weft_val weight(weft_graph *g, const char *name, int rank, int64_t a,
                                               int64_t b)
{
    weft_type type = weft_type_make(WEFT_F32, rank, (int64_t[]){a, b});
    return weft_graph_state(g, name, &type, "normal(0.5)", true);
}

#define EMIT(g, op, attrs, ...)                                                                    \
    weft_graph_emit(g, op, (weft_val[]){__VA_ARGS__},                                              \
                    (int)(sizeof((weft_val[]){__VA_ARGS__}) / sizeof(weft_val)), "%s", attrs)

static __attribute__((unused)) weft_val nth(const weft_graph *g, weft_val v, int i)
{
    return g->node[g->value[v].node].out[i];
}

static __attribute__((unused)) int count(const weft_graph *g, const char *op)
{
    int n = 0;
    for (int i = 0; i < g->n_node; i++)
        n += !strcmp(g->node[i].op->name, op);
    return n;
}

/* ---- attention --------------------------------------------------------------------------- */
enum { SEEN = 1, NO_MASK = 2, ALPHA_2 = 4, DROPOUT = 8, SHUFFLED = 16, BIAS = 32, FIRST = 64 };

/* The layers of gpt2.txtpb from the packed projection to the merged heads, with deviations. */
static __attribute__((unused)) weft_graph *attention_graph(int64_t b, int64_t t, int64_t heads,
                                                           int64_t d, int how)
{
    char attrs[128];
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 3, b, t, 3 * heads * d);
    snprintf(attrs, sizeof attrs, "n_head=%d", (int)heads);
    weft_val q = EMIT(g, "split_heads", attrs, x), k = nth(g, q, 1), v = nth(g, q, 2);
    snprintf(attrs, sizeof attrs, "tb=1 alpha=%.17g", 1 / sqrt((double)d));
    weft_val s = EMIT(g, "matmul", attrs, q, how & SHUFFLED ? v : k);
    if (how & BIAS) {
        weft_val bias = weight(g, "bias", 1, t, 0);
        s = EMIT(g, "matmul", attrs, q, k, bias);
    }
    weft_val p = EMIT(g, how & NO_MASK ? "softmax" : "causal_softmax", "", s);
    p = EMIT(g, "dropout", how & DROPOUT ? "p=0.25" : "p=0", p);
    weft_val o = EMIT(g, "matmul", how & ALPHA_2 ? "alpha=2" : "", p, how & SHUFFLED ? k : v);
    ok(weft_graph_output(g, "y", EMIT(g, "merge_heads", "", o)));
    if (how & SEEN)
        ok(weft_graph_output(g, "p", p));
    if (how & FIRST)
        ok(weft_graph_output(g, "s", s));
    return g;
}

/* ---- linear cross-entropy ---------------------------------------------------------------- */
static __attribute__((unused)) weft_graph *head_graph(bool logits_seen, const char *attrs, bool nll)
{
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 3, 2, 5, 8), w = weight(g, "w", 2, 11, 8);
    weft_val targets = input(g, "targets", WEFT_I32, 2, 2, 5, 0);
    weft_val z = EMIT(g, "matmul", attrs, x, w);
    weft_val loss = EMIT(g, "cross_entropy", "ignore=-7", z, targets);
    if (nll)
        ok(weft_graph_output(g, "nll", nth(g, loss, 1)));
    ok(weft_graph_output(g, "loss", loss));
    if (logits_seen)
        ok(weft_graph_output(g, "logits", z));
    return g;
}

/* The same with a bias and three classes of each row. */
static __attribute__((unused)) weft_graph *labels_graph(int64_t rows)
{
    weft_graph *g = weft_graph_new(ctx);
    weft_val z = EMIT(g, "matmul", "tb=1", input(g, "x", WEFT_F32, 2, rows, 8, 0),
                      weight(g, "w", 2, 11, 8), weight(g, "b", 1, 11, 0));
    weft_val t = input(g, "targets", WEFT_I32, 2, rows, 3, 0);
    ok(weft_graph_output(g, "loss", EMIT(g, "cross_entropy", "ignore=-7", z, t)));
    return g;
}

#endif
