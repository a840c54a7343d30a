package workflows

import "github.com/weftrun/weft"

// JSONOf turns a YAML document, such as a module's manifest, into JSON. It is
// read as strictly as a workflow.
func JSONOf(src []byte) ([]byte, error) {
	t, err := ReadTree("the document", src)
	if err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, "workflows.JSONOf", "%w", err)
	}
	return AppendJSON(nil, t.Value()), nil
}
