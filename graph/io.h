/* io.h - the file seam: every file operation of the library goes through this table, so that tests can fail, tear or
 * reorder any of them.  The default table calls the operating system. */
#ifndef WEFT_IO_H
#define WEFT_IO_H

#include "graph/util.h"

/* Return values as the system calls': -1 and errno on failure. `user` is the table's. */
typedef struct weft_io {
    int (*open)(void *user, const char *path, int flags, int mode);
    int (*close)(void *user, int fd);
    int64_t (*read)(void *user, int fd, void *buf, size_t n);
    int64_t (*pread)(void *user, int fd, void *buf, size_t n, int64_t offset);
    int64_t (*write)(void *user, int fd, const void *buf, size_t n);
    int (*fsync)(void *user, int fd);
    int64_t (*size)(void *user, int fd);          /* bytes of a regular file; -1 with EISDIR/EINVAL otherwise */
    int (*rename)(void *user, const char *from, const char *to);
    int (*unlink)(void *user, const char *path);
    int (*rmdir)(void *user, const char *path);
    int (*mkdir)(void *user, const char *path, int mode);
    int (*lock)(void *user, int fd);              /* exclusive, not waiting; EWOULDBLOCK when held */
    int (*list)(void *user, const char *path, void (*each)(void *arg, const char *name), void *arg);
    int (*exists)(void *user, const char *path);  /* 0 no, 1 file, 2 folder, -1 error */
    int64_t (*clock_ns)(void *user);              /* monotonic */
    void *user;
} weft_io;

extern const weft_io weft_io_system;

/* Whole regular file into arena memory, NUL-terminated (*n excludes the NUL). Refuses files above `limit` bytes. */
weft_status weft_read_file(weft_arena *a, const char *path, size_t limit, char **data, size_t *n);
/* pread until all n bytes are there; short files are WEFT_MALFORMED, errors WEFT_IO. */
weft_status weft_read_at(weft_ctx *c, int fd, const char *path, void *buf, size_t n, int64_t offset);

/* A file written under a temporary name in the same folder, fsynced and renamed on commit; hashes while writing. */
typedef struct weft_writer weft_writer;
weft_status weft_writer_open(weft_ctx *c, const char *path, weft_writer **out);
weft_status weft_writer_put(weft_writer *w, const void *data, size_t n);
uint64_t weft_writer_hash(const weft_writer *w);  /* of all bytes so far */
int64_t weft_writer_size(const weft_writer *w);
weft_status weft_writer_commit(weft_writer *w);   /* fsync, close, rename, fsync of the folder; frees w */
void weft_writer_abort(weft_writer *w);           /* removes the temporary file; frees w */
weft_status weft_write_file(weft_ctx *c, const char *path, const void *data, size_t n); /* atomic */
weft_status weft_make_dirs(weft_ctx *c, const char *path);
weft_status weft_remove_tree(weft_ctx *c, const char *path);
int64_t weft_now_ns(weft_ctx *c);

#endif
