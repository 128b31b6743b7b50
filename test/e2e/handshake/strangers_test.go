package handshake

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// What strangers can make athd do and keep.

func scopeNames(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strconv.FormatInt(int64(i), 36)
	}
	return out
}

// S-1
func TestScopesAreBoundedBeforeAnythingElse(t *testing.T) {
	w := newWorld(t)
	a := w.actor("a")
	for name, providers := range map[string][]body{
		"10,000 of one provider":       {{"provider_id": "gallery", "scopes": scopeNames(10_000)}},
		"201 of one provider":          {{"provider_id": "gallery", "scopes": scopeNames(201)}},
		"2,500 times the same":         {{"provider_id": "gallery", "scopes": slices.Repeat([]string{"pictures:read"}, 2500)}},
		"201 over several providers":   {{"provider_id": "gallery", "scopes": scopeNames(150)}, {"provider_id": "shop", "scopes": scopeNames(51)}},
		"50 providers with 200 each":   slices.Repeat([]body{{"provider_id": "x", "scopes": slices.Repeat([]string{"a"}, 200)}}, 50),
		"201 of providers that aren't": slices.Repeat([]body{{"provider_id": "x", "scopes": scopeNames(41)}}, 5),
	} {
		t.Run(name, func(t *testing.T) {
			r := w.post("/ath/agents/register", a.registration("gallery").with("requested_providers", providers, "agent_attestation", "x.y.z"))
			w.refusedAs(t, r, 400, "INVALID_REQUEST")
			if field, _ := r.details()["field"].(string); !strings.HasPrefix(field, "requested_providers") {
				t.Errorf("details: %v", r.details())
			}
			if e := w.event(r.details()["decision_id"].(string)); len(e["requested_scopes"].([]any)) > 0 {
				t.Errorf("the event names scopes of somebody who proved nothing: %d", len(e["requested_scopes"].([]any)))
			}
		})
	}
	if r := w.post("/ath/agents/register", a.registration("gallery", slices.Concat(scopeNames(199), []string{"pictures:read"})...)); r.status != 201 || r.text("agent_status") != "approved" {
		t.Errorf("200 scopes: %d %s", r.status, r.raw)
	}
}

// S-1
func TestEventsNameSomeScopesAndCountTheRest(t *testing.T) {
	w := newWorld(t)
	a := w.actor("a")
	last := func() map[string]any {
		var e map[string]any
		for line := range strings.Lines(w.log()) {
			if strings.Contains(line, `"event":"agent_regist`) || strings.Contains(line, `"event":"attestation_failed"`) || strings.Contains(line, `"event":"access_denied"`) {
				e = map[string]any{"line": line}
				if json.Unmarshal([]byte(line), &e) != nil {
					t.Fatal(line)
				}
			}
		}
		return e
	}
	for name, c := range map[string]struct {
		scopes []string
		named  int
		rest   string
	}{
		"fifty":         {scopeNames(50), 50, ""},
		"fifty-one":     {scopeNames(51), 51, "+1"},
		"two hundred":   {scopeNames(200), 51, "+150"},
		"each once":     {slices.Repeat([]string{"x"}, 200), 1, ""},
		"few long ones": {long(150), 17, "+134"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := a.register("gallery", c.scopes...); r.status != 201 || r.text("agent_status") != "denied" {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			e := last()
			for _, field := range []string{"requested_scopes", "denied_scopes"} {
				list := e[field].([]any)
				if len(list) != c.named || c.rest != "" && list[len(list)-1] != c.rest {
					t.Errorf("%s: %d, the last %v", field, len(list), list[len(list)-1])
				}
			}
			if n := len(e["line"].(string)); n > 10<<10 {
				t.Errorf("the event has %d bytes", n)
			}
		})
	}
	t.Run("none before the attestation holds", func(t *testing.T) {
		a.register("gallery", "pictures:read")
		for path, b := range map[string]body{
			"/ath/agents/register": a.registration("gallery", scopeNames(200)...).with("agent_attestation", "x.y.z"),
			"/ath/authorize":       a.authorization("gallery", scopeNames(200)...).with("agent_attestation", "x.y.z"),
		} {
			w.refusedAs(t, w.post(path, b), 401, "INVALID_ATTESTATION")
			if e := last(); len(e["requested_scopes"].([]any)) != 0 {
				t.Errorf("%s: %v", path, e["requested_scopes"])
			}
		}
	})
}

func long(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%04d", strings.Repeat("x", 246), i)
	}
	return out
}

// onRedis lets a world's companion use a real redis-server.
func onRedis(t *testing.T, w *world, options ...option) (*realredis.Server, string) {
	t.Helper()
	server := realredis.Start(t)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	store, err := tokenstore.Open(tokenstore.Config{URL: server.URL(), Keyset: keys, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	verifier, err := attest.New(attest.Config{
		Once: func(ctx context.Context, a ath.AgentID, what, value string, ttl time.Duration) (bool, error) {
			return store.Once(ctx, a.Tag(), what, value, ttl)
		},
		AllowHTTP: true, AllowPrivateHosts: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return server, w.twin(append([]option{func(c *settings) { c.Store, c.Attest = store, verifier }}, options...)...)
}

// widest is the largest registration that passes the checks of its shape.
func (a *actor) widest(provider string, scopes ...string) body {
	var redirects []string
	for i := range 20 {
		redirects = append(redirects, fmt.Sprintf("https://agent.example/%s/%d", strings.Repeat("r", 2000), i))
	}
	return a.registration(provider, scopes...).with("purpose", strings.Repeat("p", 512), "redirect_uris", redirects,
		"developer", body{"name": strings.Repeat("n", 512), "id": strings.Repeat("i", 512), "contact": strings.Repeat("c", 512)})
}

// S-2
// proves: R-1
func TestNothingIsKeptOfADeniedRegistration(t *testing.T) {
	w := newWorld(t)
	server, url := onRedis(t, w, policy(approval.Policy{Default: approval.Deny}))
	for i := range 200 {
		provider, scopes := "gallery", []string{"pictures:read", "pictures:write"}
		if i%2 == 0 {
			provider, scopes = "nowhere", long(60)
		}
		a := w.actor(fmt.Sprint("crowd", i))
		b := a.widest(provider, scopes...)
		r := w.postTo(url, "/ath/agents/register", b, "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
		if r.status != 201 || r.text("agent_status") != "denied" || r.text("client_secret") == "" {
			t.Fatalf("%d %.300s", r.status, r.raw)
		}
		a.clientID, a.secret = r.text("client_id"), r.text("client_secret")
		if i == 0 {
			w.refusedAs(t, w.postTo(url, "/ath/authorize", a.authorization("gallery", "pictures:read")), 403, "AGENT_NOT_REGISTERED")
			w.refusedAs(t, w.postTo(url, "/ath/token", a.exchange("x", "y")), 403, "AGENT_NOT_REGISTERED")
		}
	}
	keys, err := server.Client().Keys(t.Context(), "*").Result()
	// The log of the change feed is one key, whatever is registered.
	const changes = "ath:{changes}:log"
	if n := server.Client().ZCard(t.Context(), changes).Val(); n > 1 {
		t.Errorf("%d entries of the change feed: a registration that was denied revokes nothing", n)
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return key == changes })
	if err != nil || len(keys) != 200 {
		t.Errorf("%d keys (%v), want the marks of 200 attestations", len(keys), err)
	}
	for _, key := range keys {
		if n := server.Client().StrLen(t.Context(), key).Val(); n > 64 || !strings.Contains(key, ":jti:") {
			t.Errorf("%s holds %d bytes", key, n)
		}
	}
}

// S-2
func TestWhatAnOperatorDeniedIsKept(t *testing.T) {
	w := newWorld(t, policy(approval.Policy{Default: approval.Review}))
	a := w.actor("a")
	a.register("gallery", "pictures:read")
	w.action(t, a, "deny", "")
	today := w.twin(policy(approval.Policy{Default: approval.Approve}))
	r := w.postTo(today, "/ath/agents/register", a.registration("gallery", "pictures:read", "pictures:write"))
	if r.status != 201 || strings.Contains(r.raw, `"approved_scopes":["pictures:read"`) || !strings.Contains(r.raw, `"approved_scopes":["pictures:write"]`) {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

// S-2
// proves: R-1
func TestWhatWaitsForAnOperatorIsBounded(t *testing.T) {
	w := newWorld(t)
	var limited []string
	server, url := onRedis(t, w, policy(approval.Policy{Default: approval.Review, Rules: []approval.Rule{
		{Scopes: globs(t, "pictures:write"), Action: approval.Approve},
	}}), func(c *settings) {
		c.Limits.Pending, c.Limits.PendingPerDomain, c.Limits.PendingPerAddress = 6, 3, 4
		c.Limited = func(name string) { limited = append(limited, name) }
	}, unverified)
	n := 0
	register := func(host, address string, change ...any) (*actor, reply) {
		a := w.actor(fmt.Sprint("n", n))
		n++
		a.id = fmt.Sprintf("https://%s/agents/%d", host, n)
		r := w.postTo(url, "/ath/agents/register", a.registration("gallery", "pictures:read").with(change...), "X-Forwarded-For", address)
		a.clientID, a.secret = r.text("client_id"), r.text("client_secret")
		return a, r
	}
	waits := func(host, address string) *actor {
		t.Helper()
		a, r := register(host, address)
		if r.status != 201 || r.text("agent_status") != "pending" {
			t.Fatalf("%s from %s: %d %s", host, address, r.status, r.raw)
		}
		return a
	}
	full := func(host, address, where string) {
		t.Helper()
		limited = nil
		_, r := register(host, address)
		w.refusedAs(t, r, 503, "INTERNAL_ERROR")
		if after, _ := strconv.Atoi(r.header.Get("Retry-After")); after < 60 || r.details()["reason"] != "too_many_pending" || !slices.Equal(limited, []string{"pending_" + where}) {
			t.Errorf("Retry-After %q, details %v, counted %v", r.header.Get("Retry-After"), r.details(), limited)
		}
	}
	operate := func(a *actor, what string) {
		t.Helper()
		method, path := "POST", strings.TrimPrefix(a.adminPath(), w.public)+what
		if what == "" {
			method = "DELETE"
		}
		req, err := http.NewRequest(method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-ATH-User-Token", adminToken)
		if r := w.send(req); r.status != 200 {
			t.Fatalf("%s: %d %s", what, r.status, r.raw)
		}
	}

	first := waits("a.one.co.uk", "198.51.100.1")
	waits("b.one.co.uk", "198.51.100.1")
	waits("one.co.uk:8443", "2001:db8::1")
	full("deep.er.one.co.uk", "198.51.100.3", "domain")
	second := waits("two.co.uk", "198.51.100.1") // co.uk is nobody's domain
	waits("three.example", "198.51.100.1")
	full("four.example", "198.51.100.1", "address")
	third := waits("four.example", "2001:db8::2") // the same /64
	full("five.example", "203.0.113.1", "all")
	t.Run("who waits already may ask for more", func(t *testing.T) {
		r := w.postTo(url, "/ath/agents/register", first.registration("shop", "products:read"), "X-Forwarded-For", "198.51.100.1")
		if r.status != 201 || r.text("client_id") != first.clientID {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("who is approved does not notice", func(t *testing.T) {
		a, r := register("five.example", "203.0.113.1", "requested_providers", []body{{"provider_id": "gallery", "scopes": []string{"pictures:write", "pictures:read"}}})
		if r.status != 201 || r.text("agent_status") != "approved" {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		if r := w.postTo(url, "/ath/authorize", a.authorization("gallery", "pictures:write")); r.status != 200 {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("what is decided makes room", func(t *testing.T) {
		operate(first, "/approve")
		waits("six.example", "203.0.113.1")
		full("seven.example", "203.0.113.1", "all")
		operate(second, "/deny")
		waits("seven.example", "203.0.113.1")
		operate(third, "")
		waits("eight.example", "203.0.113.1")
		full("nine.example", "203.0.113.9", "all")
	})
	t.Run("each occupies 4 KiB at most", func(t *testing.T) {
		for name, change := range map[string][]any{
			"redirect_uris": {"redirect_uris", w.actor("wide").widest("gallery")["redirect_uris"]},
			"one long one":  {"redirect_uris", []string{"https://agent.example/" + strings.Repeat("r", 2020)}, "purpose", strings.Repeat("\x01", 512)},
		} {
			_, r := register("seven.example", "203.0.113.7", change...)
			w.refusedAs(t, r, 400, "INVALID_REQUEST")
			if r.details()["field"] != "redirect_uris" {
				t.Errorf("%s: details %v", name, r.details())
			}
		}
		keys := server.Client().Keys(t.Context(), "*").Val()
		total := int64(0)
		for _, key := range keys {
			if !strings.Contains(key, ":jti:") {
				total += server.Client().MemoryUsage(t.Context(), key).Val()
			}
		}
		if total > 8*4<<10 {
			t.Errorf("%d bytes for what few registrations left: %q", total, keys)
		}
	})
}

// unverified lets agents be who they say: hosts that nobody can publish at.
func unverified(c *settings) {
	c.SkipAttestation = true
	verifier, err := attest.New(attest.Config{SkipVerification: true, AllowHTTP: true,
		Once: func(context.Context, ath.AgentID, string, string, time.Duration) (bool, error) { return true, nil }})
	if err != nil {
		panic(err)
	}
	c.Attest = verifier
}

// S-2
// proves: Z-4
func TestSessionsOfAnAgentAreCounted(t *testing.T) {
	w := newWorld(t, limits(httpapi.Limits{SessionsPerAgent: 3}))
	a, other := w.actor("a"), w.actor("other")
	a.register("gallery", "pictures:read")
	other.register("gallery", "pictures:read")
	for range 5 { // what ends in a token makes room
		if r := a.token("gallery", "pictures:read"); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
	}
	for range 3 {
		a.authorize("gallery", []string{"pictures:read"})
	}
	w.tooMany(t, w.post("/ath/authorize", a.authorization("gallery", "pictures:read")))
	w.tooMany(t, w.postTo(w.twin(), "/ath/authorize", a.authorization("gallery", "pictures:read")))
	other.authorize("gallery", []string{"pictures:read"})
	w.pass(10*time.Minute + time.Second)
	a.authorize("gallery", []string{"pictures:read"})
}

// S-1: what is dear to read is refused before it is read.
func TestBodiesOfThousandsOfObjectsAreNotRead(t *testing.T) {
	w := newWorld(t)
	many := strings.Repeat("{},", 13_000)
	for path, body := range map[string]string{
		"/ath/agents/register": `{"requested_providers":[` + many + `{}]}`,
		"/ath/revoke":          `{"token":[` + many + `{}]}`,
		"/ath/token":           strings.Repeat("[", 13_000),
	} {
		if r := w.post(path, body); !r.is(400, "INVALID_REQUEST") || !strings.Contains(r.text("message"), "objects, lists and items") {
			t.Errorf("%s: %d %s", path, r.status, r.raw)
		}
	}
}

// S-1
func TestFormsAndQueriesOfThousandsOfFieldsAreNotRead(t *testing.T) {
	w := newWorld(t)
	const form = "application/x-www-form-urlencoded"
	many := strings.Repeat("a&", 64)
	for name, r := range map[string]reply{
		"token":             w.post("/ath/token", many, "Content-Type", form),
		"decide":            w.post("/ath/consent/decide", many, "Content-Type", form, "Accept", "application/json"),
		"callback":          w.get("/ath/callback?" + many),
		"a program's query": w.post("/ath/authorize?"+many, "{}"),
	} {
		if r.status != 400 || !strings.Contains(r.raw, "more than 64") {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	if r := w.get("/ath/callback?" + strings.Repeat("a&", 63)); strings.Contains(r.raw, "more than 64") {
		t.Errorf("64 parameters: %s", r.raw)
	}
}
