package engine

import (
	"context"
	"encoding/binary"
	"hash/crc32"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows/machine"
)

// A row of the journal is one byte of version, entries as machine.AppendEntry
// writes them, and the CRC-32C of all before it, four bytes little-endian.
// docs/JOURNAL.md has the whole format.
const journalVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(chunk []byte) []byte {
	return binary.LittleEndian.AppendUint32(chunk, crc32.Checksum(chunk, castagnoli))
}

// opened checks what seal has closed and gives what is inside.
func opened(chunk []byte) ([]byte, error) {
	n := len(chunk) - 4
	if n < 1 {
		return nil, weft.Errorf(weft.DataLoss, "engine.opened", "a row of the journal has %d bytes", len(chunk))
	}
	if chunk[0] != journalVersion {
		return nil, weft.Errorf(weft.FailedPrecondition, "engine.opened", "journal format %d, this weft knows %d", chunk[0], journalVersion).
			WithHint("run the weft that wrote it, or a newer one")
	}
	if crc32.Checksum(chunk[:n], castagnoli) != binary.LittleEndian.Uint32(chunk[n:]) {
		return nil, weft.Errorf(weft.DataLoss, "engine.opened", "a row of the journal fails its checksum")
	}
	return chunk[1:n], nil
}

// unseal appends the entries of a row of the journal to dst.
func unseal(dst []machine.Entry, chunk []byte) ([]machine.Entry, error) {
	rest, err := opened(chunk)
	if err != nil {
		return nil, err
	}
	for len(rest) > 0 {
		en, after, err := machine.DecodeEntry(rest)
		if err != nil {
			return nil, err
		}
		dst, rest = append(dst, en), after
	}
	return dst, nil
}

// entries are the durable entries of a run from number from on, in order.
func (e *Engine) entries(ctx context.Context, run string, from int64) ([]machine.Entry, error) {
	var all []machine.Entry
	err := e.db.Journal(ctx, run, from, func(seq int64, data []byte) (err error) {
		if due := from + int64(len(all)); seq != due {
			return weft.Errorf(weft.DataLoss, "engine.Engine.entries", "the journal of run %s has entry %d where %d is due", run, seq, due)
		}
		all, err = unseal(all, data)
		return err
	})
	return all, err
}

func info(row store.Run) machine.Info {
	return machine.Info{RunID: row.ID, Namespace: row.Namespace, Depth: row.Depth}
}

// snapshotDue reports whether the fold of the run has become long: so many
// entries, and twice the bytes of the last snapshot, so that snapshots never
// cost more than the journal. Notes of calls in progress are in the journal
// alone. The caller holds mu.
func (a *actor) snapshotDue() bool {
	return a.row.Entries-a.since >= a.e.opts.Snapshot && a.grown >= 2*a.kept && len(a.steps) == 0 && !a.m.Status().Ended()
}

// snapshot is the run up to here. The caller holds mu.
func (a *actor) snapshot() []byte {
	data := seal(a.m.AppendSnapshot([]byte{journalVersion}))
	a.since, a.grown, a.kept = a.row.Entries, 0, len(data)
	return data
}

// trimMax bounds the entries that are forgotten in one commit.
const trimMax = 4096

func (c *commit) writeSnapshot(tx *store.Tx) error {
	if err := tx.SetSnapshot(c.row.ID, c.next, c.snapshot); err != nil || !c.trim {
		return err
	}
	return tx.TrimJournal(c.row.ID, c.next, trimMax)
}

// restore begins the fold of a run at its last snapshot, if it has one.
func (a *actor) restore(ctx context.Context) error {
	seq, data, err := a.e.db.Snapshot(ctx, a.id)
	if err != nil || seq == 0 {
		return err
	}
	body, err := opened(data)
	if err != nil {
		return err
	}
	if a.m, err = machine.Restore(a.def, info(a.row), body); err != nil {
		return err
	}
	a.since, a.kept = seq, len(data)
	return nil
}
