/* stages.c - the stages between a flat graph and a program as public calls: gradients, rewriting,
 * texts. */
#include <string.h>

#include "graph/ir.h"
#include "graph/load.h"

weft_val weft_graph_need_output(const weft_graph *g, const char *name)
{
    weft_val v = weft_graph_find_output(g, name);
    if (v != WEFT_NONE)
        return v;
    const char **names = weft_alloc(g->ctx, sizeof *names * (size_t)(g->n_output + 1));
    for (int i = 0; names && i < g->n_output; i++)
        names[i] = g->output[i].name;
    const char *near = names ? weft_nearest(name, names, g->n_output) : NULL;
    char word[128];
    weft_printable(word, sizeof word, name);
    weft_fail(g->ctx, WEFT_USAGE, "%s has no output '%s'%s%s%s",
              g->entry && *g->entry ? g->entry : "the model", word, near ? "; did you mean '" : "",
              near ? near : "", near ? "'?" : "");
    weft_free(g->ctx, names);
    return WEFT_NONE;
}

int weft_graph_trainable(const weft_graph *g, weft_val *out)
{
    int n = 0;
    for (weft_val v = 0; v < g->n_value; v++)
        if (g->value[v].kind == WEFT_VALUE_STATE && g->value[v].trainable) {
            if (out)
                out[n] = v;
            n++;
        }
    return n;
}

static weft_status add_gradients(weft_graph *g, const char *loss, weft_arena *a)
{
    weft_val y = weft_graph_need_output(g, loss);
    if (y == WEFT_NONE)
        return weft_error_status(g->ctx);
    int n = weft_graph_trainable(g, NULL);
    weft_val *w = weft_arena_array(a, (size_t)n + 1, sizeof *w);
    weft_val *dw = weft_arena_array(a, (size_t)n + 1, sizeof *dw);
    if (!w || !dw)
        return weft_error_status(g->ctx);
    weft_graph_trainable(g, w);
    WEFT_TRY(weft_graph_gradient(g, y, w, n, dw));
    for (int i = 0; i < n; i++) {
        const char *name = weft_arena_printf(g->arena, "grad:%s", g->value[w[i]].name);
        WEFT_TRY(name ? weft_graph_output(g, name, dw[i]) : WEFT_NOMEM);
    }
    return WEFT_OK;
}

weft_status weft_graph_differentiate(const weft_graph *g, const char *loss, weft_graph **out)
{
    *out = NULL;
    weft_graph *t = NULL;
    WEFT_TRY(weft_graph_lower(g, &t));
    weft_arena *a = weft_arena_new(g->ctx, 0);
    weft_status s = a ? add_gradients(t, loss, a) : weft_error_status(g->ctx);
    weft_arena_free(a);
    if (s) {
        weft_graph_free(t);
        return s;
    }
    *out = t;
    return WEFT_OK;
}

/* Rewrites g, which has no meta nodes, and drops what its outputs do not need. */
static weft_status rewrite_and_prune(const weft_graph *g, const weft_rewrite_options *o,
                                     weft_graph **out)
{
    weft_graph *t = NULL;
    weft_arena *a = weft_arena_new(g->ctx, 0);
    weft_val *map = a ? weft_arena_array(a, (size_t)g->n_value + 1, sizeof *map) : NULL;
    weft_status s = map ? weft_graph_rewrite(g, o, &t, map) : weft_error_status(g->ctx);
    weft_val *keep = s ? NULL : weft_arena_array(a, (size_t)t->n_output + 1, sizeof *keep);
    for (int i = 0; keep && i < t->n_output; i++)
        keep[i] = t->output[i].value;
    if (!s)
        s = keep ? weft_graph_prune(t, keep, t->n_output, out, NULL) : weft_error_status(g->ctx);
    weft_graph_free(t);
    weft_arena_free(a);
    return s;
}

weft_status weft_graph_optimize(const weft_graph *g, const weft_rewrite_options *o,
                                weft_graph **out)
{
    weft_graph *lowered = NULL;
    *out = NULL;
    WEFT_TRY(weft_graph_lower_fused(g, o, &lowered));
    weft_status s = rewrite_and_prune(lowered, o, out);
    weft_graph_free(lowered);
    return s;
}

weft_status weft_graph_text(const weft_graph *g, char **out)
{
    weft_string s;
    weft_string_init(&s, g->ctx);
    *out = NULL;
    if (weft_graph_print(g, &s)) {
        weft_string_free(&s);
        return weft_error_status(g->ctx);
    }
    return weft_string_take(&s, out);
}
