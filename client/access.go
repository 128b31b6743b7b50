package client

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// An AccessConfig says what an [Access] does by itself, and whom it tells. What
// is nil it does not do.
type AccessConfig struct {
	// Token is what the agent has: from [Client.Exchange], or as Keep kept it.
	Token Token
	// API is the URL below which calls go, and to whose host alone they go:
	// [Discovery.API].
	API string
	// Keep is called with every token that takes another's place. An error ends
	// the call that needed it; the token is used all the same.
	Keep func(context.Context, Token) error
	// Load returns what Keep kept last, where several processes of one agent share
	// a renewal: it is asked before a token is renewed, and when one was revoked.
	Load func(context.Context) (Token, error)
	// Heal is given a link to show to the user, or to open, when the provider has
	// ended the user's grant (P-10): the same user consents there again, to the
	// same. It returns once the link is shown; calls then wait for ten minutes at
	// most, and as long as their context lets them, until the token works again.
	// The link leads to the consent origin of the server's discovery (P-9).
	Heal func(ctx context.Context, link string) error
	// Ask lets a call that no scope covers ask the user for more (P-11).
	Ask *Ask
}

// An Access is an [http.RoundTripper] that makes calls as the agent for as long as
// the user's consent lasts: it renews its token, heals the user's grant and asks
// for more scopes, as its configuration lets it. Each is done once for all calls
// that wait for it. A call is repeated after that if its body can be
// ([http.Request.GetBody]); nothing of a call that was refused has reached the
// API. It may be used by several goroutines.
type Access struct {
	client *Client
	config AccessConfig

	renewing, healing, asking flight

	mu      sync.Mutex
	token   Token
	margin  time.Duration // before its end, in which it is renewed
	notYet  time.Time     // before then it is not renewed ahead again
	shown   time.Time     // when a link that heals was shown last; zero: it has worked since
	refused map[string]time.Time
}

const (
	renewAhead = 30 * time.Second // or a tenth of the token's life
	aheadPause = 5 * time.Second  // between two tries to renew ahead
	linkLife   = 10 * time.Minute // P-10
)

// Access returns what makes calls for as long as the user's consent lasts.
func (c *Client) Access(config AccessConfig) (*Access, error) {
	if _, err := c.Transport(config.Token.Access, config.API); err != nil {
		return nil, err
	}
	if config.Ask != nil && (config.Ask.Approve == nil || config.Ask.Consent == nil) {
		return nil, errors.New("client: Ask wants Approve and Consent")
	}
	return &Access{client: c, config: config, token: config.Token, margin: renewAhead, refused: map[string]time.Time{}}, nil
}

// Token is the one in use.
func (a *Access) Token() Token {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token
}

// Renew gets a new token now: see [Client.Renew].
func (a *Access) Renew(ctx context.Context) error { return a.renew(ctx, a.Token()) }

// RoundTrip makes one call: see [Access]. Its errors are those of [Transport],
// and [*RenewalError], [*LinkError], [*CallbackError], [*NotApprovedError] and
// what the hooks return.
func (a *Access) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, c := req.Context(), cure{access: a, wait: newBackoff()}
	attempt := req
	for {
		resp, err := a.try(attempt, &c)
		if err == nil {
			a.works()
			return resp, nil
		}
		if err := c.of(ctx, err); err != nil {
			return nil, err
		}
		if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
			return nil, err // cured for the next call
		}
		attempt = req.Clone(ctx)
		if req.GetBody != nil {
			if attempt.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// try makes a call with the token of now, after renewing one that is about to
// end.
func (a *Access) try(req *http.Request, c *cure) (*http.Response, error) {
	token := a.Token()
	c.token = token // also of what its renewal is refused with
	if a.isDue(token) {
		if err := a.renew(req.Context(), token); err != nil && !a.client.now().Before(token.Expires) {
			closeBody(req)
			return nil, err
		}
		token = a.Token()
	}
	c.token = token
	transport, err := a.client.Transport(token.Access, a.config.API)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	return transport.RoundTrip(req)
}

func (a *Access) isDue(t Token) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.client.now()
	return !t.Renewal.IsZero() && !t.Expires.IsZero() && !now.Before(t.Expires.Add(-a.margin)) &&
		(!now.Before(a.notYet) || !now.Before(t.Expires))
}

// renew replaces a token, if nobody has yet.
func (a *Access) renew(ctx context.Context, failed Token) error {
	return a.renewing.do(ctx, func(ctx context.Context) error {
		if now := a.Token(); !now.Access.Equal(failed.Access.Reveal()) {
			return nil
		}
		ctx = context.WithoutCancel(ctx) // others wait for it too, and each request has its own time
		if done, err := a.load(ctx, failed); done || err != nil {
			return err
		}
		asked := a.client.now()
		fresh, err := a.client.Renew(ctx, failed)
		if err != nil {
			a.mu.Lock()
			a.notYet = a.client.now().Add(max(aheadPause, retryOf(err)))
			a.mu.Unlock()
			return err
		}
		a.use(*fresh, min(renewAhead, fresh.Expires.Sub(asked)/10))
		return a.keep(ctx, *fresh)
	})
}

// load takes over what another process has kept meanwhile.
func (a *Access) load(ctx context.Context, failed Token) (done bool, err error) {
	if a.config.Load == nil {
		return false, nil
	}
	kept, err := a.config.Load(ctx)
	if err != nil || kept.Access.IsZero() || kept.Provider != failed.Provider || kept.Access.Equal(failed.Access.Reveal()) {
		return false, err
	}
	if !kept.Expires.IsZero() && !a.client.now().Before(kept.Expires) {
		return false, nil
	}
	a.use(kept, renewAhead)
	return true, nil
}

func (a *Access) use(t Token, margin time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token, a.margin, a.notYet = t, margin, time.Time{}
}

func (a *Access) keep(ctx context.Context, t Token) error {
	if a.config.Keep == nil {
		return nil
	}
	return a.config.Keep(ctx, t)
}

// works notes that calls pass.
func (a *Access) works() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shown = time.Time{}
}

// heal shows a link, if none is shown yet, and returns until when it is worth to
// wait.
func (a *Access) heal(ctx context.Context, link string) (until time.Time, err error) {
	err = a.healing.do(ctx, func(ctx context.Context) error {
		a.mu.Lock()
		isShown := !a.shown.IsZero() && a.client.now().Before(a.shown.Add(linkLife))
		a.mu.Unlock()
		if isShown {
			return nil
		}
		if err := a.config.Heal(ctx, link); err != nil {
			return err
		}
		a.mu.Lock()
		a.shown = a.client.now()
		a.mu.Unlock()
		return nil
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shown.IsZero() { // a call has passed meanwhile
		return a.client.now().Add(linkLife), err
	}
	return a.shown.Add(linkLife), err
}

// CloseIdleConnections closes connections that nobody uses.
func (a *Access) CloseIdleConnections() { a.client.CloseIdleConnections() }

func retryOf(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// within reports whether all of a part are in a whole.
func within(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}

// keyOf is a list of scopes as one text.
func keyOf(scopes []string) string {
	sorted := slices.Clone(scopes)
	slices.Sort(sorted)
	return strings.Join(sorted, " ")
}
