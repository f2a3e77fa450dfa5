/* weft.h - the public interface of libweft: load a model file, expand, compile, run, train, generate.
 *
 * Every object belongs to the weft_ctx that made it; a context and all that hangs on it is used by one thread at a
 * time (kernels use OpenMP inside).  Functions that can fail return a weft_status, which is also the exit code of
 * the tool; the message is then weft_error(ctx).  The library never prints, exits or aborts. */
#ifndef WEFT_H
#define WEFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define WEFT_API __attribute__((visibility("default")))
#define WEFT_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define WEFT_API
#define WEFT_PRINTF(f, a)
#endif

/* Outcome of a call, and exit code of the tool (numbers follow sysexits.h where it has one). */
typedef enum {
    WEFT_OK = 0,
    WEFT_FAILED = 1,       /* a check ran and said no (gradcheck, compare) */
    WEFT_USAGE = 2,        /* the command line, an option, a setting */
    WEFT_MALFORMED = 65,   /* an input file breaks its format or its meaning */
    WEFT_MISSING = 66,     /* an input file is missing or unreadable */
    WEFT_UNSUPPORTED = 69, /* valid, but this build cannot do it */
    WEFT_INTERNAL = 70,    /* our bug: please report */
    WEFT_NOMEM = 71,       /* out of memory, or over --max-memory */
    WEFT_CANTCREATE = 73,  /* an output cannot be created */
    WEFT_IO = 74,          /* reading or writing failed */
    WEFT_LOCKED = 75,      /* another run uses the directory */
    WEFT_MISMATCH = 78,    /* inputs are fine but disagree (vocabulary, shapes, graph hash) */
    WEFT_NUMERIC = 80,     /* NaN or Inf */
    WEFT_CORRUPT = 81,     /* checkpoint damaged, none usable */
    WEFT_INTERRUPTED = 130,/* stopped by SIGINT after saving */
    WEFT_TERMINATED = 143  /* stopped by SIGTERM after saving */
} weft_status;

#define WEFT_MAX_RANK 8

/* Element types. F64 is the type of the reference kernels, not of graph files. */
typedef enum { WEFT_F32 = 1, WEFT_F64, WEFT_BF16, WEFT_I32, WEFT_I64, WEFT_U16, WEFT_BOOL } weft_dtype;

/* Element type and sizes, outermost axis first. A scalar has rank 0. */
typedef struct {
    weft_dtype dtype;
    int rank;
    int64_t dim[WEFT_MAX_RANK];
} weft_type;

typedef struct weft_ctx weft_ctx;
typedef struct weft_model weft_model;     /* a parsed model file with its imports and settings */
typedef struct weft_graph weft_graph;     /* a flat typed graph */
typedef struct weft_session weft_session; /* state values in memory, and the programs that use them */
typedef struct weft_program weft_program; /* a compiled part of a graph */

/* The allocator seam: every allocation of the library goes through it. `alloc` returns uninitialised memory. */
typedef struct {
    void *(*alloc)(void *user, size_t bytes);
    void *(*realloc)(void *user, void *old, size_t bytes);
    void (*free)(void *user, void *p);
    void *user;
} weft_allocator;

struct weft_io; /* the file seam, see graph/io.h */

typedef struct {
    const weft_allocator *allocator; /* NULL: malloc */
    const struct weft_io *io;        /* NULL: the operating system */
    int threads;                     /* 0: OMP_NUM_THREADS or all cores */
    void (*log)(void *user, const char *line); /* progress and warnings, one line each; NULL: dropped */
    void *log_user;
} weft_options;

/* ---- context and errors ------------------------------------------------------------------------------------- */
WEFT_API weft_ctx *weft_open(const weft_options *o); /* NULL: defaults. Returns NULL when out of memory. */
WEFT_API void weft_close(weft_ctx *c);
WEFT_API const char *weft_error(const weft_ctx *c);  /* first failure and its context lines; "" if none */
WEFT_API weft_status weft_error_status(const weft_ctx *c);
WEFT_API void weft_error_clear(weft_ctx *c);
WEFT_API const char *weft_version(void);             /* "0.1.0" */
WEFT_API int weft_threads(const weft_ctx *c);
WEFT_API weft_status weft_threads_set(weft_ctx *c, int threads); /* 1..1024; programs compiled later use it */
/* The candidate nearest to `word` in edit distance, or NULL if none is near enough for a "did you mean". */
WEFT_API const char *weft_nearest(const char *word, const char *const *candidates, int n);

/* Text that the library made, NUL-terminated, is the caller's: release it with this. NULL is fine. */
WEFT_API void weft_text_free(weft_ctx *c, char *text);
/* What the library was built with and runs on: its version, compiler, oneDNN and its CPU ISA, OpenMP, protobuf-c;
 * one "name value" line each. */
WEFT_API weft_status weft_build_text(weft_ctx *c, char **out);

/* ---- ops and rules: what a graph file may use ------------------------------------------------------------------- */
typedef enum { WEFT_DOC_LIST, WEFT_DOC_TEXT, WEFT_DOC_MARKDOWN, WEFT_DOC_JSON } weft_doc_format;
/* Describes the op `name`, or all ops in alphabetical order when NULL. LIST: a line each. An unknown name is
 * WEFT_USAGE and is answered with the nearest. */
WEFT_API weft_status weft_ops_text(weft_ctx *c, const char *name, weft_doc_format f, char **out);
WEFT_API weft_status weft_rules_text(weft_ctx *c, weft_doc_format f, char **out); /* rewrite rules, the same way */

/* ---- model files -------------------------------------------------------------------------------------------- */
/* Reads a .txtpb or .binpb file with its imports. `set`: n_set strings "name=value", parameters of the entry
 * module. Errors name file:line:column. Free with weft_model_free before the context. */
WEFT_API weft_status weft_model_load(weft_ctx *c, const char *path, const char *const *set, int n_set,
                                     weft_model **out);
WEFT_API void weft_model_free(weft_model *m);
/* Writes the model with its imports merged as one file: binary for .binpb, text otherwise. */
WEFT_API weft_status weft_model_save(weft_model *m, const char *path);

/* Tells a model file from a recipe by its content. */
typedef enum { WEFT_FILE_MODEL = 1, WEFT_FILE_RECIPE } weft_file_kind;
WEFT_API weft_status weft_file_sniff(weft_ctx *c, const char *path, weft_file_kind *out);

/* ---- graphs ------------------------------------------------------------------------------------------------- */
/* Every function that gives a graph gives a new one, to be freed before the context; the old one stays as it is. */
WEFT_API weft_status weft_graph_expand(weft_model *m, weft_graph **out); /* modules -> flat typed graph */
WEFT_API void weft_graph_free(weft_graph *g);
/* Re-infers every node and checks the invariants of the representation. */
WEFT_API weft_status weft_graph_verify(const weft_graph *g);
/* Replaces meta nodes (gradient(...)) by what they stand for. */
WEFT_API weft_status weft_graph_lower(const weft_graph *g, weft_graph **out);
/* A lowered graph that also has an output "grad:NAME" for each trainable weight, of the output `loss`. */
WEFT_API weft_status weft_graph_differentiate(const weft_graph *g, const char *loss, weft_graph **out);

/* Mode of a rewrite and of a compiled program. */
typedef struct {
    bool train;          /* false: ops that act in training only vanish (dropout) */
    bool no_rewrite;     /* only what correctness needs */
    const char *disable; /* comma-separated names of rules that are switched off, or NULL */
} weft_rewrite_options;
/* Applies the rewrite rules until nothing changes, and drops what no output needs. */
WEFT_API weft_status weft_graph_optimize(const weft_graph *g, const weft_rewrite_options *o, weft_graph **out);

/* The flat graph as a model file (for weft_model_save); as one line per node; as a Graphviz drawing. */
WEFT_API weft_status weft_graph_to_model(const weft_graph *g, weft_model **out);
WEFT_API weft_status weft_graph_text(const weft_graph *g, char **out);
typedef struct {
    const char *rankdir; /* "TB" (NULL) or "LR" */
    int depth;           /* scopes nested deeper are drawn as one box; 0: no limit */
    bool unfold;         /* draw every repetition of a repeated scope instead of one with xN */
} weft_dot_options;
WEFT_API weft_status weft_graph_dot(const weft_graph *g, const weft_dot_options *o, char **out);

/* Ports of the entry module. NULL beyond the end; *t may be NULL. */
WEFT_API const char *weft_graph_input_at(const weft_graph *g, int i, weft_type *t);
WEFT_API const char *weft_graph_output_at(const weft_graph *g, int i, weft_type *t);
/* "f32[4,12]" into buf; returns buf. */
WEFT_API const char *weft_type_print(char *buf, size_t n, const weft_type *t);

typedef struct {
    int n_value, n_node, n_weight;
    int64_t parameters, trainable; /* stored scalars of the weights; those that training may change */
    double flops;                  /* of one run of every node; a multiply-add counts two */
    int64_t tokens;                /* elements of the input "tokens" (1 without one): flops / tokens is per token */
} weft_graph_size;
WEFT_API weft_status weft_graph_measure(const weft_graph *g, weft_graph_size *out);

/* ---- running ------------------------------------------------------------------------------------------------ */
/* A session holds the state values (weights, moments, counters, caches) that its programs share. */
WEFT_API weft_status weft_session_new(weft_ctx *c, bool reference, weft_session **out);
WEFT_API void weft_session_free(weft_session *s); /* frees its programs */
/* Runs the initialisers of all states that are not ready. Bits depend on (seed, name, index) alone. */
WEFT_API weft_status weft_session_init(weft_session *s, uint64_t seed);
/* The memory of a state, dense and row-major, for reading or writing between runs; NULL if unknown. */
WEFT_API void *weft_session_data(weft_session *s, const char *name, weft_type *t);
/* Weights from a safetensors file or a checkpoint folder; strict names after `scope` is put before them. */
WEFT_API weft_status weft_weights_load(weft_session *s, const char *path, const char *scope);

typedef struct {
    bool train, reference, no_rewrite, check_nan, profile;
    const char *disable_rules;
    size_t max_memory; /* 0: no limit; counts state + plan */
} weft_compile_options;
/* Compiles what `fetch` (names of outputs or values) needs of g, which is not kept. The session gets g's states. */
WEFT_API weft_status weft_program_compile(weft_session *s, const weft_graph *g, const char *const *fetch, int n_fetch,
                                          const weft_compile_options *o, weft_program **out);
/* Pointer to fill before a run; NULL and *t zero if the program does not need this input. */
WEFT_API void *weft_program_input(weft_program *p, const char *name, weft_type *t);
WEFT_API weft_status weft_program_run(weft_program *p);
/* Where a fetched value stands after a run; NULL if it was not fetched. Valid until any program of the session runs. */
WEFT_API const void *weft_program_output(weft_program *p, const char *name, weft_type *t);

typedef struct {
    int n_step;
    size_t state_bytes; /* of the whole session */
    size_t plan_bytes;  /* activations, scratch, feeds, fetches: the planned peak */
    size_t naive_bytes; /* the same without sharing memory over time */
    double flops;
    int64_t compile_ns;
} weft_program_size;
WEFT_API void weft_program_measure(const weft_program *p, weft_program_size *out);

/* One step of a program, in the order of execution. Strings live as long as the program. */
typedef struct {
    const char *op, *name, *scope; /* name of the first output; "" when it has none */
    const char *impl;              /* oneDNN's implementation, "weft", "view" ... */
    const char *file;              /* where the node was written, or NULL */
    int line;
    bool backward;
    weft_type type;                /* of the first output */
    double flops;
    size_t scratch_bytes;
    int64_t ns, calls;             /* of profiled runs */
} weft_step_info;
WEFT_API bool weft_program_step_at(const weft_program *p, int i, weft_step_info *out); /* false: beyond the end */
/* Every step with its memory, implementation and source; the memory plan's peak and largest live values. */
WEFT_API weft_status weft_program_text(const weft_program *p, char **out);

/* ---- gradient check ----------------------------------------------------------------------------------------------- */
typedef struct {
    const char *name;  /* of the state or input that was varied */
    int64_t count;     /* its elements */
    int64_t probes;    /* differences taken: every element, or random directions */
    double norm;       /* 2-norm of what was compared; 0 means that nothing was tested */
    double error;      /* |analytic - differences| / max of both norms, 2-norms */
} weft_gradcheck_result;

typedef struct {
    const char *output;  /* check this output only; NULL: all float outputs of the graph */
    uint64_t seed;       /* of weights, inputs and the random output cotangent */
    double eps;          /* 0: 1e-5 */
    double tolerance;    /* 0: 1e-7 */
    int64_t elements;    /* tensors up to this size: every element (0: 10000); above: random directions */
    int64_t directions;  /* 0: 64 */
    int64_t ints_below;  /* integer inputs are drawn from 0..ints_below-1 (0: 2) */
    bool eval;           /* outside training: without dropout */
    bool rewrite;        /* check the rewritten graph */
    /* Fills an input (f64 for every float type) instead of the random numbers; returns false to keep those. */
    bool (*fill)(void *user, const char *name, const weft_type *t, void *data);
    void (*report)(void *user, const weft_gradcheck_result *r); /* after each tensor; may be NULL */
    void *user;
} weft_gradcheck_options;

/* Compares the gradients of a random combination of the outputs by every trainable state and every float input with
 * central differences, in double, on the reference kernels. WEFT_FAILED if one differs by more than the tolerance. */
WEFT_API weft_status weft_graph_gradcheck(const weft_graph *g, const weft_gradcheck_options *o);

#ifdef __cplusplus
}
#endif
#endif
