package main

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/weftrun/weft/host"
)

func TestYAMLReadsWell(t *testing.T) {
	got, err := yamlOf([]byte(`{"runs":[{"id":"01M8","status":"RUN_STATUS_PARKED","reason":"timer until 12:00:00","output":null,"tags":["a","on"],"steps":[]}],"next":{},"size":3.50,"url":"http://127.0.0.1:80"}`))
	want := `runs:
  - id: "01M8"
    status: RUN_STATUS_PARKED
    reason: "timer until 12:00:00"
    output: null
    tags:
      - a
      - "on"
    steps: []
next: {}
size: 3.50
url: http://127.0.0.1:80
`
	if err != nil || got != want {
		t.Errorf("got %v:\n%s\nwant:\n%s", err, got, want)
	}
}

// What YAML could take for something else comes back as it was.
func TestYAMLReadsAsTheSameJSON(t *testing.T) {
	for _, v := range []any{"", "1", "1.0", "1.0.0", "0x10", "1e3", ".5", ".inf", ".nan", "+1", "1_000", "12:30:45", "2026-11-27T03:10:36Z", "true", "No", "null", "~",
		"a: b", "a:b", "key:", "- x", "-", "---", "...", "? a", "a\nb\n", "\n", "  lead", "trail ", "tab\there", "a\r\nb", "a #b", "#c", "'q'", `"d"`, `\`, "é✓", "{a}", "[a",
		"&a", "*a", "!t", "%d", "@x", "`y", "|", "> z", "\u2028", "<<", "=", "<a&b>", "name (why), and; more", 1.5, 0, -3, nil, true, []any{}, map[string]any{},
		[]any{[]any{"q", []any{}}}, map[string]any{"a b": map[string]any{"": 1, "on": []any{map[string]any{"x": "y", "z": []any{1}}}}}} {
		for _, v := range []any{v, []any{v, v}, map[string]any{"k": v}, []any{map[string]any{"k": v, "l": v}}} {
			data, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			text, err := yamlOf(data)
			if err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			back, err := host.Manifest([]byte(text))
			if err != nil {
				t.Errorf("%s is written as %q, which is no YAML: %v", data, text, err)
				continue
			}
			var a, b any
			if json.Unmarshal(data, &a) != nil || json.Unmarshal(back, &b) != nil || !reflect.DeepEqual(a, b) {
				t.Errorf("%s is written as %q, which reads as %s", data, text, back)
			}
		}
	}
}
