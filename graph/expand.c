/* expand.c - modules to one flat typed graph.
 *
 * Input: a loaded model (modules, settings).  Output: a graph of ops only, every value typed,
 * weights named by their scope ("h.3.attn.c_attn.weight"), every node with scope and source line.
 * Parameters, expressions, repeats and type patterns are gone afterwards.  A failure names the node
 * and the whole chain of calls. */
#include "graph/expand.h"

#include <stdio.h>
#include <string.h>

#include "graph/init.h"

enum { MAX_DEPTH = 32, MAX_REPEAT = 1000000 };
/* What looking at a node and entering a call cost, in lookups. */
enum { NODE_WORK = 50, CALL_WORK = 200 };

static weft_status expand_module(weft_instance *it, const weft_val *in, int n_in, weft_val *out);

/* ---- what there is, for messages ---- */
/* "; its inputs: x, y" */
static const char *inputs_text(const Weft__Module *m, char *out, size_t n)
{
    const char *name[64];
    int k = 0;
    for (; k < 64 && k < (int)m->n_input; k++)
        name[k] = m->input[k]->name;
    return weft_suggest(out, n, "", "its inputs:", name, k);
}

static const char *outputs_text(const Weft__Module *m, char *out, size_t n)
{
    const char *name[64];
    int k = 0;
    for (; k < 64 && k < (int)m->n_output; k++)
        name[k] = m->output[k];
    return weft_suggest(out, n, "", "its outputs:", name, k);
}

static const char *op_outputs_text(const weft_op *op, char *out, size_t n)
{
    const char *name[sizeof op->out / sizeof *op->out];
    int k = 0;
    for (; k < weft_op_n_out(op); k++)
        name[k] = op->out[k].name;
    return weft_suggest(out, n, "", "its outputs:", name, k);
}

/* ---- inputs and weights ---- */
static int64_t length(const char *s) { return s ? (int64_t)strlen(s) : 0; }

static weft_status bind_inputs(weft_instance *it, const weft_val *in, int n_in)
{
    weft_expander *x = it->x;
    char why[256], text[512];
    if (n_in != (int)it->module->n_input)
        return weft_expand_fail(x, "module '%s' takes %zu input%s, but %d %s given%s",
                                it->module->name, it->module->n_input,
                                it->module->n_input == 1 ? "" : "s", n_in, n_in == 1 ? "is" : "are",
                                inputs_text(it->module, text, sizeof text));
    for (int i = 0; i < n_in; i++) {
        const Weft__Port *p = it->module->input[i];
        WEFT_TRY(weft_expand_spend(x, 1 + length(p->type)));
        if (!weft_pattern_match(&it->bind, p->type, &x->g->value[in[i]].type, why, sizeof why))
            return weft_expand_fail(x, "input '%s' of module '%s' is declared %s, but gets %s: %s",
                                    p->name, it->module->name, p->type,
                                    weft_type_print(text, sizeof text, &x->g->value[in[i]].type),
                                    why);
        WEFT_TRY(weft_expand_define(it, p->name, in[i]));
    }
    return WEFT_OK;
}

static weft_status make_weight(weft_instance *it, const Weft__Weight *w)
{
    weft_expander *x = it->x;
    weft_type t;
    char why[256];
    WEFT_TRY(weft_expand_spend(x, 1 + length(w->type) + length(w->init)));
    if (!weft_pattern_eval(&it->bind, w->type, &t, why, sizeof why))
        return weft_expand_fail(x, "weight '%s' of type %s: %s", w->name, w->type, why);
    const char *init = weft_init_eval(x->c, it->work, &it->params, w->init),
               *name = weft_expand_join(it, it->scope, w->name);
    if (!init || !name)
        return x->c->status;
    if (!weft_init_fits(init, t.dtype))
        return weft_expand_fail(x,
                                "initialiser '%s' gives what %s does not hold; whole numbers up to "
                                "16777216 are exact",
                                init, weft_dtype_name(t.dtype));
    if (weft_graph_find(x->g, name) >= 0)
        return weft_expand_fail(
            x,
            "the weight '%s' is made twice; give one of the calls of module '%s' a name of its own",
            name, it->module->name);
    bool trained = it->trainable && w->trainable && weft_dtype_is_float(t.dtype);
    weft_val v = weft_graph_state(x->g, name, &t, init, trained);
    return v < 0 ? x->c->status : weft_expand_define(it, w->name, v);
}

/* ---- nodes ---- */
static weft_status lookup_inputs(weft_instance *it, const Weft__Node *node, weft_val *in)
{
    for (size_t i = 0; i < node->n_in; i++) {
        in[i] = WEFT_NONE;
        if (node->in[i][0]) /* "": an optional input that is left out */
            WEFT_TRY(weft_expand_lookup(it, node->in[i], &in[i]));
    }
    return WEFT_OK;
}

static weft_status unknown_op(weft_instance *it, const char *name)
{
    const char *known[1024];
    int n = 0;
    for (; n < weft_op_count() && n < 1024; n++)
        known[n] = weft_op_at(n)->name;
    char hint[160];
    if (weft_map_get(it->x->m->modules, name, -1) >= 0)
        return weft_expand_fail(it->x, "unknown op '%s'; it is a module: call: \"%s\"", name, name);
    return weft_expand_fail(it->x, "unknown op '%s'%s (`weft ops` lists them all)", name,
                            weft_suggest(hint, sizeof hint, name, NULL, known, n));
}

/* What an expanded graph file says about a node beyond a written one. */
static void take_source(weft_instance *it, const Weft__Node *node)
{
    weft_graph *g = it->x->g;
    const char *colon = node->source ? strrchr(node->source, ':') : NULL;
    int64_t line;
    if (node->scope)
        g->at_scope = node->scope;
    g->at_backward = node->backward;
    if (node->has_segment)
        g->at_segment = node->segment;
    if (colon && weft_parse_i64(colon + 1, &line)) {
        g->at_file = weft_arena_strndup(it->work, node->source, (size_t)(colon - node->source));
        g->at_line = (int)line;
    }
}

static weft_status check_types(weft_instance *it, const Weft__Node *node, const weft_node *n)
{
    weft_expander *x = it->x;
    for (size_t i = 0; i < node->n_type && i < (size_t)n->n_out; i++) {
        weft_type t;
        char why[256], text[256];
        if (!weft_pattern_eval(&it->bind, node->type[i], &t, why, sizeof why))
            return weft_expand_fail(x, "type '%s': %s", node->type[i], why);
        if (!weft_type_equal(&t, &x->g->value[n->out[i]].type))
            return weft_expand_fail(
                x, "output %zu is declared %s, but is %s", i, node->type[i],
                weft_type_print(text, sizeof text, &x->g->value[n->out[i]].type));
    }
    return WEFT_OK;
}

static weft_status expand_op(weft_instance *it, const Weft__Node *node)
{
    weft_expander *x = it->x;
    weft_graph *g = x->g;
    const weft_op *op = weft_op_find(node->op);
    weft_attr *attr;
    if (!op)
        return unknown_op(it, node->op);
    weft_val *in = weft_arena_array(it->work, node->n_in + 1, sizeof *in);
    if (!in)
        return x->c->status;
    WEFT_TRY(lookup_inputs(it, node, in));
    WEFT_TRY(weft_attrs_eval(x->c, it->work, op, &it->params, (const char *const *)node->attr,
                             (int)node->n_attr, &attr));
    char text[256];
    if (node->n_out < 1 || (int)node->n_out > weft_op_n_out(op))
        return weft_expand_fail(x, "%s has %d output%s, but %zu are named%s", op->name,
                                weft_op_n_out(op), weft_op_n_out(op) == 1 ? "" : "s", node->n_out,
                                op_outputs_text(op, text, sizeof text));
    if (g->n_node >= WEFT_EXPAND_NODES + x->n_written)
        return weft_expand_fail(x, "more than %lld nodes, %d beyond those of the files",
                                (long long)(WEFT_EXPAND_NODES + x->n_written), WEFT_EXPAND_NODES);
    weft_pos p = weft_lines_get(x->m->lines, node);
    size_t n = strlen(it->scope);
    g->at_scope = weft_arena_strndup(it->work, it->scope, n ? n - 1 : 0);
    g->at_file = p.file;
    g->at_line = p.line;
    g->at_backward = false;
    g->at_segment = it->segment;
    take_source(it, node);
    int k = weft_graph_append(g, op, in, (int)node->n_in, attr, NULL);
    if (k < 0)
        return x->c->status;
    g->node[k].again = node->again;
    if (node->has_stream) {
        g->node[k].stream = node->stream;
        g->next_stream = node->stream >= g->next_stream ? node->stream + 1 : g->next_stream;
    }
    for (size_t i = 0; i < node->n_out; i++) {
        WEFT_TRY(weft_expand_define(it, node->out[i], g->node[k].out[i]));
        weft_graph_name(g, g->node[k].out[i], weft_expand_full_name(it, node->out[i]));
    }
    return x->c->status ? x->c->status : check_types(it, node, &g->node[k]);
}

static const Weft__Module *find_module(weft_instance *it, const char *name)
{
    const weft_model *m = it->x->m;
    int i = weft_map_get(m->modules, name, -1);
    const char *known[512];
    int n = 0;
    if (i >= 0)
        return m->module[i];
    for (; n < m->n_module && n < 512; n++)
        known[n] = m->module[n]->name;
    char hint[300];
    if (weft_op_find(name))
        weft_expand_fail(it->x, "unknown module '%s'; it is an op: op: \"%s\"", name, name);
    else
        weft_expand_fail(it->x, "unknown module '%s'%s (is its file imported?)", name,
                         weft_suggest(hint, sizeof hint, name, "there are", known, n));
    return NULL;
}

static weft_status check_recursion(const weft_instance *it, const Weft__Module *callee)
{
    if (it->depth >= MAX_DEPTH)
        return weft_expand_fail(it->x, "calls are nested deeper than %d", MAX_DEPTH);
    for (const weft_instance *up = it; up; up = up->caller)
        if (up->module == callee)
            return weft_expand_fail(it->x, "module '%s' calls itself", callee->name);
    return WEFT_OK;
}

/* One call under its own name, in `work`: `params` are the caller's, with the repeat variable if
 * there is one. */
static weft_status enter_call(weft_instance *it, weft_arena *work, const Weft__Node *node,
                              const Weft__Module *callee, const weft_params *params,
                              const char *name, bool last, const weft_val *in, weft_val *out)
{
    weft_expander *x = it->x;
    weft_instance sub = {.x = x,
                         .work = work,
                         .module = callee,
                         .params = {.work = &x->work},
                         .depth = it->depth + 1,
                         .caller = it,
                         .trainable = it->trainable && node->trainable,
                         .segment = it->segment};
    const char *dotted = weft_arena_printf(work, "%s%s", name, *name ? "." : "");
    sub.scope = dotted ? weft_expand_join(it, it->scope, dotted) : NULL;
    sub.env = weft_map_new(work);
    sub.out_name = weft_arena_array(work, callee->n_output + 1, sizeof *sub.out_name);
    if (!sub.scope || !sub.env || !sub.out_name)
        return x->c->status;
    if (node->recompute && !sub.segment)
        sub.segment = ++x->n_segment;
    sub.n_out_name = (int)node->n_out;
    for (size_t j = 0; j < node->n_out; j++) {
        sub.out_name[j] = last ? weft_expand_full_name(it, node->out[j])
                               : weft_expand_join(it, sub.scope, node->out[j]);
        if (!sub.out_name[j])
            return x->c->status;
    }
    for (size_t i = 0; i < callee->n_param; i++)
        WEFT_TRY(weft_expand_bind_param(&sub, callee->param[i], node, params));
    WEFT_TRY(weft_expand_record(&sub, node));
    return expand_module(&sub, in, (int)node->n_in, out);
}

/* Repetition i of a call (i == 0 without repeat), in memory of its own. */
static weft_status call_in(weft_instance *it, weft_arena *work, const Weft__Node *node,
                           const Weft__Module *callee, int64_t i, bool last, const weft_val *in,
                           weft_val *out)
{
    weft_expander *x = it->x;
    weft_params params = it->params;
    params.cap = params.n; /* the repeat variable must not land in the caller's array */
    if (node->repeat && !weft_params_add(work, &params, node->repeat->var, (double)i, "repeat"))
        return x->c->status;
    weft_instance namer = *it; /* names of the caller's, in the memory of the call */
    namer.work = work;
    const char *name =
        node->name && *node->name ? weft_expand_name(&namer, node->name, &params) : "";
    weft_status s = name ? enter_call(it, work, node, callee, &params, name, last, in, out)
                         : x->c->status;
    if (s)
        weft_note(x->c, "in call '%s%s' of module '%s' (%s)", it->scope,
                  name && *name ? name : callee->name, it->module->name,
                  weft_expand_place(x, node));
    return s;
}

static weft_status call_once(weft_instance *it, const Weft__Node *node, const Weft__Module *callee,
                             int64_t i, bool last, const weft_val *in, weft_val *out)
{
    weft_expander *x = it->x;
    x->n_call++;
    WEFT_TRY(weft_expand_spend(x, CALL_WORK + length(node->name) + it->params.n));
    weft_arena *work = weft_arena_new(x->c, 0);
    weft_status s = work ? call_in(it, work, node, callee, i, last, in, out) : x->c->status;
    weft_arena_free(work);
    return s;
}

static weft_status repeat_bounds(weft_instance *it, const Weft__Node *node, int64_t *from,
                                 int64_t *to)
{
    const Weft__Repeat *r = node->repeat;
    char why[256];
    *from = 0;
    *to = 1;
    if (!r)
        return WEFT_OK;
    if (!r->var || !r->to)
        return weft_expand_fail(it->x, "repeat needs %s",
                                r->var ? "to, the end of its variable"
                                       : "var, the name of its variable");
    if (!weft_expr_is_name(r->var, strlen(r->var)))
        return weft_expand_fail(it->x, "repeat: '%.100s' is not a name for a variable", r->var);
    if (!weft_expr_eval_int(&it->params, r->from, strlen(r->from), from, why, sizeof why) ||
        !weft_expr_eval_int(&it->params, r->to, strlen(r->to), to, why, sizeof why))
        return weft_expand_fail(it->x, "repeat: %s", why);
    if (*from < 0 || *to < *from || *to > MAX_REPEAT)
        return weft_expand_fail(it->x, "repeat from %lld to %lld: expected 0 <= from <= to <= %d",
                                (long long)*from, (long long)*to, MAX_REPEAT);
    int64_t all = it->x->n_call + it->x->n_ahead + (*to - *from);
    if (all > WEFT_EXPAND_CALLS + it->x->n_written)
        return weft_expand_fail(
            it->x,
            "repeat from %lld to %lld makes %lld calls in the whole model; at most %lld are "
            "allowed, %d beyond the nodes of the files",
            (long long)*from, (long long)*to, (long long)all,
            (long long)(WEFT_EXPAND_CALLS + it->x->n_written), WEFT_EXPAND_CALLS);
    if (node->n_out > node->n_in)
        return weft_expand_fail(it->x,
                                "repeat carries %zu outputs to as many inputs, but has only %zu",
                                node->n_out, node->n_in);
    return WEFT_OK;
}

/* What can be said of a call before it is entered; its inputs are looked up. */
static weft_status prepare_call(weft_instance *it, const Weft__Node *node,
                                const Weft__Module *callee, int64_t *from, int64_t *to,
                                weft_val *in)
{
    weft_expander *x = it->x;
    WEFT_TRY(check_recursion(it, callee));
    WEFT_TRY(weft_expand_check_attrs(it, node, callee));
    WEFT_TRY(repeat_bounds(it, node, from, to));
    WEFT_TRY(weft_expand_check_names(it, node, callee, *to - *from));
    char text[512];
    if (node->n_out > callee->n_output)
        return weft_expand_fail(x, "module '%s' has %zu output%s, but %zu are named%s",
                                callee->name, callee->n_output, callee->n_output == 1 ? "" : "s",
                                node->n_out, outputs_text(callee, text, sizeof text));
    WEFT_TRY(lookup_inputs(it, node, in));
    for (size_t i = 0; i < node->n_in; i++)
        if (in[i] < 0)
            return weft_expand_fail(x, "an input of a call cannot be left out");
    return WEFT_OK;
}

/* Adds the node to a failure. */
static weft_status note_node(weft_instance *it, const Weft__Node *node)
{
    const char *name = node->n_out  ? node->out[0]
                       : node->op   ? node->op
                       : node->call ? node->call
                                    : "?";
    return weft_note(it->x->c, "in node '%s' of module '%s' (%s)", name, it->module->name,
                     weft_expand_place(it->x, node));
}

static weft_status expand_call(weft_instance *it, const Weft__Node *node)
{
    weft_expander *x = it->x;
    const Weft__Module *callee = find_module(it, node->call);
    int64_t from, to;
    if (!callee)
        return note_node(it, node);
    weft_val *in = weft_arena_array(it->work, node->n_in + 1, sizeof *in);
    weft_val *out = weft_arena_array(it->work, callee->n_output + 1, sizeof *out);
    if (!in || !out)
        return x->c->status;
    if (prepare_call(it, node, callee, &from, &to, in))
        return note_node(it, node);
    for (size_t j = 0; from == to && j < node->n_out; j++)
        out[j] = in[j];
    x->n_ahead += to - from;
    for (int64_t i = from; i < to; i++) {
        x->n_ahead--;
        WEFT_TRY(call_once(it, node, callee, i, i == to - 1, in, out));
        for (size_t j = 0; node->repeat && j < node->n_out; j++)
            in[j] = out[j];
    }
    for (size_t j = 0; j < node->n_out; j++)
        if (weft_expand_define(it, node->out[j], out[j]))
            return note_node(it, node);
    return WEFT_OK;
}

/* What looking at a node costs, whatever it is. */
static int64_t node_work(const Weft__Node *node)
{
    int64_t work = NODE_WORK + (int64_t)(node->n_in + node->n_out);
    for (size_t i = 0; i < node->n_attr; i++)
        work += length(node->attr[i]);
    for (size_t i = 0; i < node->n_type; i++)
        work += length(node->type[i]);
    return work;
}

static weft_status expand_node(weft_instance *it, const Weft__Node *node)
{
    weft_status s = weft_expand_spend(it->x, node_work(node));
    if (s)
        return note_node(it, node);
    if (!node->op == !node->call)
        s = weft_expand_fail(it->x, "a node has either 'op' or 'call'%s",
                             node->op ? ", not both" : "");
    else if (node->op && node->repeat)
        s = weft_expand_fail(it->x, "repeat is for calls; put the op '%s' into a module", node->op);
    else if (node->call)
        return expand_call(it, node);
    else
        s = expand_op(it, node);
    return s ? note_node(it, node) : WEFT_OK;
}

static weft_status expand_module(weft_instance *it, const weft_val *in, int n_in, weft_val *out)
{
    const Weft__Module *m = it->module;
    it->bind = (weft_binding){.arena = it->work, .params = &it->params};
    WEFT_TRY(bind_inputs(it, in, n_in));
    for (size_t i = 0; i < m->n_weight; i++)
        if (make_weight(it, m->weight[i]))
            return weft_note(it->x->c, "in weight '%s' of module '%s' (%s)", m->weight[i]->name,
                             m->name, weft_expand_place(it->x, m->weight[i]));
    for (size_t i = 0; i < m->n_node; i++)
        WEFT_TRY(expand_node(it, m->node[i]));
    for (size_t i = 0; i < m->n_output; i++) {
        const char *eq = strchr(m->output[i], '=');
        if (weft_expand_lookup(it, eq ? eq + 1 : m->output[i], &out[i]))
            return weft_note(it->x->c, "in the outputs of module '%s' (%s)", m->name,
                             weft_expand_place(it->x, m));
    }
    return WEFT_OK;
}

/* ---- the entry module ---- */
static weft_status expand_entry(weft_instance *it)
{
    const Weft__Module *m = it->module;
    weft_graph *g = it->x->g;
    weft_val *in = weft_arena_array(it->work, m->n_input + 1, sizeof *in);
    weft_val *out = weft_arena_array(it->work, m->n_output + 1, sizeof *out);
    if (!in || !out)
        return it->x->c->status;
    if (!m->n_output)
        return weft_expand_fail(it->x, "the entry module has no outputs, so there is nothing to "
                                       "compute; name some with output");
    for (size_t i = 0; i < m->n_param; i++)
        WEFT_TRY(weft_expand_bind_param(it, m->param[i], NULL, NULL));
    WEFT_TRY(weft_expand_record(it, m));
    it->bind = (weft_binding){.arena = it->work, .params = &it->params};
    for (size_t i = 0; i < m->n_input; i++) {
        weft_type t;
        char why[256];
        if (!weft_pattern_eval(&it->bind, m->input[i]->type, &t, why, sizeof why))
            weft_expand_fail(it->x, "type %s: %s%s", m->input[i]->type, why,
                             strstr(why, "unknown parameter")
                                 ? "; an entry module's inputs cannot bind sizes"
                                 : "");
        else
            in[i] = weft_graph_input(g, m->input[i]->name, &t);
        if (it->x->c->status)
            return weft_note(it->x->c, "in input '%s' of module '%s' (%s)", m->input[i]->name,
                             m->name, weft_expand_place(it->x, m->input[i]));
    }
    WEFT_TRY(expand_module(it, in, (int)m->n_input, out));
    for (size_t i = 0; i < m->n_output; i++) {
        const char *name = weft_arena_strndup(it->work, m->output[i], strcspn(m->output[i], "="));
        WEFT_TRY(name ? weft_graph_output(g, name, out[i]) : it->x->c->status);
    }
    return WEFT_OK;
}

static weft_status expand_main(weft_model *m, weft_graph *g, weft_arena *work)
{
    weft_expander x = {.m = m, .g = g, .c = m->ctx, .tried_at = weft_map_new(work)};
    weft_instance it = {.x = &x,
                        .work = work,
                        .module = m->main,
                        .params = {.work = &x.work},
                        .scope = "",
                        .trainable = true,
                        .env = weft_map_new(work)};
    for (int i = 0; i < m->n_module; i++)
        x.n_written += (int64_t)m->module[i]->n_node;
    g->entry = weft_arena_strdup(g->arena, m->main->name);
    weft_status s = it.env && x.tried_at && g->entry ? expand_entry(&it) : m->ctx->status;
    g->at_scope = ""; /* strings of the work and of the model */
    g->at_file = NULL;
    if (!s)
        s = weft_graph_check_updates(g);
    if (!s)
        weft_graph_mark_updates(g);
    if (s)
        weft_note(m->ctx, "in the entry module '%s' (%s)", m->main->name,
                  weft_expand_place(&x, m->main));
    return s;
}

weft_status weft_graph_expand(weft_model *m, weft_graph **out)
{
    WEFT_TRY(weft_model_check(m));
    weft_graph *g = weft_graph_new(m->ctx);
    weft_arena *work = g ? weft_arena_new(m->ctx, 0) : NULL;
    weft_status s = work ? expand_main(m, g, work) : m->ctx->status;
    weft_arena_free(work);
    if (s)
        weft_graph_free(g);
    else
        *out = g;
    return s;
}
