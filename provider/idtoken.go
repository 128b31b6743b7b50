package provider

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/sync/singleflight"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider/metadata"
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

// asksIDToken reports whether an authorization asks for an ID token, and so
// sends a nonce. Some servers send one unasked.
func asksIDToken(scopes ath.Scopes) bool { return scopes.Has(openIDScope) }

// issuers remembers the OpenID configuration of each issuer that was asked
// once; their keys are fetched again as ID tokens name unknown ones.
type issuers struct {
	mu     sync.Mutex
	known  map[string]*oidc.Provider
	flight singleflight.Group
}

func (i *issuers) get(name string) *oidc.Provider {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.known[name]
}

func (i *issuers) discover(ctx context.Context, client *http.Client, of *Provider) (*oidc.Provider, error) {
	if p := i.get(of.known()); p != nil {
		return p, nil
	}
	// Those who wait share one request, which must not end with one of them.
	done := i.flight.DoChan(of.known(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discoveryTimeout)
		defer cancel()
		p, err := oidc.NewProvider(oidc.ClientContext(ctx, client), of.Issuer)
		if err != nil {
			return nil, err
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.known == nil {
			i.known = map[string]*oidc.Provider{}
		}
		i.known[of.known()] = p
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
func (c *Client) subject(ctx context.Context, p *Provider, raw string, access ath.Secret, a Redemption) (string, error) {
	call := &call{provider: p.ID, endpoint: "ID token"}
	if len(raw) > maxTokenBytes {
		return "", call.fault(fmt.Sprintf("is too long: %d bytes, and at most %d are taken", len(raw), maxTokenBytes))
	}
	if p.Discovered {
		verify, err := c.keySets.verifier(c, p)
		if err != nil {
			return "", call.fault(err.Error())
		}
		return p.subjectOf(ctx, verify, call, raw, access, a)
	}
	issuer, err := c.issuers.discover(ctx, c.openIDClient(p), p)
	if mismatch, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
		e := call.fault("the issuer's OpenID configuration is another issuer's")
		e.detail = TwoIssuers(p.Issuer, mismatch.Discovered)
		return "", e
	}
	if err != nil {
		e := call.fault("the issuer's OpenID configuration could not be had")
		e.Temporary, e.cause = true, contextError(err)
		return "", e
	}
	verify := issuer.VerifierContext(oidc.ClientContext(ctx, c.openIDClient(p)), &oidc.Config{ClientID: p.ClientID, Now: c.now})
	return p.subjectOf(ctx, verify, call, raw, access, a)
}

// subjectOf verifies an ID token by the server's keys.
func (p *Provider) subjectOf(ctx context.Context, verify *oidc.IDTokenVerifier, call *call, raw string, access ath.Secret, a Redemption) (string, error) {
	token, err := verify.Verify(ctx, raw)
	if expired := (*oidc.TokenExpiredError)(nil); errors.As(err, &expired) {
		return "", call.fault("has expired")
	}
	if err != nil {
		if other := issuerOf(raw); other != p.Issuer {
			e := call.fault("was issued by another issuer")
			e.detail = TwoIssuers(p.Issuer, other)
			return "", e
		}
		return "", call.fault("its signature or audience is wrong")
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
	case asksIDToken(p.asked(a.Scopes)) && !ath.NewSecret(nonceOf(a.Verifier)).Equal(token.Nonce):
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

// issuerOf reads who claims to have issued an ID token that was not accepted.
func issuerOf(raw string) string {
	var claims struct {
		Issuer string `json:"iss"`
	}
	if parts := strings.Split(raw, "."); len(parts) == 3 {
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil || json.Unmarshal(payload, &claims) != nil {
			return ""
		}
	}
	return claims.Issuer
}

// TwoIssuers says for a log that a server calls itself otherwise than the
// configuration does, and how they differ where that is easily overlooked.
func TwoIssuers(configured, told string) string {
	return fmt.Sprintf("it says %s, and %s is configured", Quoted(told), Quoted(configured)) + metadata.Difference(configured, told)
}

// openIDClient fetches the provider's issuer's configuration and keys: bounded, without
// redirects, over https.
func (c *Client) openIDClient(p *Provider) *http.Client {
	return &http.Client{
		Transport:     bounded{c.written(p), c.mayPlain(p)},
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
