/* loops.h - walks over tensors of any strides in long even rows, spread over threads in fixed
 * pieces. */
#ifndef WEFT_OPS_LOOPS_H
#define WEFT_OPS_LOOPS_H

#include "graph/op.h"

enum { WEFT_WALK_MAX = 4 };

/* A run of positions that lie at even distances in every operand. Operand 0 is the output. */
typedef struct {
    int64_t n;                     /* positions */
    char *p[WEFT_WALK_MAX];        /* first element of each operand */
    int64_t stride[WEFT_WALK_MAX]; /* elements from one position to the next; 0: broadcast */
    const float *param;            /* constants of the op */
    int64_t size;                  /* bytes of an element of operand 0 */
} weft_span;

/* Loops over the positions of a shape with adjacent axes merged where all operands allow. */
typedef struct {
    int rank, n_operand;
    int64_t count, dim[WEFT_MAX_RANK];
    int64_t stride[WEFT_WALK_MAX][WEFT_MAX_RANK];
    char *data[WEFT_WALK_MAX];
    int64_t size[WEFT_WALK_MAX]; /* bytes of an element */
} weft_nest;

/* The nest over the sizes of operand[0]; the others broadcast to it by NumPy's rules. */
void weft_nest_make(weft_nest *n, const weft_tensor *const *operand, int n_operand);
/* Calls `span` for pieces that cover the nest. The pieces depend on the sizes alone, never on the
 * threads. */
void weft_nest_walk(const weft_run *r, const weft_nest *n, void (*span)(const weft_span *s),
                    const float *param);
/* Both at once for output 0 and inputs 0..n_in-1 of a run. */
void weft_run_walk(const weft_run *r, int n_in, void (*span)(const weft_span *s),
                   const float *param);

/* y = x moved, the same element type and sizes, any strides. */
void weft_tensor_copy(const weft_run *r, const weft_tensor *y, const weft_tensor *x);
/* A part of a tensor: `size` positions from `from` on `axis`, every `step`th. */
weft_tensor weft_tensor_slice(const weft_tensor *x, int axis, int64_t from, int64_t size,
                              int64_t step);
/* The tensor with its axes in the order `perm`. */
weft_tensor weft_tensor_permute(const weft_tensor *x, const int *perm);
/* The tensor with other sizes; x must be dense. */
weft_tensor weft_tensor_resize(const weft_tensor *x, int rank, const int64_t *dim);
bool weft_tensor_dense(const weft_tensor *x);

/* y = f(x) and y = f(a, b) for references, in double, with broadcasting. */
void weft_ref_unary(const weft_run *r, double (*f)(double));
void weft_ref_binary(const weft_run *r, double (*f)(double, double));

/* Element i of y = element j of x, bit by bit, for references of ops that only move data. */
void weft_ref_move(const weft_tensor *y, int64_t i, const weft_tensor *x, int64_t j);

/* "2,3,4" of a type's sizes, for the attribute dims=... of an emitted node. */
enum { WEFT_DIMS_TEXT = 256 };
const char *weft_dims_text(char out[WEFT_DIMS_TEXT], const weft_type *t);

/* flops of element-wise ops: one per output element. */
double weft_flops_elements(const weft_call *c);

/* Inference of ops whose output 0 has the type of input 0. */
void weft_infer_like_first(weft_infer *c);

#endif
