// Package asked makes the gRPC server that Envoy asks, as cmd/athd does.
package asked

import (
	"context"
	"maps"
	"testing"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/envoy/extauthz"
	"github.com/athd/athd/envoy/extproc"
	"github.com/athd/athd/envoy/server"
)

// New returns a server on which decide answers, by ext_authz and by ext_proc. Where
// there are further roles, an allow tells them what it holds.
func New(t testing.TB, c server.Config, decide func(context.Context, authz.Request) authz.Decision, further ...exchange.Roles) *server.Server {
	t.Helper()
	judge, err := exchange.NewJudge(exchange.Config{Decide: decide, Held: len(further) > 0, Logger: c.Logger})
	if err != nil {
		t.Fatal(err)
	}
	roles := exchange.Roles{envoy.RoleJudge: judge}
	for _, more := range further {
		maps.Copy(roles, more)
	}
	streams, err := extproc.New(extproc.Config{Roles: roles, Default: []string{envoy.RoleJudge}, Logger: c.Logger})
	if err != nil {
		t.Fatal(err)
	}
	c.Services = []server.Service{extauthz.New(judge), streams}
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
