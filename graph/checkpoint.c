/* checkpoint.c - saving and loading checkpoints. A name "step-N" without ".tmp" is always a whole
 * checkpoint, or one that was damaged after it was saved; the manifest tells. */
#include "graph/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/hash.h"
#include "graph/manifest.h"

#define TEXT_LIMIT ((size_t)1 << 26)

int64_t weft_checkpoint_step(const char *name)
{
    int64_t step;
    return !strncmp(name, "step-", 5) && name[5] != '-' && weft_parse_i64(name + 5, &step) ? step
                                                                                           : -1;
}

/* ---- finding ---- */
typedef struct {
    const char *name;
    int64_t step;
} found;

static int newest_first(const void *pa, const void *pb)
{
    const found *a = pa, *b = pb;
    return a->step > b->step ? -1 : a->step < b->step;
}

/* The checkpoints of a folder by step, whatever their state. Order is by step, never by time:
 * clocks jump. */
static weft_status list_steps(weft_arena *a, const char *folder, found **out, int *n)
{
    const char **names;
    int count;
    WEFT_TRY(weft_list_dir(a, folder, &names, &count));
    found *list = weft_arena_array(a, (size_t)count, sizeof *list);
    if (!list)
        return weft_arena_ctx(a)->status;
    *n = 0;
    for (int i = 0; i < count; i++)
        if (weft_checkpoint_step(names[i]) >= 0)
            list[(*n)++] = (found){names[i], weft_checkpoint_step(names[i])};
    if (*n)
        qsort(list, (size_t)*n, sizeof *list, newest_first);
    *out = list;
    return WEFT_OK;
}

static bool is_damaged(const weft_run_dir *d, int64_t step)
{
    for (int i = 0; d && i < d->n_damaged; i++)
        if (d->damaged[i] == step)
            return true;
    return false;
}

static weft_status remember_damaged(weft_run_dir *d, int64_t step)
{
    if (!d || is_damaged(d, step))
        return WEFT_OK;
    if (!WEFT_GROW(d->arena, d->damaged, d->n_damaged, d->cap_damaged))
        return d->ctx->status;
    d->damaged[d->n_damaged++] = step;
    return WEFT_OK;
}

static void forget_damaged(weft_run_dir *d, int64_t step)
{
    for (int i = 0; i < d->n_damaged; i++)
        if (d->damaged[i] == step)
            d->damaged[i] = -1;
}

/* Manifest, sizes, and if `contents` hashes. Any failure but of memory or format says that it
 * cannot be used. */
static weft_status check_folder(weft_arena *a, const char *path, bool contents, weft_manifest *m)
{
    weft_ctx *c = weft_arena_ctx(a);
    WEFT_TRY(weft_manifest_read(a, path, m));
    return weft_manifest_check(c, path, m, contents && !c->look_only);
}

/* Damage stays, so the newest whole one counts. What cannot be read now may be whole at the next
 * try, and an older one would be another result. */
static bool skippable(weft_status s)
{
    return s != WEFT_NOMEM && s != WEFT_UNSUPPORTED && s != WEFT_IO;
}

static bool has_file(const weft_manifest *m, const char *name)
{
    for (int i = 0; i < m->n_file; i++)
        if (!strcmp(m->file[i].name, name))
            return true;
    return false;
}

/* The manifest's memory may go before the progress does. */
static weft_status copy_frozen(weft_arena *a, weft_progress *p)
{
    if (!p->n_frozen)
        return WEFT_OK;
    weft_frozen *copy = weft_arena_array(a, (size_t)p->n_frozen, sizeof *copy);
    for (int i = 0; copy && i < p->n_frozen; i++) {
        copy[i] = p->frozen[i];
        copy[i].scope = weft_arena_strdup(a, p->frozen[i].scope);
        copy[i].file = weft_arena_strdup(a, p->frozen[i].file);
    }
    p->frozen = copy;
    return weft_error_status(weft_arena_ctx(a));
}

/* A file of the checkpoint, in memory of a; NULL if it has none. */
static weft_status read_text(weft_arena *a, const char *path, const weft_manifest *m,
                             const char *name, const char **out)
{
    char *text, *file = weft_arena_printf(a, "%s/%s", path, name);
    size_t n;
    *out = NULL;
    if (!file || !has_file(m, name))
        return weft_error_status(weft_arena_ctx(a));
    WEFT_TRY(weft_read_file(a, file, TEXT_LIMIT, &text, &n));
    *out = text;
    return WEFT_OK;
}

/* p with its texts, in memory of a. */
static weft_status fill_progress(weft_arena *a, const char *path, const weft_manifest *m,
                                 weft_progress *p)
{
    if (!p)
        return WEFT_OK;
    *p = m->progress;
    WEFT_TRY(copy_frozen(a, p));
    WEFT_TRY(read_text(a, path, m, "config.json", &p->config));
    return read_text(a, path, m, WEFT_RUN_RECIPE, &p->recipe);
}

static weft_status try_one(weft_arena *a, const char *path, weft_progress *p)
{
    weft_manifest m;
    WEFT_TRY(check_folder(a, path, true, &m));
    return fill_progress(a, path, &m, p);
}

/* The newest good one of a step below `below`. */
static weft_status scan(weft_arena *a, const char *folder, weft_run_dir *d, int64_t below,
                        const char **path, weft_progress *p)
{
    weft_ctx *c = weft_arena_ctx(a);
    found *list;
    int n;
    char shown[512];
    int kind = 2;
    if (c->look_only) /* training would make it */
        WEFT_TRY(weft_look(c, folder, &kind));
    if (!kind)
        return weft_fail(c, WEFT_MISSING, "%s: there is no checkpoint",
                         weft_printable(shown, sizeof shown, folder));
    WEFT_TRY(list_steps(a, folder, &list, &n));
    while (n && list->step >= below)
        list++, n--;
    for (int i = 0; i < n; i++) {
        char why[1024];
        *path = weft_arena_printf(a, "%s/%s", folder, list[i].name);
        if (!*path)
            return c->status;
        weft_status s = try_one(a, *path, p);
        if (s == WEFT_IO)
            return weft_note(c, "try again; if it stays like this, move the checkpoint away: %s",
                             i + 1 < n ? "the one before it is taken then" : "it is the only one");
        if (!s || !skippable(s))
            return s;
        weft_log(c, "skipping a checkpoint: %s", weft_error_flat(c, why, sizeof why));
        weft_error_clear(c);
        WEFT_TRY(remember_damaged(d, list[i].step));
    }
    weft_printable(shown, sizeof shown, folder);
    return n ? weft_fail(c, WEFT_CORRUPT, "%s: none of its %d checkpoints is usable", shown, n)
             : weft_fail(c, WEFT_MISSING, "%s: there is no checkpoint", shown);
}

weft_status weft_checkpoint_scan(weft_arena *a, const char *folder, weft_run_dir *d,
                                 const char **path, weft_progress *p)
{
    return scan(a, folder, d, INT64_MAX, path, p);
}

weft_status weft_checkpoint_before(weft_run_dir *d, int64_t step, const char **path,
                                   weft_progress *p)
{
    *path = NULL;
    weft_status s = scan(d->arena, d->checkpoints, d, step, path, p);
    if (s)
        *path = NULL;
    return s;
}

weft_status weft_checkpoint_latest(weft_run_dir *d, const char **path, weft_progress *p)
{
    return weft_checkpoint_before(d, INT64_MAX, path, p);
}

/* ---- saving ---- */
typedef struct {
    weft_run_dir *d;
    weft_ctx *ctx;
    weft_arena *arena;
    weft_session *s;
    const weft_progress *p;
    const char *home, *temp, *old; /* step-N, step-N.tmp, step-N.old.tmp */
    weft_manifest m;
} save;

static weft_manifest_file *next_file(save *v, const char *name, char **path)
{
    weft_manifest_file *f = &v->m.file[v->m.n_file++];
    f->name = name;
    *path = weft_arena_printf(v->arena, "%s/%s", v->temp, name);
    return f;
}

static weft_status write_states(save *v, const char *name, bool weight)
{
    static const weft_meta meta = {"format", "pt"};
    weft_tensor_out *out = weft_arena_array(v->arena, (size_t)v->s->n_state, sizeof *out);
    int n = 0;
    for (int i = 0; out && i < v->s->n_state; i++) {
        const weft_state *st = &v->s->state[i];
        if (weft_state_is_weight(st) != weight || st->external || st->role == WEFT_ROLE_SUM)
            continue;
        out[n++] = (weft_tensor_out){st->name, st->type, st->data};
        v->m.tensor[v->m.n_tensor++] = (weft_manifest_tensor){
            st->name, weft_xxh64_of(st->data, weft_type_bytes(&st->type), 0)};
    }
    char *path;
    weft_manifest_file *f = next_file(v, name, &path);
    return out && path ? weft_tensor_file_write(v->ctx, path, out, n, &meta, 1, &f->hash, &f->bytes)
                       : v->ctx->status;
}

static weft_status write_text(save *v, const char *name, const char *text)
{
    if (!text)
        return WEFT_OK;
    char *path;
    size_t n = strlen(text);
    weft_manifest_file *f = next_file(v, name, &path);
    f->bytes = (int64_t)n;
    f->hash = weft_xxh64_of(text, n, 0);
    return path ? weft_write_file(v->ctx, path, text, n) : v->ctx->status;
}

static weft_status write_temp(save *v)
{
    WEFT_TRY(weft_remove_tree(v->ctx, v->temp));
    WEFT_TRY(weft_make_dir(v->ctx, v->temp));
    v->m.progress = *v->p;
    v->m.tensor = weft_arena_array(v->arena, (size_t)v->s->n_state, sizeof *v->m.tensor);
    if (!v->m.tensor)
        return v->ctx->status;
    WEFT_TRY(write_states(v, "model.safetensors", true));
    WEFT_TRY(write_states(v, "optimizer.safetensors", false));
    WEFT_TRY(write_text(v, "config.json", v->p->config));
    WEFT_TRY(write_text(v, WEFT_RUN_RECIPE, v->p->recipe));
    return weft_manifest_write(v->ctx, v->temp, &v->m);
}

static int rename_folder(weft_ctx *c, const char *from, const char *to)
{
    int r;
    do
        r = c->io->rename(c->io->user, from, to);
    while (r && errno == EINTR);
    return r;
}

/* The moment at which the checkpoint exists. One of the same step steps aside first, as a folder
 * cannot be renamed over another; between the two renames it is found again by weft_run_dir_open.
 */
static weft_status publish(save *v)
{
    weft_ctx *c = v->ctx;
    int replace;
    WEFT_TRY(weft_look(c, v->home, &replace));
    if (replace) {
        WEFT_TRY(weft_remove_tree(c, v->old));
        if (rename_folder(c, v->home, v->old))
            return weft_io_fail(c, WEFT_IO, "move aside", v->home);
    }
    if (rename_folder(c, v->temp, v->home)) {
        weft_io_fail(c, WEFT_IO, "rename a finished checkpoint to", v->home);
        if (replace)
            rename_folder(c, v->old, v->home);
        return c->status;
    }
    return weft_sync_dir(c, v->d->checkpoints);
}

/* What cannot be read back is withdrawn, and what it replaced is put back. */
static weft_status verify(save *v)
{
    weft_manifest m;
    if (!check_folder(v->arena, v->home, true, &m)) {
        forget_damaged(v->d, v->p->step);
        return WEFT_OK;
    }
    weft_note(v->ctx, "while reading back what was just written");
    if (!rename_folder(v->ctx, v->home, v->temp))
        rename_folder(v->ctx, v->old, v->home); /* if there is one */
    return v->ctx->status;
}

/* Moved to a name that nobody takes for a checkpoint, then removed. */
static weft_status discard(save *v, const char *name)
{
    char *path = weft_arena_printf(v->arena, "%s/%s", v->d->checkpoints, name);
    char *temp = weft_arena_printf(v->arena, "%s/%s.tmp", v->d->checkpoints, name);
    if (!path || !temp)
        return v->ctx->status;
    WEFT_TRY(weft_remove_tree(v->ctx, temp));
    if (rename_folder(v->ctx, path, temp))
        return weft_io_fail(v->ctx, WEFT_IO, "remove the old checkpoint", path);
    return weft_remove_tree(v->ctx, temp);
}

/* Keeps the newest `keep` whose manifest and sizes hold; those known to be damaged do not count.
 * Only what is older than all the kept ones goes. */
static weft_status prune(save *v, int keep)
{
    found *list;
    int n, good = 0;
    WEFT_TRY(list_steps(v->arena, v->d->checkpoints, &list, &n));
    for (int i = 0; i < n; i++) {
        if (good >= keep) {
            WEFT_TRY(discard(v, list[i].name));
            continue;
        }
        weft_manifest m;
        char *path = weft_arena_printf(v->arena, "%s/%s", v->d->checkpoints, list[i].name);
        if (!path)
            return v->ctx->status;
        weft_status s = check_folder(v->arena, path, false, &m);
        if (s == WEFT_NOMEM)
            return s;
        weft_error_clear(v->ctx);
        good += !s && !is_damaged(v->d, list[i].step);
    }
    return WEFT_OK;
}

/* The first failure stays the reported one; what cannot be removed now goes when the directory is
 * opened next. */
static weft_status give_up(save *v)
{
    weft_remove_tree(v->ctx, v->temp);
    return weft_note(
        v->ctx, "while saving the checkpoint of step %" PRId64 "; earlier ones are as they were",
        v->p->step);
}

static weft_status save_all(save *v, int keep)
{
    if (write_temp(v) || publish(v) || verify(v))
        return give_up(v);
    if (weft_remove_tree(v->ctx, v->old) || prune(v, keep < 2 ? 2 : keep))
        return weft_note(v->ctx, "after the checkpoint of step %" PRId64 " was saved", v->p->step);
    return WEFT_OK;
}

static weft_status check_ready(weft_session *s)
{
    for (int i = 0; i < s->n_state; i++)
        if (!s->state[i].ready && !s->state[i].external && s->state[i].role != WEFT_ROLE_SUM)
            return weft_fail(s->ctx, WEFT_INTERNAL, "state '%s' has no value to save",
                             s->state[i].name);
    return WEFT_OK;
}

weft_status weft_checkpoint_save(weft_run_dir *d, weft_session *s, const weft_progress *p, int keep)
{
    save v = {.d = d, .ctx = d->ctx, .s = s, .p = p};
    WEFT_TRY(check_ready(s));
    v.arena = weft_arena_new(d->ctx, 0);
    if (!v.arena)
        return d->ctx->status;
    v.home = weft_arena_printf(v.arena, "%s/step-%06" PRId64, d->checkpoints, p->step);
    v.temp = weft_arena_printf(v.arena, "%s/step-%06" PRId64 ".tmp", d->checkpoints, p->step);
    v.old = weft_arena_printf(v.arena, "%s/step-%06" PRId64 ".old.tmp", d->checkpoints, p->step);
    weft_status st = v.home && v.temp && v.old ? save_all(&v, keep) : d->ctx->status;
    weft_arena_free(v.arena);
    return st;
}

/* ---- loading ---- */
/* The file's hash held when it was opened; this looks at what arrived in memory, and names the
 * tensor. */
static weft_status check_tensors(weft_session *s, const char *path, const weft_manifest *m,
                                 bool weights_only)
{
    char shown[512], name[256];
    for (int i = 0; i < m->n_tensor && !s->bare; i++) {
        int k = weft_map_get(s->names, m->tensor[i].name, -1);
        const weft_state *st = k < 0 ? NULL : &s->state[k];
        if (!st || s->reference || st->role == WEFT_ROLE_SUM ||
            (weights_only && !weft_state_is_weight(st)))
            continue;
        if (weft_xxh64_of(st->data, weft_type_bytes(&st->type), 0) != m->tensor[i].hash)
            return weft_fail(s->ctx, WEFT_CORRUPT,
                             "%s: tensor '%s' is damaged: its hash is not the manifest's",
                             weft_printable(shown, sizeof shown, path),
                             weft_printable(name, sizeof name, st->name));
    }
    return WEFT_OK;
}

/* `old`: see weft_states_load. */
static weft_status load_file(weft_arena *a, weft_session *s, const char *folder, const char *name,
                             weft_tensor_file *old, bool weight)
{
    weft_tensor_file *f;
    char *path = weft_arena_printf(a, "%s/%s", folder, name);
    if (!path)
        return s->ctx->status;
    WEFT_TRY(weft_tensor_file_open(s->ctx, path, &f));
    weft_status st = weft_states_load(s, &f, 1, old, path, "", weight, false);
    weft_tensor_file_close(f);
    return st;
}

/* Frozen weights called "adam.*", "acc.*", "cache.*" or with a ':' in their name were once kept
 * among the optimizer's states. */
static weft_status load_weights(weft_arena *a, weft_session *s, const char *folder)
{
    weft_tensor_file *old = NULL;
    bool some = false;
    for (int i = 0; i < s->n_state; i++) {
        const weft_state *st = &s->state[i];
        some |= !st->trainable && !st->external && weft_state_is_weight(st);
    }
    char *path = weft_arena_printf(a, "%s/optimizer.safetensors", folder);
    if (!path)
        return s->ctx->status;
    if (some)
        WEFT_TRY(weft_tensor_file_open(s->ctx, path, &old));
    weft_status st = load_file(a, s, folder, "model.safetensors", old, true);
    if (old)
        weft_tensor_file_close(old);
    return st;
}

/* Counters of the model itself, which evaluations report: those of the optimizer's file that the
 * session has in the same sizes. */
static weft_status load_counters(weft_arena *a, weft_session *s, const char *folder)
{
    weft_tensor_file *f;
    char *path = weft_arena_printf(a, "%s/optimizer.safetensors", folder);
    if (!path)
        return s->ctx->status;
    WEFT_TRY(weft_tensor_file_open(s->ctx, path, &f));
    weft_status st = WEFT_OK;
    for (int i = 0; i < s->n_state && !st; i++) {
        weft_state *x = &s->state[i];
        const weft_tensor_entry *e =
            weft_state_is_counter(x) ? weft_tensor_file_find(f, x->name) : NULL;
        if (!e || e->rank != x->type.rank ||
            memcmp(e->dim, x->type.dim, sizeof *e->dim * (size_t)e->rank))
            continue;
        st = weft_tensor_file_read(f, e, x->type.dtype, false, x->data);
        x->ready = !st;
    }
    weft_tensor_file_close(f);
    return st;
}

static bool has_counters(const weft_session *s)
{
    for (int i = 0; i < s->n_state; i++)
        if (weft_state_is_counter(&s->state[i]))
            return true;
    return false;
}

static weft_status load_all(weft_arena *a, const char *path, weft_session *s, bool weights_only,
                            weft_progress *p)
{
    weft_ctx *c = weft_arena_ctx(a);
    weft_manifest m;
    char shown[512];
    int kind;
    WEFT_TRY(weft_look(c, path, &kind));
    if (!kind)
        return weft_fail(c, WEFT_MISSING, "%s: no such checkpoint",
                         weft_printable(shown, sizeof shown, path));
    WEFT_TRY(check_folder(a, path, true, &m));
    WEFT_TRY(load_weights(a, s, path));
    if (!weights_only)
        WEFT_TRY(load_file(a, s, path, "optimizer.safetensors", NULL, false));
    else if (has_counters(s))
        WEFT_TRY(load_counters(a, s, path));
    WEFT_TRY(check_tensors(s, path, &m, weights_only));
    return fill_progress(s->arena, path, &m, p);
}

weft_status weft_checkpoint_load(weft_ctx *c, const char *path, weft_session *s, bool weights_only,
                                 weft_progress *p)
{
    weft_arena *a = weft_arena_new(c, 0);
    if (!a)
        return c->status;
    weft_status st = load_all(a, path, s, weights_only, p);
    weft_arena_free(a);
    return st;
}
