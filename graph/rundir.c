/* rundir.c - holding a run directory: its lock, a write probe, clearing up after a save that was
 * cut short, and the copy of the tokenizer in it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "graph/checkpoint.h"

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n > m && !strcmp(s + n - m, end);
}

/* ---- lock ---- */
static weft_status report_holder(weft_run_dir *d, const char *lock)
{
    char text[256] = "", shown[512], who[256];
    if (d->lock_fd >= 0)
        d->ctx->io->pread(d->ctx->io->user, d->lock_fd, text, sizeof text - 1, 0);
    text[strcspn(text, "\n")] = 0;
    return weft_fail(d->ctx, WEFT_LOCKED,
                     "%s is in use by %s (it holds %s): wait, or choose another run directory",
                     weft_printable(shown, sizeof shown, d->path),
                     *text ? weft_printable(who, sizeof who, text) : "another process",
                     strrchr(lock, '/') + 1);
}

/* Says who we are, for whoever comes second. */
static weft_status sign_lock(weft_run_dir *d, const char *lock)
{
    char host[65] = "", text[128];
    gethostname(host, sizeof host - 1);
    int n = snprintf(text, sizeof text, "process %ld on host %s\n", (long)getpid(), host);
    if (d->ctx->io->truncate(d->ctx->io->user, d->lock_fd, 0))
        return weft_io_fail(d->ctx, WEFT_CANTCREATE, "write", lock);
    return weft_write_all(d->ctx, d->lock_fd, lock, text, (size_t)n);
}

static int lock_again(weft_ctx *c, int fd)
{
    int r;
    do
        r = c->io->lock(c->io->user, fd);
    while (r && errno == EINTR);
    return r;
}

/* A link would have us write into somebody's file, and lock that. */
static weft_status refuse_link(weft_run_dir *d, const char *lock)
{
    char shown[512];
    return weft_fail(d->ctx, WEFT_CANTCREATE,
                     "%s: is a link to another file, not the lock of a run: remove it",
                     weft_printable(shown, sizeof shown, lock));
}

/* Is what we locked what the next one will find? */
static weft_status check_lock(weft_run_dir *d, const char *lock)
{
    weft_file_id id;
    bool ours;
    char shown[512];
    int r;
    WEFT_TRY(weft_is_at(d->ctx, lock, d->lock_fd, &ours));
    if (!ours)
        return weft_fail(d->ctx, WEFT_LOCKED, "%s: was replaced while it was taken: try again",
                         weft_printable(shown, sizeof shown, lock));
    do
        r = d->ctx->io->inspect(d->ctx->io->user, d->lock_fd, &id);
    while (r && errno == EINTR);
    if (r)
        return weft_io_fail(d->ctx, WEFT_IO, "look at", lock);
    return id.links > 1 ? refuse_link(d, lock) : WEFT_OK;
}

/* The folder itself, which nobody removes under a run; false where its file system locks files
 * only. */
static weft_status lock_folder(weft_run_dir *d, const char *lock)
{
    weft_ctx *c = d->ctx;
    d->folder_fd = weft_open_fd(c, d->path, O_RDONLY | O_DIRECTORY);
    if (d->folder_fd < 0)
        return weft_io_fail(c, WEFT_IO, "open the folder", d->path);
    if (!lock_again(c, d->folder_fd))
        return WEFT_OK;
    if (errno == EWOULDBLOCK) { /* only read, to name the holder */
        d->lock_fd = weft_open_fd(c, lock, O_RDONLY | O_NOFOLLOW);
        return report_holder(d, lock);
    }
    /* network file systems lock what is open for writing, or nothing: each has an errno for that */
    bool passing = errno == EIO || errno == ENOMEM;
    return passing ? weft_io_fail(c, WEFT_IO, "lock the folder", d->path) : WEFT_OK;
}

/* The locks are the kernel's and go with the process, whatever kills it. The file names the holder
 * and stays, as removing it would race; the folder's lock holds when somebody removes the file. */
static weft_status take_lock(weft_run_dir *d)
{
    weft_ctx *c = d->ctx;
    char *lock = weft_arena_printf(d->arena, "%s/lock", d->path);
    if (!lock)
        return c->status;
    WEFT_TRY(lock_folder(d, lock));
    d->lock_fd = weft_open_fd(c, lock, O_RDWR | O_CREAT | O_NOFOLLOW);
    if (d->lock_fd < 0)
        return errno == ELOOP ? refuse_link(d, lock)
                              : weft_io_fail(c, WEFT_CANTCREATE, "create", lock);
    if (lock_again(c, d->lock_fd))
        return errno == EWOULDBLOCK ? report_holder(d, lock)
                                    : weft_io_fail(c, WEFT_IO, "lock", lock);
    WEFT_TRY(check_lock(d, lock));
    return sign_lock(d, lock);
}

/* ---- what an interrupted run left ---- */
/* "FILE.<pid>.tmp", as weft_writer names its files. */
static bool is_writer_temp(const char *name)
{
    size_t n = strlen(name);
    if (!ends_with(name, ".tmp"))
        return false;
    size_t digits = 0, at = n - 4;
    while (at && name[at - 1] >= '0' && name[at - 1] <= '9')
        at--, digits++;
    return digits && at > 1 && name[at - 1] == '.';
}

/* A checkpoint that was moved aside for its replacement, which never came: put back. */
static weft_status restore(weft_run_dir *d, const char *name, bool *done)
{
    weft_ctx *c = d->ctx;
    *done = false;
    if (!ends_with(name, ".old.tmp"))
        return WEFT_OK;
    char *old = weft_arena_printf(d->arena, "%s/%s", d->checkpoints, name);
    char *home = old ? weft_arena_strndup(d->arena, old, strlen(old) - strlen(".old.tmp")) : NULL;
    if (!home)
        return c->status;
    int kind;
    WEFT_TRY(weft_look(c, home, &kind));
    if (kind)
        return WEFT_OK;
    if (c->io->rename(c->io->user, old, home))
        return weft_io_fail(c, WEFT_IO, "put back the checkpoint", home);
    *done = true;
    return weft_sync_dir(c, d->checkpoints);
}

static weft_status clear_one(weft_run_dir *d, const char *folder, const char *name)
{
    bool put_back = false;
    bool step = !strncmp(name, "step-", 5) && ends_with(name, ".tmp");
    if (!step && !is_writer_temp(name))
        return WEFT_OK;
    if (step)
        WEFT_TRY(restore(d, name, &put_back));
    char *path = weft_arena_printf(d->arena, "%s/%s", folder, name);
    if (!path || put_back)
        return d->ctx->status;
    weft_log(d->ctx, "removing %s, left by a run that was interrupted", path);
    return weft_remove_tree(d->ctx, path);
}

static weft_status clear_folder(weft_run_dir *d, const char *folder)
{
    const char **names;
    int n;
    WEFT_TRY(weft_list_dir(d->arena, folder, &names, &n));
    for (int i = 0; i < n; i++)
        WEFT_TRY(clear_one(d, folder, names[i]));
    return WEFT_OK;
}

/* A run that cannot save should not start: writes, syncs and removes a file. */
static weft_status probe(weft_run_dir *d)
{
    weft_ctx *c = d->ctx;
    char *path = weft_arena_printf(d->arena, "%s/probe", d->checkpoints);
    if (!path)
        return c->status;
    WEFT_TRY(weft_write_file(c, path, "probe\n", 6));
    if (c->io->unlink(c->io->user, path))
        return weft_io_fail(c, WEFT_CANTCREATE, "remove", path);
    return WEFT_OK;
}

static weft_status take(weft_run_dir *d)
{
    WEFT_TRY(weft_make_dirs(d->ctx, d->checkpoints));
    WEFT_TRY(take_lock(d));
    WEFT_TRY(clear_folder(d, d->path));
    WEFT_TRY(clear_folder(d, d->checkpoints));
    return probe(d);
}

/* ---- would it be ours? ---- */
/* The first folder of the path that is not there decides: it must be possible to make it. */
static weft_status may_make(weft_arena *a, const char *path, bool *made)
{
    weft_ctx *c = weft_arena_ctx(a);
    int kind;
    WEFT_TRY(weft_look(c, path, &kind));
    *made = kind != 2;
    errno = EEXIST;
    if (kind == 1)
        return weft_io_fail(c, WEFT_CANTCREATE, "create the folder", path);
    const char *parent = weft_parent_dir(a, path);
    if (!parent || kind == 2)
        return c->status;
    return c->io->writable(c->io->user, parent)
               ? weft_io_fail(c, WEFT_CANTCREATE, "create the folder", path)
               : WEFT_OK;
}

static weft_status may_make_dirs(weft_arena *a, const char *path)
{
    char *p = weft_arena_strdup(a, path);
    bool made = false;
    for (char *slash = p; slash && !made && *slash && (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        WEFT_TRY(may_make(a, p, &made));
        *slash = '/';
    }
    return p && !made ? may_make(a, p, &made) : weft_arena_ctx(a)->status;
}

/* Could the lock be taken by its file? Nothing is locked, made or written. */
static weft_status look_at_lock(weft_run_dir *d, const char *lock)
{
    weft_ctx *c = d->ctx;
    d->lock_fd = weft_open_fd(c, lock, O_RDWR | O_NOFOLLOW);
    if (d->lock_fd >= 0)
        return check_lock(d, lock);
    if (errno == ENOENT)
        return WEFT_OK; /* it would be created */
    return errno == ELOOP ? refuse_link(d, lock) : weft_io_fail(c, WEFT_CANTCREATE, "create", lock);
}

static weft_status look(weft_run_dir *d)
{
    weft_ctx *c = d->ctx;
    WEFT_TRY(may_make_dirs(d->arena, d->checkpoints));
    int kind;
    WEFT_TRY(weft_look(c, d->checkpoints, &kind));
    const char *lock = weft_arena_printf(d->arena, "%s/lock", d->path);
    WEFT_TRY(lock ? look_at_lock(d, lock) : WEFT_NOMEM);
    if (kind != 2)
        return c->status;
    if (c->io->writable(c->io->user, d->path))
        return weft_io_fail(c, WEFT_CANTCREATE, "create", lock);
    return c->io->writable(c->io->user, d->checkpoints)
               ? weft_io_fail(c, WEFT_CANTCREATE, "write into", d->checkpoints)
               : WEFT_OK;
}

static weft_status open_dir(weft_ctx *c, const char *path, weft_status (*how)(weft_run_dir *d),
                            weft_run_dir **out)
{
    *out = NULL;
    if (!*path)
        return weft_fail(c, WEFT_CANTCREATE, "a run directory without a name");
    weft_arena *a = weft_arena_new(c, 0);
    weft_run_dir *d = a ? weft_arena_alloc(a, sizeof *d) : NULL;
    if (!d) {
        weft_arena_free(a);
        return c->status;
    }
    *d = (weft_run_dir){.ctx = c, .arena = a, .folder_fd = -1, .lock_fd = -1};
    d->path = weft_arena_strdup(a, path);
    d->checkpoints = weft_arena_printf(a, "%s/checkpoints", path);
    weft_status s = d->path && d->checkpoints ? how(d) : c->status;
    if (s)
        weft_run_dir_close(d);
    else
        *out = d;
    return s;
}

weft_status weft_run_dir_open(weft_ctx *c, const char *path, weft_run_dir **out)
{
    return open_dir(c, path, take, out);
}

weft_status weft_run_dir_look(weft_ctx *c, const char *path, weft_run_dir **out)
{
    return open_dir(c, path, look, out);
}

void weft_run_dir_close(weft_run_dir *d)
{
    if (!d)
        return;
    weft_close_fd(d->ctx, d->lock_fd);
    weft_close_fd(d->ctx, d->folder_fd);
    weft_arena_free(d->arena);
}

/* ---- the tokenizer ---- */
/* Missing files are skipped. */
static weft_status copy_file(weft_arena *a, const char *from, const char *dir, const char *name)
{
    weft_ctx *c = weft_arena_ctx(a);
    char *data;
    size_t n;
    int kind;
    WEFT_TRY(weft_look(c, from, &kind));
    if (kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_read_file(a, from, (size_t)1 << 28, &data, &n));
    const char *to = weft_arena_printf(a, "%s/%s", dir, name);
    return to ? weft_write_file(c, to, data, n) : WEFT_NOMEM;
}

/* `dir`/tokenizer.json from a file of whatever name; a file of that name declares its tokens in the
 * files beside it. */
static weft_status copy_tokenizer(weft_arena *a, const char *from, const char *dir)
{
    static const char *const beside[] = {"tokenizer_config.json", "special_tokens_map.json"};
    const char *slash = strrchr(from, '/'), *folder = weft_parent_dir(a, from);
    WEFT_TRY(folder ? copy_file(a, from, dir, "tokenizer.json") : WEFT_NOMEM);
    for (int i = 0; i < 2 && !strcmp(slash ? slash + 1 : from, "tokenizer.json"); i++) {
        const char *path = weft_arena_printf(a, "%s/%s", folder, beside[i]);
        WEFT_TRY(path ? copy_file(a, path, dir, beside[i]) : WEFT_NOMEM);
    }
    return WEFT_OK;
}

weft_status weft_tokenizer_copy(weft_arena *a, const char *from, const char *dir)
{
    static const char *const part[] = {"tokenizer.json", "vocab.json", "merges.txt",
                                       "tokenizer_config.json", "special_tokens_map.json"};
    weft_ctx *c = weft_arena_ctx(a);
    if (!from)
        return weft_error_status(c); /* of looking for it */
    int kind;
    WEFT_TRY(weft_look(c, from, &kind));
    if (kind == 0)
        return weft_fail(c, WEFT_MISSING, "%s: the recipe's tokenizer does not exist", from);
    if (kind == 1 && ends_with(from, ".json")) {
        const char *slash = strrchr(from, '/');
        if (strcmp(slash ? slash + 1 : from, "vocab.json"))
            return copy_tokenizer(a, from, dir);
        from = slash ? weft_arena_strndup(a, from, (size_t)(slash - from)) : ".";
        kind = 2;
    }
    for (size_t i = 0; kind == 2 && from && i < sizeof part / sizeof *part; i++) {
        const char *path = weft_arena_printf(a, "%s/%s", from, part[i]);
        WEFT_TRY(path ? copy_file(a, path, dir, part[i]) : WEFT_NOMEM);
    }
    return c->status;
}
