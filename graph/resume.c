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

/* The lines up to `step` are not those that the checkpoint counts on: the file is too short, or, if
 * its last line is there all the same, another one is missing or was edited. */
static const char *what_is_lost(const weft_trainer *t, const weft_log_fit *fit, int64_t step)
{
    if (!fit->there)
        return weft_arena_printf(t->arena, "is not there: its lines of steps 1 to %lld are lost",
                                 (long long)step);
    if (fit->step < step)
        return weft_arena_printf(t->arena,
                                 "has lost lines, or is damaged: it ends at step %lld, the newest "
                                 "checkpoint is of step %lld",
                                 (long long)fit->step, (long long)step);
    return weft_arena_printf(t->arena,
                             "has been changed: lines of steps up to %lld, of which the newest "
                             "checkpoint is, are missing or are not as they were written",
                             (long long)step);
}

static weft_status tell(const weft_trainer *t, const weft_progress *newest, const weft_log_fit *fit,
                        const weft_progress *older)
{
    const char *what = what_is_lost(t, fit, newest->step);
    if (!what)
        return WEFT_NOMEM;
    if (older)
        weft_log(t->ctx,
                 "warning: %s/log.jsonl %s: going on from the checkpoint of step %lld, up to which "
                 "it is whole (without log.jsonl the newest one is taken)",
                 t->dir, what, (long long)older->step);
    else
        weft_log(t->ctx, "warning: %s/log.jsonl %s: going on from step %lld%s", t->dir, what,
                 (long long)newest->step, fit->kept ? " after the lines that are there" : "");
    return WEFT_OK;
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
    if (!other)
        return tell(t, p, &fit, NULL);
    WEFT_TRY(tell(t, p, &fit, &older));
    *path = other;
    *p = older;
    return WEFT_OK;
}
