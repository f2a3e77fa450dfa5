/* trainer.h - what a training run holds together; trainer.c builds it, train.c runs it, runlog.c
 * writes its logs. */
#ifndef WEFT_TRAINER_H
#define WEFT_TRAINER_H

#include "graph/checkpoint.h"
#include "graph/evaluate.h"

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

/* ---- start.c ---- */
/* Gives the weights of the recipe's `start` entries what the model computes for them, outside
 * training, on the first batch; in order, so that an entry sees what the earlier ones have set. */
weft_status weft_trainer_start(weft_trainer *t);

#endif
