package athflow

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// Healing (P-10): the provider has ended what a user had allowed, and the agent's
// token is refused with a link. Behind it the same user allows the same again, and
// the connection gets new tokens. Nothing is stored before the user has pressed a
// button: until then all that there is stands in the link.

// A healing is a browser's visit by such a link.
type healing struct {
	*visit
	of       tokenstore.Healing
	stored   bool // there is a session already
	provider *provider.Provider
	state    tokenstore.HealState
	scopes   ath.Scopes // that the agent still has there, and may have: no more is asked for, and no more is taken
}

// healingOf opens the link that a browser brings, and looks whether there is still
// something to heal. Without an error and without a connection that needs it,
// healthy is true.
func (f *Flow) healingOf(ctx context.Context, c *httpapi.Call, r *http.Request) (h *healing, healthy bool, err error) {
	h = &healing{}
	h.of, err = f.Store.OpenHealing(f.ConsentURL, strings.TrimPrefix(r.URL.Path, ath.HealPath))
	if err != nil {
		return nil, false, ath.Errorf(ath.StateMismatch, "This link is not one of this server's, or it was changed on its way.").WithCause(err)
	}
	c.Event.AgentID, c.Event.ProviderID = h.of.Agent, h.of.Provider
	if !f.Now().Before(h.of.Until) {
		return nil, false, ath.Errorf(ath.SessionExpired, "This link was made more than ten minutes ago. The agent gets a new one with its next call.")
	}
	// Also before there is a session: the cookie, and all that is derived from it,
	// belong to the session that the link leads to.
	h.visit = &visit{Call: c, tag: h.of.SessionTag()}
	switch h.held, err = f.Store.Session(ctx, h.tag); {
	case err == nil:
		h.session, h.stored = &h.held.Value, true
		if !h.session.Heals {
			return nil, false, ath.Errorf(ath.StateMismatch, "This link cannot be used here.")
		}
		if !f.Now().Before(h.session.Expires) {
			return nil, false, ath.Errorf(ath.SessionExpired, "This link was used too long ago.")
		}
	case errors.Is(err, tokenstore.ErrNotFound):
		if h.session, err = f.newHealing(&h.of); err != nil {
			return nil, false, err
		}
	default:
		return nil, false, err
	}
	h.nonce, h.browser = f.readBrowserState(r, h.session, h.tag)
	if h.session.Phase != tokenstore.Started {
		return h, false, nil // it has an end, which is shown
	}
	if healthy, err = f.lookAt(ctx, h); err == nil && !healthy && !h.stored {
		h.session.Requested, h.session.CallbackURL = h.scopes, f.callbackURL(h.provider)
	}
	return h, healthy, err
}

// newHealing is the session that a link leads to, before it is stored. Whoever
// makes it of the same link makes the same keys.
func (f *Flow) newHealing(of *tokenstore.Healing) (*tokenstore.Session, error) {
	tag, now := string(of.SessionTag()), f.Now().UTC()
	id, err := ath.ParseSessionID("ath_sess_" + tag + "_" + of.Derive("session"))
	if err != nil {
		return nil, err
	}
	return &tokenstore.Session{
		ID: id.Secret(), State: ath.DigestOf(of.Derive("state")), BrowserKey: ath.NewSecret(of.Derive("browser")),
		AgentID: of.Agent, ClientID: of.ClientID, Provider: of.Provider, ProviderAs: of.Provider,
		Consent: ConsentPage, // whatever else is configured: nobody is led on without a word
		Phase:   tokenstore.Started, User: of.User, Connection: of.Connection, Shared: of.Shared, Epoch: of.Epoch,
		Heals: true, Generation: of.Generation, Created: now, Expires: now.Add(f.SessionTTL),
	}, nil
}

// lookAt wants what the link stands for to be as it was, but for the provider's
// tokens. It is true where these are good again.
func (f *Flow) lookAt(ctx context.Context, h *healing) (healthy bool, err error) {
	h.provider = f.Providers.Current().Get(h.session.Provider)
	if h.provider == nil {
		return false, healChanged
	}
	if !h.provider.Ready() {
		return false, serverUnknown()
	}
	h.state, err = f.Store.HealState(ctx, h.healing(), termsOf(h.provider))
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		return false, healEnded
	case err != nil:
		return false, err
	}
	agent, err := f.Store.Agent(ctx, ath.AgentTag(h.session.AgentID))
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return false, err
	}
	if err != nil || agent.Value.ID != h.session.AgentID || agent.Value.ClientID != h.session.ClientID ||
		agent.Value.Generation != h.session.Generation || f.inGoodStanding(&agent.Value) != nil {
		return false, healAgent
	}
	if err := f.Registrations.CheckHost(ctx, h.session.AgentID); err != nil {
		return false, healAgent
	}
	c := &h.state.Connection
	if !h.provider.Agreed(c.Destination, c.Bound) || h.session.Shared != h.provider.SharesGrants() {
		return false, healChanged
	}
	if len(h.state.Held) == 0 {
		return false, healEnded
	}
	if f.goesOn(h.provider, c) {
		return true, nil
	}
	if approved, err := f.approved(&agent.Value, h.provider.ID); err == nil {
		h.scopes = h.state.Held.Intersect(approved).Intersect(c.Scopes)
	}
	if len(h.scopes) == 0 {
		return false, healAgent
	}
	return false, nil
}

// goesOn reports whether the agent's next call passes without the user.
func (f *Flow) goesOn(p *provider.Provider, c *tokenstore.Connection) bool {
	if c.Ended || c.Access.IsZero() || !c.RefreshStatus.Refused.IsZero() {
		return false
	}
	return c.Expires.IsZero() || f.Now().Before(c.Expires) || p.Refreshable(c.Refresh) && !c.RefreshStatus.Over(f.Now())
}

// healing is what the session heals.
func (v *visit) healing() *tokenstore.Healing {
	s := v.session
	return &tokenstore.Healing{
		Agent: s.AgentID, ClientID: s.ClientID, Generation: s.Generation, User: s.User, Provider: s.Provider,
		Connection: s.Connection, Shared: s.Shared, Epoch: s.Epoch,
	}
}

// openHealing shows the page behind a link. It changes nothing but the browser's
// cookie: whoever looks at a link, as programs do that show previews, leaves no trace.
func (f *Flow) openHealing(ctx context.Context, c *httpapi.Call, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return ath.Errorf(ath.MethodNotAllowed, "This page takes GET only.")
	}
	h, healthy, err := f.healingOf(ctx, c, r)
	if err != nil {
		return f.unhealable(ctx, w, c, err)
	}
	if healthy {
		return f.showHealed(w, h.session)
	}
	if h.session.Phase != tokenstore.Started {
		return f.again(w, h.visit)
	}
	if h.browser == unseen {
		h.nonce = newNonce()
		f.setBrowserState(w, h.session, h.tag, h.nonce, started)
	}
	page, err := f.consentPage(ctx, h.visit, h.provider)
	if err != nil {
		return err
	}
	page.Action = r.URL.Path
	return f.pages.write(w, http.StatusOK, "heal", page)
}

// decideHealing takes the user's answer. With it the link gets its session, on
// whichever replica: one, though two browsers come at once.
func (f *Flow) decideHealing(ctx context.Context, c *httpapi.Call, w http.ResponseWriter, r *http.Request) error {
	form, err := httpapi.ReadForm(w, r, maxFormBytes)
	if err != nil {
		return err
	}
	h, healthy, err := f.healingOf(ctx, c, r)
	if err != nil {
		return f.unhealable(ctx, w, c, err)
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if h.browser == unseen || (site != "" && site != "same-origin") ||
		!ath.NewSecret(formToken(h.session, h.nonce)).Equal(single(form, "token")) {
		return ath.Errorf(ath.StateMismatch, "This answer did not come from the page that was shown in this browser.")
	}
	if healthy {
		return f.showHealed(w, h.session)
	}
	decision := single(form, "decision")
	if decision != "allow" && decision != "deny" {
		return ath.Errorf(ath.InvalidRequest, "The form holds no decision.")
	}
	if h.session.Phase == tokenstore.Started {
		if err := f.storeHealing(ctx, h); err != nil {
			return err
		}
	}
	if h.session.Phase != tokenstore.Started {
		return f.again(w, h.visit)
	}
	if decision == "deny" {
		return f.endHealing(ctx, h.visit, w, r, healDenied, "")
	}
	to, err := f.toProvider(h.visit, h.provider)
	if err != nil {
		return err
	}
	f.setBrowserState(w, h.session, h.tag, h.nonce, allowed)
	return f.moveOn(w, shown(h.provider.DisplayName), to)
}

// storeHealing stores the session, or finds the one that is there.
func (f *Flow) storeHealing(ctx context.Context, h *healing) error {
	if err := f.Audit.Ready(); err != nil {
		return err
	}
	if err := f.reserveHealing(ctx, h); err != nil {
		return err
	}
	if err := f.Store.CreateSession(ctx, h.tag, *h.session); err != nil && !errors.Is(err, tokenstore.ErrExists) {
		return err
	}
	held, err := f.Store.Session(ctx, h.tag)
	if err != nil {
		return usedBy(err)
	}
	h.held, h.session = held, &held.Value
	return nil
}
