package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/tests/logbook"
)

// retain has b trim until the test ends.
func retain(t *testing.T, b *bus.Bus) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Retain(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func exec(t *testing.T, db *store.DB, query string, args ...any) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(query, args...); return err }); err != nil {
		t.Fatal(err)
	}
}

const day = 24 * time.Hour

// fill publishes events 1 to n, each so old and with so much data.
func fill(t *testing.T, b *bus.Bus, db *store.DB, n int, age time.Duration, size int) {
	t.Helper()
	list := make([]weft.Event, n)
	for i := range list {
		list[i] = event(fmt.Sprint(i + 1))
		list[i].Data = make([]byte, size)
	}
	if _, err := b.Publish(t.Context(), ns, list...); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "update event set created=?", time.Now().Add(-age).UnixMilli())
}

func TestRetentionKeepsWhatSomebodyNeeds(t *testing.T) {
	const n = 1000   // two transactions
	const row = 1264 // bytes of an event with 1,000 bytes of data, nearly
	for name, c := range map[string]struct {
		age  time.Duration
		size int
		rows string // what refers to event 600
		max  int64
		left int64
		says string
	}{
		"what is young stays":                              {6 * day, 0, "", 0, n, ""},
		"what is old goes":                                 {8 * day, 0, "", 0, 0, ""},
		"what a group has not had stays":                   {8 * day, 0, "insert into consumer values('default','g',599,0)", 0, n - 599, ""},
		"a group of another topic holds nothing":           {8 * day, 0, "insert into consumer values('x','g',599,0)", 0, 0, ""},
		"what waits for a redelivery stays":                {8 * day, 0, "insert into redelivery values('default','g',600,'',0,1,'')", 0, 1, ""},
		"a dead letter stays":                              {8 * day, 0, "insert into dead_letter values('default','g',600,5,'',unixepoch()*1000)", 0, 1, ""},
		"a dead letter that is old goes":                   {8 * day, 0, "insert into dead_letter values('default','g',600,5,'',(unixepoch()-8*86400)*1000)", 0, 0, ""},
		"beyond the hard limit all goes":                   {15 * day, 0, "insert into consumer values('default','late',599,0)", 0, 0, "behind=[late]"},
		"beyond the hard limit a redelivery goes":          {15 * day, 0, "insert into redelivery values('default','g',600,'',0,1,'')", 0, 0, "events lost"},
		"what is over the size goes, the oldest first":     {0, 1000, "", 300 * row, 300, ""},
		"over the size, what a group has not had stays":    {0, 1000, "insert into consumer values('default','g',0,0)", 600 * row, n, ""},
		"over twice the size, the oldest goes in any case": {0, 1000, "insert into consumer values('default','late',0,0)", 300 * row, 600, "behind=[late]"},
	} {
		t.Run(name, func(t *testing.T) {
			var log logbook.Book
			b, db := openWith(t, bus.Options{Log: slog.New(slog.NewTextHandler(&log, nil)), RetainBytes: c.max, RetainEvery: time.Hour})
			fill(t, b, db, n, c.age, c.size)
			if c.rows != "" {
				exec(t, db, c.rows)
			}
			// What is trimmed after the log shows that a pass is over.
			exec(t, db, "insert into instance_event(ns,service,instance,epoch,kind,at) values('n','s','a',1,1,1),('n','s','b',2,1,2)")
			retain(t, b)
			until(t, "a pass is over", func() bool { return count(t, db, "select count(*) from instance_event") == 1 })
			left := count(t, db, "select count(*) from event")
			if near := c.size > 0 && left > c.left*95/100 && left < c.left*105/100; left != c.left && !near {
				t.Errorf("%d are left and not %d", left, c.left)
			}
			if left > 0 && left < n && c.size > 0 && count(t, db, "select max(offset) from event") != n {
				t.Error("the newest are gone")
			}
			if !strings.Contains(log.String(), c.says) || c.says == "" && strings.Contains(log.String(), "events lost") {
				t.Errorf("the log says %s", &log)
			}
			if head, err := db.Head(t.Context(), ns); err != nil || head != n {
				t.Errorf("head %d: %v", head, err)
			}
		})
	}
}

func TestInboxesAndTheRegistryAreTrimmedToo(t *testing.T) {
	b, db := openWith(t, bus.Options{RetainEvery: 5 * time.Millisecond})
	old, young := time.Now().Add(-8*day).UnixMilli(), time.Now().Add(-6*day).UnixMilli()
	for i := range 3 {
		exec(t, db, "insert into inbox values('group default/g','/s',?,?),('group default/g','/t',?,?)", fmt.Sprint(i), old, fmt.Sprint(i), young)
		exec(t, db, "insert into instance_event(ns,service,instance,epoch,kind,at) values('n',?,'a',1,1,?),('n',?,'a',1,3,?)", fmt.Sprint(i%2), old, fmt.Sprint(i%2), old)
	}
	retain(t, b)
	until(t, "the old are gone", func() bool {
		return count(t, db, "select count(*) from inbox") == 3 && count(t, db, "select count(*) from instance_event") == 2
	})
	known := map[string]bool{}
	if err := db.KnownServices(t.Context(), func(ns, service string) { known[ns+service] = true }); err != nil || !known["n0"] || !known["n1"] {
		t.Errorf("services forgotten: %v %v", known, err)
	}
}

func TestAReaderThatWasTrimmedPastIsTold(t *testing.T) {
	b, db := openWith(t, bus.Options{RetainEvery: 5 * time.Millisecond})
	fill(t, b, db, 10, 8*day, 0)
	exec(t, db, "insert into consumer values('default','g',6,0)")
	retain(t, b)
	until(t, "six are gone", func() bool { return count(t, db, "select count(*) from event") == 4 })
	enough := errors.New("enough")
	read := func(after int64, wait time.Duration) (first int64, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		err = b.Tail(ctx, ns, after, func(offset int64, _ weft.Event) error { first = offset; return enough })
		return first, err
	}
	if got, err := read(3, patience); weft.CodeOf(err) != weft.OutOfRange || !strings.Contains(err.Error(), "up to offset 6") || got != 0 {
		t.Errorf("after 3: %v %v", got, err)
	}
	for after, first := range map[int64]int64{6: 7, 8: 9, 0: 7} {
		if got, err := read(after, patience); err != enough || got != first {
			t.Errorf("after %d: %v %v", after, got, err)
		}
	}
	if got, err := read(-1, 100*time.Millisecond); weft.CodeOf(err) != weft.DeadlineExceeded || got != 0 {
		t.Errorf("from now on: %v %v", got, err)
	}
	// One that is slow is overtaken while it reads.
	seen := make(chan int64)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Tail(t.Context(), ns, 0, func(offset int64, _ weft.Event) error { seen <- offset; return nil })
	}()
	<-seen
	if _, err := b.Publish(t.Context(), ns, event("11"), event("12")); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "update event set created=1")
	until(t, "all are gone", func() bool { return count(t, db, "select count(*) from event") == 0 })
	for range 3 { // of the page that it had
		<-seen
	}
	if err := <-ended; weft.CodeOf(err) != weft.OutOfRange {
		t.Errorf("it was not told: %v", err)
	}
}

func TestAGroupGoesOnBeyondWhatWasTrimmed(t *testing.T) {
	b, db := openWith(t, bus.Options{RetainEvery: 5 * time.Millisecond})
	fill(t, b, db, 10, 15*day, 0)
	exec(t, db, "insert into consumer values('default','g',4,0)")
	exec(t, db, "insert into redelivery(topic,name,offset,due,attempts,error) values('default','g',2,0,1,''),('default','g',99,0,1,'')")
	retain(t, b)
	until(t, "all are gone", func() bool { return count(t, db, "select count(*) from event") == 0 })
	got := make(chan string, 10)
	serve(t, b, bus.Group{Namespace: ns, Name: "g", Handle: func(_ context.Context, e weft.Event, _ func(*store.Tx) error) error { got <- e.ID; return nil }})
	if _, err := b.Publish(t.Context(), ns, event("new")); err != nil {
		t.Fatal(err)
	}
	if id := <-got; id != "new" {
		t.Error(id)
	}
	until(t, "redeliveries of what is gone are forgotten", func() bool { return count(t, db, "select count(*) from redelivery") == 0 })
}

func TestReadersThatAKilledProcessLeftAreForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	db, err := store.Open(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	exec(t, db, "insert into consumer values('t','reader 01',0,0),('t','g',0,0)")
	b := bus.New(db, bus.Options{})
	out := subscribe(t, b.Subscriber(bus.SubscriberOptions{}), "t")
	retain(t, b)
	until(t, "it is forgotten", func() bool { return count(t, db, "select count(*) from consumer where name='reader 01'") == 0 })
	publish(t, b, "t", "1")
	next(t, out).Ack()
	if n := count(t, db, "select count(*) from consumer"); n != 2 {
		t.Errorf("%d groups: the named one and the living reader stay", n)
	}
}
