package provider_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/standins"
)

// parseStandIn loads a stand-in as an operator would, with fields of more.
func parseStandIn(t *testing.T, s *standins.Server, scopes []string, more map[string]any) *provider.Provider {
	t.Helper()
	text, err := json.Marshal(map[string]any{"p": s.Fields(scopes, more)})
	if err != nil {
		t.Fatal(err)
	}
	all, faults := provider.Parse("f", text, provider.Options{AllowHTTP: true})
	if faults != nil {
		t.Fatal(faults)
	}
	return all[0]
}

// grant asks for scopes and redeems the code; spoil may change the code.
func grant(t *testing.T, s *standins.Server, p *provider.Provider, scopes ath.Scopes, spoil string) (provider.Tokens, error) {
	t.Helper()
	code := s.Code(p.AuthCodeURL(provider.AuthRequest{
		State: ath.NewSecret("state"), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: scopes,
	}))
	c := provider.NewClient(provider.ClientConfig{Timeout: 10 * time.Second, AllowHTTP: true})
	return c.Exchange(t.Context(), p, provider.Redemption{Code: ath.NewSecret(code + spoil), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid"}})
}

// The habits of each service, by its preset alone.
// proves: C-3, C-4, T-7
func TestOAuthDefaultsWithEachHabit(t *testing.T) {
	calendar := google + "calendar.readonly"
	tests := []struct {
		name    string
		start   func(*testing.T) *standins.Server
		more    map[string]any
		ask     ath.Scopes
		refuse  []string
		granted ath.Scopes
		user    string
		kind    string
		refresh bool
		failure string // the code of the error that a wrong code gets
		status  int
	}{
		{name: "GitHub", start: github, ask: ath.Scopes{"read:user", "repo"},
			granted: ath.Scopes{"read:user", "repo"}, user: standins.GitHubUser, kind: "user", failure: "bad_verification_code", status: 200},
		{name: "GitHub: commas", start: github, more: map[string]any{"scope_separator": ","}, ask: ath.Scopes{"read:user", "repo"},
			granted: ath.Scopes{"read:user", "repo"}, user: standins.GitHubUser, kind: "user", failure: "bad_verification_code", status: 200},
		{name: "GitHub: without scopes", start: github, granted: ath.Scopes{}, user: standins.GitHubUser, kind: "user", failure: "bad_verification_code", status: 200},
		{name: "Google", start: googleCalendar, ask: ath.Scopes{calendar}, granted: ath.Scopes{calendar}, kind: "user", refresh: true, failure: "invalid_grant", status: 400},
		{name: "Google: a scope is refused", start: googleCalendar, ask: ath.Scopes{calendar, google + "calendar.events"}, refuse: []string{calendar},
			granted: ath.Scopes{google + "calendar.events"}, kind: "user", refresh: true, failure: "invalid_grant", status: 400},
		{name: "Google: all scopes are refused", start: googleCalendar, ask: ath.Scopes{calendar}, refuse: []string{calendar},
			granted: ath.Scopes{}, kind: "user", refresh: true, failure: "invalid_grant", status: 400},
		{name: "Google: an ID token", start: googleCalendar, more: map[string]any{"issuer": "SERVER"}, ask: ath.Scopes{"openid", calendar},
			granted: ath.Scopes{"openid", calendar}, user: standins.GoogleUser, kind: "user", refresh: true, failure: "invalid_grant", status: 400},
		{name: "Slack: a user's token", start: slack, ask: ath.Scopes{"channels:read", "chat:write"},
			granted: ath.Scopes{"channels:read", "chat:write"}, user: standins.SlackUser, kind: "user", failure: "invalid_code", status: 200},
		{name: "Slack: a bot's token", start: slack, more: map[string]any{"token_kind": "bot"}, ask: ath.Scopes{"channels:read", "chat:write"},
			granted: ath.Scopes{"channels:read", "chat:write"}, user: standins.SlackTeam + "/" + standins.SlackBot, kind: "bot", failure: "invalid_code", status: 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.start(t)
			s.Refuse(tt.refuse...)
			if tt.more["issuer"] != nil {
				tt.more["issuer"] = s.URL
			}
			p := parseStandIn(t, s, append(ath.Scopes{"spare"}, tt.ask...), tt.more)
			got, err := grant(t, s, p, tt.ask, "")
			if err != nil {
				t.Fatal(err)
			}
			held, ok := s.Grant(got.Access.Reveal())
			if !ok || held.Kind != tt.kind {
				t.Errorf("C-3: %q is not the token of a %s", got.Access.Reveal(), tt.kind)
			}
			if !slices.Equal(got.Scopes, tt.granted) || !got.ScopesGiven {
				t.Errorf("C-4: got scopes %q (given: %v)", got.Scopes, got.ScopesGiven)
			}
			if got.User != tt.user {
				t.Errorf("T-7: the user is %q, want %q", got.User, tt.user)
			}
			if got.Refresh.IsZero() == tt.refresh || got.Expires.IsZero() == tt.refresh {
				t.Errorf("a refresh token and an end: %v, %v", !got.Refresh.IsZero(), got.Expires)
			}

			_, err = grant(t, s, p, tt.ask, "x")
			if e, ok := errors.AsType[*provider.ExchangeError](err); !ok || e.Code != tt.failure || e.Status != tt.status || e.Temporary {
				t.Errorf("a wrong code: got %v", err)
			}
			wrong := parseStandIn(t, s, append(ath.Scopes{"spare"}, tt.ask...), withFields(tt.more, map[string]any{"client_secret": "wrong"}))
			if _, err = grant(t, s, wrong, tt.ask, ""); err == nil {
				t.Error("a wrong secret was taken")
			}
		})
	}
}

func github(t *testing.T) *standins.Server         { return standins.GitHub(t) }
func googleCalendar(t *testing.T) *standins.Server { return standins.Google(t, "google-calendar") }
func slack(t *testing.T) *standins.Server          { return standins.Slack(t) }

func withFields(several ...map[string]any) map[string]any {
	all := map[string]any{}
	for _, m := range several {
		maps.Copy(all, m)
	}
	return all
}

// The stand-ins mind what the services mind: without a preset it does not work.
func TestStandInsNeedTheHabits(t *testing.T) {
	for _, s := range []*standins.Server{standins.Google(t, "gmail"), standins.Slack(t)} {
		p := parseStandIn(t, s, []string{"a"}, map[string]any{"preset": nil})
		u := p.AuthCodeURL(provider.AuthRequest{State: ath.NewSecret("s"), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"a"}})
		if s.Preset == "gmail" {
			if resp, err := http.Get(u); err != nil || resp.StatusCode != http.StatusBadRequest {
				t.Errorf("Google did not mind: %v %v", resp, err)
			}
			continue
		}
		c := provider.NewClient(provider.ClientConfig{AllowHTTP: true})
		if _, err := c.Exchange(t.Context(), p, provider.Redemption{Code: ath.NewSecret(s.Code(u)), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid"}}); err == nil {
			t.Error("Slack's bot token was taken for a bearer token that nobody had asked for")
		}
	}
	s := standins.GitHub(t)
	p := parseStandIn(t, s, []string{"a", "b"}, nil)
	code := s.Code(p.AuthCodeURL(provider.AuthRequest{State: ath.NewSecret("s"), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"a", "b"}}))
	resp, err := http.PostForm(s.TokenURL, url.Values{"client_id": {standins.ClientID}, "client_secret": {standins.ClientSecret}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {redirect}})
	if err != nil || resp.Header.Get("Content-Type") != "application/x-www-form-urlencoded; charset=utf-8" {
		t.Errorf("GitHub answered %v, %v without Accept", resp, err)
	}
	if len(s.Requests()) != 0 {
		t.Error("the API was called")
	}
}

// longID is half of what is kept of an id, and a little more.
var longID = strings.Repeat("I", 129)

// Replies of Slack's that lack something, or hold what was not asked for.
// proves: T-7
func TestSlackReplies(t *testing.T) {
	tests := []struct {
		name, kind, body string
		user             string // "": an error
		code             string
	}{
		{"a user's token beside a bot's", "user", `{"ok":true,"access_token":"other-1","token_type":"bot","scope":"a:b","bot_user_id":"B","team":{"id":"T"},"authed_user":{"id":"U","scope":"b","access_token":"right-1","token_type":"user"}}`, "U", ""},
		{"a bot's token beside a user's", "bot", `{"ok":true,"access_token":"right-1","token_type":"bot","scope":"b","bot_user_id":"B","team":{"id":"T"},"authed_user":{"id":"U","scope":"a:b","access_token":"other-1","token_type":"user"}}`, "T/B", ""},
		{"T-7: no user token", "user", `{"ok":true,"access_token":"other-1","token_type":"bot","scope":"b","team":{"id":"T"},"authed_user":{"id":"U"}}`, "", ""},
		{"T-7: authed_user is no object", "user", `{"ok":true,"access_token":"right-1","authed_user":"U"}`, "", ""},
		{"T-7: a user without id", "user", `{"ok":true,"authed_user":{"access_token":"right-1","scope":"b"}}`, "", ""},
		{"T-7: a bot of no team", "bot", `{"ok":true,"access_token":"other-1","token_type":"bot","scope":"b","bot_user_id":"B","team":null}`, "", ""},
		{"T-7: a bot's id is too long", "bot", `{"ok":true,"access_token":"other-1","scope":"b","bot_user_id":"` + longID + `","team":{"id":"` + longID + `"}}`, "", ""},
		{"a user's token is not a bot's", "bot", `{"ok":true,"access_token":"right-1","token_type":"user","scope":"b","bot_user_id":"B","team":{"id":"T"}}`, "", ""},
		{"an error", "user", `{"ok":false,"error":"invalid_code"}`, "", "invalid_code"},
		{"an error beside a token", "user", `{"ok":false,"error":"invalid_code","authed_user":{"id":"U","access_token":"right-1"}}`, "", "invalid_code"},
		{"an error without words", "user", `{"ok":false,"authed_user":{"id":"U","access_token":"right-1"}}`, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := exchange(t, answer(200, "application/json", tt.body), `, "preset": "slack", "api_base_url": "SERVER", "token_kind": "`+tt.kind+`"`)
			if e, _ := errors.AsType[*provider.ExchangeError](err); tt.user == "" && (e == nil || e.Code != tt.code) {
				t.Fatalf("got %+v, %v", got, err)
			}
			if tt.user != "" && (err != nil || got.User != tt.user || !slices.Equal(got.Scopes, ath.Scopes{"b"})) {
				t.Errorf("got %+v, %v", got, err)
			}
			if tt.user != "" && got.Access.Reveal() != "right-1" {
				t.Errorf("got the other token %q", got.Access.Reveal())
			}
		})
	}
}
