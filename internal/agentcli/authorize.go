package agentcli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
)

// sessionLife is how long a session lives at most (Z-4).
const sessionLife = 10 * time.Minute

// An authorizeOptions is what authorize's flags say.
type authorizeOptions struct {
	provider, redirect, mode string
	scopes                   scopeList
	timeout                  time.Duration
	noWait                   bool
}

func newAuthorize(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "authorize",
		Short:   "ask the user for consent, and wait for the answer",
		GroupID: groupHandshake,
		Example: `  athctl try authorize --provider shop --scope products:read
  athctl try authorize --provider shop --scope products:read --redirect paste`,
	})
	var o authorizeOptions
	c.Flags().StringVar(&o.provider, "provider", "", "the `ID` of what the agent wants to use")
	c.Flags().Var(&o.scopes, "scope", "ask the user for `SCOPE`; several times, or with commas")
	c.redirectFlag(&o.redirect)
	c.Flags().DurationVar(&o.timeout, "timeout", sessionLife, "how long to wait for the user")
	c.modeFlag(&o.mode)
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "print the link and end; athctl try token --code CODE goes on")
	return c.runs(func(ctx context.Context, _ []string) error { return c.runAuthorize(ctx, &o) })
}

// redirectFlag is --redirect.
func (c *command) redirectFlag(to *string) {
	c.Flags().StringVar(to, "redirect", "loopback", "where the browser ends, `loopback|paste|URI`: at a port that athctl opens; at the server's page, with a code to paste; or at a URI that the agent registered, to paste from")
	cli.Complete(c.Command, "redirect", "loopback", "paste")
}

// modeFlag is --mode.
func (c *command) modeFlag(to *string) {
	*to = "auto"
	cli.Choice(c.Command, to, "mode", "how calls go", "auto", "native", "gateway")
}

func (c *command) runAuthorize(ctx context.Context, o *authorizeOptions) error {
	switch {
	case o.provider == "" || len(o.scopes) == 0:
		return cli.Wrong("want --provider ID and --scope SCOPE")
	case o.timeout <= 0 || o.timeout > sessionLife:
		return cli.Wrong("--timeout wants a time up to %v: no session lives longer", sessionLife)
	case o.noWait && o.redirect == "loopback":
		return cli.Wrong("with --no-wait nobody would listen; --redirect paste or a URI")
	}
	if _, _, err := c.registered(); err != nil {
		return err
	}
	found, err := c.discover(ctx)
	if err != nil {
		return err
	}
	api, err := c.apiOf(found, o.provider, o.mode)
	if err != nil {
		return err
	}
	back, err := c.openRedirect(o.redirect)
	if err != nil {
		return err
	}
	defer back.close()
	session, link, err := c.authorize(ctx, o.provider, o.scopes, api, back)
	if err != nil {
		return err
	}
	if err := c.showLink(session, link); err != nil || o.noWait {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	code, err := c.awaitCode(ctx, session, back)
	if err != nil {
		return err
	}
	if err := c.keepCode(session, code); err != nil {
		return err
	}
	if *c.format == cli.JSON {
		return c.JSON(map[string]any{"provider_id": session.Provider, "code": "received"})
	}
	_, err = fmt.Fprintln(c.Stdout, "the user has answered.\nnext: athctl try token")
	return err
}

// A redirectMode is how the code comes back.
type redirectMode struct {
	listener *redirectListener // nil: it is pasted
	uri      string            // "": the server's own page shows it
}

func (w *redirectMode) close() {
	if w.listener != nil {
		w.listener.close()
	}
}

func (c *command) openRedirect(redirect string) (*redirectMode, error) {
	switch redirect {
	case "paste":
		return &redirectMode{}, nil
	case "loopback":
		l, err := listenForRedirect()
		if err != nil {
			return nil, fmt.Errorf("a port for the browser: %w\nnext: --redirect paste needs none", err)
		}
		return &redirectMode{listener: l, uri: l.URI}, nil
	}
	if u, err := url.Parse(redirect); err != nil || !u.IsAbs() {
		return nil, cli.Wrong("--redirect wants loopback, paste or an absolute URI")
	}
	return &redirectMode{uri: redirect}, nil
}

// authorize opens a session and keeps it.
func (c *command) authorize(ctx context.Context, provider string, scopes []string, base string, w *redirectMode) (*openSession, string, error) {
	a, err := c.client.Authorize(ctx, client.Consent{Provider: provider, Scopes: scopes, RedirectURI: w.uri})
	if err != nil {
		return nil, "", err
	}
	session := &openSession{
		ID: api.OpenSecret(a.Session), State: api.OpenSecret(a.State), Provider: provider, Scopes: scopes,
		Redirect: w.uri, API: base, Expires: a.Expires.UTC(),
	}
	return session, a.URL, c.update(func(s *serverState) {
		s.prune(time.Now())
		s.Sessions = append(s.Sessions, *session)
	})
}

func (c *command) showLink(s *openSession, link string) error {
	if *c.format == cli.JSON {
		return c.JSON(map[string]any{
			"authorization_url": link, "provider_id": s.Provider, "scopes": s.Scopes,
			"redirect_uri": s.Redirect, "expires": s.Expires.Format(time.RFC3339),
		})
	}
	_, err := fmt.Fprintf(c.Stdout, "open this in a browser, as the user whose account it is:\n\n  %s\n\n", link)
	return err
}

// pending is the answer that a session waits for.
func (c *command) pending(s *openSession) pendingRedirect {
	return pendingRedirect{client.Authorization{Session: s.ID.Secret, State: s.State.Secret, Issuer: c.base}}
}

// awaitCode waits for the user, in the way that was chosen.
func (c *command) awaitCode(ctx context.Context, s *openSession, w *redirectMode) (ath.Secret, error) {
	expected := c.pending(s)
	var code ath.Secret
	var err error
	switch {
	case w.listener != nil:
		fmt.Fprintf(c.Stderr, "waiting for the browser on %s\n", w.uri)
		code, err = w.listener.wait(ctx, expected)
	case w.uri == "":
		fmt.Fprint(c.Stderr, "the code that the last page shows: ")
		code, err = expected.readPasted(ctx, c.Stdin)
	default:
		fmt.Fprintf(c.Stderr, "the whole URL below %s that the browser was sent to: ", cli.Printable(w.uri, 300))
		code, err = expected.readPasted(ctx, c.Stdin)
	}
	switch {
	case errors.Is(err, errDenied):
		return code, errors.Join(err, c.update(func(known *serverState) { known.drop(s.ID) }))
	case errors.Is(err, context.DeadlineExceeded):
		return code, errors.New("the user did not answer in time\nnext: authorize again")
	case errors.Is(err, context.Canceled):
		return code, errors.New("stopped")
	}
	return code, err
}

func (c *command) keepCode(s *openSession, code ath.Secret) error {
	return c.update(func(known *serverState) {
		for i := range known.Sessions {
			if known.Sessions[i].ID.Equal(s.ID.Reveal()) {
				known.Sessions[i].Code = api.OpenSecret(code)
			}
		}
	})
}
