// Package guest is for authors of modules: it writes new ones, and builds them
// with the toolchain of their language.
package guest

import (
	"embed"
	"errors"
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

func (l language) testOf(name string) string { return strings.ReplaceAll(l.test, "NAME", name) }

// languages by their precedence, should a folder have the signs of several: a
// file of C may lie beside any other.
var languages = []language{
	{name: "go", sign: "go.mod", sdk: "sdk", test: "go test .", build: (*job).golang},
	{name: "rust", sign: "Cargo.toml", sdk: "sdk", test: "cargo test", build: (*job).rust},
	{name: "assemblyscript", sign: "*.ts", sdk: "sdk", test: "npm install && weft module build . && node --test main.test.mjs", build: (*job).assemblyscript},
	{name: "zig", sign: "*.zig", sdk: ".", test: "zig test main.zig --mod weft::weft.zig --deps weft", build: (*job).zig},
	{name: "c", sign: "*.c", sdk: ".", test: "cc -o NAME_test NAME_test.c && ./NAME_test", build: (*job).c},
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

// Service is a module that serves protobuf.
type Service struct {
	Names            []string          // of the services
	Proto, Generated string            // files: what says what they are, and the code for it
	Files            map[string][]byte // all that the language needs besides the SDK, by their paths
}

// New writes a module into dir, which must not be there: a first handler, its
// test, a manifest, a page about it, and the SDK. It returns the command that
// tests it.
func New(dir, name, lang string) (test string, err error) {
	l, files, err := lay(name, lang)
	if err != nil {
		return "", err
	}
	return l.testOf(name), create(dir, files)
}

// NewService is New of a module that serves s.
func NewService(dir, name, lang string, s Service) (test string, err error) {
	l, files, err := lay(name, lang)
	if err != nil {
		return "", err
	}
	maps.Copy(files, s.Files) // over the first handler and its test
	word := strings.NewReplacer("NAME", name, "TEST", l.testOf(name), "SERVICES", strings.Join(s.Names, ", "), "PROTO", s.Proto, "GENERATED", s.Generated, "SERVICE", s.Names[0])
	for _, file := range []string{"README.md", "weft.yaml"} {
		if s.Files[file] != nil {
			continue
		}
		text, err := templates.ReadFile("templates/service/" + file + ".tmpl")
		if err != nil {
			return "", weft.Errorf(weft.Internal, "guest.NewService", "the templates: %w", err)
		}
		files[file] = []byte(word.Replace(string(text)))
	}
	return l.testOf(name), create(dir, files)
}

// lay is a first module and its SDK, by path.
func lay(name, lang string) (l language, files map[string][]byte, err error) {
	const op = "guest.New"
	at := slices.IndexFunc(languages, func(l language) bool { return l.name == lang })
	if at < 0 {
		return l, nil, weft.Errorf(weft.InvalidArgument, op, "there is no template for %q", lang).WithHint("write one of %s", strings.Join(Languages(), ", "))
	}
	l, files = languages[at], map[string][]byte{}
	word := strings.NewReplacer("NAME", name, "TEST", l.testOf(name))
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
			return l, nil, weft.Errorf(weft.Internal, op, "the templates: %w", err)
		}
	}
	for path, data := range sdk.Files(lang) {
		files[filepath.Join(l.sdk, filepath.FromSlash(path))] = data
	}
	return l, files, nil
}

// create writes files into a folder, which must not be there.
func create(dir string, files map[string][]byte) error {
	if err := os.Mkdir(dir, 0o777); errors.Is(err, fs.ErrExist) {
		return weft.Errorf(weft.FailedPrecondition, "guest.New", "%s is there already", dir).WithHint("give the module another name, or its folder another place")
	} else if err != nil {
		return weft.Errorf(weft.FailedPrecondition, "guest.New", "make the folder of the module: %w", err)
	}
	return Write(dir, files)
}

// Write writes files into a folder, by their paths in it.
func Write(dir string, files map[string][]byte) error {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(dir, filepath.FromSlash(path))
		err := os.MkdirAll(filepath.Dir(file), 0o777)
		if err == nil {
			err = os.WriteFile(file, files[path], 0o666)
		}
		if err != nil {
			return weft.Errorf(weft.Unavailable, "guest.Write", "write the module: %w", err)
		}
	}
	return nil
}
