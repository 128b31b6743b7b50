package authz

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
)

// S-5
func TestMeshesKeepTheConsentPagesApart(t *testing.T) {
	s, _ := good()
	site := app("site", true, "")
	set, err := provider.NewSet(site)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{
		Store: s, Providers: provider.NewProviders(set), ByHost: true, ConsentHost: ath.RequestedHost("consent.example"), CallbackPerProvider: true,
		Logger: slog.New(slog.DiscardHandler), Audit: audit.New(audit.Config{Writer: io.Discard}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path      string
		here, off Reason // on the consent pages' host, and on others
	}{
		{"/ath/consent/start?state=x", Companion, TokenMissing},
		{"/ath/consent/decide", Companion, TokenMissing},
		{"/ath/heal/x", Companion, TokenMissing},
		{"/ath/callback?code=x&state=y", Companion, Companion},
		{"/ath/callback/shop?code=x", Companion, Companion},
		{"/ath/token", TokenMissing, Companion},
		{"/ath/admin/agents", TokenMissing, Companion},
		{"/.well-known/ath.json", TokenMissing, Companion},
		{"/", TokenMissing, PassedThrough},
		{"/products/1", TokenMissing, PassedThrough},
		{"/ath/proxy/shop/products/1", TokenMissing, TokenMissing},
	} {
		for host, want := range map[string]Reason{
			"consent.example": test.here, "Consent.Example:8443": test.here, "consent.example.": test.here,
			"gw.example": test.off, "x.consent.example": test.off, "consent.example,gw.example": test.off,
		} {
			got := d.Decide(t.Context(), Request{Method: "GET", Host: host, Path: test.path})
			if got.Reason() != want {
				t.Errorf("%s at %s: %s, want %s", test.path, host, got.Reason(), want)
			}
		}
	}
}

func TestMeshesLetPassWhatAthdAnswersItself(t *testing.T) {
	s, _ := good()
	token := s.token.Secret().Reveal()
	at := func(method, path string) Request {
		return Request{Method: method, Path: path, Host: "gw.example"}
	}
	with := func(edit func(*Request)) Request {
		r := at("POST", "/ath/token")
		edit(&r)
		return r
	}
	cases := []struct {
		name   string
		r      Request
		reason Reason
	}{
		{"discovery", at("GET", "/.well-known/ath.json"), Companion},
		{"an app's discovery", at("GET", "/.well-known/ath-app.json"), Companion},
		{"register", at("POST", "/ath/agents/register"), Companion},
		{"a registration", at("DELETE", "/ath/agents/ath_abc"), Companion},
		{"authorize", at("POST", "/ath/authorize"), Companion},
		{"the callback, with what an OAuth server adds", at("GET", "/ath/callback?code=4%2F0A&state=x&iss=https%3A%2F%2Flogin.example"), Companion},
		{"the token call", at("POST", "/ath/token"), Companion},
		{"revoke", at("POST", "/ath/revoke"), Companion},
		{"consent", at("POST", "/ath/consent/decide"), Companion},
		{"operators", at("GET", "/ath/admin/agents?status=pending"), Companion},
		{"an operator's own token", with(func(r *Request) { r.Authorization = []string{"Bearer of-an-operator"} }), Companion},
		{"an agent's client_id and client_secret", with(func(r *Request) { r.Authorization = []string{"Basic eDp5"} }), Companion},
		{"the cookie that binds a browser", with(func(r *Request) { r.Cookies = []string{"__Host-ath_consent_x=1"} }), Companion},
		{"an agent that says who it is", with(func(r *Request) { r.AgentID = []string{agentID} }), Companion},
		{"a method that athd itself will refuse", at("PUT", "/ath/token"), Companion},

		{"the callback, of whose code Envoy may have replaced a byte", Request{Method: "GET", Path: "/ath/callback?code=M.R3_BAY.!x&state=y", Blurred: true}, Companion},
		{"P-7: a path of which Envoy may have replaced a byte", Request{Method: "GET", Path: "/ath/agents/a!?b", Blurred: true}, TargetNotCanonical},
		{"P-7: an app's query of which it may have", Request{Method: "GET", Path: "/api?b=!", Blurred: true}, TargetNotCanonical},

		{"P-1: an ATH token", with(func(r *Request) { r.Authorization = []string{"Bearer " + token} }), AgentIDMissing},
		{"P-3: an agent's whole call", with(func(r *Request) { r.Authorization, r.AgentID = []string{"Bearer " + token}, []string{agentID} }), ProviderUnknown},
		{"P-1: one that is joined to another", with(func(r *Request) { r.Authorization = []string{"Basic eDp5,Bearer " + token} }), TokenMissing},
		{"P-1: in HTTP Basic", with(func(r *Request) { r.Authorization = []string{"Basic eDphdGhfdGtfeA=="} }), TokenMissing},
		{"P-1: in a cookie", with(func(r *Request) { r.Cookies = []string{"t=" + token} }), TokenMissing},
		{"P-1: as an agent's id", with(func(r *Request) { r.AgentID = []string{token} }), TokenMissing},
		{"P-1: in the path", at("GET", "/ath/agents/"+token), TokenInQuery},
		{"P-5: in the query", at("GET", "/ath/callback?code="+token), TokenInQuery},

		{"P-7: two slashes", at("GET", "//ath/token"), TargetNotCanonical},
		{"P-7: two slashes inside", at("GET", "/ath//token"), TargetNotCanonical},
		{"P-7: a parameter", at("GET", "/ath/token;x=1"), TargetNotCanonical},
		{"P-7: an encoded slash", at("GET", "/ath%2Ftoken"), TargetNotCanonical},
		{"P-7: an encoded slash below", at("GET", "/ath/agents/..%2F..%2Fapi"), TargetNotCanonical},
		{"P-7: dots", at("GET", "/ath/agents/../../api"), TargetNotCanonical},
		{"P-7: an encoded letter", at("GET", "/ath/%74oken"), TargetNotCanonical},
		{"P-7: a method that nobody may use", at("TRACE", "/ath/token"), MethodNotAllowed},
		{"P-7: no path", at("GET", ""), TargetNotCanonical},

		{"the rest of /ath", at("GET", "/ath/other"), TokenMissing},
		{"/ath itself", at("GET", "/ath"), TokenMissing},
		{"a whole path with more behind it", at("GET", "/ath/token/x"), TokenMissing},
		{"a folder without a slash", at("GET", "/ath/admin"), TokenMissing},
		{"another case", at("GET", "/ATH/token"), TokenMissing},
		{"something else well known", at("GET", "/.well-known/ath.json/x"), TokenMissing},
		{"a provider", at("GET", "/ath/proxy/shop/products"), TokenMissing},
		{"an unknown provider", at("GET", "/ath/proxy/nobody/products"), TokenMissing},
		{"an app", at("GET", "/api/ath/token"), TokenMissing},

		{"a route to an app", with(func(r *Request) { r.Provider = "site" }), TokenMissing},
		{"a route to a provider", with(func(r *Request) { r.Provider, r.Mount = "shop", "/ath/" }), TokenMissing},
	}
	d := newDeciderOf(t, s, true, app("site", false, ""))
	// S-6: what is below the callback is athd's where each provider has its own.
	below := at("GET", "/ath/callback/shop?code=x&state=y")
	if got := d.Decide(t.Context(), below); got.Reason() != TokenMissing {
		t.Errorf("below the shared callback: %s", got.Reason())
	}
	each := newDeciderOf(t, s, true, app("site", false, ""))
	each.config.CallbackPerProvider = true
	for path, want := range map[string]Reason{
		"/ath/callback/shop?code=x&state=y": Companion, "/ath/callback/com.acme.api": Companion, "/ath/callback": Companion,
		"/ath/callback/": TokenMissing, "/ath/callback/shop/x": TokenMissing, "/ath/callback/..%2Fx": TargetNotCanonical, "/ath/callback/../admin": TargetNotCanonical,
	} {
		if got := each.Decide(t.Context(), at("GET", path)); got.Reason() != want {
			t.Errorf("%s: %s, want %s", path, got.Reason(), want)
		}
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			decision := d.Decide(t.Context(), tt.r)
			if decision.Reason() != tt.reason {
				t.Fatalf("reason %s, want %s", decision.Reason(), tt.reason)
			}
			passes := tt.reason == Companion
			if decision.Allowed() != passes || decision.ForCompanion() != passes || decision.PassesThrough() != passes {
				t.Errorf("allowed %v, for the companion %v, passes through %v", decision.Allowed(), decision.ForCompanion(), decision.PassesThrough())
			}
			if !decision.Authorization().IsZero() || passes && decision.Provider != "" {
				t.Error("something of a grant would be added")
			}
		})
	}
	t.Run("only where host and path tell the provider", func(t *testing.T) {
		d := newDeciderOf(t, s, false, app("site", false, ""))
		for _, tt := range cases {
			if d := d.Decide(t.Context(), tt.r); d.Allowed() {
				t.Errorf("%s passes: %s", tt.name, d.Reason())
			}
		}
	})
}

// An open app takes nothing of the handshake, nor the handshake of an app.
func TestCompanionPathsAreNoOpenApps(t *testing.T) {
	s, _ := good()
	d := newDeciderOf(t, s, true, app("site", true, ""))
	for path, reason := range map[string]Reason{
		"/.well-known/ath.json": Companion, "/ath/token": Companion, "/": PassedThrough,
		"/.well-known/other": PassedThrough, "/ath/other": TokenMissing,
	} {
		if d := d.Decide(t.Context(), Request{Method: "GET", Path: path}); d.Reason() != reason {
			t.Errorf("%s: %s, want %s", path, d.Reason(), reason)
		}
	}
}

// The handshake records its own events: one for each request that only passes
// by would hide them.
func TestPassingToTheCompanionIsNoEvent(t *testing.T) {
	s, _ := good()
	var logs recorder
	logger := slog.New(slog.NewJSONHandler(&logs, nil))
	d, err := New(Config{
		Store: s, Providers: provider.NewProviders(providers(t)), ByHost: true, Logger: logger, Audit: audit.New(audit.Config{Writer: &logs, JSON: true}),
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	if decision := d.Decide(t.Context(), Request{Method: "POST", Path: "/ath/token"}); !decision.ForCompanion() {
		t.Fatal(decision.Reason())
	}
	if logs.Len() > 0 {
		t.Errorf("recorded: %s", &logs)
	}
	if s.reads > 0 {
		t.Error("the store was asked")
	}
}

func TestCompanionDecisionWithAnythingOddRefuses(t *testing.T) {
	for name, d := range map[string]Decision{
		"nothing allowed": {ID: "dec_x", reason: Companion},
		"no id":           {reason: Companion, allow: true},
		"a credential":    {ID: "dec_x", reason: Companion, allow: true, credential: ath.NewSecret("x")},
		"a provider":      {ID: "dec_x", reason: Companion, allow: true, Provider: "shop"},
	} {
		if d.Allowed() || d.ForCompanion() || d.PassesThrough() || d.Reason() != InternalError || d.Refusal() == nil {
			t.Errorf("%s: %s", name, d.Reason())
		}
	}
}

func TestExplainKnowsAthdsOwnPages(t *testing.T) {
	s, _ := good()
	for _, tt := range []struct {
		name    string
		byHost  bool
		token   ath.Secret
		reason  Reason
		verdict Verdict
		found   string
	}{
		{"in a mesh", true, ath.Secret{}, Companion, Passes, "nothing in the request looks like an ATH token"},
		{"in a mesh, with a token", true, s.token.Secret(), ProviderUnknown, Holds, "something in the request looks like an ATH token"},
		{"where routes tell", false, ath.Secret{}, TokenMissing, Holds, "Envoy's routes let it past the check"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDeciderOf(t, s, tt.byHost, app("site", false, ""))
			e, err := d.Explain(t.Context(), Question{Method: "GET", URL: "https://gw.example/.well-known/ath.json?x", Token: tt.token})
			if err != nil {
				t.Fatal(err)
			}
			if e.Place != "athd's own pages" || e.Decision.Reason() != tt.reason {
				t.Errorf("%s at %q", e.Decision.Reason(), e.Place)
			}
			for _, step := range e.Steps {
				if step.Rule == "athd's own pages" && (step.Verdict != tt.verdict || !strings.HasSuffix(step.Found, tt.found)) {
					t.Errorf("%s: %s", step.Verdict, step.Found)
				}
			}
		})
	}
}
