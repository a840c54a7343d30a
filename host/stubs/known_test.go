package stubs

import (
	"flag"
	"os"
	"testing"
	"testing/fstest"

	"github.com/weftrun/weft/workflows/grpc"
)

var pack = flag.Bool("pack", false, "write the messages of sdk/go/known anew")

// What the SDK for Go has of Google's messages is what the generator writes.
func TestTheKnownMessagesAreGenerated(t *testing.T) {
	const file = "../../sdk/go/known/known.weft.go"
	set, err := grpc.Sources(t.Context(), fstest.MapFS{}, goKnown...)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range set.File {
		f.SourceCodeInfo = nil // comments are Google's
	}
	_, text, err := Generate(set, goKnown, Options{Package: "known"})
	if err != nil {
		t.Fatal(err)
	}
	if *pack {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(file)
	if err != nil || string(have) != string(text) {
		t.Errorf("%s is not what the generator writes: go test ./host/stubs -run Known -args -pack (%v)", file, err)
	}
}
