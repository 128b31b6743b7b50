package agentcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/transcript"
	"github.com/athd/athd/internal/wire"
)

// A handshakeRun is one run of athctl try run: all steps, from discovery to the
// refusal of a token that was revoked.
type handshakeRun struct {
	*command
	out    *transcript.Transcript
	report runReport

	// What the flags say.
	provider, mode, redirect, consentWith string
	scopes                                []string
	call, outside                         request
	replace, awaitApproval                bool
	timeout                               time.Duration

	// What the steps find, one for the next.
	found    *client.Discovery
	approved []string
	api      string
	back     *redirectMode
	session  *openSession
	link     string
	code     ath.Secret
	token    heldToken
}

// A runReport is what -o json prints.
type runReport struct {
	OK       bool       `json:"ok"`
	Server   string     `json:"server"`
	AgentID  string     `json:"agent_id"`
	Provider string     `json:"provider_id"`
	API      string     `json:"api"`
	Steps    []*runStep `json:"steps"`
}

type runStep struct {
	Step      string        `json:"step"`
	OK        bool          `json:"ok"`
	Exchanges []runExchange `json:"exchanges"`
	Checks    []runCheck    `json:"checks"`
	Error     *fault        `json:"error,omitempty"` // why the walk ends here
}

type runExchange struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Status int    `json:"status"`
	Code   string `json:"code,omitempty"` // of a refusal
}

type runCheck struct {
	OK   bool   `json:"ok"`
	Want string `json:"want"`
	Got  string `json:"got,omitempty"` // if it is not OK
}

// A request is a flag: METHOD PATH.
type request struct{ method, path string }

func (r *request) String() string { return strings.TrimSpace(r.method + " " + r.path) }

func (r *request) Type() string { return "request" }

func (r *request) Set(text string) error {
	method, path, ok := strings.Cut(strings.TrimSpace(text), " ")
	if !ok || method == "" || !strings.HasPrefix(path, "/") {
		return errors.New("want METHOD PATH, such as 'GET /user'")
	}
	r.method, r.path = strings.ToUpper(method), path
	return nil
}

func newRun(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "run",
		Short:   "go all the way, from discovery to a revoked token, and check each step",
		GroupID: groupAll,
		Example: `  athctl try run --call 'GET /api/products' --provider shop --serve 127.0.0.1:0
  athctl try run --call 'GET /user' --provider github --redirect paste -o json`,
	})
	// No API should have this path. GET changes nothing where one does.
	w := &handshakeRun{command: c, outside: request{http.MethodGet, "/athctl-agent-run/outside-the-scopes"}}
	c.Flags().Var(&w.call, "call", "a `'METHOD PATH'` that the scopes cover, which must pass")
	c.Flags().Var(&w.outside, "outside", "a `'METHOD PATH'` that they do not cover, which must be refused")
	c.Flags().StringVar(&w.provider, "provider", "", "the `ID` of what the agent wants to use; without, the only one that there is")
	c.Flags().Var((*scopeList)(&w.scopes), "scope", "ask for `SCOPE`; several times, or with commas; without, for all that are offered")
	who := c.identityFlags()
	serve := c.Flags().String("serve", "", "serve the identity document at `HOST:PORT` meanwhile; where there is no state, also make an identity for it")
	c.modeFlag(&w.mode)
	c.redirectFlag(&w.redirect)
	c.Flags().StringVar(&w.consentWith, "consent-with", "", "play the user's browser too, and log in with `USER:PASSWORD`; for the demo's OAuth server and tests: everybody on this machine can read the command line")
	c.Flags().BoolVar(&w.replace, "replace", false, "where the agent is registered already, end that registration first")
	c.Flags().BoolVar(&w.awaitApproval, "await-approval", false, "where an operator has to approve the agent, wait for that too, as long as for the user")
	c.Flags().DurationVar(&w.timeout, "timeout", sessionLife, "how long to wait for the user")
	return c.runs(func(ctx context.Context, _ []string) error {
		switch {
		case w.call.method == "":
			return cli.Wrong("which call must pass? Use --call 'GET /…', with a path of the API")
		case w.timeout <= 0 || w.timeout > sessionLife:
			return cli.Wrong("--timeout wants a time up to %v: no session lives longer", sessionLife)
		}
		return w.runHandshake(ctx, who, *serve)
	})
}

func (w *handshakeRun) runHandshake(ctx context.Context, who identityFlags, serve string) error {
	site, err := w.appear(who, serve)
	if err != nil {
		return err
	}
	if site != nil {
		defer site.Close()
	}
	if _, err := w.open(); err != nil {
		return err
	}
	return w.run(ctx)
}

// appear makes the agent be there: with its document served, if that is
// wanted, and with an identity made for it, if there is none.
func (c *command) appear(who identityFlags, serve string) (*http.Server, error) {
	c.file = &stateFile{path: *c.statePath}
	var listener net.Listener
	if serve != "" {
		var err error
		if listener, err = net.Listen("tcp", c.whereItWas(serve)); err != nil {
			return nil, err
		}
	}
	a, err := c.somebody(who, listener)
	if err != nil {
		if listener != nil {
			listener.Close()
		}
		return nil, err
	}
	if listener == nil {
		return nil, nil
	}
	return publish(listener, a), nil
}

// whereItWas is the address that serve leaves open (port 0), if the agent of the
// state was served on loopback before: its id names the port.
func (c *command) whereItWas(serve string) string {
	host, port, err := net.SplitHostPort(serve)
	if err != nil || port != "0" {
		return serve
	}
	state, err := c.file.read()
	if err != nil {
		return serve // there is none, or whoever opens it next says what is wrong
	}
	id, err := url.Parse(state.Agent.ID)
	if err != nil || id.Scheme != "http" || id.Hostname() != host || id.Port() == "" {
		return serve
	}
	return id.Host
}

// somebody is the agent of the state, or a new one.
func (c *command) somebody(who identityFlags, listener net.Listener) (*client.Identity, error) {
	if _, err := os.Lstat(c.file.path); err == nil || listener == nil && *who.agentID == "" {
		state, err := c.file.read()
		if err != nil {
			return nil, err
		}
		if *who.agentID != "" && *who.agentID != state.Agent.ID {
			return nil, fmt.Errorf("the agent in %s is %s, and not %s\nnext: another --state", c.file.path, state.Agent.ID, cli.Printable(*who.agentID, 300))
		}
		if listener != nil && strings.HasPrefix(state.Agent.ID, "http://127.0.0.1:") && !isServedAt(state.Agent.ID, listener) {
			return nil, fmt.Errorf("the agent in %s is %s, and would be served on %s\nnext: --serve %s, or another --state",
				c.file.path, state.Agent.ID, listener.Addr(), strings.TrimPrefix(originOf(state.Agent.ID), "http://"))
		}
		return state.Agent.load()
	}
	agentID := *who.agentID
	if agentID == "" {
		var err error
		if agentID, err = idOn(listener); err != nil {
			return nil, err
		}
	}
	state, err := c.fresh(who, agentID)
	if err != nil {
		return nil, err
	}
	if err := c.file.create(state, false); err != nil {
		return nil, err
	}
	return state.Agent.load()
}

func originOf(agentID string) string {
	id, err := ath.ParseAgentID(agentID, true)
	if err != nil {
		return agentID
	}
	return id.Origin()
}

// run runs all steps and prints how they went.
func (w *handshakeRun) run(ctx context.Context) error {
	forPeople := io.Writer(cli.PrintableWriter{W: w.Stdout})
	if *w.format == cli.JSON {
		forPeople = io.Discard
		if *w.verbose {
			forPeople = cli.PrintableWriter{W: w.Stderr}
		}
	}
	w.out = &transcript.Transcript{W: forPeople, Verbose: *w.verbose}
	w.report = runReport{Server: w.base, AgentID: w.agent.ID(), Steps: []*runStep{}}
	w.command.observe = w.observe
	defer func() {
		if w.back != nil {
			w.back.close()
		}
	}()
	w.out.Line("agent %s at %s", w.agent.ID(), w.base)
	err := w.play(ctx)
	w.report.OK = err == nil && len(w.out.Failures()) == 0
	w.report.Provider, w.report.API = w.provider, w.api
	switch {
	case *w.format == cli.JSON:
		if err := w.JSON(w.report); err != nil {
			return err
		}
	case w.report.OK:
		w.out.Line("\nAll %d checks held.", w.out.Checks)
	case err != nil:
		return fmt.Errorf("step %d: %w", w.out.Steps, advised(err))
	default:
		fmt.Fprintf(w.Stderr, "athctl: not as it should be:\n%s\n", strings.Join(w.out.Failures(), "\n"))
	}
	if w.report.OK {
		return nil
	}
	return cli.ErrFound
}

// play plays the steps up to the first after which the next makes no sense.
func (w *handshakeRun) play(ctx context.Context) error {
	for _, s := range []struct {
		name, title string
		play        func(context.Context) error
	}{
		{"discover", "Discover: the agent asks what there is", w.discover},
		{"register", "Register: the agent proves who it is, and the operator's policy judges what it asks for", w.registerOnce},
		{"authorize", "Authorize: the agent asks for a user's consent", w.authorizeUser},
		{"consent", "Consent: the user decides, in a browser", w.consent},
		{"token", "Token: the agent exchanges the code", w.exchange},
		{"call", "Call: what the scopes cover passes", w.callInside},
		{"renew", "Renew: another token, without the user", w.renewOnce},
		{"call_outside", "Call outside the scopes: refused", w.callOutside},
		{"revoke", "Revoke: the agent gives the token back", w.revokeToken},
		{"call_revoked", "Call again: the token is dead", w.callAfterRevoke},
	} {
		if s.name == "renew" && w.token.Renewal.IsZero() {
			continue // the server gives none (T-8)
		}
		w.out.Step("%s", s.title)
		step := &runStep{Step: s.name, OK: true, Exchanges: []runExchange{}, Checks: []runCheck{}}
		w.report.Steps = append(w.report.Steps, step)
		err := s.play(ctx)
		w.out.End(err == nil)
		if err != nil {
			step.OK, step.Error = false, faultOf(advised(err))
			return err
		}
	}
	return nil
}

// observe reports an exchange, to people and to programs.
func (w *handshakeRun) observe(ex *wire.Exchange) {
	w.out.Exchange(ex)
	seen := runExchange{Method: ex.Method, URL: ex.URL, Status: ex.Status}
	if refusal := ex.Refusal(); refusal != nil {
		seen.Code = string(refusal.Code)
	}
	step := w.report.Steps[len(w.report.Steps)-1]
	step.Exchanges = append(step.Exchanges, seen)
}

// check reports an expectation, and whether it was met.
func (w *handshakeRun) check(ok bool, want string, got any) {
	w.out.Check(ok, want, got)
	seen := runCheck{OK: ok, Want: want}
	step := w.report.Steps[len(w.report.Steps)-1]
	if !ok {
		seen.Got, step.OK = transcript.Shorten(fmt.Sprint(got)), false
	}
	step.Checks = append(step.Checks, seen)
}
