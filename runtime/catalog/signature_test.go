package catalog_test

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/wasm"
)

// signer is a person with a key.
type signer struct {
	catalog.Key
	private minisign.PrivateKey
}

func newSigner(t *testing.T) signer {
	t.Helper()
	public, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer{keyOf(t, public.String()), private}
}

func keyOf(t *testing.T, text string) catalog.Key {
	t.Helper()
	key, err := catalog.ParseKey([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign is what minisign writes beside data.
func (s signer) sign(data []byte, comment string) []byte {
	r := minisign.NewReader(bytes.NewReader(data))
	_, _ = io.Copy(io.Discard, r)
	return r.SignWithComments(s.private, comment, "signature from a test")
}

func TestASignatureOfMinisignItselfCounts(t *testing.T) {
	read := func(file string) []byte {
		t.Helper()
		data, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	key := keyOf(t, string(read("signed.pub")))
	s := newShelf(t)
	cat := s.with(catalog.Options{Trusted: map[string][]catalog.Key{"": {key}}})
	pushed, err := cat.Push(t.Context(), ns, catalog.Push{Wasm: read("signed.wasm"), Signature: read("signed.wasm.minisig")})
	if err != nil {
		t.Fatal(err)
	}
	if m := pushed.Module; !m.Signed || m.Signature.Key != key || m.Signature.Comment != "the shop, release 1.0.0" || !strings.Contains(string(read("signed.pub")), m.Signature.ID) {
		t.Errorf("signed %v: %+v", m.Signed, m.Signature)
	}
}

// with is a catalog of what is on the shelf, with other options.
func (s *shelf) with(o catalog.Options) *catalog.Catalog {
	s.t.Helper()
	cat, err := catalog.Open(s.t.Context(), s.db, s.rt, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return cat
}

func TestWhoSignedAnUploadDecidesWhatBecomesOfIt(t *testing.T) {
	shop, stranger, tenant := newSigner(t), newSigner(t), newSigner(t)
	whole := withSection(tiny(3, "place"), manifest("order", "1.0.0", "place"))
	next := withSection(tiny(4, "place"), manifest("order", "1.1.0", "place"))
	described := wasm.AppendSection(whole, wasm.DescriptorSection, []byte("services"))
	bare := tiny(5, "place")
	wider := manifest("order", "1.0.0", "place")
	wider.Grants.Peers = []string{"*"}
	altered := func(signature []byte) []byte {
		return bytes.Replace(signature, []byte("release"), []byte("Release"), 1)
	}
	var renamed minisign.Signature
	if err := renamed.UnmarshalText(stranger.sign(whole, "")); err != nil {
		t.Fatal(err)
	}
	public := minisign.PublicKey{}
	if err := public.UnmarshalText([]byte(shop.Key)); err != nil {
		t.Fatal(err)
	}
	renamed.KeyID = public.ID()
	oldForm := minisign.SignWithComments(shop.private, whole, "", "")

	for _, c := range []struct {
		name     string
		push     catalog.Push
		signed   bool
		says     string // of a doubt or an error
		code     weft.Code
		required weft.Code // where signatures are required
	}{
		{"not at all", catalog.Push{Wasm: whole}, false, "", weft.OK, weft.PermissionDenied},
		{"by a trusted key", catalog.Push{Wasm: whole, Signature: shop.sign(whole, "release 1")}, true, "", weft.OK, weft.OK},
		{"by a key of the namespace", catalog.Push{Wasm: whole, Signature: tenant.sign(whole, "")}, true, "", weft.OK, weft.OK},
		{"with its manifest beside it in the same words", catalog.Push{Wasm: whole, Manifest: manifest("order", "1.0.0", "place"), Signature: shop.sign(whole, "")}, true, "", weft.OK, weft.OK},
		{"by a stranger", catalog.Push{Wasm: whole, Signature: stranger.sign(whole, "")}, false,
			"is signed by key " + stranger.ID() + ", which is not trusted here", weft.OK, weft.PermissionDenied},
		{"by a stranger whose key has our name", catalog.Push{Wasm: whole, Signature: []byte(renamed.String())}, false,
			"names key " + shop.ID() + ", and is not of that key and these bytes", weft.InvalidArgument, weft.InvalidArgument},
		{"for the version before", catalog.Push{Wasm: next, Signature: shop.sign(whole, "")}, false, "these bytes", weft.InvalidArgument, weft.InvalidArgument},
		{"with a comment that was altered", catalog.Push{Wasm: whole, Signature: altered(shop.sign(whole, "release 1"))}, false, "these bytes", weft.InvalidArgument, weft.InvalidArgument},
		{"with another manifest beside it", catalog.Push{Wasm: whole, Manifest: wider, Signature: shop.sign(whole, "")}, false, "not what it has inside", weft.InvalidArgument, weft.InvalidArgument},
		{"under another version", catalog.Push{Wasm: whole, Version: "2.0.0", Signature: shop.sign(whole, "")}, false, "not what it has inside", weft.InvalidArgument, weft.InvalidArgument},
		{"under another name", catalog.Push{Wasm: whole, Name: "payment", Signature: shop.sign(whole, "")}, false, "not what it has inside", weft.InvalidArgument, weft.InvalidArgument},
		{"with services beside it", catalog.Push{Wasm: whole, Descriptors: []byte("services"), Signature: shop.sign(whole, "")}, false, "not what it has inside", weft.InvalidArgument, weft.InvalidArgument},
		{"with other services than its own", catalog.Push{Wasm: described, Descriptors: []byte("others"), Signature: shop.sign(described, "")}, false, "not what it has inside", weft.InvalidArgument, weft.InvalidArgument},
		{"with its own services beside it", catalog.Push{Wasm: described, Descriptors: []byte("services"), Signature: shop.sign(described, "")}, true, "", weft.OK, weft.OK},
		{"with no manifest inside", catalog.Push{Wasm: bare, Name: "order", Version: "1.0.0", Signature: shop.sign(bare, "")}, false, "not what it has inside", weft.InvalidArgument, weft.InvalidArgument},
		{"in the old form", catalog.Push{Wasm: whole, Signature: oldForm}, false, "old form", weft.InvalidArgument, weft.InvalidArgument},
		{"with a comment for a terminal", catalog.Push{Wasm: whole, Signature: shop.sign(whole, "\x1b[2J")}, false, "control characters", weft.InvalidArgument, weft.InvalidArgument},
		{"with what is no signature", catalog.Push{Wasm: whole, Signature: []byte("shop")}, false, "cannot be read", weft.InvalidArgument, weft.InvalidArgument},
		{"with an empty file", catalog.Push{Wasm: whole, Signature: []byte{}}, false, "cannot be read", weft.InvalidArgument, weft.InvalidArgument},
		{"with more than a signature", catalog.Push{Wasm: whole, Signature: bytes.Repeat([]byte("x"), 16<<10+1)}, false, "the signature has 16385 bytes, the limit is 16384", weft.ResourceExhausted, weft.ResourceExhausted},
	} {
		t.Run(c.name, func(t *testing.T) {
			for required, code := range map[bool]weft.Code{false: c.code, true: c.required} {
				s := newShelf(t)
				cat := s.with(catalog.Options{RequireSignature: required, Isolation: map[string]weft.Isolation{"": catalog.ProcessUnlessSigned},
					Trusted: map[string][]catalog.Key{"": {shop.Key}, ns: {tenant.Key}, "acme": {stranger.Key}, ns + "/payment": {stranger.Key}}})
				pushed, err := cat.Push(t.Context(), ns, c.push)
				said := strings.Join(pushed.Doubts, "")
				if err != nil {
					said = err.Error()
				}
				if weft.CodeOf(err) != code || !strings.Contains(said, c.says) {
					t.Errorf("required %v: %v, said %s", required, err, said)
				}
				if err != nil {
					if n := s.rows(); n != 0 || !strings.Contains(said, ";") { // the hint
						t.Errorf("required %v: %d rows are left, said %s", required, n, said)
					}
					continue
				}
				want := map[bool]weft.Isolation{true: weft.Inline, false: weft.Process}[c.signed]
				if m := pushed.Module; m.Signed != c.signed || (m.Signature != nil) != c.signed || m.Isolation != want {
					t.Errorf("required %v: signed %v (%+v), it runs %s", required, m.Signed, m.Signature, m.Isolation)
				}
			}
		})
	}
}

// TestTrustIsThatOfNow has an operator change his mind about keys.
func TestTrustIsThatOfNow(t *testing.T) {
	shop, other := newSigner(t), newSigner(t)
	code := withSection(tiny(6, "place"), manifest("order", "1.0.0", "place"))
	s := newShelf(t)
	with := func(keys ...catalog.Key) *catalog.Catalog {
		return s.with(catalog.Options{Isolation: map[string]weft.Isolation{ns: catalog.ProcessUnlessSigned}, Trusted: map[string][]catalog.Key{"": keys}})
	}
	expect := func(cat *catalog.Catalog, by catalog.Key, signed bool) {
		t.Helper()
		m, err := cat.Module(ns, "order", "")
		if err != nil {
			t.Fatal(err)
		}
		if (m.Signature != nil) != (by != "") || by != "" && m.Signature.Key != by || m.Signed != signed || (m.Isolation == weft.Inline) != signed {
			t.Errorf("by %+v, signed %v, it runs %s", m.Signature, m.Signed, m.Isolation)
		}
	}
	push := func(cat *catalog.Catalog, signature []byte) {
		t.Helper()
		if _, err := cat.Push(t.Context(), ns, catalog.Push{Wasm: code, Signature: signature}); err != nil {
			t.Fatal(err)
		}
	}

	cat := with(shop.Key)
	push(cat, nil)
	expect(cat, "", false)
	push(cat, shop.sign(code, "late")) // the same bytes: they are signed now
	expect(cat, shop.Key, true)
	push(cat, nil) // and stay so
	expect(cat, shop.Key, true)
	expect(with(shop.Key), shop.Key, true)

	expect(with(), shop.Key, false) // the key is gone: so is what followed from it
	expect(with(other.Key), shop.Key, false)
	expect(with(other.Key, shop.Key), shop.Key, true)

	cat = with(other.Key)
	push(cat, shop.sign(code, "late"))
	expect(cat, shop.Key, false)
	push(cat, other.sign(code, ""))
	expect(cat, other.Key, true)
	expect(with(shop.Key), other.Key, false)

	granted, err := cat.SetGrants(t.Context(), ns, "order", "1.0.0", weft.Grants{Peers: []string{"bank"}})
	if err != nil || !granted.Signed {
		t.Errorf("after a grant: %+v, %v", granted, err)
	}
	if !slices.Equal(granted.Grants.Peers, []string{"bank"}) {
		t.Errorf("granted %v", granted.Grants)
	}
}

func TestAKeyIsOneLineOrAFileOfMinisign(t *testing.T) {
	key := newSigner(t)
	for _, text := range []string{string(key.Key), "untrusted comment: mine\n" + string(key.Key) + "\n", "untrusted comment: mine\r\n" + string(key.Key) + "\r\n", " " + string(key.Key) + "\n"} {
		if got, err := catalog.ParseKey([]byte(text)); err != nil || got != key.Key {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "shop.pub", string(key.Key)[:40], "untrusted comment: none"} {
		if _, err := catalog.ParseKey([]byte(text)); weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), "no public key of minisign") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
