/* cached.c - training by labels from a file: the value of the labels is an input, and the extractor
 * that computes it is no part of the step.
 *
 * The file must hold what the extractor would have said: of the same data in the same windows, by
 * the same part of the model and, as far as its weights are at hand, by the same weights. */
#include <string.h>

#include "graph/labels.h"
#include "graph/labels_part.h"
#include "graph/trainer.h"

static const char *named(const char *path) { return path && *path ? path : NULL; }

/* ---- opening ---- */
/* Labels that change while the model is trained cannot be kept. */
static weft_status check_frozen(const weft_trainer *t)
{
    weft_graph *part = NULL;
    WEFT_TRY(weft_label_part(t->forward, weft_recipe_label_value(t->recipe), &part));
    weft_status s = WEFT_OK;
    for (weft_val v = 0; v < part->n_value && !s; v++)
        if (part->value[v].kind == WEFT_VALUE_STATE && part->value[v].trainable)
            s = weft_fail(t->ctx, WEFT_MALFORMED,
                          "%s: data.labels: the labels are computed from '%s', which is trained; "
                          "trainable: false on its call freezes it",
                          t->recipe->path, part->value[v].name);
    weft_graph_free(part);
    return s;
}

static weft_status graph_hash(weft_trainer *t, uint64_t *out)
{
    weft_model *m = NULL;
    weft_graph *g = NULL;
    WEFT_TRY(weft_recipe_model(t->recipe, 1, 0, &m));
    weft_status s = weft_graph_expand(m, &g);
    if (!s)
        s = weft_label_graph_hash(g, weft_recipe_label_value(t->recipe), out);
    weft_graph_free(g);
    weft_model_free(m);
    return s;
}

static weft_status open_labels(weft_trainer *t, const char *field, const char *path, uint64_t graph,
                               weft_sampler *s)
{
    weft_label_shape shape;
    s->label = weft_recipe_label_value(t->recipe);
    s->score = weft_recipe_score_value(t->recipe);
    WEFT_TRY(weft_label_shape_of(t->forward, s->label, &shape));
    WEFT_TRY(weft_labels_open(t->ctx, path, &s->labels));
    const weft_label_header want = {.T = shape.T,
                                    .k = shape.k,
                                    .concepts = shape.concepts,
                                    .windows = weft_sampler_blocks(s),
                                    .data_tokens = weft_tokens_count(s->tokens),
                                    .data_hash = weft_tokens_hash(s->tokens),
                                    .graph_hash = graph};
    return weft_label_match(t->ctx, path, weft_labels_header(s->labels), &want, false)
               ? weft_note(t->ctx, "in %s: %s", t->recipe->path, field)
               : WEFT_OK;
}

weft_status weft_trainer_open_labels(weft_trainer *t)
{
    const Weft__Data *d = t->recipe->msg->data;
    uint64_t graph;
    if (!named(d->labels) && !named(d->val_labels))
        return WEFT_OK;
    WEFT_TRY(check_frozen(t));
    WEFT_TRY(graph_hash(t, &graph));
    if (named(d->labels))
        WEFT_TRY(open_labels(t, "data.labels", d->labels, graph, &t->sampler));
    if (named(d->val_labels) && t->val_tokens)
        WEFT_TRY(open_labels(t, "data.val_labels", d->val_labels, graph, &t->eval.sampler));
    return WEFT_OK;
}

/* ---- the weights ---- */
static bool in_scope(const char *name, const char *scope)
{
    return !strncmp(name, scope, strlen(scope));
}

static bool entry_matters(const weft_graph *part, const char *scope)
{
    for (weft_val v = 0; v < part->n_value; v++)
        if (part->value[v].kind == WEFT_VALUE_STATE && in_scope(part->value[v].name, scope))
            return true;
    return false;
}

/* What no entry loads has the value that it has in this run: frozen start values. */
static bool copy_ready(weft_trainer *t, weft_session *s, const weft_graph *part)
{
    bool all = true;
    for (weft_val v = 0; v < part->n_value; v++) {
        if (part->value[v].kind != WEFT_VALUE_STATE)
            continue;
        weft_state *to = weft_session_state(s, part->value[v].name);
        const weft_state *from = weft_session_state(t->session, part->value[v].name);
        if (!to->ready && from && from->ready) {
            memcpy(to->data, from->data, weft_type_bytes(&to->type));
            to->ready = true;
        }
        all = all && to->ready;
    }
    return all;
}

/* Into a session of its own, since the run has no need of them. *out 0: some are not there. */
static weft_status load_and_hash(weft_trainer *t, weft_session *s, const weft_graph *part,
                                 uint64_t *out)
{
    const Weft__Recipe *m = t->recipe->msg;
    const char *label = weft_recipe_label_value(t->recipe);
    *out = 0;
    for (size_t i = 0; i < m->n_load; i++) {
        const char *scope = m->load[i]->scope ? m->load[i]->scope : "";
        if (!entry_matters(part, scope))
            continue;
        const char *path = weft_frozen_file(t->arena, m->load[i]->file, t->dir);
        if (!path)
            return t->ctx->status;
        if (weft_exists(t->ctx, path) <= 0) {
            weft_log(t->ctx,
                     "%s is not there: whether the labels were made with these weights is "
                     "not checked",
                     m->load[i]->file);
            return WEFT_OK;
        }
        if (weft_weights_load(s, path, scope))
            return weft_note(t->ctx, "to compare them with the labels' weights");
    }
    return copy_ready(t, s, part) ? weft_label_weight_hash(s, t->forward, label, out) : WEFT_OK;
}

static weft_status weight_hash(weft_trainer *t, uint64_t *out)
{
    weft_session *s = NULL;
    weft_graph *part = NULL;
    weft_status status = weft_label_part(t->forward, weft_recipe_label_value(t->recipe), &part);
    if (!status)
        status = weft_session_new(t->ctx, false, &s);
    if (!status)
        status =
            weft_session_add_states(s, t->forward); /* memory that is not touched costs nothing */
    if (!status)
        status = load_and_hash(t, s, part, out);
    weft_session_free(s);
    weft_graph_free(part);
    return status;
}

static weft_status compare_weights(weft_trainer *t, const char *path, const weft_labels *l,
                                   uint64_t hash)
{
    weft_label_header want = *weft_labels_header(l);
    want.weight_hash = hash;
    return weft_label_match(t->ctx, path, weft_labels_header(l), &want, false);
}

weft_status weft_trainer_check_labels(weft_trainer *t)
{
    const Weft__Data *d = t->recipe->msg->data;
    uint64_t hash;
    if (!t->sampler.labels && !t->eval.sampler.labels)
        return WEFT_OK;
    WEFT_TRY(weight_hash(t, &hash));
    if (t->sampler.labels)
        WEFT_TRY(compare_weights(t, d->labels, t->sampler.labels, hash));
    if (t->eval.sampler.labels)
        WEFT_TRY(compare_weights(t, d->val_labels, t->eval.sampler.labels, hash));
    return WEFT_OK;
}
