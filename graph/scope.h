/* scope.h - the tree of scopes of a flat graph, and which sibling scopes are repetitions of each
 * other. */
#ifndef WEFT_SCOPE_H
#define WEFT_SCOPE_H

#include "graph/ir.h"

/* One call of a module, as the dots of scope names tell: "h.3.attn" is "attn" in "h.3" ("h.3" is
 * one step: a number belongs to the word before it). Scope 0 is the root. */
typedef struct {
    const char *path, *label; /* "h.3.attn", "attn" */
    int parent, depth;        /* the root: -1, 0 */
    int number;               /* "h.3": 3; -1: none */
    const char *family;       /* "h.": the path without the number */
    int *node;                /* nodes in this scope and below, in order */
    int n_node, at;
    int fold_to;    /* scope that stands for this one: itself, or the first of its repetitions */
    int fold_count; /* how many scopes this one stands for */
} weft_scope;

typedef struct {
    const weft_graph *graph;
    weft_arena *arena;
    weft_scope *scope;
    int n_scope, cap_scope;
    weft_map *paths;
    int *node_scope;    /* of each node */
    int *node_to;       /* the node that stands for this one under folding */
    weft_val *value_to; /* likewise for values */
    int *state_scope;   /* of each value that is a state or input: the scope in which it is drawn */
} weft_scopes;

/* NULL with the error recorded when out of memory. `fold`: find repetitions, else everything stands
 * for itself. */
weft_scopes *weft_scopes_new(weft_arena *a, const weft_graph *g, bool fold);

#endif
