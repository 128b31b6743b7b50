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

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/ratelimit"
)

const (
	providersPath = "/ath/admin/providers"
	annexSecret   = "client-secret-of-the-annex-9876543210"
)

// atRuntime is a world where providers that are added while it runs may be on this
// machine, in the clear.
func atRuntime(c *settings) {
	policy := egress.Policy{AllowPrivate: true, AllowHTTP: true}
	c.Runtime = provider.Options{PublicURL: c.PublicURL, TokenTTL: c.TokenTTL, Egress: policy}
	c.OAuth = provider.NewClient(provider.ClientConfig{Now: c.Now, AllowHTTP: true, Egress: policy})
}

// annex is a provider as an operator adds it: its OAuth server is the world's.
func (w *world) annex() body {
	return body{
		"provider_id": "annex", "display_name": "The Annex", "categories": []string{"art"}, "available_scopes": []string{"pictures:read"},
		"authorize_endpoint": w.issuer + "/authorize", "token_endpoint": w.issuer + "/token", "userinfo_endpoint": w.issuer + "/userinfo",
		"api_base_url": "https://api.annex.example", "client_id": "athd", "client_secret": oauthSecret,
	}
}

// elsewhere is one at another server, which nobody asks here.
func elsewhere() body {
	return body{
		"provider_id": "annex", "display_name": "The Annex", "available_scopes": []string{"pictures:read"},
		"authorize_endpoint": "https://login.annex.example/authorize", "token_endpoint": "https://login.annex.example/token",
		"userinfo_endpoint": "https://login.annex.example/me", "revocation_endpoint": "https://login.annex.example/revoke",
		"api_base_url": "https://api.annex.example", "client_id": "athd", "client_secret": annexSecret,
		"extra_token_params": map[string]string{"audience": "parameter-that-may-be-a-secret"},
	}
}

func (b body) text() string {
	text, err := json.Marshal(b)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (w *world) add(t *testing.T, b body) reply {
	t.Helper()
	r := w.operate("POST", providersPath, b.text())
	if r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	return r
}

// errorsOf are the faults that a refusal names, as "pointer message".
func errorsOf(r reply) (all []string) {
	list, _ := r.details()["errors"].([]any)
	for _, e := range list {
		m, _ := e.(map[string]any)
		all = append(all, fmt.Sprint(m["pointer"], " ", m["message"]))
	}
	return all
}

func (w *world) discovered(t *testing.T) (ids []string) {
	t.Helper()
	for _, p := range w.get("/.well-known/ath.json").list("supported_providers") {
		ids = append(ids, p.(map[string]any)["provider_id"].(string))
	}
	return ids
}

// decideAnnex asks whether a call to the annex with this token passes.
func (w *world) decideAnnex(t *testing.T, a *actor, token string) authz.Reason {
	t.Helper()
	d, err := authz.New(authz.Config{Store: w.store, Providers: w.config.Providers, Audit: w.config.Audit, Logger: w.config.Logger, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	decision := d.Decide(t.Context(), authz.Request{
		Method: "GET", Path: "/ath/proxy/annex/pictures/1", Runtime: true,
		Authorization: []string{"Bearer " + token}, AgentID: []string{a.id},
	})
	return decision.Reason()
}

// liveAtAnnex registers an agent and gets it a token of the annex.
func (w *world) liveAtAnnex(t *testing.T, name string) (*actor, string) {
	t.Helper()
	a := w.actor(name)
	if r := a.register("annex", "pictures:read"); r.text("agent_status") != "approved" {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	r := a.token("annex", "pictures:read")
	if got := w.decideAnnex(t, a, r.text("access_token")); got != authz.Allowed {
		t.Fatalf("a fresh token is %s: %s", got, r.raw)
	}
	return a, r.text("access_token")
}

// proves: O-1, D-3
func TestAProviderIsAddedWhileAthdRuns(t *testing.T) {
	w := newWorld(t, atRuntime)
	w.watch.Secret("the annex's client secret", annexSecret)
	if ids := w.discovered(t); slices.Contains(ids, "annex") {
		t.Fatalf("%q", ids)
	}
	since := len(w.log())
	r := w.add(t, w.annex())
	if r.text("provider_id") != "annex" || r.text("message") == "" || r.text("origin") != "runtime" || r.text("state") != "active" || r.json["has_secret"] != true || r.text("created_by") != "ops" {
		t.Errorf("%s", r.raw)
	}
	if r.header.Get("ETag") != fmt.Sprintf("%q", fmt.Sprint(r.json["generation"])) || number(r, "generation") == 0 {
		t.Errorf("generation %v, ETag %s", r.json["generation"], r.header.Get("ETag"))
	}
	if strings.Contains(r.raw, oauthSecret) {
		t.Errorf("the secret came back: %s", r.raw)
	}
	if warnings := r.list("warnings"); len(warnings) != 1 || warnings[0].(map[string]any)["pointer"] != "/scope_rules" {
		t.Errorf("derived rules are not told: %s", r.raw)
	}
	if ids := w.discovered(t); !slices.Contains(ids, "annex") {
		t.Errorf("D-3: %q", ids)
	}
	events := w.eventsOf(since, "provider_added")
	if len(events) != 1 || events[0]["by"] != "ops" || events[0]["provider_id"] != "annex" || events[0]["before"] != nil {
		t.Fatalf("U-1: %v", events)
	}
	var after map[string]any
	if err := json.Unmarshal([]byte(events[0]["after"].(string)), &after); err != nil || after["client_id"] != "athd" || !strings.HasPrefix(fmt.Sprint(after["client_secret"]), "hmac-sha256:") {
		t.Errorf("U-1: after %v, %v", after, err)
	}
	if r := w.operate("GET", providersPath+"/annex", ""); r.status != 200 || r.text("provider_id") != "annex" || strings.Contains(r.raw, oauthSecret) {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if r := w.operate("POST", providersPath, w.annex().text()); !r.is(409, "CONFLICT") || r.details()["reason"] != "exists" {
		t.Errorf("the second time: %d %s", r.status, r.raw)
	}
	w.liveAtAnnex(t, "a")
}

// proves: O-1
func TestWhatIsWrongWithAProviderIsNamedAndPlaced(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"missing members": {`{"provider_id": "annex"}`, []string{"/api_base_url", "/authorize_endpoint is missing", "/available_scopes is missing", "/client_id is missing", "/client_secret is missing", "/display_name is missing", "/token_endpoint is missing"}},
		"no id":           {elsewhere().with("provider_id", nil).text(), []string{"/provider_id is missing"}},
		"a reserved id":   {elsewhere().with("provider_id", "default").text(), []string{`/provider_id the id "default" is reserved`}},
		"a word of paths": {elsewhere().with("provider_id", "accept").text(), []string{"/provider_id is a word of this API's paths"}},
		"an unknown one":  {elsewhere().with("clientid", "x").text(), []string{`/clientid unknown key "clientid", did you mean "client_id"?`}},
		"a wrong type":    {elsewhere().with("available_scopes", 7).text(), []string{"/available_scopes want a list, got a number"}},
		"a variable":      {elsewhere().with("client_secret", "${ANNEX_SECRET}").text(), []string{"/client_secret environment variables are not read here"}},
		"a file":          {elsewhere().with("client_secret", nil, "client_secret_file", "/etc/passwd").text(), []string{"/client_secret_file is for providers of files"}},
		"http":            {elsewhere().with("token_endpoint", "http://login.annex.example/t").text(), []string{"/token_endpoint want an https URL"}},
		"a private API":   {elsewhere().with("api_base_url", "https://10.0.0.1").text(), []string{"/api_base_url is at an address that is not public"}},
		"the metadata":    {elsewhere().with("userinfo_endpoint", "https://169.254.169.254/x").text(), []string{"/userinfo_endpoint is at an address that is not public"}},
		"a member twice":  {`{"provider_id": "annex", "client_id": "a", "client_id": "b"}`, []string{"/client_id is given twice"}},
		"a list":          {`[]`, []string{" want a JSON object"}},
		"nothing":         {``, []string{" want a JSON object"}},
		"two of them":     {elsewhere().text() + "{}", []string{" want one JSON object"}},
	} {
		t.Run(name, func(t *testing.T) {
			since := len(w.log())
			r := w.operate("POST", providersPath, c.body)
			got := errorsOf(r)
			if !r.is(400, "INVALID_REQUEST") || len(got) < len(c.want)-1 {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) && want != "/api_base_url" {
					t.Errorf("%q, want %q", got, want)
				}
			}
			if e := w.eventsOf(since, "access_denied"); len(e) != 1 || e[0]["by"] != "ops" || e[0]["denial_reason"] != "invalid_request" {
				t.Errorf("U-1: %v", e)
			}
			if strings.Contains(r.raw, annexSecret) {
				t.Errorf("the secret came back: %s", r.raw)
			}
		})
	}
	if ids := w.discovered(t); slices.Contains(ids, "annex") {
		t.Errorf("%q", ids)
	}
	if r := w.operate("POST", providersPath, `{"display_name": "`+strings.Repeat("x", 64<<10)+`"}`); !r.is(413, "PAYLOAD_TOO_LARGE") {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

// proves: O-1
func TestWhatAFileDefinesTheAPIDoesNotChange(t *testing.T) {
	w := newWorld(t, atRuntime)
	before := w.operate("GET", providersPath, "").raw
	for _, c := range []struct{ method, path, body, where string }{
		{"POST", "", w.annex().with("provider_id", "gallery").text(), "providers.json"},
		{"PUT", "/gallery", `{"display_name": "Mine", "client_secret": "another-secret"}`, "providers.json"},
		{"DELETE", "/gallery", "", "providers.json"},
		{"POST", "", w.annex().with("provider_id", "shop").text(), "apps of athd.yaml"},
		{"PUT", "/shop", `{"display_name": "Mine"}`, "apps of athd.yaml"},
		{"DELETE", "/shop", "", "apps of athd.yaml"},
	} {
		since := len(w.log())
		r := w.operate(c.method, providersPath+c.path, c.body)
		if !r.is(409, "CONFLICT") || r.details()["reason"] != "of_a_file" || !strings.Contains(r.text("message"), c.where) {
			t.Errorf("%s %s: %d %s", c.method, c.path, r.status, r.raw)
		}
		if e := w.eventsOf(since, "access_denied"); len(e) != 1 || e[0]["provider_id"] == "" {
			t.Errorf("U-1: %s %s: %v", c.method, c.path, e)
		}
	}
	if after := w.operate("GET", providersPath, "").raw; after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

// proves: O-1
//
// Every URL and the client id, one at a time: who may change a provider, and does not
// know its secret, cannot have it sent to a place of theirs.
func TestAKeptSecretNeverGoesToANewPlace(t *testing.T) {
	again := map[string]any{"audience": "x"}
	null := json.RawMessage("null")
	for name, c := range map[string]struct {
		member string
		value  any
		params bool // extra_token_params are wanted again, too
		ends   bool // connections of before
	}{
		"authorize":       {"authorize_endpoint", "https://evil.example/authorize", false, false},
		"token":           {"token_endpoint", "https://evil.example/token", true, true},
		"token, path":     {"token_endpoint", "https://login.annex.example/other", true, true},
		"token, http":     {"token_endpoint", "https://login.annex.example:8443/token", true, true},
		"userinfo":        {"userinfo_endpoint", "https://evil.example/me", false, true},
		"no userinfo":     {"userinfo_endpoint", null, false, true},
		"revocation":      {"revocation_endpoint", "https://evil.example/revoke", false, true},
		"API":             {"api_base_url", "https://evil.example", false, true},
		"API, other path": {"api_base_url", "https://api.annex.example/v2", false, false},
		"issuer":          {"issuer", "https://evil.example", true, true},
		"client id":       {"client_id", "another", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.watch.Secret("the annex's client secret", annexSecret)
			w.add(t, elsewhere())
			put := func(b body) reply { return w.operate("PUT", providersPath+"/annex", b.text()) }
			patch := body{c.member: c.value}
			if r := put(patch); !r.is(400, "INVALID_REQUEST") || !slices.ContainsFunc(errorsOf(r), func(s string) bool { return strings.HasPrefix(s, "/client_secret is wanted again: "+c.member) }) {
				t.Errorf("without the secret: %d %s", r.status, r.raw)
			}
			if c.params {
				if r := put(patch.with("client_secret", annexSecret)); !r.is(400, "INVALID_REQUEST") || !strings.HasPrefix(errorsOf(r)[0], "/extra_token_params is wanted again: ") {
					t.Errorf("without the parameters: %d %s", r.status, r.raw)
				}
				patch = patch.with("extra_token_params", again)
			}
			for _, none := range []any{"", null} {
				if r := put(patch.with("client_secret", none)); r.status != 400 {
					t.Errorf("with the secret %v: %d %s", none, r.status, r.raw)
				}
			}
			r := put(patch.with("client_secret", annexSecret))
			if r.status != 200 || strings.Contains(r.text("message"), "and end: their users are asked again") != c.ends {
				t.Errorf("with the secret: %d %s", r.status, r.raw)
			}
		})
	}
}

// proves: O-1
func TestASecretOfAConfigurationThatIsNotUnderstoodIsWantedAgain(t *testing.T) {
	w := newWorld(t)
	w.add(t, elsewhere())
	held, err := w.store.RuntimeProvider(t.Context(), "annex")
	if err != nil {
		t.Fatal(err)
	}
	newer := held.Value // of an athd that has a member more
	newer.Config = ath.NewSecret(strings.Replace(newer.Config.Reveal(), "{", `{"of_tomorrow":true,`, 1))
	if _, err := w.store.SwapRuntimeProvider(t.Context(), held, newer); err != nil {
		t.Fatal(err)
	}
	change := body{"of_tomorrow": nil, "token_endpoint": "https://another.example/token"}
	r := w.operate("PUT", providersPath+"/annex", change.text())
	if got := errorsOf(r); !r.is(400, "INVALID_REQUEST") || len(got) != 2 || !strings.HasPrefix(got[0], "/client_secret is wanted again") || !strings.HasPrefix(got[1], "/extra_token_params is wanted again") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	change["client_secret"], change["extra_token_params"] = annexSecret, nil
	if r := w.operate("PUT", providersPath+"/annex", change.text()); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

// proves: O-1
func TestAPresetOrAnIssuerThatMovesURLsCountsAsAChangeOfThem(t *testing.T) {
	w := newWorld(t)
	github := elsewhere().with("authorize_endpoint", "https://github.com/login/oauth/authorize", "token_endpoint", "https://github.com/login/oauth/access_token",
		"userinfo_endpoint", nil, "revocation_endpoint", nil, "preset", "none", "extra_token_params", nil, "api_base_url", "https://api.github.com")
	w.add(t, github)
	// The preset brings userinfo, to which users' tokens go.
	if r := w.operate("PUT", providersPath+"/annex", `{"preset": "github"}`); !r.is(400, "INVALID_REQUEST") || !strings.Contains(r.raw, "userinfo_endpoint") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if r := w.operate("PUT", providersPath+"/annex", body{"preset": "github", "client_secret": annexSecret}.text()); r.status != 200 || r.text("userinfo_endpoint") == "" {
		t.Errorf("%d %s", r.status, r.raw)
	}
	// Without its endpoints the provider's are those of the issuer.
	patch := body{"issuer": "https://login.annex.example", "authorize_endpoint": json.RawMessage("null"), "token_endpoint": json.RawMessage("null")}
	if r := w.operate("PUT", providersPath+"/annex", patch.text()); !r.is(400, "INVALID_REQUEST") || !strings.Contains(r.raw, "issuer") {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

// proves: O-1
func TestAChangeKeepsWhatItDoesNotName(t *testing.T) {
	w := newWorld(t)
	added := w.add(t, elsewhere().with("categories", []string{"art"}))
	since := len(w.log())
	r := w.operate("PUT", providersPath+"/annex", `{"display_name": "The New Annex", "categories": null, "scope_rules": [{"scope": "pictures:read", "methods": ["GET"], "paths": ["/pictures/**"]}]}`)
	if r.status != 200 || r.text("display_name") != "The New Annex" || len(r.list("categories")) != 0 || r.json["has_secret"] != true || r.text("token_endpoint") != added.text("token_endpoint") || r.json["derived"] != false {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	if number(r, "generation") <= number(added, "generation") || r.text("changed_by") != "ops" {
		t.Errorf("%s", r.raw)
	}
	e := w.eventsOf(since, "provider_changed")
	if len(e) != 1 || e[0]["before"] != `{"categories":["art"],"display_name":"The Annex"}` || !strings.Contains(fmt.Sprint(e[0]["after"]), `"display_name":"The New Annex"`) || strings.Contains(fmt.Sprint(e[0]["after"]), "client") {
		t.Errorf("U-1: %v", e)
	}
	since = len(w.log())
	if r := w.operate("PUT", providersPath+"/annex", `{"display_name": "The New Annex"}`); r.status != 200 || len(w.eventsOf(since, "provider_changed")) != 0 {
		t.Errorf("nothing to change: %d %s", r.status, r.raw)
	}
	for _, c := range []struct{ body, pointer string }{
		{`{"provider_id": "other"}`, "/provider_id"}, {`{"client_id": null}`, "/client_id"}, {`{"display_name": ["x"]}`, "/display_name"}, {`{"token_auth_method": "none"}`, "/token_auth_method"},
	} {
		if r := w.operate("PUT", providersPath+"/annex", c.body); !r.is(400, "INVALID_REQUEST") || !strings.HasPrefix(strings.Join(errorsOf(r), "\n"), c.pointer) {
			t.Errorf("%s: %d %s", c.body, r.status, r.raw)
		}
	}
	if r := w.operate("PUT", providersPath+"/nobody", `{"display_name": "x"}`); !r.is(404, "NOT_FOUND") {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

// proves: O-1
func TestAChangeMayNameTheGenerationThatItIsFor(t *testing.T) {
	w := newWorld(t)
	first := w.add(t, elsewhere())
	put := func(body string, headers ...string) reply {
		return w.ask("PUT", providersPath+"/annex", body, append(headers, "X-ATH-User-Token", adminToken)...)
	}
	second := put(`{"display_name": "Two"}`, "If-Match", first.header.Get("ETag"))
	if second.status != 200 {
		t.Fatalf("%d %s", second.status, second.raw)
	}
	if r := put(`{"display_name": "Three"}`, "If-Match", first.header.Get("ETag")); !r.is(409, "CONFLICT") || r.details()["reason"] != "changed" {
		t.Errorf("If-Match of before: %d %s", r.status, r.raw)
	}
	if r := put(fmt.Sprintf(`{"display_name": "Three", "generation": %d}`, number(first, "generation"))); !r.is(409, "CONFLICT") {
		t.Errorf("generation of before: %d %s", r.status, r.raw)
	}
	if r := put(fmt.Sprintf(`{"display_name": "Three", "generation": %d}`, number(second, "generation"))); r.status != 200 || r.text("display_name") != "Three" {
		t.Errorf("%d %s", r.status, r.raw)
	}
	for _, body := range []string{`{"generation": "x"}`, `{"generation": 0}`, `{"generation": -1}`} {
		if r := put(body); !r.is(400, "INVALID_REQUEST") {
			t.Errorf("%s: %d %s", body, r.status, r.raw)
		}
	}
	now := strconv.Itoa(number(w.operate("GET", providersPath+"/annex", ""), "generation"))
	for name, r := range map[string]reply{
		"a member that says another one": put(`{"display_name": "Four", "generation": 7777}`, "If-Match", now),
		"a second header":                put(`{"display_name": "Four"}`, "If-Match", now, "If-Match", "7777"),
		"a list":                         put(`{"display_name": "Four"}`, "If-Match", now+", 7777"),
	} {
		if !r.is(400, "INVALID_REQUEST") {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
}

// proves: O-2
func TestAChangedDestinationEndsItsConnections(t *testing.T) {
	for member, value := range map[string]any{
		"token_endpoint": "https://other.example/token", "userinfo_endpoint": "https://other.example/me", "client_id": "another", "api_base_url": "https://other.example",
	} {
		t.Run(member, func(t *testing.T) {
			w := newWorld(t, atRuntime)
			w.add(t, w.annex())
			a, token := w.liveAtAnnex(t, "a")
			if r := w.operate("PUT", providersPath+"/annex", body{"display_name": "Renamed"}.text()); r.status != 200 {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			if got := w.decideAnnex(t, a, token); got != authz.Allowed {
				t.Fatalf("a new name ended it: %s", got)
			}
			r := w.operate("PUT", providersPath+"/annex", body{member: value, "client_secret": oauthSecret}.text())
			if r.status != 200 {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			if got := w.decideAnnex(t, a, token); got == authz.Allowed || got == authz.StoreUnavailable {
				t.Errorf("the token is %s", got)
			}
		})
	}
}

// Approvals go by id and scope, in files and here: who moves a provider to another API,
// or puts another one in its place, is told so, and its users are asked again.
//
// proves: O-2, R-2
func TestApprovalsGoByTheIDOfAProvider(t *testing.T) {
	const told = "Approvals of agents stay"
	for name, change := range map[string]func(*world) reply{
		"moved": func(w *world) reply {
			return w.operate("PUT", providersPath+"/annex", body{"api_base_url": "https://other.example", "client_secret": oauthSecret}.text())
		},
		"removed, and another one": func(w *world) reply {
			r := w.operate("DELETE", providersPath+"/annex", "")
			w.untilGone(t, "annex")
			other := w.annex()
			other["api_base_url"] = "https://other.example"
			w.add(t, other)
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, atRuntime)
			w.add(t, w.annex())
			a, token := w.liveAtAnnex(t, "a")
			if r := w.operate("PUT", providersPath+"/annex", body{"display_name": "Renamed"}.text()); r.status != 200 || strings.Contains(r.text("message"), told) {
				t.Errorf("another name: %d %s", r.status, r.raw)
			}
			if r := change(w); r.status/100 != 2 || !strings.Contains(r.text("message"), told) {
				t.Errorf("%d %s", r.status, r.raw)
			}
			if got := w.decideAnnex(t, a, token); got == authz.Allowed || got == authz.StoreUnavailable {
				t.Errorf("the token of before is %s", got)
			}
			again := a.token("annex", "pictures:read") // by a user who is asked
			if got := w.decideAnnex(t, a, again.text("access_token")); got != authz.Allowed {
				t.Errorf("approved for the id, and asked again, a token is %s: %s", got, again.raw)
			}
		})
	}
}

// untilGone has what ends connections run until nothing is left of a removed provider.
func (w *world) untilGone(t *testing.T, id string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go w.config.Catalog.Run(ctx)
	deadline := time.Now().Add(20 * time.Second)
	for w.operate("GET", providersPath+"/"+id, "").status != 404 {
		if time.Now().After(deadline) {
			t.Fatal("it never ends")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// proves: O-1, D-3
func TestAProviderIsRemovedWhileAthdRuns(t *testing.T) {
	w := newWorld(t, atRuntime)
	w.add(t, w.annex())
	a, token := w.liveAtAnnex(t, "a")
	since := len(w.log())
	r := w.operate("DELETE", providersPath+"/annex", "")
	if r.status != 202 || r.text("provider_id") != "annex" || r.text("state") != "draining" {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	if got := w.decideAnnex(t, a, token); got == authz.Allowed || got == authz.StoreUnavailable {
		t.Errorf("the token is %s", got)
	}
	if ids := w.discovered(t); slices.Contains(ids, "annex") {
		t.Errorf("D-3: %q", ids)
	}
	if e := w.eventsOf(since, "provider_removed"); len(e) != 1 || e[0]["by"] != "ops" || e[0]["after"] != nil || !strings.Contains(fmt.Sprint(e[0]["before"]), `"client_secret":"hmac-sha256:`) {
		t.Errorf("U-1: %v", e)
	}
	if r := w.operate("GET", providersPath+"/annex", ""); r.status != 200 || r.text("state") != "draining" {
		t.Errorf("%d %s", r.status, r.raw)
	}
	for _, c := range []struct{ method, path, body string }{{"POST", "", w.annex().text()}, {"PUT", "/annex", `{"display_name": "x"}`}} {
		if r := w.operate(c.method, providersPath+c.path, c.body); !r.is(409, "CONFLICT") || r.details()["reason"] != "draining" {
			t.Errorf("%s: %d %s", c.method, r.status, r.raw)
		}
	}
	w.untilGone(t, "annex")
	if r := w.operate("DELETE", providersPath+"/annex", ""); !r.is(404, "NOT_FOUND") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	w.add(t, w.annex())
	if got := w.decideAnnex(t, a, token); got == authz.Allowed {
		t.Error("what ended lives again")
	}
}

// proves: O-1
func TestADryRunChangesNothing(t *testing.T) {
	w := newWorld(t)
	since := len(w.log())
	if r := w.operate("POST", providersPath+"?dry_run=true", elsewhere().text()); r.status != 201 || r.json["dry_run"] != true || len(r.list("warnings")) == 0 {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if r := w.operate("POST", providersPath+"?dry_run=true", elsewhere().with("client_id", nil).text()); !r.is(400, "INVALID_REQUEST") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if ids := w.discovered(t); slices.Contains(ids, "annex") || len(w.eventsOf(since, "provider_added")) != 0 {
		t.Errorf("%q", ids)
	}
	added := w.add(t, elsewhere())
	if r := w.operate("PUT", providersPath+"/annex?dry_run=true", `{"display_name": "x"}`); r.status != 200 || r.text("display_name") != "x" {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if r := w.operate("GET", providersPath+"/annex", ""); r.text("display_name") != "The Annex" || r.json["generation"] != added.json["generation"] {
		t.Errorf("%s", r.raw)
	}
	for _, query := range []string{"?dry_run=false", "?dry_run", "?dryrun=true", "?dry_run=true&dry_run=true"} {
		if r := w.operate("POST", providersPath+query, elsewhere().with("provider_id", "other").text()); !r.is(400, "INVALID_REQUEST") {
			t.Errorf("%s: %d %s", query, r.status, r.raw)
		}
	}
}

func TestHowManyProvidersAndChangesThereMayBe(t *testing.T) {
	w := newWorld(t, func(c *settings) {
		c.Limits.RuntimeProviders = 1
		c.Limits.ProviderChanges = ratelimit.Rate{N: 3, Per: time.Hour}
	})
	w.add(t, elsewhere())
	if r := w.operate("POST", providersPath, elsewhere().with("provider_id", "other").text()); !r.is(409, "CONFLICT") || r.details()["reason"] != "too_many_providers" {
		t.Errorf("%d %s", r.status, r.raw)
	}
	w.operate("PUT", providersPath+"/annex", `{"display_name": "x"}`)
	if r := w.operate("PUT", providersPath+"/annex", `{"display_name": "y"}`); !r.is(429, "RATE_LIMITED") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	// What takes rights away is never too much.
	if r := w.operate("DELETE", providersPath+"/annex", ""); r.status != 202 {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

func TestWithoutEnvoysRouteNoProviderIsAdded(t *testing.T) {
	w := newWorld(t, func(c *settings) { c.NoRoute = true })
	r := w.operate("POST", providersPath, elsewhere().text())
	if !r.is(409, "CONFLICT") || r.details()["reason"] != "no_runtime_route" || !strings.Contains(r.text("message"), "envoy.runtime_providers: true") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	mesh := newWorld(t, func(c *settings) { c.NoRoute, c.Destination = true, "host_and_path" })
	if r := mesh.operate("POST", providersPath, elsewhere().text()); !r.is(409, "CONFLICT") || strings.Contains(r.text("message"), "runtime_providers: true") {
		t.Errorf("in a mesh: %d %s", r.status, r.raw)
	}
}

// S-6
func TestAClientWithoutSecretIsNotAddedBesideAnotherServer(t *testing.T) {
	open := elsewhere().with("client_secret", nil, "token_auth_method", "none", "extra_token_params", nil)
	w := newWorld(t)
	if r := w.operate("POST", providersPath, open.text()); !r.is(400, "INVALID_REQUEST") || !strings.HasPrefix(errorsOf(r)[0], "/token_auth_method is a client without a secret") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	w.add(t, elsewhere())
	if r := w.operate("PUT", providersPath+"/annex", `{"client_secret": null, "token_auth_method": "none"}`); !r.is(400, "INVALID_REQUEST") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	own := newWorld(t, func(c *settings) { c.CallbackPerProvider = true })
	own.add(t, open)
}

// What one replica is told, the others know from the store.
func TestProvidersAreAddedOnEveryReplica(t *testing.T) {
	w := newWorld(t, atRuntime)
	var other *settings
	twin := w.twin(func(c *settings) {
		c.Providers = provider.NewProviders(w.set)
		c.Catalog = w.catalog(c)
		other = c
		go c.Catalog.Run(t.Context())
	})
	until := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	w.add(t, w.annex())
	until("it never comes", func() bool { return other.Providers.Current().Get("annex") != nil })
	if r := w.askAt(twin, "GET", providersPath+"/annex", "", "X-ATH-User-Token", adminToken); r.status != 200 || r.text("created_by") != "ops" {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if r := w.askAt(twin, "PUT", providersPath+"/annex", `{"display_name": "By the other"}`, "X-ATH-User-Token", adminToken); r.status != 200 {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if r := w.operate("DELETE", providersPath+"/annex", ""); r.status != 202 {
		t.Errorf("%d %s", r.status, r.raw)
	}
	until("it never goes", func() bool { return other.Providers.Current().Get("annex") == nil })
}

// Whether a provider fits beside the others, nobody knows before they were read.
//
// proves: O-1, C-2
func TestNothingIsChangedBeforeTheProvidersWereRead(t *testing.T) {
	w := newWorld(t, atRuntime)
	w.add(t, w.annex())
	late := w.twin(atRuntime, func(c *settings) {
		c.Providers = provider.NewProviders(w.set)
		c.Catalog = w.unread(c)
	})
	header := []string{"X-ATH-User-Token", adminToken}
	for name, r := range map[string]reply{
		"POST": w.postTo(late, providersPath, w.annex().with("provider_id", "wing"), header...),
		"try":  w.postTo(late, providersPath+"?dry_run=true", w.annex().with("provider_id", "wing"), header...),
	} {
		if r.status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	if ids := w.discovered(t); slices.Contains(ids, "wing") {
		t.Errorf("%q", ids)
	}
}
