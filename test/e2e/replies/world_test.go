package replies

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

const openHost = "open.example"

const configuration = `public_url: http://{{.Public}}
listen: {grpc: "{{.GRPC}}", http: "{{.HTTP}}", admin: "{{.Admin}}"}
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

// A world is two athd on one Redis, each behind an Envoy of its own.
type world struct {
	*stage.Replicas
	t     testing.TB
	plain *api // HTTP/1.1
	tls   *api // HTTP/2 behind TLS
	store *tokenstore.Store
	two   *http.Client // of HTTP/2, where Client is of HTTP/1.1: it has trailers through Envoy
}

func newWorld(t testing.TB, with setup) *world {
	t.Helper()
	w := &world{Replicas: stage.NewReplicas(t, 2, 2), t: t}
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	second := &http.Transport{Protocols: &h2c}
	t.Cleanup(second.CloseIdleConnections)
	w.two = &http.Client{Transport: second, Timeout: patience}
	authority := realenvoy.NewAuthority(t)
	cert := authority.Certificate("127.0.0.1")
	w.plain, w.tls = startAPI(t, nil), startAPI(t, &cert)
	_, port, _ := strings.Cut(w.tls.addr, ":")
	redis := realredis.Start(t)
	w.store = w.Open(t, tokenstore.Config{URL: redis.URL()})

	w.Write("providers.json", providers, map[string]any{"TLS": w.tls.addr, "Plain": w.plain.addr, "Secret": stage.Secret, "Rewrites": with.rewrites})
	for i := range w.Athd {
		w.Configure(i, configuration, map[string]any{
			"Store": redis.URL(), "CA": authority.CAFile, "Port": port, "Plain": w.plain.addr, "EnvoyMore": with.envoy, "Limits": with.limits,
		})
		w.Start(i)
		w.StartEnvoy(i)
	}
	return w
}

// addTools adds the API over TLS once more, while everything runs.
func (w *world) addTools(rewrites bool) {
	w.t.Helper()
	if err := stage.Done(w.Operate(0, http.MethodPost, ath.AdminProvidersPath, tools("https://"+w.tls.addr+"/v1", rewrites))); err != nil {
		w.t.Fatal(err)
	}
}

// tools is a provider as an operator adds it.
func tools(base string, rewrites bool) map[string]any {
	return map[string]any{
		"provider_id": "tools", "display_name": "Tools", "available_scopes": []string{"all"},
		"authorize_endpoint": "https://login.example/authorize", "token_endpoint": "https://login.example/token",
		"api_base_url": base, "client_id": "athd", "client_secret": stage.Secret, "rewrite_links": rewrites,
		"scope_rules": []any{map[string]any{"scope": "all", "methods": []string{"GET"}, "paths": []string{"/**"}}},
	}
}

// An agent has one token for one provider.
type agent struct {
	id, provider string
	token        ath.Token
}

// hold stores what a handshake leaves behind.
func (w *world) hold(provider string, life time.Duration) agent {
	w.t.Helper()
	of := stage.RegisteredAgent("https://agents.example/"+string(ath.NewTag())+".json", ath.Scopes{"all"}, provider)
	to := map[string]string{"gate": "https://" + w.tls.addr, "tools": "https://" + w.tls.addr, "plain": "http://" + w.plain.addr, "open": "http://" + w.plain.addr}[provider]
	c := stage.NewConsent(of, provider, "https://login.example/token athd "+to)
	c.Grant.Expires = c.Grant.Issued.Add(life)
	err := w.store.CreateAgent(w.t.Context(), of)
	if err == nil {
		err = c.Put(w.t, w.store)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return agent{of.ID, provider, c.Token}
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
	url := "http://" + w.At[envoy] + ath.ProxyPath + a.provider + path
	if a.provider == "open" {
		url = "http://" + w.At[envoy] + path
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

func (w *world) do(req *http.Request) (reply, error) { return by(w.Client, req) }

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

// metric is what an athd counts.
func (w *world) metric(athd int, name string) (n float64) {
	w.t.Helper()
	status, text := w.Athd[athd].Get("/metrics")
	if status != http.StatusOK {
		w.t.Fatalf("/metrics answers %d", status)
	}
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, name+" "); found {
			fmt.Sscan(rest, &n)
		}
	}
	return n
}
