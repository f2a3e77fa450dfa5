/* test_safetensors_data.c - tensors read as another element type: rounding, ranges, NaN. */
#include <math.h>

#include "tests/store.h"

/* ---- reading data ---- */
/* One tensor of n elements of `dtype` with the given bytes, read as `to`. */
static weft_status read_as(const char *dtype, const void *data, size_t n, size_t size,
                           weft_dtype to, bool finite, void *dst, char *error)
{
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    unsigned char *buf = malloc(256 + n * size);
    uint64_t len = (uint64_t)sprintf(
        (char *)buf + 8, "{\"x\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}",
        dtype, n, n * size);
    memcpy(buf, &len, 8);
    memcpy(buf + 8 + len, data, n * size);
    put_file(path, buf, 8 + len + n * size);
    free(buf);
    weft_ctx *c = weft_open(NULL);
    weft_tensor_file *f;
    assert_int_equal(weft_tensor_file_open(c, path, &f), WEFT_OK);
    weft_status s = weft_tensor_file_read(f, weft_tensor_file_at(f, 0), to, finite, dst);
    const char *after = strstr(weft_error(c), "tensor '");
    strcpy(error, after ? after : weft_error(c));
    weft_tensor_file_close(f);
    weft_close(c);
    remove_dir(dir);
    return s;
}

static void test_floats(void **state)
{
    (void)state;
    char error[1024];
    float out[8];
    double wide[8];
    uint16_t half[8];
    /* binary16: one, the largest, the smallest normal and subnormal, -0, a third */
    const uint16_t h[] = {0x3c00, 0x7bff, 0x0400, 0x0001, 0x8000, 0x3555};
    const double h_is[] = {1, 65504, 0x1p-14, 0x1p-24, -0.0, 0x1.554p-2};
    assert_int_equal(read_as("F16", h, 6, 2, WEFT_F32, true, out, error), WEFT_OK);
    for (int i = 0; i < 6; i++)
        assert_true(out[i] == (float)h_is[i] && !signbit(out[i]) == !signbit(h_is[i]));
    const uint16_t b[] = {0x3f80, 0xc000, 0x0001, 0x7f7f};
    assert_int_equal(read_as("BF16", b, 4, 2, WEFT_F64, true, wide, error), WEFT_OK);
    assert_true(wide[0] == 1 && wide[1] == -2 && wide[2] == 0x1p-133 && wide[3] == 0x1.fep127);
    assert_int_equal(read_as("BF16", b, 4, 2, WEFT_BF16, true, half, error), WEFT_OK);
    assert_memory_equal(half, b, sizeof b);
    const double d[] = {1 + 0x1p-24, 1 + 0x1.8p-23, -1e-300};
    assert_int_equal(read_as("F64", d, 3, 8, WEFT_F32, true, out, error), WEFT_OK);
    assert_true(out[0] == 1 && out[1] == 1 + 0x1p-22f && out[2] == 0); /* ties to even */
    /* f32 to bf16: ties go to even, both ways */
    const float r[] = {1 + 0x1p-8f, 1 + 0x1.8p-7f, 0x1.fffffep127f, 3};
    assert_int_equal(read_as("F32", r, 4, 4, WEFT_BF16, false, half, error), WEFT_OK);
    assert_int_equal(half[0], 0x3f80);
    assert_int_equal(half[1], 0x3f82);
    assert_int_equal(half[2], 0x7f80); /* rounds to infinity */
    assert_int_equal(half[3], 0x4040);
}

/* Longer than a chunk, with the last element where an off-by-one would lose it. */
static void test_long(void **state)
{
    (void)state;
    enum { N = 10001 };
    double *x = malloc(N * sizeof *x);
    float *y = malloc(N * sizeof *y);
    char error[1024];
    for (int i = 0; i < N; i++)
        x[i] = i * 0.5;
    assert_int_equal(read_as("F64", x, N, 8, WEFT_F32, true, y, error), WEFT_OK);
    for (int i = 0; i < N; i++)
        assert_true(y[i] == (float)i * 0.5f);
    x[N - 1] = INFINITY;
    assert_int_equal(read_as("F64", x, N, 8, WEFT_F32, true, y, error), WEFT_NUMERIC);
    assert_string_equal(error,
                        "tensor 'x': element 10000 is NaN or infinite, expected a finite weight");
    x[N - 1] = 1e300; /* finite, but not as f32 */
    assert_int_equal(read_as("F64", x, N, 8, WEFT_F32, true, y, error), WEFT_NUMERIC);
    free(x);
    free(y);
}

static void test_finite(void **state)
{
    (void)state;
    char error[1024];
    float out[4];
    uint16_t half[4];
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        float x[3] = {0, 1, bad[i]};
        assert_int_equal(read_as("F32", x, 3, 4, WEFT_F32, false, out, error), WEFT_OK);
        assert_int_equal(read_as("F32", x, 3, 4, WEFT_F32, true, out, error), WEFT_NUMERIC);
        assert_string_equal(error,
                            "tensor 'x': element 2 is NaN or infinite, expected a finite weight");
        assert_int_equal(read_as("F32", x, 3, 4, WEFT_BF16, true, half, error), WEFT_NUMERIC);
        double d[3] = {0, bad[i], 1};
        assert_int_equal(read_as("F64", d, 3, 8, WEFT_F32, true, out, error), WEFT_NUMERIC);
    }
    const uint16_t h[] = {0x7c00, 0x7e00};
    assert_int_equal(read_as("F16", h, 2, 2, WEFT_F32, true, out, error), WEFT_NUMERIC);
    assert_int_equal(read_as("F16", h, 2, 2, WEFT_F32, false, out, error), WEFT_OK);
    assert_true(isinf(out[0]) && isnan(out[1]));
}

static void test_integers(void **state)
{
    (void)state;
    char error[1024];
    int32_t i32[4];
    int64_t i64[4];
    uint16_t u16[4];
    unsigned char bytes[4];
    const int8_t i8[] = {-128, 127};
    assert_int_equal(read_as("I8", i8, 2, 1, WEFT_I32, true, i32, error), WEFT_OK);
    assert_true(i32[0] == -128 && i32[1] == 127);
    assert_int_equal(read_as("U8", i8, 2, 1, WEFT_I64, true, i64, error), WEFT_OK);
    assert_true(i64[0] == 128 && i64[1] == 127);
    const int64_t large[] = {INT32_MAX, (int64_t)INT32_MAX + 1};
    assert_int_equal(read_as("I64", large, 1, 8, WEFT_I32, true, i32, error), WEFT_OK);
    assert_int_equal(read_as("I64", large, 2, 8, WEFT_I32, true, i32, error), WEFT_MALFORMED);
    assert_string_equal(error, "tensor 'x': element 1 is out of range, which does not fit i32");
    const uint64_t huge[] = {1, UINT64_MAX};
    assert_int_equal(read_as("U64", huge, 2, 8, WEFT_I64, true, i64, error), WEFT_MALFORMED);
    assert_string_equal(error, "tensor 'x': element 1 is above 2^63, which does not fit i64");
    const int16_t neg[] = {-1};
    assert_int_equal(read_as("I16", neg, 1, 2, WEFT_U16, true, u16, error), WEFT_MALFORMED);
    assert_int_equal(read_as("U16", neg, 1, 2, WEFT_U16, true, u16, error), WEFT_OK);
    assert_int_equal(u16[0], 65535);
    const uint32_t u32[] = {4294967295u};
    assert_int_equal(read_as("U32", u32, 1, 4, WEFT_I64, true, i64, error), WEFT_OK);
    assert_int_equal(i64[0], 4294967295);
    const unsigned char flags[] = {0, 1, 2};
    assert_int_equal(read_as("BOOL", flags, 2, 1, WEFT_BOOL, true, bytes, error), WEFT_OK);
    assert_int_equal(read_as("BOOL", flags, 3, 1, WEFT_BOOL, true, bytes, error), WEFT_MALFORMED);
    assert_string_equal(error, "tensor 'x': element 2 is no bool, expected 0 or 1");
}

static void test_no_conversion(void **state)
{
    (void)state;
    static const struct {
        const char *from;
        size_t size;
        weft_dtype to;
    } table[] = {{"I32", 4, WEFT_F32}, {"F32", 4, WEFT_I32},     {"BOOL", 1, WEFT_I32},
                 {"U8", 1, WEFT_BOOL}, {"F8_E4M3", 1, WEFT_F32}, {"C64", 8, WEFT_F64}};
    char error[1024], want[128], out[64];
    unsigned char data[8] = {0};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(
            read_as(table[i].from, data, 1, table[i].size, table[i].to, true, out, error),
            WEFT_MISMATCH);
        snprintf(want, sizeof want, "tensor 'x' is %s, which does not convert to %s", table[i].from,
                 weft_dtype_name(table[i].to));
        assert_string_equal(error, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floats),        cmocka_unit_test(test_long),
        cmocka_unit_test(test_finite),        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_no_conversion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
