/* rounds.h - a graph with means over a whole data set (WEFT_POOLS) as rounds over the data. */
#ifndef WEFT_ROUNDS_H
#define WEFT_ROUNDS_H

#include "graph/ir.h"

enum { WEFT_MAX_ROUNDS = 8 };

/* A mean over the data: computed in round `round` as the output `from` of every batch, read in
 * later rounds as the input `to`; the model file calls what is averaged `name`. */
typedef struct {
    const char *from, *to, *name;
    weft_type type;
    int round;
} weft_pool;

typedef struct {
    int n_round;
    weft_graph
        *graph[WEFT_MAX_ROUNDS]; /* to be freed; all NULL: there are no means, g itself is it */
    const char **fetch[WEFT_MAX_ROUNDS]; /* wanted values and `from`s of each round */
    int n_fetch[WEFT_MAX_ROUNDS];
    int *at; /* [n] in which round each wanted value is computed */
    weft_pool *pool;
    int n_pool;
} weft_rounds;

/* The rounds that the outputs or values `want` of g need; names live in `a`. MALFORMED for means of
 * means of more than WEFT_MAX_ROUNDS levels. */
weft_status weft_rounds_make(weft_arena *a, const weft_graph *g, const char *const *want, int n,
                             weft_rounds *out);
void weft_rounds_free(weft_rounds *r);

#endif
