package server_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/credentials"

	"github.com/athd/athd/envoy/server"
	"github.com/athd/athd/test/harness/realenvoy"
)

func requiring(ours *realenvoy.Authority, certificate tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool()}
}

// Certificates are replaced while Envoy asks: whoever may still ask is not cut off,
// and whoever may not is, also on a connection that is open.
func TestClientsAreReplacedWhileTheyAsk(t *testing.T) {
	ours, next := realenvoy.NewAuthority(t), realenvoy.NewAuthority(t)
	s, address := serve(t, server.Config{
		ClientSANs: []string{"envoy.mesh", "other.mesh"}, TLS: requiring(ours, ours.Certificate("athd")),
	}, refuseAll)
	open := func(athd *realenvoy.Authority, cert tls.Certificate) *tls.Conn {
		t.Helper()
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: athd.Pool(), ServerName: "athd", Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := conn.Read(make([]byte, 1)); err != nil { // its settings: it was let in
			t.Fatal(err)
		}
		return conn
	}
	// cut reports whether a connection ends. Of one that should go on some time shows it.
	const should, shouldNot = 10 * time.Second, 300 * time.Millisecond
	cut := func(conn *tls.Conn, within time.Duration) bool {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		_, err := io.Copy(io.Discard, conn)
		timeout, ok := errors.AsType[net.Error](err)
		return !ok || !timeout.Timeout()
	}
	envoy, other := open(ours, ours.Certificate("envoy.mesh")), open(ours, ours.Certificate("other.mesh"))
	asks := authv3.NewAuthorizationClient(dial(t, address, credentials.NewTLS(&tls.Config{RootCAs: ours.Pool(), ServerName: "athd", Certificates: []tls.Certificate{ours.Certificate("envoy.mesh")}})))
	ask := func() {
		t.Helper()
		if _, err := asks.Check(deadline(t), &authv3.CheckRequest{}); err != nil {
			t.Error(err)
		}
	}
	ask()
	if _, err := s.Clients.Next(requiring(ours, ours.Certificate("athd")), nil); err == nil {
		t.Error("nobody may ask any more")
	}
	take, err := s.Clients.Next(requiring(ours, next.Certificate("athd")), []string{"envoy.mesh"})
	if err != nil {
		t.Fatal(err)
	}
	if cut(other, shouldNot) {
		t.Error("who may not ask any more is cut off before that is taken")
	}
	take()
	ask()
	if !cut(other, should) {
		t.Error("who may not ask any more is not cut off")
	}
	if cut(envoy, shouldNot) {
		t.Error("who may still ask is cut off")
	}
	open(next, ours.Certificate("envoy.mesh")) // with the new certificate
	if take, err = s.Clients.Next(requiring(next, next.Certificate("athd")), []string{"envoy.mesh"}); err != nil {
		t.Fatal(err)
	}
	take()
	if !cut(envoy, should) {
		t.Error("a client of another CA goes on")
	}
	if _, err := asks.Check(deadline(t), &authv3.CheckRequest{}); err == nil {
		t.Error("a client of another CA is answered")
	}
}
