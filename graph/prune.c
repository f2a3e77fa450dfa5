/* prune.c - keeps what some values need, and nothing else.
 *
 * Input: a graph and the values to keep.  Output: a new graph with the nodes, inputs and states
 * that they depend on, in the same order; outputs whose value is kept stay outputs.  Effects (state
 * updates) live only if asked for. */
#include <string.h>

#include "graph/ir.h"

static void mark(const weft_graph *g, bool *live, const weft_val *keep, int n)
{
    for (int i = 0; i < n; i++)
        if (keep[i] >= 0)
            live[keep[i]] = true;
    for (int k = g->n_node - 1; k >= 0; k--) {
        const weft_node *x = &g->node[k];
        bool used = false;
        for (int i = 0; i < x->n_out; i++)
            used = used || live[x->out[i]];
        for (int i = 0; used && i < x->n_in; i++)
            if (x->in[i] >= 0)
                live[x->in[i]] = true;
    }
}

static bool copy_sources(const weft_graph *g, weft_graph *h, const bool *live, weft_val *map)
{
    for (weft_val v = 0; v < g->n_value; v++) {
        const weft_value *x = &g->value[v];
        map[v] = WEFT_NONE;
        if (!live[v] || x->kind == WEFT_VALUE_NODE)
            continue;
        map[v] = weft_graph_copy_source(h, x);
        if (map[v] < 0)
            return false;
        if (v == g->rng)
            h->rng = map[v];
    }
    return true;
}

static bool is_live(const weft_node *n, const bool *live)
{
    for (int i = 0; i < n->n_out; i++)
        if (live[n->out[i]])
            return true;
    return false;
}

weft_status weft_graph_prune(const weft_graph *g, const weft_val *keep, int n, weft_graph **out,
                             weft_val *map)
{
    weft_graph *h = weft_graph_new(g->ctx);
    if (!h)
        return g->ctx->status;
    bool *live = weft_arena_array(h->arena, (size_t)g->n_value + 1, sizeof *live);
    weft_val *own = map ? map : weft_arena_array(h->arena, (size_t)g->n_value + 1, sizeof *own);
    bool ok = live && own;
    if (ok)
        mark(g, live, keep, n);
    ok = ok && copy_sources(g, h, live, own);
    h->next_stream = g->next_stream;
    h->entry = weft_arena_strdup(h->arena, g->entry);
    for (int k = 0; ok && k < g->n_node; k++)
        ok = !is_live(&g->node[k], live) || weft_graph_copy_node(h, g, k, own) >= 0;
    for (int i = 0; ok && i < g->n_output; i++)
        if (own[g->output[i].value] >= 0)
            ok = !weft_graph_output(h, g->output[i].name, own[g->output[i].value]);
    if (!ok) {
        weft_graph_free(h);
        return g->ctx->status;
    }
    *out = h;
    return WEFT_OK;
}
