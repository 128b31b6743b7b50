package ath

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
)

// A SessionID names one authorization, ath_sess_<tag>_<key>. The tag finds
// the session's record, the key authenticates who sends it. It prints as redacted.
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

// Secret returns the session id, for a reply that contains it.
func (s SessionID) Secret() Secret { return NewSecret(s.v.reveal()) }

// String redacts.
func (s SessionID) String() string { return redacted }

// A State is athd's own state parameter towards the provider (Z-2): the session's
// tag and 256 bits that authenticate the callback. It prints as redacted.
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

// A ConnectionID names a connection to operators, ath_conn_<tag>. It is not
// secret, and opens nothing.
type ConnectionID struct{ tag Tag }

const connectionHead = "ath_conn_"

// NewConnectionID returns the id of the connection whose records have this tag.
func NewConnectionID(tag Tag) ConnectionID { return ConnectionID{tag} }

// ParseConnectionID checks the form of a connection's id.
func ParseConnectionID(s string) (ConnectionID, error) {
	rest, ok := strings.CutPrefix(s, connectionHead)
	if !ok {
		return ConnectionID{}, ErrMalformed
	}
	tag, err := ParseTag(rest)
	return ConnectionID{tag}, err
}

// IsZero reports whether c names no connection.
func (c ConnectionID) IsZero() bool { return c.tag == "" }

// Tag returns the tag of the connection's records.
func (c ConnectionID) Tag() Tag { return c.tag }

// String returns the id; "" for none.
func (c ConnectionID) String() string {
	if c.IsZero() {
		return ""
	}
	return connectionHead + string(c.tag)
}
