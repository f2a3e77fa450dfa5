/* test_checkpoint.c - saving, keeping, choosing and loading checkpoints; the lock; weights under
 * foreign names. */
#include "tests/store.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>

#include "graph/hash.h"
#include "graph/manifest.h"

/* ---- helpers ---- */
static void save_step(weft_run_dir *d, weft_session *s, int64_t step, int keep)
{
    fill_session(s, step);
    weft_progress p = progress_at(step);
    weft_status st = weft_checkpoint_save(d, s, &p, keep);
    if (st)
        print_error("%s\n", weft_error(d->ctx));
    assert_int_equal(st, WEFT_OK);
}

/* Names in checkpoints/, joined by spaces. */
static const char *listing(weft_ctx *c, const char *dir)
{
    static char out[1024];
    weft_arena *a = weft_arena_new(c, 0);
    const char **names;
    int n;
    *out = 0;
    assert_int_equal(weft_list_dir(a, join(dir, "checkpoints"), &names, &n), WEFT_OK);
    for (int i = 0; i < n; i++)
        sprintf(out + strlen(out), "%s%s", i ? " " : "", names[i]);
    weft_arena_free(a);
    return out;
}

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    int ch = fgetc(f);
    fseek(f, -1, SEEK_CUR);
    fputc(ch ^ 1, f);
    fclose(f);
}

static void assert_progress(const weft_progress *p, int64_t step)
{
    weft_progress want = progress_at(step);
    assert_string_equal(p->config, want.config);
    want.config = p->config;
    assert_memory_equal(p, &want, sizeof want);
}

/* ---- round trip, keeping ---- */
static void test_round_trip(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    weft_ctx *c = weft_open(NULL);
    weft_session *s = small_session(c), *t = small_session(c);
    weft_run_dir *d;
    weft_progress p = {0};
    const char *path;
    assert_int_equal(weft_run_dir_open(c, join(dir, "a/run"), &d), WEFT_OK); /* made on the way */
    assert_int_equal(weft_checkpoint_latest(d, &path, &p), WEFT_MISSING);
    assert_null(path);
    weft_error_clear(c);
    save_step(d, s, 3, 2);
    assert_int_equal(weft_checkpoint_latest(d, &path, &p), WEFT_OK);
    assert_string_equal(path, join(dir, "a/run/checkpoints/step-000003"));
    assert_progress(&p, 3);
    for (int i = 0; i < t->n_state; i++)
        t->state[i].ready = false;
    assert_int_equal(weft_checkpoint_load(c, path, t, false, &p), WEFT_OK);
    assert_progress(&p, 3);
    assert_true(same_states(s, t));
    for (int i = 0; i < t->n_state; i++)
        assert_true(t->state[i].ready);
    /* weights only: the rest keeps what it had */
    fill_session(t, 9);
    assert_int_equal(weft_checkpoint_load(c, path, t, true, NULL), WEFT_OK);
    for (int i = 0; i < t->n_state; i++)
        assert_int_equal(
            !memcmp(s->state[i].data, t->state[i].data, weft_type_bytes(&s->state[i].type)),
            weft_state_is_weight(&s->state[i]));
    /* what is in which file */
    weft_tensor_file *f;
    assert_int_equal(weft_tensor_file_open(c, join(path, "model.safetensors"), &f), WEFT_OK);
    assert_int_equal(weft_tensor_file_count(f), 4);
    assert_non_null(weft_tensor_file_find(f, "teacher.w"));
    assert_string_equal(weft_tensor_file_meta(f, "format"), "pt");
    weft_tensor_file_close(f);
    weft_run_dir_close(d);
    free_session(s);
    free_session(t);
    weft_close(c);
    remove_dir(dir);
}

static void test_keep(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    weft_ctx *c = weft_open(NULL);
    weft_session *s = small_session(c);
    weft_run_dir *d;
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    for (int64_t step = 1; step <= 5; step++)
        save_step(d, s, step, 3);
    assert_string_equal(listing(c, dir), "step-000003 step-000004 step-000005");
    save_step(d, s, 6, 0); /* two at least, whatever is asked */
    assert_string_equal(listing(c, dir), "step-000005 step-000006");
    /* one that is plainly damaged does not count, and stays while it is not older than the kept
     * ones */
    assert_int_equal(truncate(join(dir, "checkpoints/step-000006/model.safetensors"), 10), 0);
    save_step(d, s, 7, 2);
    assert_string_equal(listing(c, dir), "step-000005 step-000006 step-000007");
    save_step(d, s, 8, 2);
    assert_string_equal(listing(c, dir), "step-000007 step-000008");
    /* one that only its hash betrays is known from choosing */
    flip(join(dir, "checkpoints/step-000008/model.safetensors"), -1);
    const char *path;
    weft_progress p;
    assert_int_equal(weft_checkpoint_latest(d, &path, &p), WEFT_OK);
    assert_int_equal(p.step, 7);
    save_step(d, s, 9, 2);
    assert_string_equal(listing(c, dir), "step-000007 step-000008 step-000009");
    /* the same step again replaces it; a stranger's folder is left alone */
    assert_int_equal(mkdir(join(dir, "checkpoints/mine"), 0777), 0);
    s->state[0].ready = true;
    fill_session(s, 99);
    p = progress_at(8);
    assert_int_equal(weft_checkpoint_save(d, s, &p, 2), WEFT_OK);
    assert_string_equal(listing(c, dir), "mine step-000008 step-000009");
    weft_session *t = small_session(c);
    assert_int_equal(weft_checkpoint_load(c, join(dir, "checkpoints/step-000008"), t, false, NULL),
                     WEFT_OK);
    assert_true(same_states(s, t));
    s->state[2].ready = false;
    assert_int_equal(weft_checkpoint_save(d, s, &p, 2), WEFT_INTERNAL);
    weft_run_dir_close(d);
    free_session(s);
    free_session(t);
    weft_close(c);
    remove_dir(dir);
}

/* ---- damage ---- */
static void test_skips_damaged(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    log_sink log = {0};
    weft_ctx *c = weft_open(&(weft_options){.log = keep_log, .log_user = &log});
    weft_session *s = small_session(c);
    weft_run_dir *d;
    const char *path;
    weft_progress p;
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    for (int64_t step = 1; step <= 3; step++)
        save_step(d, s, step, 3);
    flip(join(dir, "checkpoints/step-000003/optimizer.safetensors"), -1);
    assert_int_equal(weft_checkpoint_latest(d, &path, &p), WEFT_OK);
    assert_int_equal(p.step, 2);
    assert_int_equal(log.lines, 1);
    assert_non_null(strstr(log.last, "skipping a checkpoint: "));
    assert_non_null(strstr(log.last, "step-000003/optimizer.safetensors: damaged: its hash is"));
    assert_string_equal(weft_error(c), "");
    assert_int_equal(weft_checkpoint_load(c, join(dir, "checkpoints/step-000003"), s, false, &p),
                     WEFT_CORRUPT);
    weft_error_clear(c);
    assert_int_equal(unlink(join(dir, "checkpoints/step-000002/manifest.json")), 0);
    assert_int_equal(weft_checkpoint_latest(d, &path, &p), WEFT_OK);
    assert_int_equal(p.step, 1);
    assert_int_equal(truncate(join(dir, "checkpoints/step-000001/manifest.json"), 100), 0);
    assert_int_equal(weft_checkpoint_latest(d, &path, &p), WEFT_CORRUPT);
    assert_non_null(strstr(weft_error(c), "none of its 3 checkpoints is usable"));
    weft_error_clear(c);
    assert_int_equal(weft_checkpoint_load(c, join(dir, "none"), s, false, &p), WEFT_MISSING);
    weft_run_dir_close(d);
    free_session(s);
    weft_close(c);
    remove_dir(dir);
}

/* Files of two good checkpoints mixed: each is whole, together they are refused. */
static void test_mixture(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    weft_ctx *c = weft_open(NULL);
    weft_session *s = small_session(c);
    weft_run_dir *d;
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    save_step(d, s, 1, 2);
    save_step(d, s, 2, 2);
    assert_int_equal(rename(join(dir, "checkpoints/step-000001/optimizer.safetensors"),
                            join(dir, "checkpoints/step-000002/optimizer.safetensors")),
                     0);
    assert_int_equal(weft_checkpoint_load(c, join(dir, "checkpoints/step-000002"), s, false, NULL),
                     WEFT_CORRUPT);
    assert_non_null(strstr(weft_error(c), "optimizer.safetensors: damaged: its hash"));
    weft_run_dir_close(d);
    free_session(s);
    weft_close(c);
    remove_dir(dir);
}

/* A checkpoint by a later version is not damage: falling back would throw its training away. */
static void test_later_format(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path;
    weft_ctx *c = weft_open(NULL);
    weft_session *s = small_session(c);
    weft_run_dir *d;
    weft_progress p;
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    save_step(d, s, 1, 2);
    save_step(d, s, 2, 2);
    const char *file = join(dir, "checkpoints/step-000002/manifest.json");
    size_t n;
    char *text = (char *)get_file(file, &n);
    text[strcspn(text, "1")] = '2'; /* "format": 1 */
    char tail[64];
    sprintf(tail, "  \"hash\": \"%016" PRIx64 "\"\n}\n", weft_xxh64_of(text, n - 31, 0));
    memcpy(text + n - 31, tail, 31);
    put_file(file, text, n);
    free(text);
    assert_int_equal(weft_checkpoint_latest(d, &path, &p), WEFT_UNSUPPORTED);
    assert_non_null(strstr(weft_error(c), "format 2 by 1 processes, this build reads format 1"));
    weft_run_dir_close(d);
    free_session(s);
    weft_close(c);
    remove_dir(dir);
}

/* ---- another graph ---- */
static void test_other_graph(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    weft_ctx *c = weft_open(NULL);
    weft_session *s = small_session(c), *t = make_session(c);
    weft_run_dir *d;
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    save_step(d, s, 1, 2);
    add_state(t, "wte.weight", WEFT_F32, 2, (int64_t[]){3, 5}, true);
    add_state(t, "h.0.mlp.bias", WEFT_F32, 1, (int64_t[]){7}, true);
    add_state(t, "wpe.weight", WEFT_F32, 1, (int64_t[]){7}, true);
    assert_int_equal(weft_checkpoint_load(c, join(dir, "checkpoints/step-000001"), t, true, NULL),
                     WEFT_MISMATCH);
    char want[1024];
    snprintf(want, sizeof want,
             "%s/checkpoints/step-000001/model.safetensors does not fit the graph\n"
             "  1 missing: wpe.weight\n"
             "  2 not in the graph: h.0.scale, teacher.w\n"
             "  1 of another shape: wte.weight [5,3] where the graph has [3,5]",
             dir);
    assert_string_equal(weft_error(c), want);
    weft_error_clear(c);
    /* the optimizer's states are as strict */
    add_made(s, "adam.m.h.0.mlp.bias", WEFT_F32, 1, (int64_t[]){7});
    assert_int_equal(weft_checkpoint_load(c, join(dir, "checkpoints/step-000001"), s, true, NULL),
                     WEFT_OK);
    assert_int_equal(weft_checkpoint_load(c, join(dir, "checkpoints/step-000001"), s, false, NULL),
                     WEFT_MISMATCH);
    assert_non_null(strstr(weft_error(c), "1 missing: adam.m.h.0.mlp.bias"));
    weft_run_dir_close(d);
    free_session(s);
    free_session(t);
    weft_close(c);
    remove_dir(dir);
}

/* ---- roles: who made a state says what it is, not its name ---- */
/* A frozen weight of the model under a name that older versions took for a made state. */
static void test_names_say_nothing(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        const char *dir = fresh_dir();
        weft_ctx *c = weft_open(NULL);
        weft_run_dir *d;
        weft_session *s = small_session(c), *t = small_session(c), *u = small_session(c);
        weft_session *all[] = {s, t, u};
        for (int i = 0; i < 3; i++)
            add_state(all[i], "cache.x", WEFT_F32, 1, (int64_t[]){3}, false);
        if (old) /* this is where they kept it */
            s->state[s->n_state - 1].role = WEFT_ROLE_OPTIMIZER;
        fill_session(s, 1);
        fill_session(t, 2);
        fill_session(u, 3);
        assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
        save_step(d, s, 1, 2);
        const char *path = join(dir, "checkpoints/step-000001");
        if (weft_checkpoint_load(c, path, t, false, NULL) ||
            weft_checkpoint_load(c, path, u, true, NULL))
            fail_msg("%s", weft_error(c));
        const weft_state *x = &u->state[u->n_state - 1];
        assert_true(same_states(s, t));
        assert_memory_equal(x->data, s->state[s->n_state - 1].data, weft_type_bytes(&x->type));
        weft_run_dir_close(d);
        for (int i = 0; i < 3; i++)
            free_session(all[i]);
        weft_close(c);
        remove_dir(dir);
    }
}

/* Sums over micro-batches begin anew in every step: files need not hold them, and may, as older
 * versions did. */
static void test_sums_are_not_kept(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        const char *dir = fresh_dir();
        weft_ctx *c = weft_open(NULL);
        weft_run_dir *d;
        weft_session *with = small_session(c), *without = small_session(c);
        add_made(with, "acc.wte.weight", WEFT_F32, 2, (int64_t[]){5, 3});
        add_made(with, "acc.loss", WEFT_F32, 0, NULL);
        for (int i = 1; i <= 2; i++)
            with->state[with->n_state - i].role = old ? WEFT_ROLE_OPTIMIZER : WEFT_ROLE_SUM;
        fill_session(with, 1);
        fill_session(without, 2);
        assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
        save_step(d, with, 1, 2);
        save_step(d, without, 2, 2);
        for (int i = 1; i <= 2; i++)
            with->state[with->n_state - i].role = WEFT_ROLE_SUM;
        fill_session(with, 3);
        if (weft_checkpoint_load(c, join(dir, "checkpoints/step-000001"), without, false, NULL) ||
            weft_checkpoint_load(c, join(dir, "checkpoints/step-000001"), with, false, NULL) ||
            weft_checkpoint_load(c, join(dir, "checkpoints/step-000002"), with, false, NULL))
            fail_msg("%s", weft_error(c));
        weft_run_dir_close(d);
        free_session(with);
        free_session(without);
        weft_close(c);
        remove_dir(dir);
    }
}

static void test_find(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *found;
    weft_ctx *c = weft_open(NULL);
    weft_arena *a = weft_arena_new(c, 0);
    weft_session *s = small_session(c);
    weft_run_dir *d;
    assert_int_equal(weft_run_dir_open(c, join(dir, "run"), &d), WEFT_OK);
    save_step(d, s, 1, 2);
    save_step(d, s, 12, 2); /* the lock is held meanwhile: finding does not need it */
    assert_int_equal(weft_weights_find(a, join(dir, "run"), &found), WEFT_OK);
    assert_string_equal(found, join(dir, "run/checkpoints/step-000012"));
    flip(join(dir, "run/checkpoints/step-000012/model.safetensors"), 50);
    assert_int_equal(weft_weights_find(a, join(dir, "run"), &found), WEFT_OK);
    assert_string_equal(found, join(dir, "run/checkpoints/step-000001"));
    const char *same[] = {"run/checkpoints/step-000001",
                          "run/checkpoints/step-000001/model.safetensors"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(weft_weights_find(a, join(dir, same[i]), &found), WEFT_OK);
        assert_string_equal(found, join(dir, same[i]));
        assert_int_equal(weft_weights_load(s, found, ""), WEFT_OK);
    }
    assert_int_equal(weft_weights_load(s, join(dir, "run"), ""), WEFT_OK);
    assert_int_equal(weft_weights_load(s, join(dir, "run/checkpoints/step-000012"), ""),
                     WEFT_CORRUPT);
    weft_error_clear(c);
    assert_int_equal(weft_weights_find(a, join(dir, "none"), &found), WEFT_MISSING);
    weft_error_clear(c);
    assert_int_equal(weft_weights_find(a, dir, &found), WEFT_MISSING);
    assert_non_null(strstr(weft_error(c), "expected a run directory with checkpoints/"));
    weft_run_dir_close(d);
    free_session(s);
    weft_arena_free(a);
    weft_close(c);
    remove_dir(dir);
}

/* ---- the directory ---- */
/* A second process is told at once who holds the directory; when the holder is killed, the lock is
 * free. */
static void test_lock(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    int ready[2];
    char ch, want[128];
    assert_int_equal(pipe(ready), 0);
    pid_t holder = fork();
    if (!holder) {
        weft_ctx *c = weft_open(NULL);
        weft_run_dir *d;
        if (weft_run_dir_open(c, dir, &d))
            _exit(1);
        if (write(ready[1], "r", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &ch, 1), 1);
    weft_ctx *c = weft_open(NULL);
    weft_run_dir *d;
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_LOCKED);
    assert_null(d);
    snprintf(want, sizeof want, "is in use by process %ld on host ", (long)holder);
    assert_non_null(strstr(weft_error(c), want));
    assert_non_null(strstr(weft_error(c), dir));
    weft_error_clear(c);
    int status;
    assert_int_equal(kill(holder, SIGKILL), 0);
    assert_int_equal(waitpid(holder, &status, 0), holder);
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    weft_run_dir *again; /* one process twice: refused as well */
    assert_int_equal(weft_run_dir_open(c, dir, &again), WEFT_LOCKED);
    weft_run_dir_close(d);
    weft_close(c);
    close(ready[0]);
    close(ready[1]);
    remove_dir(dir);
}

/* What somebody does to the file lets nobody in: the folder is locked, too. */
static void test_lock_removed(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *lock = join(dir, "lock"), *other = join(dir, "other");
    size_t n;
    weft_ctx *c = weft_open(NULL);
    weft_run_dir *d, *second;
    put_file(other, "precious\n", 9);
    for (int how = 0; how < 4; how++) {
        assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
        assert_int_equal(unlink(lock), 0);
        if (how == 1)
            put_file(lock, "", 0);
        if (how == 2)
            assert_int_equal(symlink("other", lock), 0);
        if (how == 3)
            assert_int_equal(link(other, lock), 0);
        assert_int_equal(weft_run_dir_open(c, dir, &second), WEFT_LOCKED);
        assert_non_null(strstr(weft_error(c), how < 3 ? "another process" : "precious"));
        weft_error_clear(c);
        weft_run_dir_close(d);
        /* nobody holds it: a file is a lock, a link is refused and nothing written through it */
        assert_int_equal(weft_run_dir_open(c, dir, &d), how < 2 ? WEFT_OK : WEFT_CANTCREATE);
        if (how >= 2)
            assert_non_null(strstr(weft_error(c), "lock: is a link to another file"));
        weft_error_clear(c);
        weft_run_dir_close(d);
        unlink(lock);
    }
    unsigned char *data = get_file(other, &n);
    assert_int_equal(n, 9);
    assert_memory_equal(data, "precious\n", 9);
    free(data);
    weft_close(c);
    remove_dir(dir);
}

static int locks_files_only(void *user, int fd)
{
    (void)user;
    if (fcntl(fd, F_GETFL) & O_DIRECTORY) {
        errno = EBADF;
        return -1;
    }
    return SYS->lock(NULL, fd);
}

/* Network file systems lock what is open for writing: then it is the file alone. */
static void test_lock_of_file(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    weft_io io = weft_io_system;
    io.lock = locks_files_only;
    weft_ctx *c = weft_open(&(weft_options){.io = &io});
    weft_run_dir *d, *second;
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    assert_int_equal(weft_run_dir_open(c, dir, &second), WEFT_LOCKED);
    weft_run_dir_close(d);
    weft_close(c);
    remove_dir(dir);
}

/* What interrupted saves leave goes; what merely looks like it stays; a checkpoint moved aside
 * comes back. */
static void test_clears_up(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path;
    log_sink log = {0};
    weft_ctx *c = weft_open(&(weft_options){.log = keep_log, .log_user = &log});
    weft_session *s = small_session(c);
    weft_run_dir *d;
    weft_progress p;
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    save_step(d, s, 1, 2);
    save_step(d, s, 2, 2);
    weft_run_dir_close(d);
    assert_int_equal(mkdir(join(dir, "checkpoints/step-000003.tmp"), 0777), 0);
    put_file(join(dir, "checkpoints/step-000003.tmp/model.safetensors.77.tmp"), "x", 1);
    put_file(join(dir, "log.jsonl.123.tmp"), "x", 1);
    put_file(join(dir, "notes.tmp"), "x", 1); /* not ours */
    assert_int_equal(
        rename(join(dir, "checkpoints/step-000002"), join(dir, "checkpoints/step-000002.old.tmp")),
        0);
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    assert_string_equal(listing(c, dir), "step-000001 step-000002");
    assert_int_equal(log.lines, 2);
    assert_int_equal(access(join(dir, "log.jsonl.123.tmp"), F_OK), -1);
    assert_int_equal(access(join(dir, "notes.tmp"), F_OK), 0);
    assert_int_equal(weft_checkpoint_latest(d, &path, &p), WEFT_OK);
    assert_int_equal(p.step, 2);
    weft_run_dir_close(d);
    /* its replacement is there: the old one goes */
    assert_int_equal(
        rename(join(dir, "checkpoints/step-000001"), join(dir, "checkpoints/step-000002.old.tmp")),
        0);
    assert_int_equal(weft_run_dir_open(c, dir, &d), WEFT_OK);
    assert_string_equal(listing(c, dir), "step-000002");
    weft_run_dir_close(d);
    free_session(s);
    weft_close(c);
    remove_dir(dir);
}

static void test_cannot_create(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    weft_ctx *c = weft_open(NULL);
    weft_run_dir *d;
    put_file(join(dir, "plain"), "x", 1);
    assert_int_equal(weft_run_dir_open(c, join(dir, "plain"), &d), WEFT_CANTCREATE);
    weft_error_clear(c);
    assert_int_equal(weft_run_dir_open(c, join(dir, "plain/run"), &d), WEFT_CANTCREATE);
    weft_error_clear(c);
    assert_int_equal(weft_run_dir_open(c, "/proc/none/run", &d), WEFT_CANTCREATE);
    weft_close(c);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_skips_damaged),
        cmocka_unit_test(test_mixture),
        cmocka_unit_test(test_later_format),
        cmocka_unit_test(test_other_graph),
        cmocka_unit_test(test_names_say_nothing),
        cmocka_unit_test(test_sums_are_not_kept),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_lock_removed),
        cmocka_unit_test(test_lock_of_file),
        cmocka_unit_test(test_clears_up),
        cmocka_unit_test(test_cannot_create),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
