package tokenstore

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/athd/athd/ath"
)

// A ChangeKind says what a change is of. There may be kinds that this athd does
// not know, of one that is newer.
type ChangeKind string

const (
	// Everything says that anything that is remembered may be wrong.
	Everything ChangeKind = "everything"
	// AgentChanged says that the registration with the change's Tag was changed or removed.
	AgentChanged ChangeKind = "agent"
	// GrantEnded says that the grant of the token with this Tag and Digest was revoked.
	GrantEnded ChangeKind = "grant"
	// RenewalEnded says that the renewal of the token with this Tag and Digest was revoked.
	RenewalEnded ChangeKind = "renewal"
	// ConnectionEnded says that the user's tokens with this Tag are gone, that the
	// provider has ended them, or that they can do less since a refresh.
	ConnectionEnded ChangeKind = "connection"
	// IssuerChanged says that what is remembered of the issuer with this Tag is another.
	IssuerChanged ChangeKind = "issuer"
	// ProviderChanged says that the run-time provider with this Tag, see [ProviderTag],
	// was added, changed or removed.
	ProviderChanged ChangeKind = "provider"
)

// ChangeKinds are those that this athd knows.
func ChangeKinds() []ChangeKind {
	return []ChangeKind{Everything, AgentChanged, GrantEnded, RenewalEnded, ConnectionEnded, IssuerChanged, ProviderChanged}
}

// A Change is one entry of the feed.
type Change struct {
	// Generation is its place in the feed; each entry has the next one. 0: it was
	// heard of before it has a place.
	Generation uint64
	Kind       ChangeKind
	Tag        ath.Tag    // of the records that changed; "" of Everything
	Digest     ath.Digest // of the token of a grant, or a renewal; zero for all else
}

// A Feed says how the change feed does.
type Feed struct {
	// Generation is that of the last change that was seen.
	Generation uint64
	// Notified: changes come at once. Without it they are found by comparing,
	// each second.
	Notified bool
	// Forbidden: the ACL does not let athd subscribe or publish.
	Forbidden bool
	// Current: every change that was made before has been handed to each Watch.
	// Zero if none ever was.
	Current time.Time
	// Unwritten is how many changes of this athd are not in the log yet.
	Unwritten int
}

// An announcement is a change as it stands in the log, unique by its last part:
//
//	kind:tag:digest:nonce
type announcement string

// MarshalBinary lets the client send it.
func (a announcement) MarshalBinary() ([]byte, error) { return []byte(a), nil }

// nonceLength is in letters of five bits: enough that no two changes of the same
// record, among those that the log holds, are taken for one.
const nonceLength = 13

// announce makes one up. digest is in hex, or "".
func announce(kind ChangeKind, tag ath.Tag, digest string) announcement {
	return announcement(string(kind) + ":" + string(tag) + ":" + digest + ":" + rand.Text()[:nonceLength])
}

var errNoChange = errors.New("the entry of the change feed is of no known form")

// change reads an announcement, which anybody may have written who can write to
// Redis.
func (a announcement) change(generation uint64) (Change, error) {
	if len(a) > maxAnnouncement {
		return Change{}, errNoChange
	}
	parts := strings.Split(string(a), ":")
	if len(parts) != 4 || parts[0] == "" || parts[3] == "" {
		return Change{}, errNoChange
	}
	c := Change{Generation: generation, Kind: ChangeKind(parts[0])}
	if parts[1] != "" {
		tag, err := ath.ParseTag(parts[1])
		if err != nil {
			return Change{}, errNoChange
		}
		c.Tag = tag
	}
	if parts[2] != "" {
		if len(parts[2]) != 2*len(c.Digest) {
			return Change{}, errNoChange
		}
		if _, err := hex.Decode(c.Digest[:], []byte(parts[2])); err != nil {
			return Change{}, errNoChange
		}
	}
	if c.Kind != Everything && c.Tag == "" || (c.Kind == GrantEnded || c.Kind == RenewalEnded) && c.Digest.IsZero() {
		return Change{}, errNoChange
	}
	return c, nil
}

// maxAnnouncement is in bytes, and far more than any of ours.
const maxAnnouncement = 256
