package engine_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// clocked is an engine without handlers, in a bubble where time is virtual.
type clocked struct {
	*engine.Engine
	t     *testing.T
	path  string
	begun time.Time
	disk  func(store.Moment) error
	opts  engine.Options
	db    *store.DB
	cat   *catalog.Catalog
}

// inBubble runs fn with an engine whose time begins in the bubble.
func inBubble(t *testing.T, fn func(*clocked)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &clocked{t: t, path: filepath.Join(t.TempDir(), "weft.db"), begun: time.Now()}
		c.open()
		defer c.close()
		fn(c)
	})
}

func (c *clocked) open() {
	c.t.Helper()
	ctx := context.Background()
	var err error
	if c.db, err = store.Open(ctx, store.Options{Path: c.path, Sync: "normal", Checkpoint: time.Hour, Readers: 2, Fault: c.disk}); err != nil {
		c.t.Fatal(err)
	}
	if c.cat, err = catalog.Open(ctx, c.db, nil, catalog.Options{}); err != nil {
		c.t.Fatal(err)
	}
	c.Engine = engine.New(c.db, c.cat, &fakeGate{}, c.opts)
	c.cat.OnChange(c.Rescheduled)
	if err := c.Start(ctx); err != nil {
		c.t.Fatal(err)
	}
}

func (c *clocked) close() {
	if err := errors.Join(c.Close(context.Background()), c.db.Close()); err != nil && c.db.Err() == nil {
		c.t.Error(err)
	}
}

// apply deploys a version of the workflow w.
func (c *clocked) apply(version, schedule, do string) {
	c.t.Helper()
	src := "document: { dsl: '1.0.3', namespace: test, name: w, version: '" + version + "' }\nschedule: " + schedule + "\ndo: [ " + do + " ]\n"
	if _, err := c.cat.Apply(context.Background(), ns, "w.yaml", []byte(src)); err != nil {
		c.t.Fatal(err)
	}
}

const nothing = "{ it: { set: { a: 1 } } }"

// started are the versions of the runs there are and the seconds at which they
// started, the oldest first.
func (c *clocked) started() string {
	c.t.Helper()
	runs, _, err := c.List(context.Background(), engine.ListRuns{Namespace: ns, PageSize: 1000})
	if err != nil {
		c.t.Fatal(err)
	}
	slices.SortFunc(runs, func(a, b engine.Run) int { return a.Started.Compare(b.Started) })
	var all []string
	for _, r := range runs {
		all = append(all, fmt.Sprintf("%s@%d", r.Version[:1], int(r.Started.Sub(c.begun).Seconds())))
	}
	return strings.Join(all, " ")
}

// at checks what has started a moment after a second.
func (c *clocked) at(second int, want string) {
	c.t.Helper()
	time.Sleep(time.Until(c.begun.Add(time.Duration(second)*time.Second + 500*time.Millisecond)))
	if got := c.started(); got != want {
		c.t.Errorf("after %d s: %q, not %q", second, got, want)
	}
}

func (c *clocked) next(version string, want int) {
	c.t.Helper()
	starts, err := c.NextStarts(context.Background(), ns)
	if err != nil {
		c.t.Fatal(err)
	}
	at, ok := starts["test/w:"+version]
	if ok != (want > 0) || ok && !at.Equal(c.begun.Add(time.Duration(want)*time.Second)) {
		c.t.Errorf("version %s starts next at %s (%v), not after %d s", version, at, ok, want)
	}
}

func TestTimeStartsWorkflows(t *testing.T) {
	for _, c := range []struct{ what, schedule, do, want string }{
		{"every so often", "{ every: PT10S }", nothing, "1@10 1@20 1@30 1@40 1@50 1@60"},
		{"every so often, though the run before goes on", "{ every: PT20S }", "{ it: { wait: PT50S } }", "1@20 1@40 1@60"},
		{"by the calendar", "{ cron: '* * * * *' }", nothing, "1@60"},
		{"at once, and so long after the end", "{ after: PT10S }", "{ it: { wait: PT20S } }", "1@0 1@30 1@60"},
		{"at once, and so long after an end that is a fault", "{ after: PT25S }", "{ it: { raise: { error: { type: 'https://x.example/e', status: 400 } } } }", "1@0 1@25 1@50"},
		{"by all of it together", "{ cron: '* * * * *', every: PT25S, after: PT40S }", nothing, "1@0 1@25 1@40 1@50 1@60"},
	} {
		t.Run(c.what, func(t *testing.T) {
			inBubble(t, func(e *clocked) {
				e.apply("1.0.0", c.schedule, c.do)
				e.at(60, c.want)
			})
		})
	}
}

func TestAScheduledRunHasNoInputAndAKeyOfItsTime(t *testing.T) {
	inBubble(t, func(c *clocked) {
		c.apply("1.0.0", "{ every: PT10S }", "{ it: { set: { input: '${ $workflow.input }' } } }")
		c.next("1.0.0", 10)
		c.at(12, "1@10")
		c.next("1.0.0", 20)
		runs, _, err := c.List(context.Background(), engine.ListRuns{Namespace: ns})
		if err != nil || len(runs) != 1 || string(runs[0].Output) != `{"input":null}` || runs[0].Key != "schedule every 2000-01-01T00:00:10Z" {
			c.t.Errorf("%+v %v", runs, err)
		}
		_, _, err = c.StartRun(context.Background(), engine.StartRun{Namespace: ns, Workflow: "w", Key: "schedule every 2000-01-01T00:00:20Z"})
		if weft.CodeOf(err) != weft.InvalidArgument {
			c.t.Errorf("a key of weft's own may be taken: %v", err)
		}
	})
}

func TestOfTheTimesThatWereMissedTheLatestIsMadeUpFor(t *testing.T) {
	for _, c := range []struct{ schedule, want string }{
		{"{ every: PT10S }", "1@10 1@95 1@100"},
		{"{ cron: '* * * * *' }", "1@95"},
		{"{ after: PT10S }", "1@0 1@10 1@95"},
	} {
		inBubble(t, func(e *clocked) {
			e.apply("1.0.0", c.schedule, nothing)
			time.Sleep(15 * time.Second)
			e.close()
			time.Sleep(80 * time.Second)
			e.open()
			e.at(104, c.want)
		})
	}
}

func TestTheNewestVersionHasTheSchedule(t *testing.T) {
	inBubble(t, func(c *clocked) {
		ended := [2]int{int(engine.Running), int(engine.Parked)}
		remove := func(version string) {
			if err := c.cat.RemoveWorkflow(context.Background(), ns, "w", version, ended); err != nil {
				c.t.Fatal(err)
			}
		}
		c.apply("2.0.0", "{ every: PT10S }", nothing)
		c.at(14, "2@10")
		c.apply("1.0.0", "{ every: PT1S }", nothing) // an older one changes nothing
		c.at(24, "2@10 2@20")
		c.next("1.0.0", 0)
		c.apply("3.0.0", "{ after: PT10S }", "{ it: { wait: PT1.2S } }")
		c.next("2.0.0", 0)
		c.at(36, "2@10 2@20 3@24 3@35")
		c.apply("4.0.0", "{}", nothing) // without a schedule time starts none
		c.at(60, "2@10 2@20 3@24 3@35")
		remove("4.0.0")
		c.at(61, "2@10 2@20 3@24 3@35 3@60")
		time.Sleep(2 * time.Second)
		remove("1.0.0")
		remove("2.0.0")
		remove("3.0.0")
		c.at(200, "2@10 2@20 3@24 3@35 3@60")
		if starts, err := c.NextStarts(context.Background(), ns); err != nil || len(starts) != 0 {
			c.t.Errorf("%v %v", starts, err)
		}
	})
}

// A process that dies at any commit, before or after it, starts each run once.
func TestEachTimeHasOneRunThroughCrashes(t *testing.T) {
	for _, c := range []struct{ schedule, do string }{
		{"{ every: PT10S, cron: '* * * * *' }", "{ it: { wait: PT1S } }"},
		{"{ after: PT9S }", "{ it: { wait: PT1S } }"},
	} {
		for _, moment := range []store.Moment{store.BeforeCommit, store.AfterCommit} {
			for gap := 1; gap <= 2; gap++ {
				inBubble(t, func(e *clocked) {
					e.apply("1.0.0", c.schedule, c.do)
					e.close()
					commits, dead, crashes := 0, make(chan struct{}, 1), 0
					e.disk = func(m store.Moment) error {
						if m != moment {
							return nil
						}
						if commits++; commits%gap == 0 && crashes < 15 {
							select {
							case dead <- struct{}{}:
							default:
							}
							return errors.New("no disk")
						}
						return nil
					}
					e.open()
					end := time.After(time.Until(e.begun.Add(125 * time.Second)))
					for over := false; !over; {
						select {
						case <-dead:
							crashes++
							e.close()
							commits = 0
							e.open()
						case <-end:
							over = true
						}
					}
					runs, _, err := e.List(context.Background(), engine.ListRuns{Namespace: ns, PageSize: 1000})
					if err != nil {
						e.t.Fatal(err)
					}
					keys := map[string]int{}
					for _, r := range runs {
						keys[r.Key]++
					}
					if crashes < 10 {
						e.t.Errorf("%s: only %d crashes", c.schedule, crashes)
					}
					if strings.Contains(c.schedule, "after") {
						if len(keys) < 12 || len(keys) > 13 || len(keys) != len(runs) {
							e.t.Errorf("%d runs with %d keys after %d crashes", len(runs), len(keys), crashes)
						}
						return
					}
					for s := 10; s <= 120; s += 10 {
						at := e.begun.Add(time.Duration(s) * time.Second).UTC().Format(time.RFC3339)
						if keys["schedule every "+at] != 1 || s%60 == 0 && keys["schedule cron "+at] != 1 {
							e.t.Errorf("%s has not one run: %v", at, keys)
						}
					}
					if len(runs) != 14 {
						e.t.Errorf("%d runs, not 14", len(runs))
					}
				})
			}
		}
	}
}

// A start that a full disk lost is made again once there is room.
func TestAStartThatIsLostIsMadeAgain(t *testing.T) {
	inBubble(t, func(c *clocked) {
		c.apply("1.0.0", "{ every: PT10S }", nothing)
		c.close()
		fulls := 0
		c.disk = func(m store.Moment) error {
			if now := time.Since(c.begun); m == store.BeforeCommit && now > 9*time.Second && now < 14*time.Second {
				fulls++
				return sqlite3.Error{Code: sqlite3.ErrFull}
			}
			return nil
		}
		c.open()
		time.Sleep(17 * time.Second)
		runs, _, err := c.List(context.Background(), engine.ListRuns{Namespace: ns})
		if err != nil || len(runs) != 1 || runs[0].Key != "schedule every 2000-01-01T00:00:10Z" || fulls == 0 {
			c.t.Errorf("%+v %v, full %d times", runs, err, fulls)
		}
		c.next("1.0.0", 20)
	})
}

func TestEverySecondOnARealClock(t *testing.T) {
	h := newHouse(t)
	h.cat.OnChange(h.Rescheduled)
	h.deploy("tick", "schedule: { every: PT1S }\ndo:\n  - add: { call: count, with: { key: tick } }\n")
	holds(t, "it has run three times", func() bool { return strings.Contains(h.count("tick"), `"count":3`) })
	runs, _, err := h.List(t.Context(), engine.ListRuns{Namespace: ns, Workflow: "tick"})
	if err != nil || len(runs) < 3 {
		t.Fatalf("%d runs: %v", len(runs), err)
	}
	var last time.Time
	for _, r := range slices.Backward(runs) {
		due, err := time.Parse(time.RFC3339, strings.TrimPrefix(r.Key, "schedule every "))
		if err != nil || due.Sub(last) < time.Second || r.Started.Before(due) {
			t.Errorf("%s has started at %s, and %s was before it: %v", r.Key, r.Started, last, err)
		}
		last = due
	}
}
