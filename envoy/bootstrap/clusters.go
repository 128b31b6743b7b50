package bootstrap

import (
	"fmt"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// Names of clusters. A provider's has a prefix, so that no id can take the
// name of another.
const (
	authzCluster = "athd_authz"
)

func providerCluster(id string) string { return "provider_" + id }

const (
	// Envoy's default of 1024 requests at once would turn a burst into
	// refusals.
	maxRequests = 20000
	// Buffers per connection, towards agents and APIs: backpressure begins
	// here.
	bufferBytes = 32 << 10
)

func (g *generator) authzCluster() *clusterv3.Cluster {
	c := g.athdCluster(authzCluster, g.config.Authz)
	c.HealthChecks = []*corev3.HealthCheck{asksHealth(&corev3.HealthCheck{HealthChecker: &corev3.HealthCheck_GrpcHealthCheck_{
		GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{ServiceName: envoy.CheckService},
	}})}
	c.TypedExtensionProtocolOptions = g.byHTTP2(&corev3.Http2ProtocolOptions{})
	return c
}

// byHTTP2 is for what is spoken to by gRPC.
func (g *generator) byHTTP2(o *corev3.Http2ProtocolOptions) map[string]*anypb.Any {
	return g.httpOptions(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: o},
			},
		},
	})
}

func (g *generator) companionCluster() *clusterv3.Cluster {
	c := g.athdCluster(envoy.CompanionCluster, g.config.Companion)
	c.HealthChecks = []*corev3.HealthCheck{asksHealth(&corev3.HealthCheck{HealthChecker: &corev3.HealthCheck_HttpHealthCheck_{
		HttpHealthCheck: &corev3.HealthCheck_HttpHealthCheck{Host: envoy.CompanionCluster, Path: ath.DrainHealthPath},
	}})}
	return c
}

// athdCluster leads to one of athd's listeners, of every replica.
func (g *generator) athdCluster(name string, addresses []string) *clusterv3.Cluster {
	all := make([]envoy.Endpoint, len(addresses))
	for i, address := range addresses {
		var err error
		if all[i], err = envoy.ParseEndpoint(address); err != nil {
			g.errs = append(g.errs, fmt.Errorf("envoy: %s: %w", name, err))
		}
	}
	if err := alike(all); err != nil {
		g.errs = append(g.errs, fmt.Errorf("envoy: %s: %w", name, err))
	}
	// Several replicas of athd behind one name share the load.
	c := g.cluster(name, all, connectSeconds, &dnsv3.DnsCluster{DnsLookupFamily: commondnsv3.DnsLookupFamily_V4_PREFERRED})
	g.outlives(c)
	if t := g.config.AthdTLS; t != nil {
		c.TransportSocket = g.upstreamTLS(t.ServerName, t.CAFile, &TLSFiles{t.CertFile, t.KeyFile}, name != envoy.CompanionCluster)
	}
	return c
}

func (g *generator) providerCluster(p *provider.Provider) *clusterv3.Cluster {
	target := envoy.Upstream(p)
	e := envoy.Endpoint{Host: target.Hostname(), Port: envoy.TargetPort(target)}
	// An API's addresses are one endpoint, tried in turn (RFC 8305).
	c := g.cluster(providerCluster(p.ID), []envoy.Endpoint{e}, 2, &dnsv3.DnsCluster{
		DnsLookupFamily: commondnsv3.DnsLookupFamily_ALL, AllAddressesInSingleEndpoint: true,
	})
	if strings.Contains(p.ID, ".") {
		// Statistics are named with dots between their parts: Envoy would take
		// the first part of the id for the whole name.
		c.AltStatName = providerCluster(strings.ReplaceAll(p.ID, ".", "_"))
	}
	o := &httpv3.HttpProtocolOptions{HttpFilters: g.removeReplyHeaders()}
	if p.RetryOn401 {
		// Envoy's default of 3 at once would leave the others with a dead token.
		c.CircuitBreakers.Thresholds[0].MaxRetries = wrapperspb.UInt32(maxRequests)
		o.HttpFilters = append(g.healing(), o.HttpFilters...)
	}
	if target.Scheme == "https" {
		c.TransportSocket = g.upstreamTLS(target.Hostname(), g.config.CAFile, nil, false)
	}
	// WebSockets are HTTP/1.1's: few servers take them over HTTP/2 (RFC 8441).
	switch {
	case target.Scheme == "https" && !p.Upgrades():
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{
			AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{
				HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
				Http2ProtocolOptions: http2Options(),
			},
		}
	case target.Scheme == provider.HTTP2:
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2Options()},
			},
		}
	default:
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
					HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
				},
			},
		}
	}
	c.TypedExtensionProtocolOptions = g.httpOptions(o)
	return c
}

// removeReplyHeaders removes from an API's reply what only athd says (P-9), and from
// its trailers cookies too, which nobody may set there (RFC 9110, section 6.5.1), and
// of which athd's decision says nothing. It is a filter of the cluster, behind the
// router: one of the listener would also remove it from refusals. Its name is its own:
// a route's settings for a filter count for one of the cluster that has the same name,
// too.
func (g *generator) removeReplyHeaders() []*hcmv3.HttpFilter {
	ours := []*mutationv3.HeaderMutation{removePrefix(envoy.HeaderPrefix)}
	return []*hcmv3.HttpFilter{
		g.filter(envoy.RepliesFilter, &headersv3.HeaderMutation{Mutations: &headersv3.Mutations{
			ResponseMutations: ours, ResponseTrailersMutations: append(ours, remove(envoy.HeaderSetCookie)),
		}}),
		g.filter("envoy.filters.http.upstream_codec", &codecv3.UpstreamCodec{}),
	}
}

// cluster is what all clusters have in common.
func (g *generator) cluster(name string, all []envoy.Endpoint, connect float64, names *dnsv3.DnsCluster) *clusterv3.Cluster {
	endpoints, static := make([]*endpointv3.LbEndpoint, len(all)), true
	for i, e := range all {
		endpoints[i] = &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(e)}},
		}
		static = static && e.Static()
	}
	c := &clusterv3.Cluster{
		Name:                          name,
		ConnectTimeout:                seconds(connect),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferBytes),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     wrapperspb.UInt32(maxRequests),
			MaxPendingRequests: wrapperspb.UInt32(maxRequests),
			MaxRequests:        wrapperspb.UInt32(maxRequests),
		}}},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: endpoints}},
		},
	}
	if static {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		return c
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.cluster.dns", TypedConfig: g.pack(names),
	}}
	// One name that does not resolve must not hold up all others.
	c.WaitForWarmOnInit = wrapperspb.Bool(false)
	return c
}

func (g *generator) httpOptions(o *httpv3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": g.pack(o)}
}

// http2Options bound what one connection can make Envoy hold.
func http2Options() *corev3.Http2ProtocolOptions {
	return &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:        wrapperspb.UInt32(100),
		InitialStreamWindowSize:     wrapperspb.UInt32(64 << 10),
		InitialConnectionWindowSize: wrapperspb.UInt32(1 << 20),
	}
}

// parseListen reads host:port as an address to listen on, which must be an IP
// address, localhost or nothing, which is every interface.
func parseListen(s string) (envoy.Endpoint, error) {
	e, err := envoy.ParseHostPort(s)
	switch e.Host {
	case "":
		e.Host = "0.0.0.0"
	case "localhost":
		e.Host = "127.0.0.1"
	}
	if err == nil && !e.Static() {
		err = fmt.Errorf("%q: Envoy listens on IP addresses only", s)
	}
	return e, err
}

// address is an endpoint as Envoy's configuration has it.
func address(e envoy.Endpoint) *corev3.Address {
	if e.Path != "" {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: e.Path}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: e.Host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: e.Port},
	}}}
}
