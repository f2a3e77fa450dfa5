/* dnnl.h - what the ops need of oneDNN, in one version-free interface.
 *
 * Only dnnl.c knows which oneDNN it is built with.
 * Results must not depend on the thread count, and oneDNN does not promise that (it may split K
 * over threads).  So every primitive here is made for ONE thread and works on a tile; the tiles of
 * a product are a function of its sizes alone and are spread over our own OpenMP loop. */
#ifndef WEFT_DNNL_H
#define WEFT_DNNL_H

#include "graph/op.h"

/* C[b][m,n] = alpha * sum_k A[b][m,k] B[b][k,n] (+ bias[n]) (+ C if accumulate), then GELU (tanh
 * form) if asked. Strides in elements; for each operand one of the two inner strides is 1.  The
 * batch has two levels, outer x batch, because heads inside [B,T,3C] are not evenly spaced; outer 0
 * means 1.  Batch stride 0: shared by the batch. */
typedef struct {
    int64_t batch, m, n, k;
    int64_t a_batch, a_row, a_col;
    int64_t b_batch, b_row, b_col;
    int64_t c_batch, c_row; /* c_col is 1 */
    int64_t outer, a_outer, b_outer, c_outer;
    weft_dtype dtype; /* of A and B; C is f32 */
    float alpha;
    bool bias, accumulate, gelu;
    bool one_tile; /* one call of oneDNN on the operands as they lie, for weft_gemm_run_here */
} weft_gemm_desc;

typedef struct weft_gemm weft_gemm;

/* At compile time: a product with its tiles and primitives, equal ones shared through the session.
 * NULL and the kernel's error set if oneDNN refuses. Adds its scratch to the kernel's and tells its
 * impl name to the kernel. */
const weft_gemm *weft_kernel_gemm(weft_kernel *k, const weft_gemm_desc *d);
/* At run time, from outside parallel regions: all tiles over the run's threads. */
void weft_gemm_run(const weft_gemm *g, const weft_run *r, const void *a, const void *b,
                   const float *bias, float *c);
/* From inside a parallel region: the whole product on the calling thread; `thread` =
 * omp_get_thread_num(). For products that do not get shared memory (one_tile, m or n below 256, or
 * a batch): larger ones belong to weft_gemm_run. */
void weft_gemm_run_here(const weft_gemm *g, const weft_run *r, int thread, const void *a,
                        const void *b, const float *bias, float *c);

int64_t weft_gemm_tiles(const weft_gemm *g); /* number of independent tasks of weft_gemm_run */

/* Element-wise functions and softmax by oneDNN on dense f32, chunked the same way. */
typedef enum {
    WEFT_ELTWISE_GELU_TANH,
    WEFT_ELTWISE_GELU_ERF,
    WEFT_ELTWISE_EXP,
    WEFT_ELTWISE_TANH,
    WEFT_ELTWISE_LOG
} weft_eltwise_alg;
typedef struct weft_eltwise weft_eltwise;
const weft_eltwise *weft_kernel_eltwise(weft_kernel *k, weft_eltwise_alg alg, bool backward,
                                        int64_t count);
/* forward: y = f(x); backward: y = dy * f'(x) */
void weft_eltwise_run(const weft_eltwise *e, const weft_run *r, const float *x, const float *dy,
                      float *y);

/* Softmax (or its logarithm) along the last of two dense axes. */
typedef struct weft_softmax weft_softmax;
const weft_softmax *weft_kernel_softmax(weft_kernel *k, int64_t rows, int64_t cols, bool log);
void weft_softmax_run(const weft_softmax *s, const weft_run *r, const float *x, float *y);

/* The session's oneDNN engine, primitives and per-thread memory objects. */
struct weft_dnnl *weft_dnnl_new(weft_ctx *c);
void weft_dnnl_free(struct weft_dnnl *d);
/* What no kernel here asks of oneDNN: y[b] = a[b]^T w[b] for dense f32 a [batch,k,m], w [batch,k,n]
 * as one batched primitive on `threads` threads of its own.  Some versions (2.5 to 2.7.4, 3.0 to
 * 3.2) then give wrong numbers without an error where k >= 2048 and there are more threads than
 * batch * ceil(n / 64): a test looks whether this one does.  `impl` gets oneDNN's name for its
 * code. */
weft_status weft_dnnl_batched_raw(weft_ctx *c, int threads, int64_t batch, int64_t m, int64_t n,
                                  int64_t k, const float *a, const float *w, float *y,
                                  char impl[64]);
const char *weft_dnnl_version(void); /* "oneDNN 2.6.3, cpu isa avx2" */
/* Bytes of the widest vectors that oneDNN uses in this process: 64 (AVX-512), 32 (AVX2) or 16. Less
 * than the CPU has where DNNL_MAX_CPU_ISA says so; a kernel with variants obeys it as well, so that
 * one machine can give the bits of another. */
int weft_vector_bytes(void);

#endif
