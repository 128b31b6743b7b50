package streams

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/streams"
	"github.com/athd/athd/tokenstore"
)

// configuration has the API twice, as an app that speaks HTTP/1.1 and as one that
// speaks HTTP/2, each on a host of its own.
const configuration = `public_url: http://{{.Public}}
listen: {grpc: "{{.GRPC}}", http: "{{.HTTP}}", admin: "{{.Admin}}"}
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
type world struct {
	*stage.Replicas
	t     testing.TB
	api   *streams.API
	redis *realredis.Server
	wire  *wire
	store *tokenstore.Store
}

func newWorld(t testing.TB, with setup) *world {
	t.Helper()
	w := &world{Replicas: stage.NewReplicas(t, 2, 2), t: t, redis: realredis.Start(t)}
	authority := realenvoy.NewAuthority(t)
	w.api = streams.StartAPI(t, authority.Certificate("127.0.0.1"))
	_, port, _ := strings.Cut(w.api.TLS, ":")
	w.store = w.Open(t, tokenstore.Config{URL: w.redis.URL()})

	w.Write("providers.json", providers, map[string]any{"Secret": stage.Secret, "TLS": w.api.TLS})
	more := with.envoy
	if with.shared {
		more += fmt.Sprintf(", athd_grpc: [%q, %q]", w.GRPC[0], w.GRPC[1])
	}
	for i := range w.Athd {
		url := w.redis.URL()
		if i == 0 && with.wired {
			w.wire = newWire(t, w.redis.Addr())
			url = strings.Replace(url, w.redis.Addr(), w.wire.addr, 1)
		}
		w.Configure(i, configuration, map[string]any{
			"Store": url, "CA": authority.CAFile, "Port": port,
			"EnvoyMore": more, "Limits": with.limits, "Drain": cmp.Or(with.drain, "0s"), "Top": with.top, "Level": cmp.Or(with.level, "warn"),
			"Apps": []map[string]string{
				{"ID": "one", "Host": streams.HostHTTP1, "Upstream": "http://" + w.api.Addr},
				{"ID": "two", "Host": streams.HostHTTP2, "Upstream": "h2c://" + w.api.Addr},
			},
		})
		w.Start(i)
	}
	for i := range w.Envoy { // each athd is there when it is first looked at
		w.StartEnvoy(i)
	}
	return w
}
