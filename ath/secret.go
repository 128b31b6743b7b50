package ath

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// A Secret is a string that prints as redacted: every fmt verb, slog handler and
// encoder shows a fixed word instead. Only [Secret.Reveal] returns it. Code that
// must store or send one has a codec type of its own, which calls Reveal.
//
// The value is behind a pointer, so that printing a struct with a Secret in an
// unexported field, which fmt reads by reflection without calling methods, shows
// an address at most. The zero value is empty.
type Secret struct{ value *string }

// NewSecret wraps s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{value: &s}
}

// Reveal returns the value. Each call is a place where it could leak.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal compares in constant time, against timing attacks. An empty secret equals nothing, not even
// another empty one.
func (s Secret) Equal(other string) bool {
	if s.value == nil || other == "" {
		return false
	}
	// Hashing first hides the length too.
	a, b := sha256.Sum256([]byte(*s.value)), sha256.Sum256([]byte(other))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// String, GoString, Format, LogValue, MarshalJSON and MarshalText all return
// the same fixed word.
func (s Secret) String() string { return redacted }

// GoString is as [Secret.String].
func (s Secret) GoString() string { return redacted }

// Format is as [Secret.String].
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue is as [Secret.String].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON is as [Secret.String].
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText is as [Secret.String].
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// A SecretText is a [Secret] that is read from a text of a configuration or a
// body, and that prints and is encoded as redacted like any other.
type SecretText struct{ Secret }

// UnmarshalText takes the text as it is. In JSON, a value that is not a string
// is a json.UnmarshalTypeError, as it is for a member of type string.
func (s *SecretText) UnmarshalText(text []byte) error {
	s.Secret = NewSecret(string(text))
	return nil
}
