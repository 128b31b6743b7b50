package ath

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	mathrand "math/rand/v2"
	"strings"
)

// A Tag groups records that must share one Redis Cluster slot: 16 characters
// of base64url (96 bits). It is not secret and does not count towards the
// entropy of the value that carries it.
type Tag string

const (
	tagBytes   = 12
	tagWidth   = 16
	keyBytes   = 32 // 256 bits: T-3
	keyWidth   = 43
	tokenHead  = "ath_tk_"
	clientHead = "ath_"
	sessHead   = "ath_sess_"
	secretHead = "ath_secret_"
	codeHead   = "ath_code_"
)

// TokenPrefix starts every ATH token. No part of a request but its
// Authorization header may hold it (P-5).
const TokenPrefix = tokenHead

// NewTag returns a random tag.
func NewTag() Tag {
	var b [tagBytes]byte
	rand.Read(b[:])
	return Tag(base64.RawURLEncoding.EncodeToString(b[:]))
}

// ParseTag checks the form of a tag.
func ParseTag(s string) (Tag, error) {
	if len(s) != tagWidth || !isBase64URL(s) {
		return "", ErrMalformed
	}
	return Tag(s), nil
}

// Tag returns the tag of an agent's records. It follows from the id, so that
// the request path can name the agent's key before it has read anything.
func (a AgentID) Tag() Tag { return AgentTag(a.id) }

// AgentTag is [AgentID.Tag] for an agent id that has not been parsed: the
// request path compares ids byte for byte and needs no more.
func AgentTag(agentID string) Tag {
	digest := sum("ath agent\x00", agentID)
	return Tag(base64.RawURLEncoding.EncodeToString(digest[:tagBytes]))
}

// A Digest is the SHA-256 of a bearer value of at least 256 bits of entropy:
// what is stored in place of the value. The zero Digest equals nothing.
type Digest [sha256.Size]byte

// DigestOf hashes a bearer value.
func DigestOf(value string) Digest {
	if value == "" {
		return Digest{}
	}
	return sum(value)
}

// sum is the SHA-256 of the parts, one after the other; of ours without an
// allocation.
func sum(parts ...string) [sha256.Size]byte {
	var room [256]byte
	all := room[:0]
	for _, part := range parts {
		all = append(all, part...)
	}
	return sha256.Sum256(all)
}

// Matches reports in constant time whether value hashes to d. An empty value
// and the zero digest match nothing.
func (d Digest) Matches(value string) bool {
	v := DigestOf(value)
	return value != "" && !d.IsZero() && subtle.ConstantTimeCompare(d[:], v[:]) == 1
}

// IsZero reports whether d is the zero digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns the digest in hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText encodes the digest in hex.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText decodes what MarshalText wrote.
func (d *Digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) {
		return errors.New("digest has the wrong length")
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// A bearer value with a tag: head, 16 characters of tag, '_', 43 characters
// of key. base64url itself uses '_', so it is cut by width, never split.
type tagged struct {
	tag  Tag
	text *string // behind a pointer for the reason that Secret gives
}

func newTagged(head string, tag Tag) tagged {
	s := head + string(tag) + "_" + randomKey()
	return tagged{tag: tag, text: &s}
}

func parseTagged(head, s string) (tagged, bool) {
	if len(s) != len(head)+tagWidth+1+keyWidth || !strings.HasPrefix(s, head) {
		return tagged{}, false
	}
	tag, sep, key := s[len(head):len(head)+tagWidth], s[len(head)+tagWidth], s[len(head)+tagWidth+1:]
	if sep != '_' || !isBase64URL(tag) || !isBase64URL(key) {
		return tagged{}, false
	}
	return tagged{tag: Tag(tag), text: &s}, true
}

func (t tagged) reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

func randomKey() string {
	var b [keyBytes]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func isBase64URL(s string) bool {
	for i := range len(s) {
		if !base64URL[s[i]] {
			return false
		}
	}
	return true
}

// base64URL holds the alphabet of RFC 4648, section 5.
var base64URL = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		in[c] = true
	}
	return in
}()

// ErrMalformed says that a bearer value does not have its form. It never
// holds the value.
var ErrMalformed = errors.New("malformed value")

// A Token is an ATH access token, ath_tk_<tag>_<key>: opaque, 256 bits of
// entropy (T-3). Its tag is that of the connection whose credential it stands
// for. It does not print.
type Token struct{ v tagged }

// NewToken returns a random token of the connection with this tag.
func NewToken(connection Tag) Token { return Token{newTagged(tokenHead, connection)} }

// ParseToken checks the form of a token; it says nothing of its validity.
func ParseToken(s string) (Token, error) {
	v, ok := parseTagged(tokenHead, s)
	if !ok {
		return Token{}, ErrMalformed
	}
	return Token{v}, nil
}

// IsZero reports whether t is no token.
func (t Token) IsZero() bool { return t.v.text == nil }

// Tag returns the tag of the token's connection.
func (t Token) Tag() Tag { return t.v.tag }

// Digest is what is stored of the token.
func (t Token) Digest() Digest { return DigestOf(t.v.reveal()) }

// Secret returns the token for the one reply that hands it out.
func (t Token) Secret() Secret { return NewSecret(t.v.reveal()) }

// String redacts.
func (t Token) String() string { return redacted }

// A SessionID names one authorization, ath_sess_<tag>_<key>. The tag finds
// the session's record, the key proves who asks. It does not print.
type SessionID struct{ v tagged }

// NewSessionID returns a random session id with a random tag.
func NewSessionID() SessionID { return SessionID{newTagged(sessHead, NewTag())} }

// ParseSessionID checks the form of a session id.
func ParseSessionID(s string) (SessionID, error) {
	v, ok := parseTagged(sessHead, s)
	if !ok {
		return SessionID{}, ErrMalformed
	}
	return SessionID{v}, nil
}

// IsZero reports whether s is no session id.
func (s SessionID) IsZero() bool { return s.v.text == nil }

// Tag returns the tag of the session's record.
func (s SessionID) Tag() Tag { return s.v.tag }

// Digest is what is stored of the session id.
func (s SessionID) Digest() Digest { return DigestOf(s.v.reveal()) }

// Secret returns the session id for a reply that hands it out.
func (s SessionID) Secret() Secret { return NewSecret(s.v.reveal()) }

// String redacts.
func (s SessionID) String() string { return redacted }

// A State is our own state parameter towards the provider (Z-2): the
// session's tag and 256 bits that prove the callback. It does not print.
type State struct{ v tagged }

// NewState returns a random state for the session with this tag.
func NewState(session Tag) State { return State{newTagged("", session)} }

// ParseState checks the form of a state parameter.
func ParseState(s string) (State, error) {
	v, ok := parseTagged("", s)
	if !ok {
		return State{}, ErrMalformed
	}
	return State{v}, nil
}

// IsZero reports whether s is no state.
func (s State) IsZero() bool { return s.v.text == nil }

// Tag returns the tag of the session's record.
func (s State) Tag() Tag { return s.v.tag }

// Digest is what is stored of the state.
func (s State) Digest() Digest { return DigestOf(s.v.reveal()) }

// Secret returns the state for the authorization URL.
func (s State) Secret() Secret { return NewSecret(s.v.reveal()) }

// String redacts.
func (s State) String() string { return redacted }

// A ClientID names a registration, ath_<tag>_<random>. It is not secret. Its
// tag is that of the agent's record, so that a registration is one record.
type ClientID struct {
	tag  Tag
	text string
}

const clientRandWidth = 22 // 16 bytes

// NewClientID returns a fresh client id for this agent.
func NewClientID(agent AgentID) ClientID { return NewClientIDOf(agent.Tag()) }

// NewClientIDOf is [NewClientID] for the agent whose records have this tag.
func NewClientIDOf(tag Tag) ClientID {
	var b [16]byte
	rand.Read(b[:])
	return ClientID{tag: tag, text: clientHead + string(tag) + "_" + base64.RawURLEncoding.EncodeToString(b[:])}
}

// ParseClientID checks the form of a client id.
func ParseClientID(s string) (ClientID, error) {
	if len(s) != len(clientHead)+tagWidth+1+clientRandWidth || !strings.HasPrefix(s, clientHead) ||
		s[len(clientHead)+tagWidth] != '_' || !isBase64URL(s[len(clientHead):]) {
		return ClientID{}, ErrMalformed
	}
	return ClientID{tag: Tag(s[len(clientHead) : len(clientHead)+tagWidth]), text: s}, nil
}

// IsZero reports whether c names no registration.
func (c ClientID) IsZero() bool { return c.text == "" }

// Tag returns the tag of the agent's records.
func (c ClientID) Tag() Tag { return c.tag }

// String returns the id.
func (c ClientID) String() string { return c.text }

// NewClientSecret returns a random client_secret of 256 bits.
func NewClientSecret() Secret { return NewSecret(secretHead + randomKey()) }

// NewCode returns a random one-time code of 256 bits (C-6).
func NewCode() Secret { return NewSecret(codeHead + randomKey()) }

// CodeFrom returns the one-time code that follows from a key of 256 bits in
// base64url, which the caller keeps as secret as the code.
func CodeFrom(key string) Secret { return NewSecret(codeHead + key) }

// NewKey returns 256 random bits in base64url: a PKCE verifier (RFC 7636), or
// the key that binds a session to a browser (Z-3).
func NewKey() Secret { return NewSecret(randomKey()) }

// NewDecisionID returns the id under which one decision is logged and
// answered (E-2). It is not secret, and there is one for each request: it only
// has to be unlike all others.
func NewDecisionID() string {
	var random [2 * 8]byte
	binary.LittleEndian.PutUint64(random[:], mathrand.Uint64())
	binary.LittleEndian.PutUint64(random[8:], mathrand.Uint64())
	id := [len("dec_") + tagWidth]byte{'d', 'e', 'c', '_'}
	base64.RawURLEncoding.Encode(id[len("dec_"):], random[:tagBytes])
	return string(id[:])
}
