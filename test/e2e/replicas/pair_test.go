package replicas

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// A pair is two athd on one store, behind one Envoy, with a provider, an API
// and a host of identity documents.
type pair struct {
	t        testing.TB
	athd     [2]*stage.Athd
	home     [2]string // their folders
	admin    [2]string // host:port
	envoy    *realenvoy.Envoy
	direct   [2]string // URLs of the companions themselves
	public   string    // URL of Envoy
	provider *provider
	site     *http.ServeMux
	sites    string
	client   *http.Client
	store    tokenstore.Config // to look at what they stored
	older    string            // the second one's binary, as in [store]
}

// A store is what a pair runs on.
type store struct {
	yaml     string // of store:, without the keyset
	settings tokenstore.Config
	drain    string // drain_delay of both; "": none
	alone    bool   // Envoy knows of the first one only
	older    string // the binary of an athd of before, which is the second one; "": both are this one
	more     string // keys of the shop's oauth: that only this one knows; OAUTH is its URL
}

// adminToken is an operator's, one for all pairs.
var adminToken = rand.Text() + rand.Text()

const configuration = `public_url: {{.Public}}
listen: {grpc: "unix:{{.Dir}}/authz.sock", http: "{{.HTTP}}", admin: "{{.Admin}}"}
store: { {{.Store}}, keyset_file: ../keyset.json}
apps:
- app_id: shop
  upstream: {{.API}}
  available_scopes: ["products:read", "cart:write"]
{{if .Beside}}  scope_rules: [{scope: "products:read", methods: [GET], paths: ["/api/**"]}]
{{end}}  oauth: {authorize_endpoint: "{{.OAuth}}/authorize", token_endpoint: "{{.OAuth}}/token", userinfo_endpoint: "{{.OAuth}}/userinfo", client_id: athd, client_secret: client-secret-of-athd{{with .More}}, {{.}}{{end}}}
approval: {default: approve}
admin: {tokens: [{name: tests, token_file: ../admin.token}]}
consent: direct
{{if not .Older}}drain_delay: {{.Drain}}
{{end}}envoy: {listen: "{{.Envoy}}", admin: "127.0.0.1:0"{{if not .Older}}, athd_grpc: {{.GRPCs}}, athd_http: {{.HTTPs}}{{end}}}
limits: {per_address: off, registrations_per_address: off, per_agent: off, concurrent_per_address: 500}
log: {format: json, level: warn}
development: {allow_http: true, allow_private_hosts: true}
`

// newPair starts all of it. Both athd publish one URL, Envoy's; races go to
// the companions themselves, so that the test decides who meets whom.
func newPair(t testing.TB, on store) *pair {
	t.Helper()
	dir, err := os.MkdirTemp("", "athd-pair-") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	transport := &http.Transport{MaxIdleConnsPerHost: 128}
	t.Cleanup(transport.CloseIdleConnections)
	p := &pair{t: t, provider: newProvider(), site: http.NewServeMux(), store: on.settings, older: on.older, client: &http.Client{
		Transport: transport, Timeout: 5 * time.Second, // no request may take longer
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	p.sites = serve(p.site)
	oauth := serve(p.provider)
	api := serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) }))
	envoyListen := reserve.Addr(t)
	p.public = "http://" + envoyListen

	if _, stderr, err := stage.Run(t, dir, "keys", "new", "-o", "keyset.json"); err != nil {
		t.Fatalf("athd keys new: %v\n%s", err, stderr)
	}
	if err := os.WriteFile(filepath.Join(dir, "admin.token"), []byte(adminToken), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := os.ReadFile(filepath.Join(dir, "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	if p.store.Keyset, err = tokenstore.ParseKeyset(keys); err != nil {
		t.Fatal(err)
	}
	var grpcs, https []string
	for i, name := range []string{"a", "b"} {
		p.home[i], p.admin[i] = filepath.Join(dir, name), reserve.Addr(t)
		grpcs, https = append(grpcs, "unix:"+filepath.Join(p.home[i], "authz.sock")), append(https, reserve.Addr(t))
		p.direct[i] = "http://" + https[i]
	}
	known := len(p.home)
	if on.alone {
		known = 1
	}
	for i, home := range p.home {
		older, more := on.older, ""
		if i == 0 || older == "" {
			older, more = "", strings.ReplaceAll(on.more, "OAUTH", oauth)
		}
		write(t, filepath.Join(home, "athd.yaml"), map[string]string{
			"Beside": on.older, "Older": older, "More": more,
			"Public": p.public, "Dir": home, "HTTP": https[i], "Admin": p.admin[i], "Store": on.yaml,
			"API": api, "OAuth": oauth, "Envoy": envoyListen, "Drain": cmp.Or(on.drain, "0s"),
			"GRPCs": list(grpcs[:known]), "HTTPs": list(https[:known]),
		})
		p.startAthd(i)
	}
	bootstrap, stderr, err := stage.Run(t, filepath.Join(dir, "a"), "bootstrap")
	if err != nil {
		t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
	}
	p.envoy = realenvoy.Start(t, []byte(bootstrap))
	return p
}

// startAthd starts one of the two, also after it has ended.
func (p *pair) startAthd(i int) {
	p.t.Helper()
	if i == 1 && p.older != "" {
		p.athd[i] = stage.StartOlder(p.t, p.older, p.home[i], p.admin[i])
		return
	}
	p.athd[i] = stage.StartAthd(p.t, p.home[i], p.admin[i])
}

func write(t testing.TB, path string, values map[string]string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := template.Must(template.New("").Option("missingkey=error").Parse(configuration)).Execute(&b, values); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// look opens the store from beside the two athd.
func (p *pair) look(t testing.TB) *tokenstore.Store {
	t.Helper()
	c := p.store
	c.Timeout = 5 * time.Second
	s, err := tokenstore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// list writes texts as YAML.
func list(texts []string) string { return `["` + strings.Join(texts, `", "`) + `"]` }
