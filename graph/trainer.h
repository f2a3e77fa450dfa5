/* trainer.h - what a training run holds together; trainer.c builds it, train.c runs it, runlog.c
 * writes its logs, resume.c says where it goes on. */
#ifndef WEFT_TRAINER_H
#define WEFT_TRAINER_H

#include "graph/checkpoint.h"
#include "graph/evaluate.h"

/* A setting in which a run that goes on differs from its checkpoint; NULL: it has none. */
typedef struct {
    const char *name, *was, *is;
} weft_changed_setting;
typedef struct {
    weft_changed_setting *item;
    int n, cap;
} weft_changes;

/* ---- runlog.c ---- */
typedef struct {
    weft_ctx *ctx;
    weft_growing log, timing; /* log.jsonl, timing.jsonl */
    int told;                 /* the error of `log` that somebody was told of */
} weft_runlog;
/* What a checkpoint finds in DIR/log.jsonl. */
typedef struct {
    bool there, whole; /* all lines up to the checkpoint are in it */
    int64_t size;      /* bytes of the file */
    int64_t kept;      /* bytes to go on after: whole lines of steps up to the checkpoint's */
    int64_t step;      /* of the last of them, 0: there is none */
} weft_log_fit;
weft_status weft_runlog_fit(weft_ctx *c, const char *dir, const weft_progress *p,
                            weft_log_fit *out);
/* Opens DIR/log.jsonl to go on after what a checkpoint keeps of it (weft_runlog_fit), and
 * DIR/timing.jsonl after its last whole line. */
weft_status weft_runlog_open(weft_ctx *c, weft_arena *a, const char *dir, const weft_progress *p,
                             weft_runlog *out);
void weft_runlog_close(weft_runlog *l);
/* Lines that the disk does not take now wait in memory: weft_runlog_trouble. WEFT_IO when too many
 * wait. */
weft_status weft_runlog_step(weft_runlog *l, const weft_event *e);
weft_status weft_runlog_eval(weft_runlog *l, const weft_event *e, const weft_eval_result *r);
/* A message in buf when lines have begun to wait, once; else NULL. */
const char *weft_runlog_trouble(weft_runlog *l, char *buf, size_t n);
/* Makes log.jsonl durable as a checkpoint needs it: before its manifest. *bytes: its length. */
weft_status weft_runlog_sync(weft_runlog *l, int64_t *bytes);
/* A line for a setting that has changed at this step. */
weft_status weft_runlog_setting(weft_runlog *l, const weft_progress *p,
                                const weft_changed_setting *c);
/* What depends on the clock or on when the run was stopped goes to timing.jsonl; failures there are
 * ignored. */
void weft_runlog_time(weft_runlog *l, const char *kind, const weft_event *e);

/* ---- trainer.c ---- */
typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    weft_recipe *recipe;
    const weft_train_options *options;
    bool look; /* everything is opened and planned, but nothing made, allocated or read whole */
    const char *dir;
    weft_model *model;
    weft_graph *forward, *graph; /* as expanded and lowered; with gradients and optimizer */
    weft_session *session;
    weft_program *micro,
        *step; /* adds one micro-batch to the gradients (NULL: no accumulation); makes the step */
    weft_evaluator eval; /* eval.n_round 0: no validation data */
    weft_tokens *train_tokens, *val_tokens;
    weft_sampler sampler;
    weft_run_dir *run_dir;
    weft_runlog log;
    weft_progress progress;
    weft_train_info info;
    weft_changes changes; /* since the checkpoint that it goes on from */
    weft_frozen *frozen;  /* of each `load` entry */
    weft_event event;     /* as last told */
    int64_t start_ns, rate_ns, rate_tokens;
    int save_failures;
} weft_trainer;
weft_status weft_trainer_open(weft_trainer *t);
void weft_trainer_close(weft_trainer *t);
weft_status weft_trainer_save(weft_trainer *t);

/* ---- resume.c ---- */
/* Is log.jsonl whole up to the checkpoint *path, *p, from which a run is to go on? If not, an older
 * good checkpoint takes its place for which it is; where there is none, the run goes on from this
 * one. The log sink is told what was lost. */
weft_status weft_resume_with_log(weft_trainer *t, const char **path, weft_progress *p);

/* ---- changes.c ---- */
/* What the recipe says otherwise than that of the checkpoint `path`, *p, from which the run is to
 * go on: t->changes. MISMATCH names what must stay, with both values. */
weft_status weft_changes_find(weft_trainer *t, const char *path, const weft_progress *p);
/* Writes recipe.txtpb (t->progress.recipe) where it has other bytes, atomically, and tells the log
 * sink what changed, and whether the file was changed by somebody else since checkpoint *p. Before
 * the first step: a checkpoint with the new settings finds them there. */
weft_status weft_changes_store(weft_trainer *t, const weft_progress *p);
/* Into log.jsonl, as the first lines after the checkpoint's. */
weft_status weft_changes_log(weft_trainer *t);

/* ---- start.c ---- */
/* Gives the weights of the recipe's `start` entries what the model computes for them, outside
 * training, on the first batch; in order, so that an entry sees what the earlier ones have set. */
weft_status weft_trainer_start(weft_trainer *t);

#endif
