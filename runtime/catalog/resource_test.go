package catalog_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/script"
	"github.com/weftrun/weft/workflows"
)

// web answers by URL, and keeps what it was asked.
type web struct {
	pages map[string]string
	asked []weft.Request
}

func (w *web) Do(_ context.Context, r weft.Request) (weft.Response, error) {
	w.asked = append(w.asked, r)
	text, ok := w.pages[r.URL]
	switch {
	case text == "down":
		return weft.Response{}, weft.Errorf(weft.Unavailable, "web.Do", "connection refused").WithHint("look at it")
	case !ok:
		return weft.Response{Status: 404}, nil
	}
	return weft.Response{Status: 200, Body: []byte(text)}, nil
}

// online opens the shelf anew, with a way out.
func (s *shelf) online(w *web) {
	s.t.Helper()
	var err error
	if s.Catalog, err = catalog.Open(s.t.Context(), s.db, s.rt, catalog.Options{Scripts: script.New(s.rt), Out: w}); err != nil {
		s.t.Fatal(err)
	}
}

const far = `document: { dsl: '1.0.3', namespace: shop, name: far, version: '1.0.0' }
input: { schema: { resource: { endpoint: { uri: 'https://a.example/order.json', authentication: { bearer: { token: t } } } } } }
do:
  - say: { run: { script: { language: js, source: { endpoint: 'https://a.example/say.js' } } } }
`

// What a workflow has elsewhere is fetched once, and there after a restart
// without it.
func TestElsewhereIsFetchedOnce(t *testing.T) {
	s := newShelf(t)
	w := &web{pages: map[string]string{"https://a.example/order.json": `{ "required": [ "id" ] }`, "https://a.example/say.js": "console.log(1)"}}
	s.online(w)
	if _, err := s.Apply(t.Context(), ns, "far.yaml", []byte(far)); err != nil {
		t.Fatal(err)
	}
	if len(w.asked) != 2 || w.asked[0].Headers["authorization"] != "Bearer t" || w.asked[0].Namespace != ns || w.asked[0].Caller != "shop/far" || w.asked[1].Headers["authorization"] != "" {
		t.Errorf("asked %+v", w.asked)
	}
	w.pages = nil
	if a, err := s.Apply(t.Context(), ns, "far.yaml", []byte(far)); err != nil || !a.Unchanged || len(w.asked) != 2 {
		t.Errorf("the same twice: %+v, %v", a, err)
	}
	if _, err := s.Apply(t.Context(), ns, "far.yaml", []byte(far+"# new\n")); weft.CodeOf(err) != weft.AlreadyExists || len(w.asked) != 2 {
		t.Errorf("another text under the same version: %v", err)
	}

	s.close()
	s.open()
	def, err := s.Workflow(ns, "far", "")
	if err != nil {
		t.Fatal(err)
	}
	if string(def.Source()) != far || def.Scripts()[0].Code != "console.log(1)" || def.InputSchema().Check(map[string]any{}) == nil {
		t.Error("after a restart it is another")
	}
}

func TestElsewhereThatCannotBeHad(t *testing.T) {
	s := newShelf(t)
	for _, c := range []struct{ name, order, say, want string }{
		{"is not there", "", "", "far.yaml:2:42: https://a.example/order.json was answered with 404; look at the address: it is taken as it is\n" +
			"far.yaml:4:63: https://a.example/say.js was answered with 404; look at the address: it is taken as it is"},
		{"is down", "down", "1", "far.yaml:2:42: https://a.example/order.json cannot be fetched: connection refused; look at it"},
		{"is no text", "\xff", "1", "far.yaml:2:42: https://a.example/order.json is not UTF-8; save it as UTF-8"},
		{"is too much", strings.Repeat(" ", workflows.ResourceMax), "1", "far.yaml:4:63: https://a.example/say.js is too much: what a workflow has elsewhere may have 1048576 bytes in all"},
		{"is no schema", "type: 7", "1", "https://a.example/order.json:1:7: type must be a string, not a number; write a name such as object"},
		{"is no script", "{}", "a b", "https://a.example/say.js:1:3: SyntaxError: expecting ';'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &web{pages: map[string]string{}}
			for url, text := range map[string]string{"https://a.example/order.json": c.order, "https://a.example/say.js": c.say} {
				if text != "" {
					w.pages[url] = text
				}
			}
			s.online(w)
			_, err := s.Apply(t.Context(), ns, "far.yaml", []byte(far))
			var problems workflows.Problems
			if !errors.As(err, &problems) || err.Error() != c.want {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
	s.close()
	s.open()
	if _, err := s.Apply(t.Context(), ns, "far.yaml", []byte(far)); err == nil || !strings.Contains(err.Error(), "cannot be fetched: this host fetches nothing") {
		t.Error(err)
	}
}

// A function from elsewhere may have things elsewhere itself, and call handlers,
// which are pinned in it.
func TestAFunctionFromElsewhere(t *testing.T) {
	const order = "https://a.example/order.json"
	s := newShelf(t)
	s.push(catalog.Push{Wasm: tiny(1, "charge-card"), Name: "payment", Version: "1.0.0"})
	w := &web{pages: map[string]string{"https://a.example/functions/pay/1.0.0/function.yaml": "input: { schema: { resource: { endpoint: " + order + " } } }\ncall: charge-card\n"}}
	s.online(w)
	flow := []byte(`document: { dsl: '1.0.3', namespace: shop, name: far, version: '1.0.0' }
use: { catalogs: { ours: { endpoint: https://a.example } } }
do: [ { pay: { call: 'pay:1.0.0@ours' } } ]
`)
	if _, err := s.Apply(t.Context(), ns, "far.yaml", flow); err == nil || err.Error() !=
		"https://a.example/functions/pay/1.0.0/function.yaml:1:42: "+order+" was answered with 404; look at the address: it is taken as it is" {
		t.Error(err)
	}
	w.pages[order] = "{}"
	a, err := s.Apply(t.Context(), ns, "far.yaml", flow)
	if err != nil || len(a.Pinned) != 1 || a.Pinned[0].Ref.String() != "charge-card:1.0.0@default" {
		t.Fatalf("%+v %v", a, err)
	}
	s.push(catalog.Push{Wasm: tiny(2, "charge-card"), Name: "payment", Version: "1.1.0"})
	s.close()
	s.open()
	def, err := s.Workflow(ns, "far", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := def.Handlers()[0].Ref.String(); got != "charge-card:1.0.0@default" || string(def.Source()) != string(flow) {
		t.Errorf("after a restart it calls %s", got)
	}
}
