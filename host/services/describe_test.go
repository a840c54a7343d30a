package services_test

import (
	"encoding/json"
	"testing"

	"github.com/weftrun/weft/host/services"
)

func TestWhatAPersonCallsAServiceWith(t *testing.T) {
	schema := link(t, "library", librarySet(t))
	all, schemas, err := schema.Describe()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Comment != "The books of a library." {
		t.Fatalf("services: %+v", all)
	}
	set := services.New(services.Options{})
	add(t, set, library(t))
	url := serve(t, set)
	for _, m := range all[0].Methods {
		if m.ServerStream != (m.Name == "Watch") || m.ClientStream || len(m.Routes) == 0 || schemas[m.Request] == nil {
			t.Errorf("%+v", m)
		}
		if m.ServerStream || m.Name == "Cover" {
			continue
		}
		status, answer := post(t, url+m.Procedure, string(m.Example)) // an example can be sent, and comes back as it was
		if status != 200 || compact(t, answer) != compact(t, string(m.Example)) || len(m.Example) < 20 {
			t.Errorf("%s: %d %s\nwant %s", m.Name, status, answer, m.Example)
		}
	}
	if r := all[0].Methods[1].Routes; len(r) != 1 || r[0] != (services.Route{Verb: "POST", Path: "/v1/{parent=shelves/*}/books", Body: "book"}) {
		t.Errorf("routes: %+v", r)
	}
	var request struct {
		Properties map[string]map[string]any
	}
	if err := json.Unmarshal(schemas["library.v1.Request"], &request); err != nil || request.Properties["book"]["$ref"] != "#/$defs/library.v1.Book" {
		t.Errorf("schema: %v %s", err, schemas["library.v1.Request"])
	}
}
