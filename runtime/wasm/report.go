package wasm

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// Names of the custom sections that a module may carry.
const (
	ManifestSection   = "weft.manifest"    // weft.Manifest as JSON
	DescriptorSection = "weft.descriptors" // FileDescriptorSet of its services
)

// ManifestMax bounds the bytes of a manifest.
const ManifestMax = 256 << 10

// Report is what a check found in a module.
type Report struct {
	Digest    string   // sha256 of the upload, lower-case hex
	Size      int64    // bytes of the upload
	Imports   []string // such as weft/v1.call, sorted
	Way       Way
	Handlers  []string  // exports that can be called, sorted
	Mailbox   bool      // input and output may be handed over in its memory
	Doubts    []string  // what it counts on and does not get, or needs grants for
	MemoryKiB int       // that it has at its start
	Table     int       // elements of its largest table at its start
	Sections  []Section // custom ones, by name
	Manifest  *weft.Manifest
}

// Section is a custom section of a module.
type Section struct {
	Name string
	Size int // bytes
}

const (
	pageKiB  = 64 // of memory as WebAssembly counts it
	wasmPage = pageKiB << 10
)

func (r Report) memoryPages() int { return r.MemoryKiB / pageKiB }

func reportOf(wasm []byte, info meter.Info) (Report, error) {
	if err := mailboxFits(info); err != nil {
		return Report{}, err
	}
	sum := sha256.Sum256(wasm)
	r := Report{Digest: hex.EncodeToString(sum[:]), Size: int64(len(wasm)), Way: wayOf(info), Handlers: handlersOf(info), Mailbox: hasMailbox(info), Doubts: doubtsOf(info), MemoryKiB: info.MemoryPages * pageKiB, Table: info.Table}
	for _, i := range info.Imports {
		r.Imports = append(r.Imports, i.Module+"."+i.Name)
	}
	slices.Sort(r.Imports)
	r.Imports = slices.Compact(r.Imports)
	for name, data := range info.Customs {
		r.Sections = append(r.Sections, Section{name, len(data)})
	}
	slices.SortFunc(r.Sections, func(a, b Section) int { return cmp.Compare(a.Name, b.Name) })
	if err := r.printable(); err != nil {
		return Report{}, err
	}
	data, ok := info.Customs[ManifestSection]
	if !ok {
		return r, nil
	}
	var err error
	r.Manifest, err = ParseManifest(data)
	return r, err
}

// printable refuses names that would be something else where they are shown: another
// line, or what a terminal obeys.
func (r Report) printable() error {
	names := slices.Clone(r.Handlers)
	for _, s := range r.Sections {
		names = append(names, s.Name)
	}
	for _, name := range names {
		if strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
			return weft.Errorf(weft.InvalidArgument, "wasm.CheckMain", "the module has an export or a section %q, whose name cannot be printed", name)
		}
	}
	return nil
}

// ParseManifest reads a manifest as JSON. A field that it does not know, and
// anything after the manifest, is an error that names it.
func ParseManifest(data []byte) (*weft.Manifest, error) {
	const op = "wasm.ParseManifest"
	if len(data) > ManifestMax {
		return nil, weft.Errorf(weft.ResourceExhausted, op, "the manifest has %d bytes, the limit is %d", len(data), ManifestMax)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	m := &weft.Manifest{}
	if err := d.Decode(m); err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, op, "the manifest cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, weft.Errorf(weft.InvalidArgument, op, "the manifest goes on after its end, at byte %d", d.InputOffset())
	}
	return m, nil
}

// handlersOf lists the exports that can be called as handlers, sorted.
func handlersOf(info meter.Info) []string {
	switch wayOf(info) {
	case Command:
		return []string{CommandExport}
	case Extism:
		return pluginHandlers(info)
	}
	var names []string
	for _, e := range info.Exports {
		if slices.Equal(e.Signature.Params, types(i32)) && slices.Equal(e.Signature.Results, types(i32)) {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return names
}

// SectionOf is a custom section of a module that a check has passed, nil where
// there is none of that name.
func SectionOf(wasm []byte, name string) []byte { return meter.Custom(wasm, name) }

// AppendSection is the module with one more custom section, such as
// ManifestSection.
func AppendSection(wasm []byte, name string, data []byte) []byte {
	return meter.AppendCustom(wasm, name, data)
}
