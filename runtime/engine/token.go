package engine

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows/machine"
)

// Bounds of tokens.
const (
	tokensMax  = 1_000            // in memory at once
	tokenMax   = 32 << 10         // bytes of one
	tokenAge   = time.Minute      // how long one is kept whose life nobody tells
	tokenSlack = 30 * time.Second // before its end another one is fetched; at most a tenth of its life
)

// tokens are the access tokens of calls. They are in memory only: no journal,
// log or error has them. Each is fetched once, however many calls wait for it.
type tokens struct {
	mu    sync.Mutex
	known map[tokenKey]*token // guarded by mu
}

// tokenKey is a hash of all that a token depends on.
type tokenKey [sha256.Size]byte

type token struct {
	fetched chan struct{} // closed when the rest is set
	text    string
	until   time.Time
	err     error
	cut     bool // whoever fetched it gave up, which says nothing of the token
}

// fetcher gets a token, and how long it lives.
type fetcher func(context.Context) (text string, life time.Duration, err error)

func newTokens() *tokens { return &tokens{known: map[tokenKey]*token{}} }

// get is a token that holds now. Whoever comes first fetches it, the others
// wait; fresh says that it was fetched for this call.
func (ts *tokens) get(ctx context.Context, key tokenKey, now func() time.Time, fetch fetcher) (t *token, fresh bool, err error) {
	for {
		ts.mu.Lock()
		t = ts.known[key]
		if t == nil {
			ts.makeRoom(now())
			t = &token{fetched: make(chan struct{})}
			ts.known[key] = t
			ts.mu.Unlock()
			ts.fill(ctx, key, t, now, fetch)
			return t, true, t.err
		}
		ts.mu.Unlock()
		if fresh, err = t.wait(ctx); err != nil {
			return nil, fresh, err
		}
		switch {
		case t.err != nil && !t.cut:
			return nil, fresh, t.err
		case t.err == nil && now().Before(t.until):
			return t, fresh, nil
		}
		ts.drop(key, t)
	}
}

// wait waits until t is fetched; waited says that it was not.
func (t *token) wait(ctx context.Context) (waited bool, err error) {
	select {
	case <-t.fetched:
		return false, nil
	default:
	}
	select {
	case <-t.fetched:
		return true, nil
	case <-ctx.Done():
		return true, ctx.Err()
	}
}

func (ts *tokens) fill(ctx context.Context, key tokenKey, t *token, now func() time.Time, fetch fetcher) {
	var life time.Duration
	t.text, life, t.err = fetch(ctx)
	t.until = now().Add(life - min(tokenSlack, life/10))
	t.cut = t.err != nil && ctx.Err() != nil
	if t.err != nil {
		ts.drop(key, t)
	}
	close(t.fetched)
}

// drop forgets a token, unless another one has taken its place.
func (ts *tokens) drop(key tokenKey, t *token) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.known[key] == t {
		delete(ts.known, key)
	}
}

// makeRoom forgets tokens that hold no more, and others if need be. The caller
// holds mu.
func (ts *tokens) makeRoom(now time.Time) {
	if len(ts.known) < tokensMax {
		return
	}
	maps.DeleteFunc(ts.known, func(_ tokenKey, t *token) bool {
		select {
		case <-t.fetched:
			return !now.Before(t.until)
		default:
			return false
		}
	})
	for key := range ts.known {
		if len(ts.known) < tokensMax {
			return
		}
		delete(ts.known, key) // those who wait for it have it
	}
}

// do sends r, with a token if it needs one. A token from memory that the peer
// does not take may have been revoked: then another is fetched, once.
func (k *call) do(ctx context.Context, r weft.Request, q *machine.TokenRequest) (weft.Response, error) {
	out, ts, headers := k.a.e.out, k.a.e.tokens, r.Headers
	if q == nil {
		return out.Do(ctx, r)
	}
	text, _ := json.Marshal(q) // strings: cannot fail
	key := tokenKey(sha256.Sum256(append([]byte(r.Namespace+"\x00"), text...)))
	for {
		t, fresh, err := ts.get(ctx, key, k.a.e.now, func(ctx context.Context) (string, time.Duration, error) { return k.fetchToken(ctx, r, q) })
		if err != nil {
			return weft.Response{}, err
		}
		r.Headers = maps.Clone(headers)
		r.Headers["authorization"] = "Bearer " + t.text
		res, err := out.Do(ctx, r)
		refused := err == nil && res.Status == 401 || weft.CodeOf(err) == weft.Unauthenticated
		if !refused || fresh {
			return res, err
		}
		ts.drop(key, t)
	}
}
