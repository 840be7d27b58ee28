/* Log what a process does to the files of one folder, so that a power loss can be played afterwards for each moment of it.
 *
 * Preloaded (LD_PRELOAD) with two variables: STEPWELL_DISKLOG_DIR is the folder watched, as an absolute path without links;
 * STEPWELL_DISKLOG_FILE the log, outside of it, which is appended to. Both must be set, or nothing is logged.
 *
 * Two names in the folder are words to this library and never reach the disk:
 *   ACK   what is written to it goes into the log as an acknowledgement, at the moment it is written;
 *   KILL  writing to it ends the process by SIGKILL, between two entries of the log.
 *
 * The calls below replace those of libc and make the system call themselves. A call that changes a file and its entry in the
 * log are one under the mutex, so the log's order is the order in which the file changed. A sync runs outside the mutex, and
 * its entry says how long the log was when the sync began: what was written while it ran is not known to be on the disk.
 *
 * An entry is the struct below, then the path, then the bytes; rebuild.py reads it. A call that would change a file unseen is
 * logged as UNSEEN, and rebuild.py refuses such a log.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(long) == 8, "system calls are made here with 64-bit offsets");

enum { CREATE = 1, MKDIR, WRITE, TRUNCATE, SYNC, SYNC_FOLDER, REMOVE, RENAME, ACK, UNSEEN };

struct entry {
    uint32_t kind;
    uint32_t path_bytes;
    uint64_t inode;
    uint64_t offset; /* WRITE: where; TRUNCATE: the new size; SYNC, SYNC_FOLDER: the log's size when the call began */
    uint64_t bytes;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_bytes;
static int log_fd = -1;

__attribute__((constructor)) static void begin(void) {
    const char *watched = getenv("STEPWELL_DISKLOG_DIR"), *log = getenv("STEPWELL_DISKLOG_FILE");
    if (!watched || !log || strlen(watched) >= sizeof folder) return;
    strcpy(folder, watched);
    folder_bytes = strlen(folder);
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) abort();
}

/* Whether the path is the folder or lies below it. */
static int is_watched(const char *path) {
    return log_fd >= 0 && strncmp(path, folder, folder_bytes) == 0 && (path[folder_bytes] == '/' || path[folder_bytes] == 0);
}

static int is_named(const char *path, const char *name) {
    return path[folder_bytes] == '/' && strcmp(path + folder_bytes + 1, name) == 0;
}

static int ends_with(const char *path, const char *end) {
    size_t have = strlen(path), want = strlen(end);
    return have >= want && strcmp(path + have - want, end) == 0;
}

/* Where an open file is. Asked of the kernel each time: a table of descriptors would miss dup and fork. */
static int path_of(int fd, char *path) {
    char link[64];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = log_fd < 0 || fd < 0 ? -1 : syscall(SYS_readlinkat, AT_FDCWD, link, path, (size_t)PATH_MAX - 1);
    errno = saved;
    if (n < 0) return 0;
    path[n] = 0;
    return is_watched(path);
}

static int path_at(int at, const char *name, char *path) {
    char base[PATH_MAX] = "";
    if (log_fd < 0) return 0;
    if (name[0] != '/') {
        if (at != AT_FDCWD) {
            if (!path_of(at, base)) return 0;
        } else if (!getcwd(base, sizeof base)) {
            return 0;
        }
    }
    int n = name[0] == '/' ? snprintf(path, PATH_MAX, "%s", name) : snprintf(path, PATH_MAX, "%s/%s", base, name);
    return n < PATH_MAX && is_watched(path);
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 ? found.st_ino : 0;
}

static void put(uint32_t kind, const char *path, uint64_t inode, uint64_t offset, const void *data, uint64_t bytes) {
    int saved = errno;
    struct entry head = {kind, path ? strlen(path) : 0, inode, offset, bytes};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)path, head.path_bytes}, {(void *)data, bytes}};
    if (syscall(SYS_writev, log_fd, parts, 3) != (ssize_t)(sizeof head + head.path_bytes + bytes)) abort();
    errno = saved;
}

static void unseen(const char *call, int fd) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return;
    pthread_mutex_lock(&mutex);
    put(UNSEEN, path, 0, 0, call, strlen(call));
    pthread_mutex_unlock(&mutex);
}

/* open */

static int open_at(int at, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    if (!path_at(at, name, path) || !(flags & (O_CREAT | O_TRUNC))) return syscall(SYS_openat, at, name, flags, mode);
    pthread_mutex_lock(&mutex);
    int saved = errno;
    int is_new = syscall(SYS_faccessat, at, name, F_OK) != 0;
    errno = saved;
    int fd = syscall(SYS_openat, at, name, flags, mode);
    if (fd >= 0 && !is_named(path, "ACK") && !is_named(path, "KILL")) {
        if (is_new) put(CREATE, path, inode_of(fd), 0, NULL, 0);
        else if (flags & O_TRUNC) put(TRUNCATE, NULL, inode_of(fd), 0, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    return fd;
}

#define OPEN(NAME, ...)                                                                                                         \
    {                                                                                                                           \
        va_list rest;                                                                                                           \
        va_start(rest, flags);                                                                                                  \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                                               \
        va_end(rest);                                                                                                           \
        return open_at(__VA_ARGS__, name, flags, mode);                                                                         \
    }
int open(const char *name, int flags, ...) OPEN(open, AT_FDCWD)
int open64(const char *name, int flags, ...) OPEN(open64, AT_FDCWD)
int openat(int at, const char *name, int flags, ...) OPEN(openat, at)
int openat64(int at, const char *name, int flags, ...) OPEN(openat64, at)
int creat(const char *name, mode_t mode) { return open_at(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return open_at(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* write */

ssize_t write(int fd, const void *data, size_t bytes) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return syscall(SYS_write, fd, data, bytes);
    pthread_mutex_lock(&mutex);
    ssize_t n = bytes;
    if (is_named(path, "ACK")) {
        put(ACK, NULL, 0, 0, data, bytes);
    } else if (is_named(path, "KILL")) {
        syscall(SYS_kill, getpid(), SIGKILL);
    } else {
        n = syscall(SYS_write, fd, data, bytes);
        if (n > 0) put(WRITE, NULL, inode_of(fd), lseek(fd, 0, SEEK_CUR) - n, data, n);
    }
    pthread_mutex_unlock(&mutex);
    return n;
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return syscall(SYS_pwrite64, fd, data, bytes, offset);
    pthread_mutex_lock(&mutex);
    ssize_t n = syscall(SYS_pwrite64, fd, data, bytes, offset);
    if (n > 0) put(WRITE, NULL, inode_of(fd), offset, data, n);
    pthread_mutex_unlock(&mutex);
    return n;
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) { return pwrite64(fd, data, bytes, offset); }

static int resize(int fd, off_t size) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&mutex);
    int result = syscall(SYS_ftruncate, fd, size);
    if (result == 0) put(TRUNCATE, NULL, inode_of(fd), size, NULL, 0);
    pthread_mutex_unlock(&mutex);
    return result;
}
int ftruncate(int fd, off_t size) { return resize(fd, size); }
int ftruncate64(int fd, off64_t size) { return resize(fd, size); }

/* sync; sync_file_range promises nothing and is none */

static int flush(int fd, long call) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return syscall(call, fd);
    struct stat found;
    fstat(fd, &found);
    pthread_mutex_lock(&mutex);
    off_t begun = lseek(log_fd, 0, SEEK_END);
    pthread_mutex_unlock(&mutex);
    int result = syscall(call, fd);
    if (result == 0) {
        pthread_mutex_lock(&mutex);
        put(S_ISDIR(found.st_mode) ? SYNC_FOLDER : SYNC, path, found.st_ino, begun, NULL, 0);
        pthread_mutex_unlock(&mutex);
    }
    return result;
}
int fsync(int fd) { return flush(fd, SYS_fsync); }
int fdatasync(int fd) { return flush(fd, SYS_fdatasync); }

/* names */

static int remove_at(int at, const char *name, int flags) {
    char path[PATH_MAX];
    if (!path_at(at, name, path)) return syscall(SYS_unlinkat, at, name, flags);
    pthread_mutex_lock(&mutex);
    int result = syscall(SYS_unlinkat, at, name, flags);
    if (result == 0) put(REMOVE, path, 0, 0, NULL, 0);
    pthread_mutex_unlock(&mutex);
    return result;
}
int unlink(const char *name) { return remove_at(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return remove_at(AT_FDCWD, name, AT_REMOVEDIR); }
int unlinkat(int at, const char *name, int flags) { return remove_at(at, name, flags); }

static int rename_at(int from_at, const char *from, int to_at, const char *to) {
    char from_path[PATH_MAX], to_path[PATH_MAX];
    int leaves = path_at(from_at, from, from_path), comes = path_at(to_at, to, to_path);
    if (!leaves && !comes) return syscall(SYS_renameat, from_at, from, to_at, to);
    pthread_mutex_lock(&mutex);
    int result = syscall(SYS_renameat, from_at, from, to_at, to);
    if (result == 0) {
        if (leaves && comes) put(RENAME, from_path, 0, 0, to_path, strlen(to_path));
        else put(UNSEEN, leaves ? from_path : to_path, 0, 0, "rename", 6);
    }
    pthread_mutex_unlock(&mutex);
    return result;
}
int rename(const char *from, const char *to) { return rename_at(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int from_at, const char *from, int to_at, const char *to) { return rename_at(from_at, from, to_at, to); }

int mkdirat(int at, const char *name, mode_t mode) {
    char path[PATH_MAX];
    if (!path_at(at, name, path)) return syscall(SYS_mkdirat, at, name, mode);
    pthread_mutex_lock(&mutex);
    int result = syscall(SYS_mkdirat, at, name, mode);
    if (result == 0) put(MKDIR, path, 0, 0, NULL, 0);
    pthread_mutex_unlock(&mutex);
    return result;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

/* what would change a file unseen */

void *mmap64(void *where, size_t bytes, int access, int flags, int fd, off64_t offset) {
    char path[PATH_MAX];
    /* SQLite's shared memory is built anew from the WAL after a power loss; what it holds never matters. */
    int is_change = (access & PROT_WRITE) && (flags & MAP_SHARED) && fd >= 0;
    if (is_change && path_of(fd, path) && !ends_with(path, "-shm")) unseen("mmap", fd);
    return (void *)syscall(SYS_mmap, where, bytes, access, flags, fd, offset);
}
void *mmap(void *where, size_t bytes, int access, int flags, int fd, off_t offset) {
    return mmap64(where, bytes, access, flags, fd, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    unseen("writev", fd);
    return syscall(SYS_writev, fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    unseen("pwritev", fd);
    return syscall(SYS_pwritev, fd, parts, count, offset, 0);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return pwritev(fd, parts, count, offset); }
int fallocate64(int fd, int mode, off64_t offset, off64_t bytes) {
    unseen("fallocate", fd);
    return syscall(SYS_fallocate, fd, mode, offset, bytes);
}
int fallocate(int fd, int mode, off_t offset, off_t bytes) { return fallocate64(fd, mode, offset, bytes); }
int posix_fallocate(int fd, off_t offset, off_t bytes) {
    unseen("posix_fallocate", fd);
    return syscall(SYS_fallocate, fd, 0, offset, bytes) ? errno : 0;
}
