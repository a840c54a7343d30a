package store

import (
	"sync"
)

// State is the handlers' key-value state with versions, in memory over its
// table. A write is visible to the next reader as soon as it is submitted, and
// durable when its ticket is: since the writer commits in order, nobody's
// commit can outlive a write that it has seen.
type State struct {
	db   *DB
	max  int
	mu   sync.Mutex
	keys map[StateKey]*entry // guarded by mu
	size int                 // guarded by mu: bytes of keys and values
}

// StateKey names one value.
type StateKey struct{ Namespace, Module, Key string }

type entry struct {
	value   []byte // nil: absent
	version int64  // 0: never written
	ticket  Ticket // of the newest write
}

func newState(db *DB, max int) *State {
	return &State{db: db, max: max, keys: map[StateKey]*entry{}}
}

// Value is what a key holds: nil Bytes for nothing. Ticket is durable when what
// was read is; a response built on it waits for that.
type Value struct {
	Bytes   []byte
	Version int64
	Ticket  Ticket
}

// Get reads a key. The bytes must not be changed.
func (s *State) Get(k StateKey) (Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.load(k)
	if err != nil {
		return Value{}, err
	}
	return Value{e.value, e.version, e.ticket}, nil
}

// Set is one write: Bytes nil deletes. Seen is the version that it builds on; a
// Blind one builds on none and wins over whatever is there.
type Set struct {
	Key   StateKey
	Bytes []byte
	Seen  int64
	Blind bool
}

// Change is a set of writes whose versions have been checked. Until Submit or
// Discard, one of which must follow at once, no other state is read or written.
type Change struct {
	s    *State
	rows []stateRow
}

// Prepare checks that every key still has the version that was seen; ok is
// false, and there is no Change, when one is stale. Keys that were only read
// are passed in reads.
func (s *State) Prepare(reads map[StateKey]int64, sets []Set) (c *Change, ok bool, err error) {
	s.mu.Lock()
	defer func() {
		if c == nil {
			s.mu.Unlock()
		}
	}()
	for k, seen := range reads {
		e, err := s.load(k)
		if err != nil || e.version != seen {
			return nil, false, err
		}
	}
	rows := make([]stateRow, len(sets))
	for i, w := range sets {
		e, err := s.load(w.Key)
		if err != nil || e.version != w.Seen && !w.Blind {
			return nil, false, err
		}
		rows[i] = stateRow{Set: w, version: e.version + 1}
	}
	return &Change{s: s, rows: rows}, true, nil
}

// Discard gives the change up.
func (c *Change) Discard() { c.s.mu.Unlock() }

// Submit queues the writes together with fn; from now on they are seen. An
// error of fn ends the database, as a failed disk does: what is in memory would
// be ahead of the file. So fn must not depend on a rule.
func (c *Change) Submit(fn func(*Tx) error) Ticket {
	defer c.s.mu.Unlock()
	t := c.s.db.Submit(func(tx *Tx) error {
		for _, r := range c.rows {
			if err := r.write(tx); err != nil {
				return err
			}
		}
		if err := fn(tx); err != nil {
			return fatal{err}
		}
		return nil
	})
	if t.Err() != nil {
		return t // refused: what it would have written is seen by nobody
	}
	for _, r := range c.rows {
		e, _ := c.s.load(r.Key) // in memory since Prepare: nothing was evicted in between
		c.s.size += len(r.Bytes) - len(e.value)
		e.value, e.version, e.ticket = r.Bytes, r.version, t
	}
	c.s.evict()
	return t
}

type stateRow struct {
	Set
	version int64
}

// A deleted key keeps its row, with an empty value and a version below zero:
// versions never start again, or a stale write could pass for a fresh one.
func (r stateRow) write(tx *Tx) error {
	version := r.version
	if r.Bytes == nil {
		version = -version
	}
	_, err := tx.Exec(`insert into state(ns,module,key,version,value) values(?,?,?,?,?)
		on conflict do update set version=excluded.version, value=excluded.value`,
		r.Key.Namespace, r.Key.Module, r.Key.Key, version, append([]byte{}, r.Bytes...))
	return err
}

// reset forgets what is in memory: writes that were seen are lost.
func (s *State) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.size = map[StateKey]*entry{}, 0
}

// load finds a key in memory or in the table. The caller holds mu.
func (s *State) load(k StateKey) (*entry, error) {
	if e, ok := s.keys[k]; ok {
		return e, nil
	}
	e := &entry{}
	err := s.db.read("select version, value from state where ns=? and module=? and key=?", []any{k.Namespace, k.Module, k.Key}, func(r Row) error {
		if e.version = r.Int(0); e.version < 0 {
			e.version = -e.version
			return nil
		}
		if e.value = r.Blob(1); e.value == nil {
			e.value = []byte{}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.keys[k] = e
	s.size += k.bytes() + len(e.value)
	return e, nil
}

func (k StateKey) bytes() int { return len(k.Namespace) + len(k.Module) + len(k.Key) + 64 }

// evict drops durable values, in no particular order, until the rest fits. The caller holds mu.
func (s *State) evict() {
	for k, e := range s.keys {
		if s.size <= s.max {
			return
		}
		if e.ticket.Done() {
			s.size -= k.bytes() + len(e.value)
			delete(s.keys, k)
		}
	}
}
