/* evaluate.c - the mean loss of a model over a token file. */
#include "graph/evaluate.h"

#include <stdint.h>
#include <string.h>

#include "graph/labels.h"
#include "graph/labels_part.h"
#include "graph/plan.h"

int weft_eval_outputs(const weft_recipe *r, const char **out)
{
    const Weft__Eval *e = r->msg->eval;
    int n = 1;
    out[0] = weft_recipe_eval_loss(r);
    for (size_t i = 0; i < e->n_log; i++)
        if (strcmp(e->log[i], out[0]))
            out[n++] = e->log[i];
    return n;
}

/* Whole batches of an evaluation, and sequences after the last of them: none if there are as many
 * batches as are asked for. */
static void count_batches(const weft_sampler *s, int64_t batches, int64_t *all, int64_t *rest)
{
    int64_t blocks = weft_sampler_blocks(s);
    *all = blocks / s->B;
    *rest = batches > 0 && batches <= *all ? 0 : blocks % s->B;
    if (batches > 0 && batches < *all)
        *all = batches;
}

bool weft_evaluator_rest(const weft_sampler *s, int64_t batches)
{
    int64_t all, rest;
    count_batches(s, batches, &all, &rest);
    return rest > 0;
}

/* ---- programs ---- */
/* Names and values of a session live as long as it. */
static weft_status take_means(weft_evaluator *e, weft_session *s, const weft_rounds *r)
{
    e->n_mean = r->n_pool;
    e->mean = weft_arena_array(s->arena, (size_t)r->n_pool + 1, sizeof *e->mean);
    for (int i = 0; e->mean && i < r->n_pool; i++) {
        weft_eval_mean *m = &e->mean[i];
        *m = (weft_eval_mean){.is = r->pool[i], .count = weft_type_count(&r->pool[i].type)};
        m->value = weft_arena_array(s->arena, (size_t)m->count, sizeof *m->value);
        if (!m->value)
            break;
    }
    return s->ctx->status;
}

/* A mean over the data is of one type, whatever the batch. */
static weft_status same_means(const weft_evaluator *e, weft_session *s, const weft_rounds *r)
{
    char a[160], b[160];
    for (int i = 0; i < e->n_mean && i < r->n_pool; i++)
        if (!weft_type_equal(&e->mean[i].is.type, &r->pool[i].type))
            return weft_fail(s->ctx, WEFT_MALFORMED,
                             "data_mean: '%s' is %s in a batch of %lld, but %s in a batch of one: "
                             "it must be a mean over the batch",
                             r->pool[i].name, weft_type_print(a, sizeof a, &e->mean[i].is.type),
                             (long long)e->sampler.B,
                             weft_type_print(b, sizeof b, &r->pool[i].type));
    return WEFT_OK;
}

static weft_status check_feeds(const weft_evaluator *e, const weft_program *p, int round, int64_t B)
{
    weft_arena *a = p->session->arena;
    weft_feed *feed = weft_arena_array(a, WEFT_BATCH_FEEDS + (size_t)e->n_mean, sizeof *feed);
    weft_sampler s = e->sampler;
    s.B = B;
    if (!feed)
        return p->session->ctx->status;
    int n = weft_batch_feeds(&s, s.labels ? weft_labels_header(s.labels)->k : 0, feed);
    for (int i = 0; i < e->n_mean; i++)
        if (e->mean[i].is.round < round)
            feed[n++] = (weft_feed){e->mean[i].is.to, e->mean[i].is.type, "means over the data"};
    return weft_program_check_feeds(p, "evaluation", feed, n);
}

static bool reads_data(const weft_evaluator *e, weft_program *p)
{
    const char *const name[] = {"tokens", "targets", "rng", e->sampler.label, e->sampler.score};
    weft_type t;
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (name[i] && weft_program_input(p, name[i], &t))
            return true;
    return false;
}

static weft_status compile_rounds(weft_evaluator *e, weft_session *s, const weft_graph *g,
                                  const weft_rounds *r, int64_t B, bool single,
                                  const weft_compile_options *o)
{
    for (int k = 0; k < r->n_round; k++) {
        weft_eval_round *x = &e->round[k];
        weft_program **p = single ? &x->single : &x->program;
        WEFT_TRY(weft_program_compile(s, r->graph[k] ? r->graph[k] : g, r->fetch[k], r->n_fetch[k],
                                      o, p));
        WEFT_TRY(check_feeds(e, *p, k, B));
        weft_type t;
        x->constant = k > 0 && !reads_data(e, *p);
        if (!single && e->text < 0 && weft_program_input(*p, "targets", &t))
            e->text = k;
    }
    return WEFT_OK;
}

static weft_status compile_cut(weft_evaluator *e, weft_session *s, const weft_graph *g, int64_t B,
                               const char *const *want, int n, bool single,
                               const weft_compile_options *o)
{
    weft_rounds r;
    WEFT_TRY(weft_rounds_make(s->arena, g, want, n, &r));
    e->n_round = r.n_round;
    for (int i = 0; i < n; i++)
        e->at[i] = r.at[i];
    weft_status status = single ? same_means(e, s, &r) : take_means(e, s, &r);
    if (!status)
        status = compile_rounds(e, s, g, &r, B, single, o);
    weft_rounds_free(&r);
    return status;
}

static weft_status compile(weft_evaluator *e, const weft_recipe *r, weft_session *s,
                           const weft_graph *g, int64_t B, bool single,
                           const weft_compile_options *o)
{
    const char *want[1 + WEFT_MAX_LOG] = {e->loss};
    int n = 1;
    weft_graph *cut = NULL;
    for (; n <= e->n_log; n++)
        want[n] = e->log[n - 1];
    if (e->sampler.labels)
        WEFT_TRY(weft_labels_cut(r, g, weft_recipe_file(r, WEFT_RECIPE_VAL_LABELS), want, n, &cut));
    weft_status status = compile_cut(e, s, cut ? cut : g, B, want, n, single, o);
    weft_graph_free(cut);
    return status;
}

weft_status weft_evaluator_compile(weft_evaluator *e, const weft_recipe *r, weft_session *s,
                                   const weft_graph *g, const weft_graph *one,
                                   const weft_compile_options *o)
{
    weft_type t = {0};
    e->text = -1;
    WEFT_TRY(compile(e, r, s, g, e->sampler.B, false, o));
    if (one)
        WEFT_TRY(weft_tokens_type(one, &t));
    return t.dim[0] == 1 ? compile(e, r, s, one, 1, true, o) : WEFT_OK;
}

size_t weft_evaluator_bytes(const weft_evaluator *e)
{
    size_t most = 0;
    for (int k = 0; k < e->n_round; k++) {
        const weft_program *const p[] = {e->round[k].program, e->round[k].single};
        for (int i = 0; i < 2; i++)
            if (p[i] && p[i]->plan_bytes > most)
                most = p[i]->plan_bytes;
    }
    return most;
}

/* ---- means over the data ---- */
static weft_tensor row_of(const weft_type *t, const void *data)
{
    weft_tensor x = {.data = (void *)(uintptr_t)data, .dtype = t->dtype, .rank = 1};
    x.count = x.dim[0] = weft_type_count(t);
    x.stride[0] = 1;
    return x;
}

static void feed_means(const weft_evaluator *e, weft_program *p, int round)
{
    weft_type t;
    for (int i = 0; i < e->n_mean; i++) {
        const weft_eval_mean *m = &e->mean[i];
        void *data = m->is.round < round ? weft_program_input(p, m->is.to, &t) : NULL;
        if (!data)
            continue;
        weft_tensor x = row_of(&t, data);
        for (int64_t j = 0; j < m->count; j++)
            weft_put(&x, j, m->value[j]);
    }
}

static void add_means(weft_evaluator *e, weft_program *p, int round, double weight)
{
    weft_type t;
    for (int i = 0; i < e->n_mean; i++) {
        weft_eval_mean *m = &e->mean[i];
        if (m->is.round != round)
            continue;
        const void *data = weft_program_output(p, m->is.from, &t);
        const weft_tensor x = row_of(&t, data);
        for (int64_t j = 0; j < m->count; j++)
            m->value[j] += weight * weft_get(&x, j);
    }
}

/* Sums of the round to means; before it, to 0. */
static void scale_means(weft_evaluator *e, int round, double factor)
{
    for (int i = 0; i < e->n_mean; i++)
        for (int64_t j = 0; e->mean[i].is.round == round && j < e->mean[i].count; j++)
            e->mean[i].value[j] = factor ? factor * e->mean[i].value[j] : 0;
}

/* ---- batches ---- */
/* Bytes that the targets of so many tokens stand for. */
static int64_t count_bytes(const weft_evaluator *e, weft_program *p, int64_t tokens)
{
    weft_type t;
    const int32_t *targets = weft_program_input(p, "targets", &t);
    return targets && e->token_bytes ? e->token_bytes(e->user, targets, tokens) : 0;
}

/* Adds what batch `cursor` of the sampler gives, as often as it has sequences of its own; returns
 * how many these are in *sequences. */
static weft_status run_batch(weft_evaluator *e, int round, weft_program *p, const weft_sampler *s,
                             int64_t cursor, weft_eval_result *out, int64_t *sequences)
{
    const int64_t own = s->copies ? 1 : s->B;
    weft_feed_rng(p, s->seed, cursor);
    feed_means(e, p, round);
    WEFT_TRY(weft_feed_batch(p, s, cursor));
    if (round == e->text) /* before the run: feeds are not kept */
        out->bytes += count_bytes(e, p, own * s->T);
    WEFT_TRY(weft_program_run(p));
    if (e->at[0] == round)
        out->loss += (double)own * weft_fetch_scalar(p, e->loss);
    for (int k = 0; k < e->n_log; k++)
        if (e->at[1 + k] == round)
            out->log[k] += (double)own * weft_fetch_scalar(p, e->log[k]);
    add_means(e, p, round, (double)own);
    *sequences += own;
    return WEFT_OK;
}

/* What there is to run: whole batches, then single sequences. */
typedef struct {
    int64_t all, rest, done, total; /* done of total: over all rounds */
    weft_sampler one;
} batches_of;

static void tell(weft_evaluator *e, batches_of *b)
{
    b->done++;
    if (e->progress)
        e->progress(e->user, b->done, b->total);
}

static weft_status run_round(weft_evaluator *e, int round, batches_of *b, weft_eval_result *out)
{
    const weft_eval_round *x = &e->round[round];
    int64_t sequences = 0, first = b->all * e->sampler.B;
    int64_t all = x->constant && b->all ? 1 : b->all, rest = !x->constant ? b->rest : all ? 0 : 1;
    scale_means(e, round, 0);
    for (int64_t i = 0; i < all + rest; i++) {
        WEFT_TRY(i < all ? run_batch(e, round, x->program, &e->sampler, i, out, &sequences)
                         : run_batch(e, round, x->single ? x->single : x->program, &b->one,
                                     first + (i - all), out, &sequences));
        tell(e, b);
    }
    scale_means(e, round, 1 / (double)sequences);
    if (e->at[0] == round)
        out->loss /= (double)sequences;
    for (int k = 0; k < e->n_log; k++)
        if (e->at[1 + k] == round)
            out->log[k] /= (double)sequences;
    if (!round)
        out->tokens = sequences * e->sampler.T;
    return WEFT_OK;
}

weft_status weft_evaluator_run(weft_evaluator *e, int64_t batches, weft_eval_result *out)
{
    weft_ctx *c = e->round[0].program->session->ctx;
    int64_t start = weft_now_ns(c);
    batches_of b = {.one = e->sampler};
    *out = (weft_eval_result){.n_log = e->n_log, .log_name = e->log};
    count_batches(&e->sampler, batches, &b.all, &b.rest);
    if (b.all + b.rest < 1)
        return weft_fail(c, WEFT_MALFORMED,
                         "validation data: %lld tokens are too few for one sequence of %lld",
                         (long long)weft_tokens_count(e->sampler.tokens), (long long)e->sampler.T);
    if (e->round[0].single)
        b.one.B = 1;
    else
        b.one.copies = true;
    for (int k = 0; k < e->n_round; k++)
        b.total += e->round[k].constant ? 1 : b.all + b.rest;
    for (int k = 0; k < e->n_round; k++)
        WEFT_TRY(run_round(e, k, &b, out));
    out->seconds = (double)(weft_now_ns(c) - start) * 1e-9;
    return WEFT_OK;
}
