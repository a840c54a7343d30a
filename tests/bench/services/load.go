package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// cell is a way to call.
type cell struct {
	name  string
	h2    bool
	codec string // proto, json or grpc
}

var cells = []cell{{"h1_proto", false, "proto"}, {"h1_json", false, "json"}, {"h2_proto", true, "proto"}, {"h2_json", true, "json"}, {"h2_grpc", true, "grpc"}}

// How many requests are on their way: one on each connection of HTTP/1.1, and on
// each of those of h2 its part.
const (
	inFlight = 64
	conns    = 2 // of h2
)

// headers are those of a request.
func (c cell) headers() [][2]string {
	if c.codec == "grpc" {
		return [][2]string{{"content-type", "application/grpc"}, {"te", "trailers"}, {"user-agent", "bench"}}
	}
	return [][2]string{{"content-type", "application/" + c.codec}, {"connect-protocol-version", "1"}, {"user-agent", "bench"}}
}

// framed is a message as the body of a request, or of an answer.
func (c cell) framed(message []byte) []byte {
	if c.codec != "grpc" {
		return message
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// timed is how long the requests took that a part of the load has made.
type timed []time.Duration

// load calls a method for so long, as one who waits for an answer before the next
// request, and looks at each answer.
func (c cell) load(address string, m method, d time.Duration) (timed, error) {
	parts := inFlight
	one := c.overHTTP1
	if c.h2 {
		parts, one = conns, c.overHTTP2
	}
	took, errs := make([]timed, parts), make([]error, parts)
	end := time.Now().Add(d)
	var all sync.WaitGroup
	for i := range parts {
		all.Go(func() { took[i], errs[i] = one(address, m, end) })
	}
	all.Wait()
	return slices.Concat(took...), errors.Join(errs...)
}

func (c cell) overHTTP1(address string, m method, end time.Time) (took timed, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	body := c.framed(m.in(c.codec))
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nhost: %s\r\ncontent-length: %d\r\n", m.path, address, len(body))
	for _, h := range c.headers() {
		request = fmt.Appendf(request, "%s: %s\r\n", h[0], h[1])
	}
	request = append(append(request, "\r\n"...), body...)
	in := bufio.NewReader(conn)
	for now := time.Now(); now.Before(end); {
		if _, err := conn.Write(request); err != nil {
			return took, err
		}
		answer, err := answer1(in)
		if err == nil {
			err = m.check(c, answer)
		}
		if err != nil {
			return took, err
		}
		begun := now
		now = time.Now()
		took = append(took, now.Sub(begun))
	}
	return took, nil
}

// answer1 is the body of an answer of HTTP/1.1; it must be a good one.
func answer1(in *bufio.Reader) ([]byte, error) {
	length := -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return nil, fmt.Errorf("the answer is %q", line)
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(": ")); strings.EqualFold(string(name), "content-length") {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return nil, errors.New("the answer has no length")
	}
	body := make([]byte, length)
	_, err := io.ReadFull(in, body)
	return body, err
}

// stream is a request of h2 on its way.
type stream struct {
	begun  time.Time
	body   []byte
	status string // of gRPC where it is that, of HTTP where not
}

// h2conn is a connection as a client has it. One goroutine has it: what it writes
// waits until it would have to wait for answers.
type h2conn struct {
	cell
	m       method
	conn    net.Conn
	in      *bufio.Reader
	out     *bufio.Writer
	frames  *http2.Framer
	packed  bytes.Buffer
	pack    *hpack.Encoder
	unpack  *hpack.Decoder
	on      *stream // whose headers are unpacked
	streams map[uint32]*stream
	next    uint32
	read    uint32 // bytes that the other side does not know of to have arrived
	address string
	body    []byte
}

func (c cell) dialHTTP2(address string, m method) (*h2conn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	h := &h2conn{cell: c, m: m, conn: conn, in: bufio.NewReaderSize(conn, 64<<10), out: bufio.NewWriterSize(conn, 64<<10),
		streams: map[uint32]*stream{}, next: 1, address: address, body: c.framed(m.in(c.codec))}
	h.frames = http2.NewFramer(h.out, h.in)
	h.frames.SetReuseFrames()
	h.pack = hpack.NewEncoder(&h.packed)
	h.unpack = hpack.NewDecoder(4096, h.field)
	_, _ = h.out.WriteString(http2.ClientPreface) // what fails is found by Flush
	return h, h.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
}

// field is a header or a trailer of an answer.
func (h *h2conn) field(f hpack.HeaderField) {
	if h.on != nil && (f.Name == "grpc-status" || f.Name == ":status" && h.codec != "grpc") {
		h.on.status = f.Value
	}
}

func (h *h2conn) header(name, value string) {
	_ = h.pack.WriteField(hpack.HeaderField{Name: name, Value: value}) // to memory
}

// open begins a request; it is not over by it.
func (h *h2conn) open(end bool) error {
	h.packed.Reset()
	h.header(":method", "POST")
	h.header(":scheme", "http")
	h.header(":authority", h.address)
	h.header(":path", h.m.path)
	for _, f := range h.headers() {
		h.header(f[0], f[1])
	}
	id := h.next
	h.next += 2
	h.streams[id] = &stream{begun: time.Now()}
	if err := h.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: h.packed.Bytes(), EndHeaders: true, EndStream: end && len(h.body) == 0}); err != nil {
		return err
	}
	if len(h.body) == 0 {
		return nil
	}
	return h.frames.WriteData(id, end, h.body)
}

// ahead reads frames until a stream has ended, or one has had data and ended is
// not asked for.
func (h *h2conn) ahead(ended bool) (*stream, error) {
	for {
		if h.in.Buffered() == 0 {
			if err := h.out.Flush(); err != nil {
				return nil, err
			}
		}
		f, err := h.frames.ReadFrame()
		if err != nil {
			return nil, err
		}
		id := f.Header().StreamID
		s := h.streams[id]
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = h.frames.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = h.frames.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			h.on = s
			_, err = h.unpack.Write(f.HeaderBlockFragment())
		case *http2.DataFrame:
			if h.read += f.Length; h.read > 1<<14 {
				err = h.frames.WriteWindowUpdate(0, h.read)
				h.read = 0
			}
			s.body = append(s.body, f.Data()...)
			if !ended && len(s.body) > 0 {
				return s, err
			}
		case *http2.RSTStreamFrame:
			err = fmt.Errorf("a stream was reset: %v", f.ErrCode)
		case *http2.GoAwayFrame:
			err = fmt.Errorf("the connection was ended: %v", f.ErrCode)
		}
		if err != nil {
			return nil, err
		}
		if s != nil && f.Header().Flags.Has(http2.FlagDataEndStream) { // the bit is that of headers, too
			delete(h.streams, id)
			return s, h.judge(s)
		}
	}
}

func (h *h2conn) judge(s *stream) error {
	if good := map[bool]string{true: "0", false: "200"}[h.codec == "grpc"]; s.status != good {
		return fmt.Errorf("the status of an answer is %q", s.status)
	}
	return nil
}

func (c cell) overHTTP2(address string, m method, end time.Time) (took timed, err error) {
	h, err := c.dialHTTP2(address, m)
	if err != nil {
		return nil, err
	}
	defer h.conn.Close()
	for range inFlight / conns {
		if err := h.open(true); err != nil {
			return nil, err
		}
	}
	for len(h.streams) > 0 {
		s, err := h.ahead(true)
		if err == nil {
			err = h.m.check(h.cell, s.body)
		}
		if err != nil {
			return took, err
		}
		now := time.Now()
		took = append(took, now.Sub(s.begun))
		if now.Before(end) {
			if err := h.open(true); err != nil {
				return took, err
			}
		}
	}
	return took, nil
}
