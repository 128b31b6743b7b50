package tokenstore

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/athd/athd/ath"
)

const (
	ownerKind     kind = "owner"
	userConnsKind kind = "user-conns" // an index; it holds tags only and is not sealed
	userEndedKind kind = "user-ended" // a mark; it holds a time and is not sealed
)

// An owner says whose a connection is, beside the connection, which opens for
// nobody else: so that an operator finds it who has no token. It holds a user's
// id, and is sealed as all records are. Nothing is decided by it, and it may be
// lost: then the grants tell.
type owner struct {
	Agent    string `json:"agent"` // "": the user's agents share it
	User     string `json:"user"`
	Provider string `json:"p"`
	Used     int64  `json:"used,omitzero"` // Unix seconds of a call, some minutes apart; 0: none is known
}

func (s *Store) sealOwner(tag ath.Tag, o owner) (key, sealed string, err error) {
	if key, err = ownerKey(tag); err != nil {
		return "", "", err
	}
	plain, err := encode(o)
	if err != nil {
		return "", "", err
	}
	sealed, err = s.keys.seal(ownerKind, key, plain)
	return key, sealed, err
}

func (s *Store) openOwner(key, raw string) (owner, error) {
	plain, err := s.open(ownerKind, key, raw)
	if err != nil {
		return owner{}, err
	}
	return decode[owner](ownerKind, plain)
}

func ownerKey(tag ath.Tag) (string, error) { return key(tag, string(ownerKind)) }

// userTags are the tags of a user's index and marks, one for each key of the
// keyset, the primary's first: what is written goes to the first, and what is
// looked for may be below any. They tell nothing about the user to who has no
// key. As records do, entries end with the key that they were made with.
func (k *Keyset) userTags(user string) []ath.Tag {
	tags := make([]ath.Tag, len(k.userKeys))
	for i, key := range k.userKeys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(user))
		tags[i] = ath.Tag(base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12]))
	}
	return tags
}

// sharedTags are the tags that the connection of a user at a provider can have which
// the user's agents share, one for each key of the keyset, the primary's first. Who
// computes them on any replica gets the same. Another destination is another connection (O-2).
func (k *Keyset) sharedTags(user, provider, destination string) []ath.Tag {
	tags := make([]ath.Tag, len(k.sharedKeys))
	for i, key := range k.sharedKeys {
		mac := hmac.New(sha256.New, key)
		for _, part := range []string{user, provider, destination} {
			mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
			mac.Write([]byte(part))
		}
		tags[i] = ath.Tag(base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12]))
	}
	return tags
}

// deriveUserKeys makes, of each key that opens records, a key for users' ids and
// one for the connections that users' agents share.
func (k *Keyset) deriveUserKeys() error {
	all := insecurecleartextkeyset.KeysetMaterial(k.handle)
	for _, of := range all.GetKey() {
		if of.GetStatus() != tinkpb.KeyStatusType_ENABLED {
			continue
		}
		at := len(k.tagKeys)
		if of.GetKeyId() == all.GetPrimaryKeyId() {
			at = 0
		}
		k.tagKeys = slices.Insert(k.tagKeys, at, of.GetKeyId())
		for purpose, keys := range map[string]*[][]byte{"athd: ids of users, v1": &k.userKeys, "athd: shared connections, v1": &k.sharedKeys} {
			key, err := hkdf.Key(sha256.New, of.GetKeyData().GetValue(), nil, purpose, sha256.Size)
			if err != nil {
				return fmt.Errorf("deriving a key for users' ids: %w", err)
			}
			*keys = slices.Insert(*keys, at, key)
		}
	}
	return nil
}
