/* fuzz_tokenizer.c - tokenizer files, and texts through them: whatever the bytes, decoding gives
 * them back, and a text cut where it may be cut has the same ids.
 *
 * Parts: tokenizer.json, or vocab.json and merges.txt; text. */
#include "tests/fuzz/fuzz.h"
#include "tools/bpe.h"

static void decode(weft_ctx *c, const weft_bpe *t, const weft_ids *ids, const uint8_t *text,
                   size_t n)
{
    weft_decoder d = {.bpe = t};
    weft_string s;
    weft_string_init(&s, c);
    for (size_t i = 0; i < ids->n; i++) {
        FUZZ_REQUIRE(ids->id[i] >= 0 && ids->id[i] < weft_bpe_vocab(t), "id %d", ids->id[i]);
        FUZZ_REQUIRE(!weft_decoder_add(&d, ids->id[i], &s), "%s", weft_error(c));
    }
    weft_decoder_end(&d, &s);
    FUZZ_REQUIRE(s.failed || (s.len == n && (!n || !memcmp(s.s, text, n))),
                 "%zu bytes came back as %zu others", n, s.len);
    weft_string_free(&s);
}

static void in_two(weft_ctx *c, const weft_bpe *t, const weft_ids *whole, const char *text,
                   size_t n)
{
    size_t cut = n > 1 ? weft_split_point(text, n / 2) : 0;
    weft_ids ids = {.ctx = c};
    FUZZ_REQUIRE(cut < n || !n, "cut at %zu of %zu", cut, n);
    if (!cut || !fuzz_done(c, weft_bpe_encode(c, t, text, cut, false, &ids)) ||
        !fuzz_done(c, weft_bpe_encode(c, t, text + cut, n - cut, false, &ids))) {
        weft_ids_free(&ids);
        return;
    }
    FUZZ_REQUIRE(ids.n == whole->n && !memcmp(ids.id, whole->id, ids.n * sizeof *ids.id),
                 "cutting at %zu changes the ids", cut);
    weft_ids_free(&ids);
}

static void use(weft_ctx *c, const weft_bpe *t, const fuzz_part *text)
{
    const uint8_t *data = text ? text->data : (const uint8_t *)"the end";
    size_t n = text ? text->n : 7, pieces = 0;
    weft_ids ids = {.ctx = c}, special = {.ctx = c};
    for (size_t k; pieces < n; pieces += k) {
        k = weft_split((const char *)data + pieces, n - pieces);
        FUZZ_REQUIRE(k && k <= n - pieces, "a piece of %zu bytes", k);
    }
    if (fuzz_done(c, weft_bpe_encode(c, t, (const char *)data, n, false, &ids))) {
        decode(c, t, &ids, data, n);
        in_two(c, t, &ids, (const char *)data, n);
    }
    if (fuzz_done(c, weft_bpe_encode(c, t, (const char *)data, n, true, &special)))
        decode(c, t, &special, data, n);
    weft_ids_free(&ids);
    weft_ids_free(&special);
}

/* What was read is written and read back as the same. */
static void save(weft_ctx *c, const weft_bpe *t)
{
    weft_bpe *back;
    if (!fuzz_done(c, weft_bpe_save(t, "again/tokenizer.json")))
        return;
    weft_status s = weft_bpe_load(c, "again/tokenizer.json", &back);
    FUZZ_REQUIRE(!s || s == WEFT_NOMEM, "%s", weft_error(c));
    if (!fuzz_done(c, s))
        return;
    FUZZ_REQUIRE(weft_bpe_vocab(t) == weft_bpe_vocab(back), "another vocabulary");
    for (int32_t i = 0; i < weft_bpe_vocab(t); i++) {
        size_t n = 0, k = 0;
        const char *x = weft_bpe_token(t, i, &n), *y = weft_bpe_token(back, i, &k);
        FUZZ_REQUIRE(!x == !y && n == k && (!x || !memcmp(x, y, n)), "token %d changed", i);
        FUZZ_REQUIRE(weft_bpe_is_special(t, i) == weft_bpe_is_special(back, i), "token %d", i);
    }
    weft_bpe_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_part part[FUZZ_PARTS];
    int parts = fuzz_split(data, n, "tokenizer.json", part);
    weft_ctx *c = fuzz_open((size_t)256 << 20, false);
    weft_bpe *t;
    fuzz_file("again/x", "", 0);
    fuzz_files("t", part, parts);
    if (fuzz_done(c, weft_bpe_load(c, "t", &t))) {
        use(c, t, fuzz_find(part, parts, "text"));
        save(c, t);
        weft_bpe_free(t);
    }
    fuzz_close(c);
    return 0;
}
