package handshake

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/ratelimit"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

const (
	// standing is of a provider whose consents stand.
	standing = `, "renewal": {"max": "90d", "idle": "30d"}, "api_base_url": "https://api.forge.example",
		"scope_rules": [{"scope": "things:read", "methods": ["GET"], "paths": ["/things"]}, {"scope": "email", "methods": ["GET"], "paths": ["/email"]}]`
	// refreshable is what its server answers, also to a refresh.
	refreshable = `{"access_token": "upstream-token", "refresh_token": "upstream-refresh", "expires_in": 3600, "scope": "things:read email"}`
)

// newStanding is a world in which the consents at "forge" stand.
func newStanding(t *testing.T, options ...option) (*upstream, *world) {
	t.Helper()
	u := startUpstream(t)
	u.token = refreshable
	w := newWorld(t, append([]option{func(c *settings) {
		c.Providers = provider.NewProviders(u.provider(t, c.PublicURL, standing))
		c.Policy.Rules = []approval.Rule{{Action: approval.Approve, Expires: 400 * day}}
		c.Renewer = newVault(t, c)
	}}, options...)...)
	return u, w
}

func newVault(t *testing.T, c *settings) *vault.Vault {
	t.Helper()
	v, err := vault.New(vault.Config{
		Store: c.Store, OAuth: c.OAuth, Audit: c.Audit, Logger: c.Logger, Now: c.Now,
		Lease: 200 * time.Millisecond, Call: time.Second, Grace: time.Millisecond, Settle: time.Millisecond, Wait: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close(t.Context()) })
	return v
}

// stand registers an agent and gets it a standing consent.
func (u *upstream) stand(t *testing.T, w *world, name string) (a *actor, first reply) {
	t.Helper()
	a, page, session := u.visit(t, w, name, nil)
	first = w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body)))
	if first.status != http.StatusOK || !strings.HasPrefix(first.text("refresh_token"), ath.RenewalPrefix) {
		t.Fatalf("%d %s", first.status, first.raw)
	}
	return a, first
}

// renewal is the request for one more token.
func (a *actor) renewal(of reply) body {
	return body{
		"grant_type": "refresh_token", "client_id": a.clientID, "client_secret": a.secret,
		"agent_attestation": a.attest(a.w.public + "/ath/token"), "refresh_token": of.text("refresh_token"),
	}
}

func (a *actor) renewed(of reply) reply { return a.w.post("/ath/token", a.renewal(of)) }

// judges says how a call with a token would be decided.
func (w *world) judges(t *testing.T, a *actor, token, path string) authz.Reason {
	t.Helper()
	d, err := authz.New(authz.Config{
		Store: w.config.Store, Renewer: w.config.Renewer.(*vault.Vault), Providers: w.config.Providers, Audit: w.config.Audit, Logger: w.config.Logger, Now: w.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	decision := d.Decide(t.Context(), authz.Request{
		Method: "GET", Path: "/ath/proxy/forge" + path, Provider: "forge", Mount: "/ath/proxy/forge/",
		Authorization: []string{"Bearer " + token}, AgentID: []string{a.id},
	})
	return decision.Reason()
}

func (w *world) works(t *testing.T, a *actor, r reply) {
	t.Helper()
	if got := w.judges(t, a, r.text("access_token"), "/things"); r.status != http.StatusOK || got != authz.Allowed {
		t.Errorf("%d %s, and a call is %s", r.status, r.raw, got)
	}
}

// because wants a refusal with this details.reason.
func (w *world) because(t *testing.T, r reply, status int, code, reason string) {
	t.Helper()
	w.refusedAs(t, r, status, code)
	if got, _ := r.details()["reason"].(string); got != reason {
		t.Errorf("details.reason is %q, want %q", got, reason)
	}
	if id, _ := r.details()["decision_id"].(string); w.event(id)["renewal"] != true {
		t.Errorf("the event of the refusal does not tell that it is of a renewal: %v", w.event(id))
	}
}

// proves: T-8, U-1
func TestAStandingConsentGivesTokensWithoutTheUser(t *testing.T) {
	u, w := newStanding(t)
	a, first := u.stand(t, w, "stands")
	w.works(t, a, first)
	if left := first.json["refresh_expires_in"].(float64); left < 30*86400-60 || left > 30*86400 {
		t.Errorf("refresh_expires_in is %v", left)
	}
	w.pass(50 * time.Minute)
	second := a.renewed(first)
	w.works(t, a, second)
	w.works(t, a, first)
	for field, want := range map[string]string{"token_type": "Bearer", "agent_id": a.id, "provider_id": "forge", "refresh_token": first.text("refresh_token")} {
		if second.text(field) != want {
			t.Errorf("%s is %q, want %q", field, second.text(field), want)
		}
	}
	if second.text("access_token") == first.text("access_token") || second.json["expires_in"].(float64) < 3590 ||
		join(second.json["effective_scopes"]) != "things:read email" || second.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s", second.raw)
	}
	x := second.json["scope_intersection"].(map[string]any)
	if join(x["agent_approved"]) != "things:read things:write email" || join(x["user_consented"]) != "things:read email" || join(x["effective"]) != "things:read email" {
		t.Errorf("%s", second.raw)
	}
	e := w.lastEvent("access_granted", "stands.json", "")
	if e["renewal"] != true || e["provider_id"] != "forge" || e["user_id"] == "" {
		t.Errorf("the event is %v", e)
	}
	w.pass(3 * time.Hour) // the user's token at the provider has ended, too
	w.works(t, a, a.renewed(first))
	if asked := len(u.codes); asked != 2 {
		t.Errorf("the provider was asked %d times", asked)
	}
}

// S-1. Nobody is asked for the tokens of a standing consent: what its agent can have
// of them at once is bounded, and nobody else can use that up.
//
// proves: T-8
func TestAStandingConsentGivesSoManyTokens(t *testing.T) {
	u, w := newStanding(t, limits(httpapi.Limits{Renewals: ratelimit.Rate{N: 3, Per: time.Hour}}))
	a, first := u.stand(t, w, "greedy")
	thief, of := u.stand(t, w, "thief")
	for range 5 {
		w.refusedAs(t, thief.renewed(first), http.StatusForbidden, "AGENT_IDENTITY_MISMATCH")
	}
	for range 3 {
		w.works(t, a, a.renewed(first))
	}
	asked := len(u.codes)
	w.pass(2 * time.Hour) // the user's token has ended, too
	for range 3 {
		w.works(t, a, a.renewed(first))
	}
	w.pass(time.Minute)
	if s := w.tooMany(t, a.renewed(first)); s < 1 || s > 20*60 {
		t.Errorf("to come back after %d seconds", s)
	}
	if n := len(u.codes) - asked; n > 1 {
		t.Errorf("the provider was asked %d times", n)
	}
	w.works(t, thief, thief.renewed(of)) // another consent is not concerned
	w.pass(20 * time.Minute)
	w.works(t, a, a.renewed(first))
	if r := w.post("/ath/revoke", body{"client_id": a.clientID, "client_secret": a.secret, "token": first.text("refresh_token")}); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

// proves: T-8
func TestARenewalIsAskedForByFormToo(t *testing.T) {
	u, w := newStanding(t)
	a, first := u.stand(t, w, "form")
	form := url.Values{}
	for name, value := range a.renewal(first) {
		form.Set(name, value.(string))
	}
	form.Set("scope", "email")
	r := w.post("/ath/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if r.status != http.StatusOK || join(r.json["effective_scopes"]) != "email" {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if got := w.judges(t, a, r.text("access_token"), "/things"); got != authz.ScopeMissing {
		t.Errorf("a call beyond the narrower scopes is %s", got)
	}
}

// Who renews does not have to leave the fields of the other grant right, and who
// exchanges a code goes on as before there were renewals.
//
// proves: T-8
func TestFieldsOfTheOtherGrantAreNotLookedAt(t *testing.T) {
	u, w := newStanding(t)
	a, first := u.stand(t, w, "fields")
	w.works(t, a, w.post("/ath/token", a.renewal(first).with("code", 5, "ath_session_id", []int{})))
	a, page, session := u.visit(t, w, "fields-too", nil)
	exchange := a.exchange(session, athCode.FindString(page.Body))
	w.works(t, a, w.post("/ath/token", exchange.with("refresh_token", 7, "scope", []string{"things:write"}, "scopes", "things:write")))
}

// proves: T-8, T-2
func TestARenewalNarrowsAndNeverWidens(t *testing.T) {
	u, w := newStanding(t)
	a, first := u.stand(t, w, "narrow")
	for name, change := range map[string][]any{
		"scope":  {"scope", "email"},
		"scopes": {"scopes", []string{"email"}},
		"twice":  {"scope", "email email"},
	} {
		r := w.post("/ath/token", a.renewal(first).with(change...))
		if r.status != http.StatusOK || join(r.json["effective_scopes"]) != "email" {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	w.works(t, a, a.renewed(first)) // what was asked for less once is not less for good
	for name, change := range map[string][]any{
		"approved, and not consented to": {"scope", "email things:write"},
		"no scope of anybody's":          {"scopes", []string{"admin"}},
	} {
		r := w.post("/ath/token", a.renewal(first).with(change...))
		w.refusedAs(t, r, 403, "SCOPE_NOT_APPROVED")
		if r.details()["unapproved_scopes"] == nil {
			t.Errorf("%s: %s", name, r.raw)
		}
	}
	for field, change := range map[string][]any{
		"scope":  {"scope", "a\"b"},
		"scopes": {"scope", "email", "scopes", []string{"email"}},
	} {
		r := w.post("/ath/token", a.renewal(first).with(change...))
		if w.refusedAs(t, r, 400, "INVALID_REQUEST"); r.details()["field"] != field {
			t.Errorf("%s", r.raw)
		}
	}
}

// proves: T-8, A-3, A-5, V-1
func TestARenewalNeedsTheAgentsOwnProof(t *testing.T) {
	u, w := newStanding(t)
	a, first := u.stand(t, w, "own")
	other, theirs := u.stand(t, w, "other")
	good := a.renewal(first)
	w.works(t, a, w.post("/ath/token", good))
	t.Run("A-5: an attestation counts once", func(t *testing.T) {
		w.because(t, w.postTo(w.twin(), "/ath/token", good), 401, "INVALID_ATTESTATION", "replay")
	})
	for _, c := range []struct {
		name         string
		change       []any
		status       int
		code, reason string
	}{
		{"without client_id", []any{"client_id", nil}, 400, "AGENT_NOT_REGISTERED", ""},
		{"without client_secret", []any{"client_secret", nil}, 400, "AGENT_NOT_REGISTERED", ""},
		{"without an attestation", []any{"agent_attestation", nil}, 400, "INVALID_ATTESTATION", ""},
		{"without refresh_token", []any{"refresh_token", nil}, 400, "TOKEN_INVALID", ""},
		{"another grant_type", []any{"grant_type", "client_credentials"}, 400, "OAUTH_ERROR", ""},
		{"an unknown client", []any{"client_id", ath.NewClientIDOf(ath.AgentTag(a.id)).String()}, 403, "AGENT_NOT_REGISTERED", ""},
		{"a wrong secret", []any{"client_secret", "ath_secret_wrong"}, 401, "AGENT_NOT_REGISTERED", ""},
		{"another endpoint's attestation", []any{"agent_attestation", a.attest(w.public + "/ath/authorize")}, 401, "INVALID_ATTESTATION", "audience"},
		{"an old attestation", []any{"agent_attestation", a.attest(w.public+"/ath/token", func(c jwt.MapClaims) { c["iat"] = w.now().Add(-time.Hour).Unix() })}, 401, "INVALID_ATTESTATION", "times"},
		{"the other agent's attestation", []any{"agent_attestation", other.attest(w.public + "/ath/token")}, 401, "INVALID_ATTESTATION", "signature"},
		{"a token that is none", []any{"refresh_token", "ath_rt_x"}, 401, "TOKEN_INVALID", ""},
		{"an ATH token", []any{"refresh_token", first.text("access_token")}, 401, "TOKEN_INVALID", ""},
		{"a token that nobody gave", []any{"refresh_token", ath.NewRenewalToken(ath.NewTag()).Secret().Reveal()}, 401, "TOKEN_INVALID", ""},
		{"the other agent's token", []any{"refresh_token", theirs.text("refresh_token")}, 403, "AGENT_IDENTITY_MISMATCH", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.post("/ath/token", a.renewal(first).with(c.change...))
			w.refusedAs(t, r, c.status, c.code)
			if got, _ := r.details()["reason"].(string); got != c.reason {
				t.Errorf("details.reason is %q", got)
			}
		})
	}
	t.Run("a copy without the key is worth nothing", func(t *testing.T) {
		// The thief has all that the agent's disk has, but for the key.
		thief := *a
		thief.key = other.key
		w.refusedAs(t, thief.renewed(first), 401, "INVALID_ATTESTATION")
	})
	w.works(t, a, a.renewed(first))
}

// proves: T-8
func TestAStandingConsentEndsByItsTerms(t *testing.T) {
	t.Run("when it was not used for as long", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "idle")
		w.pass(29 * day)
		w.works(t, a, a.renewed(first))
		w.pass(29 * day)
		w.works(t, a, a.renewed(first))
		w.pass(30*day + time.Hour)
		w.because(t, a.renewed(first), 401, "TOKEN_EXPIRED", "renewal_idle")
	})
	t.Run("when it has lasted as long as the user was told", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "max")
		for range 4 {
			w.pass(20 * day)
			w.works(t, a, a.renewed(first))
		}
		r := a.renewed(first)
		if left := r.json["refresh_expires_in"].(float64); left > 10*86400 || left < 10*86400-60 {
			t.Errorf("refresh_expires_in is %v", left)
		}
		w.pass(10 * day)
		w.because(t, a.renewed(first), 401, "TOKEN_EXPIRED", "renewal_max")
	})
	for name, c := range map[string]struct{ then, reason string }{
		"when less is allowed now":             {`"renewal": {"max": "1d", "idle": "1d"}`, "renewal_max"},
		"when less without use is allowed now": {`"renewal": {"max": "90d", "idle": "2d"}`, "renewal_idle"},
		"when none is allowed any more":        {`"renewal": "off"`, "renewal_off"},
	} {
		t.Run(name, func(t *testing.T) {
			u, w := newStanding(t)
			a, first := u.stand(t, w, "shortened")
			w.pass(3 * day)
			w.config.Providers.Replace(u.provider(t, w.public, strings.Replace(standing, `"renewal": {"max": "90d", "idle": "30d"}`, c.then, 1)))
			w.because(t, a.renewed(first), 401, "TOKEN_EXPIRED", c.reason)
			w.config.Providers.Replace(u.provider(t, w.public, standing))
			w.works(t, a, a.renewed(first)) // a mistake in a file ends nothing for good
		})
	}
	t.Run("and not later, though more is allowed now", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "longer")
		w.config.Providers.Replace(u.provider(t, w.public, strings.NewReplacer("90d", "300d", "30d", "300d").Replace(standing)))
		w.pass(30*day + time.Hour)
		w.because(t, a.renewed(first), 401, "TOKEN_EXPIRED", "renewal_idle")
	})
}

// proves: T-8, T-9
func TestOnlyWhoWasShownHowLongLetsItStand(t *testing.T) {
	off := strings.Replace(standing, `{"max": "90d", "idle": "30d"}`, `"off"`, 1)
	for name, c := range map[string]struct {
		consent      string
		shown, after string // the provider, while the user reads our page, and then
		upstream     string
	}{
		"consent: redirect":           {athflow.ConsentRedirect, standing, standing, refreshable},
		"consent: direct":             {athflow.ConsentDirect, standing, standing, refreshable},
		"renewal: off":                {athflow.ConsentPage, off, off, refreshable},
		"switched on after the page":  {athflow.ConsentPage, off, standing, refreshable},
		"switched off after the page": {athflow.ConsentPage, standing, off, refreshable},
		"nothing to refresh by":       {athflow.ConsentPage, standing, standing, `{"access_token": "upstream-token", "expires_in": 3600, "scope": "things:read email"}`},
	} {
		t.Run(name, func(t *testing.T) {
			u, w := newStanding(t, func(s *settings) { s.Consent = c.consent })
			u.token = c.upstream
			w.config.Providers.Replace(u.provider(t, w.public, c.shown))
			a := w.actor("none")
			a.register("forge", "things:read", "email")
			link, session := a.authorize("forge", []string{"things:read", "email"})
			page := w.atProvider(w.newBrowser(), link, "alice")
			w.config.Providers.Replace(u.provider(t, w.public, c.after))
			r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body)))
			w.works(t, a, r)
			if strings.Contains(r.raw, "refresh") {
				t.Errorf("%s", r.raw)
			}
		})
	}
}

// Two browsers open one link, and the configuration changes in between: what the one
// was shown is not what the other's user gets.
// proves: T-8
func TestAConsentStandsAsItsOwnBrowserWasShown(t *testing.T) {
	const week, quarter = 7 * day, 90 * day
	for name, test := range map[string]struct {
		before, after time.Duration // 0: the page says nothing of a standing consent
		want          time.Duration
	}{
		"longer for the other browser":  {week, quarter, week},
		"only for the other browser":    {0, quarter, 0},
		"the same in both":              {quarter, quarter, quarter},
		"shorter for the other browser": {quarter, week, week}, // what is out there is shortened, too
	} {
		t.Run(name, func(t *testing.T) {
			u, w := newStanding(t)
			terms := func(of time.Duration) {
				set := u.provider(t, w.public, standing)
				set.Get("forge").Renewal = ath.RenewalTerms{Max: of, Idle: of}
				w.config.Providers.Replace(set)
			}
			terms(test.before)
			a := w.actor("two-browsers")
			a.register("forge", "things:read")
			link, session := a.authorize("forge", []string{"things:read"})
			allow := func() (*browser.Browser, *browser.Page) {
				b, held := w.newBrowser(), true
				b.StopAt(func(u *url.URL) bool { return held && u.Path == "/ath/callback" })
				page := w.atProvider(b, link, "alice")
				held = false
				if !page.Stopped {
					t.Fatalf("the browser is at %v: %d %s", page.URL, page.Status, page.Text)
				}
				return b, page
			}
			first, back := allow()
			terms(test.after)
			allow()
			page, err := first.Get(t.Context(), back.URL.String())
			if err != nil {
				t.Fatal(err)
			}
			r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body)))
			if r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			got, _ := r.json["refresh_expires_in"].(float64)
			if got != test.want.Seconds() || (r.text("refresh_token") != "") != (test.want > 0) {
				t.Errorf("a consent that stands %v s, want %v", got, test.want)
			}
		})
	}
}

// proves: T-8, T-9
func TestARenewalPromisesNoMoreThanStandsBehindIt(t *testing.T) {
	u, w := newStanding(t)
	u.token = `{"access_token": "upstream-token", "expires_in": 18000, "scope": "things:read"}`
	a, first := u.stand(t, w, "promise")
	if left := first.json["refresh_expires_in"].(float64); left > 18000 || left < 17900 {
		t.Errorf("refresh_expires_in is %v", left)
	}
	w.pass(4*time.Hour + 30*time.Minute)
	r := a.renewed(first)
	w.works(t, a, r)
	if left := r.json["expires_in"].(float64); left > 1800 || left < 1700 {
		t.Errorf("T-9: expires_in is %v", left)
	}
	w.pass(31 * time.Minute)
	w.because(t, a.renewed(first), 401, "TOKEN_INVALID", "reauthorization_required")
}

// proves: T-8, P-6
func TestARenewalAsksWhetherTheProviderStillAgrees(t *testing.T) {
	t.Run("its grant is gone", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "gone")
		w.pass(2 * time.Hour)
		u.status, u.token = 400, `{"error": "invalid_grant"}`
		w.because(t, a.renewed(first), 401, "TOKEN_INVALID", "reauthorization_required")
		w.because(t, a.renewed(first), 401, "TOKEN_INVALID", "reauthorization_required")
	})
	t.Run("it is away", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "away")
		w.pass(2 * time.Hour)
		u.status, u.token = 503, `{}`
		r := a.renewed(first)
		if w.refusedAs(t, r, 503, "OAUTH_ERROR"); r.header.Get("Retry-After") == "" {
			t.Errorf("no Retry-After: %v", r.header)
		}
	})
	t.Run("it gives less", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "less")
		w.pass(2 * time.Hour)
		u.token = strings.Replace(refreshable, "things:read email", "things:read", 1)
		if r := a.renewed(first); r.status != http.StatusOK || join(r.json["effective_scopes"]) != "things:read" {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("the provider has moved", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "moved")
		w.config.Providers.Replace(u.provider(t, w.public, strings.Replace(standing, "api.forge.example", "elsewhere.example", 1)))
		w.because(t, a.renewed(first), 401, "TOKEN_INVALID", "reauthorization_required")
	})
	t.Run("O-2: its userinfo endpoint has moved", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "userinfo")
		w.config.Providers.Replace(u.provider(t, w.public, standing+`, "userinfo_endpoint": "https://elsewhere.example/me"`))
		w.because(t, a.renewed(first), 401, "TOKEN_INVALID", "reauthorization_required")
	})
	t.Run("O-2: a userinfo endpoint is added where the token goes anyway", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "added")
		w.config.Providers.Replace(u.provider(t, w.public, standing+`, "userinfo_endpoint": "https://api.forge.example/me"`))
		if r := a.renewed(first); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("the provider is gone", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "removed")
		set, err := provider.NewSet()
		if err != nil {
			t.Fatal(err)
		}
		w.config.Providers.Replace(set)
		w.because(t, a.renewed(first), 401, "TOKEN_EXPIRED", "renewal_off")
	})
}

// proves: T-8, R-5, R-6, R-7
func TestARenewalIsJudgedByWhatHoldsNow(t *testing.T) {
	t.Run("R-6: a suspended agent gets none, and not afterwards either", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "suspended")
		w.action(t, a, "suspend", "{}")
		w.refusedAs(t, a.renewed(first), 401, "TOKEN_REVOKED")
		w.action(t, a, "resume", "{}")
		w.refusedAs(t, a.renewed(first), 401, "TOKEN_REVOKED")
	})
	t.Run("R-6: also where its connections could not be ended", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "unended")
		becomes := func(suspended bool, generation int) {
			held, err := w.store.Agent(t.Context(), ath.AgentTag(a.id))
			if err != nil {
				t.Fatal(err)
			}
			next := held.Value
			next.Suspended, next.Generation = suspended, generation
			if err := w.store.SwapAgent(t.Context(), held, next); err != nil {
				t.Fatal(err)
			}
		}
		becomes(true, 1)
		w.refusedAs(t, a.renewed(first), 403, "AGENT_UNAPPROVED")
		becomes(false, 1)
		w.refusedAs(t, a.renewed(first), 401, "TOKEN_REVOKED")
	})
	t.Run("a narrowed approval narrows it", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "narrowed")
		w.action(t, a, "deny", `{"providers": [{"provider_id": "forge", "scopes": ["email"]}]}`)
		if r := a.renewed(first); r.status != http.StatusOK || join(r.json["effective_scopes"]) != "things:read" {
			t.Errorf("%d %s", r.status, r.raw)
		}
		w.refusedAs(t, w.post("/ath/token", a.renewal(first).with("scope", "email")), 403, "SCOPE_NOT_APPROVED")
		w.action(t, a, "deny", `{"providers": [{"provider_id": "forge", "scopes": ["things:read", "things:write"]}]}`)
		if r := a.renewed(first); r.status != 403 {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("a policy that denies now denies", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "policy")
		deny := func(scope string) option {
			glob, err := approval.ParseGlob(scope)
			if err != nil {
				t.Fatal(err)
			}
			return func(c *settings) {
				c.Policy.Rules = append([]approval.Rule{{Scopes: []approval.Glob{glob}, Action: approval.Deny}}, c.Policy.Rules...)
			}
		}
		if r := w.postTo(w.twin(deny("email")), "/ath/token", a.renewal(first)); r.status != http.StatusOK || join(r.json["effective_scopes"]) != "things:read" {
			t.Errorf("%d %s", r.status, r.raw)
		}
		w.refusedAs(t, w.postTo(w.twin(deny("*")), "/ath/token", a.renewal(first)), 403, "SCOPE_NOT_APPROVED")
		byDefault := func(c *settings) { c.Policy = approval.Policy{Default: approval.Deny} } // of whom nothing is known: who is approved is known
		w.works(t, a, w.postTo(w.twin(byDefault), "/ath/token", a.renewal(first)))
	})
	t.Run("R-5: past the approval there is none; approved again, the user is asked again", func(t *testing.T) {
		u, w := newStanding(t, func(c *settings) { c.Policy.Rules[0].Expires = 10 * day })
		a, first := u.stand(t, w, "expired")
		if left := first.json["refresh_expires_in"].(float64); left > 10*86400 {
			t.Errorf("refresh_expires_in is %v", left)
		}
		w.pass(11 * day)
		w.refusedAs(t, a.renewed(first), 403, "AGENT_UNAPPROVED")
		a.register("forge", "things:read", "email")
		w.refusedAs(t, a.renewed(first), 401, "TOKEN_REVOKED")
	})
	t.Run("what is added to a registration ends none", func(t *testing.T) {
		_, w := newStanding(t)
		a := w.actor("adds")
		a.register("forge", "things:read")
		link, session := a.authorize("forge", []string{"things:read"})
		first := w.post("/ath/token", a.exchange(session, athCode.FindString(w.atProvider(w.newBrowser(), link, "alice").Body)))
		before := *a
		a.register("forge", "things:write")
		w.refusedAs(t, before.renewed(first), 401, "AGENT_NOT_REGISTERED") // its secret is another now
		w.works(t, a, a.renewed(first))
	})
	t.Run("R-7: who removes itself ends them, and is asked for anew", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "removed")
		w.ask("DELETE", a.path(), "", "Authorization", basic(a.clientID, a.secret))
		w.refusedAs(t, a.renewed(first), 403, "AGENT_NOT_REGISTERED")
		a.register("forge", "things:read", "email")
		w.refusedAs(t, a.renewed(first), 401, "TOKEN_REVOKED")
		if n := len(w.connectionsOf(t, "")); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	t.Run("an operator ends the connection", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "ended")
		if r := w.operate("POST", "/ath/admin/connections/"+connectionOf(t, first.text("access_token"))+"/end", ""); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		w.refusedAs(t, w.postTo(w.twin(), "/ath/token", a.renewal(first)), 401, "TOKEN_REVOKED")
	})
	t.Run("an operator ends the user", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "user-ended")
		user := w.connectionsOf(t, "")[0]["user_id"].(string)
		if r := w.operate("POST", "/ath/admin/users/end", `{"user_id": "`+user+`"}`); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		w.refusedAs(t, w.postTo(w.twin(), "/ath/token", a.renewal(first)), 401, "TOKEN_REVOKED")
	})
}

// proves: T-8, V-1, V-2, V-3, V-4, V-6
func TestARenewalIsRevoked(t *testing.T) {
	revocation := func(a *actor, token string) body {
		return body{"client_id": a.clientID, "client_secret": a.secret, "token": token}
	}
	t.Run("V-1: by its agent, with all tokens that came of it, on each replica", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "own")
		second := w.postTo(w.twin(), "/ath/token", a.renewal(first))
		w.works(t, a, second)
		if r := w.post("/ath/revoke", revocation(a, first.text("refresh_token"))); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		w.refusedAs(t, w.postTo(w.twin(), "/ath/token", a.renewal(first)), 401, "TOKEN_REVOKED")
		for _, r := range []reply{first, second} {
			if got := w.judges(t, a, r.text("access_token"), "/things"); got != authz.TokenRevoked {
				t.Errorf("V-4: a call is %s", got)
			}
		}
		if e := w.lastEvent("token_revoked", "own.json", ""); e["renewal"] != true || e["provider_id"] != "forge" {
			t.Errorf("the event is %v", e)
		}
		if n := len(w.connectionsOf(t, "")); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		if r := w.post("/ath/revoke", revocation(a, first.text("refresh_token"))); r.status != http.StatusOK {
			t.Errorf("V-3: a second time: %d %s", r.status, r.raw)
		}
	})
	t.Run("V-2: by an operator", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "operator")
		if r := w.operate("POST", "/ath/revoke", `{"token": "`+first.text("refresh_token")+`"}`); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		w.refusedAs(t, a.renewed(first), 401, "TOKEN_REVOKED")
	})
	t.Run("V-1: and not by another agent", func(t *testing.T) {
		u, w := newStanding(t)
		a, first := u.stand(t, w, "own")
		b, _ := u.stand(t, w, "other")
		w.refusedAs(t, w.post("/ath/revoke", revocation(b, first.text("refresh_token"))), 403, "AGENT_IDENTITY_MISMATCH")
		w.works(t, a, a.renewed(first))
	})
	t.Run("V-3: one that nobody gave is answered as if it had been", func(t *testing.T) {
		u, w := newStanding(t)
		a, _ := u.stand(t, w, "unknown")
		if r := w.post("/ath/revoke", revocation(a, ath.NewRenewalToken(ath.NewTag()).Secret().Reveal())); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("with each ATH token that came of it, first or later", func(t *testing.T) {
		for _, later := range []bool{false, true} {
			u, w := newStanding(t)
			a, first := u.stand(t, w, "token")
			revoked := first
			if later {
				revoked = a.renewed(first)
			}
			if r := w.post("/ath/revoke", revocation(a, revoked.text("access_token"))); r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			w.refusedAs(t, w.postTo(w.twin(), "/ath/token", a.renewal(first)), 401, "TOKEN_REVOKED")
		}
	})
}

// proves: T-8
func TestManyProcessesOfAnAgentRenewAtOnce(t *testing.T) {
	u, w := newStanding(t)
	a, first := u.stand(t, w, "many")
	w.pass(5 * day) // the use is to be written, and the user's token to be refreshed
	replicas := []string{w.public, w.twin(), w.twin(), w.twin()}
	requests := make([]body, 16)
	for i := range requests {
		requests[i] = a.renewal(first)
	}
	replies := make([]reply, len(requests))
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() { replies[i] = w.postTo(replicas[i%len(replicas)], "/ath/token", requests[i]) })
	}
	all.Wait()
	seen := map[string]bool{}
	for _, r := range replies {
		w.works(t, a, r)
		seen[r.text("access_token")] = true
	}
	if len(seen) != len(replies) {
		t.Errorf("%d tokens of %d", len(seen), len(replies))
	}
}

// A standing consent that is not on record is not given out, and leaves nothing.
//
// proves: T-8, U-1
func TestAStandingConsentThatIsNotOnRecordIsNotGivenOut(t *testing.T) {
	d := new(disk)
	u, w := newStanding(t, func(c *settings) { c.Audit = audit.New(audit.Config{Writer: d, JSON: true, Logger: c.Logger}) })
	a, page, session := u.visit(t, w, "unrecorded", nil)
	d.becomes("full")
	if r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body))); !r.is(503, "INTERNAL_ERROR") || strings.Contains(r.raw, "ath_rt_") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	d.becomes("")
	if list, err := w.store.Connections(t.Context(), tokenstore.ConnectionQuery{Limit: 10}); err != nil || len(list.Connections) != 0 {
		t.Errorf("left are %+v, %v", list.Connections, err)
	}
	a, first := u.stand(t, w, "recorded")
	d.becomes("full")
	if r := a.renewed(first); !r.is(503, "INTERNAL_ERROR") || strings.Contains(r.raw, "ath_") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	d.becomes("")
	if list, err := w.store.Connections(t.Context(), tokenstore.ConnectionQuery{Limit: 10}); err != nil || len(list.Connections) != 1 || list.Connections[0].Tokens != 1 {
		t.Errorf("left are %+v, %v", list.Connections, err)
	}
}

// What comes of renewals is counted, by outcomes that metrics know beforehand.
//
// proves: T-8
func TestWhatComesOfRenewalsIsCounted(t *testing.T) {
	var mu sync.Mutex
	counted := map[string]int{}
	u, w := newStanding(t, func(c *settings) {
		c.Renewed = func(provider, outcome string) {
			mu.Lock()
			defer mu.Unlock()
			counted[provider+" "+outcome]++
			if !slices.Contains(athflow.RenewalOutcomes(), outcome) {
				t.Errorf("%q is no outcome", outcome)
			}
		}
	})
	a, first := u.stand(t, w, "counted")
	b, theirs := u.stand(t, w, "other")
	w.works(t, a, a.renewed(first))
	a.renewed(theirs)
	w.post("/ath/token", a.renewal(first).with("refresh_token", "ath_rt_x"))
	w.post("/ath/token", a.renewal(first).with("scope", "things:write"))
	w.post("/ath/token", a.renewal(first).with("client_secret", "wrong")) // nobody has proved anything
	w.pass(2 * time.Hour)
	u.status = 503
	a.renewed(first)
	w.pass(2 * time.Hour)
	u.status, u.token = 400, `{"error": "invalid_grant"}`
	a.renewed(first)
	w.config.Providers.Replace(u.provider(t, w.public, strings.Replace(standing, `{"max": "90d", "idle": "30d"}`, `"off"`, 1)))
	a.renewed(first)
	w.post("/ath/revoke", body{"client_id": b.clientID, "client_secret": b.secret, "token": theirs.text("refresh_token")})
	b.renewed(theirs)
	want := map[string]int{
		"forge renewed": 1, "forge other_agent": 1, " unknown": 1, "forge scope": 1, "forge provider_away": 1, "forge reauthorization_required": 1,
		"forge renewal_off": 1, "forge revoked": 1,
	}
	if !maps.Equal(counted, want) {
		t.Errorf("%v, want %v", counted, want)
	}
}
