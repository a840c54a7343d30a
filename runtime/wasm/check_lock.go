package wasm

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// runLocked runs the child that checks, kept from all files but those it is loaded from and
// what it makes in its cell. It is the version of landlock that does it.
func (r *Runtime) runLocked(cmd *exec.Cmd, c *cell) (landlock int, err error) {
	n, err := newNest(c.code.Name(), writeRights, cmd.Path)
	if err != nil {
		return 0, err
	}
	defer n.close()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.run(cmd); err != nil {
		return n.landlock, err
	}
	return n.landlock, cmd.Wait()
}

// checkCalls are the system calls by which the child keeps what it has compiled, and those
// by which the engine makes memory executable for it.
var checkCalls = []uint32{
	unix.SYS_OPENAT, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_LSEEK, unix.SYS_FCNTL,
	unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_FSYNC,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2,
	unix.SYS_MMAP, unix.SYS_MPROTECT,
}

// lockCheck bounds this process, and takes the system calls from it that it does not need.
// It reports whether the kernel has filters for them.
func lockCheck() (seccomp bool, err error) {
	if err := limitSelf(); err != nil {
		return false, err
	}
	if seccomp, err = filterCalls("wasm.CheckMain", checkCalls...); err == nil && afterLock != nil {
		afterLock()
	}
	return seccomp, err
}
