/* origin.c - loaded weights against what they come from: a checkpoint says by which parameters its
 * model was trained, and on which frozen weights of others; a folder of another program and an
 * import say what model they are.
 *
 * Weights fit by name and shape alone.  An autoencoder that is read with another k, at another
 * depth or on another model than it was trained with loads without a complaint and says nonsense.
 * Only what cannot be meant is refused: whole numbers (fractions, such as dropout, belong to
 * training), of a whole model or of a part that stays frozen (a part that is trained on may
 * change), by names that the part itself has; the entry's other names count only if both models
 * have a frozen part beside this one, which those names can be about. */
#include <math.h>
#include <string.h>

#include "graph/checkpoint.h"
#include "graph/io.h"
#include "graph/manifest.h"
#include "graph/told.h"

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
    if (found || (!o->related && *o->f->scope))
        return found;
    return weft_graph_parameter(o->g, name, now) && *now != was;
}

static bool is_size_of_batch(const char *name) { return !strcmp(name, "B") || !strcmp(name, "T"); }

static weft_status check_parameter(const origin *o, const weft_told *t, const weft_param *p)
{
    char a[40], b[40];
    double now;
    if (p->value != floor(p->value) || is_size_of_batch(p->name) ||
        !differs(o, p->name, p->value, &now) || now != floor(now))
        return WEFT_OK;
    weft_number_print(a, sizeof a, p->value);
    weft_number_print(b, sizeof b, now);
    weft_fail(o->g->ctx, WEFT_MISMATCH,
              "%s: was %s with %s=%s, but this model reads '%s*' with %s=%s", o->f->from,
              t->own ? "trained" : "made", p->name, a, o->f->scope, p->name, b);
    return t->own ? WEFT_MISMATCH : weft_note(o->g->ctx, "%s is told by %s", p->name, p->origin);
}

/* What another program says, or an import, is of the map's model: there is no file to be taken as
 * it is. */
static weft_status check_told(const origin *o, weft_arena *a, bool *own)
{
    weft_told told;
    WEFT_TRY(weft_told_read(a, o->f->from, WEFT_TOLD_ALONE, &told));
    *own = told.own;
    for (int i = 0; i < told.params.n; i++)
        WEFT_TRY(check_parameter(o, &told, &told.params.p[i]));
    return WEFT_OK;
}

/* A checkpoint names the weights that it was trained on. */
static weft_status check_checkpoint(origin *o, weft_arena *a)
{
    weft_manifest m;
    char *path = weft_arena_printf(a, "%s/manifest.json", o->f->from);
    int kind = 0;
    WEFT_TRY(path ? weft_look(o->g->ctx, path, &kind) : WEFT_NOMEM);
    if (kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_manifest_read(a, o->f->from, &m));
    return check_frozen(o, &m.progress);
}

weft_status weft_origin_check(weft_arena *a, const weft_graph *g, const weft_frozen *own, int n,
                              int which)
{
    origin o = {.g = g, .own = own, .f = &own[which], .n = n};
    bool ours = true;
    if (!o.f->from || (!o.f->hash && !o.f->looked && *o.f->scope))
        return WEFT_OK;
    weft_status s = *o.f->scope ? check_checkpoint(&o, a) : WEFT_OK;
    if (!s)
        s = check_told(&o, a, &ours);
    return s == WEFT_MISMATCH && ours
               ? weft_note(g->ctx,
                           "if that is meant, load %s/model.safetensors: a file "
                           "is taken as it is",
                           o.f->from)
               : s;
}
