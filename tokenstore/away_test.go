package tokenstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/locked"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// slack is what a busy machine may add to a deadline.
const slack = 10 * time.Second

// A verb is one thing that a store can be asked.
type verb func(context.Context, *tokenstore.Store) error

// verbs stores a flow through s and returns all that can be done with it.
func verbs(t *testing.T, s *tokenstore.Store) map[string]verb {
	t.Helper()
	f, other := newFlow(t), newFlow(t)
	f.store(t, s)
	other.store(t, s) // so that no verb stands in another's way, whatever their order
	agent, err := s.Agent(t.Context(), ath.AgentTag(f.agent.ID))
	noErr(t, err)
	leaving, err := s.Agent(t.Context(), ath.AgentTag(other.agent.ID))
	noErr(t, err)
	session, err := s.Session(t.Context(), f.sessionID.Tag())
	noErr(t, err)
	grant, err := s.Grant(t.Context(), f.token)
	noErr(t, err)
	ref := tokenstore.ConnectionRef{Tag: other.token.Tag(), Agent: other.agent.ID, User: "u1", Provider: "github"}
	refresh := func() *tokenstore.Refresh {
		f := newFlow(t)
		f.store(t, s)
		return newRefresh(t, s, f)
	}
	begins, renews, ends, fails := refresh(), refresh(), refresh(), refresh()
	provider := addProvider(t, s, runtimeProvider("p"+strings.ToLower(rand.Text())))
	gone := addProvider(t, s, runtimeProvider("g"+strings.ToLower(rand.Text())))
	return map[string]verb{
		"refresh state": func(ctx context.Context, s *tokenstore.Store) error {
			_, err := s.RefreshState(ctx, ref)
			return err
		},
		"begin refresh": func(ctx context.Context, s *tokenstore.Store) error { return s.BeginRefresh(ctx, begins, time.Minute) },
		"renew lease":   func(ctx context.Context, s *tokenstore.Store) error { return s.RenewLease(ctx, renews, time.Minute) },
		"finish refresh": func(ctx context.Context, s *tokenstore.Store) error {
			return s.FinishRefresh(ctx, ends, &ends.State.Connection, 0)
		},
		"fail refresh": func(ctx context.Context, s *tokenstore.Store) error {
			return s.FailRefresh(ctx, fails, &tokenstore.Attempt{})
		},
		"create agent": func(ctx context.Context, s *tokenstore.Store) error { return s.CreateAgent(ctx, newFlow(t).agent) },
		"agent": func(ctx context.Context, s *tokenstore.Store) error {
			_, err := s.Agent(ctx, ath.AgentTag(f.agent.ID))
			return err
		},
		"swap agent":   func(ctx context.Context, s *tokenstore.Store) error { return s.SwapAgent(ctx, agent, agent.Value) },
		"remove agent": func(ctx context.Context, s *tokenstore.Store) error { return s.RemoveAgent(ctx, leaving) },
		"create session": func(ctx context.Context, s *tokenstore.Store) error {
			return s.CreateSession(ctx, ath.NewTag(), f.session)
		},
		"session": func(ctx context.Context, s *tokenstore.Store) error {
			_, err := s.Session(ctx, f.sessionID.Tag())
			return err
		},
		"swap session": func(ctx context.Context, s *tokenstore.Store) error {
			_, err := s.SwapSession(ctx, session, session.Value)
			return err
		},
		"put connection": func(ctx context.Context, s *tokenstore.Store) error {
			return s.PutConnection(ctx, f.token.Tag(), f.connection, f.grant.Expires)
		},
		"put grant": func(ctx context.Context, s *tokenstore.Store) error {
			return s.PutGrant(ctx, ath.NewToken(other.token.Tag()), other.grant)
		},
		"delete grant": func(ctx context.Context, s *tokenstore.Store) error {
			return s.DeleteGrant(ctx, ath.NewToken(f.token.Tag()))
		},
		"grant": func(ctx context.Context, s *tokenstore.Store) error { _, err := s.Grant(ctx, f.token); return err },
		"revoke": func(ctx context.Context, s *tokenstore.Store) error {
			return s.Revoke(ctx, grant, time.Now())
		},
		"once": func(ctx context.Context, s *tokenstore.Store) error {
			first, err := s.Once(ctx, ath.NewTag(), "jti", "x", time.Minute)
			if first == (err != nil) {
				t.Errorf("once says %v with %v", first, err)
			}
			return err
		},
		"read": func(ctx context.Context, s *tokenstore.Store) error {
			got, err := s.Read(ctx, f.token, f.agent.ID)
			if err != nil && got != (tokenstore.Reading{}) {
				t.Errorf("read says %+v with %v", got, err)
			}
			return err
		},
		"ready": func(ctx context.Context, s *tokenstore.Store) error { _, err := s.Ready(ctx); return err },
		"provider": func(ctx context.Context, s *tokenstore.Store) error {
			_, err := s.RuntimeProvider(ctx, "nobody")
			return err
		},
		"provider tags": func(ctx context.Context, s *tokenstore.Store) error {
			_, err := s.RuntimeProviderTags(ctx)
			return err
		},
		"providers": func(ctx context.Context, s *tokenstore.Store) error {
			_, err := s.RuntimeProviders(ctx, []ath.Tag{tokenstore.ProviderTag("a"), tokenstore.ProviderTag("b")}, nil)
			return err
		},
		"swap provider": func(ctx context.Context, s *tokenstore.Store) error {
			_, err := s.SwapRuntimeProvider(ctx, provider, provider.Value)
			return err
		},
		"remove provider": func(ctx context.Context, s *tokenstore.Store) error {
			return s.RemoveRuntimeProvider(ctx, gone)
		},
	}
}

// warm makes the server know every script, and the store have a connection.
func warm(t *testing.T, s *tokenstore.Store) {
	t.Helper()
	for name, do := range verbs(t, s) {
		if err := do(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func TestStoreAway(t *testing.T) {
	const timeout = 100 * time.Millisecond
	for name, harm := range map[string]struct{ lose, find func(*realredis.Server) }{
		"paused":                   {(*realredis.Server).Pause, (*realredis.Server).Resume},
		"killed":                   {(*realredis.Server).Kill, (*realredis.Server).Start},
		"never there, from outset": {(*realredis.Server).Kill, nil},
	} {
		t.Run(name, func(t *testing.T) {
			server := realredis.Start(t)
			b := backend{url: server.URL(), keys: newKeyset(t)}
			all := verbs(t, b.open(t))
			stores := map[string]*tokenstore.Store{} // one each: its breaker has seen nothing
			for verb := range all {
				stores[verb] = b.open(t, func(c *tokenstore.Config) { c.Timeout = timeout })
				if harm.find != nil {
					stores[verb].Ready(t.Context()) // has a connection in its pool
				}
			}
			harm.lose(server)
			for verb, do := range all {
				t.Run(verb+" is unavailable, within the deadline", func(t *testing.T) {
					start := time.Now()
					err := do(t.Context(), stores[verb])
					took := time.Since(start)
					wantErr(t, err, tokenstore.ErrUnavailable)
					for _, answer := range []error{tokenstore.ErrNotFound, tokenstore.ErrExists, tokenstore.ErrChanged, tokenstore.ErrCorrupt} {
						if errors.Is(err, answer) {
							t.Errorf("%v also counts as %v", err, answer)
						}
					}
					if strings.Contains(err.Error(), server.Password()) {
						t.Error("the error holds the password")
					}
					if took > timeout+slack {
						t.Errorf("it took %v", took)
					}
				})
			}
			if harm.find == nil {
				return
			}
			harm.find(server)
			for verb, do := range all {
				t.Run(verb+" heals by itself", func(t *testing.T) {
					// One failure does not trip the breaker, so the first try counts. Only
					// a busy machine may be late; and a paused server does, once it goes
					// on, what it was asked before.
					late := func(err error) bool {
						return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
					}
					err := do(t.Context(), stores[verb])
					for again := 0; late(err) && again < 3; again++ {
						err = do(t.Context(), stores[verb])
					}
					if err != nil && !errors.Is(err, tokenstore.ErrChanged) {
						t.Error(err)
					}
				})
			}
		})
	}
}

func TestBreaker(t *testing.T) {
	const timeout = 100 * time.Millisecond
	server := realredis.Start(t)
	var log locked.Buffer
	b := backend{url: server.URL(), keys: newKeyset(t)}
	s := b.open(t, func(c *tokenstore.Config) {
		c.Timeout = timeout
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	ask := func() error { _, err := s.Ready(t.Context()); return err }
	for ask() != nil { // a busy machine may miss the deadline at first
	}

	t.Run("a caller who leaves at once does not trip it", func(t *testing.T) {
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 20 {
			if _, err := s.Ready(gone); !errors.Is(err, tokenstore.ErrUnavailable) || !errors.Is(err, context.Canceled) {
				t.Fatalf("the error is %v", err)
			}
		}
		if err := ask(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	})

	server.Pause()
	for range 5 { // by callers who wait less than the store would, as Envoy may
		impatient, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
		_, err := s.Ready(impatient)
		wantErr(t, err, tokenstore.ErrUnavailable)
		cancel()
	}
	t.Run("a dead store answers at once", func(t *testing.T) {
		quick := 0
		for range 20 {
			start := time.Now()
			wantErr(t, ask(), tokenstore.ErrUnavailable)
			if time.Since(start) < timeout/2 { // who asks it waits for all of that
				quick++
			}
		}
		if quick < 17 { // some are let through to see
			t.Fatalf("%d of 20 did", quick)
		}
	})
	t.Run("a store that came back is found", func(t *testing.T) {
		server.Resume()
		back := time.Now()
		for ask() != nil {
			if time.Since(back) > 5*time.Second {
				t.Fatal("it is not")
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("after %v", time.Since(back))
	})
	t.Run("so is one that was killed for long", func(t *testing.T) {
		server.Kill()
		for range 60 {
			wantErr(t, ask(), tokenstore.ErrUnavailable)
			time.Sleep(10 * time.Millisecond)
		}
		server.Start()
		back := time.Now()
		for ask() != nil {
			if time.Since(back) > 10*time.Second {
				t.Fatal("it is not")
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("after %v", time.Since(back))
	})
	t.Run("the log says so, without the password", func(t *testing.T) {
		for _, want := range []string{"redis unavailable", "op=ready", "redis available"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("it does not say %q:\n%s", want, log.String())
			}
		}
		if strings.Contains(log.String(), server.Password()) {
			t.Error("it holds the password")
		}
	})
}

func TestRestartBetweenRequests(t *testing.T) {
	server := realredis.Start(t)
	b := backend{url: server.URL(), keys: newKeyset(t)}
	s := b.open(t)
	all := verbs(t, s)
	server.Stop()
	server.Start()
	for name, do := range all {
		if err := do(t.Context(), s); err != nil {
			t.Errorf("%s fails after a restart: %v", name, err)
		}
	}
}

// TestLostReply holds that a write whose reply was lost is not mistaken for
// somebody else's when it is sent again.
func TestLostReply(t *testing.T) {
	server := realredis.Start(t)
	p := startProxy(t, server.Addr())
	b := backend{url: "redis://:" + server.Password() + "@" + p.addr, keys: newKeyset(t)}
	for name := range verbs(t, b.open(t)) {
		t.Run(name, func(t *testing.T) {
			s := b.open(t)
			warm(t, s)
			do := verbs(t, s)[name]
			p.lose.Store(true)
			noErr(t, do(t.Context(), s))
			if p.lose.Load() {
				t.Fatal("no reply was lost: nothing was tested")
			}
		})
	}
	contiguous(t, server.Client(), 0) // each change is announced once
}

func TestOneRoundTrip(t *testing.T) {
	server := realredis.Start(t)
	p := startProxy(t, server.Addr())
	b := backend{url: "redis://:" + server.Password() + "@" + p.addr, keys: newKeyset(t)}
	s := b.open(t)
	warm(t, s)
	for name, do := range verbs(t, s) {
		before := p.trips.Load()
		noErr(t, do(t.Context(), s))
		want := int64(1)
		switch name {
		case "provider tags", "swap provider", "remove provider":
			want = 2 // with the last generation before it, or whether the keyset is the right one
		}
		if n := p.trips.Load() - before; n != want {
			t.Errorf("%s took %d round trips", name, n)
		}
	}
}
