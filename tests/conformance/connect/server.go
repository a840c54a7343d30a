// Package connect holds services against the conformance suite of Connect's
// authors, connectrpc.com/conformance: its client calls ConformanceService,
// which is served here from its descriptors, by code of this package and by a
// module that has been uploaded.
package connect

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weftrun/weft/host/port"
	"github.com/weftrun/weft/host/services"
)

// Serve is a server as the suite starts it: in says what is to be served, out
// is told where, and what has been opened serves until ctx ends.
func Serve(ctx context.Context, open Open, in io.Reader, out io.Writer) error {
	ask, err := asked(in)
	if err != nil {
		return err
	}
	handler, end, err := open(ask.messageMax)
	if err != nil {
		return err
	}
	defer end()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := services.Server(handler)
	at := port.Join(l) // as the host serves
	failed := make(chan error, 1)
	if ask.tls != nil {
		s.TLSConfig = ask.tls
		go func() { failed <- s.ServeTLS(at, "", "") }()
	} else {
		go func() { failed <- s.Serve(at) }()
	}
	defer s.Close()
	answer := field(nil, 1, []byte("127.0.0.1"))
	answer = protowire.AppendVarint(protowire.AppendTag(answer, 2, protowire.VarintType), uint64(l.Addr().(*net.TCPAddr).Port))
	answer = field(answer, 3, ask.cert)
	if _, err := out.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...)); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// Open makes what is to be served; a message to it has at most so many bytes, 0
// for the default.
type Open func(messageMax int) (h http.Handler, end func(), err error)

// Native serves by code of this package. set are the suite's descriptors.
func Native(set []byte) Open {
	return func(messageMax int) (http.Handler, func(), error) {
		impl, err := newConformance(set)
		if err != nil {
			return nil, nil, err
		}
		schema, err := services.Link("conformance", set)
		if err != nil {
			return nil, nil, err
		}
		live := services.New(services.Options{MessageMax: messageMax})
		err = live.Add(services.Module{Name: "conformance", Version: "1.0.0", Schema: schema, Impl: impl})
		return live, func() { live.Close(context.Background()) }, err
	}
}

// ask is what the suite wants of a server; the protocols need no saying.
type ask struct {
	messageMax int
	tls        *tls.Config
	cert       []byte // PEM
}

func asked(in io.Reader) (ask, error) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return ask{}, err
	}
	raw := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(in, raw); err != nil {
		return ask{}, err
	}
	top := fields(raw)
	a := ask{messageMax: int(top.number(6))}
	if top.number(4) == 0 {
		return a, nil
	}
	creds := fields(top[7])
	a.cert = creds[1]
	var err error
	a.tls, err = configured(creds[1], creds[2], top[5])
	return a, err
}

// configured is TLS as the host has it, of files.
func configured(cert, key, clientCA []byte) (*tls.Config, error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	files := port.TLS{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	if len(clientCA) > 0 {
		files.ClientCA = filepath.Join(dir, "ca")
	}
	for name, data := range map[string][]byte{"cert": cert, "key": key, "ca": clientCA} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	return files.Config(slog.New(slog.DiscardHandler)) // the files are not there later, and TLS stays as it was
}

// message is the last value of each field, a number in its encoding.
type message map[protowire.Number][]byte

func fields(raw []byte) message {
	m := message{}
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		size := protowire.ConsumeFieldValue(num, typ, raw[n:])
		m[num] = raw[n : n+size]
		if typ == protowire.BytesType {
			m[num], _ = protowire.ConsumeBytes(raw[n:])
		}
		raw = raw[n+size:]
	}
	return m
}

func (m message) number(num protowire.Number) uint64 {
	if len(m[num]) == 0 {
		return 0
	}
	v, _ := protowire.ConsumeVarint(m[num])
	return v
}

// ServeProcess is Serve over the standard streams, until the process is told to
// end.
func ServeProcess(open Open) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Serve(ctx, open, os.Stdin, os.Stdout)
}
