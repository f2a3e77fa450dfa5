/* bpe.c - the tokenizer object: tokens, the byte alphabet, the table of merges, and the checks
 * while it is made. */
#include "tools/bpe.h"

#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

#include "tools/bpe_impl.h"

/* ---- the byte alphabet: printable bytes stand for themselves, the other 68 for U+0100.. in order
 * ---- */
static int32_t char_of_byte(int b)
{
    if (b <= 32)
        return 256 + b;
    if (b >= 127 && b <= 160)
        return 289 + b - 127;
    return b == 173 ? 323 : b;
}

static int byte_of_char(int32_t c)
{
    if (c >= 256 && c <= 288)
        return c - 256;
    if (c >= 289 && c <= 322)
        return c - 289 + 127;
    if (c == 323)
        return 173;
    return c >= 0 && c < 256 && char_of_byte(c) == c ? c : -1;
}

void bpe_spell(const char *bytes, size_t n, weft_string *out)
{
    for (size_t i = 0; i < n; i++) {
        utf8proc_uint8_t u[4];
        utf8proc_ssize_t len = utf8proc_encode_char(char_of_byte((unsigned char)bytes[i]), u);
        weft_string_add(out, (const char *)u, (size_t)len);
    }
}

bool bpe_unspell(const char *text, char *bytes, size_t *n)
{
    *n = 0;
    for (size_t left = strlen(text); left > 0;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t len =
            utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)left, &c);
        int b = len > 0 ? byte_of_char(c) : -1;
        if (b < 0)
            return false;
        bytes[(*n)++] = (char)b;
        text += len;
        left -= (size_t)len;
    }
    return true;
}

/* Length of the printable character at p, 0 if it is none. */
static size_t printable(const char *p, size_t n)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)n, &c);
    return len > 0 && c >= 0x20 && (c < 0x7F || c >= 0xA0) ? (size_t)len : 0;
}

const char *bpe_quote(char *buf, size_t n, const char *text)
{
    size_t at = 0, len, left = strlen(text);
    buf[at++] = '"';
    for (; left > 0 && at + 10 < n; text += len, left -= len) {
        len = printable(text, left);
        memcpy(buf + at, text, len);
        at += len;
        if (!len) {
            at += (size_t)snprintf(buf + at, 5, "\\x%02x", (unsigned char)*text);
            len = 1;
        }
    }
    snprintf(buf + at, n - at, left ? "...\"" : "\"");
    return buf;
}

/* ---- making one ----
 * Whoever makes a tokenizer, a reader of files or the trainer, goes through these steps, so that
 * every one in memory has passed the same checks and the encoder needs none. */
weft_status bpe_open(weft_ctx *c, int64_t n_vocab, weft_bpe **out)
{
    weft_arena *a = weft_arena_new(c, 0);
    weft_bpe *t = a ? weft_arena_alloc(a, sizeof *t) : NULL;
    if (t) {
        t->ctx = c;
        t->arena = a;
        t->n_vocab = (int32_t)n_vocab;
        t->end = -1;
        t->token = weft_arena_array(a, (size_t)n_vocab, sizeof *t->token);
        t->by_text = weft_map_new(a);
    }
    if (!t || !t->token || !t->by_text) {
        weft_arena_free(a);
        return c->status;
    }
    *out = t;
    return WEFT_OK;
}

void weft_bpe_free(weft_bpe *t)
{
    if (t)
        weft_arena_free(t->arena);
}

static weft_status fail_token(weft_bpe *t, bpe_place at, const char *text, const char *fmt, ...)
    WEFT_PRINTF(4, 5);
static weft_status fail_token(weft_bpe *t, bpe_place at, const char *text, const char *fmt, ...)
{
    char name[96], what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return weft_fail(t->ctx, WEFT_MALFORMED, "%s: %s[%s]: %s", at.file, at.path,
                     bpe_quote(name, sizeof name, text), what);
}

/* The text is kept beside the bytes: it is what files hold, and what merges name. */
static weft_status store_token(weft_bpe *t, bpe_place at, const char *text, int64_t id, bool added)
{
    bpe_token *k = &t->token[id];
    size_t n = strlen(text);
    char *copy = weft_arena_strdup(t->arena, text), *bytes = copy;
    if (copy && !added && !(bytes = weft_arena_alloc(t->arena, n + 1)))
        copy = NULL;
    if (!copy || !weft_map_set(t->by_text, copy, (int)id))
        return t->ctx->status;
    if (!added && !bpe_unspell(copy, bytes, &n))
        return fail_token(t, at, text,
                          "a character that is not in GPT-2's byte alphabet; only byte-level "
                          "vocabularies can be read");
    *k = (bpe_token){.bytes = bytes, .text = copy, .n = (uint32_t)n};
    return WEFT_OK;
}

const bpe_added bpe_special = {.special = true};

static weft_status note_added(weft_bpe *t, int32_t id, const bpe_added *added)
{
    if (!WEFT_GROW(t->arena, t->added, t->n_added, t->cap_added))
        return t->ctx->status;
    t->added[t->n_added] = *added;
    t->added[t->n_added++].id = id;
    t->token[id].added = true;
    t->token[id].special = added->special;
    if (!strcmp(t->token[id].text, WEFT_END_OF_TEXT))
        t->end = id;
    return WEFT_OK;
}

/* With n tokens, each with an id of its own in 0..n-1, there can be no gap. */
weft_status bpe_add_token(weft_bpe *t, bpe_place at, const char *text, int64_t id,
                          const bpe_added *added)
{
    char other[96];
    if (id < 0 || id >= t->n_vocab)
        return fail_token(t, at, text,
                          "id %lld is out of range: %d tokens have the ids 0..%d, without gaps",
                          (long long)id, t->n_vocab, t->n_vocab - 1);
    if (t->token[id].text)
        return fail_token(t, at, text, "id %lld is also the id of %s", (long long)id,
                          bpe_quote(other, sizeof other, t->token[id].text));
    if (!*text || strlen(text) > BPE_MAX_TOKEN)
        return fail_token(t, at, text, "a token of %zu bytes, expected 1..%d", strlen(text),
                          BPE_MAX_TOKEN);
    WEFT_TRY(store_token(t, at, text, id, added != NULL));
    return added ? note_added(t, (int32_t)id, added) : WEFT_OK;
}

/* Does its text mean the same as an added token and as a spelling? "the" does, "\u0120the" would be
 * found as these characters and decoded as " the". */
static bool can_merge(const bpe_token *k)
{
    for (const char *p = k->text; k->added && *p; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    return !k->special;
}

weft_status bpe_begin_merges(weft_bpe *t, bpe_place at, int64_t n)
{
    for (int b = 0; b < 256; b++) {
        utf8proc_uint8_t u[5] = {0};
        utf8proc_encode_char(char_of_byte(b), u);
        t->byte_id[b] = weft_map_get(t->by_text, (const char *)u, -1);
        if (t->byte_id[b] >= 0 && !can_merge(&t->token[t->byte_id[b]]))
            return weft_fail(t->ctx, WEFT_UNSUPPORTED,
                             "%s: added_tokens: \"%s\" is also how byte 0x%02x is written, and "
                             "would be found as a character",
                             at.file, (const char *)u, b);
        if (t->byte_id[b] < 0)
            return weft_fail(t->ctx, WEFT_MALFORMED,
                             "%s: %s: no token for byte 0x%02x, written \"%s\"; all 256 "
                             "bytes must have one",
                             at.file, at.path, b, (const char *)u);
    }
    size_t slots = 16; /* at most half full: short probes */
    while (slots < (size_t)n * 2)
        slots *= 2;
    t->mask = slots - 1;
    t->slot = weft_arena_array(t->arena, slots, sizeof *t->slot);
    t->merge = weft_arena_array(t->arena, (size_t)n, sizeof *t->merge);
    for (size_t i = 0; t->slot && i < slots; i++)
        t->slot[i].left = -1;
    return t->ctx->status;
}

/* The id of a token that a merge names. */
static int32_t merge_part(weft_bpe *t, const char *where, const char *text)
{
    char name[96];
    int32_t id = weft_map_get(t->by_text, text, -1);
    if (id < 0)
        weft_fail(t->ctx, WEFT_MALFORMED, "%s: %s is not in the vocabulary", where,
                  bpe_quote(name, sizeof name, text));
    else if (!can_merge(&t->token[id]))
        weft_fail(t->ctx, t->token[id].special ? WEFT_MALFORMED : WEFT_UNSUPPORTED,
                  "%s: %s is %s, which no merge may use or make", where,
                  bpe_quote(name, sizeof name, text),
                  t->token[id].special ? "a special token"
                                       : "an added token, found as it is written");
    else
        return id;
    return -1;
}

/* By text, not by bytes: a special token's text is no spelling. */
static int32_t merge_result(weft_bpe *t, const char *where, const char *left, const char *right)
{
    weft_string joined;
    weft_string_init(&joined, t->ctx);
    weft_string_add(&joined, left, strlen(left));
    weft_string_add(&joined, right, strlen(right));
    int32_t id = joined.failed ? -1 : merge_part(t, where, joined.s);
    weft_string_free(&joined);
    return id;
}

weft_status bpe_add_merge(weft_bpe *t, const char *where, const char *left, const char *right)
{
    int32_t l = merge_part(t, where, left), r = l < 0 ? -1 : merge_part(t, where, right);
    int32_t id = r < 0 ? -1 : merge_result(t, where, left, right);
    if (id < 0)
        return t->ctx->status;
    size_t i = bpe_hash(l, r) & t->mask;
    for (; t->slot[i].left >= 0; i = (i + 1) & t->mask)
        if (t->slot[i].left == l && t->slot[i].right == r)
            return weft_fail(t->ctx, WEFT_MALFORMED, "%s: the same merge as number %d", where,
                             t->slot[i].rank);
    t->slot[i] = (bpe_slot){l, r, t->n_merges, id};
    t->merge[t->n_merges++] = (bpe_merge){l, r, id};
    return WEFT_OK;
}

/* ---- reading from one ---- */
int32_t weft_bpe_vocab(const weft_bpe *t) { return t->n_vocab; }
int32_t weft_bpe_end(const weft_bpe *t) { return t->end; }

const char *weft_bpe_token(const weft_bpe *t, int32_t id, size_t *n)
{
    if (id < 0 || id >= t->n_vocab)
        return NULL;
    *n = t->token[id].n;
    return t->token[id].bytes;
}

bool weft_bpe_is_special(const weft_bpe *t, int32_t id)
{
    return id >= 0 && id < t->n_vocab && t->token[id].special;
}

/* ---- decoding ---- */
/* How many bytes at the end of p[0..n) begin a character that is not complete yet: 0..3. */
static int incomplete_tail(const unsigned char *p, size_t n)
{
    for (size_t k = 1; k <= 3 && k <= n; k++) {
        unsigned c = p[n - k];
        if (c >= 0xC2 && c <= 0xF4)
            return k < (c >= 0xF0 ? 4u : c >= 0xE0 ? 3u : 2u) ? (int)k : 0;
        if (c < 0x80 || c >= 0xC0)
            return 0;
    }
    return 0;
}

weft_status weft_decoder_add(weft_decoder *d, int32_t id, weft_string *out)
{
    size_t n;
    const char *bytes = weft_bpe_token(d->bpe, id, &n);
    if (!bytes)
        return weft_fail(out->ctx, WEFT_MISMATCH,
                         "id %d is not in the vocabulary, whose ids are 0..%d", id,
                         d->bpe->n_vocab - 1);
    size_t start = out->len;
    weft_string_add(out, d->held, (size_t)d->n_held);
    weft_string_add(out, bytes, n);
    if (out->failed)
        return out->ctx->status;
    d->n_held = incomplete_tail((const unsigned char *)out->s + start, out->len - start);
    out->len -= (size_t)d->n_held;
    memcpy(d->held, out->s + out->len, (size_t)d->n_held);
    out->s[out->len] = 0;
    return WEFT_OK;
}

void weft_decoder_end(weft_decoder *d, weft_string *out)
{
    weft_string_add(out, d->held, (size_t)d->n_held);
    d->n_held = 0;
}
