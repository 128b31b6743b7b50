package days

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/oauthservers"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
)

const adminToken = "operator-Vt8rZq2LmX5cWk9YpN4hJs7DgB1fTxR6uEoA"

// A fleet is two athd as built on one redis-server, behind one Envoy, with an OAuth
// server that rotates refresh tokens and ends those that nobody uses for seven days,
// and an API that asks it about each token.
type fleet struct {
	t      *testing.T
	scale  scale
	dir    string
	public string
	oauth  *oauthservers.Server
	site   *http.ServeMux
	sites  string
	http   *http.Client
}

// unusedDays is after how many days the OAuth server ends an unused refresh token.
const unusedDays = 7

const configuration = `public_url: %[1]s
listen: {grpc: "unix:%[2]s/authz.sock", http: "%[3]s", admin: "%[4]s"}
store: {url: "%[5]s", keyset_file: ../keyset.json, timeout: 900ms}
providers_file: ../providers.json
approval: {default: approve}
admin: {tokens: [{name: tests, token_file: ../admin.token, role: admin}]}
tokens: {ttl: %[6]s, renewal: {max: %[7]s, idle: %[8]s}}
drain_delay: 0s
envoy: {listen: "%[9]s", admin: "127.0.0.1:0", athd_grpc: %[10]s, athd_http: %[11]s}
limits: {per_address: off, registrations_per_address: off, per_agent: off, concurrent_per_address: 500}
log: {format: json, level: warn}
development: {allow_http: true, allow_private_hosts: true}
`

func newFleet(t *testing.T, s scale) *fleet {
	t.Helper()
	dir, err := os.MkdirTemp("", "athd-days-") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &fleet{t: t, scale: s, dir: dir, site: http.NewServeMux(), http: &http.Client{Timeout: 10 * time.Second}}
	listen := reserve.Addr(t)
	f.public = "http://" + listen
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
	f.write("providers.json", string(text))
	f.write("admin.token", adminToken+"\n")
	if _, stderr, err := stage.Run(t, dir, "keys", "new", "-o", "keyset.json"); err != nil {
		t.Fatalf("athd keys new: %v\n%s", err, stderr)
	}
	redis := realredis.Start(t)
	var homes, grpcs, https []string
	for _, name := range []string{"a", "b"} {
		home := filepath.Join(dir, name)
		homes, grpcs, https = append(homes, home), append(grpcs, "unix:"+filepath.Join(home, "authz.sock")), append(https, reserve.Addr(t))
	}
	for i, home := range homes {
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		admin := reserve.Addr(t)
		f.write(filepath.Join(filepath.Base(home), "athd.yaml"), fmt.Sprintf(configuration, f.public, home, https[i], admin, redis.URL(),
			s.hour, 90*s.day(), 30*s.day(), listen, list(grpcs), list(https)))
		stage.StartAthd(t, home, admin)
	}
	bootstrap, stderr, err := stage.Run(t, homes[0], "bootstrap")
	if err != nil {
		t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
	}
	realenvoy.Start(t, []byte(bootstrap))
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
	reply, err := f.http.Do(asked)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	reply.Body.Close()
	w.WriteHeader(reply.StatusCode)
}

func (f *fleet) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// list writes texts as YAML.
func list(texts []string) string { return `["` + strings.Join(texts, `", "`) + `"]` }
