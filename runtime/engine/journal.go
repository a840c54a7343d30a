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

// unseal checks a row of the journal and appends its entries to dst.
func unseal(dst []machine.Entry, chunk []byte) ([]machine.Entry, error) {
	n := len(chunk) - 4
	if n < 1 {
		return nil, weft.Errorf(weft.DataLoss, "engine.unseal", "a row of the journal has %d bytes", len(chunk))
	}
	if chunk[0] != journalVersion {
		return nil, weft.Errorf(weft.FailedPrecondition, "engine.unseal", "journal format %d, this weft knows %d", chunk[0], journalVersion).
			WithHint("run the weft that wrote it, or a newer one")
	}
	if crc32.Checksum(chunk[:n], castagnoli) != binary.LittleEndian.Uint32(chunk[n:]) {
		return nil, weft.Errorf(weft.DataLoss, "engine.unseal", "a row of the journal fails its checksum")
	}
	for rest := chunk[1:n]; len(rest) > 0; {
		en, after, err := machine.DecodeEntry(rest)
		if err != nil {
			return nil, err
		}
		dst, rest = append(dst, en), after
	}
	return dst, nil
}

// entries are all durable entries of a run, in order.
func (e *Engine) entries(ctx context.Context, run string) ([]machine.Entry, error) {
	var all []machine.Entry
	err := e.db.Journal(ctx, run, func(seq int64, data []byte) (err error) {
		if seq != int64(len(all)) {
			return weft.Errorf(weft.DataLoss, "engine.Engine.entries", "the journal of run %s has entry %d where %d is due", run, seq, len(all))
		}
		all, err = unseal(all, data)
		return err
	})
	return all, err
}

func info(row store.Run) machine.Info {
	return machine.Info{RunID: row.ID, Namespace: row.Namespace}
}
