/* textproto.c - protobuf text to any protobuf-c message; settings at dotted paths.
 *
 * Syntax of protobuf.dev's "Text Format Language Specification": fields, lists, both bracket kinds,
 * separators, adjacent strings.  Open messages are an explicit stack (weft_walk), so depth costs no
 * C stack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/text.h"

/* ---- one message opens and closes ---- */
/* Bounds memory by the size of the file, see weft_message_budget. */
static weft_status over_budget(weft_text *t)
{
    size_t used = weft_arena_used(t->arena) - t->used;
    if (used <= t->budget)
        return WEFT_OK;
    return weft_text_fail(
        t, t->lex.token_line, t->lex.token_col,
        "the messages so far take %zu bytes of memory, over the budget of %zu for this file", used,
        t->budget);
}

/* The bracket is the current token. The message is hung into its parent at once, so that nothing is
 * lost on the way. */
static weft_status open_message(weft_text *t, const weft_field *f, int line, int col, bool in_list)
{
    char close = weft_lexer_is(&t->lex, '{') ? '}' : weft_lexer_is(&t->lex, '<') ? '>' : 0;
    if (!close)
        return weft_text_expected(t, "'{'");
    if (t->walk.depth == WEFT_MESSAGE_DEPTH)
        return weft_text_fail(t, t->lex.token_line, t->lex.token_col,
                              "messages are nested deeper than %d", WEFT_MESSAGE_DEPTH);
    WEFT_TRY(over_budget(t));
    int opened = t->lex.token_line;
    weft_slot v = {.message = weft_message_new(t->arena, f->descriptor)};
    if (!v.message || !weft_field_put(t->arena, weft_walk_top(&t->walk)->m, f, &v, false) ||
        !weft_lines_add(t->lines, v.message, (weft_pos){t->file, line, col}))
        return t->ctx->status;
    weft_level *l = weft_walk_enter(&t->walk, f->descriptor, v.message);
    if (!l)
        return t->ctx->status;
    l->close = close;
    l->line = opened;
    l->in_list = in_list;
    return weft_text_next(t);
}

/* One ',' or ';' may follow a field. */
static weft_status end_field(weft_text *t)
{
    weft_level *l = weft_walk_top(&t->walk);
    l->last = l->field;
    l->field = NULL;
    if (weft_lexer_is(&t->lex, ',') || weft_lexer_is(&t->lex, ';'))
        return weft_text_next(t);
    return WEFT_OK;
}

/* Proto2's `required`: the only check that waits for the end of a message. */
static weft_status check_required(weft_text *t, const weft_level *l)
{
    for (unsigned i = 0; i < l->d->n_fields; i++)
        if (l->d->fields[i].label == PROTOBUF_C_LABEL_REQUIRED && !l->seen[i].n)
            return weft_text_fail(t, t->lex.token_line, t->lex.token_col,
                                  "required field '%s' of %s is missing", l->d->fields[i].name,
                                  l->d->short_name);
    return WEFT_OK;
}

/* Counts an occurrence of the open field; refuses a second value of a singular one. */
static weft_status count_field(weft_text *t, int line, int col)
{
    weft_level *l = weft_walk_top(&t->walk);
    const weft_field *f = l->field, *rival = weft_field_rival(l->m, f);
    weft_seen *seen = weft_walk_seen(&t->walk);
    if (f->label != PROTOBUF_C_LABEL_REPEATED && seen->n)
        return weft_text_fail(t, line, col, "field '%s' was already set on line %u", f->name,
                              seen->where);
    if (rival)
        return weft_text_fail(t, line, col, "field '%s' excludes '%s', which was set on line %u",
                              f->name, rival->name, l->seen[rival - l->d->fields].where);
    if (!seen->n++)
        seen->where = (uint32_t)line;
    return WEFT_OK;
}

/* An element of a list of messages ended: another one, or the end of the list. */
static weft_status next_in_list(weft_text *t)
{
    weft_level *l = weft_walk_top(&t->walk);
    if (weft_lexer_is(&t->lex, ',')) {
        WEFT_TRY(weft_text_next(t));
        WEFT_TRY(count_field(t, t->lex.token_line, t->lex.token_col));
        return open_message(t, l->field, t->lex.token_line, t->lex.token_col, true);
    }
    if (!weft_lexer_is(&t->lex, ']'))
        return weft_text_expected(t, "',' or ']'");
    WEFT_TRY(weft_text_next(t));
    return end_field(t);
}

/* The closing bracket is the current token. */
static weft_status close_message(weft_text *t)
{
    weft_level *l = weft_walk_top(&t->walk);
    bool in_list = l->in_list;
    WEFT_TRY(check_required(t, l));
    t->walk.depth--;
    WEFT_TRY(weft_text_next(t));
    return in_list ? next_in_list(t) : end_field(t);
}

/* ---- fields ---- */
/* One value of the open field; the position of strings is kept too, for errors about names and
 * expressions. */
static weft_status scalar(weft_text *t, const weft_field *f)
{
    weft_slot v;
    weft_pos pos = {t->file, t->lex.token_line, t->lex.token_col};
    WEFT_TRY(count_field(t, pos.line, pos.col));
    WEFT_TRY(weft_text_value(t, f, &v));
    WEFT_TRY(over_budget(t));
    if (!weft_field_put(t->arena, weft_walk_top(&t->walk)->m, f, &v, false) ||
        (f->type == PROTOBUF_C_TYPE_STRING && !weft_lines_add(t->lines, v.string, pos)))
        return t->ctx->status;
    return WEFT_OK;
}

/* "name: value" or "name: [value, ...]". */
static weft_status scalar_field(weft_text *t, const weft_field *f)
{
    char colon[160];
    snprintf(colon, sizeof colon, "':' after '%s'", f->name);
    if (!weft_lexer_is(&t->lex, ':'))
        return weft_text_expected(t, colon);
    weft_walk_top(&t->walk)->field = f;
    WEFT_TRY(weft_text_next(t));
    if (f->label != PROTOBUF_C_LABEL_REPEATED || !weft_lexer_is(&t->lex, '[')) {
        if (weft_lexer_is(&t->lex, '['))
            return weft_text_fail(t, t->lex.token_line, t->lex.token_col,
                                  "found a list, but '%s' holds a single value", f->name);
        WEFT_TRY(scalar(t, f));
        return end_field(t);
    }
    WEFT_TRY(weft_text_next(t));
    for (bool first = true; first ? !weft_lexer_is(&t->lex, ']') : weft_lexer_is(&t->lex, ',');
         first = false) {
        if (!first)
            WEFT_TRY(weft_text_next(t));
        WEFT_TRY(scalar(t, f));
    }
    if (!weft_lexer_is(&t->lex, ']'))
        return weft_text_expected(t, "',' or ']'");
    WEFT_TRY(weft_text_next(t));
    return end_field(t);
}

/* "name { ... }", "name: < ... >" or "name [{ ... }, ...]"; goes on inside the message. */
static weft_status message_field(weft_text *t, const weft_field *f, int line, int col)
{
    weft_walk_top(&t->walk)->field = f;
    if (weft_lexer_is(&t->lex, ':'))
        WEFT_TRY(weft_text_next(t));
    bool list = weft_lexer_is(&t->lex, '[');
    if (list && f->label != PROTOBUF_C_LABEL_REPEATED)
        return weft_text_fail(t, t->lex.token_line, t->lex.token_col,
                              "found a list, but '%s' is a single message", f->name);
    if (list) {
        WEFT_TRY(weft_text_next(t));
        if (weft_lexer_is(&t->lex, ']')) {
            WEFT_TRY(weft_text_next(t));
            return end_field(t);
        }
        line = t->lex.token_line;
        col = t->lex.token_col;
    }
    WEFT_TRY(count_field(t, line, col));
    return open_message(t, f, line, col, list);
}

/* Something else where a field should be; most often the second value of a list without brackets.
 */
static weft_status no_field(weft_text *t, const weft_level *l)
{
    char what[300];
    bool list =
        l->last && l->last->label == PROTOBUF_C_LABEL_REPEATED && t->lex.kind != WEFT_TOKEN_SYMBOL;
    snprintf(what, sizeof what, "a field%s%s%s%s",
             l->close == '}' ? " or '}'"
             : l->close      ? " or '>'"
                             : "",
             list ? " (a list has brackets, " : "", list ? l->last->name : "",
             list ? ": [a, b])" : "");
    return weft_text_expected(t, what);
}

/* A field name and what follows. */
static weft_status field(weft_text *t)
{
    weft_level *l = weft_walk_top(&t->walk);
    int line = t->lex.token_line, col = t->lex.token_col;
    char name[128], hint[1000];
    if (weft_lexer_is(&t->lex, '['))
        return weft_text_fail(
            t, line, col, "found '[': extensions and Any are not supported, expected a field of %s",
            l->d->short_name);
    if (t->lex.kind != WEFT_TOKEN_NAME)
        return no_field(t, l);
    size_t n = t->lex.len < sizeof name ? t->lex.len : sizeof name - 1;
    memcpy(name, t->lex.s + t->lex.start, n);
    name[n] = 0;
    const weft_field *f = protobuf_c_message_descriptor_get_field_by_name(l->d, name);
    if (!f)
        return weft_text_fail(t, line, col, "unknown field '%s' of %s%s", name, l->d->short_name,
                              weft_field_hint(hint, sizeof hint, l->d, name));
    WEFT_TRY(weft_text_next(t));
    return f->type == PROTOBUF_C_TYPE_MESSAGE ? message_field(t, f, line, col) : scalar_field(t, f);
}

/* The loop over fields and closing brackets; the stack of open messages is all its state. */
static weft_status parse(weft_text *t)
{
    WEFT_TRY(weft_text_next(t));
    for (;;) {
        weft_level *l = weft_walk_top(&t->walk);
        if (t->lex.kind == WEFT_TOKEN_END && !l->close)
            return check_required(t, l);
        if (t->lex.kind == WEFT_TOKEN_END)
            return weft_text_fail(t, t->lex.token_line, t->lex.token_col,
                                  "found the end of the file, expected '%c' to close %s of line %d",
                                  l->close, l->d->short_name, l->line);
        if (l->close && weft_lexer_is(&t->lex, l->close))
            WEFT_TRY(close_message(t));
        else
            WEFT_TRY(field(t));
    }
}

weft_status weft_text_parse(weft_arena *a, const ProtobufCMessageDescriptor *d, const char *text,
                            size_t n, const char *file, weft_lines *lines, ProtobufCMessage **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    if (n > WEFT_MESSAGE_LIMIT)
        return weft_fail(c, WEFT_MALFORMED, "%s: %zu bytes, over the limit of %zu for a %s", file,
                         n, WEFT_MESSAGE_LIMIT, d->short_name);
    weft_text *t = weft_arena_alloc(a, sizeof *t);
    ProtobufCMessage *m = weft_message_new(a, d);
    if (!t || !m || !weft_lines_add(lines, m, (weft_pos){file, 1, 1}))
        return c->status;
    *t = (weft_text){.ctx = c, .arena = a, .lines = lines, .file = file, .walk = {.arena = a}};
    t->used = weft_arena_used(a);
    t->budget = weft_message_budget(n);
    weft_lexer_init(&t->lex, text, n);
    if (!weft_walk_enter(&t->walk, d, m))
        return c->status;
    WEFT_TRY(parse(t));
    *out = m;
    return WEFT_OK;
}

/* ---- settings ---- */
typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    const char *path;
    const ProtobufCMessageDescriptor *root; /* of the message that the path begins in */
    char name[128];                         /* of the part of the path at hand */
    long index;                             /* name[index], or -1 */
} setting;

/* Cuts the next part "name" or "name[3]" off *s. */
static weft_status cut_part(setting *p, const char **s)
{
    size_t n = strcspn(*s, ".[");
    if (n == 0 || n >= sizeof p->name)
        return weft_fail(p->ctx, WEFT_USAGE, "setting %s: expected a field name like train.steps",
                         p->path);
    memcpy(p->name, *s, n);
    p->name[n] = 0;
    p->index = -1;
    *s += n;
    if (**s == '[') {
        char *end;
        p->index = (*s)[1] >= '0' && (*s)[1] <= '9' ? strtol(*s + 1, &end, 10) : -1;
        if (p->index < 0 || *end != ']')
            return weft_fail(p->ctx, WEFT_USAGE,
                             "setting %s: expected a number and ']' after '%s['", p->path, p->name);
        *s = end + 1;
    }
    if (**s && **s != '.')
        return weft_fail(p->ctx, WEFT_USAGE, "setting %s: expected '.' after '%s'", p->path,
                         p->name);
    return WEFT_OK;
}

/* The field that the part names. */
static weft_status find_field(setting *p, const ProtobufCMessage *m, const weft_field **f)
{
    char hint[1000], elsewhere[200];
    *f = protobuf_c_message_descriptor_get_field_by_name(m->descriptor, p->name);
    if (*f)
        return WEFT_OK;
    if (*weft_path_hint(elsewhere, sizeof elsewhere, p->root, p->name, false))
        return weft_fail(p->ctx, WEFT_USAGE,
                         "setting %s: unknown field '%s' of %s; did you mean %s?", p->path, p->name,
                         m->descriptor->short_name, elsewhere);
    return weft_fail(p->ctx, WEFT_USAGE, "setting %s: unknown field '%s' of %s%s", p->path, p->name,
                     m->descriptor->short_name,
                     weft_field_hint(hint, sizeof hint, m->descriptor, p->name));
}

/* Goes into the sub-message that the part names; a singular one is made when it is absent. */
static weft_status descend(setting *p, ProtobufCMessage **m, const weft_field *f)
{
    size_t count = weft_field_count(*m, f);
    bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
    if (f->type != PROTOBUF_C_TYPE_MESSAGE)
        return weft_fail(p->ctx, WEFT_USAGE, "setting %s: '%s' is a plain value and has no fields",
                         p->path, f->name);
    if (repeated ? p->index < 0 || (size_t)p->index >= count : p->index >= 0)
        return weft_fail(p->ctx, WEFT_USAGE, "setting %s: '%s' %s", p->path, f->name,
                         !repeated ? "is a single message; write it without [...]"
                         : count   ? "is a list; name one of its present elements, the first is [0]"
                                   : "is an empty list");
    if (!repeated && !count) {
        weft_slot v = {.message = weft_message_new(p->arena, f->descriptor)};
        if (!v.message || !weft_field_put(p->arena, *m, f, &v, true))
            return p->ctx->status;
    }
    memcpy(m, weft_field_at(*m, f, repeated ? (size_t)p->index : 0), sizeof *m);
    return WEFT_OK;
}

/* The last part: a value. A string is taken as it stands, without quotes, as a shell hands it over.
 */
static weft_status set_value(setting *p, ProtobufCMessage *m, const weft_field *f,
                             const char *value)
{
    weft_slot v;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE || p->index >= 0) {
        char hint[1000] = "";
        if (f->type == PROTOBUF_C_TYPE_MESSAGE)
            weft_field_hint(hint, sizeof hint, f->descriptor, "");
        return weft_fail(
            p->ctx, WEFT_USAGE, "setting %s: '%s' is %s%s", p->path, f->name,
            *hint ? "a message; set one of its fields" : "set as a whole, without [...]", hint);
    }
    weft_text *t = weft_arena_alloc(p->arena, sizeof *t);
    if (!t)
        return p->ctx->status;
    *t = (weft_text){.ctx = p->ctx, .arena = p->arena, .setting = p->path};
    if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_BYTES) {
        WEFT_TRY(
            weft_text_string(t, f, value, strlen(value), &v)); /* as it stands, without quotes */
    } else {
        weft_lexer_init(&t->lex, value, strlen(value));
        WEFT_TRY(weft_text_next(t));
        WEFT_TRY(weft_text_value(t, f, &v));
        if (t->lex.kind != WEFT_TOKEN_END)
            return weft_text_expected(t, "the end of the value");
    }
    return weft_field_put(p->arena, m, f, &v, true) ? WEFT_OK : p->ctx->status;
}

weft_status weft_message_set(weft_arena *a, ProtobufCMessage *m, const char *path,
                             const char *value)
{
    setting p = {.ctx = weft_arena_ctx(a), .arena = a, .path = path, .root = m->descriptor};
    const weft_field *f;
    for (const char *s = path;; s++) {
        WEFT_TRY(cut_part(&p, &s));
        WEFT_TRY(find_field(&p, m, &f));
        if (!*s)
            return set_value(&p, m, f, value);
        WEFT_TRY(descend(&p, &m, f));
    }
}
