package wasm

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// MailboxExport is what a module exports that has its input and gives its output
// without a call of the host; docs/ABI.md.
const MailboxExport = "weft_mailbox"

// A mailbox is six words in the memory of a guest, which does not move. They are the
// guest's, too: nothing that they say is believed.
const (
	mailServed  = 4 * iota // 1 where the host looks at them
	mailRoom               // where an input may lie
	mailRoomFor            // how many bytes of it
	mailIn                 // bytes of the input that lie there
	mailOut                // where the output lies
	mailOutLen             // bytes of it
	mailboxSize
)

// mailboxFits refuses an export of the name that is something else.
func mailboxFits(info meter.Info) error {
	for _, e := range info.Exports {
		if s := e.Signature; e.Name == MailboxExport && (len(s.Params) > 0 || !slices.Equal(s.Results, types(i32))) {
			return weft.Errorf(weft.InvalidArgument, "wasm.CheckMain", "the export %s is %v, it must be () -> (i32)", e.Name, s)
		}
	}
	return nil
}

// hasMailbox reports whether a module that fits has one that the host may look into.
func hasMailbox(info meter.Info) bool {
	return wayOf(info) == Handlers && slices.ContainsFunc(info.Exports, func(e meter.Function) bool { return e.Name == MailboxExport })
}

// openMailbox asks a new instance where it has one. In that of an isolated guest it
// does not look: to touch a page takes longer there than to call the host.
func (i *instance) openMailbox(ctx context.Context) error {
	if i.m.way != Handlers {
		return nil
	}
	f := i.mod.ExportedFunction(MailboxExport)
	if f == nil {
		return nil
	}
	i.f = f
	defer func() { i.f = nil }()
	var at [1]uint64
	if err := f.CallWithStack(ctx, at[:]); err != nil {
		return i.failure(MailboxExport, err)
	}
	box, ok := i.memory.view(uint32(at[0]), mailboxSize)
	if !ok {
		return weft.Errorf(weft.Internal, opCall, "the module's mailbox is at %#x, which is not in its memory", uint32(at[0]))
	}
	if !i.m.isolated {
		i.mailbox = (*[mailboxSize]byte)(box)
		i.mail(mailServed, 1)
		i.mail(mailIn, 0)
		i.mail(mailOutLen, 0)
	}
	return nil
}

func (i *instance) mail(word int, v uint32) { binary.LittleEndian.PutUint32(i.mailbox[word:], v) }
func (i *instance) mailed(word int) uint32  { return binary.LittleEndian.Uint32(i.mailbox[word:]) }

// deliver puts an input into the guest's room, if it fits.
func (i *instance) deliver(in []byte) {
	n := uint32(len(in))
	if room, ok := i.memory.view(i.mailed(mailRoom), n); ok && n <= i.mailed(mailRoomFor) {
		copy(room, in)
		i.mail(mailIn, n)
	}
}

// used reports whether there is something to collect.
func (i *instance) used() bool { return i.mailbox != nil && i.mailed(mailIn)|i.mailed(mailOutLen) != 0 }

// collect takes the output that the guest has left. It leaves the mailbox empty for the
// next call.
func (i *instance) collect() error {
	at, n := i.mailed(mailOut), i.mailed(mailOutLen)
	i.mail(mailIn, 0)
	i.mail(mailOutLen, 0)
	if n == 0 {
		return nil
	}
	b, ok := i.memory.view(at, n)
	if !ok {
		return &stopped{err: weft.Errorf(weft.Internal, opCall, "the handler left %d bytes of output at %#x, which are not in its memory", n, at)}
	}
	return i.call.append(b)
}
