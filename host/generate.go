package host

import (
	"context"
	"os"
	"path/filepath"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/guest"
	"github.com/weftrun/weft/host/stubs"
	"github.com/weftrun/weft/workflows/grpc"
)

// GenerateModule writes the code for the *.proto of a module's folder anew, and
// returns the file that it is in. language is that of the folder where it is empty.
func GenerateModule(ctx context.Context, dir, language string) (file string, err error) {
	const op = "host.GenerateModule"
	names, err := protosIn(dir)
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
	file = filepath.Join(dir, name)
	if err := os.WriteFile(file, text, 0o666); err != nil {
		return "", weft.Errorf(weft.Unavailable, op, "write the code: %w", err)
	}
	return file, nil
}

// Descriptors is the descriptor set of the *.proto of a module's folder, which
// BuildModule puts into the module; nil where there are none.
func Descriptors(ctx context.Context, dir string) ([]byte, error) {
	names, err := protosIn(dir)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return grpc.Compile(ctx, os.DirFS(dir), names...)
}

// protosIn are the names of the .proto files of a folder, but not of those in
// folders below it, which are there to be imported.
func protosIn(dir string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*.proto"))
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	return found, err
}
