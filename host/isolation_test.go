package host_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host"
)

func TestIsolationIsReadFromWords(t *testing.T) {
	for _, c := range []struct {
		name  string
		words []string
		want  map[string]weft.Isolation
		says  string
	}{
		{"none", nil, map[string]weft.Isolation{}, ""},
		{"of the host", []string{"process"}, map[string]weft.Isolation{"": weft.Process}, ""},
		{"of a namespace and a module of it", []string{"inline", "acme=process", "acme/billing=inline"},
			map[string]weft.Isolation{"": weft.Inline, "acme": weft.Process, "acme/billing": weft.Inline}, ""},
		{"a word that is none", []string{"strict"}, nil, `"strict" is no isolation, or a second one; write process`},
		{"nothing", []string{""}, nil, `"" is no isolation`},
		{"a namespace without a word", []string{"acme="}, nil, `"acme=" is no isolation`},
		{"a word without a namespace", []string{"=process"}, nil, `"=process" is no isolation`},
		{"the lifecycle of a similar name", []string{"acme=isolate"}, nil, `"acme=isolate" is no isolation`},
		{"a name that none has", []string{"Acme=process"}, nil, `"Acme=process" is no isolation`},
		{"a namespace with too much of a module", []string{"acme/billing/eu=process"}, nil, "is no isolation"},
		{"two words for one", []string{"acme=process", "acme=inline"}, nil, `"acme=inline" is no isolation`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := host.Isolation(c.words)
			if c.says == "" && (err != nil || !maps.Equal(got, c.want)) {
				t.Errorf("got %v, %v", got, err)
			}
			if c.says != "" && (weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, %v; want %q", got, err, c.says)
			}
		})
	}
}
