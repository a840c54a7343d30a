package host_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/workflows/grpc"
)

// tried is the guest of runtime/wasm with a manifest inside: it is compiled in no time,
// as one in Go is not.
func tried(t *testing.T) []byte {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", cache)
	code, err := os.ReadFile("../runtime/wasm/testdata/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return wasm.AppendSection(code, wasm.ManifestSection, []byte(`{"name":"guest","version":"1.0.0","grants":{"peers":["*"],"events":["*"]}}`))
}

func TestATrialReachesWhatItNamesAndNoMore(t *testing.T) {
	var asked []string
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		w.Header().Set("content-type", "application/json")
		io.WriteString(w, `{"paid":true}`)
	}))
	defer peer.Close()
	trial := host.Trial{Wasm: tried(t), Handler: "call", Input: []byte(`{"sum":7}`), Log: slog.New(slog.DiscardHandler)}
	out, err := host.TryModule(t.Context(), trial)
	if weft.CodeOf(err) != weft.PermissionDenied || out.Code != weft.PermissionDenied || !slices.Equal(out.Withheld.Peers, []string{"*"}) || len(asked) > 0 {
		t.Errorf("without a peer: %v, withheld %v, asked %v", err, out.Withheld.Peers, asked)
	}
	trial.Peers = map[string]string{"peer": peer.URL}
	out, err = host.TryModule(t.Context(), trial)
	if err != nil || string(out.Result.Output) != `{"paid":true}` || !slices.Equal(asked, []string{"/peer/Do"}) {
		t.Errorf("with the peer: %s, %v, asked %v", out.Result.Output, err, asked)
	}
}

func TestATrialShowsEventsAndLogsOfTheHandlerAlone(t *testing.T) {
	var log bytes.Buffer
	trial := host.Trial{Wasm: tried(t), Handler: "publish", Input: []byte(`{"key":"a"}`), Log: slog.New(slog.NewTextHandler(&log, nil))}
	out, err := host.TryModule(t.Context(), trial)
	if err != nil || len(out.Events) != 1 || out.Events[0].Type != "t.happened" || string(out.Events[0].Data) != `{"key":"a"}` {
		t.Errorf("%+v, %v", out.Events, err)
	}
	if log.Len() > 0 {
		t.Errorf("the host logged: %s", &log)
	}
	trial.Handler, trial.Input = "say", []byte("it has begun")
	if _, err := host.TryModule(t.Context(), trial); err != nil || !strings.Contains(log.String(), "it has begun") || strings.Contains(log.String(), "module is live") {
		t.Errorf("%v, logged: %s", err, &log)
	}
}

func TestAnInspectionTellsServicesAndRefusesAsAnUpload(t *testing.T) {
	code := tried(t)
	i, err := host.InspectModule(t.Context(), host.Upload{Wasm: code}, nil)
	if err != nil || i.Manifest.Name != "guest" || len(i.Manifest.Handlers) < 10 || i.Services != nil || i.Limits != wasm.DefaultLimits {
		t.Errorf("%+v, %v", i, err)
	}
	set, err := grpc.Describe(t.Context(), []byte("syntax = \"proto3\"; package a; message M {} service S { rpc Do(M) returns (M); }"), "a.proto", "a.S")
	if err != nil {
		t.Fatal(err)
	}
	described := wasm.AppendSection(code, wasm.DescriptorSection, set)
	if _, err = host.InspectModule(t.Context(), host.Upload{Wasm: described}, nil); err == nil || !strings.Contains(err.Error(), "no handler for /a.S/Do") {
		t.Errorf("a method that nothing serves: %v", err)
	}
	serving := []byte(`{"name":"guest","version":"1.0.0","handlers":[{"name":"a.S/Do","export":"echo"}]}`)
	if i, err = host.InspectModule(t.Context(), host.Upload{Wasm: described, Manifest: serving}, nil); err != nil || !slices.Equal(i.Services, []string{"a.S"}) {
		t.Errorf("%v, %v", i.Services, err)
	}
	for _, refused := range []struct{ name, manifest, want string }{
		{"a handler that it does not export", `{"name":"guest","version":"1.0.0","handlers":[{"name":"gone"}]}`, `exports no function "gone"`},
		{"more than the host allows", `{"name":"guest","version":"1.0.0","limits":{"table":100000}}`, "limits.table is 100000"},
		{"a field that nobody knows", `{"named":"probe"}`, `unknown field "named"`},
	} {
		if _, err := host.InspectModule(t.Context(), host.Upload{Wasm: code, Manifest: []byte(refused.manifest)}, nil); err == nil || !strings.Contains(err.Error(), refused.want) {
			t.Errorf("%s: %v", refused.name, err)
		}
	}
	if _, err := host.InspectModule(t.Context(), host.Upload{Wasm: wasm.AppendSection(code, wasm.DescriptorSection, []byte("none"))}, nil); err == nil || !strings.Contains(err.Error(), "no FileDescriptorSet") {
		t.Errorf("descriptors that are none: %v", err)
	}
}
