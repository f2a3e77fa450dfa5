/* test_dead_rows.c - rows that a slice drops are not computed: less work, the same loss and the
 * same gradients, on random stacks. */
#include "graph/plan.h"
#include "tests/rewrite.h"

#define OFF                                                                                        \
    "slice_elementwise,slice_rows,slice_matmul,slice_attention,slice_dropout,"                     \
    "slice_interleave"

static uint64_t seed;

static int pick(int n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return (int)(seed >> 33) % n;
}

static const char *name_of(char *buf, const char *what, int i)
{
    sprintf(buf, "%s%d", what, i);
    return buf;
}

/* One layer of a random kind on x [B,T,4]. */
static weft_val layer(weft_graph *g, weft_val x, int i)
{
    char name[32];
    if (pick(4) == 0)
        return EMIT(g, "gelu", "", x);
    weft_val w = weight(g, name_of(name, "w", i), 2, 4, 4),
             w3 = weight(g, name_of(name, "u", i), 2, 4, 12);
    weft_val gain = weight(g, name_of(name, "g", i), 1, 4, 0);
    if (pick(3) == 0)
        return EMIT(g, "layer_norm", "", EMIT(g, "matmul", "", x, w, gain), gain);
    weft_val qkv = EMIT(g, "matmul", "", EMIT(g, "layer_norm", "", x, gain), w3);
    weft_val q = EMIT(g, "split_heads", "n_head=2", qkv), k = nth(g, q, 1), v = nth(g, q, 2);
    weft_val p = EMIT(g, "causal_softmax", "", EMIT(g, "matmul", "tb=1 alpha=0.7", q, k));
    if (pick(2)) /* the rows that are left keep their random zeros */
        p = EMIT(g, "dropout", "p=0.2", p);
    weft_val o = EMIT(g, "merge_heads", "", EMIT(g, "matmul", "", p, v));
    weft_val a = EMIT(g, "matmul", "", o, w);
    if (pick(2))
        a = EMIT(g, "dropout", "p=0.3", a);
    weft_val x1 = EMIT(g, "add", "", x, a);
    return pick(2) ? EMIT(g, "add", "", x1, EMIT(g, "matmul", "", EMIT(g, "gelu", "", x1), w)) : x1;
}

/* Some layers, perhaps between pairs of positions, then a slice of positions, and a loss. */
static weft_graph *stack(int number)
{
    char cut[64];
    seed = (uint64_t)number * 977;
    weft_graph *g = weft_graph_new(ctx);
    const weft_type xt = weft_type_make(WEFT_F32, 3, (int64_t[]){2, 7, 4});
    weft_val x = weft_graph_state(g, "x", &xt, "normal(1)", true); /* its gradient counts too */
    for (int i = 0; i < 2; i++)
        x = layer(g, x, i);
    if (pick(2))
        x = EMIT(g, "interleave", "axis=1", x, EMIT(g, "tanh", "", x));
    for (int i = 2; i < 4; i++)
        x = layer(g, x, i);
    sprintf(cut, "axis=1 from=%d step=%d", pick(3), 1 + pick(3));
    weft_val y = EMIT(g, "slice", cut, x);
    if (pick(4) == 0) /* another reader: all rows are needed */
        y = EMIT(g, "add", "", y, EMIT(g, "mean", "axis=1 keep=1", x));
    if (pick(3) == 0) { /* positions of positions */
        sprintf(cut, "axis=1 from=%d step=%d", pick(2), 1 + pick(2));
        y = EMIT(g, "slice", cut, y);
    }
    y = layer(g, y, 4);
    ok(weft_graph_output(g, "loss", EMIT(g, "mean", "", EMIT(g, "mul", "", y, y))));
    ok(weft_error_status(ctx));
    return g;
}

typedef struct {
    double flops, *v;
    int n;
} results;

/* Loss and gradients of a training graph, prepared as training does. */
static results run(const weft_graph *forward, bool rules, bool reference)
{
    const weft_rewrite_options o = {.train = true, .disable = rules ? NULL : OFF};
    const weft_compile_options c = {
        .train = true, .reference = reference, .disable_rules = rules ? NULL : OFF};
    const char *loss = "loss", *fetch[64];
    weft_graph *small, *g;
    weft_session *s;
    weft_program *p;
    weft_type t;
    results y = {0};
    int n = 0;
    ok(weft_graph_prepare(forward, &loss, 1, &o, &small));
    ok(weft_graph_differentiate(small, "loss", &g));
    while (n < 64 && (fetch[n] = weft_graph_output_at(g, n, NULL)))
        n++;
    ok(weft_session_new(ctx, reference, &s));
    ok(weft_session_add_states(s, g));
    ok(weft_session_init(s, 5));
    ok(weft_program_compile(s, g, fetch, n, &c, &p));
    int64_t *rng = weft_program_input(p, "rng", NULL);
    if (rng)
        memcpy(rng, (int64_t[]){6, 2}, 2 * sizeof *rng);
    ok(weft_program_run(p));
    weft_program_size size;
    weft_program_measure(p, &size);
    y.flops = size.flops;
    y.v = calloc(4096, sizeof *y.v);
    for (int i = 0; i < n; i++) {
        const void *data = weft_program_output(p, fetch[i], &t);
        for (int64_t k = 0; k < weft_type_count(&t) && y.n < 4096; k++)
            y.v[y.n++] = weft_element(&t, data, k);
    }
    weft_session_free(s);
    weft_graph_free(g);
    weft_graph_free(small);
    return y;
}

static double difference(const results *a, const results *b)
{
    double diff = 0, norm = 0;
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        diff += pow(a->v[i] - b->v[i], 2);
        norm += pow(b->v[i], 2);
    }
    return sqrt(diff / norm);
}

static void test_random_stacks(void **state)
{
    (void)state;
    int less = 0, same = 0;
    for (int number = 1; number <= 60; number++) {
        weft_graph *g = stack(number);
        for (int reference = 0; reference < 2; reference++) {
            results with = run(g, true, reference), without = run(g, false, reference);
            /* Roundings of sums in other blocks: some ten f32, some ten f64. */
            double d = difference(&with, &without), most = reference ? 1e-13 : 3e-6;
            if (!(d <= most))
                fail_msg("stack %d: gradients differ by %g", number, d);
            if (with.flops > without.flops)
                fail_msg("stack %d: more work: %g instead of %g", number, with.flops,
                         without.flops);
            less += with.flops < without.flops;
            same += with.flops == without.flops;
            free(with.v);
            free(without.v);
        }
        weft_graph_free(g);
    }
    assert_true(less > 60 && same > 0); /* the rules act, and know when not to */
    print_message("less work in %d of %d\n", less, less + same);
}

/* The last block of a model between pairs: of all its products only that of queries, keys and
 * values has all rows. */
static void test_last_block(void **state)
{
    (void)state;
    const weft_rewrite_options o = {.train = true};
    weft_graph *g = weft_graph_new(ctx), *h;
    weft_val a = input(g, "a", WEFT_F32, 3, 2, 8, 4), b = input(g, "b", WEFT_F32, 3, 2, 8, 4);
    weft_val x = EMIT(g, "interleave", "axis=1", a, b), w3 = weight(g, "w3", 2, 4, 12),
             w = weight(g, "w", 2, 4, 4), up = weight(g, "up", 2, 4, 16),
             down = weight(g, "down", 2, 16, 4);
    weft_val q =
        EMIT(g, "split_heads", "n_head=2", EMIT(g, "matmul", "", EMIT(g, "layer_norm", "", x), w3));
    weft_val p =
        EMIT(g, "causal_softmax", "", EMIT(g, "matmul", "tb=1 alpha=0.7", q, nth(g, q, 1)));
    weft_val c = EMIT(g, "merge_heads", "", EMIT(g, "matmul", "", p, nth(g, q, 2)));
    weft_val x1 = EMIT(g, "add", "", x, EMIT(g, "matmul", "", c, w));
    weft_val u = EMIT(g, "gelu", "", EMIT(g, "matmul", "", EMIT(g, "layer_norm", "", x1), up));
    weft_val y = EMIT(g, "add", "", x1, EMIT(g, "matmul", "", u, down));
    ok(weft_graph_output(g, "y", EMIT(g, "slice", "axis=1 from=1 step=2", y)));
    ok(weft_graph_rewrite(g, &o, &h, NULL));
    ok(weft_graph_verify(h));
    for (int i = 0; i < h->n_node; i++) {
        const weft_type *t = &h->value[h->node[i].out[0]].type;
        bool whole = t->rank == 3 && t->dim[1] == 16; /* both of each pair */
        bool first = !t->rank || !strcmp(h->node[i].op->name, "interleave") ||
                     !strcmp(h->node[i].op->name, "layer_norm") || t->dim[2] == 12;
        if (whole && !first)
            fail_msg("%s still computes all rows", h->node[i].op->name);
    }
    assert_int_equal(count(h, "slice"), 0); /* the residual is input b itself */
    assert_int_equal(count(h, "layer_norm"), 2);
    weft_graph_free(g);
    weft_graph_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_stacks),
                                       cmocka_unit_test(test_last_block)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
