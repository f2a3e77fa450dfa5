/* test_bpe.c - byte-level BPE: the split, merging against a naive one, round trips, cuts, training,
 * decoding. */
#include "tests/bpe.h"

static void assert_ids(const weft_ids *ids, const int32_t *want, size_t n)
{
    assert_int_equal(ids->n, n);
    assert_memory_equal(ids->id, want, n * sizeof *want);
}

/* ---- split ---- */
static void test_split(void **state)
{
    (void)state;
    static const struct {
        const char *text, *pieces; /* pieces with | between */
    } table[] = {
        {"Hello world", "Hello| world"},
        {"it's we'll I'd", "it|'s| we|'ll| I|'d"},
        {"'S '", "'|S| '"}, /* upper case is no contraction */
        {"a  b", "a| | b"}, /* the last space goes with the word */
        {"a \n b", "a| \n| b"},
        {"a\n\nb", "a|\n|\n|b"},
        {"a\n b", "a|\n| b"},
        {"a   ", "a|   "}, /* all of it at the end */
        {"x1y22", "x|1|y|22"},
        {" !?x", " !?|x"},
        {"\xc3\xa9\xe6\x97\xa5", "\xc3\xa9\xe6\x97\xa5"},
        {"\xc2\xb2\xe2\x85\xa7",
         "\xc2\xb2\xe2\x85\xa7"}, /* superscript two, Roman eight: numbers */
        {" \xc2\x85"
         "a",
         " |\xc2\x85|a"}, /* U+0085 is white space */
        {"a \xe1\xa0\x8e"
         "b",
         "a| \xe1\xa0\x8e|b"}, /* U+180E is not */
        {"a \xef\xbb\xbf"
         "b",
         "a| \xef\xbb\xbf|b"}, /* nor is U+FEFF */
        {"a\xff\xfe"
         "b",
         "a|\xff\xfe|b"},                    /* bytes that are no UTF-8: symbols */
        {"\xed\xa0\x80x", "\xed\xa0\x80|x"}, /* a surrogate is none */
        {"a\xe6\x97", "a|\xe6\x97"},         /* nor is half a character */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char got[64] = "", want[64];
        const char *p = table[i].text;
        for (size_t n = strlen(p), len; n > 0; p += len, n -= len) {
            len = weft_split(p, n);
            sprintf(got + strlen(got), "%s%.*s", *got ? "|" : "", (int)len, p);
        }
        strcpy(want, table[i].pieces);
        assert_string_equal(got, want);
    }
}

/* Every place that is offered may be cut: the ids of both parts are the ids of the whole. */
static void test_split_point(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t = small_bpe(c);
    weft_encoder *e;
    assert_int_equal(weft_encoder_open(c, t, &e), WEFT_OK);
    lcg g = {1};
    int cuts = 0;
    for (int round = 0; round < 300; round++) {
        char text[64];
        size_t n = random_text(&g, text, 60);
        weft_ids whole = {.ctx = c};
        assert_int_equal(weft_encoder_add(e, text, n, false, &whole), WEFT_OK);
        for (size_t at = 1; at < n; at++) {
            weft_ids both = {.ctx = c};
            size_t cut = weft_split_point(text, at);
            assert_true(cut <= at);
            cuts += cut > 0;
            assert_int_equal(weft_encoder_add(e, text, cut, false, &both), WEFT_OK);
            assert_int_equal(weft_encoder_add(e, text + cut, n - cut, false, &both), WEFT_OK);
            assert_ids(&both, whole.id, whole.n);
            weft_ids_free(&both);
        }
        weft_ids_free(&whole);
    }
    assert_true(cuts > 1000);
    assert_int_equal(weft_split_point("\xe3\x80\x80 x", 3), 0); /* inside white space is no place */
    assert_int_equal(weft_split_point("\xe3\x80\x82\nx", 3), 3);
    weft_encoder_close(e);
    weft_bpe_free(t);
    weft_close(c);
}

/* ---- merging ---- */
static int32_t naive_rank(const weft_bpe *t, int32_t left, int32_t right)
{
    for (int32_t r = 0; r < t->n_merges; r++)
        if (t->merge[r].left == left && t->merge[r].right == right)
            return r;
    return INT32_MAX;
}

/* The definition: join the leftmost pair of the lowest rank, again and again. */
static size_t naive_merge(const weft_bpe *t, const char *p, size_t n, int32_t *id)
{
    for (size_t i = 0; i < n; i++)
        id[i] = t->byte_id[(unsigned char)p[i]];
    for (;;) {
        size_t best = n;
        int32_t rank = INT32_MAX;
        for (size_t i = 0; i + 1 < n; i++)
            if (naive_rank(t, id[i], id[i + 1]) < rank) {
                rank = naive_rank(t, id[i], id[i + 1]);
                best = i;
            }
        if (best == n)
            return n;
        id[best] = t->merge[rank].id;
        memmove(id + best + 1, id + best + 2, (n - best - 2) * sizeof *id);
        n--;
    }
}

/* A tokenizer with many merges of few letters, trained on random words. */
static weft_bpe *letters_bpe(weft_ctx *c, int vocab)
{
    weft_counts *w;
    weft_bpe *t;
    lcg g = {5};
    assert_int_equal(weft_counts_open(c, &w), WEFT_OK);
    for (int i = 0; i < 2000; i++) {
        char word[16];
        size_t n = 2 + lcg_next(&g) % 12;
        for (size_t k = 0; k < n; k++)
            word[k] = "aaabbc"[lcg_next(&g) % 6];
        assert_int_equal(weft_counts_add(w, word, n), WEFT_OK);
    }
    const weft_bpe_options o = {.vocab = vocab, .min_count = 1};
    assert_int_equal(weft_bpe_train(c, &w, 1, &o, &t), WEFT_OK);
    weft_counts_close(w);
    return t;
}

/* Pieces of all lengths around the limits: cached (31), short (128), long. */
static void test_merge_equals_naive(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t = letters_bpe(c, 400);
    weft_encoder *e;
    assert_int_equal(weft_encoder_open(c, t, &e), WEFT_OK);
    lcg g = {2};
    for (size_t n = 1; n <= 200; n++)
        for (int round = 0; round < 4; round++) {
            char text[200];
            int32_t want[200];
            for (size_t k = 0; k < n; k++)
                text[k] = "aaabbcd"[lcg_next(&g) % (round % 2 ? 3 : 7)];
            size_t n_want = naive_merge(t, text, n, want);
            for (int again = 0; again < 2; again++) { /* the second time from the cache */
                weft_ids got = {.ctx = c};
                assert_int_equal(weft_encoder_add(e, text, n, false, &got), WEFT_OK);
                assert_ids(&got, want, n_want);
                weft_ids_free(&got);
            }
        }
    weft_encoder_close(e);
    weft_bpe_free(t);
    weft_close(c);
}

/* With merging in quadratic time this would take hours. */
static void test_a_megabyte_of_one_letter(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t = small_bpe(c);
    weft_ids ids = {.ctx = c};
    char *text = test_malloc(N + 3);
    memset(text, 'a', N + 3);
    assert_int_equal(weft_bpe_encode(c, t, text, N + 3, false, &ids), WEFT_OK);
    assert_int_equal(ids.n, N / 4 + 1);
    assert_int_equal(ids.id[0], 260);         /* aaaa */
    assert_int_equal(ids.id[ids.n - 1], 261); /* aaa */
    weft_ids_free(&ids);
    weft_counts *w;
    weft_bpe *learned;
    const weft_bpe_options o = {.vocab = 264, .min_count = 1};
    assert_int_equal(weft_counts_open(c, &w), WEFT_OK);
    assert_int_equal(weft_counts_add(w, text, N), WEFT_OK);
    assert_int_equal(weft_bpe_train(c, &w, 1, &o, &learned), WEFT_OK);
    assert_int_equal(learned->token[262].n, 128); /* 2 4 8 ... 128, and no longer */
    weft_bpe_free(learned);
    weft_counts_close(w);
    test_free(text);
    weft_bpe_free(t);
    weft_close(c);
}

/* ---- texts ---- */
static void test_round_trip(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t = small_bpe(c);
    weft_encoder *e;
    assert_int_equal(weft_encoder_open(c, t, &e), WEFT_OK);
    lcg g = {3};
    for (int round = 0; round < 2000; round++) {
        char text[400];
        size_t n = lcg_next(&g) % 400;
        weft_ids ids = {.ctx = c};
        weft_string back;
        weft_decoder d = {.bpe = t};
        random_text(&g, text, n);
        for (size_t i = 0; round % 2 && i < n; i++)
            text[i] = (char)lcg_next(&g); /* any bytes at all */
        assert_int_equal(weft_encoder_add(e, text, n, round % 3 == 0, &ids), WEFT_OK);
        weft_string_init(&back, c);
        for (size_t i = 0; i < ids.n; i++)
            assert_int_equal(weft_decoder_add(&d, ids.id[i], &back), WEFT_OK);
        weft_decoder_end(&d, &back);
        assert_int_equal(back.len, n);
        assert_memory_equal(back.s, text, n);
        weft_string_free(&back);
        weft_ids_free(&ids);
    }
    weft_encoder_close(e);
    weft_bpe_free(t);
    weft_close(c);
}

static void check_text(weft_ctx *c, const weft_bpe *t, const char *text, bool specials,
                       const int32_t *want, size_t n)
{
    weft_ids ids = {.ctx = c};
    assert_int_equal(weft_bpe_encode(c, t, text, strlen(text), specials, &ids), WEFT_OK);
    assert_ids(&ids, want, n);
    weft_ids_free(&ids);
}

static void test_specials(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t = small_bpe(c);
    assert_int_equal(weft_bpe_end(t), 262);
    assert_int_equal(weft_bpe_vocab(t), SMALL_VOCAB);
    assert_true(weft_bpe_is_special(t, 262));
    assert_false(weft_bpe_is_special(t, 'a'));
    check_text(c, t, " the" WEFT_END_OF_TEXT "th" WEFT_END_OF_TEXT, true,
               (int32_t[]){258, 262, 256, 262}, 4);
    check_text(c, t, "<|end" WEFT_END_OF_TEXT, true, (int32_t[]){'<', '|', 'e', 'n', 'd', 262}, 6);
    check_text(c, t, WEFT_END_OF_TEXT, false,
               (int32_t[]){'<', '|', 'e', 'n', 'd', 'o', 'f', 't', 'e', 'x', 't', '|', '>'}, 13);
    check_text(c, t, "", true, NULL, 0);
    /* The split before a special sees the end of a text there: both spaces stay together. */
    check_text(c, t, "a  " WEFT_END_OF_TEXT, true, (int32_t[]){'a', ' ', ' ', 262}, 4);
    weft_bpe_free(t);
    weft_close(c);
}

/* Whole characters only, as soon as they are whole. */
static void test_decoder_holds_back(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t = small_bpe(c);
    static const struct {
        unsigned char byte;
        size_t len; /* of the output after it */
    } step[] = {{0xE6, 0}, {0x97, 0}, {0xA5, 3}, {'a', 4},   {0xF0, 4},  {0x9F, 4}, {0x98, 4},
                {0x80, 8}, {0xC3, 8}, {'b', 10}, {0xFF, 11}, {0x80, 12}, {0xE6, 12}};
    weft_decoder d = {.bpe = t};
    weft_string out;
    weft_string_init(&out, c);
    for (size_t i = 0; i < sizeof step / sizeof *step; i++) {
        assert_int_equal(weft_decoder_add(&d, step[i].byte, &out), WEFT_OK);
        assert_int_equal(out.len, step[i].len);
    }
    weft_decoder_end(&d, &out);
    assert_int_equal(out.len, 13);
    assert_int_equal(weft_decoder_add(&d, SMALL_VOCAB, &out), WEFT_MISMATCH);
    assert_string_equal(weft_error(c), "id 263 is not in the vocabulary, whose ids are 0..262");
    weft_error_clear(c);
    assert_int_equal(weft_decoder_add(&d, -1, &out), WEFT_MISMATCH);
    weft_string_free(&out);
    weft_bpe_free(t);
    weft_close(c);
}

/* ---- training ---- */
enum { WORDS = 60, LETTERS = 10 };

/* Algorithm 1 of Sennrich et al., counting everything anew for each merge. */
static void naive_train(int32_t word[WORDS][LETTERS], int *len, const int64_t *count, int merges,
                        int32_t out[][2])
{
    for (int m = 0; m < merges; m++) {
        int64_t best = 0;
        for (int32_t l = 0; l < 256 + m; l++)
            for (int32_t r = 0; r < 256 + m; r++) {
                int64_t n = 0;
                for (int w = 0; w < WORDS; w++)
                    for (int i = 0; i + 1 < len[w]; i++)
                        n += word[w][i] == l && word[w][i + 1] == r ? count[w] : 0;
                if (n > best) {
                    best = n;
                    out[m][0] = l;
                    out[m][1] = r;
                }
            }
        for (int w = 0; w < WORDS; w++) {
            int n = 0;
            for (int i = 0; i < len[w]; i++)
                if (i + 1 < len[w] && word[w][i] == out[m][0] && word[w][i + 1] == out[m][1]) {
                    word[w][n++] = 256 + m;
                    i++;
                } else {
                    word[w][n++] = word[w][i];
                }
            len[w] = n;
        }
    }
}

/* Small texts with many ties; GPT-2 numbers 'a' as 64 and so on, in the order of the letters. */
static void test_train_equals_naive(void **state)
{
    (void)state;
    enum { MERGES = 6 };
    for (uint64_t seed = 1; seed <= 5; seed++) {
        weft_ctx *c = weft_open(NULL);
        weft_counts *counts[2];
        static int32_t word[WORDS][LETTERS];
        int len[WORDS];
        int64_t count[WORDS];
        int32_t want[MERGES][2];
        lcg g = {seed};
        weft_counts_open(c, &counts[0]);
        weft_counts_open(c, &counts[1]);
        for (int w = 0; w < WORDS; w++) {
            char text[LETTERS];
            len[w] = 1 + (int)(lcg_next(&g) % LETTERS);
            count[w] = 1 + lcg_next(&g) % 3;
            for (int i = 0; i < len[w]; i++) {
                text[i] = "abcdeee"[lcg_next(&g) % 7];
                word[w][i] = text[i] - '!';
            }
            for (int64_t k = 0; k < count[w]; k++)
                assert_int_equal(weft_counts_add(counts[k % 2], text, (size_t)len[w]), WEFT_OK);
        }
        naive_train(word, len, count, MERGES, want);
        weft_bpe *t;
        const weft_bpe_options o = {.vocab = 257 + MERGES, .min_count = 1};
        assert_int_equal(weft_bpe_train(c, counts, 2, &o, &t), WEFT_OK);
        assert_int_equal(t->n_merges, MERGES);
        for (int m = 0; m < MERGES; m++) {
            assert_int_equal(t->merge[m].left, want[m][0]);
            assert_int_equal(t->merge[m].right, want[m][1]);
        }
        weft_bpe_free(t);
        weft_counts_close(counts[0]);
        weft_counts_close(counts[1]);
        weft_close(c);
    }
}

static void test_train_refusals(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_counts *w;
    weft_bpe *t = NULL;
    weft_counts_open(c, &w);
    assert_int_equal(weft_counts_add(w, "abab abab", 9), WEFT_OK);
    weft_bpe_options o = {.vocab = 300, .min_count = 2};
    assert_int_equal(weft_bpe_train(c, &w, 1, &o, &t), WEFT_MISMATCH);
    assert_string_equal(weft_error(c),
                        "the text is too small for 300 tokens: after 259 no pair occurs 2 times; "
                        "ask for fewer, or lower --min-count");
    weft_error_clear(c);
    o.vocab = 256;
    assert_int_equal(weft_bpe_train(c, &w, 1, &o, &t), WEFT_USAGE);
    weft_error_clear(c);
    o.vocab = 259;
    assert_int_equal(weft_bpe_train(c, &w, 1, &o, &t), WEFT_OK);
    assert_string_equal(t->token[257].text, "abab");
    assert_int_equal(weft_bpe_end(t), 258);
    weft_bpe_free(t);
    weft_counts_close(w);
    weft_close(c);
}

/* Every merge makes a token of its own; the trained tokenizer passes the checks of a read one. */
static void test_train_tokens(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t = letters_bpe(c, 700);
    assert_int_equal(t->n_merges, 700 - 257);
    for (int32_t i = 0; i < t->n_merges; i++) {
        assert_int_equal(t->merge[i].id, 256 + i);
        assert_int_equal(t->token[256 + i].n,
                         t->token[t->merge[i].left].n + t->token[t->merge[i].right].n);
    }
    weft_bpe_free(t);
    weft_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_point),
        cmocka_unit_test(test_merge_equals_naive),
        cmocka_unit_test(test_a_megabyte_of_one_letter),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_specials),
        cmocka_unit_test(test_decoder_holds_back),
        cmocka_unit_test(test_train_equals_naive),
        cmocka_unit_test(test_train_refusals),
        cmocka_unit_test(test_train_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
