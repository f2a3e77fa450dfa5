/* token_ids.c - ids of the tokens that begin and end a text, as files of others have them: one id
 * or a list of several, and now and then what is no id of the model at all. */
#include <stdio.h>
#include <string.h>

#include "graph/names.h"

static bool is_id(const weft_json *j, int64_t below)
{
    return weft_json_is(j, WEFT_JSON_INT) && j->i >= 0 && (!below || j->i < below);
}

static void warn(weft_arena *a, const char *label, const char *key, const weft_json *j,
                 int64_t below)
{
    char shown[512], file[512], number[40], most[64] = "";
    const char *text = j->kind == WEFT_JSON_INT      ? weft_names_number(number, 40, (double)j->i)
                       : j->kind == WEFT_JSON_REAL   ? weft_names_number(number, 40, j->f)
                       : j->kind == WEFT_JSON_STRING ? weft_printable(shown, sizeof shown, j->text)
                                                     : weft_json_name(j);
    if (below)
        snprintf(most, sizeof most, " to %lld", (long long)below - 1);
    weft_log(weft_arena_ctx(a),
             "warning: %s: %s is %s, which is no token of the model (expected a whole number from "
             "0%s): left out",
             weft_printable(file, sizeof file, label), key, text, most);
}

weft_status weft_ids_read(weft_arena *a, const char *label, const char *key, const weft_json *j,
                          int64_t below, int64_t *first, const char **list)
{
    weft_string s;
    int n = 0;
    *first = -1;
    *list = NULL;
    if (!j || j->kind == WEFT_JSON_NULL)
        return WEFT_OK;
    weft_string_init(&s, weft_arena_ctx(a));
    const bool many = j->kind == WEFT_JSON_ARRAY;
    for (const weft_json *x = many ? j->child : j; x; x = many ? x->next : NULL) {
        if (!is_id(x, below)) {
            warn(a, label, key, x, below);
            continue;
        }
        weft_string_printf(&s, "%s%lld", n ? ", " : "[", (long long)x->i);
        *first = n++ ? *first : x->i;
    }
    weft_string_printf(&s, "]");
    *list = n > 1 && !s.failed ? weft_arena_strdup(a, s.s) : NULL;
    weft_string_free(&s);
    return weft_error_status(weft_arena_ctx(a));
}

weft_status weft_ids_parse(weft_arena *a, const char *label, const char *key, const char *text,
                           int64_t below, int64_t *first, const char **list)
{
    weft_json_error e = {0};
    weft_json word = {.kind = WEFT_JSON_STRING, .text = text};
    char *copy = weft_arena_strdup(a, text);
    const weft_json *j = copy ? weft_json_parse(a, copy, strlen(copy), &e) : NULL;
    if (!j && (!copy || !e.what))
        return weft_error_status(weft_arena_ctx(a));
    return weft_ids_read(a, label, key, j ? j : &word, below, first, list);
}

const char *weft_ids_text(weft_arena *a, int64_t first, const char *list)
{
    return list ? list : weft_arena_printf(a, "%lld", (long long)first);
}
