package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/config"
	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/watch"
)

// assembled is an athd of an athd.yaml of the parts, which follows its configuration.
func assembled(t *testing.T, m configtest.Machine, parts map[string]string) (*assembly, *config.Settings) {
	t.Helper()
	s := parsed(t, m, parts)
	a, err := assemble(s, slog.New(slog.DiscardHandler), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.store.Close(); a.trail.Close() })
	a.reload(config.Snapshot{Settings: s}, nil)
	return a, s
}

func parsed(t *testing.T, m configtest.Machine, parts map[string]string) *config.Settings {
	t.Helper()
	s, faults := config.Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(parts)), sources(m))
	if faults != nil {
		t.Fatal(faults)
	}
	return s
}

// What cannot be taken is found before anything is taken.
func TestASetThatCannotBeTakenChangesNothing(t *testing.T) {
	a, s := assembled(t, configtest.NewMachine(t), map[string]string{
		"store":  "{url: embedded}",
		"listen": "{grpc: '127.0.0.1:0', http: '127.0.0.1:0', admin: '127.0.0.1:0', tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}",
	})
	doors := a.front.current.Load()
	next := *s
	next.TLS = &config.ServerTLS{}
	*next.TLS = *s.TLS
	next.TLS.ClientSANs = nil
	if err := a.apply(t.Context(), &next); err == nil || a.front.current.Load() != doors {
		t.Errorf("%v, other doors are open: %v", err, a.front.current.Load() != doors)
	}
	next.TLS.ClientSANs = []string{"other"}
	if err := a.apply(t.Context(), &next); err != nil || a.front.current.Load() == doors {
		t.Errorf("%v, other doors are open: %v", err, a.front.current.Load() != doors)
	}
}

// Whoever may not ask any more is cut off, and does not come in again.
func TestWhoMayNotAskAnyMoreIsCutOff(t *testing.T) {
	m, own := configtest.NewMachine(t), configtest.NewPKI(t)
	for name, text := range map[string]string{"cert": own.Cert, "key": own.Key, "ca": own.CA} {
		m.Files["/etc/athd/"+name+".pem"] = text
	}
	a, s := assembled(t, m, map[string]string{
		"store":  "{url: embedded}",
		"listen": "{grpc: '127.0.0.1:0', http: '127.0.0.1:0', admin: '127.0.0.1:0', tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}",
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- a.asked.Serve(l) }()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		a.asked.Shutdown(now)
		<-served
	})
	// open returns a connection that is let in: gRPC speaks first.
	open := func() (*tls.Conn, error) {
		conn, err := tls.Dial("tcp", l.Addr().String(), withH2(own.Client(own.ClientCert, own.ClientKey)))
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = conn.Read(make([]byte, 1))
		return conn, err
	}
	conn, err := open()
	if err != nil {
		t.Fatal(err)
	}
	next := *s
	next.TLS = &config.ServerTLS{}
	*next.TLS = *s.TLS
	next.TLS.ClientSANs = []string{"other"}
	if err := a.apply(t.Context(), &next); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("its connection goes on")
	}
	if _, err := open(); err == nil {
		t.Error("it comes in again")
	}
}

// Another limit of streams holds for the next one.
func TestLimitsOfStreamsAreTaken(t *testing.T) {
	a, s := assembled(t, configtest.NewMachine(t), map[string]string{"store": "{url: embedded}"})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.streams.Run(ctx) })
	defer running.Wait()
	defer stop()
	token := ath.NewToken(ath.NewTag())
	begin := func() watch.Reason {
		_, err := a.streams.Begin(ctx, watch.Call{
			Held: authz.Held{
				Tag: token.Tag(), Grant: token.Digest(), Agent: "https://agent.example/", Provider: "shop", Scope: "read",
				Until: time.Now().Add(time.Hour),
			},
			Decision: "dec_1", Ended: func(watch.Reason) {},
		})
		refusal, ok := errors.AsType[*watch.Refusal](err)
		if !ok {
			t.Fatalf("a token that nobody has given: %v", err)
		}
		return refusal.Reason
	}
	for deadline := time.Now().Add(10 * time.Second); begin() != watch.Reason(authz.TokenUnknown); {
		if time.Now().After(deadline) { // it does not run yet
			t.Fatalf("%q", begin())
		}
	}
	next := *s
	next.Streams = watch.Limits{}
	if err := a.apply(t.Context(), &next); err != nil {
		t.Fatal(err)
	}
	if why := begin(); why != watch.TooManyStreams {
		t.Errorf("%q", why)
	}
}

// proves: A-7
func TestOAuthCallsDoNotReachWhatIsEnvoysByNow(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	m, parts := configtest.NewMachine(t), map[string]string{"store": "{url: embedded}", "development": "{allow_private_hosts: true}"}
	a, s := assembled(t, m, parts)
	p, faults := provider.ParseOne("shop", fmt.Appendf(nil, `{"display_name": "X", "available_scopes": ["a:read"], "client_id": "c", "client_secret": "s",
		"authorize_endpoint": "https://login.example/authorize", "token_endpoint": "https://%s/token", "api_base_url": "https://api.example"}`, l.Addr()), s.RuntimeProviderOptions())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	refused := func() bool {
		_, err := a.oauth.RefreshTokens(t.Context(), p, ath.NewSecret("a-refresh-token"), nil)
		if err == nil {
			t.Fatal("whoever closes each connection gave tokens")
		}
		return strings.Contains(err.Error(), egress.ErrAddress.Error())
	}
	if refused() {
		t.Fatal("it is not reached to begin with")
	}
	parts["envoy"] = fmt.Sprintf("{admin: '%s'}", l.Addr())
	next, _ := config.Next(config.Routes{}, s, parsed(t, m, parts))
	if err := a.apply(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if !refused() {
		t.Error("a token endpoint may be Envoy's admin interface")
	}
	if a, _ = assembled(t, m, parts); !refused() {
		t.Error("it may be from the start")
	}
}
