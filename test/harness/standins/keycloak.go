package standins

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// KeycloakUser is the user's id at the stand-in for Keycloak.
const KeycloakUser = "f:0b7c1f6e:alice"

// Keycloak stands in for a realm shop of Keycloak, as 26.7.3 was seen to behave:
//
//   - access tokens live for five minutes, and a refresh token comes without
//     being asked for; each refresh gives another one, and the one before stays
//     good: https://www.keycloak.org/docs/latest/server_admin/index.html#_timeouts
//   - default client scopes are in each reply: profile and email
//   - iss is on the redirect, and the metadata says so
//   - a wrong secret is answered 401 unauthorized_client, an unknown redirect URI
//     400, and an unknown scope is refused at once
//
// The real one is asked for the rest.
func Keycloak(t testing.TB) *Server {
	t.Helper()
	const below = "/realms/shop"
	const at = below + "/protocol/openid-connect"
	s := newServer(t, "keycloak", at+"/auth", at+"/token", "/shop")
	s.sendsIss = true
	known := []string{"openid", "profile", "email", "offline_access", "products:read", "orders:read"}
	o := s.publish(below, KeycloakUser, map[string]any{
		"userinfo_endpoint": s.URL + at + "/userinfo", "revocation_endpoint": s.URL + at + "/revoke",
		"scopes_supported": known,
		"authorization_response_iss_parameter_supported": true,
	})
	s.authorize(at+"/auth", func(q url.Values) (Grant, string) {
		if !strings.HasSuffix(q.Get("redirect_uri"), "/ath/callback") {
			return Grant{}, "Invalid parameter: redirect_uri"
		}
		for scope := range strings.FieldsSeq(q.Get("scope")) {
			if !slices.Contains(known, scope) {
				return Grant{}, "invalid_scope" // the real one says so at the redirect URI
			}
		}
		return spaces(q)
	})
	o.userinfo(at + "/userinfo")
	o.serve(at+"/token", tenant{
		always: true, offline: true,
		rotation:   rotation{oldStays: true, documented: 300 * time.Second},
		told:       func(scopes []string) []string { return append(slices.Clone(scopes), "email", "profile") },
		badClient:  refusal{http.StatusUnauthorized, "unauthorized_client", "Invalid client or Invalid client credentials", nil},
		badCode:    refusal{http.StatusBadRequest, "invalid_grant", "Code not valid", nil},
		badRefresh: refusal{http.StatusBadRequest, "invalid_grant", "Session not active", nil},
	})
	return s
}
