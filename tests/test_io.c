/* test_io.c - XXH64 against published values; files, atomic writes and folders through whole and
 * failing tables. */
#include "tests/store.h"

#include "graph/hash.h"

/* The values of xxHash's own sanity check (cli/xsum_sanity_check.c): lengths 0, 1, 4, 14, 222 with
 * two seeds. */
static void test_xxh64_vectors(void **state)
{
    (void)state;
    const uint64_t prime = 2654435761u;
    const struct {
        size_t n;
        uint64_t seed, want;
    } table[] = {
        {0, 0, 0xEF46DB3751D8E999u},       {0, prime, 0xAC75FDA2929B17EFu},
        {1, 0, 0xE934A84ADB052768u},       {1, prime, 0x5014607643A9B4C3u},
        {4, 0, 0x9136A0DCA57457EEu},       {14, 0, 0x8282DCC4994E35C8u},
        {14, prime, 0xC3BD6BF63DEB6DF0u},  {222, 0, 0xB641AE8CB691C174u},
        {222, prime, 0x20CB8AB7AE10C14Au},
    };
    unsigned char buf[222];
    uint64_t gen = prime;
    for (int i = 0; i < 222; i++, gen *= 11400714785074694797u)
        buf[i] = (unsigned char)(gen >> 56);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(weft_xxh64_of(buf, table[i].n, table[i].seed), table[i].want);
}

/* However the bytes are cut, the value is the same. */
static void test_xxh64_streaming(void **state)
{
    (void)state;
    unsigned char buf[300];
    for (int i = 0; i < 300; i++)
        buf[i] = (unsigned char)(i * 37);
    uint64_t want = weft_xxh64_of(buf, 300, 7);
    for (size_t a = 0; a <= 300; a += 3)
        for (size_t b = a; b <= 300; b += 11) {
            weft_xxh64 h;
            weft_xxh64_init(&h, 7);
            weft_xxh64_add(&h, buf, a);
            weft_xxh64_add(&h, buf + a, b - a);
            weft_xxh64_add(&h, buf + b, 300 - b);
            assert_int_equal(weft_xxh64_value(&h), want);
        }
}

static weft_status read_back(weft_ctx *c, const char *path, char **data, size_t *n)
{
    weft_arena *a = weft_arena_new(c, 0);
    weft_status s = weft_read_file(a, path, 1 << 20, data, n);
    if (!s) {
        char *copy = test_malloc(*n + 1);
        memcpy(copy, *data, *n + 1);
        *data = copy;
    }
    weft_arena_free(a);
    return s;
}

static void test_writer(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    const char *dir = fresh_dir();
    char *data, big[100000];
    size_t n;
    memset(big, 'x', sizeof big);
    const char *path = join(dir, "out");
    weft_writer *w;
    assert_int_equal(weft_writer_open(c, path, &w), WEFT_OK);
    assert_int_equal(weft_writer_put(w, "abc", 3), WEFT_OK);
    assert_int_equal(weft_writer_put(w, big, sizeof big),
                     WEFT_OK); /* beyond the buffer: straight to the file */
    assert_int_equal(weft_writer_put(w, "def", 3), WEFT_OK);
    assert_int_equal(weft_writer_size(w), 100006);
    uint64_t hash = weft_writer_hash(w);
    assert_int_equal(SYS->exists(NULL, path), 0); /* not there before it is whole */
    assert_int_equal(weft_writer_commit(w), WEFT_OK);
    assert_int_equal(read_back(c, path, &data, &n), WEFT_OK);
    assert_int_equal(n, 100006);
    assert_memory_equal(data, "abcxxx", 6);
    assert_memory_equal(data + 100003, "def", 4);
    assert_int_equal(weft_xxh64_of(data, n, 0), hash);
    test_free(data);
    assert_int_equal(weft_writer_open(c, path, &w), WEFT_OK);
    weft_writer_put(w, "never", 5);
    weft_writer_abort(w);
    assert_int_equal(read_back(c, path, &data, &n), WEFT_OK);
    assert_int_equal(n, 100006); /* the old one, untouched */
    test_free(data);
    weft_close(c);
    remove_dir(dir);
}

static void expect_read_error(const char *path, weft_status want, const char *part)
{
    weft_ctx *c = weft_open(NULL);
    char *data;
    size_t n;
    assert_int_equal(read_back(c, path, &data, &n), want);
    assert_non_null(strstr(weft_error(c), path));
    assert_non_null(strstr(weft_error(c), part));
    weft_close(c);
}

static void test_read_errors(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    expect_read_error(join(dir, "none"), WEFT_MISSING, "No such file");
    expect_read_error(dir, WEFT_MISSING, "Is a directory");
    expect_read_error("/dev/zero", WEFT_MISSING, "not a regular file"); /* endless */
    assert_int_equal(mkfifo(join(dir, "fifo"), 0600), 0);
    expect_read_error(join(dir, "fifo"), WEFT_MISSING, "not a regular file"); /* must not block */
    char *big = calloc(1, (1 << 20) + 1);
    put_file(join(dir, "big"), big, (1 << 20) + 1);
    free(big);
    expect_read_error(join(dir, "big"), WEFT_MALFORMED, "1048577 bytes, the limit");
    remove_dir(dir);
}

static void test_write_errors(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(weft_write_file(c, join(dir, "no/such/folder"), "x", 1), WEFT_CANTCREATE);
    assert_non_null(strstr(weft_error(c), "no/such/folder"));
    weft_error_clear(c);
    put_file(join(dir, "plain"), "x", 1);
    assert_int_equal(weft_make_dirs(c, join(dir, "plain/inner")), WEFT_CANTCREATE);
    weft_error_clear(c);
    assert_int_equal(weft_make_dirs(c, join(dir, "plain")), WEFT_CANTCREATE);
    weft_error_clear(c);
    assert_int_equal(weft_make_dirs(c, ""), WEFT_CANTCREATE);
    weft_close(c);
    remove_dir(dir);
}

static int no_rights(void *user, const char *path)
{
    (void)user;
    (void)path;
    errno = EACCES;
    return -1;
}

/* What nobody may look at cannot be created, and is not "not there" to who reads. */
static void test_no_rights(void **state)
{
    (void)state;
    int kind;
    weft_io io = weft_io_system;
    io.exists = no_rights;
    weft_ctx *c = weft_open(&(weft_options){.io = &io});
    assert_int_equal(weft_make_dirs(c, "/closed/runs"), WEFT_CANTCREATE);
    assert_non_null(strstr(weft_error(c), "/closed/runs: Permission denied"));
    weft_error_clear(c);
    assert_int_equal(weft_look(c, "/closed/model", &kind), WEFT_IO);
    assert_non_null(strstr(weft_error(c), "cannot look at /closed/model: Permission denied"));
    weft_close(c);
}

/* /dev/stdout is a link to a regular file where standard output is one. */
static int looks_like_stdout(void *user, const char *path, weft_file_id *out)
{
    (void)user;
    (void)path;
    *out = (weft_file_id){.regular = true, .link = true};
    return 0;
}

static void test_devices(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    weft_io io = weft_io_system;
    weft_ctx *c = weft_open(&(weft_options){.io = &io});
    assert_int_equal(mkfifo(join(dir, "fifo"), 0600), 0);
    assert_int_equal(weft_write_file(c, join(dir, "fifo"), "x", 1), WEFT_CANTCREATE);
    assert_non_null(strstr(weft_error(c), "fifo is there and no regular file"));
    weft_error_clear(c);
    assert_int_equal(weft_write_file(c, dir, "x", 1), WEFT_CANTCREATE);
    weft_error_clear(c);
    put_file(join(dir, "plain"), "x", 1);
    assert_int_equal(symlink("plain", join(dir, "link")), 0);
    assert_int_equal(weft_write_file(c, join(dir, "link"), "y", 1), WEFT_OK);
    io.identify = looks_like_stdout;
    assert_int_equal(weft_write_file(c, "/dev/stdout", "x", 1), WEFT_CANTCREATE);
    weft_error_clear(c);
    assert_int_equal(weft_write_file(c, "/proc/self/fd/1", "x", 1), WEFT_CANTCREATE);
    weft_close(c);
    remove_dir(dir);
}

static void test_folders(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    char outside[128];
    snprintf(outside, sizeof outside, "%s-outside", dir);
    mkdir(outside, 0700);
    put_file(join(outside, "keep"), "x", 1);
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(weft_make_dirs(c, join(dir, "a/b/c/")), WEFT_OK);
    assert_int_equal(weft_make_dirs(c, join(dir, "a/b/c")), WEFT_OK);
    /* deep: nothing recurses */
    char deep[3000];
    size_t n = (size_t)snprintf(deep, sizeof deep, "%s/a", dir);
    for (int i = 0; i < 900; i++)
        n += (size_t)snprintf(deep + n, sizeof deep - n, "/d");
    assert_int_equal(weft_make_dirs(c, deep), WEFT_OK);
    put_file(join(dir, "a/b/file"), "x", 1);
    assert_int_equal(symlink(outside, join(dir, "a/link")), 0);
    assert_int_equal(weft_remove_tree(c, join(dir, "a")), WEFT_OK);
    assert_int_equal(SYS->exists(NULL, join(dir, "a")), 0);
    assert_int_equal(SYS->exists(NULL, join(outside, "keep")), 1);  /* links are not followed */
    assert_int_equal(weft_remove_tree(c, join(dir, "a")), WEFT_OK); /* gone already: fine */
    weft_close(c);
    remove_dir(outside);
    remove_dir(dir);
}

static void test_parent(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    weft_arena *a = weft_arena_new(c, 0);
    const char *const pairs[][2] = {{"a", "."},     {"a/b", "a"},  {"/a", "/"},       {"/", "/"},
                                    {"a/b//", "a"}, {"a//b", "a"}, {"/a/b/c", "/a/b"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        assert_string_equal(weft_parent_dir(a, pairs[i][0]), pairs[i][1]);
    weft_arena_free(a);
    weft_close(c);
}

/* Every call of an atomic write fails in turn, once and for ever: an error that names the file, or
 * success; the file is the old or the new one, and after a single fault nothing temporary is left
 * unless it could not be removed. */
static void write_with_fault(const char *dir, fault f, long *calls)
{
    const char *path = join(dir, "f");
    put_file(path, "old", 3);
    weft_io io = fault_table(&f);
    weft_ctx *c = weft_open(&(weft_options){.io = &io});
    weft_status s = weft_write_file(c, path, "newer", 5);
    *calls = f.calls;
    if (s)
        assert_non_null(strstr(weft_error(c), dir));
    weft_close(c);
    size_t n;
    unsigned char *data = get_file(path, &n);
    assert_true(n == 5 ? !memcmp(data, "newer", 5) : n == 3 && s && !memcmp(data, "old", 3));
    free(data);
    char temp[256];
    snprintf(temp, sizeof temp, "%s.%ld.tmp", path, (long)getpid());
    if (!f.forever)
        assert_int_equal(SYS->exists(NULL, temp), 0);
    unlink(temp);
    if (f.kind == FAULT_SHORT || f.error == EINTR)
        assert_int_equal(s, WEFT_OK); /* not failures */
}

static void test_write_faults(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    static const int errors[] = {EIO, ENOSPC, EINTR};
    long calls, points = 0, unused;
    write_with_fault(dir, (fault){0}, &calls);
    for (int e = 0; e < 4; e++)
        for (int forever = 0; forever < 2; forever++)
            for (long k = 1; k <= calls; k++, points++) {
                fault f = {.fail_at = k,
                           .forever = forever,
                           .kind = e == 3 ? FAULT_SHORT : FAULT_ERROR,
                           .error = e < 3 ? errors[e] : 0};
                if (f.error == EINTR && forever)
                    break; /* would rightly retry for ever */
                write_with_fault(dir, f, &unused);
            }
    assert_true(points > 40);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xxh64_vectors), cmocka_unit_test(test_xxh64_streaming),
        cmocka_unit_test(test_writer),        cmocka_unit_test(test_read_errors),
        cmocka_unit_test(test_write_errors),  cmocka_unit_test(test_folders),
        cmocka_unit_test(test_devices),       cmocka_unit_test(test_no_rights),
        cmocka_unit_test(test_parent),        cmocka_unit_test(test_write_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
