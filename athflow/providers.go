package athflow

import (
	"context"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// configuredView is a provider as operators see it (O-1): by what it judges
// and where tokens come from and go to. It holds no secret, and none of the
// extra parameters, which may be one.
type configuredView struct {
	ID                string     `json:"provider_id"`
	Aliases           []string   `json:"aliases,omitempty"`
	DisplayName       string     `json:"display_name"`
	Categories        []string   `json:"categories"`
	Scopes            []string   `json:"available_scopes"`
	AuthorizeEndpoint string     `json:"authorize_endpoint"`
	TokenEndpoint     string     `json:"token_endpoint"`
	APIBase           string     `json:"api_base_url"`
	ClientID          string     `json:"client_id"`
	Preset            string     `json:"preset"`
	Derived           bool       `json:"derived"`
	EncodedSlash      bool       `json:"allow_encoded_slash"`
	Encoded           []string   `json:"allow_encoded,omitempty"`
	Rules             []ruleView `json:"rules"`
	App               *appView   `json:"app,omitempty"`
}

type ruleView struct {
	Scope   string   `json:"scope"`
	Methods []string `json:"methods"`
	Paths   []string `json:"paths"`
	Upgrade []string `json:"upgrade,omitempty"`
	Origin  string   `json:"origin"`
}

type appView struct {
	Name            string     `json:"name"`
	Hosts           []ath.Host `json:"hosts"`
	PathPrefix      string     `json:"path_prefix"`
	Upstream        string     `json:"upstream"`
	Audience        string     `json:"audience"`
	Unauthenticated string     `json:"unauthenticated"`
}

type configured struct {
	Providers   []configuredView `json:"providers"`
	Destination string           `json:"destination"`
	ConsentHost string           `json:"consent_host,omitempty"` // that the consent pages have for themselves
	Callback    string           `json:"callback"`               // shared or per_provider
}

// listProviders shows every provider and app, ordered by id.
func (f *Flow) listProviders(_ context.Context, c *call, _ *nothing) (configured, error) {
	if len(c.query) > 0 {
		return configured{}, ath.Errorf(ath.InvalidRequest, "This path takes no parameter.")
	}
	l := configured{Providers: []configuredView{}, Destination: f.Destination, Callback: "shared"}
	if f.CallbackPerProvider {
		l.Callback = "per_provider"
	}
	if f.origins.separate {
		l.ConsentHost = f.origins.name.String()
	}
	for _, p := range f.Providers.Current().All() {
		l.Providers = append(l.Providers, configuredOf(p))
	}
	c.quiet = true
	return l, nil
}

func configuredOf(p *provider.Provider) configuredView {
	v := configuredView{
		ID: p.ID, Aliases: p.Aliases, DisplayName: p.DisplayName, Categories: orEmpty(p.Categories), Scopes: orEmpty(p.Scopes),
		AuthorizeEndpoint: p.AuthorizeURL.String(), TokenEndpoint: p.TokenURL.String(), APIBase: p.APIBase.String(),
		ClientID: p.ClientID, Preset: p.Preset, Derived: p.Derived, EncodedSlash: p.EncodedSlash, Encoded: p.Encoded.Delimiters(), Rules: []ruleView{},
	}
	for _, r := range p.Rules {
		v.Rules = append(v.Rules, ruleView{Scope: r.Scope, Methods: r.Methods, Paths: r.Paths, Upgrade: r.Upgrade, Origin: r.Origin})
	}
	if a := p.App; a != nil {
		v.App = &appView{
			Name: a.Name, Hosts: append([]ath.Host{}, a.Hosts...), PathPrefix: a.PathPrefix, Upstream: a.Upstream.String(),
			Audience: a.Audience, Unauthenticated: "deny",
		}
		if a.Passthrough {
			v.App.Unauthenticated = "passthrough"
		}
	}
	return v
}
