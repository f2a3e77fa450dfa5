/* test_binary.c - packed messages: every refusal with its message, limits, damage, memory. */
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

#define E      &weft_test__everything__descriptor
#define M      &weft__model__descriptor
#define HEX(s) (const uint8_t *)(s), sizeof(s) - 1

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

/* ---- refusals ---- */
static const struct {
    const descriptor *d;
    const uint8_t *data;
    size_t n;
    const char *message;
} bad_binary[] = {
    {E, HEX(""), "f: the file is empty, expected a packed Everything"},
    /* varints */
    {E, HEX("\x08"),
     "f@1: i32: truncated: a varint goes on behind the end of its message at byte 1"},
    {E, HEX("\x08\x80\x80"),
     "f@1: i32: truncated: a varint goes on behind the end of its message at byte 3"},
    {E, HEX("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
     "f@1: i64: varint of more than 64 bits"},
    {E, HEX("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
     "f@1: i64: varint of more than 64 bits"},
    {E, HEX("\xff"),
     "f@0: Everything: truncated: a varint goes on behind the end of its message at byte 1"},
    /* tags */
    {E, HEX("\x00"),
     "f@0: Everything: found field number 0, expected 1 to 536870911: not a packed Everything"},
    {E, HEX("\x02\x00"),
     "f@0: Everything: found field number 0, expected 1 to 536870911: not a packed Everything"},
    {E, HEX("\x80\x80\x80\x80\x80\x01"),
     "f@0: Everything: found field number 4294967296, expected 1 to 536870911: not a packed "
     "Everything"},
    {E, HEX("\x88\x80\x80\x80\x80\x00\x01"),
     "f@0: Everything: found field number 1, expected 1 to 536870911: not a packed Everything"},
    {E, HEX("\xa0\x06\x01"),
     "f@0: Everything: unknown field number 100 of Everything (a varint); a file of another kind, "
     "or of a newer "
     "version"},
    {E, HEX("\x08\x01\xca\x06\x01x"),
     "f@2: Everything: unknown field number 105 of Everything (a length and bytes); a file of "
     "another kind, or of a "
     "newer version"},
    {M, HEX("\x22\x04\x22\x02\x58\x01"),
     "f@4: module[0].input[0]: unknown field number 11 of Port (a varint); a file of another kind, "
     "or of a newer "
     "version"},
    /* wire types */
    {E, HEX("\x0d\x01\x00\x00\x00"), "f@0: i32: found 4 bytes, expected a varint"},
    {E, HEX("\x70\x01"), "f@0: text: found a varint, expected a length and bytes"},
    {E, HEX("\x58\x01"), "f@0: real: found a varint, expected 4 bytes"},
    {E, HEX("\x60\x01"), "f@0: wide: found a varint, expected 8 bytes"},
    {E, HEX("\x0a\x01\x01"), "f@0: i32: found a length and bytes, expected a varint"},
    {E, HEX("\x8b\x01\x8c\x01"),
     "f@0: child: found the start of a group; groups are not supported"},
    {E, HEX("\x8c\x01"), "f@0: child: found the end of a group; groups are not supported"},
    {E, HEX("\x0e"), "f@0: i32: found an unknown wire type, expected a varint"},
    {E, HEX("\x0f"), "f@0: i32: found an unknown wire type, expected a varint"},
    /* lengths */
    {E,
     HEX("\x72\x05"
         "abc"),
     "f@1: text: length 5 goes beyond the end of its message: 3 bytes are left"},
    {E,
     HEX("\x72\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
         "abc"),
     "f@1: text: length 18446744073709551615 goes beyond the end of its message: 3 bytes are left"},
    {E,
     HEX("\x8a\x01\x05\x72\x04"
         "abc"),
     "f@4: child.text: length 4 goes beyond the end of its message: 3 bytes are left"},
    {E, HEX("\x8a\x01\x01\x08\x05"),
     "f@4: child.i32: truncated: a varint goes on behind the end of its message at byte 4"},
    {E, HEX("\x5d\x01\x02\x03"), "f@1: real: truncated: 4 bytes expected, 3 left"},
    {E, HEX("\x61\x01\x02\x03"), "f@1: wide: truncated: 8 bytes expected, 3 left"},
    {E, HEX("\xca\x02\x03\x00\x00\x80"), "f@3: pack_real[0]: truncated: 4 bytes expected, 3 left"},
    {E, HEX("\xc2\x02\x02\x01\x80"),
     "f@4: pack_u64[0]: truncated: a varint goes on behind the end of its message at byte 5"},
    /* values */
    {E, HEX("\x08\x80\x80\x80\x80\x08"),
     "f@1: i32: found 2147483648, expected an integer from -2147483648 to 2147483647"},
    {E, HEX("\x18\x80\x80\x80\x80\x10"), "f@1: u32: found a number of more than 32 bits"},
    {E, HEX("\x28\x80\x80\x80\x80\x10"), "f@1: s32: found a number of more than 32 bits"},
    {E, HEX("\x68\x02"), "f@1: flag: found 2, expected 0 or 1"},
    {E, HEX("\x80\x01\x63"), "f@2: colour: Colour has no enumerator of value 99"},
    {E, HEX("\xd2\x02\x02\x01\x02"), "f@4: pack_colour[0]: Colour has no enumerator of value 2"},
    {E,
     HEX("\x72\x03"
         "a\xff"
         "b"),
     "f@3: text: string is not valid UTF-8 (byte 0xff)"},
    {E,
     HEX("\x72\x03"
         "ab\xc3"),
     "f@4: text: string is not valid UTF-8 (byte 0xc3)"},
    {E, HEX("\x72\x02\xc0\x80"), "f@2: text: string is not valid UTF-8 (byte 0xc0)"},
    {E, HEX("\x72\x03\xed\xa0\x80"), "f@2: text: string is not valid UTF-8 (byte 0xed)"},
    {E, HEX("\x72\x04\xf4\x90\x80\x80"), "f@2: text: string is not valid UTF-8 (byte 0xf4)"},
    {E,
     HEX("\x72\x03"
         "a\0b"),
     "f@3: text: string holds a NUL byte, which would cut it short"},
    /* messages */
    {E, HEX("\x08\x01\x08\x02"), "f@2: i32: a second value; the first is at byte 0"},
    {E, HEX("\x8a\x01\x00\x8a\x01\x00"), "f@3: child: a second value; the first is at byte 0"},
    {E, HEX("\x98\x03\x01\xa2\x03\x01x"),
     "f@3: one_text: field excludes 'one_i32', which was set at byte 0"},
    {E, HEX("\x92\x01\x00"), "f@3: leaf: required field 'id' of Leaf is missing"},
    {E, HEX("\x92\x01\x03\x12\x01x\x08\x01"), "f@6: leaf: required field 'id' of Leaf is missing"},
};

static void test_bad_binary(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_binary / sizeof *bad_binary; i++) {
        ProtobufCMessage *m;
        weft_status s = weft_binary_parse(arena, bad_binary[i].d, bad_binary[i].data,
                                          bad_binary[i].n, "f", NULL, &m);
        assert_string_equal(weft_error(ctx), bad_binary[i].message);
        assert_int_equal(s, WEFT_MALFORMED);
        weft_error_clear(ctx);
    }
}

/* What other writers may do and we accept: packed and unpacked numbers, any order, long forms of
 * varints. */
static void test_tolerated(void **state)
{
    (void)state;
    ProtobufCMessage *m;
    const uint8_t data[] = "\xfa\x01\x02\x01\x02" /* many_i32 packed */
                           "\xc0\x02\x05"         /* pack_u64 not packed */
                           "\xc2\x02\x01\x06"     /* and packed */
                           "\x08\x81\x00";        /* i32: 1 in two bytes */
    weft_lines *l = weft_lines_new(arena);
    assert_int_equal(weft_binary_parse(arena, E, data, sizeof data - 1, "f", l, &m), WEFT_OK);
    WeftTest__Everything *e = (WeftTest__Everything *)m;
    assert_int_equal(e->n_many_i32, 2);
    assert_int_equal(e->many_i32[1], 2);
    assert_int_equal(e->n_pack_u64, 2);
    assert_int_equal(e->pack_u64[1], 6);
    assert_int_equal(e->i32, 1);
    assert_int_equal(weft_lines_get(l, m).line, 0);
    assert_string_equal(weft_lines_get(l, m).file, "f");
}

/* ---- limits ---- */
/* depth messages around nothing: child is field 17, so each level is a tag of two bytes and a
 * length. */
static uint8_t *nested(int depth, size_t *n)
{
    uint8_t *s = weft_arena_alloc(arena, (size_t)depth * 8), *p = s + (size_t)depth * 8;
    size_t inner = 0;
    for (int i = 0; i < depth; i++) {
        uint8_t head[8];
        size_t k = 2, v = inner;
        memcpy(head, "\x8a\x01", 2);
        for (; v >= 0x80; v >>= 7)
            head[k++] = (uint8_t)(v | 0x80);
        head[k++] = (uint8_t)v;
        p -= k;
        memcpy(p, head, k);
        inner += k;
    }
    *n = inner;
    return p;
}

static void test_depth(void **state)
{
    (void)state;
    ProtobufCMessage *m;
    size_t n;
    uint8_t *s = nested(63, &n);
    weft_lines *l = weft_lines_new(arena);
    assert_int_equal(weft_binary_parse(arena, E, s, n, "f", l, &m), WEFT_OK);
    s = nested(64, &n);
    assert_int_equal(weft_binary_parse(arena, E, s, n, "f", l, &m), WEFT_MALFORMED);
    assert_non_null(strstr(weft_error(ctx), ": messages are nested deeper than 64"));
    weft_error_clear(ctx);
    s = nested(100000, &n); /* protobuf-c alone overflows the stack here */
    assert_int_equal(weft_binary_parse(arena, E, s, n, "f", l, &m), WEFT_MALFORMED);
}

/* Two bytes each, some 200 in memory. */
static void test_memory_budget(void **state)
{
    (void)state;
    size_t n = 4 << 20;
    ProtobufCMessage *m;
    uint8_t *s = weft_arena_alloc(arena, n);
    for (size_t i = 0; i < n; i += 2)
        s[i] = 0x22; /* module {} */
    assert_int_equal(weft_binary_parse(arena, M, s, n, "f", NULL, &m), WEFT_MALFORMED);
    assert_non_null(strstr(weft_error(ctx), "unpacking would take more than"));
}

static void test_size_cap(void **state)
{
    (void)state;
    ProtobufCMessage *m; /* the size is refused before a byte is read */
    assert_int_equal(
        weft_binary_parse(arena, M, (const uint8_t *)"", WEFT_MESSAGE_LIMIT + 1, "f", NULL, &m),
        WEFT_MALFORMED);
    assert_string_equal(weft_error(ctx),
                        "f: 67108865 bytes, over the limit of 67108864 for a Model");
}

/* ---- damage ---- */
static uint8_t *packed_sample(const descriptor *d, const char *path, size_t *n)
{
    ProtobufCMessage *m;
    uint8_t *data = NULL;
    if (weft_message_load(arena, d, path, NULL, &m) || weft_binary_pack(arena, m, &data, n))
        fail_msg("%s", weft_error(ctx));
    return data;
}

static uint8_t *everything_sample(size_t *n)
{
    static const char text[] = "i32: -5 u64: 127 s32: -9 f32: 7 sf64: -1 wide: -1.5e3 flag: true "
                               "text: 'ab\\u00e9' raw: '\\xff' colour: GREEN "
                               "child { many_i32: [1, -2, 3] leaf { id: 1 name: 'n' } } many_child "
                               "[{}, { one_leaf { id: 2 } }] "
                               "pack_u64: [1, 1000000] pack_real: [1, 2] pack_colour: [RED, INFRA] "
                               "one_wide: 1 many_raw: ['', 'x']";
    ProtobufCMessage *m;
    uint8_t *data = NULL;
    if (weft_text_parse(arena, E, text, sizeof text - 1, "t", NULL, &m) ||
        weft_binary_pack(arena, m, &data, n))
        fail_msg("%s", weft_error(ctx));
    return data;
}

static bool parse_damaged(const descriptor *d, const uint8_t *s, size_t n)
{
    weft_arena *a = weft_arena_new(ctx, 0);
    ProtobufCMessage *m = NULL;
    uint8_t *copy = malloc(n ? n : 1), *again; /* exactly n bytes, for the sanitizer */
    memcpy(copy, s, n);
    weft_status status = weft_binary_parse(a, d, copy, n, "f", weft_lines_new(a), &m);
    assert_true(status == WEFT_OK || status == WEFT_MALFORMED);
    assert_int_equal(strncmp(weft_error(ctx), "f", 1) == 0, status != WEFT_OK);
    if (!status)
        assert_int_equal(weft_binary_pack(a, m, &again, &n), WEFT_OK);
    weft_error_clear(ctx);
    free(copy);
    weft_arena_free(a);
    return !status;
}

static void test_every_prefix(void **state)
{
    (void)state;
    size_t n, whole = 0;
    const uint8_t *s = packed_sample(M, "models/gpt2.txtpb", &n);
    for (size_t i = 0; i <= n; i++)
        whole += parse_damaged(M, s, i);
    s = everything_sample(&n);
    for (size_t i = 0; i <= n; i++)
        whole += parse_damaged(E, s, i);
    /* A prefix that ends between two fields of the file itself is a message; there are few such
     * places. */
    assert_in_range(whole, 2, 60);
}

static void test_random_damage(void **state)
{
    (void)state;
    size_t n;
    const uint8_t *s = everything_sample(&n);
    uint8_t *copy = weft_arena_alloc(arena, n);
    uint64_t r = 11;
    for (int i = 0; i < 30000; i++) {
        memcpy(copy, s, n);
        for (int k = 0; k < 1 + i % 3; k++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            copy[(r >> 33) % n] =
                (uint8_t)(i & 4 ? r >> 24 : copy[(r >> 33) % n] ^ 1u << ((r >> 24) & 7));
        }
        parse_damaged(E, copy, n);
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
    const uint8_t *s = packed_sample(M, "models/gpt2.txtpb", &n);
    weft_status status = WEFT_NOMEM;
    for (int limit = 2; status && limit < 100; limit++) {
        allowed = limit;
        weft_ctx *c = weft_open(&(weft_options){.allocator = &few});
        weft_arena *a = weft_arena_new(c, 0);
        weft_lines *l = a ? weft_lines_new(a) : NULL;
        ProtobufCMessage *m;
        status = l ? weft_binary_parse(a, M, s, n, "f", l, &m) : WEFT_NOMEM;
        assert_true(status == WEFT_OK || status == WEFT_NOMEM);
        assert_int_equal(weft_error_status(c), status);
        weft_arena_free(a);
        weft_close(c);
    }
    assert_int_equal(status, WEFT_OK);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bad_binary),    TEST(test_tolerated),     TEST(test_depth),
        TEST(test_memory_budget), TEST(test_size_cap),      TEST(test_every_prefix),
        TEST(test_random_damage), TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
