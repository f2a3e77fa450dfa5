/* bpe.h - what the tokenizer tests share: a small tokenizer made by hand, random texts. */
#ifndef WEFT_TESTS_BPE_H
#define WEFT_TESTS_BPE_H

#include "tests/store.h"

#include "graph/io.h"
#include "tools/bpe_impl.h"

/* The 256 bytes by number, "th" "the" " the" (the last one is written "Ġthe"), "aa" "aaaa" "aaa",
 * <|endoftext|>. */
enum { SMALL_VOCAB = 263 };
static const char *const small_tokens[] = {"th", "the", "\xc4\xa0the", "aa", "aaaa", "aaa"};
static const char *const small_merges[][2] = {{"t", "h"}, {"th", "e"},  {"\xc4\xa0", "the"},
                                              {"a", "a"}, {"aa", "aa"}, {"aa", "a"}};

static UNUSED weft_bpe *small_bpe(weft_ctx *c)
{
    weft_bpe *t;
    const bpe_place at = {"small", "vocab"};
    assert_int_equal(bpe_open(c, SMALL_VOCAB, &t), WEFT_OK);
    for (int b = 0; b < 256; b++) {
        weft_string s;
        weft_string_init(&s, c);
        bpe_spell(&(char){(char)b}, 1, &s);
        assert_int_equal(bpe_add_token(t, at, s.s, b, NULL), WEFT_OK);
        weft_string_free(&s);
    }
    for (int i = 0; i < 6; i++)
        assert_int_equal(bpe_add_token(t, at, small_tokens[i], 256 + i, NULL), WEFT_OK);
    assert_int_equal(bpe_add_token(t, at, WEFT_END_OF_TEXT, SMALL_VOCAB - 1, &bpe_special),
                     WEFT_OK);
    assert_int_equal(bpe_begin_merges(t, at, 6), WEFT_OK);
    for (int i = 0; i < 6; i++)
        assert_int_equal(bpe_add_merge(t, "small", small_merges[i][0], small_merges[i][1]),
                         WEFT_OK);
    assert_int_equal(bpe_finish(t), WEFT_OK);
    return t;
}

/* A fixed generator, so that a failure comes again. */
typedef struct {
    uint64_t s;
} lcg;

static UNUSED uint32_t lcg_next(lcg *g)
{
    g->s = g->s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(g->s >> 33);
}

/* n bytes, each step one of: a letter, a space, a part of "the", a break, valid UTF-8, any byte.
 * Returns the length. */
static UNUSED size_t random_text(lcg *g, char *out, size_t n)
{
    static const char *const part[] = {"a",
                                       "aa",
                                       "the",
                                       " the",
                                       "th",
                                       " ",
                                       "  ",
                                       "\n",
                                       "\t",
                                       "'s",
                                       "'",
                                       "12",
                                       "!",
                                       "?!",
                                       "\xc3\xa9",
                                       "\xe6\x97\xa5",
                                       "\xc2\xa0",
                                       "\xe3\x80\x80",
                                       "\xc2",
                                       "\xff",
                                       "\xf0\x9f\x98\x80",
                                       "\xed\xa0\x80",
                                       WEFT_END_OF_TEXT,
                                       "x"};
    size_t at = 0;
    while (at < n) {
        uint32_t r = lcg_next(g);
        const char *p = part[r % (sizeof part / sizeof *part)];
        if (r % 7 == 0) {
            out[at++] = (char)(r >> 8);
            continue;
        }
        size_t len = strlen(p) < n - at ? strlen(p) : n - at;
        memcpy(out + at, p, len);
        at += len;
    }
    return at;
}

#endif
