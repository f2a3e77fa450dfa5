/* recipe_paths.c - paths in a recipe: what they mean, whichever folder the tool is started in.
 *
 * A recipe's paths are seen from its root: the folder `root`, itself seen from the recipe file,
 * without it the recipe's own.  What a setting gives was written by somebody who sits in the
 * working directory: it is made relative to the root where it lies below it, else absolute, so that
 * the recipe of a run means the same everywhere. */
#include <stdio.h>
#include <string.h>

#include "graph/io.h"
#include "graph/recipe.h"

enum { PATH_BYTES = 4096 };

/* ---- names of folders ---- */
/* Without "./" in front. */
static const char *strip(const char *path)
{
    while (path[0] == '.' && path[1] == '/')
        path += 2 + strspn(path + 2, "/");
    return path;
}

static const char *join(weft_arena *a, const char *folder, const char *path)
{
    path = strip(path);
    if (*path == '/' || !strcmp(folder, "."))
        return path;
    if (!strcmp(path, ".") || !*path)
        return folder;
    return weft_arena_printf(a, "%s%s%s", folder, strcmp(folder, "/") ? "/" : "", path);
}

static bool is_up(const char *s, size_t n) { return n == 2 && s[0] == '.' && s[1] == '.'; }

/* "a/b/../c" -> "a/c", by names alone; what climbs out of the path stays. */
static const char *tidy(weft_arena *a, const char *path)
{
    char *out = weft_arena_alloc(a, strlen(path) + 2);
    size_t base = *path == '/', n = base;
    if (!out)
        return NULL;
    if (base)
        out[0] = '/';
    for (path += strspn(path, "/"); *path; path += strspn(path, "/")) {
        size_t k = strcspn(path, "/"), last = n;
        while (last > base && out[last - 1] != '/')
            last--;
        if (is_up(path, k) && n > base && !is_up(out + last, n - last)) {
            n = last > base ? last - 1 : base;
        } else if (!(k == 1 && *path == '.') && !(is_up(path, k) && base)) {
            if (n > base)
                out[n++] = '/';
            memcpy(out + n, path, k);
            n += k;
        }
        path += k;
    }
    if (!n)
        out[n++] = '.';
    out[n] = 0;
    return out;
}

/* Where the process stands; "" if the system cannot say, and then nothing is made absolute. */
static const char *here(const weft_recipe *r)
{
    char *cwd = weft_arena_alloc(r->arena, PATH_BYTES);
    const weft_io *io = r->ctx->io;
    if (!cwd || io->cwd(io->user, cwd, PATH_BYTES))
        return "";
    return cwd;
}

/* Links are not followed: only what leads out of the working directory is worked out. */
static const char *absolute(const weft_recipe *r, const char *path)
{
    const char *cwd = here(r);
    char *base = weft_arena_strdup(r->arena, cwd);
    path = strip(path);
    if (*path == '/' || !*cwd || !base || weft_is_shipped(path))
        return path;
    while (is_up(path, strcspn(path, "/"))) {
        char *slash = strrchr(base, '/');
        if (slash)
            slash[slash == base] = 0;
        path = strip(path + 2 + strspn(path + 2, "/"));
    }
    return join(r->arena, base, path);
}

/* The rest of an absolute path below an absolute folder ("." for itself); NULL: it lies elsewhere.
 */
static const char *below(const char *folder, const char *path)
{
    size_t n = strlen(folder);
    while (n && folder[n - 1] == '/')
        n--;
    if (*folder != '/' || strncmp(folder, path, n) || (path[n] && path[n] != '/'))
        return NULL;
    path += n + strspn(path + n, "/");
    return *path ? path : ".";
}

/* Seen from the working directory where it lies below it: shorter to read. */
static const char *shorten(const weft_recipe *r, const char *path)
{
    const char *rest = *path == '/' ? below(here(r), path) : NULL;
    return rest ? rest : path;
}

/* The folder of a file; "." if its path has none. */
static const char *folder_of(const weft_recipe *r, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return ".";
    return slash == path ? "/" : weft_arena_strndup(r->arena, path, (size_t)(slash - path));
}

const char *weft_path_beside(weft_arena *a, const char *from, const char *path)
{
    const char *slash = strrchr(from, '/');
    if (*path == '/' || !slash || weft_is_shipped(path))
        return path;
    return weft_arena_printf(a, "%.*s/%s", (int)(slash - from), from, path);
}

/* ---- which fields are paths ---- */
enum { N_DATA = 5 };
static char **data_field(const weft_recipe *r, int i)
{
    Weft__Data *d = r->msg->data;
    char **const field[N_DATA] = {&d->train, &d->val, &d->tokenizer, &d->labels, &d->val_labels};
    return field[i];
}
static const char *const data_name[N_DATA] = {"data.train", "data.val", "data.tokenizer",
                                              "data.labels", "data.val_labels"};

/* The field that a setting's name of n characters reaches, if that is a path. */
static char **find_field(const weft_recipe *r, const char *name, size_t n)
{
    char word[64];
    unsigned entry;
    int used = 0;
    if (n >= sizeof word)
        return NULL;
    memcpy(word, name, n);
    word[n] = 0;
    for (int i = 0; i < N_DATA; i++)
        if (!strcmp(word, data_name[i]))
            return data_field(r, i);
    if (!strcmp(word, "root"))
        return &r->msg->root;
    if (!strcmp(word, "model"))
        return &r->msg->model;
    if (sscanf(word, "load[%4u].file%n", &entry, &used) == 1 && used == (int)n &&
        entry < r->msg->n_load)
        return &r->msg->load[entry]->file;
    return NULL;
}

static bool is_own(const weft_recipe *r, char **field)
{
    for (int i = 0; i < r->n_own; i++)
        if (r->own[i] == field)
            return true;
    return false;
}

const char *weft_recipe_own_path(weft_recipe *r, const char *setting)
{
    size_t n = strcspn(setting, "=");
    char **field = setting[n] ? find_field(r, setting, n) : NULL;
    if (!field || !setting[n + 1])
        return setting;
    if (!is_own(r, field)) {
        if (!WEFT_GROW(r->arena, r->own, r->n_own, r->cap_own))
            return NULL;
        r->own[r->n_own++] = field;
    }
    return weft_arena_printf(r->arena, "%.*s=%s", (int)n, setting, absolute(r, setting + n + 1));
}

/* ---- what they mean ---- */
static const char *seen(const weft_recipe *r, const char *path)
{
    const char *full = path && *path ? join(r->arena, r->root, path) : NULL;
    return full ? shorten(r, full) : NULL;
}

void weft_recipe_unsettle(weft_recipe *r)
{
    for (int i = 0; r->root && i < r->n_own; i++) {
        const char *path = r->own[i] == &r->msg->root ? NULL : seen(r, *r->own[i]);
        if (path && r->own[i] != &r->msg->model)
            *r->own[i] = (char *)(uintptr_t)absolute(r, path);
    }
}

/* The shorter name of the root, if it is one: a link on the way may lead elsewhere. */
static const char *find_root(const weft_recipe *r)
{
    const char *root = r->msg->root && *r->msg->root ? r->msg->root : ".";
    const char *full = join(r->arena, folder_of(r, r->path), root);
    const char *brief = full ? tidy(r->arena, full) : NULL;
    if (!brief)
        return NULL;
    int kind;
    bool same = true;
    if (weft_look(r->ctx, full, &kind) || (kind == 2 && weft_same_file(r->ctx, full, brief, &same)))
        return NULL;
    return shorten(r, same ? brief : full);
}

static void make_relative(weft_recipe *r)
{
    const char *root = absolute(r, r->root);
    for (int i = 0; root && i < r->n_own; i++) {
        char **field = r->own[i];
        if (field == &r->msg->root || field == &r->msg->model || !*field)
            continue;
        const char *rest = **field == '/' ? below(root, *field) : NULL;
        if (rest)
            *field = (char *)(uintptr_t)rest;
    }
}

weft_status weft_recipe_settle(weft_recipe *r)
{
    const Weft__Recipe *m = r->msg;
    r->root = find_root(r);
    r->load_file = weft_arena_array(r->arena, m->n_load + 1, sizeof *r->load_file);
    if (!r->root || !r->load_file)
        return weft_error_status(r->ctx);
    make_relative(r);
    for (int i = 0; i < N_DATA; i++)
        r->file[i] = seen(r, *data_field(r, i));
    for (size_t i = 0; i < m->n_load; i++)
        r->load_file[i] = seen(r, m->load[i]->file);
    if (m->model)
        r->model = is_own(r, &r->msg->model) ? shorten(r, m->model)
                                             : weft_path_beside(r->arena, r->path, m->model);
    return weft_error_status(r->ctx);
}

const char *weft_recipe_absolute(const weft_recipe *r, const char *path)
{
    const char *full = path ? absolute(r, path) : NULL;
    return full ? shorten(r, full) : NULL;
}

/* One ".." for each folder between: the run may be moved together with its root. */
const char *weft_recipe_root_from(const weft_recipe *r, const char *path)
{
    const char *dir = folder_of(r, path), *root = absolute(r, r->root);
    const char *full = dir ? absolute(r, dir) : NULL;
    const char *rest = root && full ? tidy(r->arena, full) : NULL;
    rest = rest ? below(tidy(r->arena, root), rest) : NULL;
    if (!rest)
        return root;
    const char *up = strcmp(rest, ".") ? ".." : ".";
    for (const char *s = rest; up && (s = strchr(s, '/')); s++)
        up = weft_arena_printf(r->arena, "%s/..", up);
    const char *back = up ? weft_arena_printf(r->arena, "%s/%s", dir, up) : NULL;
    bool same = false;
    if (back && weft_same_file(r->ctx, back, r->root, &same))
        return NULL;
    return same ? up : root;
}

/* ---- what is not there ---- */
static weft_status note(const weft_recipe *r, const char *field, const char *path)
{
    weft_ctx *c = r->ctx;
    char file[512], name[512], root[512];
    weft_printable(file, sizeof file, r->path);
    weft_printable(name, sizeof name, shorten(r, path));
    weft_printable(root, sizeof root, r->root);
    if (!strcmp(r->root, ".") || *path == '/')
        return weft_note(c, "in %s: %s: \"%s\"", file, field, name);
    if (c->io->exists(c->io->user, path) <= 0) /* only a hint: there is an error already */
        return weft_note(c,
                         "in %s: %s: \"%s\", seen from %s, the root of the recipe; --set root=. "
                         "sees its paths from the working directory",
                         file, field, name, root);
    weft_recipe moved = *r;
    moved.root = ".";
    const char *own = weft_recipe_root_from(&moved, r->path);
    return weft_note(c,
                     "in %s: %s: \"%s\", seen from %s, the root of the recipe; it is in the "
                     "working directory: --set root=. takes that, as does root: \"%s\" in the "
                     "recipe",
                     file, field, name, root, own ? weft_printable((char[512]){0}, 512, own) : ".");
}

weft_status weft_recipe_note(const weft_recipe *r, weft_recipe_path which)
{
    return r->ctx->status == WEFT_MISSING ? note(r, data_name[which], *data_field(r, (int)which))
                                          : r->ctx->status;
}

weft_status weft_recipe_note_load(const weft_recipe *r, size_t entry)
{
    char field[32];
    snprintf(field, sizeof field, "load[%zu].file", entry);
    return r->ctx->status == WEFT_MISSING ? note(r, field, r->msg->load[entry]->file)
                                          : r->ctx->status;
}
