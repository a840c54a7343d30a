package weft_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft"
)

func TestUntil(t *testing.T) {
	gone, left := errors.New("gone"), errors.New("left")
	for _, c := range []struct {
		name   string
		ended  func(caller, life context.CancelCauseFunc, end func(error))
		within time.Duration // the caller's; 0 for none
		err    error
		cause  error
	}{
		{"goes on while nobody ends it", func(_, _ context.CancelCauseFunc, _ func(error)) {}, 0, nil, nil},
		{"ends with the caller, and his cause", func(caller, _ context.CancelCauseFunc, _ func(error)) { caller(left) }, 0, context.Canceled, left},
		{"ends with life, and its cause", func(_, life context.CancelCauseFunc, _ func(error)) { life(gone) }, 0, context.Canceled, gone},
		{"ends by end, with the first cause", func(_, life context.CancelCauseFunc, end func(error)) { end(left); end(gone); life(gone) }, 0, context.Canceled, left},
		{"ends at the caller's deadline", func(_, _ context.CancelCauseFunc, _ func(error)) { time.Sleep(time.Minute) }, time.Minute, context.DeadlineExceeded, context.DeadlineExceeded},
	} {
		for _, waiting := range []string{"before", "after", "never"} {
			t.Run(c.name+", waited for "+waiting, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					caller, leave := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
					defer leave(nil)
					if c.within > 0 {
						var cancel context.CancelFunc
						caller, cancel = context.WithTimeout(caller, c.within)
						defer cancel()
					}
					life, die := context.WithCancelCause(t.Context())
					defer die(nil)
					ctx, end := weft.Until(caller, life)
					defer end(nil)
					var child context.Context
					if waiting == "before" {
						var cancel context.CancelFunc
						child, cancel = context.WithCancel(ctx)
						defer cancel()
					}
					c.ended(leave, die, end)
					synctest.Wait()
					if waiting == "after" {
						var cancel context.CancelFunc
						child, cancel = context.WithCancel(ctx)
						defer cancel()
						synctest.Wait()
					}
					for name, one := range map[string]context.Context{"it": ctx, "its child": child} {
						if one == nil {
							continue
						}
						if err, cause := one.Err(), context.Cause(one); err != c.err || cause != c.cause {
							t.Errorf("%s: %v, because of %v; want %v, %v", name, err, cause, c.err, c.cause)
						}
						if one.Value(key{}) != "value" {
							t.Errorf("%s has lost a value of the caller's", name)
						}
						select {
						case <-one.Done():
							if c.err == nil {
								t.Errorf("%s is done", name)
							}
						default:
							if c.err != nil {
								t.Errorf("%s is not done", name)
							}
						}
					}
				})
			})
		}
	}
}

type key struct{}
