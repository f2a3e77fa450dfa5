/* compare_setup.c - how runs were made: what their recipes say, what their models compute, and in
 * what two of them differ. */
#include <stdlib.h>
#include <string.h>

#include "tools/compare.h"

/* ---- settings, one "name=value" a line ---- */
const char *compare_setting(weft_arena *a, const char *settings, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = settings; s && *s; s = strchr(s, '\n') ? strchr(s, '\n') + 1 : NULL)
        if (!strncmp(s, name, n) && s[n] == '=')
            return weft_arena_strndup(a, s + n + 1, strcspn(s + n + 1, "\n"));
    return NULL;
}

/* The name on this line, in arena memory. */
static const char *name_of(weft_arena *a, const char *line)
{
    return weft_arena_strndup(a, line, strcspn(line, "="));
}

static const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return line + (*line != 0);
}

/* Settings that make no other experiment: how it is run, shown and told. The model is compared by
 * what it computes. */
static bool ignored(const char *name, const char *also)
{
    static const char *const list[] = {"train.threads",
                                       "train.log_every",
                                       "train.max_memory",
                                       "eval.every",
                                       "checkpoint.every",
                                       "checkpoint.keep",
                                       "model",
                                       "doc"};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!strcmp(name, list[i]))
            return true;
    return !strcmp(name, also);
}

/* ---- models ---- */
/* Takes out of a model's text where its nodes came from, and blanks, which the length of those
 * decides. In place; a quote inside a string is escaped, so no string looks like the field. */
static size_t strip(char *text)
{
    static const char field[] = "source: \"";
    char *to = text;
    for (const char *p = text; *p;) {
        if (!strncmp(p, field, strlen(field))) {
            for (p += strlen(field); *p && *p != '"'; p++)
                p += *p == '\\' && p[1];
            p += *p != 0;
        } else if (*p == ' ' || *p == '\n') {
            p++;
        } else {
            *to++ = *p++;
        }
    }
    return (size_t)(to - text);
}

/* Of the flat graph as a model file: types, start values and attributes, whatever file, comments
 * and modules it came from. */
static weft_status hash_graph(weft_ctx *c, const weft_graph *g, uint64_t *out)
{
    weft_model *m = NULL;
    char *text = NULL;
    WEFT_TRY(weft_graph_to_model(g, &m));
    weft_status s = weft_model_text(m, &text);
    if (!s)
        *out = weft_hash(text, strip(text), 0);
    weft_text_free(c, text);
    weft_model_free(m);
    return s;
}

static weft_status expand(weft_recipe *r, weft_graph **out)
{
    weft_model *m = NULL;
    WEFT_TRY(weft_recipe_model(r, 0, 0, &m));
    weft_status s = weft_graph_expand(m, out);
    weft_model_free(m);
    return s;
}

weft_status compare_setup_read(comparison *k, weft_recipe *r, const char *path, cmp_setup *out)
{
    char *text = NULL;
    *out = (cmp_setup){.path = path};
    WEFT_TRY(expand(r, &out->graph));
    weft_status s = hash_graph(k->ctx, out->graph, &out->model);
    if (!s)
        s = weft_recipe_settings(r, &text);
    if (!s)
        out->settings = weft_arena_strdup(k->arena, text);
    weft_text_free(k->ctx, text);
    return weft_error_status(k->ctx);
}

weft_status compare_setup_change(comparison *k, cmp_setup *s, const char *name, int64_t step,
                                 const char *was)
{
    if (ignored(name, ""))
        return WEFT_OK;
    s->settings = weft_arena_printf(k->arena, "%s%s until step %lld=%s\n", s->settings, name,
                                    (long long)step, was ? was : "");
    return s->settings ? WEFT_OK : WEFT_NOMEM;
}

void compare_setup_free(cmp_setup *s)
{
    weft_graph_free(s->graph);
    s->graph = NULL;
}

const char *compare_value(comparison *k, const cmp_setup *s, const char *name)
{
    double v;
    const char *said = compare_setting(k->arena, s->settings, name);
    if (said || strchr(name, '.') || !s->graph || !weft_graph_parameter(s->graph, name, &v))
        return said;
    return weft_arena_printf(k->arena, "%.9g", v);
}

/* ---- differences ---- */
/* "0.30" is 0.3. */
static bool equal(const char *a, const char *b)
{
    char *end_a, *end_b;
    if (!a || !b || !strcmp(a, b))
        return a && b;
    double x = strtod(a, &end_a), y = strtod(b, &end_b);
    return *a && *b && !*end_a && !*end_b && x == y;
}

weft_status compare_settings(comparison *k, const cmp_setup *a, const cmp_setup *b,
                             const char *also, cmp_differences *out)
{
    const cmp_setup *const side[] = {a, b};
    *out = (cmp_differences){0};
    for (int i = 0; i < 2; i++)
        for (const char *line = side[i]->settings; *line; line = next_line(line)) {
            const char *name = name_of(k->arena, line);
            if (!name)
                return WEFT_NOMEM;
            bool said = compare_setting(k->arena, a->settings, name);
            if (ignored(name, also) || (i == 1 && said)) /* those were met on a's side */
                continue;
            const char *own = compare_value(k, a, name), *other = compare_value(k, b, name);
            if (equal(own, other))
                continue;
            if (!WEFT_GROW(k->arena, out->item, out->n, out->cap))
                return WEFT_NOMEM;
            out->item[out->n++] = (cmp_difference){name, own, other, said};
        }
    return weft_error_status(k->ctx);
}

/* Every parameter that either of them sets, with b's value, and the size of b's batch. */
static weft_status values_of(comparison *k, const cmp_setup *a, const cmp_setup *b,
                             const char ***set, int *n)
{
    const char *const text[] = {a->settings, b->settings};
    const char *batch = compare_setting(k->arena, b->settings, "train.batch");
    double length;
    int cap = 0;
    for (int i = 0; i < 2; i++)
        for (const char *line = text[i]; *line; line = next_line(line)) {
            const char *name = name_of(k->arena, line), *value;
            if (!name || strchr(name, '.') || ignored(name, "name") ||
                !(value = compare_value(k, b, name)))
                continue;
            if (!WEFT_GROW(k->arena, *set, *n, cap))
                return WEFT_NOMEM;
            (*set)[(*n)++] = weft_arena_printf(k->arena, "%s=%s", name, value);
        }
    if (batch && WEFT_GROW(k->arena, *set, *n, cap))
        (*set)[(*n)++] = weft_arena_printf(k->arena, "train.batch=%s", batch);
    if (weft_graph_parameter(b->graph, "T", &length) && WEFT_GROW(k->arena, *set, *n, cap))
        (*set)[(*n)++] = weft_arena_printf(k->arena, "train.length=%.9g", length);
    return weft_error_status(k->ctx);
}

/* A model that does not know one of the values is another one: that is an answer, no failure. */
weft_status compare_models(comparison *k, const cmp_setup *a, const cmp_setup *b, bool *same)
{
    const char **set = NULL;
    int n = 0;
    weft_recipe *r = NULL;
    weft_graph *g = NULL;
    uint64_t model = 0;
    *same = a->model == b->model;
    if (*same)
        return WEFT_OK;
    WEFT_TRY(values_of(k, a, b, &set, &n));
    weft_status s = weft_recipe_load(k->ctx, a->path, set, n, &r);
    if (!s)
        s = expand(r, &g);
    if (!s)
        s = hash_graph(k->ctx, g, &model);
    weft_graph_free(g);
    weft_recipe_free(r);
    *same = !s && model == b->model;
    if (s == WEFT_NOMEM)
        return s;
    weft_error_clear(k->ctx);
    return WEFT_OK;
}

const char *compare_list(comparison *k, const cmp_differences *d)
{
    enum { MOST = 12 };
    const char *text = "";
    for (int i = 0; i < d->n && i < MOST && text; i++)
        text = weft_arena_printf(k->arena, "%s%s%s (%s, %s)", text, i ? ", " : "", d->item[i].name,
                                 d->item[i].own ? d->item[i].own : "none",
                                 d->item[i].other ? d->item[i].other : "none");
    return text && d->n > MOST ? weft_arena_printf(k->arena, "%s, ...", text) : text;
}
