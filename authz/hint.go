package authz

import (
	"cmp"
	"slices"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A hint is what a refusal contains beside its code, so that an agent which knows
// nothing but the API's address can go on: where discovery is (P-1), or which
// scope to ask the user for (P-11). It depends on host and path, on what the
// token's own agent holds, and never on whether a token exists (E-3).
type hint struct {
	discovery string
	heal      string // where the user gives the connection new tokens (P-10)
	provider  string // as the agent calls it
	scopes    ath.Scopes
	// unapproved: the agent is not approved for them, so that /ath/authorize
	// refuses until it has registered for them.
	unapproved bool
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
	case ReauthorizationRequired:
		return q.healingHint(q.discoveryHint())
	case TokenMissing, TokenMalformed, TokenUnknown, TokenRevoked, TokenExpired:
		return q.discoveryHint()
	case ScopeMissing, ScopeDenied, UpgradeNotAllowed:
		return q.scopeHint(reason == UpgradeNotAllowed)
	}
	return nil
}

func (q *evaluation) discoveryHint() *hint {
	if q.provider != nil && q.provider.App != nil && q.request.Mount == "" {
		if h := q.hints[q.provider.ID]; h != nil {
			return h
		}
	}
	return q.hints[""]
}

// scopeHint names the scope that covers the request and least else. One that
// the operator has approved for the agent comes first: then only the user is to
// be asked. Else the agent has to register for it before, which the hint says;
// what a policy denied once it may approve today, but never what an operator
// denied, or a rule denies now, so that nobody is sent to ask for that.
func (q *evaluation) scopeHint(upgrade bool) *hint {
	approval := q.reading.Agent.Approval(q.provider.ID, q.provider.Aliases...)
	if approval == nil {
		approval = &tokenstore.Approval{}
	}
	const approved, unasked, denied, barred = 0, 1, 2, 3
	scope, best := "", barred
	covering := q.provider.Covering(q.request.Method, q.segments, upgrade)
	ruledOut := q.denials.denied(q.reading.Agent, q.provider, covering)
	for _, s := range covering {
		standing := unasked
		switch {
		case ruledOut.Has(s):
			standing = barred
		case approval.Approved.Has(s):
			standing = approved
		case approval.OperatorDenied.Has(s):
			standing = barred
		case approval.Denied.Has(s):
			standing = denied
		}
		if standing < best {
			scope, best = s, standing
		}
	}
	if best == barred {
		return nil
	}
	return &hint{provider: cmp.Or(q.reading.Grant.ProviderAs, q.reading.Grant.Provider), scopes: ath.Scopes{scope}, unapproved: best != approved}
}

// addTo adds the hint to the refusal's details.
func (h *hint) addTo(e *ath.Error) *ath.Error {
	switch {
	case h == nil:
		return e
	case h.discovery != "" || h.heal != "":
		if h.discovery != "" {
			e = e.WithDetail("discovery", h.discovery)
		}
		if h.heal != "" {
			e = e.WithDetail("authorization_url", h.heal)
		}
		return e
	}
	next := map[string]any{"step": "authorize", "provider_id": h.provider, "scopes": h.scopes}
	if h.unapproved {
		next["unapproved_scopes"] = h.scopes
	}
	return e.WithDetail("next", next)
}
