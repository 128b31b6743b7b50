package replies

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// adminToken is an operator's, one for all worlds.
var adminToken = rand.Text() + rand.Text()

const (
	clientSecret = "client-secret-of-athd-0123456789"
	userToken    = "gho_16C7e42F292c6912E7710c838347Ae178B4a"
	openHost     = "open.example"
)

const configuration = `public_url: http://{{.Public}}
listen: {grpc: "unix:{{.Dir}}/authz.sock", http: "{{.HTTP}}", admin: "{{.Admin}}"}
store: {url: "{{.Store}}", keyset_file: ../keyset.json, timeout: 900ms}
providers_file: ../providers.json
apps:
- app_id: open
  hosts: ["` + openHost + `"]
  upstream: http://{{.Plain}}
  available_scopes: ["all"]
  unauthenticated: passthrough
  oauth: {authorize_endpoint: "https://login.example/authorize", token_endpoint: "https://login.example/token", client_id: athd, client_secret: {{.Secret}}}
  scope_rules: [{scope: "all", methods: [GET], paths: [/**]}]
approval: {default: approve}
admin: {tokens: [{name: ops, token_file: ../admin.token, role: admin}]}
egress: {allow: [{addresses: 127.0.0.0/8, port: {{.Port}}}]}
limits: {per_address: off, concurrent_per_address: 500{{with .Limits}}, {{.}}{{end}}}
envoy: {listen: "{{.Envoy}}", admin: "127.0.0.1:0", ca_file: "{{.CA}}"{{with .EnvoyMore}}, {{.}}{{end}}}
drain_delay: 0s
log: {format: json, level: info}
development: {allow_http: true, allow_private_hosts: true}
`

// providers has the API over TLS, and without.
const providers = `{
"gate": {"display_name": "Gate", "available_scopes": ["all"], "authorize_endpoint": "https://login.example/authorize", "token_endpoint": "https://login.example/token",
 "api_base_url": "https://{{.TLS}}/v1", "client_id": "athd", "client_secret": "{{.Secret}}"{{if .Rewrites}}, "rewrite_links": true{{end}},
 "scope_rules": [{"scope": "all", "methods": ["GET"], "paths": ["/**"]}]},
"plain": {"display_name": "Plain", "available_scopes": ["all"], "authorize_endpoint": "https://login.example/authorize", "token_endpoint": "https://login.example/token",
 "api_base_url": "http://{{.Plain}}/v1", "client_id": "athd", "client_secret": "{{.Secret}}",
 "scope_rules": [{"scope": "all", "methods": ["GET"], "paths": ["/**"]}, {"scope": "all", "methods": ["GET"], "paths": ["/socket"], "upgrade": ["websocket"]}]}}`

// A setup says in what a world differs from another.
type setup struct {
	envoy    string // more keys of envoy:
	limits   string // more keys of limits:
	rewrites bool   // links of gate, and of tools
}

// A world is two athd on one Redis, each behind an Envoy of its own. Both have one
// public_url, as replicas behind a load balancer do.
type world struct {
	t      testing.TB
	dir    string
	admin  [2]string // host:port
	athd   [2]*stage.Athd
	envoy  [2]*realenvoy.Envoy
	at     [2]string // host:port of the Envoys
	plain  *api      // HTTP/1.1
	tls    *api      // HTTP/2 behind TLS
	redis  *realredis.Server
	store  *tokenstore.Store // from beside
	client *http.Client      // of HTTP/1.1
	two    *http.Client      // of HTTP/2, which has trailers through Envoy
	home   [2]string
}

func newWorld(t testing.TB, with setup) *world {
	t.Helper()
	stage.Binary(t)                               // built now: what follows has deadlines
	dir, err := os.MkdirTemp("", "athd-replies-") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	by := &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}
	t.Cleanup(by.CloseIdleConnections)
	w := &world{t: t, dir: dir, redis: realredis.Start(t), client: &http.Client{
		Transport: by, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	second := &http.Transport{Protocols: &h2c}
	t.Cleanup(second.CloseIdleConnections)
	w.two = &http.Client{Transport: second, Timeout: patience}
	authority := realenvoy.NewAuthority(t)
	cert := authority.Certificate("127.0.0.1")
	w.plain, w.tls = startAPI(t, nil), startAPI(t, &cert)
	_, port, _ := strings.Cut(w.tls.addr, ":")

	if _, stderr, err := stage.Run(t, dir, "keys", "new", "-o", "keyset.json"); err != nil {
		t.Fatalf("athd keys new: %v\n%s", err, stderr)
	}
	w.at = [2]string{reserve.Addr(t), reserve.Addr(t)}
	values := map[string]any{
		"Public": w.at[0], "Store": w.redis.URL(), "Secret": clientSecret, "CA": authority.CAFile, "Port": port, "TLS": w.tls.addr, "Plain": w.plain.addr,
		"EnvoyMore": with.envoy, "Limits": with.limits, "Rewrites": with.rewrites,
	}
	write(t, filepath.Join(dir, "admin.token"), adminToken, nil)
	write(t, filepath.Join(dir, "providers.json"), providers, values)
	w.store = w.open()
	for i, name := range []string{"a", "b"} {
		w.home[i] = filepath.Join(dir, name)
		w.admin[i] = reserve.Addr(t)
		if err := os.Mkdir(w.home[i], 0o700); err != nil {
			t.Fatal(err)
		}
		values["Dir"], values["HTTP"], values["Admin"], values["Envoy"] = w.home[i], reserve.Addr(t), w.admin[i], w.at[i]
		write(t, filepath.Join(w.home[i], "athd.yaml"), configuration, values)
		w.athd[i] = stage.StartAthd(t, w.home[i], w.admin[i])
		bootstrap, stderr, err := stage.Run(t, w.home[i], "bootstrap")
		if err != nil {
			t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
		}
		w.envoy[i] = realenvoy.Start(t, []byte(bootstrap))
	}
	t.Cleanup(w.findLeaks)
	return w
}

// addTools adds the API over TLS once more, while everything runs.
func (w *world) addTools(rewrites bool) {
	w.t.Helper()
	body := fmt.Sprintf(`{"provider_id": "tools", "display_name": "Tools", "available_scopes": ["all"], "authorize_endpoint": "https://login.example/authorize",
		"token_endpoint": "https://login.example/token", "api_base_url": "https://%s/v1", "client_id": "athd", "client_secret": %q, "rewrite_links": %v,
		"scope_rules": [{"scope": "all", "methods": ["GET"], "paths": ["/**"]}]}`, w.tls.addr, clientSecret, rewrites)
	status, answer := w.operate(http.MethodPost, "/ath/admin/providers", body)
	if status/100 != 2 {
		w.t.Fatalf("%d %s", status, answer)
	}
}

func (w *world) operate(method, path, body string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.at[0]+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Ath-User-Token", adminToken)
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(answer)
}

// An agent has one token for one provider.
type agent struct {
	id, provider string
	token        ath.Token
}

// hold stores what a handshake leaves behind.
func (w *world) hold(provider string, life time.Duration) agent {
	w.t.Helper()
	ctx, now := w.t.Context(), time.Now()
	a := agent{id: "https://agents.example/" + string(ath.NewTag()) + ".json", provider: provider, token: ath.NewToken(ath.NewTag())}
	client, user := ath.NewClientIDOf(ath.AgentTag(a.id)).String(), "user-"+string(ath.NewTag())
	leak.Of(w.t).Secret("an agent's token", a.token.Secret().Reveal())
	to := map[string]string{"gate": "https://" + w.tls.addr, "tools": "https://" + w.tls.addr, "plain": "http://" + w.plain.addr, "open": "http://" + w.plain.addr}[provider]
	err := w.store.CreateAgent(ctx, tokenstore.Agent{
		ID: a.id, ClientID: client, SecretDigest: ath.DigestOf("x"), Name: "An agent", Developer: tokenstore.Developer{Name: "Agents Inc.", ID: "https://agents.example"},
		Approvals: []tokenstore.Approval{{Provider: provider, Approved: ath.Scopes{"all"}}}, ApprovalExpires: now.Add(24 * time.Hour), Registered: now,
	})
	if err == nil {
		err = w.store.PutConnection(ctx, a.token.Tag(), tokenstore.Connection{
			Agent: a.id, User: user, Provider: provider, Access: ath.NewSecret(userToken), Scopes: ath.Scopes{"all"}, Created: now,
			Destination: "https://login.example/token athd " + to,
		}, now.Add(time.Hour))
	}
	if err == nil {
		err = w.store.PutGrant(ctx, a.token, tokenstore.Grant{
			Agent: a.id, ClientID: client, User: user, Provider: provider, Scopes: ath.Scopes{"all"}, Connection: a.token.Tag(), Issued: now, Expires: now.Add(life),
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// A reply is what an agent got.
type reply struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	reason  string // of a refusal
}

// request is one of the agent's; native where its provider is an app.
func (w *world) request(envoy int, a agent, path string) *http.Request {
	w.t.Helper()
	url := "http://" + w.at[envoy] + ath.ProxyPath + a.provider + path
	if a.provider == "open" {
		url = "http://" + w.at[envoy] + path
	}
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if a.provider == "open" {
		req.Host = openHost
	}
	if a.id != "" {
		req.Header.Set("Authorization", "Bearer "+a.token.Secret().Reveal())
		req.Header.Set("X-ATH-Agent-ID", a.id)
	}
	return req
}

func (w *world) call(envoy int, a agent, path string) reply {
	w.t.Helper()
	got, err := w.do(w.request(envoy, a, path))
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) do(req *http.Request) (reply, error) { return by(w.client, req) }

func by(c *http.Client, req *http.Request) (reply, error) {
	resp, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	got := reply{status: resp.StatusCode, header: resp.Header, trailer: resp.Trailer, body: string(body)}
	var refusal struct{ Code string }
	if json.Unmarshal(body, &refusal) == nil {
		got.reason = refusal.Code
	}
	return got, err
}

// metric is the sum of what both athd, or one, count.
func (w *world) metric(athd int, name string) (sum float64) {
	w.t.Helper()
	resp, err := w.client.Get("http://" + w.admin[athd] + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, name+" "); found {
			var n float64
			fmt.Sscan(rest, &n)
			sum += n
		}
	}
	return sum
}

// open opens the store from beside the two athd.
func (w *world) open() *tokenstore.Store {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "keyset.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	keys, err := tokenstore.ParseKeyset(text)
	if err != nil {
		w.t.Fatal(err)
	}
	store, err := tokenstore.Open(tokenstore.Config{URL: w.redis.URL(), Keyset: keys, Timeout: 10 * time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { store.Close() })
	return store
}

// findLeaks fails the test if a secret stands in a log.
func (w *world) findLeaks() {
	watch := leak.Of(w.t)
	watch.Secret("athd's client secret", clientSecret)
	watch.Secret("the operator's token", adminToken)
	watch.Secret("the user's token", userToken)
	places := map[string][]byte{}
	for i := range w.athd {
		places[fmt.Sprintf("the log of athd %d", i)] = []byte(w.athd[i].Logs())
		places[fmt.Sprintf("the log of Envoy %d", i)] = []byte(w.envoy[i].Log())
		places[fmt.Sprintf("the access log of Envoy %d", i)] = []byte(strings.Join(w.envoy[i].AccessLog(), "\n"))
	}
	watch.Check(w.t, places)
}

func write(t testing.TB, path, text string, values map[string]any) {
	t.Helper()
	var b bytes.Buffer
	if err := template.Must(template.New("").Option("missingkey=error").Parse(text)).Execute(&b, values); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
