package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/guest"
	"github.com/weftrun/weft/host/stubs"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/workflows/grpc"
)

// GenerateModule writes the code for the *.proto of a module's folder anew, and
// returns the file that it is in. language is that of the folder where it is empty.
func GenerateModule(ctx context.Context, dir, language string) (file string, err error) {
	const op = "host.GenerateModule"
	names, err := protosIn(ctx, dir)
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", weft.Errorf(weft.NotFound, op, "%s has no .proto", dir).WithHint("name the folder of a module that has one, or make it: weft module new --proto FILE NAME")
	}
	if language == "" {
		if language, err = guest.LanguageOf(dir); err != nil {
			return "", err
		}
	}
	set, err := grpc.Sources(ctx, os.DirFS(dir), names...)
	if err != nil {
		return "", err
	}
	name, text, err := stubs.Generate(set, names, stubs.Options{Language: language})
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, filepath.FromSlash(name))
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, text) {
		return file, nil
	}
	if err := os.WriteFile(file, text, 0o666); err != nil {
		return "", weft.Errorf(weft.Unavailable, op, "write the code: %w", err)
	}
	return file, nil
}

// regenerate is GenerateModule where there is generated code, and what it is of.
func regenerate(ctx context.Context, dir string) error {
	if names, err := protosIn(ctx, dir); err != nil || len(names) == 0 {
		return err
	}
	for _, pattern := range []string{"*.weft.*", "src/*.weft.*"} {
		if found, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(found) > 0 {
			_, err = GenerateModule(ctx, dir, "")
			return err
		}
	}
	return nil
}

// NewService is NewModule of one that serves what a .proto says. What that imports
// is looked for in root, which is its own folder where it is empty, and comes along.
func NewService(ctx context.Context, dir, name, language, proto, root string) (test string, err error) {
	if err := catalog.CheckName(name); err != nil {
		return "", err
	}
	files, err := protosOf(ctx, proto, root)
	if err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp("", "weft-new")
	if err != nil {
		return "", weft.Errorf(weft.Unavailable, "host.NewService", "a folder for the code: %w", err)
	}
	defer os.RemoveAll(temp)
	if err := guest.Write(temp, files); err != nil {
		return "", err
	}
	names := []string{filepath.Base(proto)}
	set, err := grpc.Sources(ctx, os.DirFS(temp), names...)
	if err != nil {
		return "", err
	}
	o := stubs.Options{Language: language, Module: name}
	skeleton, err := stubs.Skeleton(set, names, o)
	if err != nil {
		return "", err
	}
	generated, text, err := stubs.Generate(set, names, o)
	if err != nil {
		return "", err
	}
	files[generated] = text
	maps.Copy(files, skeleton)
	return guest.NewService(dir, name, language, guest.Service{Names: stubs.Services(set, names), Proto: names[0], Generated: generated, Files: files})
}

// protosOf are a .proto, by its bare name, and what it imports of root, each by
// the name it is imported by.
func protosOf(ctx context.Context, proto, root string) (map[string][]byte, error) {
	const op = "host.NewService"
	if root == "" {
		root = filepath.Dir(proto)
	}
	main, err := filepath.Rel(root, proto)
	if err != nil || !filepath.IsLocal(main) {
		return nil, weft.Errorf(weft.InvalidArgument, op, "%s is not in %s", proto, root).WithHint("give --proto-path the folder that imports are named from")
	}
	main = filepath.ToSlash(main)
	set, err := grpc.Sources(ctx, os.DirFS(root), main)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, f := range set.File {
		name := f.GetName()
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		switch {
		case errors.Is(err, fs.ErrNotExist): // one that everybody has
			continue
		case err != nil:
			return nil, weft.Errorf(weft.Unavailable, op, "read %s: %w", name, err)
		}
		if name == main {
			name = path.Base(main)
		}
		files[name] = text
	}
	return files, nil
}

// Descriptors is the descriptor set of the *.proto of a module's folder, which
// BuildModule puts into the module; nil where there are none.
func Descriptors(ctx context.Context, dir string) ([]byte, error) {
	names, err := protosIn(ctx, dir)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return grpc.Compile(ctx, os.DirFS(dir), names...)
}

// protosIn are the .proto files that a module's folder serves: not those in folders
// below it, and none with a service that another one imports, for that is called
// and not served.
func protosIn(ctx context.Context, dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.proto"))
	if err != nil || len(names) == 0 {
		return nil, err
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	set, err := grpc.Sources(ctx, os.DirFS(dir), names...)
	if err != nil {
		return nil, err
	}
	imported := map[string]bool{}
	for _, f := range set.File {
		for _, name := range f.Dependency {
			imported[name] = true
		}
	}
	for _, f := range set.File {
		if imported[f.GetName()] && len(f.Service) > 0 {
			names = slices.DeleteFunc(names, func(name string) bool { return name == f.GetName() })
		}
	}
	return names, nil
}
