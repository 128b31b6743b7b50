package ath

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
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

// TokenPrefix starts every ATH token. No part of a request other than its
// Authorization header may contain it (P-5).
const TokenPrefix = tokenHead

// HasTokenPrefix reports whether s begins, in any case, as an ATH token or a renewal
// token does. It allocates nothing.
func HasTokenPrefix[T string | []byte](s T) bool {
	return len(s) >= len(tokenHead) && (isHead(s, tokenHead) || isHead(s, renewalHead))
}

func isHead[T string | []byte](s T, head string) bool {
	for i := range len(head) {
		if c := s[i]; c != head[i] && (c < 'A' || c > 'Z' || c+'a'-'A' != head[i]) {
			return false
		}
	}
	return true
}

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

// Tag returns the tag of an agent's records. It is derived from the id, so that a
// decision can read the agent's key without reading anything before.
func (a AgentID) Tag() Tag { return AgentTag(a.id) }

// AgentTag is [AgentID.Tag] for an agent id that has not been parsed: the
// decisions compare ids byte for byte and need no more.
func AgentTag(agentID string) Tag {
	digest := sum("ath agent\x00", agentID)
	return Tag(base64.RawURLEncoding.EncodeToString(digest[:tagBytes]))
}

// tagged is a bearer value with a tag: head, 16 characters of tag, '_', 43
// characters of key. base64url itself uses '_', so it is cut by width, not split.
type tagged struct {
	tag  Tag
	text *string // behind a pointer, as in Secret
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

// base64URL is the alphabet of RFC 4648, section 5.
var base64URL = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		in[c] = true
	}
	return in
}()

// ErrMalformed is returned for a bearer value that is not of its form. It never
// contains the value.
var ErrMalformed = errors.New("malformed value")

// A Token is an ATH access token, ath_tk_<tag>_<key>: opaque, 256 bits of
// entropy (T-3). Its tag is that of the connection whose credential is used for
// it. It prints as redacted.
type Token struct{ v tagged }

// NewToken returns a random token of the connection with this tag.
func NewToken(connection Tag) Token { return Token{newTagged(tokenHead, connection)} }

// ParseToken checks the form of a token, not whether it is valid.
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

// Secret returns the token, for the one reply that contains it.
func (t Token) Secret() Secret { return NewSecret(t.v.reveal()) }

// String redacts.
func (t Token) String() string { return redacted }

// NewClientSecret returns a random client_secret of 256 bits.
func NewClientSecret() Secret { return NewSecret(secretHead + randomKey()) }

// NewCode returns a random one-time code of 256 bits (C-6).
func NewCode() Secret { return NewSecret(codeHead + randomKey()) }

// CodeFrom returns the one-time code that is derived from a key of 256 bits in
// base64url; the key must be kept as secret as the code.
func CodeFrom(key string) Secret { return NewSecret(codeHead + key) }

// NewKey returns 256 random bits in base64url: a PKCE verifier (RFC 7636), or
// the key that binds a session to a browser (Z-3).
func NewKey() Secret { return NewSecret(randomKey()) }

// NewDecisionID returns the id under which one decision is logged and
// answered (E-2). It is not secret: it must be unique, and cheap, since each request
// has one.
func NewDecisionID() string {
	var random [2 * 8]byte
	binary.LittleEndian.PutUint64(random[:], mathrand.Uint64())
	binary.LittleEndian.PutUint64(random[8:], mathrand.Uint64())
	id := [len("dec_") + tagWidth]byte{'d', 'e', 'c', '_'}
	base64.RawURLEncoding.Encode(id[len("dec_"):], random[:tagBytes])
	return string(id[:])
}
