/* test_sparse_rules.c - k-sparse rows through whole models: labels, autoencoders and heads end
 * without wide rows, and values and gradients stay those of the plain ops. */
#include "tests/rewrite.h"

enum { ROWS = 5, D = 6, N = 24, K = 4, LABELS = 6 };

/* ---- models ---- */
static weft_val latents(weft_graph *g, weft_val pre)
{
    return EMIT(g, "relu", "", EMIT(g, "topk_mask", "k=4", pre));
}

/* Labels by gradient times activation (paper, eq. 1), as models/concept.txtpb has them; `twice`:
 * the candidates are written down once more. */
static weft_graph *label_graph(bool twice, bool dense_score)
{
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 3, 1, ROWS, D), h = EMIT(g, "tanh", "", x);
    weft_val teacher = weight(g, "teacher", 2, D, D), encoder = weight(g, "encoder", 2, N, D),
             decoder = weight(g, "decoder", 2, D, N);
    weft_val loss = EMIT(g, "mean", "", EMIT(g, "tanh", "", EMIT(g, "matmul", "", h, teacher)));
    weft_val dh = EMIT(g, "gradient", "", loss, h);
    weft_val pre = EMIT(g, "matmul", "tb=1", h, encoder), z = latents(g, pre);
    weft_val a = EMIT(g, "mul", "", EMIT(g, "matmul", "", dh, decoder), dense_score ? pre : z);
    weft_val top = EMIT(g, "topk", "k=6", a, twice ? latents(g, pre) : z);
    ok(weft_graph_output(g, "score", top));
    ok(weft_graph_output(g, "label", nth(g, top, 1)));
    ok(ctx->status);
    return g;
}

/* An autoencoder: reconstruction error with the decoder in the layout of nn.Linear. */
static weft_graph *autoencoder_graph(void)
{
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 3, 1, ROWS, D);
    weft_val pre = EMIT(g, "matmul", "tb=1", EMIT(g, "sub", "", x, weight(g, "b", 1, D, 0)),
                        weight(g, "encoder", 2, N, D), weight(g, "latent_bias", 1, N, 0));
    weft_val z = latents(g, pre);
    weft_val rec =
        EMIT(g, "matmul", "tb=1", z, weight(g, "decoder", 2, D, N), weight(g, "b2", 1, D, 0));
    weft_val e = EMIT(g, "sub", "", rec, x);
    weft_val second =
        EMIT(g, "topk_mask", "k=3", EMIT(g, "mul", "", pre, weight(g, "dead", 1, N, 0)));
    weft_val aux = EMIT(g, "matmul", "tb=1", second, weft_graph_find(g, "decoder"));
    weft_val loss = EMIT(g, "mean", "", EMIT(g, "mul", "", e, EMIT(g, "add", "", e, aux)));
    loss = EMIT(g, "add", "", loss, EMIT(g, "scale", "alpha=0.1", EMIT(g, "mean", "", z)));
    ok(weft_graph_output(g, "loss", loss));
    ok(ctx->status);
    return g;
}

/* A concept head: logits that a loss reads, and their largest through the compress layer. `seen`:
 * something else reads them, too. */
static weft_graph *concept_head(bool seen)
{
    weft_graph *g = weft_graph_new(ctx);
    weft_val x = input(g, "x", WEFT_F32, 3, 1, ROWS, D);
    weft_val labels =
        EMIT(g, "reshape", "dims=1,5,1", EMIT(g, "argmax", "", x)); /* anything below N */
    weft_val logits = EMIT(g, "matmul", "tb=1", EMIT(g, "exp", "", x),
                           weight(g, "predictor", 2, N, D), weight(g, "bias", 1, N, 0));
    weft_val c = EMIT(g, "matmul", "tb=1", EMIT(g, "topk_mask", "k=4", logits),
                      weight(g, "compress", 2, D, N), weight(g, "b2", 1, D, 0));
    weft_val loss = EMIT(g, "mean", "", EMIT(g, "mul", "", c, EMIT(g, "tanh", "", c)));
    weft_val ce = EMIT(g, "scale", "alpha=0.3", EMIT(g, "cross_entropy", "", logits, labels));
    loss = EMIT(g, "add", "", loss, ce);
    if (seen)
        loss = EMIT(g, "add", "", loss, EMIT(g, "mean", "", EMIT(g, "tanh", "", logits)));
    ok(weft_graph_output(g, "loss", loss));
    ok(ctx->status);
    return g;
}

static weft_graph *head_alone(void) { return concept_head(false); }
static weft_graph *head_seen(void) { return concept_head(true); }

/* ---- structure ---- */
static weft_graph *optimized(weft_graph *g, bool train)
{
    weft_graph *h;
    ok(weft_graph_optimize(g, &(weft_rewrite_options){.train = train}, &h));
    ok(weft_graph_verify(h));
    weft_graph_free(g);
    return h;
}

/* Computed values whose last axis has N numbers, other than rows of a gradient of a weight. */
static int wide(const weft_graph *g)
{
    int n = 0;
    for (weft_val v = 0; v < g->n_value; v++) {
        const weft_type *t = &g->value[v].type;
        n += g->value[v].kind == WEFT_VALUE_NODE && t->rank == 3 && t->dim[2] == N;
    }
    return n;
}

static void test_labels(void **state)
{
    (void)state;
    for (int twice = 0; twice < 2; twice++) {
        weft_graph *h = optimized(label_graph(twice, false), false);
        assert_int_equal(wide(h), 1); /* pre alone */
        assert_int_equal(count(h, "topk"), 1);
        assert_int_equal(count(h, "sparse_dot"), 1);
        assert_int_equal(count(h, "sparse_topk"), 1);
        assert_int_equal(count(h, "scatter"), 0);
        weft_graph_free(h);
    }
}

static weft_graph *differentiated(weft_graph *g)
{
    weft_graph *prepared, *d;
    const char *loss = "loss";
    ok(weft_graph_prepare(g, &loss, 1, &(weft_rewrite_options){.train = true}, &prepared));
    ok(weft_graph_differentiate(prepared, loss, &d));
    weft_graph_free(prepared);
    weft_graph_free(g);
    return optimized(d, true);
}

static void test_autoencoder(void **state)
{
    (void)state;
    weft_graph *h = differentiated(autoencoder_graph());
    assert_int_equal(wide(h), 2);                      /* pre, and pre of the dead */
    assert_int_equal(count(h, "sparse_matmul"), 3);    /* two decodings, and the gradient of b */
    assert_int_equal(count(h, "sparse_outer"), 2);     /* of the encoder, of the decoder, and ... */
    assert_int_equal(count(h, "sparse_outer_add"), 1); /* ... a second time */
    assert_int_equal(count(h, "matmul"), 1);
    weft_graph_free(h);
}

static void test_head(void **state)
{
    (void)state;
    for (int seen = 0; seen < 2; seen++) {
        weft_graph *h = differentiated(concept_head(seen));
        assert_int_equal(count(h, "linear_cross_entropy"), !seen);
        assert_int_equal(count(h, "sparse_matmul"), 1); /* exp(x) needs no gradient */
        assert_int_equal(count(h, "sparse_dot"), 1);
        assert_int_equal(count(h, "sparse_outer"), 1);
        assert_int_equal(count(h, "sparse_outer_add"),
                         !seen);                      /* into what the loss gave, and ... */
        assert_int_equal(count(h, "scatter_add"), 1); /* ... into the bias', or the logits' */
        assert_int_equal(count(h, "scatter"), 0);
        if (!seen)
            assert_int_equal(wide(h), 0);
        weft_graph_free(h);
    }
}

/* ---- values ---- */
typedef struct {
    double v[4096];
    int n;
} numbers;

/* All outputs of g, one after the other, for inputs that are functions of the seed. */
static void run(const weft_graph *g, const weft_compile_options *o, bool reference, uint64_t seed,
                numbers *out)
{
    const char *fetch[32];
    weft_session *s;
    weft_program *p;
    weft_type t;
    for (int i = 0; i < g->n_output; i++)
        fetch[i] = g->output[i].name;
    ok(weft_session_new(ctx, reference, &s));
    ok(weft_session_add_states(s, g));
    ok(weft_program_compile(s, g, fetch, g->n_output, o, &p));
    ok(weft_session_init(s, seed));
    void *x = weft_program_input(p, "x", &t);
    weft_tensor flat = {x, t.dtype, 1, weft_type_count(&t), {weft_type_count(&t)}, {1}};
    for (int64_t i = 0; i < flat.count; i++) {
        uint32_t w[4];
        weft_random4(w, seed, 3, 4, (uint64_t)i);
        weft_put(&flat, i, (float)(w[0] / 2147483648.0 - 1));
    }
    ok(weft_program_run(p));
    out->n = 0;
    for (int i = 0; i < g->n_output; i++) {
        const void *y = weft_program_output(p, fetch[i], &t);
        int64_t n = weft_type_count(&t);
        weft_tensor r = {(void *)(uintptr_t)y, t.dtype, 1, n, {n}, {1}};
        assert_true(out->n + n <= 4096);
        for (int64_t k = 0; k < n; k++)
            out->v[out->n++] = weft_get(&r, k);
    }
    weft_session_free(s);
}

static void same(const numbers *a, const numbers *b, double tolerance)
{
    double top = 0;
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++)
        top = fmax(top, fabs(b->v[i]));
    for (int i = 0; i < a->n; i++)
        if (!(fabs(a->v[i] - b->v[i]) <= tolerance * top))
            fail_msg("number %d is %.17g, the plain ops give %.17g", i, a->v[i], b->v[i]);
}

/* Labels and scores. Where fewer than LABELS latents are active (K of N are kept, relu drops some),
 * the lowest other positions follow, in both ways. */
static void test_label_values(void **state)
{
    (void)state;
    static numbers sparse, plain;
    for (uint64_t seed = 1; seed <= 8; seed++)
        for (int how = 0; how < 4; how++) {
            weft_graph *g = label_graph(how & 1, how & 2);
            for (int reference = 0; reference < 2; reference++) {
                run(g, &(weft_compile_options){0}, reference, seed, &sparse);
                run(g, &(weft_compile_options){.no_rewrite = true}, reference, seed, &plain);
                assert_memory_equal(sparse.v + ROWS * LABELS, plain.v + ROWS * LABELS,
                                    ROWS * LABELS * sizeof *plain.v);
                same(&sparse, &plain, reference ? 1e-14 : 2e-6); /* sums in another order */
            }
            weft_graph_free(g);
        }
}

/* Gradients of a loss, by rules before and after differentiation, against neither. */
static void test_gradients(void **state)
{
    (void)state;
    static numbers sparse, plain;
    weft_graph *(*const models[])(void) = {autoencoder_graph, head_alone, head_seen};
    for (uint64_t seed = 1; seed <= 5; seed++)
        for (int m = 0; m < 3; m++) {
            weft_graph *g = models[m](), *d, *h = differentiated(models[m]());
            ok(weft_graph_differentiate(g, "loss", &d));
            for (int reference = 0; reference < 2; reference++) {
                run(h, &(weft_compile_options){.train = true}, reference, seed, &sparse);
                run(d, &(weft_compile_options){.train = true, .no_rewrite = true}, reference, seed,
                    &plain);
                same(&sparse, &plain, reference ? 1e-13 : 5e-6); /* sums in another order */
            }
            weft_graph_free(g);
            weft_graph_free(d);
            weft_graph_free(h);
        }
}

/* gradient(loss, z) of latents z is dense: a rule that led around z would lose all but k numbers.
 */
static void test_gradient_of_latents(void **state)
{
    (void)state;
    static numbers sparse, plain;
    for (int of_mask = 0; of_mask < 2; of_mask++) {
        weft_graph *g = weft_graph_new(ctx);
        weft_val x = input(g, "x", WEFT_F32, 2, ROWS, N, 0);
        weft_val y = EMIT(g, "topk_mask", "k=4", x), z = EMIT(g, "relu", "", y);
        weft_val v = EMIT(g, "matmul", "", EMIT(g, "mul", "", z, EMIT(g, "tanh", "", x)),
                          weight(g, "w", 2, N, D));
        weft_val loss = EMIT(g, "sum", "", EMIT(g, "mul", "", v, v));
        ok(weft_graph_output(g, "dz", EMIT(g, "gradient", "", loss, of_mask ? y : z)));
        run(g, &(weft_compile_options){0}, true, 5, &sparse);
        run(g, &(weft_compile_options){.no_rewrite = true}, true, 5, &plain);
        same(&sparse, &plain, 1e-14);
        int zeros = 0;
        for (int i = 0; i < plain.n; i++)
            zeros += plain.v[i] == 0;
        assert_true(of_mask ? zeros > ROWS * (N - K) - 1 : zeros == 0);
        weft_graph_free(g);
    }
}

/* Positions that may be equal: relu(a + b) is not relu(a) + relu(b). */
static void test_equal_positions(void **state)
{
    (void)state;
    static const char *const ops[] = {"relu", "abs", "above", "neg", "scale"};
    for (int i = 0; i < 5; i++) {
        weft_graph *g = weft_graph_new(ctx);
        weft_val v = input(g, "v", WEFT_F32, 2, ROWS, K, 0),
                 at = input(g, "at", WEFT_I32, 2, ROWS, K, 0);
        weft_val y = EMIT(g, ops[i], "", EMIT(g, "scatter", "n=24", v, at));
        ok(weft_graph_output(g, "y", EMIT(g, "matmul", "", y, weight(g, "w", 2, N, D))));
        weft_graph *h = optimized(g, false);
        assert_int_equal(count(h, "sparse_matmul"), i >= 3);
        weft_graph_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_autoencoder),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_label_values),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_gradient_of_latents),
        cmocka_unit_test(test_equal_positions),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
