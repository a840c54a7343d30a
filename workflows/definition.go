// Package workflows is the language: a strict profile of the Open Workflow
// DSL 1.0.3, in which only what runs is accepted. A Definition is made by
// Parse alone, and nobody changes it afterwards.
package workflows

import (
	"time"

	"github.com/weftrun/weft"
)

// ParkDefault is how long a call may stay parked where metadata.weft.park
// says nothing.
const ParkDefault = 24 * time.Hour

// Definition is one workflow, checked and ready to run. It is safe for use by
// several goroutines.
type Definition struct {
	file                     string
	source                   []byte
	namespace, name, version string
	title                    string
	document                 map[string]any
	tasks                    []*Task
	do                       []*Task
	input, output            *Template
	inputSchema              *Schema
	outputSchema             *Schema
	timeout                  *Duration
	parkMax                  time.Duration
	handlers                 []handlerUse
	workflows                []WorkflowUse
	scripts                  []ScriptUse
	triggers                 []EventFilter
	schedules                []Schedule
	read                     Read
	listens                  []string
	filters                  []EventFilter
	secrets                  []string
	resources                map[string]string
	missing                  []Resource
}

// HandlerUse is one call of a handler in a definition.
type HandlerUse struct {
	Ref          weft.Ref
	File         string // the definition's, or the URI of the resource that it stands in
	Line, Column int    // of the reference
	Pointer      string // of the task
}

// WorkflowUse is one run of another workflow in a definition.
type WorkflowUse struct {
	Ref          WorkflowRef
	File         string // the definition's, or the URI of the resource that it stands in
	Line, Column int    // of run.workflow
}

// ID is what document names the workflow. The namespace is the language's
// grouping of workflows, not the tenant's.
func (d *Definition) ID() (namespace, name, version string) { return d.namespace, d.name, d.version }

// Title is document.title, or the name.
func (d *Definition) Title() string {
	if d.title != "" {
		return d.title
	}
	return d.name
}

// File is the name that Parse was given.
func (d *Definition) File() string { return d.file }

// Source is the text that was parsed.
func (d *Definition) Source() []byte { return d.source }

// Document is the whole definition as a value, for $workflow.definition.
func (d *Definition) Document() map[string]any { return d.document }

// Tasks lists every task, each at its Index.
func (d *Definition) Tasks() []*Task { return d.tasks }

// Do is the main list of tasks.
func (d *Definition) Do() []*Task { return d.do }

// Input is input.from of the workflow, or nil.
func (d *Definition) Input() *Template { return d.input }

// Output is output.as of the workflow, or nil.
func (d *Definition) Output() *Template { return d.output }

// InputSchema is input.schema of the workflow, for what a run is given; or nil.
func (d *Definition) InputSchema() *Schema { return d.inputSchema }

// OutputSchema is output.schema of the workflow, for what a run gives; or nil.
func (d *Definition) OutputSchema() *Schema { return d.outputSchema }

// Timeout bounds a run, or is nil.
func (d *Definition) Timeout() *Duration { return d.timeout }

// ParkMax is how long a call may stay parked where its task says nothing.
func (d *Definition) ParkMax() time.Duration { return d.parkMax }

// Handlers lists the handlers that the workflow calls, in order of position.
func (d *Definition) Handlers() []HandlerUse {
	uses := make([]HandlerUse, len(d.handlers))
	for i, h := range d.handlers {
		uses[i] = h.HandlerUse
	}
	return uses
}

// Workflows lists the workflows that this one runs, in order of position.
func (d *Definition) Workflows() []WorkflowUse { return d.workflows }

// Triggers lists the events that start the workflow: any one of them does.
func (d *Definition) Triggers() []EventFilter { return d.triggers }

// TriggerInput is the input of a run that e starts: a list of that one event,
// read as schedule.read says.
func (d *Definition) TriggerInput(e weft.Event) ([]byte, error) {
	v, err := EventValue(e, d.read)
	if err != nil {
		return nil, err
	}
	return AppendJSON(nil, []any{v}), nil
}

// Listens lists the event types that some listen may take, where "" is any
// type. It is nil when the workflow never listens.
func (d *Definition) Listens() []string { return d.listens }

// Filters lists the filters of every listen.
func (d *Definition) Filters() []EventFilter { return d.filters }
