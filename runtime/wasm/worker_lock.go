package wasm

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weftrun/weft"
)

// Memory that a worker may have besides its guest's.
const (
	workerHeadroom = 256 << 20 // bytes
	workerSpace    = 2 << 30   // bytes of address space, most of which the Go runtime only reserves
)

// lockDown takes from this process what a guest that has broken out could use:
// memory beyond its limit, files, the network, other processes. It reports
// whether the kernel has filters for system calls.
func lockDown(limits weft.Limits) (seccomp bool, err error) {
	<-time.After(1) // timers need files of their own, which cannot be had later
	guest := uint64(limits.MemoryMiB) << 20
	debug.SetMemoryLimit(int64(workerHeadroom/2 + 2*guest))
	// The guest's memory, and what is copied of it for the host and the output.
	more := workerHeadroom + 4*guest + 4*uint64(limits.OutputBytes)
	for _, l := range []struct {
		resource int
		max      uint64
	}{{unix.RLIMIT_AS, workerSpace + more}, {unix.RLIMIT_DATA, more}, {unix.RLIMIT_CORE, 0}, {unix.RLIMIT_FSIZE, 0}, {unix.RLIMIT_NOFILE, 0}} {
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: l.max, Max: l.max}); err != nil {
			return false, weft.Errorf(weft.Internal, "wasm.WorkerMain", "limit the worker: %w", err)
		}
	}
	// Nobody of the same user may look into it, nor it at what it had before.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return false, weft.Errorf(weft.Internal, "wasm.WorkerMain", "hide the worker: %w", err)
	}
	return filterCalls("wasm.WorkerMain")
}

// kernelCalls are the system calls that the Go runtime and the threads of libc make
// in a process that opens nothing any more.
var kernelCalls = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE, unix.SYS_EPOLL_PWAIT,
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_BRK,
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
	unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETRANDOM,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// arches are the machines whose filter is known to be right.
var arches = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// filterCalls leaves this process, all its threads, the system calls that it
// needs, and more. The others give EPERM and do not kill: a runtime or libc that tries
// something new can do without, and gets no answer either way.
func filterCalls(op string, more ...uint32) (bool, error) {
	arch, known := arches[runtime.GOARCH]
	if !known {
		return false, nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return false, weft.Errorf(weft.Internal, op, "give up new privileges: %w", err)
	}
	filter := callFilter(arch, uint32(os.Getpid()), more)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	switch {
	case errno == unix.ENOSYS || errno == unix.EINVAL || errno == unix.EPERM: // by the kernel, or by a filter around us
		return false, nil
	case errno != 0:
		return false, weft.Errorf(weft.Internal, op, "filter system calls: %w", errno)
	case thread != 0:
		return false, weft.Errorf(weft.Internal, op, "filter system calls: thread %d could not take part", thread)
	}
	return true, nil
}

// Where the kernel shows a filter what is called.
const (
	seenCall = 0
	seenArch = 4
	seenArgs = 16 // 8 bytes each, the lower half first on the arches above
)

// callFilter is the program of filterCalls.
func callFilter(arch, pid uint32, more []uint32) []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	jump := func(test uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | test, K: k, Jt: yes, Jf: no}
	}
	end := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	const allow, refuse = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	p := []unix.SockFilter{load(seenArch), jump(unix.BPF_JEQ, arch, 1, 0), end(unix.SECCOMP_RET_KILL_PROCESS), load(seenCall)}
	for _, call := range slices.Concat(kernelCalls, more) {
		p = append(p, jump(unix.BPF_JEQ, call, 0, 1), end(allow))
	}
	// when allows a call whose argument is as test says, and refuses it otherwise.
	when := func(call, argument uint32, test uint16, k uint32, is, isNot uint32) {
		p = append(p, jump(unix.BPF_JEQ, call, 0, 4), load(seenArgs+8*argument), jump(test, k, 0, 1), end(is), end(isNot))
	}
	when(unix.SYS_CLONE, 0, unix.BPF_JSET, unix.CLONE_THREAD, allow, refuse) // threads, and no processes
	when(unix.SYS_TGKILL, 0, unix.BPF_JEQ, pid, allow, refuse)
	when(unix.SYS_MMAP, 2, unix.BPF_JSET, unix.PROT_EXEC, refuse, allow) // no new code
	when(unix.SYS_MPROTECT, 2, unix.BPF_JSET, unix.PROT_EXEC, refuse, allow)
	// Its arguments cannot be seen; libc then takes clone.
	p = append(p, jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1), end(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	return append(p, end(refuse))
}
