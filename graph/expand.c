/* expand.c - modules to one flat typed graph.
 *
 * Input: a loaded model (modules, settings).  Output: a graph of ops only, every value typed, weights named by their
 * scope ("h.3.attn.c_attn.weight"), every node with scope and source line.  Parameters, expressions, repeats and type
 * patterns are gone afterwards.  A failure names the node and the whole chain of calls. */
#include <stdio.h>
#include <string.h>

#include "graph/init.h"
#include "graph/load.h"
#include "graph/pattern.h"

enum { MAX_DEPTH = 32, MAX_NODES = 4000000, MAX_REPEAT = 1000000 };

typedef struct {
    const weft_model *m;
    weft_graph *g;
    weft_ctx *c;
    int n_segment;
} expander;

/* One use of a module. */
typedef struct instance {
    expander *x;
    const Weft__Module *module;
    weft_params params;
    weft_binding bind;
    weft_map *env;          /* local name -> value */
    const char *scope;      /* "" or "h.3." with the final dot */
    const char **out_name;  /* full names for the module's outputs, given by the caller; entries may be NULL */
    int n_out_name;
    bool trainable;
    int segment, depth;
    const struct instance *caller;
} instance;

static weft_status expand_module(instance *it, const weft_val *in, int n_in, weft_val *out);

static weft_status fail_at(expander *x, const char *fmt, ...) WEFT_PRINTF(2, 3);
static weft_status fail_at(expander *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    weft_failv(x->c, WEFT_MALFORMED, fmt, ap);
    va_end(ap);
    return x->c->status;
}

static const char *place(expander *x, const void *message)
{
    weft_pos p = weft_lines_get(x->m->lines, message);
    const char *s = p.line ? weft_arena_printf(x->g->arena, "%s:%d", p.file, p.line) : p.file;
    return s ? s : "?";
}

/* ---- parameters ---- */
static const char *param_name(weft_arena *a, const char *text)
{
    size_t n = strcspn(text, "=");
    while (n && text[n - 1] == ' ')
        n--;
    return weft_arena_strndup(a, text, n);
}

static const char *attr_value(char **attr, size_t n, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (!strncmp(attr[i], name, len) && attr[i][len] == '=')
            return attr[i] + len + 1;
    return NULL;
}

static weft_status check_call_attrs(instance *it, const Weft__Node *node, const Weft__Module *callee)
{
    expander *x = it->x;
    const char *known[64];
    int n = 0;
    for (size_t i = 0; i < callee->n_param && n < 64; i++)
        if (!(known[n++] = param_name(x->g->arena, callee->param[i])))
            return x->c->status;
    for (size_t k = 0; k < node->n_attr; k++) {
        char word[64];
        size_t len = strcspn(node->attr[k], "=");
        bool found = false;
        snprintf(word, sizeof word, "%.*s", (int)(len > 60 ? 60 : len), node->attr[k]);
        if (!node->attr[k][len])
            return fail_at(x, "attribute '%s' must be written name=value", word);
        for (int i = 0; i < n; i++)
            found = found || !strcmp(known[i], word);
        for (size_t j = 0; j < k; j++)
            if (!strncmp(node->attr[j], node->attr[k], len + 1))
                return fail_at(x, "parameter '%s' is given twice", word);
        const char *near = found ? NULL : weft_nearest(word, known, n);
        if (!found)
            return fail_at(x, "module '%s' has no parameter '%s'%s%s%s", callee->name, word,
                           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return WEFT_OK;
}

/* Value of one declared parameter: given by the call, else the caller's of the same name, else the default. */
static weft_status bind_param(instance *it, const char *declared, const Weft__Node *node, const weft_params *outer)
{
    expander *x = it->x;
    char why[256];
    double v = 0;
    const char *name = param_name(x->g->arena, declared), *origin = "default";
    const char *def = strchr(declared, '=');
    if (!name)
        return x->c->status;
    if (!weft_expr_is_name(name, strlen(name)))
        return fail_at(x, "'%s' is not a name for a parameter", name);
    const char *given = node ? attr_value(node->attr, node->n_attr, name) : NULL;
    const weft_param *same = outer ? weft_params_find(outer, name, strlen(name)) : NULL;
    const char *set = NULL;
    for (int i = 0; !node && i < x->m->n_set; i++)
        if (!strcmp(x->m->set[i].name, name))
            set = x->m->set[i].value;
    bool ok = true;
    if (given) {
        ok = weft_expr_eval(outer, given, strlen(given), &v, why, sizeof why);
        origin = "here";
    } else if (set) {
        ok = weft_expr_eval(&it->params, set, strlen(set), &v, why, sizeof why);
        origin = "--set";
    } else if (same) {
        v = same->value;
        origin = "caller";
    } else if (def) {
        ok = weft_expr_eval(&it->params, def + 1, strlen(def + 1), &v, why, sizeof why);
    } else {
        return fail_at(x, "module '%s' needs the parameter '%s'; give it with %s", it->module->name, name,
                       node ? "attr" : "--set");
    }
    if (!ok)
        return fail_at(x, "parameter %s=%s: %s", name, given ? given : set ? set : def + 1, why);
    if (weft_params_find(&it->params, name, strlen(name)))
        return fail_at(x, "module '%s' declares the parameter '%s' twice", it->module->name, name);
    return weft_params_add(x->g->arena, &it->params, name, v, origin) ? WEFT_OK : x->c->status;
}

static weft_status record_call(instance *it, const void *message)
{
    weft_graph *g = it->x->g;
    const char *text = "";
    char number[64];
    for (int i = 0; i < it->params.n && text; i++)
        text = weft_arena_printf(g->arena, "%s%s%s=%s (%s)", text, i ? ", " : "", it->params.p[i].name,
                                 weft_number_print(number, sizeof number, it->params.p[i].value), it->params.p[i].origin);
    if (!text || !WEFT_GROW(g->arena, g->call, g->n_call, g->cap_call))
        return it->x->c->status;
    weft_pos p = weft_lines_get(it->x->m->lines, message);
    size_t n = strlen(it->scope);
    g->call[g->n_call++] = (weft_call_record){weft_arena_strndup(g->arena, it->scope, n ? n - 1 : 0), it->module->name,
                                              text, p.file, p.line};
    return WEFT_OK;
}

/* ---- names ---- */
/* "h.{i}" with every {expression} replaced by its value. */
static const char *fill_name(instance *it, const char *pattern, const weft_params *params)
{
    weft_arena *a = it->x->g->arena;
    const char *out = "";
    for (const char *p = pattern; *p && out;) {
        size_t n = strcspn(p, "{");
        char why[256];
        int64_t v;
        out = weft_arena_printf(a, "%s%.*s", out, (int)n, p);
        p += n;
        if (!*p)
            break;
        const char *end = strchr(p, '}');
        if (!end) {
            fail_at(it->x, "'{' without '}' in the name '%s'", pattern);
            return NULL;
        }
        if (!weft_expr_eval_int(params, p + 1, (size_t)(end - p - 1), &v, why, sizeof why)) {
            fail_at(it->x, "name '%s': %s", pattern, why);
            return NULL;
        }
        out = out ? weft_arena_printf(a, "%s%lld", out, (long long)v) : NULL;
        p = end + 1;
    }
    return out;
}

static weft_status define(instance *it, const char *name, weft_val v)
{
    if (weft_map_get(it->env, name, WEFT_NONE) != WEFT_NONE)
        return fail_at(it->x, "'%s' is defined twice in module '%s'", name, it->module->name);
    return weft_map_set(it->env, name, v) ? WEFT_OK : it->x->c->status;
}

static weft_status lookup(instance *it, const char *name, weft_val *out)
{
    const Weft__Module *m = it->module;
    const char *known[512];
    int n = 0;
    *out = weft_map_get(it->env, name, WEFT_NONE);
    if (*out != WEFT_NONE)
        return WEFT_OK;
    for (size_t i = 0; i < m->n_input && n < 512; i++)
        known[n++] = m->input[i]->name;
    for (size_t i = 0; i < m->n_weight && n < 512; i++)
        known[n++] = m->weight[i]->name;
    for (size_t k = 0; k < m->n_node; k++)
        for (size_t i = 0; i < m->node[k]->n_out && n < 512; i++)
            if (weft_map_get(it->env, m->node[k]->out[i], WEFT_NONE) != WEFT_NONE)
                known[n++] = m->node[k]->out[i];
    for (size_t k = 0; k < m->n_node; k++)
        for (size_t i = 0; i < m->node[k]->n_out; i++)
            if (!strcmp(m->node[k]->out[i], name))
                return fail_at(it->x, "'%s' is used before it is computed (nodes run in the order of the file)", name);
    const char *near = weft_nearest(name, known, n);
    return near ? fail_at(it->x, "unknown value '%s'; did you mean '%s'?", name, near)
                : fail_at(it->x, "unknown value '%s'", name);
}

/* The name in the whole graph for local value `name`: the caller's if it is an output of the module. */
static const char *full_name(instance *it, const char *name)
{
    weft_graph *g = it->x->g;
    const char *full = NULL;
    for (int j = 0; j < it->n_out_name && !full; j++) {
        const char *eq = strchr(it->module->output[j], '=');
        if (!strcmp(eq ? eq + 1 : it->module->output[j], name))
            full = it->out_name[j];
    }
    if (!full)
        full = weft_arena_printf(g->arena, "%s%s", it->scope, name);
    for (int k = 2; full && weft_graph_find(g, full) >= 0 && k < 100000; k++)
        full = weft_arena_printf(g->arena, "%s%s~%d", it->scope, name, k); /* calls without a name share a scope */
    return full;
}

/* ---- inputs and weights ---- */
static weft_status bind_inputs(instance *it, const weft_val *in, int n_in)
{
    expander *x = it->x;
    char why[256], text[256];
    if (n_in != (int)it->module->n_input)
        return fail_at(x, "module '%s' takes %zu input%s, but %d %s given", it->module->name, it->module->n_input,
                       it->module->n_input == 1 ? "" : "s", n_in, n_in == 1 ? "is" : "are");
    for (int i = 0; i < n_in; i++) {
        const Weft__Port *p = it->module->input[i];
        if (!weft_pattern_match(&it->bind, p->type, &x->g->value[in[i]].type, why, sizeof why))
            return fail_at(x, "input '%s' of module '%s' is declared %s, but gets %s: %s", p->name, it->module->name, p->type,
                           weft_type_print(text, sizeof text, &x->g->value[in[i]].type), why);
        WEFT_TRY(define(it, p->name, in[i]));
    }
    return WEFT_OK;
}

static weft_status make_weight(instance *it, const Weft__Weight *w)
{
    expander *x = it->x;
    weft_type t;
    char why[256];
    if (!weft_pattern_eval(&it->bind, w->type, &t, why, sizeof why))
        return fail_at(x, "weight '%s' of type %s: %s", w->name, w->type, why);
    const char *init = weft_init_eval(x->c, x->g->arena, &it->params, w->init), *name = weft_arena_printf(x->g->arena, "%s%s", it->scope, w->name);
    if (!init || !name)
        return x->c->status;
    if (weft_graph_find(x->g, name) >= 0)
        return fail_at(x, "the weight '%s' is made twice; give one of the calls of module '%s' a name of its own", name,
                       it->module->name);
    weft_val v = weft_graph_state(x->g, name, &t, init, it->trainable && w->trainable);
    return v < 0 ? x->c->status : define(it, w->name, v);
}

/* ---- nodes ---- */
static weft_status lookup_inputs(instance *it, const Weft__Node *node, weft_val *in)
{
    for (size_t i = 0; i < node->n_in; i++) {
        in[i] = WEFT_NONE;
        if (node->in[i][0]) /* "": an optional input that is left out */
            WEFT_TRY(lookup(it, node->in[i], &in[i]));
    }
    return WEFT_OK;
}

static weft_status unknown_op(instance *it, const char *name)
{
    const char *known[1024];
    int n = 0;
    for (; n < weft_op_count() && n < 1024; n++)
        known[n] = weft_op_at(n)->name;
    const char *near = weft_nearest(name, known, n);
    char shown[128];
    weft_printable(shown, sizeof shown, name);
    return near ? fail_at(it->x, "unknown op '%s'; did you mean '%s'?", shown, near)
                : fail_at(it->x, "unknown op '%s'; `weft ops` lists them all", shown);
}

/* What an expanded graph file says about a node beyond a written one. */
static void take_source(weft_graph *g, const Weft__Node *node)
{
    const char *colon = node->source ? strrchr(node->source, ':') : NULL;
    int64_t line;
    if (node->scope)
        g->at_scope = node->scope;
    g->at_backward = node->backward;
    if (node->has_segment)
        g->at_segment = node->segment;
    if (colon && weft_parse_i64(colon + 1, &line)) {
        g->at_file = weft_arena_strndup(g->arena, node->source, (size_t)(colon - node->source));
        g->at_line = (int)line;
    }
}

static weft_status check_types(instance *it, const Weft__Node *node, const weft_node *n)
{
    expander *x = it->x;
    for (size_t i = 0; i < node->n_type && i < (size_t)n->n_out; i++) {
        weft_type t;
        char why[256], text[256];
        if (!weft_pattern_eval(&it->bind, node->type[i], &t, why, sizeof why))
            return fail_at(x, "type '%s': %s", node->type[i], why);
        if (!weft_type_equal(&t, &x->g->value[n->out[i]].type))
            return fail_at(x, "output %zu is declared %s, but is %s", i, node->type[i],
                           weft_type_print(text, sizeof text, &x->g->value[n->out[i]].type));
    }
    return WEFT_OK;
}

static weft_status expand_op(instance *it, const Weft__Node *node)
{
    expander *x = it->x;
    weft_graph *g = x->g;
    const weft_op *op = weft_op_find(node->op);
    weft_attr *attr;
    if (!op)
        return unknown_op(it, node->op);
    weft_val *in = weft_arena_array(g->arena, node->n_in + 1, sizeof *in);
    if (!in)
        return x->c->status;
    WEFT_TRY(lookup_inputs(it, node, in));
    WEFT_TRY(weft_attrs_eval(x->c, g->arena, op, &it->params, (const char *const *)node->attr, (int)node->n_attr, &attr));
    if (node->n_out < 1 || (int)node->n_out > weft_op_n_out(op))
        return fail_at(x, "%s has %d output%s, but %zu are named", op->name, weft_op_n_out(op),
                       weft_op_n_out(op) == 1 ? "" : "s", node->n_out);
    if (g->n_node >= MAX_NODES)
        return fail_at(x, "more than %d nodes", MAX_NODES);
    weft_pos p = weft_lines_get(x->m->lines, node);
    size_t n = strlen(it->scope);
    g->at_scope = weft_arena_strndup(g->arena, it->scope, n ? n - 1 : 0);
    g->at_file = p.file;
    g->at_line = p.line;
    g->at_backward = false;
    g->at_segment = it->segment;
    take_source(g, node);
    int k = weft_graph_append(g, op, in, (int)node->n_in, attr, NULL);
    if (k < 0)
        return x->c->status;
    g->node[k].again = node->again;
    if (node->has_stream) {
        g->node[k].stream = node->stream;
        g->next_stream = node->stream >= g->next_stream ? node->stream + 1 : g->next_stream;
    }
    for (size_t i = 0; i < node->n_out; i++) {
        WEFT_TRY(define(it, node->out[i], g->node[k].out[i]));
        weft_graph_name(g, g->node[k].out[i], full_name(it, node->out[i]));
    }
    return x->c->status ? x->c->status : check_types(it, node, &g->node[k]);
}

static const Weft__Module *find_module(instance *it, const char *name)
{
    const weft_model *m = it->x->m;
    int i = weft_map_get(m->modules, name, -1);
    const char *known[512];
    int n = 0;
    if (i >= 0)
        return m->module[i];
    for (; n < m->n_module && n < 512; n++)
        known[n] = m->module[n]->name;
    const char *near = weft_nearest(name, known, n);
    fail_at(it->x, "unknown module '%s'%s%s%s", name, near ? "; did you mean '" : " (is its file imported?)",
            near ? near : "", near ? "'?" : "");
    return NULL;
}

static weft_status check_recursion(const instance *it, const Weft__Module *callee)
{
    if (it->depth >= MAX_DEPTH)
        return fail_at(it->x, "calls are nested deeper than %d", MAX_DEPTH);
    for (const instance *up = it; up; up = up->caller)
        if (up->module == callee)
            return fail_at(it->x, "module '%s' calls itself", callee->name);
    return WEFT_OK;
}

/* One call under its own name: `params` are the caller's, with the repeat variable if there is one. */
static weft_status enter_call(instance *it, const Weft__Node *node, const Weft__Module *callee, const weft_params *params,
                              const char *name, bool last, const weft_val *in, weft_val *out)
{
    expander *x = it->x;
    weft_graph *g = x->g;
    instance sub = {.x = x, .module = callee, .depth = it->depth + 1, .caller = it,
                    .trainable = it->trainable && node->trainable, .segment = it->segment};
    sub.scope = weft_arena_printf(g->arena, "%s%s%s", it->scope, name, *name ? "." : "");
    sub.env = weft_map_new(g->arena);
    sub.out_name = weft_arena_array(g->arena, callee->n_output + 1, sizeof *sub.out_name);
    if (!sub.scope || !sub.env || !sub.out_name)
        return x->c->status;
    if (node->recompute && !sub.segment)
        sub.segment = ++x->n_segment;
    sub.n_out_name = (int)node->n_out;
    for (size_t j = 0; j < node->n_out; j++)
        sub.out_name[j] = last ? full_name(it, node->out[j]) : weft_arena_printf(g->arena, "%s%s", sub.scope, node->out[j]);
    for (size_t i = 0; i < callee->n_param; i++)
        WEFT_TRY(bind_param(&sub, callee->param[i], node, params));
    WEFT_TRY(record_call(&sub, node));
    return expand_module(&sub, in, (int)node->n_in, out);
}

static weft_status call_once(instance *it, const Weft__Node *node, const Weft__Module *callee, const weft_params *params,
                             bool last, const weft_val *in, weft_val *out)
{
    expander *x = it->x;
    const char *name = node->name && *node->name ? fill_name(it, node->name, params) : "";
    weft_status s = name ? enter_call(it, node, callee, params, name, last, in, out) : x->c->status;
    if (s)
        weft_note(x->c, "in call '%s%s' of module '%s' (%s)", it->scope, name && *name ? name : callee->name,
                  it->module->name, place(x, node));
    return s;
}

static weft_status repeat_bounds(instance *it, const Weft__Node *node, int64_t *from, int64_t *to)
{
    const Weft__Repeat *r = node->repeat;
    char why[256];
    *from = 0;
    *to = 1;
    if (!r)
        return WEFT_OK;
    if (!r->var || !r->to)
        return fail_at(it->x, "repeat needs %s", r->var ? "to, the end of its variable" : "var, the name of its variable");
    if (!weft_expr_is_name(r->var, strlen(r->var)))
        return fail_at(it->x, "repeat: '%.100s' is not a name for a variable", r->var);
    if (!weft_expr_eval_int(&it->params, r->from, strlen(r->from), from, why, sizeof why) ||
        !weft_expr_eval_int(&it->params, r->to, strlen(r->to), to, why, sizeof why))
        return fail_at(it->x, "repeat: %s", why);
    if (*from < 0 || *to < *from || *to > MAX_REPEAT)
        return fail_at(it->x, "repeat from %lld to %lld: expected 0 <= from <= to <= %d", (long long)*from,
                       (long long)*to, MAX_REPEAT);
    if (node->n_out > node->n_in)
        return fail_at(it->x, "repeat carries %zu outputs to as many inputs, but has only %zu", node->n_out, node->n_in);
    return WEFT_OK;
}

/* What can be said of a call before it is entered; its inputs are looked up. */
static weft_status prepare_call(instance *it, const Weft__Node *node, const Weft__Module *callee, int64_t *from,
                                int64_t *to, weft_val *in)
{
    expander *x = it->x;
    WEFT_TRY(check_recursion(it, callee));
    WEFT_TRY(check_call_attrs(it, node, callee));
    WEFT_TRY(repeat_bounds(it, node, from, to));
    if (node->n_out > callee->n_output)
        return fail_at(x, "module '%s' has %zu output%s, but %zu are named", callee->name, callee->n_output,
                       callee->n_output == 1 ? "" : "s", node->n_out);
    WEFT_TRY(lookup_inputs(it, node, in));
    for (size_t i = 0; i < node->n_in; i++)
        if (in[i] < 0)
            return fail_at(x, "an input of a call cannot be left out");
    return WEFT_OK;
}

/* Adds the node to a failure. */
static weft_status note_node(instance *it, const Weft__Node *node)
{
    const char *name = node->n_out ? node->out[0] : node->op ? node->op : node->call ? node->call : "?";
    return weft_note(it->x->c, "in node '%s' of module '%s' (%s)", name, it->module->name, place(it->x, node));
}

static weft_status expand_call(instance *it, const Weft__Node *node)
{
    expander *x = it->x;
    const Weft__Module *callee = find_module(it, node->call);
    int64_t from, to;
    if (!callee)
        return note_node(it, node);
    weft_val *in = weft_arena_array(x->g->arena, node->n_in + 1, sizeof *in);
    weft_val *out = weft_arena_array(x->g->arena, callee->n_output + 1, sizeof *out);
    if (!in || !out)
        return x->c->status;
    if (prepare_call(it, node, callee, &from, &to, in))
        return note_node(it, node);
    for (size_t j = 0; from == to && j < node->n_out; j++)
        out[j] = in[j];
    for (int64_t i = from; i < to; i++) {
        weft_params params = it->params;
        params.cap = params.n; /* the repeat variable must not land in the caller's array */
        if (node->repeat && !weft_params_add(x->g->arena, &params, node->repeat->var, (double)i, "repeat"))
            return x->c->status;
        WEFT_TRY(call_once(it, node, callee, &params, i == to - 1, in, out));
        for (size_t j = 0; node->repeat && j < node->n_out; j++)
            in[j] = out[j];
    }
    for (size_t j = 0; j < node->n_out; j++)
        if (define(it, node->out[j], out[j]))
            return note_node(it, node);
    return WEFT_OK;
}

static weft_status expand_node(instance *it, const Weft__Node *node)
{
    weft_status s;
    if (!node->op == !node->call)
        s = fail_at(it->x, "a node has either 'op' or 'call'%s", node->op ? ", not both" : "");
    else if (node->op && node->repeat)
        s = fail_at(it->x, "repeat is for calls; put the op '%s' into a module", node->op);
    else if (node->call)
        return expand_call(it, node);
    else
        s = expand_op(it, node);
    return s ? note_node(it, node) : WEFT_OK;
}

static weft_status expand_module(instance *it, const weft_val *in, int n_in, weft_val *out)
{
    const Weft__Module *m = it->module;
    it->bind = (weft_binding){.arena = it->x->g->arena, .params = &it->params};
    WEFT_TRY(bind_inputs(it, in, n_in));
    for (size_t i = 0; i < m->n_weight; i++)
        if (make_weight(it, m->weight[i]))
            return weft_note(it->x->c, "in weight '%s' of module '%s' (%s)", m->weight[i]->name, m->name,
                             place(it->x, m->weight[i]));
    for (size_t i = 0; i < m->n_node; i++)
        WEFT_TRY(expand_node(it, m->node[i]));
    for (size_t i = 0; i < m->n_output; i++) {
        const char *eq = strchr(m->output[i], '=');
        if (lookup(it, eq ? eq + 1 : m->output[i], &out[i]))
            return weft_note(it->x->c, "in the outputs of module '%s' (%s)", m->name, place(it->x, m));
    }
    return WEFT_OK;
}

/* ---- the entry module ---- */
static weft_status expand_entry(instance *it)
{
    const Weft__Module *m = it->module;
    weft_graph *g = it->x->g;
    weft_val *in = weft_arena_array(g->arena, m->n_input + 1, sizeof *in);
    weft_val *out = weft_arena_array(g->arena, m->n_output + 1, sizeof *out);
    if (!in || !out)
        return it->x->c->status;
    if (!m->n_output)
        return fail_at(it->x, "the entry module has no outputs, so there is nothing to compute; name some with output");
    for (size_t i = 0; i < m->n_param; i++)
        WEFT_TRY(bind_param(it, m->param[i], NULL, NULL));
    WEFT_TRY(record_call(it, m));
    it->bind = (weft_binding){.arena = g->arena, .params = &it->params};
    for (size_t i = 0; i < m->n_input; i++) {
        weft_type t;
        char why[256];
        if (!weft_pattern_eval(&it->bind, m->input[i]->type, &t, why, sizeof why))
            fail_at(it->x, "type %s: %s%s", m->input[i]->type, why,
                    strstr(why, "unknown parameter") ? "; an entry module's inputs cannot bind sizes" : "");
        else
            in[i] = weft_graph_input(g, m->input[i]->name, &t);
        if (it->x->c->status)
            return weft_note(it->x->c, "in input '%s' of module '%s' (%s)", m->input[i]->name, m->name,
                             place(it->x, m->input[i]));
    }
    WEFT_TRY(expand_module(it, in, (int)m->n_input, out));
    for (size_t i = 0; i < m->n_output; i++) {
        const char *name = weft_arena_strndup(g->arena, m->output[i], strcspn(m->output[i], "="));
        WEFT_TRY(name ? weft_graph_output(g, name, out[i]) : it->x->c->status);
    }
    return WEFT_OK;
}

weft_status weft_graph_expand(weft_model *m, weft_graph **out)
{
    WEFT_TRY(weft_model_check(m));
    weft_graph *g = weft_graph_new(m->ctx);
    if (!g)
        return m->ctx->status;
    expander x = {.m = m, .g = g, .c = m->ctx};
    instance it = {.x = &x, .module = m->main, .scope = "", .trainable = true, .env = weft_map_new(g->arena)};
    g->entry = weft_arena_strdup(g->arena, m->main->name);
    weft_status s = it.env ? expand_entry(&it) : m->ctx->status;
    if (s) {
        weft_note(m->ctx, "in the entry module '%s' (%s)", m->main->name, place(&x, m->main));
        weft_graph_free(g);
        return s;
    }
    *out = g;
    return WEFT_OK;
}
