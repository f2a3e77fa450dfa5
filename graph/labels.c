/* labels.c - the format of label files, and reading them: every byte is checked before it is used.
 */
#include "graph/labels.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/hash.h"
#include "graph/sniff.h"

/* ---- the header ---- */
static const char magic[8] = "WEFTLBL\n";
enum {
    AT_VERSION = 8,
    AT_BYTES = 12,
    AT_T = 16,
    AT_K = 24,
    AT_WINDOWS = 32,
    AT_CONCEPTS = 40,
    AT_TYPE = 48,
    AT_SCORES = 52,
    AT_BATCH = 56,
    AT_SEED = 64,
    AT_TOKENS = 72,
    AT_DATA = 80,
    AT_GRAPH = 88,
    AT_WEIGHTS = 96,
    AT_ZERO = 104,
    AT_HASH = 120
};
#define LIMIT_T     ((int64_t)1 << 31)
#define LIMIT_K     ((int64_t)1 << 16)
#define LIMIT_COUNT ((int64_t)1 << 48)

static void put(unsigned char *at, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        at[i] = (unsigned char)(v >> 8 * i);
}

static uint64_t get(const unsigned char *at, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)at[i] << 8 * i;
    return v;
}

int weft_label_width(const weft_label_header *h) { return h->concepts <= 65536 ? 2 : 4; }

int64_t weft_label_record(const weft_label_header *h)
{
    return h->T * h->k * (weft_label_width(h) + (h->scores ? 4 : 0)) + 8;
}

bool weft_label_bytes(const weft_label_header *h, int64_t *out)
{
    return weft_mul_ok(h->windows, weft_label_record(h), out) &&
           weft_add_ok(*out, WEFT_LABEL_HEADER, out);
}

void weft_label_pack(const weft_label_header *h, unsigned char out[WEFT_LABEL_HEADER])
{
    memset(out, 0, WEFT_LABEL_HEADER);
    memcpy(out, magic, sizeof magic);
    put(out + AT_VERSION, WEFT_LABEL_VERSION, 4);
    put(out + AT_BYTES, WEFT_LABEL_HEADER, 4);
    put(out + AT_T, (uint64_t)h->T, 8);
    put(out + AT_K, (uint64_t)h->k, 8);
    put(out + AT_WINDOWS, (uint64_t)h->windows, 8);
    put(out + AT_CONCEPTS, (uint64_t)h->concepts, 8);
    put(out + AT_TYPE, weft_label_width(h) == 2 ? 1 : 2, 4);
    put(out + AT_SCORES, h->scores, 4);
    put(out + AT_BATCH, (uint64_t)h->B, 8);
    put(out + AT_SEED, h->seed, 8);
    put(out + AT_TOKENS, (uint64_t)h->data_tokens, 8);
    put(out + AT_DATA, h->data_hash, 8);
    put(out + AT_GRAPH, h->graph_hash, 8);
    put(out + AT_WEIGHTS, h->weight_hash, 8);
    put(out + AT_HASH, weft_xxh64_of(out, AT_HASH, 0), 8);
}

static weft_status bad(weft_ctx *c, const char *path, const char *what)
{
    char shown[512];
    return weft_fail(c, WEFT_MALFORMED, "%s: %s", weft_printable(shown, sizeof shown, path), what);
}

/* A header with a good hash may still have been made by a broken program. */
static weft_status check_ranges(weft_ctx *c, const char *path, const unsigned char *in,
                                const weft_label_header *h)
{
    static const struct {
        int at;
        int64_t most;
        const char *what;
    } range[] = {{AT_T, LIMIT_T, "T, the positions of a window,"},
                 {AT_K, LIMIT_K, "k, the labels of a position,"},
                 {AT_WINDOWS, LIMIT_COUNT, "the number of windows"},
                 {AT_CONCEPTS, LIMIT_T, "the number of concepts"},
                 {AT_BATCH, LIMIT_T, "the batch"},
                 {AT_TOKENS, LIMIT_COUNT, "the number of tokens"}};
    char text[256];
    int64_t product;
    for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
        int64_t v = (int64_t)get(in + range[i].at, 8);
        if (v >= 1 && v <= range[i].most)
            continue;
        snprintf(text, sizeof text, "header: %s is %" PRId64 ", expected 1 to %" PRId64,
                 range[i].what, v, range[i].most);
        return bad(c, path, text);
    }
    if (get(in + AT_TYPE, 4) != (weft_label_width(h) == 2 ? 1u : 2u))
        return bad(c, path, "header: the type of ids does not go with the number of concepts");
    if (get(in + AT_SCORES, 4) > 1 || get(in + AT_ZERO, 8) || get(in + AT_ZERO + 8, 8))
        return bad(c, path,
                   "header: a flag or reserved byte is set that this version knows nothing of");
    if (!weft_mul_ok(h->windows, h->T, &product) || product >= h->data_tokens)
        return bad(c, path, "header: more positions than tokens");
    return weft_label_bytes(h, &product) ? WEFT_OK
                                         : bad(c, path, "header: sizes whose product overflows");
}

static weft_status not_labels(weft_ctx *c, const char *path, const void *head, size_t n)
{
    char text[512];
    const char *is = weft_kind_of(head, n);
    snprintf(text, sizeof text, "not a label file: it does not begin with WEFTLBL%s%s",
             is ? "; this is " : "", is ? is : "");
    return bad(c, path, text);
}

weft_status weft_label_unpack(weft_ctx *c, const char *path,
                              const unsigned char in[WEFT_LABEL_HEADER], weft_label_header *out)
{
    char text[128], shown[512];
    if (memcmp(in, magic, sizeof magic))
        return not_labels(c, path, in, WEFT_LABEL_HEADER);
    uint64_t version = get(in + AT_VERSION, 4);
    bool whole = get(in + AT_HASH, 8) == weft_xxh64_of(in, AT_HASH, 0);
    if (whole && version > WEFT_LABEL_VERSION)
        return weft_fail(c, WEFT_UNSUPPORTED, "%s: label file of version %u, this build reads %d",
                         weft_printable(shown, sizeof shown, path), (unsigned)version,
                         WEFT_LABEL_VERSION);
    if (whole && version == 1)
        return weft_fail(c, WEFT_UNSUPPORTED,
                         "%s: label file of version 1, which knows its data by samples only; weft "
                         "labels makes it anew",
                         weft_printable(shown, sizeof shown, path));
    if (!whole)
        return bad(c, path, "the header is damaged: its hash is not the one that it holds");
    if (version != WEFT_LABEL_VERSION || get(in + AT_BYTES, 4) != WEFT_LABEL_HEADER) {
        snprintf(text, sizeof text, "header: version %u with %u bytes, expected %d with %d",
                 (unsigned)version, (unsigned)get(in + AT_BYTES, 4), WEFT_LABEL_VERSION,
                 WEFT_LABEL_HEADER);
        return bad(c, path, text);
    }
    *out = (weft_label_header){.T = (int64_t)get(in + AT_T, 8),
                               .k = (int64_t)get(in + AT_K, 8),
                               .windows = (int64_t)get(in + AT_WINDOWS, 8),
                               .concepts = (int64_t)get(in + AT_CONCEPTS, 8),
                               .scores = get(in + AT_SCORES, 4) != 0,
                               .B = (int64_t)get(in + AT_BATCH, 8),
                               .seed = get(in + AT_SEED, 8),
                               .data_tokens = (int64_t)get(in + AT_TOKENS, 8),
                               .data_hash = get(in + AT_DATA, 8),
                               .graph_hash = get(in + AT_GRAPH, 8),
                               .weight_hash = get(in + AT_WEIGHTS, 8)};
    return check_ranges(c, path, in, out);
}

/* Not more than what it has, as an interrupted run may have written less than the magic. */
static weft_status begins_as_label(weft_ctx *c, int fd, const char *path, bool *yes)
{
    char head[sizeof magic];
    int64_t size = weft_size(c, fd);
    size_t n = size < (int64_t)sizeof head ? (size_t)size : sizeof head;
    if (size < 0)
        return weft_io_fail(c, WEFT_CANTCREATE, "read", path);
    WEFT_TRY(weft_read_at(c, fd, path, head, n, 0));
    *yes = !memcmp(head, magic, n);
    return WEFT_OK;
}

weft_status weft_label_replaceable(weft_ctx *c, const char *path)
{
    char shown[512];
    bool yes = false;
    int fd, kind;
    WEFT_TRY(weft_look_out(c, path, &kind));
    if (!kind)
        return WEFT_OK;
    if (kind == 1) {
        WEFT_TRY(weft_open_read(c, path, &fd));
        weft_status s = begins_as_label(c, fd, path, &yes);
        weft_close_fd(c, fd);
        WEFT_TRY(s);
    }
    if (yes)
        return WEFT_OK;
    return weft_fail(c, WEFT_CANTCREATE, "%s is %s: labels do not take its place; choose another",
                     weft_printable(shown, sizeof shown, path),
                     kind == 2 ? "a folder" : "there and no label file");
}

/* ---- do they belong here? ---- */
weft_status weft_label_match(weft_ctx *c, const char *path, const weft_label_header *f,
                             const weft_label_header *w, bool all)
{
    const struct {
        uint64_t found, want;
        bool asked, hash;
        const char *what;
    } list[] = {
        {(uint64_t)f->T, (uint64_t)w->T, true, false, "T, the length of a sequence"},
        {(uint64_t)f->k, (uint64_t)w->k, true, false, "k, the labels of a position"},
        {(uint64_t)f->concepts, (uint64_t)w->concepts, true, false, "number of concepts"},
        {(uint64_t)f->data_tokens, (uint64_t)w->data_tokens, true, false,
         "data's number of tokens"},
        {f->data_hash, w->data_hash, true, true, "data hash (they are of another token file)"},
        {(uint64_t)f->windows, (uint64_t)w->windows, true, false, "number of windows"},
        {f->graph_hash, w->graph_hash, true, true,
         "graph hash (the part of the model that makes them is another)"},
        {f->weight_hash, w->weight_hash, w->weight_hash != 0, true,
         "weight hash (the extractor has other weights)"},
        {(uint64_t)f->B, (uint64_t)w->B, all, false, "windows of a batch"},
        {f->seed, w->seed, all, false, "seed"},
        {f->scores, w->scores, all, false, "scores (1: with them)"},
    };
    char shown[512];
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].asked && list[i].found != list[i].want)
            return weft_fail(c, WEFT_MISMATCH,
                             list[i].hash ? "%s: these labels do not belong here: their %s is "
                                            "%016" PRIx64 ", expected %016" PRIx64
                                            "; weft labels makes them anew"
                                          : "%s: these labels do not belong here: their %s is "
                                            "%" PRIu64 ", expected %" PRIu64
                                            "; weft labels makes them anew",
                             weft_printable(shown, sizeof shown, path), list[i].what, list[i].found,
                             list[i].want);
    return WEFT_OK;
}

/* ---- reading ---- */
struct weft_labels {
    weft_ctx *ctx;
    weft_arena *arena;
    const char *path;
    char shown[512];
    int fd;
    weft_label_header h;
    unsigned char *record;
};

static weft_status open_file(weft_labels *l)
{
    weft_ctx *c = l->ctx;
    unsigned char head[WEFT_LABEL_HEADER] = {0};
    int64_t want;
    WEFT_TRY(weft_open_read(c, l->path, &l->fd));
    int64_t size = weft_size(c, l->fd);
    if (size < 0)
        return weft_io_fail(c, WEFT_MISSING, "read", l->path);
    if (size < WEFT_LABEL_HEADER) {
        WEFT_TRY(weft_read_at(c, l->fd, l->path, head, (size_t)size, 0));
        if (size > 8 && memcmp(head, magic, sizeof magic))
            return not_labels(c, l->path, head, (size_t)size);
        return weft_fail(c, WEFT_MALFORMED,
                         "%s: %" PRId64 " bytes, the header of a label file has %d", l->shown, size,
                         WEFT_LABEL_HEADER);
    }
    WEFT_TRY(weft_read_at(c, l->fd, l->path, head, sizeof head, 0));
    WEFT_TRY(weft_label_unpack(c, l->path, head, &l->h));
    if (!weft_label_bytes(&l->h, &want) || size != want)
        return weft_fail(c, WEFT_MALFORMED,
                         "%s: the header promises %" PRId64 " windows, which makes %" PRId64
                         " bytes, but the file has %" PRId64,
                         l->shown, l->h.windows, want, size);
    l->record = weft_arena_alloc(l->arena, (size_t)weft_label_record(&l->h));
    return c->status;
}

weft_status weft_labels_open(weft_ctx *c, const char *path, weft_labels **out)
{
    *out = NULL;
    weft_arena *a = weft_arena_new(c, 0);
    weft_labels *l = a ? weft_arena_alloc(a, sizeof *l) : NULL;
    if (!l) {
        weft_arena_free(a);
        return c->status;
    }
    *l = (weft_labels){.ctx = c, .arena = a, .fd = -1};
    l->path = weft_arena_strdup(a, path);
    weft_printable(l->shown, sizeof l->shown, path);
    weft_status s = l->path ? open_file(l) : c->status;
    if (s)
        weft_labels_close(l);
    else
        *out = l;
    return s;
}

void weft_labels_close(weft_labels *l)
{
    if (!l)
        return;
    weft_close_fd(l->ctx, l->fd);
    weft_arena_free(l->arena);
}

const weft_label_header *weft_labels_header(const weft_labels *l) { return &l->h; }
const char *weft_labels_path(const weft_labels *l) { return l->path; }

static weft_status unpack_ids(weft_labels *l, int64_t window, int32_t *ids)
{
    int width = weft_label_width(&l->h);
    for (int64_t i = 0; i < l->h.T * l->h.k; i++) {
        uint64_t id = get(l->record + i * width, width);
        if (id >= (uint64_t)l->h.concepts)
            return weft_fail(l->ctx, WEFT_MALFORMED,
                             "%s: window %" PRId64 ", position %" PRId64 ": label %" PRIu64
                             ", but there are %" PRId64 " concepts",
                             l->shown, window, i / l->h.k, id, l->h.concepts);
        ids[i] = (int32_t)id;
    }
    return WEFT_OK;
}

weft_status weft_labels_read(weft_labels *l, int64_t window, int32_t *ids, float *scores)
{
    const int64_t n = l->h.T * l->h.k, record = weft_label_record(&l->h);
    if (window < 0 || window >= l->h.windows)
        return weft_fail(l->ctx, WEFT_INTERNAL,
                         "%s: window %" PRId64 " asked for, the file has %" PRId64, l->shown,
                         window, l->h.windows);
    WEFT_TRY(weft_read_at(l->ctx, l->fd, l->path, l->record, (size_t)record,
                          WEFT_LABEL_HEADER + window * record));
    if (get(l->record + record - 8, 8) !=
        weft_xxh64_of(l->record, (size_t)record - 8, (uint64_t)window))
        return weft_fail(l->ctx, WEFT_MALFORMED,
                         "%s: window %" PRId64 " (bytes %" PRId64 " to %" PRId64
                         ") is damaged: its hash is not the one that it holds",
                         l->shown, window, WEFT_LABEL_HEADER + window * record,
                         WEFT_LABEL_HEADER + (window + 1) * record);
    WEFT_TRY(unpack_ids(l, window, ids));
    for (int64_t i = 0; scores && i < n; i++) {
        const unsigned char *at = l->record + n * weft_label_width(&l->h) + i * 4;
        uint32_t bits = l->h.scores ? (uint32_t)get(at, 4) : 0;
        memcpy(&scores[i], &bits, sizeof bits);
    }
    return WEFT_OK;
}
