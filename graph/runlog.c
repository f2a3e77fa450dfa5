/* runlog.c - the logs of a run: log.jsonl, a function of recipe and data alone, and timing.jsonl,
 * what the clock said.
 *
 * One JSON object a line.  A checkpoint remembers how long log.jsonl was; resuming cuts it there,
 * so that the log of an interrupted run ends up with the same bytes as that of an undisturbed one.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/trainer.h"

enum { LOG_LIMIT = 1 << 30 };

/* The file seam cannot truncate: a log that is too long is written anew. */
static weft_status cut(weft_ctx *c, weft_arena *a, const char *path, int64_t bytes)
{
    char *data;
    size_t n;
    int there = c->io->exists(c->io->user, path);
    if (there == 0 && bytes == 0)
        return WEFT_OK;
    if (there != 1)
        return weft_fail(c, WEFT_CORRUPT,
                         "%s: not there, but the checkpoint expects %lld bytes of it", path,
                         (long long)bytes);
    WEFT_TRY(weft_read_file(a, path, LOG_LIMIT, &data, &n));
    if ((int64_t)n < bytes)
        return weft_fail(c, WEFT_CORRUPT, "%s: %zu bytes, but the checkpoint expects at least %lld",
                         path, n, (long long)bytes);
    return (int64_t)n == bytes ? WEFT_OK : weft_write_file(c, path, data, (size_t)bytes);
}

static weft_status open_append(weft_ctx *c, const char *path, int *fd)
{
    *fd = c->io->open(c->io->user, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    return *fd < 0 ? weft_fail(c, WEFT_CANTCREATE, "%s: cannot write: %s", path, strerror(errno))
                   : WEFT_OK;
}

weft_status weft_runlog_open(weft_ctx *c, weft_arena *a, const char *dir, int64_t bytes,
                             weft_runlog *out)
{
    *out = (weft_runlog){.ctx = c, .fd = -1, .timing_fd = -1, .bytes = bytes};
    out->path = weft_arena_printf(a, "%s/log.jsonl", dir);
    out->timing_path = weft_arena_printf(a, "%s/timing.jsonl", dir);
    if (!out->path || !out->timing_path)
        return weft_error_status(c);
    WEFT_TRY(cut(c, a, out->path, bytes));
    WEFT_TRY(open_append(c, out->path, &out->fd));
    return open_append(c, out->timing_path, &out->timing_fd);
}

void weft_runlog_close(weft_runlog *l)
{
    if (l->ctx && l->fd >= 0)
        l->ctx->io->close(l->ctx->io->user, l->fd);
    if (l->ctx && l->timing_fd >= 0)
        l->ctx->io->close(l->ctx->io->user, l->timing_fd);
    l->fd = l->timing_fd = -1;
}

/* All of it, whatever the pieces in which the system takes it. */
static bool put(weft_ctx *c, int fd, const char *s, size_t n)
{
    while (n > 0) {
        int64_t k = c->io->write(c->io->user, fd, s, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        s += k;
        n -= (size_t)k;
    }
    return true;
}

/* JSON has no NaN. */
static const char *number(char *buf, size_t n, double v)
{
    if (isfinite(v))
        snprintf(buf, n, "%.9g", v);
    else
        snprintf(buf, n, "null");
    return buf;
}

/* A line is closed by this: the recipe's own names behind the fixed ones, then the end. */
static weft_status add_line(weft_runlog *l, weft_string *line, const char *prefix,
                            const char *const *name, const double *value, int n)
{
    char buf[32];
    for (int i = 0; i < n; i++) {
        weft_string_printf(line, ",\"%s%s\":%s", prefix, name[i],
                           number(buf, sizeof buf, value[i]));
    }
    weft_string_printf(line, "}\n");
    weft_status s = line->failed ? weft_error_status(l->ctx) : WEFT_OK;
    if (!s && !put(l->ctx, l->fd, line->s, line->len))
        s = weft_fail(l->ctx, WEFT_IO, "%s: writing failed: %s", l->path, strerror(errno));
    if (!s)
        l->bytes += (int64_t)line->len;
    weft_string_free(line);
    return s;
}

weft_status weft_runlog_step(weft_runlog *l, const weft_event *e)
{
    char a[32], b[32], c[32];
    weft_string line;
    weft_string_init(&line, l->ctx);
    weft_string_printf(&line,
                       "{\"kind\":\"step\",\"step\":%lld,\"tokens\":%lld,\"loss\":%s,"
                       "\"grad_norm\":%s,\"lr\":%s",
                       (long long)e->step, (long long)e->tokens, number(a, sizeof a, e->loss),
                       number(b, sizeof b, e->grad_norm), number(c, sizeof c, e->lr));
    return add_line(l, &line, "", e->log_name, e->log, e->n_log);
}

weft_status weft_runlog_eval(weft_runlog *l, const weft_event *e, const weft_eval_result *r)
{
    char a[32], b[32];
    weft_string line;
    weft_string_init(&line, l->ctx);
    weft_string_printf(&line,
                       "{\"kind\":\"eval\",\"step\":%lld,\"tokens\":%lld,\"val_loss\":%s,"
                       "\"val_tokens\":%lld,\"val_bits_per_byte\":%s",
                       (long long)e->step, (long long)e->tokens, number(a, sizeof a, e->val_loss),
                       (long long)r->tokens, number(b, sizeof b, e->val_bits));
    return add_line(l, &line, "val_", e->val_log_name, e->val_log, e->n_val_log);
}

void weft_runlog_time(weft_runlog *l, const char *kind, const weft_event *e)
{
    char line[256], a[32], b[32];
    int n = snprintf(line, sizeof line,
                     "{\"kind\":\"%s\",\"step\":%lld,\"seconds\":%s,\"tokens_per_s\":%s}\n", kind,
                     (long long)e->step, number(a, sizeof a, e->seconds),
                     number(b, sizeof b, e->tokens_per_s));
    put(l->ctx, l->timing_fd, line, (size_t)n);
}
