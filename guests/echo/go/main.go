// Command echo is the conformance guest in Go: ../README.md says what each
// handler does.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	weft "github.com/weftrun/weft/sdk/go"
)

func main() {}

//go:wasmexport noop
func noop(n uint32) uint32 { return weft.Handle(n, func(*weft.Context) error { return nil }) }

//go:wasmexport echo
func echo(n uint32) uint32 {
	return weft.Bytes(n, func(c *weft.Context) ([]byte, error) { return c.Input(), nil })
}

func answer(c *weft.Context, b []byte, err error) error {
	if err == nil {
		_, err = c.Write(b)
	}
	return err
}

func number(c *weft.Context) (int, error) {
	n, err := strconv.Atoi(string(c.Input()))
	if err != nil {
		return 0, weft.Errorf(weft.InvalidArgument, "the input is no number")
	}
	return n, nil
}

//go:wasmexport loop
func loop(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		rounds, err := number(c)
		h := uint32(2166136261)
		for i := range uint32(rounds) {
			h = (h ^ i&255) * 16777619
		}
		return answer(c, strconv.AppendUint(nil, uint64(h), 10), err)
	})
}

type question struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

type greeting struct {
	Greeting string `json:"greeting"`
	Next     int    `json:"next"`
}

//go:wasmexport json
func json(n uint32) uint32 {
	return weft.JSON(n, func(_ *weft.Context, q question) (greeting, error) {
		if q.Name == "" {
			return greeting{}, weft.Errorf(weft.InvalidArgument, "name is missing")
		}
		return greeting{"hello " + q.Name, q.N + 1}, nil
	})
}

//go:wasmexport fail
func fail(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		digits, message, _ := bytes.Cut(c.Input(), []byte(" "))
		code, err := strconv.Atoi(string(digits))
		if err != nil {
			return err
		}
		return weft.Errorf(weft.Code(code), "%s", message)
	})
}

//go:wasmexport headers
func headers(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		v := c.Header("x-name")
		c.SetHeader("x-answer", "hello "+v)
		return answer(c, []byte(v), nil)
	})
}

//go:wasmexport state
func state(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		words := bytes.SplitN(c.Input(), []byte(" "), 3)
		if len(words) < 2 {
			return errors.New("want a verb and a key")
		}
		switch key := string(words[1]); string(words[0]) {
		case "set":
			return c.Set(key, words[2])
		case "delete":
			return c.Delete(key)
		default:
			v, found, err := c.Get(key)
			if err == nil && !found {
				return weft.Errorf(weft.NotFound, "state")
			}
			return answer(c, v, err)
		}
	})
}

//go:wasmexport publish
func publish(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error { return c.Publish("echo.published", c.Input()) })
}

//go:wasmexport call
func call(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		v, err := c.Call("peer/echo", c.Input())
		for _, d := range c.CallDetails() {
			c.AddDetail(d.Type, d.Value)
		}
		return answer(c, v, err)
	})
}

//go:wasmexport http
func http(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		r, err := c.HTTP(weft.Request{Method: "POST", URL: string(c.Input()), Headers: map[string]string{"x-a": "b"}, Body: []byte("ping\x00\xff")})
		return answer(c, fmt.Appendf(nil, "%d %s %s", r.Status, r.Headers["x-from"], r.Body), err)
	})
}

//go:wasmexport config
func config(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		v, found, err := c.Config(string(c.Input()))
		if err == nil && !found {
			return weft.Errorf(weft.NotFound, "config")
		}
		return answer(c, []byte(v), err)
	})
}

//go:wasmexport secret
func secret(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		v, err := c.Secret(string(c.Input()))
		return answer(c, v, err)
	})
}

//go:wasmexport logs
func log(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		for level := weft.LevelDebug; level <= weft.LevelError; level++ {
			c.Log(level, string(c.Input()))
		}
		return nil
	})
}

//go:wasmexport deadline
func deadline(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		left, _ := c.Remaining()
		return answer(c, strconv.AppendInt(nil, left.Milliseconds(), 10), nil)
	})
}

//go:wasmexport large
func large(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		size, err := number(c)
		b := make([]byte, size)
		for i := range b {
			b[i] = byte('a' + i%26)
		}
		return answer(c, b, err)
	})
}

var (
	calls int
	kept  []byte // so that the allocation is real
)

//go:wasmexport allocate
func allocate(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		kept = bytes.Repeat([]byte{byte(calls)}, 64<<10)
		calls++
		return answer(c, strconv.AppendInt(nil, int64(calls), 10), nil)
	})
}

//go:wasmexport stream
func stream(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		c.SetHeader("x-kind", "echo")
		c.SendHeaders()
		for messages := 0; ; messages++ {
			m, err := c.Recv()
			if err == io.EOF {
				c.SetTrailer("x-messages", strconv.Itoa(messages))
				return nil
			}
			if err == nil {
				err = c.Send(m)
			}
			if err != nil {
				return err
			}
		}
	})
}

//go:wasmexport detail
func detail(n uint32) uint32 {
	return weft.Handle(n, func(c *weft.Context) error {
		c.AddDetail("google.rpc.ErrorInfo", c.Input())
		c.AddDetail("echo.v1.Empty", nil)
		return weft.Errorf(weft.FailedPrecondition, "see the details")
	})
}
