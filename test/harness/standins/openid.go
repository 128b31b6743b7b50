package standins

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// openID is what servers of OpenID Connect have in common: metadata, keys, ID
// tokens and userinfo.
type openID struct {
	s       *Server
	key     *ecdsa.PrivateKey
	issuer  string
	subject string
}

// publish serves the metadata of an issuer below the server's URL, at OpenID's
// place, and the keys. more is added to it.
func (s *Server) publish(below, subject string, more map[string]any) *openID {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	o := &openID{s, key, s.URL + below, subject}
	s.Issuer = o.issuer
	s.mux.HandleFunc("GET "+strings.TrimSuffix(below, "/")+"/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		members := map[string]any{
			"issuer": o.issuer, "authorization_endpoint": s.AuthorizeURL, "token_endpoint": s.TokenURL, "jwks_uri": s.URL + "/certs",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256"}, "code_challenge_methods_supported": []string{"S256"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
		}
		maps.Copy(members, more)
		reply(w, http.StatusOK, members)
	})
	s.mux.HandleFunc("GET /certs", func(w http.ResponseWriter, r *http.Request) {
		point, err := key.PublicKey.Bytes() // 4, x and y
		if err != nil {
			s.t.Error(err)
			return
		}
		reply(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
			"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256",
			"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
		}}})
	})
	if endpoint, ok := more["revocation_endpoint"].(string); ok {
		s.mux.HandleFunc("POST "+strings.TrimPrefix(endpoint, s.URL), s.revocation)
	}
	return o
}

// revocation ends all tokens of a consent (RFC 7009, section 2.1): those of its
// refresh token, too. What is no token is answered 200, as section 2.2 has it.
func (s *Server) revocation(w http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil || r.PostForm.Get("client_id") != ClientID || r.PostForm.Get("client_secret") != ClientSecret {
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	token := r.PostForm.Get("token")
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[token]; l != nil {
		l.dead = true
	} else if h, ok := s.held[token]; ok {
		h.line.dead = true
	}
}

// idToken signs who the user is, for an authorization that asked for openid.
func (o *openID) idToken(a asked) string {
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": o.issuer, "aud": ClientID, "azp": ClientID, "sub": o.subject, "nonce": a.query.Get("nonce"),
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	signed := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	signed.Header["kid"] = "1"
	raw, err := signed.SignedString(o.key)
	if err != nil {
		o.s.t.Error(err)
	}
	return raw
}

// userinfo serves OpenID's own (OpenID Connect Core, section 5.3), which wants a
// token that has openid.
func (o *openID) userinfo(path string) {
	o.s.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		o.s.mu.Lock()
		ok := o.s.alive(token) && slices.Contains(o.s.held[token].line.Scopes, "openid")
		o.s.mu.Unlock()
		if !ok {
			reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
			return
		}
		reply(w, http.StatusOK, map[string]any{"sub": o.subject})
	})
}

// A tenant is what a server of somebody's own does in its way.
type tenant struct {
	rotation   rotation
	always     bool                           // a refresh token comes without offline_access, too
	offline    bool                           // in the scope of a reply, where it was asked for
	told       func(scopes []string) []string // how the scopes are spelled in a reply; nil: as they are
	badClient  refusal
	badCode    refusal
	badRefresh refusal
	refreshing func(scope string) (refusal, bool) // what it minds of a refresh; may be nil
}

// A refusal is an answer of a token endpoint (RFC 6749, section 5.2).
type refusal struct {
	status            int
	code, description string
	more              map[string]any
}

func (f refusal) answer(w http.ResponseWriter) {
	members := map[string]any{"error": f.code, "error_description": f.description}
	maps.Copy(members, f.more)
	reply(w, f.status, members)
}

// serve serves the token endpoint of a tenant. A refresh token is for those who
// asked for offline_access.
func (o *openID) serve(path string, h tenant) {
	s := o.s
	tokens := func(w http.ResponseWriter, access, refresh string, seconds int, scopes []string, idToken string) {
		scopes = slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool { return scope == "offline_access" && !h.offline })
		if h.told != nil {
			scopes = h.told(scopes)
		}
		members := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": seconds, "scope": strings.Join(scopes, " ")}
		for name, value := range map[string]string{"refresh_token": refresh, "id_token": idToken} {
			if value != "" {
				members[name] = value
			}
		}
		reply(w, http.StatusOK, members)
	}
	s.mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		if refresh, problem := s.refreshing(r, "client"); refresh != "" || problem != "" {
			if problem != "" {
				h.badClient.answer(w)
				return
			}
			scope := r.PostForm.Get("scope")
			if h.refreshing != nil {
				if f, refused := h.refreshing(scope); refused {
					f.answer(w)
					return
				}
			}
			l, access, next, seconds, ok := s.turn(refresh, scope, h.rotation)
			if !ok {
				h.badRefresh.answer(w)
				return
			}
			tokens(w, access, next, seconds, l.Scopes, "")
			return
		}
		a, token, problem := s.redeem(r, "client", "code")
		switch problem {
		case "client":
			h.badClient.answer(w)
			return
		case "code":
			h.badCode.answer(w)
			return
		}
		var refresh, idToken string
		seconds := int(s.hasten(token, h.rotation.documented).Seconds())
		if h.always || slices.Contains(a.Scopes, "offline_access") {
			refresh, seconds = s.begin(token, h.rotation)
		}
		if slices.Contains(a.Scopes, "openid") {
			idToken = o.idToken(a)
		}
		tokens(w, token, refresh, seconds, a.Scopes, idToken)
	})
}
