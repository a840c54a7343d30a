// Package clients does what the pages of clients/ say, against the shop's
// OrderService: a weft process with the module that was built and uploaded.
package clients

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftrun/weft/tests/ask"
	"github.com/weftrun/weft/tests/page"
)

const root = "../.."

// The ports that the pages have: weft's, and that of a page in a browser.
const weftPort, originPort = "8787", "8080"

var (
	buf      = page.Tool{Name: "buf", Find: "go tool -modfile=.ci/tools/go.mod -n buf", Missing: "buf, which go has to fetch"}
	grpcurl  = page.Tool{Name: "grpcurl", Find: "go tool -modfile=.ci/clients/go.mod -n grpcurl", Missing: "grpcurl, which go has to fetch"}
	node     = page.Tool{Name: "node", Find: `node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' && command -v node`, Missing: "node 20 or newer (apt-get install nodejs)"}
	npm      = page.Tool{Name: "npm", Find: "command -v npm", Missing: "npm (apt-get install npm)"}
	chromium = page.Tool{Name: "chromium", Find: "command -v /usr/bin/chromium", Missing: "Chromium (apt-get install chromium)"}
	python   = page.Tool{Name: "python3", Find: "command -v python3", Missing: "Python 3.9 or newer (apt-get install python3)"}
	curl     = page.Tool{Name: "curl", Find: "command -v curl", Missing: "curl (apt-get install curl)"}
)

// clients are the folders of clients with the tools of their pages.
var clients = map[string][]page.Tool{
	"go":      {buf},
	"node":    {buf, node, npm},
	"browser": {buf, node, npm, chromium},
	"python":  {python},
	"curl":    {curl},
	"grpcurl": {buf, grpcurl},
}

func TestPagesOfClientsAreTrue(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "clients/*/README.md"))
	if err != nil || len(pages) != len(clients) {
		t.Fatal(pages, err)
	}
	index, err := os.ReadFile(filepath.Join(root, "clients/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	port, origin := free(t), free(t)
	serve(t, port, "http://127.0.0.1:"+origin)
	for _, file := range pages {
		folder := filepath.Dir(file)
		name := filepath.Base(folder)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tools, known := clients[name]
			if !known || !bytes.Contains(index, []byte("("+name+"/README.md)")) {
				t.Fatalf("%s is not in the list of this test, or not in clients/README.md", name)
			}
			bin := page.Path(t, root, tools...)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(folder)); err != nil { // what is beside the page
				t.Fatal(err)
			}
			at, asked := port, func() []string { return nil }
			if name == "node" { // it tells nobody that it has used GET
				at, asked = relay(t, port)
			}
			here := strings.NewReplacer(weftPort, at, originPort, origin).Replace(string(text))
			if err := page.Do(t.Context(), here, dir, "PATH="+bin+":"+os.Getenv("PATH"), "GOFLAGS=", "GOWORK=off"); err != nil {
				t.Fatal(err)
			}
			if name == "node" && !slices.Contains(asked(), "GET /shop.v1.OrderService/GetOrder") {
				t.Errorf("what has no side effects is not got: %q", asked())
			}
		})
	}
}

// serve starts a weft that serves the shop's orders at a port, also to the pages of
// an origin, until the test ends.
func serve(t *testing.T, port, origin string) {
	t.Helper()
	dir := t.TempDir()
	must(t, root, "go", "build", "-o", dir+"/weft", "./cmd/weft")
	must(t, root, "make", "-C", "guests", "OUT="+dir, dir+"/order.wasm", dir+"/order.yaml", dir+"/order.binpb")

	at := "127.0.0.1:" + port
	weft := exec.Command(dir+"/weft", "dev", "--listen", at, "--cors-origin", origin)
	weft.Dir, weft.Stderr = dir, t.Output()
	if err := weft.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = weft.Process.Signal(syscall.SIGTERM)
		_ = weft.Wait()
	})
	for end := time.Now().Add(2 * time.Minute); !ask.Ready("http://" + at); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("weft is not ready")
		}
	}
	must(t, dir, dir+"/weft", "--server", "http://"+at, "module", "push", "order.wasm", "--grant")
}

// relay passes calls on to a port, over h2, and notes what they ask for.
func relay(t *testing.T, to string) (port string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string // guarded by mu
	h2c := &http.Protocols{}
	h2c.SetUnencryptedHTTP2(true)
	s := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport:     &http.Transport{Protocols: h2c},
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "127.0.0.1:" + to})
			mu.Lock()
			defer mu.Unlock()
			all = append(all, r.In.Method+" "+r.In.URL.Path)
		},
	})
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL[strings.LastIndexByte(s.URL, ':')+1:], func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func must(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// free is a port of 127.0.0.1 that nobody has.
func free(t *testing.T) string {
	t.Helper()
	at, err := ask.Address()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
