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

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
)

// An identityFlags is what an agent may say of itself.
type identityFlags struct{ agentID, name, developer, developerID *string }

func (c *command) identityFlags() identityFlags {
	return identityFlags{
		agentID:     c.String("agent-id", "", "the `URL` of the identity document, which names the agent"),
		name:        c.String("name", "An agent on trial", "the agent's `name`, as users read it"),
		developer:   c.String("developer", "Somebody who tries athd out", "the `name` of who answers for the agent"),
		developerID: c.String("developer-id", "", "the `id` of who answers for it; without, the host of the agent id"),
	}
}

// fresh makes a state with a new key.
func (c *command) fresh(f identityFlags, agentID string) (*savedState, error) {
	id, err := ath.ParseAgentID(agentID, true)
	if err != nil {
		return nil, c.Wrong("-agent-id: %v", err)
	}
	u, err := url.Parse(agentID)
	if err != nil {
		return nil, c.Wrong("-agent-id: %v", err)
	}
	if u.Scheme == "http" && !ath.IsLoopbackHost(u.Hostname()) && !*c.AllowHTTP {
		return nil, c.Wrong("-agent-id: an http URL can be forged on its way; use https, or -allow-http if you know that way")
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

func runKeygen(_ context.Context, args []string, c *command) error {
	who := c.identityFlags()
	force := c.Bool("force", false, "give up the key that is there")
	if err := c.none(args); err != nil {
		return err
	}
	if *who.agentID == "" {
		return c.Wrong("which agent? Use -agent-id URL: where the identity document will be")
	}
	state, err := c.fresh(who, *who.agentID)
	if err != nil {
		return err
	}
	file := &stateFile{path: *c.statePath}
	if err := file.create(state, *force); err != nil {
		return err
	}
	if *c.Format == "json" {
		return c.JSON(map[string]any{"agent_id": state.Agent.ID, "state": file.path})
	}
	_, err = fmt.Fprintf(c.Stdout, "%s has a key, in %s. Keep that file to yourself.\n"+
		"next: publish what athctl try identity prints at that URL, or try it out with athctl try identity -serve HOST:PORT\n", state.Agent.ID, file.path)
	return err
}

func runIdentity(ctx context.Context, args []string, c *command) error {
	out := c.String("o", "", "write the document into `FILE`")
	serve := c.String("serve", "", "serve the document at `HOST:PORT`, to try it out, until Ctrl-C")
	if err := c.none(args); err != nil {
		return err
	}
	if *out != "" && *serve != "" {
		return c.Wrong("-o and -serve are both given")
	}
	state, err := (&stateFile{path: *c.statePath}).read()
	if err != nil {
		return err
	}
	a, err := state.Agent.load()
	if err != nil {
		return err
	}
	if *serve != "" {
		return c.serveUntilDone(ctx, a, *serve)
	}
	document, err := a.Document()
	if err != nil {
		return err
	}
	document = append(document, '\n')
	if *out != "" {
		return os.WriteFile(*out, document, 0o644) // it is public
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
		return "", errors.New("-serve on an address that is not loopback wants -agent-id: the URL by which athd reaches it")
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "http://" + host + ":" + port + "/agent.json", nil
}
