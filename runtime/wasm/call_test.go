package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

func TestHandlersReachWhatTheyImport(t *testing.T) {
	m := load(t, guest, weft.Limits{})
	for _, c := range []struct {
		handler, in, out string
		code             weft.Code
	}{
		{"noop", "", "", weft.OK},
		{"echo", "hello", "hello", weft.OK},
		{"echo", "", "", weft.OK},
		{"fail", "", "no such order", weft.NotFound},
		{"odd", "", "the handler returned 99, which is no code: what", weft.Unknown},
		{"header", "", "why", weft.OK},
		{"get", "a", "first", weft.OK},
		{"get", "missing", "not_found", weft.NotFound},
		{"set", "value", "", weft.OK},
		{"del", "gone", "", weft.OK},
		{"publish", "data", "", weft.OK},
		{"call", "ping", "peer/Do answers ping", weft.OK},
		{"http", "GET /", "200 to GET /", weft.OK},
		{"config", "level", "high", weft.OK},
		{"config", "other", "not_found", weft.NotFound},
		{"secret", "token", "s3cret", weft.OK},
		{"secret", "other", "secret other was not granted", weft.PermissionDenied},
		{"parts", "", "a value that is longer than the seven bytes", weft.OK},
		{"say", "line", "", weft.OK},
		{"deep", "", "", weft.OK},
		{"nowhere", "", `the module has no handler "nowhere"`, weft.Unimplemented},
		{"memory", "", `the module has no handler "memory"`, weft.Unimplemented},
	} {
		t.Run(c.handler+" "+c.in, func(t *testing.T) {
			env := newEnv()
			env.state = map[string][]byte{"a": []byte("first"), "gone": {1}, "long": []byte("a value that is longer than the seven bytes")}
			out, err := m.Call(context.Background(), env, c.handler, Input{Body: []byte(c.in), Headers: weft.Header{"x-ask": {"why"}}})
			if weft.CodeOf(err) != c.code {
				t.Fatalf("got %v, want code %v", err, c.code)
			}
			got := string(out.Body)
			if err != nil {
				got = err.Error()
			}
			if got != c.out {
				t.Errorf("got %q, want %q", got, c.out)
			}
			switch c.handler {
			case "header":
				if out.Fields().Headers.Get("x-answer") != "yes" {
					t.Errorf("headers: %v", out.Fields().Headers)
				}
			case "set":
				if string(env.state["k"]) != "value" {
					t.Errorf("state: %q", env.state)
				}
			case "del":
				if _, ok := env.state["gone"]; ok {
					t.Error("the key is still there")
				}
			case "publish":
				if !reflect.DeepEqual(env.events, []string{"t.happened data"}) {
					t.Errorf("events: %q", env.events)
				}
			case "say":
				if !reflect.DeepEqual(env.lines, []string{"WARN line"}) {
					t.Errorf("lines: %q", env.lines)
				}
			}
		})
	}
}

func TestEnvErrorsReachTheGuestAndTheLog(t *testing.T) {
	m, env := load(t, guest, weft.Limits{}), newEnv()
	env.fail = weft.Errorf(weft.Unavailable, "test", "the peer sleeps")
	for _, handler := range []string{"get", "set", "del", "publish", "call", "http", "config"} {
		env.lines = nil
		if _, err := m.Call(context.Background(), env, handler, Input{Body: []byte("level")}); weft.CodeOf(err) != weft.Unavailable || err.Error() != "the peer sleeps" {
			t.Errorf("%s: %v", handler, err)
		}
		if len(env.lines) != 1 || env.lines[0] != "WARN the peer sleeps" {
			t.Errorf("%s logged %q", handler, env.lines)
		}
	}
	if n := m.made.Load(); n != 1 {
		t.Errorf("%d instances were made: an error of the guest's own must not cost one", n)
	}
}

func TestWhatBrokeInTheHostIsNotToldToTheGuest(t *testing.T) {
	m, env := load(t, guest, weft.Limits{}), newEnv()
	env.fail = weft.Errorf(weft.Internal, "test", "disk sdb is gone")
	if _, err := m.Call(context.Background(), env, "set", Input{}); weft.CodeOf(err) != weft.Internal || err.Error() != "internal" {
		t.Errorf("got %v", err)
	}
	if len(env.lines) != 1 || env.lines[0] != "WARN disk sdb is gone" {
		t.Errorf("logged %q", env.lines)
	}
}

func TestAbortEndsTheCallWithItsError(t *testing.T) {
	m, env := load(t, guest, weft.Limits{}), newEnv()
	cause := errors.New("the state is stale")
	env.fail = weft.Errorf(weft.Aborted, "test", "wrapped: %w", &Abort{Err: cause})
	for _, handler := range []string{"get", "set", "call", "hostflood"} {
		if _, err := m.Call(context.Background(), env, handler, Input{}); err != cause {
			t.Errorf("%s: got %v, want the Abort's own error", handler, err)
		}
	}
	if n := m.made.Load(); n != 4 {
		t.Errorf("%d instances for 4 aborted calls, each must be dropped", n)
	}
}

func TestAHandlerSeesItsDeadline(t *testing.T) {
	m := load(t, guest, weft.Limits{TimeoutMS: 25_000})
	left := func(ctx context.Context) time.Duration {
		out, err := m.Call(ctx, nil, "left", Input{})
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(binary.LittleEndian.Uint64(out.Body)) * time.Millisecond
	}
	if d := left(context.Background()); d > 25*time.Second || d < 5*time.Second {
		t.Errorf("with the module's limit of 25 s: %v", d)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if d := left(ctx); d > 15*time.Second || d < time.Second {
		t.Errorf("with the caller's 15 s: %v", d)
	}
}

func TestWithoutEnvAHandlerComputesAndNothingElse(t *testing.T) {
	m := load(t, guest, weft.Limits{})
	if out, err := m.Call(context.Background(), nil, "echo", Input{Body: []byte("x")}); err != nil || string(out.Body) != "x" {
		t.Errorf("echo: %q, %v", out.Body, err)
	}
	if _, err := m.Call(context.Background(), nil, "say", Input{Body: []byte("x")}); err != nil {
		t.Errorf("say: %v", err)
	}
	if _, err := m.Call(context.Background(), nil, "get", Input{}); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("get: %v", err)
	}
}

func TestAPanickingEnvDoesNotTakeTheHostDown(t *testing.T) {
	m := load(t, guest, weft.Limits{})
	_, err := m.Call(context.Background(), (*memEnv)(nil), "get", Input{})
	if weft.CodeOf(err) != weft.Internal || strings.Contains(err.Error(), "goroutine") {
		t.Errorf("got %v", err)
	}
}

func TestTheOutputIsTheCallersOwn(t *testing.T) {
	m := load(t, guest, weft.Limits{})
	a, err := m.Call(context.Background(), nil, "echo", Input{Body: []byte("first")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Call(context.Background(), nil, "echo", Input{Body: []byte("other")}); err != nil {
		t.Fatal(err)
	}
	if string(a.Body) != "first" {
		t.Errorf("the next call changed the first one's output to %q", a.Body)
	}
}
