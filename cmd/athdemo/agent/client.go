package agent

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/athd/athd/ath"
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
	// Purpose is what the agent says that it is for, when it registers.
	Purpose string
	// Redirects are registered beside [Client.Callback].
	Redirects []string
	// Redirect is where the user is sent in the end; "" means Callback.
	Redirect string
	// Timeout is for one request, its reply included.
	Timeout time.Duration

	http *http.Client
}

// NewClient returns a client, not registered yet, for a server on this
// machine: it uses no proxy.
func NewClient(a *Agent, base string) *Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	return NewClientVia(a, base, transport)
}

// NewClientVia is [NewClient] for a server anywhere: requests go through
// transport. Redirects are never followed, whoever sends them must not get
// the agent's credentials.
func NewClientVia(a *Agent, base string, transport http.RoundTripper) *Client {
	return &Client{
		Agent:   a,
		Base:    strings.TrimSuffix(base, "/"),
		Purpose: "Shopping on behalf of the user", Timeout: 10 * time.Second,
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
	return app, c.ask(ctx, http.MethodGet, c.Base+ath.AppDiscoveryPath, nil, &app)
}

// DiscoverGateway asks which providers the server offers.
func (c *Client) DiscoverGateway(ctx context.Context) (Gateway, error) {
	var gateway Gateway
	return gateway, c.ask(ctx, http.MethodGet, c.Base+ath.DiscoveryPath, nil, &gateway)
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
	Expires   string   `json:"approval_expires"`
	Redirects []string `json:"redirect_uris"` // in the reply to Own only
}

// Callback is the redirect URI that clients in the field register: the
// server's own, which shows the code to the user.
func (c *Client) Callback() string { return c.Base + ath.CallbackPath }

// Register registers the agent for scopes of a provider, and keeps the
// credentials that it gets.
func (c *Client) Register(ctx context.Context, provider string, scopes []string) (Registration, error) {
	attestation, err := c.Agent.Attest(c.Base)
	if err != nil {
		return Registration{}, err
	}
	var reply Registration
	err = c.ask(ctx, http.MethodPost, c.Base+ath.RegisterPath, map[string]any{
		"agent_id":            c.Agent.ID,
		"agent_attestation":   attestation,
		"developer":           c.Agent.Developer,
		"requested_providers": []map[string]any{{"provider_id": provider, "scopes": scopes}},
		"purpose":             c.Purpose,
		"redirect_uris":       append([]string{c.Callback()}, c.Redirects...),
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
	return reply, c.ask(ctx, http.MethodPost, c.Base+ath.AuthorizePath, map[string]any{
		"client_id":         c.ID,
		"agent_attestation": attestation,
		"provider_id":       provider,
		"scopes":            scopes,
		"state":             reply.State,
		"user_redirect_uri": cmp.Or(c.Redirect, c.Callback()),
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
	endpoint := c.Base + ath.TokenPath
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
	return c.sendJSON(ctx, method, c.Base+path, body, callHeader(agentID, token))
}

// CallURL calls an API at a whole URL, which the caller knows to be the
// token's, with headers of the caller's own beside the agent's and any body.
func (c *Client) CallURL(ctx context.Context, token, method, url string, header http.Header, body []byte) (*Exchange, error) {
	all := header.Clone()
	if all == nil {
		all = http.Header{}
	}
	for name, values := range callHeader(c.Agent.ID, token) {
		all[name] = values
	}
	return c.send(ctx, method, url, body, all)
}

func callHeader(agentID, token string) http.Header {
	header := http.Header{}
	header.Set("Authorization", "Bearer "+token)
	header.Set("X-ATH-Agent-ID", agentID)
	return header
}

// Own asks for the agent's own registration.
func (c *Client) Own(ctx context.Context) (Registration, error) {
	header := http.Header{}
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.ID+":"+c.Secret)))
	var reply Registration
	return reply, c.askWith(ctx, http.MethodGet, c.own(c.ID), nil, header, &reply)
}

// Remove ends a registration of the agent's. It proves itself with its
// key, so that it can do so when its secret is lost.
func (c *Client) Remove(ctx context.Context, clientID string) error {
	attestation, err := c.Agent.Attest(c.Base)
	if err != nil {
		return err
	}
	header := http.Header{}
	header.Set("Authorization", "Bearer "+attestation)
	var reply map[string]any
	return c.askWith(ctx, http.MethodDelete, c.own(clientID), nil, header, &reply)
}

func (c *Client) own(clientID string) string {
	return c.Base + ath.AgentsPath + url.PathEscape(clientID)
}

// Revoke gives a token back.
func (c *Client) Revoke(ctx context.Context, token string) error {
	var reply map[string]any
	return c.ask(ctx, http.MethodPost, c.Base+ath.RevokePath, map[string]any{
		"client_id": c.ID, "client_secret": c.Secret, "token": token,
	}, &reply)
}
