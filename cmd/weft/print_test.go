package main

import (
	"strings"
	"testing"

	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

// A module is described by who made it, and its description shown to who runs it.
func TestACellOfATableIsOneLineAndNoCommandOfATerminal(t *testing.T) {
	var b strings.Builder
	a := &app{out: &b, output: "table"}
	if err := a.table(&weftv1.ListHandlersResponse{}, "HANDLER DESCRIPTION", [][]string{{"place", "an order\nrefund\t\x1b[2Jmoney"}}); err != nil {
		t.Fatal(err)
	}
	if want := "HANDLER  DESCRIPTION\nplace    an order refund  [2Jmoney\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
