package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/workflows"
)

// module is what the handlers of a world belong to: work, which does what its
// input says, and hear, which is given events.
var module = &catalog.Module{Name: "sim", Version: "1.0.0",
	Grants: weft.Grants{Peers: []string{"*"}, HTTP: []string{"*"}, Events: []string{"*"}, State: []string{"*"}}}

// deployed is what is deployed in a world.
type deployed struct {
	w    *world
	all  []text
	defs map[string]*workflows.Definition
}

func deploy(w *world, all []text) *deployed {
	d := &deployed{w: w, all: all, defs: map[string]*workflows.Definition{}}
	for _, t := range all {
		def, err := workflows.Parse(t.name+".yaml", []byte(t.yaml))
		if err == nil {
			def, err = def.Pin(func(workflows.HandlerUse) (weft.Ref, error) { return weft.ParseRef("work:1.0.0") })
		}
		if err != nil {
			panic(fmt.Sprintf("seed %d: the author wrote what does not parse: %v\n%s", w.seed, err, t.yaml))
		}
		d.defs[t.name] = def
	}
	return d
}

func (d *deployed) of(p *process) engine.Catalog { return offer{d, p} }

func (d *deployed) texts() (lines []string) {
	for _, t := range d.all {
		lines = append(lines, t.yaml)
	}
	return lines
}

// offer is the catalog of one process.
type offer struct {
	*deployed
	p *process
}

func (o offer) Handler(_ context.Context, _ string, ref weft.Ref) (catalog.Handler, error) {
	ref.Version, ref.Catalog = module.Version, weft.DefaultCatalog
	return catalog.Handler{Ref: ref, Spec: weft.HandlerSpec{Name: ref.Name}, Module: module, Code: code{o.p}}, nil
}

func (o offer) Workflow(_, name, _ string) (*workflows.Definition, error) {
	if def := o.defs[strings.TrimPrefix(name, "sim/")]; def != nil {
		return def, nil
	}
	return nil, weft.Errorf(weft.NotFound, "simulation.offer.Workflow", "no workflow %q", name)
}

func (o offer) Triggered(_ string, ev weft.Event) (all []*workflows.Definition) {
	for _, t := range o.all {
		if starts(o.defs[t.name], ev) {
			all = append(all, o.defs[t.name])
		}
	}
	return all
}

func starts(def *workflows.Definition, ev weft.Event) bool {
	for _, f := range def.Triggers() {
		if ok, err := f.Match(ev); ok && err == nil {
			return true
		}
	}
	return false
}

// code runs the handlers, as functions.
type code struct{ p *process }

// script is the input of work.
type script struct {
	Do []string `json:"do"`
	N  any      `json:"n"`
}

func (c code) Call(ctx context.Context, env wasm.Env, export string, in wasm.Input) (wasm.Output, error) {
	var s script
	id := in.Headers.Get("idempotency-key")
	if export == "hear" {
		id = "event " + in.Headers.Get("ce-id")
		s.Do = []string{"add heard"}
	} else if err := json.Unmarshal(in.Body, &s); err != nil {
		return wasm.Output{}, weft.Errorf(weft.InvalidArgument, "simulation.code.Call", "input: %w", err)
	}
	t := &worker{p: c.p, env: env, id: id, out: map[string]any{"n": s.N}}
	for i, op := range s.Do {
		if err := c.p.reach(ctx, 3*time.Millisecond, id+"#"+strconv.Itoa(i), "in handler"); err != nil {
			return wasm.Output{}, err
		}
		if err := t.do(ctx, i, op); err != nil {
			var abort *wasm.Abort
			if errors.As(err, &abort) {
				err = abort.Err
			}
			return wasm.Output{}, err
		}
	}
	if err := c.p.pause(ctx, 3*time.Millisecond, id+"."); err != nil {
		return wasm.Output{}, err
	}
	body, err := json.Marshal(t.out)
	return wasm.Output{Body: body}, err
}

// worker is one call of a handler.
type worker struct {
	p   *process
	env wasm.Env
	id  string // of the step's attempt, the call or the event
	n   int    // outbound calls so far
	own int    // of the first key that it has added
	out map[string]any
}

func (t *worker) do(ctx context.Context, i int, op string) error {
	verb, what, _ := strings.Cut(op, " ")
	switch verb {
	case "add":
		return t.add(i, what)
	case "read":
		n, err := t.number("n/" + what)
		t.out[what] = n
		return err
	case "tell":
		return t.env.Publish(what, []byte(fmt.Sprintf(`{"n":%d}`, i)))
	case "ask":
		return t.ask(ctx, i, what)
	case "sleep":
		ms, err := strconv.Atoi(what)
		if err != nil {
			return err
		}
		return t.p.pause(ctx, time.Duration(1+ms)*time.Millisecond, t.id+" sleeps")
	case "fail":
		if t.p.w.chance(2, "fail", t.id, i) == 0 {
			return t.refuse(weft.ParseCode(what))
		}
		return nil
	}
	return weft.Errorf(weft.InvalidArgument, "simulation.worker", "no op %q", op)
}

// refuse fails, and says why: the reason must not be lost after it was told.
func (t *worker) refuse(code weft.Code) error {
	n, err := t.number("n/" + keys[0])
	if err == nil {
		err = weft.Errorf(code, "simulation.worker", "there are %d of %s", n-t.own, keys[0])
	}
	return err
}

// counted is what refuse said.
func counted(refusal string) (n float64, key string, ok bool) {
	_, err := fmt.Sscanf(refusal, "there are %g of %s", &n, &key)
	return n, key, err == nil
}

// add counts, and notes for whom: a number other than 1 there is a step that
// was committed twice.
func (t *worker) add(i int, key string) error {
	if key == keys[0] {
		t.own++
	}
	for _, k := range []string{"n/" + key, "by/" + t.id + "/" + strconv.Itoa(i) + "/" + key} {
		n, err := t.number(k)
		if err == nil {
			err = t.env.StateSet(k, []byte(strconv.Itoa(n+1)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *worker) number(key string) (int, error) {
	v, ok, err := t.env.StateGet(key)
	if err != nil || !ok {
		return 0, err
	}
	return strconv.Atoi(string(v))
}

// ask says who asks, so that a peer can tell a repetition from another call.
// A handler takes some refusals as an answer.
func (t *worker) ask(ctx context.Context, i int, peer string) error {
	q := fmt.Sprintf(`{"as":%q,"n":%d}`, t.id, t.n)
	t.n++
	res, err := t.env.Call(ctx, peer+"/sim.Peer/Do", []byte(q))
	var abort *wasm.Abort
	if err != nil && !errors.As(err, &abort) && ctx.Err() == nil && t.p.w.chance(2, "takes no", t.id, i) == 0 {
		res, err = []byte(weft.CodeOf(err).String()), nil
	}
	t.out[peer] = string(res)
	return err
}
