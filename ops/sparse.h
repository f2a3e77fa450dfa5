/* sparse.h - what the ops on k-sparse rows share: shapes, decoding, and the check of positions.
 *
 * A k-sparse row of n numbers is k values and their positions (`value` and `index` of the ops); its
 * dense meaning is the op scatter. */
#ifndef WEFT_OPS_SPARSE_H
#define WEFT_OPS_SPARSE_H

#include "graph/op.h"

/* Do inputs i and j have axes, and the same ones (with `last`: all, else all before the last)?
 * Records the error, in which the inputs have these names. */
bool weft_infer_rows(weft_infer *c, int i, const char *name_i, int j, const char *name_j,
                     bool last);
/* A type with the axes of `like` and the last one of size n. */
weft_type weft_type_rows(const weft_type *like, weft_dtype t, int64_t n);

/* Decoding of an op whose inputs in the bit set `rows` hold rows that do not see each other, and
 * whose other inputs have no time: the same op on the new rows. */
void weft_incr_rows(weft_incr *c, const char *op, unsigned rows, int n_out);

/* scatter(value, index) in rows of n. */
weft_val weft_emit_scatter(weft_call *c, weft_val value, weft_val index, int64_t n);
/* Is y = scatter(value, index), and may a rule lead around it? */
bool weft_match_scatter(weft_call *m, weft_val y, weft_val *value, weft_val *index);
/* Are the positions of a row known to differ?  Those that topk gives do. */
bool weft_match_distinct(weft_call *m, weft_val index);

/* Are all positions in 0..n-1?  Else the run fails: they may come from outside, and writing beyond
 * a row would be worse. */
bool weft_index_good(const weft_run *r, const weft_tensor *index, int64_t n);

/* Size of the last axis, and the number of rows: all axes before it. */
static inline int64_t weft_row_size(const weft_tensor *t) { return t->dim[t->rank - 1]; }

static inline int64_t weft_row_count(const weft_tensor *t)
{
    int64_t rows = 1;
    for (int i = 0; i + 1 < t->rank; i++)
        rows *= t->dim[i];
    return rows;
}

#endif
