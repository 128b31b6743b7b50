package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
)

// A Client takes an agent through the handshake with one server, and calls
// APIs there. It is not for use by several goroutines.
type Client struct {
	Agent *Agent
	// Base is the server's URL as its users see it, without a trailing slash.
	Base string
	// Observe is called with every exchange, before it is judged.
	Observe func(*Exchange)
	// ID and Secret are the agent's credentials, once it is registered.
	ID, Secret string

	http *http.Client
}

// NewClient returns a client that is not registered yet.
func NewClient(a *Agent, base string) *Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // it is for servers on this machine
	return &Client{
		Agent: a,
		Base:  strings.TrimSuffix(base, "/"),
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// An App is the reply of native discovery (D-2).
type App struct {
	Version string `json:"ath_version"`
	ID      string `json:"app_id"`
	Name    string `json:"name"`
	APIBase string `json:"api_base"`
	Auth    struct {
		Type      string   `json:"type"`
		Authorize string   `json:"authorization_endpoint"`
		Token     string   `json:"token_endpoint"`
		Scopes    []string `json:"scopes_supported"`
		Register  string   `json:"registration_endpoint"`
	} `json:"auth"`
}

// A Gateway is the reply of gateway discovery (D-1).
type Gateway struct {
	Version   string `json:"ath_version"`
	ID        string `json:"gateway_id"`
	Register  string `json:"agent_registration_endpoint"`
	Providers []struct {
		ID     string   `json:"provider_id"`
		Scopes []string `json:"available_scopes"`
	} `json:"supported_providers"`
}

// DiscoverApp asks which app the server stands before.
func (c *Client) DiscoverApp(ctx context.Context) (App, error) {
	var app App
	return app, c.ask(ctx, http.MethodGet, c.Base+"/.well-known/ath-app.json", nil, &app)
}

// DiscoverGateway asks which providers the server offers.
func (c *Client) DiscoverGateway(ctx context.Context) (Gateway, error) {
	var gateway Gateway
	return gateway, c.ask(ctx, http.MethodGet, c.Base+"/.well-known/ath.json", nil, &gateway)
}

// A Registration is what the server's operator allows the agent.
type Registration struct {
	ClientID  string `json:"client_id"`
	Secret    string `json:"client_secret"`
	Status    string `json:"agent_status"`
	Providers []struct {
		ID       string   `json:"provider_id"`
		Approved []string `json:"approved_scopes"`
		Denied   []string `json:"denied_scopes"`
		Reason   string   `json:"denial_reason"`
	} `json:"approved_providers"`
	Expires string `json:"approval_expires"`
}

// Callback is the redirect URI that clients in the field register: the
// server's own, which shows the code to the user.
func (c *Client) Callback() string { return c.Base + "/ath/callback" }

// Register registers the agent for scopes of a provider, and keeps the
// credentials that it gets.
func (c *Client) Register(ctx context.Context, provider string, scopes []string) (Registration, error) {
	attestation, err := c.Agent.Attest(c.Base)
	if err != nil {
		return Registration{}, err
	}
	var reply Registration
	err = c.ask(ctx, http.MethodPost, c.Base+"/ath/agents/register", map[string]any{
		"agent_id":            c.Agent.ID,
		"agent_attestation":   attestation,
		"developer":           c.Agent.Developer,
		"requested_providers": []map[string]any{{"provider_id": provider, "scopes": scopes}},
		"purpose":             "Shopping on behalf of the user",
		"redirect_uris":       []string{c.Callback()},
	}, &reply)
	if err == nil {
		c.ID, c.Secret = reply.ClientID, reply.Secret
	}
	return reply, err
}

// An Authorization is where to send the user.
type Authorization struct {
	URL     string `json:"authorization_url"`
	Session string `json:"ath_session_id"`
	State   string `json:"-"` // the agent's own
}

// Authorize asks for a user's consent to scopes.
func (c *Client) Authorize(ctx context.Context, provider string, scopes []string) (Authorization, error) {
	attestation, err := c.Agent.Attest(c.Base)
	if err != nil {
		return Authorization{}, err
	}
	var state [16]byte
	rand.Read(state[:])
	reply := Authorization{State: hex.EncodeToString(state[:])}
	return reply, c.ask(ctx, http.MethodPost, c.Base+"/ath/authorize", map[string]any{
		"client_id":         c.ID,
		"agent_attestation": attestation,
		"provider_id":       provider,
		"scopes":            scopes,
		"state":             reply.State,
		"user_redirect_uri": c.Callback(),
	}, &reply)
}

// A Token is an ATH token and what it is good for.
type Token struct {
	Access       string   `json:"access_token"`
	Type         string   `json:"token_type"`
	ExpiresIn    int      `json:"expires_in"` // seconds
	Effective    []string `json:"effective_scopes"`
	Provider     string   `json:"provider_id"`
	AgentID      string   `json:"agent_id"`
	Intersection struct {
		Approved  []string `json:"agent_approved"`
		Consented []string `json:"user_consented"`
		Effective []string `json:"effective"`
	} `json:"scope_intersection"`
}

// Redeem exchanges the code that the user brought back for a token.
func (c *Client) Redeem(ctx context.Context, session, code string) (Token, error) {
	endpoint := c.Base + "/ath/token"
	attestation, err := c.Agent.Attest(endpoint)
	if err != nil {
		return Token{}, err
	}
	var reply Token
	return reply, c.ask(ctx, http.MethodPost, endpoint, map[string]any{
		"grant_type":        "authorization_code",
		"client_id":         c.ID,
		"client_secret":     c.Secret,
		"agent_attestation": attestation,
		"code":              code,
		"ath_session_id":    session,
	}, &reply)
}

// Call calls an API: path is from the root of the server, body is sent as
// JSON unless it is nil. Whatever comes back is an exchange, not an error.
func (c *Client) Call(ctx context.Context, token, method, path string, body any) (*Exchange, error) {
	return c.CallAs(ctx, c.Agent.ID, token, method, path, body)
}

// CallAs calls an API under any agent's id.
func (c *Client) CallAs(ctx context.Context, agentID, token, method, path string, body any) (*Exchange, error) {
	header := http.Header{}
	header.Set("Authorization", "Bearer "+token)
	header.Set("X-ATH-Agent-ID", agentID)
	return c.send(ctx, method, c.Base+path, body, header)
}

// Revoke gives a token back.
func (c *Client) Revoke(ctx context.Context, token string) error {
	var reply map[string]any
	return c.ask(ctx, http.MethodPost, c.Base+"/ath/revoke", map[string]any{
		"client_id": c.ID, "client_secret": c.Secret, "token": token,
	}, &reply)
}
