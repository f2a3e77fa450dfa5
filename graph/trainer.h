/* trainer.h - what a training run holds together; trainer.c builds it, train.c runs it, runlog.c
 * writes its logs. */
#ifndef WEFT_TRAINER_H
#define WEFT_TRAINER_H

#include "graph/checkpoint.h"
#include "graph/data.h"
#include "graph/recipe.h"

/* ---- evaluate.c ---- */
/* A forward program outside training and the batches that it is fed with. */
typedef struct {
    weft_program *program;
    weft_program *single; /* the same for one sequence, for what is left after the last whole batch;
                             NULL: nothing is left, or it is left out */
    const char *loss;
    const char *const *log; /* scalar outputs that are averaged too */
    int n_log;
    weft_sampler sampler; /* sequential */
    int64_t (*token_bytes)(void *user, const int32_t *ids, int64_t n);
    void (*progress)(void *user, int64_t done, int64_t all);
    void *user;
} weft_evaluator;
/* Mean loss over `batches` batches (0: all whole sequences of the file, see `single`). */
weft_status weft_evaluator_run(weft_evaluator *e, int64_t batches, weft_eval_result *out);
/* Are there sequences after the last whole batch of an evaluation of so many batches (0: all)? */
bool weft_evaluator_rest(const weft_sampler *s, int64_t batches);
/* Fills the inputs "tokens" and "targets" of a program with micro-batch `cursor`. */
weft_status weft_feed_batch(weft_program *p, const weft_sampler *s, int64_t cursor);
/* Fills the input "rng" if the program has one. */
void weft_feed_rng(weft_program *p, uint64_t seed, int64_t step);
/* Value of a scalar f32 output. */
double weft_fetch_scalar(weft_program *p, const char *name);
/* The outputs of a recipe's evaluation: eval.loss, then eval.log. `out` holds 1 + WEFT_MAX_LOG;
 * returns how many. */
int weft_eval_outputs(const weft_recipe *r, const char **out);
/* Type of the graph's input "tokens", which must be i32[B,T]. */
weft_status weft_tokens_type(const weft_graph *g, weft_type *t);
/* How many ids the model knows: the last size of its output "logits", or `missing` without one. */
int64_t weft_graph_vocab(const weft_graph *g, int64_t missing);

/* ---- runlog.c ---- */
typedef struct {
    weft_ctx *ctx;
    const char *path, *timing_path;
    int fd, timing_fd;
    int64_t bytes; /* of log.jsonl */
} weft_runlog;
/* Opens DIR/log.jsonl for appending after its first `bytes` bytes, and DIR/timing.jsonl. */
weft_status weft_runlog_open(weft_ctx *c, weft_arena *a, const char *dir, int64_t bytes,
                             weft_runlog *out);
void weft_runlog_close(weft_runlog *l);
weft_status weft_runlog_step(weft_runlog *l, const weft_event *e);
weft_status weft_runlog_eval(weft_runlog *l, const weft_event *e, const weft_eval_result *r);
/* What depends on the clock or on when the run was stopped goes to timing.jsonl; failures there are
 * ignored. */
void weft_runlog_time(weft_runlog *l, const char *kind, const weft_event *e);

/* ---- trainer.c ---- */
typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    weft_recipe *recipe;
    const weft_train_options *options;
    const char *dir;
    weft_model *model;
    weft_graph *forward, *graph; /* as expanded and lowered; with gradients and optimizer */
    weft_session *session;
    weft_program *micro,
        *step; /* adds one micro-batch to the gradients (NULL: no accumulation); makes the step */
    weft_evaluator eval; /* eval.program NULL: no validation data */
    weft_tokens *train_tokens, *val_tokens;
    weft_sampler sampler;
    weft_run_dir *run_dir;
    weft_runlog log;
    weft_progress progress;
    weft_train_info info;
    weft_frozen *frozen; /* of each `load` entry */
    weft_event event;    /* as last told */
    int64_t start_ns, rate_ns, rate_tokens;
    int save_failures;
} weft_trainer;
weft_status weft_trainer_open(weft_trainer *t);
void weft_trainer_close(weft_trainer *t);
weft_status weft_trainer_save(weft_trainer *t);

/* ---- cached.c: labels from files ---- */
/* The graph with the labels as inputs, for a recipe that names a label file (`path`), as far as the
 * outputs `keep` need it. *out NULL: there is nothing to cut. */
weft_status weft_labels_cut(const weft_recipe *r, const weft_graph *forward, const char *path,
                            const char *const *keep, int n, weft_graph **out);
/* Names of the values that a label file stands for: the recipe's label_value, and its score_value
 * where the graph computes it. Returns how many. */
int weft_label_values(const weft_recipe *r, const weft_graph *g, const char *name[2]);
/* Fills the label inputs of a program for micro-batch `cursor`; called by weft_feed_batch. */
weft_status weft_feed_labels(weft_program *p, const weft_sampler *s, int64_t cursor);
/* Opens the label files that the recipe names, for the samplers, and compares them with model and
 * data: MISMATCH with what differs. */
weft_status weft_trainer_open_labels(weft_trainer *t);
/* Compares the weights of their extractor, when it is at hand; after the session's are loaded. */
weft_status weft_trainer_check_labels(weft_trainer *t);

/* ---- start.c ---- */
/* Gives the weights of the recipe's `start` entries what the model computes for them, outside
 * training, on the first batch; in order, so that an entry sees what the earlier ones have set. */
weft_status weft_trainer_start(weft_trainer *t);

#endif
