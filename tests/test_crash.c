/* test_crash.c - a checkpoint survives: every bit flip and prefix is found, every I/O call and
 * allocation may fail, and the process may be killed at every call of a save and of the clearing up
 * after it.
 *
 * With arguments it is the program under strace of kill_save.sh: "prepare DIR", "save DIR", "verify
 * DIR...". */
#include "tests/store.h"

#include <sys/wait.h>

#define OLD 2 /* the step of the last checkpoint before the save under test */
#define NEW 3

/* A fork of a process with a sanitizer's shadow memory costs a hundred times more: there only every
 * eighth point, all of them in a plain build. */
#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 8
#else
#define STRIDE 1
#endif

/* ---- a run directory with steps 1 and 2, and what must be true of it later ---- */
static weft_status save_in(weft_ctx *c, const char *dir, int64_t from, int64_t to)
{
    weft_session *s = small_session(c);
    weft_run_dir *d;
    weft_status st = weft_run_dir_open(c, dir, &d);
    for (int64_t step = from; !st && step <= to; step++) {
        fill_session(s, step);
        weft_progress p = progress_at(step);
        st = weft_checkpoint_save(d, s, &p, 2);
    }
    weft_run_dir_close(d);
    free_session(s);
    return st;
}

static void prepare(const char *dir)
{
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(save_in(c, dir, 1, OLD), WEFT_OK);
    weft_close(c);
}

static int count_temps(weft_ctx *c, const char *dir)
{
    weft_arena *a = weft_arena_new(c, 0);
    const char **names;
    int n, temps = 0;
    weft_list_dir(a, join(dir, "checkpoints"), &names, &n);
    for (int i = 0; i < n; i++)
        temps += strstr(names[i], ".tmp") != NULL;
    weft_arena_free(a);
    return temps;
}

/* Opens the directory as the next run does: nothing temporary is left, and the newest checkpoint is
 * whole. Returns its step; 0 when anything is wrong. */
static int64_t surviving_step(const char *dir)
{
    weft_ctx *c = weft_open(NULL);
    weft_session *s = small_session(c), *want = small_session(c);
    weft_run_dir *d;
    weft_progress p = {0};
    const char *path;
    weft_status st = weft_run_dir_open(c, dir, &d);
    if (!st)
        st = weft_checkpoint_latest(d, &path, &p);
    if (!st)
        st = weft_checkpoint_load(c, path, s, false, &p);
    fill_session(want, p.step);
    if (st)
        print_error("%s: %s\n", dir, weft_error(c));
    int64_t step = !st && same_states(s, want) && !count_temps(c, dir) ? p.step : 0;
    weft_run_dir_close(d);
    free_session(s);
    free_session(want);
    weft_close(c);
    return step;
}

/* ---- damage ---- */
static weft_status load_damaged(weft_ctx *c, weft_session *s, const char *path)
{
    weft_status st = weft_checkpoint_load(c, path, s, false, NULL);
    if (st)
        assert_non_null(strstr(weft_error(c), path));
    weft_error_clear(c);
    return st;
}

static const char *const files[] = {"manifest.json", "model.safetensors", "optimizer.safetensors",
                                    "config.json"};

static void test_bit_flips(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "checkpoints/step-000002");
    prepare(dir);
    weft_ctx *c = weft_open(NULL);
    weft_session *s = small_session(c);
    for (int f = 0; f < 4; f++) {
        size_t n;
        char file[256];
        snprintf(file, sizeof file, "%s/%s", path, files[f]);
        unsigned char *data = get_file(file, &n);
        for (size_t k = 0; k < n * 8; k++) {
            data[k / 8] ^= (unsigned char)(1 << k % 8);
            put_file(file, data, n);
            assert_int_equal(load_damaged(c, s, path), WEFT_CORRUPT);
            data[k / 8] ^= (unsigned char)(1 << k % 8);
        }
        put_file(file, data, n);
        free(data);
        assert_int_equal(load_damaged(c, s, path), WEFT_OK);
    }
    free_session(s);
    weft_close(c);
    remove_dir(dir);
}

/* Every prefix, and bytes too many: found, and the checkpoint before it is chosen. */
static void test_prefixes(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "checkpoints/step-000002"), *chosen;
    prepare(dir);
    weft_ctx *c = weft_open(NULL);
    weft_session *s = small_session(c);
    weft_run_dir *d;
    weft_progress p;
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    for (int f = 0; f < 4; f++) {
        size_t n;
        char file[256];
        snprintf(file, sizeof file, "%s/%s", path, files[f]);
        unsigned char *data = get_file(file, &n);
        for (size_t k = 0; k <= n + 1; k++) {
            put_file(file, data, k);
            assert_int_equal(load_damaged(c, s, path), k == n ? WEFT_OK : WEFT_CORRUPT);
            assert_int_equal(weft_checkpoint_latest(d, &chosen, &p), WEFT_OK);
            assert_int_equal(p.step, k == n ? 2 : 1);
        }
        put_file(file, data, n);
        free(data);
    }
    weft_run_dir_close(d);
    free_session(s);
    weft_close(c);
    remove_dir(dir);
}

/* ---- failing I/O ---- */
/* One save with a fault; then what is left is looked at, and the save is tried again. */
static long save_with_fault(fault f)
{
    const char *dir = fresh_dir();
    prepare(dir);
    fault quiet = {0};
    weft_io io = fault_table(&quiet);
    weft_ctx *c = weft_open(&(weft_options){.io = &io});
    weft_session *s = small_session(c);
    weft_run_dir *d;
    weft_progress p = progress_at(NEW);
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    fill_session(s, NEW);
    quiet = f;
    weft_status st = weft_checkpoint_save(d, s, &p, 2);
    long calls = quiet.calls;
    quiet = (fault){0};
    if (st) {
        assert_true(st == WEFT_IO || st == WEFT_CORRUPT || st == WEFT_CANTCREATE ||
                    st == WEFT_MISSING);
        if (!strstr(weft_error(c), dir) || f.kind == FAULT_SHORT || f.error == EINTR)
            print_error("call %ld: %s\n", f.fail_at, weft_error(c));
        assert_non_null(strstr(weft_error(c), dir));
        assert_non_null(strstr(weft_error(c), "the checkpoint of step 3"));
    }
    if (f.kind == FAULT_SHORT || f.error == EINTR)
        assert_int_equal(st, WEFT_OK); /* no failures: the loops go on */
    /* one fault before the new one is published leaves nothing: the folder can be removed at once
     */
    if (st && !f.forever && access(join(dir, "checkpoints/step-000003"), F_OK))
        assert_int_equal(count_temps(c, dir), 0);
    weft_error_clear(c);
    if (f.fail_at % 2) { /* half the time the run goes on and saves again */
        assert_int_equal(weft_checkpoint_save(d, s, &p, 2), WEFT_OK);
        st = WEFT_OK;
    }
    weft_run_dir_close(d);
    free_session(s);
    weft_close(c);
    int64_t step = surviving_step(dir);
    assert_true(step == NEW || (st && step == OLD));
    remove_dir(dir);
    return calls;
}

static void test_io_faults(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, EINTR};
    long calls = save_with_fault((fault){0});
    assert_true(calls > 60);
    for (long k = 1; k <= calls; k++) {
        for (int e = 0; e < 3; e++)
            save_with_fault((fault){.fail_at = k, .kind = FAULT_ERROR, .error = errors[e]});
        save_with_fault((fault){.fail_at = k, .kind = FAULT_ERROR, .error = EIO, .forever = 1});
        save_with_fault((fault){.fail_at = k, .kind = FAULT_ERROR, .error = ENOSPC, .forever = 1});
        save_with_fault((fault){.fail_at = k, .kind = FAULT_SHORT});
    }
    save_with_fault((fault){.fail_at = 1, .kind = FAULT_SHORT, .forever = 1});
}

/* ---- failing memory ---- */
enum { OPEN, LATEST, LOAD, WEIGHTS, FIND, SAVE, ACTIONS };

static weft_status act(int action, weft_ctx *c, weft_run_dir *d, weft_session *s, const char *dir)
{
    weft_progress p = progress_at(NEW);
    const char *path = join(dir, "checkpoints/step-000002");
    weft_run_dir *other = NULL;
    weft_arena *a = NULL;
    weft_status st = WEFT_OK;
    switch (action) {
    case OPEN:
        st = weft_run_dir_open(c, join(dir, "inner"), &other);
        weft_run_dir_close(other);
        return st;
    case LATEST:
        return weft_checkpoint_latest(d, &path, &p);
    case LOAD:
        return weft_checkpoint_load(c, path, s, false, &p);
    case WEIGHTS:
        return weft_weights_load(s, path, "");
    case FIND:
        a = weft_arena_new(c, 0);
        st = a ? weft_weights_find(a, dir, &path) : WEFT_NOMEM;
        weft_arena_free(a);
        return st;
    default:
        return weft_checkpoint_save(d, s, &p, 2);
    }
}

/* The k-th allocation of an action fails: NOMEM, nothing leaks, nothing is lost. False when there
 * is no k-th one. */
static bool act_without_memory(int action, long k, int forever)
{
    const char *dir = fresh_dir();
    prepare(dir);
    counter m = {0};
    weft_allocator mem = {counted_alloc, counted_realloc, counted_free, &m};
    weft_ctx *c = weft_open(&(weft_options){.allocator = &mem});
    weft_session *s = small_session(c);
    weft_run_dir *d;
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    fill_session(s, NEW);
    m.calls = 0;
    m.fail_at = k;
    m.forever = forever;
    weft_status st = act(action, c, d, s, dir);
    bool hit = m.calls >= k;
    m.fail_at = 0;
    assert_int_equal(st, hit ? WEFT_NOMEM : WEFT_OK);
    weft_run_dir_close(d);
    free_session(s);
    weft_close(c);
    assert_int_equal(m.live, 0);
    int64_t step = surviving_step(dir);
    assert_true(step == OLD || (action == SAVE && step == NEW));
    remove_dir(dir);
    return hit;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (int action = 0; action < ACTIONS; action++)
        for (int forever = 0; forever < 2; forever++) {
            long k = 1;
            while (act_without_memory(action, k, forever))
                k++;
            assert_true(k > 2);
        }
}

/* ---- kill -9 ---- */
/* A child dies at call k of the whole run (open, save, close) or survives; returns whether it died.
 */
static bool run_and_die(const char *dir, int64_t from, long k, int kind)
{
    pid_t child = fork();
    if (!child) {
        fault f = {.fail_at = k, .kind = kind};
        weft_io io = fault_table(&f);
        weft_ctx *c = weft_open(&(weft_options){.io = &io});
        _exit(save_in(c, dir, from, NEW) ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 0));
    return WEXITSTATUS(status) == 9;
}

static void test_kill_save(void **state)
{
    (void)state;
    for (int kind = FAULT_EXIT; kind <= FAULT_TORN; kind++) {
        bool died = true;
        long k = 1;
        for (; died; k += STRIDE) {
            const char *dir = fresh_dir();
            prepare(dir);
            died = run_and_die(dir, NEW, k, kind);
            int64_t step = surviving_step(dir);
            assert_true(step == NEW || (died && step == OLD));
            remove_dir(dir);
        }
        assert_true(k > 80);
    }
}

/* Killed while saving a step anew, then killed again at every call of the run that clears up. */
static void test_kill_recovery(void **state)
{
    (void)state;
    int cases = 0;
    for (long first = 40; first <= 120; first += 16) {
        bool died = true;
        for (long k = 1; died && k < 70; k += 2 * STRIDE, cases++) {
            const char *dir = fresh_dir();
            prepare(dir);
            if (!run_and_die(dir, OLD, first, FAULT_EXIT))
                died = false;
            run_and_die(dir, OLD, k, FAULT_EXIT);
            int64_t step = surviving_step(dir);
            assert_true(step == NEW || step == OLD);
            remove_dir(dir);
        }
    }
    assert_true(cases >= 200 / STRIDE);
}

/* ---- under strace ---- */
static int program(int argc, char **argv)
{
    weft_ctx *c = weft_open(NULL);
    int bad = 0;
    if (!strcmp(argv[1], "prepare")) {
        bad = save_in(c, argv[2], 1, OLD);
    } else if (!strcmp(argv[1], "save")) {
        access("/weft-save-begins", F_OK); /* marks the place in the trace */
        bad = save_in(c, argv[2], NEW, NEW);
        access("/weft-save-ends", F_OK);
    } else {
        for (int i = 2; i < argc; i++) {
            int64_t step = surviving_step(argv[i]);
            if (step != OLD && step != NEW) {
                fprintf(stderr, "%s: no checkpoint survived\n", argv[i]);
                bad = 1;
            }
        }
    }
    weft_close(c);
    return bad;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill_save),
        cmocka_unit_test(test_kill_recovery), /* first: forks of a small process */
        cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_io_faults),
        cmocka_unit_test(test_out_of_memory),
    };
    return argc > 2 ? program(argc, argv) : cmocka_run_group_tests(tests, NULL, NULL);
}
