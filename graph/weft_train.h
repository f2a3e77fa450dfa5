/* weft_train.h - the part of the public interface that trains models and uses trained ones:
 * training runs, their logs, evaluation, generation, labels. weft.h includes it; contexts, errors
 * and ownership are as there. */
#ifndef WEFT_TRAIN_H
#define WEFT_TRAIN_H

#include "weft.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- training ---------------------------------------------------------------------------- */
/* What a training run consists of. Events and what they point to are valid during the callback
 * only. */
typedef struct {
    const char *name, *dir;
    int64_t parameters, trainable;
    int64_t batch, length,
        accumulate; /* sequences and tokens of a micro-batch, micro-batches per step */
    int64_t train_tokens, val_tokens; /* in the files; val 0: none */
    int64_t first_step;               /* > 0: resumed */
    size_t state_bytes, plan_bytes;
    double flops; /* of one step */
    int64_t compile_ns;
    int threads;
} weft_train_info;

typedef enum {
    WEFT_EVENT_START,   /* everything is ready: `info` */
    WEFT_EVENT_STEP,    /* a step is done */
    WEFT_EVENT_EVAL,    /* val_loss and val_bits are new */
    WEFT_EVENT_SAVE,    /* a checkpoint is complete: `path` */
    WEFT_EVENT_WARNING, /* `path` holds a message; training goes on */
    WEFT_EVENT_END      /* after the last save */
} weft_event_kind;

typedef struct {
    weft_event_kind kind;
    const weft_train_info *info;
    int64_t step, steps; /* optimizer steps done; steps of the whole run */
    int64_t tokens;      /* seen so far */
    double loss, grad_norm, lr;
    double val_loss, val_bits; /* nats per token, bits per byte; NaN: not known yet */
    /* train.log and eval.log: names (the recipe's) and values; val_log is NaN until the first
     * evaluation */
    int n_log, n_val_log;
    const char *const *log_name, *const *val_log_name;
    double log[WEFT_MAX_LOG], val_log[WEFT_MAX_LOG];
    double tokens_per_s, seconds, seconds_left; /* of this process; the rate over the last steps */
    const char *path;
} weft_event;

typedef enum {
    WEFT_RESUME_NEVER, /* refuse a directory that has checkpoints */
    WEFT_RESUME_AUTO,  /* go on where one is, else begin */
    WEFT_RESUME_MUST   /* fail with WEFT_MISSING where none is */
} weft_resume;

typedef struct {
    const char *dir; /* run directory; NULL: runs/NAME */
    weft_resume resume;
    int64_t
        stop_at; /* save and return WEFT_OK when so many steps are done; 0: at the recipe's end */
    /* Becomes the number of a signal: finish the step, save, return weft_stopped(). NULL: never. */
    const volatile int *stop;
    bool no_rewrite;
    int64_t vocab; /* ids that the tokenizer makes: WEFT_MISMATCH if the model knows fewer,
                      WEFT_MALFORMED if the data have others; 0: not known */
    void (*event)(void *user, const weft_event *e); /* NULL: silent */
    /* UTF-8 bytes that the tokens stand for, for bits per byte; NULL: not known. */
    int64_t (*token_bytes)(void *user, const int32_t *ids, int64_t n);
    void *user;
} weft_train_options;

/* Trains by a recipe. The run directory gets recipe.txtpb and model.txtpb as run, the tokenizer,
 * log.jsonl (equal bytes for equal runs, interrupted or not), timing.jsonl (what the clock said)
 * and checkpoints/. Returns weft_stopped() after a stop by signal,
 * WEFT_NUMERIC when loss or gradient are not finite (the weights are those of the last good step),
 * WEFT_MISMATCH when a checkpoint belongs to another model, seed or data. */
WEFT_API weft_status weft_train(weft_recipe *r, const weft_train_options *o);

/* Would weft_train begin? It fails as weft_train would fail before its first step: the same
 * function opens model, data, labels, weights that are loaded, checkpoints and the run directory,
 * and plans memory. Nothing is made or written, no file is read whole, and no memory taken for
 * states: damage and hashes of contents (but those of data up to 256 MiB that labels or a
 * checkpoint belong to) are not looked for, and whether another process holds the run directory is
 * not asked. */
WEFT_API weft_status weft_train_check(weft_recipe *r, const weft_train_options *o,
                                      weft_train_info *info);

/* Is DIR/recipe.txtpb the recipe that the newest checkpoint of the run was saved with, by the hash
 * in its manifest? *same also where nobody can tell: there is no checkpoint, or one of version 0.1.
 * *step: of that checkpoint. */
WEFT_API weft_status weft_run_check_recipe(weft_ctx *c, const char *dir, bool *same, int64_t *step);
/* Does DIR/model.txtpb, with the settings of that checkpoint's recipe, give the graph that was
 * trained, by the hash in the manifest? A comment makes no other graph. */
WEFT_API weft_status weft_run_check_model(weft_ctx *c, const char *dir, bool *same, int64_t *step);
/* The recipe that the newest checkpoint was saved with, whatever DIR/recipe.txtpb has become; *out
 * NULL: there is no checkpoint, or one of version 0.1. Its model is DIR/model.txtpb as it is now.
 * CORRUPT when the checkpoint's copy is damaged. */
WEFT_API weft_status weft_run_recipe(weft_ctx *c, const char *dir, weft_recipe **out);

/* A line of log.jsonl or timing.jsonl: all its numbers by name, null as NaN, and its texts. Valid
 * during the callback only. A setting that was changed on the way is of the kind "set", with the
 * texts "name", "was" and "is". */
typedef struct {
    const char *file; /* for messages */
    int number;       /* of the line, from 1 */
    const char *kind; /* "step", "eval", ... */
    int64_t step, tokens;
    int n;
    const char *const *name;
    const double *value;
    int n_text;
    const char *const *text_name, *const *text;
} weft_log_line;
/* Calls back for each line until one fails. WEFT_MALFORMED with file and line where something is no
 * line of a log; a last line that is cut short is left out and told to the log sink. */
WEFT_API weft_status weft_log_read(weft_ctx *c, const char *path,
                                   weft_status (*line)(void *user, const weft_log_line *l),
                                   void *user);

/* ---- using a trained model --------------------------------------------------------------- */
/* A model with weights: from a run directory (its newest good checkpoint), a checkpoint folder, a
 * recipe or a model file; the last two take `weights` (a safetensors file, checkpoint or run) or,
 * without, start values by the seed. Weights alone (a folder or file of another program, or an
 * import) are read into the shipped model file that the name map names which fits them. Parameters
 * of the model that the weights tell (config.json, metadata) are taken where neither `set` nor the
 * recipe has them; MISMATCH where these say something else. */
typedef struct weft_trained weft_trained;
WEFT_API weft_status weft_trained_open(weft_ctx *c, const char *path, const char *weights,
                                       const char *const *set, int n_set, weft_trained **out);
WEFT_API void weft_trained_free(weft_trained *t);
/* The recipe of the run, t's own; NULL: a model file has none. */
WEFT_API const weft_recipe *weft_trained_recipe(const weft_trained *t);
/* Path of the tokenizer or of the validation data that the run used, or of the tokenizer that lies
 * with the weights; NULL if there is none, and if it cannot be looked for: then weft_error_status
 * says so. */
WEFT_API const char *weft_trained_file(const weft_trained *t, weft_recipe_path which);
/* To a failure that is WEFT_MISSING, since `path` is not there: if the recipe names it, what
 * weft_recipe_note says. Returns the status. */
WEFT_API weft_status weft_trained_note(const weft_trained *t, const char *path);
WEFT_API const char *
weft_trained_weights(const weft_trained *t); /* where the weights came from; NULL: start values */
/* Ids of the tokens that begin and end a text, where `tokenizer` (NULL: none) is in use; -1: there
 * is none. Another program's description has the first word; of a run, its tokenizer. */
WEFT_API weft_status weft_trained_ids(const weft_trained *t, const char *tokenizer, int64_t *bos,
                                      int64_t *eos);
WEFT_API int64_t
weft_trained_vocab(const weft_trained *t); /* ids that the model knows: sizes of its logits */

/* For programs of one's own: the expanded graph for a batch and a length (0: the recipe's or the
 * model's own), and the weights: the session gets all states of g (files hold them all, programs
 * may need fewer; of weights alone those that loss and logits need), then what the weights' file
 * has, then start values for the rest; without a weights' file the log says so, once, if something
 * read is trained. Frozen weights that the recipe loads from elsewhere are read only if a program
 * that the session has by now needs them; so fill again after compiling more: all files are read
 * again, other states stay. */
WEFT_API weft_status weft_trained_graph(weft_trained *t, int64_t batch, int64_t length,
                                        weft_graph **out);
WEFT_API weft_status weft_trained_fill(weft_trained *t, const weft_graph *g, weft_session *s);

typedef struct {
    int64_t batch, length;      /* 0: the recipe's, or 1 and the model's */
    int64_t batches;            /* 0, or more than there are: all whole sequences of the file */
    bool reference, no_rewrite; /* a reference computes labels, too */
    const weft_intervention *intervene; /* all with WEFT_ON_ALL */
    int n_intervene;
    void (*progress)(void *user, int64_t done, int64_t all);           /* NULL: silent */
    int64_t (*token_bytes)(void *user, const int32_t *ids, int64_t n); /* NULL: not known */
    void *user;
    int64_t
        vocab; /* ids that the tokenizer makes: WEFT_MALFORMED if data have others; 0: unknown */
} weft_eval_options;
typedef struct {
    int64_t tokens, bytes; /* predicted tokens; bytes that they stand for, 0: not known */
    double loss;           /* mean over tokens, nats */
    double seconds;
    int n_log; /* eval.log of the recipe: names (its own) and values */
    const char *const *log_name;
    double log[WEFT_MAX_LOG];
} weft_eval_result;
/* Would what the recipe of t evaluates say anything of the weights in `path`, which one of its
 * `load` entries gives it below `scope`? MISMATCH if it reads none of them, or trainable weights
 * that no file gives, with their names. Nothing is run. */
WEFT_API weft_status weft_trained_reads(weft_trained *t, const char *path, const char *scope);
/* On the recipe's own data.val its data.val_labels are read, as in training: MISMATCH when they are
 * of another model, length or extractor. On other data labels are computed. NUMERIC when a mean is
 * not finite, USAGE for an intervention that reaches none of them. */
WEFT_API weft_status weft_evaluate(weft_trained *t, const char *data, const weft_eval_options *o,
                                   weft_eval_result *out);

typedef struct {
    const int32_t *prompt; /* at least one token */
    int64_t n_prompt;
    int64_t n_new;      /* tokens to add */
    double temperature; /* 0: always the most probable token */
    int64_t top_k;      /* 0: all */
    double top_p;       /* 1: all */
    uint64_t seed;
    uint32_t sample; /* number of the sample: another sequence from the same seed */
    bool no_cache;   /* compute the whole window for every token */
    const weft_intervention *intervene;
    int n_intervene;
    bool (*token)(void *user, int32_t id); /* false: stop */
    /* Whether an id may be drawn, asked once for each of the model's: it may have more than its
     * tokenizer knows (a padded vocabulary). NULL: all. */
    bool (*known)(void *user, int32_t id);
    void *user;
} weft_generate_options;
/* Draws tokens one by one; `token` has had all of them when an error comes. When the context is
 * full, the older half of it is dropped. Token i
 * depends on (weights, prompt, seed, sample, i) alone. WEFT_USAGE for an intervention on a value
 * that the logits are not computed from. */
WEFT_API weft_status weft_generate(weft_trained *t, const weft_generate_options *o);
/* The same for many samples: compiled once, then run with the number of each sample instead of
 * o->sample. What `o` points to must stay. NULL is fine for free. */
typedef struct weft_generator weft_generator;
WEFT_API weft_status weft_generator_new(weft_trained *t, const weft_generate_options *o,
                                        weft_generator **out);
WEFT_API weft_status weft_generator_run(weft_generator *g, uint32_t sample);
/* What a fed intervention reads from the next run on; without it a run is WEFT_USAGE. So is it when
 * there is no scalar f32 input of this name. */
WEFT_API weft_status weft_generator_feed(weft_generator *g, const char *name, float value);
WEFT_API void weft_generator_free(weft_generator *g);

/* weft_trained_graph with interventions. `keep`: the outputs that are wanted of it; WEFT_USAGE for
 * an intervention on a value that none of those which the model has is computed from. */
WEFT_API weft_status weft_trained_changed(weft_trained *t, int64_t batch, int64_t length,
                                          const weft_intervention *list, int n,
                                          const char *const *keep, int n_keep, weft_graph **out);
/* Writes the model with interventions as a run directory that stands on its own: `dir` gets
 * model.txtpb (a flat graph of batch 1 in which the interventions are nodes; what the loss and the
 * logits need), model.safetensors, recipe.txtpb and the tokenizer. WEFT_CANTCREATE if `dir` holds a
 * recipe.txtpb already, WEFT_USAGE for an intervention that neither loss nor logits depend on. */
WEFT_API weft_status weft_trained_save(weft_trained *t, const weft_intervention *list, int n,
                                       const char *dir);

/* ---- labels that a frozen extractor gives ------------------------------------------------ */
typedef struct {
    int64_t windows, length, labels; /* windows of so many tokens, labels of each token */
    int64_t concepts;                /* ids are below this */
    int64_t batch;                   /* windows labelled at once */
    bool scores;
    uint64_t graph_hash, weight_hash, data_hash;
    int64_t bytes;         /* of the complete file */
    int64_t resumed, done; /* windows that were there already; windows that are there now */
    double seconds;        /* spent on the others */
} weft_label_result;
typedef struct {
    const char *data; /* token file; NULL: the recipe's training data */
    const char *out;  /* NULL: the recipe's data.labels */
    /* Names of the values; NULL: weft_recipe_label_value, weft_recipe_score_value. */
    const char *label_value, *score_value;
    bool scores;           /* the value score_value too */
    bool resume;           /* go on after what an interrupted run left in OUT.tmp */
    int64_t batch, length; /* 0: the recipe's, or 1 and the model's */
    bool no_rewrite;
    const volatile int *stop;                                 /* as in weft_train_options */
    void (*progress)(void *user, const weft_label_result *r); /* after a batch; NULL: silent */
    void *user;
    int64_t vocab; /* as in weft_eval_options */
} weft_label_options;
/* Computes the value label_value: i32[B,T,k] of the model, and nothing else of it, for every fixed
 * window of a token file and writes a label file (docs/labels.md) at `out`, atomically. Stopped by
 * a signal it returns weft_stopped() and leaves OUT.tmp to go on with. */
WEFT_API weft_status weft_label(weft_trained *t, const weft_label_options *o,
                                weft_label_result *out);
/* How many there are to choose from: the ids of a value `label`, i32[B,T,k] of an expanded graph,
 * are below it. 0: no node computes such a value. */
WEFT_API int64_t weft_label_range(const weft_graph *g, const char *label);
/* Reads a whole label file: format, sizes, checksums, ranges. */
WEFT_API weft_status weft_labels_verify(weft_ctx *c, const char *path, weft_label_result *out);

#ifdef __cplusplus
}
#endif
#endif
