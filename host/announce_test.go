package host_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

// peersOf are the instances of a namespace in a host's registry, each as its service,
// its address and its status.
func (s *served) peersOf(namespace string) (list []string) {
	s.t.Helper()
	answer := compact(s.must("/weft.v1.RegistryService/ListInstances", fmt.Sprintf(`{"namespace":%q}`, namespace)))
	for _, m := range regexp.MustCompile(`"service":"([^"]+)","instance":"[^"]+","epoch":"\d+","url":"([^"]+)"[^}]*"status":"INSTANCE_STATUS_(\w+)"`).FindAllStringSubmatch(answer, -1) {
		list = append(list, strings.Join(m[1:], " "))
	}
	return list
}

func (s *served) hasPeers(when string, want ...string) {
	s.t.Helper()
	if got := s.peersOf("default"); !slices.Equal(got, want) {
		s.t.Errorf("%s: %q and not %q", when, got, want)
	}
}

// willHave waits for peers of other hosts: who was not heard in time tells of them again.
func (s *served) willHave(want ...string) {
	s.t.Helper()
	wait(s.t, func() bool { return slices.Equal(s.peersOf("default"), want) })
}

func TestWhatAHostServesIsInItsRegistry(t *testing.T) {
	s := serve(t, host.Options{})
	chat, say := "chat.v1.ChatService "+s.url+"/-/chat.v1.ChatService ACTIVE", "say.v1.SayService "+s.url+"/-/say.v1.SayService ACTIVE"
	s.hasPeers("before")
	s.deployChat("1.0.0")
	s.deploySayer("1.0.0")
	s.hasPeers("after the uploads", chat, say)
	s.deployChat("1.1.0")
	s.must("/weft.v1.ModuleService/DeleteModule", `{"name":"chat","version":"1.1.0"}`)
	s.must("/weft.v1.ModuleService/DeleteModule", `{"name":"sayer","version":"1.0.0"}`)
	s.hasPeers("when one has another version, and the other none", chat)
	other := `{"name":"chat","version":"2.0.0","handlers":[{"name":"chat.v2.ChatService/Echo","export":"echo"}]}`
	if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(other), Descriptors: said(t, `syntax = "proto3"; package chat.v2; message M {} service ChatService { rpc Echo(M) returns (M); }`)}, guest(), 256); err != nil {
		t.Fatal(err)
	}
	s.hasPeers("when the version that is called has another service", "chat.v2.ChatService "+s.url+"/-/chat.v2.ChatService ACTIVE")
	s.must("/weft.v1.ModuleService/Promote", `{"name":"chat","version":"1.0.0"}`)
	s.hasPeers("when it has gone back", chat)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	again := serve(t, host.Options{DB: s.db})
	again.hasPeers("after a restart", "chat.v1.ChatService "+again.url+"/-/chat.v1.ChatService ACTIVE")
}

func TestAHostIsInTheRegistryOfAnotherAndCalledByIt(t *testing.T) {
	a := serve(t, host.Options{})
	b := serve(t, host.Options{Registries: []string{a.url}})
	a.hasPeers("before")
	b.deployChat("1.0.0")
	a.willHave("chat.v1.ChatService " + b.url + "/-/chat.v1.ChatService ACTIVE")
	wait(t, func() bool {
		hosts := a.peersOf("weft")
		return len(hosts) == 2 && strings.Contains(fmt.Sprint(hosts), b.url)
	})
	a.deployAsker("chat.v1.ChatService/Echo", "chat.v1.ChatService")
	if status, answer := a.ask("/handlers/ask", `{"text":"over there"}`); status != 200 || answer != `{"text":"over there"}` {
		t.Errorf("%d %s", status, answer)
	}
	a.apply("default", stepping("echo", `{ call: chat.v1.ChatService/Echo@chat.v1.ChatService, with: { text: hi } }`))
	b.must("/weft.v1.ModuleService/DeleteModule", `{"name":"chat","version":"1.0.0"}`)
	a.willHave()
	started := compact(a.must("/weft.v1.RunService/Start", `{"workflow":"echo"}`))
	id := regexp.MustCompile(`"id":"(\w+)"`).FindStringSubmatch(started)[1]
	run := func() string { return compact(a.must("/weft.v1.RunService/GetRun", `{"id":`+quoted(id)+`}`)) }
	wait(t, func() bool { return strings.Contains(run(), "all have deregistered") })
	b.deployChat("1.0.0")
	wait(t, func() bool { return strings.Contains(run(), `"output":{"text":"hi"}`) })
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	a.willHave()
	wait(t, func() bool { return len(a.peersOf("weft")) == 1 })
	if status, answer := a.ask("/handlers/ask", `{}`); status != http.StatusServiceUnavailable || !strings.Contains(answer, "all have deregistered") {
		t.Errorf("%d %s", status, answer)
	}
}

func TestARegistryThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	t.Parallel() // it waits for the next time for seconds
	a := serve(t, host.Options{})
	there, err := url.Parse(a.url)
	if err != nil {
		t.Fatal(err)
	}
	var up atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(there)
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer between.Close()
	b := serve(t, host.Options{Registries: []string{between.URL}})
	defer b.stop() // while the way there is open
	b.deployChat("1.0.0")
	b.hasPeers("in its own", "chat.v1.ChatService "+b.url+"/-/chat.v1.ChatService ACTIVE")
	a.hasPeers("in the other")
	if log := b.log.String(); !strings.Contains(log, "this host is not registered whole, and will try again") || !strings.Contains(log, between.URL) {
		t.Error(log)
	}
	up.Store(true)
	wait(t, func() bool { return len(a.peersOf("default")) == 1 && len(a.peersOf("weft")) == 2 })
}

func TestTheAddressOfAServiceLeadsNowhereElse(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployChat("1.0.0")
	s.deploySayer("1.0.0")
	for path, status := range map[string]int{
		"/-/chat.v1.ChatService/chat.v1.ChatService/Echo":                          200,
		"/-/chat.v1.ChatService/say.v1.SayService/Echo":                            404,
		"/-/chat.v1.ChatService/weft.v1.ModuleService/ListModules":                 404,
		"/-/chat.v1.ChatService/handlers/key":                                      404,
		"/-/chat.v1.ChatService/chat.v1.ChatService/../weft.v1.ModuleService/List": 404,
		"/-/chat.v1.ChatService/chat@1.0.0/chat.v1.ChatService/Echo":               404,
		"/-/weft.v1.ModuleService/weft.v1.ModuleService/ListModules":               404,
		"/-/": 404,
	} {
		if got, answer := s.ask(path, `{}`); got != status {
			t.Errorf("%s: %d %s", path, got, answer)
		}
	}
	for _, call := range []string{"chat.v1.ChatService/say.v1.SayService/Echo", "chat.v1.ChatService/weft.v1.ModuleService/ListModules", "chat.v1.ChatService/openapi/"} {
		s.deployAsker(call, "chat.v1.ChatService")
		if status, answer := s.ask("/handlers/ask", `{}`); status != http.StatusNotImplemented {
			t.Errorf("in process, %s: %d %s", call, status, answer)
		}
		s.must("/weft.v1.ModuleService/DeleteModule", `{"name":"asker","version":"1.0.0"}`)
	}
}

// The namespace of hosts is one that anybody may name.
func TestAModuleInTheNamespaceOfHosts(t *testing.T) {
	s := serve(t, host.Options{})
	s.apply("weft", stepping("echoed", "{ set: '${ . }' }"))
	manifest := []byte(`{"name":"chat","version":"1.0.0","handlers":[{"name":"chat.v1.ChatService/Echo","export":"echo"},{"name":"chat.v1.ChatService/Fail","export":"fail"},{"name":"chat.v1.ChatService/Talk","export":"echo"}],"bind":[{"route":"POST /v1/echo","workflow":"echoed"}]}`)
	if _, err := s.push(s.client(), &weftv1.PushHeader{Namespace: "weft", Manifest: manifest, Descriptors: said(t, chatProto)}, guest(), 256); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, host.Options{DB: s.db})
	want := []string{"chat.v1.ChatService " + s.url + "/-/chat.v1.ChatService ACTIVE", "host " + s.url + " ACTIVE"}
	if got := s.peersOf("weft"); !slices.Equal(got, want) {
		t.Errorf("%q and not %q", got, want)
	}
}

func TestANameThatWasTakenIsAskedForAgainWhenTheServiceComesAnew(t *testing.T) {
	t.Parallel() // it waits for a beat
	s := serve(t, host.Options{})
	s.deployChat("1.0.0")
	listed := compact(s.must("/weft.v1.RegistryService/ListInstances", `{}`))
	instance := regexp.MustCompile(`"instance":("[^"]+")`).FindStringSubmatch(listed)[1]
	taken := compact(s.must("/weft.v1.RegistryService/Register", `{"service":"chat.v1.ChatService","url":"http://127.0.0.1:1","instance":`+instance+`}`))
	epoch := regexp.MustCompile(`"epoch":("\d+")`).FindStringSubmatch(taken)[1]
	wait(t, func() bool {
		return strings.Contains(s.log.String(), "another host has registered under the name of this one")
	})
	s.must("/weft.v1.ModuleService/DeleteModule", `{"name":"chat","version":"1.0.0"}`)
	s.must("/weft.v1.RegistryService/Deregister", `{"service":"chat.v1.ChatService","instance":`+instance+`,"epoch":`+epoch+`}`)
	s.deployChat("1.0.0")
	s.hasPeers("anew", "chat.v1.ChatService "+s.url+"/-/chat.v1.ChatService ACTIVE")
}

func TestRegistriesThatHangHoldUpNoStartAndNoShutdown(t *testing.T) {
	t.Parallel() // it waits for calls that have no answer
	a := serve(t, host.Options{})
	there, err := url.Parse(a.url)
	if err != nil {
		t.Fatal(err)
	}
	var hang atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(there)
	const many = 10 // one after the other would take far longer
	var registries []string
	for range many {
		between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hang.Load() {
				_, _ = io.Copy(io.Discard, r.Body) // or the end of the caller is not seen
				<-r.Context().Done()
				return
			}
			proxy.ServeHTTP(w, r)
		}))
		defer between.Close()
		registries = append(registries, between.URL)
	}
	hang.Store(true)
	began := time.Now()
	c := serve(t, host.Options{Registries: registries})
	c.peersOf("weft") // it serves
	if took := time.Since(began); took > many/2*registryTime {
		t.Errorf("the start took %v", took)
	}
	hang.Store(false)
	b := serve(t, host.Options{Registries: registries})
	b.peersOf("weft")
	hang.Store(true)
	began = time.Now()
	if err := b.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > host.DrainMax*9/10 {
		t.Errorf("the shutdown took %v", took)
	}
}

// registryTime is how long a host waits for a registry's answer. It asks each twice
// before it ends.
const registryTime = 2 * time.Second

func TestARegistryWithTLSIsCalledByWhomItTrusts(t *testing.T) {
	_, at, ca := serveTLS(t)
	b := serve(t, host.Options{Registries: []string{at}, RegistryOver: over(t, ca.Client("b"), true).Transport})
	registry := weftv1connect.NewRegistryServiceClient(connect.NewClient(connecthttp.NewTransport(over(t, ca.Client("ada"), true), at)))
	var has *weftv1.ListInstancesResponse
	registered := func() bool {
		var err error
		if has, err = registry.ListInstances(t.Context(), &weftv1.ListInstancesRequest{Namespace: "weft"}); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(has.Instances, func(i *weftv1.Instance) bool { return i.Url == b.url })
	}
	wait(t, registered)
	wait(t, func() bool { // until one has the processor before its time with the registry is over
		stranger := serve(t, host.Options{Registries: []string{at}})
		stranger.peersOf("weft") // it serves
		log := stranger.log.String()
		return strings.Contains(log, "this host is not registered whole, and will try again") && strings.Contains(log, "certificate")
	})
	if registered(); len(has.Instances) != 2 {
		t.Errorf("the registry has %v", has)
	}
}
