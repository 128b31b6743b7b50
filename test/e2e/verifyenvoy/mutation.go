// Package verifyenvoy holds configurations of Envoy that were mutated on
// purpose, one thing at a time, and what verification must find in each. The
// tests of envoy hold the findings against a made-up dump, those of this
// package against the dump of a real Envoy that runs the mutated
// configuration.
package verifyenvoy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/envoy/verify"
)

// What every mutated configuration holds: a provider behind TLS and an app on
// any host.
const (
	Provider = "github"
	Host     = "api.github.com"
	App      = "shop"
)

// Names of filters in the generated configuration.
const (
	check   = "envoy.filters.http.ext_authz"
	guard   = "envoy.filters.http.rbac"
	hygiene = "envoy.filters.http.header_mutation"
	router  = "envoy.filters.http.router"
	replies = "athd.replies"
)

// A Mutation is one way to break the generated configuration.
type Mutation struct {
	Name    string
	Do      func(*Config)
	Finds   []string // texts, each of which is part of a finding; there are no other findings
	Warning bool     // nothing is worse than a warning
	Hidden  bool     // Envoy's own dump does not show it
}

// Mutations returns all of them.
func Mutations() []Mutation {
	var out []Mutation
	for _, list := range [][]Mutation{ofTheCheck(), ofTheGuard(), ofTheChain(), ofRoutes(), ofClusters(), ofReplies(), ofTheManager()} {
		out = append(out, list...)
	}
	return out
}

// Check fails the test unless findings are those that the mutation must give.
func (s Mutation) Check(t testing.TB, findings []verify.Finding) {
	t.Helper()
	worst := verify.Warning
	for _, f := range findings {
		if f.Severity == verify.Fault {
			worst = verify.Fault
		}
		if !slices.ContainsFunc(s.Finds, func(want string) bool { return strings.Contains(f.What, want) }) {
			t.Errorf("found besides: %+v", f)
		}
	}
	for _, want := range s.Finds {
		if !slices.ContainsFunc(findings, func(f verify.Finding) bool { return strings.Contains(f.What, want) }) {
			t.Errorf("not found: %s", want)
		}
	}
	if (worst == verify.Warning) != s.Warning {
		t.Errorf("the worst is a %s", worst)
	}
}

// A Config is a bootstrap that can be edited.
type Config struct{ *bootstrapv3.Bootstrap }

// must is for edits of what the generator wrote: they cannot fail but by a
// mistake in this package.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("verifyenvoy: %v", err))
	}
}

// edit changes the message in an Any.
func edit[M proto.Message](a *anypb.Any, m M, change func(M)) {
	must(a.UnmarshalTo(m))
	change(m)
	must(a.MarshalFrom(m))
}

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	must(err)
	return a
}

// Manager edits the connection manager.
func (c *Config) Manager(change func(*hcmv3.HttpConnectionManager)) {
	edit(c.StaticResources.Listeners[0].FilterChains[0].Filters[0].GetTypedConfig(), &hcmv3.HttpConnectionManager{}, change)
}

// Filter edits what one of the HTTP filters is configured with.
func (c *Config) Filter(name string, change func(*hcmv3.HttpFilter)) {
	c.Manager(func(m *hcmv3.HttpConnectionManager) {
		for _, f := range m.HttpFilters {
			if f.Name == name {
				change(f)
				return
			}
		}
		panic("verifyenvoy: no filter " + name)
	})
}

// Host edits the virtual host that is for any host: in somebody's own Envoy, the one
// that has the app's routes.
func (c *Config) Host(change func(*routev3.VirtualHost)) {
	c.Manager(func(m *hcmv3.HttpConnectionManager) {
		for _, is := range []func(*routev3.VirtualHost) bool{
			func(h *routev3.VirtualHost) bool { return h.Name == "any" },
			func(h *routev3.VirtualHost) bool {
				return slices.ContainsFunc(h.Routes, func(r *routev3.Route) bool { return r.Name == "app_"+App })
			},
		} {
			if i := slices.IndexFunc(m.GetRouteConfig().VirtualHosts, is); i >= 0 {
				change(m.GetRouteConfig().VirtualHosts[i])
				return
			}
		}
		panic("verifyenvoy: no virtual host any")
	})
}

// Route edits a route of that virtual host.
func (c *Config) Route(name string, change func(*routev3.Route)) {
	c.Host(func(h *routev3.VirtualHost) {
		for _, r := range h.Routes {
			if r.Name == name {
				change(r)
				return
			}
		}
		panic("verifyenvoy: no route " + name)
	})
}

// Cluster edits a cluster.
func (c *Config) Cluster(name string, change func(*clusterv3.Cluster)) {
	for _, one := range c.StaticResources.Clusters {
		if one.Name == name {
			change(one)
			return
		}
	}
	panic("verifyenvoy: no cluster " + name)
}

// TLS edits by what the provider's certificate is verified.
func (c *Config) TLS(change func(*tlsv3.UpstreamTlsContext)) {
	c.Cluster("provider_"+Provider, func(one *clusterv3.Cluster) {
		edit(one.TransportSocket.GetTypedConfig(), &tlsv3.UpstreamTlsContext{}, change)
	})
}

// onProvider and onApp edit the routes to the provider and to the app.
func onProvider(change func(*routev3.Route)) func(*Config) {
	return func(c *Config) { c.Route("proxy_"+Provider, change) }
}

func onApp(change func(*routev3.Route)) func(*Config) {
	return func(c *Config) { c.Route("app_"+App, change) }
}
