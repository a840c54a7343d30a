// Package peer keeps a program registered with weft, so that handlers and
// workflows find it by its service name:
//
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	err := peer.Keep(ctx, peer.Options{
//		Server:  "http://127.0.0.1:8787",
//		Service: "payments",
//		URL:     "http://127.0.0.1:9090",
//	})
//	server.Shutdown(context.Background()) // no call comes any more
package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"
)

// Options says what to register, and where.
type Options struct {
	Server  string // base URL of weft
	Service string // the name that others call
	URL     string // base URL at which weft reaches this program

	Namespace string        // default "default"
	Instance  string        // default: service, host name and chance; two programs must not share one
	Zone      string        // optional; calls prefer instances of their own zone
	Weight    int           // its share of calls, 1 to 1000; default 100
	Health    string        // optional; what weft asks every 5 seconds: a path such as /healthz, grpc or grpc:SERVICE
	TTL       time.Duration // default 15 s; weft forgets the instance so long after its last heartbeat
	Linger    time.Duration // default 200 ms; at the end, for calls that are on their way when weft makes no more

	RetryMin time.Duration // default 200 ms; wait after the first failure, doubled at each further one
	RetryMax time.Duration // default a third of TTL
	Timeout  time.Duration // default 3 s; of one request to weft

	HTTP *http.Client // default: one of its own
	Log  *slog.Logger // default: none
}

func (o Options) withDefaults() (Options, error) {
	if o.Server == "" || o.Service == "" || o.URL == "" {
		return o, errors.New("peer: Server, Service and URL must be set")
	}
	o.Server = strings.TrimSuffix(o.Server, "/")
	setDefault(&o.Namespace, "default")
	setDefault(&o.Instance, o.Service+"-"+hostname()+"-"+chance())
	setDefault(&o.TTL, 15*time.Second)
	setDefault(&o.Linger, 200*time.Millisecond)
	setDefault(&o.RetryMin, 200*time.Millisecond)
	setDefault(&o.RetryMax, o.TTL/3)
	setDefault(&o.Timeout, 3*time.Second)
	setDefault(&o.HTTP, &http.Client{})
	setDefault(&o.Log, slog.New(slog.DiscardHandler))
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

func chance() string {
	var b [4]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Keep registers the program and keeps it registered until ctx ends. Then it has
// weft make no new calls, waits for those on their way to arrive, and takes the
// registration back: the program may end when the calls in progress have. It
// returns nil then, and an error only when Options are not usable: whatever weft
// does meanwhile (it is away, it restarts, it has forgotten the lease) Keep goes
// on trying.
func Keep(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	k := keeper{Options: o}
	defer k.leave(ctx)
	for ctx.Err() == nil {
		sleep(ctx, k.beat(ctx))
	}
	return nil
}

// keeper is a lease and what became of it.
type keeper struct {
	Options
	epoch    int64 // zero while there is no lease
	interval time.Duration
	failures int
}

// beat registers or sends a heartbeat, whichever is due, and returns how long
// to wait for the next.
func (k *keeper) beat(ctx context.Context) time.Duration {
	err := k.renew(ctx)
	if err == nil {
		k.failures = 0
		return k.interval - mathrand.N(k.interval/10+1) // many that began together do not stay together
	}
	if ctx.Err() != nil {
		return 0
	}
	k.failures++
	wait := k.backoff()
	var answer *refusal
	if errors.As(err, &answer) && answer.gone() && k.epoch != 0 {
		k.epoch = 0
		wait = 0
	}
	k.Log.Warn("lease not renewed", "service", k.Service, "error", err, "retry_in", wait)
	return wait
}

func (k *keeper) renew(ctx context.Context) error {
	if k.epoch != 0 {
		return k.call(ctx, "Heartbeat", k.name(), nil)
	}
	return k.register(ctx)
}

func (k *keeper) register(ctx context.Context) error {
	request := k.name()
	request.URL, request.Zone, request.TTL = k.URL, k.Zone, seconds(k.TTL)
	request.Weight, request.Health = k.Weight, k.Health
	var answer struct {
		Epoch    int64  `json:"epoch,string"`
		Interval string `json:"heartbeatInterval"`
	}
	ctx = context.WithoutCancel(ctx) // who has registered without knowing it cannot take it back
	if err := k.call(ctx, "Register", request, &answer); err != nil {
		return err
	}
	if answer.Epoch == 0 {
		return errors.New("weft answered Register without an epoch")
	}
	interval, err := time.ParseDuration(answer.Interval)
	if err != nil || interval <= 0 || interval >= k.TTL {
		interval = k.TTL / 3
	}
	k.epoch, k.interval = answer.Epoch, interval
	k.Log.Info("registered", "service", k.Service, "instance", k.Instance, "url", k.URL, "epoch", k.epoch)
	return nil
}

// leave ends the calls that come, and takes the registration back, if there is one.
func (k *keeper) leave(ctx context.Context) {
	if k.epoch == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	err := k.call(ctx, "Drain", k.name(), nil)
	if err == nil {
		time.Sleep(k.Linger)
		err = k.call(ctx, "Deregister", k.name(), nil)
	}
	if err != nil {
		k.Log.Warn("lease not given back; it ends by itself", "service", k.Service, "error", err, "ttl", k.TTL)
		return
	}
	k.Log.Info("deregistered", "service", k.Service, "instance", k.Instance)
}

// backoff is the wait after k.failures failures in a row, with full jitter over
// its upper half.
func (k *keeper) backoff() time.Duration {
	wait := k.RetryMin << min(k.failures-1, 16)
	if wait <= 0 || wait > k.RetryMax {
		wait = k.RetryMax
	}
	return wait/2 + mathrand.N(wait/2+1)
}

// wire is every request of the RegistryService that a lease needs.
type wire struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	Instance  string `json:"instance"`
	Epoch     int64  `json:"epoch,string,omitempty"`
	URL       string `json:"url,omitempty"`
	Zone      string `json:"zone,omitempty"`
	TTL       string `json:"ttl,omitempty"`
	Weight    int    `json:"weight,omitempty"`
	Health    string `json:"health,omitempty"`
}

func (k *keeper) name() wire {
	return wire{Namespace: k.Namespace, Service: k.Service, Instance: k.Instance, Epoch: k.epoch}
}

// seconds is d as JSON has a duration.
func seconds(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }

// call makes one unary Connect call in JSON.
func (k *keeper) call(ctx context.Context, method string, request, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.Server+"/weft.v1.RegistryService/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Connect-Protocol-Version", "1")
	res, err := k.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return refused(method, res.StatusCode, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// refusal is an error that weft answered with.
type refusal struct {
	method, code, message string
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: %s: %s", r.method, r.code, r.message) }

// gone reports whether weft no longer knows the lease, or gave it to another.
func (r *refusal) gone() bool {
	switch r.code {
	case "not_found", "failed_precondition", "aborted":
		return true
	}
	return false
}

func refused(method string, status int, body []byte) error {
	var answer struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Code == "" {
		answer.Code, answer.Message = "unknown", http.StatusText(status)
	}
	return &refusal{method: method, code: answer.Code, message: answer.Message}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
