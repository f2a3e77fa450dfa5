/* test_visible.c - text of others in messages: weft_format is printf but for what %s inserts, and
 * nothing that moves, hides or turns text comes through. */
#include <inttypes.h>
#include <math.h>

#include "tests/store.h"

static size_t made(char *out, size_t n, const char *fmt, ...) WEFT_PRINTF(3, 4);
static size_t made(char *out, size_t n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    size_t k = weft_format(out, n, fmt, ap);
    va_end(ap);
    return k;
}

#define SAME(...)                                                                                  \
    do {                                                                                           \
        char want_[512], got_[512];                                                                \
        snprintf(want_, sizeof want_, __VA_ARGS__);                                                \
        assert_int_equal(made(got_, sizeof got_, __VA_ARGS__), strlen(want_));                     \
        assert_string_equal(got_, want_);                                                          \
    } while (0)

static void test_as_printf(void **state)
{
    (void)state;
    SAME("plain, 100 %%, %c and %s", 'x', "text");
    SAME("%d %i %u %x %X %o %5d|%-5d|%05d|%+d|% d|%.3d", -1, 2, 3u, 0xabcu, 0xabcu, 8u, 4, 5, 6, 7,
         8, 9);
    SAME("%lld %llu %llx %016llx %ld %lu %zu %jd", -1LL, 2ULL, 0xabcULL, 0xdefULL, -3L, 4UL,
         (size_t)5, (intmax_t)-6);
    SAME("%" PRId64 " %" PRIu64 " %" PRIx32 " %" PRIu32, INT64_MIN, UINT64_MAX, 0xffffffffu,
         0xffffffffu);
    SAME("%g %.17g %.*g %f %.0f %e %10.3f|%-10.2f|%+.4f|%9.3e", 0.1, 0.1, 3, 0.12345, 1.5, 2.5,
         1e10, 1.0, 2.0, 3.0, 4.0);
    SAME("%g %g %g %.1f", (double)NAN, (double)INFINITY, -(double)INFINITY, 1e300);
    SAME("%10s|%-10s|%.3s|%.*s|%*s|%-*s|%5.2s|", "a", "b", "abcdef", 2, "xyz", 6, "c", 6, "d",
         "long");
    SAME("%s", "na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80");
    SAME("the format's own\n\ttabs, \033[K and lines stay");
    SAME("%02x%02x", (unsigned char)0xfe, (unsigned char)1);
}

static void check(const char *text, const char *want)
{
    char got[256];
    made(got, sizeof got, "'%s'", text);
    assert_int_equal(strlen(got), strlen(want) + 2);
    got[strlen(got) - 1] = 0;
    assert_string_equal(got + 1, want);
    assert_string_equal(weft_printable(got, sizeof got, text), want);
}

static void test_hostile(void **state)
{
    (void)state;
    check("a\nb\r\tc", "a\\nb\\x0d\\x09c");
    check("\033[31mred\033[0m", "\\x1b[31mred\\x1b[0m");
    check("\033]0;title\a", "\\x1b]0;title\\x07");
    check("\x7f", "\\x7f");
    check("\xc2\x9b"
          "31m",
          "\\xc2\\x9b31m"); /* CSI of 8 bits */
    check("\x9b"
          "31m",
          "\\x9b31m"); /* the same, as no UTF-8 */
    check("\xe2\x80\xae"
          "cod.txt",
          "\\xe2\\x80\\xaecod.txt"); /* right to left override */
    check("\xe2\x81\xa6\xe2\x81\xa9", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9"); /* isolates */
    check("\xe2\x80\x8b\xef\xbb\xbf", "\\xe2\\x80\\x8b\\xef\\xbb\\xbf"); /* of no width */
    check("\xe2\x80\xa8\xe2\x80\xa9", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9"); /* line, paragraph */
    check("\xf3\xa0\x80\xa1", "\\xf3\\xa0\\x80\\xa1");                   /* tags */
    check("\xed\xa0\x80\xff\xc0\x80", "\\xed\\xa0\\x80\\xff\\xc0\\x80");
    check("\xe2\x82", "\\xe2\\x82"); /* cut */
    check("na\xc3\xafve", "na\xc3\xafve");
    char got[16];
    made(got, sizeof got, "%c%c%c", '\033', 'x', '\n');
    assert_string_equal(got, "\\x1bx\\n");
    made(got, sizeof got, "%.4s|", "abc\xe6\x97\xa5"); /* a character that the precision cuts */
    assert_string_equal(got, "abc|");
}

/* Every size of the buffer: it ends with 0, inside, and cuts no character. */
static void test_small_buffers(void **state)
{
    (void)state;
    for (size_t n = 1; n < 64; n++) {
        char *buf = test_malloc(n);
        size_t k =
            made(buf, n, "%s:%d: %5s %.3f\xe6\x97\xa5%c", "n\xc3\xafk\033", 42, "\n\n", 1.5, 'x');
        assert_true(k < n);
        assert_int_equal(strlen(buf), k);
        weft_printable(buf, n, "\xe6\x97\xa5\xe6\x9c\xac\033\033");
        assert_true(strlen(buf) < n && strlen(buf) % 3 <= 2);
        test_free(buf);
    }
}

/* Errors, notes and log lines alike. */
static void test_messages(void **state)
{
    (void)state;
    char flat[256];
    weft_ctx *c = weft_open(NULL);
    weft_fail(c, WEFT_MALFORMED, "%s:%d: bad\n  in order", "a\nb\033c", 1);
    weft_note(c, "in node '%s'", "x\ry");
    assert_string_equal(weft_error(c), "a\\nb\\x1bc:1: bad\n  in order\n  in node 'x\\x0dy'");
    assert_string_equal(weft_error_flat(c, flat, sizeof flat),
                        "a\\nb\\x1bc:1: bad; in order; in node 'x\\x0dy'");
    for (size_t n = 4; n < 40; n++)
        assert_true(strlen(weft_error_flat(c, flat, n)) < n);
    weft_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_printf),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_small_buffers),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
