/* cached.h - label files in use: opened, and held against the model, the data and the weights. */
#ifndef WEFT_CACHED_H
#define WEFT_CACHED_H

#include "graph/data.h"
#include "graph/labels.h"
#include "graph/plan.h"
#include "graph/recipe.h"

/* Opens the recipe's `which` (WEFT_RECIPE_LABELS or WEFT_RECIPE_VAL_LABELS, which it names) for a
 * sampler of the data that they are of: s->labels is the caller's to close, also on failure.
 * `forward` is the expanded graph, `one` the same with B = 1. MISMATCH with what differs, MALFORMED
 * when labels are computed from trained weights. */
weft_status weft_cached_open(const weft_recipe *r, const weft_graph *forward, const weft_graph *one,
                             weft_recipe_path which, weft_sampler *s);
/* Compares the weights of the label files (NULL: none) of training and validation data with those
 * of the extractor: those of the recipe's `load` entries, and else those of the session `run`,
 * which is filled. A file that is not there is told to the log, and nothing compared. MISMATCH
 * names the entries. */
weft_status weft_cached_check(const weft_recipe *r, const weft_graph *forward, weft_session *run,
                              weft_labels *train, weft_labels *val);

#endif
