/* prim.h - one-thread oneDNN primitives: what dnnl.c offers to gemm.c and chunk.c.
 *
 * A primitive is made for one thread and holds memory objects for every thread of the session, so
 * that running it sets pointers and allocates nothing of ours.  Equal primitives are made once for
 * a session.  No oneDNN type shows here. */
#ifndef WEFT_PRIM_H
#define WEFT_PRIM_H

#include "graph/dnnl.h"
#include "graph/util.h"

typedef struct weft_prim weft_prim;

typedef enum { WEFT_PRIM_MATMUL = 1, WEFT_PRIM_ELTWISE, WEFT_PRIM_SOFTMAX } weft_prim_kind;

/* Everything that distinguishes primitives; also the key under which they are shared (unused fields
 * are zero). */
typedef struct {
    int64_t kind;    /* weft_prim_kind */
    int64_t m, n, k; /* matmul; eltwise: n elements; softmax: m rows of n */
    int64_t a_row, a_col, b_row, b_col, c_row;
    int64_t dtype; /* of A and B */
    int64_t alpha; /* bits of the float */
    int64_t bias, accumulate, gelu;
    int64_t alg, backward, log;
} weft_prim_key;

/* NULL with the reason recorded in the context. */
const weft_prim *weft_prim_get(struct weft_dnnl *d, const weft_prim_key *key);
size_t weft_prim_scratch(const weft_prim *p);
const char *weft_prim_impl(const weft_prim *p);

/* Runs on the calling thread. Arguments in the order A, B, bias, C (matmul), x, dy or NULL, y
 * (eltwise), x, y (softmax); `thread` < threads of the session. The caller has set the thread's
 * OpenMP thread number to one (weft_prim_enter), or oneDNN would open a region of its own. NOMEM:
 * oneDNN could not allocate buffers of its own; INTERNAL: it was called wrongly. Records nothing. */
weft_status weft_prim_run(const weft_prim *p, int thread, void *scratch, void *const *arg);

/* In a team of one, oneDNN does not see that it is inside a region: says so. Returns what
 * weft_prim_leave restores. */
int weft_prim_enter(void);
void weft_prim_leave(int saved);

#endif
