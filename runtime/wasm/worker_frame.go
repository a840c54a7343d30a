package wasm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/weftrun/weft"
)

// A host and its worker speak in frames, in turn: the host sends a call; the
// worker asks, and is answered, until it says that the call is done. What
// needs no answer (a log line, memory that is free) may come before any of the
// worker's other frames.
type frame struct {
	kind  byte
	n     int64 // a number, by the kind
	parts [][]byte
}

// Kinds of frames.
const (
	frameStart = iota + 1 // to the worker: what to serve, as JSON
	frameCall             // to the worker: n is the caller's time in ns, 0 for none; export, what it has besides, body, headers
	frameReply            // to the worker: n is a replyOf; the value, or the text of the error

	frameReady  // the worker is locked down: what with, as JSON
	frameDone   // n is a code; op, text, hint, cause of the error; body, headers, trailers, details of the error, counts
	frameLog    // n is the level; the line
	frameMemory // n bytes more, which are an instance's first where there is a part; below zero: given back
	frameStateGet
	frameStateSet
	frameStateDelete
	framePublish
	frameCallOut
	frameHTTP
	frameConfig
	frameSecret
	frameRecv // is answered with nothing found at the end
	frameSend
	frameSendHeaders
)

// What a call has besides, in frameCall.
const (
	withEnv = 1 << iota
	withStream
)

const (
	frameHead  = 4 + 1 + 8 // bytes: length of the rest, kind, n
	framePiece = 64 << 10  // bytes that are made room for before they are there
	partsMax   = 9         // of a frame
)

// add appends the frame to b.
func (f frame) add(b []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, f.kind)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.n))
	b = pack(b, f.parts...)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// size is how many bytes add appends at most.
func (f frame) size() int {
	n := frameHead
	for _, p := range f.parts {
		n += binary.MaxVarintLen64 + len(p)
	}
	return n
}

// pack appends parts, each with its length before it.
func pack(b []byte, parts ...[]byte) []byte {
	for _, p := range parts {
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	return b
}

// unpack is the reverse of pack; there may be max parts.
func unpack(b []byte, max int) (parts [][]byte, err error) {
	for len(b) > 0 {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) || len(parts) == max {
			return nil, fmt.Errorf("a frame of %d parts or more whose lengths are wrong", len(parts))
		}
		parts, b = append(parts, b[used:used+int(n)]), b[used+int(n):]
	}
	return parts, nil
}

// packHeaders are headers as one part.
func packHeaders(headers weft.Header) (b []byte) {
	for name, values := range headers {
		for _, value := range values {
			b = pack(b, []byte(name), []byte(value))
		}
	}
	return b
}

// unpackHeaders is the reverse, for headers with at most max values.
func unpackHeaders(b []byte, max int) (headers weft.Header, err error) {
	parts, err := unpack(b, 2*max)
	if err != nil || len(parts)%2 != 0 {
		return nil, fmt.Errorf("headers that are none, or more than %d", max)
	}
	for ; len(parts) > 0; parts = parts[2:] {
		if headers == nil {
			headers = weft.Header{}
		}
		name := string(parts[0])
		headers[name] = append(headers[name], string(parts[1]))
	}
	return headers, nil
}

// packDetails are details of an error as one part.
func packDetails(details []weft.Detail) (b []byte) {
	for _, d := range details {
		b = pack(b, []byte(d.Type), d.Value)
	}
	return b
}

// unpackDetails is the reverse.
func unpackDetails(b []byte) (details []weft.Detail, err error) {
	parts, err := unpack(b, 2*DetailMax)
	if err != nil || len(parts)%2 != 0 || len(b) > DetailsBytesMax+2*DetailMax*binary.MaxVarintLen64 {
		return nil, errors.New("details that are none, or too many")
	}
	for ; len(parts) > 0; parts = parts[2:] {
		details = append(details, weft.Detail{Type: string(parts[0]), Value: slices.Clone(parts[1])})
	}
	return details, nil
}

// frames reads frames of at most max bytes.
type frames struct {
	r   *bufio.Reader
	max int
	buf []byte
}

// next is the next frame, valid until the one after it is read.
func (f *frames) next() (frame, error) {
	var head [4]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return frame{}, err
	}
	n := int(binary.LittleEndian.Uint32(head[:]))
	if n < frameHead-4 || n > f.max {
		return frame{}, &breach{fmt.Sprintf("a frame of %d bytes, at least %d and at most %d may be", n, frameHead-4, f.max)}
	}
	if cap(f.buf) > 16*framePiece { // the last one was large
		f.buf = nil
	}
	f.buf = f.buf[:0]
	for len(f.buf) < n { // room is made as bytes come: their number may be a lie
		from := len(f.buf)
		more := min(n-from, max(from, framePiece))
		f.buf = append(f.buf, make([]byte, more)...)
		if _, err := io.ReadFull(f.r, f.buf[from:]); err != nil {
			return frame{}, err
		}
	}
	parts, err := unpack(f.buf[frameHead-4:], partsMax)
	if err != nil {
		return frame{}, &breach{err.Error()}
	}
	return frame{f.buf[0], int64(binary.LittleEndian.Uint64(f.buf[1:])), parts}, nil
}

// breach is what no worker says that is as it was made.
type breach struct{ what string }

func (b *breach) Error() string { return "the worker sent " + b.what }

// replyOf is what a reply says besides its value: a code, how many bytes the
// host has logged of the error, and signs.
type replyOf struct {
	code   byte
	signs  byte
	logged int
}

// Signs of a reply.
const (
	signFound  = 1 << iota // there is a value
	signAbort              // the call ends here, and the host knows why
	signCancel             // the caller has gone
)

func (r replyOf) n() int64 { return int64(r.code) | int64(r.signs)<<8 | int64(r.logged)<<16 }

func replyFrom(n int64) replyOf { return replyOf{byte(n), byte(n >> 8), int(n >> 16)} }
