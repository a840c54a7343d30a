// Package weft holds the words that every room of the house shares: events,
// handler references, calls and their results, requests to the outside, what
// a module asks for, and the one error type. It imports nothing of the house.
package weft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Event is a CloudEvent (v1.0). ID and Source together are unique.
type Event struct {
	ID              string
	Source          string // URI reference of the producer
	Type            string // such as shop.order.placed
	Subject         string
	Time            time.Time
	DataContentType string
	DataSchema      string
	Data            []byte
	Extensions      map[string]string // canonical string form of each extension attribute
}

// ExtNotBefore is an extension attribute that weft itself reads: the RFC 3339
// time before which the event is not delivered.
const ExtNotBefore = "notbefore"

// ExtPartitionKey is the other one: events of a group with the same partition
// key are handled one after the other, in the order of the log.
const ExtPartitionKey = "partitionkey"

// OwnEvents is how the types of the events begin that weft itself publishes.
const OwnEvents = "weft."

// CheckEventType refuses the types of weft's own events to everybody else.
func CheckEventType(eventType string) error {
	if !strings.HasPrefix(eventType, OwnEvents) {
		return nil
	}
	return Errorf(InvalidArgument, "weft.CheckEventType", "event type %.80q is one of weft itself", eventType).WithHint("choose one that does not begin with %s", OwnEvents)
}

// DefaultNamespace is the namespace of whoever names none.
const DefaultNamespace = "default"

// NamespaceOr is ns, or the default where it is empty.
func NamespaceOr(ns string) string {
	if ns == "" {
		return DefaultNamespace
	}
	return ns
}

var namespaceForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CheckNamespace refuses what is no namespace; empty passes, as it means the
// default.
func CheckNamespace(ns string) error {
	if ns == "" || namespaceForm.MatchString(ns) {
		return nil
	}
	return Errorf(InvalidArgument, "weft.CheckNamespace", "%.80q is not a namespace", ns).WithHint("it has lower-case letters, digits and dashes, at most 63")
}

// Ref names a handler as a workflow calls it: name:version@catalog. The name of a
// method of a service is package.Service/Method.
type Ref struct {
	Name    string
	Version string // semver, a prefix of one such as "2", or empty for the newest
	Catalog string // "default" where none is written; of a method, else the peer that has it
}

// DefaultCatalog is the catalog that a Ref means when it names none.
const DefaultCatalog = "default"

var refForm = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_-]{0,62})(?::([0-9]+(?:\.[0-9]+){0,2}(?:-[0-9A-Za-z.-]+)?))?(?:@([a-z0-9][a-z0-9-]{0,62}))?$`)

var methodRefForm = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*)(?::([0-9]+(?:\.[0-9]+){0,2}(?:-[0-9A-Za-z.-]+)?))?(?:@([A-Za-z0-9][A-Za-z0-9._-]{0,127}))?$`)

// ParseRef reads "name", "name:version" or "name:version@catalog". A name
// starts with a letter and has at most 63 letters, digits, dashes and
// underscores, or is that of a method as IsProcedure has it. A method of a peer,
// package.Service/Method@peer, has no version.
func ParseRef(s string) (Ref, error) {
	m := refForm.FindStringSubmatch(s)
	if m == nil {
		m = methodRefForm.FindStringSubmatch(s)
	}
	if m == nil || strings.Contains(m[1], "/") && !IsProcedure(m[1]) {
		return Ref{}, Errorf(InvalidArgument, "weft.ParseRef", "%q is not a handler reference: write name:version@default", s)
	}
	r := Ref{Name: m[1], Version: m[2], Catalog: cmp.Or(m[3], DefaultCatalog)}
	if r.Elsewhere() && IsProcedure(r.Name) && r.Version != "" {
		return Ref{}, Errorf(InvalidArgument, "weft.ParseRef", "%q has the version of a module and the name of a peer", s).WithHint("leave the version out: a peer's method has none")
	}
	return r, nil
}

// Elsewhere reports whether r is none of the host's own handlers.
func (r Ref) Elsewhere() bool { return r.Catalog != "" && r.Catalog != DefaultCatalog }

var procedureForm = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]*\.)*[A-Za-z_][A-Za-z0-9_]*/[A-Za-z_][A-Za-z0-9_]*$`)

// IsProcedure reports whether a handler's name is that of a protobuf method, such
// as orders.v1.OrderService/Place, of at most 500 bytes.
func IsProcedure(name string) bool { return len(name) <= 500 && procedureForm.MatchString(name) }

// String is the canonical form, which ParseRef reads back.
func (r Ref) String() string {
	s := r.Name
	if r.Version != "" {
		s += ":" + r.Version
	}
	if r.Catalog != "" {
		s += "@" + r.Catalog
	}
	return s
}

// Call is one call of a handler from inside the house.
type Call struct {
	Namespace string
	Handler   Ref
	Input     []byte
	Into      []byte // room for the output, if it fits
	Headers   Header
	HeadersOf func() Header // makes Headers for a handler that looks at them; nil where they are made
	Key       string        // by which the outside knows a second try; default the header idempotency-key
}

// Result is what a handler answered. What it wrote and published is committed
// by then. Beside an error that the handler itself has answered with, Headers and
// Trailers are those that it has set, and Output is empty.
type Result struct {
	Output   []byte
	Headers  Header
	Trailers Header
}

// Header is the headers or the trailers of a call or of its answer: lower-case
// names, each with its values in order.
type Header map[string][]string

// What a call has to say of itself is in its headers, under names that nobody can
// send.
const (
	HeaderProcedure = ":procedure" // what was called, such as /orders.v1.Orders/Place
	HeaderQuery     = ":query"     // of the URL, where there is one
	HeaderTimeout   = ":timeout"   // milliseconds that the caller gave, where it gave any
)

// HeaderDepth tells a peer how many calls of handlers and runs its call is inside of.
const HeaderDepth = "weft-depth"

// Get is the values of a name as one, as RFC 9110 joins them.
func (h Header) Get(name string) string { return strings.Join(h[name], ", ") }

// Set makes value the only one of its name.
func (h Header) Set(name, value string) { h[name] = []string{value} }

// IsJSON reports whether the body of a call is JSON and not protobuf: it begins
// with { or [, as protobuf does only where its first field is a group with the number
// 15 or 11.
func IsJSON(body []byte) bool { return len(body) > 0 && (body[0] == '{' || body[0] == '[') }

// Request is one call to the outside. It goes through the gate, whoever makes it.
type Request struct {
	Namespace string
	Caller    string  // who asks, for logs and errors: module@version or workflow/step
	Grants    *Grants // what the caller may reach; nil for a workflow, which its author answers for

	Peer      string // a registered service; empty for a plain HTTP request
	Procedure string // path on the peer, such as /payments.v1.Payments/Charge

	Method string // plain HTTP only; GET, POST ...
	URL    string // plain HTTP only; absolute

	Headers        map[string]string
	Body           []byte
	Depth          int    // calls of handlers and runs that this one is inside of
	IdempotencyKey string // same key, same call: the gate may send it again
	NoRedirect     bool   // plain HTTP only: hand redirects back
	GRPC           bool   // with a URL: Body is a message of gRPC, and so is the body of the answer
}

// Names are those by which a grant lets r through to its peer: the peer's own, and
// with it what is called, as SplitProcedure takes it.
func (r Request) Names() [2]string {
	if whole := strings.TrimPrefix(r.Procedure, "/"); strings.HasPrefix(whole, r.Peer+"/") {
		return [2]string{r.Peer, whole}
	}
	return [2]string{r.Peer, r.Peer + r.Procedure}
}

// Target is the name of whom a request goes to, as breakers and parked runs
// know it: the peer, or scheme://host:port of a plain HTTP request. It is empty
// where the URL is no http or https address.
func (r Request) Target() string {
	if r.Peer != "" {
		return r.Peer
	}
	u, err := url.Parse(r.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return ""
	}
	host := strings.ToLower(u.Host)
	if u.Port() == "" {
		host = strings.TrimSuffix(host, ":") + map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	}
	return u.Scheme + "://" + host
}

// Response is the answer to a Request. For a peer, Status is 200; other
// statuses have become an Error.
type Response struct {
	Status  int
	Headers map[string]string // lower-case names
	Body    []byte
}

// SplitProcedure splits the procedure that a guest names into peer and path.
// "payments/payments.v1.Payments/Charge" is path /payments.v1.Payments/Charge
// on peer payments. With a single slash the first part is both: the call
// "orders.v1.Orders/Place" goes to peer orders.v1.Orders at that same path,
// as Connect procedures are written.
func SplitProcedure(procedure string) (peer, path string, err error) {
	p := strings.TrimPrefix(procedure, "/")
	peer, rest, ok := strings.Cut(p, "/")
	if !ok || peer == "" || rest == "" {
		return "", "", Errorf(InvalidArgument, "weft.SplitProcedure", "%q names no procedure: write peer/path or package.Service/Method", procedure)
	}
	if !strings.Contains(rest, "/") {
		return peer, "/" + p, nil
	}
	return peer, "/" + rest, nil
}

// Manifest is what a module says of itself, as JSON in its custom section
// weft.manifest or in a file beside it.
type Manifest struct {
	Name          string            `json:"name,omitempty"`
	Version       string            `json:"version,omitempty"` // semver
	Description   string            `json:"description,omitempty"`
	Handlers      []HandlerSpec     `json:"handlers,omitempty"`
	Subscriptions []Subscription    `json:"subscriptions,omitempty"`
	Bind          []Binding         `json:"bind,omitempty"`
	Grants        Grants            `json:"grants,omitzero"`
	Limits        Limits            `json:"limits,omitzero"`
	Lifecycle     Lifecycle         `json:"lifecycle,omitempty"` // default pool
	Isolation     Isolation         `json:"isolation,omitempty"` // Process, for more than the operator demands
	Config        map[string]string `json:"config,omitempty"`    // default values of config keys
}

// Lifecycle says what one call of a module leaves for the next.
type Lifecycle string

const (
	Pool    Lifecycle = "pool"    // instances are used again as they are: a guest sees what it kept in its own memory
	Isolate Lifecycle = "isolate" // each call begins as the first did: nothing of one is seen in the next
)

// Check refuses what is none; empty passes, as it means the default.
func (l Lifecycle) Check(op string) error {
	if l == "" || l == Pool || l == Isolate {
		return nil
	}
	return Errorf(InvalidArgument, op, "lifecycle is %.80q", string(l)).WithHint("write pool or isolate")
}

// Isolation is where the code of a module runs.
type Isolation string

// The isolations, from the fastest to the safest.
const (
	Inline  Isolation = "inline"  // in the host's process, metered and limited
	Process Isolation = "process" // so too, in worker processes that reach nothing but the host
)

// Check refuses what is none; empty passes, as it means the default.
func (i Isolation) Check(op string) error {
	if i == "" || i == Inline || i == Process {
		return nil
	}
	return Errorf(InvalidArgument, op, "isolation is %.80q", string(i)).WithHint("write inline or process")
}

// HandlerSpec describes one handler of a module.
type HandlerSpec struct {
	Name        string         `json:"name"`
	Export      string         `json:"export,omitempty"` // Wasm export; Name where empty
	Description string         `json:"description,omitempty"`
	Input       map[string]any `json:"input,omitempty"`  // JSON Schema
	Output      map[string]any `json:"output,omitempty"` // JSON Schema
}

// Subscription asks that events reach a handler: those of Type (a trailing *
// matches any rest) whose attributes equal those of Match.
type Subscription struct {
	Handler string            `json:"handler"`
	Type    string            `json:"type"`
	Match   map[string]string `json:"match,omitempty"`
}

// Matches reports whether e is one that s asks for.
func (s Subscription) Matches(e Event) bool {
	if !Allows([]string{s.Type}, e.Type) {
		return false
	}
	for name, want := range s.Match {
		if got, ok := e.Attribute(name); !ok || got != want {
			return false
		}
	}
	return true
}

// Attribute is the context attribute or extension of that name.
func (e Event) Attribute(name string) (string, bool) {
	switch name {
	case "id":
		return e.ID, true
	case "source":
		return e.Source, true
	case "type":
		return e.Type, true
	case "subject":
		return e.Subject, e.Subject != ""
	case "datacontenttype":
		return e.DataContentType, e.DataContentType != ""
	case "dataschema":
		return e.DataSchema, e.DataSchema != ""
	case "time":
		return e.Time.Format(time.RFC3339Nano), !e.Time.IsZero()
	case "specversion":
		return "1.0", true
	}
	v, ok := e.Extensions[name]
	return v, ok
}

// SetAttribute is the inverse of Attribute; specversion is passed over. The one
// error is a time that is not RFC 3339.
func (e *Event) SetAttribute(name, value string) (err error) {
	switch name {
	case "specversion":
	case "id":
		e.ID = value
	case "source":
		e.Source = value
	case "type":
		e.Type = value
	case "subject":
		e.Subject = value
	case "datacontenttype":
		e.DataContentType = value
	case "dataschema":
		e.DataSchema = value
	case "time":
		e.Time, err = time.Parse(time.RFC3339Nano, value)
	default:
		if e.Extensions == nil {
			e.Extensions = map[string]string{}
		}
		e.Extensions[name] = value
	}
	return err
}

// Binding has calls of a method of the module's services answered by runs of a
// workflow, and not by a handler; or those of a path without a method.
type Binding struct {
	Method   string      `json:"method,omitempty"` // orders.v1.OrderService/Place
	Route    string      `json:"route,omitempty"`  // POST /v1/checkout/{id}, instead of a method
	Workflow string      `json:"workflow"`         // name or space/name, with :version or for the newest at upload
	Mode     BindingMode `json:"mode,omitempty"`   // default wait
	Pinned   string      `json:"pinned,omitempty"` // space/name:version: what the host has found
}

// Of is the method or the route.
func (b Binding) Of() string { return b.Method + b.Route }

// BindingMode says what a call waits for.
type BindingMode string

const (
	BindWait  BindingMode = "wait"  // the run: its output is the answer, unless the caller asks not to wait
	BindAsync BindingMode = "async" // that the run is durable: its id is the answer
)

// Grants is what a module may reach. An entry matches whole, or as a prefix
// when it ends in *. An empty list allows nothing.
type Grants struct {
	Peers   []string `json:"peers,omitempty"`   // services in the registry
	HTTP    []string `json:"http,omitempty"`    // host:port of plain HTTP calls
	Events  []string `json:"events,omitempty"`  // event types to publish
	State   []string `json:"state,omitempty"`   // state keys
	Config  []string `json:"config,omitempty"`  // config keys
	Secrets []string `json:"secrets,omitempty"` // secret names
}

// Allows reports whether one of the patterns matches name.
func Allows(patterns []string, name string) bool {
	for _, p := range patterns {
		if prefix, ok := strings.CutSuffix(p, "*"); ok && strings.HasPrefix(name, prefix) || p == name {
			return true
		}
	}
	return false
}

// Limits bounds the calls of a module. A zero field means the host's default.
// What is asked for beyond what the host allows is refused at upload; should the
// host allow less later, it is lowered.
type Limits struct {
	MemoryMiB      int   `json:"memoryMiB,omitempty"`      // default 64
	Table          int   `json:"table,omitempty"`          // elements of each table; default 65,536
	TimeoutMS      int64 `json:"timeoutMs,omitempty"`      // wall clock, outbound calls included; default 30,000
	Fuel           int64 `json:"fuel,omitempty"`           // instructions, as the meter counts them; default 2,000,000,000
	OutputBytes    int   `json:"outputBytes,omitempty"`    // default 1 MiB
	LogBytes       int   `json:"logBytes,omitempty"`       // of one call; default 64 KiB
	LogMinuteBytes int   `json:"logMinuteBytes,omitempty"` // of all calls of the module in a minute; default 1 MiB
	HostCalls      int   `json:"hostCalls,omitempty"`      // default 1,000
	Concurrency    int   `json:"concurrency,omitempty"`    // calls at once; default 32
	Queue          int   `json:"queue,omitempty"`          // calls that wait for one of those to end; default 10,000
}

// Code classifies an Error. The numbers are those of Connect and gRPC, and of
// the guest ABI.
type Code uint32

// The codes of Connect, https://connectrpc.com/docs/protocol#error-codes.
const (
	OK Code = iota
	Canceled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated
)

var codeNames = [...]string{"ok", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found",
	"already_exists", "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range",
	"unimplemented", "internal", "unavailable", "data_loss", "unauthenticated"}

// String is the code as the Connect protocol writes it.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "code_" + strconv.Itoa(int(c))
}

var httpStatuses = [...]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}

// Unwell reports whether an error of that code says that the callee is not well,
// so that another attempt could help. What an application answers does not.
func (c Code) Unwell() bool {
	switch c {
	case Unavailable, DeadlineExceeded, Internal, Unknown, DataLoss:
		return true
	}
	return false
}

// HTTPStatus is the status of an HTTP answer with this code, by the table of
// the Connect protocol.
func (c Code) HTTPStatus() int {
	if int(c) < len(httpStatuses) {
		return httpStatuses[c]
	}
	return 500
}

// ParseCode is the inverse of String; an unknown name is Unknown.
func ParseCode(name string) Code {
	for c, n := range codeNames {
		if n == name {
			return Code(c)
		}
	}
	return Unknown
}

// Error is the one error type: Code is for programs, Op says where, Err says
// what happened, Hint says what to do next (may be empty).
type Error struct {
	Code Code
	Op   string // such as peers.Gate.Do
	Err  error
	Hint string

	Details []Detail // what a handler says of its error to programs
}

// Detail is a protobuf message that belongs to an error.
type Detail struct {
	Type  string // its full name, such as google.rpc.RetryInfo
	Value []byte // encoded
}

// Error is the text without Op, which is for logs.
func (e *Error) Error() string {
	s := e.Code.String()
	if e.Err != nil {
		s = e.Err.Error()
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error; the format's %w works as in fmt.Errorf.
func Errorf(code Code, op, format string, args ...any) *Error {
	return &Error{Code: code, Op: op, Err: fmt.Errorf(format, args...)}
}

// WithHint returns e with what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	f := *e
	f.Hint = fmt.Sprintf(format, args...)
	return &f
}

// DetailsOf are the details of the outermost Error in err's chain.
func DetailsOf(err error) []Detail {
	var e *Error
	if !errors.As(err, &e) {
		return nil
	}
	return e.Details
}

// CodeOf is the code of the outermost Error in err's chain: OK for nil,
// Canceled and DeadlineExceeded for a context's errors, else Unknown.
func CodeOf(err error) Code {
	if err == nil {
		return OK // before what errors.As puts on the heap
	}
	var e *Error
	var o *OpenError
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.As(err, &o):
		return Unavailable
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	}
	return Unknown
}

// OpenError says that a call was not sent, or that its failure left nowhere
// to send it: the breaker is open or no instance lives. A durable step that
// meets it is parked and burns no attempt.
type OpenError struct {
	Namespace string
	Peer      string    // service, or scheme://host:port of a plain HTTP call
	Until     time.Time // when to try again; zero when only a change of the registry, or a person, helps
	Reason    string    // such as "5 failures: connection refused"
}

func (e *OpenError) Error() string {
	if e.Until.IsZero() {
		return fmt.Sprintf("peer %s takes no calls (%s)", e.Peer, e.Reason)
	}
	return fmt.Sprintf("peer %s is open until %s (%s)", e.Peer, e.Until.Format(time.TimeOnly), e.Reason)
}
