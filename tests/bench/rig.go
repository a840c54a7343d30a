// Package bench measures the engine with real parts: Wasm handlers, jq, and
// SQLite files with a sync of the disk before every acknowledgement.
package bench

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/tests/probe"
)

const ns = weft.DefaultNamespace

// Rig is the rooms below the API on one file.
type Rig struct {
	DB      *store.DB
	Catalog *catalog.Catalog
	Engine  *engine.Engine

	path string
	rt   *wasm.Runtime
}

// Site says where a rig is, and in what world.
type Site struct {
	Dir, Name string          // the file is Dir/Name.db; what wasm compiles is in Dir too
	World     engine.Outbound // default: nobody is there
	Engine    engine.Options
}

// Open opens or makes the file and starts an engine over it.
func Open(ctx context.Context, s Site) (*Rig, error) {
	if s.World == nil {
		s.World = nobody{}
	}
	r := &Rig{path: filepath.Join(s.Dir, s.Name+".db")}
	var err error
	if r.rt, err = wasm.Open(ctx, wasm.Options{CacheDir: filepath.Join(s.Dir, "cache")}); err != nil {
		return nil, err
	}
	if r.DB, err = store.Open(ctx, store.Options{Path: r.path}); err != nil {
		return nil, errors.Join(err, r.rt.Close(ctx))
	}
	if r.Catalog, err = catalog.Open(ctx, r.DB, r.rt, catalog.Options{}); err != nil {
		return nil, errors.Join(err, r.DB.Close(), r.rt.Close(ctx))
	}
	r.Engine = engine.New(r.DB, r.Catalog, s.World, s.Engine)
	if err = r.Engine.Start(ctx); err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	return r, nil
}

// Deploy makes the handlers of guests/probe callable.
func (r *Rig) Deploy(ctx context.Context, module []byte) error {
	_, err := r.Catalog.Push(ctx, ns, catalog.Push{Wasm: module, Manifest: probe.Manifest(), Grant: true})
	return err
}

// apply makes workflows startable; each is the text after its name and version.
func (r *Rig) apply(ctx context.Context, flows map[string]string) error {
	for name, text := range flows {
		text = "document: { dsl: '1.0.3', namespace: bench, name: " + name + ", version: '1.0.0' }\n" + text
		if _, err := r.Catalog.Apply(ctx, ns, name+".yaml", []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// disk is the size of the file, in bytes, once the log is folded back and free
// pages are given back.
func (r *Rig) disk(ctx context.Context) (n int64, err error) {
	err = r.DB.Query(ctx, "select (page_count-freelist_count)*page_size from pragma_page_count, pragma_freelist_count, pragma_page_size", nil,
		func(row store.Row) error { n = row.Int(0); return nil })
	return n, err
}

// Close ends the engine and closes the file.
func (r *Rig) Close(ctx context.Context) error {
	return errors.Join(r.Engine.Close(ctx), r.DB.Close(), r.rt.Close(ctx))
}

// nobody is a world without peers.
type nobody struct{}

func (nobody) Do(context.Context, weft.Request) (weft.Response, error) {
	return weft.Response{}, weft.Errorf(weft.Unavailable, "bench", "nobody is there")
}
