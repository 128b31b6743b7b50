package runtime

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/envoy/server"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/strict"
	"github.com/athd/athd/test/harness/asked"
	"github.com/athd/athd/test/harness/dns"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/tokenstore"
)

const (
	agentID   = "https://agent.example.com/agent.json"
	userToken = "the-users-own-oauth-token"

	// Of this machine: where run-time APIs may be, and where they may not.
	openIP, closedIP = "127.0.0.2", "127.0.0.3"
)

// patience is how long a call may take, however busy the machine is: what hangs takes
// longer.
const patience = 20 * time.Second

// A rig is a real Envoy with the generated configuration, whose names a stub
// resolves; athd's real answers to its checks, which a test may change on their
// way; a companion and an app, which no request to a run-time provider may reach;
// and providers that come and go.
type rig struct {
	t         *testing.T
	envoy     *realenvoy.Envoy
	dns       *dns.Server
	authority *realenvoy.Authority
	companion *api
	app       *api
	file      *api // of a provider of a file, "file"
	admin     string
	providers *provider.Providers
	config    string // Envoy's

	mu      sync.Mutex
	runtime map[string]*provider.Provider
	spoil   func(*authv3.CheckResponse)
}

// newRig starts everything. The change may alter what Envoy is told; egress.allow
// has openIP, for TLS.
func newRig(t *testing.T, change ...func(*rig, *bootstrap.Config)) *rig {
	t.Helper()
	r := &rig{t: t, dns: dns.Start(t), authority: realenvoy.NewAuthority(t), runtime: map[string]*provider.Provider{}}
	r.companion, r.app, r.file = r.plainAPI("127.0.0.1"), r.plainAPI("127.0.0.1"), r.plainAPI("127.0.0.1")
	r.admin = reserve.Addr(t)
	file, app := r.parse("file", "http://"+r.file.addr+"/base"), r.parse("app", "http://"+r.app.addr)
	app.App = &provider.App{Upstream: app.APIBase}
	set, err := provider.NewSet(file, app)
	if err != nil {
		t.Fatal(err)
	}
	r.providers = provider.NewProviders(set)
	dir := t.TempDir()
	config := bootstrap.Config{
		Listen: "127.0.0.1:0", Admin: r.admin, Authz: []string{"unix:" + filepath.Join(dir, "authz")}, Companion: []string{r.companion.addr},
		Providers: set, PublicURL: "http://localhost:8080", CAFile: r.authority.CAFile, RuntimeProviders: true,
		Egress: egress.Policy{
			Allow: []egress.Exception{{Addresses: netip.MustParsePrefix(openIP + "/32")}},
			Own:   []egress.Listener{listener(t, "envoy.admin", r.admin), listener(t, "listen.http", r.companion.addr)},
		},
	}
	for _, f := range change {
		f(r, &config)
	}
	r.startAuthz(filepath.Join(dir, "authz"), filepath.Join(dir, "real"))
	text, err := bootstrap.Generate(config)
	if err != nil {
		t.Fatal(err)
	}
	r.config = string(text) + r.resolver()
	r.envoy = realenvoy.Start(t, []byte(r.config))
	return r
}

// without starts Envoy again, without a member of its configuration, wherever it is.
func (r *rig) without(member string) {
	r.t.Helper()
	var out []string
	depth := -1
	for line := range strings.Lines(r.config) {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		dash := strings.HasPrefix(strings.TrimLeft(line, " "), "- ")
		if depth >= 0 && (indent > depth || indent == depth && dash) {
			continue
		}
		if depth = -1; strings.TrimSpace(line) == member+":" {
			depth = indent
			continue
		}
		out = append(out, line)
	}
	config := strings.Join(out, "")
	if config == r.config {
		r.t.Fatalf("there is no %q", member)
	}
	r.envoy.Stop()
	r.envoy = realenvoy.Start(r.t, []byte(config))
}

func byHTTP(_ *rig, c *bootstrap.Config) { c.Egress.Allow[0].HTTP = true }

func listener(t *testing.T, what, addr string) egress.Listener {
	t.Helper()
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return egress.Listener{What: what, Addr: at.Addr(), Port: at.Port()}
}

// resolver makes Envoy ask the stub.
func (r *rig) resolver() string {
	host, port, _ := net.SplitHostPort(r.dns.Addr)
	return `
typed_dns_resolver_config:
  name: envoy.network.dns_resolver.cares
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
    dns_resolver_options: {no_default_search_domain: true}
    resolvers:
    - socket_address: {address: ` + host + `, port_value: ` + port + `}
`
}

func (r *rig) parse(id, base string) *provider.Provider {
	r.t.Helper()
	list, faults := read(id, base)
	if len(faults) > 0 {
		r.t.Fatal(faults)
	}
	return list[0]
}

// read reads a provider of a base URL as athd does, and what is wrong with it.
func read(id, base string) ([]*provider.Provider, strict.Faults) {
	return provider.Parse("providers.json", fmt.Appendf(nil, `{%q: {"display_name": "API", "available_scopes": ["all"],
		"authorize_endpoint": "https://auth.example/a", "token_endpoint": "https://auth.example/t", "client_id": "c", "client_secret": "s", "api_base_url": %q,
		"scope_rules": [{"scope": "all", "methods": ["GET", "POST"], "paths": ["/**"]}, {"scope": "all", "methods": ["GET"], "paths": ["/socket"], "upgrade": ["websocket"]}]}}`, id, base),
		provider.Options{AllowHTTP: true, PublicURL: "http://localhost:8080"})
}

// add makes a provider of a base URL, while everything runs.
func (r *rig) add(id, base string) {
	r.t.Helper()
	p := r.parse(id, base)
	p.Runtime = true
	r.mu.Lock()
	r.runtime[id] = p
	r.mu.Unlock()
	r.replace([]string{id}, p)
}

func (r *rig) remove(id string) { r.replace([]string{id}) }

func (r *rig) replace(gone []string, come ...*provider.Provider) {
	r.t.Helper()
	set, err := r.providers.Current().With(gone, come...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.providers.Replace(set)
}

// Read is the store's: a token is for the provider that its tag names.
func (r *rig) Read(_ context.Context, token ath.Token, _ string) (tokenstore.Reading, error) {
	id := strings.TrimRight(string(token.Tag()), "-")
	later, destination := time.Now().Add(time.Hour), ""
	if p := r.providers.Current().Get(id); p != nil {
		destination = p.Destination()
	}
	return tokenstore.Reading{
		Grant:      &tokenstore.Grant{Agent: agentID, ClientID: "c", Provider: id, Scopes: ath.Scopes{"all"}, Expires: later},
		Connection: &tokenstore.Connection{Access: ath.NewSecret(userToken), Provider: id, Destination: destination},
		Agent: &tokenstore.Agent{
			ID: agentID, ClientID: "c", ApprovalExpires: later,
			Approvals: []tokenstore.Approval{{Provider: id, Approved: ath.Scopes{"all"}}},
		},
	}, nil
}

func (r *rig) startAuthz(socket, realSocket string) {
	r.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	d, err := authz.New(authz.Config{Store: r, Providers: r.providers, Logger: logger, Audit: audit.New(audit.Config{Writer: io.Discard, JSON: true})})
	if err != nil {
		r.t.Fatal(err)
	}
	real := asked.New(r.t, server.Config{Logger: logger}, d.Decide)
	inner, err := net.Listen("unix", realSocket)
	if err != nil {
		r.t.Fatal(err)
	}
	go real.Serve(inner)
	conn, err := grpc.NewClient("unix:"+realSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	outer, err := net.Listen("unix", socket)
	if err != nil {
		r.t.Fatal(err)
	}
	front := grpc.NewServer()
	authv3.RegisterAuthorizationServer(front, &spoiling{rig: r, real: authv3.NewAuthorizationClient(conn)})
	go front.Serve(outer)
	r.t.Cleanup(func() {
		front.Stop()
		conn.Close()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		real.Shutdown(over)
	})
}

// spoiling hands on what athd answers, as a test changed it.
type spoiling struct {
	authv3.UnimplementedAuthorizationServer
	rig  *rig
	real authv3.AuthorizationClient
}

func (s *spoiling) Check(ctx context.Context, request *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	reply, err := s.real.Check(ctx, request)
	s.rig.mu.Lock()
	defer s.rig.mu.Unlock()
	if err == nil && s.rig.spoil != nil {
		s.rig.spoil(reply)
	}
	return reply, err
}

func (r *rig) spoils(spoil func(*authv3.CheckResponse)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spoil = spoil
}

// An api records what reaches it.
type api struct {
	addr, port  string
	connections atomic.Int64
	mu          sync.Mutex
	requests    []*http.Request
	hang        atomic.Bool
	hanging     atomic.Int64
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.requests = append(a.requests, r)
	a.mu.Unlock()
	if a.hang.Load() {
		a.hanging.Add(1)
		defer a.hanging.Add(-1)
		<-r.Context().Done()
		return
	}
	if r.Header.Get("Upgrade") != "" {
		w.Header().Set("Connection", "upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		return
	}
	w.Header().Set("X-ATH-Decision-ID", "forged")
	w.Header().Set("Service-Worker-Allowed", "/")
	fmt.Fprintf(w, "%s %s", r.Proto, r.RequestURI)
}

func (a *api) seen() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*http.Request(nil), a.requests...)
}

// counted counts the connections that are made.
type counted struct {
	net.Listener
	api *api
}

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.api.connections.Add(1)
	}
	return c, err
}

// serve runs an API at an address of this machine; at port 0 or at one.
func (r *rig) serve(at string, config *tls.Config) *api {
	r.t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		r.t.Fatal(err)
	}
	a := &api{addr: l.Addr().String()}
	a.port = a.addr[strings.LastIndexByte(a.addr, ':')+1:]
	s := &http.Server{Handler: a, TLSConfig: config, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	if config != nil {
		go s.ServeTLS(counted{l, a}, "", "")
	} else {
		go s.Serve(counted{l, a})
	}
	r.t.Cleanup(func() { s.Close() })
	return a
}

func (r *rig) plainAPI(ip string) *api { return r.serve(net.JoinHostPort(ip, "0"), nil) }

// tlsAPI is at an address, with a certificate for these names.
func (r *rig) tlsAPI(ip string, names ...string) *api {
	r.t.Helper()
	cert := r.authority.Certificate(names...)
	return r.serve(net.JoinHostPort(ip, "0"), &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
}

// A reply is what an agent got.
type reply struct {
	status  int
	body    string
	header  http.Header
	took    time.Duration
	message string // of a refusal
}

func (r *rig) client(http2 bool) *http.Client {
	var p http.Protocols
	p.SetUnencryptedHTTP2(http2)
	p.SetHTTP1(!http2)
	t := &http.Transport{Protocols: &p, DisableCompression: true}
	r.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: time.Minute}
}

// get asks as an agent does, with the user's consent for the provider.
func (r *rig) get(id, rest string, edit ...func(*http.Request)) reply {
	r.t.Helper()
	return r.by(r.client(false), id, rest, edit...)
}

func (r *rig) by(c *http.Client, id, rest string, edit ...func(*http.Request)) reply {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.envoy.Addr("public")+"/ath/proxy/"+id+"/"+rest, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token(id))
	req.Header.Set("X-ATH-Agent-ID", agentID)
	for _, f := range edit {
		f(req)
	}
	start := time.Now()
	res, err := c.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	out := reply{status: res.StatusCode, header: res.Header}
	if res.StatusCode != http.StatusSwitchingProtocols {
		var body bytes.Buffer
		if _, err := io.Copy(&body, res.Body); err != nil {
			r.t.Fatal(err)
		}
		out.body = body.String()
	}
	out.took = time.Since(start)
	var refusal struct{ Message string }
	if json.Unmarshal([]byte(out.body), &refusal) == nil {
		out.message = refusal.Message
	}
	return out
}

func token(id string) string {
	return ath.NewToken(ath.Tag(id + strings.Repeat("-", 16-len(id)))).Secret().Reveal()
}

// untouched wants that neither the companion nor the app nor the file's API saw
// anything.
func (r *rig) untouched() {
	r.t.Helper()
	for name, a := range map[string]*api{"the companion": r.companion, "the app": r.app, "the API of a file": r.file} {
		for _, req := range a.seen() {
			if req.URL.Path != ath.DrainHealthPath {
				r.t.Errorf("%s saw %s %s, Authorization %q", name, req.Method, req.RequestURI, req.Header.Get("Authorization"))
			}
		}
	}
}

const cannotBeReached = "The API cannot be reached."

func (r *rig) unreachable(id string) {
	r.t.Helper()
	if got := r.get(id, "x"); got.status != 503 || got.message != cannotBeReached {
		r.t.Errorf("%s: %d %s", id, got.status, got.body)
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
