package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/athd/athd/ath"
	identity "github.com/athd/athd/cmd/athdemo/agent"
)

// A discovered is what a server says of itself: as a gateway (D-1), as an app
// (D-2), or both.
type discovered struct {
	Gateway *identity.Gateway `json:"gateway,omitempty"`
	App     *identity.App     `json:"app,omitempty"`
}

func runDiscover(ctx context.Context, args []string, c *agentCommand) error {
	if err := c.none(args); err != nil {
		return err
	}
	if err := c.openAnonymous(); err != nil {
		return err
	}
	found, err := discover(ctx, c.client)
	if err != nil {
		return err
	}
	if *c.output == "json" {
		return c.json(found)
	}
	return c.showDiscovered(found)
}

// openAnonymous is open for what needs no identity: without a state there is
// an agent that nobody knows.
func (c *agentCommand) openAnonymous() error {
	if *c.server == "" {
		_, err := c.open()
		return err
	}
	a, err := identity.New("https://nobody.invalid/", "nobody")
	if err != nil {
		return err
	}
	base, err := serverBase(*c.server, *c.allowHTTP, "the agent's secrets")
	if err != nil {
		return err
	}
	c.connect(a, base)
	return nil
}

func discover(ctx context.Context, client *identity.Client) (discovered, error) {
	var found discovered
	gateway, err := client.DiscoverGateway(ctx)
	if err == nil {
		found.Gateway = &gateway
	} else if !absent(err) {
		return found, err
	}
	app, appErr := client.DiscoverApp(ctx)
	if appErr == nil {
		found.App = &app
	} else if !absent(appErr) {
		return found, appErr
	}
	if found.Gateway == nil && found.App == nil {
		return found, fmt.Errorf("%s publishes neither %s nor %s\nnext: check that -server is athd's public URL", client.Base, ath.DiscoveryPath, ath.AppDiscoveryPath)
	}
	return found, nil
}

func absent(err error) bool {
	r, ok := errors.AsType[*identity.Refusal](err)
	return ok && r.Status == http.StatusNotFound
}

// scopesOf are what a provider offers, by the name that an agent may use.
func (d *discovered) scopesOf(provider string) []string {
	if d.isApp(provider) {
		return d.App.Auth.Scopes
	}
	if d.Gateway != nil {
		for _, p := range d.Gateway.Providers {
			if p.ID == provider {
				return p.Scopes
			}
		}
	}
	return nil
}

func (d *discovered) isApp(provider string) bool {
	return d.App != nil && (provider == d.App.ID || provider == "default")
}

// names are the providers that there are.
func (d *discovered) names() []string {
	var out []string
	if d.App != nil {
		out = append(out, d.App.ID)
	}
	if d.Gateway != nil {
		for _, p := range d.Gateway.Providers {
			if d.App == nil || p.ID != d.App.ID {
				out = append(out, p.ID)
			}
		}
	}
	return out
}

// apiOf is where calls to a provider go: in native mode the app's own base,
// else below the gateway's path. mode is auto, native or gateway.
func (c *agentCommand) apiOf(d *discovered, provider, mode string) (string, error) {
	native := d.isApp(provider)
	if mode == "native" && !native {
		return "", fmt.Errorf("%s is no app that %s publishes in %s\nnext: athctl agent discover", printable(provider, 64), c.base, ath.AppDiscoveryPath)
	}
	if !native || mode == "gateway" {
		return c.base + ath.ProxyPath + provider, nil
	}
	api := strings.TrimRight(d.App.APIBase, "/")
	if err := checkAPI(api, *c.allowHTTP); err != nil {
		return "", fmt.Errorf("the app's api_base, %q, cannot be used: %w", printable(api, 200), err)
	}
	return api, nil
}

func (c *agentCommand) showDiscovered(d discovered) error {
	if g := d.Gateway; g != nil {
		fmt.Fprintf(c.stdout, "gateway %s (%s, ATH %s)\n", printable(g.ID, 300), ath.DiscoveryPath, printable(g.Version, 20))
		for _, p := range g.Providers {
			fmt.Fprintf(c.stdout, "  provider %s: %s\n", printable(p.ID, 64), printable(strings.Join(p.Scopes, " "), 1000))
		}
		if g.ID != c.base {
			fmt.Fprintf(c.stderr, "note: it names itself by another URL than -server; agents' attestations are for that one\n")
		}
	}
	if a := d.App; a != nil {
		fmt.Fprintf(c.stdout, "app %s (%s, ATH %s): %s\n", printable(a.ID, 64), ath.AppDiscoveryPath, printable(a.Version, 20), printable(a.Name, 200))
		fmt.Fprintf(c.stdout, "  scopes: %s\n  api:    %s\n", printable(strings.Join(a.Auth.Scopes, " "), 1000), printable(a.APIBase, 300))
	}
	return nil
}
