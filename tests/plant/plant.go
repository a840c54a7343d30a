// Package plant puts a bug into a file of the tree for one build, so that a test
// can show that it would be found.
package plant

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Overlay is a file for go build -overlay that has bug in the place of text, which
// must stand in file once.
func Overlay(t *testing.T, file, text, bug string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(src), text) != 1 {
		t.Fatalf("%s does not have once what the bug replaces: %s", file, text)
	}
	dir := t.TempDir()
	bad, list := filepath.Join(dir, "bad.go"), filepath.Join(dir, "overlay.json")
	data, err := json.Marshal(map[string]map[string]string{"Replace": {path: bad}})
	if err == nil {
		err = os.WriteFile(bad, []byte(strings.Replace(string(src), text, bug, 1)), 0o600)
	}
	if err == nil {
		err = os.WriteFile(list, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}
