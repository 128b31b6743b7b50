package authz

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// An evaluation is one request on its way through the rules, and what they have
// found out about it so far.
type evaluation struct {
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
	unknown  *unknown           // tokens that the store has just not known; nil: it is always read
	scope    string
	explains bool // nothing is done, only said
	waited   bool // for a new upstream token
	decision Decision
}

// A rule is one check of a request. check returns the reason for a refusal, or ""
// if the rule holds; describe returns what it looked at, for operators, and never
// a token. Its id is that of the protocol. PassedThrough and Companion are
// reasons that allow: they end the evaluation too.
type rule struct {
	id       string
	check    func(*evaluation) Reason
	describe func(*evaluation) string
}

const ruleRead = "read"

// renewed is no decision: the store is to be read again.
const renewed Reason = "renewed"

// allRules is the order of the protocol: P-7, P-1, P-2, standing, P-3, P-4,
// P-6 (with O-2 as a part of it). Requests of people who share an API with
// agents come first. The first rule that does not hold decides.
func allRules() []rule {
	return []rule{
		{"people without a token", (*evaluation).passesThrough, (*evaluation).describePeople},
		{"P-7 method", (*evaluation).methodListed, (*evaluation).describeMethod},
		{"P-7 target", (*evaluation).targetCanonical, (*evaluation).describeTarget},
		{"P-5 no token in the query", (*evaluation).noTokenInQuery, (*evaluation).describeQuery},
		{"athd's own pages", (*evaluation).companionAnswers, (*evaluation).describeCompanion},
		{"P-1 one well-formed token", (*evaluation).tokenWellFormed, (*evaluation).describeToken},
		{ruleRead, (*evaluation).read, (*evaluation).describeRead},
		{"P-1 known", (*evaluation).tokenKnown, (*evaluation).describeGrant},
		{"P-1 not revoked", (*evaluation).tokenNotRevoked, (*evaluation).describeRevoked},
		{"P-1 not expired", (*evaluation).tokenNotExpired, (*evaluation).describeExpiry},
		{"P-2 one agent id", (*evaluation).agentIDPresent, (*evaluation).describeAgentID},
		{"P-2 the token's agent", (*evaluation).agentIDMatches, (*evaluation).describeAgentID},
		{"standing: registered", (*evaluation).agentRegistered, (*evaluation).describeAgent},
		{"standing: approved", (*evaluation).agentApproved, (*evaluation).describeStanding},
		{"R-6 not suspended since", (*evaluation).notSuspendedSince, (*evaluation).describeGeneration},
		{"R-5 approval current", (*evaluation).approvalNotExpired, (*evaluation).describeApproval},
		{"P-3 provider exists", (*evaluation).providerExists, (*evaluation).describeProvider},
		{"P-3 the token's provider", (*evaluation).providerMatches, (*evaluation).describeProviders},
		{"P-4 scope", (*evaluation).scopeCovers, (*evaluation).describeScope},
		{"P-4 upgrade", (*evaluation).upgradeAllowed, (*evaluation).describeUpgrade},
		{"P-6 credential there", (*evaluation).hasCredential, (*evaluation).describeCredential},
		{"O-2 credential for this destination", (*evaluation).credentialMatchesDestination, (*evaluation).describeDestination},
		{"P-6 credential current", (*evaluation).credentialNotExpired, (*evaluation).describeCredentialExpiry},
	}
}

func (q *evaluation) methodListed() Reason {
	if !methodAllowed(q.request.Method) {
		return MethodNotAllowed
	}
	return ""
}

func (q *evaluation) targetCanonical() Reason {
	var ok bool
	if q.segments, q.query, ok = splitTarget(q.request.Path, q.request.Mount, q.provider.Encodable()); !ok {
		return TargetNotCanonical
	}
	if q.request.Blurred && !(q.forCompanion() && !strings.Contains(withoutQuery(q.request.Path), "!")) {
		// An API may read another path than this, or another query. athd reads
		// its own queries as they were sent: OAuth servers put '!' into codes.
		return TargetNotCanonical
	}
	return ""
}

// noTokenInQuery checks the whole target: in the path, too, a token would reach
// the API and its log.
func (q *evaluation) noTokenInQuery() Reason {
	if holdsToken(q.request.Path) {
		return TokenInQuery
	}
	if q.request.StrayToken {
		return TokenInQuery // or in a header that is forwarded as it came
	}
	return ""
}

// tokenWellFormed requires one Authorization header with one Bearer token of
// athd's form (RFC 6750, section 2.1). Envoy joins two headers with a comma, which
// no token contains.
func (q *evaluation) tokenWellFormed() Reason {
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
func (q *evaluation) agentID() string {
	if len(q.request.AgentID) != 1 {
		return ""
	}
	return q.request.AgentID[0]
}

// read fetches grant, connection and the agent's standing at once. The agent
// is looked up by what the request claims; agentIDMatches makes sure that it is
// the right one before any rule uses it.
func (q *evaluation) read() Reason {
	if q.unknown.has(q.token, q.now) {
		return "" // it was read within the last second, and is unknown
	}
	reading, err := q.Store.Read(q.ctx, q.token, q.agentID())
	switch {
	case errors.Is(err, tokenstore.ErrCorrupt):
		q.Logger.ErrorContext(q.ctx, "record unreadable", "decision_id", q.request.ID, "error", err, "hint", "another keyset sealed it, or another version of athd wrote it")
		return RecordCorrupt
	case err != nil:
		q.Logger.WarnContext(q.ctx, "store operation failed", "decision_id", q.request.ID, "error", err)
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

func (q *evaluation) tokenKnown() Reason {
	if q.reading.Grant == nil {
		return TokenUnknown
	}
	return ""
}

func (q *evaluation) tokenNotRevoked() Reason {
	if !q.reading.Grant.Revoked.IsZero() {
		return TokenRevoked
	}
	return ""
}

func (q *evaluation) tokenNotExpired() Reason {
	if !q.now.Before(q.reading.Grant.Expires) {
		return TokenExpired
	}
	return ""
}

func (q *evaluation) agentIDPresent() Reason {
	if q.agentID() == "" {
		return AgentIDMissing
	}
	return ""
}

func (q *evaluation) agentIDMatches() Reason {
	if q.agentID() != q.reading.Grant.Agent {
		return AgentIDMismatch
	}
	return ""
}

// agentRegistered also refuses the token of an earlier registration: a
// removed one takes its tokens with it.
func (q *evaluation) agentRegistered() Reason {
	a, g := q.reading.Agent, q.reading.Grant
	if a == nil || a.ID != g.Agent || a.ClientID != g.ClientID {
		return AgentUnknown
	}
	return ""
}

func (q *evaluation) agentApproved() Reason {
	if q.reading.Agent.Standing() != tokenstore.Approved {
		return AgentNotApproved
	}
	return ""
}

// notSuspendedSince refuses a token that was issued before a suspension, also
// after the agent is resumed: suspension revokes for good.
func (q *evaluation) notSuspendedSince() Reason {
	if q.reading.Grant.Generation != q.reading.Agent.Generation {
		return TokenRevoked
	}
	return ""
}

func (q *evaluation) approvalNotExpired() Reason {
	if !q.now.Before(q.reading.Agent.ApprovalExpires) {
		return ApprovalExpired
	}
	return ""
}

func (q *evaluation) providerExists() Reason {
	if q.provider == nil {
		return ProviderUnknown
	}
	return ""
}

func (q *evaluation) providerMatches() Reason {
	if !q.provider.Goes(q.reading.Grant.Provider) {
		return ProviderMismatch
	}
	return ""
}

// scopeCovers uses only those of the token's scopes that the operator still
// approves, so that a narrowed approval takes effect at the next request.
func (q *evaluation) scopeCovers() Reason {
	approval := q.reading.Agent.Approval(q.provider.ID, q.provider.Aliases...)
	if approval == nil {
		return ScopeMissing
	}
	held := q.reading.Grant.Scopes.Intersect(approval.Approved)
	if c := q.reading.Connection; c != nil && (c.Renewal.Narrowed || q.reading.Grant.Shared) && !c.Scopes.Contain(held) {
		held = held.Intersect(c.Scopes) // the user or the provider took some away
	}
	if q.reading.Grant.Shared && q.provider.Derived {
		held = nil // the token can do more than the agent may: names of scopes are not enough
	}
	q.decision.Scopes = held
	scope, ok := q.provider.Permits(q.request.Method, q.segments, held)
	if !ok {
		return ScopeMissing
	}
	q.scope = scope
	return ""
}

// upgradeAllowed requires a scope rule with the upgrade where the request asks to
// switch protocols, after which athd is not asked again. Only WebSocket is
// allowed, and only if it is named once.
func (q *evaluation) upgradeAllowed() Reason {
	if len(q.request.Upgrade) == 0 {
		return ""
	}
	if len(q.request.Upgrade) > 1 || !strings.EqualFold(q.request.Upgrade[0], provider.WebSocket) {
		return UpgradeNotAllowed
	}
	scope, ok := q.provider.PermitsUpgrade(q.request.Method, q.segments, q.decision.Scopes)
	if !ok {
		return UpgradeNotAllowed
	}
	q.scope = scope
	return ""
}

func (q *evaluation) hasCredential() Reason {
	if c := q.reading.Connection; c == nil || c.Ended || c.Access.IsZero() {
		return ReauthorizationRequired
	}
	return ""
}

// credentialMatchesDestination keeps a token from being sent where its user did
// not agree to, after the operator has changed the provider's server, client or
// API host: athd must not become a confused deputy.
func (q *evaluation) credentialMatchesDestination() Reason {
	if !q.provider.Ready() {
		return ProviderUnavailable // to whom the token belongs is not known yet
	}
	if d := q.destinations[q.provider.ID]; d == "" || q.reading.Connection.Destination != d {
		return ReauthorizationRequired
	}
	return ""
}

// credentialNotExpired is the last rule, so that a token is refreshed only for a
// request that would pass with it.
func (q *evaluation) credentialNotExpired() Reason {
	c := q.reading.Connection
	if c.Expires.IsZero() {
		return ""
	}
	left := c.Expires.Sub(q.now)
	switch {
	case left > 0 && (q.Renewer == nil || left > q.soon[q.provider.ID] || q.explains):
		return ""
	case left > 0:
		q.Renewer.Soon(q.provider, q.reading.Grant, c)
		return ""
	case q.Renewer == nil:
		return ReauthorizationRequired
	case q.explains && q.provider.Refreshable(c.Refresh) && c.Renewal.Refused.IsZero() && !c.Renewal.Over(q.now):
		return ""
	case q.explains:
		return ReauthorizationRequired
	case q.waited:
		return ProviderUnavailable
	}
	return q.renew()
}

// renew waits for a new token. Time has passed then.
func (q *evaluation) renew() Reason {
	began := time.Now()
	result := q.Renewer.Renew(q.ctx, q.provider, q.reading.Grant, q.reading.Connection)
	q.waited, q.now = true, q.now.Add(time.Since(began))
	switch result {
	case vault.Renewed:
		return renewed
	case vault.ProviderAway:
		return ProviderUnavailable
	case vault.StoreAway:
		return StoreUnavailable
	case vault.Unreadable:
		return RecordCorrupt
	}
	return ReauthorizationRequired
}
