package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

const (
	watchEvery = 300 * time.Millisecond // between two looks at the folders
	watchMax   = 10_000                 // files in them
)

// watcher deploys the modules and workflows of folders, and anew what changes.
// It looks at the files again and again: that works on every file system, and
// a file that is still being written differs from one look to the next.
type watcher struct {
	*app
	dirs     []string
	seen     map[string]string                // by file: as it was at the last look
	deployed map[string]string                // by file: as it was when it was deployed
	versions map[string]string                // by handler of a watched module: the newest version
	flows    map[string]*weftv1.ApplyResponse // by sound workflow file: what came of it; nil when it was refused
}

// watch deploys until ctx ends.
func (a *app) watch(ctx context.Context, dirs []string) {
	w := &watcher{app: a, dirs: dirs, seen: map[string]string{}, deployed: map[string]string{}, versions: map[string]string{}, flows: map[string]*weftv1.ApplyResponse{}}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	said := ""
	for {
		err := w.look(ctx)
		if s := fmt.Sprint(err); s != said { // once, not at every look
			said = s
			w.report(ctx, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *watcher) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "weft:", explain(err))
	}
}

// look deploys what has changed and settled: modules first, for workflows call them.
func (w *watcher) look(ctx context.Context) error {
	now, err := w.files()
	if err != nil {
		return err
	}
	was, modules := w.seen, false
	w.seen = now
	for _, file := range slices.Sorted(maps.Keys(now)) {
		if kindOf(file) == ".wasm" && now[file] == was[file] && now[file] != w.deployed[file] {
			w.deployed[file], modules = now[file], true
			w.report(ctx, w.module(ctx, file))
		}
	}
	for _, file := range slices.Sorted(maps.Keys(now)) {
		changed := now[file] == was[file] && now[file] != w.deployed[file]
		if kindOf(file) == ".yaml" && (changed || modules && w.waits(file)) {
			w.deployed[file] = now[file]
			w.report(ctx, w.workflow(ctx, file))
		}
	}
	return nil
}

// files lists modules and workflows with what changes when their content does.
func (w *watcher) files() (map[string]string, error) {
	stamps := map[string]string{}
	for _, dir := range w.dirs {
		err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist): // it has just been replaced
				return nil
			case err != nil:
				return err
			case d.IsDir() && file != dir && strings.HasPrefix(d.Name(), "."):
				return filepath.SkipDir
			case d.IsDir() || kindOf(file) == "":
				return nil
			case len(stamps) == watchMax:
				return fmt.Errorf("%s has more than %d modules and workflows; watch a folder with less in it", dir, watchMax)
			}
			stamps[file] = stamp(file)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for file := range stamps {
		if kindOf(file) == ".wasm" {
			for _, name := range sidecars(file) {
				stamps[file] += stamp(name)
				delete(stamps, name)
			}
			stamps[file] += stamp(descriptorsBeside(file))
		}
	}
	return stamps, nil
}

func kindOf(file string) string {
	switch ext := filepath.Ext(file); ext {
	case ".yml":
		return ".yaml"
	case ".wasm", ".yaml":
		return ext
	}
	return ""
}

func stamp(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d;", info.ModTime().UnixNano(), info.Size())
}

// module pushes a module so that it is the newest of its name.
func (w *watcher) module(ctx context.Context, file string) error {
	var m struct{ Name string } // of the manifest; not known when that is inside the module
	var pushed *weftv1.PushResponse
	err := newest(func(version string) (_ string, err error) {
		h := &weftv1.PushHeader{Version: version, Grant: true}
		pushed, err = w.push(ctx, h, file, "")
		_ = json.Unmarshal(h.Manifest, &m) // the server says what is wrong with it
		return pushed.GetModule().GetVersion(), err
	}, func() (string, error) {
		name := cmp.Or(pushed.GetModule().GetName(), m.Name)
		res, err := w.modules().GetModule(ctx, &weftv1.GetModuleRequest{Namespace: w.namespace, Name: name})
		return res.GetModule().GetVersion(), err
	})
	if err != nil {
		return fmt.Errorf("%s: %s", file, explain(err))
	}
	for _, h := range pushed.Module.Handlers {
		w.versions[h] = pushed.Module.Version
	}
	if done, err := w.jsonLine(pushed); done {
		return err
	}
	w.printf("%s: %s:%s is %s\n", file, pushed.Module.Name, pushed.Module.Version, liveOr(pushed.Unchanged))
	return nil
}

// workflow applies a workflow so that it is the newest of its name and calls
// the newest handlers. YAML without a document is something else.
func (w *watcher) workflow(ctx context.Context, file string) error {
	src, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(src, []byte("document:")) {
		return err
	}
	delete(w.flows, file)
	name, err := host.Workflow(file, src)
	if err != nil {
		return refused(file, strings.Split(err.Error(), "\n"))
	}
	w.flows[file] = nil
	var res *weftv1.ApplyResponse
	err = newest(func(version string) (_ string, err error) {
		text := src
		if version != "" {
			if text, err = host.WithVersion(file, src, version); err != nil {
				return "", err
			}
		}
		if res, err = w.apply(ctx, file, text); err == nil && res.Unchanged && w.outdated(res) {
			return "", nil
		}
		return res.GetWorkflow().GetVersion(), err
	}, func() (string, error) {
		res, err := w.workflows().GetWorkflow(ctx, &weftv1.GetWorkflowRequest{Namespace: w.namespace, Name: name})
		return res.GetWorkflow().GetVersion(), err
	})
	if err != nil {
		return err
	}
	w.flows[file] = res
	if done, err := w.jsonLine(res); done {
		return err
	}
	w.printf("%s: %s\n", file, applied(res))
	return nil
}

// outdated reports that a workflow calls a handler that has a newer version.
func (w *watcher) outdated(res *weftv1.ApplyResponse) bool {
	return slices.ContainsFunc(res.Pinned, func(pin string) bool {
		name, rest, _ := strings.Cut(pin, ":")
		version, _, _ := strings.Cut(rest, "@")
		return w.versions[name] != "" && w.versions[name] != version
	})
}

// waits reports that a new module may help a workflow that has not changed.
func (w *watcher) waits(file string) bool {
	res, known := w.flows[file]
	return known && (res == nil || w.outdated(res))
}

// newest deploys under the version that the file says, or, where that is taken
// or not the newest, under the newest one, or under the next patch of it: what
// was saved last is what is called. deploy returns the version, or "" when
// what is there under that version will not do.
func newest(deploy func(version string) (string, error), current func() (string, error)) error {
	version, err := deploy("")
	if err != nil && !isTaken(err) {
		return err
	}
	latest, failed := current()
	if failed != nil {
		return cmp.Or(err, failed)
	}
	if err == nil && version == latest {
		return nil
	}
	if version, err = deploy(latest); err == nil && version != "" || err != nil && !isTaken(err) {
		return err
	}
	next, err := nextPatch(latest)
	if err == nil {
		_, err = deploy(next)
	}
	return err
}

func isTaken(err error) bool {
	var e *connect.Error
	return errors.As(err, &e) && e.Code() == connect.CodeAlreadyExists
}

// nextPatch is the version after one: 1.4.3 after 1.4.2 and after 1.4.2-rc.1.
func nextPatch(version string) (string, error) {
	core, _, _ := strings.Cut(version, "-")
	dot := strings.LastIndex(core, ".")
	n, err := strconv.ParseUint(core[dot+1:], 10, 63)
	return core[:dot+1] + strconv.FormatUint(n+1, 10), err
}
