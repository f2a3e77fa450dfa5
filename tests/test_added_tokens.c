/* test_added_tokens.c - added tokens in texts: the ids of Hugging Face's tokenizers
 * (tests/golden/added_tokens.py), the same ids however a text is cut, files written and read again,
 * long tokens in linear time. */
#include "tests/bpe.h"

#include "graph/json.h"
#include "tools/documents.h"

#define GOLDEN "tests/golden/added_tokens.json"

static char folder[64];

/* The small tokenizer with these added tokens, read from a file. */
static weft_bpe *with_added(weft_ctx *c, const char *added)
{
    size_t n;
    weft_bpe *t = small_bpe(c);
    const char *path = join(folder, "small.json");
    assert_int_equal(weft_bpe_save(t, path), WEFT_OK);
    weft_bpe_free(t);
    char *text = (char *)get_file(path, &n);
    text[n] = 0; /* get_file has room */
    char *list = strstr(text, "[\n"), *rest = strstr(text, "\n  ],") + 4;
    weft_string out;
    weft_string_init(&out, c);
    weft_string_add(&out, text, (size_t)(list - text));
    weft_string_printf(&out, "%s", added);
    weft_string_add(&out, rest, strlen(rest));
    put_file(path, out.s, out.len);
    weft_string_free(&out);
    free(text);
    if (weft_bpe_load(c, path, &t))
        fail_msg("%s", weft_error(c));
    return t;
}

/* ---- the same ids ---- */
static void compare_ids(const char *list, const char *text, const weft_ids *got,
                        const weft_json *want)
{
    const weft_json *w = want->child;
    for (size_t i = 0; w && i < got->n && w->i == got->id[i]; i++)
        w = w->next;
    size_t same = 0;
    for (const weft_json *k = want->child; k != w; k = k->next)
        same++;
    if (w || same != got->n)
        fail_msg("%s: '%s': id %zu differs: found %d, expected %d; %zu of %d ids", list, text, same,
                 same < got->n ? got->id[same] : -1, w ? (int)w->i : -1, got->n, want->n);
}

static void check_case(weft_ctx *c, const weft_bpe *t, const char *list, const weft_json *one)
{
    const weft_json *ids = weft_json_get(one, "ids"), *split = weft_json_get(one, "split");
    const char *text = weft_json_get(one, "text")->text;
    for (int specials = 0; specials < 2; specials++) {
        weft_ids got = {.ctx = c};
        assert_int_equal(weft_bpe_encode(c, t, text, strlen(text), specials, &got), WEFT_OK);
        compare_ids(list, text, &got, !specials && split ? split : ids);
        weft_ids_free(&got);
    }
}

/* All texts of a list with a break between them; what is cut out of it must be where it was. */
static void join_cases(const weft_json *list, weft_string *out)
{
    for (const weft_json *k = weft_json_get(list, "cases")->child; k; k = k->next)
        weft_string_printf(out, "%s%s", weft_json_get(k, "text")->text, k->n % 2 ? "\n" : " ");
}

/* The ids of a file in segments of a buffer of so many bytes. */
static void encode_file(weft_ctx *c, const weft_bpe *t, const char *path, size_t buffer,
                        weft_ids *out)
{
    weft_documents *d;
    const weft_segment *s;
    int n;
    assert_int_equal(weft_documents_open(c, &path, 1, WEFT_DOCS_FILE, NULL, buffer, &d), WEFT_OK);
    weft_documents_keep_whole(d, t);
    while (assert_int_equal(weft_documents_next(d, &s, &n), WEFT_OK), n > 0)
        for (int i = 0; i < n; i++)
            assert_int_equal(weft_bpe_encode(c, t, s[i].text, s[i].n, true, out), WEFT_OK);
    weft_documents_close(d);
}

static void check_cuts(weft_ctx *c, const weft_bpe *t, const weft_json *list)
{
    weft_string text;
    weft_string_init(&text, c);
    join_cases(list, &text);
    weft_ids whole = {.ctx = c};
    const char *path = join(folder, "text");
    put_file(path, text.s, text.len);
    assert_int_equal(weft_bpe_encode(c, t, text.s, text.len, true, &whole), WEFT_OK);
    for (size_t buffer = 1; buffer < 400; buffer += buffer < 40 ? 1 : 37) {
        weft_ids cut = {.ctx = c};
        encode_file(c, t, path, buffer, &cut);
        assert_int_equal(cut.n, whole.n);
        assert_memory_equal(cut.id, whole.id, whole.n * sizeof *whole.id);
        weft_ids_free(&cut);
    }
    weft_ids_free(&whole);
    weft_string_free(&text);
}

static void for_each_list(void (*check)(weft_ctx *, const weft_bpe *, const weft_json *))
{
    size_t n;
    weft_ctx *c = weft_open(NULL);
    weft_arena *a = weft_arena_new(c, 0);
    weft_json *root;
    char *text;
    assert_int_equal(weft_read_file(a, GOLDEN, 1 << 20, &text, &n), WEFT_OK);
    assert_int_equal(weft_json_parse_file(a, GOLDEN, text, n, &root), WEFT_OK);
    for (const weft_json *l = weft_json_get(root, "lists")->child; l; l = l->next) {
        weft_bpe *t = with_added(c, weft_json_get(l, "added")->text);
        check(c, t, l);
        weft_bpe_free(t);
    }
    weft_arena_free(a);
    weft_close(c);
}

static void check_list(weft_ctx *c, const weft_bpe *t, const weft_json *list)
{
    for (const weft_json *k = weft_json_get(list, "cases")->child; k; k = k->next)
        check_case(c, t, weft_json_get(list, "name")->text, k);
}

static void test_ids(void **state)
{
    (void)state;
    for_each_list(check_list);
}

static void test_cuts(void **state)
{
    (void)state;
    for_each_list(check_cuts);
}

/* ---- files ---- */
static void check_written(weft_ctx *c, const weft_bpe *t, const weft_json *list)
{
    weft_bpe *again;
    assert_int_equal(weft_bpe_save(t, join(folder, "again.json")), WEFT_OK);
    assert_int_equal(weft_bpe_load(c, join(folder, "again.json"), &again), WEFT_OK);
    assert_int_equal(again->n_added, t->n_added);
    check_list(c, again, list);
    weft_bpe_free(again);
}

static void test_written(void **state)
{
    (void)state;
    for_each_list(check_written);
}

#define ADDED(id, text, more)                                                                      \
    "{\"id\": " #id ", \"content\": \"" text "\", \"normalized\": false" more "}"
#define END ADDED(262, "<|endoftext|>", ", \"special\": true")

/* Which are text, and which are signs: bits per byte depend on it. */
static void test_what_is_text(void **state)
{
    (void)state;
    size_t n;
    weft_ctx *c = weft_open(NULL);
    weft_bpe *t = with_added(c, "[" END ", " ADDED(263, "<x>", ", \"special\": true") ", " //
                             ADDED(264, "   ", "") ", " ADDED(257, "the", "") "]");
    assert_int_equal(weft_bpe_vocab(t), 265);
    assert_int_equal(weft_bpe_end(t), 262);
    assert_true(weft_bpe_is_special(t, 263));
    assert_false(weft_bpe_is_special(t, 264) || weft_bpe_is_special(t, 257));
    assert_memory_equal(weft_bpe_token(t, 264, &n), "   ", 3);
    assert_int_equal(n, 3);
    weft_ids ids = {.ctx = c}; /* "the" is added, and made by merges, too */
    assert_int_equal(weft_bpe_encode(c, t, " the", 4, true, &ids), WEFT_OK);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.id[1], 257);
    weft_ids_free(&ids);
    weft_bpe_free(t);
    weft_close(c);
}

/* With a comparison of every token at every byte this would take minutes. */
static void test_long_tokens(void **state)
{
    (void)state;
    enum { N = 1 << 20, LONG = 60000 };
    weft_ctx *c = weft_open(NULL);
    weft_string added;
    weft_string_init(&added, c);
    weft_string_printf(&added, "[" END ", {\"id\": 263, \"content\": \"");
    for (int i = 0; i < LONG; i++)
        weft_string_add(&added, "a", 1);
    weft_string_printf(&added, "b\", \"normalized\": false}]");
    weft_bpe *t = with_added(c, added.s);
    char *text = test_malloc(N);
    memset(text, 'a', N);
    text[N - 1] = 'b';
    weft_ids ids = {.ctx = c};
    assert_int_equal(weft_bpe_encode(c, t, text, N, true, &ids), WEFT_OK);
    assert_int_equal(ids.id[ids.n - 1], 263);
    weft_ids_free(&ids);
    test_free(text);
    weft_bpe_free(t);
    weft_string_free(&added);
    weft_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),         cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_written),     cmocka_unit_test(test_what_is_text),
        cmocka_unit_test(test_long_tokens),
    };
    strcpy(folder, fresh_dir());
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_dir(folder);
    return failed;
}
