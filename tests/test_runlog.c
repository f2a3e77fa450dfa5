/* test_runlog.c - the log of a run: a disk that is full for a moment, a failing fsync, a log that
 * is removed, replaced, cut or damaged, while the run goes on and before it is resumed. */
#include "tests/run.h"

static char files[64]; /* recipe and inputs; files/whole is an undisturbed run */

/* ---- the log is what is disturbed ---- */
typedef struct {
    char dir[96];
    int log_fd;           /* of the last opening of log.jsonl for writing */
    int writes, from, to; /* writes number from..to of the log fail */
    int error;
    int fail_sync;                 /* so many fsyncs of the log fail */
    int fail_data, reads;          /* this reading of a file fails */
    void (*at_step)(const char *); /* called with the run's folder in step 3 */
    log_sink told;
    int warnings;
} disturbed;

static disturbed now;

static int log_open(void *u, const char *path, int flags, int mode)
{
    (void)u;
    int fd = SYS->open(NULL, path, flags, mode);
    if (strstr(path, "/log.jsonl") && flags & O_APPEND)
        now.log_fd = fd;
    return fd;
}

static int64_t log_write(void *u, int fd, const void *buf, size_t n)
{
    (void)u;
    if (fd != now.log_fd || ++now.writes < now.from || now.writes > now.to)
        return SYS->write(NULL, fd, buf, n);
    if (now.writes == now.from && n > 1) /* torn: half of it is there */
        return SYS->write(NULL, fd, buf, n / 2);
    errno = now.error;
    return -1;
}

static int log_fsync(void *u, int fd)
{
    (void)u;
    if (fd != now.log_fd || now.fail_sync-- <= 0)
        return 0;
    errno = EIO;
    return -1;
}

static void on_event(void *user, const weft_event *e)
{
    (void)user;
    now.warnings += e->kind == WEFT_EVENT_WARNING;
    if (e->kind == WEFT_EVENT_STEP && e->step == 3 && now.at_step)
        now.at_step(now.dir);
}

/* Reading number now.fail_data fails, whatever the file. */
static int64_t data_pread(void *u, int fd, void *buf, size_t n, int64_t at)
{
    (void)u;
    if (!now.fail_data || ++now.reads != now.fail_data)
        return SYS->pread(NULL, fd, buf, n, at);
    errno = EIO;
    return -1;
}

static weft_status train(weft_resume resume, const char *set)
{
    weft_io io = weft_io_system;
    io.open = log_open;
    io.write = log_write;
    io.fsync = log_fsync;
    io.pread = data_pread;
    weft_ctx *c = weft_open(&(weft_options){.io = &io, .log = keep_log, .log_user = &now.told});
    weft_train_options o = {.dir = now.dir, .resume = resume, .event = on_event};
    weft_status s = toy_train(c, files, set, &o);
    if (s)
        snprintf(now.told.last, sizeof now.told.last, "%s", weft_error(c));
    weft_close(c);
    return s;
}

/* Disturbed as told, a run ends as the undisturbed one. */
static void ends_the_same(disturbed d)
{
    now = d;
    now.log_fd = -1;
    snprintf(now.dir, sizeof now.dir, "%s/run", files);
    assert_int_equal(train(WEFT_RESUME_NEVER, NULL), WEFT_OK);
    same_runs(join(files, "whole"), now.dir);
    remove_dir(now.dir);
}

/* ---- while it is written ---- */
static void test_full_disk(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EDQUOT, EIO, EFBIG};
    int warned = 0;
    for (int e = 0; e < 4; e++)
        for (int first = 1; first <= 9; first += 2) {
            ends_the_same((disturbed){.from = first, .to = first + 1, .error = errors[e]});
            warned += now.warnings > 0;
        }
    assert_true(warned >= 12); /* not where the next line of the same step takes it along */
}

/* Full to the end: the run says so, and what it had saved is whole. */
static void test_full_for_ever(void **state)
{
    (void)state;
    now = (disturbed){.from = 5, .to = 1000, .error = ENOSPC, .log_fd = -1};
    snprintf(now.dir, sizeof now.dir, "%s/run", files);
    assert_int_equal(train(WEFT_RESUME_NEVER, NULL), WEFT_IO);
    assert_non_null(strstr(now.told.last, "log.jsonl"));
    assert_non_null(strstr(now.told.last, strerror(ENOSPC)));
    now = (disturbed){.log_fd = -1};
    snprintf(now.dir, sizeof now.dir, "%s/run", files);
    assert_int_equal(train(WEFT_RESUME_MUST, NULL), WEFT_OK);
    assert_null(strstr(now.told.last, "warning"));
    same_runs(join(files, "whole"), now.dir);
    remove_dir(now.dir);
}

/* After a failed fsync the log is written anew, to another file. */
static void test_failed_sync(void **state)
{
    (void)state;
    for (int n = 1; n <= 2; n++) {
        ends_the_same((disturbed){.fail_sync = n});
        assert_int_equal(now.warnings, n);
    }
}

/* A reading of the tokens fails in each step: what was done is saved, and goes on to the same end.
 */
static void test_data_fails(void **state)
{
    (void)state;
    int saved = 0;
    for (int k = 1, more = 1; more; k++) {
        now = (disturbed){.log_fd = -1, .fail_data = k};
        snprintf(now.dir, sizeof now.dir, "%s/run", files);
        train(WEFT_RESUME_NEVER, NULL);
        more = now.reads >= k;
        saved += strstr(now.told.last, "was saved: --resume goes on from there") != NULL;
        now.fail_data = 0;
        assert_int_equal(train(WEFT_RESUME_AUTO, NULL), WEFT_OK);
        same_runs(join(files, "whole"), now.dir);
        remove_dir(now.dir);
    }
    assert_true(saved >= 7); /* each step but the first */
}

static void remove_log(const char *dir) { assert_int_equal(unlink(join(dir, "log.jsonl")), 0); }

static void replace_log(const char *dir)
{
    put_file(join(dir, "other"), "something else\n", 15);
    assert_int_equal(rename(join(dir, "other"), join(dir, "log.jsonl")), 0);
}

static void link_log(const char *dir)
{
    remove_log(dir);
    assert_int_equal(symlink("/dev/null", join(dir, "log.jsonl")), 0);
}

static void test_removed(void **state)
{
    (void)state;
    void (*const act[])(const char *) = {remove_log, replace_log, link_log};
    for (int i = 0; i < 3; i++) {
        ends_the_same((disturbed){.at_step = act[i]});
        assert_non_null(strstr(now.told.last, "log.jsonl was removed or replaced"));
    }
}

static void empty_log(const char *dir) { assert_int_equal(truncate(join(dir, "log.jsonl"), 0), 0); }

/* What is gone from the file itself cannot be had back: said, and what follows is right. */
static void test_emptied(void **state)
{
    (void)state;
    now = (disturbed){.at_step = empty_log, .log_fd = -1};
    snprintf(now.dir, sizeof now.dir, "%s/run", files);
    assert_int_equal(train(WEFT_RESUME_NEVER, NULL), WEFT_OK);
    assert_non_null(strstr(now.told.last, "changed while it was in use"));
    size_t n;
    unsigned char *log = get_file(join(now.dir, "log.jsonl"), &n);
    assert_memory_equal(log, "{\"kind\":\"step\",\"step\":4,", 24);
    free(log);
    remove_dir(now.dir);
}

/* ---- before it is resumed ---- */
/* Trains to step 6, lets `act` change the log, goes on to the end. */
static void resume_after(void (*act)(const char *dir))
{
    now = (disturbed){.log_fd = -1};
    snprintf(now.dir, sizeof now.dir, "%s/run", files);
    weft_ctx *c = weft_open(NULL);
    weft_train_options o = {.dir = now.dir, .stop_at = 6};
    assert_int_equal(toy_train(c, files, NULL, &o), WEFT_OK);
    weft_close(c);
    act(now.dir);
    assert_int_equal(train(WEFT_RESUME_MUST, NULL), WEFT_OK);
}

/* The first n lines, and half of the next one. */
static void keep_lines(const char *dir, int lines)
{
    size_t n, at = 0;
    unsigned char *log = get_file(join(dir, "log.jsonl"), &n);
    for (; lines && at < n; at++)
        lines -= log[at] == '\n';
    put_file(join(dir, "log.jsonl"), log, at + 20);
    free(log);
}

static void keep_five(const char *dir) { keep_lines(dir, 5); }
static void keep_two(const char *dir) { keep_lines(dir, 2); }

/* Whole up to step 4, of which there is a checkpoint: the lost lines are made again. */
static void test_short(void **state)
{
    (void)state;
    resume_after(keep_five);
    assert_non_null(strstr(now.told.last,
                           "has lost lines, or is damaged: it ends at step 4, the newest "
                           "checkpoint is of step 6: going on from the checkpoint "
                           "of step 4"));
    same_runs(join(files, "whole"), now.dir);
    remove_dir(now.dir);
}

static void starts_with_step(int step)
{
    char begin[64];
    size_t n;
    unsigned char *log = get_file(join(now.dir, "log.jsonl"), &n);
    snprintf(begin, sizeof begin, "{\"kind\":\"step\",\"step\":%d,", step);
    assert_memory_equal(log, begin, strlen(begin));
    free(log);
    same_content(join(files, "whole/checkpoints/step-000008/model.safetensors"),
                 join(now.dir, "checkpoints/step-000008/model.safetensors"));
}

/* No checkpoint is old enough: the newest, and what is lost is said. */
static void test_lost(void **state)
{
    (void)state;
    resume_after(remove_log);
    assert_non_null(strstr(now.told.last, "log.jsonl is not there: its lines of steps 1 to 6 are "
                                          "lost: going on from step 6"));
    starts_with_step(7);
    remove_dir(now.dir);
    resume_after(keep_two);
    assert_non_null(strstr(
        now.told.last,
        "it ends at step 2, the newest checkpoint is of step 6: going on from step 6 after"));
    starts_with_step(1);
    remove_dir(now.dir);
    resume_after(replace_log);
    assert_non_null(
        strstr(now.told.last,
               "it ends at step 0, the newest checkpoint is of step 6: going on from step 6"));
    starts_with_step(7);
    remove_dir(now.dir);
}

/* Half a line and zeros at the end of timing.jsonl, as a power cut leaves them. */
static void damage_timing(const char *dir)
{
    FILE *f = fopen(join(dir, "timing.jsonl"), "ab");
    assert_non_null(f);
    fwrite("{\"kind\":\"st\0\0\0\0", 1, 15, f);
    fclose(f);
}

static weft_status count_line(void *user, const weft_log_line *l)
{
    (void)l;
    ++*(int *)user;
    return WEFT_OK;
}

static void test_timing(void **state)
{
    (void)state;
    int n = 0;
    resume_after(damage_timing);
    assert_non_null(strstr(now.told.last, "timing.jsonl: 15 damaged bytes"));
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(weft_log_read(c, join(now.dir, "timing.jsonl"), count_line, &n), WEFT_OK);
    assert_true(n >= 8);
    weft_close(c);
    same_runs(join(files, "whole"), now.dir);
    remove_dir(now.dir);
}

static int prepare(void **state)
{
    (void)state;
    strcpy(files, fresh_dir());
    toy_files(files);
    weft_ctx *c = weft_open(NULL);
    weft_train_options o = {.dir = join(files, "whole")};
    weft_status s = toy_train(c, files, NULL, &o);
    if (s)
        print_error("%s\n", weft_error(c));
    weft_close(c);
    return (int)s;
}

static int clear(void **state)
{
    (void)state;
    remove_dir(files);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_disk),   cmocka_unit_test(test_full_for_ever),
        cmocka_unit_test(test_failed_sync), cmocka_unit_test(test_data_fails),
        cmocka_unit_test(test_removed),     cmocka_unit_test(test_emptied),
        cmocka_unit_test(test_short),       cmocka_unit_test(test_lost),
        cmocka_unit_test(test_timing),
    };
    return cmocka_run_group_tests(tests, prepare, clear);
}
