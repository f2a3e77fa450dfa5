/* convert_export.c - weights of ours into a folder that other programs read. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/checkpoint.h"
#include "graph/convert.h"
#include "graph/told.h"

/* ---- what the model is ---- */
/* In the folder of the weights, or in that of the run whose checkpoint they are. */
static weft_status find_tokenizer(weft_conversion *j, const char *path, int64_t *bos, int64_t *eos)
{
    const char *folder = weft_convert_folder(j, path), *found = NULL;
    WEFT_TRY(folder ? weft_tokenizer_of(j->arena, folder, &found) : WEFT_NOMEM);
    return weft_tokenizer_ids(j->ctx, found, bos, eos);
}

/* What a checkpoint's config.json, the metadata of an imported file or another description
 * remember, of what the map does not tell otherwise. Ids of tokens are those of the run's tokenizer
 * first. */
static weft_status recall(weft_conversion *j, const char *path)
{
    weft_told told;
    int64_t bos, eos;
    WEFT_TRY(weft_told_read(j->arena, path, 0, &told));
    WEFT_TRY(find_tokenizer(j, path, &bos, &eos));
    const bool tokenizer = eos >= 0 && (told.own || told.eos < 0);
    j->match.bos = tokenizer ? bos : told.bos;
    j->match.eos = tokenizer ? eos : told.eos;
    j->match.eos_list = tokenizer ? NULL : told.eos_list;
    for (int i = 0; i < told.params.n; i++)
        WEFT_TRY(weft_convert_bind_new(j, told.params.p[i].name, told.params.p[i].value,
                                       told.params.p[i].origin));
    return WEFT_OK;
}

/* "transformer." stands before the names of a whole model, "teacher." before those of a part. */
static bool is_part(const weft_conversion *j, const char *prefix)
{
    const Weft__Names *n = j->names.msg;
    for (size_t i = 0; i < n->n_prefix; i++)
        if (!strcmp(prefix, n->prefix[i]))
            return false;
    return *prefix != 0;
}

/* The entry module's parameters are not those of a part below a prefix: of these --set has the
 * last word. */
static weft_status find_parameters(weft_conversion *j, const char *path, bool part)
{
    if (part)
        WEFT_TRY(weft_convert_bind(j, false));
    WEFT_TRY(recall(j, path));
    return part ? WEFT_OK : weft_convert_bind(j, false);
}

/* The prefix below which the model has the first tensor of the map: "" or "transformer.". */
static weft_status find_prefix(weft_conversion *j, const char **prefix)
{
    *prefix = NULL;
    for (int k = 0; k < j->set.n; k++)
        for (int i = 0; i < j->set.file[k]->n; i++)
            WEFT_TRY(weft_names_prefix(j->arena, &j->names, j->set.file[k]->entry[i].name, prefix));
    *prefix = *prefix ? *prefix : "";
    return WEFT_OK;
}

static weft_status choose_dtype(weft_conversion *j)
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

/* ---- shards ---- */
/* First item of each shard, ended by the number of items. */
static weft_status cut(weft_conversion *j, int **first, int *n)
{
    int *at = weft_arena_array(j->arena, (size_t)j->match.n + 1, sizeof *at);
    int64_t size = 0, limit = j->o->max_shard;
    *n = 0;
    for (int i = 0; at && i < j->match.n; i++) {
        weft_type t = weft_convert_type(&j->match.item[i]);
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
static const char *shard_name(weft_conversion *j, int i, int n)
{
    const char *weights = j->names.msg->weights, *dot = strrchr(weights, '.');
    int stem = dot ? (int)(dot - weights) : (int)strlen(weights);
    return n == 1 ? weights
                  : weft_arena_printf(j->arena, "%.*s-%05d-of-%05d%s", stem, weights, i + 1, n,
                                      weights + stem);
}

static weft_status write_index(weft_conversion *j, const char *folder, const char *prefix,
                               const int *first, int n)
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
    weft_status st =
        s.failed || !path || j->ctx->status ? j->ctx->status : weft_convert_wrote(j, path);
    if (!st)
        st = weft_write_file(j->ctx, path, s.s, s.len);
    weft_string_free(&s);
    return st;
}

/* ---- the folder ---- */
static weft_status write_keys(weft_conversion *j, const char *folder, const char *name,
                              void (*put)(weft_string *, const weft_key_value *, int),
                              const weft_key_value *kv, int n)
{
    weft_string s;
    char *path = weft_arena_printf(j->arena, "%s/%s", folder, name);
    weft_string_init(&s, j->ctx);
    put(&s, kv, n);
    weft_status st = s.failed || !path ? j->ctx->status : weft_convert_wrote(j, path);
    if (!st)
        st = weft_write_file(j->ctx, path, s.s, s.len);
    weft_string_free(&s);
    return st;
}

/* Nothing that somebody has is replaced. */
static weft_status check_folder(weft_conversion *j, const char *folder)
{
    const Weft__Names *n = j->names.msg;
    const char *name[] = {n->weights, weft_arena_printf(j->arena, "%s.index.json", n->weights),
                          n->config, n->settings};
    int kind;
    WEFT_TRY(weft_look_out(j->ctx, folder, &kind));
    if (!kind)
        j->made = folder;
    WEFT_TRY(weft_make_dirs(j->ctx, folder));
    for (int i = 0; i < 4; i++) {
        if (!name[i])
            continue;
        char *path = weft_arena_printf(j->arena, "%s/%s", folder, name[i]);
        if (!path)
            return j->ctx->status;
        WEFT_TRY(weft_look_out(j->ctx, path, &kind));
        if (kind)
            return weft_fail(j->ctx, WEFT_CANTCREATE, "%s: is there already; choose another folder",
                             path);
    }
    return WEFT_OK;
}

/* A part of a model is worse than none: what a failed export wrote is gone with it. */
static void undo_export(weft_conversion *j)
{
    const weft_io *io = j->ctx->io;
    for (int i = 0; i < j->n_written; i++)
        io->unlink(io->user, j->written[i]);
    if (j->made)
        io->rmdir(io->user, j->made);
}

/* Without a file of its own the description goes into the metadata, where all values are text. */
static weft_status add_meta(weft_conversion *j, const weft_key_value *kv, int n, weft_meta **meta,
                            int *n_meta)
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

static weft_status write_folder(weft_conversion *j, const char *folder, const weft_key_value *kv,
                                int n_kv)
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
        WEFT_TRY(path ? weft_convert_write(j, path, prefix, first[i], first[i + 1] - first[i], meta,
                                           n_meta)
                      : WEFT_NOMEM);
    }
    if (n > 1)
        WEFT_TRY(write_index(j, folder, prefix, first, n));
    if (msg->settings)
        WEFT_TRY(write_keys(j, folder, msg->settings, weft_settings_text, settings, n_settings));
    return msg->config ? write_keys(j, folder, msg->config, weft_names_json, kv, n_kv) : WEFT_OK;
}

static weft_status export(weft_conversion *j, const char *path, const char *folder)
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
    WEFT_TRY(weft_convert_match(j));
    WEFT_TRY(find_parameters(j, path, is_part(j, prefix)));
    WEFT_TRY(weft_names_write(&j->match, j->o->field, j->o->n_field, &kv, &n));
    if (*prefix)
        weft_string_printf(&j->notes, "names in the model begin with %s\n", prefix);
    weft_status s = write_folder(j, folder, kv, n);
    if (s)
        undo_export(j);
    return s;
}

weft_status weft_weights_export(weft_ctx *c, const char *path, const char *folder,
                                const weft_convert_options *o, weft_convert_result *r)
{
    weft_conversion j;
    weft_status s = weft_convert_begin(&j, c, o, r);
    if (!s)
        s = export(&j, path, folder);
    return weft_convert_end(&j, s);
}
