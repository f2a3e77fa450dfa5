/* logread.c - reading back the logs of a run, line by line, whatever scalars its lines hold.
 *
 * A run that is still going, or that was killed, ends in a line without its newline: that line is
 * left out and told to the log sink.  Anything else that is no log line is an error with its
 * line. */
#include <math.h>
#include <string.h>

#include "graph/io.h"
#include "graph/json.h"

enum { LOG_LIMIT = 1 << 30, MAX_SCALARS = 64 };

typedef struct {
    weft_ctx *ctx;
    const char *file; /* printable */
    int line;
} log_place;

static weft_status bad(const log_place *p, const char *what, const char *found)
{
    return weft_fail(p->ctx, WEFT_MALFORMED, "%s:%d: %s%s", p->file, p->line, what, found);
}

/* A count that lines of a log have: there and not negative, or the default. */
static weft_status take_count(const log_place *p, const weft_json *j, const char *key,
                              int64_t missing, int64_t *out)
{
    const weft_json *m = weft_json_get(j, key);
    *out = missing;
    if (!m)
        return missing < 0 ? bad(p, "a line of a log needs ", key) : WEFT_OK;
    if (!weft_json_is(m, WEFT_JSON_INT) || m->i < 0)
        return weft_fail(p->ctx, WEFT_MALFORMED, "%s:%d: '%s' is %s, expected a count", p->file,
                         p->line, key,
                         weft_json_is(m, WEFT_JSON_INT) ? "negative" : weft_json_name(m));
    *out = m->i;
    return WEFT_OK;
}

static int take_texts(const weft_json *j, const char **name, const char **text)
{
    int n = 0;
    for (const weft_json *m = j->child; m && n < MAX_SCALARS; m = m->next)
        if (m->kind == WEFT_JSON_STRING) {
            name[n] = m->key;
            text[n++] = m->text;
        }
    return n;
}

/* Numbers and nulls (NaN); other kinds are skipped, so that lines may grow. */
static int take_scalars(const weft_json *j, const char **name, double *value)
{
    int n = 0;
    for (const weft_json *m = j->child; m && n < MAX_SCALARS; m = m->next) {
        if (m->kind != WEFT_JSON_INT && m->kind != WEFT_JSON_REAL && m->kind != WEFT_JSON_NULL)
            continue;
        name[n] = m->key;
        value[n++] = m->kind == WEFT_JSON_INT    ? (double)m->i
                     : m->kind == WEFT_JSON_REAL ? m->f
                                                 : NAN;
    }
    return n;
}

static weft_status read_line(const log_place *p, weft_arena *a, char *text, size_t n,
                             weft_status (*line)(void *user, const weft_log_line *l), void *user)
{
    weft_json_error e;
    const char *name[MAX_SCALARS], *text_name[MAX_SCALARS], *texts[MAX_SCALARS];
    double value[MAX_SCALARS];
    weft_json *j = weft_json_parse(a, text, n, &e);
    if (!j)
        return e.what ? weft_fail(p->ctx, WEFT_MALFORMED, "%s:%d:%zu: %s", p->file, p->line,
                                  e.at + 1, e.what)
                      : weft_error_status(p->ctx);
    if (j->kind != WEFT_JSON_OBJECT)
        return bad(p, "expected an object, found ", weft_json_name(j));
    const weft_json *kind = weft_json_get(j, "kind");
    if (!weft_json_is(kind, WEFT_JSON_STRING))
        return bad(p, "a line of a log needs a kind, found ", weft_json_name(kind));
    weft_log_line l = {.file = p->file,
                       .number = p->line,
                       .kind = kind->text,
                       .name = name,
                       .value = value,
                       .text_name = text_name,
                       .text = texts};
    WEFT_TRY(take_count(p, j, "step", -1, &l.step));
    WEFT_TRY(take_count(p, j, "tokens", 0, &l.tokens));
    l.n = take_scalars(j, name, value);
    l.n_text = take_texts(j, text_name, texts);
    return line(user, &l);
}

/* One arena a line: memory stays that of the text and its longest line. */
static weft_status read_lines(log_place *p, char *text, size_t n,
                              weft_status (*line)(void *user, const weft_log_line *l), void *user)
{
    weft_status s = WEFT_OK;
    for (size_t at = 0; at < n && !s;) {
        char *end = memchr(text + at, '\n', n - at);
        p->line++;
        if (!end) {
            weft_log(p->ctx, "%s: its last line is cut short and was left out", p->file);
            break;
        }
        weft_arena *a = weft_arena_new(p->ctx, 0);
        size_t length = (size_t)(end - (text + at));
        s = a ? read_line(p, a, text + at, length, line, user) : weft_error_status(p->ctx);
        weft_arena_free(a);
        at += length + 1;
    }
    return s;
}

weft_status weft_log_read(weft_ctx *c, const char *path,
                          weft_status (*line)(void *user, const weft_log_line *l), void *user)
{
    char *text, file[512];
    size_t n;
    log_place p = {.ctx = c, .file = weft_printable(file, sizeof file, path)};
    weft_arena *a = weft_arena_new(c, 0);
    if (!a)
        return weft_error_status(c);
    weft_status s = weft_read_file(a, path, LOG_LIMIT, &text, &n);
    if (!s)
        s = read_lines(&p, text, n, line, user);
    weft_arena_free(a);
    return s;
}
