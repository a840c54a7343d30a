package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/script"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
)

// The test binary is also the child that checks modules.
func TestMain(m *testing.M) {
	wasm.Child()
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or each of those children sleeps for a second at its end
	os.Exit(m.Run())
}

const ns = "default"

// shelf is a catalog on a file that can be opened again.
type shelf struct {
	t   *testing.T
	dir string
	db  *store.DB
	rt  *wasm.Runtime
	*catalog.Catalog
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: t.TempDir()}
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *shelf) open() {
	s.t.Helper()
	ctx := context.Background()
	var err error
	if s.db, err = store.Open(ctx, store.Options{Path: filepath.Join(s.dir, "weft.db")}); err != nil {
		s.t.Fatal(err)
	}
	if s.rt, err = wasm.Open(ctx, wasm.Options{CacheDir: filepath.Join(s.dir, "cache")}); err != nil {
		s.t.Fatal(err)
	}
	if s.Catalog, err = catalog.Open(ctx, s.db, s.rt, catalog.Options{Scripts: script.New(s.rt)}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shelf) close() {
	if err := errors.Join(s.db.Close(), s.rt.Close(context.Background())); err != nil {
		s.t.Error(err)
	}
}

func (s *shelf) push(p catalog.Push) *catalog.Module {
	s.t.Helper()
	pushed, err := s.Push(s.t.Context(), ns, p)
	if err != nil {
		s.t.Fatal(err)
	}
	return pushed.Module
}

// rows counts what is stored.
func (s *shelf) rows() (n int64) {
	s.t.Helper()
	err := s.db.Query(s.t.Context(), "select (select count(*) from blob)+(select count(*) from module)+(select count(*) from workflow)", nil,
		func(r store.Row) error { n = r.Int(0); return nil })
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// tiny is a module whose handlers all answer OK with no output. Another salt
// makes other bytes of it.
func tiny(salt byte, handlers ...string) []byte {
	section := func(id byte, body []byte) []byte { return append([]byte{id, byte(len(body))}, body...) }
	n := byte(len(handlers))
	funcs, exports, code := []byte{n}, []byte{n}, []byte{n}
	for i, name := range handlers {
		funcs = append(funcs, 0)
		exports = append(append(append(exports, byte(len(name))), name...), 0, byte(i))
		code = append(code, 7, 0, 0x41, salt&0x3f, 0x1a, 0x41, 0, 0x0b) // no locals; i32.const salt; drop; i32.const 0; end
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = append(out, section(1, []byte{1, 0x60, 1, 0x7f, 1, 0x7f})...)
	out = append(out, section(3, funcs)...)
	out = append(out, section(7, exports)...)
	return append(out, section(10, code)...)
}

func manifest(name, version string, handlers ...string) *weft.Manifest {
	m := &weft.Manifest{Name: name, Version: version}
	for _, h := range handlers {
		m.Handlers = append(m.Handlers, weft.HandlerSpec{Name: h})
	}
	return m
}

func withSection(module []byte, m *weft.Manifest) []byte {
	data, _ := json.Marshal(m)
	return wasm.AppendSection(module, wasm.ManifestSection, data)
}

func TestPush(t *testing.T) {
	s := newShelf(t)
	m := s.push(catalog.Push{Wasm: tiny(1, "take", "give"), Name: "stock", Version: "1.0.0"})
	if got := fmt.Sprintf("%s %d %v", m, len(m.Digest), m.Manifest.Handlers); got != "stock:1.0.0 64 [{give   map[] map[]} {take   map[] map[]}]" {
		t.Errorf("without a manifest every export is a handler: %s", got)
	}
	again, err := s.Push(t.Context(), ns, catalog.Push{Wasm: tiny(1, "take", "give"), Name: "stock", Version: "1.0.0"})
	if err != nil || !again.Unchanged || again.Module != m {
		t.Errorf("the same twice: unchanged %v, %v", again.Unchanged, err)
	}
	own := s.push(catalog.Push{Wasm: withSection(tiny(2, "look"), manifest("eyes", "0.1.0", "look"))})
	if own.String() != "eyes:0.1.0" {
		t.Errorf("the manifest of the section: %s", own)
	}
	beside := s.push(catalog.Push{Wasm: withSection(tiny(3, "look"), manifest("eyes", "0.1.0", "look")), Manifest: manifest("eyes", "0.2.0", "look")})
	flag := s.push(catalog.Push{Wasm: tiny(4, "look"), Manifest: manifest("eyes", "0.2.0", "look"), Version: "0.3.0"})
	if beside.Version != "0.2.0" || flag.Version != "0.3.0" {
		t.Errorf("a file beside wins over the section, a flag over both: %s, %s", beside, flag)
	}
}

func TestWhatLiesBesideAModuleWinsOverWhatIsInside(t *testing.T) {
	s := newShelf(t)
	inside := manifest("stock", "1.0.0", "take")
	inside.Config = map[string]string{"shelf": "a", "door": "b"}
	code := wasm.AppendSection(withSection(tiny(1, "take"), inside), wasm.DescriptorSection, []byte("inside"))
	m := s.push(catalog.Push{Wasm: code, Config: map[string]string{"shelf": "c"}})
	if string(m.Descriptors) != "inside" || m.Config["shelf"] != "c" || m.Config["door"] != "b" {
		t.Errorf("descriptors %s, configuration %v", m.Descriptors, m.Config)
	}
	m = s.push(catalog.Push{Wasm: code, Version: "1.1.0", Descriptors: []byte("beside")})
	if string(m.Descriptors) != "beside" || m.Config["shelf"] != "a" {
		t.Errorf("descriptors %s, configuration %v", m.Descriptors, m.Config)
	}
}

func TestRefusedPushesStoreNothing(t *testing.T) {
	s := newShelf(t)
	s.push(catalog.Push{Wasm: tiny(1, "take"), Name: "stock", Version: "1.0.0", Config: map[string]string{"shelf": "a"}})
	before := s.rows()
	with := func(change func(*weft.Manifest)) catalog.Push {
		m := manifest("order", "1.0.0", "place")
		change(m)
		return catalog.Push{Wasm: tiny(2, "place"), Manifest: m}
	}
	for name, c := range map[string]struct {
		push catalog.Push
		code weft.Code
		says string
	}{
		"no Wasm at all":     {catalog.Push{Wasm: []byte("hello"), Name: "order", Version: "1.0.0"}, weft.InvalidArgument, ""},
		"no name":            {catalog.Push{Wasm: tiny(2, "place"), Version: "1.0.0"}, weft.InvalidArgument, "--name"},
		"no lifecycle":       {with(func(m *weft.Manifest) { m.Lifecycle = "once" }), weft.InvalidArgument, `lifecycle is "once"`},
		"a name in capitals": {catalog.Push{Wasm: tiny(2, "place"), Name: "Order", Version: "1.0.0"}, weft.InvalidArgument, "lower-case"},
		"no version":         {catalog.Push{Wasm: tiny(2, "place"), Name: "order"}, weft.InvalidArgument, "--version"},
		"half a version":     {catalog.Push{Wasm: tiny(2, "place"), Name: "order", Version: "1.0"}, weft.InvalidArgument, "semantic version"},
		"no handler":         {catalog.Push{Wasm: tiny(2), Name: "order", Version: "1.0.0"}, weft.InvalidArgument, "no handler"},
		"a handler that is no export": {with(func(m *weft.Manifest) { m.Handlers[0].Export = "plaice" }), weft.InvalidArgument,
			"handlers of this module: place"},
		"a handler listed twice": {with(func(m *weft.Manifest) { m.Handlers = append(m.Handlers, m.Handlers[0]) }), weft.InvalidArgument, "twice"},
		"a subscription of nobody": {with(func(m *weft.Manifest) { m.Subscriptions = []weft.Subscription{{Handler: "x", Type: "t"}} }),
			weft.InvalidArgument, "name a handler of this module"},
		"a grant that would write a line of its own": {with(func(m *weft.Manifest) { m.Grants.State = []string{"a\n  signed    by key 1"} }), weft.InvalidArgument,
			`asks for "a\n  signed    by key 1", which cannot be printed`},
		"more handlers than the limit": {with(func(m *weft.Manifest) { m.Handlers = make([]weft.HandlerSpec, 1001) }), weft.ResourceExhausted, "1000"},
		"a handler that another module has": {catalog.Push{Wasm: tiny(3, "take"), Name: "order", Version: "1.0.0"}, weft.AlreadyExists,
			"handler take belongs to module stock"},
		"other bytes under the same version": {catalog.Push{Wasm: tiny(4, "take"), Name: "stock", Version: "1.0.0"}, weft.AlreadyExists,
			"push a new one"},
		"other configuration under the same version": {catalog.Push{Wasm: tiny(1, "take"), Name: "stock", Version: "1.0.0",
			Config: map[string]string{"shelf": "b"}}, weft.AlreadyExists, "configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Push(t.Context(), ns, c.push)
			if weft.CodeOf(err) != c.code || err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v: %v, want %v with %q", weft.CodeOf(err), err, c.code, c.says)
			}
		})
	}
	if n := s.rows(); n != before || len(s.Modules(ns)) != 1 {
		t.Errorf("%d rows and %d modules are there, %d and 1 were", n, len(s.Modules(ns)), before)
	}
}

func TestGrants(t *testing.T) {
	s := newShelf(t)
	asks := func(version string, events ...string) catalog.Push {
		m := manifest("order", version, "place")
		m.Grants.Events = events
		return catalog.Push{Wasm: tiny(1, "place"), Manifest: m}
	}
	check := func(m *catalog.Module, want ...string) {
		t.Helper()
		if !slices.Equal(m.Grants.Events, want) {
			t.Errorf("%s may publish %q, want %q", m, m.Grants.Events, want)
		}
	}
	check(s.push(asks("1.0.0", "shop.*")))
	granted := asks("1.0.0", "shop.*")
	granted.Grant = true
	check(s.push(granted), "shop.*")
	check(s.push(asks("1.1.0", "shop.placed", "bank.*")), "shop.placed")
	check(s.push(asks("0.9.0", "shop.*")))
	m, err := s.SetGrants(t.Context(), ns, "order", "1.1.0", weft.Grants{Events: []string{"bank.paid"}})
	if err != nil {
		t.Fatal(err)
	}
	check(m, "bank.paid")
	s.close()
	s.open()
	m, err = s.Module(ns, "order", "")
	if err != nil {
		t.Fatal(err)
	}
	check(m, "bank.paid")
}

func TestHandlerVersions(t *testing.T) {
	s := newShelf(t)
	for i, v := range []string{"1.4.0", "1.10.0", "2.0.0", "2.1.0-rc.1"} {
		s.push(catalog.Push{Wasm: tiny(byte(i), "charge-card"), Name: "payment", Version: v})
	}
	for written, want := range map[string]string{"charge-card": "2.0.0", "charge-card:1": "1.10.0", "charge-card:1.4": "1.4.0",
		"charge-card:1.4.0@default": "1.4.0", "charge-card:2.1": "2.1.0-rc.1", "charge-card:2.1.0-rc.1": "2.1.0-rc.1"} {
		ref, err := weft.ParseRef(written)
		if err != nil {
			t.Fatal(err)
		}
		h, err := s.Handler(t.Context(), ns, ref)
		if err != nil || h.Ref.Version != want {
			t.Errorf("%s is version %q (%v), want %s", written, h.Ref.Version, err, want)
			continue
		}
		if _, err := h.Call(t.Context(), nil, wasm.Input{}); err != nil {
			t.Errorf("call %s: %v", h.Ref, err)
		}
	}
	for written, hint := range map[string]string{"charge-cart": "did you mean charge-card?", "charge-card:3": "it has 1.4.0, 1.10.0",
		"ship": "weft module push", "charge-card:1@eu": "catalog default"} {
		ref, _ := weft.ParseRef(written)
		if _, err := s.Handler(t.Context(), ns, ref); weft.CodeOf(err) != weft.NotFound || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v, want %q", written, err, hint)
		}
	}
	if _, err := s.Handler(t.Context(), "other", weft.Ref{Name: "charge-card"}); weft.CodeOf(err) != weft.NotFound {
		t.Errorf("another namespace sees it: %v", err)
	}
}

func flow(version, call string) []byte {
	return []byte("document: { dsl: '1.0.3', namespace: shop, name: pay, version: '" + version + "' }\n" +
		"schedule: { on: { one: { with: { type: shop.placed } } } }\ndo:\n  - charge: { call: '" + call + "' }\n")
}

func TestWorkflows(t *testing.T) {
	s := newShelf(t)
	ctx := t.Context()
	var changes int
	s.OnChange(func() { changes++ })
	s.push(catalog.Push{Wasm: tiny(1, "charge-card"), Name: "payment", Version: "1.0.0"})

	_, err := s.Apply(ctx, ns, "pay.yaml", flow("1.0.0", "charge-cart"))
	var problems workflows.Problems
	if !errors.As(err, &problems) || problems[0].Line != 4 || !strings.Contains(err.Error(), "did you mean charge-card?") {
		t.Errorf("an unknown handler: %v", err)
	}
	a, err := s.Apply(ctx, ns, "pay.yaml", flow("1.0.0", "charge-card:1"))
	if err != nil || len(a.Pinned) != 1 || a.Pinned[0].Ref.String() != "charge-card:1.0.0@default" {
		t.Fatalf("applied %+v, %v", a, err)
	}
	if a, err := s.Apply(ctx, ns, "pay.yaml", flow("1.0.0", "charge-card:1")); err != nil || !a.Unchanged {
		t.Errorf("the same twice: %+v, %v", a, err)
	}
	if _, err := s.Apply(ctx, ns, "pay.yaml", flow("1.0.0", "charge-card")); weft.CodeOf(err) != weft.AlreadyExists {
		t.Errorf("another text under the same version: %v", err)
	}
	s.push(catalog.Push{Wasm: tiny(2, "charge-card"), Name: "payment", Version: "1.1.0"})
	if err := s.Remove(ctx, ns, "payment", "1.0.0"); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("a module that a workflow calls was removed: %v", err)
	}
	if changes != 3 {
		t.Errorf("%d changes were told, want 3", changes)
	}

	s.close()
	s.open()
	def, err := s.Workflow(ns, "pay", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := def.Handlers()[0].Ref.String(); got != "charge-card:1.0.0@default" {
		t.Errorf("after a restart it calls %s", got)
	}
	if got := s.Triggered(ns, weft.Event{ID: "1", Source: "/t", Type: "shop.placed"}); len(got) != 1 {
		t.Errorf("the event starts %d workflows", len(got))
	}
	if err := s.RemoveWorkflow(ctx, ns, "shop/pay", "1.0.0", [2]int{0, 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, ns, "payment", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, ns, "payment", "1.1.0"); err != nil {
		t.Fatal(err)
	}
	if n := s.rows(); n != 0 || len(s.Handlers(ns)) != 0 {
		t.Errorf("%d rows and %d handlers are left", n, len(s.Handlers(ns)))
	}
}

func TestAWorkflowRunsOnlyWhatIsThere(t *testing.T) {
	s := newShelf(t)
	text := func(name, runs string) []byte {
		return []byte("document: { dsl: '1.0.3', namespace: shop, name: " + name + ", version: '1.0.0' }\ndo:\n  - it:\n      run: { workflow: { namespace: shop, name: " + runs + ", version: '1.0.0' } }\n")
	}
	apply := func(name, runs string) error {
		_, err := s.Apply(t.Context(), ns, name+".yaml", text(name, runs))
		return err
	}
	if err := apply("outer", "inner"); err == nil || !strings.HasPrefix(err.Error(), "outer.yaml:4:24: ") || !strings.Contains(err.Error(), `"shop/inner"`) {
		t.Errorf("one that is not there: %v", err)
	}
	if err := apply("inner", "inner"); err != nil {
		t.Errorf("one that runs itself: %v", err)
	}
	if err := apply("outer", "inner"); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	if err := s.RemoveWorkflow(t.Context(), ns, "shop/inner", "1.0.0", [2]int{0, 1}); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("one that another runs was removed: %v", err)
	}
	for _, name := range []string{"shop/outer", "shop/inner"} {
		if err := s.RemoveWorkflow(t.Context(), ns, name, "1.0.0", [2]int{0, 1}); err != nil {
			t.Error(err)
		}
	}
}

func TestSubscriptionsOfNewestVersion(t *testing.T) {
	s := newShelf(t)
	for i, v := range []string{"1.0.0", "2.0.0"} {
		m := manifest("mail", v, "notify")
		m.Subscriptions = []weft.Subscription{{Handler: "notify", Type: "shop.placed"}}
		s.push(catalog.Push{Wasm: tiny(byte(i), "notify"), Manifest: m})
	}
	if got := s.Subscriptions(ns); len(got) != 1 || got[0].Handler.String() != "notify:2.0.0@default" {
		t.Errorf("subscriptions: %+v", got)
	}
}

// Calls go on while versions come and go.
func TestHammer(t *testing.T) {
	s := newShelf(t)
	s.push(catalog.Push{Wasm: tiny(0, "take"), Name: "stock", Version: "1.0.0"})
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for ctx.Err() == nil {
				h, err := s.Handler(t.Context(), ns, weft.Ref{Name: "take", Version: "1"})
				if err == nil {
					_, err = h.Call(t.Context(), nil, wasm.Input{})
				}
				if err != nil {
					t.Errorf("call: %v", err)
					return
				}
				s.Handlers(ns)
				s.Subscriptions(ns)
			}
		})
	}
	for i := range byte(3) {
		s.push(catalog.Push{Wasm: tiny(i+1, "take"), Name: "stock", Version: fmt.Sprintf("2.%d.0", i)})
		if _, err := s.SetGrants(t.Context(), ns, "stock", "1.0.0", weft.Grants{State: []string{fmt.Sprint(i)}}); err != nil {
			t.Error(err)
		}
		if err := s.Remove(t.Context(), ns, "stock", fmt.Sprintf("2.%d.0", i)); err != nil {
			t.Error(err)
		}
	}
	stop()
	callers.Wait()
}

func TestAPromotedVersionIsCalledWhereNoneIsNamed(t *testing.T) {
	s := newShelf(t)
	var told []string
	s.OnChange(func() {
		h, _ := s.Handler(context.Background(), ns, weft.Ref{Name: "take"})
		told = append(told, h.Ref.Version)
	})
	push := func(version string) {
		m := manifest("stock", version, "take")
		m.Subscriptions = []weft.Subscription{{Handler: "take", Type: "t"}}
		s.push(catalog.Push{Wasm: tiny(1, "take"), Manifest: m, Descriptors: []byte(version)})
	}
	promote := func(version, want string) {
		t.Helper()
		if m, err := s.Promote(t.Context(), ns, "stock", version); err != nil || m.Version != want {
			t.Errorf("promoted %v, %v", m, err)
		}
	}
	push("1.0.0")
	push("1.1.0")
	promote("1.0.0", "1.0.0")
	push("1.2.0") // changes nothing of that
	s.close()
	s.open()
	m, err := s.Module(ns, "stock", "")
	if err != nil || m.Version != "1.0.0" || !m.Promoted || s.Subscriptions(ns)[0].Handler.Version != "1.0.0" {
		t.Errorf("after a restart: %v, %v", m, err)
	}
	if h, err := s.Handler(t.Context(), ns, weft.Ref{Name: "take", Version: "1"}); err != nil || h.Ref.Version != "1.2.0" {
		t.Errorf("a version that is named: %v, %v", h.Ref, err)
	}
	for _, sv := range s.Services(ns) {
		if sv.Current != (sv.Version == "1.0.0") || string(sv.Descriptors) != sv.Version {
			t.Errorf("%s: %q, current %v", sv, sv.Descriptors, sv.Current)
		}
	}
	promote("", "1.2.0")
	promote("1.1", "1.1.0")
	if err := s.Remove(t.Context(), ns, "stock", "1.1.0"); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Module(ns, "stock", ""); err != nil || m.Version != "1.2.0" {
		t.Errorf("when it has gone: %v, %v", m, err)
	}
	if got := fmt.Sprint(told); got != "[1.0.0 1.1.0 1.0.0 1.0.0]" {
		t.Errorf("told of %s", got)
	}
	for _, name := range []string{"stock", "flock"} {
		if _, err := s.Promote(t.Context(), ns, name, "7"); weft.CodeOf(err) != weft.NotFound {
			t.Errorf("%s:7: %v", name, err)
		}
	}
}

// What is live is what is called, by whatever name.
func TestAHandlerThatTheLiveVersionHasNotIsCalledByItsVersion(t *testing.T) {
	s := newShelf(t)
	push := func(version string, handlers ...string) {
		s.push(catalog.Push{Wasm: tiny(1, handlers...), Manifest: manifest("stock", version, handlers...)})
	}
	push("1.0.0", "take", "count")
	push("1.1.0", "take")
	push("2.0.0", "take", "give")
	for _, c := range []struct{ what, live, ref, found, says string }{
		{"dropped by the newest", "", "count", "", "stock:2.0.0, which is live, has no handler count; stock:1.0.0 has it: name that version, as count:1.0.0"},
		{"dropped by the newest of those that are named", "", "count:1", "", "stock:1.1.0, which is live, has no handler count"},
		{"dropped, and its version named, as a step has it", "", "count:1.0.0", "1.0.0", ""},
		{"of the newest", "", "give", "2.0.0", ""},
		{"of the newest, when an older one is promoted", "1.1.0", "give", "", "stock:1.1.0, which is live, has no handler give; stock:2.0.0 has it"},
		{"of the newest that is named, when an older one is promoted", "1.1.0", "give:2", "2.0.0", ""},
		{"of an older one that is promoted", "1.0.0", "count", "1.0.0", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			if _, err := s.Promote(t.Context(), ns, "stock", c.live); err != nil {
				t.Fatal(err)
			}
			name, version, _ := strings.Cut(c.ref, ":")
			h, err := s.Handler(t.Context(), ns, weft.Ref{Name: name, Version: version})
			if c.found != "" && (err != nil || h.Ref.Version != c.found) {
				t.Errorf("%v, %v", h.Ref, err)
			}
			if c.found == "" && (weft.CodeOf(err) != weft.NotFound || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v: %v", h.Ref, err)
			}
			listed := slices.ContainsFunc(s.Handlers(ns), func(h catalog.HandlerInfo) bool { return h.Ref.Name == name })
			if version == "" && listed != (c.found != "") {
				t.Errorf("listed: %v", listed)
			}
		})
	}
}

func TestAHandlerOfAVersionHasTheGrantsOfNow(t *testing.T) {
	s := newShelf(t)
	m := s.push(catalog.Push{Wasm: tiny(1, "shop.v1.Shop/Take"), Name: "stock", Version: "1.0.0"})
	if _, err := s.SetGrants(t.Context(), ns, "stock", "1.0.0", weft.Grants{State: []string{"new"}}); err != nil {
		t.Fatal(err)
	}
	h, err := s.HandlerOf(t.Context(), ns, m, "shop.v1.Shop/Take")
	if err != nil || fmt.Sprint(h.Module.Grants.State) != "[new]" {
		t.Errorf("granted %v, %v", h.Module.Grants, err)
	}
	if _, err := h.Call(t.Context(), nil, wasm.Input{}); err != nil {
		t.Errorf("a call: %v", err)
	}
	if _, err := s.HandlerOf(t.Context(), ns, m, "shop.v1.Shop/Give"); weft.CodeOf(err) != weft.NotFound || m.Has("shop.v1.Shop/Give") {
		t.Errorf("one that there is not: %v", err)
	}
}

func TestWhatIsNotAdmittedIsNotStored(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "weft.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rt, err := wasm.Open(t.Context(), wasm.Options{CacheDir: filepath.Join(dir, "cache")})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(context.Background())
	refused := errors.New("no")
	c, err := catalog.Open(t.Context(), db, rt, catalog.Options{Admit: func(_ string, m *catalog.Module) error {
		if string(m.Descriptors) == "bad" {
			return refused
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	section := wasm.AppendSection(tiny(1, "take"), wasm.DescriptorSection, []byte("bad"))
	for name, p := range map[string]catalog.Push{"in the module": {Wasm: section}, "beside it": {Wasm: tiny(1, "take"), Descriptors: []byte("bad")}} {
		if p.Name, p.Version = "stock", "1.0.0"; len(c.Modules(ns)) != 0 {
			t.Fatal("something is there")
		}
		if _, err := c.Push(t.Context(), ns, p); !errors.Is(err, refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if pushed, err := c.Push(t.Context(), ns, catalog.Push{Wasm: section, Name: "stock", Version: "1.0.0", Descriptors: []byte("good")}); err != nil || string(pushed.Module.Descriptors) != "good" {
		t.Errorf("what is beside wins: %v", err)
	}
}
