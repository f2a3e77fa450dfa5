/* convert_model.c - the model file beside weights that are exported: one that intervenes on what it
 * computes is not told by its weights. */
#include <stdio.h>
#include <string.h>

#include "graph/checkpoint.h"
#include "graph/convert.h"
#include "graph/op.h"
#include "graph/told.h"

/* "model.txtpb" of the run (*run, else NULL) or folder that the weights are of; *out stays NULL
 * without one. A file of another name may lie beside somebody else's model. */
static weft_status find_model(weft_arena *a, const char *path, const char **run, const char **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    const char *name = strrchr(path, '/');
    int kind, is_checkpoint;
    WEFT_TRY(weft_look(c, path, &kind));
    const bool folder = kind == 2;
    name = name ? name + 1 : path;
    *out = *run = NULL;
    if (!folder && strcmp(name, "model.safetensors"))
        return c->status;
    const char *own = folder ? path : weft_parent_dir(a, path);
    const char *manifest = own ? weft_arena_printf(a, "%s/manifest.json", own) : NULL;
    if (!manifest)
        return c->status;
    /* checkpoints/step-N of a run */
    WEFT_TRY(weft_look(c, manifest, &is_checkpoint));
    if (is_checkpoint == 1) {
        WEFT_TRY(weft_run_of(a, own, run));
        if (!*run)
            return c->status;
    }
    const char *model = weft_arena_printf(a, "%s/model.txtpb", *run ? *run : own);
    if (model && !weft_look(c, model, &kind) && kind == 1)
        *out = model;
    return c->status;
}

/* Length of NAME in "NAME.before", as weft_graph_intervene calls the old value; 0: another name. */
static size_t changed_name(const char *name)
{
    static const char before[] = ".before";
    size_t n = strlen(name), k = sizeof before - 1;
    return n > k && !strcmp(name + n - k, before) ? n - k : 0;
}

/* Name of the first value that is intervened on, or NULL: by what the op is, and by the name, since
 * any op can be an intervention. */
static const char *find_change(const weft_model *m, size_t *n)
{
    for (int i = 0; i < m->n_module; i++)
        for (size_t k = 0; k < m->module[i]->n_node; k++) {
            const Weft__Node *node = m->module[i]->node[k];
            const weft_op *op = node->op ? weft_op_find(node->op) : NULL;
            for (size_t o = 0; o < node->n_out; o++) {
                const char *name = node->out[o];
                bool change = op && op->flags & WEFT_INTERVENES;
                *n = change ? strlen(name) : changed_name(name);
                if (*n)
                    return name;
            }
        }
    return NULL;
}

weft_status weft_convert_check_model(weft_arena *a, const char *path)
{
    weft_ctx *c = weft_arena_ctx(a);
    weft_model *m = NULL;
    const char *model, *run;
    char name[256], shown[256];
    size_t n;
    WEFT_TRY(find_model(a, path, &run, &model));
    WEFT_TRY(run ? weft_run_warn(c, run) : WEFT_OK);
    if (!model)
        return WEFT_OK;
    WEFT_TRY(weft_model_load(c, model, NULL, 0, &m));
    const char *change = find_change(m, &n);
    if (change) {
        snprintf(name, sizeof name, "%.*s", (int)n, change);
        weft_fail(c, WEFT_UNSUPPORTED,
                  "%s intervenes on what it computes ('%s'), which no layout of weights holds: the "
                  "other program would run the model without; export the one that it was made from",
                  model, weft_printable(shown, sizeof shown, name));
    }
    weft_model_free(m);
    return c->status;
}
