/* test_batched_bug.c - a fault of some versions of oneDNN: batched products with a transposed left
 * operand and K >= 2048 are wrong, without an error, on many threads.
 *
 * The gradients of keys and values have this shape from 2048 positions on.  Two questions: are our
 * products right there (this may fail), and does the library of this machine have the fault (this
 * is only reported)? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/dnnl.h"
#include "graph/plan.h"

/* Batches and thread counts with which the fault was seen, and some with which it was not. */
enum { N = 64, K = 2048, N_SIZE = 3, N_THREADS = 5 };
static const struct {
    int64_t batch, m;
} sizes[N_SIZE] = {{2, 512}, {8, 256}, {12, 256}};
static const int threads[N_THREADS] = {1, 4, 16, 24, 64};

typedef struct {
    int64_t batch, m;
    float *a, *w, *y, *want;
} product;

/* Whole numbers in [-2, 2]: sums are exact in every order, so every difference is a fault. */
static float *draw(int64_t n, uint32_t stream)
{
    float *x = malloc(sizeof *x * (size_t)n);
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t w[4];
        weft_random4(w, 3, 0, stream, (uint64_t)i);
        for (int64_t j = 0; j < 4 && i + j < n; j++)
            x[i + j] = (float)(w[j] % 5) - 2;
    }
    return x;
}

static product make(int s)
{
    product p = {.batch = sizes[s].batch, .m = sizes[s].m};
    p.a = draw(p.batch * K * p.m, 1);
    p.w = draw(p.batch * K * N, 2);
    p.y = malloc(sizeof(float) * (size_t)(p.batch * p.m * N));
    p.want = calloc((size_t)(p.batch * p.m * N), sizeof(float));
    for (int64_t b = 0; b < p.batch; b++)
        for (int64_t k = 0; k < K; k++)
            for (int64_t i = 0; i < p.m; i++) {
                float *y = p.want + (b * p.m + i) * N, x = p.a[(b * K + k) * p.m + i];
                const float *w = p.w + (b * K + k) * N;
                for (int64_t j = 0; j < N; j++)
                    y[j] += x * w[j];
            }
    return p;
}

static void drop(product *p) { free(p->a), free(p->w), free(p->y), free(p->want); }

/* Largest difference from the exact product. */
static double error_of(const product *p)
{
    double worst = 0;
    for (int64_t i = 0; i < p->batch * p->m * N; i++)
        worst = fmax(worst, isfinite(p->y[i]) ? fabs((double)p->y[i] - p->want[i]) : INFINITY);
    return worst;
}

/* y = matmul(a, w, ta=1) as a model would have it. */
static void run_ours(product *p, int n_threads)
{
    weft_ctx *c = weft_open(&(weft_options){.threads = n_threads});
    weft_graph *g = weft_graph_new(c);
    weft_type ta = weft_type_make(WEFT_F32, 3, (int64_t[]){p->batch, K, p->m});
    weft_type tw = weft_type_make(WEFT_F32, 3, (int64_t[]){p->batch, K, N});
    weft_val in[] = {weft_graph_input(g, "a", &ta), weft_graph_input(g, "w", &tw)};
    const char *name = "y";
    weft_session *s = NULL;
    weft_program *x = NULL;
    if (weft_graph_output(g, name, weft_graph_emit(g, "matmul", in, 2, "ta=1")) ||
        weft_session_new(c, false, &s) ||
        weft_program_compile(s, g, &name, 1, &(weft_compile_options){0}, &x))
        fail_msg("%s", weft_error(c));
    memcpy(weft_program_input(x, "a", NULL), p->a, weft_type_bytes(&ta));
    memcpy(weft_program_input(x, "w", NULL), p->w, weft_type_bytes(&tw));
    if (weft_program_run(x))
        fail_msg("%s", weft_error(c));
    weft_type t;
    const void *y = weft_program_output(x, name, &t);
    memcpy(p->y, y, weft_type_bytes(&t));
    weft_session_free(s);
    weft_graph_free(g);
    weft_close(c);
}

static void test_ours(void **state)
{
    (void)state;
    for (int s = 0; s < N_SIZE; s++) {
        product p = make(s);
        for (int i = 0; i < N_THREADS; i++) {
            memset(p.y, 0x7f, sizeof(float) * (size_t)(p.batch * p.m * N));
            run_ours(&p, threads[i]);
            if (error_of(&p) != 0)
                fail_msg("batch %lld, %d threads: off by %g", (long long)p.batch, threads[i],
                         error_of(&p));
        }
        drop(&p);
    }
}

static void test_the_library(void **state)
{
    (void)state;
    int seen = 0;
    char impl[64] = "";
    weft_ctx *c = weft_open(NULL);
    for (int s = 0; s < N_SIZE; s++) {
        product p = make(s);
        for (int i = 0; i < N_THREADS; i++) {
            memset(p.y, 0, sizeof(float) * (size_t)(p.batch * p.m * N));
            if (weft_dnnl_batched_raw(c, threads[i], p.batch, p.m, N, K, p.a, p.w, p.y, impl))
                fail_msg("%s", weft_error(c));
            if (error_of(&p) == 0)
                continue;
            printf("%s (%s): batch %lld, %d threads: wrong by up to %g\n", weft_dnnl_version(),
                   impl, (long long)p.batch, threads[i], error_of(&p));
            seen++;
        }
        drop(&p);
    }
    weft_close(c);
    if (seen)
        return;
    printf("%s (%s): the fault does not show on this machine\n", weft_dnnl_version(), impl);
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ours),
        cmocka_unit_test(test_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
