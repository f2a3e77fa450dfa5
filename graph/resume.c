/* resume.c - from which checkpoint a run goes on when its log does not hold what the newest one
 * counts on: the log is a function of recipe and data, so an older checkpoint makes the lost lines
 * again. */
#include "graph/trainer.h"

/* The newest checkpoint before step `below` for which the log is whole. *path NULL: there is none.
 */
static weft_status find_whole(weft_trainer *t, int64_t below, const char **path, weft_progress *p)
{
    weft_log_fit fit = {0};
    while (!fit.whole) {
        weft_status s = weft_checkpoint_before(t->run_dir, below, path, p);
        if (s == WEFT_MISSING || s == WEFT_CORRUPT) {
            weft_error_clear(t->ctx);
            *path = NULL;
            return WEFT_OK;
        }
        WEFT_TRY(s);
        WEFT_TRY(weft_runlog_fit(t->ctx, t->dir, p, &fit));
        below = p->step;
    }
    return WEFT_OK;
}

static void tell_older(const weft_trainer *t, const weft_progress *newest, const weft_log_fit *fit,
                       const weft_progress *p)
{
    weft_log(t->ctx,
             "warning: %s/log.jsonl has lost lines: it ends at step %lld, the newest checkpoint is "
             "of step %lld: going on from the checkpoint of step %lld, up to which it is whole "
             "(without log.jsonl the newest one is taken)",
             t->dir, (long long)fit->step, (long long)newest->step, (long long)p->step);
}

static void tell_lost(const weft_trainer *t, const weft_progress *p, const weft_log_fit *fit)
{
    weft_log(t->ctx,
             "warning: %s/log.jsonl %s: its lines of steps %lld to %lld are lost; going on from "
             "step %lld",
             t->dir, !fit->there ? "is not there" : "is shorter than it was, or damaged",
             (long long)fit->step + 1, (long long)p->step, (long long)p->step);
}

weft_status weft_resume_with_log(weft_trainer *t, const char **path, weft_progress *p)
{
    weft_log_fit fit;
    weft_progress older;
    const char *other = NULL;
    WEFT_TRY(weft_runlog_fit(t->ctx, t->dir, p, &fit));
    if (fit.whole)
        return WEFT_OK;
    if (fit.there)
        WEFT_TRY(find_whole(t, p->step, &other, &older));
    if (!other) {
        tell_lost(t, p, &fit);
        return WEFT_OK;
    }
    tell_older(t, p, &fit, &older);
    *path = other;
    *p = older;
    return WEFT_OK;
}
