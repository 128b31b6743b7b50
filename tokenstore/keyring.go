package tokenstore

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/athd/athd/ath"
)

// A keyring holds the keyset of a Store, which is replaced as a whole while
// operations go on: each asks for it once for each record that it seals or opens.
type keyring struct{ current atomic.Pointer[Keyset] }

func (r *keyring) now() *Keyset { return r.current.Load() }

func (r *keyring) seal(kind kind, key string, plain []byte, binding ...string) (string, error) {
	return r.now().seal(kind, key, plain, binding...)
}

func (r *keyring) open(kind kind, key, stored string, binding ...string) ([]byte, error) {
	return r.now().open(kind, key, stored, binding...)
}

func (r *keyring) userTags(user string) []ath.Tag { return r.now().userTags(user) }

func (r *keyring) sharedTags(user, provider, destination string) []ath.Tag {
	return r.now().sharedTags(user, provider, destination)
}

// Keyset is the keyset in use.
func (s *Store) Keyset() *Keyset { return s.keys.now() }

// A LockoutError says why a keyset was not taken: what the one in use opens would
// be lost.
type LockoutError struct{ Why string }

func (e *LockoutError) Error() string { return "the keyset is refused: " + e.Why }

// UseKeyset replaces the keyset, for whatever begins from now on; what is under
// way is not disturbed. It changes nothing and fails
//
//   - with a [*LockoutError] where the next one lacks a key that is needed, or has another one of its id: the one
//     that sealed the canary, or one that the present one has, that was not retired
//     (see [Store.MarkRetired]) and that [Store.KeyUses] or another athd needs; or
//     where it seals with one that was retired;
//   - with ErrUnavailable where this takes an answer of the store and there is none.
//
// One that has all keys of the present one, and seals with the same, locks nothing
// out, and is taken without an answer. Records that were decrypted with a key that went are forgotten.
func (s *Store) UseKeyset(ctx context.Context, next *Keyset) error {
	if next.isZero() {
		return errors.New("store: the keyset is empty")
	}
	present := s.keys.now()
	gone := present.without(next)
	if len(gone) > 0 || next.Primary() != present.Primary() {
		missed, err := s.missed(ctx, next, gone)
		if err == nil && len(missed) > 0 {
			err = s.needed(ctx, next, missed)
		}
		if err != nil {
			return err
		}
	}
	s.keys.current.Store(next)
	s.resealed.Store(false)
	if len(gone) > 0 {
		s.grants.forgetAll()
		s.connections.forgetAll()
		s.agents.forgetAll()
	}
	return nil
}

// without lists the keys that open with k and not with next.
func (k *Keyset) without(next *Keyset) []uint32 {
	var gone []uint32
	for _, key := range k.Keys() {
		if other, there := next.Key(key.ID); key.Enabled && !(there && other.Enabled && k.sameKey(next, key.ID)) {
			gone = append(gone, key.ID)
		}
	}
	return gone
}

// sameKey reports whether both have one key of this id: its bytes are the key, which
// a file can have wrong though it reads well.
func (k *Keyset) sameKey(as *Keyset, id uint32) bool {
	mine, theirs := k.material(id), as.material(id)
	return mine.GetOutputPrefixType() == theirs.GetOutputPrefixType() &&
		mine.GetKeyData().GetTypeUrl() == theirs.GetKeyData().GetTypeUrl() &&
		subtle.ConstantTimeCompare(mine.GetKeyData().GetValue(), theirs.GetKeyData().GetValue()) == 1
}

func (k *Keyset) material(id uint32) *tinkpb.Keyset_Key {
	for _, key := range insecurecleartextkeyset.KeysetMaterial(k.handle).GetKey() {
		if key.GetKeyId() == id {
			return key
		}
	}
	return nil
}

// missed are those of the keys that would go which nobody has retired. It fails with
// a LockoutError if the next keyset is none for what is stored.
func (s *Store) missed(ctx context.Context, next *Keyset, gone []uint32) ([]uint32, error) {
	var missed []uint32
	var lockout *LockoutError
	err := s.do(ctx, opKeyset, func(ctx context.Context) error {
		seen, err := s.seals(ctx)
		if err != nil {
			return err
		}
		if foreign := next.foreign(seen); foreign != nil {
			lockout = &LockoutError{foreign.Error()}
			return nil
		}
		if s.keys.now().foreign(seen) != nil {
			return nil //nolint:nilerr // the keyset in use opens nothing, so that nothing is lost with it
		}
		// One that does not open permits nothing: then it is looked who needs a key.
		retired, _ := s.openRetired(seen.retired)
		missed = slices.DeleteFunc(slices.Clone(gone), retired.has)
		return nil
	})
	if err == nil && lockout != nil {
		err = lockout
	}
	return missed, err
}

// needed is a LockoutError if a record, or another athd, needs one of these keys.
func (s *Store) needed(ctx context.Context, next *Keyset, missed []uint32) error {
	const hint = " (athd keys status says what)"
	lacks := func(ids []uint32) string {
		if slices.ContainsFunc(ids, func(id uint32) bool { key, there := next.Key(id); return there && key.Enabled }) {
			return "it has another key in the place of " + keyNames(ids)
		}
		return "it lacks " + keyNames(ids)
	}
	others, err := s.Replicas(ctx)
	if err != nil {
		return err
	}
	for _, r := range others {
		if r.ID != s.id && slices.Contains(missed, r.Primary) {
			return &LockoutError{lacks([]uint32{r.Primary}) + ", which another athd seals with" + hint}
		}
	}
	uses, err := s.KeyUses(ctx)
	if err != nil {
		return err
	}
	used := slices.DeleteFunc(slices.Clone(missed), uses.Unused)
	if len(used) > 0 {
		return &LockoutError{lacks(used) + ", which what is stored needs" + hint}
	}
	return nil
}

// KeyName is how a key is called in what people read: by its id.
func KeyName(id uint32) string { return "key " + strconv.FormatUint(uint64(id), 10) }

func keyNames(ids []uint32) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = KeyName(id)
	}
	return strings.Join(names, ", ")
}

// describe says which keys a keyset has, for people.
func (k *Keyset) describe() string {
	var parts []string
	for _, key := range k.Keys() {
		switch text := KeyName(key.ID); {
		case key.Primary:
			parts = append(parts, text+" (seals)")
		case !key.Enabled:
			parts = append(parts, text+" (disabled)")
		default:
			parts = append(parts, text)
		}
	}
	return fmt.Sprintf("this one has %s", strings.Join(parts, ", "))
}
