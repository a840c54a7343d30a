package wasm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/tests/logbook"
)

// inWorkers has the modules of a test run in workers.
func inWorkers(t testing.TB) {
	isolation = weft.Process
	t.Cleanup(func() { isolation = weft.Inline })
}

// TestTheSameInWorkers has what is shown of calls in this process shown of
// calls in workers, by the same tests.
func TestTheSameInWorkers(t *testing.T) {
	inWorkers(t)
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"handlers reach what they import", TestHandlersReachWhatTheyImport},
		{"a guest reads the details of an error of a call", TestAGuestReadsTheDetailsOfAnErrorOfACall},
		{"env errors reach the guest and the log", TestEnvErrorsReachTheGuestAndTheLog},
		{"what broke in the host is not told to the guest", TestWhatBrokeInTheHostIsNotToldToTheGuest},
		{"abort ends the call with its error", TestAbortEndsTheCallWithItsError},
		{"a handler sees its deadline", TestAHandlerSeesItsDeadline},
		{"without env a handler computes and nothing else", TestWithoutEnvAHandlerComputesAndNothingElse},
		{"a panicking env does not take the host down", TestAPanickingEnvDoesNotTakeTheHostDown},
		{"the output is the caller's own", TestTheOutputIsTheCallersOwn},
		{"every limit has its name and code", TestEveryLimitHasItsNameAndCode},
		{"what a module needs at its start is within its own limits", TestWhatAModuleNeedsAtItsStartIsWithinItsOwnLimits},
		{"a full queue refuses at once", TestAFullQueueRefusesAtOnce},
		{"the log of a call ends at its limit", TestTheLogOfACallEndsAtItsLimit},
		{"a minute's log ends at its limit and begins again", TestAMinutesLogEndsAtItsLimitAndBeginsAgain},
		{"hostile handlers are stopped", TestHostileHandlersAreStopped},
		{"a stack has a limit however few calls there are on it", TestAStackHasALimitHoweverFewCallsThereAreOnIt},
		{"a call that traps leaves nothing", TestACallThatTrapsLeavesNothing},
		{"a request is bounded", TestARequestIsBounded},
		{"tables count as memory of all guests", TestTablesCountAsMemoryOfAllGuests},
		{"segments and globals count as memory of all guests", TestSegmentsAndGlobalsCountAsMemoryOfAllGuests},
		{"making an instance burns what the page says", TestMakingAnInstanceBurnsWhatThePageSays},
		{"memory grows to its limit only", TestMemoryGrowsToItsLimitOnly},
		{"the wall clock stops a handler", TestTheWallClockStopsAHandler},
		{"a canceled caller stops a handler", TestACanceledCallerStopsAHandler},
		{"_initialize is limited too", TestInitializeIsLimitedToo},
		{"an instance serves many calls and is retired", TestAnInstanceServesManyCallsAndIsRetired},
		{"an instance that failed is not used again", TestAnInstanceThatFailedIsNotUsedAgain},
		{"calls over the limit wait", TestCallsOverTheLimitWait},
		{"close drains", TestCloseDrains},
		{"load is once per digest and limits", TestLoadIsOncePerDigestAndLimits},
		{"limits of a module are within the host's", TestLimitsOfAModuleAreWithinTheHosts},
		{"hammer", TestHammer},
		{"a module without handlers has none", TestAModuleWithoutHandlersHasNone},
		{"the ABI is as its page says", TestTheABIIsAsItsPageSays},
		{"a mailbox carries input and output", TestAMailboxCarriesInputAndOutput},
		{"an isolated guest has no mailbox", TestAnIsolatedGuestHasNoMailbox},
		{"a caller that goes away is told to the handler", TestACallerThatGoesAwayIsToldToTheHandler},
		{"a handler echoes a stream", TestAHandlerEchoesAStream},
		{"each message renews the time of a call", TestEachMessageRenewsTheTimeOfACall},
		{"a handler is looked at after a message", TestAHandlerIsLookedAtAfterAMessage},
		{"every limit is counted", TestEveryLimitIsCounted},
		{"stats say what a runtime holds", TestStatsSayWhatARuntimeHolds},
		{"nothing of a call is left", TestNothingOfACallIsLeft},
		{"random numbers differ after a reset", TestRandomNumbersDifferAfterAReset},
		{"what a reset does not bring back ends the instance", TestWhatAResetDoesNotBringBackEndsTheInstance},
		{"an isolated guest in Go leaves nothing in the host", TestAnIsolatedGuestInGoLeavesNothingInTheHost},
		{"isolated calls at once", TestIsolatedCallsAtOnce},
		{"an image is made when there is memory for it", TestAnImageIsMadeWhenThereIsMemoryForIt},
		{"an image counts as memory of all guests", TestAnImageCountsAsMemoryOfAllGuests},
		{"a command is a handler of its input and output", TestACommandIsAHandlerOfItsInputAndOutput},
		{"a command of Go", TestACommandOfGo},
		{"a plug-in of Extism", TestAPluginOfExtism},
		{"only handlers of weft/v1 have streams", TestOnlyHandlersOfWeftHaveStreams},
	} {
		t.Run(c.name, c.test)
	}
}

// burgle tries what a guest would that has broken out, writes what came of it
// to standard error, and ends. It would leave a file in the folder.
func burgle(folder string) {
	try := func(what string, err error) { fmt.Fprintf(os.Stderr, "%s: %v; ", what, errors.Unwrap(err)) }
	number := func(errno error) error { return fmt.Errorf("%w", errno) }
	_, err := os.Open("/etc/passwd")
	try("read", err)
	_, err = os.Create(folder + "/planted")
	try("write", err)
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		err = unix.Connect(s, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
	}
	try("connect", number(err))
	try("exec", number(unix.Exec("/bin/sh", []string{"sh"}, nil)))
	try("kill", number(unix.Kill(os.Getppid(), 0)))
	_, err = unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	try("code", number(err))
	os.Exit(3)
}

func TestAWorkerReachesNothing(t *testing.T) {
	inWorkers(t)
	r := open(t, Options{Worker: []string{checkArgs()[0], "__burglar"}})
	_, err := loadIn(t, r, guest, weft.Limits{}).Call(context.Background(), nil, "noop", Input{})
	const no = "operation not permitted; "
	if err == nil || !strings.Contains(err.Error(), "read: "+no+"write: "+no+"connect: "+no+"exec: "+no+"kill: "+no+"code: "+no[:len(no)-2]) {
		t.Errorf("with the filter: %v", err)
	}
}

func TestANestKeepsFromFilesAndNetwork(t *testing.T) {
	dir := t.TempDir()
	n, err := newNest(dir, readRights, checkArgs()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	if n.landlock < 4 {
		t.Skip("this kernel has no landlock that knows the network")
	}
	cmd, said := exec.Command(checkArgs()[0], "__barred", dir), &bytes.Buffer{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &bytes.Buffer{}, &bytes.Buffer{}, said // the usual /dev/null is a file
	if err := n.run(cmd); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	const no = "permission denied; "
	if !strings.HasPrefix(said.String(), "read: "+no+"write: "+no+"connect: "+no+"exec: "+no) {
		t.Errorf("with landlock alone: %s", said)
	}
}

// lie is a worker that has been taken over.
func lie(how string) {
	w := &worksite{in: frames{r: bufio.NewReader(os.Stdin), max: 1 << 31}}
	w.hear(frameStart)
	w.say(frame{kind: frameReady, parts: [][]byte{fmt.Appendf(nil, `{"seccomp":%v}`, how != "no seccomp")}})
	w.hear(frameCall)
	many := func(kind byte, parts ...[]byte) {
		for range 2_000_000 {
			w.say(frame{kind: kind, parts: parts})
			if kind != frameLog {
				w.hear(frameReply)
			}
		}
	}
	switch how {
	case "a frame of 4 GiB":
		os.Stdout.Write([]byte{255, 255, 255, 255, frameDone})
	case "a frame of nothing":
		os.Stdout.Write([]byte{0, 0, 0, 0})
	case "a frame whose parts are longer than it":
		os.Stdout.Write([]byte{10, 0, 0, 0, frameDone, 0, 0, 0, 0, 0, 0, 0, 0, 200})
	case "a start":
		w.say(frame{kind: frameStart})
	case "a frame of no kind":
		w.say(frame{kind: 200})
	case "an answer without parts":
		w.say(frame{kind: frameDone})
	case "a code that is none":
		w.say(frame{kind: frameDone, n: 99, parts: make([][]byte, 6)})
	case "an error of another room":
		w.say(frame{kind: frameDone, n: 5, parts: [][]byte{[]byte("store.DB.Commit"), nil, nil, nil, nil, nil, nil, nil, new(counts).tally()}})
	case "an output that is too long":
		w.say(frame{kind: frameDone, parts: [][]byte{nil, nil, nil, nil, make([]byte, 2<<20), nil, nil, nil, new(counts).tally()}})
	case "headers that are too long":
		w.say(frame{kind: frameDone, parts: [][]byte{nil, nil, nil, nil, nil, pack(nil, []byte("a"), bytes.Repeat([]byte("x"), ValueMax+1)), nil, nil, new(counts).tally()}})
	case "a header that splits the answer":
		w.say(frame{kind: frameDone, parts: [][]byte{nil, nil, nil, nil, nil, pack(nil, []byte("a"), []byte("b\r\nc: d")), nil, nil, new(counts).tally()}})
	case "a trailer of no name":
		w.say(frame{kind: frameDone, parts: [][]byte{nil, nil, nil, nil, nil, nil, pack(nil, []byte(":procedure"), nil), nil, new(counts).tally()}})
	case "too many details":
		w.say(frame{kind: frameDone, n: 5, parts: [][]byte{[]byte(opCall), nil, nil, nil, nil, nil, nil, packDetails(make([]weft.Detail, DetailMax+1)), new(counts).tally()}})
	case "no counts":
		w.say(frame{kind: frameDone, parts: make([][]byte, 6)})
	case "counts of many instances":
		var c counts
		c.live.Store(1000)
		w.say(frame{kind: frameDone, parts: [][]byte{nil, nil, nil, nil, nil, nil, nil, nil, c.tally()}})
	case "a message that nobody reads":
		w.say(frame{kind: frameSend, parts: [][]byte{nil}})
	case "headers without values":
		w.say(frame{kind: frameDone, parts: [][]byte{nil, nil, nil, nil, nil, pack(nil, []byte("a")), nil, nil, new(counts).tally()}})
	case "a key that is too long":
		w.say(frame{kind: frameStateGet, parts: [][]byte{make([]byte, KeyMax+1)}})
	case "a request that is too long":
		w.say(frame{kind: frameCallOut, parts: [][]byte{[]byte("peer/path"), make([]byte, RequestMax+1)}})
	case "a request of many texts":
		w.say(frame{kind: frameHTTP, parts: [][]byte{bytes.Repeat([]byte(`"","",`), stringsMax)}})
	case "calls of the host without end":
		many(frameStateGet, []byte("k"))
	case "log lines without end":
		many(frameLog, []byte("line"))
	case "a log line of no level":
		w.say(frame{kind: frameLog, n: 1 << 40, parts: [][]byte{nil}})
	case "memory that it never had":
		w.say(frame{kind: frameMemory, n: -1})
	case "more memory than its limit":
		w.say(frame{kind: frameMemory, n: 1 << 40})
	case "nothing of memory, without end":
		for range 2_000_000 {
			w.say(frame{kind: frameMemory})
		}
	case "its death":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "no seccomp":
		w.say(frame{kind: frameDone, parts: [][]byte{nil, nil, nil, nil, nil, nil, nil, nil, new(counts).tally()}})
	case "work when there is none":
		w.say(frame{kind: frameDone, parts: [][]byte{nil, nil, nil, nil, nil, nil, nil, nil, new(counts).tally()}})
		for begun := time.Now(); time.Since(begun) < time.Minute; {
		}
	case "silence":
	case "half a frame":
		os.Stdout.Write([]byte{200, 0, 0, 0, frameDone})
	}
	time.Sleep(time.Minute)
	os.Exit(0)
}

// TestAWorkerThatWasTakenOverHarmsNobody has workers lie in every frame. Each
// is ended, and its host lives on.
func TestAWorkerThatWasTakenOverHarmsNobody(t *testing.T) {
	for _, c := range []struct {
		how  string
		code weft.Code
		says string
	}{
		{"a frame of 4 GiB", weft.Internal, "a frame of 4294967295 bytes"},
		{"a frame of nothing", weft.Internal, "a frame of 0 bytes"},
		{"a frame whose parts are longer than it", weft.Internal, "whose lengths are wrong"},
		{"a start", weft.Internal, "out of turn"},
		{"a frame of no kind", weft.Internal, "a frame 200 with 0 parts out of turn"},
		{"an answer without parts", weft.Internal, "an answer that is none"},
		{"a code that is none", weft.Internal, "an answer that is none"},
		{"an error of another room", weft.Internal, "an error that is none"},
		{"an output that is too long", weft.Internal, "an output over the limit of 1048576 bytes"},
		{"headers that are too long", weft.Internal, "a header with a value of 8193 bytes"},
		{"a header that splits the answer", weft.Internal, "a header with a value of 7 bytes that may not be"},
		{"a trailer of no name", weft.Internal, "a header whose name of 10 bytes is none"},
		{"too many details", weft.Internal, "an error that is none"},
		{"no counts", weft.Internal, "counts that are none"},
		{"counts of many instances", weft.Internal, "counts of more than one call"},
		{"a message that nobody reads", weft.Internal, "a message in a call without a stream"},
		{"headers without values", weft.Internal, "headers that are none"},
		{"a key that is too long", weft.Internal, "a name of 1025 bytes"},
		{"a request that is too long", weft.Internal, "request has 8388609 bytes, the limit is 8388608"},
		{"a request of many texts", weft.Internal, "more than 2000 texts"},
		{"calls of the host without end", weft.Internal, "more calls of the host than 1000"},
		{"log lines without end", weft.Internal, "the worker sent"},
		{"a log line of no level", weft.Internal, "a line of level"},
		{"memory that it never had", weft.Internal, "memory that it never had"},
		{"more memory than its limit", weft.Internal, "a wish for more memory than 136 MiB"},
		{"nothing of memory, without end", weft.Internal, "more than a call can have to say"},
		{"its death", weft.Unavailable, "ended in the middle of the call (signal: killed)"},
		{"silence", weft.DeadlineExceeded, "took longer than its limit of 2000 ms (limits.timeoutMs)"},
		{"half a frame", weft.DeadlineExceeded, "took longer than its limit of 2000 ms"},
	} {
		t.Run(c.how, func(t *testing.T) {
			inWorkers(t)
			r := open(t, Options{Worker: []string{checkArgs()[0], "__liar", c.how}})
			limits := weft.Limits{}
			if c.code == weft.DeadlineExceeded {
				limits.TimeoutMS = 2_000
			}
			m := loadIn(t, r, guest, limits)
			_, err := m.Call(context.Background(), newEnv(), "noop", Input{})
			if weft.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%v), want %v with %q", err, weft.CodeOf(err), c.code, c.says)
			}
			if r.staff.used.Load() != 0 || r.memory.used.Load() != 0 {
				t.Errorf("%d workers and %d bytes are left", r.staff.used.Load(), r.memory.used.Load())
			}
		})
	}
}

// TestTheNextCallAfterADeathWorks kills workers at work and idle ones.
func TestTheNextCallAfterADeathWorks(t *testing.T) {
	inWorkers(t)
	r := open(t, Options{})
	m, env := loadIn(t, r, guest, weft.Limits{}), newEnv()
	call := func() error {
		_, err := m.Call(context.Background(), env, "noop", Input{})
		return err
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	w := m.crew.idle[0]
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-w.dead
	if err := call(); err != nil {
		t.Errorf("after an idle worker has died: %v", err)
	}
	w = m.crew.idle[0]
	env.kill = w.cmd.Process.Kill
	if _, err := m.Call(context.Background(), env, "get", Input{Body: []byte("a")}); weft.CodeOf(err) != weft.Unavailable {
		t.Errorf("a worker that died at work: %v", err)
	}
	env.kill = nil
	if err := call(); err != nil {
		t.Errorf("the call after it: %v", err)
	}
	m.crew.trim(false)
	if r.staff.used.Load() != 0 || r.memory.used.Load() != 0 {
		t.Errorf("%d workers and %d bytes are left", r.staff.used.Load(), r.memory.used.Load())
	}
}

func TestAnIdleWorkerThatWorksIsEnded(t *testing.T) {
	said := &logbook.Book{}
	inWorkers(t)
	r := open(t, Options{Worker: []string{checkArgs()[0], "__liar", "work when there is none"}, Log: slog.New(slog.NewTextHandler(said, nil))})
	m := loadIn(t, r, guest, weft.Limits{})
	restless := func() *worker {
		if _, err := m.Call(context.Background(), nil, "noop", Input{}); err != nil {
			t.Fatal(err)
		}
		w := m.crew.idle[0]
		for !w.restless() {
			time.Sleep(10 * time.Millisecond)
		}
		return w
	}
	first := restless()
	second := restless()
	if first == second || first.taken >= 0 {
		t.Error("it was called again")
	}
	m.crew.look(second)
	if len(m.crew.idle) != 0 || second.taken >= 0 {
		t.Error("it was left idle")
	}
	if n := strings.Count(said.String(), "an idle worker was at work"); n != 2 {
		t.Errorf("said %d times: %s", n, said)
	}
}

func TestAWorkerWithoutSeccompDoesNotStart(t *testing.T) {
	for _, c := range []struct {
		may  bool
		code weft.Code
		says string
	}{
		{false, weft.Unavailable, "the kernel does not filter its system calls"},
		{true, weft.OK, "workers are not locked down whole"},
	} {
		said := &logbook.Book{}
		inWorkers(t)
		r := open(t, Options{Unfiltered: c.may, Worker: []string{checkArgs()[0], "__liar", "no seccomp"}, Log: slog.New(slog.NewTextHandler(said, nil))})
		_, err := loadIn(t, r, guest, weft.Limits{}).Call(context.Background(), nil, "noop", Input{})
		if weft.CodeOf(err) != c.code || !strings.Contains(said.String(), c.says) {
			t.Errorf("allowed %v: %v; %s", c.may, err, said)
		}
		if err != nil && !strings.Contains(err.Error(), "--workers-without-seccomp") {
			t.Errorf("no word of what to do: %v", err)
		}
	}
}

func TestWorkersOfAHostHaveALimit(t *testing.T) {
	inWorkers(t)
	r := open(t, Options{WorkerMax: 1})
	m, env := loadIn(t, r, guest, weft.Limits{}), newEnv()
	env.block = true
	ctx, release := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Call(ctx, env, "call", Input{})
	}()
	for r.staff.used.Load() < 1 {
		time.Sleep(time.Millisecond)
	}
	if _, err := m.Call(context.Background(), nil, "noop", Input{}); weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "1 worker processes") {
		t.Errorf("a second worker: %v", err)
	}
	release()
	<-done
	other, err := r.Load(context.Background(), "other", bytesOf(guest), Terms{Isolation: isolation})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Module{m, other, m} { // what is idle makes room
		if _, err := m.Call(context.Background(), nil, "noop", Input{}); err != nil {
			t.Error(err)
		}
	}
}
