package standins

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The ids that Slack's replies tell.
const (
	SlackUser = "U0USER"
	SlackTeam = "T0TEAM"
	SlackBot  = "U0BOT"
)

// slackRotation: "With token rotation, it expires every 12 hours"; "The refresh
// token is then revoked".
//
//	https://docs.slack.dev/authentication/using-token-rotation
var slackRotation = rotation{documented: 43200 * time.Second}

// Slack stands in for slack.com: scopes of user tokens are asked for with
// user_scope, those of bot tokens with scope; a user's token is in
// authed_user, and the reply has no other; errors come as ok: false with
// status 200. Tokens never end.
//
//	https://docs.slack.dev/authentication/installing-with-oauth
//	https://docs.slack.dev/reference/methods/oauth.v2.access
func Slack(t testing.TB) *Server {
	t.Helper()
	return slack(t, false)
}

// SlackRotating stands in for slack.com and an app with token rotation. A refresh
// is asked of oauth.v2.access, too, and has the tokens at the top of its reply,
// whoever they are for; token_type says.
//
//	https://docs.slack.dev/authentication/using-token-rotation
//	https://docs.slack.dev/tools/node-slack-sdk/reference/oauth/interfaces/OAuthV2TokenRefreshResponse
func SlackRotating(t testing.TB) *Server {
	t.Helper()
	return slack(t, true)
}

func slack(t testing.TB, rotates bool) *Server {
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
	// "revoked": true where the token is dead now; what was no token is "invalid_auth".
	//
	//	https://docs.slack.dev/reference/methods/auth.revoke
	s.mux.HandleFunc("POST /api/auth.revoke", func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !s.revoke(token) {
			reply(w, http.StatusOK, map[string]any{"ok": false, "error": "invalid_auth"})
			return
		}
		reply(w, http.StatusOK, map[string]any{"ok": true, "revoked": true})
	})
	s.mux.HandleFunc("POST /api/oauth.v2.access", func(w http.ResponseWriter, r *http.Request) {
		members := map[string]any{
			"ok": true, "app_id": "A0APP", "is_enterprise_install": false, "enterprise": nil,
			"team": map[string]any{"id": SlackTeam, "name": "Team"},
		}
		refuse := func(problem string) { reply(w, http.StatusOK, map[string]any{"ok": false, "error": problem}) }
		if refresh, problem := s.refreshing(r, "bad_client_secret"); refresh != "" || problem != "" {
			if problem != "" {
				refuse(problem)
				return
			}
			l, access, next, seconds, ok := s.turn(refresh, r.PostForm.Get("scope"), slackRotation)
			if !ok {
				refuse("invalid_refresh_token")
				return
			}
			members["access_token"], members["refresh_token"], members["expires_in"] = access, next, seconds
			members["token_type"], members["scope"] = l.Kind, strings.Join(l.Scopes, ",")
			if l.Kind == "bot" {
				members["bot_user_id"] = SlackBot
			} else {
				members["user_id"] = SlackUser
			}
			reply(w, http.StatusOK, members)
			return
		}
		a, token, problem := s.redeem(r, "bad_client_secret", "invalid_code")
		if problem != "" {
			refuse(problem)
			return
		}
		user := map[string]any{"id": SlackUser}
		members["authed_user"] = user
		of := members
		if a.Kind == "user" {
			of = user
		} else {
			members["bot_user_id"] = SlackBot
		}
		of["access_token"], of["token_type"], of["scope"] = token, a.Kind, strings.Join(a.Scopes, ",")
		if rotates {
			of["refresh_token"], of["expires_in"] = s.begin(token, slackRotation)
		}
		reply(w, http.StatusOK, members)
	})
	return s
}
