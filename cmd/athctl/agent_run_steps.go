package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	identity "github.com/athd/athd/cmd/athdemo/agent"
)

func (w *wholeWalk) discover(ctx context.Context) (err error) {
	if w.found, err = discover(ctx, w.client); err != nil {
		return err
	}
	if w.found.Gateway != nil {
		w.check(w.found.Gateway.ID == w.base, "D-1: the server names itself as it was asked", w.found.Gateway.ID)
	}
	names := w.found.names()
	if w.provider == "" {
		if len(names) != 1 {
			return fmt.Errorf("which provider? There are: %s\nnext: -provider ID", printable(strings.Join(names, ", "), 500))
		}
		w.provider = names[0]
	}
	offered := w.found.scopesOf(w.provider)
	if len(offered) == 0 {
		return fmt.Errorf("the server offers no provider %s, but: %s\nnext: -provider ID", printable(w.provider, 64), printable(strings.Join(names, ", "), 500))
	}
	if len(w.scopes) == 0 {
		w.scopes = offered
	}
	w.check(within(w.scopes, offered), "the scopes are offered", offered)
	w.api, err = w.apiOf(&w.found, w.provider, w.mode)
	return err
}

func (w *wholeWalk) registerOnce(ctx context.Context) error {
	reply, err := w.register(ctx, w.provider, w.scopes, nil, w.replace)
	if refusal, ok := errors.AsType[*identity.Refusal](err); ok && refusal.Code == string(ath.Conflict) && w.client.ID != "" {
		w.check(refusal.Details["client_id"] == w.client.ID, "R-2: the agent is registered already, as the state says; it goes on with that", refusal.Details["client_id"])
		reply, err = w.client.Own(ctx)
	}
	if err != nil {
		return err
	}
	w.check(reply.Status == "approved", "the agent is approved", reply.Status)
	approved := approvedFor(&reply, w.provider)
	if len(approved) == 0 && w.found.isApp(w.provider) {
		approved = approvedFor(&reply, w.found.App.ID) // its own name, in a reply that was not asked by the other
	}
	for _, s := range w.scopes {
		if slices.Contains(approved, s) {
			w.approved = append(w.approved, s)
		}
	}
	if len(w.approved) == 0 {
		return fmt.Errorf("no scope is approved for %s: the agent is %s\nnext: the operator decides, with athctl agents approve %s; then run this again",
			printable(w.provider, 64), printable(reply.Status, 20), printable(reply.ClientID, 60))
	}
	return nil
}

func (w *wholeWalk) authorizeUser(ctx context.Context) (err error) {
	if w.way, err = w.openWay(w.redirect); err != nil {
		return err
	}
	w.session, w.link, err = w.authorize(ctx, w.provider, w.approved, w.api, w.way)
	return err
}

// consent leaves it to a person, or plays the browser.
func (w *wholeWalk) consent(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	if w.consentWith != "" {
		w.code, err = w.playUser(ctx)
	} else {
		// Not through the transcript, which would shorten it; and where programs
		// do not look for it.
		fmt.Fprintf(w.stderr, "\nopen this in a browser, as the user whose account it is:\n\n  %s\n\n", w.link)
		w.code, err = w.awaitCode(ctx, w.session, w.way)
	}
	if err != nil {
		return err
	}
	if w.way.listener != nil || w.way.uri != "" {
		w.check(true, "C-6: the browser brings a code, with the agent's own state, its session and the server's iss", nil)
	} else {
		w.check(strings.HasPrefix(w.code.Reveal(), "ath_code_"), "C-6: the last page shows a code", "another")
	}
	return nil
}

func (w *wholeWalk) exchange(ctx context.Context) error {
	token, reply, err := w.redeem(ctx, w.session, w.code)
	if err != nil {
		return err
	}
	w.token = token
	w.check(len(reply.Effective) > 0 && within(reply.Effective, w.approved), "T-2: effective is what was approved, and consented, and requested", reply.Effective)
	w.check(reply.AgentID == w.client.Agent.ID && reply.Provider == w.provider, "T-3, T-5: the token is bound to this agent and provider", reply.AgentID+" "+reply.Provider)
	w.check(reply.ExpiresIn > 0 && reply.ExpiresIn <= 3600, "T-6: it lives for an hour at most", reply.ExpiresIn)
	return nil
}

func (w *wholeWalk) callInside(ctx context.Context) error {
	ex, err := w.try(ctx, w.call)
	if err != nil {
		return err
	}
	if refusal := isRefusalOfATH(ex); refusal != nil {
		return refusal
	}
	w.check(ex.Status/100 == 2, "the API has answered", ex.Status)
	return nil
}

func (w *wholeWalk) callOutside(ctx context.Context) error {
	return w.refused(ctx, w.outside, http.StatusForbidden, ath.ScopeNotApproved, "P-4: what no scope of the token covers is refused")
}

func (w *wholeWalk) giveBack(ctx context.Context) error {
	if err := w.revoke(ctx, w.provider, w.token); err != nil {
		return err
	}
	w.check(true, "V-1: the agent has revoked its own token", nil)
	return nil
}

func (w *wholeWalk) callDead(ctx context.Context) error {
	return w.refused(ctx, w.call, http.StatusUnauthorized, ath.TokenRevoked, "V-4: the same call is refused at once")
}

func (w *wholeWalk) refused(ctx context.Context, r request, status int, code ath.Code, why string) error {
	ex, err := w.try(ctx, r)
	if err != nil {
		return err
	}
	got := identity.Refusal{Status: ex.Status}
	if refusal := ex.Refusal(); refusal != nil {
		got = *refusal
	}
	w.check(got.Status == status && got.Code == string(code), why, strings.TrimSpace(fmt.Sprint(got.Status, " ", got.Code)))
	w.check(got.Details["decision_id"] != nil, "E-2: the refusal has a decision_id, which is in the audit log too", "none")
	return nil
}

func (w *wholeWalk) try(ctx context.Context, r request) (*identity.Exchange, error) {
	target, err := w.target(&w.token, r.path)
	if err != nil {
		return nil, err
	}
	return w.client.CallURL(ctx, w.token.Access.Reveal(), r.method, target, nil, nil)
}

func within(part, all []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(all, s) })
}
