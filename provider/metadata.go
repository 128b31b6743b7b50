package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Metadata of authorization servers is asked for at OpenID's place and at that
// of RFC 8414, and remembered: also that there was none, for a while.
const (
	metadataFor   = 10 * time.Minute
	noMetadataFor = time.Minute
)

type serverMetadata struct {
	Issuer      string `json:"issuer"`
	PromisesIss bool   `json:"authorization_response_iss_parameter_supported"` // RFC 9207, section 3
}

type metadata struct {
	mu     sync.Mutex
	known  map[string]metadataEntry // by issuer: those of the configuration
	flight singleflight.Group
}

type metadataEntry struct {
	serverMetadata
	until time.Time
}

// PromisesIssuer reports whether the provider's server says in its metadata
// that every answer at the callback names its issuer (RFC 9207): then one
// without is another server's, or was changed. Where no issuer is configured
// or no metadata can be had, nothing is promised.
func (c *Client) PromisesIssuer(ctx context.Context, p *Provider) bool {
	if p.Issuer == "" {
		return false
	}
	c.metadata.mu.Lock()
	e, ok := c.metadata.known[p.Issuer]
	c.metadata.mu.Unlock()
	if ok && c.now().Before(e.until) {
		return e.PromisesIss
	}
	// Those who wait share one question, which must not end with one of them.
	done := c.metadata.flight.DoChan(p.Issuer, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discoveryTimeout)
		defer cancel()
		m, err := c.fetchMetadata(ctx, p.Issuer)
		e := metadataEntry{m, c.now().Add(metadataFor)}
		if err != nil {
			e.until = c.now().Add(noMetadataFor)
		}
		c.metadata.mu.Lock()
		defer c.metadata.mu.Unlock()
		if old := c.metadata.known[p.Issuer]; err != nil && old.PromisesIss {
			e.serverMetadata = old.serverMetadata // a promise outlives that the server is away
		}
		if c.metadata.known == nil {
			c.metadata.known = map[string]metadataEntry{}
		}
		c.metadata.known[p.Issuer] = e
		return e.PromisesIss, nil
	})
	select {
	case r := <-done:
		promises, _ := r.Val.(bool)
		return promises
	case <-ctx.Done():
		return false
	}
}

// fetchMetadata takes only what names the very issuer (RFC 8414, section 3.3).
func (c *Client) fetchMetadata(ctx context.Context, issuer string) (m serverMetadata, err error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return m, err
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	base := strings.TrimSuffix(issuer, "/")
	for _, place := range []string{
		base + "/.well-known/openid-configuration",
		u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + path,
		base + "/.well-known/oauth-authorization-server",
	} {
		if m, err = c.metadataAt(ctx, place); err == nil && m.Issuer == issuer {
			return m, nil
		}
	}
	return serverMetadata{}, errors.New("no metadata of this issuer")
}

func (c *Client) metadataAt(ctx context.Context, place string) (m serverMetadata, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return m, err
	}
	res, err := c.openIDClient().Do(req)
	if err != nil {
		return m, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return m, errors.New(res.Status)
	}
	return m, json.NewDecoder(res.Body).Decode(&m)
}

// SameServer reports whether two providers have one OAuth server.
func SameServer(a, b *Provider) bool { return a.TokenURL.String() == b.TokenURL.String() }

// ByIssuer returns a provider whose OAuth server an iss parameter names (RFC
// 9207) and that is not p's: by its configured issuer or, where it has none, by
// the origin of its endpoints. nil if there is none. It detects a mix-up
// (RFC 9700, section 4.4) where p's own issuer is not known.
func (s *Set) ByIssuer(iss string, p *Provider) *Provider {
	named, err := url.Parse(iss)
	if err != nil || p.Issuer == iss {
		return nil
	}
	own := func(q *Provider, u *url.URL) bool {
		return strings.EqualFold(u.Host, q.AuthorizeURL.Host) || strings.EqualFold(u.Host, q.TokenURL.Host)
	}
	for _, other := range s.All() {
		switch {
		case SameServer(other, p):
		case other.Issuer != "" && strings.TrimSuffix(other.Issuer, "/") == strings.TrimSuffix(iss, "/"):
			return other
		case other.Issuer == "" && named.Host != "" && own(other, named) && !own(p, named):
			return other
		}
	}
	return nil
}
