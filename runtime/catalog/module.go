package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/semver"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows/grpc"
)

// Module is one version of a module. Its fields must not be changed.
type Module struct {
	Name, Version, Digest string
	Size                  int64         // bytes of the upload
	Manifest              weft.Manifest // complete: name, version and handlers are filled in
	Imports               []string
	Grants                weft.Grants // what the operator has allowed
	Config                map[string]string
	Created               time.Time
	Descriptors           []byte         // FileDescriptorSet of its services; nil where it has none
	Promoted              bool           // it is called where no version is named, and not the newest
	Isolation             weft.Isolation // where it runs
	Signature             *Signature     // by a key that was trusted at its upload; nil for none
	Signed                bool           // that key is trusted now

	owner    string                         // of its instances: namespace, name and version
	services func() (*grpc.Services, error) // of Descriptors, read once
}

// Push is one upload.
type Push struct {
	Wasm          []byte
	Name, Version string            // empty: as the manifest says
	Manifest      *weft.Manifest    // from a file beside the module; nil: the module's own section
	Grant         bool              // allow all that the manifest asks for
	Config        map[string]string // over the manifest's defaults
	Descriptors   []byte            // FileDescriptorSet of its services; nil: the module's own section
	Signature     []byte            // of Wasm, as minisign writes it; nil for none
}

// Pushed is what came of an upload.
type Pushed struct {
	Module    *Module
	Unchanged bool     // the same bytes were there under this name and version
	Doubts    []string // what it counts on and does not get, or needs grants for
}

// Limits of a manifest.
const (
	manifestMax = 1 << 20 // bytes of the whole as JSON
	handlersMax = 1000    // handlers, subscriptions and bindings
)

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Push checks an upload and makes it live. When it is refused nothing is
// stored. A version is never replaced: other bytes under the same name and
// version are AlreadyExists.
func (c *Catalog) Push(ctx context.Context, ns string, p Push) (Pushed, error) {
	if err := c.db.Room(); err != nil {
		return Pushed{}, err
	}
	report, err := c.rt.CheckFor(ctx, ns, p.Wasm)
	if err != nil {
		return Pushed{}, err
	}
	manifest, err := Examine(c.rt, report, p)
	if err != nil {
		return Pushed{}, err
	}
	signature, doubt, err := c.signed(ns, report, manifest, p)
	if err != nil {
		return Pushed{}, err
	}
	m := &Module{Signature: signature, Name: manifest.Name, Version: manifest.Version, Digest: report.Digest, Size: report.Size, Manifest: manifest,
		Imports: report.Imports, Config: maps.Clone(manifest.Config), Created: time.Now().Truncate(time.Millisecond), Descriptors: p.Descriptors}
	if m.Descriptors == nil {
		m.Descriptors = wasm.SectionOf(p.Wasm, wasm.DescriptorSection)
	}
	if m.Config == nil {
		m.Config = map[string]string{}
	}
	maps.Copy(m.Config, p.Config)
	c.settle(ns, m)
	m.link()
	pushed, err := c.add(ctx, ns, m, p)
	pushed.Doubts = report.Doubts
	if doubt != "" {
		pushed.Doubts = append(slices.Clone(report.Doubts), doubt)
	}
	if err == nil && !pushed.Unchanged {
		c.log.Info("module is live", "namespace", ns, "module", m.Name, "version", m.Version, "digest", m.Digest)
		c.changed()
	}
	return pushed, err
}

// Examine is the manifest of an upload that passed Runtime.Check, complete. An
// upload whose manifest Push would refuse is refused by it, too.
func Examine(rt *wasm.Runtime, report wasm.Report, p Push) (weft.Manifest, error) {
	m, err := p.manifest(report)
	if err != nil {
		return m, err
	}
	return m, rt.Admit(report, m.Limits)
}

// CheckName refuses what is no name of a module.
func CheckName(name string) error {
	if nameForm.MatchString(name) {
		return nil
	}
	hint := "lower-case letters, digits and dashes, at most 63, the first one a letter"
	if name == "" {
		hint = "give a name in the manifest or with --name: " + hint
	}
	return weft.Errorf(weft.InvalidArgument, "catalog.CheckName", "%q is not a module name", name).WithHint("%s", hint)
}

// manifest is what the upload says of itself, checked and complete.
func (p Push) manifest(report wasm.Report) (weft.Manifest, error) {
	var m weft.Manifest
	switch {
	case p.Manifest != nil:
		m = *p.Manifest
	case report.Manifest != nil:
		m = *report.Manifest
	}
	if p.Name != "" {
		m.Name = p.Name
	}
	if p.Version != "" {
		m.Version = p.Version
	}
	if len(m.Handlers) == 0 {
		for _, name := range report.Handlers {
			m.Handlers = append(m.Handlers, weft.HandlerSpec{Name: name})
		}
		if report.Way == wasm.Command { // it has no name of its own
			m.Handlers[0].Name = m.Name
		}
	}
	if report.Way == wasm.Command {
		m.Handlers = slices.Clone(m.Handlers)
		for i := range m.Handlers {
			m.Handlers[i].Export = wasm.CommandExport
		}
	}
	return m, check(m, report)
}

func check(m weft.Manifest, report wasm.Report) error {
	refuse := func(hint, format string, args ...any) error {
		return weft.Errorf(weft.InvalidArgument, "catalog.Catalog.Push", format, args...).WithHint("%s", hint)
	}
	if err := CheckName(m.Name); err != nil {
		return err
	}
	if !semver.IsValid("v"+m.Version) || strings.Count(strings.SplitN(m.Version, "-", 2)[0], ".") != 2 || strings.Contains(m.Version, "+") {
		return refuse("give a version such as 1.4.0 in the manifest or with --version", "%q is not a semantic version", m.Version)
	}
	if m.Isolation != "" && m.Isolation != weft.Process {
		return refuse("ask for "+string(weft.Process)+", or leave it to the operator", "the manifest asks for isolation %q", m.Isolation)
	}
	if n := len(jsonOf(m)); n > manifestMax || max(len(m.Handlers), len(m.Subscriptions), len(m.Bind)) > handlersMax {
		return weft.Errorf(weft.ResourceExhausted, "catalog.Catalog.Push", "the manifest has %d bytes, %d handlers, %d subscriptions and %d bindings; the limits are %d, and %d of each",
			n, len(m.Handlers), len(m.Subscriptions), len(m.Bind), manifestMax, handlersMax)
	}
	if err := m.Lifecycle.Check("catalog.Catalog.Push"); err != nil {
		return err
	}
	if len(m.Handlers) == 0 && len(m.Bind) == 0 {
		return refuse("export a function with one i32 parameter and an i32 result", "module %s has no handler", m.Name)
	}
	names := map[string]bool{}
	for _, h := range m.Handlers {
		if ref, err := weft.ParseRef(h.Name); (err != nil || ref.Name != h.Name) && !weft.IsProcedure(h.Name) {
			return refuse("a name starts with a letter and has letters, digits, dashes and underscores; that of a method is package.Service/Method", "%q is not a handler name", h.Name)
		}
		if names[h.Name] {
			return refuse("name each handler once", "handler %s is listed twice", h.Name)
		}
		names[h.Name] = true
		if !slices.Contains(report.Handlers, exportOf(h)) {
			return refuse("handlers of this module: "+strings.Join(report.Handlers, ", "),
				"handler %s: the module exports no function %q with one i32 parameter and an i32 result", h.Name, exportOf(h))
		}
	}
	if err := checkBindings(m.Bind, names); err != nil {
		return err
	}
	g := m.Grants
	shown := slices.Concat(g.Peers, g.HTTP, g.Events, g.State, g.Config, g.Secrets)
	for _, s := range m.Subscriptions {
		shown = append(shown, s.Type)
	}
	for _, text := range shown { // to who decides what to grant
		if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return refuse("write it in letters, digits and signs", "the manifest asks for %q, which cannot be printed", text)
		}
	}
	for _, s := range m.Subscriptions {
		if !names[s.Handler] || s.Type == "" {
			return refuse("name a handler of this module and an event type", "subscription of %q to %q", s.Handler, s.Type)
		}
	}
	return nil
}

func exportOf(h weft.HandlerSpec) string {
	if h.Export != "" {
		return h.Export
	}
	return h.Name
}

// add stores a checked module and puts it into the snapshot.
func (c *Catalog) add(ctx context.Context, ns string, m *Module, p Push) (Pushed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.space(ns)
	was := slices.IndexFunc(s.modules[m.Name], func(o *Module) bool { return o.Version == m.Version })
	if was < 0 {
		if err := c.bind(ns, m); err != nil {
			return Pushed{}, err
		}
	}
	if was < 0 && m.serves() && c.admit != nil {
		if err := c.admit(ns, m); err != nil {
			return Pushed{}, err
		}
	}
	for _, name := range m.names() {
		if others := s.handlers[name]; len(others) > 0 && others[0].Name != m.Name {
			return Pushed{}, weft.Errorf(weft.AlreadyExists, "catalog.Catalog.Push", "handler %s belongs to module %s", name, others[0].Name).
				WithHint("rename one of them: handlers share one set of names in a namespace")
		}
	}
	if was >= 0 {
		was := s.modules[m.Name][was]
		if was.Digest == m.Digest && string(jsonOf(written(was.Manifest))) == string(jsonOf(m.Manifest)) && bytes.Equal(was.Descriptors, m.Descriptors) && (len(p.Config) == 0 || maps.Equal(was.Config, m.Config)) {
			return c.again(ctx, ns, was, m.Signature, p.Grant)
		}
		return Pushed{}, weft.Errorf(weft.AlreadyExists, "catalog.Catalog.Push", "%s:%s is there with other bytes, descriptors, manifest or configuration (digest %.12s)", m.Name, m.Version, was.Digest).
			WithHint("a version never changes: push a new one")
	}
	m.Grants = inherited(m, s.modules[m.Name])
	if p.Grant {
		m.Grants = m.Manifest.Grants
	}
	if err := c.db.Update(ctx, func(tx *store.Tx) error { return tx.InsertModule(m.row(ns), p.Wasm) }); err != nil {
		return Pushed{}, err
	}
	c.update(ns, func(s *space) { s.addModule(m) })
	return Pushed{Module: m}, nil
}

// again is an upload that is there already; only its grants and who has signed
// it may be new. The caller holds mu.
func (c *Catalog) again(ctx context.Context, ns string, m *Module, signature *Signature, grant bool) (_ Pushed, err error) {
	if signature != nil && (m.Signature == nil || *m.Signature != *signature) {
		if m, err = c.sign(ctx, ns, m, signature); err != nil {
			return Pushed{}, err
		}
	}
	if grant && string(jsonOf(m.Grants)) != string(jsonOf(m.Manifest.Grants)) {
		m, err = c.grant(ctx, ns, m, m.Manifest.Grants)
	}
	return Pushed{Module: m, Unchanged: true}, err
}

// inherited is what a new version may reach: of what it asks for, that which
// the version before it was granted, in the same words or in wider ones.
func inherited(m *Module, others []*Module) weft.Grants {
	var had weft.Grants
	for _, o := range others {
		if semver.Compare("v"+o.Version, "v"+m.Version) < 0 {
			had = o.Grants
		}
	}
	keep := func(asked, had []string) (both []string) {
		for _, a := range asked {
			if weft.Allows(had, a) {
				both = append(both, a)
			}
		}
		return both
	}
	asked := m.Manifest.Grants
	return weft.Grants{Peers: keep(asked.Peers, had.Peers), HTTP: keep(asked.HTTP, had.HTTP), Events: keep(asked.Events, had.Events),
		State: keep(asked.State, had.State), Config: keep(asked.Config, had.Config), Secrets: keep(asked.Secrets, had.Secrets)}
}

func (m *Module) row(ns string) store.Module {
	row := store.Module{Namespace: ns, Name: m.Name, Version: m.Version, Digest: m.Digest, Size: m.Size, Manifest: jsonOf(m.Manifest),
		Report: jsonOf(m.Imports), Grants: jsonOf(m.Grants), Config: jsonOf(m.Config), Created: m.Created.UnixMilli(), Descriptors: m.Descriptors}
	if m.Signature != nil {
		row.Signature = jsonOf(m.Signature)
	}
	return row
}

func (c *Catalog) moduleOf(row store.Module) (*Module, error) {
	m := &Module{Name: row.Name, Version: row.Version, Digest: row.Digest, Size: row.Size, Created: time.UnixMilli(row.Created), Descriptors: row.Descriptors, Promoted: row.Promoted}
	for _, part := range []struct {
		data []byte
		into any
	}{{row.Manifest, &m.Manifest}, {row.Report, &m.Imports}, {row.Grants, &m.Grants}, {row.Config, &m.Config}, {row.Signature, &m.Signature}} {
		if part.data == nil { // no signature
			continue
		}
		if err := json.Unmarshal(part.data, part.into); err != nil {
			return nil, weft.Errorf(weft.DataLoss, "catalog.Open", "module %s:%s cannot be read: %w", row.Name, row.Version, err)
		}
	}
	c.settle(row.Namespace, m)
	m.link()
	return m, nil
}

// Modules lists all versions of all modules of a namespace, by name, the newest first.
func (c *Catalog) Modules(ns string) []*Module {
	var all []*Module
	for _, list := range c.space(ns).modules {
		for _, m := range slices.Backward(list) {
			all = append(all, m)
		}
	}
	return byName(all, func(m *Module) string { return m.Name })
}

// Module finds a version; an empty one means the one that is called where none is
// named, a partial one the newest that fits.
func (c *Catalog) Module(ns, name, version string) (*Module, error) {
	list := c.space(ns).modules[name]
	if m, ok := current(list, version); ok {
		return m, nil
	}
	if len(list) > 0 {
		return nil, weft.Errorf(weft.NotFound, "catalog.Catalog.Module", "module %s has no version %s", name, version).
			WithHint("it has %s", strings.Join(versions(list), ", "))
	}
	return nil, noModule("catalog.Catalog.Module", ns, name)
}

func noModule(op, ns, name string) error {
	return weft.Errorf(weft.NotFound, op, "no module %q in namespace %s", name, ns).WithHint("weft module list shows what there is")
}

func versions(list []*Module) (all []string) {
	for _, m := range list {
		all = append(all, m.Version)
	}
	return all
}

// SetGrants changes what a version may reach, from its next call on.
func (c *Catalog) SetGrants(ctx context.Context, ns, name, version string, g weft.Grants) (*Module, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.Module(ns, name, version)
	if err != nil {
		return nil, err
	}
	return c.grant(ctx, ns, m, g)
}

// grant stores m with other grants. The caller holds mu.
func (c *Catalog) grant(ctx context.Context, ns string, m *Module, g weft.Grants) (*Module, error) {
	changed := *m
	changed.Grants = g
	return c.replace(ctx, ns, &changed, func(tx *store.Tx) error { return tx.SetGrants(ns, m.Name, m.Version, jsonOf(g)) })
}

// sign stores m with another signature. The caller holds mu.
func (c *Catalog) sign(ctx context.Context, ns string, m *Module, s *Signature) (*Module, error) {
	changed := *m
	changed.Signature = s
	c.settle(ns, &changed)
	return c.replace(ctx, ns, &changed, func(tx *store.Tx) error { return tx.SetSignature(ns, m.Name, m.Version, jsonOf(s)) })
}

// replace puts m in the place of the same version when it is stored. The caller holds mu.
func (c *Catalog) replace(ctx context.Context, ns string, m *Module, stored func(*store.Tx) error) (*Module, error) {
	if err := c.db.Update(ctx, stored); err != nil {
		return nil, err
	}
	c.update(ns, func(s *space) {
		i := slices.IndexFunc(s.modules[m.Name], func(o *Module) bool { return o.Version == m.Version })
		s.modules[m.Name][i] = m
	})
	return m, nil
}

// Remove takes a version away and returns when the calls in progress have
// ended and its code is freed. It is refused while a workflow calls one of its
// handlers. What its handlers have in their state stays.
func (c *Catalog) Remove(ctx context.Context, ns, name, version string) error {
	gone, err := c.remove(ctx, ns, name, version)
	if err != nil {
		return err
	}
	c.log.Info("module is removed", "namespace", ns, "module", name, "version", version)
	c.changed()
	return c.unload(ctx, gone)
}

func (c *Catalog) remove(ctx context.Context, ns, name, version string) (*Module, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.space(ns)
	list := s.modules[name]
	i := slices.IndexFunc(list, func(m *Module) bool { return m.Version == version })
	switch {
	case i < 0 && len(list) > 0:
		return nil, weft.Errorf(weft.NotFound, "catalog.Catalog.Remove", "module %s has no version %q", name, version).
			WithHint("name a whole one; it has %s", strings.Join(versions(list), ", "))
	case i < 0:
		return nil, noModule("catalog.Catalog.Remove", ns, name)
	}
	for _, list := range s.workflows {
		for _, w := range list {
			for _, use := range w.def.Handlers() {
				if use.Ref.Version == version && specOf(s.modules[name][i], use.Ref.Name) != nil {
					return nil, weft.Errorf(weft.FailedPrecondition, "catalog.Catalog.Remove", "workflow %s:%s calls %s", w.key(), w.version(), use.Ref).
						WithHint("remove the workflow first")
				}
			}
		}
	}
	if err := c.db.Update(ctx, func(tx *store.Tx) error { return tx.DeleteModule(ns, name, version) }); err != nil {
		return nil, err
	}
	gone := s.modules[name][i]
	c.update(ns, func(s *space) {
		s.modules[name] = slices.DeleteFunc(s.modules[name], func(m *Module) bool { return m.Version == version })
	})
	return gone, nil
}

func (m *Module) String() string { return fmt.Sprintf("%s:%s", m.Name, m.Version) }
