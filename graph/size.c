/* size.c - what a graph amounts to: parameters, floating-point operations, its ports, and a hash of
 * its meaning. */
#include <stdio.h>
#include <string.h>

#include "graph/ir.h"

/* What the callbacks of an op get; in and out: room for the types. */
static weft_call make_call(const weft_graph *g, const weft_node *node, weft_type *in,
                           weft_type *out)
{
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] != WEFT_NONE)
            in[i] = g->value[node->in[i]].type;
    for (int i = 0; i < node->n_out; i++)
        out[i] = g->value[node->out[i]].type;
    return (weft_call){.ctx = g->ctx,
                       .op = node->op,
                       .attr = node->attr,
                       .n_in = node->n_in,
                       .n_out = node->n_out,
                       .in_type = in,
                       .out_type = out,
                       .in = node->in,
                       .out = node->out,
                       .node = node};
}

double weft_node_flops(const weft_graph *g, int n)
{
    const weft_node *node = &g->node[n];
    weft_type in[24] = {{0}}, out[8] = {{0}};
    if (!node->op->flops || node->n_in > 24 || node->n_out > 8)
        return 0;
    const weft_call call = make_call(g, node, in, out);
    return node->op->flops(&call);
}

int64_t weft_node_active(const weft_graph *g, int n, int i)
{
    const weft_node *node = &g->node[n];
    weft_type in[24] = {{0}}, out[8] = {{0}};
    int64_t all = weft_type_count(&g->value[node->in[i]].type);
    if (!node->op->active || node->n_in > 24 || node->n_out > 8)
        return all;
    const weft_call call = make_call(g, node, in, out);
    int64_t some = node->op->active(&call, i);
    return some >= 0 && some < all ? some : all;
}

weft_status weft_graph_measure(const weft_graph *g, weft_graph_size *out)
{
    *out = (weft_graph_size){.n_value = g->n_value, .n_node = g->n_node, .tokens = 1};
    for (int i = 0; i < g->n_value; i++) {
        const weft_value *v = &g->value[i];
        if (v->kind == WEFT_VALUE_STATE) {
            int64_t n = weft_type_count(&v->type);
            out->n_weight++;
            if (!weft_add_ok(out->parameters, n, &out->parameters))
                return weft_fail(g->ctx, WEFT_NOMEM, "the model has more than 2^63 parameters");
            out->trainable += v->trainable ? n : 0;
        } else if (v->kind == WEFT_VALUE_INPUT && v->name && !strcmp(v->name, "tokens"))
            out->tokens = weft_type_count(&v->type);
    }
    weft_graph *chosen = NULL; /* what is never computed does not count */
    WEFT_TRY(weft_graph_choose(g, &chosen));
    g = chosen ? chosen : g;
    for (int i = 0; i < g->n_node; i++)
        out->flops += weft_node_flops(g, i);
    weft_graph_free(chosen);
    return WEFT_OK;
}

const char *weft_graph_input_at(const weft_graph *g, int i, weft_type *t)
{
    if (i < 0 || i >= g->n_input)
        return NULL;
    const weft_value *x = &g->value[g->input[i]];
    if (t)
        *t = x->type;
    return x->name;
}

const char *weft_graph_output_at(const weft_graph *g, int i, weft_type *t)
{
    if (i < 0 || i >= g->n_output)
        return NULL;
    if (t)
        *t = g->value[g->output[i].value].type;
    return g->output[i].name;
}

/* Parameters stand as "d=768 (caller), o=2304 (here)". */
bool weft_call_parameter(const weft_call_record *r, const char *name, double *out)
{
    size_t n = strlen(name);
    const char *s = r->params;
    for (; s && *s; s = strstr(s, ", ") ? strstr(s, ", ") + 2 : NULL)
        if (!strncmp(s, name, n) && s[n] == '=') {
            char value[64];
            snprintf(value, sizeof value, "%.*s", (int)strcspn(s + n + 1, " ,"), s + n + 1);
            return weft_parse_f64(value, out);
        }
    return false;
}

bool weft_graph_parameter(const weft_graph *g, const char *name, double *out)
{
    return g->n_call && weft_call_parameter(&g->call[0], name, out);
}

/* ---- hash ---- */
static uint64_t hash_text(const char *s, uint64_t h)
{
    return weft_hash(s ? s : "", s ? strlen(s) + 1 : 1, h);
}

static uint64_t hash_type(const weft_type *t, uint64_t h)
{
    const int64_t head[2] = {(int64_t)t->dtype, t->rank};
    h = weft_hash(head, sizeof head, h);
    return weft_hash(t->dim, sizeof t->dim[0] * (size_t)t->rank, h);
}

static uint64_t hash_attrs(const weft_node *n, uint64_t h)
{
    for (int i = 0; i < 10 && n->op->attr[i].name; i++) {
        const weft_attr *a = &n->attr[i];
        const int64_t k[2] = {a->i, a->n};
        if (n->op->attr[i].late && a->i == (int64_t)n->op->attr[i].def)
            continue;
        h = weft_hash(&a->f, sizeof a->f, h);
        h = weft_hash(k, sizeof k, h);
        h = weft_hash(a->v, sizeof a->v[0] * (size_t)a->n, h);
    }
    return h;
}

uint64_t weft_graph_hash(const weft_graph *g)
{
    uint64_t h = 0;
    for (int i = 0; i < g->n_value; i++) {
        const weft_value *v = &g->value[i];
        if (v->kind == WEFT_VALUE_NODE)
            continue;
        h = hash_text(v->name, weft_hash(&i, sizeof i, h));
        h = hash_type(&v->type, h);
        h = weft_hash(&v->trainable, sizeof v->trainable, h);
    }
    for (int i = 0; i < g->n_node; i++) {
        const weft_node *n = &g->node[i];
        h = hash_attrs(n, hash_text(n->op->name, h));
        h = weft_hash(n->in, sizeof n->in[0] * (size_t)n->n_in, h);
        h = weft_hash(n->out, sizeof n->out[0] * (size_t)n->n_out, h);
        h = weft_hash(&n->stream, sizeof n->stream, h);
    }
    for (int i = 0; i < g->n_output; i++)
        h = hash_text(g->output[i].name, weft_hash(&g->output[i].value, sizeof(weft_val), h));
    return h;
}
