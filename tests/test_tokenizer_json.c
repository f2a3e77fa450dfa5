/* test_tokenizer_json.c - tokenizers in files: round trips, both shapes of merges, vocab.json with
 * merges.txt, a table of malformed ones with their messages, every prefix of one, memory that runs
 * out, reads that fail. */
#include "tests/bpe.h"

static char folder[64];

static char *slurp(const char *path)
{
    size_t n;
    unsigned char *p = get_file(path, &n);
    p[n] = 0; /* get_file has room */
    return (char *)p;
}

/* The text of the small tokenizer's file. The caller frees. */
static char *small_json(void)
{
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t = small_bpe(c);
    assert_int_equal(weft_bpe_save(t, join(folder, "small.json")), WEFT_OK);
    weft_bpe_free(t);
    weft_close(c);
    return slurp(join(folder, "small.json"));
}

/* `text` with the first `what` replaced. The caller frees. */
static char *replaced(const char *text, const char *what, const char *with)
{
    const char *at = strstr(text, what);
    if (!at)
        fail_msg("the tokenizer has no %s", what);
    char *out = malloc(strlen(text) + strlen(with) + 1);
    sprintf(out, "%.*s%s%s", (int)(at - text), text, with, at + strlen(what));
    return out;
}

static void assert_same(const weft_bpe *a, const weft_bpe *b)
{
    assert_int_equal(a->n_vocab, b->n_vocab);
    assert_int_equal(a->n_merges, b->n_merges);
    assert_int_equal(a->n_added, b->n_added);
    assert_int_equal(a->end, b->end);
    assert_memory_equal(a->merge, b->merge, (size_t)a->n_merges * sizeof *a->merge);
    assert_memory_equal(a->byte_id, b->byte_id, sizeof a->byte_id);
    for (int32_t i = 0; i < a->n_vocab; i++) {
        assert_string_equal(a->token[i].text, b->token[i].text);
        assert_int_equal(a->token[i].n, b->token[i].n);
        assert_memory_equal(a->token[i].bytes, b->token[i].bytes, a->token[i].n);
    }
}

/* ---- what can be read ---- */
static void check_reads(const char *name, const char *text)
{
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t, *small = small_bpe(c);
    put_file(join(folder, name), text, strlen(text));
    if (weft_bpe_load(c, join(folder, name), &t))
        fail_msg("%s", weft_error(c));
    assert_same(t, small);
    weft_bpe_free(t);
    weft_bpe_free(small);
    weft_close(c);
}

static void test_reads(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        {"\"t h\"", "[\"t\", \"h\"]"}, /* newer files */
        {"\"normalized\": false", "\"normalized\": true"},
        {"\"dropout\": null", "\"dropout\": 0.0"},
        {"\"unk_token\": null", "\"unk_token\": \"<|endoftext|>\""},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"\""},
        {"\"ignore_merges\": false,", ""}, /* older files */
        {"\"post_processor\": null",
         "\"post_processor\": {\"type\": \"ByteLevel\", \"trim_offsets\": false}"},
        {"\"post_processor\": null", /* as transformers 5 writes it: nothing is added */
         "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": "
         "{\"id\": \"A\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {}}"},
        {"\"byte_fallback\": false,", ""},
        {", \"use_regex\": true", ""},
        {",\n      \"<|endoftext|>\": 262", ""}, /* in added_tokens only */
    };
    char *text = small_json();
    check_reads("a.json", text);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char *other = replaced(text, same[i][0], same[i][1]);
        check_reads("a.json", other);
        free(other);
    }
    free(text);
}

/* What is written is read as the same, and written again as the same bytes. */
static void test_write_again(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t;
    char *first = small_json();
    assert_int_equal(weft_bpe_load(c, join(folder, "small.json"), &t), WEFT_OK);
    assert_int_equal(weft_bpe_save(t, join(folder, "again.json")), WEFT_OK);
    char *second = slurp(join(folder, "again.json"));
    assert_string_equal(first, second);
    free(first);
    free(second);
    weft_bpe_free(t);
    weft_close(c);
}

static void put_pair(const char *dir, const char *vocab, const char *merges)
{
    char *text = small_json(), *from = strstr(text, "\"vocab\": {") + 9,
         *to = strstr(from, "\n    }");
    mkdir(dir, 0777);
    memcpy(to, "}", 1);
    put_file(join(dir, vocab), from, (size_t)(to - from) + 1);
    const char *lines = "#version: 0.2\nt h\nth e\n\xc4\xa0 the\na a\r\naa aa\naa a\n";
    put_file(join(dir, merges), lines, strlen(lines));
    free(text);
}

/* vocab.json with merges.txt, encoder.json with vocab.bpe, and folders. */
static void test_pairs(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"vocab.json", "merges.txt"},
                                           {"encoder.json", "vocab.bpe"}};
    for (int i = 0; i < 2; i++) {
        weft_ctx *c = weft_open(NULL);
        weft_bpe *small = small_bpe(c), *t;
        char dir[128];
        snprintf(dir, sizeof dir, "%s/pair%d", folder, i);
        put_pair(dir, names[i][0], names[i][1]);
        if (weft_bpe_load(c, join(dir, names[i][0]), &t))
            fail_msg("%s", weft_error(c));
        assert_same(t, small);
        weft_bpe_free(t);
        assert_int_equal(weft_bpe_load(c, dir, &t), WEFT_OK);
        assert_same(t, small);
        weft_bpe_free(t);
        weft_bpe_free(small);
        weft_close(c);
    }
}

/* ---- what cannot ---- */
typedef struct {
    const char *what, *with; /* first occurrence replaced; what NULL: `with` is the whole file */
    int status;
    const char *message; /* after "FILE"; NULL: any */
} bad;

#define ADDED_END                                                                                  \
    "{\"id\": 262, \"content\": \"<|endoftext|>\", \"single_word\": false, \"lstrip\": false, "    \
    "\"rstrip\": false, \"normalized\": false, \"special\": true}"
#define TAG "\"id\": 262, \"content\": \"<|endoftext|>\", "
#define NO_TOKENIZER                                                                               \
    "\n  a tokenizer is a tokenizer.json, a vocab.json with merges.txt beside it, or a folder "    \
    "with "                                                                                        \
    "either"
static const bad table[] = {
    /* not JSON, or not this kind */
    {NULL, "", 65, ":1:1: ends where a value was expected" NO_TOKENIZER},
    {NULL, "tokenizer", 65, ":1:1: expected a value" NO_TOKENIZER},
    {NULL, "[]", 65, ": the file is a list, expected an object" NO_TOKENIZER},
    {NULL, "{\"a\": 0} x", 65, ":1:10: text after the end"},
    {"\"version\"", "\"\\ud800\"", 65, ":2:4: lone surrogate"},
    {"\"version\"", "\"\\u0000\"", 65, ":2:4: \\u0000 is not supported"},
    {"\"version\"", "\"\xff\"", 65, ":2:4: invalid UTF-8"},
    {"\"version\": \"1.0\"", "\"a\": 1, \"a\": 2", 65, ":2:11: duplicate key"},
    {"\"a\": 97", "\"a\": 97, \"a\": 98", 65, ":119:16: duplicate key"},
    {"\"a\": 97", "\"a\": 99999999999999999999", 65, ":119:12: number too large for 64 bits"},
    {"\"model\": {", "\"modell\": {", 65, ": model: missing, expected an object"},
    {"\"model\": {", "\"model\": null, \"x\": {", 65, ": model: found null, expected an object"},
    {"\"version\"", "\"vershun\"", 69,
     ": \"vershun\": an unknown part, which might change the ids"},
    /* parts that change ids */
    {"\"type\": \"BPE\"", "\"type\": \"WordPiece\"", 69,
     ": model.type: found \"WordPiece\", expected \"BPE\""},
    {"\"dropout\": null", "\"dropout\": 0.1", 69, ": model.dropout: found 0.1, expected null"},
    {"\"unk_token\": null", "\"unk_token\": 7", 69,
     ": model.unk_token: found 7, expected null or a token"},
    {"\"continuing_subword_prefix\": null", "\"continuing_subword_prefix\": \"##\"", 69,
     ": model.continuing_subword_prefix: found \"##\", expected null"},
    {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"", 69,
     ": model.end_of_word_suffix: found \"</w>\", expected null"},
    {"\"byte_fallback\": false", "\"byte_fallback\": true", 69,
     ": model.byte_fallback: found true, expected false"},
    {"\"ignore_merges\": false", "\"ignore_merges\": true", 69,
     ": model.ignore_merges: found true, expected false"},
    {"\"fuse_unk\": false", "\"fuse\": false", 69,
     ": model.\"fuse\": an unknown part, which might change the ids"},
    {"\"truncation\": null", "\"truncation\": {\"max_length\": 8}", 69,
     ": truncation: found an object, expected null"},
    {"\"padding\": null", "\"padding\": {}", 69, ": padding: found an object, expected null"},
    {"\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}", 69,
     ": normalizer: found an object, expected null"},
    {"\"pre_tokenizer\": {\"type\": \"ByteLevel\"", "\"pre_tokenizer\": {\"type\": \"Whitespace\"",
     69, ": pre_tokenizer.type: found \"Whitespace\", expected \"ByteLevel\""},
    {"\"pre_tokenizer\": {\"type\": \"ByteLevel\", ", "\"pre_tokenizer\": {", 65,
     ": pre_tokenizer.type: missing, expected \"ByteLevel\""},
    {"\"pre_tokenizer\": {", "\"pre_tokenizer\": [], \"x\": {", 69,
     ": \"x\": an unknown part, which might change the ids"},
    {"\"add_prefix_space\": false", "\"add_prefix_space\": true", 69,
     ": pre_tokenizer.add_prefix_space: found true, expected false"},
    {"\"use_regex\": true", "\"use_regex\": false", 69,
     ": pre_tokenizer.use_regex: found false, expected true"},
    {"\"post_processor\": null", "\"post_processor\": {\"type\": \"TemplateProcessing\"}", 69,
     ": post_processor.type: found \"TemplateProcessing\", expected \"ByteLevel\""},
    {"\"post_processor\": null",
     "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
     "{\"id\": "
     "\"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}]}",
     69, ": post_processor.type: found \"TemplateProcessing\", expected \"ByteLevel\""},
    {"\"post_processor\": null", "\"post_processor\": 7", 65,
     ": post_processor: found 7, expected an object of type \"ByteLevel\""},
    {"\"decoder\": {\"type\": \"ByteLevel\"", "\"decoder\": {\"type\": \"Metaspace\"", 69,
     ": decoder.type: found \"Metaspace\", expected \"ByteLevel\""},
    /* vocabulary */
    {NULL,
     "{\"model\": {\"vocab\": [], \"merges\": []}, \"pre_tokenizer\": {\"type\": \"ByteLevel\"}}",
     65, ": model.vocab: found a list, expected an object of tokens and their ids"},
    {NULL, "{\"model\": {}, \"pre_tokenizer\": {\"type\": \"ByteLevel\"}}", 65,
     ": model.vocab: missing, expected an object of tokens and their ids"},
    {NULL,
     "{\"model\": {\"vocab\": {}}, \"added_tokens\": {}, \"pre_tokenizer\": {\"type\": "
     "\"ByteLevel\"}}",
     65, ": added_tokens: found an object, expected a list"},
    {NULL, "{\"model\": {\"vocab\": {}, \"merges\": []}}", 69,
     ": pre_tokenizer: missing, expected an object of type \"ByteLevel\""},
    {"\"a\": 97", "\"a\": -97", 65,
     ": model.vocab[\"a\"]: id -97 is out of range: 263 tokens have the ids 0..262, without gaps"},
    {"\"a\": 97", "\"a\": 300", 65,
     ": model.vocab[\"a\"]: id 300 is out of range: 263 tokens have the ids 0..262, without gaps"},
    {"\"a\": 97", "\"a\": 4294967393", 65,
     ": model.vocab[\"a\"]: id 4294967393 is out of range: 263 tokens have the ids 0..262, without "
     "gaps"},
    {"\"a\": 97", "\"a\": 97.0", 65, ": model.vocab[\"a\"]: found 97.0, expected an integer id"},
    {"\"a\": 97", "\"a\": \"97\"", 65,
     ": model.vocab[\"a\"]: found \"97\", expected an integer id"},
    {"\"a\": 97", "\"a\": {}", 65, ": model.vocab[\"a\"]: found an object, expected an integer id"},
    {"\"a\": 97", "\"a\": 96", 65, ": model.vocab[\"a\"]: id 96 is also the id of \"`\""},
    {"\"a\": 97,", "", 65,
     ": model.vocab[\"<|endoftext|>\"]: id 262 is out of range: 262 tokens have the ids 0..261, "
     "without gaps"},
    {"\"a\": 97", "\"\": 97", 65, ": model.vocab[\"\"]: a token of 0 bytes, expected 1..65535"},
    {"\"a\": 97", "\"a b\": 97", 65,
     ": model.vocab[\"a b\"]: a character that is not in GPT-2's byte alphabet; only byte-level "
     "vocabularies can be read"},
    {"\"a\": 97", "\"\xe6\x97\xa5\": 97", 65,
     ": model.vocab[\"\xe6\x97\xa5\"]: a character that is not in GPT-2's byte "
     "alphabet; only byte-level vocabularies can be read"},
    {"\"\xc4\x8a\": 10", "\"nl\": 10", 65,
     ": model.vocab: no token for byte 0x0a, written \"\xc4\x8a\"; all 256 bytes must have one"},
    {"\"<|endoftext|>\": 262", "\"<|endoftext|>\": 2.5", 65,
     ": added_tokens[0].id: found 262, but model.vocab has \"<|endoftext|>\" with another id"},
    /* added tokens */
    {"[\n    {\"id\": 262", "[7, {\"id\": 262", 65,
     ": added_tokens[0]: found 7, expected an object"},
    {TAG, "\"id\": 261, \"content\": \"<|endoftext|>\", ", 65,
     ": added_tokens[0].id: found 261, but model.vocab has \"<|endoftext|>\" with another id"},
    {TAG, "\"id\": \"262\", \"content\": \"<|endoftext|>\", ", 65,
     ": added_tokens[0].id: missing or no integer"},
    {TAG, "\"content\": \"x\", ", 65, ": added_tokens[0].id: missing or no integer"},
    {TAG, "\"id\": 262, ", 65,
     ": added_tokens[0].content: missing or empty, expected the text of a token"},
    {TAG, "\"id\": 262, \"content\": \"\", ", 65,
     ": added_tokens[0].content: missing or empty, expected the text of a token"},
    {TAG, "\"id\": 999, \"content\": \"<pad>\", ", 65,
     ": added_tokens[0][\"<pad>\"]: id 999 is out of range: 264 tokens have the ids 0..263, "
     "without gaps"},
    {TAG, "\"id\": 5, \"content\": \"<pad>\", ", 65,
     ": added_tokens[0][\"<pad>\"]: id 5 is also the id of \"\xc4\x85\""},
    {"{" TAG, "{\"id\": 262, \"content\": \"<|endoftext|>\"}, {" TAG, 65,
     ": added_tokens[1].content: \"<|endoftext|>\" is listed twice"},
    {"\"lstrip\": false", "\"lstrip\": null", 69,
     ": added_tokens[0].lstrip: found null, expected true or false"},
    {"\"rstrip\": false", "\"rstrip\": 0", 69,
     ": added_tokens[0].rstrip: found 0, expected true or false"},
    {"\"single_word\": false", "\"single_word\": \"no\"", 69,
     ": added_tokens[0].single_word: found \"no\", expected true or false"},
    {"\"id\": 262, \"content\": \"<|endoftext|>\"", "\"id\": 258, \"content\": \"\xc4\xa0the\"", 65,
     ": model.merges[2]: \"\xc4\xa0the\" is a special token, which no merge may use or make"},
    {ADDED_END, "{\"id\": 258, \"content\": \"\xc4\xa0the\"}", 69,
     ": model.merges[2]: \"\xc4\xa0the\" is an added token, found as it is written, which no merge "
     "may use or make"},
    {ADDED_END, "{\"id\": 233, \"content\": \"\xc3\xa9\"}", 69,
     ": added_tokens: \"\xc3\xa9\" is also how byte 0xe9 is written, and would be found as a "
     "character"},
    {"\"special\": true", "\"colour\": true", 69,
     ": added_tokens[0].\"colour\": an unknown part, which might change the ids"},
    /* merges */
    {"\"merges\": [", "\"merges\": {\"x\": [", 65, NULL}, /* what follows is no JSON any more */
    {"\"merges\"", "\"merge\"", 69,
     ": model.\"merge\": an unknown part, which might change the ids"},
    {"\"th e\"", "\"th\"", 65,
     ": model.merges[1]: found \"th\", expected \"left right\" or [\"left\", \"right\"]"},
    {"\"th e\"", "\" the\"", 65,
     ": model.merges[1]: found \" the\", expected \"left right\" or [\"left\", \"right\"]"},
    {"\"th e\"", "\"t h e\"", 65,
     ": model.merges[1]: found \"t h e\", expected \"left right\" or [\"left\", \"right\"]"},
    {"\"th e\"", "[\"th\"]", 65,
     ": model.merges[1]: found a list, expected \"left right\" or [\"left\", \"right\"]"},
    {"\"th e\"", "[\"t\", \"h\", \"e\"]", 65,
     ": model.merges[1]: found a list, expected \"left right\" or [\"left\", \"right\"]"},
    {"\"th e\"", "[\"th\", 5]", 65,
     ": model.merges[1]: found a list, expected \"left right\" or [\"left\", \"right\"]"},
    {"\"th e\"", "12", 65,
     ": model.merges[1]: found 12, expected \"left right\" or [\"left\", \"right\"]"},
    {"\"th e\"", "\"thx e\"", 65, ": model.merges[1]: \"thx\" is not in the vocabulary"},
    {"\"th e\"", "\"th x\"", 65, ": model.merges[1]: \"thx\" is not in the vocabulary"},
    {"\"th e\"", "\"th \xe6\x97\xa5\"", 65,
     ": model.merges[1]: \"\xe6\x97\xa5\" is not in the vocabulary"},
    {"\"th e\"", "\"t h\"", 65, ": model.merges[1]: the same merge as number 0"},
    {"\"th e\"", "\"<|endoftext|> e\"", 65,
     ": model.merges[1]: \"<|endoftext|>\" is a special token, which no merge may use or make"},
};

/* Says whether the message is the expected one, and prints it if not: so one run shows all that
 * differ. */
static bool check_bad(const bad *b, const char *text)
{
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t = NULL;
    const char *path = join(folder, "bad.json");
    char *edited = b->what ? replaced(text, b->what, b->with) : strdup(b->with), message[1024];
    put_file(path, edited, strlen(edited));
    free(edited);
    if (weft_bpe_load(c, path, &t) == WEFT_OK)
        fail_msg("'%s' was read", b->with);
    snprintf(message, sizeof message, "%s%s", path, b->message ? b->message : "");
    bool same = b->message ? !strcmp(weft_error(c), message)
                           : !strncmp(weft_error(c), message, strlen(message));
    same = same && (int)weft_error_status(c) == b->status;
    if (!same)
        print_error("found    %d %s\nexpected %d %s\n", weft_error_status(c), weft_error(c),
                    b->status, message);
    assert_null(t);
    weft_close(c);
    return same;
}

static void test_malformed(void **state)
{
    (void)state;
    char *text = small_json();
    int wrong = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        wrong += !check_bad(&table[i], text);
    free(text);
    assert_int_equal(wrong, 0);
}

/* The last part of a file, left out or of another kind. */
static void test_no_merges(void **state)
{
    (void)state;
    char *text = small_json(), *at = strstr(text, ",\n    \"merges\"");
    strcpy(at, "}}");
    assert_true(
        check_bad(&(bad){NULL, text, 65, ": model.merges: missing, expected a list"}, text));
    strcpy(at, ", \"merges\": 1}}");
    assert_true(
        check_bad(&(bad){NULL, text, 65, ": model.merges: found 1, expected a list"}, text));
    free(text);
}

static void test_malformed_merges_txt(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        const char *message;
    } merges[] = {
        {"#version: 0.2\nt h\nth\n", 21,
         "merges.txt:3: found \"th\", expected two tokens with one space between"},
        {"t h\n\nth e\n", 10,
         "merges.txt:2: found \"\", expected two tokens with one space between"},
        {"t h\nth e x\n", 11,
         "merges.txt:2: found \"th e x\", expected two tokens with one space between"},
        {"t h\nth  e\n", 10,
         "merges.txt:2: found \"th  e\", expected two tokens with one space between"},
        {"t h\nq q\n", 8, "merges.txt:2: \"qq\" is not in the vocabulary"},
        {"t h\nt h\n", 8, "merges.txt:2: the same merge as number 0"},
        {"t h\nt\0h\n", 8, "merges.txt: byte 5 is NUL, expected text"},
        {"t h\n\xff h\n", 8, "merges.txt:2: \"\\xff\" is not in the vocabulary"},
    };
    char dir[128];
    snprintf(dir, sizeof dir, "%s/badpair", folder);
    put_pair(dir, "vocab.json", "merges.txt");
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        weft_ctx *c = weft_open(NULL);
        weft_bpe *t;
        put_file(join(dir, "merges.txt"), merges[i].text, merges[i].n);
        assert_int_equal(weft_bpe_load(c, dir, &t), WEFT_MALFORMED);
        assert_string_equal(weft_error(c), join(dir, merges[i].message));
        weft_close(c);
    }
}

static void test_missing(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t;
    char dir[128], want[256];
    snprintf(dir, sizeof dir, "%s/empty", folder);
    mkdir(dir, 0777);
    assert_int_equal(weft_bpe_load(c, dir, &t), WEFT_MISSING);
    snprintf(want, sizeof want,
             "%s: none of tokenizer.json, vocab.json, encoder.json is in this folder", dir);
    assert_string_equal(weft_error(c), want);
    weft_error_clear(c);
    assert_int_equal(weft_bpe_load(c, join(folder, "nowhere"), &t), WEFT_MISSING);
    weft_error_clear(c);
    put_pair(dir, "vocab.json", "merges.txt");
    unlink(join(dir, "merges.txt"));
    assert_int_equal(weft_bpe_load(c, dir, &t), WEFT_MISSING);
    snprintf(want, sizeof want,
             "%s/vocab.json: neither merges.txt nor vocab.bpe stands beside this vocabulary", dir);
    assert_string_equal(weft_error(c), want);
    weft_close(c);
}

/* A tokenizer cut short anywhere is refused, naming the file. */
static void test_every_prefix(void **state)
{
    (void)state;
    char *text = small_json();
    size_t n = strlen(text) - 1; /* without the last line break it is whole */
    const char *path = join(folder, "prefix.json");
    for (size_t k = 0; k < n; k++) {
        weft_ctx *c = weft_open(NULL);
        weft_bpe *t;
        put_file(path, text, k);
        if (weft_bpe_load(c, path, &t) != WEFT_MALFORMED)
            fail_msg("%zu bytes: '%s'", k, weft_error(c));
        assert_memory_equal(weft_error(c), path, strlen(path));
        weft_close(c);
    }
    free(text);
}

/* One byte changed anywhere: read or refused, never worse. */
static void test_flipped_bytes(void **state)
{
    (void)state;
    char *text = small_json();
    size_t n = strlen(text);
    const char *path = join(folder, "flip.json");
    lcg g = {9};
    for (int k = 0; k < 2000; k++) {
        weft_ctx *c = weft_open(NULL);
        weft_bpe *t = NULL;
        size_t at = lcg_next(&g) % n;
        char old = text[at];
        text[at] = (char)lcg_next(&g);
        put_file(path, text, n);
        weft_status s = weft_bpe_load(c, path, &t);
        assert_true(s == WEFT_OK || s == WEFT_MALFORMED || s == WEFT_UNSUPPORTED);
        text[at] = old;
        weft_bpe_free(t);
        weft_close(c);
    }
    free(text);
}

static void test_deep_and_long(void **state)
{
    (void)state;
    enum { N = 100000 };
    char *text = malloc(N * 2), *p = text;
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t;
    const char *path = join(folder, "deep.json");
    memset(text, '[', N);
    put_file(path, text, N);
    assert_int_equal(weft_bpe_load(c, path, &t), WEFT_MALFORMED);
    assert_non_null(strstr(weft_error(c), ":1:65: "));
    weft_error_clear(c);
    p += sprintf(p, "{\"");
    memset(p, 'a', N);
    sprintf(p + N, "\": 0}");
    put_file(path, text, strlen(text));
    assert_int_equal(weft_bpe_load(c, path, &t), WEFT_MALFORMED);
    assert_non_null(strstr(weft_error(c), "a token of 100000 bytes, expected 1..65535"));
    assert_true(strlen(weft_error(c)) < 400);
    weft_close(c);
    free(text);
}

/* ---- faults ---- */
/* Loads, encodes, trains and writes; everything is freed whatever happens. */
static weft_status whole_life(weft_ctx *c, const char *path, const char *to)
{
    weft_bpe *t = NULL, *made = NULL;
    weft_counts *w = NULL;
    weft_ids ids = {.ctx = c};
    const weft_bpe_options o = {.vocab = 259, .min_count = 1};
    weft_status s = weft_bpe_load(c, path, &t);
    if (!s)
        s = weft_bpe_encode(c, t, "the aaaaaa" WEFT_END_OF_TEXT, 23, true, &ids);
    if (!s)
        s = weft_counts_open(c, &w);
    if (!s)
        s = weft_counts_add(w, "the three", 9);
    if (!s)
        s = weft_bpe_train(c, &w, 1, &o, &made);
    if (!s)
        s = weft_bpe_save(made, to);
    weft_ids_free(&ids);
    weft_counts_close(w);
    weft_bpe_free(made);
    weft_bpe_free(t);
    return s;
}

static void test_no_memory(void **state)
{
    (void)state;
    free(small_json());
    const char *path = join(folder, "small.json"), *to = join(folder, "made.json");
    weft_status s = WEFT_NOMEM;
    long n = 1;
    for (; s != WEFT_OK; n++) {
        counter m = {.fail_at = n};
        const weft_allocator a = {counted_alloc, counted_realloc, counted_free, &m};
        weft_ctx *c = weft_open(&(weft_options){.allocator = &a, .threads = 1});
        if (c) {
            s = whole_life(c, path, to);
            assert_true(s == WEFT_OK || s == WEFT_NOMEM);
            weft_close(c);
        }
        assert_int_equal(m.live, 0);
    }
    assert_true(n > 50);
}

static void test_failing_files(void **state)
{
    (void)state;
    free(small_json());
    const char *path = join(folder, "small.json"), *to = join(folder, "made.json");
    weft_status s = WEFT_IO;
    for (long n = 1; s != WEFT_OK; n++) {
        fault f = {.fail_at = n, .kind = FAULT_ERROR, .error = EIO};
        weft_io io = fault_table(&f);
        weft_ctx *c = weft_open(&(weft_options){.io = &io, .threads = 1});
        s = whole_life(c, path, to);
        if (s)
            assert_true(strlen(weft_error(c)) > 0);
        weft_close(c);
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),         cmocka_unit_test(test_write_again),
        cmocka_unit_test(test_pairs),         cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_no_merges),     cmocka_unit_test(test_malformed_merges_txt),
        cmocka_unit_test(test_missing),       cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_flipped_bytes), cmocka_unit_test(test_deep_and_long),
        cmocka_unit_test(test_no_memory),     cmocka_unit_test(test_failing_files),
    };
    strcpy(folder, fresh_dir());
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    weft_ctx *c = weft_open(NULL);
    weft_remove_tree(c, folder);
    weft_close(c);
    return failed;
}
