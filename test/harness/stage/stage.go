// Package stage sets up everything that a call goes through, for end-to-end
// tests: a real redis-server, the athd binary, a real Envoy that runs exactly
// what athd bootstrap printed, an OAuth server, an app in native mode and an
// API in gateway mode behind TLS. [Start] returns when all of it answers; all
// of it ends with the test.
package stage

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/oauthserver"
	"github.com/athd/athd/internal/wire"
	"github.com/athd/athd/test/harness/identity"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/reserve"
)

// What stands on every stage.
const (
	App      = "shop"    // the native app's id
	Provider = "gallery" // the provider in gateway mode, at base path /v1 behind TLS
	Secret   = "client-secret-of-athd-0123456789"
	AdminKey = "operator-Vt8rZq2LmX5cWk9YpN4hJs7DgB1fTxR6uEoA"
	User     = "alice"
	UserID   = "user-1"
	Password = "wonderland"

	Stranger         = "mallory" // somebody else at the same OAuth server
	StrangerID       = "user-2"
	StrangerPassword = "underhand"
)

// AppScopes and ProviderScopes are what may be asked for.
var (
	AppScopes      = []string{"products:read", "cart:write", "orders:read"}
	ProviderScopes = []string{"pictures:read", "pictures:write"}
	// AddedScopes are of a provider that a test adds while athd runs: the OAuth
	// server knows them.
	AddedScopes = []string{"issues:read", "issues:write"}
)

// Options vary a stage.
type Options struct {
	Mode       string // "native", "gateway" or "both" (the default)
	Consent    string // default page
	Embedded   bool   // no Redis
	TokenTTL   string // default 1h
	SessionTTL string // default 10m
	Renewal    string // tokens.renewal, such as "{max: 90d, idle: 30d}"; default none
	// StoreTimeout is longer than athd's default by default: a busy machine is
	// no store that is away. It stays under what Envoy waits.
	StoreTimeout string
	Approval     string // YAML of approval:, indented by two; default approves everything
	Extra        string // YAML, appended
	// Providers are further entries of providers.json, by their ids.
	Providers map[string]any
	AccessTTL time.Duration
	// Refreshable: the OAuth server gives refresh tokens, each for one use.
	Refreshable bool
	// OneGrantPerUser: at the OAuth server a user's new consent ends the older grant.
	OneGrantPerUser bool
	Grants          string // grants of the app; default per_consent
	AppOAuth        string // more of the app's oauth, with commas between
	// Host is the name of Envoy in public_url, default 127.0.0.1. With
	// localhost the OAuth server is another site to browsers, as it is in life.
	Host string
	TLS  bool // public_url is https
	// ConsentHost is the name of consent_url, whose port is Envoy's, too; "":
	// there is none.
	ConsentHost string
	// AccessLogOf says whose the access log's format is, if it is not one of athd's
	// configuration: then what it holds is not athd's to say, and it is not searched
	// for secrets.
	AccessLogOf string
	// Unauthenticated is the app's: deny (the default) or passthrough.
	Unauthenticated string
	PathPrefix      string // the app's
	PerProvider     bool   // callback: per_provider
	AppID           string // default shop
	AppMore         string // further lines of the app's YAML, indented by two
	Destination     string // envoy.destination: route (the default) or host_and_path
	EnvoyMore       string // further keys of envoy, with commas between them; "": what $ATHD_STAGE_ENVOY says
	IssuerAlone     bool   // no endpoints are written, only the issuer
	// NoMetadata, while it is true, keeps the OAuth server's metadata away; may
	// be nil.
	NoMetadata *atomic.Bool
	// Listen is Envoy's address, for who has to know it before; "": one of its own.
	Listen string
	// Envoy makes Envoy's configuration with athd bootstrap, of which it gets
	// what it prints; nil: all that it prints, as it is.
	Envoy func(listen string, bootstrap func(args ...string) []byte) []byte
	// Athd changes how athd serve is run; may be nil.
	Athd func(*exec.Cmd)
}

// A Stage is everything, running.
type Stage struct {
	Public     string // URL of Envoy
	ConsentURL string // URL of the consent pages: Public, unless they have a host of their own
	Dir        string // where athd.yaml is
	Athd       *Athd
	Envoy      *realenvoy.Envoy
	Redis      *realredis.Server // nil when embedded
	OAuth      *oauthserver.Server
	App        *Upstream
	Gallery    *Upstream
	Agents     string // URL of the host of identity documents
	Issuer     string // URL of OAuth
	// Authority has signed the certificates of Gallery and, with TLS, of Envoy.
	Authority *realenvoy.Authority

	t     testing.TB
	watch *leak.Watch
	http  string // athd's address behind Envoy
	admin string
	site  *http.ServeMux

	accessLogOf string // Options.AccessLogOf
}

const configuration = `public_url: {{.Public}}
{{with .ConsentURL}}consent_url: {{.}}
{{end}}listen: {grpc: "unix:{{.Dir}}/authz.sock", http: "{{.HTTP}}", admin: "{{.Admin}}"}
store: {url: "{{.Store}}", keyset_file: keyset.json, timeout: {{.StoreTimeout}}}
{{if .Gateway}}providers_file: providers.json
{{end}}{{if .Native}}apps:
- appId: {{.AppID}}
{{.AppMore}}  name: The Shop
  upstream: {{.AppURL}}
  audience: {{.Public}}
  callbackUrl: {{.Public}}/ath/callback{{if .PerProvider}}/{{.AppID}}{{end}}
  availableScopes: ["products:read", "cart:write", "orders:read"]
  unauthenticated: {{.Unauthenticated}}
  path_prefix: "{{.PathPrefix}}"
  oauth: {issuer: "{{.OAuth}}", {{if not .IssuerAlone}}authorize_endpoint: "{{.OAuth}}/authorize", token_endpoint: "{{.OAuth}}/token", userinfo_endpoint: "{{.OAuth}}/userinfo", revocation_endpoint: "{{.OAuth}}/revoke", {{end}}{{with .Grants}}grants: {{.}}, {{end}}{{with .AppOAuth}}{{.}}, {{end}}client_id: athd, client_secret: {{.Secret}}}
{{end}}admin: {tokens: [{name: ops, token_file: admin.token, role: admin}]}
approval:
{{.Approval}}
tokens: {ttl: {{.TokenTTL}}{{with .Renewal}}, renewal: {{.}}{{end}}}
sessions: {ttl: {{.SessionTTL}}}
consent: {{.Consent}}
{{if .PerProvider}}callback: per_provider
{{end}}drain_delay: 0s
envoy: {listen: "{{.EnvoyListen}}", admin: "127.0.0.1:0", ca_file: "{{.CA}}"{{with .TLS}}, tls: [{{range .}}{cert_file: "{{.Cert}}", key_file: "{{.Key}}"},{{end}}]{{end}}{{with .Destination}}, destination: {{.}}{{end}}{{with .EnvoyMore}}, {{.}}{{end}}}
log: {format: json, level: debug}
development: {allow_http: true, allow_private_hosts: true}
{{.Extra}}
`

const providers = `{
	"gallery": {
		"display_name": "The Gallery",
		"available_scopes": ["pictures:read", "pictures:write"],
{{if not .IssuerAlone}}		"authorize_endpoint": "{{.OAuth}}/authorize",
		"token_endpoint": "{{.OAuth}}/token",
		"userinfo_endpoint": "{{.OAuth}}/userinfo",
		"revocation_endpoint": "{{.OAuth}}/revoke",
{{end}}		"api_base_url": "{{.GalleryURL}}/v1",
		"client_id": "athd",
		"client_secret": "{{.Secret}}",
		"issuer": "{{.OAuth}}",
		"scope_rules": [
			{"scope": "pictures:read", "methods": ["GET"], "paths": ["/pictures/**"]},
			{"scope": "pictures:write", "methods": ["POST", "PUT"], "paths": ["/pictures", "/pictures/*"]}
		]
	}
}
`

// Start sets a stage up.
func Start(t testing.TB, o Options) *Stage {
	t.Helper()
	dir, err := os.MkdirTemp("", "athd-e2e-") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	envoyListen, httpListen, admin := o.Listen, reserve.Addr(t), reserve.Addr(t)
	if envoyListen == "" {
		envoyListen = reserve.Addr(t)
	}
	authority := realenvoy.NewAuthority(t)
	s := &Stage{Dir: dir, Authority: authority, t: t, watch: leak.Of(t), http: httpListen, admin: admin, site: http.NewServeMux()}
	s.Public = public(envoyListen, o)
	s.ConsentURL = s.Public
	var consentURL string
	if o.ConsentHost != "" {
		apart := o
		apart.Host = o.ConsentHost
		consentURL = public(envoyListen, apart)
		s.ConsentURL = consentURL
	}
	var pairs []map[string]string
	if o.TLS {
		names := [][]string{{"127.0.0.1", "localhost", or(o.Host, "localhost")}}
		if o.ConsentHost != "" {
			names = append(names, []string{o.ConsentHost})
		}
		for _, n := range names {
			certFile, keyFile := authority.Issue(n...)
			pairs = append(pairs, map[string]string{"Cert": certFile, "Key": keyFile})
		}
	}

	cert := authority.Certificate("127.0.0.1")
	s.App, s.Gallery = StartUpstream(t, nil), StartUpstream(t, &cert)
	s.Issuer = s.startOAuth(o)
	site := httptest.NewServer(s.site)
	t.Cleanup(site.Close)
	s.Agents = site.URL

	store := "embedded"
	if !o.Embedded {
		s.Redis = realredis.Start(t)
		store = s.Redis.URL()
	}
	mode := or(o.Mode, "both")
	values := map[string]any{
		"Public": s.Public, "Dir": dir, "HTTP": httpListen, "Admin": admin, "Store": store,
		"Native": mode != "gateway", "Gateway": mode != "native",
		"AppURL": s.App.URL, "GalleryURL": s.Gallery.URL, "OAuth": s.Issuer, "Secret": Secret,
		"StoreTimeout": or(o.StoreTimeout, "900ms"), "Approval": or(o.Approval, "  default: approve"), "TokenTTL": or(o.TokenTTL, "1h"), "SessionTTL": or(o.SessionTTL, "10m"), "Renewal": o.Renewal,
		"Consent": or(o.Consent, "page"), "EnvoyListen": envoyListen, "CA": authority.CAFile, "Extra": o.Extra,
		"TLS": pairs, "ConsentURL": consentURL, "Unauthenticated": or(o.Unauthenticated, "deny"), "PathPrefix": o.PathPrefix, "AppID": or(o.AppID, App), "AppMore": o.AppMore, "PerProvider": o.PerProvider,
		"Destination": o.Destination, "EnvoyMore": or(o.EnvoyMore, os.Getenv("ATHD_STAGE_ENVOY")), "IssuerAlone": o.IssuerAlone, "Grants": o.Grants, "AppOAuth": o.AppOAuth,
	}
	s.write("athd.yaml", fill(t, configuration, values))
	s.write("providers.json", withProviders(t, fill(t, providers, values), o.Providers))
	s.write("admin.token", AdminKey+"\n")
	NewKeyset(t, filepath.Join(dir, "keyset.json"))
	bootstrap := func(args ...string) []byte {
		text, stderr, err := Run(t, dir, append([]string{"bootstrap", "--config", "athd.yaml"}, args...)...)
		if err != nil {
			t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
		}
		return []byte(text)
	}
	s.Athd = StartAthd(t, dir, admin, o.Athd)
	if o.Envoy == nil {
		o.Envoy = func(_ string, bootstrap func(...string) []byte) []byte { return bootstrap() }
	}
	s.Envoy = realenvoy.Start(t, o.Envoy(envoyListen, bootstrap))
	s.accessLogOf = o.AccessLogOf
	t.Cleanup(s.findLeaks)
	return s
}

// RestartAthd ends athd and starts it again on the same configuration.
func (s *Stage) RestartAthd() {
	s.t.Helper()
	if err := s.Athd.Stop(); err != nil {
		s.t.Fatal(err)
	}
	s.Athd = StartAthd(s.t, s.Dir, s.admin)
}

// startOAuth starts the OAuth server and returns its URL.
func (s *Stage) startOAuth(o Options) string {
	s.t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	issuer := "http://" + srv.Listener.Addr().String()
	var err error
	s.OAuth, err = oauthserver.New(oauthserver.Config{
		Issuer: issuer, AccessTokenTTL: o.AccessTTL,
		Clients: []oauthserver.Client{{
			ID: "athd", Name: "athd", Secret: Secret, RedirectURIs: s.callbacks(o),
			Scopes:            slices.Concat(AppScopes, ProviderScopes, AddedScopes),
			AlwaysRefreshable: o.Refreshable, OneGrantPerUser: o.OneGrantPerUser,
		}},
		Users: []oauthserver.User{
			{ID: UserID, Name: User, Password: Password},
			{ID: StrangerID, Name: Stranger, Password: StrangerPassword},
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	srv.Config.Handler = s.watch.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.NoMetadata != nil && o.NoMetadata.Load() && strings.HasPrefix(r.URL.Path, "/.well-known/") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.OAuth.ServeHTTP(w, r)
	}))
	srv.Start()
	s.t.Cleanup(srv.Close)
	return issuer
}

// EndGrants ends every grant at the OAuth server, as a user or an administrator
// does there.
func (s *Stage) EndGrants() {
	s.t.Helper()
	for _, issued := range s.OAuth.Issued() {
		res, err := http.PostForm(s.Issuer+"/revoke", url.Values{"token": {issued}, "client_id": {"athd"}, "client_secret": {Secret}})
		if err != nil {
			s.t.Fatal(err)
		}
		res.Body.Close()
	}
}

// callbacks are the redirect URIs that the OAuth server knows.
func (s *Stage) callbacks(o Options) []string {
	shared := s.Public + "/ath/callback"
	if o.PerProvider {
		return []string{shared + "/" + or(o.AppID, App), shared + "/" + Provider}
	}
	return []string{shared}
}

// NewAgent publishes the identity of a new agent and returns its client.
func (s *Stage) NewAgent(name string) *client.Client {
	s.t.Helper()
	c, _ := s.NewAgentVia(name, wire.Local())
	return c
}

// NewAgentVia is [Stage.NewAgent] with a transport of the caller's, and with
// the agent's key.
func (s *Stage) NewAgentVia(name string, by http.RoundTripper) (*client.Client, *ecdsa.PrivateKey) {
	s.t.Helper()
	a, key := identity.New(s.t, s.Agents+"/"+name+".json", "Agent "+name)
	s.site.Handle("/"+name+".json", a)
	return s.ClientOf(a, by), key
}

// ClientOf returns a client of an agent that is published somewhere else, or
// nowhere.
func (s *Stage) ClientOf(a *client.Identity, by http.RoundTripper) *client.Client {
	s.t.Helper()
	c, err := client.New(client.Config{Server: s.Public, Agent: a, Transport: &wire.Recorder{Base: by, Observe: s.watch.Observe}, Timeout: 30 * time.Second, InsecureHTTP: true})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.CloseIdleConnections)
	return c
}

// Register registers an agent for scopes of one provider.
func (s *Stage) Register(c *client.Client, provider string, scopes ...string) (*api.RegisterReply, error) {
	return c.Register(s.t.Context(), client.Registration{Provider: provider, Scopes: scopes, Purpose: "Shopping on behalf of the user"})
}

// Call makes a call of an agent's, at a path of Envoy's, and returns it whole.
func (s *Stage) Call(c *client.Client, token client.Token, method, path string) *wire.Exchange {
	s.t.Helper()
	by := wire.Local()
	defer by.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	ex, err := wire.Call(ctx, by, method, s.Public+path, wire.AsAgent(c.Agent().ID(), token.Access), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.watch.Refusal("a call", ex.Status, ex.Reply)
	return ex
}

var athCode = regexp.MustCompile(`ath_code_[\w-]+`)

// Consent plays the user: allow on our page if there is one, login and consent
// at the OAuth server. It returns the last page.
func (s *Stage) Consent(b *browser.Browser, authorizationURL string) *browser.Page {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	page, err := b.Get(ctx, authorizationURL)
	if err == nil && page.URL.Path == "/ath/consent/start" && page.Status == http.StatusOK {
		page, err = b.Submit(ctx, page.Form().Click("Allow"))
	}
	if err == nil && strings.Contains(page.Body, `name="password"`) {
		page, err = b.Submit(ctx, page.Form().Fill("username", User).Fill("password", Password))
	}
	if err == nil && page.Status == http.StatusOK && strings.HasPrefix(page.URL.String(), s.Issuer) {
		page, err = b.Submit(ctx, page.Form().Click("Allow"))
	}
	if err != nil {
		s.t.Fatalf("the user's browser: %v\n%v", err, b.Steps())
	}
	s.gather(b, page)
	return page
}

// Heal plays the user at a link that heals a grant (P-10): allow on our page, and
// what the OAuth server asks. It may be called beside the test.
func (s *Stage) Heal(link string) {
	b := browser.New()
	defer b.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	page, err := b.Get(ctx, link)
	for range 4 { // our page, log-in, consent, and the way back
		if err != nil || len(page.Forms) != 1 {
			break
		}
		form := page.Form()
		switch {
		case len(form.Values("password")) > 0:
			form = form.Fill("username", User).Fill("password", Password)
		case strings.HasPrefix(page.URL.String(), s.ConsentURL):
			form = form.Click("Allow again")
		default:
			form = form.Click("Allow")
		}
		page, err = b.Submit(ctx, form)
	}
	if err != nil || page.Status != http.StatusOK {
		s.t.Errorf("the user's browser at the link that heals: %v\n%v", err, b.Steps())
		return
	}
	s.gather(b, page)
}

// Token takes an agent through the whole handshake.
func (s *Stage) Token(c *client.Client, provider string, scopes ...string) client.Token {
	s.t.Helper()
	ctx := s.t.Context()
	if c.Credentials().ClientID == "" {
		if _, err := s.Register(c, provider, scopes...); err != nil {
			s.t.Fatalf("register: %v", err)
		}
	}
	authorization, code := s.Code(c, provider, scopes...)
	token, err := c.Exchange(ctx, authorization, code)
	if err != nil {
		s.t.Fatalf("token: %v", err)
	}
	return *token
}

// Code takes a registered agent to the point where it has a code.
func (s *Stage) Code(c *client.Client, provider string, scopes ...string) (*client.Authorization, ath.Secret) {
	s.t.Helper()
	auth, err := c.Authorize(s.t.Context(), client.Consent{Provider: provider, Scopes: scopes})
	if err != nil {
		s.t.Fatalf("authorize: %v", err)
	}
	b := browser.New()
	defer b.Close()
	page := s.Consent(b, auth.URL)
	code := athCode.FindString(page.Body)
	if code == "" {
		s.t.Fatalf("the last page (%d) shows no code: %s\n%v", page.Status, page.Text, b.Steps())
	}
	return auth, ath.NewSecret(code)
}

// Host is host:port of Envoy.
func (s *Stage) Host() string {
	u, err := url.Parse(s.Public)
	if err != nil {
		s.t.Fatal(err)
	}
	return u.Host
}

// public is Envoy's URL as agents and browsers see it.
func public(listen string, o Options) string {
	scheme := "http://"
	if o.TLS {
		scheme = "https://"
	}
	if o.Host == "" {
		return scheme + listen
	}
	_, port, _ := net.SplitHostPort(listen)
	return scheme + net.JoinHostPort(o.Host, port)
}

func (s *Stage) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func fill(t testing.TB, text string, values map[string]any) string {
	t.Helper()
	var b bytes.Buffer
	if err := template.Must(template.New("").Option("missingkey=error").Parse(text)).Execute(&b, values); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// withProviders adds entries to the text of providers.json.
func withProviders(t testing.TB, text string, more map[string]any) string {
	t.Helper()
	all := map[string]any{}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, more)
	out, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
