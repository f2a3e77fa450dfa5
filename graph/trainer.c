/* trainer.c - building a training run: graph, programs, data, run directory, and where it goes on.
 */
#include "graph/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/cached.h"
#include "graph/labels.h"
#include "graph/labels_part.h"
#include "graph/optim.h"
#include "graph/told.h"

/* ---- recipe -> programs ---- */
/* Forward part as training differentiates it, or as it stands without options. */
static weft_status forward_part(const weft_recipe *r, const weft_graph *forward,
                                const weft_rewrite_options *o, weft_graph **out)
{
    const Weft__Train *m = r->msg->train;
    const char *name[1 + WEFT_MAX_LOG] = {m->loss};
    int n = 1;
    for (size_t i = 0; i < m->n_log; i++)
        name[n++] = m->log[i];
    weft_graph *cut = NULL;
    WEFT_TRY(weft_recipe_check_names(r, forward));
    WEFT_TRY(weft_labels_cut(r, forward, r->msg->data->labels, name, n, &cut));
    const weft_graph *g = cut ? cut : forward;
    weft_status s = o ? weft_graph_prepare(g, name, n, o, out) : weft_graph_lower(g, out);
    weft_graph_free(cut);
    return s;
}

weft_status weft_recipe_graph(const weft_recipe *r, const weft_graph *forward,
                              const weft_rewrite_options *rewrite, weft_graph **out)
{
    weft_optim o;
    weft_graph *g = NULL;
    *out = NULL;
    WEFT_TRY(forward_part(r, forward, rewrite, &g));
    if (weft_optim_append(g, r->msg, &o)) {
        weft_graph_free(g);
        return weft_error_status(r->ctx);
    }
    *out = g;
    return WEFT_OK;
}

weft_status weft_recipe_compile(const weft_recipe *r, const weft_graph *forward, weft_session *s,
                                const weft_compile_options *o, weft_program **micro,
                                weft_program **step)
{
    weft_optim optim;
    weft_graph *g = NULL;
    *micro = *step = NULL;
    weft_compile_options train = *o;
    train.train = true;
    const weft_rewrite_options rewrite = {
        .train = true, .no_rewrite = o->no_rewrite, .disable = o->disable_rules};
    WEFT_TRY(forward_part(r, forward, &rewrite, &g));
    weft_status status = weft_optim_append(g, r->msg, &optim);
    if (!status && optim.n_micro)
        status = weft_program_compile(s, g, optim.micro, optim.n_micro, &train, micro);
    if (!status)
        status = weft_program_compile(s, g, optim.update, optim.n_update, &train, step);
    weft_graph_free(g);
    return status;
}

weft_status weft_recipe_check_feeds(const weft_recipe *r, const weft_graph *forward,
                                    const weft_program *micro, const weft_program *step)
{
    weft_type t;
    weft_label_shape shape = {0};
    weft_feed feed[WEFT_BATCH_FEEDS + 1];
    WEFT_TRY(weft_tokens_type(forward, &t));
    if (weft_recipe_file(r, WEFT_RECIPE_LABELS))
        WEFT_TRY(weft_label_shape_of(forward, weft_recipe_label_value(r), &shape));
    const weft_sampler s = {.B = t.dim[0],
                            .T = t.dim[1],
                            .label = weft_recipe_label_value(r),
                            .score = weft_recipe_score_value(r)};
    int n = weft_batch_feeds(&s, shape.k, feed);
    if (!micro)
        return weft_program_check_feeds(step, "training", feed, n);
    feed[n++] = (weft_feed){"first", {.dtype = WEFT_I32}, "1 for the first micro-batch of a step"};
    WEFT_TRY(weft_program_check_feeds(micro, "training", feed, n));
    return weft_program_check_feeds(step, "the update", NULL, 0);
}

weft_status weft_recipe_check_evaluation(const weft_recipe *r, const weft_graph *forward)
{
    weft_type t;
    weft_session *s = NULL;
    const weft_compile_options plan = {.plan_only = true};
    WEFT_TRY(weft_tokens_type(forward, &t));
    weft_evaluator e = {.loss = weft_recipe_eval_loss(r),
                        .log = (const char *const *)r->msg->eval->log,
                        .n_log = (int)r->msg->eval->n_log,
                        .sampler = {.B = t.dim[0], .T = t.dim[1]}};
    weft_status status = weft_session_new(r->ctx, false, &s);
    if (!status)
        status = weft_evaluator_compile(&e, r, s, forward, NULL, &plan);
    weft_session_free(s);
    return status;
}

/* The model of one sequence at a time. */
static weft_status expand_one(weft_trainer *t, weft_graph **out)
{
    weft_model *m = NULL;
    WEFT_TRY(weft_recipe_model(t->recipe, 1, t->info.length, &m));
    weft_status s = weft_graph_expand(m, out);
    weft_model_free(m);
    return s;
}

static weft_status compile_evaluation(weft_trainer *t, const weft_compile_options *o)
{
    weft_graph *one = NULL;
    if (weft_evaluator_rest(&t->eval.sampler, t->recipe->msg->eval->batches))
        WEFT_TRY(expand_one(t, &one));
    weft_status s = weft_evaluator_compile(&t->eval, t->recipe, t->session, t->forward, one, o);
    weft_graph_free(one);
    return s;
}

static weft_status compile_programs(weft_trainer *t)
{
    const Weft__Train *m = t->recipe->msg->train;
    const weft_compile_options o = {.plan_only = t->look,
                                    .train = true,
                                    .no_rewrite = t->options->no_rewrite,
                                    .max_memory = (size_t)m->max_memory};
    weft_compile_options eval = o;
    int64_t start = weft_now_ns(t->ctx);
    eval.train = false;
    WEFT_TRY(weft_recipe_compile(t->recipe, t->forward, t->session, &o, &t->micro, &t->step));
    WEFT_TRY(weft_recipe_check_feeds(t->recipe, t->forward, t->micro, t->step));
    t->info.plan_bytes = t->step->plan_bytes;
    t->info.flops = 0;
    weft_program_size size;
    weft_program_measure(t->step, &size);
    t->info.flops = size.flops;
    if (t->micro) {
        weft_program_measure(t->micro, &size);
        t->info.flops += size.flops * (double)m->accumulate;
        t->info.plan_bytes =
            size.plan_bytes > t->info.plan_bytes ? size.plan_bytes : t->info.plan_bytes;
    }
    if (t->val_tokens) {
        WEFT_TRY(compile_evaluation(t, &eval));
        if (weft_evaluator_bytes(&t->eval) > t->info.plan_bytes)
            t->info.plan_bytes = weft_evaluator_bytes(&t->eval);
    }
    t->info.state_bytes = t->session->state_bytes;
    t->info.compile_ns = weft_now_ns(t->ctx) - start;
    return WEFT_OK;
}

/* What the recipe says of the model: names, loss, labels, groups. It is compiled when the data are
 * there, and says then what it has to say. */
static weft_status check_graph(weft_trainer *t)
{
    const weft_rewrite_options o = {.train = true, .no_rewrite = t->options->no_rewrite};
    void (*log)(void *, const char *) = t->ctx->log;
    weft_graph *g = NULL;
    t->ctx->log = NULL;
    weft_status s = weft_recipe_graph(t->recipe, t->forward, &o, &g);
    t->ctx->log = log;
    weft_graph_free(g);
    return s;
}

static weft_status build_model(weft_trainer *t)
{
    weft_type tokens;
    weft_graph_size size;
    WEFT_TRY(weft_recipe_model(t->recipe, 0, 0, &t->model));
    WEFT_TRY(weft_graph_expand(t->model, &t->forward));
    WEFT_TRY(weft_graph_verify(t->forward));
    WEFT_TRY(weft_tokens_type(t->forward, &tokens));
    WEFT_TRY(weft_graph_measure(t->forward, &size));
    t->info.parameters = size.parameters;
    t->info.trainable = size.trainable;
    t->info.batch = tokens.dim[0];
    t->info.length = tokens.dim[1];
    t->info.accumulate = t->recipe->msg->train->accumulate;
    t->progress.graph_hash = weft_graph_hash(t->forward);
    t->progress.vocab = weft_graph_vocab(t->forward, 65536);
    if (t->options->vocab > t->progress.vocab)
        return weft_fail(t->ctx, WEFT_MISMATCH,
                         "the tokenizer has %lld tokens, but the model's vocabulary is %lld",
                         (long long)t->options->vocab, (long long)t->progress.vocab);
    return check_graph(t);
}

/* ---- data ---- */
static weft_status open_tokens(weft_trainer *t, weft_recipe_path which, weft_tokens **out)
{
    if (weft_tokens_open(t->ctx, weft_recipe_file(t->recipe, which), t->progress.vocab, out))
        return weft_recipe_note(t->recipe, which);
    weft_tokens_limit(*out, t->options->vocab);
    return weft_tokens_probe(*out);
}

/* Of a file that is compared with something its hash is needed, too. */
static bool needs_hash(const weft_trainer *t)
{
    return !t->look || t->options->resume != WEFT_RESUME_NEVER ||
           weft_recipe_file(t->recipe, WEFT_RECIPE_LABELS) ||
           weft_recipe_file(t->recipe, WEFT_RECIPE_VAL_LABELS);
}

static weft_status open_data(weft_trainer *t)
{
    const Weft__Recipe *m = t->recipe->msg;
    const char *train = weft_recipe_file(t->recipe, WEFT_RECIPE_TRAIN);
    if (!train)
        return weft_fail(t->ctx, WEFT_MALFORMED, "%s: data.train: expected a token file",
                         t->recipe->path);
    WEFT_TRY(open_tokens(t, WEFT_RECIPE_TRAIN, &t->train_tokens));
    t->sampler = (weft_sampler){.tokens = t->train_tokens,
                                .B = t->info.batch,
                                .T = t->info.length,
                                .seed = m->train->seed,
                                .shuffle = strcmp(m->data->sampling, "sequential") != 0,
                                .fixed = !strcmp(m->data->sampling, "windows")};
    t->info.train_tokens = weft_tokens_count(t->train_tokens);
    t->progress.data_hash = weft_tokens_hash(t->train_tokens);
    t->progress.seed = m->train->seed;
    if (weft_sampler_blocks(&t->sampler) < 1)
        return weft_fail(t->ctx, WEFT_MALFORMED,
                         "%s: %lld tokens are too few for one sequence of %lld", train,
                         (long long)t->info.train_tokens, (long long)t->info.length);
    const char *val = weft_recipe_file(t->recipe, WEFT_RECIPE_VAL);
    if (!val)
        return WEFT_OK;
    WEFT_TRY(open_tokens(t, WEFT_RECIPE_VAL, &t->val_tokens));
    t->info.val_tokens = weft_tokens_count(t->val_tokens);
    t->eval = (weft_evaluator){.loss = weft_recipe_eval_loss(t->recipe),
                               .log = (const char *const *)m->eval->log,
                               .n_log = (int)m->eval->n_log,
                               .token_bytes = t->options->token_bytes,
                               .user = t->options->user,
                               .sampler = {.tokens = t->val_tokens,
                                           .B = t->info.batch,
                                           .T = t->info.length,
                                           .seed = m->train->seed}};
    if (weft_sampler_blocks(&t->eval.sampler) < 1)
        return weft_fail(t->ctx, WEFT_MALFORMED,
                         "%s: %lld tokens are too few for one sequence of %lld", val,
                         (long long)t->info.val_tokens, (long long)t->info.length);
    return WEFT_OK;
}

/* The label files that the recipe names, for the samplers. */
static weft_status open_labels(weft_trainer *t)
{
    const weft_recipe *r = t->recipe;
    bool train = weft_recipe_file(r, WEFT_RECIPE_LABELS);
    bool val = weft_recipe_file(r, WEFT_RECIPE_VAL_LABELS) && t->val_tokens;
    weft_graph *one = NULL;
    if (!train && !val)
        return WEFT_OK;
    WEFT_TRY(expand_one(t, &one));
    weft_status s =
        train ? weft_cached_open(r, t->forward, one, WEFT_RECIPE_LABELS, &t->sampler) : WEFT_OK;
    if (!s && val)
        s = weft_cached_open(r, t->forward, one, WEFT_RECIPE_VAL_LABELS, &t->eval.sampler);
    weft_graph_free(one);
    return s;
}

/* The weights of their extractor; after the session's are loaded. */
static weft_status check_labels(weft_trainer *t)
{
    return weft_cached_check(t->recipe, t->forward, t->session, t->sampler.labels,
                             t->eval.sampler.labels);
}

/* ---- run directory ---- */
/* The recipe as it stands in the run, which checkpoints keep, too. */
static weft_status make_recipe(weft_trainer *t)
{
    char *text = NULL;
    const char *path = weft_arena_printf(t->arena, "%s/recipe.txtpb", t->dir);
    WEFT_TRY(path ? weft_recipe_text(t->recipe, path, "model.txtpb", &text) : WEFT_NOMEM);
    t->progress.recipe = weft_arena_strdup(t->arena, text);
    weft_text_free(t->ctx, text);
    return weft_error_status(t->ctx);
}

static weft_status write_inputs(weft_trainer *t)
{
    const char *model = weft_arena_printf(t->arena, "%s/model.txtpb", t->dir);
    const char *recipe = weft_arena_printf(t->arena, "%s/recipe.txtpb", t->dir);
    if (!model || !recipe)
        return WEFT_NOMEM;
    WEFT_TRY(weft_model_save(t->model, model));
    WEFT_TRY(weft_write_file(t->ctx, recipe, t->progress.recipe, strlen(t->progress.recipe)));
    if (weft_tokenizer_copy(t->arena, weft_recipe_file(t->recipe, WEFT_RECIPE_TOKENIZER), t->dir))
        return weft_recipe_note(t->recipe, WEFT_RECIPE_TOKENIZER);
    return WEFT_OK;
}

static weft_status disagree(weft_trainer *t, const char *path, const char *what, uint64_t found,
                            uint64_t expected)
{
    return weft_fail(t->ctx, WEFT_MISMATCH,
                     "cannot resume from %s: its %s (%016llx) is not that of this run (%016llx)",
                     path, what, (unsigned long long)found, (unsigned long long)expected);
}

static weft_status refuse_model(weft_trainer *t, const char *path)
{
    return weft_fail(t->ctx, WEFT_MISMATCH,
                     "cannot resume from %s: its model graph is not that of %s, which has been "
                     "changed or is another model: give the model file that the run began with, "
                     "or begin another run with --out=DIR",
                     path, t->recipe->model);
}

static weft_status check_same(weft_trainer *t, const char *path, const weft_progress *p)
{
    const weft_progress *own = &t->progress;
    WEFT_TRY(weft_changes_find(t, path, p));
    if (p->vocab != own->vocab)
        return disagree(t, path, "vocabulary size", (uint64_t)p->vocab, (uint64_t)own->vocab);
    if (p->graph_hash != own->graph_hash)
        return refuse_model(t, path);
    if (p->data_hash != own->data_hash &&
        disagree(t, path, "training data hash", p->data_hash, own->data_hash))
        return weft_note(
            t->ctx,
            "the tokens of %s changed, or it was saved when files were known by samples only",
            weft_recipe_file(t->recipe, WEFT_RECIPE_TRAIN));
    if (p->seed != own->seed)
        return disagree(t, path, "seed", p->seed, own->seed);
    return WEFT_OK;
}

/* Finds a checkpoint to go on from; *path NULL: begin. */
static weft_status find_checkpoint(weft_trainer *t, const char **path, weft_progress *p)
{
    *path = NULL;
    weft_status s = weft_checkpoint_latest(t->run_dir, path, p);
    if (s == WEFT_MISSING && t->options->resume != WEFT_RESUME_MUST) {
        weft_error_clear(t->ctx);
        *path = NULL;
        return WEFT_OK;
    }
    if (s)
        return s;
    if (t->options->resume == WEFT_RESUME_NEVER)
        return weft_fail(t->ctx, WEFT_CANTCREATE,
                         "%s: has checkpoints (step %lld); --resume goes on from there, --out=DIR "
                         "begins elsewhere",
                         t->dir, (long long)p->step);
    WEFT_TRY(weft_resume_with_log(t, path, p));
    return check_same(t, *path, p);
}

/* A run that must go on and is not there is refused before anything is made for it. */
static weft_status check_there(weft_trainer *t)
{
    int kind;
    char shown[512];
    const char *folder = weft_arena_printf(t->arena, "%s/checkpoints", t->dir);
    if (t->options->resume != WEFT_RESUME_MUST)
        return weft_error_status(t->ctx);
    WEFT_TRY(folder ? weft_look(t->ctx, folder, &kind) : WEFT_NOMEM);
    return kind ? WEFT_OK
                : weft_fail(t->ctx, WEFT_MISSING, "%s: there is no checkpoint",
                            weft_printable(shown, sizeof shown, folder));
}

static weft_status load_start(weft_trainer *t)
{
    const Weft__Recipe *m = t->recipe->msg;
    WEFT_TRY(weft_frozen_load(t->session, t->arena, t->recipe, t->forward, false, &t->frozen));
    WEFT_TRY(weft_frozen_warn(t->session, t->arena, t->recipe));
    if (!t->look)
        WEFT_TRY(weft_session_init(t->session, m->train->seed));
    WEFT_TRY(weft_trainer_start(t));
    t->progress.frozen = t->frozen;
    t->progress.n_frozen = (int)m->n_load;
    return WEFT_OK;
}

/* Frozen weights come from their own files again, and must be those of the checkpoint. What no
 * program reads is not loaded: its hash is handed on. */
static weft_status go_on(weft_trainer *t, const char *path)
{
    weft_progress p;
    int n = (int)t->recipe->msg->n_load;
    WEFT_TRY(weft_frozen_load(t->session, t->arena, t->recipe, t->forward, true, &t->frozen));
    WEFT_TRY(weft_frozen_warn(t->session, t->arena, t->recipe));
    WEFT_TRY(weft_checkpoint_load(t->ctx, path, t->session, false, &p));
    if (!t->look)
        WEFT_TRY(weft_session_init(t->session, p.seed)); /* what begins anew in every step */
    WEFT_TRY(weft_frozen_check(t->ctx, path, &p, t->frozen, n));
    for (int i = 0; i < n; i++)
        if (p.frozen[i].hash)
            t->frozen[i].hash = p.frozen[i].hash;
    const char *config = t->progress.config, *recipe = t->progress.recipe;
    t->progress = p;
    t->progress.config = config;
    t->progress.recipe = recipe;
    t->progress.frozen = t->frozen;
    t->info.first_step = p.step;
    return WEFT_OK;
}

/* Without a tokenizer the weights that training begins with may know. */
static weft_status told_ids(weft_trainer *t, const char *path, weft_config_facts *f)
{
    weft_told told;
    WEFT_TRY(weft_told_read(t->arena, path, 0, &told));
    f->bos = told.bos;
    f->eos = told.eos;
    f->eos_list = told.eos_list;
    return WEFT_OK;
}

/* After the tokenizer is in the run directory. `path`: the checkpoint that is gone on from, or
 * NULL. */
static weft_status make_config(weft_trainer *t, const char *path)
{
    weft_config_facts f = {t->info.batch, t->info.length, t->progress.vocab, -1, -1, NULL};
    WEFT_TRY(weft_tokenizer_ids(t->ctx, t->dir, &f.bos, &f.eos));
    if (f.eos < 0 && path)
        WEFT_TRY(told_ids(t, path, &f));
    for (size_t i = 0; f.eos < 0 && i < t->recipe->msg->n_load; i++)
        if (t->frozen[i].from && !*t->frozen[i].scope)
            WEFT_TRY(told_ids(t, t->frozen[i].from, &f));
    return weft_config_make(t->arena, t->forward, &f, &t->progress.config);
}

static weft_status open_run(weft_trainer *t)
{
    const char *path;
    weft_progress p;
    t->dir =
        t->options->dir ? t->options->dir : weft_arena_printf(t->arena, "runs/%s", t->recipe->name);
    if (!t->dir)
        return WEFT_NOMEM;
    t->info.dir = t->dir;
    t->info.name = t->recipe->name;
    WEFT_TRY(check_there(t));
    WEFT_TRY(t->look ? weft_run_dir_look(t->ctx, t->dir, &t->run_dir)
                     : weft_run_dir_open(t->ctx, t->dir, &t->run_dir));
    WEFT_TRY(make_recipe(t));
    WEFT_TRY(find_checkpoint(t, &path, &p));
    /* Also what no program needs: a checkpoint holds all weights of the model. */
    WEFT_TRY(weft_session_add_states(t->session, t->forward));
    WEFT_TRY(compile_programs(t));
    WEFT_TRY(path ? go_on(t, path) : load_start(t));
    if (t->look)
        return WEFT_OK;
    WEFT_TRY(check_labels(t));
    WEFT_TRY(path ? weft_changes_store(t, &p) : write_inputs(t));
    WEFT_TRY(make_config(t, path));
    WEFT_TRY(weft_runlog_open(t->ctx, t->arena, t->dir, &t->progress, &t->log));
    return weft_changes_log(t);
}

weft_status weft_trainer_open(weft_trainer *t)
{
    t->log.log.fd = t->log.timing.fd = -1;
    if (t->recipe->msg->train->threads > 0)
        WEFT_TRY(weft_threads_set(t->ctx, (int)t->recipe->msg->train->threads));
    t->info.threads = weft_threads(t->ctx);
    WEFT_TRY(build_model(t));
    t->ctx->look_only = !needs_hash(t);
    weft_status s = open_data(t);
    t->ctx->look_only = t->look;
    WEFT_TRY(s);
    WEFT_TRY(open_labels(t));
    WEFT_TRY(weft_session_new(t->ctx, false, &t->session));
    t->session->bare = t->look;
    return open_run(t);
}

void weft_trainer_close(weft_trainer *t)
{
    weft_runlog_close(&t->log);
    weft_run_dir_close(t->run_dir);
    weft_labels_close(t->eval.sampler.labels);
    weft_labels_close(t->sampler.labels);
    weft_tokens_close(t->val_tokens);
    weft_tokens_close(t->train_tokens);
    weft_session_free(t->session);
    weft_graph_free(t->forward);
    weft_model_free(t->model);
}
