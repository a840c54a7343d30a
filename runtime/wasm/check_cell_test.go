package wasm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
	"github.com/weftrun/weft/tests/logbook"
)

// meteredOf is a module as it is compiled.
func meteredOf(t testing.TB, wasm []byte) []byte {
	t.Helper()
	metered, _, err := meter.Rewrite(wasm, meterOptions())
	if err != nil {
		t.Fatal(err)
	}
	return metered
}

// filesIn lists all files of a folder, without the folder's name.
func filesIn(t testing.TB, dir string) (files []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// noCells fails a test when something of a check is left.
func noCells(t testing.TB, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, cellPrefix+"*")); len(left) > 0 {
		t.Errorf("left of checks: %q", left)
	}
}

var victim = program(code(0x41, 42))

// plant is what an upload does that has taken over the compiler: it leaves code for
// another module, wherever it can. It ends the check when it can read such code.
func plant(codeDir, folder, foreign string) {
	for _, dir := range []string{ownDir(codeDir, folder), codeDir, folder, filepath.Dir(folder)} {
		_ = os.WriteFile(filepath.Join(dir, foreign), []byte("planted"), 0o600)
		_ = os.WriteFile(filepath.Join(dir, strings.Repeat("ab", 32)), []byte("planted"), 0o600)
	}
	if _, err := os.ReadFile(filepath.Join(ownDir(codeDir, folder), foreign)); err != nil {
		fmt.Fprintln(os.Stderr, "panic: it can plant nothing:", err)
		os.Exit(3)
	}
	if entries, err := os.ReadDir(codeDir); err == nil {
		fmt.Fprintln(os.Stderr, "panic: it sees", entries)
		os.Exit(3)
	}
}

// ownDir is where the code of a check's module belongs.
func ownDir(codeDir, folder string) string { return filepath.Join(folder, filepath.Base(codeDir)) }

// TestACheckLeavesNothingButTheCodeOfItsModule also when it tries, and says that all is well.
func TestACheckLeavesNothingButTheCodeOfItsModule(t *testing.T) {
	n, err := newNest(t.TempDir(), readRights)
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	if n.landlock == 0 {
		t.Skip("this kernel has no landlock")
	}
	dir, foreign := t.TempDir(), entryOf(meteredOf(t, victim))
	r := open(t, Options{CacheDir: dir, Check: []string{checkArgs()[0], "__planter", foreign}})
	if _, err := r.Check(context.Background(), guest); err != nil {
		t.Fatal(err)
	}
	if files, want := filesIn(t, dir), []string{entryOf(meteredOf(t, guest))}; !slices.Equal(files, want) {
		t.Errorf("the cache has %q, want %q", files, want)
	}
	noCells(t, dir)
	m := loadIn(t, r, guest, weft.Limits{})
	if _, err := m.Call(context.Background(), newEnv(), "noop", Input{}); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoFileIsNotTakenForCode(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := func(at string) error {
		return errors.Join(os.WriteFile(at, nil, 0o600), os.Truncate(at, checkFileMax+1))
	}
	for _, c := range []struct {
		name string
		make func(at string) error
		code weft.Code
	}{
		{"nothing", func(string) error { return nil }, weft.Unavailable},
		{"code of another name", func(at string) error { return os.WriteFile(at+".tmp", nil, 0o600) }, weft.Unavailable},
		{"a link to a file", func(at string) error { return os.Symlink(secret, at) }, weft.Internal},
		{"a link to nothing", func(at string) error { return os.Symlink("/nonexistent", at) }, weft.Internal},
		{"a folder", func(at string) error { return os.Mkdir(at, 0o700) }, weft.Internal},
		{"a pipe", func(at string) error { return syscall.Mkfifo(at, 0o600) }, weft.Internal},
		{"a file over the limit", large, weft.Internal},
		{"a folder of another's in the place of its own", func(at string) error {
			own, other := filepath.Dir(at), t.TempDir()
			return errors.Join(os.WriteFile(filepath.Join(other, filepath.Base(at)), nil, 0o600), os.Rename(own, own+"-"), os.Symlink(other, own))
		}, weft.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r := open(t, Options{CacheDir: dir})
			cell, err := newCell(dir)
			if err != nil {
				t.Fatal(err)
			}
			metered := meteredOf(t, guest)
			if err := c.make(filepath.Join(cell.code.Name(), entryOf(metered))); err != nil {
				t.Fatal(err)
			}
			if err := r.keep(cell, metered); weft.CodeOf(err) != c.code {
				t.Errorf("got %v", err)
			}
			if err := cell.remove(); err != nil {
				t.Error(err)
			}
			if files := filesIn(t, dir); len(files) > 0 {
				t.Errorf("in the cache: %q", files)
			}
		})
	}
	if text, err := os.ReadFile(secret); string(text) != "a secret" {
		t.Errorf("what a link led to: %q, %v", text, err)
	}
}

// TestAReportIsMadeByTheHost: a child that was taken over says that all is well.
func TestAReportIsMadeByTheHost(t *testing.T) {
	r := open(t, Options{Check: []string{checkArgs()[0], "__other"}})
	if _, err := r.Check(context.Background(), []byte("(module)")); weft.CodeOf(err) != weft.InvalidArgument {
		t.Errorf("got %v", err)
	}
}

func TestACheckThatIsStoppedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Options{CacheDir: dir, Check: []string{checkArgs()[0], "__half"}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error)
	go func() {
		_, err := r.Check(ctx, guest)
		done <- err
	}()
	for !slices.Contains(filesIn(t, dir), "half") {
		select {
		case err := <-done:
			t.Fatalf("the check ended: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-done; weft.CodeOf(err) != weft.Canceled {
		t.Errorf("got %v", err)
	}
	noCells(t, dir)
	if files := filesIn(t, dir); len(files) > 0 {
		t.Errorf("in the cache: %q", files)
	}
}

func TestOneModuleIsCheckedBySeveralAtOnce(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Options{CacheDir: dir, ChecksMax: 3})
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if _, err := r.Check(context.Background(), guest); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if files := filesIn(t, dir); len(files) != 1 {
		t.Errorf("in the cache: %q", files)
	}
	noCells(t, dir)
	loadIn(t, r, guest, weft.Limits{})
}

// TestWhatACrashLeftOfChecksIsSwept at the next start, unless its owner lives.
func TestWhatACrashLeftOfChecksIsSwept(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, cellPrefix+"1", "wazero-1")
	if err := errors.Join(os.MkdirAll(left, 0o700), os.WriteFile(filepath.Join(left, "half"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	used, err := newCell(dir)
	if err != nil {
		t.Fatal(err)
	}
	open(t, Options{CacheDir: dir})
	if _, err := os.Stat(filepath.Dir(left)); !os.IsNotExist(err) {
		t.Errorf("what was left is there: %v", err)
	}
	if info, err := os.Stat(used.path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("what is in use: %v, %v", info, err)
	}
	if err := used.remove(); err != nil {
		t.Error(err)
	}
	noCells(t, dir)
}

// TestTheHostDoesNotLoadTheCodeOfAModuleInWorkers: it would find out that it is spoilt.
func TestTheHostDoesNotLoadTheCodeOfAModuleInWorkers(t *testing.T) {
	said := &logbook.Book{}
	r := open(t, Options{Log: slog.New(slog.NewTextHandler(said, nil)), Unfiltered: true})
	if _, err := r.Check(context.Background(), guest); err != nil {
		t.Fatal(err)
	}
	entry := filepath.Join(r.codeDir, entryOf(meteredOf(t, guest)))
	if err := os.WriteFile(entry, []byte("spoilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := r.Load(context.Background(), t.Name(), bytesOf(guest), Terms{Isolation: weft.Process})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Call(context.Background(), newEnv(), "noop", Input{}); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(entry); string(text) != "spoilt" || strings.Contains(said.String(), "cannot be read") {
		t.Errorf("the host has touched it: %q, %v, %s", text, err, said)
	}
	if _, err := r.Load(context.Background(), t.Name(), bytesOf(guest), Terms{}); err != nil || !strings.Contains(said.String(), "cannot be read") {
		t.Errorf("in the host: %v, %s", err, said)
	}
}

// half is a check that does not come to its end.
func half(codeDir, folder string) {
	if err := os.WriteFile(filepath.Join(ownDir(codeDir, folder), "half"), nil, 0o600); err != nil {
		panic(err)
	}
	time.Sleep(time.Minute)
}
