package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// AttestationTTL is how long an attestation is good for: what clients in the
// field say, and the longest that A-4 allows.
const AttestationTTL = time.Hour

const keyID = "key-1"

// A Developer is who answers for an agent.
type Developer struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// An Agent is an identity: a URL, what is published there, and the key that
// proves it. It serves its own identity document.
type Agent struct {
	ID          string // the URL of its identity document
	Name        string
	Developer   Developer
	Description string // for people, in the identity document

	key *ecdsa.PrivateKey // P-256
}

// New returns an agent with a fresh key.
func New(id, name string) (*Agent, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return &Agent{
		ID: id, Name: name, Developer: Developer{Name: "Demo Developers", ID: "demo-developers"},
		Description: "Finds things in shops and puts them into the cart.", key: key,
	}, nil
}

// Load returns the agent whose key is in keyPEM, as [Agent.PrivateKeyPEM]
// wrote it. Its developer and description are for the caller to set.
func Load(id, name string, keyPEM []byte) (*Agent, error) {
	block, rest := pem.Decode(keyPEM)
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("agent: the private key is not one PEM block of PKCS #8")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("agent: the private key is not PKCS #8")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("agent: the private key is not of the curve P-256, which ES256 wants")
	}
	return &Agent{ID: id, Name: name, key: key}, nil
}

type document struct {
	Version     string    `json:"ath_version"`
	AgentID     string    `json:"agent_id"`
	Name        string    `json:"name"`
	Developer   Developer `json:"developer"`
	Description string    `json:"description,omitempty"`
	PublicKey   jwk       `json:"public_key"`
}

type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
}

// Document returns the identity document, as JSON.
func (a *Agent) Document() ([]byte, error) {
	point, err := a.key.PublicKey.Bytes() // 4, X, Y
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	x, y := point[1:33], point[33:]
	return json.MarshalIndent(document{
		Version: "0.1", AgentID: a.ID, Name: a.Name, Developer: a.Developer,
		Description: a.Description,
		PublicKey: jwk{
			Type: "EC", Curve: "P-256", Use: "sig", Algorithm: "ES256", ID: keyID,
			X: base64.RawURLEncoding.EncodeToString(x), Y: base64.RawURLEncoding.EncodeToString(y),
		},
	}, "", "  ")
}

// ServeHTTP serves the identity document.
func (a *Agent) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	doc, err := a.Document()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(doc) // the reader has gone; nobody is left to tell
}

// Attest signs an attestation for an audience: the base URL of the server at
// register and authorize, the full URL of the endpoint at token.
func (a *Agent) Attest(audience string) (string, error) {
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": a.ID, "sub": a.ID, "aud": audience,
		"iat": now.Unix(), "exp": now.Add(AttestationTTL).Unix(), "jti": rand.Text(),
	})
	token.Header["kid"] = keyID
	signed, err := token.SignedString(a.key)
	if err != nil {
		return "", fmt.Errorf("agent: attestation: %w", err)
	}
	return signed, nil
}

// PrivateKeyPEM returns the key as PKCS #8 PEM. Whoever has it is the agent.
func (a *Agent) PrivateKeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
