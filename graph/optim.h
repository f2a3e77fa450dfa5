/* optim.h - the optimizer of a recipe as graph nodes. */
#ifndef WEFT_OPTIM_H
#define WEFT_OPTIM_H

#include "graph/ir.h"
#include "recipe.pb-c.h"

/* What weft_optim_append added: names to fetch and to feed, all in the graph's arena.
 *
 * accumulate == 1: one program, fetching `update`, is a whole optimizer step.
 * accumulate == N: the program fetching `micro` runs N times, its i32[] input `first` being 1 the
 * first time and 0 afterwards, each time on other data; then the program fetching `update` runs
 * once and needs no data.
 *
 * States that are added: adam.step (i64[], optimizer steps done),
 * adam.m.NAME and adam.v.NAME, and with N > 1 acc.NAME and acc.loss (WEFT_ROLE_SUM), whose contents
 * mean nothing between optimizer steps. */
typedef struct {
    const char **micro, **update; /* outputs to fetch: values to look at, and effects */
    int n_micro, n_update;        /* n_micro == 0: there is no micro program */
    const char *first;            /* input of the micro program, or NULL */
    const char *micro_loss; /* output of the micro program: loss of its data; NULL without one */
    const char *loss;       /* outputs of the update program, f32[]: mean loss of the step, */
    const char *grad_norm, *lr; /* gradient norm before clipping, learning rate */
    int64_t accumulate;
    int n_weight; /* weights that are trained */
} weft_optim;

/* Appends to a lowered graph: gradients of the output train.loss for its trainable weights alone,
 * their global norm, clipping (Pascanu et al., 2013), the schedule, an AdamW node per weight
 * (groups of the recipe: first match wins), and the step counter.  When loss or gradient norm is
 * not finite, no weight, no moment and not the counter change.  Weights of a group with unit_norm
 * are renormalised behind their update, and their gradients lose the part along them.  Effects of
 * the model itself and the outputs of train.log are fetched with the data: in `micro` if there is
 * one. A weight that the loss does not
 * depend on is left alone and named in the log, as is a group that gets no weight. Fails with
 * WEFT_MALFORMED when there is nothing to train or no such loss. */
weft_status weft_optim_append(weft_graph *g, const Weft__Recipe *r, weft_optim *out);

#endif
