/* grad.c - reverse-mode differentiation as graph nodes.
 *
 * Input: a graph with inferred types.  Output: the same nodes followed by gradient nodes.  Only
 * nodes on a path from an asked value to the loss are differentiated: nothing is computed for
 * frozen weights, nor above the last value asked for.  Broadcasting is undone and several uses are
 * added up here, never in an op. */
#include <stdio.h>
#include <string.h>

#include "graph/ir.h"

typedef struct {
    weft_graph *g;
    bool *reach;     /* value depends on an asked one; [n] of the forward graph */
    weft_val *dy;    /* gradient of a value so far, WEFT_NONE: none */
    weft_val *again; /* recomputed value of a forward value, WEFT_NONE: use the first */
    int *done_segment;
    int n_done;
    int n_value, n_node; /* of the forward part */
} backward;

static weft_val forward_value(const weft_call *c, weft_val v)
{
    const backward *b = c->pass;
    return v >= 0 && b && v < b->n_value && b->again[v] >= 0 ? b->again[v] : v;
}

weft_val weft_x(weft_grad *g, int i)
{
    return i < g->n_in ? forward_value(g, g->in[i]) : WEFT_NONE;
}
weft_val weft_y(weft_grad *g, int i)
{
    return i < g->n_out ? forward_value(g, g->out[i]) : WEFT_NONE;
}

bool weft_has_dy(weft_grad *g, int i)
{
    const backward *b = g->pass;
    return i < g->n_out && b->dy[g->out[i]] >= 0;
}

weft_val weft_dy(weft_grad *g, int i)
{
    const backward *b = g->pass;
    return weft_has_dy(g, i) ? b->dy[g->out[i]] : weft_emit_fill(g, 0, weft_call_out(g, i));
}

bool weft_needs(weft_grad *g, int i)
{
    const backward *b = g->pass;
    return i < g->n_in && g->in[i] >= 0 && b->reach[g->in[i]];
}

static bool same_sizes(const weft_type *a, const weft_type *b)
{
    return a->rank == b->rank && !memcmp(a->dim, b->dim, sizeof(int64_t) * (size_t)a->rank);
}

/* Sum over the axes along which an operand of type `t` was broadcast. */
static weft_val unbroadcast(weft_grad *g, weft_val v, const weft_type *t)
{
    char dims[256] = "";
    if (same_sizes(weft_val_type(g, v), t))
        return v;
    for (int i = 0, k = 0; i < t->rank; i++)
        k += snprintf(dims + k, sizeof dims - (size_t)k, "%s%lld", i ? "," : "",
                      (long long)t->dim[i]);
    return weft_emit(g, "sum_to", &v, 1, "dims=%s", dims);
}

void weft_dx(weft_grad *g, int i, weft_val v)
{
    backward *b = g->pass;
    if (v < 0 || g->failed || !weft_needs(g, i))
        return;
    v = unbroadcast(g, v, weft_call_in(g, i));
    weft_val *dy = &b->dy[g->in[i]];
    *dy = *dy < 0 ? v : weft_emit2(g, "add", *dy, v);
}

/* ---- recomputation: the nodes of a segment once more, right before the first of them is
 * differentiated ---- */
static bool recompute(backward *b, int node)
{
    weft_graph *g = b->g;
    int segment = g->node[node].segment, first = node;
    for (int i = 0; i < b->n_done; i++)
        if (b->done_segment[i] == segment)
            return true;
    b->done_segment[b->n_done++] = segment;
    while (first > 0 && g->node[first - 1].segment == segment)
        first--;
    weft_val *map = weft_arena_array(g->arena, (size_t)b->n_value, sizeof *map);
    for (weft_val v = 0; map && v < b->n_value; v++)
        map[v] = v;
    for (int k = first; map && k <= node; k++) {
        if (g->node[k].op->flags & WEFT_EFFECT)
            continue; /* happens once; its values are there */
        int copy = weft_graph_copy_node(g, g, k, map);
        if (copy < 0)
            return false;
        g->node[copy].backward = g->node[copy].again = true;
        for (int i = 0; i < g->node[k].n_out; i++)
            b->again[g->node[k].out[i]] = map[g->node[k].out[i]];
    }
    return map != NULL;
}

/* ---- the sweep ---- */
static void mark_reach(backward *b, const weft_val *xs, int n)
{
    for (int i = 0; i < n; i++)
        b->reach[xs[i]] = true;
    for (int k = 0; k < b->n_node; k++) {
        const weft_node *x = &b->g->node[k];
        bool on = false;
        for (int i = 0; i < x->n_in; i++)
            on = on || (x->in[i] >= 0 && b->reach[x->in[i]]);
        if (on && !(x->op->flags & WEFT_NO_GRADIENT))
            for (int i = 0; i < x->n_out; i++)
                b->reach[x->out[i]] =
                    b->reach[x->out[i]] || weft_dtype_is_float(b->g->value[x->out[i]].type.dtype);
    }
}

static bool wants_backward(const backward *b, const weft_node *n)
{
    bool has = false, needs = false;
    for (int i = 0; i < n->n_out; i++)
        has = has || b->dy[n->out[i]] >= 0;
    for (int i = 0; i < n->n_in; i++)
        needs = needs || (n->in[i] >= 0 && b->reach[n->in[i]]);
    return has && needs && !(n->op->flags & WEFT_NO_GRADIENT);
}

static weft_status no_gradient(const weft_graph *g, const weft_node *n)
{
    weft_fail(g->ctx, WEFT_MALFORMED,
              "no gradient for '%s' on the path from the loss to the values asked for",
              n->op->name);
    if (n->file)
        weft_note(g->ctx, "in node of scope '%s' (%s:%d)", n->scope, n->file, n->line);
    return g->ctx->status;
}

static weft_status differentiate_node(backward *b, int k)
{
    weft_graph *g = b->g;
    weft_node n = g->node[k]; /* by value: the array may move while nodes are appended */
    weft_call c;
    if (!n.op->grad)
        return no_gradient(g, &n);
    if (n.segment && !recompute(b, k))
        return g->ctx->status;
    if (!weft_call_node(&c, g, &n))
        return g->ctx->status;
    c.pass = b;
    g->at_scope = n.scope;
    g->at_file = n.file;
    g->at_line = n.line;
    g->at_segment = 0;
    g->at_backward = true;
    n.op->grad(&c);
    if (!c.failed && !g->ctx->status)
        return WEFT_OK;
    if (n.file)
        weft_note(g->ctx, "in the gradient of a node of scope '%s' (%s:%d)", n.scope, n.file,
                  n.line);
    return g->ctx->status
               ? g->ctx->status
               : weft_fail(g->ctx, WEFT_INTERNAL, "the gradient of '%s' failed", n.op->name);
}

static weft_status check_loss(const weft_graph *g, weft_val loss)
{
    char text[256];
    const weft_type *t = &g->value[loss].type;
    if (t->rank == 0 && t->dtype == WEFT_F32)
        return WEFT_OK;
    return weft_fail(g->ctx, WEFT_MALFORMED, "gradient: the loss must be a scalar f32[], but is %s",
                     weft_type_print(text, sizeof text, t));
}

bool *weft_graph_depends(const weft_graph *g, weft_val loss)
{
    bool *live = weft_arena_array(g->arena, (size_t)g->n_value + 1, sizeof *live);
    if (!live)
        return NULL;
    live[loss] = true;
    for (int k = g->n_node - 1; k >= 0; k--) {
        const weft_node *n = &g->node[k];
        bool used = false;
        for (int i = 0; i < n->n_out; i++)
            used = used || live[n->out[i]];
        for (int i = 0; used && i < n->n_in; i++)
            if (n->in[i] >= 0)
                live[n->in[i]] = true;
    }
    return live;
}

/* Kernels of gradients and updates are those of f32; what the loss does not depend on needs none.
 * Behind a cast, which has none, a weight would be trained on nothing: refused too. */
static weft_status check_by(const weft_graph *g, weft_val loss, const weft_val *xs, int n)
{
    char text[256];
    const bool *live = weft_graph_depends(g, loss);
    if (!live)
        return WEFT_NOMEM;
    for (int i = 0; i < n; i++) {
        const weft_value *x = &g->value[xs[i]];
        if (live[xs[i]] && x->type.dtype != WEFT_F32)
            return weft_fail(g->ctx, WEFT_MALFORMED,
                             "'%s' is %s, and only f32 has gradients: write it as f32, or freeze "
                             "it with trainable: false",
                             x->name ? x->name : "", weft_type_print(text, sizeof text, &x->type));
    }
    return WEFT_OK;
}

static bool backward_init(backward *b, weft_graph *g)
{
    size_t n = (size_t)g->n_value + 1;
    *b = (backward){.g = g, .n_value = g->n_value, .n_node = g->n_node};
    b->reach = weft_arena_array(g->arena, n, sizeof *b->reach);
    b->dy = weft_arena_array(g->arena, n, sizeof *b->dy);
    b->again = weft_arena_array(g->arena, n, sizeof *b->again);
    b->done_segment = weft_arena_array(g->arena, (size_t)g->n_node + 1, sizeof *b->done_segment);
    if (!b->reach || !b->dy || !b->again || !b->done_segment)
        return false;
    for (weft_val v = 0; v < g->n_value; v++)
        b->dy[v] = b->again[v] = WEFT_NONE;
    return true;
}

weft_status weft_graph_gradient(weft_graph *g, weft_val loss, const weft_val *xs, int n,
                                weft_val *out)
{
    backward b;
    WEFT_TRY(check_loss(g, loss));
    WEFT_TRY(check_by(g, loss, xs, n));
    if (!backward_init(&b, g))
        return g->ctx->status;
    mark_reach(&b, xs, n);
    weft_call top = {.ctx = g->ctx, .graph = g};
    int last = g->value[loss].kind == WEFT_VALUE_NODE ? g->value[loss].node : -1;
    g->at_backward = true;
    g->at_segment = 0;
    if (last >= 0) {
        g->at_scope = g->node[last].scope;
        g->at_file = g->node[last].file;
        g->at_line = g->node[last].line;
    }
    if (b.reach[loss])
        b.dy[loss] = weft_emit_fill(&top, 1, &g->value[loss].type);
    for (int k = last; k >= 0 && !g->ctx->status; k--)
        if (wants_backward(&b, &g->node[k]))
            WEFT_TRY(differentiate_node(&b, k));
    for (int i = 0; i < n && !g->ctx->status; i++) {
        weft_type zero = g->value[xs[i]].type;
        zero.dtype = WEFT_F32;
        out[i] = b.dy[xs[i]] >= 0 ? b.dy[xs[i]] : weft_emit_fill(&top, 0, &zero);
    }
    g->at_backward = false;
    return g->ctx->status;
}
