/* expand_names.c - parameters and names of one use of a module: binding, looking up, naming. */
#include "graph/expand.h"

#include <stdio.h>
#include <string.h>

weft_status weft_expand_fail(weft_expander *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    weft_failv(x->c, WEFT_MALFORMED, fmt, ap);
    va_end(ap);
    return x->c->status;
}

const char *weft_expand_place(weft_expander *x, const void *message)
{
    weft_pos p = weft_lines_get(x->m->lines, message);
    const char *s = p.line ? weft_arena_printf(x->g->arena, "%s:%d", p.file, p.line) : p.file;
    return s ? s : "?";
}

/* ---- limits ---- */
/* Lookups of names and bytes of expressions read, and nodes and calls as so many of them: two
 * seconds; a model of 100,000 nodes takes some ten millions. Bytes of the graph: nodes, types,
 * names and the parameters of every call. */
static const int64_t MAX_WORK = 300000000;
static const size_t MAX_BYTES = (size_t)1 << 30;

weft_status weft_expand_spend(weft_expander *x, int64_t work)
{
    size_t bytes = weft_arena_used(x->g->arena);
    x->work += work;
    if (x->work > MAX_WORK)
        return weft_expand_fail(x,
                                "expanding the model takes more than %lld steps (nodes, calls, "
                                "parameters and the texts of their expressions, over all "
                                "repetitions; %lld calls and %d nodes so far)",
                                (long long)MAX_WORK, (long long)x->n_call, x->g->n_node);
    if (bytes > MAX_BYTES)
        return weft_expand_fail(x,
                                "the expanded model takes more than %zu MiB (%lld calls and %d "
                                "nodes so far)",
                                MAX_BYTES >> 20, (long long)x->n_call, x->g->n_node);
    return x->c->status;
}

const char *weft_expand_join(weft_instance *it, const char *scope, const char *name)
{
    size_t n = strlen(scope) + strlen(name);
    if (n <= WEFT_EXPAND_NAME)
        return weft_arena_printf(it->work, "%s%s", scope, name);
    weft_expand_fail(it->x, "a name of %zu bytes ('%.60s...'); at most %d are allowed", n,
                     *scope ? scope : name, WEFT_EXPAND_NAME);
    return NULL;
}

/* Bytes of a name's pattern that stay in every name. */
static size_t fixed_bytes(const char *pattern)
{
    size_t n = 0;
    for (const char *p = pattern ? pattern : ""; *p;) {
        size_t k = strcspn(p, "{");
        n += k;
        p += k;
        p += strcspn(p, "}");
        p += *p == '}';
    }
    return n;
}

/* The graph keeps the scope of each call, and below it the names of its weights. One name that is
 * too long is refused by itself. */
weft_status weft_expand_check_names(weft_instance *it, const Weft__Node *node,
                                    const Weft__Module *callee, int64_t n_call)
{
    size_t n = fixed_bytes(node->name) + strlen(it->scope), bytes;
    if (n <= WEFT_EXPAND_NAME &&
        (__builtin_mul_overflow(n * (size_t)n_call, callee->n_weight + 1, &bytes) ||
         bytes > MAX_BYTES))
        return weft_expand_fail(it->x,
                                "the names of %lld calls of module '%s' and of their weights, of "
                                "at least %zu bytes each, take more than the %zu MiB of an "
                                "expanded model; shorten the name of the call",
                                (long long)n_call, callee->name, n, MAX_BYTES >> 20);
    return WEFT_OK;
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

weft_status weft_expand_check_attrs(weft_instance *it, const Weft__Node *node,
                                    const Weft__Module *callee)
{
    weft_expander *x = it->x;
    const char *known[256];
    int n = 0;
    for (size_t i = 0; i < callee->n_param && n < 256; i++)
        if (!(known[n++] = param_name(it->work, callee->param[i])))
            return x->c->status;
    WEFT_TRY(weft_expand_spend(x, (int64_t)node->n_attr * (int64_t)(n + 1) +
                                      (int64_t)node->n_attr * (int64_t)node->n_attr));
    for (size_t k = 0; k < node->n_attr; k++) {
        char word[64];
        size_t len = strcspn(node->attr[k], "=");
        bool found = false;
        snprintf(word, sizeof word, "%.*s", (int)(len > 60 ? 60 : len), node->attr[k]);
        if (!node->attr[k][len])
            return weft_expand_fail(x, "attribute '%s' must be written name=value", word);
        for (int i = 0; i < n; i++)
            found = found || !strcmp(known[i], word);
        for (size_t j = 0; j < k; j++)
            if (!strncmp(node->attr[j], node->attr[k], len + 1))
                return weft_expand_fail(x, "parameter '%s' is given twice", word);
        char hint[300];
        if (!found)
            return weft_expand_fail(
                x, "module '%s' has no parameter '%s'%s", callee->name, word,
                n ? weft_suggest(hint, sizeof hint, word, "its parameters:", known, n)
                  : ": it has none");
    }
    return WEFT_OK;
}

/* Value of one declared parameter: given by the call, else the caller's of the same name, else the
 * default. */
weft_status weft_expand_bind_param(weft_instance *it, const char *declared, const Weft__Node *node,
                                   const weft_params *outer)
{
    weft_expander *x = it->x;
    char why[256];
    double v = 0;
    const char *name = param_name(it->work, declared), *origin = "default";
    const char *def = strchr(declared, '=');
    size_t work = strlen(declared) + (node ? node->n_attr : 0);
    if (!name || weft_expand_spend(x, (int64_t)work))
        return x->c->status;
    if (!weft_expr_is_name(name, strlen(name)))
        return weft_expand_fail(x, "'%s' is not a name for a parameter", name);
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
        return weft_expand_fail(x, "module '%s' needs the parameter '%s'; give it with %s",
                                it->module->name, name, node ? "attr" : "--set");
    }
    if (!ok)
        return weft_expand_fail(x, "parameter %s=%s: %s", name,
                                given ? given
                                : set ? set
                                      : def + 1,
                                why);
    if (weft_params_find(&it->params, name, strlen(name)))
        return weft_expand_fail(x, "module '%s' declares the parameter '%s' twice",
                                it->module->name, name);
    return weft_params_add(it->work, &it->params, name, v, origin) ? WEFT_OK : x->c->status;
}

weft_status weft_expand_record(weft_instance *it, const void *message)
{
    weft_graph *g = it->x->g;
    weft_string s;
    char number[64];
    weft_string_init(&s, it->x->c);
    for (int i = 0; i < it->params.n; i++)
        weft_string_printf(&s, "%s%s=%s (%s)", i ? ", " : "", it->params.p[i].name,
                           weft_number_print(number, sizeof number, it->params.p[i].value),
                           it->params.p[i].origin);
    const char *text = s.failed ? NULL : weft_arena_strndup(g->arena, s.s ? s.s : "", s.len);
    weft_string_free(&s);
    if (!text || !WEFT_GROW(g->arena, g->call, g->n_call, g->cap_call))
        return it->x->c->status;
    weft_pos p = weft_lines_get(it->x->m->lines, message);
    size_t n = strlen(it->scope);
    g->call[g->n_call++] =
        (weft_call_record){weft_arena_strndup(g->arena, it->scope, n ? n - 1 : 0), it->module->name,
                           text, p.file, p.line};
    return WEFT_OK;
}

/* ---- names ---- */
static const char *bad_name(weft_instance *it, const char *pattern, const char *why)
{
    weft_expand_fail(it->x, "name '%.200s': %s", pattern, why);
    return NULL;
}

/* "h.{i}" with every {expression} replaced by its value. */
const char *weft_expand_name(weft_instance *it, const char *pattern, const weft_params *params)
{
    char out[WEFT_EXPAND_NAME + 1], why[256];
    size_t at = 0;
    for (const char *p = pattern; *p;) {
        size_t n = strcspn(p, "{");
        int64_t v;
        if (n > sizeof out - 1 - at)
            return bad_name(it, pattern, "it is too long");
        memcpy(out + at, p, n);
        at += n;
        p += n;
        if (!*p)
            break;
        const char *end = strchr(p, '}');
        if (!end)
            return bad_name(it, pattern, "'{' without '}'");
        if (!weft_expr_eval_int(params, p + 1, (size_t)(end - p - 1), &v, why, sizeof why))
            return bad_name(it, pattern, why);
        int k = snprintf(out + at, sizeof out - at, "%lld", (long long)v);
        if ((size_t)k >= sizeof out - at)
            return bad_name(it, pattern, "it is too long");
        at += (size_t)k;
        p = end + 1;
    }
    return weft_arena_strndup(it->work, out, at);
}

weft_status weft_expand_define(weft_instance *it, const char *name, weft_val v)
{
    if (weft_map_get(it->env, name, WEFT_NONE) != WEFT_NONE)
        return weft_expand_fail(it->x, "'%s' is defined twice in module '%s'", name,
                                it->module->name);
    return weft_map_set(it->env, name, v) ? WEFT_OK : it->x->c->status;
}

weft_status weft_expand_lookup(weft_instance *it, const char *name, weft_val *out)
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
                return weft_expand_fail(
                    it->x,
                    "'%s' is used before it is computed (nodes run in the order of the file)",
                    name);
    char hint[200];
    return weft_expand_fail(it->x, "unknown value '%s'%s", name,
                            weft_suggest(hint, sizeof hint, name, "known here:", known, n));
}

/* The first of base~2, base~3, ... that is free: calls without a name share a scope. What was tried
 * before is taken. */
static const char *free_name(weft_instance *it, const char *base)
{
    weft_expander *x = it->x;
    weft_arena *a = x->g->arena;
    int i = weft_map_get(x->tried_at, base, -1);
    if (i < 0) {
        const char *key = weft_arena_strdup(a, base);
        i = x->n_tried;
        if (!key || !WEFT_GROW(a, x->tried, x->n_tried, x->cap_tried) ||
            !weft_map_set(x->tried_at, key, i))
            return NULL;
        x->tried[x->n_tried++] = 1;
    }
    for (;;) {
        char tail[16];
        snprintf(tail, sizeof tail, "~%d", ++x->tried[i]);
        const char *full = weft_expand_join(it, base, tail);
        if (!full || weft_graph_find(x->g, full) < 0)
            return full;
        x->work++;
    }
}

/* The name in the whole graph for local value `name`: the caller's if it is an output of the
 * module. */
const char *weft_expand_full_name(weft_instance *it, const char *name)
{
    const char *full = NULL;
    it->x->work += it->n_out_name;
    for (int j = 0; j < it->n_out_name && !full; j++) {
        const char *eq = strchr(it->module->output[j], '=');
        if (!strcmp(eq ? eq + 1 : it->module->output[j], name))
            full = it->out_name[j];
    }
    if (full && weft_graph_find(it->x->g, full) < 0)
        return full;
    const char *own = weft_expand_join(it, it->scope, name);
    if (!own || (!full && weft_graph_find(it->x->g, own) < 0))
        return own;
    return free_name(it, own);
}
