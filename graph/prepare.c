/* prepare.c - the forward part of a training graph, ready to be differentiated.
 *
 * Input: an expanded graph and the outputs that training reads.  Output: the graph without meta
 * nodes, without what those outputs do not need, and rewritten, so that fused ops are
 * differentiated as such.  All states stay: a weight without influence is still a weight of the
 * model.  So do, for training, updates of states that the model itself makes. */
#include <string.h>

#include "graph/ir.h"

static void find_kept(const weft_graph *g, const char *const *outputs, int n, bool train,
                      weft_val *keep, int *n_keep)
{
    *n_keep = 0;
    for (int i = 0; i < n; i++) {
        weft_val v = weft_graph_find_output(g, outputs[i]);
        keep[(*n_keep)++] = v;
    }
    for (weft_val v = 0; v < g->n_value; v++)
        if (g->value[v].kind == WEFT_VALUE_STATE ||
            (train && g->value[v].kind == WEFT_VALUE_NODE &&
             g->node[g->value[v].node].op->flags & WEFT_EFFECT))
            keep[(*n_keep)++] = v;
}

static weft_status prune_to(const weft_graph *g, const char *const *outputs, int n, bool train,
                            weft_graph **out)
{
    int n_keep = 0;
    weft_val *keep = weft_alloc(g->ctx, sizeof *keep * ((size_t)g->n_value + (size_t)n + 1));
    if (keep)
        find_kept(g, outputs, n, train, keep, &n_keep);
    weft_status s = keep ? weft_graph_prune(g, keep, n_keep, out, NULL) : g->ctx->status;
    weft_free(g->ctx, keep);
    return s;
}

/* Outputs under names that nobody asked for would keep what they hold from being fused. */
static void keep_outputs(weft_graph *g, const char *const *outputs, int n)
{
    int kept = 0;
    for (int i = 0; i < g->n_output; i++)
        for (int k = 0; k < n; k++)
            if (!strcmp(g->output[i].name, outputs[k])) {
                g->output[kept++] = g->output[i];
                break;
            }
    g->n_output = kept;
}

weft_status weft_graph_prepare(const weft_graph *g, const char *const *outputs, int n,
                               const weft_rewrite_options *o, weft_graph **out)
{
    weft_graph *small = NULL, *lowered = NULL;
    for (int i = 0; i < n; i++) /* who asks for it knows how to say so */
        if (weft_graph_find_output(g, outputs[i]) < 0)
            return weft_graph_lower(g, out);
    weft_status s = prune_to(g, outputs, n, o->train, &small);
    if (!s) {
        keep_outputs(small, outputs, n);
        s = weft_graph_lower_fused(small, o, &lowered);
    }
    if (!s)
        s = weft_graph_rewrite(lowered, o, out, NULL);
    weft_graph_free(small);
    weft_graph_free(lowered);
    return s;
}
