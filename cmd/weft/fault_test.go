package main

import (
	"context"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"connectrpc.com/connect/v2"
)

func TestWhatEndsACallIsTold(t *testing.T) {
	post := func(err error) error {
		return connect.NewError(connect.CodeCanceled, err.Error()).WithCause(&url.Error{Op: "Post", URL: "https://127.0.0.1:1/", Err: err})
	}
	write := func(why error) error {
		return &net.OpError{Op: "write", Net: "tcp", Err: why}
	}
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"a user who ends the command":                   {post(context.Canceled), "interrupted"},
		"a server that has closed the connection":       {post(write(os.NewSyscallError("write", syscall.EPIPE))), "--cert and --cert-key name what to show it"},
		"a server that has closed it with bytes unread": {post(write(os.NewSyscallError("write", syscall.ECONNRESET))), "--cert and --cert-key name what to show it"},
		"a server whose end is read before a write":     {post(write(net.ErrClosed)), "--cert and --cert-key name what to show it"},
	} {
		if got := explain(c.err); !strings.HasSuffix(got, c.says) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
