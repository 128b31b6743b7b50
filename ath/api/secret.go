package api

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/athd/athd/ath"
)

// A Secret is an [ath.Secret] in a body: it prints as redacted under every
// verb and log handler, but is encoded whole. The bodies that hold one are
// logged as text, redacted too; a slice or map of them is not: a handler that
// writes JSON encodes it. Encode a struct that holds one only where its reader
// may have the secret: on the wire, or in a file that nobody else can read.
type Secret struct{ ath.SecretText }

// NewSecret wraps s.
func NewSecret(s string) Secret { return OpenSecret(ath.NewSecret(s)) }

// OpenSecret makes a secret one that is encoded whole.
func OpenSecret(s ath.Secret) Secret { return Secret{ath.SecretText{Secret: s}} }

// MarshalText opens the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.Reveal()), nil }

// MarshalJSON opens the secret too: that of [ath.Secret] redacts.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.Reveal()) }

// logged is a body with secrets as text, in which they are redacted: a log
// handler that writes JSON would open them.
func logged(body any) slog.Value { return slog.StringValue(fmt.Sprintf("%+v", body)) }

// LogValue redacts the secrets.
func (r RegisterRequest) LogValue() slog.Value { return logged(r) }

// LogValue redacts the secret.
func (r RegisterReply) LogValue() slog.Value { return logged(r) }

// LogValue redacts the secret.
func (r AuthorizeRequest) LogValue() slog.Value { return logged(r) }

// LogValue redacts the secret.
func (r AuthorizeReply) LogValue() slog.Value { return logged(r) }

// LogValue redacts the secrets.
func (r TokenRequest) LogValue() slog.Value { return logged(r) }

// LogValue redacts the secret.
func (r TokenReply) LogValue() slog.Value { return logged(r) }

// LogValue redacts the secrets.
func (r RevokeRequest) LogValue() slog.Value { return logged(r) }

// LogValue redacts the secret.
func (r ExplainRequest) LogValue() slog.Value { return logged(r) }
