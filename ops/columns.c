/* columns.c - the entries of k-sparse rows sorted by position. */
#include <string.h>

#include "ops/columns.h"
#include "ops/ids.h"

int64_t weft_columns_most(int64_t k) { return k ? (INT32_MAX - 1) / k : INT32_MAX - 1; }

/* start (two more, see below), then column, begin, entry and row. */
size_t weft_columns_bytes(int64_t n, int64_t rows, int64_t k)
{
    int64_t entries = rows * k, columns = n < entries ? n : entries;
    return (size_t)(n + 2 + 2 * columns + 1 + 2 * entries) * sizeof(int32_t);
}

/* Counts are kept two places ahead: the prefix sums are then one place ahead, and after each has
 * moved on by its entries they are where they belong. */
static void sort_entries(weft_columns *c, const weft_tensor *index, int64_t n, int64_t first,
                         int64_t entries, int64_t k)
{
    memset(c->start, 0, (size_t)(n + 2) * sizeof *c->start);
    for (int64_t i = 0; i < entries; i++)
        c->start[weft_id(index, first + i) + 2]++;
    for (int64_t v = 2; v < n + 2; v++)
        c->start[v] += c->start[v - 1];
    for (int64_t i = 0; i < entries; i++) {
        int32_t at = c->start[weft_id(index, first + i) + 1]++;
        c->entry[at] = (int32_t)i;
        c->row[at] = (int32_t)(i / k);
    }
}

weft_columns weft_columns_make(void *memory, const weft_tensor *index, int64_t n, int64_t first,
                               int64_t rows)
{
    int64_t k = index->dim[index->rank - 1], entries = rows * k;
    int64_t most = n < entries ? n : entries;
    weft_columns c = {.start = memory};
    c.column = c.start + n + 2;
    c.begin = c.column + most;
    c.entry = c.begin + most + 1;
    c.row = c.entry + entries;
    sort_entries(&c, index, n, first * k, entries, k);
    for (int64_t v = 0; v < n; v++)
        if (c.start[v + 1] > c.start[v]) {
            c.column[c.columns] = (int32_t)v;
            c.begin[c.columns++] = c.start[v];
        }
    c.begin[c.columns] = (int32_t)entries;
    return c;
}
