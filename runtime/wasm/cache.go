package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"github.com/weftrun/weft"
)

// entryOf is the name under which the engine keeps what it has compiled of a metered
// module, which it shows nobody. The host finds it by itself, so that a check cannot say
// whose code it has made. A test sees that it is right.
func entryOf(metered []byte) string {
	h := sha256.New()
	h.Write(metered)
	h.Write([]byte{0}) // no calls that end with their context: the meter ends them
	id := h.Sum(nil)
	h.Reset()
	h.Write(id)
	h.Write([]byte("WAZEVO"))
	h.Write(binary.LittleEndian.AppendUint64(nil, processor()))
	return hex.EncodeToString(h.Sum(nil))
}

// processor is what the engine's code depends on, a bit each.
func processor() (bits uint64) {
	x := &cpu.X86
	for n, has := range []bool{x.HasSSE41 || cpu.ARM64.HasATOMICS, x.HasBMI1, x.HasBMI1 && x.HasBMI2 && x.HasPOPCNT} {
		if has {
			bits |= 1 << n
		}
	}
	return bits
}

// inCache reports whether there is compiled code of that name. Its content need not be readable.
func inCache(codeDir, entry string) bool {
	_, err := os.Lstat(filepath.Join(codeDir, entry))
	return err == nil
}

// keep takes from a check what it has compiled of the module that it was for, and nothing
// else. What is there already stays.
func (r *Runtime) keep(c *cell, metered []byte) error {
	const op = "wasm.Runtime.Check"
	r.keeping.Lock()
	defer r.keeping.Unlock()
	name, from := entryOf(metered), int(c.code.Fd())
	if inCache(r.codeDir, name) {
		return nil
	}
	var found unix.Stat_t
	err := unix.Fstatat(from, name, &found, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == unix.ENOENT:
		return weft.Errorf(weft.Unavailable, op, "the child that checks uploads (%s) compiled something else than this host wants", r.opts.Check[0]).
			WithHint("is it another version?")
	case err == nil && (found.Mode&unix.S_IFMT != unix.S_IFREG || found.Size > checkFileMax):
		return weft.Errorf(weft.Internal, op, "the child that checks uploads (%s) left no file of at most %d MiB in the place of compiled code", r.opts.Check[0], checkFileMax>>20).
			WithHint("the module may have taken over its compiler: do not trust it")
	case err == nil:
		err = r.makeRoom(found.Size)
	}
	if err == nil {
		err = os.MkdirAll(r.codeDir, 0o700)
	}
	if err == nil {
		err = unix.Renameat(from, name, unix.AT_FDCWD, filepath.Join(r.codeDir, name))
	}
	if err != nil {
		return weft.Errorf(weft.Unavailable, op, "keep the compiled module: %w", err)
	}
	return nil
}

// makeRoom counts what is kept, and clears the cache when it would be over its limit:
// nothing tells which modules are still there. What others put there, another process or
// this one for a module of its own, counts from the next start on. It is called with
// keeping locked.
func (r *Runtime) makeRoom(more int64) error {
	if !r.counted {
		for _, file := range compiledIn(r.opts.CacheDir) {
			if info, err := os.Lstat(file); err == nil { // what goes meanwhile does not count
				r.kept += info.Size()
			}
		}
		r.counted = true
	}
	if r.kept += more; r.kept <= r.opts.CacheMax {
		return nil
	}
	r.opts.Log.Info("the cache of compiled code is over its limit, and is made anew", "bytes", r.kept)
	r.kept = more
	return clearCache(r.opts.CacheDir)
}

// clearCache takes all compiled code away. What is loaded stays; what is not is compiled
// again when it is needed. The folders stay for who compiles.
func clearCache(dir string) error {
	for _, file := range compiledIn(dir) {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// compiledIn lists the files of compiled code, for all versions of the engine.
func compiledIn(dir string) []string {
	files, _ := fs.Glob(os.DirFS(dir), "wazero-*/*") // what cannot be listed is not there
	for n, file := range files {
		files[n] = filepath.Join(dir, file)
	}
	return files
}

// spoilt reports whether the engine could not read what it has in its cache, as after
// a power cut.
func spoilt(err error) bool { return err != nil && strings.Contains(err.Error(), "compilationcache:") }

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
	r.opts.Log.LogAttrs(ctx, slog.LevelWarn, "compiled code cannot be read, and is made anew", slog.Any("error", err))
	if err := os.Remove(filepath.Join(r.codeDir, entryOf(metered))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if !own {
		if _, err := r.check(ctx, "", wasm); err != nil {
			return nil, err
		}
	}
	return r.engine.CompileModule(ctx, metered)
}
