/* changes.c - a run that goes on with other settings than its checkpoint was saved with: which they
 * are, which may be others, and where it is said.
 *
 * Input: the recipe that training goes on by, and that of the checkpoint, which keeps it
 * (run.txtpb) beside config.json.  Output: MISMATCH with every setting that must stay, both values;
 * else the list of those that changed, for recipe.txtpb and the log of the run. */
#include <stdio.h>
#include <string.h>

#include "graph/json.h"
#include "graph/trainer.h"

#define FILE_LIMIT ((size_t)1 << 26)

typedef weft_changed_setting change;

/* ---- settings, one "name=value" a line ---- */
static const char *value_of(weft_arena *a, const char *settings, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = settings; s && *s; s = strchr(s, '\n') ? strchr(s, '\n') + 1 : NULL)
        if (!strncmp(s, name, n) && s[n] == '=')
            return weft_arena_strndup(a, s + n + 1, strcspn(s + n + 1, "\n"));
    return NULL;
}

static bool begins(const char *name, const char *with)
{
    return !strncmp(name, with, strlen(with));
}

static bool ends(const char *name, const char *with)
{
    size_t n = strlen(name), k = strlen(with);
    return n >= k && !strcmp(name + n - k, with);
}

static bool is_same(const char *a, const char *b)
{
    double x, y;
    if (!a || !b)
        return !(a && *a) && !(b && *b); /* an empty text is none */
    return !strcmp(a, b) || (weft_parse_f64(a, &x) && weft_parse_f64(b, &y) && x == y);
}

typedef enum {
    ANOTHER_CHECK, /* the graph, the data and the weights tell */
    FIXED,         /* another one would make another run of it */
    UNSEEN,        /* makes no difference to what the run computes and logs */
    TOLD
} rule;

static rule rule_of(const char *name)
{
    static const struct {
        const char *begin;
        rule rule;
    } list[] = {{"train.batch", ANOTHER_CHECK}, {"train.length", ANOTHER_CHECK},
                {"data.train", ANOTHER_CHECK},  {"train.seed", FIXED},
                {"train.loss", FIXED},          {"train.precision", FIXED},
                {"data.sampling", FIXED},       {"start[", FIXED},
                {"train.threads", UNSEEN},      {"train.max_memory", UNSEEN},
                {"checkpoint.", UNSEEN},        {"data.tokenizer", UNSEEN},
                {"data.labels", UNSEEN},        {"data.val_labels", UNSEEN}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (begins(name, list[i].begin))
            return list[i].rule;
    if (begins(name, "load["))
        return ends(name, ".scope") ? FIXED : ANOTHER_CHECK;
    return strchr(name, '.') ? TOLD : ANOTHER_CHECK; /* parameters of the model */
}

/* ---- comparing ---- */
static weft_status add(weft_trainer *t, weft_changes *to, const char *name, const char *was,
                       const char *is)
{
    if (!WEFT_GROW(t->arena, to->item, to->n, to->cap))
        return WEFT_NOMEM;
    to->item[to->n++] = (change){name, was, is};
    return WEFT_OK;
}

/* The names of one side; those of the other side that this one lacks come when it is looked at. */
static weft_status compare_side(weft_trainer *t, const char *side, const char *was, const char *is,
                                weft_changes *fixed)
{
    for (const char *line = side; *line; line += strcspn(line, "\n"), line += *line != 0) {
        const char *name = weft_arena_strndup(t->arena, line, strcspn(line, "="));
        if (!name)
            return WEFT_NOMEM;
        const char *old = value_of(t->arena, was, name), *now = value_of(t->arena, is, name);
        rule r = rule_of(name);
        if ((side == is && old) || r == ANOTHER_CHECK || r == UNSEEN || is_same(old, now))
            continue;
        WEFT_TRY(add(t, r == FIXED ? fixed : &t->changes, name, old, now));
    }
    return weft_error_status(t->ctx);
}

static weft_status compare_settings(weft_trainer *t, weft_recipe *then, weft_changes *fixed)
{
    char *was = NULL, *is = NULL;
    weft_status s = weft_recipe_settings(then, &was);
    if (!s)
        s = weft_recipe_settings(t->recipe, &is);
    if (!s)
        s = compare_side(t, was, was, is, fixed);
    if (!s)
        s = compare_side(t, is, was, is, fixed);
    weft_text_free(t->ctx, was);
    weft_text_free(t->ctx, is);
    return s;
}

static weft_status compare_number(weft_trainer *t, const char *name, const weft_json *was,
                                  double is, weft_changes *fixed)
{
    char a[40], b[40];
    double v = was->kind == WEFT_JSON_INT ? (double)was->i : was->f;
    if ((was->kind != WEFT_JSON_INT && was->kind != WEFT_JSON_REAL) || v == is)
        return WEFT_OK;
    const char *old = weft_arena_strdup(t->arena, weft_number_print(a, sizeof a, v));
    const char *now = weft_arena_strdup(t->arena, weft_number_print(b, sizeof b, is));
    return old && now ? add(t, fixed, name, old, now) : WEFT_NOMEM;
}

/* config.json knows every parameter of the model, given or not. */
static weft_status compare_config(weft_trainer *t, const char *path, const weft_progress *p,
                                  weft_changes *fixed)
{
    weft_json *root;
    char *text = p->config ? weft_arena_strdup(t->arena, p->config) : NULL;
    double now;
    if (!text)
        return weft_error_status(t->ctx);
    WEFT_TRY(weft_json_parse_file(t->arena, path, text, strlen(text), &root));
    const weft_json *batch = weft_json_get(root, "batch"), *length = weft_json_get(root, "length");
    const weft_json *list = weft_json_get(root, "parameters");
    if (batch)
        WEFT_TRY(compare_number(t, "train.batch", batch, (double)t->info.batch, fixed));
    if (length)
        WEFT_TRY(compare_number(t, "train.length", length, (double)t->info.length, fixed));
    if (!weft_json_is(list, WEFT_JSON_OBJECT))
        return WEFT_OK;
    for (const weft_json *v = list->child; v; v = v->next)
        if (strcmp(v->key, "B") && strcmp(v->key, "T") &&
            weft_graph_parameter(t->forward, v->key, &now))
            WEFT_TRY(compare_number(t, v->key, v, now, fixed));
    return WEFT_OK;
}

/* ---- what is said ---- */
static const char *shown(char *buf, size_t n, const char *value)
{
    return value && *value ? weft_printable(buf, n, value) : "none";
}

static weft_status refuse(weft_trainer *t, const char *path, const weft_changes *fixed)
{
    weft_string s;
    char name[128], a[256], b[256], file[512];
    if (!fixed->n)
        return WEFT_OK;
    weft_string_init(&s, t->ctx);
    for (int i = 0; i < fixed->n; i++) {
        const change *c = &fixed->item[i];
        weft_string_printf(&s, "%s%s was %s, is %s", i ? "; " : "",
                           weft_printable(name, sizeof name, c->name), shown(a, sizeof a, c->was),
                           shown(b, sizeof b, c->is));
    }
    weft_fail(t->ctx, WEFT_MISMATCH, "cannot resume from %s: %s",
              weft_printable(file, sizeof file, path), s.failed ? "" : s.s);
    weft_string_free(&s);
    return weft_note(t->ctx,
                     "this stays as it was when a run goes on; --out=DIR begins another one");
}

static void tell(const weft_trainer *t)
{
    char name[128], a[256], b[256];
    for (int i = 0; i < t->changes.n; i++) {
        const change *c = &t->changes.item[i];
        weft_log(t->ctx, "%s: %s was %s, is %s from step %lld on", t->dir,
                 weft_printable(name, sizeof name, c->name), shown(a, sizeof a, c->was),
                 shown(b, sizeof b, c->is), (long long)t->progress.step);
    }
}

/* ---- the recipe of the checkpoint ---- */
/* Version 0.1 kept none: the run's own is all there is to know, and its paths had no root. */
static weft_status load_then(weft_trainer *t, const char *path, const weft_progress *p,
                             weft_recipe **out)
{
    const char *own = weft_arena_printf(t->arena, "%s/recipe.txtpb", t->dir);
    const char *kept = weft_arena_printf(t->arena, "%s/%s", path, WEFT_RUN_RECIPE);
    *out = NULL;
    if (!own || !kept)
        return WEFT_NOMEM;
    if (p->recipe)
        return weft_recipe_load_as(t->ctx, kept, own, out);
    const char *root = weft_arena_printf(t->arena, "root=%s", t->recipe->root);
    weft_status s = root ? weft_recipe_load(t->ctx, own, &root, 1, out) : WEFT_NOMEM;
    if (s == WEFT_NOMEM || s == WEFT_IO)
        return s;
    weft_error_clear(t->ctx);
    return WEFT_OK;
}

/* Somebody has changed it since, or a resumption had begun to. */
static weft_status check_own(weft_trainer *t, const weft_progress *p)
{
    char *text = NULL;
    size_t n;
    const char *path = weft_arena_printf(t->arena, "%s/recipe.txtpb", t->dir);
    int kind;
    WEFT_TRY(path ? weft_look(t->ctx, path, &kind) : WEFT_NOMEM);
    if (!p->recipe || kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_read_file(t->arena, path, FILE_LIMIT, &text, &n));
    if (strcmp(text, p->recipe))
        weft_log(t->ctx, "warning: %s has been changed since the checkpoint of step %lld was saved",
                 path, (long long)p->step);
    return WEFT_OK;
}

weft_status weft_changes_find(weft_trainer *t, const char *path, const weft_progress *p)
{
    weft_recipe *then = NULL;
    weft_changes fixed = {0};
    WEFT_TRY(load_then(t, path, p, &then));
    weft_status s = then ? compare_settings(t, then, &fixed) : WEFT_OK;
    weft_recipe_free(then);
    if (!s)
        s = compare_config(t, path, p, &fixed);
    return s ? s : refuse(t, path, &fixed);
}

/* Writes a file of the run if it holds something else. */
static weft_status store(weft_trainer *t, const char *name, const char *text)
{
    char *own = NULL;
    size_t n = 0, size = strlen(text);
    const char *path = weft_arena_printf(t->arena, "%s/%s", t->dir, name);
    int kind;
    WEFT_TRY(path ? weft_look(t->ctx, path, &kind) : WEFT_NOMEM);
    if (kind == 1)
        WEFT_TRY(weft_read_file(t->arena, path, FILE_LIMIT, &own, &n));
    return own && n == size && !memcmp(own, text, n) ? WEFT_OK
                                                     : weft_write_file(t->ctx, path, text, size);
}

/* The model first: it is the same one, only its defaults may have become settings or the other way
 * round. */
/* A run that has come as far already is left as it is: nothing was done with other settings. */
static bool nothing_to_do(const weft_trainer *t)
{
    return t->progress.step >= t->recipe->msg->train->steps;
}

weft_status weft_changes_store(weft_trainer *t, const weft_progress *p)
{
    char *model = NULL;
    WEFT_TRY(check_own(t, p));
    if (nothing_to_do(t))
        return WEFT_OK;
    tell(t);
    WEFT_TRY(weft_model_text(t->model, &model));
    weft_status s = store(t, "model.txtpb", model);
    weft_text_free(t->ctx, model);
    return s ? s : store(t, "recipe.txtpb", t->progress.recipe);
}

weft_status weft_changes_log(weft_trainer *t)
{
    for (int i = 0; i < t->changes.n && !nothing_to_do(t); i++)
        WEFT_TRY(weft_runlog_setting(&t->log, &t->progress, &t->changes.item[i]));
    return WEFT_OK;
}
