package host

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
)

// Isolation reads what an operator demands: isolation, namespace=isolation or
// namespace/module=isolation, each name once.
func Isolation(words []string) (map[string]weft.Isolation, error) {
	all := map[string]weft.Isolation{}
	known := []weft.Isolation{weft.Inline, weft.Process, catalog.ProcessUnlessSigned}
	for _, word := range words {
		name, isolation, ok := ofWhom(word)
		if _, again := all[name]; again || !ok || !slices.Contains(known, weft.Isolation(isolation)) {
			return nil, weft.Errorf(weft.InvalidArgument, "host.Isolation", "%q is no isolation, or a second one", word).
				WithHint("write process, acme=process or acme/billing=process, or inline or %s in its place", catalog.ProcessUnlessSigned)
		}
		all[name] = weft.Isolation(isolation)
	}
	return all, nil
}

// TrustedKeys reads whose signatures count: key, namespace=key or
// namespace/module=key, where a key is the line that minisign writes, or a file
// with it.
func TrustedKeys(words []string) (map[string][]catalog.Key, error) {
	all := map[string][]catalog.Key{}
	for _, word := range words {
		name, text, ok := ofWhom(word)
		if !ok {
			return nil, weft.Errorf(weft.InvalidArgument, "host.TrustedKeys", "%q names no namespace or module", word).WithHint("write FILE or KEY, acme=FILE or acme/billing=FILE")
		}
		key, err := catalog.ParseKey([]byte(text))
		if err != nil {
			var file []byte
			if file, err = os.ReadFile(text); err == nil {
				key, err = catalog.ParseKey(file)
			}
		}
		if err != nil {
			return nil, weft.Errorf(weft.InvalidArgument, "host.TrustedKeys", "%q: %w", word, err).WithHint("give the file that minisign -G has made, or the line RW... in it")
		}
		all[name] = append(all[name], key)
	}
	return all, nil
}

// amountMax is more than there is of anything.
const amountMax = 1 << 30

// Amounts reads how much there is of something: a number for all, or namespace=number,
// each name once.
func Amounts(words []string) (map[string]int64, error) {
	all := map[string]int64{}
	for _, word := range words {
		name, text, ok := ofWhom(word)
		n, err := strconv.ParseInt(text, 10, 64)
		if _, again := all[name]; again || !ok || strings.Contains(name, "/") || err != nil || n < 1 || n > amountMax {
			return nil, weft.Errorf(weft.InvalidArgument, "host.Amounts", "%q is no amount, or a second one", word).
				WithHint("write a number from 1 to %d, or acme=NUMBER for a namespace", amountMax)
		}
		all[name] = n
	}
	return all, nil
}

// bytesOf are amounts of MiB in bytes.
func bytesOf(mib map[string]int64) map[string]int64 {
	bytes := map[string]int64{}
	for name, n := range mib {
		bytes[name] = n << 20
	}
	return bytes
}

// ofWhom parts namespace=value and namespace/module=value; name is empty where
// value stands alone. It is not ok where the name can be none: a slip in it would
// be a setting that does nothing.
func ofWhom(word string) (name, value string, ok bool) {
	name, value, named := strings.Cut(word, "=")
	if !named {
		return "", word, true
	}
	space, module, within := strings.Cut(name, "/")
	return name, value, space != "" && weft.CheckNamespace(space) == nil && within == (module != "") && weft.CheckNamespace(module) == nil
}
