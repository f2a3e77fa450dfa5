/* io.c - files over the I/O table: what is there, and reading it. */
#include "graph/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/hash.h"
#include "graph/sniff.h"

/* ---- errors ---- */
/* The device's or the system's fault, as opposed to a wrong path or missing rights. */
static bool device_fault(int e)
{
    static const int faults[] = {EIO, ENOSPC, EFBIG, EDQUOT, EMFILE, ENFILE, ENXIO, ESTALE, EBUSY};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (e == faults[i])
            return true;
    return false;
}

/* There is nothing to read at such a path, now and at the next try. */
static bool path_fault(int e)
{
    static const int faults[] = {ENOENT, ENOTDIR, EISDIR, EINVAL, ELOOP, ENAMETOOLONG};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (e == faults[i])
            return true;
    return false;
}

weft_status weft_io_fail(weft_ctx *c, weft_status otherwise, const char *doing, const char *path)
{
    int e = errno;
    bool io = otherwise == WEFT_MISSING ? !path_fault(e) : device_fault(e);
    char name[1024];
    weft_printable(name, sizeof name, path);
    if (e == ENOMEM)
        return weft_fail(c, WEFT_NOMEM, "cannot %s %s: out of memory", doing, name);
    return weft_fail(c, io ? WEFT_IO : otherwise, "cannot %s %s: %s", doing, name,
                     e == EINVAL ? "not a regular file" : strerror(e));
}

int64_t weft_now_ns(weft_ctx *c) { return c->io->clock_ns(c->io->user); }

static weft_status look(weft_ctx *c, const char *path, weft_status otherwise, int *kind)
{
    do
        *kind = c->io->exists(c->io->user, path);
    while (*kind < 0 && errno == EINTR);
    if (*kind >= 0)
        return WEFT_OK;
    *kind = 0;
    return weft_io_fail(c, otherwise, "look at", path);
}

weft_status weft_look(weft_ctx *c, const char *path, int *kind)
{
    return look(c, path, WEFT_IO, kind);
}

weft_status weft_look_out(weft_ctx *c, const char *path, int *kind)
{
    return look(c, path, WEFT_CANTCREATE, kind);
}

weft_status weft_identify(weft_ctx *c, const char *path, weft_status otherwise, weft_file_id *id,
                          bool *there)
{
    int r;
    do
        r = c->io->identify(c->io->user, path, id);
    while (r && errno == EINTR);
    *there = !r;
    return r && !path_fault(errno) ? weft_io_fail(c, otherwise, "look at", path) : WEFT_OK;
}

weft_status weft_same_file(weft_ctx *c, const char *a, const char *b, bool *yes)
{
    weft_file_id x = {0}, y = {0};
    bool there = false;
    *yes = false;
    WEFT_TRY(weft_identify(c, a, WEFT_IO, &x, &there));
    if (there)
        WEFT_TRY(weft_identify(c, b, WEFT_IO, &y, &there));
    *yes = there && x.inode == y.inode && x.device == y.device;
    return WEFT_OK;
}

int64_t weft_size(weft_ctx *c, int fd)
{
    int64_t n;
    do
        n = c->io->size(c->io->user, fd);
    while (n < 0 && errno == EINTR);
    return n;
}

weft_status weft_is_at(weft_ctx *c, const char *path, int fd, bool *yes)
{
    weft_file_id x = {0}, y = {0};
    int r;
    WEFT_TRY(weft_identify(c, path, WEFT_IO, &x, yes));
    do
        r = c->io->inspect(c->io->user, fd, &y);
    while (r && errno == EINTR);
    if (r)
        return weft_io_fail(c, WEFT_IO, "look at", path);
    *yes = *yes && x.inode == y.inode && x.device == y.device;
    return WEFT_OK;
}

/* ---- reading ---- */
int weft_open_fd(weft_ctx *c, const char *path, int flags)
{
    int fd;
    do
        fd = c->io->open(c->io->user, path, flags, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

weft_status weft_open_read(weft_ctx *c, const char *path, int *fd)
{
    *fd = weft_open_fd(c, path, O_RDONLY);
    return *fd < 0 ? weft_io_fail(c, WEFT_MISSING, "open", path) : WEFT_OK;
}

void weft_close_fd(weft_ctx *c, int fd)
{
    if (fd >= 0)
        c->io->close(c->io->user, fd);
}

static weft_status short_file(weft_ctx *c, int fd, const char *path, int64_t expected)
{
    char name[1024];
    return weft_fail(c, WEFT_MALFORMED, "%s: ends at byte %lld, expected at least %lld",
                     weft_printable(name, sizeof name, path), (long long)weft_size(c, fd),
                     (long long)expected);
}

weft_status weft_read_at(weft_ctx *c, int fd, const char *path, void *buf, size_t n, int64_t offset)
{
    for (size_t done = 0; done < n;) {
        size_t want = n - done < WEFT_IO_MAX ? n - done : WEFT_IO_MAX;
        int64_t got =
            c->io->pread(c->io->user, fd, (char *)buf + done, want, offset + (int64_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return weft_io_fail(c, WEFT_IO, "read", path);
        if (!got)
            return short_file(c, fd, path, offset + (int64_t)n);
        done += (size_t)got;
    }
    return WEFT_OK;
}

static weft_status read_open_file(weft_arena *a, int fd, const char *path, size_t limit,
                                  char **data, size_t *n)
{
    weft_ctx *c = weft_arena_ctx(a);
    int64_t size = weft_size(c, fd);
    if (size < 0)
        return weft_io_fail(c, WEFT_MISSING, "read", path);
    char name[1024];
    if ((uint64_t)size > limit)
        return weft_fail(c, WEFT_MALFORMED,
                         "%s: %lld bytes, the limit for this kind of file is %zu",
                         weft_printable(name, sizeof name, path), (long long)size, limit);
    char *text = weft_arena_alloc(a, (size_t)size + 1);
    if (!text)
        return c->status;
    *data = text;
    *n = (size_t)size;
    return weft_read_at(c, fd, path, text, (size_t)size, 0);
}

weft_status weft_read_bytes(weft_arena *a, const char *path, size_t limit, char **data, size_t *n)
{
    int fd;
    WEFT_TRY(weft_open_read(weft_arena_ctx(a), path, &fd));
    weft_status s = read_open_file(a, fd, path, limit, data, n);
    weft_close_fd(weft_arena_ctx(a), fd);
    return s;
}

/* Before the size is looked at: what a file is says more than that it is too large. */
static weft_status refuse_other(weft_ctx *c, int fd, const char *path)
{
    char head[512], name[1024];
    int64_t size = weft_size(c, fd);
    if (size < 0)
        return weft_io_fail(c, WEFT_MISSING, "read", path);
    size_t n = size < (int64_t)sizeof head ? (size_t)size : sizeof head;
    WEFT_TRY(weft_read_at(c, fd, path, head, n, 0));
    const char *is = weft_kind_of(head, n);
    return is ? weft_fail(c, WEFT_MALFORMED, "%s: this is %s",
                          weft_printable(name, sizeof name, path), is)
              : WEFT_OK;
}

weft_status weft_read_file(weft_arena *a, const char *path, size_t limit, char **data, size_t *n)
{
    int fd;
    WEFT_TRY(weft_open_read(weft_arena_ctx(a), path, &fd));
    weft_status s = refuse_other(weft_arena_ctx(a), fd, path);
    if (!s)
        s = read_open_file(a, fd, path, limit, data, n);
    weft_close_fd(weft_arena_ctx(a), fd);
    return s;
}
