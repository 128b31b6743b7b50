package standins

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// GoogleUser is the subject of Google's ID tokens.
const GoogleUser = "110169484474386276334"

// google: an access token lives for about an hour ("expires_in": 3920 in the
// page's example, 3599 in life), and the reply to a refresh has no refresh token:
// the first one stays good.
//
//	https://developers.google.com/identity/protocols/oauth2/web-server#offline
var google = rotation{keeps: true, oldStays: true, documented: 3599 * time.Second}

// googleLong are the names that scopes of OpenID have in a reply.
//
//	https://developers.google.com/identity/protocols/oauth2/scopes#openid-connect
var googleLong = map[string]string{
	"email":   "https://www.googleapis.com/auth/userinfo.email",
	"profile": "https://www.googleapis.com/auth/userinfo.profile",
}

// Google stands in for accounts.google.com, oauth2.googleapis.com and the API
// whose preset it is named with, at the API's own base path: it gives a
// refresh token only if it was asked for offline access with prompt=consent,
// and minds if it was not; the user can refuse single scopes, and the reply
// tells which are left; scope openid brings an ID token. Server.URL is the
// issuer.
//
//	https://developers.google.com/identity/protocols/oauth2/web-server#creatingclient
//	https://developers.google.com/identity/protocols/oauth2/resources/granular-permissions
//	https://developers.google.com/identity/openid-connect/openid-connect
func Google(t testing.TB, preset string) *Server {
	t.Helper()
	base := map[string]string{"google-calendar": "/calendar/v3", "google-drive": "/drive/v3", "gmail": "/gmail/v1"}[preset]
	s := newServer(t, preset, "/o/oauth2/v2/auth", "/token", base)
	o := s.publish("", GoogleUser, nil)
	s.authorize("/o/oauth2/v2/auth", func(q url.Values) (Grant, string) {
		switch {
		case q.Get("access_type") != "offline" || q.Get("prompt") != "consent":
			return Grant{}, "offline access was not asked for, or not with consent"
		case q.Has("include_granted_scopes"):
			return Grant{}, "scopes of other grants were asked for"
		case strings.Contains(q.Get("scope"), ","):
			return Grant{}, "scopes are separated by spaces"
		}
		return Grant{"user", strings.Fields(q.Get("scope"))}, ""
	})
	told := func(scopes []string) string {
		scopes = slices.Clone(scopes)
		for i, scope := range scopes {
			if long := googleLong[scope]; long != "" {
				scopes[i] = long
			}
		}
		return strings.Join(scopes, " ")
	}
	s.mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if refresh, problem := s.refreshing(r, "invalid_client"); refresh != "" || problem != "" {
			if problem != "" {
				reply(w, http.StatusUnauthorized, map[string]any{"error": problem, "error_description": "Unauthorized"})
				return
			}
			l, access, _, seconds, ok := s.turn(refresh, r.PostForm.Get("scope"), google)
			if !ok {
				reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
				return
			}
			reply(w, http.StatusOK, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": seconds, "scope": told(l.Scopes)})
			return
		}
		a, token, problem := s.redeem(r, "invalid_client", "invalid_grant")
		if problem != "" {
			reply(w, http.StatusBadRequest, map[string]any{"error": problem, "error_description": "Bad Request"})
			return
		}
		refresh, seconds := s.begin(token, google)
		members := map[string]any{
			"access_token": token, "token_type": "Bearer", "expires_in": seconds,
			"refresh_token": refresh, "scope": told(a.Scopes),
		}
		if slices.Contains(a.Scopes, "openid") {
			members["id_token"] = o.idToken(a)
		}
		reply(w, http.StatusOK, members)
	})
	return s
}
