package bootstrap

import (
	"net/url"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/envoy"
)

const corsFilter = "envoy.filters.http.cors"

// companionCORS names the route to what agents in browsers ask of the companion.
const companionCORS = "companion_cors"

const preflightSeconds = "600" // a browser's memory of an answer

// cors is the filter for requests of browsers' scripts (Fetch, CORS protocol). It
// stands before the check, since a preflight carries no token, and so that a
// refusal of athd's is told the origin, too. On routes without a policy it does
// nothing. None where no origin is allowed.
func (g *generator) cors() []*hcmv3.HttpFilter {
	if len(g.config.AllowedOrigins) == 0 {
		return nil
	}
	return []*hcmv3.HttpFilter{g.filter(corsFilter, &corsv3.Cors{})}
}

// crossOrigin opens a route to scripts of the allowed origins, without their
// users' cookies.
func (g *generator) crossOrigin(r *routev3.Route) *routev3.Route {
	if len(g.config.AllowedOrigins) == 0 {
		return r
	}
	policy := &corsv3.CorsPolicy{
		AllowMethods:  "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
		AllowHeaders:  "authorization, content-type, x-ath-agent-id",
		ExposeHeaders: "www-authenticate, retry-after, x-ath-decision-id",
		MaxAge:        preflightSeconds,
	}
	for _, origin := range g.config.AllowedOrigins {
		policy.AllowOriginStringMatch = append(policy.AllowOriginStringMatch, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: origin},
		})
	}
	r.TypedPerFilterConfig[corsFilter] = g.pack(policy)
	if r.GetRoute().GetCluster() != envoy.CompanionCluster {
		// The filter writes over the origin that an API allows, not over this.
		r.ResponseHeadersToRemove = append(r.ResponseHeadersToRemove, "access-control-allow-credentials")
	}
	// Else a cache would hand one origin's answer to another.
	r.ResponseHeadersToAdd = append(r.ResponseHeadersToAdd, &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: "vary", Value: "Origin"},
		AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
	})
	return r
}

// companionCrossOrigin is a route to a part of the companion, or none.
func (g *generator) companionCrossOrigin() []*routev3.Route {
	if len(g.config.AllowedOrigins) == 0 {
		return nil
	}
	return []*routev3.Route{g.crossOrigin(g.companion(companionCORS, pathRegex(crossOriginPattern())))}
}

// unknownProviderCrossOrigin leads on, instead of answering: Envoy's filter knows
// policies of such routes only. athd refuses whatever has no provider, so that
// nothing ever arrives.
func (g *generator) unknownProviderCrossOrigin() *routev3.Route {
	r := g.unknownProvider()
	if len(g.config.AllowedOrigins) == 0 {
		return r
	}
	to := g.companion(r.Name, r.Match)
	r.Action = to.Action
	r.TypedPerFilterConfig[bodiesFilter] = to.TypedPerFilterConfig[bodiesFilter]
	return g.crossOrigin(r)
}

// isOrigin reports whether a text is an origin as browsers write it, but for
// its port.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil &&
		s == u.Scheme+"://"+u.Host && !strings.Contains(s, "*")
}
