package tokenstore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/athd/athd/ath"
)

// How long records stay after they are of use.
const (
	agentUndecided      = 7 * 24 * time.Hour   // a pending or denied registration, from its last write
	agentAfterwards     = 30 * 24 * time.Hour  // others, after their approval ends
	agentOperatorDenied = 120 * 24 * time.Hour // at least, from its last write, where an operator denied something
	sessionLinger       = 10 * time.Minute     // so that a late callback is answered "expired"
	grantLinger         = 24 * time.Hour       // so that a late call is answered "expired" or "revoked" (P-1), unless configured
)

// longest bounds every TTL, well below where milliseconds overflow.
const longest = 100 * 365 * 24 * time.Hour

// clockSkew is how far the clocks of two replicas may differ before the index
// of a connection's grants is trimmed wrongly.
const clockSkew = 5 * time.Minute

// noTTL is for the one kind of record that does not expire: a suspended agent,
// which must not be forgotten by waiting.
const noTTL = 0

var errNoTag = errors.New("tag is not of the form that ath makes")

// key returns "ath:{tag}:part[:part]". A tag that is not one would group keys
// wrongly, or not at all: Redis ignores empty braces.
func key(tag ath.Tag, parts ...string) (string, error) {
	var buf [128]byte
	out, err := appendKey(buf[:0], tag, parts...)
	return string(out), err
}

func appendKey(out []byte, tag ath.Tag, parts ...string) ([]byte, error) {
	if _, err := ath.ParseTag(string(tag)); err != nil {
		return nil, errNoTag
	}
	out = append(append(append(out, "ath:{"...), tag...), '}')
	for _, part := range parts {
		out = append(append(out, ':'), part...)
	}
	return out, nil
}

// onceKey holds the value's digest: the value may be long, and may be a secret.
func onceKey(tag ath.Tag, what, value string) (string, error) {
	if _, taken := formOf(kind(what)); taken || what == "" {
		return "", errors.New("what is used once needs a name of its own")
	}
	for _, c := range []byte(what) {
		if !('a' <= c && c <= 'z' || c == '-') {
			return "", errors.New("what is used once is named in lower-case letters")
		}
	}
	sum := sha256.Sum256([]byte(value))
	return key(tag, what, hex.EncodeToString(sum[:]))
}

// connectionKeys are the keys of one grant and its connection, all in one slot.
type connectionKeys struct {
	tag               ath.Tag
	connection, grant string
}

// grants is the key of the index of the connection's grants.
func (k connectionKeys) grants() string {
	grants, _ := key(k.tag, string(grantsKind)) // the tag is one: see keysOf
	return grants
}

func keysOf(token ath.Token) (connectionKeys, error) {
	return keysOfDigest(token.Tag(), token.Digest())
}

// keysOfDigest is keysOf for a token of which only tag and digest are known.
func keysOfDigest(tag ath.Tag, digest ath.Digest) (connectionKeys, error) {
	connection, err := key(tag, string(connectionKind))
	if err != nil || digest.IsZero() {
		return connectionKeys{}, errNoTag
	}
	var buf [128]byte
	grant, _ := appendKey(buf[:0], tag, string(grantKind), "")
	return connectionKeys{tag, connection, string(hex.AppendEncode(grant, digest[:]))}, nil
}

// ttl returns the milliseconds until a record may expire, rounded up, never less
// than one: zero and negative numbers would mean that it never does.
func (s *Store) ttl(until time.Time) int64 {
	left := min(until.Sub(s.now()), longest)
	return max(1, int64((left+time.Millisecond-1)/time.Millisecond))
}

func (s *Store) agentTTL(a *Agent) int64 {
	var ttl int64
	switch a.Standing() {
	case Suspended:
		return noTTL
	case Approved:
		ttl = s.ttl(a.ApprovalExpires.Add(agentAfterwards))
	default:
		ttl = s.ttl(s.now().Add(agentUndecided))
	}
	if a.HasOperatorDenial() { // what an operator denied must not be forgotten after a week
		ttl = max(ttl, s.ttl(s.now().Add(agentOperatorDenied)))
	}
	return ttl
}
