package athflow

import (
	"errors"
	"net/http"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/httpapi"
)

// The outcomes of renewals, beside the reasons of refusals.
const (
	renewalDone       = "renewed"
	renewalUnknown    = "unknown"
	renewalRevoked    = "revoked"
	renewalOfAnother  = "other_agent"
	renewalUnapproved = "unapproved"
	renewalNoScope    = "scope"
	renewalAway       = "provider_away"
	renewalFailed     = "failed"
)

// RenewalOutcomes lists what comes of renewals, so that metrics can show those that
// have not happened yet.
func RenewalOutcomes() []string {
	return []string{renewalDone, renewalUnknown, renewalRevoked, renewalMax, renewalIdle, renewalOff, renewalOfAnother,
		renewalUnapproved, renewalNoScope, reauthorize, renewalAway, renewalFailed}
}

// renewalOutcome is what came of one, by how it was refused.
func renewalOutcome(c *httpapi.Call, err error) string {
	if err == nil {
		return renewalDone
	}
	e, ok := errors.AsType[*ath.Error](err)
	if !ok {
		return renewalFailed
	}
	switch e.Code {
	case ath.TokenInvalid:
		if c.Event.Reason == reauthorize {
			return reauthorize
		}
		return renewalUnknown
	case ath.TokenRevoked:
		return renewalRevoked
	case ath.TokenExpired:
		return c.Event.Reason // one of the three
	case ath.AgentIdentityMismatch:
		return renewalOfAnother
	case ath.AgentUnapproved:
		return renewalUnapproved
	case ath.ScopeNotApproved:
		return renewalNoScope
	case ath.OAuthError:
		if e.Status() == http.StatusServiceUnavailable {
			return renewalAway
		}
	}
	return renewalFailed
}
