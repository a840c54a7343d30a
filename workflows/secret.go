package workflows

import (
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"github.com/itchyny/gojq"
)

// A secret is never in an expression's reach: $secrets.name gives a mark, and
// the mark is exchanged for the secret when a call is made. So nothing that a
// run keeps, gives or tells can have it. What would look into a secret is
// refused, for it would see the mark.

// secretVariable begins the names of variables that are marks. No author can
// write them.
const secretVariable = "$__secret_"

// secretForm is a name that a secret may have.
var secretForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// Secrets lists the secrets that the definition reads: the name, and the keys
// inside it, as steps of a JSON Pointer without the first slash.
func (d *Definition) Secrets() []string { return d.secrets }

// secretNames reads use.secrets.
func (p *parser) secretNames(n *node) {
	if n == nil {
		return
	}
	if n.kind != isList {
		p.wrong(n, "secrets", "write secrets: [ name ]", "use.secrets must be a list of names, not %s", n.kind)
	}
	for _, item := range n.items {
		name := p.text(item, "use.secrets")
		if item.kind == isString && !secretForm.MatchString(name) {
			p.wrong(item, "secrets", "use up to 63 letters, digits, dots, dashes and underscores", "%q is no name for a secret", name)
		}
		p.secrets = append(p.secrets, name)
	}
}

// secret notes that a secret is read at n, and reports one that use.secrets
// does not name.
func (p *parser) secret(n *node, path string) {
	name, _, _ := strings.Cut(path, "/")
	if !slices.Contains(p.secrets, name) {
		hint := "name it there: use: { secrets: [ " + name + " ] }"
		if near := Nearest(name, p.secrets); near != "" {
			hint = "did you mean " + near + "?"
		}
		if p.elsewhere() {
			hint = "take it under with: " + aloneHint
		}
		p.wrong(n, name, hint, "use.secrets has no %s", name)
		return
	}
	if !slices.Contains(p.def.secrets, path) {
		p.def.secrets = append(p.def.secrets, path)
	}
}

// secretTemplate is what stands under a key of a secret, or all of it.
func (p *parser) secretTemplate(n *node, key string) *Template {
	name := p.text(n, "use")
	if n.kind != isString {
		return nil
	}
	v, source := Variable{Kind: VarSecret, Name: name}, "$secrets."+name
	if key != "" {
		v.Name, source = name+"/"+key, source+"."+key
	}
	p.secret(n, v.Name)
	return &Template{expr: &Expr{source: source, path: &path{root: &v}}}
}

// seal makes marks of the secrets in q, and refuses what looks into one.
func (r *rewriter) seal(q *gojq.Query) {
	switch {
	case q == nil:
		return
	case len(q.FuncDefs) > 0 || len(q.Patterns) > 0 || q.Op != 0 && q.Op != gojq.OpAdd && q.Op != gojq.OpPipe && q.Op != gojq.OpAlt && q.Op != gojq.OpComma:
		r.fail(secretHandled, "this expression")
		return
	}
	r.seal(q.Left)
	r.seal(q.Right)
	if t := q.Term; t != nil {
		r.sealTerm(t)
	}
}

const secretHandled = "%s would look into a secret, and sees a mark only; with $secrets use text, objects, lists and + alone"

func (r *rewriter) sealTerm(t *gojq.Term) {
	switch t.Type {
	case gojq.TermTypeIdentity, gojq.TermTypeIndex, gojq.TermTypeNumber, gojq.TermTypeNull, gojq.TermTypeTrue, gojq.TermTypeFalse:
	case gojq.TermTypeString:
		r.sealText(t.Str)
	case gojq.TermTypeObject:
		for _, kv := range t.Object.KeyVals {
			if kv.KeyQuery != nil || kv.KeyString != nil && len(kv.KeyString.Queries) > 0 || kv.Val == nil {
				r.fail("with $secrets write each key of an object out, as in { key: $secrets.name }")
				return
			}
			r.seal(kv.Val)
		}
	case gojq.TermTypeArray:
		r.seal(t.Array.Query)
	case gojq.TermTypeQuery:
		r.seal(t.Query)
	case gojq.TermTypeFunc:
		if t.Func.Name == "$secrets" {
			r.sealSecret(t)
		} else if len(t.Func.Args) > 0 || !strings.HasPrefix(t.Func.Name, "$") {
			r.fail(secretHandled, t.Func.Name)
		}
	default:
		r.fail(secretHandled, "this expression")
	}
}

func (r *rewriter) sealText(s *gojq.String) {
	for _, q := range s.Queries {
		r.seal(q)
	}
}

// sealSecret turns $secrets.name.key into the variable of its mark.
func (r *rewriter) sealSecret(t *gojq.Term) {
	var steps []string
	for _, s := range t.SuffixList {
		key, ok := quotedKey(s.Index)
		if !ok || s.Iter || s.Optional {
			break
		}
		steps = append(steps, pointerEscape.Replace(key))
	}
	if len(steps) == 0 || len(steps) < len(t.SuffixList) {
		r.fail("$secrets is read by name: write $secrets.name, or $secrets.name.key")
		return
	}
	t.Func.Name = secretVariable + hex.EncodeToString([]byte(strings.Join(steps, "/")))
	t.SuffixList = nil
}

// quotedKey is keyOf for ["key"] too.
func quotedKey(i *gojq.Index) (string, bool) {
	if i != nil && i.Start != nil && !i.IsSlice && i.Start.Term != nil && i.Start.Op == 0 {
		if t := i.Start.Term; t.Type == gojq.TermTypeString && len(t.Str.Queries) == 0 && len(t.SuffixList) == 0 {
			return t.Str.Str, true
		}
	}
	return keyOf(i)
}

// secretOf is the variable of a mark by its name.
func secretOf(name string) (Variable, bool) {
	code, is := strings.CutPrefix(name, secretVariable)
	if !is {
		return Variable{}, false
	}
	path, err := hex.DecodeString(code)
	return Variable{Kind: VarSecret, Name: string(path)}, err == nil
}
