package store

import "context"

// SetHook keeps a webhook, as JSON.
func (tx *Tx) SetHook(ns, name string, hook []byte) error {
	_, err := tx.Exec("insert or replace into hook(ns,name,hook) values(?,?,?)", ns, name, hook)
	return err
}

// DeleteHook removes a webhook.
func (tx *Tx) DeleteHook(ns, name string) error {
	_, err := tx.Exec("delete from hook where ns=? and name=?", ns, name)
	return err
}

// Hooks calls fn with every webhook.
func (db *DB) Hooks(ctx context.Context, fn func(ns, name string, hook []byte) error) error {
	return db.Query(ctx, "select ns,name,hook from hook", nil, func(r Row) error { return fn(r.Text(0), r.Text(1), r.Blob(2)) })
}
