/* origin.c - frozen weights against the run that they come from: a checkpoint says by which
 * parameters its model was trained, and on which frozen weights of others.
 *
 * Weights fit by name and shape alone.  An autoencoder that is read with another k, at another
 * depth or on another model than it was trained with loads without a complaint and says nonsense.
 * Only what cannot be meant is refused: whole numbers (fractions, such as dropout, belong to
 * training), of a part that stays frozen (what is trained on may change), by names that the part
 * itself has; the entry's other names count only if both models have a frozen part beside this one,
 * which those names can be about. */
#include <math.h>
#include <string.h>

#include "graph/checkpoint.h"
#include "graph/io.h"
#include "graph/json.h"
#include "graph/manifest.h"

#define CONFIG_LIMIT ((size_t)1 << 20)

typedef struct {
    const weft_graph *g;
    const weft_frozen *own, *f; /* all entries; the one that is looked at */
    int n;
    bool related; /* both models have another frozen part: f was trained on it, and reads it here */
} origin;

/* ---- the weights that it was trained on ---- */
static weft_status check_hash(origin *o, const weft_frozen *was, const weft_frozen *now)
{
    if (!was->hash || !now->hash || was->hash == now->hash)
        return WEFT_OK;
    return weft_fail(o->g->ctx, WEFT_MISMATCH,
                     "%s: was trained on other weights '%s*': those of %s had the hash %016llx, "
                     "those of %s have %016llx",
                     o->f->from, was->scope, was->file, (unsigned long long)was->hash, now->file,
                     (unsigned long long)now->hash);
}

static weft_status check_frozen(origin *o, const weft_progress *p)
{
    for (int i = 0; i < p->n_frozen; i++)
        for (int k = 0; k < o->n; k++) {
            const weft_frozen *was = &p->frozen[i], *now = &o->own[k];
            if (now == o->f || strcmp(was->scope, now->scope) || !strcmp(was->scope, o->f->scope))
                continue;
            o->related = true;
            WEFT_TRY(check_hash(o, was, now));
        }
    return WEFT_OK;
}

/* ---- the parameters that it was trained with ---- */
/* Is this one call, named as the scope? */
static bool is_owner(const weft_call_record *r, const char *scope)
{
    size_t n = strlen(r->scope);
    return n && !strncmp(r->scope, scope, n) && !strcmp(scope + n, ".");
}

/* Does the part, or else the entry module, have the parameter with another value? A part may be
 * several calls: one that agrees is enough. */
static bool differs(const origin *o, const char *name, double was, double *now)
{
    double v;
    bool found = false;
    for (int i = 0; i < o->g->n_call; i++) {
        if (!is_owner(&o->g->call[i], o->f->scope) ||
            !weft_call_parameter(&o->g->call[i], name, &v))
            continue;
        if (v == was)
            return false;
        *now = v;
        found = true;
    }
    if (found || !o->related)
        return found;
    return weft_graph_parameter(o->g, name, now) && *now != was;
}

static bool is_size_of_batch(const char *name) { return !strcmp(name, "B") || !strcmp(name, "T"); }

static weft_status check_parameter(const origin *o, const weft_json *p)
{
    double was = p->kind == WEFT_JSON_INT ? (double)p->i : NAN, now;
    char a[40], b[40];
    if (isnan(was) || is_size_of_batch(p->key) || !differs(o, p->key, was, &now) ||
        now != floor(now))
        return WEFT_OK;
    return weft_fail(o->g->ctx, WEFT_MISMATCH,
                     "%s: was trained with %s=%s, but this model reads '%s*' with %s=%s",
                     o->f->from, p->key, weft_number_print(a, sizeof a, was), o->f->scope, p->key,
                     weft_number_print(b, sizeof b, now));
}

static weft_status check_config(const origin *o, weft_arena *a)
{
    char *text, *path = weft_arena_printf(a, "%s/config.json", o->f->from);
    size_t n;
    weft_json *root;
    int kind;
    if (!path)
        return weft_error_status(weft_arena_ctx(a));
    WEFT_TRY(weft_look(weft_arena_ctx(a), path, &kind));
    if (kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_read_file(a, path, CONFIG_LIMIT, &text, &n));
    WEFT_TRY(weft_json_parse_file(a, path, text, n, &root));
    const weft_json *list = weft_json_get(root, "parameters");
    if (!weft_json_is(list, WEFT_JSON_OBJECT))
        return WEFT_OK;
    for (const weft_json *p = list->child; p; p = p->next)
        WEFT_TRY(check_parameter(o, p));
    return WEFT_OK;
}

weft_status weft_origin_check(weft_arena *a, const weft_graph *g, const weft_frozen *own, int n,
                              int which)
{
    weft_manifest m;
    origin o = {.g = g, .own = own, .f = &own[which], .n = n};
    if (!o.f->from || !o.f->hash || !*o.f->scope)
        return WEFT_OK;
    char *path = weft_arena_printf(a, "%s/manifest.json", o.f->from);
    int kind;
    if (!path)
        return weft_error_status(g->ctx);
    WEFT_TRY(weft_look(g->ctx, path, &kind));
    if (kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_manifest_read(a, o.f->from, &m));
    weft_status s = check_frozen(&o, &m.progress);
    if (!s)
        s = check_config(&o, a);
    return s == WEFT_MISMATCH ? weft_note(g->ctx,
                                          "if that is meant, load %s/model.safetensors: a file "
                                          "is taken as it is",
                                          o.f->from)
                              : s;
}
