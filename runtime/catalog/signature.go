package catalog

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"aead.dev/minisign"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
)

// ProcessUnlessSigned is what an operator may demand beside what weft.Isolation
// has: weft.Process for every module that no trusted key signed.
const ProcessUnlessSigned weft.Isolation = "process-unless-signed"

// signatureMax bounds the bytes of a signature; its comment is most of it.
const signatureMax = 16 << 10

// Key is a public key of minisign, in the one line that minisign writes.
type Key string

// ParseKey reads that line, or the file that minisign -G makes.
func ParseKey(text []byte) (Key, error) {
	var key minisign.PublicKey
	if err := key.UnmarshalText(bytes.TrimSpace(text)); err != nil {
		return "", weft.Errorf(weft.InvalidArgument, "catalog.ParseKey", "no public key of minisign: %s", strings.TrimPrefix(err.Error(), "minisign: ")).
			WithHint("give the file that minisign -G has made, or the line RW... in it")
	}
	return Key(key.String()), nil
}

// ID is the short name of the key. Anybody can make a key with the same.
func (k Key) ID() string { return idOf(k.public().ID()) }

func (k Key) public() (key minisign.PublicKey) {
	_ = key.UnmarshalText([]byte(k)) // ParseKey has read it
	return key
}

func idOf(id uint64) string { return fmt.Sprintf("%016X", id) }

// Signature is what minisign wrote of a module, and what it was found to say.
type Signature struct {
	ID      string `json:"id"`                // of the key that it names
	Key     Key    `json:"key,omitempty"`     // that signed the module; empty where ID is none of the keys that were asked about
	Comment string `json:"comment,omitempty"` // that Key signed with it
	Text    string `json:"text"`
}

// Verify finds which of the keys has signed an upload that Examine has passed. One
// that names none of them is not an error, but leaves Key empty; one that names a
// key and is not of it, or not of all that the upload says of itself, is.
func Verify(keys []Key, report wasm.Report, m weft.Manifest, p Push) (s Signature, err error) {
	refuse := func(hint, format string, args ...any) (Signature, error) {
		return Signature{}, weft.Errorf(weft.InvalidArgument, "catalog.Verify", format, args...).WithHint("%s", hint)
	}
	const again = "sign these bytes: minisign -S -m FILE.wasm"
	if n := len(p.Signature); n > signatureMax {
		return Signature{}, weft.Errorf(weft.ResourceExhausted, "catalog.Verify", "the signature has %d bytes, the limit is %d", n, signatureMax).WithHint("%s", again)
	}
	var text minisign.Signature
	if err := text.UnmarshalText(p.Signature); err != nil {
		return refuse(again, "the signature cannot be read: %s", strings.TrimPrefix(err.Error(), "minisign: "))
	}
	if text.Algorithm != minisign.HashEdDSA { // of the old form one of 64 bytes is one of a file with that hash, too
		return refuse("sign with minisign 0.10 or later, without -l", "the signature is of the old form, which does not hash")
	}
	if strings.ContainsFunc(text.TrustedComment, func(r rune) bool { return !unicode.IsPrint(r) && r != '\t' }) {
		return refuse("sign with another: minisign -S -t COMMENT -m FILE.wasm", "the comment of the signature has control characters")
	}
	s = Signature{ID: idOf(text.KeyID), Text: string(p.Signature)}
	keys = slices.DeleteFunc(slices.Clone(keys), func(k Key) bool { return k.ID() != s.ID })
	if len(keys) == 0 {
		return s, nil
	}
	i := slices.IndexFunc(keys, func(k Key) bool { return minisign.Verify(k.public(), p.Wasm, p.Signature) })
	if i < 0 {
		return refuse(again, "the signature names key %s, and is not of that key and these bytes", s.ID)
	}
	// Other names, handlers or services beside signed code would make it other code.
	within, err := Push{Wasm: p.Wasm}.manifest(report)
	if err != nil || !bytes.Equal(jsonOf(within), jsonOf(m)) || p.Descriptors != nil && !bytes.Equal(p.Descriptors, wasm.SectionOf(p.Wasm, wasm.DescriptorSection)) {
		return refuse("have weft module build put them in, and sign that; or push without the signature: --signature=",
			"the signature is of the module alone, and its name, version, manifest or descriptors are not what it has inside")
	}
	s.Key, s.Comment = keys[i], text.TrustedComment
	return s, nil
}

// signed is the signature of an upload, nil where it has none that counts; doubt
// says then why one does not.
func (c *Catalog) signed(ns string, report wasm.Report, m weft.Manifest, p Push) (s *Signature, doubt string, err error) {
	unsigned := func(why string) (*Signature, string, error) {
		if c.requireSignature {
			return nil, "", weft.Errorf(weft.PermissionDenied, "catalog.Catalog.Push", "%s, and this host takes signed ones alone", why).
				WithHint("minisign -S -m FILE.wasm with a key that is trusted here, then push FILE.wasm again")
		}
		return nil, why + ", and counts as unsigned", nil
	}
	if p.Signature == nil {
		_, _, err := unsigned("the module is not signed")
		return nil, "", err
	}
	found, err := Verify(c.keysOf(ns, m.Name), report, m, p)
	if err != nil {
		return nil, "", err
	}
	if found.Key == "" {
		return unsigned(fmt.Sprintf("the module is signed by key %s, which is not trusted here", found.ID))
	}
	return &found, "", nil
}

// keysOf are the keys whose signatures count for a module.
func (c *Catalog) keysOf(ns, module string) []Key {
	return slices.Concat(c.trusted[""], c.trusted[ns], c.trusted[ns+"/"+module])
}

// settle decides what follows from where m is, from who has signed it and from what
// the operator says now: a key may have lost his trust since the upload.
func (c *Catalog) settle(ns string, m *Module) {
	m.owner = ns + "/" + m.String()
	m.Signed = m.Signature != nil && slices.Contains(c.keysOf(ns, m.Name), m.Signature.Key)
	m.Isolation = weft.Inline
	for _, name := range []string{ns + "/" + m.Name, ns, ""} {
		if isolation, ok := c.isolation[name]; ok {
			m.Isolation = isolation
			break
		}
	}
	switch {
	case m.Manifest.Isolation == weft.Process || m.Isolation == ProcessUnlessSigned && !m.Signed:
		m.Isolation = weft.Process
	case m.Isolation == ProcessUnlessSigned:
		m.Isolation = weft.Inline
	}
}
