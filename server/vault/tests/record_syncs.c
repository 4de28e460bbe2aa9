/*
 * What one process brings to its disk, and in which order: loaded before the C library, it appends a line for each write,
 * sync, rename and removal that succeeded to the file that RECORD names: the call, a space, and the path.
 *
 * A killed process keeps what it wrote in the page cache, so only such a record shows whether it was synced.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int record = -1;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("RECORD");
    if (path)
        record = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void note(const char *call, const char *path)
{
    char line[4200];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    /* One call for each line, so that those of several threads do not mix. */
    if (record >= 0 && length > 0 && (size_t)length < sizeof line)
        (void)!syscall(SYS_write, record, line, (size_t)length);
}

static void note_file(const char *call, int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0 || path[0] != '/')
        return;
    path[length] = 0;
    note(call, path);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    ssize_t written = next(fd, bytes, length);
    if (written > 0)
        note_file("write", fd);
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    ssize_t (*next)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
    ssize_t written = next(fd, parts, count);
    if (written > 0)
        note_file("write", fd);
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    ssize_t written = next(fd, bytes, length, offset);
    if (written > 0)
        note_file("write", fd);
    return written;
}

int fdatasync(int fd)
{
    int (*next)(int) = dlsym(RTLD_NEXT, "fdatasync");
    int failed = next(fd);
    if (!failed)
        note_file("sync", fd);
    return failed;
}

int fsync(int fd)
{
    int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
    int failed = next(fd);
    if (!failed)
        note_file("sync", fd);
    return failed;
}

int rename(const char *from, const char *to)
{
    int (*next)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    int failed = next(from, to);
    if (!failed)
        note("rename", to);
    return failed;
}

int unlink(const char *path)
{
    int (*next)(const char *) = dlsym(RTLD_NEXT, "unlink");
    int failed = next(path);
    if (!failed)
        note("remove", path);
    return failed;
}
