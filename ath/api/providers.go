package api

import "github.com/athd/athd/ath"

// A ProviderList is the answer of GET /ath/admin/providers (O-1).
type ProviderList struct {
	Providers   []Provider `json:"providers"`
	Destination string     `json:"destination"`
	ConsentHost string     `json:"consent_host,omitempty"` // that the consent pages have for themselves
	Callback    string     `json:"callback"`               // CallbackShared or CallbackPerProvider
	// RuntimeUnknown: those of run time are missing, since the store has not answered
	// since athd started.
	RuntimeUnknown bool `json:"runtime_unknown,omitempty"`
	// Runtime is nil where Envoy has no route for providers that are added while athd
	// runs: none can be added then.
	Runtime *RuntimeRoute `json:"runtime,omitempty"`
	// Envoy is how Envoy is to ask; nil of an athd that knows ext_authz only.
	Envoy *EnvoyAsks `json:"envoy,omitempty"`
}

// EnvoyAsks is by what, and about what, Envoy is to ask athd: the keys of the same
// names of athd.yaml's envoy.
type EnvoyAsks struct {
	Filter        string `json:"filter"`          // ext_authz or ext_proc
	Streams       string `json:"streams"`         // bounded or watched
	StreamsOnLoss string `json:"streams_on_loss"` // end or keep
	Replies       string `json:"replies"`         // cleared or checked
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
	RewriteLinks      bool           `json:"rewrite_links,omitempty"`
	RetryOn401        bool           `json:"retry_on_401,omitempty"`
	Rules             []ProviderRule `json:"rules"`
	App               *ProviderApp   `json:"app,omitempty"`

	Origin     string `json:"origin"`               // ProviderOfFile or ProviderOfRuntime
	State      string `json:"state"`                // one of the states of providers
	Problem    string `json:"problem,omitempty"`    // why it does not serve, where the state alone does not say
	HasSecret  bool   `json:"has_secret"`           // a client secret is there
	Generation uint64 `json:"generation,omitempty"` // of one of run time: what a change may name, so that it changes nothing else
	Created    string `json:"created_at,omitempty"` // RFC 3339
	CreatedBy  string `json:"created_by,omitempty"` // the name of an admin token
	Changed    string `json:"changed_at,omitempty"`
	ChangedBy  string `json:"changed_by,omitempty"`
	// Ending: connections of configurations of before are being ended.
	Ending bool `json:"ending,omitempty"`
	Left   *int `json:"connections_left,omitempty"` // of one that drains: connections that are yet to be ended and revoked, as far as is known
}

// Where a provider comes from.
const (
	ProviderOfFile    = "file"
	ProviderOfRuntime = "runtime"
)

// The states of providers.
const (
	ProviderActive   = "active"
	ProviderDraining = "draining" // removed: it serves nobody, and its connections are being ended
	ProviderShadowed = "shadowed" // of run time, and a file defines one of this id: that one serves
	ProviderFaulty   = "faulty"   // its stored configuration cannot be used by this athd: Problem says why
)

// A ProviderReply is the answer to a change of a provider (O-1): the provider as it
// is now, what was done, and what is allowed in it but probably not meant.
type ProviderReply struct {
	Provider
	Message  string          `json:"message,omitempty"`
	Warnings []ProviderFault `json:"warnings,omitempty"`
	DryRun   bool            `json:"dry_run,omitempty"` // nothing was changed
}

// A ProviderFault is what is wrong with a provider, and where: a JSON Pointer (RFC
// 6901) into the request's document. The errors of details of a 400 are such.
type ProviderFault struct {
	Pointer string `json:"pointer"`
	Message string `json:"message"`
}

// A ProviderRemoveReply is the answer to DELETE /ath/admin/providers/{id}.
type ProviderRemoveReply struct {
	ID      string `json:"provider_id"`
	State   string `json:"state"` // ProviderDraining
	Message string `json:"message"`
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
