package authz

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// A renewer does what a test says, and counts.
type renewer struct {
	result       vault.Result
	then         func() // what the wait changes
	soon, renews int
}

func (r *renewer) Soon(*provider.Provider, *tokenstore.Grant, *tokenstore.Connection) { r.soon++ }

func (r *renewer) Renew(context.Context, *provider.Provider, *tokenstore.Grant, *tokenstore.Connection) vault.Result {
	if r.renews++; r.then != nil {
		r.then()
	}
	return r.result
}

// What a wait for a new upstream token brings is judged by what is stored then.
//
// proves: P-6, V-4
func TestARefreshedTokenIsJudgedByWhatIsStoredThen(t *testing.T) {
	for _, tt := range []struct {
		name   string
		left   time.Duration // of the upstream token
		result vault.Result
		then   func(*stored)
		break_ func(*Request)
		want   Reason
		renews int
		soon   int
	}{
		{"it lives for long", time.Hour, vault.Refused, nil, nil, Allowed, 0, 0},
		{"it ends soon", time.Minute, vault.Refused, nil, nil, Allowed, 0, 1},
		{"it ends soon, and the request is refused", time.Minute, vault.Refused, nil, func(r *Request) { r.Path = "/ath/proxy/shop/orders" }, ScopeMissing, 0, 0},
		{"it has ended, and the request is refused", 0, vault.Renewed, nil, func(r *Request) { r.Path = "/ath/proxy/shop/orders" }, ScopeMissing, 0, 0},
		{"it is refreshed", 0, vault.Renewed, func(s *stored) { s.fresh() }, nil, Allowed, 1, 0},
		{"it is said to be, and is not", 0, vault.Renewed, nil, nil, ProviderUnavailable, 1, 0},
		{"the provider gives none yet", 0, vault.ProviderAway, nil, nil, ProviderUnavailable, 1, 0},
		{"Redis does not answer", 0, vault.StoreAway, nil, nil, StoreUnavailable, 1, 0},
		{"it cannot be refreshed", 0, vault.Refused, nil, nil, ReauthorizationRequired, 1, 0},
		{"it is refreshed, and the grant was revoked meanwhile", 0, vault.Renewed, func(s *stored) {
			s.fresh()
			g := *s.grant
			g.Revoked = now
			s.grant = &g
		}, nil, TokenRevoked, 1, 0},
		{"it is refreshed, and the agent was suspended meanwhile", 0, vault.Renewed, func(s *stored) {
			s.fresh()
			a := *s.agents[agentID]
			a.Suspended = true
			s.agents[agentID] = &a
		}, nil, AgentNotApproved, 1, 0},
		{"the connection has ended meanwhile", 0, vault.Renewed, func(s *stored) { s.connection = nil }, nil, ReauthorizationRequired, 1, 0},
		{"it is refreshed with fewer scopes", 0, vault.Renewed, func(s *stored) {
			s.fresh()
			s.connection.Scopes, s.connection.RefreshStatus.Narrowed = ath.Scopes{"orders:write"}, true
		}, nil, ScopeMissing, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, request := good()
			s.connection.Expires, s.connection.Refresh = now.Add(tt.left), ath.NewSecret("refresh")
			if tt.break_ != nil {
				tt.break_(&request)
			}
			r := &renewer{result: tt.result}
			if tt.then != nil {
				r.then = func() { tt.then(s) }
			}
			d, err := New(Config{
				Store: s, Renewer: r, Providers: provider.NewProviders(providers(t)), Audit: audit.New(audit.Config{Writer: &recorder{}, JSON: true}),
				Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
			})
			if err != nil {
				t.Fatal(err)
			}
			decision := d.Decide(t.Context(), request)
			if decision.Reason() != tt.want || r.renews != tt.renews || r.soon != tt.soon {
				t.Errorf("%s, after %d waits and %d hints; want %s, %d and %d", decision.Reason(), r.renews, r.soon, tt.want, tt.renews, tt.soon)
			}
			if decision.Allowed() && tt.renews > 0 && !decision.credential.Equal("fresh") {
				t.Error("the old token is sent")
			}

			// Who asks how it would be decided has nothing refreshed.
			r.renews, r.soon = 0, 0
			if _, err := d.Explain(t.Context(), Question{Token: s.token.Secret(), Method: "GET", URL: request.Path}); err != nil {
				t.Fatal(err)
			}
			if r.renews+r.soon != 0 {
				t.Error("an explanation refreshes")
			}
		})
	}
}

// fresh replaces the connection by one with a new token.
func (s *stored) fresh() {
	c := *s.connection
	c.Access, c.Expires = ath.NewSecret("fresh"), now.Add(time.Hour)
	s.connection = &c
}
