// Package chaos proves that what weft has acknowledged survives: it records
// what the real store and engine do to their files under load, makes of the
// record what a power cut or a failing disk would have left, and opens that.
package chaos

import (
	"encoding/binary"
	"os"
	"syscall"
	"time"

	"github.com/weftrun/weft/runtime/engine"
)

// Job is what the program of tests/chaos/load is asked to do, as JSON in its
// one argument.
type Job struct {
	Do         string // prepare, open, load or finish
	DB         string // the SQLite file
	Cache      string // compiled modules
	Record     string // where acknowledgements go, between what the recorder writes
	FaultPage  string
	Sync       string
	Checkpoint time.Duration
	Name       string // begins all that the load names, so that a second load on a file is new
	Workers    int
	Rounds     int
	Fault      Fault         // told to the recorder when half of the rounds are done
	Stricken   time.Duration // in which all must end then, for the disk may have stopped it for ever
}

// Ack is something that was told to the outside. Each field stands for itself.
type Ack struct {
	Run     string        `json:",omitzero"` // has so many entries at least, and this status or a later one
	Entries int64         `json:",omitzero"`
	Status  engine.Status `json:",omitzero"`
	Output  string        `json:",omitzero"` // once completed

	Counter string `json:",omitzero"` // has come to Count at least
	Count   int    `json:",omitzero"`

	Inbox string `json:",omitzero"` // has the event of this ID
	Event string `json:",omitzero"`
	Heard string `json:",omitzero"` // a run that has had Event

	Left string `json:",omitzero"` // idempotency key of a call that has left the house
}

// Report is what the program found, as JSON on its output.
type Report struct {
	Refused  int      // requests that got an error after the fault was told
	Errors   []string // the different ones, as people see them
	Hints    int      // of Refused, with a code Unavailable and a hint
	Accepted int      // requests that went well after the fault was told
	Read     int      // runs that could be read at the end
	Unread   int
	Freed    string // what a start says once the disk is well again; empty for no error
}

// Fault is a failure of the disk. The zero Fault is none.
type Fault struct {
	Ops   uint32 // FailWrite, FailSync
	Files uint32 // OfDatabase, OfLog
	Errno syscall.Errno
	Skip  int32 // so many go well before
	Left  int32 // so many fail; below zero all that follow
}

// The bits of Fault.
const (
	FailWrite uint32 = 1
	FailSync  uint32 = 2

	OfDatabase uint32 = 1
	OfLog      uint32 = 2
)

// faultSize is that of struct fault in recorder/disk.c.
const faultSize = 24

// Tell writes the fault to the page that the recorder shares. Its first word
// is written last: it is the one that counts.
func (f Fault) Tell(page string) error {
	file, err := os.OpenFile(page, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	words := binary.NativeEndian.AppendUint32(nil, f.Files)
	for _, w := range []uint32{uint32(f.Errno), uint32(f.Skip), uint32(f.Left)} {
		words = binary.NativeEndian.AppendUint32(words, w)
	}
	if _, err := file.WriteAt(words, 4); err != nil {
		return err
	}
	_, err = file.WriteAt(binary.NativeEndian.AppendUint32(nil, f.Ops), 0)
	return err
}

// Hits is how often a fault has struck.
func Hits(page string) (int, error) {
	data, err := os.ReadFile(page)
	if err != nil {
		return 0, err
	}
	return int(binary.NativeEndian.Uint32(data[faultSize-4:])), nil
}
