/* runcheck.c - are the recipe and the model file of a run directory those that its newest
 * checkpoint was saved with? */
#include <string.h>

#include "graph/hash.h"
#include "graph/manifest.h"
#include "graph/recipe.h"

typedef struct {
    weft_arena *arena;
    const char *dir, *checkpoint; /* NULL: there is none */
    int64_t step;
    weft_manifest m;
    const weft_manifest_file *recipe; /* of the manifest; NULL: it has none */
} run_state;

static weft_status find_newest(run_state *r)
{
    const char **names, *newest = NULL;
    const char *folder = weft_arena_printf(r->arena, "%s/checkpoints", r->dir);
    int kind, n;
    WEFT_TRY(folder ? weft_look(weft_arena_ctx(r->arena), folder, &kind) : WEFT_NOMEM);
    if (kind != 2)
        return WEFT_OK;
    WEFT_TRY(weft_list_dir(r->arena, folder, &names, &n));
    for (int i = 0; i < n; i++)
        if (weft_checkpoint_step(names[i]) >= (newest ? r->step : 0)) {
            newest = names[i];
            r->step = weft_checkpoint_step(newest);
        }
    if (newest)
        r->checkpoint = weft_arena_printf(r->arena, "%s/%s", folder, newest);
    return weft_error_status(weft_arena_ctx(r->arena));
}

static weft_status open_state(weft_arena *a, const char *dir, run_state *r)
{
    *r = (run_state){.arena = a, .dir = dir};
    WEFT_TRY(find_newest(r));
    if (!r->checkpoint)
        return WEFT_OK;
    WEFT_TRY(weft_manifest_read(a, r->checkpoint, &r->m));
    for (int i = 0; i < r->m.n_file; i++)
        if (!strcmp(r->m.file[i].name, WEFT_RUN_RECIPE))
            r->recipe = &r->m.file[i];
    return WEFT_OK;
}

static weft_status is_recorded(const run_state *r, const char *path, bool *same)
{
    int64_t bytes;
    uint64_t hash;
    WEFT_TRY(path ? weft_file_hash(weft_arena_ctx(r->arena), path, &bytes, &hash) : WEFT_NOMEM);
    *same = bytes == r->recipe->bytes && hash == r->recipe->hash;
    return WEFT_OK;
}

static weft_status same_recipe(run_state *r, bool *same)
{
    return r->recipe ? is_recorded(r, weft_arena_printf(r->arena, "%s/recipe.txtpb", r->dir), same)
                     : WEFT_OK;
}

static weft_status load_recipe(run_state *r, weft_recipe **out)
{
    weft_ctx *c = weft_arena_ctx(r->arena);
    bool same;
    *out = NULL;
    if (!r->recipe)
        return WEFT_OK;
    const char *own = weft_arena_printf(r->arena, "%s/recipe.txtpb", r->dir);
    const char *kept = weft_arena_printf(r->arena, "%s/%s", r->checkpoint, WEFT_RUN_RECIPE);
    WEFT_TRY(own ? is_recorded(r, kept, &same) : WEFT_NOMEM);
    return same ? weft_recipe_load_as(c, kept, own, out)
                : weft_fail(c, WEFT_CORRUPT, "%s: damaged: its hash is not that of the manifest",
                            kept);
}

static weft_status hash_model(weft_recipe *recipe, uint64_t *hash)
{
    weft_model *m = NULL;
    weft_graph *g = NULL;
    weft_status s = weft_recipe_model(recipe, 0, 0, &m);
    if (!s)
        s = weft_graph_expand(m, &g);
    if (!s)
        *hash = weft_graph_hash(g);
    weft_graph_free(g);
    weft_model_free(m);
    return s;
}

/* Whoever opens the model says what is to be said of it: nothing is logged here. */
static weft_status same_model(run_state *r, bool *same)
{
    weft_ctx *c = weft_arena_ctx(r->arena);
    void (*log)(void *, const char *) = c->log;
    weft_recipe *recipe = NULL;
    uint64_t hash = r->m.progress.graph_hash;
    c->log = NULL;
    weft_status s = load_recipe(r, &recipe);
    if (recipe)
        s = hash_model(recipe, &hash);
    c->log = log;
    weft_recipe_free(recipe);
    *same = s || hash == r->m.progress.graph_hash;
    return s;
}

static weft_status check(weft_ctx *c, const char *dir, weft_status (*what)(run_state *, bool *),
                         bool *same, int64_t *step)
{
    *same = true;
    *step = 0;
    run_state r = {0};
    weft_arena *a = weft_arena_new(c, 0);
    weft_status s = a ? open_state(a, dir, &r) : weft_error_status(c);
    if (!s)
        s = what(&r, same);
    *step = r.step;
    weft_arena_free(a);
    return s;
}

weft_status weft_run_check_recipe(weft_ctx *c, const char *dir, bool *same, int64_t *step)
{
    return check(c, dir, same_recipe, same, step);
}

weft_status weft_run_check_model(weft_ctx *c, const char *dir, bool *same, int64_t *step)
{
    return check(c, dir, same_model, same, step);
}

weft_status weft_run_recipe(weft_ctx *c, const char *dir, weft_recipe **out)
{
    *out = NULL;
    run_state r;
    weft_arena *a = weft_arena_new(c, 0);
    weft_status s = a ? open_state(a, dir, &r) : weft_error_status(c);
    if (!s)
        s = load_recipe(&r, out);
    weft_arena_free(a);
    return s;
}

weft_status weft_run_warn(weft_ctx *c, const char *dir)
{
    static weft_status (*const what[])(run_state *, bool *) = {same_recipe, same_model};
    static const char *const name[] = {"recipe.txtpb", "model.txtpb"};
    for (int i = 0; i < 2; i++) {
        bool same;
        int64_t step;
        weft_status s = check(c, dir, what[i], &same, &step);
        if (s == WEFT_NOMEM || s == WEFT_IO)
            return s;
        weft_error_clear(c);
        if (!s && !same)
            weft_log(c,
                     "warning: %s/%s has been changed since the checkpoint of step %lld was saved",
                     dir, name[i], (long long)step);
    }
    return WEFT_OK;
}
