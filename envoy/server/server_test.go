package server_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/envoy/extauthz"
	"github.com/athd/athd/envoy/server"
	"github.com/athd/athd/test/harness/asked"
	"github.com/athd/athd/test/harness/realenvoy"
)

func refuseAll(_ context.Context, r authz.Request) authz.Decision { return authz.Decision{ID: r.ID} }

// serve runs a server on a Unix socket, or with TLS on loopback, and returns
// it with its address for gRPC.
func serve(t *testing.T, c server.Config, decide func(context.Context, authz.Request) authz.Decision) (*server.Server, string) {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	s := asked.New(t, c, decide)
	network, address := "unix", filepath.Join(t.TempDir(), "s")
	if c.TLS != nil {
		network, address = "tcp", "127.0.0.1:0"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(now)
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	if c.TLS != nil {
		return s, l.Addr().String()
	}
	return s, "unix:" + address
}

func dial(t *testing.T, address string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestNewRefuses(t *testing.T) {
	authority := realenvoy.NewAuthority(t)
	full := func() *tls.Config {
		return &tls.Config{
			Certificates: []tls.Certificate{authority.Certificate("athd")},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(),
		}
	}
	logger := slog.New(slog.DiscardHandler)
	judge, err := exchange.NewJudge(exchange.Config{Decide: refuseAll, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	services := []server.Service{extauthz.New(judge)}
	tests := map[string]server.Config{
		"no service":             {Logger: logger},
		"no logger":              {Services: services},
		"names without TLS":      {Services: services, Logger: logger, ClientSANs: []string{"envoy"}},
		"TLS without names":      {Services: services, Logger: logger, TLS: full()},
		"an empty name":          {Services: services, Logger: logger, TLS: full(), ClientSANs: []string{"envoy", ""}},
		"TLS without client CA":  {Services: services, Logger: logger, ClientSANs: []string{"envoy"}, TLS: change(full(), func(c *tls.Config) { c.ClientCAs = nil })},
		"optional client certs":  {Services: services, Logger: logger, ClientSANs: []string{"envoy"}, TLS: change(full(), func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven })},
		"unverified client cert": {Services: services, Logger: logger, ClientSANs: []string{"envoy"}, TLS: change(full(), func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })},
		"another config per client": {Services: services, Logger: logger, ClientSANs: []string{"envoy"}, TLS: change(full(), func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
		})},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := server.New(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func change(c *tls.Config, f func(*tls.Config)) *tls.Config { f(c); return c }

func TestOnlyTheNamedClientMayAsk(t *testing.T) {
	ours, theirs := realenvoy.NewAuthority(t), realenvoy.NewAuthority(t)
	_, address := serve(t, server.Config{
		ClientSANs: []string{"envoy.mesh", "spiffe://mesh/envoy"},
		TLS: &tls.Config{
			Certificates: []tls.Certificate{ours.Certificate("athd")},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool(),
		},
	}, refuseAll)
	cert := func(a *realenvoy.Authority, names ...string) []tls.Certificate {
		return []tls.Certificate{a.Certificate(names...)}
	}
	tests := []struct {
		name  string
		certs []tls.Certificate
		may   bool
	}{
		{"the DNS name", cert(ours, "envoy.mesh"), true},
		{"the URI", cert(ours, "spiffe://mesh/envoy"), true},
		{"one name of several", cert(ours, "a", "envoy.mesh"), true},
		{"no certificate", nil, false},
		{"another authority", cert(theirs, "envoy.mesh"), false},
		{"another name", cert(ours, "other.mesh"), false},
		{"a longer name", cert(ours, "x.envoy.mesh"), false},
		{"another URI", cert(ours, "spiffe://mesh/envoy2"), false},
		{"no name at all", cert(ours), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := dial(t, address, credentials.NewTLS(&tls.Config{RootCAs: ours.Pool(), ServerName: "athd", Certificates: tt.certs}))
			response, err := authv3.NewAuthorizationClient(conn).Check(deadline(t), &authv3.CheckRequest{})
			if tt.may != (err == nil && response.GetDeniedResponse() != nil) {
				t.Errorf("response %v, error %v", response, err)
			}
		})
	}
	t.Run("plaintext", func(t *testing.T) {
		conn := dial(t, address, insecure.NewCredentials())
		if _, err := authv3.NewAuthorizationClient(conn).Check(deadline(t), &authv3.CheckRequest{}); err == nil {
			t.Error("answered")
		}
	})
}

func TestHealthFollowsReady(t *testing.T) {
	s, address := serve(t, server.Config{}, refuseAll)
	health := healthv1.NewHealthClient(dial(t, address, insecure.NewCredentials()))
	for _, ready := range []bool{false, true, false} {
		s.SetReady(ready)
		for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
			r, err := health.Check(deadline(t), &healthv1.HealthCheckRequest{Service: service})
			if err != nil {
				t.Fatal(err)
			}
			if (r.Status == healthv1.HealthCheckResponse_SERVING) != ready {
				t.Errorf("ready %v: %q is %v", ready, service, r.Status)
			}
		}
	}
}

func TestAServerStartsNotReady(t *testing.T) {
	_, address := serve(t, server.Config{}, refuseAll)
	r, err := healthv1.NewHealthClient(dial(t, address, insecure.NewCredentials())).Check(deadline(t), &healthv1.HealthCheckRequest{})
	if err != nil || r.Status != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("%v, %v", r, err)
	}
}

func TestLargeMessagesAreRefused(t *testing.T) {
	_, address := serve(t, server.Config{}, refuseAll)
	client := authv3.NewAuthorizationClient(dial(t, address, insecure.NewCredentials()))
	for size, want := range map[int]codes.Code{100 << 10: codes.OK, 2 << 20: codes.ResourceExhausted} {
		_, err := client.Check(deadline(t), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			ContextExtensions: map[string]string{"x": strings.Repeat("x", size)},
		}})
		if status.Code(err) != want {
			t.Errorf("%d bytes: %v, want %v", size, err, want)
		}
	}
}

func TestShutdownLetsChecksEndAndEndsWatches(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	s, address := serve(t, server.Config{}, func(_ context.Context, r authz.Request) authz.Decision {
		close(asked)
		<-answer
		return authz.Decision{ID: r.ID}
	})
	s.SetReady(true)
	conn := dial(t, address, insecure.NewCredentials())
	watch, err := healthv1.NewHealthClient(conn).Watch(deadline(t), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.Status != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", r, err)
	}
	checked := make(chan error, 1)
	go func() {
		_, err := authv3.NewAuthorizationClient(conn).Check(deadline(t), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{}},
		}})
		checked <- err
	}()
	<-asked
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.Shutdown(deadline(t))
	}()
	for err == nil { // until the stream ends, which must not hold the shutdown up
		_, err = watch.Recv()
	}
	close(answer)
	if err := <-checked; err != nil {
		t.Errorf("a check under way failed: %v", err)
	}
	<-stopped
}

func TestShutdownCutsOffWhenTimeIsOver(t *testing.T) {
	asked := make(chan struct{})
	s, address := serve(t, server.Config{}, func(ctx context.Context, r authz.Request) authz.Decision {
		close(asked)
		<-ctx.Done()
		return authz.Decision{ID: r.ID}
	})
	checked := make(chan error, 1)
	conn := dial(t, address, insecure.NewCredentials())
	go func() {
		_, err := authv3.NewAuthorizationClient(conn).Check(deadline(t), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{}},
		}})
		checked <- err
	}()
	<-asked
	over, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	s.Shutdown(over)
	if took := time.Since(start); took > 20*time.Second { // without an end, as long as the check has
		t.Errorf("took %v", took)
	}
	if err := <-checked; err == nil {
		t.Error("the check was answered")
	}
}
