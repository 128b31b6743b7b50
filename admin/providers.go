package admin

import (
	"context"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
)

// listProviders shows every provider and app, ordered by id.
func (s *API) listProviders(_ context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.ProviderList, error) {
	if len(c.Query) > 0 {
		return api.ProviderList{}, ath.Errorf(ath.InvalidRequest, "This path takes no parameter.")
	}
	l := api.ProviderList{Providers: []api.Provider{}, Destination: s.Destination, Callback: api.CallbackShared}
	if s.CallbackPerProvider {
		l.Callback = api.CallbackPerProvider
	}
	if !s.ConsentHost.IsZero() {
		l.ConsentHost = s.ConsentHost.String()
	}
	for _, p := range s.Providers.Current().All() {
		l.Providers = append(l.Providers, providerOf(p))
	}
	c.Quiet = true
	return l, nil
}

func providerOf(p *provider.Provider) api.Provider {
	v := api.Provider{
		ID: p.ID, Aliases: p.Aliases, DisplayName: p.DisplayName, Categories: httpapi.List(p.Categories), Scopes: httpapi.List(p.Scopes),
		AuthorizeEndpoint: p.AuthorizeURL.String(), TokenEndpoint: p.TokenURL.String(), APIBase: p.APIBase.String(),
		ClientID: p.ClientID, Preset: p.Preset, Derived: p.Derived, EncodedSlash: p.EncodedSlash, Encoded: p.Encoded.Delimiters(), Rules: []api.ProviderRule{},
	}
	for _, r := range p.Rules {
		v.Rules = append(v.Rules, api.ProviderRule{Scope: r.Scope, Methods: r.Methods, Paths: r.Paths, Upgrade: r.Upgrade, Origin: r.Origin})
	}
	if a := p.App; a != nil {
		v.App = &api.ProviderApp{
			Name: a.Name, Hosts: append([]ath.Host{}, a.Hosts...), PathPrefix: a.PathPrefix, Upstream: a.Upstream.String(),
			Audience: a.Audience, Unauthenticated: "deny",
		}
		if a.Passthrough {
			v.App.Unauthenticated = "passthrough"
		}
	}
	return v
}
