/* incr.c - a graph over a window of new positions, for decoding with key/value caches.
 *
 * Input: a forward graph over T positions.  Output: a graph that computes the same values at
 * `n_new` positions that start at the input WEFT_POS; values of earlier positions that it needs
 * again (keys and values of attention, whatever the model calls them) live in states named
 * "cache:...".  Which axis of a value is time is followed from the inputs through every op by the
 * op's `incr` callback; element-wise ops need none.  Nothing here knows a model.
 *
 * A product of new rows with a cache has a second axis of positions, that of the keys: its entries
 * for positions after the row's own are not there yet ("later"), and whoever reads along that axis
 * would read rubbish.  So that axis is followed, too, until a mask has made these entries exact
 * zeros ("zero"); an op that does not say what it does with it is refused.
 *
 * A value may have several positions for one of the inputs (two after interleave): its scale is the
 * size of its time axis over that of the inputs, and windows, positions and caches are counted on
 * it. */
#include <stdio.h>
#include <string.h>

#include "graph/ir.h"

enum { WINDOW_SCALES = 64 }; /* the finest time scale */

typedef struct {
    const weft_graph *g;
    weft_graph *h;
    int64_t n_new, n_all;
    weft_val pos;
    weft_val scaled[WINDOW_SCALES]; /* pos on scales 1.., once somebody asked */
    weft_val *now;  /* value at the new positions (or the value itself when it has no time) */
    weft_val *full; /* value at all positions, once somebody asked */
    int *axis;      /* time axis of a value of g, -1: none */
    int *later; /* axis on which entries of positions after the row's own are undefined, or -1 */
    int *zero;  /* axis on which they are exactly 0, or -1 */
    uint64_t asked; /* inputs whose `later` the callback has looked at */
} window;

/* The axis of a value of g in one of these tables. */
static int axis_in(const int *table, weft_val v) { return v < 0 ? -1 : table[v]; }

/* The callback sees the node of g: types of the full graph; values are looked up through these. */
static weft_val old_in(const weft_incr *c, int i)
{
    return i < c->node->n_in ? c->node->in[i] : WEFT_NONE;
}

int weft_incr_axis(weft_incr *c, int i)
{
    return axis_in(((const window *)c->pass)->axis, old_in(c, i));
}

int weft_incr_later(weft_incr *c, int i)
{
    window *w = c->pass;
    w->asked |= i < 64 ? (uint64_t)1 << i : 0;
    return axis_in(w->later, old_in(c, i));
}

int weft_incr_zero(weft_incr *c, int i)
{
    return axis_in(((const window *)c->pass)->zero, old_in(c, i));
}

bool weft_incr_blocked(weft_incr *c, int i, int axis, const char *what)
{
    if (weft_incr_later(c, i) != axis || axis < 0)
        return false;
    weft_call_fail(
        c,
        "cannot %s axis %d of %s, the keys: those of later positions would change earlier "
        "ones; causal_softmax is the op that masks them",
        what, axis, weft_type_text(c, weft_incr_type(c, i)));
    return true;
}

weft_val weft_incr_new(weft_incr *c, int i)
{
    const window *w = c->pass;
    weft_val v = old_in(c, i);
    return v < 0 ? WEFT_NONE : w->now[v];
}

const weft_type *weft_incr_type(weft_incr *c, int i) { return weft_call_in(c, i); }

/* Positions of value v of g for one of the inputs, 0 when it has no time. */
static int64_t scale_of(const window *w, weft_val v)
{
    return v < 0 || w->axis[v] < 0 ? 0 : w->g->value[v].type.dim[w->axis[v]] / w->n_all;
}

int64_t weft_incr_scale(weft_incr *c, int i) { return scale_of(c->pass, old_in(c, i)); }

/* That of the first time-indexed input. */
static int64_t node_scale(weft_incr *c)
{
    for (int i = 0; i < c->node->n_in; i++)
        if (weft_incr_scale(c, i))
            return weft_incr_scale(c, i);
    return 1;
}

static weft_val pos_on(weft_incr *c, int64_t scale)
{
    window *w = c->pass;
    if (scale == 1)
        return w->pos;
    if (w->scaled[scale - 1] < 0)
        w->scaled[scale - 1] =
            weft_emit(c, "position", &w->pos, 1, "factor=%lld", (long long)scale);
    return w->scaled[scale - 1];
}

weft_val weft_incr_pos(weft_incr *c) { return pos_on(c, node_scale(c)); }

weft_val weft_incr_full(weft_incr *c, int i)
{
    window *w = c->pass;
    weft_val v = old_in(c, i);
    if (v < 0 || w->axis[v] < 0)
        return v < 0 ? WEFT_NONE : w->now[v];
    if (weft_incr_blocked(c, i, w->later[v], "keep what is computed along"))
        return WEFT_NONE;
    if (w->full[v] >= 0)
        return w->full[v];
    const weft_value *x = &w->g->value[v];
    const char *name = x->name ? weft_arena_printf(w->h->arena, "cache:%s", x->name)
                               : weft_arena_printf(w->h->arena, "cache:%d", v);
    while (name && weft_graph_find(w->g, name) >= 0) /* a model may have a value of this name */
        name = weft_arena_printf(w->h->arena, "cache:%s", name);
    weft_val cache =
        weft_graph_made_state(w->h, name, &x->type, WEFT_ROLE_CACHE, "decoding step by step");
    if (cache < 0) {
        c->failed = true;
        return WEFT_NONE;
    }
    w->full[v] =
        weft_emit(c, "cache_write", (weft_val[]){cache, w->now[v], pos_on(c, scale_of(w, v))}, 3,
                  "axis=%d always=1", w->axis[v]);
    return w->full[v];
}

weft_val weft_incr_window(weft_incr *c, weft_val v, int axis)
{
    const window *w = c->pass;
    int64_t scale = node_scale(c);
    return weft_emit(c, "time_slice", (weft_val[]){v, pos_on(c, scale)}, 2, "axis=%d size=%lld",
                     axis, (long long)(w->n_new * scale));
}

void weft_incr_out(weft_incr *c, int i, weft_val v, int axis)
{
    window *w = c->pass;
    char a[256], b[256];
    if (c->failed || v < 0 || i >= c->node->n_out)
        return;
    weft_type want = w->g->value[c->node->out[i]].type;
    int64_t scale = axis >= 0 && axis < want.rank ? want.dim[axis] / w->n_all : 0;
    if (scale < 1 || want.dim[axis] % w->n_all || scale > WINDOW_SCALES) {
        weft_call_fail(c,
                       "incremental decoding cannot follow a time axis of %lld positions for %lld "
                       "of the inputs",
                       scale ? (long long)want.dim[axis] : 0LL, (long long)w->n_all);
        return;
    }
    want.dim[axis] = w->n_new * scale;
    if (!weft_type_equal(&want, weft_val_type(c, v))) {
        weft_call_fail(c, "new positions alone give %s where %s is expected",
                       weft_type_print(a, sizeof a, weft_val_type(c, v)),
                       weft_type_print(b, sizeof b, &want));
        return;
    }
    w->now[c->node->out[i]] = v;
    w->axis[c->node->out[i]] = axis;
}

void weft_incr_keys(weft_incr *c, int i, int later, int zero)
{
    window *w = c->pass;
    if (c->failed || i >= c->node->n_out)
        return;
    const weft_type *t = &w->g->value[c->node->out[i]].type;
    if (zero >= 0 && t->dim[zero] % w->n_all) /* no axis of positions */
        zero = -1;
    w->later[c->node->out[i]] = later;
    w->zero[c->node->out[i]] = zero;
}

void weft_incr_masked(weft_incr *c, int i, int zero)
{
    const window *w = c->pass;
    if (c->failed || i >= c->node->n_out || zero < 0)
        return;
    int later = w->later[c->node->out[i]];
    weft_incr_keys(c, i, later == zero ? -1 : later, zero);
}

/* Axis `axis` of an operand in a result of another rank: aligned at the right. */
static int aligned(const weft_type *x, int axis, const weft_type *y)
{
    return axis < 0 ? -1 : axis + y->rank - x->rank;
}

/* Operands may lack the axis of the keys, but two that have it must have it in the same place. */
static int common_later(weft_incr *c, const weft_type *y)
{
    int later = -1;
    for (int i = 0; i < c->node->n_in && !c->failed; i++) {
        int a = aligned(weft_call_in(c, i), weft_incr_later(c, i), y);
        if (a >= 0 && later >= 0 && a != later)
            weft_call_fail(c, "operands have keys on different axes");
        later = a >= 0 ? a : later;
    }
    return later;
}

int weft_incr_zero_at(weft_incr *c, int i)
{
    const weft_type *x = weft_call_in(c, i), *y = weft_call_out(c, 0);
    int a = weft_incr_zero(c, i), at = aligned(x, a, y);
    return a >= 0 && x->dim[a] == y->dim[at] ? at : -1;
}

/* The time axis of the result: that of all operands that have one. */
static int common_time(weft_incr *c, const weft_type *y)
{
    int time = -1;
    for (int i = 0; i < c->node->n_in; i++) {
        const weft_type *x = weft_call_in(c, i);
        int a = aligned(x, weft_incr_axis(c, i), y);
        if (a < 0)
            continue;
        if ((time >= 0 && a != time) || x->dim[weft_incr_axis(c, i)] != y->dim[a]) {
            weft_call_fail(c, "operands do not have the same positions on the same axis");
            return -1;
        }
        time = a;
    }
    return time;
}

/* Element-wise: time keeps its distance from the right; operands without time that span it are cut
 * to the window. */
void weft_incr_elementwise(weft_incr *c)
{
    enum { MOST = sizeof c->op->in / sizeof *c->op->in };
    const weft_type *y = weft_call_out(c, 0);
    int time = common_time(c, y), later = common_later(c, y), zero = weft_incr_zero_at(c, 0);
    weft_val in[MOST];
    for (int i = 0; i < c->node->n_in && !c->failed; i++) {
        int at = time - y->rank + weft_call_in(c, i)->rank;
        in[i] = weft_incr_new(c, i);
        if (in[i] >= 0 && weft_incr_axis(c, i) < 0 && at >= 0 && weft_call_in(c, i)->dim[at] != 1)
            in[i] = weft_incr_window(c, in[i], at);
        if (weft_incr_zero_at(c, i) != zero)
            zero = -1;
    }
    if (c->failed)
        return;
    weft_val v = weft_emit(c, c->op->name, in, c->node->n_in, "%s", weft_attrs_text(c));
    for (int i = 0; i < c->node->n_out; i++) {
        weft_incr_out(c, i, weft_emit_nth(c, v, i), time);
        weft_incr_keys(c, i, later, c->op->flags & WEFT_KEEPS_ZERO ? zero : -1);
    }
}

static bool has_time(const window *w, const weft_node *n)
{
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0 && w->axis[n->in[i]] >= 0)
            return true;
    return false;
}

/* Was every input with keys looked at?  A callback that never heard of them may not have them. */
static void check_asked(weft_call *c)
{
    const window *w = c->pass;
    for (int i = 0; i < c->node->n_in; i++)
        if (i > 63 || !(w->asked >> i & 1))
            weft_incr_blocked(c, i, axis_in(w->later, c->node->in[i]), "take an input with");
}

static weft_status refuse(weft_ctx *c, const weft_node *n)
{
    char place[512] = "", line[32] = "";
    if (c->status == WEFT_NOMEM)
        return c->status;
    c->status = WEFT_UNSUPPORTED; /* whatever stopped it, the whole window can be computed */
    if (n && n->file) {
        snprintf(line, sizeof line, ":%d)", n->line);
        snprintf(place, sizeof place, " (%s", n->file);
    }
    if (n)
        weft_note(c, "in node '%s' of scope '%s'%s%s", n->op->name, n->scope, place, line);
    return weft_note(c,
                     "so the model cannot be decoded step by step; --no-cache computes the whole "
                     "window for every token");
}

static void run_callback(window *w, const weft_node *n, weft_call *c)
{
    c->graph = w->h; /* types of the full graph; emits into h */
    c->pass = w;
    w->asked = 0;
    w->h->at_scope = n->scope;
    w->h->at_file = n->file;
    w->h->at_line = n->line;
    w->h->at_backward = false;
    w->h->at_segment = 0;
    if (n->op->incr)
        n->op->incr(c);
    else if (n->op->flags & WEFT_ELEMENTWISE)
        weft_incr_elementwise(c);
    else
        weft_call_fail(c, "does not say how it is computed step by step: it has no incr and is not "
                          "WEFT_ELEMENTWISE");
    if (!c->failed)
        check_asked(c);
}

static weft_status step_node(window *w, int k)
{
    const weft_node *n = &w->g->node[k];
    weft_call c;
    for (int i = 0; i < n->n_out; i++)
        w->axis[n->out[i]] = w->later[n->out[i]] = w->zero[n->out[i]] = -1;
    if (!has_time(w, n))
        return weft_graph_copy_node(w->h, w->g, k, w->now) < 0 ? w->g->ctx->status : WEFT_OK;
    if (!weft_call_node(&c, (weft_graph *)w->g, n))
        return w->g->ctx->status;
    run_callback(w, n, &c);
    for (int i = 0; i < n->n_out && !c.failed; i++) {
        weft_val v = w->now[n->out[i]];
        if (v >= 0 && w->g->value[n->out[i]].name && !w->h->value[v].name)
            weft_graph_name(w->h, v, w->g->value[n->out[i]].name);
    }
    if (c.failed && !w->g->ctx->status)
        weft_call_fail(&c, "failed over new positions");
    return w->g->ctx->status ? refuse(w->g->ctx, n) : WEFT_OK;
}

static weft_status give_output(window *w, const weft_named *o)
{
    if (w->later[o->value] >= 0) {
        weft_fail(w->g->ctx, WEFT_UNSUPPORTED,
                  "output '%s' has a number for each position on axis %d, but those of later "
                  "positions are not there yet",
                  o->name, w->later[o->value]);
        return refuse(w->g->ctx, NULL);
    }
    return weft_graph_output(w->h, o->name, w->now[o->value]);
}

static bool is_time_input(const char *name, const char *const *time_inputs, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(name, time_inputs[i]))
            return true;
    return false;
}

static weft_status make_sources(window *w, const char *const *time_inputs, int n)
{
    for (weft_val v = 0; v < w->g->n_value; v++) {
        const weft_value *x = &w->g->value[v];
        w->now[v] = w->full[v] = WEFT_NONE;
        w->axis[v] = w->later[v] = w->zero[v] = -1;
        if (x->kind == WEFT_VALUE_STATE) {
            w->now[v] = weft_graph_copy_source(w->h, x);
        } else if (x->kind == WEFT_VALUE_INPUT) {
            weft_type t = x->type;
            if (t.rank > 1 && is_time_input(x->name, time_inputs, n)) {
                if (w->n_all && w->n_all != t.dim[1])
                    return weft_fail(w->g->ctx, WEFT_MALFORMED,
                                     "inputs disagree about the number of positions");
                w->n_all = t.dim[1];
                t.dim[1] = w->n_new;
                w->axis[v] = 1;
            }
            w->now[v] = weft_graph_input(w->h, x->name, &t);
            if (v == w->g->rng)
                w->h->rng = w->now[v];
        }
        if (x->kind != WEFT_VALUE_NODE && w->now[v] < 0)
            return w->g->ctx->status;
    }
    const weft_type scalar = {.dtype = WEFT_I32};
    w->pos = weft_graph_input(w->h, WEFT_POS, &scalar);
    for (int i = 0; i < WINDOW_SCALES; i++)
        w->scaled[i] = WEFT_NONE;
    if (w->n_new < 1 || (w->n_all && w->n_new > w->n_all))
        return weft_fail(w->g->ctx, WEFT_USAGE,
                         "%lld new positions do not fit into a window of %lld", (long long)w->n_new,
                         (long long)w->n_all);
    return w->g->ctx->status;
}

weft_status weft_graph_incremental(const weft_graph *g, int64_t n_new,
                                   const char *const *time_inputs, int n, weft_graph **out)
{
    window w = {.g = g, .h = weft_graph_new(g->ctx), .n_new = n_new};
    if (!w.h)
        return g->ctx->status;
    size_t count = (size_t)g->n_value + 1;
    w.now = weft_arena_array(w.h->arena, count, sizeof *w.now);
    w.full = weft_arena_array(w.h->arena, count, sizeof *w.full);
    w.axis = weft_arena_array(w.h->arena, count, sizeof *w.axis);
    w.later = weft_arena_array(w.h->arena, count, sizeof *w.later);
    w.zero = weft_arena_array(w.h->arena, count, sizeof *w.zero);
    bool there = w.now && w.full && w.axis && w.later && w.zero;
    weft_status s = there ? make_sources(&w, time_inputs, n) : g->ctx->status;
    w.h->next_stream = g->next_stream;
    w.h->entry = weft_arena_strdup(w.h->arena, g->entry);
    for (int k = 0; !s && k < g->n_node; k++)
        s = step_node(&w, k);
    for (int i = 0; !s && i < g->n_output; i++)
        s = give_output(&w, &g->output[i]);
    if (s)
        weft_graph_free(w.h);
    else
        *out = w.h;
    return s;
}
