/* disk is preloaded into a process. It records what the process does to the
 * files of one folder, in order and with the data, so that tests/chaos can say
 * what a power cut would have left; and it fails a write or a sync when told to.
 *
 * It sees what passes through libc, as SQLite's files do. Memory that is mapped
 * and not written (the -shm index) is not seen, and need not be: SQLite makes
 * the index anew from the log.
 *
 *   WEFT_DISK_DIR     the folder
 *   WEFT_DISK_RECORD  where the record goes; it must be there
 *   WEFT_DISK_FAULT   a file of one struct fault, shared with who tells
 *
 * A record is a struct head and then so many bytes of data, and reaches the
 * file by one append: whoever else appends whole records takes his place in the
 * same order. A sync is recorded twice, before and after, for a write that
 * comes in between may have missed it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS = 4096, NAME = 40 };

struct head {
  char op; /* H here, C create, W write, T truncate, B sync begins, S synced, E sync failed, U unlink */
  char name[NAME + 3];
  uint32_t len; /* of the data that follows */
  uint64_t off; /* offset; of T the size; of B, S and E the number of the sync */
};

struct fault {
  uint32_t on;    /* set last: 1 fails writes, 2 fails syncs */
  uint32_t files; /* 1 the database, 2 its log, 4 all others */
  uint32_t error; /* errno */
  int32_t skip;   /* so many go well before */
  int32_t left;   /* so many fail; below zero all that follow */
  uint32_t hits;  /* so many have failed */
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; /* holds names, owed, syncs, fault and the order of the record */
static int record = -1;
static const char *dir;
static size_t dir_len;
static char names[FDS][NAME]; /* of the files that are followed, by descriptor; "/" is the folder */
static char owed[FDS]; /* a sync of the file has failed, and this descriptor has not been told */
static uint64_t syncs;
static struct fault *fault;

static void put(char op, const char *name, uint64_t off, const void *data, uint32_t len) {
  struct head h = {.op = op, .len = len, .off = off};
  strncpy(h.name, name, NAME - 1);
  struct iovec v[2] = {{&h, sizeof h}, {(void *)data, len}};
  if (syscall(SYS_writev, record, v, 2) != (long)(sizeof h + len)) abort(); /* a record with a hole proves nothing */
}

__attribute__((constructor)) static void begin(void) {
  const char *to = getenv("WEFT_DISK_RECORD"), *page = getenv("WEFT_DISK_FAULT");
  dir = getenv("WEFT_DISK_DIR");
  if (!to || !dir || !page) return;
  dir_len = strlen(dir);
  int fd = syscall(SYS_openat, AT_FDCWD, page, O_RDWR | O_CLOEXEC, 0);
  record = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
  if (fd < 0 || record < 0) abort();
  fault = mmap(NULL, sizeof *fault, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fault == MAP_FAILED) abort();
  put('H', "", 0, NULL, 0);
}

/* end lets no write be cut off between the file and the record: a process that
 * is recorded ends by exit of libc. */
__attribute__((destructor)) static void end(void) { pthread_mutex_lock(&mu); }

/* name_of is the name of a path in the folder, "/" for the folder itself, NULL for all else. */
static const char *name_of(const char *path) {
  if (record < 0 || strncmp(path, dir, dir_len)) return NULL;
  if (!path[dir_len]) return "/";
  const char *name = path + dir_len + 1;
  size_t n = strlen(name);
  if (path[dir_len] != '/' || n >= NAME || (n > 4 && !strcmp(name + n - 4, "-shm"))) return NULL;
  return *name ? name : "/";
}

static const char *followed(int fd) { return record >= 0 && fd >= 0 && fd < FDS && names[fd][0] ? names[fd] : NULL; }

static uint32_t kind(const char *name) {
  size_t n = strlen(name);
  if (n > 3 && !strcmp(name + n - 3, ".db")) return 1;
  if (n > 4 && !strcmp(name + n - 4, "-wal")) return 2;
  return 4;
}

/* failing answers whether this write or sync must fail, and sets errno. */
static int failing(uint32_t what, const char *name) {
  if (!(__atomic_load_n(&fault->on, __ATOMIC_ACQUIRE) & what) || !(fault->files & kind(name))) return 0;
  if (fault->skip > 0) return fault->skip--, 0;
  if (!fault->left) return 0;
  if (fault->left > 0) fault->left--;
  __atomic_add_fetch(&fault->hits, 1, __ATOMIC_RELEASE);
  errno = fault->error;
  return 1;
}

static int opened(const char *path, int flags, mode_t mode) {
  const char *name = name_of(path);
  if (!name) return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  pthread_mutex_lock(&mu);
  int fresh = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
  int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  if (fd >= FDS) abort();
  if (fd >= 0) {
    strcpy(names[fd], name);
    owed[fd] = 0;
    if (fresh) put('C', name, 0, NULL, 0);
    if (flags & O_TRUNC) put('T', name, 0, NULL, 0);
  }
  pthread_mutex_unlock(&mu);
  return fd;
}

static ssize_t written(int fd, const void *data, size_t n, off_t off, int at) {
  const char *name = followed(fd);
  if (!name) return at ? syscall(SYS_pwrite64, fd, data, n, off) : syscall(SYS_write, fd, data, n);
  pthread_mutex_lock(&mu);
  ssize_t r = -1;
  if (!at) off = syscall(SYS_lseek, fd, 0, SEEK_CUR);
  if (!failing(1, name)) r = at ? syscall(SYS_pwrite64, fd, data, n, off) : syscall(SYS_write, fd, data, n);
  if (r > 0) put('W', name, off, data, r);
  pthread_mutex_unlock(&mu);
  return r;
}

static int synced(int fd, int call) {
  const char *name = followed(fd);
  if (!name) return syscall(call, fd);
  pthread_mutex_lock(&mu);
  uint64_t id = ++syncs;
  int bad = owed[fd], error = EIO;
  owed[fd] = 0;
  if (!bad && (bad = failing(2, name))) {
    error = errno;
    for (int i = 0; i < FDS; i++) owed[i] = i != fd && !strcmp(names[i], name); /* as Linux has it */
  }
  put('B', name, id, NULL, 0);
  pthread_mutex_unlock(&mu);
  int r = bad ? -1 : syscall(call, fd); /* others write meanwhile */
  if (!bad) error = errno;
  pthread_mutex_lock(&mu);
  if (!r && owed[fd]) r = -1, error = EIO, owed[fd] = 0; /* another's sync of the same writes has failed meanwhile */
  put(r ? 'E' : 'S', name, id, NULL, 0);
  pthread_mutex_unlock(&mu);
  errno = error;
  return r;
}

static int truncated(int fd, off_t size) {
  const char *name = followed(fd);
  if (!name) return syscall(SYS_ftruncate, fd, size);
  pthread_mutex_lock(&mu);
  int r = syscall(SYS_ftruncate, fd, size);
  if (!r) put('T', name, size, NULL, 0);
  pthread_mutex_unlock(&mu);
  return r;
}

static mode_t mode_of(int flags, va_list more) { return flags & O_CREAT ? va_arg(more, mode_t) : 0; }

#define OPEN(fn)                          \
  int fn(const char *path, int flags, ...) { \
    va_list more;                         \
    va_start(more, flags);                \
    mode_t mode = mode_of(flags, more);   \
    va_end(more);                         \
    return opened(path, flags, mode);     \
  }
OPEN(open)
OPEN(open64)

int close(int fd) {
  if (fd >= 0 && fd < FDS) names[fd][0] = 0;
  return syscall(SYS_close, fd);
}

ssize_t write(int fd, const void *data, size_t n) { return written(fd, data, n, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t off) { return written(fd, data, n, off, 1); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t off) { return written(fd, data, n, off, 1); }
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }
int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncated(fd, size); }

/* SQLite does neither of these. If it begins to, the record would have a hole:
 * better an end than a false proof. */
ssize_t writev(int fd, const struct iovec *v, int n) {
  if (followed(fd)) abort();
  return syscall(SYS_writev, fd, v, n);
}

int rename(const char *from, const char *to) {
  if (name_of(from) || name_of(to)) abort();
  return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
  const char *name = name_of(path);
  if (!name) return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
  pthread_mutex_lock(&mu);
  int r = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
  if (!r) put('U', name, 0, NULL, 0);
  pthread_mutex_unlock(&mu);
  return r;
}
