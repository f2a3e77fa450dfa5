/* test_sniff.c - files that are something else: every format by what it begins with, and what must
 * not be taken for one.
 */
#include "tests/store.h"

#include "graph/data.h"
#include "graph/io.h"
#include "graph/sniff.h"

#define B(text) text, sizeof(text) - 1

static const struct {
    const char *head;
    size_t n;
    const char *is; /* a part of what is said; NULL: nothing */
} table[] = {
    {B("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"), "gzip -d"},
    {B("\x1f\x8b\x08\x08\xa0\xb1\xc2\x65\x02\x03text\0"), "gzip -d"},
    {B("\x1f\x8b\x08\x00\x00\x00\x00\x00\x07\x03"), NULL},
    {B("\x1f\x8b\x08\xe0\x00\x00\x00\x00\x00\x03"), NULL},
    {B("\x28\xb5\x2f\xfd\x04"), "zstd -d"},
    {B("\xfd"
       "7zXZ\0\0"),
     "xz -d"},
    {B("BZh91AY&SY"), "bzip2 -d"},
    {B("BZh91AY&SX"), NULL},
    {B("BZh9 is how bzip2 files begin"), NULL},
    {B("\x04\x22\x4d\x18\x64"), "lz4"},
    {B("PK\3\4\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0arr_0.npy"), "(.npz"},
    {B("PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl"),
     "tools/convert-pt"},
    {B("PK\3\4\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x13\0\0\0[Content_Types].xml"),
     ".docx"},
    {B("PK\3\4\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0x.txt"), "unzip"},
    {B("PK is a name"), NULL},
    {B("PAR1\x15\x04\x15"), "Parquet"},
    {B("PAR1 is a line"), NULL},
    {B("ARROW1\0\0"), "Arrow"},
    {B("ARROW1 is a line"), NULL},
    {B("\xff\xff\xff\xff\x80\1\0\0\x10\0\0\0\0\0\x0a\0"), "datasets"},
    {B("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), NULL},
    {B("\x93NUMPY\1\0"), "NumPy"},
    {B("\x89HDF\r\n\x1a\n"), "HDF5"},
    {B("%PDF-1.7"), "pdftotext"},
    {B("\x7f"
       "ELF\2\1\1\0"),
     "ELF"},
    {B("\x89PNG\r\n\x1a\n"), "PNG"},
    {B("\xff\xd8\xff\xe0"), "JPEG"},
    {B("GGUF\3\0\0\0"), "GGUF"},
    {B("GGUF is a format"), NULL},
    {B("\x20\0\0\0\0\0\0\0{\"a\":{\"dtype"), "safetensors"},
    {B("\x20\0\0\0\0\0\0\0{      \"a\""), NULL},
    {B("\x0a\x0e\x0a\x05<unk>\x15"), "SentencePiece"},
    {B("IQ== 0\nIg== 1\n"), "tiktoken"},
    {B("\x80\x04\x95\x10\1\0\0\0\0\0\0\x8c"), "pickle"},
    {B("\x80\x04\x95\x10\1\0\0\1\0\0\0\x8c"), NULL},
    {B("\x80\x02\x8a\x0a\x6c"), "convert-pt"},
    {B("\xff\xfe{\0\n\0 \0\"\0"), "iconv -f UTF-16"},
    {B("\xfe\xff\0{\0\n\0 \0\""), "iconv -f UTF-16"},
    {B("\xff\xfe\1\1\2\1\3\1"), NULL},
    {B("{\"version\": \"1.0\"}"), NULL},
    {B("module { name: \"x\" }"), NULL},
    {B(""), NULL},
    {B("P"), NULL},
};

static void test_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *exact = test_malloc(table[i].n + 1); /* the sanitizer sees what is read behind it */
        char *head = exact + 1;
        memcpy(head, table[i].head, table[i].n);
        const char *is = weft_kind_of(head, table[i].n);
        if ((is == NULL) != (table[i].is == NULL) || (is && !strstr(is, table[i].is)))
            fail_msg("row %zu: '%s', expected '%s'", i, is ? is : "nothing", table[i].is);
        for (size_t n = 0; n < table[i].n; n++)
            weft_kind_of(head, n);
        test_free(exact);
    }
}

/* ---- text ---- */
static const char *repeated(const char *part, size_t n_part, int times, size_t *n)
{
    static char buf[8192];
    *n = 0;
    for (int i = 0; i < times; i++, *n += n_part)
        memcpy(buf + *n, part, n_part);
    return buf;
}

static const struct {
    const char *part;
    size_t n;
    const char *what; /* a part of what is said of 40 of them; NULL: text */
    bool surely;
} texts[] = {
    {B("the quick brown fox\n"), NULL, true},
    {B("na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80\r\n"), NULL, true},
    {B("\x1b[31mred\x1b[0m a\bterminal\n"), NULL, false},
    {B("caf\xe9 is Latin-1, and goes as bytes\n"), NULL, false},
    {B("\xcf\xf0\xe8\xe2\xe5\xf2, \xec\xe8\xf0\n"), "LATIN1", false},
    {B("t\0h\0e\0 \0f\0o\0x\0\n\0"), "UTF-16", false},
    {B("\0t\0h\0e\0 \0f\0o\0x\0\n"), "UTF-16", false},
    {B("\xff\xfet\0h\0e\0"), "UTF-16", false},
    {B("\xfe\xff\0t\0h\0e"), "UTF-16", false},
    {B("\xff\xfe\0\0t\0\0\0"), "UTF-32", false},
    {B("a NUL in a hundred bytes is borne\0, as it is a slip of who wrote them, and not a format, "
       "is it not, dear reader?\n"),
     NULL, false},
    {B("\1\2\0\0\3\0\0\0some\0\0\0\0words"), "binary", false},
    {B("\xef\xbb\xbf"
       "a byte order mark\n"),
     NULL, true},
};

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t n;
        const char *text = repeated(texts[i].part, texts[i].n, 40, &n);
        const char *what = weft_no_text(text, n);
        if ((what == NULL) != (texts[i].what == NULL) || (what && !strstr(what, texts[i].what)))
            fail_msg("row %zu: '%s', expected '%s'", i, what ? what : "text", texts[i].what);
        assert_int_equal(weft_surely_text(text, n), texts[i].surely);
    }
    assert_null(weft_no_text("\0", 1)); /* too little to tell */
    assert_null(weft_no_text("", 0));
    assert_int_equal(weft_look_at_text("a\xe6\x97", 3).invalid, 0); /* cut by the end */
    assert_int_equal(weft_look_at_text("a\xe6\x97 ", 4).invalid, 2);
}

/* Every byte at the start of a file, and its end: nothing is read beyond. */
static void test_random_bytes(void **state)
{
    (void)state;
    uint64_t s = 1;
    for (int round = 0; round < 20000; round++) {
        char buf[64];
        for (int i = 0; i < 64; i++) {
            s = s * 6364136223846793005u + 1442695040888963407u;
            buf[i] = (char)(s >> 56);
        }
        if (weft_kind_of(buf + round % 64, 64 - (size_t)round % 64))
            fail_msg("round %d: %s", round,
                     weft_kind_of(buf + round % 64, 64 - (size_t)round % 64));
        weft_no_text(buf + round % 64, 64 - (size_t)round % 64);
    }
}

/* What a file is says more than that it is too large. */
static void test_read_file(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_arena *a = weft_arena_new(c, 0);
    const char *dir = fresh_dir(), *path = join(dir, "x.json");
    char *text;
    size_t n;
    put_file(path, "\x89PNG\r\n\x1a\n and so on", 18);
    for (size_t limit = 4; limit < 100; limit += 90) {
        assert_int_equal(weft_read_file(a, path, limit, &text, &n), WEFT_MALFORMED);
        assert_non_null(strstr(weft_error(c), "x.json: this is a PNG image"));
        weft_error_clear(c);
    }
    assert_int_equal(weft_read_bytes(a, path, 100, &text, &n), WEFT_OK);
    assert_int_equal(n, 18);
    remove_dir(dir);
    weft_arena_free(a);
    weft_close(c);
}

/* ---- token files ---- */
static void check_tokens(const void *data, size_t n, int64_t vocab, const char *says)
{
    weft_ctx *c = weft_open(NULL);
    weft_tokens *t = NULL;
    const char *dir = fresh_dir(), *path = join(dir, "x.bin");
    put_file(path, data, n);
    weft_status s = weft_tokens_open(c, path, vocab, &t);
    if (says && (s != WEFT_MALFORMED || !strstr(weft_error(c), says)))
        fail_msg("'%s', expected '%s'", s ? weft_error(c) : "opened", says);
    if (!says && s)
        fail_msg("%s", weft_error(c));
    weft_tokens_close(t);
    remove_dir(dir);
    weft_close(c);
}

static void test_token_files(void **state)
{
    (void)state;
    enum { N = 4096 };
    uint32_t wide[N];
    uint64_t wider[N];
    uint16_t id[N];
    for (int i = 0; i < N; i++) {
        wide[i] = (uint32_t)(i * 7919) % 50257;
        wider[i] = wide[i];
        id[i] = (uint16_t)(i * 7919 % 50257);
    }
    check_tokens(id, sizeof id, 50257, NULL);
    check_tokens(wide, sizeof wide, 50257, "ids of 32 bits");
    check_tokens(wide, 257 * 4, 50257, "ids of 32 bits");
    check_tokens(wider, sizeof wider, 50257, "ids of 64 bits");
    for (int i = 0; i < N;
         i++) /* a + b: every second token is the same, but there are few others */
        id[i] = i % 2 ? 0 : (uint16_t)(i / 2 % 13);
    check_tokens(id, sizeof id, 50257, NULL);
    memset(id, 0, sizeof id); /* as is a file of zeros */
    check_tokens(id, sizeof id, 50257, NULL);
    for (int i = 0; i < N; i++) /* and a small vocabulary, in which all ids are letters */
        id[i] = (uint16_t)('a' + i % 26);
    check_tokens(id, sizeof id, 128, NULL);
    size_t n;
    const char *text = repeated(B("the quick brown fox \n"), 40, &n);
    check_tokens(text, n & ~(size_t)1, 50257, "this is text");
    check_tokens("\x93NUMPY\1\0v\0{'descr': '<u2', ", 26, 50257, "NumPy");
    check_tokens("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", 10, 50257, "gzip");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_random_bytes), cmocka_unit_test(test_read_file),
        cmocka_unit_test(test_token_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
