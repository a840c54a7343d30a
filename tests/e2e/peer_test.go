package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/tests/ask"
	"github.com/weftrun/weft/tests/page"
)

// process is a program beside weft.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	log *bytes.Buffer // to be read when it has ended
}

func start(t *testing.T, dir string, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), log: &bytes.Buffer{}}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill() // the test has failed
			_ = p.cmd.Wait()
		}
	})
	return p
}

// end signals the process and waits for it; after SIGTERM it must exit with 0.
func (p *process) end(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil && sig == syscall.SIGTERM {
		p.t.Fatalf("%v: %s", err, p.log)
	}
}

// asked asks a method in JSON.
func asked(url, in string, out any) error {
	return ask.JSON(http.DefaultClient, url, json.RawMessage(in), out)
}

// peerSDKs are the languages of sdk/peer: how the TTL stands in the program of
// the README, what it becomes, and how the program is built and run.
var peerSDKs = map[string]struct{ ttl, short, build, run string }{
	"go":         {"15 * time.Second", "8 * time.Second", "go build -o greeter .", "./greeter"},
	"typescript": {"15_000", "8_000", "", "node greeter.mjs"},
	"python":     {"ttl=15.0", "ttl=8.0", "", "python3 greeter.py"},
}

// What keeps a lease does so in each language, with the program of its README:
// first as that says, and then with a lease of eight seconds.
func TestPeersOfEachLanguage(t *testing.T) {
	folders, err := filepath.Glob(filepath.Join(root, "sdk/peer/*/README.md"))
	if err != nil || len(folders) != len(peerSDKs) {
		t.Fatal(folders, err)
	}
	for language, sdk := range peerSDKs {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			if program, _, _ := strings.Cut(sdk.run, " "); program != "./greeter" {
				if _, err := exec.LookPath(program); err != nil {
					t.Skipf("missing: %s", program)
				}
			}
			w := newTalking(t, "inline")
			at, err := ask.Address()
			if err != nil {
				t.Fatal(err)
			}
			dir, folder := t.TempDir(), filepath.Join(root, "sdk/peer", language)
			commands := unpack(t, filepath.Join(folder, "README.md"), dir, func(text string) string {
				return strings.NewReplacer("127.0.0.1:8787", w.address, "127.0.0.1:9090", at, `listen(9090, "127.0.0.1")`, `listen(`+at[strings.LastIndexByte(at, ':')+1:]+`, "127.0.0.1")`,
					`("127.0.0.1", 9090)`, `("127.0.0.1", `+at[strings.LastIndexByte(at, ':')+1:]+`)`).Replace(text)
			})
			l := &leaseTest{w, at}
			l.start()
			l.readme(dir, folder, commands)
			for _, file := range []string{"main.go", "greeter.mjs", "greeter.py"} {
				text, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					continue // of another language
				}
				if strings.Count(string(text), sdk.ttl) != 1 {
					t.Fatalf("%s has not one %s", file, sdk.ttl)
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.Replace(string(text), sdk.ttl, sdk.short, 1)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if build := strings.Fields(sdk.build); len(build) > 0 {
				cmd := exec.Command(build[0], build[1:]...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			l.lives(dir, strings.Fields(sdk.run))
		})
	}
}

// unpack writes the files of a README and returns what it runs.
func unpack(t *testing.T, readme, dir string, change func(string) string) (commands string) {
	t.Helper()
	for _, b := range page.Blocks(string(read(t, readme))) {
		if name, is := b.File(); is {
			page.Write(t, filepath.Join(dir, name), change(b.Text))
		} else if b.Language+" "+b.Words == "sh run" {
			commands += b.Text
		} else {
			t.Errorf("a block is neither a file nor run: %s %s", b.Language, b.Words)
		}
	}
	if commands == "" {
		t.Fatal("the README has nothing to run")
	}
	return commands
}

// leaseTest is a weft with a peer.
type leaseTest struct {
	*talking
	at string // where the peer serves
}

func (l *leaseTest) readme(dir, folder, commands string) {
	l.t.Helper()
	sdk, err := filepath.Abs(folder)
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.CommandContext(l.t.Context(), "bash", "-euc", commands)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "WEFT_SDK="+sdk, "WEFT_SERVER=http://"+l.address, "PATH="+filepath.Dir(weftPath)+":"+os.Getenv("PATH"), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "http://"+l.at+"  active"); n != 1 || !strings.Contains(string(out), "deregistered") {
		l.t.Errorf("it was listed %d times and not once, or did not deregister:\n%s", n, out)
	}
	if found := l.epoch(); found != "" {
		l.t.Errorf("after its end epoch %s is registered", found)
	}
}

// held is the one live instance; the zero value for none.
type held struct{ Instance, Epoch, URL string }

func (l *leaseTest) held() held {
	l.t.Helper()
	var out struct{ Instances []held }
	err := asked("http://"+l.address+"/weft.v1.RegistryService/Lookup", `{"service":"greeter"}`, &out)
	if err != nil && !strings.Contains(err.Error(), "not_found") {
		l.t.Fatal(err)
	}
	if len(out.Instances) == 0 {
		return held{}
	}
	if len(out.Instances) > 1 || out.Instances[0].URL != "http://"+l.at {
		l.t.Fatalf("registered are %+v", out.Instances)
	}
	return out.Instances[0]
}

// epoch is that of the one live instance, empty for none.
func (l *leaseTest) epoch() string { return l.held().Epoch }

// after waits for an epoch later than that.
func (l *leaseTest) after(last string) (epoch string) {
	l.t.Helper()
	if !within(func() bool {
		epoch = l.epoch()
		return len(epoch) > len(last) || len(epoch) == len(last) && epoch > last
	}) {
		l.t.Fatalf("no epoch came after %q", last)
	}
	return epoch
}

// stays watches that the lease is kept for longer than its TTL.
func (l *leaseTest) stays(epoch string) {
	l.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if now := l.epoch(); now != epoch {
			l.t.Fatalf("epoch %s became %q", epoch, now)
		}
	}
}

// lives tries a program that keeps a lease of eight seconds.
func (l *leaseTest) lives(dir string, run []string) {
	l.t.Helper()
	peer := start(l.t, dir, run[0], run[1:]...)
	first := l.after("")
	var greeted struct{ Greeting string }
	if !within(func() bool { return asked("http://"+l.at+"/greet.v1.Greeter/Greet", `{"name":"Ada"}`, &greeted) == nil }) || greeted.Greeting != "hello Ada" {
		l.t.Errorf("it answered %+v", greeted)
	}
	l.stays(first)

	// weft is killed, and away for longer than a lease.
	_ = l.end(syscall.SIGKILL)
	time.Sleep(9 * time.Second)
	l.start()
	l.stays(first) // for every lease has its whole time again

	// Somebody removes it, and it registers again.
	if err := asked("http://"+l.address+"/weft.v1.RegistryService/Deregister", `{"service":"greeter","instance":"`+l.held().Instance+`","epoch":"`+first+`"}`, &struct{}{}); err != nil {
		l.t.Fatal(err)
	}
	second := l.after(first)

	// Killed, it is there until its lease ends.
	peer.end(syscall.SIGKILL)
	if l.epoch() != second {
		l.t.Error("a killed peer is gone at once")
	}
	if !within(func() bool { return l.epoch() == "" }) {
		l.t.Error("a killed peer stays registered")
	}
	peer = start(l.t, dir, run[0], run[1:]...)
	third := l.after(second)
	peer.end(syscall.SIGTERM)
	if now := l.epoch(); now != "" {
		l.t.Errorf("after SIGTERM it is registered with epoch %s, begun with %s", now, third)
	}
	if err := l.end(syscall.SIGTERM); err != nil {
		l.t.Error(err)
	}
	want := []peers.ChangeKind{peers.Registered, peers.Drained, peers.Deregistered, // as the README says
		peers.Registered, peers.Deregistered, peers.Registered, peers.Expired, peers.Registered, peers.Drained, peers.Deregistered}
	if got := l.history(); !slices.Equal(got, want) {
		l.t.Errorf("the registry tells of %v, want %v", got, want)
	}
}

// history is what the file of a weft that has ended knows of the peer.
func (l *leaseTest) history() (kinds []peers.ChangeKind) {
	l.t.Helper()
	db, err := store.Open(l.t.Context(), store.Options{Path: filepath.Join(l.dir, "weft.db")})
	if err != nil {
		l.t.Fatal(err)
	}
	defer db.Close()
	_, err = db.InstanceEvents(l.t.Context(), weft.DefaultNamespace, "greeter", 0, 1<<60, 100, func(e store.InstanceEvent) { kinds = append(kinds, peers.ChangeKind(e.Kind)) })
	if err != nil {
		l.t.Fatal(err)
	}
	return kinds
}
