package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

// A module is described by who made it, and its description shown to who runs it.
func TestACellOfATableIsOneLineAndNoCommandOfATerminal(t *testing.T) {
	var b strings.Builder
	a := &app{out: &b, output: "table"}
	if err := a.table(&weftv1.ListHandlersResponse{}, "HANDLER DESCRIPTION", [][]string{{"place", "an order\nrefund\t\x1b[2J\u202emoney"}}); err != nil {
		t.Fatal(err)
	}
	if want := "HANDLER  DESCRIPTION\nplace    an order refund  [2J money\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestWhyAModuleFailedIsNoCommandOfATerminal(t *testing.T) {
	const says, said = "no\u009b2J\nstock\x1b[2J", "no 2J stock [2J"
	fault := &weftv1.Fault{Status: 500, Title: says, Detail: says}
	a := &app{}
	for what, got := range map[string]string{
		"a step that failed": a.line(&weftv1.Step{Fault: fault}, 0),
		"a step that waits":  a.line(&weftv1.Step{Waiting: says}, 0),
		"a step that waited": a.line(&weftv1.Step{Notes: []string{says}}, 0),
		"a run that failed":  ended(a, &weftv1.Run{Fault: fault}),
		"a run that waits":   ended(a, &weftv1.Run{Reason: says}),
	} {
		if !strings.Contains(got, said) || strings.Contains(got, says) {
			t.Errorf("%s: %q", what, got)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]string{"code": "not_found", "message": says})
	}))
	defer server.Close()
	if got, want := explain(typed(t, "run", "list", "--server", server.URL)), "no 2J\nstock [2J"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// ended is what is shown of the end of a run.
func ended(a *app, r *weftv1.Run) string {
	var b strings.Builder
	a.out = &b
	a.end(r)
	return b.String()
}
