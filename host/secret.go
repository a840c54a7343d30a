package host

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weftrun/weft"
)

// SecretMax bounds one secret, in bytes.
const SecretMax = 64 << 10

// secretsIn reads secrets from a folder, each anew whenever it is used: of a
// namespace those in the folder of its name, a file for each. A line break at
// its end is no part of it.
func secretsIn(dir string) func(ns, name string) ([]byte, error) {
	const op = "host.secretsIn"
	return func(ns, name string) ([]byte, error) {
		path := filepath.Join(ns, name)
		root, err := os.OpenRoot(dir) // so that no name leads out of it
		if err != nil {
			return nil, weft.Errorf(weft.NotFound, op, "the folder of secrets cannot be opened").WithHint("see that it is there, and that weft may read it")
		}
		defer root.Close()
		f, err := root.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, weft.Errorf(weft.NotFound, op, "there is no secret %s in namespace %s", name, ns).WithHint("put it into the file %s of the folder of secrets", path)
		}
		if err != nil {
			return nil, weft.Errorf(weft.NotFound, op, "secret %s of namespace %s cannot be read", name, ns)
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, SecretMax+1))
		if err != nil || len(data) > SecretMax {
			return nil, weft.Errorf(weft.NotFound, op, "secret %s of namespace %s cannot be read, or has more than %d bytes", name, ns, SecretMax)
		}
		return bytes.TrimRight(data, "\r\n"), nil
	}
}
