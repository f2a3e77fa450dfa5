/* cached.c - label files in use: the value of the labels is an input of training or evaluation, and
 * the extractor that computes it is no part of the program.
 *
 * The file must hold what the extractor would have said: of the same data in the same windows, by
 * the same part of the model and, as far as its weights are at hand, by the same weights. */
#include "graph/cached.h"

#include <string.h>

#include "graph/checkpoint.h"
#include "graph/labels_part.h"

/* ---- opening ---- */
/* Labels that change while the model is trained cannot be kept. */
static weft_status check_frozen(const weft_recipe *r, const weft_graph *forward, const char *field)
{
    weft_graph *part = NULL;
    if (weft_label_part(forward, weft_recipe_label_value(r), &part))
        return weft_note(r->ctx, "in %s: %s, which is a file of such labels", r->path, field);
    weft_status s = WEFT_OK;
    for (weft_val v = 0; v < part->n_value && !s; v++) {
        const weft_value *x = &part->value[v];
        if (x->kind == WEFT_VALUE_STATE && (x->trainable || x->moves))
            s = weft_fail(r->ctx, WEFT_MALFORMED,
                          "%s: %s: the labels are computed from '%s', which is %s", r->path, field,
                          x->name,
                          x->trainable ? "trained; trainable: false on its call freezes it"
                                       : "updated by the model while it is trained");
    }
    weft_graph_free(part);
    return s;
}

static weft_status match(const weft_recipe *r, const weft_graph *forward, const weft_graph *one,
                         const char *path, const weft_sampler *s)
{
    weft_label_shape shape;
    uint64_t graph;
    WEFT_TRY(weft_label_shape_of(forward, s->label, &shape));
    WEFT_TRY(weft_label_graph_hash(one, s->label, &graph));
    const weft_label_header want = {.T = shape.T,
                                    .k = shape.k,
                                    .concepts = shape.concepts,
                                    .windows = weft_sampler_blocks(s),
                                    .data_tokens = weft_tokens_count(s->tokens),
                                    .data_hash = weft_tokens_hash(s->tokens),
                                    .graph_hash = graph};
    return weft_label_match(r->ctx, path, weft_labels_header(s->labels), &want, false);
}

weft_status weft_cached_open(const weft_recipe *r, const weft_graph *forward, const weft_graph *one,
                             weft_recipe_path which, weft_sampler *s)
{
    const char *field = which == WEFT_RECIPE_LABELS ? "data.labels" : "data.val_labels";
    const char *path = weft_recipe_file(r, which);
    s->label = weft_recipe_label_value(r);
    s->score = weft_recipe_score_value(r);
    WEFT_TRY(check_frozen(r, forward, field));
    weft_status status = weft_labels_open(r->ctx, path, &s->labels);
    weft_recipe_note(r, which);
    if (!status)
        status = match(r, forward, one, path, s);
    return status ? weft_note(r->ctx, "in %s: %s; without it labels are computed", r->path, field)
                  : WEFT_OK;
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
static bool copy_ready(weft_session *run, weft_session *s, const weft_graph *part)
{
    bool all = true;
    for (weft_val v = 0; v < part->n_value; v++) {
        if (part->value[v].kind != WEFT_VALUE_STATE)
            continue;
        weft_state *to = weft_session_state(s, part->value[v].name);
        const weft_state *from = weft_session_state(run, part->value[v].name);
        if (!to->ready && from && from->ready) {
            memcpy(to->data, from->data, weft_type_bytes(&to->type));
            to->ready = true;
        }
        all = all && to->ready;
    }
    return all;
}

/* Every entry that the labels depend on; `from` lists them. *all false: a file is not there. */
static weft_status load_entries(const weft_recipe *r, const weft_graph *part, weft_session *s,
                                bool *all, const char **from)
{
    const Weft__Recipe *m = r->msg;
    *all = true;
    *from = "";
    for (size_t i = 0; i < m->n_load && *all; i++) {
        const char *scope = m->load[i]->scope ? m->load[i]->scope : "";
        if (!entry_matters(part, scope))
            continue;
        const char *path = r->load_file[i];
        *from =
            weft_arena_printf(r->arena, "%s%s'%s*' of %s", *from, **from ? ", " : "", scope, path);
        if (!*from)
            return r->ctx->status;
        int kind;
        WEFT_TRY(weft_look(r->ctx, path, &kind));
        *all = kind > 0;
        if (!*all)
            weft_log(r->ctx,
                     "%s is not there: whether the labels were made with these weights is "
                     "not checked",
                     path);
        else if (weft_weights_load(s, path, scope))
            return weft_note(r->ctx, "to compare them with the labels' weights");
    }
    return WEFT_OK;
}

/* Loaded into a session of its own, since the run has no need of them. *out 0: some are not there.
 */
static weft_status weight_hash(const weft_recipe *r, const weft_graph *forward, weft_session *run,
                               uint64_t *out, const char **from)
{
    bool all = false;
    weft_session *s = NULL;
    weft_graph *part = NULL;
    *out = 0;
    weft_status status = weft_label_part(forward, weft_recipe_label_value(r), &part);
    if (!status)
        status = weft_session_new(r->ctx, false, &s);
    if (!status)
        status = weft_session_add_states(s, forward); /* memory that is not touched costs nothing */
    if (!status)
        status = load_entries(r, part, s, &all, from);
    if (!status && all && copy_ready(run, s, part))
        status = weft_label_weight_hash(s, forward, weft_recipe_label_value(r), out);
    weft_session_free(s);
    weft_graph_free(part);
    return status;
}

weft_status weft_cached_check(const weft_recipe *r, const weft_graph *forward, weft_session *run,
                              weft_labels *train, weft_labels *val)
{
    static const char *const field[] = {"data.labels", "data.val_labels"};
    weft_labels *const labels[] = {train, val};
    const char *from = "";
    uint64_t hash;
    if (!train && !val)
        return WEFT_OK;
    WEFT_TRY(weight_hash(r, forward, run, &hash, &from));
    for (int i = 0; i < 2; i++) {
        if (!labels[i])
            continue;
        weft_label_header want = *weft_labels_header(labels[i]);
        want.weight_hash = hash;
        if (weft_label_match(r->ctx, weft_labels_path(labels[i]), weft_labels_header(labels[i]),
                             &want, false))
            return weft_note(r->ctx, "in %s: %s; expected is the extractor here: %s", r->path,
                             field[i], *from ? from : "start values, as nothing loads it");
    }
    return WEFT_OK;
}
