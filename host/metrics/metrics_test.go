package metrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/host/hooks"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
)

func rooms(t *testing.T) Rooms {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "weft.db")})
	if err != nil {
		t.Fatal(err)
	}
	rt, err := wasm.Open(t.Context(), wasm.Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	gate, err := peers.Open(t.Context(), db, peers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Open(t.Context(), db, rt, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gate.Close(); db.Close(); rt.Close(t.Context()) })
	webhooks, err := hooks.Open(t.Context(), db, bus.New(db, bus.Options{}), hooks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return Rooms{Gate: gate, Wasm: rt, Engine: engine.New(db, cat, gate, engine.Options{}), Hooks: webhooks, Store: db, Streams: weft.NewPlaces("test", "callers hold streams", "", 1, 1), Calls: weft.NewPlaces("test", "calls are in progress", "", 1, 1)}
}

// Whoever makes names, the answer has its limit, keeps the series that it has,
// and says what it leaves out.
func TestSeriesAreBounded(t *testing.T) {
	r := rooms(t)
	for n := range PeersMax + 7 {
		_, err := r.Gate.Do(t.Context(), weft.Request{Namespace: "default", Caller: "test", Method: http.MethodGet, URL: fmt.Sprintf("http://127.0.0.1:%d/", n+1)})
		if weft.CodeOf(err) != weft.PermissionDenied {
			t.Fatal(err)
		}
	}
	for n := range HooksMax/hooks.HooksMax + 1 {
		list := make([]hooks.Hook, hooks.HooksMax)
		for i := range list {
			list[i].Name = fmt.Sprint("h", i)
		}
		if err := r.Hooks.Set(t.Context(), fmt.Sprint("ns", n), list); err != nil {
			t.Fatal(err)
		}
	}
	w := httptest.NewRecorder()
	Handler(r).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	if n := strings.Count(text, "\nweft_peer_calls_total{"); n != PeersMax {
		t.Errorf("%d peers", n)
	}
	for _, line := range []string{`weft_metrics_left_out{what="peers"} 7`, `weft_metrics_left_out{what="breakers"} 7`, `weft_metrics_left_out{what="hooks"} 100`, `weft_peer_calls_total{namespace="default",peer="http://127.0.0.1:1"} 1`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}

func TestSharesAreBounded(t *testing.T) {
	told := make(chan prometheus.Metric, 2*SharesMax+2)
	page(told).shares(make([]wasm.ShareStats, SharesMax+3))
	if n := len(told); n != 2*SharesMax+1 {
		t.Errorf("%d metrics", n)
	}
	var left dto.Metric
	if err := (<-told).Write(&left); err != nil || left.GetGauge().GetValue() != 3 || left.GetLabel()[0].GetValue() != "shares" {
		t.Errorf("left out: %v, %v", &left, err)
	}
}

// A pedantic registry holds each series to what was described.
func TestWhatIsToldIsWhatWasDescribed(t *testing.T) {
	all := prometheus.NewPedanticRegistry()
	if err := all.Register(NewCollector(rooms(t))); err != nil {
		t.Fatal(err)
	}
	if _, err := all.Gather(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsLoadedTwiceIsOneSeries(t *testing.T) {
	one := func() wasm.ModuleStats {
		return wasm.ModuleStats{Digest: "a", Owner: "default/shop:1.0.0", Calls: 2, Traps: 1, Live: 3, Idle: 1, Bytes: 64, Limits: map[wasm.Limit]int64{wasm.LimitFuel: 1}}
	}
	all := merged([]wasm.ModuleStats{one(), one(), {Digest: "a", Owner: "tenant/shop:1.0.0"}, {Digest: "b"}})
	if len(all) != 3 || all[0].Calls != 4 || all[0].Traps != 2 || all[0].Live != 6 || all[0].Idle != 2 || all[0].Bytes != 128 || all[0].Limits[wasm.LimitFuel] != 2 {
		t.Errorf("%+v", all)
	}
}
