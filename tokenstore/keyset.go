package tokenstore

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

const maxKeysetBytes = 64 << 10

// A Keyset holds the keys that records are sealed with: one that seals, and
// any number that still open. All replicas must have the same one. It does
// not print its keys. The zero Keyset is refused by [Open].
type Keyset struct {
	handle *keyset.Handle
	aead   tink.AEAD
	// The primary's first: see userTags and sharedTags. tagKeys are their ids.
	userKeys, sharedKeys [][]byte
	tagKeys              []uint32
}

// NewKeyset returns a keyset with one fresh key.
//
// The key is XAES-256-GCM: its nonces have 192 bits and may be drawn at random
// without a limit, while AES-GCM with its 96 bits should not seal more than 2^32
// records per key, which the replicas of a busy installation, which do not share
// a counter, could reach.
func NewKeyset() (*Keyset, error) {
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making a keyset: %w", err)
	}
	return newKeyset(handle)
}

// ParseKeyset reads what [Keyset.Marshal] wrote, or any other AEAD keyset of
// Tink's as cleartext JSON. Its errors hold nothing of the input.
func ParseKeyset(data []byte) (*Keyset, error) {
	if len(data) > maxKeysetBytes {
		return nil, fmt.Errorf("keyset is longer than %d bytes", maxKeysetBytes)
	}
	// The parser's own error may quote the key, so it is dropped.
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		return nil, errors.New("keyset is not a valid Tink keyset in JSON")
	}
	return newKeyset(handle)
}

func newKeyset(handle *keyset.Handle) (*Keyset, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("keyset holds a key that is not for AEAD")
	}
	k := &Keyset{handle: handle, aead: primitive}
	return k, k.deriveUserKeys()
}

// Marshal returns the keyset as JSON with its keys in the clear: for a file of
// mode 0600 and nothing else.
func (k *Keyset) Marshal() ([]byte, error) {
	if k.isZero() {
		return nil, errors.New("keyset is empty")
	}
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&out)); err != nil {
		return nil, fmt.Errorf("writing the keyset: %w", err)
	}
	return out.Bytes(), nil
}

// Derive returns a key for another use than sealing, which follows from the keyset: it
// is the same for all who have the same one, and tells nothing of it.
func (k *Keyset) Derive(use string) ([]byte, error) {
	keys, err := k.Marshal()
	if err != nil {
		return nil, err
	}
	// Two builds of athd write the same keys with other spaces.
	var compact bytes.Buffer
	if err := json.Compact(&compact, keys); err != nil {
		return nil, errors.New("keyset is not written as JSON")
	}
	mac := hmac.New(sha256.New, compact.Bytes())
	mac.Write([]byte(use))
	return mac.Sum(nil), nil
}

// Format prints how many keys there are and which one seals, whatever the verb.
func (k Keyset) Format(f fmt.State, _ rune) {
	if k.isZero() {
		fmt.Fprint(f, "keyset(empty)")
		return
	}
	fmt.Fprintf(f, "keyset(%d keys, primary %d)", k.handle.Len(), k.handle.KeysetInfo().GetPrimaryKeyId())
}

// MarshalJSON refuses: a keyset is written by [Keyset.Marshal], on purpose,
// and never as part of something else.
func (k Keyset) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a keyset is not part of any JSON")
}

func (k *Keyset) isZero() bool { return k == nil || k.handle == nil || k.aead == nil }
