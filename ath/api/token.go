package api

// An AuthorizeRequest is the body of POST /ath/authorize.
type AuthorizeRequest struct {
	ClientID    string   `json:"client_id"`
	Attestation Secret   `json:"agent_attestation"`
	Provider    string   `json:"provider_id"`
	Scopes      []string `json:"scopes"`
	State       string   `json:"state"` // the agent's own, which comes back with the user (C-6)
	RedirectURI string   `json:"user_redirect_uri,omitempty"`
	Resource    string   `json:"resource,omitempty"` // RFC 8707
}

// An AuthorizeReply says where the user must go.
type AuthorizeReply struct {
	URL     string `json:"authorization_url"`
	Session Secret `json:"ath_session_id"`
}

// The grant_types of POST /ath/token.
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token" // a renewal (T-8)
)

// A TokenRequest is the body of POST /ath/token.
type TokenRequest struct {
	GrantType    string `json:"grant_type"`
	ClientID     string `json:"client_id"`
	ClientSecret Secret `json:"client_secret"`
	Attestation  Secret `json:"agent_attestation"`
	Code         Secret `json:"code,omitzero"`
	Session      Secret `json:"ath_session_id,omitzero"`
	RefreshToken Secret `json:"refresh_token,omitzero"` // of a renewal, in place of code and session
	Scope        string `json:"scope,omitempty"`        // of a renewal: fewer scopes, between spaces (RFC 6749, section 6)
	// Scopes is Scope as a list, in place of it.
	Scopes []string `json:"scopes,omitempty"`
}

// A TokenReply is an ATH token and what it is good for.
type TokenReply struct {
	AccessToken  Secret            `json:"access_token"`
	TokenType    string            `json:"token_type"` // Bearer
	ExpiresIn    int64             `json:"expires_in"` // seconds; an hour at most (T-6)
	Effective    []string          `json:"effective_scopes"`
	ProviderID   string            `json:"provider_id"` // as the agent named it (T-5)
	AgentID      string            `json:"agent_id"`
	Intersection ScopeIntersection `json:"scope_intersection"`
	// RefreshToken renews without the user, where the user agreed to that (T-8). It
	// stays good when it is used; a reply to a renewal need not repeat it.
	RefreshToken     Secret `json:"refresh_token,omitzero"`
	RefreshExpiresIn int64  `json:"refresh_expires_in,omitempty"` // seconds; at the latest
}

// A ScopeIntersection is how the effective scopes came about (T-2).
type ScopeIntersection struct {
	Approved  []string `json:"agent_approved"`
	Consented []string `json:"user_consented"`
	Effective []string `json:"effective"`
}

// A RevokeRequest is the body of POST /ath/revoke. Operators send the token
// alone, and prove themselves by a header (V-2).
type RevokeRequest struct {
	ClientID     string `json:"client_id,omitempty"`
	ClientSecret Secret `json:"client_secret,omitzero"`
	Token        Secret `json:"token"`
}

// A RevokeReply says that the token is dead, if there ever was one (V-3).
type RevokeReply struct {
	Revoked bool `json:"revoked"`
}
