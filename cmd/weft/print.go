package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

var formats = []string{"table", "json", "yaml"}

// json prints m as JSON or YAML when that was asked for, and reports whether it was.
func (a *app) json(m proto.Message) (bool, error) {
	return a.encode(m, func(b *bytes.Buffer, data []byte) error { return json.Indent(b, data, "", "  ") })
}

// jsonLine is json for one message of many: JSON is one line, and YAML a
// document behind its mark.
func (a *app) jsonLine(m proto.Message) (bool, error) {
	if a.output == "yaml" {
		a.printf("---\n")
	}
	return a.encode(m, json.Compact)
}

// encode prints m as asked for. layout sets the spaces of JSON, for those of
// protojson differ from build to build.
func (a *app) encode(m proto.Message, layout func(*bytes.Buffer, []byte) error) (bool, error) {
	if a.output == "table" {
		return false, nil
	}
	data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return true, err
	}
	if a.output == "yaml" {
		out, err := yamlOf(data)
		if err != nil {
			return true, err
		}
		_, err = io.WriteString(a.out, out)
		return true, err
	}
	var b bytes.Buffer
	if err := layout(&b, data); err != nil {
		return true, err
	}
	_, err = fmt.Fprintln(a.out, b.String())
	return true, err
}

// print shows m as JSON or YAML, or else what the format says.
func (a *app) print(m proto.Message, format string, args ...any) error {
	done, err := a.json(m)
	if !done {
		a.printf(format, args...)
	}
	return err
}

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

// table prints m as JSON or YAML, or else aligned rows under their names,
// which are parted by spaces.
func (a *app) table(m proto.Message, names string, rows [][]string) error {
	if done, err := a.json(m); done {
		return err
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{strings.Fields(names)}, rows...) {
		for i, cell := range row {
			row[i] = tame(cell, "")
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		a.printf("%s\n", strings.TrimRight(line, " \n"))
	}
	return nil
}

// tame has spaces for what a terminal obeys, but for what is kept: a stranger's module or
// peer says what it likes of itself, and why it failed.
func tame(text, kept string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Bidi_Control) && !strings.ContainsRune(kept, r) {
			return ' '
		}
		return r
	}, text)
}

// fields is an object of names and their texts, for what the API has no message.
func fields(pairs ...string) *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		s.Fields[pairs[i]] = structpb.NewStringValue(pairs[i+1])
	}
	return s
}

// liveOr says whether something is there anew.
func liveOr(unchanged bool) string {
	if unchanged {
		return "unchanged"
	}
	return "live"
}

// text is a value as JSON on one line.
func text(v *structpb.Value) string {
	data, err := json.Marshal(v.AsInterface())
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// each calls fn with every message of a stream, until it ends or fn fails.
func each[T any](receive func() (T, error), fn func(T) error) error {
	for {
		m, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = fn(m)
		}
		if err != nil {
			return err
		}
	}
}

// onTerminal reports whether a person is likely to look at w.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// colours of statuses.
var colours = map[string]string{"completed": "32", "faulted": "31", "running": "36", "parked": "33", "cancelled": "2", "skipped": "2"}

// paint colours s as the status, on a terminal whose user has not said NO_COLOR.
func (a *app) paint(status, s string) string {
	if c := colours[status]; a.colour && c != "" {
		return "\x1b[" + c + "m" + s + "\x1b[0m"
	}
	return s
}
