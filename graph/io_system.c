/* io_system.c - the table of the operating system behind graph/io.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "graph/io.h"

static int not_regular(mode_t mode)
{
    errno = S_ISDIR(mode) ? EISDIR : EINVAL;
    return -1;
}

/* O_NONBLOCK means nothing for regular files and keeps a FIFO given as input from hanging us. */
static int system_open(void *user, const char *path, int flags, int mode)
{
    (void)user;
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
    struct stat st = {0};
    if (fd < 0 || flags & O_DIRECTORY || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
        return fd;
    close(fd);
    return not_regular(st.st_mode);
}

static int system_close(void *user, int fd)
{
    (void)user;
    return close(fd);
}

static int64_t system_read(void *user, int fd, void *buf, size_t n)
{
    (void)user;
    return read(fd, buf, n);
}

static int64_t system_pread(void *user, int fd, void *buf, size_t n, int64_t offset)
{
    (void)user;
    return pread(fd, buf, n, offset);
}

static int64_t system_write(void *user, int fd, const void *buf, size_t n)
{
    (void)user;
    return write(fd, buf, n);
}

static int system_fsync(void *user, int fd)
{
    (void)user;
    return fsync(fd);
}
static int system_truncate(void *user, int fd, int64_t n)
{
    (void)user;
    return ftruncate(fd, n);
}

static int64_t system_size(void *user, int fd)
{
    (void)user;
    struct stat st;
    if (fstat(fd, &st))
        return -1;
    return S_ISREG(st.st_mode) ? (int64_t)st.st_size : not_regular(st.st_mode);
}

static int system_rename(void *user, const char *from, const char *to)
{
    (void)user;
    return rename(from, to);
}

static int system_unlink(void *user, const char *path)
{
    (void)user;
    return unlink(path);
}
static int system_rmdir(void *user, const char *path)
{
    (void)user;
    return rmdir(path);
}

static int system_mkdir(void *user, const char *path, int mode)
{
    (void)user;
    return mkdir(path, (mode_t)mode);
}

static int system_lock(void *user, int fd)
{
    (void)user;
    return flock(fd, LOCK_EX | LOCK_NB);
}

static int system_list(void *user, const char *path, void (*each)(void *, const char *), void *arg)
{
    (void)user;
    DIR *d = opendir(path);
    if (!d)
        return -1;
    errno = 0;
    for (struct dirent *e; (e = readdir(d)); errno = 0)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            each(arg, e->d_name);
    int why = errno;
    closedir(d);
    errno = why;
    return why ? -1 : 0;
}

static int system_exists(void *user, const char *path)
{
    (void)user;
    struct stat st;
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? 2 : 1;
    return errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENAMETOOLONG ? 0 : -1;
}

static weft_file_id file_id(const struct stat *st)
{
    return (weft_file_id){
        .size = st->st_size,
        .mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
        .inode = (int64_t)st->st_ino,
        .device = (int64_t)st->st_dev,
        .links = (int64_t)st->st_nlink,
        .regular = S_ISREG(st->st_mode),
    };
}

static int system_identify(void *user, const char *path, weft_file_id *out)
{
    (void)user;
    struct stat st, own;
    if (stat(path, &st) || lstat(path, &own))
        return -1;
    *out = file_id(&st);
    out->link = S_ISLNK(own.st_mode);
    return 0;
}

static int system_inspect(void *user, int fd, weft_file_id *out)
{
    (void)user;
    struct stat st;
    if (fstat(fd, &st))
        return -1;
    *out = file_id(&st);
    return 0;
}

static int system_writable(void *user, const char *path)
{
    (void)user;
    return access(path, W_OK | X_OK);
}

static int system_cwd(void *user, char *path, size_t n)
{
    (void)user;
    return getcwd(path, n) ? 0 : -1;
}

static int64_t system_clock_ns(void *user)
{
    (void)user;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

const weft_io weft_io_system = {
    .open = system_open,
    .close = system_close,
    .read = system_read,
    .pread = system_pread,
    .write = system_write,
    .fsync = system_fsync,
    .truncate = system_truncate,
    .size = system_size,
    .rename = system_rename,
    .unlink = system_unlink,
    .rmdir = system_rmdir,
    .mkdir = system_mkdir,
    .lock = system_lock,
    .list = system_list,
    .exists = system_exists,
    .identify = system_identify,
    .writable = system_writable,
    .cwd = system_cwd,
    .inspect = system_inspect,
    .clock_ns = system_clock_ns,
};
