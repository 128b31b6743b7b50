package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/athd/athd/ath"
	identity "github.com/athd/athd/cmd/athdemo/agent"
)

// sessionLife is how long a session lives at most (Z-4).
const sessionLife = 10 * time.Minute

func runAuthorize(ctx context.Context, args []string, c *agentCommand) error {
	var scopes scopeList
	provider := c.String("provider", "", "the `ID` of what the agent wants to use")
	c.Var(&scopes, "scope", "ask the user for `SCOPE`; several times, or with commas")
	redirect := c.String("redirect", "loopback", "where the browser ends: `loopback`, a port that athctl opens; paste, the server's page with a code to paste; or a URI that the agent registered, to paste from")
	timeout := c.Duration("timeout", sessionLife, "how `long` to wait for the user")
	mode := c.String("mode", "auto", "how calls will go: `auto`, native or gateway")
	noWait := c.Bool("no-wait", false, "print the link and end; athctl agent token -code CODE goes on")
	if err := c.none(args); err != nil {
		return err
	}
	switch {
	case *provider == "" || len(scopes) == 0:
		return c.wrong("want -provider ID and -scope SCOPE")
	case *timeout <= 0 || *timeout > sessionLife:
		return c.wrong("-timeout wants a time up to %v: no session lives longer", sessionLife)
	case !isMode(*mode):
		return c.wrong("-mode wants auto, native or gateway")
	case *noWait && *redirect == "loopback":
		return c.wrong("with -no-wait nobody would listen; -redirect paste or a URI")
	}
	if _, _, err := c.registered(); err != nil {
		return err
	}
	found, err := discover(ctx, c.client)
	if err != nil {
		return err
	}
	api, err := c.apiOf(&found, *provider, *mode)
	if err != nil {
		return err
	}
	way, err := c.openWay(*redirect)
	if err != nil {
		return err
	}
	defer way.close()
	session, link, err := c.authorize(ctx, *provider, scopes, api, way)
	if err != nil {
		return err
	}
	if err := c.showLink(session, link); err != nil || *noWait {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	code, err := c.awaitCode(ctx, session, way)
	if err != nil {
		return err
	}
	if err := c.keepCode(session, code); err != nil {
		return err
	}
	if *c.output == "json" {
		return c.json(map[string]any{"provider_id": session.Provider, "code": "received"})
	}
	_, err = fmt.Fprintln(c.stdout, "the user has answered.\nnext: athctl agent token")
	return err
}

func isMode(mode string) bool {
	return slices.Contains([]string{"auto", "native", "gateway"}, mode)
}

// A way is how the code comes back.
type way struct {
	listener *redirectListener // nil: it is pasted
	uri      string            // "": the server's own page shows it
}

func (w *way) close() {
	if w.listener != nil {
		w.listener.close()
	}
}

func (c *agentCommand) openWay(redirect string) (*way, error) {
	switch redirect {
	case "paste":
		return &way{}, nil
	case "loopback":
		l, err := listenForRedirect()
		if err != nil {
			return nil, fmt.Errorf("a port for the browser: %w\nnext: -redirect paste needs none", err)
		}
		return &way{listener: l, uri: l.URI}, nil
	}
	if u, err := url.Parse(redirect); err != nil || !u.IsAbs() {
		return nil, c.wrong("-redirect wants loopback, paste or an absolute URI")
	}
	return &way{uri: redirect}, nil
}

// authorize opens a session and keeps it.
func (c *agentCommand) authorize(ctx context.Context, provider string, scopes []string, api string, w *way) (*agentSession, string, error) {
	c.client.Redirect = w.uri
	reply, err := c.client.Authorize(ctx, provider, scopes)
	if err != nil {
		return nil, "", err
	}
	if err := checkLink(reply); err != nil {
		return nil, "", fmt.Errorf("the server's authorization_url cannot be shown: %w", err)
	}
	session := &agentSession{
		ID: keep(reply.Session), State: keep(reply.State), Provider: provider, Scopes: scopes,
		Redirect: w.uri, API: api, Expires: time.Now().Add(sessionLife).UTC(),
	}
	return session, reply.URL, c.update(func(s *agentServer) {
		s.prune(time.Now())
		s.Sessions = append(s.Sessions, *session)
	})
}

// checkLink keeps a server from putting something else than a link before the
// person.
func checkLink(a identity.Authorization) error {
	u, err := url.Parse(a.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(a.URL) > 16<<10 {
		return errors.New("it is not a web address")
	}
	if !ath.ValidURLBytes(a.URL) {
		return errors.New("it holds characters that a URL may not hold")
	}
	if a.Session == "" {
		return errors.New("it came without an ath_session_id")
	}
	return nil
}

func (c *agentCommand) showLink(s *agentSession, link string) error {
	if *c.output == "json" {
		return c.json(map[string]any{
			"authorization_url": link, "provider_id": s.Provider, "scopes": s.Scopes,
			"redirect_uri": s.Redirect, "expires": s.Expires.Format(time.RFC3339),
		})
	}
	_, err := fmt.Fprintf(c.stdout, "open this in a browser, as the user whose account it is:\n\n  %s\n\n", link)
	return err
}

// awaitCode waits for the user, in the way that was chosen.
func (c *agentCommand) awaitCode(ctx context.Context, s *agentSession, w *way) (ath.Secret, error) {
	expected := awaited{state: s.State.Secret, session: s.ID.Secret, issuer: c.base}
	var code ath.Secret
	var err error
	switch {
	case w.listener != nil:
		fmt.Fprintf(c.stderr, "waiting for the browser on %s\n", w.uri)
		code, err = w.listener.wait(ctx, expected)
	case w.uri == "":
		fmt.Fprint(c.stderr, "the code that the last page shows: ")
		code, err = expected.readPasted(ctx, c.stdin)
	default:
		fmt.Fprintf(c.stderr, "the whole URL below %s that the browser was sent to: ", printable(w.uri, 300))
		code, err = expected.readPasted(ctx, c.stdin)
	}
	switch {
	case errors.Is(err, errDenied):
		return code, errors.Join(err, c.update(func(known *agentServer) { known.drop(s.ID) }))
	case errors.Is(err, context.DeadlineExceeded):
		return code, errors.New("the user did not answer in time\nnext: authorize anew")
	case errors.Is(err, context.Canceled):
		return code, errors.New("stopped")
	}
	return code, err
}

func (c *agentCommand) keepCode(s *agentSession, code ath.Secret) error {
	return c.update(func(known *agentServer) {
		for i := range known.Sessions {
			if known.Sessions[i].ID.Equal(s.ID.Reveal()) {
				known.Sessions[i].Code = kept{code}
			}
		}
	})
}
