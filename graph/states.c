/* states.c - putting the tensors of safetensors files into the states of a session: names matched,
 * shapes compared, everything that does not fit reported together, and only then data read. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/checkpoint.h"
#include "graph/convert.h"
#include "graph/names.h"

bool weft_state_is_weight(const weft_state *st)
{
    return st->role == WEFT_ROLE_MODEL && weft_dtype_is_float(st->type.dtype);
}

bool weft_state_is_counter(const weft_state *st)
{
    return st->role == WEFT_ROLE_MODEL && !weft_dtype_is_float(st->type.dtype);
}

/* What goes where. */
typedef struct {
    weft_tensor_file *file;
    const weft_tensor_entry *entry;
} source;

typedef struct {
    weft_session *s;
    weft_ctx *ctx;
    weft_arena *arena;
    const char *from, *scope;
    bool weight, lenient;
    weft_tensor_file *old; /* where older versions kept some of these, or NULL */
    source *source;        /* per state */
    weft_tensor_file *const *file;
    int n_file;
    weft_name_list missing, extra, misshapen;
    weft_names *map; /* what other programs call their weights: the shipped name maps */
    int n_map;
} fit;

static weft_status load_maps(fit *f)
{
    int n = 0;
    while (weft_names_shipped[n].name)
        n++;
    f->map = weft_arena_array(f->arena, (size_t)n, sizeof *f->map);
    for (; f->map && f->n_map < n; f->n_map++)
        WEFT_TRY(weft_names_load(f->arena, weft_names_shipped[f->n_map].name, &f->map[f->n_map]));
    return f->ctx->status;
}

/* ---- names ---- */
static int find_with(fit *f, const char *prefix, const char *name)
{
    char *full = weft_arena_printf(f->arena, "%s%s%s", f->scope, prefix, name);
    return full ? weft_map_get(f->s->names, full, -1) : -1;
}

/* Index of the state that a name of the file means, or -1: a prefix of some map may be there or
 * not. */
static int find_state(fit *f, const char *name)
{
    int i = find_with(f, "", name);
    for (int m = 0; i < 0 && m < f->n_map; m++)
        for (size_t k = 0; i < 0 && k < f->map[m].msg->n_prefix; k++) {
            const char *prefix = f->map[m].msg->prefix[k];
            size_t n = strlen(prefix);
            i = strncmp(name, prefix, n) ? find_with(f, prefix, name) : find_with(f, "", name + n);
        }
    return i;
}

/* Does some map ignore this tensor, with a prefix or without? */
static bool is_ignored(const fit *f, const char *name)
{
    const char *star;
    size_t len;
    for (int m = 0; m < f->n_map; m++) {
        const Weft__Names *msg = f->map[m].msg;
        for (size_t r = 0; r < msg->n_rule; r++) {
            if (!msg->rule[r]->ignore)
                continue;
            if (weft_names_fit(msg->rule[r]->from, name, &star, &len))
                return true;
            for (size_t k = 0; k < msg->n_prefix; k++)
                if (!strncmp(name, msg->prefix[k], strlen(msg->prefix[k])) &&
                    weft_names_fit(msg->rule[r]->from, name + strlen(msg->prefix[k]), &star, &len))
                    return true;
        }
    }
    return false;
}

static bool selected(const fit *f, const weft_state *st)
{
    return !st->external && st->role != WEFT_ROLE_SUM && weft_state_is_weight(st) == f->weight &&
           !strncmp(st->name, f->scope, strlen(f->scope));
}

static bool same_shape(const weft_type *t, const weft_tensor_entry *e)
{
    return t->rank == e->rank && !memcmp(t->dim, e->dim, (size_t)e->rank * sizeof *e->dim);
}

static void add_misshapen(fit *f, const weft_state *st, const weft_tensor_entry *e)
{
    char text[320];
    weft_type found = weft_type_make(st->type.dtype, e->rank, e->dim);
    const int64_t *d = found.dim;
    size_t k = (size_t)snprintf(text, sizeof text, " [");
    for (int i = 0; i < e->rank; i++)
        k += (size_t)snprintf(text + k, sizeof text - k, i ? ",%" PRId64 : "%" PRId64, d[i]);
    k += (size_t)snprintf(text + k, sizeof text - k, "] where the graph has [");
    d = st->type.dim;
    for (int i = 0; i < st->type.rank; i++)
        k += (size_t)snprintf(text + k, sizeof text - k, i ? ",%" PRId64 : "%" PRId64, d[i]);
    snprintf(text + k, sizeof text - k, "]");
    weft_name_list_add(&f->misshapen, st->name, text);
}

/* ---- a head that repeats the embedding ---- */
/* The tensor of this name in any of the files, with a prefix of the map or without. */
static source find_tensor(fit *f, const Weft__Names *msg, const char *name)
{
    source found = {NULL, NULL};
    for (size_t k = 0; !found.entry && k <= msg->n_prefix; k++) {
        const char *full = k ? weft_arena_printf(f->arena, "%s%s", msg->prefix[k - 1], name) : name;
        for (int i = 0; full && !found.entry && i < f->n_file; i++)
            found = (source){f->file[i], weft_tensor_file_find(f->file[i], full)};
    }
    return found;
}

/* Is the tensor called `name`, with a prefix of the map or without? */
static bool is_called(const Weft__Names *msg, const weft_tensor_entry *e, const char *name)
{
    bool yes = !strcmp(e->name, name);
    for (size_t k = 0; !yes && k < msg->n_prefix; k++) {
        size_t n = strlen(msg->prefix[k]);
        yes = !strncmp(e->name, msg->prefix[k], n) && !strcmp(e->name + n, name);
    }
    return yes;
}

/* The other name of the weight that `e` has a name of, by rule r of two names for one; or NULL. */
static const char *other_name(const Weft__Names *msg, const Weft__Rule *r,
                              const weft_tensor_entry *e)
{
    if (!r->tie)
        return NULL;
    return is_called(msg, e, r->from) ? r->tie : is_called(msg, e, r->tie) ? r->from : NULL;
}

static weft_status compare_twins(fit *f, weft_tensor_file *file, const weft_tensor_entry *e,
                                 const source *twin, bool *same)
{
    *same = f->ctx->look_only;
    if (!*same)
        WEFT_TRY(weft_tensor_same(file, e, twin->file, twin->entry, same));
    return *same ? WEFT_OK
                 : weft_fail(f->ctx, WEFT_MISMATCH,
                             "%s: %s differs from %s, but the graph has one weight for both: save "
                             "it with tied embeddings, or read it into a model file whose head has "
                             "a weight of its own",
                             f->from, e->name, twin->entry->name);
}

/* What a tensor without a state of its name is to a graph that uses the weight twice: a second copy
 * of a tensor, which is skipped if it is a copy; or the only one, which stands for the weight. */
static weft_status find_tied(fit *f, weft_tensor_file *file, const weft_tensor_entry *e, bool *skip,
                             int *state)
{
    *skip = false;
    *state = -1;
    for (int m = 0; m < f->n_map; m++)
        for (size_t r = 0; r < f->map[m].msg->n_rule; r++) {
            const Weft__Names *msg = f->map[m].msg;
            const char *other = other_name(msg, msg->rule[r], e);
            const source twin = other ? find_tensor(f, msg, other) : (source){NULL, NULL};
            if (twin.entry) {
                *state = -1;
                return compare_twins(f, file, e, &twin, skip);
            }
            if (other && *state < 0)
                *state = find_state(f, other);
        }
    return f->ctx->status;
}

/* ---- matching ---- */
/* A sum over micro-batches, of a weight or of the loss: every step begins it anew. */
static bool is_sum(const fit *f, const weft_state *st, const char *name)
{
    if (st)
        return st->role == WEFT_ROLE_SUM;
    return !strcmp(name, "acc.loss") ||
           (!strncmp(name, "acc.", 4) && weft_map_get(f->s->names, name + 4, -1) >= 0);
}

static weft_status match_entry(fit *f, weft_tensor_file *file, const weft_tensor_entry *e)
{
    int i = find_state(f, e->name);
    bool skip = false;
    if (i < 0 && f->lenient) {
        skip = is_ignored(f, e->name);
        if (!skip)
            WEFT_TRY(find_tied(f, file, e, &skip, &i));
    }
    weft_state *st = i < 0 ? NULL : &f->s->state[i];
    if (!f->weight && st && !st->trainable && weft_state_is_weight(st))
        skip = true; /* a frozen weight that an older version took for a made state, by its name */
    if (!f->weight && is_sum(f, st, e->name))
        skip = true; /* which older versions kept */
    if (skip)
        return WEFT_OK;
    if (!st || !selected(f, st)) {
        weft_name_list_add(&f->extra, e->name, "");
    } else if (f->source[i].entry) {
        return weft_fail(f->ctx, WEFT_MISMATCH, "%s: '%s' and '%s' are both for weight '%s'",
                         f->from, f->source[i].entry->name, e->name, st->name);
    } else {
        f->source[i] = (source){file, e};
        if (!same_shape(&st->type, e))
            add_misshapen(f, st, e);
    }
    return f->ctx->status;
}

/* Which states some program of the session reads; NULL: take all of them as read. A file for a
 * whole model may lack what nothing that runs reads; a file for one part of it (`scope`) is that
 * part, whole. */
static weft_status find_read(const fit *f, bool **out)
{
    *out = NULL;
    if (!f->lenient || *f->scope || !f->s->n_program)
        return WEFT_OK;
    bool *read = weft_arena_array(f->arena, (size_t)f->s->n_state + 1, sizeof *read);
    for (int p = 0; read && p < f->s->n_program; p++) {
        const weft_graph *g = f->s->program[p]->graph;
        for (weft_val v = 0; v < g->n_value; v++) {
            int i = g->value[v].kind == WEFT_VALUE_STATE
                        ? weft_map_get(f->s->names, g->value[v].name, -1)
                        : -1;
            if (i >= 0)
                read[i] = true;
        }
    }
    *out = read;
    return f->ctx->status;
}

static weft_status find_missing(fit *f)
{
    bool *read;
    WEFT_TRY(find_read(f, &read));
    for (int i = 0; i < f->s->n_state; i++) {
        const weft_state *st = &f->s->state[i];
        const weft_tensor_entry *e = f->old && selected(f, st) && !f->source[i].entry
                                         ? weft_tensor_file_find(f->old, st->name)
                                         : NULL;
        if (e && same_shape(&st->type, e))
            f->source[i] = (source){f->old, e};
        if (selected(f, st) && !f->source[i].entry && !(f->lenient && st->ready) &&
            (!read || read[i]))
            weft_name_list_add(&f->missing, st->name, "");
    }
    return WEFT_OK;
}

static weft_status report(fit *f)
{
    if (f->missing.text.failed || f->extra.text.failed || f->misshapen.text.failed)
        return f->ctx->status;
    if (!f->missing.n && !f->extra.n && !f->misshapen.n)
        return WEFT_OK;
    weft_fail(f->ctx, WEFT_MISMATCH, "%s does not fit the graph", f->from);
    weft_name_list_note(f->ctx, "missing", &f->missing);
    weft_name_list_note(f->ctx, "not in the graph", &f->extra);
    weft_name_list_note(f->ctx, "of another shape", &f->misshapen);
    return f->ctx->status;
}

static weft_status match_all(fit *f, weft_tensor_file *const *file, int n)
{
    f->source = weft_arena_array(f->arena, (size_t)f->s->n_state, sizeof *f->source);
    if (!f->source)
        return f->ctx->status;
    if (f->lenient)
        WEFT_TRY(load_maps(f));
    for (int k = 0; k < n; k++)
        for (int i = 0; i < file[k]->n; i++)
            WEFT_TRY(match_entry(f, file[k], weft_tensor_file_at(file[k], i)));
    WEFT_TRY(find_missing(f));
    return report(f);
}

static weft_status read_all(fit *f)
{
    for (int i = 0; i < f->s->n_state; i++) {
        weft_state *st = &f->s->state[i];
        if (!f->source[i].entry)
            continue;
        st->ready = f->s->bare; /* what would be read is known to be there */
        if (st->ready)
            continue;
        WEFT_TRY(weft_tensor_file_read(f->source[i].file, f->source[i].entry, st->type.dtype,
                                       f->weight, st->data));
        st->ready = true;
    }
    return WEFT_OK;
}

weft_status weft_states_load(weft_session *s, weft_tensor_file *const *file, int n,
                             weft_tensor_file *old, const char *from, const char *scope,
                             bool weight, bool lenient)
{
    weft_ctx *c = s->ctx;
    char shown[512];
    fit f = {.s = s,
             .ctx = c,
             .from = weft_printable(shown, sizeof shown, from),
             .scope = scope ? scope : "",
             .weight = weight,
             .old = old,
             .lenient = lenient,
             .file = file,
             .n_file = n};
    f.arena = weft_arena_new(c, 0);
    if (!f.arena)
        return c->status;
    weft_string_init(&f.missing.text, c);
    weft_string_init(&f.extra.text, c);
    weft_string_init(&f.misshapen.text, c);
    weft_status st = match_all(&f, file, n);
    if (!st)
        st = read_all(&f);
    weft_string_free(&f.missing.text);
    weft_string_free(&f.extra.text);
    weft_string_free(&f.misshapen.text);
    weft_arena_free(f.arena);
    return st;
}
