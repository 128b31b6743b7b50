package athflow

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// An unhealed is what became of a link by which a connection was to be healed: as
// an error, why it was not.
type unhealed string

// The outcomes. What a connection is like that is not healed they leave as it was.
const (
	healDone      unhealed = "healed"
	healAlready   unhealed = "already"        // it had good tokens when the user came back
	healDenied    unhealed = "denied"         // the user said no, here or at the provider
	healOtherUser unhealed = "other_user"     // somebody else was signed in at the provider
	healUnproven  unhealed = "user_unproven"  // the provider did not say who was
	healEnded     unhealed = "ended"          // user, agent or operator ended it meanwhile, or its time is over
	healAgent     unhealed = "agent_unfit"    // the agent is suspended, removed, or not approved for any of it
	healChanged   unhealed = "provider_moved" // token endpoint, client, API host or grants is another one now
	healNoScope   unhealed = "no_scope"       // the provider granted nothing of what was asked for
	healFailed    unhealed = "failed"         // the provider's server gave no tokens
)

// HealingOutcomes lists them, so that metrics can show those that have not happened
// yet.
func HealingOutcomes() []string {
	all := []unhealed{healDone, healAlready, healDenied, healOtherUser, healUnproven, healEnded, healAgent, healChanged, healNoScope, healFailed}
	out := make([]string, len(all))
	for i, o := range all {
		out[i] = string(o)
	}
	return out
}

// Error implements error.
func (u unhealed) Error() string { return "a connection is not healed: " + string(u) }

// sentence is what the user is told.
func (u unhealed) sentence() string {
	switch u {
	case healDenied:
		return "You did not allow it."
	case healOtherUser:
		return "You are signed in there as somebody else than the person who allowed this agent. Only that person can allow it again."
	case healUnproven:
		return "It was not said who you are."
	case healEnded:
		return "This access was ended on purpose, or its time is over. The agent has to ask you for a new one."
	case healAgent:
		return "The agent is not approved for this any more."
	case healChanged:
		return "The operator has changed how this service is reached. The agent has to ask you for new access."
	case healNoScope:
		return "Nothing of what the agent was allowed before was allowed now."
	}
	return "The service did not go along with it. You can try again with the agent's next link."
}

// unhealable shows why there is nothing to heal behind a link; other errors it
// leaves.
func (f *Flow) unhealable(ctx context.Context, w http.ResponseWriter, c *httpapi.Call, err error) error {
	why, is := errors.AsType[unhealed](err)
	if !is {
		return err
	}
	c.Event.Kind, c.Event.Reason = audit.AccessDenied, "healing_"+string(why)
	f.Record(ctx, c.Event)
	f.ObserveHealing(f.ownID(c.Event.ProviderID), string(why))
	return f.showUnhealed(w, c.Event.ProviderID, why)
}

// endHealing closes a session that heals nothing, and says so.
func (f *Flow) endHealing(ctx context.Context, v *visit, w http.ResponseWriter, _ *http.Request, why unhealed, said string) error {
	next := *v.session
	next.Phase, next.Code, next.Upstream = tokenstore.Refused, v.ownCode().digest(), string(why)
	if why == healFailed {
		next.Phase = tokenstore.Failed
	}
	if _, err := f.Store.SwapSession(ctx, v.held, next); err != nil {
		return f.overtaken(ctx, w, v, err)
	}
	v.Event.Kind, v.Event.Reason, v.Event.Denied = audit.AccessDenied, "healing_"+string(why), v.session.Requested
	if said != "" {
		v.Event.Upstream = said
	}
	f.Record(ctx, v.Event)
	f.ObserveHealing(f.ownID(next.Provider), string(why))
	return f.showUnhealed(w, next.Provider, why)
}

// ownID is a provider's own id, for metrics; "unknown" where it is none any more.
func (f *Flow) ownID(name string) string {
	if p := f.Providers.Current().Get(name); p != nil {
		return p.ID
	}
	return "unknown"
}

// afterHealing shows again how a session has ended.
func (f *Flow) afterHealing(w http.ResponseWriter, s *tokenstore.Session) error {
	if s.Phase == tokenstore.Consumed {
		return f.showHealed(w, s)
	}
	return f.showUnhealed(w, s.Provider, unhealed(s.Upstream))
}

func (f *Flow) showHealed(w http.ResponseWriter, s *tokenstore.Session) error {
	return f.pages.write(w, http.StatusOK, "healed", f.endOf(s))
}

func (f *Flow) showUnhealed(w http.ResponseWriter, provider string, why unhealed) error {
	status := http.StatusForbidden
	if why == healDenied {
		status = http.StatusOK
	}
	return f.pages.write(w, status, "unhealed", unhealedPage{Provider: f.providerName(&tokenstore.Session{Provider: provider}), Reason: string(why), Why: why.sentence()})
}

// maxHealings is how many links to one connection may be under way at once: enough
// for a user's browsers, and no way to fill the store for who has a token.
const maxHealings = 20

// reserveHealing counts a session of a connection that is about to be opened. It
// does not count among those of the agent: who has copied a token must not take
// those away.
func (f *Flow) reserveHealing(ctx context.Context, h *healing) error {
	err := f.Store.ReserveSession(ctx, h.of.Connection, h.tag, h.session.Expires, maxHealings)
	if full := (*tokenstore.QuotaError)(nil); errors.As(err, &full) {
		f.Limited("healings_per_connection")
		return httpapi.TooMany("Too many links of this kind are in use; use one of them, or wait until they are over.", time.Minute)
	}
	return err
}

func healsNoMore() error {
	return ath.Errorf(ath.StateMismatch, "This link was used already. If the agent still needs one, it gets another with its next call.")
}
