package conformance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/tests/probe"
)

// languages are those that guests/echo is written in, with what finds the
// compiler and how it is got. Go is there wherever this test is.
var languages = []struct {
	name, find, missing string
}{
	{"go", "command -v go", "Go"},
	{"c", "./find-clang", "a clang that links for wasm32 (apt-get install clang lld)"},
	{"rust", "./find-rustc", "a rustc with the target wasm32-unknown-unknown (apt-get install rustc cargo libstd-rust-dev-wasm32)"},
	{"assemblyscript", "./find-npm-tool asc", "node and AssemblyScript (guests/toolchains/install)"},
	{"zig", "./find-npm-tool zig", "Zig 0.11 (guests/toolchains/install)"},
}

// recorder is what a call of an echo guest reaches. fail, when set, is what all
// of it answers.
type recorder struct {
	state        map[string]string
	events, logs []string
	fail         error
}

func (r *recorder) StateGet(key string) ([]byte, bool, error) {
	v, ok := r.state[key]
	return []byte(v), ok, r.fail
}

func (r *recorder) StateSet(key string, value []byte) error {
	if r.fail == nil {
		r.state[key] = string(value)
	}
	return r.fail
}

func (r *recorder) StateDelete(key string) error {
	delete(r.state, key)
	return r.fail
}

func (r *recorder) Publish(eventType string, data []byte) error {
	r.events = append(r.events, eventType+" "+string(data))
	return r.fail
}

func (r *recorder) Call(_ context.Context, procedure string, request []byte) ([]byte, error) {
	if n, err := strconv.Atoi(string(request)); err == nil {
		return letters(n), r.fail
	}
	return []byte(procedure + " answers " + string(request)), r.fail
}

func (r *recorder) HTTP(_ context.Context, request []byte) ([]byte, error) {
	var q struct {
		Method, URL string
		Headers     map[string]string
		Body        []byte
	}
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, "recorder", "the request is no JSON: %w", err)
	}
	body := fmt.Appendf(nil, "%s %s %s %q", q.Method, q.URL, q.Headers["x-a"], q.Body)
	return fmt.Appendf(nil, `{"status":203,"headers":{"x-from":"the web"},"body":"%s"}`, base64.StdEncoding.EncodeToString(body)), r.fail
}

func (r *recorder) Config(key string) (string, bool, error) { return "high", key == "level", r.fail }

func (r *recorder) Secret(name string) ([]byte, error) {
	if name != "token" {
		return nil, weft.Errorf(weft.PermissionDenied, "recorder", "%s was not granted", name)
	}
	return []byte("s3cret"), r.fail
}

func (r *recorder) Log(level slog.Level, message string) {
	r.logs = append(r.logs, level.String()+" "+message)
}

// talk is a stream of messages, and what came back.
type talk struct {
	in, out []string
	headers weft.Header
}

func (s *talk) Recv(context.Context) ([]byte, error) {
	if len(s.in) == 0 {
		return nil, io.EOF
	}
	m := s.in[0]
	s.in = s.in[1:]
	return []byte(m), nil
}

func (s *talk) Send(_ context.Context, message []byte) error {
	s.out = append(s.out, string(message))
	return nil
}

func (s *talk) SendHeaders(_ context.Context, headers weft.Header) error {
	s.headers = headers
	return nil
}

// headed is a talk in which the headers come first.
type headed struct {
	talk
	t *testing.T
}

func (s *headed) Recv(ctx context.Context) ([]byte, error) {
	if s.headers == nil {
		s.t.Error("the headers were not sent before the first message was asked for")
	}
	return s.talk.Recv(ctx)
}

func sameDetail(a, b weft.Detail) bool { return a.Type == b.Type && bytes.Equal(a.Value, b.Value) }

// letters is what large answers.
func letters(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + i%26)
	}
	return b
}

// loops is what loop answers.
func loops(n uint32) string {
	h := uint32(2166136261)
	for i := range n {
		h = (h ^ i&255) * 16777619
	}
	return strconv.FormatUint(uint64(h), 10)
}

var refusal = weft.Errorf(weft.PermissionDenied, "recorder", "it was not granted")

// struckOut has details that fit no guest's buffer at once, and no text.
var struckOut = &weft.Error{Code: weft.Aborted, Op: "recorder", Err: errors.New("not now"), Details: []weft.Detail{
	{Type: "google.rpc.ErrorInfo", Value: bytes.Repeat([]byte("\x00\xff"), 2000)}, {Type: "echo.v1.Empty", Value: []byte{}},
}}

// echoCases hold for a guest in any language.
var echoCases = []struct {
	name, handler, in string
	headers           weft.Header
	state             map[string]string // before
	fail              error             // of all that the call reaches
	code              weft.Code
	want              string // the output, or what the message of the error has
	json              bool   // want is JSON
	answer            weft.Header
	after             map[string]string // state
	events, logs      []string
}{
	{name: "nothing to do is done", handler: "noop"},
	{name: "an input comes back", handler: "echo", in: "hello"},
	{name: "an empty input comes back", handler: "echo"},
	{name: "bytes that are no text come back", handler: "echo", in: "a\x00\xff\xfe\n"},
	{name: "an input of 1,000 KiB comes back", handler: "echo", in: string(letters(1000 << 10))},
	{name: "a loop of no rounds", handler: "loop", in: "0", want: loops(0)},
	{name: "a loop of 100,000 rounds", handler: "loop", in: "100000", want: loops(100_000)},
	{name: "a loop without a number", handler: "loop", in: "many", code: weft.InvalidArgument, want: "the input is no number"},
	{name: "JSON in and out", handler: "json", in: `{"n":20, "name":"Ada", "more":[1,{"name":"x"}]}`, want: `{"greeting":"hello Ada","next":21}`, json: true},
	{name: "JSON with escapes and runes", handler: "json", in: `{"name":"\"A\u00e4\\ \ud83d\ude00\n\u0001é"}`, want: `{"greeting":"hello \"Aä\\ 😀\n\u0001é","next":1}`, json: true},
	{name: "JSON that lacks a field", handler: "json", in: `{"n":1}`, code: weft.InvalidArgument, want: "name is missing"},
	{name: "no JSON where some is due", handler: "json", code: weft.InvalidArgument, want: "name is missing"},
	{name: "JSON of another type", handler: "json", in: `{"name":"Ada","n":"x"}`, code: weft.InvalidArgument, want: "n "},
	{name: "text where JSON is due", handler: "json", in: `Ada`, code: weft.InvalidArgument},
	{name: "an error with a code and a message", handler: "fail", in: "5 no such order", code: weft.NotFound, want: "no such order"},
	{name: "an error with the last code", handler: "fail", in: "16 who are you?", code: weft.Unauthenticated, want: "who are you?"},
	{name: "headers in and out", handler: "headers", headers: weft.Header{"x-name": {"Ada"}}, want: "Ada", answer: weft.Header{"x-answer": {"hello Ada"}}},
	{name: "a header that is not there", handler: "headers", want: "", answer: weft.Header{"x-answer": {"hello "}}},
	{name: "state is written", handler: "state", in: "set k v w", after: map[string]string{"k": "v w"}},
	{name: "state is read", handler: "state", in: "get k", state: map[string]string{"k": "v"}, want: "v"},
	{name: "a long value is read", handler: "state", in: "get k", state: map[string]string{"k": string(letters(9000))}, want: string(letters(9000))},
	{name: "an empty value is there", handler: "state", in: "get k", state: map[string]string{"k": ""}},
	{name: "state that is not there", handler: "state", in: "get k", code: weft.NotFound},
	{name: "state is deleted", handler: "state", in: "delete k", state: map[string]string{"k": "v", "l": "w"}, after: map[string]string{"l": "w"}},
	{name: "state that is refused", handler: "state", in: "get k", fail: refusal, code: weft.PermissionDenied, want: "it was not granted"},
	{name: "an event", handler: "publish", in: `{"a":1}`, events: []string{`echo.published {"a":1}`}},
	{name: "an event that is refused", handler: "publish", in: "1", fail: refusal, code: weft.PermissionDenied, want: "it was not granted", events: []string{"echo.published 1"}},
	{name: "a call of a peer", handler: "call", in: "ping", want: "peer/echo answers ping"},
	{name: "an answer longer than any buffer", handler: "call", in: "300000", want: string(letters(300_000))},
	{name: "a peer that is away", handler: "call", in: "ping", fail: weft.Errorf(weft.Unavailable, "recorder", "nobody is there"), code: weft.Unavailable, want: "nobody is there"},
	{name: "a peer whose error has details", handler: "call", in: "ping", fail: struckOut, code: weft.Aborted, want: "not now"},
	{name: "an HTTP request", handler: "http", in: "https://shop.example/a?b=\"c", want: `203 the web POST https://shop.example/a?b="c b "ping\x00\xff"`},
	{name: "an HTTP request that is refused", handler: "http", in: "https://shop.example", fail: refusal, code: weft.PermissionDenied, want: "it was not granted"},
	{name: "a configuration value", handler: "config", in: "level", want: "high"},
	{name: "a configuration value that is not there", handler: "config", in: "depth", code: weft.NotFound},
	{name: "a secret", handler: "secret", in: "token", want: "s3cret"},
	{name: "a secret that was not granted", handler: "secret", in: "key", code: weft.PermissionDenied, want: "key was not granted"},
	{name: "lines of four levels", handler: "logs", in: "hello", logs: []string{"DEBUG hello", "INFO hello", "WARN hello", "ERROR hello"}},
	{name: "an output of a million bytes", handler: "large", in: "1000000", want: string(letters(1_000_000))},
}

// sandbox is one that modules can be checked in, under the race detector too.
func sandbox(t *testing.T) *wasm.Runtime {
	t.Helper()
	check, err := probe.Check(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := wasm.Open(t.Context(), wasm.Options{CacheDir: filepath.Join(t.TempDir(), "cache"), Check: check})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	return r
}

// TestGuests drives the same handlers in each language through the way that an
// upload goes.
func TestGuests(t *testing.T) {
	r := sandbox(t)
	t.Logf("languages: %d, cases in each: %d", len(languages), len(echoCases)+5)
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			m := upload(t, r, l.name, buildEcho(t, l.name, l.find, l.missing))
			for _, c := range echoCases {
				t.Run(c.name, func(t *testing.T) {
					env := &recorder{state: map[string]string{}, fail: c.fail}
					for k, v := range c.state {
						env.state[k] = v
					}
					out, err := m.Call(t.Context(), env, c.handler, wasm.Input{Body: []byte(c.in), Headers: c.headers})
					if weft.CodeOf(err) != c.code || c.code != weft.OK && !strings.Contains(err.Error(), c.want) {
						t.Fatalf("%v, want code %v and %q", err, c.code, c.want)
					}
					if c.code != weft.OK && !slices.EqualFunc(weft.DetailsOf(err), weft.DetailsOf(c.fail), sameDetail) {
						t.Errorf("details %q, want %q", weft.DetailsOf(err), weft.DetailsOf(c.fail))
					}
					want := c.want
					if c.handler == "echo" {
						want = c.in
					}
					if c.code == weft.OK && !same(c.json, string(out.Body), want) {
						t.Errorf("answered %.200q, want %.200q", out.Body, want)
					}
					if c.answer != nil && !reflect.DeepEqual(out.Fields().Headers, c.answer) {
						t.Errorf("headers %q, want %q", out.Fields().Headers, c.answer)
					}
					if c.after != nil && !reflect.DeepEqual(env.state, c.after) {
						t.Errorf("state %q, want %q", env.state, c.after)
					}
					if !slices.Equal(env.events, c.events) {
						t.Errorf("events %q, want %q", env.events, c.events)
					}
					if c.logs != nil && !slices.Equal(env.logs, c.logs) {
						t.Errorf("logged %q, want %q", env.logs, c.logs)
					}
				})
			}
			t.Run("the time that is left", func(t *testing.T) {
				out, err := m.Call(t.Context(), &recorder{}, "deadline", wasm.Input{})
				if left, bad := strconv.Atoi(string(out.Body)); err != nil || bad != nil || left <= 20_000 || left > 30_000 {
					t.Errorf("%q ms, %v, want up to 30,000", out.Body, err)
				}
			})
			t.Run("a stream of messages comes back", func(t *testing.T) {
				s := &headed{talk{in: []string{"a", "", "b\x00\xff", string(letters(9000))}}, t}
				out, err := m.Call(t.Context(), &recorder{}, "stream", wasm.Input{Stream: s})
				if err != nil || len(out.Body) > 0 || !reflect.DeepEqual(s.headers, weft.Header{"x-kind": {"echo"}}) {
					t.Errorf("%v, output %q, headers %q", err, out.Body, s.headers)
				}
				if want := []string{"a", "", "b\x00\xff", string(letters(9000))}; !slices.Equal(s.out, want) || !reflect.DeepEqual(out.Fields().Trailers, weft.Header{"x-messages": {"4"}}) {
					t.Errorf("sent %.200q, trailers %q", s.out, out.Fields().Trailers)
				}
			})
			t.Run("without a stream the input is the only message", func(t *testing.T) {
				out, err := m.Call(t.Context(), &recorder{}, "stream", wasm.Input{Body: []byte("hello")})
				if err != nil || string(out.Body) != "hello" || !reflect.DeepEqual(out.Fields().Headers, weft.Header{"x-kind": {"echo"}}) || !reflect.DeepEqual(out.Fields().Trailers, weft.Header{"x-messages": {"1"}}) {
					t.Errorf("%v, output %q, headers %q, trailers %q", err, out.Body, out.Fields().Headers, out.Fields().Trailers)
				}
			})
			t.Run("an error with details", func(t *testing.T) {
				_, err := m.Call(t.Context(), &recorder{}, "detail", wasm.Input{Body: []byte("\x0a\x01x")})
				var e *weft.Error
				want := []weft.Detail{{Type: "google.rpc.ErrorInfo", Value: []byte("\x0a\x01x")}, {Type: "echo.v1.Empty"}}
				if !errors.As(err, &e) || e.Code != weft.FailedPrecondition || !strings.Contains(e.Error(), "see the details") || !slices.EqualFunc(e.Details, want, sameDetail) {
					t.Errorf("%v, want %q", err, want)
				}
			})
			t.Run("100,000 calls of one instance do not grow it", func(t *testing.T) { lasts(t, r, l.name) })
		})
	}
}

func same(isJSON bool, got, want string) bool {
	if !isJSON {
		return got == want
	}
	var a, b any
	return json.Unmarshal([]byte(got), &a) == nil && json.Unmarshal([]byte(want), &b) == nil && reflect.DeepEqual(a, b)
}

// lasts has one instance serve 100,000 calls: of a hundred, one allocates 64 KiB, one
// has an input of up to 4 KiB, and the others leave small objects. An instance that fills three
// quarters of its 16 MiB is not used again, and the next would count from one.
func lasts(t *testing.T, r *wasm.Runtime, language string) {
	m, err := r.Load(t.Context(), "echo."+language, func() ([]byte, error) { return os.ReadFile(echoFile(language)) }, wasm.Terms{Limits: weft.Limits{MemoryMiB: 16}})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 4<<10)
	for i := range 100_000 {
		handler, in, want := "json", wasm.Input{}, strconv.Itoa(i/100+1)
		if i%100 == 99 {
			handler = "allocate"
		} else {
			name := long[:1+i%16]
			if i%100 == 98 {
				name = long[:1+i%len(long)]
			}
			in.Body = []byte(`{"name":"` + name + `","n":1}`)
			want = `{"greeting":"hello ` + name + `","next":2}`
		}
		if out, err := m.Call(t.Context(), &recorder{}, handler, in); err != nil || string(out.Body) != want {
			t.Fatalf("call %d of an instance: %.100q, want %.100q, %v", i+1, out.Body, want, err)
		}
	}
}

func upload(t *testing.T, r *wasm.Runtime, language string, code []byte) *wasm.Module {
	t.Helper()
	began := time.Now()
	report, err := r.Check(t.Context(), code)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"allocate", "call", "config", "deadline", "detail", "echo", "fail", "headers", "http", "json", "large", "logs", "loop", "noop", "publish", "secret", "state", "stream"}
	if got := slices.Sorted(slices.Values(report.Handlers)); !slices.Equal(got, want) {
		t.Fatalf("handlers %q, want %q", got, want)
	}
	m, err := r.Load(t.Context(), "echo."+language, func() ([]byte, error) { return code, nil }, wasm.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d bytes, checked and loaded in %v", language, len(code), time.Since(began).Round(time.Millisecond))
	return m
}

const guests = "../../guests"

func echoFile(language string) string { return filepath.Join(guests, "echo", language, "echo.wasm") }

// buildEcho is the guest of a language, built if it is not up to date.
func buildEcho(t *testing.T, language, find, missing string) []byte {
	t.Helper()
	look := exec.Command("sh", "-c", find)
	look.Dir = guests
	if found, err := look.Output(); err != nil || len(bytes.TrimSpace(found)) == 0 {
		t.Skipf("missing: %s", missing)
	}
	make := exec.Command("make", "-s", "-C", guests, "echo/"+language+"/echo.wasm")
	if language == "go" { // Go alone is enough
		make = exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w", "-o", "echo/go/echo.wasm", "./echo/go")
		make.Dir, make.Env = guests, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	} else if _, err := exec.LookPath("make"); err != nil {
		t.Skip("missing: make (apt-get install make)")
	}
	if text, err := make.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	code, err := os.ReadFile(echoFile(language))
	if err != nil {
		t.Fatal(err)
	}
	return code
}
