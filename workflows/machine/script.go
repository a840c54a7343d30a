package machine

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/weftrun/weft/workflows"
)

// ScriptInput is what a script is given: the Input of a RunScript, as JSON.
type ScriptInput struct {
	Arguments   []string          `json:"arguments,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
	Stdin       string            `json:"stdin,omitempty"`
}

// ScriptResult is how a script ended by itself: the answer to a RunScript, as JSON.
type ScriptResult struct {
	Code   int    `json:"code"`
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

func (m *Machine) runScript(f *frame) move {
	s, in := f.task.Script, ScriptInput{}
	if s.Stdin != nil {
		v, err := s.Stdin.Eval(f.input, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		in.Stdin = text(v)
	}
	if s.Arguments != nil {
		v, err := s.Arguments.Eval(f.input, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		for _, a := range v.([]any) { // it is written as a list
			in.Arguments = append(in.Arguments, text(a))
		}
	}
	if s.Environment != nil {
		env, err := m.mapping(f, s.Environment, "environment")
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		in.Environment = make(map[string]string, len(env))
		for name, v := range env {
			in.Environment[name] = text(v)
		}
	}
	data, err := json.Marshal(in)
	if err != nil {
		return m.failed(workflows.ExpressionError, err)
	}
	m.issue(f, Command{Kind: RunScript, Script: s, Input: data})
	return move{}
}

// scriptResult is the raw output of a script, or why there is none.
func scriptResult(s *workflows.Script, data []byte) (any, *Fault) {
	var r ScriptResult
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, runtimeFault("the recorded result of the script is damaged: " + err.Error())
	}
	switch s.Return {
	case workflows.ReturnCode:
		return r.Code, nil
	case workflows.ReturnAll:
		return map[string]any{"code": r.Code, "stdout": r.Stdout, "stderr": r.Stderr}, nil
	}
	if r.Code != 0 {
		detail := fmt.Sprintf("the script exited with code %d", r.Code)
		if said := strings.TrimSpace(r.Stderr); said != "" {
			detail += ": " + said
		}
		return nil, runtimeFault(detail)
	}
	switch s.Return {
	case workflows.ReturnStderr:
		return r.Stderr, nil
	case workflows.ReturnNone:
		return nil, nil
	}
	return r.Stdout, nil
}
