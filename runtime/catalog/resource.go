package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
)

// fetchTime is how long all that one workflow has elsewhere may take to come.
const fetchTime = 20 * time.Second

// complete is def with what it has elsewhere, and what that has elsewhere. What
// cannot be had is workflows.Problems.
func (c *Catalog) complete(ctx context.Context, ns string, def *workflows.Definition) (*workflows.Definition, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	texts, room := map[string]string{}, workflows.ResourceMax
	for len(def.Missing()) > 0 {
		var problems workflows.Problems
		for _, r := range def.Missing() {
			text, err := c.fetch(ctx, ns, def, r)
			if room -= len(text); err == nil && room < 0 {
				err = fmt.Errorf("is too much: what a workflow has elsewhere may have %d bytes in all", workflows.ResourceMax)
			}
			if err != nil {
				problems = append(problems, problem(r, err))
				continue
			}
			texts[r.URI] = text
		}
		if problems != nil {
			return nil, problems
		}
		var err error
		if def, err = workflows.ParseWith(def.File(), def.Source(), texts); err != nil {
			return nil, err
		}
	}
	return def, nil
}

func problem(r workflows.Resource, err error) workflows.Problem {
	hint := ""
	var e *weft.Error
	if errors.As(err, &e) && e.Err != nil {
		hint, err = e.Hint, e.Err
	}
	return r.Problem(err.Error(), hint)
}

// fetch asks for one text. Its error goes on where the address ends.
func (c *Catalog) fetch(ctx context.Context, ns string, def *workflows.Definition, r workflows.Resource) (string, error) {
	const op = "catalog.Catalog.fetch"
	if c.out == nil {
		return "", weft.Errorf(weft.Unimplemented, op, "cannot be fetched: this host fetches nothing")
	}
	space, name, _ := def.ID()
	q := weft.Request{Namespace: ns, Caller: space + "/" + name, Method: http.MethodGet, URL: r.URI, Headers: map[string]string{}}
	if r.Authorization != "" {
		q.Headers["authorization"] = r.Authorization
	}
	res, err := c.out.Do(ctx, q)
	var e *weft.Error
	switch {
	case errors.As(err, &e) && e.Err != nil:
		return "", weft.Errorf(e.Code, op, "cannot be fetched: %w", e.Err).WithHint("%s", e.Hint)
	case err != nil:
		return "", weft.Errorf(weft.CodeOf(err), op, "cannot be fetched: %w", err)
	case res.Status != http.StatusOK:
		return "", weft.Errorf(weft.FailedPrecondition, op, "was answered with %d", res.Status).WithHint("%s", statusHints[res.Status])
	case !utf8.Valid(res.Body):
		return "", weft.Errorf(weft.InvalidArgument, op, "is not UTF-8").WithHint("save it as UTF-8")
	}
	return string(res.Body), nil
}

// statusHints are what to do about an answer.
var statusHints = map[int]string{
	http.StatusUnauthorized: "write who asks as endpoint: { uri: ..., authentication: { basic: ... } }, or bearer",
	http.StatusForbidden:    "write who asks as endpoint: { uri: ..., authentication: { basic: ... } }, or bearer",
	http.StatusNotFound:     "look at the address: it is taken as it is",
}

// stored reads a definition as it was kept.
func stored(row store.Workflow) (*workflows.Definition, error) {
	var texts map[string]string
	if row.Resources != nil {
		if err := json.Unmarshal(row.Resources, &texts); err != nil {
			return nil, err
		}
	}
	def, err := workflows.ParseWith(row.Name+".yaml", row.Source, texts)
	if err == nil && len(def.Missing()) > 0 {
		err = errors.New(def.Missing()[0].URI + " was not kept with it")
	}
	return def, err
}
