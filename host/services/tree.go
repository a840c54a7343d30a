package services

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/weftrun/weft"
)

// tree finds the rule for a request. Of several, the one wins that has a custom
// verb, then the one that is a literal where the others are not, from the left. A
// node is visited once a request at most. It does not change once it is shared.
type tree struct {
	literal map[string]*tree
	one     *tree                      // *
	rest    *tree                      // **
	ends    map[string]map[string]leaf // by custom verb, and HTTP's
}

type leaf struct {
	v    *version
	rule *rule
}

func (t *tree) add(v *version) {
	for _, r := range slices.Concat(v.Schema.rules, v.plain) {
		at := t
		for _, s := range r.path {
			at = at.child(s)
		}
		if at.ends == nil {
			at.ends = map[string]map[string]leaf{}
		}
		if at.ends[r.suffix] == nil {
			at.ends[r.suffix] = map[string]leaf{}
		}
		at.ends[r.suffix][r.verb] = leaf{v, r}
	}
}

func (t *tree) child(s string) *tree {
	to := &t.one
	switch s {
	case "*":
	case "**":
		to = &t.rest
	default:
		if t.literal == nil {
			t.literal = map[string]*tree{}
		}
		if t.literal[s] == nil {
			t.literal[s] = &tree{}
		}
		return t.literal[s]
	}
	if *to == nil {
		*to = &tree{}
	}
	return *to
}

// segment is a part of a path, as it came and decoded.
type segment struct{ raw, text string }

// found is the rule for a request, and the segments of its path.
type found struct {
	leaf
	segments []segment
	allowed  []string // where there is no rule: the methods of those that the path has
}

// find looks for the rule of a request; path is as it came, %2F and all.
func (t *tree) find(method, path string) found {
	var all []segment
	for raw := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		text, err := url.PathUnescape(raw)
		if err != nil {
			return found{}
		}
		all = append(all, segment{raw, text})
	}
	f := found{segments: all}
	last := all[len(all)-1].raw
	if i := strings.LastIndexByte(last, ':'); i >= 0 {
		text, _ := url.PathUnescape(last[:i])
		f.segments = append(slices.Clone(all[:len(all)-1]), segment{last[:i], text})
		if t.walk(&f, f.segments, last[i:], method) {
			return f
		}
		f.segments = all
	}
	t.walk(&f, all, "", method)
	return f
}

func (t *tree) walk(f *found, left []segment, suffix, method string) bool {
	if len(left) == 0 {
		if t.end(f, suffix, method) {
			return true
		}
	} else {
		if next := t.literal[left[0].text]; next != nil && next.walk(f, left[1:], suffix, method) {
			return true
		}
		if t.one != nil && left[0].text != "" && t.one.walk(f, left[1:], suffix, method) {
			return true
		}
	}
	return t.rest != nil && t.rest.end(f, suffix, method)
}

func (t *tree) end(f *found, suffix, method string) bool {
	by := t.ends[suffix]
	l, ok := by[method]
	if !ok && method == http.MethodHead {
		l, ok = by[http.MethodGet]
	}
	if !ok {
		l, ok = by["*"]
	}
	if !ok {
		for verb := range by {
			f.allowed = append(f.allowed, verb)
		}
		return false
	}
	f.leaf = l
	return true
}

// clashREST refuses a rule whose requests those of another module have, or the
// process itself. It is called with the lock.
func (s *Set) clashREST(m Module) error {
	taken := map[string]string{}
	for of, other := range s.live {
		if of.namespace == m.id().namespace && of.name != m.Name {
			for _, r := range slices.Concat(other.Schema.rules, other.plain) {
				taken[r.key()] = of.name
			}
		}
	}
	plain, err := m.plainRules()
	if err != nil {
		return err
	}
	for _, r := range slices.Concat(m.Schema.rules, plain) {
		if by := taken[r.key()]; by != "" {
			return weft.Errorf(weft.AlreadyExists, "services.Add", "%s of module %s (%s) is served by module %s", r.key(), m.Name, r.bound(), by).WithHint("a path has one module in a namespace; begin it with a name of its own")
		}
		for _, path := range append([]string{openAPIPath}, s.opts.Paths...) {
			if r.path[0] == strings.Trim(path, "/") {
				return weft.Errorf(weft.AlreadyExists, "services.Add", "%s of module %s (%s) is served by weft itself", r.key(), m.Name, r.bound())
			}
		}
	}
	return nil
}
