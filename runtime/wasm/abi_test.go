package wasm

import (
	"context"
	"slices"
	"strconv"
	"testing"

	"github.com/weftrun/weft"
)

// d is how a guest tells a small number: as one character.
func d(n int) string { return string(rune('0' + n)) }

const (
	tell   = " const 2000 local1 wrap const 48 add store const 2000 const 1 call output "
	result = " const 3000 const 100 const 0 call result extend local1= const 3000 local1 wrap call output "
)

// abiCases show the sentences of docs/ABI.md that a guest sees, each named by how
// it begins. A body is in the words of tiny.
var abiCases = []struct {
	says, imports, body, text string
	in                        string
	stream                    *script
	limits                    weft.Limits
	out                       string // output, or message of the error where it has to be this
	code                      weft.Code
	told                      []string
}{
	{says: "The parameter is the length", imports: "output", body: "n extend local1=" + tell + "const 0", in: "abc", out: d(3)},
	{says: "The result is 0 for success", imports: "output", body: "const 0 const 2 call output const 5", text: "no", out: "no", code: weft.NotFound},
	{says: "Any other result is", imports: "", body: "const 99", code: weft.Unknown},
	{says: "A name, a key or", imports: "header_get", body: "const 0 const 1025 const 0 const 0 call header_get drop const 0", code: weft.ResourceExhausted},
	{says: "A name, a key or", imports: "header_get", body: "const 0 const 1 const 0 const 0 call header_get drop const 0", text: "\xff", code: weft.Internal},
	{says: "A name, a key or", imports: "trailer_set", body: "const 0 const 1 const 0 const 8193 call trailer_set const 0", text: "x", code: weft.ResourceExhausted},
	{says: "A pointer may be", imports: "output", body: "const -1 const 0 call output const 0"},
	{says: "Bytes that are not", imports: "output", body: "const -1 const 4 call output const 0", code: weft.Internal},
	{says: "Where the host writes", imports: "input output", body: "const 0 const -1 const 0 call input extend local1=" + tell + "const 0", in: "abc", out: d(3)},
	{says: "A result of i64", imports: "header_get output", body: "const 0 const 4 const 0 const 0 call header_get local1=" + tell + "const 0", text: "none", out: d(-5)},
	{says: "When the length is", imports: "header_get output result", body: "const 0 const 5 const 3000 const 1 call header_get local1=" + tell + "const 3000 const 1 call output" + result + "const 0", text: "x-ask", out: d(3) + "\x00why"},
	{says: "After a code `result`", imports: "secret_get output result", body: "const 0 const 5 const 0 const 0 call secret_get local1=" + result + "const 0", text: "other", out: "secret other was not granted"},
	{says: "After any other import", imports: "header_get state_set output result", body: "const 0 const 5 const 0 const 0 call header_get drop const 0 const 1 const 0 const 0 call state_set drop" + result + "const 0", text: "x-ask"},
	{says: "`input(", imports: "input output", body: "const 3000 const 9 const 1 call input extend local1=" + tell + "const 3000 const 2 call output const 0", in: "abc", out: d(2) + "bc"},
	{says: "`input(", imports: "input output", body: "const 3000 const 9 const 3 call input extend local1=" + tell + "const 0", in: "abc", out: d(0)},
	{says: "`output(", imports: "output", body: "const 0 const 1 call output const 1 const 1 call output const 0", text: "ab", out: "ab"},
	{says: "`result(", imports: "header_get output result", body: "const 0 const 5 const 0 const 0 call header_get drop const 3000 const 9 const 1 call result extend local1=" + tell + "const 3000 const 2 call output const 3000 const 9 const 3 call result extend local1=" + tell + "const 0", text: "x-ask", out: d(2) + "hy" + d(0)},
	{says: "`header_get(", imports: "header_get output", body: "const 0 const 5 const 3000 const 9 call header_get drop const 3000 const 3 call output const 0", text: "x-ask", out: "why"},
	{says: "`header_set(", imports: "header_set", body: "const 0 const 1 const 1 const 1 call header_set const 0 const 1 const 2 const 1 call header_set const 0", text: "xab", told: []string{"header x: a, b"}},
	{says: "`trailer_set(", imports: "trailer_set", body: "const 0 const 1 const 1 const 1 call trailer_set const 0 const 1 const 2 const 1 call trailer_set const 0", text: "xab", told: []string{"trailer x: a, b"}},
	{says: "`recv(", imports: "recv send", body: "const 3000 const 9 call recv local1= const 3000 local1 wrap call send drop const64 0 const 3000 const 9 call recv sub64 wrap", stream: &script{in: []string{"m"}}, code: weft.OutOfRange, told: []string{"headers:", "m"}},
	{says: "`send(", imports: "send", body: "const 0 const 1 call send", text: "m", stream: &script{}, told: []string{"headers:", "m"}},
	{says: "`send_headers(", imports: "send_headers header_set", body: "const 0 const 1 const 0 const 1 call header_set call send_headers const 0", text: "x", stream: &script{}, told: []string{"headers:x"}},
	{says: "`error_detail(", imports: "error_detail", body: "const 0 const 3 const 3 const 1 call error_detail const 9", text: "a.B!", code: weft.FailedPrecondition, told: []string{"detail a.B: !"}},
	{says: "`deadline(", imports: "deadline", body: "call deadline const64 1001 lt64 const 1 ne", limits: weft.Limits{TimeoutMS: 1000}},
	{says: "A name may be asked", imports: "header_get output", body: "const 0 const 5 const 3000 const 9 call header_get drop const 3000 const 3 call output const 0", text: "X-ASK", out: "why"},
	{says: "A name may be asked", imports: "trailer_set", body: "const 0 const 1 const 1 const 1 call trailer_set const 0", text: "Xa", told: []string{"trailer x: a"}},
	{says: "Several values of", imports: "header_get output", body: "const 0 const 3 const 3000 const 9 call header_get local1= const 3000 local1 wrap call output const 0", text: "two", out: "a, b"},
	{says: "`:names` lists", imports: "header_get output", body: "const 0 const 6 const 3000 const 90 call header_get local1= const 3000 local1 wrap call output const 6 const 10 const 3000 const 90 call header_get local1= const 3000 local1 wrap call output const 16 const 6 const 3000 const 90 call header_get local1= const 3000 local1 wrap call output const 22 const 8 const 3000 const 90 call header_get local1= const 3000 local1 wrap call output const 0", text: ":names:procedure:query:timeout", out: "a-bin, two, x-ask/a.B/Cq=19"},
	{says: "The value of a name that ends", imports: "header_get output", body: "const 0 const 5 const 3000 const 9 call header_get local1= const 3000 local1 wrap call output const 0", text: "a-bin", out: "AAE"},
	{says: "A name that is set is a token", imports: "header_set", body: "const 0 const 2 const 0 const 0 call header_set const 0", text: "a:", code: weft.Internal},
	{says: "A name that is set is a token", imports: "header_set", body: "const 0 const 1 const 1 const 1 call header_set const 0", text: "a\n", code: weft.Internal},
	{says: "Of headers and of trailers", imports: "trailer_set", body: "loop const 0 const 1 const 0 const 1 call trailer_set br 0 end unreachable", text: "a", code: weft.ResourceExhausted},
	{says: "Those of an error reach", imports: "trailer_set header_set", body: "const 0 const 1 const 1 const 1 call trailer_set const 0 const 1 const 1 const 1 call header_set const 5", text: "xa", code: weft.NotFound, told: []string{"header x: a", "trailer x: a"}},
	{says: "A call has a stream", imports: "input output", body: "const 0 const 9 const 0 call input extend local1= const 0 local1 wrap call output const 0", in: "abc", out: "abc"},
	{says: "`recv` waits for a message, and", imports: "recv", body: "const64 0 const 0 const 9 call recv sub64 wrap", stream: &script{err: weft.Errorf(weft.OutOfRange, "test", "odd")}, code: weft.Unknown},
	{says: "`send` waits until", imports: "send", body: "const 0 const 1 call send", stream: &script{block: true}, limits: weft.Limits{TimeoutMS: 50}, code: weft.DeadlineExceeded, told: []string{"headers:"}},
	{says: "A message that is sent", imports: "send", body: "const 0 const 11 call send", stream: &script{}, limits: weft.Limits{OutputBytes: 10}, code: weft.ResourceExhausted},
	{says: "The first `send` sends", imports: "send header_set", body: "const 0 const 1 call send drop const 0 const 1 const 0 const 1 call header_set const 0", text: "x", stream: &script{}, code: weft.FailedPrecondition, told: []string{"headers:", "x"}},
	{says: "`send_headers` again", imports: "send_headers", body: "call send_headers call send_headers const 0", stream: &script{}, told: []string{"headers:"}},
	{says: "What goes wrong with it", imports: "send_headers send", body: "call send_headers const 0 const 0 call send", stream: &script{headErr: weft.Errorf(weft.Unavailable, "test", "cut")}, code: weft.Unavailable, told: []string{"headers:"}},
	{says: "Without a stream the input", imports: "recv send", body: "const 3000 const 9 call recv local1= const 3000 local1 wrap call send drop const64 0 const 3000 const 9 call recv sub64 wrap const 11 ne", in: "abc", out: "abc"},
	{says: "A second `send` is", imports: "send", body: "const 0 const 1 call send drop const 0 const 1 call send", code: weft.FailedPrecondition},
	{says: "With a stream, or", imports: "output", body: "const 0 const 1 call output const 0", stream: &script{}, code: weft.Internal},
	{says: "With a stream, or", imports: "output send", body: "const 0 const 1 call output const 0 const 1 call send", code: weft.Internal},
	{says: "With a stream, or", imports: "output send", body: "const 0 const 1 call send drop const 0 const 2 call output const 5", text: "no", out: "no", code: weft.NotFound},
	{says: "Each message of a stream", imports: "send", body: "loop const 0 const 5000 call send extend local1= const64 0 local1 lt64 if local1 wrap return end br 0 end unreachable", stream: &script{sends: 2000}, limits: weft.Limits{Fuel: 200_000}, code: weft.Unavailable},
	{says: "Each message of a stream", imports: "state_get send", body: "loop const 0 const 1 const 0 const 0 call state_get drop const 0 const 0 call send extend local1= const64 0 local1 lt64 if local1 wrap return end br 0 end unreachable", text: "k", stream: &script{sends: 50}, limits: weft.Limits{HostCalls: 1}, code: weft.Unavailable},
	{says: "Neither `recv` nor", imports: "send", body: "loop const 0 const 0 call send extend local1= const64 0 local1 lt64 if local1 wrap return end br 0 end unreachable", stream: &script{sends: 50}, limits: weft.Limits{HostCalls: 1}, code: weft.Unavailable},
	{says: "When the caller goes", imports: "recv", body: "const64 0 const 0 const 9 call recv sub64 wrap", stream: &script{block: true}, limits: weft.Limits{TimeoutMS: 50}, code: weft.DeadlineExceeded},
	{says: "A handler that goes on", imports: "recv", body: "const 0 const 9 call recv drop loop br 0 end unreachable", stream: &script{block: true}, limits: weft.Limits{TimeoutMS: 50}, code: weft.DeadlineExceeded},
	{says: "An error has at most", imports: "error_detail", body: "loop const 0 const 1 const 0 const 1 call error_detail br 0 end unreachable", text: "a", code: weft.ResourceExhausted},
	{says: "An error has at most", imports: "error_detail", body: "const 0 const 1 const 0 const 16384 call error_detail const 5", text: "a", code: weft.ResourceExhausted},
	{says: "Those of a success", imports: "error_detail", body: "const 0 const 1 const 0 const 1 call error_detail const 0", text: "a"},
}

func TestTheABIIsAsItsPageSays(t *testing.T) {
	r := open(t, Options{})
	for n, c := range abiCases {
		t.Run(strconv.Itoa(n)+" "+c.says, func(t *testing.T) {
			wasm := tiny(c.imports, c.body, c.text)
			if _, err := r.Check(context.Background(), wasm); err != nil {
				t.Fatal(err)
			}
			m, err := r.Load(context.Background(), t.Name(), bytesOf(wasm), Terms{Limits: c.limits, Isolation: isolation})
			if err != nil {
				t.Fatal(err)
			}
			in := Input{Body: []byte(c.in), HeadersOf: func() weft.Header {
				return weft.Header{"x-ask": {"why"}, "two": {"a", "b"}, "a-bin": {"AAE"}, weft.HeaderProcedure: {"/a.B/C"}, weft.HeaderQuery: {"q=1"}, weft.HeaderTimeout: {"9"}}
			}}
			var told []string
			if c.stream != nil {
				once := *c.stream
				c.stream, in.Stream = &once, &once
			}
			out, err := m.Call(context.Background(), newEnv(), "f", in)
			if c.stream != nil {
				told = c.stream.told
			}
			got := string(out.Body)
			if err != nil && c.out != "" {
				got = err.Error()
			}
			for name := range out.Fields().Headers {
				told = append(told, "header "+name+": "+out.Fields().Headers.Get(name))
			}
			for name := range out.Fields().Trailers {
				told = append(told, "trailer "+name+": "+out.Fields().Trailers.Get(name))
			}
			for _, d := range weft.DetailsOf(err) {
				told = append(told, "detail "+d.Type+": "+string(d.Value))
			}
			if c.stream != nil && c.stream.sends != 0 {
				told = nil
			}
			if weft.CodeOf(err) != c.code || got != c.out || !slices.Equal(told, c.told) {
				t.Errorf("got %q, told %q, %v (%v)", got, told, err, weft.CodeOf(err))
			}
		})
	}
}

func TestACallerThatGoesAwayIsToldToTheHandler(t *testing.T) {
	m := load(t, tiny("recv", "const64 0 const 0 const 9 call recv sub64 wrap"), weft.Limits{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Call(ctx, nil, "f", Input{Stream: &script{block: true}}); weft.CodeOf(err) != weft.Canceled {
		t.Errorf("got %v", err)
	}
}
