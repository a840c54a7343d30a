package wasm

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nest is where workers and checks are started: a thread of its own, which landlock keeps
// from all files but those that they are loaded from, and a folder. What is started there
// is kept from them too, all its threads, which a Go program cannot do to
// itself. The kernel ends them with the thread.
type nest struct {
	start    chan start
	ended    chan struct{}
	landlock int // the version that the kernel has, 0 for none
}

type start struct {
	cmd  *exec.Cmd
	done chan error
}

// newNest makes the thread. There is that right to the folder, and files may be read and run.
func newNest(folder string, right uint64, files ...string) (*nest, error) {
	n := &nest{start: make(chan start), ended: make(chan struct{})}
	ready := make(chan error)
	go func() {
		defer close(n.ended)
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		var err error
		n.landlock, err = keepFromFiles(folder, right, files)
		ready <- err
		if err != nil {
			return
		}
		for s := range n.start {
			s.done <- s.cmd.Start()
		}
	}()
	return n, <-ready
}

// run starts a command.
func (n *nest) run(cmd *exec.Cmd) error {
	s := start{cmd, make(chan error)}
	n.start <- s
	return <-s.done
}

// close ends the thread, and what was started there.
func (n *nest) close() {
	close(n.start)
	<-n.ended
}

// Rights to files by the version of landlock that knows them.
const (
	readRights  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeRights = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE // of files alone
	fileRights1 = 1<<13 - 1 // all of version 1: execute to make_sym
	fileRights2 = fileRights1 | unix.LANDLOCK_ACCESS_FS_REFER
	fileRights3 = fileRights2 | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	fileRights5 = fileRights3 | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// keepFromFiles keeps this thread, and what it starts, from files but the given
// ones and what this program itself is made of, from TCP, and from abstract
// sockets. It is the version of landlock that does it.
func keepFromFiles(folder string, right uint64, files []string) (int, error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, nil // the kernel has none, or it is turned off
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	rules := unix.LandlockRulesetAttr{Handled_access_fs: fileRights1}
	size := unsafe.Sizeof(rules.Handled_access_fs)
	if version >= 2 {
		rules.Handled_access_fs = fileRights2
	}
	if version >= 3 {
		rules.Handled_access_fs = fileRights3
	}
	if version >= 4 {
		rules.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size += unsafe.Sizeof(rules.Handled_access_net)
	}
	if version >= 5 {
		rules.Handled_access_fs = fileRights5
	}
	if version >= 6 {
		rules.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		size += unsafe.Sizeof(rules.Scoped)
	}
	set, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rules)), size, 0)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(int(set))
	if err := allowFile(int(set), folder, right&rules.Handled_access_fs); err != nil {
		return 0, err
	}
	for _, name := range append(files, partsOfSelf()...) {
		if err := allowFile(int(set), name, unix.LANDLOCK_ACCESS_FS_READ_FILE|unix.LANDLOCK_ACCESS_FS_EXECUTE); err != nil && !errors.Is(err, unix.ENOENT) {
			return 0, err
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); errno != 0 {
		return 0, errno
	}
	return int(version), nil
}

func allowFile(set int, name string, rights uint64) error {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return &os.PathError{Op: "allow", Path: name, Err: errno}
	}
	return nil
}

// partsOfSelf are the files that this program was loaded from, and what the
// loader of another process of it reads besides.
func partsOfSelf() []string {
	files := []string{"/proc/self/exe", "/etc/ld.so.cache"}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return files // then a program of one file can be started
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(maps)) {
		_, name, found := strings.Cut(strings.TrimSpace(line), "/")
		if name = "/" + name; found && !seen[name] && strings.Contains(line, " r-xp ") {
			seen[name] = true
			files = append(files, name)
		}
	}
	return files
}
