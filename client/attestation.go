package client

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/ath"
)

// attestationLife is what clients in the field say, and the longest that A-4
// allows.
const attestationLife = time.Hour

// Attest signs an attestation, which the server takes once: make one for
// each request. The audience is the server's URL at register and authorize and
// for the agent's own registration, and the endpoint's URL at token.
func (i *Identity) Attest(audience string, now time.Time) (ath.Secret, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": i.id, "sub": i.id, "aud": audience,
		"iat": now.Unix(), "exp": now.Add(attestationLife).Unix(), "jti": rand.Text(),
	})
	token.Header["kid"] = keyID
	text, err := token.SigningString()
	if err != nil {
		return ath.Secret{}, fmt.Errorf("client: attestation: %w", err)
	}
	signature, err := i.sign(text)
	if err != nil {
		return ath.Secret{}, fmt.Errorf("client: attestation: %w", err)
	}
	return ath.NewSecret(text + "." + token.EncodeSegment(signature)), nil
}

// sign signs as ES256 wants: R and S, 32 bytes each (RFC 7518, section 3.4).
// golang-jwt signs with a key in memory only, a crypto.Signer answers in ASN.1.
func (i *Identity) sign(text string) ([]byte, error) {
	digest := sha256.Sum256([]byte(text))
	der, err := i.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var pair struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &pair); err != nil || len(rest) > 0 ||
		pair.R.Sign() <= 0 || pair.S.Sign() <= 0 || pair.R.BitLen() > 256 || pair.S.BitLen() > 256 {
		return nil, errors.New("the key's signature is not one of ECDSA with P-256")
	}
	var raw [64]byte
	pair.R.FillBytes(raw[:32])
	pair.S.FillBytes(raw[32:])
	return raw[:], nil
}
