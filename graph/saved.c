/* saved.c - a model with interventions written as a run directory of its own. */
#include <stdio.h>
#include <string.h>

#include "graph/batch.h"
#include "graph/checkpoint.h"
#include "graph/safetensors.h"
#include "graph/trained.h"

/* What evaluation and generation need; labels and extractors that only training reads are left out.
 */
static weft_status needed_part(weft_trained *t, const weft_graph *g, weft_graph **out)
{
    weft_val keep[2];
    int n = 0;
    if ((keep[n] = weft_graph_find_output(g, t->loss)) != WEFT_NONE)
        n++;
    if ((keep[n] = weft_graph_find_output(g, "logits")) != WEFT_NONE)
        n++;
    if (!n)
        return weft_fail(t->ctx, WEFT_MALFORMED, "the model has neither '%s' nor 'logits'",
                         t->loss);
    return weft_graph_prune(g, keep, n, out, NULL);
}

static weft_status save_weights(weft_ctx *c, const weft_graph *g, weft_session *s, const char *path)
{
    static const weft_meta meta[] = {{"format", "pt"}};
    weft_tensor_out *w = weft_alloc(c, sizeof *w * ((size_t)g->n_value + 1));
    int n = 0;
    for (weft_val v = 0; w && v < g->n_value; v++)
        if (g->value[v].kind == WEFT_VALUE_STATE) {
            w[n].name = g->value[v].name;
            w[n].data = weft_session_data(s, w[n].name, &w[n].type);
            n++;
        }
    weft_status status =
        w ? weft_tensor_file_write(c, path, w, n, meta, 1, NULL, NULL) : weft_error_status(c);
    weft_free(c, w);
    return status;
}

static weft_status save_model(const weft_graph *g, const char *path)
{
    weft_model *m = NULL;
    WEFT_TRY(weft_graph_to_model(g, &m));
    weft_status s = weft_model_save(m, path);
    weft_model_free(m);
    return s;
}

/* How it is evaluated; the flat graph has no parameters to set. */
static weft_status save_recipe(weft_trained *t, const weft_graph *g, const char *path)
{
    weft_recipe *r = NULL;
    weft_type tokens;
    char text[64];
    WEFT_TRY(weft_tokens_type(g, &tokens));
    WEFT_TRY(weft_recipe_default(t->ctx, t->loss, &r));
    weft_status s = weft_recipe_set(r, "train.batch=1");
    snprintf(text, sizeof text, "train.length=%lld", (long long)tokens.dim[1]);
    s = s ? s : weft_recipe_set(r, text);
    const char *val = weft_trained_file(t, WEFT_RECIPE_VAL);
    if (!s && val)
        s = weft_recipe_set(r, weft_arena_printf(t->arena, "data.val=%s", val));
    s = s ? s : weft_recipe_save(r, path, "model.txtpb");
    weft_recipe_free(r);
    return s;
}

static weft_status write_all(weft_trained *t, const weft_graph *all, const char *dir)
{
    weft_graph *g = NULL;
    weft_session *s = NULL;
    const char *path[3];
    static const char *const name[] = {"model.txtpb", "model.safetensors", "recipe.txtpb"};
    for (int i = 0; i < 3; i++)
        if (!(path[i] = weft_arena_printf(t->arena, "%s/%s", dir, name[i])))
            return WEFT_NOMEM;
    int kind;
    WEFT_TRY(weft_look_out(t->ctx, path[2], &kind));
    if (kind)
        return weft_fail(t->ctx, WEFT_CANTCREATE, "%s exists already: choose another directory",
                         path[2]);
    weft_status status = needed_part(t, all, &g);
    if (!status)
        status = weft_session_new(t->ctx, false, &s);
    if (!status)
        status = weft_trained_fill(t, all, s);
    if (!status)
        status = weft_make_dirs(t->ctx, dir);
    if (!status)
        status = save_weights(t->ctx, g, s, path[1]);
    if (!status)
        status = save_model(g, path[0]);
    if (!status)
        status = weft_tokenizer_copy(t->arena, weft_trained_file(t, WEFT_RECIPE_TOKENIZER), dir);
    if (!status)
        status = save_recipe(t, g, path[2]);
    weft_session_free(s);
    weft_graph_free(g);
    return status;
}

weft_status weft_trained_save(weft_trained *t, const weft_intervention *list, int n,
                              const char *dir)
{
    weft_graph *g = NULL;
    for (int i = 0; i < n; i++)
        if (list[i].on != WEFT_ON_ALL || list[i].feed)
            return weft_fail(t->ctx, WEFT_USAGE,
                             "a saved model knows no prompt and is fed no strengths: it is "
                             "intervened on at all positions");
    if (!*dir)
        return weft_fail(t->ctx, WEFT_CANTCREATE, "a directory without a name");
    const char *keep[] = {t->loss, "logits"};
    WEFT_TRY(weft_trained_changed(t, 1, 0, list, n, keep, 2, &g));
    weft_status s = write_all(t, g, dir);
    weft_graph_free(g);
    return s;
}
