/* memory_io.c - the file seam over a table in memory: no disk, the same for every run. */
#include <errno.h>
#include <fcntl.h>

#include "tests/fuzz/fuzz.h"

enum { FILES = 128, HANDLES = 64, PATH_BYTES = 512 };

typedef struct {
    char path[PATH_BYTES]; /* normal form; "": removed, but perhaps open */
    uint8_t *data;
    size_t n, cap;
    int64_t inode, changed;
    int handles;
    bool used, folder;
} entry;

typedef struct {
    entry *e;
    int64_t at;
    int flags;
} handle;

static entry table[FILES];
static handle handles[HANDLES];
static int64_t ticks;

/* ---- names ---- */
/* Without "//", "." and ".."; "" is the folder of everything, absolute or not. */
static bool normal(const char *path, char out[PATH_BYTES])
{
    size_t n = 0;
    if (strlen(path) >= PATH_BYTES) {
        errno = ENAMETOOLONG;
        return false;
    }
    while (*path) {
        size_t k = strcspn(path, "/");
        if (k == 2 && path[0] == '.' && path[1] == '.') {
            while (n && out[n - 1] != '/')
                n--;
            n -= n > 0;
        } else if (k && !(k == 1 && *path == '.')) {
            if (n)
                out[n++] = '/';
            memcpy(out + n, path, k);
            n += k;
        }
        path += k + (path[k] == '/');
    }
    out[n] = 0;
    return true;
}

static entry *find(const char *name)
{
    for (int i = 0; i < FILES; i++)
        if (table[i].used && *table[i].path && !strcmp(table[i].path, name))
            return &table[i];
    return NULL;
}

/* Is `name` below the folder? */
static const char *below(const char *folder, const char *name)
{
    size_t n = strlen(folder);
    if (!n)
        return name;
    return !strncmp(folder, name, n) && name[n] == '/' ? name + n + 1 : NULL;
}

/* 0 no, 1 file, 2 folder */
static int kind_of(const char *name)
{
    const entry *e = find(name);
    return !*name ? 2 : !e ? 0 : e->folder ? 2 : 1;
}

static int parent_kind(const char *name)
{
    char parent[PATH_BYTES];
    const char *slash = strrchr(name, '/');
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - name) : 0, name);
    return kind_of(parent);
}

static entry *make(const char *name, bool folder)
{
    if (parent_kind(name) != 2) {
        errno = parent_kind(name) ? ENOTDIR : ENOENT;
        return NULL;
    }
    for (int i = 0; i < FILES; i++)
        if (!table[i].used) {
            table[i] = (entry){.used = true, .folder = folder, .inode = ++ticks, .changed = 1};
            snprintf(table[i].path, sizeof table[i].path, "%s", name);
            return &table[i];
        }
    errno = ENOSPC;
    return NULL;
}

static void drop(entry *e)
{
    *e->path = 0;
    if (!e->handles) {
        free(e->data);
        *e = (entry){0};
    }
}

static int fail(int why)
{
    errno = why;
    return -1;
}

static bool resize(entry *e, size_t n)
{
    if (n > e->cap) {
        size_t cap = n * 2 + 64;
        uint8_t *data = realloc(e->data, cap);
        if (!data)
            return false;
        e->data = data;
        e->cap = cap;
    }
    if (n > e->n)
        memset(e->data + e->n, 0, n - e->n);
    e->n = n;
    e->changed = ++ticks;
    return true;
}

/* ---- the table ---- */
static handle *handle_of(int fd)
{
    handle *h = fd >= 3 && fd < HANDLES ? &handles[fd] : NULL;
    FUZZ_REQUIRE(h && h->e, "descriptor %d is not open", fd);
    return h;
}

static int memory_open(void *user, const char *path, int flags, int mode)
{
    char name[PATH_BYTES];
    (void)user, (void)mode;
    if (!*path)
        return fail(ENOENT);
    if (!normal(path, name))
        return -1;
    static entry root = {.used = true, .folder = true};
    entry *e = *name ? find(name) : &root;
    if (!e && !(flags & O_CREAT))
        return fail(parent_kind(name) == 1 ? ENOTDIR : ENOENT);
    if (e && (flags & O_CREAT) && (flags & O_EXCL))
        return fail(EEXIST);
    if (e && e->folder != !!(flags & O_DIRECTORY))
        return fail(e->folder ? EISDIR : ENOTDIR);
    if (!e && !(e = make(name, false)))
        return -1;
    if (flags & O_TRUNC)
        resize(e, 0);
    for (int fd = 3; fd < HANDLES; fd++)
        if (!handles[fd].e) {
            handles[fd] = (handle){e, 0, flags};
            e->handles++;
            return fd;
        }
    return fail(EMFILE);
}

static int memory_close(void *user, int fd)
{
    (void)user;
    handle *h = handle_of(fd);
    entry *e = h->e;
    h->e = NULL;
    if (!--e->handles && e->used && !*e->path && e->inode)
        drop(e);
    return 0;
}

static int64_t memory_pread(void *user, int fd, void *buf, size_t n, int64_t at)
{
    (void)user;
    const entry *e = handle_of(fd)->e;
    if (at < 0)
        return fail(EINVAL);
    if ((uint64_t)at >= e->n)
        return 0;
    n = n < e->n - (size_t)at ? n : e->n - (size_t)at;
    if (n)
        memcpy(buf, e->data + at, n);
    return (int64_t)n;
}

static int64_t memory_read(void *user, int fd, void *buf, size_t n)
{
    handle *h = handle_of(fd);
    int64_t got = memory_pread(user, fd, buf, n, h->at);
    h->at += got;
    return got;
}

static int64_t memory_write(void *user, int fd, const void *buf, size_t n)
{
    (void)user;
    handle *h = handle_of(fd);
    size_t at = h->flags & O_APPEND ? h->e->n : (size_t)h->at;
    if ((h->flags & O_ACCMODE) == O_RDONLY)
        return fail(EBADF);
    if (n > (64 << 20) || at > (64 << 20) || (at + n > h->e->n && !resize(h->e, at + n)))
        return fail(ENOSPC);
    if (n)
        memcpy(h->e->data + at, buf, n);
    h->at = (int64_t)(at + n);
    h->e->changed = ++ticks;
    return (int64_t)n;
}

static int memory_fsync(void *user, int fd)
{
    (void)user;
    handle_of(fd);
    return 0;
}

static int memory_truncate(void *user, int fd, int64_t n)
{
    (void)user;
    if (n < 0 || n > (64 << 20) || !resize(handle_of(fd)->e, (size_t)n))
        return fail(EINVAL);
    return 0;
}

static int64_t memory_size(void *user, int fd)
{
    (void)user;
    const entry *e = handle_of(fd)->e;
    return e->folder ? fail(EISDIR) : (int64_t)e->n;
}

/* A folder is renamed with all that is below it. */
static int memory_rename(void *user, const char *from, const char *to)
{
    char a[PATH_BYTES], b[PATH_BYTES], moved[2 * PATH_BYTES];
    (void)user;
    if (!normal(from, a) || !normal(to, b))
        return -1;
    entry *e = find(a), *old = find(b);
    if (!e || parent_kind(b) != 2)
        return fail(ENOENT);
    if (old && old != e) {
        if (old->folder != e->folder)
            return fail(old->folder ? EISDIR : ENOTDIR);
        for (int i = 0; old->folder && i < FILES; i++)
            if (table[i].used && *table[i].path && below(b, table[i].path))
                return fail(ENOTEMPTY);
        drop(old);
    }
    for (int i = 0; i < FILES; i++) {
        const char *rest = table[i].used && *table[i].path ? below(a, table[i].path) : NULL;
        if (!rest)
            continue;
        if (snprintf(moved, sizeof moved, "%s/%s", b, rest) >= PATH_BYTES)
            return fail(ENAMETOOLONG);
        memcpy(table[i].path, moved, strlen(moved) + 1);
    }
    memcpy(e->path, b, sizeof b);
    return 0;
}

static int remove_kind(const char *path, bool folder)
{
    char name[PATH_BYTES];
    if (!normal(path, name))
        return -1;
    entry *e = find(name);
    if (!e)
        return fail(ENOENT);
    if (e->folder != folder)
        return fail(folder ? ENOTDIR : EISDIR);
    for (int i = 0; folder && i < FILES; i++)
        if (table[i].used && *table[i].path && below(name, table[i].path))
            return fail(ENOTEMPTY);
    drop(e);
    return 0;
}

static int memory_unlink(void *user, const char *path)
{
    (void)user;
    return remove_kind(path, false);
}

static int memory_rmdir(void *user, const char *path)
{
    (void)user;
    return remove_kind(path, true);
}

static int memory_mkdir(void *user, const char *path, int mode)
{
    char name[PATH_BYTES];
    (void)user, (void)mode;
    if (!normal(path, name))
        return -1;
    if (kind_of(name))
        return fail(EEXIST);
    return make(name, true) ? 0 : -1;
}

static int memory_lock(void *user, int fd)
{
    (void)user;
    handle_of(fd);
    return 0;
}

static int memory_list(void *user, const char *path, void (*each)(void *arg, const char *name),
                       void *arg)
{
    char name[PATH_BYTES];
    (void)user;
    if (!normal(path, name))
        return -1;
    if (kind_of(name) != 2)
        return fail(kind_of(name) ? ENOTDIR : ENOENT);
    for (int i = 0; i < FILES; i++) {
        const char *rest = table[i].used && *table[i].path ? below(name, table[i].path) : NULL;
        if (rest && !strchr(rest, '/'))
            each(arg, rest);
    }
    return 0;
}

static int memory_exists(void *user, const char *path)
{
    char name[PATH_BYTES];
    (void)user;
    if (!*path)
        return 0;
    return normal(path, name) ? kind_of(name) : -1;
}

static weft_file_id id_of(const entry *e)
{
    return (weft_file_id){.size = (int64_t)e->n,
                          .mtime_ns = e->changed,
                          .inode = e->inode,
                          .device = 1,
                          .links = *e->path != 0};
}

static int memory_inspect(void *user, int fd, weft_file_id *out)
{
    (void)user;
    *out = id_of(handle_of(fd)->e);
    return 0;
}

static int memory_identify(void *user, const char *path, weft_file_id *out)
{
    char name[PATH_BYTES];
    (void)user;
    const entry *e = *path && normal(path, name) ? find(name) : NULL;
    if (!e)
        return fail(ENOENT);
    *out = id_of(e);
    return 0;
}

static int memory_writable(void *user, const char *path)
{
    (void)user;
    (void)path;
    return 0;
}

static int memory_cwd(void *user, char *path, size_t n)
{
    (void)user;
    if (n < 2)
        return fail(ERANGE);
    memcpy(path, "/", 2);
    return 0;
}

static int64_t memory_clock(void *user)
{
    (void)user;
    return ++ticks * 1000000;
}

const weft_io fuzz_io = {
    .open = memory_open,
    .close = memory_close,
    .read = memory_read,
    .pread = memory_pread,
    .write = memory_write,
    .fsync = memory_fsync,
    .truncate = memory_truncate,
    .size = memory_size,
    .rename = memory_rename,
    .unlink = memory_unlink,
    .rmdir = memory_rmdir,
    .mkdir = memory_mkdir,
    .lock = memory_lock,
    .list = memory_list,
    .exists = memory_exists,
    .identify = memory_identify,
    .inspect = memory_inspect,
    .writable = memory_writable,
    .cwd = memory_cwd,
    .clock_ns = memory_clock,
};

/* ---- for the targets ---- */
void fuzz_file(const char *path, const void *data, size_t n)
{
    char name[PATH_BYTES], folder[PATH_BYTES];
    FUZZ_REQUIRE(normal(path, name) && *name, "not a name for a file");
    for (char *p = strchr(name, '/'); p; p = strchr(p + 1, '/')) {
        snprintf(folder, sizeof folder, "%.*s", (int)(p - name), name);
        if (!kind_of(folder))
            make(folder, true);
    }
    entry *e = find(name);
    if (!e)
        e = make(name, false);
    if (!e || e->folder || !resize(e, n))
        return; /* a name inside a file, or too many of them: it is not there */
    if (n)
        memcpy(e->data, data, n);
}

const uint8_t *fuzz_content(const char *path, size_t *n)
{
    char name[PATH_BYTES];
    const entry *e = normal(path, name) ? find(name) : NULL;
    static const uint8_t none[1];
    *n = e ? e->n : 0;
    return !e || e->folder ? NULL : e->data ? e->data : none;
}

int fuzz_files_open(void)
{
    int n = 0;
    for (int i = 0; i < HANDLES; i++)
        n += handles[i].e != NULL;
    return n;
}

void fuzz_files_clear(void)
{
    memset(handles, 0, sizeof handles);
    for (int i = 0; i < FILES; i++) {
        free(table[i].data);
        table[i] = (entry){0};
    }
    ticks = 0;
}
