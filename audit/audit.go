// Package audit writes one event per decision (U-1): who asked for what, what
// came of it and under which decision_id. Events hold no token, code, secret
// or cookie; none of its fields has room for one.
package audit

import (
	"context"
	"log/slog"
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

// The kinds of deeds on a registration, beyond U-1's decisions: by an operator
// ([Event].By), or, agent_removed, by the agent itself. Their scopes are what
// the registration holds afterwards.
const (
	AgentApproved  Kind = "agent_approved"
	AgentDenied    Kind = "agent_denied"
	AgentSuspended Kind = "agent_suspended"
	AgentResumed   Kind = "agent_resumed"
	AgentRemoved   Kind = "agent_removed"
)

// RequestExplained is an operator's question how a call with somebody's token
// would be judged. Nobody made the call.
const RequestExplained Kind = "request_explained"

// Kinds lists every kind, so that metrics can show those that have not
// happened yet.
func Kinds() []Kind {
	return []Kind{AgentRegistered, AgentRegistrationDenied, AttestationFailed, AuthorizationStarted,
		AccessGranted, AccessDenied, TokenRevoked, ProxyRequest, ScopeViolation,
		AgentApproved, AgentDenied, AgentSuspended, AgentResumed, AgentRemoved, RequestExplained}
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
	By         string // the operator who did it, for what an operator does
	Derived    bool   // the rule that let a call pass was derived from the scope's name; nobody wrote it down
}

// A Log records events. It is safe for concurrent use.
type Log struct {
	logger *slog.Logger
	now    func() time.Time
	count  func(Event)
}

// Config configures a [Log].
type Config struct {
	Logger *slog.Logger     // where events go; required
	Now    func() time.Time // nil: time.Now
	Count  func(Event)      // called for each event, for metrics; may be nil
}

// New returns a Log.
func New(c Config) *Log {
	l := &Log{logger: c.Logger, now: c.Now, count: c.Count}
	if l.now == nil {
		l.now = time.Now
	}
	if l.count == nil {
		l.count = func(Event) {}
	}
	return l
}

// Record writes one event before it returns.
func (l *Log) Record(ctx context.Context, e Event) {
	if e.Time.IsZero() {
		e.Time = l.now()
	}
	l.count(e)
	attrs := []slog.Attr{
		slog.String("timestamp", e.Time.UTC().Format(time.RFC3339Nano)),
		slog.String("event", string(e.Kind)),
		slog.String("agent_id", e.AgentID),
		slog.String("user_id", e.UserID),
		slog.String("provider_id", e.ProviderID),
		slog.Any("requested_scopes", list(e.Requested)),
		slog.Any("effective_scopes", list(e.Effective)),
		slog.Any("denied_scopes", list(e.Denied)),
		slog.String("denial_reason", e.Reason),
		slog.String("decision_id", e.DecisionID),
	}
	if e.By != "" {
		attrs = append(attrs, slog.String("by", e.By))
	}
	if e.Derived {
		attrs = append(attrs, slog.Bool("derived_rule", true))
	}
	l.logger.LogAttrs(ctx, slog.LevelInfo, "audit", attrs...)
}

// list keeps an absent list from showing as null.
func list(s ath.Scopes) []string {
	if s == nil {
		return []string{}
	}
	return s
}
