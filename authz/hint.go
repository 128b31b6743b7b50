package authz

import (
	"net/url"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// A hint is what a refusal tells beside its code, so that an agent which knows
// nothing but the API's address finds the way: where discovery is (P-1), or
// which scope to ask the user for (P-11). It depends on the place, on what the
// token's own agent holds, and never on whether a token exists (E-3).
type hint struct {
	discovery string
	provider  string // as the agent calls it
	scopes    ath.Scopes
}

// hints are those of 401, by the provider's id; "" is gateway discovery.
// They are made once, since whoever sends no token gets one.
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
	u, err := url.Parse(of)
	if err != nil {
		return false
	}
	asked := ath.RequestedHost(u.Host)
	for _, h := range app.App.Hosts {
		if !asked.IsZero() && h.WithoutPort() == asked.WithoutPort() {
			return true
		}
	}
	return false
}

// hint returns what a refusal tells beside its code; nil: nothing.
func (q *inquiry) hint(reason Reason) *hint {
	switch reason {
	case TokenMissing, TokenMalformed, TokenUnknown, TokenRevoked, TokenExpired, Reauthorize:
		if q.provider != nil && q.provider.App != nil && q.request.Mount == "" {
			if h := q.hints[q.provider.ID]; h != nil {
				return h
			}
		}
		return q.hints[""]
	case ScopeMissing, UpgradeRefused:
		return q.scopeHint(reason == UpgradeRefused)
	}
	return nil
}

// scopeHint names the scope that covers the request and least else. One that
// the operator has approved for the agent comes first: then only the user is to
// be asked.
func (q *inquiry) scopeHint(upgrade bool) *hint {
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

// tell adds the hint to the refusal's details.
func (h *hint) tell(e *ath.Error) *ath.Error {
	switch {
	case h == nil:
		return e
	case h.discovery != "":
		return e.WithDetail("discovery", h.discovery)
	}
	return e.WithDetail("next", map[string]any{"step": "authorize", "provider_id": h.provider, "scopes": h.scopes})
}
