package agentcli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
)

// An identityFlags is what an agent may say of itself.
type identityFlags struct{ agentID, name, developer, developerID *string }

func (c *command) identityFlags() identityFlags {
	return identityFlags{
		agentID:     c.Flags().String("agent-id", "", "the `URL` of the identity document, which names the agent"),
		name:        c.Flags().String("name", "An agent on trial", "the agent's `name`, as users read it"),
		developer:   c.Flags().String("developer", "Somebody who tries athd out", "the `name` of who answers for the agent"),
		developerID: c.Flags().String("developer-id", "", "the `id` of who answers for it; without, the host of the agent id"),
	}
}

// fresh makes a state with a new key.
func (c *command) fresh(f identityFlags, agentID string) (*savedState, error) {
	id, err := ath.ParseAgentID(agentID, true)
	if err != nil {
		return nil, cli.Wrong("--agent-id: %v", err)
	}
	u, err := url.Parse(agentID)
	if err != nil {
		return nil, cli.Wrong("--agent-id: %v", err)
	}
	if u.Scheme == "http" && !ath.IsLoopbackHost(u.Hostname()) && !*c.AllowHTTP {
		return nil, cli.Wrong("--agent-id: an http URL can be forged on its way; use https, or --allow-http if you know that way")
	}
	key, err := client.NewKey()
	if err != nil {
		return nil, err
	}
	text, err := client.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	developer := api.Developer{Name: *f.developer, ID: *f.developerID}
	if developer.ID == "" {
		developer.ID = id.Host().String()
	}
	return &savedState{
		Version: stateVersion, Servers: map[string]*serverState{},
		Agent: savedIdentity{ID: agentID, Name: *f.name, Developer: developer, PrivateKey: api.OpenSecret(text)},
	}, nil
}

func newKeygen(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "keygen",
		Short:   "make an agent: a key, and what it says of itself",
		GroupID: groupIdentity,
		Example: "  athctl try keygen --agent-id https://agents.example.com/mine.json --name 'My agent'",
	})
	who := c.identityFlags()
	force := c.Flags().Bool("force", false, "give up the key that is there")
	return c.runs(func(context.Context, []string) error { return c.runKeygen(who, *force) })
}

func (c *command) runKeygen(who identityFlags, force bool) error {
	if *who.agentID == "" {
		return cli.Wrong("which agent? Use --agent-id URL: where the identity document will be")
	}
	state, err := c.fresh(who, *who.agentID)
	if err != nil {
		return err
	}
	file := &stateFile{path: *c.statePath}
	if err := file.create(state, force); err != nil {
		return err
	}
	if *c.format == cli.JSON {
		return c.JSON(map[string]any{"agent_id": state.Agent.ID, "state": file.path})
	}
	_, err = fmt.Fprintf(c.Stdout, "%s has a key, in %s. Keep that file to yourself.\n"+
		"next: publish what athctl try identity prints at that URL, or try it out with athctl try identity --serve HOST:PORT\n", state.Agent.ID, file.path)
	return err
}

func newIdentity(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "identity",
		Short:   "print the agent's identity document, or serve it",
		GroupID: groupIdentity,
		Example: `  athctl try identity -o agent.json
  athctl try identity --serve 127.0.0.1:8099`,
	})
	out := c.Flags().StringP("output", "o", "", "write the document into `FILE`")
	serve := c.Flags().String("serve", "", "serve the document at `HOST:PORT`, to try it out, until Ctrl-C")
	return c.runs(func(ctx context.Context, _ []string) error {
		if *out != "" && *serve != "" {
			return cli.Wrong("--output and --serve are both given")
		}
		return c.runIdentity(ctx, *out, *serve)
	})
}

func (c *command) runIdentity(ctx context.Context, out, serve string) error {
	state, err := (&stateFile{path: *c.statePath}).read()
	if err != nil {
		return err
	}
	a, err := state.Agent.load()
	if err != nil {
		return err
	}
	if serve != "" {
		return c.serveUntilDone(ctx, a, serve)
	}
	document, err := a.Document()
	if err != nil {
		return err
	}
	document = append(document, '\n')
	if out != "" {
		return os.WriteFile(out, document, 0o644) //nolint:gosec // it is public
	}
	_, err = c.Stdout.Write(document)
	return err
}

func (c *command) serveUntilDone(ctx context.Context, a *client.Identity, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	site := publish(listener, a)
	defer site.Close()
	fmt.Fprintf(c.Stderr, "serving the identity document of %s on %s, until Ctrl-C\n", a.ID(), listener.Addr())
	if !isServedAt(a.ID(), listener) {
		fmt.Fprintf(c.Stderr, "athd will look for it at the agent id, not here\n")
	}
	<-ctx.Done()
	return nil
}

// publish serves an identity document where the agent id says, on a listener.
func publish(listener net.Listener, a *client.Identity) *http.Server {
	path := pathOf(a.ID())
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != path {
				http.NotFound(w, r)
				return
			}
			a.ServeHTTP(w, r)
		}),
		ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	go server.Serve(listener) // ends with Close
	return server
}

func pathOf(agentID string) string {
	u, err := url.Parse(agentID)
	if err != nil || u.Path == "" {
		return "/"
	}
	return u.Path
}

// isServedAt reports whether an agent id leads to the listener, as far as its
// port shows.
func isServedAt(agentID string, listener net.Listener) bool {
	u, err := url.Parse(agentID)
	if err != nil || u.Scheme != "http" {
		return false
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return err == nil && (u.Port() == port || u.Port() == "" && port == "80")
}

// idOn is the agent id of who has none and is served on the listener.
func idOn(listener net.Listener) (string, error) {
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return "", err
	}
	if !ath.IsLoopbackIP(host) {
		return "", errors.New("--serve on an address that is not loopback wants --agent-id: the URL by which athd reaches it")
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "http://" + host + ":" + port + "/agent.json", nil
}
