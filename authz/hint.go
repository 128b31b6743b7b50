package authz

import (
	"slices"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// A hint is what a refusal contains beside its code, so that an agent which knows
// nothing but the API's address can go on: where discovery is (P-1), or which
// scope to ask the user for (P-11). It depends on host and path, on what the
// token's own agent holds, and never on whether a token exists (E-3).
type hint struct {
	discovery string
	provider  string // as the agent calls it
	scopes    ath.Scopes
}

// newHints returns the hints of 401, by the provider's id; "" is gateway
// discovery. They are made once, since every request without a token gets one.
func newHints(publicURL string, set *provider.Set) map[string]*hint {
	if publicURL == "" {
		return nil
	}
	hints := map[string]*hint{"": {discovery: publicURL + ath.DiscoveryPath}}
	apps := set.Apps()
	for _, app := range apps {
		if app.App.Audience != "" && (len(apps) == 1 || hasHostOf(app, app.App.Audience)) {
			hints[app.ID] = &hint{discovery: app.App.Audience + ath.AppDiscoveryPath}
		}
	}
	return hints
}

// hasHostOf reports whether the URL's host is one of the app's own: of several
// apps, the one at whose host it is asked is published.
func hasHostOf(app *provider.Provider, of string) bool {
	asked := ath.RequestedHostOf(of)
	return !asked.IsZero() && slices.Contains(app.App.RoutedHosts(), asked)
}

// hint returns what a refusal contains beside its code; nil: nothing.
func (q *evaluation) hint(reason Reason) *hint {
	switch reason {
	case TokenMissing, TokenMalformed, TokenUnknown, TokenRevoked, TokenExpired, ReauthorizationRequired:
		if q.provider != nil && q.provider.App != nil && q.request.Mount == "" {
			if h := q.hints[q.provider.ID]; h != nil {
				return h
			}
		}
		return q.hints[""]
	case ScopeMissing, UpgradeNotAllowed:
		return q.scopeHint(reason == UpgradeNotAllowed)
	}
	return nil
}

// scopeHint names the scope that covers the request and least else. One that
// the operator has approved for the agent comes first: then only the user is to
// be asked.
func (q *evaluation) scopeHint(upgrade bool) *hint {
	able := q.provider.Covering(q.request.Method, q.segments, upgrade)
	if len(able) == 0 {
		return nil
	}
	scope := able[0]
	if a := q.reading.Agent.Approval(q.provider.ID, q.provider.Aliases...); a != nil {
		if approved := able.Intersect(a.Approved); len(approved) > 0 {
			scope = approved[0]
		}
	}
	return &hint{provider: q.reading.Grant.Provider, scopes: ath.Scopes{scope}}
}

// addTo adds the hint to the refusal's details.
func (h *hint) addTo(e *ath.Error) *ath.Error {
	switch {
	case h == nil:
		return e
	case h.discovery != "":
		return e.WithDetail("discovery", h.discovery)
	}
	return e.WithDetail("next", map[string]any{"step": "authorize", "provider_id": h.provider, "scopes": h.scopes})
}
