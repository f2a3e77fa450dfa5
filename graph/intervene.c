/* intervene.c - a graph in which the readers of named values read something made of them instead.
 *
 * Input: a graph and a list of interventions: value, op, attributes.  Output: the same graph with
 * a node of the op behind the value, and every node and output that read the value reads the
 * node.  A computed value's name goes to what is read now, so that outputs and later passes find
 * it; what it was before is called NAME.before.  Nothing here knows an op or a model. */
#include <string.h>

#include "graph/ir.h"

enum { CHANGE_IN = 4 }; /* inputs that the op of an intervention can be given */

typedef struct {
    const weft_graph *g;
    weft_graph *h;
    const weft_intervention *list;
    int n;
    weft_val *at;  /* [n] value of g */
    weft_val *map; /* g -> h: what readers get */
    weft_arena *arena;
} intervening;

static weft_val span_input(intervening *w, weft_where on)
{
    static const char *const name[] = {NULL, "span:prompt", "span:generated"};
    const weft_type t = weft_type_make(WEFT_I32, 1, (int64_t[]){2});
    weft_val v = weft_graph_find(w->h, name[on]);
    return v >= 0 ? v : weft_graph_input(w->h, name[on], &t);
}

/* A span counts tokens; a value may have several positions for one of them. */
static weft_val span_of(intervening *w, const weft_intervention *x, weft_val v)
{
    const weft_type *t = &w->h->value[v].type;
    weft_val tokens = weft_graph_find(w->h, "tokens"), span = span_input(w, x->on);
    int64_t have = t->rank > 1 ? t->dim[t->rank - 2] : 0,
            count = tokens >= 0 && w->h->value[tokens].type.rank == 2
                        ? w->h->value[tokens].type.dim[1]
                        : 0;
    char text[256];
    if (!have || !count || have % count) {
        weft_fail(w->g->ctx, WEFT_USAGE,
                  "only positions of tokens can be told apart, but '%s' is %s", x->value,
                  weft_type_print(text, sizeof text, t));
        return WEFT_NONE;
    }
    if (have == count)
        return span;
    return weft_graph_emit(w->h, "position", &span, 1, "factor=%lld", (long long)(have / count));
}

/* "PORT=NAME": puts the graph's input NAME, made here, at the op's input PORT of in[CHANGE_IN]. */
static weft_status feed_input(intervening *w, const weft_intervention *x, const weft_op *op,
                              weft_val *in)
{
    const size_t n = strcspn(x->feed, "=");
    const weft_type scalar = weft_type_make(WEFT_F32, 0, NULL);
    int i = 0;
    while (i < CHANGE_IN && op->in[i].name &&
           (strncmp(op->in[i].name, x->feed, n) || op->in[i].name[n]))
        i++;
    if (i == CHANGE_IN || !op->in[i].name || !x->feed[n] || in[i] >= 0)
        return weft_fail(w->g->ctx, WEFT_USAGE,
                         "'%s' feeds no further input of the op '%s': expected INPUT=NAME", x->feed,
                         x->op);
    const char *name = x->feed + n + 1;
    if (weft_graph_find(w->g, name) >= 0)
        return weft_fail(w->g->ctx, WEFT_USAGE, "the graph has a value '%s' already", name);
    in[i] = weft_graph_find(w->h, name);
    if (in[i] < 0)
        in[i] = weft_graph_input(w->h, name, &scalar);
    return w->g->ctx->status;
}

/* The node of one intervention on v. */
static weft_val change(intervening *w, const weft_intervention *x, weft_val v)
{
    const weft_op *op = weft_op_find(x->op);
    weft_val in[CHANGE_IN] = {v, WEFT_NONE, WEFT_NONE, WEFT_NONE};
    int n = CHANGE_IN;
    if (!op) {
        weft_fail(w->g->ctx, WEFT_USAGE, "there is no op '%s' (weft ops lists them)", x->op);
        return WEFT_NONE;
    }
    if (x->on != WEFT_ON_ALL) {
        if ((in[1] = span_of(w, x, v)) < 0)
            return WEFT_NONE;
    }
    if (x->feed && feed_input(w, x, op, in))
        return WEFT_NONE;
    while (in[n - 1] < 0)
        n--;
    weft_val y = weft_graph_emit(w->h, x->op, in, n, "%s", x->attrs);
    if (y >= 0 && !weft_type_equal(&w->h->value[y].type, &w->h->value[v].type)) {
        weft_fail(w->g->ctx, WEFT_USAGE, "the op '%s' changes the type of what it is given", x->op);
        return WEFT_NONE;
    }
    return y;
}

/* The name goes over to the last value of the chain. */
static bool rename_value(intervening *w, weft_val old, weft_val now)
{
    const char *name = w->h->value[old].name;
    if (!name || w->h->value[old].kind != WEFT_VALUE_NODE)
        return true;
    const char *before = weft_arena_printf(w->arena, "%s.before", name);
    w->h->value[old].name = NULL;
    w->h->value[now].name = name;
    if (!before || !weft_map_set(w->h->names, name, now))
        return false;
    if (weft_graph_find(w->h, before) < 0)
        weft_graph_name(w->h, old, before);
    return !w->g->ctx->status;
}

/* The graph is fine: what does not fit it is what the caller asked for. */
static weft_status refuse(intervening *w, const weft_intervention *x)
{
    weft_note(w->g->ctx, "in the intervention '%s %s' on value '%s'", x->op, x->attrs, x->value);
    if (w->g->ctx->status == WEFT_MALFORMED)
        w->g->ctx->status = WEFT_USAGE;
    return w->g->ctx->status;
}

/* All interventions on value v of g, in the order of the list. */
static weft_status change_value(intervening *w, weft_val v)
{
    weft_val first = w->map[v], now = first;
    for (int i = 0; i < w->n; i++) {
        if (w->at[i] != v)
            continue;
        now = change(w, &w->list[i], now);
        if (now < 0)
            return refuse(w, &w->list[i]);
    }
    w->map[v] = now;
    return now == first || rename_value(w, first, now) ? WEFT_OK : w->g->ctx->status;
}

static weft_status rebuild(intervening *w)
{
    const weft_graph *g = w->g;
    for (weft_val v = 0; v < g->n_value; v++)
        if (g->value[v].kind != WEFT_VALUE_NODE)
            WEFT_TRY(change_value(w, v));
    for (int k = 0; k < g->n_node; k++) {
        if (weft_graph_copy_node(w->h, g, k, w->map) < 0)
            return g->ctx->status;
        for (int i = 0; i < g->node[k].n_out; i++)
            WEFT_TRY(change_value(w, g->node[k].out[i]));
    }
    for (int i = 0; i < g->n_output; i++)
        WEFT_TRY(weft_graph_output(w->h, g->output[i].name, w->map[g->output[i].value]));
    w->h->at_scope = ""; /* strings of g */
    w->h->at_file = NULL;
    return WEFT_OK;
}

weft_status weft_graph_intervene(const weft_graph *g, const weft_intervention *list, int n,
                                 weft_graph **out)
{
    intervening w = {.g = g, .list = list, .n = n, .arena = weft_arena_new(g->ctx, 0)};
    *out = NULL;
    weft_status s = g->ctx->status;
    if (w.arena) {
        w.at = weft_arena_array(w.arena, (size_t)n + 1, sizeof *w.at);
        w.map = weft_arena_array(w.arena, (size_t)g->n_value + 1, sizeof *w.map);
        s = g->ctx->status;
    }
    for (int i = 0; !s && i < n; i++)
        if ((w.at[i] = weft_graph_need_value(g, list[i].value)) == WEFT_NONE)
            s = weft_note(g->ctx, "as a value to intervene on");
    if (!s) {
        w.h = weft_graph_like(g, w.map);
        s = w.h ? rebuild(&w) : g->ctx->status;
    }
    weft_arena_free(w.arena);
    if (s)
        weft_graph_free(w.h);
    else
        *out = w.h;
    return s;
}
