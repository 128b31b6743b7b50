package verifyenvoy

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	lookupclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	lookupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/envoy"
)

// RuntimeMutations are ways to break the route of providers that are added while athd
// runs, of a configuration that has one, with a way without TLS.
func RuntimeMutations() []Mutation {
	return slices.Concat(ofTheRuntimeGuard(), ofTheRuntimeRoute(), ofTheLookup(), ofTheEgress(), ofTheRuntimeCluster(), ofTheWayWithoutTLS(), ofHealing())
}

// onRuntime edits the route, on every host.
func onRuntime(change func(*routev3.Route)) func(*Config) {
	return func(c *Config) {
		c.Manager(func(m *hcmv3.HttpConnectionManager) {
			for _, h := range m.GetRouteConfig().VirtualHosts {
				for _, r := range h.Routes {
					if r.Name == envoy.RuntimeRoute {
						change(r)
					}
				}
			}
		})
	}
}

func onRuntimeGuard(change func(*rbacv3.RBAC)) func(*Config) {
	return onRuntime(func(r *routev3.Route) {
		edit(r.TypedPerFilterConfig[guard], &guardv3.RBACPerRoute{}, func(p *guardv3.RBACPerRoute) { change(p.Rbac.Rules) })
	})
}

// onRuntimePolicy edits the one policy of the guard.
func onRuntimePolicy(change func(*rbacv3.Policy)) func(*Config) {
	return onRuntimeGuard(func(r *rbacv3.RBAC) {
		for _, p := range r.Policies {
			change(p)
		}
	})
}

// unwanted leaves out of the guard what it wants of one key of the metadata.
func unwanted(key string) func(*Config) {
	return onRuntimePolicy(func(p *rbacv3.Policy) {
		ids := p.Principals[0].GetAndIds()
		ids.Ids = slices.DeleteFunc(ids.Ids, func(id *rbacv3.Principal) bool {
			return id.GetSourcedMetadata().GetMetadataMatcher().GetPath()[0].GetKey() == key
		})
	})
}

func call(function string, args ...*expr.Expr) *expr.Expr {
	return &expr.Expr{ExprKind: &expr.Expr_CallExpr{CallExpr: &expr.Expr_Call{Function: function, Args: args}}}
}

func truth() *expr.Expr {
	return &expr.Expr{ExprKind: &expr.Expr_ConstExpr{ConstExpr: &expr.Constant{ConstantKind: &expr.Constant_BoolValue{BoolValue: true}}}}
}

func ofTheRuntimeGuard() []Mutation {
	weaker := func(change func(*expr.Expr) *expr.Expr) func(*Config) {
		return onRuntimePolicy(func(p *rbacv3.Policy) { p.Condition = change(p.Condition) })
	}
	const compares = "the guard does not compare the host"
	return []Mutation{
		{Name: "the runtime route's guard taken away", Do: onRuntime(func(r *routev3.Route) { r.TypedPerFilterConfig[guard] = pack(&guardv3.RBACPerRoute{}) }), Finds: []string{"the guard is disabled"}},
		{Name: "the runtime route's guard disabled", Do: onRuntime(func(r *routev3.Route) { r.TypedPerFilterConfig[guard] = pack(&routev3.FilterConfig{Disabled: true}) }), Finds: []string{"the guard is disabled"}},
		{Name: "the runtime route's guard turned around", Do: onRuntimeGuard(func(r *rbacv3.RBAC) { r.Action = rbacv3.RBAC_DENY }), Finds: []string{"does not want athd's yes"}},
		{Name: "the runtime route's guard of one provider", Do: func(c *Config) {
			var of *anyOf
			c.Route("proxy_"+Provider, func(r *routev3.Route) { of = r.TypedPerFilterConfig[guard] })
			onRuntime(func(r *routev3.Route) { r.TypedPerFilterConfig[guard] = of })(c)
		}, Finds: []string{`the guard wants athd's yes to "github"`}},
		{Name: "any yes on the runtime route", Do: unwanted(envoy.MetaProvider), Finds: []string{"the guard does not want a provider"}},
		{Name: "no host wanted on the runtime route", Do: unwanted(envoy.MetaHost), Finds: []string{"the guard does not want a host"}},
		{Name: "hosts not compared", Do: weaker(func(*expr.Expr) *expr.Expr { return nil }), Finds: []string{compares}},
		{Name: "hosts compared, or else anything", Do: weaker(func(e *expr.Expr) *expr.Expr { return call("_||_", e, truth()) }), Finds: []string{compares}},
		{Name: "hosts that differ", Do: weaker(func(e *expr.Expr) *expr.Expr { return call("_!=_", e.GetCallExpr().Args...) }), Finds: []string{compares}},
		{Name: "the host compared with itself", Do: weaker(func(e *expr.Expr) *expr.Expr {
			return call("_==_", e.GetCallExpr().Args[0], proto.Clone(e.GetCallExpr().Args[0]).(*expr.Expr))
		}), Finds: []string{compares}},
		{Name: "a second door beside the comparison", Do: onRuntimeGuard(func(r *rbacv3.RBAC) {
			for _, p := range r.Policies {
				second := proto.Clone(p).(*rbacv3.Policy)
				second.Condition = nil
				r.Policies["second"] = second
				return
			}
		}), Finds: []string{compares}},
	}
}

func ofTheRuntimeRoute() []Mutation {
	rewrites := func(change func(*routev3.RouteAction)) func(*Config) {
		return onRuntime(func(r *routev3.Route) { change(r.GetRoute()) })
	}
	untold := func(r *routev3.Route) {
		edit(r.TypedPerFilterConfig[check], &extauthzv3.ExtAuthzPerRoute{}, func(p *extauthzv3.ExtAuthzPerRoute) {
			delete(p.GetCheckSettings().ContextExtensions, envoy.ExtRuntime)
		})
	}
	return []Mutation{
		{Name: "the runtime route unchecked", Do: onRuntime(func(r *routev3.Route) {
			r.TypedPerFilterConfig[check] = pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})
		}), Finds: []string{"ext_authz is disabled"}},
		{Name: "the runtime route unchecked by FilterConfig", Do: onRuntime(func(r *routev3.Route) {
			r.TypedPerFilterConfig[check] = pack(&routev3.FilterConfig{Disabled: true})
		}), Finds: []string{"ext_authz is disabled"}},
		{Name: "an unchecked route to the runtime cluster", Do: func(c *Config) {
			c.Host(func(h *routev3.VirtualHost) {
				h.Routes = slices.Insert(h.Routes, 0, &routev3.Route{
					Name:   "forward",
					Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/forward/"}},
					Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: envoy.RuntimeCluster}}},
					TypedPerFilterConfig: map[string]*anyOf{
						check: pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}}),
						guard: pack(&guardv3.RBACPerRoute{}), envoy.LookupFilter: pack(&lookupv3.PerRouteConfig{}),
					},
				})
			})
		}, Finds: []string{"ext_authz is disabled", "it takes other paths", "is set by no filter", `the API sees`}},
		{Name: "ath_runtime not told", Do: onRuntime(untold), Finds: []string{"does not tell athd so"}},
		{Name: "ath_runtime told beside a provider", Do: onRuntime(telling(envoy.ExtProvider, Provider)), Finds: []string{"athd is told ath_provider on the route of providers that are added while athd runs"}},
		{Name: "ath_runtime told beside a mount", Do: onRuntime(telling(envoy.ExtMount, "/ath/proxy/")), Finds: []string{"athd is told ath_mount on the route of providers that are added while athd runs"}},
		{Name: "ath_runtime told on a second route", Do: onProvider(telling(envoy.ExtRuntime, "true")), Finds: []string{"athd is told that its reply says where a request goes"}},
		{Name: "ath_runtime told to a cluster that leads to one place", Do: rewrites(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "athd_companion"}
		}), Finds: []string{"athd is told that its reply says where a request goes", "no route leads to them", `a reply may change ":path"`}},
		{Name: "the runtime route by the agent's header", Do: rewrites(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x-cluster"}
		}), Finds: []string{"the route leads to a cluster that the request or a plugin chooses", "no route leads to them", `a reply may change ":path"`}},
		{Name: "no runtime route", Do: func(c *Config) {
			c.Manager(func(m *hcmv3.HttpConnectionManager) {
				for _, h := range m.GetRouteConfig().VirtualHosts {
					h.Routes = slices.DeleteFunc(h.Routes, func(r *routev3.Route) bool { return r.Name == envoy.RuntimeRoute })
				}
			})
			asked(func(e *extauthzv3.ExtAuthz) {
				e.DecoderHeaderMutationRules.DisallowExpression = pattern(":.*")
			})(c)
		}, Finds: []string{"no route leads to them"}, Warning: true},
		{Name: "another path than athd says", Do: rewrites(func(a *routev3.RouteAction) { a.PrefixRewrite = "/" }), Finds: []string{"the path is rewritten behind athd's reply"}},
		{Name: "another host than athd says", Do: rewrites(func(a *routev3.RouteAction) {
			a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: "evil.example"}
		}), Finds: []string{"the host is rewritten behind athd's reply"}},
		{Name: "the runtime route for all paths", Do: onRuntime(func(r *routev3.Route) {
			r.Match.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/ath"}
		}), Finds: []string{"it takes other paths than those below"}},
		{Name: "the runtime route mirrored", Do: rewrites(func(a *routev3.RouteAction) {
			a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "athd_companion"}}
		}), Finds: []string{"requests are mirrored"}},
		{Name: "what is agents' shown to runtime APIs", Do: onRuntime(func(r *routev3.Route) { delete(r.TypedPerFilterConfig, hygiene) }),
			Finds: []string{"the API sees"}, Warning: true},
		{Name: "runtime streams without end", Do: onRuntime(func(r *routev3.Route) {
			edit(r.TypedPerFilterConfig[check], &extauthzv3.ExtAuthzPerRoute{}, func(p *extauthzv3.ExtAuthzPerRoute) {
				delete(p.GetCheckSettings().ContextExtensions, envoy.ExtStream)
			})
		}), Finds: []string{"may outlive the agent's token"}, Warning: true},
		{Name: "the route chosen again after athd's reply", Do: asked(func(e *extauthzv3.ExtAuthz) { e.ClearRouteCache = true }), Finds: []string{"the route is chosen again"}},
		{Name: "replies that may not lead", Do: asked(func(e *extauthzv3.ExtAuthz) {
			e.DecoderHeaderMutationRules.DisallowExpression = pattern(":authority")
		}), Finds: []string{`may not change ":authority"`}},
		{Name: "replies that may lead anywhere", Do: asked(func(e *extauthzv3.ExtAuthz) {
			e.DecoderHeaderMutationRules = &mutationv3.HeaderMutationRules{DisallowAll: e.DecoderHeaderMutationRules.DisallowAll, AllowExpression: pattern("^:.*|authorization|cookie|(x|remote|cf|ssl|tailscale)-[!-~]*$")}
		}), Finds: []string{`a reply may change ":method"`}},
	}
}

func ofTheLookup() []Mutation {
	lookup := func(change func(*lookupv3.FilterConfig)) func(*Config) {
		return func(c *Config) {
			c.Filter(envoy.LookupFilter, func(f *hcmv3.HttpFilter) { edit(f.GetTypedConfig(), &lookupv3.FilterConfig{}, change) })
		}
	}
	return []Mutation{
		{Name: "hosts not looked up", Do: onRuntime(func(r *routev3.Route) { delete(r.TypedPerFilterConfig, envoy.LookupFilter) }), Finds: []string{"no filter looks up the hosts"}},
		{Name: "hosts looked up before the check", Do: func(c *Config) {
			c.Manager(func(m *hcmv3.HttpConnectionManager) {
				at := slices.IndexFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.LookupFilter })
				f := m.HttpFilters[at]
				m.HttpFilters = slices.Insert(slices.Delete(m.HttpFilters, at, at+1), 0, f)
			})
		}, Finds: []string{"it looks hosts up before athd is asked"}},
		{Name: "another host looked up", Do: onRuntime(func(r *routev3.Route) {
			r.TypedPerFilterConfig[envoy.LookupFilter] = pack(&lookupv3.PerRouteConfig{HostRewriteSpecifier: &lookupv3.PerRouteConfig_HostRewriteHeader{HostRewriteHeader: "x-host"}})
		}), Finds: []string{"another host is looked up than athd said"}},
		{Name: "the host out of the filter state", Do: lookup(func(l *lookupv3.FilterConfig) { l.AllowDynamicHostFromFilterState = true }), Finds: []string{"another filter may say the host"}},
		{Name: "hosts looked up for nobody", Do: lookup(func(l *lookupv3.FilterConfig) { l.GetDnsCacheConfig().Name = "other" }), Finds: []string{"it looks hosts up for another cluster"}},
		{Name: "the host out of another filter", Do: insert(3, "steer", &setstatev3.Config{OnRequestHeaders: []*statev3.FilterStateValue{{
			Key:   &statev3.FilterStateValue_ObjectKey{ObjectKey: "envoy.network.upstream_server_name"},
			Value: stateOf("%REQ(x-sni)%"), SharedWithUpstream: statev3.FilterStateValue_ONCE,
		}}}), Finds: []string{`a filter sets "envoy.network.upstream_server_name"`}},
	}
}

func stateOf(format string) *statev3.FilterStateValue_FormatString {
	return &statev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: format},
		}},
	}}
}

// onEgress edits the filter that judges addresses.
func onEgress(change func(*hcmv3.HttpFilter)) func(*Config) {
	return clearing(envoy.RuntimeCluster, func(o *httpv3.HttpProtocolOptions) {
		for _, f := range o.HttpFilters {
			if f.Name == envoy.EgressFilter {
				change(f)
				return
			}
		}
		panic("verifyenvoy: no filter " + envoy.EgressFilter)
	})
}

func onEgressRules(change func(*rbacv3.RBAC)) func(*Config) {
	return onEgress(func(f *hcmv3.HttpFilter) {
		edit(f.GetTypedConfig(), &guardv3.RBAC{}, func(g *guardv3.RBAC) { change(g.Rules) })
	})
}

// onPermission edits all permissions of the rules that are for TLS.
func onPermission(change func(*rbacv3.Permission)) func(*Config) {
	return onEgressRules(func(r *rbacv3.RBAC) {
		var walk func(p *rbacv3.Permission)
		walk = func(p *rbacv3.Permission) {
			change(p)
			for _, one := range slices.Concat(p.GetAndRules().GetRules(), p.GetOrRules().GetRules()) {
				walk(one)
			}
			if p.GetNotRule() != nil {
				walk(p.GetNotRule())
			}
		}
		for _, p := range r.Policies["athd-egress"].Permissions {
			walk(p)
		}
	})
}

func anything() *rbacv3.Policy {
	return &rbacv3.Policy{
		Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}},
		Principals:  []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}},
	}
}

func ofTheEgress() []Mutation {
	const nobody, opens = "no filter judges the addresses", "which athd's egress keeps closed"
	off := func(c *Config) *anyOf { return pack(&routev3.FilterConfig{Disabled: true}) }
	without := func(address string) func(*Config) {
		return onPermission(func(p *rbacv3.Permission) {
			if or := p.GetOrRules(); or != nil {
				or.Rules = slices.DeleteFunc(or.Rules, func(p *rbacv3.Permission) bool { return upstreamIP(p) == address })
			}
		})
	}
	return []Mutation{
		{Name: "no judge of addresses", Do: clearing(envoy.RuntimeCluster, func(o *httpv3.HttpProtocolOptions) {
			o.HttpFilters = slices.DeleteFunc(o.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.EgressFilter })
		}), Finds: []string{nobody}},
		{Name: "a judge of addresses that sleeps", Do: onEgress(func(f *hcmv3.HttpFilter) { f.Disabled = true }), Finds: []string{`the filter "athd.egress" is disabled`}},
		{Name: "a judge of addresses that the route disables", Do: func(c *Config) {
			onRuntime(func(r *routev3.Route) { r.TypedPerFilterConfig[envoy.EgressFilter] = off(c) })(c)
		}, Finds: []string{`the filter "athd.egress" is disabled`}},
		{Name: "a judge of addresses that the virtual host disables", Do: func(c *Config) {
			c.Host(func(h *routev3.VirtualHost) { h.TypedPerFilterConfig = map[string]*anyOf{envoy.EgressFilter: off(c)} })
		}, Finds: []string{`the filter "athd.egress" is disabled`, `settings for the filter "athd.egress", which is not in the chain`}},
		{Name: "a judge of addresses without rules on the route", Do: onRuntime(func(r *routev3.Route) {
			r.TypedPerFilterConfig[envoy.EgressFilter] = pack(&guardv3.RBACPerRoute{})
		}), Finds: []string{nobody}},
		{Name: "a judge of addresses with other rules on the route", Do: onRuntime(func(r *routev3.Route) {
			r.TypedPerFilterConfig[envoy.EgressFilter] = pack(&guardv3.RBACPerRoute{Rbac: &guardv3.RBAC{Rules: &rbacv3.RBAC{Policies: map[string]*rbacv3.Policy{"any": anything()}}}})
		}), Finds: []string{opens}},
		{Name: "a judge of addresses that only tries", Do: onEgress(func(f *hcmv3.HttpFilter) {
			edit(f.GetTypedConfig(), &guardv3.RBAC{}, func(g *guardv3.RBAC) { g.ShadowRules, g.Rules = g.Rules, nil })
		}), Finds: []string{nobody}},
		{Name: "a judge of addresses turned around", Do: onEgressRules(func(r *rbacv3.RBAC) { r.Action = rbacv3.RBAC_DENY }), Finds: []string{opens, "where athd lets providers be"}},
		{Name: "a judge of addresses with a second door", Do: onEgressRules(func(r *rbacv3.RBAC) { r.Policies["monitoring"] = anything() }), Finds: []string{opens}},
		{Name: "the metadata service", Do: without("169.254.0.0"), Finds: []string{`connects to "169.254.0.0/16" at port`}},
		{Name: "a private range", Do: without("192.168.0.0"), Finds: []string{`connects to "192.168.0.0/16" at port`}},
		{Name: "shared addresses", Do: without("100.64.0.0"), Finds: []string{`connects to "100.64.0.0/10" at port`}},
		{Name: "all of IPv6", Do: onPermission(func(p *rbacv3.Permission) { edges(p, "2000::", 0) }), Finds: []string{opens}},
		{Name: "an exception that athd does not have", Do: onPermission(func(p *rbacv3.Permission) { edges(p, "10.20.0.0", 8) }), Finds: []string{`connects to "10.0.0.0/8" at port`}},
		{Name: "an exception for every port", Do: onPermission(func(p *rbacv3.Permission) { everyPort(p, "127.0.0.1") }), Finds: []string{`connects to "127.0.0.1/32" at port`}},
		{Name: "an exception that athd has, and Envoy not", Do: without("10.20.0.0"), Finds: []string{`it refuses "10.20.0.0/16"`}, Warning: true},
	}
}

func ofTheRuntimeCluster() []Mutation {
	cluster := func(change func(*clusterv3.Cluster)) func(*Config) { return clustered(envoy.RuntimeCluster, change) }
	tls := func(change func(*tlsv3.UpstreamTlsContext)) func(*Config) {
		return cluster(func(c *clusterv3.Cluster) {
			edit(c.TransportSocket.GetTypedConfig(), &tlsv3.UpstreamTlsContext{}, change)
		})
	}
	auto := func(change func(*corev3.UpstreamHttpProtocolOptions)) func(*Config) {
		return func(c *Config) {
			// Without this Envoy takes no other than both.
			cluster(func(one *clusterv3.Cluster) {
				edit(one.GetClusterType().GetTypedConfig(), &lookupclusterv3.ClusterConfig{}, func(l *lookupclusterv3.ClusterConfig) { l.AllowInsecureClusterOptions = true })
			})(c)
			clearing(envoy.RuntimeCluster, func(o *httpv3.HttpProtocolOptions) { change(o.UpstreamHttpProtocolOptions) })(c)
		}
	}
	// Filter and cluster share what they look up, and must say the same of it.
	resolved := func(change func(*lookupclusterv3.ClusterConfig)) func(*Config) {
		return func(c *Config) {
			l := &lookupclusterv3.ClusterConfig{}
			cluster(func(one *clusterv3.Cluster) { edit(one.GetClusterType().GetTypedConfig(), l, change) })(c)
			c.Filter(envoy.LookupFilter, func(f *hcmv3.HttpFilter) {
				edit(f.GetTypedConfig(), &lookupv3.FilterConfig{}, func(f *lookupv3.FilterConfig) {
					f.ImplementationSpecifier = &lookupv3.FilterConfig_DnsCacheConfig{DnsCacheConfig: l.GetDnsCacheConfig()}
				})
			})
		}
	}
	return []Mutation{
		{Name: "runtime APIs in plaintext", Do: func(c *Config) {
			cluster(func(c *clusterv3.Cluster) { c.TransportSocket = nil })(c)
			auto(func(*corev3.UpstreamHttpProtocolOptions) {})(c)
		}, Finds: []string{"it does not speak TLS"}},
		{Name: "runtime APIs' certificates not verified", Do: tls(func(t *tlsv3.UpstreamTlsContext) { t.CommonTlsContext.ValidationContextType = nil }), Finds: []string{"certificates are not verified"}},
		{Name: "runtime APIs' names not verified", Do: auto(func(u *corev3.UpstreamHttpProtocolOptions) { u.AutoSanValidation = false }), Finds: []string{"a certificate for any name is accepted"}},
		{Name: "runtime APIs not asked for by name", Do: auto(func(u *corev3.UpstreamHttpProtocolOptions) { u.AutoSni = false }), Finds: []string{"it asks for another host than the request's"}},
		{Name: "the name of the certificate by a header", Do: auto(func(u *corev3.UpstreamHttpProtocolOptions) { u.OverrideAutoSniHeader = "x-name" }), Finds: []string{`is that of the header "x-name"`}},
		{Name: "old TLS to runtime APIs", Do: tls(func(t *tlsv3.UpstreamTlsContext) {
			t.CommonTlsContext.TlsParams.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_0
		}), Finds: []string{"it allows TLS older than 1.2"}},
		{Name: "runtime APIs that may speak for athd", Do: clearing(envoy.RuntimeCluster, func(o *httpv3.HttpProtocolOptions) {
			o.HttpFilters = slices.DeleteFunc(o.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.GetTypedConfig().MessageIs(&headersv3.HeaderMutation{}) })
		}), Finds: []string{"the API may answer with x-ath-* headers", "the API may answer with x-ath-* trailers"}},
		{Name: "all that a name resolves to", Do: resolved(func(l *lookupclusterv3.ClusterConfig) { l.GetDnsCacheConfig().ResolvedAddressFilter = nil }), Finds: []string{"beside its first address"}},
		{Name: "a part of what a name resolves to", Do: resolved(func(l *lookupclusterv3.ClusterConfig) {
			f := l.GetDnsCacheConfig().ResolvedAddressFilter
			f.Ranges = f.Ranges[1:]
		}), Finds: []string{"beside its first address"}},
		{Name: "only what is closed", Do: resolved(func(l *lookupclusterv3.ClusterConfig) { l.GetDnsCacheConfig().ResolvedAddressFilter.InvertMatch = true }), Finds: []string{"beside its first address", "are not found"}},
		{Name: "connections shared by hosts", Do: resolved(func(l *lookupclusterv3.ClusterConfig) { l.AllowCoalescedConnections = true }), Finds: []string{"one host's connection is used for another"}},
		{Name: "a cluster of somebody else for runtime providers", Do: func(c *Config) {
			c.Cluster(envoy.RuntimeCluster, func(one *clusterv3.Cluster) {
				theirs := proto.Clone(one).(*clusterv3.Cluster)
				theirs.Name = "forward_proxy"
				edit(theirs.TypedExtensionProtocolOptions[httpOptions], &httpv3.HttpProtocolOptions{}, func(o *httpv3.HttpProtocolOptions) { o.HttpFilters = nil })
				c.StaticResources.Clusters = append(c.StaticResources.Clusters, theirs)
			})
			onRuntime(func(r *routev3.Route) {
				r.GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "forward_proxy"}
			})(c)
		}, Finds: []string{"no filter judges the addresses", "the API may answer with x-ath-* headers", "the API may answer with x-ath-* trailers"}},
	}
}

func ofTheWayWithoutTLS() []Mutation {
	said := func(change func(*statev3.FilterStateValue)) func(*Config) {
		return onRuntime(func(r *routev3.Route) {
			edit(r.TypedPerFilterConfig[envoy.TransportFilter], &setstatev3.Config{}, func(s *setstatev3.Config) { change(s.OnRequestHeaders[0]) })
		})
	}
	return []Mutation{
		{Name: "no TLS by a header of the agent's", Do: said(func(s *statev3.FilterStateValue) { s.Value = stateOf("%REQ(x-ath-upstream)%") }), Finds: []string{"is not what athd's reply says"}},
		{Name: "no TLS for all", Do: said(func(s *statev3.FilterStateValue) { s.Value = stateOf("http") }), Finds: []string{"is not what athd's reply says"}},
		{Name: "no TLS for nobody", Do: said(func(s *statev3.FilterStateValue) {
			s.Key = &statev3.FilterStateValue_ObjectKey{ObjectKey: "other"}
		}), Finds: []string{"is set by no filter"}},
		{Name: "no TLS unless something is said", Do: clustered(envoy.RuntimeCluster, func(c *clusterv3.Cluster) {
			c.TransportSocketMatcher.OnNoMatch = c.TransportSocketMatcher.GetMatcherList().Matchers[0].OnMatch
		}), Finds: []string{"is taken by something else than athd's reply"}},
	}
}
