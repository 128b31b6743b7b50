// Package audit writes one event per decision (U-1): who asked for what, what
// came of it and under which decision_id. Events hold no token, code, secret
// or cookie: there is no field for one.
//
// An event is written before what it reports is acknowledged. Where it cannot
// be written, because the disk is full or away, what grants rights is refused
// (fail closed, [Log.Commit]), and what revokes them is done all the same, as
// are calls and refusals ([Log.Record]): their events wait in memory and are
// tried again. Requests of agents that were allowed are never waited for: there
// are as many as the APIs have calls, and a write for each would cost as much as
// the decision. They are batched for [Config].Late, and are the first that are
// dropped where too many wait, which is counted.
package audit

import (
	"time"

	"github.com/athd/athd/ath"
)

// A Kind names what happened (U-1).
type Kind string

// The kinds of events.
const (
	AgentRegistered         Kind = "agent_registered"
	AgentRegistrationDenied Kind = "agent_registration_denied"
	AttestationFailed       Kind = "attestation_failed"
	AuthorizationStarted    Kind = "authorization_started"
	AccessGranted           Kind = "access_granted"
	AccessDenied            Kind = "access_denied"
	TokenRevoked            Kind = "token_revoked"
	ProxyRequest            Kind = "proxy_request"
	ScopeViolation          Kind = "scope_violation"
)

// The kinds of actions on a registration, beyond U-1's decisions: by an operator
// ([Event].By), or, agent_removed, by the agent itself. Their scopes are what
// the registration holds afterwards.
const (
	AgentApproved  Kind = "agent_approved"
	AgentDenied    Kind = "agent_denied"
	AgentSuspended Kind = "agent_suspended"
	AgentResumed   Kind = "agent_resumed"
	AgentRemoved   Kind = "agent_removed"
)

// The kinds of ends of what users allowed, by an operator: of one connection, and
// of all that a user has at a provider, or at all of them.
const (
	ConnectionEnded Kind = "connection_ended"
	UserEnded       Kind = "user_ended"
)

// ConnectionRefreshAsked is an operator's wish that a connection's token be
// refreshed now, on record before it is done. What comes of it has the event of
// any refresh.
const ConnectionRefreshAsked Kind = "connection_refresh_asked"

// The kinds of actions on all agents of some hosts, by an operator.
const (
	HostSuspended Kind = "host_suspended"
	HostResumed   Kind = "host_resumed"
)

// The kinds of what happens to a user's token at the provider, without a request:
// it was refreshed, or the provider refused to and ended the grant.
const (
	ConnectionRefreshed Kind = "connection_refreshed"
	ConnectionCondemned Kind = "connection_condemned"
	// ConnectionHealed: the provider had ended it, and the same user has allowed the
	// same again (P-10).
	ConnectionHealed Kind = "connection_healed"
	// ConnectionRevoked and RevocationFailed are of connections that have ended: the
	// provider has ended the grant too, or nobody tells it any more.
	ConnectionRevoked Kind = "connection_revoked"
	RevocationFailed  Kind = "revocation_failed"
)

// CredentialEchoed says that the head of an API's reply to an agent held the user's
// token, which was taken out.
const CredentialEchoed Kind = "credential_echoed"

// What becomes of endpoints that an issuer names: later metadata moves them to
// another host, which is not followed; an operator accepts that.
const (
	EndpointsMoved    Kind = "endpoints_moved"
	EndpointsAccepted Kind = "endpoints_accepted"
)

// The kinds of an operator's actions on providers that are added while athd runs
// (O-1). Before and After say what changed.
const (
	ProviderAdded   Kind = "provider_added"
	ProviderChanged Kind = "provider_changed"
	ProviderRemoved Kind = "provider_removed"
	// ProviderDrained says that the last connection of a provider that was removed has
	// ended, and is revoked as far as it can be.
	ProviderDrained Kind = "provider_drained"
)

// StreamEnded is that a call which was allowed, and went on, was ended: what it held
// is gone. Reason says what.
const StreamEnded Kind = "stream_ended"

// RecordUnreadable is that a stored record did not open. It was moved or copied from
// another key or user, changed, or sealed by another keyset or version of athd.
const RecordUnreadable Kind = "record_unreadable"

// KeysetChanged is that an athd has taken another keyset while it ran, with other
// keys or another one that seals.
const KeysetChanged Kind = "keyset_changed"

// ConfigChanged is that an athd has taken another configuration while it ran, and
// ConfigRefused that it has not, since that would be wrong or take away too much.
const (
	ConfigChanged Kind = "config_changed"
	ConfigRefused Kind = "config_refused"
)

// Revokes reports whether events of this kind report that rights were revoked.
// That is never refused or delayed because it cannot be recorded.
func (k Kind) Revokes() bool {
	switch k {
	case TokenRevoked, AgentDenied, AgentSuspended, AgentRemoved, HostSuspended, ConnectionEnded, UserEnded, ProviderRemoved:
		return true
	}
	return false
}

// RequestExplained is an operator's question how a call with somebody's token
// would be judged. Nobody made the call.
const RequestExplained Kind = "request_explained"

// Kinds lists every kind, so that metrics can show those that have not
// happened yet.
func Kinds() []Kind {
	return []Kind{AgentRegistered, AgentRegistrationDenied, AttestationFailed, AuthorizationStarted,
		ConnectionEnded, UserEnded,
		AccessGranted, AccessDenied, TokenRevoked, ProxyRequest, ScopeViolation, StreamEnded,
		AgentApproved, AgentDenied, AgentSuspended, AgentResumed, AgentRemoved, HostSuspended, HostResumed, RequestExplained,
		ConnectionRefreshAsked, ConnectionRefreshed, ConnectionCondemned, ConnectionHealed, ConnectionRevoked, RevocationFailed, CredentialEchoed, EndpointsMoved, EndpointsAccepted,
		ProviderAdded, ProviderChanged, ProviderRemoved, ProviderDrained, RecordUnreadable, KeysetChanged, ConfigChanged, ConfigRefused}
}

// An Event is one decision, with the fields of U-1.
type Event struct {
	Time       time.Time
	Kind       Kind
	AgentID    string
	UserID     string
	ProviderID string
	Requested  ath.Scopes
	Effective  ath.Scopes
	Denied     ath.Scopes
	Reason     string // denial_reason; "" when nothing was denied
	DecisionID string
	Host       string // the hosts of an action on all of their agents: a name, or *. and a name
	Record     string // the key of a record that does not open, without digests
	Keys       string // ids of the keys that an athd has from now on, the one that seals first
	Before     string // what an operator's change of a configuration replaced, as JSON with digests for secrets; "": nothing was there
	After      string // and what is there now; "": nothing
	By         string // the operator who did it, for what an operator does
	Role       string // that operator's
	Client     string // the client's address, as the nearest trusted proxy gave it; "" where none did
	Upstream   string // what the provider's server said that ended a handshake, bounded; "" where it said nothing
	Count      int    // of refusals like this one that have no event of their own; 0: it is one alone
	Headers    string // of an echoed credential: the names of the reply's headers that held it
	Repeats    bool   // the same grant is refused again and again until it waits: such floods are counted, too. Not written
	Renewal    bool   // of a standing consent: access was renewed by it, was not, or it was ended
	Derived    bool   // the rule that let a call pass was derived from the scope's name; nobody wrote it down
}
