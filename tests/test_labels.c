/* test_labels.c - label files: what was written is read, damage of any kind is told, interrupted
 * writing goes on. */
#include "tests/store.h"

#include "graph/hash.h"
#include "graph/labels.h"

static const weft_label_header small = {.T = 3,
                                        .k = 2,
                                        .windows = 5,
                                        .concepts = 40,
                                        .scores = true,
                                        .B = 2,
                                        .seed = 7,
                                        .data_tokens = 17,
                                        .data_hash = 0x1122334455667788u,
                                        .graph_hash = 0x8877665544332211u,
                                        .weight_hash = 0xfedcba9876543210u};

enum { MOST = 64 };

/* Labels and scores of a window, as a function of its number. */
static void make_window(const weft_label_header *h, int64_t w, int32_t *ids, float *scores)
{
    for (int64_t i = 0; i < h->T * h->k; i++) {
        ids[i] = (int32_t)((w * 7919 + i * 104729 + (i == 1 ? -1 : 0)) % h->concepts);
        ids[i] = ids[i] < 0 ? (int32_t)h->concepts - 1 : ids[i];
        scores[i] = (float)(w + 1) / (float)(i + 3);
    }
}

static weft_status put_windows(weft_label_writer *w, const weft_label_header *h, int64_t from,
                               int64_t to)
{
    int32_t ids[MOST];
    float scores[MOST];
    weft_status s = WEFT_OK;
    for (int64_t i = from; i < to && !s; i++) {
        make_window(h, i, ids, scores);
        s = weft_label_writer_put(w, ids, h->scores ? scores : NULL);
    }
    return s;
}

static weft_status write_all(weft_ctx *c, const char *path, const weft_label_header *h, bool resume)
{
    weft_label_writer *w;
    int64_t done;
    weft_status s = weft_label_writer_open(c, path, h, resume, &w, &done);
    if (s)
        return s;
    s = put_windows(w, h, done, h->windows);
    if (!s)
        return weft_label_writer_commit(w);
    weft_label_writer_close(w);
    return s;
}

/* Opens and reads all; the error's text into `error`. */
static weft_status read_all(const char *path, char *error, size_t n)
{
    weft_ctx *c = weft_open(NULL);
    weft_labels *l;
    int32_t ids[MOST];
    float scores[MOST];
    weft_status s = weft_labels_open(c, path, &l);
    assert_true((s == WEFT_OK) == (l != NULL));
    for (int64_t w = 0; !s && w < weft_labels_header(l)->windows; w++)
        s = weft_labels_read(l, w, ids, scores);
    snprintf(error, n, "%s", weft_error(c));
    weft_labels_close(l);
    weft_close(c);
    return s;
}

static void test_round_trip(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "x.labels"), *temp = join(dir, "x.labels.tmp");
    weft_ctx *c = weft_open(NULL);
    static const int64_t shapes[][4] = {
        {3, 2, 5, 40}, {1, 1, 1, 1}, {7, 4, 3, 65536}, {7, 4, 3, 65537}, {2, 30, 9, 1 << 30}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int scores = 0; scores < 2; scores++) {
            weft_label_header h = small;
            weft_labels *l;
            int32_t ids[MOST], want[MOST];
            float s[MOST], ws[MOST];
            h.T = shapes[i][0], h.k = shapes[i][1], h.windows = shapes[i][2];
            h.concepts = shapes[i][3], h.scores = scores;
            h.data_tokens = h.T * h.windows + 1;
            assert_int_equal(write_all(c, path, &h, false), WEFT_OK);
            assert_int_equal(weft_labels_open(c, path, &l), WEFT_OK);
            assert_int_equal(weft_label_match(c, path, weft_labels_header(l), &h, true), WEFT_OK);
            for (int64_t w = h.windows - 1; w >= 0; w--) {
                make_window(&h, w, want, ws);
                memset(s, 0xff, sizeof s);
                assert_int_equal(weft_labels_read(l, w, ids, w % 2 ? NULL : s), WEFT_OK);
                assert_memory_equal(ids, want, sizeof *ids * (size_t)(h.T * h.k));
                for (int k = 0; k < h.T * h.k && w % 2 == 0; k++)
                    assert_true(s[k] == (scores ? ws[k] : 0));
            }
            assert_int_equal(weft_labels_read(l, h.windows, ids, NULL), WEFT_INTERNAL);
            weft_error_clear(c);
            weft_labels_close(l);
            assert_int_not_equal(access(temp, F_OK), 0);
        }
    /* an id that the format could not hold is refused when it is written */
    weft_label_writer *w;
    int64_t done;
    int32_t wrong[6] = {0, 1, 2, 40, 3, 4};
    assert_int_equal(weft_label_writer_open(c, path, &small, false, &w, &done), WEFT_OK);
    assert_int_equal(weft_label_writer_put(w, wrong, (float[6]){0}), WEFT_MALFORMED);
    assert_non_null(strstr(weft_error(c), "window 0, position 1: label 40 of 40 concepts"));
    assert_int_equal(weft_label_writer_commit(w), WEFT_MALFORMED);
    weft_error_clear(c);
    weft_close(c);
    remove_dir(dir);
}

/* ---- damage ---- */
static int tried;

static void expect(const char *path, const void *data, size_t n, weft_status status,
                   const char *message)
{
    char got[2048];
    put_file(path, data, n);
    weft_status s = read_all(path, got, sizeof got);
    tried++;
    if (s != status || (status && (!message || !strstr(got, message) || !strstr(got, path))))
        fail_msg("status %d, wanted %d with '%s': %s", s, status, message ? message : "", got);
}

static void rehash(unsigned char *b)
{
    uint64_t h = weft_xxh64_of(b, 120, 0);
    memcpy(b + 120, &h, 8);
}

/* Headers with a good hash and bad meaning. */
static void broken_headers(const char *path, const unsigned char *good, size_t n)
{
    static const struct {
        int at, bytes;
        int64_t value;
        weft_status status;
        const char *message;
    } table[] = {
        {0, 1, 'X', WEFT_MALFORMED, "not a label file"},
        {8, 4, 0, WEFT_MALFORMED, "version 0"},
        {8, 4, 3, WEFT_UNSUPPORTED, "version 3, this build reads 2"},
        {8, 4, 1, WEFT_UNSUPPORTED, "version 1, which knows its data by samples only"},
        {12, 4, 64, WEFT_MALFORMED, "version 2 with 64 bytes"},
        {16, 8, 0, WEFT_MALFORMED, "T, the positions of a window, is 0"},
        {16, 8, -3, WEFT_MALFORMED, "T, the positions of a window, is -3"},
        {16, 8, 2, WEFT_MALFORMED, "which makes 288 bytes, but the file has 348"},
        {16, 8, (int64_t)1 << 40, WEFT_MALFORMED, "T, the positions of a window"},
        {16, 8, (int64_t)1 << 31, WEFT_MALFORMED, "more positions than tokens"},
        {24, 8, 0, WEFT_MALFORMED, "k, the labels of a position, is 0"},
        {24, 8, 65537, WEFT_MALFORMED, "k, the labels of a position, is 65537"},
        {24, 8, 3, WEFT_MALFORMED, "but the file has 348"},
        {32, 8, 0, WEFT_MALFORMED, "the number of windows is 0"},
        {32, 8, INT64_MIN, WEFT_MALFORMED, "the number of windows is -9223372036854775808"},
        {32, 8, 4, WEFT_MALFORMED, "the header promises 4 windows, which makes 304 bytes"},
        {32, 8, 6, WEFT_MALFORMED, "more positions than tokens"},
        {40, 8, 0, WEFT_MALFORMED, "the number of concepts is 0"},
        {40, 8, 65537, WEFT_MALFORMED, "the type of ids does not go with the number of concepts"},
        {40, 8, 39, WEFT_MALFORMED, "label 39, but there are 39 concepts"},
        {48, 4, 2, WEFT_MALFORMED, "the type of ids"},
        {48, 4, 3, WEFT_MALFORMED, "the type of ids"},
        {52, 4, 0, WEFT_MALFORMED, "which makes 228 bytes, but the file has 348"},
        {52, 4, 2, WEFT_MALFORMED, "a flag or reserved byte is set"},
        {56, 8, 0, WEFT_MALFORMED, "the batch is 0"},
        {72, 8, 0, WEFT_MALFORMED, "the number of tokens is 0"},
        {72, 8, 15, WEFT_MALFORMED, "more positions than tokens"},
        {104, 1, 1, WEFT_MALFORMED, "reserved byte"},
        {119, 1, 1, WEFT_MALFORMED, "reserved byte"},
    };
    unsigned char b[1024];
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        memcpy(b, good, n);
        memcpy(b + table[i].at, &table[i].value, (size_t)table[i].bytes);
        rehash(b);
        expect(path, b, n, table[i].status, table[i].message);
    }
    /* sizes whose product overflows: 2^31 positions x 2^16 labels x 2^16 windows */
    memcpy(b, good, n);
    memcpy(b + 16, &(int64_t){(int64_t)1 << 31}, 8);
    memcpy(b + 24, &(int64_t){(int64_t)1 << 16}, 8);
    memcpy(b + 32, &(int64_t){(int64_t)1 << 16}, 8);
    memcpy(b + 72, &(int64_t){(int64_t)1 << 48}, 8);
    rehash(b);
    expect(path, b, n, WEFT_MALFORMED, "header: ");
}

static void test_malformed(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "x.labels");
    unsigned char b[1024], *good;
    size_t n;
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(write_all(c, path, &small, false), WEFT_OK);
    weft_close(c);
    good = get_file(path, &n);
    const size_t record = 3 * 2 * 6 + 8;
    assert_int_equal(n, 128 + 5 * record);
    expect(path, good, n, WEFT_OK, NULL);
    for (size_t k = 0; k < n; k++) /* every prefix */
        expect(path, good, k, WEFT_MALFORMED,
               k < 128 ? "the header of a label file has 128" : "the header promises 5 windows");
    memcpy(b, good, n);
    b[n] = 0;
    expect(path, b, n + 1, WEFT_MALFORMED, "but the file has 349");
    for (size_t k = 0; k < n * 8; k++) { /* every bit */
        memcpy(b, good, n);
        b[k / 8] ^= (unsigned char)(1 << k % 8);
        expect(path, b, n, WEFT_MALFORMED,
               k / 8 < 8     ? "not a label file"
               : k / 8 < 128 ? "the header is damaged"
                             : "is damaged: its hash");
    }
    broken_headers(path, good, n);
    /* records that are whole but in each other's places */
    memcpy(b, good, n);
    memcpy(b + 128, good + 128 + record, record);
    expect(path, b, n, WEFT_MALFORMED, "window 0 (bytes 128 to 172) is damaged");
    free(good);
    char got[1024];
    assert_int_equal(read_all(join(dir, "none"), got, sizeof got), WEFT_MISSING);
    assert_int_equal(read_all(dir, got, sizeof got), WEFT_MISSING);
    print_message("%d malformed label files, each with its message\n", tried);
    remove_dir(dir);
}

/* ---- do they belong here? ---- */
static void test_match(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        bool always; /* or only when asked for all */
        const char *message;
    } table[] = {
        {offsetof(weft_label_header, T), true,
         "their T, the length of a sequence is 4, expected 3"},
        {offsetof(weft_label_header, k), true,
         "their k, the labels of a position is 3, expected 2"},
        {offsetof(weft_label_header, windows), true, "their number of windows is 6, expected 5"},
        {offsetof(weft_label_header, concepts), true, "number of concepts is 41, expected 40"},
        {offsetof(weft_label_header, data_tokens), true, "number of tokens is 18, expected 17"},
        {offsetof(weft_label_header, data_hash), true,
         "data hash (they are of another token file) is 1122334455667789"},
        {offsetof(weft_label_header, graph_hash), true, "is 8877665544332212"},
        {offsetof(weft_label_header, weight_hash), true, "is fedcba9876543211"},
        {offsetof(weft_label_header, B), false, "windows of a batch is 3, expected 2"},
        {offsetof(weft_label_header, seed), false, "seed is 8, expected 7"},
    };
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(weft_label_match(c, "x", &small, &small, true), WEFT_OK);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (int all = 0; all < 2; all++) {
            weft_label_header h = small;
            ++*(int64_t *)((char *)&h + table[i].at);
            weft_status want = table[i].always || all ? WEFT_MISMATCH : WEFT_OK;
            assert_int_equal(weft_label_match(c, "x", &h, &small, all), want);
            if (want && !strstr(weft_error(c), table[i].message))
                fail_msg("'%s' is not in: %s", table[i].message, weft_error(c));
            weft_error_clear(c);
        }
    weft_label_header unknown = small, other = small;
    unknown.weight_hash = 0; /* the weights are not there to be compared */
    other.weight_hash++;
    assert_int_equal(weft_label_match(c, "x", &other, &unknown, true), WEFT_OK);
    other.scores = false;
    assert_int_equal(weft_label_match(c, "x", &other, &unknown, true), WEFT_MISMATCH);
    weft_close(c);
}

/* ---- interrupted writing ---- */
/* The growing file is removed, and another process begins anew: the first has lost, the second
 * loses nothing by it. */
static void test_removed(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "x"), *temp = join(dir, "x.tmp");
    int64_t done;
    weft_label_writer *w, *second;
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(weft_label_writer_open(c, path, &small, false, &w, &done), WEFT_OK);
    assert_int_equal(put_windows(w, &small, 0, 5), WEFT_OK);
    assert_int_equal(unlink(temp), 0);
    assert_int_equal(weft_label_writer_open(c, path, &small, false, &second, &done), WEFT_OK);
    assert_int_equal(weft_label_writer_commit(w), WEFT_LOCKED);
    assert_non_null(strstr(weft_error(c), "was removed, replaced or finished"));
    weft_error_clear(c);
    assert_int_equal(SYS->exists(NULL, path), 0);
    assert_int_equal(put_windows(second, &small, 0, 5), WEFT_OK);
    assert_int_equal(weft_label_writer_commit(second), WEFT_OK);
    assert_int_equal(SYS->exists(NULL, path), 1);
    put_file(join(dir, "other"), "", 0);
    assert_int_equal(symlink("other", temp), 0);
    assert_int_equal(weft_label_writer_open(c, path, &small, false, &w, &done), WEFT_CANTCREATE);
    assert_non_null(strstr(weft_error(c), "is a link"));
    weft_close(c);
    remove_dir(dir);
}

/* Cut at every byte, or with any bit of a record wrong: goes on after what is good, to the same
 * bytes as without interruption. */
static void test_resume(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "x.labels"), *temp = join(dir, "x.labels.tmp");
    unsigned char *good, *again, b[1024];
    size_t n, m, record = 44;
    weft_label_writer *w, *second;
    int64_t done;
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(write_all(c, path, &small, false), WEFT_OK);
    good = get_file(path, &n);
    for (size_t k = 0; k <= n; k++) {
        unlink(path);
        put_file(temp, good, k);
        assert_int_equal(weft_label_writer_open(c, path, &small, true, &w, &done), WEFT_OK);
        assert_int_equal(done, k < 128 ? 0 : (k - 128) / record);
        assert_int_equal(weft_label_writer_open(c, path, &small, true, &second, &done),
                         WEFT_LOCKED);
        weft_error_clear(c);
        weft_label_writer_close(w);
        assert_int_equal(write_all(c, path, &small, true), WEFT_OK);
        again = get_file(path, &m);
        assert_true(m == n && !memcmp(good, again, n));
        free(again);
    }
    for (size_t k = 128; k < n; k += 5) {
        memcpy(b, good, n);
        b[k] ^= 16;
        put_file(temp, b, n);
        assert_int_equal(weft_label_writer_open(c, path, &small, true, &w, &done), WEFT_OK);
        assert_int_equal(done, (k - 128) / record);
        assert_int_equal(put_windows(w, &small, done, 5), WEFT_OK);
        assert_int_equal(weft_label_writer_commit(w), WEFT_OK);
        again = get_file(path, &m);
        assert_true(m == n && !memcmp(good, again, n));
        free(again);
    }
    /* of other labels: refused, or replaced when nobody asks to go on */
    weft_label_header other = small;
    other.weight_hash++;
    put_file(temp, good, n - 50);
    assert_int_equal(weft_label_writer_open(c, path, &other, true, &w, &done), WEFT_MISMATCH);
    assert_non_null(strstr(weft_error(c), "without --resume it is replaced"));
    weft_error_clear(c);
    assert_int_equal(weft_label_writer_open(c, path, &other, false, &w, &done), WEFT_OK);
    assert_int_equal(done, 0);
    /* a commit before the end is refused */
    assert_int_equal(put_windows(w, &other, 0, 4), WEFT_OK);
    assert_int_equal(weft_label_writer_commit(w), WEFT_INTERNAL);
    weft_error_clear(c);
    free(good);
    weft_close(c);
    remove_dir(dir);
}

/* ---- failures of the machine ---- */
static weft_status with_fault(const char *path, fault *f)
{
    weft_io io = fault_table(f);
    weft_ctx *c = weft_open(&(weft_options){.io = &io});
    weft_status s = write_all(c, path, &small, true);
    if (s)
        assert_true(*weft_error(c));
    weft_close(c);
    return s;
}

/* Any call of the table may fail, once or from then on: an error or a good file, and a retry makes
 * the file. */
static void test_io_faults(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "x.labels"), *temp = join(dir, "x.labels.tmp");
    static const int errors[] = {EIO, ENOSPC, EINTR};
    char got[1024];
    fault clean = {0};
    assert_int_equal(with_fault(path, &clean), WEFT_OK);
    for (size_t e = 0; e < sizeof errors / sizeof *errors; e++)
        for (long k = 1; k <= clean.calls; k++)
            for (int forever = 0; forever < (errors[e] == EINTR ? 1 : 2); forever++) {
                unlink(path);
                unlink(temp);
                fault f = {.fail_at = k, .error = errors[e], .forever = forever};
                weft_status s = with_fault(path, &f);
                if (!s)
                    assert_int_equal(read_all(path, got, sizeof got), WEFT_OK);
                else if (access(path, F_OK) == 0) /* only the folder's fsync came after it */
                    assert_int_equal(read_all(path, got, sizeof got), WEFT_OK);
                fault none = {0};
                assert_int_equal(with_fault(path, &none), WEFT_OK);
                assert_int_equal(read_all(path, got, sizeof got), WEFT_OK);
            }
    remove_dir(dir);
}

static weft_status write_and_read(weft_ctx *c, const char *path)
{
    weft_labels *l = NULL;
    int32_t ids[MOST];
    weft_status s = write_all(c, path, &small, false);
    if (!s)
        s = weft_labels_open(c, path, &l);
    if (!s)
        s = weft_labels_read(l, 4, ids, NULL);
    weft_labels_close(l);
    return s;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "x.labels");
    fail_allocations(write_and_read, path);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_match),         cmocka_unit_test(test_removed),
        cmocka_unit_test(test_resume),        cmocka_unit_test(test_io_faults),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
