package workflows

import (
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// OAuthOf reads a policy that is a secret: a JSON object with the keys of oauth2
// or oidc, all of it fixed. The error names the key that is wrong and tells no value.
func OAuthOf(secret []byte, oidc bool) (*OAuth, error) {
	v, err := DecodeJSON(secret)
	if _, is := v.(map[string]any); err != nil || !is {
		return nil, errors.New("it is no JSON object")
	}
	p := &parser{def: &Definition{}, use: &node{kind: isMap}}
	n := nodeOf(v)
	if key := expressionIn(n, ""); key != "" {
		return nil, errors.New(key + " is an expression, and a secret has none")
	}
	o := p.oauth(n, "the policy", oidc)
	if len(p.problems) == 0 {
		return o, nil
	}
	first := p.problems[0]
	if missing := " needs the key " + first.Key; strings.HasSuffix(first.Message, missing) {
		return nil, errors.New(first.Message)
	}
	return nil, errors.New(strings.TrimPrefix(first.Key, "the policy.") + " is wrong, or no key of the policy")
}

// nodeOf is a decoded value as if it had been read, its keys in their one order.
func nodeOf(v any) *node {
	n := &node{value: v}
	switch v := v.(type) {
	case nil:
	case bool:
		n.kind = isBool
	case int, float64, *big.Int, json.Number:
		n.kind = isNumber
	case string:
		n.kind = isString
	case []any:
		n.kind, n.value = isList, nil
		for _, item := range v {
			n.items = append(n.items, nodeOf(item))
		}
	case map[string]any:
		n.kind, n.value = isMap, nil
		for _, key := range slices.Sorted(maps.Keys(v)) {
			n.pairs = append(n.pairs, pair{key: key, value: nodeOf(v[key])})
		}
	}
	return n
}

// expressionIn is the key of a text that would be read as an expression, or "".
func expressionIn(n *node, at string) string {
	if text, is := n.value.(string); is && strings.Contains(text, "${") {
		return at
	}
	for _, item := range n.items {
		if found := expressionIn(item, at); found != "" {
			return found
		}
	}
	for _, f := range n.pairs {
		if found := expressionIn(f.value, strings.TrimPrefix(at+"."+f.key, ".")); found != "" {
			return found
		}
	}
	return ""
}
