package provider

import (
	"cmp"
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/egress"
)

// Tokens is what a provider granted for one user.
type Tokens struct {
	Access  ath.Secret // visible ASCII: fit for a header
	Refresh ath.Secret // empty if the provider gave none
	Expires time.Time  // zero: not known
	// RefreshExpires is the end of the refresh token; zero: not known, or never.
	RefreshExpires time.Time
	Scopes         ath.Scopes // as the reply says (C-4)
	ScopesGiven    bool       // false: the reply says nothing, so the scopes are those requested
	User           string     // the provider's id of the user; "": not known (T-7)
	// UserProven: User is of a verified ID token, of userinfo, or of where the
	// preset says that the service names it; not of a field that somebody configured.
	UserProven bool
	// Subject is the user as the ID token of the authorization names them, where
	// that is not User.
	Subject string

	idToken ath.Secret // of a refresh; for [Provider.SameUser]
}

// ClientConfig configures a [Client].
type ClientConfig struct {
	Timeout   time.Duration     // of a whole exchange; default 10 s
	Now       func() time.Time  // default time.Now
	Transport http.RoundTripper // for tests; nil: over the network, through the proxy that the environment names
	AllowHTTP bool              // development: endpoints may be http
	// AllowPrivate is for development: endpoints that an issuer names may be at
	// private addresses.
	AllowPrivate bool
	// Egress says what a provider that was added while athd ran makes this client
	// reach: each of its endpoints, whoever named it.
	Egress egress.Policy
	// InsecureTestingOnlyRootCAs replaces the system's certificates there, and
	// TestingOnlyResolver its name server.
	InsecureTestingOnlyRootCAs *x509.CertPool
	TestingOnlyResolver        *net.Resolver
}

// A Client speaks OAuth with providers' servers. It is safe for use by
// several goroutines.
type Client struct {
	timeout   time.Duration
	now       func() time.Time
	transport http.RoundTripper
	named     [2]http.RoundTripper // to what issuers name: public addresses, and private ones too
	added     atomic.Pointer[reach]
	reaches   func(egress.Policy) http.RoundTripper
	allowHTTP bool
	private   bool
	issuers   issuers
	keySets   keySets
	promises  promises
}

// replyTimeout only ends what has no deadline of its own. A refresh must not end
// before its own: its call would be under way still when the next one is made.
const replyTimeout = time.Minute

// NewClient returns a client.
func NewClient(c ClientConfig) *Client {
	client := &Client{timeout: cmp.Or(c.Timeout, 10*time.Second), now: c.Now, transport: c.Transport, allowHTTP: c.AllowHTTP, private: c.AllowPrivate}
	if client.now == nil {
		client.now = time.Now
	}
	client.named = [2]http.RoundTripper{c.Transport, c.Transport}
	client.reaches = func(egress.Policy) http.RoundTripper { return c.Transport }
	if client.transport == nil {
		client.transport = newTransport()
		client.reaches = func(p egress.Policy) http.RoundTripper {
			return egress.NewClient(egress.Config{
				Policy: p, ReplyTimeout: replyTimeout, InsecureTestingOnlyRootCAs: c.InsecureTestingOnlyRootCAs, TestingOnlyResolver: c.TestingOnlyResolver,
			}).Transport
		}
		for i, private := range []bool{false, true} {
			client.named[i] = egress.NewClient(egress.Config{Policy: egress.Policy{AllowPrivate: private, AllowHTTP: c.AllowHTTP}, ReplyTimeout: replyTimeout}).Transport
		}
	}
	client.UseEgress(c.Egress)
	return client
}

// A reach is the way to whatever a provider names that was added while athd ran.
type reach struct {
	policy egress.Policy
	way    http.RoundTripper
}

// UseEgress replaces what such providers make the client reach, for calls from now on.
// What was athd's or Envoy's own listener before stays refused: Envoy has it until it
// is given another configuration.
func (c *Client) UseEgress(p egress.Policy) {
	if before := c.added.Load(); before != nil {
		p.Own = slices.Clone(p.Own)
		for _, own := range before.policy.Own {
			if !slices.Contains(p.Own, own) {
				p.Own = append(p.Own, own)
			}
		}
	}
	c.added.Store(&reach{p, c.reaches(p)})
}

// A Redemption is a code and what it was asked for with.
type Redemption struct {
	Code, Verifier ath.Secret
	RedirectURI    string
	Scopes         ath.Scopes // as in the [AuthRequest]

	identity bool // the user was asked for openid, and it was not refused
}

// Exchange redeems an authorization code (C-3) and asks who the user is, if
// the provider has a way to tell. The code is sent once: a failure of any kind
// spends it. x/oauth2's own Exchange is not used: it takes a reply without a
// token at its top, as Slack's, for an error, and cannot tell an empty scope
// from none, nor a large number from its neighbour. Every error is an [*ExchangeError].
func (c *Client) Exchange(ctx context.Context, p *Provider, a Redemption) (Tokens, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	call := &call{provider: p.ID, endpoint: "token endpoint", transport: c.to(p, p.TokenURL)}
	if p.TokenURL == nil {
		return Tokens{}, call.fault("is not known yet")
	}
	if !c.mayPlain(p) && p.TokenURL.Scheme != "https" {
		return Tokens{}, call.fault("is not an https URL")
	}
	r, err := call.token(ctx, p, url.Values{
		"grant_type": {"authorization_code"}, "code": {a.Code.Reveal()}, "code_verifier": {a.Verifier.Reveal()}, "redirect_uri": {a.RedirectURI},
	}, p.AuthMethod)
	if err != nil {
		return Tokens{}, err
	}
	t, message := p.dialect.grant(r).tokens(c.now(), p.tokenTypes())
	if message != "" {
		return Tokens{}, call.fault(message)
	}
	named := !t.ScopesGiven || t.Scopes.Has(openIDScope)
	t.Scopes, t.ScopesGiven = p.consented(t.Scopes, t.ScopesGiven)
	a.identity = asksIDToken(p.asked(a.Scopes)) && named
	if t.User, t.Subject, t.UserProven, err = c.user(ctx, p, call, r, t.Access, a); err != nil {
		return Tokens{}, err
	}
	if t.Subject == t.User {
		t.Subject = ""
	}
	return t, nil
}

// user finds out who the user is (T-7): by the ID token, by userinfo, or by a
// field of the token reply that the operator named. Whatever is there must
// hold, and must agree.
func (c *Client) user(ctx context.Context, p *Provider, call *call, r reply, access ath.Secret, a Redemption) (user, subject string, proven bool, err error) {
	idToken, ok := r.text("id_token")
	if !ok {
		return "", "", false, call.fault("the reply's id_token is malformed")
	}
	if idToken != "" && p.Issuer != "" {
		if subject, err = c.subject(ctx, p, idToken, access, a); err != nil {
			return "", "", false, err
		}
	}
	switch {
	case subject != "" && p.UserIDField == "":
		return subject, subject, true, nil
	case p.UserinfoURL != nil && (a.identity || !p.discovered.has(p.UserinfoURL)):
		user, err = c.userinfo(ctx, p, access, subject)
		proven = user != ""
	case p.UserIDField != "":
		if user = r.user(p.UserIDField); user == "" {
			err = call.fault("the reply does not hold the configured user_id_field as text or a number")
		}
	case len(p.dialect.UserID) > 0:
		if user = p.dialect.user(r); user == "" {
			err = call.fault("the reply does not name the user where the provider's preset says")
		}
		proven = user != ""
	}
	return user, subject, proven, err
}

// userinfo asks whose token it is (OpenID Connect Core, section 5.3, or the
// provider's own likeness of it). Where an ID token has named the subject, an
// answer about another one does not count.
func (c *Client) userinfo(ctx context.Context, p *Provider, access ath.Secret, subject string) (string, error) {
	call := &call{provider: p.ID, endpoint: "userinfo endpoint", transport: c.to(p, p.UserinfoURL)}
	if !c.mayPlain(p) && p.UserinfoURL.Scheme != "https" {
		return "", call.fault("is not an https URL")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.UserinfoURL.String(), nil)
	if err != nil {
		return "", call.fault("cannot be asked")
	}
	req.Header.Set("Authorization", "Bearer "+access.Reveal())
	if err := call.do(req); err != nil {
		return "", err
	}
	r, err := call.reply()
	if err != nil {
		return "", err
	}
	if subject != "" && r.user("sub") != subject {
		return "", call.fault("the reply is about another user than the ID token")
	}
	user := r.user(cmp.Or(p.UserIDField, "sub"))
	if user == "" {
		return "", call.fault("the reply does not name the user")
	}
	return user, nil
}
