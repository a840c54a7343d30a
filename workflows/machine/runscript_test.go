package machine

import (
	"testing"

	"github.com/weftrun/weft/workflows"
)

func TestAScriptThatHasNotEndedOutlivesASnapshot(t *testing.T) {
	m := machineOf(t, `
do:
  - say:
      run:
        return: all
        script: { language: js, code: console.log(1), arguments: [ '${ .a }', b ], environment: { C: '${ [.a] }' }, stdin: '${ . }' }
`)
	got, err := m.Advance(Entry{Kind: Started, At: noon, Data: []byte(`{"a":1}`)})
	if err != nil || len(got.Commands) != 1 {
		t.Fatal(got, err)
	}
	if m, err = Restore(m.def, m.info, m.AppendSnapshot(nil)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Command{got.Commands[0], m.Outstanding()[0]} {
		want := `{"arguments":["1","b"],"environment":{"C":"[1]"},"stdin":"{\"a\":1}"}`
		if c.Kind != RunScript || c.Script.Code != "console.log(1)" || string(c.Input) != want {
			t.Errorf("kind %d, %+v, %s", c.Kind, c.Script, c.Input)
		}
	}
	if w := m.Waiting(); w != "its script" {
		t.Errorf("it waits for %q", w)
	}
	if _, err := m.Advance(Entry{Kind: Finished, At: noon, Step: 1, Data: []byte(`{"code":2,"stdout":"x","stderr":"y"}`)}); err != nil {
		t.Fatal(err)
	}
	if want := `{"code":2,"stderr":"y","stdout":"x"}`; m.Status() != Completed || string(m.Output()) != want {
		t.Errorf("%s, %s, %+v", m.Status(), m.Output(), m.Fault())
	}
}

func TestADamagedResultOfAScriptIsAFault(t *testing.T) {
	m := machineOf(t, "do: [ { say: { run: { script: { language: js, code: '1' } } } } ]")
	for _, e := range []Entry{{Kind: Started, At: noon}, {Kind: Finished, At: noon, Step: 1, Data: []byte("text")}} {
		if _, err := m.Advance(e); err != nil {
			t.Fatal(err)
		}
	}
	if f := m.Fault(); f == nil || f.Type != workflows.RuntimeError || f.Instance != "/do/0/say" {
		t.Errorf("%+v", f)
	}
}
