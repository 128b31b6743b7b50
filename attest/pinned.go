package attest

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"fmt"

	"github.com/athd/athd/ath"
)

// A Pinned is an agent without a hosted document, named by the operator
// . Its id is never fetched.
type Pinned struct {
	Agent     ath.AgentID
	Key       *ecdsa.PublicKey // P-256
	Name      string
	Developer Developer
}

// ParsePublicKey reads a P-256 public key: a PEM block PUBLIC KEY, or a JWK
// (RFC 7517).
func ParsePublicKey(data []byte) (*ecdsa.PublicKey, error) {
	data = bytes.TrimSpace(data)
	if len(data) > maxDocumentBytes {
		return nil, errors.New("larger than a key is")
	}
	if !bytes.HasPrefix(data, []byte("{")) {
		return parsePEM(data)
	}
	if err := checkMembers("the JWK", data); err != nil {
		return nil, err
	}
	jwk, err := members(data)
	if err != nil {
		return nil, errors.New("neither a JWK nor a PEM text")
	}
	return parseJWK(jwk)
}

// CheckName checks a text that people are shown of an agent, as those of
// documents are checked.
func CheckName(s string) error { return checkText(s, maxNameBytes) }

func pin(all []Pinned) (map[string]*document, error) {
	out := map[string]*document{}
	for _, p := range all {
		id := p.Agent.String()
		switch {
		case id == "" || p.Key == nil:
			return nil, errors.New("attest: a pinned agent has no id or no key")
		case out[id] != nil:
			return nil, fmt.Errorf("attest: %s is pinned twice", id)
		}
		for _, text := range []string{p.Name, p.Developer.Name, p.Developer.ID} {
			if err := CheckName(text); err != nil {
				return nil, fmt.Errorf("attest: %s: a name %w", id, err)
			}
		}
		out[id] = &document{key: p.Key, name: p.Name, developer: p.Developer}
	}
	return out, nil
}

// Pinned returns who an agent is as the operator named it, nil if it is not
// pinned.
func (v *Verifier) Pinned(agentID string) *Identity {
	if d := v.pinned[agentID]; d != nil {
		return d.identity()
	}
	return nil
}
