package api

import (
	"encoding/json"

	"github.com/athd/athd/ath"
)

// A Secret is an [ath.Secret] in a body: it prints as redacted under every
// verb and log handler, but is encoded whole. Encode a struct that holds one
// only where its reader may have the secret: on the wire, or in a file that
// nobody else can read.
type Secret struct{ ath.SecretText }

// NewSecret wraps s.
func NewSecret(s string) Secret { return OpenSecret(ath.NewSecret(s)) }

// OpenSecret makes a secret one that is encoded whole.
func OpenSecret(s ath.Secret) Secret { return Secret{ath.SecretText{Secret: s}} }

// MarshalText opens the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.Reveal()), nil }

// MarshalJSON opens the secret too: that of [ath.Secret] redacts.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.Reveal()) }
