package tokenstore_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error is %v, want %v", got, want)
	}
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// equal compares records, secrets included, which DeepEqual follows.
func equal[T any](t *testing.T, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got\n%+v\nwant\n%+v", got, want)
	}
}

func testAgents(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()
	tag := ath.AgentTag(f.agent.ID)

	_, err := s.Agent(ctx, tag)
	wantErr(t, err, tokenstore.ErrNotFound)
	noErr(t, s.CreateAgent(ctx, f.agent))
	held, err := s.Agent(ctx, tag)
	noErr(t, err)
	equal(t, held.Value, f.agent)

	t.Run("a second registration of one id is refused", func(t *testing.T) {
		wantErr(t, s.CreateAgent(ctx, f.agent), tokenstore.ErrExists)
	})
	t.Run("a swap moves the record on, once", func(t *testing.T) {
		next := held.Value
		next.Suspended = true
		noErr(t, s.SwapAgent(ctx, held, next))
		wantErr(t, s.SwapAgent(ctx, held, next), tokenstore.ErrChanged)
		now, err := s.Agent(ctx, tag)
		noErr(t, err)
		equal(t, now.Value, next)
	})
	t.Run("a record cannot pass to another id", func(t *testing.T) {
		now, err := s.Agent(ctx, tag)
		noErr(t, err)
		other := now.Value
		other.ID = "https://evil.example/"
		if err := s.SwapAgent(ctx, now, other); err == nil {
			t.Fatal("it did")
		}
	})
	t.Run("what was never read swaps with nothing", func(t *testing.T) {
		if err := s.SwapAgent(ctx, tokenstore.Held[tokenstore.Agent]{}, tokenstore.Agent{}); err == nil {
			t.Fatal("it did")
		}
	})
	t.Run("a tag that is none names nothing", func(t *testing.T) {
		for _, tag := range []ath.Tag{"", "short", "}:agent{aaaaaaaa", "aaaaaaaaaaaaaaaaa"} {
			if _, err := s.Agent(ctx, tag); err == nil {
				t.Errorf("%q was accepted", tag)
			}
		}
	})
}

func testSessions(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()
	tag := f.sessionID.Tag()

	_, err := s.Session(ctx, tag)
	wantErr(t, err, tokenstore.ErrNotFound)
	noErr(t, s.CreateSession(ctx, tag, f.session))
	wantErr(t, s.CreateSession(ctx, tag, f.session), tokenstore.ErrExists)
	held, err := s.Session(ctx, tag)
	noErr(t, err)
	equal(t, held.Value, f.session)

	t.Run("Z-4: each step needs the state that the last one left", func(t *testing.T) {
		next := held.Value
		next.Phase = tokenstore.Redeeming
		second, err := s.SwapSession(ctx, held, next)
		noErr(t, err)
		equal(t, second.Value, next)
		_, err = s.SwapSession(ctx, held, next)
		wantErr(t, err, tokenstore.ErrChanged)
		next.Phase = tokenstore.Consumed
		_, err = s.SwapSession(ctx, second, next)
		noErr(t, err)
		now, err := s.Session(ctx, tag)
		noErr(t, err)
		equal(t, now.Value, next)
	})
	t.Run("an expired session is still returned, so that it can be called expired", func(t *testing.T) {
		late := newFlow(t)
		late.session.Expires = time.Now().Add(-time.Minute).UTC()
		noErr(t, s.CreateSession(ctx, late.sessionID.Tag(), late.session))
		held, err := s.Session(ctx, late.sessionID.Tag())
		noErr(t, err)
		equal(t, held.Value, late.session)
	})
}

func testGrants(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()

	t.Run("a grant without a connection is not stored", func(t *testing.T) {
		wantErr(t, s.PutGrant(ctx, f.token, f.grant), tokenstore.ErrNotFound)
		_, err := s.Grant(ctx, f.token)
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("a grant comes back as it was put", func(t *testing.T) {
		noErr(t, s.PutConnection(ctx, f.token.Tag(), f.connection, f.session.Expires))
		noErr(t, s.PutGrant(ctx, f.token, f.grant))
		held, err := s.Grant(ctx, f.token)
		noErr(t, err)
		equal(t, held.Value, f.grant)
	})
	t.Run("another token of the same connection is unknown", func(t *testing.T) {
		_, err := s.Grant(ctx, ath.NewToken(f.token.Tag()))
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("Z-4: the loser's grant goes, the winner's connection stays", func(t *testing.T) {
		loser := ath.NewToken(f.token.Tag())
		noErr(t, s.PutGrant(ctx, loser, f.grant))
		noErr(t, s.DeleteGrant(ctx, loser))
		_, err := s.Grant(ctx, loser)
		wantErr(t, err, tokenstore.ErrNotFound)
		reading, err := s.Read(ctx, f.token, f.agent.ID)
		noErr(t, err)
		if reading.Grant == nil || reading.Connection == nil {
			t.Fatalf("the winner lost something: %+v", reading)
		}
	})
	t.Run("a grant for another connection than its token's is refused", func(t *testing.T) {
		if err := s.PutGrant(ctx, ath.NewToken(ath.NewTag()), f.grant); err == nil {
			t.Fatal("it was stored")
		}
	})
	t.Run("no token is no grant", func(t *testing.T) {
		if _, err := s.Grant(ctx, ath.Token{}); err == nil {
			t.Fatal("the zero token was accepted")
		}
	})
	t.Run("a token that JSON would change is not stored", func(t *testing.T) {
		odd := f.connection
		odd.Access = ath.NewSecret("tok\xff")
		if err := s.PutConnection(ctx, ath.NewTag(), odd, f.session.Expires); err == nil {
			t.Fatal("it was stored")
		}
	})
}

func testRevocation(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()
	f.store(t, s)
	held, err := s.Grant(ctx, f.token)
	noErr(t, err)
	at := f.grant.Issued.Add(time.Minute)

	t.Run("V-4: the next read finds the token dead", func(t *testing.T) {
		noErr(t, s.Revoke(ctx, held, at))
		reading, err := s.Read(ctx, f.token, f.agent.ID)
		noErr(t, err)
		if reading.Grant == nil || !reading.Grant.Revoked.Equal(at) {
			t.Fatalf("the grant is %+v", reading.Grant)
		}
		if reading.Connection != nil {
			t.Fatal("the connection outlived its last grant")
		}
	})
	t.Run("revoking again changes nothing, from an old reading or a new one", func(t *testing.T) {
		noErr(t, s.Revoke(ctx, held, at.Add(time.Hour)))
		now, err := s.Grant(ctx, f.token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, now, at.Add(time.Hour)))
		if now, err = s.Grant(ctx, f.token); err != nil || !now.Value.Revoked.Equal(at) {
			t.Fatalf("revoked at %v, %v", now.Value.Revoked, err)
		}
	})
	t.Run("a grant that is gone is as good as revoked", func(t *testing.T) {
		g := newFlow(t)
		g.store(t, s)
		held, err := s.Grant(ctx, g.token)
		noErr(t, err)
		noErr(t, s.DeleteGrant(ctx, g.token))
		noErr(t, s.Revoke(ctx, held, at))
	})
	t.Run("a revocation at no time is one at the present", func(t *testing.T) {
		g := newFlow(t)
		g.store(t, s)
		held, err := s.Grant(ctx, g.token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, held, time.Time{}))
		if held, err = s.Grant(ctx, g.token); err != nil || held.Value.Revoked.IsZero() {
			t.Fatalf("the grant lives: %+v, %v", held.Value, err)
		}
	})
	t.Run("V-1: no other grant of the connection is touched", func(t *testing.T) {
		g := newFlow(t)
		g.store(t, s)
		second := ath.NewToken(g.token.Tag())
		noErr(t, s.PutGrant(ctx, second, g.grant))
		held, err := s.Grant(ctx, g.token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, held, at))
		reading, err := s.Read(ctx, second, g.agent.ID)
		noErr(t, err)
		if reading.Grant == nil || !reading.Grant.Revoked.IsZero() || reading.Connection == nil {
			t.Fatalf("the second grant reads %+v", reading)
		}
	})
}

func testRead(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()
	f.store(t, s)
	stranger := newFlow(t)
	noErr(t, s.CreateAgent(ctx, stranger.agent))

	t.Run("all that a decision needs", func(t *testing.T) {
		got, err := s.Read(ctx, f.token, f.agent.ID)
		noErr(t, err)
		equal(t, got, tokenstore.Reading{Grant: &f.grant, Connection: &f.connection, Agent: &f.agent})
	})
	t.Run("the same by the token's tag and digest", func(t *testing.T) {
		got, err := s.ReadHeld(ctx, f.token.Tag(), f.token.Digest(), f.agent.ID)
		noErr(t, err)
		equal(t, got, tokenstore.Reading{Grant: &f.grant, Connection: &f.connection, Agent: &f.agent})
		got, err = s.ReadHeld(ctx, f.token.Tag(), ath.DigestOf("another"), f.agent.ID)
		noErr(t, err)
		equal(t, got, tokenstore.Reading{Agent: &f.agent})
		if got, err = s.ReadHeld(ctx, f.token.Tag(), ath.Digest{}, f.agent.ID); err == nil || got != (tokenstore.Reading{}) {
			t.Fatalf("no digest reads %+v, %v", got, err)
		}
	})
	t.Run("P-2: the agent is the one that was named, whoever's the grant is", func(t *testing.T) {
		got, err := s.Read(ctx, f.token, stranger.agent.ID)
		noErr(t, err)
		equal(t, got.Agent, &stranger.agent)
		equal(t, got.Grant, &f.grant)
	})
	t.Run("an unknown agent is not there", func(t *testing.T) {
		for _, id := range []string{"", "https://nobody.example/", strings.Repeat("x", 1<<20)} {
			got, err := s.Read(ctx, f.token, id)
			noErr(t, err)
			if got.Agent != nil {
				t.Fatalf("%.20q is %+v", id, got.Agent)
			}
		}
	})
	t.Run("an unknown token reads no connection, also where there is one", func(t *testing.T) {
		got, err := s.Read(ctx, ath.NewToken(f.token.Tag()), f.agent.ID)
		noErr(t, err)
		equal(t, got, tokenstore.Reading{Agent: &f.agent})
	})
	t.Run("no token reads nothing", func(t *testing.T) {
		got, err := s.Read(ctx, ath.Token{}, f.agent.ID)
		if err == nil || got != (tokenstore.Reading{}) {
			t.Fatalf("read %+v, %v", got, err)
		}
	})
}

func testOnce(t *testing.T, b backend) {
	s, ctx, tag := b.open(t), t.Context(), ath.NewTag()
	for _, step := range []struct {
		name        string
		tag         ath.Tag
		what, value string
		first       bool
	}{
		{"the first use", tag, "jti", "a", true},
		{"A-5: the second use", tag, "jti", "a", false},
		{"another value", tag, "jti", "b", true},
		{"another purpose", tag, "refetch", "a", true},
		{"another agent", ath.NewTag(), "jti", "a", true},
		{"any bytes", tag, "jti", "}{\x00\n" + strings.Repeat("y", 1000), true},
	} {
		t.Run(step.name, func(t *testing.T) {
			first, err := s.Once(ctx, step.tag, step.what, step.value, time.Minute)
			if err != nil || first != step.first {
				t.Fatalf("first is %v, %v; want %v", first, err, step.first)
			}
		})
	}
	t.Run("it is forgotten after its time", func(t *testing.T) {
		short := func() bool {
			first, err := s.Once(ctx, tag, "jti", "short", time.Millisecond)
			noErr(t, err)
			return first
		}
		if !short() {
			t.Fatal("the first use was not")
		}
		if b.url == tokenstore.Embedded || strings.Contains(b.url, "sesame") {
			return // miniredis ages by the second, if at all
		}
		time.Sleep(20 * time.Millisecond) // the server ages by its own clock
		if !short() {
			t.Fatal("it was remembered too long")
		}
	})
	for name, call := range map[string]func() (bool, error){
		"a time of zero":     func() (bool, error) { return s.Once(ctx, tag, "jti", "z", 0) },
		"no purpose":         func() (bool, error) { return s.Once(ctx, tag, "", "z", time.Minute) },
		"a record's name":    func() (bool, error) { return s.Once(ctx, tag, "grant", "z", time.Minute) },
		"a name with colons": func() (bool, error) { return s.Once(ctx, tag, "a:b", "z", time.Minute) },
		"no tag":             func() (bool, error) { return s.Once(ctx, "", "jti", "z", time.Minute) },
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			if first, err := call(); err == nil || first {
				t.Fatalf("first is %v, %v", first, err)
			}
		})
	}
}

func testIssuers(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	const issuer, other = "https://login.example.com", "https://login.example.com/"
	notified(t, s)
	watch := s.Watch()
	defer watch.Close()
	none, err := s.Issuer(ctx, issuer)
	noErr(t, err)
	equal(t, none.Value, tokenstore.Issuer{})
	asked := time.Now().UTC().Truncate(time.Second)
	first := tokenstore.Issuer{Issuer: issuer, Accepted: `{"issuer":"a"}`, First: "https://login.example.com/token", Asked: asked}
	noErr(t, s.SwapIssuer(ctx, none, first))
	awaitChange(t, watch, tokenstore.IssuerChanged, tokenstore.IssuerTag(issuer), ath.Digest{})
	one, err := s.Issuer(ctx, issuer)
	noErr(t, err)
	equal(t, one.Value, first)
	t.Run("of two that write at once one is told", func(t *testing.T) {
		wantErr(t, s.SwapIssuer(ctx, none, first), tokenstore.ErrChanged)
		next := first
		next.Moved, next.MovedSince = `{"issuer":"b"}`, asked
		noErr(t, s.SwapIssuer(ctx, one, next))
		wantErr(t, s.SwapIssuer(ctx, one, first), tokenstore.ErrChanged)
		now, err := s.Issuer(ctx, issuer)
		noErr(t, err)
		equal(t, now.Value, next)
	})
	t.Run("a record is one issuer's", func(t *testing.T) {
		elsewhere, err := s.Issuer(ctx, other)
		noErr(t, err)
		equal(t, elsewhere.Value, tokenstore.Issuer{})
		if s.SwapIssuer(ctx, elsewhere, first) == nil || s.SwapIssuer(ctx, tokenstore.Held[tokenstore.Issuer]{}, first) == nil {
			t.Error("another issuer's is replaced")
		}
		if b.raw == nil {
			return
		}
		at := func(issuer string) string { return "ath:{" + string(tokenstore.IssuerTag(issuer)) + "}:issuer" }
		noErr(t, b.raw.Set(ctx, at(other), b.raw.Get(ctx, at(issuer)).Val(), time.Minute).Err())
		_, err = s.Issuer(ctx, other)
		wantErr(t, err, tokenstore.ErrCorrupt)
	})
}

func testHosts(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	suspended := func(name string) tokenstore.HostSuspension {
		pattern, err := ath.ParseHostPattern(name)
		noErr(t, err)
		return tokenstore.HostSuspension{Hosts: pattern, By: "ops", Since: time.Now().UTC().Truncate(time.Second)}
	}
	first, second := suspended("evil.example"), suspended("*.worse.example")
	none, err := s.HostSuspensions(ctx)
	noErr(t, err)
	if len(none.Value) != 0 {
		t.Fatalf("at first they are %+v", none.Value)
	}
	noErr(t, s.SwapHostSuspensions(ctx, none, []tokenstore.HostSuspension{first}))
	one, err := s.HostSuspensions(ctx)
	noErr(t, err)
	equal(t, one.Value, []tokenstore.HostSuspension{first})

	t.Run("R-6: of two operators at once neither's word is lost", func(t *testing.T) {
		wantErr(t, s.SwapHostSuspensions(ctx, none, []tokenstore.HostSuspension{second}), tokenstore.ErrChanged)
		noErr(t, s.SwapHostSuspensions(ctx, one, []tokenstore.HostSuspension{first, second}))
		wantErr(t, s.SwapHostSuspensions(ctx, one, nil), tokenstore.ErrChanged)
		both, err := s.HostSuspensions(ctx)
		noErr(t, err)
		equal(t, both.Value, []tokenstore.HostSuspension{first, second})
	})
	t.Run("what was never read swaps with nothing", func(t *testing.T) {
		if err := s.SwapHostSuspensions(ctx, tokenstore.Held[[]tokenstore.HostSuspension]{}, nil); err == nil {
			t.Fatal("it did")
		}
	})
}

func testReady(t *testing.T, b backend) {
	health, err := b.open(t).Ready(t.Context())
	noErr(t, err)
	switch {
	case b.url == tokenstore.Embedded:
		equal(t, health, tokenstore.Health{Server: "embedded", Embedded: true})
	case strings.Contains(b.url, "sesame"):
		equal(t, health, tokenstore.Health{Server: "redis"}) // miniredis does not tell
	default:
		if !strings.HasPrefix(health.Server, "redis ") && !strings.HasPrefix(health.Server, "valkey ") ||
			!health.Persistent || health.Evicts != "" || health.Embedded {
			t.Fatalf("health is %+v", health)
		}
	}
}
