/* layout.c - chooses how every value lies in memory: as a view, dense, or copied to be dense.
 *
 * Input: a verified graph and the values to fetch.  Output: the same graph with "copy" nodes added,
 * and strides and storage of every value.
 * Invariants: a view lies within its root; an input of an op without WEFT_STRIDED is dense; fetches
 * are dense; nobody reads a state after it was overwritten. */
#include <stdint.h>
#include <string.h>

#include "graph/plan.h"

typedef struct {
    const weft_session *session;
    weft_arena *arena;
    const weft_graph *from;
    weft_graph *to;
    weft_val *map;       /* [from] -> value of `to` */
    weft_val *dense;     /* [from] -> its dense copy, WEFT_NONE if none was made */
    weft_tensor *tensor; /* [to] */
    weft_place *place;   /* [to] */
    int *version; /* [to] how many times the root had been overwritten when this value came to be */
    int *current; /* [to] of roots: how many times by now */
    int cap;
} layout;

/* ---- tensors -------------------------------------------------------------------------------- */
static weft_tensor dense_tensor(const weft_type *t, weft_dtype stored)
{
    weft_tensor x = {.dtype = stored, .rank = t->rank, .count = weft_type_count(t)};
    int64_t step = 1;
    for (int i = t->rank; i-- > 0;) {
        x.dim[i] = t->dim[i];
        x.stride[i] = step;
        step *= t->dim[i];
    }
    return x;
}

/* The stride of an axis of one element means nothing. */
static bool is_dense(const weft_tensor *x)
{
    int64_t step = 1;
    for (int i = x->rank; i-- > 0;) {
        if (x->dim[i] != 1 && x->stride[i] != step)
            return false;
        step *= x->dim[i];
    }
    return true;
}

/* Last element that the tensor reaches, from its start. */
static int64_t reach(const weft_tensor *x)
{
    int64_t last = 0;
    for (int i = 0; i < x->rank; i++)
        last += (x->dim[i] - 1) * x->stride[i];
    return last;
}

/* `to` gains few values beyond those of `from`: room for two copies of each is always enough. */
static bool allocate(layout *l, const weft_graph *g)
{
    size_t n = (size_t)g->n_value, cap = 3 * n + 16;
    l->map = weft_arena_array(l->arena, n + 1, sizeof *l->map);
    l->dense = weft_arena_array(l->arena, n + 1, sizeof *l->dense);
    l->tensor = weft_arena_array(l->arena, cap, sizeof *l->tensor);
    l->place = weft_arena_array(l->arena, cap, sizeof *l->place);
    l->version = weft_arena_array(l->arena, cap, sizeof *l->version);
    l->current = weft_arena_array(l->arena, cap, sizeof *l->current);
    l->cap = (int)cap;
    if (!l->map || !l->dense || !l->tensor || !l->place || !l->version || !l->current)
        return false;
    for (size_t v = 0; v < n; v++)
        l->map[v] = l->dense[v] = WEFT_NONE;
    return true;
}

/* A value of `to` with storage of its own. */
static void own_storage(layout *l, weft_val v)
{
    const weft_type *t = &l->to->value[v].type;
    l->tensor[v] = dense_tensor(t, weft_session_dtype(l->session, t->dtype));
    l->place[v] = (weft_place){v, 0};
}

/* ---- copies --------------------------------------------------------------------------------- */
static void stand_at(layout *l, const weft_node *n)
{
    l->to->at_scope = n->scope;
    l->to->at_file = n->file;
    l->to->at_line = n->line;
    l->to->at_backward = n->backward;
}

/* The dense copy of `from` value v, made on first use. */
static weft_val dense_of(layout *l, weft_val v)
{
    if (is_dense(&l->tensor[l->map[v]]))
        return l->map[v];
    if (l->dense[v] == WEFT_NONE) {
        l->dense[v] = weft_graph_emit(l->to, "copy", &l->map[v], 1, "%s", "");
        if (l->dense[v] >= 0)
            own_storage(l, l->dense[v]);
    }
    return l->dense[v];
}

/* ---- order of reads and writes of states ---------------------------------------------------- */
static weft_status check_version(const layout *l, weft_val v, const char *reader, const char *scope)
{
    weft_val root = l->place[v].root;
    if (l->version[v] == l->current[root])
        return WEFT_OK;
    const weft_value *x = &l->to->value[root];
    return weft_fail(
        l->to->ctx, WEFT_INTERNAL,
        "internal: %s in '%s' reads the old value of state '%s' after it was updated; updates must "
        "come after all other readers in the graph",
        reader, scope, x->name ? x->name : "?");
}

/* ---- one node ------------------------------------------------------------------------------- */
/* Outputs as views of x; false if the op declines. */
static bool try_view(const layout *l, const weft_node *n, const weft_tensor *x, weft_tensor *y)
{
    weft_call c;
    if (!weft_call_node(&c, (weft_graph *)(uintptr_t)l->from, n))
        return false;
    for (int i = 0; i < n->n_out; i++)
        y[i] = dense_tensor(&l->from->value[n->out[i]].type, x->dtype);
    return n->op->view(&c, x, y);
}

static weft_status place_view(layout *l, const weft_node *n, weft_val x, weft_tensor *y)
{
    for (int i = 0; i < n->n_out; i++) {
        weft_val v = l->map[n->out[i]];
        int64_t at = (intptr_t)y[i].data;
        if (at < 0 || at + reach(&y[i]) > reach(&l->tensor[x]))
            return weft_fail(l->to->ctx, WEFT_INTERNAL,
                             "internal: view '%s' reaches beyond its input", n->op->name);
        y[i].data = NULL;
        l->tensor[v] = y[i];
        l->place[v] = (weft_place){l->place[x].root, l->place[x].offset + at};
        l->version[v] = l->version[x];
    }
    return WEFT_OK;
}

static weft_status place_alias(layout *l, const weft_node *n, int port, weft_val v)
{
    weft_val x = l->map[n->in[n->op->out[port].alias - 1]];
    weft_val root = l->place[x].root;
    if (l->to->value[root].kind != WEFT_VALUE_STATE || !is_dense(&l->tensor[x]) ||
        l->place[x].offset)
        return weft_fail(l->to->ctx, WEFT_INTERNAL,
                         "internal: output '%s' of %s overwrites a value that is no state",
                         n->op->out[port].name, n->op->name);
    l->tensor[v] = l->tensor[x];
    l->place[v] = l->place[x];
    l->version[v] = ++l->current[root];
    return WEFT_OK;
}

static weft_status place_outputs(layout *l, const weft_node *n)
{
    for (int i = 0; i < n->n_out; i++) {
        weft_val v = l->map[n->out[i]];
        if (n->op->out[i].alias)
            WEFT_TRY(place_alias(l, n, i, v));
        else
            own_storage(l, v);
    }
    return WEFT_OK;
}

/* Appends node k with its inputs mapped, dense where the kernel needs it. */
static weft_status append(layout *l, int k, bool all_dense, bool first_dense)
{
    const weft_node *n = &l->from->node[k];
    weft_val few[24], *kept = few;
    if (n->n_in > 24 && !(kept = weft_arena_array(l->arena, (size_t)n->n_in, sizeof *kept)))
        return l->to->ctx->status;
    stand_at(l, n);
    for (int i = 0; i < n->n_in;
         i++) /* a value may be read twice: keep all before the first is replaced */
        kept[i] = n->in[i] < 0 ? WEFT_NONE : l->map[n->in[i]];
    for (int i = 0; i < n->n_in; i++) {
        if (n->in[i] < 0)
            continue;
        WEFT_TRY(check_version(l, kept[i], n->op->name, n->scope));
        if (all_dense || (first_dense && i == 0))
            l->map[n->in[i]] = dense_of(l, n->in[i]);
        if (l->map[n->in[i]] < 0)
            return l->to->ctx->status;
    }
    int at = weft_graph_copy_node(l->to, l->from, k, l->map);
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0)
            l->map[n->in[i]] = kept[i];
    return at < 0 ? l->to->ctx->status : WEFT_OK;
}

static weft_status lay_view(layout *l, int k)
{
    const weft_node *n = &l->from->node[k];
    weft_tensor y[sizeof n->op->out / sizeof *n->op->out];
    weft_val x = l->map[n->in[0]];
    bool fits = try_view(l, n, &l->tensor[x], y);
    WEFT_TRY(append(l, k, false, !fits));
    if (!fits) {
        x = l->dense[n->in[0]];
        if (x < 0 || !try_view(l, n, &l->tensor[x], y))
            return weft_fail(l->to->ctx, WEFT_INTERNAL, "internal: %s is no view of a dense tensor",
                             n->op->name);
    }
    return place_view(l, n, x, y);
}

static weft_status lay_node(layout *l, int k)
{
    const weft_node *n = &l->from->node[k];
    if (n->op->view)
        return lay_view(l, k);
    /* References take any strides. */
    bool all_dense = !(n->op->flags & WEFT_STRIDED) && !l->session->reference;
    WEFT_TRY(append(l, k, all_dense, false));
    return place_outputs(l, n);
}

static weft_status lay_fetches(layout *l, const weft_val *fetch, int n, weft_val *out)
{
    for (int i = 0; i < n; i++) {
        WEFT_TRY(check_version(l, l->map[fetch[i]], "a fetch", ""));
        out[i] = dense_of(l, fetch[i]);
        if (out[i] < 0)
            return l->to->ctx->status;
    }
    return WEFT_OK;
}

static weft_status lay_all(layout *l, const weft_val *fetch, int n_fetch, weft_val *out)
{
    for (weft_val v = 0; v < l->to->n_value; v++)
        own_storage(l, v);
    for (int k = 0; k < l->from->n_node; k++)
        WEFT_TRY(lay_node(l, k));
    return lay_fetches(l, fetch, n_fetch, out);
}

weft_status weft_layout_make(const weft_session *s, weft_arena *arena, const weft_graph *g,
                             const weft_val *fetch, int n_fetch, weft_layout *out)
{
    layout l = {.session = s, .arena = arena, .from = g};
    *out = (weft_layout){.fetch = weft_arena_array(arena, (size_t)n_fetch + 1, sizeof *out->fetch)};
    if (!out->fetch || !allocate(&l, g))
        return g->ctx->status;
    l.to = weft_graph_like(g, l.map);
    if (!l.to)
        return g->ctx->status;
    weft_status status = lay_all(&l, fetch, n_fetch, out->fetch);
    if (status) {
        weft_graph_free(l.to);
        return status;
    }
    out->graph = l.to;
    out->tensor = l.tensor;
    out->place = l.place;
    return WEFT_OK;
}
