/* sparse.c - what the ops on k-sparse rows share. */
#include <string.h>

#include "graph/rule.h"
#include "ops/ids.h"
#include "ops/sparse.h"

bool weft_infer_rows(weft_infer *c, int i, const char *name_i, int j, const char *name_j, bool last)
{
    const weft_type *a = weft_call_in(c, i), *b = weft_call_in(c, j);
    bool good = a->rank >= 1 && a->rank == b->rank;
    for (int d = 0; good && d < a->rank - !last; d++)
        good = a->dim[d] == b->dim[d];
    if (!good)
        weft_call_fail(c, "%s is %s and %s is %s, but they need the same axes%s", name_i,
                       weft_type_text(c, a), name_j, weft_type_text(c, b),
                       last ? "" : " before the last one");
    return good;
}

weft_type weft_type_rows(const weft_type *like, weft_dtype t, int64_t n)
{
    weft_type y = *like;
    y.dtype = t;
    y.dim[y.rank - 1] = n;
    return y;
}

static bool in_set(unsigned set, int i) { return set >> i & 1; }

/* The time axis of the rows: that of the first input that has one. */
static int time_of_rows(weft_incr *c, unsigned rows)
{
    for (int i = 0; i < weft_call_n_in(c); i++)
        if (in_set(rows, i) && weft_incr_axis(c, i) >= 0)
            return weft_incr_axis(c, i);
    return -1;
}

static bool rows_are_apart(weft_incr *c, unsigned rows, int time)
{
    bool good = time >= 0 && time < weft_incr_type(c, 0)->rank - 1;
    int later = weft_incr_later(c, 0);
    for (int i = 0; i < weft_call_n_in(c); i++) {
        int t = weft_incr_axis(c, i);
        good = good && (t < 0 || (in_set(rows, i) && t == time));
        if (weft_incr_blocked(c, i, weft_incr_type(c, i)->rank - 1, "pick along"))
            return false;
        if (in_set(rows, i) && weft_incr_later(c, i) != later)
            good = good && !weft_call_has(c, i);
    }
    if (!good)
        weft_call_fail(c,
                       "cannot be computed step by step: time must be the same axis of all rows, "
                       "but not their last one, and not in weights");
    return good;
}

void weft_incr_rows(weft_incr *c, const char *op, unsigned rows, int n_out)
{
    weft_val in[8];
    int n = weft_call_n_in(c), time = time_of_rows(c, rows);
    if (!rows_are_apart(c, rows, time))
        return;
    for (int i = 0; i < n; i++) {
        in[i] = weft_call_has(c, i) ? weft_incr_new(c, i) : WEFT_NONE;
        /* rows that are the same for every text, one for each position: those of the new positions
         */
        if (in_set(rows, i) && in[i] >= 0 && weft_incr_axis(c, i) < 0)
            in[i] = weft_incr_window(c, in[i], time);
    }
    weft_val y = weft_emit(c, op, in, n, "%s", weft_attrs_text(c));
    for (int i = 0; i < n_out; i++)
        weft_incr_out(c, i, weft_emit_nth(c, y, i), time);
    for (int i = 0; i < n_out; i++)
        weft_incr_keys(c, i, weft_incr_later(c, 0), -1);
}

weft_val weft_emit_scatter(weft_call *c, weft_val value, weft_val index, int64_t n)
{
    return weft_emit(c, "scatter", (weft_val[]){value, index}, 2, "n=%lld", (long long)n);
}

bool weft_match_scatter(weft_call *m, weft_val y, weft_val *value, weft_val *index)
{
    if (!weft_match_is(m, y, "scatter") || !weft_match_may_bypass(m, y))
        return false;
    *value = weft_match_in(m, y, 0);
    *index = weft_match_in(m, y, 1);
    return true;
}

/* Different positions within a row are known of topk's second output alone. A slice with as many
 * numbers in its last axis as before takes whole rows. */
bool weft_match_distinct(weft_call *m, weft_val index)
{
    while (weft_match_is(m, index, "slice") &&
           weft_val_type(m, index)->dim[weft_val_type(m, index)->rank - 1] ==
               weft_val_type(m, weft_match_in(m, index, 0))->dim[weft_val_type(m, index)->rank - 1])
        index = weft_match_in(m, index, 0);
    return weft_match_port(m, index) == 1 && (!strcmp(weft_match_op(m, index), "topk") ||
                                              !strcmp(weft_match_op(m, index), "sparse_topk"));
}

/* Before the loops, which use positions as they are: an index can come from a file. */
bool weft_index_good(const weft_run *r, const weft_tensor *index, int64_t n)
{
    int64_t bad = weft_ids_check(index, n, 0);
    if (bad >= 0)
        weft_run_fail(r, "index %lld at position %lld is outside 0..%lld (a row has %lld numbers)",
                      (long long)weft_get_int(index, bad), (long long)bad, (long long)n - 1,
                      (long long)n);
    return bad < 0;
}
