package authz

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// An inquiry is one request on its way through the rules, and what they have
// learned of it so far.
type inquiry struct {
	*Config
	*snapshot
	ctx      context.Context
	request  Request
	now      time.Time
	segments []string
	query    string
	token    ath.Token
	reading  tokenstore.Reading
	provider *provider.Provider // that the route leads to; nil: none
	unknown  *unknown           // nil: the store is asked
	scope    string
	decision Decision
}

// A rule objects with a reason, or not with ""; tells says for people what it
// looked at, and never a token. Its id is that of the protocol. PassedThrough
// and Companion are the reasons that allow: they end the inquiry, too.
type rule struct {
	id      string
	objects func(*inquiry) Reason
	tells   func(*inquiry) string
}

// allRules is the order of the protocol: P-7, P-1, P-2, standing, P-3, P-4,
// P-6 (with O-2 as a part of it). Before them stand the people who share an
// API with agents.
func allRules() []rule {
	return []rule{
		{"people without a token", (*inquiry).passesThrough, (*inquiry).tellPeople},
		{"P-7 method", (*inquiry).methodListed, (*inquiry).tellMethod},
		{"P-7 target", (*inquiry).targetCanonical, (*inquiry).tellTarget},
		{"P-5 no token in the query", (*inquiry).noTokenInQuery, (*inquiry).tellQuery},
		{"athd's own pages", (*inquiry).companionAnswers, (*inquiry).tellCompanion},
		{"P-1 one well-formed token", (*inquiry).tokenWellFormed, (*inquiry).tellToken},
		{"read", (*inquiry).read, (*inquiry).tellRead},
		{"P-1 known", (*inquiry).tokenKnown, (*inquiry).tellGrant},
		{"P-1 not revoked", (*inquiry).tokenLive, (*inquiry).tellRevoked},
		{"P-1 not expired", (*inquiry).tokenCurrent, (*inquiry).tellExpiry},
		{"P-2 one agent id", (*inquiry).agentIDPresent, (*inquiry).tellAgentID},
		{"P-2 the token's agent", (*inquiry).agentIDMatches, (*inquiry).tellAgentID},
		{"standing: registered", (*inquiry).agentRegistered, (*inquiry).tellAgent},
		{"standing: approved", (*inquiry).agentApproved, (*inquiry).tellStanding},
		{"R-6 not suspended since", (*inquiry).notSuspendedSince, (*inquiry).tellGeneration},
		{"R-5 approval current", (*inquiry).approvalCurrent, (*inquiry).tellApproval},
		{"P-3 provider exists", (*inquiry).providerExists, (*inquiry).tellProvider},
		{"P-3 the token's provider", (*inquiry).providerMatches, (*inquiry).tellProviders},
		{"P-4 scope", (*inquiry).scopeCovers, (*inquiry).tellScope},
		{"P-4 upgrade", (*inquiry).upgradeAllowed, (*inquiry).tellUpgrade},
		{"P-6 credential there", (*inquiry).credentialThere, (*inquiry).tellCredential},
		{"O-2 credential for this destination", (*inquiry).credentialForHere, (*inquiry).tellDestination},
		{"P-6 credential current", (*inquiry).credentialCurrent, (*inquiry).tellCredentialExpiry},
	}
}

func (q *inquiry) methodListed() Reason {
	if !methodAllowed(q.request.Method) {
		return MethodRefused
	}
	return ""
}

func (q *inquiry) targetCanonical() Reason {
	var ok bool
	if q.segments, q.query, ok = splitTarget(q.request.Path, q.request.Mount, q.provider.Encodable()); !ok {
		return TargetRefused
	}
	if q.request.Blurred && !(q.forCompanion() && !strings.Contains(withoutQuery(q.request.Path), "!")) {
		// An API may read another path than this, or another query. athd reads
		// its own queries as they were sent: OAuth servers put '!' into codes.
		return TargetRefused
	}
	return ""
}

// noTokenInQuery looks at the whole target: in the path, too, a token would
// reach the API and its log.
func (q *inquiry) noTokenInQuery() Reason {
	if holdsToken(q.request.Path) {
		return TokenInQuery
	}
	if q.request.StrayToken {
		return TokenInQuery // or in a header that goes up as it came
	}
	return ""
}

// tokenWellFormed wants one Authorization header with one Bearer token of
// ours (RFC 6750, section 2.1). Envoy joins two headers with a comma, which no
// token holds.
func (q *inquiry) tokenWellFormed() Reason {
	switch len(q.request.Authorization) {
	case 0:
		return TokenMissing
	case 1:
	default:
		return TokenMalformed
	}
	scheme, value, _ := strings.Cut(q.request.Authorization[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return TokenMissing
	}
	token, err := ath.ParseToken(value)
	if err != nil {
		return TokenMalformed
	}
	q.token = token
	return ""
}

// agentID returns the agent's own claim, or "" where there is not exactly one.
func (q *inquiry) agentID() string {
	if len(q.request.AgentID) != 1 {
		return ""
	}
	return q.request.AgentID[0]
}

// read fetches grant, connection and the agent's standing at once. The agent
// is looked up by what the request claims; agentIDMatches makes sure that it
// is the right one before anyone looks.
func (q *inquiry) read() Reason {
	if q.unknown.has(q.token, q.now) {
		return "" // read, a moment ago, and there was nothing
	}
	reading, err := q.Store.Read(q.ctx, q.token, q.agentID())
	switch {
	case errors.Is(err, tokenstore.ErrCorrupt):
		q.Logger.ErrorContext(q.ctx, "a stored record does not open", "decision_id", q.request.ID, "error", err)
		return RecordCorrupt
	case err != nil:
		q.Logger.WarnContext(q.ctx, "the store did not answer", "decision_id", q.request.ID, "error", err)
		return StoreUnavailable
	}
	q.reading = reading
	if reading.Grant == nil {
		q.unknown.remember(q.token, q.now)
	}
	if g := reading.Grant; g != nil {
		q.decision.Agent, q.decision.User, q.decision.Scopes = g.Agent, g.User, g.Scopes
	}
	return ""
}

func (q *inquiry) tokenKnown() Reason {
	if q.reading.Grant == nil {
		return TokenUnknown
	}
	return ""
}

func (q *inquiry) tokenLive() Reason {
	if !q.reading.Grant.Revoked.IsZero() {
		return TokenRevoked
	}
	return ""
}

func (q *inquiry) tokenCurrent() Reason {
	if !q.now.Before(q.reading.Grant.Expires) {
		return TokenExpired
	}
	return ""
}

func (q *inquiry) agentIDPresent() Reason {
	if q.agentID() == "" {
		return AgentIDMissing
	}
	return ""
}

func (q *inquiry) agentIDMatches() Reason {
	if q.agentID() != q.reading.Grant.Agent {
		return AgentIDMismatch
	}
	return ""
}

// agentRegistered also refuses the token of an earlier registration: a
// removed one takes its tokens with it.
func (q *inquiry) agentRegistered() Reason {
	a, g := q.reading.Agent, q.reading.Grant
	if a == nil || a.ID != g.Agent || a.ClientID != g.ClientID {
		return AgentGone
	}
	return ""
}

func (q *inquiry) agentApproved() Reason {
	if q.reading.Agent.Standing() != tokenstore.Approved {
		return AgentNotApproved
	}
	return ""
}

// notSuspendedSince refuses a token of before a suspension, also once the agent
// is resumed: what suspension kills stays dead.
func (q *inquiry) notSuspendedSince() Reason {
	if q.reading.Grant.Generation != q.reading.Agent.Generation {
		return TokenRevoked
	}
	return ""
}

func (q *inquiry) approvalCurrent() Reason {
	if !q.now.Before(q.reading.Agent.ApprovalExpires) {
		return ApprovalExpired
	}
	return ""
}

func (q *inquiry) providerExists() Reason {
	if q.provider == nil {
		return ProviderUnknown
	}
	return ""
}

func (q *inquiry) providerMatches() Reason {
	if !q.provider.Goes(q.reading.Grant.Provider) {
		return ProviderMismatched
	}
	return ""
}

// scopeCovers takes only those of the token's scopes that the operator still
// approves, so that a narrowed approval holds at the next request.
func (q *inquiry) scopeCovers() Reason {
	approval := q.reading.Agent.Approval(q.provider.ID, q.provider.Aliases...)
	if approval == nil {
		return ScopeMissing
	}
	held := q.reading.Grant.Scopes.Intersect(approval.Approved)
	q.decision.Scopes = held
	scope, ok := q.provider.Permits(q.request.Method, q.segments, held)
	if !ok {
		return ScopeMissing
	}
	q.scope = scope
	return ""
}

// upgradeAllowed wants a rule that says so where the request asks for another
// protocol, on which athd is not asked again. No protocol but WebSocket is let
// through, and only one that is named once.
func (q *inquiry) upgradeAllowed() Reason {
	if len(q.request.Upgrade) == 0 {
		return ""
	}
	if len(q.request.Upgrade) > 1 || !strings.EqualFold(q.request.Upgrade[0], provider.WebSocket) {
		return UpgradeRefused
	}
	scope, ok := q.provider.PermitsUpgrade(q.request.Method, q.segments, q.decision.Scopes)
	if !ok {
		return UpgradeRefused
	}
	q.scope = scope
	return ""
}

func (q *inquiry) credentialThere() Reason {
	if c := q.reading.Connection; c == nil || c.Ended || c.Access.IsZero() {
		return Reauthorize
	}
	return ""
}

// credentialForHere keeps a token from going where its user did not agree to,
// after the operator has changed the provider's server, client or API host.
func (q *inquiry) credentialForHere() Reason {
	if d := q.destinations[q.provider.ID]; d == "" || q.reading.Connection.Destination != d {
		return Reauthorize
	}
	return ""
}

func (q *inquiry) credentialCurrent() Reason {
	if e := q.reading.Connection.Expires; !e.IsZero() && !q.now.Before(e) {
		return Reauthorize
	}
	return ""
}
