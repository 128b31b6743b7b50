package client_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
)

const id = "https://agent.example/agents/shopper.json"

func newIdentity(t *testing.T) *client.Identity {
	t.Helper()
	key, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	agent, err := client.NewIdentity(id, "Shopping Assistant", key)
	if err != nil {
		t.Fatal(err)
	}
	agent.Developer = api.Developer{Name: "Developers", ID: "developers"}
	return agent
}

// publishedKey reads the key from the identity document, as a verifier does.
func publishedKey(t *testing.T, agent *client.Identity) *ecdsa.PublicKey {
	t.Helper()
	w := httptest.NewRecorder()
	agent.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/agents/shopper.json", nil))
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
	x, errX := base64.RawURLEncoding.DecodeString(doc.PublicKey["x"])
	y, errY := base64.RawURLEncoding.DecodeString(doc.PublicKey["y"])
	if errX != nil || errY != nil {
		t.Fatal(errX, errY)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func verify(t *testing.T, compact string, key *ecdsa.PublicKey, now time.Time) (*jwt.Token, jwt.MapClaims) {
	t.Helper()
	claims := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(compact, claims, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	return token, claims
}

// many signatures, so that some have an R or S with leading
// zeros.
func TestAttestationIsWhatClientsInTheFieldSend(t *testing.T) {
	agent, now := newIdentity(t), time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	key, seen := publishedKey(t, agent), map[any]bool{}
	for range 600 {
		signed, err := agent.Attest("https://gw.example", now)
		if err != nil {
			t.Fatal(err)
		}
		token, claims := verify(t, signed.Reveal(), key, now)
		if token.Header["alg"] != "ES256" || token.Header["typ"] != "JWT" || token.Header["kid"] == "" {
			t.Fatalf("header = %v", token.Header)
		}
		if claims["iss"] != id || claims["sub"] != id || claims["aud"] != "https://gw.example" ||
			claims["iat"] != float64(now.Unix()) || claims["exp"] != float64(now.Unix()+3600) {
			t.Fatalf("claims = %v", claims)
		}
		if claims["jti"] == "" || seen[claims["jti"]] {
			t.Fatalf("jti %v again", claims["jti"])
		}
		seen[claims["jti"]] = true
	}
}

// A key that signs elsewhere, as one in a key management service does.
type remote struct{ key *ecdsa.PrivateKey }

func (r remote) Public() crypto.PublicKey { return r.key.Public() }

func (r remote) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if o.HashFunc() != crypto.SHA256 {
		return nil, fmt.Errorf("hash %v", o.HashFunc())
	}
	return r.key.Sign(random, digest, o)
}

func TestKeyMayBeElsewhere(t *testing.T) {
	key, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	agent, err := client.NewIdentity(id, "Remote", remote{key})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := agent.Attest("https://gw.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	verify(t, signed.Reveal(), &key.PublicKey, time.Now())
}

func TestKeyIsKeptAsPEM(t *testing.T) {
	key, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := client.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := client.DecodeKey(text)
	if err != nil || !again.Equal(key) {
		t.Errorf("decoded another key: %v", err)
	}
	agent, err := client.NewIdentity(id, "x", key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if printed := fmt.Sprintf("%+v %#v %s", agent, agent, text); strings.Contains(printed, new(big.Int).SetBytes(raw).String()) || strings.Contains(printed, "PRIVATE KEY") {
		t.Error("the key prints")
	}
}

func TestOnlyKeysOfP256(t *testing.T) {
	wrong, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := client.EncodeKey(wrong)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.NewIdentity(id, "x", wrong); err == nil {
		t.Error("an identity with a key of P-384")
	}
	if _, err := client.NewIdentity(id, "x", nil); err == nil {
		t.Error("an identity without a key")
	}
	for _, bad := range []string{text.Reveal(), "", "x", text.Reveal() + text.Reveal()} {
		if _, err := client.DecodeKey(ath.NewSecret(bad)); err == nil || strings.Contains(err.Error(), "MIG") {
			t.Errorf("DecodeKey: %v", err)
		}
	}
}
