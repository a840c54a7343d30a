package bench

// long weft_bench_syncs(void);
import "C"

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Syncs is how often SQLite has synced a file in this process: commits,
// checkpoints and new logs alike.
func Syncs() int64 { return int64(C.weft_bench_syncs()) }

// Fsync is what one sync of the disk under dir takes: the median of 200
// fdatasync, each after 4 KiB that are appended.
func Fsync(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "fsync")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page, times := make([]byte, 4096), make([]time.Duration, 200)
	for i := range times {
		begun := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		times[i] = time.Since(begun)
	}
	return median(times), nil
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// cpu is the processor time of this process so far.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with this argument
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rss is the memory of this process that is resident, in bytes.
func rss() (int64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("the measurements need Linux: %w", err)
	}
	var size, resident int64
	_, err = fmt.Sscan(string(text), &size, &resident)
	return resident * int64(os.Getpagesize()), err
}

// leanRSS is rss once Go has given back what it holds and does not use.
func leanRSS() (int64, error) {
	debug.FreeOSMemory()
	return rss()
}

// alive is what is alive on the heap, and the stacks, in bytes.
func alive() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// LoadAverage is how busy the machine is, as /proc/loadavg has it.
func LoadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0 // a log that is folded back and gone
	}
	return info.Size()
}

var files atomic.Int64

// unique is a name that no other file of this process has.
func unique(name string) string { return name + strconv.FormatInt(files.Add(1), 10) }

func removeFile(path string) {
	names, _ := filepath.Glob(path + "*") // the pattern is well formed
	for _, name := range names {
		os.Remove(name)
	}
}
