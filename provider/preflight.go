package provider

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// A Verdict is what a preflight found out about a part of a configuration.
type Verdict string

// The verdicts. Right needs a witness: the server must answer a deliberately
// wrong value otherwise.
const (
	Right   Verdict = "right"
	Wrong   Verdict = "wrong"
	NotTold Verdict = "not told" // this server does not tell
)

// A Finding is the verdict about one part, and by what it is known.
type Finding struct {
	Part    string  `json:"part"` // one of client, refresh (not where that is off), redirect_uri and scopes
	Verdict Verdict `json:"verdict"`
	Because string  `json:"because"`
	Cure    string  `json:"cure,omitempty"` // of what is wrong
}

// Preflight finds out, before any user consents, whether the server knows the
// client, its secret, its redirect URI and the scopes. It sends a code and a
// refresh token that nobody gave out, and asks for authorizations that nobody
// follows, each beside one that is wrong on purpose: nothing at the server
// changes.
func (c *Client) Preflight(ctx context.Context, p *Provider, redirectURI string) []Finding {
	return append(c.preflightToken(ctx, p, redirectURI), c.preflightAuthorize(ctx, p, redirectURI)...)
}

// An answer is what a token endpoint says to something that it never gave out.
type answer struct {
	code   string
	status int
	failed string // why there is none
}

func (a answer) String() string {
	switch {
	case a.failed != "":
		return a.failed
	case a.code == "":
		return fmt.Sprintf("HTTP %d without an error code", a.status)
	}
	return fmt.Sprintf("%s (HTTP %d)", a.code, a.status)
}

// refusesClient reports whether it is the client that the server does not
// accept (RFC 6749, section 5.2). Keycloak says unauthorized_client, Auth0
// access_denied with 401, GitHub incorrect_client_credentials and Slack
// bad_client_secret or invalid_client_id.
func (a answer) refusesClient() bool {
	switch a.code {
	case "invalid_client", "unauthorized_client", "incorrect_client_credentials", "bad_client_secret", "invalid_client_id":
		return a.failed == ""
	case "", "access_denied":
		return a.failed == "" && a.status == http.StatusUnauthorized
	}
	return false
}

// refusesGrant reports whether the server came as far as to look at what it
// never gave out. Dex says invalid_request of a refresh token; GitHub has words
// of its own for a code and a refresh token, and Slack, too.
func (a answer) refusesGrant() bool {
	return a.failed == "" && slices.Contains([]string{
		"invalid_grant", "invalid_request", "bad_verification_code", "bad_refresh_token", "invalid_code", "invalid_refresh_token",
	}, a.code)
}

// probe sends what the server never gave out, by the client as it is told.
func (c *Client) probe(ctx context.Context, p *Provider, method AuthMethod, secret ath.Secret, form url.Values) answer {
	q := *p
	q.ClientSecret = secret
	if method == NoClientAuth && secret.IsZero() { // a public client's secret is its id
		q.ClientID = p.ClientID + "-" + rand.Text()
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	call := &call{provider: p.ID, endpoint: "token endpoint", transport: c.to(p, p.TokenURL)}
	if !c.mayPlain(p) && p.TokenURL.Scheme != "https" {
		return answer{failed: "it is not an https URL"}
	}
	_, err := call.token(ctx, &q, form, method)
	refused := (*ExchangeError)(nil)
	switch {
	case err == nil:
		return answer{failed: "it gave tokens for what it never gave out"}
	case !errors.As(err, &refused):
		return answer{failed: "no answer"}
	case refused.Code == "" && (refused.Temporary || refused.Status == 0):
		return answer{failed: refused.Said()}
	case refused.Status >= 500:
		return answer{failed: refused.Said()}
	}
	return answer{code: refused.Code, status: refused.Status}
}

// preflightToken asks the token endpoint.
func (c *Client) preflightToken(ctx context.Context, p *Provider, redirectURI string) []Finding {
	code := func() url.Values {
		return url.Values{"grant_type": {"authorization_code"}, "code": {"athd-check-" + rand.Text()}, "code_verifier": {rand.Text() + rand.Text()}, "redirect_uri": {redirectURI}}
	}
	refresh := func() url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"athd-check-" + rand.Text()}}
	}
	client := c.judgeClient(ctx, p, "client", "token_auth_method", p.AuthMethod, code)
	switch {
	case p.Refresh.Off:
		return []Finding{client}
	case client.Verdict == Wrong:
		return []Finding{client, {Part: "refresh", Verdict: NotTold, Because: "the client is wrong"}}
	}
	refreshing := c.judgeClient(ctx, p, "refresh", "refresh_token_auth_method", p.refreshMethod(), refresh)
	if client.Verdict == NotTold && refreshing.Verdict == Wrong { // Zitadel looks at a client only here
		refreshing.Cure = "correct client_id and client_secret; if they are right, " + refreshing.Cure
	}
	return []Finding{client, refreshing}
}

// judgeClient asks by the configured method, with a wrong secret beside, and,
// where that is refused, by the other one.
func (c *Client) judgeClient(ctx context.Context, p *Provider, part, key string, method AuthMethod, form func() url.Values) Finding {
	wrongSecret := func(m AuthMethod) ath.Secret {
		if m == NoClientAuth {
			return ath.Secret{}
		}
		return ath.NewSecret("wrong-" + rand.Text())
	}
	secret := p.ClientSecret
	if method == NoClientAuth {
		secret = ath.NewSecret("none") // see probe
	}
	said := c.probe(ctx, p, method, secret, form())
	f := Finding{Part: part, Verdict: NotTold, Because: "the token endpoint answers " + said.String()}
	switch {
	case said.failed != "":
		return f
	case said.code == "unsupported_grant_type" && part == "refresh":
		return Finding{part, NotTold, "the token endpoint takes no refresh tokens: " + said.String(), ""}
	case said.refusesGrant():
		control := c.probe(ctx, p, method, wrongSecret(method), form())
		if !control.refusesClient() {
			f.Because = fmt.Sprintf("it answers %s, and a wrong secret is answered %s", said, control)
			return f
		}
		return Finding{part, Right, fmt.Sprintf("by %s it answers %s, and a wrong secret is answered %s", method, said, control), ""}
	case !said.refusesClient():
		return f
	}
	f = Finding{part, Wrong, "the server refuses the client: " + said.String(), "correct client_id and client_secret"}
	if part == "refresh" {
		f.Cure = "let this client use the grant type refresh_token at the server, or set " + key
	}
	other := map[AuthMethod]AuthMethod{ClientSecretPost: ClientSecretBasic, ClientSecretBasic: ClientSecretPost}[method]
	if other == "" {
		return f
	}
	if by := c.probe(ctx, p, other, p.ClientSecret, form()); by.refusesGrant() && c.probe(ctx, p, other, wrongSecret(other), form()).refusesClient() {
		f.Because = fmt.Sprintf("the secret is right, and not by %s: %s; by %s it answers %s", method, said, other, by)
		f.Cure = key + ": " + string(other)
	}
	return f
}

// An outcome is where the authorization endpoint leads a browser without cookies.
type outcome struct {
	status   int
	to       *url.URL // of a redirect
	code     string   // the error that it names
	atClient bool     // the redirect leads to the redirect URI
	failed   string
}

// refused reports whether the server says no, wherever it does.
func (o outcome) refused() bool {
	return o.failed == "" && (o.status >= 400 && o.status < 500 || o.code != "")
}

func (o outcome) String() string {
	switch {
	case o.failed != "":
		return o.failed
	case o.code != "" && o.atClient:
		return o.code + " at the redirect URI"
	case o.code != "":
		return fmt.Sprintf("HTTP %d, %s", o.status, o.code)
	}
	return fmt.Sprintf("HTTP %d", o.status)
}

func (c *Client) authorizeOutcome(ctx context.Context, p *Provider, redirectURI string, scopes ath.Scopes) outcome {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	at := p.AuthCodeURL(AuthRequest{State: ath.NewSecret(rand.Text()), Verifier: ath.NewSecret(rand.Text() + rand.Text()), RedirectURI: redirectURI, Scopes: scopes})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil || !c.mayPlain(p) && req.URL.Scheme != "https" {
		return outcome{failed: "the authorization endpoint is not an https URL"}
	}
	// As a browser: Spring answers others 401 instead of its log-in page.
	req.Header.Set("Accept", "text/html,*/*;q=0.8")
	res, _, err := fetch(c.to(p, p.AuthorizeURL), req) //nolint:bodyclose // fetch has read and closed it
	if res == nil {
		call := &call{provider: p.ID, endpoint: "authorization endpoint"}
		return outcome{failed: call.failed(err).Said()}
	}
	o := outcome{status: res.StatusCode}
	if o.status >= 500 || o.status == http.StatusTooManyRequests {
		return outcome{failed: fmt.Sprintf("the authorization endpoint answers HTTP %d", o.status)}
	}
	if o.status >= 300 && o.status < 400 {
		if o.to, err = res.Location(); err == nil {
			wanted, _ := url.Parse(redirectURI)
			o.atClient = wanted != nil && o.to.Scheme == wanted.Scheme && o.to.Host == wanted.Host && o.to.Path == wanted.Path
			o.code = SaidCode(o.to.Query().Get("error"))
		}
	}
	return o
}

// preflightAuthorize asks the authorization endpoint as the user's browser will,
// with a wrong redirect URI and a wrong scope beside.
func (c *Client) preflightAuthorize(ctx context.Context, p *Provider, redirectURI string) []Finding {
	real := c.authorizeOutcome(ctx, p, redirectURI, p.Scopes)
	stray := c.authorizeOutcome(ctx, p, strings.TrimSuffix(redirectURI, "/")+"/athd-check-not-registered", p.Scopes)
	bogus := c.authorizeOutcome(ctx, p, redirectURI, slices.Concat(p.Scopes, ath.Scopes{"athd-check-" + strings.ToLower(rand.Text())}))
	redirect, scopes := Finding{Part: "redirect_uri", Verdict: NotTold}, Finding{Part: "scopes", Verdict: NotTold}
	if real.failed != "" {
		redirect.Because, scopes.Because = real.failed, real.failed
		return []Finding{redirect, scopes}
	}

	about := real
	if scopeTrouble := real.code == "invalid_scope" || real.refused() && !real.atClient; scopeTrouble {
		// Whether it is the scopes that are wrong: without them, or one by one.
		var good, bad ath.Scopes
		for _, s := range p.Scopes[:min(len(p.Scopes), maxAskedScopes)] {
			if o := c.authorizeOutcome(ctx, p, redirectURI, ath.Scopes{s}); o.refused() && (o.code == "" || o.code == "invalid_scope") {
				bad = append(bad, s)
			} else if o.failed == "" {
				good, about = append(good, s), o
			}
		}
		bare := *p
		bare.ExtraScopes = nil
		for _, less := range []ath.Scopes{{openIDScope}, nil} { // some want the first, some know no scope of one's own
			if o := c.authorizeOutcome(ctx, &bare, redirectURI, less); len(good) == 0 && o.failed == "" && !o.refused() {
				about = o
				scopes = Finding{"scopes", Wrong, fmt.Sprintf("the server answers %s, and without them it goes on", real), c.cureScopes(p)}
				break
			}
		}
		switch {
		case scopes.Verdict == Wrong:
		case len(good) > 0 && len(bad) > 0:
			scopes = Finding{"scopes", Wrong, "the server refuses " + strings.Join(bad, " ") + ", and takes " + strings.Join(good, " "), "let this client ask for them at the server, or take them out of available_scopes"}
		case real.code == "invalid_scope":
			scopes = Finding{"scopes", Wrong, "the server answers " + real.String(), c.cureScopes(p)}
		default:
			scopes.Because = "the server refuses the request: " + real.String()
		}
	}

	switch {
	case about.failed == "" && !about.refused() && stray.refused() && !stray.atClient:
		redirect.Verdict, redirect.Because = Right, fmt.Sprintf("the server goes on (%s), and another one is answered %s", about, stray)
	case about.atClient && stray.refused() && !stray.atClient:
		redirect.Verdict, redirect.Because = Right, fmt.Sprintf("the server answers there (%s), and another one is answered %s", about, stray)
	case about.refused() && !about.atClient && about.code != "invalid_scope" && stray.refused():
		redirect = Finding{"redirect_uri", Wrong, fmt.Sprintf("the server refuses it as it refuses one that is not registered: %s", about), "register " + redirectURI + " for client " + p.ClientID + " at the server, byte for byte"}
	default:
		redirect.Because = fmt.Sprintf("the server answers %s, and to another one %s", about, stray)
	}
	if redirect.Verdict == Wrong && len(p.Scopes) > 0 && scopes.Verdict != Wrong {
		scopes = Finding{Part: "scopes", Verdict: NotTold, Because: "the request is refused for another reason"}
	}
	if scopes.Because == "" {
		switch {
		case !real.refused() && bogus.refused():
			scopes.Verdict, scopes.Because = Right, fmt.Sprintf("the server goes on (%s), and an unknown one is answered %s", real, bogus)
		default:
			scopes.Because = fmt.Sprintf("the server answers %s, and to an unknown one %s", real, bogus)
		}
	}
	return []Finding{redirect, scopes}
}

// maxAskedScopes is how many scopes are asked for one by one.
const maxAskedScopes = 20

func (c *Client) cureScopes(p *Provider) string {
	cure := "correct available_scopes, or let this client ask for them at the server"
	if len(p.ExtraScopes) > 0 {
		cure += "; athd asks for " + strings.Join(p.ExtraScopes, " ") + " beside: extra_scopes is where"
	}
	return cure
}
