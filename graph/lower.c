/* lower.c - meta nodes replaced by what they stand for.
 *
 * Input: a graph, maybe with nodes whose ops have a `lower` callback.  Output: the graph without
 * them.  First come the ops that only pass on some of their inputs (WEFT_LOWER_FIRST): what they
 * leave out is dropped before anything is fused, differentiated or counted, as if the file did not
 * have it.  Then the others in the order of the graph, fused before if that is wanted. */
#include "graph/ir.h"

typedef struct {
    weft_val out[sizeof((weft_op *)0)->out / sizeof(weft_port)];
} lowered;

void weft_lower_out(weft_lower *l, int i, weft_val v)
{
    /* A call on behalf of lowering has its outputs here, and no backward sweep behind weft_x. */
    if (i < l->n_out)
        ((weft_val *)l->out)[i] = v;
}

void weft_lower_gradient(weft_lower *l, weft_val loss, const weft_val *xs, int n, weft_val *out)
{
    const char *scope = l->graph->at_scope, *file = l->graph->at_file;
    int line = l->graph->at_line;
    if (!l->failed && weft_graph_gradient(l->graph, loss, xs, n, out))
        l->failed = true;
    l->graph->at_scope = scope;
    l->graph->at_file = file;
    l->graph->at_line = line;
}

static bool lowers(const weft_op *op, unsigned only, unsigned but)
{
    return op->lower && (op->flags & only) == only && !(op->flags & but);
}

static weft_status lower_node(const weft_graph *g, weft_graph *h, int k, weft_val *map)
{
    const weft_node *n = &g->node[k];
    lowered y;
    weft_node m = *n;
    weft_call c;
    m.in = weft_arena_array(h->arena, (size_t)n->n_in + 1, sizeof *m.in);
    if (!m.in)
        return g->ctx->status;
    for (int i = 0; i < n->n_in; i++)
        m.in[i] = n->in[i] < 0 ? WEFT_NONE : map[n->in[i]];
    for (int i = 0; i < n->n_out; i++)
        y.out[i] = WEFT_NONE;
    m.n_out = 0;
    if (!weft_call_node(&c, h, &m))
        return g->ctx->status;
    c.out = y.out;
    c.n_out = n->n_out;
    c.out_type = NULL;
    h->at_scope = n->scope;
    h->at_file = n->file;
    h->at_line = n->line;
    h->at_backward = n->backward;
    h->at_segment = 0;
    n->op->lower(&c);
    for (int i = 0; i < n->n_out && !g->ctx->status; i++) {
        map[n->out[i]] = y.out[i];
        if (y.out[i] < 0 || !weft_type_equal(&h->value[y.out[i]].type, &g->value[n->out[i]].type))
            return weft_fail(g->ctx, WEFT_INTERNAL,
                             "lowering of '%s' gave output %d no value of its type", n->op->name,
                             i);
        if (g->value[n->out[i]].name && !h->value[y.out[i]].name)
            weft_graph_name(h, y.out[i], g->value[n->out[i]].name);
    }
    if (g->ctx->status && n->file)
        weft_note(g->ctx, "in node '%s' of scope '%s' (%s:%d)", n->op->name, n->scope, n->file,
                  n->line);
    return g->ctx->status;
}

/* Nodes with the flags `only`, or all, and none of `but` lowered; the others copied. `map`: g's
 * values -> out's. */
static weft_status lower_nodes(const weft_graph *g, unsigned only, unsigned but, weft_val *map,
                               weft_graph **out)
{
    weft_graph *h = weft_graph_like(g, map);
    weft_status s = h ? WEFT_OK : g->ctx->status;
    for (int k = 0; !s && k < g->n_node; k++) {
        if (lowers(g->node[k].op, only, but))
            s = lower_node(g, h, k, map);
        else
            s = weft_graph_copy_node(h, g, k, map) < 0 ? g->ctx->status : WEFT_OK;
    }
    if (h) { /* strings of g, which may be gone when the next node is emitted */
        h->at_scope = "";
        h->at_file = NULL;
    }
    for (int i = 0; !s && i < g->n_output; i++)
        s = weft_graph_output(h, g->output[i].name, map[g->output[i].value]);
    *out = s ? NULL : h;
    if (s)
        weft_graph_free(h);
    return s;
}

/* ---- first of all: what is chosen ---- */
static bool has_lower(const weft_graph *g, unsigned flags, unsigned but)
{
    for (int k = 0; k < g->n_node; k++)
        if (lowers(g->node[k].op, flags, but))
            return true;
    return false;
}

/* What stays, as values of h: everything that is given or handed out, and what had no reader
 * already, since somebody may yet ask for it. */
static int find_kept(const weft_graph *g, const weft_graph *h, unsigned but, const weft_val *map,
                     bool *read, weft_val *keep)
{
    int n = 0;
    for (int k = 0; k < g->n_node; k++)
        for (int i = 0; i < g->node[k].n_in; i++)
            if (g->node[k].in[i] >= 0)
                read[g->node[k].in[i]] = true;
    for (int i = 0; i < h->n_output; i++)
        keep[n++] = h->output[i].value;
    for (weft_val v = 0; v < g->n_value; v++) {
        const weft_value *x = &g->value[v];
        bool gone = read[v] || (x->kind == WEFT_VALUE_NODE &&
                                lowers(g->node[x->node].op, WEFT_LOWER_FIRST, but));
        if (x->kind != WEFT_VALUE_NODE || !gone)
            keep[n++] = map[v];
    }
    return n;
}

weft_status weft_graph_choose_but(const weft_graph *g, unsigned but, weft_graph **out)
{
    weft_graph *h = NULL;
    *out = NULL;
    if (!has_lower(g, WEFT_LOWER_FIRST, but))
        return WEFT_OK;
    weft_arena *a = weft_arena_new(g->ctx, 0);
    size_t n = (size_t)g->n_value + (size_t)g->n_output + 1;
    weft_val *map = a ? weft_arena_array(a, n, sizeof *map) : NULL;
    weft_val *keep = map ? weft_arena_array(a, n, sizeof *keep) : NULL;
    bool *read = keep ? weft_arena_array(a, n, sizeof *read) : NULL;
    weft_status s = read ? lower_nodes(g, WEFT_LOWER_FIRST, but, map, &h) : g->ctx->status;
    if (!s)
        s = weft_graph_prune(h, keep, find_kept(g, h, but, map, read, keep), out, NULL);
    weft_graph_free(h);
    weft_arena_free(a);
    return s;
}

weft_status weft_graph_choose(const weft_graph *g, weft_graph **out)
{
    return weft_graph_choose_but(g, 0, out);
}

/* ---- all ---- */
static weft_status lower_all(const weft_graph *g, weft_graph **out)
{
    weft_val *map = weft_alloc(g->ctx, sizeof *map * ((size_t)g->n_value + 1));
    weft_status s = map ? lower_nodes(g, 0, 0, map, out) : g->ctx->status;
    weft_free(g->ctx, map);
    return s;
}

weft_status weft_graph_lower(const weft_graph *g, weft_graph **out)
{
    weft_graph *chosen = NULL;
    WEFT_TRY(weft_graph_choose(g, &chosen));
    weft_status s = lower_all(chosen ? chosen : g, out);
    weft_graph_free(chosen);
    return s;
}

weft_status weft_graph_lower_fused(const weft_graph *g, const weft_rewrite_options *o,
                                   weft_graph **out)
{
    weft_graph *chosen = NULL, *fused = NULL;
    weft_rewrite_options fuse = *o;
    WEFT_TRY(weft_graph_choose(g, &chosen));
    g = chosen ? chosen : g;
    fuse.fuse_only = true;
    weft_status s = WEFT_OK;
    if (has_lower(g, 0, 0) && !o->no_rewrite)
        s = weft_graph_rewrite(g, &fuse, &fused, NULL);
    if (!s)
        s = lower_all(fused ? fused : g, out);
    weft_graph_free(fused);
    weft_graph_free(chosen);
    return s;
}
