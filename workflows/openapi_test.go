package workflows

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const petStore3 = `
openapi: 3.0.3
servers: [ { url: 'https://{region}.pets.example/v1/', variables: { region: { default: eu } } } ]
paths:
  /pets/{petId}/photos:
    parameters: [ { $ref: '#/components/parameters/petId' } ]
    get:
      operationId: photos
      parameters:
        - { name: tag, in: query, schema: { type: array } }
        - { name: size, in: query, explode: false, schema: { type: array } }
        - { name: X-Colour, in: header }
        - { name: session, in: cookie }
    post:
      operationId: addPhoto
      servers: [ { url: /upload } ]
      requestBody: { $ref: '#/components/requestBodies/photo' }
  /form: { put: { operationId: fill, requestBody: { content: { application/x-www-form-urlencoded: {} } } } }
  /binary: { put: { operationId: binary, requestBody: { content: { image/png: {} } } } }
components:
  parameters: { petId: { name: petId, in: path, required: true } }
  requestBodies: { photo: { required: true, content: { image/png: {}, application/json: {} } } }
`

const petStore2 = `{ "swagger": "2.0", "host": "pets.example", "basePath": "/v2", "schemes": [ "http", "https" ],
	"paths": {
		"/pets": {
			"get": { "operationId": "find", "parameters": [
				{ "name": "status", "in": "query", "type": "array", "collectionFormat": "multi" }, { "name": "ids", "in": "query", "type": "array" } ] },
			"post": { "operationId": "add", "consumes": [ "application/xml", "application/json" ], "parameters": [ { "name": "pet", "in": "body", "required": true } ] } },
		"/login": { "post": { "operationId": "login", "parameters": [ { "name": "user", "in": "formData" } ] } } } }`

func TestOpenAPIOperations(t *testing.T) {
	cases := []struct {
		name, document, operation string
		values                    map[string]any
		want                      string // request, or error
	}{
		{"each parameter goes where it belongs", petStore3, "photos",
			map[string]any{"petId": "a/b c", "tag": []any{"x", "y"}, "size": []any{1, 2}, "X-Colour": "red", "session": "s=1"},
			"GET https://eu.pets.example/v1/pets/a%2Fb%20c/photos?size=1%2C2&tag=x&tag=y cookie=session=s%3D1 x-colour=red"},
		{"what is not required may be missing or null", petStore3, "photos", map[string]any{"petId": 7, "tag": nil}, "GET https://eu.pets.example/v1/pets/7/photos"},
		{"a required parameter is missing", petStore3, "photos", nil, "the parameter petId is required"},
		{"a parameter that is not there", petStore3, "photos", map[string]any{"petId": 7, "page": 1}, "the operation has no parameter page, only X-Colour, petId, session, size, tag"},
		{"a server of the operation, relative to the document, and a body", petStore3, "addPhoto", map[string]any{"petId": 7, "body": map[string]any{"a": 1}},
			`POST https://docs.example/upload/pets/7/photos content-type=application/json {"a":1}`},
		{"a body that is a form", petStore3, "fill", map[string]any{"body": map[string]any{"a": "1 2", "b": []any{"x", "y"}}},
			"PUT https://eu.pets.example/v1/form content-type=application/x-www-form-urlencoded a=1+2&b=x&b=y"},
		{"a body that cannot be written", petStore3, "binary", nil, "its body is sent as image/png, which is not written here"},
		{"lists of Swagger 2 are repeated or joined", petStore2, "find", map[string]any{"status": []any{"a", "b"}, "ids": []any{1, 2}},
			"GET https://pets.example/v2/pets?ids=1%2C2&status=a&status=b"},
		{"the body of Swagger 2 has a name", petStore2, "add", map[string]any{"pet": map[string]any{"id": 1}},
			`POST https://pets.example/v2/pets content-type=application/json {"id":1}`},
		{"a form of Swagger 2", petStore2, "login", map[string]any{"user": "ada"},
			"POST https://pets.example/v2/login content-type=application/x-www-form-urlencoded user=ada"},
		{"a slip in the name", petStore2, "finds", nil, "has no operation finds; did you mean find?"},
		{"another version", `{"swagger": "1.2"}`, "find", nil, "is no document of OpenAPI 3 or Swagger 2"},
		{"no document at all", "<html>", "find", nil, "is no OpenAPI document: it is no object"},
		{"a server that is no web address", `{"openapi": "3.1.0", "servers": [{"url": "file:///etc"}], "paths": {"/": {"get": {"operationId": "a"}}}}`, "a", nil,
			`its server is "file:///etc"`},
		{"a reference to itself", `{"openapi": "3.1.0", "paths": {"/": {"get": {"operationId": "a", "parameters": [{"$ref": "#/x"}]}}}, "x": {"$ref": "#/x"}}`, "a", nil,
			"a parameter that cannot be read"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			o, err := FindOperation([]byte(c.document), "https://docs.example/pets/openapi.yaml", c.operation)
			if err == nil {
				var q HTTPCall
				q, err = o.Call(c.values)
				got = written(q)
			}
			if err != nil {
				got = err.Error()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func written(q HTTPCall) string {
	parts := []string{q.Method, q.URL}
	for name, v := range q.Headers {
		parts = append(parts, name+"="+v)
	}
	slices.Sort(parts[2:])
	if q.Body != nil {
		parts = append(parts, string(q.Body))
	}
	return strings.Join(parts, " ")
}

func FuzzFindOperation(f *testing.F) {
	f.Add(petStore3, "photos")
	f.Add(petStore2, "find")
	f.Fuzz(func(t *testing.T, document, operation string) {
		o, err := FindOperation([]byte(document), "https://docs.example/", operation)
		if err != nil {
			return
		}
		values := map[string]any{}
		for _, p := range o.Parameters {
			values[p.Name] = []any{"a", 1}
		}
		if q, err := o.Call(values); err == nil && !strings.HasPrefix(q.URL, "http") {
			t.Fatal(fmt.Sprint(q))
		}
	})
}
