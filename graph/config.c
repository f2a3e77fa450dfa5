/* config.c - config.json of a checkpoint: the keys of the first shipped name map that fits the
 * weights (so that other programs take the folder), and what we say of every model. */
#include <stdlib.h>
#include <string.h>

#include "graph/ir.h"
#include "graph/names.h"

/* "d=768 (caller), o=2304 (here)" */
static weft_status parse_params(weft_arena *a, const char *text, weft_params *out)
{
    while (*text) {
        size_t n = strcspn(text, "=");
        char *end;
        const char *name = weft_arena_strndup(a, text, n);
        if (!name)
            return WEFT_NOMEM;
        if (!text[n])
            break;
        double v = weft_strtod(text + n + 1, &end);
        if (weft_expr_is_name(name, n) && !weft_params_add(a, out, name, v, "parameters"))
            return WEFT_NOMEM;
        text = strstr(end, "), ");
        text = text ? text + 3 : "";
    }
    return WEFT_OK;
}

/* The tensors that checkpoints of this model hold, as entries of a file. */
static weft_tensor_entry *trainable_entries(weft_arena *a, const weft_graph *g, int *n)
{
    weft_tensor_entry *e = weft_arena_array(a, (size_t)g->n_value + 1, sizeof *e);
    *n = 0;
    for (int i = 0; e && i < g->n_value; i++) {
        const weft_value *v = &g->value[i];
        if (v->kind != WEFT_VALUE_STATE || !v->trainable)
            continue;
        e[*n] = (weft_tensor_entry){.name = v->name, .rank = v->type.rank};
        memcpy(e[*n].dim, v->type.dim, sizeof e->dim);
        (*n)++;
    }
    return e;
}

typedef struct {
    const weft_tensor_entry *entry;
    int n;
    const weft_params *params;
    const weft_config_facts *facts;
} model;

static weft_status match(weft_match *m, const model *x, weft_key_value **kv, int *n)
{
    for (int i = 0; i < x->n; i++)
        WEFT_TRY(weft_match_add(m, NULL, &x->entry[i]));
    WEFT_TRY(weft_match_finish(m));
    for (int i = 0; i < x->params->n; i++)
        if (!weft_params_find(&m->params, x->params->p[i].name, strlen(x->params->p[i].name)))
            WEFT_TRY(weft_match_bind(m, x->params->p[i].name, x->params->p[i].value, "parameters"));
    if (m->outside)
        return weft_fail(m->ctx, WEFT_MISMATCH, "%d weights are of other parts", m->outside);
    return weft_names_write(m, NULL, 0, kv, n);
}

/* A map that does not fit is no failure, only lack of memory is. */
static weft_status try_map(weft_arena *a, const weft_names *names, const model *x,
                           weft_key_value **kv, int *n)
{
    const char *prefix = NULL;
    weft_match m;
    *n = 0;
    for (int i = 0; i < x->n; i++)
        WEFT_TRY(weft_names_prefix(a, names, x->entry[i].name, &prefix));
    if (!prefix || !names->msg->config || strcmp(names->msg->config, "config.json"))
        return WEFT_OK;
    weft_match_init(&m, a, names, true, prefix, "the graph");
    m.dtype = "float32";
    m.bos = x->facts->bos;
    m.eos = x->facts->eos;
    m.eos_list = x->facts->eos_list;
    weft_status s = match(&m, x, kv, n);
    weft_match_free(&m);
    if (!s || s == WEFT_NOMEM)
        return s;
    *n = 0;
    weft_error_clear(weft_arena_ctx(a));
    return WEFT_OK;
}

static weft_status find_keys(weft_arena *a, const model *x, weft_key_value **kv, int *n)
{
    *n = 0;
    for (const weft_shipped_file *f = weft_names_shipped; f->name && !*n; f++) {
        weft_names names;
        WEFT_TRY(weft_names_load(a, f->name, &names));
        WEFT_TRY(try_map(a, &names, x, kv, n));
    }
    return WEFT_OK;
}

static const char *number(weft_arena *a, double v)
{
    char buf[40];
    return weft_arena_strdup(a, weft_names_number(buf, sizeof buf, v));
}

static const char *quoted(weft_arena *a, const char *text)
{
    weft_string s;
    weft_string_init(&s, weft_arena_ctx(a));
    weft_string_json(&s, text);
    const char *copy = s.failed ? NULL : weft_arena_strdup(a, s.s);
    weft_string_free(&s);
    return copy;
}

/* What a reader of ours believes: files made before had ids that were a guess. */
static void put_tokens(weft_arena *a, const weft_config_facts *f, weft_key_value *kv, int *n)
{
    if (f->bos >= 0)
        kv[(*n)++] = (weft_key_value){"tokens.bos_token_id", number(a, (double)f->bos)};
    if (f->eos >= 0)
        kv[(*n)++] = (weft_key_value){"tokens.eos_token_id", weft_ids_text(a, f->eos, f->eos_list)};
}

weft_status weft_config_make(weft_arena *a, const weft_graph *g, const weft_config_facts *f,
                             const char **out)
{
    weft_params params = {0};
    weft_key_value *found = NULL, *kv;
    model x = {.params = &params, .facts = f};
    int n = 0;
    if (g->n_call)
        WEFT_TRY(parse_params(a, g->call[0].params, &params));
    x.entry = trainable_entries(a, g, &x.n);
    WEFT_TRY(x.entry ? find_keys(a, &x, &found, &n) : WEFT_NOMEM);
    kv = weft_arena_array(a, (size_t)(n + params.n) + 7, sizeof *kv);
    if (!kv)
        return WEFT_NOMEM;
    if (n)
        memcpy(kv, found, (size_t)n * sizeof *kv);
    if (!n) {
        kv[n++] = (weft_key_value){"model_type", quoted(a, g->entry)};
        kv[n++] = (weft_key_value){"vocab_size", number(a, (double)f->vocab)};
    }
    kv[n++] = (weft_key_value){"module", quoted(a, g->entry)};
    kv[n++] = (weft_key_value){"batch", number(a, (double)f->batch)};
    kv[n++] = (weft_key_value){"length", number(a, (double)f->length)};
    put_tokens(a, f, kv, &n);
    for (int i = 0; i < params.n; i++)
        kv[n++] = (weft_key_value){weft_arena_printf(a, "parameters.%s", params.p[i].name),
                                   number(a, params.p[i].value)};
    weft_string s;
    WEFT_TRY(weft_error_status(weft_arena_ctx(a)));
    weft_string_init(&s, weft_arena_ctx(a));
    weft_names_json(&s, kv, n);
    *out = s.failed ? NULL : weft_arena_strdup(a, s.s);
    weft_string_free(&s);
    return *out ? WEFT_OK : WEFT_NOMEM;
}
