package services_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi/datamodel"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weftrun/weft/host/services"
)

// official is the schema of OpenAPI 3.1 itself.
func official(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(datamodel.OpenAPI31SchemaData))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpenAPIDescribesWhatIsLive(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, library(t))
	add(t, set, ordersModule(t, "2.0.0"))
	url := serve(t, set)
	if _, list := ask(t, url, "GET", "/openapi", ""); list != `{"descriptions":[{"descriptors":"/openapi/library/1.binpb","module":"library","path":"/openapi/library/1.json","version":"1"},{"descriptors":"/openapi/orders/2.0.0.binpb","module":"orders","path":"/openapi/orders/2.0.0.json","version":"2.0.0"}]}` {
		t.Errorf("the list: %s", list)
	}
	if w, _ := ask(t, url, "GET", "/openapi/orders/1.0.0.json", ""); w.StatusCode != 404 {
		t.Errorf("a version that is not live: %d", w.StatusCode)
	}
	schema := official(t)
	for _, path := range []string{"/openapi/library/1.json", "/openapi/orders/2.0.0.json"} {
		w, text := ask(t, url, "GET", path, "")
		if w.StatusCode != 200 || w.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %s", path, w.StatusCode, text)
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		parsed, err := libopenapi.NewDocument([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parsed.BuildV3Model(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestOpenAPIHasPathsSchemasAndComments(t *testing.T) {
	raw := librarySet(t)
	text, err := link(t, "library", raw).OpenAPI("library", "1", nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := link(t, "library", raw).OpenAPI("library", "1", nil)
	if err != nil || !bytes.Equal(text, again) {
		t.Errorf("it is not the same again: %v", err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Description string
			Parameters  []struct{ Name, In, Description string }
			RequestBody any
			Responses   map[string]struct{ Content map[string]any }
		}
		Components struct {
			Schemas map[string]struct {
				Description string
				Enum        []string
				Properties  map[string]struct{ Description string }
			}
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	get := doc.Paths["/v1/shelves/{name.2}/books/{name.4}"]["get"]
	if get.Description != "One book." || len(get.Parameters) < 10 || get.RequestBody != nil {
		t.Errorf("GetBook: %+v", get)
	}
	var names []string
	for _, p := range get.Parameters {
		names = append(names, p.Name)
	}
	for _, name := range []string{"name.2", "id", "book.author.name", "tags", "since", "lent"} {
		if !slices.Contains(names, name) {
			t.Errorf("GetBook has no parameter %s: %v", name, names)
		}
	}
	for _, name := range []string{"name", "labels", "extra", "book"} {
		if slices.Contains(names, name) {
			t.Errorf("GetBook has a parameter %s", name)
		}
	}
	for path, methods := range map[string][]string{
		"/library.v1.LibraryService/GetBook": {"post"},
		"/v1/books/{id}":                     {"get", "delete", "patch", "put"}, // one path, whatever the names
		"/v1/books/{id}:cancel":              {"post"},
		"/v1/peek":                           {"x-methods"},
	} {
		for _, m := range methods {
			if _, ok := doc.Paths[path][m]; !ok {
				t.Errorf("there is no %s %s: %v", m, path, doc.Paths[path])
			}
		}
	}
	if _, ok := doc.Paths["/library.v1.LibraryService/Watch"]; ok {
		t.Error("a stream has a path of Connect")
	}
	if c := doc.Paths["/v1/books:watch"]["get"].Responses["200"].Content; c["application/x-ndjson"] == nil || c["text/event-stream"] == nil {
		t.Errorf("Watch answers %v", c)
	}
	request, kind := doc.Components.Schemas["library.v1.Request"], doc.Components.Schemas["library.v1.Kind"]
	if request.Properties["name"].Description != "Such as shelves/1/books/2." || kind.Description != "What is lent." || len(kind.Enum) != 3 {
		t.Errorf("schemas: %+v %+v", request, kind)
	}
}
