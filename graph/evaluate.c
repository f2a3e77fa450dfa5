/* evaluate.c - the mean loss of a model over a token file. */
#include "graph/evaluate.h"

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
static weft_status check_feeds(const weft_evaluator *e, const weft_program *p, int64_t B)
{
    weft_feed feed[WEFT_BATCH_FEEDS];
    weft_sampler s = e->sampler;
    s.B = B;
    const int64_t k = s.labels ? weft_labels_header(s.labels)->k : 0;
    return weft_program_check_feeds(p, "evaluation", feed, weft_batch_feeds(&s, k, feed));
}

static weft_status compile(const weft_evaluator *e, const weft_recipe *r, weft_session *s,
                           const weft_graph *g, int64_t B, const weft_compile_options *o,
                           weft_program **out)
{
    const char *fetch[1 + WEFT_MAX_LOG] = {e->loss};
    int n = r ? weft_eval_outputs(r, fetch) : 1;
    weft_graph *cut = NULL;
    if (e->sampler.labels)
        WEFT_TRY(
            weft_labels_cut(r, g, weft_recipe_file(r, WEFT_RECIPE_VAL_LABELS), fetch, n, &cut));
    weft_status status = weft_program_compile(s, cut ? cut : g, fetch, n, o, out);
    weft_graph_free(cut);
    return status ? status : check_feeds(e, *out, B);
}

weft_status weft_evaluator_compile(weft_evaluator *e, const weft_recipe *r, weft_session *s,
                                   const weft_graph *g, const weft_graph *one,
                                   const weft_compile_options *o)
{
    WEFT_TRY(compile(e, r, s, g, e->sampler.B, o, &e->program));
    weft_type t = {0};
    if (one)
        WEFT_TRY(weft_tokens_type(one, &t));
    return t.dim[0] == 1 ? compile(e, r, s, one, 1, o, &e->single) : WEFT_OK;
}

/* ---- batches ---- */
/* Bytes that the targets of so many tokens stand for. */
static int64_t count_bytes(const weft_evaluator *e, weft_program *p, int64_t tokens)
{
    weft_type t;
    const int32_t *targets = weft_program_input(p, "targets", &t);
    return targets && e->token_bytes ? e->token_bytes(e->user, targets, tokens) : 0;
}

/* Adds what batch `cursor` of the sampler gives, as often as it has sequences of its own. */
static weft_status run_batch(weft_evaluator *e, weft_program *p, const weft_sampler *s,
                             int64_t cursor, weft_eval_result *out)
{
    const int64_t sequences = s->copies ? 1 : s->B;
    double weight = (double)sequences;
    weft_feed_rng(p, s->seed, cursor);
    WEFT_TRY(weft_feed_batch(p, s, cursor));
    out->bytes += count_bytes(e, p, sequences * s->T); /* before the run: feeds are not kept */
    WEFT_TRY(weft_program_run(p));
    out->loss += weight * weft_fetch_scalar(p, e->loss);
    for (int k = 0; k < e->n_log; k++)
        out->log[k] += weight * weft_fetch_scalar(p, e->log[k]);
    out->tokens += sequences * s->T;
    return WEFT_OK;
}

weft_status weft_evaluator_run(weft_evaluator *e, int64_t batches, weft_eval_result *out)
{
    weft_ctx *c = e->program->session->ctx;
    int64_t start = weft_now_ns(c), blocks = weft_sampler_blocks(&e->sampler), all, rest;
    weft_sampler one = e->sampler;
    *out = (weft_eval_result){.n_log = e->n_log, .log_name = e->log};
    count_batches(&e->sampler, batches, &all, &rest);
    if (all + rest < 1)
        return weft_fail(c, WEFT_MALFORMED,
                         "validation data: %lld tokens are too few for one sequence of %lld",
                         (long long)weft_tokens_count(e->sampler.tokens), (long long)e->sampler.T);
    if (e->single)
        one.B = 1;
    else
        one.copies = true;
    for (int64_t i = 0; i < all + rest; i++) {
        WEFT_TRY(i < all ? run_batch(e, e->program, &e->sampler, i, out)
                         : run_batch(e, e->single ? e->single : e->program, &one,
                                     blocks - rest + (i - all), out));
        if (e->progress)
            e->progress(e->user, i + 1, all + rest);
    }
    double sequences = (double)(out->tokens / e->sampler.T);
    out->loss /= sequences;
    for (int k = 0; k < e->n_log; k++)
        out->log[k] /= sequences;
    out->seconds = (double)(weft_now_ns(c) - start) * 1e-9;
    return WEFT_OK;
}
