/* test_fused.c - fused ops: their values and gradients are those of the plain graph, their bits
 * those of one thread. */
#include "ops/attention_kernel.h"
#include "tests/rewrite.h"

/* ---- values: fused against plain, forward and all gradients ---- */
typedef struct {
    weft_session *s;
    weft_program *p;
} compiled;

static compiled compile(const weft_graph *g, bool reference, bool plain, const char *const *fetch,
                        int n)
{
    compiled c;
    ok(weft_session_new(ctx, reference, &c.s));
    ok(weft_program_compile(c.s, g, fetch, n,
                            &(weft_compile_options){.train = true, .no_rewrite = plain}, &c.p));
    ok(weft_session_init(c.s, 7));
    return c;
}

static void feed(weft_program *p, const char *name, int classes)
{
    weft_type t;
    void *data = weft_program_input(p, name, &t);
    assert_non_null(data);
    for (int64_t i = 0; i < weft_type_count(&t); i++) {
        uint32_t r[4];
        weft_random4(r, 5, 1, (uint32_t)strlen(name), (uint64_t)i);
        double u = (double)r[0] / 4294967296.0;
        if (t.dtype == WEFT_F32)
            ((float *)data)[i] = (float)(4 * u - 2);
        else if (t.dtype == WEFT_F64)
            ((double *)data)[i] = (float)(4 * u - 2);
        else
            ((int32_t *)data)[i] =
                i % 6 == 4 ? -7 : (int32_t)(u * classes); /* -7: a row to ignore */
    }
}

static void feed_all(weft_program *p, const weft_graph *g, int classes)
{
    static const char *const names[] = {"x", "cotangent", "targets"};
    for (int i = 0; i < 3; i++)
        if (weft_graph_find(g, names[i]) >= 0)
            feed(p, names[i], classes);
    int64_t *rng = weft_program_input(p, "rng", NULL);
    if (rng)
        memcpy(rng, (int64_t[]){11, 3}, 2 * sizeof *rng);
}

static double fetched(weft_program *p, const char *name, int64_t i)
{
    weft_type t;
    const void *data = weft_program_output(p, name, &t);
    assert_non_null(data);
    return t.dtype == WEFT_F64 ? ((const double *)data)[i] : ((const float *)data)[i];
}

/* Relative L2 distance, and that there is something to compare. */
static double distance(weft_program *a, weft_program *b, const char *name)
{
    weft_type t;
    double diff = 0, norm = 0;
    int64_t zeros = 0;
    weft_program_output(a, name, &t);
    for (int64_t i = 0; i < weft_type_count(&t); i++) {
        double x = fetched(a, name, i), y = fetched(b, name, i);
        diff += (x - y) * (x - y);
        norm += y * y;
        zeros += y == 0;
    }
    assert_true(norm > 0 && isfinite(norm) && 10 * zeros <= 9 * weft_type_count(&t));
    return sqrt(diff / norm);
}

/* g rewritten before differentiation against g plain; loss = sum of outputs `y` weighted, or the
 * output "loss". */
static void differentiate(const weft_graph *g, bool plain, weft_graph **out)
{
    weft_graph *h;
    ok(weft_graph_rewrite(g, &(weft_rewrite_options){.train = true, .no_rewrite = plain}, &h,
                          NULL));
    weft_val loss = weft_graph_find_output(h, "loss"), xs[3], d[3];
    if (loss < 0) {
        weft_val y = weft_graph_find_output(h, "y");
        weft_val r = weft_graph_input(h, "cotangent", &h->value[y].type);
        loss = EMIT(h, "sum", "", EMIT(h, "mul", "", y, r));
        loss = EMIT(h, "reshape", "dims=", loss);
        ok(weft_graph_output(h, "loss", loss));
    }
    int n = 0;
    xs[n++] = weft_graph_find(h, "x");
    if (weft_graph_find(h, "w") >= 0)
        xs[n++] = weft_graph_find(h, "w");
    if (weft_graph_find(h, "b") >= 0)
        xs[n++] = weft_graph_find(h, "b");
    ok(weft_graph_gradient(h, loss, xs, n, d));
    for (int i = 0; i < n; i++)
        ok(weft_graph_output(h, ((const char *[]){"dx", "dw", "db"})[i], d[i]));
    *out = h;
}

/* Fused, plain, and, for graphs of moderate size, the references of both. */
static void compare(weft_graph *g, const char *fused, const char *const *names, int n, int classes,
                    bool reference)
{
    weft_graph *h[2];
    weft_program *p[4];
    weft_session *s[4];
    int ways = reference ? 4 : 2;
    for (int i = 0; i < 2; i++) {
        differentiate(g, i, &h[i]);
        assert_int_equal(count(h[i], fused) > 0, !i);
    }
    for (int i = 0; i < ways; i++) {
        compiled c = compile(h[i % 2], i / 2, i % 2, names, n);
        s[i] = c.s;
        p[i] = c.p;
        feed_all(p[i], h[0], classes);
        ok(weft_program_run(p[i]));
    }
    for (int i = 0; i < n; i++) {
        /* f32: a hundred roundings in random directions at most, or, without a reference, sums of
         * 65600 products in two orders; f64: the same in double. */
        double f32 = distance(p[0], p[ways - 1], names[i]),
               f64 = reference ? distance(p[2], p[3], names[i]) : 0;
        if (f32 > (reference ? 2e-6 : 1e-5) || f64 > 1e-13)
            fail_msg("%s of %s: %g from the plain graph in f32, %g in f64", names[i], fused, f32,
                     f64);
    }
    for (int i = 0; i < ways; i++)
        weft_session_free(s[i]);
    weft_graph_free(h[0]);
    weft_graph_free(h[1]);
    weft_graph_free(g);
}

static void test_attention_values(void **state)
{
    (void)state;
    static const char *const names[] = {"y", "dx"};
    static const int64_t sizes[][4] = {{2, 33, 3, 8},  {1, 1, 2, 5},   {1, 130, 2, 67},
                                       {3, 64, 1, 16}, {1, 97, 2, 78}, {1, 200, 1, 131}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        compare(attention_graph(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], 0), "attention",
                names, 2, 0, true);
}

/* The zeros are those that the plain op draws: another one would be a difference of some percent.
 * Rows of a multiple of 64 probabilities begin where a block of random words does, others do not.
 */
static void test_attention_dropout_values(void **state)
{
    (void)state;
    static const char *const names[] = {"y", "dx"};
    static const int64_t sizes[][4] = {
        {2, 33, 3, 8}, {3, 64, 2, 16}, {2, 130, 2, 67}, {2, 192, 3, 5}, {1, 200, 1, 131}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        compare(attention_graph(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], DROPOUT),
                "attention_dropout", names, 2, 0, true);
}

static void test_linear_cross_entropy_values(void **state)
{
    (void)state;
    static const char *const names[] = {"loss", "dx", "dw"};
    compare(head_graph(false, "tb=1", false), "linear_cross_entropy", names, 3, 11, true);
}

/* Three classes a row, some ignored, some twice; and a bias. */
static void test_linear_cross_entropy_labels(void **state)
{
    (void)state;
    static const char *const names[] = {"loss", "dx", "dw", "db"};
    compare(labels_graph(10), "linear_cross_entropy", names, 4, 11, true);
    compare(labels_graph(500), "linear_cross_entropy", names, 4, 11, true);
}

/* Logits that something else reads are not fused away: then they and their gradient are one array.
 * The rest is small: rows of 16, a gradient of [4096, 16], partial sums for the bias. */
static void test_logits_in_place(void **state)
{
    (void)state;
    const char *fetch[] = {"dx", "dw", "db"};
    const size_t logits = 1024 * 4096 * sizeof(float);
    weft_graph *g = weft_graph_new(ctx), *h;
    weft_val x = input(g, "x", WEFT_F32, 2, 1024, 16, 0), w = weight(g, "w", 2, 4096, 16);
    weft_val z = EMIT(g, "matmul", "tb=1", x, w, weight(g, "b", 1, 4096, 0));
    weft_val t = input(g, "targets", WEFT_I32, 2, 1024, 4, 0);
    weft_val at = EMIT(g, "argmax", "keep=1", z);
    weft_val best = EMIT(g, "mean", "", EMIT(g, "gather", "", z, at));
    ok(weft_graph_output(g, "loss",
                         EMIT(g, "add", "", best, EMIT(g, "cross_entropy", "ignore=-7", z, t))));
    differentiate(g, false, &h);
    compiled c = compile(h, false, false, fetch, 3);
    assert_int_equal(count(c.p->graph, "linear_cross_entropy"), 0);
    assert_true(c.p->plan_bytes > logits && c.p->plan_bytes < logits + logits / 2);
    feed_all(c.p, h, 4096);
    ok(weft_program_run(c.p));
    weft_session_free(c.s);
    weft_graph_free(h);
    weft_graph_free(g);
}

static weft_graph *classes_graph(int64_t rows, int64_t classes)
{
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 2, rows, 3, 0), w = weight(g, "w", 2, classes, 3);
    weft_val z = EMIT(g, "matmul", "tb=1", x, w, weight(g, "b", 1, classes, 0));
    weft_val t = input(g, "targets", WEFT_I32, 1, rows, 0, 0);
    ok(weft_graph_output(g, "loss", EMIT(g, "cross_entropy", "ignore=-7", z, t)));
    return g;
}

/* Several chunks with a smaller last one: 600 rows of 65600 classes are chunks of 208, 208 and 184
 * rows. 65600 classes are 256 panels of 256 and one of 64. */
static void test_linear_cross_entropy_chunks(void **state)
{
    (void)state;
    static const char *const names[] = {"loss", "dx", "dw", "db"};
    compare(classes_graph(1100, 700), "linear_cross_entropy", names, 4, 700,
            false); /* 560 rows, 540 */
    compare(classes_graph(40, 65600), "linear_cross_entropy", names, 4, 65600, false);
}

/* ---- gradient(...) nodes: fused before they are replaced, where that changes no derivative ----
 */
/* A layer with attention; the output is the gradient of its loss by `by` ("qkv", "q", "p" or "y").
 */
static weft_graph *label_graph(const char *by)
{
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 3, 2, 9, 10), w = weight(g, "w", 2, 10, 36);
    weft_val qkv = EMIT(g, "matmul", "", x, w), q = EMIT(g, "split_heads", "n_head=3", qkv);
    weft_val s = EMIT(g, "matmul", "tb=1 alpha=0.5", q, nth(g, q, 1)),
             p0 = EMIT(g, "causal_softmax", "", s);
    weft_val p = EMIT(g, "dropout", "p=0", p0);
    weft_val y = EMIT(g, "merge_heads", "", EMIT(g, "matmul", "", p, nth(g, q, 2)));
    weft_val loss = EMIT(
        g, "reshape", "dims=", EMIT(g, "sum", "", EMIT(g, "mul", "", y, EMIT(g, "tanh", "", y))));
    weft_val of = !strcmp(by, "qkv") ? qkv : !strcmp(by, "q") ? q : !strcmp(by, "p") ? p : y;
    ok(weft_graph_output(g, "label", EMIT(g, "gradient", "", loss, of)));
    return g;
}

static void test_gradient_nodes(void **state)
{
    (void)state;
    static const struct {
        const char *by;
        int fused;
    } cases[] = {{"qkv", 1}, {"y", 0}, {"q", 0}, {"p", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_graph *g = label_graph(cases[i].by);
        const char *name = "label";
        compiled a = compile(g, true, false, &name, 1), b = compile(g, true, true, &name, 1);
        assert_int_equal(count(a.p->graph, "attention_grad"), cases[i].fused);
        feed(a.p, "x", 0);
        feed(b.p, "x", 0);
        ok(weft_program_run(a.p));
        ok(weft_program_run(b.p));
        if (distance(a.p, b.p, name) > 1e-13) /* both in double */
            fail_msg("gradient by %s: %g", cases[i].by, distance(a.p, b.p, name));
        weft_session_free(a.s);
        weft_session_free(b.s);
        weft_graph_free(g);
    }
}

/* x = dropout(h, p=0) and h are one value, but the derivative by x does not count the other path
 * through h. */
static void test_gradient_by_one_path(void **state)
{
    (void)state;
    weft_graph *g = weft_graph_new(ctx);
    weft_val h = EMIT(g, "exp", "", input(g, "x", WEFT_F32, 1, 6, 0, 0)),
             x = EMIT(g, "dropout", "p=0", h);
    weft_val y = EMIT(g, "add", "", EMIT(g, "mul", "", x, x), EMIT(g, "scale", "alpha=100", h));
    weft_val loss = EMIT(g, "reshape", "dims=", EMIT(g, "sum", "", y));
    ok(weft_graph_output(g, "label", EMIT(g, "gradient", "", loss, x)));
    for (int train = 0; train < 2; train++) { /* outside training every dropout vanishes */
        const char *name = "label";
        compiled c = compile(g, false, false, &name, 1);
        ok(weft_program_compile(c.s, g, &name, 1, &(weft_compile_options){.train = train}, &c.p));
        feed(c.p, "x", 0);
        ok(weft_program_run(c.p));
        for (int i = 0; i < 6; i++) /* 2 x = 2 exp(u) with |u| <= 2: without the 100 */
            assert_true(fetched(c.p, name, i) < 15);
        weft_session_free(c.s);
    }
    weft_graph_free(g);
}

/* ---- recomputed activations: the second computation is not shared with the first, and its bits
 * are the same ---- */
static weft_graph *layers(bool recompute, bool drop)
{
    weft_graph *g = weft_graph_new(ctx), *h;
    weft_val x = input(g, "x", WEFT_F32, 3, 2, 9, 12), w = weight(g, "w", 2, 12, 36), xs[2], d[2],
             y = x;
    for (int i = 0; i < 3; i++) {
        g->at_segment = recompute ? i + 1 : 0;
        weft_val q = EMIT(g, "split_heads", "n_head=3", EMIT(g, "matmul", "", y, w));
        weft_val p =
            EMIT(g, "causal_softmax", "", EMIT(g, "matmul", "tb=1 alpha=0.5", q, nth(g, q, 1)));
        y = EMIT(
            g, "merge_heads", "",
            EMIT(g, "matmul", "", EMIT(g, "dropout", drop ? "p=0.3" : "p=0", p), nth(g, q, 2)));
        y = EMIT(g, "tanh", "", EMIT(g, "add", "", y, x));
    }
    g->at_segment = 0;
    ok(weft_graph_output(
        g, "loss", EMIT(g, "reshape", "dims=", EMIT(g, "sum", "", EMIT(g, "mul", "", y, y)))));
    ok(weft_graph_prepare(g, &(const char *){"loss"}, 1, &(weft_rewrite_options){.train = true},
                          &h));
    weft_graph_free(g);
    xs[0] = weft_graph_find(h, "x");
    xs[1] = weft_graph_find(h, "w");
    ok(weft_graph_gradient(h, weft_graph_find_output(h, "loss"), xs, 2, d));
    ok(weft_graph_output(h, "dx", d[0]));
    ok(weft_graph_output(h, "dw", d[1]));
    return h;
}

/* With dropout the second computation draws the numbers of the first. */
static void recompute(bool drop)
{
    const char *names[] = {"dx", "dw"};
    weft_program *p[2];
    weft_session *s[2];
    for (int i = 0; i < 2; i++) {
        weft_graph *g = layers(i, drop);
        compiled c = compile(g, false, false, names, 2);
        assert_int_equal(count(c.p->graph, drop ? "attention_dropout" : "attention"), i ? 6 : 3);
        assert_int_equal(count(c.p->graph, drop ? "attention_dropout_grad" : "attention_grad"), 3);
        feed_all(c.p, g, 0);
        ok(weft_program_run(c.p));
        p[i] = c.p;
        s[i] = c.s;
        weft_graph_free(g);
    }
    for (int k = 0; k < 2; k++) {
        weft_type t;
        const void *data = weft_program_output(p[0], names[k], &t);
        assert_memory_equal(data, weft_program_output(p[1], names[k], &t), weft_type_bytes(&t));
    }
    weft_session_free(s[0]);
    weft_session_free(s[1]);
}

static void test_recompute(void **state)
{
    (void)state;
    recompute(false);
    recompute(true);
}

/* ---- bits do not depend on the threads ---- */
static void same_bits(weft_graph *g, const char *const *names, int n, int classes)
{
    static const int threads[] = {1, 2, 3, 8, 16};
    weft_graph *h;
    uint64_t first[4] = {0};
    differentiate(g, false, &h);
    for (size_t k = 0; k < sizeof threads / sizeof *threads; k++) {
        ok(weft_threads_set(ctx, threads[k]));
        compiled c = compile(h, false, false, names, n);
        feed_all(c.p, h, classes);
        ok(weft_program_run(c.p));
        for (int i = 0; i < n; i++) {
            weft_type t;
            const void *data = weft_program_output(c.p, names[i], &t);
            uint64_t hash = weft_hash(data, weft_type_bytes(&t), 0);
            first[i] = k ? first[i] : hash;
            if (hash != first[i])
                fail_msg("%s differs with %d threads", names[i], threads[k]);
        }
        weft_session_free(c.s);
    }
    ok(weft_threads_set(ctx, 2));
    weft_graph_free(h);
    weft_graph_free(g);
}

/* 8 heads: a task is a head up to 4 threads, blocks of keys or queries beyond. */
static void test_threads(void **state)
{
    (void)state;
    for (int drop = 0; drop < 2; drop++)
        same_bits(attention_graph(2, 210, 4, 20, drop ? DROPOUT : 0),
                  (const char *const[]){"y", "dx"}, 2, 0);
    same_bits(head_graph(false, "tb=1", false), (const char *const[]){"loss", "dx", "dw"}, 3, 11);
    /* 2 chunks, 40 panels in 16 groups */
    same_bits(classes_graph(600, 10007), (const char *const[]){"loss", "dx", "dw", "db"}, 4, 10007);
}

/* ---- every instruction set of this machine ---- */
enum { POSITIONS = 150, HEAD = 21 };

static float uniform(int i)
{
    uint32_t r[4];
    weft_random4(r, 3, 1, 0, (uint64_t)i);
    return (float)r[0] / 2147483648.0f - 1;
}

/* y, lse and dqkv of one head, by whole heads or by blocks. */
static void run_isa(const attention_isa *isa, bool whole, int step, const weft_drop *drop, float *y,
                    float *lse, float *dqkv)
{
    static float qkv[POSITIONS * 3 * HEAD], dy[POSITIONS * HEAD];
    attention_head g = {.t = POSITIONS,
                        .n_query = (POSITIONS - step / 2 + step - 1) / step,
                        .from = step / 2,
                        .step = step,
                        .d = HEAD,
                        .c = HEAD,
                        .scale = 0.3f,
                        .drop = drop,
                        .first = 3 * POSITIONS * POSITIONS,
                        .qkv = qkv,
                        .y = y,
                        .dy = dy,
                        .lse = lse};
    g.dp = (HEAD + isa->panel - 1) / isa->panel * isa->panel;
    for (int i = 0; i < POSITIONS * 3 * HEAD; i++)
        qkv[i] = uniform(i);
    for (int i = 0; i < POSITIONS * HEAD; i++)
        dy[i] = uniform(-i);
    g.ld = weft_attention_ld(g.dp);
    int64_t keys = g.t * g.ld, queries = 2 * keys + weft_attention_queries(&g, NULL);
    float *work = calloc((size_t)(queries + weft_attention_work(g.dp, g.t, true)), sizeof *work);
    assert_non_null(work);
    g.k = work;
    g.v = work + keys;
    weft_attention_queries(&g, work + 2 * keys);
    isa->keys(&g, 0, 7, work, work + keys);
    isa->keys(&g, 7, g.t - 7, work, work + keys);
    for (int64_t q = 0; q < g.n_query; q += WEFT_ATTENTION_Q)
        isa->forward(&g, q, y, lse, work + queries);
    if (whole)
        isa->backward(&g, dqkv, work + queries);
    for (int64_t k = 0; !whole && k < POSITIONS; k += WEFT_ATTENTION_K)
        isa->backward_keys(&g, k, dqkv, work + queries);
    for (int64_t q = 0; !whole && q < g.n_query; q += WEFT_ATTENTION_Q)
        isa->backward_queries(&g, q, dqkv, work + queries);
    free(work);
}

static void near(const float *a, const float *b, int n, const char *name)
{
    double diff = 0, norm = 0;
    for (int i = 0; i < n; i++) {
        diff += pow((double)a[i] - b[i], 2);
        norm += pow(b[i], 2);
    }
    if (!(diff <= norm * 1e-12)) /* relative L2 of 1e-6, some roundings in another order */
        fail_msg("%s: %g from the portable kernels", name, sqrt(diff / norm));
}

/* Queries at every `step`th position. */
static void compare_sets(int step, const weft_drop *drop)
{
    enum { N = POSITIONS * HEAD };
    static float y[2][N], lse[2][POSITIONS], dqkv[3][3 * N];
    int n = 0;
    memset(dqkv, 0, sizeof dqkv); /* positions without a query are not written */
    while (weft_attention_isa(n))
        n++;
    run_isa(weft_attention_isa(n - 1), true, step, drop, y[0], lse[0],
            dqkv[0]); /* the portable one is the last */
    for (int i = 0; i < n; i++) {
        const attention_isa *isa = weft_attention_isa(i);
        run_isa(isa, true, step, drop, y[1], lse[1], dqkv[1]);
        run_isa(isa, false, step, drop, y[1], lse[1], dqkv[2]);
        near(y[1], y[0], N, isa->name);
        near(lse[1], lse[0], POSITIONS, isa->name);
        near(dqkv[1], dqkv[0], 3 * N, isa->name);
        assert_memory_equal(dqkv[1], dqkv[2], sizeof dqkv[1]); /* heads or blocks: the same bits */
    }
}

static void test_instruction_sets(void **state)
{
    (void)state;
    const weft_drop drop = {
        .random = {.seed = 5, .step = 2, .stream = 9}, .below = 1u << 30, .factor = 4 / 3.0f};
    for (int step = 1; step < 9; step = 2 * step + (step > 1)) {
        compare_sets(step, NULL);
        compare_sets(step, &drop);
    }
}

/* NaN in, NaN out: the check for bad values must see it. */
static void test_nan(void **state)
{
    (void)state;
    weft_graph *g = attention_graph(1, 40, 1, 8, 0);
    compiled c = compile(g, false, false, &(const char *){"y"}, 1);
    feed_all(c.p, g, 0);
    weft_type t;
    ((float *)weft_program_input(c.p, "x", &t))[30 * 24 + 2] = NAN; /* a query at position 30 */
    ok(weft_program_run(c.p));
    assert_true(isnan(fetched(c.p, "y", 30 * 8)));
    assert_false(isnan(fetched(c.p, "y", 29 * 8)));
    weft_session_free(c.s);
    weft_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instruction_sets),
        cmocka_unit_test(test_attention_values),
        cmocka_unit_test(test_attention_dropout_values),
        cmocka_unit_test(test_linear_cross_entropy_values),
        cmocka_unit_test(test_linear_cross_entropy_labels),
        cmocka_unit_test(test_logits_in_place),
        cmocka_unit_test(test_linear_cross_entropy_chunks),
        cmocka_unit_test(test_gradient_nodes),
        cmocka_unit_test(test_gradient_by_one_path),
        cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_nan),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
