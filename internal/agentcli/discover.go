package agentcli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/remote"
)

func newDiscover(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "discover",
		Short:   "show what a server offers to agents",
		GroupID: groupHandshake,
		Example: "  athctl try discover --server https://gateway.example.com",
	})
	return c.runs(func(ctx context.Context, _ []string) error { return c.runDiscover(ctx) })
}

func (c *command) runDiscover(ctx context.Context) error {
	if err := c.openAnonymous(); err != nil {
		return err
	}
	found, err := c.discover(ctx)
	if err != nil {
		return err
	}
	if *c.format == cli.JSON {
		return c.JSON(found)
	}
	return c.showDiscovered(found)
}

// openAnonymous is open for what needs no identity: where a server is named,
// no state is read.
func (c *command) openAnonymous() error {
	if *c.Server == "" {
		_, err := c.open()
		return err
	}
	base, err := remote.Base(*c.Server, *c.AllowHTTP, "the agent's secrets")
	if err != nil {
		return err
	}
	return c.connect(nil, base, client.Credentials{})
}

func (c *command) discover(ctx context.Context) (*client.Discovery, error) {
	found, err := c.client.Discover(ctx)
	if errors.Is(err, client.ErrNotPublished) {
		err = fmt.Errorf("%s publishes neither %s nor %s\nnext: check that --server is athd's public URL", c.base, ath.DiscoveryPath, ath.AppDiscoveryPath)
	}
	return found, err
}

// apiOf is where calls to a provider go: in native mode the app's own base,
// else below the gateway's path. mode is auto, native or gateway.
func (c *command) apiOf(d *client.Discovery, provider, mode string) (string, error) {
	switch {
	case mode == "native" && !d.IsApp(provider):
		return "", fmt.Errorf("%s is no app that %s publishes in %s\nnext: athctl try discover", cli.Printable(provider, 64), c.base, ath.AppDiscoveryPath)
	case mode == "gateway":
		return d.ProxyAPI(provider), nil
	}
	return d.API(provider)
}

func (c *command) showDiscovered(d *client.Discovery) error {
	if g := d.Gateway; g != nil {
		fmt.Fprintf(c.Stdout, "gateway %s (%s, ATH %s)\n", cli.Printable(g.ID, 300), ath.DiscoveryPath, cli.Printable(g.Version, 20))
		for _, p := range g.Providers {
			fmt.Fprintf(c.Stdout, "  provider %s: %s%s\n", cli.Printable(p.ID, 64), cli.Printable(strings.Join(p.Scopes, " "), 1000), stands(d.Renewal(p.ID)))
		}
		if g.ID != c.base {
			fmt.Fprintf(c.Stderr, "note: it names itself by another URL than --server; agents' attestations are for that one\n")
		}
	}
	if a := d.App; a != nil {
		fmt.Fprintf(c.Stdout, "app %s (%s, ATH %s): %s\n", cli.Printable(a.ID, 64), ath.AppDiscoveryPath, cli.Printable(a.Version, 20), cli.Printable(a.Name, 200))
		fmt.Fprintf(c.Stdout, "  scopes: %s\n  api:    %s%s\n", cli.Printable(strings.Join(a.Auth.Scopes, " "), 1000), cli.Printable(a.APIBase, 300), stands(d.Renewal(a.ID)))
	}
	return nil
}

// stands says how long consents stand, where they do (T-8).
func stands(r api.Renewal) string {
	if r.Max <= 0 {
		return ""
	}
	return fmt.Sprintf("; one consent for %s, %s unused", ath.FormatDuration(time.Duration(r.Max)*time.Second), ath.FormatDuration(time.Duration(r.Idle)*time.Second))
}
