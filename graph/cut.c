/* cut.c - makes named values of a graph its inputs, so that what computed them can go.
 *
 * Input: a graph, the values to feed and what must still come out.  Output: a new graph in which
 * the fed values are inputs of their types; a node stays if something wanted needs it, an input or
 * state unless only the fed values needed it. */
#include <string.h>

#include "graph/ir.h"

typedef struct {
    const weft_graph *g;
    weft_graph *h;
    const char **fed; /* [n_value] under which name it is fed, NULL: it is not */
    bool *cone;       /* what a fed value is computed from, itself included */
    bool *live;       /* what the wanted values need when the fed ones are there */
    weft_val *map;    /* old -> new */
} cut;

weft_val weft_graph_need_value(const weft_graph *g, const char *name)
{
    weft_val v = weft_graph_find_output(g, name);
    if (v == WEFT_NONE)
        v = weft_graph_find(g, name);
    if (v != WEFT_NONE)
        return v;
    const char **all =
        weft_alloc(g->ctx, sizeof *all * ((size_t)g->n_output + (size_t)g->n_value + 1));
    int n = 0;
    if (!all)
        return WEFT_NONE;
    for (int i = 0; i < g->n_output; i++)
        all[n++] = g->output[i].name;
    for (int i = 0; i < g->n_value; i++)
        if (g->value[i].name)
            all[n++] = g->value[i].name;
    const char *near = weft_nearest(name, all, n);
    char word[128];
    weft_fail(g->ctx, WEFT_USAGE, "the graph has no output or value '%s'%s%s%s",
              weft_printable(word, sizeof word, name), near ? "; did you mean '" : "",
              near ? near : "", near ? "'?" : "");
    weft_free(g->ctx, all);
    return WEFT_NONE;
}

/* Everything that the marked values are computed from; `stop`: these need nothing. */
static void spread(const weft_graph *g, bool *mark, const char *const *stop)
{
    for (int k = g->n_node - 1; k >= 0; k--) {
        const weft_node *x = &g->node[k];
        bool used = false;
        for (int i = 0; i < x->n_out; i++)
            used |= mark[x->out[i]] && !(stop && stop[x->out[i]]);
        for (int i = 0; used && i < x->n_in; i++)
            if (x->in[i] >= 0)
                mark[x->in[i]] = true;
    }
}

static weft_status mark_fed(cut *c, const char *const *name, int n)
{
    for (int i = 0; i < n; i++) {
        weft_val v = weft_graph_need_value(c->g, name[i]);
        if (v == WEFT_NONE)
            return weft_note(c->g->ctx, "as a value to feed");
        c->fed[v] = c->g->value[v].kind == WEFT_VALUE_INPUT ? c->g->value[v].name : name[i];
        c->cone[v] = true;
    }
    spread(c->g, c->cone, NULL);
    return WEFT_OK;
}

/* Wanted are the kept values, or all outputs; and effects, which nobody reads. */
static weft_status mark_live(cut *c, const char *const *keep, int n)
{
    const weft_graph *g = c->g;
    for (int i = 0; i < n; i++) {
        weft_val v = weft_graph_need_value(g, keep[i]);
        if (v == WEFT_NONE)
            return g->ctx->status;
        c->live[v] = true;
    }
    for (int i = 0; !n && i < g->n_output; i++)
        c->live[g->output[i].value] = true;
    for (int k = 0; k < g->n_node; k++)
        if ((g->node[k].op->flags & WEFT_EFFECT) && !c->cone[g->node[k].out[0]])
            c->live[g->node[k].out[0]] = true;
    spread(g, c->live, c->fed);
    return WEFT_OK;
}

static bool copy_sources(cut *c)
{
    const weft_graph *g = c->g;
    for (weft_val v = 0; v < g->n_value; v++) {
        const weft_value *x = &g->value[v];
        c->map[v] = WEFT_NONE;
        if (c->fed[v])
            c->map[v] = weft_graph_input(c->h, c->fed[v], &x->type);
        else if (x->kind == WEFT_VALUE_NODE || (c->cone[v] && !c->live[v]))
            continue;
        else
            c->map[v] = weft_graph_copy_source(c->h, x);
        if (c->map[v] < 0)
            return false;
        if (v == g->rng)
            c->h->rng = c->map[v];
    }
    return true;
}

/* A node may compute a fed value beside one that is still wanted: readers get the fed one. */
static bool copy_node(cut *c, int k)
{
    const weft_node *n = &c->g->node[k];
    weft_val input[sizeof n->op->out / sizeof *n->op->out];
    bool wanted = false;
    for (int i = 0; i < n->n_out; i++) {
        wanted |= c->live[n->out[i]] && !c->fed[n->out[i]];
        input[i] = c->map[n->out[i]];
    }
    if (!wanted)
        return true;
    if (weft_graph_copy_node(c->h, c->g, k, c->map) < 0)
        return false;
    for (int i = 0; i < n->n_out; i++)
        if (c->fed[n->out[i]])
            c->map[n->out[i]] = input[i];
    return true;
}

static weft_status make(cut *c, const char *const *feed, int n_feed, const char *const *keep,
                        int n_keep)
{
    const weft_graph *g = c->g;
    size_t n = (size_t)g->n_value + 1;
    c->fed = weft_arena_array(c->h->arena, n, sizeof *c->fed);
    c->cone = weft_arena_array(c->h->arena, n, sizeof *c->cone);
    c->live = weft_arena_array(c->h->arena, n, sizeof *c->live);
    c->map = weft_arena_array(c->h->arena, n, sizeof *c->map);
    if (!c->map || !c->fed || !c->cone || !c->live)
        return g->ctx->status;
    WEFT_TRY(mark_fed(c, feed, n_feed));
    WEFT_TRY(mark_live(c, keep, n_keep));
    c->h->next_stream = g->next_stream;
    c->h->entry = weft_arena_strdup(c->h->arena, g->entry);
    bool ok = c->h->entry && copy_sources(c);
    for (int k = 0; ok && k < g->n_node; k++)
        ok = copy_node(c, k);
    for (int i = 0; ok && i < g->n_output; i++)
        if (c->map[g->output[i].value] >= 0)
            ok = !weft_graph_output(c->h, g->output[i].name, c->map[g->output[i].value]);
    return ok ? WEFT_OK : g->ctx->status;
}

weft_status weft_graph_feed(const weft_graph *g, const char *const *feed, int n_feed,
                            const char *const *keep, int n_keep, weft_graph **out)
{
    cut c = {.g = g, .h = weft_graph_new(g->ctx)};
    *out = NULL;
    weft_status s = c.h ? make(&c, feed, n_feed, keep, n_keep) : g->ctx->status;
    if (s)
        weft_graph_free(c.h);
    else
        *out = c.h;
    return s;
}
