/* match.c - what rules ask about the node before the root, and the same node made once more on
 * other inputs. */
#include "graph/ir.h"
#include "graph/rule.h"

static const weft_node *maker(const weft_match *m, weft_val v)
{
    if (v < 0 || m->graph->value[v].kind != WEFT_VALUE_NODE)
        return NULL;
    return &m->graph->node[m->graph->value[v].node];
}

unsigned weft_match_flags(weft_match *m, weft_val v)
{
    const weft_node *n = maker(m, v);
    return n ? n->op->flags : 0;
}

bool weft_match_alone(weft_match *m, weft_val v)
{
    return !(weft_match_flags(m, v) & WEFT_DRAWS) && weft_match_alone_drawn(m, v);
}

bool weft_match_alone_drawn(weft_match *m, weft_val v)
{
    const weft_node *n = maker(m, v);
    if (!n || n->out[0] != v || n->segment != m->node->segment || n->op->flags & WEFT_EFFECT)
        return false;
    for (int i = 0; i < n->n_out; i++)
        if (weft_match_uses(m, n->out[i]) != (i == 0))
            return false;
    return true;
}

void weft_match_draw_as(weft_match *m, weft_val v, weft_val as)
{
    const weft_node *from = maker(m, as);
    if (from && maker(m, v))
        m->graph->node[m->graph->value[v].node].stream = from->stream;
}

weft_val weft_match_again(weft_match *m, weft_val v, const weft_val *in)
{
    const weft_node *made = maker(m, v);
    if (!made || m->failed)
        return WEFT_NONE;
    const weft_node n = *made; /* appending may move the nodes */
    weft_graph *g = m->graph;
    weft_val out[sizeof n.op->out / sizeof *n.op->out];
    const char *scope = g->at_scope, *file = g->at_file;
    int line = g->at_line;
    g->at_scope = n.scope;
    g->at_file = n.file;
    g->at_line = n.line;
    m->failed = weft_graph_append(g, n.op, in, n.n_in, n.attr, out) < 0;
    g->at_scope = scope;
    g->at_file = file;
    g->at_line = line;
    return m->failed ? WEFT_NONE : out[0];
}
