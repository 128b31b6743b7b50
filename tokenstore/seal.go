package tokenstore

import (
	"encoding/binary"
	"fmt"
)

// version is the first byte of every stored record: the layout of the JSON
// behind it. A record of another version is refused.
const version = 1

// maxRecordBytes bounds a stored record. The largest, an agent with all its
// approvals, stays far below.
const maxRecordBytes = 256 << 10

// sealBytes is what sealing adds: version, key id, nonce and tag.
const sealBytes = 1 + 5 + 24 + 16

// A kind of record, as it is named in keys and in associated data.
type kind string

const (
	agentKind       kind = "agent"
	sessionKind     kind = "session"
	grantKind       kind = "grant"
	connectionKind  kind = "conn"
	grantsKind      kind = "grants" // an index; it holds digests only and is not sealed
	hostsKind       kind = "hosts"
	issuerKind      kind = "issuer"
	endedKind       kind = "ended" // the mark of a session's end; it holds nothing
	connectionsKind kind = "conns" // an index; it holds tags only and is not sealed
	attemptKind     kind = "refresh"
	orderKind       kind = "order" // a mark; it holds nothing but its TTL and is not sealed
	leaseKind       kind = "lease" // it holds a random value and is not sealed
)

// seal encrypts a record for one key. Whatever binding names must be named
// again to open it. The result differs each time, also for equal records:
// compare-and-swap relies on that.
func (k *Keyset) seal(kind kind, key string, plain []byte, binding ...string) (string, error) {
	if len(plain) > maxRecordBytes {
		return "", fmt.Errorf("%s record is longer than %d bytes", kind, maxRecordBytes)
	}
	sealed, err := k.aead.Encrypt(plain, associated(kind, key, binding))
	if err != nil {
		return "", fmt.Errorf("sealing the %s record: %w", kind, err)
	}
	return string(append([]byte{version}, sealed...)), nil
}

// open is the reverse of seal. All that can be wrong is ErrCorrupt.
func (k *Keyset) open(kind kind, key, stored string, binding ...string) ([]byte, error) {
	switch {
	case stored == "":
		return nil, fmt.Errorf("%w: the %s record is empty", ErrCorrupt, kind)
	case stored[0] != version:
		return nil, fmt.Errorf("%w: the %s record has version %d, this athd knows version %d", ErrCorrupt, kind, stored[0], version)
	case len(stored) > 2*maxRecordBytes:
		return nil, fmt.Errorf("%w: the %s record is longer than any that we wrote", ErrCorrupt, kind)
	}
	plain, err := k.aead.Decrypt([]byte(stored[1:]), associated(kind, key, binding))
	if err != nil {
		return nil, fmt.Errorf("%w: the %s record does not open: another keyset, another place, or tampered with", ErrCorrupt, kind)
	}
	return plain, nil
}

// associated returns version || kind || 0 || key || (length || value)*. Neither
// kinds nor keys hold a zero byte, and each kind has a fixed number of values,
// so that no two places share their associated data.
func associated(kind kind, key string, binding []string) []byte {
	out := append([]byte{version}, kind...)
	out = append(append(out, 0), key...)
	for _, value := range binding {
		out = binary.BigEndian.AppendUint32(out, uint32(len(value)))
		out = append(out, value...)
	}
	return out
}
