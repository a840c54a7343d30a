// Package sdk holds the sources of the SDKs for guests, so that the program can
// write them beside a new module: whoever has it needs nothing else of weft.
package sdk

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// What a Go module of its own has cannot be embedded, so Go's is packed into a
// text: TestGoIsPacked says when it is an old one.
var (
	//go:embed go.txt
	packed string
	//go:embed c/weft.h c/weft_test.h c/weft_wire.h rust/Cargo.toml rust/src zig/weft.zig zig/wire.zig assemblyscript/assembly assemblyscript/asconfig.json assemblyscript/package.json assemblyscript/test.mjs
	sources embed.FS
)

// Files are the sources of the SDK for a language, by their paths in its folder.
// It panics where there is none.
func Files(language string) map[string][]byte {
	files := map[string][]byte{}
	if language == "go" {
		for _, part := range strings.Split("\n"+strings.TrimSuffix(packed, "\n"), "\n"+mark)[1:] {
			name, text, _ := strings.Cut(part, "\n")
			files[name] = []byte(text + "\n")
		}
		return files
	}
	err := fs.WalkDir(sources, language, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[strings.TrimPrefix(path, language+"/")], err = sources.ReadFile(path)
		return err
	})
	if err != nil {
		panic(fmt.Sprintf("sdk: no sources for %s: %v", language, err))
	}
	return files
}

// mark begins the line with the name of a packed file.
const mark = "=== "
