// Package heals has APIs answer 401 to users' tokens: eight athd as they are built, on
// a real Redis, behind one real Envoy that runs what athd bootstrap printed.
package heals

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
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

func TestMain(m *testing.M) { stage.Main(m) }

const (
	agentID = "https://agents.example/travel.json"
	secret  = "client-secret-of-athd-0123456789"
)

var adminToken = rand.Text() + rand.Text()

// configuration has the API twice, by HTTP/1.1 and HTTP/2, and once without the key.
const configuration = `public_url: http://%[1]s
listen: {grpc: "unix:%[2]s/authz.sock", http: "%[3]s", admin: "%[4]s"}
store: {url: "%[5]s", keyset_file: ../keyset.json, timeout: 900ms}
apps:
%[6]sapproval: {default: approve}
admin: {tokens: [{name: ops, token_file: ../admin.token, role: admin}]}
egress: {allow: [{addresses: 127.0.0.0/8, port: %[7]s, http: true}, {addresses: 127.0.0.0/8, port: %[8]s, http: true}]}
limits: {per_address: off, per_agent: off, provider_changes: off}
envoy: {listen: "%[1]s", admin: "127.0.0.1:0", ca_file: "%[9]s", athd_grpc: %[10]s, athd_http: %[11]s%[12]s}
drain_delay: 0s
log: {format: json, level: warn}
development: {allow_http: true, allow_private_hosts: true}
`

const app = `- app_id: %[1]s
  hosts: ["%[1]s.example"]
  upstream: %[2]s://%[3]s
  unauthenticated: passthrough
  available_scopes: [things:read, things:write]
  oauth: {authorize_endpoint: "%[4]s/authorize", token_endpoint: "%[4]s/token", userinfo_endpoint: "%[4]s/userinfo", client_id: athd, client_secret: %[5]s, retry_on_401: %[6]t}
  scope_rules:
  - {scope: things:read, methods: [GET, HEAD], paths: [/**], upgrade: [websocket]}
  - {scope: things:write, methods: [POST, PUT, DELETE], paths: [/**]}
`

// A world is some athd, and what stands around them.
type world struct {
	t     *testing.T
	api   *api
	oauth *oauth
	athd  []*stage.Athd
	envoy *realenvoy.Envoy
	redis *realredis.Server
	store *tokenstore.Store
	at    string // Envoy's host:port
	http  *http.Client
	agent tokenstore.Agent
}

// newWorld starts athds athd; more are keys of envoy.
func newWorld(t *testing.T, athds int, more ...string) *world {
	t.Helper()
	stage.Binary(t)
	dir, err := os.MkdirTemp("", "athd-heals-") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{t: t, redis: realredis.Start(t), oauth: newOAuth(t), at: reserve.Addr(t)}
	w.api = newAPI(t, w.oauth)
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	w.http = &http.Client{Transport: transport, Timeout: time.Minute}
	if _, stderr, err := stage.Run(t, dir, "keys", "new", "-o", "keyset.json"); err != nil {
		t.Fatalf("athd keys new: %v\n%s", err, stderr)
	}
	if err := os.WriteFile(filepath.Join(dir, "admin.token"), []byte(adminToken), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokenstore.ParseKeyset(text)
	if err != nil {
		t.Fatal(err)
	}
	if w.store, err = tokenstore.Open(tokenstore.Config{URL: w.redis.URL(), Keyset: keys, Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })

	homes, sockets, companions, admins := make([]string, athds), make([]string, athds), make([]string, athds), make([]string, athds)
	for i := range athds {
		homes[i] = filepath.Join(dir, fmt.Sprint(i))
		sockets[i], companions[i], admins[i] = "unix:"+homes[i]+"/authz.sock", reserve.Addr(t), reserve.Addr(t)
	}
	apps := fmt.Sprintf(app, "one", "http", w.api.addr, w.oauth.URL, secret, true) + fmt.Sprintf(app, "two", "h2c", w.api.addr, w.oauth.URL, secret, true) +
		fmt.Sprintf(app, "own", "http", w.api.addr, w.oauth.URL, secret, false)
	for i, home := range homes {
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		file := fmt.Sprintf(configuration, w.at, home, companions[i], admins[i], w.redis.URL(), apps, port(w.api.addr), port(w.oauth.Listener.Addr().String()),
			realenvoy.NewAuthority(t).CAFile, list(sockets), list(companions), strings.Join(append([]string{""}, more...), ", "))
		if err := os.WriteFile(filepath.Join(home, "athd.yaml"), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		w.athd = append(w.athd, stage.StartAthd(t, home, admins[i]))
	}
	bootstrap, stderr, err := stage.Run(t, homes[0], "bootstrap")
	if err != nil {
		t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
	}
	w.envoy = realenvoy.Start(t, []byte(bootstrap))
	id, err := ath.ParseAgentID(agentID, false)
	if err != nil {
		t.Fatal(err)
	}
	w.agent = tokenstore.Agent{ID: agentID, ClientID: ath.NewClientID(id).String(), ApprovalExpires: time.Now().Add(time.Hour), Registered: time.Now()}
	for _, provider := range []string{"one", "two", "own", "late"} {
		w.agent.Approvals = append(w.agent.Approvals, tokenstore.Approval{Provider: provider, Approved: ath.Scopes{"things:read", "things:write"}})
	}
	if err := w.store.CreateAgent(t.Context(), w.agent); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.findLeaks)
	return w
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

func list(of []string) string {
	text, _ := json.Marshal(of)
	return string(text)
}

// findLeaks fails the test if a secret that passed through stands in a log.
func (w *world) findLeaks() {
	watch, places := leak.Of(w.t), map[string][]byte{"Envoy's log": []byte(w.envoy.Log()), "the access log": []byte(strings.Join(w.envoy.AccessLog(), "\n"))}
	watch.Secret("athd's client secret", secret)
	for _, token := range w.oauth.all() {
		watch.Secret("a user's token", token)
	}
	for i, a := range w.athd {
		places[fmt.Sprintf("the log of athd %d", i)] = []byte(a.Logs())
	}
	watch.Check(w.t, places)
}

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
	now := time.Now()
	access, refresh := w.oauth.grant()
	u := &user{provider: provider, token: ath.NewToken(ath.NewTag())}
	u.first = tokenstore.Connection{
		Agent: agentID, User: "user-" + rand.Text(), Provider: provider, Access: ath.NewSecret(access), Refresh: ath.NewSecret(refresh),
		Expires: now.Add(time.Hour), Created: now, Scopes: ath.Scopes{"things:read", "things:write"},
		Destination: w.oauth.URL + "/token athd http://" + w.api.addr,
	}
	for _, f := range change {
		f(&u.first)
	}
	leak.Of(w.t).Secret("an agent's token", u.token.Secret().Reveal())
	u.ref = tokenstore.ConnectionRef{Tag: u.token.Tag(), Agent: agentID, User: u.first.User, Provider: provider}
	if err := w.store.PutConnection(w.t.Context(), u.ref.Tag, u.first, now.Add(time.Hour)); err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.PutGrant(w.t.Context(), u.token, tokenstore.Grant{
		Agent: agentID, ClientID: w.agent.ClientID, User: u.first.User, Provider: provider, Scopes: u.first.Scopes,
		Connection: u.ref.Tag, Issued: now, Expires: now.Add(time.Hour),
	}); err != nil {
		w.t.Fatal(err)
	}
	return u
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
	to, host := "http://"+w.at+path, provider+".example"
	if provider == "late" {
		to, host = "http://"+w.at+"/ath/proxy/late"+path, w.at
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
	resp, err := w.http.Do(req)
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
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.at+path, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Ath-User-Token", adminToken)
	resp, err := w.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode > 299 {
		w.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
}
