package agent_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/cmd/athdemo/agent"
)

const id = "https://agent.example/agents/shopper.json"

func newAgent(t *testing.T) *agent.Agent {
	t.Helper()
	a, err := agent.New(id, "Shopping Assistant")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// publishedKey reads the key from the identity document, as a verifier does.
func publishedKey(t *testing.T, a *agent.Agent) *ecdsa.PublicKey {
	t.Helper()
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/agents/shopper.json", nil))
	var doc struct {
		Version   string                    `json:"ath_version"`
		AgentID   string                    `json:"agent_id"`
		Name      string                    `json:"name"`
		Developer struct{ Name, ID string } `json:"developer"`
		PublicKey map[string]string         `json:"public_key"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Version != "0.1" || doc.AgentID != id || doc.Name == "" || doc.Developer.Name == "" || doc.Developer.ID == "" {
		t.Errorf("A-1: document = %s", w.Body)
	}
	if doc.PublicKey["kty"] != "EC" || doc.PublicKey["crv"] != "P-256" || doc.PublicKey["d"] != "" {
		t.Errorf("A-1: public_key = %v", doc.PublicKey)
	}
	x, err := base64.RawURLEncoding.DecodeString(doc.PublicKey["x"])
	if err != nil {
		t.Fatal(err)
	}
	y, err := base64.RawURLEncoding.DecodeString(doc.PublicKey["y"])
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func verify(t *testing.T, compact string, key *ecdsa.PublicKey) (*jwt.Token, jwt.MapClaims) {
	t.Helper()
	claims := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(compact, claims, func(*jwt.Token) (any, error) { return key, nil }, jwt.WithValidMethods([]string{"ES256"}))
	if err != nil {
		t.Fatal(err)
	}
	return token, claims
}

func TestAttestationIsWhatClientsInTheFieldSend(t *testing.T) {
	a := newAgent(t)
	key := publishedKey(t, a)
	first, err := a.Attest("https://gw.example")
	if err != nil {
		t.Fatal(err)
	}
	second, err := a.Attest("https://gw.example")
	if err != nil {
		t.Fatal(err)
	}
	token, claims := verify(t, first, key)
	if token.Header["alg"] != "ES256" || token.Header["typ"] != "JWT" || token.Header["kid"] == "" {
		t.Errorf("header = %v", token.Header)
	}
	if claims["iss"] != id || claims["sub"] != id || claims["aud"] != "https://gw.example" {
		t.Errorf("claims = %v", claims)
	}
	issued, expires := claims["iat"].(float64), claims["exp"].(float64)
	if age := time.Since(time.Unix(int64(issued), 0)); age < 0 || age > time.Minute || expires-issued != 3600 {
		t.Errorf("iat %v, exp %v", issued, expires)
	}
	if _, again := verify(t, second, key); claims["jti"] == "" || claims["jti"] == again["jti"] {
		t.Errorf("A-5: jti %v, then %v", claims["jti"], again["jti"])
	}
}

func TestPrivateKeyIsTheOneThatIsPublished(t *testing.T) {
	a := newAgent(t)
	text, err := a.PrivateKeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !key.(*ecdsa.PrivateKey).PublicKey.Equal(publishedKey(t, a)) {
		t.Error("another key")
	}
}

// server answers each request with the next reply and keeps what arrived.
type server struct {
	*httptest.Server
	requests []request
	replies  []string
	status   int
}

type request struct {
	line   string
	header http.Header
	body   map[string]any
}

func newServer(t *testing.T, status int, replies ...string) *server {
	t.Helper()
	s := &server{replies: replies, status: status}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := request{line: r.Method + " " + r.RequestURI, header: r.Header}
		if r.Method == http.MethodPost {
			if err := json.NewDecoder(r.Body).Decode(&got.body); err != nil {
				t.Error(err)
			}
		}
		s.requests = append(s.requests, got)
		if len(s.replies) == 0 {
			t.Errorf("unexpected %s", got.line)
			return
		}
		w.WriteHeader(s.status)
		w.Write([]byte(s.replies[0]))
		s.replies = s.replies[1:]
	}))
	t.Cleanup(s.Close)
	return s
}

func TestHandshakeOnTheWire(t *testing.T) {
	a := newAgent(t)
	s := newServer(t, 200,
		`{"client_id":"ath_1","client_secret":"ath_secret_1","agent_status":"approved","approved_providers":[{"provider_id":"shop","approved_scopes":["products:read"]}]}`,
		`{"authorization_url":"https://gw.example/go","ath_session_id":"ath_sess_1"}`,
		`{"access_token":"ath_tk_1","effective_scopes":["products:read"]}`,
		`{"products":[]}`, `{"products":[]}`, `{}`)
	c := agent.NewClient(a, s.URL+"/")
	t.Cleanup(c.Close)
	observed := 0
	c.Observe = func(*agent.Exchange) { observed++ }

	registration, err := c.Register(t.Context(), "shop", []string{"products:read"})
	if err != nil || registration.ClientID != "ath_1" || c.Secret != "ath_secret_1" {
		t.Fatalf("%+v %v", registration, err)
	}
	authorization, err := c.Authorize(t.Context(), "shop", []string{"products:read"})
	if err != nil || authorization.Session != "ath_sess_1" || len(authorization.State) != 32 {
		t.Fatalf("%+v %v", authorization, err)
	}
	token, err := c.Redeem(t.Context(), authorization.Session, "ath_code_1")
	if err != nil || token.Access != "ath_tk_1" {
		t.Fatalf("%+v %v", token, err)
	}
	if ex, err := c.Call(t.Context(), token.Access, "GET", "/api/products", nil); err != nil || ex.Refusal() != nil {
		t.Fatalf("%+v %v", ex, err)
	}
	if _, err := c.CallAs(t.Context(), "https://other.example", token.Access, "GET", "/api/products", nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Revoke(t.Context(), token.Access); err != nil {
		t.Fatal(err)
	}
	if observed != 6 {
		t.Errorf("observed %d exchanges", observed)
	}

	wantLines := []string{"POST /ath/agents/register", "POST /ath/authorize", "POST /ath/token", "GET /api/products", "GET /api/products", "POST /ath/revoke"}
	wantFields := []string{
		"agent_attestation agent_id developer purpose redirect_uris requested_providers",
		"agent_attestation client_id provider_id scopes state user_redirect_uri",
		"agent_attestation ath_session_id client_id client_secret code grant_type",
		"", "",
		"client_id client_secret token",
	}
	wantAudience := []string{s.URL, s.URL, s.URL + "/ath/token"}
	for i, r := range s.requests {
		fields := []string{}
		for name := range r.body {
			fields = append(fields, name)
		}
		slices.Sort(fields)
		if r.line != wantLines[i] || strings.Join(fields, " ") != wantFields[i] {
			t.Errorf("request %d = %s with %v", i, r.line, fields)
		}
		if i < len(wantAudience) {
			if _, claims := verify(t, r.body["agent_attestation"].(string), publishedKey(t, a)); claims["aud"] != wantAudience[i] {
				t.Errorf("A-3: aud of %s = %v, want %s", r.line, claims["aud"], wantAudience[i])
			}
		}
	}
	if uri := s.requests[1].body["user_redirect_uri"]; uri != s.URL+"/ath/callback" {
		t.Errorf("user_redirect_uri = %v", uri)
	}
	for i, agentID := range map[int]string{3: id, 4: "https://other.example"} {
		h := s.requests[i].header
		if h.Get("Authorization") != "Bearer ath_tk_1" || h.Get("X-ATH-Agent-ID") != agentID {
			t.Errorf("call %d: %v", i, h)
		}
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, reply, want string
	}{
		{"of the protocol", `{"code":"AGENT_UNAPPROVED","message":"no","details":{"decision_id":"d"}}`, "AGENT_UNAPPROVED"},
		{"of something else", `upstream connect error`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, 403, test.reply)
			c := agent.NewClient(newAgent(t), s.URL)
			t.Cleanup(c.Close)
			_, err := c.Authorize(t.Context(), "shop", []string{"products:read"})
			refusal, ok := errors.AsType[*agent.Refusal](err)
			if !ok || refusal.Status != 403 || refusal.Code != test.want {
				t.Errorf("err = %v", err)
			}
		})
	}
}
