/* data.c - token files, and batches as a pure function of (seed, cursor). */
#include "graph/data.h"

#include <inttypes.h>
#include <string.h>

#include "graph/hash.h"
#include "graph/sniff.h"

#define HEADER_WORDS 256 /* llm.c: int32 each */

struct weft_tokens {
    weft_ctx *ctx;
    weft_arena *arena;
    const char *path;
    char shown[512]; /* the path, for messages */
    int fd;
    int width;     /* bytes of an id: 2 or 4 */
    int64_t first; /* byte of id 0 */
    int64_t count, vocab;
    int64_t tokenizer; /* tokens that it has; 0: not known */
    uint64_t hash;
    weft_file_id id; /* when it was opened */
    int64_t checked; /* epoch for which the identity was last looked at; -1: never */
};

/* ---- opening ---- */
/* A bare file may begin with these bytes only if ids 55432 or 56193 lead it, which no GPT-2 file
 * holds. */
static const struct {
    int32_t magic, version;
    int width;
} headers[] = {{20240520, 1, 2}, {20240801, 7, 4}};

static weft_status read_llmc(weft_tokens *t, const int32_t *h, int version, int64_t size)
{
    t->first = HEADER_WORDS * 4;
    if (size < t->first)
        return weft_fail(t->ctx, WEFT_MALFORMED,
                         "%s: %" PRId64 " bytes, the header of such a token file has %" PRId64,
                         t->shown, size, t->first);
    if (h[1] != version)
        return weft_fail(t->ctx, WEFT_MALFORMED,
                         "%s: token file header %" PRId32 " has version %" PRId32 ", expected %d",
                         t->shown, h[0], h[1], version);
    t->count = h[2];
    int64_t expected = t->first + t->count * t->width;
    if (t->count < 0 || size != expected)
        return weft_fail(t->ctx, WEFT_MALFORMED,
                         "%s: the header promises %" PRId32 " tokens, which makes %" PRId64
                         " bytes, but the file has %" PRId64,
                         t->shown, h[2], expected, size);
    return WEFT_OK;
}

/* Bytes of an id if the file is for certain one of wider ids: of n 16-bit words all but every
 * second (or fourth) are 0, and the others are many. Else 0. */
static int wider_ids(const unsigned char *p, size_t n)
{
    unsigned char seen[65536 / 8] = {0};
    int different = 0, width = 0;
    for (int words = 2; words <= 4 && n / 2 / (size_t)words >= 64; words += 2) {
        bool zero = true;
        for (size_t i = 0; i + 1 < n && zero; i += 2)
            zero = i / 2 % (size_t)words == 0 || !(p[i] | p[i + 1]);
        width = zero ? words * 2 : width;
    }
    for (size_t i = 0; width && i + 1 < n; i += (size_t)width) {
        int word = p[i] | p[i + 1] << 8, bit = 1 << word % 8;
        different += !(seen[word / 8] & bit);
        seen[word / 8] |= (unsigned char)bit;
    }
    return different >= 32 ? width : 0;
}

/* A file without a header may be anything. What is refused here for certain holds no 16-bit ids; a
 * file with llm.c's header never comes here. */
static weft_status refuse_other(weft_tokens *t, int64_t size)
{
    size_t n = size < WEFT_SNIFF_BYTES ? (size_t)size : WEFT_SNIFF_BYTES;
    unsigned char *head = weft_alloc(t->ctx, n + 1);
    weft_status s = head ? weft_read_at(t->ctx, t->fd, t->path, head, n, 0) : t->ctx->status;
    const char *is = s ? NULL : weft_kind_of(head, n);
    if (!s && !is && weft_surely_text(head, n))
        is = "text; it becomes ids with weft tokenize encode";
    int width = s || is ? 0 : wider_ids(head, n);
    if (is)
        s = weft_fail(t->ctx, WEFT_MALFORMED,
                      "%s: this is %s, expected a token file (16-bit ids; if it is one for all "
                      "that, llm.c's header says so)",
                      t->shown, is);
    else if (width)
        s = weft_fail(
            t->ctx, WEFT_MALFORMED,
            "%s: this is a file of ids of %d bits (of every %d words of 16 bits, %d are "
            "0), expected 16 bits: python3 -c 'import numpy; "
            "numpy.fromfile(\"FILE\", \"uint%d\").astype(\"uint16\").tofile(\"OUT\")'; ids of "
            "32 bits are read with llm.c's header",
            t->shown, width * 8, width / 2, width / 2 - 1, width * 8);
    weft_free(t->ctx, head);
    return s;
}

static weft_status sniff(weft_tokens *t, int64_t size)
{
    int32_t h[HEADER_WORDS] = {0};
    size_t have = size < (int64_t)sizeof h ? (size_t)size : sizeof h;
    WEFT_TRY(weft_read_at(t->ctx, t->fd, t->path, h, have, 0));
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        if (h[0] == headers[i].magic) {
            t->width = headers[i].width;
            return read_llmc(t, h, headers[i].version, size);
        }
    WEFT_TRY(refuse_other(t, size));
    t->width = 2;
    t->first = 0;
    t->count = size / 2;
    if (size % 2)
        return weft_fail(t->ctx, WEFT_MALFORMED,
                         "%s: %" PRId64 " bytes, expected an even number (uint16 ids)", t->shown,
                         size);
    return WEFT_OK;
}

/* Bytes up to which a token file is hashed whole: a tenth of a second from memory, a second or two
 * from a disk. Beyond it, gigabytes would be read before every run, and samples must do. */
#define WHOLE   ((int64_t)256 << 20)
#define BLOCK   ((int64_t)256 << 10)
#define SAMPLES 64
#define SAMPLE  4096

static weft_status add_bytes(weft_tokens *t, weft_xxh64 *h, void *buf, int64_t at, int64_t n)
{
    WEFT_TRY(weft_read_at(t->ctx, t->fd, t->path, buf, (size_t)n, at));
    weft_xxh64_add(h, buf, (size_t)n);
    return WEFT_OK;
}

static weft_status add_whole(weft_tokens *t, weft_xxh64 *h, void *buf, int64_t size)
{
    for (int64_t at = 0; at < size; at += BLOCK)
        WEFT_TRY(add_bytes(t, h, buf, at, size - at < BLOCK ? size - at : BLOCK));
    return WEFT_OK;
}

static weft_status add_samples(weft_tokens *t, weft_xxh64 *h, void *buf, int64_t size)
{
    int64_t pieces = (size + SAMPLE - 1) / SAMPLE;
    for (int64_t i = 0; i < SAMPLES; i++) {
        int64_t at = (pieces - 1) * i / (SAMPLES - 1) * SAMPLE;
        WEFT_TRY(add_bytes(t, h, buf, at, size - at < SAMPLE ? size - at : SAMPLE));
    }
    return WEFT_OK;
}

static weft_status hash_file(weft_tokens *t, int64_t size)
{
    weft_xxh64 h;
    void *buf = weft_alloc(t->ctx, BLOCK);
    if (!buf)
        return t->ctx->status;
    weft_xxh64_init(&h, 0);
    weft_xxh64_add(&h, &size, sizeof size);
    weft_status s = size > WHOLE ? add_samples(t, &h, buf, size) : add_whole(t, &h, buf, size);
    t->hash = weft_xxh64_value(&h);
    weft_free(t->ctx, buf);
    return s;
}

static weft_status open_file(weft_tokens *t)
{
    weft_ctx *c = t->ctx;
    WEFT_TRY(weft_open_read(c, t->path, &t->fd));
    int64_t size = weft_size(c, t->fd);
    if (size < 0 || c->io->identify(c->io->user, t->path, &t->id))
        return weft_io_fail(c, WEFT_MISSING, "read", t->path);
    WEFT_TRY(sniff(t, size));
    return c->look_only ? WEFT_OK : hash_file(t, size);
}

weft_status weft_tokens_open(weft_ctx *c, const char *path, int64_t vocab, weft_tokens **out)
{
    *out = NULL;
    weft_arena *a = weft_arena_new(c, 0);
    weft_tokens *t = a ? weft_arena_alloc(a, sizeof *t) : NULL;
    if (!t) {
        weft_arena_free(a);
        return c->status;
    }
    *t = (weft_tokens){.ctx = c, .arena = a, .fd = -1, .vocab = vocab, .checked = -1};
    t->path = weft_arena_strdup(a, path);
    weft_printable(t->shown, sizeof t->shown, path);
    weft_status s = t->path ? open_file(t) : c->status;
    if (s)
        weft_tokens_close(t);
    else
        *out = t;
    return s;
}

void weft_tokens_limit(weft_tokens *t, int64_t n) { t->tokenizer = n; }

void weft_tokens_close(weft_tokens *t)
{
    if (!t)
        return;
    weft_close_fd(t->ctx, t->fd);
    weft_arena_free(t->arena);
}

int64_t weft_tokens_count(const weft_tokens *t) { return t->count; }
uint64_t weft_tokens_hash(const weft_tokens *t) { return t->hash; }

weft_status weft_tokens_check(weft_tokens *t)
{
    weft_file_id now;
    if (t->ctx->io->identify(t->ctx->io->user, t->path, &now))
        return weft_io_fail(t->ctx, WEFT_MISSING, "find again", t->path);
    if (now.size == t->id.size && now.mtime_ns == t->id.mtime_ns && now.inode == t->id.inode &&
        now.device == t->id.device)
        return WEFT_OK;
    return weft_fail(
        t->ctx, WEFT_MISMATCH,
        "%s changed while it was in use: opened with %" PRId64 " bytes, has %" PRId64 " now%s",
        t->shown, t->id.size, now.size, now.inode != t->id.inode ? ", and is another file" : "");
}

/* ---- reading ---- */
/* Widens in place: the uint16 lie in the upper half of `out`, so that writing id i never reaches an
 * unread one. */
static void widen(int32_t *out, int64_t n)
{
    const unsigned char *from = (const unsigned char *)out + n * 2;
    for (int64_t i = 0; i < n; i++) {
        uint16_t id;
        memcpy(&id, from + i * 2, 2);
        out[i] = id;
    }
}

static weft_status refuse_id(const weft_tokens *t, int64_t at, uint32_t id)
{
    if (id < (uint64_t)t->vocab)
        return weft_fail(t->ctx, WEFT_MALFORMED,
                         "%s: token %" PRId64 " is %" PRIu32 ", the tokenizer has %" PRId64
                         " tokens (was the file made with another one?)",
                         t->shown, at, id, t->tokenizer);
    return weft_fail(t->ctx, WEFT_MALFORMED,
                     "%s: token %" PRId64 " is %" PRIu32 ", the vocabulary has %" PRId64
                     " entries (was the file made with another tokenizer?)",
                     t->shown, at, id, t->vocab);
}

static weft_status check_ids(const weft_tokens *t, int64_t at, int64_t n, const int32_t *id)
{
    const int64_t end = t->tokenizer && t->tokenizer < t->vocab ? t->tokenizer : t->vocab;
    for (int64_t i = 0; i < n; i++)
        if ((uint32_t)id[i] >= (uint64_t)end)
            return refuse_id(t, at + i, (uint32_t)id[i]);
    return WEFT_OK;
}

weft_status weft_tokens_read(weft_tokens *t, int64_t at, int64_t n, int32_t *out)
{
    if (at < 0 || n < 0 || n > t->count || at > t->count - n)
        return weft_fail(t->ctx, WEFT_INTERNAL,
                         "%s: tokens %" PRId64 " to %" PRId64 " asked for, the file has %" PRId64,
                         t->shown, at, at + n, t->count);
    char *raw = (char *)out + n * (4 - t->width);
    WEFT_TRY(weft_read_at(t->ctx, t->fd, t->path, raw, (size_t)(n * t->width),
                          t->first + at * t->width));
    if (t->width == 2)
        widen(out, n);
    return check_ids(t, at, n, out);
}

weft_status weft_tokens_probe(weft_tokens *t)
{
    enum { PLACES = 64, IDS = 1024 };
    int64_t n = t->count < IDS ? t->count : IDS;
    int32_t *id = weft_alloc(t->ctx, sizeof *id * IDS);
    weft_status s = id ? WEFT_OK : t->ctx->status;
    for (int64_t i = 0; i < PLACES && !s; i++)
        s = weft_tokens_read(t, (t->count - n) / (PLACES - 1) * i, n, id);
    weft_free(t->ctx, id);
    return s;
}

/* ---- sampling ---- */
/* Finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
 * 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t epoch_key(uint64_t seed, int64_t epoch)
{
    return mix(mix(seed + 0x9e3779b97f4a7c15u) + (uint64_t)epoch * 0x9e3779b97f4a7c15u);
}

/* A permutation of [0,n) by a key, without a table: a Feistel network over the next even power of
 * two, walked until it falls into [0,n) (Black and Rogaway, "Ciphers with arbitrary finite
 * domains", 2002). Fewer than four steps on average, as the power of two is below 4n. */
static int64_t permute(uint64_t key, int64_t n, int64_t i)
{
    int half = 1;
    while (half < 31 && (int64_t)1 << 2 * half < n)
        half++;
    uint64_t mask = ((uint64_t)1 << half) - 1, x = (uint64_t)i;
    do {
        uint64_t left = x >> half, right = x & mask;
        for (uint64_t round = 1; round <= 6; round++) {
            uint64_t next = left ^ (mix(key + round * 0xd1b54a32d192ed03u + right) & mask);
            left = right;
            right = next;
        }
        x = left << half | right;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}

int64_t weft_sampler_blocks(const weft_sampler *s)
{
    int64_t count = s->tokens->count;
    if (s->B < 1 || s->T < 1 || count < s->T + 1)
        return 0;
    if (!s->shuffle || s->fixed)
        return (count - 1) / s->T;
    /* the last block must have its T+1 tokens at the largest shift too */
    return count < 2 * s->T ? 1 : (count - s->T) / s->T;
}

int64_t weft_sampler_epoch(const weft_sampler *s, int64_t cursor)
{
    int64_t blocks = weft_sampler_blocks(s);
    return blocks ? cursor * s->B / blocks : 0;
}

weft_status weft_sampler_check(const weft_sampler *s)
{
    weft_ctx *c = s->tokens->ctx;
    if (s->B < 1 || s->T < 1 || s->T > INT32_MAX || s->B > INT32_MAX)
        return weft_fail(c, WEFT_USAGE,
                         "a batch of %" PRId64 " x %" PRId64 " tokens, expected positive sizes",
                         s->B, s->T);
    if (!weft_sampler_blocks(s))
        return weft_fail(c, WEFT_MISMATCH,
                         "%s has %" PRId64 " tokens, a sequence of length %" PRId64
                         " needs at least %" PRId64,
                         s->tokens->shown, s->tokens->count, s->T, s->T + 1);
    return WEFT_OK;
}

int64_t weft_sampler_row(const weft_sampler *s, int64_t cursor, int64_t r)
{
    return s->copies ? cursor : cursor * s->B + r;
}

int64_t weft_sampler_start(const weft_sampler *s, int64_t i)
{
    int64_t blocks = weft_sampler_blocks(s), epoch = i / blocks, block = i % blocks;
    if (!s->shuffle)
        return block * s->T;
    uint64_t key = epoch_key(s->seed, epoch);
    if (s->fixed)
        return permute(key, blocks, block) * s->T;
    int64_t room =
        s->tokens->count - blocks * s->T; /* positions of the shift that leave T+1 tokens */
    if (room > s->T)
        room = s->T;
    return permute(key, blocks, block) * s->T + (int64_t)(mix(key ^ 0x5ca1ab1e) % (uint64_t)room);
}

int64_t weft_sampler_window(const weft_sampler *s, int64_t i)
{
    return s->shuffle && !s->fixed ? -1 : weft_sampler_start(s, i) / s->T;
}

/* T+1 tokens are read as T inputs and the one after; the targets are the inputs one further. */
static weft_status read_row(const weft_sampler *s, int64_t i, int32_t *tokens, int32_t *targets)
{
    int64_t at = weft_sampler_start(s, i), T = s->T;
    if (tokens)
        WEFT_TRY(weft_tokens_read(s->tokens, at, T, tokens));
    if (!targets)
        return WEFT_OK;
    if (!tokens)
        return weft_tokens_read(s->tokens, at + 1, T, targets);
    memcpy(targets, tokens + 1, (size_t)(T - 1) * sizeof *tokens);
    return weft_tokens_read(s->tokens, at + T, 1, targets + T - 1);
}

weft_status weft_sampler_batch(const weft_sampler *s, int64_t cursor, int32_t *tokens,
                               int32_t *targets)
{
    WEFT_TRY(weft_sampler_check(s));
    int64_t first, end;
    if (cursor < 0 || !weft_mul_ok(cursor, s->B, &first) || !weft_add_ok(first, s->B, &end))
        return weft_fail(s->tokens->ctx, WEFT_MALFORMED,
                         "micro-batch %" PRId64 " of %" PRId64 " sequences is out of range", cursor,
                         s->B);
    int64_t epoch = first / weft_sampler_blocks(s);
    if (epoch != s->tokens->checked)
        WEFT_TRY(weft_tokens_check(s->tokens));
    s->tokens->checked = epoch;
    for (int64_t r = 0; r < s->B; r++)
        WEFT_TRY(read_row(s, weft_sampler_row(s, cursor, r), tokens ? tokens + r * s->T : NULL,
                          targets ? targets + r * s->T : NULL));
    return WEFT_OK;
}
