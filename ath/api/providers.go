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
	UserinfoEndpoint  string         `json:"userinfo_endpoint,omitempty"`
	RevocationURL     string         `json:"revocation_endpoint,omitempty"`
	Issuer            string         `json:"issuer,omitempty"`
	AuthMethod        string         `json:"token_auth_method"`
	ExtraScopes       []string       `json:"extra_scopes,omitempty"`
	Resource          string         `json:"resource,omitempty"`
	Metadata          *Metadata      `json:"metadata,omitempty"`
	ClientID          string         `json:"client_id"`
	Preset            string         `json:"preset"`
	Derived           bool           `json:"derived"`
	EncodedSlash      bool           `json:"allow_encoded_slash"`
	Encoded           []string       `json:"allow_encoded,omitempty"`
	Rules             []ProviderRule `json:"rules"`
	App               *ProviderApp   `json:"app,omitempty"`
}

// Metadata is what is known of an issuer whose endpoints are not written.
type Metadata struct {
	Known      bool           `json:"known"`           // the endpoints are
	Asked      string         `json:"asked,omitempty"` // when the issuer answered last, RFC 3339
	Error      string         `json:"error,omitempty"` // why it could not be asked last
	Moves      []EndpointMove `json:"moves,omitempty"` // held back until an operator accepts them
	MovedSince string         `json:"moved_since,omitempty"`
	Digest     string         `json:"digest,omitempty"` // of what is held back, to accept it by
}

// An EndpointMove is an endpoint that the issuer moves to another host.
type EndpointMove struct {
	Endpoint string `json:"endpoint"`
	From     string `json:"from,omitempty"`
	To       string `json:"to"`
}

// An AcceptRequest is the body of POST /ath/admin/providers/accept.
type AcceptRequest struct {
	ProviderID string `json:"provider_id"`
	Digest     string `json:"digest"`
}

// An AcceptReply names the providers that follow now.
type AcceptReply struct {
	Providers []string       `json:"providers"`
	Moves     []EndpointMove `json:"moves"`
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
