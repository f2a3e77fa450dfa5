/* io_write.c - what changes a disk, over the I/O table: atomic writes, folders made and removed. */
#include "graph/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/hash.h"

/* ---- writing ---- */
weft_status weft_write_all(weft_ctx *c, int fd, const char *path, const void *data, size_t n)
{
    for (size_t done = 0; done < n;) {
        size_t want = n - done < WEFT_IO_MAX ? n - done : WEFT_IO_MAX;
        int64_t put = c->io->write(c->io->user, fd, (const char *)data + done, want);
        if (put < 0 && errno == EINTR)
            continue;
        if (!put) /* POSIX allows it for no known file system; endless otherwise */
            errno = ENOSPC;
        if (put <= 0) {
            weft_io_fail(c, WEFT_IO, "write", path);
            return weft_note(c, "with %zu more bytes to write", n - done);
        }
        done += (size_t)put;
    }
    return WEFT_OK;
}

/* EINTR did nothing yet. Any other failure is final: the kernel may have dropped the dirty pages,
 * so a second fsync that succeeds would prove nothing (Rebello et al., "Can Applications Recover
 * from fsync Failures?", ATC 2020). */
static int fsync_again(weft_ctx *c, int fd)
{
    int r;
    do
        r = c->io->fsync(c->io->user, fd);
    while (r && errno == EINTR);
    return r;
}

weft_status weft_sync(weft_ctx *c, int fd, const char *path)
{
    return fsync_again(c, fd) ? weft_io_fail(c, WEFT_IO, "write to disk", path) : WEFT_OK;
}

/* Linux has released the fd when close reports EINTR. */
static int close_written(weft_ctx *c, int fd)
{
    int r = c->io->close(c->io->user, fd);
    return r && errno != EINTR ? r : 0;
}

static int rename_again(weft_ctx *c, const char *from, const char *to)
{
    int r;
    do
        r = c->io->rename(c->io->user, from, to);
    while (r && errno == EINTR);
    return r;
}

static int unlink_again(weft_ctx *c, const char *path)
{
    int r;
    do
        r = c->io->unlink(c->io->user, path);
    while (r && errno == EINTR);
    return r;
}

static int rmdir_again(weft_ctx *c, const char *path)
{
    int r;
    do
        r = c->io->rmdir(c->io->user, path);
    while (r && errno == EINTR);
    return r;
}

#define WRITER_BUFFER 65536

struct weft_writer {
    weft_ctx *ctx;
    weft_arena *arena;
    const char *path, *temp;
    int fd;
    weft_status failed; /* sticky */
    int64_t size;
    weft_xxh64 hash;
    size_t used;
    char buffer[WRITER_BUFFER];
};

/* The name holds our pid, so an old file of that name is what a dead process left. */
static int create_temp(weft_ctx *c, const char *temp)
{
    int fd = weft_open_fd(c, temp, O_WRONLY | O_CREAT | O_EXCL);
    if (fd < 0 && errno == EEXIST && unlink_again(c, temp) == 0)
        fd = weft_open_fd(c, temp, O_WRONLY | O_CREAT | O_EXCL);
    return fd;
}

static bool begins(const char *s, const char *with) { return !strncmp(s, with, strlen(with)); }

/* A renamed file would take the place of a device, as which /dev/stdout looks like a link to what
 * standard output is. */
static weft_status check_place(weft_ctx *c, const char *path)
{
    weft_file_id id;
    bool there;
    char name[1024];
    WEFT_TRY(weft_identify(c, path, WEFT_CANTCREATE, &id, &there));
    bool device = begins(path, "/dev/") && !begins(path, "/dev/shm/");
    bool system = there && id.link && (device || begins(path, "/proc/"));
    if (!there || (id.regular && !system))
        return WEFT_OK;
    return weft_fail(c, WEFT_CANTCREATE,
                     "%s is there and no regular file: a new file does not take its place",
                     weft_printable(name, sizeof name, path));
}

weft_status weft_writer_open(weft_ctx *c, const char *path, weft_writer **out)
{
    *out = NULL;
    WEFT_TRY(check_place(c, path));
    return weft_writer_over(c, path, out);
}

weft_status weft_writer_over(weft_ctx *c, const char *path, weft_writer **out)
{
    *out = NULL;
    if (!*path)
        return weft_fail(c, WEFT_CANTCREATE, "cannot create a file without a name");
    weft_arena *a = weft_arena_new(c, 0);
    weft_writer *w = a ? weft_arena_alloc(a, sizeof *w) : NULL;
    if (w) {
        w->path = weft_arena_strdup(a, path);
        w->temp = weft_arena_printf(a, "%s.%ld.tmp", path, (long)getpid());
    }
    if (!w || !w->path || !w->temp) {
        weft_arena_free(a);
        return c->status;
    }
    w->ctx = c;
    w->arena = a;
    weft_xxh64_init(&w->hash, 0);
    w->fd = create_temp(c, w->temp);
    if (w->fd < 0) {
        weft_io_fail(c, WEFT_CANTCREATE, "create", w->path);
        weft_arena_free(a);
        return c->status;
    }
    *out = w;
    return WEFT_OK;
}

static weft_status writer_flush(weft_writer *w)
{
    if (!w->failed && w->used)
        w->failed = weft_write_all(w->ctx, w->fd, w->path, w->buffer, w->used);
    w->used = 0;
    return w->failed;
}

weft_status weft_writer_put(weft_writer *w, const void *data, size_t n)
{
    if (w->failed)
        return w->failed;
    weft_xxh64_add(&w->hash, data, n);
    w->size += (int64_t)n;
    if (n > WRITER_BUFFER - w->used)
        WEFT_TRY(writer_flush(w));
    if (n > WRITER_BUFFER)
        return w->failed = weft_write_all(w->ctx, w->fd, w->path, data, n);
    if (n)
        memcpy(w->buffer + w->used, data, n);
    w->used += n;
    return WEFT_OK;
}

uint64_t weft_writer_hash(const weft_writer *w) { return weft_xxh64_value(&w->hash); }
int64_t weft_writer_size(const weft_writer *w) { return w->size; }

void weft_writer_abort(weft_writer *w)
{
    if (!w)
        return;
    weft_close_fd(w->ctx, w->fd);
    if (w->temp)
        unlink_again(w->ctx, w->temp);
    weft_arena_free(w->arena);
}

/* Makes the temporary file whole and durable; closes it in any case. */
static weft_status writer_settle(weft_writer *w)
{
    weft_ctx *c = w->ctx;
    WEFT_TRY(writer_flush(w));
    WEFT_TRY(weft_sync(c, w->fd, w->path));
    int fd = w->fd;
    w->fd = -1;
    if (close_written(c, fd))
        return weft_io_fail(c, WEFT_IO, "close", w->path);
    if (rename_again(c, w->temp, w->path))
        return weft_io_fail(c, WEFT_CANTCREATE, "rename a temporary file to", w->path);
    w->temp = NULL; /* nothing left to remove */
    char *dir = weft_parent_dir(w->arena, w->path);
    return dir ? weft_sync_dir(c, dir) : c->status;
}

weft_status weft_writer_commit(weft_writer *w)
{
    weft_status s = writer_settle(w);
    weft_writer_abort(w);
    return s;
}

weft_status weft_write_file(weft_ctx *c, const char *path, const void *data, size_t n)
{
    weft_writer *w;
    WEFT_TRY(weft_writer_open(c, path, &w));
    weft_writer_put(w, data, n);
    return weft_writer_commit(w);
}

/* ---- folders ---- */
weft_status weft_sync_dir(weft_ctx *c, const char *path)
{
    int fd = weft_open_fd(c, path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return weft_io_fail(c, WEFT_IO, "open the folder", path);
    int r = fsync_again(c, fd);
    int why = errno;
    weft_close_fd(c, fd);
    errno = why;
    if (r && why != EINVAL && why != ENOTSUP) /* some network file systems have no such thing */
        return weft_io_fail(c, WEFT_IO, "write to disk the folder", path);
    return WEFT_OK;
}

char *weft_parent_dir(weft_arena *a, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n ? weft_arena_strndup(a, path, n) : weft_arena_strdup(a, ".");
}

static weft_status make_dir(weft_arena *a, const char *path)
{
    weft_ctx *c = weft_arena_ctx(a);
    int r, kind = 0;
    do
        r = c->io->mkdir(c->io->user, path, 0777);
    while (r && errno == EINTR);
    int why = errno;
    if (r && why == EEXIST)
        WEFT_TRY(weft_look_out(c, path, &kind));
    if (kind == 2)
        return WEFT_OK;
    errno = why;
    if (r)
        return weft_io_fail(c, WEFT_CANTCREATE, "create the folder", path);
    char *parent = weft_parent_dir(a, path);
    return parent ? weft_sync_dir(c, parent) : c->status;
}

/* make_dir, unless there is a folder already. */
static weft_status need_dir(weft_arena *a, const char *path)
{
    int kind;
    WEFT_TRY(weft_look_out(weft_arena_ctx(a), path, &kind));
    return kind == 2 ? WEFT_OK : make_dir(a, path);
}

static weft_status make_dirs(weft_arena *a, const char *path)
{
    weft_ctx *c = weft_arena_ctx(a);
    char *p = weft_arena_strdup(a, path);
    if (!p)
        return c->status;
    int kind;
    WEFT_TRY(weft_look_out(c, path, &kind));
    for (char *slash = p; !kind && *slash && (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        WEFT_TRY(need_dir(a, p));
        *slash = '/';
    }
    return need_dir(a, p);
}

weft_status weft_make_dir(weft_ctx *c, const char *path)
{
    weft_arena *a = weft_arena_new(c, 0);
    if (!a)
        return c->status;
    weft_status s = make_dir(a, path);
    weft_arena_free(a);
    return s;
}

weft_status weft_make_dirs(weft_ctx *c, const char *path)
{
    weft_arena *a = weft_arena_new(c, 0);
    if (!a)
        return c->status;
    weft_status s = *path ? make_dirs(a, path)
                          : weft_fail(c, WEFT_CANTCREATE, "cannot create a folder without a name");
    weft_arena_free(a);
    return s;
}

weft_status weft_make_parent(weft_ctx *c, const char *path)
{
    weft_arena *a = weft_arena_new(c, 0);
    const char *dir = a ? weft_parent_dir(a, path) : NULL;
    weft_status s = dir ? make_dirs(a, dir) : c->status;
    weft_arena_free(a);
    return s;
}

typedef struct {
    weft_arena *arena;
    const char **name;
    int n, cap;
    bool failed;
} name_list;

static void name_list_add(void *arg, const char *name)
{
    name_list *l = arg;
    char *copy = l->failed ? NULL : weft_arena_strdup(l->arena, name);
    l->failed = !copy || !WEFT_GROW(l->arena, l->name, l->n, l->cap);
    if (!l->failed)
        l->name[l->n++] = copy;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

weft_status weft_list_dir(weft_arena *a, const char *path, const char ***names, int *n)
{
    weft_ctx *c = weft_arena_ctx(a);
    name_list l = {.arena = a};
    int r;
    do {
        l.n = 0;
        r = c->io->list(c->io->user, path, name_list_add, &l);
    } while (r && errno == EINTR);
    if (l.failed)
        return c->status;
    if (r)
        return weft_io_fail(c, WEFT_MISSING, "list the folder", path);
    if (l.n)
        qsort(l.name, (size_t)l.n, sizeof *l.name, by_name);
    *names = l.name;
    *n = l.n;
    return WEFT_OK;
}

/* Removes a file or link; a folder is put on the list instead. */
static weft_status remove_or_queue(name_list *dirs, const char *path)
{
    weft_ctx *c = weft_arena_ctx(dirs->arena);
    if (unlink_again(c, path) == 0 || errno == ENOENT || errno == ENOTDIR)
        return WEFT_OK;
    int kind = 0, why = errno;
    if (why == EISDIR || why == EPERM)
        WEFT_TRY(weft_look_out(c, path, &kind));
    errno = why;
    if (kind != 2)
        return weft_io_fail(c, WEFT_IO, "remove", path);
    name_list_add(dirs, path);
    return dirs->failed ? c->status : WEFT_OK;
}

/* Empties folder by folder, outer before inner, then removes the emptied ones in the opposite
 * order: no recursion. */
static weft_status remove_tree(weft_arena *a, const char *path)
{
    weft_ctx *c = weft_arena_ctx(a);
    name_list dirs = {.arena = a};
    WEFT_TRY(remove_or_queue(&dirs, path));
    for (int d = 0; d < dirs.n; d++) {
        const char **names;
        int n;
        WEFT_TRY(weft_list_dir(a, dirs.name[d], &names, &n));
        for (int i = 0; i < n; i++) {
            char *inner = weft_arena_printf(a, "%s/%s", dirs.name[d], names[i]);
            if (!inner)
                return c->status;
            WEFT_TRY(remove_or_queue(&dirs, inner));
        }
    }
    for (int d = dirs.n - 1; d >= 0; d--)
        if (rmdir_again(c, dirs.name[d]) && errno != ENOENT)
            return weft_io_fail(c, WEFT_IO, "remove the folder", dirs.name[d]);
    return WEFT_OK;
}

weft_status weft_remove_tree(weft_ctx *c, const char *path)
{
    weft_arena *a = weft_arena_new(c, 0);
    if (!a)
        return c->status;
    weft_status s = remove_tree(a, path);
    weft_arena_free(a);
    return s;
}
