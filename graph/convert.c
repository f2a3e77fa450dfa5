/* convert.c - weights of other programs into files of ours, and back. */
#include "graph/convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/checkpoint.h"

enum { DESCRIPTION_LIMIT = 16 << 20 };

typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    const weft_convert_options *o;
    weft_convert_result *r;
    weft_names names;
    weft_tensor_set set;
    weft_match match;
    weft_string known, notes;
    const weft_file_dtype *to;
    void *scratch;
    const char **written; /* files of the export so far */
    int n_written, cap_written;
    const char *made; /* the folder of the export, if it is new */
} job;

/* ---- what was known and found ---- */
static bool is_set_by(char *const *set, size_t n, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (!strncmp(set[i], name, len) && set[i][len] == '=')
            return true;
    return false;
}

/* Does the map speak of this parameter, in a shape, a key or a form? */
static bool is_mentioned(const job *j, const char *name)
{
    const Weft__Names *n = j->names.msg;
    if (weft_params_find(&j->match.params, name, strlen(name)))
        return true;
    for (size_t i = 0; i < n->n_form; i++) {
        for (size_t k = 0; k < n->form[i]->n_field; k++)
            if (n->form[i]->field[k]->param && !strcmp(n->form[i]->field[k]->param, name))
                return true;
        if (is_set_by(n->form[i]->set, n->form[i]->n_set, name) ||
            is_set_by(n->form[i]->assume, n->form[i]->n_assume, name))
            return true;
    }
    return false;
}

static bool is_set_again(const job *j, int i, size_t n)
{
    for (int k = i + 1; k < j->o->n_set; k++)
        if (!strncmp(j->o->set[i], j->o->set[k], n + 1))
            return true;
    return false;
}

/* `strict`: names that the map does not know are mistakes, unless they are for somebody else. */
static weft_status bind_settings(job *j, bool strict)
{
    for (int i = 0; i < j->o->n_set; i++) {
        const char *text = j->o->set[i];
        size_t n = strcspn(text, "=");
        double v;
        if (!n || !text[n] || !weft_parse_f64(text + n + 1, &v))
            return weft_fail(j->ctx, WEFT_USAGE, "setting '%s': expected NAME=NUMBER", text);
        if (is_set_again(j, i, n))
            continue;
        const char *name = weft_arena_strndup(j->arena, text, n);
        if (!name)
            return WEFT_NOMEM;
        if (strict && !is_mentioned(j, name)) {
            if (j->o->more_settings)
                continue;
            return weft_fail(j->ctx, WEFT_USAGE, "setting '%s': %s knows no such parameter", text,
                             j->names.label);
        }
        WEFT_TRY(weft_match_bind(&j->match, name, v, "--set"));
    }
    return WEFT_OK;
}

static weft_status bind_if_new(job *j, const char *name, double v, const char *origin)
{
    if (weft_params_find(&j->match.params, name, strlen(name)))
        return WEFT_OK;
    name = weft_arena_strdup(j->arena, name);
    return name ? weft_match_bind(&j->match, name, v, origin) : WEFT_NOMEM;
}

/* A description in a folder; *out stays NULL when there is no such file. */
static weft_status read_json(job *j, const char *folder, const char *name, const char **path,
                             weft_json **out)
{
    char *text;
    size_t n;
    *out = NULL;
    *path = weft_arena_printf(j->arena, "%s/%s", folder, name);
    if (!*path)
        return WEFT_NOMEM;
    if (weft_exists(j->ctx, *path) != 1)
        return WEFT_OK;
    WEFT_TRY(weft_read_file(j->arena, *path, DESCRIPTION_LIMIT, &text, &n));
    return weft_json_parse_file(j->arena, *path, text, n, out);
}

static const char *folder_of(job *j, const char *path)
{
    return weft_exists(j->ctx, path) == 2 ? path : weft_parent_dir(j->arena, path);
}

/* ---- import ---- */
static weft_status match_all(job *j)
{
    for (int k = 0; k < j->set.n; k++)
        for (int i = 0; i < j->set.file[k]->n; i++)
            WEFT_TRY(
                weft_match_add(&j->match, j->set.file[k], weft_tensor_file_at(j->set.file[k], i)));
    return weft_match_finish(&j->match);
}

static const weft_match_item *item_from(const weft_match *m, const char *from)
{
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->item[i].rule->from, from))
            return &m->item[i];
    return NULL;
}

/* Copies leave the list, but only if they are copies. */
static weft_status drop_tied(job *j)
{
    weft_match *m = &j->match;
    int kept = 0;
    for (int i = 0; i < m->n; i++)
        if (m->item[i].rule->tie) {
            const weft_match_item *of = item_from(m, m->item[i].rule->tie);
            bool same = false;
            if (of)
                WEFT_TRY(weft_tensor_same(m->item[i].file, m->item[i].entry, of->file, of->entry,
                                          &same));
            if (!same)
                return weft_fail(
                    j->ctx, WEFT_MISMATCH,
                    "%s: %s is not a copy of %s, but the model has one weight for both", m->from,
                    m->item[i].entry->name, m->item[i].rule->tie);
            m->tied++;
        }
    for (int i = 0; i < m->n; i++)
        if (!m->item[i].rule->tie)
            m->item[kept++] = m->item[i];
    m->n = kept;
    return WEFT_OK;
}

/* What stands beside the weights, or in them. */
static weft_status read_description(job *j, const char *path)
{
    const Weft__Names *n = j->names.msg;
    if (!n->config) {
        const weft_description d = {.label = j->match.from, .meta = j->set.file[0]};
        return weft_names_read(&j->match, &d);
    }
    const char *folder = folder_of(j, path), *file;
    weft_json *json;
    WEFT_TRY(folder ? read_json(j, folder, n->config, &file, &json) : WEFT_NOMEM);
    if (!json && n->required)
        return weft_fail(j->ctx, WEFT_MISSING,
                         "%s: no such file, and without it nobody can tell what the weights mean",
                         file);
    if (!json) {
        weft_string_printf(&j->notes, "there is no %s: parameters are those that shapes tell\n",
                           n->config);
        return WEFT_OK;
    }
    weft_description d = {.label = file, .json = json};
    if (n->settings)
        WEFT_TRY(weft_settings_read(j->arena, folder, n->settings, &d.settings_label,
                                    (weft_json **)&d.settings));
    return weft_names_read(&j->match, &d);
}

/* Parameters that the form speaks of and nobody knows. */
static void note_unknown(job *j)
{
    const Weft__Names *n = j->names.msg;
    const Weft__Form *form = j->match.form ? j->match.form : n->n_form ? n->form[0] : NULL;
    for (size_t k = 0; form && k < form->n_field; k++) {
        const char *p = form->field[k]->param;
        if (p && !weft_params_find(&j->match.params, p, strlen(p)))
            weft_string_printf(&j->notes, "%s is not told by these files: give --set %s=NUMBER%s\n",
                               p, p,
                               j->o->more_settings ? "; checked with the model's default" : "");
    }
}

static weft_status note_known(job *j)
{
    char number[40];
    const weft_params *p = &j->match.params;
    for (int i = 0; i < p->n; i++)
        weft_string_printf(&j->known, "%s=%s\n", p->p[i].name,
                           weft_names_number(number, sizeof number, p->p[i].value));
    return j->known.failed || j->notes.failed ? j->ctx->status : WEFT_OK;
}

static weft_status find_meta(job *j, weft_meta **out, int *n)
{
    char number[40];
    const weft_params *p = &j->match.params;
    weft_meta *meta = weft_arena_array(j->arena, (size_t)p->n + 1, sizeof *meta);
    for (int i = 0; meta && i < p->n; i++) {
        weft_names_number(number, sizeof number, p->p[i].value);
        meta[i + 1] = (weft_meta){weft_arena_printf(j->arena, "param.%s", p->p[i].name),
                                  weft_arena_strdup(j->arena, number)};
    }
    if (j->ctx->status)
        return j->ctx->status;
    meta[0] = (weft_meta){"format", "pt"};
    *out = meta;
    *n = p->n + 1;
    return WEFT_OK;
}

/* ---- writing items ---- */
static weft_type written_type(const weft_match_item *it)
{
    int64_t dim[WEFT_MAX_RANK];
    int rank = it->entry->rank;
    for (int i = 0; i < rank; i++)
        dim[i] = it->entry->dim[it->rule->transpose ? rank - 1 - i : i];
    return weft_type_make(WEFT_F32, rank, dim);
}

static weft_status note_written(job *j, const char *path)
{
    if (!WEFT_GROW(j->arena, j->written, j->n_written, j->cap_written))
        return j->ctx->status;
    j->written[j->n_written++] = path;
    return WEFT_OK;
}

/* A part of a model is worse than none: what a failed export wrote is gone with it. */
static void undo_export(job *j)
{
    const weft_io *io = j->ctx->io;
    for (int i = 0; i < j->n_written; i++)
        io->unlink(io->user, j->written[i]);
    if (j->made)
        io->rmdir(io->user, j->made);
}

/* Items first .. first + n - 1 as one file; `prefix` is put before names that take one. */
static weft_status write_items(job *j, const char *path, const char *prefix, int first, int n,
                               const weft_meta *meta, int n_meta)
{
    weft_tensor_out *out = weft_arena_array(j->arena, (size_t)n, sizeof *out);
    weft_tensor_source *source = weft_arena_array(j->arena, (size_t)n, sizeof *source);
    weft_stream *stream = weft_arena_array(j->arena, (size_t)n, sizeof *stream);
    int64_t bytes;
    if (!out || !source || !stream)
        return j->ctx->status;
    for (int i = 0; i < n; i++) {
        const weft_match_item *it = &j->match.item[first + i];
        stream[i] = (weft_stream){.item = it,
                                  .ctx = j->ctx,
                                  .to = j->to,
                                  .type = written_type(it),
                                  .scratch = j->scratch,
                                  .path = j->match.from};
        source[i] = (weft_tensor_source){j->to->name, weft_stream_put, &stream[i]};
        out[i] = (weft_tensor_out){.name = it->name, .type = stream[i].type};
        if (*prefix && !it->rule->bare)
            out[i].name = weft_arena_printf(j->arena, "%s%s", prefix, it->name);
        if (!out[i].name)
            return j->ctx->status;
        j->r->parameters += weft_type_count(&out[i].type);
    }
    WEFT_TRY(weft_tensor_file_stream(j->ctx, path, out, source, n, meta, n_meta, &bytes));
    WEFT_TRY(note_written(j, path));
    j->r->bytes += bytes;
    j->r->tensors += n;
    j->r->files++;
    return WEFT_OK;
}

static bool is_same_file(weft_ctx *c, const char *a, const char *b)
{
    weft_file_id x, y;
    return !c->io->identify(c->io->user, a, &x) && !c->io->identify(c->io->user, b, &y) &&
           x.inode == y.inode && x.device == y.device;
}

/* What is replaced is an earlier import at most: never other data, never what is being read. */
static weft_status check_output(job *j, const char *out)
{
    weft_tensor_file *f;
    char shown[512];
    if (weft_exists(j->ctx, out) <= 0) /* what cannot be looked at cannot be written */
        return WEFT_OK;
    weft_printable(shown, sizeof shown, out);
    for (int i = 0; i < j->set.n; i++)
        if (is_same_file(j->ctx, out, j->set.file[i]->path))
            return weft_fail(j->ctx, WEFT_CANTCREATE,
                             "%s: is a file of what is imported; choose another", shown);
    weft_status s = weft_tensor_file_open(j->ctx, out, &f);
    weft_tensor_file_close(f);
    if (!s || s == WEFT_NOMEM)
        return s;
    weft_error_clear(j->ctx);
    return weft_fail(j->ctx, WEFT_CANTCREATE,
                     "%s: is there already, and no safetensors file; choose another", shown);
}

static weft_status import(job *j, const char *path, const char *out)
{
    weft_meta *meta;
    const char *guess;
    int n_meta;
    j->to = weft_file_dtype_of(WEFT_F32);
    WEFT_TRY(weft_tensor_set_open(&j->set, path, j->names.msg->weights));
    WEFT_TRY(check_output(j, out));
    weft_match_init(&j->match, j->arena, &j->names, false, "", path);
    WEFT_TRY(match_all(j));
    if (!j->match.n)
        return weft_fail(j->ctx, WEFT_MISMATCH, "%s: there is no tensor", path);
    WEFT_TRY(read_description(j, path));
    WEFT_TRY(bind_settings(j, true));
    WEFT_TRY(weft_names_assume(&j->match, &guess));
    WEFT_TRY(weft_names_bounds(&j->match));
    WEFT_TRY(drop_tied(j));
    if (guess)
        weft_string_printf(&j->notes, "%s\n", guess);
    note_unknown(j);
    WEFT_TRY(find_meta(j, &meta, &n_meta));
    return write_items(j, out, j->o->prefix ? j->o->prefix : "", 0, j->match.n, meta, n_meta);
}

/* ---- export ---- */
/* Parameters that a checkpoint's config.json or the metadata of an imported file remember. */
static weft_status recall_parameters(job *j, const char *path)
{
    const char *folder = folder_of(j, path), *file;
    weft_json *json;
    double v;
    WEFT_TRY(folder ? read_json(j, folder, "config.json", &file, &json) : WEFT_NOMEM);
    const weft_json *p = json ? weft_json_get(json, "parameters") : NULL;
    if (weft_json_is(p, WEFT_JSON_OBJECT))
        for (p = p->child; p; p = p->next)
            if (p->kind == WEFT_JSON_INT || p->kind == WEFT_JSON_REAL)
                WEFT_TRY(
                    bind_if_new(j, p->key, p->kind == WEFT_JSON_INT ? (double)p->i : p->f, file));
    for (int k = 0; k < j->set.n; k++)
        for (int i = 0; i < j->set.file[k]->n_meta; i++) {
            const weft_meta *m = &j->set.file[k]->meta[i];
            if (!strncmp(m->key, "param.", 6) && weft_parse_f64(m->value, &v))
                WEFT_TRY(bind_if_new(j, m->key + 6, v, path));
        }
    return WEFT_OK;
}

/* The prefix below which the model has the first tensor of the map: "" or "transformer.". */
static weft_status find_prefix(job *j, const char **prefix)
{
    *prefix = NULL;
    for (int k = 0; k < j->set.n; k++)
        for (int i = 0; i < j->set.file[k]->n; i++)
            WEFT_TRY(weft_names_prefix(j->arena, &j->names, j->set.file[k]->entry[i].name, prefix));
    *prefix = *prefix ? *prefix : "";
    return WEFT_OK;
}

/* First item of each shard, ended by the number of items. */
static weft_status cut(job *j, int **first, int *n)
{
    int *at = weft_arena_array(j->arena, (size_t)j->match.n + 1, sizeof *at);
    int64_t size = 0, limit = j->o->max_shard;
    *n = 0;
    for (int i = 0; at && i < j->match.n; i++) {
        weft_type t = written_type(&j->match.item[i]);
        int64_t bytes = weft_type_count(&t) * j->to->bits / 8;
        if (!i || (limit > 0 && size + bytes > limit)) {
            at[(*n)++] = i;
            size = 0;
        }
        size += bytes;
    }
    if (at)
        at[*n] = j->match.n;
    *first = at;
    return at ? WEFT_OK : j->ctx->status;
}

/* "model.safetensors" -> "model-00001-of-00003.safetensors" */
static const char *shard_name(job *j, int i, int n)
{
    const char *weights = j->names.msg->weights, *dot = strrchr(weights, '.');
    int stem = dot ? (int)(dot - weights) : (int)strlen(weights);
    return n == 1 ? weights
                  : weft_arena_printf(j->arena, "%.*s-%05d-of-%05d%s", stem, weights, i + 1, n,
                                      weights + stem);
}

static weft_status write_index(job *j, const char *folder, const char *prefix, const int *first,
                               int n)
{
    weft_string s;
    char *path = weft_arena_printf(j->arena, "%s/%s.index.json", folder, j->names.msg->weights);
    weft_string_init(&s, j->ctx);
    weft_string_printf(&s, "{\n  \"metadata\": {\"total_size\": %" PRId64 "},\n  \"weight_map\": {",
                       j->r->parameters * j->to->bits / 8);
    for (int i = 0; i < n; i++)
        for (int k = first[i]; k < first[i + 1]; k++) {
            const weft_match_item *it = &j->match.item[k];
            const char *name =
                weft_arena_printf(j->arena, "%s%s", it->rule->bare ? "" : prefix, it->name);
            const char *shard = shard_name(j, i, n);
            weft_string_printf(&s, k ? ",\n    " : "\n    ");
            weft_string_json(&s, name ? name : "");
            weft_string_printf(&s, ": ");
            weft_string_json(&s, shard ? shard : "");
        }
    weft_string_printf(&s, "\n  }\n}\n");
    weft_status st = s.failed || !path || j->ctx->status
                         ? j->ctx->status
                         : weft_write_file(j->ctx, path, s.s, s.len);
    if (!st)
        st = note_written(j, path);
    weft_string_free(&s);
    return st;
}

static weft_status write_keys(job *j, const char *folder, const char *name,
                              void (*put)(weft_string *, const weft_key_value *, int),
                              const weft_key_value *kv, int n)
{
    weft_string s;
    char *path = weft_arena_printf(j->arena, "%s/%s", folder, name);
    weft_string_init(&s, j->ctx);
    put(&s, kv, n);
    weft_status st = s.failed || !path ? j->ctx->status : weft_write_file(j->ctx, path, s.s, s.len);
    if (!st)
        st = note_written(j, path);
    weft_string_free(&s);
    return st;
}

/* Nothing that somebody has is replaced. */
static weft_status check_folder(job *j, const char *folder)
{
    const Weft__Names *n = j->names.msg;
    const char *name[] = {n->weights, weft_arena_printf(j->arena, "%s.index.json", n->weights),
                          n->config, n->settings};
    if (!weft_exists(j->ctx, folder))
        j->made = folder;
    WEFT_TRY(weft_make_dirs(j->ctx, folder));
    for (int i = 0; i < 4; i++) {
        if (!name[i])
            continue;
        char *path = weft_arena_printf(j->arena, "%s/%s", folder, name[i]);
        if (!path)
            return j->ctx->status;
        if (weft_exists(j->ctx, path))
            return weft_fail(j->ctx, WEFT_CANTCREATE, "%s: is there already; choose another folder",
                             path);
    }
    return WEFT_OK;
}

/* Without a file of its own the description goes into the metadata, where all values are text. */
static weft_status add_meta(job *j, const weft_key_value *kv, int n, weft_meta **meta, int *n_meta)
{
    *meta = weft_arena_array(j->arena, (size_t)n + 1, sizeof **meta);
    if (!*meta)
        return j->ctx->status;
    (*meta)[0] = (weft_meta){"format", "pt"};
    *n_meta = 1;
    for (int i = 0; i < n && !j->names.msg->config; i++) {
        size_t len = strlen(kv[i].value), quoted = kv[i].value[0] == '"';
        const char *text = weft_arena_strndup(j->arena, kv[i].value + quoted, len - 2 * quoted);
        if (!text)
            return j->ctx->status;
        (*meta)[(*n_meta)++] = (weft_meta){kv[i].key, text};
    }
    return WEFT_OK;
}

static weft_status write_folder(job *j, const char *folder, const weft_key_value *kv, int n_kv)
{
    const Weft__Names *msg = j->names.msg;
    const char *prefix = msg->n_prefix ? msg->prefix[0] : "";
    weft_meta *meta = NULL;
    weft_key_value *settings;
    int *first = NULL, n = 0, n_meta = 0, n_settings;
    WEFT_TRY(weft_names_write_settings(&j->match, &settings, &n_settings));
    WEFT_TRY(check_folder(j, folder));
    WEFT_TRY(add_meta(j, kv, n_kv, &meta, &n_meta));
    WEFT_TRY(cut(j, &first, &n));
    for (int i = 0; i < n; i++) {
        const char *name = shard_name(j, i, n);
        const char *path = name ? weft_arena_printf(j->arena, "%s/%s", folder, name) : NULL;
        WEFT_TRY(path
                     ? write_items(j, path, prefix, first[i], first[i + 1] - first[i], meta, n_meta)
                     : WEFT_NOMEM);
    }
    if (n > 1)
        WEFT_TRY(write_index(j, folder, prefix, first, n));
    if (msg->settings)
        WEFT_TRY(write_keys(j, folder, msg->settings, weft_settings_text, settings, n_settings));
    return msg->config ? write_keys(j, folder, msg->config, weft_names_json, kv, n_kv) : WEFT_OK;
}

static weft_status choose_dtype(job *j)
{
    static const char *const names[][3] = {
        {"f32", "F32", "float32"}, {"bf16", "BF16", "bfloat16"}, {"f16", "F16", "float16"}};
    const char *want = j->o->dtype ? j->o->dtype : "f32";
    for (int i = 0; i < 3; i++)
        if (!strcmp(want, names[i][0])) {
            j->to = weft_file_dtype_find(names[i][1]);
            j->match.dtype = names[i][2];
            return WEFT_OK;
        }
    return weft_fail(j->ctx, WEFT_USAGE, "dtype '%s': expected f32, bf16 or f16", want);
}

static weft_status export(job *j, const char *path, const char *folder)
{
    weft_key_value *kv;
    int n;
    WEFT_TRY(weft_weights_find(j->arena, path, &path));
    WEFT_TRY(weft_weights_check(j->arena, path));
    WEFT_TRY(weft_convert_check_model(j->arena, path));
    WEFT_TRY(weft_tensor_set_open(&j->set, path, "model.safetensors"));
    const char *prefix = j->o->prefix;
    if (!prefix)
        WEFT_TRY(find_prefix(j, &prefix));
    weft_match_init(&j->match, j->arena, &j->names, true, prefix, path);
    WEFT_TRY(choose_dtype(j));
    WEFT_TRY(match_all(j));
    WEFT_TRY(bind_settings(j, false));
    WEFT_TRY(recall_parameters(j, path));
    WEFT_TRY(weft_names_write(&j->match, j->o->field, j->o->n_field, &kv, &n));
    if (*prefix)
        weft_string_printf(&j->notes, "names in the model begin with %s\n", prefix);
    weft_status s = write_folder(j, folder, kv, n);
    if (s)
        undo_export(j);
    return s;
}

/* ---- both ---- */
static weft_status finish(job *j, weft_status s)
{
    if (!s)
        s = note_known(j);
    if (!s) {
        j->r->ignored = j->match.ignored;
        j->r->tied = j->match.tied;
        j->r->outside = j->match.outside;
        j->r->set = j->known.s;
        j->r->notes = j->notes.s;
    } else {
        weft_string_free(&j->known);
        weft_string_free(&j->notes);
    }
    if (j->match.ctx)
        weft_match_free(&j->match);
    weft_tensor_set_close(&j->set);
    weft_free(j->ctx, j->scratch);
    return s;
}

static weft_status convert(weft_ctx *c, const char *path, const char *out,
                           const weft_convert_options *o, weft_convert_result *r, bool to_us)
{
    job j = {.ctx = c, .arena = weft_arena_new(c, 0), .o = o, .r = r};
    *r = (weft_convert_result){0};
    if (!j.arena)
        return c->status;
    weft_string_init(&j.known, c);
    weft_string_init(&j.notes, c);
    j.set.arena = j.arena;
    j.scratch = weft_realloc(c, NULL, WEFT_CONVERT_BYTES); /* not zeroed */
    weft_status s = j.scratch ? weft_names_load(j.arena, o->names, &j.names) : c->status;
    if (!s)
        s = to_us ? import(&j, path, out) : export(&j, path, out);
    s = finish(&j, s);
    weft_arena_free(j.arena);
    if (s)
        weft_convert_result_free(c, r);
    return s;
}

weft_status weft_weights_import(weft_ctx *c, const char *path, const char *out,
                                const weft_convert_options *o, weft_convert_result *r)
{
    return convert(c, path, out, o, r, true);
}

weft_status weft_weights_export(weft_ctx *c, const char *path, const char *folder,
                                const weft_convert_options *o, weft_convert_result *r)
{
    return convert(c, path, folder, o, r, false);
}

void weft_convert_result_free(weft_ctx *c, weft_convert_result *r)
{
    weft_text_free(c, r->set);
    weft_text_free(c, r->notes);
    r->set = r->notes = NULL;
}

/* "hf-gpt2  Hugging Face GPT-2: models/gpt2.txtpb" */
static weft_status list_names(weft_ctx *c, weft_string *s)
{
    for (const weft_names_file *f = weft_names_shipped; f->name; f++) {
        weft_names names;
        weft_arena *a = weft_arena_new(c, 0);
        weft_status st = a ? weft_names_load(a, f->name, &names) : c->status;
        if (!st)
            weft_string_printf(s, "%-12s %s\n", f->name, names.msg->doc ? names.msg->doc : "");
        weft_arena_free(a);
        WEFT_TRY(st);
    }
    return WEFT_OK;
}

weft_status weft_names_scope(weft_ctx *c, const char *name, char **out)
{
    weft_string s;
    weft_names names;
    *out = NULL;
    weft_string_init(&s, c);
    weft_arena *a = weft_arena_new(c, 0);
    weft_status st = a ? weft_names_load(a, name, &names) : c->status;
    if (!st)
        weft_string_printf(&s, "%s", names.msg->scope ? names.msg->scope : "");
    weft_arena_free(a);
    if (!st)
        return weft_string_take(&s, out);
    weft_string_free(&s);
    return st;
}

weft_status weft_names_text(weft_ctx *c, const char *name, char **out)
{
    weft_string s;
    weft_names names;
    *out = NULL;
    weft_string_init(&s, c);
    weft_status st = WEFT_OK;
    const weft_names_file *f = weft_names_shipped;
    while (name && f->name && strcmp(f->name, name))
        f++;
    if (!name)
        st = list_names(c, &s);
    else if (f->name)
        weft_string_add(&s, f->text, f->n);
    else {
        weft_arena *a = weft_arena_new(c, 0);
        st = a ? weft_names_load(a, name, &names) : c->status; /* says what there is */
        weft_arena_free(a);
    }
    if (!st)
        return weft_string_take(&s, out);
    weft_string_free(&s);
    return st;
}
