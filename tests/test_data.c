/* test_data.c - token files of every layout, damaged ones, and the sampler's promises. */
#include "tests/store.h"

#include <utime.h>

#include "graph/data.h"

/* ids 0, 1, 2 ... as bare uint16 */
static void put_bare(const char *path, int n)
{
    uint16_t *id = malloc((size_t)n * 2 + 2);
    for (int i = 0; i < n; i++)
        id[i] = (uint16_t)i;
    put_file(path, id, (size_t)n * 2);
    free(id);
}

/* llm.c: 256 int32, then n ids of `width` bytes. */
static size_t llmc(unsigned char *out, int32_t magic, int32_t version, int32_t count, int n,
                   int width)
{
    int32_t h[256] = {magic, version, count};
    memcpy(out, h, sizeof h);
    for (uint32_t i = 0; i < (uint32_t)n; i++)
        memcpy(out + 1024 + i * (uint32_t)width, &i, (size_t)width);
    return 1024 + (size_t)(n * width);
}

static weft_status open_tokens(const char *path, int64_t vocab, char *error, size_t n)
{
    weft_ctx *c = weft_open(NULL);
    weft_tokens *t;
    int32_t id[64];
    weft_status s = weft_tokens_open(c, path, vocab, &t);
    assert_true((s == WEFT_OK) == (t != NULL));
    if (!s)
        s = weft_tokens_read(t, 0, weft_tokens_count(t) < 64 ? weft_tokens_count(t) : 64, id);
    snprintf(error, n, "%s", weft_error(c));
    weft_tokens_close(t);
    weft_close(c);
    return s;
}

static void test_layouts(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    unsigned char buf[4096];
    weft_ctx *c = weft_open(NULL);
    weft_tokens *t;
    int32_t id[50];
    for (int layout = 0; layout < 3; layout++) {
        if (layout == 0)
            put_bare(path, 50);
        else
            put_file(path, buf,
                     llmc(buf, layout == 1 ? 20240520 : 20240801, layout == 1 ? 1 : 7, 50, 50,
                          layout * 2));
        assert_int_equal(weft_tokens_open(c, path, 50, &t), WEFT_OK);
        assert_int_equal(weft_tokens_count(t), 50);
        memset(id, -1, sizeof id);
        assert_int_equal(weft_tokens_read(t, 0, 50, id), WEFT_OK);
        for (int i = 0; i < 50; i++)
            assert_int_equal(id[i], i);
        assert_int_equal(weft_tokens_read(t, 17, 3, id), WEFT_OK);
        assert_true(id[0] == 17 && id[1] == 18 && id[2] == 19 && id[3] == 3);
        assert_int_equal(weft_tokens_read(t, 48, 3, id), WEFT_INTERNAL);
        weft_error_clear(c);
        weft_tokens_close(t);
    }
    weft_close(c);
    remove_dir(dir);
}

static void expect(const char *path, const void *data, size_t n, weft_status status,
                   const char *message)
{
    char got[1024], want[1024];
    put_file(path, data, n);
    assert_int_equal(open_tokens(path, 1000, got, sizeof got), status);
    snprintf(want, sizeof want, "%s: %s", path, message ? message : "");
    assert_string_equal(got, status ? want : "");
}

static void test_malformed(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    unsigned char b[8192];
    char got[1024];
    memset(b, 0, sizeof b);
    expect(path, b, 0, WEFT_OK,
           NULL); /* empty is a file of no tokens: the sampler says what is too short */
    expect(path, b, 2, WEFT_OK, NULL);
    expect(path, b, 1, WEFT_MALFORMED, "1 bytes, expected an even number (uint16 ids)");
    expect(path, b, 4097, WEFT_MALFORMED, "4097 bytes, expected an even number (uint16 ids)");
    uint16_t ids[] = {0, 999, 1000, 65535};
    expect(path, ids, 4, WEFT_OK, NULL);
    expect(path, ids, 8, WEFT_MALFORMED,
           "token 2 is 1000, the vocabulary has 1000 entries (was the file made with another "
           "tokenizer?)");
    expect(path, b, llmc(b, 20240520, 1, 10, 10, 2), WEFT_OK, NULL);
    expect(path, b, llmc(b, 20240520, 2, 10, 10, 2), WEFT_MALFORMED,
           "token file header 20240520 has version 2, expected 1");
    expect(path, b, llmc(b, 20240801, 1, 10, 10, 4), WEFT_MALFORMED,
           "token file header 20240801 has version 1, expected 7");
    expect(path, b, llmc(b, 20240520, 1, 11, 10, 2), WEFT_MALFORMED,
           "the header promises 11 tokens, which makes 1046 bytes, but the file has 1044");
    expect(path, b, llmc(b, 20240520, 1, 9, 10, 2), WEFT_MALFORMED,
           "the header promises 9 tokens, which makes 1042 bytes, but the file has 1044");
    expect(path, b, llmc(b, 20240520, 1, -1, 0, 2), WEFT_MALFORMED,
           "the header promises -1 tokens, which makes 1022 bytes, but the file has 1024");
    llmc(b, 20240520, 1, 10, 10, 2);
    expect(path, b, 1023, WEFT_MALFORMED, "1023 bytes, the header of such a token file has 1024");
    expect(path, b, 4, WEFT_MALFORMED, "4 bytes, the header of such a token file has 1024");
    llmc(b, 20240801, 7, 10, 10, 4);
    uint32_t huge = 0x80000001u;
    memcpy(b + 1024 + 12, &huge, 4);
    expect(path, b, 1064, WEFT_MALFORMED,
           "token 3 is 2147483649, the vocabulary has 1000 entries (was the file made with another "
           "tokenizer?)");
    assert_int_equal(open_tokens(join(dir, "none"), 10, got, sizeof got), WEFT_MISSING);
    assert_int_equal(open_tokens(dir, 10, got, sizeof got), WEFT_MISSING);
    remove_dir(dir);
}

/* Prefixes and bit flips of a headed file: a clean outcome every time; a header that lost a byte of
 * data is told. */
static void test_damage(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    unsigned char b[2048];
    char got[1024];
    size_t n = llmc(b, 20240520, 1, 40, 40, 2);
    for (size_t k = 4; k < n; k++) {
        put_file(path, b, k);
        assert_int_equal(open_tokens(path, 40, got, sizeof got), WEFT_MALFORMED);
        assert_non_null(strstr(got, path));
    }
    for (size_t k = 0; k < n * 8; k++) {
        if (k / 8 >= 16 && k / 8 < 1020)
            continue; /* reserved words of the header: free */
        b[k / 8] ^= (unsigned char)(1 << k % 8);
        put_file(path, b, n);
        weft_status s = open_tokens(path, 40, got, sizeof got);
        assert_true(s == WEFT_OK ? !*got : s == WEFT_MALFORMED && strstr(got, path));
        if (k / 8 < 12)
            assert_int_equal(s, WEFT_MALFORMED); /* magic, version, count */
        b[k / 8] ^= (unsigned char)(1 << k % 8);
    }
    remove_dir(dir);
}

/* ---- sampling ---- */
static weft_sampler sampler(weft_ctx *c, const char *path, int count, int64_t B, int64_t T,
                            bool shuffle)
{
    weft_tokens *t;
    put_bare(path, count);
    assert_int_equal(weft_tokens_open(c, path, 65536, &t), WEFT_OK);
    return (weft_sampler){.tokens = t, .B = B, .T = T, .seed = 1234, .shuffle = shuffle};
}

/* Every epoch visits every block once; blocks do not overlap; all lie in the file; orders differ
 * between epochs. */
static void test_epochs(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    weft_ctx *c = weft_open(NULL);
    static const int sizes[][2] = {{9, 8},    {15, 8}, {16, 8}, {17, 8},  {100, 8},
                                   {1001, 8}, {64, 1}, {2, 1},  {5000, 7}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (int shuffle = 0; shuffle < 2; shuffle++) {
            int count = sizes[k][0], T = sizes[k][1], moved = 0;
            weft_sampler s = sampler(c, path, count, 1, T, shuffle);
            int64_t blocks = weft_sampler_blocks(&s);
            assert_true(blocks >= 1 && blocks * T + 1 <= count);
            assert_true(blocks >=
                        (count - 1) / T - 1); /* at most one block is given up for the shift */
            for (int64_t epoch = 0; epoch < 4; epoch++) {
                unsigned char *seen = calloc((size_t)count, 1);
                int64_t shift = weft_sampler_start(&s, epoch * blocks) % T;
                for (int64_t i = 0; i < blocks; i++) {
                    int64_t at = weft_sampler_start(&s, epoch * blocks + i);
                    assert_true(at >= 0 && at + T + 1 <= count && at % T == shift && !seen[at]);
                    seen[at] = 1;
                    moved += at != i * T;
                }
                assert_true(shuffle || shift == 0);
                free(seen);
            }
            assert_true(!shuffle == !moved || blocks < 3);
            weft_tokens_close(s.tokens);
        }
    weft_close(c);
    remove_dir(dir);
}

/* A permutation must look like one: over epochs every block comes first about equally often, and
 * every shift occurs. */
static void test_spread(void **state)
{
    (void)state;
    enum { BLOCKS = 20, T = 10, EPOCHS = 4000 };
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    weft_ctx *c = weft_open(NULL);
    weft_sampler s = sampler(c, path, (BLOCKS + 1) * T, 1, T, true);
    assert_int_equal(weft_sampler_blocks(&s), BLOCKS);
    int first[BLOCKS] = {0}, shift[T] = {0}, follows = 0;
    for (int64_t e = 0; e < EPOCHS; e++) {
        int64_t at = weft_sampler_start(&s, e * BLOCKS),
                next = weft_sampler_start(&s, e * BLOCKS + 1);
        first[at / T]++;
        shift[at % T]++;
        follows += next == at + T;
    }
    /* binomial: 200 +- 13.8 a block, 400 +- 19 a shift, 190 +- 13.5 successors: bounds of six sigma
     */
    for (int i = 0; i < BLOCKS; i++)
        assert_true(abs(first[i] - 200) < 83);
    for (int i = 0; i < T; i++)
        assert_true(abs(shift[i] - 400) < 114);
    assert_true(abs(follows - 190) < 82);
    weft_tokens_close(s.tokens);
    weft_close(c);
    remove_dir(dir);
}

/* Batches are the rows of the sequence numbering, targets the next tokens, and a function of (seed,
 * cursor) alone. */
static void test_batches(void **state)
{
    (void)state;
    enum { B = 3, T = 8 };
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    weft_ctx *c = weft_open(NULL);
    weft_sampler s = sampler(c, path, 500, B, T, true);
    int32_t x[40][B * T], y[B * T], again[B * T];
    for (int64_t k = 0; k < 40; k++) {
        assert_int_equal(weft_sampler_batch(&s, k, x[k], y), WEFT_OK);
        for (int r = 0; r < B; r++)
            for (int i = 0; i < T; i++) {
                assert_int_equal(x[k][r * T + i],
                                 weft_sampler_start(&s, k * B + r) + i); /* token i is i */
                assert_int_equal(y[r * T + i], x[k][r * T + i] + 1);
            }
    }
    for (int64_t k = 39; k >= 0; k--) { /* any order, another object: the same batches */
        weft_sampler t = s;
        assert_int_equal(weft_sampler_batch(&t, k, again, y), WEFT_OK);
        assert_memory_equal(again, x[k], sizeof again);
    }
    s.seed++;
    assert_int_equal(weft_sampler_batch(&s, 0, again, y), WEFT_OK);
    assert_true(memcmp(again, x[0], sizeof again));
    int64_t blocks = weft_sampler_blocks(&s);
    assert_int_equal(weft_sampler_epoch(&s, 0), 0);
    assert_int_equal(weft_sampler_epoch(&s, blocks), B);
    assert_int_equal(weft_sampler_batch(&s, -1, again, y), WEFT_MALFORMED);
    weft_error_clear(c);
    assert_int_equal(weft_sampler_batch(&s, INT64_MAX, again, y), WEFT_MALFORMED);
    weft_tokens_close(s.tokens);
    weft_close(c);
    remove_dir(dir);
}

/* Fixed windows: each once in an epoch, under its number; an order of its own for each epoch;
 * batches are a function of (seed, cursor) alone, which is what resuming needs. */
static void test_windows(void **state)
{
    (void)state;
    enum { B = 3, T = 8 };
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    weft_ctx *c = weft_open(NULL);
    for (int count = 9; count < 300; count += 29) {
        weft_sampler s = sampler(c, path, count, B, T, true);
        s.fixed = true;
        int64_t n = weft_sampler_blocks(&s), moved = 0, differs = 0;
        assert_int_equal(n, (count - 1) / T);
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            unsigned char seen[64] = {0};
            for (int64_t i = 0; i < n; i++) {
                int64_t w = weft_sampler_window(&s, epoch * n + i);
                assert_int_equal(weft_sampler_start(&s, epoch * n + i), w * T);
                assert_true(w >= 0 && w < n && !seen[w]++);
                moved += w != i;
                differs += w != weft_sampler_window(&s, i);
            }
        }
        assert_true((moved && differs) || n < 4);
        int32_t x[B * T], y[B * T], again[B * T];
        weft_sampler t = s;
        assert_int_equal(weft_sampler_batch(&s, 7, x, y), WEFT_OK);
        assert_int_equal(weft_sampler_batch(&t, 7, again, y), WEFT_OK);
        assert_memory_equal(x, again, sizeof x);
        for (int r = 0; r < B; r++)
            assert_int_equal(x[r * T] / T, weft_sampler_window(&s, 7 * B + r));
        s.shuffle = false;
        assert_int_equal(weft_sampler_window(&s, n + n / 2), n / 2);
        s.shuffle = true, s.fixed = false;
        assert_int_equal(weft_sampler_window(&s, 0), -1);
        weft_tokens_close(s.tokens);
    }
    weft_sampler s = sampler(c, path, 81, 1, T, true);
    s.fixed = true; /* pinned like the order below */
    static const int want[2][10] = {{7, 2, 6, 1, 0, 9, 3, 5, 4, 8}, {2, 3, 0, 9, 5, 4, 8, 7, 1, 6}};
    for (int e = 0; e < 2; e++)
        for (int i = 0; i < 10; i++)
            assert_int_equal(weft_sampler_window(&s, e * 10 + i), want[e][i]);
    weft_tokens_close(s.tokens);
    weft_close(c);
    remove_dir(dir);
}

/* The order is part of what a checkpoint promises: pinned, so that no change of the code moves it
 * unnoticed. */
static void test_pinned_order(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    weft_ctx *c = weft_open(NULL);
    weft_sampler s = sampler(c, path, 110, 1, 10, true);
    static const int want[2][10] = {{72, 22, 62, 12, 2, 92, 32, 52, 42, 82},
                                    {24, 34, 4, 94, 54, 44, 84, 74, 14, 64}};
    for (int e = 0; e < 2; e++)
        for (int i = 0; i < 10; i++)
            assert_int_equal(weft_sampler_start(&s, e * 10 + i), want[e][i]);
    weft_tokens_close(s.tokens);
    weft_close(c);
    remove_dir(dir);
}

static void test_too_short(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    weft_ctx *c = weft_open(NULL);
    int32_t x[16], y[16];
    char want[512];
    weft_sampler s = sampler(c, path, 8, 1, 8, true);
    assert_int_equal(weft_sampler_blocks(&s), 0);
    assert_int_equal(weft_sampler_batch(&s, 0, x, y), WEFT_MISMATCH);
    snprintf(want, sizeof want, "%s has 8 tokens, a sequence of length 8 needs at least 9", path);
    assert_string_equal(weft_error(c), want);
    weft_error_clear(c);
    s.T = 0;
    assert_int_equal(weft_sampler_batch(&s, 0, x, y), WEFT_USAGE);
    weft_tokens_close(s.tokens);
    weft_close(c);
    remove_dir(dir);
}

/* ---- change ---- */
static void test_change(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    weft_ctx *c = weft_open(NULL);
    int32_t x[8], y[8];
    weft_sampler s = sampler(c, path, 100, 1, 8, true);
    uint64_t hash = weft_tokens_hash(s.tokens);
    int64_t next_epoch = weft_sampler_blocks(&s);
    assert_int_equal(weft_sampler_batch(&s, 0, x, y), WEFT_OK);
    assert_int_equal(truncate(path, 20), 0);
    assert_int_equal(weft_sampler_batch(&s, next_epoch, x, y), WEFT_MISMATCH);
    assert_non_null(strstr(weft_error(c), "opened with 200 bytes, has 20 now"));
    weft_error_clear(c);
    /* cut in the middle of an epoch: the read itself tells */
    weft_status st = WEFT_OK;
    for (int64_t i = 1; i < next_epoch && !st; i++)
        st = weft_sampler_batch(&s, i, x, y);
    assert_int_equal(st, WEFT_MALFORMED);
    assert_non_null(strstr(weft_error(c), "ends at byte 20"));
    weft_error_clear(c);
    weft_tokens_close(s.tokens);
    /* same size, another content: mtime tells, and so does the hash when it is opened anew */
    s = sampler(c, path, 100, 1, 8, true);
    assert_int_equal(weft_tokens_hash(s.tokens), hash);
    uint16_t id = 7;
    FILE *f = fopen(path, "r+b");
    fwrite(&id, 2, 1, f);
    fclose(f);
    assert_int_equal(utime(path, &(struct utimbuf){1, 1}), 0);
    assert_int_equal(weft_tokens_check(s.tokens), WEFT_MISMATCH);
    weft_error_clear(c);
    weft_tokens_close(s.tokens);
    weft_tokens *t;
    assert_int_equal(weft_tokens_open(c, path, 100, &t), WEFT_OK);
    assert_true(weft_tokens_hash(t) != hash);
    /* replaced by another file of the same name */
    put_bare(join(dir, "new"), 100);
    assert_int_equal(rename(join(dir, "new"), path), 0);
    assert_int_equal(weft_tokens_check(t), WEFT_MISMATCH);
    assert_non_null(strstr(weft_error(c), "is another file"));
    weft_tokens_close(t);
    weft_close(c);
    remove_dir(dir);
}

static uint64_t hash_of(weft_ctx *c, const char *path)
{
    weft_tokens *t;
    assert_int_equal(weft_tokens_open(c, path, 65536, &t), WEFT_OK);
    uint64_t hash = weft_tokens_hash(t);
    weft_tokens_close(t);
    return hash;
}

/* One token of a file of 2 MB changes its hash wherever it is; of a file above 256 MiB the ends do.
 */
static void test_hash(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    weft_ctx *c = weft_open(NULL);
    put_bare(path, 1000000);
    uint64_t before = hash_of(c, path);
    for (int at = 0; at < 2000000; at += 99998) {
        FILE *f = fopen(path, "r+b");
        uint16_t was = 0, other;
        assert_int_equal(fseek(f, at, SEEK_SET) || fread(&was, 2, 1, f) != 1, 0);
        other = was ^ 1;
        assert_int_equal(fseek(f, at, SEEK_SET) || fwrite(&other, 2, 1, f) != 1 || fflush(f), 0);
        assert_true(hash_of(c, path) != before);
        assert_int_equal(fseek(f, at, SEEK_SET) || fwrite(&was, 2, 1, f) != 1 || fclose(f), 0);
    }
    assert_int_equal(hash_of(c, path), before);
    assert_int_equal(truncate(path, ((int64_t)256 << 20) + 2), 0); /* with a hole */
    before = hash_of(c, path);
    FILE *f = fopen(path, "r+b");
    assert_int_equal(fseek(f, -2, SEEK_END) || fwrite(&(uint16_t){9}, 2, 1, f) != 1 || fclose(f),
                     0);
    assert_true(hash_of(c, path) != before);
    weft_close(c);
    remove_dir(dir);
}

static weft_status open_and_close(weft_ctx *c, const char *path)
{
    weft_tokens *t = NULL;
    weft_status s = weft_tokens_open(c, path, 100, &t);
    weft_tokens_close(t);
    return s;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    put_bare(path, 100);
    fail_allocations(open_and_close, path);
    remove_dir(dir);
}

static weft_status batch_with_fault(const char *path, fault *f)
{
    weft_io io = fault_table(f);
    weft_ctx *c = weft_open(&(weft_options){.io = &io});
    weft_tokens *t;
    int32_t x[8], y[8];
    weft_status s = weft_tokens_open(c, path, 100, &t);
    if (!s)
        s = weft_sampler_batch(
            &(weft_sampler){.tokens = t, .B = 1, .T = 8, .seed = 1, .shuffle = true}, 0, x, y);
    if (s)
        assert_non_null(strstr(weft_error(c), path));
    else
        assert_true(y[7] == x[0] + 8);
    weft_tokens_close(t);
    weft_close(c);
    return s;
}

static void test_io_faults(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "t.bin");
    put_bare(path, 100);
    fault clean = {0};
    assert_int_equal(batch_with_fault(path, &clean), WEFT_OK);
    int failed = 0;
    for (long k = 1; k <= clean.calls; k++) {
        fault error = {.fail_at = k, .kind = FAULT_ERROR, .error = EIO};
        failed += batch_with_fault(path, &error) == WEFT_IO;
        fault interrupted = {.fail_at = k, .kind = FAULT_ERROR, .error = EINTR};
        batch_with_fault(path, &interrupted);
        fault cut = {.fail_at = k, .kind = FAULT_SHORT};
        assert_int_equal(batch_with_fault(path, &cut), WEFT_OK);
    }
    assert_int_equal(failed, clean.calls - 1); /* all but close, as nothing was written */
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),   cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_damage),    cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_spread),    cmocka_unit_test(test_batches),
        cmocka_unit_test(test_windows),   cmocka_unit_test(test_pinned_order),
        cmocka_unit_test(test_too_short), cmocka_unit_test(test_change),
        cmocka_unit_test(test_hash),      cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_io_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
