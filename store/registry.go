package store

import "context"

// Instance is the row of one registered instance.
type Instance struct {
	Namespace, Service, Instance string
	Epoch                        int64
	URL, Zone                    string
	Weight, Status               int
	Health                       string
	TTL                          int64 // milliseconds
}

// Register adds or replaces an instance and gives it its epoch, which no other
// registration has had or will have.
func (tx *Tx) Register(i Instance, at int64) (epoch int64, err error) {
	c, err := tx.Exec("insert into instance_event(ns,service,instance,epoch,kind,at) values(?,?,?,0,1,?)", i.Namespace, i.Service, i.Instance, at)
	if err != nil {
		return 0, err
	}
	_, err = tx.Exec(`insert or replace into instance(ns,service,instance,epoch,url,zone,weight,status,health,ttl,meta,modified) values(?,?,?,?,?,?,?,?,?,?,x'',?)`,
		i.Namespace, i.Service, i.Instance, c.LastID, i.URL, i.Zone, i.Weight, i.Status, i.Health, i.TTL, c.LastID)
	return c.LastID, err
}

// ChangeInstance gives an instance that status, or removes it where that is 0,
// and notes what kind of change that is. The revision is 0, and nothing is
// changed, if the instance has another epoch.
func (tx *Tx) ChangeInstance(ns, service, instance string, epoch int64, status, kind int, at int64) (revision int64, err error) {
	var c Changed
	if status == 0 {
		c, err = tx.Exec("delete from instance where ns=? and service=? and instance=? and epoch=?", ns, service, instance, epoch)
	} else {
		c, err = tx.Exec("update instance set status=? where ns=? and service=? and instance=? and epoch=?", status, ns, service, instance, epoch)
	}
	if err != nil || c.Rows == 0 {
		return 0, err
	}
	c, err = tx.Exec("insert into instance_event(ns,service,instance,epoch,kind,at) values(?,?,?,?,?,?)", ns, service, instance, epoch, kind, at)
	if err != nil || status == 0 {
		return c.LastID, err
	}
	_, err = tx.Exec("update instance set modified=? where ns=? and service=? and instance=?", c.LastID, ns, service, instance)
	return c.LastID, err
}

// Instances calls fn with every registered instance.
func (db *DB) Instances(ctx context.Context, fn func(Instance)) error {
	return db.Query(ctx, "select ns,service,instance,epoch,url,zone,weight,status,health,ttl from instance", nil, func(r Row) error {
		fn(Instance{r.Text(0), r.Text(1), r.Text(2), r.Int(3), r.Text(4), r.Text(5), int(r.Int(6)), int(r.Int(7)), r.Text(8), r.Int(9)})
		return nil
	})
}

// InstanceEvent is one change of an instance.
type InstanceEvent struct {
	Revision int64
	Kind     int
	Instance string
	Epoch    int64
}

// InstanceEvents calls fn with the changes of a service after a revision and up
// to another, in order. whole is false when retention has removed some since,
// or there are more than limit.
func (db *DB) InstanceEvents(ctx context.Context, ns, service string, after, upto int64, limit int, fn func(InstanceEvent)) (whole bool, err error) {
	rows := 0
	err = db.Query(ctx, "select rev,kind,instance,case epoch when 0 then rev else epoch end from instance_event where ns=? and service=? and rev>? and rev<=? order by rev limit ?",
		[]any{ns, service, after, upto, limit + 1}, func(r Row) error {
			rows++
			fn(InstanceEvent{r.Int(0), int(r.Int(1)), r.Text(2), r.Int(3)})
			return nil
		})
	if err != nil || rows > limit {
		return false, err
	}
	oldest := upto + 1
	err = db.Query(ctx, "select rev from instance_event order by rev limit 1", nil, func(r Row) error { oldest = r.Int(0); return nil })
	return oldest <= after+1, err
}

// Revision is that of the latest change of any instance.
func (db *DB) Revision(ctx context.Context) (revision int64, err error) {
	err = db.Query(ctx, "select seq from sqlite_sequence where name='instance_event'", nil, func(r Row) error { revision = r.Int(0); return nil })
	return revision, err
}

// KnownServices calls fn with every service that was ever registered.
func (db *DB) KnownServices(ctx context.Context, fn func(ns, service string)) error {
	return db.Query(ctx, "select distinct ns,service from instance_event", nil, func(r Row) error { fn(r.Text(0), r.Text(1)); return nil })
}

// SetBreakerPolicy keeps the settings of a peer, as JSON.
func (tx *Tx) SetBreakerPolicy(ns, service string, policy []byte) error {
	_, err := tx.Exec("insert or replace into breaker_policy(ns,service,policy) values(?,?,?)", ns, service, policy)
	return err
}

// BreakerPolicies calls fn with the settings of every peer that has its own.
func (db *DB) BreakerPolicies(ctx context.Context, fn func(ns, service string, policy []byte) error) error {
	return db.Query(ctx, "select ns,service,policy from breaker_policy", nil, func(r Row) error { return fn(r.Text(0), r.Text(1), r.Blob(2)) })
}

// Breaker is the row of one breaker that is open, or held by hand. The row
// without an instance is of a whole peer, or of a plain HTTP host.
type Breaker struct {
	Namespace, Service, Instance string
	State                        int
	Forced                       bool
	Reason                       string
	Until, Changed               int64 // milliseconds; Until is 0 for none
}

// SetBreaker keeps a breaker over a restart.
func (tx *Tx) SetBreaker(b Breaker) error {
	_, err := tx.Exec("insert or replace into breaker(ns,service,instance,state,forced,reason,until,changed) values(?,?,?,?,?,?,?,?)",
		b.Namespace, b.Service, b.Instance, b.State, b.Forced, b.Reason, orNull(b.Until), b.Changed)
	return err
}

// DropBreaker forgets a breaker.
func (tx *Tx) DropBreaker(ns, service, instance string) error {
	_, err := tx.Exec("delete from breaker where ns=? and service=? and instance=?", ns, service, instance)
	return err
}

// Breakers calls fn with every breaker that is kept.
func (db *DB) Breakers(ctx context.Context, fn func(Breaker)) error {
	return db.Query(ctx, "select ns,service,instance,state,forced,reason,until,changed from breaker", nil, func(r Row) error {
		fn(Breaker{r.Text(0), r.Text(1), r.Text(2), int(r.Int(3)), r.Int(4) != 0, r.Text(5), r.Int(6), r.Int(7)})
		return nil
	})
}
