package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/tests/probe"
)

// act is the code of a handler that a test writes.
type act func(ctx context.Context, env wasm.Env) error

func (a act) Call(ctx context.Context, env wasm.Env, _ string, _ wasm.Input) (wasm.Output, error) {
	return wasm.Output{}, a(ctx, env)
}

// TestAHandlerThatHasCalledTheOutsideIsNotRunAgain has somebody else change what a
// handler has read.
func TestAHandlerThatHasCalledTheOutsideIsNotRunAgain(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		name    string
		outside bool
		runs    int
		code    weft.Code
		left    string
	}{
		{"inside", false, 2, weft.OK, "mine"},
		{"outside", true, 1, weft.Aborted, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			handler, err := h.cat.Handler(t.Context(), ns, weft.Ref{Name: "count"})
			if err != nil {
				t.Fatal(err)
			}
			runs, asked := 0, h.gate.calls.Load()
			handler.Code = act(func(ctx context.Context, env wasm.Env) error {
				if runs++; runs > 5 {
					return weft.Errorf(weft.Internal, "test", "it runs for ever")
				}
				if _, _, err := env.StateGet("count/" + c.name); err != nil {
					return err
				}
				if c.outside {
					if _, err := env.Call(ctx, "payments/a.B/C", nil); err != nil {
						return err
					}
				}
				if runs == 1 {
					if _, err := h.Call(ctx, weft.Call{Namespace: ns, Handler: weft.Ref{Name: "count"}, Input: []byte(`{"key":"` + c.name + `"}`)}); err != nil {
						return err
					}
				}
				return env.StateSet("count/"+c.name, []byte("mine"))
			})
			_, err = h.Serve(t.Context(), handler, weft.Call{Namespace: ns, Handler: handler.Ref}, nil)
			if weft.CodeOf(err) != c.code || runs != c.runs || h.onDisk(c.name) != c.left {
				t.Errorf("%d runs, %q is left, %v", runs, h.onDisk(c.name), err)
			}
			if n := h.gate.calls.Load() - asked; n != map[bool]int64{true: 1}[c.outside] {
				t.Errorf("the peer was called %d times", n)
			}
		})
	}
}

func TestStateIsOfAModulesNameAndNamespaceAndOutlivesItsVersions(t *testing.T) {
	h := newHouse(t)
	count := func(namespace, version string) string {
		t.Helper()
		res, err := h.Call(t.Context(), weft.Call{Namespace: namespace, Handler: weft.Ref{Name: "count", Version: version}, Input: []byte(`{"key":"a"}`)})
		if err != nil {
			t.Fatal(err)
		}
		return string(res.Output)
	}
	push := func(namespace, name, version string) {
		t.Helper()
		m := probe.Manifest()
		m.Name, m.Version = name, version
		if _, err := h.cat.Push(t.Context(), namespace, catalog.Push{Wasm: probe.Wasm(t), Manifest: m, Grant: true}); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	expect("the first version", count(ns, ""), `{"key":"a","count":1}`)
	push(ns, "probe", "1.1.0")
	expect("the next", count(ns, "1.1.0"), `{"key":"a","count":2}`)
	expect("the first again", count(ns, "1.0.0"), `{"key":"a","count":3}`)
	for _, version := range []string{"1.0.0", "1.1.0"} {
		if err := h.cat.Remove(t.Context(), ns, "probe", version); err != nil {
			t.Fatal(err)
		}
	}
	push(ns, "probe", "2.0.0")
	expect("after all were removed", count(ns, ""), `{"key":"a","count":4}`)
	push("acme", "probe", "1.0.0")
	expect("another namespace", count("acme", ""), `{"key":"a","count":1}`)
	if err := h.cat.Remove(t.Context(), ns, "probe", "2.0.0"); err != nil {
		t.Fatal(err)
	}
	push(ns, "other", "1.0.0")
	expect("another name", count(ns, ""), `{"key":"a","count":1}`)
}

// What is asked of peers and of HTTP is refused by the gate, whose tests show it.
func TestAskingIsNotHaving(t *testing.T) {
	h := newHouse(t)
	m := probe.Manifest()
	m.Version = "1.1.0"
	all := []string{"*"}
	m.Grants = weft.Grants{Events: all, State: all, Config: all}
	m.Config = map[string]string{"level": "high"}
	for granted, want := range map[bool]weft.Code{false: weft.PermissionDenied, true: weft.OK} {
		if _, err := h.cat.SetGrants(t.Context(), ns, "probe", "1.0.0", weft.Grants{}); err != nil { // or the next inherits them
			t.Fatal(err)
		}
		if _, err := h.cat.Push(t.Context(), ns, catalog.Push{Wasm: probe.Wasm(t), Manifest: m, Grant: granted}); err != nil {
			t.Fatal(err)
		}
		for name, reach := range map[string]func(context.Context, wasm.Env) error{
			"events":       func(_ context.Context, e wasm.Env) error { return e.Publish("probe.x", []byte("{}")) },
			"state, read":  func(_ context.Context, e wasm.Env) error { _, _, err := e.StateGet("k"); return err },
			"state, write": func(_ context.Context, e wasm.Env) error { return e.StateSet("k", []byte("v")) },
			"state, gone":  func(_ context.Context, e wasm.Env) error { return e.StateDelete("k") },
			"config": func(_ context.Context, e wasm.Env) error {
				v, ok, err := e.Config("level")
				if err == nil && (v != "high" || !ok) {
					return weft.Errorf(weft.NotFound, "test", "it is %q", v)
				}
				return err
			},
		} {
			handler, err := h.cat.Handler(t.Context(), ns, weft.Ref{Name: "count", Version: "1.1.0"})
			if err != nil {
				t.Fatal(err)
			}
			handler.Code = act(reach)
			if _, err := h.Serve(t.Context(), handler, weft.Call{Namespace: ns, Handler: handler.Ref}, nil); weft.CodeOf(err) != want {
				t.Errorf("%s, granted %v: %v", name, granted, err)
			}
		}
		if err := h.cat.Remove(t.Context(), ns, "probe", "1.1.0"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhatACallKeepsUntilItsCommitIsBounded: a guest hands over what costs it nothing, and
// the host holds it.
func TestWhatACallKeepsUntilItsCommitIsBounded(t *testing.T) {
	h := newHouse(t)
	if _, err := h.cat.SetGrants(t.Context(), ns, "probe", "1.0.0", weft.Grants{Events: []string{"*"}, State: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	mib := make([]byte, 1<<20)
	times := func(n int, do func(i int) error) error {
		for i := range n {
			if err := do(i); err != nil {
				return err
			}
		}
		return nil
	}
	for name, c := range map[string]struct {
		do   func(wasm.Env) error
		says string
	}{
		"17 MiB of values": {func(e wasm.Env) error {
			return times(17, func(i int) error { return e.StateSet(fmt.Sprint(i), mib) })
		}, "more than 16777216 bytes written and published in one call"},
		"17 MiB of events":            {func(e wasm.Env) error { return times(17, func(int) error { return e.Publish("probe.x", mib) }) }, "more than 16777216 bytes written and published in one call"},
		"an event of more than 1 MiB": {func(e wasm.Env) error { return e.Publish("probe.x", make([]byte, 1<<20+1)) }, "has 1048577 bytes, the limit is 1048576"},
		"a value of more than 1 MiB":  {func(e wasm.Env) error { return e.StateSet("k", make([]byte, 1<<20+1)) }, "has 1048577 bytes, the limit is 1048576"},
		"1,001 events":                {func(e wasm.Env) error { return times(1_001, func(int) error { return e.Publish("probe.x", nil) }) }, "more than 1000 events"},
		"1,001 keys": {func(e wasm.Env) error {
			return times(1_001, func(i int) error { return e.StateSet(fmt.Sprint(i), nil) })
		}, "more than 1000 keys"},
		"one value 100 times": {func(e wasm.Env) error { return times(100, func(int) error { return e.StateSet("k", mib) }) }, ""},
	} {
		handler, err := h.cat.Handler(t.Context(), ns, weft.Ref{Name: "count"})
		if err != nil {
			t.Fatal(err)
		}
		handler.Code = act(func(_ context.Context, e wasm.Env) error { return c.do(e) })
		_, err = h.Serve(t.Context(), handler, weft.Call{Namespace: ns, Handler: handler.Ref}, nil)
		if c.says == "" && err != nil || c.says != "" && (weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAHandlerPublishesNoEventOfWeftItself(t *testing.T) {
	h := newHouse(t)
	if _, err := h.cat.SetGrants(t.Context(), ns, "probe", "1.0.0", weft.Grants{Events: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	handler, err := h.cat.Handler(t.Context(), ns, weft.Ref{Name: "count"})
	if err != nil {
		t.Fatal(err)
	}
	for _, eventType := range []string{"", "weft.breaker.opened"} {
		handler.Code = act(func(_ context.Context, e wasm.Env) error { return e.Publish(eventType, []byte("{}")) })
		if _, err := h.Serve(t.Context(), handler, weft.Call{Namespace: ns, Handler: handler.Ref}, nil); weft.CodeOf(err) != weft.InvalidArgument {
			t.Errorf("%q: %v", eventType, err)
		}
	}
}
