package traps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcmetadata "google.golang.org/grpc/metadata"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/envoy/server"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/asked"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/locked"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/tokenstore"
)

const (
	agentID   = "https://agent.example.com/agent.json"
	userToken = "the-users-own-oauth-token"
)

var quiet = slog.New(slog.DiscardHandler)

// A rig is a real Envoy with the generated configuration, athd's real ext_authz
// server behind a script, a companion and two APIs that record what they see:
//
//	plain  HTTP/1.1 at the base path /base, raw: it takes any request line
//	tls    HTTP/2 behind TLS
//	down   nothing listens there
//	wrong  TLS, with a certificate for another name
//	app    native on every host, the raw API too
//	shop   native on shop.example below /shop
type rig struct {
	t         *testing.T
	envoy     *realenvoy.Envoy
	plain     *rawAPI
	tls       *h2API
	companion *rawAPI
	authority *realenvoy.Authority
	set       *provider.Set

	mu        sync.Mutex
	script    script
	checks    []*authv3.CheckRequest
	opened    []grpcmetadata.MD // of the streams by ext_proc
	storeDown bool
	life      time.Duration // of tokens; 0: an hour
	log       locked.Buffer // athd's, and its events
	watch     *leak.Watch
	stopAuthz func()
	config    string // Envoy's
}

// A script answers a check, if it likes by asking athd's real server.
type script func(ctx context.Context, r *authv3.CheckRequest, real authv3.AuthorizationClient) (*authv3.CheckResponse, error)

func askReal(ctx context.Context, r *authv3.CheckRequest, real authv3.AuthorizationClient) (*authv3.CheckResponse, error) {
	return real.Check(ctx, r)
}

// newRig starts everything. The change may alter what Envoy is told.
func newRig(t *testing.T, change ...func(*rig, *bootstrap.Config)) *rig {
	t.Helper()
	r := &rig{t: t, script: askReal, authority: realenvoy.NewAuthority(t), watch: leak.Of(t)}
	r.watch.Secret("the user's token", userToken)
	r.plain, r.companion = newRawAPI(t), newRawAPI(t)
	r.tls = newH2API(t, r.authority.Certificate("127.0.0.1", "localhost"))
	wrong := newH2API(t, r.authority.Certificate("other.example"))

	all := map[string]string{
		"plain": "http://" + r.plain.addr + "/base", "tls": "https://" + r.tls.addr,
		"named": "https://localhost:" + port(r.tls.addr),
		"down":  "http://" + reserve.Addr(t), "wrong": "https://" + wrong.addr,
		"app": "http://" + r.plain.addr, "shop": "http://" + r.plain.addr,
	}
	r.set = providers(t, all, map[string]*provider.App{
		"app": {}, "shop": {Hosts: ath.MustParseHosts("shop.example"), PathPrefix: "/shop"},
	})
	dir := t.TempDir()
	config := bootstrap.Config{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0",
		Authz: []string{"unix:" + filepath.Join(dir, "authz")}, Companion: []string{r.companion.addr},
		Providers: r.set, PublicURL: "http://localhost:8080", CAFile: r.authority.CAFile,
	}
	socket := strings.TrimPrefix(config.Authz[0], "unix:")
	for _, f := range change {
		f(r, &config)
	}
	r.startScript(socket, r.startReal(r.set, filepath.Join(dir, "real")))
	yaml, err := bootstrap.Generate(config)
	if err != nil {
		t.Fatal(err)
	}
	r.config = string(yaml)
	r.envoy = realenvoy.Start(t, yaml)
	t.Cleanup(func() {
		r.watch.Check(t, map[string][]byte{
			"Envoy's log": []byte(r.envoy.Log()), "Envoy's access log": []byte(strings.Join(r.envoy.AccessLog(), "\n")), "athd's log": []byte(r.log.String()),
		})
	})
	return r
}

// logger writes into what is searched for secrets when the test ends.
func (r *rig) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// restart starts Envoy again, with a change of its configuration.
func (r *rig) restart(change func(config string) string) {
	r.t.Helper()
	config := change(r.config)
	if config == r.config {
		r.t.Fatal("there was nothing to change")
	}
	r.envoy.Stop()
	r.envoy = realenvoy.Start(r.t, []byte(config))
}

func providers(t *testing.T, bases map[string]string, apps map[string]*provider.App) *provider.Set {
	t.Helper()
	var entries []string
	for id, base := range bases {
		socket := ""
		if id == "plain" || id == "app" {
			socket = `, {"scope": "all", "methods": ["GET"], "paths": ["/socket"], "upgrade": ["websocket"]}`
		}
		entries = append(entries, fmt.Sprintf(`%q: {"display_name": "API", "available_scopes": ["all"],
			"authorize_endpoint": "https://auth.example/a", "token_endpoint": "https://auth.example/t",
			"api_base_url": %q, "client_id": "c", "client_secret": "s",
			"scope_rules": [{"scope": "all", "methods": ["GET", "POST"], "paths": ["/**"]}%s]}`, id, base, socket))
	}
	list, faults := provider.Parse("providers.json", []byte("{"+strings.Join(entries, ",")+"}"),
		provider.Options{AllowHTTP: true, PublicURL: "http://localhost:8080"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for _, p := range list {
		if app := apps[p.ID]; app != nil {
			app.Upstream, p.App = p.APIBase, app
		}
	}
	set, err := provider.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// decider is athd's own, over a store in which a token is for the provider
// that its tag names.
func (r *rig) decider(set *provider.Set) func(context.Context, authz.Request) authz.Decision {
	r.t.Helper()
	d, err := authz.New(authz.Config{
		Store: r, Providers: provider.NewProviders(set), Logger: r.logger(), Audit: audit.New(audit.Config{Writer: &r.log, JSON: true}),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return d.Decide
}

// token returns a token for a provider.
func token(provider string) string {
	tag := ath.Tag(provider + strings.Repeat("-", 16-len(provider)))
	return ath.NewToken(tag).Secret().Reveal()
}

// Read is the store's.
func (r *rig) Read(_ context.Context, token ath.Token, agent string) (tokenstore.Reading, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.storeDown {
		return tokenstore.Reading{}, errors.New("away")
	}
	id := strings.TrimRight(string(token.Tag()), "-")
	later := time.Now().Add(cmp.Or(r.life, time.Hour))
	destination := ""
	if p := r.set.Get(id); p != nil {
		destination = p.Destination()
	}
	return tokenstore.Reading{
		Grant:      &tokenstore.Grant{Agent: agentID, ClientID: "c", Provider: id, Scopes: ath.Scopes{"all"}, Expires: later},
		Connection: &tokenstore.Connection{Access: ath.NewSecret(userToken), Destination: destination},
		Agent: &tokenstore.Agent{
			ID: agentID, ClientID: "c", ApprovalExpires: later,
			Approvals: []tokenstore.Approval{{Provider: id, Approved: ath.Scopes{"all"}}},
		},
	}, nil
}

// startReal runs athd's server on a socket of its own.
func (r *rig) startReal(set *provider.Set, socket string) *grpc.ClientConn {
	r.t.Helper()
	s := asked.New(r.t, server.Config{Logger: r.logger()}, r.decider(set))
	l, err := net.Listen("unix", socket)
	if err != nil {
		r.t.Fatal(err)
	}
	go s.Serve(l)
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		conn.Close()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(over)
	})
	return conn
}

// A scripted server is what Envoy asks. By ext_proc it plays nothing, and passes on
// what both sides say.
type scripted struct {
	authv3.UnimplementedAuthorizationServer
	extprocv3.UnimplementedExternalProcessorServer
	rig     *rig
	real    authv3.AuthorizationClient
	streams extprocv3.ExternalProcessorClient
}

func (s *scripted) Process(from extprocv3.ExternalProcessor_ProcessServer) error {
	md, _ := grpcmetadata.FromIncomingContext(from.Context())
	s.rig.mu.Lock()
	s.rig.opened = append(s.rig.opened, md)
	s.rig.mu.Unlock()
	to, err := s.streams.Process(grpcmetadata.NewOutgoingContext(from.Context(), md))
	if err != nil {
		return err
	}
	go func() {
		defer to.CloseSend()
		for {
			m, err := from.Recv()
			if err != nil || to.Send(m) != nil {
				return
			}
		}
	}()
	for {
		m, err := to.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = from.Send(m)
		}
		if err != nil {
			return err
		}
	}
}

func (s *scripted) Check(ctx context.Context, request *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	s.rig.mu.Lock()
	s.rig.checks = append(s.rig.checks, request)
	answer := s.rig.script
	s.rig.mu.Unlock()
	return answer(ctx, request, s.real)
}

func (r *rig) startScript(socket string, real *grpc.ClientConn) {
	r.t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		r.t.Fatal(err)
	}
	scripts := grpc.NewServer()
	s := &scripted{rig: r, real: authv3.NewAuthorizationClient(real), streams: extprocv3.NewExternalProcessorClient(real)}
	authv3.RegisterAuthorizationServer(scripts, s)
	extprocv3.RegisterExternalProcessorServer(scripts, s)
	go scripts.Serve(l)
	r.stopAuthz = scripts.Stop
	r.t.Cleanup(scripts.Stop)
}

// play sets the script and forgets what was seen.
func (r *rig) play(s script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script, r.checks = s, nil
	r.plain.take()
	r.companion.take()
	r.tls.take()
}

// judged returns the checks since the last call.
func (r *rig) judged() []*authv3.CheckRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.checks
	r.checks = nil
	return out
}

func (r *rig) addr() string { return r.envoy.Addr("public") }

// request builds a call of an agent's, with a valid token.
func (r *rig) request(provider, method, path string, body io.Reader) *http.Request {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.addr()+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+token(provider))
	q.Header.Set("X-ATH-Agent-ID", agentID)
	return q
}

// do sends it and reads the whole reply.
func (r *rig) do(q *http.Request) (*http.Response, string) {
	r.t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.watch.Refusal("an agent", response.StatusCode, body)
	return response, string(body)
}

func port(addr string) string {
	u := url.URL{Host: addr}
	return u.Port()
}
