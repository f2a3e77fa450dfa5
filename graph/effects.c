/* effects.c - updates of states: what may be updated, where updates stand still, and when they
 * happen.
 *
 * In the graph a state is a value like any other: the old one, for all its readers; the output of
 * an update is the new one. In memory there is one place for both, so an update must come behind
 * every reader of the old value, wherever the file has it. Where a reader needs the update first,
 * and for fetches of the old value, there is a copy.
 *
 * Outside training updates stand still (op.h, WEFT_EFFECT): evaluation changes nothing that
 * training reads. */
#include "graph/ir.h"

/* ---- what may be updated ---- */
static weft_status note_place(const weft_graph *g, const weft_node *n)
{
    if (n->file)
        return weft_note(g->ctx, "in node '%s' of scope '%s' (%s:%d)",
                         g->value[n->out[0]].name ? g->value[n->out[0]].name : n->op->name,
                         n->scope, n->file, n->line);
    return g->ctx->status;
}

static const char *what_is(const weft_graph *g, weft_val v)
{
    const weft_value *x = &g->value[v];
    return x->kind == WEFT_VALUE_INPUT ? "an input" : g->node[x->node].op->name;
}

static weft_status no_state(const weft_graph *g, const weft_node *n, int port, weft_val v)
{
    const weft_value *x = &g->value[v];
    bool input = x->kind == WEFT_VALUE_INPUT;
    weft_fail(g->ctx, WEFT_MALFORMED,
              "%s updates its input '%s', which must be a weight of the model or what another "
              "update has made of one, but '%s' is %s%s",
              n->op->name, n->op->in[port].name, x->name ? x->name : "?",
              input ? "" : "computed by ", what_is(g, v));
    return note_place(g, n);
}

static weft_status updated_twice(const weft_graph *g, const weft_node *n, weft_val v, int first)
{
    const weft_node *f = &g->node[first];
    weft_fail(g->ctx, WEFT_MALFORMED,
              "'%s' is updated twice, by %s%s%s and by %s%s%s: let the second update take what the "
              "first one gives, or freeze the weight (trainable: false) if the optimizer is one of "
              "them",
              g->value[v].name ? g->value[v].name : "?", f->op->name, *f->scope ? " of " : "",
              f->scope, n->op->name, *n->scope ? " of " : "", n->scope);
    note_place(g, f);
    return f->line == n->line ? g->ctx->status : note_place(g, n);
}

/* A value that is a state, or as good as one: `choose` says later what it is. */
static bool may_be_state(const weft_graph *g, weft_val v)
{
    const weft_value *x = &g->value[v];
    if (x->kind != WEFT_VALUE_NODE)
        return x->kind == WEFT_VALUE_STATE;
    const weft_op *op = g->node[x->node].op;
    return op->out[x->port].alias || op->flags & WEFT_LOWER_FIRST;
}

weft_status weft_graph_check_updates(const weft_graph *g)
{
    int *by = weft_alloc(g->ctx, sizeof *by * ((size_t)g->n_value + 1)); /* node + 1 */
    weft_status s = by ? WEFT_OK : g->ctx->status;
    for (int k = 0; !s && k < g->n_node; k++) {
        const weft_node *n = &g->node[k];
        for (int i = 0; !s && i < n->n_out; i++) {
            int port = n->op->out[i].alias - 1;
            weft_val v = port < 0 ? WEFT_NONE : n->in[port];
            if (v < 0)
                continue;
            if (!may_be_state(g, v))
                s = no_state(g, n, port, v);
            else if (by[v])
                s = updated_twice(g, n, v, by[v] - 1);
            by[v] = k + 1;
        }
    }
    weft_free(g->ctx, by);
    return s;
}

weft_val weft_graph_updated(const weft_graph *g, int n, int i)
{
    weft_val v = g->node[n].op->out[i].alias ? g->node[n].out[i] : WEFT_NONE;
    while (v >= 0 && g->value[v].kind == WEFT_VALUE_NODE) {
        const weft_node *x = &g->node[g->value[v].node];
        int from = x->op->out[g->value[v].port].alias - 1;
        v = from < 0 ? WEFT_NONE : x->in[from];
    }
    return v >= 0 && g->value[v].kind == WEFT_VALUE_STATE ? v : WEFT_NONE;
}

void weft_graph_mark_updates(weft_graph *g)
{
    for (int k = 0; k < g->n_node; k++)
        for (int i = 0; i < g->node[k].n_out; i++) {
            weft_val v = weft_graph_updated(g, k, i);
            int from = g->node[k].op->out[i].alias - 1;
            const weft_value *x = v < 0 && from >= 0 ? &g->value[g->node[k].in[from]] : NULL;
            const weft_node *by = x && x->kind == WEFT_VALUE_NODE ? &g->node[x->node] : NULL;
            if (v >= 0)
                g->value[v].moves = true;
            for (int j = 0; by && j < by->n_in; j++) /* of what is chosen later, any */
                if (by->in[j] >= 0)
                    g->value[by->in[j]].moves = true;
        }
}

/* ---- outside training ---- */
static bool stands_still(const weft_node *n)
{
    int always = weft_op_attr(n->op, "always");
    return n->op->flags & WEFT_EFFECT && (always < 0 || !n->attr[always].i);
}

/* All but what stands still into h, which has g's inputs and states. */
static bool copy_moving(const weft_graph *g, weft_graph *h, weft_val *map)
{
    bool ok = true;
    for (int k = 0; ok && k < g->n_node; k++) {
        const weft_node *n = &g->node[k];
        if (!stands_still(n))
            ok = weft_graph_copy_node(h, g, k, map) >= 0;
        for (int i = 0; stands_still(n) && i < n->n_out; i++)
            map[n->out[i]] = map[n->in[n->op->out[i].alias - 1]];
    }
    for (int i = 0; ok && i < g->n_output; i++)
        ok = !weft_graph_output(h, g->output[i].name, map[g->output[i].value]);
    h->at_scope = ""; /* strings of g */
    h->at_file = NULL;
    return ok;
}

weft_status weft_graph_still(const weft_graph *g, weft_graph **out, weft_val *map)
{
    bool some = false;
    *out = NULL;
    for (int k = 0; k < g->n_node && !some; k++)
        some = stands_still(&g->node[k]);
    if (!some)
        return WEFT_OK;
    weft_val *own = map ? NULL : weft_alloc(g->ctx, sizeof *own * ((size_t)g->n_value + 1));
    weft_val *to = map ? map : own;
    weft_graph *h = to ? weft_graph_like(g, to) : NULL;
    if (h && copy_moving(g, h, to))
        *out = h;
    else
        weft_graph_free(h);
    weft_free(g->ctx, own);
    return *out ? WEFT_OK : g->ctx->status;
}

/* ---- when updates happen ---- */
typedef struct {
    const weft_graph *g;
    weft_graph *h;
    weft_val *map;      /* g -> h */
    weft_val *root;     /* whose memory a value is in: a state's, if it is one or a view of one */
    weft_val *base;     /* the state, or the update's output, that a value is a view of */
    int *version;       /* how many updates of the root came before a value */
    int *read;          /* of roots: the oldest version that is read further down */
    weft_val *now;      /* of roots: the base that its memory holds */
    bool *late;         /* node: an update that comes too early for a reader of the old value */
    int *order, n;      /* the nodes in their new order */
    bool *placed;       /* node is in the order */
    bool *copied;       /* value is read behind the update of its base */
    weft_val *first;    /* of bases: the copied values, a list */
    weft_val *next;     /* of copied values */
    weft_val *copy;     /* of copied values, in h */
    int *stack;
    bool some;          /* something is late or copied */
} ordering;

static bool allocate(ordering *o, weft_arena *a)
{
    size_t v = (size_t)o->g->n_value + 1, n = (size_t)o->g->n_node + 1;
    o->root = weft_arena_array(a, v, sizeof *o->root);
    o->base = weft_arena_array(a, v, sizeof *o->base);
    o->version = weft_arena_array(a, v, sizeof *o->version);
    o->read = weft_arena_array(a, v, sizeof *o->read);
    o->now = weft_arena_array(a, v, sizeof *o->now);
    o->copied = weft_arena_array(a, v, sizeof *o->copied);
    o->first = weft_arena_array(a, v, sizeof *o->first);
    o->next = weft_arena_array(a, v, sizeof *o->next);
    o->copy = weft_arena_array(a, v, sizeof *o->copy);
    o->late = weft_arena_array(a, n, sizeof *o->late);
    o->order = weft_arena_array(a, n, sizeof *o->order);
    o->placed = weft_arena_array(a, n, sizeof *o->placed);
    o->stack = weft_arena_array(a, n, sizeof *o->stack);
    return o->root && o->base && o->version && o->read && o->now && o->copied && o->first &&
           o->next && o->copy && o->late && o->order && o->placed && o->stack;
}

/* What output i of n is made from in place; WEFT_NONE: it has memory of its own. */
static weft_val updated(const weft_node *n, int i)
{
    return n->op->out[i].alias ? n->in[n->op->out[i].alias - 1] : WEFT_NONE;
}

/* What may be a view counts as one. */
static void find_roots(ordering *o)
{
    const weft_graph *g = o->g;
    for (weft_val v = 0; v < g->n_value; v++) {
        const weft_value *x = &g->value[v];
        const weft_node *n = x->kind == WEFT_VALUE_NODE ? &g->node[x->node] : NULL;
        weft_val of = !n ? WEFT_NONE : n->op->view ? n->in[0] : updated(n, x->port);
        bool view = n && n->op->view && of >= 0;
        o->root[v] = of < 0 ? v : o->root[of];
        o->base[v] = view ? o->base[of] : v;
        o->version[v] = of < 0 ? 0 : o->version[of] + !view;
        o->read[v] = INT32_MAX;
        o->now[v] = v;
        o->first[v] = WEFT_NONE;
    }
}

static void find_late(ordering *o)
{
    for (int k = o->g->n_node - 1; k >= 0; k--) {
        const weft_node *n = &o->g->node[k];
        for (int i = 0; i < n->n_out; i++)
            if (updated(n, i) >= 0 && o->read[o->root[n->out[i]]] < o->version[n->out[i]])
                o->late[k] = o->some = true;
        for (int i = 0; i < n->n_in; i++)
            if (n->in[i] >= 0 && o->version[n->in[i]] < o->read[o->root[n->in[i]]])
                o->read[o->root[n->in[i]]] = o->version[n->in[i]];
    }
}

/* The node that computes input i of n and was held back, or -1. */
static int held(const ordering *o, const weft_node *n, int i)
{
    const weft_value *x = n->in[i] < 0 ? NULL : &o->g->value[n->in[i]];
    return x && x->kind == WEFT_VALUE_NODE && !o->placed[x->node] ? x->node : -1;
}

/* Node k comes next, behind what it needs of the nodes that were held back. */
static void place(ordering *o, int k)
{
    int top = 0;
    o->stack[top++] = k;
    while (top) {
        const weft_node *n = &o->g->node[o->stack[top - 1]];
        int need = -1;
        for (int i = 0; i < n->n_in && need < 0; i++)
            need = held(o, n, i);
        if (need >= 0) {
            o->stack[top++] = need;
            continue;
        }
        k = o->stack[--top];
        o->order[o->n++] = k;
        o->placed[k] = true;
    }
}

/* Late updates wait until somebody needs them, and so do updates that need nothing else. */
static void find_order(ordering *o)
{
    const weft_graph *g = o->g;
    for (int k = 0; k < g->n_node; k++) {
        const weft_node *n = &g->node[k];
        bool wait = o->late[k];
        for (int i = 0; i < n->n_in && n->op->flags & WEFT_EFFECT; i++)
            wait = wait || held(o, n, i) >= 0;
        if (!wait)
            place(o, k);
    }
    for (int k = 0; k < g->n_node; k++)
        if (!o->placed[k])
            place(o, k);
}

static void mark_copied(ordering *o, weft_val v)
{
    if (o->copied[v])
        return;
    o->copied[v] = o->some = true;
    o->next[v] = o->first[o->base[v]];
    o->first[o->base[v]] = v;
}

/* Does node n overwrite, in an output of its own, what its input i reads beside that? */
static bool reads_beside(const ordering *o, const weft_node *n, int i)
{
    for (int k = 0; k < n->n_out; k++)
        if (updated(n, k) >= 0 && n->op->out[k].alias - 1 != i && n->in[i] >= 0 &&
            o->root[n->out[k]] == o->root[n->in[i]])
            return true;
    return false;
}

static bool is_old(const ordering *o, weft_val v) { return o->now[o->root[v]] != o->base[v]; }

static void find_copied(ordering *o, const weft_val *fetch, int n_fetch)
{
    for (int k = 0; k < o->n; k++) {
        const weft_node *n = &o->g->node[o->order[k]];
        for (int i = 0; i < n->n_in; i++)
            if (n->in[i] >= 0 && (is_old(o, n->in[i]) || reads_beside(o, n, i)))
                mark_copied(o, n->in[i]);
        for (int i = 0; n->op->view && i < n->n_out; i++) { /* of the copy, if there is one */
            bool old = is_old(o, n->in[0]);
            o->root[n->out[i]] = old ? n->out[i] : o->root[n->in[0]];
            o->base[n->out[i]] = old ? n->out[i] : o->base[n->in[0]];
        }
        for (int i = 0; i < n->n_out; i++)
            if (updated(n, i) >= 0)
                o->now[o->root[n->out[i]]] = n->out[i];
    }
    for (int i = 0; i < n_fetch; i++)
        if (is_old(o, fetch[i]))
            mark_copied(o, fetch[i]);
}

/* Copies of what is read behind the node that comes next. */
static bool copy_old(ordering *o, const weft_node *n)
{
    weft_graph *h = o->h;
    h->at_scope = n->scope;
    h->at_file = n->file;
    h->at_line = n->line;
    h->at_backward = n->backward;
    h->at_segment = n->segment;
    for (int i = 0; i < n->n_out; i++) {
        weft_val of = updated(n, i);
        for (weft_val v = of < 0 ? WEFT_NONE : o->first[of]; v >= 0; v = o->next[v])
            if ((o->copy[v] = weft_graph_emit(h, "copy", &o->map[v], 1, "%s", "")) < 0)
                return false;
    }
    return true;
}

static bool append(ordering *o, int k)
{
    const weft_node *n = &o->g->node[k];
    bool effect = n->op->flags & WEFT_EFFECT;
    if (effect && !copy_old(o, n))
        return false;
    int made = weft_graph_copy_node(o->h, o->g, k, o->map);
    for (int i = 0; made >= 0 && effect && i < n->n_in; i++)
        if (reads_beside(o, n, i))
            o->h->node[made].in[i] = o->copy[n->in[i]];
    for (int i = 0; made >= 0 && i < n->n_out; i++) {
        weft_val of = updated(n, i);
        for (weft_val v = of < 0 ? WEFT_NONE : o->first[of]; v >= 0; v = o->next[v])
            o->map[v] = o->copy[v];
    }
    return made >= 0;
}

static weft_status build(ordering *o)
{
    const weft_graph *g = o->g;
    o->h = weft_graph_like(g, o->map);
    bool ok = o->h != NULL;
    for (int k = 0; ok && k < o->n; k++)
        ok = append(o, o->order[k]);
    for (int i = 0; ok && i < g->n_output; i++)
        ok = !weft_graph_output(o->h, g->output[i].name, o->map[g->output[i].value]);
    if (!ok) {
        weft_graph_free(o->h);
        return g->ctx->status;
    }
    o->h->at_scope = ""; /* strings of g */
    o->h->at_file = NULL;
    return WEFT_OK;
}

static weft_status order_updates(ordering *o, weft_arena *a, const weft_val *fetch, int n_fetch)
{
    if (!allocate(o, a))
        return o->g->ctx->status;
    find_roots(o);
    find_late(o);
    find_order(o);
    find_copied(o, fetch, n_fetch);
    return o->some ? build(o) : WEFT_OK;
}

static bool has_updates(const weft_graph *g)
{
    for (int k = 0; k < g->n_node; k++)
        if (g->node[k].op->flags & WEFT_EFFECT)
            return true;
    return false;
}

weft_status weft_graph_order_updates(const weft_graph *g, const weft_val *fetch, int n_fetch,
                                     weft_graph **out, weft_val *map)
{
    ordering o = {.g = g, .map = map};
    *out = NULL;
    if (!has_updates(g))
        return WEFT_OK;
    WEFT_TRY(weft_graph_check_updates(g));
    weft_arena *a = weft_arena_new(g->ctx, 0);
    weft_status s = a ? order_updates(&o, a, fetch, n_fetch) : g->ctx->status;
    weft_arena_free(a);
    *out = s ? NULL : o.h;
    return s;
}
