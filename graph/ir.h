/* ir.h - the graph in memory: values, nodes, outputs, updates; and the builder every pass
 * uses.
 *
 * A graph is an append-only array of nodes in topological order.  A value is an integer and
 * has a type from the moment it exists.  A pass builds a new graph from an old one; nothing is
 * edited in place.  Everything of a graph lives in its arena. */
#ifndef WEFT_IR_H
#define WEFT_IR_H

#include "graph/op.h"
#include "graph/util.h"

/* ---- type.c: what op.h does not show ----------------------------------------------------- */
bool weft_dtype_parse(const char *s, size_t n, weft_dtype *out); /* "f32" */
/* Rank in range, sizes positive, not more elements than memory can have; else false and a
 * sentence in `why`. */
bool weft_type_check(const weft_type *t, char *why, size_t n);
/* "f32[4,12]" into out; returns out */
const char *weft_type_print(char *out, size_t n, const weft_type *t);

struct weft_params; /* expr.h */

typedef enum {
    WEFT_VALUE_INPUT, /* fed before every run */
    WEFT_VALUE_STATE, /* lives across runs: weights, moments, counters */
    WEFT_VALUE_NODE   /* computed */
} weft_value_kind;

/* Who made a state, and so what it is for. What a name looks like says nothing: a model may call a
 * weight of its own "adam.bias". */
typedef enum {
    WEFT_ROLE_MODEL,     /* the model file: a weight, a counter, a running mean */
    WEFT_ROLE_OPTIMIZER, /* optim.c: moments, the step */
    WEFT_ROLE_SUM,       /* optim.c: sums over micro-batches, begun anew in every step */
    WEFT_ROLE_CACHE      /* incr.c: earlier positions, of no use to anybody else */
} weft_role;

typedef struct {
    weft_type type;
    weft_value_kind kind;
    /* unique in the graph ("h.3.attn.p"); state: the checkpoint name; may be NULL for made
     * values */
    const char *name;
    int node, port;   /* VALUE_NODE: which node computes it */
    const char *init; /* VALUE_STATE: evaluated initialiser, "normal(0.02)" */
    bool trainable;   /* VALUE_STATE: a weight that training may change */
    weft_role role;   /* VALUE_STATE */
    bool moves;       /* VALUE_STATE: the model itself updates it */
} weft_value;

typedef struct {
    const weft_op *op;
    const weft_attr *attr; /* one per entry of op->attr */
    weft_val *in, *out;
    int n_in, n_out;
    const char *scope; /* "h.3.attn", "" at the top */
    const char *file;  /* where the user wrote it; NULL if made */
    int line;
    uint32_t stream; /* WEFT_DRAWS: random stream, stable under rewriting */
    bool backward;   /* made by differentiation of a node of this scope */
    /* > 0: inside a `recompute` call with this number; its values are computed again in
     * backward */
    int segment;
    bool again; /* such a second computation: never shared with the first */
} weft_node;

typedef struct {
    const char *name;
    weft_val value;
} weft_named;

/* One call that was expanded, for weft show: which parameters it had and where each came from. */
typedef struct {
    const char *scope, *module, *params; /* "d=768 (caller), o=2304 (here)" */
    const char *file;
    int line;
} weft_call_record;

struct weft_graph {
    weft_ctx *ctx;
    weft_arena *arena;
    weft_value *value;
    int n_value, cap_value;
    weft_node *node;
    int n_node, cap_node;
    weft_val *input; /* the values that are inputs, in order */
    int n_input, cap_input;
    weft_named *output; /* what the entry module hands out, and what passes add ("grad:h.0...") */
    int n_output, cap_output;
    weft_map *names;        /* value name -> value */
    weft_map *output_index; /* output name -> index; a hint, since passes may drop outputs */
    /* the input i64[2] {seed, step} of drawing ops, or WEFT_NONE; named "rng" */
    weft_val rng;
    uint32_t next_stream;
    const char *entry;      /* name of the entry module */
    weft_call_record *call; /* expanded graphs only; not kept by later passes */
    int n_call, cap_call;
    /* where emitted nodes say they come from */
    const char *at_scope, *at_file;
    int at_line;
    bool at_backward;
    int at_segment;
};

weft_graph *weft_graph_new(weft_ctx *c);
/* A new graph with the same inputs and states (same order, so the first values map 1:1 when
 * `map` is filled). */
weft_graph *weft_graph_like(const weft_graph *g, weft_val *map);
weft_val weft_graph_input(weft_graph *g, const char *name, const weft_type *t);
weft_val weft_graph_state(weft_graph *g, const char *name, const weft_type *t, const char *init,
                          bool trainable);
/* A state that a pass makes, of zeros; MALFORMED, with what `maker` is, when the model has the
 * name.
 */
weft_val weft_graph_made_state(weft_graph *g, const char *name, const weft_type *t, weft_role role,
                               const char *maker);
/* A state or input as another graph has it. */
weft_val weft_graph_copy_source(weft_graph *g, const weft_value *x);
/* The i64[2] input {seed, step}, made on first use. */
weft_val weft_graph_rng(weft_graph *g);
weft_status weft_graph_output(weft_graph *g, const char *name, weft_val v);
/* WEFT_NONE if there is none */
weft_val weft_graph_find_output(const weft_graph *g, const char *name);
weft_val weft_graph_find(const weft_graph *g, const char *name); /* value by name */

/* Checks arity and element types, infers, appends. in[i] == WEFT_NONE: optional input left out.
 * Fills out[] (may be NULL); returns the node index or -1 with the error recorded. */
int weft_graph_append(weft_graph *g, const weft_op *op, const weft_val *in, int n_in,
                      const weft_attr *attr, weft_val *out);
/* Appends a copy of node `n` of `from` with mapped inputs, keeping scope, source, stream, names. */
int weft_graph_copy_node(weft_graph *g, const weft_graph *from, int n, weft_val *map);
/* By op name and attribute text; for passes outside callbacks. First output, or WEFT_NONE with
 * the error recorded. */
weft_val weft_graph_emit(weft_graph *g, const char *op, const weft_val *in, int n_in,
                         const char *attrs, ...) WEFT_PRINTF(5, 6);
/* names a value; the name must be free */
void weft_graph_name(weft_graph *g, weft_val v, const char *name);

/* Attributes from "axis=-1 eps=1e-5" (already evaluated values); errors name the op, nearest
 * attribute, range. */
weft_status weft_attrs_parse(weft_ctx *c, weft_arena *a, const weft_op *op, const char *const *text,
                             int n, weft_attr **out);
/* The same with values that are expressions over `params`. */
weft_status weft_attrs_eval(weft_ctx *c, weft_arena *a, const weft_op *op,
                            const struct weft_params *params, const char *const *text, int n,
                            weft_attr **out);
/* The element types of a port kind (op.h), "i32 or i64", into out; returns out. */
const char *weft_kind_print(char *out, size_t n, int kind);
/* A number as the shortest text that reads back to the same double. */
const char *weft_number_print(char *out, size_t n, double v);
/* Index of an attribute in op->attr, -1 if the op has none of this name; number of inputs and
 * outputs declared. */
int weft_op_attr(const weft_op *op, const char *name);
int weft_op_n_attr(const weft_op *op);
int weft_op_n_in(const weft_op *op);
int weft_op_n_out(const weft_op *op);
/* Runs op->infer. types of the n_out outputs into out_type; false with the error recorded. */
bool weft_graph_infer(weft_graph *g, const weft_op *op, const weft_attr *attr, const weft_val *in,
                      int n_in, weft_type *out_type);
/* A call context over node `n` of g, for callbacks that only look (flops, view). in_type and
 * out_type are made in g's arena. */
bool weft_call_node(weft_call *c, weft_graph *g, const weft_node *n);
/* Canonical "axis=-1" strings of a node, defaults left out. Returns the count. */
int weft_attrs_print(weft_arena *a, const weft_node *n, const char **out, int max);

/* The context behind all callbacks of op.h. */
struct weft_call {
    weft_ctx *ctx;
    weft_graph *graph; /* emitted nodes go here */
    const weft_op *op;
    const weft_attr *attr;
    int n_in, n_out;
    const weft_type *in_type; /* [n_in] */
    weft_type *out_type;      /* [n_out] */
    const weft_val *in, *out; /* grad, lower, incr: the node's values in `graph` */
    bool failed;
    void *pass;                     /* state of the pass that runs the callback */
    struct weft_rewriter *rewriter; /* rewrite.c, while a rule looks at a node */
    const weft_node *node;
    const weft_tensor *in_tensor, *out_tensor; /* kernel */
};

/* stages.c: like find_output, but an unknown name is an error that tells the nearest. */
weft_val weft_graph_need_output(const weft_graph *g, const char *name);
/* cut.c: an output or else a value of this name; an unknown one is WEFT_USAGE with the nearest. */
weft_val weft_graph_need_value(const weft_graph *g, const char *name);
/* stages.c: the weights that training may change, in order; returns how many. `out` may be NULL. */
int weft_graph_trainable(const weft_graph *g, weft_val *out);

/* ---- passes (weft.h has the public ones) ------------------------------------------------- */
/* grad.c: [v]: the loss depends on value v, by nodes of whatever kind. NULL: NOMEM. In g's arena.
 */
bool *weft_graph_depends(const weft_graph *g, weft_val loss);
/* grad.c: appends gradients of `loss` with respect to xs to g itself. out[i]: WEFT_NONE ->
 * zeros were emitted, f32 whatever the value is. MALFORMED for one of another type on which
 * the loss depends. */
weft_status weft_graph_gradient(weft_graph *g, weft_val loss, const weft_val *xs, int n,
                                weft_val *out);
/* prune.c: only what the given values and effects need. `map` (n_value entries or NULL): old ->
 * new. */
weft_status weft_graph_prune(const weft_graph *g, const weft_val *keep, int n, weft_graph **out,
                             weft_val *map);

/* effects.c: MALFORMED, with node and line, if a node updates what is no state, or a second one
 * updates the same value of a state. */
weft_status weft_graph_check_updates(const weft_graph *g);
/* effects.c: marks the states that some node updates, or may update (`choose`). */
void weft_graph_mark_updates(weft_graph *g);
/* effects.c: the state whose memory output i of node n overwrites, or WEFT_NONE. */
weft_val weft_graph_updated(const weft_graph *g, int n, int i);
/* effects.c: the graph outside training, where updates stand still: readers of what an update makes
 * read what it would have updated. *out is NULL if there is nothing to leave out. `map` (n_value
 * entries or NULL): old -> new. */
weft_status weft_graph_still(const weft_graph *g, weft_graph **out, weft_val *map);
/* effects.c: the same nodes in an order in which every update comes behind all readers of the old
 * value, with copies for readers that need the update first, and for what is fetched. *out is NULL
 * if the order is right as it is. `map` (n_value entries): old -> new. */
weft_status weft_graph_order_updates(const weft_graph *g, const weft_val *fetch, int n_fetch,
                                     weft_graph **out, weft_val *map);

/* rewrite.c: applies the rules of ops/rules.def until nothing changes; outputs keep their
 * names, inputs and states stay all. `map` (n_value entries or NULL): old -> new value,
 * WEFT_NONE when gone. A training graph is rewritten twice, before it is differentiated and
 * after: rules see forward patterns, and fused ops bring their own gradients. */
weft_status weft_graph_rewrite(const weft_graph *g, const weft_rewrite_options *o, weft_graph **out,
                               weft_val *map);
/* lower.c: nodes that only pass on some of their inputs (WEFT_LOWER_FIRST) resolved, and what
 * nobody needs any more dropped; states and inputs stay all. *out is NULL if g has no such node. */
weft_status weft_graph_choose(const weft_graph *g, weft_graph **out);
/* The same, but nodes whose op has a flag of `but` stay. */
weft_status weft_graph_choose_but(const weft_graph *g, unsigned but, weft_graph **out);
/* lower.c: weft_graph_lower; if there are meta nodes and rules are on, fuses before what can
 * be fused without changing a derivative, so that gradient(...) differentiates fused ops. */
weft_status weft_graph_lower_fused(const weft_graph *g, const weft_rewrite_options *o,
                                   weft_graph **out);
/* prepare.c: the forward part of a training graph: lowered, pruned to the named outputs (all
 * states stay, and in training the model's own effects) and rewritten. Then it is differentiated,
 * the optimizer appended, and the whole compiled, which rewrites again. If one of the outputs does
 * not exist, the graph is lowered only, and whoever reads that output reports it. */
weft_status weft_graph_prepare(const weft_graph *g, const char *const *outputs, int n,
                               const weft_rewrite_options *o, weft_graph **out);
/* incr.c: the graph over `n_new` new positions with key/value caches as states ("cache:..."),
 * an i32[] input WEFT_POS; `time_inputs`: names of the inputs that are indexed by time on axis 1.
 * WEFT_UNSUPPORTED, with the node, for what cannot be computed from earlier positions alone. */
#define WEFT_POS "decode:pos" /* no name of a model file has a colon */
weft_status weft_graph_incremental(const weft_graph *g, int64_t n_new,
                                   const char *const *time_inputs, int n, weft_graph **out);

/* print.c */
/* the stable one-line-per-node dump */
weft_status weft_graph_print(const weft_graph *g, weft_string *s);
/* size.c: floating-point operations of one node. */
double weft_node_flops(const weft_graph *g, int n);
/* Elements of input i of node n that one row of the result reads: all, unless the op picks some. */
int64_t weft_node_active(const weft_graph *g, int n, int i);
/* size.c: a parameter of a call that was expanded; false: it has none of this name. */
bool weft_call_parameter(const weft_call_record *r, const char *name, double *out);
/* size.c: of everything that decides what the graph computes (ops, attributes, types, wiring,
 * states), not of names of values, places in files or comments. */
uint64_t weft_graph_hash(const weft_graph *g);

#endif
