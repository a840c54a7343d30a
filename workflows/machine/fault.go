package machine

import (
	"strings"
	"unicode/utf8"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

// Fault is an error of a workflow, as RFC 7807 has it.
type Fault struct {
	Type     string `json:"type"`
	Status   int    `json:"status"`
	Title    string `json:"title,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance,omitempty"` // JSON Pointer of the task
}

// DetailMax bounds Fault.Detail, in bytes.
const DetailMax = 4096

// FaultOf is the standard error that err becomes in a workflow. The machine
// fills the instance in.
func FaultOf(err error) *Fault {
	code := weft.CodeOf(err)
	errorType, status := workflows.StandardError(code)
	return &Fault{Type: errorType, Status: status, Title: title(code), Detail: clipped(err.Error())}
}

// title is the code in words, such as "Invalid argument".
func title(code weft.Code) string {
	s := strings.ReplaceAll(code.String(), "_", " ")
	return strings.ToUpper(s[:1]) + s[1:]
}

func clipped(s string) string {
	if len(s) <= DetailMax {
		return s
	}
	n := DetailMax
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Value is the fault as expressions read it.
func (f *Fault) Value() map[string]any {
	v := map[string]any{"type": f.Type, "status": f.Status, "instance": f.Instance}
	if f.Title != "" {
		v["title"] = f.Title
	}
	if f.Detail != "" {
		v["detail"] = f.Detail
	}
	return v
}

// matches reports whether f has all the properties of a catch's filter.
func (f *Fault) matches(with map[string]any) bool {
	for key, want := range with {
		var got any
		switch key {
		case "type":
			got = workflows.NormalErrorType(f.Type)
		case "status":
			got = f.Status
		case "title":
			got = f.Title
		case "detail":
			got = f.Detail
		case "instance":
			got = f.Instance
		}
		if !workflows.Equal(want, got) {
			return false
		}
	}
	return true
}
