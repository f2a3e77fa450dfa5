/* weft.h - the public interface of libweft: load a model file, expand, compile, run, train,
 * generate.
 *
 * Every object belongs to the weft_ctx that made it; a context and all that hangs on it is used by
 * one thread at a time (kernels use OpenMP inside).  Functions that can fail return a weft_status,
 * which is also the exit code of the tool; the message is then weft_error(ctx).  The library never
 * prints, exits or aborts. */
#ifndef WEFT_H
#define WEFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define WEFT_API          __attribute__((visibility("default")))
#define WEFT_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define WEFT_API
#define WEFT_PRINTF(f, a)
#endif

/* Outcome of a call, and exit code of the tool (numbers follow sysexits.h where it has one). */
typedef enum {
    WEFT_OK = 0,
    WEFT_FAILED = 1,        /* a check ran and said no (gradcheck, compare) */
    WEFT_USAGE = 2,         /* the command line, an option, a setting */
    WEFT_MALFORMED = 65,    /* an input file breaks its format or its meaning */
    WEFT_MISSING = 66,      /* an input file is not there, or is no file */
    WEFT_UNSUPPORTED = 69,  /* valid, but this build cannot do it */
    WEFT_INTERNAL = 70,     /* our bug: please report */
    WEFT_NOMEM = 71,        /* out of memory, or over --max-memory */
    WEFT_CANTCREATE = 73,   /* an output cannot be created */
    WEFT_IO = 74,           /* reading or writing failed: the device, rights to read, limits */
    WEFT_LOCKED = 75,       /* another run uses the directory */
    WEFT_MISMATCH = 78,     /* inputs are fine but disagree (vocabulary, shapes, graph hash) */
    WEFT_NUMERIC = 80,      /* NaN or Inf */
    WEFT_CORRUPT = 81,      /* checkpoint damaged, none usable */
    WEFT_HANGUP = 129,      /* stopped by SIGHUP after saving */
    WEFT_INTERRUPTED = 130, /* stopped by SIGINT after saving */
    WEFT_TERMINATED = 143   /* stopped by SIGTERM after saving */
} weft_status;

/* The outcome of work that a signal stopped, WEFT_OK for 0; and whether s is one of them. */
WEFT_API weft_status weft_stopped(int signal);
WEFT_API int weft_is_stopped(weft_status s);

#define WEFT_MAX_RANK 8
#define WEFT_MAX_LOG  16 /* names in train.log or eval.log */

/* Element types. F64 is the type of the reference kernels, not of graph files. */
typedef enum {
    WEFT_F32 = 1,
    WEFT_F64,
    WEFT_BF16,
    WEFT_I32,
    WEFT_I64,
    WEFT_U16,
    WEFT_BOOL
} weft_dtype;

/* Element type and sizes, outermost axis first. A scalar has rank 0. */
typedef struct {
    weft_dtype dtype;
    int rank;
    int64_t dim[WEFT_MAX_RANK];
} weft_type;

typedef struct weft_ctx weft_ctx;
typedef struct weft_model weft_model; /* a parsed model file with its imports and settings */
typedef struct weft_graph weft_graph; /* a flat typed graph */
typedef struct weft_session
    weft_session; /* state values in memory, and the programs that use them */
typedef struct weft_program weft_program; /* a compiled part of a graph */
typedef struct weft_recipe weft_recipe;   /* how a model is trained */

/* The allocator seam: every allocation of the library goes through it. `alloc` returns
 * uninitialised memory. */
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
    int threads; /* 0: OMP_NUM_THREADS or all cores; at most 1024, and what the system starts */
    void (*log)(void *user,
                const char *line); /* progress and warnings, one line each; NULL: dropped */
    void *log_user;
} weft_options;

/* ---- context and errors ------------------------------------------------------------------ */
WEFT_API weft_ctx *
weft_open(const weft_options *o); /* NULL: defaults. Returns NULL when out of memory. */
WEFT_API void weft_close(weft_ctx *c);
WEFT_API const char *
weft_error(const weft_ctx *c); /* first failure and its context lines; "" if none */
WEFT_API weft_status weft_error_status(const weft_ctx *c);
WEFT_API void weft_error_clear(weft_ctx *c);
WEFT_API const char *weft_version(void); /* "0.1.0" */
WEFT_API int weft_threads(const weft_ctx *c);
WEFT_API weft_status weft_threads_set(weft_ctx *c,
                                      int threads); /* 1..1024; programs compiled later use it */
/* For the first line of main: bounds how long threads that wait for each other spin, unless
 * OMP_WAIT_POLICY, GOMP_SPINCOUNT or KMP_BLOCKTIME say something; one busy process beside would
 * make training many times slower otherwise (docs/performance.md). gcc's OpenMP runtime reads that
 * only when it is loaded: the program then starts itself once more with `argv` and GOMP_SPINCOUNT
 * set, and if that is not possible, goes on as it is. With clang's runtime weft_open does it. */
WEFT_API void weft_waiting_bound(char **argv);
/* The candidate nearest to `word` in edit distance, or NULL if none is near enough for a "did you
 * mean". */
WEFT_API const char *weft_nearest(const char *word, const char *const *candidates, int n);

/* Text that the library made, NUL-terminated, is the caller's: release it with this. NULL is fine.
 */
WEFT_API void weft_text_free(weft_ctx *c, char *text);
/* What the library was built with and runs on: its version, compiler, oneDNN and its CPU ISA,
 * OpenMP, protobuf-c; one "name value" line each. */
WEFT_API weft_status weft_build_text(weft_ctx *c, char **out);

/* ---- ops and rules: what a graph file may use -------------------------------------------- */
typedef enum { WEFT_DOC_LIST, WEFT_DOC_TEXT, WEFT_DOC_MARKDOWN, WEFT_DOC_JSON } weft_doc_format;
/* Describes the op `name`, or all ops in alphabetical order when NULL. LIST: a line each. An
 * unknown name is WEFT_USAGE and is answered with the nearest. */
WEFT_API weft_status weft_ops_text(weft_ctx *c, const char *name, weft_doc_format f, char **out);
WEFT_API weft_status weft_rules_text(weft_ctx *c, weft_doc_format f,
                                     char **out); /* rewrite rules, the same way */

/* ---- model files ------------------------------------------------------------------------- */
/* Reads a .txtpb or .binpb file with its imports. `set`: n_set strings "name=value", parameters of
 * the entry module. Errors name file:line:column. Free with weft_model_free before the context. */
WEFT_API weft_status weft_model_load(weft_ctx *c, const char *path, const char *const *set,
                                     int n_set, weft_model **out);
WEFT_API void weft_model_free(weft_model *m);
/* Writes the model with its imports merged as one file: binary for .binpb, text otherwise. */
WEFT_API weft_status weft_model_save(weft_model *m, const char *path);
WEFT_API weft_status weft_model_text(weft_model *m, char **out); /* the same text */

/* Tells a model file from a recipe by its content. */
typedef enum { WEFT_FILE_MODEL = 1, WEFT_FILE_RECIPE } weft_file_kind;
WEFT_API weft_status weft_file_sniff(weft_ctx *c, const char *path, weft_file_kind *out);

/* How a graph is compiled. */
typedef struct {
    bool train, reference, no_rewrite, check_nan, profile;
    bool plan_only; /* no memory is taken: the programs of this session can be measured and printed,
                       not run */
    const char *disable_rules;
    size_t max_memory; /* 0: no limit; counts state + plan */
} weft_compile_options;

/* ---- recipes ----------------------------------------------------------------------------- */
/* Reads a recipe and applies settings: "train.steps=5" is a field of the recipe, a name without a
 * dot that is none of its fields is a parameter of the model. Values are checked. Paths in a file
 * are seen from its `root`, those of settings from the working directory. */
WEFT_API weft_status weft_recipe_load(weft_ctx *c, const char *path, const char *const *set,
                                      int n_set, weft_recipe **out);
/* A recipe of defaults for a model that is loaded apart; `loss`: the output that is minimised. */
WEFT_API weft_status weft_recipe_default(weft_ctx *c, const char *loss, weft_recipe **out);
WEFT_API void weft_recipe_free(weft_recipe *r);
/* One more setting, like those of weft_recipe_load. */
WEFT_API weft_status weft_recipe_set(weft_recipe *r, const char *setting);
WEFT_API const char *weft_recipe_name(const weft_recipe *r);
WEFT_API const char *
weft_recipe_loss(const weft_recipe *r); /* name of the output that is minimised */
WEFT_API const char *weft_recipe_eval_loss(const weft_recipe *r); /* of the one that is evaluated */
/* Names of the values that label files hold, data.label_value and data.score_value; r NULL: the
 * defaults. */
WEFT_API const char *weft_recipe_label_value(const weft_recipe *r);
WEFT_API const char *weft_recipe_score_value(const weft_recipe *r);
typedef enum {
    WEFT_RECIPE_TRAIN,
    WEFT_RECIPE_VAL,
    WEFT_RECIPE_TOKENIZER,
    WEFT_RECIPE_LABELS,
    WEFT_RECIPE_VAL_LABELS
} weft_recipe_path;
/* Path of a data file of the recipe, seen from the working directory; NULL if it names none. */
WEFT_API const char *weft_recipe_file(const weft_recipe *r, weft_recipe_path which);
/* To a failure that is WEFT_MISSING, since this file is not there: which field names it, the folder
 * that it is seen from, and what to write. Returns the status. */
WEFT_API weft_status weft_recipe_note(const weft_recipe *r, weft_recipe_path which);
/* The recipe's model with its settings, batch B and length T (0: the recipe's). */
WEFT_API weft_status weft_recipe_model(weft_recipe *r, int64_t batch, int64_t length,
                                       weft_model **out);
/* Compiles a training step into the session: *step makes one optimizer step; with gradient
 * accumulation *micro (else NULL) adds one micro-batch and *step needs no data. `o->train` is taken
 * as true. */
WEFT_API weft_status weft_recipe_compile(const weft_recipe *r, const weft_graph *forward,
                                         weft_session *s, const weft_compile_options *o,
                                         weft_program **micro, weft_program **step);
/* Does training feed what these programs of weft_recipe_compile read (weft_program_check_feeds)? */
WEFT_API weft_status weft_recipe_check_feeds(const weft_recipe *r, const weft_graph *forward,
                                             const weft_program *micro, const weft_program *step);
/* The same for what the recipe evaluates, which is planned for it and not run. */
WEFT_API weft_status weft_recipe_check_evaluation(const weft_recipe *r, const weft_graph *forward);
/* Everything the recipe says, defaults included, one "name=value" a line as --set takes it: its
 * fields ("train.steps=60", "optimizer.group[0].lr_scale=1"), then the parameters of the model. */
WEFT_API weft_status weft_recipe_settings(const weft_recipe *r, char **out);
/* What training by a recipe costs, counted on the compiled and optimised step; nothing is run. */
typedef struct {
    int64_t parameters, trainable; /* stored scalars of all weights; of those that are trained */
    int64_t active; /* trained scalars that one token needs: of weights of which it reads chosen
                       rows only (sparse products), those rows */
    int64_t tokens; /* of one optimizer step */
    double flops;   /* of one optimizer step, as the recipe trains */
    /* the same with every label computed in the step, and with none: what a label cache saves.
     * Equal to `flops` for models without labels. */
    double flops_computed, flops_cached;
} weft_recipe_size;
/* `forward`: the expanded model; NULL: the recipe's. */
WEFT_API weft_status weft_recipe_measure(weft_recipe *r, const weft_graph *forward,
                                         weft_recipe_size *out);
/* Writes the recipe as it stands, settings and defaults included, for the model file `model`. Its
 * `root` is what it must be there. */
WEFT_API weft_status weft_recipe_save(weft_recipe *r, const char *path, const char *model);

/* ---- graphs ------------------------------------------------------------------------------ */
/* Every function that gives a graph gives a new one, to be freed before the context; the old one
 * stays as it is. */
WEFT_API weft_status weft_graph_expand(weft_model *m,
                                       weft_graph **out); /* modules -> flat typed graph */
WEFT_API void weft_graph_free(weft_graph *g);
/* Re-infers every node and checks the invariants of the representation. */
WEFT_API weft_status weft_graph_verify(const weft_graph *g);
/* Replaces meta nodes (gradient(...)) by what they stand for. */
WEFT_API weft_status weft_graph_lower(const weft_graph *g, weft_graph **out);
/* A lowered graph that also has an output "grad:NAME" for each trainable weight, of the output
 * `loss`. */
WEFT_API weft_status weft_graph_differentiate(const weft_graph *g, const char *loss,
                                              weft_graph **out);

/* Mode of a rewrite and of a compiled program. */
typedef struct {
    bool train;          /* false: ops that act in training only vanish (dropout), and
                             updates of states, whose outputs are the states as they are */
    bool no_rewrite;     /* only what correctness needs */
    const char *disable; /* comma-separated names of rules that are switched off, or NULL */
    /* for graphs with gradient(...) nodes: only rules that leave every derivative what it is */
    bool fuse_only;
} weft_rewrite_options;
/* The graph of one training step of a recipe: gradients, clipping, schedule and optimizer as nodes.
 * With `o` the model is pruned to the loss and rewritten before it is differentiated, as training
 * does, so that fused ops are differentiated as such; NULL: it is differentiated as it stands. */
WEFT_API weft_status weft_recipe_graph(const weft_recipe *r, const weft_graph *forward,
                                       const weft_rewrite_options *o, weft_graph **out);
/* Applies the rewrite rules until nothing changes, and drops what no output needs. */
WEFT_API weft_status weft_graph_optimize(const weft_graph *g, const weft_rewrite_options *o,
                                         weft_graph **out);

/* A graph in which the values named by `feed` are inputs of their types: constants for every
 * derivative, so feed before gradients are made (an expanded graph, not a lowered one). `keep`: the
 * outputs or values that must still be computed (n_keep 0: all outputs; effects always). Nodes that
 * nothing kept needs are gone, and so are inputs and states that only the fed values needed.
 * WEFT_USAGE for an unknown name. */
WEFT_API weft_status weft_graph_feed(const weft_graph *g, const char *const *feed, int n_feed,
                                     const char *const *keep, int n_keep, weft_graph **out);

/* Where an intervention acts while text is generated. Other uses know no prompt: ALL only. */
typedef enum { WEFT_ON_ALL, WEFT_ON_PROMPT, WEFT_ON_GENERATED } weft_where;
/* A change of what a model computes: whoever reads the value reads op(value) instead. */
typedef struct {
    const char *value; /* name of an output or value */
    const char *op;    /* takes the value as its first input, and gives the same type */
    const char *attrs; /* of the op: "id=7 how=scale amount=4" */
    /* Not ALL: the op's second input is an i32[2] of first position and first after it, counted on
     * the value's own time scale. */
    weft_where on;
    /* "strength=dose": the op's input `strength` reads an input `dose` of the graph, a new f32
     * scalar, so that one program serves all strengths (weft_generator_feed). NULL: nothing is
     * fed; models that are evaluated or saved take nothing else. */
    const char *feed;
} weft_intervention;
/* The graph with interventions; several on one value act in the order of the list. A computed
 * value's name goes to the result, the old value is NAME.before. Derivatives by the value are by
 * the result. WEFT_USAGE for unknown values and ops, and for attributes that do not fit. */
WEFT_API weft_status weft_graph_intervene(const weft_graph *g, const weft_intervention *list, int n,
                                          weft_graph **out);

/* The flat graph as a model file (for weft_model_save); as one line per node; as a Graphviz
 * drawing. */
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
/* Value of a parameter of the entry module; false: it has none of that name, or no number. */
WEFT_API bool weft_graph_parameter(const weft_graph *g, const char *name, double *out);
WEFT_API int64_t
weft_type_count(const weft_type *t); /* elements; types of a graph are checked, no overflow */
/* "f32[4,12]" into buf; returns buf. */
WEFT_API const char *weft_type_print(char *buf, size_t n, const weft_type *t);

typedef struct {
    int n_value, n_node, n_weight;
    int64_t parameters,
        trainable; /* stored scalars of the weights; those that training may change */
    double flops;  /* of one run of every node; a multiply-add counts two */
    int64_t
        tokens; /* elements of the input "tokens" (1 without one): flops / tokens is per token */
} weft_graph_size;
WEFT_API weft_status weft_graph_measure(const weft_graph *g, weft_graph_size *out);

/* ---- running ----------------------------------------------------------------------------- */
/* A session holds the state values (weights, moments, counters, caches) that its programs share. */
WEFT_API weft_status weft_session_new(weft_ctx *c, bool reference, weft_session **out);
WEFT_API void weft_session_free(weft_session *s); /* frees its programs */
/* Adds the states of `g` that the session lacks (types must agree where it has them). Compiling
 * does this for what a program needs; do it for the whole graph before loading a file that holds
 * all its weights. */
WEFT_API weft_status weft_session_add_states(weft_session *s, const weft_graph *g);
/* Runs the initialisers of all states that are not ready. Bits depend on (seed, name, index) alone.
 */
WEFT_API weft_status weft_session_init(weft_session *s, uint64_t seed);
/* The memory of a state, dense and row-major, for reading or writing between runs; NULL if unknown.
 */
WEFT_API void *weft_session_data(weft_session *s, const char *name, weft_type *t);
/* Weights from a safetensors file or a checkpoint folder; strict names after `scope` is put before
 * them. */
WEFT_API weft_status weft_weights_load(weft_session *s, const char *path, const char *scope);

/* Gives m, which was loaded with the settings `set`, the parameters that the weights at `path` tell
 * (weft_weights_load's path; a checkpoint's or another program's config.json, the metadata of an
 * import) and that are not set. MISMATCH with both values where they are set otherwise, UNSUPPORTED
 * for a model that the name map's model file cannot express. Before the model is expanded. */
WEFT_API weft_status weft_weights_tell(weft_model *m, const char *path, const char *const *set,
                                       int n_set);

/* ---- weights of other programs: docs/weights.md ---- */
typedef struct {
    /* a shipped name map (weft_names_text lists them), or the path of a .txtpb */
    const char *names;
    /* before the names in the model; NULL: none; on export also found by itself */
    const char *prefix;
    const char *const *set; /* "k=32": parameters of the model that files do not tell */
    int n_set;
    bool more_settings;       /* import: `set` also holds some that the map does not know */
    const char *const *field; /* export: "metadata.hook_name=..." replaces or adds a key */
    int n_field;
    const char *dtype; /* export: "f32" (NULL), "bf16" or "f16", rounded to nearest even */
    int64_t max_shard; /* export: bytes of data in one file; 0: one file */
} weft_convert_options;
typedef struct {
    int tensors, ignored, tied, outside; /* written; skipped as no weights, as copies, by prefix */
    int files;
    int64_t parameters, bytes;
    char *set;   /* parameters of the model that became known: a "name=value" line each */
    char *notes; /* what the user should know, a line each */
} weft_convert_result;
/* Weights of another program (a safetensors file, an index of shards, or a folder) under the names
 * and in the layout of a model file, as one safetensors file of f32. Strict: MISMATCH lists
 * missing, extra and misshapen names; UNSUPPORTED says why a model cannot be expressed. Of files
 * only a safetensors file that is none of the source is replaced (else CANTCREATE). Memory does not
 * depend on the size of the tensors. */
WEFT_API weft_status weft_weights_import(weft_ctx *c, const char *path, const char *out,
                                         const weft_convert_options *o, weft_convert_result *r);
/* The other way round: a run, checkpoint or safetensors file into a folder as the other program
 * writes it, description included. Files that are there are not replaced (CANTCREATE). A model that
 * intervenes on what it computes is UNSUPPORTED: its weights alone are another model. */
WEFT_API weft_status weft_weights_export(weft_ctx *c, const char *path, const char *folder,
                                         const weft_convert_options *o, weft_convert_result *r);
WEFT_API void weft_convert_result_free(weft_ctx *c, weft_convert_result *r);
/* Looking into files: a safetensors file, an index of shards, a folder, a checkpoint, a run. */
typedef struct weft_tensors weft_tensors;
typedef struct {
    const char *name, *dtype; /* "F32", as in the file; memory of the weft_tensors */
    int rank;
    int64_t dim[WEFT_MAX_RANK], count, bytes;
    double min, max, mean, std; /* of the finite elements, after weft_tensors_measure */
    int64_t zeros, not_finite;
} weft_tensor_info;
WEFT_API weft_status weft_tensors_open(weft_ctx *c, const char *path, weft_tensors **out);
WEFT_API void weft_tensors_close(weft_tensors *f); /* NULL is fine */
WEFT_API bool weft_tensors_at(const weft_tensors *f, int i,
                              weft_tensor_info *out);                    /* false: beyond the end */
WEFT_API int weft_tensors_find(const weft_tensors *f, const char *name); /* -1: none */
WEFT_API weft_status weft_tensors_measure(weft_tensors *f, int i, weft_tensor_info *out);
/* Largest difference of two tensors of one shape; Inf where only one of two elements is NaN. */
WEFT_API weft_status weft_tensors_distance(weft_tensors *a, int i, weft_tensors *b, int k,
                                           double *out);
/* Ids of the tokens that begin and end a text, by the tokenizer at `path` (a .json file or a
 * folder; NULL: none): what tokenizer_config.json beside it declares, else <|endoftext|>; -1: none.
 */
WEFT_API weft_status weft_tokenizer_ids(weft_ctx *c, const char *path, int64_t *bos, int64_t *eos);
/* The text of a shipped name map, or (NULL) a line for each of them. */
WEFT_API weft_status weft_names_text(weft_ctx *c, const char *name, char **out);
/* Do the weights of a file fit g, strictly? They are those whose names in g begin with `part`, or,
 * if g has none, those that g trains: frozen ones are of other files. MISMATCH lists names. */
WEFT_API weft_status weft_weights_fit(const weft_graph *g, const char *path, const char *part);
/* What a model that has such weights as a part calls the part: "sae."; "": they are a whole
 * model's.
 */
WEFT_API weft_status weft_names_scope(weft_ctx *c, const char *name, char **out);

/* Compiles what `fetch` (names of outputs or values) needs of g, which is not kept. The session
 * gets g's states. */
WEFT_API weft_status weft_program_compile(weft_session *s, const weft_graph *g,
                                          const char *const *fetch, int n_fetch,
                                          const weft_compile_options *o, weft_program **out);
/* An input by name and the type that it is fed with; `what`: that is what, for messages, or NULL.
 */
typedef struct {
    const char *name;
    weft_type type;
    const char *what;
} weft_feed;
/* Before the first run: MALFORMED with name and types if the program reads an input that is not
 * among the n that are fed, or one of another type. `who` feeds them ("training"). */
WEFT_API weft_status weft_program_check_feeds(const weft_program *p, const char *who,
                                              const weft_feed *feed, int n);
/* Pointer to fill before a run; NULL and *t zero if the program does not need this input. */
WEFT_API void *weft_program_input(weft_program *p, const char *name, weft_type *t);
WEFT_API weft_status weft_program_run(weft_program *p);
/* Where a fetched value stands after a run; NULL if it was not fetched. Valid until any program of
 * the session runs. */
WEFT_API const void *weft_program_output(weft_program *p, const char *name, weft_type *t);

/* Fills an input from a file: a safetensors file with a tensor of its name (or with one tensor), a
 * .txt file of numbers, or exactly its bytes, little-endian. WEFT_USAGE for an unknown input,
 * WEFT_MISMATCH for other sizes. */
WEFT_API weft_status weft_program_feed_file(weft_program *p, const char *name, const char *path);
/* Fills an input with random numbers: normal ones, or integers in 0..below-1; bits depend on (seed,
 * name) alone. */
WEFT_API weft_status weft_program_feed_random(weft_program *p, const char *name, uint64_t seed,
                                              int64_t below);
/* Writes fetched outputs as a safetensors file. */
WEFT_API weft_status weft_program_save(weft_program *p, const char *const *name, int n,
                                       const char *path);
/* Element i, in row-major order, of dense data, as a double. */
WEFT_API double weft_element(const weft_type *t, const void *data, int64_t i);
/* How fast this machine multiplies matrices: the best rate of oneDNN's own multi-threaded f32
 * product over some large shapes, in FLOP/s; takes about `seconds`. The yardstick of weft bench. */
WEFT_API weft_status weft_gemm_rate(weft_ctx *c, double seconds, double *out);

typedef struct {
    int n_step;
    size_t state_bytes; /* of the whole session */
    size_t plan_bytes;  /* activations, scratch, feeds, fetches: the planned peak */
    size_t naive_bytes; /* the same without sharing memory over time */
    double flops;
    int64_t compile_ns;
} weft_program_size;
WEFT_API void weft_program_measure(const weft_program *p, weft_program_size *out);
/* Pages (of 4096 bytes) that the plans of the session's states and programs ask for, and how many
 * of these are in memory now: equal once every state and every buffer has been used. */
WEFT_API void weft_session_pages(const weft_session *s, int64_t *planned, int64_t *resident);

/* One step of a program, in the order of execution. Strings live as long as the program. */
typedef struct {
    const char *op, *name, *scope; /* name of the first output; "" when it has none */
    const char *impl;              /* oneDNN's implementation, "weft", "view" ... */
    const char *file;              /* where the node was written, or NULL */
    int line;
    bool backward;
    weft_type type; /* of the first output */
    double flops;
    size_t scratch_bytes;
    int64_t ns, calls; /* of profiled runs */
} weft_step_info;
WEFT_API bool weft_program_step_at(const weft_program *p, int i,
                                   weft_step_info *out); /* false: beyond the end */
/* Every step with its memory, implementation and source; the memory plan's peak and largest live
 * values. */
WEFT_API weft_status weft_program_text(const weft_program *p, char **out);

/* ---- gradient check ---------------------------------------------------------------------- */
typedef struct {
    const char *name; /* of the state or input that was varied */
    int64_t count;    /* its elements */
    int64_t probes;   /* differences taken: every element, or random directions */
    double norm;      /* 2-norm of what was compared; 0 means that nothing was tested */
    double error;     /* |analytic - differences| / max of both norms, 2-norms */
} weft_gradcheck_result;

/* After each of the probes: how far it is, and since how many seconds. */
typedef struct {
    const char *name;
    int64_t done, all;
    double seconds;
} weft_gradcheck_progress;

typedef struct {
    const char *output; /* check this output only; NULL: all float outputs of the graph */
    uint64_t seed;      /* of weights, inputs and the random output cotangent */
    double eps;         /* 0: 1e-5 */
    double tolerance;   /* 0: 1e-7 */
    int64_t
        elements; /* tensors up to this size: every element (0: 10000); above: random directions */
    int64_t directions; /* 0: 64 */
    int64_t ints_below; /* integer inputs are drawn from 0..ints_below-1 (0: 2) */
    bool eval;          /* outside training: without dropout */
    bool rewrite;       /* check the rewritten graph */
    /* Fills an input (f64 for every float type) instead of the random numbers; returns false to
     * keep those. */
    bool (*fill)(void *user, const char *name, const weft_type *t, void *data);
    void (*report)(void *user, const weft_gradcheck_result *r); /* after each tensor; may be NULL */
    void (*progress)(void *user, const weft_gradcheck_progress *p); /* may be NULL */
    void *user;
} weft_gradcheck_options;

/* Compares the gradients of a random combination of the outputs by every trainable state and every
 * float input with central differences, in double, on the reference kernels. What stops gradients
 * by definition is held where it is. WEFT_FAILED if one differs by more than the tolerance. */
WEFT_API weft_status weft_graph_gradcheck(const weft_graph *g, const weft_gradcheck_options *o);

#ifdef __cplusplus
}
#endif

#include "weft_train.h" /* training and using what was trained */

#endif
