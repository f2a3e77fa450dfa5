/* bpe_train.c - learns the merges of a byte-level BPE from counted pieces.
 *
 * Input: how often each piece occurs.  Output: a tokenizer.  Sennrich et al. 2016, algorithm 1,
 * made incremental: the counts of all adjacent pairs are kept up to date (exact integers, so the
 * order of work does not matter), each pair lists the words that may hold it, and a heap gives the
 * next pair; its entries may be stale and are checked when they come up.  Invariants between steps:
 * the count of every pair is exact, and every pair whose count is at least min_count has an entry
 * in the heap with its count or a higher one. */
#include <string.h>

#include "tools/bpe_impl.h"

enum {
    LONGEST_TOKEN =
        128, /* bytes; longer ones would be learned from rulers and repeated noise only */
    PROGRESS_EVERY = 256
};

typedef struct {
    int32_t left, right;
    int32_t words; /* list of words that have or had the pair, -1: empty */
    bool raised;   /* its count grew in this step */
    int64_t count; /* adjacent occurrences, overlapping ones too */
} pair;

typedef struct {
    int32_t word, next;
} node;

typedef struct {
    int64_t count;
    int32_t left, right, pair;
} candidate;

/* The symbols of one word. */
typedef struct {
    int32_t start, n;
    int64_t count;
} seq;

typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    int32_t *sym;
    seq *seq;
    int32_t n_seq;
    pair *pair; /* never removed */
    size_t n_pair, pair_cap;
    int32_t *index; /* [index_cap], open addressing: pair number or -1 */
    size_t index_cap;
    node *node;
    size_t n_node, node_cap;
    candidate *heap;
    size_t n_heap, heap_cap;
    int32_t *raised; /* pairs whose count grew in this step */
    size_t n_raised, raised_cap;
    const char **text; /* [n_token], spelled in the byte alphabet */
    int *bytes;        /* [n_token], their lengths */
    int32_t n_token;
    bpe_merge *merge;
    int n_merge, merge_cap;
} trainer;

/* Room for one more element of an array outside the arena; false when out of memory. */
static bool room(weft_ctx *c, void **p, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    size_t want = *cap ? *cap * 2 : 4096;
    void *grown = weft_realloc(c, *p, want * size);
    if (!grown)
        return false;
    *p = grown;
    *cap = want;
    return true;
}
#define ROOM(t, p, n, cap) room((t)->ctx, (void **)&(t)->p, (t)->n, &(t)->cap, sizeof *(t)->p)

/* ---- the heap: highest count first, then the lowest pair ---- */
static bool before(candidate a, candidate b)
{
    if (a.count != b.count)
        return a.count > b.count;
    return a.left != b.left ? a.left < b.left : a.right < b.right;
}

static weft_status heap_push(trainer *t, candidate x)
{
    if (!ROOM(t, heap, n_heap, heap_cap))
        return t->ctx->status;
    size_t i = t->n_heap++;
    for (; i > 0 && before(x, t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = x;
    return WEFT_OK;
}

static candidate heap_pop(trainer *t)
{
    candidate top = t->heap[0], x = t->heap[--t->n_heap];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < t->n_heap; i = k) {
        if (k + 1 < t->n_heap && before(t->heap[k + 1], t->heap[k]))
            k++;
        if (!before(t->heap[k], x))
            break;
        t->heap[i] = t->heap[k];
    }
    t->heap[i] = x;
    return top;
}

/* ---- pairs ---- */
static size_t index_slot(const trainer *t, int32_t left, int32_t right)
{
    size_t i = bpe_hash(left, right) & (t->index_cap - 1);
    for (; t->index[i] >= 0; i = (i + 1) & (t->index_cap - 1))
        if (t->pair[t->index[i]].left == left && t->pair[t->index[i]].right == right)
            break;
    return i;
}

static weft_status index_grow(trainer *t)
{
    t->index_cap = t->index_cap ? t->index_cap * 2 : 1 << 14;
    weft_free(t->ctx, t->index);
    t->index = weft_alloc(t->ctx, t->index_cap * sizeof *t->index);
    if (!t->index)
        return t->ctx->status;
    memset(t->index, -1, t->index_cap * sizeof *t->index);
    for (size_t i = 0; i < t->n_pair; i++)
        t->index[index_slot(t, t->pair[i].left, t->pair[i].right)] = (int32_t)i;
    return WEFT_OK;
}

/* The number of a pair, made if it is new; -1 when out of memory. */
static int32_t find_pair(trainer *t, int32_t left, int32_t right)
{
    if (t->n_pair * 2 >= t->index_cap && index_grow(t))
        return -1;
    size_t i = index_slot(t, left, right);
    if (t->index[i] >= 0)
        return t->index[i];
    if (!ROOM(t, pair, n_pair, pair_cap))
        return -1;
    t->pair[t->n_pair] = (pair){.left = left, .right = right, .words = -1};
    return t->index[i] = (int32_t)t->n_pair++;
}

/* One more place of a pair, in a word. Words come one after another, so that the head of the list
 * tells whether the word is listed already: a long run of one letter is one entry. */
static weft_status raise_pair(trainer *t, int32_t left, int32_t right, int32_t word)
{
    int32_t i = find_pair(t, left, right);
    if (i < 0 || !ROOM(t, raised, n_raised, raised_cap) || !ROOM(t, node, n_node, node_cap))
        return t->ctx->status;
    pair *p = &t->pair[i];
    p->count += t->seq[word].count;
    if (!p->raised)
        t->raised[t->n_raised++] = i;
    p->raised = true;
    if (p->words >= 0 && t->node[p->words].word == word)
        return WEFT_OK;
    if (t->n_node == INT32_MAX)
        return weft_fail(t->ctx, WEFT_UNSUPPORTED,
                         "the text has too many different pieces to train on; use a part");
    t->node[t->n_node] = (node){word, p->words};
    p->words = (int32_t)t->n_node++;
    return WEFT_OK;
}

static void lower_pair(trainer *t, int32_t left, int32_t right, int64_t count)
{
    t->pair[t->index[index_slot(t, left, right)]].count -= count; /* it is there: it was counted */
}

/* Puts the pairs whose counts grew into the heap. */
static weft_status queue_raised(trainer *t)
{
    for (size_t i = 0; i < t->n_raised; i++) {
        pair *p = &t->pair[t->raised[i]];
        p->raised = false;
        WEFT_TRY(heap_push(t, (candidate){p->count, p->left, p->right, t->raised[i]}));
    }
    t->n_raised = 0;
    return WEFT_OK;
}

/* ---- words ---- */
/* GPT-2 numbers the bytes that stand for themselves first. */
static void number_bytes(int32_t id_of[256], unsigned char byte_of[256])
{
    int32_t next = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int b = 0; b < 256; b++) {
            bool self = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
            if (self == !pass) {
                id_of[b] = next;
                byte_of[next++] = (unsigned char)b;
            }
        }
}

static weft_status lay_out(trainer *t, const bpe_word *w, size_t n, const int32_t id_of[256])
{
    size_t total = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        total += w[i].n;
    if (total > INT32_MAX || n > INT32_MAX)
        return weft_fail(t->ctx, WEFT_UNSUPPORTED,
                         "the text has too many different pieces (%zu bytes) to train on; "
                         "use a part",
                         total);
    t->sym = weft_arena_array(t->arena, total, sizeof *t->sym);
    t->seq = weft_arena_array(t->arena, n, sizeof *t->seq);
    if (!t->sym || !t->seq)
        return t->ctx->status;
    for (size_t i = 0; i < n; i++) {
        t->seq[i] = (seq){(int32_t)at, (int32_t)w[i].n, w[i].count};
        for (uint32_t k = 0; k < w[i].n; k++)
            t->sym[at++] = id_of[(unsigned char)w[i].p[k]];
    }
    t->n_seq = (int32_t)n;
    return WEFT_OK;
}

static weft_status count_pairs(trainer *t)
{
    for (int32_t i = 0; i < t->n_seq; i++) {
        const int32_t *s = t->sym + t->seq[i].start;
        for (int32_t k = 0; k + 1 < t->seq[i].n; k++)
            WEFT_TRY(raise_pair(t, s[k], s[k + 1], i));
    }
    return queue_raised(t);
}

/* Replaces every (left, right) in a word by `id`, from left to right, and moves the counts of the
 * neighbouring pairs. The neighbour on the left is read from what is already replaced, so that
 * "abab" ends as one pair (X, X). */
static weft_status merge_word(trainer *t, int32_t word, int32_t left, int32_t right, int32_t id)
{
    seq *q = &t->seq[word];
    int32_t *s = t->sym + q->start, n = 0;
    for (int32_t i = 0; i < q->n; i++) {
        if (s[i] != left || i + 1 == q->n || s[i + 1] != right) {
            s[n++] = s[i];
            continue;
        }
        if (n > 0) {
            lower_pair(t, s[n - 1], left, q->count);
            WEFT_TRY(raise_pair(t, s[n - 1], id, word));
        }
        if (i + 2 < q->n) {
            lower_pair(t, right, s[i + 2], q->count);
            WEFT_TRY(raise_pair(t, id, s[i + 2], word));
        }
        s[n++] = id;
        i++;
    }
    q->n = n;
    return WEFT_OK;
}

/* ---- tokens and merges ---- */
static weft_status add_bytes(trainer *t, const unsigned char byte_of[256])
{
    for (int i = 0; i < 256; i++) {
        weft_string s;
        weft_string_init(&s, t->ctx);
        bpe_spell((const char *)&byte_of[i], 1, &s);
        t->text[i] = s.failed ? NULL : weft_arena_strdup(t->arena, s.s);
        t->bytes[i] = 1;
        weft_string_free(&s);
        if (!t->text[i])
            return t->ctx->status;
    }
    t->n_token = 256;
    return WEFT_OK;
}

/* The token of a merge; -1 when out of memory. It is always new: bytes that became one token were
 * merged inside themselves only, in the order of the ranks, so no other merge makes them. */
static int32_t joined_token(trainer *t, int32_t left, int32_t right)
{
    int32_t id = t->n_token;
    t->text[id] = weft_arena_printf(t->arena, "%s%s", t->text[left], t->text[right]);
    t->bytes[id] = t->bytes[left] + t->bytes[right];
    return t->text[id] ? t->n_token++ : -1;
}

/* The pair to merge next; its count is 0 when none is left that is frequent enough. */
static weft_status next_pair(trainer *t, int64_t min_count, candidate *out)
{
    *out = (candidate){0};
    while (t->n_heap > 0) {
        candidate c = heap_pop(t);
        int64_t now = t->pair[c.pair].count;
        if (c.count < min_count)
            return WEFT_OK;
        if (t->bytes[c.left] + t->bytes[c.right] > LONGEST_TOKEN)
            continue;
        if (now == c.count) {
            *out = c;
            return WEFT_OK;
        }
        if (now < c.count && now >= min_count) /* a higher count has its own entry */
            WEFT_TRY(heap_push(t, (candidate){now, c.left, c.right, c.pair}));
    }
    return WEFT_OK;
}

static weft_status merge_pair(trainer *t, candidate c)
{
    int32_t id = joined_token(t, c.left, c.right);
    if (id < 0 || !WEFT_GROW(t->arena, t->merge, t->n_merge, t->merge_cap))
        return t->ctx->status;
    t->merge[t->n_merge++] = (bpe_merge){c.left, c.right, id};
    for (int32_t k = t->pair[c.pair].words; k >= 0; k = t->node[k].next)
        WEFT_TRY(merge_word(t, t->node[k].word, c.left, c.right, id));
    t->pair[c.pair].count = 0;
    t->pair[c.pair].words = -1;
    return queue_raised(t);
}

static weft_status learn(trainer *t, const weft_bpe_options *o)
{
    while (t->n_token + 1 < o->vocab) {
        candidate c;
        WEFT_TRY(next_pair(t, o->min_count, &c));
        if (!c.count)
            return weft_fail(t->ctx, WEFT_MISMATCH,
                             "the text is too small for %lld tokens: after %d no pair occurs "
                             "%lld times; ask for fewer, or lower --min-count",
                             (long long)o->vocab, t->n_token + 1, (long long)o->min_count);
        WEFT_TRY(merge_pair(t, c));
        if (o->progress && t->n_merge % PROGRESS_EVERY == 0)
            o->progress(o->user, t->n_token - 256, o->vocab - 257);
    }
    return WEFT_OK;
}

/* ---- from start to end ---- */
/* Through the same checks as a tokenizer that is read. */
static weft_status make_bpe(trainer *t, weft_bpe **out)
{
    const bpe_place at = {"trained tokenizer", "model.vocab"};
    WEFT_TRY(bpe_open(t->ctx, t->n_token + 1, out));
    for (int32_t i = 0; i < t->n_token; i++)
        WEFT_TRY(bpe_add_token(*out, at, t->text[i], i, NULL));
    WEFT_TRY(bpe_add_token(*out, at, WEFT_END_OF_TEXT, t->n_token, &bpe_special));
    WEFT_TRY(bpe_begin_merges(*out, at, t->n_merge));
    for (int i = 0; i < t->n_merge; i++)
        WEFT_TRY(bpe_add_merge(*out, "trained tokenizer", t->text[t->merge[i].left],
                               t->text[t->merge[i].right]));
    return bpe_finish(*out);
}

static weft_status run(trainer *t, weft_counts *const *counts, int n, const weft_bpe_options *o,
                       weft_bpe **out)
{
    int32_t id_of[256];
    unsigned char byte_of[256];
    bpe_word *w;
    size_t n_words;
    number_bytes(id_of, byte_of);
    t->text = weft_arena_array(t->arena, (size_t)o->vocab, sizeof *t->text);
    t->bytes = weft_arena_array(t->arena, (size_t)o->vocab, sizeof *t->bytes);
    if (!t->text || !t->bytes)
        return t->ctx->status;
    WEFT_TRY(bpe_counts_sum(t->arena, counts, n, &w, &n_words));
    WEFT_TRY(lay_out(t, w, n_words, id_of));
    WEFT_TRY(add_bytes(t, byte_of));
    WEFT_TRY(count_pairs(t));
    WEFT_TRY(learn(t, o));
    return make_bpe(t, out);
}

weft_status weft_bpe_train(weft_ctx *c, weft_counts *const *counts, int n,
                           const weft_bpe_options *o, weft_bpe **out)
{
    if (o->vocab < 257 || o->vocab > BPE_MAX_VOCAB || o->min_count < 1)
        return weft_fail(
            c, WEFT_USAGE,
            "a vocabulary of %lld tokens, expected 257..%d; min_count %lld, expected 1..",
            (long long)o->vocab, BPE_MAX_VOCAB, (long long)o->min_count);
    trainer t = {.ctx = c, .arena = weft_arena_new(c, 0)};
    weft_bpe *made = NULL;
    weft_status s = t.arena ? run(&t, counts, n, o, &made) : c->status;
    weft_arena_free(t.arena);
    weft_free(c, t.pair);
    weft_free(c, t.index);
    weft_free(c, t.node);
    weft_free(c, t.heap);
    weft_free(c, t.raised);
    if (s)
        weft_bpe_free(made);
    else
        *out = made;
    return s;
}
