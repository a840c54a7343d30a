package services_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft/host/rpc"
	"github.com/weftrun/weft/host/services"
)

func TestHealthKnowsWhatIsLive(t *testing.T) {
	set := services.New(services.Options{})
	server := connect.NewServer(rpc.Edge{Log: slog.New(slog.DiscardHandler), Drain: t.Context()}.Intercept)
	rpc.Register(server, rpc.Rooms{Ready: func() error { return nil }, Drain: t.Context(), Live: set.Serves})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server, rpc.MountOptions()...)
	host := httptest.NewServer(mux)
	defer host.Close()
	check := func(namespace string, want int) {
		t.Helper()
		if status, answer := post(t, host.URL+"/grpc.health.v1.Health/Check", `{"service":"orders.v1.OrderService"}`, "Weft-Namespace", namespace); status != want {
			t.Errorf("namespace %q: got %d %s, want %d", namespace, status, answer, want)
		}
	}
	check("", 404)
	add(t, set, ordersModule(t, "1"))
	check("", 200)
	check("other", 404)
	keep(t, set)(t.Context())
	check("", 404)
}
