package tokenstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

// MaxKeys bounds the keys of a keyset that [Keyset.Add] makes: what is found by a
// user's id is looked for below each.
const MaxKeys = 8

// Why a keyset cannot be edited as asked.
var (
	// ErrNoSuchKey: the keyset has no key of this id.
	ErrNoSuchKey = errors.New("the keyset has no such key")
	// ErrKeySeals: the key seals, and nothing would without it.
	ErrKeySeals = errors.New("the key is the one that seals")
	// ErrKeyDisabled: the key is in the keyset, but neither seals nor opens.
	ErrKeyDisabled = errors.New("the key is disabled")
	// ErrKeysFull: the keyset has [MaxKeys] keys.
	ErrKeysFull = errors.New("the keyset has as many keys as it may")
)

// A Key is what may be told of a key: all but itself.
type Key struct {
	ID uint32 `json:"id"`
	// Primary: it seals. The others only open.
	Primary bool `json:"primary"`
	// Enabled: it opens what it has sealed; else it is of no use to athd.
	Enabled bool `json:"enabled"`
	// Named: records say that it sealed them. Keys that athd makes are; of those
	// that somebody else made without an id (RAW) nobody can say what they sealed.
	Named bool `json:"named"`
}

// Keys lists the keys, in the order in which they came.
func (k *Keyset) Keys() []Key {
	if k.isZero() {
		return nil
	}
	info := k.handle.KeysetInfo()
	out := make([]Key, 0, len(info.GetKeyInfo()))
	for _, of := range info.GetKeyInfo() {
		out = append(out, Key{
			ID:      of.GetKeyId(),
			Primary: of.GetKeyId() == info.GetPrimaryKeyId(),
			Enabled: of.GetStatus() == tinkpb.KeyStatusType_ENABLED,
			Named:   of.GetOutputPrefixType() == tinkpb.OutputPrefixType_TINK,
		})
	}
	return out
}

// Key returns one of [Keyset.Keys].
func (k *Keyset) Key(id uint32) (Key, bool) {
	for _, key := range k.Keys() {
		if key.ID == id {
			return key, true
		}
	}
	return Key{}, false
}

// Primary is the id of the key that seals.
func (k *Keyset) Primary() uint32 {
	if k.isZero() {
		return 0
	}
	return k.handle.KeysetInfo().GetPrimaryKeyId()
}

// Add returns the keyset with a fresh key, which opens and does not seal yet: so
// that every replica can have it before any seals with it.
func (k *Keyset) Add() (*Keyset, uint32, error) {
	if len(k.Keys()) >= MaxKeys {
		return nil, 0, ErrKeysFull
	}
	var id uint32
	next, err := k.edited(func(m *keyset.Manager) (err error) {
		id, err = m.Add(aead.XAES256GCM192BitNonceKeyTemplate())
		return err
	})
	return next, id, err
}

// Promote returns the keyset with this key as the one that seals. The one that
// did goes on opening.
func (k *Keyset) Promote(id uint32) (*Keyset, error) {
	switch key, ok := k.Key(id); {
	case !ok:
		return nil, ErrNoSuchKey
	case !key.Enabled:
		return nil, ErrKeyDisabled
	}
	return k.edited(func(m *keyset.Manager) error { return m.SetPrimary(id) })
}

// Retire returns the keyset without this key: what it sealed is lost with it.
func (k *Keyset) Retire(id uint32) (*Keyset, error) {
	switch key, ok := k.Key(id); {
	case !ok:
		return nil, ErrNoSuchKey
	case key.Primary:
		return nil, ErrKeySeals
	}
	return k.edited(func(m *keyset.Manager) error { return m.Delete(id) })
}

func (k *Keyset) edited(edit func(*keyset.Manager) error) (*Keyset, error) {
	if k.isZero() {
		return nil, errors.New("keyset is empty")
	}
	m := keyset.NewManagerFromHandle(k.handle)
	if err := edit(m); err != nil {
		return nil, fmt.Errorf("editing the keyset: %w", err)
	}
	handle, err := m.Handle()
	if err != nil {
		return nil, fmt.Errorf("editing the keyset: %w", err)
	}
	return newKeyset(handle)
}

// sealedBy is the id of the key that a stored record says it was sealed with.
// False: it names none, as what a key without an id (RAW) has sealed, or it is no
// record.
func sealedBy(stored string) (id uint32, named bool) {
	const tinkPrefix = 1 // then the key's id
	if len(stored) < 6 || stored[0] != version || stored[1] != tinkPrefix {
		return 0, false
	}
	return binary.BigEndian.Uint32([]byte(stored[2:6])), true
}
