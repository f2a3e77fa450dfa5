/* targets.h - the classes of each row of logits: one, or k that share a row evenly.
 *
 * Targets have the leading sizes of the logits, and for k classes a row one more axis.  A target
 * `ignore` does not count; a row counts if one of its targets does. */
#ifndef WEFT_OPS_TARGETS_H
#define WEFT_OPS_TARGETS_H

#include <stdio.h>

#include "ops/ids.h"

typedef struct {
    const weft_tensor *id; /* dense */
    int64_t rows, k, classes, ignore;
} weft_targets;

/* Input `i` of a node with the attribute `ignore`; `rows` rows of `classes` logits. */
static inline weft_targets weft_targets_of(const weft_run *r, int i, int64_t rows, int64_t classes)
{
    return (weft_targets){.id = &r->in[i],
                          .rows = rows,
                          .k = r->in[i].count / rows,
                          .classes = classes,
                          .ignore = weft_run_int(r, "ignore")};
}

/* Do targets: input t fit the leading axes of input x?  If not, the error is recorded. */
static inline bool weft_targets_infer(weft_infer *c, int x, const char *name, int t)
{
    const weft_type *tx = weft_call_in(c, x), *tt = weft_call_in(c, t);
    bool same = tx->rank >= 1 && (tt->rank == tx->rank - 1 || tt->rank == tx->rank);
    for (int i = 0; same && i < tx->rank - 1; i++)
        same = tt->dim[i] == tx->dim[i];
    if (!same)
        weft_call_fail(c,
                       "targets is %s, expected the shape of %s %s without its last axis, or with "
                       "the number of targets of a row there",
                       weft_type_text(c, tt), name, weft_type_text(c, tx));
    return same;
}

/* Targets come from data files, see ids.h. Call outside parallel regions. */
static inline bool weft_targets_good(const weft_run *r, const weft_targets *t)
{
    int64_t bad = weft_ids_check(t->id, t->classes, t->ignore);
    char where[96];
    if (bad < 0)
        return true;
    snprintf(where, sizeof where, t->k > 1 ? "%lld (target %lld of row %lld)" : "%lld",
             (long long)bad, (long long)(bad % t->k), (long long)(bad / t->k));
    weft_run_fail(r, "target %lld at position %s is outside 0..%lld and is not ignore=%lld",
                  (long long)weft_get_int(t->id, bad), where, (long long)t->classes - 1,
                  (long long)t->ignore);
    return false;
}

/* Targets of a row that count. */
static inline int64_t weft_targets_count(const weft_targets *t, int64_t row)
{
    int64_t n = 0;
    for (int64_t i = row * t->k; i < (row + 1) * t->k; i++)
        n += weft_get_int(t->id, i) != t->ignore;
    return n;
}

/* 1 / rows that count, 0 without any: a scan of integers, cheap beside a row of logits. */
static inline double weft_targets_share(const weft_targets *t)
{
    int64_t n = 0;
    for (int64_t row = 0; row < t->rows; row++)
        n += weft_targets_count(t, row) > 0;
    return n ? 1.0 / (double)n : 0;
}

/* Mean negative log-likelihood of the row's targets that count, 0 without any; x: its logits, lse:
 * their log sum exp. */
static inline float weft_targets_nll(const weft_targets *t, int64_t row, const float *x, double lse)
{
    double sum = 0;
    int64_t n = weft_targets_count(t, row);
    for (int64_t i = row * t->k; i < (row + 1) * t->k; i++)
        if (weft_id(t->id, i) != t->ignore)
            sum += lse - x[weft_id(t->id, i)];
    return n ? (float)(sum / (double)n) : 0;
}

/* dx[target] -= amount / n for the n targets of the row that count; one that is there twice loses
 * twice. */
static inline void weft_targets_subtract(const weft_targets *t, int64_t row, float *dx,
                                         double amount)
{
    int64_t n = weft_targets_count(t, row);
    for (int64_t i = row * t->k; i < (row + 1) * t->k; i++)
        if (weft_id(t->id, i) != t->ignore)
            dx[weft_id(t->id, i)] -= (float)(amount / (double)n);
}

/* Sum of nll in the order of rows. */
static inline double weft_targets_sum(const weft_tensor *nll)
{
    double sum = 0;
    for (int64_t i = 0; i < nll->count; i++)
        sum += weft_get(nll, i);
    return sum;
}

#endif
