/* test_power_loss.c - saves, and a whole training run that is resumed once, are recorded through
 * the I/O table; then, for a power cut after every single operation, the disk is rebuilt as it
 * might be: what was not fsynced is there, gone, torn or zeros, names of a folder included.
 *
 * Model of the disk: a file's content is safe once it was fsynced; a name made, renamed or removed
 * in a folder is safe once that folder was fsynced; names of one folder reach the disk in order (as
 * journals keep them), folders and file contents in any order among each other. */
#include "tests/run.h"

/* Under a sanitizer, and for the images of whole runs, which are trained to their end. */
#if defined(__SANITIZE_ADDRESS__)
#define RUN_STRIDE 9
#else
#define RUN_STRIDE 1
#endif

/* ---- recording ---- */
typedef enum { CREATE, WRITE, SYNC, TRUNCATE, RENAME, UNLINK, MKDIR, RMDIR, SAVED } op_kind;

typedef struct {
    op_kind kind;
    char *path, *to; /* below the root, "" the root itself */
    char *data;
    size_t n;
} op;

typedef struct {
    const char *root;
    op ops[3000];
    int n;
    char *open[256]; /* path by descriptor; NULL: not below the root, only read */
} record;

static char *below(record *r, const char *path)
{
    size_t n = strlen(r->root);
    assert_memory_equal(path, r->root, n);
    return strdup(path[n] ? path + n + 1 : "");
}

static op *note(record *r, op_kind kind, char *path)
{
    assert_true(r->n < 3000);
    r->ops[r->n] = (op){.kind = kind, .path = path};
    return &r->ops[r->n++];
}

static int rec_open(void *u, const char *path, int flags, int mode)
{
    record *r = u;
    int there = SYS->exists(NULL, path), fd = SYS->open(NULL, path, flags, mode);
    if (fd >= 0) {
        assert_true(fd < 256);
        free(r->open[fd]);
        bool ours = !strncmp(path, r->root, strlen(r->root));
        r->open[fd] = ours ? below(r, path) : NULL;
        if (!there)
            note(r, CREATE, strdup(r->open[fd]));
    }
    return fd;
}
static int rec_close(void *u, int fd)
{
    (void)u;
    return SYS->close(NULL, fd);
}
static int64_t rec_read(void *u, int fd, void *b, size_t n)
{
    (void)u;
    return SYS->read(NULL, fd, b, n);
}
static int64_t rec_pread(void *u, int fd, void *b, size_t n, int64_t at)
{
    (void)u;
    return SYS->pread(NULL, fd, b, n, at);
}
static int64_t rec_write(void *u, int fd, const void *buf, size_t n)
{
    record *r = u;
    op *o = note(r, WRITE, strdup(r->open[fd]));
    o->data = malloc(n);
    memcpy(o->data, buf, n);
    o->n = n;
    return SYS->write(NULL, fd, buf, n);
}
static int rec_fsync(void *u, int fd)
{
    note(u, SYNC, strdup(((record *)u)->open[fd]));
    return 0;
}
static int rec_truncate(void *u, int fd, int64_t n)
{
    note(u, TRUNCATE, strdup(((record *)u)->open[fd]))->n = (size_t)n;
    return SYS->truncate(NULL, fd, n);
}
static int64_t rec_size(void *u, int fd)
{
    (void)u;
    return SYS->size(NULL, fd);
}
static int rec_rename(void *u, const char *from, const char *to)
{
    int r = SYS->rename(NULL, from, to);
    if (!r)
        note(u, RENAME, below(u, from))->to = below(u, to);
    return r;
}
static int rec_unlink(void *u, const char *path)
{
    int r = SYS->unlink(NULL, path);
    if (!r)
        note(u, UNLINK, below(u, path));
    return r;
}
static int rec_rmdir(void *u, const char *path)
{
    int r = SYS->rmdir(NULL, path);
    if (!r)
        note(u, RMDIR, below(u, path));
    return r;
}
static int rec_mkdir(void *u, const char *path, int mode)
{
    int r = SYS->mkdir(NULL, path, mode);
    if (!r)
        note(u, MKDIR, below(u, path));
    return r;
}
static int rec_lock(void *u, int fd)
{
    (void)u;
    return SYS->lock(NULL, fd);
}
static int rec_list(void *u, const char *p, void (*each)(void *, const char *), void *arg)
{
    (void)u;
    return SYS->list(NULL, p, each, arg);
}
static int rec_exists(void *u, const char *p)
{
    (void)u;
    return SYS->exists(NULL, p);
}
static int rec_identify(void *u, const char *p, weft_file_id *id)
{
    (void)u;
    return SYS->identify(NULL, p, id);
}
static int rec_inspect(void *u, int fd, weft_file_id *id)
{
    (void)u;
    return SYS->inspect(NULL, fd, id);
}
static int64_t rec_clock(void *u)
{
    (void)u;
    return SYS->clock_ns(NULL);
}

/* ---- the disk ---- */
typedef struct node node;
typedef struct {
    char name[64];
    node *at;
} entry;
typedef struct {
    op_kind kind; /* CREATE: add; UNLINK: remove; RENAME */
    char name[64], to[64];
    node *at;
} change;
struct node {
    bool dir;
    char *data, *safe; /* content as written, content as fsynced */
    size_t n, n_safe;
    entry now[32], kept[32]; /* of a folder: as the process sees it, as fsynced */
    int n_now, n_kept, n_pending;
    change pending[64];
};

static node nodes[1000];
static int n_nodes;

static node *new_node(bool dir)
{
    assert_true(n_nodes < 1000);
    nodes[n_nodes] = (node){.dir = dir};
    return &nodes[n_nodes++];
}

static void free_nodes(void)
{
    for (int i = 0; i < n_nodes; i++) {
        free(nodes[i].data);
        free(nodes[i].safe);
    }
    n_nodes = 0;
}

static int find_entry(const entry *e, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(e[i].name, name))
            return i;
    return -1;
}

static void apply(entry *e, int *n, const change *c)
{
    int i = find_entry(e, *n, c->name), j = c->kind == RENAME ? find_entry(e, *n, c->to) : -1;
    if (c->kind == CREATE) {
        assert_true(*n < 32);
        e[*n].at = c->at;
        strcpy(e[(*n)++].name, c->name);
        return;
    }
    if (c->kind == RENAME) {
        strcpy(e[i].name, c->to);
        i = j; /* what the new name was goes */
    }
    if (i >= 0)
        e[i] = e[--*n];
}

/* Folder of `path` in the process's view; *name its last part. */
static node *folder_of(const char *path, const char **name)
{
    node *d = &nodes[0];
    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
        char part[64] = "";
        memcpy(part, path, (size_t)(slash - path));
        int i = find_entry(d->now, d->n_now, part);
        assert_true(i >= 0);
        d = d->now[i].at;
    }
    *name = path;
    return d;
}

static node *lookup(const char *path)
{
    const char *name;
    node *d = folder_of(path, &name);
    return *name ? d->now[find_entry(d->now, d->n_now, name)].at : d;
}

static void change_name(op_kind kind, const char *path, const char *to, node *at)
{
    const char *name, *name_to = "";
    node *d = folder_of(path, &name);
    if (to)
        assert_ptr_equal(folder_of(to, &name_to), d); /* we only rename inside a folder */
    assert_true(d->n_pending < 64);
    change *c = &d->pending[d->n_pending++];
    *c = (change){.kind = kind, .at = at};
    strcpy(c->name, name);
    strcpy(c->to, name_to);
    apply(d->now, &d->n_now, c);
}

static void sync_node(node *f)
{
    for (int i = 0; i < f->n_pending; i++)
        apply(f->kept, &f->n_kept, &f->pending[i]);
    f->n_pending = 0;
    free(f->safe);
    f->safe = malloc(f->n + 1);
    if (f->n)
        memcpy(f->safe, f->data, f->n);
    f->n_safe = f->n;
}

static void perform(const op *o)
{
    node *f;
    switch (o->kind) {
    case CREATE:
        change_name(CREATE, o->path, NULL, new_node(false));
        return;
    case MKDIR:
        change_name(CREATE, o->path, NULL, new_node(true));
        return;
    case UNLINK:
    case RMDIR:
        change_name(UNLINK, o->path, NULL, NULL);
        return;
    case RENAME:
        change_name(RENAME, o->path, o->to, NULL);
        return;
    case SYNC:
        sync_node(lookup(o->path));
        return;
    case TRUNCATE:
        lookup(o->path)->n = o->n;
        return;
    case WRITE:
        f = lookup(o->path);
        f->data = realloc(f->data, f->n + o->n);
        memcpy(f->data + f->n, o->data, o->n);
        f->n += o->n;
        return;
    case SAVED:
        return;
    }
}

/* ---- the cut ---- */
enum { NOTHING, NAMES, ZEROS, ALL, RANDOM, POLICIES = RANDOM + 6 };
static uint64_t chance;
static uint64_t draw(uint64_t n)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (chance >> 33) % n;
}

/* What the disk holds of a file whose last writes were not fsynced. */
static void put_content(const char *path, const node *f, int policy)
{
    int how = policy < RANDOM ? policy : (int)draw(5);
    size_t more = f->n > f->n_safe ? f->n - f->n_safe : 0;
    char *zeros = calloc(1, f->n + 1); /* behind what was fsynced */
    if (f->n_safe && f->n)
        memcpy(zeros, f->safe, f->n < f->n_safe ? f->n : f->n_safe);
    if (how == NOTHING || how == NAMES)
        put_file(path, f->safe, f->n_safe);
    else if (how == ZEROS)
        put_file(path, zeros, f->n);
    else
        put_file(path, f->data, how == ALL ? f->n : f->n_safe + (more ? draw(more) : 0));
    free(zeros);
}

static void put_folder(const char *path, const node *d, int policy)
{
    entry e[32];
    int n = d->n_kept;
    int applied = policy == NOTHING ? 0
                  : policy < RANDOM ? d->n_pending
                                    : (int)draw((uint64_t)d->n_pending + 1);
    memcpy(e, d->kept, sizeof e);
    for (int i = 0; i < applied; i++)
        apply(e, &n, &d->pending[i]);
    for (int i = 0; i < n; i++) {
        char inner[512];
        snprintf(inner, sizeof inner, "%s/%.63s", path, e[i].name);
        if (e[i].at->dir) {
            assert_int_equal(mkdir(inner, 0777), 0);
            put_folder(inner, e[i].at, policy);
        } else {
            put_content(inner, e[i].at, policy);
        }
    }
}

/* ---- the test ---- */
/* Step, and value of the states, of each save: the last replaces a checkpoint of the same step. */
static const int64_t saves[][2] = {{1, 1}, {2, 2}, {3, 3}, {4, 4}, {4, 44}};
#define N_SAVES ((int)(sizeof saves / sizeof *saves))

static weft_io recording(record *r)
{
    return (weft_io){rec_open,           rec_close,   rec_read,
                     rec_pread,          rec_write,   rec_fsync,
                     rec_truncate,       rec_size,    rec_rename,
                     rec_unlink,         rec_rmdir,   rec_mkdir,
                     rec_lock,           rec_list,    rec_exists,
                     rec_identify,       rec_inspect, weft_io_system.writable,
                     weft_io_system.cwd, rec_clock,   r};
}

static void record_saves(record *r)
{
    weft_io io = recording(r);
    weft_ctx *c = weft_open(&(weft_options){.io = &io});
    weft_session *s = small_session(c);
    weft_run_dir *d;
    assert_int_equal(weft_run_dir_open(c, join(r->root, "run"), &d), WEFT_OK);
    for (int i = 0; i < N_SAVES; i++) {
        weft_progress p = progress_at(saves[i][0]);
        fill_session(s, saves[i][1]);
        assert_int_equal(weft_checkpoint_save(d, s, &p, 2), WEFT_OK);
        note(r, SAVED, strdup(""));
    }
    weft_run_dir_close(d);
    free_session(s);
    weft_close(c);
}

/* Which of the saves the newest good checkpoint on this disk is; -1: there is none; -2: it is none
 * of them. */
static int surviving_save(const char *root)
{
    fault quiet = {0};
    weft_io io = fault_table(&quiet);
    weft_ctx *c = weft_open(&(weft_options){.io = &io});
    weft_session *s = small_session(c), *want = small_session(c);
    weft_run_dir *d;
    const char *path;
    weft_progress p;
    int found = -2;
    assert_int_equal(weft_run_dir_open(c, join(root, "run"), &d), WEFT_OK);
    weft_status st = weft_checkpoint_latest(d, &path, &p);
    if (st == WEFT_MISSING || st == WEFT_CORRUPT)
        found = -1;
    else if (!st && !weft_checkpoint_load(c, path, s, false, &p))
        for (int i = 0; i < N_SAVES; i++) {
            fill_session(want, saves[i][1]);
            if (p.step == saves[i][0] && same_states(s, want))
                found = i;
        }
    weft_run_dir_close(d);
    free_session(s);
    free_session(want);
    weft_close(c);
    return found;
}

static void free_record(record *r)
{
    free_nodes();
    for (int i = 0; i < r->n; i++) {
        free(r->ops[i].path);
        free(r->ops[i].to);
        free(r->ops[i].data);
    }
    for (int i = 0; i < 256; i++)
        free(r->open[i]);
}

/* A save that returned is there after any power cut; one that did not is there whole or not at all.
 */
static void test_power_loss(void **state)
{
    (void)state;
    char root[64], disk[64];
    strcpy(root, fresh_dir());
    static record r;
    r.root = root;
    record_saves(&r);
    int images = 0, saved = 0;
    new_node(true);
    for (int k = 0; k <= r.n; k++) {
        for (int policy = 0; policy < POLICIES; policy++, images++) {
            chance = (uint64_t)k * 100 + (uint64_t)policy;
            strcpy(disk, fresh_dir());
            put_folder(disk, &nodes[0], policy);
            int found = surviving_save(disk);
            if (found < saved - 1 || found > saved)
                print_error("cut after %d operations, policy %d: found save %d, %d were done\n", k,
                            policy, found, saved);
            assert_in_range(found + 2, saved - 1 + 2, saved + 2);
            remove_dir(disk);
        }
        if (k < r.n) {
            perform(&r.ops[k]);
            saved += r.ops[k].kind == SAVED;
        }
    }
    assert_int_equal(saved, N_SAVES);
    assert_true(images >= 1000);
    free_record(&r);
    remove_dir(root);
}

/* ---- a whole run ---- */
static const int64_t run_saves[] = {0, 2, 4, 5, 6, 8}; /* steps; 5: where it was stopped */

static void on_save(void *user, const weft_event *e)
{
    if (e->kind == WEFT_EVENT_SAVE)
        note(user, SAVED, strdup(""));
}

/* Stopped at step 5 and resumed. */
static void record_run(record *r, const char *files)
{
    weft_io io = recording(r);
    weft_ctx *c = weft_open(&(weft_options){.io = &io});
    weft_train_options o = {.dir = join(r->root, "run"), .stop_at = 5, .event = on_save, .user = r};
    assert_int_equal(toy_train(c, files, NULL, &o), WEFT_OK);
    o.dir = join(r->root, "run");
    o.stop_at = 0;
    o.resume = WEFT_RESUME_MUST;
    assert_int_equal(toy_train(c, files, NULL, &o), WEFT_OK);
    weft_close(c);
}

typedef struct {
    int64_t first; /* the step that training went on from */
    char lost[1024];
} recovery;

static void on_start(void *user, const weft_event *e)
{
    if (e->kind == WEFT_EVENT_START)
        ((recovery *)user)->first = e->info->first_step;
}

static void keep_lost(void *user, const char *line)
{
    if (strstr(line, "lost"))
        snprintf(((recovery *)user)->lost, 1024, "%s", line);
}

/* What is on this disk is trained to the end: the same log, weights and copies of the inputs as
 * without the cut, from the last checkpoint that was saved or the one in the making. */
static void recover(const char *disk, const char *files, const char *whole, int saved)
{
    static const char *const copy[] = {"model.txtpb", "recipe.txtpb", "tokenizer.json"};
    char run[128], x[256], y[256];
    recovery rec = {.first = -1};
    fault quiet = {0};
    weft_io io = fault_table(&quiet);
    weft_ctx *c = weft_open(&(weft_options){.io = &io, .log = keep_lost, .log_user = &rec});
    snprintf(run, sizeof run, "%s/run", disk);
    weft_train_options o = {
        .dir = run, .resume = WEFT_RESUME_AUTO, .event = on_start, .user = &rec};
    weft_status s = toy_train(c, files, NULL, &o);
    if (s || *rec.lost)
        print_error("%s%s\n", weft_error(c), rec.lost);
    assert_int_equal(s, WEFT_OK);
    assert_string_equal(rec.lost, "");
    assert_true(rec.first >= run_saves[saved]);
    assert_true(rec.first <= run_saves[saved + (saved < 5)]);
    weft_close(c);
    same_runs(whole, run);
    for (int i = 0; i < 3; i++) {
        snprintf(x, sizeof x, "%s/%s", whole, copy[i]);
        snprintf(y, sizeof y, "%s/%s", run, copy[i]);
        same_content(x, y);
    }
}

static void train_whole(const char *files, const char *whole)
{
    weft_ctx *c = weft_open(NULL);
    weft_train_options o = {.dir = whole};
    assert_int_equal(toy_train(c, files, NULL, &o), WEFT_OK);
    weft_close(c);
}

static void test_run(void **state)
{
    (void)state;
    char files[64], whole[64], root[64], disk[64];
    strcpy(files, fresh_dir());
    strcpy(whole, fresh_dir());
    strcpy(root, fresh_dir());
    toy_files(files);
    train_whole(files, whole);
    static record r;
    r.root = root;
    record_run(&r, files);
    int images = 0, saved = 0;
    new_node(true);
    for (int k = 0; k <= r.n; k++) {
        for (int turn = 0; turn < 2 && k % RUN_STRIDE == 0; turn++, images++) {
            /* all that nobody synced is gone; and another of the policies */
            int policy = turn ? NAMES + k % (POLICIES - 1) : NOTHING;
            chance = (uint64_t)k;
            strcpy(disk, fresh_dir());
            put_folder(disk, &nodes[0], policy);
            recover(disk, files, whole, saved);
            remove_dir(disk);
        }
        if (k < r.n) {
            perform(&r.ops[k]);
            saved += r.ops[k].kind == SAVED;
        }
    }
    assert_int_equal(saved, 5);
    assert_true(images * RUN_STRIDE >= 400);
    free_record(&r);
    remove_dir(root);
    remove_dir(whole);
    remove_dir(files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_power_loss),
                                       cmocka_unit_test(test_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
