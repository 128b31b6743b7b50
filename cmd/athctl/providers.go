package main

import (
	"context"
	"net/http"

	"github.com/athd/athd/ath"
)

// providers is what the server says of all that it fronts.
type providers struct {
	Providers   []fronted `json:"providers"`
	Destination string    `json:"destination"`
	ConsentHost string    `json:"consent_host,omitempty"`
	Callback    string    `json:"callback"` // shared or per_provider
}

// A fronted is a provider, or an app where App is there.
type fronted struct {
	ID                string      `json:"provider_id"`
	Aliases           []string    `json:"aliases,omitempty"`
	DisplayName       string      `json:"display_name"`
	Categories        []string    `json:"categories"`
	Scopes            []string    `json:"available_scopes"`
	AuthorizeEndpoint string      `json:"authorize_endpoint"`
	TokenEndpoint     string      `json:"token_endpoint"`
	APIBase           string      `json:"api_base_url"`
	ClientID          string      `json:"client_id"`
	Preset            string      `json:"preset"`
	Derived           bool        `json:"derived"`
	EncodedSlash      bool        `json:"allow_encoded_slash"`
	Rules             []ruleOf    `json:"rules"`
	App               *frontedApp `json:"app,omitempty"`
}

type ruleOf struct {
	Scope   string   `json:"scope"`
	Methods []string `json:"methods"`
	Paths   []string `json:"paths"`
	Upgrade []string `json:"upgrade,omitempty"`
	Origin  string   `json:"origin"` // scope_rules, preset or derived
}

// A frontedApp is what there is of an app beside.
type frontedApp struct {
	Name            string     `json:"name"`
	Hosts           []ath.Host `json:"hosts"`
	PathPrefix      string     `json:"path_prefix"`
	Upstream        string     `json:"upstream"`
	Audience        string     `json:"audience"`
	Unauthenticated string     `json:"unauthenticated"`
}

func (c *adminClient) providers(ctx context.Context) (providers, error) {
	var all providers
	err := c.ask(ctx, http.MethodGet, ath.AdminProvidersPath, nil, &all)
	return all, err
}
