package verifyenvoy

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const own = "provider_" + Provider

// forwarding edits where the route to the provider leads.
func forwarding(change func(*routev3.RouteAction)) func(*Config) {
	return onProvider(func(r *routev3.Route) { change(r.GetRoute()) })
}

func pattern(regex string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: regex} }

func ofRoutes() []Mutation {
	mirror := []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "athd_companion"}}
	token := []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "Authorization", Value: "Bearer x"}}}
	return []Mutation{
		{Name: "a prefix without its slash", Do: onApp(func(r *routev3.Route) {
			r.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/sho"}
		}), Finds: []string{`the prefix "/sho" also matches`}},
		{Name: "a mount without its slash", Do: onProvider(func(r *routev3.Route) {
			r.Match.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/ath/proxy/" + Provider}
		}), Finds: []string{"the mount is matched without its slash"}},
		{Name: "a rewrite to another base", Do: forwarding(func(a *routev3.RouteAction) { a.PrefixRewrite = "/admin/" }), Finds: []string{`is rewritten to "/admin/", not "/"`}},
		{Name: "no rewrite", Do: forwarding(func(a *routev3.RouteAction) { a.PrefixRewrite = "" }), Finds: []string{`is rewritten to "", not "/"`}},
		{Name: "a rewrite by a pattern", Do: forwarding(func(a *routev3.RouteAction) {
			a.PrefixRewrite, a.RegexRewrite = "", &matcherv3.RegexMatchAndSubstitute{Pattern: pattern("^/ath/proxy/github/(.*)$"), Substitution: `/\1`}
		}), Finds: []string{"the path is rewritten by a pattern"}},
		{Name: "a match by a pattern", Do: onProvider(func(r *routev3.Route) {
			r.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: pattern("/ath/proxy/(github|gitlab)/.*")}
			r.GetRoute().PrefixRewrite = ""
		}), Finds: []string{"athd is told a mount, but the route has none", "matches by a pattern"}},
		{Name: "another host", Do: forwarding(func(a *routev3.RouteAction) {
			a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: "evil.example"}
		}), Finds: []string{`the host is rewritten to "evil.example"`}},
		{Name: "the host as the agent says", Do: forwarding(func(a *routev3.RouteAction) {
			a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteHeader{HostRewriteHeader: "x-host"}
		}), Finds: []string{"the agent chooses the host"}},
		{Name: "the gateway's host", Do: forwarding(func(a *routev3.RouteAction) { a.HostRewriteSpecifier = nil }), Finds: []string{"the API is called by the gateway's host"}},
		{Name: "another cluster", Do: forwarding(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "athd_companion"}
		}), Finds: []string{`"athd_companion" leads to`, "it does not speak TLS", "as if athd did"}},
		{Name: "a cluster that the agent chooses", Do: forwarding(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x-cluster"}
		}), Finds: []string{"the cluster is chosen by the request"}},
		{Name: "a part of the requests to another cluster", Do: forwarding(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: []*routev3.WeightedCluster_ClusterWeight{
				{Name: own, Weight: wrapperspb.UInt32(99)}, {Name: "provider_" + App, Weight: wrapperspb.UInt32(1)},
			}}}
		}), Finds: []string{`"provider_shop" leads to`, "it does not speak TLS"}},
		{Name: "a mirror", Do: forwarding(func(a *routev3.RouteAction) { a.RequestMirrorPolicies = mirror }), Finds: []string{"requests are mirrored"}},
		{Name: "a mirror of the virtual host", Do: func(c *Config) { c.Host(func(h *routev3.VirtualHost) { h.RequestMirrorPolicies = mirror }) }, Finds: []string{"requests are mirrored"}},
		{Name: "retries", Do: forwarding(func(a *routev3.RouteAction) { a.RetryPolicy = &routev3.RetryPolicy{RetryOn: "5xx"} }), Finds: []string{"requests are retried"}, Warning: true},
		{Name: "redirects followed", Do: forwarding(func(a *routev3.RouteAction) {
			a.InternalRedirectPolicy = &routev3.InternalRedirectPolicy{MaxInternalRedirects: wrapperspb.UInt32(1)}
		}), Finds: []string{"Envoy follows redirects"}},
		{Name: "authorization set by the route", Do: onProvider(func(r *routev3.Route) { r.RequestHeadersToAdd = token }), Finds: []string{`it sets the header "Authorization"`}},
		{Name: "authorization removed by the route", Do: onProvider(func(r *routev3.Route) { r.RequestHeadersToRemove = []string{"authorization"} }), Finds: []string{"it removes authorization"}},
		{Name: "bodies that trickle into the handshake", Do: func(c *Config) {
			c.Route("companion", func(r *routev3.Route) { delete(r.TypedPerFilterConfig, "envoy.filters.http.buffer") })
		}, Finds: []string{"bodies reach athd as slowly as they are sent"}, Warning: true},
		{Name: "no hygiene", Do: onProvider(func(r *routev3.Route) { delete(r.TypedPerFilterConfig, hygiene) }),
			Finds: []string{`the API sees "x-ath-agent-id"`, `the API sees "cookie"`}, Warning: true},
		{Name: "no route to a provider", Do: func(c *Config) {
			c.Manager(func(m *hcmv3.HttpConnectionManager) {
				for _, h := range m.GetRouteConfig().VirtualHosts {
					h.Routes = slices.DeleteFunc(h.Routes, func(r *routev3.Route) bool { return r.Name == "proxy_"+App || r.Name == "app_"+App })
				}
			})
		}, Finds: []string{"no route leads to it"}, Warning: true},
		{Name: "an open route to a provider", Do: func(c *Config) {
			c.Route("companion", func(r *routev3.Route) { r.GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: own} })
		}, Finds: []string{"ext_authz is disabled", "matches by a pattern", "called by the gateway's host", "the API sees", "the handshake's paths lead to"}},
		{Name: "the handshake at somebody else's", Do: func(c *Config) {
			other := &clusterv3.Cluster{Name: "other", ConnectTimeout: durationpb.New(time.Second)}
			c.StaticResources.Clusters = append(c.StaticResources.Clusters, other)
			c.Route("companion", func(r *routev3.Route) { r.GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "other"} })
		}, Finds: []string{`the handshake's paths lead to the cluster "other"`, "ext_authz is disabled", "the API sees", "has no endpoints", "as if athd did"}},
	}
}

// clustered edits the provider's cluster.
func clustered(name string, change func(*clusterv3.Cluster)) func(*Config) {
	return func(c *Config) { c.Cluster(name, change) }
}

func address(c *clusterv3.Cluster) *corev3.SocketAddress {
	return c.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetSocketAddress()
}

func verifying(change func(*tlsv3.CertificateValidationContext)) func(*Config) {
	return secured(func(t *tlsv3.UpstreamTlsContext) { change(t.CommonTlsContext.GetValidationContext()) })
}

func secured(change func(*tlsv3.UpstreamTlsContext)) func(*Config) {
	return func(c *Config) { c.TLS(change) }
}

// another adds a replica of athd, where nobody expects one, to the cluster.
func another(change func(*clusterv3.Cluster)) func(*Config) {
	return clustered("athd_authz", func(c *clusterv3.Cluster) {
		all := c.LoadAssignment.Endpoints[0]
		all.LbEndpoints = append(all.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/athd/other.sock"}}}},
		}})
		change(c)
	})
}

func ofClusters() []Mutation {
	return []Mutation{
		{Name: "another replica, whose health nobody asks", Do: another(func(c *clusterv3.Cluster) { c.HealthChecks = nil }),
			Finds: []string{`it asks "unix:/run/athd/other.sock", not athd at`, "athd's health is not asked"}},
		{Name: "another replica, and checks are not made again", Do: func(c *Config) {
			another(func(*clusterv3.Cluster) {})(c)
			asked(func(e *extauthzv3.ExtAuthz) { e.GetGrpcService().RetryPolicy = nil })(c)
		}, Finds: []string{`it asks "unix:/run/athd/other.sock", not athd at`, "a check that a replica never answered is not made again"}},
		{Name: "another port", Do: clustered(own, func(c *clusterv3.Cluster) {
			address(c).PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: 8443}
		}),
			Finds: []string{`leads to "api.github.com:8443", which is not the API`}},
		{Name: "another address, as the app's", Do: clustered("provider_"+App, func(c *clusterv3.Cluster) { address(c).Address = "192.0.2.7" }),
			Finds: []string{`leads to "192.0.2.7:3000", which is not the API`}},
		{Name: "plaintext", Do: clustered(own, func(c *clusterv3.Cluster) { c.TransportSocket, c.TypedExtensionProtocolOptions = nil, nil }), Finds: []string{"it does not speak TLS", "as if athd did"}},
		{Name: "no CA", Do: verifying(func(v *tlsv3.CertificateValidationContext) { v.TrustedCa = nil; v.MatchTypedSubjectAltNames = nil }),
			Finds: []string{"certificates are not verified", "a certificate for any name is accepted"}},
		{Name: "any name", Do: verifying(func(v *tlsv3.CertificateValidationContext) { v.MatchTypedSubjectAltNames = nil }), Finds: []string{"a certificate for any name is accepted"}},
		{Name: "other names", Do: verifying(func(v *tlsv3.CertificateValidationContext) {
			v.MatchTypedSubjectAltNames[0].Matcher = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "github.com"}}
		}), Finds: []string{"certificates for other names"}},
		{Name: "untrusted certificates", Do: verifying(func(v *tlsv3.CertificateValidationContext) {
			v.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		}), Finds: []string{"ACCEPT_UNTRUSTED"}},
		{Name: "expired certificates", Do: verifying(func(v *tlsv3.CertificateValidationContext) { v.AllowExpiredCertificate = true }), Finds: []string{"expired certificates are accepted"}},
		{Name: "another SNI", Do: secured(func(t *tlsv3.UpstreamTlsContext) { t.Sni = "evil.example" }), Finds: []string{`it asks for the host "evil.example" (SNI)`}},
		{Name: "no SNI", Do: secured(func(t *tlsv3.UpstreamTlsContext) { t.Sni = "" }), Finds: []string{"it does not say which host it means (SNI)"}, Warning: true},
		{Name: "TLS 1.0", Do: secured(func(t *tlsv3.UpstreamTlsContext) {
			t.CommonTlsContext.TlsParams.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_0
		}), Finds: []string{"it allows TLS older than 1.2"}},
		{Name: "a cluster that leads where connections came from", Do: clustered("provider_"+App, func(c *clusterv3.Cluster) {
			c.ClusterDiscoveryType, c.LoadAssignment = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}, nil
			c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		}), Finds: []string{"leads wherever whoever connects says"}},
		{Name: "somebody else is asked", Do: clustered("athd_authz", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: "192.0.2.9", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 9001},
			}}}
		}), Finds: []string{`it asks "192.0.2.9:9001", not athd`, "in plaintext, and the answers hold users' tokens"}},
		{Name: "athd is asked by HTTP/1", Do: clustered("athd_authz", func(c *clusterv3.Cluster) { c.TypedExtensionProtocolOptions, c.HealthChecks = nil, nil }), Finds: []string{"it does not speak HTTP/2"}},
		{Name: "few questions at once", Do: clustered("athd_authz", func(c *clusterv3.Cluster) { c.CircuitBreakers = nil }), Finds: []string{"its circuit breaker allows few requests"}, Warning: true},
		{Name: "athd put out", Do: clustered("athd_authz", func(c *clusterv3.Cluster) { c.CommonLbConfig.HealthyPanicThreshold.Value = 0 }), Finds: []string{"outlier detection may put every athd out"}, Warning: true},
	}
}
