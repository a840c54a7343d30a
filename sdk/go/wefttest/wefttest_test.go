package wefttest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/wefttest"
)

type greeting struct {
	Name  string `json:"name"`
	Times int    `json:"times"`
}

// greet counts in state, publishes, and fails for the name "nobody" after both.
func greet(n uint32) uint32 {
	return weft.JSON(n, func(ctx *weft.Context, in greeting) (greeting, error) {
		times, _, err := weft.GetJSON[int](ctx, in.Name)
		if err != nil {
			return in, err
		}
		in.Times = times + 1
		if err := weft.SetJSON(ctx, in.Name, in.Times); err != nil {
			return in, err
		}
		if err := weft.PublishJSON(ctx, "greeted", in); err != nil {
			return in, err
		}
		ctx.SetHeader("x-times", ctx.Header("x-asked"))
		if in.Name == "nobody" {
			return in, weft.Errorf(weft.FailedPrecondition, "nobody is there")
		}
		return in, nil
	})
}

func TestAHandlerThatAnswersKeepsItsWritesAndEvents(t *testing.T) {
	h := wefttest.New()
	h.Headers["x-asked"] = "twice"
	var got greeting
	for range 2 {
		if err := h.Call(greet, greeting{Name: "ada"}, &got); err != nil {
			t.Fatal(err)
		}
	}
	if got.Times != 2 || string(h.State["ada"]) != "2" || len(h.Events) != 2 || h.Answer["x-times"] != "twice" {
		t.Errorf("answer %+v, state %s, events %v, headers %v", got, h.State["ada"], h.Events, h.Answer)
	}
}

func TestAHandlerThatFailsLeavesNothing(t *testing.T) {
	h := wefttest.New()
	err := h.Call(greet, greeting{Name: "nobody"}, nil)
	if weft.CodeOf(err) != weft.FailedPrecondition || err.Error() != "nobody is there" {
		t.Errorf("error %v, code %v", err, weft.CodeOf(err))
	}
	if len(h.State) != 0 || len(h.Events) != 0 {
		t.Errorf("state %v and events %v are left", h.State, h.Events)
	}
}

func TestInputThatDoesNotFit(t *testing.T) {
	tests := []struct{ name, input, want string }{
		{"no JSON", `{"name":`, "input: unexpected end of JSON input"},
		{"another type", `{"name":7}`, "input: name is a number, want string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wefttest.New().CallRaw(greet, []byte(tt.input))
			if weft.CodeOf(err) != weft.InvalidArgument || err.Error() != tt.want {
				t.Errorf("got %v (%v), want %s", err, weft.CodeOf(err), tt.want)
			}
		})
	}
}

func TestEventsArriveInBothForms(t *testing.T) {
	var got weft.Event
	var data greeting
	export := func(n uint32) uint32 {
		return weft.OnEvent(n, func(_ *weft.Context, e weft.Event, d greeting) error {
			got, data = e, d
			return nil
		})
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	check := func(t *testing.T) {
		if got.ID != "e1" || got.Source != "/test" || got.Type != "greeted" || !got.Time.Equal(at) || data.Name != "ada" {
			t.Errorf("got %+v with %+v", got, data)
		}
	}
	t.Run("attributes as headers", func(t *testing.T) {
		err := wefttest.New().Deliver(export, weft.Event{ID: "e1", Source: "/test", Type: "greeted", Time: at}, greeting{Name: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		check(t)
	})
	t.Run("one JSON object", func(t *testing.T) {
		h := wefttest.New()
		h.Headers["content-type"] = "application/cloudevents+json; charset=utf-8"
		_, err := h.CallRaw(export, []byte(`{"id":"e1","source":"/test","type":"greeted","time":"2026-01-02T03:04:05Z","data":{"name":"ada"}}`))
		if err != nil {
			t.Fatal(err)
		}
		check(t)
	})
	t.Run("no event at all", func(t *testing.T) {
		_, err := wefttest.New().CallRaw(export, []byte(`{}`))
		if weft.CodeOf(err) != weft.InvalidArgument {
			t.Errorf("got %v", err)
		}
	})
}

func TestHostErrorsSayWhatTheyAreAbout(t *testing.T) {
	h := wefttest.New()
	h.Peers["bank/bank.v1.Bank/Pay"] = func([]byte) ([]byte, error) { return nil, weft.Errorf(weft.Unavailable, "on strike") }
	export := func(n uint32) uint32 {
		return weft.Handle(n, func(ctx *weft.Context) error {
			_, err := ctx.Call("bank/bank.v1.Bank/Pay", ctx.Input())
			return err
		})
	}
	_, err := h.CallRaw(export, nil)
	var e *weft.Error
	if !errors.As(err, &e) || e.Code != weft.Unavailable || e.Message != "call of bank/bank.v1.Bank/Pay: on strike" {
		t.Errorf("got %v", err)
	}
}

func TestAHandlerAsksTheWeb(t *testing.T) {
	h := wefttest.New()
	export := func(n uint32) uint32 {
		return weft.Handle(n, func(ctx *weft.Context) error {
			res, err := ctx.HTTP(weft.Request{Method: "POST", URL: "https://rates.example/", Body: ctx.Input()})
			if err != nil {
				return err
			}
			_, err = ctx.Write(res.Body)
			return err
		})
	}
	if _, err := h.CallRaw(export, nil); weft.CodeOf(err) != weft.PermissionDenied || err.Error() != "request to https://rates.example/: not granted" {
		t.Errorf("without a grant: %v", err)
	}
	h.Web = func(r weft.Request) (weft.Response, error) {
		return weft.Response{Status: 200, Body: append([]byte(r.Method+" "), r.Body...)}, nil
	}
	if got, err := h.CallRaw(export, []byte("hi")); err != nil || string(got) != "POST hi" {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestAHandlerCalledByNobodySaysHowToBuildIt(t *testing.T) {
	defer func() {
		if msg, _ := recover().(string); !strings.Contains(msg, "GOOS=wasip1") {
			t.Errorf("panic %q", msg)
		}
	}()
	greet(1 << 30)
}

func TestBytesAnswersInThePlaceOfWhatWasWritten(t *testing.T) {
	export := func(n uint32) uint32 {
		return weft.Bytes(n, func(ctx *weft.Context) ([]byte, error) {
			ctx.Write([]byte("written"))
			if len(ctx.Input()) == 0 {
				return ctx.Input(), weft.Errorf(weft.InvalidArgument, "there is no input")
			}
			return ctx.Input(), nil
		})
	}
	if out, err := wefttest.New().CallRaw(export, []byte("said")); err != nil || string(out) != "said" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := wefttest.New().CallRaw(export, nil); weft.CodeOf(err) != weft.InvalidArgument || err.Error() != "there is no input" {
		t.Errorf("without input: %q, %v", out, err)
	}
}
