/* recipe_names.c - what a recipe names in its model, against the model's graph.
 *
 * Input: a checked recipe and the expanded model.  Output: WEFT_OK, or the first name that is not
 * there or not of the type that its use needs.  Nothing is run: weft check finds all of it. */
#include <string.h>

#include "graph/ir.h"
#include "graph/recipe.h"

/* "; did you mean 'x'?" for the nearest of n names, else nothing. */
static const char *hint(const weft_recipe *r, const char *name, const char *const *list, int n)
{
    const char *near = weft_nearest(name, list, n);
    const char *text = near ? weft_arena_printf(r->arena, "; did you mean '%s'?", near) : "";
    return text ? text : "";
}

static weft_status unknown_output(const weft_recipe *r, const weft_graph *g, const char *field,
                                  const char *name)
{
    const char **list = weft_arena_array(r->arena, (size_t)g->n_output + 1, sizeof *list);
    if (!list)
        return weft_error_status(r->ctx);
    for (int i = 0; i < g->n_output; i++)
        list[i] = g->output[i].name;
    return weft_fail(r->ctx, WEFT_MALFORMED, "%s: %s: the model has no output '%s'%s", r->path,
                     field, name, hint(r, name, list, g->n_output));
}

/* A mean over batches is made of it. */
static weft_status check_scalar(const weft_recipe *r, const weft_graph *g, const char *field,
                                const char *name)
{
    weft_val v = weft_graph_find_output(g, name);
    char text[160];
    if (v < 0)
        return unknown_output(r, g, field, name);
    const weft_type *t = &g->value[v].type;
    if (t->rank == 0 && t->dtype == WEFT_F32)
        return WEFT_OK;
    return weft_fail(r->ctx, WEFT_MALFORMED, "%s: %s: output '%s' is %s, expected a scalar: f32[]",
                     r->path, field, name, weft_type_print(text, sizeof text, t));
}

static weft_status check_log(const weft_recipe *r, const weft_graph *g, const char *field,
                             char *const *name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        WEFT_TRY(check_scalar(r, g, field, name[i]));
    return WEFT_OK;
}

/* ---- start ---- */
static weft_status unknown_value(const weft_recipe *r, const weft_graph *g, bool state,
                                 const char *name)
{
    const char **list = weft_arena_array(r->arena, (size_t)g->n_value + 1, sizeof *list);
    int n = 0;
    if (!list)
        return weft_error_status(r->ctx);
    for (weft_val v = 0; v < g->n_value; v++)
        if (g->value[v].name && (!state || g->value[v].kind == WEFT_VALUE_STATE))
            list[n++] = g->value[v].name;
    return weft_fail(r->ctx, WEFT_MALFORMED, "%s: start: the model has no %s '%s'%s", r->path,
                     state ? "weight" : "value", name, hint(r, name, list, n));
}

static weft_status check_start(const weft_recipe *r, const weft_graph *g, const Weft__Start *s)
{
    weft_val w = weft_graph_find(g, s->weight), v = weft_graph_find_output(g, s->value);
    char found[160], expected[160];
    if (w < 0 || g->value[w].kind != WEFT_VALUE_STATE)
        return unknown_value(r, g, true, s->weight);
    v = v < 0 ? weft_graph_find(g, s->value) : v;
    if (v < 0)
        return unknown_value(r, g, false, s->value);
    if (weft_type_equal(&g->value[w].type, &g->value[v].type))
        return WEFT_OK;
    return weft_fail(r->ctx, WEFT_MALFORMED, "%s: start: value '%s' is %s, but weight '%s' is %s",
                     r->path, s->value, weft_type_print(found, sizeof found, &g->value[v].type),
                     s->weight, weft_type_print(expected, sizeof expected, &g->value[w].type));
}

/* ---- load ---- */
static weft_status check_load(const weft_recipe *r, const weft_graph *g, const Weft__Load *l)
{
    const char *scope = l->scope ? l->scope : "";
    for (weft_val v = 0; v < g->n_value; v++)
        if (g->value[v].kind == WEFT_VALUE_STATE &&
            !strncmp(g->value[v].name, scope, strlen(scope)))
            return WEFT_OK;
    return weft_fail(r->ctx, WEFT_MALFORMED,
                     "%s: load: no weight of the model has a name that begins with the scope '%s'",
                     r->path, scope);
}

/* A graph without the parameters B and T has the sizes that it has: another one that the recipe
 * asks for is not taken in silence. */
static weft_status check_sizes(const weft_recipe *r, const weft_graph *g)
{
    const Weft__Train *t = r->msg->train;
    weft_val v = weft_graph_find(g, "tokens");
    if (v < 0 || g->value[v].type.rank != 2)
        return WEFT_OK; /* who feeds them knows how to say so */
    const int64_t *dim = g->value[v].type.dim;
    bool batch = t->has_batch && t->batch != dim[0];
    if (!batch && (!t->has_length || t->length == dim[1]))
        return WEFT_OK;
    return weft_fail(r->ctx, WEFT_MALFORMED,
                     "%s: train.%s is %lld, but the model has no parameter %s: its tokens are %lld "
                     "sequences of %lld",
                     r->path, batch ? "batch" : "length", (long long)(batch ? t->batch : t->length),
                     batch ? "B" : "T", (long long)dim[0], (long long)dim[1]);
}

weft_status weft_recipe_check_names(const weft_recipe *r, const weft_graph *g)
{
    const Weft__Recipe *m = r->msg;
    WEFT_TRY(check_sizes(r, g));
    WEFT_TRY(check_log(r, g, "train.log", m->train->log, m->train->n_log));
    WEFT_TRY(check_log(r, g, "eval.log", m->eval->log, m->eval->n_log));
    if (m->eval->loss && *m->eval->loss)
        WEFT_TRY(check_scalar(r, g, "eval.loss", m->eval->loss));
    for (size_t i = 0; i < m->n_start; i++)
        WEFT_TRY(check_start(r, g, m->start[i]));
    for (size_t i = 0; i < m->n_load; i++)
        WEFT_TRY(check_load(r, g, m->load[i]));
    return WEFT_OK;
}
