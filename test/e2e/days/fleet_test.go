package days

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/oauthservers"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/stage"
)

// A fleet is two athd as built on one redis-server, behind one Envoy, with an OAuth
// server that rotates refresh tokens and ends those that nobody uses for seven days,
// and an API that asks it about each token.
type fleet struct {
	*stage.Replicas
	t      *testing.T
	scale  scale
	public string // URL
	oauth  *oauthservers.Server
	site   *http.ServeMux
	sites  string
}

// unusedDays is after how many days the OAuth server ends an unused refresh token.
const unusedDays = 7

const configuration = `public_url: http://{{.Public}}
listen: {grpc: "{{.GRPC}}", http: "{{.HTTP}}", admin: "{{.Admin}}"}
store: {url: "{{.Store}}", keyset_file: ../keyset.json, timeout: 900ms}
providers_file: ../providers.json
approval: {default: approve}
admin: {tokens: [{name: tests, token_file: ../admin.token, role: admin}]}
tokens: {ttl: {{.Hour}}, renewal: {max: {{.Max}}, idle: {{.Idle}}}}
drain_delay: 0s
envoy: {listen: "{{.Envoy}}", admin: "127.0.0.1:0", athd_grpc: {{.GRPCs}}, athd_http: {{.HTTPs}}}
limits: {per_address: off, registrations_per_address: off, per_agent: off, concurrent_per_address: 500}
log: {format: json, level: warn}
development: {allow_http: true, allow_private_hosts: true}
`

func newFleet(t *testing.T, s scale) *fleet {
	t.Helper()
	f := &fleet{Replicas: stage.NewReplicas(t, 2, 1), t: t, scale: s, site: http.NewServeMux()}
	f.public = "http://" + f.Public
	seconds := func(d time.Duration) int { return int(d / time.Second) }
	f.oauth = oauthservers.StartWith(t, "oidc-provider", oauthservers.Lives{Access: seconds(s.hour) + 1, Told: seconds(s.hour), Unused: seconds(unusedDays * s.day())}, f.public+ath.CallbackPath)
	sites := httptest.NewServer(f.site)
	t.Cleanup(sites.Close)
	f.sites = sites.URL
	api := stage.StartUpstream(t, nil)
	api.Serve("/products", f.products)
	fields := f.oauth.Fields(api.URL)
	fields["refresh_idle"] = (unusedDays * s.day()).String()
	text, err := json.Marshal(map[string]any{"shop": fields})
	if err != nil {
		t.Fatal(err)
	}
	f.Write("providers.json", string(text), nil)
	redis := realredis.Start(t)
	for i := range f.Athd {
		f.Configure(i, configuration, map[string]any{"Store": redis.URL(), "Hour": s.hour, "Max": 90 * s.day(), "Idle": 30 * s.day()})
		f.Start(i)
	}
	f.StartEnvoy(0)
	return f
}

// products is the API: it takes what the OAuth server takes.
func (f *fleet) products(w http.ResponseWriter, r *http.Request) {
	asked, err := http.NewRequestWithContext(r.Context(), http.MethodGet, f.oauth.Proxy.URL+"/me", nil)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	asked.Header.Set("Authorization", r.Header.Get("Authorization"))
	reply, err := f.Client.Do(asked)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	reply.Body.Close()
	w.WriteHeader(reply.StatusCode)
}
