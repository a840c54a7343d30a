package machine

import (
	"errors"

	"github.com/weftrun/weft/workflows"
)

// credential is a part of who calls, and where it goes.
type credential struct {
	from *workflows.Template // may be nil
	to   *string
}

func (m *Machine) credential(f *frame, c credential) error {
	if c.from == nil {
		return nil
	}
	v, err := c.from.Eval(f.input, m, workflows.OutputMax)
	if err != nil {
		return err
	}
	s, ok := v.(string)
	if !ok {
		return errors.New("authentication: a name, password or token must be a string")
	}
	*c.to = s
	return nil
}

func (m *Machine) tokenRequest(f *frame, o *workflows.OAuth) (*TokenRequest, error) {
	if o.Use != nil {
		q := &TokenRequest{OIDC: o.OIDC}
		return q, m.credential(f, credential{o.Use, &q.Use})
	}
	return tokenRequest(o, func(c credential) error { return m.credential(f, c) })
}

// TokenOf is the request of a policy in which all is fixed.
func TokenOf(o *workflows.OAuth) (*TokenRequest, error) {
	return tokenRequest(o, func(c credential) error {
		if c.from != nil {
			v, _ := c.from.Constant()
			*c.to, _ = v.(string)
		}
		return nil
	})
}

func tokenRequest(o *workflows.OAuth, fill func(credential) error) (*TokenRequest, error) {
	q := &TokenRequest{TokenURL: o.TokenURL, Discovery: o.Discovery, Grant: o.Grant, Method: o.Method, JSON: o.JSON}
	fields := []credential{{o.ID, &q.ID}, {o.Secret, &q.Secret}, {o.Assertion, &q.Assertion}, {o.User, &q.User}, {o.Password, &q.Password}}
	for _, list := range []struct {
		from []*workflows.Template
		to   *[]string
	}{{o.Scopes, &q.Scopes}, {o.Audiences, &q.Audiences}, {o.Issuers, &q.Issuers}} {
		*list.to = make([]string, len(list.from))
		for i, t := range list.from {
			fields = append(fields, credential{t, &(*list.to)[i]})
		}
	}
	for _, field := range fields {
		if err := fill(field); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// restoreCredentials finds again who makes the calls in progress: a snapshot
// does not tell, so that what is secret is not written down there.
func (m *Machine) restoreCredentials() error {
	for b, i := range m.frames() {
		f := &b.stack[i]
		if f.command == nil || f.command.HTTP == nil {
			continue
		}
		m.on = b
		q, h := f.command.HTTP, f.task.HTTP
		var err error
		if q.Auth, err = m.credentials(f, h.Auth); err != nil {
			return err
		}
		if q.OpenAPI != nil {
			q.OpenAPI.Auth, err = m.credentials(f, h.OpenAPI.Auth)
		} else if q.GRPC != nil {
			q.GRPC.Auth, err = m.credentials(f, h.GRPC.Auth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
