package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

// An Ask lets a call that no scope of the token covers ask the user for the
// scope that does (P-11). What comes of it is a new token, which takes the place
// of the one in hand; that one, and its renewal, are revoked.
type Ask struct {
	// Approve is shown what a refusal names before any user is asked: an error
	// refuses it, and is what the call ends with. The server names the scopes, and
	// who runs the agent says whether it wants them.
	Approve func(context.Context, More) error
	// Consent takes the user to the authorization's URL, and returns the code that
	// the browser brings back: [Authorization.Code].
	Consent func(context.Context, *Authorization) (ath.Secret, error)
	// RedirectURI is as in [Consent].
	RedirectURI string
	// Registered is called with the credentials when the agent had to register for
	// the scopes first: the secret is a new one. Keep it.
	Registered func(context.Context, Credentials) error
}

// More is what a refused call lacks.
type More struct {
	Provider string
	Scopes   []string // that are lacking
	Held     []string // that the token has; the user is asked for these again, too
}

// A NotApprovedError is that the operator has not approved the agent for scopes
// that it lacks: nobody was asked. [Client.Status] shows when that changes.
type NotApprovedError struct {
	Scopes  []string
	Status  string // of the agent: "pending" where an operator decides
	Refusal *Error // of the call
}

// Error says who decides.
func (e *NotApprovedError) Error() string {
	return fmt.Sprintf("client: the operator has not approved %.300q for the agent, which is %.20q", strings.Join(e.Scopes, " "), e.Status)
}

// Unwrap is the refusal.
func (e *NotApprovedError) Unwrap() error { return e.Refusal }

// ErrAskedBefore says that the user, or who runs the agent, said no to these
// scopes within the last minutes.
var ErrAskedBefore = errors.New("client: it was asked for a moment ago, and refused: do not ask again at once")

const maxNextScopes = 20

// nextOf reads from a refusal which scopes its call lacks. It counts for the
// token's own provider alone, and only where it asks for something.
func nextOf(e *Error, t Token) (More, bool) {
	next, _ := e.Details["next"].(map[string]any)
	list, _ := next["scopes"].([]any)
	if !e.own || e.Status != http.StatusForbidden || next["step"] != "authorize" || next["provider_id"] != t.Provider || t.Provider == "" || len(list) > maxNextScopes {
		return More{}, false
	}
	var scopes []string
	for _, item := range list {
		s, _ := item.(string)
		scopes = append(scopes, s)
	}
	valid, err := ath.ParseScopes(scopes)
	if err != nil {
		return More{}, false
	}
	lacking := valid.Minus(t.Scopes)
	return More{Provider: t.Provider, Scopes: lacking, Held: t.Scopes}, len(lacking) > 0
}

// ask gets a token with more scopes, if nobody has yet.
func (a *Access) ask(ctx context.Context, more More, refusal *Error) error {
	return a.asking.do(ctx, func(ctx context.Context) error {
		if within(more.Scopes, a.Token().Scopes) {
			return nil
		}
		key := keyOf(more.Scopes)
		a.mu.Lock()
		before, is := a.refused[key]
		a.mu.Unlock()
		if is && a.client.now().Before(before.Add(sessionLife)) {
			return fmt.Errorf("%w: %w", ErrAskedBefore, refusal)
		}
		err := a.widen(ctx, more, refusal)
		if err != nil && ctx.Err() == nil && !isPassing(err) {
			a.mu.Lock()
			a.refused[key] = a.client.now()
			a.mu.Unlock()
		}
		return err
	})
}

// widen asks who runs the agent, the operator and the user, in this order.
func (a *Access) widen(ctx context.Context, more More, refusal *Error) error {
	ask, old := a.config.Ask, a.Token()
	if err := ask.Approve(ctx, more); err != nil {
		return err
	}
	approved, err := a.approved(ctx, more, refusal)
	if err != nil {
		return err
	}
	scopes := slices.Concat(ath.Scopes(more.Held).Intersect(approved), more.Scopes)
	authorization, err := a.client.Authorize(ctx, Consent{Provider: more.Provider, Scopes: scopes, RedirectURI: ask.RedirectURI})
	if err != nil {
		return err
	}
	code, err := ask.Consent(ctx, authorization)
	if err != nil {
		return err
	}
	fresh, err := a.client.Exchange(ctx, authorization, code)
	if err != nil {
		return err
	}
	if !within(more.Scopes, fresh.Scopes) { // the user took the tick away: what there is stays in use
		return errors.Join(refusal, a.client.giveBack(ctx, *fresh))
	}
	a.use(*fresh, min(renewAhead, fresh.Expires.Sub(a.client.now())/10))
	// The new one is in use whatever becomes of the old one, which ends by itself.
	return errors.Join(a.keep(ctx, *fresh), a.client.giveBack(ctx, old))
}

// approved has the agent registered for what it lacks, and returns what the
// operator approves of the provider.
func (a *Access) approved(ctx context.Context, more More, refusal *Error) (ath.Scopes, error) {
	own, err := a.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	name, err := a.client.registeredAs(ctx, own, more.Provider)
	if err != nil {
		return nil, err
	}
	approved := approvedOf(own.Providers, name)
	missing := ath.Scopes(more.Scopes).Minus(approved)
	if len(missing) == 0 {
		return approved, nil
	}
	reply, err := a.client.Register(ctx, Registration{Provider: more.Provider, Scopes: missing, RedirectURIs: own.RedirectURIs})
	if CodeOf(err) == ath.Conflict { // it was asked for before, and is under review or denied
		return nil, &NotApprovedError{Scopes: missing, Status: own.Status, Refusal: refusal}
	}
	if err != nil {
		return nil, err
	}
	if a.config.Ask.Registered != nil {
		if err := a.config.Ask.Registered(ctx, a.client.Credentials()); err != nil {
			return nil, err
		}
	}
	approved = approvedOf(reply.Providers, more.Provider)
	if missing = missing.Minus(approved); len(missing) > 0 {
		return nil, &NotApprovedError{Scopes: missing, Status: reply.Status, Refusal: refusal}
	}
	return approved, nil
}

// registeredAs is the name of a provider in the agent's own registration: an
// app's is its id, whatever the agent calls it (T-5).
func (c *Client) registeredAs(ctx context.Context, own *api.Registration, provider string) (string, error) {
	if slices.ContainsFunc(own.Providers, func(p api.ApprovedProvider) bool { return p.ID == provider }) {
		return provider, nil
	}
	found, err := c.Discover(ctx)
	if err != nil {
		return "", err
	}
	if found.IsApp(provider) {
		return found.App.ID, nil
	}
	return provider, nil
}

// isPassing reports whether an error may be over at the next try: it is nobody's
// no.
func isPassing(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests
	}
	_, isNetwork := errors.AsType[*url.Error](err)
	return isNetwork
}

func approvedOf(providers []api.ApprovedProvider, name string) ath.Scopes {
	for _, p := range providers {
		if p.ID == name {
			return p.Approved
		}
	}
	return nil
}

// giveBack ends a token and its renewal.
func (c *Client) giveBack(ctx context.Context, t Token) error {
	var err error
	if !t.Renewal.IsZero() {
		err = c.Revoke(ctx, t.Renewal)
	}
	return cmp.Or(err, c.Revoke(ctx, t.Access))
}
