/* test_protoc.c - the text reader and writer against protoc, on shipped and on random messages.
 *
 * A random message is written by `sloppy`, which picks freely among all spellings of the format.
 * Our bytes must be those of `protoc --encode`, and both printers' texts must read back to them.
 * Without protoc the comparisons with it are skipped and the round trips still run. */
#include <glob.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "everything.pb-c.h"
#include "graph/io.h"
#include "graph/reflect.h"

#define TEMP WEFT_BINARY_DIR "/test_protoc.tmp"

static weft_ctx *ctx;
static weft_arena *arena;
static uint64_t seed;

static uint64_t rnd(void) /* splitmix64 */
{
    uint64_t z = (seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static int pick(int n) { return (int)(rnd() % (uint64_t)n); }

/* ---- random messages ---- */
static size_t random_char(char *out)
{
    static const uint32_t high[] = {0xe9, 0x4e2d, 0xfffd, 0x10ffff, 0x1f600, 0x85, 0x2028, 0xd7ff};
    uint32_t v = pick(4) ? (uint32_t)(1 + pick(127)) : high[pick(8)];
    static const char *const quick = "azAZ09 _.{}:#\"'\\";
    if (!pick(2))
        v = (uint32_t)quick[pick(16)];
    if (v < 0x80) {
        out[0] = (char)v;
        return 1;
    }
    size_t n = v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
    for (size_t k = n; k-- > 1; v >>= 6)
        out[k] = (char)(0x80 | (v & 0x3f));
    out[0] = (char)(v | (n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0));
    return n;
}

static uint64_t random_bits(void)
{
    static const uint64_t edge[] = {0,
                                    1,
                                    2,
                                    0x7f,
                                    0x80,
                                    INT32_MAX,
                                    (uint64_t)INT32_MIN,
                                    UINT32_MAX,
                                    INT64_MAX,
                                    (uint64_t)INT64_MIN,
                                    UINT64_MAX,
                                    1u << 28};
    return pick(3) ? edge[pick(12)] : rnd() >> pick(64);
}

static double random_double(bool single)
{
    static const double edge[] = {0,        -0.0,      1,     0.1,    -2.5,
                                  1e-8,     6e-4,      1e300, 5e-324, 123456789012345678.0,
                                  INFINITY, -INFINITY, NAN};
    double d = edge[pick(13)];
    if (pick(2)) {
        uint64_t bits = rnd();
        memcpy(&d, &bits, sizeof d);
        d = isnan(d) ? 3 : d;
    }
    return single ? (double)(float)d : d;
}

static weft_slot random_value(const weft_field *f)
{
    weft_slot v = {0};
    size_t n = 0;
    const ProtobufCEnumDescriptor *e = f->descriptor;
    char *s = NULL;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
        s = weft_arena_alloc(arena, 64);
        for (int len = pick(12); len > 0; len--)
            if (f->type == PROTOBUF_C_TYPE_STRING)
                n += random_char(s + n);
            else
                s[n++] = (char)rnd();
        if (f->type == PROTOBUF_C_TYPE_STRING)
            v.string = s;
        else
            v.bytes = (ProtobufCBinaryData){n, (uint8_t *)s};
        break;
    case PROTOBUF_C_TYPE_ENUM:
        v.i32 = e->values[pick((int)e->n_values)].value;
        break;
    case PROTOBUF_C_TYPE_BOOL:
        v.boolean = pick(2);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        v.f32 = (float)random_double(true);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        v.f64 = random_double(false);
        break;
    default:
        v.u64 = random_bits();
    }
    return v;
}

static ProtobufCMessage *random_message(const ProtobufCMessageDescriptor *d, int depth)
{
    ProtobufCMessage *m = weft_message_new(arena, d);
    for (unsigned i = 0; i < d->n_fields; i++) {
        const weft_field *f = &d->fields[i];
        bool must = f->label == PROTOBUF_C_LABEL_REQUIRED;
        int n = f->label == PROTOBUF_C_LABEL_REPEATED ? pick(3) * pick(3) : pick(2);
        if (weft_field_rival(m, f) || (f->type == PROTOBUF_C_TYPE_MESSAGE && depth > 3))
            n = 0;
        for (n = must ? 1 : n; n > 0; n--) {
            weft_slot v = {0};
            if (f->type == PROTOBUF_C_TYPE_MESSAGE)
                v.message = random_message(f->descriptor, depth + 1);
            else
                v = random_value(f);
            weft_field_put(arena, m, f, &v, false);
        }
    }
    return m;
}

/* ---- the same message in many spellings ---- */
static weft_string text;

#define SAY(...) weft_string_printf(&text, __VA_ARGS__)

static void blank(void)
{
    static const char *const some[] = {
        "", "", " ", " ", "\n", "\t", "\r\n", " # a comment: { \" ' \\\n", "\v\f", "  "};
    SAY("%s", some[pick(10)]);
}

static void sloppy_char(const unsigned char *s, size_t n, bool utf8)
{
    static const char named[] = "\a\b\f\n\r\t\v\\'\"?", letter[] = "abfnrtv\\'\"?";
    const char *simple = *s ? strchr(named, *s) : NULL;
    if (simple && pick(4)) {
        SAY("\\%c", letter[simple - named]);
    } else if (n > 1 && pick(3)) {
        uint32_t v = n == 2 ? s[0] & 0x1fu : n == 3 ? s[0] & 0x0fu : s[0] & 0x07u;
        for (size_t i = 1; i < n; i++)
            v = v << 6 | (s[i] & 0x3fu);
        SAY(v < 0x10000 && pick(2) ? "\\u%04x" : "\\U%08X", v);
    } else if (*s < 0x20 || *s == '"' || *s == '\'' || *s == '\\' || *s == 0x7f ||
               (*s >= 0x80 && !utf8) || !pick(8)) {
        for (size_t i = 0; i < n; i++)
            SAY(pick(2) ? "\\%03o" : "\\x%02x", s[i]);
    } else {
        weft_string_add(&text, (const char *)s, n);
    }
}

static void sloppy_string(const void *data, size_t n, bool utf8)
{
    const unsigned char *s = data;
    char quote = pick(2) ? '"' : '\'';
    SAY("%c", quote);
    for (size_t i = 0; i < n;) {
        size_t k = !utf8 || s[i] < 0x80 ? 1 : s[i] < 0xe0 ? 2 : s[i] < 0xf0 ? 3 : 4;
        sloppy_char(s + i, k, utf8);
        i += k;
        if (!pick(10)) { /* adjacent strings are one */
            SAY("%c", quote);
            blank();
            quote = pick(2) ? '"' : '\'';
            SAY("%c", quote);
        }
    }
    SAY("%c", quote);
}

static void sloppy_integer(bool negative, uint64_t magnitude)
{
    if (negative) {
        SAY("-");
        blank();
    }
    int form = pick(4);
    if (form == 0)
        SAY(pick(2) ? "0x%" PRIx64 : "0X%" PRIX64, magnitude);
    else if (form == 1)
        SAY("0%" PRIo64, magnitude);
    else
        SAY("%" PRIu64, magnitude);
}

static void sloppy_float(double d, int digits)
{
    static const char *const inf[] = {"inf", "Infinity", "INF", "infinity"}, *const nan[] = {"nan",
                                                                                             "NaN",
                                                                                             "NAN"};
    if (signbit(d)) {
        SAY("-");
        blank();
        d = -d;
    }
    if (isinf(d))
        SAY("%s", inf[pick(4)]);
    else if (isnan(d))
        SAY("%s", nan[pick(3)]);
    else
        SAY(pick(2) ? "%.*g%s" : "%.*e%s", digits, d, !pick(3) ? "f" : !pick(3) ? "F" : "");
}

static void sloppy_scalar(const weft_field *f, const void *at)
{
    static const char *const yes[] = {"true", "True", "t", "1", "0x1", "01"};
    static const char *const no[] = {"false", "False", "f", "0", "0x0", "00"};
    weft_slot v = {0};
    memcpy(&v, at, weft_field_size(f->type));
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        sloppy_string(v.string, strlen(v.string), true);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        sloppy_string(v.bytes.data, v.bytes.len, false);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        SAY("%s", (v.boolean ? yes : no)[pick(6)]);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        if (pick(2))
            SAY("%s", protobuf_c_enum_descriptor_get_value(f->descriptor, v.i32)->name);
        else
            SAY("%d", v.i32);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        sloppy_float((double)v.f32, 9);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        sloppy_float(v.f64, 17);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        sloppy_integer(false, v.u32);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        sloppy_integer(false, v.u64);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        sloppy_integer(v.i64 < 0, v.i64 < 0 ? 0 - v.u64 : v.u64);
        break;
    default:
        sloppy_integer(v.i32 < 0, v.i32 < 0 ? 0 - (uint64_t)v.i32 : (uint64_t)v.i32);
    }
}

static void sloppy(const ProtobufCMessage *m);

static void sloppy_value(const ProtobufCMessage *m, const weft_field *f, size_t i)
{
    const ProtobufCMessage *sub;
    bool angle = pick(2);
    if (f->type != PROTOBUF_C_TYPE_MESSAGE) {
        sloppy_scalar(f, weft_field_at(m, f, i));
        return;
    }
    memcpy(&sub, weft_field_at(m, f, i), sizeof sub);
    SAY(angle ? "<" : "{");
    sloppy(sub);
    SAY(angle ? ">" : "}");
}

/* A run of the values of a field: one, or a list of several. */
static size_t sloppy_run(const ProtobufCMessage *m, const weft_field *f, size_t i, size_t n)
{
    static const char *const separator[] = {"\n", " ", ",", ";", " , ", " ;\n", "\r\n"};
    bool list = f->label == PROTOBUF_C_LABEL_REPEATED && pick(2);
    size_t stop = list ? i + (size_t)pick((int)(n - i) + 1) : i + 1;
    SAY("%s", f->name);
    blank();
    if (f->type != PROTOBUF_C_TYPE_MESSAGE || pick(2))
        SAY(":");
    blank();
    SAY("%s", list ? "[" : "");
    for (size_t k = i; k < stop; k++) {
        blank();
        SAY("%s", k > i ? "," : "");
        blank();
        sloppy_value(m, f, k);
        blank();
    }
    SAY("%s%s", list ? "]" : "", separator[pick(7)]);
    return stop;
}

static void sloppy(const ProtobufCMessage *m)
{
    unsigned n = m->descriptor->n_fields, start = n ? (unsigned)pick((int)n) : 0;
    blank();
    for (unsigned k = 0; k < n; k++) { /* from any field on, around */
        const weft_field *f = &m->descriptor->fields[(start + k) % n];
        size_t count = weft_field_count(m, f);
        for (size_t i = 0; i < count;)
            i = sloppy_run(m, f, i, count);
    }
    blank();
}

/* ---- comparisons ---- */
typedef struct {
    uint8_t *data;
    size_t n;
} packed;

static packed pack(const ProtobufCMessage *m)
{
    packed p;
    assert_int_equal(weft_binary_pack(arena, m, &p.data, &p.n), WEFT_OK);
    return p;
}

static ProtobufCMessage *parse(const ProtobufCMessageDescriptor *d, const char *s, size_t n)
{
    ProtobufCMessage *m = NULL;
    if (weft_text_parse(arena, d, s, n, "random.txtpb", NULL, &m))
        fail_msg("%s\n%.*s", weft_error(ctx), (int)n, s);
    return m;
}

static void assert_same(packed got, packed want, const char *what, const char *source)
{
    if (got.n != want.n || memcmp(got.data, want.data, want.n))
        fail_msg("%s: %zu bytes, %zu expected; the text was:\n%s", what, got.n, want.n, source);
}

static bool have_protoc(void) { return system("protoc --version > /dev/null 2>&1") == 0; }

/* Runs protoc --encode or --decode on `in`; the answer is read from a file. */
static packed protoc(const char *mode, const ProtobufCMessageDescriptor *d, const void *in,
                     size_t n)
{
    char command[1000];
    packed p = {0};
    const char *file = strstr(d->name, "weft_test") ? "tests/everything.proto"
                       : strstr(d->name, "Recipe")  ? "proto/recipe.proto"
                                                    : "proto/model.proto";
    assert_int_equal(weft_write_file(ctx, TEMP ".in", in, n), WEFT_OK);
    snprintf(command, sizeof command, "protoc --%s=%s %s < " TEMP ".in > " TEMP ".out", mode,
             d->name, file);
    if (system(command))
        fail_msg("protoc refuses:\n%.*s", mode[0] == 'e' ? (int)n : 0, (const char *)in);
    assert_int_equal(weft_read_file(arena, TEMP ".out", (size_t)1 << 30, (char **)&p.data, &p.n),
                     WEFT_OK);
    return p;
}

/* One text: our bytes = protoc's, and both printers' outputs read back to them. Returns the bytes.
 */
static packed check_text(const ProtobufCMessageDescriptor *d, const char *s, size_t n, bool oracle)
{
    ProtobufCMessage *m = parse(d, s, n), *again = NULL;
    packed ours = pack(m);
    weft_string printed, twice;
    weft_string_init(&printed, ctx);
    weft_string_init(&twice, ctx);
    assert_int_equal(weft_text_print(m, &printed), WEFT_OK);
    m = parse(d, printed.s, printed.len);
    assert_same(pack(m), ours, "printed and read again", printed.s);
    assert_int_equal(weft_text_print(m, &twice), WEFT_OK);
    assert_string_equal(twice.s, printed.s);
    if (ours.n) {
        assert_int_equal(weft_binary_parse(arena, d, ours.data, ours.n, "b", NULL, &again),
                         WEFT_OK);
        assert_same(pack(again), ours, "unpacked and packed again", printed.s);
    }
    weft_string_free(&printed);
    weft_string_free(&twice);
    if (oracle) {
        assert_same(ours, protoc("encode", d, s, n), "protoc --encode", s);
        if (pick(4))
            return ours; /* a run of protoc costs more than all else here */
        packed theirs = protoc("decode", d, ours.data, ours.n);
        assert_same(pack(parse(d, (char *)theirs.data, theirs.n)), ours, "protoc --decode",
                    (char *)theirs.data);
    }
    return ours;
}

static void check_random(const ProtobufCMessageDescriptor *d, int count, bool oracle)
{
    for (int i = 0; i < count; i++) {
        arena = weft_arena_new(ctx, 0);
        weft_string_init(&text, ctx);
        ProtobufCMessage *m = random_message(d, 0);
        sloppy(m);
        assert_same(check_text(d, text.s, text.len, oracle), pack(m), "the message itself", text.s);
        weft_string_free(&text);
        weft_arena_free(arena);
    }
}

static void test_random_messages(void **state)
{
    (void)state;
    bool oracle = have_protoc();
    seed = 1;
    check_random(&weft__model__descriptor, 150, oracle);
    check_random(&weft__recipe__descriptor, 150, oracle);
    check_random(&weft_test__everything__descriptor, 60, oracle);
    check_random(&weft_test__everything__descriptor, 500, false);
    if (!oracle)
        skip();
}

static void check_files(const char *pattern, const ProtobufCMessageDescriptor *d, size_t least)
{
    glob_t files;
    size_t n;
    char *data;
    bool oracle = have_protoc();
    int found = glob(pattern, 0, NULL, &files);
    assert_true(least == 0 || (found == 0 && files.gl_pathc >= least));
    for (size_t i = 0; found == 0 && i < files.gl_pathc; i++) {
        arena = weft_arena_new(ctx, 0);
        assert_int_equal(weft_read_file(arena, files.gl_pathv[i], (size_t)1 << 30, &data, &n),
                         WEFT_OK);
        check_text(d, data, n, oracle);
        weft_arena_free(arena);
    }
    if (found == 0)
        globfree(&files);
}

static void test_shipped_files(void **state)
{
    (void)state;
    check_files("models/*.txtpb", &weft__model__descriptor, 1);
    check_files("models/recipes/*.txtpb", &weft__recipe__descriptor, 0);
    if (!have_protoc())
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_messages),
        cmocka_unit_test(test_shipped_files),
    };
    ctx = weft_open(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    weft_close(ctx);
    remove(TEMP ".in");
    remove(TEMP ".out");
    return failed;
}
