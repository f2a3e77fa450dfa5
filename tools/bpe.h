/* bpe.h - byte-level BPE as GPT-2 does it: load, encode, decode, train, write.
 *
 * A text is split into pieces (bpe_split.c), the bytes of a piece become tokens, and adjacent
 * tokens are merged, the pair of lowest rank first.  Every byte string can be encoded, and decoding
 * gives exactly it back; bytes that are no UTF-8 count as characters that are neither letter,
 * number nor space. Sources: Sennrich et al. 2016 (BPE), Radford et al. 2019, 2.2 (bytes),
 * openai/gpt-2 src/encoder.py (alphabet, split). */
#ifndef WEFT_TOOLS_BPE_H
#define WEFT_TOOLS_BPE_H

#include "graph/util.h"

#define WEFT_END_OF_TEXT "<|endoftext|>"

/* A vocabulary with its merges. Never changes after it is made: any number of threads may share it.
 */
typedef struct weft_bpe weft_bpe;

/* Reads a tokenizer.json (Hugging Face), a vocab.json with merges.txt beside it (or encoder.json
 * with vocab.bpe), or a folder with either. Malformed parts are named by their JSON path; parts
 * that would change the ids in a way not implemented here (normalizers, other pre-tokenizers,
 * dropout ...) are WEFT_UNSUPPORTED. Free before the context. */
weft_status weft_bpe_load(weft_ctx *c, const char *path, weft_bpe **out);
void weft_bpe_free(weft_bpe *t);
/* Writes a Hugging Face tokenizer.json, atomically. */
weft_status weft_bpe_save(const weft_bpe *t, const char *path);

int32_t weft_bpe_vocab(const weft_bpe *t); /* ids are 0 .. vocab-1 */
int32_t weft_bpe_end(const weft_bpe *t);   /* id of <|endoftext|>, -1 if there is none */
/* The n bytes of a token, owned by t; NULL when the id is not in the vocabulary. */
const char *weft_bpe_token(const weft_bpe *t, int32_t id, size_t *n);
/* Is it a sign like <|endoftext|>, and no text? Of the added tokens, those marked "special". */
bool weft_bpe_is_special(const weft_bpe *t, int32_t id);

/* ---- encoding ---- */
/* Growing ids; start from {.ctx = c}, end with weft_ids_free. */
typedef struct {
    weft_ctx *ctx;
    int32_t *id;
    size_t n, cap;
} weft_ids;
weft_status weft_ids_reserve(weft_ids *ids, size_t more);
void weft_ids_free(weft_ids *ids);

/* Scratch memory and a cache of pieces: one per thread, each with a context of its own thread. */
typedef struct weft_encoder weft_encoder;
weft_status weft_encoder_open(weft_ctx *c, const weft_bpe *t, weft_encoder **out);
void weft_encoder_close(weft_encoder *e);
/* Appends the ids of n bytes of text. Added tokens become their one id, wherever Hugging Face's
 * tokenizers would find them; special ones ("<|endoftext|>") only with `specials`, else they are
 * spelled like any other text (its split_special_tokens). */
weft_status weft_encoder_add(weft_encoder *e, const char *text, size_t n, bool specials,
                             weft_ids *out);
/* The same for one short text. */
weft_status weft_bpe_encode(weft_ctx *c, const weft_bpe *t, const char *text, size_t n,
                            bool specials, weft_ids *out);

/* ---- decoding ---- */
/* Decodes id after id and gives out whole characters only: the first bytes of a character that the
 * next token completes wait in `held`. Start from {.bpe = t}. */
typedef struct {
    const weft_bpe *bpe;
    char held[4];
    int n_held;
} weft_decoder;
/* Appends what is complete to out; WEFT_MISMATCH when the id is not in the vocabulary. */
weft_status weft_decoder_add(weft_decoder *d, int32_t id, weft_string *out);
void weft_decoder_end(weft_decoder *d,
                      weft_string *out); /* appends what is held, complete or not */

/* ---- the pre-tokenizer ---- */
/* Length of the first piece of a text (n > 0 bytes) under GPT-2's pattern
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+   */
size_t weft_split(const char *text, size_t n);
/* The last place at or below `at` (the text has more than `at` bytes) where it may be cut without
 * changing its pieces: before white space that follows something else. 0 if there is none. */
size_t weft_split_point(const char *text, size_t at);
/* The same for ids: no added token of t (NULL: there are none) stands at the place or across it.
 * All of text[0..n) may be looked at, n > at: a token that goes on behind n is not seen, so that at
 * least weft_bpe_longest_added bytes must follow the place unless the text ends at n. */
size_t weft_bpe_cut(const weft_bpe *t, const char *text, size_t n, size_t at);
size_t weft_bpe_longest_added(const weft_bpe *t); /* bytes */

/* ---- training ---- */
/* Counts the pieces of texts, added in any order and from any number of trainers; see bpe_train.c.
 */
typedef struct weft_counts weft_counts;
weft_status weft_counts_open(weft_ctx *c, weft_counts **out);
void weft_counts_close(weft_counts *w);
weft_status weft_counts_add(weft_counts *w, const char *text, size_t n);

typedef struct {
    int64_t vocab;     /* 257 ..: 256 bytes, the merges, <|endoftext|> as the last id */
    int64_t min_count; /* a pair seen less often is not merged */
    void (*progress)(void *user, int64_t merges, int64_t of); /* may be NULL */
    void *user;
} weft_bpe_options;
/* Learns merges from the sum of n counts: the pair seen most often first, among equals the one with
 * the lowest left id, then the lowest right id. The result is a function of the counted texts
 * alone. WEFT_MISMATCH when the text is too small for that many tokens. */
weft_status weft_bpe_train(weft_ctx *c, weft_counts *const *counts, int n,
                           const weft_bpe_options *o, weft_bpe **out);

#endif
