package replicas

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// A pair is two athd on one store, behind one Envoy, with a provider, an API
// and a host of identity documents.
type pair struct {
	*stage.Replicas
	t        testing.TB
	direct   [2]string // URLs of the companions themselves
	public   string    // URL of Envoy
	provider *provider
	site     *http.ServeMux
	sites    string
	store    tokenstore.Config // to look at what they stored
	older    string            // the second one's binary, as in [store]
	values   map[string]any    // of the first one's configuration
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

const configuration = `public_url: http://{{.Public}}
listen: {grpc: "{{.GRPC}}", http: "{{.HTTP}}", admin: "{{.Admin}}"}
store: { {{.Store}}, keyset_file: ../keyset.json}
apps:
- app_id: shop
  upstream: {{.API}}
  available_scopes: ["products:read", "cart:write"]
{{if .Rules}}  scope_rules: [{scope: "products:read", methods: [GET], paths: ["/api/**"]}]
{{end}}  oauth: {authorize_endpoint: "{{.OAuth}}/authorize", token_endpoint: "{{.OAuth}}/token", userinfo_endpoint: "{{.OAuth}}/userinfo", client_id: athd, client_secret: {{.Secret}}{{with .More}}, {{.}}{{end}}}
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
	p := &pair{Replicas: stage.NewReplicas(t, 2, 1), t: t, provider: newProvider(), site: http.NewServeMux(), store: on.settings, older: on.older}
	p.Client.Timeout = 5 * time.Second // no request may take longer
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	p.sites = serve(p.site)
	oauth := serve(leak.Of(t).Handler(p.provider))
	api := serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) }))
	p.public = "http://" + p.Public
	for i, at := range p.HTTP {
		p.direct[i] = "http://" + at
	}
	known := len(p.Home)
	if on.alone {
		known = 1
	}
	rules := on.older // "": those that follow from the scopes' names
	if strings.Contains(on.more, "per_user") {
		rules = "needed"
	}
	for i := range p.Home {
		older, more := on.older, ""
		if i == 0 || older == "" {
			older, more = "", strings.ReplaceAll(on.more, "OAUTH", oauth)
		}
		values := map[string]any{
			"Rules": rules, "Older": older, "More": more, "Store": on.yaml, "API": api, "OAuth": oauth, "Drain": cmp.Or(on.drain, "0s"),
			"Apps": on.apps, "Top": on.top, "GRPCs": stage.List(p.GRPC[:known]), "HTTPs": stage.List(p.HTTP[:known]), "Consent": "direct", "Tokens": on.tokens, "Asks": on.asks,
		}
		if on.tokens != "" {
			values["Consent"] = "page"
		}
		if i == 0 {
			p.values = values
		}
		p.Configure(i, configuration, values)
		p.start(i)
	}
	p.StartEnvoy(0)
	return p
}

// beside starts one more athd on the same store, of which Envoy does not know, and
// returns the URL of its companion.
func (p *pair) beside() string {
	p.t.Helper()
	i := p.Join()
	p.Configure(i, configuration, p.values)
	p.Start(i)
	return "http://" + p.HTTP[i]
}

// start starts one of the two, also after it has ended.
func (p *pair) start(i int) {
	p.t.Helper()
	if i == 1 && p.older != "" {
		p.StartOlder(i, p.older)
		return
	}
	p.Start(i)
}

// look opens the store from beside the two athd.
func (p *pair) look(t testing.TB) *tokenstore.Store { return p.lookWith(t, p.Keyset) }

func (p *pair) lookWith(t testing.TB, keys *tokenstore.Keyset) *tokenstore.Store {
	t.Helper()
	on := p.store
	on.Timeout, on.Keyset = 5*time.Second, keys
	return p.Open(t, on)
}
