package wasm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

func TestGoGuest(t *testing.T) {
	wasm, err := goGuest("go", "-buildmode=c-shared")
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, Options{})
	began := time.Now()
	report, err := r.Check(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	checked := time.Since(began)
	if want := []string{"double", "exits", "panics", "sleep", "slumber", "world"}; !slices.Equal(report.Handlers, want) {
		t.Errorf("handlers: %v", report.Handlers)
	}
	began = time.Now()
	m := loadIn(t, r, wasm, weft.Limits{})
	t.Logf("%d KiB, checked in %v, loaded in %v", len(wasm)>>10, checked, time.Since(began))
	env := newEnv()
	call := func(handler, in string) (string, error) {
		out, err := m.Call(context.Background(), env, handler, Input{Body: []byte(in)})
		return string(out.Body), err
	}

	for i := range 3_000 { // its garbage collector has to run, too
		if out, err := call("double", fmt.Sprintf(`{"n":%d}`, i)); err != nil || out != fmt.Sprintf(`{"n":%d}`, 2*i) {
			t.Fatalf("call %d: %q, %v", i, out, err)
		}
	}
	if _, err := call("double", `{`); weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), "unexpected end of JSON") {
		t.Errorf("an error of its own: %v", err)
	}
	if n := m.made.Load(); n != 1 {
		t.Errorf("%d instances were made", n)
	}

	out, err := call("world", "")
	if want := fmt.Sprintf("0 args, 0 env, file true, year %d, random true", time.Now().Year()); err != nil || out != want {
		t.Errorf("what it sees of the world: %q, %v", out, err)
	}
	if want := []string{"INFO to stdout", "WARN to stderr"}; !slices.Equal(env.lines, want) {
		t.Errorf("logged %q", env.lines)
	}

	began = time.Now()
	if _, err := call("sleep", ""); err != nil || time.Since(began) < 30*time.Millisecond {
		t.Errorf("it slept for %v: %v", time.Since(began), err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := m.Call(ctx, env, "slumber", Input{}); weft.CodeOf(err) != weft.DeadlineExceeded {
		t.Errorf("sleeping too long: %v", err)
	}

	for handler, says := range map[string]string{"panics": "panic: boom", "exits": "exited with code 7"} {
		if _, err := call(handler, ""); !errors.Is(err, ErrTrap) || weft.CodeOf(err) != weft.Internal || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", handler, err)
		}
		if out, err := call("double", `{"n":4}`); err != nil || out != `{"n":8}` {
			t.Errorf("after %s: %q, %v", handler, out, err)
		}
	}
}
