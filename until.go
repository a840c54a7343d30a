package weft

import (
	"context"
	"sync"
)

// Until is ctx that ends also when life does, then with life's cause, and when end
// is called, with that cause. end has to be called, and is safe twice.
//
// It is for calls, of which nearly all are over before anybody waits for their
// end: so long it costs one allocation, and life does not know of it.
func Until(ctx, life context.Context) (_ context.Context, end func(cause error)) {
	u := &until{Context: ctx, life: life}
	return u, u.end
}

type until struct {
	context.Context
	life context.Context

	mu     sync.Mutex
	over   bool                    // end was called; guarded by mu
	cause  error                   // that it was called with; guarded by mu
	waited context.Context         // guarded by mu: what is waited for; nil before
	cancel context.CancelCauseFunc // of waited; guarded by mu
	stop   func() bool             // ends life's word to cancel; guarded by mu, nil without one
}

// wait makes what is waited for.
func (u *until) wait() context.Context {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waited != nil {
		return u.waited
	}
	u.waited, u.cancel = context.WithCancelCause(u.Context)
	switch cancel := u.cancel; {
	case u.over:
		cancel(u.cause)
	case u.life.Err() != nil: // AfterFunc would take its time
		cancel(context.Cause(u.life))
	default:
		u.stop = context.AfterFunc(u.life, func() { cancel(context.Cause(u.life)) })
	}
	return u.waited
}

func (u *until) end(cause error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.over {
		u.over, u.cause = true, cause
	}
	if u.stop != nil {
		u.stop()
	}
	if u.cancel != nil {
		u.cancel(cause)
	}
}

func (u *until) Done() <-chan struct{} { return u.wait().Done() }

func (u *until) Err() error {
	now, over := u.now()
	if now == u.Context && (over || now.Err() == nil && u.life.Err() != nil) {
		now = u.wait() // which has the cause
	}
	return now.Err()
}

func (u *until) Value(key any) any {
	now, _ := u.now()
	return now.Value(key)
}

// now is what is waited for, and the caller's own context where nothing is.
func (u *until) now() (_ context.Context, over bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waited == nil {
		return u.Context, u.over
	}
	return u.waited, u.over
}
