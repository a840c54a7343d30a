// Package hooks takes signed calls of others in, as events: webhooks.
package hooks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// Scheme is how a sender signs.
type Scheme string

// The schemes. All are an HMAC of what is sent, under a secret that both know.
const (
	GitHub   Scheme = "github"   // X-Hub-Signature-256 over the body
	Stripe   Scheme = "stripe"   // Stripe-Signature over a time and the body
	Standard Scheme = "standard" // Standard Webhooks: an id, a time and the body
	HMAC     Scheme = "hmac"     // a header of any name over the body
)

var schemes = []string{string(GitHub), string(Stripe), string(Standard), string(HMAC)}

// Hook says who may call, and which event a call becomes. It does not change.
type Hook struct {
	Name    string   `json:"name"`
	Scheme  Scheme   `json:"scheme"`
	Secrets []string `json:"secrets"` // names; whichever of them has signed

	Type   Template `json:"type"`
	ID     Template `json:"id"` // empty: the sum of the body
	Source string   `json:"source"`

	// Of the scheme hmac.
	Header    string `json:"header,omitempty"`
	Algorithm string `json:"algorithm,omitempty"` // sha1, sha256 or sha512
	Encoding  string `json:"encoding,omitempty"`  // hex or base64
	Prefix    string `json:"prefix,omitempty"`    // of the signature in the header
}

// Bounds of hooks.
const (
	HooksMax   = 100 // of a namespace
	secretsMax = 5   // of a hook
)

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// defaults are what a scheme itself says of its events.
func (h *Hook) defaults() {
	or := func(t *Template, text string) {
		if *t == "" {
			*t = Template(text)
		}
	}
	switch h.Scheme {
	case GitHub:
		or(&h.Type, "github.{header X-GitHub-Event}")
		or(&h.ID, "{header X-GitHub-Delivery}")
	case Stripe:
		or(&h.Type, "stripe.{body type}")
		or(&h.ID, "{body id}")
	case Standard:
		or(&h.Type, h.Name+".{body type}")
		or(&h.ID, "{header webhook-id}")
	case HMAC:
		if h.Algorithm == "" {
			h.Algorithm = "sha256"
		}
		if h.Encoding == "" {
			h.Encoding = "hex"
		}
	}
	if h.Source == "" {
		h.Source = "/hooks/" + h.Name
	}
}

// Template is a text in which {header NAME} and {body FIELD} stand for what a call
// has there; a FIELD of a field is parted by dots.
type Template string

// place is a part of a template that stands for something.
var place = regexp.MustCompile(`\{(header|body) ([A-Za-z0-9_.-]+)\}`)

// check refuses braces that stand for nothing.
func (t Template) check() error {
	if rest := place.ReplaceAllString(string(t), ""); strings.ContainsAny(rest, "{}") {
		return fmt.Errorf("%q has braces that stand for nothing", string(t))
	}
	return nil
}

// fill is the text of a call. What the call does not have is an error.
func (t Template) fill(header http.Header, body []byte) (text string, err error) {
	var fields any
	text = place.ReplaceAllStringFunc(string(t), func(match string) string {
		of := place.FindStringSubmatch(match)
		v := header.Get(of[2])
		if of[1] == "body" {
			if fields == nil {
				d := json.NewDecoder(bytes.NewReader(body))
				d.UseNumber()
				if d.Decode(&fields) != nil {
					fields = map[string]any{} // it is no JSON, and has no fields
				}
			}
			v = fieldOf(fields, of[2])
		}
		if v == "" && err == nil {
			err = fmt.Errorf("the call has no %s %s", of[1], of[2])
		}
		return v
	})
	return text, err
}

// fieldOf is the text, the number or the truth of a field; else nothing.
func fieldOf(v any, path string) string {
	for name := range strings.SplitSeq(path, ".") {
		fields, _ := v.(map[string]any)
		v = fields[name]
	}
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}
