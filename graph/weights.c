/* weights.c - the weights behind a path that a user gives, whatever it is: run, checkpoint, folder,
 * file. */
#include "graph/checkpoint.h"
#include "graph/manifest.h"

static weft_status look_inside(weft_arena *a, const char *path, const char *name, int *kind)
{
    weft_ctx *c = weft_arena_ctx(a);
    char *inner = weft_arena_printf(a, "%s/%s", path, name);
    return inner ? weft_look(c, inner, kind) : c->status;
}

weft_status weft_weights_find(weft_arena *a, const char *path, const char **folder)
{
    weft_ctx *c = weft_arena_ctx(a);
    char shown[512];
    int kind;
    WEFT_TRY(weft_look(c, path, &kind));
    *folder = weft_arena_strdup(a, path);
    if (!*folder || kind == 1)
        return c->status;
    weft_printable(shown, sizeof shown, path);
    if (!kind)
        return weft_fail(c, WEFT_MISSING, "%s: no such file or folder", shown);
    WEFT_TRY(look_inside(a, path, "checkpoints", &kind));
    if (kind) {
        char *inner = weft_arena_printf(a, "%s/checkpoints", path);
        return inner ? weft_checkpoint_scan(a, inner, NULL, folder, NULL) : c->status;
    }
    WEFT_TRY(look_inside(a, path, "model.safetensors", &kind));
    if (!kind)
        WEFT_TRY(look_inside(a, path, "model.safetensors.index.json", &kind));
    return kind ? WEFT_OK
                : weft_fail(c, WEFT_MISSING,
                            "%s: expected a run directory with checkpoints/, or a folder with "
                            "model.safetensors; what another program calls otherwise is read by "
                            "weft import",
                            shown);
}

/* A checkpoint named by its own folder is as little trusted as one that was looked for. */
weft_status weft_weights_check(weft_arena *a, const char *folder)
{
    weft_ctx *c = weft_arena_ctx(a);
    weft_manifest m;
    char *manifest = weft_arena_printf(a, "%s/manifest.json", folder);
    int kind;
    if (!manifest)
        return c->status;
    WEFT_TRY(weft_look(c, manifest, &kind));
    if (kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_manifest_read(a, folder, &m));
    return weft_manifest_check(c, folder, &m, !c->look_only);
}

weft_status weft_weights_load(weft_session *s, const char *path, const char *scope)
{
    weft_tensor_set fs = {.arena = weft_arena_new(s->ctx, 0)};
    if (!fs.arena)
        return s->ctx->status;
    weft_status st = weft_weights_find(fs.arena, path, &path);
    if (!st)
        st = weft_weights_check(fs.arena, path);
    if (!st)
        st = weft_tensor_set_open(&fs, path, "model.safetensors");
    if (!st)
        st = weft_states_load(s, fs.file, fs.n, NULL, path, scope, true, true);
    weft_tensor_set_close(&fs);
    weft_arena_free(fs.arena);
    return st;
}
