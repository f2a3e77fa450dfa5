/* test_train_ops.c - ops of training: AdamW against plain double loops, schedules, norms, id
 * ranges, thread counts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/ir.h"
#include "graph/plan.h"
#include "ops/simd.h"

/* A graph that is built value by value, compiled and run once or more. */
typedef struct {
    weft_ctx *ctx;
    weft_graph *g;
    weft_session *s;
    weft_program *p;
} rig;

static void open_rig(rig *t, int threads, bool reference)
{
    memset(t, 0, sizeof *t);
    t->ctx = weft_open(&(weft_options){.threads = threads});
    assert_non_null(t->ctx);
    t->g = weft_graph_new(t->ctx);
    assert_non_null(t->g);
    if (weft_session_new(t->ctx, reference, &t->s))
        fail_msg("%s", weft_error(t->ctx));
}

static void close_rig(rig *t)
{
    weft_session_free(t->s);
    weft_graph_free(t->g);
    weft_close(t->ctx);
}

static weft_type type_of(weft_dtype d, int rank, const int64_t *dim)
{
    return weft_type_make(d, rank, dim);
}

#define F32(...)                                                                                   \
    type_of(WEFT_F32, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})
#define I32(...)                                                                                   \
    type_of(WEFT_I32, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})

static const weft_type f32_scalar = {.dtype = WEFT_F32}, i64_scalar = {.dtype = WEFT_I64};

static weft_val input(rig *t, const char *name, weft_type type)
{
    return weft_graph_input(t->g, name, &type);
}

static weft_val state(rig *t, const char *name, weft_type type)
{
    return weft_graph_state(t->g, name, &type, "zeros", false);
}

static void compile(rig *t, const char *const *fetch, int n)
{
    const weft_compile_options train = {.train = true};
    if (t->ctx->status || weft_program_compile(t->s, t->g, fetch, n, &train, &t->p) ||
        weft_session_init(t->s, 1))
        fail_msg("%s", weft_error(t->ctx));
}

static void run(rig *t)
{
    if (weft_program_run(t->p))
        fail_msg("%s", weft_error(t->ctx));
}

static double draw(uint64_t stream, uint64_t i)
{
    uint32_t w[4];
    weft_random4(w, 9, 0, (uint32_t)stream, i);
    return (double)w[0] / 4294967296.0 * 2 - 1;
}

static void fill(rig *t, const char *name, uint64_t stream)
{
    weft_type type;
    float *x = weft_program_input(t->p, name, &type);
    assert_non_null(x);
    for (int64_t i = 0; i < weft_type_count(&type); i++)
        x[i] = (float)draw(stream, (uint64_t)i);
}

static void fill_ids(rig *t, const char *name, uint64_t stream, int64_t n)
{
    weft_type type;
    int32_t *x = weft_program_input(t->p, name, &type);
    assert_non_null(x);
    for (int64_t i = 0; i < weft_type_count(&type); i++)
        x[i] = (int32_t)((draw(stream, (uint64_t)i) + 1) / 2 * (double)n);
}

static const float *output(rig *t, const char *name, int64_t *count)
{
    weft_type type;
    const float *y = weft_program_output(t->p, name, &type);
    assert_non_null(y);
    if (count)
        *count = weft_type_count(&type);
    return y;
}

static void assert_near(double got, double want, double error)
{
    if (!(fabs(got - want) <= error))
        fail_msg("%.9g where %.9g +- %.2g is expected", got, want, error);
}

/* ---- AdamW ---- */

enum { N = 40001 }; /* more than one block, and not a multiple of any vector */

static const char adam_attr[] = "beta1=0.9 beta2=0.95 eps=1e-8 weight_decay=0.1 lr_scale=0.5";

static void build_adamw(rig *t)
{
    weft_val in[] = {state(t, "w", F32(N)),        input(t, "g", F32(N)),
                     state(t, "m", F32(N)),        state(t, "v", F32(N)),
                     state(t, "step", i64_scalar), input(t, "lr", f32_scalar),
                     input(t, "scale", f32_scalar)};
    weft_val w = weft_graph_emit(t->g, "adamw", in, 7, "%s", adam_attr);
    weft_graph_output(t->g, "w1", w);
    weft_graph_output(t->g, "s1",
                      weft_graph_emit(t->g, "increment", (weft_val[]){in[4], in[6]}, 2, "%s", ""));
    compile(t, (const char *[]){"w1", "s1"}, 2);
}

static void set_scalars(rig *t, float lr, float scale)
{
    *(float *)weft_program_input(t->p, "lr", NULL) = lr;
    *(float *)weft_program_input(t->p, "scale", NULL) = scale;
}

/* The update as the paper has it (Loshchilov and Hutter, 2019, algorithm 2, as in
 * torch.optim.AdamW), in double. */
static void adamw_step(double *w, double *m, double *v, double g, int t, double lr)
{
    *w -= lr * 0.1 * *w;
    *m = 0.9 * *m + 0.1 * g;
    *v = 0.95 * *v + 0.05 * g * g;
    *w -= lr * (*m / (1 - pow(0.9, t))) / (sqrt(*v / (1 - pow(0.95, t))) + 1e-8);
}

static void adamw_matches_double_loop(void **unused)
{
    (void)unused;
    rig t;
    double *w = calloc(3 * N, sizeof *w), *m = w + N, *v = m + N, worst = 0, moved = 0;
    open_rig(&t, 2, false);
    build_adamw(&t);
    float *state_w = weft_session_data(t.s, "w", NULL);
    for (int i = 0; i < N; i++)
        w[i] = state_w[i] = (float)draw(1, (uint64_t)i);
    for (int step = 1; step <= 10; step++) {
        fill(&t, "g", 10 + (uint64_t)step);
        set_scalars(&t, 0.02f, 0.25f);
        const float *g = weft_program_input(t.p, "g", NULL);
        for (int i = 0; i < N; i++)
            adamw_step(&w[i], &m[i], &v[i], g[i] * 0.25, step, (double)0.02f * 0.5);
        run(&t);
    }
    for (int i = 0; i < N; i++) {
        worst = fmax(worst, fabs(state_w[i] - w[i]));
        moved = fmax(moved, fabs(w[i] - (float)draw(1, (uint64_t)i)));
    }
    assert_int_equal(*(int64_t *)weft_session_data(t.s, "step", NULL), 10);
    assert_true(moved > 0.05); /* ten steps of about 0.01 each */
    assert_true(worst < 2e-6); /* ten roundings of values below 1.2: 10 * 2^-23 * 1.2 */
    free(w);
    close_rig(&t);
}

static void adamw_keeps_state_when_scale_is_not_finite(void **unused)
{
    (void)unused;
    rig t;
    const float bad[] = {NAN, INFINITY};
    open_rig(&t, 2, false);
    build_adamw(&t);
    float *w = weft_session_data(t.s, "w", NULL), *m = weft_session_data(t.s, "m", NULL);
    for (int i = 0; i < N; i++)
        w[i] = (float)i;
    for (int k = 0; k < 2; k++) {
        fill(&t, "g", 3);
        set_scalars(&t, 0.1f, bad[k]);
        run(&t);
        for (int i = 0; i < N; i++)
            assert_true(w[i] == (float)i && m[i] == 0);
    }
    assert_int_equal(*(int64_t *)weft_session_data(t.s, "step", NULL), 0);
    close_rig(&t);
}

/* ---- scalars ---- */

static double rate(rig *t, int64_t step)
{
    *(int64_t *)weft_program_input(t->p, "step", NULL) = step;
    run(t);
    return *output(t, "lr", NULL);
}

static void schedule(rig *t, const char *attrs)
{
    open_rig(t, 1, false);
    weft_val step = input(t, "step", i64_scalar);
    weft_graph_output(t->g, "lr", weft_graph_emit(t->g, "lr_schedule", &step, 1, "%s", attrs));
    compile(t, (const char *[]){"lr"}, 1);
}

static void lr_schedule_values(void **unused)
{
    (void)unused;
    rig t;
    const double ulp = 1e-7; /* the result is f32 */
    schedule(&t, "shape=cosine peak=1 floor=0.1 warmup=10 total=110");
    assert_near(rate(&t, 0), 0.1, ulp);
    assert_near(rate(&t, 9), 1, ulp);
    assert_near(rate(&t, 10), 1, ulp);
    assert_near(rate(&t, 60), 0.55, ulp);
    assert_near(rate(&t, 35), 0.1 + 0.9 * 0.5 * (1 + sqrt(0.5)), ulp);
    assert_near(rate(&t, 110), 0.1, ulp);
    assert_near(rate(&t, 5000), 0.1, ulp);
    close_rig(&t);
    schedule(&t, "shape=linear peak=1 floor=0.5 total=100");
    assert_near(rate(&t, 0), 1, ulp);
    assert_near(rate(&t, 50), 0.75, ulp);
    close_rig(&t);
    schedule(&t, "shape=constant peak=0.25 warmup=4 total=8");
    assert_near(rate(&t, 1), 0.125, ulp);
    assert_near(rate(&t, 8), 0.25, ulp);
    close_rig(&t);
}

/* Feeds must be filled before every run: their memory is used for later values. */
static void only_c(rig *t, float c)
{
    memset(weft_program_input(t->p, "a", NULL), 0, 300 * 701 * sizeof(float));
    memset(weft_program_input(t->p, "b", NULL), 0, 5 * sizeof(float));
    *(float *)weft_program_input(t->p, "c", NULL) = c;
    run(t);
}

static void norm_and_clip(void **unused)
{
    (void)unused;
    rig t;
    double sum = 0;
    open_rig(&t, 2, false);
    weft_val in[] = {input(&t, "a", F32(300, 701)), input(&t, "b", F32(5)),
                     input(&t, "c", f32_scalar)};
    weft_val norm = weft_graph_emit(t.g, "global_norm", in, 3, "%s", "");
    weft_graph_output(t.g, "norm", norm);
    weft_graph_output(t.g, "scale", weft_graph_emit(t.g, "clip_scale", &norm, 1, "max=1"));
    compile(&t, (const char *[]){"norm", "scale"}, 2);
    fill(&t, "a", 1);
    fill(&t, "b", 2);
    fill(&t, "c", 3);
    for (int k = 0; k < 3; k++) {
        weft_type type;
        const float *x = weft_program_input(t.p, (const char *[]){"a", "b", "c"}[k], &type);
        for (int64_t i = 0; i < weft_type_count(&type); i++)
            sum += (double)x[i] * x[i];
    }
    run(&t);
    assert_near(*output(&t, "norm", NULL), sqrt(sum), 1e-7 * sqrt(sum));
    assert_near(*output(&t, "scale", NULL), 1 / (sqrt(sum) + 1e-6), 1e-9);
    only_c(&t, 1e-25f); /* its square is no float */
    assert_near(*output(&t, "norm", NULL), 1e-25, 1e-31);
    assert_true(*output(&t, "scale", NULL) == 1);
    only_c(&t, INFINITY);
    assert_true(isnan(*output(&t, "scale", NULL)));
    close_rig(&t);
}

/* ---- data errors ---- */

static void expect_fault(rig *t, const char *const *words, int n)
{
    assert_int_not_equal(weft_program_run(t->p), WEFT_OK);
    for (int i = 0; i < n; i++)
        if (!strstr(weft_error(t->ctx), words[i]))
            fail_msg("no '%s' in: %s", words[i], weft_error(t->ctx));
    weft_error_clear(t->ctx);
}

static void ids_out_of_range(void **unused)
{
    (void)unused;
    rig t;
    open_rig(&t, 1, false);
    weft_val e[] = {input(&t, "w", F32(7, 3)), input(&t, "ids", I32(4))};
    weft_graph_output(t.g, "y", weft_graph_emit(t.g, "embedding", e, 2, "%s", ""));
    compile(&t, (const char *[]){"y"}, 1);
    fill(&t, "w", 1);
    int32_t *ids = weft_program_input(t.p, "ids", NULL);
    memcpy(ids, (int32_t[]){0, 6, 7, 1}, 16);
    expect_fault(&t, (const char *[]){"id 7", "position 2", "0..6"}, 3);
    memcpy(ids, (int32_t[]){0, 6, 5, -1}, 16);
    expect_fault(&t, (const char *[]){"id -1", "position 3"}, 2);
    close_rig(&t);

    open_rig(&t, 1, false);
    weft_val x[] = {input(&t, "x", F32(2, 5)), input(&t, "t", I32(2))};
    weft_graph_output(t.g, "loss", weft_graph_emit(t.g, "cross_entropy", x, 2, "%s", ""));
    compile(&t, (const char *[]){"loss"}, 1);
    fill(&t, "x", 1);
    memcpy(weft_program_input(t.p, "t", NULL), (int32_t[]){-1, 5}, 8);
    expect_fault(&t, (const char *[]){"target 5", "position 1", "0..4", "ignore=-1"}, 4);
    fill(&t, "x", 1);
    memcpy(weft_program_input(t.p, "t", NULL), (int32_t[]){-1, -1}, 8);
    run(&t);
    assert_true(*output(&t, "loss", NULL) == 0); /* nothing counts */
    close_rig(&t);

    open_rig(&t, 1, false);
    weft_val k[] = {input(&t, "x", F32(2, 5)), input(&t, "t", I32(2, 3))};
    weft_graph_output(t.g, "loss", weft_graph_emit(t.g, "cross_entropy", k, 2, "%s", ""));
    compile(&t, (const char *[]){"loss"}, 1);
    fill(&t, "x", 1);
    memcpy(weft_program_input(t.p, "t", NULL), (int32_t[]){4, 4, -1, 0, 7, 1}, 24);
    expect_fault(&t, (const char *[]){"target 7", "position 4 (target 1 of row 1)", "0..4"}, 3);
    close_rig(&t);
}

static void cross_entropy_of_extreme_logits(void **unused)
{
    (void)unused;
    rig t;
    open_rig(&t, 1, false);
    weft_val x[] = {input(&t, "x", F32(3, 3000)), input(&t, "t", I32(3))};
    weft_val loss = weft_graph_emit(t.g, "cross_entropy", x, 2, "%s", "");
    weft_graph_output(t.g, "nll", loss + 1);
    compile(&t, (const char *[]){"nll"}, 1);
    float *in = weft_program_input(t.p, "x", NULL);
    for (int i = 0; i < 3000; i++) {
        in[i] =
            i < 2000 ? -INFINITY : 1e30f; /* whole blocks are masked before the first finite one */
        in[3000 + i] = i == 2500 ? 1e4f : 0;
        in[6000 + i] = i == 7 ? NAN : 0;
    }
    memcpy(weft_program_input(t.p, "t", NULL), (int32_t[]){2000, 2500, 1}, 12);
    run(&t);
    const float *nll = output(&t, "nll", NULL);
    /* lse and the logit are both 1e30 in double to 14 digits; their difference is what rounding
     * leaves */
    assert_true(nll[0] >= 0 && nll[0] < 1e16);
    assert_true(nll[1] == 0);
    assert_true(isnan(nll[2]));
    close_rig(&t);
}

/* ---- the same bits for every thread count ---- */

/* layer_norm, embedding and cross_entropy with all their gradients, large enough that loops run in
 * parallel. */
static uint64_t hash_of_gradients(int threads)
{
    enum { V = 211, D = 77, T = 530 };
    rig t;
    uint64_t h = 0;
    const char *const fetch[] = {"loss", "dw", "dgain", "dshift", "dtable"};
    open_rig(&t, threads, false);
    weft_val table = input(&t, "table", F32(V, D)), ids = input(&t, "ids", I32(T));
    weft_val gain = input(&t, "gain", F32(D)), shift = input(&t, "shift", F32(D));
    weft_val proj = input(&t, "w", F32(D, D));
    weft_val x = weft_graph_emit(t.g, "embedding", (weft_val[]){table, ids}, 2, "%s", "");
    weft_val n = weft_graph_emit(t.g, "layer_norm", (weft_val[]){x, gain, shift}, 3, "%s", "");
    weft_val y = weft_graph_emit(t.g, "matmul", (weft_val[]){n, proj}, 2, "%s", "");
    weft_val l[] = {y, input(&t, "targets", I32(T))};
    weft_val loss = weft_graph_emit(t.g, "cross_entropy", l, 2, "%s", "");
    weft_val xs[] = {proj, gain, shift, table}, grad[4];
    if (t.ctx->status || weft_graph_gradient(t.g, loss, xs, 4, grad))
        fail_msg("%s", weft_error(t.ctx));
    weft_graph_output(t.g, "loss", loss);
    for (int i = 0; i < 4; i++)
        weft_graph_output(t.g, fetch[i + 1], grad[i]);
    compile(&t, fetch, 5);
    fill(&t, "table", 1);
    fill(&t, "gain", 2);
    fill(&t, "shift", 3);
    fill(&t, "w", 4);
    fill_ids(&t, "ids", 5, V / 3); /* every id several times, and rows that are never used */
    fill_ids(&t, "targets", 6, D);
    run(&t);
    for (int i = 0; i < 5; i++) {
        int64_t count;
        const float *v = output(&t, fetch[i], &count);
        double size = 0;
        for (int64_t k = 0; k < count; k++)
            size += fabs(v[k]);
        assert_true(size > 1e-3 && isfinite(size));
        h = weft_hash(v, (size_t)count * sizeof *v, h);
    }
    close_rig(&t);
    return h;
}

static void same_bits_for_every_thread_count(void **unused)
{
    (void)unused;
    uint64_t one = hash_of_gradients(1);
    for (int threads = 2; threads <= 8; threads += threads == 3 ? 5 : 1)
        assert_true(hash_of_gradients(threads) == one);
}

/* ---- functions of simd.h ---- */

static void exp_and_tanh(void **unused)
{
    (void)unused;
    double worst_exp = 0, worst_neg = 0, worst_tanh = 0;
    for (int i = 0; i < 2000000; i++) {
        float x = -87.3f + 176.0f * (float)i / 2000000;
        double want = exp((double)x);
        worst_exp = fmax(worst_exp, fabs(weft_exp(x) / want - 1));
        if (x <= 0)
            worst_neg = fmax(worst_neg, fabs(weft_exp_nonpositive(x) / want - 1));
        float y = x / 8 + 1e-6f;
        worst_tanh = fmax(worst_tanh, fabs(weft_tanh(y) / tanh((double)y) - 1));
    }
    assert_true(worst_exp < 1e-7 && worst_neg < 1e-7 && worst_tanh < 2e-7);
    assert_true(isnan(weft_exp(NAN)) && isnan(weft_exp_nonpositive(NAN)) && isnan(weft_tanh(NAN)));
    assert_true(weft_exp(-INFINITY) == 0 && weft_exp(INFINITY) == INFINITY && weft_exp(0) == 1);
    assert_true(weft_exp_nonpositive(-INFINITY) == 0 && weft_exp_nonpositive(0) == 1);
    assert_true(weft_tanh(INFINITY) == 1 && weft_tanh(-INFINITY) == -1 && weft_tanh(0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_matches_double_loop),
        cmocka_unit_test(adamw_keeps_state_when_scale_is_not_finite),
        cmocka_unit_test(lr_schedule_values),
        cmocka_unit_test(norm_and_clip),
        cmocka_unit_test(ids_out_of_range),
        cmocka_unit_test(cross_entropy_of_extreme_logits),
        cmocka_unit_test(same_bits_for_every_thread_count),
        cmocka_unit_test(exp_and_tanh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
