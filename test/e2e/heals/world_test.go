// Package heals has APIs answer 401 to users' tokens: eight athd as they are built, on
// a real Redis, behind one real Envoy that runs what athd bootstrap printed.
package heals

import (
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

func TestMain(m *testing.M) { stage.Main(m) }

const agentID = "https://agents.example/travel.json"

// configuration has the API twice, by HTTP/1.1 and HTTP/2, and once without the key.
const configuration = `public_url: http://{{.Public}}
listen: {grpc: "{{.GRPC}}", http: "{{.HTTP}}", admin: "{{.Admin}}"}
store: {url: "{{.Store}}", keyset_file: ../keyset.json, timeout: 900ms}
apps:
{{range .Apps}}- app_id: {{.ID}}
  hosts: ["{{.ID}}.example"]
  upstream: {{.Upstream}}
  unauthenticated: passthrough
  available_scopes: [things:read, things:write]
  oauth: {authorize_endpoint: "{{$.OAuth}}/authorize", token_endpoint: "{{$.OAuth}}/token", userinfo_endpoint: "{{$.OAuth}}/userinfo", client_id: athd, client_secret: {{$.Secret}}, retry_on_401: {{.Retries}}}
  scope_rules:
  - {scope: things:read, methods: [GET, HEAD], paths: [/**], upgrade: [websocket]}
  - {scope: things:write, methods: [POST, PUT, DELETE], paths: [/**]}
{{end}}approval: {default: approve}
admin: {tokens: [{name: ops, token_file: ../admin.token, role: admin}]}
egress: {allow: [{{range .Ports}}{addresses: 127.0.0.0/8, port: {{.}}, http: true}, {{end}}]}
limits: {per_address: off, per_agent: off, provider_changes: off}
envoy: {listen: "{{.Envoy}}", admin: "127.0.0.1:0", ca_file: "{{.CA}}", athd_grpc: {{.GRPCs}}, athd_http: {{.HTTPs}}{{range .More}}, {{.}}{{end}}}
drain_delay: 0s
log: {format: json, level: warn}
development: {allow_http: true, allow_private_hosts: true}
`

// A world is some athd on one Redis behind one Envoy, and what stands around them.
type world struct {
	*stage.Replicas
	t     *testing.T
	api   *api
	oauth *oauth
	store *tokenstore.Store
	agent tokenstore.Agent
}

// newWorld starts athds athd; more are keys of envoy.
func newWorld(t *testing.T, athds int, more ...string) *world {
	t.Helper()
	w := &world{Replicas: stage.NewReplicas(t, athds, 1), t: t, oauth: newOAuth(t)}
	w.api = newAPI(t, w.oauth)
	redis := realredis.Start(t)
	w.store = w.Open(t, tokenstore.Config{URL: redis.URL()})
	values := map[string]any{
		"Store": redis.URL(), "CA": realenvoy.NewAuthority(t).CAFile, "OAuth": w.oauth.URL, "More": more,
		"Ports": []string{port(w.api.addr), port(w.oauth.Listener.Addr().String())},
		"Apps": []map[string]any{
			{"ID": "one", "Upstream": "http://" + w.api.addr, "Retries": true},
			{"ID": "two", "Upstream": "h2c://" + w.api.addr, "Retries": true},
			{"ID": "own", "Upstream": "http://" + w.api.addr, "Retries": false},
		},
	}
	for i := range athds {
		w.Configure(i, configuration, values)
		w.Start(i)
	}
	w.StartEnvoy(0)
	w.agent = stage.RegisteredAgent(agentID, ath.Scopes{"things:read", "things:write"}, "one", "two", "own", "late")
	if err := w.store.CreateAgent(t.Context(), w.agent); err != nil {
		t.Fatal(err)
	}
	return w
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// A user is one connection, and the ATH token by which an agent uses it.
type user struct {
	provider string
	token    ath.Token
	ref      tokenstore.ConnectionRef
	first    tokenstore.Connection
}

// connect stores a user's grant, whose access token nobody but the API finds ended.
func (w *world) connect(provider string, change ...func(*tokenstore.Connection)) *user {
	w.t.Helper()
	access, refresh := w.oauth.grant()
	c := stage.NewConsent(w.agent, provider, w.oauth.URL+"/token athd http://"+w.api.addr)
	c.Connection.Access, c.Connection.Refresh, c.Connection.Expires = ath.NewSecret(access), ath.NewSecret(refresh), time.Now().Add(time.Hour)
	for _, f := range change {
		f(&c.Connection)
	}
	if err := c.Put(w.t, w.store); err != nil {
		w.t.Fatal(err)
	}
	return &user{provider, c.Token, c.Ref(), c.Connection}
}

// stored reads the connection.
func (w *world) stored(u *user) tokenstore.Connection {
	w.t.Helper()
	state, err := w.store.RefreshState(w.t.Context(), u.ref)
	if err != nil {
		w.t.Fatal(err)
	}
	return state.Connection
}

// A reply is what the agent sees.
type reply struct {
	status  int
	body    string
	header  http.Header
	trailer http.Header
}

// call is one of the agent's. A nil user is a person, without a token.
func (w *world) call(method, provider, path, body string, u *user) reply {
	w.t.Helper()
	to, host := "http://"+w.At[0]+path, provider+".example"
	if provider == "late" {
		to, host = "http://"+w.At[0]+"/ath/proxy/late"+path, w.At[0]
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, to, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Host = host
	if u != nil {
		req.Header.Set("Authorization", "Bearer "+u.token.Secret().Reveal())
		req.Header.Set("X-ATH-Agent-ID", agentID)
	}
	resp, err := w.Client.Do(req)
	if err != nil {
		w.t.Error(err)
		return reply{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Error(err)
	}
	return reply{resp.StatusCode, string(text), resp.Header, resp.Trailer}
}

func (w *world) get(path string, u *user) reply {
	return w.call(http.MethodGet, u.provider, path, "", u)
}

// admin sends an operator's request.
func (w *world) admin(method, path string, body any) {
	w.t.Helper()
	if err := stage.Done(w.Operate(0, method, path, body)); err != nil {
		w.t.Fatal(err)
	}
}
