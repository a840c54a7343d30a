package wasm

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weftrun/weft"
)

// leaving bounds what one namespace may have of what all share: it takes one more only
// while it has less than that many times what is left. So one that is alone has seven
// eighths at most, two that take all they can have seven fifteenths each, and something
// is left for whoever comes next. Of less than eight that are not waited for it may have all
// but one.
const leaving = 7

// sharesMax is of how many namespaces a pot remembers that they were refused, though they
// have nothing of it.
const sharesMax = 10_000

// pot is something that there is so much of, for the guests of all namespaces.
type pot struct {
	what string           // that there is so much of, such as "worker processes"
	unit int64            // how many are one of what
	flag string           // of weft serve, that sets how much; empty for none
	max  int64            // of all
	most map[string]int64 // of a namespace, where the operator says so; never changed

	used   atomic.Int64 // written with mu locked
	mu     sync.Mutex
	shares map[string]*share // guarded by mu; of namespaces with modules, of those at work, and of sharesMax others

	ask func(n int64, first bool) error // in a worker: its host has the pot
}

// share is what one namespace has of a pot. That of no namespace is the host's own, and
// is bounded by the pot alone.
type share struct {
	pot     *pot
	ns      string
	used    int64 // guarded by pot.mu
	refused int64 // guarded by pot.mu; times that there was no more for it
	holders int   // guarded by pot.mu: modules, and who is at work or waits
}

// namespaceOf is whose an owner of instances is: see Terms.
func namespaceOf(owner string) string {
	ns, _, _ := strings.Cut(owner, "/")
	return ns
}

// of is the share of a namespace, for one holder. Modules have theirs for good: there are
// not more namespaces with modules than the store has. Others let it go, for anybody may
// name a namespace.
func (p *pot) of(ns string) *share {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.locked(ns)
	s.holders++
	return s
}

// letGo ends what of has begun, when nothing of the share is in use for it.
func (s *share) letGo() {
	s.pot.mu.Lock()
	defer s.pot.mu.Unlock()
	s.leave()
}

// leave is letGo for who holds pot.mu.
func (s *share) leave() {
	if s.holders--; s.holders <= 0 && (s.refused == 0 || len(s.pot.shares) > sharesMax) {
		delete(s.pot.shares, s.ns)
	}
}

// locked is the share for who holds mu, and no holder yet.
func (p *pot) locked(ns string) *share {
	s := p.shares[ns]
	if s == nil {
		if p.shares == nil {
			p.shares = map[string]*share{}
		}
		s = &share{pot: p, ns: ns}
		p.shares[ns] = s
	}
	return s
}

// take takes n more, the first ones of an instance or others. The error wraps errFull.
func (s *share) take(n int64, first bool) error {
	p := s.pot
	if p.ask != nil {
		return p.ask(n, first)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := s.full(n, false); err != nil {
		s.refused++
		return err
	}
	s.add(n)
	return nil
}

// give gives n back.
func (s *share) give(n int64) {
	if s.pot.ask != nil {
		if n > 0 {
			_ = s.pot.ask(-n, false) // to give is not refused
		}
		return
	}
	s.pot.mu.Lock()
	defer s.pot.mu.Unlock()
	s.add(-n)
}

// add is for who holds pot.mu.
func (s *share) add(n int64) {
	s.used += n
	s.pot.used.Add(n)
}

// full says why the share may not have n more; nil if it may. Where it comes with a turn
// one namespace may have all: who waits is next. The caller holds pot.mu.
func (s *share) full(n int64, turn bool) error {
	p := s.pot
	most, capped := p.most[s.ns], false
	over := func(left int64) bool {
		last := !turn && s.used > 0 && s.used+n == p.max
		return left < 0 || s.ns != "" && ((s.used+n-1)/leaving > left || last)
	}
	left := p.max - p.used.Load() - n
	var e *fullError
	switch {
	case s.ns != "" && most > 0 && s.used+n > most:
		capped = true
		e = p.refuse(s.ns+"=N", "namespace %s has its limit of %s", s.ns, p.amount(most))
	case !over(left):
		return nil
	case left < 0:
		e = p.refuse("N", "all guests together have their limit of %s", p.amount(p.max))
	default:
		e = p.refuse("N", "namespace %s has so much of the %s of all guests that what is left is for others", s.ns, p.amount(p.max))
	}
	e.own = capped || over(p.max-s.used-n)
	return e
}

func (p *pot) amount(n int64) string { return fmt.Sprintf("%d %s", n/p.unit, p.what) }

// errFull is wrapped by the error of a pot that gives no more.
var errFull = errors.New("there is no more of it")

// fullError says which limit was reached, and what to do.
type fullError struct {
	text, hint string
	own        bool // were there nobody else, it would be reached too
}

func (e *fullError) Error() string { return e.text }
func (e *fullError) Unwrap() error { return errFull }

// refuse makes one; more is what to give the flag of the pot.
func (p *pot) refuse(more, format string, args ...any) *fullError {
	e := &fullError{text: fmt.Sprintf(format, args...), hint: "call it less often"}
	if p.flag != "" {
		e.hint += ", or serve with --" + p.flag + " " + more + " for more"
	}
	return e
}

// refusal is the error of a call that could not have what it needs. Op and the text
// before err are the caller's; the hint is that of the pot.
func refusal(err error, format string, args ...any) *weft.Error {
	e := weft.Errorf(weft.ResourceExhausted, opCall, format+": %w", append(args, err)...).WithHint("call it less often")
	var full *fullError
	if errors.As(err, &full) {
		e.Hint = full.hint
	}
	return e
}

// squeeze gives up idle instances and workers for s, which was refused with err, until
// try succeeds: its own first, then those of namespaces that have more than it. So who
// takes all that it can get has nobody else begin anew; nor has who wants what it would
// not get if it were alone. The error is the last one.
func (r *Runtime) squeeze(s *share, err error, try func() error) error {
	if r.trim(s) {
		if err = try(); !errors.Is(err, errFull) {
			return err
		}
	}
	var full *fullError
	if errors.As(err, &full) && full.own {
		return err
	}
	var larger []*share
	s.pot.mu.Lock()
	for _, other := range s.pot.shares {
		if other != s && (other.used > s.used || s.ns == "") {
			larger = append(larger, other)
		}
	}
	s.pot.mu.Unlock()
	if len(larger) > 0 && r.trim(larger...) {
		err = try()
	}
	return err
}
