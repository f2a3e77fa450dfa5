/* labels_part.h - the part of a model that makes labels: what it gives, and what identifies it. */
#ifndef WEFT_LABELS_PART_H
#define WEFT_LABELS_PART_H

#include "graph/plan.h"
#include "graph/recipe.h"

/* Everywhere: `label` names an output or value of the entry module that a node computes:
 * i32[B,T,k]. */
typedef struct {
    int64_t B, T, k;
    int64_t concepts; /* ids are below this: what they index is the last axis of the first input of
                         the node that makes them */
} weft_label_shape;
/* MALFORMED when the graph computes no such value. */
weft_status weft_label_shape_of(const weft_graph *g, const char *label, weft_label_shape *out);
/* The graph of the labels alone, without outputs. */
weft_status weft_label_part(const weft_graph *g, const char *label, weft_graph **out);
/* Of everything that the labels are computed by. The batch is part of every type: give a graph that
 * was expanded with B = 1, and labels made with another batch are the same labels. */
weft_status weft_label_graph_hash(const weft_graph *g, const char *label, uint64_t *out);
/* Of names and bytes of all weights that the labels are computed from; all must be ready. */
weft_status weft_label_weight_hash(weft_session *s, const weft_graph *g, const char *label,
                                   uint64_t *out);

/* The graph with the labels as inputs, for a recipe that names a label file (`path`), as far as the
 * outputs `keep` need it. *out NULL: there is nothing to cut. */
weft_status weft_labels_cut(const weft_recipe *r, const weft_graph *forward, const char *path,
                            const char *const *keep, int n, weft_graph **out);
/* Names of the values that a label file stands for: the recipe's label_value, and its score_value
 * where the graph computes it. Returns how many. */
int weft_label_values(const weft_recipe *r, const weft_graph *g, const char *name[2]);

#endif
