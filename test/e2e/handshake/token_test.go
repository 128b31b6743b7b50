package handshake

import (
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
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// proves: C-4, T-2, T-3, T-6, T-7
func TestCodeBecomesAToken(t *testing.T) {
	w := newWorld(t)
	a := w.actor("a")
	a.register("gallery", "pictures:read", "pictures:write")
	link, session := a.authorize("gallery", []string{"pictures:write", "pictures:read"})
	page := w.consent(w.newBrowser(), link, "pictures:write")
	r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body)))
	if r.status != 200 || r.text("token_type") != "Bearer" || r.text("agent_id") != a.id || r.text("provider_id") != "gallery" {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	if r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control is %q", r.header.Get("Cache-Control"))
	}
	x := r.json["scope_intersection"].(map[string]any)
	if join(r.json["effective_scopes"]) != "pictures:read" || join(x["agent_approved"]) != "pictures:read pictures:write" ||
		join(x["user_consented"]) != "pictures:read" || join(x["effective"]) != "pictures:read" {
		t.Errorf("T-2, C-4: %s", r.raw)
	}
	token, err := ath.ParseToken(r.text("access_token"))
	if err != nil {
		t.Fatalf("T-3: %v", err)
	}
	if seconds := r.json["expires_in"].(float64); seconds < 3595 || seconds > 3600 {
		t.Errorf("T-6: expires_in is %v", seconds)
	}
	held, err := w.store.Grant(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	g := held.Value
	if g.Agent != a.id || g.User != "user-1" || g.Provider != "gallery" || !slices.Equal(g.Scopes, ath.Scopes{"pictures:read"}) {
		t.Errorf("T-3, T-7: the grant is %+v", g)
	}
	w.refusedAs(t, w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body))), 400, "SESSION_NOT_FOUND")
}

func TestTokenByForm(t *testing.T) {
	w := newWorld(t)
	a := w.actor("form")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	page := w.consent(w.newBrowser(), link)
	form := url.Values{}
	for k, v := range a.exchange(session, athCode.FindString(page.Body)) {
		form.Set(k, v.(string))
	}
	if r := w.post("/ath/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded"); r.status != 200 {
		t.Errorf("%d %s", r.status, r.raw)
	}
	form.Add("code", "twice")
	w.refusedAs(t, w.post("/ath/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded"), 400, "INVALID_REQUEST")
}

// The checks are made in the protocol's order.
func TestTokenOrder(t *testing.T) {
	w := newWorld(t)
	a, other := w.actor("order"), w.actor("other")
	a.register("gallery", "pictures:read")
	other.register("gallery", "pictures:read")
	open := func() string { _, s := a.authorize("gallery", []string{"pictures:read"}); return s }
	link, session := a.authorize("gallery", []string{"pictures:read"})
	code := athCode.FindString(w.consent(w.newBrowser(), link).Body)
	_, others := other.authorize("gallery", []string{"pictures:read"})
	fresh := func() string { return a.attest(w.public + "/ath/token") }

	b := body{"grant_type": "password", "client_id": nil, "client_secret": nil, "agent_attestation": nil, "code": "wrong", "ath_session_id": "none"}
	for _, s := range []struct {
		name   string
		change []any
		status int
		code   string
	}{
		{"shape: no credentials", nil, 400, "AGENT_NOT_REGISTERED"},
		{"shape: no attestation", []any{"client_id", "ath_unknown", "client_secret", "wrong"}, 400, "INVALID_ATTESTATION"},
		{"shape: grant_type", []any{"agent_attestation", "x.y.z"}, 400, "OAUTH_ERROR"},
		{"known", []any{"grant_type", "authorization_code"}, 403, "AGENT_NOT_REGISTERED"},
		{"secret", []any{"client_id", a.clientID}, 401, "AGENT_NOT_REGISTERED"},
		{"secret: another agent's", []any{"client_secret", other.secret}, 401, "AGENT_NOT_REGISTERED"},
		{"attestation", []any{"client_secret", a.secret}, 401, "INVALID_ATTESTATION"},
		{"sub", []any{"agent_attestation", a.attest(w.public+"/ath/token", func(c jwt.MapClaims) { c["sub"], c["iss"] = other.id, other.id })}, 403, "AGENT_IDENTITY_MISMATCH"},
		{"session", []any{"agent_attestation", fresh()}, 400, "SESSION_NOT_FOUND"},
		{"session: well-formed but unknown", []any{"agent_attestation", fresh(), "ath_session_id", ath.NewSessionID().Secret().Reveal()}, 400, "SESSION_NOT_FOUND"},
		{"session: the tag alone is no proof", []any{"agent_attestation", fresh(), "ath_session_id", session[:len(session)-4] + "AAAA"}, 400, "SESSION_NOT_FOUND"},
		{"owner", []any{"agent_attestation", fresh(), "ath_session_id", others}, 403, "AGENT_IDENTITY_MISMATCH"},
		{"unfinished", []any{"agent_attestation", fresh(), "ath_session_id", open()}, 400, "SESSION_NOT_FOUND"},
		{"code", []any{"agent_attestation", fresh(), "ath_session_id", session}, 400, "SESSION_NOT_FOUND"},
	} {
		b = b.with(s.change...)
		t.Run("token, "+s.name, func(t *testing.T) { w.refusedAs(t, w.post("/ath/token", b), s.status, s.code) })
	}
	if r := w.post("/ath/token", b.with("agent_attestation", fresh(), "code", code)); r.status != 200 {
		t.Errorf("with nothing wrong: %d %s", r.status, r.raw)
	}
}

// proves: T-1
func TestFiveWrongCodesEndTheSession(t *testing.T) {
	w := newWorld(t)
	a := w.actor("guesser")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	code := athCode.FindString(w.consent(w.newBrowser(), link).Body)
	for i := range 5 {
		r := w.post("/ath/token", a.exchange(session, "ath_code_guess"))
		if !r.is(400, "SESSION_NOT_FOUND") {
			t.Fatalf("T-1: guess %d: %d %s", i, r.status, r.raw)
		}
	}
	if r := w.post("/ath/token", a.exchange(session, code)); !r.is(400, "SESSION_NOT_FOUND") {
		t.Errorf("T-1: the right code after five wrong ones: %d %s", r.status, r.raw)
	}
}

// F-34: tutorials send a placeholder as code. The session's own agent hears
// that it is the code that is wrong, and where the right one is.
// proves: T-1
func TestAWrongCodeIsToldAsThat(t *testing.T) {
	w := newWorld(t)
	a := w.actor("placeholder")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	if r := w.post("/ath/token", a.exchange(session, "exchange")); !r.is(400, "SESSION_NOT_FOUND") ||
		!strings.Contains(r.text("message"), "not through with the consent") {
		t.Errorf("before the consent: %d %s", r.status, r.raw)
	}
	code := athCode.FindString(w.consent(w.newBrowser(), link).Body)
	for _, wrong := range []string{"exchange", "", code + "x"} {
		r := w.post("/ath/token", a.exchange(session, wrong))
		details, _ := r.json["details"].(map[string]any)
		if !r.is(400, "SESSION_NOT_FOUND") || !strings.Contains(r.text("message"), "code is wrong") ||
			details["field"] != "code" || !strings.Contains(details["development_option"].(string), "accept_any_code") {
			t.Errorf("%q: %d %s", wrong, r.status, r.raw)
		}
	}
	// Nobody else learns that there is such a session.
	other := w.actor("stranger")
	other.register("gallery", "pictures:read")
	if r := w.post("/ath/token", other.exchange(session, "exchange")); !r.is(403, "AGENT_IDENTITY_MISMATCH") {
		t.Errorf("E-3: another agent: %d %s", r.status, r.raw)
	}
	if r := w.post("/ath/token", a.exchange(session, code)); r.status != 200 {
		t.Errorf("the right code, after all: %d %s", r.status, r.raw)
	}
}

// What only a server on this machine may be told to do is named there only.
func TestAWrongCodeNamesTheDevelopmentOptionOnLoopbackOnly(t *testing.T) {
	w := newWorld(t)
	a := w.actor("elsewhere")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	w.consent(w.newBrowser(), link)
	public := w.twin(func(c *settings) { c.PublicURL = "https://gw.example" })
	asked := a.exchange(session, "exchange")
	asked["agent_attestation"] = a.attest("https://gw.example/ath/token")
	r := w.postTo(public, "/ath/token", asked)
	if !r.is(400, "SESSION_NOT_FOUND") || strings.Contains(r.raw, "accept_any_code") || !strings.Contains(r.raw, "code is wrong") {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

func TestAnyCodeOnlyByOption(t *testing.T) {
	w := newWorld(t, func(c *settings) { c.AcceptAnyCode = true })
	a := w.actor("placeholder")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	w.refusedAs(t, w.post("/ath/token", a.exchange(session, "placeholder")), 400, "SESSION_NOT_FOUND") // not before consent
	w.consent(w.newBrowser(), link)
	if r := w.post("/ath/token", a.exchange(session, "placeholder")); r.status != 200 {
		t.Errorf("T-1: %d %s", r.status, r.raw)
	}
}

// proves: T-2
func TestIntersectionIsOfToday(t *testing.T) {
	w := newWorld(t)
	a := w.actor("narrowed")
	a.register("gallery", "pictures:read", "pictures:write")
	link, session := a.authorize("gallery", []string{"pictures:read", "pictures:write"})
	code := athCode.FindString(w.consent(w.newBrowser(), link).Body)
	id, _ := ath.ParseAgentID(a.id, true)
	change := func(f func(*tokenstore.Agent)) {
		held, err := w.store.Agent(t.Context(), id.Tag())
		if err != nil {
			t.Fatal(err)
		}
		next := held.Value
		next.Approvals = slices.Clone(next.Approvals)
		f(&next)
		if err := w.store.SwapAgent(t.Context(), held, next); err != nil {
			t.Fatal(err)
		}
	}
	change(func(n *tokenstore.Agent) { n.Suspended = true })
	w.refusedAs(t, w.post("/ath/token", a.exchange(session, code)), 403, "AGENT_UNAPPROVED")
	change(func(n *tokenstore.Agent) { n.Suspended = false; n.Approvals[0].Approved = ath.Scopes{"pictures:other"} })
	r := w.post("/ath/token", a.exchange(session, code))
	w.refusedAs(t, r, 403, "SCOPE_NOT_APPROVED")
	change(func(n *tokenstore.Agent) { n.Approvals[0].Approved = ath.Scopes{"pictures:write"} })
	if r := w.post("/ath/token", a.exchange(session, code)); r.status != 200 || join(r.json["effective_scopes"]) != "pictures:write" {
		t.Errorf("T-2: %d %s", r.status, r.raw)
	}
}

// proves: R-5, T-6
func TestTokenEndsWithTheApproval(t *testing.T) {
	w := newWorld(t, policy(approval.Policy{Default: approval.Deny, Rules: []approval.Rule{{Action: approval.Approve, Expires: 20 * time.Minute}}}))
	a := w.actor("short")
	a.register("gallery", "pictures:read")
	r := a.token("gallery", "pictures:read")
	if seconds, _ := r.json["expires_in"].(float64); r.status != 200 || seconds > 1200 || seconds < 1190 {
		t.Errorf("T-6, R-5: %d, expires_in %v", r.status, seconds)
	}
}

// proves: T-7
func TestUserIDWithoutUserinfo(t *testing.T) {
	w := newWorld(t)
	bare := *w.set.Get("gallery")
	bare.UserinfoURL = nil
	set, err := provider.NewSet(&bare)
	if err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, func(c *settings) {
		bare.AuthorizeURL, bare.TokenURL = c.Providers.Current().Get("gallery").AuthorizeURL, c.Providers.Current().Get("gallery").TokenURL
		bare.Issuer = ""
		c.Providers = provider.NewProviders(set)
	})
	a := w.actor("nobody")
	a.register("gallery", "pictures:read")
	r := a.token("gallery", "pictures:read")
	token, err := ath.ParseToken(r.text("access_token"))
	if err != nil {
		t.Fatal(r.raw)
	}
	held, err := w.store.Grant(t.Context(), token)
	if err != nil || held.Value.User != string(token.Tag()) {
		t.Errorf("T-7: the user is %q, want the connection's id %q (%v)", held.Value.User, token.Tag(), err)
	}
}

// Of many exchanges of one session, over two replicas, exactly one gets a token.
// proves: T-4
func TestOneTokenPerSession(t *testing.T) {
	w := newWorld(t)
	a := w.actor("racer")
	a.register("gallery", "pictures:read")
	replicas := []string{w.public, w.twin()}
	for range 5 {
		link, session := a.authorize("gallery", []string{"pictures:read"})
		code := athCode.FindString(w.consent(w.newBrowser(), link).Body)
		bodies := make([]body, 16)
		for i := range bodies {
			bodies[i] = a.exchange(session, code)
		}
		replies := make([]reply, len(bodies))
		var wg sync.WaitGroup
		for i := range bodies {
			wg.Go(func() { replies[i] = w.postTo(replicas[i%2], "/ath/token", bodies[i]) })
		}
		wg.Wait()
		won := 0
		for _, r := range replies {
			switch {
			case r.status == 200:
				won++
				token, _ := ath.ParseToken(r.text("access_token"))
				if read, err := w.store.Read(t.Context(), token, a.id); err != nil || read.Grant == nil || read.Connection == nil {
					t.Errorf("T-4: the winner's token does not work: %+v %v", read, err)
				}
			case !r.is(400, "SESSION_NOT_FOUND"):
				t.Errorf("T-4: a loser got %d %s", r.status, r.raw)
			}
		}
		if won != 1 {
			t.Fatalf("T-4: %d tokens for one session", won)
		}
	}
}

// proves: V-1, V-2, V-3, V-4
func TestRevocationEndsTheToken(t *testing.T) {
	w := newWorld(t)
	a, other := w.actor("revoker"), w.actor("revoked")
	a.register("gallery", "pictures:read")
	other.register("gallery", "pictures:read")
	token, others := a.token("gallery", "pictures:read").text("access_token"), other.token("gallery", "pictures:read").text("access_token")
	mine := body{"client_id": a.clientID, "client_secret": a.secret, "token": token}
	for _, c := range []struct {
		name    string
		body    body
		headers []string
		status  int
		code    string
	}{
		{"V-1: no secret", mine.with("client_secret", nil), nil, 400, "AGENT_NOT_REGISTERED"},
		{"V-1: unknown agent", mine.with("client_id", "ath_unknown"), nil, 403, "AGENT_NOT_REGISTERED"},
		{"V-1: wrong secret", mine.with("client_secret", other.secret), nil, 401, "AGENT_NOT_REGISTERED"},
		{"V-1: another agent's token", mine.with("token", others), nil, 403, "AGENT_IDENTITY_MISMATCH"},
		{"V-2: a bare token", body{"token": token}, nil, 401, "UNAUTHORIZED"},
		{"V-2: a wrong admin token", body{"token": token}, []string{"X-ATH-User-Token", "wrong"}, 401, "UNAUTHORIZED"},
		{"V-2: the agent's secret for an admin token", body{"token": token}, []string{"X-ATH-User-Token", a.secret}, 401, "UNAUTHORIZED"},
		{"V-2: an empty admin token", body{"token": token}, []string{"X-ATH-User-Token", ""}, 401, "UNAUTHORIZED"},
		{"V-3: no token", mine.with("token", nil), nil, 400, "TOKEN_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) { w.refusedAs(t, w.post("/ath/revoke", c.body, c.headers...), c.status, c.code) })
	}
	parsed, _ := ath.ParseToken(token)
	if read, err := w.store.Read(t.Context(), parsed, a.id); err != nil || read.Grant == nil || !read.Grant.Revoked.IsZero() {
		t.Fatalf("a refused revocation revoked: %+v %v", read, err)
	}
	for _, unknown := range []string{"nonsense", ath.NewToken(ath.NewTag()).Secret().Reveal(), "x" + token} {
		if r := w.post("/ath/revoke", mine.with("token", unknown)); r.status != 200 || r.raw != "{\"revoked\":true}\n" {
			t.Errorf("V-3: an unknown token: %d %s", r.status, r.raw)
		}
	}
	r := w.post("/ath/revoke", mine)
	if r.status != 200 || r.raw != "{\"revoked\":true}\n" {
		t.Errorf("V-1: %d %s", r.status, r.raw)
	}
	if read, err := w.store.Read(t.Context(), parsed, a.id); err != nil || read.Grant == nil || read.Grant.Revoked.IsZero() || read.Connection != nil {
		t.Errorf("V-4: after revocation: %+v %v", read, err)
	}
	if r := w.post("/ath/revoke", mine); r.status != 200 {
		t.Errorf("V-3: twice: %d %s", r.status, r.raw)
	}
	for _, header := range []string{"X-ATH-User-Token", "Authorization"} {
		value := adminToken
		if header == "Authorization" {
			value = "Bearer " + adminToken
		}
		if r := w.post("/ath/revoke", body{"token": others}, header, value); r.status != 200 {
			t.Errorf("V-2: by %s: %d %s", header, r.status, r.raw)
		}
	}
	parsed, _ = ath.ParseToken(others)
	if read, _ := w.store.Read(t.Context(), parsed, other.id); read.Grant == nil || read.Grant.Revoked.IsZero() {
		t.Error("V-2: the operator's revocation did nothing")
	}
}

// proves: U-1
func TestEveryDecisionHasItsEvent(t *testing.T) {
	w := newWorld(t)
	a := w.actor("events")
	a.register("gallery", "pictures:read")
	w.post("/ath/agents/register", a.registration("gallery", "pictures:read").with("agent_attestation", "x.y.z"))
	token := a.token("gallery", "pictures:read").text("access_token")
	w.post("/ath/revoke", body{"client_id": a.clientID, "client_secret": a.secret, "token": token})
	for _, kind := range []string{"agent_registered", "attestation_failed", "authorization_started", "access_granted", "token_revoked"} {
		if strings.Count(w.log(), `"event":"`+kind+`"`) != 1 {
			t.Errorf("U-1: want one %s:\n%s", kind, w.log())
		}
	}
	for _, field := range []string{"timestamp", "event", "agent_id", "user_id", "provider_id", "requested_scopes", "effective_scopes", "denied_scopes", "denial_reason", "decision_id"} {
		if !strings.Contains(w.log(), `"`+field+`":`) {
			t.Errorf("U-1: no field %s", field)
		}
	}
}

// proves: E-1
func TestErrorsOfTheCompanion(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/ath/token", 405, "METHOD_NOT_ALLOWED", "POST"},
		{"DELETE", "/.well-known/ath.json", 405, "METHOD_NOT_ALLOWED", "GET, HEAD"},
		{"GET", "/", 404, "NOT_FOUND", ""},
		{"GET", "/ath/../ath/token", 404, "NOT_FOUND", ""},
		{"GET", "//health", 404, "NOT_FOUND", ""},
		{"GET", "/%68ealth", 404, "NOT_FOUND", ""},
		{"POST", "/ath/token/", 404, "NOT_FOUND", ""},
	} {
		u, _ := url.Parse(w.public)
		req := &http.Request{Method: c.method, URL: &url.URL{Scheme: "http", Host: u.Host, Opaque: "//" + u.Host + c.path}, Header: http.Header{}}
		r := w.send(req)
		w.refusedAs(t, r, c.status, c.code)
		if r.header.Get("Allow") != c.allow {
			t.Errorf("E-1: %s %s: %d %s, Allow %q", c.method, c.path, r.status, r.raw, r.header.Get("Allow"))
		}
	}
	w.refusedAs(t, w.post("/ath/token", strings.Repeat(" ", 65<<10)), 413, "PAYLOAD_TOO_LARGE")
	w.refusedAs(t, w.post("/ath/token", `{"client_id":[]}`), 400, "INVALID_REQUEST")
}
