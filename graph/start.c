/* start.c - weights whose first value the model computes: the `start` entries of a recipe.
 *
 * An initialiser knows names and sizes only.  A bias that begins at the median of the data, or a
 * decoder that begins as the encoder's transpose, is a value of the graph.  It is computed once
 * before the first step; checkpoints have it, so resuming needs nothing of this. */
#include <math.h>
#include <string.h>

#include "graph/labels.h"
#include "graph/trainer.h"

static weft_status set_one(weft_trainer *t, const Weft__Start *s)
{
    weft_program *p;
    weft_type type;
    const char *fetch[] = {s->value};
    weft_feed feed[WEFT_BATCH_FEEDS];
    const weft_compile_options o = {.plan_only = t->look,
                                    .no_rewrite = t->options->no_rewrite,
                                    .max_memory = (size_t)t->recipe->msg->train->max_memory};
    weft_state *w = weft_session_state(t->session, s->weight);
    WEFT_TRY(weft_program_compile(t->session, t->forward, fetch, 1, &o, &p));
    const int64_t k = t->sampler.labels ? weft_labels_header(t->sampler.labels)->k : 0;
    WEFT_TRY(weft_program_check_feeds(p, "training", feed, weft_batch_feeds(&t->sampler, k, feed)));
    if (t->look)
        return WEFT_OK;
    WEFT_TRY(weft_feed_batch(p, &t->sampler, 0));
    weft_feed_rng(p, t->progress.seed, 0);
    WEFT_TRY(weft_program_run(p));
    const void *value = weft_program_output(p, s->value, &type);
    if (!w || !value || !weft_type_equal(&w->type, &type))
        return weft_fail(t->ctx, WEFT_INTERNAL, "start: weight '%s' cannot become '%s'", s->weight,
                         s->value);
    for (int64_t i = 0, n = weft_type_count(&type); i < n; i++)
        if (!isfinite(weft_element(&type, value, i)))
            return weft_fail(t->ctx, WEFT_NUMERIC,
                             "start: element %lld of '%s', the first value of weight '%s', is not "
                             "finite",
                             (long long)i, s->value, s->weight);
    memcpy(w->data, value, weft_type_bytes(&type));
    return WEFT_OK;
}

weft_status weft_trainer_start(weft_trainer *t)
{
    const Weft__Recipe *m = t->recipe->msg;
    for (size_t i = 0; i < m->n_start; i++)
        if (set_one(t, m->start[i]))
            return weft_note(t->ctx, "in %s: start { weight: \"%s\" value: \"%s\" }",
                             t->recipe->path, m->start[i]->weight, m->start[i]->value);
    return WEFT_OK;
}
