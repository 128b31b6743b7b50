package walk

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/stage"
)

// An explanation is what POST /ath/admin/explain answers.
type explanation struct {
	DecisionID string `json:"decision_id"`
	Verdict    string
	Status     int
	Code       string
	Reason     string
	Scope      string
	Agent      string `json:"agent_id"`
	Steps      []struct{ Rule, Found, Verdict string }
	Nearest    []struct{ Scope string }
}

func explain(t *testing.T, s *stage.Stage, token, agentID, method, url string) (explanation, string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"token": token, "agent_id": agentID, "method": method, "url": url})
	if err != nil {
		t.Fatal(err)
	}
	r := post(t, s, "/ath/admin/explain", string(body), "X-ATH-User-Token", stage.AdminKey)
	var e explanation
	if r.status != http.StatusOK || json.Unmarshal([]byte(r.body), &e) != nil {
		t.Fatalf("explain: %d %s", r.status, r.body)
	}
	return e, r.body
}

// TestExplainSaysWhatEnvoyDoes asks how a call would be judged, then makes it:
// verdict, status and code are the same, and asking reaches no API.
// proves: P-1, P-2, P-3, P-4, P-5, P-7
func TestExplainSaysWhatEnvoyDoes(t *testing.T) {
	s := stage.Start(t, stage.Options{TokenTTL: "2s"})
	late := s.NewAgent("late")
	expired := s.Token(late, stage.App, "products:read")
	got := time.Now()
	change(t, s, "tokens: {ttl: 2s}", "tokens: {ttl: 1h}")

	a, b, c, d := s.NewAgent("a"), s.NewAgent("b"), s.NewAgent("c"), s.NewAgent("d")
	shop, gallery := s.Token(a, stage.App, "products:read", "cart:write"), s.Token(b, stage.Provider, "pictures:read")
	suspended, revoked := s.Token(c, stage.App, "products:read"), s.Token(d, stage.App, "products:read")
	if r := post(t, s, "/ath/admin/agents/"+c.Credentials().ClientID+"/suspend", "", "X-ATH-User-Token", stage.AdminKey); r.status != http.StatusOK {
		t.Fatalf("suspend: %d %s", r.status, r.body)
	}
	if err := d.Revoke(t.Context(), revoked.Access); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(got.Add(2100 * time.Millisecond)))
	A, B := a.Agent().ID(), b.Agent().ID()

	for _, call := range []struct {
		name, method, target, token, agent string
		status                             int
		code                               string
	}{
		{"an app", "GET", "/api/products?page=2", shop.Access.Reveal(), A, 200, ""},
		{"HEAD goes with GET", "HEAD", "/api/products/7", shop.Access.Reveal(), A, 200, ""},
		{"another scope of the same token", "POST", "/api/cart/add", shop.Access.Reveal(), A, 200, ""},
		{"an app under /ath/proxy/", "GET", "/ath/proxy/shop/api/products/7", shop.Access.Reveal(), A, 200, ""},
		{"a provider", "GET", "/ath/proxy/gallery/pictures/7/large?q=%2F", gallery.Access.Reveal(), B, 200, ""},
		{"P-4: a wrong scope", "GET", "/api/orders", shop.Access.Reveal(), A, 403, "SCOPE_NOT_APPROVED"},
		{"P-4: a wrong method", "DELETE", "/ath/proxy/gallery/pictures/7", gallery.Access.Reveal(), B, 403, "SCOPE_NOT_APPROVED"},
		{"P-4: beside the rule's segment", "GET", "/ath/proxy/gallery/picture", gallery.Access.Reveal(), B, 403, "SCOPE_NOT_APPROVED"},
		{"P-3: a wrong provider", "GET", "/api/products", gallery.Access.Reveal(), B, 403, "PROVIDER_MISMATCH"},
		{"P-3: a wrong provider, mounted", "GET", "/ath/proxy/gallery/pictures/7", shop.Access.Reveal(), A, 403, "PROVIDER_MISMATCH"},
		{"P-3: no such provider", "GET", "/ath/proxy/nobody/x", shop.Access.Reveal(), A, 403, "PROVIDER_MISMATCH"},
		{"P-3: no id", "GET", "/ath/proxy/", shop.Access.Reveal(), A, 403, "PROVIDER_MISMATCH"},
		{"P-3: nor its slash", "GET", "/ath/proxy", shop.Access.Reveal(), A, 403, "PROVIDER_MISMATCH"},
		{"P-3: an id in capitals", "GET", "/ath/proxy/GALLERY/pictures/7", gallery.Access.Reveal(), B, 403, "PROVIDER_MISMATCH"},
		{"P-7: two slashes", "GET", "/ath/proxy/gallery//pictures/7", gallery.Access.Reveal(), B, 400, "INVALID_REQUEST"},
		{"P-1: an expired token", "GET", "/api/products", expired.Access.Reveal(), late.Agent().ID(), 401, "TOKEN_EXPIRED"},
		{"P-1: a revoked token", "GET", "/api/products", revoked.Access.Reveal(), d.Agent().ID(), 401, "TOKEN_REVOKED"},
		{"P-1: an unknown token", "GET", "/api/products", unknown(shop.Access.Reveal()), A, 401, "TOKEN_INVALID"},
		{"P-1: what is no token", "GET", "/api/products", "ath_tk_short", A, 401, "TOKEN_INVALID"},
		{"R-6: a suspended agent", "GET", "/api/products", suspended.Access.Reveal(), c.Agent().ID(), 401, "TOKEN_REVOKED"},
		{"P-2: another agent's id", "GET", "/api/products", shop.Access.Reveal(), B, 403, "AGENT_IDENTITY_MISMATCH"},
		{"P-5: a token in the query", "GET", "/api/products?t=" + shop.Access.Reveal(), shop.Access.Reveal(), A, 400, "INVALID_REQUEST"},
		{"P-7: a parameter in the path", "GET", "/api/products;a=b", shop.Access.Reveal(), A, 400, "INVALID_REQUEST"},
		{"P-7: lower-case hex", "GET", "/api/products/caf%c3%a9", shop.Access.Reveal(), A, 400, "INVALID_REQUEST"},
		{"P-7: a method of no list", "TRACE", "/api/products", shop.Access.Reveal(), A, 400, "INVALID_REQUEST"},
	} {
		t.Run(call.name, func(t *testing.T) {
			s.App.Forget()
			s.Gallery.Forget()
			e, text := explain(t, s, call.token, call.agent, call.method, s.Public+call.target)
			if s.App.Bytes()+s.Gallery.Bytes() != "" {
				t.Error("an API saw something of the question")
			}
			if strings.Contains(text, call.token) && call.token != "ath_tk_short" {
				t.Errorf("the answer shows the token: %s", text)
			}
			r := raw(t, s, request(s, call.method, call.target, call.token, call.agent, "Content-Length: 0", "Connection: close")...)
			if r.status != call.status || call.code != "" && r.code() != call.code {
				t.Fatalf("Envoy: %d %s, want %d %s", r.status, r.body, call.status, call.code)
			}
			switch {
			case call.status == http.StatusOK && (e.Verdict != "allow" || e.Status != 0 || e.Scope == "" || e.Reason != "allowed"):
				t.Errorf("Envoy lets it pass, the explanation is %s", text)
			case call.status != http.StatusOK && (e.Verdict != "refuse" || e.Status != r.status || e.Code != r.code()):
				t.Errorf("Envoy: %d %s, the explanation is %s", r.status, r.code(), text)
			}
			refusing := 0
			for _, step := range e.Steps {
				if step.Verdict == "refuses" {
					refusing++
				}
			}
			if refusing != min(1, e.Status) {
				t.Errorf("%d steps refuse: %s", refusing, text)
			}
			if call.code == "SCOPE_NOT_APPROVED" && len(e.Nearest) == 0 {
				t.Errorf("no rule is said to come nearest: %s", text)
			}
			event := waitEvent(s, e.DecisionID)
			if event["event"] != "request_explained" || event["by"] != "ops" || event["agent_id"] != e.Agent {
				t.Errorf("U-1: the event of the question is %v", event)
			}
			// The call is an event of its own, by the id that its refusal carries.
			if id, _ := r.details()["decision_id"].(string); call.status != http.StatusOK && waitEvent(s, id)["denial_reason"] != e.Reason {
				t.Errorf("E-2: the event of %q does not say %s", id, e.Reason)
			}
		})
	}
	t.Run("without an agent id it is the token's agent who asks", func(t *testing.T) {
		if e, text := explain(t, s, shop.Access.Reveal(), "", "GET", "/api/products"); e.Verdict != "allow" || e.Agent != A {
			t.Error(text)
		}
	})
	t.Run("without a token", func(t *testing.T) {
		if e, text := explain(t, s, "", "", "GET", "/api/products"); e.Status != 401 || e.Reason != "token_missing" {
			t.Error(text)
		}
	})
	t.Run("athctl tells it to people", func(t *testing.T) {
		athctl := filepath.Join(t.TempDir(), "athctl")
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", athctl, "github.com/athd/athd/cmd/athctl").CombinedOutput(); err != nil {
			t.Fatalf("building athctl: %v\n%s", err, out)
		}
		page, err := os.ReadFile("../../../docs/operations.md")
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []struct{ token, method, url, want string }{
			{gallery.Access.Reveal(), "GET", "/ath/proxy/gallery/pictures/7", "\nallow: the scope pictures:read covers it [dec_"},
			{gallery.Access.Reveal(), "DELETE", "/ath/proxy/gallery/pictures/7", "\nrefuse: 403 SCOPE_NOT_APPROVED (scope_missing): "},
			{shop.Access.Reveal(), "GET", "/ath/proxy/gallery/pictures/7", "\nrefuse: 403 PROVIDER_MISMATCH (provider_mismatch): "},
			{expired.Access.Reveal(), "GET", "/api/products", "\nrefuse: 401 TOKEN_EXPIRED (token_expired): "},
		} {
			cmd := exec.CommandContext(t.Context(), athctl, "explain", "--token", call.token, call.method, s.Public+call.url)
			cmd.Env = append(os.Environ(), "ATHCTL_SERVER="+s.Public, "ATHCTL_TOKEN_FILE="+s.Dir+"/admin.token")
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), call.want) || strings.Contains(string(out), call.token) {
				t.Errorf("%s %s: %v, want %q\n%s", call.method, call.url, err, call.want, out)
			}
			// docs/operations.md shows it as it is, but for ids, names and times.
			printed := "$ athctl explain --token \"$TOKEN\" " + call.method + " " + call.url + "\n" + string(out) + "```\n"
			if !strings.Contains(masked(string(page)), masked(printed)) {
				t.Errorf("docs/operations.md does not hold\n%s", printed)
			}
		}
	})
	for _, token := range []string{shop.Access.Reveal(), gallery.Access.Reveal(), expired.Access.Reveal(), suspended.Access.Reveal()} {
		if strings.Contains(s.Athd.Logs(), token) {
			t.Error("athd's log shows a token")
		}
	}
}

var varies = regexp.MustCompile(`http://127\.0\.0\.1:\d+/\w+\.json|dec_[\w-]{16}|tag [\w-]{16}|ath_[\w-]{30,}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|user "[^"]+"`)

// masked is a text without what differs from run to run.
func masked(text string) string { return varies.ReplaceAllString(text, "…") }

// proves: P-1
func TestExplainWherePeoplePass(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "native", Unauthenticated: "passthrough"})
	c := s.NewAgent("a")
	token := s.Token(c, stage.App, "products:read")
	for _, call := range []struct {
		name, token, target string
		status              int
		verdict, reason     string
	}{
		{"a person", "", "/api/orders", 200, "pass through", "passed_through"},
		{"a person in gateway mode", "", "/ath/proxy/shop/api/orders", 401, "refuse", "token_missing"},
		{"a person with something like a token in the query", "", "/api/orders?t=ath_tk_x", 400, "refuse", "token_in_query"},
		{"an agent", token.Access.Reveal(), "/api/products", 200, "allow", "allowed"},
		{"an agent beyond its scopes", token.Access.Reveal(), "/api/orders", 403, "refuse", "scope_missing"},
		{"P-1: an unknown token is no person's", unknown(token.Access.Reveal()), "/api/products", 401, "refuse", "token_unknown"},
	} {
		t.Run(call.name, func(t *testing.T) {
			e, text := explain(t, s, call.token, c.Agent().ID(), "GET", s.Public+call.target)
			if e.Verdict != call.verdict || e.Reason != call.reason || call.status != http.StatusOK && e.Status != call.status {
				t.Errorf("want %s (%s), the explanation is %s", call.verdict, call.reason, text)
			}
			lines := request(s, "GET", call.target, call.token, c.Agent().ID(), "Connection: close")
			if call.token == "" {
				lines = []string{"GET " + call.target + " HTTP/1.1", "Host: " + s.Host(), "Connection: close"}
			}
			if r := raw(t, s, lines...); r.status != call.status {
				t.Errorf("Envoy: %d %s, want %d", r.status, r.body, call.status)
			}
		})
	}
}

// change replaces a part of athd.yaml and starts athd again.
func change(t *testing.T, s *stage.Stage, old, new string) {
	t.Helper()
	path := filepath.Join(s.Dir, "athd.yaml")
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("%v, or no %q in\n%s", err, old, text)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.RestartAthd()
}
