package host_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/weftrun/weft/host"
)

// What lies beside the shop's orders.proto is what it says.
func TestTheShopIsGenerated(t *testing.T) {
	const order = "../guests/order"
	dir := t.TempDir()
	read := func(dir, file string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if err := os.WriteFile(filepath.Join(dir, "orders.proto"), read(order, "orders.proto"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := host.GenerateModule(t.Context(), dir, "go")
	if err != nil || file != filepath.Join(dir, "orders.weft.go") {
		t.Fatal(file, err)
	}
	set, err := host.Descriptors(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(dir, "orders.weft.go"), read(order, "orders.weft.go")) || !bytes.Equal(set, read(order, "descriptors.binpb")) {
		t.Error("orders.weft.go or descriptors.binpb is an old one: make generate")
	}
}
