/* expand.h - what the two files of expansion share: the use of one module, its parameters and its
 * names. */
#ifndef WEFT_EXPAND_H
#define WEFT_EXPAND_H

#include "graph/load.h"
#include "graph/pattern.h"

typedef struct {
    const weft_model *m;
    weft_graph *g;
    weft_ctx *c;
    int n_segment;
    int64_t n_written;       /* nodes in the files */
    int64_t n_call, n_ahead; /* calls so far; repetitions that loops have still to make */
    int64_t work;            /* see MAX_WORK in expand_names.c */
    weft_map *tried_at;      /* base of a name -> index of the last number tried behind "~" */
    int *tried, n_tried, cap_tried;
} weft_expander;

enum {
    WEFT_EXPAND_NODES = 250000, /* nodes and, each repetition counting, calls: so many beyond */
    WEFT_EXPAND_CALLS = 250000, /* those that the files write */
    WEFT_EXPAND_NAME = 4096     /* bytes of a name with its scopes */
};

/* One use of a module. */
typedef struct weft_instance {
    weft_expander *x;
    weft_arena *work; /* lives as long as this use does; what outlives it is copied by the graph */
    const Weft__Module *module;
    weft_params params;
    weft_binding bind;
    weft_map *env;         /* local name -> value */
    const char *scope;     /* "" or "h.3." with the final dot */
    const char **out_name; /* full names for the outputs, from the caller; entries may be NULL */
    int n_out_name;
    bool trainable;
    int segment, depth;
    const struct weft_instance *caller;
} weft_instance;

/* Counts what expansion does and makes. MALFORMED when the sum over the whole model passes a
 * limit: the time of expansion, and the memory of the graph, are bounded whatever the file says. */
weft_status weft_expand_spend(weft_expander *x, int64_t work);
/* Before any of n_call calls is made: refuses those whose names alone are more than a graph holds.
 */
weft_status weft_expand_check_names(weft_instance *it, const Weft__Node *node,
                                    const Weft__Module *callee, int64_t n_call);
/* scope + name, or NULL with the error recorded: out of memory, or longer than WEFT_EXPAND_NAME. */
const char *weft_expand_join(weft_instance *it, const char *scope, const char *name);
/* Records a malformed model; returns the status. */
weft_status weft_expand_fail(weft_expander *x, const char *fmt, ...) WEFT_PRINTF(2, 3);
const char *weft_expand_place(weft_expander *x, const void *message); /* "file:line" */

/* The attributes of a call are parameters of the callee, each given once. */
weft_status weft_expand_check_attrs(weft_instance *it, const Weft__Node *node,
                                    const Weft__Module *callee);
/* Value of one declared parameter: given by the call, else the caller's of the same name, else the
 * default.  node == NULL: the entry module, whose parameters --set gives. */
weft_status weft_expand_bind_param(weft_instance *it, const char *declared, const Weft__Node *node,
                                   const weft_params *outer);
/* Notes parameters and their origins for weft show. */
weft_status weft_expand_record(weft_instance *it, const void *message);

/* "h.{i}" with every {expression} replaced by its value; NULL with the error recorded. */
const char *weft_expand_name(weft_instance *it, const char *pattern, const weft_params *params);
weft_status weft_expand_define(weft_instance *it, const char *name, weft_val v);
weft_status weft_expand_lookup(weft_instance *it, const char *name, weft_val *out);
/* The name in the whole graph for local value `name`: the caller's if it is an output of the
 * module. */
const char *weft_expand_full_name(weft_instance *it, const char *name);

#endif
