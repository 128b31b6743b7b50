package agentcli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/transcript"
	"github.com/athd/athd/internal/wire"
)

const usage = `athctl try tries out, as an agent, what athd gives to agents.

usage:
  athctl try keygen    -agent-id URL [-name TEXT] [-developer NAME] [-developer-id ID] [-force]
  athctl try identity  [-o FILE | -serve HOST:PORT]
  athctl try discover
  athctl try register  -provider ID -scope SCOPE... [-redirect-uri URI]... [-replace]
  athctl try authorize -provider ID -scope SCOPE... [-redirect loopback|paste|URI] [-timeout 10m]
  athctl try token     [-code CODE] [-provider ID]
  athctl try call      [-provider ID] [-i] [-H 'NAME: VALUE']... [-d DATA] METHOD PATH|URL
  athctl try revoke    [-provider ID]
  athctl try status
  athctl try run       -call 'METHOD PATH' [-provider ID] [-scope SCOPE]... [-serve HOST:PORT]

The provider is one of the gateway's, such as github, or the app's id, or
default for the only app.

they take:
  -server URL     athd's public URL; or ATHCTL_SERVER; or the only one in the state
  -state FILE     what the agent has: its key, secrets and tokens (athctl-agent.json)
  -o text|json    for people, or for programs
  -v              shows every request and reply, secrets shortened
  -allow-http     speaks without TLS to a host that is not this one

athctl try COMMAND -h shows all flags. docs/agents.md shows them at work.
`

// A command is one verb of athctl try: its flags, the agent's state and, once
// it is open, a client for the server.
type command struct {
	*cli.Command
	statePath *string
	verbose   *bool

	file   *stateFile
	agent  *client.Identity
	client *client.Client
	calls  http.RoundTripper // under the client, and recorded
	base   string            // the server's URL, its key in the state
	last   *wire.Exchange    // as it was recorded
	// observe sees every exchange; nil: nobody.
	observe func(*wire.Exchange)
}

// Run runs one verb of athctl try.
func Run(ctx context.Context, args []string, t cli.Terminal) error {
	verbs := map[string]func(context.Context, []string, *command) error{
		"keygen": runKeygen, "identity": runIdentity, "discover": runDiscover, "register": runRegister,
		"authorize": runAuthorize, "token": runToken, "call": runCall, "revoke": runRevoke,
		"status": runStatus, "run": runHandshake,
	}
	if len(args) == 0 {
		fmt.Fprint(t.Stderr, usage)
		return cli.ErrUsage
	}
	if slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		fmt.Fprint(t.Stdout, usage)
		return nil
	}
	verb, known := verbs[args[0]]
	if !known {
		fmt.Fprintf(t.Stderr, "athctl try: no such command: %q\n\n%s", args[0], usage)
		return cli.ErrUsage
	}
	c := newCommand(args[0], t)
	return c.report(verb(ctx, args[1:], c))
}

// newCommand has the flags that every verb takes. None takes an admin token: an
// agent is nobody special.
func newCommand(verb string, t cli.Terminal) *command {
	c := cli.NewCommand("athctl try "+verb, t)
	if verb != "identity" { // whose -o is a file
		c.FormatFlag()
	}
	c.ServerFlags("athd's public `URL`; without, the only one in the state", "speak without TLS to a host that is not this one")
	return &command{
		Command:   c,
		statePath: c.String("state", "athctl-agent.json", "the `file` of what the agent has"),
		verbose:   c.Bool("v", false, "show every request and reply on standard error, secrets shortened"),
	}
}

// none parses arguments of which there may be none but flags.
func (c *command) none(args []string) error {
	plain, err := c.ParseArgs(args)
	if err == nil && len(plain) > 0 {
		err = c.Wrong("unexpected argument %q", plain[0])
	}
	return err
}

// open reads the state and makes a client for the server.
func (c *command) open() (*savedState, error) {
	c.file = &stateFile{path: *c.statePath}
	state, err := c.file.read()
	if err != nil {
		return nil, err
	}
	return state, c.dial(state)
}

// dial makes the client for the server that the flags, the environment or the
// state name.
func (c *command) dial(state *savedState) error {
	named := *c.Server
	if named == "" && len(state.Servers) == 1 {
		for base := range state.Servers {
			named = base
		}
	}
	if named == "" {
		return c.Wrong("which server? Use -server or ATHCTL_SERVER")
	}
	base, err := cli.ServerBase(named, *c.AllowHTTP, "the agent's secrets")
	if err != nil {
		return err
	}
	a, err := state.Agent.load()
	if err != nil {
		return err
	}
	var own client.Credentials
	if known := state.Servers[base]; known != nil {
		own = client.Credentials{ClientID: known.ClientID, Secret: known.ClientSecret.Secret}
	}
	return c.connect(a, base, own)
}

// maxHeaderBytes is how much a server may say before its reply.
const maxHeaderBytes = 64 << 10

// connect makes the client of an agent.
func (c *command) connect(a *client.Identity, base string, own client.Credentials) (err error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxHeaderBytes
	if *c.verbose {
		out := &transcript.Transcript{W: cli.PrintableWriter{W: c.Stderr}, Verbose: true}
		c.observe = out.Exchange
	}
	c.calls = &wire.Recorder{Base: transport, Observe: func(ex *wire.Exchange) {
		if c.last = ex; c.observe != nil {
			c.observe(ex)
		}
	}}
	c.base, c.agent = base, a
	c.client, err = client.New(client.Config{
		Server: base, Agent: a, Credentials: own, Transport: c.calls, Timeout: 10 * time.Second, InsecureHTTP: *c.AllowHTTP,
	})
	return err
}

// registered is open for a verb that needs a registration.
func (c *command) registered() (*savedState, *serverState, error) {
	state, err := c.open()
	if err != nil {
		return nil, nil, err
	}
	known := state.Servers[c.base]
	if known == nil || known.ClientID == "" {
		return nil, nil, fmt.Errorf("the agent is not registered at %s\nnext: athctl try register -server %s -provider ID -scope SCOPE", c.base, c.base)
	}
	return state, known, nil
}

// update changes what the state says of the server.
func (c *command) update(change func(*serverState)) error {
	return c.file.update(func(s *savedState) error {
		known := s.Servers[c.base]
		if known == nil {
			known = &serverState{}
			s.Servers[c.base] = known
		}
		change(known)
		return nil
	})
}

// report turns what went wrong into what is said about it: on standard error
// for everybody, and for programs as an object too.
func (c *command) report(err error) error {
	err = advised(err)
	if err == nil || *c.Format != "json" || errors.Is(err, cli.ErrUsage) || errors.Is(err, cli.ErrFound) || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return errors.Join(err, c.JSON(map[string]any{"error": faultOf(err)}))
}

// scopeList is a flag that may be given several times, or once with commas.
type scopeList []string

func (s *scopeList) String() string { return strings.Join(*s, ",") }

func (s *scopeList) Set(text string) error {
	for scope := range strings.SplitSeq(text, ",") {
		if scope == "" || len(scope) > ath.MaxScopeBytes {
			return errors.New("a scope is empty or too long")
		}
		*s = append(*s, scope)
	}
	return nil
}

// until shows a time to people, with how long that is.
func until(t time.Time) string {
	left := time.Until(t).Round(time.Second)
	if left <= 0 {
		return t.UTC().Format(time.RFC3339) + " (over)"
	}
	return fmt.Sprintf("%s (%v left)", t.UTC().Format(time.RFC3339), left)
}
