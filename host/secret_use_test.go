package host_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftrun/weft/host"
)

func TestASecretGoesFromItsFileToThePeerAlone(t *testing.T) {
	const token = "tok-4711-fortyseven"
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"you":"`+r.Header.Get("Authorization")+`"}`)
	}))
	defer peer.Close()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "default"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "default", "teller"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, host.Options{Secrets: dir, HTTPAllow: []string{strings.TrimPrefix(peer.URL, "http://")}})
	apply := func(name, secret string) {
		s.must("/weft.v1.WorkflowService/Apply", `{"source":`+quoted(fmt.Sprintf(`document: { dsl: '1.0.3', namespace: test, name: %s, version: '1.0.0' }
use: { secrets: [ %s ] }
do: [ { ask: { call: http, with: { method: get, endpoint: { uri: %q, authentication: { bearer: { use: %s } } } } } } ]
`, name, secret, peer.URL, secret))+`}`)
	}
	apply("ask", "teller")
	apply("ask-other", "nobody")
	answer := s.must("/weft.v1.RunService/Start", `{"workflow":"ask","wait":true}`)
	if !strings.Contains(answer, "Bearer weft-secret-") || strings.Contains(answer, token) {
		t.Error(answer)
	}
	if status, answer := s.ask("/weft.v1.RunService/Start", `{"workflow":"ask-other"}`); status == http.StatusOK || !strings.Contains(answer, "default/nobody") {
		t.Errorf("%d %s", status, answer)
	}
}
