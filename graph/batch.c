/* batch.c - what goes into a program from token files, batch by batch, and the numbers that come
 * out: for everything that runs a model over data. */
#include "graph/batch.h"

#include <math.h>

#include "graph/labels.h"
#include "graph/plan.h"

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

/* The labels of the windows, where the program reads them. */
static weft_status feed_labels(weft_program *p, const weft_sampler *s, int64_t cursor)
{
    weft_type type;
    int32_t *ids = s->labels ? weft_program_input(p, s->label, &type) : NULL;
    float *scores = s->labels ? weft_program_input(p, s->score, &type) : NULL;
    if (!ids && !scores)
        return WEFT_OK;
    const weft_label_header *h = weft_labels_header(s->labels);
    const int64_t n = h->T * h->k;
    if (scores && !h->scores)
        return weft_fail(p->session->ctx, WEFT_MISMATCH,
                         "the loss needs the value '%s', but the labels were made without: weft "
                         "labels --scores",
                         s->score);
    void *spare = ids ? NULL : weft_alloc(p->session->ctx, sizeof *ids * (size_t)n);
    weft_status status = ids || spare ? WEFT_OK : p->session->ctx->status;
    for (int64_t r = 0; r < s->B && !status; r++)
        status = weft_labels_read(s->labels, weft_sampler_window(s, weft_sampler_row(s, cursor, r)),
                                  ids ? ids + r * n : spare, scores ? scores + r * n : NULL);
    weft_free(p->session->ctx, spare);
    return status;
}

int weft_batch_feeds(const weft_sampler *s, int64_t k, weft_feed out[WEFT_BATCH_FEEDS])
{
    const weft_type tokens = weft_type_make(WEFT_I32, 2, (int64_t[]){s->B, s->T});
    const weft_type rng = weft_type_make(WEFT_I64, 1, (int64_t[]){2});
    int n = 0;
    out[n++] = (weft_feed){"tokens", tokens, "sequences of a token file"};
    out[n++] = (weft_feed){"targets", tokens, "the tokens that follow"};
    out[n++] = (weft_feed){"rng", rng, "seed and step"};
    if (k > 0) {
        const int64_t dim[] = {s->B, s->T, k};
        out[n++] = (weft_feed){s->label, weft_type_make(WEFT_I32, 3, dim), "labels of a file"};
        out[n++] = (weft_feed){s->score, weft_type_make(WEFT_F32, 3, dim), "scores of labels"};
    }
    return n;
}

weft_status weft_feed_batch(weft_program *p, const weft_sampler *s, int64_t cursor)
{
    weft_type t;
    int32_t *tokens = weft_program_input(p, "tokens", &t);
    int32_t *targets = weft_program_input(p, "targets", &t);
    weft_status status = weft_sampler_batch(s, cursor, tokens, targets);
    return status ? status : feed_labels(p, s, cursor);
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
