package host

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weftrun/weft/host/rpc"
)

func TestAPanicInAPlainCallIsInternalAndLogged(t *testing.T) {
	var log bytes.Buffer
	h := &Host{drain: context.Background(), edge: rpc.Edge{Log: slog.New(slog.NewTextHandler(&log, nil)), Drain: context.Background()}}
	w := httptest.NewRecorder()
	h.plain(func(http.ResponseWriter, *http.Request) { panic("the roof is on fire") }).ServeHTTP(w, httptest.NewRequest("POST", "/handlers/x", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"code":"internal"`) || strings.Contains(w.Body.String(), "roof") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := strings.Count(log.String(), "the roof is on fire"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}
