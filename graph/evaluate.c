/* evaluate.c - the mean loss of a model over a token file, and what feeding tokens takes. */
#include <math.h>
#include <string.h>

#include "graph/trainer.h"

weft_status weft_tokens_type(const weft_graph *g, weft_type *t)
{
    char text[160];
    weft_val v = weft_graph_find(g, "tokens");
    if (v == WEFT_NONE || g->value[v].kind != WEFT_VALUE_INPUT)
        return weft_fail(g->ctx, WEFT_MALFORMED,
                         "the entry module '%s' has no input 'tokens': i32[B,T]", g->entry);
    *t = g->value[v].type;
    if (t->dtype != WEFT_I32 || t->rank != 2)
        return weft_fail(g->ctx, WEFT_MALFORMED, "input 'tokens' is %s, expected i32[B,T]",
                         weft_type_print(text, sizeof text, t));
    return WEFT_OK;
}

int64_t weft_graph_vocab(const weft_graph *g, int64_t missing)
{
    weft_val v = weft_graph_find_output(g, "logits");
    if (v == WEFT_NONE || g->value[v].type.rank < 1)
        return missing;
    return g->value[v].type.dim[g->value[v].type.rank - 1];
}

weft_status weft_feed_batch(weft_program *p, const weft_sampler *s, int64_t cursor)
{
    weft_type t;
    int32_t *tokens = weft_program_input(p, "tokens", &t);
    int32_t *targets = weft_program_input(p, "targets", &t);
    weft_status status = weft_sampler_batch(s, cursor, tokens, targets);
    return status ? status : weft_feed_labels(p, s, cursor);
}

void weft_feed_rng(weft_program *p, uint64_t seed, int64_t step)
{
    weft_type t;
    int64_t *rng = weft_program_input(p, "rng", &t);
    if (rng) {
        rng[0] = (int64_t)seed;
        rng[1] = step;
    }
}

double weft_fetch_scalar(weft_program *p, const char *name)
{
    weft_type t;
    const void *v = weft_program_output(p, name, &t);
    if (!v || t.rank != 0)
        return NAN;
    return t.dtype == WEFT_F64 ? *(const double *)v : t.dtype == WEFT_F32 ? *(const float *)v : NAN;
}

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

bool weft_evaluator_rest(const weft_sampler *s, int64_t batches)
{
    return batches <= 0 && weft_sampler_blocks(s) % s->B;
}

/* Bytes that the targets of one batch stand for. */
static int64_t count_bytes(const weft_evaluator *e, weft_program *p)
{
    weft_type t;
    const int32_t *targets = weft_program_input(p, "targets", &t);
    return targets && e->token_bytes ? e->token_bytes(e->user, targets, weft_type_count(&t)) : 0;
}

/* Adds what batch `cursor` of the sampler gives, as often as it has sequences. */
static weft_status run_batch(weft_evaluator *e, weft_program *p, const weft_sampler *s,
                             int64_t cursor, weft_eval_result *out)
{
    double weight = (double)s->B;
    weft_feed_rng(p, s->seed, cursor);
    WEFT_TRY(weft_feed_batch(p, s, cursor));
    out->bytes += count_bytes(e, p); /* before the run: feeds are not kept */
    WEFT_TRY(weft_program_run(p));
    out->loss += weight * weft_fetch_scalar(p, e->loss);
    for (int k = 0; k < e->n_log; k++)
        out->log[k] += weight * weft_fetch_scalar(p, e->log[k]);
    out->tokens += s->B * s->T;
    return WEFT_OK;
}

weft_status weft_evaluator_run(weft_evaluator *e, int64_t batches, weft_eval_result *out)
{
    weft_ctx *c = e->program->session->ctx;
    int64_t start = weft_now_ns(c), blocks = weft_sampler_blocks(&e->sampler);
    int64_t all = blocks / e->sampler.B, rest = 0;
    weft_sampler one = e->sampler;
    *out = (weft_eval_result){.n_log = e->n_log, .log_name = e->log};
    if (batches > 0 && batches < all)
        all = batches;
    if (e->single && weft_evaluator_rest(&e->sampler, batches))
        rest = blocks % e->sampler.B;
    if (all + rest < 1)
        return weft_fail(c, WEFT_MALFORMED,
                         "validation data: %lld tokens are too few for one batch of %lld sequences "
                         "of %lld tokens",
                         (long long)weft_tokens_count(e->sampler.tokens), (long long)e->sampler.B,
                         (long long)e->sampler.T);
    one.B = 1;
    for (int64_t i = 0; i < all + rest; i++) {
        WEFT_TRY(i < all ? run_batch(e, e->program, &e->sampler, i, out)
                         : run_batch(e, e->single, &one, blocks - rest + (i - all), out));
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
