package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/api"

	"github.com/weftrun/weft"
)

// Bounds of one call that no module can change.
const (
	KeyMax     = 1 << 10 // bytes of a key, an event type, a procedure or a header's name
	HeaderMax  = 100     // values of headers that a handler sets, and of trailers
	ValueMax   = 8 << 10 // bytes of one header's value
	lineCost   = 16      // bytes that a line counts besides its text
	LineMax    = 4 << 10 // bytes of one line on stdout or stderr
	RequestMax = 8 << 20 // bytes of a request to the outside
	stringsMax = 2_000   // texts in the JSON of one by plain HTTP
	MessageMax = 4 << 10 // bytes of the message with a code that a handler returns
	slice      = 40_000  // fuel between two ticks: some us, 20 ms where all it does is to touch new memory
	lookAfter  = 100_000 // fuel between two looks at the clock, below 1 ms
)

// What the host's own work for a guest costs, in fuel.
const (
	costHostCall = 100
	bytesPerFuel = 8
	fuelPerJSON  = 4 // of a byte that is read as JSON
)

// call is one invocation as the host functions see it. It is the context that
// wazero hands them, so that they find it without a search.
type call struct {
	from
	asked bool // asking has something: the guest has asked the host for it, or the caller has given it
	asking
	i *instance
}

// from is what every call has of who made it; it is cleared as one.
type from struct {
	context.Context
	env  Env
	body []byte
	out  []byte // the caller's own when the call has ended
}

// asking is what only some calls have.
type asking struct {
	in        Input         // without Body and Into
	headers   weft.Header   // of the answer, unless they are sent
	more      *exchange     // nil until the guest asks for something of it
	kept      []byte        // for result: what did not fit, or the text of an error
	end       time.Time     // of its time; zero until somebody looks at the clock
	refusal   []weft.Detail // of the error that the last one by the import call gave
	hostCalls int
	logged    int
	owed      int64 // fuel for the host's work since the last look
	spent     int64 // fuel of all slices that are used up
	seen      int64 // of it as the host looked last
	ticked    bool  // a slice has ended in it
	starting  bool  // in _initialize, which reaches nothing
	words     string
	stack     int       // bytes of it that are taken of the memory of all guests
	kernel    *kernel   // not nil once a plug-in has used it
	guest     *Guest    // not nil under Drive
	looked    time.Time // when fuel was last spent, of a module of the host's own
}

// begin takes field after field: to copy what has just been written in other pieces
// would wait for it to reach the cache.
func (c *call) begin(ctx context.Context, env Env, in *Input) {
	c.Context, c.env, c.body, c.out = ctx, env, in.Body, in.Into[:0]
	if c.i.involved || in.Headers != nil || in.HeadersOf != nil || in.Stream != nil {
		c.involve(in)
	}
}

// involve is what there is to do before some calls.
func (c *call) involve(in *Input) {
	c.asked = true
	c.in.Headers, c.in.HeadersOf, c.in.Stream = in.Headers, in.HeadersOf, in.Stream
	if c.i.m.isolated {
		c.i.wake()
	}
}

// finish drops what belongs to the caller, and what the call has asked for.
func (c *call) finish() {
	c.kernel.close(c)
	c.unnest()
	c.asked, c.asking, c.from = false, asking{}, from{}
}

// write appends to the output, up to its limit.
func (c *call) write(b []byte) {
	if err := c.append(b); err != nil {
		panic(err)
	}
}

func (c *call) append(b []byte) error {
	if limit := c.i.m.limits.OutputBytes; len(c.out)+len(b) > limit {
		return exceeded(LimitOutput, "the handler's output is over its limit of %d bytes", limit)
	}
	c.out = append(c.out, b...)
	return nil
}

// start begins the time of a call. Reading the clock takes longer than a call
// that does nothing, so it is read before the first thing that may take long:
// the host's work for the guest, or fuel that takes longer than to look. No more than
// lookAfter is given away by that.
func (c *call) start() {
	if !c.end.IsZero() {
		return
	}
	now := time.Now()
	c.looked = now
	c.limit(now)
}

// limit sets the end of the time of what begins now.
func (c *call) limit(now time.Time) { c.end = c.i.m.endOf(c.Context, now) }

// endOf is when the time of what begins now ends: by its limit, or by the caller.
func (m *Module) endOf(ctx context.Context, now time.Time) time.Time {
	end := now.Add(time.Duration(m.limits.TimeoutMS) * time.Millisecond)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		return d
	}
	return end
}

type callKey struct{}

// Value finds the call itself, should a context be wrapped around it. The engine
// asks for switches of its own before each call: a caller has none for it, and
// is not searched.
func (c *call) Value(key any) any {
	if _, ok := key.(callKey); ok {
		return c
	}
	return nil
}

// callOf is the call for which the guest asks the host.
func callOf(ctx context.Context) *call {
	c, ok := ctx.(*call)
	if !ok {
		c, _ = ctx.Value(callKey{}).(*call)
	}
	c.asked = true
	return c
}

// stopped unwinds a guest that must not run on.
type stopped struct {
	err   error
	limit Limit // that it is over, if it is
}

func (s *stopped) Error() string { return s.err.Error() }

func stop(code weft.Code, format string, args ...any) {
	panic(&stopped{err: weft.Errorf(code, opCall, format, args...)})
}

// remaining is the time left for the call, for the guest and for its calls out.
func (c *call) remaining() time.Duration {
	c.start()
	return time.Until(c.end)
}

// callerGone is why a caller waits no longer, nil if it does; over says that the time of the
// call is. A context may learn later than the clock that its time was up.
func callerGone(caller context.Context, over bool) error {
	if end, ok := caller.Deadline(); ok && over && !time.Now().Before(end) {
		return context.DeadlineExceeded
	}
	return caller.Err()
}

// look stops a guest whose fuel or time is up or whose caller has gone.
func (c *call) look() {
	limits := &c.i.m.limits
	c.seen = c.spent
	if c.spent > limits.Fuel {
		if c.i.m.own {
			exceed(LimitFuel, "%s computed for longer than its limit of %d ms", c.i.m.words, limits.Fuel/1e6)
		}
		exceed(LimitFuel, "%s used up its fuel of %d", c.i.m.words, limits.Fuel)
	}
	over := c.remaining() <= 0
	if err := callerGone(c.Context, over); err != nil {
		panic(&stopped{err: &weft.Error{Code: weft.CodeOf(err), Op: opCall, Err: err}})
	}
	if over {
		exceed(LimitTimeout, "%s took longer than its limit of %d ms", c.i.m.words, limits.TimeoutMS)
	}
}

// charge burns fuel for what the host does for the guest.
func (c *call) charge(fuel int64) {
	if c.owed += fuel; c.owed >= lookAfter {
		c.spend(c.owed)
		c.owed = 0
		c.look()
	}
}

// tick is called by metered code whenever a slice of fuel is used up, or when
// its calls are nested too deep. A call begins with what the last one of its instance has
// left of a slice, for to set the fuel anew takes as long as a call that does nothing. So
// of the slice that ends first no more is its own for sure than what it is overdrawn by.
// It is also called between two pieces of a long range of memory: that is paid before, so
// the slice need not have ended, and a piece may take ms.
func tick(ctx context.Context, _ api.Module, _ []uint64) {
	c := callOf(ctx)
	fuel, depth := c.i.fuel, c.i.depth
	if int64(depth.Get()) < 0 {
		tooDeep(c.i.m.words)
	}
	left := int64(fuel.Get())
	used := -left
	if c.ticked {
		used += slice
	}
	c.ticked = true
	c.spend(used)
	if left >= 0 || c.spent-c.seen >= lookAfter || c.spent > c.i.m.limits.Fuel {
		c.look()
	}
	c.nest()
	fuel.Set(slice)
}

// spend counts fuel that is used up. A unit of it stands for a nanosecond.
func (c *call) spend(fuel int64) {
	if c.i.m.own {
		now := time.Now()
		fuel, c.looked = min(fuel, now.Sub(c.looked).Nanoseconds()), now
	}
	c.spent += fuel
}

// view is guest memory, valid until the guest runs again. Any pointer will do
// when the length is zero.
func (c *call) view(ptr, n uint64) []byte {
	length := uint32(n)
	if length == 0 {
		return nil
	}
	if b, ok := c.i.memory.view(uint32(ptr), length); ok {
		c.charge(int64(length) / bytesPerFuel)
		return b
	}
	stop(weft.Internal, "the handler passed %d bytes at %#x, which are not in its memory", length, uint32(ptr))
	return nil
}

// text is a short string of the guest's.
func (c *call) text(ptr, n uint64) string { return c.short(ptr, n, KeyMax) }

func (c *call) short(ptr, n uint64, limit uint32) string {
	if uint32(n) > limit {
		stop(weft.ResourceExhausted, "the handler passed a name or value of %d bytes, the limit is %d", uint32(n), limit)
	}
	s := string(c.view(ptr, n))
	if !utf8.ValidString(s) {
		stop(weft.Internal, "the handler passed a name or value that is not UTF-8")
	}
	return s
}

// part copies src from an offset into the guest, for input and result: s is
// dst, cap, off.
func (c *call) part(src []byte, s []uint64) uint64 {
	off := uint64(uint32(s[2]))
	if off >= uint64(len(src)) {
		return 0
	}
	src = src[off:]
	src = src[:min(uint64(len(src)), uint64(uint32(s[1])))]
	move(c.view(s[0], uint64(len(src))), src)
	return uint64(len(src))
}

// give answers a guest with v: its length, or minus a code. What does not fit
// is kept for result.
func (c *call) give(v []byte, ok bool, err error, dst, capacity uint64) uint64 {
	if err != nil {
		return minus(c.code(err))
	}
	c.kept = nil
	if !ok {
		return minus(weft.NotFound)
	}
	if uint64(len(v)) > uint64(uint32(capacity)) {
		c.charge(int64(len(v)) / bytesPerFuel)
		c.kept = v
	} else {
		move(c.view(dst, uint64(len(v))), v)
	}
	return uint64(len(v))
}

// minus is a code as an i64 that is no length.
func minus(c weft.Code) uint64 { return uint64(-int64(c)) }

// code is err as a guest sees it; an Abort ends the call. Its text is kept for
// result, unless it is the host's own affair; the log has it in any case.
func (c *call) code(err error) weft.Code {
	if err == nil {
		c.kept = nil
		return weft.OK
	}
	var abort *Abort
	if errors.As(err, &abort) {
		panic(&stopped{err: abort.Err})
	}
	if c.Context.Err() == nil { // what follows from a caller that has gone is no news
		c.warn(err, err.Error())
	}
	var code weft.Code
	code, c.kept = shownToGuest(err)
	return code
}

// shownToGuest is what a guest learns of an error: its code, and its text unless
// that is the host's own affair.
func shownToGuest(err error) (weft.Code, []byte) {
	code := max(weft.CodeOf(err), weft.Canceled)
	if code == weft.Internal || code == weft.DataLoss {
		return code, nil
	}
	text := err.Error()
	return code, []byte(text[:min(len(text), MessageMax)])
}

// detailsOf are those of an error of the outside that a guest may ask for: such, and as
// many, as it could give itself.
func detailsOf(err error) (some []weft.Detail) {
	size := 0
	for _, d := range weft.DetailsOf(err) {
		if len(d.Type) > KeyMax || strings.Contains(d.Type, "\x00") {
			continue
		}
		if size += len(d.Type) + len(d.Value); len(some) == DetailMax || size > DetailsBytesMax {
			break
		}
		some = append(some, d)
	}
	return some
}

// outside runs a call to the outside, which ends with this call at the latest.
func (c *call) outside(do func(context.Context) ([]byte, error)) ([]byte, error) {
	c.look()
	ctx, cancel := context.WithDeadline(c.Context, c.end)
	defer cancel()
	return do(ctx)
}

// ask asks the outside, with a request that is the host's own from then on.
func (c *call) ask(request []byte, do func(ctx context.Context, request []byte) ([]byte, error)) ([]byte, error) {
	if err := tooLong(request); err != nil {
		return nil, err
	}
	return c.outside(func(ctx context.Context) ([]byte, error) { return do(ctx, cloned(request)) })
}

func tooLong(request []byte) error {
	if len(request) > RequestMax {
		return weft.Errorf(weft.ResourceExhausted, opCall, "the handler's request has %d bytes, the limit is %d", len(request), RequestMax)
	}
	return nil
}

// askHTTP asks by plain HTTP.
func (c *call) askHTTP(request []byte) ([]byte, error) {
	if err := c.readable(request); err != nil {
		return nil, err
	}
	return c.ask(request, c.env.HTTP)
}

// readable sees to it that reading a request as JSON takes no more than a guest has paid
// for: every header is two strings, and becomes much more than it was.
func (c *call) readable(request []byte) error {
	c.charge(int64(len(request)) * fuelPerJSON)
	return tooManyTexts(request)
}

func tooManyTexts(request []byte) error {
	if n := bytes.Count(request, []byte{'"'}); n > stringsMax*2 {
		return weft.Errorf(weft.ResourceExhausted, opCall, "the handler's HTTP request has more than %d texts in it", stringsMax)
	}
	return nil
}

// log hands a line to the caller, up to a limit.
func (c *call) log(level slog.Level, message string) {
	limits := &c.i.m.limits
	if c.logged > limits.LogBytes {
		return
	}
	if c.logged += len(message) + lineCost; c.logged > limits.LogBytes {
		c.i.m.over(LimitLog)
		message = overLog(limits.LogBytes)
	} else if !strings.Contains(c.words, "panic") {
		c.words = message
	}
	c.i.m.line(c.env, level, message)
}

// line hands a line to the caller, up to what the module may log in a minute.
func (m *Module) line(env Env, level slog.Level, text string) {
	ok, say := m.logs.take(len(text)+lineCost, m.limits.LogMinuteBytes, time.Now())
	if say != "" {
		m.over(LimitLogMinute)
		ok, text = true, say
	}
	if env != nil && ok {
		env.Log(level, strings.ToValidUTF8(text, "\uFFFD"))
	}
}

// overLog is the last line of a call that logs too much.
func overLog(limit int) string {
	return fmt.Sprintf("the handler logs more than its limit of %d bytes: the rest is dropped (%v)", limit, LimitLog)
}

// lastWords are what the guest logged last, or first of a panic: they often
// say why it trapped.
func (c *call) lastWords() string {
	if c.words == "" {
		return ""
	}
	return " (it last wrote: " + firstLine(c.words) + ")"
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.ToValidUTF8(s[:min(len(s), 500)], "")
}

// lines turns what a guest writes to stdout or stderr into log lines.
type lines struct {
	call  *call
	level slog.Level
	rest  []byte // of a line that has not ended
}

func (l *lines) Write(p []byte) (int, error) {
	c := l.call
	c.charge(costHostCall)
	limit := c.i.m.limits.LogBytes
	if c.logged > limit {
		l.rest = l.rest[:0]
		return len(p), nil
	}
	for more := p[:min(len(p), limit)]; len(more) > 0 && c.logged <= limit; {
		c.charge(lineCost)
		line, rest, ended := bytes.Cut(more, []byte("\n"))
		line = line[:min(len(line), LineMax-len(l.rest))]
		l.rest, more = append(l.rest, line...), rest
		if ended || len(l.rest) == LineMax {
			l.flush()
		}
	}
	return len(p), nil
}

// flush logs the line so far.
func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.call.log(l.level, string(l.rest))
	}
	l.rest = l.rest[:0]
}

// end is flush where no guest runs, whom a panic would end.
func (l *lines) end() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = recovered(r)
		}
	}()
	l.flush()
	return nil
}
