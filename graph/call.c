/* call.c - the helpers that the callbacks of an op call (op.h): attributes, types, inference,
 * emitting nodes. */
#include <stdio.h>
#include <string.h>

#include "graph/ir.h"

/* ---- failures ---- */
weft_status weft_call_fail(weft_call *c, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    weft_vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->failed = true;
    return weft_fail(c->ctx, WEFT_MALFORMED, "%s: %s", c->op ? c->op->name : "graph", text);
}

bool weft_call_failed(const weft_call *c) { return c->failed; }

/* ---- looking ---- */
static const weft_type no_type;

int weft_call_n_in(const weft_call *c) { return c->n_in; }
bool weft_call_has(const weft_call *c, int i) { return i < c->n_in && c->in_type[i].dtype; }
const weft_type *weft_call_in(const weft_call *c, int i)
{
    return i < c->n_in ? &c->in_type[i] : &no_type;
}
const weft_type *weft_call_out(const weft_call *c, int i)
{
    return i < c->n_out ? &c->out_type[i] : &no_type;
}

const weft_attr *weft_attr_get(const weft_call *c, const char *name)
{
    static const weft_attr zero;
    int i = weft_op_attr(c->op, name);
    return i < 0 ? &zero : &c->attr[i];
}

int64_t weft_attr_int(const weft_call *c, const char *name) { return weft_attr_get(c, name)->i; }
double weft_attr_float(const weft_call *c, const char *name) { return weft_attr_get(c, name)->f; }

int weft_attr_axis(weft_call *c, const char *name)
{
    int64_t axis = weft_attr_int(c, name);
    int rank = weft_call_in(c, 0)->rank;
    if (axis >= -rank && axis < rank)
        return (int)(axis < 0 ? axis + rank : axis);
    weft_call_fail(c, "attribute %s=%lld is out of range [%d,%d) for %s: %s", name, (long long)axis,
                   -rank, rank, c->op->in[0].name, weft_type_text(c, weft_call_in(c, 0)));
    return -1;
}

const char *weft_type_text(weft_call *c, const weft_type *t)
{
    char text[256];
    const char *s = weft_arena_strdup(c->graph->arena, weft_type_print(text, sizeof text, t));
    return s ? s : "?";
}

/* ---- infer ---- */
void weft_infer_out(weft_infer *c, int i, weft_type t)
{
    char why[128];
    if (c->failed || i >= c->n_out)
        return;
    if (!weft_type_check(&t, why, sizeof why)) {
        weft_call_fail(c, "output %s: %s", c->op->out[i].name, why);
        return;
    }
    c->out_type[i] = t;
}

static bool broadcast_dim(int64_t a, int64_t b, int64_t *out)
{
    *out = a == 1 ? b : a;
    return a == b || a == 1 || b == 1;
}

weft_type weft_infer_broadcast(weft_infer *c, int n)
{
    weft_type y = *weft_call_in(c, 0);
    for (int k = 1; k < n && !c->failed; k++) {
        const weft_type *x = weft_call_in(c, k);
        weft_type z = {.dtype = y.dtype, .rank = x->rank > y.rank ? x->rank : y.rank};
        for (int i = 0; i < z.rank; i++) {
            int ya = i - (z.rank - y.rank), xa = i - (z.rank - x->rank);
            if (!broadcast_dim(ya < 0 ? 1 : y.dim[ya], xa < 0 ? 1 : x->dim[xa], &z.dim[i])) {
                weft_call_fail(c,
                               "sizes do not broadcast: %s: %s and %s: %s (axis %d from the right)",
                               c->op->in[0].name, weft_type_text(c, weft_call_in(c, 0)),
                               c->op->in[k].name, weft_type_text(c, x), z.rank - i);
                return z;
            }
        }
        if (x->dtype != y.dtype) {
            weft_call_fail(c, "element types differ: %s: %s and %s: %s", c->op->in[0].name,
                           weft_type_text(c, weft_call_in(c, 0)), c->op->in[k].name,
                           weft_type_text(c, x));
            return z;
        }
        y = z;
    }
    return y;
}

bool weft_infer_same(weft_infer *c, int i, int j)
{
    if (weft_type_equal(weft_call_in(c, i), weft_call_in(c, j)))
        return true;
    weft_call_fail(c, "%s and %s must have the same type, but are %s and %s", c->op->in[i].name,
                   c->op->in[j].name, weft_type_text(c, weft_call_in(c, i)),
                   weft_type_text(c, weft_call_in(c, j)));
    return false;
}

/* ---- emitting ---- */
/* What a drawing node's callback emits draws the same numbers: the gradient of dropout has the mask
 * of dropout. */
static void keep_stream(const weft_call *c, weft_val v)
{
    if (v < 0 || !c->node || !(c->node->op->flags & WEFT_DRAWS))
        return;
    weft_node *n = &c->graph->node[c->graph->value[v].node];
    if (n->op->flags & WEFT_DRAWS)
        n->stream = c->node->stream;
}

weft_val weft_emit(weft_call *c, const char *op, const weft_val *in, int n_in, const char *attrs,
                   ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, attrs);
    int n = weft_vsnprintf(text, sizeof text, attrs, ap);
    va_end(ap);
    if (n >= (int)sizeof text)
        weft_call_fail(c, "attributes of an emitted '%s' are too long", op);
    for (int i = 0; i < n_in; i++)
        if (in[i] < WEFT_NONE)
            c->failed = true;
    weft_val v = c->failed ? WEFT_NONE : weft_graph_emit(c->graph, op, in, n_in, "%s", text);
    keep_stream(c, v);
    c->failed = c->failed || v < 0;
    return v;
}

weft_val weft_emit1(weft_call *c, const char *op, weft_val a)
{
    return weft_emit(c, op, &a, 1, "%s", "");
}

weft_val weft_emit2(weft_call *c, const char *op, weft_val a, weft_val b)
{
    return weft_emit(c, op, (weft_val[]){a, b}, 2, "%s", "");
}

weft_val weft_emit3(weft_call *c, const char *op, weft_val a, weft_val b, weft_val d)
{
    return weft_emit(c, op, (weft_val[]){a, b, d}, 3, "%s", "");
}

weft_val weft_emit_nth(weft_call *c, weft_val first, int i)
{
    if (first < 0)
        return WEFT_NONE;
    const weft_value *v = &c->graph->value[first];
    if (v->kind != WEFT_VALUE_NODE || i >= c->graph->node[v->node].n_out) {
        weft_call_fail(c, "an emitted node has no output %d", i);
        return WEFT_NONE;
    }
    return c->graph->node[v->node].out[i];
}

const weft_type *weft_val_type(weft_call *c, weft_val v)
{
    return v < 0 ? &no_type : &c->graph->value[v].type;
}

static const char *dims_text(char *out, size_t n, const weft_type *t)
{
    out[0] = 0;
    for (int i = 0, k = 0; i < t->rank; i++)
        k += snprintf(out + k, n - (size_t)k, "%s%lld", i ? "," : "", (long long)t->dim[i]);
    return out;
}

weft_val weft_emit_reshape(weft_call *c, weft_val v, const weft_type *t)
{
    char dims[256];
    const weft_type *from = weft_val_type(c, v);
    if (from->rank == t->rank && !memcmp(from->dim, t->dim, sizeof(int64_t) * (size_t)t->rank))
        return v;
    return weft_emit(c, "reshape", &v, 1, "dims=%s", dims_text(dims, sizeof dims, t));
}

weft_val weft_emit_fill(weft_call *c, double value, const weft_type *t)
{
    char dims[256], number[64];
    return weft_emit(c, "fill", NULL, 0, "value=%s dims=%s",
                     weft_number_print(number, sizeof number, value),
                     dims_text(dims, sizeof dims, t));
}

const char *weft_attrs_text(weft_call *c)
{
    const char *text[sizeof c->op->attr / sizeof *c->op->attr];
    weft_node n = {.op = c->op, .attr = c->attr};
    int k = weft_attrs_print(c->graph->arena, &n, text, (int)(sizeof text / sizeof *text));
    const char *all = "";
    for (int i = 0; i < k && all; i++)
        all = weft_arena_printf(c->graph->arena, "%s%s%s", all, i ? " " : "", text[i]);
    return all ? all : "";
}

bool weft_call_node(weft_call *c, weft_graph *g, const weft_node *n)
{
    weft_type *types = weft_arena_array(g->arena, (size_t)(n->n_in + n->n_out) + 1, sizeof *types);
    if (!types)
        return false;
    for (int i = 0; i < n->n_in; i++)
        types[i] = n->in[i] < 0 ? no_type : g->value[n->in[i]].type;
    for (int i = 0; i < n->n_out; i++)
        types[n->n_in + i] = g->value[n->out[i]].type;
    *c = (weft_call){.ctx = g->ctx,
                     .graph = g,
                     .op = n->op,
                     .attr = n->attr,
                     .n_in = n->n_in,
                     .n_out = n->n_out,
                     .in_type = types,
                     .out_type = types + n->n_in,
                     .in = n->in,
                     .out = n->out,
                     .node = n};
    return true;
}
