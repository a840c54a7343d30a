package host_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host"
	"github.com/weftrun/weft/runtime/catalog"
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
		{"a namespace with too little of one", []string{"acme/=process"}, nil, "is no isolation"},
		{"of what nobody trusted has signed", []string{"process-unless-signed", "acme=inline"},
			map[string]weft.Isolation{"": catalog.ProcessUnlessSigned, "acme": weft.Inline}, ""},
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

func TestAmountsAreReadFromWords(t *testing.T) {
	for _, c := range []struct {
		name  string
		words []string
		want  map[string]int64
		says  string
	}{
		{"none", nil, map[string]int64{}, ""},
		{"of all, and of namespaces", []string{"acme=512", "8192", "shop=1"}, map[string]int64{"": 8192, "acme": 512, "shop": 1}, ""},
		{"nothing", []string{"0"}, nil, `"0" is no amount, or a second one; write a number from 1 to 1073741824, or acme=NUMBER for a namespace`},
		{"more than there is", []string{"1073741825"}, nil, `"1073741825" is no amount`},
		{"a word", []string{"acme=half"}, nil, `"acme=half" is no amount`},
		{"of a module", []string{"acme/billing=5"}, nil, `"acme/billing=5" is no amount`},
		{"a name that none has", []string{"Acme=5"}, nil, `"Acme=5" is no amount`},
		{"two for one", []string{"acme=5", "acme=6"}, nil, `"acme=6" is no amount, or a second one`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := host.Amounts(c.words)
			if c.says == "" && (err != nil || !maps.Equal(got, c.want)) {
				t.Errorf("got %v, %v", got, err)
			}
			if c.says != "" && (weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, %v; want %q", got, err, c.says)
			}
		})
	}
}

func TestTrustedKeysAreReadFromWords(t *testing.T) {
	const one, two = "RWT1SQml/+h1SA0bfq6J/+kMqtjHDTa59DjPWdJpDHZfkNYoV8sRbtu/", "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
	file := filepath.Join(t.TempDir(), "shop.pub")
	if err := os.WriteFile(file, []byte("untrusted comment: the shop\n"+two+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		words []string
		want  map[string][]catalog.Key
		says  string
	}{
		{"none", nil, map[string][]catalog.Key{}, ""},
		{"a line and a file", []string{one, file}, map[string][]catalog.Key{"": {one, two}}, ""},
		{"of a namespace and a module of it", []string{"acme=" + one, "acme=" + file, "acme/billing=" + two}, map[string][]catalog.Key{"acme": {one, two}, "acme/billing": {two}}, ""},
		{"a file that is not there", []string{"acme=nowhere.pub"}, nil, "nowhere.pub: no such file"},
		{"a file that is something else", []string{"operator_test.go"}, nil, "no public key of minisign"},
		{"a name that none has", []string{"Acme=" + one}, nil, "names no namespace or module"},
		{"no name", []string{"=" + one}, nil, "names no namespace or module"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := host.TrustedKeys(c.words)
			if c.says == "" && (err != nil || !maps.EqualFunc(got, c.want, slices.Equal)) {
				t.Errorf("got %v, %v", got, err)
			}
			if c.says != "" && (weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, %v; want %q", got, err, c.says)
			}
		})
	}
}
