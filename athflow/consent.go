package athflow

import (
	"context"
	"errors"
	"net/http"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A visit is a browser's request about one session.
type visit struct {
	*httpapi.Call
	tag     ath.Tag
	state   string // as the browser brought it
	held    tokenstore.Held[tokenstore.Session]
	session *tokenstore.Session
	nonce   string // of the browser's cookie for this session
	browser browserState
}

// visitOf finds the session that a state parameter belongs to, and what the
// browser can prove about it. It consumes nothing (C-1). The state is that of
// the link, or, where the provider has sent the browser back, the one that
// this very browser took there.
func (f *Flow) visitOf(ctx context.Context, c *httpapi.Call, r *http.Request, state string, back bool) (*visit, error) {
	unknown := ath.Errorf(ath.StateMismatch, "This authorization is not known here, or it was used already.")
	parsed, err := ath.ParseState(state)
	if err != nil {
		return nil, unknown
	}
	held, err := f.Store.Session(ctx, parsed.Tag())
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	v := &visit{Call: c, tag: parsed.Tag(), state: state, held: held, session: &held.Value}
	v.nonce, v.browser = f.readBrowserState(r, v.session, v.tag)
	if back && v.session.Consent != ConsentDirect {
		if v.browser == unseen {
			return nil, ath.Errorf(ath.StateMismatch, "This authorization was not started in this browser.")
		}
		own, err := upstreamState(v.session, v.tag, v.nonce)
		if err != nil || !own.Secret().Equal(state) {
			return nil, unknown
		}
	} else if !v.session.State.Matches(state) {
		return nil, unknown
	}
	c.Event.AgentID, c.Event.ProviderID, c.Event.Requested = held.Value.AgentID, held.Value.Provider, held.Value.Requested
	if !f.Now().Before(held.Value.Expires) {
		return nil, ath.Errorf(ath.SessionExpired, "This authorization was started too long ago.")
	}
	return v, nil
}

// stillOpen wants a session that nobody has moved on.
func (v *visit) stillOpen() error {
	if v.session.Phase != tokenstore.Started {
		return ath.Errorf(ath.StateMismatch, "This authorization was used already.")
	}
	return nil
}

// elsewhere reports whether the provider was changed since authorize, such that its
// code would be redeemed at another server, or the user's token go to another API, than
// the user is asked to allow (O-2). What heals is compared with its connection.
func (v *visit) elsewhere(p *provider.Provider) bool {
	s := v.session
	return s.Destination != "" && p.Ready() && !p.Agreed(s.Destination, s.Bound)
}

// toProvider is where this browser goes to ask the user.
func (f *Flow) toProvider(v *visit, p *provider.Provider) (string, error) {
	state, err := upstreamState(v.session, v.tag, v.nonce)
	if err != nil {
		return "", err
	}
	if !p.Ready() {
		return "", serverUnknown()
	}
	return providerURL(p, v.session, state, upstreamVerifier(v.session, v.nonce)), nil
}

// start is where the agent sends the user. It changes nothing but the
// browser's cookie, so that a link preview is harmless (Z-3).
func (f *Flow) start(ctx context.Context, c *httpapi.Call, w http.ResponseWriter, r *http.Request) error {
	v, err := f.visitOf(ctx, c, r, single(r.URL.Query(), "state"), false)
	if err == nil {
		err = v.stillOpen()
	}
	if err != nil {
		return err
	}
	p := f.Providers.Current().Get(v.session.Provider)
	if p == nil || v.session.Consent == ConsentDirect || v.session.Heals || v.elsewhere(p) {
		return ath.Errorf(ath.StateMismatch, "This authorization cannot be continued here.")
	}
	if v.browser == unseen {
		v.nonce = newNonce()
		f.setBrowserState(w, v.session, v.tag, v.nonce, started)
	}
	if v.session.Consent == ConsentRedirect {
		to, err := f.toProvider(v, p)
		if err != nil {
			return err
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
		return nil
	}
	page, err := f.consentPage(ctx, v, p)
	if err != nil {
		return err
	}
	return f.pages.write(w, http.StatusOK, "consent", page)
}

func (f *Flow) consentPage(ctx context.Context, v *visit, p *provider.Provider) (consentPage, error) {
	agent, err := ath.ParseAgentID(v.session.AgentID, f.AllowHTTP)
	if err != nil {
		return consentPage{}, err
	}
	held, err := f.Store.Agent(ctx, agent.Tag())
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return consentPage{}, err
	}
	// An agent that lost its standing since authorize gets no consent.
	if err != nil || held.Value.ClientID != v.session.ClientID || f.inGoodStanding(&held.Value) != nil {
		return consentPage{}, ath.Errorf(ath.AgentUnapproved, "The agent that sent you here is not approved.")
	}
	name, developer := held.Value.Name, held.Value.Developer.Name
	identity := f.Attest.Pinned(agent.String())
	if identity != nil {
		name, developer = identity.Name, identity.Developer.Name
	}
	written, _ := writingOf(agent.Host())
	return consentPage{
		Agent: shown(name), Domain: agent.Host().String(), Written: written, Pinned: identity != nil, AgentID: agent.String(),
		Developer: shown(developer), Purpose: shown(held.Value.Purpose),
		Provider: shown(p.DisplayName), Scopes: v.session.Requested,
		Standing: f.standing(v, shown(p.DisplayName), p.Renewal),
		Action:   ath.ConsentDecidePath, State: v.state, Token: formToken(v.session, v.nonce),
	}, nil
}

const maxFormBytes = 8 << 10

// decide takes the user's answer from the consent page (Z-5). Only the browser
// that the page was shown to can give it: the form's token prevents CSRF.
func (f *Flow) decide(ctx context.Context, c *httpapi.Call, w http.ResponseWriter, r *http.Request) error {
	form, err := httpapi.ReadForm(w, r, maxFormBytes)
	if err != nil {
		return err
	}
	v, err := f.visitOf(ctx, c, r, single(form, "state"), false)
	if err != nil {
		return err
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if v.browser == unseen || (site != "" && site != "same-origin") ||
		!ath.NewSecret(formToken(v.session, v.nonce)).Equal(single(form, "token")) {
		return ath.Errorf(ath.StateMismatch, "This answer did not come from the page that was shown in this browser.")
	}
	if v.session.Phase == tokenstore.Refused {
		return f.again(w, v) // the page that says so was loaded again
	}
	if err := v.stillOpen(); err != nil {
		return err
	}
	p := f.Providers.Current().Get(v.session.Provider)
	if p == nil || v.session.Consent != ConsentPage || v.session.Heals || v.elsewhere(p) {
		return ath.Errorf(ath.StateMismatch, "This authorization cannot be continued here.")
	}
	switch single(form, "decision") {
	case "allow":
		terms, err := termsShown(v.session, v.nonce, single(form, "renewal"))
		if err != nil {
			return ath.Errorf(ath.StateMismatch, "This answer did not come from the page that was shown in this browser.").WithCause(err)
		}
		to, err := f.toProvider(v, p)
		if err != nil {
			return err
		}
		if err := f.agree(ctx, v, terms); err != nil {
			return err
		}
		f.setBrowserState(w, v.session, v.tag, v.nonce, allowed)
		return f.moveOn(w, shown(p.DisplayName), to)
	case "deny":
		return f.endSession(ctx, v, w, r, ending{phase: tokenstore.Refused, code: "access_denied", description: "The user did not allow it."})
	}
	return ath.Errorf(ath.InvalidRequest, "The form holds no decision.")
}

// An ending is how a session ends without a grant.
type ending struct {
	phase       tokenstore.Phase
	code        string // for the agent, of RFC 6749, section 4.1.2.1
	description string
	upstream    string // what the provider's server said, for the agent; "" where it has said nothing
}

// endSession closes a session without a grant, and tells the agent by its
// redirect, or the user by a page (C-5, C-6).
func (f *Flow) endSession(ctx context.Context, v *visit, w http.ResponseWriter, r *http.Request, e ending) error {
	if v.session.Heals {
		why := healFailed
		if e.phase == tokenstore.Refused {
			why = healDenied
		}
		return f.endHealing(ctx, v, w, r, why, "")
	}
	next := *v.session
	next.Phase, next.Code, next.Upstream = e.phase, v.ownCode().digest(), e.upstream
	if _, err := f.Store.SwapSession(ctx, v.held, next); err != nil {
		return f.overtaken(ctx, w, v, err)
	}
	v.Event.Kind, v.Event.Reason, v.Event.Denied = audit.AccessDenied, e.code, v.session.Requested
	f.Record(ctx, v.Event)
	return f.leave(w, r, &next, leaving{Error: e.code, Description: e.description, ID: v.ID})
}

// usedBy says what it means that somebody else moved the session on.
func usedBy(err error) error {
	if errors.Is(err, tokenstore.ErrChanged) || errors.Is(err, tokenstore.ErrNotFound) {
		return ath.Errorf(ath.StateMismatch, "This authorization was used already.")
	}
	return err
}
