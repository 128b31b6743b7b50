package standins

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// GoogleUser is the subject of Google's ID tokens.
const GoogleUser = "110169484474386276334"

// Google stands in for accounts.google.com, oauth2.googleapis.com and the API
// whose preset it is named with, at the API's own base path: it gives a
// refresh token only if it was asked for offline access with prompt=consent,
// and minds if it was not; the user can refuse single scopes, and the reply
// tells which are left; scope openid brings an ID token. Server.URL is the
// issuer.
func Google(t testing.TB, preset string) *Server {
	t.Helper()
	base := map[string]string{"google-calendar": "/calendar/v3", "google-drive": "/drive/v3", "gmail": "/gmail/v1"}[preset]
	s := newServer(t, preset, "/o/oauth2/v2/auth", "/token", base)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
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
	s.mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		a, token, problem := s.redeem(r, "invalid_client", "invalid_grant")
		if problem != "" {
			reply(w, http.StatusBadRequest, map[string]any{"error": problem, "error_description": "Bad Request"})
			return
		}
		members := map[string]any{
			"access_token": token, "token_type": "Bearer", "expires_in": 3599,
			"refresh_token": "refresh-" + rand.Text(), "scope": strings.Join(a.Scopes, " "),
		}
		if slices.Contains(a.Scopes, "openid") {
			now := time.Now()
			claims := jwt.MapClaims{
				"iss": s.URL, "aud": ClientID, "azp": ClientID, "sub": GoogleUser, "nonce": a.query.Get("nonce"),
				"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			}
			signed := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
			signed.Header["kid"] = "1"
			raw, err := signed.SignedString(key)
			if err != nil {
				t.Error(err)
			}
			members["id_token"] = raw
		}
		reply(w, http.StatusOK, members)
	})
	s.mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]any{
			"issuer": s.URL, "authorization_endpoint": s.AuthorizeURL, "token_endpoint": s.TokenURL, "jwks_uri": s.URL + "/certs",
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	s.mux.HandleFunc("GET /certs", func(w http.ResponseWriter, r *http.Request) {
		point, err := key.PublicKey.Bytes() // 4, x and y
		if err != nil {
			t.Error(err)
			return
		}
		reply(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
			"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256",
			"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
		}}})
	})
	return s
}
