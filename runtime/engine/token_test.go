package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestATokenIsFetchedAgainShortlyBeforeItsEnd(t *testing.T) {
	cases := []struct{ life, kept time.Duration }{{time.Hour, time.Hour - 30*time.Second}, {time.Minute, 54 * time.Second}, {0, 0}}
	for _, c := range cases {
		synctest.Test(t, func(t *testing.T) {
			ts, n := newTokens(), 0
			get := func() bool {
				_, fresh, err := ts.get(t.Context(), tokenKey{}, time.Now, func(context.Context) (string, time.Duration, error) { n++; return "t", c.life, nil })
				if err != nil {
					t.Fatal(err)
				}
				return fresh
			}
			get()
			if c.kept > 0 {
				time.Sleep(c.kept - time.Nanosecond)
				if get() {
					t.Errorf("one that lives %s is fetched again before %s", c.life, c.kept)
				}
				time.Sleep(time.Nanosecond)
			}
			if !get() || n != 2 {
				t.Errorf("one that lives %s is not fetched again after %s", c.life, c.kept)
			}
		})
	}
}

func TestWhoWaitsForATokenFetchesItWhenTheOtherGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTokens()
		first, cancel := context.WithCancel(t.Context())
		go func() {
			_, _, _ = ts.get(first, tokenKey{}, time.Now, func(ctx context.Context) (string, time.Duration, error) { <-ctx.Done(); return "", 0, ctx.Err() })
		}()
		synctest.Wait()
		got := make(chan string)
		go func() {
			tok, _, err := ts.get(t.Context(), tokenKey{}, time.Now, func(context.Context) (string, time.Duration, error) { return "mine", time.Hour, nil })
			if err != nil {
				t.Error(err)
			}
			got <- tok.text
		}()
		synctest.Wait()
		cancel()
		if s := <-got; s != "mine" {
			t.Error(s)
		}
	})
}

func TestWhoWaitsForATokenHearsWhyThereIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts, refused, n := newTokens(), errors.New("refused"), 0
		fetch := func(context.Context) (string, time.Duration, error) {
			n++
			time.Sleep(time.Second)
			return "", 0, refused
		}
		heard := make(chan error)
		for range 5 {
			go func() { _, _, err := ts.get(t.Context(), tokenKey{}, time.Now, fetch); heard <- err }()
		}
		for range 5 {
			if err := <-heard; !errors.Is(err, refused) {
				t.Error(err)
			}
		}
		if _, _, err := ts.get(t.Context(), tokenKey{}, time.Now, fetch); !errors.Is(err, refused) || n != 2 {
			t.Errorf("%v after %d", err, n)
		}
	})
}

func TestTokensInMemoryAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTokens()
		for i := range 2 * tokensMax {
			life := time.Hour
			if i%2 == 0 {
				life = time.Minute
			}
			key := tokenKey{byte(i), byte(i >> 8)}
			if _, _, err := ts.get(t.Context(), key, time.Now, func(context.Context) (string, time.Duration, error) { return fmt.Sprint(i), life, nil }); err != nil {
				t.Fatal(err)
			}
			if len(ts.known) > tokensMax {
				t.Fatalf("%d tokens", len(ts.known))
			}
			time.Sleep(time.Second)
		}
		if len(ts.known) < tokensMax/2 {
			t.Errorf("only %d are kept", len(ts.known))
		}
	})
}
