/* names_settings.c - the YAML file that says more of a model than its config.json: of YAML the flat
 * "key: value" lines, which is what is written too. */
#include <math.h>
#include <string.h>

#include "graph/names.h"

enum { SETTINGS_LIMIT = 1 << 20 };

static const char *trim(weft_arena *a, const char *s, size_t n)
{
    for (; n && strchr(" \t\r", s[n - 1]); n--)
        ;
    for (; n && (*s == ' ' || *s == '\t'); n--)
        s++;
    if (n > 1 && (*s == '"' || *s == '\'') && s[n - 1] == *s)
        return weft_arena_strndup(a, s + 1, n - 2);
    return weft_arena_strndup(a, s, n);
}

/* Adds one line as a member of an object, if it is "key: scalar" and not part of something nested.
 */
static weft_status add_line(weft_arena *a, weft_string *s, const char *line, size_t n)
{
    char number[40];
    double f;
    size_t key = strcspn(line, ":\n"), end = n;
    if (key + 1 >= n || strchr(" \t#-\"'[{", *line) || !strchr(" \t", line[key + 1]))
        return WEFT_OK;
    for (size_t i = key + 1; i + 1 < end; i++) /* a comment begins after a blank */
        if (strchr(" \t", line[i]) && line[i + 1] == '#')
            end = i;
    const char *name = trim(a, line, key), *v = trim(a, line + key + 1, end - key - 1);
    if (!name || !v)
        return WEFT_NOMEM;
    if (!*v || strchr("[{|>&*!~", *v))
        return WEFT_OK;
    weft_string_printf(s, s->len > 1 ? "," : "");
    weft_string_json(s, name);
    weft_string_printf(s, ":");
    if (weft_parse_f64(v, &f) && isfinite(f))
        weft_string_printf(s, "%s", weft_names_number(number, sizeof number, f));
    else if (!strcmp(v, "true") || !strcmp(v, "false") || !strcmp(v, "null"))
        weft_string_printf(s, "%s", v);
    else
        weft_string_json(s, v);
    return WEFT_OK;
}

static weft_status parse(weft_arena *a, const char *path, const char *text, weft_json **out)
{
    weft_string s;
    weft_status st = WEFT_OK;
    weft_string_init(&s, weft_arena_ctx(a));
    weft_string_printf(&s, "{");
    while (!st && *text) {
        size_t n = strcspn(text, "\n");
        st = add_line(a, &s, text, n);
        text += n + (text[n] == '\n');
    }
    weft_string_printf(&s, "}");
    char *copy = st || s.failed ? NULL : weft_arena_strdup(a, s.s);
    size_t n = s.len;
    weft_string_free(&s);
    return copy ? weft_json_parse_file(a, path, copy, n, out)
                : weft_error_status(weft_arena_ctx(a));
}

weft_status weft_settings_read(weft_arena *a, const char *folder, const char *name,
                               const char **path, weft_json **out)
{
    static const char *const where[] = {"", "../"};
    weft_ctx *c = weft_arena_ctx(a);
    *out = NULL;
    for (int i = 0; i < 2; i++) {
        char *text;
        size_t n;
        *path = weft_arena_printf(a, "%s/%s%s", folder, where[i], name);
        if (!*path)
            return WEFT_NOMEM;
        int kind;
        WEFT_TRY(weft_look(c, *path, &kind));
        if (kind != 1)
            continue;
        WEFT_TRY(weft_read_file(a, *path, SETTINGS_LIMIT, &text, &n));
        return parse(a, *path, text, out);
    }
    return WEFT_OK;
}

void weft_settings_text(weft_string *s, const weft_key_value *kv, int n)
{
    for (int i = 0; i < n; i++)
        weft_string_printf(s, "%s: %s\n", kv[i].key, kv[i].value);
}
