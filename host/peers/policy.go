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

	TLS TLS `json:"tls,omitzero"`

	// Grants are limits of single modules, by their names. They can only be
	// stricter than those of the peer: of the two the stricter one holds.
	Grants map[string]*Policy `json:"grants,omitempty"`

	own ownRate // of a whole policy of a grant
}

// ownRate is a rate of one module, within that of the peer.
type ownRate struct {
	module      string
	rate, burst int
}

// grantsMax bounds the modules that a policy names.
const grantsMax = 100

// AnyPeer is the name of the policy that holds for all peers of a namespace.
const AnyPeer = "*"

// setting is a field of a policy as it is written.
type setting struct {
	key      string // with its group: retry.times
	of       func(*Policy) any
	min, max int64 // of a duration in ms
	none     bool  // 0 is a choice, stored as -1
	grant    bool  // a grant may have its own
}

var settings = []setting{
	{"timeout", func(p *Policy) any { return &p.Total }, 1, 3600_000, false, true},
	{"attempt", func(p *Policy) any { return &p.Attempt }, 1, 3600_000, false, true},
	{"bulkhead", func(p *Policy) any { return &p.Bulkhead }, 1, 10_000, false, true},
	{"body", func(p *Policy) any { return &p.BodyMax }, 1, 64 << 20, false, true},
	{"retry.times", func(p *Policy) any { return &p.Retries }, 0, 10, true, true},
	{"retry.min", func(p *Policy) any { return &p.RetryMin }, 1, 60_000, false, false},
	{"retry.max", func(p *Policy) any { return &p.RetryMax }, 1, 600_000, false, false},
	{"retry.percent", func(p *Policy) any { return &p.Budget }, 1, 100, false, false},
	{"retry.least", func(p *Policy) any { return &p.BudgetMin }, 1, 1000, false, false},
	{"rate.perSecond", func(p *Policy) any { return &p.Rate }, 1, 1_000_000, false, true},
	{"rate.burst", func(p *Policy) any { return &p.Burst }, 1, 1_000_000, false, true},
	{"breaker.failures", func(p *Policy) any { return &p.Failures }, 1, 1000, false, false},
	{"breaker.window", func(p *Policy) any { return &p.Window }, 1000, 3600_000, false, false},
	{"breaker.volume", func(p *Policy) any { return &p.Volume }, 1, 1_000_000, false, false},
	{"breaker.percent", func(p *Policy) any { return &p.Percent }, 1, 100, false, false},
	{"breaker.row", func(p *Policy) any { return &p.Row }, 1, 1_000_000, false, false},
	{"breaker.open", func(p *Policy) any { return &p.Open }, 100, 24 * 3600_000, false, false},
	{"breaker.probes", func(p *Policy) any { return &p.Probes }, 1, 100, false, false},
	{"breaker.slow", func(p *Policy) any { return &p.Slow }, 1, 3600_000, false, false},
	{"tls.ca", func(p *Policy) any { return &p.TLS.CA }, 0, 0, false, false},
	{"tls.cert", func(p *Policy) any { return &p.TLS.Cert }, 0, 0, false, false},
	{"tls.key", func(p *Policy) any { return &p.TLS.Key }, 0, 0, false, false},
	{"tls.name", func(p *Policy) any { return &p.TLS.Name }, 0, 0, false, false},
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
	own, all := g.policies[k], g.policies[serviceKey{k.ns, AnyPeer}]
	p := own.or(all).or(g.opts.policy())
	p.Grants = nil
	p.Attempt = min(p.Attempt, p.Total)
	p.RetryMin = min(p.RetryMin, p.RetryMax)
	p.Burst = cmp.Or(p.Burst, p.Rate)
	p.Lease = p.Attempt + leaseSlack
	for _, grants := range []map[string]*Policy{own.Grants, all.Grants} {
		for module := range grants {
			if p.Grants[module] == nil {
				if p.Grants == nil {
					p.Grants = map[string]*Policy{}
				}
				p.Grants[module] = p.within(module, own.grant(module).or(all.grant(module)))
			}
		}
	}
	return &p
}

func (p Policy) grant(module string) Policy {
	if g := p.Grants[module]; g != nil {
		return *g
	}
	return Policy{}
}

// within is the whole policy p as it holds for a module with these limits.
func (p Policy) within(module string, grant Policy) *Policy {
	p.Total, p.Attempt = stricter(p.Total, grant.Total), stricter(p.Attempt, grant.Attempt)
	p.Attempt = min(p.Attempt, p.Total)
	p.Bulkhead, p.BodyMax = stricter(p.Bulkhead, grant.Bulkhead), stricter(p.BodyMax, grant.BodyMax)
	p.Retries = stricter(p.Retries, grant.Retries)
	p.Grants = nil
	if grant.Rate > 0 {
		p.own = ownRate{module, grant.Rate, cmp.Or(grant.Burst, grant.Rate)}
	}
	return &p
}

// stricter is the lower of a value and of what a grant says, if it says something.
func stricter[T ~int | ~int64](v, grant T) T {
	if grant == 0 {
		return v
	}
	return min(v, grant)
}

// of is the policy as it holds for whoever makes a call. Workflows have no grants.
func (p *Policy) of(r weft.Request) *Policy {
	if r.Grants != nil && len(p.Grants) > 0 {
		module, _, _ := strings.Cut(r.Caller, "@")
		if own := p.Grants[module]; own != nil {
			return own
		}
	}
	return p
}

// SetPolicies gives each of these peers its policy, whole, and leaves others as
// they are; of a plain HTTP host the name is scheme://host:port. They are
// durable when SetPolicies returns, and hold from the next call on.
func (g *Gate) SetPolicies(ctx context.Context, ns string, policies map[string]Policy) error {
	for name, p := range policies {
		if _, _, err := g.ways.config(serviceKey{ns, name}, p.TLS); err != nil {
			return err
		}
	}
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
	for name, p := range policies {
		if p.TLS == (TLS{}) {
			g.ways.forget(serviceKey{ns, name})
		}
	}
	for p, policy := range changed {
		p.setPolicy(policy)
	}
	return nil
}

func (p *peer) setPolicy(policy *Policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.policy.Store(policy)
	maps.DeleteFunc(p.limits.own, func(module string, _ time.Time) bool { return policy.Grants[module] == nil })
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
	var grants []workflows.Tree // read last: they are measured by the rest
	name := ""
	at := map[string]workflows.Tree{}
	r.fields(t, "a policy", func(b workflows.Branch) bool {
		if b.Key == "peer" {
			name = r.peer(b.Tree)
			return true
		}
		if b.Key == "grants" {
			grants = append(grants, b.Tree)
			return true
		}
		return r.setting(b, "", settings, &p, at)
	}, append([]string{"peer", "grants"}, groups(settings, "")...)...)
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
	r.together(&p, at)
	if p.RetryMin > p.RetryMax && p.RetryMax > 0 {
		r.wrong(at["retry.min"], "", "min is longer than max")
	}
	if p.TLS != (TLS{}) {
		r.tls(p.TLS, name, at)
	}
	for _, g := range grants {
		r.grants(g, &p)
	}
	r.found[name] = p
}

// tls checks the TLS of a peer.
func (r *policyReader) tls(t TLS, name string, at map[string]workflows.Tree) {
	var place workflows.Tree
	for _, key := range []string{"tls.name", "tls.key", "tls.cert", "tls.ca"} {
		if said, ok := at[key]; ok {
			place = said
		}
	}
	switch {
	case name == AnyPeer:
		r.wrong(place, "write it into the policy of each peer that is to see it", "tls is of one peer")
	case strings.HasPrefix(name, "http://"):
		r.wrong(place, "write https://", "%s is called without TLS", name)
	case (t.Cert == "") != (t.Key == ""):
		r.wrong(place, "write both", "cert and key need each other")
	}
}

// together checks values that bound each other.
func (r *policyReader) together(p *Policy, at map[string]workflows.Tree) {
	if p.Attempt > p.Total && p.Total > 0 {
		r.wrong(at["attempt"], "", "attempt is longer than timeout, which bounds all attempts together")
	}
	if p.Burst > 0 && p.Rate == 0 {
		r.wrong(at["rate.burst"], "write perSecond too", "burst without a rate")
	}
}

// grantSettings are what a grant may have of its own.
var grantSettings = slices.DeleteFunc(slices.Clone(settings), func(s setting) bool { return !s.grant })

var moduleForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// grants reads the limits of single modules on a peer with the policy p.
func (r *policyReader) grants(t workflows.Tree, p *Policy) {
	items, ok := t.Items()
	if !ok || len(items) == 0 || len(items) > grantsMax {
		r.wrong(t, "write - module: NAME for each", "grants must be a list of at most %d limits of modules", grantsMax)
		return
	}
	p.Grants = map[string]*Policy{}
	for _, item := range items {
		var g Policy
		module, said := "", false
		at := map[string]workflows.Tree{}
		r.fields(item, "a grant", func(b workflows.Branch) bool {
			if b.Key != "module" {
				return r.setting(b, "", grantSettings, &g, at)
			}
			said = true
			if module, _ = b.Tree.Value().(string); !moduleForm.MatchString(module) {
				r.wrong(b.Tree, "write the name of a module, without its version", "%.80s is no module", fmt.Sprint(b.Tree.Value()))
			}
			return true
		}, append([]string{"module"}, groups(grantSettings, "")...)...)
		if item.IsMap() && !said {
			r.wrong(item, "write module: with its name", "a grant without a module")
		}
		if p.Grants[module] != nil {
			r.wrong(item, "write one", "a second grant of %s", module)
		}
		r.together(&g, at)
		for _, s := range grantSettings {
			if most, own := number(s.of(p)), number(s.of(&g)); most != 0 && own != 0 && own > most {
				r.wrong(at[s.key], "write at most "+shown(s.of(p)), "%s is over that of the peer, and a grant can only be stricter", s.key)
			}
		}
		p.Grants[module] = &g
	}
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
	r.wrong(t, "write a service such as payments, a host such as https://api.example.com, or "+AnyPeer+" for all", "%.80s is no peer", fmt.Sprint(t.Value()))
	return ""
}

// groups are the keys that may stand under a prefix.
func groups(list []setting, prefix string) (keys []string) {
	for _, s := range list {
		if rest, ok := strings.CutPrefix(s.key, prefix); ok {
			key, _, _ := strings.Cut(rest, ".")
			keys = append(keys, key)
		}
	}
	return slices.Compact(keys)
}

// setting reads a key of a policy, or a group of such keys.
func (r *policyReader) setting(b workflows.Branch, prefix string, list []setting, p *Policy, at map[string]workflows.Tree) bool {
	for _, s := range list {
		switch key := prefix + b.Key; {
		case s.key == key:
			at[key] = b.Tree
			r.value(b, s, p)
			return true
		case strings.HasPrefix(s.key, key+"."):
			r.fields(b.Tree, b.Key, func(inner workflows.Branch) bool { return r.setting(inner, key+".", list, p, at) }, groups(list, key+".")...)
			return true
		}
	}
	return false
}

func (r *policyReader) value(b workflows.Branch, s setting, p *Policy) {
	n, ok := whole(b.Tree.Value())
	field := s.of(p)
	if text, is := field.(*string); is {
		if *text, ok = b.Tree.Value().(string); !ok || !nameForm.MatchString(*text) {
			r.wrong(b.Tree, "write a name of letters, digits, dots, dashes and underscores, at most 128", "%.80s is no name", fmt.Sprint(b.Tree.Value()))
		}
		return
	}
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
		p := all[name]
		p.show(&out, "    ")
		if len(p.Grants) > 0 {
			out.WriteString("    grants:\n")
		}
		for _, module := range slices.Sorted(maps.Keys(p.Grants)) {
			fmt.Fprintf(&out, "      - module: %s\n", module)
			p.Grants[module].show(&out, "        ")
		}
	}
	return out.String()
}

func (p *Policy) show(out *strings.Builder, indent string) {
	group := ""
	for _, s := range settings {
		text := shown(s.of(p))
		if text == "" {
			continue
		}
		key, in := s.key, indent
		if g, rest, nested := strings.Cut(s.key, "."); nested {
			if g != group {
				fmt.Fprintf(out, "%s%s:\n", indent, g)
			}
			group, key, in = g, rest, indent+"  "
		}
		fmt.Fprintf(out, "%s%s: %s\n", in, key, text)
	}
}

func shown(field any) string {
	if text, is := field.(*string); is {
		return *text
	}
	n := number(field)
	if _, is := field.(*time.Duration); is && n != 0 {
		return "PT" + strings.ToUpper(fmt.Sprint(time.Duration(n).Seconds())) + "S"
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprint(max(n, 0))
}

func number(field any) int64 {
	switch v := field.(type) {
	case *time.Duration:
		return int64(*v)
	case *int:
		return int64(*v)
	case *int64:
		return *v
	}
	return 0
}

// errNoRoom is made where a peer is full.
func errNoRoom(format string, args ...any) error {
	return weft.Errorf(weft.ResourceExhausted, "peers.Gate.Do", format, args...)
}
