// Package guest is for authors of modules: it writes new ones, and builds them
// with the toolchain of their language.
package guest

import (
	"embed"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/sdk"
)

// language is what differs between languages.
type language struct {
	name  string
	sign  string // a pattern of a file that tells the language of a folder
	sdk   string // folder for the sources of the SDK, within a new module
	test  string // command that tests a new module
	build func(*job) error
}

// languages by their precedence, should a folder have the signs of several: a
// file of C may lie beside any other.
var languages = []language{
	{"go", "go.mod", "sdk", "go test .", (*job).golang},
	{"rust", "Cargo.toml", "sdk", "cargo test", (*job).rust},
	{"assemblyscript", "*.ts", "sdk", "weft module build . && node --test main.test.mjs", (*job).assemblyscript},
	{"zig", "*.zig", ".", "zig test main.zig --mod weft::weft.zig --deps weft", (*job).zig},
	{"c", "*.c", ".", "cc -o NAME_test NAME_test.c && ./NAME_test", (*job).c},
}

// Languages are those that modules are written in.
func Languages() (names []string) {
	for _, l := range languages {
		names = append(names, l.name)
	}
	slices.Sort(names)
	return names
}

//go:embed all:templates
var templates embed.FS

// New writes a module into dir, which must not be there: a first handler, its
// test, a manifest, a page about it, and the SDK. It returns the command that
// tests it.
func New(dir, name, lang string) (test string, err error) {
	const op = "guest.New"
	at := slices.IndexFunc(languages, func(l language) bool { return l.name == lang })
	if at < 0 {
		return "", weft.Errorf(weft.InvalidArgument, op, "there is no template for %q", lang).WithHint("write one of %s", strings.Join(Languages(), ", "))
	}
	l := languages[at]
	word := strings.NewReplacer("NAME", name, "TEST", strings.ReplaceAll(l.test, "NAME", name), "LANGUAGE", l.name)
	files := map[string][]byte{}
	for _, folder := range []string{"all", lang} {
		root := "templates/" + folder
		err := fs.WalkDir(templates, root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := templates.ReadFile(path)
			to := strings.TrimSuffix(strings.TrimPrefix(path, root+"/"), ".tmpl")
			files[word.Replace(to)] = []byte(word.Replace(string(data)))
			return err
		})
		if err != nil {
			return "", weft.Errorf(weft.Internal, op, "the templates: %w", err)
		}
	}
	for path, data := range sdk.Files(lang) {
		files[filepath.Join(l.sdk, filepath.FromSlash(path))] = data
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		return "", weft.Errorf(weft.FailedPrecondition, op, "make the folder of the module: %w", err)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(dir, path)
		err := os.MkdirAll(filepath.Dir(file), 0o777)
		if err == nil {
			err = os.WriteFile(file, files[path], 0o666)
		}
		if err != nil {
			return "", weft.Errorf(weft.Unavailable, op, "write the module: %w", err)
		}
	}
	return word.Replace("TEST"), nil
}
