/* rate.c - how fast this machine multiplies matrices, by oneDNN's own multi-threaded product. */
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include "graph/io.h"

typedef struct {
    int64_t m, n, k;
} shape;

/* Best of several runs in about `seconds`. dnnl_sgemm is the one call that oneDNN 2 and 3 share. */
static double rate_of(weft_ctx *c, const shape *s, float *a, float *b, float *y, double seconds)
{
    int64_t start = weft_now_ns(c), best = INT64_MAX;
    do {
        int64_t t = weft_now_ns(c);
        if (dnnl_sgemm('N', 'N', s->m, s->n, s->k, 1, a, s->k, b, s->n, 0, y, s->n) != dnnl_success)
            return 0;
        t = weft_now_ns(c) - t;
        best = t < best ? t : best;
    } while ((double)(weft_now_ns(c) - start) * 1e-9 < seconds);
    return best > 0 ? 2.0 * (double)s->m * (double)s->n * (double)s->k / ((double)best * 1e-9) : 0;
}

weft_status weft_gemm_rate(weft_ctx *c, double seconds, double *out)
{
    static const shape shapes[] = {
        {1024, 3072, 768}, {1024, 768, 3072}, {2048, 2048, 2048}, {1024, 4096, 1024}};
    enum { N = (int)(sizeof shapes / sizeof *shapes), LARGEST = 2048 * 2048 };
    float *a = weft_alloc(c, 3 * sizeof *a * (size_t)LARGEST);
    int threads = omp_get_max_threads();
    *out = 0;
    if (!a)
        return weft_error_status(c);
    for (int64_t i = 0; i < 2 * (int64_t)LARGEST; i++)
        a[i] = (float)(i % 17) * 0.125F - 1;
    omp_set_num_threads(weft_threads(c));
    for (int i = 0; i < N; i++) {
        double r = rate_of(c, &shapes[i], a, a + LARGEST, a + 2 * (size_t)LARGEST, seconds / N);
        *out = r > *out ? r : *out;
    }
    omp_set_num_threads(threads);
    weft_free(c, a);
    return *out > 0 ? WEFT_OK
                    : weft_fail(c, WEFT_INTERNAL, "oneDNN refused a plain matrix product");
}
