package machine

import (
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

// Command is something that the run wants done. A call is answered by an
// entry Finished or Failed with its Step; an Emit is done when the entry that
// caused it is committed, and has no answer.
type Command struct {
	Kind     CommandKind
	Step     uint32 // unique in the run
	Attempt  uint32 // which try of the enclosing try it is, from 1
	Pointer  string // of the task
	Name     string // of the task
	Handler  weft.Ref
	Input    []byte // JSON, for CallHandler, RunWorkflow and RunScript
	HTTP     *HTTPRequest
	Event    *weft.Event
	Run      *workflows.Run
	Script   *workflows.Script
	At       int64         // unix microseconds at which it was given
	Deadline int64         // unix microseconds of the earliest enclosing timeout; 0 for none
	ParkMax  time.Duration // how long the call may stay parked
}

// CommandKind is what a Command asks for.
type CommandKind uint8

// The kinds of commands.
const (
	CallHandler CommandKind = iota + 1
	CallHTTP
	Emit
	RunWorkflow // answered when that run has ended, or has begun if it is detached
	RunScript   // answered with a ScriptResult, as JSON
)

// HTTPRequest is a plain HTTP call.
type HTTPRequest struct {
	Method     string
	URL        string // absolute
	Headers    map[string]string
	Body       []byte
	NoRedirect bool
	Auth       *Credentials // may be nil
	OpenAPI    *OpenAPICall // not nil: the request fetches the document of this call
	GRPC       *GRPCCall    // the same of gRPC
}

// Credentials say who calls. They are added when the request is made, and are
// no part of what a workflow sees of it.
type Credentials struct {
	Scheme       workflows.AuthScheme
	User, Secret string
	Token        *TokenRequest // of oauth2 and oidc
}

// TokenRequest asks for the token that a call needs. The fields are those of
// workflows.OAuth.
type TokenRequest struct {
	Use                        string // the mark of the secret that says the rest, or empty
	OIDC                       bool   // of Use
	TokenURL, Discovery        string
	Grant, Method              string
	ID, Secret, Assertion      string
	User, Password             string
	Scopes, Audiences, Issuers []string
	JSON                       bool
}

// GRPCCall is the call of a method of a gRPC service.
type GRPCCall struct {
	Address, Service, Method string
	Arguments                []byte       // JSON
	Auth                     *Credentials // may be nil
}

// Name is the call as people read it.
func (c *GRPCCall) Name() string { return "grpc " + c.Service + "/" + c.Method }

// OpenAPICall is the call of an operation that a document describes.
type OpenAPICall struct {
	Operation  string
	Parameters map[string]any
	Auth       *Credentials // may be nil
}

// Effects is what one entry leads to.
type Effects struct {
	Commands []Command
	// Accepted is false when the entry came too late or nobody wants it: the
	// step was cancelled, the run is over, no listen takes the event. What
	// came with it must be dropped.
	Accepted bool
	// Cut are the RunWorkflow commands that the run has given up: what they
	// started and nobody waits for is to be cancelled.
	Cut []Command
	// Life are the transitions that Follow asks for, in order.
	Life []Transition
	// More says that the run goes on at once with an entry Continued.
	More bool
}

// Status is the state of a run.
type Status uint8

// A run ends in one of the last three.
const (
	Running Status = iota
	StatusPaused
	Completed
	Faulted
	StatusCancelled
)

var statusNames = [...]string{"running", "paused", "completed", "faulted", "cancelled"}

// String is the status as people read it.
func (s Status) String() string { return statusNames[s] }

// Ended reports whether the run is over.
func (s Status) Ended() bool { return s >= Completed }
