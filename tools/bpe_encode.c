/* bpe_encode.c - text to ids: pieces through a cache, merging in O(n log n).
 *
 * Merging joins the adjacent pair of lowest rank, the leftmost of equals, until no pair has a rank.
 * Short pieces do it with one array and a scan; long ones (a megabyte of one letter is one piece)
 * with a heap over a linked list. */
#include <string.h>

#include "tools/bpe_impl.h"

enum {
    CACHE_SLOTS = 1 << 14, /* a megabyte: fits the second-level cache of one core */
    KEY_BYTES = 31,
    KEY_IDS = 7,
    SHORT_PIECE = 128
};

/* A piece and its ids: one cache line. */
typedef struct {
    uint64_t
        key[4]; /* up to 31 bytes, zero padded; the last byte is their number, 0 in a free slot */
    int32_t n, id[KEY_IDS];
} cached;

typedef struct {
    int32_t rank, at;
} candidate;

/* A token inside a long piece: a doubly linked list over positions. */
typedef struct {
    int32_t id, rank; /* rank of the merge with the next one, -1 if there is none */
    int32_t prev, next;
} link;

struct weft_encoder {
    weft_ctx *ctx;
    const weft_bpe *bpe;
    cached *cache;
    link *list; /* [room] */
    candidate *heap;
    size_t room, n_heap;
};

/* ---- ids ---- */
weft_status weft_ids_reserve(weft_ids *ids, size_t more)
{
    if (ids->cap - ids->n >= more)
        return WEFT_OK;
    size_t cap = ids->n + more + ids->cap / 2;
    if (cap < more || cap > SIZE_MAX / sizeof *ids->id)
        return weft_fail(ids->ctx, WEFT_NOMEM, "out of memory: %zu more ids", more);
    int32_t *p = weft_realloc(ids->ctx, ids->id, cap * sizeof *p);
    if (!p)
        return ids->ctx->status;
    ids->id = p;
    ids->cap = cap;
    return WEFT_OK;
}

void weft_ids_free(weft_ids *ids)
{
    weft_free(ids->ctx, ids->id);
    *ids = (weft_ids){.ctx = ids->ctx};
}

/* ---- short pieces ---- */
static inline int32_t rank_of(const weft_bpe *t, int32_t left, int32_t right)
{
    const bpe_slot *s = bpe_find(t, left, right);
    return s ? s->rank : INT32_MAX;
}

/* n <= SHORT_PIECE bytes to ids in place; returns their number. rank[i] belongs to the pair (i,
 * i+1). */
static size_t merge_short(const weft_bpe *t, const unsigned char *p, size_t n, int32_t *id)
{
    int32_t rank[SHORT_PIECE];
    for (size_t i = 0; i < n; i++)
        id[i] = t->byte_id[p[i]];
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = rank_of(t, id[i], id[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = rank[i] < rank[best] ? i : best;
        if (rank[best] == INT32_MAX)
            break;
        id[best] = t->merge[rank[best]].id;
        memmove(id + best + 1, id + best + 2, (n - best - 2) * sizeof *id);
        if (n > best + 2)
            memmove(rank + best, rank + best + 1, (n - best - 2) * sizeof *rank);
        n--;
        if (best + 1 < n)
            rank[best] = rank_of(t, id[best], id[best + 1]);
        if (best > 0)
            rank[best - 1] = rank_of(t, id[best - 1], id[best]);
    }
    return n;
}

/* ---- long pieces ---- */
static inline bool before(candidate a, candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void heap_push(weft_encoder *e, candidate x)
{
    size_t i = e->n_heap++;
    for (; i > 0 && before(x, e->heap[(i - 1) / 2]); i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = x;
}

static candidate heap_pop(weft_encoder *e)
{
    candidate top = e->heap[0], x = e->heap[--e->n_heap];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < e->n_heap; i = k) {
        if (k + 1 < e->n_heap && before(e->heap[k + 1], e->heap[k]))
            k++;
        if (!before(e->heap[k], x))
            break;
        e->heap[i] = e->heap[k];
    }
    e->heap[i] = x;
    return top;
}

/* Looks up the pair that begins at `at` and queues it. */
static void offer(weft_encoder *e, int32_t at)
{
    link *l = &e->list[at];
    const bpe_slot *s = l->next < 0 ? NULL : bpe_find(e->bpe, l->id, e->list[l->next].id);
    l->rank = s ? s->rank : -1;
    if (s)
        heap_push(e, (candidate){s->rank, at});
}

/* Every position is offered at most three times: at the start, and as each neighbour of a merge. */
static weft_status make_room(weft_encoder *e, size_t n)
{
    if (n <= e->room)
        return WEFT_OK;
    if (n > INT32_MAX / 2)
        return weft_fail(e->ctx, WEFT_UNSUPPORTED,
                         "a run of %zu bytes without a place to split, at most %d can be "
                         "merged",
                         n, INT32_MAX / 2);
    link *list = weft_realloc(e->ctx, e->list, n * sizeof *list);
    e->list = list ? list : e->list;
    candidate *heap = list ? weft_realloc(e->ctx, e->heap, 3 * n * sizeof *heap) : NULL;
    e->heap = heap ? heap : e->heap;
    if (!heap)
        return e->ctx->status;
    e->room = n;
    return WEFT_OK;
}

static weft_status merge_long(weft_encoder *e, const unsigned char *p, size_t n, weft_ids *out)
{
    WEFT_TRY(make_room(e, n));
    link *list = e->list;
    e->n_heap = 0;
    for (size_t i = 0; i < n; i++)
        list[i] =
            (link){e->bpe->byte_id[p[i]], -1, (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
    for (size_t i = 0; i < n; i++)
        offer(e, (int32_t)i);
    while (e->n_heap > 0) {
        candidate c = heap_pop(e);
        link *l = &list[c.at];
        if (l->rank != c.rank) /* gone, or another pair by now */
            continue;
        link *gone = &list[l->next];
        l->id = e->bpe->merge[c.rank].id;
        gone->rank = -1;
        l->next = gone->next;
        if (l->next >= 0)
            list[l->next].prev = c.at;
        offer(e, c.at);
        if (l->prev >= 0)
            offer(e, l->prev);
    }
    for (int32_t i = 0; i >= 0; i = list[i].next)
        out->id[out->n++] = list[i].id;
    return WEFT_OK;
}

/* ---- pieces ---- */
static inline cached *cache_slot(weft_encoder *e, const uint64_t key[4])
{
    uint64_t h = key[0] * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 29 ^ key[1]) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 32 ^ key[2] ^ key[3]) * 0x94D049BB133111EBu;
    return &e->cache[h >> 40 & (CACHE_SLOTS - 1)];
}

/* `out` has room for n more ids. */
static weft_status add_piece(weft_encoder *e, const char *p, size_t n, weft_ids *out)
{
    int32_t *id = out->id + out->n;
    if (n > SHORT_PIECE)
        return merge_long(e, (const unsigned char *)p, n, out);
    if (n > KEY_BYTES) {
        out->n += merge_short(e->bpe, (const unsigned char *)p, n, id);
        return WEFT_OK;
    }
    uint64_t key[4] = {0};
    memcpy(key, p, n);
    ((unsigned char *)key)[31] = (unsigned char)n;
    cached *k = cache_slot(e, key);
    if (k->key[0] == key[0] && k->key[1] == key[1] && k->key[2] == key[2] && k->key[3] == key[3]) {
        for (int32_t i = 0; i < k->n; i++)
            id[i] = k->id[i];
        out->n += (size_t)k->n;
        return WEFT_OK;
    }
    size_t got = merge_short(e->bpe, (const unsigned char *)p, n, id);
    out->n += got;
    if (got <= KEY_IDS) {
        memcpy(k->key, key, sizeof key);
        memcpy(k->id, id, got * sizeof *id);
        k->n = (int32_t)got;
    }
    return WEFT_OK;
}

static weft_status add_plain(weft_encoder *e, const char *text, size_t n, weft_ids *out)
{
    for (size_t len; n > 0; text += len, n -= len) {
        len = weft_split(text, n);
        WEFT_TRY(add_piece(e, text, len, out));
    }
    return WEFT_OK;
}

/* ---- added tokens ---- */
/* What stands between the added tokens of a pass goes to the next one, after the last to the
 * pieces.
 */
static weft_status add_pass(weft_encoder *e, int pass, const char *text, size_t n, bool specials,
                            weft_ids *out)
{
    size_t from = 0;
    if (pass == 2)
        return add_plain(e, text, n, out);
    for (bpe_match m = {0}; bpe_next_added(e->bpe, pass, specials, text, n, &m); from = m.stop) {
        if (m.start > from)
            WEFT_TRY(add_pass(e, pass + 1, text + from, m.start - from, specials, out));
        if (m.stop > m.start)
            out->id[out->n++] = e->bpe->added[m.added].id;
    }
    return add_pass(e, pass + 1, text + from, n - from, specials, out);
}

/* No token is shorter than a byte, and none is found in a byte of another. */
weft_status weft_encoder_add(weft_encoder *e, const char *text, size_t n, bool specials,
                             weft_ids *out)
{
    WEFT_TRY(weft_ids_reserve(out, n));
    return add_pass(e, 0, text, n, specials, out);
}

/* ---- opening ---- */
void weft_encoder_close(weft_encoder *e)
{
    if (!e)
        return;
    weft_free(e->ctx, e->cache);
    weft_free(e->ctx, e->list);
    weft_free(e->ctx, e->heap);
    weft_free(e->ctx, e);
}

weft_status weft_encoder_open(weft_ctx *c, const weft_bpe *t, weft_encoder **out)
{
    weft_encoder *e = weft_alloc(c, sizeof *e);
    if (!e)
        return c->status;
    *e = (weft_encoder){.ctx = c, .bpe = t};
    e->cache = weft_alloc(c, CACHE_SLOTS * sizeof *e->cache);
    if (!e->cache) {
        weft_encoder_close(e);
        return c->status;
    }
    *out = e;
    return WEFT_OK;
}

weft_status weft_bpe_encode(weft_ctx *c, const weft_bpe *t, const char *text, size_t n,
                            bool specials, weft_ids *out)
{
    weft_encoder *e = NULL;
    WEFT_TRY(weft_encoder_open(c, t, &e));
    weft_status s = weft_encoder_add(e, text, n, specials, out);
    weft_encoder_close(e);
    return s;
}
