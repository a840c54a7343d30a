package store

import "context"

// Workflow is the row of one version of a workflow.
type Workflow struct {
	Namespace, Space, Name, Version string
	Source                          []byte // YAML with every handler pinned
	Resources                       []byte // JSON: the texts that Source names, by URI; nil for none
	Digest                          string // sha256 of the text as it was sent
	Created                         int64
}

// InsertWorkflow adds a version.
func (tx *Tx) InsertWorkflow(w Workflow) error {
	_, err := tx.Exec("insert into workflow(ns,space,name,version,source,resources,digest,created) values(?,?,?,?,?,?,?,?)",
		w.Namespace, w.Space, w.Name, w.Version, w.Source, w.Resources, w.Digest, w.Created)
	return err
}

// DeleteWorkflow removes a version.
func (tx *Tx) DeleteWorkflow(ns, space, name, version string) error {
	_, err := tx.Exec("delete from workflow where ns=? and space=? and name=? and version=?", ns, space, name, version)
	return err
}

// Workflows calls fn with every version of every workflow.
func (db *DB) Workflows(ctx context.Context, fn func(Workflow) error) error {
	return db.Query(ctx, "select ns,space,name,version,source,resources,digest,created from workflow", nil, func(r Row) error {
		return fn(Workflow{r.Text(0), r.Text(1), r.Text(2), r.Text(3), r.Blob(4), r.Blob(5), r.Text(6), r.Int(7)})
	})
}

// LiveRuns reports whether a run of this version has not ended; statuses are
// those of runs that live.
func (db *DB) LiveRuns(ctx context.Context, ns, space, workflow, version string, statuses [2]int) (live bool, err error) {
	err = db.Query(ctx, "select 1 from run where ns=? and workflow=? and space=? and version=? and status in (?,?) limit 1",
		[]any{ns, workflow, space, version, statuses[0], statuses[1]}, func(Row) error { live = true; return nil })
	return live, err
}
