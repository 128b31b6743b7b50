package api

import (
	"encoding/json"

	"github.com/athd/athd/ath"
)

// A Secret is an [ath.Secret] in a body: it prints as redacted under every
// verb and log handler, but is encoded whole. Encode a struct that holds one
// only where its reader may have the secret: on the wire, or in a file that
// nobody else can read.
type Secret struct{ ath.Secret }

// NewSecret wraps s.
func NewSecret(s string) Secret { return Secret{ath.NewSecret(s)} }

// MarshalText opens the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.Reveal()), nil }

// MarshalJSON opens the secret too: that of [ath.Secret] redacts.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.Reveal()) }

// UnmarshalText takes the text as it is. A value that is not a string is a
// json.UnmarshalTypeError, as it is for a member of type string.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
