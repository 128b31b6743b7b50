package handshake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/authz"
)

// explains answers every question alike, and keeps the questions.
func explains(asked *[]authz.Question) option {
	return func(c *settings) {
		c.Explain = func(_ context.Context, r authz.Question) (*api.Explanation, error) {
			if asked != nil {
				*asked = append(*asked, r)
			}
			switch r.URL {
			case "/odd":
				return nil, ath.Errorf(ath.InvalidRequest, "An odd URL.").WithDetail("field", "url")
			case "/broken":
				return nil, errors.New("broken")
			}
			return &api.Explanation{
				DecisionID: "dec_of_the_question", Verdict: api.WouldRefuse, Status: 403, Code: ath.ScopeNotApproved,
				Reason: "scope_missing", Agent: "https://agent.example/", User: "user-1", Provider: "gallery",
			}, nil
		}
	}
}

// TestExplainDoor is about the door alone: what it lets in and what it leaves
// behind. test/e2e/walk compares what it says with what Envoy does.
// proves: U-1
func TestExplainDoor(t *testing.T) {
	const token = "ath_tk_a-token-that-must-not-show"
	const path = "/ath/admin/explain"
	var asked []authz.Question
	w := newWorld(t, explains(&asked))
	t.Run("the question arrives, and the answer comes back", func(t *testing.T) {
		asked = nil
		r := w.operate("POST", path, `{"token":"`+token+`","agent_id":"https://agent.example/","method":"GET","url":"/ath/proxy/gallery/x"}`)
		if r.status != 200 || r.text("verdict") != "refuse" || r.text("code") != "SCOPE_NOT_APPROVED" || r.text("decision_id") != "dec_of_the_question" {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		if len(asked) != 1 || asked[0].Token.Reveal() != token || asked[0].AgentID != "https://agent.example/" || asked[0].Method != "GET" || asked[0].URL != "/ath/proxy/gallery/x" {
			t.Errorf("asked %d times, %q %q", len(asked), asked[0].Method, asked[0].URL)
		}
	})
	t.Run("U-1: the question is an event", func(t *testing.T) {
		e := w.event("dec_of_the_question")
		want := map[string]any{"event": "request_explained", "by": "ops", "agent_id": "https://agent.example/", "user_id": "user-1", "provider_id": "gallery", "denial_reason": "scope_missing"}
		for field, value := range want {
			if e[field] != value {
				t.Errorf("%s is %v, want %v", field, e[field], value)
			}
		}
	})
	for name, c := range map[string]struct {
		body, code, field string
		status            int
	}{
		"no body":             {"", "INVALID_REQUEST", "method", 400},
		"no method":           {`{"token":"` + token + `","url":"/x"}`, "INVALID_REQUEST", "method", 400},
		"no URL":              {`{"token":"` + token + `","method":"GET"}`, "INVALID_REQUEST", "url", 400},
		"a misspelt field":    {`{"token":"` + token + `","agent":"x","method":"GET","url":"/x"}`, "INVALID_REQUEST", "", 400},
		"a token of no text":  {`{"token":["` + token + `"],"method":"GET","url":"/x"}`, "INVALID_REQUEST", "", 400},
		"a body that is long": {`{"token":"` + strings.Repeat("a", 64<<10) + `","method":"GET","url":"/x"}`, "PAYLOAD_TOO_LARGE", "", 413},
		"a refused question":  {`{"token":"` + token + `","method":"GET","url":"/odd"}`, "INVALID_REQUEST", "url", 400},
		"a broken decider":    {`{"token":"` + token + `","method":"GET","url":"/broken"}`, "INTERNAL_ERROR", "", 500},
	} {
		t.Run("E-1: "+name, func(t *testing.T) {
			r := w.operate("POST", path, c.body)
			field, _ := r.details()["field"].(string)
			if r.status != c.status || r.code() != c.code || field != c.field {
				t.Errorf("%d %s", r.status, r.raw)
			}
			if strings.Contains(r.raw, token) {
				t.Error("the answer shows the token")
			}
		})
	}
	t.Run("E-1: no other method", func(t *testing.T) {
		if r := w.operate("GET", path, ""); r.status != 405 || r.header.Get("Allow") != "POST" {
			t.Errorf("%d, Allow: %q", r.status, r.header.Get("Allow"))
		}
	})
	t.Run("nothing is there where nobody can explain", func(t *testing.T) {
		if r := newWorld(t).operate("POST", path, `{"method":"GET","url":"/x"}`); !r.is(http.StatusNotFound, "NOT_FOUND") {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	if strings.Contains(w.log(), token) {
		t.Error("the log shows the token")
	}
}

func TestProvidersDoor(t *testing.T) {
	w := newWorld(t, func(c *settings) { c.Destination = "route" })
	r := w.operate("GET", "/ath/admin/providers", "")
	if r.status != http.StatusOK || r.text("destination") != "route" {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	byID := map[string]map[string]any{}
	var ids []string
	for _, p := range r.list("providers") {
		p := p.(map[string]any)
		ids = append(ids, p["provider_id"].(string))
		byID[p["provider_id"].(string)] = p
	}
	if !slices.Equal(ids, []string{"gallery", "shop"}) {
		t.Fatalf("got %q, want them by id", ids)
	}
	t.Run("O-1: a secret never comes back", func(t *testing.T) {
		rest := strings.NewReplacer(`"token_auth_method":"client_secret_post"`, "", `"has_secret":true`, "").Replace(r.raw) // the word alone
		if strings.Contains(r.raw, oauthSecret) || strings.Contains(rest, "secret") {
			t.Error(r.raw)
		}
	})
	t.Run("O-1: a provider with all that is configured", func(t *testing.T) {
		want := map[string]any{
			"display_name": "The Gallery", "categories": []any{"art"}, "available_scopes": []any{"pictures:read", "pictures:write"},
			"authorize_endpoint": w.issuer + "/authorize", "token_endpoint": w.issuer + "/token", "api_base_url": "https://api.gallery.example",
			"client_id": "athd", "preset": "", "derived": true, "allow_encoded_slash": false,
		}
		for field, value := range want {
			if got := byID["gallery"][field]; fmt.Sprint(got) != fmt.Sprint(value) {
				t.Errorf("%s is %v, want %v", field, got, value)
			}
		}
		rules := byID["gallery"]["rules"].([]any)
		if first := rules[0].(map[string]any); len(rules) != 2 || first["scope"] != "pictures:read" || first["origin"] != "derived" || fmt.Sprint(first["methods"], first["paths"]) != "[GET] [/**/pictures/**]" {
			t.Errorf("%v", rules)
		}
		if _, there := byID["gallery"]["app"]; there {
			t.Error("it is no app")
		}
	})
	t.Run("O-1: an app", func(t *testing.T) {
		app, _ := byID["shop"]["app"].(map[string]any)
		if app["name"] != "The Shop" || app["upstream"] != "https://api.gallery.example" || app["audience"] != w.public || app["unauthenticated"] != "deny" || fmt.Sprint(app["hosts"]) != "[]" {
			t.Errorf("%v", byID["shop"])
		}
	})
	t.Run("E-1: no parameter, no other method", func(t *testing.T) {
		if r := w.operate("GET", "/ath/admin/providers?id=gallery", ""); !r.is(400, "INVALID_REQUEST") {
			t.Errorf("%d %s", r.status, r.raw)
		}
		if r := w.operate("PATCH", "/ath/admin/providers", "{}"); !r.is(405, "METHOD_NOT_ALLOWED") {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
}
