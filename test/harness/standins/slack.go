package standins

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The ids that Slack's replies tell.
const (
	SlackUser = "U0USER"
	SlackTeam = "T0TEAM"
	SlackBot  = "U0BOT"
)

// Slack stands in for slack.com: scopes of user tokens are asked for with
// user_scope, those of bot tokens with scope; a user's token is in
// authed_user, and the reply has no other; errors come as ok: false with
// status 200.
func Slack(t testing.TB) *Server {
	t.Helper()
	s := newServer(t, "slack", "/oauth/v2/authorize", "/api/oauth.v2.access", "/api")
	s.authorize("/oauth/v2/authorize", func(q url.Values) (Grant, string) {
		user, bot := fields(q.Get("user_scope"), ","), fields(q.Get("scope"), ",")
		switch {
		case len(user) > 0 && len(bot) > 0:
			return Grant{}, "a token of two kinds was asked for"
		case len(user) > 0:
			return Grant{"user", user}, ""
		case len(bot) > 0:
			return Grant{"bot", bot}, ""
		}
		return Grant{}, "no scope was asked for"
	})
	s.mux.HandleFunc("POST /api/oauth.v2.access", func(w http.ResponseWriter, r *http.Request) {
		a, token, problem := s.redeem(r, "bad_client_secret", "invalid_code")
		if problem != "" {
			reply(w, http.StatusOK, map[string]any{"ok": false, "error": problem})
			return
		}
		scope := strings.Join(a.Scopes, ",")
		members := map[string]any{
			"ok": true, "app_id": "A0APP", "is_enterprise_install": false, "enterprise": nil,
			"team": map[string]any{"id": SlackTeam, "name": "Team"},
		}
		if a.Kind == "user" {
			members["authed_user"] = map[string]any{"id": SlackUser, "scope": scope, "access_token": token, "token_type": "user"}
		} else {
			members["authed_user"] = map[string]any{"id": SlackUser}
			members["access_token"], members["token_type"], members["scope"], members["bot_user_id"] = token, "bot", scope, SlackBot
		}
		reply(w, http.StatusOK, members)
	})
	return s
}
