package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect/v2"
	"github.com/spf13/cobra"
)

// usageError is a call that was written wrong.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exitCode is 0 for nil, 2 for a call that was written wrong, else 1.
func exitCode(err error) int {
	var u *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &u):
		return 2
	}
	return 1
}

// explain says what happened and what to do next.
func explain(err error) string {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var lines []string
		for _, err := range many.Unwrap() {
			lines = append(lines, explain(err))
		}
		return strings.Join(slices.Compact(lines), "\n")
	}
	var e *connect.Error
	var scheme *schemeError
	switch {
	case errors.As(err, &scheme):
		return scheme.Error()
	case !errors.As(err, &e):
		return err.Error()
	case !e.IsRemote() && hungUp(err): // canceled, too
		return "the server has ended the connection without an answer; if it asks for certificates, --cert and --cert-key name what to show it"
	case e.Code() == connect.CodeCanceled && !e.IsRemote():
		return "interrupted"
	case e.Code() == connect.CodeCanceled, !e.IsRemote() && strings.Contains(e.Message(), "EOF"):
		return "the server went away in the middle of its answer; what is durable goes on when it is started again"
	case e.IsRemote():
		return tame(e.Message(), "\n\t")
	case strings.Contains(e.Message(), "x509: "):
		return "the server is not who it should be: " + e.Message() + "; --ca names the file with who has signed its certificate"
	case strings.Contains(e.Message(), "remote error: tls: "):
		return "the server refuses the connection: " + e.Message() + "; --cert and --cert-key name what to show it"
	case e.Code() == connect.CodeUnavailable:
		return "no weft answers: " + e.Message() + "; start one with `weft dev`, or name another with --server"
	}
	return e.Message() + "; is --server the address of a weft? of one with TLS it is https://"
}

// unknown refuses what is no command of c, with the one that was probably meant.
func unknown(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2
	hint := ""
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "? "
	}
	return usagef("%s has no command %s; %ssee %s --help", c.CommandPath(), args[0], hint, c.CommandPath())
}
