package hooks

import (
	"crypto/hmac"
	"crypto/sha1" // old senders have no other, and an HMAC of it still holds
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weftrun/weft"
)

// Tolerance is how far the time that a sender has signed may be from ours.
const Tolerance = 5 * time.Minute

// signed is what a call says of its signature, read by the scheme.
type signed struct {
	hash       func() hash.Hash
	head       string // what is signed before the body
	signatures [][]byte
}

// read finds the signatures of a call; none where it has none that could hold.
func (h *Hook) read(header http.Header, now time.Time) signed {
	switch h.Scheme {
	case GitHub:
		return signed{hash: sha256.New, signatures: plain(header.Get("X-Hub-Signature-256"), "sha256=", hex.DecodeString)}
	case Stripe:
		return readStripe(header.Get("Stripe-Signature"), now)
	case Standard:
		return readStandard(header, now)
	}
	decode := hex.DecodeString
	if h.Encoding == "base64" {
		decode = base64.StdEncoding.DecodeString
	}
	made := map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}[h.Algorithm]
	return signed{hash: made, signatures: plain(header.Get(h.Header), h.Prefix, decode)}
}

// plain is a header that is one signature.
func plain(text, prefix string, decode func(string) ([]byte, error)) [][]byte {
	text, ok := strings.CutPrefix(text, prefix)
	signature, err := decode(text)
	if !ok || err != nil {
		return nil
	}
	return [][]byte{signature}
}

// readStripe reads t=TIME,v1=HEX, where v1 may be there several times while the
// secret changes.
func readStripe(header string, now time.Time) signed {
	s := signed{hash: sha256.New}
	at := ""
	for part := range strings.SplitSeq(header, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(part), "="); name {
		case "t":
			at = value
		case "v1":
			s.signatures = append(s.signatures, plain(value, "", hex.DecodeString)...)
		}
	}
	if !near(at, now) {
		return signed{}
	}
	s.head = at + "."
	return s
}

// readStandard reads v1,BASE64 with spaces between several.
func readStandard(header http.Header, now time.Time) signed {
	id, at := header.Get("webhook-id"), header.Get("webhook-timestamp")
	if id == "" || !near(at, now) {
		return signed{}
	}
	s := signed{hash: sha256.New, head: id + "." + at + "."}
	for part := range strings.FieldsSeq(header.Get("webhook-signature")) {
		s.signatures = append(s.signatures, plain(part, "v1,", base64.StdEncoding.DecodeString)...)
	}
	return s
}

// near reports whether a time in seconds is within the tolerance.
func near(seconds string, now time.Time) bool {
	at, err := strconv.ParseInt(seconds, 10, 64)
	return err == nil && time.Unix(at, 0).Sub(now).Abs() <= Tolerance
}

// by reports whether one of the signatures was made with key.
func (s signed) by(key, body []byte) bool {
	mac := hmac.New(s.hash, key)
	mac.Write([]byte(s.head))
	mac.Write(body)
	want, fits := mac.Sum(nil), false
	for _, signature := range s.signatures {
		fits = hmac.Equal(signature, want) || fits
	}
	return fits
}

// key is the key that a secret holds. The error does not tell the secret.
func (h *Hook) key(secret []byte) ([]byte, error) {
	if len(secret) == 0 {
		return nil, noKey("it is empty")
	}
	if h.Scheme != Standard {
		return secret, nil
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(secret), "whsec_"))
	if err != nil || len(key) == 0 {
		return nil, noKey("it is no base64 after whsec_")
	}
	return key, nil
}

func noKey(why string) error {
	return weft.Errorf(weft.FailedPrecondition, "hooks.Hook.key", "%s", why).WithHint("put there what the sender signs with")
}
