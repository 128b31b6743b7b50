package agentcli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
)

// sessionLife is how long a session lives at most (Z-4).
const sessionLife = 10 * time.Minute

func runAuthorize(ctx context.Context, args []string, c *command) error {
	var scopes scopeList
	provider := c.String("provider", "", "the `ID` of what the agent wants to use")
	c.Var(&scopes, "scope", "ask the user for `SCOPE`; several times, or with commas")
	redirect := c.String("redirect", "loopback", "where the browser ends: `loopback`, a port that athctl opens; paste, the server's page with a code to paste; or a URI that the agent registered, to paste from")
	timeout := c.Duration("timeout", sessionLife, "how `long` to wait for the user")
	mode := c.String("mode", "auto", "how calls will go: `auto`, native or gateway")
	noWait := c.Bool("no-wait", false, "print the link and end; athctl try token -code CODE goes on")
	if err := c.none(args); err != nil {
		return err
	}
	switch {
	case *provider == "" || len(scopes) == 0:
		return c.Wrong("want -provider ID and -scope SCOPE")
	case *timeout <= 0 || *timeout > sessionLife:
		return c.Wrong("-timeout wants a time up to %v: no session lives longer", sessionLife)
	case !isMode(*mode):
		return c.Wrong("-mode wants auto, native or gateway")
	case *noWait && *redirect == "loopback":
		return c.Wrong("with -no-wait nobody would listen; -redirect paste or a URI")
	}
	if _, _, err := c.registered(); err != nil {
		return err
	}
	found, err := c.discover(ctx)
	if err != nil {
		return err
	}
	api, err := c.apiOf(found, *provider, *mode)
	if err != nil {
		return err
	}
	back, err := c.openRedirect(*redirect)
	if err != nil {
		return err
	}
	defer back.close()
	session, link, err := c.authorize(ctx, *provider, scopes, api, back)
	if err != nil {
		return err
	}
	if err := c.showLink(session, link); err != nil || *noWait {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	code, err := c.awaitCode(ctx, session, back)
	if err != nil {
		return err
	}
	if err := c.keepCode(session, code); err != nil {
		return err
	}
	if *c.Format == "json" {
		return c.JSON(map[string]any{"provider_id": session.Provider, "code": "received"})
	}
	_, err = fmt.Fprintln(c.Stdout, "the user has answered.\nnext: athctl try token")
	return err
}

func isMode(mode string) bool {
	return slices.Contains([]string{"auto", "native", "gateway"}, mode)
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
			return nil, fmt.Errorf("a port for the browser: %w\nnext: -redirect paste needs none", err)
		}
		return &redirectMode{listener: l, uri: l.URI}, nil
	}
	if u, err := url.Parse(redirect); err != nil || !u.IsAbs() {
		return nil, c.Wrong("-redirect wants loopback, paste or an absolute URI")
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
	if *c.Format == "json" {
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
