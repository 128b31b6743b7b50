package bootstrap

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// workerScope is by which a script on one path would make itself the service
// worker of others, the handshake's among them.
const workerScope = "service-worker-allowed"

// Names of the route to discovery, and of the last routes of each virtual host.
const (
	discoveryRoute = "discovery"
	healthRoute    = "health"
	catchAll       = "not_found"
)

const (
	companionSeconds = 30  // redeeming a code at a slow OAuth server is the longest
	bodySeconds      = 10  // for the body of a request to it
	idleSeconds      = 300 // a stream may last for ever, but not in silence
)

// routeConfig returns one virtual host per host of an app and one for all
// other hosts. The handshake and gateway mode work on each of them.
func (g *generator) routeConfig() *routev3.RouteConfiguration {
	apps := map[string][]*provider.Provider{envoy.AnyHost: nil}
	for _, p := range g.config.Providers.Apps() {
		for _, host := range envoy.Domains(p.App) {
			apps[host] = append(apps[host], p)
		}
	}
	config := &routev3.RouteConfiguration{Name: listenerName, IgnorePortInHostMatching: true}
	if host := g.config.consentHost(); host != "" {
		config.VirtualHosts = append(config.VirtualHosts, g.consentHost(host))
	}
	for _, host := range slices.Sorted(maps.Keys(apps)) {
		config.VirtualHosts = append(config.VirtualHosts, g.virtualHost(host, apps[host]))
	}
	return config
}

// virtualHost lists its routes in the order in which Envoy tries them.
func (g *generator) virtualHost(host string, apps []*provider.Provider) *routev3.VirtualHost {
	var routes []*routev3.Route
	if g.keepsEscapedSlashes() {
		routes = append(routes, g.escapedCompanion())
	}
	on := ath.OnPublic
	if g.config.consentHost() == "" {
		on |= ath.OnConsent
	}
	routes = append(routes, g.companionCrossOrigin()...)
	routes = append(routes, g.companion("companion", pathRegex(companionPattern(on))), g.crossOrigin(g.discovery()))
	for _, p := range g.config.Providers.All() {
		for _, name := range p.Names() {
			routes = append(routes, g.crossOrigin(g.mounted(p, name)))
		}
	}
	if g.config.RuntimeProviders {
		routes = append(routes, g.crossOrigin(g.runtimeProviders()))
	} else {
		routes = append(routes, g.unknownProviderCrossOrigin())
	}
	routes = append(routes, g.unknownHandshake())
	// The longest prefix first: it is the most specific.
	slices.SortStableFunc(apps, func(a, b *provider.Provider) int {
		return cmp.Compare(len(b.App.PathPrefix), len(a.App.PathPrefix))
	})
	for _, p := range apps {
		r := g.native(p)
		if !p.App.Passthrough { // else the app answers the browsers of its people itself
			r = g.crossOrigin(r)
		}
		routes = append(routes, r)
	}
	// Behind the apps, so that one which owns "/" keeps its own (D-4).
	routes = append(routes, g.companion(healthRoute, path(ath.HealthPath)), g.nothing())
	name := host
	if host == envoy.AnyHost {
		name = "any"
	}
	return &routev3.VirtualHost{Name: name, Domains: []string{host}, Routes: routes}
}

// companion leads to athd's own pages, unchecked.
func (g *generator) companion(name string, match *routev3.RouteMatch) *routev3.Route {
	return &routev3.Route{
		Name: name, Match: match,
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: envoy.CompanionCluster},
			Timeout:          seconds(companionSeconds),
			RetryPolicy:      g.sendsAgain(),
			// Of the body too, which may come slowly.
			MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: seconds(companionSeconds + bodySeconds)},
		}},
		RequestHeadersToAdd:  g.clientForCompanion(),
		TypedPerFilterConfig: g.uncheckedWhole(),
	}
}

// discovery is what the companion tells to whoever asks.
func (g *generator) discovery() *routev3.Route {
	r := g.companion(discoveryRoute, pathRegex(discoveryPattern()))
	again := r.GetRoute().RetryPolicy
	again.RetryOn, again.PerTryTimeout = retryReads, seconds(2)
	return r
}

// mounted is a provider in gateway mode, under one of its names. Prefix and rewrite both end with a
// slash: any other pair would match or make paths that were not judged.
func (g *generator) mounted(p *provider.Provider, name string) *routev3.Route {
	target := envoy.Upstream(p)
	action := g.forward(p)
	action.PrefixRewrite = strings.TrimRight(target.EscapedPath(), "/") + "/"
	host := target.Host
	if port := target.Port(); port == "80" && target.Scheme != "https" || port == "443" && target.Scheme == "https" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: host}
	mount := ath.ProxyPath + name + "/"
	strip := providerMutations()
	if p.App != nil {
		strip = g.appMutations(p.App)
	}
	return g.toAPI(p, &routev3.Route{
		Name: "proxy_" + name, Match: prefix(mount),
		Action:                  &routev3.Route_Route{Route: action},
		ResponseHeadersToRemove: g.ofReplies(true),
		TypedPerFilterConfig:    g.checked(p.ID, mount, strip),
	})
}

// native is an app on its own paths. Host and path stay as they came.
func (g *generator) native(p *provider.Provider) *routev3.Route {
	action := g.forward(p)
	match := prefix("/")
	if p.App.PathPrefix != "" {
		// Whole segments: /shop and /shop/cart, not /shopping.
		match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: p.App.PathPrefix}}
	}
	if base := strings.TrimRight(envoy.Upstream(p).EscapedPath(), "/"); base != "" {
		action.PrefixRewrite = base + cmp.Or(p.App.PathPrefix, "/")
	}
	return g.toAPI(p, &routev3.Route{
		Name: "app_" + p.ID, Match: match,
		Action:                  &routev3.Route_Route{Route: action},
		ResponseHeadersToRemove: g.ofReplies(!p.App.Passthrough),
		TypedPerFilterConfig:    g.checked(p.ID, "", g.appMutations(p.App)),
	})
}

// toAPI is a route to a provider's API as it is, or retried.
func (g *generator) toAPI(p *provider.Provider, r *routev3.Route) *routev3.Route {
	if p.RetryOn401 {
		return g.retried(r)
	}
	return r
}

// forward has no timeout for the whole reply, which would cut streams, and no
// retries, which would repeat what agents do.
func (g *generator) forward(p *provider.Provider) *routev3.RouteAction {
	return &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: providerCluster(p.ID)},
		Timeout:          seconds(0),
		IdleTimeout:      seconds(idleSeconds),
		// Envoy lets it through, so that athd is asked: see the rule for upgrades.
		UpgradeConfigs: []*routev3.RouteAction_UpgradeConfig{{UpgradeType: provider.WebSocket}},
	}
}

// unknownProvider is checked, without telling a provider, so that athd judges
// the token first and answers in its own words (P-1 before P-3), also where the
// id or its slash is missing.
func (g *generator) unknownProvider() *routev3.Route {
	return &routev3.Route{
		Name:   "proxy_unknown",
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: strings.TrimSuffix(ath.ProxyPath, "/")}},
		Action: notFound(),
		// Said here, since a virtual host of the user's own may let all else
		// past the check.
		TypedPerFilterConfig: perFilter{
			g.judgeName():     g.asked(nil),
			envoy.GuardFilter: g.pack(&guardv3.RBACPerRoute{Rbac: &guardv3.RBAC{Rules: guard("")}}),
		},
	}
}

// unknownHandshake keeps the rest of /ath from reaching an app.
func (g *generator) unknownHandshake() *routev3.Route {
	return &routev3.Route{
		Name:                 "ath_unknown",
		Match:                &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: ath.PathRoot}},
		Action:               notFound(),
		TypedPerFilterConfig: g.unchecked(),
	}
}

// escapedCompanion keeps %2F and %5C from the companion's paths.
func (g *generator) escapedCompanion() *routev3.Route {
	return &routev3.Route{Name: "companion_escaped", Match: pathRegex(escapedPattern()), Action: notFound(), TypedPerFilterConfig: g.unchecked()}
}

// nothing says so in the words for it. Without a route there would be no check,
// and the guard would take that for athd being away.
func (g *generator) nothing() *routev3.Route {
	return &routev3.Route{Name: catchAll, Match: prefix("/"), Action: notFound(), TypedPerFilterConfig: g.unchecked()}
}

func notFound() *routev3.Route_DirectResponse {
	return &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 404}}
}

func path(p string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: p}}
}

func prefix(p string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: p}}
}

func pathRegex(r string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: r}}}
}

// perFilter is a route's own word to the filters, by their names.
type perFilter = map[string]*anypb.Any

func yes() *wrapperspb.BoolValue { return wrapperspb.Bool(true) }
