/* progress.c - what a person sees of a training run: a table at the start, then one live line or
 * some plain ones. */
#include "tools/progress.h"

#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void cli_progress_init(cli_progress *p, cli_progress_mode mode, bool quiet)
{
    /* long ago, so that the first step is shown */
    *p = (cli_progress){.quiet = quiet, .last_line = -1e9};
    p->live = mode == PROGRESS_ALWAYS || (mode == PROGRESS_AUTO && isatty(2));
}

static void print_start(const weft_event *e)
{
    const weft_train_info *i = e->info;
    char a[48], b[48];
    double per_step = (double)(i->batch * i->length * i->accumulate);
    cli_say("run          %s in %s\n", i->name, i->dir);
    fprintf(stderr, "parameters   %s, %s trainable\n", cli_count(a, sizeof a, i->parameters),
            cli_count(b, sizeof b, i->trainable));
    fprintf(stderr, "memory       %s state + %s planned\n",
            cli_bytes(a, sizeof a, (double)i->state_bytes),
            cli_bytes(b, sizeof b, (double)i->plan_bytes));
    fprintf(stderr, "data         %s tokens to train on", cli_count(a, sizeof a, i->train_tokens));
    if (i->val_tokens)
        fprintf(stderr, ", %s for validation", cli_count(b, sizeof b, i->val_tokens));
    fprintf(stderr,
            "\nbatch        %lld x %lld tokens x %lld micro-batches = %s tokens a step, %.2f "
            "epochs in %lld steps\n",
            (long long)i->batch, (long long)i->length, (long long)i->accumulate,
            cli_count(a, sizeof a, (int64_t)per_step),
            per_step * (double)e->steps / (double)i->train_tokens, (long long)e->steps);
    fprintf(stderr, "work         %.3g GFLOP a step, %d threads, compiled in %.2f s\n",
            i->flops * 1e-9, i->threads, (double)i->compile_ns * 1e-9);
    if (i->first_step)
        fprintf(stderr, "resumed      at step %lld\n", (long long)i->first_step);
}

/* "1:02:03" */
static const char *duration(char *buf, size_t n, double seconds)
{
    long s = isfinite(seconds) && seconds >= 0 && seconds < 1e8 ? lround(seconds) : 0;
    if (s >= 3600)
        snprintf(buf, n, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(buf, n, "%ld:%02ld", s / 60, s % 60);
    return buf;
}

/* "  name 0.1234" for each value that is known. */
static int format_log(char *buf, size_t n, const char *prefix, const char *const *name,
                      const double *value, int count)
{
    size_t at = 0;
    for (int i = 0; i < count && at < n; i++)
        if (!isnan(value[i]))
            at += (size_t)snprintf(buf + at, n - at, "  %s%s %.4g", prefix, name[i], value[i]);
    return (int)(at < n ? at : n);
}

static void format_line(char *buf, size_t n, const weft_event *e)
{
    char left[32];
    int k = snprintf(buf, n, "step %lld/%lld  loss %.4f", (long long)e->step, (long long)e->steps,
                     e->loss);
    k += format_log(buf + k, n - (size_t)k, "", e->log_name, e->log, e->n_log);
    if (!isnan(e->val_loss) && k > 0 && (size_t)k < n)
        k += snprintf(buf + k, n - (size_t)k, "  val %.4f", e->val_loss);
    if (!isnan(e->val_bits) && k > 0 && (size_t)k < n)
        k += snprintf(buf + k, n - (size_t)k, " (%.3f bits/byte)", e->val_bits);
    if ((size_t)k < n && e->kind == WEFT_EVENT_EVAL)
        k += format_log(buf + k, n - (size_t)k, "val ", e->val_log_name, e->val_log, e->n_val_log);
    if (k > 0 && (size_t)k < n)
        snprintf(buf + k, n - (size_t)k, "  lr %.2e  norm %.3f  %.0f tok/s  %s left", e->lr,
                 e->grad_norm, e->tokens_per_s, duration(left, sizeof left, e->seconds_left));
}

/* A live line that wraps could not be overwritten: it ends where the terminal does. */
static void cut_line(char *line, size_t n)
{
    struct winsize w;
    if (!ioctl(2, TIOCGWINSZ, &w) && w.ws_col > 1 && w.ws_col < n)
        line[w.ws_col - 1] = 0;
}

static void print_line(cli_progress *p, const weft_event *e, bool important)
{
    char line[1024];
    if (p->quiet)
        return;
    /* plain lines: not more than one a second, apart from evaluations */
    if (!p->live && !important && e->seconds - p->last_line < 1)
        return;
    p->last_line = e->seconds;
    format_line(line, sizeof line, e);
    if (p->live)
        cut_line(line, sizeof line);
    fprintf(stderr, p->live ? "\r%s\033[K" : "%s\n", line);
}

void cli_progress_end(cli_progress *p)
{
    if (p->live && !p->quiet && p->last_line >= 0)
        fprintf(stderr, "\n");
    p->last_line = -1e9;
}

void cli_progress_event(cli_progress *p, const weft_event *e)
{
    switch (e->kind) {
    case WEFT_EVENT_START:
        if (!p->quiet)
            print_start(e);
        break;
    case WEFT_EVENT_STEP:
        print_line(p, e, e->step == e->steps && !e->info->val_tokens);
        break;
    case WEFT_EVENT_EVAL:
        print_line(p, e, true);
        break;
    case WEFT_EVENT_SAVE:
        if (!p->quiet && !p->live)
            cli_say("saved %s/%s\n", e->info->dir, e->path);
        break;
    case WEFT_EVENT_WARNING:
        cli_progress_end(p);
        cli_say("weft: warning: %s\n", e->path);
        break;
    case WEFT_EVENT_END:
        cli_progress_end(p);
        break;
    }
    /* what these two point to ends with the call */
    p->last = *e;
    p->last.info = NULL;
    p->last.path = NULL;
    snprintf(p->dir, sizeof p->dir, "%s", e->info->dir);
}
