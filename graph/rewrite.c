/* rewrite.c - the rewrite engine: tries small named rules at every node until nothing changes.
 *
 * Input: a verified graph.  Output: an equal graph with the same inputs, states and outputs, in
 * which no rule applies any more, no two nodes compute the same thing and no node is dead.  A sweep
 * builds a new graph by copying the nodes in order; at each node the rules whose root is its op are
 * tried in the order of ops/rules.def, on values of the new graph.  The engine knows no op: only
 * flags, and what the rules say.
 *
 * Invariant behind weft_match_uses: the count of a new value is at least the number of nodes and
 * outputs that will read it, because readers are taken off only when their node is known to be
 * gone. */
#include <string.h>

#include "graph/ir.h"
#include "graph/rule.h"

enum {
    MAX_SWEEPS = 64
}; /* a bound for rules that undo each other; every sweep before it is sound */

/* Equal nodes -> one node: the one rule that is no pattern, so that it can be listed and switched
 * off like others. */
const weft_rule weft_rule_share = {
    .name = "share",
    .root = "",
    .doc = "two nodes of equal op, attributes and inputs -> one node",
};

struct weft_rewriter {
    weft_ctx *ctx;
    weft_arena *work; /* lives as long as one sweep */
    const weft_rewrite_options *options;
    const weft_graph *from;
    weft_graph *to;
    weft_val *map; /* from -> to */
    bool *live;    /* node of `from` is needed */
    int *old_uses; /* readers of values of `from` among live nodes and outputs */
    int *uses;     /* readers of values of `to`, see above */
    int n_uses, cap_uses;
    int *slot, n_slot, n_filled; /* hash set of nodes of `to`: index + 1, 0 free; a power of two */
    int *twin_head,
        *twin_next; /* live nodes of `from` by op and inputs: bucket -> node + 1 -> next node + 1 */
    const weft_op **root; /* per rule: its root op, NULL when the rule is off */
    bool *overwritten;    /* value of `to` is a state that some node updates */
    bool share;
    bool replaced; /* the rule at work called weft_match_replace */
    weft_val with[sizeof((weft_op *)0)->out / sizeof(weft_port)];
    int changes;
};
typedef struct weft_rewriter rewriter;

/* ---- what rules see ---- */
static const weft_node *made_by(const weft_match *m, weft_val v)
{
    if (v < 0 || m->graph->value[v].kind != WEFT_VALUE_NODE)
        return NULL;
    return &m->graph->node[m->graph->value[v].node];
}

const char *weft_match_op(weft_match *m, weft_val v)
{
    const weft_node *n = made_by(m, v);
    return n ? n->op->name : "";
}

bool weft_match_is(weft_match *m, weft_val v, const char *op)
{
    return v >= 0 && m->graph->value[v].port == 0 && !strcmp(weft_match_op(m, v), op);
}

int weft_match_n_in(weft_match *m, weft_val v)
{
    const weft_node *n = made_by(m, v);
    return n ? n->n_in : 0;
}

weft_val weft_match_in(weft_match *m, weft_val v, int i)
{
    const weft_node *n = made_by(m, v);
    return n && i < n->n_in ? n->in[i] : WEFT_NONE;
}

weft_val weft_match_nth(weft_match *m, weft_val v, int i)
{
    const weft_node *n = made_by(m, v);
    return n && i < n->n_out ? n->out[i] : WEFT_NONE;
}

int weft_match_port(weft_match *m, weft_val v)
{
    return made_by(m, v) ? m->graph->value[v].port : 0;
}

const weft_attr *weft_match_attr(weft_match *m, weft_val v, const char *name)
{
    static const weft_attr zero;
    const weft_node *n = made_by(m, v);
    int i = n ? weft_op_attr(n->op, name) : -1;
    return i < 0 ? &zero : &n->attr[i];
}

int weft_match_uses(weft_match *m, weft_val v)
{
    return v >= 0 && v < m->rewriter->n_uses ? m->rewriter->uses[v] : 0;
}

static bool may_bypass(const rewriter *w, weft_val v)
{
    return !w->options->fuse_only || w->uses[v] <= 1;
}

bool weft_match_may_bypass(weft_match *m, weft_val v)
{
    return v >= 0 && may_bypass(m->rewriter, v);
}

bool weft_match_used(const weft_match *m, int i)
{
    return i < m->node->n_out && m->rewriter->old_uses[m->node->out[i]] > 0;
}

/* ---- nodes of equal op and inputs ---- */
static uint64_t twin_bucket(const rewriter *w, const weft_node *n)
{
    uint64_t h = weft_hash(&n->op, sizeof n->op, n->again);
    return weft_hash(n->in, sizeof *n->in * (size_t)n->n_in, h) % ((uint64_t)w->from->n_node + 1);
}

/* Made when a rule first asks: most graphs have no use for it. */
static bool index_twins(rewriter *w)
{
    size_t n = (size_t)w->from->n_node + 1;
    w->twin_head = weft_arena_array(w->work, n, sizeof *w->twin_head);
    w->twin_next = weft_arena_array(w->work, n, sizeof *w->twin_next);
    if (!w->twin_head || !w->twin_next)
        return false;
    for (int k = w->from->n_node - 1; k >= 0; k--)
        if (w->live[k] && !(w->from->node[k].op->flags & (WEFT_DRAWS | WEFT_EFFECT))) {
            int *head = &w->twin_head[twin_bucket(w, &w->from->node[k])];
            w->twin_next[k] = *head;
            *head = k + 1;
        }
    return true;
}

const weft_attr *weft_match_twin(weft_match *m, int r, const char *name)
{
    rewriter *w = m->rewriter;
    const weft_node *n = m->node;
    int attr = weft_op_attr(n->op, name);
    if (attr < 0 || (!w->twin_head && !index_twins(w)))
        return NULL;
    for (int k = w->twin_head[twin_bucket(w, n)]; k; k = w->twin_next[k - 1]) {
        const weft_node *x = &w->from->node[k - 1];
        if (x != n && x->op == n->op && x->again == n->again && x->n_in == n->n_in &&
            !memcmp(x->in, n->in, sizeof *n->in * (size_t)n->n_in) && r-- == 0)
            return &x->attr[attr];
    }
    return NULL;
}

weft_val weft_match_beside(weft_match *m, const char *op, int i, const char *name,
                           const weft_attr **attr)
{
    const rewriter *w = m->rewriter;
    weft_val found = WEFT_NONE;
    for (int k = 0; k < w->from->n_node; k++) {
        const weft_node *n = &w->from->node[k];
        if (!w->live[k] || n->n_in <= i || n->in[0] != m->node->in[0] || strcmp(n->op->name, op))
            continue;
        if (found >= 0)
            return WEFT_NONE;
        found = n->in[i];
        *attr = &n->attr[weft_op_attr(n->op, name)];
    }
    return found < 0 ? WEFT_NONE : w->map[found];
}

bool weft_match_training(const weft_match *m) { return m->rewriter->options->train; }

void weft_match_replace(weft_match *m, int i, weft_val v)
{
    if (m->failed || v < 0 || i >= m->node->n_out)
        return;
    m->rewriter->with[i] = v;
    m->rewriter->replaced = true;
}

/* ---- readers ---- */
static bool extend_uses(rewriter *w)
{
    while (w->n_uses < w->to->n_value) {
        if (!WEFT_GROW(w->work, w->uses, w->n_uses, w->cap_uses))
            return false;
        w->uses[w->n_uses++] = 0;
    }
    return true;
}

static void count_inputs(rewriter *w, const weft_val *in, int n, const weft_val *map, int by)
{
    for (int i = 0; i < n; i++)
        if (in[i] >= 0)
            w->uses[map ? map[in[i]] : in[i]] += by;
}

/* Old value -> new value, whose readers to come are those of the old one. */
static void set_value(rewriter *w, weft_val old, weft_val new)
{
    w->map[old] = new;
    if (new >= 0)
        w->uses[new] += w->old_uses[old];
}

static void mark_live(rewriter *w)
{
    const weft_graph *g = w->from;
    for (int i = 0; i < g->n_output; i++)
        w->old_uses[g->output[i].value]++;
    for (int k = g->n_node - 1; k >= 0; k--) {
        const weft_node *n = &g->node[k];
        w->live[k] = n->op->flags & WEFT_EFFECT;
        for (int i = 0; i < n->n_out; i++)
            w->live[k] = w->live[k] || w->old_uses[n->out[i]];
        for (int i = 0; w->live[k] && i < n->n_in; i++)
            if (n->in[i] >= 0)
                w->old_uses[n->in[i]]++;
    }
}

/* ---- equal nodes ---- */
static uint64_t hash_node(const weft_op *op, const weft_attr *attr, const weft_val *in, int n_in,
                          bool again)
{
    uint64_t h = weft_hash(&op, sizeof op, again);
    for (int i = 0; op->attr[i].name; i++) {
        h = weft_hash(&attr[i].f, sizeof attr[i].f, h);
        h = weft_hash(&attr[i].i, sizeof attr[i].i, h);
        h = weft_hash(attr[i].v, sizeof *attr[i].v * (size_t)attr[i].n, h);
    }
    return weft_hash(in, sizeof *in * (size_t)n_in, h);
}

static bool same_attrs(const weft_op *op, const weft_attr *a, const weft_attr *b)
{
    for (int i = 0; op->attr[i].name; i++)
        if (memcmp(&a[i].f, &b[i].f, sizeof a[i].f) || a[i].i != b[i].i || a[i].n != b[i].n ||
            memcmp(a[i].v, b[i].v, sizeof *a[i].v * (size_t)a[i].n))
            return false;
    return true;
}

/* The slot of a node equal to (op, attr, in) in the new graph, or the free one where it belongs. */
static int *find_slot(const rewriter *w, const weft_node *n, const weft_val *in)
{
    uint64_t i = hash_node(n->op, n->attr, in, n->n_in, n->again);
    for (;; i++) {
        int *s = &w->slot[i & (uint64_t)(w->n_slot - 1)];
        const weft_node *x = *s ? &w->to->node[*s - 1] : NULL;
        if (!x || (x->op == n->op && x->again == n->again && x->n_in == n->n_in &&
                   !memcmp(x->in, in, sizeof *in * (size_t)n->n_in) &&
                   same_attrs(n->op, x->attr, n->attr)))
            return s;
    }
}

static bool may_share(const weft_node *n) { return !(n->op->flags & (WEFT_DRAWS | WEFT_EFFECT)); }

static bool grow_slots(rewriter *w)
{
    int *old = w->slot, n = w->n_slot;
    w->n_slot = n ? 2 * n : 1024;
    w->slot = weft_arena_array(w->work, (size_t)w->n_slot, sizeof *w->slot);
    for (int i = 0; w->slot && i < n; i++)
        if (old[i])
            *find_slot(w, &w->to->node[old[i] - 1], w->to->node[old[i] - 1].in) = old[i];
    return w->slot != NULL;
}

static bool remember(rewriter *w, int node)
{
    const weft_node *n = &w->to->node[node];
    if (!w->share || !may_share(n))
        return true;
    if (2 * w->n_filled >= w->n_slot && !grow_slots(w))
        return false;
    int *s = find_slot(w, n, n->in);
    w->n_filled += !*s;
    *s = *s ? *s : node + 1;
    return true;
}

/* ---- one node ---- */
/* Is v a state that a later node of the graph overwrites, or a view of one?  Then it must not stand
 * in for a value that was computed once: its readers might come after the update. */
static bool will_change(const rewriter *w, weft_val v)
{
    while (v >= 0 && w->to->value[v].kind == WEFT_VALUE_NODE) {
        const weft_node *n = &w->to->node[w->to->value[v].node];
        if (!n->op->view)
            return false;
        v = n->in[0];
    }
    return v >= 0 && w->overwritten[v];
}

static bool any_will_change(const rewriter *w, const weft_val *v, int n)
{
    for (int i = 0; i < n; i++)
        if (will_change(w, v[i]))
            return true;
    return false;
}

/* Replaces the outputs of old node `n` by `with`; its inputs lose a reader. */
static weft_status replace_node(rewriter *w, const weft_node *n, const weft_val *in,
                                const weft_val *with)
{
    for (int i = 0; i < n->n_out; i++) {
        weft_val v = with[i];
        const char *name = w->from->value[n->out[i]].name;
        if (v < 0 && w->old_uses[n->out[i]])
            return weft_fail(w->ctx, WEFT_INTERNAL,
                             "a rewrite of '%s' gave no value for its output %d", n->op->name, i);
        if (v >= 0 && !weft_type_equal(&w->to->value[v].type, &w->from->value[n->out[i]].type))
            return weft_fail(w->ctx, WEFT_INTERNAL,
                             "a rewrite of '%s' changed the type of its output %d", n->op->name, i);
        set_value(w, n->out[i], v);
        if (v >= 0 && name && !w->to->value[v].name && weft_graph_find(w->to, name) < 0)
            weft_graph_name(w->to, v, name);
    }
    count_inputs(w, in, n->n_in, NULL, -1);
    w->changes++;
    return w->ctx->status;
}

/* Readers and hash entries of the nodes from `first` on, which a rule has emitted. */
static bool take_emitted(rewriter *w, int first, const weft_node *root)
{
    if (!extend_uses(w))
        return false;
    for (int k = first; k < w->to->n_node; k++) {
        weft_node *x = &w->to->node[k];
        x->again = root->again;
        count_inputs(w, x->in, x->n_in, NULL, 1);
        if (!remember(w, k))
            return false;
    }
    return true;
}

static void stand_at(weft_graph *g, const weft_node *n)
{
    g->at_scope = n->scope;
    g->at_file = n->file;
    g->at_line = n->line;
    g->at_backward = n->backward;
    g->at_segment = n->segment;
}

static weft_status apply_rule(rewriter *w, const weft_rule *rule, weft_match *m)
{
    int first = w->to->n_node;
    w->replaced = false;
    for (int i = 0; i < m->node->n_out; i++)
        w->with[i] = WEFT_NONE;
    stand_at(w->to, m->node);
    rule->apply(m);
    if (m->failed || w->ctx->status) {
        weft_fail(w->ctx, WEFT_INTERNAL, "a rewrite rule failed");
        return weft_note(w->ctx, "in rewrite rule '%s' at a node of scope '%s'", rule->name,
                         m->node->scope);
    }
    return take_emitted(w, first, m->node) ? WEFT_OK : w->ctx->status;
}

/* Tries the rules at node n. w->replaced tells whether one did. */
static weft_status try_rules(rewriter *w, const weft_node *n, const weft_val *in)
{
    w->replaced = false;
    weft_match m = {.op = NULL};
    for (int r = 0; r < weft_rule_count() && !w->replaced; r++) {
        if (w->root[r] != n->op)
            continue;
        if (!m.op) {
            weft_type *type = weft_arena_array(w->work, (size_t)(n->n_in + n->n_out), sizeof *type);
            if (!type)
                return w->ctx->status;
            for (int i = 0; i < n->n_in; i++)
                type[i] = in[i] < 0 ? (weft_type){0} : w->to->value[in[i]].type;
            for (int i = 0; i < n->n_out; i++)
                type[n->n_in + i] = w->from->value[n->out[i]].type;
            m = (weft_match){.ctx = w->ctx,
                             .graph = w->to,
                             .op = n->op,
                             .attr = n->attr,
                             .n_in = n->n_in,
                             .n_out = n->n_out,
                             .in_type = type,
                             .out_type = type + n->n_in,
                             .in = in,
                             .node = n,
                             .rewriter = w};
        }
        WEFT_TRY(apply_rule(w, weft_rule_at(r), &m));
        w->replaced = w->replaced && !any_will_change(w, w->with, n->n_out);
        if (w->replaced)
            return replace_node(w, n, in, w->with);
    }
    return WEFT_OK;
}

static weft_status copy_node(rewriter *w, int k)
{
    const weft_node *n = &w->from->node[k];
    int copy = weft_graph_copy_node(w->to, w->from, k, w->map);
    if (copy < 0 || !extend_uses(w) || !remember(w, copy))
        return w->ctx->status;
    for (int i = 0; i < n->n_out; i++)
        set_value(w, n->out[i], w->to->node[copy].out[i]);
    return WEFT_OK;
}

static weft_status rewrite_node(rewriter *w, int k)
{
    const weft_node *n = &w->from->node[k];
    weft_val *in = weft_arena_array(w->work, (size_t)n->n_in + 1, sizeof *in);
    weft_val drop[sizeof w->with / sizeof *w->with];
    if (!in)
        return w->ctx->status;
    for (int i = 0; i < n->n_in; i++)
        in[i] = n->in[i] < 0 ? WEFT_NONE : w->map[n->in[i]];
    /* This is correctness, not speed: no option stops it. */
    if ((n->op->flags & WEFT_TRAIN_ONLY) && !w->options->train && may_bypass(w, in[0])) {
        for (int i = 0; i < n->n_out; i++)
            drop[i] = i ? WEFT_NONE : in[0];
        return replace_node(w, n, in, drop);
    }
    if (w->share && may_share(n) && w->n_slot) {
        int *s = find_slot(w, n, in);
        if (*s)
            return replace_node(w, n, in, w->to->node[*s - 1].out);
    }
    WEFT_TRY(try_rules(w, n, in));
    return w->replaced ? WEFT_OK : copy_node(w, k);
}

/* ---- sweeps ---- */
static bool mark_overwritten(rewriter *w)
{
    w->overwritten = weft_arena_array(w->work, (size_t)w->to->n_value + 1, sizeof *w->overwritten);
    for (int k = 0; w->overwritten && k < w->from->n_node; k++) {
        const weft_node *n = &w->from->node[k];
        for (int i = 0; w->live[k] && i < n->n_out; i++)
            if (n->op->out[i].alias)
                w->overwritten[w->map[n->in[n->op->out[i].alias - 1]]] = true;
    }
    return w->overwritten != NULL;
}

static bool start_sweep(rewriter *w)
{
    size_t n = (size_t)w->from->n_value + 1;
    w->map = weft_arena_array(w->work, n, sizeof *w->map);
    w->old_uses = weft_arena_array(w->work, n, sizeof *w->old_uses);
    w->live = weft_arena_array(w->work, (size_t)w->from->n_node + 1, sizeof *w->live);
    if (!w->map || !w->old_uses || !w->live)
        return false;
    mark_live(w);
    w->to = weft_graph_like(w->from, w->map);
    if (!w->to || !extend_uses(w))
        return false;
    for (weft_val v = 0; v < w->from->n_value; v++)
        if (w->from->value[v].kind != WEFT_VALUE_NODE)
            set_value(w, v, w->map[v]);
    return mark_overwritten(w);
}

/* One sweep over `from` into a new graph; `map` (of its values) is combined into `total` (n_total
 * old values). */
static weft_status sweep(rewriter *w, weft_val *total, int n_total)
{
    WEFT_TRY(start_sweep(w) ? WEFT_OK : w->ctx->status);
    for (int k = 0; k < w->from->n_node; k++)
        if (w->live[k])
            WEFT_TRY(rewrite_node(w, k));
    for (int i = 0; i < w->from->n_output; i++)
        WEFT_TRY(
            weft_graph_output(w->to, w->from->output[i].name, w->map[w->from->output[i].value]));
    w->to->at_scope = ""; /* strings of `from` */
    w->to->at_file = NULL;
    for (int v = 0; v < n_total; v++)
        total[v] = total[v] < 0 ? WEFT_NONE : w->map[total[v]];
    return WEFT_OK;
}

/* ---- which rules ---- */
static bool in_list(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, name, n) && (p[n] == ',' || !p[n]))
            return true;
    return false;
}

static weft_status unknown_rule(weft_ctx *c, const char *name)
{
    const char *names[256];
    int n = 0;
    for (; n < weft_rule_count() && n < 256; n++)
        names[n] = weft_rule_at(n)->name;
    const char *near = weft_nearest(name, names, n);
    return weft_fail(c, WEFT_USAGE,
                     "there is no rewrite rule '%s'%s%s%s (weft ops --rules lists them)", name,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static weft_status check_disabled(weft_ctx *c, const char *list)
{
    for (const char *p = list; p && *p;) {
        char name[64];
        size_t n = strcspn(p, ",");
        if (n >= sizeof name)
            return weft_fail(c, WEFT_USAGE, "the name of a rewrite rule is too long: '%.60s...'",
                             p);
        memcpy(name, p, n);
        name[n] = 0;
        int r = 0;
        while (r < weft_rule_count() && strcmp(weft_rule_at(r)->name, name))
            r++;
        if (n && r == weft_rule_count())
            return unknown_rule(c, name);
        p += n + (p[n] == ',');
    }
    return WEFT_OK;
}

static bool rule_is_on(const weft_rule *r, const weft_rewrite_options *o)
{
    return !o->no_rewrite && (r->fuses || r->first || !o->fuse_only) &&
           !(r->train_only && !o->train) && !(r->eval_only && o->train) &&
           !in_list(o->disable, r->name);
}

static bool choose_rules(rewriter *w, bool first)
{
    w->root = weft_arena_array(w->work, (size_t)weft_rule_count() + 1, sizeof *w->root);
    for (int r = 0; w->root && r < weft_rule_count(); r++) {
        const weft_rule *rule = weft_rule_at(r);
        bool on = rule_is_on(rule, w->options) && (rule->first || !first);
        w->root[r] = on && rule->apply ? weft_op_find(rule->root) : NULL;
        w->share = w->share || (on && rule == &weft_rule_share);
    }
    return w->root != NULL;
}

/* `first`: with the rules alone that come before all others. */
static weft_status one_sweep(const weft_graph *from, const weft_rewrite_options *o, bool first,
                             weft_graph **to, int *changes, weft_val *total, int n_total)
{
    rewriter w = {
        .ctx = from->ctx, .options = o, .from = from, .work = weft_arena_new(from->ctx, 0)};
    weft_status s =
        w.work && choose_rules(&w, first) ? sweep(&w, total, n_total) : from->ctx->status;
    weft_arena_free(w.work);
    *changes = w.changes;
    *to = w.to;
    if (s) {
        weft_graph_free(w.to);
        *to = NULL;
    }
    return s;
}

weft_status weft_graph_rewrite(const weft_graph *g, const weft_rewrite_options *o, weft_graph **out,
                               weft_val *map)
{
    WEFT_TRY(check_disabled(g->ctx, o->disable));
    weft_graph *now = NULL;
    int n_total = map ? g->n_value : 0, changes = 1;
    bool first = true;
    for (int v = 0; v < n_total; v++)
        map[v] = v;
    for (int i = 0; i < MAX_SWEEPS && (changes || first); i++) {
        weft_graph *next;
        first = first && changes;
        weft_status s = one_sweep(now ? now : g, o, first, &next, &changes, map, n_total);
        weft_graph_free(now);
        if (s)
            return s;
        now = next;
    }
    *out = now;
    return WEFT_OK;
}
