package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

// A Discovery is what a server says of itself: as a gateway (D-1), as an app
// (D-2), or as both.
type Discovery struct {
	Gateway *api.Gateway `json:"gateway,omitempty"`
	App     *api.App     `json:"app,omitempty"`

	server   string
	insecure bool
}

// ErrNotPublished says that a server describes itself neither as a gateway nor
// as an app.
var ErrNotPublished = errors.New("client: the server publishes neither " + ath.DiscoveryPath + " nor " + ath.AppDiscoveryPath)

// Discover asks the server what there is.
func (c *Client) Discover(ctx context.Context) (*Discovery, error) {
	d := &Discovery{server: c.server, insecure: c.insecure}
	var gateway api.Gateway
	if is, err := c.publishes(ctx, ath.DiscoveryPath, &gateway); err != nil {
		return nil, err
	} else if is {
		d.Gateway = &gateway
	}
	var app api.App
	if is, err := c.publishes(ctx, ath.AppDiscoveryPath, &app); err != nil {
		return nil, err
	} else if is {
		d.App = &app
	}
	if d.Gateway == nil && d.App == nil {
		return nil, fmt.Errorf("%w: %s", ErrNotPublished, c.server)
	}
	return d, nil
}

func (c *Client) publishes(ctx context.Context, path string, v any) (bool, error) {
	err := c.ask(ctx, http.MethodGet, path, "", nil, v)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// IsApp reports whether a provider is the app: by its id, or as "default"
// (T-5).
func (d *Discovery) IsApp(provider string) bool {
	return d.App != nil && (provider == d.App.ID || provider == "default")
}

// Providers are the names under which there is something to ask for.
func (d *Discovery) Providers() []string {
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

// Scopes are what a provider offers.
func (d *Discovery) Scopes(provider string) []string {
	if d.IsApp(provider) {
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

// Renewal is how long a user's consent at a provider stands (T-8). The zero value:
// it is good for one token.
func (d *Discovery) Renewal(provider string) api.Renewal {
	var found *api.Renewal
	if d.Gateway != nil {
		for _, p := range d.Gateway.Providers {
			if p.ID == provider {
				found = cmp.Or(p.Renewal, d.Gateway.Renewal)
			}
		}
	}
	if d.IsApp(provider) {
		found = d.App.Renewal
	}
	if found == nil {
		return api.Renewal{}
	}
	return *found
}

// API is the URL below which calls to a provider go: the app's own, or the
// gateway's path. It does not end with a slash.
func (d *Discovery) API(provider string) (string, error) {
	if !d.IsApp(provider) {
		return d.ProxyAPI(provider), nil
	}
	base := strings.TrimRight(d.App.APIBase, "/")
	if _, err := parseAPI(base, d.insecure); err != nil {
		return "", fmt.Errorf("the app's api_base, %.200q: %w", base, err)
	}
	return base, nil
}

// ProxyAPI is the gateway's path for a provider, which an app has as well.
func (d *Discovery) ProxyAPI(provider string) string { return d.server + ath.ProxyPath + provider }
