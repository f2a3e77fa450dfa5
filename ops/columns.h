/* columns.h - the entries of k-sparse rows sorted by position, which turns products with a matrix
 * [d,n] into walks along its rows.
 *
 * A row of the matrix is then read (or written) from left to right, and what is looked up at random
 * is as small as the number of sparse rows: it stays in the first-level cache, whatever n is. */
#ifndef WEFT_OPS_COLUMNS_H
#define WEFT_OPS_COLUMNS_H

#include "graph/op.h"

/* Columns that have entries, in ascending order; entries of a column in order of rows. */
typedef struct {
    int32_t columns;
    int32_t *column; /* [columns]: its position 0..n-1 */
    int32_t *begin;  /* [columns + 1]: its first entry */
    int32_t *entry;  /* entries: row * k + j, counted from the first row that was asked for */
    int32_t *row;    /* entries: row, counted in the same way */
    int32_t *start;  /* [n + 1]: first entry of every position, empty ones too */
} weft_columns;

/* Most rows that one list holds: positions are 32-bit. */
int64_t weft_columns_most(int64_t k);
/* Bytes of memory for lists of `rows` rows. */
size_t weft_columns_bytes(int64_t n, int64_t rows, int64_t k);
/* Sorts the entries of rows first..first+rows-1 of index [...,k], all in 0..n-1; `memory` is
 * aligned to 4 bytes. Two passes of counting: in proportion to n + rows * k. */
weft_columns weft_columns_make(void *memory, const weft_tensor *index, int64_t n, int64_t first,
                               int64_t rows);

#endif
