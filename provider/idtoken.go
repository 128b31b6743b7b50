package provider

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/sync/singleflight"

	"github.com/athd/athd/ath"
)

const (
	openIDScope      = "openid"
	discoveryTimeout = 5 * time.Second
)

// nonceOf ties an ID token to one authorization (OpenID Connect Core, section
// 3.1.2.1). It follows from the PKCE verifier, which never leaves us, so that
// nothing more must be kept.
func nonceOf(verifier ath.Secret) string {
	m := hmac.New(sha256.New, []byte(verifier.Reveal()))
	m.Write([]byte("nonce"))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// issuers remembers the OpenID configuration of each issuer that was asked
// once; their keys are fetched again as ID tokens name unknown ones.
type issuers struct {
	mu     sync.Mutex
	known  map[string]*oidc.Provider
	flight singleflight.Group
}

func (i *issuers) get(issuer string) *oidc.Provider {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.known[issuer]
}

func (i *issuers) discover(ctx context.Context, client *http.Client, issuer string) (*oidc.Provider, error) {
	if p := i.get(issuer); p != nil {
		return p, nil
	}
	// Those who wait share one request, which must not end with one of them.
	done := i.flight.DoChan(issuer, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discoveryTimeout)
		defer cancel()
		p, err := oidc.NewProvider(oidc.ClientContext(ctx, client), issuer)
		if err != nil {
			return nil, err
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.known == nil {
			i.known = map[string]*oidc.Provider{}
		}
		i.known[issuer] = p
		return p, nil
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*oidc.Provider), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// subject verifies an ID token (OpenID Connect Core, section 3.1.3.7:
// signature, iss, aud, azp, exp, nonce, at_hash) and returns whose it is.
func (c *Client) subject(ctx context.Context, p *Provider, raw string, access, verifier ath.Secret) (string, error) {
	call := &call{provider: p.ID, endpoint: "ID token"}
	if len(raw) > maxTokenBytes {
		return "", call.fault("is too long")
	}
	issuer, err := c.issuers.discover(ctx, c.openIDClient(), p.Issuer)
	if err != nil {
		e := call.fault("the issuer's OpenID configuration could not be had")
		e.Temporary, e.cause = true, contextError(err)
		return "", e
	}
	verify := issuer.VerifierContext(oidc.ClientContext(ctx, c.openIDClient()), &oidc.Config{ClientID: p.ClientID, Now: c.now})
	token, err := verify.Verify(ctx, raw)
	if expired := (*oidc.TokenExpiredError)(nil); errors.As(err, &expired) {
		return "", call.fault("has expired")
	}
	if err != nil {
		return "", call.fault("its signature, issuer or audience is wrong")
	}
	var claims struct {
		AuthorizedParty string `json:"azp"`
	}
	switch {
	case token.Claims(&claims) != nil:
		return "", call.fault("is malformed")
	case len(token.Audience) > 1 && claims.AuthorizedParty != p.ClientID,
		claims.AuthorizedParty != "" && claims.AuthorizedParty != p.ClientID,
		!slices.Contains(token.Audience, p.ClientID):
		return "", call.fault("was issued to another client")
	case !ath.NewSecret(nonceOf(verifier)).Equal(token.Nonce):
		return "", call.fault("belongs to another authorization: its nonce is wrong")
	case token.AccessTokenHash != "" && token.VerifyAccessToken(access.Reveal()) != nil:
		return "", call.fault("belongs to another access token")
	}
	user := reply{"sub": token.Subject}.user("sub")
	if user == "" {
		return "", call.fault("does not name the user")
	}
	return user, nil
}

// openIDClient fetches an issuer's configuration and keys: bounded, without
// redirects, over https.
func (c *Client) openIDClient() *http.Client {
	return &http.Client{
		Transport:     bounded{c.transport, c.allowHTTP},
		Timeout:       discoveryTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded reads a reply whole, up to the limit of all replies.
type bounded struct {
	transport http.RoundTripper
	allowHTTP bool
}

// RoundTrip implements [http.RoundTripper].
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !b.allowHTTP {
		return nil, errors.New("not an https URL")
	}
	res, _, err := fetch(b.transport, req)
	return res, err
}
