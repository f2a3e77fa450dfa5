/* scope.c - the tree of scopes of a flat graph, and which sibling scopes are repetitions of each
 * other.
 *
 * Input: any graph. Output: weft_scopes. Invariants: the nodes of a folded scope correspond one to
 * one, in order, to those of the scope that stands for it: same ops, attributes, types and inner
 * wiring; what enters a repetition comes from its neighbour or from where it enters the neighbour.
 */
#include <string.h>

#include "graph/scope.h"

/* End of the next step of a path: a word and the numbers after it ("h.3" of "h.3.attn"). */
static const char *step_end(const char *p)
{
    p += strcspn(p, ".");
    while (*p == '.' && weft_is_digit(p[1])) {
        const char *e = p + 1;
        while (weft_is_digit(*e))
            e++;
        if (*e && *e != '.')
            break;
        p = e;
    }
    return p;
}

static void read_number(weft_scopes *t, weft_scope *s)
{
    size_t n = strlen(s->path), k = n;
    while (k > 0 && weft_is_digit(s->path[k - 1]))
        k--;
    s->number = -1;
    int64_t v;
    if (k < n && k > 0 && s->path[k - 1] == '.' && weft_parse_i64(s->path + k, &v) && v < 1 << 30) {
        s->number = (int)v;
        s->family = weft_arena_strndup(t->arena, s->path, k);
    }
}

static int add_scope(weft_scopes *t, const char *path, const char *label, int parent)
{
    if (!WEFT_GROW(t->arena, t->scope, t->n_scope, t->cap_scope))
        return -1;
    weft_scope *s = &t->scope[t->n_scope];
    *s = (weft_scope){
        .path = path, .label = label, .parent = parent, .fold_count = 1, .fold_to = t->n_scope};
    s->depth = parent < 0 ? 0 : t->scope[parent].depth + 1;
    read_number(t, s);
    return weft_map_set(t->paths, path, t->n_scope) ? t->n_scope++ : -1;
}

/* The scope of a path, made with its parents. */
static int find_scope(weft_scopes *t, const char *path)
{
    int at = weft_map_get(t->paths, path, -1);
    if (at >= 0)
        return at;
    at = 0;
    for (const char *p = path; *p && at >= 0;) {
        const char *e = step_end(p);
        char *prefix = weft_arena_strndup(t->arena, path, (size_t)(e - path));
        if (!prefix)
            return -1;
        int next = weft_map_get(t->paths, prefix, -1);
        at = next >= 0 ? next : add_scope(t, prefix, prefix + (p - path), at);
        p = *e ? e + 1 : e;
    }
    return at;
}

/* A weight is drawn in the deepest scope that its name begins with. */
static int scope_of_name(weft_scopes *t, const char *name)
{
    int at = 0;
    for (const char *p = name; p && *p;) {
        const char *e = step_end(p);
        char *prefix = weft_arena_strndup(t->arena, name, (size_t)(e - name));
        int next = prefix ? weft_map_get(t->paths, prefix, -1) : -1;
        if (next < 0)
            return at;
        at = next;
        p = *e ? e + 1 : e;
    }
    return at;
}

static bool list_nodes(weft_scopes *t)
{
    const weft_graph *g = t->graph;
    for (int i = 0; i < g->n_node; i++) {
        t->node_scope[i] = find_scope(t, g->node[i].scope ? g->node[i].scope : "");
        t->node_to[i] = i;
        if (t->node_scope[i] < 0)
            return false;
        for (int s = t->node_scope[i]; s >= 0; s = t->scope[s].parent)
            t->scope[s].n_node++;
    }
    for (int s = 0; s < t->n_scope; s++)
        if (!(t->scope[s].node =
                  weft_arena_array(t->arena, (size_t)t->scope[s].n_node + 1, sizeof(int))))
            return false;
    for (int i = 0; i < g->n_node; i++)
        for (int s = t->node_scope[i]; s >= 0; s = t->scope[s].parent)
            t->scope[s].node[t->scope[s].at++] = i;
    return true;
}

static bool is_inside(const weft_scopes *t, int scope, int ancestor)
{
    while (scope >= 0 && t->scope[scope].depth > t->scope[ancestor].depth)
        scope = t->scope[scope].parent;
    return scope == ancestor;
}

/* Is value v computed in scope s, or a state that belongs to it? */
static bool value_inside(const weft_scopes *t, weft_val v, int s)
{
    const weft_value *x = &t->graph->value[v];
    return is_inside(t, x->kind == WEFT_VALUE_NODE ? t->node_scope[x->node] : t->state_scope[v], s);
}

static bool attrs_equal(const weft_node *a, const weft_node *b)
{
    for (int i = 0; i < 10 && a->op->attr[i].name; i++)
        if (a->attr[i].f != b->attr[i].f || a->attr[i].i != b->attr[i].i ||
            a->attr[i].n != b->attr[i].n ||
            memcmp(a->attr[i].v, b->attr[i].v, sizeof a->attr[i].v[0] * (size_t)a->attr[i].n))
            return false;
    return true;
}

/* Position of node n in the list of scope s, by bisection. */
static int position(const weft_scope *s, int n)
{
    int lo = 0, hi = s->n_node;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (s->node[mid] < n)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Do values va (read in scope a) and vb (read at the same place in its follower b) play the same
 * part? */
static bool inputs_match(const weft_scopes *t, int a, int b, weft_val va, weft_val vb)
{
    if (va == vb)
        return true;
    if (va == WEFT_NONE || vb == WEFT_NONE)
        return false;
    const weft_value *x = &t->graph->value[va], *y = &t->graph->value[vb];
    if (!weft_type_equal(&x->type, &y->type))
        return false;
    bool ina = value_inside(t, va, a), inb = value_inside(t, vb, b);
    if (ina && inb) {
        if (x->kind != y->kind || x->port != y->port)
            return false;
        return x->kind != WEFT_VALUE_NODE ||
               position(&t->scope[a], x->node) == position(&t->scope[b], y->node);
    }
    /* b reads from a (forward), or a reads from b (backward) */
    return (!ina && value_inside(t, va, b)) || (!inb && value_inside(t, vb, a));
}

/* Does scope b repeat its predecessor a? */
static bool repeats(const weft_scopes *t, int a, int b)
{
    const weft_scope *p = &t->scope[a], *q = &t->scope[b];
    if (p->n_node != q->n_node || p->parent != q->parent)
        return false;
    for (int i = 0; i < p->n_node; i++) {
        const weft_node *x = &t->graph->node[p->node[i]], *y = &t->graph->node[q->node[i]];
        if (x->op != y->op || x->n_in != y->n_in || x->n_out != y->n_out ||
            x->backward != y->backward || !attrs_equal(x, y))
            return false;
        for (int k = 0; k < x->n_in; k++)
            if (!inputs_match(t, a, b, x->in[k], y->in[k]))
                return false;
    }
    return true;
}

/* Lets every node and value of scope b be stood for by those of a. */
static void map_scope(weft_scopes *t, int a, int b)
{
    const weft_scope *p = &t->scope[a], *q = &t->scope[b];
    for (int i = 0; i < p->n_node; i++) {
        const weft_node *x = &t->graph->node[p->node[i]], *y = &t->graph->node[q->node[i]];
        t->node_to[q->node[i]] = p->node[i];
        for (int k = 0; k < x->n_out; k++)
            t->value_to[y->out[k]] = x->out[k];
        for (int k = 0; k < x->n_in; k++)
            if (y->in[k] != WEFT_NONE && x->in[k] != WEFT_NONE && value_inside(t, x->in[k], a) &&
                value_inside(t, y->in[k], b))
                t->value_to[y->in[k]] = x->in[k];
    }
}

static int next_of_family(weft_scopes *t, int s)
{
    const weft_scope *x = &t->scope[s];
    const char *path = weft_arena_printf(t->arena, "%s%d", x->family, x->number + 1);
    return path ? weft_map_get(t->paths, path, -1) : -1;
}

static bool is_folded_away(const weft_scopes *t, int s)
{
    for (; s >= 0; s = t->scope[s].parent)
        if (t->scope[s].fold_to != s)
            return true;
    return false;
}

/* Outer scopes first (parents have smaller numbers), each run of repetitions onto its first. */
static void fold_scopes(weft_scopes *t)
{
    for (int s = 1; s < t->n_scope; s++) {
        if (t->scope[s].number < 0 || is_folded_away(t, s))
            continue;
        for (int a = s, b; (b = next_of_family(t, a)) > 0 && repeats(t, a, b); a = b) {
            map_scope(t, s, b);
            t->scope[b].fold_to = s;
            t->scope[s].fold_count++;
        }
    }
}

/* Inner folds map onto scopes that an outer fold may have mapped on: follow to the end. */
static void settle(weft_scopes *t)
{
    for (int i = 0; i < t->graph->n_node; i++)
        while (t->node_to[t->node_to[i]] != t->node_to[i])
            t->node_to[i] = t->node_to[t->node_to[i]];
    for (int v = 0; v < t->graph->n_value; v++)
        while (t->value_to[t->value_to[v]] != t->value_to[v])
            t->value_to[v] = t->value_to[t->value_to[v]];
}

weft_scopes *weft_scopes_new(weft_arena *a, const weft_graph *g, bool fold)
{
    weft_scopes *t = weft_arena_alloc(a, sizeof *t);
    if (!t)
        return NULL;
    *t = (weft_scopes){.graph = g, .arena = a, .paths = weft_map_new(a)};
    t->node_scope = weft_arena_array(a, (size_t)g->n_node + 1, sizeof *t->node_scope);
    t->node_to = weft_arena_array(a, (size_t)g->n_node + 1, sizeof *t->node_to);
    t->value_to = weft_arena_array(a, (size_t)g->n_value + 1, sizeof *t->value_to);
    t->state_scope = weft_arena_array(a, (size_t)g->n_value + 1, sizeof *t->state_scope);
    if (!t->paths || !t->node_scope || !t->node_to || !t->value_to || !t->state_scope ||
        add_scope(t, "", "", -1) < 0 || !list_nodes(t))
        return NULL;
    for (int v = 0; v < g->n_value; v++) {
        t->value_to[v] = v;
        if (g->value[v].kind == WEFT_VALUE_STATE)
            t->state_scope[v] = scope_of_name(t, g->value[v].name);
    }
    if (fold)
        fold_scopes(t);
    settle(t);
    return weft_error_status(g->ctx) ? NULL : t;
}
