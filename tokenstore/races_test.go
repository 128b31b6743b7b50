package tokenstore_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// contenders meet at the same moment, on two stores as on two replicas.
const contenders = 64

// testRaces holds that of any number of contenders exactly one wins.
func testRaces(t *testing.T, b backend) {
	if b.url == tokenstore.Embedded {
		one := b.open(t)
		race(t, one, one)
		return
	}
	race(t, b.open(t), b.open(t))
}

func race(t *testing.T, one, two *tokenstore.Store) {
	f, ctx := newFlow(t), t.Context()
	noErr(t, one.CreateSession(ctx, f.sessionID.Tag(), f.session))
	held, err := one.Session(ctx, f.sessionID.Tag())
	noErr(t, err)
	fresh := newFlow(t)
	tag := ath.NewTag()

	for _, c := range []struct {
		name string
		lost error // what the losers hear; nil: a plain no
		try  func(s *tokenstore.Store) (bool, error)
	}{
		{"A-5: a value is used once", nil, func(s *tokenstore.Store) (bool, error) {
			return s.Once(ctx, tag, "jti", "same", time.Minute)
		}},
		{"R-2: an id is registered once", tokenstore.ErrExists, func(s *tokenstore.Store) (bool, error) {
			err := s.CreateAgent(ctx, fresh.agent)
			return err == nil, err
		}},
		{"T-4: a session is moved on once", tokenstore.ErrChanged, func(s *tokenstore.Store) (bool, error) {
			next := held.Value
			next.Phase = tokenstore.Consumed
			_, err := s.SwapSession(ctx, held, next)
			return err == nil, err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var winners atomic.Int32
			var all sync.WaitGroup
			start := make(chan struct{})
			for i := range contenders {
				s := one
				if i%2 == 1 {
					s = two
				}
				all.Go(func() {
					<-start
					won, err := c.try(s)
					switch {
					case won:
						winners.Add(1)
					case !errors.Is(err, c.lost):
						t.Errorf("a loser heard %v, want %v", err, c.lost)
					}
				})
			}
			close(start)
			all.Wait()
			if n := winners.Load(); n != 1 {
				t.Fatalf("%d of %d won", n, contenders)
			}
		})
	}
	t.Run("V-4: revoked by many, dead once, and nobody fails", func(t *testing.T) {
		f := newFlow(t)
		f.store(t, one)
		held, err := one.Grant(ctx, f.token)
		noErr(t, err)
		var all sync.WaitGroup
		for i := range contenders {
			all.Go(func() {
				if err := two.Revoke(ctx, held, f.grant.Issued.Add(time.Duration(i+1)*time.Second)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if held, err = one.Grant(ctx, f.token); err != nil || held.Value.Revoked.IsZero() {
			t.Fatalf("the grant lives: %v", err)
		}
	})
}
