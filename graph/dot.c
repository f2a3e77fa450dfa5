/* dot.c - a graph as a Graphviz drawing: scopes as nested clusters, repeated scopes once with xN,
 * types on edges.
 *
 * Nodes are boxes, weights are cylinders (dashed when frozen), inputs and outputs are slanted; what
 * differentiation added is red.  A dashed edge leads from one repetition to the next. */
#include <stdio.h>
#include <string.h>

#include "graph/scope.h"

typedef struct {
    const weft_graph *g;
    const weft_scopes *t;
    weft_arena *arena;
    weft_string *s;
    int depth;         /* scopes at this depth are boxes; INT32_MAX: never */
    int *child, *next; /* tree of scopes, by first child and next sibling */
    bool *used;        /* of each value that is a state or an input: some drawn edge leaves it */
    weft_map *edges;   /* drawn already */
} drawing;

/* Text inside a DOT string. */
static void put_text(weft_string *s, const char *text)
{
    char c[WEFT_VISIBLE];
    for (size_t i = 0, n = strlen(text); i < n;) {
        i += weft_visible(c, text + i, n - i);
        for (const char *p = c; *p; p++) {
            if (*p == '"' || *p == '\\')
                weft_string_add(s, "\\", 1);
            weft_string_add(s, p, 1);
        }
    }
}

/* The box that a scope is drawn as, or -1 when its nodes are drawn one by one. */
static int box_of(const drawing *d, int scope)
{
    while (d->t->scope[scope].depth > d->depth)
        scope = d->t->scope[scope].parent;
    return d->t->scope[scope].depth == d->depth ? scope : -1;
}

/* Scope in which something of scope s is drawn, when repetitions are drawn once. */
static int shown_scope(const weft_scopes *t, int s)
{
    for (int at = s; at >= 0; at = t->scope[at].parent)
        if (t->scope[at].fold_to != at)
            return -1;
    return s;
}

/* Graphviz id of the thing that computes or is value v. */
static const char *source_id(const drawing *d, weft_val v, char *buf, size_t n)
{
    const weft_value *x = &d->g->value[v];
    int box =
        box_of(d, x->kind == WEFT_VALUE_NODE ? d->t->node_scope[x->node] : d->t->state_scope[v]);
    if (box >= 0 && x->kind != WEFT_VALUE_INPUT)
        snprintf(buf, n, "s%d", box);
    else if (x->kind == WEFT_VALUE_NODE)
        snprintf(buf, n, "n%d", x->node);
    else
        snprintf(buf, n, "v%d", v);
    return buf;
}

/* The part of a name below a scope: "c_attn.weight" of "h.3.attn.c_attn.weight" in "h.3.attn". */
static const char *local_name(const drawing *d, const char *name, int scope)
{
    const char *path = d->t->scope[scope].path;
    size_t n = strlen(path);
    return n && !strncmp(name, path, n) && name[n] == '.' ? name + n + 1 : name;
}

static void put_node(drawing *d, int i)
{
    const weft_node *n = &d->g->node[i];
    const char *attr[10];
    int n_attr = weft_attrs_print(d->arena, n, attr, 10);
    weft_string_printf(d->s, "n%d [label=\"%s", i, n->op->name);
    for (int k = 0; k < n_attr; k++) {
        weft_string_printf(d->s, k ? " " : "\\n");
        put_text(d->s, attr[k]);
    }
    weft_string_printf(d->s, "\"%s];\n", n->backward ? ", fillcolor=\"#fbdcdc\"" : "");
}

static void put_source(drawing *d, weft_val v)
{
    const weft_value *x = &d->g->value[v];
    char type[160];
    weft_string_printf(d->s, "v%d [label=\"", v);
    put_text(d->s, x->name ? local_name(d, x->name, d->t->state_scope[v]) : "?");
    weft_string_printf(d->s, "\\n%s\"", weft_type_print(type, sizeof type, &x->type));
    if (x->kind == WEFT_VALUE_INPUT)
        weft_string_printf(d->s, ", shape=parallelogram, style=filled, fillcolor=\"#d6e9fb\"];\n");
    else
        weft_string_printf(d->s, ", shape=cylinder, style=\"filled%s\", fillcolor=\"#fdf1cc\"];\n",
                           x->trainable ? "" : ",dashed");
}

static void put_scope_label(drawing *d, int s)
{
    const weft_scope *x = &d->t->scope[s];
    if (x->fold_count == 1) {
        put_text(d->s, x->label);
        return;
    }
    size_t stem = strlen(x->label);
    while (stem && x->label[stem - 1] != '.')
        stem--;
    weft_string_printf(d->s, "%.*s{%d..%d}  \xc3\x97%d", (int)stem, x->label, x->number,
                       x->number + x->fold_count - 1, x->fold_count);
}

/* What stands directly in scope s. */
static void put_content(drawing *d, int s)
{
    const weft_scope *x = &d->t->scope[s];
    for (int i = 0; i < x->n_node; i++)
        if (d->t->node_scope[x->node[i]] == s && d->t->node_to[x->node[i]] == x->node[i])
            put_node(d, x->node[i]);
    for (weft_val v = 0; v < d->g->n_value; v++)
        if (d->used[v] && d->t->state_scope[v] == s)
            put_source(d, v);
}

static void open_scope(drawing *d, int s)
{
    static const char *const shade[] = {"#ffffff", "#f4f6f8", "#e9edf1", "#dfe5ea"};
    int depth = d->t->scope[s].depth;
    if (s == 0) {
        put_content(d, 0);
        return;
    }
    if (depth == d->depth) {
        weft_string_printf(d->s, "s%d [shape=box3d, label=\"", s);
        put_scope_label(d, s);
        weft_string_printf(d->s, "\\n%d nodes\"];\n", d->t->scope[s].n_node);
        return;
    }
    weft_string_printf(d->s, "subgraph cluster_%d {\nlabel=\"", s);
    put_scope_label(d, s);
    weft_string_printf(d->s, "\"; style=\"rounded,filled\"; color=\"#8a97a3\"; fillcolor=\"%s\";\n",
                       shade[depth < 3 ? depth : 3]);
    put_content(d, s);
}

/* All scopes in the order of nesting, without recursion: names come from files. */
static void put_scopes(drawing *d)
{
    for (int s = 0; s >= 0;) {
        bool shown = d->t->scope[s].fold_to == s;
        bool boxed = d->t->scope[s].depth == d->depth;
        if (shown)
            open_scope(d, s);
        if (shown && !boxed && d->child[s] >= 0) {
            s = d->child[s];
            continue;
        }
        for (;; s = d->t->scope[s].parent) {
            if (s > 0 && d->t->scope[s].fold_to == s && d->t->scope[s].depth != d->depth)
                weft_string_printf(d->s, "}\n");
            if (s == 0 || d->next[s] >= 0)
                break;
        }
        s = s == 0 ? -1 : d->next[s];
    }
}

/* Is the way from value v to node n one from a repetition to its neighbour? */
static bool is_carry(const drawing *d, weft_val v, int n)
{
    const weft_value *x = &d->g->value[v];
    if (x->kind != WEFT_VALUE_NODE)
        return false;
    int a = d->t->node_scope[x->node], b = d->t->node_scope[n];
    for (; b > 0; b = d->t->scope[b].parent)
        for (int p = a; p > 0; p = d->t->scope[p].parent)
            if (p != b && d->t->scope[p].fold_to == d->t->scope[b].fold_to)
                return true;
    return false;
}

/* The last word of a name, without the "=2" that makes it unique. */
static void put_short_name(weft_string *s, const char *name)
{
    char word[128];
    const char *dot = strrchr(name, '.');
    const char *last = dot ? dot + 1 : name;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(last, "="), last);
    put_text(s, word);
}

static void put_edge(drawing *d, weft_val v, weft_val drawn, const char *to, bool carry)
{
    char from[32], type[160];
    source_id(d, drawn, from, sizeof from);
    if (!strcmp(from, to) && !carry)
        return;
    char *key = weft_arena_printf(d->arena, "%s %s %d %d", from, to, drawn, carry);
    if (!key || weft_map_get(d->edges, key, 0) || !weft_map_set(d->edges, key, 1))
        return;
    const weft_value *x = &d->g->value[drawn];
    if (x->kind != WEFT_VALUE_NODE) {
        weft_string_printf(d->s, "%s -> %s [color=\"#a08a3c\"];\n", from, to);
        return;
    }
    weft_string_printf(d->s, "%s -> %s [label=\"", from, to);
    if (x->name) {
        put_short_name(d->s, x->name);
        weft_string_printf(d->s, "\\n");
    }
    weft_string_printf(d->s, "%s\"%s];\n", weft_type_print(type, sizeof type, &d->g->value[v].type),
                       carry ? ", style=dashed, constraint=false, color=\"#3b6ea5\"" : "");
}

static void put_edges(drawing *d)
{
    for (int i = 0; i < d->g->n_node; i++) {
        const weft_node *n = &d->g->node[i];
        int shown = d->t->node_to[i], box = box_of(d, d->t->node_scope[shown]);
        char to[32];
        snprintf(to, sizeof to, box >= 0 ? "s%d" : "n%d", box >= 0 ? box : shown);
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] != WEFT_NONE && n->in[k] != d->g->rng)
                put_edge(d, n->in[k], d->t->value_to[n->in[k]], to, is_carry(d, n->in[k], i));
    }
}

static bool is_output(const weft_graph *g, weft_val v)
{
    for (int i = 0; i < g->n_output; i++)
        if (g->output[i].value == v)
            return true;
    return false;
}

/* One shape per output; of a repetition only those of the one that is drawn. */
static void put_outputs(drawing *d)
{
    for (int i = 0; i < d->g->n_output; i++) {
        weft_val v = d->g->output[i].value;
        const weft_value *x = &d->g->value[v];
        char from[32], type[160];
        if (d->t->value_to[v] != v && is_output(d->g, d->t->value_to[v]))
            continue;
        weft_string_printf(
            d->s, "o%d [shape=parallelogram, style=filled, fillcolor=\"#d9f2d9\", label=\"", i);
        put_text(d->s, d->g->output[i].name);
        weft_string_printf(d->s, "\"];\n%s -> o%d [label=\"%s\"];\n",
                           source_id(d, d->t->value_to[v], from, sizeof from), i,
                           weft_type_print(type, sizeof type, &x->type));
    }
}

static void mark_used(drawing *d)
{
    for (int i = 0; i < d->g->n_node; i++)
        for (int k = 0; k < d->g->node[i].n_in; k++) {
            weft_val v = d->g->node[i].in[k];
            if (v == WEFT_NONE || v == d->g->rng || d->g->value[v].kind == WEFT_VALUE_NODE)
                continue;
            v = d->t->value_to[v];
            if (shown_scope(d->t, d->t->state_scope[v]) >= 0 &&
                (box_of(d, d->t->state_scope[v]) < 0 || d->g->value[v].kind == WEFT_VALUE_INPUT))
                d->used[v] = true;
        }
}

static bool link_scopes(drawing *d)
{
    size_t n = (size_t)d->t->n_scope;
    d->child = weft_arena_array(d->arena, n, sizeof *d->child);
    d->next = weft_arena_array(d->arena, n, sizeof *d->next);
    d->used = weft_arena_array(d->arena, (size_t)d->g->n_value + 1, sizeof *d->used);
    d->edges = weft_map_new(d->arena);
    if (!d->child || !d->next || !d->used || !d->edges)
        return false;
    for (int s = 0; s < d->t->n_scope; s++)
        d->child[s] = d->next[s] = -1;
    for (int s = d->t->n_scope - 1; s > 0; s--) {
        int p = d->t->scope[s].parent;
        d->next[s] = d->child[p];
        d->child[p] = s;
    }
    return true;
}

static weft_status draw(drawing *d, const weft_dot_options *o, char **out)
{
    weft_string s;
    weft_string_init(&s, d->g->ctx);
    d->s = &s;
    weft_string_printf(
        &s, "digraph weft {\nrankdir=%s; newrank=true; fontname=\"Helvetica\"; nodesep=0.25;\n",
        o && o->rankdir ? o->rankdir : "TB");
    weft_string_printf(
        &s, "node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"Helvetica\", "
            "fontsize=11, margin=\"0.10,0.04\"];\n"
            "edge [fontname=\"Helvetica\", fontsize=8, arrowsize=0.6, color=\"#55606a\"];\n");
    mark_used(d);
    put_scopes(d);
    put_edges(d);
    put_outputs(d);
    weft_string_printf(&s, "}\n");
    return weft_string_take(&s, out);
}

weft_status weft_graph_dot(const weft_graph *g, const weft_dot_options *o, char **out)
{
    *out = NULL;
    if (o && o->rankdir && strcmp(o->rankdir, "TB") && strcmp(o->rankdir, "LR") &&
        strcmp(o->rankdir, "BT") && strcmp(o->rankdir, "RL"))
        return weft_fail(g->ctx, WEFT_USAGE, "rankdir=%s: expected TB, LR, BT or RL", o->rankdir);
    weft_arena *a = weft_arena_new(g->ctx, 0);
    if (!a)
        return weft_error_status(g->ctx);
    drawing d = {.g = g, .arena = a, .depth = o && o->depth > 0 ? o->depth : INT32_MAX};
    d.t = weft_scopes_new(a, g, !(o && o->unfold));
    weft_status status = d.t && link_scopes(&d) ? draw(&d, o, out) : weft_error_status(g->ctx);
    weft_arena_free(a);
    return status;
}
