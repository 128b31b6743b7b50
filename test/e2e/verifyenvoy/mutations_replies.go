package verifyenvoy

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
)

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// onEachHost edits the routes to the provider on every virtual host.
func onEachHost(change func(*routev3.Route)) func(*Config) {
	return func(c *Config) {
		c.Manager(func(m *hcmv3.HttpConnectionManager) {
			for _, h := range m.GetRouteConfig().VirtualHosts {
				for _, r := range h.Routes {
					if r.Name == "proxy_"+Provider {
						change(r)
					}
				}
			}
		})
	}
}

// clearing edits the filters of a provider's cluster.
func clearing(cluster string, change func(*httpv3.HttpProtocolOptions)) func(*Config) {
	return clustered(cluster, func(c *clusterv3.Cluster) {
		edit(c.TypedExtensionProtocolOptions[httpOptions], &httpv3.HttpProtocolOptions{}, change)
	})
}

// cleared edits what the filter that clears replies of x-ath-* does.
func cleared(change func(*headersv3.Mutations)) func(*Config) {
	return clearing(own, func(o *httpv3.HttpProtocolOptions) {
		edit(o.HttpFilters[0].GetTypedConfig(), &headersv3.HeaderMutation{}, func(h *headersv3.HeaderMutation) { change(h.Mutations) })
	})
}

func removing(m *matcherv3.StringMatcher) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{KeyMatcher: m}}}
}

// noCookies removes the header itself.
func noCookies() *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: "Set-Cookie"}}
}

// removesOnly makes the filter remove this, of headers and of trailers, and cookies of
// trailers.
func removesOnly(list ...*mutationv3.HeaderMutation) func(*Config) {
	return cleared(func(m *headersv3.Mutations) {
		m.ResponseMutations, m.ResponseTrailersMutations = list, append([]*mutationv3.HeaderMutation{noCookies()}, list...)
	})
}

func ofReplies() []Mutation {
	exactly := func(name string) *mutationv3.HeaderMutation {
		return removing(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}})
	}
	beginning := func(prefix string) *mutationv3.HeaderMutation {
		return removing(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}})
	}
	like := func(regex string) *mutationv3.HeaderMutation {
		return removing(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: pattern(regex)}})
	}
	ours := []*mutationv3.HeaderMutation{beginning("x-ath-")}
	clear := &headersv3.HeaderMutation{Mutations: &headersv3.Mutations{ResponseMutations: ours, ResponseTrailersMutations: ours}}
	answer := func(name string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: "dec_forged"}}
	}
	none := clearing(own, func(o *httpv3.HttpProtocolOptions) { o.HttpFilters = nil })
	headers, trailers := "the API may answer with x-ath-* headers", "the API may answer with x-ath-* trailers"
	return []Mutation{
		{Name: "an API that may speak for athd", Do: none, Finds: []string{headers, trailers}},
		{Name: "an app that may speak for athd, as others may not", Do: clearing("provider_"+App, func(o *httpv3.HttpProtocolOptions) { o.HttpFilters = nil }), Finds: []string{headers, trailers}},
		{Name: "trailers that may speak for athd", Do: cleared(func(m *headersv3.Mutations) { m.ResponseTrailersMutations = nil }), Finds: []string{trailers}},
		{Name: "cookies in trailers, as before", Do: CookiesInTrailers().Do, Finds: []string{"agents may get cookies in the trailers of the API's replies"}, Warning: true},
		{Name: "cookies removed of headers only", Do: cleared(func(m *headersv3.Mutations) {
			m.ResponseMutations, m.ResponseTrailersMutations = append([]*mutationv3.HeaderMutation{noCookies()}, ours...), ours
		}), Finds: []string{"agents may get cookies in the trailers of the API's replies"}, Warning: true},
		{Name: "trailers only that may not", Do: cleared(func(m *headersv3.Mutations) { m.ResponseMutations = nil }), Finds: []string{headers}},
		{Name: "replies cleared of requests' headers", Do: cleared(func(m *headersv3.Mutations) {
			m.ResponseMutations, m.ResponseTrailersMutations, m.RequestMutations = nil, nil, ours
		}), Finds: []string{headers, trailers}},
		{Name: "replies cleared of another prefix", Do: removesOnly(beginning("x-athd-")), Finds: []string{headers, trailers}},
		{Name: "replies cleared of a longer prefix", Do: removesOnly(beginning("x-ath-decision-")), Finds: []string{headers, trailers}},
		{Name: "replies cleared of a prefix in capitals", Do: removesOnly(beginning("X-ATH-")), Finds: []string{headers, trailers}},
		{Name: "replies cleared of one name", Do: removesOnly(exactly("x-ath-decision-id")), Finds: []string{headers, trailers}},
		{Name: "replies cleared of one name, removed", Do: removesOnly(&mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: "x-ath-decision-id"}}), Finds: []string{headers, trailers}},
		{Name: "replies cleared by a pattern that is too narrow", Do: removesOnly(like("x-ath-(decision-id|any)")), Finds: []string{headers, trailers}},
		{Name: "a clearing that sleeps", Do: clearing(own, func(o *httpv3.HttpProtocolOptions) { o.HttpFilters[0].Disabled = true }), Finds: []string{headers, trailers}},
		{Name: "a clearing that a route disables", Do: onProvider(func(r *routev3.Route) {
			r.TypedPerFilterConfig[replies] = pack(&routev3.FilterConfig{Disabled: true})
		}), Finds: []string{`the route disables "athd.replies"`}},
		{Name: "a clearing of the filter's name on the listener, which a route disables", Do: func(c *Config) {
			clearing(own, func(o *httpv3.HttpProtocolOptions) { o.HttpFilters[0].Name = hygiene })(c)
			onProvider(func(r *routev3.Route) { r.TypedPerFilterConfig[hygiene] = pack(&routev3.FilterConfig{Disabled: true}) })(c)
		}, Finds: []string{`the route disables "envoy.filters.http.header_mutation"`, "trailers of HTTP/2 requests reach the API", "the API sees"}},
		{Name: "a clearing on the listener", Do: func(c *Config) {
			none(c)
			insert(2, "replies", clear)(c)
		}, Finds: []string{headers, trailers, "it removes X-ATH-Decision-ID from athd's own refusals"}},
		{Name: "a clearing of the router's, beside filters of the cluster", Do: func(c *Config) {
			clearing(own, func(o *httpv3.HttpProtocolOptions) { o.HttpFilters = slices.Delete(o.HttpFilters, 0, 1) })(c)
			c.Filter(router, func(f *hcmv3.HttpFilter) {
				edit(f.GetTypedConfig(), &routerv3.Router{}, func(r *routerv3.Router) {
					r.UpstreamHttpFilters = []*hcmv3.HttpFilter{httpFilter(replies, clear), upstreamCodec(c)}
				})
			})
		}, Finds: []string{headers, trailers}},
		{Name: "an API that may speak for an athd that hears of no streams", Do: func(c *Config) {
			none(c)
			untold := func(r *routev3.Route) {
				edit(r.TypedPerFilterConfig[check], &extauthzv3.ExtAuthzPerRoute{}, func(p *extauthzv3.ExtAuthzPerRoute) {
					delete(p.GetCheckSettings().ContextExtensions, "ath_stream")
				})
			}
			onEachHost(untold)(c)
		}, Finds: []string{headers, trailers, "may outlive the agent's token"}, Warning: true},
		{Name: "a route that speaks for athd", Do: onProvider(func(r *routev3.Route) {
			r.ResponseHeadersToAdd = append(r.ResponseHeadersToAdd, answer("X-ATH-Decision-ID"))
		}),
			Finds: []string{`it sets the header "X-ATH-Decision-ID" of the API's replies`}},
		{Name: "a virtual host that speaks for athd", Do: func(c *Config) {
			c.Host(func(h *routev3.VirtualHost) {
				h.ResponseHeadersToAdd = append(h.ResponseHeadersToAdd, answer("x-ath-next"))
			})
		}, Finds: []string{`it sets the header "x-ath-next" of the API's replies`}},
		{Name: "a cluster that speaks for athd", Do: cleared(func(m *headersv3.Mutations) {
			m.ResponseMutations = append(m.ResponseMutations, setting("x-ath-decision-id", "dec_forged"))
		}), Finds: []string{`it sets the header "x-ath-decision-id" of the API's replies`}},
	}
}

// CookiesInTrailers is a configuration of before set-cookie was removed from trailers.
func CookiesInTrailers() Mutation {
	return Mutation{Name: "cookies in trailers", Do: cleared(func(m *headersv3.Mutations) { m.ResponseTrailersMutations = m.ResponseMutations })}
}

// upstreamCodec is the last of a cluster's filters.
func upstreamCodec(c *Config) *hcmv3.HttpFilter {
	var out *hcmv3.HttpFilter
	clearing("provider_"+App, func(o *httpv3.HttpProtocolOptions) {
		out = proto.Clone(o.HttpFilters[len(o.HttpFilters)-1]).(*hcmv3.HttpFilter)
	})(c)
	return out
}

// RepliesCleared are mutations after which an API's replies are cleared all the
// same, and nothing is found.
func RepliesCleared() []Mutation {
	like := removing(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: pattern("x-ath-.*")}})
	return []Mutation{
		{Name: "by a pattern", Do: removesOnly(like)},
		{Name: "by two filters", Do: func(c *Config) {
			clearing(own, func(o *httpv3.HttpProtocolOptions) {
				second := proto.Clone(o.HttpFilters[0]).(*hcmv3.HttpFilter)
				second.Name = "second"
				edit(second.GetTypedConfig(), &headersv3.HeaderMutation{}, func(h *headersv3.HeaderMutation) { h.Mutations.ResponseMutations = nil })
				edit(o.HttpFilters[0].GetTypedConfig(), &headersv3.HeaderMutation{}, func(h *headersv3.HeaderMutation) { h.Mutations.ResponseTrailersMutations = nil })
				o.HttpFilters = slices.Insert(o.HttpFilters, 1, second)
			})(c)
		}},
		{Name: "under the name that it had", Do: clearing(own, func(o *httpv3.HttpProtocolOptions) { o.HttpFilters[0].Name = hygiene })},
		{Name: "asleep, and woken by the route", Do: func(c *Config) {
			clearing(own, func(o *httpv3.HttpProtocolOptions) { o.HttpFilters[0].Disabled = true })(c)
			onEachHost(func(r *routev3.Route) {
				r.TypedPerFilterConfig[replies] = pack(&routev3.FilterConfig{Config: pack(&headersv3.HeaderMutationPerRoute{Mutations: &headersv3.Mutations{}})})
			})(c)
		}},
	}
}
