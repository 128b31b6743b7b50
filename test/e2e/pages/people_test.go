package pages

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/wire"
	"github.com/athd/athd/test/harness/stage"
)

// start sets up the usual stage: athd at localhost, the OAuth server at
// 127.0.0.1, which is another site to browsers.
func start(t testing.TB, o stage.Options) *stage.Stage {
	t.Helper()
	chromiumBinary(t) // before anything else is started for nothing
	o.Embedded = true
	if o.Host == "" {
		o.Host = "localhost"
	}
	return stage.Start(t, o)
}

// An anAgent is an agent that says of itself what a test wants it to say.
type anAgent struct {
	*client.Identity
	key       *ecdsa.PrivateKey
	claims    string // the agent_id that it registers
	Purpose   string
	Redirects []string

	t            testing.TB
	s            *stage.Stage
	http         *http.Client
	id, secret   string
	registeredAs string
}

// newAgent publishes the identity of a new agent. It belongs to this test
// alone: what fails in its methods fails there.
func newAgent(t testing.TB, s *stage.Stage) *anAgent {
	t.Helper()
	return newAgentCalled(t, s, strings.ToLower(rand.Text()))
}

func newAgentCalled(t testing.TB, s *stage.Stage, name string) *anAgent {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.Authority.Pool()},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port) // the test's names are in no DNS
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	published, key := s.NewAgentVia(name, wire.Local())
	own := published.Agent()
	return &anAgent{
		Identity: own, key: key, claims: own.ID(), Purpose: "Shopping on behalf of the user",
		t: t, s: s, http: &http.Client{Transport: transport, Timeout: patience},
	}
}

// reply is the part of all replies that these tests look at.
type reply struct {
	ClientID string `json:"client_id"`
	Secret   string `json:"client_secret"`
	URL      string `json:"authorization_url"`
	Session  string `json:"ath_session_id"`
	Access   string `json:"access_token"`
	Refresh  string `json:"refresh_token"`
	Code     string `json:"code"`
}

// ask sends a request with a fresh attestation; again when the server is too
// busy for its own deadlines, which says nothing about pages.
func (a *anAgent) ask(path, audience string, body map[string]any) (status int, r reply) {
	a.t.Helper()
	for range 3 {
		if status, r = a.askOnce(path, audience, body); status != http.StatusServiceUnavailable {
			break
		}
		time.Sleep(time.Second) // Retry-After
	}
	return status, r
}

func (a *anAgent) askOnce(path, audience string, body map[string]any) (int, reply) {
	a.t.Helper()
	attestation, err := a.attest(audience)
	if err != nil {
		a.t.Fatal(err)
	}
	body["agent_attestation"] = attestation
	encoded, err := json.Marshal(body)
	if err != nil {
		a.t.Fatal(err)
	}
	resp, err := a.http.Post(a.s.Public+path, "application/json", bytes.NewReader(encoded))
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	var r reply
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&r); err != nil {
		a.t.Fatalf("%s answers %d: %v", path, resp.StatusCode, err)
	}
	return resp.StatusCode, r
}

// attest signs as the agent that it claims to be.
func (a *anAgent) attest(audience string) (string, error) {
	by := a.Identity
	if claimed, err := client.NewIdentity(a.claims, a.Name, a.key); err == nil { // else register refuses the id before it looks at this
		by = claimed
	}
	signed, err := by.Attest(audience, time.Now())
	return signed.Reveal(), err
}

// register registers the agent, and returns the status.
func (a *anAgent) register(provider string, scopes ...string) (int, reply) {
	a.t.Helper()
	status, r := a.ask("/ath/agents/register", a.s.Public, map[string]any{
		"agent_id": a.claims, "developer": a.Developer, "purpose": a.Purpose, "redirect_uris": a.Redirects,
		"requested_providers": []map[string]any{{"provider_id": provider, "scopes": scopes}},
	})
	a.id, a.secret, a.registeredAs = r.ClientID, r.Secret, provider
	return status, r
}

// A link is what an agent gives its user to open.
type link struct {
	url, session, provider string // provider is the URL that a direct consent would have had
	state                  string // the agent's own
}

// authorize asks for consent; redirect is the first registered one, if any.
func (a *anAgent) authorize(provider string, scopes ...string) link {
	a.t.Helper()
	if a.registeredAs == "" {
		if status, r := a.register(provider, scopes...); status != http.StatusCreated {
			a.t.Fatalf("register: %d %s", status, r.Code)
		}
	}
	body := map[string]any{"client_id": a.id, "provider_id": provider, "scopes": scopes, "state": "the agent's own & state"}
	if len(a.Redirects) > 0 {
		body["user_redirect_uri"] = a.Redirects[0]
	}
	status, r := a.ask("/ath/authorize", a.s.Public, body)
	if status != http.StatusOK {
		a.t.Fatalf("authorize: %d %s", status, r.Code)
	}
	_, query, _ := strings.Cut(r.URL, "?")
	return link{url: r.URL, session: r.Session, provider: a.s.Issuer + "/authorize?" + query, state: body["state"].(string)}
}

// redeem exchanges a code, and returns how that went: "" is a token, anything
// else the code of a refusal.
func (a *anAgent) redeem(l link, code string) string {
	a.t.Helper()
	status, r := a.ask("/ath/token", a.s.Public+"/ath/token", map[string]any{
		"grant_type": "authorization_code", "client_id": a.id, "client_secret": a.secret,
		"code": code, "ath_session_id": l.session,
	})
	if (status == http.StatusOK) != strings.HasPrefix(r.Access, "ath_tk_") {
		a.t.Fatalf("token: %d with access token %q", status, r.Access)
	}
	return r.Code
}

// What a user clicks.
const (
	allowHere  = `form[action="/ath/consent/decide"] button[value=allow]`
	denyHere   = `form[action="/ath/consent/decide"] button[value=deny]`
	password   = `input[name=password]`
	logIn      = `form[action^="/authorize/"] button[type=submit]`
	allowThere = `form[action^="/authorize/"] button[value=allow]`
	denyThere  = `form[action^="/authorize/"] button[value=deny]`
)

// allow opens the link, presses Allow and lands at the provider's login.
func (b *tab) allow(l link) {
	b.t.Helper()
	b.open(l.url)
	b.click(allowHere)
	b.await(password)
}

// login logs the user in at the provider, which then asks for consent.
func (b *tab) login() {
	b.t.Helper()
	b.fill("input[name=username]", stage.User)
	b.fill(password, stage.Password)
	b.click(logIn)
	b.await(allowThere)
}

// finish goes from the provider's login to our completion page and returns
// the code that it shows.
func (b *tab) finish() string {
	b.t.Helper()
	b.login()
	b.click(allowThere)
	b.await("#code")
	return b.text("#code")
}

// refused fails the test unless the tab shows our error page with this code.
func (b *tab) refused(code string) {
	b.t.Helper()
	b.await("#error")
	if got := b.text("#error"); got != code {
		b.t.Errorf("the page says %s (%s), want %s", got, b.text("#message"), code)
	}
	if strings.Contains(b.text("body"), "ath_code_") {
		b.t.Error("a refusal shows a code")
	}
	if id := b.text("#decision"); !strings.HasPrefix(id, "dec_") { // F-26
		b.t.Errorf("a page that reports a failure has the decision_id %q", id)
	}
}

var formAction = regexp.MustCompile(`action="(/authorize/[^"]+)"`)

// providerAnswers logs a user in at the provider without a browser, allows
// everything, and returns the callback that the provider would lead to: what
// an attacker has in hand who stops there.
func providerAnswers(t testing.TB, s *stage.Stage, providerURL, user, pass string) *url.URL {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	read := func(resp *http.Response, err error) (*http.Response, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	_, body := read(c.Get(providerURL))
	action := formAction.FindStringSubmatch(body)
	if action == nil {
		t.Fatalf("the provider shows no login:\n%s", body)
	}
	read(c.PostForm(s.Issuer+action[1], url.Values{"username": {user}, "password": {pass}}))
	u, err := url.Parse(providerURL)
	if err != nil {
		t.Fatal(err)
	}
	resp, body := read(c.PostForm(s.Issuer+action[1], url.Values{"decision": {"allow"}, "scope": strings.Fields(u.Query().Get("scope"))}))
	callback, err := resp.Location()
	if err != nil {
		t.Fatalf("the provider does not lead back: %v\n%s", err, body)
	}
	return callback
}

// A site is a web site of somebody else's: an agent's, or a stranger's.
type site struct {
	port string

	mu   sync.Mutex
	seen []*http.Request
}

// newSite serves one page at every path.
func newSite(t testing.TB, html string) *site {
	t.Helper()
	w := &site{}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r)
		w.mu.Unlock()
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(rw, html)
	}))
	t.Cleanup(srv.Close)
	_, w.port, _ = strings.Cut(strings.TrimPrefix(srv.URL, "http://"), ":")
	return w
}

func (w *site) at(host string) string { return "http://" + host + ":" + w.port }

// visits returns the requests so far.
func (w *site) visits() []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*http.Request(nil), w.seen...)
}

// eventually waits for something that no page shows.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}
