package client

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

// A Registration is what an agent asks the server's operator for.
type Registration struct {
	Provider string
	Scopes   []string
	// More is asked for beside Provider, in the same call.
	More []api.RequestedProvider
	// Purpose is what the agent says that it is for.
	Purpose string
	// RedirectURIs are where users may be sent in the end; none means
	// [Client.Callback].
	RedirectURIs []string
}

// Register registers the agent, or adds to its registration what it has never
// asked for, and keeps the credentials: [Client.Credentials]. The reply
// may be that nothing is approved, or that an operator decides: [Client.Status]
// shows when. A registration that asks for nothing new is a CONFLICT.
func (c *Client) Register(ctx context.Context, r Registration) (*api.RegisterReply, error) {
	attestation, err := c.attest("")
	if err != nil {
		return nil, err
	}
	redirects := r.RedirectURIs
	if len(redirects) == 0 {
		redirects = []string{c.Callback()}
	}
	var reply api.RegisterReply
	err = c.ask(ctx, http.MethodPost, ath.RegisterPath, "", api.RegisterRequest{
		AgentID: c.agent.id, Attestation: attestation, Developer: c.agent.Developer,
		Providers: append([]api.RequestedProvider{{ID: r.Provider, Scopes: r.Scopes}}, r.More...),
		Purpose:   r.Purpose, RedirectURIs: redirects,
	}, &reply)
	if err != nil {
		return nil, err
	}
	if reply.ClientID == "" || reply.ClientSecret.IsZero() {
		return nil, errors.New("client: the server answered without client_id and client_secret")
	}
	c.setCredentials(Credentials{ClientID: reply.ClientID, Secret: reply.ClientSecret.Secret})
	return &reply, nil
}

// Status reads the agent's own registration.
func (c *Client) Status(ctx context.Context) (*api.Registration, error) {
	own, err := c.registered()
	if err != nil {
		return nil, err
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(own.ClientID+":"+own.Secret.Reveal()))
	var reply api.Registration
	if err := c.ask(ctx, http.MethodGet, ath.AgentsPath+url.PathEscape(own.ClientID), basic, nil, &reply); err != nil {
		return nil, err
	}
	return &reply, nil
}

// Remove ends a registration of the agent's, with its tokens and connections
// . The agent proves itself with its key, so that it can do so when its
// secret is lost: the client_id is then in the details of CONFLICT.
func (c *Client) Remove(ctx context.Context, clientID string) error {
	attestation, err := c.attest("")
	if err != nil {
		return err
	}
	var reply api.RemoveReply
	err = c.ask(ctx, http.MethodDelete, ath.AgentsPath+url.PathEscape(clientID), "Bearer "+attestation.Reveal(), nil, &reply)
	if err == nil && !reply.Removed {
		err = errors.New("client: the server does not say that it removed the registration")
	}
	if err == nil && c.Credentials().ClientID == clientID {
		c.setCredentials(Credentials{})
	}
	return err
}

// A Token is an ATH token and what it is good for. To keep one, keep Access,
// Provider, Scopes, Expires and the two of the renewal.
type Token struct {
	Access       ath.Secret
	AgentID      string // whose it is
	Provider     string // as it was authorized for (T-5)
	Scopes       []string
	Expires      time.Time // by this machine's clock
	Intersection api.ScopeIntersection
	// Renewal gets further tokens without the user, where the user agreed to that
	// (T-8): [Client.Renew]. It does not change when it is used, and is good for
	// nobody without the agent's key.
	Renewal        ath.Secret
	RenewalExpires time.Time // at the latest; zero: not said
}

// Exchange exchanges the code that the user brought back for a token. The
// server takes each once (T-4).
func (c *Client) Exchange(ctx context.Context, a *Authorization, code ath.Secret) (*Token, error) {
	own, err := c.registered()
	if err != nil {
		return nil, err
	}
	attestation, err := c.attest(ath.TokenPath)
	if err != nil {
		return nil, err
	}
	return c.token(ctx, api.TokenRequest{
		GrantType: api.GrantAuthorizationCode, ClientID: own.ClientID, ClientSecret: api.OpenSecret(own.Secret),
		Attestation: attestation, Code: api.OpenSecret(code), Session: api.OpenSecret(a.Session),
	})
}

// token asks the token endpoint.
func (c *Client) token(ctx context.Context, req api.TokenRequest) (*Token, error) {
	asked := c.now()
	var reply api.TokenReply
	if err := c.ask(ctx, http.MethodPost, ath.TokenPath, "", req, &reply); err != nil {
		return nil, err
	}
	if reply.AccessToken.IsZero() || !strings.EqualFold(reply.TokenType, "Bearer") {
		return nil, errors.New("client: the server answered without a Bearer token")
	}
	if reply.AgentID != c.agent.id {
		return nil, errors.New("client: the server answered with a token of another agent")
	}
	t := &Token{
		Access: reply.AccessToken.Secret, AgentID: reply.AgentID, Provider: reply.ProviderID, Scopes: reply.Effective,
		Expires:      asked.Add(seconds(reply.ExpiresIn, maxTokenLife)),
		Intersection: reply.Intersection, Renewal: reply.RefreshToken.Secret,
	}
	if !t.Renewal.IsZero() && reply.RefreshExpiresIn > 0 {
		t.RenewalExpires = asked.Add(seconds(reply.RefreshExpiresIn, maxRenewalLife))
	}
	return t, nil
}

// What a reply may promise: T-6 has an hour.
const (
	maxTokenLife   = 24 * time.Hour
	maxRenewalLife = 10 * 366 * 24 * time.Hour
)

func seconds(n int64, most time.Duration) time.Duration {
	return time.Duration(max(0, min(n, int64(most/time.Second)))) * time.Second
}

// Revoke ends a token of the agent's, everywhere and at once (V-1, V-4), and with
// it the renewal that it came from. Given a renewal, it ends that and every
// token that came of it.
func (c *Client) Revoke(ctx context.Context, token ath.Secret) error {
	own, err := c.registered()
	if err != nil {
		return err
	}
	var reply api.RevokeReply
	err = c.ask(ctx, http.MethodPost, ath.RevokePath, "", api.RevokeRequest{
		ClientID: own.ClientID, ClientSecret: api.OpenSecret(own.Secret), Token: api.OpenSecret(token),
	}, &reply)
	if err == nil && !reply.Revoked {
		err = errors.New("client: the server does not say that it revoked the token")
	}
	return err
}

func (c *Client) registered() (Credentials, error) {
	own := c.Credentials()
	if own.ClientID == "" || own.Secret.IsZero() {
		return own, errors.New("client: the agent is not registered: it has no client_id and client_secret")
	}
	return own, nil
}
