package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host"
	"github.com/weftrun/weft/store"
)

// serve serves a file and returns a way to run commands against it.
func serve(t *testing.T, db string) func(args ...string) (string, error) {
	t.Helper()
	at := serveAs(t, host.Options{DB: db})
	return func(args ...string) (string, error) {
		var out bytes.Buffer
		c := root()
		c.SetOut(&out)
		c.SetArgs(append(args, "--server", "http://"+at))
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
}

// serveAs serves as the options say, at an address.
func serveAs(t *testing.T, o host.Options) (at string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestDeadLettersAreSeenReplayedAndDropped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	db, err := store.Open(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		for _, id := range []string{"one", "two"} {
			offset, err := tx.AppendEvent("default", weft.Event{ID: id, Source: "/s", Type: "shop.order.placed", Data: []byte(`{"n":1}`)})
			if err != nil {
				return err
			}
			if err := tx.Bury(store.DeadLetter{Topic: "default", Group: "handler mail shop.*", Offset: offset, Attempts: 5, Error: "no mailbox", Created: time.Now().UnixMilli()}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	run := serve(t, path)
	for _, c := range []struct {
		args string // words parted by bars
		says []string
		not  string
	}{
		{"event|dlq|list", []string{`"handler mail shop.*"`, "shop.order.placed", "one", "two", "ATTEMPTS", "no mailbox"}, "more:"},
		{"event|dlq|list|-o|json", []string{`"deadLetters"`, `"offset": "1"`, `"error": "no mailbox"`, `"n": 1`}, ""},
		{"event|dlq|list|--group|x", nil, "mail"},
		{"event|dlq|list|--limit|1", []string{"two", `more: --page '[2,"handler mail shop.*"]'`}, "one"},
		{`event|dlq|list|--page|[2,"handler mail shop.*"]`, []string{"one"}, "two"},
		{"event|dlq|replay|handler mail shop.*|1", []string{`event 1 goes to "handler mail shop.*" again`}, ""},
		{"event|dlq|list", []string{"two"}, "one"},
		{"event|dlq|drop|handler mail shop.*|2", []string{`event 2 of "handler mail shop.*" is dropped`}, ""},
		{"event|dlq|list", nil, "two"},
		{"event|dlq|replay|handler mail shop.*|1", []string{"no dead letter of group", "weft event dlq list"}, ""},
		{"event|dlq|drop|handler mail shop.*|x", []string{`"x" is no offset`}, ""},
	} {
		out, err := run(strings.Split(c.args, "|")...)
		if err != nil {
			out += explain(err)
		}
		for _, want := range c.says {
			if !strings.Contains(out, want) {
				t.Errorf("weft %s does not say %s: %s", c.args, want, out)
			}
		}
		if c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("weft %s says %s: %s", c.args, c.not, out)
		}
	}
}

func TestRetentionOfNothingIsRefused(t *testing.T) {
	for _, flag := range []string{"--retain-events=0s", "--retain-bytes=-1"} {
		c := root()
		c.SetArgs([]string{"dev", "--listen", "127.0.0.1:0", "--db", filepath.Join(t.TempDir(), "weft.db"), flag})
		var usage *usageError
		if err := c.ExecuteContext(t.Context()); !errors.As(err, &usage) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
