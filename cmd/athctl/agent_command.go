package main

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
	identity "github.com/athd/athd/cmd/athdemo/agent"
	"github.com/athd/athd/internal/transcript"
)

const agentUsage = `athctl agent tries out, as an agent, what athd gives to agents.

usage:
  athctl agent keygen    -agent-id URL [-name TEXT] [-developer NAME] [-developer-id ID] [-force]
  athctl agent identity  [-o FILE | -serve HOST:PORT]
  athctl agent discover
  athctl agent register  -provider ID -scope SCOPE... [-redirect-uri URI]... [-replace]
  athctl agent authorize -provider ID -scope SCOPE... [-redirect loopback|paste|URI] [-timeout 10m]
  athctl agent token     [-code CODE] [-provider ID]
  athctl agent call      [-provider ID] [-i] [-H 'NAME: VALUE']... [-d DATA] METHOD PATH|URL
  athctl agent revoke    [-provider ID]
  athctl agent status
  athctl agent run       -call 'METHOD PATH' [-provider ID] [-scope SCOPE]... [-serve HOST:PORT]

The provider is one of the gateway's, such as github, or the app's id, or
default for the only app.

they take:
  -server URL     athd's public URL; or ATHCTL_SERVER; or the only one in the state
  -state FILE     what the agent has: its key, secrets and tokens (athctl-agent.json)
  -o text|json    for people, or for programs
  -v              shows every request and reply, secrets shortened
  -allow-http     speaks without TLS to a host that is not this one

athctl agent COMMAND -h shows all flags. docs/agents.md shows them at work.
`

// An agentCommand is one verb of athctl agent: its flags, the agent's state
// and, once it is open, a client for the server.
type agentCommand struct {
	*command
	statePath *string
	verbose   *bool

	file   *stateFile
	client *identity.Client
	base   string // the server's URL, its key in the state
}

func runAgent(ctx context.Context, args []string, t terminal) error {
	verbs := map[string]func(context.Context, []string, *agentCommand) error{
		"keygen": runKeygen, "identity": runIdentity, "discover": runDiscover, "register": runRegister,
		"authorize": runAuthorize, "token": runToken, "call": runCall, "revoke": runRevoke,
		"status": runStatus, "run": runWalk,
	}
	if len(args) == 0 {
		fmt.Fprint(t.stderr, agentUsage)
		return errUsage
	}
	if slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		fmt.Fprint(t.stdout, agentUsage)
		return nil
	}
	verb, known := verbs[args[0]]
	if !known {
		fmt.Fprintf(t.stderr, "athctl agent: no such command: %q\n\n%s", args[0], agentUsage)
		return errUsage
	}
	c := newAgentCommand(args[0], t)
	return c.report(verb(ctx, args[1:], c))
}

// newAgentCommand has the flags that every verb takes. None takes an admin
// token: an agent is nobody special.
func newAgentCommand(verb string, t terminal) *agentCommand {
	c := &command{FlagSet: flag.NewFlagSet("athctl agent "+verb, flag.ContinueOnError), terminal: t}
	c.SetOutput(t.stderr)
	text := "text"
	c.output = &text
	if verb != "identity" { // whose -o is a file
		c.output = c.String("o", "text", "`text` for people or json for programs")
	}
	c.server = c.String("server", t.env("ATHCTL_SERVER"), "athd's public `URL`; without, the only one in the state")
	c.allowHTTP = c.Bool("allow-http", false, "speak without TLS to a host that is not this one")
	return &agentCommand{
		command:   c,
		statePath: c.String("state", "athctl-agent.json", "the `file` of what the agent has"),
		verbose:   c.Bool("v", false, "show every request and reply on standard error, secrets shortened"),
	}
}

// none parses arguments of which there may be none but flags.
func (c *agentCommand) none(args []string) error {
	plain, err := c.parse(args)
	if err == nil && len(plain) > 0 {
		err = c.wrong("unexpected argument %q", plain[0])
	}
	return err
}

// open reads the state and makes a client for the server.
func (c *agentCommand) open() (*agentState, error) {
	c.file = &stateFile{path: *c.statePath}
	state, err := c.file.read()
	if err != nil {
		return nil, err
	}
	return state, c.dial(state)
}

// dial makes the client for the server that the flags, the environment or the
// state name.
func (c *agentCommand) dial(state *agentState) error {
	named := *c.server
	if named == "" && len(state.Servers) == 1 {
		for base := range state.Servers {
			named = base
		}
	}
	if named == "" {
		return c.wrong("which server? Use -server or ATHCTL_SERVER")
	}
	base, err := serverBase(named, *c.allowHTTP, "the agent's secrets")
	if err != nil {
		return err
	}
	a, err := state.Agent.load()
	if err != nil {
		return err
	}
	c.connect(a, base)
	if known := state.Servers[base]; known != nil {
		c.client.ID, c.client.Secret = known.ClientID, known.ClientSecret.Reveal()
	}
	return nil
}

// connect makes the client of an agent.
func (c *agentCommand) connect(a *identity.Agent, base string) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 64 << 10
	c.base, c.client = base, identity.NewClientVia(a, base, transport)
	c.client.Purpose = "Trying it out, with athctl"
	if *c.verbose {
		out := &transcript.Transcript{W: printableWriter{c.stderr}, Verbose: true}
		c.client.Observe = out.Exchange
	}
}

// registered is open for a verb that needs a registration.
func (c *agentCommand) registered() (*agentState, *agentServer, error) {
	state, err := c.open()
	if err != nil {
		return nil, nil, err
	}
	known := state.Servers[c.base]
	if known == nil || known.ClientID == "" {
		return nil, nil, fmt.Errorf("the agent is not registered at %s\nnext: athctl agent register -server %s -provider ID -scope SCOPE", c.base, c.base)
	}
	return state, known, nil
}

// update changes what the state says of the server.
func (c *agentCommand) update(change func(*agentServer)) error {
	return c.file.update(func(s *agentState) error {
		known := s.Servers[c.base]
		if known == nil {
			known = &agentServer{}
			s.Servers[c.base] = known
		}
		change(known)
		return nil
	})
}

// report turns what went wrong into what is told of it: on standard error for
// everybody, and for programs as an object too.
func (c *agentCommand) report(err error) error {
	err = advised(err)
	if err == nil || *c.output != "json" || errors.Is(err, errUsage) || errors.Is(err, errFound) || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return errors.Join(err, c.json(map[string]any{"error": faultOf(err)}))
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
