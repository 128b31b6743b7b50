package tokenstore_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// told collects what Config.Unreadable is called with.
type told struct {
	mu   sync.Mutex
	seen []string
}

func (x *told) tell(record, key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seen = append(x.seen, record+" "+key)
}

func (x *told) take() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := x.seen
	x.seen = nil
	return out
}

// queues has every grant revoked at its provider.
type queues struct{}

func (queues) Judge(ath.Tag, *tokenstore.Connection) tokenstore.Upstream {
	return tokenstore.UpstreamQueued
}

func (queues) Ended(tokenstore.ConnectionRef, tokenstore.Upstream) {}

// testCopied copies the bytes of each sealed record over those of each other one,
// of the same user and of another, of another version and of another keyset: none
// is read, and each is told.
//
// proves: T-3
func testCopied(t *testing.T, b backend) {
	ctx := t.Context()
	var unreadable told
	// What leads to a shared connection below the tag of a key that is gone.
	rotated, together := newRotation(t), shared(t, "alice")
	together.share(t, b.with(t, rotated.added), time.Now())
	rewrap(t, b.with(t, rotated.promoted), tokenstore.Rewrap{})
	b.keys = rotated.after
	s := b.open(t, func(c *tokenstore.Config) { c.Unreadable, c.Upstream = unreadable.tell, queues{} })
	at := func(tag ath.Tag, rest string) string { return "ath:{" + string(tag) + "}:" + rest }
	type record struct {
		kind, key, said string
		read            func() error
	}
	const issuer = "https://login.example"
	all := func(f flow) []record {
		f.store(t, s)
		r := newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, r, time.Minute))
		tag, left := f.token.Tag(), ath.NewTag()
		_, err := s.HandRevocation(ctx, left, &f.connection)
		noErr(t, err)
		renewal := f.standing(t, s)
		return []record{
			{"agent", at(ath.AgentTag(f.agent.ID), "agent"), at(ath.AgentTag(f.agent.ID), "agent"), func() error { _, err := s.Agent(ctx, ath.AgentTag(f.agent.ID)); return err }},
			{"session", at(f.sessionID.Tag(), "session"), at(f.sessionID.Tag(), "session"), func() error { _, err := s.Session(ctx, f.sessionID.Tag()); return err }},
			{"grant", at(tag, "grant:"+f.token.Digest().String()), at(tag, "grant"), func() error { _, err := s.Read(ctx, f.token, f.agent.ID); return err }},
			{"renewal", at(tag, "renewal:"+renewal.Digest().String()), at(tag, "renewal"), func() error { _, err := s.Renewal(ctx, renewal); return err }},
			{"conn", at(tag, "conn"), at(tag, "conn"), func() error { _, err := s.Read(ctx, f.token, f.agent.ID); return err }},
			{"refresh", at(tag, "refresh"), at(tag, "refresh"), func() error { _, err := s.RefreshState(ctx, refOf(f)); return err }},
			{"owner", at(tag, "owner"), at(tag, "owner"), func() error { _, err := s.Connection(ctx, tag); return err }},
			{"revocation", at(left, "revocation"), at(left, "revocation"), func() error { _, err := s.Revocation(ctx, left); return err }},
		}
	}
	mine, others := newFlow(t), newFlow(t)
	others.connection.User, others.grant.User = "u2", "u2"
	own := all(mine)
	hosts, err := s.HostSuspensions(ctx)
	noErr(t, err)
	pattern, err := ath.ParseHostPattern("evil.example")
	noErr(t, err)
	noErr(t, s.SwapHostSuspensions(ctx, hosts, []tokenstore.HostSuspension{{Hosts: pattern, By: "ops", Since: time.Now()}}))
	held, err := s.Issuer(ctx, issuer)
	noErr(t, err)
	noErr(t, s.SwapIssuer(ctx, held, tokenstore.Issuer{Issuer: issuer, Accepted: "{}", First: issuer + "/token", Asked: time.Now()}))
	own = append(own,
		record{"hosts", "ath:{suspended-hosts-}:hosts", "ath:{suspended-hosts-}:hosts", func() error { _, err := s.HostSuspensions(ctx); return err }},
		record{"issuer", at(tokenstore.IssuerTag(issuer), "issuer"), at(tokenstore.IssuerTag(issuer), "issuer"), func() error { _, err := s.Issuer(ctx, issuer); return err }},
	)
	addProvider(t, s, runtimeProvider("shop"))
	addProvider(t, s, runtimeProvider("depot"))
	added := func(id string) record {
		return record{"provider", "ath:{providers}:provider:" + string(tokenstore.ProviderTag(id)), "ath:{providers}:provider", func() error {
			_, err := s.RuntimeProvider(ctx, id)
			return err
		}}
	}
	own = append(own, added("shop"))
	leads := endsWith(t, b.dump(t), ":shared-at")
	own = append(own, record{"shared-at", leads, leads, func() error {
		_, err := s.ShareConnection(ctx, together.agent.ID, together.connection, together.session.Expires, time.Now(), nil)
		return err
	}})
	foreign := append(all(others), added("depot"))

	kinds := map[string]bool{}
	stored := func(key string) string {
		t.Helper()
		raw, err := b.raw.Get(ctx, key).Result()
		noErr(t, err)
		return raw
	}
	sources := map[string]string{}
	for _, r := range append(append([]record{}, own...), foreign...) {
		name := r.kind + " of the same user"
		for _, f := range foreign {
			if f.key == r.key {
				name = r.kind + " of another user"
			}
		}
		sources[name] = stored(r.key)
	}
	for _, r := range own {
		kinds[r.kind] = true
		good := stored(r.key)
		noErr(t, r.read())
		if was := unreadable.take(); len(was) > 0 {
			t.Fatalf("before: %q", was)
		}
		bad := map[string]string{"another version": "\x02" + good[1:], "another keyset": good[:1] + "\x01abcd" + good[6:], "nothing": ""}
		for name, raw := range sources {
			if name != r.kind+" of the same user" {
				bad[name] = raw
			}
		}
		for name, raw := range bad {
			t.Run(r.kind+": "+name+" is refused and told", func(t *testing.T) {
				noErr(t, b.raw.Set(ctx, r.key, raw, 0).Err())
				defer func() { noErr(t, b.raw.Set(ctx, r.key, good, 0).Err()) }()
				// An owner decides nothing, and the grants tell whose it is.
				if err := r.read(); !errors.Is(err, tokenstore.ErrCorrupt) && (r.kind != "owner" || err != nil) {
					t.Errorf("it is read: %v", err)
				}
				if was := unreadable.take(); len(was) == 0 || strings.Join(was, "") != strings.Repeat(r.kind+" "+r.said, len(was)) {
					t.Errorf("told: %q", was)
				}
			})
		}
		noErr(t, r.read())
	}
	for _, kind := range tokenstore.SealedKinds() {
		if !kinds[kind] {
			t.Errorf("%s is not copied here", kind)
		}
	}
}
