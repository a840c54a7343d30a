package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftrun/weft"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
	ordersv1 "github.com/weftrun/weft/tests/bench/services/orders/v1"
)

// bench is what is compared, and how.
type bench struct {
	dir    string
	rivals []*rival
	cells  []cell
	calls  []method
	d      time.Duration
	rounds int
	found  map[point][]result
}

// rival is a process that serves.
type rival struct {
	name    string
	kind    string // of servers
	address string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
}

// point is what a load is of.
type point struct {
	rival, cell, method string
}

// result is what came of a load.
type result struct {
	each     float64 // requests a second
	p50, p99 time.Duration
	cpu      time.Duration // of the server, for one request
}

// prepare builds the guests, starts the servers and uploads to those of weft.
func prepare(ctx context.Context, profile string) (*bench, error) {
	dir, err := os.MkdirTemp("", "weft-services")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, found: map[point][]result{}}
	for _, g := range []struct{ name, source string }{{guestInC, "orders.c"}, {"weft Go", "orders"}} {
		wasm, err := built(ctx, dir, g.source)
		if errors.Is(err, errNoClang) {
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		var r *rival
		if err == nil {
			r, err = b.start(g.name, "weft", profile)
			profile = "" // of the first alone
		}
		if err == nil {
			err = upload(ctx, "http://"+r.address, wasm)
		}
		if err != nil {
			b.close()
			return nil, err
		}
	}
	for _, name := range []string{"connect v2", "connect v1", "grpc-go"} {
		if _, err := b.start(name, name, ""); err != nil {
			b.close()
			return nil, err
		}
	}
	return b, nil
}

func (b *bench) close() {
	for _, r := range b.rivals {
		r.in.Close()
		if err := r.cmd.Wait(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", r.name, err)
		}
	}
	os.RemoveAll(b.dir)
}

var errNoClang = errors.New("the guest in C is left out: a clang that links for wasm32 is missing: apt-get install clang lld")

// built is a guest from its source: a file of C, or a folder of Go.
func built(ctx context.Context, dir, source string) ([]byte, error) {
	_, file, _, _ := runtime.Caller(0)
	here, to := filepath.Dir(file), filepath.Join(dir, source+".wasm")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w", "-o", to, "./guests/"+source)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if strings.HasSuffix(source, ".c") {
		clang, err := exec.CommandContext(ctx, filepath.Join(here, "../../../guests/find-clang")).Output()
		if err != nil || len(clang) == 0 {
			return nil, errNoClang
		}
		cmd = exec.CommandContext(ctx, strings.TrimSpace(string(clang)), "--target=wasm32-unknown-unknown", "-O2", "-ffreestanding", "-fno-builtin", "-nostdlib",
			"-Wl,--no-entry", "-Wl,--strip-all", "-I", "../../../sdk/c", "-o", to, "guests/"+source)
	}
	cmd.Dir = here
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", source, err, out)
	}
	return os.ReadFile(to)
}

// start starts a process that serves.
func (b *bench) start(name, kind, profile string) (*rival, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "server")
	if err != nil {
		return nil, err
	}
	r := &rival{name: name, kind: kind, cmd: exec.Command(self, "__serve", kind, dir)}
	r.cmd.Stderr, r.cmd.Env = os.Stderr, append(os.Environ(), profileEnv+"="+profile)
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.out = bufio.NewScanner(out)
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	b.rivals = append(b.rivals, r)
	if !r.out.Scan() {
		return nil, fmt.Errorf("%s does not serve", name)
	}
	r.address = r.out.Text()
	return r, nil
}

// used is what the process has used so far; see there.
func (r *rival) used() (cpu, rss int64, err error) {
	if _, err := io.WriteString(r.in, "\n"); err != nil {
		return 0, 0, err
	}
	if !r.out.Scan() {
		return 0, 0, fmt.Errorf("%s has ended", r.name)
	}
	_, err = fmt.Sscan(r.out.Text(), &cpu, &rss)
	return cpu, rss, err
}

// guestLimits are those that the guests ask for: a call for each stream.
var guestLimits = weft.Limits{Concurrency: streamsAll}

// upload uploads a guest as weft module push does.
func upload(ctx context.Context, url string, wasm []byte) error {
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(ordersv1.File_orders_v1_orders_proto)}})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(weft.Manifest{Name: "orders", Version: "1.0.0", Limits: guestLimits})
	if err != nil {
		return err
	}
	stream, err := weftv1connect.NewModuleServiceClient(connect.NewClient(connecthttp.NewTransport(http.DefaultClient, url))).Push(ctx)
	if err != nil {
		return err
	}
	err = stream.Send(&weftv1.PushRequest{Part: &weftv1.PushRequest_Header{Header: &weftv1.PushHeader{Manifest: manifest, Descriptors: set, Grant: true}}})
	for part := range slices.Chunk(wasm, 256<<10) {
		if err == nil {
			err = stream.Send(&weftv1.PushRequest{Part: &weftv1.PushRequest_Chunk{Chunk: part}})
		}
	}
	_, answer := stream.CloseAndReceive()
	return errors.Join(answer, err)
}

// pick chooses cells, servers and methods by their names; none are all. What they
// are compared with is always there.
func (b *bench) pick(only, who []string, quick bool) {
	b.calls = []method{nothing, echo}
	if quick {
		b.calls = b.calls[:1]
		who = []string{b.rivals[0].name}
	}
	for _, c := range cells {
		if len(only) == 0 || slices.Contains(only, c.name) {
			b.cells = append(b.cells, c)
		}
	}
	b.rivals = slices.DeleteFunc(slices.Clone(b.rivals), func(r *rival) bool { return len(who) > 0 && r.name != reference && !slices.Contains(who, r.name) })
}

// measure has the loads take turns, to and fro, so that what else the machine does
// meets all of them. The first round is to get warm.
func (b *bench) measure() error {
	for round := range b.rounds + 1 {
		for _, m := range b.calls {
			for _, c := range b.cells {
				for i := range b.rivals {
					r := b.rivals[i]
					if round%2 == 1 {
						r = b.rivals[len(b.rivals)-1-i]
					}
					if r.kind == "grpc-go" && c.codec != "grpc" {
						continue
					}
					d := b.d
					if round == 0 {
						d /= 4
					}
					one, err := r.load(c, m, d)
					if err != nil {
						return fmt.Errorf("%s, %s, %s: %w", r.name, c.name, m.name, err)
					}
					if round > 0 {
						p := point{r.name, c.name, m.name}
						b.found[p] = append(b.found[p], one)
					}
				}
			}
		}
	}
	return nil
}

func (r *rival) load(c cell, m method, d time.Duration) (one result, err error) {
	before, _, err := r.used()
	if err != nil {
		return one, err
	}
	begun := time.Now()
	took, err := c.load(r.address, m, d)
	if err != nil {
		return one, err
	}
	lasted := time.Since(begun)
	after, _, err := r.used()
	if err != nil {
		return one, err
	}
	slices.Sort(took)
	n := len(took)
	return result{each: float64(n) / lasted.Seconds(), p50: took[n/2], p99: took[n*99/100], cpu: time.Duration(after-before) / time.Duration(n)}, nil
}

// best is the best of each figure of a point: what else the machine does only takes.
func (b *bench) best(p point) result {
	best := b.found[p][0]
	for _, r := range b.found[p] {
		best = result{max(best.each, r.each), min(best.p50, r.p50), min(best.p99, r.p99), min(best.cpu, r.cpu)}
	}
	return best
}

// guestInC is the floor of guests: what a module adds at least.
const guestInC = "weft C"

// reference is what the others are compared with.
const reference = "connect v2"

// ratio is how many requests a second a rival has for each that the reference has.
func (b *bench) ratio(r, cell, method string) float64 {
	return b.best(point{r, cell, method}).each / b.best(point{reference, cell, method}).each
}

// ratios says the ratio of each cell.
func (b *bench) ratios() error {
	for _, c := range b.cells {
		if _, err := fmt.Printf("%s %.3f\n", c.name, b.ratio(b.rivals[0].name, c.name, nothing.name)); err != nil {
			return err
		}
	}
	return nil
}

// table writes all that was found, as Markdown.
func (b *bench) table(w io.Writer) error {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d processors, load average %s", runtime.NumCPU(), load)
	fmt.Fprintln(w, "\n| | | | requests/s | to connect v2 | p50 | p99 | CPU a request |\n|---|---|---|---|---|---|---|---|")
	for _, m := range b.calls {
		for _, c := range b.cells {
			for _, r := range b.rivals {
				p := point{r.name, c.name, m.name}
				if b.found[p] == nil {
					continue
				}
				o := b.best(p)
				fmt.Fprintf(w, "| %s | %s | %s | %.0f | %.2f | %.2f ms | %.2f ms | %.1f us |\n", m.name, c.name, r.name, o.each, b.ratio(r.name, c.name, m.name),
					ms(o.p50), ms(o.p99), float64(o.cpu.Nanoseconds())/1000)
			}
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
