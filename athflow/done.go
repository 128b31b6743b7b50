package athflow

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// An ownCode is the one-time code that a browser's consent ends in. It follows
// from the session's key and the browser's nonce, and is stored as a digest
// only: whoever holds the cookie can be shown it again, and nobody else.
type ownCode struct{ ath.Secret }

// ownCode is empty where no browser can prove itself.
func (v *visit) ownCode() ownCode {
	if v.session.Consent == ConsentDirect || v.browser == unseen {
		return ownCode{}
	}
	return ownCode{ath.CodeFrom(bindingMAC(v.session, "code", v.nonce))}
}

func (c ownCode) digest() ath.Digest {
	if c.IsZero() {
		return ath.Digest{}
	}
	return ath.DigestOf(c.Reveal())
}

// ends reports whether it was this browser that brought the session to where
// it is: that its code is the session's.
func (v *visit) ends() bool {
	own := v.ownCode()
	return !own.IsZero() && v.session.Code.Matches(own.Reveal())
}

// again answers a browser that comes with what it has brought already: a page
// that was loaded again, or a request that was sent twice. Nothing happens
// twice (C-1): the browser whose session it is goes to the page that shows how
// it ended.
func (f *Flow) again(w http.ResponseWriter, v *visit) error {
	if v.session.Heals && !v.ends() {
		return healsNoMore()
	}
	if v.session.Phase == tokenstore.Consumed && !v.session.Heals || !v.ends() {
		return ath.Errorf(ath.StateMismatch, "This authorization was used already.")
	}
	state, err := upstreamState(v.session, v.tag, v.nonce)
	if err != nil {
		return err
	}
	w.Header().Set("Location", ath.ConsentDonePath+"?"+url.Values{"state": {state.Secret().Reveal()}}.Encode())
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// overtaken answers a request that found its session moved on by another one,
// maybe by its own double.
func (f *Flow) overtaken(ctx context.Context, w http.ResponseWriter, v *visit, why error) error {
	if !errors.Is(why, tokenstore.ErrChanged) {
		return usedBy(why)
	}
	held, err := f.Store.Session(ctx, v.tag)
	if err != nil {
		return usedBy(err)
	}
	v.held, v.session = held, &held.Value
	return f.again(w, v)
}

// done shows the browser that ended a session how it ended, and gives the code
// again until it was redeemed: to the same browser only, and without asking the
// provider.
func (f *Flow) done(ctx context.Context, c *httpapi.Call, w http.ResponseWriter, r *http.Request) error {
	v, err := f.visitOf(ctx, c, r, single(r.URL.Query(), "state"), true)
	if err != nil {
		return err
	}
	if !v.ends() {
		return ath.Errorf(ath.StateMismatch, "This authorization was used already, or not in this browser.")
	}
	if v.session.Heals && v.session.Phase.Ends() {
		return f.afterHealing(w, v.session)
	}
	switch v.session.Phase {
	case tokenstore.Redeeming:
		return f.wait(w, v, r)
	case tokenstore.Consented:
		return f.leave(w, r, v.session, leaving{Code: v.ownCode().Secret})
	case tokenstore.Refused:
		return f.leave(w, r, v.session, leaving{Error: "access_denied", Description: "The user did not allow it.", ID: v.ID})
	case tokenstore.Failed:
		v.Event.Kind, v.Event.Reason, v.Event.Upstream = audit.AccessDenied, "server_error", v.session.Upstream
		f.Record(ctx, v.Event)
		description := "The authorization server did not go along with it."
		if v.session.Upstream != "" {
			description = "The authorization server did not go along with it: " + v.session.Upstream + "."
		}
		return f.leave(w, r, v.session, leaving{Error: "server_error", Description: description, ID: v.ID})
	}
	return ath.Errorf(ath.StateMismatch, "This authorization was used already.")
}

// maxWaits is how often the page for waiting loads itself, once a second:
// longer than a code may take to be redeemed. Whoever did that is gone then, and
// the session ends by its time.
const maxWaits = 2 * int(redeemTimeout/time.Second)

// wait shows a page that asks again by itself.
func (f *Flow) wait(w http.ResponseWriter, v *visit, r *http.Request) error {
	n, _ := strconv.Atoi(single(r.URL.Query(), "waited"))
	if n < 0 || n >= maxWaits {
		return ath.Errorf(ath.OAuthError, "The authorization server's answer did not come to an end.")
	}
	next := url.Values{"state": {v.state}, "waited": {strconv.Itoa(n + 1)}}
	return f.pages.write(w, http.StatusOK, "wait", waitPage{
		Provider: f.providerName(v.session), Next: template.URL(ath.ConsentDonePath + "?" + next.Encode()),
	})
}

// providerName is what people are shown of a session's provider.
func (f *Flow) providerName(s *tokenstore.Session) string {
	if p := f.Providers.Current().Get(s.Provider); p != nil {
		return shown(p.DisplayName)
	}
	return s.Provider
}
