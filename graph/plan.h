/* plan.h - from a graph to something that runs: memory plan, compiled program, session. */
#ifndef WEFT_PLAN_H
#define WEFT_PLAN_H

#include "graph/ir.h"

/* ---- memory.c: a pure function --------------------------------------------------------------------------------------- */
typedef struct {
    size_t bytes;
    int first, last; /* steps, inclusive, at which the buffer holds something */
} weft_life;

/* Offsets (multiples of `align`) for buffers so that those alive together do not overlap; returns the peak.
 * Greedy by size (Pisarchyk and Lee, 2020). `work`: n ints of scratch. */
size_t weft_memory_plan(const weft_life *life, int n, size_t align, size_t *offset, int *work);
/* Independent check of every pair: true, or false and the overlapping pair in *a, *b (equal: beyond the peak). */
bool weft_memory_check(const weft_life *life, int n, const size_t *offset, size_t peak, int *a, int *b);

/* What a kernel reports while it runs (weft_run_fail); one per program. */
typedef struct weft_fault {
    bool failed;
    char message[512];
} weft_fault;

/* ---- compile.c, exec.c ----------------------------------------------------------------------------------------------- */
typedef struct {
    const weft_node *node; /* in program->graph */
    weft_run run;
    void (*fn)(const weft_run *r);
    const char *impl;      /* "gemm:jit", "weft", "view" ... */
    size_t scratch_bytes, scratch_offset;
    double flops;
    int64_t ns, calls;     /* profile */
} weft_step;

/* Behind a kernel callback (weft_call.pass): the step that is being made, and where its data lives. */
typedef struct {
    weft_session *session;
    weft_arena *arena; /* of the program */
    weft_step *step;
} weft_build;

struct weft_program {
    weft_session *session;
    weft_graph *graph;     /* rewritten and pruned */
    weft_arena *arena;
    weft_step *step;
    int n_step;
    weft_tensor *value;    /* one per graph value; data bound after the plan */
    const char **input_name;
    size_t plan_bytes, naive_bytes; /* activations, scratch, feeds, fetches */
    weft_compile_options options;
    int64_t compile_ns;
};

/* State values in memory, shared by the programs of one session; one activation block as large as the largest program. */
typedef struct {
    const char *name;
    weft_type type;   /* as in the graph; f64 when the session is a reference session */
    const char *init;
    bool trainable;
    bool ready;       /* initialised or loaded */
    void *data;
} weft_state;

struct weft_session {
    weft_ctx *ctx;
    weft_arena *arena;
    weft_state *state;
    int n_state, cap_state;
    weft_map *names;
    bool reference;
    void *block;       /* activation memory */
    size_t block_bytes, state_bytes;
    struct weft_dnnl *dnnl;
    weft_program **program;
    int n_program, cap_program;
};

/* Adds the states of `g` that the session lacks (types must agree where it has them). */
weft_status weft_session_add_states(weft_session *s, const weft_graph *g);
weft_state *weft_session_state(weft_session *s, const char *name); /* NULL if unknown */

/* Compiling and running: weft.h. */

#endif
