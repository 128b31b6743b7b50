package watch

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A replica is what of an athd has to do with streams: a store, a decider, a registry.
type replica struct {
	store     *tokenstore.Store
	decider   *authz.Decider
	providers *provider.Providers
	registry  *Registry
}

const shopJSON = `{"shop": {"display_name": "Shop", "available_scopes": ["read", "write"],
 "authorize_endpoint": "https://auth.shop.example/authorize", "token_endpoint": "https://auth.shop.example/token",
 "api_base_url": "https://api.shop.example", "client_id": "c", "client_secret": "s",
 "scope_rules": [{"scope": "read", "methods": ["GET"], "paths": ["/**"]}, {"scope": "write", "methods": ["POST"], "paths": ["/**"]}]}}`

func parsed(t *testing.T, text string) *provider.Set {
	t.Helper()
	list, faults := provider.Parse("providers.json", []byte(text), provider.Options{PublicURL: "https://gw.example"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	all, err := provider.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func newReplica(t *testing.T, url string, keys *tokenstore.Keyset) *replica {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	store, err := tokenstore.Open(tokenstore.Config{URL: url, Keyset: keys, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	r := &replica{store: store, providers: provider.NewProviders(parsed(t, shopJSON))}
	log := audit.New(audit.Config{Writer: io.Discard})
	t.Cleanup(func() { log.Close() })
	if r.decider, err = authz.New(authz.Config{Store: store, Held: store, Providers: r.providers, Audit: log, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	if r.registry, err = New(Config{
		Holds: r.decider.Holds, Changes: func() Changes { return store.Watch() }, Providers: r.providers, Limits: DefaultLimits(), Audit: log, Logger: quiet,
	}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.registry.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return r
}

// A granted is an agent with a token, and a call of it.
type granted struct {
	agent    tokenstore.Agent
	token    ath.Token
	standing ath.RenewalToken // that it came with
	ref      tokenstore.ConnectionRef
	call     Call
}

// refreshed has a refresh at r bring a connection that is another one.
func refreshed(r *replica, edit func(*tokenstore.Connection)) func(context.Context, granted) error {
	return func(ctx context.Context, g granted) error {
		state, err := r.store.RefreshState(ctx, g.ref)
		if err != nil {
			return err
		}
		refresh, err := r.store.NewRefresh(state, tokenstore.Attempt{Of: ath.DigestOf("refresh"), Unknown: true})
		if err != nil {
			return err
		}
		next := state.Connection
		edit(&next)
		return errors.Join(r.store.BeginRefresh(ctx, refresh, time.Second), r.store.FinishRefresh(ctx, refresh, &next, 0))
	}
}

// grant has an agent get a token, as the handshake would, and call at r.
func grant(t *testing.T, r *replica, renewal bool) granted {
	t.Helper()
	id, err := ath.ParseAgentID("https://agents.example/"+ath.NewKey().Reveal(), false)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	g := granted{token: ath.NewToken(ath.NewTag()), agent: tokenstore.Agent{
		ID: id.String(), ClientID: ath.NewClientID(id).String(), ApprovalExpires: now.Add(24 * time.Hour), Registered: now,
		Approvals: []tokenstore.Approval{{Provider: "shop", Approved: ath.Scopes{"read", "write"}}},
	}}
	shop := r.providers.Current().Get("shop")
	stored := tokenstore.Grant{
		Agent: g.agent.ID, ClientID: g.agent.ClientID, User: "user-1", Provider: "shop", Scopes: ath.Scopes{"read", "write"},
		Connection: g.token.Tag(), Issued: now, Expires: now.Add(time.Hour),
	}
	connection := tokenstore.Connection{
		Agent: g.agent.ID, User: "user-1", Provider: "shop", Access: ath.NewSecret("upstream"), Scopes: ath.Scopes{"read", "write"},
		Created: now, Destination: shop.Destination(), Bound: shop.Bound(),
	}
	ctx := t.Context()
	for _, err := range []error{r.store.CreateAgent(ctx, g.agent), r.store.PutConnection(ctx, g.token.Tag(), connection, now.Add(time.Hour))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if renewal {
		terms := ath.RenewalTerms{Max: 24 * time.Hour, Idle: 24 * time.Hour}
		g.standing = ath.NewRenewalToken(g.token.Tag())
		stored.Renewal = g.standing.Digest()
		err = r.store.PutRenewal(ctx, g.standing, tokenstore.Renewal{
			Agent: g.agent.ID, ClientID: g.agent.ClientID, User: "user-1", Provider: "shop", Scopes: stored.Scopes, Connection: g.token.Tag(),
			Terms: terms, Issued: now, Used: now,
		}, g.token, stored)
	} else {
		err = r.store.PutGrant(ctx, g.token, stored)
	}
	if err != nil {
		t.Fatal(err)
	}
	d := r.decider.Decide(ctx, authz.Request{
		Method: "GET", Path: "/ath/proxy/shop/x", Provider: "shop", Mount: "/ath/proxy/shop/",
		Authorization: []string{"Bearer " + g.token.Secret().Reveal()}, AgentID: []string{g.agent.ID},
	})
	if !d.Allowed() {
		t.Fatal(d.Reason())
	}
	g.ref = stored.Ref()
	// It takes the way of Envoy's metadata.
	held, err := authz.ParseHeld(d.Held().Text())
	if err != nil {
		t.Fatal(err)
	}
	g.call = Call{Held: held, Decision: d.ID}
	return g
}

// begin takes a call under watch at r, and returns where its end comes.
func (r *replica) begin(t *testing.T, c Call) <-chan Reason {
	t.Helper()
	ended := make(chan Reason, 1)
	c.Ended = func(why Reason) { ended <- why }
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := r.registry.Begin(t.Context(), c)
		if err == nil {
			return ended
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// refusal is why r, which has watched a call, does not take another one.
func (r *replica) refusal(t *testing.T, c Call) Reason {
	t.Helper()
	c.Ended = func(Reason) {}
	_, err := r.registry.Begin(t.Context(), c)
	why, ok := errors.AsType[*Refusal](err)
	if !ok {
		t.Fatalf("it is watched: %v", err)
	}
	return why.Reason
}

// What is taken away at one replica ends calls at all, whichever judged them; and
// nobody else's.
// proves: V-4, R-6, V-6, O-2, P-4
func TestStreamsEndOnEveryReplica(t *testing.T) {
	server := miniredis.RunT(t)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	one, two := newReplica(t, "redis://"+server.Addr(), keys), newReplica(t, "redis://"+server.Addr(), keys)
	agent := func(edit func(*tokenstore.Agent)) func(context.Context, granted) error {
		return func(ctx context.Context, g granted) error {
			held, err := one.store.Agent(ctx, ath.AgentTag(g.agent.ID))
			if err != nil {
				return err
			}
			next := held.Value
			edit(&next)
			return one.store.SwapAgent(ctx, held, next)
		}
	}
	for name, c := range map[string]struct {
		do      func(context.Context, granted) error
		renewal bool
		want    map[Reason]bool
	}{
		"revoked": {func(ctx context.Context, g granted) error {
			held, err := one.store.Grant(ctx, g.token)
			if err != nil {
				return err
			}
			return one.store.Revoke(ctx, held, time.Now())
		}, false, map[Reason]bool{"token_revoked": true}},
		"its renewal revoked": {func(ctx context.Context, g granted) error {
			held, err := one.store.Renewal(ctx, g.standing)
			if err != nil {
				return err
			}
			return one.store.EndRenewal(ctx, held, time.Now())
		}, true, map[Reason]bool{"token_revoked": true}},
		"suspended": {agent(func(a *tokenstore.Agent) { a.Suspended, a.Generation = true, a.Generation+1 }), false, map[Reason]bool{"agent_not_approved": true}},
		"narrowed": {agent(func(a *tokenstore.Agent) {
			a.Approvals = []tokenstore.Approval{{Provider: "shop", Approved: ath.Scopes{"write"}}}
		}), false, map[Reason]bool{"scope_missing": true}},
		"approval over": {agent(func(a *tokenstore.Agent) { a.ApprovalExpires = time.Now() }), false, map[Reason]bool{"approval_expired": true}},
		"connection ended": {func(ctx context.Context, g granted) error {
			_, err := one.store.EndConnections(ctx, g.agent.ID, time.Now())
			return err
		}, false, map[Reason]bool{"token_revoked": true, "reauthorization_required": true}},
		"ended by its provider": {refreshed(one, func(c *tokenstore.Connection) { c.Ended = true }), false, map[Reason]bool{"reauthorization_required": true}},
		"narrowed by its provider": {refreshed(one, func(c *tokenstore.Connection) {
			c.Access, c.Scopes, c.RefreshStatus.Narrowed = ath.NewSecret("upstream of less"), ath.Scopes{"write"}, true
		}), false, map[Reason]bool{"scope_missing": true}},
		"removed": {func(ctx context.Context, g granted) error {
			held, err := one.store.Agent(ctx, ath.AgentTag(g.agent.ID))
			if err != nil {
				return err
			}
			return one.store.RemoveAgent(ctx, held)
		}, false, map[Reason]bool{"agent_unknown": true}},
	} {
		t.Run(name, func(t *testing.T) {
			g, other := grant(t, one, c.renewal), grant(t, two, false)
			here, there := one.begin(t, g.call), two.begin(t, g.call)
			lives := two.begin(t, other.call)
			began := time.Now()
			if err := c.do(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			for where, ended := range map[string]<-chan Reason{"here": here, "there": there} {
				select {
				case why := <-ended:
					t.Logf("%s: %s after %v", where, why, time.Since(began).Round(10*time.Microsecond))
					if !c.want[why] {
						t.Errorf("%s: %s", where, why)
					}
				case <-time.After(10 * time.Second):
					t.Fatal(where + ": it goes on")
				}
			}
			select {
			case why := <-lives:
				t.Errorf("another agent's ended: %s", why)
			default:
			}
		})
	}
	t.Run("policy and providers of one replica", func(t *testing.T) {
		g := grant(t, one, false)
		here, there := one.begin(t, g.call), two.begin(t, g.call)
		scope, err := approval.ParseGlob("read")
		if err != nil {
			t.Fatal(err)
		}
		if err := one.decider.UsePolicy(approval.Policy{Default: approval.Review, Rules: []approval.Rule{{Scopes: []approval.Glob{scope}, Action: approval.Deny}}}); err != nil {
			t.Fatal(err)
		}
		one.registry.JudgeAll()
		two.providers.Replace(nil)
		if a, b := <-here, <-there; a != "scope_denied" || b != "provider_unknown" {
			t.Errorf("%s and %s", a, b)
		}
	})
	for i, r := range []*replica{one, two} {
		if n := r.registry.Len(); n > 8 {
			t.Errorf("replica %d still watches %d", i, n)
		}
	}
}

// A call that was allowed by other rules than those by which it would be watched may
// be one that these do not cover: a reload came in between, or the replicas' files are
// not the same yet.
// proves: P-4
func TestACallThatOtherRulesAllowedIsNotWatched(t *testing.T) {
	server := miniredis.RunT(t)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	one, two := newReplica(t, "redis://"+server.Addr(), keys), newReplica(t, "redis://"+server.Addr(), keys)
	next := parsed(t, strings.Replace(shopJSON, `"methods": ["GET"], "paths": ["/**"]`, `"methods": ["GET"], "paths": ["/items/**"]`, 1))
	before, elsewhere := grant(t, one, false), grant(t, one, false)
	for _, r := range []*replica{one, two} {
		r.begin(t, before.call) // each would watch it
	}
	two.providers.Replace(next)
	if why := two.refusal(t, elsewhere.call); why != Reason(authz.ScopeMissing) {
		t.Errorf("a replica with other rules: %q", why)
	}
	one.providers.Replace(next)
	if why := one.refusal(t, before.call); why != Reason(authz.ScopeMissing) {
		t.Errorf("after a reload: %q", why)
	}
}
