/* convert_check.c - do imported weights fit a model, and would an evaluation say anything of them?
 * A recipe can evaluate a value that reads none of them, or one that start values make as good as
 * noise. */
#include <string.h>

#include "graph/checkpoint.h"
#include "graph/evaluate.h"
#include "graph/names.h"
#include "graph/plan.h"
#include "graph/trained.h"

typedef struct {
    weft_trained *t;
    weft_tensor_set set;
    const char *path, *scope;
    int read;             /* weights of the file that are read */
    weft_name_list start; /* trainable weights that are read and no file gives */
} reading;

static bool has_tensor(const reading *r, const char *name)
{
    size_t n = strlen(r->scope);
    bool found = false;
    for (int i = 0; !strncmp(name, r->scope, n) && !found && i < r->set.n; i++)
        found = weft_tensor_file_find(r->set.file[i], name + n) != NULL;
    return found;
}

/* A `load` entry is strict: it gives every weight of its scope. */
static bool is_loaded(const weft_recipe *r, const char *name)
{
    for (size_t i = 0; i < r->msg->n_load; i++) {
        const char *scope = r->msg->load[i]->scope ? r->msg->load[i]->scope : "";
        if (!strncmp(name, scope, strlen(scope)))
            return true;
    }
    return false;
}

static void count_states(reading *r, const weft_graph *g)
{
    for (weft_val v = 0; v < g->n_value; v++) {
        const weft_value *x = &g->value[v];
        if (x->kind != WEFT_VALUE_STATE)
            continue;
        if (has_tensor(r, x->name))
            r->read++;
        else if (x->trainable && !is_loaded(r->t->recipe, x->name))
            weft_name_list_add(&r->start, x->name, "");
    }
}

/* What the compiled evaluation reads, which is less than what the model has. */
static weft_status find_read(reading *r)
{
    const char *fetch[1 + WEFT_MAX_LOG];
    const weft_compile_options o = {.plan_only = true};
    weft_graph *g = NULL;
    weft_session *s = NULL;
    weft_program *p = NULL;
    int n = weft_eval_outputs(r->t->recipe, fetch);
    weft_status st = weft_trained_graph(r->t, 0, 0, &g);
    if (!st)
        st = weft_session_new(r->t->ctx, false, &s);
    if (!st)
        st = weft_program_compile(s, g, fetch, n, &o, &p);
    if (!st)
        count_states(r, p->graph);
    weft_session_free(s);
    weft_graph_free(g);
    return st ? st : weft_error_status(r->t->ctx);
}

static weft_status judge(const reading *r)
{
    weft_ctx *c = r->t->ctx;
    const char *recipe = r->t->recipe->path;
    if (r->start.n) {
        weft_fail(c, WEFT_MISMATCH,
                  "%s evaluates weights that have their start values, so it says nothing of %s",
                  recipe, r->path);
        weft_name_list_note(c, "without a file", &r->start);
        return c->status;
    }
    return r->read ? WEFT_OK
                   : weft_fail(c, WEFT_MISMATCH,
                               "%s evaluates nothing that reads a weight of %s ('%s*'), so it says "
                               "nothing of it",
                               recipe, r->path, r->scope);
}

weft_status weft_trained_reads(weft_trained *t, const char *path, const char *scope)
{
    reading r = {.t = t, .path = path, .scope = scope};
    if (!t->recipe)
        return weft_fail(t->ctx, WEFT_USAGE, "only a recipe says what is evaluated");
    r.set.arena = weft_arena_new(t->ctx, 0);
    if (!r.set.arena)
        return weft_error_status(t->ctx);
    weft_string_init(&r.start.text, t->ctx);
    weft_status s = weft_tensor_set_open(&r.set, path, "model.safetensors");
    if (!s)
        s = find_read(&r);
    if (!s)
        s = judge(&r);
    weft_string_free(&r.start.text);
    weft_tensor_set_close(&r.set);
    weft_arena_free(r.set.arena);
    return s;
}

/* ---- in a model ---- */
static bool has_part(const weft_session *s, const char *part)
{
    for (int i = 0; *part && i < s->n_state; i++)
        if (!strncmp(s->state[i].name, part, strlen(part)))
            return true;
    return false;
}

/* Frozen weights are not asked for, unless the model has no others. */
static void leave_frozen(weft_session *s)
{
    bool trains = false;
    for (int i = 0; i < s->n_state; i++)
        trains = trains || s->state[i].trainable;
    for (int i = 0; i < s->n_state; i++)
        s->state[i].external = trains && !s->state[i].trainable;
}

weft_status weft_weights_fit(const weft_graph *g, const char *path, const char *part)
{
    weft_session *s = NULL;
    weft_status st = weft_session_new(g->ctx, false, &s);
    if (!st)
        st = weft_session_add_states(s, g);
    if (!st && !has_part(s, part)) {
        leave_frozen(s);
        part = "";
    }
    if (!st)
        st = weft_weights_load(s, path, part);
    weft_session_free(s);
    return st;
}
