package chaos_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/tests/chaos"
)

// Each fault that the experiments look for is planted, and seen.
func TestCheckSees(t *testing.T) {
	rec := record(t, chaos.Job{Do: "load", Name: "a", Workers: 4, Rounds: 1}, rig.Base)
	acks, err := rec.Acks()
	if err != nil {
		t.Fatal(err)
	}
	const work = "(select min(id) from run where workflow='work')"
	for name, c := range map[string]struct {
		plant string
		acks  []chaos.Ack
		sees  string // empty for nothing
	}{
		"nothing in a sound file":                  {plant: "select 1"},
		"an event that is in the log twice":        {plant: "insert into event(topic,id,meta,data,created) select topic,id,meta,data,created from event order by offset limit 1", sees: "is 2 times in the log"},
		"an event that is missing":                 {plant: "delete from event where offset=(select min(offset) from event)", sees: "is not in the log"},
		"a counter that has gone twice":            {plant: "update state set value=cast(value+1 as blob) where key='count/w1'", sees: "counter w1 is 3"},
		"a counter without its events":             {plant: "insert into state values('default','probe','count/x',1,x'31')", sees: "has no events"},
		"an event that a handler had twice":        {plant: "update state set value=cast(value+1 as blob) where key='count/seen-s1'", sees: "handler seen has counted 2"},
		"an ack without its event":                 {plant: "insert into inbox values('triggered','/load','x',0)", sees: "has started no run"},
		"a hole in a journal":                      {plant: "delete from journal where run=" + work + " and seq>0 and seq=(select min(seq) from journal where run=" + work + " and seq>0)", sees: "is due"},
		"the end of a journal that is cut off":     {plant: "delete from journal where run=" + work + " and seq=(select max(seq) from journal where run=" + work + ")", sees: "the row knows of"},
		"a step that is there twice":               {plant: "insert into journal select run, (select entries from run where id=" + work + "), data from journal where run=" + work + " order by seq desc limit 1; update run set entries=(select sum(length(data)) from journal) where id=" + work, sees: "twice"},
		"a flipped bit":                            {plant: "update journal set data=cast(x'01ff' || substr(data,3) as blob) where run=" + work + " and seq=0", sees: "fails its checksum"},
		"a journal without its run":                {plant: "delete from run where id=" + work, sees: "a journal and no row"},
		"a run that was told and is gone":          {plant: "select 1", acks: []chaos.Ack{{Run: "gone"}}, sees: "run gone is not there"},
		"a counter that was told to be further":    {plant: "select 1", acks: []chaos.Ack{{Counter: "d1", Count: 99}}, sees: "99 was told"},
		"an event that was taken and is gone":      {plant: "select 1", acks: []chaos.Ack{{Inbox: "heard", Event: "x"}}, sees: "event x is not in inbox heard"},
		"a call that left before it was written":   {plant: "select 1", acks: []chaos.Ack{{Left: "gone/3/1/0"}}, sees: "does not know that call"},
		"a listening run that has lost its event":  {plant: "select 1", acks: []chaos.Ack{{Heard: "gone", Event: "x"}}, sees: "has not had event x"},
		"a run that was told to have ended so":     {plant: "update run set status=1, output=null where id=" + work, sees: "was told to be completed"},
		"a run that was told to have more entries": {plant: "update run set entries=1 where id=" + work, sees: "were told"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "weft.db")
			for file, data := range rec.After {
				if err := os.WriteFile(filepath.Join(filepath.Dir(path), file), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tamper(t, path, c.plant)
			v, err := chaos.Check(t.Context(), path, append(c.acks, acks...))
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(append(v.Wrong, v.Lost...), "\n")
			if c.sees == "" && all != "" || !strings.Contains(all, c.sees) {
				t.Errorf("saw %q", all)
			}
		})
	}
}

func tamper(t *testing.T, path, statements string) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range strings.Split(statements, ";") {
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.Query(s, nil, func(store.Row) error { return nil }) }); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
