/* print.c - a graph as text for people (one node a line, stable and diffable) and as a model file
 * (flat, reloadable). */
#include <stdio.h>
#include <string.h>

#include "graph/ir.h"
#include "graph/load.h"
#include "graph/reflect.h"

/* ---- the dump ---- */
static void print_calls(const weft_graph *g, weft_string *s)
{
    for (int i = 0; i < g->n_call; i++) {
        const weft_call_record *r = &g->call[i];
        weft_string_printf(s, "# %s%s%s: %s\n", r->scope, *r->scope ? " = " : "", r->module,
                           r->params);
    }
}

static void print_source(const weft_graph *g, weft_val v, weft_string *s)
{
    char type[256];
    const weft_value *x = &g->value[v];
    weft_type_print(type, sizeof type, &x->type);
    if (x->kind == WEFT_VALUE_INPUT)
        weft_string_printf(s, "%%%d %s  %s = input\n", v, x->name, type);
    else if (x->kind == WEFT_VALUE_STATE)
        weft_string_printf(s, "%%%d %s  %s = state %s%s\n", v, x->name, type, x->init,
                           x->trainable ? "" : " frozen");
}

static weft_status print_node(const weft_graph *g, int k, weft_string *s)
{
    const weft_node *n = &g->node[k];
    const char *attr[16];
    char type[256];
    int n_attr = weft_attrs_print(g->arena, n, attr, 16);
    if (n_attr < 0)
        return g->ctx->status;
    for (int i = 0; i < n->n_out; i++) {
        const weft_value *y = &g->value[n->out[i]];
        weft_string_printf(s, "%s%%%d%s%s  %s", i ? ", " : "", n->out[i], y->name ? " " : "",
                           y->name ? y->name : "", weft_type_print(type, sizeof type, &y->type));
    }
    weft_string_printf(s, " = %s", n->op->name);
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] < 0)
            weft_string_printf(s, " -");
        else
            weft_string_printf(s, " %%%d", n->in[i]);
    for (int i = 0; i < n_attr; i++)
        weft_string_printf(s, " %s", attr[i]);
    if (n->op->flags & WEFT_DRAWS)
        weft_string_printf(s, " stream=%u", n->stream);
    weft_string_printf(s, "  [%s]%s%s", n->scope, n->backward ? " backward" : "",
                       n->again ? " again" : "");
    if (n->file)
        weft_string_printf(s, " %s:%d", n->file, n->line);
    weft_string_printf(s, "\n");
    return WEFT_OK;
}

weft_status weft_graph_print(const weft_graph *g, weft_string *s)
{
    print_calls(g, s);
    for (weft_val v = 0; v < g->n_value; v++)
        print_source(g, v, s);
    for (int k = 0; k < g->n_node; k++)
        WEFT_TRY(print_node(g, k, s));
    for (int i = 0; i < g->n_output; i++)
        weft_string_printf(s, "output %s = %%%d\n", g->output[i].name, g->output[i].value);
    return s->failed ? g->ctx->status : WEFT_OK;
}

/* ---- the model file ---- */
typedef struct {
    const weft_graph *g;
    weft_arena *a;
    const char **name; /* of every value */
    bool failed;
} writer;

static void *take(writer *w, size_t count, size_t size)
{
    void *p = weft_arena_array(w->a, count + 1, size);
    w->failed = w->failed || !p;
    return p;
}

static char *text(writer *w, const char *s)
{
    char *p = weft_arena_strdup(w->a, s);
    w->failed = w->failed || !p;
    return p;
}

static char *type_text(writer *w, weft_val v)
{
    char t[256];
    return text(w, weft_type_print(t, sizeof t, &w->g->value[v].type));
}

/* Values without a name get one that is free: "v12", or "v12~2" should somebody have taken that. */
static void name_values(writer *w)
{
    const weft_graph *g = w->g;
    w->name = take(w, (size_t)g->n_value, sizeof *w->name);
    for (weft_val v = 0; v < g->n_value && !w->failed; v++) {
        const char *s = g->value[v].name ? g->value[v].name : weft_arena_printf(w->a, "v%d", v);
        for (int k = 2; s && !g->value[v].name && weft_graph_find(g, s) >= 0; k++)
            s = weft_arena_printf(w->a, "v%d~%d", v, k);
        w->name[v] = s;
        w->failed = w->failed || !s;
    }
}

static void write_sources(writer *w, Weft__Module *m)
{
    const weft_graph *g = w->g;
    m->input = take(w, (size_t)g->n_value, sizeof *m->input);
    m->weight = take(w, (size_t)g->n_value, sizeof *m->weight);
    for (weft_val v = 0; v < g->n_value && !w->failed; v++) {
        const weft_value *x = &g->value[v];
        if (x->kind == WEFT_VALUE_INPUT && v != g->rng) {
            Weft__Port *p = m->input[m->n_input++] = take(w, 1, sizeof *p);
            if (!p)
                return;
            weft__port__init(p);
            p->name = text(w, x->name);
            p->type = type_text(w, v);
        } else if (x->kind == WEFT_VALUE_STATE) {
            Weft__Weight *p = m->weight[m->n_weight++] = take(w, 1, sizeof *p);
            if (!p)
                return;
            weft__weight__init(p);
            p->name = text(w, x->name);
            p->type = type_text(w, v);
            if (strcmp(x->init, "zeros"))
                p->init = text(w, x->init);
            p->has_trainable = !x->trainable;
            p->trainable = x->trainable;
        }
    }
}

static bool is_rng_port(const weft_op *op, int i)
{
    return i < weft_op_n_in(op) && (op->in[i].kind & WEFT_INPUT_RNG);
}

static void write_node(writer *w, const weft_node *n, Weft__Node *p)
{
    const char *attr[16];
    int n_in = n->n_in;
    weft__node__init(p);
    p->op = text(w, n->op->name);
    while (n_in && (n->in[n_in - 1] < 0 || is_rng_port(n->op, n_in - 1)))
        n_in--;
    p->in = take(w, (size_t)n_in, sizeof *p->in);
    p->out = take(w, (size_t)n->n_out, sizeof *p->out);
    p->type = take(w, (size_t)n->n_out, sizeof *p->type);
    int n_attr = weft_attrs_print(w->a, n, attr, 16);
    p->attr = take(w, (size_t)(n_attr < 0 ? 0 : n_attr), sizeof *p->attr);
    w->failed = w->failed || n_attr < 0;
    if (w->failed)
        return;
    for (int i = 0; i < n_in; i++)
        p->in[p->n_in++] = text(w, n->in[i] < 0 || is_rng_port(n->op, i) ? "" : w->name[n->in[i]]);
    for (int i = 0; i < n->n_out; i++) {
        p->out[p->n_out++] = text(w, w->name[n->out[i]]);
        p->type[p->n_type++] = type_text(w, n->out[i]);
    }
    for (int i = 0; i < n_attr; i++)
        p->attr[p->n_attr++] = (char *)attr[i];
    if (*n->scope)
        p->scope = text(w, n->scope);
    const char *file =
        n->file ? weft_utf8_text(w->a, n->file) : NULL; /* a path may hold any bytes */
    if (file)
        p->source = weft_arena_printf(w->a, "%s:%d", file, n->line);
    p->has_backward = p->backward = n->backward;
    p->has_again = p->again = n->again;
    p->has_segment = n->segment != 0;
    p->segment = n->segment;
    p->has_stream = (n->op->flags & WEFT_DRAWS) != 0;
    p->stream = n->stream;
}

static void write_module(writer *w, Weft__Module *m)
{
    const weft_graph *g = w->g;
    weft__module__init(m);
    m->name = text(w, *g->entry ? g->entry : "main");
    write_sources(w, m);
    m->node = take(w, (size_t)g->n_node, sizeof *m->node);
    for (int k = 0; k < g->n_node && !w->failed; k++) {
        m->node[k] = take(w, 1, sizeof **m->node);
        if (m->node[k])
            write_node(w, &g->node[k], m->node[m->n_node++]);
    }
    m->output = take(w, (size_t)g->n_output, sizeof *m->output);
    for (int i = 0; i < g->n_output && !w->failed; i++) {
        const char *name = g->output[i].name, *value = w->name[g->output[i].value];
        m->output[m->n_output++] =
            strcmp(name, value) ? weft_arena_printf(w->a, "%s=%s", name, value) : text(w, name);
    }
}

weft_status weft_graph_to_model(const weft_graph *g, weft_model **out)
{
    weft_arena *a = weft_arena_new(g->ctx, 0);
    writer w = {.g = g, .a = a, .failed = !a};
    weft_model *m = a ? take(&w, 1, sizeof *m) : NULL;
    Weft__Model *root = m ? take(&w, 1, sizeof *root) : NULL;
    Weft__Module *module = root ? take(&w, 1, sizeof *module) : NULL;
    if (module) {
        name_values(&w);
        weft__model__init(root);
        root->module = take(&w, 1, sizeof *root->module);
    }
    if (module && !w.failed) {
        write_module(&w, module);
        root->main = module->name;
        root->module[root->n_module++] = module;
        *m = (weft_model){.ctx = g->ctx,
                          .arena = a,
                          .root = root,
                          .main = module,
                          .n_module = 1,
                          .cap_module = 1,
                          .modules = weft_map_new(a),
                          .lines = weft_lines_new(a)};
        m->module = take(&w, 1, sizeof *m->module);
    }
    if (!module || w.failed || !m->modules || !m->lines || !m->module || !module->name ||
        !weft_map_set(m->modules, module->name, 0)) {
        weft_arena_free(a);
        return g->ctx->status;
    }
    m->module[0] = module;
    *out = m;
    return WEFT_OK;
}
