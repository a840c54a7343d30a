package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// yamlOf is one JSON text as YAML, its keys in their order. A text that YAML
// could read as something else stays in JSON's quotes, which YAML knows too.
func yamlOf(data []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	lines, _, err := yamlLines(d)
	return strings.Join(lines, "\n") + "\n", err
}

// yamlLines is the next value; nested reports that it does not fit behind a key.
func yamlLines(d *json.Decoder) (lines []string, nested bool, err error) {
	t, err := d.Token()
	if err != nil {
		return nil, false, err
	}
	open, ok := t.(json.Delim)
	if !ok {
		s, err := yamlScalar(t)
		return []string{s}, false, err
	}
	for d.More() {
		first, rest := "- ", "  "
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, false, err
			}
			if first, err = yamlScalar(key); err != nil {
				return nil, false, err
			}
			first += ": "
		}
		value, nested, err := yamlLines(d)
		if err != nil {
			return nil, false, err
		}
		if nested && open == '{' {
			lines = append(lines, first[:len(first)-1])
			first = rest
		}
		lines = append(lines, first+value[0])
		for _, l := range value[1:] {
			lines = append(lines, rest+l)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, false, err
	}
	if len(lines) == 0 {
		return []string{map[json.Delim]string{'{': "{}", '[': "[]"}[open]}, false, nil
	}
	return lines, true, nil
}

var (
	yamlPlain = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./@+-]*(:[A-Za-z0-9_./@+-]+)*( [A-Za-z0-9_./@+(-][A-Za-z0-9_./@+(),;-]*)*$`)
	yamlWords = regexp.MustCompile(`(?i)^(null|true|false|yes|no|on|off|y|n)$`) // in YAML 1.1 or 1.2
)

func yamlScalar(t json.Token) (string, error) {
	s, ok := t.(string)
	switch {
	case t == nil:
		return "null", nil
	case !ok:
		return fmt.Sprint(t), nil
	case yamlPlain.MatchString(s) && !yamlWords.MatchString(s):
		return s, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return strings.TrimSpace(b.String()), err
}
