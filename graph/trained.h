/* trained.h - a model with weights, ready to be compiled for evaluation or generation. */
#ifndef WEFT_TRAINED_H
#define WEFT_TRAINED_H

#include "graph/recipe.h"
#include "graph/told.h"

/* As a batch: one sequence, or as many as a graph has that has no parameter B. */
#define WEFT_BATCH_ONE (-1)

struct weft_trained {
    weft_ctx *ctx;
    weft_arena *arena;
    weft_recipe *recipe; /* NULL: from a model file */
    const char *model;   /* model file, when there is no recipe */
    const char *const *set;
    int n_set;
    const char *weights;       /* NULL: start values */
    weft_told told;            /* what these say of the model */
    bool alone;                /* they are what was opened: no file holds other parts */
    const char *loss, *folder; /* folder: the run directory, NULL without one */
    int64_t vocab;
    bool warned; /* that weights have start values */
};

#endif
