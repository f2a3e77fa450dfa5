/* shards.c - the safetensors files behind one path: a file, a folder with one, or the shards that
 * an index lists. */
#include <string.h>

#include "graph/json.h"
#include "graph/safetensors.h"

static weft_status add_file(weft_tensor_set *fs, const char *name, const char *path)
{
    weft_ctx *c = weft_arena_ctx(fs->arena);
    for (int i = 0; i < fs->n; i++)
        if (!strcmp(fs->name[i], name))
            return WEFT_OK;
    if (!WEFT_GROW(fs->arena, fs->file, fs->n, fs->cap) ||
        !WEFT_GROW(fs->arena, fs->name, fs->n, fs->cap_name))
        return c->status;
    fs->name[fs->n] = weft_arena_strdup(fs->arena, name);
    if (!fs->name[fs->n])
        return c->status;
    WEFT_TRY(weft_tensor_file_open(c, path, &fs->file[fs->n]));
    fs->n++;
    return WEFT_OK;
}

static const weft_tensor_file *shard_named(const weft_tensor_set *fs, const char *name)
{
    for (int i = 0; i < fs->n; i++)
        if (!strcmp(fs->name[i], name))
            return fs->file[i];
    return NULL;
}

/* One "tensor": "shard" pair of weight_map. */
static weft_status add_shard(weft_tensor_set *fs, const char *index, const weft_json *v)
{
    weft_ctx *c = weft_arena_ctx(fs->arena);
    char file[512], name[256], shown[256];
    weft_printable(file, sizeof file, index);
    weft_printable(name, sizeof name, v->key);
    const char *shard = weft_json_is(v, WEFT_JSON_STRING) ? v->text : NULL;
    if (!shard)
        return weft_fail(c, WEFT_MALFORMED, "%s: weight_map: '%s' is %s, expected a file name",
                         file, name, weft_json_name(v));
    if (strchr(shard, '/') || strchr(shard, '\\') || shard[0] == '.' || !*shard)
        return weft_fail(c, WEFT_MALFORMED,
                         "%s: weight_map: '%s' is in '%s', expected a file of the same folder",
                         file, name, weft_printable(shown, sizeof shown, shard));
    char *dir = weft_parent_dir(fs->arena, index);
    char *path = dir ? weft_arena_printf(fs->arena, "%s/%s", dir, shard) : NULL;
    if (!path)
        return c->status;
    WEFT_TRY(add_file(fs, shard, path));
    if (!weft_tensor_file_find(shard_named(fs, shard), v->key))
        return weft_fail(c, WEFT_MALFORMED, "%s: weight_map: '%s' is not in %s", file, name,
                         weft_printable(shown, sizeof shown, shard));
    return WEFT_OK;
}

/* Shards and index say the same: a tensor that the index does not list, or lists elsewhere, is
 * nobody's.
 */
static weft_status check_listed(const weft_tensor_set *fs, const char *index, const weft_json *map)
{
    weft_ctx *c = weft_arena_ctx(fs->arena);
    weft_map *listed = weft_map_new(fs->arena);
    char file[512], name[256];
    for (const weft_json *v = map->child; listed && v; v = v->next)
        for (int k = 0; k < fs->n; k++)
            if (!strcmp(fs->name[k], v->text) && !weft_map_set(listed, v->key, k))
                return c->status;
    for (int k = 0; listed && k < fs->n; k++)
        for (int i = 0; i < fs->file[k]->n; i++) {
            const weft_tensor_entry *e = weft_tensor_file_at(fs->file[k], i);
            if (weft_map_get(listed, e->name, -1) != k)
                return weft_fail(c, WEFT_MALFORMED, "%s: weight_map: '%s' of %s is not in it",
                                 weft_printable(file, sizeof file, index),
                                 weft_printable(name, sizeof name, e->name), fs->name[k]);
        }
    return c->status;
}

#define INDEX_LIMIT ((size_t)64 << 20)

static weft_status open_index(weft_tensor_set *fs, const char *path)
{
    char *text, file[512];
    size_t n;
    weft_json *root;
    WEFT_TRY(weft_read_file(fs->arena, path, INDEX_LIMIT, &text, &n));
    WEFT_TRY(weft_json_parse_file(fs->arena, path, text, n, &root));
    const weft_json *map = weft_json_get(root, "weight_map");
    if (!map)
        return weft_fail(weft_arena_ctx(fs->arena), WEFT_MALFORMED,
                         "%s: this JSON has no weight_map, so it is no index of safetensors files; "
                         "weights are read from those, a run, a checkpoint or a .safetensors file",
                         weft_printable(file, sizeof file, path));
    if (!weft_json_is(map, WEFT_JSON_OBJECT))
        return weft_fail(weft_arena_ctx(fs->arena), WEFT_MALFORMED,
                         "%s: weight_map is %s, expected an object",
                         weft_printable(file, sizeof file, path), weft_json_name(map));
    for (const weft_json *v = map->child; v; v = v->next)
        WEFT_TRY(add_shard(fs, path, v));
    return check_listed(fs, path, map);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

weft_status weft_tensor_set_open(weft_tensor_set *fs, const char *path, const char *weights)
{
    weft_ctx *c = weft_arena_ctx(fs->arena);
    int kind, has_one, has_index, has_torch;
    WEFT_TRY(weft_look(c, path, &kind));
    if (kind != 2)
        return ends_with(path, ".json") ? open_index(fs, path) : add_file(fs, path, path);
    char *one = weft_arena_printf(fs->arena, "%s/%s", path, weights);
    char *index = weft_arena_printf(fs->arena, "%s/%s.index.json", path, weights);
    char *torch = weft_arena_printf(fs->arena, "%s/pytorch_model.bin", path);
    if (!one || !index || !torch)
        return c->status;
    WEFT_TRY(weft_look(c, one, &has_one));
    WEFT_TRY(weft_look(c, index, &has_index));
    WEFT_TRY(weft_look(c, torch, &has_torch));
    if (!has_one && has_index)
        return open_index(fs, index);
    /* opened only to say what it is */
    if (!has_one && has_torch == 1)
        return add_file(fs, torch, torch);
    return add_file(fs, one, one);
}

void weft_tensor_set_close(weft_tensor_set *fs)
{
    for (int i = 0; i < fs->n; i++)
        weft_tensor_file_close(fs->file[i]);
    fs->n = 0;
}
