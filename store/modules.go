package store

import "context"

// Module is the row of one version of a module. Manifest, Report, Grants and
// Config are JSON, Descriptors a FileDescriptorSet or nil, Signature JSON or nil.
type Module struct {
	Namespace, Name, Version, Digest string
	Size                             int64
	Manifest, Report, Grants, Config []byte
	Created                          int64
	Descriptors                      []byte
	Promoted                         bool // it is called where no version is named
	Signature                        []byte
}

// InsertModule adds a version, and its bytes unless they are there already.
func (tx *Tx) InsertModule(m Module, wasm []byte) error {
	if _, err := tx.Exec("insert or ignore into blob(digest,data,created) values(?,?,?)", m.Digest, wasm, m.Created); err != nil {
		return err
	}
	_, err := tx.Exec("insert into module(ns,name,version,digest,size,manifest,report,grants,config,created,descriptors,promoted,signature) values(?,?,?,?,?,?,?,?,?,?,?,0,?)",
		m.Namespace, m.Name, m.Version, m.Digest, m.Size, m.Manifest, m.Report, m.Grants, m.Config, m.Created, m.Descriptors, m.Signature)
	return err
}

// SetGrants changes what a version may reach.
func (tx *Tx) SetGrants(ns, name, version string, grants []byte) error {
	_, err := tx.Exec("update module set grants=? where ns=? and name=? and version=?", grants, ns, name, version)
	return err
}

// SetSignature changes by whom a version is signed.
func (tx *Tx) SetSignature(ns, name, version string, signature []byte) error {
	_, err := tx.Exec("update module set signature=? where ns=? and name=? and version=?", signature, ns, name, version)
	return err
}

// PromoteModule makes a version the one of its module that is called where none
// is named; an empty one leaves the choice to the catalog.
func (tx *Tx) PromoteModule(ns, name, version string) error {
	_, err := tx.Exec("update module set promoted=version=? where ns=? and name=?", version, ns, name)
	return err
}

// DeleteModule removes a version, and its bytes when nobody else has them.
func (tx *Tx) DeleteModule(ns, name, version string) error {
	if _, err := tx.Exec("delete from module where ns=? and name=? and version=?", ns, name, version); err != nil {
		return err
	}
	_, err := tx.Exec("delete from blob where digest not in (select digest from module)")
	return err
}

// Modules calls fn with every version of every module.
func (db *DB) Modules(ctx context.Context, fn func(Module) error) error {
	return db.Query(ctx, "select ns,name,version,digest,size,manifest,report,grants,config,created,descriptors,promoted,signature from module", nil, func(r Row) error {
		return fn(Module{r.Text(0), r.Text(1), r.Text(2), r.Text(3), r.Int(4), r.Blob(5), r.Blob(6), r.Blob(7), r.Blob(8), r.Int(9), r.Blob(10), r.Int(11) == 1, r.Blob(12)})
	})
}

// Blob is the bytes of an upload, nil when there are none with that digest.
func (db *DB) Blob(ctx context.Context, digest string) (data []byte, err error) {
	err = db.Query(ctx, "select data from blob where digest=?", []any{digest}, func(r Row) error { data = r.Blob(0); return nil })
	return data, err
}
