/* test_safetensors.c - the format's rules one by one, the writer's bytes, conversions, every prefix
 * and bit flip. */
#include "tests/store.h"

#include "graph/hash.h"

/* ---- making files ---- */
/* N, the header, then `data` bytes 0, 1, 2 ... */
static void put_tensors(const char *path, const char *header, size_t data)
{
    unsigned char buf[4096];
    uint64_t n = strlen(header);
    memcpy(buf, &n, 8);
    memcpy(buf + 8, header, n);
    for (size_t i = 0; i < data; i++)
        buf[8 + n + i] = (unsigned char)i;
    put_file(path, buf, 8 + n + data);
}

static weft_status open_only(const char *path, char *error, size_t n)
{
    weft_ctx *c = weft_open(NULL);
    weft_tensor_file *f;
    weft_status s = weft_tensor_file_open(c, path, &f);
    assert_true((s == WEFT_OK) == (f != NULL));
    snprintf(error, n, "%s", weft_error(c));
    weft_tensor_file_close(f);
    weft_close(c);
    return s;
}

/* ---- what is refused, and how ---- */
#define T(dtype, shape, offsets)                                                                   \
    "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *header;
    size_t data;
    const char *message; /* after "FILE: "; NULL: accepted */
    weft_status status;  /* 0: MALFORMED */
} headers[] = {
    /* accepted */
    {"{}", 0, NULL, 0},
    {"{}      ", 0, NULL, 0},
    {"{\"__metadata__\":{}}", 0, NULL, 0},
    {"{\"__metadata__\":null}", 0, NULL, 0},
    {"{\"__metadata__\":{\"format\":\"pt\",\"a\":\"\"}}", 0, NULL, 0},
    {"{\"a\":" T("\"F32\"", "[2,2]", "[0,16]") "}", 16, NULL, 0},
    {"{\"a\":" T("\"F32\"", "[]", "[0,4]") "}", 4, NULL, 0},
    {"{\"a\":" T("\"F32\"", "[0]", "[0,0]") ",\"b\":" T("\"U8\"", "[3]", "[0,3]") "}", 3, NULL, 0},
    {"{\"b\":" T("\"U8\"", "[3]", "[2,5]") ",\"a\":" T("\"U8\"", "[2]", "[0,2]") "}", 5, NULL, 0},
    {"{\"a\":" T("\"F4\"", "[2]", "[0,1]") "}", 1, NULL, 0},
    {"{\"a\":" T("\"F6_E2M3\"", "[4]", "[0,3]") "}", 3, NULL, 0},
    {"{\"a\":{\"shape\":[1],\"extra\":1,\"dtype\":\"BOOL\",\"data_offsets\":[0,1]}}", 1, NULL, 0},
    {"{\"a\":" T("\"C64\"", "[1,1,1,1,1,1,1,1]", "[0,8]") "}", 8, NULL, 0},
    /* JSON */
    {"", 0, "header starts with byte 0x00, expected '{'", 0},
    {" {}", 0, "header starts with byte 0x20, expected '{'", 0},
    {"[]", 0, "header starts with byte 0x5b, expected '{'", 0},
    {"{", 0, "header is not valid JSON at byte 9: expected a key in quotes", 0},
    {"{}x", 0, "header is not valid JSON at byte 10: text after the end", 0},
    {"{\"a\":1,}", 0, "header is not valid JSON at byte 15: expected a key in quotes", 0},
    {"{\"\xff\":1}", 0, "header is not valid JSON at byte 10: invalid UTF-8", 0},
    {"{\"a\":" T("\"U8\"", "[1]", "[0,1]") ",\"a\":" T("\"U8\"", "[1]", "[1,2]") "}", 2,
     "header is not valid JSON at byte 61: duplicate key", 0},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "header is not valid JSON at byte 27: duplicate key", 0},
    {"{\"a\":" T("\"U8\"", "[99999999999999999999]", "[0,1]") "}", 1,
     "header is not valid JSON at byte 36: number too large for 64 bits", 0},
    /* metadata */
    {"{\"__metadata__\":[]}", 0, "__metadata__ is a list, expected an object of strings", 0},
    {"{\"__metadata__\":\"x\"}", 0, "__metadata__ is a string, expected an object of strings", 0},
    {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__[\"a\"] is a whole number, expected a string",
     0},
    {"{\"__metadata__\":{\"a\":{}}}", 0, "__metadata__[\"a\"] is an object, expected a string", 0},
    {"{\"__metadata__\":{\"a\":null}}", 0, "__metadata__[\"a\"] is null, expected a string", 0},
    /* entries */
    {"{\"a\":1}", 0,
     "tensor 'a': is a whole number, expected {\"dtype\", \"shape\", \"data_offsets\"}", 0},
    {"{\"a\":[]}", 0, "tensor 'a': is a list, expected {\"dtype\", \"shape\", \"data_offsets\"}",
     0},
    {"{\"a\\n\":null}", 0,
     "tensor 'a\\n': is null, expected {\"dtype\", \"shape\", \"data_offsets\"}", 0},
    {"{\"a\":{}}", 0, "tensor 'a': dtype is nothing, expected a string like \"F32\"", 0},
    {"{\"a\":" T("32", "[1]", "[0,4]") "}", 4,
     "tensor 'a': dtype is a whole number, expected a string like \"F32\"", 0},
    {"{\"a\":" T("\"f32\"", "[1]", "[0,4]") "}", 4,
     "tensor 'a': unknown dtype \"f32\", expected F32, F16, BF16, F64, I64, ...", 0},
    {"{\"a\":" T("\"F33\"", "[1]", "[0,4]") "}", 4,
     "tensor 'a': unknown dtype \"F33\", expected F32, F16, BF16, F64, I64, ...", 0},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1,
     "tensor 'a': shape is nothing, expected a list of sizes", 0},
    {"{\"a\":" T("\"U8\"", "1", "[0,1]") "}", 1,
     "tensor 'a': shape is a whole number, expected a list of sizes", 0},
    {"{\"a\":" T("\"U8\"", "[1,-1]", "[0,1]") "}", 1,
     "tensor 'a': shape[1] is -1, expected 0 or more", 0},
    {"{\"a\":" T("\"U8\"", "[1.0]", "[0,1]") "}", 1,
     "tensor 'a': shape[0] is a fraction, expected a whole number", 0},
    {"{\"a\":" T("\"U8\"", "[\"1\"]", "[0,1]") "}", 1,
     "tensor 'a': shape[0] is a string, expected a whole number", 0},
    {"{\"a\":" T("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1,
     "tensor 'a': has 9 axes, at most 8 are supported", WEFT_UNSUPPORTED},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1,
     "tensor 'a': data_offsets is nothing, expected [begin, end]", 0},
    {"{\"a\":" T("\"U8\"", "[1]", "[0]") "}", 1,
     "tensor 'a': data_offsets is a list of another length, expected [begin, end]", 0},
    {"{\"a\":" T("\"U8\"", "[1]", "[0,1,2]") "}", 1,
     "tensor 'a': data_offsets is a list of another length, expected [begin, end]", 0},
    {"{\"a\":" T("\"U8\"", "[1]", "[-1,0]") "}", 1,
     "tensor 'a': data_offsets[0] is negative, expected a whole number from 0", 0},
    {"{\"a\":" T("\"U8\"", "[1]", "[0,1.5]") "}", 1,
     "tensor 'a': data_offsets[1] is a fraction, expected a whole number from 0", 0},
    {"{\"a\":" T("\"U8\"", "[1]", "[2,1]") "}", 1,
     "tensor 'a': data_offsets [2, 1]: begin is after end", 0},
    /* sizes */
    {"{\"a\":" T("\"F32\"", "[2,2]", "[0,15]") "}", 15,
     "tensor 'a': data_offsets span 15 bytes, expected 16 for F32[2,2]", 0},
    {"{\"a\":" T("\"F32\"", "[]", "[0,8]") "}", 8,
     "tensor 'a': data_offsets span 8 bytes, expected 4 for F32[]", 0},
    {"{\"a\":" T("\"F32\"", "[0]", "[0,4]") "}", 4,
     "tensor 'a': data_offsets span 4 bytes, expected 0 for F32[0]", 0},
    {"{\"a\":" T("\"F4\"", "[3]", "[0,2]") "}", 2,
     "tensor 'a': F4[3] is 12 bits, expected whole bytes", 0},
    {"{\"a\":" T("\"F6_E3M2\"", "[1]", "[0,1]") "}", 1,
     "tensor 'a': F6_E3M2[1] is 6 bits, expected whole bytes", 0},
    {"{\"a\":" T("\"F32\"", "[4294967296,4294967296]", "[0,0]") "}", 0,
     "tensor 'a': F32[4294967296,4294967296] is too large for 64 bits", 0},
    {"{\"a\":" T("\"F32\"", "[4611686018427387904,4]", "[0,0]") "}", 0,
     "tensor 'a': F32[4611686018427387904,4] is too large for 64 bits", 0},
    {"{\"a\":" T("\"F64\"", "[1152921504606846976]", "[0,0]") "}", 0,
     "tensor 'a': F64[1152921504606846976] is too large for 64 bits", 0},
    /* layout */
    {"{\"a\":" T("\"U8\"", "[1]", "[1,2]") "}", 2,
     "tensor 'a': begins at 1 of the data, expected 0 (gap)", 0},
    {"{\"a\":" T("\"U8\"", "[1]", "[0,1]") ",\"b\":" T("\"U8\"", "[1]", "[2,3]") "}", 3,
     "tensor 'b': begins at 2 of the data, expected 1 (gap)", 0},
    {"{\"a\":" T("\"U8\"", "[2]", "[0,2]") ",\"b\":" T("\"U8\"", "[2]", "[1,3]") "}", 3,
     "tensor 'b': begins at 1 of the data, expected 2 (overlaps the tensor before it)", 0},
    {"{\"a\":" T("\"U8\"", "[2]", "[0,2]") ",\"b\":" T("\"U8\"", "[2]", "[0,2]") "}", 2,
     "tensor 'b': begins at 0 of the data, expected 2 (overlaps the tensor before it)", 0},
    {"{\"a\":" T("\"U8\"", "[9]", "[0,9]") "}", 8,
     "tensor 'a': ends at byte 70 of the file, which has 69", 0},
    {"{\"a\":" T("\"U8\"", "[8]", "[0,8]") "}", 9,
     "1 bytes after the last tensor, expected the end of the file", 0},
    {"{}", 5, "5 bytes after the last tensor, expected the end of the file", 0},
    {"{\"a\":" T("\"U8\"", "[4611686018427387904]", "[0,4611686018427387904]") "}", 8,
     "tensor 'a': U8[4611686018427387904] is too large for 64 bits", 0},
    {"{\"a\":" T("\"U8\"", "[1152921504606846975]", "[0,1152921504606846975]") "}", 8,
     "tensor 'a': ends at byte 1152921504606847072 of the file, which has 105", 0},
};

static void test_headers(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    char got[1024], want[1024];
    int refused = 0;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        put_tensors(path, headers[i].header, headers[i].data);
        weft_status s = open_only(path, got, sizeof got);
        *want = 0;
        if (headers[i].message)
            snprintf(want, sizeof want, "%s: %s", path, headers[i].message);
        assert_string_equal(got, want);
        weft_status expected = headers[i].status ? headers[i].status : WEFT_MALFORMED;
        assert_int_equal(s, headers[i].message ? expected : WEFT_OK);
        refused += headers[i].message != NULL;
    }
    assert_true(refused >= 40);
    remove_dir(dir);
}

/* Files that are not even a header. */
static void test_lengths(void **state)
{
    (void)state;
    static const struct {
        uint64_t n;
        size_t bytes;
        const char *message;
    } table[] = {
        {0, 0, "0 bytes, a safetensors file has at least 8"},
        {0, 7, "7 bytes, a safetensors file has at least 8"},
        {0, 8, "header starts with byte 0x00, expected '{'"},
        {1, 8, "header of 1 bytes in a file of 8 (truncated?)"},
        {100000000, 64, "header of 100000000 bytes in a file of 64 (truncated?)"},
        {100000001, 64,
         "header of 100000001 bytes, the limit is 100000000 (not a safetensors file?)"},
        {UINT64_MAX, 64,
         "header of 18446744073709551615 bytes, the limit is 100000000 (not a safetensors file?)"},
        {UINT64_MAX - 7, 64,
         "header of 18446744073709551608 bytes, the limit is 100000000 (not a safetensors file?)"},
    };
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    char got[1024], want[1024];
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        unsigned char buf[64] = {0};
        memcpy(buf, &table[i].n, 8);
        put_file(path, buf, table[i].bytes);
        assert_int_equal(open_only(path, got, sizeof got), WEFT_MALFORMED);
        snprintf(want, sizeof want, "%s: %s", path, table[i].message);
        assert_string_equal(got, want);
    }
    assert_int_equal(open_only(join(dir, "none"), got, sizeof got), WEFT_MISSING);
    assert_int_equal(open_only(dir, got, sizeof got), WEFT_MISSING);
    remove_dir(dir);
}

/* A thousand brackets are no tensor and no stack overflow; nor are a hundred thousand. */
static void test_deep_json(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    size_t deep = 100000;
    unsigned char *buf = malloc(deep + 16);
    uint64_t n = deep + 5;
    memcpy(buf, &n, 8);
    memcpy(buf + 8, "{\"a\":", 5);
    memset(buf + 13, '[', deep);
    put_file(path, buf, 13 + deep);
    char got[1024];
    assert_int_equal(open_only(path, got, sizeof got), WEFT_MALFORMED);
    assert_non_null(strstr(got, "at byte 76: nested too deeply"));
    free(buf);
    remove_dir(dir);
}

/* ---- the writer ---- */
/* The reference's own tests of its writer (test_serialization,
 * test_serialization_forced_alignment): the bytes are stated there. */
static void test_reference_bytes(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    float x[6] = {0, 1, 2, 3, 4, 5};
    weft_ctx *c = weft_open(NULL);
    weft_tensor_out t = {"attn.0", weft_type_make(WEFT_F32, 3, (int64_t[]){1, 2, 3}), x};
    assert_int_equal(weft_tensor_file_write(c, path, &t, 1, NULL, 0, NULL, NULL), WEFT_OK);
    size_t n;
    unsigned char *got = get_file(path, &n);
    assert_int_equal(n, 8 + 64 + 24);
    assert_memory_equal(
        got,
        "@\0\0\0\0\0\0\0{\"attn.0\":{\"dtype\":\"F32\",\"shape\":[1,2,3],\"data_offsets\":[0,24]}}",
        72);
    assert_memory_equal(got + 72, x, 24);
    free(got);
    t = (weft_tensor_out){"attn0", weft_type_make(WEFT_F32, 4, (int64_t[]){1, 1, 2, 3}), x};
    assert_int_equal(weft_tensor_file_write(c, path, &t, 1, NULL, 0, NULL, NULL), WEFT_OK);
    got = get_file(path, &n);
    assert_int_equal(n, 8 + 72 + 24);
    assert_memory_equal(got,
                        "H\0\0\0\0\0\0\0{\"attn0\":{\"dtype\":\"F32\",\"shape\":[1,1,2,3],\"data_"
                        "offsets\":[0,24]}}       ",
                        80);
    free(got);
    weft_close(c);
    remove_dir(dir);
}

/* Widest element type first, then by name; metadata leads; names are escaped; hash and size are the
 * file's. */
static void test_order(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    unsigned char zero[64] = {0};
    const int64_t one[] = {1};
    const weft_dtype types[] = {WEFT_BOOL, WEFT_U16, WEFT_I32, WEFT_F32,
                                WEFT_BF16, WEFT_I64, WEFT_F64, WEFT_F32};
    const char *const names[] = {"a", "b", "c", "z\"\\\n\x01\xc3\xa9", "e", "f", "g", "d"};
    weft_tensor_out t[8];
    for (int i = 0; i < 8; i++)
        t[i] = (weft_tensor_out){names[i], weft_type_make(types[i], 1, one), zero};
    weft_meta meta = {"format", "pt"};
    uint64_t hash;
    int64_t bytes;
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(weft_tensor_file_write(c, path, t, 8, &meta, 1, &hash, &bytes), WEFT_OK);
    const char *want = "{\"__metadata__\":{\"format\":\"pt\"},"
                       "\"f\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                       "\"g\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]},"
                       "\"d\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[16,20]},"
                       "\"z\\\"\\\\\\n\\u0001\xc3\xa9\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
                       "offsets\":[20,24]},"
                       "\"c\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[24,28]},"
                       "\"e\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[28,30]},"
                       "\"b\":{\"dtype\":\"U16\",\"shape\":[1],\"data_offsets\":[30,32]},"
                       "\"a\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[32,33]}}";
    size_t n;
    unsigned char *got = get_file(path, &n);
    assert_memory_equal(got + 8, want, strlen(want));
    assert_int_equal(got[0] % 8, 0);
    assert_int_equal(n, bytes);
    assert_int_equal(weft_xxh64_of(got, n, 0), hash);
    free(got);
    weft_tensor_file *f;
    assert_int_equal(weft_tensor_file_open(c, path, &f), WEFT_OK);
    assert_int_equal(weft_tensor_file_count(f), 8);
    assert_string_equal(weft_tensor_file_meta(f, "format"), "pt");
    assert_null(weft_tensor_file_meta(f, "other"));
    assert_non_null(weft_tensor_file_find(f, names[3]));
    assert_null(weft_tensor_file_find(f, "none"));
    weft_tensor_file_close(f);
    /* names that no reader would take */
    t[1].name = "a";
    assert_int_equal(weft_tensor_file_write(c, path, t, 8, NULL, 0, NULL, NULL), WEFT_USAGE);
    weft_error_clear(c);
    t[1].name = "__metadata__";
    assert_int_equal(weft_tensor_file_write(c, path, t, 8, NULL, 0, NULL, NULL), WEFT_USAGE);
    weft_close(c);
    remove_dir(dir);
}

/* A file that is cut while it is open: an error, where a mapping would have been SIGBUS. */
static void test_shrinks(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    put_tensors(path, "{\"a\":" T("\"F32\"", "[4]", "[0,16]") "}", 16);
    weft_ctx *c = weft_open(NULL);
    weft_tensor_file *f;
    float out[4];
    assert_int_equal(weft_tensor_file_open(c, path, &f), WEFT_OK);
    assert_int_equal(truncate(path, 70), 0);
    assert_int_equal(weft_tensor_file_read(f, weft_tensor_file_at(f, 0), WEFT_F32, true, out),
                     WEFT_MALFORMED);
    assert_non_null(strstr(weft_error(c), "ends at byte 70, expected"));
    weft_tensor_file_close(f);
    weft_close(c);
    remove_dir(dir);
}

/* ---- damage ---- */
/* Opens and reads all; any outcome but a clean status with a message fails. */
static weft_status read_whole(const char *path)
{
    weft_ctx *c = weft_open(NULL);
    weft_tensor_file *f;
    weft_status s = weft_tensor_file_open(c, path, &f);
    static char out[1 << 16];
    for (int i = 0; !s && i < weft_tensor_file_count(f); i++) {
        const weft_tensor_entry *e = weft_tensor_file_at(f, i);
        weft_dtype to = e->type->native                  ? e->type->native
                        : e->type->kind == WEFT_FILE_INT ? WEFT_I64
                                                         : WEFT_F64;
        assert_true(e->bytes <= sizeof out / 8);
        s = weft_tensor_file_read(f, e, to, true, out);
    }
    assert_true((s == WEFT_OK) == (*weft_error(c) == 0));
    if (s)
        assert_non_null(strstr(weft_error(c), path));
    weft_tensor_file_close(f);
    weft_close(c);
    return s;
}

static size_t small_file(const char *path, unsigned char **data)
{
    float x[6] = {0, 1, 2, 3, 4, 5};
    int64_t y[2] = {1, 2};
    weft_tensor_out t[] = {{"h.0.w", weft_type_make(WEFT_F32, 2, (int64_t[]){2, 3}), x},
                           {"step", weft_type_make(WEFT_I64, 1, (int64_t[]){2}), y}};
    weft_meta meta = {"format", "pt"};
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(weft_tensor_file_write(c, path, t, 2, &meta, 1, NULL, NULL), WEFT_OK);
    weft_close(c);
    size_t n;
    *data = get_file(path, &n);
    return n;
}

static void test_prefixes(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    unsigned char *data;
    size_t n = small_file(path, &data);
    assert_int_equal(read_whole(path), WEFT_OK);
    for (size_t k = 0; k < n; k++) {
        put_file(path, data, k);
        assert_int_equal(read_whole(path),
                         WEFT_MALFORMED); /* the format has no shorter valid form */
    }
    free(data);
    remove_dir(dir);
}

static void test_bit_flips(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    unsigned char *data;
    size_t n = small_file(path, &data);
    int refused = 0;
    for (size_t k = 0; k < n * 8; k++) {
        data[k / 8] ^= (unsigned char)(1 << k % 8);
        put_file(path, data, n);
        refused += read_whole(path) != WEFT_OK;
        data[k / 8] ^= (unsigned char)(1 << k % 8);
    }
    assert_true(refused >
                500); /* names, metadata and values may change unnoticed: the manifest's task */
    free(data);
    remove_dir(dir);
}

/* ---- memory ---- */
static weft_status open_counted(const char *path, counter *m)
{
    weft_allocator mem = {counted_alloc, counted_realloc, counted_free, m};
    weft_ctx *c = weft_open(&(weft_options){.allocator = &mem});
    weft_tensor_file *f = NULL;
    weft_status s = c ? weft_tensor_file_open(c, path, &f) : WEFT_NOMEM;
    float out[6];
    double wide[6];
    if (!s)
        s = weft_tensor_file_read(f, weft_tensor_file_find(f, "h.0.w"), WEFT_F32, true, out);
    if (!s)
        s = weft_tensor_file_read(f, weft_tensor_file_find(f, "h.0.w"), WEFT_F64, true, wide);
    weft_tensor_file_close(f);
    if (c)
        weft_close(c);
    assert_int_equal(m->live, 0);
    return s;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    unsigned char *data;
    small_file(path, &data);
    free(data);
    counter clean = {0};
    assert_int_equal(open_counted(path, &clean), WEFT_OK);
    assert_true(clean.calls > 5);
    for (int forever = 0; forever < 2; forever++)
        for (long k = 1; k <= clean.calls; k++) {
            counter m = {.fail_at = k, .forever = forever};
            assert_int_equal(open_counted(path, &m), WEFT_NOMEM);
        }
    remove_dir(dir);
}

/* A header that would need a tree many times its size is refused within its budget, not served. */
static void test_memory_bound(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.safetensors");
    uint64_t n = 4 << 20;
    unsigned char *buf = malloc(n + 8);
    memset(buf, '1', n + 8);
    memcpy(buf, &n, 8);
    for (size_t i = 15; i < n + 8; i += 2)
        buf[i] = ',';
    memcpy(buf + 8, "{\"a\":[", 6);
    put_file(path, buf, n + 8);
    free(buf);
    char got[1024];
    assert_int_equal(open_only(path, got, sizeof got), WEFT_NOMEM);
    assert_non_null(strstr(got, "over the memory budget of 50331648 bytes"));
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),       cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_deep_json),     cmocka_unit_test(test_reference_bytes),
        cmocka_unit_test(test_order),         cmocka_unit_test(test_shrinks),
        cmocka_unit_test(test_prefixes),      cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_memory_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
