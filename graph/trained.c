/* trained.c - a model with weights from whatever path a user gives: run, checkpoint, recipe or
 * model file. */
#include "graph/trained.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/cached.h"
#include "graph/checkpoint.h"
#include "graph/evaluate.h"

/* NULL: a path that memory did not suffice for. */
static weft_status is_there(weft_ctx *c, const char *path, bool *yes)
{
    int kind = 0;
    weft_status s = path ? weft_look(c, path, &kind) : c->status;
    *yes = kind == 1;
    return s;
}

/* ---- opening ---- */
/* The run directory that holds `path`: itself, or the one of a checkpoint or of all checkpoints.
 * NULL: none, or a failure. */
static const char *find_run(weft_trained *t, const char *path)
{
    const char *up = weft_arena_printf(t->arena, "%s/..", path), *checkpoint = NULL;
    const char *own = weft_arena_printf(t->arena, "%s/../checkpoints", path);
    bool all = false;
    if (!up || !own || weft_run_of(t->arena, path, &checkpoint) ||
        weft_same_file(t->ctx, path, own, &all))
        return NULL;
    const char *const dir[] = {path, checkpoint, all ? up : NULL};
    for (int i = 0; i < 3; i++) {
        bool yes = false;
        const char *recipe = dir[i] ? weft_arena_printf(t->arena, "%s/recipe.txtpb", dir[i]) : NULL;
        if (dir[i] && is_there(t->ctx, recipe, &yes))
            return NULL;
        if (yes)
            return dir[i];
    }
    return NULL;
}

static weft_status open_run(weft_trained *t, const char *path, const char *weights)
{
    t->folder = find_run(t, path);
    if (!t->folder)
        return weft_error_status(t->ctx)
                   ? weft_error_status(t->ctx)
                   : weft_fail(t->ctx, WEFT_MISSING,
                               "%s: expected a run directory, one of its checkpoints or a folder "
                               "of weights: there is no recipe.txtpb and no model.safetensors",
                               path);
    const char *recipe = weft_arena_printf(t->arena, "%s/recipe.txtpb", t->folder);
    WEFT_TRY(recipe ? weft_recipe_load(t->ctx, recipe, t->set, t->n_set, &t->recipe) : WEFT_NOMEM);
    WEFT_TRY(weft_run_warn(t->ctx, t->folder));
    return weft_weights_find(t->arena, weights ? weights : path, &t->weights);
}

static weft_status open_file(weft_trained *t, const char *path, const char *weights)
{
    weft_file_kind kind;
    WEFT_TRY(weft_file_sniff(t->ctx, path, &kind));
    if (kind == WEFT_FILE_RECIPE)
        WEFT_TRY(weft_recipe_load(t->ctx, path, t->set, t->n_set, &t->recipe));
    else
        t->model = weft_arena_strdup(t->arena, path);
    return weights ? weft_weights_find(t->arena, weights, &t->weights) : WEFT_OK;
}

/* Does the path, a file (1) or folder (2), name weights: a safetensors file, an index, or a folder
 * of no run that has some? */
static weft_status is_weights(weft_trained *t, const char *path, int kind, bool *yes)
{
    static const char *const end[] = {".safetensors", ".safetensors.index.json"};
    size_t n = strlen(path);
    const char *weights = NULL;
    *yes = false;
    if (kind == 2 && !find_run(t, path)) {
        WEFT_TRY(weft_error_status(t->ctx));
        WEFT_TRY(weft_told_weights(t->arena, path, &weights));
        *yes = weights != NULL;
    }
    for (int i = 0; i < 2 && kind != 2; i++)
        if (n > strlen(end[i]) && !strcmp(path + n - strlen(end[i]), end[i]))
            *yes = true;
    return weft_error_status(t->ctx);
}

/* A part of a model, or no model that comes with Weft: what can be done with it. */
static weft_status refuse_weights(weft_trained *t, const char *path)
{
    const Weft__Names *map = t->told.map.msg;
    if (!map || !map->model)
        return weft_fail(t->ctx, WEFT_MISMATCH,
                         "%s: no model file that comes with Weft has these weights: name one with "
                         "--weights=%s, or see with weft import --names=MAP what does not fit",
                         path, path);
    return weft_fail(t->ctx, WEFT_UNSUPPORTED,
                     "%s: is a part of a model, not a model: %s; weft import %s --names=%s "
                     "--out=FILE, then load { file: \"FILE\" scope: \"%s\" } in the recipe of a "
                     "model that has it, or --check=RECIPE",
                     path, map->doc ? map->doc : map->model, path, t->told.map_name, map->scope);
}

/* Weights alone: the name map that fits them names the model file, and what they tell is what it is
 * set to. */
static weft_status open_weights(weft_trained *t, const char *path, const char *weights)
{
    if (weights)
        return weft_fail(t->ctx, WEFT_USAGE,
                         "%s holds weights itself: --weights is for a recipe or a model file",
                         path);
    t->weights = weft_arena_strdup(t->arena, path);
    WEFT_TRY(t->weights ? weft_told_read(t->arena, path, WEFT_TOLD_MAP, &t->told) : WEFT_NOMEM);
    const Weft__Names *map = t->told.map.msg;
    if (!map || !map->model || map->scope)
        return refuse_weights(t, path);
    if (!t->told.own)
        WEFT_TRY(weft_told_complete(&t->told, t->set, t->n_set));
    t->model = weft_arena_printf(t->arena, "shipped:%s", map->model);
    return weft_error_status(t->ctx);
}

/* A config.json that cannot be read makes a checkpoint a damaged one, if its manifest says so. */
static weft_status ask_weights(weft_trained *t)
{
    weft_status s = weft_told_read(t->arena, t->weights, 0, &t->told);
    if (s != WEFT_MALFORMED)
        return s;
    weft_error_clear(t->ctx);
    WEFT_TRY(weft_weights_check(t->arena, t->weights));
    return weft_told_read(t->arena, t->weights, 0, &t->told);
}

static weft_status copy_settings(weft_trained *t, const char *const *set, int n)
{
    const char **copy = weft_arena_array(t->arena, (size_t)n + 1, sizeof *copy);
    for (int i = 0; copy && i < n; i++)
        copy[i] = weft_arena_strdup(t->arena, set[i]);
    t->set = copy;
    t->n_set = n;
    return weft_error_status(t->ctx);
}

static weft_status open_trained(weft_trained *t, const char *path, const char *weights,
                                const char *const *set, int n_set)
{
    weft_graph *g = NULL;
    WEFT_TRY(copy_settings(t, set, n_set));
    int kind;
    WEFT_TRY(weft_look(t->ctx, path, &kind));
    WEFT_TRY(is_weights(t, path, kind, &t->alone));
    if (t->alone)
        WEFT_TRY(open_weights(t, path, weights));
    else if (kind == 2)
        WEFT_TRY(open_run(t, path, weights));
    else
        WEFT_TRY(open_file(t, path, weights));
    if (t->weights && !t->alone)
        WEFT_TRY(ask_weights(t));
    t->loss = t->recipe  ? weft_recipe_eval_loss(t->recipe)
              : t->alone ? t->told.map.msg->loss
                         : "loss";
    WEFT_TRY(weft_trained_graph(t, WEFT_BATCH_ONE, 0, &g));
    t->vocab = weft_graph_vocab(g, 0);
    weft_graph_free(g);
    return WEFT_OK;
}

weft_status weft_trained_open(weft_ctx *c, const char *path, const char *weights,
                              const char *const *set, int n_set, weft_trained **out)
{
    *out = NULL;
    weft_arena *a = weft_arena_new(c, 0);
    weft_trained *t = a ? weft_arena_alloc(a, sizeof *t) : NULL;
    if (!t) {
        weft_arena_free(a);
        return weft_error_status(c);
    }
    *t = (weft_trained){.ctx = c, .arena = a};
    weft_status s = open_trained(t, path, weights, set, n_set);
    if (s) {
        weft_trained_free(t);
        return s;
    }
    *out = t;
    return WEFT_OK;
}

void weft_trained_free(weft_trained *t)
{
    if (!t)
        return;
    weft_recipe_free(t->recipe);
    weft_arena_free(t->arena);
}

/* The tokenizer that lies with the weights: in their folder, or in that of their run. */
static weft_status find_beside(const weft_trained *t, const char **path)
{
    int kind = 0;
    const char *dir = t->weights;
    *path = NULL;
    WEFT_TRY(dir ? weft_look(t->ctx, dir, &kind) : WEFT_OK);
    if (dir && kind != 2)
        dir = weft_parent_dir(t->arena, dir);
    return dir ? weft_tokenizer_of(t->arena, dir, path) : weft_error_status(t->ctx);
}

/* The run directory's own tokenizer goes before the recipe's, whose path may not hold any more. */
const char *weft_trained_file(const weft_trained *t, weft_recipe_path which)
{
    const char *path = NULL;
    if (which == WEFT_RECIPE_TOKENIZER && t->folder &&
        (weft_tokenizer_in(t->arena, t->folder, &path) || path))
        return path; /* NULL: a failure */
    if (t->recipe && (path = weft_recipe_file(t->recipe, which)))
        return path;
    return which == WEFT_RECIPE_TOKENIZER && !find_beside(t, &path) ? path : NULL;
}

/* A run of ours was trained with its tokenizer, whatever its config.json says. */
weft_status weft_trained_ids(const weft_trained *t, const char *tokenizer, int64_t *bos,
                             int64_t *eos)
{
    const weft_told *told = &t->told;
    *bos = *eos = -1;
    if (tokenizer && (told->own || told->eos < 0))
        WEFT_TRY(weft_tokenizer_ids(t->ctx, tokenizer, bos, eos));
    if (*eos < 0) {
        *bos = told->bos;
        *eos = told->eos;
    }
    return WEFT_OK;
}

weft_status weft_trained_note(const weft_trained *t, const char *path)
{
    for (int i = WEFT_RECIPE_TRAIN; t->recipe && path && i <= WEFT_RECIPE_VAL_LABELS; i++) {
        const char *own = weft_recipe_file(t->recipe, (weft_recipe_path)i);
        if (own && !strcmp(own, path))
            return weft_recipe_note(t->recipe, (weft_recipe_path)i);
    }
    return weft_error_status(t->ctx);
}

const char *weft_trained_weights(const weft_trained *t) { return t->weights; }
const weft_recipe *weft_trained_recipe(const weft_trained *t) { return t->recipe; }
int64_t weft_trained_vocab(const weft_trained *t) { return t->vocab; }

static weft_status load_model(weft_trained *t, int64_t batch, int64_t length, weft_model **out)
{
    batch = batch == WEFT_BATCH_ONE ? 1 : batch;
    weft_status s = t->recipe ? weft_recipe_model(t->recipe, batch, length, out)
                              : weft_model_load(t->ctx, t->model, t->set, t->n_set, out);
    if (s)
        return s;
    s = t->recipe ? WEFT_OK : weft_model_size(*out, batch, length);
    if (!s)
        s = weft_told_apply(t->arena, &t->told, *out, t->set, t->n_set,
                            t->recipe ? t->recipe->path : NULL);
    if (s)
        weft_model_free(*out);
    return s;
}

/* A flat graph has the sizes that it has. */
static weft_status check_sizes(const weft_graph *g, int64_t batch, int64_t length)
{
    weft_val v = weft_graph_find(g, "tokens");
    const weft_type *t = v < 0 ? NULL : &g->value[v].type;
    batch = batch == WEFT_BATCH_ONE ? 0 : batch;
    if (!t || t->rank != 2 || ((!batch || t->dim[0] == batch) && (!length || t->dim[1] == length)))
        return WEFT_OK;
    return weft_fail(g->ctx, WEFT_USAGE,
                     "the model has no parameters B and T: its tokens are %lld sequences of %lld, "
                     "not %lld of %lld",
                     (long long)t->dim[0], (long long)t->dim[1],
                     (long long)(batch ? batch : t->dim[0]),
                     (long long)(length ? length : t->dim[1]));
}

weft_status weft_trained_graph(weft_trained *t, int64_t batch, int64_t length, weft_graph **out)
{
    weft_model *m = NULL;
    WEFT_TRY(load_model(t, batch, length, &m));
    weft_status s = weft_graph_expand(m, out);
    weft_model_free(m);
    if (!s && (s = check_sizes(*out, batch, length) ? weft_error_status(t->ctx)
                                                    : weft_told_check(&t->told, *out))) {
        weft_graph_free(*out);
        *out = NULL;
    }
    return s;
}

/* The values of the outputs that g has among `keep`, and their names for a message. Returns how
 * many. */
static int find_outputs(const weft_graph *g, const char *const *keep, int n, weft_val *value,
                        char *names, size_t size)
{
    int found = 0;
    *names = 0;
    for (int i = 0; i < n; i++) {
        size_t k = strlen(names);
        if ((value[found] = weft_graph_find_output(g, keep[i])) == WEFT_NONE)
            continue;
        snprintf(names + k, size - k, "%s'%s'", found++ ? " or " : "", keep[i]);
    }
    return found;
}

static weft_val find_value(const weft_graph *g, const char *name)
{
    weft_val v = weft_graph_find_output(g, name);
    return v == WEFT_NONE ? weft_graph_find(g, name) : v;
}

/* A change that nothing wanted reads would be without effect, and nobody would know why. In g the
 * names are those of what the interventions made, and what is not chosen is gone. */
static weft_status check_chosen(const weft_graph *g, const weft_intervention *list, int n,
                                const char *const *keep, int n_keep)
{
    char names[256];
    weft_graph *part = NULL;
    weft_val *value = weft_arena_array(g->arena, (size_t)n_keep + 1, sizeof *value);
    weft_val *map = weft_arena_array(g->arena, (size_t)g->n_value + 1, sizeof *map);
    int found = value && map ? find_outputs(g, keep, n_keep, value, names, sizeof names) : 0;
    if (!found) /* who reads them knows how to say so */
        return g->ctx->status;
    WEFT_TRY(weft_graph_prune(g, value, found, &part, map));
    weft_graph_free(part);
    for (int i = 0; i < n; i++) {
        weft_val v = find_value(g, list[i].value);
        if (v == WEFT_NONE || map[v] == WEFT_NONE)
            return weft_fail(g->ctx, WEFT_USAGE,
                             "'%s' does not reach %s: to change it changes nothing", list[i].value,
                             names);
    }
    return WEFT_OK;
}

static weft_status check_reach(const weft_graph *g, const weft_intervention *list, int n,
                               const char *const *keep, int n_keep)
{
    weft_graph *chosen = NULL;
    WEFT_TRY(weft_graph_choose(g, &chosen));
    weft_status s = check_chosen(chosen ? chosen : g, list, n, keep, n_keep);
    weft_graph_free(chosen);
    return s;
}

weft_status weft_trained_changed(weft_trained *t, int64_t batch, int64_t length,
                                 const weft_intervention *list, int n, const char *const *keep,
                                 int n_keep, weft_graph **out)
{
    weft_graph *g = NULL;
    WEFT_TRY(weft_trained_graph(t, batch, length, n ? &g : out));
    if (!n)
        return WEFT_OK;
    weft_status s = weft_graph_intervene(g, list, n, out);
    if (!s)
        s = check_reach(*out, list, n, keep, n_keep);
    if (s) {
        weft_graph_free(*out);
        *out = NULL;
    }
    weft_graph_free(g);
    return s;
}

/* Frozen weights of the recipe's `load` entries, which checkpoints do not hold; with weights given,
 * only those that a program of the session reads. */
static weft_status load_frozen(weft_trained *t, const weft_graph *g, weft_session *s,
                               weft_frozen **out)
{
    *out = NULL;
    return t->recipe ? weft_frozen_load(s, t->arena, t->recipe, g, t->weights != NULL, out)
                     : WEFT_OK;
}

static weft_status load_checkpoint(weft_trained *t, weft_session *s, const weft_frozen *frozen)
{
    weft_progress p;
    WEFT_TRY(weft_checkpoint_load(t->ctx, t->weights, s, true, &p));
    return frozen && p.n_frozen
               ? weft_frozen_check(t->ctx, t->weights, &p, frozen, (int)t->recipe->msg->n_load)
               : WEFT_OK;
}

/* Is it a trained weight that got no value, and does a program read it? Where there is no program,
 * all are read. */
static bool is_start(const weft_session *s, const weft_state *st)
{
    bool read = !s->n_program;
    if (!st->trainable || st->ready)
        return false;
    for (int p = 0; p < s->n_program && !read; p++) {
        weft_val v = weft_graph_find(s->program[p]->graph, st->name);
        read = v != WEFT_NONE && s->program[p]->graph->value[v].kind == WEFT_VALUE_STATE;
    }
    return read;
}

/* What a model that has learned nothing says looks like what one says that has. */
static void warn_of_start(weft_trained *t, const weft_session *s)
{
    for (int i = 0; i < s->n_state && !t->weights && !t->warned; i++)
        if (is_start(s, &s->state[i])) {
            weft_log(t->ctx, "warning: the model's own weights have start values: name a run, or "
                             "--weights");
            t->warned = true;
        }
}

/* Files hold all weights of their model; but the folder of a student has not its teacher, for which
 * no memory is needed, then. */
static weft_status add_states(weft_trained *t, const weft_graph *g, weft_session *s)
{
    const char *const name[] = {t->loss, "logits"};
    weft_graph *part = NULL;
    weft_val keep[2];
    int n = 0;
    for (int i = 0; t->alone && i < 2; i++)
        if ((keep[n] = weft_graph_find_output(g, name[i])) != WEFT_NONE)
            n++;
    if (!n)
        return weft_session_add_states(s, g);
    WEFT_TRY(weft_graph_prune(g, keep, n, &part, NULL));
    weft_status status = weft_session_add_states(s, part);
    weft_graph_free(part);
    return status;
}

weft_status weft_trained_fill(weft_trained *t, const weft_graph *g, weft_session *s)
{
    weft_frozen *frozen;
    WEFT_TRY(add_states(t, g, s));
    WEFT_TRY(load_frozen(t, g, s, &frozen));
    if (t->weights) {
        bool checkpoint;
        const char *manifest = weft_arena_printf(t->arena, "%s/manifest.json", t->weights);
        WEFT_TRY(is_there(t->ctx, manifest, &checkpoint));
        if (checkpoint)
            WEFT_TRY(load_checkpoint(t, s, frozen));
        else
            WEFT_TRY(weft_weights_load(s, t->weights, ""));
    }
    WEFT_TRY(weft_frozen_warn(s, t->arena, t->recipe));
    warn_of_start(t, s);
    return weft_session_init(s, t->recipe ? t->recipe->msg->train->seed : 1);
}

/* ---- evaluation ---- */
static weft_status is_own_data(const weft_trained *t, const char *data, bool *yes)
{
    const char *val = t->recipe ? weft_recipe_file(t->recipe, WEFT_RECIPE_VAL) : NULL;
    *yes = val && !strcmp(val, data);
    return !val || *yes ? WEFT_OK : weft_same_file(t->ctx, val, data, yes);
}

/* The recipe's val_labels are of its validation data; a reference computes everything. */
static weft_status has_labels(const weft_trained *t, const char *data, const weft_eval_options *o,
                              bool *yes)
{
    *yes = false;
    if (o->reference || !t->recipe || !weft_recipe_file(t->recipe, WEFT_RECIPE_VAL_LABELS))
        return WEFT_OK;
    return is_own_data(t, data, yes);
}

/* The graph with what is evaluated in it. */
static weft_status changed(weft_trained *t, int64_t batch, int64_t length,
                           const weft_eval_options *o, weft_graph **out)
{
    const char *keep[1 + WEFT_MAX_LOG] = {t->loss};
    int n = t->recipe ? weft_eval_outputs(t->recipe, keep) : 1;
    return weft_trained_changed(t, batch, length, o->intervene, o->n_intervene, keep, n, out);
}

/* `one`: of one sequence at a time, for what is left after the last whole batch. */
static weft_status prepare(weft_trained *t, weft_session *s, const weft_graph *g, bool labels,
                           const weft_eval_options *o, weft_evaluator *e)
{
    weft_graph *one = NULL;
    weft_status status = WEFT_OK;
    const weft_compile_options w = {.reference = o->reference, .no_rewrite = o->no_rewrite};
    bool rest = weft_evaluator_rest(&e->sampler, o->batches);
    if (rest || labels)
        WEFT_TRY(changed(t, WEFT_BATCH_ONE, e->sampler.T, o, &one));
    if (labels)
        status = weft_cached_open(t->recipe, g, one, WEFT_RECIPE_VAL_LABELS, &e->sampler);
    if (!status)
        status = weft_evaluator_compile(e, t->recipe, s, g, rest ? one : NULL, &w);
    weft_graph_free(one);
    return status;
}

/* A mean that is no number is no result, whoever prints it. */
static weft_status check_finite(weft_ctx *c, const char *name, double v, int64_t tokens)
{
    return isfinite(v) ? WEFT_OK
                       : weft_fail(c, WEFT_NUMERIC, "'%s' over %lld tokens is %g", name,
                                   (long long)tokens, v);
}

static weft_status run_checked(weft_evaluator *e, weft_ctx *c, int64_t batches,
                               weft_eval_result *out)
{
    WEFT_TRY(weft_evaluator_run(e, batches, out));
    WEFT_TRY(check_finite(c, e->loss, out->loss, out->tokens));
    for (int i = 0; i < out->n_log; i++)
        WEFT_TRY(check_finite(c, out->log_name[i], out->log[i], out->tokens));
    return WEFT_OK;
}

static weft_status evaluate(weft_trained *t, weft_session *s, const weft_graph *g, bool labels,
                            const weft_eval_options *o, weft_evaluator *e, weft_eval_result *out)
{
    weft_type type;
    WEFT_TRY(weft_tokens_type(g, &type));
    e->sampler.B = type.dim[0];
    e->sampler.T = type.dim[1];
    WEFT_TRY(prepare(t, s, g, labels, o, e));
    WEFT_TRY(weft_trained_fill(t, g, s));
    if (labels)
        WEFT_TRY(weft_cached_check(t->recipe, g, s, NULL, e->sampler.labels));
    return run_checked(e, t->ctx, o->batches, out);
}

weft_status weft_evaluate(weft_trained *t, const char *data, const weft_eval_options *o,
                          weft_eval_result *out)
{
    weft_graph *g = NULL;
    bool labels = false;
    weft_session *s = NULL;
    const Weft__Eval *log = t->recipe ? t->recipe->msg->eval : NULL;
    weft_evaluator e = {.loss = t->loss,
                        .log = log ? (const char *const *)log->log : NULL,
                        .n_log = log ? (int)log->n_log : 0,
                        .token_bytes = o->token_bytes,
                        .progress = o->progress,
                        .user = o->user,
                        .sampler = {.seed = 1}};
    *out = (weft_eval_result){0};
    for (int i = 0; i < o->n_intervene; i++)
        if (o->intervene[i].on != WEFT_ON_ALL || o->intervene[i].feed)
            return weft_fail(t->ctx, WEFT_USAGE,
                             "only generated text has a prompt and is fed strengths: an evaluation "
                             "is intervened on at all positions");
    int64_t batch = o->batch ? o->batch : t->recipe ? 0 : WEFT_BATCH_ONE;
    weft_status status = changed(t, batch, o->length, o, &g);
    if (!status)
        status = weft_tokens_open(t->ctx, data, t->vocab ? t->vocab : 65536, &e.sampler.tokens);
    if (status == WEFT_MISSING && !is_own_data(t, data, &labels) && labels)
        weft_recipe_note(t->recipe, WEFT_RECIPE_VAL);
    if (!status) {
        weft_tokens_limit(e.sampler.tokens, o->vocab);
        status = weft_session_new(t->ctx, o->reference, &s);
    }
    if (!status)
        status = has_labels(t, data, o, &labels);
    if (!status)
        status = evaluate(t, s, g, labels, o, &e, out);
    weft_session_free(s);
    weft_labels_close(e.sampler.labels);
    weft_tokens_close(e.sampler.tokens);
    weft_graph_free(g);
    return status;
}
