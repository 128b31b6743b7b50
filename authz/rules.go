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
	denied   string // the scope that would cover the request, if no rule denied it
	target   Target // where the request goes, if its route leaves that to athd
	explains bool   // nothing is done, only said
	waited   bool   // for a new upstream token
	held     *Held  // the call that is judged again; nil: a request is judged
	decision Decision
}

// A rule is one check of a request. check returns the reason for a refusal, or ""
// if the rule holds; describe returns what it looked at, for operators, and never
// a token. Its id is that of the protocol. PassedThrough and Companion are
// reasons that allow: they end the evaluation too. holds is check for a call that
// was allowed and goes on ([Decider.Holds]); nil: the rule is about the request's
// head, which does not change.
type rule struct {
	id       string
	check    func(*evaluation) Reason
	describe func(*evaluation) string
	holds    func(*evaluation) Reason
}

const ruleRead = "read"

// renewed is no decision: the store is to be read again.
const renewed Reason = "renewed"

// allRules is the order of the protocol: P-7, P-1, P-2, standing, P-3, P-4,
// P-6 (with O-2 as a part of it). Requests of people who share an API with
// agents come first, and what is only too much comes last. The first rule that does
// not hold decides.
func allRules() []rule {
	return []rule{
		{"people without a token", (*evaluation).passesThrough, (*evaluation).describePeople, nil},
		{"P-7 method", (*evaluation).methodListed, (*evaluation).describeMethod, nil},
		{"P-7 target", (*evaluation).targetCanonical, (*evaluation).describeTarget, nil},
		{"P-5 no token in the query", (*evaluation).noTokenInQuery, (*evaluation).describeQuery, nil},
		{"athd's own pages", (*evaluation).companionAnswers, (*evaluation).describeCompanion, nil},
		{"P-1 one well-formed token", (*evaluation).tokenWellFormed, (*evaluation).describeToken, nil},
		{ruleRead, (*evaluation).read, (*evaluation).describeRead, (*evaluation).readHeld},
		{"P-1 known", (*evaluation).tokenKnown, (*evaluation).describeGrant, (*evaluation).tokenKnown},
		{"P-1 not revoked", (*evaluation).tokenNotRevoked, (*evaluation).describeRevoked, (*evaluation).tokenNotRevoked},
		{"P-1 not expired", (*evaluation).tokenNotExpired, (*evaluation).describeExpiry, (*evaluation).tokenNotExpired},
		{"P-2 one agent id", (*evaluation).agentIDPresent, (*evaluation).describeAgentID, nil},
		{"P-2 the token's agent", (*evaluation).agentIDMatches, (*evaluation).describeAgentID, (*evaluation).agentIDMatches},
		{"standing: registered", (*evaluation).agentRegistered, (*evaluation).describeAgent, (*evaluation).agentRegistered},
		{"standing: approved", (*evaluation).agentApproved, (*evaluation).describeStanding, (*evaluation).agentApproved},
		{"R-6 not suspended since", (*evaluation).notSuspendedSince, (*evaluation).describeGeneration, (*evaluation).notSuspendedSince},
		{"R-5 approval current", (*evaluation).approvalNotExpired, (*evaluation).describeApproval, (*evaluation).approvalNotExpired},
		{"P-3 provider exists", (*evaluation).providerExists, (*evaluation).describeProvider, (*evaluation).providerExists},
		{"P-3 the token's provider", (*evaluation).providerMatches, (*evaluation).describeProviders, (*evaluation).providerMatches},
		{"P-4 scope", (*evaluation).scopeCovers, (*evaluation).describeScope, (*evaluation).scopeHeld},
		{"P-4 upgrade", (*evaluation).upgradeAllowed, (*evaluation).describeUpgrade, nil},
		{"P-6 credential there", (*evaluation).hasCredential, (*evaluation).describeCredential, (*evaluation).hasCredential},
		{"O-2 credential for this destination", (*evaluation).credentialMatchesDestination, (*evaluation).describeDestination, (*evaluation).credentialMatchesDestination},
		{"P-3 destination", (*evaluation).destinationKnown, (*evaluation).describeRoute, nil},
		{"P-6 credential current", (*evaluation).credentialNotExpired, (*evaluation).describeCredentialExpiry, nil},
		{"calls per grant", (*evaluation).callsLeft, (*evaluation).describeCalls, nil}, // a call that goes on is one
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
	if reason := q.readFailed(err); reason != "" {
		return reason
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

func (q *evaluation) readFailed(err error) Reason {
	switch {
	case errors.Is(err, tokenstore.ErrCorrupt):
		q.Logger.ErrorContext(q.ctx, "record unreadable", "decision_id", q.request.ID, "error", err, "hint", "another keyset sealed it, or another version of athd wrote it")
		return RecordCorrupt
	case err != nil:
		if q.held == nil { // whoever asks about calls that go on asks about many, and says it once
			q.Logger.WarnContext(q.ctx, "store operation failed", "decision_id", q.request.ID, "error", err)
		}
		return StoreUnavailable
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
		if q.request.Runtime && !q.set.Loaded() {
			return StoreUnavailable // it may be there: nobody has read them yet
		}
		return ProviderUnknown
	}
	if q.provider.Runtime && !q.request.Runtime {
		// A file had a provider of this name when Envoy's configuration was generated,
		// and its route leads to that one's API still: a user's token for the API of
		// today's is not for it.
		q.warn("envoy's route is of a provider that a file had, and the name is a run-time provider's now; the request is refused",
			"provider_id", q.provider.ID, "hint", "athd bootstrap writes a configuration without that route: give it to Envoy")
		return ProviderUnknown
	}
	return ""
}

// warn logs something about the configuration, unless the request is only explained.
func (q *evaluation) warn(message string, args ...any) {
	if !q.explains {
		q.Logger.WarnContext(q.ctx, message, append([]any{"decision_id", q.request.ID}, args...)...)
	}
}

func (q *evaluation) providerMatches() Reason {
	if !q.provider.Goes(q.reading.Grant.Provider) {
		return ProviderMismatch
	}
	return ""
}

// scopesLeft are those of the token's scopes that the operator still approves, and
// left what no rule of the policy denies of them by now: so a narrowed approval and
// a new rule take effect at once. Not ok: the operator approves nothing there.
func (q *evaluation) scopesLeft() (held, left ath.Scopes, ok bool) {
	approval := q.reading.Agent.Approval(q.provider.ID, q.provider.Aliases...)
	if approval == nil {
		return nil, nil, false
	}
	held = q.reading.Grant.Scopes.Intersect(approval.Approved)
	if c := q.reading.Connection; c != nil && (c.RefreshStatus.Narrowed || q.reading.Grant.Shared) && !c.Scopes.Contain(held) {
		held = held.Intersect(c.Scopes) // the user or the provider took some away
	}
	if q.reading.Grant.Shared && q.provider.Derived {
		held = nil // the token can do more than the agent may: names of scopes are not enough
	}
	left = held
	if denied := q.denials.denied(q.reading.Agent, q.provider, held); len(denied) > 0 {
		left = held.Minus(denied)
	}
	return held, left, true
}

func (q *evaluation) scopeCovers() Reason {
	held, left, ok := q.scopesLeft()
	if !ok {
		return ScopeMissing
	}
	q.decision.Scopes = left
	scope, ok := q.provider.Permits(q.request.Method, q.segments, left)
	if !ok && len(left) < len(held) {
		if q.denied, ok = q.provider.Permits(q.request.Method, q.segments, held); ok {
			return ScopeDenied
		}
	}
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
// not agree to, after the operator has changed the provider's server, its userinfo
// or revocation endpoint, client or API host: athd must not become a confused deputy.
func (q *evaluation) credentialMatchesDestination() Reason {
	if !q.provider.Ready() {
		return ProviderUnavailable // to whom the token belongs is not known yet
	}
	c, now := q.reading.Connection, q.of(q.provider)
	if now.destination == "" || c.Destination != now.destination {
		return ReauthorizationRequired
	}
	if c.Bound != "" && c.Bound != now.bound && !q.provider.Agreed(c.Destination, c.Bound) {
		return ReauthorizationRequired
	}
	return ""
}

// credentialNotExpired is the last rule about the request itself, so that a token is
// refreshed only for one that would pass with it.
func (q *evaluation) credentialNotExpired() Reason {
	c := q.reading.Connection
	if c.Expires.IsZero() {
		return ""
	}
	left := c.Expires.Sub(q.now)
	switch {
	case left > 0 && (q.Renewer == nil || left > q.of(q.provider).soon || q.explains):
		return ""
	case left > 0:
		q.Renewer.Soon(q.provider, q.reading.Grant, c)
		return ""
	case q.Renewer == nil:
		return ReauthorizationRequired
	case q.explains && q.provider.Refreshable(c.Refresh) && c.RefreshStatus.Refused.IsZero() && !c.RefreshStatus.Over(q.now):
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
