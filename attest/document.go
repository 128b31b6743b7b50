package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/athd/athd/ath"
)

const (
	maxDocumentBytes = 64 << 10
	maxDepth         = 16
	maxNameBytes     = 200
)

// A document is an identity document that was read: the key, and what
// the agent says of itself.
type document struct {
	key       *ecdsa.PublicKey
	name      string
	developer Developer
}

func (d *document) identity() *Identity { return &Identity{Name: d.name, Developer: d.developer} }

// parseDocument reads the document that was found at the agent's URL. Members
// that it does not know are ignored; names are compared exactly, and none may
// be there twice, so that every reader sees the same document.
func parseDocument(data []byte, agent ath.AgentID) (*document, error) {
	if err := checkMembers("the document", data); err != nil {
		return nil, err
	}
	top, err := members(data)
	if err != nil {
		return nil, errors.New("the document is not a JSON object")
	}
	if id, err := text(top, "agent_id", ath.MaxAgentIDBytes); err != nil {
		return nil, err
	} else if id != agent.String() {
		return nil, errors.New("the document names another agent_id")
	}
	if _, err := text(top, "ath_version", 32); err != nil {
		return nil, err
	}
	d := &document{}
	if d.name, err = text(top, "name", maxNameBytes); err != nil {
		return nil, err
	}
	developer, err := members(top["developer"])
	if err != nil {
		return nil, errors.New("developer is missing, or not an object")
	}
	if d.developer.Name, err = text(developer, "name", maxNameBytes); err != nil {
		return nil, fmt.Errorf("developer: %w", err)
	}
	if d.developer.ID, err = text(developer, "id", maxNameBytes); err != nil {
		return nil, fmt.Errorf("developer: %w", err)
	}
	if d.key, err = parseKey(top["public_key"]); err != nil {
		return nil, fmt.Errorf("public_key: %w", err)
	}
	return d, nil
}

// members reads an object. Of its members a few are known here, and the others
// stay unread.
func members(data []byte) (map[string]jsontext.Value, error) {
	var m map[string]jsontext.Value
	if err := json.Unmarshal(data, &m); err != nil || m == nil {
		return nil, errors.New("not an object")
	}
	return m, nil
}

// text reads a text that people may be shown: not empty, bounded, without
// control characters and those that turn the direction of writing.
func text(m map[string]jsontext.Value, name string, limit int) (string, error) {
	var s string
	if json.Unmarshal(m[name], &s) != nil || strings.TrimSpace(s) == "" {
		return "", fmt.Errorf("%s is missing, or not text", name)
	}
	if err := checkText(s, limit); err != nil {
		return "", fmt.Errorf("%s %w", name, err)
	}
	return s, nil
}

func checkText(s string, limit int) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("is missing, or not text")
	}
	if len(s) > limit || strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029
	}) {
		return errors.New("is too long, or holds control characters")
	}
	return nil
}

// parseKey reads a P-256 public key: a JWK object (RFC 7517) or a PEM string.
func parseKey(data jsontext.Value) (*ecdsa.PublicKey, error) {
	var block string
	if json.Unmarshal(data, &block) == nil && block != "" {
		return parsePEM([]byte(block))
	}
	jwk, err := members(data)
	if err != nil {
		return nil, errors.New("neither a JWK nor a PEM text")
	}
	return parseJWK(jwk)
}

func parsePEM(data []byte) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("want one PEM block PUBLIC KEY")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("malformed PEM")
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not a P-256 key")
	}
	return key, nil
}

func parseJWK(jwk map[string]jsontext.Value) (*ecdsa.PublicKey, error) {
	if _, private := jwk["d"]; private {
		return nil, errors.New("the JWK holds a private key: it must be replaced, everybody could read it")
	}
	for name, want := range map[string]string{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256"} {
		var got string
		given := jwk[name] != nil
		if given && json.Unmarshal(jwk[name], &got) != nil || given && got != want || !given && (name == "kty" || name == "crv") {
			return nil, fmt.Errorf("%s of the JWK is not %s", name, want)
		}
	}
	point := []byte{4} // uncompressed (SEC 1, section 2.3.3)
	for _, name := range []string{"x", "y"} {
		var encoded string
		if json.Unmarshal(jwk[name], &encoded) != nil {
			return nil, fmt.Errorf("%s of the JWK is missing, or not text", name)
		}
		coordinate, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
		if err != nil || len(coordinate) != 32 {
			return nil, fmt.Errorf("%s of the JWK is not 32 bytes in base64url", name)
		}
		point = append(point, coordinate...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, errors.New("the JWK's point is not on the curve")
	}
	return key, nil
}
