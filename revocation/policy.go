package revocation

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// The outcomes of calls to providers, and of what comes to no call.
const (
	outcomeFailed  = "failed"   // no answer, or one that is none: there is another try
	outcomeGivenUp = "given_up" // a day after the first try
	outcomeDropped = "dropped"  // it waited for too long, or too many do
	outcomeMoved   = "moved"    // the provider's token endpoint or client is another one now
)

// Outcomes lists them, so that metrics can show those that have not happened yet.
func Outcomes() []string {
	return []string{
		string(provider.RevokedNow), string(provider.RevokedGone), string(provider.RevokedUnsupported), outcomeFailed, outcomeGivenUp, outcomeDropped, outcomeMoved,
		string(tokenstore.UpstreamNever), string(tokenstore.UpstreamUserUnknown), string(tokenstore.UpstreamUnreadable),
	}
}

// A Policy decides by the providers' configuration what becomes of a grant when its
// connection ends. It is what [tokenstore.Config].Upstream asks.
type Policy struct {
	Providers *provider.Providers
	// Find returns the provider at which the tokens of a connection are revoked, which
	// was made under this name and bound to this (O-2); nil: it is not known.
	// nil: whichever of Providers has the name. It must not be set once the policy is in use.
	Find   func(name, destination, bound string) *provider.Provider
	Logger *slog.Logger
	// Observe is called with each outcome, one of [Outcomes].
	Observe func(provider, outcome string)

	trail atomic.Pointer[audit.Log] // is there later than the store
}

// Judge implements [tokenstore.UpstreamPolicy].
func (p *Policy) Judge(tag ath.Tag, c *tokenstore.Connection) tokenstore.Upstream {
	of := p.find(c.Provider, c.Destination, c.Bound)
	if of == nil {
		return tokenstore.UpstreamQueued // it may be configured again within the day
	}
	return tokenstore.UpstreamOf(of, c.User != string(tag))
}

// Ended implements [tokenstore.UpstreamPolicy].
func (p *Policy) Ended(whose tokenstore.ConnectionRef, what tokenstore.Upstream) {
	if what == tokenstore.UpstreamQueued {
		return
	}
	id := p.idOf(whose.Provider)
	p.Observe(id, string(what))
	if what != tokenstore.UpstreamUnreadable {
		return
	}
	p.Logger.Error("upstream grant not revoked", "provider_id", id, "reason", what,
		"hint", "the connection did not open, or changed again and again, and has ended without: revoke the user's grant at the provider")
	p.record(audit.RevocationFailed, whose, string(what), "")
}

func (p *Policy) find(name, destination, bound string) *provider.Provider {
	if p.Find != nil {
		return p.Find(name, destination, bound)
	}
	return p.Providers.Current().Lookup(name)
}

// idOf is the provider's own id, for metrics: what is not configured has no name
// there.
func (p *Policy) idOf(name string) string {
	if of := p.Providers.Current().Lookup(name); of != nil {
		return of.ID
	}
	return "unknown"
}

func (p *Policy) record(kind audit.Kind, whose tokenstore.ConnectionRef, reason, upstream string) {
	trail := p.trail.Load()
	if trail == nil {
		return
	}
	trail.Record(context.Background(), audit.Event{
		Kind: kind, AgentID: whose.Agent, UserID: whose.User, ProviderID: whose.Provider, DecisionID: ath.NewDecisionID(), Reason: reason, Upstream: upstream,
	})
}
