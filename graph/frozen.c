/* frozen.c - weights that a recipe loads and training does not change: checkpoints name them by
 * file and hash instead of holding them.
 *
 * A student is trained against a teacher a hundred times its checkpoint's size; the teacher is on
 * disk already.  The hash is of what arrived in memory, so another file with the same weights is as
 * good, and a folder whose newest checkpoint has changed is not. */
#include <string.h>

#include "graph/checkpoint.h"
#include "graph/hash.h"
#include "graph/init.h"
#include "graph/io.h"
#include "graph/recipe.h"

static bool in_scope(const weft_state *st, const char *scope)
{
    return !strncmp(st->name, scope, strlen(scope));
}

/* Does a compiled program read a state of this scope? */
static bool is_used(const weft_session *s, const char *scope)
{
    size_t n = strlen(scope);
    for (int p = 0; p < s->n_program; p++) {
        const weft_graph *g = s->program[p]->graph;
        for (weft_val v = 0; v < g->n_value; v++)
            if (g->value[v].kind == WEFT_VALUE_STATE && !g->value[v].trainable &&
                !strncmp(g->value[v].name, scope, n))
                return true;
    }
    return false;
}

/* States of counters are nobody's weights, frozen or not; what the model updates by itself stands
 * in checkpoints, wherever it began. */
static bool is_frozen(const weft_state *st)
{
    return !st->trainable && !st->moves && weft_state_is_weight(st);
}

/* At the start an entry may stay on disk only if nothing of it is trained and nobody reads it: the
 * extractor of a run that has its labels from a file. */
static bool is_wanted(const weft_session *s, const weft_recipe *r, const char *scope)
{
    if (is_used(s, scope) || r->msg->n_start)
        return true;
    for (int i = 0; i < s->n_state; i++)
        if (in_scope(&s->state[i], scope) && s->state[i].trainable)
            return true;
    return false;
}

/* What the entry was to load and has: sums, since sessions order their states differently. */
static uint64_t hash_states(const weft_session *s, const char *scope)
{
    uint64_t sum = 0;
    for (int i = 0; i < s->n_state; i++) {
        const weft_state *st = &s->state[i];
        if (!st->external || !st->ready || !in_scope(st, scope))
            continue;
        uint64_t name = weft_xxh64_of(st->name, strlen(st->name), 0);
        sum += weft_xxh64_of(st->data, weft_type_bytes(&st->type), name);
    }
    return sum;
}

/* Marks the frozen states that this entry is the first to have. */
static int mark(weft_session *s, const char *scope)
{
    int n = 0;
    for (int i = 0; i < s->n_state; i++) {
        weft_state *st = &s->state[i];
        if (in_scope(st, scope) && is_frozen(st) && !st->external) {
            st->external = true;
            n++;
        }
    }
    return n;
}

static weft_status note_entry(const weft_recipe *r, size_t entry, const weft_frozen *f)
{
    if (weft_recipe_note_load(r, entry) == WEFT_MISSING)
        return WEFT_MISSING;
    return weft_note(r->ctx, "in %s: load { file: \"%s\" scope: \"%s\" }", r->path, f->file,
                     f->scope);
}

static weft_status load_entry(weft_session *s, weft_arena *a, const char *path, weft_frozen *f)
{
    WEFT_TRY(weft_weights_find(a, path, &f->from));
    return weft_weights_load(s, f->from, f->scope);
}

weft_status weft_frozen_load(weft_session *s, weft_arena *a, const weft_recipe *r,
                             const weft_graph *g, bool used_only, weft_frozen **out)
{
    const Weft__Recipe *m = r->msg;
    *out = weft_arena_array(a, m->n_load + 1, sizeof **out);
    if (!*out)
        return s->ctx->status;
    for (int i = 0; i < s->n_state; i++) /* of an earlier call: they are marked and loaded anew */
        s->state[i].external = false;
    for (size_t i = 0; i < m->n_load; i++) {
        weft_frozen *f = &(*out)[i];
        *f = (weft_frozen){.scope = m->load[i]->scope ? m->load[i]->scope : "",
                           .file = m->load[i]->file};
        if ((used_only ? is_used(s, f->scope) : is_wanted(s, r, f->scope)) &&
            load_entry(s, a, r->load_file[i], f))
            return note_entry(r, i, f);
        /* a reference session holds other bytes: nothing can be compared */
        bool some = mark(s, f->scope) && !s->reference;
        f->hash = some && !s->bare ? hash_states(s, f->scope) : 0;
        f->looked = some && s->bare;
    }
    for (size_t i = 0; i < m->n_load; i++)
        if (weft_origin_check(a, g, *out, (int)m->n_load, (int)i))
            return note_entry(r, i, &(*out)[i]);
    return WEFT_OK;
}

weft_status weft_frozen_check(weft_ctx *c, const char *path, const weft_progress *p,
                              const weft_frozen *own, int n)
{
    if (n != p->n_frozen)
        return weft_fail(c, WEFT_MISMATCH,
                         "%s: was trained with %d files of loaded weights, the recipe has %d", path,
                         p->n_frozen, n);
    for (int i = 0; i < n; i++) {
        const weft_frozen *was = &p->frozen[i];
        if (!own[i].hash || !was->hash ||
            (own[i].hash == was->hash && !strcmp(own[i].scope, was->scope)))
            continue;
        return weft_fail(c, WEFT_MISMATCH,
                         "%s: was trained with other weights '%s*': those of %s had the hash "
                         "%016llx, those of %s have %016llx; give it the file that it was trained "
                         "with",
                         path, was->scope, was->file, (unsigned long long)was->hash, own[i].file,
                         (unsigned long long)own[i].hash);
    }
    return WEFT_OK;
}

/* ---- what nothing loads ---- */
static bool is_random(const weft_state *st)
{
    weft_init init;
    return weft_init_parse(st->init, &init) && init.kind != WEFT_INIT_CONSTANT;
}

static bool is_started(const weft_recipe *r, const char *name)
{
    for (size_t i = 0; r && i < r->msg->n_start; i++)
        if (!strcmp(r->msg->start[i]->weight, name))
            return true;
    return false;
}

/* The frozen states that some program reads and nothing has set. */
static bool *find_unset(const weft_session *s, weft_arena *a, const weft_recipe *r)
{
    bool *unset = weft_arena_array(a, (size_t)s->n_state + 1, sizeof *unset);
    for (int p = 0; unset && p < s->n_program; p++) {
        const weft_graph *g = s->program[p]->graph;
        for (weft_val v = 0; v < g->n_value; v++) {
            int i = g->value[v].kind == WEFT_VALUE_STATE
                        ? weft_map_get(s->names, g->value[v].name, -1)
                        : -1;
            if (i < 0 || s->state[i].ready || s->state[i].external || !is_frozen(&s->state[i]))
                continue;
            unset[i] = !is_started(r, s->state[i].name);
        }
    }
    return unset;
}

static void warn(weft_ctx *c, const char *scope, int n)
{
    bool dot = strchr(scope, '.');
    weft_log(c,
             "warning: frozen weights '%s%s' (%d tensor%s) were loaded from nothing: they are "
             "random; add load { file: \"...\"%s%s%s }",
             scope, dot ? "*" : "", n, n == 1 ? "" : "s", dot ? " scope: \"" : "", dot ? scope : "",
             dot ? "\"" : "");
}

weft_status weft_frozen_warn(const weft_session *s, weft_arena *a, const weft_recipe *r)
{
    bool *unset = find_unset(s, a, r);
    for (int i = 0; unset && i < s->n_state; i++) {
        const char *name = s->state[i].name, *dot = strchr(name, '.');
        const char *scope =
            weft_arena_strndup(a, name, dot ? (size_t)(dot - name) + 1 : strlen(name));
        int n = 0;
        bool random = false;
        for (int k = i; scope && k < s->n_state; k++) {
            if (!unset[k] || !(dot ? in_scope(&s->state[k], scope) : k == i))
                continue;
            random = random || is_random(&s->state[k]);
            unset[k] = false;
            n++;
        }
        if (random) /* ones and zeros may be what was meant */
            warn(s->ctx, scope, n);
    }
    return weft_error_status(s->ctx);
}
