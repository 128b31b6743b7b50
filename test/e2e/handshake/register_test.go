package handshake

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
)

func globs(t *testing.T, texts ...string) []approval.Glob {
	t.Helper()
	var out []approval.Glob
	for _, s := range texts {
		g, err := approval.ParseGlob(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, g)
	}
	return out
}

func policy(p approval.Policy) option { return func(c *settings) { c.Policy = p } }

// refusedAs checks a refusal and that it carries a decision_id which the log
// bears too (E-1, E-2).
func (w *world) refusedAs(t *testing.T, r reply, status int, code string) {
	t.Helper()
	if !r.is(status, code) {
		t.Fatalf("%d %s, want %d %s: %s", r.status, r.code(), status, code, r.raw)
	}
	id, _ := r.details()["decision_id"].(string)
	if id == "" || w.event(id) == nil {
		t.Errorf("E-2: decision_id %q is not in the audit log", id)
	}
	if r.text("message") == "" || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		t.Errorf("E-1: %s %q", r.header.Get("Content-Type"), r.raw)
	}
}

// proves: R-1
func TestRegistrationFollowsPolicy(t *testing.T) {
	w := newWorld(t)
	a := w.actor("a")
	r := a.register("gallery", "pictures:read")
	if r.status != http.StatusCreated || r.text("agent_status") != "approved" {
		t.Fatalf("R-1: %d %s", r.status, r.raw)
	}
	if !strings.HasPrefix(r.text("client_id"), "ath_") || !strings.HasPrefix(r.text("client_secret"), "ath_secret_") {
		t.Errorf("client_id %q, client_secret %.12q", r.text("client_id"), r.text("client_secret"))
	}
	if _, err := time.Parse(time.RFC3339, r.text("approval_expires")); err != nil {
		t.Errorf("approval_expires: %v", err)
	}
	if r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("a reply with a secret may be cached: %q", r.header.Get("Cache-Control"))
	}
	if strings.Contains(w.log(), r.text("client_secret")) {
		t.Error("the log holds the client secret")
	}
}

func TestPolicyDecides(t *testing.T) {
	w := newWorld(t, policy(approval.Policy{Default: approval.Deny, Rules: []approval.Rule{
		{Providers: globs(t, "gallery"), Scopes: globs(t, "pictures:read"), Action: approval.Approve, Expires: 48 * time.Hour},
		{Developers: globs(t, "demo-developers"), Scopes: globs(t, "pictures:*"), Action: approval.Review},
	}}))
	t.Run("R-1: a subset is approved", func(t *testing.T) {
		a := w.actor("subset")
		b := a.registration("gallery", "pictures:read", "pictures:write", "pictures:burn")
		b["requested_providers"] = append(b["requested_providers"].([]body), body{"provider_id": "nobody", "scopes": []string{"x"}}, body{"provider_id": "shop", "scopes": []string{"products:read"}})
		r := w.post("/ath/agents/register", b)
		if r.status != 201 || r.text("agent_status") != "approved" {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		want := map[string][3]string{ // approved, denied, a reason
			"gallery": {"pictures:read", "pictures:burn", "yes"}, "nobody": {"", "x", "yes"}, "shop": {"", "products:read", "yes"},
		}
		for _, p := range r.list("approved_providers") {
			m := p.(map[string]any)
			x := want[m["provider_id"].(string)]
			if join(m["approved_scopes"]) != x[0] || join(m["denied_scopes"]) != x[1] || (m["denial_reason"] != nil) != (x[2] == "yes") {
				t.Errorf("%v", m)
			}
			delete(want, m["provider_id"].(string))
		}
		if len(want) > 0 {
			t.Errorf("not in the reply: %v", want)
		}
		expires, _ := time.Parse(time.RFC3339, r.text("approval_expires"))
		if left := expires.Sub(w.now()); left > 48*time.Hour || left < 47*time.Hour {
			t.Errorf("R-5: the approval holds for %v, the rule says 48 h", left)
		}
	})
	t.Run("R-1: under review is pending", func(t *testing.T) {
		a := w.actor("pending")
		if r := a.register("gallery", "pictures:write"); r.status != 201 || r.text("agent_status") != "pending" {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		r := w.post("/ath/authorize", a.authorization("gallery", "pictures:write"))
		w.refusedAs(t, r, 403, "AGENT_UNAPPROVED")
	})
	t.Run("R-1: nothing approved is denied", func(t *testing.T) {
		a := w.actor("denied")
		if r := a.register("nobody", "x"); r.status != 201 || r.text("agent_status") != "denied" {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		w.refusedAs(t, w.post("/ath/authorize", a.authorization("nobody", "x")), 403, "AGENT_NOT_REGISTERED")
	})
}

func join(list any) string {
	var out []string
	for _, x := range list.([]any) {
		out = append(out, x.(string))
	}
	return strings.Join(out, " ")
}

func TestSecondRegistration(t *testing.T) {
	w := newWorld(t)
	a := w.actor("again")
	first := a.register("gallery", "pictures:read")
	t.Run("R-2: asks for nothing new", func(t *testing.T) {
		r := w.post("/ath/agents/register", a.registration("gallery", "pictures:read"))
		w.refusedAs(t, r, 409, "CONFLICT")
		if r.details()["client_id"] != first.text("client_id") {
			t.Errorf("details: %v", r.details())
		}
		// F-35: it names the way out, which works.
		way, _ := r.details()["remove"].(map[string]any)
		url, _ := way["url"].(string)
		audience, _ := way["audience"].(string)
		if way["method"] != "DELETE" || url != w.public+"/ath/agents/"+a.clientID || !strings.Contains(r.raw, "If its credentials are lost") {
			t.Fatalf("%s", r.raw)
		}
		lost := w.actor("lost")
		lost.register("gallery", "pictures:read")
		gone := w.ask("DELETE", "/ath/agents/"+lost.clientID, "", "Authorization", "Bearer "+lost.attest(strings.Replace(audience, a.clientID, lost.clientID, 1)))
		if gone.status != 200 {
			t.Fatalf("%d %s", gone.status, gone.raw)
		}
		if r := lost.register("gallery", "pictures:read"); r.status != 201 {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("R-2: asks for more", func(t *testing.T) {
		r := w.post("/ath/agents/register", a.registration("shop", "products:read"))
		if r.status != 201 || r.text("client_id") != first.text("client_id") || r.text("client_secret") == first.text("client_secret") {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		// F-36: those just asked for come first.
		var order []any
		for _, p := range r.list("approved_providers") {
			order = append(order, p.(map[string]any)["provider_id"])
		}
		if fmt.Sprint(order) != "[shop gallery]" {
			t.Errorf("the reply lists %v: %s", order, r.raw)
		}
		// The old secret is dead, the new one lives.
		old := w.post("/ath/revoke", body{"client_id": a.clientID, "client_secret": first.text("client_secret"), "token": "x"})
		w.refusedAs(t, old, 401, "AGENT_NOT_REGISTERED")
		if now := w.post("/ath/revoke", body{"client_id": a.clientID, "client_secret": r.text("client_secret"), "token": "x"}); now.status != 200 {
			t.Errorf("the new secret: %d %s", now.status, now.raw)
		}
	})
	t.Run("R-2: denied then, allowed by today's policy", func(t *testing.T) {
		w := newWorld(t, policy(approval.Policy{Default: approval.Deny}))
		a := w.actor("later")
		if r := a.register("gallery", "pictures:read"); r.text("agent_status") != "denied" {
			t.Fatal(r.raw)
		}
		if r := a.register("gallery", "pictures:read"); r.status != 201 || r.text("agent_status") != "denied" {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		today := w.twin(policy(approval.Policy{Default: approval.Approve}))
		r := w.postTo(today, "/ath/agents/register", a.registration("gallery", "pictures:read"))
		if r.status != 201 || r.text("agent_status") != "approved" || r.text("client_id") == a.clientID {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("R-2: of an approved agent, a denied scope is allowed by today's policy", func(t *testing.T) {
		w := newWorld(t, policy(approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Scopes: globs(t, "pictures:write"), Action: approval.Deny}}}))
		a := w.actor("later")
		a.register("gallery", "pictures:read", "pictures:write")
		w.refusedAs(t, w.post("/ath/agents/register", a.registration("gallery", "pictures:write")), 409, "CONFLICT")
		today := w.twin(policy(approval.Policy{Default: approval.Approve}))
		r := w.postTo(today, "/ath/agents/register", a.registration("gallery", "pictures:write"))
		if r.status != 201 || r.text("agent_status") != "approved" || r.text("client_id") != a.clientID || strings.Contains(r.raw, "denial_reason") {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("R-1: what does not exist is denied with a reason, and changes nothing", func(t *testing.T) {
		w := newWorld(t)
		a := w.actor("hopeful")
		first := a.register("gallery", "pictures:read")
		for range 2 {
			r := a.register("nowhere", "x")
			listed := r.list("approved_providers")
			if r.status != 201 || r.text("agent_status") != "approved" || r.text("client_id") != first.text("client_id") || len(listed) != 2 ||
				listed[0].(map[string]any)["denial_reason"] != "There is no such provider." {
				t.Errorf("%d %s", r.status, r.raw)
			}
		}
		r := w.ask("GET", a.path(), "", "Authorization", basic(a.clientID, a.secret))
		if r.status != 200 || strings.Contains(r.raw, "nowhere") {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("R-5: judged again once the approval has ended", func(t *testing.T) {
		w := newWorld(t)
		a := w.actor("expired")
		a.register("gallery", "pictures:read", "pictures:write")
		w.pass(91 * 24 * time.Hour)
		w.refusedAs(t, w.post("/ath/authorize", a.authorization("gallery", "pictures:read")), 403, "AGENT_UNAPPROVED")
		r := w.post("/ath/agents/register", a.registration("gallery", "pictures:read"))
		if r.status != 201 || r.text("client_id") != a.clientID {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		r = w.post("/ath/authorize", a.authorization("gallery", "pictures:write"))
		w.refusedAs(t, r, 403, "SCOPE_NOT_APPROVED")
	})
}

// proves: E-1, E-2
func TestRegistrationIsRefused(t *testing.T) {
	w := newWorld(t)
	a := w.actor("bad")
	long := strings.Repeat("x", 3000)
	many := slices.Repeat([]string{"https://a.example/cb"}, 30)
	cases := []struct {
		name   string
		change []any
		status int
		code   string
	}{
		{"R-3: no agent_id", []any{"agent_id", nil}, 400, "INVALID_REQUEST"},
		{"R-3: not a URL", []any{"agent_id", "agent"}, 400, "INVALID_REQUEST"},
		{"R-3: another scheme", []any{"agent_id", "ftp://a.example/x"}, 400, "INVALID_REQUEST"},
		{"R-3: userinfo", []any{"agent_id", "https://u:p@a.example/x"}, 400, "INVALID_REQUEST"},
		{"R-3: a fragment", []any{"agent_id", "https://a.example/x#y"}, 400, "INVALID_REQUEST"},
		{"R-3: too long", []any{"agent_id", "https://a.example/" + long}, 400, "INVALID_REQUEST"},
		{"E-1: a number for agent_id", []any{"agent_id", 7}, 400, "INVALID_REQUEST"},
		{"A-1: no attestation", []any{"agent_attestation", nil}, 400, "INVALID_ATTESTATION"},
		{"A-1: no JWT", []any{"agent_attestation", "x.y.z"}, 401, "INVALID_ATTESTATION"},
		{"A-2: somebody else's", []any{"agent_attestation", w.actor("else").attest(w.public)}, 401, "INVALID_ATTESTATION"},
		{"A-2: sub is another", []any{"agent_attestation", a.attest(w.public, func(c jwt.MapClaims) { c["sub"] = "https://x.example/" })}, 401, "INVALID_ATTESTATION"},
		{"A-3: another audience", []any{"agent_attestation", a.attest("https://other.example")}, 401, "INVALID_ATTESTATION"},
		{"A-4: expired", []any{"agent_attestation", a.attest(w.public, func(c jwt.MapClaims) { c["exp"] = w.now().Add(-time.Minute).Unix() })}, 401, "INVALID_ATTESTATION"},
		{"A-4: too old", []any{"agent_attestation", a.attest(w.public, func(c jwt.MapClaims) { c["iat"] = w.now().Add(-6 * time.Minute).Unix() })}, 401, "INVALID_ATTESTATION"},
		{"A-5: no jti", []any{"agent_attestation", a.attest(w.public, func(c jwt.MapClaims) { delete(c, "jti") })}, 401, "INVALID_ATTESTATION"},
		{"no developer", []any{"developer", nil}, 400, "INVALID_REQUEST"},
		{"no providers", []any{"requested_providers", []body{}}, 400, "INVALID_REQUEST"},
		{"no scopes", []any{"requested_providers", []body{{"provider_id": "gallery"}}}, 400, "INVALID_REQUEST"},
		{"a purpose of 3 kB", []any{"purpose", long}, 400, "INVALID_REQUEST"},
		{"R-4: a relative redirect", []any{"redirect_uris", []string{"/cb"}}, 400, "INVALID_REQUEST"},
		{"R-4: a fragment", []any{"redirect_uris", []string{"https://a.example/cb#x"}}, 400, "INVALID_REQUEST"},
		{"R-4: http elsewhere", []any{"redirect_uris", []string{"http://a.example/cb"}}, 400, "INVALID_REQUEST"},
		{"R-4: javascript", []any{"redirect_uris", []string{"javascript:alert(1)"}}, 400, "INVALID_REQUEST"},
		{"R-4: a scheme without a dot", []any{"redirect_uris", []string{"myapp://cb"}}, 400, "INVALID_REQUEST"},
		{"R-4: port 0", []any{"redirect_uris", []string{"https://a.example:0/cb"}}, 400, "INVALID_REQUEST"},
		{"R-4: port 99999", []any{"redirect_uris", []string{"http://127.0.0.1:99999/cb"}}, 400, "INVALID_REQUEST"},
		{"R-4: port 65536", []any{"redirect_uris", []string{"http://localhost:65536/cb"}}, 400, "INVALID_REQUEST"},
		{"R-4: a port with a zero before it", []any{"redirect_uris", []string{"https://a.example:0443/cb"}}, 400, "INVALID_REQUEST"},
		{"R-4: a colon without a port", []any{"redirect_uris", []string{"https://a.example:/cb"}}, 400, "INVALID_REQUEST"},
		{"R-4: a port of a scheme of its own", []any{"redirect_uris", []string{"com.example.app://h:99999/cb"}}, 400, "INVALID_REQUEST"},
		{"R-4: thirty", []any{"redirect_uris", many}, 400, "INVALID_REQUEST"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := w.post("/ath/agents/register", a.registration("gallery", "pictures:read").with(c.change...))
			w.refusedAs(t, r, c.status, c.code)
		})
	}
	t.Run("A-3: the refusal says which audience was wanted", func(t *testing.T) {
		r := w.post("/ath/agents/register", a.registration("gallery", "pictures:read").with("agent_attestation", a.attest("https://other.example")))
		if want, _ := r.details()["expected_audience"].([]any); !slices.Contains(want, any(w.public)) {
			t.Errorf("details: %v", r.details())
		}
	})
	for _, text := range []string{"", "[]", "nonsense", `{"agent_id":"x"} {}`, `"text"`, `{"agent_id":`} {
		w.refusedAs(t, w.post("/ath/agents/register", text), 400, "INVALID_REQUEST")
	}
	// After all that, a good registration succeeds: nothing was changed.
	if r := a.register("gallery", "pictures:read"); r.status != 201 {
		t.Errorf("a good registration: %d %s", r.status, r.raw)
	}
}

func TestAttestationAudiences(t *testing.T) {
	w := newWorld(t)
	for name, aud := range map[string]any{
		"A-3: the base": w.public, "A-3: the base with a slash": w.public + "/", "A-3: the endpoint": w.public + "/ath/agents/register",
		"A-3: an array": []string{"https://other.example", w.public},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.actor(strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ":", ""))
			b := a.registration("gallery", "pictures:read").with("agent_attestation", a.attest("", func(c jwt.MapClaims) { c["aud"] = aud }))
			if r := w.post("/ath/agents/register", b); r.status != 201 {
				t.Errorf("%d %s", r.status, r.raw)
			}
		})
	}
	t.Run("A-2: iss is the origin", func(t *testing.T) {
		a := w.actor("origin")
		b := a.registration("gallery", "pictures:read").with("agent_attestation", a.attest(w.public, func(c jwt.MapClaims) { c["iss"] = w.sites }))
		if r := w.post("/ath/agents/register", b); r.status != 201 {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("A-3: token wants its own URL", func(t *testing.T) {
		a := w.actor("tokenaud")
		a.register("gallery", "pictures:read")
		for _, aud := range []string{w.public, w.public + "/", w.public + "/ath/authorize"} {
			r := w.post("/ath/token", a.exchange("x", "y").with("agent_attestation", a.attest(aud)))
			w.refusedAs(t, r, 401, "INVALID_ATTESTATION")
		}
	})
	t.Run("A-5: a second use is refused, on another replica too", func(t *testing.T) {
		a := w.actor("replay")
		b := a.registration("gallery", "pictures:read")
		if r := w.post("/ath/agents/register", b); r.status != 201 {
			t.Fatal(r.raw)
		}
		b["requested_providers"] = []body{{"provider_id": "shop", "scopes": []string{"products:read"}}}
		w.refusedAs(t, w.post("/ath/agents/register", b), 401, "INVALID_ATTESTATION")
		w.refusedAs(t, w.postTo(w.twin(), "/ath/agents/register", b), 401, "INVALID_ATTESTATION")
	})
}

// proves: D-1, D-2, D-4
func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	r := w.get("/.well-known/ath.json")
	if r.text("ath_version") != "0.1" || r.text("gateway_id") != w.public || r.text("agent_registration_endpoint") != w.public+"/ath/agents/register" {
		t.Errorf("D-1: %s", r.raw)
	}
	found := false
	for _, p := range r.list("supported_providers") {
		m := p.(map[string]any)
		if m["provider_id"] == "gallery" {
			found = true
			if m["display_name"] != "The Gallery" || join(m["available_scopes"]) != "pictures:read pictures:write" || join(m["categories"]) != "art" ||
				m["auth_mode"] != "OAUTH2" || m["agent_approval_required"] != false {
				t.Errorf("D-1: %v", m)
			}
		}
	}
	if !found {
		t.Errorf("D-1: the gallery is not listed: %s", r.raw)
	}
	app := w.get("/.well-known/ath-app.json")
	auth, _ := app.json["auth"].(map[string]any)
	if app.text("ath_version") != "0.1" || app.text("app_id") != "shop" || app.text("api_base") != w.public || auth["type"] != "oauth2" ||
		auth["authorization_endpoint"] != w.issuer+"/authorize" || auth["token_endpoint"] != w.issuer+"/token" ||
		auth["registration_endpoint"] != w.public+"/ath/agents/register" || auth["agent_attestation_required"] != true || join(auth["scopes_supported"]) != "products:read" || app.text("consent_origin") != "" {
		t.Errorf("D-2: %s", app.raw)
	}
	if h := w.get("/health"); h.status != 200 || h.text("status") != "ok" {
		t.Errorf("D-4: %d %s", h.status, h.raw)
	}
}

// However an agent writes its id, a rule that names its host finds it.
// S-4
// proves
func TestRulesNameHosts(t *testing.T) {
	pattern := func(s string) []ath.HostPattern {
		p, err := ath.ParseHostPattern(s)
		if err != nil {
			t.Fatal(err)
		}
		return []ath.HostPattern{p}
	}
	w := newWorld(t, policy(approval.Policy{Default: approval.Approve, Rules: []approval.Rule{
		{Hosts: pattern("127.0.0.1"), Action: approval.Deny},
	}}))
	a := w.actor("denied")
	for _, name := range []string{"denied2", "other/way", "a;b"} {
		if r := w.actor(name).register("gallery", "pictures:read"); r.status != 201 || r.text("agent_status") != "denied" {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	at := strings.TrimPrefix(w.sites, "http://127.0.0.1:")
	for _, host := range []string{"127.0.0.1.:" + at, "127.0.0.1:0" + at, "127.1:" + at, "0x7f000001:" + at, "[::ffff:127.0.0.1]:" + at, "LOCALHOST:" + at, "localhost.:" + at} {
		r := w.post("/ath/agents/register", a.registration("gallery", "pictures:read").with("agent_id", "http://"+host+"/denied.json"))
		w.refusedAs(t, r, 400, "INVALID_REQUEST")
		if r.details()["field"] != "agent_id" || !strings.Contains(r.raw, "not in canonical form: ") {
			t.Errorf("%s: %s", host, r.raw)
		}
	}
}
