// Package ath defines the protocol's vocabulary: identifiers ([AgentID],
// [ClientID], [SessionID]), bearer values ([Token]) and their [Digest], values that
// must never be printed ([Secret]), [Scopes], hosts ([Host], [HostPattern]), the
// paths that athd answers ([Paths]), and error codes ([Code], [Error]).
//
// Input from outside is read by a Parse function and is well-formed afterwards;
// every zero value is invalid and equals nothing. The package imports only the
// standard library.
package ath

// Version is the version of the Agent Trust Handshake protocol that athd
// speaks (D-1).
const Version = "0.1"
