/* verify.c - checks a graph against the invariants of ir.h.
 *
 * Input: any graph.  Checks: topological order, one definition per value, arity and element types,
 * inference again equals the stored type, unique names, outputs and aliases that exist.  Changes
 * nothing.  A finding is our bug. */
#include <string.h>

#include "graph/ir.h"

static weft_status broken(const weft_graph *g, int node, const char *what)
{
    const weft_node *n = node >= 0 ? &g->node[node] : NULL;
    return weft_fail(g->ctx, WEFT_INTERNAL,
                     "the graph is broken: %s (node %d, %s, scope '%s'%s%s:%d)", what, node,
                     n ? n->op->name : "-", n ? n->scope : "", n && n->file ? ", " : "",
                     n && n->file ? n->file : "", n ? n->line : 0);
}

static weft_status verify_values(const weft_graph *g)
{
    for (weft_val v = 0; v < g->n_value; v++) {
        const weft_value *x = &g->value[v];
        char why[128];
        if (!x->type.dtype || !weft_type_check(&x->type, why, sizeof why))
            return broken(g, x->node, "a value has no valid type");
        if (x->name && weft_graph_find(g, x->name) != v)
            return broken(g, x->node, "a name belongs to two values");
        if (x->kind != WEFT_VALUE_NODE && !x->name)
            return broken(g, -1, "an input or a state has no name");
        if (x->kind == WEFT_VALUE_NODE &&
            (x->node < 0 || x->node >= g->n_node || x->port >= g->node[x->node].n_out ||
             g->node[x->node].out[x->port] != v))
            return broken(g, x->node, "a value does not point to the node that computes it");
    }
    return WEFT_OK;
}

/* Is v a state, or what an update has made of one? Updates of a state may follow each other. What a
 * meta node stands for shows when it is lowered. */
static bool is_state(const weft_graph *g, weft_val v)
{
    while (g->value[v].kind == WEFT_VALUE_NODE) {
        const weft_node *n = &g->node[g->value[v].node];
        int from = n->op->out[g->value[v].port].alias - 1;
        if (n->op->flags & WEFT_LOWER_FIRST)
            return true;
        if (from < 0 || from >= n->n_in || n->in[from] < 0)
            return false;
        v = n->in[from];
    }
    return g->value[v].kind == WEFT_VALUE_STATE;
}

static weft_status verify_alias(const weft_graph *g, int index)
{
    const weft_node *n = &g->node[index];
    for (int i = 0; i < n->n_out; i++) {
        int from = n->op->out[i].alias - 1;
        if (from < 0)
            continue;
        if (from >= n->n_in || n->in[from] < 0 || !is_state(g, n->in[from]))
            return broken(g, index, "an output overwrites something that is not a state");
        if (!weft_type_equal(&g->value[n->in[from]].type, &g->value[n->out[i]].type))
            return broken(g, index, "an output overwrites a state of another type");
    }
    return WEFT_OK;
}

static weft_status verify_node(weft_graph *g, int index)
{
    const weft_node *n = &g->node[index];
    weft_type type[sizeof n->op->out / sizeof *n->op->out] = {{0}};
    if (n->n_out != weft_op_n_out(n->op))
        return broken(g, index, "wrong number of outputs");
    for (int i = 0; i < n->n_in; i++) {
        if (n->in[i] < WEFT_NONE || n->in[i] >= g->n_value)
            return broken(g, index, "an input does not exist");
        if (n->in[i] >= 0 && g->value[n->in[i]].kind == WEFT_VALUE_NODE &&
            g->value[n->in[i]].node >= index)
            return broken(g, index, "an input is computed later");
    }
    if (!weft_graph_infer(g, n->op, n->attr, n->in, n->n_in, type))
        return broken(g, index, "inference fails on a node that was inferred before");
    for (int i = 0; i < n->n_out; i++) {
        if (n->out[i] < 0 || n->out[i] >= g->n_value || g->value[n->out[i]].node != index)
            return broken(g, index, "an output is not its own");
        if (!weft_type_equal(&type[i], &g->value[n->out[i]].type))
            return broken(g, index, "the stored type differs from the inferred one");
    }
    return verify_alias(g, index);
}

weft_status weft_graph_verify(const weft_graph *g)
{
    WEFT_TRY(verify_values(g));
    WEFT_TRY(weft_graph_check_updates(g)); /* a mistake of the model, not of a pass */
    for (int i = 0; i < g->n_node; i++)
        WEFT_TRY(
            verify_node((weft_graph *)g,
                        i)); /* inference may use the arena for texts; the graph stays as it is */
    for (int i = 0; i < g->n_output; i++)
        if (g->output[i].value < 0 || g->output[i].value >= g->n_value)
            return broken(g, -1, "an output of the graph does not exist");
    return WEFT_OK;
}
