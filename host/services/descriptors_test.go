package services_test

import (
	"net/http"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftrun/weft/host/services"
)

// Who generates code needs all imports, before what imports them, by their own
// paths, and the comments.
func TestDescriptorsAreThereForGenerators(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, library(t))
	url := serve(t, set)
	w, answer := ask(t, url, http.MethodGet, "/openapi/library/1.binpb", "")
	var fds descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal([]byte(answer), &fds); w.StatusCode != 200 || err != nil {
		t.Fatal(w.Status, err)
	}
	if _, err := protodesc.NewFiles(&fds); err != nil {
		t.Error(err)
	}
	var paths []string
	for _, f := range fds.File {
		for _, of := range f.Dependency {
			if !slices.Contains(paths, of) {
				t.Errorf("%s comes before %s", f.GetName(), of)
			}
		}
		paths = append(paths, f.GetName())
		if f.GetName() == "library.proto" && len(f.GetSourceCodeInfo().GetLocation()) == 0 {
			t.Error("there are no comments")
		}
	}
	for _, want := range []string{"library.proto", "annotations.proto", "google/protobuf/descriptor.proto"} {
		if !slices.Contains(paths, want) {
			t.Errorf("there is no %s in %v", want, paths)
		}
	}
	if _, again := ask(t, url, http.MethodGet, "/openapi/library/1.binpb", ""); again != answer {
		t.Error("the same schema gives other bytes")
	}
	if w, _ := ask(t, url, http.MethodGet, "/openapi/library/2.binpb", ""); w.StatusCode != 404 {
		t.Errorf("a version that is not there: %s", w.Status)
	}
}
