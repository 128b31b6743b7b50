package client

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/athd/athd/ath"
)

const pemType = "PRIVATE KEY" // PKCS #8

// NewKey returns a fresh key of the curve P-256, which ES256 wants.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return key, nil
}

// EncodeKey writes a key as PKCS #8 PEM. Whoever has it is the agent.
func EncodeKey(key *ecdsa.PrivateKey) (ath.Secret, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return ath.Secret{}, fmt.Errorf("client: %w", err)
	}
	return ath.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))), nil
}

// DecodeKey reads what EncodeKey wrote. Its errors never hold a part of it.
func DecodeKey(text ath.Secret) (*ecdsa.PrivateKey, error) {
	block, rest := pem.Decode([]byte(text.Reveal()))
	if block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("client: the private key is not one PEM block of PKCS #8")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("client: the private key is not PKCS #8")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("client: the private key is not of the curve P-256, which ES256 wants")
	}
	return key, nil
}
