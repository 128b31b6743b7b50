package addprovider

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

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
	clientSecret = "client-secret-of-run-time-providers"
	userToken    = "gho_16C7e42F292c6912E7710c838347Ae178B4a"
)

// configuration is of production: no development options, and an exception for
// the one port at which the tests' APIs are.
const configuration = `public_url: http://{{.Public}}
listen: {grpc: "unix:{{.Dir}}/authz.sock", http: "{{.HTTP}}", admin: "{{.Admin}}"}
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
// configuration is written once, before any provider is added. Both have one
// public_url, as replicas behind a load balancer do.
type world struct {
	t      testing.TB
	athd   [2]*stage.Athd
	envoy  [2]*realenvoy.Envoy
	at     [2]string // host:port of the Envoys
	public string    // host:port of public_url
	port   string    // of the APIs, on loopback addresses
	cert   tls.Certificate
	redis  *realredis.Server
	store  *tokenstore.Store // from beside
	client *http.Client
}

// A setup says what a world has beside.
type setup struct {
	hosts     []string // loopback addresses of APIs beside 127.0.0.1
	providers int      // run-time providers that are there before athd starts, which nobody calls
}

func newWorld(t testing.TB, with setup) *world {
	t.Helper()
	stage.Binary(t)                           // built now: what follows has deadlines
	dir, err := os.MkdirTemp("", "athd-add-") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	transport := &http.Transport{MaxIdleConnsPerHost: 64, MaxIdleConns: 256}
	t.Cleanup(transport.CloseIdleConnections)
	w := &world{t: t, redis: realredis.Start(t), client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
	authority := realenvoy.NewAuthority(t)
	w.cert = authority.Certificate(append([]string{"127.0.0.1"}, with.hosts...)...)
	first := w.serve("127.0.0.1:0")
	_, w.port, _ = net.SplitHostPort(first)
	for _, host := range with.hosts {
		w.serve(net.JoinHostPort(host, w.port))
	}

	if _, stderr, err := stage.Run(t, dir, "keys", "new", "-o", "keyset.json"); err != nil {
		t.Fatalf("athd keys new: %v\n%s", err, stderr)
	}
	w.at = [2]string{reserve.Addr(t), reserve.Addr(t)}
	w.public = w.at[0]
	write(t, filepath.Join(dir, "admin.token"), adminToken, nil)
	write(t, filepath.Join(dir, "providers.json"), providers, map[string]string{"Secret": clientSecret})
	w.store = w.open(dir)
	w.addQuietly(with.providers)
	for i, name := range []string{"a", "b"} {
		home, admin := filepath.Join(dir, name), reserve.Addr(t)
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(home, "athd.yaml"), configuration, map[string]string{
			"Public": w.public, "Dir": home, "HTTP": reserve.Addr(t), "Admin": admin, "Store": w.redis.URL(),
			"Port": w.port, "Envoy": w.at[i], "CA": authority.CAFile,
		})
		w.athd[i] = stage.StartAthd(t, home, admin)
		bootstrap, stderr, err := stage.Run(t, home, "bootstrap")
		if err != nil {
			t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
		}
		w.envoy[i] = realenvoy.Start(t, []byte(bootstrap))
	}
	t.Cleanup(w.findLeaks)
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
		if r.Header.Get("Authorization") != "Bearer "+userToken {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(rw, r.RequestURI)
	})}
	go srv.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{w.cert}, MinVersion: tls.VersionTLS12}))
	w.t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// open opens the store from beside the two athd.
func (w *world) open(dir string) *tokenstore.Store {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "keyset.json"))
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
	watch.Secret("a provider's client secret", clientSecret)
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

func write(t testing.TB, path, text string, values map[string]string) {
	t.Helper()
	var b bytes.Buffer
	if err := template.Must(template.New("").Option("missingkey=error").Parse(text)).Execute(&b, values); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
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
