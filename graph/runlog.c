/* runlog.c - the logs of a run: log.jsonl, a function of recipe and data alone, and timing.jsonl,
 * what the clock said.
 *
 * One JSON object a line.  A checkpoint remembers how long log.jsonl was, and the log is durable
 * before its manifest is; resuming cuts it there, so that the log of an interrupted run ends up
 * with the same bytes as that of an undisturbed one.  A line that the disk does not take waits in
 * memory.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/json.h"
#include "graph/trainer.h"

enum { LOG_LIMIT = 1 << 30 };

/* ---- what is there ---- */
/* The whole file in memory of a; one that is not there is empty. */
static weft_status read_all(weft_arena *a, const char *path, char **text, size_t *n, bool *there)
{
    int kind;
    static char empty[1];
    *text = empty;
    *n = 0;
    WEFT_TRY(weft_look(weft_arena_ctx(a), path, &kind));
    *there = kind != 0;
    return kind ? weft_read_file(a, path, LOG_LIMIT, text, n) : WEFT_OK;
}

/* The step of a line without its newline; -1: it is no line of a log. */
static weft_status line_step(weft_ctx *c, const char *text, size_t n, int64_t *step)
{
    weft_json_error e;
    *step = -1;
    weft_arena *a = weft_arena_new(c, 0);
    char *copy = a ? weft_arena_strndup(a, text, n) : NULL;
    const weft_json *j = copy ? weft_json_parse(a, copy, n, &e) : NULL;
    const weft_json *v = weft_json_get(j, "step");
    if (weft_json_is(v, WEFT_JSON_INT) && weft_json_is(weft_json_get(j, "kind"), WEFT_JSON_STRING))
        *step = v->i;
    weft_arena_free(a);
    return c->status;
}

/* Is text[0..n) whole lines, of which the last is of a step up to `step`? */
static weft_status is_whole(weft_ctx *c, const char *text, size_t n, int64_t step, int64_t *last)
{
    size_t at = n;
    *last = n ? -1 : 0;
    if (!n || text[n - 1] != '\n')
        return WEFT_OK;
    for (at--; at && text[at - 1] != '\n';)
        at--;
    WEFT_TRY(line_step(c, text + at, n - 1 - at, last));
    if (*last > step)
        *last = -1;
    return WEFT_OK;
}

/* The longest beginning of the text that is lines in order up to `step`. */
static weft_status find_kept(weft_ctx *c, const char *text, size_t n, int64_t step,
                             weft_log_fit *out)
{
    for (size_t at = 0; at < n;) {
        int64_t s;
        const char *end = memchr(text + at, '\n', n - at);
        if (!end)
            break;
        WEFT_TRY(line_step(c, text + at, (size_t)(end - text) - at, &s));
        if (s < out->step || s > step)
            break;
        at = (size_t)(end - text) + 1;
        out->step = s;
        out->kept = (int64_t)at;
    }
    return WEFT_OK;
}

static weft_status fit_text(weft_ctx *c, const char *text, size_t n, const weft_progress *p,
                            weft_log_fit *out)
{
    out->size = (int64_t)n;
    if ((int64_t)n >= p->log_bytes)
        WEFT_TRY(is_whole(c, text, (size_t)p->log_bytes, p->step, &out->step));
    else
        out->step = -1;
    out->whole = out->step >= 0;
    out->kept = out->whole ? p->log_bytes : 0;
    if (out->whole)
        return WEFT_OK;
    out->step = 0;
    return find_kept(c, text, n, p->step, out);
}

weft_status weft_runlog_fit(weft_ctx *c, const char *dir, const weft_progress *p, weft_log_fit *out)
{
    char *text;
    size_t n;
    *out = (weft_log_fit){0};
    weft_arena *a = weft_arena_new(c, 0);
    const char *path = a ? weft_arena_printf(a, "%s/log.jsonl", dir) : NULL;
    weft_status s = path ? read_all(a, path, &text, &n, &out->there) : c->status;
    if (!s)
        s = fit_text(c, text, n, p, out);
    weft_arena_free(a);
    return s;
}

/* ---- opening ---- */
/* Written anew rather than cut, so that it is whole at any time. */
static weft_status keep(weft_ctx *c, const char *path, const char *text, size_t n, size_t kept)
{
    return kept == n ? WEFT_OK : weft_write_file(c, path, text, kept);
}

static weft_status cut_log(weft_arena *a, const char *path, const weft_progress *p)
{
    char *text;
    size_t n;
    weft_log_fit fit = {0};
    WEFT_TRY(read_all(a, path, &text, &n, &fit.there));
    WEFT_TRY(fit_text(weft_arena_ctx(a), text, n, p, &fit));
    return keep(weft_arena_ctx(a), path, text, n, (size_t)fit.kept);
}

/* A power cut may leave half a line or zeros at the end of what nobody synced. */
static weft_status cut_timing(weft_arena *a, const char *path)
{
    char *text;
    size_t n, kept = 0;
    bool there;
    WEFT_TRY(read_all(a, path, &text, &n, &there));
    for (char *end; kept < n && (end = memchr(text + kept, '\n', n - kept));) {
        size_t length = (size_t)(end - (text + kept));
        if (length < 2 || text[kept] != '{' || end[-1] != '}' || memchr(text + kept, 0, length))
            break;
        kept += length + 1;
    }
    if (kept < n)
        weft_log(weft_arena_ctx(a), "%s: %zu damaged bytes at its end were cut off", path,
                 n - kept);
    return keep(weft_arena_ctx(a), path, text, n, kept);
}

static weft_status cut_both(weft_ctx *c, const char *log, const char *timing,
                            const weft_progress *p)
{
    weft_arena *a = weft_arena_new(c, 0);
    weft_status s = a ? cut_log(a, log, p) : c->status;
    if (!s)
        s = cut_timing(a, timing);
    weft_arena_free(a);
    return s;
}

weft_status weft_runlog_open(weft_ctx *c, weft_arena *a, const char *dir, const weft_progress *p,
                             weft_runlog *out)
{
    *out = (weft_runlog){.ctx = c, .log = {.fd = -1}, .timing = {.fd = -1}};
    const char *log = weft_arena_printf(a, "%s/log.jsonl", dir);
    const char *timing = weft_arena_printf(a, "%s/timing.jsonl", dir);
    if (!log || !timing)
        return weft_error_status(c);
    WEFT_TRY(cut_both(c, log, timing, p));
    WEFT_TRY(weft_growing_open(c, log, &out->log));
    return weft_growing_open(c, timing, &out->timing);
}

void weft_runlog_close(weft_runlog *l)
{
    weft_growing_close(&l->log);
    weft_growing_close(&l->timing);
}

/* ---- writing ---- */
/* JSON has no NaN. */
static const char *number(char *buf, size_t n, double v)
{
    if (isfinite(v))
        weft_snprintf(buf, n, "%.9g", v);
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
        weft_string_printf(line, ",");
        weft_string_json2(line, prefix, name[i]);
        weft_string_printf(line, ":%s", number(buf, sizeof buf, value[i]));
    }
    weft_string_printf(line, "}\n");
    weft_status s = line->failed ? weft_error_status(l->ctx) : WEFT_OK;
    if (!s)
        s = weft_growing_add(&l->log, line->s, line->len);
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

static void add_text(weft_string *line, const char *key, const char *value)
{
    weft_string_printf(line, ",\"%s\":", key);
    if (value)
        weft_string_json(line, value);
    else
        weft_string_printf(line, "null");
}

weft_status weft_runlog_setting(weft_runlog *l, const weft_progress *p,
                                const weft_changed_setting *c)
{
    weft_string line;
    weft_string_init(&line, l->ctx);
    weft_string_printf(&line, "{\"kind\":\"set\",\"step\":%lld,\"tokens\":%lld", (long long)p->step,
                       (long long)p->tokens);
    add_text(&line, "name", c->name);
    add_text(&line, "was", c->was);
    add_text(&line, "is", c->is);
    return add_line(l, &line, "", NULL, NULL, 0);
}

void weft_runlog_time(weft_runlog *l, const char *kind, const weft_event *e)
{
    char line[256], a[32], b[32];
    int n = snprintf(line, sizeof line,
                     "{\"kind\":\"%s\",\"step\":%lld,\"seconds\":%s,\"tokens_per_s\":%s}\n", kind,
                     (long long)e->step, number(a, sizeof a, e->seconds),
                     number(b, sizeof b, e->tokens_per_s));
    if (weft_growing_add(&l->timing, line, (size_t)n))
        weft_error_clear(l->ctx);
}

const char *weft_runlog_trouble(weft_runlog *l, char *buf, size_t n)
{
    bool news = l->log.error && l->log.error != l->told;
    l->told = l->log.error;
    if (!news)
        return NULL;
    snprintf(buf, n, "%s cannot be written now, its lines wait in memory: %s", l->log.path,
             strerror(l->log.error));
    return buf;
}

weft_status weft_runlog_sync(weft_runlog *l, int64_t *bytes)
{
    WEFT_TRY(weft_growing_sync(&l->log));
    *bytes = l->log.bytes;
    return WEFT_OK;
}
