package agentcli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/remote"
	"github.com/athd/athd/internal/transcript"
	"github.com/athd/athd/internal/wire"
)

// A command is one verb of athctl try: its flags, the agent's state and, once
// it is open, a client for the server.
type command struct {
	*cobra.Command
	cli.Terminal
	remote.Options
	format    *cli.Format
	statePath *string
	verbose   *bool

	file   *stateFile
	agent  *client.Identity
	client *client.Client
	calls  http.RoundTripper // under the client, and recorded
	base   string            // the server's URL, its key in the state
	last   *wire.Exchange    // of the call to lastOf, as it was recorded
	lastOf string            // a URL
	// observe sees every exchange; nil: nobody.
	observe func(*wire.Exchange)
}

// New is athctl try with all its verbs.
func New(t cli.Terminal) *cobra.Command {
	c := &cobra.Command{
		Use:   "try",
		Short: "do what an agent does, to try a server out",
		Long: `athctl try tries out, as an agent, what athd gives to agents.

The provider is one of the gateway's, such as github, or the app's id, or
default for the only app. docs/agents.md shows the commands at work.`,
		Example: "  athctl try run --server http://localhost:8080 --serve 127.0.0.1:0 --provider shop --call 'GET /api/products'",
	}
	c.AddGroup(
		&cobra.Group{ID: groupAll, Title: "everything at once"},
		&cobra.Group{ID: groupIdentity, Title: "the agent"},
		&cobra.Group{ID: groupHandshake, Title: "step by step"},
	)
	c.AddCommand(newRun(t), newKeygen(t), newIdentity(t), newStatus(t),
		newDiscover(t), newRegister(t), newAuthorize(t), newToken(t), newCall(t), newRenew(t), newRevoke(t))
	return c
}

// Groups of verbs, in the order in which the help lists them.
const (
	groupAll       = "all"
	groupIdentity  = "identity"
	groupHandshake = "handshake"
)

// newCommand is a verb without its flags: see [command.runs].
func newCommand(t cli.Terminal, c *cobra.Command) *command {
	text := cli.Text
	return &command{Command: c, Terminal: t, format: &text}
}

// runs adds the flags that every verb takes, behind its own. None takes an admin
// token: an agent is nobody special.
func (c *command) runs(run func(ctx context.Context, plain []string) error) *cobra.Command {
	c.Options = remote.AddFlags(c.Command, c.Terminal, "athd's public `URL`; without, the only one in the state", "speak without TLS to a host that is not this one")
	flags := c.Flags()
	c.statePath = flags.String("state", "athctl-agent.json", "the `file` of what the agent has: its key, secrets and tokens")
	if flags.Lookup("output") == nil { // identity has one of its own
		c.format = cli.FormatFlag(c.Command)
	}
	c.verbose = flags.BoolP("verbose", "v", false, "show every request and reply on standard error, secrets shortened")
	c.RunE = func(cc *cobra.Command, plain []string) error { return c.report(run(cc.Context(), plain)) }
	return c.Command
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
		return cli.Wrong("which server? Use --server or ATHCTL_SERVER")
	}
	base, err := remote.Base(named, *c.AllowHTTP, "the agent's secrets")
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
		if ex.URL == c.lastOf {
			c.last = ex
		}
		if c.observe != nil {
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
		return nil, nil, fmt.Errorf("the agent is not registered at %s\nnext: athctl try register --server %s --provider ID --scope SCOPE", c.base, c.base)
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
	if err == nil || *c.format != cli.JSON || cli.IsWrong(err) || errors.Is(err, cli.ErrFound) {
		return err
	}
	return errors.Join(err, c.JSON(map[string]any{"error": faultOf(err)}))
}

// scopeList is a flag that may be given several times, or once with commas.
type scopeList []string

func (s *scopeList) String() string { return strings.Join(*s, ",") }

func (s *scopeList) Type() string { return "scope" }

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
