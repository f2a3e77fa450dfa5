/* compare_train.c - the runs of a comparison that are missing: a recipe once per seed, each in a
 * folder of its own, going on where it was stopped. */
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "tools/compare.h"
#include "tools/training.h"

enum { MAX_SETTINGS = 300 };

typedef struct {
    const char *name, *recipe; /* name: NULL, the recipe's own */
    const char *set[MAX_SETTINGS];
    int n_set;
} arm_word;

/* "NAME=RECIPE,d=64": a name before '=' unless a '/' comes first, then the file, then settings. */
static weft_status split_word(comparison *k, const compare_training *o, const char *word,
                              arm_word *out)
{
    char *text = weft_arena_strdup(k->arena, word), *save = NULL;
    if (!text)
        return WEFT_NOMEM;
    char *part = strtok_r(text, ",", &save), *equal = part ? strchr(part, '=') : NULL;
    *out = (arm_word){.recipe = part ? part : ""};
    if (equal && !memchr(part, '/', (size_t)(equal - part))) {
        *equal = 0;
        out->name = part;
        out->recipe = equal + 1;
    }
    for (int i = 0; i < o->set->n; i++)
        out->set[out->n_set++] = o->set->item[i];
    while ((part = strtok_r(NULL, ",", &save)) && out->n_set < MAX_SETTINGS - 1)
        out->set[out->n_set++] = part;
    return WEFT_OK;
}

static weft_status refuse(comparison *k, const char *dir, const cmp_difference *d)
{
    char now[512];
    if (d->own)
        snprintf(now, sizeof now, "now it is %s=%s", d->name, d->own);
    else
        snprintf(now, sizeof now, "now there is none");
    return weft_fail(k->ctx, WEFT_MISMATCH,
                     "%s was trained with%s %s%s%s, %s: choose another --out, or remove that run",
                     dir, d->other ? "" : "out", d->name, d->other ? "=" : "",
                     d->other ? d->other : "", now);
}

static weft_status compare_with(comparison *k, weft_recipe *r, const char *dir, const char *path)
{
    cmp_setup now = {0}, then = {0};
    cmp_differences d = {0};
    weft_recipe *old = NULL;
    bool same = true;
    weft_status s = compare_setup_read(k, r, NULL, &now);
    if (!s)
        s = weft_recipe_load(k->ctx, path, NULL, 0, &old);
    if (!s)
        s = compare_setup_read(k, old, path, &then);
    if (!s)
        s = compare_settings(k, &now, &then, "name", &d);
    if (!s && d.n)
        s = refuse(k, dir, &d.item[0]);
    if (!s)
        s = compare_models(k, &then, &now, &same);
    if (!s && !same)
        s = weft_fail(k->ctx, WEFT_MISMATCH,
                      "%s was trained with another model, see its model.txtpb: choose another "
                      "--out, or remove that run",
                      dir);
    compare_setup_free(&now);
    compare_setup_free(&then);
    weft_recipe_free(old);
    return s;
}

/* Training goes on from a checkpoint whatever schedule led there; a comparison wants the run that
 * the recipe describes, so anything that shapes it must be as it was. */
static weft_status check_same(comparison *k, weft_recipe *r, const char *dir)
{
    const char *path = weft_arena_printf(k->arena, "%s/recipe.txtpb", dir);
    if (!path || weft_exists(k->ctx, path) != 1)
        return weft_error_status(k->ctx);
    return compare_with(k, r, dir, path);
}

/* Two recipes of one name would share their folders. */
static weft_status check_name(comparison *k, int n_arm, const char *name)
{
    for (int i = 0; i < n_arm; i++)
        if (!strcmp(k->arm[i].name, name))
            return weft_fail(k->ctx, WEFT_USAGE, "two arms are called '%s'; name one: NAME=RECIPE",
                             name);
    return WEFT_OK;
}

static weft_status train_one(comparison *k, const compare_training *o, const arm_word *w,
                             int before, const char *seed, const char **name, const char **dir)
{
    weft_recipe *r = NULL;
    cli_progress p;
    weft_train_options t = {.resume = WEFT_RESUME_AUTO};
    cli_progress_init(&p, PROGRESS_AUTO, o->quiet);
    const char *setting = weft_arena_printf(k->arena, "train.seed=%s", seed);
    WEFT_TRY(setting ? weft_recipe_load(k->ctx, w->recipe, w->set, w->n_set, &r) : WEFT_NOMEM);
    weft_status s = weft_recipe_set(r, setting);
    *name = w->name ? w->name : weft_arena_strdup(k->arena, weft_recipe_name(r));
    *dir = t.dir = *name ? weft_arena_printf(k->arena, "%s/%s-%s", o->out, *name, seed) : NULL;
    if (!s)
        s = *dir ? check_name(k, before, *name) : WEFT_NOMEM;
    if (!s)
        s = check_same(k, r, *dir);
    if (!s)
        s = cli_train(k->ctx, r, &t, &p);
    weft_recipe_free(r);
    if (s && *dir && weft_error_status(k->ctx))
        weft_note(k->ctx, "training %s", *dir);
    return s;
}

weft_status compare_train(comparison *k, const compare_training *o, const char *word)
{
    arm_word w;
    const char *name = NULL, *dir = NULL;
    int before = k->n_arm;
    char *seeds = weft_arena_strdup(k->arena, o->seeds), *save = NULL;
    WEFT_TRY(seeds ? split_word(k, o, word, &w) : WEFT_NOMEM);
    for (char *seed = strtok_r(seeds, ",", &save); seed; seed = strtok_r(NULL, ",", &save)) {
        WEFT_TRY(train_one(k, o, &w, before, seed, &name, &dir));
        WEFT_TRY(compare_add(k, name, dir));
    }
    return WEFT_OK;
}
