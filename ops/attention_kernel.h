/* attention_kernel.h - the blocked attention kernels behind ops/attention.c, one table per
 * instruction set. */
#ifndef WEFT_OPS_ATTENTION_KERNEL_H
#define WEFT_OPS_ATTENTION_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "ops/random.h"

/* Queries and keys of a block: multiples of every panel width and of nothing else in particular;
 * measured best of 64..192 on Zen 3 (head size 64): the score block and the packed queries share
 * the first-level cache. */
enum { WEFT_ATTENTION_Q = 96, WEFT_ATTENTION_K = 64 };

/* One head of one sequence. qkv [T, 3C] points at this head's first column of Q; K and V are c and
 * 2c further. Query row r stands at position from + step * r and sees the keys up to there; y, dy
 * and lse have a row for each query. */
typedef struct {
    int64_t t, d, c; /* positions, head size, C = heads * d */
    int64_t n_query, from, step;
    int64_t dp;  /* d rounded up to whole panels */
    int64_t ld;  /* from row to row of k, v, qn, dn: dp rounded up to an odd number of cache lines,
                    so that rows do not compete for the same ones */
    float scale; /* of the scores, 1 / sqrt(d) as a rule */
    /* dropout of the probabilities, NULL: none; this head's are numbered from `first` on, [T, T] */
    const weft_drop *drop;
    int64_t first;
    const float *qkv;
    const float *k, *v; /* K and V side by side in memory, [T, ld]: `keys` makes them */
    const float *y;     /* backward: output [n_query, C] at this head's first column */
    const float *dy;    /* backward: its gradient */
    const float *lse;   /* backward: log sum exp of each row of scores, [n_query] */
    /* backward: workspace for one block of queries, filled by the kernels */
    float *qt, *qn;      /* Q * scale as panels of Q^T [Q * dp], and as rows [Q, ld] */
    float *dt, *dn;      /* dY likewise, over 1 - p */
    float *delta, *rows; /* sum(dy * y) and lse of each query, [Q] */
} attention_head;

typedef struct {
    const char *name;
    int64_t panel; /* columns of a panel */
    /* Copies keys k0 .. k0 + n and their values to rows k0 .. k0 + n of k and v, [T, ld]. */
    void (*keys)(const attention_head *g, int64_t k0, int64_t n, float *k, float *v);
    /* y and lse of the queries from q0 on, one block. work: weft_attention_work(forward). */
    void (*forward)(const attention_head *g, int64_t q0, float *y, float *lse, float *work);
    /* All of dqkv (at this head's first column of dQ) but the dQ of positions without a query. */
    void (*backward)(const attention_head *g, float *dqkv, float *work);
    /* dK, dV of one block of keys; dQ of one block of queries: together the bits of `backward`. */
    void (*backward_keys)(const attention_head *g, int64_t k0, float *dqkv, float *work);
    void (*backward_queries)(const attention_head *g, int64_t q0, float *dqkv, float *work);
} attention_isa;

/* Tables that this machine can run, the best first; NULL past the last. */
const attention_isa *weft_attention_isa(int i);
/* Floats of `work`: forward and the blockwise backward; `whole`: backward of a whole head of t
 * positions. */
int64_t weft_attention_work(int64_t dp, int64_t t, bool whole);
/* `ld` of an attention_head for its dp. */
int64_t weft_attention_ld(int64_t dp);
/* Floats of the query workspace; `attention_head` pointers set into `at`. */
int64_t weft_attention_queries(attention_head *g, float *at);

#endif
