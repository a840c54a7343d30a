package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

const (
	inputMax  = 16 << 20 // bytes that a flag, a file or standard input may give
	inputHelp = "JSON, @FILE, or - for standard input"
)

// inputOf is the JSON that a flag gives, itself or by a file or standard
// input; nil for nothing. It is sent as it is, for a protobuf value holds
// doubles and would change a number with more digits.
func (a *app) inputOf(flag, given string) ([]byte, error) {
	if given == "" {
		return nil, nil
	}
	data, place, err := a.read(flag, given)
	if err != nil {
		return nil, err
	}
	if len(data) > inputMax {
		return nil, fmt.Errorf("%s: more than %d bytes; put large data where handlers can fetch it, and pass a reference", place, inputMax)
	}
	var v json.RawMessage
	if err := json.Unmarshal(data, &v); err != nil {
		line, column := 1, 1
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line, column = at(data, syntax.Offset)
		}
		return nil, usagef("%s:%d:%d: not JSON: %w; give %s", place, line, column, err, inputHelp)
	}
	return data, nil
}

// read gives the bytes, and where they come from.
func (a *app) read(flag, given string) ([]byte, string, error) {
	from, name := io.Reader(strings.NewReader(given)), flag
	switch file, isFile := strings.CutPrefix(given, "@"); {
	case given == "-":
		from, name = a.in, "standard input"
	case isFile:
		f, err := os.Open(file)
		if err != nil {
			return nil, file, fmt.Errorf("%s: %w", flag, err)
		}
		defer f.Close()
		from, name = f, file
	}
	data, err := io.ReadAll(io.LimitReader(from, inputMax+1))
	return data, name, err
}

// at is the line and column, in characters and from 1, of the byte before offset.
func at(data []byte, offset int64) (line, column int) {
	before := string(data[:min(max(offset-1, 0), int64(len(data)))])
	return 1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[strings.LastIndex(before, "\n")+1:])
}
