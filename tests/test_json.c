/* test_json.c - the JSON reader: the grammar's corners one by one, every prefix, failing memory. */
#include "tests/store.h"

#include "graph/json.h"

/* NULL: accepted. */
static const struct {
    const char *text, *what;
    size_t at;
} cases[] = {
    {"{}", NULL, 0},
    {"[]", NULL, 0},
    {" [ ] ", NULL, 0},
    {"\t\r\n{ \"a\" : [ 1 , 2 ] }\n", NULL, 0},
    {"0", NULL, 0},
    {"-0", NULL, 0},
    {"1e5", NULL, 0},
    {"1E+5", NULL, 0},
    {"-1.5e-3", NULL, 0},
    {"\"\"", NULL, 0},
    {"true", NULL, 0},
    {"[null,false,true]", NULL, 0},
    {"9223372036854775807", NULL, 0},
    {"-9223372036854775808", NULL, 0},
    {"\"\\u00e9\\uD83D\\uDE00\\/\\b\\f\\n\\r\\t\\\"\\\\\"", NULL, 0},
    {"{\"a\":{\"a\":1},\"b\":{\"a\":1}}", NULL, 0},
    {"[[[[[]]]]]", NULL, 0},
    {"\"\xf4\x8f\xbf\xbf\"", NULL, 0},
    {"", "ends where a value was expected", 0},
    {" ", "ends where a value was expected", 1},
    {"[", "ends where a value was expected", 1},
    {"{", "expected a key in quotes", 1},
    {"]", "expected a value", 0},
    {"[1", "expected ',' or ']'", 2},
    {"[1,", "ends where a value was expected", 3},
    {"[1,]", "expected a value", 3},
    {"[,1]", "expected a value", 1},
    {"[1 2]", "expected ',' or ']'", 3},
    {"[1}", "expected ',' or ']'", 2},
    {"{\"a\"}", "expected ':'", 4},
    {"{\"a\":}", "expected a value", 5},
    {"{\"a\":1,}", "expected a key in quotes", 7},
    {"{1:1}", "expected a key in quotes", 1},
    {"{\"a\":1]", "expected ',' or '}'", 6},
    {"{\"a\" 1}", "expected ':'", 5},
    {"{\"a\":1,\"b\":2,\"a\":3}", "duplicate key", 13},
    {"{\"\\u0061\":1,\"a\":3}", "duplicate key", 12},
    {"1 2", "text after the end", 2},
    {"{}{}", "text after the end", 2},
    {"tru", "expected a value", 0},
    {"nul", "expected a value", 0},
    {"NaN", "expected a value", 0},
    {"Infinity", "expected a value", 0},
    {"01", "text after the end", 1},
    {"-", "not a number", 0},
    {"-a", "not a number", 0},
    {"+1", "expected a value", 0},
    {"1.", "not a number", 0},
    {".5", "expected a value", 0},
    {"1e", "not a number", 0},
    {"1e+", "not a number", 0},
    {"0x10", "text after the end", 1},
    {"1e999", "number too large for 64 bits", 0},
    {"9223372036854775808", "number too large for 64 bits", 0},
    {"'a'", "expected a value", 0},
    {"\"a", "string without an end", 0},
    {"\"a\\\"", "string without an end", 0},
    {"\"\\x\"", "unknown escape", 1},
    {"\"\\", "unknown escape", 1},
    {"\"\\u12\"", "\\u without four hex digits", 1},
    {"\"\\u12g4\"", "\\u without four hex digits", 1},
    {"\"\\u00e\x19\"", "\\u without four hex digits", 1}, /* 0x19 | 0x20 is '9' */
    {"\"\\u\x31\x10\x18\x33\"", "\\u without four hex digits", 1},
    {"\"\\u00e\x20\"", "\\u without four hex digits", 1},
    {"\"\\u00e:\"", "\\u without four hex digits", 1},
    {"\"\\u00e@\"", "\\u without four hex digits", 1},
    {"\"\\u00eG\"", "\\u without four hex digits", 1},
    {"\"\\u00e`\"", "\\u without four hex digits", 1},
    {"\"\\u00e\xc1\"", "\\u without four hex digits", 1},
    {"\"\\u-123\"", "\\u without four hex digits", 1},
    {"\"\\u0x12\"", "\\u without four hex digits", 1},
    {"\"\\U0041\"", "unknown escape", 1},
    {"\"\\N\"", "unknown escape", 1},
    {"\"\\\x0e\"", "unknown escape", 1}, /* 0x0e | 0x60 is 'n' */
    {"\"\\'\"", "unknown escape", 1},
    {"\"\\ud83d\\ude0\x10\"", "lone surrogate", 1},
    {"\"\\ud83d\\u\x04"
     "e00\"",
     "lone surrogate", 1},
    {"\"\\ud83dx\"", "lone surrogate", 1},
    {"\"\\ud83d\\ud83d\\ude00\"", "lone surrogate", 1},
    {"\"\\udc00\\ud800\"", "lone surrogate", 1},
    {"\"\\ud800\"", "lone surrogate", 1},
    {"\"\\ud7ff\\ue000\\uffff\\udbff\\udfff\\ud800\\udc00\"", NULL, 0},
    {"\"\t\"", "control character in a string", 1},
    {"\"\x1f\"", "control character in a string", 1},
    {"[1\x0c]", "expected ',' or ']'", 2}, /* form feed and others are no JSON space */
    {"\xc2\xa0"
     "1",
     "expected a value", 0},
    {"[1e\x05]", "not a number", 1},
    {"1\x05"
     "5",
     "text after the end", 1},
    {"1.e5", "not a number", 0},
    {"1e5.5", "text after the end", 3},
    {"--1", "not a number", 0},
    {"- 1", "not a number", 0},
    {"-01", "text after the end", 2},
    {"-0.0e-0", NULL, 0},
    {"1e-400", NULL, 0}, /* less than the least double is 0 */
    {"True", "expected a value", 0},
    {"nullx", "text after the end", 4},
    {"[true false]", "expected ',' or ']'", 6},
    {"{\"a\":1,,\"b\":2}", "expected a key in quotes", 7},
    {"{\"\":1}", NULL, 0},
    {"{null:1}", "expected a key in quotes", 1},
    {"\"\\u0000\"", "\\u0000 is not supported", 1},
    {"\"\\ud800\"", "lone surrogate", 1},
    {"\"\\udc00\"", "lone surrogate", 1},
    {"\"\\ud800\\u0041\"", "lone surrogate", 1},
    {"\"a\nb\"", "control character in a string", 2},
    {"\"\x7f\"", NULL, 0},
    {"\"\xff\"", "invalid UTF-8", 1},
    {"\"\xc0\x80\"", "invalid UTF-8", 1},
    {"\"\xe0\x80\x80\"", "invalid UTF-8", 1},
    {"\"\xed\xa0\x80\"", "invalid UTF-8", 1},
    {"\"\xf4\x90\x80\x80\"", "invalid UTF-8", 1},
    {"\"\xe2\x82\"", "invalid UTF-8", 1},
    {"\xef\xbb\xbf{}", "expected a value", 0},
    {"[1] // x", "text after the end", 4},
};

static weft_json *parse(weft_arena *a, const char *text, size_t n, weft_json_error *e)
{
    char *copy = weft_arena_strndup(a, text, n);
    assert_non_null(copy);
    return weft_json_parse(a, copy, n, e);
}

static void test_grammar(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_arena *a = weft_arena_new(c, 0);
        weft_json_error e;
        weft_json *j = parse(a, cases[i].text, strlen(cases[i].text), &e);
        assert_true((j == NULL) == (cases[i].what != NULL));
        if (!j)
            assert_string_equal(e.what, cases[i].what);
        if (!j)
            assert_int_equal(e.at, cases[i].at);
        weft_arena_free(a);
    }
    weft_close(c);
}

static void test_values(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_arena *a = weft_arena_new(c, 0);
    weft_json_error e;
    const char text[] = "{\"i\":-12,\"f\":2.5e1,\"s\":\"\\u00e9\\uD83D\\uDE00\\n\",\"l\":[1,[],{}],"
                        "\"t\":true,\"n\":null}";
    weft_json *j = parse(a, text, strlen(text), &e);
    assert_non_null(j);
    assert_int_equal(j->n, 6);
    assert_int_equal(weft_json_get(j, "i")->i, -12);
    assert_true(weft_json_get(j, "f")->f == 25);
    assert_string_equal(weft_json_get(j, "s")->text, "\xc3\xa9\xf0\x9f\x98\x80\n");
    const weft_json *l = weft_json_get(j, "l");
    assert_int_equal(l->n, 3);
    assert_true(
        weft_json_is(l->child, WEFT_JSON_INT) && weft_json_is(l->child->next, WEFT_JSON_ARRAY) &&
        weft_json_is(l->child->next->next, WEFT_JSON_OBJECT) && !l->child->next->next->next);
    assert_true(weft_json_is(weft_json_get(j, "t"), WEFT_JSON_TRUE));
    assert_null(weft_json_get(j, "none"));
    assert_null(weft_json_get(l, "i"));
    assert_string_equal(weft_json_name(weft_json_get(j, "none")), "nothing");
    assert_string_equal(weft_json_name(l), "a list");
    weft_arena_free(a);
    weft_close(c);
}

/* Nesting is bounded, and its bound exact. */
static void test_depth(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_arena *a = weft_arena_new(c, 0);
    weft_json_error e;
    char text[200];
    memset(text, '[', 100);
    memset(text + 64, ']', 64);
    assert_non_null(parse(a, text, 128, &e));
    memset(text, '[', 65);
    assert_null(parse(a, text, 65, &e));
    assert_string_equal(e.what, "nested too deeply");
    assert_int_equal(e.at, 64);
    weft_arena_free(a);
    weft_close(c);
}

/* Every prefix of an object is refused with a place inside it; reads stay inside (the sanitizer's
 * task). */
static void test_prefixes(void **state)
{
    (void)state;
    const char text[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\\\\",true],\"b\":{\"c\":null,\"d\":{}}}";
    weft_ctx *c = weft_open(NULL);
    for (size_t n = 0; n < strlen(text); n++) {
        weft_arena *a = weft_arena_new(c, 0);
        weft_json_error e;
        assert_null(parse(a, text, n, &e));
        assert_true(e.what && e.at <= n);
        weft_arena_free(a);
    }
    weft_close(c);
}

/* What is written is read again, whatever bytes it has. */
static void test_written(void **state)
{
    (void)state;
    static const char *const text[][2] = {
        {"a\"\\/\b\f\n\r\t\x01\x1f\x7f", "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
        {"\xc3\xa9 \xf0\x9f\x98\x80", "\"\xc3\xa9 \xf0\x9f\x98\x80\""},
        {"\xff\xc3\xed\xa0\x80z", "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffdz\""},
        {"", "\"\""},
    };
    weft_ctx *c = weft_open(NULL);
    weft_arena *a = weft_arena_new(c, 0);
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        weft_string s;
        weft_json_error e;
        weft_string_init(&s, c);
        weft_string_json(&s, text[i][0]);
        assert_string_equal(s.s, text[i][1]);
        assert_true(weft_json_is(parse(a, s.s, s.len, &e), WEFT_JSON_STRING));
        weft_string_free(&s);
    }
    weft_arena_free(a);
    weft_close(c);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    char keys[20000];
    size_t n = 0;
    for (int i = 0; i < 1000; i++)
        n += (size_t)sprintf(keys + n, "%c\"k%d\":[%d]", i ? ',' : '{', i, i);
    keys[n++] = '}';
    bool failed = true;
    for (long k = 1; failed; k++) {
        counter m = {.fail_at = k};
        weft_allocator mem = {counted_alloc, counted_realloc, counted_free, &m};
        weft_ctx *c = weft_open(&(weft_options){.allocator = &mem});
        weft_arena *a = c ? weft_arena_new(c, 0) : NULL;
        char *copy = a ? weft_arena_strndup(a, keys, n) : NULL;
        weft_json_error e = {0};
        weft_json *j = copy ? weft_json_parse(a, copy, n, &e) : NULL;
        failed = m.calls >= k;
        assert_true((j == NULL) == failed && !e.what);
        if (c) {
            assert_int_equal(weft_error_status(c), failed ? WEFT_NOMEM : WEFT_OK);
            weft_arena_free(a);
            weft_close(c);
        }
        assert_int_equal(m.live, 0);
    }
}

static void test_file_errors(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_arena *a = weft_arena_new(c, 0);
    weft_json *j;
    char bad[] = "{\n \"a\": 1,\n \"b\" 2}", list[] = "[1]";
    assert_int_equal(weft_json_parse_file(a, "f.json", bad, strlen(bad), &j), WEFT_MALFORMED);
    assert_string_equal(weft_error(c), "f.json:3:6: expected ':'");
    weft_error_clear(c);
    assert_int_equal(weft_json_parse_file(a, "f.json", list, strlen(list), &j), WEFT_MALFORMED);
    assert_string_equal(weft_error(c), "f.json: the file is a list, expected an object");
    weft_arena_free(a);
    weft_close(c);
}

/* Whole numbers of any size, where somebody asks for that; beyond doubles there is nothing. */
static void test_wide(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_arena *a = weft_arena_new(c, 0);
    weft_json *j;
    char text[] = "{\"a\": 1000000000000000019884624838656, \"b\": -7}", strict[sizeof text];
    memcpy(strict, text, sizeof text);
    assert_int_equal(weft_json_parse_file(a, "f", strict, strlen(strict), &j), WEFT_MALFORMED);
    weft_error_clear(c);
    assert_int_equal(weft_json_parse_wide(a, "f", text, strlen(text), &j), WEFT_OK);
    assert_true(weft_json_is(weft_json_get(j, "a"), WEFT_JSON_REAL));
    assert_true(weft_json_get(j, "a")->f == 1e30 + 19884624838656.0);
    assert_true(weft_json_is(weft_json_get(j, "b"), WEFT_JSON_INT));
    char huge[512] = "{\"a\": ";
    memset(huge + 6, '9', 400);
    strcpy(huge + 406, "}");
    assert_int_equal(weft_json_parse_wide(a, "f", huge, strlen(huge), &j), WEFT_MALFORMED);
    weft_arena_free(a);
    weft_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar),       cmocka_unit_test(test_values),
        cmocka_unit_test(test_depth),         cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_written),
        cmocka_unit_test(test_file_errors),   cmocka_unit_test(test_wide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
