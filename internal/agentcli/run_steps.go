package agentcli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/wire"
)

func (w *handshakeRun) discover(ctx context.Context) (err error) {
	if w.found, err = w.command.discover(ctx); err != nil {
		return err
	}
	if w.found.Gateway != nil {
		w.check(w.found.Gateway.ID == w.base, "D-1: the server names itself as it was asked", w.found.Gateway.ID)
	}
	names := w.found.Providers()
	if w.provider == "" {
		if len(names) != 1 {
			return fmt.Errorf("which provider? There are: %s\nnext: --provider ID", cli.Printable(strings.Join(names, ", "), 500))
		}
		w.provider = names[0]
	}
	offered := w.found.Scopes(w.provider)
	if len(offered) == 0 {
		return fmt.Errorf("the server offers no provider %s, but: %s\nnext: --provider ID", cli.Printable(w.provider, 64), cli.Printable(strings.Join(names, ", "), 500))
	}
	if len(w.scopes) == 0 {
		w.scopes = offered
	}
	w.check(within(w.scopes, offered), "the scopes are offered", offered)
	w.api, err = w.apiOf(w.found, w.provider, w.mode)
	return err
}

func (w *handshakeRun) registerOnce(ctx context.Context) error {
	reply, err := w.register(ctx, w.provider, w.scopes, nil, w.replace)
	if refusal, ok := errors.AsType[*client.Error](err); ok && refusal.Code == ath.Conflict && w.client.Credentials().ClientID != "" {
		w.check(refusal.Details["client_id"] == w.client.Credentials().ClientID, "R-2: the agent is registered already, as the state says; it goes on with that", refusal.Details["client_id"])
		reply, err = w.client.Status(ctx)
	}
	if err == nil && reply.Status == api.StatusPending && w.awaitApproval {
		reply, err = w.decided(ctx, reply)
	}
	if err != nil {
		return err
	}
	w.check(reply.Status == api.StatusApproved, "the agent is approved", reply.Status)
	approved := approvedFor(reply, w.provider)
	if len(approved) == 0 && w.found.IsApp(w.provider) {
		approved = approvedFor(reply, w.found.App.ID) // its own name, in a reply that was not asked by the other
	}
	for _, s := range w.scopes {
		if slices.Contains(approved, s) {
			w.approved = append(w.approved, s)
		}
	}
	if len(w.approved) == 0 {
		return fmt.Errorf("no scope is approved for %s: the agent is %s\nnext: the operator decides, with athctl agents approve %s; then run this again (--await-approval waits for it)",
			cli.Printable(w.provider, 64), cli.Printable(reply.Status, 20), cli.Printable(reply.ClientID, 60))
	}
	return nil
}

// statusPause is between two questions whether an operator has decided.
const statusPause = time.Second

// decided waits for an operator, and returns what the agent is then; or what it
// still is when that takes too long.
func (w *handshakeRun) decided(ctx context.Context, reply *api.Registration) (*api.Registration, error) {
	fmt.Fprintf(w.Stderr, "waiting, %v at most: an operator decides, with athctl agents approve %s\n", w.timeout, cli.Printable(reply.ClientID, 60))
	late := time.After(w.timeout)
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late:
			return reply, nil
		case <-time.After(statusPause):
		}
		now, err := w.client.Status(ctx)
		if err != nil || now.Status != api.StatusPending {
			return now, err
		}
	}
}

func (w *handshakeRun) authorizeUser(ctx context.Context) (err error) {
	if w.back, err = w.openRedirect(w.redirect); err != nil {
		return err
	}
	w.session, w.link, err = w.authorize(ctx, w.provider, w.approved, w.api, w.back)
	return err
}

// consent leaves it to a person, or plays the browser.
func (w *handshakeRun) consent(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	if w.consentWith != "" {
		w.code, err = w.driveBrowser(ctx)
	} else {
		// Not through the transcript, which would shorten it; and where programs
		// do not look for it.
		fmt.Fprintf(w.Stderr, "\nopen this in a browser, as the user whose account it is:\n\n  %s\n\n", w.link)
		w.code, err = w.awaitCode(ctx, w.session, w.back)
	}
	if err != nil {
		return err
	}
	if w.back.listener != nil || w.back.uri != "" {
		w.check(true, "C-6: the browser brings a code, with the agent's own state, its session and the server's iss", nil)
	} else {
		w.check(strings.HasPrefix(w.code.Reveal(), "ath_code_"), "C-6: the last page shows a code", "another")
	}
	return nil
}

func (w *handshakeRun) exchange(ctx context.Context) error {
	token, reply, err := w.command.exchange(ctx, w.session, w.code)
	if err != nil {
		return err
	}
	w.token = token
	w.check(len(reply.Scopes) > 0 && within(reply.Scopes, w.approved), "T-2: effective is what was approved, and consented, and requested", reply.Scopes)
	w.check(reply.AgentID == w.agent.ID() && reply.Provider == w.provider, "T-3, T-5: the token is bound to this agent and provider", reply.AgentID+" "+reply.Provider)
	left := time.Until(token.Expires)
	w.check(left > 0 && left <= time.Hour, "T-6: it lives for an hour at most", left)
	return nil
}

func (w *handshakeRun) callInside(ctx context.Context) error {
	ex, refusal, err := w.try(ctx, w.call)
	if err != nil {
		return err
	}
	if refusal != nil {
		return refusal
	}
	w.check(ex.Status/100 == 2, "the API has answered", ex.Status)
	return nil
}

func (w *handshakeRun) renewOnce(ctx context.Context) error {
	old := w.token
	reply, token, err := w.renew(ctx, w.provider, &old, nil)
	if err != nil {
		return err
	}
	w.token = token
	w.check(!token.Access.Equal(old.Access.Reveal()), "T-8: it is another token", "the same")
	w.check(within(reply.Scopes, old.Scopes), "T-8: it holds no more than before", reply.Scopes)
	return w.callInside(ctx)
}

func (w *handshakeRun) callOutside(ctx context.Context) error {
	return w.refused(ctx, w.outside, http.StatusForbidden, ath.ScopeNotApproved, "P-4: what no scope of the token covers is refused")
}

func (w *handshakeRun) revokeToken(ctx context.Context) error {
	if err := w.revoke(ctx, w.provider, w.token); err != nil {
		return err
	}
	w.check(true, "V-1: the agent has revoked its own token", nil)
	if w.token.Renewal.IsZero() {
		return nil
	}
	_, err := w.client.Renew(ctx, w.token.of(w.provider))
	w.check(client.CodeOf(err) == ath.TokenRevoked, "V-6: the renewal has ended with it", client.CodeOf(err))
	return nil
}

func (w *handshakeRun) callAfterRevoke(ctx context.Context) error {
	return w.refused(ctx, w.call, http.StatusUnauthorized, ath.TokenRevoked, "V-4: the same call is refused at once")
}

func (w *handshakeRun) refused(ctx context.Context, r request, status int, code ath.Code, why string) error {
	ex, refusal, err := w.try(ctx, r)
	if err != nil {
		return err
	}
	got := client.Error{Status: ex.Status}
	if refusal != nil {
		got = *refusal
	}
	w.check(got.Status == status && got.Code == code, why, strings.TrimSpace(fmt.Sprint(got.Status, " ", got.Code)))
	w.check(got.DecisionID != "", "E-2: the refusal has a decision_id, which is in the audit log too", "none")
	return nil
}

func (w *handshakeRun) try(ctx context.Context, r request) (*wire.Exchange, *client.Error, error) {
	target, err := w.target(&w.token, r.path)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	to, err := origin(target)
	if err != nil {
		return nil, nil, err
	}
	transport, err := w.client.Transport(w.token.Access.Secret, to)
	if err != nil {
		return nil, nil, err
	}
	return w.send(ctx, transport, r.method, target, nil, nil)
}

// callTimeout is for one call, its reply included.
const callTimeout = 10 * time.Second

func within(part, all []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(all, s) })
}
