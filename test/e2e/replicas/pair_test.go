package replicas

import (
	"cmp"
	"crypto/rand"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/athd/athd/test/harness/leak"
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
	values   map[string]string // of the first one's configuration
}

// A store is what a pair runs on.
type store struct {
	yaml     string // of store:, without the keyset
	settings tokenstore.Config
	drain    string // drain_delay of both; "": none
	alone    bool   // Envoy knows of the first one only
	older    string // the binary of an athd of before, which is the second one; "": both are this one
	more     string // keys of the shop's oauth: that only this one knows; OAUTH is its URL
	apps     string // one more of apps:
	top      string // more lines of athd.yaml
	asks     string // more of envoy:, of both
	// tokens is of tokens:, with a renewal, for which users see athd's page; "": they go
	// straight to the provider, and nothing stands.
	tokens string
}

// adminToken is an operator's, one for all pairs.
var adminToken = rand.Text() + rand.Text()

const clientSecret = "client-secret-of-athd"

const configuration = `public_url: {{.Public}}
listen: {grpc: "unix:{{.Dir}}/authz.sock", http: "{{.HTTP}}", admin: "{{.Admin}}"}
store: { {{.Store}}, keyset_file: ../keyset.json}
apps:
- app_id: shop
  upstream: {{.API}}
  available_scopes: ["products:read", "cart:write"]
{{if .Rules}}  scope_rules: [{scope: "products:read", methods: [GET], paths: ["/api/**"]}]
{{end}}  oauth: {authorize_endpoint: "{{.OAuth}}/authorize", token_endpoint: "{{.OAuth}}/token", userinfo_endpoint: "{{.OAuth}}/userinfo", client_id: athd, client_secret: ` + clientSecret + `{{with .More}}, {{.}}{{end}}}
{{with .Apps}}- {{.}}
{{end}}approval: {default: approve}
admin: {tokens: [{name: tests, token_file: ../admin.token{{if not .Older}}, role: admin{{end}}}]}
consent: {{.Consent}}
{{with .Tokens}}tokens: { {{.}} }
{{end}}{{if not .Older}}drain_delay: {{.Drain}}
{{end}}envoy: {listen: "{{.Envoy}}", admin: "127.0.0.1:0"{{if not .Older}}, athd_grpc: {{.GRPCs}}, athd_http: {{.HTTPs}}{{with .Asks}}, {{.}}{{end}}{{end}}}
limits: {per_address: off, registrations_per_address: off, per_agent: off, concurrent_per_address: 500}
log: {format: json, level: warn}
development: {allow_http: true, allow_private_hosts: true}
{{.Top}}`

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
	oauth := serve(leak.Of(t).Handler(p.provider))
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
	rules := on.older // "": those that follow from the scopes' names
	if strings.Contains(on.more, "per_user") {
		rules = "needed"
	}
	for i, home := range p.home {
		older, more := on.older, ""
		if i == 0 || older == "" {
			older, more = "", strings.ReplaceAll(on.more, "OAUTH", oauth)
		}
		values := map[string]string{
			"Rules": rules, "Older": older, "More": more,
			"Public": p.public, "Dir": home, "HTTP": https[i], "Admin": p.admin[i], "Store": on.yaml,
			"API": api, "OAuth": oauth, "Envoy": envoyListen, "Drain": cmp.Or(on.drain, "0s"),
			"Apps": on.apps, "Top": on.top, "GRPCs": list(grpcs[:known]), "HTTPs": list(https[:known]), "Consent": "direct", "Tokens": on.tokens, "Asks": on.asks,
		}
		if on.tokens != "" {
			values["Consent"] = "page"
		}
		if i == 0 {
			p.values = values
		}
		write(t, filepath.Join(home, "athd.yaml"), values)
		p.startAthd(i)
	}
	bootstrap, stderr, err := stage.Run(t, filepath.Join(dir, "a"), "bootstrap")
	if err != nil {
		t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
	}
	p.envoy = realenvoy.Start(t, []byte(bootstrap))
	t.Cleanup(p.findLeaks)
	return p
}

// findLeaks fails the test if a secret that passed through the pair stands in a
// log of its.
func (p *pair) findLeaks() {
	watch := leak.Of(p.t)
	watch.Secret("athd's client secret", clientSecret)
	watch.Secret("the operator's token", adminToken)
	places := map[string][]byte{"Envoy's log": []byte(p.envoy.Log()), "Envoy's access log": []byte(strings.Join(p.envoy.AccessLog(), "\n"))}
	for i, a := range p.athd {
		if i == 0 || p.older == "" {
			places["the log of "+p.home[i]] = []byte(a.Logs())
		}
	}
	watch.Check(p.t, places)
}

// beside starts one more athd on the same store, of which Envoy does not know, and
// returns the URL of its companion.
func (p *pair) beside(name string) string {
	p.t.Helper()
	home, at, admin := filepath.Join(filepath.Dir(p.home[0]), name), reserve.Addr(p.t), reserve.Addr(p.t)
	values := maps.Clone(p.values)
	values["Dir"], values["HTTP"], values["Admin"] = home, at, admin
	write(p.t, filepath.Join(home, "athd.yaml"), values)
	stage.StartAthd(p.t, home, admin)
	return "http://" + at
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
func (p *pair) look(t testing.TB) *tokenstore.Store { return p.lookWith(t, p.store.Keyset) }

func (p *pair) lookWith(t testing.TB, keys *tokenstore.Keyset) *tokenstore.Store {
	t.Helper()
	c := p.store
	c.Timeout, c.Keyset = 5*time.Second, keys
	s, err := tokenstore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// list writes texts as YAML.
func list(texts []string) string { return `["` + strings.Join(texts, `", "`) + `"]` }
