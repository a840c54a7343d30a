package wasm

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/tetratelabs/wazero"

	"github.com/weftrun/weft"
)

// checkedDir is the folder of the marks that say what has been compiled, beside the
// engine's own.
const checkedDir = "checked"

// spoilt reports whether the engine could not read what it has in its cache, as after
// a power cut.
func spoilt(err error) bool { return err != nil && strings.Contains(err.Error(), "compilationcache:") }

// clearCache takes all compiled code away, and the marks for it. What is loaded stays;
// what is not is compiled again when it is needed. The folders stay for who compiles.
func clearCache(dir string) error {
	for _, of := range []string{checkedDir, "wazero-*"} {
		files, _ := filepath.Glob(filepath.Join(dir, of, "*")) // dir may have signs of a pattern: then nothing is found
		for _, file := range files {
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return weft.Errorf(weft.Unavailable, "wasm.Runtime.Load", "clear the folder for compiled modules: %w", err)
			}
		}
	}
	return nil
}

// boundCache clears the cache when it is over its limit: nothing tells which module
// some code is of, and what is refused after its check, or removed, leaves its code.
func (r *Runtime) boundCache() error {
	var size int64
	err := filepath.WalkDir(r.opts.CacheDir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // what goes meanwhile is small
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	if err != nil || size <= r.opts.CacheMax {
		return err
	}
	r.opts.Log.Info("the cache of compiled code is over its limit, and is made anew", "bytes", size)
	return clearCache(r.opts.CacheDir)
}

// fromCache loads what has been compiled. Where that cannot be read a child compiles it
// again, but what is the host's own.
func (r *Runtime) fromCache(wasm, metered []byte, own bool) (wazero.CompiledModule, error) {
	ctx := context.Background() // the compiled code lives longer than the call that asked for it
	compiled, err := r.engine.CompileModule(ctx, metered)
	if !spoilt(err) {
		return compiled, err
	}
	r.repair.Lock()
	defer r.repair.Unlock()
	if compiled, err = r.engine.CompileModule(ctx, metered); !spoilt(err) {
		return compiled, err // somebody else has
	}
	r.opts.Log.LogAttrs(ctx, slog.LevelWarn, "the cache of compiled code cannot be read, and is made anew", slog.Any("error", err))
	if err := clearCache(r.opts.CacheDir); err != nil {
		return nil, err
	}
	if !own {
		if _, err := r.check(ctx, wasm); err != nil {
			return nil, err
		}
	}
	return r.engine.CompileModule(ctx, metered)
}
