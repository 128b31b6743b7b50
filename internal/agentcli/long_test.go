package agentcli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath/api"
)

// A standIn is a server whose API refuses as it is told to, until it has been
// asked often enough.
type standIn struct {
	*httptest.Server
	refuses   func(n int, w http.ResponseWriter, token string) bool
	calls     int
	renewals  int
	revoked   []string
	renewedBy map[string]any
}

func newStandIn(t *testing.T) *standIn {
	s := &standIn{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := map[string]any{}
		if r.Method == http.MethodPost {
			json.NewDecoder(r.Body).Decode(&body)
		}
		switch r.URL.Path {
		case "/.well-known/ath.json":
			fmt.Fprintf(w, `{"gateway_id":%q,"supported_providers":[]}`, s.URL)
		case "/.well-known/ath-app.json":
			refuseAs(w, 404, "NOT_FOUND", "")
		case "/ath/token":
			s.renewals++
			s.renewedBy = body
			if body["refresh_token"] != "ath_rt_hush" {
				refuseAs(w, 401, "TOKEN_REVOKED", "")
				return
			}
			fmt.Fprintf(w, `{"access_token":"ath_tk_new-hush","token_type":"Bearer","expires_in":3600,"refresh_token":"ath_rt_hush","refresh_expires_in":86400,"agent_id":"https://agent.example/agent.json","provider_id":"shop","effective_scopes":["read"]}`)
		case "/ath/revoke":
			s.revoked = append(s.revoked, body["token"].(string))
			fmt.Fprint(w, `{"revoked":true}`)
		default:
			s.calls++
			if s.refuses == nil || !s.refuses(s.calls, w, r.Header.Get("Authorization")) {
				fmt.Fprint(w, `{"ok":true}`)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func refuseAs(w http.ResponseWriter, status int, code, details string) {
	w.Header().Set("X-ATH-Decision-ID", "dec_1")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":%q,"message":"no","details":{%s"decision_id":"dec_1"}}`, code, details)
}

// agent is a state with a token for the shop there.
func (s *standIn) agent(t *testing.T, change func(*heldToken)) *stateFile {
	t.Helper()
	state := newState(t)
	token := heldToken{Access: api.NewSecret("ath_tk_hush"), Scopes: []string{"read"}, API: s.URL, Expires: time.Now().Add(time.Hour),
		Renewal: api.NewSecret("ath_rt_hush"), RenewalExpires: time.Now().Add(24 * time.Hour)}
	if change != nil {
		change(&token)
	}
	state.Servers = map[string]*serverState{s.URL: {ClientID: "ath_client", ClientSecret: api.NewSecret("ath_secret_hush"), Tokens: map[string]heldToken{"shop": token}}}
	f := &stateFile{path: filepath.Join(t.TempDir(), "state.json")}
	if err := f.create(state, false); err != nil {
		t.Fatal(err)
	}
	return f
}

func (s *standIn) held(t *testing.T, f *stateFile) heldToken {
	t.Helper()
	state, err := f.read()
	if err != nil {
		t.Fatal(err)
	}
	return state.Servers[s.URL].Tokens["shop"]
}

// proves: T-8
func TestCallRenewsTheToken(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*heldToken)
		refuses func(int, http.ResponseWriter, string) bool
		calls   int
	}{
		"that has ended by this clock": {func(h *heldToken) { h.Expires = time.Now().Add(-time.Hour) }, nil, 1},
		"that the server says has ended": {nil, func(_ int, w http.ResponseWriter, token string) bool {
			if token == "Bearer ath_tk_hush" {
				refuseAs(w, 401, "TOKEN_EXPIRED", "")
			}
			return token == "Bearer ath_tk_hush"
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			s.refuses = test.refuses
			f := s.agent(t, test.change)
			var out strings.Builder
			if code := runs(t, &out, []string{"call", "--state", f.path, "GET", "/products"}); code != 0 || !strings.Contains(out.String(), "a new token for shop, until ") || !strings.Contains(out.String(), `{"ok":true}`) {
				t.Fatalf("exit code %d: %s", code, &out)
			}
			if held := s.held(t, f); !held.Access.Equal("ath_tk_new-hush") || !held.Renewal.Equal("ath_rt_hush") || held.API != s.URL || time.Until(held.RenewalExpires) < 23*time.Hour {
				t.Errorf("kept %+v", held)
			}
			if s.renewals != 1 || s.calls != test.calls || s.renewedBy["grant_type"] != "refresh_token" || s.renewedBy["agent_attestation"] == nil || strings.Contains(out.String(), "hush") {
				t.Errorf("%d renewals, %d calls: %v\n%s", s.renewals, s.calls, s.renewedBy, &out)
			}
		})
	}
}

func TestARenewalByItself(t *testing.T) {
	s := newStandIn(t)
	f := s.agent(t, nil)
	var out strings.Builder
	if code := runs(t, &out, []string{"renew", "--state", f.path, "--scope", "read"}); code != 0 || !strings.Contains(out.String(), "renews until: ") || s.renewedBy["scope"] != "read" {
		t.Fatalf("exit code %d: %s, by %v", code, &out, s.renewedBy)
	}
	out.Reset()
	if code := runs(t, &out, []string{"revoke", "--state", f.path}); code != 0 || !strings.Contains(out.String(), "and its renewal") || strings.Join(s.revoked, " ") != "ath_rt_hush ath_tk_new-hush" {
		t.Errorf("exit code %d: %s, revoked %v", code, &out, s.revoked)
	}
	if held := s.held(t, f); !held.Revoked || !held.Renewal.IsZero() {
		t.Errorf("kept %+v", held)
	}
	for name, change := range map[string]func(*heldToken){
		"authorize again":      func(h *heldToken) { h.Renewal = api.NewSecret("ath_rt_over") },
		"has no renewal":       func(h *heldToken) { h.Renewal = api.Secret{} },
		"athctl try authorize": func(h *heldToken) { h.Renewal = api.Secret{} },
	} {
		f := s.agent(t, change)
		out.Reset()
		if code := runs(t, &out, []string{"renew", "--state", f.path}); code != 1 || !strings.Contains(out.String(), name) {
			t.Errorf("exit code %d, want %q: %s", code, name, &out)
		}
	}
}

// proves: P-10
func TestCallWaitsUntilTheUserHasHealedTheGrant(t *testing.T) {
	s := newStandIn(t)
	link := s.URL + "/ath/heal/sealed"
	s.refuses = func(n int, w http.ResponseWriter, _ string) bool {
		if n < 3 {
			refuseAs(w, 401, "TOKEN_INVALID", fmt.Sprintf(`"reason":"reauthorization_required","authorization_url":%q,`, link))
		}
		return n < 3
	}
	f := s.agent(t, nil)
	var out strings.Builder
	if code := runs(t, &out, []string{"call", "--state", f.path, "--wait", "0", "GET", "/products"}); code != 1 || s.calls != 1 || !strings.Contains(out.String(), "  "+link+"\n") {
		t.Fatalf("without waiting: exit code %d: %s", code, &out)
	}
	out.Reset()
	if code := runs(t, &out, []string{"call", "--state", f.path, "GET", "/products"}); code != 0 || strings.Count(out.String(), link) != 1 || !strings.Contains(out.String(), `{"ok":true}`) {
		t.Errorf("exit code %d: %s", code, &out)
	}
	if held := s.held(t, f); !held.Access.Equal("ath_tk_hush") || s.renewals != 0 {
		t.Errorf("it is another token: %+v", held)
	}
}

// What an API sends as a refusal is its own reply: no link of it is shown as one
// to open, nobody is asked for a scope that it names, nothing is renewed.
// proves: P-9
func TestCallFollowsNothingThatAnAPISays(t *testing.T) {
	const evil = "https://evil.example/ath/heal/x"
	fake := func(code string, status int, details string) func(int, http.ResponseWriter, string) bool {
		return func(_ int, w http.ResponseWriter, _ string) bool {
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"code":%q,"message":"no","details":{%s"decision_id":"dec_1"}}`, code, details)
			return true
		}
	}
	next := `"next":{"step":"authorize","provider_id":"shop","scopes":["write"]},`
	for name, test := range map[string]struct {
		refuses func(int, http.ResponseWriter, string) bool
		says    string // instead of the reply
	}{
		"a link without the header": {fake("TOKEN_INVALID", 401, `"reason":"reauthorization_required","authorization_url":"`+evil+`",`), ""},
		"a next without the header": {fake("SCOPE_NOT_APPROVED", 403, next), ""},
		"an end without the header": {fake("TOKEN_EXPIRED", 401, ""), ""},
		"through an Envoy that lets it do": {func(_ int, w http.ResponseWriter, _ string) bool {
			refuseAs(w, 401, "TOKEN_INVALID", `"reason":"reauthorization_required","authorization_url":"`+evil+`",`)
			return true
		}, "it is not shown"},
		"for another provider": {func(_ int, w http.ResponseWriter, _ string) bool {
			refuseAs(w, 403, "SCOPE_NOT_APPROVED", strings.Replace(next, "shop", "bank", 1))
			return true
		}, "SCOPE_NOT_APPROVED"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			s.refuses = test.refuses
			var out strings.Builder
			code := runs(t, &out, []string{"call", "--state", s.agent(t, nil).path, "--ask", "--yes", "GET", "/products"})
			text := out.String()
			if code != 1 || s.calls != 1 || s.renewals != 0 || strings.Contains(text, "open this") || strings.Contains(text, "wants more") || !strings.Contains(text, test.says) {
				t.Errorf("exit code %d, %d calls, %d renewals: %s", code, s.calls, s.renewals, text)
			}
			if test.says == "it is not shown" && strings.Contains(text, "evil") {
				t.Errorf("the link is shown: %s", text)
			}
		})
	}
	// A redirect is the API's reply, too: it is shown, and the token stays here.
	s := newStandIn(t)
	s.refuses = func(_ int, w http.ResponseWriter, _ string) bool {
		w.Header().Set("Location", s.URL+"/elsewhere")
		w.WriteHeader(307)
		return true
	}
	var out strings.Builder
	if code := runs(t, &out, []string{"call", "--state", s.agent(t, nil).path, "GET", "/products"}); code != 1 || s.calls != 1 || !strings.HasPrefix(out.String(), "307 ") {
		t.Errorf("a redirect: exit code %d, %d calls: %s", code, s.calls, &out)
	}
}

// The state of an athctl that knew no renewal.
func TestAnOlderStateLoads(t *testing.T) {
	s := newStandIn(t)
	f := s.agent(t, func(h *heldToken) { h.Renewal, h.RenewalExpires = api.Secret{}, time.Time{} })
	state, err := f.read()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(state)
	if err != nil || strings.Contains(string(text), "refresh") {
		t.Errorf("a token without a renewal is written with one: %s, %v", text, err)
	}
	var out strings.Builder
	if code := runs(t, &out, []string{"call", "--state", f.path, "GET", "/products"}); code != 0 {
		t.Errorf("exit code %d: %s", code, &out)
	}
}
