package workflows

import (
	"github.com/goccy/go-yaml"

	"github.com/weftrun/weft"
)

// JSONOf turns a YAML document, such as a module's manifest, into JSON.
func JSONOf(src []byte) ([]byte, error) {
	data, err := yaml.YAMLToJSON(src)
	if err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, "workflows.JSONOf", "the document is not YAML: %w", err)
	}
	return data, nil
}
