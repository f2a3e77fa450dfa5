/* compare_train.c - the runs of a comparison that are missing: a recipe once per seed, each in a
 * folder of its own, going on where it was stopped. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/io.h"
#include "tools/compare.h"
#include "tools/signals.h"
#include "tools/tokens.h"
#include "tools/training.h"

enum { MAX_SETTINGS = 300 };

typedef struct {
    const char *name, *recipe; /* name: NULL, the recipe's own */
    const char *set[MAX_SETTINGS];
    int n_set;
} arm_word;

/* A run that there shall be. */
struct cmp_planned {
    const arm_word *word;
    const char *seed, *name, *dir;
};

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
        s = compare_read_changes(k, dir, &then);
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
    int kind;
    if (!path)
        return weft_error_status(k->ctx);
    WEFT_TRY(weft_look(k->ctx, path, &kind));
    return kind == 1 ? compare_with(k, r, dir, path) : WEFT_OK;
}

/* ---- before the first step of any run ---- */
/* Two recipes of one name would share their folders. */
static weft_status check_name(comparison *k, const compare_plan *plan, const cmp_planned *p)
{
    for (int i = 0; i < plan->n; i++) {
        const cmp_planned *other = &plan->run[i];
        if (other == p)
            break;
        if (other->word != p->word && !strcmp(other->name, p->name))
            return weft_fail(k->ctx, WEFT_USAGE, "two arms are called '%s'; name one: NAME=RECIPE",
                             p->name);
        if (other->word == p->word && !strcmp(other->seed, p->seed))
            return weft_fail(k->ctx, WEFT_USAGE, "--seeds: %s is given twice", p->seed);
    }
    return WEFT_OK;
}

/* Training that is told to stop before its first step: everything is opened, compiled and compared
 * that it needs. In a folder of its own, which goes again, so that a run that did not begin leaves
 * nothing. What it has to say about the recipe is said when it is trained. */
static weft_status try_start(comparison *k, weft_recipe *r, const char *out)
{
    weft_ctx *c = k->ctx;
    void (*log)(void *, const char *) = c->log;
    const int stop = SIGTERM;
    cli_tokens tokens = {.ctx = c};
    int there;
    const char *dir = weft_arena_printf(k->arena, "%s/.check-%ld", out, (long)getpid());
    weft_train_options t = {.dir = dir, .stop = &stop};
    if (!dir)
        return WEFT_NOMEM;
    WEFT_TRY(weft_look_out(c, out, &there));
    c->log = NULL;
    weft_status s = cli_tokens_open(c, weft_recipe_file(r, WEFT_RECIPE_TOKENIZER), &tokens);
    t.vocab = tokens.n;
    if (!s)
        s = weft_train(r, &t);
    cli_tokens_close(&tokens);
    weft_status removed = weft_remove_tree(c, dir);
    if (!there)
        c->io->rmdir(c->io->user, out);
    c->log = log;
    return s && !weft_is_stopped(s) ? s : removed;
}

/* The recipe of a planned run; the name and the folder of the run, if it has none yet. */
static weft_status load(comparison *k, const compare_training *o, cmp_planned *p, weft_recipe **out)
{
    const arm_word *w = p->word;
    const char *setting = weft_arena_printf(k->arena, "train.seed=%s", p->seed);
    WEFT_TRY(setting ? weft_recipe_load(k->ctx, w->recipe, w->set, w->n_set, out) : WEFT_NOMEM);
    WEFT_TRY(weft_recipe_set(*out, setting));
    p->name = w->name ? w->name : weft_arena_strdup(k->arena, weft_recipe_name(*out));
    p->dir = p->name ? weft_arena_printf(k->arena, "%s/%s-%s", o->out, p->name, p->seed) : NULL;
    return weft_error_status(k->ctx);
}

/* Other seeds differ only in the start values of a frozen extractor that no file gives: they count
 * where labels of it are read. */
static bool must_try(const compare_plan *plan, const cmp_planned *p, const weft_recipe *r)
{
    return p == plan->run || p[-1].word != p->word || weft_recipe_file(r, WEFT_RECIPE_LABELS) ||
           weft_recipe_file(r, WEFT_RECIPE_VAL_LABELS);
}

static weft_status check_run(comparison *k, const compare_training *o, const compare_plan *plan,
                             cmp_planned *p)
{
    weft_recipe *r = NULL;
    weft_status s = load(k, o, p, &r);
    if (!s)
        s = check_name(k, plan, p);
    if (!s)
        s = check_same(k, r, p->dir);
    if (!s && must_try(plan, p, r))
        s = try_start(k, r, o->out);
    weft_recipe_free(r);
    if (s && p->dir)
        weft_note(k->ctx, "to train %s", p->dir);
    return s;
}

static weft_status plan_word(comparison *k, const compare_training *o, const char *word,
                             compare_plan *plan)
{
    arm_word *w = weft_arena_alloc(k->arena, sizeof *w);
    char *seeds = weft_arena_strdup(k->arena, o->seeds), *save = NULL;
    WEFT_TRY(w && seeds ? split_word(k, o, word, w) : WEFT_NOMEM);
    for (char *seed = strtok_r(seeds, ",", &save); seed; seed = strtok_r(NULL, ",", &save)) {
        if (!WEFT_GROW(k->arena, plan->run, plan->n, plan->cap))
            return WEFT_NOMEM;
        plan->run[plan->n++] = (cmp_planned){.word = w, .seed = seed};
    }
    return plan->n ? WEFT_OK : weft_fail(k->ctx, WEFT_USAGE, "--seeds: expected N,N...");
}

weft_status compare_plan_runs(comparison *k, const compare_training *o, int n, char **word,
                              compare_plan *plan)
{
    const volatile int *stop = cli_signals();
    for (int i = 0; i < n; i++)
        WEFT_TRY(plan_word(k, o, word[i], plan));
    for (int i = 0; i < plan->n; i++) {
        cmp_planned *p = &plan->run[i];
        WEFT_TRY(check_run(k, o, plan, p));
        if (*stop)
            return weft_stopped(*stop);
        if (i && p[-1].word == p->word)
            continue;
        if (!WEFT_GROW(k->arena, k->arm, k->n_arm, k->cap_arm))
            return WEFT_NOMEM;
        k->arm[k->n_arm++] = (cmp_arm){.name = p->name};
    }
    return WEFT_OK;
}

/* ---- training ---- */
static weft_status train_run(comparison *k, const compare_training *o, cmp_planned *p)
{
    weft_recipe *r = NULL;
    cli_progress progress;
    weft_train_options t = {.resume = WEFT_RESUME_AUTO};
    cli_progress_init(&progress, PROGRESS_AUTO, o->quiet);
    weft_status s = load(k, o, p, &r);
    t.dir = p->dir;
    if (!s)
        s = cli_train(k->ctx, r, &t, &progress);
    weft_recipe_free(r);
    if (s && weft_error_status(k->ctx))
        weft_note(k->ctx, "training %s", p->dir);
    return s;
}

weft_status compare_train(comparison *k, const compare_training *o, const compare_plan *plan)
{
    for (int i = 0; i < plan->n; i++) {
        WEFT_TRY(train_run(k, o, &plan->run[i]));
        WEFT_TRY(compare_add(k, plan->run[i].name, plan->run[i].dir));
    }
    return WEFT_OK;
}
