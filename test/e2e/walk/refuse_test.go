package walk

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// Every refusal is JSON with its code and a decision_id, and the API sees
// nothing of it.
// proves: E-1, E-2, U-1
func TestRefusalsThroughEnvoy(t *testing.T) {
	s := stage.Start(t, stage.Options{})
	a, b := s.NewAgent("a"), s.NewAgent("b")
	shop := s.Token(a, stage.App, "products:read")
	gallery := s.Token(b, stage.Provider, "pictures:read")
	A, B := a.Agent().ID(), b.Agent().ID()
	host := "Host: " + s.Host()

	cases := []struct {
		name   string
		lines  []string
		status int
		code   string
	}{
		{"P-1: no token", []string{"GET /api/products HTTP/1.1", host, "X-ATH-Agent-ID: " + A}, 401, "TOKEN_INVALID"},
		{"P-1: Basic", []string{"GET /api/products HTTP/1.1", host, "Authorization: Basic eDp5", "X-ATH-Agent-ID: " + A}, 401, "TOKEN_INVALID"},
		{"P-1: malformed", request(s, "GET", "/api/products", "ath_tk_short", A), 401, "TOKEN_INVALID"},
		{"P-1: unknown", request(s, "GET", "/api/products", unknown(shop.Access.Reveal()), A), 401, "TOKEN_INVALID"},
		{"P-1: twice", request(s, "GET", "/api/products", shop.Access.Reveal(), A, "Authorization: Bearer "+shop.Access.Reveal()), 401, "TOKEN_INVALID"},
		{"P-1: the user's kind of token", request(s, "GET", "/api/products", s.OAuth.Issued()[0], A), 401, "TOKEN_INVALID"},
		{"P-2: no agent id", []string{"GET /api/products HTTP/1.1", host, "Authorization: Bearer " + shop.Access.Reveal()}, 403, "AGENT_IDENTITY_MISMATCH"},
		{"P-2: another agent's id", request(s, "GET", "/api/products", shop.Access.Reveal(), B), 403, "AGENT_IDENTITY_MISMATCH"},
		{"P-2: two ids", request(s, "GET", "/api/products", shop.Access.Reveal(), A, "X-ATH-Agent-ID: "+A), 403, "AGENT_IDENTITY_MISMATCH"},
		{"P-3: another provider's token, native", request(s, "GET", "/api/products", gallery.Access.Reveal(), B), 403, "PROVIDER_MISMATCH"},
		{"P-3: another provider's token, gateway", request(s, "GET", "/ath/proxy/gallery/pictures/1", shop.Access.Reveal(), A), 403, "PROVIDER_MISMATCH"},
		{"P-3: no such provider", request(s, "GET", "/ath/proxy/nobody/x", shop.Access.Reveal(), A), 403, "PROVIDER_MISMATCH"},
		{"P-3: the bare mount", request(s, "GET", "/ath/proxy/gallery", gallery.Access.Reveal(), B), 403, "PROVIDER_MISMATCH"},
		{"P-3: no id", request(s, "GET", "/ath/proxy/", shop.Access.Reveal(), A), 403, "PROVIDER_MISMATCH"},
		{"P-3: nor its slash", request(s, "GET", "/ath/proxy", shop.Access.Reveal(), A), 403, "PROVIDER_MISMATCH"},
		{"P-3: an id in capitals", request(s, "GET", "/ath/proxy/Gallery/pictures/1", gallery.Access.Reveal(), B), 403, "PROVIDER_MISMATCH"},
		{"P-3: an id of odd characters", request(s, "GET", "/ath/proxy/@gallery$/pictures/1", gallery.Access.Reveal(), B), 403, "PROVIDER_MISMATCH"},
		{"P-1: no such provider, and no token", []string{"GET /ath/proxy/nobody/x HTTP/1.1", host, "X-ATH-Agent-ID: " + A}, 401, "TOKEN_INVALID"},
		{"P-1: no such provider, and an unknown token", request(s, "GET", "/ath/proxy/nobody/x", unknown(shop.Access.Reveal()), A), 401, "TOKEN_INVALID"},
		{"P-2: no such provider, and another agent's id", request(s, "GET", "/ath/proxy/nobody/x", shop.Access.Reveal(), B), 403, "AGENT_IDENTITY_MISMATCH"},
		{"P-4: a path outside the scopes", request(s, "GET", "/api/orders", shop.Access.Reveal(), A), 403, "SCOPE_NOT_APPROVED"},
		{"P-4: a method outside the scopes", request(s, "DELETE", "/api/products/1", shop.Access.Reveal(), A), 403, "SCOPE_NOT_APPROVED"},
		{"P-4: outside the scopes, gateway", request(s, "POST", "/ath/proxy/gallery/pictures", gallery.Access.Reveal(), B, "Content-Length: 0"), 403, "SCOPE_NOT_APPROVED"},
		{"P-4: beside the rule's segment", request(s, "GET", "/api/productsx", shop.Access.Reveal(), A), 403, "SCOPE_NOT_APPROVED"},
		{"P-5: a token in the query", request(s, "GET", "/api/products?access_token="+shop.Access.Reveal(), shop.Access.Reveal(), A), 400, "INVALID_REQUEST"},
		{"P-7: a parameter in the path", request(s, "GET", "/api/products;a=b", shop.Access.Reveal(), A), 400, "INVALID_REQUEST"},
		{"P-7: two slashes", request(s, "GET", "/api//products", shop.Access.Reveal(), A), 400, "INVALID_REQUEST"},
		{"P-7: two slashes before the path", request(s, "GET", "//api/products", shop.Access.Reveal(), A), 400, "INVALID_REQUEST"},
		{"P-7: two slashes behind the mount", request(s, "GET", "/ath/proxy/gallery//pictures/1", gallery.Access.Reveal(), B), 400, "INVALID_REQUEST"},
		{"P-7: three slashes in gateway mode", request(s, "GET", "/ath/proxy/gallery/pictures///1", gallery.Access.Reveal(), B), 400, "INVALID_REQUEST"},
		{"P-7: two slashes before the mount", request(s, "GET", "//ath/proxy/gallery/pictures/1", gallery.Access.Reveal(), B), 400, "INVALID_REQUEST"},
		{"P-7: an empty provider", request(s, "GET", "/ath/proxy//gallery/pictures/1", gallery.Access.Reveal(), B), 400, "INVALID_REQUEST"},
		{"P-7: doubly encoded", request(s, "GET", "/api/products/%252e%252e/orders", shop.Access.Reveal(), A), 400, "INVALID_REQUEST"},
		{"P-7: lower-case hex", request(s, "GET", "/api/products/caf%c3%a9", shop.Access.Reveal(), A), 400, "INVALID_REQUEST"},
		{"P-7: a method of no list", request(s, "TRACE", "/api/products", shop.Access.Reveal(), A), 400, "INVALID_REQUEST"},
		{"P-4: climbing out of the mount", request(s, "GET", "/ath/proxy/gallery/../../api/products", gallery.Access.Reveal(), B), 404, "NOT_FOUND"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s.App.Forget()
			s.Gallery.Forget()
			r := raw(t, s, c.lines...)
			if r.status != c.status || r.code() != c.code {
				t.Fatalf("%d %s, want %d %s\n%s", r.status, r.code(), c.status, c.code, r.body)
			}
			if !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
				t.Errorf("E-1: the content type is %q", r.header.Get("Content-Type"))
			}
			if c.status == 401 && !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("P-1: WWW-Authenticate is %q", r.header.Get("WWW-Authenticate"))
			}
			mustLeadOn(t, s, r)
			if s.App.Bytes()+s.Gallery.Bytes() != "" {
				t.Error("an API saw something of it")
			}
			if c.name == "P-4: climbing out of the mount" {
				return // a companion path: Envoy or the companion answers
			}
			id, _ := r.details()["decision_id"].(string)
			if id == "" {
				t.Errorf("E-2: no decision_id: %s", r.body)
			}
			s.Envoy.WaitAccessLog(id) // Envoy's access log names the decision too
			if waitEvent(s, id) == nil {
				t.Errorf("U-1: no event of %s", id)
			}
		})
	}
	if r := raw(t, s, request(s, "GET", "/api/products", shop.Access.Reveal(), A)...); r.status != http.StatusOK {
		t.Errorf("after all that, a good call is answered with %d", r.status)
	}
}

// mustLeadOn: the refusal says where discovery is, and it is there (P-1); or
// which scope to ask for (P-11).
func mustLeadOn(t *testing.T, s *stage.Stage, r reply) {
	t.Helper()
	switch r.code() {
	case "TOKEN_INVALID":
		at, _ := r.details()["discovery"].(string)
		response, err := http.Get(at)
		if err != nil {
			t.Errorf("P-1: discovery %q: %v", at, err)
			return
		}
		defer response.Body.Close()
		var found struct {
			Version string `json:"ath_version"`
		}
		if json.NewDecoder(response.Body).Decode(&found); response.StatusCode != 200 || found.Version == "" {
			t.Errorf("P-1: discovery %s: %d", at, response.StatusCode)
		}
	case "SCOPE_NOT_APPROVED":
		challenge := r.header.Get("WWW-Authenticate")
		next, _ := r.details()["next"].(map[string]any)
		if !strings.HasPrefix(challenge, `Bearer realm="ath", error="insufficient_scope"`) {
			t.Errorf("P-11: WWW-Authenticate is %q", challenge)
		}
		scopes, _ := next["scopes"].([]any)
		if strings.HasSuffix(t.Name(), "a_path_outside_the_scopes") && (len(scopes) != 1 || scopes[0] != "orders:read") {
			t.Errorf("P-11: next is %v, want orders:read", next)
		}
		if strings.Contains(challenge, "scope=\"") != (len(scopes) > 0) {
			t.Errorf("P-11: WWW-Authenticate is %q, next %v", challenge, next)
		}
		for _, scope := range scopes {
			if !strings.Contains(challenge, scope.(string)) {
				t.Errorf("P-11: WWW-Authenticate is %q, next %v", challenge, next)
			}
		}
	}
}

// unknown returns a well-formed token that was never given out.
func unknown(token string) string {
	last := "A"
	if strings.HasSuffix(token, last) {
		last = "B"
	}
	return token[:len(token)-1] + last
}

// waitEvent waits for the event of a decision: a line needs a moment from one
// process to another.
func waitEvent(s *stage.Stage, id string) map[string]any {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if e := event(s.Athd.Logs(), id); e != nil {
			return e
		}
	}
	return nil
}

// event finds an audit event by its decision_id.
func event(logs, id string) map[string]any {
	for line := range strings.Lines(logs) {
		if !strings.Contains(line, id) {
			continue
		}
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) == nil && e["decision_id"] == id && e["event"] != nil {
			return e
		}
	}
	return nil
}

func TestRevokedIsDeadAtOnce(t *testing.T) {
	s := stage.Start(t, stage.Options{})
	c := s.NewAgent("c")
	call := func(token client.Token) reply {
		return raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), c.Agent().ID())...)
	}
	t.Run("V-1, V-4: by the agent", func(t *testing.T) {
		token := s.Token(c, stage.App, "products:read")
		if r := call(token); r.status != 200 {
			t.Fatalf("before: %d", r.status)
		}
		if err := c.Revoke(t.Context(), token.Access); err != nil {
			t.Fatal(err)
		}
		if r := call(token); r.status != 401 || r.code() != "TOKEN_REVOKED" {
			t.Errorf("after: %d %s", r.status, r.code())
		}
	})
	t.Run("V-2: by the operator", func(t *testing.T) {
		token := s.Token(c, stage.App, "products:read")
		for _, key := range []string{"", "wrong-admin-token-0123456789"} {
			if r := operatorRevoke(t, s, key, token.Access.Reveal()); r.status != 401 || r.code() != "UNAUTHORIZED" {
				t.Errorf("with the admin token %q: %d %s", key, r.status, r.code())
			}
		}
		if r := call(token); r.status != 200 {
			t.Fatalf("before: %d", r.status)
		}
		if r := operatorRevoke(t, s, stage.AdminKey, token.Access.Reveal()); r.status != 200 {
			t.Fatalf("revoke: %d %s", r.status, r.body)
		}
		if r := call(token); r.status != 401 || r.code() != "TOKEN_REVOKED" {
			t.Errorf("after: %d %s", r.status, r.code())
		}
	})
}

func operatorRevoke(t *testing.T, s *stage.Stage, key, token string) reply {
	t.Helper()
	body := `{"token":"` + token + `"}`
	return post(t, s, "/ath/revoke", body, "X-ATH-User-Token", key)
}

func post(t *testing.T, s *stage.Stage, path, body string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.Public+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return do(t, req)
}
