package sdk

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var pack = flag.Bool("pack", false, "write go.txt anew")

// The packed SDK is the one of sdk/go: its sources without tests.
func TestGoIsPacked(t *testing.T) {
	var b strings.Builder
	for _, pattern := range []string{"go.mod", "*.go", "known/*.go", "wefttest/*.go", "wire/*.go"} {
		names, err := filepath.Glob(filepath.Join("go", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			rel, err := filepath.Rel("go", name)
			if err != nil {
				t.Fatal(err)
			}
			if got := Files("go")[filepath.ToSlash(rel)]; !*pack && string(got) != string(text) {
				t.Errorf("%s is not what sdk/go has", name)
			}
			b.WriteString(mark + filepath.ToSlash(rel) + "\n" + string(text))
		}
	}
	if *pack {
		if err := os.WriteFile("go.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if packed != b.String() {
		t.Error("go.txt is not what sdk/go has: go test ./sdk -pack")
	}
}

func TestEachLanguageHasItsSources(t *testing.T) {
	for language, file := range map[string]string{"go": "weft.go", "c": "weft.h", "rust": "src/lib.rs", "zig": "weft.zig", "assemblyscript": "assembly/index.ts"} {
		if len(Files(language)[file]) == 0 {
			t.Errorf("%s has no %s", language, file)
		}
	}
}
