package standins

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The users' ids at servers of somebody's own.
const (
	Auth0User = "auth0|63a5e2b1"
	ClerkUser = "user_2xhFjEI5X2qWRvtV13BzSj8H6Dk"
	EntraUser = "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ"
	OktaUser  = "00uid4BxXw6I6TV4m0g3"
)

// Auth0 stands in for a tenant of Auth0 with an application whose refresh tokens
// rotate.
//
//   - Without audience the access token is for /userinfo only:
//     https://auth0.com/docs/secure/tokens/access-tokens/get-access-tokens
//   - A refresh token is for those who ask for offline_access:
//     https://auth0.com/docs/secure/tokens/refresh-tokens/get-refresh-tokens
//   - One that comes twice ends the family:
//     https://auth0.com/docs/secure/tokens/refresh-tokens/refresh-token-rotation
//   - It is then answered 403 invalid_grant:
//     https://community.auth0.com/t/troubleshoot-refresh-token-unknown-or-invalid-before-expiry-403-unknown-or-invalid-refresh-token/120406
//   - Access tokens live for a day:
//     https://auth0.com/docs/secure/tokens/access-tokens/update-access-token-lifetime
func Auth0(t testing.TB) *Server {
	t.Helper()
	s := newServer(t, "auth0", "/authorize", "/oauth/token", "/shop")
	o := s.publish("/", Auth0User, map[string]any{
		"userinfo_endpoint": s.URL + "/userinfo", "revocation_endpoint": s.URL + "/oauth/revoke",
		"scopes_supported": []string{"openid", "profile", "offline_access", "email"},
	})
	s.authorize("/authorize", func(q url.Values) (Grant, string) {
		kind := "user"
		if q.Get("audience") == "" {
			kind = "userinfo"
		}
		return Grant{kind, strings.Fields(q.Get("scope"))}, ""
	})
	o.userinfo("/userinfo")
	o.serve("/oauth/token", tenant{
		rotation: rotation{reuseEnds: true, documented: 86400 * time.Second}, offline: true,
		badClient:  refusal{http.StatusUnauthorized, "access_denied", "Unauthorized", nil},
		badCode:    refusal{http.StatusForbidden, "invalid_grant", "Invalid authorization code", nil},
		badRefresh: refusal{http.StatusForbidden, "invalid_grant", "Unknown or invalid refresh token.", nil},
	})
	return s
}

// Clerk stands in for an instance of Clerk: "offline_access: Grant access through
// a refresh token"; "OAuth access tokens expire after 1 day. Refresh tokens never
// expire"; a scope that the application does not have is invalid_scope.
//
//	https://clerk.com/docs/guides/configure/auth-strategies/oauth/how-clerk-implements-oauth
func Clerk(t testing.TB) *Server {
	t.Helper()
	s := newServer(t, "clerk", "/oauth/authorize", "/oauth/token", "/v1")
	o := s.publish("", ClerkUser, map[string]any{
		"userinfo_endpoint": s.URL + "/oauth/userinfo", "revocation_endpoint": s.URL + "/oauth/token/revoke",
		"scopes_supported": []string{"openid", "profile", "email", "public_metadata", "private_metadata", "offline_access"},
	})
	s.authorize("/oauth/authorize", spaces)
	o.userinfo("/oauth/userinfo")
	o.serve("/oauth/token", tenant{
		rotation: rotation{documented: 24 * time.Hour}, offline: true,
		badClient:  refusal{http.StatusUnauthorized, "invalid_client", "Client authentication failed", nil},
		badCode:    refusal{http.StatusBadRequest, "invalid_grant", "The authorization code is invalid", nil},
		badRefresh: refusal{http.StatusBadRequest, "invalid_grant", "The refresh token is invalid", nil},
	})
	return s
}

// Okta stands in for a custom authorization server of Okta with an application
// whose refresh tokens rotate, after the grace period.
//
//   - Refresh tokens are for offline_access, and one that is used again after the
//     grace period ends the newest one and its access tokens:
//     https://developer.okta.com/docs/guides/refresh-tokens/main/
//   - It is then answered 400 invalid_grant:
//     https://support.okta.com/help/s/article/okta-refresh-token-invalid-or-expired-error-error-invalid-grant-error-description-the-refresh-token-is-invalid-or-expired
func Okta(t testing.TB) *Server {
	t.Helper()
	const below = "/oauth2/default"
	s := newServer(t, "okta", below+"/v1/authorize", below+"/v1/token", "/api/v1")
	o := s.publish(below, OktaUser, map[string]any{
		"userinfo_endpoint": s.URL + below + "/v1/userinfo", "revocation_endpoint": s.URL + below + "/v1/revoke",
		"scopes_supported": []string{"openid", "profile", "email", "offline_access"},
	})
	s.authorize(below+"/v1/authorize", spaces)
	o.userinfo(below + "/v1/userinfo")
	o.serve(below+"/v1/token", tenant{
		rotation: rotation{reuseEnds: true, documented: time.Hour}, offline: true,
		badClient:  refusal{http.StatusUnauthorized, "invalid_client", "The client secret supplied for a confidential client is invalid.", nil},
		badCode:    refusal{http.StatusBadRequest, "invalid_grant", "The authorization code is invalid or has expired.", nil},
		badRefresh: refusal{http.StatusBadRequest, "invalid_grant", "The refresh token is invalid or expired.", nil},
	})
	return s
}

// graph is what begins the names of Microsoft Graph's scopes.
const graph = "https://graph.microsoft.com/"

// Entra stands in for a tenant of Microsoft Entra ID.
//
//   - scope is part of a refresh, and a refresh token comes with offline_access
//     only: https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-auth-code-flow#refresh-the-access-token
//   - The refresh token before is not revoked:
//     https://learn.microsoft.com/en-us/entra/identity-platform/refresh-tokens
//   - A reply names scopes of Microsoft Graph shortly, those that were granted
//     earlier too, and never offline_access:
//     https://learn.microsoft.com/en-us/answers/questions/806413/scope-34offline-access34-isn39t-being-returned-in
//   - Errors have AADSTS codes; interaction_required wants the user:
//     https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes
//   - There is no revocation endpoint in the metadata:
//     https://learn.microsoft.com/en-us/entra/identity-platform/v2-protocols-oidc
func Entra(t testing.TB) *Server {
	t.Helper()
	const below = "/9188040d-6c67-4c5b-b112-36a304b66dad"
	s := newServer(t, "entra", below+"/oauth2/v2.0/authorize", below+"/oauth2/v2.0/token", "/v1.0")
	o := s.publish(below+"/v2.0", EntraUser, map[string]any{"scopes_supported": []string{"openid", "profile", "email", "offline_access"}})
	s.authorize(below+"/oauth2/v2.0/authorize", spaces)
	o.serve(below+"/oauth2/v2.0/token", tenant{
		rotation: rotation{oldStays: true, documented: 3599 * time.Second},
		told: func(scopes []string) []string {
			told := []string{"profile", "email", "Files.Read.All"} // granted to somebody else's request
			for _, scope := range scopes {
				told = append(told, strings.TrimPrefix(scope, graph))
			}
			return told
		},
		refreshing: func(scope string) (refusal, bool) {
			scopes := strings.Fields(scope)
			return aadsts(http.StatusBadRequest, "invalid_request", 90014, "The required field 'scope' is missing from the credential."),
				!slices.Contains(scopes, "offline_access") || !slices.ContainsFunc(scopes, func(s string) bool { return strings.HasPrefix(s, graph) })
		},
		badClient:  aadsts(http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided."),
		badCode:    aadsts(http.StatusBadRequest, "invalid_grant", 70008, "The provided authorization code or refresh token has expired due to inactivity."),
		badRefresh: aadsts(http.StatusBadRequest, "interaction_required", 50076, "Due to a configuration change made by your administrator, you must use multi-factor authentication."),
	})
	return s
}

func aadsts(status int, code string, number int, text string) refusal {
	return refusal{status, code, "AADSTS" + strconv.Itoa(number) + ": " + text, map[string]any{
		"error_codes": []int{number}, "timestamp": "2026-01-01 00:00:00Z", "trace_id": "255d1aef-8c98-452f-ac51-23d051240864",
		"correlation_id": "fb3d2015-bc17-4bb9-bb85-30c5cf1aaaa7",
	}}
}

// spaces reads an authorization request of the standard's.
func spaces(q url.Values) (Grant, string) { return Grant{"user", strings.Fields(q.Get("scope"))}, "" }
