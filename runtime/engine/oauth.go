package engine

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows/machine"
)

// assertionLife is how long a client's assertion of who it is holds.
const assertionLife = time.Minute

// assertionType is that of a JWT (RFC 7523, 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// fetchToken asks the authority for a token (RFC 6749), through the gate like
// any call. Nothing is noted of it in the journal.
func (k *call) fetchToken(ctx context.Context, r weft.Request, q *machine.TokenRequest) (string, time.Duration, error) {
	ask := weft.Request{Namespace: r.Namespace, Caller: r.Caller, Method: "GET", NoRedirect: true,
		IdempotencyKey: r.IdempotencyKey + "/token", Headers: map[string]string{"accept": "application/json"}}
	endpoint := q.TokenURL
	if q.Discovery != "" {
		var err error
		if endpoint, err = k.discover(ctx, ask, q); err != nil {
			return "", 0, err
		}
	}
	ask.Method, ask.URL = "POST", endpoint
	form := tokenForm(q)
	identify(q, form, ask.Headers, endpoint, k.a.e.now())
	ask.Headers["content-type"], ask.Body = "application/x-www-form-urlencoded", []byte(form.Encode())
	if q.JSON {
		ask.Headers["content-type"], ask.Body = "application/json", jsonForm(form)
	}
	res, err := k.a.e.out.Do(ctx, ask)
	if err != nil {
		return "", 0, err
	}
	return readToken(res, endpoint, q.Issuers)
}

// discover is where an OpenID Connect authority gives tokens.
func (k *call) discover(ctx context.Context, ask weft.Request, q *machine.TokenRequest) (string, error) {
	const op = "engine.call.discover"
	ask.URL = q.Discovery
	res, err := k.a.e.out.Do(ctx, ask)
	if err != nil {
		return "", err
	}
	if res.Status != 200 {
		return "", weft.Errorf(authorityCode(res.Status), op, "%s was answered with %d", q.Discovery, res.Status)
	}
	var about struct {
		Issuer string `json:"issuer"`
		Token  string `json:"token_endpoint"`
	}
	if json.Unmarshal(res.Body, &about) != nil {
		return "", weft.Errorf(weft.Unauthenticated, op, "%s is no OpenID configuration", q.Discovery)
	}
	authority := strings.TrimSuffix(q.Discovery, "/.well-known/openid-configuration")
	if !slices.Contains(q.Issuers, about.Issuer) && strings.TrimSuffix(about.Issuer, "/") != authority {
		return "", weft.Errorf(weft.Unauthenticated, op, "%s speaks for the issuer %q", q.Discovery, about.Issuer).
			WithHint("name that one as authority, or under issuers")
	}
	if u, err := url.Parse(about.Token); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return "", weft.Errorf(weft.Unauthenticated, op, "%s names no token_endpoint but %q", q.Discovery, about.Token)
	}
	return about.Token, nil
}

func tokenForm(q *machine.TokenRequest) url.Values {
	form := url.Values{"grant_type": {q.Grant}}
	if q.Grant == "password" {
		form.Set("username", q.User)
		form.Set("password", q.Password)
	}
	if len(q.Scopes) > 0 {
		form.Set("scope", strings.Join(q.Scopes, " "))
	}
	if len(q.Audiences) > 0 {
		form["audience"] = q.Audiences
	}
	return form
}

// identify says which client asks (OpenID Connect Core 1.0, 9).
func identify(q *machine.TokenRequest, form url.Values, headers map[string]string, endpoint string, now time.Time) {
	if q.Method == "client_secret_basic" { // each part as in a form: RFC 6749, 2.3.1
		headers["authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(q.ID)+":"+url.QueryEscape(q.Secret)))
		return
	}
	if q.ID != "" {
		form.Set("client_id", q.ID)
	}
	switch q.Method {
	case "client_secret_post":
		form.Set("client_secret", q.Secret)
	case "client_secret_jwt":
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", clientAssertion(q, endpoint, now))
	case "private_key_jwt":
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", q.Assertion)
	}
}

// clientAssertion is a JWT that whoever has the client's secret can make.
func clientAssertion(q *machine.TokenRequest, endpoint string, now time.Time) string {
	claims, _ := json.Marshal(map[string]any{ // strings and integers: cannot fail
		"iss": q.ID, "sub": q.ID, "aud": endpoint, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	mac := hmac.New(sha256.New, []byte(q.Secret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// jsonForm is a form as JSON; what is there several times is a list.
func jsonForm(form url.Values) []byte {
	object := map[string]any{}
	for name, values := range form {
		object[name] = values[0]
		if len(values) > 1 {
			object[name] = values
		}
	}
	text, _ := json.Marshal(object) // strings: cannot fail
	return text
}

// Forms of what an authority answers (RFC 6749 5.2, RFC 6750 2.1).
var (
	oauthErrorForm = regexp.MustCompile(`^[a-z_]{1,64}$`)
	tokenChars     = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
)

// readToken reads the answer of an authority. An error tells the authority's
// word for it and nothing else, for the rest may repeat what was asked.
func readToken(res weft.Response, endpoint string, issuers []string) (string, time.Duration, error) {
	const op = "engine.readToken"
	var answer struct {
		Error   string          `json:"error"`
		Token   string          `json:"access_token"`
		Type    string          `json:"token_type"`
		Expires json.RawMessage `json:"expires_in"`
	}
	err := json.Unmarshal(res.Body, &answer)
	if res.Status != 200 {
		word := ""
		if err == nil && oauthErrorForm.MatchString(answer.Error) {
			word = ": " + answer.Error
		}
		return "", 0, weft.Errorf(authorityCode(res.Status), op, "%s gave no token but %d%s", endpoint, res.Status, word)
	}
	switch {
	case err != nil || answer.Token == "":
		return "", 0, weft.Errorf(weft.Unauthenticated, op, "%s gave an answer without a token", endpoint)
	case len(answer.Token) > tokenMax || !tokenChars.MatchString(answer.Token):
		return "", 0, weft.Errorf(weft.Unauthenticated, op, "%s gave a token that cannot be sent", endpoint)
	case answer.Type != "" && !strings.EqualFold(answer.Type, "bearer"):
		return "", 0, weft.Errorf(weft.Unauthenticated, op, "%s gave a token that is no bearer token", endpoint)
	case len(issuers) > 0 && !slices.Contains(issuers, issuerOf(answer.Token)):
		return "", 0, weft.Errorf(weft.Unauthenticated, op, "%s gave a token of another issuer than %s", endpoint, strings.Join(issuers, ", "))
	}
	life := tokenAge
	if n, err := strconv.ParseFloat(string(bytes.Trim(answer.Expires, `"`)), 64); err == nil && n >= 0 {
		life = time.Duration(min(n, (24*time.Hour).Seconds()) * float64(time.Second))
	}
	return answer.Token, life, nil
}

// authorityCode is what the status of an authority means for the call.
func authorityCode(status int) weft.Code {
	if status == 429 || status >= 500 {
		return weft.Unavailable
	}
	return weft.Unauthenticated
}

// issuerOf is who issued a token that is a JWT. Who signed it is for the peer
// to check: here it comes from where it was asked for.
func issuerOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	text, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Issuer string `json:"iss"`
	}
	_ = json.Unmarshal(text, &claims) // no claims, no issuer
	return claims.Issuer
}
