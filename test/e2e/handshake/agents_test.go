package handshake

import (
	"encoding/json"
	"fmt"
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
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// ask sends a request without a body, or with one, and headers in pairs.
func (w *world) ask(method, path, body string, headers ...string) reply {
	w.t.Helper()
	req, err := http.NewRequest(method, w.public+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return w.send(req)
}

// operate is ask with the admin token.
func (w *world) operate(method, path, body string) reply {
	w.t.Helper()
	return w.ask(method, path, body, "X-ATH-User-Token", adminToken)
}

func basic(id, secret string) string {
	r, _ := http.NewRequest("GET", "/", nil)
	r.SetBasicAuth(id, secret)
	return r.Header.Get("Authorization")
}

func (a *actor) path() string      { return "/ath/agents/" + a.clientID }
func (a *actor) adminPath() string { return "/ath/admin/agents/" + a.clientID }

// decide asks authz, on the same store, whether a call with this token passes.
func (w *world) decide(t *testing.T, a *actor, token string) authz.Reason {
	t.Helper()
	d, err := authz.New(authz.Config{Store: w.store, Providers: provider.NewProviders(w.set), Audit: w.config.Audit, Logger: w.config.Logger, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	decision := d.Decide(t.Context(), authz.Request{
		Method: "GET", Path: "/ath/proxy/gallery/pictures/1", Provider: "gallery", Mount: "/ath/proxy/gallery/",
		Authorization: []string{"Bearer " + token}, AgentID: []string{a.id},
	})
	return decision.Reason()
}

// live registers an actor and gets it a token that works.
func (w *world) live(t *testing.T, name string) (*actor, string) {
	t.Helper()
	a := w.actor(name)
	if r := a.register("gallery", "pictures:read"); r.text("agent_status") != "approved" {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	token := a.token("gallery", "pictures:read").text("access_token")
	if got := w.decide(t, a, token); got != authz.Allowed {
		t.Fatalf("a fresh token is %s", got)
	}
	return a, token
}

// connection reads what the store holds behind a token.
func (w *world) connection(t *testing.T, a *actor, token string) *tokenstore.Connection {
	t.Helper()
	parsed, err := ath.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	reading, err := w.store.Read(t.Context(), parsed, a.id)
	if err != nil {
		t.Fatal(err)
	}
	return reading.Connection
}

// withoutID returns a refusal without its decision_id, which differs each time.
func withoutID(t *testing.T, r reply) string {
	t.Helper()
	id, _ := r.details()["decision_id"].(string)
	if id == "" {
		t.Fatalf("E-2: no decision_id: %s", r.raw)
	}
	return fmt.Sprint(r.status, r.header.Get("Content-Type"), r.header.Get("WWW-Authenticate"), strings.ReplaceAll(r.raw, id, "ID"))
}

// TestOwnRegistration tries both doors with every proof that could be offered.
func TestOwnRegistration(t *testing.T) {
	w := newWorld(t, policy(approval.Policy{Default: approval.Approve, Rules: []approval.Rule{
		{Scopes: globs(t, "pictures:write"), Action: approval.Deny},
	}}))
	a, other := w.actor("a"), w.actor("other")
	a.register("gallery", "pictures:read", "pictures:write")
	other.register("gallery", "pictures:read")
	id, err := ath.ParseAgentID(w.sites+"/nobody.json", true)
	if err != nil {
		t.Fatal(err)
	}
	unknown := "/ath/agents/" + ath.NewClientID(id).String()
	// Of a registered agent, but with another random part.
	half := a.path()[:len(a.path())-4] + "AAAA"
	used := a.attest(w.public)
	if r := w.ask("GET", a.path(), "", "Authorization", "Bearer "+used); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.raw)
	}

	t.Run("R-8: its own proof shows an agent its registration", func(t *testing.T) {
		for name, proof := range map[string]string{
			"client_secret": basic(a.clientID, a.secret), "attestation for the base": "Bearer " + a.attest(w.public),
			"for the base with a slash": "bearer " + a.attest(w.public+"/"), "for this URL": "Bearer " + a.attest(w.public+a.path()),
		} {
			r := w.ask("GET", a.path(), "", "Authorization", proof)
			if r.status != 200 || r.text("client_id") != a.clientID || r.text("agent_id") != a.id || r.text("agent_status") != "approved" {
				t.Fatalf("%s: %d %s", name, r.status, r.raw)
			}
			p := r.list("approved_providers")[0].(map[string]any)
			if p["provider_id"] != "gallery" || join(p["approved_scopes"]) != "pictures:read" || join(p["denied_scopes"]) != "pictures:write" || p["denial_reason"] == "" {
				t.Errorf("%s: %v", name, p)
			}
			if _, err := time.Parse(time.RFC3339, r.text("approval_expires")); err != nil || len(r.list("redirect_uris")) != 3 {
				t.Errorf("%s: %s", name, r.raw)
			}
			if strings.Contains(r.raw, "secret") || strings.Contains(r.raw, a.secret) || r.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: the reply holds a secret, or may be cached: %s", name, r.raw)
			}
		}
	})

	for _, method := range []string{"GET", "DELETE"} {
		refused := withoutID(t, w.ask(method, unknown, "", "Authorization", basic(a.clientID, a.secret)))
		if !strings.HasPrefix(refused, "404") || !strings.Contains(refused, "NOT_FOUND") {
			t.Fatalf("%s of an unknown id: %s", method, refused)
		}
		for _, c := range []struct {
			name, path string
			proof      func() string
		}{
			{"a wrong secret", a.path(), func() string { return basic(a.clientID, other.secret) }},
			{"a secret with something behind it", a.path(), func() string { return basic(a.clientID, a.secret+"x") }},
			{"another agent's id and secret", a.path(), func() string { return basic(other.clientID, other.secret) }},
			{"its secret under another's id", a.path(), func() string { return basic(other.clientID, a.secret) }},
			{"another agent's attestation", a.path(), func() string { return "Bearer " + other.attest(w.public) }},
			{"an attestation that was used", a.path(), func() string { return "Bearer " + used }},
			{"an attestation for another endpoint", a.path(), func() string { return "Bearer " + a.attest(w.public+"/ath/token") }},
			{"an attestation for another server", a.path(), func() string { return "Bearer " + a.attest("https://other.example") }},
			{"an expired attestation", a.path(), func() string {
				return "Bearer " + a.attest(w.public, func(c jwt.MapClaims) { c["exp"] = w.now().Add(-time.Hour).Unix() })
			}},
			{"another's sub", a.path(), func() string {
				return "Bearer " + a.attest(w.public, func(c jwt.MapClaims) { c["sub"] = other.id })
			}},
			{"no JWT at all", a.path(), func() string { return "Bearer x.y.z" }},
			{"the admin token", a.path(), func() string { return "Bearer " + adminToken }},
			{"an unknown id", unknown, func() string { return "Bearer " + a.attest(w.public) }},
			{"half an id", half, func() string { return basic(a.clientID, a.secret) }},
			{"half an id with its own name", half, func() string { return basic(strings.TrimPrefix(half, "/ath/agents/"), a.secret) }},
			{"half an id, attested", half, func() string { return "Bearer " + a.attest(w.public) }},
		} {
			t.Run("R-8: "+method+" with "+c.name+" is the same 404", func(t *testing.T) {
				r := w.ask(method, c.path, "", "Authorization", c.proof())
				w.refusedAs(t, r, 404, "NOT_FOUND")
				if got := withoutID(t, r); got != refused {
					t.Errorf("got  %s\nwant %s", got, refused)
				}
			})
		}
		bare := withoutID(t, w.ask(method, unknown, ""))
		for name, headers := range map[string][]string{
			"nothing": nil, "an empty Bearer": {"Authorization", "Bearer "}, "another scheme": {"Authorization", "Digest x"},
			"Basic without a colon": {"Authorization", "Basic eHh4"}, "no base64": {"Authorization", "Basic ???"}, "no secret": {"Authorization", basic(a.clientID, "")},
			"two proofs": {"Authorization", basic(a.clientID, a.secret), "Authorization", basic(a.clientID, a.secret)},
		} {
			t.Run("R-8: "+method+" with "+name+" for a proof is 401, whoever is asked for", func(t *testing.T) {
				for _, path := range []string{a.path(), unknown} {
					r := w.ask(method, path, "", headers...)
					w.refusedAs(t, r, 401, "UNAUTHORIZED")
					if got := withoutID(t, r); got != bare {
						t.Errorf("got  %s\nwant %s", got, bare)
					}
				}
			})
		}
	}
	t.Run("E-1: a path is taken as it is written", func(t *testing.T) {
		proof := basic(a.clientID, a.secret)
		for _, path := range []string{
			a.path() + "/", a.path() + "/x", "/ath/agents//" + a.clientID, "/ath/agents/", "/ath/agents", "/ath/agents/../agents/" + a.clientID,
			"/ath/agents/{client_id}", "/ath/agents/%61" + a.clientID[1:], a.path() + "%2F", "/ath/agents/" + strings.ToUpper(a.clientID), "/ath/admin/agents//" + a.clientID,
			a.adminPath() + "/", a.adminPath() + "/frobnicate", a.adminPath() + "/approve/x", "/ath/admin/", "/ath/admin/agents/",
		} {
			u, err := url.Parse(w.public)
			if err != nil {
				t.Fatal(err)
			}
			req := &http.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: u.Host, Opaque: path}, Header: http.Header{"Authorization": {proof}, "X-Ath-User-Token": {adminToken}}, Host: u.Host}
			if r := w.send(req); !r.is(404, "NOT_FOUND") {
				t.Errorf("%s: %d %s", path, r.status, r.raw)
			}
		}
		r := w.ask("POST", a.path(), "{}", "Authorization", proof)
		if !r.is(405, "METHOD_NOT_ALLOWED") || r.header.Get("Allow") != "DELETE, GET, HEAD" {
			t.Errorf("POST: %d %q %s", r.status, r.header.Get("Allow"), r.raw)
		}
	})
	if r := w.ask("GET", a.path(), "", "Authorization", basic(a.clientID, a.secret)); r.status != 200 {
		t.Errorf("one of the refused requests changed something: %d %s", r.status, r.raw)
	}
}

func TestOwnRemoval(t *testing.T) {
	w := newWorld(t)
	t.Run("R-7: takes tokens and connections with it", func(t *testing.T) {
		a, token := w.live(t, "leaving")
		bystander, kept := w.live(t, "staying")
		if w.connection(t, a, token) == nil {
			t.Fatal("there is no connection to lose")
		}
		r := w.ask("DELETE", a.path(), "", "Authorization", basic(a.clientID, a.secret))
		if r.status != 200 || strings.TrimSpace(r.raw) != `{"removed":true}` {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		if got := w.decide(t, a, token); got != authz.TokenRevoked {
			t.Errorf("its token is %s", got)
		}
		if w.connection(t, a, token) != nil {
			t.Error("the user's OAuth tokens are still there")
		}
		w.refusedAs(t, w.post("/ath/authorize", a.authorization("gallery", "pictures:read")), 403, "AGENT_NOT_REGISTERED")
		w.refusedAs(t, w.ask("DELETE", a.path(), "", "Authorization", basic(a.clientID, a.secret)), 404, "NOT_FOUND")
		w.refusedAs(t, w.ask("GET", a.path(), "", "Authorization", "Bearer "+a.attest(w.public)), 404, "NOT_FOUND")
		if got := w.decide(t, bystander, kept); got != authz.Allowed {
			t.Errorf("another agent's token is %s", got)
		}
		if !strings.Contains(w.log(), `"event":"agent_removed","agent_id":"`+a.id) {
			t.Error("U-1: the removal is not in the audit log")
		}
	})
	t.Run("R-7: a lost secret is no dead end", func(t *testing.T) {
		a, token := w.live(t, "forgetful")
		was := a.clientID
		r := w.ask("DELETE", a.path(), "", "Authorization", "Bearer "+a.attest(w.public+a.path()))
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		if r = a.register("gallery", "pictures:read"); r.status != 201 || r.text("client_id") == was {
			t.Fatalf("registering again: %d %s", r.status, r.raw)
		}
		if got := w.decide(t, a, token); got == authz.Allowed {
			t.Error("the old registration's token lives under the new one")
		}
	})
	t.Run("R-7: a consent to a registration that is gone gives the next one nothing", func(t *testing.T) {
		a := w.actor("again")
		a.register("gallery", "pictures:read")
		link, session := a.authorize("gallery", []string{"pictures:read"})
		b := w.newBrowser()
		atProvider := w.atProvider(b, link, "alice")
		if r := w.ask("DELETE", a.path(), "", "Authorization", basic(a.clientID, a.secret)); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		a.register("gallery", "pictures:read")
		page, err := b.Submit(t.Context(), atProvider.Form().Click("Allow"))
		if err != nil {
			t.Fatal(err)
		}
		code := athCode.FindString(page.Body)
		if code == "" {
			t.Fatalf("%d %s", page.Status, page.Text)
		}
		w.refusedAs(t, w.post("/ath/token", a.exchange(session, code)), 403, "AGENT_IDENTITY_MISMATCH")
	})
	t.Run("R-7: a token that is issued while its agent goes is dead too", func(t *testing.T) {
		a, _ := w.live(t, "racing")
		link, session := a.authorize("gallery", []string{"pictures:read"})
		page := w.consent(w.newBrowser(), link)
		b := a.exchange(session, athCode.FindString(page.Body))
		proof := basic(a.clientID, a.secret)
		var both sync.WaitGroup
		var issued, removed reply
		both.Go(func() { issued = w.post("/ath/token", b) })
		both.Go(func() { removed = w.ask("DELETE", a.path(), "", "Authorization", proof) })
		both.Wait()
		if removed.status != 200 {
			t.Fatalf("%d %s", removed.status, removed.raw)
		}
		if token := issued.text("access_token"); token != "" && w.decide(t, a, token) == authz.Allowed {
			t.Error("it lives")
		}
	})
}

// TestAdminDoors tries every door of operators with every key but theirs.
func TestAdminDoors(t *testing.T) {
	w := newWorld(t, explains(nil))
	a := w.actor("a")
	a.register("gallery", "pictures:read")
	id, err := ath.ParseAgentID(w.sites+"/nobody.json", true)
	if err != nil {
		t.Fatal(err)
	}
	unknown := "/ath/admin/agents/" + ath.NewClientID(id).String()
	doors := []struct{ method, path string }{
		{"GET", "/ath/admin/agents"}, {"GET", a.adminPath()}, {"DELETE", a.adminPath()},
		{"POST", a.adminPath() + "/approve"}, {"POST", a.adminPath() + "/deny"}, {"POST", a.adminPath() + "/suspend"}, {"POST", a.adminPath() + "/resume"},
		{"GET", "/ath/admin/providers"}, {"POST", "/ath/admin/explain"}, {"GET", "/ath/admin/refusals"}, {"GET", "/ath/admin/streams"},
	}
	for _, door := range doors {
		name := door.method + " " + strings.ReplaceAll(door.path, a.clientID, "{id}")
		for key, headers := range map[string][]string{
			"no token": nil, "a wrong token": {"X-ATH-User-Token", adminToken + "x"}, "an empty token": {"X-ATH-User-Token", ""},
			"a wrong Bearer": {"Authorization", "Bearer x"}, "the agent's secret": {"Authorization", basic(a.clientID, a.secret)},
			"the agent's secret as a token": {"X-ATH-User-Token", a.secret}, "the agent's attestation": {"Authorization", "Bearer " + a.attest(w.public)},
			"two tokens": {"X-ATH-User-Token", adminToken, "X-ATH-User-Token", adminToken},
		} {
			t.Run("O-1: "+name+" with "+key+" is refused", func(t *testing.T) {
				w.refusedAs(t, w.ask(door.method, door.path, "", headers...), 401, "UNAUTHORIZED")
			})
		}
		if !strings.HasPrefix(door.path, a.adminPath()) {
			continue
		}
		t.Run(name+" of an unknown agent", func(t *testing.T) {
			w.refusedAs(t, w.operate(door.method, strings.Replace(door.path, a.adminPath(), unknown, 1), ""), 404, "NOT_FOUND")
		})
	}
	for _, headers := range [][]string{{"X-ATH-User-Token", adminToken}, {"Authorization", "Bearer " + adminToken}} {
		r := w.ask("GET", a.adminPath(), "", headers...)
		if r.status != 200 || r.text("agent_status") != "approved" || strings.Contains(r.raw, "secret") {
			t.Errorf("O-1: %s: %d %s", headers[0], r.status, r.raw)
		}
	}
	t.Run("nobody is an operator where there is no token", func(t *testing.T) {
		w := newWorld(t, func(c *settings) { c.AdminTokens = nil })
		w.refusedAs(t, w.operate("GET", "/ath/admin/agents", ""), 401, "UNAUTHORIZED")
	})
}

// proves: R-6
func TestAgentListsFilterByStatus(t *testing.T) {
	w := newWorld(t, policy(approval.Policy{Default: approval.Deny, Rules: []approval.Rule{
		{Scopes: globs(t, "pictures:read"), Action: approval.Approve},
		{Scopes: globs(t, "pictures:write"), Action: approval.Review},
	}}))
	register := func(name string, scopes ...string) *actor {
		a := w.actor(name)
		if r := a.register("gallery", scopes...); r.status != 201 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		return a
	}
	approved := register("approved", "pictures:read")
	pending := register("pending", "pictures:write")
	both := register("both", "pictures:read", "pictures:write")
	denied := register("denied", "pictures:write")
	w.action(t, denied, "deny", "")
	suspended := register("suspended", "pictures:read")
	if r := w.operate("POST", suspended.adminPath()+"/suspend", ""); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	pages := func(query string) (ids []string) {
		t.Helper()
		for cursor := ""; ; {
			r := w.operate("GET", "/ath/admin/agents?"+query+cursor, "")
			if r.status != 200 || len(r.list("unreadable")) != 0 {
				t.Fatalf("%s: %d %s", query+cursor, r.status, r.raw)
			}
			for _, a := range r.list("agents") {
				ids = append(ids, a.(map[string]any)["client_id"].(string))
			}
			if r.text("next_cursor") == "" {
				slices.Sort(ids)
				return ids
			}
			cursor = "&cursor=" + r.text("next_cursor")
		}
	}
	for query, want := range map[string][]*actor{
		"limit=1000": {approved, pending, both, denied, suspended}, "limit=1": {approved, pending, both, denied, suspended},
		"status=approved&limit=1": {approved, both}, "status=pending": {pending, both}, "status=denied": {denied}, "status=suspended": {suspended},
	} {
		var ids []string
		for _, a := range want {
			ids = append(ids, a.clientID)
		}
		slices.Sort(ids)
		if got := pages(query); !slices.Equal(got, ids) {
			t.Errorf("R-6: ?%s lists %q, want %q", query, got, ids)
		}
	}
	for _, query := range []string{"status=", "status=all", "limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=", "satus=pending", "limit=1&limit=2"} {
		w.refusedAs(t, w.operate("GET", "/ath/admin/agents?"+query, ""), 400, "INVALID_REQUEST")
	}
}

var review = policy(approval.Policy{Default: approval.Review, Rules: nil})

// action makes an operator's decision that must succeed, and holds that it is in
// the audit log with who made it.
func (w *world) action(t *testing.T, a *actor, what, body string) reply {
	t.Helper()
	before := len(w.log())
	r := w.operate("POST", a.adminPath()+"/"+what, body)
	if r.status != 200 {
		t.Fatalf("%s: %d %s", what, r.status, r.raw)
	}
	kind := map[string]audit.Kind{"approve": audit.AgentApproved, "deny": audit.AgentDenied, "suspend": audit.AgentSuspended, "resume": audit.AgentResumed}[what]
	found := false
	for line := range strings.Lines(w.log()[before:]) {
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) == nil && e["event"] == string(kind) {
			found = e["agent_id"] == a.id && e["by"] == "ops" && e["decision_id"] != ""
		}
	}
	if !found {
		t.Errorf("U-1: %s by ops is not in the audit log", kind)
	}
	return r
}

func scopesOf(r reply, provider string) map[string]string {
	for _, p := range r.list("providers") {
		if m := p.(map[string]any); m["provider_id"] == provider {
			return map[string]string{"yes": join(m["approved_scopes"]), "wait": join(m["pending_scopes"]), "no": join(m["denied_scopes"]), "op": join(m["denied_by_operator"])}
		}
	}
	return nil
}

func until(t *testing.T, w *world, r reply) time.Duration {
	t.Helper()
	at, err := time.Parse(time.RFC3339, r.text("approval_expires"))
	if err != nil {
		t.Fatal(err)
	}
	return at.Sub(w.now()).Round(time.Hour)
}

const day = 24 * time.Hour

func TestOperatorDecisionsTakeEffectAtOnce(t *testing.T) {
	t.Run("R-6: pending becomes approved, and the handshake goes on", func(t *testing.T) {
		w := newWorld(t, review)
		a := w.actor("a")
		if r := a.register("gallery", "pictures:read", "pictures:write"); r.text("agent_status") != "pending" {
			t.Fatal(r.raw)
		}
		w.pass(6 * day)
		r := w.action(t, a, "approve", "")
		if r.text("agent_status") != "approved" || scopesOf(r, "gallery")["yes"] != "pictures:read pictures:write" || until(t, w, r) != 90*day {
			t.Fatalf("%v %s", until(t, w, r), r.raw)
		}
		token := a.token("gallery", "pictures:read").text("access_token")
		if got := w.decide(t, a, token); got != authz.Allowed {
			t.Errorf("its token is %s", got)
		}
	})
	t.Run("R-6: a part of it, for a time", func(t *testing.T) {
		w := newWorld(t, review)
		a := w.actor("a")
		a.register("gallery", "pictures:read", "pictures:write")
		r := w.action(t, a, "approve", `{"providers":[{"provider_id":"gallery","scopes":["pictures:read"]}],"expires":"30d"}`)
		if s := scopesOf(r, "gallery"); s["yes"] != "pictures:read" || s["wait"] != "pictures:write" || until(t, w, r) != 30*day {
			t.Fatalf("%v %s", until(t, w, r), r.raw)
		}
		r = w.action(t, a, "deny", `{"reason":"Reading is enough."}`)
		if s := scopesOf(r, "gallery"); s["yes"] != "pictures:read" || s["wait"] != "" || s["no"] != "pictures:write" || s["op"] != "pictures:write" || r.text("agent_status") != "approved" {
			t.Fatal(r.raw)
		}
		own := w.ask("GET", a.path(), "", "Authorization", basic(a.clientID, a.secret))
		if p := own.list("approved_providers")[0].(map[string]any); p["denial_reason"] != "Reading is enough." {
			t.Errorf("the agent does not hear why: %s", own.raw)
		}
		w.refusedAs(t, w.post("/ath/authorize", a.authorization("gallery", "pictures:write")), 403, "SCOPE_NOT_APPROVED")
		r = w.action(t, a, "approve", `{"expires":"200d"}`) // alone: longer
		if s := scopesOf(r, "gallery"); s["yes"] != "pictures:read" || until(t, w, r) != 200*day {
			t.Fatalf("%v %s", until(t, w, r), r.raw)
		}
	})
	t.Run("R-6: what policy says about the end holds where the operator says nothing", func(t *testing.T) {
		w := newWorld(t, policy(approval.Policy{Default: approval.Deny, Rules: []approval.Rule{{Action: approval.Review, Expires: 7 * day}}}))
		a := w.actor("a")
		a.register("gallery", "pictures:read")
		if r := w.action(t, a, "approve", "{}"); until(t, w, r) != 7*day {
			t.Fatalf("%v %s", until(t, w, r), r.raw)
		}
	})
	t.Run("R-5: what has ended does not come back with something else", func(t *testing.T) {
		w := newWorld(t, policy(approval.Policy{Default: approval.Review, Rules: []approval.Rule{{Scopes: globs(t, "pictures:read"), Action: approval.Approve, Expires: day}}}))
		a := w.actor("a")
		a.register("gallery", "pictures:read", "pictures:write")
		w.pass(2 * day)
		r := w.action(t, a, "approve", "")
		if s := scopesOf(r, "gallery"); s["yes"] != "pictures:write" || until(t, w, r) != 90*day {
			t.Fatalf("%v %s", until(t, w, r), r.raw)
		}
	})
	t.Run("R-6: a denied scope is over at the next decision", func(t *testing.T) {
		w := newWorld(t)
		a, token := w.live(t, "a")
		w.action(t, a, "deny", `{"providers":[{"provider_id":"gallery","scopes":["pictures:read"]}]}`)
		if got := w.decide(t, a, token); got != authz.AgentNotApproved {
			t.Errorf("its token is %s", got)
		}
	})
	t.Run("what makes no sense changes nothing", func(t *testing.T) {
		w := newWorld(t, review)
		a := w.actor("a")
		a.register("gallery", "pictures:read")
		for body, code := range map[string]int{
			`{"provider":[]}`: 400, `{"providers":[]}`: 400, `[]`: 400, `{"providers":"gallery"}`: 400, `{"expires":"0d"}`: 400, `{"expires":"forever"}`: 400,
			`{"providers":[{"provider_id":"shop","scopes":["products:read"]}]}`:     400, // never asked for
			`{"providers":[{"provider_id":"gallery","scopes":["pictures:write"]}]}`: 400,
			`{"providers":[{"provider_id":"gallery"}]}`:                             400,
			`{"providers":[{"provider_id":"gallery","scopes":["a b"]}]}`:            400,
		} {
			w.refusedAs(t, w.operate("POST", a.adminPath()+"/approve", body), code, "INVALID_REQUEST")
		}
		w.refusedAs(t, w.operate("POST", a.adminPath()+"/deny", `{"expires":"1d"}`), 400, "INVALID_REQUEST")
		w.refusedAs(t, w.operate("POST", a.adminPath()+"/suspend", `{"for":"1d"}`), 400, "INVALID_REQUEST")
		w.refusedAs(t, w.operate("POST", a.adminPath()+"/deny", `{"reason":"`+strings.Repeat("x", 600)+`"}`), 400, "INVALID_REQUEST")
		if r := w.operate("GET", a.adminPath(), ""); r.text("agent_status") != "pending" {
			t.Fatal(r.raw)
		}
		w.action(t, a, "deny", "")
		w.refusedAs(t, w.operate("POST", a.adminPath()+"/approve", ""), 409, "CONFLICT")
		w.refusedAs(t, w.operate("POST", a.adminPath()+"/approve", `{"expires":"9d"}`), 409, "CONFLICT")
		w.refusedAs(t, w.operate("POST", a.adminPath()+"/deny", ""), 409, "CONFLICT")
	})
	t.Run("what no provider offers cannot be approved", func(t *testing.T) {
		w := newWorld(t, policy(approval.Policy{Default: approval.Review}))
		a := w.actor("a")
		a.register("gallery", "pictures:read", "pictures:burn")
		w.refusedAs(t, w.operate("POST", a.adminPath()+"/approve", `{"providers":[{"provider_id":"gallery","scopes":["pictures:burn"]}]}`), 400, "INVALID_REQUEST")
		later := *w.set.Get("gallery") // the provider offers less by now
		later.Scopes = ath.Scopes{"pictures:write"}
		set, err := provider.NewSet(&later)
		if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(a.adminPath(), w.public) + "/approve"
		today := w.twin(func(c *settings) { c.Providers = provider.NewProviders(set) })
		w.refusedAs(t, w.postTo(today, path, "", "X-ATH-User-Token", adminToken), 409, "CONFLICT")
	})
}

func TestSuspension(t *testing.T) {
	w := newWorld(t)
	a, token := w.live(t, "a")
	bystander, kept := w.live(t, "bystander")
	r := w.action(t, a, "suspend", "")
	if r.text("agent_status") != "suspended" {
		t.Fatal(r.raw)
	}
	t.Run("R-6: kills every live token at once, and only its own", func(t *testing.T) {
		if got := w.decide(t, a, token); got == authz.Allowed {
			t.Error("its token lives")
		}
		if w.connection(t, a, token) != nil {
			t.Error("the user's OAuth tokens are still there")
		}
		if got := w.decide(t, bystander, kept); got != authz.Allowed {
			t.Errorf("another agent's token is %s", got)
		}
		w.refusedAs(t, w.post("/ath/authorize", a.authorization("gallery", "pictures:read")), 403, "AGENT_UNAPPROVED")
	})
	t.Run("R-6: registering again does not end it", func(t *testing.T) {
		w.refusedAs(t, w.post("/ath/agents/register", a.registration("gallery", "pictures:read", "pictures:write")), 403, "AGENT_UNAPPROVED")
		if r := w.operate("GET", a.adminPath(), ""); r.text("agent_status") != "suspended" {
			t.Error(r.raw)
		}
	})
	t.Run("R-6: an approval does not end it", func(t *testing.T) {
		r := w.action(t, a, "approve", `{"providers":[{"provider_id":"gallery","scopes":["pictures:read"]}]}`)
		if r.text("agent_status") != "suspended" {
			t.Error(r.raw)
		}
	})
	t.Run("R-6: it can be said again", func(t *testing.T) { w.action(t, a, "suspend", "") })
	t.Run("R-8: the agent can see it", func(t *testing.T) {
		if r := w.ask("GET", a.path(), "", "Authorization", basic(a.clientID, a.secret)); r.text("agent_status") != "suspended" {
			t.Error(r.raw)
		}
	})
	t.Run("R-6: resumed, the agent works again, but what was dead stays dead", func(t *testing.T) {
		if r := w.action(t, a, "resume", ""); r.text("agent_status") != "approved" {
			t.Fatal(r.raw)
		}
		w.action(t, a, "resume", "")
		if got := w.decide(t, a, token); got != authz.TokenRevoked {
			t.Errorf("the old token is %s", got)
		}
		if got := w.decide(t, a, a.token("gallery", "pictures:read").text("access_token")); got != authz.Allowed {
			t.Errorf("a new token is %s", got)
		}
	})
	t.Run("R-6: a token that was being issued when its agent was suspended is dead for good", func(t *testing.T) {
		a, token := w.live(t, "quick")
		parsed, err := ath.ParseToken(token)
		if err != nil {
			t.Fatal(err)
		}
		held, err := w.store.Grant(t.Context(), parsed)
		if err != nil {
			t.Fatal(err)
		}
		connection := w.connection(t, a, token)
		w.action(t, a, "suspend", "")
		// What an exchange writes that read the agent before, and is slow.
		late, grant := ath.NewToken(ath.NewTag()), held.Value
		grant.Connection = late.Tag()
		if err := w.store.PutConnection(t.Context(), late.Tag(), *connection, grant.Expires); err != nil {
			t.Fatal(err)
		}
		if err := w.store.PutGrant(t.Context(), late, grant); err != nil {
			t.Fatal(err)
		}
		if got := w.decide(t, a, late.Secret().Reveal()); got != authz.AgentNotApproved {
			t.Errorf("while suspended it is %s", got)
		}
		w.action(t, a, "resume", "")
		if got := w.decide(t, a, late.Secret().Reveal()); got != authz.TokenRevoked {
			t.Errorf("afterwards it is %s", got)
		}
	})
}

func TestOperatorsWordStands(t *testing.T) {
	read := `{"providers":[{"provider_id":"gallery","scopes":["pictures:read"]}]}`
	t.Run("R-6: what an operator denied, no policy approves when the agent registers again", func(t *testing.T) {
		w := newWorld(t) // everything is approved by policy
		a := w.actor("a")
		a.register("gallery", "pictures:read")
		w.action(t, a, "deny", read)
		w.refusedAs(t, w.post("/ath/agents/register", a.registration("gallery", "pictures:read")), 409, "CONFLICT")
		r := w.post("/ath/agents/register", a.registration("gallery", "pictures:read", "pictures:write"))
		if r.status != 201 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		if s := scopesOf(w.operate("GET", a.adminPath(), ""), "gallery"); s["yes"] != "pictures:write" || s["no"] != "pictures:read" || s["op"] != "pictures:read" {
			t.Errorf("%v", s)
		}
		t.Run("R-5: also when the approval has ended", func(t *testing.T) {
			w.pass(91 * day)
			r := w.post("/ath/agents/register", a.registration("gallery", "pictures:read", "pictures:write"))
			if r.status != 201 {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			if s := scopesOf(w.operate("GET", a.adminPath(), ""), "gallery"); s["yes"] != "pictures:write" || s["no"] != "pictures:read" {
				t.Errorf("%v", s)
			}
		})
		t.Run("R-6: until an operator approves it", func(t *testing.T) {
			r := w.action(t, a, "approve", read)
			if s := scopesOf(r, "gallery"); s["yes"] != "pictures:write pictures:read" || s["no"] != "" || s["op"] != "" {
				t.Errorf("%v", s)
			}
		})
	})
	t.Run("R-5: a denial outlives the end of the first approval, and a later one is not born ended", func(t *testing.T) {
		w := newWorld(t)
		a := w.actor("a")
		a.register("gallery", "pictures:read")
		w.action(t, a, "deny", read)
		w.pass(100 * day)
		r := w.post("/ath/agents/register", a.registration("gallery", "pictures:write"))
		if r.status != 201 || until(t, w, r) != 90*day || r.text("agent_status") != "approved" {
			t.Fatalf("%v %d %s", until(t, w, r), r.status, r.raw)
		}
	})
	for what, body := range map[string]string{"suspend": "", "deny": read} {
		t.Run("R-6: removing itself and registering again does not undo "+what, func(t *testing.T) {
			w := newWorld(t)
			a, token := w.live(t, "a")
			old := a.clientID
			w.action(t, a, what, body)
			if r := w.ask("DELETE", a.path(), "", "Authorization", basic(a.clientID, a.secret)); r.status != 200 {
				t.Fatalf("R-7: %d %s", r.status, r.raw)
			}
			w.refusedAs(t, w.ask("GET", a.path(), "", "Authorization", basic(a.clientID, a.secret)), 404, "NOT_FOUND")
			if got := w.decide(t, a, token); got == authz.Allowed {
				t.Error("R-7: its token lives")
			}
			r := w.post("/ath/agents/register", a.registration("gallery", "pictures:read"))
			if r.status != 403 && r.status != 409 {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			// It has an address that only operators see, by which they can take
			// their word back.
			l := w.operate("GET", "/ath/admin/agents", "").list("agents")
			if len(l) != 1 {
				t.Fatalf("%v", l)
			}
			remainder := l[0].(map[string]any)
			if remainder["agent_id"] != a.id || remainder["client_id"] == old {
				t.Fatalf("%v", remainder)
			}
			if r := w.operate("DELETE", "/ath/admin/agents/"+remainder["client_id"].(string), ""); r.status != 200 {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			if r := a.register("gallery", "pictures:read"); r.text("agent_status") != "approved" {
				t.Errorf("%d %s", r.status, r.raw)
			}
		})
	}
}

// proves: R-6
func TestOperatorRemoves(t *testing.T) {
	w := newWorld(t)
	a, token := w.live(t, "a")
	r := w.operate("DELETE", a.adminPath(), "")
	if r.status != 200 || r.json["removed"] != true {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	if got := w.decide(t, a, token); got != authz.TokenRevoked || w.connection(t, a, token) != nil {
		t.Errorf("R-6: its token is %s", got)
	}
	if !strings.Contains(w.log(), `"event":"agent_removed","agent_id":"`+a.id) || !strings.Contains(w.log(), `"by":"ops"`) {
		t.Error("U-1: who removed it is not in the audit log")
	}
	w.refusedAs(t, w.operate("GET", a.adminPath(), ""), 404, "NOT_FOUND")
}

// TestNoDecisionIsLost lets operators and the agent write one record at once,
// on two replicas: each decision that was acknowledged is in the outcome.
// proves
func TestNoDecisionIsLost(t *testing.T) {
	const writers = 32
	w := newWorld(t, review)
	two := w.twin()
	a := w.actor("a")
	a.register("gallery", "pictures:read", "pictures:write")
	w.action(t, a, "deny", `{"providers":[{"provider_id":"gallery","scopes":["pictures:write"]}]}`)

	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range writers {
		base := []string{w.public, two}[i%2]
		again := a.registration("shop", "products:read")
		all.Go(func() {
			<-start
			var r reply
			var want []int
			switch i % 4 {
			case 0:
				r, want = w.postTo(base, a.adminPath()+"/approve", `{"providers":[{"provider_id":"gallery","scopes":["pictures:read"]}]}`, "X-ATH-User-Token", adminToken), []int{200}
			case 1:
				r, want = w.postTo(base, a.adminPath()+"/suspend", "", "X-ATH-User-Token", adminToken), []int{200}
			case 2:
				r, want = w.postTo(base, a.adminPath()+"/deny", `{"providers":[{"provider_id":"gallery","scopes":["pictures:write"]}]}`, "X-ATH-User-Token", adminToken), []int{200}
			case 3:
				r, want = w.postTo(base, "/ath/agents/register", again), []int{201, 409, 403}
			}
			if !slices.Contains(want, r.status) {
				t.Errorf("writer %d: %d %s", i, r.status, r.raw)
			}
		})
	}
	close(start)
	all.Wait()
	r := w.operate("GET", a.adminPath(), "")
	s := scopesOf(r, "gallery")
	if r.text("agent_status") != "suspended" || s["yes"] != "pictures:read" || s["no"] != "pictures:write" || s["op"] != "pictures:write" || s["wait"] != "" {
		t.Errorf("R-6: a decision was lost: %s", r.raw)
	}
	if p := scopesOf(r, "shop"); p != nil && p["wait"] != "products:read" {
		t.Errorf("R-2: the registration that was added is %v", p)
	}
}
