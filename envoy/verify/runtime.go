package verify

import (
	"strings"

	lookupclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	lookupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
)

// bootstrapPrints ends remedies that would be long else.
const bootstrapPrints = "as athd bootstrap prints it"

// isRuntime reports whether a target leads wherever athd's reply says, to providers
// that came while athd runs: it tells athd so, or it leads to the cluster for it.
func (m *manager) isRuntime(w *target) bool {
	if !w.forwards() {
		return false
	}
	_, told, _ := w.told(envoy.ExtRuntime)
	return m.anywhere(w.cluster) && (told || m.runtimeCluster(w.cluster))
}

// anywhere reports whether a cluster leads to the host that a request names.
func (v *verifier) anywhere(cluster string) bool {
	return lookupOf(v.clusters[cluster].GetClusterType().GetTypedConfig()) != nil
}

// runtimeCluster reports whether a cluster is that of the run-time providers,
// whoever leads there: by its name, or since some route that tells athd so does.
func (v *verifier) runtimeCluster(name string) bool {
	return name == envoy.RuntimeCluster || v.runtimeClusters[name]
}

// verifyRuntimeThere says what is missing where athd takes providers while it runs,
// and this Envoy has no route for them; or the opposite.
func (v *verifier) verifyRuntimeThere() {
	switch {
	case v.expect.ByHost:
	case v.expect.Runtime && !v.toRuntime:
		v.warning("providers that are added while athd runs", "no route leads to them: what agents ask of them is refused",
			"generate Envoy's configuration again, or set envoy.runtime_providers: false in athd.yaml")
	case !v.expect.Runtime && v.toRuntime:
		v.warning("providers that are added while athd runs", "a route leads to them, but athd takes none (envoy.runtime_providers: false)",
			"generate Envoy's configuration again, or set envoy.runtime_providers: true in athd.yaml")
	}
}

// verifyRuntimeTarget verifies a target whose destination athd's reply says: that
// nobody else says it, and that it is judged again when it is known.
func (c *chain) verifyRuntimeTarget(w *target, guards []int, guarded bool) {
	if c.verifyPerRoute(w) {
		c.verifyRuntimeExtensions(w)
		if guarded {
			c.verifyRuntimeGuard(w, guards)
		}
	}
	c.verifyHeaders(w, forAgents)
	c.verifyRuntimeUpstream(w)
}

// verifyRuntimeUpstream verifies where the target leads, checked or not.
func (c *chain) verifyRuntimeUpstream(w *target) {
	c.verifyAction(w)
	c.verifyRuntimeRoute(w)
	c.verifyLookup(w)
	c.verifyRuntimeCluster(w)
	c.verifyFilterState(w)
}

// verifyRuntimeExtensions wants athd to be told that it says where a request goes,
// and nothing that says otherwise.
func (c *chain) verifyRuntimeExtensions(w *target) {
	said := w.extensions()
	if value, there, readable := w.told(envoy.ExtRuntime); !there || readable && value != "true" {
		c.fault(w.where, "it leads to whatever host a request names, and does not tell athd so: no reply of athd's says which", "set "+c.toldBy(envoy.ExtRuntime)+": \"true\"")
	}
	for _, name := range []string{envoy.ExtProvider, envoy.ExtMount} {
		if _, there := said[name]; there {
			c.fault(w.where, "athd is told "+name+" on the route of providers that are added while athd runs: whose token goes where is not said by one reply alone",
				"remove "+c.toldBy(name)+", or lead the route to that provider's own cluster without ath_runtime")
		}
	}
	if _, limited := said[envoy.ExtStream]; !limited {
		c.warning(w.where, "streams and WebSockets may outlive the agent's token: the route does not take their limit",
			"set "+c.toldBy(envoy.ExtStream)+" and the mutation of "+envoy.HeaderStreamEnvoy+", as athd bootstrap prints them")
	}
}

// verifyNotRuntime looks at targets to one place: athd's reply must not say where
// their requests go.
func (c *chain) verifyNotRuntime(w *target) {
	if _, told, _ := w.told(envoy.ExtRuntime); !told || c.unchecked(w) {
		return
	}
	to := "a cluster that the request or a plugin chooses"
	if w.cluster != "" {
		to = "the cluster " + envoy.Quote(w.cluster)
	}
	c.fault(w.where, "athd is told that its reply says where a request goes (ath_runtime), but the route leads to "+to+": another provider's token goes there",
		"remove "+c.toldBy(envoy.ExtRuntime)+": the route "+envoy.Quote(envoy.RuntimeRoute)+" alone has it")
}

// verifyRuntimeGuard wants the guard to admit only what athd allowed for some
// provider, and sent to the host that the request is about to be sent to.
func (c *chain) verifyRuntimeGuard(w *target, guards []int) {
	const remedy = "let the rbac filter want ath_allow: true, a provider and a host (ath_host), and by its condition request.host to be that host, " + bootstrapPrints
	got, holds := c.verifyAssured(w, guards, Fault, remedy)
	switch {
	case !holds:
	case got.provider != "":
		c.fault(w.where, "the guard wants athd's yes to "+envoy.Quote(got.provider)+": providers that are added while athd runs are refused", remedy)
	case !got.some:
		c.fault(w.where, "the guard does not want a provider: what athd lets pass for itself or for people opens this route", remedy)
	case !got.host:
		c.fault(w.where, "the guard does not want a host of athd's: its yes to another route's provider opens this one", remedy)
	case !got.same:
		c.fault(w.where, "the guard does not compare the host of the request with the one that athd said: the user's token may go to a host that the agent names", remedy)
	}
}

// verifyRuntimeRoute wants the path and host to go up as athd's reply said them.
func (c *chain) verifyRuntimeRoute(w *target) {
	a, match := w.route.GetRoute(), w.route.GetMatch()
	if below := w.literal(); match.GetPathSeparatedPrefix()+"/" != ath.ProxyPath && !strings.HasPrefix(below, ath.ProxyPath) {
		c.fault(w.where, "it takes other paths than those below "+ath.ProxyPath+", which are all that athd sends anywhere", "match path_separated_prefix: "+strings.TrimSuffix(ath.ProxyPath, "/"))
	}
	if a.GetPrefixRewrite() != "" || a.GetRegexRewrite() != nil || a.GetPathRewritePolicy() != nil || a.GetPathRewrite() != "" {
		c.fault(w.where, "the path is rewritten behind athd's reply, which says it whole: the API gets another path than was judged", "remove the rewrite of the path")
	}
	if a.GetHostRewriteSpecifier() != nil || a.GetHostRewrite() != "" || w.part.GetHostRewriteLiteral() != "" {
		c.fault(w.where, "the host is rewritten behind athd's reply, which says it: the user's token goes to another host", "remove the rewrite of the host")
	}
}

// verifyLookup looks at the filter that looks hosts up.
func (c *chain) verifyLookup(w *target) {
	config := lookupOf(c.clusters[w.cluster].GetClusterType().GetTypedConfig())
	found := false
	for i, f := range c.filters {
		var lookup lookupv3.FilterConfig
		if !open(f.config, &lookup) || !f.runs(w) {
			continue
		}
		found = true
		if i < c.checkAt {
			c.fault(c.at(f), "it looks hosts up before athd is asked: anybody makes Envoy ask name servers, and for other hosts than athd says", "move it behind "+c.asks()+" and the guard")
		}
		if lookup.GetAllowDynamicHostFromFilterState() {
			c.fault(c.at(f), "another filter may say the host (allow_dynamic_host_from_filter_state)", "remove allow_dynamic_host_from_filter_state")
		}
		if lookup.GetSubClusterConfig() != nil || lookup.GetDnsCacheConfig().GetName() != config.GetDnsCacheConfig().GetName() {
			c.fault(c.at(f), "it looks hosts up for another cluster than "+envoy.Quote(w.cluster)+", which then knows none", "give both the same dns_cache_config, "+bootstrapPrints)
		}
		for _, s := range w.settings(f.name) {
			var per lookupv3.PerRouteConfig
			if open(s.config, &per) && per.GetHostRewriteSpecifier() != nil {
				c.fault(w.where, "another host is looked up than athd said: the user's token goes there", "remove host_rewrite from its settings for "+envoy.Quote(f.name))
			}
		}
	}
	if !found {
		c.fault(w.where, "no filter looks up the hosts that athd says: no API is reached", "put the dynamic_forward_proxy filter behind the guard, "+bootstrapPrints)
	}
}

// lookupOf returns how a cluster finds the host that a request names; nil if it is of
// another kind.
func lookupOf(custom *anypb.Any) *lookupclusterv3.ClusterConfig {
	config := &lookupclusterv3.ClusterConfig{}
	if !open(custom, config) {
		return nil
	}
	return config
}
