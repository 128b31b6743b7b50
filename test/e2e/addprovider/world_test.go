package addprovider

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// configuration is of production: no development options, and an exception for
// the one port at which the tests' APIs are.
const configuration = `public_url: http://{{.Public}}
listen: {grpc: "{{.GRPC}}", http: "{{.HTTP}}", admin: "{{.Admin}}"}
store: {url: "{{.Store}}", keyset_file: ../keyset.json, timeout: 900ms}
providers_file: ../providers.json
approval: {default: approve}
admin: {tokens: [{name: ops, token_file: ../admin.token, role: admin}]}
egress: {allow: [{addresses: 127.0.0.0/8, port: {{.Port}}}]}
envoy: {listen: "{{.Envoy}}", admin: "127.0.0.1:0", ca_file: "{{.CA}}"}
limits: {per_address: off, registrations_per_address: off, per_agent: off, concurrent_per_address: 500, provider_changes: off, runtime_providers: 20000}
drain_delay: 0s
log: {format: json, level: warn}
`

// providers is what the files define: one that nobody calls.
const providers = `{"filed": {"display_name": "Of a file", "available_scopes": ["things:read"], "authorize_endpoint": "https://login.example/authorize",
"token_endpoint": "https://login.example/token", "api_base_url": "https://api.example/v1", "client_id": "athd", "client_secret": "{{.Secret}}"}}`

// A world is two athd on one Redis, each behind an Envoy of its own whose
// configuration is written once, before any provider is added.
type world struct {
	*stage.Replicas
	t     testing.TB
	port  string // of the APIs, on loopback addresses
	cert  tls.Certificate
	store *tokenstore.Store
}

// A setup says what a world has beside.
type setup struct {
	hosts     []string // loopback addresses of APIs beside 127.0.0.1
	providers int      // run-time providers that are there before athd starts, which nobody calls
}

func newWorld(t testing.TB, with setup) *world {
	t.Helper()
	w := &world{Replicas: stage.NewReplicas(t, 2, 2), t: t}
	authority := realenvoy.NewAuthority(t)
	w.cert = authority.Certificate(append([]string{"127.0.0.1"}, with.hosts...)...)
	first := w.serve("127.0.0.1:0")
	_, w.port, _ = net.SplitHostPort(first)
	for _, host := range with.hosts {
		w.serve(net.JoinHostPort(host, w.port))
	}
	redis := realredis.Start(t)
	w.store = w.Open(t, tokenstore.Config{URL: redis.URL()})

	w.Write("providers.json", providers, map[string]any{"Secret": stage.Secret})
	w.addQuietly(with.providers)
	for i := range w.Athd {
		w.Configure(i, configuration, map[string]any{"Store": redis.URL(), "Port": w.port, "CA": authority.CAFile})
		w.Start(i)
		w.StartEnvoy(i)
	}
	return w
}

// serve starts an API that says by which path it was asked.
func (w *world) serve(address string) (at string) {
	w.t.Helper()
	l, err := net.Listen("tcp4", address)
	if err != nil {
		w.t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+stage.UserToken {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(rw, r.RequestURI)
	})}
	go srv.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{w.cert}, MinVersion: tls.VersionTLS12}))
	w.t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// each runs something n times, some at once, and fails the test if one fails.
func (w *world) each(n int, do func(i int) error) {
	w.t.Helper()
	var all sync.WaitGroup
	errs := make([]error, n)
	slots := make(chan struct{}, 16)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(i)
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			w.t.Fatalf("%d: %v", i, err)
		}
	}
}
