package host_test

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft/host"
	"github.com/weftrun/weft/host/rpc"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

// damage runs SQL on the host's file behind its back.
func (s *served) damage(statement string) {
	s.t.Helper()
	other, err := sql.Open("sqlite3", "file:"+s.db+"?_busy_timeout=5000")
	if err != nil {
		s.t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Exec(statement); err != nil {
		s.t.Fatal(err)
	}
}

func TestWhatHappenedInsideStaysInside(t *testing.T) {
	s := serve(t, host.Options{})
	s.damage("drop table breaker_policy")
	status, answer := s.ask("/weft.v1.BreakerService/SetPolicy", `{"peer":"payments"}`)
	found := regexp.MustCompile(`internal error, reference ([A-Z2-7]{8});`).FindStringSubmatch(answer)
	if status != http.StatusInternalServerError || found == nil || strings.Contains(answer, "table") {
		t.Fatalf("%d %s", status, answer)
	}
	if strings.Count(s.log.String(), found[1]) != 1 || strings.Count(s.log.String(), "no such table") != 1 {
		t.Errorf("the log has the reference and the cause not once:\n%s", s.log)
	}
	_, err := weftv1connect.NewBreakerServiceClient(s.client()).SetPolicy(t.Context(), &weftv1.SetPolicyRequest{Peer: "payments"})
	if connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "table") {
		t.Errorf("by gRPC: %v", err)
	}
}

func TestWhatHappenedInsideStaysInsideAtEventsToo(t *testing.T) {
	s := serve(t, host.Options{})
	s.damage("drop table event")
	status, answer := s.ask("/events", `{"specversion":"1.0","id":"1","source":"/a","type":"t"}`, "Content-Type", "application/cloudevents+json")
	if status != http.StatusInternalServerError || !strings.Contains(answer, "internal error, reference") || strings.Contains(answer, "table") {
		t.Errorf("%d %s", status, answer)
	}
}

func TestAHandlersOwnErrorKeepsItsText(t *testing.T) {
	s := serve(t, host.Options{})
	s.deploy("")
	for name, c := range map[string]struct{ path, body, says string }{
		"its error, by Connect":    {"/weft.v1.HandlerService/Call", `{"handler":"fail","body":"bXkgZmF1bHQ="}`, "my fault"},
		"its error, by plain HTTP": {"/handlers/fail", "my fault", "my fault"},
		"its trap, by Connect":     {"/weft.v1.HandlerService/Call", `{"handler":"boom"}`, "the handler trapped"},
		"its trap, by plain HTTP":  {"/handlers/boom", "", "the handler trapped"},
	} {
		if status, answer := s.ask(c.path, c.body); status != http.StatusInternalServerError || !strings.Contains(answer, `"code":"internal"`) || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
}

func TestTooMuchIsRefused(t *testing.T) {
	s := serve(t, host.Options{})
	large := `{"source":"` + strings.Repeat("x", rpc.MessageMax) + `"}`
	status, answer := s.ask("/weft.v1.WorkflowService/Validate", large)
	if status != http.StatusTooManyRequests || !strings.Contains(answer, "resource_exhausted") || !strings.Contains(answer, fmt.Sprint(rpc.MessageMax)) {
		t.Errorf("a large message: %d %s", status, answer)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := io.WriteString(z, large); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	status, answer = s.ask("/weft.v1.WorkflowService/Validate", packed.String(), "Content-Encoding", "gzip")
	if status != http.StatusTooManyRequests || !strings.Contains(answer, "larger than") {
		t.Errorf("one that grows from %d bytes: %d %s", packed.Len(), status, answer)
	}
	_, err := weftv1connect.NewWorkflowServiceClient(s.client()).Validate(t.Context(), &weftv1.ValidateRequest{Source: large})
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("by gRPC: %v", err)
	}
	if status, answer := s.ask("/handlers/echo", large); status != http.StatusRequestEntityTooLarge || !strings.Contains(answer, "over 4194304 bytes") {
		t.Errorf("a large body: %d %s", status, answer)
	}

	if status, answer := s.ask("/weft.v1.RunService/ListRuns", `{}`, "X-Large", strings.Repeat("x", 80<<10)); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large headers: %d %s", status, answer)
	}
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("X-Large", strings.Repeat("x", 80<<10))
	if res, err := h2c(t).Do(q); err == nil {
		res.Body.Close()
		t.Errorf("large headers on HTTP/2: %s", res.Status)
	}
}

func TestABodyThatDoesNotComeIsGivenUp(t *testing.T) {
	s := serve(t, host.Options{BodyTime: time.Second})
	for _, path := range []string{"/handlers/echo", "/weft.v1.RunService/ListRuns"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: weft\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", path); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(c)
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 504 ")) || !bytes.Contains(answer, []byte("deadline_exceeded")) {
			t.Errorf("%s: %v %s", path, err, answer)
		}
	}

	s.must("/weft.v1.WorkflowService/Apply", `{"source":`+quoted(strings.ReplaceAll(nap, "hours: 1", "milliseconds: 1500"))+`}`)
	if answer := s.must("/weft.v1.RunService/Start", `{"workflow":"nap","wait":true}`); !strings.Contains(answer, "RUN_STATUS_COMPLETED") {
		t.Errorf("a call that takes longer than its body may: %s", answer)
	}
	for version, c := range map[string]*connect.Client{"HTTP/2": s.client(), "HTTP/1.1": connect.NewClient(connecthttp.NewTransport(h1(t), s.url))} {
		run := field(t, s.must("/weft.v1.RunService/Start", `{"workflow":"nap"}`), "id")
		watch, err := weftv1connect.NewRunServiceClient(c).Watch(t.Context(), &weftv1.WatchRequest{Id: run})
		if err != nil {
			t.Fatal(err)
		}
		seen, err := last(watch.Receive)
		if !errors.Is(err, io.EOF) || seen[len(seen)-1].Run.Status != weftv1.RunStatus_RUN_STATUS_COMPLETED {
			t.Errorf("a stream on %s that takes longer: %v", version, err)
		}
	}
}

func TestANameThatIsNoNamespaceIsRefused(t *testing.T) {
	s := serve(t, host.Options{})
	for _, c := range []struct{ path, body, header string }{
		{"/weft.v1.RunService/ListRuns", `{"namespace":"a/b"}`, ""},
		{"/weft.v1.EventService/Publish", `{"namespace":"Upper"}`, ""},
		{"/handlers/echo", "", "a b"},
		{"/events", `{}`, strings.Repeat("a", 64)},
	} {
		if status, answer := s.ask(c.path, c.body, "Weft-Namespace", c.header); status != http.StatusBadRequest || !strings.Contains(answer, "is not a namespace") {
			t.Errorf("%s %s: %d %s", c.path, c.body, status, answer)
		}
	}
	_, err := s.push(s.client(), &weftv1.PushHeader{Namespace: "a/b"}, guest(), 256)
	if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "is not a namespace") {
		t.Errorf("a push: %v", err)
	}
}
