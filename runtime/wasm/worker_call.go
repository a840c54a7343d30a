package wasm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weftrun/weft"
)

// service is one call in the hands of a worker, as its host sees it. What the
// worker does itself is checked here once more: a guest may have broken out
// there.
type service struct {
	crew   *crew
	worker *worker
	ctx    context.Context // of the caller; ends with the time of the call
	env    Env
	stream Stream // of the caller, nil for none
	export string

	deadline time.Time
	late     bool // the worker had more time once, for this message
	ended    bool // the last message has come
	headed   bool // headers were sent
	asked    int  // calls of the host
	heard    int  // frames
	logged   int
	aborted  error // what an Abort held
	broken   bool  // the worker must not be used again
}

// run has the worker run the handler.
func (s *service) run(in Input) (out Output, err error) {
	now := time.Now()
	s.limit(now)
	defer func() {
		if r := recover(); r != nil { // in what is the caller's: as the sandbox has it
			s.broken = true
			s.crew.m.traps.Add(1)
			s.crew.m.rt.opts.Log.Error("a host function panicked", "handler", s.export, "digest", s.crew.m.key.digest, "error", r)
			out, err = Output{}, weft.Errorf(weft.Internal, "handler "+s.export, "%w: %s", ErrTrap, firstLine(fmt.Sprint(r)))
		}
	}()
	in.fill()
	call := frame{kind: frameCall, parts: [][]byte{[]byte(s.export), nil, in.Body, packHeaders(in.Headers)}}
	var with byte
	if s.env != nil {
		with |= withEnv
	}
	if s.stream != nil {
		with |= withStream
	}
	call.parts[1] = []byte{with}
	if d, ok := s.ctx.Deadline(); ok {
		call.n = max(1, int64(d.Sub(now)))
	}
	s.worker.limit(s.deadline.Add(workerGrace))
	defer s.worker.endWith(s.ctx, workerGrace)()
	if err := s.worker.say(call); err != nil {
		return Output{}, s.lost(err)
	}
	for {
		f, err := s.worker.frames.next()
		if err != nil {
			return Output{}, s.lost(err)
		}
		if f.kind == frameDone {
			return s.done(f)
		}
		if err := s.serve(f); err != nil {
			return Output{}, s.lost(err)
		}
	}
}

// limit sets the end of the time of what begins now.
func (s *service) limit(now time.Time) { s.deadline = s.crew.m.endOf(s.ctx, now) }

// lost says what became of a call whose worker did not answer. The worker is
// of no use any more.
func (s *service) lost(err error) error {
	s.broken = true
	m := s.crew.m
	var b *breach
	switch {
	case s.aborted != nil:
		return s.aborted
	case errors.As(err, &b):
		m.rt.opts.Log.Error("a worker broke the protocol: has its guest broken out?", "handler", s.export, "digest", m.key.digest, "error", b)
		return weft.Errorf(weft.Internal, opCall, "the module's worker process broke the protocol (%w) and was ended", b)
	case errors.Is(err, os.ErrDeadlineExceeded):
		if err := callerGone(s.ctx, true); err != nil {
			return &weft.Error{Code: weft.CodeOf(err), Op: opCall, Err: err}
		}
		m.over(LimitTimeout)
		return weft.Errorf(weft.DeadlineExceeded, opCall, "%s took longer than its limit of %d ms (%w)", m.words, m.limits.TimeoutMS, LimitTimeout)
	}
	s.worker.kill()
	state, said := s.worker.cmd.ProcessState, string(s.worker.stderr.b)
	m.rt.opts.Log.Warn("a worker ended in the middle of a call", "handler", s.export, "digest", m.key.digest, "state", state, "stderr", firstLine(said))
	if strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate") {
		return weft.Errorf(weft.ResourceExhausted, opCall, "the module's worker process used up its memory")
	}
	return weft.Errorf(weft.Unavailable, opCall, "the module's worker process ended in the middle of the call (%s)", state)
}

// serve does what the worker asks for, or refuses to believe it.
func (s *service) serve(f frame) error {
	if f.kind == frameRecv || f.kind == frameSend || f.kind == frameSendHeaders { // their time is their limit
		return s.talk(f)
	}
	limits := &s.crew.m.limits
	// No honest worker says more: each host call is counted, each line has a
	// price, and memory comes and goes by the page, one instance after another.
	if s.heard++; s.heard > limits.HostCalls+limits.LogBytes/lineCost+4*16*limits.MemoryMiB+100 {
		return &breach{"more than a call can have to say"}
	}
	switch f.kind {
	case frameLog:
		return s.log(f)
	case frameMemory:
		return s.memory(f.n, len(f.parts) > 0)
	}
	want, known := parameters[f.kind]
	switch {
	case !known || len(f.parts) > want:
		return &breach{fmt.Sprintf("a frame %d with %d parts out of turn", f.kind, len(f.parts))}
	case s.env == nil:
		return &breach{"a call of the host in a call that reaches nothing"}
	}
	if s.asked++; s.asked > limits.HostCalls {
		return &breach{fmt.Sprintf("more calls of the host than %d", limits.HostCalls)}
	}
	name, data := f.part(0), f.part(1)
	if f.kind == frameHTTP {
		name, data = nil, name
	}
	if len(name) > KeyMax {
		return &breach{fmt.Sprintf("a name of %d bytes", len(name))}
	}
	if err := requestOf(f.kind, data); err != nil {
		return &breach{"a request that may not be: " + err.Error()}
	}
	value, found, err := s.reach(f.kind, string(name), data)
	return s.reply(value, found, err)
}

// part is one of the frame's parts, nil where it has fewer.
func (f frame) part(n int) []byte {
	if n >= len(f.parts) {
		return nil
	}
	return f.parts[n]
}

// parameters are how many parts a call of the host has.
var parameters = map[byte]int{frameStateGet: 1, frameStateSet: 2, frameStateDelete: 1, framePublish: 2, frameCallOut: 2, frameHTTP: 1, frameConfig: 1, frameSecret: 1}

// requestOf refuses a request to the outside that no honest worker hands on.
func requestOf(kind byte, request []byte) error {
	switch kind {
	case frameHTTP:
		return cmp.Or(tooLong(request), tooManyTexts(request))
	case frameCallOut:
		return tooLong(request)
	}
	return nil
}

func (s *service) reach(kind byte, name string, data []byte) (value []byte, found bool, err error) {
	switch kind {
	case frameStateGet:
		return s.env.StateGet(name)
	case frameStateSet:
		err = s.env.StateSet(name, data)
	case frameStateDelete:
		err = s.env.StateDelete(name)
	case framePublish:
		err = s.env.Publish(name, data)
	case frameConfig:
		var v string
		v, found, err = s.env.Config(name)
		return []byte(v), found, err
	case frameSecret:
		value, err = s.env.Secret(name)
	default: // the outside, no longer than the call
		ctx, cancel := context.WithDeadline(s.ctx, s.deadline)
		defer cancel()
		if kind == frameHTTP {
			value, err = s.env.HTTP(ctx, cloned(data))
		} else {
			value, err = s.env.Call(ctx, name, cloned(data))
		}
	}
	return value, true, err
}

// reply answers the worker. An error is logged here: what is the host's own
// affair does not go to where a guest may have broken out.
func (s *service) reply(value []byte, found bool, err error) error {
	var r replyOf
	if s.ctx.Err() != nil {
		r.signs |= signCancel
	}
	var details []byte
	var abort *Abort
	switch {
	case errors.As(err, &abort):
		s.aborted = abort.Err
		r.signs |= signAbort
		value = nil
	case err != nil:
		if s.ctx.Err() == nil {
			r.logged = s.warn(err.Error())
		}
		var code weft.Code
		code, value = shownToGuest(err)
		r.code, details = byte(code), packDetails(detailsOf(err))
	case found:
		r.signs |= signFound
	}
	if !s.late && (s.ctx.Err() != nil || time.Now().After(s.deadline)) { // it has waited for the host
		s.late = true
		s.worker.limit(time.Now().Add(workerGrace))
	}
	return s.worker.say(frame{kind: frameReply, n: r.n(), parts: [][]byte{value, details}})
}

// warn logs what a guest is told, within its limit. It is what that counts.
func (s *service) warn(text string) (size int) {
	limit := s.crew.m.limits.LogBytes
	if s.logged > limit {
		return 0
	}
	size = len(text) + lineCost
	if s.logged += size; s.logged > limit {
		s.crew.m.over(LimitLog)
		text = overLog(limit)
	}
	s.crew.m.line(s.env, slog.LevelWarn, text)
	return size
}

// log hands on a line of the worker's.
func (s *service) log(f frame) error {
	text := f.part(0)
	// A byte that is no text has become three.
	if limit := s.crew.m.limits.LogBytes; len(f.parts) != 1 || s.logged > 3*limit+MessageMax || len(text) > 3*limit+MessageMax {
		return &breach{fmt.Sprintf("log lines over the limit of %d bytes", limit)}
	}
	if f.n < int64(slog.LevelDebug) || f.n > int64(slog.LevelError) {
		return &breach{fmt.Sprintf("a line of level %d", f.n)}
	}
	s.logged += len(text) + lineCost
	s.crew.m.line(s.env, slog.Level(f.n), string(text))
	return nil
}

// memory gives bytes to the worker's guest, or takes them back.
func (s *service) memory(n int64, first bool) error {
	w, m := s.worker, s.crew.m
	if n <= 0 {
		if n < -w.taken {
			return &breach{"memory that it never had"}
		}
		m.share.give(-n)
		m.bytes.Add(n)
		w.taken += n
		return nil
	}
	own := int64(m.limits.MemoryMiB) << 20
	most := own + stackCost*stackMadeMax + int64(m.references)
	if m.isolated {
		most += own // its image
	}
	if m.way == Extism {
		most += own // what it shares with its host
	}
	if n > most-w.taken {
		return &breach{fmt.Sprintf("a wish for more memory than %d MiB", most>>20)}
	}
	take := func() error { return m.share.take(n, first) }
	err := take()
	if err != nil && first {
		err = m.rt.squeeze(m.share, err, take)
	}
	var full *fullError
	if errors.As(err, &full) {
		return w.say(frame{kind: frameReply, parts: [][]byte{[]byte(full.text), []byte(full.hint)}})
	}
	m.bytes.Add(n)
	w.taken += n
	return w.say(frame{kind: frameReply, n: replyOf{signs: signFound}.n()})
}

// done is what came of the call.
func (s *service) done(f frame) (Output, error) {
	if len(f.parts) < 4 || f.n < 0 || f.n > int64(weft.Unauthenticated) {
		return Output{}, s.lost(&breach{"an answer that is none"})
	}
	if err := s.count(f.part(8)); err != nil {
		return Output{}, s.lost(err)
	}
	if s.aborted != nil {
		return Output{}, s.aborted
	}
	body, limit := f.part(4), s.crew.m.limits.OutputBytes
	switch {
	case len(body) > limit:
		return Output{}, s.lost(&breach{fmt.Sprintf("an output over the limit of %d bytes", limit)})
	case len(body) > 0 && (f.n != 0 || s.stream != nil):
		return Output{}, s.lost(&breach{"an output beside an error or messages"})
	}
	out := Output{Body: slices.Clone(body)}
	var with Fields
	var err error
	if with.Headers, err = answered(f.part(5)); err == nil {
		with.Trailers, err = answered(f.part(6))
	}
	if err != nil {
		return Output{}, s.lost(err)
	}
	if with.Headers != nil || with.Trailers != nil {
		out.With = &with
	}
	if f.n == 0 {
		return out, nil
	}
	failure, ok := s.failure(f)
	if !ok {
		return Output{}, s.lost(&breach{"an error that is none"})
	}
	return out, failure
}

// answered are headers or trailers of an answer.
func answered(part []byte) (weft.Header, error) {
	headers, err := unpackHeaders(part, HeaderMax)
	if err != nil {
		return nil, &breach{err.Error()}
	}
	for name, values := range headers {
		if len(name) > KeyMax || !isToken(name) {
			return nil, &breach{fmt.Sprintf("a header whose name of %d bytes is none", len(name))}
		}
		for _, value := range values {
			if len(value) > ValueMax || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
				return nil, &breach{fmt.Sprintf("a header with a value of %d bytes that may not be", len(value))}
			}
		}
	}
	return headers, nil
}

// causes are what an error of a call may wrap, by the words for it.
var causes = map[string]error{"": nil, "trap": ErrTrap, "canceled": context.Canceled, "deadline": context.DeadlineExceeded}

func init() {
	for _, l := range []Limit{LimitMemory, LimitTable, LimitTimeout, LimitFuel, LimitOutput, LimitHostCalls} {
		causes[string(l)] = l
	}
}

// causeOf is the word for what err wraps.
func causeOf(err error) string {
	for word, cause := range causes {
		if cause != nil && errors.Is(err, cause) {
			return word
		}
	}
	return ""
}

// failure is the error of a call that the worker reports.
func (s *service) failure(f frame) (error, bool) {
	op := string(f.parts[0])
	details, err := unpackDetails(f.part(7))
	if err != nil {
		return nil, false
	}
	wrapped, known := causes[string(f.parts[3])]
	of, handler := strings.CutPrefix(op, "handler ")
	ours := op == opCall || handler && (of == s.export || of == "start" || slices.Contains(s.crew.m.starters(), of))
	if !known || !ours || len(f.parts[1]) > 4*MessageMax || len(f.parts[2]) > MessageMax {
		return nil, false
	}
	return &weft.Error{Code: weft.Code(f.n), Op: op, Err: &reported{strings.ToValidUTF8(string(f.parts[1]), "\uFFFD"), wrapped},
		Hint: strings.ToValidUTF8(string(f.parts[2]), "\uFFFD"), Details: details}, true
}

// reported is an error of another process.
type reported struct {
	text  string
	cause error // may be nil
}

func (r *reported) Error() string { return r.text }
func (r *reported) Unwrap() error { return r.cause }
