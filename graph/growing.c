/* growing.c - a file that grows at its end for as long as a run takes: nothing of it is lost while
 * the disk is full for a moment, when its name is removed, or when an fsync fails. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "graph/io.h"

enum { WAITING_LIMIT = 1 << 20, BLOCK = 1 << 16 };

/* Read as well, so that it can be written anew when its name is gone. */
static weft_status open_end(weft_ctx *c, const char *path, int *fd)
{
    *fd = weft_open_fd(c, path, O_RDWR | O_CREAT | O_APPEND);
    return *fd < 0 ? weft_io_fail(c, WEFT_CANTCREATE, "write", path) : WEFT_OK;
}

static weft_status sync_parent(weft_ctx *c, const char *path)
{
    weft_arena *a = weft_arena_new(c, 0);
    char *dir = a ? weft_parent_dir(a, path) : NULL;
    weft_status s = dir ? weft_sync_dir(c, dir) : c->status;
    weft_arena_free(a);
    return s;
}

weft_status weft_growing_open(weft_ctx *c, const char *path, weft_growing *g)
{
    *g = (weft_growing){.ctx = c, .path = path, .fd = -1};
    weft_string_init(&g->waiting, c);
    WEFT_TRY(open_end(c, path, &g->fd));
    g->bytes = weft_size(c, g->fd);
    if (g->bytes < 0)
        return weft_io_fail(c, WEFT_IO, "read", path);
    return sync_parent(c, path);
}

/* As much as the disk takes now. */
static void flush(weft_growing *g)
{
    const weft_io *io = g->ctx->io;
    weft_string *w = &g->waiting;
    size_t done = 0;
    g->error = 0;
    while (done < w->len && !g->error) {
        int64_t n = io->write(io->user, g->fd, w->s + done, w->len - done);
        if (n > 0)
            done += (size_t)n;
        else if (!n || errno != EINTR)
            g->error = n ? errno : ENOSPC;
    }
    w->len -= done;
    if (w->len)
        memmove(w->s, w->s + done, w->len);
}

weft_status weft_growing_add(weft_growing *g, const char *data, size_t n)
{
    if (g->waiting.len + n > WAITING_LIMIT) {
        errno = g->error;
        weft_io_fail(g->ctx, WEFT_IO, "write", g->path);
        return weft_note(g->ctx, "with %zu bytes waiting for the disk", g->waiting.len);
    }
    weft_string_add(&g->waiting, data, n);
    if (g->waiting.failed)
        return g->ctx->status;
    g->bytes += (int64_t)n;
    flush(g);
    return WEFT_OK;
}

/* What was written so far, into `w`. */
static weft_status copy(const weft_growing *g, weft_writer *w)
{
    weft_ctx *c = g->ctx;
    int64_t size = weft_size(c, g->fd);
    if (size < 0)
        return weft_io_fail(c, WEFT_IO, "read", g->path);
    char *buf = weft_alloc(c, BLOCK);
    if (!buf)
        return c->status;
    weft_status s = WEFT_OK;
    for (int64_t at = 0; at < size && !s; at += BLOCK) {
        size_t n = size - at < BLOCK ? (size_t)(size - at) : BLOCK;
        s = weft_read_at(c, g->fd, g->path, buf, n, at);
        if (!s)
            s = weft_writer_put(w, buf, n);
    }
    weft_free(c, buf);
    return s;
}

/* A new file in the place of the old one, with all that is in it. */
static weft_status write_anew(weft_growing *g)
{
    weft_writer *w;
    int fd;
    WEFT_TRY(weft_writer_over(g->ctx, g->path, &w));
    if (copy(g, w)) {
        weft_writer_abort(w);
        return g->ctx->status;
    }
    WEFT_TRY(weft_writer_commit(w));
    WEFT_TRY(open_end(g->ctx, g->path, &fd));
    weft_close_fd(g->ctx, g->fd);
    g->fd = fd;
    g->anew = false;
    return WEFT_OK;
}

/* Somebody else wrote to it, or cut it: what is there counts. */
static weft_status take_size(weft_growing *g)
{
    int64_t size = weft_size(g->ctx, g->fd), want = g->bytes - (int64_t)g->waiting.len;
    if (size < 0)
        return weft_io_fail(g->ctx, WEFT_IO, "read", g->path);
    if (size != want)
        weft_log(g->ctx,
                 "warning: %s was changed while it was in use: it has %lld bytes, %lld "
                 "were written",
                 g->path, (long long)size, (long long)want);
    g->bytes = size + (int64_t)g->waiting.len;
    return WEFT_OK;
}

weft_status weft_growing_sync(weft_growing *g)
{
    bool there;
    WEFT_TRY(weft_is_at(g->ctx, g->path, g->fd, &there));
    WEFT_TRY(take_size(g));
    if (!there || g->anew)
        WEFT_TRY(write_anew(g));
    if (!there)
        weft_log(g->ctx,
                 "warning: %s was removed or replaced while it was in use: written anew, "
                 "nothing is lost",
                 g->path);
    flush(g);
    errno = g->error;
    if (g->error)
        return weft_io_fail(g->ctx, WEFT_IO, "write", g->path);
    g->anew = weft_sync(g->ctx, g->fd, g->path) != WEFT_OK;
    return g->ctx->status;
}

void weft_growing_close(weft_growing *g)
{
    if (!g->ctx)
        return;
    if (g->fd >= 0 && g->waiting.len)
        flush(g);
    if (g->fd >= 0 && g->waiting.len)
        weft_log(g->ctx, "warning: %s: its last %zu bytes are lost: %s", g->path, g->waiting.len,
                 strerror(g->error));
    weft_close_fd(g->ctx, g->fd);
    weft_string_free(&g->waiting);
    g->fd = -1;
}
