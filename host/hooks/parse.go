package hooks

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/weftrun/weft/workflows"
)

// Parse reads hooks from YAML, as docs/SERVICES.md says. What is wrong is a
// workflows.Problems.
func Parse(file string, src []byte) ([]Hook, error) {
	root, err := workflows.ReadTree(file, src)
	if err != nil {
		return nil, err
	}
	r := &reader{}
	r.fields(root, "the file", map[string]func(workflows.Tree){"hooks": func(t workflows.Tree) {
		items, ok := t.Items()
		if !ok || len(items) == 0 {
			r.wrong(t, "write - name: NAME for each", "hooks must be a list of hooks")
		}
		for _, item := range items {
			r.hook(item)
		}
	}})
	if len(r.problems) == 0 && len(r.found) == 0 {
		r.wrong(root, "write hooks: with a list of them", "the file has no hooks")
	}
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b workflows.Problem) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
		return nil, r.problems[:min(len(r.problems), workflows.ProblemsMax)]
	}
	return r.found, nil
}

type reader struct {
	found    []Hook
	problems workflows.Problems
}

func (r *reader) wrong(t workflows.Tree, hint, format string, args ...any) {
	r.problems = append(r.problems, t.Problem(hint, format, args...))
}

// fields hands the value of each key of a mapping to whoever reads it.
func (r *reader) fields(t workflows.Tree, what string, read map[string]func(workflows.Tree)) {
	if !t.IsMap() {
		r.wrong(t, "write KEY: VALUE", "%s must be a mapping", what)
		return
	}
	for _, b := range t.Branches() {
		if read[b.Key] != nil {
			read[b.Key](b.Tree)
			continue
		}
		var known []string
		for key := range read {
			known = append(known, key)
		}
		slices.Sort(known)
		hint := "it has " + strings.Join(known, ", ")
		if near := workflows.Nearest(b.Key, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		r.wrong(b.At, hint, "%s has no key %s", what, b.Key)
	}
}

func (r *reader) hook(t workflows.Tree) {
	var h Hook
	at := map[string]workflows.Tree{}
	text := func(key string, to *string, choices ...string) func(workflows.Tree) {
		return func(v workflows.Tree) {
			at[key] = v
			s, ok := v.Value().(string)
			switch {
			case !ok || s == "":
				r.wrong(v, "write a text", "%s must be a text", key)
			case choices != nil && !slices.Contains(choices, s):
				r.wrong(v, "write one of "+strings.Join(choices, ", "), "%s is %.80q", key, s)
			}
			*to = s
		}
	}
	template := func(key string, to *Template) func(workflows.Tree) {
		return func(v workflows.Tree) {
			text(key, (*string)(to))(v)
			if err := to.check(); err != nil {
				r.wrong(v, "write {header NAME} or {body FIELD}", "%s: %v", key, err)
			}
		}
	}
	r.fields(t, "a hook", map[string]func(workflows.Tree){
		"name": text("name", &h.Name), "scheme": text("scheme", (*string)(&h.Scheme), schemes...), "secret": func(v workflows.Tree) { at["secret"] = v; h.Secrets = r.secrets(v) },
		"type": template("type", &h.Type), "id": template("id", &h.ID), "source": text("source", &h.Source),
		"header": text("header", &h.Header), "algorithm": text("algorithm", &h.Algorithm, "sha1", "sha256", "sha512"),
		"encoding": text("encoding", &h.Encoding, "hex", "base64"), "prefix": text("prefix", &h.Prefix),
	})
	if !t.IsMap() {
		return
	}
	for _, must := range []struct{ key, hint string }{{"name", "write name: the last part of its path"}, {"scheme", "write one of " + strings.Join(schemes, ", ")}, {"secret", "write secret: the name of a secret"}} {
		if _, ok := at[must.key]; !ok {
			r.wrong(t, must.hint, "a hook without a %s", must.key)
			return
		}
	}
	if !nameForm.MatchString(h.Name) {
		r.wrong(at["name"], "write lower-case letters, digits and dashes, at most 63", "%.80q is no name of a hook", h.Name)
	}
	if slices.ContainsFunc(r.found, func(o Hook) bool { return o.Name == h.Name }) {
		r.wrong(at["name"], "write one hook", "a second hook %s", h.Name)
	}
	if _, err := url.Parse(h.Source); err != nil {
		r.wrong(at["source"], "write such as https://github.com/acme/shop", "source is no URI")
	}
	r.ofHMAC(t, h, at)
	h.defaults()
	r.found = append(r.found, h)
}

// ofHMAC checks what the scheme hmac must have, and others may not.
func (r *reader) ofHMAC(t workflows.Tree, h Hook, at map[string]workflows.Tree) {
	if h.Scheme == HMAC {
		for _, key := range []string{"header", "type"} {
			if _, ok := at[key]; !ok {
				r.wrong(t, "write "+key+": for the scheme hmac knows none", "a hook without a %s", key)
			}
		}
		return
	}
	for _, key := range []string{"header", "algorithm", "encoding", "prefix"} {
		if v, ok := at[key]; ok {
			r.wrong(v, "leave it out, or write scheme: hmac", "the scheme %s has a %s of its own", h.Scheme, key)
		}
	}
}

// secrets are the names of one secret, or of several while one follows the other.
func (r *reader) secrets(t workflows.Tree) (names []string) {
	items, list := t.Items()
	if !list {
		items = []workflows.Tree{t}
	}
	if len(items) == 0 || len(items) > secretsMax {
		r.wrong(t, "write the name of a secret", "a hook has 1 to %d secrets", secretsMax)
	}
	for _, item := range items {
		name, ok := item.Value().(string)
		if !ok || name == "" || strings.ContainsAny(name, "/\\") {
			r.wrong(item, "write the name of a file in the namespace's folder of secrets", "%.80s is no name of a secret", fmt.Sprint(item.Value()))
		}
		names = append(names, name)
	}
	return names
}
