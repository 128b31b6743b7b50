package provider_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// An openID is an OpenID provider whose ID tokens a test can spoil.
type openID struct {
	*httptest.Server
	key      *ecdsa.PrivateKey
	claims   jwt.MapClaims
	signer   *ecdsa.PrivateKey // who really signs; nil: key
	raw      string            // sent in place of a signed token
	userinfo string            // the sub that userinfo tells
	down     bool
	jwks     string
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newOpenID(t *testing.T) *openID {
	t.Helper()
	o := &openID{key: ecKey(t), userinfo: "subject-1"}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		if o.down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		jwks := o.jwks
		if jwks == "" {
			jwks = o.URL + "/jwks"
		}
		answer(w, map[string]any{"issuer": o.URL, "authorization_endpoint": o.URL + "/authorize", "token_endpoint": o.URL + "/token",
			"jwks_uri": jwks, "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		point, err := o.key.PublicKey.Bytes()
		if err != nil {
			panic(err)
		}
		b64 := base64.RawURLEncoding.EncodeToString
		answer(w, map[string]any{"keys": []any{map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k", "x": b64(point[1:33]), "y": b64(point[33:])}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		id := o.raw
		if id == "" {
			token := jwt.NewWithClaims(jwt.SigningMethodES256, o.claims)
			token.Header["kid"] = "k"
			signer := o.key
			if o.signer != nil {
				signer = o.signer
			}
			var err error
			if id, err = token.SignedString(signer); err != nil {
				panic(err)
			}
		}
		answer(w, map[string]any{"access_token": "access-1", "token_type": "Bearer", "id_token": id})
	})
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"sub": o.userinfo, "login": "alice"})
	})
	o.Server = httptest.NewServer(mux)
	t.Cleanup(o.Close)
	return o
}

// provider returns the server as a provider with these members more.
func (o *openID) provider(t *testing.T, members string) *provider.Provider {
	t.Helper()
	opt := testOptions
	opt.AllowHTTP = true
	all, faults := provider.Parse("f", []byte(strings.ReplaceAll(`{"p": {"display_name": "P", "available_scopes": ["openid", "read"],
		"authorize_endpoint": "SERVER/authorize", "token_endpoint": "SERVER/token", "client_id": "athd", "client_secret": "s", "issuer": "SERVER"`+members+`}}`,
		"SERVER", o.URL)), opt)
	if faults != nil {
		t.Fatal(faults)
	}
	return all[0]
}

// nonceFor reads the nonce that an authorization URL carries.
func nonceFor(t *testing.T, p *provider.Provider, verifier string) string {
	t.Helper()
	u, err := url.Parse(p.AuthCodeURL(provider.AuthRequest{State: ath.NewSecret("s"), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid", "read"}}))
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("nonce")
}

func TestUserIsWhoTheIDTokenSays(t *testing.T) {
	half := sha256.Sum256([]byte("access-1"))
	for _, c := range []struct {
		name    string
		members string
		spoil   func(*openID)
		user    string // "": the exchange must fail
	}{
		{"T-7: sub of a good ID token", "", nil, "subject-1"},
		{"T-7: with at_hash", "", func(o *openID) { o.claims["at_hash"] = base64.RawURLEncoding.EncodeToString(half[:16]) }, "subject-1"},
		{"T-7: with azp", "", func(o *openID) { o.claims["azp"], o.claims["aud"] = "athd", []string{"athd", "other"} }, "subject-1"},
		{"T-7: and userinfo is not asked", `, "userinfo_endpoint": "SERVER/userinfo"`, func(o *openID) { o.userinfo = "somebody-else" }, "subject-1"},
		{"T-7: the operator's own field", `, "userinfo_endpoint": "SERVER/userinfo", "user_id_field": "login"`, nil, "alice"},
		{"T-7: userinfo about another user", `, "userinfo_endpoint": "SERVER/userinfo", "user_id_field": "login"`, func(o *openID) { o.userinfo = "somebody-else" }, ""},
		{"T-7: another key", "", func(o *openID) { o.signer = ecKey(t) }, ""},
		{"T-7: no signature", "", func(o *openID) {
			s, err := jwt.NewWithClaims(jwt.SigningMethodNone, o.claims).SignedString(jwt.UnsafeAllowNoneSignatureType)
			if err != nil {
				t.Fatal(err)
			}
			o.raw = s
		}, ""},
		{"T-7: signed with the client's secret", "", func(o *openID) {
			s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, o.claims).SignedString([]byte("s"))
			if err != nil {
				t.Fatal(err)
			}
			o.raw = s
		}, ""},
		{"T-7: another issuer", "", func(o *openID) { o.claims["iss"] = "https://evil.example" }, ""},
		{"T-7: another audience", "", func(o *openID) { o.claims["aud"] = "other" }, ""},
		{"T-7: two audiences without azp", "", func(o *openID) { o.claims["aud"] = []string{"athd", "other"} }, ""},
		{"T-7: another azp", "", func(o *openID) { o.claims["azp"] = "other" }, ""},
		{"T-7: expired", "", func(o *openID) { o.claims["exp"] = now.Add(-time.Minute).Unix() }, ""},
		{"T-7: no nonce", "", func(o *openID) { delete(o.claims, "nonce") }, ""},
		{"T-7: another authorization's nonce", "", func(o *openID) { o.claims["nonce"] = "another" }, ""},
		{"T-7: another access token's at_hash", "", func(o *openID) { o.claims["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA" }, ""},
		{"T-7: no sub", "", func(o *openID) { delete(o.claims, "sub") }, ""},
		{"T-7: a sub with control characters", "", func(o *openID) { o.claims["sub"] = "a\nb" }, ""},
		{"T-7: no JWT", "", func(o *openID) { o.raw = "nonsense" }, ""},
		{"T-7: the issuer is away", "", func(o *openID) { o.down = true }, ""},
		{"T-7: keys that cannot be had", "", func(o *openID) { o.jwks = o.URL + "/nothing" }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOpenID(t)
			p := o.provider(t, c.members)
			o.claims = jwt.MapClaims{"iss": o.URL, "aud": "athd", "sub": "subject-1", "nonce": nonceFor(t, p, verifier),
				"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
			if c.spoil != nil {
				c.spoil(o)
			}
			client := provider.NewClient(provider.ClientConfig{Timeout: 2 * time.Second, Now: func() time.Time { return now }, AllowHTTP: true})
			tokens, err := client.Exchange(t.Context(), p, provider.Redemption{Code: ath.NewSecret(code), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid"}})
			if (err != nil) != (c.user == "") || tokens.User != c.user {
				t.Fatalf("the user is %q, %v; want %q", tokens.User, err, c.user)
			}
			if err != nil {
				if _, ok := errors.AsType[*provider.ExchangeError](err); !ok {
					t.Errorf("not an ExchangeError: %T", err)
				}
				if strings.Contains(err.Error(), verifier) || strings.Contains(err.Error(), "eyJ") {
					t.Errorf("the error tells too much: %v", err)
				}
			}
		})
	}
}

func TestNonceIsOfOneAuthorization(t *testing.T) {
	o := newOpenID(t)
	p := o.provider(t, "")
	a, b := nonceFor(t, p, verifier), nonceFor(t, p, verifier+"x")
	if a == "" || a == b || strings.Contains(verifier, a) {
		t.Errorf("nonces %q and %q", a, b)
	}
	u, err := url.Parse(p.AuthCodeURL(provider.AuthRequest{State: ath.NewSecret("s"), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"read"}}))
	if err != nil || u.Query().Has("nonce") {
		t.Errorf("a nonce where no ID token is asked for: %v %v", u, err)
	}
}

func TestIssuerMustBeHTTPS(t *testing.T) {
	o := newOpenID(t)
	p := o.provider(t, "")
	o.claims = jwt.MapClaims{"iss": o.URL, "aud": "athd", "sub": "x", "nonce": nonceFor(t, p, verifier), "exp": now.Add(time.Hour).Unix()}
	p.TokenURL.Scheme = "https" // so that only the issuer is left to object to
	client := provider.NewClient(provider.ClientConfig{Timeout: 2 * time.Second, Now: func() time.Time { return now }, Transport: plainly{}})
	if _, err := client.Exchange(t.Context(), p, provider.Redemption{Code: ath.NewSecret(code), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid"}}); err == nil {
		t.Error("keys were fetched over http")
	}
}

// plainly sends https requests over http.
type plainly struct{}

func (plainly) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	return http.DefaultTransport.RoundTrip(r)
}
