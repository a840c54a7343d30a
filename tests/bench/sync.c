// What SQLite calls to sync a file, counted: the functions of libc by the same
// names are never reached.
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long syncs;

int fsync(int fd) {
	atomic_fetch_add(&syncs, 1);
	return syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
	atomic_fetch_add(&syncs, 1);
	return syscall(SYS_fdatasync, fd);
}

long weft_bench_syncs(void) { return atomic_load(&syncs); }
