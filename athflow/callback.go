package athflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const (
	maxCodeBytes  = 16 << 10
	redeemTimeout = 12 * time.Second
)

// callback is where the provider sends the user back. It is accepted once,
// and only from the browser that passed through here on its way (Z-3, C-1).
func (f *Flow) callback(ctx context.Context, c *httpapi.Call, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet { // a HEAD would spend the code
		return ath.Errorf(ath.MethodNotAllowed, "The callback takes GET only.")
	}
	q := r.URL.Query()
	c.Event.Upstream = provider.SaidCode(single(q, "error")) // also where the server has lost the state
	v, err := f.visitOf(ctx, c, r, single(q, "state"), true)
	if err != nil {
		return err
	}
	if !mayReturn(v) {
		return ath.Errorf(ath.StateMismatch, "This authorization was not allowed in this browser.")
	}
	p := f.Providers.Current().Get(v.session.Provider)
	if p == nil {
		return ath.Errorf(ath.StateMismatch, "This authorization cannot be continued here.")
	}
	if !p.Ready() {
		return serverUnknown()
	}
	if err := f.fromProvider(ctx, v, p, r); err != nil {
		return err
	}
	if v.session.Phase != tokenstore.Started {
		return f.again(w, v)
	}
	if q.Has("error") {
		return f.refusedThere(ctx, v, p, w, r)
	}
	code := single(q, "code")
	if code == "" {
		return ath.Errorf(ath.InvalidRequest, "The authorization server sent no code.")
	}
	if v.elsewhere(p) {
		return f.failed(ctx, v, w, r, "The provider was changed while the user was asked. Authorize again.",
			"nothing: an operator has changed the provider since authorize, and its code is not for the server or API of now", "provider_changed")
	}
	if len(code) > maxCodeBytes {
		return f.failed(ctx, v, w, r, "The authorization server sent a code that is too long.",
			fmt.Sprintf("a code of %d bytes, and at most %d are taken", len(code), maxCodeBytes), "code_too_long")
	}
	next := *v.session
	// The code of ours follows from this browser's nonce, so that whoever comes
	// back while it is made can be told from others.
	next.Phase, next.Code = tokenstore.Redeeming, v.ownCode().digest()
	held, err := f.Store.SwapSession(ctx, v.held, next)
	if err != nil {
		return f.overtaken(ctx, w, v, err)
	}
	v.held, v.session = held, &held.Value

	// The code is spent now: what follows must not end with the browser's
	// connection.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redeemTimeout)
	defer cancel()
	if v.session.Heals {
		return f.heal(ctx, v, p, ath.NewSecret(code), w, r)
	}
	ours, err := f.redeem(ctx, v, p, ath.NewSecret(code))
	if errors.Is(err, errUserEnded) {
		return f.endSession(ctx, v, w, r, ending{tokenstore.Refused, "access_denied", "An operator has ended what this user allowed. Authorize again.", userEnded})
	}
	if why := unshared(err); why != "" {
		return f.failed(ctx, v, w, r, why+" Authorize again, or tell the operator.", err.Error(), "not_shared")
	}
	if err != nil {
		refused := (*provider.ExchangeError)(nil)
		if !errors.As(err, &refused) {
			return err
		}
		return f.failed(ctx, v, w, r, "The authorization server did not redeem the code: "+refused.Brief()+".", refused.Said(), refused.Brief())
	}
	return f.leave(w, r, v.session, leaving{Code: ours})
}

// fromProvider wants the answer to be from the server that was asked (C-2): the
// code of another one is never sent to this one (RFC 9207, RFC 9700, section
// 4.4). It must arrive where that server was told to send it, and name no other
// server, by its iss if that is sent or promised.
func (f *Flow) fromProvider(ctx context.Context, v *visit, p *provider.Provider, r *http.Request) error {
	if asked, err := url.Parse(v.session.CallbackURL); err != nil || asked.Path != r.URL.Path {
		return otherServer(v, "the answer arrived at "+r.URL.Path+", which is not this provider's redirect URI")
	}
	switch iss, sent := r.URL.Query()["iss"]; {
	case !sent && f.OAuth.PromisesIssuer(ctx, p):
		return otherServer(v, "iss: it is not there, though the metadata of "+provider.Quoted(p.Issuer)+" promises it")
	case !sent:
	case len(iss) != 1:
		return otherServer(v, "iss: it is there more than once")
	case p.Issuer != "" && iss[0] != p.Issuer:
		return otherServer(v, "iss: "+provider.TwoIssuers(p.Issuer, iss[0]))
	case p.Issuer == "":
		if other := f.Providers.Current().ByIssuer(iss[0], p); other != nil {
			return otherServer(v, "iss: "+provider.Quoted(iss[0])+" is the server of "+other.ID)
		}
	}
	return nil
}

// otherServer refuses an answer and leaves the session as it is: the right one
// may still come. The agent and the user hear less than log and event.
func otherServer(v *visit, why string) error {
	v.Event.Upstream = why
	return ath.Errorf(ath.StateMismatch, "The answer came from another authorization server.").WithCause(errors.New(why))
}

// refusedThere ends a session whose authorization the provider's server
// answered with an error (RFC 6749, section 4.1.2.1).
func (f *Flow) refusedThere(ctx context.Context, v *visit, p *provider.Provider, w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	sent := single(q, "error")
	code, description := cmp.Or(provider.SaidCode(sent), "malformed"), provider.Said(single(q, "error_description"))
	said := code
	if description != "" {
		said += ": " + description
	}
	if p.Declined(sent) {
		v.Event.Upstream = said
		f.Logger.InfoContext(ctx, "the user declined at the authorization server", "decision_id", v.ID, "provider_id", p.ID, "upstream_error", said)
		return f.endSession(ctx, v, w, r, ending{tokenstore.Refused, "access_denied", "The user did not allow it.", code})
	}
	return f.failed(ctx, v, w, r, "The authorization server refused the request: "+code+".", said, code)
}

// failed ends a session because of the provider's server. The log and the event
// hold what it said, the agent a code.
func (f *Flow) failed(ctx context.Context, v *visit, w http.ResponseWriter, r *http.Request, description, said, code string) error {
	v.Event.Upstream = said
	f.Logger.WarnContext(ctx, "the authorization server gave no grant", "decision_id", v.ID, "provider_id", v.session.Provider, "upstream_error", said)
	return f.endSession(ctx, v, w, r, ending{tokenstore.Failed, "server_error", description, code})
}

// mayReturn says whether the browser has proved enough for the kind of consent
// that the session was started with.
func mayReturn(v *visit) bool {
	switch v.session.Consent {
	case ConsentPage:
		return v.browser == allowed
	case ConsentRedirect:
		return v.browser == started || v.browser == allowed
	case ConsentDirect:
		return true
	}
	return false
}

// leaving is what the agent is told through the browser: a code, or an error
// of RFC 6749, section 4.1.2.1.
type leaving struct {
	Code        ath.Secret
	Error       string
	Description string
	ID          string // of the decision, for the page that reports a failure
}

// leave sends the browser back to the agent (C-6), or shows how it went.
func (f *Flow) leave(w http.ResponseWriter, r *http.Request, s *tokenstore.Session, l leaving) error {
	if s.RedirectURI == "" {
		return f.showEnd(w, s, l)
	}
	u, err := url.Parse(s.RedirectURI)
	if err != nil {
		return err
	}
	q := url.Values{}
	q.Set("state", s.AgentState)
	q.Set("ath_session_id", s.ID.Reveal())
	if l.Error != "" {
		q.Set("error", l.Error)
		q.Set("error_description", l.Description)
	} else {
		q.Set("code", l.Code.Reveal())
		q.Set("session_id", s.ID.Reveal())
		q.Set("success", "true")
		q.Set("iss", f.PublicURL)
	}
	// Existing parameters stay as they are, byte for byte.
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += q.Encode()
	if r.Method == http.MethodPost {
		return f.moveOn(w, "the agent", u.String())
	}
	w.Header().Set("Location", u.String())
	w.WriteHeader(http.StatusFound)
	return nil
}

// moveOn answers our own form. It is a page that moves on by itself, since a
// redirect would have to satisfy form-action along its whole chain of hosts.
// The URL is one that was checked: a provider's of the configuration, or a
// redirect that the agent registered, whose scheme may be its own.
func (f *Flow) moveOn(w http.ResponseWriter, to, checked string) error {
	return f.pages.write(w, http.StatusOK, "continue", continuePage{To: to, URL: template.URL(checked)})
}

// endOf is the page at the end of a session.
func (f *Flow) endOf(s *tokenstore.Session) endPage {
	page := endPage{Provider: f.providerName(s)}
	if agent, err := ath.ParseAgentID(s.AgentID, f.AllowHTTP); err == nil {
		page.Domain = agent.Host().String()
		if identity := f.Attest.Pinned(s.AgentID); identity != nil {
			page.Pinned = shown(identity.Name)
		}
	}
	return page
}

func (f *Flow) showEnd(w http.ResponseWriter, s *tokenstore.Session, l leaving) error {
	page := f.endOf(s)
	switch l.Error {
	case "":
		page.Code = l.Code.Reveal()
		return f.pages.write(w, http.StatusOK, "done", page)
	case "access_denied":
		return f.pages.write(w, http.StatusOK, "denied", page)
	}
	return f.pages.write(w, http.StatusBadGateway, "error", errorPage{
		Code: ath.OAuthError, Message: l.Description, DecisionID: l.ID,
	})
}

// single returns a parameter that was given exactly once, else "" : a
// parameter given twice reads differently in two places.
func single(q url.Values, name string) string {
	if v := q[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}
