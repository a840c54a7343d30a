// Package script runs JavaScript: QuickJS, compiled to WebAssembly, in the
// sandbox of runtime/wasm. A script reaches nothing: it has its arguments,
// environment and standard input, and gives its output and exit code.
package script

import (
	"context"
	_ "embed" // the engine, and what scripts find in it
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
)

// Bounds of one script, beside those of its sandbox.
const (
	OutputMax   = 1 << 20 // bytes on standard output and standard error together
	MessageMax  = 4 << 10 // bytes of the message of a Fault
	RejectedMax = 1_000   // promises rejected at the same time that nobody has handled
)

// Engine runs scripts. Its methods may be called by many goroutines at once.
type Engine struct{ rt *wasm.Runtime }

// New makes an engine in a sandbox. Nothing is compiled until it is needed.
func New(rt *wasm.Runtime) *Engine { return &Engine{rt} }

// Program is a script and what it is given. Code is an ECMAScript module.
type Program struct {
	Code        string            `json:"-"`
	Arguments   []string          `json:"args"` // process.argv from the third on
	Environment map[string]string `json:"env"`
	Stdin       string            `json:"-"`
}

// Result is how a script ended by itself.
type Result struct {
	Code   int
	Stdout string
	Stderr string
}

// Fault is what a script threw and did not catch, or what is wrong in its text.
type Fault struct {
	Line, Column int // in the code, from 1; 0 where that is not known
	Message      string
}

// Error is "line 3: TypeError: x is not a function".
func (f *Fault) Error() string {
	if f.Line == 0 {
		return f.Message
	}
	return fmt.Sprintf("line %d: %s", f.Line, f.Message)
}

// Load compiles the engine, unless that has been done.
func (e *Engine) Load(ctx context.Context) error {
	_, err := e.module(ctx)
	return err
}

func (e *Engine) module(ctx context.Context) (*wasm.Module, error) {
	return e.rt.Own(ctx, quickjs, "the script", imports, weft.Limits{})
}

// Check reads code without running it, for a namespace as Run does. What is wrong in it
// is a *Fault.
func (e *Engine) Check(ctx context.Context, ns, code string) error {
	return e.drive(ctx, ns, &life{source: code}, func(l *life) error { return l.compile(code) })
}

// Run runs a script in a memory of its own, of which nothing is left for the
// next one. Memory and places are of the share of a namespace; empty is the host's
// own. What it threw is a *Fault. At a limit of its time, processor time,
// output or nesting the error says which; memory that is used up is an exception
// in the script.
func (e *Engine) Run(ctx context.Context, ns string, p Program) (Result, error) {
	l := &life{source: p.Code, stdin: p.Stdin}
	err := e.drive(ctx, ns, l, func(l *life) error {
		given, err := json.Marshal(p)
		if err != nil {
			return weft.Errorf(weft.InvalidArgument, "script.Engine.Run", "%w", err)
		}
		return l.run(p.Code, string(given))
	})
	if err != nil && !errors.Is(err, errExit) {
		return Result{}, err
	}
	return Result{Code: l.code, Stdout: text(l.stdout), Stderr: text(l.stderr)}, nil
}

func (e *Engine) drive(ctx context.Context, ns string, l *life, do func(*life) error) error {
	m, err := e.module(ctx)
	if err != nil {
		return err
	}
	return m.Drive(ctx, ns, l, func(g *wasm.Guest) error {
		l.g = g
		l.begin()
		return do(l)
	})
}
