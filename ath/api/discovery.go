package api

// A Gateway is the reply of gateway discovery (D-1).
type Gateway struct {
	Version string `json:"ath_version"`
	// ID is the server's public URL, byte for byte: the audience of attestations.
	ID        string            `json:"gateway_id"`
	Register  string            `json:"agent_registration_endpoint"`
	Providers []GatewayProvider `json:"supported_providers"`
	// Consent is the origin of the consent pages, if that is not ID's. It is
	// athd's addition to the protocol.
	Consent string `json:"consent_origin,omitempty"`
	// Renewal is how long consents stand, for providers that say nothing else
	// themselves (T-8); nil: they do not. It is athd's addition, too.
	Renewal *Renewal `json:"renewal,omitempty"`
	// Calls is how many calls of one consent pass; nil: any number. It is athd's
	// addition, too.
	Calls *CallLimit `json:"calls_per_grant,omitempty"`
}

// A CallLimit is how many calls to an API one consent is good for within so many
// seconds, with all of its tokens: as many at once, and then they come back evenly.
// It is one replica's share: where there are several, each counts for itself, so
// that these pass always, and more may.
type CallLimit struct {
	Calls   int   `json:"calls"`
	Seconds int64 `json:"seconds"`
}

// A Renewal is how long a user's consent stands, in seconds: until Max after it, or
// until the agent has not used it for Idle. Both are 0 where it does not stand.
type Renewal struct {
	Max  int64 `json:"max"`
	Idle int64 `json:"idle"`
}

// A GatewayProvider is a provider that agents may register for.
type GatewayProvider struct {
	ID               string   `json:"provider_id"`
	DisplayName      string   `json:"display_name"`
	Categories       []string `json:"categories"`
	Scopes           []string `json:"available_scopes"`
	AuthMode         string   `json:"auth_mode"` // OAUTH2
	ApprovalRequired bool     `json:"agent_approval_required"`
	Renewal          *Renewal `json:"renewal,omitempty"` // nil: the gateway's
}

// An App is the reply of native discovery (D-2).
type App struct {
	Version string  `json:"ath_version"`
	ID      string  `json:"app_id"`
	Name    string  `json:"name"`
	Auth    AppAuth `json:"auth"`
	APIBase string  `json:"api_base"` // calls go here, directly
	// Consent is the origin of the consent pages, if that is not the one at which
	// agents register. It is athd's addition to the protocol.
	Consent string `json:"consent_origin,omitempty"`
	// Renewal is how long consents stand (T-8); nil: they do not.
	Renewal *Renewal `json:"renewal,omitempty"`
	// Calls is how many calls of one consent pass; nil: any number.
	Calls *CallLimit `json:"calls_per_grant,omitempty"`
}

// An AppAuth is how agents get at an app. Authorize and Token are the OAuth
// server's endpoints, as other servers of the protocol publish them; Register
// is athd's.
type AppAuth struct {
	Type        string   `json:"type"` // oauth2
	Authorize   string   `json:"authorization_endpoint"`
	Token       string   `json:"token_endpoint"`
	Scopes      []string `json:"scopes_supported"`
	Register    string   `json:"registration_endpoint"`
	Attestation bool     `json:"agent_attestation_required"`
}
