/*
 * A slow or a broken disk for one process: loaded before the C library, it holds up each sync of a segment file for as
 * long as a disk of that rate would take for what was written to it since the last one, or fails it.
 *
 * The rate, in bytes a second, is the text of the file that SLOW_DISK_RATE names. It is read again while a sync waits,
 * so that a test can make the disk quick at once: without the file, or with 0 in it, nothing is held up. With a rate
 * below 0 each sync fails, and does nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How often a waiting sync looks at the rate, in a second. */
enum { LOOKS = 20 };

static atomic_llong unsynced;

static int is_segment(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    return length > 4 && memcmp(path + length - 4, ".seg", 4) == 0;
}

static long long rate(void)
{
    long long bytes = 0;
    const char *path = getenv("SLOW_DISK_RATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (file) {
        if (fscanf(file, "%lld", &bytes) != 1)
            bytes = 0;
        fclose(file);
    }
    return bytes;
}

/* Whether the sync of this file is to fail. */
static int is_broken(int fd)
{
    return is_segment(fd) && rate() < 0;
}

static void wait_for_disk(int fd)
{
    if (!is_segment(fd))
        return;
    long long left = atomic_exchange(&unsynced, 0);
    while (left > 0) {
        long long step = rate() / LOOKS;
        if (step <= 0)
            return;
        struct timespec pause = {0, 1000000000 / LOOKS};
        if (left < step)
            pause.tv_nsec = (long)(pause.tv_nsec * left / step);
        nanosleep(&pause, NULL);
        left -= step;
    }
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    ssize_t written = next(fd, bytes, length, offset);
    if (written > 0 && is_segment(fd))
        atomic_fetch_add(&unsynced, written);
    return written;
}

int fdatasync(int fd)
{
    int (*next)(int) = dlsym(RTLD_NEXT, "fdatasync");
    if (is_broken(fd)) {
        errno = EIO;
        return -1;
    }
    wait_for_disk(fd);
    return next(fd);
}

int fsync(int fd)
{
    int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
    if (is_broken(fd)) {
        errno = EIO;
        return -1;
    }
    wait_for_disk(fd);
    return next(fd);
}
