package workflows

import "github.com/weftrun/weft"

// JSONOf turns a YAML document, such as a module's manifest, into JSON. It is
// read as strictly as a workflow, but may have anchors and aliases.
func JSONOf(src []byte) ([]byte, error) {
	p := &parser{def: &Definition{file: "the document"}, file: "the document"}
	root := (&yamlReader{report: p.report, aliases: true, ok: true}).document(src)
	if len(p.problems) > 0 {
		return nil, weft.Errorf(weft.InvalidArgument, "workflows.JSONOf", "%w", p.problems.sorted())
	}
	return AppendJSON(nil, root.plain()), nil
}
