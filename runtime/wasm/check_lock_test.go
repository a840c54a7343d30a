package wasm

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/tests/logbook"
)

// TestACheckReachesNothingButItsCell has the child try what a compiler would that an
// upload has taken over. It may make code, as a compiler must.
func TestACheckReachesNothingButItsCell(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Options{CacheDir: filepath.Join(dir, "compiled"), Check: []string{checkArgs()[0], "__burglar-check"}})
	n, err := newNest(dir, readRights)
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	if n.landlock == 0 {
		t.Skip("this kernel has no landlock")
	}
	_, err = r.Check(context.Background(), guest)
	const denied, no = "permission denied; ", "operation not permitted; "
	if err == nil || !strings.Contains(err.Error(), "read: "+denied+"write: "+denied+"connect: "+no+"exec: "+no+"kill: "+no+"code: <nil>") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "compiled", "planted")); !os.IsNotExist(err) {
		t.Errorf("a file was left in the cache: %v", err)
	}
}

func TestTheLogSaysOnceWhatLocksChecks(t *testing.T) {
	for _, c := range []struct {
		child, says string
		code        weft.Code
	}{
		{"__check", "checks of uploads are locked down", weft.OK},
		{"__other", "checks of uploads are not locked down whole", weft.Unavailable},
	} {
		said := &logbook.Book{}
		r := open(t, Options{Check: []string{checkArgs()[0], c.child}, Log: slog.New(slog.NewTextHandler(said, nil))})
		for range 2 {
			if _, err := r.Check(context.Background(), guest); weft.CodeOf(err) != c.code {
				t.Fatal(err)
			}
		}
		if n := strings.Count(said.String(), c.says); n != 1 {
			t.Errorf("%s: said %d times: %s", c.child, n, said)
		}
	}
}
