/* io.h - the file seam: every file operation of the library goes through this table, so that tests
 * can fail, tear or reorder any of them.  The default table calls the operating system.
 *
 * A process that may hit its file-size limit (ulimit -f) ignores SIGXFSZ, as the tool does: the
 * limit then arrives here as EFBIG and becomes an error like a full disk. */
#ifndef WEFT_IO_H
#define WEFT_IO_H

#include "graph/util.h"

/* What tells one state of a file from another. */
typedef struct {
    int64_t size, mtime_ns, inode, device, links;
    bool regular, link; /* a regular file; the path itself is a symbolic link (identify) */
} weft_file_id;

/* One call never asks for more than Linux gives at once (2^31 - 4096). */
#define WEFT_IO_MAX ((size_t)1 << 30)

/* Return values as the system calls': -1 and errno on failure. `user` is the table's. */
typedef struct weft_io {
    /* Regular files only (EISDIR, EINVAL otherwise, without blocking on a FIFO), or a folder with
     * O_DIRECTORY. The system's table adds O_CLOEXEC. */
    int (*open)(void *user, const char *path, int flags, int mode);
    int (*close)(void *user, int fd);
    int64_t (*read)(void *user, int fd, void *buf, size_t n);
    int64_t (*pread)(void *user, int fd, void *buf, size_t n, int64_t offset);
    int64_t (*write)(void *user, int fd, const void *buf, size_t n);
    int (*fsync)(void *user, int fd);
    int (*truncate)(void *user, int fd, int64_t size);
    int64_t (*size)(void *user,
                    int fd); /* bytes of a regular file; -1 with EISDIR/EINVAL otherwise */
    int (*rename)(void *user, const char *from, const char *to);
    int (*unlink)(void *user, const char *path);
    int (*rmdir)(void *user, const char *path);
    int (*mkdir)(void *user, const char *path, int mode);
    int (*lock)(void *user, int fd); /* exclusive, not waiting; EWOULDBLOCK when held */
    /* Calls each(arg, name) for every entry but "." and "..", in no order. */
    int (*list)(void *user, const char *path, void (*each)(void *arg, const char *name), void *arg);
    /* 0: nothing can be there, 1 file, 2 folder; follows links. -1: it cannot be known. */
    int (*exists)(void *user, const char *path);
    int (*identify)(void *user, const char *path, weft_file_id *out); /* follows links */
    int (*inspect)(void *user, int fd, weft_file_id *out);            /* of an open file */
    int (*writable)(void *user, const char *path); /* -1: a folder in which nothing can be made */
    int (*cwd)(void *user, char *path, size_t n);  /* the working directory, absolute */
    int64_t (*clock_ns)(void *user);               /* monotonic */
    void *user;
} weft_io;

extern const weft_io weft_io_system;

/* Records a failure from errno: "cannot <doing> <path>: <reason>". The status is `otherwise` for
 * what is wrong with the path, WEFT_IO for what may be gone at the next try. Reading (`otherwise`
 * is WEFT_MISSING): only a path at which there is nothing to read is missing (ENOENT, ENOTDIR,
 * EISDIR, EINVAL, ELOOP, ENAMETOOLONG); a file that is there and cannot be read (EACCES, EIO,
 * EMFILE ...) never counts as one that is not. Else: the faults of a device (EIO, ENOSPC, EFBIG,
 * EDQUOT, EMFILE ...) are WEFT_IO. ENOMEM is WEFT_NOMEM. */
weft_status weft_io_fail(weft_ctx *c, weft_status otherwise, const char *doing, const char *path);

/* Calls of the table, repeated while a signal interrupts them. */
/* What is at a path: *kind is 0 for nothing, 1 for a file, 2 for a folder. Where that cannot be
 * known (EACCES, EIO, EMFILE ...) it fails with WEFT_IO: nobody may take such a path for one that
 * is not there. */
weft_status weft_look(weft_ctx *c, const char *path, int *kind);
/* The same of a place that is to be written: where rights are missing it is WEFT_CANTCREATE. */
weft_status weft_look_out(weft_ctx *c, const char *path, int *kind);
/* *there: something is at the path, and *id says what; `otherwise` where it cannot be looked at. */
weft_status weft_identify(weft_ctx *c, const char *path, weft_status otherwise, weft_file_id *id,
                          bool *there);
/* *yes: a and b are there and are one file. Fails as weft_look does. */
weft_status weft_same_file(weft_ctx *c, const char *a, const char *b, bool *yes);
/* *yes: what is at `path` now is the file that `fd` was opened on. Fails as weft_look does. */
weft_status weft_is_at(weft_ctx *c, const char *path, int fd, bool *yes);
int64_t weft_size(weft_ctx *c, int fd);
int weft_open_fd(weft_ctx *c, const char *path, int flags); /* -1 with errno */
/* Opens for reading; WEFT_MISSING or WEFT_IO (weft_io_fail). Close with weft_close_fd. */
weft_status weft_open_read(weft_ctx *c, const char *path, int *fd);
void weft_close_fd(weft_ctx *c, int fd); /* of a file that was only read: nothing can be lost */
/* Whole regular file into arena memory, NUL-terminated (*n excludes the NUL). Refuses files above
 * `limit` bytes, and those that are something else by their first bytes (sniff.h): MALFORMED. */
weft_status weft_read_file(weft_arena *a, const char *path, size_t limit, char **data, size_t *n);
/* The same for bytes that may mean anything. */
weft_status weft_read_bytes(weft_arena *a, const char *path, size_t limit, char **data, size_t *n);
/* pread until all n bytes are there; short files are WEFT_MALFORMED, errors WEFT_IO. */
weft_status weft_read_at(weft_ctx *c, int fd, const char *path, void *buf, size_t n,
                         int64_t offset);
/* Writes all n bytes at the fd's position: loops over short writes and EINTR. WEFT_IO. */
weft_status weft_write_all(weft_ctx *c, int fd, const char *path, const void *data, size_t n);
/* fsync. A failure is final: what was written may be gone, and a second fsync that succeeds proves
 * nothing, so it must be written anew, to another file. WEFT_IO. */
weft_status weft_sync(weft_ctx *c, int fd, const char *path);

/* A file written under a temporary name in the same folder ("<path>.<pid>.tmp"), fsynced and
 * renamed on commit; hashes (XXH64, seed 0) while writing. After a failure of `put` the other calls
 * are safe and `commit` fails. What is no regular file (a device, a FIFO, a folder) keeps its
 * place: CANTCREATE. */
typedef struct weft_writer weft_writer;
weft_status weft_writer_open(weft_ctx *c, const char *path, weft_writer **out);
/* The same over whatever has the path. */
weft_status weft_writer_over(weft_ctx *c, const char *path, weft_writer **out);
weft_status weft_writer_put(weft_writer *w, const void *data, size_t n);
uint64_t weft_writer_hash(const weft_writer *w); /* of all bytes so far */
int64_t weft_writer_size(const weft_writer *w);
weft_status
weft_writer_commit(weft_writer *w);     /* fsync, close, rename, fsync of the folder; frees w */
void weft_writer_abort(weft_writer *w); /* removes the temporary file; frees w; NULL is fine */
weft_status weft_write_file(weft_ctx *c, const char *path, const void *data, size_t n); /* atomic */

/* ---- growing.c: a file that grows at its end while a run takes its time ---- */
typedef struct {
    weft_ctx *ctx;
    const char *path;
    int fd;
    int64_t bytes;       /* of the file and of what waits */
    weft_string waiting; /* what the disk did not take yet */
    int error;           /* errno that makes it wait; 0: nothing waits */
    bool anew;           /* an fsync failed: all goes to a new file */
} weft_growing;
/* Opens for appending, creates if needed, and makes the name durable. `path` must stay. CANTCREATE
 * or IO. Close it in any case. */
weft_status weft_growing_open(weft_ctx *c, const char *path, weft_growing *g);
/* Appends. What the disk does not take now (it is full, an error that passes) waits in memory and
 * goes first at the next call: g->error tells why. NOMEM; IO when more than 1 MiB would wait: then
 * nothing was added. */
weft_status weft_growing_add(weft_growing *g, const char *data, size_t n);
/* All of it is at its path and durable, or WEFT_IO. Where the path holds something else or nothing
 * by now it is written there anew, which the log sink is told; so is a size that it should not
 * have, which counts from then on. */
weft_status weft_growing_sync(weft_growing *g);
void weft_growing_close(weft_growing *g); /* tries once more; what is lost goes to the log sink */

/* fsync of a folder, so that names made or renamed in it survive a power loss. */
weft_status weft_sync_dir(weft_ctx *c, const char *path);
/* The folder part of `path`: "." if it has none. */
char *weft_parent_dir(weft_arena *a, const char *path);
/* One folder in one that exists, durable; fine if it is there. */
weft_status weft_make_dir(weft_ctx *c, const char *path);
/* Like mkdir -p, and durable. WEFT_CANTCREATE when something else has the name. */
weft_status weft_make_dirs(weft_ctx *c, const char *path);
/* The same for the folder that the file `path` is to be written into. */
weft_status weft_make_parent(weft_ctx *c, const char *path);
/* Like rm -rf: links are removed, not followed; a path that is not there is fine. */
weft_status weft_remove_tree(weft_ctx *c, const char *path);
/* The names in a folder, sorted, in arena memory. */
weft_status weft_list_dir(weft_arena *a, const char *path, const char ***names, int *n);
int64_t weft_now_ns(weft_ctx *c);

#endif
