package bootstrap

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/envoy"
)

// An agent gets no cookies (P-9). athd's answer by ext_authz blanks them; by ext_proc
// it would have to be told of each reply.

// ofReplies are headers of an API's reply that go no further on a route.
func (g *generator) ofReplies(agentsOnly bool) []string {
	if g.config.ByExtProc && agentsOnly {
		return []string{workerScope, envoy.HeaderSetCookie}
	}
	return []string{workerScope}
}

// cookies removes them where people share a route with agents.
func (g *generator) cookies() []*hcmv3.HttpFilter {
	if !g.config.ByExtProc || !g.opensToPeople() {
		return nil
	}
	someAgent := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: startsWith("http")}}
	return []*hcmv3.HttpFilter{g.filter(envoy.CookiesFilter, g.chooses(choice{
		g.decided(envoy.MetaAgent, someAgent), envoy.CookiesFilter, &headersv3.HeaderMutation{Mutations: &headersv3.Mutations{
			ResponseMutations: []*mutationv3.HeaderMutation{remove(envoy.HeaderSetCookie)},
		}},
	}))}
}
