/* plan.h - from a graph to something that runs: memory plan, compiled program, session. */
#ifndef WEFT_PLAN_H
#define WEFT_PLAN_H

#include "graph/ir.h"

/* ---- memory.c: a pure function -------------------------------------------------------------- */
typedef struct {
    size_t bytes;
    int first, last; /* steps, inclusive, at which the buffer holds something */
} weft_life;

/* Offsets (multiples of `align`) for buffers so that those alive together do not overlap; returns
 * the peak, or SIZE_MAX: they do not fit into an address space. Greedy by size (Pisarchyk and Lee,
 * 2020); nearly linear in n for the lives of chains of nodes. `work`: weft_memory_work(n) bytes of
 * scratch, aligned as malloc does. */
size_t weft_memory_plan(const weft_life *life, int n, size_t align, size_t *offset, void *work);
size_t weft_memory_work(int n); /* enough for weft_memory_check, too */
/* Independent check by sweeping over the steps: true, or false and an overlapping pair in *a, *b
 * (equal: beyond the peak). `work`: 2 n ints of scratch. */
bool weft_memory_check(const weft_life *life, int n, const size_t *offset, size_t peak, int *work,
                       int *a, int *b);

/* What a kernel reports while it runs (weft_run_fail); one per program. */
typedef struct weft_fault {
    bool failed;
    weft_status status;
    char message[512];
} weft_fault;

/* As weft_run_fail, for what is no fault of the data: `s` of weft_prim_run in `what` ("a tile of a
 * matrix product"). */
void weft_run_fail_prim(const weft_run *r, weft_status s, const char *what);

/* ---- layout.c: where values live ------------------------------------------------------------ */
/* A value is a window on the storage of its root: itself, the input of a chain of views, or a
 * state. */
typedef struct {
    weft_val root;
    int64_t offset; /* elements from the root's start */
} weft_place;

typedef struct {
    weft_graph *graph;   /* the input graph with copies added where a dense tensor is needed */
    weft_tensor *tensor; /* [n_value of graph] types and strides, no data */
    weft_place *place;   /* [n_value] */
    weft_val *fetch;     /* values of the fetches in the new graph, dense */
} weft_layout;

/* Chooses views and copies; checks that nobody reads a state after an effect has overwritten it.
 * The arrays live in `arena`, the graph is the caller's to free. */
weft_status weft_layout_make(const weft_session *s, weft_arena *arena, const weft_graph *g,
                             const weft_val *fetch, int n_fetch, weft_layout *out);

/* ---- compile.c, exec.c ---------------------------------------------------------------------- */
typedef struct {
    const weft_node *node; /* in program->graph; step i computes node i */
    weft_run run;
    void (*fn)(const weft_run *r);
    const char *impl;     /* "gemm:jit", "weft", "view" ... */
    size_t scratch_bytes; /* of the op itself; the library's comes on top: */
    size_t lib_shared;    /* bytes for all threads together, then run.lib_stride for each */
    int scratch;          /* buffer, -1: none */
    double flops;
    int64_t ns, calls; /* profile */
} weft_step;

/* Behind a kernel callback (weft_call.pass): the step that is being made, and where its data lives.
 */
typedef struct {
    weft_session *session;
    weft_arena *arena; /* of the program */
    weft_step *step;
} weft_build;

struct weft_program {
    weft_session *session;
    weft_graph *graph; /* rewritten, pruned, with copies */
    weft_arena *arena;
    weft_step *step;
    int n_step;
    weft_tensor *value; /* one per graph value; data bound after the plan */
    weft_place *place;
    int *buffer;     /* [n_value] of a root: its buffer, -1: a state or never used */
    weft_life *life; /* buffers: values first, then scratch */
    size_t *offset;
    int n_buffer;
    weft_val *buffer_value; /* [n_buffer] which value a buffer holds, WEFT_NONE: scratch */
    int *buffer_step;       /* [n_buffer] scratch: of which step */
    const char **fetch_name;
    weft_val *fetch;
    int n_fetch;
    bool states_ready;
    weft_fault fault;
    size_t plan_bytes, naive_bytes; /* activations, scratch, feeds, fetches */
    weft_compile_options options;
    int64_t compile_ns;
};

/* Page-aligned memory, contents undefined. */
typedef struct {
    void *raw, *data;
    size_t bytes;
} weft_block;
weft_status weft_block_new(weft_ctx *c, size_t bytes, weft_block *out);
void weft_block_free(weft_ctx *c, weft_block *b);

/* State values in memory, shared by the programs of one session. */
typedef struct {
    const char *name;
    weft_type type; /* as in the graph; f64 when the session is a reference session */
    const char *init;
    bool trainable;
    weft_role role;
    bool ready;    /* initialised or loaded */
    bool moves;    /* the model itself updates it: not frozen, trained or not */
    bool external; /* frozen, with a file of its own: no part of checkpoints (frozen.h) */
    void *data;
} weft_state;

struct weft_session {
    weft_ctx *ctx;
    weft_arena *arena;
    int threads; /* of every program and primitive */
    weft_state *state;
    int n_state, cap_state;
    weft_map *names;
    bool reference;
    bool bare;               /* plan_only: states and block have no memory */
    weft_block block;        /* activation memory, as large as the largest program needs */
    weft_block *state_block; /* one for the states of each graph */
    int n_state_block, cap_state_block;
    size_t state_bytes;
    struct weft_dnnl *dnnl;
    weft_program **program;
    int n_program, cap_program;
};

weft_state *weft_session_state(weft_session *s, const char *name);  /* NULL if unknown */
weft_dtype weft_session_dtype(const weft_session *s, weft_dtype t); /* how the session stores t */

void weft_program_free(weft_program *p);
/* Buffers with lifetimes from the layout, in-place reuse, offsets, limits. Fails over
 * options.max_memory. */
weft_status weft_program_plan(weft_program *p);
/* Sets all data pointers after the plan, or after the session's block has moved. */
void weft_program_bind(weft_program *p);
/* The largest values alive when the program needs most memory, one a line. */
weft_status weft_program_largest(const weft_program *p, int most, weft_string *out);
/* "h.3.attn.p f32[...]" and where it was written: a node for messages. */
weft_status weft_program_note(weft_program *p, const weft_step *s);

/* ---- watch.c: profile, NaN and overrun checks around one step; before/after return false with the
 * error recorded ---- */
void weft_watch_before(weft_program *p, weft_step *s);
bool weft_watch_after(weft_program *p, weft_step *s);

/* Compiling and running: weft.h. */

#endif
