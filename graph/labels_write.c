/* labels_write.c - writing label files window by window, so that an interrupted run goes on where
 * it stopped: PATH.tmp grows, and becomes PATH when it is complete. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "graph/hash.h"
#include "graph/labels.h"

struct weft_label_writer {
    weft_ctx *ctx;
    weft_arena *arena;
    const char *path, *temp;
    int fd;
    weft_label_header h;
    int64_t done; /* windows written */
    weft_status failed;
    unsigned char *record;
};

/* What we hold is still called so: another process that has just finished gave it its last name,
 * and a file of which the name was removed can get none. */
static weft_status check_there(weft_label_writer *w)
{
    bool there;
    WEFT_TRY(weft_is_at(w->ctx, w->temp, w->fd, &there));
    return there ? WEFT_OK
                 : weft_fail(w->ctx, WEFT_LOCKED,
                             "%s: was removed, replaced or finished by another process", w->temp);
}

/* ---- opening ---- */
static weft_status take_file(weft_label_writer *w)
{
    weft_ctx *c = w->ctx;
    int r;
    WEFT_TRY(weft_make_parent(c, w->path));
    w->fd = weft_open_fd(c, w->temp, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW);
    if (w->fd < 0 && errno == ELOOP)
        return weft_fail(c, WEFT_CANTCREATE, "%s: is a link: labels do not take its place",
                         w->temp);
    if (w->fd < 0)
        return weft_io_fail(c, WEFT_CANTCREATE, "create", w->temp);
    do
        r = c->io->lock(c->io->user, w->fd);
    while (r && errno == EINTR);
    if (r && errno == EWOULDBLOCK)
        return weft_fail(c, WEFT_LOCKED, "%s: another process writes these labels", w->temp);
    if (r)
        return weft_io_fail(c, WEFT_IO, "lock", w->temp);
    return check_there(w);
}

/* Is record number `window` of the file whole? */
static weft_status check_record(weft_label_writer *w, int64_t window, bool *good)
{
    int64_t n = weft_label_record(&w->h);
    uint64_t hash;
    unsigned char *b = w->record;
    WEFT_TRY(weft_read_at(w->ctx, w->fd, w->temp, b, (size_t)n, WEFT_LABEL_HEADER + window * n));
    hash = weft_xxh64_of(b, (size_t)n - 8, (uint64_t)window);
    *good = true;
    for (int i = 0; i < 8; i++)
        *good &= b[n - 8 + i] == (unsigned char)(hash >> 8 * i);
    return WEFT_OK;
}

/* What an earlier run left: its header must be ours, and all its records are read, as a crash of
 * the machine may have left holes anywhere. */
static weft_status find_done(weft_label_writer *w)
{
    unsigned char head[WEFT_LABEL_HEADER];
    weft_label_header there;
    int64_t size = weft_size(w->ctx, w->fd), n = weft_label_record(&w->h);
    bool good = true;
    if (size < 0)
        return weft_io_fail(w->ctx, WEFT_IO, "read", w->temp);
    if (size < WEFT_LABEL_HEADER)
        return WEFT_OK; /* died before its first window: nothing to keep */
    WEFT_TRY(weft_read_at(w->ctx, w->fd, w->temp, head, sizeof head, 0));
    weft_status s = weft_label_unpack(w->ctx, w->temp, head, &there);
    if (!s)
        s = weft_label_match(w->ctx, w->temp, &there, &w->h, true);
    if (s) {
        weft_note(w->ctx, "left by a run that was interrupted; without --resume it is replaced");
        return s;
    }
    int64_t have = (size - WEFT_LABEL_HEADER) / n;
    have = have < w->h.windows ? have : w->h.windows;
    while (w->done < have && good) {
        WEFT_TRY(check_record(w, w->done, &good));
        w->done += good;
    }
    if (w->done < have)
        weft_log(w->ctx, "%s: window %" PRId64 " is damaged: going on from there", w->temp,
                 w->done);
    return WEFT_OK;
}

static weft_status cut_file(weft_label_writer *w, int64_t size)
{
    int r;
    do
        r = w->ctx->io->truncate(w->ctx->io->user, w->fd, size);
    while (r && errno == EINTR);
    return r ? weft_io_fail(w->ctx, WEFT_IO, "cut", w->temp) : WEFT_OK;
}

static weft_status begin(weft_label_writer *w, bool resume)
{
    unsigned char head[WEFT_LABEL_HEADER];
    WEFT_TRY(take_file(w));
    if (resume)
        WEFT_TRY(find_done(w));
    if (w->done)
        return cut_file(w, WEFT_LABEL_HEADER + w->done * weft_label_record(&w->h));
    WEFT_TRY(cut_file(w, 0));
    weft_label_pack(&w->h, head);
    return weft_write_all(w->ctx, w->fd, w->temp, head, sizeof head);
}

weft_status weft_label_writer_open(weft_ctx *c, const char *path, const weft_label_header *h,
                                   bool resume, weft_label_writer **out, int64_t *done)
{
    *out = NULL;
    *done = 0;
    if (!*path)
        return weft_fail(c, WEFT_CANTCREATE, "labels need a file with a name");
    weft_arena *a = weft_arena_new(c, 0);
    weft_label_writer *w = a ? weft_arena_alloc(a, sizeof *w) : NULL;
    if (!w) {
        weft_arena_free(a);
        return c->status;
    }
    *w = (weft_label_writer){.ctx = c, .arena = a, .fd = -1, .h = *h};
    w->path = weft_arena_strdup(a, path);
    w->temp = weft_arena_printf(a, "%s.tmp", path);
    w->record = weft_arena_alloc(a, (size_t)weft_label_record(h));
    weft_status s = w->path && w->temp && w->record ? begin(w, resume) : c->status;
    if (s) {
        weft_label_writer_close(w);
        return s;
    }
    *done = w->done;
    *out = w;
    return WEFT_OK;
}

/* ---- records ---- */
static void put(unsigned char *at, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        at[i] = (unsigned char)(v >> 8 * i);
}

weft_status weft_label_writer_put(weft_label_writer *w, const int32_t *ids, const float *scores)
{
    const int64_t n = w->h.T * w->h.k, bytes = weft_label_record(&w->h);
    const int width = weft_label_width(&w->h);
    if (w->failed)
        return w->failed;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= w->h.concepts)
            return w->failed = weft_fail(w->ctx, WEFT_MALFORMED,
                                         "%s: window %" PRId64 ", position %" PRId64
                                         ": label %" PRId32 " of %" PRId64
                                         " concepts: labels are indices into the last axis of "
                                         "what they are chosen from",
                                         w->temp, w->done, i / w->h.k, ids[i], w->h.concepts);
        put(w->record + i * width, (uint64_t)ids[i], width);
    }
    for (int64_t i = 0; w->h.scores && i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &scores[i], sizeof bits);
        put(w->record + n * width + i * 4, bits, 4);
    }
    put(w->record + bytes - 8, weft_xxh64_of(w->record, (size_t)bytes - 8, (uint64_t)w->done), 8);
    w->failed = weft_write_all(w->ctx, w->fd, w->temp, w->record, (size_t)bytes);
    w->done += !w->failed;
    return w->failed;
}

/* ---- the end ---- */
void weft_label_writer_close(weft_label_writer *w)
{
    if (!w)
        return;
    weft_close_fd(w->ctx, w->fd);
    weft_arena_free(w->arena);
}

void weft_label_writer_drop(weft_label_writer *w)
{
    bool ours = false;
    if (w && !w->done && !weft_is_at(w->ctx, w->temp, w->fd, &ours) && ours)
        w->ctx->io->unlink(w->ctx->io->user, w->temp); /* while its lock is held */
    weft_label_writer_close(w);
}

static weft_status settle(weft_label_writer *w)
{
    weft_ctx *c = w->ctx;
    int r;
    WEFT_TRY(w->failed);
    if (w->done != w->h.windows)
        return weft_fail(c, WEFT_INTERNAL, "%s: %" PRId64 " of %" PRId64 " windows were written",
                         w->temp, w->done, w->h.windows);
    do
        r = c->io->fsync(c->io->user, w->fd);
    while (r && errno == EINTR);
    if (r)
        return weft_io_fail(c, WEFT_IO, "write to disk", w->temp);
    WEFT_TRY(check_there(w));
    do
        r = c->io->rename(c->io->user, w->temp, w->path);
    while (r && errno == EINTR);
    if (r)
        return weft_io_fail(c, WEFT_CANTCREATE, "rename a temporary file to", w->path);
    char *dir = weft_parent_dir(w->arena, w->path);
    return dir ? weft_sync_dir(c, dir) : c->status;
}

weft_status weft_label_writer_commit(weft_label_writer *w)
{
    weft_status s = settle(w);
    weft_label_writer_close(w);
    return s;
}
