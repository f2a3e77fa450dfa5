/* compare_read.c - run directories to arms: recipes, logs, and whether they may be compared at
 * all. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/data.h"
#include "graph/io.h"
#include "tools/compare.h"

weft_status compare_note(comparison *k, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *text = n < 0 ? NULL : weft_arena_alloc(k->arena, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    if (!text || !WEFT_GROW(k->arena, k->note, k->n_note, k->cap_note))
        return WEFT_NOMEM;
    k->note[k->n_note++] = text;
    return weft_error_status(k->ctx);
}

/* ---- log.jsonl ---- */
typedef struct {
    comparison *k;
    cmp_run *run;
    double *rate;
    int n_rate, cap_rate;
} reader;

static double scalar(const weft_log_line *l, const char *name)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->name[i], name))
            return l->value[i];
    return NAN;
}

static bool has_scalar(const weft_log_line *l, const char *name)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->name[i], name))
            return true;
    return false;
}

static weft_status add_point(reader *r, const weft_log_line *l)
{
    cmp_run *run = r->run;
    weft_ctx *c = r->k->ctx;
    const cmp_point *last = run->n ? &run->point[run->n - 1] : NULL;
    double loss = scalar(l, r->k->metric);
    if (!has_scalar(l, r->k->metric))
        return weft_fail(c, WEFT_USAGE,
                         "%s:%d: an evaluation has no '%s'; --metric=NAME chooses "
                         "another number of these lines",
                         l->file, l->number, r->k->metric);
    if (last && (l->tokens <= last->tokens || l->step <= last->step))
        return weft_fail(c, WEFT_MALFORMED,
                         "%s:%d: an evaluation at step %lld, %lld tokens, after "
                         "one at step %lld, %lld tokens",
                         l->file, l->number, (long long)l->step, (long long)l->tokens,
                         (long long)last->step, (long long)last->tokens);
    double evaluated = scalar(l, "val_tokens");
    run->val_tokens = evaluated > 0 ? (int64_t)evaluated : 0;
    if (isnan(loss)) /* not finite, or not known (bits per byte without a tokenizer) */
        return WEFT_OK;
    if (!WEFT_GROW(r->k->arena, run->point, run->n, run->cap))
        return WEFT_NOMEM;
    run->point[run->n++] = (cmp_point){l->step, l->tokens, loss};
    return WEFT_OK;
}

static const char *text_of(const weft_log_line *l, const char *name)
{
    for (int i = 0; i < l->n_text; i++)
        if (!strcmp(l->text_name[i], name))
            return l->text[i];
    return NULL;
}

static weft_status add_change(comparison *k, cmp_setup *s, const weft_log_line *l)
{
    const char *name = text_of(l, "name");
    if (strcmp(l->kind, "set") || !name)
        return WEFT_OK;
    return compare_setup_change(k, s, name, l->step, text_of(l, "was"));
}

static weft_status on_log(void *user, const weft_log_line *l)
{
    reader *r = user;
    r->run->step = l->step > r->run->step ? l->step : r->run->step;
    WEFT_TRY(add_change(r->k, &r->run->setup, l));
    return strcmp(l->kind, "eval") ? WEFT_OK : add_point(r, l);
}

typedef struct {
    comparison *k;
    cmp_setup *setup;
} change_reader;

static weft_status on_change(void *user, const weft_log_line *l)
{
    change_reader *r = user;
    return add_change(r->k, r->setup, l);
}

weft_status compare_read_changes(comparison *k, const char *dir, cmp_setup *s)
{
    change_reader r = {k, s};
    const char *log = weft_arena_printf(k->arena, "%s/log.jsonl", dir);
    int kind;
    WEFT_TRY(log ? weft_look(k->ctx, log, &kind) : WEFT_NOMEM);
    if (kind != 1)
        return WEFT_OK;
    return weft_log_read(k->ctx, log, on_change, &r);
}

static weft_status on_timing(void *user, const weft_log_line *l)
{
    reader *r = user;
    double rate = scalar(l, "tokens_per_s");
    if (strcmp(l->kind, "step") || !(rate > 0))
        return WEFT_OK;
    if (!WEFT_GROW(r->k->arena, r->rate, r->n_rate, r->cap_rate))
        return WEFT_NOMEM;
    r->rate[r->n_rate++] = rate;
    return WEFT_OK;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The median: the first steps and those beside an evaluation are slower. A run may have no
 * timing. */
static weft_status read_speed(reader *r)
{
    const char *path = weft_arena_printf(r->k->arena, "%s/timing.jsonl", r->run->dir);
    if (!path)
        return WEFT_NOMEM;
    int kind;
    WEFT_TRY(weft_look(r->k->ctx, path, &kind));
    if (kind == 1)
        WEFT_TRY(weft_log_read(r->k->ctx, path, on_timing, r));
    if (r->n_rate)
        qsort(r->rate, (size_t)r->n_rate, sizeof *r->rate, by_size);
    r->run->tokens_per_s = r->n_rate ? r->rate[r->n_rate / 2] : NAN;
    return WEFT_OK;
}

/* ---- a run ---- */
typedef struct {
    int64_t step;
    bool yes;
} set_reader;

static weft_status on_set(void *user, const weft_log_line *l)
{
    set_reader *r = user;
    r->yes = r->yes || (!strcmp(l->kind, "set") && l->step >= r->step);
    return WEFT_OK;
}

/* Does the log say that settings were changed from the checkpoint of this step on? */
static weft_status was_resumed(comparison *k, const char *dir, int64_t step, bool *yes)
{
    set_reader r = {step, false};
    const char *log = weft_arena_printf(k->arena, "%s/log.jsonl", dir);
    int kind;
    WEFT_TRY(log ? weft_look(k->ctx, log, &kind) : WEFT_NOMEM);
    if (kind == 1)
        WEFT_TRY(weft_log_read(k->ctx, log, on_set, &r));
    *yes = r.yes;
    return WEFT_OK;
}

/* Damage of a checkpoint is no matter of recipe and log. */
static weft_status forget(comparison *k, weft_status s)
{
    if (s == WEFT_NOMEM || s == WEFT_IO)
        return s;
    weft_error_clear(k->ctx);
    return WEFT_OK;
}

/* The recipe of the run as its newest checkpoint has it, if somebody has changed it since: what was
 * run is what counts. A resumption that has saved nothing yet has changed it with reason. */
static weft_status load_recipe(comparison *k, cmp_run *run, const char *path, weft_recipe **r)
{
    bool same, resumed = false;
    int64_t step;
    *r = NULL;
    weft_status s = weft_run_check_recipe(k->ctx, run->dir, &same, &step);
    WEFT_TRY(forget(k, s));
    if (!s && step > run->step) /* not every step has a line */
        run->step = step;
    if (s || same)
        return weft_recipe_load(k->ctx, path, NULL, 0, r);
    WEFT_TRY(was_resumed(k, run->dir, step, &resumed));
    if (!resumed)
        WEFT_TRY(forget(k, weft_run_recipe(k->ctx, run->dir, r)));
    WEFT_TRY(compare_note(k,
                          "%s: recipe.txtpb has been CHANGED since the checkpoint of step %lld was "
                          "saved: %s",
                          run->dir, (long long)step,
                          *r ? "the recipe in that checkpoint, which was run, is taken"
                             : "it may not say what was run"));
    return *r ? WEFT_OK : weft_recipe_load(k->ctx, path, NULL, 0, r);
}

static weft_status check_model(comparison *k, const cmp_run *run)
{
    bool same;
    int64_t step;
    WEFT_TRY(forget(k, weft_run_check_model(k->ctx, run->dir, &same, &step)));
    return same ? WEFT_OK
                : compare_note(k,
                               "%s: model.txtpb has been CHANGED since the checkpoint of step %lld "
                               "was saved: it is not the model that was run",
                               run->dir, (long long)step);
}

static weft_status read_recipe(comparison *k, cmp_run *run)
{
    weft_recipe *r = NULL;
    const char *path = weft_arena_printf(k->arena, "%s/recipe.txtpb", run->dir);
    if (!path)
        return WEFT_NOMEM;
    int kind;
    WEFT_TRY(weft_look(k->ctx, path, &kind));
    if (kind != 1) {
        weft_fail(k->ctx, WEFT_MISSING, "%s: not a run directory: it has no recipe.txtpb",
                  run->dir);
        return weft_note(k->ctx,
                         "compare takes folders that weft train has written; compare --train "
                         "takes recipes, and trains them");
    }
    WEFT_TRY(load_recipe(k, run, path, &r));
    run->name = weft_arena_strdup(k->arena, weft_recipe_name(r));
    weft_status s = compare_setup_read(k, r, path, &run->setup);
    if (!s)
        s = weft_recipe_measure(r, run->setup.graph, &run->size);
    weft_recipe_free(r);
    if (s)
        return weft_note(k->ctx, "in %s", path);
    const char *seed = compare_setting(k->arena, run->setup.settings, "train.seed");
    const char *steps = compare_setting(k->arena, run->setup.settings, "train.steps");
    const char *eval = compare_setting(k->arena, run->setup.settings, "eval.loss");
    run->measured = eval ? eval : compare_setting(k->arena, run->setup.settings, "train.loss");
    run->seed = seed ? strtoll(seed, NULL, 10) : 0;
    run->steps = steps ? strtoll(steps, NULL, 10) : 0;
    return weft_error_status(k->ctx);
}

static weft_status read_run(comparison *k, cmp_run *run)
{
    reader r = {.k = k, .run = run};
    const char *dir = run->dir, *log = weft_arena_printf(k->arena, "%s/log.jsonl", dir);
    if (!log)
        return WEFT_NOMEM;
    run->final = NAN;
    WEFT_TRY(read_recipe(k, run));
    WEFT_TRY(check_model(k, run));
    int kind;
    WEFT_TRY(weft_look(k->ctx, log, &kind));
    if (kind == 1)
        WEFT_TRY(weft_log_read(k->ctx, log, on_log, &r));
    WEFT_TRY(read_speed(&r));
    run->state = !run->n                                     ? RUN_NO_EVALUATION
                 : run->point[run->n - 1].step >= run->steps ? RUN_FINISHED
                                                             : RUN_STOPPED;
    if (run->state == RUN_NO_EVALUATION)
        return compare_note(k, "%s: no %s in its log: left out (%lld of %lld steps done)", dir,
                            k->metric, (long long)run->step, (long long)run->steps);
    if (run->state == RUN_STOPPED)
        return compare_note(k, "%s: stopped early, last evaluated at step %lld of %lld", dir,
                            (long long)run->point[run->n - 1].step, (long long)run->steps);
    return WEFT_OK;
}

/* ---- arms ---- */
/* Do they differ in nothing but the seed and how they were run and shown? */
static weft_status same_experiment(comparison *k, const cmp_run *a, const cmp_run *b, bool *same)
{
    cmp_differences d;
    WEFT_TRY(compare_settings(k, &a->setup, &b->setup, "train.seed", &d));
    *same = d.n == 0 && a->setup.model == b->setup.model;
    return WEFT_OK;
}

static weft_status find_arm(comparison *k, const char *name, const cmp_run *r, cmp_arm **out)
{
    for (int i = 0; i < k->n_arm; i++) {
        cmp_arm *a = *out = &k->arm[i];
        bool own = name && a->name && !strcmp(a->name, name);
        if (!name && !a->name)
            WEFT_TRY(same_experiment(k, a->run[0], r, &own));
        if (own)
            return WEFT_OK;
    }
    if (!WEFT_GROW(k->arena, k->arm, k->n_arm, k->cap_arm))
        return WEFT_NOMEM;
    *out = &k->arm[k->n_arm++];
    **out = (cmp_arm){.name = name};
    return WEFT_OK;
}

/* Runs that were put in one arm by name may be of different experiments: said, not refused. */
static weft_status note_differences(comparison *k, const char *arm, const cmp_run *a,
                                    const cmp_run *b)
{
    cmp_differences d;
    bool same;
    WEFT_TRY(compare_settings(k, &a->setup, &b->setup, "train.seed", &d));
    WEFT_TRY(compare_models(k, &a->setup, &b->setup, &same));
    const char *list = compare_list(k, &d);
    if (!list || (same && !d.n))
        return weft_error_status(k->ctx);
    return compare_note(k, "arm %s: %s and %s were run with different %s%s%s", arm, a->dir, b->dir,
                        same  ? "settings: "
                        : d.n ? "models and settings: "
                              : "models",
                        list, same ? "" : ", see their model.txtpb");
}

static bool has_run(const comparison *k, const char *dir)
{
    for (int i = 0; i < k->n_arm; i++)
        for (int j = 0; j < k->arm[i].n_run; j++)
            if (!strcmp(k->arm[i].run[j]->dir, dir))
                return true;
    return false;
}

static weft_status add_run(comparison *k, const char *name, cmp_run *r)
{
    cmp_arm *a;
    WEFT_TRY(find_arm(k, name, r, &a));
    if (!WEFT_GROW(k->arena, a->run, a->n_run, a->cap_run))
        return WEFT_NOMEM;
    for (int i = 0; i < a->n_run; i++)
        if (a->run[i]->seed == r->seed)
            WEFT_TRY(compare_note(k, "%s and %s have the same seed %lld: not independent",
                                  a->run[i]->dir, r->dir, (long long)r->seed));
    if (name && a->n_run)
        WEFT_TRY(note_differences(k, name, a->run[0], r));
    a->run[a->n_run++] = r;
    return WEFT_OK;
}

weft_status compare_add(comparison *k, const char *name, const char *dir)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    const char *own = weft_arena_strndup(k->arena, dir, n);
    cmp_run *r = weft_arena_alloc(k->arena, sizeof *r);
    if (!own || !r)
        return WEFT_NOMEM;
    if (has_run(k, own))
        return weft_fail(k->ctx, WEFT_USAGE, "%s is given twice", own);
    r->dir = own;
    weft_status s = read_run(k, r);
    if (!s)
        s = add_run(k, name, r);
    bool first = false;
    for (int i = 0; i < k->n_arm; i++)
        first = first || (k->arm[i].n_run && k->arm[i].run[0] == r);
    if (!first)
        compare_setup_free(&r->setup);
    return s;
}

void compare_close(comparison *k)
{
    for (int i = 0; i < k->n_arm; i++)
        if (k->arm[i].n_run)
            compare_setup_free(&k->arm[i].run[0]->setup);
}

/* ---- data ---- */
/* 1: equal contents, 0: different, -1: cannot be told, a file is gone. */
static int same_tokens(comparison *k, const char *a, const char *b)
{
    weft_tokens *t[2] = {NULL, NULL};
    int same = -1;
    if (!strcmp(a, b))
        return 1;
    if (!weft_tokens_open(k->ctx, a, INT32_MAX, &t[0]) &&
        !weft_tokens_open(k->ctx, b, INT32_MAX, &t[1]))
        same = weft_tokens_hash(t[0]) == weft_tokens_hash(t[1]);
    weft_error_clear(k->ctx);
    weft_tokens_close(t[0]);
    weft_tokens_close(t[1]);
    return same;
}

/* Losses over another number of tokens are those of another text: of a part of it. */
static weft_status check_counts(comparison *k, const cmp_run *a, const cmp_run *b)
{
    if (a->val_tokens == b->val_tokens || !a->val_tokens || !b->val_tokens)
        return WEFT_OK;
    if (k->force)
        return compare_note(k, "%s was evaluated on %lld tokens, %s on %lld: DIFFERENT data",
                            a->dir, (long long)a->val_tokens, b->dir, (long long)b->val_tokens);
    return weft_fail(k->ctx, WEFT_MISMATCH,
                     "%s was evaluated on %lld tokens, %s on %lld: their losses "
                     "do not compare (--force does it all the same; eval.batches, train.batch and "
                     "the length decide how many there are)",
                     a->dir, (long long)a->val_tokens, b->dir, (long long)b->val_tokens);
}

static weft_status check_pair(comparison *k, const cmp_run *a, const cmp_run *b)
{
    const char *va = compare_setting(k->arena, a->setup.settings, "data.val");
    const char *vb = compare_setting(k->arena, b->setup.settings, "data.val");
    if (!va || !vb || a->state == RUN_NO_EVALUATION || b->state == RUN_NO_EVALUATION)
        return weft_error_status(k->ctx);
    int same = same_tokens(k, va, vb);
    if (same < 0)
        WEFT_TRY(compare_note(k, "%s and %s: whether %s and %s hold the same text cannot be told",
                              a->dir, b->dir, va, vb));
    if (!same && !k->force)
        return weft_fail(
            k->ctx, WEFT_MISMATCH,
            "%s was evaluated on %s, %s on %s, and their contents differ: their losses "
            "do not compare (--force does it all the same)",
            a->dir, va, b->dir, vb);
    if (!same)
        return compare_note(k, "%s and %s were evaluated on DIFFERENT data", a->dir, b->dir);
    return check_counts(k, a, b);
}

/* The first with an evaluation, of the baseline if there is one. */
static const cmp_run *first_evaluated(const comparison *k)
{
    for (int i = -1; i < k->n_arm; i++) {
        const cmp_arm *a = &k->arm[i < 0 ? k->baseline : i];
        for (int j = 0; j < a->n_run; j++)
            if (a->run[j]->state != RUN_NO_EVALUATION)
                return a->run[j];
    }
    return k->arm[k->baseline].run[0];
}

/* Every run against the same one, which is of the baseline; training data may differ, which is
 * said. */
weft_status compare_check_data(comparison *k)
{
    const cmp_run *first = first_evaluated(k);
    const char *own = compare_setting(k->arena, first->setup.settings, "data.train");
    for (int i = 0; i < k->n_arm; i++)
        for (int j = 0; j < k->arm[i].n_run; j++) {
            const cmp_run *r = k->arm[i].run[j];
            const char *train = compare_setting(k->arena, r->setup.settings, "data.train");
            if (r != first)
                WEFT_TRY(check_pair(k, first, r));
            if (own && train && same_tokens(k, own, train) == 0)
                WEFT_TRY(compare_note(k, "%s and %s were trained on different data", first->dir,
                                      r->dir));
        }
    return weft_error_status(k->ctx);
}
