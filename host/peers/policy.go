package peers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
)

// Policy is how a peer is called. A zero field means that of the policy of all
// peers, AnyPeer, and then the default of Options.
type Policy struct {
	breaker.Policy // its fields stand beside the others in the file

	Total     time.Duration `json:"timeout,omitempty"`   // of a call with its retries; default 10 s
	Attempt   time.Duration `json:"attempt,omitempty"`   // of one attempt; default 2 s
	Retries   int           `json:"retries,omitempty"`   // of calls that may be repeated; default 2, -1 for none
	RetryMin  time.Duration `json:"retryMin,omitempty"`  // default 100 ms, doubled, with full jitter
	RetryMax  time.Duration `json:"retryMax,omitempty"`  // default 2 s
	Budget    int           `json:"budget,omitempty"`    // percent of the calls of ten seconds that may be retries; default 20
	BudgetMin int           `json:"budgetMin,omitempty"` // retries that are allowed however few calls there are; default 3
	Rate      int           `json:"rate,omitempty"`      // attempts a second; default: no limit
	Burst     int           `json:"burst,omitempty"`     // at once, when it was quiet before; default: as many as in a second
	Bulkhead  int           `json:"bulkhead,omitempty"`  // calls at once of one caller; default 64
	BodyMax   int64         `json:"body,omitempty"`      // bytes of an answer; default 4 MiB
}

// AnyPeer is the name of the policy that holds for all peers of a namespace.
const AnyPeer = "*"

// setting is a field of a policy as it is written.
type setting struct {
	key      string // with its group: retry.times
	of       func(*Policy) any
	min, max int64 // of a duration in ms
	none     bool  // 0 is a choice, stored as -1
}

var settings = []setting{
	{"timeout", func(p *Policy) any { return &p.Total }, 1, 3600_000, false},
	{"attempt", func(p *Policy) any { return &p.Attempt }, 1, 3600_000, false},
	{"bulkhead", func(p *Policy) any { return &p.Bulkhead }, 1, 10_000, false},
	{"body", func(p *Policy) any { return &p.BodyMax }, 1, 64 << 20, false},
	{"retry.times", func(p *Policy) any { return &p.Retries }, 0, 10, true},
	{"retry.min", func(p *Policy) any { return &p.RetryMin }, 1, 60_000, false},
	{"retry.max", func(p *Policy) any { return &p.RetryMax }, 1, 600_000, false},
	{"retry.percent", func(p *Policy) any { return &p.Budget }, 1, 100, false},
	{"retry.least", func(p *Policy) any { return &p.BudgetMin }, 1, 1000, false},
	{"rate.perSecond", func(p *Policy) any { return &p.Rate }, 1, 1_000_000, false},
	{"rate.burst", func(p *Policy) any { return &p.Burst }, 1, 1_000_000, false},
	{"breaker.failures", func(p *Policy) any { return &p.Failures }, 1, 1000, false},
	{"breaker.window", func(p *Policy) any { return &p.Window }, 1000, 3600_000, false},
	{"breaker.volume", func(p *Policy) any { return &p.Volume }, 1, 1_000_000, false},
	{"breaker.percent", func(p *Policy) any { return &p.Percent }, 1, 100, false},
	{"breaker.row", func(p *Policy) any { return &p.Row }, 1, 1_000_000, false},
	{"breaker.open", func(p *Policy) any { return &p.Open }, 100, 24 * 3600_000, false},
	{"breaker.probes", func(p *Policy) any { return &p.Probes }, 1, 100, false},
	{"breaker.slow", func(p *Policy) any { return &p.Slow }, 1, 3600_000, false},
}

// or is p, its zero fields taken from q.
func (p Policy) or(q Policy) Policy {
	for _, s := range settings {
		switch to := s.of(&p).(type) {
		case *int:
			*to = cmp.Or(*to, *s.of(&q).(*int))
		case *int64:
			*to = cmp.Or(*to, *s.of(&q).(*int64))
		case *time.Duration:
			*to = cmp.Or(*to, *s.of(&q).(*time.Duration))
		}
	}
	return p
}

// policy is what the options say of peers without one.
func (o Options) policy() Policy {
	return Policy{Total: o.Total, Attempt: o.Attempt, Retries: o.Retries, RetryMin: o.RetryMin, RetryMax: o.RetryMax, Budget: 20, BudgetMin: 3,
		Bulkhead: o.Bulkhead, BodyMax: o.BodyMax}
}

// leaseSlack is how much longer than an attempt a probe may take: whoever does
// not keep to the time of an attempt hangs.
const leaseSlack = time.Second

// effective is the whole policy of a peer. The caller holds g.mu.
func (g *Gate) effective(k serviceKey) *Policy {
	p := g.policies[k].or(g.policies[serviceKey{k.ns, AnyPeer}]).or(g.opts.policy())
	p.Attempt = min(p.Attempt, p.Total)
	p.RetryMin = min(p.RetryMin, p.RetryMax)
	p.Burst = cmp.Or(p.Burst, p.Rate)
	p.Lease = p.Attempt + leaseSlack
	return &p
}

// SetPolicies gives each of these peers its policy, whole, and leaves others as
// they are; of a plain HTTP host the name is scheme://host:port. They are
// durable when SetPolicies returns, and hold from the next call on.
func (g *Gate) SetPolicies(ctx context.Context, ns string, policies map[string]Policy) error {
	err := g.db.Update(ctx, func(tx *store.Tx) error {
		for name, p := range policies {
			data, err := json.Marshal(p)
			if err == nil {
				err = tx.SetBreakerPolicy(ns, name, data)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	g.mu.Lock()
	for name, p := range policies {
		g.policies[serviceKey{ns, name}] = p
	}
	changed := map[*peer]*Policy{}
	for k, p := range g.peers {
		if k.ns == ns {
			changed[p] = g.effective(k)
		}
	}
	g.mu.Unlock()
	for p, policy := range changed {
		p.setPolicy(policy)
	}
	return nil
}

func (p *peer) setPolicy(policy *Policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.policy.Store(policy)
	for _, gd := range p.guards {
		gd.b.SetPolicy(policy.Policy)
	}
}

// Policies are the policies of a namespace, by peer.
func (g *Gate) Policies(ns string) map[string]Policy {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[string]Policy{}
	for k, p := range g.policies {
		if k.ns == ns {
			all[k.service] = p
		}
	}
	return all
}

// SetBreaker changes when the breakers of a peer open, and leaves the rest of
// its policy.
func (g *Gate) SetBreaker(ctx context.Context, ns, name string, failures int, open time.Duration) error {
	p := g.Policies(ns)[name]
	p.Failures, p.Open = failures, open
	return g.SetPolicies(ctx, ns, map[string]Policy{name: p})
}

// ParsePolicies reads policies from YAML, as docs/PEERS.md says. What is wrong
// is a workflows.Problems.
func ParsePolicies(file string, src []byte) (map[string]Policy, error) {
	root, err := workflows.ReadTree(file, src)
	if err != nil {
		return nil, err
	}
	r := &policyReader{found: map[string]Policy{}}
	r.fields(root, "the file", func(b workflows.Branch) bool {
		if b.Key != "policies" {
			return false
		}
		items, ok := b.Tree.Items()
		if !ok || len(items) == 0 {
			r.wrong(b.Tree, "write - peer: NAME for each", "policies must be a list of policies")
		}
		for _, item := range items {
			r.policy(item)
		}
		return true
	}, "policies")
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b workflows.Problem) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
		return nil, r.problems[:min(len(r.problems), workflows.ProblemsMax)]
	}
	if len(r.found) == 0 {
		return nil, workflows.Problems{root.Problem("write policies: with a list of them", "the file has no policies")}
	}
	return r.found, nil
}

type policyReader struct {
	found    map[string]Policy
	problems workflows.Problems
}

func (r *policyReader) wrong(t workflows.Tree, hint, format string, args ...any) {
	r.problems = append(r.problems, t.Problem(hint, format, args...))
}

// fields hands the keys of a mapping to read, which knows those in known.
func (r *policyReader) fields(t workflows.Tree, what string, read func(workflows.Branch) bool, known ...string) {
	if !t.IsMap() {
		r.wrong(t, "write KEY: VALUE", "%s must be a mapping", what)
		return
	}
	for _, b := range t.Branches() {
		if !read(b) {
			hint := "it has " + strings.Join(known, ", ")
			if near := workflows.Nearest(b.Key, known); near != "" {
				hint = "did you mean " + near + "?"
			}
			r.wrong(b.At, hint, "%s has no key %s", what, b.Key)
		}
	}
}

var hostForm = regexp.MustCompile(`^https?://[^/?#@\s]+$`)

func (r *policyReader) policy(t workflows.Tree) {
	var p Policy
	name := ""
	at := map[string]workflows.Tree{}
	r.fields(t, "a policy", func(b workflows.Branch) bool {
		if b.Key == "peer" {
			name = r.peer(b.Tree)
			return true
		}
		return r.setting(b, "", &p, at)
	}, append([]string{"peer"}, groups("")...)...)
	if !t.IsMap() {
		return
	}
	if name == "" {
		if _, has := t.Value().(map[string]any)["peer"]; !has {
			r.wrong(t, "write peer: with its service, scheme://host:port, or "+AnyPeer+" for all", "a policy without a peer")
		}
		return
	}
	if _, twice := r.found[name]; twice {
		r.wrong(t, "write one policy", "a second policy of %s", name)
	}
	if p.Attempt > p.Total && p.Total > 0 {
		r.wrong(at["attempt"], "", "attempt is longer than timeout, which bounds all attempts together")
	}
	if p.RetryMin > p.RetryMax && p.RetryMax > 0 {
		r.wrong(at["retry.min"], "", "min is longer than max")
	}
	if p.Burst > 0 && p.Rate == 0 {
		r.wrong(at["rate.burst"], "write perSecond too", "burst without a rate")
	}
	r.found[name] = p
}

// peer is the name of a peer as breakers know it.
func (r *policyReader) peer(t workflows.Tree) string {
	name, _ := t.Value().(string)
	switch {
	case name == AnyPeer || nameForm.MatchString(name):
		return name
	case hostForm.MatchString(name):
		if at := (weft.Request{URL: name}).Target(); at != "" {
			return at
		}
	}
	r.wrong(t, "write a service such as payments, a host such as https://api.example.com, or "+AnyPeer+" for all", "%.80v is no peer", t.Value())
	return ""
}

// groups are the keys that may stand under a prefix.
func groups(prefix string) (keys []string) {
	for _, s := range settings {
		if rest, ok := strings.CutPrefix(s.key, prefix); ok {
			key, _, _ := strings.Cut(rest, ".")
			keys = append(keys, key)
		}
	}
	return slices.Compact(keys)
}

// setting reads a key of a policy, or a group of such keys.
func (r *policyReader) setting(b workflows.Branch, prefix string, p *Policy, at map[string]workflows.Tree) bool {
	for _, s := range settings {
		switch key := prefix + b.Key; {
		case s.key == key:
			at[key] = b.Tree
			r.value(b, s, p)
			return true
		case strings.HasPrefix(s.key, key+"."):
			r.fields(b.Tree, b.Key, func(inner workflows.Branch) bool { return r.setting(inner, key+".", p, at) }, groups(key+".")...)
			return true
		}
	}
	return false
}

func (r *policyReader) value(b workflows.Branch, s setting, p *Policy) {
	n, ok := whole(b.Tree.Value())
	field := s.of(p)
	bounds := fmt.Sprintf("from %d to %d", s.min, s.max)
	if d, is := field.(*time.Duration); is {
		bounds = fmt.Sprintf("from %s to %s", ms(s.min), ms(s.max))
		text, _ := b.Tree.Value().(string)
		length, err := workflows.ParseDuration(text)
		if err != nil {
			r.wrong(b.Tree, "write an ISO 8601 duration such as PT2S or PT0.1S", "%s is no duration", b.Key)
			return
		}
		*d, n = length, length.Milliseconds()
	} else if !ok {
		r.wrong(b.Tree, "write a whole number "+bounds, "%s is no whole number", b.Key)
		return
	}
	if n < s.min || n > s.max {
		r.wrong(b.Tree, "write one "+bounds, "%s is out of bounds", b.Key)
	}
	if s.none && n == 0 {
		n = -1
	}
	switch to := field.(type) {
	case *int:
		*to = int(n)
	case *int64:
		*to = n
	}
}

// whole is a number of YAML as an integer.
func whole(v any) (int64, bool) {
	n, err := json.Number(fmt.Sprint(v)).Int64()
	_, text := v.(string)
	return n, err == nil && !text
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// ShowPolicies is what ParsePolicies reads back.
func ShowPolicies(all map[string]Policy) string {
	var out strings.Builder
	out.WriteString("policies:\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&out, "  - peer: %q\n", name)
		p, group := all[name], ""
		for _, s := range settings {
			text := shown(s.of(&p))
			if text == "" {
				continue
			}
			key, indent := s.key, "    "
			if g, rest, nested := strings.Cut(s.key, "."); nested {
				if g != group {
					fmt.Fprintf(&out, "    %s:\n", g)
				}
				group, key, indent = g, rest, "      "
			}
			fmt.Fprintf(&out, "%s%s: %s\n", indent, key, text)
		}
	}
	return out.String()
}

func shown(field any) string {
	var n int64
	switch v := field.(type) {
	case *time.Duration:
		if *v == 0 {
			return ""
		}
		return "PT" + strings.ToUpper(fmt.Sprint(v.Seconds())) + "S"
	case *int:
		n = int64(*v)
	case *int64:
		n = *v
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprint(max(n, 0))
}

// errNoRoom is made where a peer is full.
func errNoRoom(format string, args ...any) error {
	return weft.Errorf(weft.ResourceExhausted, "peers.Gate.Do", format, args...)
}
