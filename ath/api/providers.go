package api

import "github.com/athd/athd/ath"

// A ProviderList is the answer of GET /ath/admin/providers (O-1).
type ProviderList struct {
	Providers   []Provider `json:"providers"`
	Destination string     `json:"destination"`
	ConsentHost string     `json:"consent_host,omitempty"` // that the consent pages have for themselves
	Callback    string     `json:"callback"`               // CallbackShared or CallbackPerProvider
}

// The redirect URIs that OAuth servers know.
const (
	CallbackShared      = "shared"
	CallbackPerProvider = "per_provider"
)

// A Provider is one as operators see it, or an app where App is there: by what
// it is checked, and where tokens come from and go to. It holds no secret, and
// none of the extra parameters, which may be one.
type Provider struct {
	ID                string         `json:"provider_id"`
	Aliases           []string       `json:"aliases,omitempty"`
	DisplayName       string         `json:"display_name"`
	Categories        []string       `json:"categories"`
	Scopes            []string       `json:"available_scopes"`
	AuthorizeEndpoint string         `json:"authorize_endpoint"`
	TokenEndpoint     string         `json:"token_endpoint"`
	APIBase           string         `json:"api_base_url"`
	ClientID          string         `json:"client_id"`
	Preset            string         `json:"preset"`
	Derived           bool           `json:"derived"`
	EncodedSlash      bool           `json:"allow_encoded_slash"`
	Encoded           []string       `json:"allow_encoded,omitempty"`
	Rules             []ProviderRule `json:"rules"`
	App               *ProviderApp   `json:"app,omitempty"`
}

// A ProviderRule is what one scope lets a request do.
type ProviderRule struct {
	Scope   string   `json:"scope"`
	Methods []string `json:"methods"`
	Paths   []string `json:"paths"`
	Upgrade []string `json:"upgrade,omitempty"`
	Origin  string   `json:"origin"` // scope_rules, preset or derived
}

// A ProviderApp is what there is of an app beside.
type ProviderApp struct {
	Name            string     `json:"name"`
	Hosts           []ath.Host `json:"hosts"`
	PathPrefix      string     `json:"path_prefix"`
	Upstream        string     `json:"upstream"`
	Audience        string     `json:"audience"`
	Unauthenticated string     `json:"unauthenticated"` // deny or passthrough
}
