/* bpe_impl.h - what a tokenizer is made of, for the files that make, read and write one. */
#ifndef WEFT_TOOLS_BPE_IMPL_H
#define WEFT_TOOLS_BPE_IMPL_H

#include "tools/bpe.h"

enum { BPE_MAX_TOKEN = 65535, BPE_MAX_VOCAB = 1 << 24 };

typedef struct {
    const char *bytes; /* what it decodes to */
    const char *text;  /* as files write it: each byte as one character of the byte alphabet;
                          added tokens as they are */
    uint32_t n;        /* bytes */
    bool added;        /* found as a whole in texts (added.c) */
    bool special;      /* and no text, but a sign, as <|endoftext|> */
} bpe_token;

/* How an added token is found, in Hugging Face's words. */
typedef struct {
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
} bpe_added;
extern const bpe_added bpe_special; /* of a token like <|endoftext|> */

typedef struct bpe_matcher bpe_matcher;

typedef struct {
    int32_t left, right, id; /* id: of the two joined */
} bpe_merge;

/* One slot of the table of merges, keyed by the pair. */
typedef struct {
    int32_t left, right; /* left < 0: free */
    int32_t rank, id;
} bpe_slot;

struct weft_bpe {
    weft_ctx *ctx;
    weft_arena *arena;
    bpe_token *token; /* [n_vocab] */
    int32_t n_vocab;
    bpe_merge *merge; /* [n_merges], by rank */
    int32_t n_merges;
    int32_t byte_id[256];
    bpe_slot *slot; /* [mask + 1], open addressing */
    size_t mask;
    bpe_added *added;
    int n_added, cap_added;
    bpe_matcher *matcher[2]; /* of those that are not normalized, of those that are; NULL: none */
    int32_t end;
    weft_map *by_text; /* token text -> id */
};

static inline size_t bpe_hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (size_t)(h >> 32 ^ h >> 15);
}

/* The merge of a pair, or NULL. */
static inline const bpe_slot *bpe_find(const weft_bpe *t, int32_t left, int32_t right)
{
    for (size_t i = bpe_hash(left, right) & t->mask;; i = (i + 1) & t->mask) {
        const bpe_slot *s = &t->slot[i];
        if (s->left == left && s->right == right)
            return s;
        if (s->left < 0)
            return NULL;
    }
}

/* ---- making one: open, tokens, merges, close; every step checks ---- */
/* Where an entry stands, for messages: "FILE: model.merges[12]" or "merges.txt:13". */
typedef struct {
    const char *file, *path; /* path: "model.vocab", "" at the top of a vocab.json */
} bpe_place;

/* A tokenizer for n tokens, all still missing. */
weft_status bpe_open(weft_ctx *c, int64_t n_vocab, weft_bpe **out);
/* Token `id` is written as `text`. An added one is taken as it is, others (`added` NULL) are
 * spelled in the byte alphabet. `added->id` does not matter. */
weft_status bpe_add_token(weft_bpe *t, bpe_place at, const char *text, int64_t id,
                          const bpe_added *added);
/* The alphabet of 256 single bytes must be there, and room for n merges is made. */
weft_status bpe_begin_merges(weft_bpe *t, bpe_place at, int64_t n);
/* The next merge in order of rank; `where` names it in messages. */
weft_status bpe_add_merge(weft_bpe *t, const char *where, const char *left, const char *right);
/* The last step: what finds added tokens in texts. */
weft_status bpe_finish(weft_bpe *t);

/* ---- added tokens in a text ---- */
typedef struct {
    int32_t added;      /* index of t->added */
    size_t start, stop; /* its bytes, with the white space that it takes; none: it is dropped */
    size_t next;        /* where the search goes on */
} bpe_match;
/* The next token of pass 0 or 1 (t->matcher); start from {0}. Special ones only if `specials`.
 * A token may begin before the last one's stop: in white space that that one took. */
bool bpe_next_added(const weft_bpe *t, int pass, bool specials, const char *text, size_t n,
                    bpe_match *m);
bool bpe_is_space(int32_t code); /* the Unicode property White_Space */

/* ---- counted pieces ---- */
typedef struct {
    const char *p; /* bytes; NULL: a free slot */
    uint32_t n, hash;
    int64_t count;
} bpe_word;

struct weft_counts {
    weft_ctx *ctx;
    weft_arena *arena;
    bpe_word *slot; /* [cap], open addressing */
    size_t cap, n;
};

/* The sum of n tables, sorted by bytes, in arena memory; the bytes stay with the tables. */
weft_status bpe_counts_sum(weft_arena *a, weft_counts *const *counts, int n, bpe_word **out,
                           size_t *n_out);

/* ---- spelling ---- */
/* Bytes to the text of a token, and back: false at a character that is not in the byte alphabet. */
void bpe_spell(const char *bytes, size_t n, weft_string *out);
bool bpe_unspell(const char *text, char *bytes, size_t *n);

/* "text" with control characters and all that is not UTF-8 escaped, and long ones cut. */
const char *bpe_quote(char *buf, size_t n, const char *text);

#endif
