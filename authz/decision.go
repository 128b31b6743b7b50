package authz

import (
	"net/http"
	"time"

	"github.com/athd/athd/ath"
)

// A Reason says why a request was refused, or that it was allowed. The set is
// closed: it is also the label of the metric and the field of the event.
type Reason string

// The reasons, in the order in which the rules can give them. The empty
// reason, which no rule gives, refuses as InternalError.
const (
	InternalError           Reason = "internal_error"           // a panic, a zero value, a doubt
	MethodNotAllowed        Reason = "method_not_allowed"       // P-7
	TargetNotCanonical      Reason = "target_not_canonical"     // P-7
	TokenInQuery            Reason = "token_in_query"           // P-5
	TokenMissing            Reason = "token_missing"            // P-1
	TokenMalformed          Reason = "token_malformed"          // P-1
	StoreUnavailable        Reason = "store_unavailable"        // 503
	RecordCorrupt           Reason = "record_corrupt"           // a stored record does not open
	TokenUnknown            Reason = "token_unknown"            // P-1
	TokenRevoked            Reason = "token_revoked"            // P-1
	TokenExpired            Reason = "token_expired"            // P-1
	AgentIDMissing          Reason = "agent_id_missing"         // P-2
	AgentIDMismatch         Reason = "agent_id_mismatch"        // P-2
	AgentUnknown            Reason = "agent_unknown"            // the registration is gone, or another one took its place
	AgentNotApproved        Reason = "agent_not_approved"       // standing
	ApprovalExpired         Reason = "approval_expired"
	ProviderUnknown         Reason = "provider_unknown"         // P-3: host and path lead to none
	ProviderMismatch        Reason = "provider_mismatch"        // P-3
	ScopeMissing            Reason = "scope_missing"            // P-4
	ScopeDenied             Reason = "scope_denied"             // P-4: a rule of the policy denies the scope by now
	UpgradeNotAllowed       Reason = "upgrade_not_allowed"      // P-4: no rule of a held scope lets the request switch protocols
	ReauthorizationRequired Reason = "reauthorization_required" // P-6
	ProviderUnavailable     Reason = "provider_unavailable"     // P-6: the upstream token has ended, and there is no new one yet; or whose it is is not known yet; 503
	RateLimited             Reason = "rate_limited"             // limits.calls_per_grant; 429
	Allowed                 Reason = "allowed"
	PassedThrough           Reason = "passed_through" // no ATH token, on an app whose people call it without one
	Companion               Reason = "companion"      // a path that athd answers itself, in a mesh that asks about each
)

// Reasons lists every reason, so that metrics can show those that have not
// happened yet.
func Reasons() []Reason {
	return []Reason{InternalError, MethodNotAllowed, TargetNotCanonical, TokenInQuery, TokenMissing, TokenMalformed,
		StoreUnavailable, RecordCorrupt, TokenUnknown, TokenRevoked, TokenExpired, AgentIDMissing,
		AgentIDMismatch, AgentUnknown, AgentNotApproved, ApprovalExpired, ProviderUnknown,
		ProviderMismatch, ScopeMissing, ScopeDenied, UpgradeNotAllowed, ReauthorizationRequired, ProviderUnavailable, RateLimited, Allowed, PassedThrough, Companion}
}

// A Decision is the answer to one [Request]. The zero value refuses.
type Decision struct {
	ID       string // decision_id (E-2)
	Agent    string // of the token's grant, once it was read
	User     string
	Provider string // that the route leads to
	Scope    string // the held scope that covers the request, when allowed
	Scopes   ath.Scopes
	// Rest is how long the grant still lasts, when an agent's request is
	// allowed: what streams after that streams without one.
	Rest time.Duration
	// RetryAfter is when to come back, of a refusal as RateLimited.
	RetryAfter time.Duration

	reason     Reason
	allow      bool
	credential ath.Secret
	target     Target
	hint       *hint // of some refusals
	retries    bool  // the provider's retry_on_401
	holds      holds // of an allowed agent's call
}

// Allowed reports whether the request may pass, with the user's credential or
// ([Decision.PassesThrough]) without. Every part of an allow must be there.
func (d *Decision) Allowed() bool {
	if !d.allow || d.ID == "" {
		return false
	}
	switch d.reason {
	case Allowed:
		return !d.credential.IsZero()
	case PassedThrough:
		return d.credential.IsZero()
	case Companion:
		return d.credential.IsZero() && d.Provider == ""
	}
	return false
}

// PassesThrough reports whether the request may pass without anything of a
// grant: it is a person's, or ([Decision.ForCompanion]) it is for athd itself.
func (d *Decision) PassesThrough() bool { return d.Allowed() && d.reason != Allowed }

// ForCompanion reports whether the request is one that athd answers itself, and
// leads to no API: athd's own cookies and headers stay in it.
func (d *Decision) ForCompanion() bool { return d.Allowed() && d.reason == Companion }

// Reason returns why.
func (d *Decision) Reason() Reason {
	switch d.reason {
	case "":
		return InternalError
	case Allowed, PassedThrough, Companion:
		if !d.Allowed() {
			return InternalError
		}
	}
	return d.reason
}

// Retries reports whether an API's 401 to the allowed call is to be looked into.
func (d *Decision) Retries() bool { return d.Allowed() && !d.PassesThrough() && d.retries }

// Authorization returns the header value that the API must see: the user's
// own OAuth token (P-5). It is empty unless the request is allowed as an
// agent's.
func (d *Decision) Authorization() ath.Secret {
	if !d.Allowed() || d.PassesThrough() {
		return ath.Secret{}
	}
	return bearer(d.credential)
}

func bearer(credential ath.Secret) ath.Secret {
	return ath.NewSecret("Bearer " + credential.Reveal())
}

// Target returns where the request goes, if its route leads to run-time providers
// and it is allowed as an agent's. Of every other decision it is the zero Target.
func (d *Decision) Target() Target {
	if !d.Allowed() || d.PassesThrough() {
		return Target{}
	}
	return d.target
}

// Refusal returns what the agent is answered (E-1), or nil if the request is
// allowed.
func (d *Decision) Refusal() *ath.Error {
	if d.Allowed() {
		return nil
	}
	e := d.hint.addTo(refusal(d.Reason()))
	if d.Reason() == RateLimited {
		e = e.WithDetail(ath.RetryDetail, ath.RetrySeconds(d.RetryAfter))
	}
	return e.WithDetail("decision_id", d.ID)
}

// Missing returns the scopes that a new token must have for the request to pass,
// where it was refused for want of one and one is known (P-11).
func (d *Decision) Missing() ath.Scopes {
	if d.Allowed() || d.hint == nil {
		return nil
	}
	return d.hint.scopes
}

// refusal is the one table from reasons to the wire.
func refusal(r Reason) *ath.Error {
	switch r {
	case MethodNotAllowed:
		return ath.Errorf(ath.InvalidRequest, "The request's method is not one that an agent may use.")
	case TargetNotCanonical:
		return ath.Errorf(ath.InvalidRequest, "The request's path is not in canonical form.")
	case TokenInQuery:
		return ath.Errorf(ath.InvalidRequest, "An ATH token belongs into the Authorization header and nowhere else.")
	case TokenMissing:
		return ath.Errorf(ath.TokenInvalid, "The request carries no ATH token.")
	case TokenMalformed, TokenUnknown:
		return ath.Errorf(ath.TokenInvalid, "The ATH token is not valid.")
	case TokenRevoked:
		return ath.Errorf(ath.TokenRevoked, "The ATH token was revoked.")
	case TokenExpired:
		return ath.Errorf(ath.TokenExpired, "The ATH token has expired.")
	case AgentIDMissing:
		return ath.Errorf(ath.AgentIdentityMismatch, "Exactly one X-ATH-Agent-ID header is required.")
	case AgentIDMismatch:
		return ath.Errorf(ath.AgentIdentityMismatch, "The ATH token belongs to another agent.")
	case AgentUnknown, AgentNotApproved:
		return ath.Errorf(ath.AgentUnapproved, "The agent is not approved.")
	case ApprovalExpired:
		return ath.Errorf(ath.AgentUnapproved, "The agent's approval has expired.")
	case ProviderUnknown:
		return ath.Errorf(ath.ProviderMismatch, "There is no such provider, and the ATH token is for another one.")
	case ProviderMismatch:
		return ath.Errorf(ath.ProviderMismatch, "The ATH token is for another provider.")
	case ScopeMissing:
		return ath.Errorf(ath.ScopeNotApproved, "No scope of the ATH token covers this method and path.")
	case ScopeDenied:
		return ath.Errorf(ath.ScopeNotApproved, "The agent is not approved for the scope that covers this method and path any more.")
	case UpgradeNotAllowed:
		return ath.Errorf(ath.ScopeNotApproved, "No scope of the ATH token allows this request to switch protocols.")
	case ReauthorizationRequired:
		return ath.Errorf(ath.TokenInvalid, "The user must authorize the agent again.").
			WithDetail("reason", "reauthorization_required")
	case ProviderUnavailable:
		return ath.Errorf(ath.OAuthError, "The provider's authorization server is not available; try again.").
			WithStatus(http.StatusServiceUnavailable)
	case RateLimited:
		return ath.Errorf(ath.RateLimited, "The ATH token was used for too many calls at once; try again later.")
	case StoreUnavailable:
		return ath.Errorf(ath.InternalError, "The decision cannot be made now; try again.").
			WithStatus(http.StatusServiceUnavailable)
	}
	return ath.Errorf(ath.InternalError, "The request could not be judged.")
}
