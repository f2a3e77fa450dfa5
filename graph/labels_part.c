/* labels_part.c - the part of a model that makes labels: what it gives, what identifies it, and the
 * model without it. */
#include "graph/labels_part.h"

#include <string.h>

#include "graph/hash.h"

/* ---- the part ---- */
/* The node that makes the labels; NULL: it is an input, a state, or not there. */
static const weft_node *label_node(const weft_graph *g, const char *label, const weft_type **t)
{
    weft_val v = weft_graph_find_output(g, label);
    if (v < 0)
        v = weft_graph_find(g, label);
    if (v < 0 || g->value[v].kind != WEFT_VALUE_NODE)
        return NULL;
    *t = &g->value[v].type;
    return &g->node[g->value[v].node];
}

/* Labels are indices into the last axis of what their node chooses from. */
static bool find_shape(const weft_node *n, const weft_type *t, const weft_graph *g,
                       weft_label_shape *out)
{
    const weft_type *from = n->n_in && n->in[0] >= 0 ? &g->value[n->in[0]].type : NULL;
    if (t->dtype != WEFT_I32 || t->rank != 3 || !from || from->rank < 1)
        return false;
    *out = (weft_label_shape){t->dim[0], t->dim[1], t->dim[2], from->dim[from->rank - 1]};
    return true;
}

weft_status weft_label_shape_of(const weft_graph *g, const char *label, weft_label_shape *out)
{
    char text[160];
    const weft_type *t = NULL;
    const weft_node *n = label_node(g, label, &t);
    if (!n)
        return weft_fail(g->ctx, WEFT_MALFORMED,
                         "the entry module '%s' computes no value '%s': i32[B,T,k]; recipes name "
                         "the labels by data.label_value",
                         g->entry, label);
    if (find_shape(n, t, g, out))
        return WEFT_OK;
    return weft_fail(g->ctx, WEFT_MALFORMED,
                     "value '%s' is %s, expected i32[B,T,k]: indices into the last axis of what "
                     "they are chosen from; recipes name the labels by data.label_value",
                     label, weft_type_print(text, sizeof text, t));
}

int64_t weft_label_range(const weft_graph *g, const char *label)
{
    const weft_type *t = NULL;
    weft_label_shape shape;
    const weft_node *n = label_node(g, label, &t);
    return n && find_shape(n, t, g, &shape) ? shape.concepts : 0;
}

weft_status weft_label_part(const weft_graph *g, const char *label, weft_graph **out)
{
    weft_label_shape shape;
    WEFT_TRY(weft_label_shape_of(g, label, &shape));
    weft_val v = weft_graph_need_value(g, label);
    WEFT_TRY(weft_graph_prune(g, &v, 1, out, NULL));
    (*out)->n_output = 0; /* other outputs that are needed on the way say nothing about labels */
    return WEFT_OK;
}

weft_status weft_label_graph_hash(const weft_graph *g, const char *label, uint64_t *out)
{
    weft_graph *part = NULL;
    WEFT_TRY(weft_label_part(g, label, &part));
    *out = weft_graph_hash(part);
    weft_graph_free(part);
    return WEFT_OK;
}

static weft_status hash_weights(weft_session *s, const weft_graph *part, uint64_t *out)
{
    *out = 0;
    for (int i = 0; i < part->n_value; i++) {
        const weft_value *v = &part->value[i];
        const weft_state *x = v->kind == WEFT_VALUE_STATE ? weft_session_state(s, v->name) : NULL;
        if (v->kind != WEFT_VALUE_STATE)
            continue;
        if (!x || !x->ready)
            return weft_fail(s->ctx, WEFT_INTERNAL, "weight '%s' of the labels has no value",
                             v->name);
        weft_xxh64 h;
        weft_xxh64_init(&h, 0);
        weft_xxh64_add(&h, x->name, strlen(x->name) + 1);
        weft_xxh64_add(&h, x->data, weft_type_bytes(&x->type));
        *out += weft_xxh64_value(&h); /* a sum: the order of the weights is no part of it */
    }
    *out += !*out; /* 0 means: not known */
    return WEFT_OK;
}

weft_status weft_label_weight_hash(weft_session *s, const weft_graph *g, const char *label,
                                   uint64_t *out)
{
    weft_graph *part = NULL;
    WEFT_TRY(weft_label_part(g, label, &part));
    weft_status status = hash_weights(s, part, out);
    weft_graph_free(part);
    return status;
}

/* ---- the rest ---- */
int weft_label_values(const weft_recipe *r, const weft_graph *g, const char *name[2])
{
    name[0] = weft_recipe_label_value(r);
    name[1] = weft_recipe_score_value(r);
    weft_val v = weft_graph_find(g, name[1]);
    return v >= 0 && g->value[v].kind == WEFT_VALUE_NODE && g->value[v].type.dtype == WEFT_F32 ? 2
                                                                                               : 1;
}

weft_status weft_labels_cut(const weft_recipe *r, const weft_graph *forward, const char *path,
                            const char *const *keep, int n, weft_graph **out)
{
    const char *feed[2];
    weft_label_shape shape;
    int n_feed = weft_label_values(r, forward, feed);
    *out = NULL;
    if (!path || !*path)
        return WEFT_OK;
    for (int i = 0; i < n; i++) /* who asks for it knows how to say so */
        if (weft_graph_find_output(forward, keep[i]) < 0)
            return WEFT_OK;
    weft_val v = weft_graph_find(forward, feed[0]);
    if (v >= 0 && forward->value[v].kind == WEFT_VALUE_INPUT)
        return WEFT_OK; /* somebody has cut it already */
    if (weft_label_shape_of(forward, feed[0], &shape))
        return weft_note(r->ctx, "in %s: labels are to be read from %s", r->path, path);
    return weft_graph_feed(forward, feed, n_feed, keep, n, out);
}
