package host

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/guest"
	"github.com/weftrun/weft/host/services"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/wasm"
)

// Languages are those that NewModule knows.
func Languages() []string { return guest.Languages() }

// NewModule writes a first module of that name into a new folder, and returns
// the command that tests it.
func NewModule(dir, name, language string) (test string, err error) {
	if err := catalog.CheckName(name); err != nil {
		return "", err
	}
	return guest.New(dir, name, language)
}

// Inspection is what a module is, and what it asks for.
type Inspection struct {
	Digest       string             `json:"digest"`
	Size         int64              `json:"size"`
	Manifest     weft.Manifest      `json:"manifest"` // complete, but for a name and a version that nobody gave
	Limits       weft.Limits        `json:"limits"`   // of a call, the defaults included
	Way          string             `json:"way"`      // how calls get in: handlers, command or extism
	Mailbox      bool               `json:"mailbox"`  // input and output may be handed over in its memory
	Doubts       []string           `json:"doubts,omitempty"`
	Capabilities []string           `json:"capabilities,omitempty"`
	Services     []string           `json:"services,omitempty"` // by the descriptors in it
	MemoryKiB    int                `json:"memoryKiB"`
	Table        int                `json:"table"`
	Sections     []InspectedSection `json:"sections,omitempty"`
	Signature    *catalog.Signature `json:"signature,omitempty"`
}

// InspectedSection is a custom section of a module.
type InspectedSection struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

// Upload is a module, and what lies beside it.
type Upload struct {
	Wasm      []byte
	Manifest  []byte      // JSON; nil for none
	Signature []byte      // nil for none
	Limits    weft.Limits // that the host lets modules ask for; default what each has without being asked
}

// InspectModule checks a module, offline, by the rules of an upload to a host
// with those limits and these trusted keys, whatever each is trusted with.
func InspectModule(ctx context.Context, u Upload, trusted map[string][]catalog.Key) (i Inspection, err error) {
	err = sandbox(ctx, u.Limits, func(rt *wasm.Runtime) error {
		i, err = inspect(ctx, rt, u, slices.Concat(slices.Collect(maps.Values(trusted))...))
		return err
	})
	return i, err
}

func inspect(ctx context.Context, rt *wasm.Runtime, u Upload, trusted []catalog.Key) (i Inspection, err error) {
	p, err := pushOf(u.Wasm, u.Manifest)
	if err != nil {
		return i, err
	}
	p.Signature = u.Signature
	report, err := rt.Check(ctx, u.Wasm)
	if err != nil {
		return i, err
	}
	own := cmp.Or(p.Manifest, report.Manifest, &weft.Manifest{})
	p.Name, p.Version = cmp.Or(own.Name, "unnamed"), cmp.Or(own.Version, "0.0.0") // an upload may name them
	if i.Manifest, err = catalog.Examine(rt, report, p); err != nil {
		return i, err
	}
	if p.Signature != nil {
		found, err := catalog.Verify(trusted, report, i.Manifest, p)
		if err != nil {
			return i, err
		}
		i.Signature = &found
	}
	i.Manifest.Name, i.Manifest.Version = own.Name, own.Version
	i.Way, i.Mailbox, i.Doubts = string(report.Way), report.Mailbox, report.Doubts
	i.Digest, i.Size, i.Capabilities, i.MemoryKiB, i.Table = report.Digest, report.Size, report.Imports, report.MemoryKiB, report.Table
	for _, s := range report.Sections {
		i.Sections = append(i.Sections, InspectedSection(s))
	}
	i.Limits = rt.LimitsOf(i.Manifest.Limits)
	i.Services, err = servicesOf(&catalog.Module{Name: p.Name, Version: p.Version, Manifest: i.Manifest, Imports: report.Imports, Descriptors: wasm.SectionOf(u.Wasm, wasm.DescriptorSection)})
	return i, err
}

func pushOf(code, manifest []byte) (p catalog.Push, err error) {
	p.Wasm = code
	if manifest != nil {
		p.Manifest, err = wasm.ParseManifest(manifest)
	}
	return p, err
}

// servicesOf are those of a module that a host would serve.
func servicesOf(m *catalog.Module) ([]string, error) {
	if bound := m.Manifest.Bind; m.Descriptors == nil && (len(bound) == 0 || slices.ContainsFunc(bound, func(b weft.Binding) bool { return b.Method != "" })) {
		return nil, nil // or they are still to be put in
	}
	would, err := served(nil, weft.DefaultNamespace, m)
	if err != nil {
		return nil, err
	}
	return would.Schema.Services(), services.New(services.Options{}).Check(would)
}

// sandbox lends a runtime to what works without a host.
func sandbox(ctx context.Context, limits weft.Limits, do func(*wasm.Runtime) error) error {
	dir, done, err := cacheDir()
	if err != nil {
		return err
	}
	defer done()
	rt, err := wasm.Open(ctx, wasm.Options{CacheDir: dir, Limits: limits})
	if err != nil {
		return err
	}
	err = do(rt)
	if closed := rt.Close(ctx); err == nil {
		err = closed
	}
	return err
}

// Files that BuildModule looks for beside the sources, besides *.proto.
const (
	manifestFile   = "weft.yaml"
	descriptorFile = "descriptors.binpb" // what buf build and protoc write
)

// BuildModule builds the module in a folder with the toolchain of its language,
// puts what weft.yaml and *.proto, or descriptors.binpb, say into it, and checks
// it as InspectModule does. Code that was generated for *.proto is written anew
// before. What the tools write goes to says. The module is in the file that it
// returns, of the name in weft.yaml. Where workflows answer all methods there need
// be no sources.
func BuildModule(ctx context.Context, dir string, limits weft.Limits, says io.Writer) (file string, i Inspection, err error) {
	const op = "host.BuildModule"
	manifest, err := manifestIn(dir)
	if err != nil {
		return "", i, err
	}
	descriptors, err := descriptorsIn(ctx, dir)
	if err != nil {
		return "", i, err
	}
	if err := regenerate(ctx, dir); err != nil {
		return "", i, err
	}
	code, err := guest.Build(ctx, dir, says)
	if weft.CodeOf(err) == weft.NotFound && bindsAlone(manifest) {
		code, err = []byte("\x00asm\x01\x00\x00\x00"), nil // a module without anything in it
	}
	if err != nil {
		return "", i, err
	}
	err = sandbox(ctx, limits, func(rt *wasm.Runtime) error {
		if i, err = inspect(ctx, rt, Upload{Wasm: code, Manifest: manifest}, nil); err != nil {
			return err
		}
		for _, s := range []struct {
			section, file string
			data          []byte
		}{{wasm.ManifestSection, manifestFile, manifest}, {wasm.DescriptorSection, "the folder", descriptors}} {
			if s.data == nil {
				continue
			}
			if slices.ContainsFunc(i.Sections, func(have InspectedSection) bool { return have.Name == s.section }) {
				return weft.Errorf(weft.InvalidArgument, op, "the sources put a section %s into the module, and %s has another", s.section, s.file).WithHint("remove one of them")
			}
			code = wasm.AppendSection(code, s.section, s.data)
		}
		if i, err = inspect(ctx, rt, Upload{Wasm: code}, nil); err != nil {
			return err
		}
		return catalog.CheckName(i.Manifest.Name)
	})
	if err != nil {
		return "", i, err
	}
	file = filepath.Join(dir, i.Manifest.Name+".wasm")
	if err := os.WriteFile(file, code, 0o666); err != nil {
		return "", i, weft.Errorf(weft.Unavailable, op, "write the module: %w", err)
	}
	return file, i, nil
}

// bindsAlone reports whether a manifest has workflows answer, and no handler.
func bindsAlone(manifest []byte) bool {
	m, err := wasm.ParseManifest(manifest)
	return err == nil && len(m.Bind) > 0 && len(m.Handlers) == 0
}

// manifestIn is weft.yaml as JSON; nil where there is none.
func manifestIn(dir string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, weft.Errorf(weft.Unavailable, "host.BuildModule", "the manifest: %w", err)
	}
	data, err := Manifest(text)
	if err == nil {
		_, err = wasm.ParseManifest(data)
	}
	if err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, "host.BuildModule", "%s: %w", filepath.Join(dir, manifestFile), err)
	}
	return data, nil
}

// descriptorsIn is the descriptor set of the folder's services; nil where there
// are none.
func descriptorsIn(ctx context.Context, dir string) ([]byte, error) {
	set, err := os.ReadFile(filepath.Join(dir, descriptorFile))
	if !errors.Is(err, os.ErrNotExist) {
		return set, err
	}
	return Descriptors(ctx, dir)
}
