package provider

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/athd/athd/provider/metadata"
)

// Metadata of authorization servers is asked for at OpenID's place and at that
// of RFC 8414, and remembered: also that there was none, for a while.
const (
	metadataFor   = 10 * time.Minute
	noMetadataFor = time.Minute
)

// promises remembers, by issuer, which of the configured servers promise to
// name themselves.
type promises struct {
	mu     sync.Mutex
	known  map[string]promise
	flight singleflight.Group
}

type promise struct {
	given bool
	until time.Time
}

// PromisesIssuer reports whether the provider's server says in its metadata
// that every answer at the callback names its issuer (RFC 9207): then one
// without is another server's, or was changed. Where no issuer is configured
// or no metadata can be had, nothing is promised.
func (c *Client) PromisesIssuer(ctx context.Context, p *Provider) bool {
	if p.Issuer == "" || p.Discovered {
		return p.discovered.promisesIssuer
	}
	c.promises.mu.Lock()
	e, ok := c.promises.known[p.known()]
	c.promises.mu.Unlock()
	if ok && c.now().Before(e.until) {
		return e.given
	}
	// Those who wait share one question, which must not end with one of them.
	done := c.promises.flight.DoChan(p.known(), func() (any, error) {
		d, err := metadata.Fetch(context.WithoutCancel(ctx), c.openIDClient(p), p.Issuer)
		e := promise{until: c.now().Add(noMetadataFor)}
		if err == nil {
			e = promise{d.PromisesIssuer, c.now().Add(metadataFor)}
		}
		c.promises.mu.Lock()
		defer c.promises.mu.Unlock()
		if err != nil && c.promises.known[p.known()].given {
			e.given = true // a promise outlives that the server is away
		}
		if c.promises.known == nil {
			c.promises.known = map[string]promise{}
		}
		c.promises.known[p.known()] = e
		return e.given, nil
	})
	select {
	case r := <-done:
		given, _ := r.Val.(bool)
		return given
	case <-ctx.Done():
		return false
	}
}

// SameServer reports whether two providers have one OAuth server.
func SameServer(a, b *Provider) bool {
	if a.TokenURL == nil || b.TokenURL == nil {
		return a.TokenURL == b.TokenURL && a.Issuer == b.Issuer
	}
	return a.TokenURL.String() == b.TokenURL.String()
}

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
		for _, endpoint := range []*url.URL{q.AuthorizeURL, q.TokenURL} {
			if endpoint != nil && strings.EqualFold(u.Host, endpoint.Host) {
				return true
			}
		}
		return false
	}
	for other := range s.Each {
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
