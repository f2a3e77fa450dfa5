/* documents.c - text files as a stream of documents, cut into segments that can be tokenized on
 * their own.
 *
 * A buffer is filled from the files one after another; what is in it is cut into documents and
 * those into segments; what cannot be decided yet moves to the front for the next round.  Memory is
 * bounded by the buffer, which grows only when a text has no place to cut in all of it.  The
 * segments are a function of the files alone. */
#include "tools/documents.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "graph/io.h"

enum { BUFFER_BYTES = 16 << 20, SEGMENTS = 128 /* of one buffer, about */ };

struct weft_documents {
    weft_ctx *ctx;
    const char *const *paths;
    int n_paths, path; /* path: the one being read, or the next to open */
    int fd;            /* -1: none is open */
    weft_doc_mode mode;
    const char *mark;
    size_t n_mark;
    const weft_bpe *bpe; /* whose added tokens stay whole; NULL: there are none */
    size_t longest;      /* of them */
    char *buf;
    size_t part;      /* bytes of a segment, about */
    size_t cap, n;    /* n: bytes in the buffer */
    size_t used;      /* of them, given out or dropped */
    size_t *file_end; /* where files end in the buffer */
    size_t n_ends, cap_ends;
    weft_segment *segment;
    size_t n_segments, cap_segments;
    int64_t document, total;
    int64_t done;    /* bytes that have left the buffer */
    bool begun;      /* the current document has a segment already */
    bool after_mark; /* a line break may follow */
};

/* ---- open, close ---- */
static weft_status add_sizes(weft_documents *d)
{
    for (int i = 0; i < d->n_paths; i++) {
        weft_file_id id;
        int r;
        do
            r = d->ctx->io->identify(d->ctx->io->user, d->paths[i], &id);
        while (r && errno == EINTR);
        if (r)
            return weft_io_fail(d->ctx, WEFT_MISSING, "read", d->paths[i]);
        d->total += id.size;
    }
    return WEFT_OK;
}

weft_status weft_documents_open(weft_ctx *c, const char *const *paths, int n_paths,
                                weft_doc_mode mode, const char *mark, size_t buffer,
                                weft_documents **out)
{
    weft_documents *d = weft_alloc(c, sizeof *d);
    if (!d)
        return c->status;
    *d = (weft_documents){
        .ctx = c, .paths = paths, .n_paths = n_paths, .fd = -1, .mode = mode, .mark = mark};
    d->n_mark = mode == WEFT_DOCS_MARK ? strlen(mark) : 0;
    d->cap = buffer ? buffer : BUFFER_BYTES;
    d->part = d->cap / SEGMENTS + 1;
    d->buf = weft_alloc(c, d->cap);
    if (!d->buf || add_sizes(d)) {
        weft_documents_close(d);
        return c->status;
    }
    *out = d;
    return WEFT_OK;
}

void weft_documents_keep_whole(weft_documents *d, const weft_bpe *t)
{
    d->bpe = t;
    d->longest = weft_bpe_longest_added(t);
}

void weft_documents_close(weft_documents *d)
{
    if (!d)
        return;
    if (d->fd >= 0)
        weft_close_fd(d->ctx, d->fd);
    weft_free(d->ctx, d->buf);
    weft_free(d->ctx, d->file_end);
    weft_free(d->ctx, d->segment);
    weft_free(d->ctx, d);
}

int64_t weft_documents_total(const weft_documents *d) { return d->total; }
int64_t weft_documents_done(const weft_documents *d) { return d->done + (int64_t)d->used; }

/* ---- filling the buffer ---- */
static weft_status push_end(weft_documents *d)
{
    if (d->n_ends == d->cap_ends) {
        size_t cap = d->cap_ends ? d->cap_ends * 2 : 64;
        size_t *p = weft_realloc(d->ctx, d->file_end, cap * sizeof *p);
        if (!p)
            return d->ctx->status;
        d->file_end = p;
        d->cap_ends = cap;
    }
    d->file_end[d->n_ends++] = d->n;
    return WEFT_OK;
}

/* Moves what is not used yet to the front; all file ends have been passed by then. */
static weft_status make_room(weft_documents *d)
{
    memmove(d->buf, d->buf + d->used, d->n - d->used);
    d->done += (int64_t)d->used;
    d->n -= d->used;
    d->used = 0;
    if (d->n < d->cap)
        return WEFT_OK;
    if (d->cap > SIZE_MAX / 4)
        return weft_fail(d->ctx, WEFT_NOMEM, "a document without a place to cut in %zu bytes",
                         d->cap);
    char *p = weft_realloc(d->ctx, d->buf, d->cap * 2);
    if (!p)
        return d->ctx->status;
    d->buf = p;
    d->cap *= 2;
    return WEFT_OK;
}

static weft_status fill(weft_documents *d)
{
    const weft_io *io = d->ctx->io;
    while (d->n < d->cap && (d->fd >= 0 || d->path < d->n_paths)) {
        if (d->fd < 0)
            WEFT_TRY(weft_open_read(d->ctx, d->paths[d->path], &d->fd));
        int64_t got = io->read(io->user, d->fd, d->buf + d->n, d->cap - d->n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return weft_io_fail(d->ctx, WEFT_IO, "read", d->paths[d->path]);
        d->n += (size_t)got;
        if (got == 0) {
            weft_close_fd(d->ctx, d->fd);
            d->fd = -1;
            d->path++;
            WEFT_TRY(push_end(d));
        }
    }
    return WEFT_OK;
}

/* ---- where documents end ---- */
static bool is_space(char c) { return c == ' ' || (unsigned char)(c - 9) < 5; }

static bool all_space(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_space(p[i]))
            return false;
    return true;
}

/* Length of the blank line at p with its line break; 0 if there is none. At the end of a file it
 * needs no line break. */
static size_t blank_line(const char *p, size_t n, bool closed)
{
    size_t i = 0;
    while (i < n && p[i] != '\n' && is_space(p[i]))
        i++;
    if (i < n && p[i] == '\n')
        return i + 1;
    return i == n && closed ? n : 0;
}

/* A document's end, found in p[0..n): `stop` is behind its text, `next` behind the separator. */
typedef struct {
    size_t stop, next;
} boundary;

static bool find_mark(const weft_documents *d, const char *p, size_t n, boundary *b)
{
    const char *at = memmem(p, n, d->mark, d->n_mark);
    if (at)
        *b = (boundary){(size_t)(at - p), (size_t)(at - p) + d->n_mark};
    return at != NULL;
}

static bool find_blank(const char *p, size_t n, bool closed, boundary *b)
{
    for (const char *at = p; (at = memchr(at, '\n', n - (size_t)(at - p))); at++) {
        size_t stop = (size_t)(at - p) + 1,
               blank = stop < n ? blank_line(at + 1, n - stop, closed) : 0;
        if (blank) {
            *b = (boundary){stop, stop + blank};
            return true;
        }
    }
    return false;
}

static bool find_boundary(const weft_documents *d, const char *p, size_t n, bool closed,
                          boundary *b)
{
    bool found = (d->mode == WEFT_DOCS_MARK && find_mark(d, p, n, b)) ||
                 (d->mode == WEFT_DOCS_BLANK && find_blank(p, n, closed, b));
    if (!found && closed) {
        *b = (boundary){n, n};
        found = true;
    }
    return found;
}

/* ---- segments ---- */
static weft_status push_segment(weft_documents *d, const char *p, size_t n, bool last)
{
    if (d->n_segments == d->cap_segments) {
        size_t cap = d->cap_segments ? d->cap_segments * 2 : 1024;
        weft_segment *s = weft_realloc(d->ctx, d->segment, cap * sizeof *s);
        if (!s)
            return d->ctx->status;
        d->segment = s;
        d->cap_segments = cap;
    }
    d->segment[d->n_segments++] = (weft_segment){p, n, d->document, last};
    d->begun = !last;
    d->document += last;
    return WEFT_OK;
}

/* The text p[0..n) of the current document, in segments. */
static weft_status give_out(weft_documents *d, const char *p, size_t n, bool last)
{
    if (last && !d->begun && all_space(p, n))
        return WEFT_OK;
    for (size_t at = d->part; at < n;) {
        size_t cut = weft_bpe_cut(d->bpe, p, n, at);
        if (!cut) {
            at *= 2;
            continue;
        }
        WEFT_TRY(push_segment(d, p, cut, false));
        p += cut;
        n -= cut;
        at = d->part;
    }
    return push_segment(d, p, n, last);
}

/* Drops the line break after a mark, or blank lines before a document. False: more text is needed
 * to tell. */
static bool skip_before(weft_documents *d, size_t end, bool closed)
{
    const char *p = d->buf + d->used;
    size_t n = end - d->used, blank;
    if (d->after_mark && n < 2 && !closed)
        return false;
    if (d->after_mark)
        d->used += n > 1 && p[0] == '\r' && p[1] == '\n' ? 2 : n > 0 && *p == '\n';
    d->after_mark = false;
    if (d->mode == WEFT_DOCS_BLANK && !d->begun)
        while (d->used < end && (blank = blank_line(d->buf + d->used, end - d->used, closed)) > 0)
            d->used += blank;
    return true;
}

/* Gives out what is certain of a document that goes on behind the buffer: up to a cut that no
 * separator and no added token straddles. A blank line is white space all through, and the cut
 * stands before white space. */
static weft_status give_out_part(weft_documents *d, size_t end)
{
    size_t n = end - d->used, keep = d->n_mark > 1 ? d->n_mark - 1 : 1;
    keep = keep < d->longest ? d->longest : keep;
    size_t cut = n > keep ? weft_bpe_cut(d->bpe, d->buf + d->used, n, n - keep) : 0;
    if (!cut)
        return WEFT_OK;
    const char *p = d->buf + d->used;
    d->used += cut;
    return give_out(d, p, cut, false);
}

/* All documents in the buffer up to `end`, which is the end of a file if `closed`. */
static weft_status scan(weft_documents *d, size_t end, bool closed)
{
    boundary b;
    while (skip_before(d, end, closed) && (d->used < end || (closed && d->begun))) {
        const char *p = d->buf + d->used;
        if (!find_boundary(d, p, end - d->used, closed, &b))
            return give_out_part(d, end);
        d->used += b.next;
        d->after_mark = d->mode == WEFT_DOCS_MARK && b.next > b.stop;
        WEFT_TRY(give_out(d, p, b.stop, true));
    }
    return WEFT_OK;
}

weft_status weft_documents_next(weft_documents *d, const weft_segment **out, int *n)
{
    d->n_segments = 0;
    while (!d->n_segments && (d->used < d->n || d->begun || d->fd >= 0 || d->path < d->n_paths)) {
        WEFT_TRY(make_room(d));
        WEFT_TRY(fill(d));
        for (size_t i = 0; i < d->n_ends; i++) {
            WEFT_TRY(scan(d, d->file_end[i], true));
            d->after_mark = false;
        }
        bool all = d->n_ends > 0 && d->file_end[d->n_ends - 1] == d->n;
        d->n_ends = 0;
        if (!all)
            WEFT_TRY(scan(d, d->n, false));
    }
    *out = d->segment;
    *n = (int)d->n_segments;
    return WEFT_OK;
}
