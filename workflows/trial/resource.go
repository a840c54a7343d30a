package trial

import (
	"maps"
	"slices"

	"github.com/weftrun/weft/workflows"
)

// texts reads what stands in the place of the resources of the workflows: a
// file beside the test, or a text.
func (p *parser) texts(t workflows.Tree) {
	if !t.IsMap() {
		p.wrong(t, "write https://shop.example/order.json: { file: order.json }", "resources must be a mapping")
	}
	p.resources = map[string]string{}
	for _, b := range t.Branches() {
		at := p.fields(b.Tree, "the resource "+b.Key, "file", "text")
		file, here := at["file"]
		text, written := at["text"]
		switch {
		case here == written:
			p.wrong(b.Tree, "write { file: order.json }, or { text: ... }", "the resource %s must have either file or text", b.Key)
		case written:
			p.resources[b.Key] = p.text(text, "text")
		default:
			data, err := p.read(p.text(file, "file"))
			if err != nil {
				p.wrong(file, "", "%s", err)
			}
			p.resources[b.Key] = string(data)
		}
	}
}

// idle reports resources that no workflow names.
func (p *parser) idle(f *File, t workflows.Tree) {
	named := map[string]bool{}
	for _, d := range f.defs {
		for uri := range d.Resources() {
			named[uri] = true
		}
		for _, r := range d.Missing() {
			named[r.URI] = true
		}
	}
	for _, b := range t.Branches() {
		if named[b.Key] || len(p.problems) > 0 {
			continue
		}
		hint := ""
		if near := workflows.Nearest(b.Key, slices.Sorted(maps.Keys(named))); near != "" {
			hint = "did you mean " + near + "?"
		}
		p.wrong(b.At, hint, "no workflow of this test has anything at %s", b.Key)
	}
}
