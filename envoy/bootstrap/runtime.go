package bootstrap

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	forwardclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	forwardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	lookupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// Run-time providers: one route and one cluster for all. athd's reply says which
// API a request goes to, by :authority and :path; Envoy looks the host up, and
// judges each address that it resolves to.
const (
	lookupSeconds = 2      // for a name server's answer
	againSeconds  = 5      // until a host without an address is looked up again
	maxHosts      = 100000 // looked up, and used within the last five minutes

	// Requests and connections to all of their APIs together are not limited: what
	// hangs at one must not refuse another's. Envoy's own limits end it, which
	// count clients' connections and memory; and an API that takes no second request
	// on a connection has this many of them.
	withoutLimit     = 1 << 30
	maxConnectionsAt = 4096

	// plainSocket names the way without TLS, and the filter state that chooses it.
	plainSocket = "athd.upstream"
)

// runtimeProviders is the route to providers that came while athd runs. It is
// behind those of the files' providers, and takes the place of the one that leads
// nowhere: athd refuses what leads to no provider.
func (g *generator) runtimeProviders() *routev3.Route {
	perRoute := g.checkedBy(runtimeGuard(), map[string]string{envoy.ExtRuntime: "true"}, providerMutations())
	perRoute[envoy.TransportFilter] = g.pack(g.transport())
	perRoute[envoy.LookupFilter] = g.pack(&lookupv3.PerRouteConfig{})
	return g.retried(&routev3.Route{
		Name:  envoy.RuntimeRoute,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: strings.TrimSuffix(ath.ProxyPath, "/")}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: envoy.RuntimeCluster},
			Timeout:          seconds(0),
			IdleTimeout:      seconds(idleSeconds),
			// As on other routes to APIs: athd is asked, and judges by the scope rules.
			UpgradeConfigs: []*routev3.RouteAction_UpgradeConfig{{UpgradeType: provider.WebSocket}},
		}},
		ResponseHeadersToRemove: g.ofReplies(true),
		TypedPerFilterConfig:    perRoute,
	})
}

// runtimeGuard admits what athd allowed for some provider, and sent to the very
// host that the request is about to be sent to.
func runtimeGuard() *rbacv3.RBAC {
	something := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
		MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: ".+"}},
	}}}
	rules := guard("")
	policy := rules.Policies["athd-allowed"]
	rules.Policies = map[string]*rbacv3.Policy{"athd-allowed-runtime": policy}
	policy.Principals = []*rbacv3.Principal{{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: append(
		policy.Principals, said(envoy.MetaProvider, something), said(envoy.MetaHost, something),
	)}}}}
	policy.Condition = sameHost()
	return rules
}

// runtimeFilters sleep on all routes but that of the run-time providers. The first
// stands behind the check, whose metadata it reads.
func (g *generator) runtimeFilters() []*hcmv3.HttpFilter {
	transport := g.filter(envoy.TransportFilter, &setstatev3.Config{})
	lookup := g.filter(envoy.LookupFilter, &lookupv3.FilterConfig{
		ImplementationSpecifier: &lookupv3.FilterConfig_DnsCacheConfig{DnsCacheConfig: g.lookups()},
	})
	transport.Disabled, lookup.Disabled = true, true
	return []*hcmv3.HttpFilter{transport, lookup}
}

// transport says how an API is spoken to. Without TLS where athd's reply said so:
// in metadata, which no client can write. And WebSockets are HTTP/1.1's: few
// servers take them over HTTP/2 (RFC 8441).
func (g *generator) transport() *setstatev3.Config {
	state := &statev3.FilterStateValue{
		Key:                &statev3.FilterStateValue_ObjectKey{ObjectKey: "envoy.network.application_protocols"},
		Value:              stateText("%CEL('" + envoy.HeaderUpgrade + "' in request.headers ? 'http/1.1' : '')%"),
		SharedWithUpstream: statev3.FilterStateValue_ONCE,
		SkipIfEmpty:        true,
	}
	if g.config.Egress.AllowsHTTP() {
		state.Key = &statev3.FilterStateValue_ObjectKey{ObjectKey: plainSocket}
		// Its hash keeps connections of either kind apart.
		state.FactoryKey = "envoy.hashable_string"
		state.Value = stateText("%DYNAMIC_METADATA(" + envoy.CheckFilter + ":" + envoy.MetaUpstream + ")%")
	}
	return &setstatev3.Config{OnRequestHeaders: []*statev3.FilterStateValue{state}}
}

func stateText(format string) *statev3.FilterStateValue_FormatString {
	return &statev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: format},
		}},
		OmitEmptyValues: true,
	}}
}

// lookups are those of the hosts. What may not be connected to is dropped from each
// answer: else a connection that fails at the address that was judged would be
// tried at the next one, which was not (RFC 8305).
func (g *generator) lookups() *forwardv3.DnsCacheConfig {
	return &forwardv3.DnsCacheConfig{
		Name:                  envoy.RuntimeCluster,
		DnsLookupFamily:       clusterv3.Cluster_ALL,
		DnsQueryTimeout:       seconds(lookupSeconds),
		MaxHosts:              wrapperspb.UInt32(maxHosts),
		ResolvedAddressFilter: &matcherv3.AddressMatcher{Ranges: xdsRanges(g.config.Egress.Unreachable())},
		// What has no address is looked up again soon, and keeps those that it had. All
		// else is when its TTL ends, five seconds at least.
		DnsRefreshRate:        seconds(againSeconds),
		DnsFailureRefreshRate: &clusterv3.Cluster_RefreshRate{BaseInterval: seconds(1), MaxInterval: seconds(againSeconds)},
		// Each request counts, whether or not its host is known already.
		DnsCacheCircuitBreaker: &forwardv3.DnsCacheCircuitBreakers{MaxPendingRequests: wrapperspb.UInt32(withoutLimit)},
	}
}

// runtimeCluster leads to the host that a request names. TLS is for that very host;
// where http is allowed, all are spoken to by HTTP/1.1: Envoy takes no cluster that
// chooses the protocol by TLS and has a way without it.
func (g *generator) runtimeCluster() *clusterv3.Cluster {
	limits := &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections:     wrapperspb.UInt32(withoutLimit),
		MaxPendingRequests: wrapperspb.UInt32(withoutLimit),
		MaxRequests:        wrapperspb.UInt32(withoutLimit),
		MaxRetries:         wrapperspb.UInt32(withoutLimit), // once each: see healing
	}
	c := &clusterv3.Cluster{
		Name:                          envoy.RuntimeCluster,
		LbPolicy:                      clusterv3.Cluster_CLUSTER_PROVIDED,
		ConnectTimeout:                seconds(2),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferBytes),
		CircuitBreakers: &clusterv3.CircuitBreakers{
			Thresholds:        []*clusterv3.CircuitBreakers_Thresholds{limits},
			PerHostThresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxConnections: wrapperspb.UInt32(maxConnectionsAt)}},
		},
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.dynamic_forward_proxy",
			TypedConfig: g.pack(&forwardclusterv3.ClusterConfig{
				ClusterImplementationSpecifier: &forwardclusterv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: g.lookups()},
			}),
		}},
		TransportSocket: &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{
			TypedConfig: g.pack(&tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsParams: atLeastTLS12(),
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{
					ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: file(g.config.CAFile)},
				},
			}}),
		}},
	}
	o := &httpv3.HttpProtocolOptions{
		// The server's name and that of its certificate are those of the request.
		UpstreamHttpProtocolOptions: &corev3.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: true},
		HttpFilters:                 slices.Concat([]*hcmv3.HttpFilter{g.egress()}, g.healing(), g.removeReplyHeaders()),
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: http2Options(),
		}},
	}
	if g.config.Egress.AllowsHTTP() {
		c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{{
			Name: plainSocket,
			TransportSocket: &corev3.TransportSocket{Name: "envoy.transport_sockets.raw_buffer", ConfigType: &corev3.TransportSocket_TypedConfig{
				TypedConfig: g.pack(&rawv3.RawBuffer{}),
			}},
		}}
		c.TransportSocketMatcher = g.whereSaid(plainSocket, envoy.UpstreamHTTP)
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
			},
		}
	}
	c.TypedExtensionProtocolOptions = g.httpOptions(o)
	return c
}
