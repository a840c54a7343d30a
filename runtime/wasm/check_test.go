package wasm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

func TestCheckReportsWhatAModuleIs(t *testing.T) {
	r := open(t, Options{})
	wasm := AppendSection(guest, ManifestSection, []byte(`{"name":"shop","version":"1.2.0","handlers":[{"name":"echo"}],"grants":{"state":["orders/*"]},"limits":{"memoryMiB":8}}`))
	wasm = AppendSection(wasm, "note", []byte("12345"))
	report, err := r.Check(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Digest) != 64 || report.Size != int64(len(wasm)) || report.MemoryKiB < 1024 {
		t.Errorf("report: %+v", report)
	}
	if !slices.Contains(report.Handlers, "echo") || slices.Contains(report.Handlers, "memory") {
		t.Errorf("handlers: %v", report.Handlers)
	}
	if !slices.Contains(report.Imports, "weft/v1.call") || !slices.IsSorted(report.Imports) {
		t.Errorf("imports: %v", report.Imports)
	}
	if !slices.Contains(report.Sections, Section{"note", 5}) {
		t.Errorf("sections: %v", report.Sections)
	}
	if m := report.Manifest; m == nil || m.Name != "shop" || m.Grants.State[0] != "orders/*" || m.Limits.MemoryMiB != 8 {
		t.Errorf("manifest: %+v", m)
	}
}

func TestACacheMayBeNamedFromWhereWeftIsStarted(t *testing.T) {
	t.Chdir(t.TempDir())
	r := open(t, Options{CacheDir: "compiled"})
	if _, err := r.Check(context.Background(), guest); err != nil {
		t.Fatal(err)
	}
	loadIn(t, r, guest, weft.Limits{})
}

func TestWhatTheChildCompiledIsFoundInTheCache(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Options{CacheDir: filepath.Join(dir, "compiled")})
	if _, err := r.Check(context.Background(), guest); err != nil {
		t.Fatal(err)
	}
	files := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, "compiled", "wazero-*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	before := files()
	if len(before) != 1 {
		t.Fatalf("after the check the cache holds %v", before)
	}
	loadIn(t, r, guest, weft.Limits{})
	if after := files(); !slices.Equal(before, after) {
		t.Errorf("loading compiled again: %v", after)
	}
	if info, err := os.Stat(filepath.Join(dir, "compiled")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the cache is open to others: %v, %v", info.Mode(), err)
	}
}

// TestNothingIsCompiledHere: what is not in the cache is compiled by a child
// again, and a module that the child then fails on is not loaded.
func TestNothingIsCompiledHere(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Options{CacheDir: dir})
	if _, err := r.Check(context.Background(), guest); err != nil {
		t.Fatal(err)
	}
	without := open(t, Options{CacheDir: dir, Check: []string{"/nonexistent/weft"}})
	if _, err := without.Load(context.Background(), "guest", bytesOf(guest), Terms{Isolation: isolation}); err != nil {
		t.Errorf("what is in the cache: %v", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	gone := open(t, Options{CacheDir: dir, Check: []string{"/nonexistent/weft"}})
	if _, err := gone.Load(context.Background(), "guest", bytesOf(guest), Terms{Isolation: isolation}); weft.CodeOf(err) != weft.Unavailable || !strings.Contains(err.Error(), "child that checks uploads could not be run") {
		t.Errorf("what is not: %v", err)
	}
	loadIn(t, open(t, Options{CacheDir: dir}), guest, weft.Limits{})
	if _, err := gone.Load(context.Background(), "guest", bytesOf(guest), Terms{Isolation: isolation}); err != nil {
		t.Errorf("what a child has compiled since: %v", err)
	}
}

// imports is a module that imports one function of type (i32) -> i32.
func imports(module, name string) []byte {
	return assemble(sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f})), sec(2, vec(cat(sized([]byte(module)), sized([]byte(name)), []byte{0, 0}))))
}

// function is a module with one function of type () -> () of those locals and instructions.
func function(locals, instructions []byte) []byte {
	return assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(3, vec([]byte{0})), sec(10, vec(sized(cat(locals, instructions)))))
}

func repeat(n int, b ...byte) []byte { return bytes.Repeat(b, n) }

func TestHostileUploadsAreRefusedWithTheirCause(t *testing.T) {
	r := open(t, Options{ModuleMax: 4 << 20})
	billion := u32(1 << 30)
	for _, c := range []struct {
		name string
		wasm []byte
		code weft.Code
		says string
	}{
		{"nothing", nil, weft.InvalidArgument, "does not begin as a WebAssembly"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), weft.InvalidArgument, "does not begin as a WebAssembly 1.0 core module"},
		{"text", []byte("(module)"), weft.InvalidArgument, "does not begin as a WebAssembly"},
		{"an upload over the limit", repeat(5<<20, 'x'), weft.ResourceExhausted, "has 5242880 bytes, the limit is 4194304"},
		{"a module cut in half", guest[:len(guest)/2], weft.InvalidArgument, "bytes follow"},
		{"a billion types", assemble(sec(1, billion)), weft.ResourceExhausted, "too many types: 1073741824, the limit is 65536"},
		{"a billion imports", assemble(sec(1, vec()), sec(2, billion)), weft.ResourceExhausted, "too many imports: 1073741824"},
		{"a billion functions", assemble(sec(1, vec()), sec(3, billion)), weft.ResourceExhausted, "too many functions: 1073741824"},
		{"a billion exports", assemble(sec(7, billion)), weft.ResourceExhausted, "too many exports"},
		{"a billion elements", assemble(sec(9, cat(vec([]byte{0, 0x41, 0, 0x0b}), billion))), weft.ResourceExhausted, "too many elements"},
		{"a billion data segments", assemble(sec(11, billion)), weft.ResourceExhausted, "too many data segments"},
		{"a data segment of a billion bytes", assemble(sec(11, cat(u32(1), []byte{1}, billion))), weft.InvalidArgument, "says that 1073741824 bytes follow, but 0 do"},
		{"a billion names", assemble(sec(0, cat(sized([]byte("name")), []byte{1}, sized(billion)))), weft.OK, ""},
		{"4 billion locals", function(cat(u32(1), u32(math32), []byte{0x7f}), []byte{0x0b}), weft.ResourceExhausted, "function 0 of the module has too many locals: 4294967295, the limit is 5000"},
		{"100,000 nested blocks", function([]byte{0}, cat(repeat(100_000, 2, 0x40), repeat(100_001, 0x0b))), weft.ResourceExhausted, "blocks inside each other: 5001, the limit is 5000"},
		{"100,000 loops in a row", function([]byte{0}, cat(repeat(100_000, 3, 0x40, 0x0b), []byte{0x0b})), weft.ResourceExhausted, "too many blocks: 100000, the limit is 5000"},
		{"5,000 locals and 1,000 blocks", function(cat(u32(1), u32(5000), []byte{0x7f}), cat(repeat(1000, 2, 0x40, 0x0b), []byte{0x0b})), weft.ResourceExhausted, "blocks times locals: 5000000, the limit is 500000"},
		{"a function of 1 MiB", function([]byte{0}, cat(repeat(1<<20, 1), []byte{0x0b})), weft.ResourceExhausted, "bytes of code"},
		{"a br_table of a million", function([]byte{0}, cat([]byte{0x41, 0, 0x0e}, u32(1<<20))), weft.ResourceExhausted, "targets of br_table"},
		{"a table of a billion", assemble(sec(4, vec(cat([]byte{0x70, 0}, billion)))), weft.ResourceExhausted, "elements in a table: 1073741824, the limit is 65536"},
		{"a memory of 4 GiB", assemble(sec(5, vec(cat([]byte{0}, u32(65536))))), weft.ResourceExhausted, "pages of memory"},
		{"a memory of 100 MiB", assemble(sec(5, vec(cat([]byte{0}, u32(1600))))), weft.ResourceExhausted, "wants 102400 KiB of memory at its start, the limit is 64 MiB"},
		{"a shared memory", assemble(sec(5, vec([]byte{3, 1, 1}))), weft.InvalidArgument, "shared"},
		{"two memories", assemble(sec(5, vec([]byte{0, 1}, []byte{0, 1}))), weft.ResourceExhausted, "too many memories: 2, the limit is 1"},
		{"an import that nobody offers", imports("env", "system"), weft.InvalidArgument, "imports env.system, which this host does not offer"},
		{"an import with another type", imports("weft/v1", "call"), weft.InvalidArgument, "imports weft/v1.call as (i32) -> (i32), but it is (i32, i32, i32, i32, i32, i32) -> (i64)"},
		{"the host's own import", imports("weft/rt", "tick"), weft.InvalidArgument, "imports weft/rt.tick"},
		{"an imported memory", assemble(sec(2, vec(cat(sized([]byte("a")), sized([]byte("m")), []byte{2, 0, 1})))), weft.InvalidArgument, "imports a.m, which is no function"},
		{"a reserved export", assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(3, vec([]byte{0})), sec(7, vec(cat(sized([]byte("weft:fuel")), []byte{0, 0}))), sec(10, vec(sized(code())))), weft.InvalidArgument, `exports "weft:fuel"`},
		{"the fuel as a global of its own", function([]byte{0}, []byte{0x42, 0, 0x24, 0, 0x0b}), weft.InvalidArgument, "global 0 does not exist"},
		{"the fuel's local", function([]byte{0}, []byte{0x20, 0, 0x1a, 0x0b}), weft.InvalidArgument, "function 0: local 0 does not exist"},
		{"a call of tick", function([]byte{0}, []byte{0x10, 1, 0x0b}), weft.InvalidArgument, "function 1 does not exist"},
		{"a local of a later kind of type", function([]byte{1, 1, 0x63, 1}, []byte{0x0b}), weft.InvalidArgument, "value type 0x63 is not one of WebAssembly 2.0"},
		{"an exception", function([]byte{0}, []byte{0x08, 0, 0x0b}), weft.InvalidArgument, "instruction 0x8 is not one of WebAssembly 2.0"},
		{"sections out of order", assemble(sec(3, vec()), sec(1, vec())), weft.InvalidArgument, "section 1 is unknown, twice or out of order"},
		{"a body that leaves nothing on the stack", program([]byte{0, 0x0b}), weft.InvalidArgument, "the module is not valid: invalid function[0]"},
		{"a manifest that is no JSON", AppendSection(guest, ManifestSection, []byte(`name: shop`)), weft.InvalidArgument, "the manifest cannot be read: invalid character"},
		{"a manifest with an unknown field", AppendSection(guest, ManifestSection, []byte(`{"name":"shop","grant":{}}`)), weft.InvalidArgument, `unknown field "grant"`},
		{"a manifest with a wrong type", AppendSection(guest, ManifestSection, []byte(`{"limits":{"memoryMiB":"8"}}`)), weft.InvalidArgument, "memoryMiB"},
		{"a manifest that goes on", AppendSection(guest, ManifestSection, []byte(`{"name":"shop"}{}`)), weft.InvalidArgument, "goes on after its end"},
		{"a manifest of 1 MiB", AppendSection(guest, ManifestSection, repeat(1<<20, ' ')), weft.ResourceExhausted, "the manifest has 1048576 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := r.Check(context.Background(), c.wasm)
			if weft.CodeOf(err) != c.code {
				t.Fatalf("got %v (%v), want %v", err, weft.CodeOf(err), c.code)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %q, want %q in it", err, c.says)
			}
		})
	}
}

const math32 = 1<<32 - 1

func TestEveryDeathOfTheChildIsUnderstood(t *testing.T) {
	self := checkArgs()[0]
	for _, c := range []struct {
		name  string
		check []string
		max   time.Duration
		code  weft.Code
		says  string
	}{
		{"it takes too long", []string{self, "__sleep"}, 200 * time.Millisecond, weft.ResourceExhausted, "it took longer than 200ms"},
		{"it says nothing", []string{self, "__silent"}, 0, weft.Internal, "gave no verdict"},
		{"it is not there", []string{"/nonexistent/weft"}, 0, weft.Unavailable, "could not be run"},
		{"it is killed", []string{self, "__killed"}, 0, weft.ResourceExhausted, "the system killed the check"},
		{"it runs out of memory", []string{self, "__hog"}, 0, weft.ResourceExhausted, "it took more than 2048 MiB of memory"},
		{"it breaks down", []string{self, "__broken"}, 0, weft.InvalidArgument, "broke down over the module (exit status 2): panic: index out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, Options{Check: c.check, CheckMax: c.max})
			if _, err := r.Check(context.Background(), guest); weft.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%v)", err, weft.CodeOf(err))
			}
		})
	}
}

func TestACanceledCheckEnds(t *testing.T) {
	r := open(t, Options{Check: []string{os.Args[0], "__sleep"}})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.Check(ctx, guest); weft.CodeOf(err) != weft.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTheLargestModuleThatIsAdmittedIsCheckedInTime(t *testing.T) {
	r := open(t, Options{})
	var bodies [][]byte
	one := cat(u32(1), u32(400), []byte{0x7f}, repeat(1200, 2, 0x40, 0x0b), repeat(50_000, 1), []byte{0x20, 0, 0x0b})
	for range 8 { // eight times 480,000 blocks times locals, of 4,000,000
		bodies = append(bodies, one)
	}
	began := time.Now()
	if _, err := r.Check(context.Background(), program(bodies...)); err != nil {
		t.Errorf("got %v", err)
	}
	t.Logf("checked in %v", time.Since(began))
}

// TestACheckByAnotherVersionIsFoundOut: what the host would compile for want of it may be
// what a child has to be limited for.
func TestACheckByAnotherVersionIsFoundOut(t *testing.T) {
	r := open(t, Options{Check: []string{checkArgs()[0], "__other"}})
	_, err := r.Load(context.Background(), "x", bytesOf(guest), Terms{})
	if weft.CodeOf(err) != weft.Unavailable || !strings.Contains(err.Error(), "is it another version?") {
		t.Errorf("got %v", err)
	}
}

// TestACacheThatCannotBeReadIsMadeAnew, as after a power cut.
func TestACacheThatCannotBeReadIsMadeAnew(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":   func([]byte) []byte { return nil },
		"changed": func(b []byte) []byte { b[len(b)/2] ^= 0xff; return b },
	} {
		dir := t.TempDir()
		r := open(t, Options{CacheDir: dir})
		spoiled := func() {
			t.Helper()
			if _, err := r.Check(context.Background(), guest); err != nil {
				t.Errorf("%s: the check: %v", name, err)
			}
			files, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
			if err != nil || len(files) != 1 {
				t.Fatalf("%s: %v, %v", name, files, err)
			}
			code, err := os.ReadFile(files[0])
			if err == nil {
				err = os.WriteFile(files[0], spoil(code), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		spoiled()
		spoiled() // by then the child has made it anew
		m := loadIn(t, r, guest, weft.Limits{})
		if _, err := m.Call(context.Background(), newEnv(), "noop", Input{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACacheOverItsLimitIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "wazero-of-yesterday")
	if err := errors.Join(os.Mkdir(other, 0o700), os.WriteFile(filepath.Join(other, "large"), make([]byte, 30_000), 0o600)); err != nil {
		t.Fatal(err)
	}
	r := open(t, Options{CacheDir: dir, CacheMax: 31_000})
	check := func(n byte) int {
		t.Helper()
		wasm := program(code(0x41, n))
		if _, err := r.Check(context.Background(), wasm); err != nil {
			t.Fatal(err)
		}
		if !inCache(r.codeDir, entryOf(meteredOf(t, wasm))) {
			t.Errorf("module %d is not in the cache", n)
		}
		return len(filesIn(t, dir))
	}
	if n := check(1); n != 2 {
		t.Errorf("%d files are there, and the limit is not reached", n)
	}
	for n := byte(2); check(n) != 1; n++ {
		if n > 40 {
			t.Fatal("it is never made anew")
		}
	}
	if n := check(50); n != 2 {
		t.Errorf("%d files are there after it was made anew", n)
	}
}
