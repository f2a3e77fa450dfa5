/* test_documents.c - documents in text files: the three ways to tell them apart, and every size of
 * the buffer. */
#include "tests/bpe.h"

#include "tools/documents.h"

static char folder[64];

/* What the files hold, as "document|document|": each in [], the segments joined. The caller frees.
 */
static char *read_all(const char *const *paths, int n, weft_doc_mode mode, const char *mark,
                      size_t buffer)
{
    weft_ctx *c = weft_open(NULL);
    weft_documents *d;
    const weft_segment *s;
    weft_string out;
    int count;
    int64_t next = 0;
    bool open = false;
    weft_string_init(&out, c);
    assert_int_equal(weft_documents_open(c, paths, n, mode, mark, buffer, &d), WEFT_OK);
    while (assert_int_equal(weft_documents_next(d, &s, &count), WEFT_OK), count > 0)
        for (int i = 0; i < count; i++) {
            assert_int_equal(s[i].document, next);
            weft_string_printf(&out, "%s", open ? "" : "[");
            weft_string_add(&out, s[i].text, s[i].n);
            weft_string_printf(&out, "%s", s[i].last ? "]" : "");
            open = !s[i].last;
            next += s[i].last;
        }
    assert_false(open);
    assert_int_equal(weft_documents_done(d), weft_documents_total(d));
    weft_documents_close(d);
    char *copy = strdup(out.s);
    weft_string_free(&out);
    weft_close(c);
    return copy;
}

static char *read_text(const char *text, weft_doc_mode mode, const char *mark, size_t buffer)
{
    const char *path = join(folder, "text");
    put_file(path, text, strlen(text));
    return read_all(&path, 1, mode, mark, buffer);
}

static void test_modes(void **state)
{
    (void)state;
    static const struct {
        weft_doc_mode mode;
        const char *mark, *text, *want;
    } table[] = {
        {WEFT_DOCS_FILE, NULL, "a\n\nb<|endoftext|>c\n", "[a\n\nb<|endoftext|>c\n]"},
        {WEFT_DOCS_FILE, NULL, "", ""},
        {WEFT_DOCS_FILE, NULL, " \n\t\n", ""}, /* white space only: no document */
        {WEFT_DOCS_MARK, WEFT_END_OF_TEXT, "a\n<|endoftext|>\nb\n<|endoftext|>\n", "[a\n][b\n]"},
        {WEFT_DOCS_MARK, WEFT_END_OF_TEXT, "a<|endoftext|>b", "[a][b]"},
        {WEFT_DOCS_MARK, WEFT_END_OF_TEXT, "a<|endoftext|>\r\n\nb", "[a][\nb]"},
        {WEFT_DOCS_MARK, WEFT_END_OF_TEXT, "<|endoftext|><|endoftext|>\n \n<|endoftext|>x", "[x]"},
        {WEFT_DOCS_MARK, WEFT_END_OF_TEXT, "a <|endoftext b", "[a <|endoftext b]"},
        {WEFT_DOCS_MARK, "---", "a\n---\nb ---- c", "[a\n][b ][- c]"},
        {WEFT_DOCS_BLANK, NULL, "a\nb\n\nc\n", "[a\nb\n][c\n]"},
        {WEFT_DOCS_BLANK, NULL, "\n\n  \na\n \t\r\n\n\nb", "[a\n][b]"},
        {WEFT_DOCS_BLANK, NULL, "a\n\n", "[a\n]"},
        {WEFT_DOCS_BLANK, NULL, "a\n   ", "[a\n]"},
        {WEFT_DOCS_BLANK, NULL, "  a\n  b\n\n  c", "[  a\n  b\n][  c]"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (size_t buffer = 1; buffer < 40; buffer++) {
            char *got = read_text(table[i].text, table[i].mode, table[i].mark, buffer);
            assert_string_equal(got, table[i].want);
            free(got);
        }
}

/* Random texts: the same documents whatever the buffer holds, and the same ids as of whole
 * documents. */
static void test_buffers(void **state)
{
    (void)state;
    static const char *const part[] = {"a",  "b", " ",   "  ",   "\n",       "\n\n", "\n \n",
                                       "--", "-", "---", "\r\n", "\xc2\xa0", "x y"};
    lcg g = {4};
    for (int round = 0; round < 60; round++) {
        char text[600] = "";
        while (strlen(text) < 500)
            strcat(text, part[lcg_next(&g) % (sizeof part / sizeof *part)]);
        weft_doc_mode mode = (weft_doc_mode)(round % 3);
        const char *mark = round % 2 ? "---" : "b -"; /* one with a place to cut inside */
        char *want = read_text(text, mode, mark, 0);
        for (size_t buffer = 1; buffer < 700; buffer += 1 + buffer / 7) {
            char *got = read_text(text, mode, mark, buffer);
            assert_string_equal(got, want);
            free(got);
        }
        free(want);
    }
}

/* The end of a file ends its document, and marks do not reach across. */
static void test_files(void **state)
{
    (void)state;
    const char *paths[5];
    static const char *const texts[5] = {"a--", "-b", "", "c\n", "d"};
    for (int i = 0; i < 5; i++) {
        char name[8];
        snprintf(name, sizeof name, "f%d", i);
        paths[i] = strdup(join(folder, name));
        put_file(paths[i], texts[i], strlen(texts[i]));
    }
    for (size_t buffer = 0; buffer < 12; buffer++)
        for (int mode = 0; mode < 3; mode++) {
            char *got = read_all(paths, 5, (weft_doc_mode)mode, "---", buffer);
            assert_string_equal(got, "[a--][-b][c\n][d]");
            free(got);
        }
    for (int i = 0; i < 5; i++)
        free((char *)paths[i]);
}

static void test_failures(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_documents *d;
    const char *path = join(folder, "nowhere");
    assert_int_equal(weft_documents_open(c, &path, 1, WEFT_DOCS_FILE, NULL, 0, &d), WEFT_MISSING);
    weft_close(c);
    path = join(folder, "text");
    put_file(path, "some text", 9);
    for (long n = 1; n < 8; n++) { /* identify, open, three reads or fewer, close */
        fault f = {.fail_at = n, .forever = 1, .kind = FAULT_ERROR, .error = EIO};
        weft_io io = fault_table(&f);
        const weft_segment *s;
        int count = 1;
        c = weft_open(&(weft_options){.io = &io});
        d = NULL;
        weft_status r = weft_documents_open(c, &path, 1, WEFT_DOCS_FILE, NULL, 0, &d);
        while (!r && count)
            r = weft_documents_next(d, &s, &count);
        if (n < 4)
            assert_int_equal(r, WEFT_IO);
        weft_documents_close(d);
        weft_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_failures),
    };
    strcpy(folder, fresh_dir());
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_dir(folder);
    return failed;
}
