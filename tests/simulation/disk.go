package simulation

import (
	"math/rand/v2"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/weftrun/weft/store"
)

// disk is what may go wrong beside a crash: the disk of every third world is
// full for a while, and fails a sync, and in some lives there is little room.
type disk struct {
	w    *world
	ails bool
	r    *rand.Rand

	full  time.Time // guarded by w.mu: no room until then
	fails bool      // guarded by w.mu: the next commit is not synced
	age   int       // guarded by w.mu: counts what forgets: each life, and each time without room
}

func newDisk(w *world) *disk {
	r := rand.New(rand.NewPCG(w.seed, 6))
	return &disk{w: w, ails: r.IntN(3) == 0, r: r}
}

// ail has something go wrong.
func (d *disk) ail() {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if d.r.IntN(3) == 0 {
		d.fails = true
		return
	}
	d.full = time.Now().Add(time.Duration(1 + d.r.IntN(int([]time.Duration{time.Second, 20 * time.Second}[d.r.IntN(2)]))))
}

// heal has the disk fail no more.
func (d *disk) heal() {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.ails, d.fails, d.full = false, false, time.Time{}
}

// spaceMin is little more than nothing, or now and then more than there is.
func (d *disk) spaceMin() (bytes int64, tight bool) {
	if d.ails && d.r.IntN(6) == 0 {
		return 1 << 60, true
	}
	return 1, false
}

// commit is why the disk does not take a commit.
func (d *disk) commit(p *process, m store.Moment) error {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	switch {
	case d.fails && (m == store.AfterCommit || d.w.chance(2, "fails", p.n) == 0): // it is in the file all the same, or is not
		d.fails, p.broken = false, true
		return sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrFsync}
	case m == store.BeforeCommit && time.Now().Before(d.full):
		return sqlite3.Error{Code: sqlite3.ErrFull}
	}
	return nil
}

// aged notes that from now on a call may be made again.
func (d *disk) aged() {
	d.w.mu.Lock()
	d.age++
	d.w.mu.Unlock()
}

func (d *disk) is() int {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	return d.age
}

// watch notes when the process has failed, and when it goes on.
func (d *disk) watch(p *process) {
	p.db.OnFailure(store.Failure{
		Failed: func() {
			d.w.ill()
			d.aged()
			if !p.isDead() {
				d.w.happened("%d the disk fails: %v", p.n, p.db.Err())
			}
		},
		Lost: d.aged,
		Again: func() {
			d.w.happened("%d the disk has room", p.n)
			if p.life.Err() == nil { // one that ends starts nothing any more
				d.w.well()
			}
		},
	})
}

// isBroken reports whether only another process can go on from the file.
func (p *process) isBroken() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.broken
}
