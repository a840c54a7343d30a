package wasm

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

// keeper is testdata/keep as Wasm.
var keeper = sync.OnceValues(func() ([]byte, error) { return goGuest("keep", "-buildmode=c-shared") })

func goKeeper(t testing.TB) []byte {
	t.Helper()
	wasm, err := keeper()
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func loadAs(t testing.TB, r *Runtime, life weft.Lifecycle, wasm []byte, limits weft.Limits) *Module {
	t.Helper()
	m, err := r.Load(context.Background(), t.Name(), bytesOf(wasm), Terms{Limits: limits, Lifecycle: life, Isolation: isolation})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestNothingOfACallIsLeft tells a guest a secret and looks for it: in what the
// guest answers to the next call, and in all of its memory.
func TestNothingOfACallIsLeft(t *testing.T) {
	secret := []byte("the moon landing was filmed by Kubrick")
	for _, c := range []struct {
		language string
		wasm     []byte
	}{{"C", guest}, {"Go", goKeeper(t)}} {
		for _, life := range []weft.Lifecycle{weft.Isolate, weft.Pool} {
			t.Run(c.language+" "+string(life), func(t *testing.T) {
				m := loadAs(t, open(t, Options{}), life, c.wasm, weft.Limits{Fuel: 20_000_000})
				for range 5 {
					for _, handler := range []string{"echo", "count"} {
						if _, ok := m.handlers[handler]; ok {
							if _, err := m.Call(context.Background(), nil, handler, Input{Body: secret}); err != nil {
								t.Fatal(err)
							}
						}
					}
				}
				if m.crew == nil { // else its memory cannot be seen
					i := m.atRest()
					if found := bytes.Contains(i.memory.space[:i.memory.size], secret); found != (life == weft.Pool) {
						t.Errorf("the secret is in its memory: %v", found)
					}
				}
				if n := count(t, m); (n == 1) != (life == weft.Isolate) {
					t.Errorf("the guest has counted %d calls", n)
				}
				if s := m.Stats(); s.Made != 1 {
					t.Errorf("%d instances were made", s.Made)
				}
			})
		}
	}
}

func TestRandomNumbersDifferAfterAReset(t *testing.T) {
	m := loadAs(t, open(t, Options{}), weft.Isolate, goKeeper(t), weft.Limits{})
	seen := map[string]int{}
	for call := range 20 {
		out, err := m.Call(context.Background(), nil, "random", Input{})
		if err != nil {
			t.Fatal(err)
		}
		for _, number := range strings.Fields(string(out.Body)) {
			if before, again := seen[number]; again {
				t.Errorf("call %d gave %s, as call %d did", call, number, before)
			}
			seen[number] = call
		}
	}
	if s := m.Stats(); s.Made != 1 {
		t.Errorf("%d instances were made", s.Made)
	}
}

func TestAGeneratorThatAGuestSeedsItselfRepeats(t *testing.T) {
	m := loadAs(t, open(t, Options{}), weft.Isolate, goKeeper(t), weft.Limits{})
	var first string
	for call := range 3 {
		out, err := m.Call(context.Background(), nil, "throw", Input{})
		if err != nil {
			t.Fatal(err)
		}
		if call == 0 {
			first = string(out.Body)
		}
		if string(out.Body) != first || first == "" {
			t.Errorf("call %d gave %s, the first %s", call, out.Body, first)
		}
	}
}

// TestWhatAResetDoesNotBringBackEndsTheInstance has guests change more than
// memory and numbers. f answers 5, which is NotFound, when it sees a call before it.
func TestWhatAResetDoesNotBringBackEndsTheInstance(t *testing.T) {
	// A module with a global of its own, a table, passive segments, and f.
	with := func(global, body []byte) []byte {
		return assemble(
			sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f})),
			sec(3, vec([]byte{0})),
			sec(4, vec([]byte{0x70, 0, 4})),
			sec(5, vec([]byte{0, 1})),
			sec(6, vec(global)),
			sec(7, vec([]byte{1, 'f', 0, 0})),
			sec(9, vec([]byte{1, 0, 1, 0})),
			sec(12, u32(1)),
			sec(10, vec(sized(body))),
			sec(11, vec([]byte{1, 1, 'x'})),
		)
	}
	number := []byte{0x7f, 1, 0x41, 0, 0x0b}
	reference := []byte{0x70, 1, 0xd0, 0x70, 0x0b}
	vector := cat([]byte{0x7b, 1, 0xfd, 12}, make([]byte, 16), []byte{0x0b})
	times5 := []byte{0x41, 5, 0x6c} // * 5
	for _, c := range []struct {
		name string
		wasm []byte
		made int64
	}{
		{"a global that it does not export", with(number, code(cat([]byte{0x23, 0, 0x41, 1, 0x24, 0}, times5)...)), 1},
		{"a byte of memory", with(number, code(cat([]byte{0x41, 0, 0x28, 2, 0, 0x41, 0, 0x41, 1, 0x36, 2, 0}, times5)...)), 1},
		{"a global with a reference", with(reference, code(cat([]byte{0x23, 0, 0xd1, 0x45, 0xd2, 0, 0x24, 0}, times5)...)), 3},
		{"a global with a vector", with(vector, code(cat([]byte{0x23, 0, 0xfd, 27, 0, 0x41, 1, 0xfd, 17, 0x24, 0}, times5)...)), 3},
		{"an element of a table", with(number, code(cat([]byte{0x41, 0, 0x25, 0, 0xd1, 0x45, 0x41, 0, 0xd2, 0, 0x26, 0}, times5)...)), 3},
		{"a larger table", with(number, code(cat([]byte{0xfc, 16, 0, 0x41, 4, 0x47, 0xd0, 0x70, 0x41, 1, 0xfc, 15, 0, 0x1a}, times5)...)), 3},
		{"a filled table", with(number, code(cat([]byte{0x41, 0, 0x25, 0, 0xd1, 0x45, 0x41, 0, 0xd2, 0, 0x41, 2, 0xfc, 17, 0}, times5)...)), 3},
		{"a table with a segment in it", with(number, code(cat([]byte{0x41, 0, 0x25, 0, 0xd1, 0x45, 0x41, 0, 0x41, 0, 0x41, 1, 0xfc, 12, 0, 0}, times5)...)), 3},
		{"a larger memory", with(number, code(cat([]byte{0x3f, 0, 0x41, 1, 0x47, 0x41, 1, 0x40, 0, 0x1a}, times5)...)), 1},
		{"a byte of what it has grown", with(number, code(cat([]byte{0x41, 1, 0x40, 0, 0x1a, 0x41}, signed(1<<16), []byte{0x28, 2, 0, 0x41}, signed(1<<16), []byte{0x41, 1, 0x36, 2, 0}, times5)...)), 1},
		{"a segment of data that is dropped", with(number, code(0xfc, 9, 0, 0x41, 0)), 3},
		{"a segment of elements that is dropped", with(number, code(0xfc, 13, 0, 0x41, 0)), 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := loadAs(t, open(t, Options{}), weft.Isolate, c.wasm, weft.Limits{})
			for range 3 {
				if _, err := m.Call(context.Background(), nil, "f", Input{}); err != nil {
					t.Error(err)
				}
			}
			if n := m.Stats().Made; n != c.made {
				t.Errorf("%d instances were made for 3 calls, want %d", n, c.made)
			}
			pooled := loadAs(t, open(t, Options{}), weft.Pool, c.wasm, weft.Limits{})
			var last error
			for range 2 {
				_, last = pooled.Call(context.Background(), nil, "f", Input{})
			}
			if drops := strings.Contains(c.name, "dropped"); (weft.CodeOf(last) == weft.NotFound) == drops {
				t.Errorf("in a pool the second call answers %v", last)
			}
		})
	}
}

// TestWhatACallHasGrownIsGone: the next one finds the end of memory where it was.
func TestWhatACallHasGrownIsGone(t *testing.T) {
	grow := cat([]byte{0x20, 0, 0x04, 0x7f, 0x41, 16, 0x40, 0, 0x1a}, []byte{0x41}, signed(1<<20), []byte{0x41, 1, 0x36, 2, 0, 0x41, 0, 0x05, 0x41}, signed(1<<16), []byte{0x28, 2, 0, 0x0b})
	m := loadAs(t, open(t, Options{}), weft.Isolate, program(code(grow...)), weft.Limits{})
	for n := range 3 { // grows by a MiB, and writes to the last page
		if _, err := m.Call(context.Background(), nil, "f", Input{Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if s := m.Stats(); s.Made != 1 || s.Live != 1 || s.Bytes != 2<<16 { // and the image
			t.Errorf("after %d calls %d instances were made, %d are there, with %d bytes", n+1, s.Made, s.Live, s.Bytes)
		}
	}
	if _, err := m.Call(context.Background(), nil, "f", Input{}); err == nil || !strings.Contains(err.Error(), "out of bounds memory access") {
		t.Errorf("a load past the end of memory: %v", err)
	}
}

func TestAnIsolatedGuestInGoLeavesNothingInTheHost(t *testing.T) {
	r := open(t, Options{Lifecycle: weft.Isolate}) // the operator's, whatever the module asks for
	m, env := loadAs(t, r, weft.Pool, goKeeper(t), weft.Limits{}), newEnv()
	for _, handler := range []string{"mutter", "hush", "mutter", "swell", "swell"} {
		if _, err := m.Call(context.Background(), env, handler, Input{}); err != nil {
			t.Error(handler, err)
		}
	}
	if want := []string{"INFO half a line", "INFO half a line"}; !slices.Equal(env.lines, want) {
		t.Errorf("logged %q", env.lines)
	}
	if s := m.Stats(); s.Made != 2 || s.Live != 1 {
		t.Errorf("made %d, live %d", s.Made, s.Live)
	}
}

func TestIsolatedCallsAtOnce(t *testing.T) {
	m := loadAs(t, open(t, Options{UsesMax: 20}), weft.Isolate, guest, weft.Limits{Concurrency: 4, Fuel: 20_000_000})
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for n := range 50 {
				if n%10 == 3 {
					m.Call(context.Background(), nil, []string{"trap", "grow", "spin"}[n/10%3], Input{})
				}
				if got := count(t, m); got != 1 {
					t.Errorf("the guest has counted %d calls", got)
				}
			}
		})
	}
	calls.Wait()
	if s := m.Stats(); s.Live != int64(s.Idle) || s.Running != 0 {
		t.Errorf("%+v", s)
	}
}

func TestLifecyclesHaveNames(t *testing.T) {
	if _, err := Open(context.Background(), Options{CacheDir: t.TempDir(), Lifecycle: "once"}); weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), `lifecycle is "once"`) {
		t.Errorf("got %v", err)
	}
}

func TestAGuestFullOfWhatLooksLikeAGeneratorIsSearchedBriefly(t *testing.T) {
	memory := make([]byte, 64<<20)
	for at := 0; at+8 <= len(memory); at += 8 {
		memory[at+4] = 32 // words; used and block are 0 in every second place
	}
	begun := time.Now()
	if found := findSeeds(memory); len(found) != 0 || time.Since(begun) > 30*time.Second {
		t.Errorf("found %v in %v", found, time.Since(begun))
	}
}

// What has begun without an image serves one call, and whoever begins when there is
// memory for one has it.
func TestAnImageIsMadeWhenThereIsMemoryForIt(t *testing.T) {
	one := loadAs(t, open(t, Options{}), weft.Pool, guest, weft.Limits{})
	count(t, one)
	r := open(t, Options{MemoryMax: 2 * one.Stats().Bytes})
	m := loadAs(t, r, weft.Isolate, guest, weft.Limits{})
	r.memory.of("").take(1, true) // too much for an image
	for n, made := range []int64{1, 2, 3, 3, 3} {
		if n == 2 {
			r.memory.of("").give(1)
		}
		if got := count(t, m); got != 1 || m.Stats().Made != made {
			t.Errorf("call %d is number %d of its instance; %d were made, want %d", n, got, m.Stats().Made, made)
		}
	}
}

func TestAnImageCountsAsMemoryOfAllGuests(t *testing.T) {
	r := open(t, Options{})
	m := loadAs(t, r, weft.Isolate, guest, weft.Limits{})
	count(t, m)
	one := loadAs(t, open(t, Options{}), weft.Pool, guest, weft.Limits{})
	count(t, one)
	if size := one.Stats().Bytes; m.Stats().Bytes != 2*size || r.Stats().MemoryBytes != m.Stats().Bytes {
		t.Errorf("%d bytes for an instance of %d", m.Stats().Bytes, size)
	}
	if err := m.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(context.Background()); err != nil || r.Stats().MemoryBytes != 0 || m.Stats().Bytes != 0 {
		t.Errorf("%d bytes are left: %v", r.Stats().MemoryBytes, err)
	}
}
