package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

func TestSecretsAreFilesOfTheirNamespace(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("shops/default/key", "one\n")
	write("shops/default/large", strings.Repeat("x", SecretMax+1))
	write("shops/other/key", "two")
	write("outside", "never")
	secret := secretsIn(filepath.Join(dir, "shops"))
	for _, c := range []struct{ ns, name, want string }{{"default", "key", "one"}, {"other", "key", "two"}} {
		if got, err := secret(c.ns, c.name); err != nil || string(got) != c.want {
			t.Errorf("%s/%s is %q, %v", c.ns, c.name, got, err)
		}
	}
	for _, c := range [][2]string{{"default", "none"}, {"default", "large"}, {"third", "key"}, {"..", "outside"}, {"default", "../../outside"}} {
		if got, err := secret(c[0], c[1]); weft.CodeOf(err) != weft.NotFound {
			t.Errorf("%s is %q, %v", c, got, err)
		}
	}
	write("shops/default/key", "three")
	if got, err := secret("default", "key"); err != nil || string(got) != "three" {
		t.Errorf("a new value is not read: %q, %v", got, err)
	}
}
