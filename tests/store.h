/* store.h - what the storage tests share: a folder of their own, tables that fail, an allocator
 * that counts, a session made by hand. */
#ifndef WEFT_TESTS_STORE_H
#define WEFT_TESTS_STORE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/checkpoint.h"
#include "graph/op.h"

#define UNUSED __attribute__((unused))

/* ---- files ---- */
/* A new empty folder, in memory if there is such a place, as fsync to a disk would be most of the
 * time taken; the same buffer every time. */
static UNUSED const char *fresh_dir(void)
{
    static char path[64];
    snprintf(path, sizeof path, "%s/weft-test-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(path))
        abort();
    return path;
}

static UNUSED void remove_dir(const char *path)
{
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(weft_remove_tree(c, path), WEFT_OK);
    weft_close(c);
}

static UNUSED const char *join(const char *dir, const char *name)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn = (turn + 1) % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static UNUSED void put_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    if (n)
        assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* The caller frees. */
static UNUSED unsigned char *get_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    unsigned char *data = malloc(1 << 20);
    *n = fread(data, 1, 1 << 20, f);
    assert_true(*n < 1 << 20);
    fclose(f);
    return data;
}

/* ---- a log sink ---- */
typedef struct {
    int lines;
    char last[2048];
} log_sink;

static UNUSED void keep_log(void *user, const char *line)
{
    log_sink *l = user;
    l->lines++;
    snprintf(l->last, sizeof l->last, "%s", line);
}

/* ---- an allocator that fails ---- */
typedef struct {
    long calls, live, fail_at; /* fail_at 0: never */
    int forever;
} counter;

static UNUSED int counter_fails(counter *m)
{
    m->calls++;
    return m->fail_at && (m->calls == m->fail_at || (m->forever && m->calls > m->fail_at));
}

static UNUSED void *counted_alloc(void *user, size_t n)
{
    counter *m = user;
    void *p = counter_fails(m) ? NULL : malloc(n);
    m->live += p != NULL;
    return p;
}

static UNUSED void *counted_realloc(void *user, void *old, size_t n)
{
    return counter_fails(user) ? NULL : realloc(old, n);
}

static UNUSED void counted_free(void *user, void *p)
{
    counter *m = user;
    m->live -= p != NULL;
    free(p);
}

/* Fails each allocation in turn, that of the context too: `work`, which opens, uses and closes
 * things of the folder in c, says WEFT_NOMEM then and leaves nothing behind; with none left to fail
 * it is done. */
static UNUSED void fail_allocations(weft_status (*work)(weft_ctx *c, const char *path),
                                    const char *path)
{
    bool failed = true;
    for (long k = 1; failed; k++) {
        counter m = {.fail_at = k};
        weft_allocator mem = {counted_alloc, counted_realloc, counted_free, &m};
        weft_ctx *c = weft_open(&(weft_options){.allocator = &mem});
        weft_status s = c ? work(c, path) : WEFT_NOMEM;
        if (c)
            weft_close(c);
        failed = m.calls >= k;
        assert_int_equal(s, failed ? WEFT_NOMEM : WEFT_OK);
        assert_int_equal(m.live, 0);
    }
}

/* ---- an I/O table that fails ---- */
enum {
    FAULT_ERROR,
    FAULT_SHORT,
    FAULT_EXIT,
    FAULT_TORN
}; /* exit before the call; in the middle of a write */

typedef struct {
    long calls, fail_at;
    int forever, kind, error;
    int durable; /* really fsync? tests of logic do not need the disk */
    int reads;   /* only calls that change nothing are counted and fail */
} fault;

static int fault_now(fault *f)
{
    f->calls++;
    int hit = f->fail_at && (f->calls == f->fail_at || (f->forever && f->calls > f->fail_at));
    if (hit && f->kind >= FAULT_EXIT)
        _exit(9);
    return hit;
}

static int fault_error(fault *f)
{
    if (!fault_now(f) || f->kind != FAULT_ERROR)
        return 0;
    errno = f->error;
    return 1;
}

/* Of a call that changes something on the disk. */
static int fault_change(fault *f) { return f->reads ? 0 : fault_error(f); }

static size_t fault_length(fault *f, size_t n, int *fails)
{
    int hit = fault_now(f);
    *fails = hit && f->kind == FAULT_ERROR;
    errno = f->error;
    return hit && f->kind == FAULT_SHORT && n > 1 ? n / 2 : n;
}

#define SYS (&weft_io_system)

static int fault_open(void *u, const char *path, int flags, int mode)
{
    int fails = flags & O_CREAT ? fault_change(u) : fault_error(u);
    return fails ? -1 : SYS->open(NULL, path, flags, mode);
}
static int fault_close(void *u, int fd)
{
    int e = fault_change(u); /* the descriptor is gone even when close reports an error */
    int why = errno, r = SYS->close(NULL, fd);
    errno = e ? why : errno;
    return e ? -1 : r;
}
static int64_t fault_read(void *u, int fd, void *buf, size_t n)
{
    int fails;
    n = fault_length(u, n, &fails);
    return fails ? -1 : SYS->read(NULL, fd, buf, n);
}
static int64_t fault_pread(void *u, int fd, void *buf, size_t n, int64_t at)
{
    int fails;
    n = fault_length(u, n, &fails);
    return fails ? -1 : SYS->pread(NULL, fd, buf, n, at);
}
static int64_t fault_write(void *u, int fd, const void *buf, size_t n)
{
    int fails;
    fault *f = u;
    if (f->kind == FAULT_TORN && f->calls + 1 == f->fail_at)
        SYS->write(NULL, fd, buf, n / 2);
    if (f->reads)
        return SYS->write(NULL, fd, buf, n);
    n = fault_length(u, n, &fails);
    return fails ? -1 : SYS->write(NULL, fd, buf, n);
}
static int fault_fsync(void *u, int fd)
{
    if (fault_change(u))
        return -1;
    return ((fault *)u)->durable ? SYS->fsync(NULL, fd) : 0;
}
static int fault_truncate(void *u, int fd, int64_t n)
{
    return fault_change(u) ? -1 : SYS->truncate(NULL, fd, n);
}
static int64_t fault_size(void *u, int fd) { return fault_error(u) ? -1 : SYS->size(NULL, fd); }
static int fault_rename(void *u, const char *from, const char *to)
{
    return fault_change(u) ? -1 : SYS->rename(NULL, from, to);
}
static int fault_unlink(void *u, const char *p)
{
    return fault_change(u) ? -1 : SYS->unlink(NULL, p);
}
static int fault_rmdir(void *u, const char *p)
{
    return fault_change(u) ? -1 : SYS->rmdir(NULL, p);
}
static int fault_mkdir(void *u, const char *p, int mode)
{
    return fault_change(u) ? -1 : SYS->mkdir(NULL, p, mode);
}
static int fault_lock(void *u, int fd) { return fault_change(u) ? -1 : SYS->lock(NULL, fd); }
static int fault_list(void *u, const char *p, void (*each)(void *, const char *), void *arg)
{
    return fault_error(u) ? -1 : SYS->list(NULL, p, each, arg);
}
static int fault_exists(void *u, const char *p)
{
    return fault_error(u) ? -1 : SYS->exists(NULL, p);
}
static int fault_identify(void *u, const char *p, weft_file_id *id)
{
    return fault_error(u) ? -1 : SYS->identify(NULL, p, id);
}
static int fault_inspect(void *u, int fd, weft_file_id *id)
{
    return fault_error(u) ? -1 : SYS->inspect(NULL, fd, id);
}
static int64_t fault_clock(void *u)
{
    (void)u;
    return SYS->clock_ns(NULL);
}

static int fault_writable(void *u, const char *path)
{
    return fault_error(u) ? -1 : SYS->writable(NULL, path);
}
static int fault_cwd(void *u, char *path, size_t n)
{
    (void)u;
    return SYS->cwd(NULL, path, n);
}

static UNUSED weft_io fault_table(fault *f)
{
    return (weft_io){fault_open,     fault_close,   fault_read,
                     fault_pread,    fault_write,   fault_fsync,
                     fault_truncate, fault_size,    fault_rename,
                     fault_unlink,   fault_rmdir,   fault_mkdir,
                     fault_lock,     fault_list,    fault_exists,
                     fault_identify, fault_inspect, fault_writable,
                     fault_cwd,      fault_clock,   f};
}

/* ---- a session by hand ---- */
static UNUSED weft_state *add_state(weft_session *s, const char *name, weft_dtype t, int rank,
                                    const int64_t *dim, bool trainable)
{
    weft_state *st = &s->state[s->n_state];
    st->name = name;
    st->type = weft_type_make(t, rank, dim);
    st->trainable = trainable;
    st->ready = true;
    st->data = weft_arena_alloc(s->arena, weft_type_bytes(&st->type));
    assert_non_null(st->data);
    assert_true(weft_map_set(s->names, name, s->n_state++));
    return st;
}

/* One that a pass has made. */
static UNUSED void add_made(weft_session *s, const char *name, weft_dtype t, int rank,
                            const int64_t *dim)
{
    add_state(s, name, t, rank, dim, false)->role = WEFT_ROLE_OPTIMIZER;
}

static UNUSED weft_session *make_session(weft_ctx *c)
{
    weft_arena *a = weft_arena_new(c, 0);
    weft_session *s = weft_arena_alloc(a, sizeof *s);
    s->ctx = c;
    s->arena = a;
    s->names = weft_map_new(a);
    s->cap_state = 32;
    s->state = weft_arena_array(a, 32, sizeof *s->state);
    return s;
}

static UNUSED void free_session(weft_session *s) { weft_arena_free(s->arena); }

/* Four weights, one of them frozen, and the optimizer's states of another element type too. */
static UNUSED weft_session *small_session(weft_ctx *c)
{
    weft_session *s = make_session(c);
    add_state(s, "wte.weight", WEFT_F32, 2, (int64_t[]){5, 3}, true);
    add_state(s, "h.0.mlp.bias", WEFT_F32, 1, (int64_t[]){7}, true);
    add_state(s, "h.0.scale", WEFT_F32, 0, NULL, true);
    add_state(s, "teacher.w", WEFT_F32, 1, (int64_t[]){2}, false);
    add_made(s, "adam.m.wte.weight", WEFT_F32, 2, (int64_t[]){5, 3});
    add_made(s, "adam.v.wte.weight", WEFT_F32, 2, (int64_t[]){5, 3});
    add_made(s, "acc:h.0.mlp.bias", WEFT_F32, 1, (int64_t[]){7});
    add_made(s, "adam.step", WEFT_I64, 0, NULL);
    return s;
}

/* Values that differ with `step` in every element. */
static UNUSED void fill_session(weft_session *s, int64_t step)
{
    for (int i = 0; i < s->n_state; i++) {
        weft_state *st = &s->state[i];
        for (int64_t k = 0; k < weft_type_count(&st->type); k++)
            if (st->type.dtype == WEFT_I64)
                ((int64_t *)st->data)[k] = step * 1000 + k;
            else
                ((float *)st->data)[k] = (float)(step * 100 + i * 10) + (float)k / 7;
    }
}

static UNUSED int same_states(const weft_session *a, const weft_session *b)
{
    for (int i = 0; i < a->n_state; i++)
        if (memcmp(a->state[i].data, b->state[i].data, weft_type_bytes(&a->state[i].type)))
            return 0;
    return 1;
}

static UNUSED weft_progress progress_at(int64_t step)
{
    return (weft_progress){.step = step,
                           .cursor = step * 4,
                           .tokens = step * 4096,
                           .seed = ~(uint64_t)0 - 5,
                           .graph_hash = 0x8123456789abcdefu,
                           .data_hash = 42,
                           .log_bytes = step * 77,
                           .vocab = 50257,
                           .config = "{\"model_type\": \"gpt2\"}\n"};
}

#endif
