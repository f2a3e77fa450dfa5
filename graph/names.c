/* names.c - reading a name map, and its patterns. */
#include "graph/names.h"

#include <stdio.h>
#include <string.h>

#include "graph/io.h"

/* ---- patterns ---- */
bool weft_names_fit(const char *pattern, const char *name, const char **star, size_t *n)
{
    const char *at = strchr(pattern, '*');
    *star = NULL;
    *n = 0;
    if (!at)
        return !strcmp(pattern, name);
    size_t before = (size_t)(at - pattern), after = strlen(at + 1), len = strlen(name);
    if (len <= before + after || memcmp(pattern, name, before) ||
        strcmp(name + len - after, at + 1))
        return false;
    *star = name + before;
    *n = len - before - after;
    return !memchr(*star, '.', *n);
}

const char *weft_names_fill(weft_arena *a, const char *pattern, const char *star)
{
    const char *at = strchr(pattern, '*');
    if (!at || !star)
        return pattern;
    return weft_arena_printf(a, "%.*s%s%s", (int)(at - pattern), pattern, star, at + 1);
}

weft_status weft_names_prefix(weft_arena *a, const weft_names *names, const char *name,
                              const char **prefix)
{
    const Weft__Rule *r = names->msg->rule[0];
    const char *first = r->to ? r->to : r->from;
    size_t n = strlen(first), len = strlen(name);
    if (len < n || strcmp(name + len - n, first) || (len > n && name[len - n - 1] != '.'))
        return WEFT_OK;
    if (*prefix && len - n >= strlen(*prefix))
        return WEFT_OK;
    *prefix = weft_arena_strndup(a, name, len - n);
    return *prefix ? WEFT_OK : WEFT_NOMEM;
}

/* ---- checks ---- */
static weft_status bad(const weft_names *m, const void *message, const char *fmt, ...)
    WEFT_PRINTF(3, 4);
static weft_status bad(const weft_names *m, const void *message, const char *fmt, ...)
{
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    weft_vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    weft_pos at = weft_lines_get(m->lines, message);
    weft_ctx *c = weft_arena_ctx(m->arena);
    return at.line ? weft_fail(c, WEFT_MALFORMED, "%s:%d:%d: %s", m->label, at.line, at.col, what)
                   : weft_fail(c, WEFT_MALFORMED, "%s: %s", m->label, what);
}

static int stars(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += *s == '*';
    return n;
}

static weft_status check_rule(const weft_names *m, const Weft__Rule *r)
{
    if (!r->from || !*r->from)
        return bad(m, r, "rule: expected a name in `from`");
    if (stars(r->from) > 1 || (r->to && stars(r->to) > 1))
        return bad(m, r, "rule '%s': more than one *", r->from);
    if (r->to && stars(r->to) != stars(r->from))
        return bad(m, r, "rule '%s': `to` is '%s', expected as many * as in `from`", r->from,
                   r->to);
    if ((r->ignore || r->tie) && (r->to || r->transpose || r->shape))
        return bad(m, r, "rule '%s': a tensor that is not kept has no `to`, `shape`, `transpose`",
                   r->from);
    if (r->transpose && (!r->shape || stars(r->shape) || !strchr(r->shape, ',') ||
                         strchr(strchr(r->shape, ',') + 1, ',')))
        return bad(m, r, "rule '%s': `transpose` needs a `shape` of two sizes", r->from);
    return WEFT_OK;
}

static weft_status check_field(const weft_names *m, const Weft__Field *f, bool when)
{
    if (!f->key || !*f->key)
        return bad(m, f, "field: expected a `key`");
    if (when && !f->n_accept)
        return bad(m, f, "when '%s': expected values in `accept`", f->key);
    if (f->param && !weft_expr_is_name(f->param, strlen(f->param)))
        return bad(m, f, "field '%s': `param` is '%s', expected one name", f->key, f->param);
    return WEFT_OK;
}

static weft_status check_names(const weft_names *m)
{
    const Weft__Names *n = m->msg;
    weft_map *seen = weft_map_new(m->arena);
    if (!n->n_rule)
        return bad(m, n, "no rule: expected at least one tensor");
    for (size_t i = 0; seen && i < n->n_rule; i++) {
        WEFT_TRY(check_rule(m, n->rule[i]));
        if (weft_map_get(seen, n->rule[i]->from, -1) >= 0)
            return bad(m, n->rule[i], "rule '%s': is there twice", n->rule[i]->from);
        if (!weft_map_set(seen, n->rule[i]->from, 1))
            break;
    }
    for (size_t i = 0; i < n->n_form; i++) {
        for (size_t k = 0; k < n->form[i]->n_when; k++)
            WEFT_TRY(check_field(m, n->form[i]->when[k], true));
        for (size_t k = 0; k < n->form[i]->n_field; k++)
            WEFT_TRY(check_field(m, n->form[i]->field[k], false));
    }
    const char *weights = n->weights;
    if (strchr(weights, '/') || (n->config && strchr(n->config, '/')))
        return bad(m, n, "`weights` and `config` are names of files without a folder");
    return weft_error_status(weft_arena_ctx(m->arena));
}

/* ---- loading ---- */
static bool is_path(const char *name)
{
    size_t n = strlen(name);
    return strchr(name, '/') ||
           (n > 6 && (!strcmp(name + n - 6, ".txtpb") || !strcmp(name + n - 6, ".binpb")));
}

static weft_status unknown(weft_ctx *c, const char *name)
{
    const char *known[32];
    char shown[128], list[512] = "";
    int n = 0;
    for (; weft_names_shipped[n].name && n < 32; n++) {
        known[n] = weft_names_shipped[n].name;
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", n ? ", " : "", known[n]);
    }
    const char *near = weft_nearest(name, known, n);
    weft_printable(shown, sizeof shown, name);
    if (near)
        return weft_fail(c, WEFT_USAGE, "no name map '%s'; did you mean '%s'?", shown, near);
    return weft_fail(c, WEFT_USAGE, "no name map '%s'; there are %s, or give the path of a .txtpb",
                     shown, list);
}

weft_status weft_names_load(weft_arena *a, const char *name, weft_names *out)
{
    weft_ctx *c = weft_arena_ctx(a);
    ProtobufCMessage *m = NULL;
    *out = (weft_names){.arena = a, .lines = weft_lines_new(a)};
    if (!out->lines)
        return weft_error_status(c);
    const weft_shipped_file *f = weft_names_shipped;
    if (is_path(name)) {
        out->label = weft_arena_strdup(a, name);
        WEFT_TRY(out->label
                     ? weft_message_load(a, &weft__names__descriptor, out->label, out->lines, &m)
                     : WEFT_NOMEM);
    } else {
        while (f->name && strcmp(f->name, name))
            f++;
        if (!f->name)
            return unknown(c, name);
        out->label = weft_arena_printf(a, "names/%s.txtpb", name);
        WEFT_TRY(out->label ? weft_text_parse(a, &weft__names__descriptor, f->text, f->n,
                                              out->label, out->lines, &m)
                            : WEFT_NOMEM);
    }
    out->msg = (const Weft__Names *)m;
    return check_names(out);
}
