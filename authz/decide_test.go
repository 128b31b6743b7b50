package authz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const (
	agentID    = "https://agent.example.com/agent.json"
	otherAgent = "https://other.example.com/agent.json"
	upstream   = "upstream-token-of-the-user"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const providersJSON = `{
 "shop": {"display_name":"Shop","available_scopes":["products:read","orders:write"],
  "authorize_endpoint":"https://auth.shop.example/authorize","token_endpoint":"https://auth.shop.example/token",
  "userinfo_endpoint":"https://users.shop.example/me","api_base_url":"https://api.shop.example/v1","client_id":"c","client_secret":"s",
  "scope_rules":[{"scope":"products:read","methods":["GET"],"paths":["/products/**"]},
                 {"scope":"products:read","methods":["GET"],"paths":["/products/live"],"upgrade":["websocket"]},
                 {"scope":"orders:write","methods":["GET"],"paths":["/products/other"],"upgrade":["websocket"]},
                 {"scope":"orders:write","methods":["POST"],"paths":["/orders"]}]},
 "other": {"display_name":"Other","available_scopes":["products:read"],
  "authorize_endpoint":"https://auth.other.example/authorize","token_endpoint":"https://auth.other.example/token",
  "client_id":"c","client_secret":"s",
  "scope_rules":[{"scope":"products:read","methods":["GET"],"paths":["/**"]}]}
}`

func providers(t testing.TB) *provider.Set {
	t.Helper()
	list, faults := provider.Parse("providers.json", []byte(providersJSON), provider.Options{PublicURL: "https://gw.example"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	set, err := provider.NewSet(append(list, runtimeProvider(list, "tools", "api.shop.example"), runtimeProvider(list, "broken", "127.1"))...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// A stored is what the store holds for one token, and how it answers.
type stored struct {
	token      ath.Token
	grant      *tokenstore.Grant
	connection *tokenstore.Connection
	agents     map[string]*tokenstore.Agent
	err        error
	reads      int
}

func (s *stored) Read(_ context.Context, token ath.Token, agentID string) (tokenstore.Reading, error) {
	s.reads++
	if s.err != nil {
		return tokenstore.Reading{}, s.err
	}
	r := tokenstore.Reading{Agent: s.agents[agentID]}
	if token.Digest() == s.token.Digest() && s.grant != nil {
		r.Grant, r.Connection = s.grant, s.connection
	}
	return r, nil
}

func approvedAgent(id string) *tokenstore.Agent {
	return &tokenstore.Agent{
		ID: id, ClientID: "client of " + id, ApprovalExpires: now.Add(time.Hour),
		Approvals: []tokenstore.Approval{{Provider: "shop", Approved: ath.Scopes{"products:read", "orders:write"}}},
	}
}

// good returns a store and a request that every rule lets pass.
func good() (*stored, Request) {
	token := ath.NewToken(ath.NewTag())
	s := &stored{
		token: token,
		grant: &tokenstore.Grant{
			Agent: agentID, ClientID: "client of " + agentID, User: "user-1", Provider: "shop",
			Scopes: ath.Scopes{"products:read"}, Connection: token.Tag(), Issued: now.Add(-time.Minute), Expires: now.Add(time.Minute),
		},
		connection: &tokenstore.Connection{
			Agent: agentID, User: "user-1", Provider: "shop",
			Access: ath.NewSecret(upstream), Expires: now.Add(time.Minute),
			Destination: "https://auth.shop.example/token c https://api.shop.example",
		},
		agents: map[string]*tokenstore.Agent{agentID: approvedAgent(agentID), otherAgent: approvedAgent(otherAgent)},
	}
	return s, Request{
		Method: "GET", Path: "/ath/proxy/shop/products/7?colour=red", Provider: "shop", Mount: "/ath/proxy/shop/",
		Authorization: []string{"Bearer " + token.Secret().Reveal()}, AgentID: []string{agentID},
	}
}

type recorder struct{ bytes.Buffer }

func newDecider(t testing.TB, s Reader, logs *recorder) *Decider {
	t.Helper()
	logger := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d, err := New(Config{
		Store: s, Providers: provider.NewProviders(providers(t)), Audit: audit.New(audit.Config{Writer: logs, JSON: true}), Logger: logger,
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A refusalCase breaks one thing. rule is the rule that must notice it.
type refusalCase struct {
	name   string
	rule   string
	break_ func(*stored, *Request)
	reason Reason
	status int
	code   ath.Code
}

func refusals() []refusalCase {
	type S = stored
	return []refusalCase{
		{"P-7: TRACE", "P-7 method", func(_ *S, r *Request) { r.Method = "TRACE" }, MethodNotAllowed, 400, ath.InvalidRequest},
		{"P-7: lower-case method", "P-7 method", func(_ *S, r *Request) { r.Method = "get" }, MethodNotAllowed, 400, ath.InvalidRequest},
		{"P-7: no method", "P-7 method", func(_ *S, r *Request) { r.Method = "" }, MethodNotAllowed, 400, ath.InvalidRequest},
		{"P-7: encoded slash", "P-7 target", func(_ *S, r *Request) { r.Path = "/ath/proxy/shop/products%2F7" }, TargetNotCanonical, 400, ath.InvalidRequest},
		{"P-7: path outside the mount", "P-7 target", func(_ *S, r *Request) { r.Path = "/products/7" }, TargetNotCanonical, 400, ath.InvalidRequest},
		{"P-7: path of another mount", "P-7 target", func(_ *S, r *Request) { r.Path = "/ath/proxy/shopping/products/7" }, TargetNotCanonical, 400, ath.InvalidRequest},
		{"P-7: a target of which Envoy may have replaced a byte", "P-7 target", func(_ *S, r *Request) { r.Blurred = true }, TargetNotCanonical, 400, ath.InvalidRequest},
		{"P-7: no path", "P-7 target", func(_ *S, r *Request) { r.Path = "" }, TargetNotCanonical, 400, ath.InvalidRequest},
		{"P-5: a token in the query", "P-5 no token in the query", func(s *S, r *Request) { r.Path += "&access_token=" + s.token.Secret().Reveal() }, TokenInQuery, 400, ath.InvalidRequest},
		{"P-5: a token in the path", "P-5 no token in the query", func(s *S, r *Request) { r.Path = "/ath/proxy/shop/products/" + s.token.Secret().Reveal() }, TokenInQuery, 400, ath.InvalidRequest},
		{"P-5: a token in another header", "P-5 no token in the query", func(_ *S, r *Request) { r.StrayToken = true }, TokenInQuery, 400, ath.InvalidRequest},
		{"P-5: a token in the path, in capitals", "P-5 no token in the query", func(_ *S, r *Request) { r.Path = "/ath/proxy/shop/products/ATH_TK_x" }, TokenInQuery, 400, ath.InvalidRequest},
		{"P-5: a token in the query, encoded five times", "P-5 no token in the query", func(_ *S, r *Request) { r.Path += "&t=%2525252561th_tk_x" }, TokenInQuery, 400, ath.InvalidRequest},
		{"P-5: an encoded token in the query", "P-5 no token in the query", func(_ *S, r *Request) { r.Path += "&t=%2561th%5Ftk%5Fx" }, TokenInQuery, 400, ath.InvalidRequest},
		{"P-1: no Authorization", "P-1 one well-formed token", func(_ *S, r *Request) { r.Authorization = nil }, TokenMissing, 401, ath.TokenInvalid},
		{"P-1: Basic", "P-1 one well-formed token", func(_ *S, r *Request) { r.Authorization = []string{"Basic eDp5"} }, TokenMissing, 401, ath.TokenInvalid},
		{"P-1: another kind of token", "P-1 one well-formed token", func(_ *S, r *Request) { r.Authorization = []string{"Bearer eyJ.e30.x"} }, TokenMalformed, 401, ath.TokenInvalid},
		{"P-1: two Authorization headers", "P-1 one well-formed token", func(_ *S, r *Request) { r.Authorization = append(r.Authorization, r.Authorization[0]) }, TokenMalformed, 401, ath.TokenInvalid},
		{"P-1: two joined by a comma", "P-1 one well-formed token", func(_ *S, r *Request) { r.Authorization[0] += "," + r.Authorization[0] }, TokenMalformed, 401, ath.TokenInvalid},
		{"P-1: two spaces", "P-1 one well-formed token", func(s *S, r *Request) { r.Authorization[0] = "Bearer  " + s.token.Secret().Reveal() }, TokenMalformed, 401, ath.TokenInvalid},
		{"store away: 503", "read", func(s *S, _ *Request) { s.err = fmt.Errorf("get: %w", tokenstore.ErrUnavailable) }, StoreUnavailable, 503, ath.InternalError},
		{"store: an error nobody foresaw", "read", func(s *S, _ *Request) { s.err = errors.New("odd") }, StoreUnavailable, 503, ath.InternalError},
		{"store: a record does not open", "read", func(s *S, _ *Request) { s.err = fmt.Errorf("grant: %w", tokenstore.ErrCorrupt) }, RecordCorrupt, 500, ath.InternalError},
		{"P-1: unknown token", "P-1 known", func(_ *S, r *Request) { r.Authorization[0] = "Bearer " + ath.NewToken(ath.NewTag()).Secret().Reveal() }, TokenUnknown, 401, ath.TokenInvalid},
		{"P-1: revoked token", "P-1 not revoked", func(s *S, _ *Request) { s.grant.Revoked = now.Add(-time.Second) }, TokenRevoked, 401, ath.TokenRevoked},
		{"P-1: expired token", "P-1 not expired", func(s *S, _ *Request) { s.grant.Expires = now }, TokenExpired, 401, ath.TokenExpired},
		{"P-1: a grant without an end", "P-1 not expired", func(s *S, _ *Request) { s.grant.Expires = time.Time{} }, TokenExpired, 401, ath.TokenExpired},
		{"P-2: no agent id", "P-2 one agent id", func(_ *S, r *Request) { r.AgentID = nil }, AgentIDMissing, 403, ath.AgentIdentityMismatch},
		{"P-2: two agent ids", "P-2 one agent id", func(_ *S, r *Request) { r.AgentID = []string{agentID, agentID} }, AgentIDMissing, 403, ath.AgentIdentityMismatch},
		{"P-2: another agent's id", "P-2 the token's agent", func(_ *S, r *Request) { r.AgentID = []string{otherAgent} }, AgentIDMismatch, 403, ath.AgentIdentityMismatch},
		{"P-2: two ids joined", "P-2 the token's agent", func(_ *S, r *Request) { r.AgentID = []string{agentID + "," + agentID} }, AgentIDMismatch, 403, ath.AgentIdentityMismatch},
		{"R-7: registration removed", "standing: registered", func(s *S, _ *Request) { delete(s.agents, agentID) }, AgentUnknown, 403, ath.AgentUnapproved},
		{"R-7: registered again since", "standing: registered", func(s *S, _ *Request) { s.agents[agentID].ClientID = "another" }, AgentUnknown, 403, ath.AgentUnapproved},
		{"R-6: suspended", "standing: approved", func(s *S, _ *Request) { s.agents[agentID].Suspended = true }, AgentNotApproved, 403, ath.AgentUnapproved},
		{"standing: pending", "standing: approved", func(s *S, _ *Request) { pend(s.agents[agentID]) }, AgentNotApproved, 403, ath.AgentUnapproved},
		{"R-6: issued before a suspension that is over", "R-6 not suspended since", func(s *S, _ *Request) { s.agents[agentID].Generation++ }, TokenRevoked, 401, ath.TokenRevoked},
		{"R-5: approval ended", "R-5 approval current", func(s *S, _ *Request) { s.agents[agentID].ApprovalExpires = now }, ApprovalExpired, 403, ath.AgentUnapproved},
		{"P-3: no such provider", "P-3 provider exists", func(_ *S, r *Request) { r.Provider, r.Mount = "nobody", "/ath/proxy/shop/" }, ProviderUnknown, 403, ath.ProviderMismatch},
		{"P-3: a route to no provider", "P-3 provider exists", func(_ *S, r *Request) { r.Provider = "" }, ProviderUnknown, 403, ath.ProviderMismatch},
		{"P-3: another provider's route", "P-3 the token's provider", func(_ *S, r *Request) { r.Provider = "other" }, ProviderMismatch, 403, ath.ProviderMismatch},
		{"P-4: a path that no scope covers", "P-4 scope", func(_ *S, r *Request) { r.Path = "/ath/proxy/shop/orders" }, ScopeMissing, 403, ath.ScopeNotApproved},
		{"P-4: a method that no scope covers", "P-4 scope", func(_ *S, r *Request) { r.Method = "DELETE" }, ScopeMissing, 403, ath.ScopeNotApproved},
		{"P-4: a scope that was not granted", "P-4 scope", func(_ *S, r *Request) { r.Method, r.Path = "POST", "/ath/proxy/shop/orders" }, ScopeMissing, 403, ath.ScopeNotApproved},
		{"P-4: a scope that is approved no more", "P-4 scope", func(s *S, _ *Request) {
			s.agents[agentID].Approvals[0].Approved = ath.Scopes{"orders:write"}
		}, ScopeMissing, 403, ath.ScopeNotApproved},
		{"P-4: a grant without scopes", "P-4 scope", func(s *S, _ *Request) { s.grant.Scopes = nil }, ScopeMissing, 403, ath.ScopeNotApproved},
		{"P-4: a WebSocket that no rule allows", "P-4 upgrade", func(_ *S, r *Request) { r.Upgrade = []string{"websocket"} }, UpgradeNotAllowed, 403, ath.ScopeNotApproved},
		{"P-4: a WebSocket that only a scope which is not held allows", "P-4 upgrade", func(_ *S, r *Request) {
			r.Path, r.Upgrade = "/ath/proxy/shop/products/other", []string{"websocket"}
		}, UpgradeNotAllowed, 403, ath.ScopeNotApproved},
		{"P-4: another protocol than WebSocket", "P-4 upgrade", func(_ *S, r *Request) {
			r.Path, r.Upgrade = "/ath/proxy/shop/products/live", []string{"h2c"}
		}, UpgradeNotAllowed, 403, ath.ScopeNotApproved},
		{"P-4: two protocols", "P-4 upgrade", func(_ *S, r *Request) {
			r.Path, r.Upgrade = "/ath/proxy/shop/products/live", []string{"websocket", "websocket"}
		}, UpgradeNotAllowed, 403, ath.ScopeNotApproved},
		{"P-4: two protocols, joined", "P-4 upgrade", func(_ *S, r *Request) {
			r.Path, r.Upgrade = "/ath/proxy/shop/products/live", []string{"websocket, h2c"}
		}, UpgradeNotAllowed, 403, ath.ScopeNotApproved},
		{"P-4: an empty protocol", "P-4 upgrade", func(_ *S, r *Request) {
			r.Path, r.Upgrade = "/ath/proxy/shop/products/live", []string{""}
		}, UpgradeNotAllowed, 403, ath.ScopeNotApproved},
		{"P-6: the connection is gone", "P-6 credential there", func(s *S, _ *Request) { s.connection = nil }, ReauthorizationRequired, 401, ath.TokenInvalid},
		{"P-6: the provider ended it", "P-6 credential there", func(s *S, _ *Request) { s.connection.Ended = true }, ReauthorizationRequired, 401, ath.TokenInvalid},
		{"P-6: an empty upstream token", "P-6 credential there", func(s *S, _ *Request) { s.connection.Access = ath.Secret{} }, ReauthorizationRequired, 401, ath.TokenInvalid},
		{"O-2: the provider has another host, client or server now", "O-2 credential for this destination", func(s *S, _ *Request) {
			s.connection.Destination = "https://auth.shop.example/token c https://api.other.example"
		}, ReauthorizationRequired, 401, ath.TokenInvalid},
		{"O-2: the provider has another userinfo endpoint now", "O-2 credential for this destination", func(s *S, _ *Request) {
			s.connection.Bound = "uw0000000000000000000000 r"
		}, ReauthorizationRequired, 401, ath.TokenInvalid},
		{"P-3: a run-time provider at no host", "P-3 destination", func(s *S, r *Request) {
			onRuntimeRoute(s, r, "broken")
			s.connection.Destination = "https://auth.shop.example/token c https://127.1"
		}, InternalError, 500, ath.InternalError},
		{"P-6: the upstream token expired", "P-6 credential current", func(s *S, _ *Request) { s.connection.Expires = now }, ReauthorizationRequired, 401, ath.TokenInvalid},
	}
}

func pend(a *tokenstore.Agent) {
	a.Approvals[0].Pending, a.Approvals[0].Approved = a.Approvals[0].Approved, nil
}

// F-19: a WebSocket passes where a rule of a held scope says so, and what is
// allowed says how long the token still lasts.
func TestWebSocketsPassWhereARuleSaysSo(t *testing.T) {
	s, r := good()
	s.grant.Expires, s.agents[agentID].ApprovalExpires = now.Add(40*time.Minute), now.Add(30*time.Minute)
	r.Path, r.Upgrade = "/ath/proxy/shop/products/live", []string{"WebSocket"}
	var logs recorder
	if d := newDecider(t, s, &logs).Decide(t.Context(), r); !d.Allowed() || d.Scope != "products:read" || d.Rest != 30*time.Minute {
		t.Errorf("%v, scope %q, rest %v", d.Reason(), d.Scope, d.Rest)
	}
	r.Upgrade, s.agents[agentID].ApprovalExpires = nil, now.Add(time.Hour)
	if d := newDecider(t, s, &logs).Decide(t.Context(), r); !d.Allowed() || d.Rest != 40*time.Minute {
		t.Errorf("without the upgrade: %v, rest %v", d.Reason(), d.Rest)
	}
}

func TestEveryRuleRefuses(t *testing.T) {
	for _, c := range refusals() {
		t.Run(c.name, func(t *testing.T) {
			s, r := good()
			c.break_(s, &r)
			var logs recorder
			d := newDecider(t, s, &logs).Decide(t.Context(), r)
			checkRefusal(t, &d, c)
			checkLogs(t, logs.String(), s, d.ID)
		})
	}
}

func checkRefusal(t *testing.T, d *Decision, c refusalCase) {
	t.Helper()
	if d.Allowed() || !d.Authorization().IsZero() {
		t.Fatal("the request was allowed")
	}
	e := d.Refusal()
	if d.Reason() != c.reason || e.Code != c.code || e.Status() != c.status {
		t.Fatalf("refused with %q, %s %d; want %q, %s %d", d.Reason(), e.Code, e.Status(), c.reason, c.code, c.status)
	}
	if e.Details["decision_id"] != d.ID || d.ID == "" {
		t.Errorf("E-2: the refusal does not carry its decision_id: %v", e.Details)
	}
	if wants := c.reason == ReauthorizationRequired; wants != (e.Details["reason"] == "reauthorization_required") {
		t.Errorf("P-6: details.reason is %v", e.Details["reason"])
	}
}

func checkLogs(t *testing.T, logs string, s *stored, id string) {
	t.Helper()
	for _, secret := range []string{s.token.Secret().Reveal(), upstream} {
		if strings.Contains(logs, secret) {
			t.Errorf("a log line holds a token:\n%s", logs)
		}
	}
	if n := strings.Count(logs, `"msg":"audit"`); n != 1 {
		t.Errorf("U-1: %d events for one decision:\n%s", n, logs)
	}
	if !strings.Contains(logs, id) {
		t.Error("U-1: the event does not carry the decision_id")
	}
}

// S-10
func TestRefusalsTellTheClientsAddress(t *testing.T) {
	for _, refused := range []bool{true, false} {
		s, r := good()
		r.Client = "203.0.113.7"
		if refused {
			r.AgentID = []string{"https://other.example/agent.json"}
		}
		var logs recorder
		if d := newDecider(t, s, &logs).Decide(t.Context(), r); d.Allowed() == refused {
			t.Fatalf("refused: %v", !d.Allowed())
		}
		if told := strings.Contains(logs.String(), `"client_address":"203.0.113.7"`); told != refused {
			t.Errorf("refused %v, and the event tells the address: %v\n%s", refused, told, logs.String())
		}
	}
}

// Every rule is needed: without it, a case that it must refuse is judged
// otherwise; and no rule is without a case.
func TestEachRuleLeftOutIsNoticed(t *testing.T) {
	for _, left := range allRules() {
		if left.id == "people without a token" || left.id == "athd's own pages" {
			continue // they refuse nobody: people_test.go, companion_test.go
		}
		if left.id == "calls per grant" {
			continue // it refuses no single call: limit_test.go
		}
		t.Run(left.id, func(t *testing.T) {
			cases, noticed := 0, false
			for _, c := range refusals() {
				if c.rule != left.id {
					continue
				}
				cases++
				s, r := good()
				c.break_(s, &r)
				var logs recorder
				d := newDecider(t, s, &logs)
				d.rules = slices.DeleteFunc(allRules(), func(x rule) bool { return x.id == left.id })
				if len(d.rules) != len(allRules())-1 {
					t.Fatal("the rule was not left out")
				}
				decision := d.Decide(t.Context(), r)
				if decision.Reason() != c.reason {
					noticed = true
				}
			}
			if cases == 0 {
				t.Error("no case tries this rule")
			}
			if !noticed {
				t.Error("leaving the rule out changes nothing")
			}
		})
	}
}

func TestAllowCarriesTheUsersToken(t *testing.T) {
	cases := map[string]func(*stored, *Request){
		"P-5: gateway mode":                       func(*stored, *Request) {},
		"P-5: native mode":                        func(_ *stored, r *Request) { r.Mount, r.Path = "", "/products/7" },
		"P-4: HEAD goes with GET":                 func(_ *stored, r *Request) { r.Method = "HEAD" },
		"P-1: the scheme's case does not matter":  func(_ *stored, r *Request) { r.Authorization[0] = "bearer" + r.Authorization[0][6:] },
		"O-2: bound to where its user agreed":     func(s *stored, _ *Request) { s.connection.Bound = "uwWuqYBIyFiv1Gq7m_bDTURQ r" },
		"P-6: an upstream token that has no end":  func(s *stored, _ *Request) { s.connection.Expires = time.Time{} },
		"P-4: a scope that the token holds third": func(s *stored, _ *Request) { s.grant.Scopes = ath.Scopes{"x", "y", "products:read"} },
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			s, r := good()
			prepare(s, &r)
			var logs recorder
			d := newDecider(t, s, &logs).Decide(t.Context(), r)
			if !d.Allowed() {
				t.Fatalf("refused: %v", d.Refusal())
			}
			if got := d.Authorization().Reveal(); got != "Bearer "+upstream {
				t.Errorf("the API would see %q", got)
			}
			if d.Scope != "products:read" || d.Agent != agentID || d.User != "user-1" || d.Provider != "shop" {
				t.Errorf("the decision names %+v", d)
			}
			if s.reads != 1 {
				t.Errorf("%d round trips for one decision", s.reads)
			}
			checkLogs(t, logs.String(), s, d.ID)
		})
	}
}

func TestRefusedTargetsCostNoRoundTrip(t *testing.T) {
	s, r := good()
	r.Path = "/ath/proxy/shop/%2e%2e/x"
	newDecider(t, s, &recorder{}).Decide(t.Context(), r)
	if s.reads != 0 {
		t.Error("the store was asked about a request that is refused by its form")
	}
}

func TestZeroDecisionRefuses(t *testing.T) {
	for name, d := range map[string]Decision{
		"zero":                 {},
		"allow alone":          {allow: true},
		"allow without reason": {ID: "d", allow: true, credential: ath.NewSecret("x")},
		"reason alone":         {ID: "d", reason: Allowed},
		"no credential":        {ID: "d", allow: true, reason: Allowed},
		"no id":                {allow: true, reason: Allowed, credential: ath.NewSecret("x")},
		"another reason":       {ID: "d", allow: true, reason: TokenExpired, credential: ath.NewSecret("x")},
	} {
		if d.Allowed() || d.Refusal() == nil || !d.Authorization().IsZero() || d.Refusal().Status() < 400 || d.Reason() == Allowed {
			t.Errorf("%s: is not a refusal", name)
		}
	}
}

func TestAPanicRefuses(t *testing.T) {
	s, r := good()
	var logs recorder
	d := newDecider(t, s, &logs)
	for at := range len(d.rules) {
		d.rules = allRules()
		d.rules[at].check = func(*evaluation) Reason { panic("Bearer " + upstream) }
		decision := d.Decide(t.Context(), r)
		if decision.Allowed() || decision.Reason() != InternalError || decision.Refusal().Status() != http.StatusInternalServerError {
			t.Errorf("a panic in %q gave %q", d.rules[at].id, decision.Reason())
		}
	}
	if strings.Contains(logs.String(), upstream) {
		t.Error("the log holds the panic's value")
	}
}

func TestEveryReasonHasItsCode(t *testing.T) {
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		if seen[r] {
			t.Errorf("%q is listed twice", r)
		}
		seen[r] = true
		d := Decision{ID: "dec_x", reason: r}
		if e := d.Refusal(); e == nil || e.Status() < 400 || e.Code == "" || e.Message == "" {
			t.Errorf("%q has no refusal: %v", r, e)
		}
	}
	for _, c := range refusals() {
		if !seen[c.reason] {
			t.Errorf("%q is not in Reasons()", c.reason)
		}
	}
}

func TestNewWantsAllParts(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a decider without a store was made")
	}
}
