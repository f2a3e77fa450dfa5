/* train.c - the training loop: batches to steps, log, evaluation, checkpoints, and the ways to
 * stop. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/trainer.h"

enum { MAX_SAVE_FAILURES = 3 };

static void tell(weft_trainer *t, weft_event_kind kind, const char *path)
{
    int64_t now = weft_now_ns(t->ctx);
    weft_event *e = &t->event;
    e->kind = kind;
    e->info = &t->info;
    e->path = path;
    e->step = t->progress.step;
    e->tokens = t->progress.tokens;
    e->seconds = (double)(now - t->start_ns) * 1e-9;
    if (kind == WEFT_EVENT_STEP && now > t->rate_ns) {
        /* a mean over the last steps, so that the display is calm */
        double rate =
            (double)(t->progress.tokens - t->rate_tokens) / ((double)(now - t->rate_ns) * 1e-9);
        e->tokens_per_s = e->tokens_per_s > 0 ? 0.8 * e->tokens_per_s + 0.2 * rate : rate;
        double left = (double)(e->steps - e->step) *
                      (double)(t->info.batch * t->info.length * t->info.accumulate);
        e->seconds_left = left / e->tokens_per_s;
    }
    t->rate_ns = now;
    t->rate_tokens = t->progress.tokens;
    if (t->options->event)
        t->options->event(t->options->user, e);
}

/* ---- one step ---- */
/* train.log: means over the micro-batches of a step. */
static void add_log(weft_trainer *t, weft_program *p)
{
    weft_event *e = &t->event;
    for (int i = 0; i < e->n_log; i++)
        e->log[i] += weft_fetch_scalar(p, e->log_name[i]) / (double)t->info.accumulate;
}

static weft_status run_micro(weft_trainer *t, int64_t k, bool *begun)
{
    weft_type type;
    int64_t cursor = t->progress.cursor + k;
    WEFT_TRY(weft_feed_batch(t->micro, &t->sampler, cursor));
    weft_feed_rng(t->micro, t->progress.seed, cursor);
    int32_t *first = weft_program_input(t->micro, "first", &type);
    if (first)
        *first = k == 0;
    *begun = true;
    WEFT_TRY(weft_program_run(t->micro));
    add_log(t, t->micro);
    return WEFT_OK;
}

/* *begun: states may have changed. */
static weft_status run_step(weft_trainer *t, bool *begun)
{
    *begun = false;
    memset(t->event.log, 0, sizeof t->event.log);
    if (t->micro) {
        for (int64_t k = 0; k < t->info.accumulate; k++)
            WEFT_TRY(run_micro(t, k, begun));
    } else {
        WEFT_TRY(weft_feed_batch(t->step, &t->sampler, t->progress.cursor));
        weft_feed_rng(t->step, t->progress.seed, t->progress.cursor);
    }
    *begun = true;
    WEFT_TRY(weft_program_run(t->step));
    if (!t->micro)
        add_log(t, t->step);
    t->event.loss =
        weft_fetch_scalar(t->step, t->micro ? "mean_loss" : t->recipe->msg->train->loss);
    t->event.grad_norm = weft_fetch_scalar(t->step, "grad_norm");
    t->event.lr = weft_fetch_scalar(t->step, "lr");
    return WEFT_OK;
}

/* Runs the failed step's first bad batch again with a check of every node; the error then names the
 * node. */
static weft_status find_bad_node(weft_trainer *t)
{
    weft_program *micro, *step;
    const weft_compile_options o = {
        .train = true, .no_rewrite = t->options->no_rewrite, .check_nan = true};
    WEFT_TRY(weft_recipe_compile(t->recipe, t->forward, t->session, &o, &micro, &step));
    weft_program *p = micro ? micro : step;
    for (int64_t k = 0; k < t->info.accumulate; k++) {
        weft_type type;
        WEFT_TRY(weft_feed_batch(p, &t->sampler, t->progress.cursor + k));
        weft_feed_rng(p, t->progress.seed, t->progress.cursor + k);
        int32_t *first = weft_program_input(p, "first", &type);
        if (first)
            *first = k == 0;
        WEFT_TRY(weft_program_run(p));
    }
    return micro ? weft_program_run(step) : WEFT_OK;
}

/* The graph itself has left weights, moments and counter alone: what is in memory is the last good
 * step. */
static weft_status stop_on_nan(weft_trainer *t)
{
    double loss = t->event.loss, norm = t->event.grad_norm;
    int64_t step = t->progress.step + 1, good = t->progress.step;
    weft_status found = find_bad_node(t);
    if (!found)
        weft_fail(t->ctx, WEFT_NUMERIC, "no single value is NaN or Inf when the step is run again");
    const char *path;
    weft_progress p;
    char where[512];
    weft_snprintf(where, sizeof where,
                  "step %lld: loss %g, gradient norm %g; the weights were not changed",
                  (long long)step, loss, norm);
    char first[1024];
    weft_error_flat(t->ctx, first, sizeof first);
    weft_error_clear(t->ctx);
    weft_status latest = weft_checkpoint_latest(t->run_dir, &path, &p);
    weft_error_clear(t->ctx);
    weft_fail(t->ctx, WEFT_NUMERIC, "%s", where);
    weft_note(t->ctx, "first bad value: %s", first);
    if (latest)
        weft_note(t->ctx, latest == WEFT_MISSING ? "there is no checkpoint yet"
                                                 : "none of the checkpoints can be read now");
    else
        weft_note(t->ctx, "last good checkpoint: %s (step %lld of %lld good ones)", path,
                  (long long)p.step, (long long)good);
    return WEFT_NUMERIC;
}

/* ---- cadences ---- */
static bool due(int64_t step, int64_t every, int64_t last)
{
    return step == last || (every > 0 && step % every == 0);
}

static weft_status evaluate(weft_trainer *t)
{
    weft_eval_result r;
    int64_t before = weft_now_ns(t->ctx);
    WEFT_TRY(weft_evaluator_run(&t->eval, t->recipe->msg->eval->batches, &r));
    t->event.val_loss = r.loss;
    memcpy(t->event.val_log, r.log, sizeof r.log);
    t->event.val_bits = r.bytes > 0 ? r.loss * (double)r.tokens / (log(2) * (double)r.bytes) : NAN;
    WEFT_TRY(weft_runlog_eval(&t->log, &t->event, &r));
    t->rate_ns += weft_now_ns(t->ctx) - before; /* not the training's speed */
    int64_t rate = t->rate_ns, tokens = t->rate_tokens;
    tell(t, WEFT_EVENT_EVAL, NULL);
    t->rate_ns = rate;
    t->rate_tokens = tokens;
    return WEFT_OK;
}

/* A failed save is told and tried again at the next occasion; after some in a row, or at the end,
 * it is the outcome. */
static weft_status save(weft_trainer *t, bool last)
{
    weft_status s = weft_runlog_sync(&t->log, &t->progress.log_bytes);
    if (!s)
        s = weft_checkpoint_save(t->run_dir, t->session, &t->progress,
                                 (int)t->recipe->msg->checkpoint->keep);
    if (!s) {
        char path[64];
        snprintf(path, sizeof path, "checkpoints/step-%06lld", (long long)t->progress.step);
        t->save_failures = 0;
        tell(t, WEFT_EVENT_SAVE, path);
        weft_runlog_time(&t->log, "save", &t->event);
        return WEFT_OK;
    }
    if (last || ++t->save_failures >= MAX_SAVE_FAILURES)
        return weft_note(t->ctx, "saving step %lld", (long long)t->progress.step);
    char message[1024], why[800];
    snprintf(message, sizeof message,
             "saving step %lld failed, next try at the next checkpoint: %s",
             (long long)t->progress.step, weft_error_flat(t->ctx, why, sizeof why));
    weft_error_clear(t->ctx);
    tell(t, WEFT_EVENT_WARNING, message);
    return WEFT_OK;
}

/* The data could not be read for the next step: what was done so far is not lost with it. */
static weft_status save_before_leaving(weft_trainer *t, weft_status s)
{
    char why[1024];
    weft_error_flat(t->ctx, why, sizeof why);
    weft_error_clear(t->ctx);
    bool saved = save(t, true) == WEFT_OK;
    weft_error_clear(t->ctx);
    weft_fail(t->ctx, s, "%s", why);
    return weft_note(t->ctx,
                     saved ? "step %lld was saved: --resume goes on from there"
                           : "step %lld could not be saved",
                     (long long)t->progress.step);
}

static void tell_trouble(weft_trainer *t)
{
    char message[1024];
    const char *text = weft_runlog_trouble(&t->log, message, sizeof message);
    if (text)
        tell(t, WEFT_EVENT_WARNING, text);
}

static weft_status after_step(weft_trainer *t, int64_t end)
{
    const Weft__Recipe *m = t->recipe->msg;
    t->progress.step++;
    t->progress.cursor += t->info.accumulate;
    t->progress.tokens += t->info.accumulate * t->info.batch * t->info.length;
    t->event.step = t->progress.step;
    t->event.tokens = t->progress.tokens;
    int64_t step = t->progress.step;
    if (due(step, m->train->log_every, m->train->steps))
        WEFT_TRY(weft_runlog_step(&t->log, &t->event));
    tell(t, WEFT_EVENT_STEP, NULL);
    if (due(step, m->train->log_every, m->train->steps))
        weft_runlog_time(&t->log, "step", &t->event);
    if (t->eval.n_round && due(step, m->eval->every, m->train->steps))
        WEFT_TRY(evaluate(t));
    tell_trouble(t);
    bool stop = (t->options->stop && *t->options->stop) || step >= end;
    if (stop || due(step, m->checkpoint->every, end))
        return save(t, stop);
    return WEFT_OK;
}

static weft_status loop(weft_trainer *t)
{
    const Weft__Recipe *m = t->recipe->msg;
    int64_t end = m->train->steps;
    if (t->options->stop_at > 0 && t->options->stop_at < end)
        end = t->options->stop_at;
    while (t->progress.step < end && !(t->options->stop && *t->options->stop)) {
        bool begun;
        weft_status s = run_step(t, &begun);
        if (s == WEFT_IO && !begun && t->progress.step > t->info.first_step)
            return save_before_leaving(t, s);
        WEFT_TRY(s);
        if (m->train->check_nan && (!isfinite(t->event.loss) || !isfinite(t->event.grad_norm)))
            return stop_on_nan(t);
        WEFT_TRY(after_step(t, end));
    }
    return WEFT_OK;
}

static weft_status begin(weft_trainer *t)
{
    const Weft__Recipe *m = t->recipe->msg;
    t->event = (weft_event){.steps = m->train->steps,
                            .n_log = (int)m->train->n_log,
                            .log_name = (const char *const *)m->train->log,
                            .n_val_log = (int)m->eval->n_log,
                            .val_log_name = (const char *const *)m->eval->log,
                            .val_loss = NAN,
                            .val_bits = NAN,
                            .loss = NAN,
                            .grad_norm = NAN,
                            .lr = NAN,
                            .info = &t->info};
    for (int i = 0; i < WEFT_MAX_LOG; i++)
        t->event.log[i] = t->event.val_log[i] = NAN;
    t->start_ns = t->rate_ns = weft_now_ns(t->ctx);
    t->rate_tokens = t->progress.tokens;
    tell(t, WEFT_EVENT_START, NULL);
    weft_runlog_time(&t->log, t->info.first_step ? "resume" : "start", &t->event);
    return WEFT_OK;
}

weft_status weft_train_check(weft_recipe *r, const weft_train_options *o, weft_train_info *info)
{
    weft_trainer t = {
        .ctx = r->ctx, .recipe = r, .options = o, .look = true, .arena = weft_arena_new(r->ctx, 0)};
    t.log.log.fd = t.log.timing.fd = -1;
    r->ctx->look_only = true;
    weft_status s = t.arena ? weft_trainer_open(&t) : weft_error_status(r->ctx);
    r->ctx->look_only = false;
    if (info)
        *info = t.info;
    if (info)
        info->name = info->dir = NULL; /* memory of t */
    weft_trainer_close(&t);
    weft_arena_free(t.arena);
    return s;
}

weft_status weft_train(weft_recipe *r, const weft_train_options *o)
{
    weft_trainer t = {.ctx = r->ctx, .recipe = r, .options = o, .arena = weft_arena_new(r->ctx, 0)};
    weft_status s = t.arena ? weft_trainer_open(&t) : weft_error_status(r->ctx);
    if (!s)
        s = begin(&t);
    if (!s)
        s = loop(&t);
    if (!s) {
        tell(&t, WEFT_EVENT_END, NULL);
        s = weft_stopped(o->stop ? *o->stop : 0);
        if (s && t.progress.step >= r->msg->train->steps)
            s = WEFT_OK; /* the signal came when all was done */
    }
    weft_trainer_close(&t);
    weft_arena_free(t.arena);
    return s;
}
