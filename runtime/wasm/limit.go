package wasm

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/weftrun/weft"
)

// DefaultLimits are those of a module whose manifest names none, unless the
// host allows less.
var DefaultLimits = weft.Limits{MemoryMiB: 64, Table: 65_536, TimeoutMS: 30_000, Fuel: 2_000_000_000, OutputBytes: 1 << 20,
	LogBytes: 64 << 10, LogMinuteBytes: 1 << 20, HostCalls: 1_000, Concurrency: 32, Queue: 10_000}

// possible is what no host can allow more of.
var possible = weft.Limits{MemoryMiB: 4_096, Table: 65_536, TimeoutMS: 24 * 3_600_000, Fuel: math.MaxInt64 / 2, OutputBytes: 1 << 30,
	LogBytes: 1 << 30, LogMinuteBytes: 1 << 30, HostCalls: 1 << 30, Concurrency: 10_000, Queue: 1 << 20}

// Limit names a limit by the word that a manifest has for it. The error of a
// call that a limit ended, or refused, wraps it.
type Limit string

// The limits of a call. What is over LimitLog is dropped, and a log line says
// so; a memory or table that may not grow tells the guest -1.
const (
	LimitMemory      Limit = "memoryMiB"
	LimitTable       Limit = "table"
	LimitTimeout     Limit = "timeoutMs"
	LimitFuel        Limit = "fuel"
	LimitOutput      Limit = "outputBytes"
	LimitLog         Limit = "logBytes"
	LimitLogMinute   Limit = "logMinuteBytes"
	LimitHostCalls   Limit = "hostCalls"
	LimitConcurrency Limit = "concurrency"
	LimitQueue       Limit = "queue"
)

func (l Limit) Error() string { return "limits." + string(l) }

// exceed ends a call that is over a limit.
func exceed(l Limit, format string, args ...any) { panic(exceeded(l, format, args...)) }

// exceeded is what ends a call that is over a limit.
func exceeded(l Limit, format string, args ...any) error {
	code := weft.ResourceExhausted
	if l == LimitTimeout {
		code = weft.DeadlineExceeded
	}
	return &stopped{weft.Errorf(code, opCall, format+" (%w)", append(args, l)...), l}
}

// within fills the fields of l that are zero with the defaults, and lowers
// what is above the host's.
func within(l, host weft.Limits) weft.Limits {
	d := &DefaultLimits
	return weft.Limits{
		MemoryMiB:      bound(l.MemoryMiB, d.MemoryMiB, host.MemoryMiB),
		Table:          bound(l.Table, d.Table, host.Table),
		TimeoutMS:      bound(l.TimeoutMS, d.TimeoutMS, host.TimeoutMS),
		Fuel:           bound(l.Fuel, d.Fuel, host.Fuel),
		OutputBytes:    bound(l.OutputBytes, d.OutputBytes, host.OutputBytes),
		LogBytes:       bound(l.LogBytes, d.LogBytes, host.LogBytes),
		LogMinuteBytes: bound(l.LogMinuteBytes, d.LogMinuteBytes, host.LogMinuteBytes),
		HostCalls:      bound(l.HostCalls, d.HostCalls, host.HostCalls),
		Concurrency:    bound(l.Concurrency, d.Concurrency, host.Concurrency),
		Queue:          bound(l.Queue, d.Queue, host.Queue),
	}
}

func bound[T int | int64](v, usual, most T) T {
	if v <= 0 {
		v = usual
	}
	return min(v, most)
}

// allowed refuses limits that are below zero or above most.
func allowed(op string, l, most weft.Limits) error {
	asked, bounds, ends := reflect.ValueOf(l), reflect.ValueOf(most), reflect.ValueOf(possible)
	for i := range asked.NumField() {
		name, _, _ := strings.Cut(asked.Type().Field(i).Tag.Get("json"), ",")
		switch v, m := asked.Field(i).Int(), bounds.Field(i).Int(); {
		case v < 0:
			return weft.Errorf(weft.InvalidArgument, op, "%w is %d", Limit(name), v).WithHint("leave it out for the default")
		case v > m:
			err := weft.Errorf(weft.ResourceExhausted, op, "%w is %d, at most %d is allowed", Limit(name), v, m)
			if v > ends.Field(i).Int() {
				return err.WithHint("ask for less")
			}
			return err.WithHint("ask for less, or serve with --limit %s=%d", name, v)
		}
	}
	return nil
}

// Admit refuses the limits that a manifest asks for when the host does not
// allow them, or when the module of the report needs more than they give.
func (r *Runtime) Admit(report Report, limits weft.Limits) error {
	const op = "wasm.Runtime.Admit"
	if err := allowed(op, limits, r.opts.Limits); err != nil {
		return err
	}
	return fits(op, report.memoryPages(), report.Table, within(limits, r.opts.Limits))
}

// fits refuses a module that wants more at its start than it may have.
func fits(op string, pages, table int, limits weft.Limits) error {
	if pages > limits.MemoryMiB*16 {
		return weft.Errorf(weft.ResourceExhausted, op, "the module wants %d KiB of memory at its start, the limit is %d MiB (%w)", pages*pageKiB, limits.MemoryMiB, LimitMemory).
			WithHint("lower the module's initial memory, or raise limits.memoryMiB")
	}
	if table > limits.Table {
		return weft.Errorf(weft.ResourceExhausted, op, "the module wants a table of %d elements at its start, the limit is %d (%w)", table, limits.Table, LimitTable)
	}
	return nil
}

// minute bounds what a module logs in a minute.
type minute struct {
	mu    sync.Mutex
	began time.Time // guarded by mu
	used  int       // guarded by mu
}

// take asks for n of limit bytes. The first time in a minute that they are not
// there it says what to log.
func (m *minute) take(n, limit int, now time.Time) (ok bool, say string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.began) >= time.Minute {
		m.began, m.used = now, 0
	}
	if m.used > limit {
		return false, ""
	}
	if m.used += n; m.used > limit {
		return false, fmt.Sprintf("the module logs more than its limit of %d bytes a minute: the rest of it is dropped (%v)", limit, LimitLogMinute)
	}
	return true, ""
}

// LimitsOf are the limits that a manifest's come to: the defaults where it has
// none, and no more than this host allows.
func (r *Runtime) LimitsOf(asked weft.Limits) weft.Limits { return within(asked, r.opts.Limits) }
