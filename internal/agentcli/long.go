package agentcli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
)

// A longCall is what call does beside the call, so that it passes: it renews the
// token (T-8), has the user heal a grant (P-10), and asks for more scopes
// (P-11).
type longCall struct {
	wait     time.Duration
	ask, yes bool
	redirect string
}

func (c *command) longFlags(o *longCall) {
	c.Flags().DurationVar(&o.wait, "wait", sessionLife, "how long to wait for the user, where only they can help: to consent again to what the provider has ended, or to more; 0 prints the link and ends")
	c.Flags().BoolVar(&o.ask, "ask", false, "where no scope of the token covers the call, show the scope that does and, after a yes on standard input, ask the user for it")
	c.Flags().BoolVar(&o.yes, "yes", false, "with --ask: without that yes")
	c.redirectFlag(&o.redirect)
}

// A longRun is one call's.
type longRun struct {
	*command
	access *client.Access
	back   *redirectMode
	waits  func() // is told that a person is waited for
	wait   time.Duration
	yes    bool
}

func (l *longRun) close() {
	if l.back != nil {
		l.back.close()
	}
}

// long makes what sends a call with a token of the state.
func (c *command) long(provider string, t *heldToken, target string, o *longCall) (*longRun, error) {
	to, err := origin(target)
	if err != nil {
		return nil, err
	}
	l := &longRun{command: c, wait: o.wait, yes: o.yes}
	config := client.AccessConfig{Token: t.of(provider), API: to}
	config.Keep = func(_ context.Context, fresh client.Token) error {
		fmt.Fprintf(c.Stderr, "a new token for %s, until %s\n", cli.Printable(provider, 64), fresh.Expires.UTC().Format(time.RFC3339))
		return c.update(func(known *serverState) { known.hold(provider, heldOf(&fresh, t.API)) })
	}
	config.Load = func(context.Context) (client.Token, error) { return c.kept(provider) }
	config.Heal = l.heal
	if o.ask {
		if l.back, err = c.openRedirect(o.redirect); err != nil {
			return nil, err
		}
		config.Ask = &client.Ask{
			Approve: l.approve, Consent: l.consent, RedirectURI: l.back.uri,
			Registered: func(_ context.Context, own client.Credentials) error {
				return c.update(func(s *serverState) { s.ClientID, s.ClientSecret = own.ClientID, api.OpenSecret(own.Secret) })
			},
		}
	}
	l.access, err = c.client.Access(config)
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// kept is the token that the state has by now: another athctl may have renewed
// it.
func (c *command) kept(provider string) (client.Token, error) {
	state, err := c.file.read()
	if err != nil {
		return client.Token{}, err
	}
	known := state.Servers[c.base]
	if known == nil {
		return client.Token{}, nil
	}
	t, is := known.Tokens[provider]
	if !is || t.Revoked {
		return client.Token{}, nil
	}
	return t.of(provider), nil
}

// heal shows the link of a grant that the provider has ended.
func (l *longRun) heal(_ context.Context, link string) error {
	l.waits()
	fmt.Fprintf(l.Stderr, "the provider has ended what the user allowed.\nopen this in a browser, as the same user, who is asked for the same again:\n\n  %s\n\n", link)
	if l.wait == 0 {
		return errEndedGrant
	}
	_, err := fmt.Fprintf(l.Stderr, "waiting, %v at most\n", l.wait)
	return err
}

// errEndedGrant is that the user's grant has ended, and nobody waits for the user.
var errEndedGrant = errors.New("the provider has ended what the user allowed\nnext: call again when the user has consented: the token is the same")

var errNotWanted = errors.New("the user was not asked")

// approve shows what a refusal names, before anybody is asked.
func (l *longRun) approve(ctx context.Context, m client.More) error {
	fmt.Fprintf(l.Stderr, "the call wants more of %s: %s\nbeside what the token has: %s\n", cli.Printable(m.Provider, 64),
		cli.Printable(strings.Join(m.Scopes, " "), 1000), cli.Printable(strings.Join(m.Held, " "), 1000))
	l.waits()
	if l.yes {
		return nil
	}
	fmt.Fprint(l.Stderr, "ask the user for it? [y/N] ")
	read := make(chan string, 1)
	go func() { // ends with the line, or with the process
		line, err := readUntilNewline(l.Stdin)
		if err != nil {
			line = ""
		}
		read <- line
	}()
	select {
	case line := <-read:
		if line = strings.ToLower(strings.TrimSpace(line)); line == "y" || line == "yes" {
			return nil
		}
		return errNotWanted
	case <-ctx.Done():
		return ctx.Err()
	}
}

// consent takes the user to the link, and brings the code back.
func (l *longRun) consent(ctx context.Context, a *client.Authorization) (ath.Secret, error) {
	l.waits()
	fmt.Fprintf(l.Stderr, "open this in a browser, as the user whose account it is:\n\n  %s\n\n", a.URL)
	ctx, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	return l.awaitCode(ctx, &openSession{ID: api.OpenSecret(a.Session), State: api.OpenSecret(a.State)}, l.back)
}

// isToldAsItIs reports whether an error of a call is not one of the network.
func isToldAsItIs(err error) bool {
	if err == nil {
		return false
	}
	for _, e := range []error{errNotWanted, errEndedGrant, errDenied, client.ErrAskedBefore, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
