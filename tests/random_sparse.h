/* random_sparse.h - patterns of k-sparse rows for random graphs; included by random_patterns.h. */
#ifndef TESTS_RANDOM_SPARSE_H
#define TESTS_RANDOM_SPARSE_H

static weft_val emit_n(maker *m, const char *op, weft_val v, const char *attr, int64_t n)
{
    char text[64];
    snprintf(text, sizeof text, "%s=%lld", attr, (long long)n);
    return emit(m, op, text, v, NO, NO);
}

/* Rows [3,n], of which k numbers each are not zero, changed on the way. */
static weft_val sparse_rows(maker *m, int64_t n, int64_t k)
{
    static const char *const way[][2] = {{"relu", ""},          {"abs", ""},
                                         {"neg", ""},           {"scale", "alpha=0.7"},
                                         {"stop_gradient", ""}, {"scale", "beta=0.1"}};
    weft_val z = source(m, WEFT_F32, 2, (int64_t[]){3, n});
    z = emit_n(m, "topk_mask", z, "k", k);
    for (int i = pick(m, 3); i > 0; i--) {
        int w = pick(m, 6);
        z = emit(m, way[w][0], way[w][1], z, NO, NO);
    }
    return z;
}

/* Products with matrices of both layouts, on both sides. */
static void sparse_products(maker *m)
{
    int64_t n = 2 + pick(m, 8), d = 1 + pick(m, 9);
    weft_val z = sparse_rows(m, n, 1 + pick(m, (int)n));
    bool tb = often(m, 50), first = often(m, 50);
    weft_val w = source(m, WEFT_F32, 2, (int64_t[]){tb ? d : n, tb ? n : d});
    weft_val bias = often(m, 50) ? source(m, WEFT_F32, 1, &d) : NO;
    static const char *const attrs[] = {"", "tb=1", "alpha=0.3", "tb=1 alpha=0.3"};
    emit(m, "matmul", attrs[tb + 2 * often(m, 30)], z, w, bias);
    weft_val y = source(m, WEFT_F32, 2, (int64_t[]){3, d});
    emit(m, "matmul", often(m, 70) ? "ta=1" : "ta=1 alpha=0.3", first ? z : y, first ? y : z, NO);
}

/* The largest of products among what is not zero, and products of which a few are asked for. */
static void sparse_labels(maker *m)
{
    int64_t n = 2 + pick(m, 8), d = 1 + pick(m, 9), k = 1 + pick(m, (int)n);
    weft_val z = sparse_rows(m, n, k), x = source(m, WEFT_F32, 2, (int64_t[]){3, d});
    bool tb = often(m, 50);
    weft_val w = source(m, WEFT_F32, 2, (int64_t[]){tb ? n : d, tb ? d : n});
    weft_val p = emit(m, "matmul", tb ? "tb=1" : "alpha=0.9", x, w, NO);
    char text[32];
    snprintf(text, sizeof text, "k=%d", 1 + pick(m, (int)n));
    weft_val score = often(m, 50) ? emit(m, "mul", "", p, z, NO)
                                  : emit(m, "mul", "", p, source(m, WEFT_F32, 1, &n), NO);
    emit(m, "topk", text, score, often(m, 70) ? z : NO, NO);
    weft_val at = source(m, WEFT_I32, 2, (int64_t[]){3, 2});
    weft_val q = source(m, WEFT_F32, 2, (int64_t[]){3, n});
    p = emit(m, "matmul", tb ? "tb=1 alpha=0.6" : "", x, w, NO);
    emit(m, "gather", "", often(m, 50) ? emit(m, "mul", "", p, q, NO) : p, at, NO);
}

/* Logits that a loss and a selection read, and maybe something else. */
static void sparse_head(maker *m)
{
    int64_t n = 2 + pick(m, 8), d = 1 + pick(m, 9);
    weft_val x = source(m, WEFT_F32, 2, (int64_t[]){3, d});
    weft_val w = source(m, WEFT_F32, 2, (int64_t[]){n, d});
    weft_val bias = often(m, 50) ? source(m, WEFT_F32, 1, &n) : NO;
    weft_val z = emit(m, "matmul", "tb=1", x, w, bias);
    weft_val labels = source(m, WEFT_I32, 2, (int64_t[]){3, 2});
    bool first = often(m, 50);
    if (first)
        emit(m, "cross_entropy", "", z, labels, NO);
    weft_val top = emit_n(m, "topk", z, "k", 1 + pick(m, (int)n));
    emit(m, "tanh", "", top, NO, NO);
    if (!first)
        emit(m, "cross_entropy", "ignore=1", z, labels, NO);
    if (often(m, 15))
        emit(m, "tanh", "", z, NO, NO);
}

/* The ops on pairs themselves. */
static void sparse_pairs(maker *m)
{
    int64_t n = 2 + pick(m, 8), d = 1 + pick(m, 9), pairs[] = {3, 1 + pick(m, 4)};
    weft_val v = source(m, WEFT_F32, 2, pairs), at = source(m, WEFT_I32, 2, pairs);
    weft_val x = source(m, WEFT_F32, 2, (int64_t[]){3, d});
    weft_val w = source(m, WEFT_F32, 2, (int64_t[]){n, d});
    char text[32];
    snprintf(text, sizeof text, "k=%d n=%d", 1 + pick(m, (int)n), (int)n);
    emit(m, "sparse_topk", text, v, at, often(m, 50) ? v : NO);
    emit(m, "sparse_matmul", "", v, at, w);
    emit(m, "sparse_dot", "tb=1", x, w, at);
    snprintf(text, sizeof text, "tb=%d n=%d", often(m, 50), (int)n);
    weft_val dw = emit(m, "sparse_outer", text, v, at, x);
    emit(m, "add", "", dw, emit(m, "sparse_outer", text, v, at, emit(m, "tanh", "", x, NO, NO)),
         NO);
}

/* Row by row: what stays sparse, and what comes to dense rows. */
static void sparse_rowwise(maker *m)
{
    int64_t n = 3 + pick(m, 8), k = 1 + pick(m, 3);
    weft_val z = sparse_rows(m, n, k), x = source(m, WEFT_F32, 2, (int64_t[]){3, n});
    weft_val row = source(m, WEFT_F32, 1, &n), other = sparse_rows(m, n, 1 + pick(m, 2));
    switch (pick(m, 12)) {
    case 0:
        emit(m, "mul", "", often(m, 50) ? x : row, z, NO);
        break;
    case 1:
        emit(m, "add", "", z, often(m, 50) ? emit(m, "mul", "", z, x, NO) : other, NO);
        break;
    case 2:
        emit(m, "add", "", x, z, NO);
        break;
    case 3:
        emit(m, "slice", "axis=0 from=1", z, NO, NO);
        break;
    case 4:
        emit_n(m, "sum_to", z, "dims", n);
        break;
    case 5:
        emit(m, "relu_grad", "", z, often(m, 50) ? x : other, NO);
        break;
    case 6:
        emit(m, "above", "limit=0.2", z, NO, NO);
        break;
    case 7:
        emit(m, often(m, 50) ? "sum" : "mean", often(m, 50) ? "axis=-1" : "axis=0,1 keep=1", z, NO,
             NO);
        break;
    case 8: /* more often: it is alive only where it is fetched */
    case 9:
    case 10: {
        weft_type t = weft_type_make(WEFT_I32, 1, &n);
        char name[32];
        snprintf(name, sizeof name, "count%d", m->made++);
        emit(m, "idle_count", "", weft_graph_state(m->g, name, &t, "zeros", false), z, NO);
        break;
    }
    default: {
        weft_val top = emit_n(m, "topk", x, "k", k), at = nth(m, top, 1);
        char text[32];
        snprintf(text, sizeof text, "n=%d", (int)n);
        weft_val y = emit(m, "scatter", text, emit(m, "exp", "", top, NO, NO), at, NO);
        emit(m, "gather", "", y, often(m, 80) ? at : source(m, WEFT_I32, 2, (int64_t[]){3, 2}), NO);
    }
    }
}

#endif
