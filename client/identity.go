package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

const keyID = "key-1"

// An Identity is who an agent is: a URL, what is published there, and the key
// that proves it. It is an [http.Handler] that serves its identity document
// . Do not change it once it is in use.
type Identity struct {
	Name        string        // as users read it
	Developer   api.Developer // who answers for the agent
	Description string        // for people, in the identity document

	id     string
	key    crypto.Signer // P-256
	public *ecdsa.PublicKey
}

// NewIdentity returns the identity of the agent whose document is at the URL
// id. The key may be one that stays in a key management service; it must be of
// the curve P-256.
func NewIdentity(id, name string, key crypto.Signer) (*Identity, error) {
	if _, err := ath.ParseAgentID(id, true); err != nil { // whether http will do is the server's to say
		return nil, fmt.Errorf("client: agent id: %w", err)
	}
	if key == nil {
		return nil, errors.New("client: the agent's key is missing")
	}
	public, ok := key.Public().(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("client: the agent's key is not of the curve P-256, which ES256 wants")
	}
	return &Identity{Name: name, id: id, key: key, public: public}, nil
}

// ID is the agent's id: the URL of its identity document.
func (i *Identity) ID() string { return i.id }

type document struct {
	Version     string        `json:"ath_version"`
	AgentID     string        `json:"agent_id"`
	Name        string        `json:"name"`
	Developer   api.Developer `json:"developer"`
	Description string        `json:"description,omitempty"`
	PublicKey   jwk           `json:"public_key"`
}

// A jwk is a public key (RFC 7518, section 6.2).
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
}

// Document returns the identity document, as JSON: publish it at the agent id.
func (i *Identity) Document() ([]byte, error) {
	point, err := i.public.Bytes() // 4, X, Y
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	x, y := point[1:33], point[33:]
	return json.MarshalIndent(document{
		Version: ath.Version, AgentID: i.id, Name: i.Name, Developer: i.Developer, Description: i.Description,
		PublicKey: jwk{
			Type: "EC", Curve: "P-256", Use: "sig", Algorithm: "ES256", ID: keyID,
			X: base64.RawURLEncoding.EncodeToString(x), Y: base64.RawURLEncoding.EncodeToString(y),
		},
	}, "", "  ")
}

// ServeHTTP serves the identity document.
func (i *Identity) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	doc, err := i.Document()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(doc) // the reader has gone
}
