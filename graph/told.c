/* told.c - what weights tell of their model, read from the files beside them and held against a
 * model file's parameters.
 *
 * Weights fit by name and shape alone: another number of heads, another k or another GELU loads
 * without a complaint and says nonsense. What the files know is therefore taken where nobody says
 * anything, and refused where somebody says something else. */
#include "graph/told.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/checkpoint.h"

enum { CONFIG_LIMIT = 16 << 20 };

/* ---- a checkpoint of ours ---- */
static weft_status read_json(weft_arena *a, const char *path, weft_json **out)
{
    char *text;
    size_t n;
    int kind = 0;
    *out = NULL;
    WEFT_TRY(path ? weft_look(weft_arena_ctx(a), path, &kind) : WEFT_NOMEM);
    if (kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_read_file(a, path, CONFIG_LIMIT, &text, &n));
    return weft_json_parse_file(a, path, text, n, out);
}

static weft_status read_both(weft_arena *a, const char *label, const weft_json *j, weft_told *out)
{
    const char *list;
    if (out->bos < 0)
        WEFT_TRY(weft_ids_read(a, label, "bos_token_id", weft_json_get(j, "bos_token_id"),
                               out->n_ids, &out->bos, &list));
    return weft_ids_read(a, label, "eos_token_id", weft_json_get(j, "eos_token_id"), out->n_ids,
                         &out->eos, &out->eos_list);
}

/* Only a checkpoint's config.json has "parameters", under the names of its entry module. */
static weft_status read_own(weft_arena *a, const char *folder, weft_told *out)
{
    weft_json *root;
    const char *path = weft_arena_printf(a, "%s/config.json", folder);
    WEFT_TRY(read_json(a, path, &root));
    const weft_json *p = weft_json_get(root, "parameters"), *t = weft_json_get(root, "tokens");
    if (!weft_json_is(p, WEFT_JSON_OBJECT))
        return WEFT_OK;
    out->own = true;
    WEFT_TRY(read_both(a, path, t, out));
    for (p = p->child; p; p = p->next)
        if ((p->kind == WEFT_JSON_INT || p->kind == WEFT_JSON_REAL) &&
            !weft_params_add(a, &out->params, p->key,
                             p->kind == WEFT_JSON_INT ? (double)p->i : p->f, path))
            return WEFT_NOMEM;
    return WEFT_OK;
}

/* ---- an import ---- */
static weft_status read_meta_ids(weft_arena *a, const weft_meta *m, weft_told *out)
{
    const char *list;
    if (!strcmp(m->key, "bos_token_id"))
        return weft_ids_parse(a, out->path, m->key, m->value, 0, &out->bos, &list);
    return strcmp(m->key, "eos_token_id")
               ? WEFT_OK
               : weft_ids_parse(a, out->path, m->key, m->value, 0, &out->eos, &out->eos_list);
}

static weft_status read_meta(weft_arena *a, const weft_tensor_set *set, weft_told *out)
{
    for (int k = 0; k < set->n; k++)
        for (int i = 0; i < set->file[k]->n_meta; i++) {
            const weft_meta *m = &set->file[k]->meta[i];
            const char *name = weft_arena_strdup(a, m->key);
            double v;
            if (!name)
                return WEFT_NOMEM;
            WEFT_TRY(read_meta_ids(a, m, out));
            if (!weft_parse_f64(m->value, &v) || !isfinite(v))
                continue;
            if (!strncmp(name, "param.", 6) &&
                !weft_params_add(a, &out->params, name + 6, v, out->path))
                return WEFT_NOMEM;
        }
    return WEFT_OK;
}

/* ---- another program's ---- */
static weft_status match_tensors(weft_match *m, const weft_tensor_set *set)
{
    for (int k = 0; k < set->n; k++)
        for (int i = 0; i < set->file[k]->n; i++)
            WEFT_TRY(weft_match_add(m, set->file[k], weft_tensor_file_at(set->file[k], i)));
    return weft_match_finish(m);
}

/* Ids that the map does not speak of, or that stand in the file that only generation reads. */
static weft_status read_ids(weft_arena *a, const char *folder, weft_told *out)
{
    static const char *const name[] = {"config.json", "generation_config.json"};
    for (int i = out->asked_ids; folder && i < 2 && out->eos < 0; i++) {
        weft_json *root;
        const char *path = weft_arena_printf(a, "%s/%s", folder, name[i]);
        WEFT_TRY(read_json(a, path, &root));
        WEFT_TRY(read_both(a, path, root, out));
    }
    return WEFT_OK;
}

/* What stands beside the weights. Without the file only shapes tell something. */
static weft_status describe(weft_match *m, const weft_tensor_set *set, const char *folder)
{
    weft_arena *a = m->arena;
    const Weft__Names *n = m->names->msg;
    weft_json *root = NULL;
    weft_description d = {.label = m->from, .meta = set->file[0]};
    if (n->config) {
        d = (weft_description){.label = weft_arena_printf(a, "%s/%s", folder, n->config)};
        WEFT_TRY(read_json(a, d.label, &root));
        if (!root)
            return WEFT_OK;
        d.json = root;
    }
    if (n->settings)
        WEFT_TRY(weft_settings_read(a, folder, n->settings, &d.settings_label,
                                    (weft_json **)&d.settings));
    WEFT_TRY(weft_names_read(m, &d));
    return weft_names_bounds(m);
}

/* A map that does not fit is no failure; a description that it cannot express is. `ask`: for the
 * parameters, which are known otherwise. */
static weft_status try_map(weft_arena *a, const weft_tensor_set *set, const char *folder,
                           const char *name, bool ask, weft_told *out)
{
    weft_match m;
    weft_names names;
    WEFT_TRY(weft_names_load(a, name, &names));
    weft_match_init(&m, a, &names, false, "", out->path);
    weft_status s = match_tensors(&m, set);
    if (!s && m.n) {
        out->map = names;
        out->map_name = name;
        s = ask ? describe(&m, set, folder) : WEFT_OK;
        if (ask) {
            for (int i = 0; i < m.params.n; i++) /* can be names in a file that is closed */
                m.params.p[i].origin = weft_arena_strdup(a, m.params.p[i].origin);
            out->params = m.params;
            out->form = m.form;
            out->bos = m.bos;
            out->eos = m.eos;
            out->eos_list = m.eos_list;
            out->n_ids = m.n_ids;
            out->asked_ids = m.asked_ids;
            s = s ? s : weft_error_status(weft_arena_ctx(a));
        }
    } else if (s && s != WEFT_NOMEM) {
        s = WEFT_OK;
        weft_error_clear(weft_arena_ctx(a));
    }
    weft_match_free(&m);
    return s;
}

static weft_status has_file(weft_arena *a, const char *folder, const char *name, const char *end,
                            bool *yes)
{
    int kind = 0;
    const char *path = weft_arena_printf(a, "%s/%s%s", folder, name, end);
    WEFT_TRY(path ? weft_look(weft_arena_ctx(a), path, &kind) : WEFT_NOMEM);
    *yes = *yes || kind == 1;
    return WEFT_OK;
}

weft_status weft_told_weights(weft_arena *a, const char *folder, const char **out)
{
    bool yes = false;
    for (const weft_shipped_file *f = weft_names_shipped; f->name && !yes; f++) {
        weft_names names;
        WEFT_TRY(weft_names_load(a, f->name, &names));
        *out = names.msg->weights;
        WEFT_TRY(has_file(a, folder, *out, "", &yes));
        WEFT_TRY(has_file(a, folder, *out, ".index.json", &yes));
    }
    if (!yes) {
        *out = "model.safetensors";
        WEFT_TRY(has_file(a, folder, "pytorch_model.bin", "", &yes));
    }
    *out = yes ? *out : NULL;
    return WEFT_OK;
}

static bool is_called(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    return !strncmp(slash ? slash + 1 : path, name, strlen(name));
}

static weft_status read_all(weft_arena *a, const weft_tensor_set *set, const char *folder,
                            int flags, weft_told *out)
{
    WEFT_TRY(out->own ? WEFT_OK : read_meta(a, set, out));
    const bool known = out->own || out->params.n || !folder;
    for (const weft_shipped_file *f = weft_names_shipped;
         f->name && !out->map_name && (flags & WEFT_TOLD_MAP || !known); f++)
        WEFT_TRY(try_map(a, set, folder, f->name, !known, out));
    return known ? WEFT_OK : read_ids(a, folder, out);
}

weft_status weft_told_read(weft_arena *a, const char *path, int flags, weft_told *out)
{
    weft_ctx *c = weft_arena_ctx(a);
    weft_tensor_set set = {.arena = a};
    const char *weights = NULL;
    int kind;
    WEFT_TRY(weft_look(c, path, &kind));
    const bool is_folder = kind == 2;
    *out = (weft_told){.path = weft_arena_strdup(a, path), .bos = -1, .eos = -1};
    const char *folder = is_folder ? path : weft_parent_dir(a, path);
    if (!out->path || !folder)
        return WEFT_NOMEM;
    if (!is_folder && flags & WEFT_TOLD_ALONE)
        folder = NULL;
    /* a file of another name may lie beside somebody else's config.json */
    else if (is_folder || is_called(path, "model.safetensors"))
        WEFT_TRY(read_own(a, folder, out));
    if (out->own && !(flags & WEFT_TOLD_MAP))
        return WEFT_OK;
    if (is_folder)
        WEFT_TRY(weft_told_weights(a, path, &weights));
    weft_status s = weft_tensor_set_open(&set, path, weights ? weights : "model.safetensors");
    if (!s)
        s = read_all(a, &set, folder, flags, out);
    weft_tensor_set_close(&set);
    return s;
}

/* ---- against a model file ---- */
/* How many sequences of which length is asked anew each time. */
static bool is_size_of_batch(const char *name) { return !strcmp(name, "B") || !strcmp(name, "T"); }

static bool is_whole(double v) { return v == floor(v); }

/* "name=default" of the entry module, or NULL. */
static const char *find_param(const weft_model *m, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < m->main->n_param; i++) {
        const char *p = m->main->param[i];
        if (!strncmp(p, name, n) && (!p[n] || p[n] == '=' || p[n] == ' '))
            return p;
    }
    return NULL;
}

static const char *find_setting(const weft_model *m, const char *name)
{
    for (int i = 0; i < m->n_set; i++)
        if (!strcmp(m->set[i].name, name))
            return m->set[i].value;
    return NULL;
}

static bool is_given(const char *const *set, int n, const char *name)
{
    size_t len = strlen(name);
    for (int i = 0; i < n; i++)
        if (!strncmp(set[i], name, len) && set[i][len + strspn(set[i] + len, " ")] == '=')
            return true;
    return false;
}

static weft_status refuse(weft_ctx *c, const weft_told *t, const weft_param *p, double now,
                          const char *by)
{
    char a[40], b[40];
    weft_fail(c, WEFT_MISMATCH, "%s: %s is %s by %s, but %s by %s", t->path, p->name,
              weft_names_number(a, sizeof a, p->value), p->origin,
              weft_names_number(b, sizeof b, now), by);
    return weft_note(c, "what the weights tell need not be set");
}

/* A default that is no number, like T=ctx, is another parameter's. */
static bool is_default(const char *param, double v)
{
    const char *equals = strchr(param, '=');
    double d;
    return equals && weft_parse_f64(equals + 1, &d) && d == v;
}

weft_status weft_told_apply(weft_arena *a, const weft_told *t, weft_model *m,
                            const char *const *set, int n_set, const char *recipe)
{
    char number[40];
    for (int i = 0; i < t->params.n; i++) {
        const weft_param *p = &t->params.p[i];
        const char *param = find_param(m, p->name), *value = find_setting(m, p->name);
        const bool given = is_given(set, n_set, p->name);
        double now;
        if (!param || is_size_of_batch(p->name))
            continue;
        if (!value && !is_default(param, p->value)) {
            weft_names_number(number, sizeof number, p->value);
            const char *text = weft_arena_printf(a, "%s=%s", p->name, number);
            WEFT_TRY(text ? weft_model_set(m, text) : WEFT_NOMEM);
        }
        /* an expression is looked at when the model is expanded */
        if (!value || !weft_parse_f64(value, &now) || now == p->value)
            continue;
        if (given || (is_whole(now) && is_whole(p->value)))
            return refuse(m->ctx, t, p, now, given ? "--set" : recipe ? recipe : "the settings");
    }
    return WEFT_OK;
}

weft_status weft_weights_tell(weft_model *m, const char *path, const char *const *set, int n_set)
{
    weft_told told;
    weft_arena *a = weft_arena_new(m->ctx, 0);
    weft_status s = a ? weft_weights_find(a, path, &path) : m->ctx->status;
    if (!s)
        s = weft_told_read(a, path, 0, &told);
    if (!s)
        s = weft_told_apply(m->arena, &told, m, set, n_set, NULL);
    weft_arena_free(a);
    return s;
}

weft_status weft_told_check(const weft_told *t, const weft_graph *g)
{
    for (int i = 0; i < t->params.n; i++) {
        const weft_param *p = &t->params.p[i];
        double now;
        if (!is_size_of_batch(p->name) && weft_graph_parameter(g, p->name, &now) &&
            now != p->value && is_whole(now) && is_whole(p->value))
            return refuse(g->ctx, t, p, now, "the settings");
    }
    return WEFT_OK;
}

weft_status weft_told_complete(const weft_told *t, const char *const *set, int n_set)
{
    const Weft__Names *n = t->map.msg;
    const Weft__Form *form = t->form ? t->form : n->n_form ? n->form[0] : NULL;
    for (size_t k = 0; form && k < form->n_field; k++) {
        const char *p = form->field[k]->param;
        if (p && !weft_params_find(&t->params, p, strlen(p)) && !is_given(set, n_set, p))
            return weft_fail(weft_arena_ctx(t->map.arena), WEFT_USAGE,
                             "%s: %s is not told by these files (%s of %s): give --set %s=NUMBER",
                             t->path, p, form->field[k]->key,
                             form->field[k]->setting ? n->settings
                             : n->config             ? n->config
                                                     : "the metadata",
                             p);
    }
    return WEFT_OK;
}
