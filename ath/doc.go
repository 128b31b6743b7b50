// Package ath holds the words that every room of athd uses: who an agent is
// ([AgentID]), what it may do ([Scopes]), the bearer values that it holds
// ([Token], [ClientID], [SessionID]) and their [Digest], values that must
// never print ([Secret]), and the error codes of the wire ([Code], [Error]).
//
// Everything that comes from outside enters through a Parse function and is
// trusted to be well-formed afterwards; every zero value is invalid and equals
// nothing. The package imports only the standard library.
package ath

// Version is the version of the Agent Trust Handshake protocol that athd
// speaks (D-1).
const Version = "0.1"
