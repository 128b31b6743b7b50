package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider/metadata"
)

// discoveryFields are what a provider or app says beside its issuer.
type discoveryFields struct {
	ExtraScopes  []string `yaml:"extra_scopes"`
	Resource     string   `yaml:"resource"`
	AllowPrivate bool     `yaml:"allow_private_issuer"`
}

// discovered is what of a provider is its issuer's metadata, and what of it
// cannot be, since it is written.
type discovered struct {
	methodWritten bool

	first          string     // see [Provider.Destination]
	endpoints      []*url.URL // that are of the metadata
	jwks           *url.URL
	algorithms     []string
	promisesIssuer bool
}

// has reports whether an endpoint is of the metadata.
func (d *discovered) has(u *url.URL) bool { return u != nil && slices.Contains(d.endpoints, u) }

// Ready reports whether the provider's endpoints are known: where they are its
// issuer's they may not be, yet.
func (p *Provider) Ready() bool { return p.AuthorizeURL != nil && p.TokenURL != nil }

// With returns the provider with what its issuer's metadata says, where nothing
// else is written. first is the token endpoint that was known first of this
// issuer; "": this one. The receiver is the provider as it is configured.
func (p *Provider) With(d *metadata.Document, first string) (*Provider, error) {
	if d.Issuer != p.Issuer {
		return nil, errors.New("the metadata is another issuer's: " + TwoIssuers(p.Issuer, d.Issuer))
	}
	if err := d.Check(); err != nil {
		return nil, fmt.Errorf("the issuer's metadata: %w", err)
	}
	q := *p
	var faults []error
	take := func(to **url.URL, name, s string, reserved []string) {
		if *to != nil || s == "" {
			return
		}
		u, err := endpointOf(s, reserved)
		if err != nil {
			faults = append(faults, fmt.Errorf("the issuer's metadata: %s: %w", name, err))
			return
		}
		*to = u
		q.discovered.endpoints = append(q.discovered.endpoints, u)
	}
	q.discovered.endpoints = nil
	written := p.TokenURL != nil
	take(&q.AuthorizeURL, "authorization_endpoint", d.AuthorizationEndpoint, authorizeParams)
	take(&q.TokenURL, "token_endpoint", d.TokenEndpoint, tokenParams)
	take(&q.UserinfoURL, "userinfo_endpoint", d.UserinfoEndpoint, nil)
	take(&q.RevocationURL, "revocation_endpoint", d.RevocationEndpoint, nil)
	take(&q.discovered.jwks, "jwks_uri", d.JWKSURI, nil)
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if !written {
		q.discovered.first = first
	}
	q.discovered.promisesIssuer, q.discovered.algorithms = d.PromisesIssuer, signing(d.IDTokenAlgorithms)
	if !q.discovered.methodWritten && q.AuthMethod == ClientSecretPost && onlyBasic(d.TokenAuthMethods) {
		q.AuthMethod = ClientSecretBasic
	}
	return &q, nil
}

// onlyBasic reports whether the server takes a client's secret in the header
// only. A server that does not say takes it there (RFC 8414, section 2).
func onlyBasic(methods []string) bool {
	return methods == nil || slices.Contains(methods, string(ClientSecretBasic)) && !slices.Contains(methods, string(ClientSecretPost))
}

func endpointOf(s string, reserved []string) (*url.URL, error) {
	u, message := parseURL(s)
	if message != "" {
		return nil, errors.New(message)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the query is malformed")
	}
	for key := range query {
		if slices.Contains(reserved, key) {
			return nil, errors.New("the query contains a parameter of the protocol")
		}
	}
	return u, nil
}

// signing are those algorithms that a public key verifies; nil: RS256.
func signing(algorithms []string) []string {
	known := []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
	}
	return slices.DeleteFunc(known, func(a string) bool { return !slices.Contains(algorithms, a) })
}

// Unlisted returns the available scopes that the issuer's metadata does not
// list. Many servers list only some of theirs.
func (p *Provider) Unlisted(d *metadata.Document) ath.Scopes {
	if d.ScopesSupported == nil {
		return nil
	}
	return p.Scopes.Minus(d.ScopesSupported)
}

// CouldName reports whether the server would say who the user is, if it were asked
// for the scope openid, and is not. It is never asked for on its own: some servers
// list the scope, and refuse it to clients that are not registered for it.
func (p *Provider) CouldName(d *metadata.Document) bool {
	return p.UserIDField == "" && d.UserinfoEndpoint != "" && slices.Contains(d.ScopesSupported, openIDScope) && !asksIDToken(p.asked(p.Scopes))
}

// discovery reads the issuer and what belongs to it.
func (c *check) discovery(p *Provider, s serverFields) {
	p.Discovered = s.Issuer != "" && (s.AuthorizeEndpoint == "" || s.TokenEndpoint == "")
	if p.Discovered {
		if _, err := metadata.Places(s.Issuer); err != nil {
			c.fail("issuer", err.Error())
		}
		c.issuer, _ = url.Parse(s.Issuer)
	}
	p.discovered.methodWritten = s.TokenAuthMethod != ""
	for i, scope := range s.ExtraScopes {
		if _, err := ath.ParseScopes([]string{scope}); err != nil {
			c.fail("extra_scopes", "a scope is 1 to 256 visible ASCII characters other than comma, quote and backslash", i)
		}
	}
	p.ExtraScopes, _ = ath.ParseScopes(s.ExtraScopes)
	if s.Resource != "" {
		c.url("resource", s.Resource, true)
		p.Resource = s.Resource
	}
	p.PrivateIssuer = s.AllowPrivate
	if s.AllowPrivate && !p.Discovered && !c.atRuntime {
		c.fail("allow_private_issuer", "is for an issuer without endpoints: those that are written may be at private addresses anyway")
	}
}

// to returns the way to an endpoint. One that an issuer names is asked as a host
// that a stranger names: whoever controls the metadata must not be able to
// send athd into the private network.
//
// Of a provider that was added while athd ran every endpoint is asked so: athd's
// network is not the business of whoever may add one.
func (c *Client) to(p *Provider, endpoint *url.URL) http.RoundTripper {
	switch {
	case p.Runtime || !p.discovered.has(endpoint):
		return c.written(p)
	case p.PrivateIssuer || c.private:
		return c.named[1]
	}
	return c.named[0]
}

// written returns the way to what is written of a provider.
func (c *Client) written(p *Provider) http.RoundTripper {
	if p.Runtime {
		return c.added.Load().way
	}
	return c.transport
}

// mayPlain reports whether a provider's endpoints may be http URLs.
func (c *Client) mayPlain(p *Provider) bool {
	if p.Runtime {
		return c.added.Load().policy.AllowsHTTP()
	}
	return c.allowHTTP
}

// known is by what something of a provider's issuer is remembered: what was asked
// for one provider on the way that it may take is not told to one that may not.
func (p *Provider) known() string {
	if p.Runtime {
		return "runtime " + p.Issuer
	}
	return p.Issuer
}

// Metadata asks a provider's issuer for its metadata, by the rules for hosts that
// strangers name.
func (c *Client) Metadata(ctx context.Context, p *Provider) (*metadata.Document, error) {
	way := c.named[0]
	switch {
	case p.Runtime:
		way = c.added.Load().way
	case p.PrivateIssuer || c.private:
		way = c.named[1]
	}
	if !c.mayPlain(p) && strings.HasPrefix(p.Issuer, "http:") {
		return nil, errors.New("not an https URL")
	}
	return metadata.Fetch(ctx, &http.Client{Transport: way}, p.Issuer)
}

// keySets are the keys of issuers by the URL that their metadata names.
type keySets struct {
	mu    sync.Mutex
	known map[string]*oidc.RemoteKeySet
}

func (k *keySets) verifier(c *Client, p *Provider) (*oidc.IDTokenVerifier, error) {
	at := p.discovered.jwks
	if at == nil {
		return nil, errors.New("the issuer publishes no keys to verify it by (jwks_uri)")
	}
	if !c.mayPlain(p) && at.Scheme != "https" {
		return nil, errors.New("the issuer's jwks_uri is not an https URL")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// A provider that may ask private addresses shares no keys with one that may not.
	id := fmt.Sprint(p.Runtime, " ", p.PrivateIssuer, " ", at)
	if k.known[id] == nil {
		if k.known == nil {
			k.known = map[string]*oidc.RemoteKeySet{}
		}
		client := c.openIDClient(p)
		client.Transport = bounded{c.to(p, at), c.mayPlain(p)}
		k.known[id] = oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), at.String())
	}
	return oidc.NewVerifier(p.Issuer, k.known[id], &oidc.Config{ClientID: p.ClientID, Now: c.now, SupportedSigningAlgs: p.discovered.algorithms}), nil
}
