package workflows

// Auth is how a call says who calls.
type Auth struct {
	Scheme         AuthScheme
	User, Password *Template // of basic and digest
	Token          *Template // of bearer
	OAuth          *OAuth    // of oauth2 and oidc
}

// AuthScheme is a way to say who calls.
type AuthScheme int

// The schemes.
const (
	AuthBasic AuthScheme = iota + 1
	AuthBearer
	AuthDigest
	AuthOAuth2
	AuthOIDC
)

var authSchemes = map[string]AuthScheme{"basic": AuthBasic, "bearer": AuthBearer, "digest": AuthDigest, "oauth2": AuthOAuth2, "oidc": AuthOIDC}

// authentication reads a policy, or the name of one under use.authentications;
// n may be nil.
func (p *parser) authentication(n *node) *Auth {
	if n == nil {
		return nil
	}
	if n.kind == isMap && n.get("use") != nil {
		if !p.fields(n, "authentication", []string{"use"}, nil) {
			return nil
		}
		name := n.get("use")
		if p.text(name, "authentication.use"); name.kind != isString {
			return nil
		}
		n = p.named(name, "authentications")
	} else if n.kind == isString {
		n = p.named(n, "authentications")
	}
	if n == nil {
		return nil
	}
	return p.policy(n)
}

// policy reads what stands under authentication.
func (p *parser) policy(n *node) *Auth {
	if !p.fields(n, "authentication", []string{"basic", "bearer", "digest", "oauth2", "oidc"}, nil) {
		return nil
	}
	if len(n.pairs) != 1 {
		p.wrong(n, "authentication", "write authentication: { bearer: { token: ... } }", "authentication must name one of basic, bearer, digest, oauth2, oidc")
		return nil
	}
	f := n.pairs[0]
	a := &Auth{Scheme: authSchemes[f.key]}
	if a.Scheme == 0 {
		return nil // reported above
	}
	what := "authentication." + f.key
	if a.Scheme == AuthOAuth2 || a.Scheme == AuthOIDC {
		if use := f.value.get("use"); use == nil {
			a.OAuth = p.oauth(f.value, what, a.Scheme == AuthOIDC)
		} else if p.fields(f.value, what, []string{"use"}, nil) {
			a.OAuth = &OAuth{Use: p.secretTemplate(use, ""), OIDC: a.Scheme == AuthOIDC}
		}
		return a
	}
	keys := []string{"username", "password"}
	if a.Scheme == AuthBearer {
		keys = []string{"token"}
	}
	if use := f.value.get("use"); f.value.kind == isMap && use != nil {
		if !p.fields(f.value, what, []string{"use"}, nil) {
			return nil
		}
		if a.Scheme == AuthBearer {
			a.Token = p.secretTemplate(use, "token")
		} else {
			a.User, a.Password = p.secretTemplate(use, "username"), p.secretTemplate(use, "password")
		}
		return a
	}
	if !p.fields(f.value, what, keys, nil) || !p.require(f.value, what, keys...) {
		return nil
	}
	a.User, a.Password, a.Token = p.credential(f.value, "username"), p.credential(f.value, "password"), p.credential(f.value, "token")
	return a
}

func (p *parser) credential(n *node, key string) *Template {
	v := n.get(key)
	if v == nil {
		return nil
	}
	t := p.template(v, key, inTask)
	if _, ok := t.Constant(); ok && v.kind != isString {
		p.wrong(v, key, "put it in quotes", "%s must be a string, not %s", key, v.kind)
	}
	return t
}
