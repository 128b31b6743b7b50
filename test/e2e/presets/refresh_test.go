package presets

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/standins"
)

// A life is what becomes of a user's grant at one service.
type life struct {
	id      string
	server  *standins.Server
	fields  map[string]any // beside those of every provider
	scope   string
	get     string // a call that the scope covers
	sent    string // the scope that a refresh sends
	forever bool   // its tokens neither end nor are refreshed
	ends    string // the error code by which it ends a grant
	user    string // its id of the user
	kind    string

	agent *client.Client
	token client.Token
	first string // the user's token that the first call had
}

func rules(scope, path string) map[string]any {
	return map[string]any{"scope_rules": []any{map[string]any{"scope": scope, "methods": []string{"GET"}, "paths": []string{path}}}}
}

// issuer is a server of somebody's own that is configured by its issuer, with
// scope rules.
func issuer(s *standins.Server, scope, path string, more map[string]any) map[string]any {
	all := rules(scope, path)
	all["issuer"], all["authorize_endpoint"], all["token_endpoint"] = s.Issuer, nil, nil
	maps.Copy(all, more)
	return all
}

// Each preset's service, from the consent to the end of the grant, by its preset:
// the user is who it says she is, her token is refreshed as it wants it, no
// refresh token is sent twice, and what it answers when she takes her consent back
// ends the grant.
//
// proves: P-6, C-3, C-4, T-7
func TestAUsersGrantLivesAndEndsAtEachService(t *testing.T) {
	const mail = "https://graph.microsoft.com/Mail.Read"
	auth0, clerk, entra, okta := standins.Auth0(t), standins.Clerk(t), standins.Entra(t), standins.Okta(t)
	calendar := standins.Google(t, "google-calendar")
	lives := map[string]*life{
		"github":     {server: standins.GitHub(t), scope: "read:user", get: "/user", forever: true, user: standins.GitHubUser, kind: "user"},
		"github-app": {server: standins.GitHubApp(t), scope: "metadata:read", get: "/user/repos", ends: "bad_refresh_token", user: standins.GitHubUser, kind: "user"},
		"google":     {server: calendar, fields: map[string]any{"issuer": calendar.URL, "extra_scopes": []string{"openid"}}, scope: google + "calendar.readonly", get: "/calendars/primary/events", ends: "invalid_grant", user: standins.GoogleUser, kind: "user"},
		"google-id":  {server: calendar, fields: rules("email", "/colors"), scope: "email", get: "/colors", ends: "invalid_grant", kind: "user"},
		"slack":      {server: standins.Slack(t), scope: "users:read", get: "/users.list", forever: true, user: standins.SlackUser, kind: "user"},
		"slack-user": {server: standins.SlackRotating(t), scope: "users:read", get: "/users.list", ends: "invalid_refresh_token", user: standins.SlackUser, kind: "user"},
		"slack-bot":  {server: standins.SlackRotating(t), fields: map[string]any{"token_kind": "bot"}, scope: "users:read", get: "/users.list", ends: "invalid_refresh_token", user: standins.SlackTeam + "/" + standins.SlackBot, kind: "bot"},
		"auth0":      {server: auth0, fields: issuer(auth0, "products:read", "/products", map[string]any{"extra_authorize_params": map[string]string{"audience": "https://api.example.com"}}), scope: "products:read", get: "/products", ends: "invalid_grant", user: standins.Auth0User, kind: "user"},
		"clerk":      {server: clerk, fields: issuer(clerk, "profile", "/users/me", nil), scope: "profile", get: "/users/me", ends: "invalid_grant", user: standins.ClerkUser, kind: "user"},
		"entra":      {server: entra, fields: issuer(entra, mail, "/me/messages", nil), scope: mail, get: "/me/messages", sent: mail + " openid offline_access", ends: "interaction_required", user: standins.EntraUser, kind: "user"},
		"okta":       {server: okta, fields: issuer(okta, "orders:read", "/orders", nil), scope: "orders:read", get: "/orders", ends: "invalid_grant", user: standins.OktaUser, kind: "user"},
	}
	providers := map[string]any{}
	for id, l := range lives {
		l.id = id
		if !l.forever {
			l.server.Hasten(2 * time.Second)
		}
		providers[id] = l.server.Fields([]string{l.scope}, l.fields)
	}
	st := stage.Start(t, stage.Options{Mode: "gateway", Providers: providers})
	// Step by step for all of them: each waits for a token to end.
	for _, step := range []struct {
		name string
		do   func(*life, *testing.T, *stage.Stage)
	}{{"consent", (*life).consent}, {"refresh", (*life).refresh}, {"end", (*life).end}, {"ended", (*life).ended}} {
		t.Run(step.name, func(t *testing.T) {
			for _, id := range slices.Sorted(maps.Keys(lives)) {
				t.Run(id, func(t *testing.T) { step.do(lives[id], t, st) })
			}
		})
		if t.Failed() {
			return
		}
	}
	logs := st.Athd.Logs()
	for id, l := range lives {
		granted, _ := l.server.Refreshes()
		for _, r := range append(granted, standins.Refresh{Access: l.first}) {
			if strings.Contains(logs, r.Access) || r.Token != "" && strings.Contains(logs, r.Token) {
				t.Errorf("%s: athd's log holds a token of the user's", id)
			}
		}
	}
}

// consent takes an agent through the handshake and makes a call.
func (l *life) consent(t *testing.T, st *stage.Stage) {
	l.agent = st.NewAgent("life-" + l.id)
	l.token = st.Token(l.agent, l.id, l.scope)
	if !slices.Equal(l.token.Scopes, []string{l.scope}) {
		t.Fatalf("C-4: the token has %q", l.token.Scopes)
	}
	status, _, with := l.call(st)
	if grant, ok := l.server.Grant(with); status != http.StatusOK || !ok || grant.Kind != l.kind {
		t.Fatalf("C-3: %d, with the token of a %q", status, grant.Kind)
	}
	l.first = with
	if user := userOf(t, st, l.token.AgentID, l.id); l.user != "" && user != l.user {
		t.Errorf("T-7: the user is %s, not %s", user, l.user)
	}
}

// refresh waits for a call with another token.
func (l *life) refresh(t *testing.T, st *stage.Stage) {
	if l.forever {
		return
	}
	l.until(t, "call with another token", func() bool {
		status, reason, with := l.call(st)
		if status != http.StatusOK && (status != http.StatusUnauthorized || reason != "") { // the API's own 401: the token before has just ended
			t.Fatalf("%d %s", status, reason)
		}
		return status == http.StatusOK && with != l.first
	})
	granted, _ := l.server.Refreshes()
	for _, r := range granted {
		if r.Scope != l.sent {
			t.Errorf("a refresh sent the scope %q, want %q", r.Scope, l.sent)
		}
	}
}

func (l *life) end(*testing.T, *stage.Stage) { l.server.End() }

// ended waits until athd knows that the grant has ended.
func (l *life) ended(t *testing.T, st *stage.Stage) {
	if l.forever {
		if status, reason, _ := l.call(st); status != http.StatusUnauthorized || reason != "" {
			t.Errorf("%d %s, and the service's own answer is 401", status, reason)
		}
		return
	}
	l.until(t, "reauthorization_required", func() bool {
		status, reason, _ := l.call(st)
		return status == http.StatusUnauthorized && reason == "reauthorization_required"
	})
	if _, reused := l.server.Refreshes(); reused != 0 {
		t.Errorf("%d refresh tokens were sent twice", reused)
	}
	if !slices.ContainsFunc(strings.Split(st.Athd.Logs(), "\n"), func(line string) bool {
		return strings.Contains(line, `"connection_condemned"`) && strings.Contains(line, `"`+l.id+`"`) && strings.Contains(line, l.ends)
	}) {
		t.Errorf("no event says that the grant has ended by %s", l.ends)
	}
}

// call makes a call; with is the user's token that the API saw last, and reason
// athd's where it refuses.
func (l *life) call(st *stage.Stage) (status int, reason, with string) {
	ex := st.Call(l.agent, l.token, http.MethodGet, "/ath/proxy/"+l.id+l.get)
	var refused struct {
		Details struct{ Reason string }
	}
	json.Unmarshal(ex.Reply, &refused) // the API's own are none
	for _, r := range l.server.Requests() {
		if strings.HasSuffix(r.Target, l.get) {
			with = r.Token
		}
	}
	return ex.Status, refused.Details.Reason, with
}

func (l *life) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	const patience = time.Minute // however busy the machine is
	for end := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			granted, reused := l.server.Refreshes()
			t.Fatalf("no %s within %v: %d refreshes, %d of a token that was sent before", what, patience, len(granted), reused)
		}
	}
}

// userOf asks athd, as an operator, who the user of a provider is.
func userOf(t *testing.T, st *stage.Stage, agentID, id string) string {
	t.Helper()
	query := url.Values{"agent": {agentID}, "provider": {id}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, st.Public+"/ath/admin/connections?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-ATH-User-Token", stage.AdminKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list api.ConnectionList
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || len(list.Connections) != 1 {
		t.Fatalf("%s, %v: %+v", resp.Status, err, list)
	}
	return list.Connections[0].User
}
