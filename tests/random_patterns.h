/* random_patterns.h - what rewrite rules look for, strewn into the graphs of
 * test_random_rewrite.c. */
#ifndef TESTS_RANDOM_PATTERNS_H
#define TESTS_RANDOM_PATTERNS_H

/* ---- patterns ---- */
static weft_val emit(maker *m, const char *op, const char *attrs, weft_val a, weft_val b,
                     weft_val c)
{
    weft_val in[] = {a, b, c};
    weft_val v = weft_graph_emit(m->g, op, in, a < 0 ? 0 : b < 0 ? 1 : c < 0 ? 2 : 3, "%s", attrs);
    if (v < 0)
        fail_msg("a pattern is wrong: %s", weft_error(ctx));
    return v;
}

#define NO WEFT_NONE

static weft_val nth(const maker *m, weft_val v, int i)
{
    return m->g->node[m->g->value[v].node].out[i];
}

static weft_val a_float(maker *m)
{
    for (;;) {
        weft_val v = pick(m, m->g->n_value);
        if (m->g->value[v].type.dtype == WEFT_F32)
            return v;
    }
}

static const char *dims_of(const maker *m, weft_val v, char *out)
{
    const weft_type *t = &m->g->value[v].type;
    int k = sprintf(out, "dims=");
    for (int i = 0; i < t->rank; i++)
        k += sprintf(out + k, "%s%lld", i ? "," : "", (long long)t->dim[i]);
    return out;
}

/* Nodes that compute their own input, or nearly do. */
static void identity(maker *m)
{
    static const char *const one[][2] = {{"scale", ""}, {"cast", "to=f32"}, {"dropout", "p=0"}};
    static const char *const two[] = {"add", "sub", "mul", "div"};
    static const char *const sized[] = {"sum_to", "broadcast_to", "reshape"};
    static const char *const axis[][2] = {{"concat", "axis=0"},
                                          {"slice", "axis=0 to=%lld"},
                                          {"slice_grad", "axis=0 to=%lld size=%lld"}};
    char text[160];
    weft_val x = a_float(m), c = emit(m, "fill", often(m, 60) ? "value=1" : "value=0", NO, NO, NO);
    long long first = (long long)m->g->value[x].type.dim[0];
    int k = pick(m, 3), which = pick(m, m->g->value[x].type.rank ? 4 : 3);
    if (which == 0) {
        emit(m, one[k][0], one[k][1], x, NO, NO);
    } else if (which == 1) {
        k = pick(m, 4);
        bool swap = k % 2 == 0 && often(m, 50);
        emit(m, two[k], "", swap ? c : x, swap ? x : c, NO);
    } else if (which == 2) {
        emit(m, sized[k], dims_of(m, x, text), x, NO, NO);
    } else {
        snprintf(text, sizeof text, axis[k][1], first, first);
        emit(m, axis[k][0], text, x, NO, NO);
    }
}

/* Two permutations that do not commute on rank 3: the axes turned round, and the last two
 * exchanged. */
static void turned(maker *m)
{
    weft_val x = source(m, WEFT_F32, 3, (int64_t[]){a_size(m), a_size(m), a_size(m)});
    weft_val y = emit(m, "transpose", "perm=1,2,0", x, NO, NO);
    emit(m, "transpose", often(m, 50) ? "perm=0,-1,1" : "perm=-1,0,1", y, NO, NO);
}

static void views(maker *m)
{
    char dims[128];
    weft_val x = a_float(m);
    if (often(m, 50))
        emit(m, "reshape", dims_of(m, x, dims),
             often(m, 70) ? emit(m, "reshape", "dims=-1", x, NO, NO) : x, NO, NO);
    else
        emit(m, "transpose", "", often(m, 70) ? emit(m, "transpose", "", x, NO, NO) : x, NO, NO);
    if (m->g->value[x].type.rank == 1)
        emit(m, "transpose", "perm=0", x, NO, NO);
}

static void attention(maker *m)
{
    char text[64];
    int64_t heads = 1 + pick(m, 3),
            dim[] = {a_size(m), a_size(m) + pick(m, 9), 3 * heads * (1 + pick(m, 9))};
    weft_val x = source(m, WEFT_F32, 3, dim);
    snprintf(text, sizeof text, "n_head=%d", (int)heads);
    weft_val q = emit(m, "split_heads", text, x, NO, NO);
    weft_val s = emit(m, "matmul", "tb=1 alpha=0.4", q, nth(m, q, 1), NO);
    weft_val p = emit(m, "causal_softmax", "", s, NO, NO);
    if (often(m, 50))
        p = emit(m, "dropout", often(m, 50) ? "p=0" : "p=0.3", p, NO, NO);
    emit(m, "merge_heads", "", emit(m, "matmul", "", p, nth(m, q, 2), NO), NO, NO);
}

static void head(maker *m)
{
    char text[64];
    int64_t rows = 1 + pick(m, 7), width = 1 + pick(m, 9), classes = 2 + pick(m, 9);
    weft_val x = source(m, WEFT_F32, 2, (int64_t[]){rows, width});
    weft_val w = source(m, WEFT_F32, 2, (int64_t[]){classes, width});
    weft_val b = often(m, 50) ? source(m, WEFT_F32, 1, &classes) : NO;
    weft_val t = source(m, WEFT_I32, 1 + pick(m, 2), (int64_t[]){rows, 1 + pick(m, 3)});
    emit(m, "cross_entropy", often(m, 50) ? "ignore=1" : "", emit(m, "matmul", "tb=1", x, w, b), t,
         NO);
    for (int i = pick(m, 3); i > 0; i--) {
        snprintf(text, sizeof text, "dx=%d dw=%d", pick(m, 2), pick(m, 2));
        emit(m, "linear_cross_entropy", text, x, w, t);
    }
}

static void tied_table(maker *m)
{
    int64_t n = 1 + pick(m, 5), dim[] = {n, a_size(m)}, table[] = {2 + pick(m, 4), dim[1]};
    char text[32];
    weft_val dy = source(m, WEFT_F32, 2, dim), ids = source(m, WEFT_I32, 1, &n);
    weft_val z = emit(m, "tanh", "", source(m, WEFT_F32, 2, table), NO, NO);
    snprintf(text, sizeof text, "rows=%d", (int)table[0]);
    emit(m, "add", "", emit(m, "embedding_grad", text, dy, ids, NO), z, NO);
}

/* Rows that a slice drops, behind ops that compute each row by itself, and behind attention. */
static void dead_rows(maker *m)
{
    char text[96];
    int64_t b = 1 + pick(m, 2), t = 2 + pick(m, 7), heads = 1 + pick(m, 2),
            d = heads * (1 + pick(m, 5));
    int from = pick(m, 2), how = pick(m, 6);
    weft_val x = source(m, WEFT_F32, 3, (int64_t[]){b, t, d}), y = x;
    weft_val w = source(m, WEFT_F32, 2, (int64_t[]){d, d}), v = source(m, WEFT_F32, 1, &d);
    weft_val row = source(m, WEFT_F32, 3, (int64_t[]){b, 1, d});
    for (int i = 0; i < 1 + how; i++) {
        weft_val more[] = {x, row, v};
        int k = pick(m, 6);
        if (k == 5)
            y = emit(m, "dropout", "p=0.3", y, NO, NO);
        else if (k == 0)
            y = emit(m, "matmul", "", y, w, often(m, 50) ? v : NO);
        else if (k == 1)
            y = emit(m, "layer_norm", "", y, v, v);
        else if (k == 2)
            y = emit(m, often(m, 50) ? "add" : "mul", "", more[pick(m, 3)], y, NO);
        else if (k == 3)
            y = emit(m, "gelu", "", y, NO, NO);
        else {
            weft_val w3 = source(m, WEFT_F32, 2, (int64_t[]){d, 3 * d});
            snprintf(text, sizeof text, "n_head=%d scale=0.6", (int)heads);
            bool drop = often(m, 30);
            if (drop)
                strcat(text, " p=0.2");
            y = emit(m, drop ? "attention_dropout" : "attention", text,
                     emit(m, "matmul", "", y, w3, NO), NO, NO);
            if (often(m, 20))
                break;
        }
    }
    snprintf(text, sizeof text, "axis=%d from=%d step=%d", often(m, 90) ? 1 : -2, from,
             1 + pick(m, 3));
    y = emit(m, "slice", text, y, NO, NO);
    if (often(m, 30))
        emit(m, "slice", "axis=1 to=1", y, NO, NO);
}

/* A node that is there already, once more. */
static void twin(maker *m)
{
    if (!m->g->n_node)
        return;
    weft_node n = m->g->node[pick(m, m->g->n_node)];
    if (!(n.op->flags & WEFT_EFFECT))
        weft_graph_append(m->g, n.op, n.in, n.n_in, n.attr, NULL);
}

/* Halves of one axis put together turn by turn, and taken apart again. */
static void turn_by_turn(maker *m)
{
    char text[64];
    int64_t dim[] = {a_size(m), 2 * a_size(m), a_size(m)};
    int axis = pick(m, 3), from = pick(m, 2);
    weft_val y = emit(m, "interleave",
                      axis == 0   ? "axis=0"
                      : axis == 1 ? "axis=-2"
                                  : "axis=2",
                      source(m, WEFT_F32, 3, dim), source(m, WEFT_F32, 3, dim), NO);
    snprintf(text, sizeof text, "axis=%d from=%d step=2", axis, from);
    emit(m, "slice", text, y, NO, NO);
    weft_val half = source(m, WEFT_F32, 3, dim), parts[2];
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, "axis=1 from=%d step=2 size=%d", i, (int)(2 * dim[1]));
        parts[i] = emit(m, "slice_grad", text, half, NO, NO);
    }
    emit(m, "add", "", parts[from], parts[!from], NO);
}

#include "tests/random_sparse.h"

static void (*const patterns[])(maker *) = {
    identity,      identity,       views,        turned,     attention, head,
    tied_table,    turn_by_turn,   dead_rows,    dead_rows,  twin,      sparse_products,
    sparse_labels, sparse_rowwise, sparse_pairs, sparse_head};

#endif
