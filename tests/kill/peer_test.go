package kill

import "testing"

type call struct{ key, path, body string }

func TestThePeerTellsARepeatedCallFromADoubledOne(t *testing.T) {
	for name, c := range map[string]struct {
		calls             []call
		repeated, doubled int
	}{
		"two calls of a step":              {[]call{{"run/3/1/0", "/One", "a"}, {"run/3/1/1", "/Two", "a"}}, 0, 0},
		"the same call of two runs":        {[]call{{"run/3/1/0", "/One", "a"}, {"other/3/1/0", "/One", "a"}}, 0, 0},
		"a call that comes again":          {[]call{{"run/3/1/0", "/One", "a"}, {"run/3/1/0", "/One", "a"}}, 1, 0},
		"a key with another body":          {[]call{{"run/3/1/0", "/One", "a"}, {"run/3/1/0", "/One", "b"}}, 1, 1},
		"a call that comes under two keys": {[]call{{"run/3/1/0", "/One", "a"}, {"run/3/2/0", "/One", "a"}}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer()
			for _, q := range c.calls {
				p.asked(q.key, q.path, q.body)
			}
			var r Result
			p.judge(&r)
			if r.Calls != len(c.calls) || r.Repeated != c.repeated || r.Doubled != c.doubled {
				t.Errorf("%+v", r)
			}
		})
	}
}

// What goes back is seen, and what goes on is not.
func TestARunThatGoesBackIsLost(t *testing.T) {
	done := run{ID: "r", Status: "RUN_STATUS_COMPLETED", Entries: 5, Output: []byte(`{"count": 2}`)}
	for name, c := range map[string]struct {
		now  run
		lost int
	}{
		"as it was":           {done, 0},
		"with fewer entries":  {run{ID: "r", Status: "RUN_STATUS_COMPLETED", Entries: 4, Output: done.Output}, 1},
		"no longer completed": {run{ID: "r", Status: "RUN_STATUS_RUNNING", Entries: 5}, 1},
		"with another output": {run{ID: "r", Status: "RUN_STATUS_COMPLETED", Entries: 5, Output: []byte(`{"count":3}`)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoop()
			l.tell(done)
			l.hold(l.known("r"), c.now)
			if l.result.Lost != c.lost {
				t.Errorf("%+v", l.result)
			}
		})
	}
}
