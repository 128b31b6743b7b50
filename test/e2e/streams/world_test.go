package streams

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/streams"
	"github.com/athd/athd/tokenstore"
)

// adminToken is an operator's, one for all worlds.
var adminToken = rand.Text() + rand.Text()

const (
	clientSecret = "client-secret-of-athd-0123456789"
	userToken    = "gho_16C7e42F292c6912E7710c838347Ae178B4a"
)

// configuration has the API twice, as an app that speaks HTTP/1.1 and as one that
// speaks HTTP/2, each on a host of its own.
const configuration = `public_url: http://{{.Public}}
listen: {grpc: "unix:{{.Dir}}/authz.sock", http: "{{.HTTP}}", admin: "{{.Admin}}"}
store: {url: "{{.Store}}", keyset_file: ../keyset.json, timeout: 900ms}
providers_file: ../providers.json
apps:
{{range .Apps}}- app_id: {{.ID}}
  hosts: ["{{.Host}}"]
  upstream: {{.Upstream}}
  available_scopes: [streams:read, streams:write, streams:other]
  oauth: {authorize_endpoint: "https://login.example/authorize", token_endpoint: "https://login.example/token", client_id: athd, client_secret: {{$.Secret}}}
  scope_rules:
  - {scope: streams:read, methods: [GET], paths: [/**]}
  - {scope: streams:read, methods: [GET], paths: [/socket], upgrade: [websocket]}
  - {scope: streams:write, methods: [POST], paths: [/**]}
  - {scope: streams:other, methods: [DELETE], paths: [/other]}
{{end}}approval:
  default: approve
tokens: {renewal: {max: 90d, idle: 30d}}
admin: {tokens: [{name: ops, token_file: ../admin.token, role: admin}]}
egress: {allow: [{addresses: 127.0.0.0/8, port: {{.Port}}}]}
limits: {per_address: off, registrations_per_address: off, per_agent: off, concurrent_per_address: 500, provider_changes: off{{with .Limits}}, {{.}}{{end}}}
envoy: {listen: "{{.Envoy}}", admin: "127.0.0.1:0", ca_file: "{{.CA}}"{{with .EnvoyMore}}, {{.}}{{end}}}
drain_delay: {{.Drain}}
log: {format: json, level: {{.Level}}}
development: {allow_http: true, allow_private_hosts: true}
{{.Top}}`

// providers is the same API once more, over TLS and in gateway mode.
const providers = `{"gate": {"display_name": "Gate", "available_scopes": ["streams:read", "streams:write"],
"authorize_endpoint": "https://login.example/authorize", "token_endpoint": "https://login.example/token",
"api_base_url": "https://{{.TLS}}", "client_id": "athd", "client_secret": "{{.Secret}}",
"scope_rules": [{"scope": "streams:read", "methods": ["GET"], "paths": ["/**"]}, {"scope": "streams:write", "methods": ["POST"], "paths": ["/**"]}]}}`

// A setup says in what a world differs from another.
type setup struct {
	envoy  string // more keys of envoy:
	limits string // more keys of limits:
	drain  string // drain_delay; "": 0s
	top    string // more of athd.yaml
	level  string // of the log; "": warn
	shared bool   // each Envoy asks both athd
	wired  bool   // world.wire stands between the first athd and Redis
}

// A world is two athd on one Redis, each behind an Envoy of its own, with one API.
// Both have one public_url, as replicas behind a load balancer do.
type world struct {
	t      testing.TB
	dir    string
	home   [2]string // athd's folders
	admin  [2]string // host:port
	athd   [2]*stage.Athd
	envoy  [2]*realenvoy.Envoy
	at     [2]string // host:port of the Envoys
	public string    // host:port of public_url
	api    *streams.API
	redis  *realredis.Server
	wire   *wire
	store  *tokenstore.Store // from beside
	client *http.Client
}

func newWorld(t testing.TB, with setup) *world {
	t.Helper()
	stage.Binary(t)                               // built now: what follows has deadlines
	dir, err := os.MkdirTemp("", "athd-streams-") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	by := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(by.CloseIdleConnections)
	w := &world{t: t, dir: dir, redis: realredis.Start(t), client: &http.Client{Transport: by, Timeout: 30 * time.Second}}
	authority := realenvoy.NewAuthority(t)
	w.api = streams.StartAPI(t, authority.Certificate("127.0.0.1"))
	_, port, _ := strings.Cut(w.api.TLS, ":")

	if _, stderr, err := stage.Run(t, dir, "keys", "new", "-o", "keyset.json"); err != nil {
		t.Fatalf("athd keys new: %v\n%s", err, stderr)
	}
	w.at = [2]string{reserve.Addr(t), reserve.Addr(t)}
	w.public = w.at[0]
	write(t, filepath.Join(dir, "admin.token"), adminToken, nil)
	write(t, filepath.Join(dir, "providers.json"), providers, map[string]any{"Secret": clientSecret, "TLS": w.api.TLS})
	w.store = w.open()
	more := with.envoy
	if with.shared {
		more += fmt.Sprintf(`, athd_grpc: ["unix:%[1]s/a/authz.sock", "unix:%[1]s/b/authz.sock"]`, dir)
	}
	for i, name := range []string{"a", "b"} {
		w.home[i], w.admin[i] = filepath.Join(dir, name), reserve.Addr(t)
		if err := os.Mkdir(w.home[i], 0o700); err != nil {
			t.Fatal(err)
		}
		url := w.redis.URL()
		if i == 0 && with.wired {
			w.wire = newWire(t, w.redis.Addr())
			url = strings.Replace(url, w.redis.Addr(), w.wire.addr, 1)
		}
		write(t, filepath.Join(w.home[i], "athd.yaml"), configuration, map[string]any{
			"Public": w.public, "Dir": w.home[i], "HTTP": reserve.Addr(t), "Admin": w.admin[i], "Store": url,
			"Secret": clientSecret, "Envoy": w.at[i], "CA": authority.CAFile, "Port": port,
			"EnvoyMore": more, "Limits": with.limits, "Drain": cmp.Or(with.drain, "0s"), "Top": with.top, "Level": cmp.Or(with.level, "warn"),
			"Apps": []map[string]string{
				{"ID": "one", "Host": streams.HostHTTP1, "Upstream": "http://" + w.api.Addr},
				{"ID": "two", "Host": streams.HostHTTP2, "Upstream": "h2c://" + w.api.Addr},
			},
		})
		w.athd[i] = stage.StartAthd(t, w.home[i], w.admin[i])
	}
	for i := range w.envoy { // each athd is there when it is first looked at
		bootstrap, stderr, err := stage.Run(t, w.home[i], "bootstrap")
		if err != nil {
			t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
		}
		w.envoy[i] = realenvoy.Start(t, []byte(bootstrap))
	}
	t.Cleanup(w.findLeaks)
	return w
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
