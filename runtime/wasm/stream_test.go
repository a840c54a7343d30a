package wasm

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

// script is a Stream whose messages are there from the start.
type script struct {
	in      []string
	err     error // of Recv after them; io.EOF where it is nil
	headErr error
	sends   int  // how many messages there is room for, where it is not 0
	block   bool // Recv and Send wait for the end of their context

	told []string // what the guest did, in order
}

func (s *script) Recv(ctx context.Context) ([]byte, error) {
	if s.block {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if len(s.in) == 0 {
		return nil, cmpErr(s.err, io.EOF)
	}
	m := s.in[0]
	s.in = s.in[1:]
	return []byte(m), nil
}

func (s *script) Send(ctx context.Context, message []byte) error {
	if s.block {
		<-ctx.Done()
		return ctx.Err()
	}
	s.told = append(s.told, string(message))
	if s.sends > 0 && len(s.told) > s.sends {
		return weft.Errorf(weft.Unavailable, "test", "there is no more room")
	}
	return nil
}

func (s *script) SendHeaders(_ context.Context, h weft.Header) error {
	s.told = append(s.told, "headers:"+h.Get("x"))
	return s.headErr
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// echoAll sends back every message that it receives, until the end, and returns 0;
// a code that is not the end is what it returns.
var echoAll = tiny("recv send", `
	loop
	  const 1024  const 64  call recv  local1=
	  local1 const64 0 lt64
	  if
	    const 0  const64 0 local1 sub64 wrap  const64 0 local1 sub64 wrap const 11 eq select
	    return
	  end
	  const 1024  local1 wrap  call send  drop
	  br 0
	end
	const 0`)

func TestAHandlerEchoesAStream(t *testing.T) {
	m := load(t, echoAll, weft.Limits{})
	s := &script{in: []string{"a", "", "ccc"}}
	out, err := m.Call(context.Background(), nil, "f", Input{Stream: s})
	if err != nil || !slices.Equal(s.told, []string{"headers:", "a", "", "ccc"}) || len(out.Body) != 0 {
		t.Errorf("sent %q, output %q, %v", s.told, out.Body, err)
	}
	s = &script{in: []string{"a"}, err: errors.New("the wire is cut")}
	if _, err := m.Call(context.Background(), nil, "f", Input{Stream: s}); weft.CodeOf(err) != weft.Unknown {
		t.Errorf("a stream that breaks: %v", err)
	}
	if out, err := m.Call(context.Background(), nil, "f", Input{Body: []byte("plain")}); err != nil || string(out.Body) != "plain" {
		t.Errorf("without a stream: %q, %v", out.Body, err)
	}
	if n := m.made.Load(); n != 1 {
		t.Errorf("%d instances for three calls", n)
	}
}

// left is a Stream whose caller leaves as it asks for a message, which comes all the same.
type left struct {
	script
	leave func()
}

func (s *left) Recv(ctx context.Context) ([]byte, error) {
	s.leave()
	return s.script.Recv(ctx)
}

// TestAHandlerIsLookedAtAfterAMessage: what it has burnt before the message, which gives it
// its fuel anew, is not taken for what it burns after it.
func TestAHandlerIsLookedAtAfterAMessage(t *testing.T) {
	burns := func(turns string) string {
		return "const64 " + turns + " local1= loop local1 const64 1 sub64 local1= const64 0 local1 lt64 if br 1 end end "
	}
	m := load(t, tiny("recv", burns("3_000_000")+"const 1024 const 64 call recv local1= "+burns("1_000_000")+"const 0"), weft.Limits{})
	ctx, leave := context.WithCancel(context.Background())
	if _, err := m.Call(ctx, nil, "f", Input{Stream: &left{script{in: []string{"a"}}, leave}}); weft.CodeOf(err) != weft.Canceled {
		t.Errorf("a caller who has left: %v", err)
	}
}

// slow is a Stream whose messages come one by one.
type slow struct {
	script
	pause time.Duration
}

func (s *slow) Recv(ctx context.Context) ([]byte, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(s.pause):
		return s.script.Recv(ctx)
	}
}

func TestEachMessageRenewsTheTimeOfACall(t *testing.T) {
	m := load(t, echoAll, weft.Limits{TimeoutMS: 2_000})
	s := &slow{script{in: strings.Split("abcdefgh", "")}, 400 * time.Millisecond}
	if _, err := m.Call(context.Background(), nil, "f", Input{Stream: s}); err != nil || len(s.told) != 9 {
		t.Errorf("sent %q, %v", s.told, err)
	}
	s = &slow{script{in: []string{"a", "b"}}, time.Minute}
	if _, err := m.Call(context.Background(), nil, "f", Input{Stream: s}); weft.CodeOf(err) != weft.DeadlineExceeded {
		t.Errorf("a message that does not come: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond) // of the whole call: no message renews it
	defer cancel()
	s = &slow{script{in: strings.Split("abcdefghijkl", "")}, 20 * time.Millisecond}
	if _, err := m.Call(ctx, nil, "f", Input{Stream: s}); weft.CodeOf(err) != weft.DeadlineExceeded {
		t.Errorf("a caller with a deadline: %v", err)
	}
}
