/* test_textproto.c - the text format: spellings, refusals, limits, settings, printing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "everything.pb-c.h"
#include "graph/io.h"
#include "graph/reflect.h"

#define E &weft_test__everything__descriptor
#define M &weft__model__descriptor
#define R &weft__recipe__descriptor

typedef ProtobufCMessageDescriptor descriptor;

static weft_ctx *ctx;
static weft_arena *arena;

static int setup(void **state)
{
    (void)state;
    ctx = weft_open(NULL);
    arena = weft_arena_new(ctx, 0);
    return !arena;
}

static int teardown(void **state)
{
    (void)state;
    weft_arena_free(arena);
    weft_close(ctx);
    return 0;
}

static ProtobufCMessage *parse_n(const descriptor *d, const char *s, size_t n, weft_lines *lines)
{
    ProtobufCMessage *m = NULL;
    if (weft_text_parse(arena, d, s, n, "f", lines, &m))
        fail_msg("%s\nin: %.*s", weft_error(ctx), (int)n, s);
    return m;
}

static ProtobufCMessage *parse(const descriptor *d, const char *s)
{
    return parse_n(d, s, strlen(s), NULL);
}

static const char *print(const ProtobufCMessage *m)
{
    weft_string s;
    weft_string_init(&s, ctx);
    assert_int_equal(weft_text_print(m, &s), WEFT_OK);
    char *kept = weft_arena_strndup(arena, s.s, s.len);
    weft_string_free(&s);
    return kept;
}

/* ---- refusals ---- */
static const struct {
    const descriptor *d;
    const char *text, *message;
} bad_text[] = {
#include "bad_text.h"
};

static void test_bad_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_text / sizeof *bad_text; i++) {
        ProtobufCMessage *m;
        weft_status s = weft_text_parse(arena, bad_text[i].d, bad_text[i].text,
                                        strlen(bad_text[i].text), "f", NULL, &m);
        assert_int_equal(s, WEFT_MALFORMED);
        assert_string_equal(weft_error(ctx), bad_text[i].message);
        weft_error_clear(ctx);
    }
}

static void refuse(const descriptor *d, const char *s, size_t n, const char *message)
{
    ProtobufCMessage *m;
    assert_int_equal(weft_text_parse(arena, d, s, n, "f", NULL, &m), WEFT_MALFORMED);
    assert_string_equal(weft_error(ctx), message);
    weft_error_clear(ctx);
}

static void test_nul_bytes(void **state)
{
    (void)state;
    refuse(E, "i32: 1 \0", 8, "f:1:8: i32: NUL byte; a text file must not hold any");
    refuse(E, "# a \0 b", 7, "f:1:5: Everything: NUL byte; a text file must not hold any");
    refuse(E, "text: 'a\0b'", 11, "f:1:9: text: NUL byte; a text file must not hold any");
    refuse(E, "\0", 1, "f:1:1: Everything: NUL byte; a text file must not hold any");
}

/* ---- spellings: both texts are one message ---- */
static const struct {
    const char *text, *plain;
} same[] = {
    {"", "# only a comment"},
    {"\xef\xbb\xbfi32: 1", "i32: 1"},
    {"i32: 1\r\ni64: 2\r\n", "i32: 1 i64: 2"},
    {"i32\n:\n1\v\f\t", "i32: 1"},
    {"i32: 1, i64: 2; u32: 3,", "i32: 1 i64: 2 u32: 3"},
    {"i64: 2 i32: 1", "i32: 1 i64: 2"},
    {"i32: - # minus\n 0x1F", "i32: -31"},
    {"i32: 017 u32: 0XfF u64: 0", "i32: 15 u32: 255 u64: 00"},
    {"i32: -2147483648 i64: -9223372036854775808",
     "i32: -0x80000000 i64: -01000000000000000000000"},
    {"u64: 18446744073709551615", "u64: 0xffffffffffffffff"},
    {"real: 1f wide: 1.F", "real: 1 wide: 1"},
    {"wide: .5 real: 1.5e+1f", "wide: 0.5 real: 15"},
    {"wide: inf real: -INFINITY", "wide: Infinity real: -inf"},
    {"wide: 1e999 real: 1e39", "wide: inf real: inf"},
    {"wide: NaN", "wide: nan"},
    {"wide: 99999999999999999999", "wide: 1e20"},
    {"flag: t many_flag: [True, 1, 0x1, 01, f, False, 0]",
     "flag: true many_flag: true many_flag: [true, true, true] many_flag: [false, false, false]"},
    {"colour: DARK_BLUE shade: -3", "colour: 7 shade: INFRA"},
    {"text: 'a' \"b\" # and\n 'c'", "text: \"abc\""},
    {"text: '\\a\\b\\f\\n\\r\\t\\v\\?\\\\\\'\\\"'",
     "text: \"\\x07\\x8\\x0c\\012\\15\\11\\013?\\134\\x27\\x22\""},
    {"text: '\\u00e9\\U0001F600\\ud83d\\ude00'",
     "text: '\xc3\xa9\xf0\x9f\x98\x80\xf0\x9f\x98\x80'"},
    {"raw: '\\0\\377\\xff'", "raw: \"\\000\\xFF\\377\""},
    {"text: ''", "text: \"\" ''"},
    {"child { } leaf < id: 1 >", "child: <> leaf: { id: 1 }"},
    {"child { i32: 1 };", "child: { i32: 1 },"},
    {"many_i32: [] many_child: []", ""},
    {"many_i32: [1, 2] many_i32: 3 many_i32: [4]", "many_i32: 1 many_i32: 2 many_i32: [3, 4]"},
    {"many_child: [{i32: 1}, <i32: 2>] many_child {}",
     "many_child {i32: 1} many_child {i32: 2} many_child: {}"},
    {"many_child [{}]", "many_child: [<>]"},
    {"many_text: ['a' 'b', 'c']", "many_text: 'ab' many_text: 'c'"},
    {"one_text: 'a'", "one_text: \"a\""},
    {"word: 'weft'", "word: \"weft\""},
};

static void test_spellings(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        uint8_t *a, *b;
        size_t na, nb;
        assert_int_equal(weft_binary_pack(arena, parse(E, same[i].text), &a, &na), WEFT_OK);
        assert_int_equal(weft_binary_pack(arena, parse(E, same[i].plain), &b, &nb), WEFT_OK);
        if (na != nb || memcmp(a, b, na))
            fail_msg("not the same message: %s / %s", same[i].text, same[i].plain);
    }
}

static void test_defaults_are_not_values(void **state)
{
    (void)state;
    WeftTest__Everything *m = (WeftTest__Everything *)parse(E, "");
    assert_string_equal(m->word, "weft");
    assert_true(m->ratio == 0.5 && !m->has_ratio);
    assert_string_equal(print(&m->base), "");
    m = (WeftTest__Everything *)parse(E, "word: 'weft' ratio: 0.5 shade: GREEN blob: '\\001\\377'");
    assert_string_equal(print(&m->base),
                        "word: \"weft\"\nblob: \"\\001\\377\"\nratio: 0.5\nshade: GREEN\n");
}

/* ---- positions ---- */
static void expect_pos(const weft_lines *l, const void *key, int line, int col)
{
    weft_pos p = weft_lines_get(l, key);
    assert_string_equal(p.file, "f");
    assert_int_equal(p.line, line);
    assert_int_equal(p.col, col);
}

static void test_positions(void **state)
{
    (void)state;
    weft_lines *l = weft_lines_new(arena);
    const char *s =
        "doc: '\xc3\xa9' main: 'a'\nmodule {\n  name: 'a'\n  input: [{ name: 'x' },\n    <>]\n}";
    Weft__Model *m = (Weft__Model *)parse_n(M, s, strlen(s), l);
    expect_pos(l, m, 1, 1);
    expect_pos(l, m->main, 1, 16); /* columns count characters, not bytes */
    expect_pos(l, m->module[0], 2, 1);
    expect_pos(l, m->module[0]->name, 3, 9);
    expect_pos(l, m->module[0]->input[0], 4, 11);
    expect_pos(l, m->module[0]->input[1], 5, 5);
    assert_int_equal(weft_lines_get(l, s).line, 0);
    assert_string_equal(weft_lines_get(l, s).file, "?");
}

/* ---- limits ---- */
static char *nested(int depth)
{
    char *s = weft_arena_alloc(arena, (size_t)depth * 8 + 1);
    for (int i = 0; i < depth; i++)
        memcpy(s + 7 * i, "child {", 7);
    memset(s + 7 * depth, '}', (size_t)depth);
    return s;
}

static void test_depth(void **state)
{
    (void)state;
    char *s = nested(63);
    assert_non_null(strstr(print(parse(E, s)), "child {")); /* with the file itself: 64 levels */
    s = nested(64);
    ProtobufCMessage *m;
    assert_int_equal(weft_text_parse(arena, E, s, strlen(s), "f", NULL, &m), WEFT_MALFORMED);
    assert_non_null(strstr(weft_error(ctx), ": messages are nested deeper than 64"));
    weft_error_clear(ctx);
    s = nested(1000000);
    assert_int_equal(weft_text_parse(arena, E, s, strlen(s), "f", NULL, &m), WEFT_MALFORMED);
}

static void test_long_things(void **state)
{
    (void)state;
    size_t n = 3 << 20;
    char *s = weft_arena_alloc(arena, n + 64);
    memset(s, '1', n);
    memcpy(s, "wide: ", 6);
    refuse(E, s, n,
           "f:1:7: wide: found '11111111111111111111111111111111111111111111111...', expected a "
           "number of at most "
           "1023 characters");
    memcpy(s, "text: '", 7);
    s[n] = '\'';
    assert_int_equal(strlen(((WeftTest__Everything *)parse(E, s))->text), n - 7);
    memset(s, ' ', n); /* a line of 3 MiB */
    memcpy(s + n, "i3", 3);
    refuse(E, s, n + 2,
           "f:1:3145729: Everything: unknown field 'i3' of Everything; did you mean 'i32'?");
}

/* A file of empty messages takes 300 times its size in memory: refused long before the end. */
static void test_memory_budget(void **state)
{
    (void)state;
    size_t count = 4 << 20;
    char *s = weft_arena_alloc(arena, 13 + 3 * count + 1), *p = s + 13;
    memcpy(s, "many_child: [", 13);
    for (size_t i = 0; i < count; i++, p += 3)
        memcpy(p, i + 1 < count ? "{}," : "{}]", 3);
    ProtobufCMessage *m;
    assert_int_equal(weft_text_parse(arena, E, s, strlen(s), "f", NULL, &m), WEFT_MALFORMED);
    assert_non_null(strstr(weft_error(ctx), "over the budget of"));
}

/* ---- damage: anything goes in, a message or one clear error comes out ---- */
static void parse_damaged(const descriptor *d, const char *s, size_t n)
{
    weft_arena *a = weft_arena_new(ctx, 0);
    weft_lines *l = weft_lines_new(a);
    ProtobufCMessage *m = NULL;
    char *copy = malloc(n ? n : 1); /* exactly n bytes, for the sanitizer */
    memcpy(copy, s, n);
    weft_status status = weft_text_parse(a, d, copy, n, "f", l, &m);
    if (status) {
        assert_int_equal(status, WEFT_MALFORMED);
        assert_int_equal(strncmp(weft_error(ctx), "f:", 2), 0);
    } else {
        assert_non_null(m);
        print(m);
    }
    weft_error_clear(ctx);
    free(copy);
    weft_arena_free(a);
}

static const char *const sample = "i32: -5 u64: 0x7f wide: -1.5e3 flag: true # c\ntext: "
                                  "'a\\n\\u00e9' \"b\" raw: '\\xff'\ncolour: GREEN\n"
                                  "child < many_i32: [1, -2, 03]; leaf { id: 1 name: \"n\" } >, "
                                  "many_child: [{}, {one_leaf {id: 2}}] one_wide: -inf";

static char *model_text(size_t *n)
{
    char *s;
    assert_int_equal(weft_read_file(arena, "models/gpt2.txtpb", 1 << 20, &s, n), WEFT_OK);
    return s;
}

static void test_every_prefix(void **state)
{
    (void)state;
    size_t n;
    const char *s = model_text(&n);
    for (size_t i = 0; i <= n; i++)
        parse_damaged(M, s, i);
    for (size_t i = 0; i <= strlen(sample); i++)
        parse_damaged(E, sample, i);
    parse(E, sample);
}

static void test_random_damage(void **state)
{
    (void)state;
    static const char odd[] = "{}<>[]:;,-#'\"\\0x9aef. \n\0\x80\xff";
    char s[400];
    uint64_t r = 7;
    for (int i = 0; i < 20000; i++) {
        size_t n = strlen(sample);
        memcpy(s, sample, n);
        for (int k = 0; k < 1 + i % 4; k++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            s[(r >> 33) % n] = odd[(r >> 20) % (sizeof odd - 1)];
        }
        parse_damaged(E, s, n);
    }
}

/* ---- running out of memory at every allocation ---- */
static int allowed;
static void *few_alloc(void *user, size_t n)
{
    (void)user;
    return allowed-- > 0 ? malloc(n) : NULL;
}
static void *few_realloc(void *user, void *p, size_t n)
{
    (void)user;
    return allowed-- > 0 ? realloc(p, n) : NULL;
}
static void few_free(void *user, void *p)
{
    (void)user;
    free(p);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const weft_allocator few = {few_alloc, few_realloc, few_free, NULL};
    size_t n;
    const char *s = model_text(&n);
    weft_status status = WEFT_NOMEM;
    for (int limit = 2; status && limit < 100; limit++) {
        allowed = limit;
        weft_ctx *c = weft_open(&(weft_options){.allocator = &few});
        weft_arena *a = weft_arena_new(c, 0);
        weft_lines *l = a ? weft_lines_new(a) : NULL;
        ProtobufCMessage *m;
        status = l ? weft_text_parse(a, M, s, n, "f", l, &m) : WEFT_NOMEM;
        weft_string out = {0};
        if (!status) {
            weft_string_init(&out, c);
            status = weft_text_print(m, &out);
            weft_string_free(&out);
        }
        assert_true(status == WEFT_OK || status == WEFT_NOMEM);
        assert_int_equal(weft_error_status(c), status);
        weft_arena_free(a);
        weft_close(c);
    }
    assert_int_equal(status, WEFT_OK);
}

/* ---- printing ---- */
static void test_canonical_text(void **state)
{
    (void)state;
    const char *text =
        "i32: -5\n"
        "u64: 18446744073709551615\n"
        "real: 0.1\n"
        "wide: 0.1\n"
        "flag: true\n"
        "text: \"\xc3\xa9 \\\"q\\\" \\\\ \\n\\001\"\n"
        "raw: \"\\303\\251\\000\"\n"
        "colour: INFRA\n"
        "child { wide: 1e-08 leaf { id: 1 } many_child {} many_child { real: inf wide: nan } }\n"
        "many_i32: [1, 2, 3]\n"
        "many_text: \"one\"\n"
        "many_child {\n"
        "  text: \"a line that is so long that the message around it does not fit on one line of "
        "text\"\n"
        "  many_text: [\"x\", \"y\"]\n"
        "}\n"
        "many_child {}\n"
        "pack_real: [0.1, 16777216, 1e+10, -0]\n"
        "one_text: \"\"\n";
    assert_string_equal(print(parse(E, text)), text);
}

static void test_long_list(void **state)
{
    (void)state;
    char line[80];
    memset(line, 'x', 79);
    line[79] = 0;
    const char *list = weft_arena_printf(arena, "many_text: ['%s', 'y', 'z']", line);
    const char *lines =
        weft_arena_printf(arena, "many_text: \"%s\"\nmany_text: \"y\"\nmany_text: \"z\"\n", line);
    assert_string_equal(print(parse(E, list)), lines);
}

/* ---- settings ---- */
static void test_settings(void **state)
{
    (void)state;
    ProtobufCMessage *m =
        parse(R, "train { steps: 3 } optimizer { group { match: 'a' } group { match: 'b' } }");
    static const char *const good[][2] = {
        {"train.steps", "500"},
        {"train.check_nan", "false"},
        {"schedule.lr", "1e-3"},
        {"set", "d=128"},
        {"set", "n_layer=2"},
        {"name", "it's \"new\" \\n"},
        {"train.seed", "0xff"},
        {"optimizer.group[1].match", "c*"},
        {"optimizer.group[0].lr_scale", "0"},
        {"eval.every", "7"},
        {"train.steps", "600"},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (weft_message_set(arena, m, good[i][0], good[i][1]))
            fail_msg("%s", weft_error(ctx));
    assert_string_equal(
        print(m),
        "name: \"it's \\\"new\\\" \\\\n\"\n"
        "set: [\"d=128\", \"n_layer=2\"]\n"
        "train { steps: 600 seed: 255 check_nan: false }\n"
        "optimizer { group { match: \"a\" lr_scale: 0 } group { match: [\"b\", \"c*\"] } }\n"
        "schedule { lr: 0.001 }\n"
        "eval { every: 7 }\n");
    ProtobufCMessage *e = parse(E, "one_i32: 1");
    assert_int_equal(weft_message_set(arena, e, "one_leaf.id", "3"), WEFT_OK);
    assert_int_equal(weft_message_set(arena, e, "colour", "RED"), WEFT_OK);
    assert_int_equal(weft_message_set(arena, e, "raw", "ab"), WEFT_OK);
    assert_string_equal(print(e), "raw: \"ab\"\ncolour: RED\none_leaf { id: 3 }\n");
}

static const struct {
    const char *path, *value, *message;
} bad_setting[] = {
    {"train.stesp", "1",
     "setting train.stesp: unknown field 'stesp' of Train; did you mean 'steps'?"},
    {"trian.steps", "1",
     "setting trian.steps: unknown field 'trian' of Recipe; did you mean 'train'?"},
    {"train.steps", "many",
     "setting train.steps: found 'many', expected an integer from -9223372036854775808 to "
     "9223372036854775807"},
    {"train.steps", "",
     "setting train.steps: found the end of the value, expected an integer from "
     "-9223372036854775808 to 9223372036854775807"},
    {"train.steps", "5 6", "setting train.steps: found '6', expected the end of the value"},
    {"train.steps", "5k",
     "setting train.steps: a number must be followed by a space or a separator"},
    {"train.seed", "-1",
     "setting train.seed: found '-1', expected an integer from 0 to 18446744073709551615"},
    {"schedule.lr", "0x10",
     "setting schedule.lr: found '0x10', expected a decimal number (not octal or hexadecimal)"},
    {"train.check_nan", "maybe", "setting train.check_nan: found 'maybe', expected true or false"},
    {"train", "1",
     "setting train: 'train' is a message; set one of its fields; known: steps, batch, length, "
     "accumulate, seed, loss, threads, max_memory, precision, check_nan, log_every, log"},
    {"train.steps.x", "1", "setting train.steps.x: 'steps' is a plain value and has no fields"},
    {"load.file", "x", "setting load.file: 'load' is an empty list"},
    {"optimizer.group.lr_scale", "1",
     "setting optimizer.group.lr_scale: 'group' is a list; name one of its present elements, the "
     "first is [0]"},
    {"optimizer.group[1].lr_scale", "1",
     "setting optimizer.group[1].lr_scale: 'group' is a list; name one of its present elements, "
     "the first is [0]"},
    {"optimizer.group[x].lr_scale", "1",
     "setting optimizer.group[x].lr_scale: expected a number and ']' after 'group['"},
    {"train[0].steps", "1",
     "setting train[0].steps: 'train' is a single message; write it without [...]"},
    {"set[0]", "1", "setting set[0]: 'set' is set as a whole, without [...]"},
    {"", "1", "setting : expected a field name like train.steps"},
    {"train.", "1", "setting train.: expected a field name like train.steps"},
    {"train..steps", "1", "setting train..steps: expected a field name like train.steps"},
    {"name", "\xff", "setting name: string is not valid UTF-8 (byte 0xff, number 1)"},
};

static void test_bad_settings(void **state)
{
    (void)state;
    ProtobufCMessage *m = parse(R, "optimizer { group { match: 'a' } }");
    for (size_t i = 0; i < sizeof bad_setting / sizeof *bad_setting; i++) {
        weft_status s = weft_message_set(arena, m, bad_setting[i].path, bad_setting[i].value);
        assert_string_equal(weft_error(ctx), bad_setting[i].message);
        assert_int_equal(s, WEFT_USAGE);
        weft_error_clear(ctx);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bad_text),      TEST(test_nul_bytes),
        TEST(test_spellings),     TEST(test_defaults_are_not_values),
        TEST(test_positions),     TEST(test_depth),
        TEST(test_long_things),   TEST(test_memory_budget),
        TEST(test_every_prefix),  TEST(test_random_damage),
        TEST(test_out_of_memory), TEST(test_canonical_text),
        TEST(test_long_list),     TEST(test_settings),
        TEST(test_bad_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
