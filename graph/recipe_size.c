/* recipe_size.c - what training by a recipe costs. */
#include <string.h>

#include "graph/labels_part.h"
#include "graph/plan.h"
#include "graph/recipe.h"

static weft_status step_flops(const weft_recipe *r, const weft_graph *forward, double *out)
{
    weft_program *micro = NULL, *step = NULL;
    weft_program_size z;
    weft_session *s = NULL;
    const weft_compile_options o = {.plan_only = true};
    *out = 0;
    WEFT_TRY(weft_session_new(r->ctx, false, &s));
    weft_status status = weft_recipe_compile(r, forward, s, &o, &micro, &step);
    if (!status) {
        weft_program_measure(step, &z);
        *out = z.flops;
    }
    if (!status && micro) {
        weft_program_measure(micro, &z);
        *out += z.flops * (double)r->msg->train->accumulate;
    }
    weft_session_free(s);
    return status;
}

/* Of every trained weight as much as the node that reads most of it; nothing of one that the loss
 * does not depend on. Counted on the rewritten graph, where products with sparse rows are known. */
static weft_status count_active(const weft_recipe *r, const weft_graph *forward, int64_t *out)
{
    weft_graph *g = NULL;
    const char *loss = r->msg->train->loss;
    const weft_rewrite_options o = {.train = true};
    *out = 0;
    WEFT_TRY(weft_graph_prepare(forward, &loss, 1, &o, &g));
    int64_t *most = weft_alloc(r->ctx, sizeof *most * ((size_t)g->n_value + 1));
    for (int k = 0; most && k < g->n_node; k++)
        for (int i = 0; i < g->node[k].n_in; i++) {
            weft_val v = g->node[k].in[i];
            if (v < 0 || g->value[v].kind != WEFT_VALUE_STATE || !g->value[v].trainable)
                continue;
            int64_t n = weft_node_active(g, k, i);
            most[v] = n > most[v] ? n : most[v];
        }
    for (int v = 0; most && v < g->n_value; v++)
        *out += most[v];
    weft_free(r->ctx, most);
    weft_graph_free(g);
    return weft_error_status(r->ctx);
}

/* A label cache feeds these values; models without labels have none to save. */
static weft_status cached_flops(const weft_recipe *r, const weft_graph *forward, double *out)
{
    weft_graph *g = NULL;
    const char *feed[2], *keep[] = {r->msg->train->loss};
    int n = weft_label_values(r, forward, feed);
    if (weft_graph_find(forward, feed[0]) == WEFT_NONE)
        return WEFT_OK;
    WEFT_TRY(weft_graph_feed(forward, feed, n, keep, 1, &g));
    weft_status s = step_flops(r, g, out);
    weft_graph_free(g);
    return s;
}

static weft_status measure(const weft_recipe *r, const weft_graph *g, weft_recipe_size *out)
{
    weft_graph_size z;
    WEFT_TRY(weft_graph_measure(g, &z));
    out->parameters = z.parameters;
    out->trainable = z.trainable;
    out->tokens = z.tokens * r->msg->train->accumulate;
    WEFT_TRY(count_active(r, g, &out->active));
    /* counted without the recipe's own label file, to know both; and what it loads may be gone with
     * what computed the labels */
    Weft__Recipe m = *r->msg;
    Weft__Data data = *m.data;
    weft_recipe bare = *r;
    bare.msg = &m;
    m.data = &data;
    data.labels = data.val_labels = NULL;
    WEFT_TRY(step_flops(&bare, g, &out->flops_computed));
    out->flops_cached = out->flops_computed;
    m.n_load = 0;
    WEFT_TRY(cached_flops(&bare, g, &out->flops_cached));
    const char *labels = r->msg->data->labels;
    out->flops = labels && *labels ? out->flops_cached : out->flops_computed;
    return WEFT_OK;
}

weft_status weft_recipe_measure(weft_recipe *r, const weft_graph *forward, weft_recipe_size *out)
{
    weft_model *m = NULL;
    weft_graph *g = NULL;
    void (*log)(void *, const char *) = r->ctx->log;
    *out = (weft_recipe_size){0};
    r->ctx->log = NULL; /* what compiling has to say is said when the recipe is compiled to run */
    weft_status s = forward ? WEFT_OK : weft_recipe_model(r, 0, 0, &m);
    if (!s && !forward)
        s = weft_graph_expand(m, &g);
    if (!s)
        s = measure(r, forward ? forward : g, out);
    r->ctx->log = log;
    weft_graph_free(g);
    weft_model_free(m);
    return s;
}
