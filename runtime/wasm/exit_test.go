package wasm

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

// leaver is what a caller gives to a call, and ends the goroutine whatever it is asked.
type leaver struct{}

func (leaver) StateGet(string) (_ []byte, _ bool, err error) { runtime.Goexit(); return }
func (leaver) StateSet(string, []byte) (err error)           { runtime.Goexit(); return }
func (leaver) StateDelete(string) (err error)                { runtime.Goexit(); return }
func (leaver) Publish(string, []byte) (err error)            { runtime.Goexit(); return }
func (leaver) Config(string) (_ string, _ bool, err error)   { runtime.Goexit(); return }
func (leaver) Secret(string) (_ []byte, err error)           { runtime.Goexit(); return }
func (leaver) Log(slog.Level, string)                        { runtime.Goexit() }

func (leaver) Call(context.Context, string, []byte) (_ []byte, err error) { runtime.Goexit(); return }
func (leaver) HTTP(context.Context, []byte) (_ []byte, err error)         { runtime.Goexit(); return }

func (leaver) Recv(context.Context) (_ []byte, err error)           { runtime.Goexit(); return }
func (leaver) Send(context.Context, []byte) (err error)             { runtime.Goexit(); return }
func (leaver) SendHeaders(context.Context, weft.Header) (err error) { runtime.Goexit(); return }
func (leaver) headers() (h weft.Header)                             { runtime.Goexit(); return }

// TestAGoroutineThatEndsInACallLeavesNothing: as at t.FailNow in what a test gives to a
// call. Every function that a guest may call is tried, so that a new one is too.
func TestAGoroutineThatEndsInACallLeavesNothing(t *testing.T) {
	type attempt struct {
		name    string
		wasm    []byte
		handler string
		in      Input
	}
	var all []attempt
	for n, f := range hostFuncs {
		call := []byte{byte(n)}
		for _, v := range []byte{0, 1, 8, 8, 16, 8}[:len(f.params)] {
			call = append(call, v, 0, 0, 0)
		}
		in := Input{Body: []byte("{}"), Stream: leaver{}}
		if f.name == "header_get" {
			in.HeadersOf = leaver{}.headers
		}
		all = append(all, attempt{f.name, caller(call), "f", in})
	}
	const alone = 8 // input, result, output, header_set, trailer_set, error_detail, call_detail and deadline ask nobody
	line := bytes.Replace(unended(false), []byte{32, 0, 0, 0, 1, 0, 0, 0}, []byte{32, 0, 0, 0, 0, LineMax >> 8, 0, 0}, 1)
	all = append(all, attempt{"a line of output", line, "f", Input{}}, attempt{"the rest of a line", unended(false), "f", Input{}},
		attempt{"the rest of a line at the start", unended(true), "f", Input{}})
	for _, handler := range []string{"config", "log", "http"} {
		all = append(all, attempt{"a plug-in: " + handler, file(t, "plugin.wasm"), handler, Input{Body: []byte(`{"url":"http://shop.example"}`)}})
	}
	for _, where := range []weft.Isolation{weft.Inline, weft.Process} {
		r := open(t, Options{Unfiltered: true})
		exits := 0
		for _, a := range all {
			t.Run(string(where)+"/"+a.name, func(t *testing.T) {
				m, err := r.Load(context.Background(), t.Name(), bytesOf(a.wasm), Terms{Limits: weft.Limits{Concurrency: 1, TimeoutMS: 2_000}, Isolation: where})
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					ended := make(chan struct{})
					go func() {
						defer close(ended)
						exits++
						_, err := m.Call(context.Background(), leaver{}, a.handler, a.in)
						exits--
						if weft.CodeOf(err) == weft.ResourceExhausted {
							t.Errorf("a place is lost: %v", err)
						}
					}()
					<-ended
				}
				r.trim()
				if s := m.Stats(); s.Live != 0 || s.Bytes != 0 || s.Running != 0 || r.memory.used.Load() != 0 || r.staff.used.Load() != 0 {
					t.Errorf("it leaves %+v, %d bytes of all guests, %d workers", s, r.memory.used.Load(), r.staff.used.Load())
				}
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				if err := m.Close(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		if want := 3 * (len(all) - alone); exits != want {
			t.Errorf("%d goroutines have ended, want %d", exits, want)
		}
	}
}
