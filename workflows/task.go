package workflows

import (
	"time"

	"github.com/weftrun/weft"
)

// Task is one task of a definition, ready to run. Nobody changes it.
type Task struct {
	Index        int // in Definition.Tasks
	Name         string
	Pointer      string // JSON Pointer into the document, such as /do/0/pay/try/0/charge
	Line, Column int    // of the name
	Kind         Kind
	Definition   any // what stands under the name

	If      *Expr
	Input   *Template // input.from; nil leaves the value as it is, and so below
	Output  *Template // output.as
	Export  *Template // export.as
	Timeout *Duration
	Then    Then

	InputSchema  *Schema // of the input before input.from; may be nil, as those below
	OutputSchema *Schema // of the output after output.as
	ExportSchema *Schema // of $context after export.as

	ParkMax time.Duration // how long a call may stay parked; metadata.weft.park of the task or around it

	Extensions []*Extension // what runs before and after it, at most ExtensionsMax

	Do     []*Task   // of do, for and foreach, the body of try, the branches of fork, and the one of a function
	With   *Template // of a call of a function, what its task begins with; nil: the task's input
	Call   *Call
	HTTP   *HTTP
	Emit   *Emit
	For    *For
	Fork   *Fork
	Listen *Listen
	Raise  *Raise
	Run    *Run
	Script *Script
	Set    *Template
	Switch []Case
	Catch  *Catch // of try
	Wait   *Duration
}

// Kind is what a task does.
type Kind int

// The kinds of tasks.
const (
	KindCall Kind = iota + 1 // a handler
	KindHTTP
	KindDo
	KindEmit
	KindFor
	KindFork
	KindListen
	KindRaise
	KindRun
	KindSet
	KindSwitch
	KindTry
	KindWait
	KindScript
)

var kindWords = [...]string{"", "call", "http", "do", "emit", "for", "fork", "listen", "raise", "run", "set", "switch", "try", "wait", "run"}

// String is the word of the language.
func (k Kind) String() string { return kindWords[k] }

// Then says what comes after a task.
type Then struct {
	Flow Flow
	Next int // of Goto: position in the list that the task stands in
}

// Flow is the kind of a Then.
type Flow int

// Exit leaves the list that the task stands in, End the whole run.
const (
	Continue Flow = iota
	Exit
	End
	Goto
)

// Call is a call of a handler.
type Call struct {
	Handler weft.Ref
	With    *Template // nil: the task's input
}

// Run is a run of another workflow.
type Run struct {
	Workflow WorkflowRef
	Input    *Template // nil: the task's input
	Detached bool      // await is false: the run goes on by itself, and the task's output is its input
}

// WorkflowRef names one version of a workflow, as document does.
type WorkflowRef struct{ Namespace, Name, Version string }

// String is the reference as people read it.
func (r WorkflowRef) String() string { return r.Namespace + "/" + r.Name + ":" + r.Version }

// HTTP is a plain HTTP call.
type HTTP struct {
	Method   string // upper case
	Endpoint Endpoint
	Headers  *Template // these three may be nil
	Query    *Template
	Body     *Template
	Auth     *Auth // may be nil
	Output   HTTPOutput
	Redirect bool // follow redirects, and take a 3xx for success

	// OpenAPI, when not nil, makes it a call of an operation: Endpoint, Method
	// and Auth are those of the document that describes it.
	OpenAPI *OpenAPI

	// GRPC, when not nil, makes it a call of a gRPC service: Endpoint and Auth
	// are those of what describes the service.
	GRPC *GRPC
}

// HTTPOutput is what an HTTP call gives.
type HTTPOutput int

// The outputs of an HTTP call: the decoded body, the body as base64, or all
// of the response.
const (
	OutputContent HTTPOutput = iota
	OutputRaw
	OutputResponse
)

// For runs its tasks once for each element of a list.
type For struct {
	Each, At string
	In       *Template
	While    *Expr // may be nil
}

// Fork runs its branches at the same time.
type Fork struct {
	Compete bool // the first branch that completes ends the fork
}

// Case is one case of a switch; the default has no When.
type Case struct {
	Name string
	When *Expr
	Then Then
}

// Raise is an error to raise. Only Type and Status are never nil.
type Raise struct {
	Type, Status, Title, Detail, Instance *Template
}

// Catch is the error path of a try.
type Catch struct {
	With             map[string]any // property of the error to the value it must have
	As               string
	When, ExceptWhen *Expr
	Retry            *Retry // may be nil
	Do               []*Task
	HasThen          bool
	Then             Then
}

// Retry says whether, when and how often a try starts over.
type Retry struct {
	When, ExceptWhen *Expr
	Delay            *Duration // nil is none, and so below
	Backoff          Backoff
	Count            int       // attempts after the first; RetriesMax where the author names none
	Within           *Duration // since the first attempt began
	Attempt          *Duration // length of one attempt
	JitterFrom       *Duration
	JitterTo         *Duration
}

// Backoff is how the delay grows from one retry to the next.
type Backoff int

// Linear takes n times the delay before retry n, Exponential 2 to the n-1 times.
const (
	BackoffConstant Backoff = iota
	BackoffLinear
	BackoffExponential
)

// Bounds of retries.
const (
	RetriesMax    = 1000           // where limit.attempt.count is not set
	RetryDelayMax = 24 * time.Hour // what a backoff grows to
)

// Emit is an event to publish. The attributes are in order of name.
type Emit struct {
	Attributes []Attribute
	Data       *Template // may be nil
}

// Attribute is one attribute of an event.
type Attribute struct {
	Name  string
	Value *Template
}

// Listen waits for events. Its output is the list of those that it took.
type Listen struct {
	Strategy
	Read Read
	Each *Each // may be nil
}

// Strategy says which events to take, and when it is enough: one that any of
// the filters takes, unless All, Until or Stop say otherwise.
type Strategy struct {
	Filters []EventFilter
	All     bool      // one event for each filter
	Until   *Expr     // events until this holds on the list of them
	Stop    *Strategy // events until those of another strategy have come
}

// Each is what is done with each event that a listen takes, before the next one.
// The tasks are Task.Do.
type Each struct {
	Item, At string
	Output   *Template // what stands in the listen's output for the event; nil for the event
	Export   *Template // may be nil

	OutputSchema, ExportSchema *Schema // of what these give; may be nil
}

// Read says how an event is handed to a workflow.
type Read int

// The forms of an event: its data decoded, all of it, or its data as text.
const (
	ReadData Read = iota
	ReadEnvelope
	ReadRaw
)
