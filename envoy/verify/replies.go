package verify

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"

	"github.com/athd/athd/envoy"
)

// verifyReplies wants an API's replies on a target to say nothing in athd's name
// (P-9): clients act on what a refusal of athd's says.
func (c *chain) verifyReplies(w *target, cluster *clusterv3.Cluster) {
	c.verifyRepliesCleared(w, cluster)
	c.verifyRepliesUnforged(w, cluster)
	c.verifyRefusalsKept(w)
}

// verifyRepliesCleared wants all x-ath-* removed by filters of the cluster, which
// see what the API answers, and nothing of what athd and Envoy answer. So it does of
// cookies in trailers, of which a decision says nothing; an athd of before did not
// print that, and so it is no fault.
func (c *chain) verifyRepliesCleared(w *target, cluster *clusterv3.Cluster) {
	where := "cluster " + envoy.Quote(cluster.GetName())
	filters := c.upstreamFilters(cluster)
	var sleeping, headers, trailers []*mutationv3.HeaderMutation
	asleep := ""
	for _, f := range filters {
		var h headersv3.HeaderMutation
		if !open(f.config, &h) {
			continue
		}
		m := h.GetMutations()
		if !f.runs(w) {
			if !f.disabled { // not by itself, but by the route
				asleep, sleeping = f.name, append(append(sleeping, m.GetResponseMutations()...), m.GetResponseTrailersMutations()...)
			}
			continue
		}
		headers, trailers = append(headers, m.GetResponseMutations()...), append(trailers, m.GetResponseTrailersMutations()...)
	}
	cleared, trailersCleared := clears(headers), clears(trailers)
	say := c.severityOfReplies(w)
	if (!cleared || !trailersCleared) && clears(sleeping) {
		c.say(say, w.where, "the API may answer with x-ath-* headers, as if athd did: the route disables "+envoy.Quote(asleep)+", which removes them",
			"remove what disables it; a filter of the listener that has the same name needs another one")
		return
	}
	const remedy = "remove what has the prefix x-ath- by header_mutation among the cluster's http_filters (response_mutations and response_trailers_mutations), as athd bootstrap prints it"
	if !cleared {
		c.say(say, where, "the API may answer with x-ath-* headers, as if athd did", remedy)
	}
	switch {
	case !trailersCleared:
		c.say(say, where, "the API may answer with x-ath-* trailers, as if athd did", remedy)
	case !slices.ContainsFunc(trailers, func(m *mutationv3.HeaderMutation) bool { return removes(m, envoy.HeaderSetCookie) }) && !c.hearsTrailers():
		c.warning(where, "agents may get cookies in the trailers of the API's replies",
			"remove set-cookie by response_trailers_mutations of the header_mutation that removes x-ath-* there, or generate the configuration again (athd bootstrap)")
	}
}

// hearsTrailers reports whether athd itself removes cookies from trailers.
func (c *chain) hearsTrailers() bool {
	return slices.ContainsFunc(c.heard(), func(h heard) bool {
		return h.is(envoy.RoleReply) && h.GetProcessingMode().GetResponseTrailerMode() == extprocv3.ProcessingMode_SEND
	})
}

// severityOfReplies is a fault where only the cluster's filter keeps an API from
// being taken for athd. Of a mesh, and of what an athd of before ath_stream
// printed, athd itself empties the header by which clients tell; what is left are
// other names, and trailers.
func (c *chain) severityOfReplies(w *target) Severity {
	if _, generated := w.extensions()[envoy.ExtStream]; generated {
		return c.ours()
	}
	return Warning
}

// upstreamFilters are those that a request to a cluster passes behind the router:
// the cluster's own, or without any the router's.
func (c *chain) upstreamFilters(cluster *clusterv3.Cluster) []filter {
	list := httpOptionsOf(cluster).GetHttpFilters()
	for _, f := range c.filters {
		var r routerv3.Router
		if len(list) == 0 && open(f.config, &r) {
			list = r.GetUpstreamHttpFilters()
		}
	}
	return c.filtersOf(list)
}

// clears reports whether mutations remove all that begins with x-ath-. Some names
// that have no more in common stand for all.
func clears(list []*mutationv3.HeaderMutation) bool {
	for _, rest := range []string{"decision-id", "any", "z", ""} {
		name := envoy.HeaderPrefix + rest
		if !slices.ContainsFunc(list, func(m *mutationv3.HeaderMutation) bool { return removes(m, name) }) {
			return false
		}
	}
	return true
}

// verifyRepliesUnforged looks for what says in an API's reply what only athd says.
func (c *chain) verifyRepliesUnforged(w *target, cluster *clusterv3.Cluster) {
	forged := func(where, name string) {
		if strings.HasPrefix(strings.ToLower(name), envoy.HeaderPrefix) {
			c.fault(where, "it sets the header "+envoy.Quote(name)+" of the API's replies, as if athd had answered", "remove it: athd sets what is its own")
		}
	}
	mutated := func(where string, m *headersv3.Mutations) {
		for _, one := range slices.Concat(m.GetResponseMutations(), m.GetResponseTrailersMutations()) {
			forged(where, one.GetAppend().GetHeader().GetKey())
		}
	}
	for _, f := range slices.Concat(c.filters, c.upstreamFilters(cluster)) {
		var h headersv3.HeaderMutation
		if !open(f.config, &h) || !f.runs(w) {
			continue
		}
		mutated(c.at(f), h.GetMutations())
		for _, s := range w.settings(f.name) {
			var per headersv3.HeaderMutationPerRoute
			if open(s.config, &per) {
				mutated(w.where, per.GetMutations())
			}
		}
	}
	for _, level := range []interface {
		GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	}{w.part, w.route, w.host, w.config} {
		for _, h := range level.GetResponseHeadersToAdd() {
			forged(w.where, h.GetHeader().GetKey())
		}
	}
}

// verifyRefusalsKept looks at filters of the listener, which see athd's and
// Envoy's own refusals, too.
func (c *chain) verifyRefusalsKept(w *target) {
	for _, f := range c.filters {
		var h headersv3.HeaderMutation
		if !open(f.config, &h) || !f.runs(w) {
			continue
		}
		mutations := h.GetMutations().GetResponseMutations()
		for _, s := range w.settings(f.name) {
			var per headersv3.HeaderMutationPerRoute
			if open(s.config, &per) {
				mutations = append(slices.Clone(mutations), per.GetMutations().GetResponseMutations()...)
			}
		}
		if slices.ContainsFunc(mutations, func(m *mutationv3.HeaderMutation) bool { return removes(m, envoy.HeaderDecisionID) }) {
			c.warning(c.at(f), "it removes X-ATH-Decision-ID from athd's own refusals: clients take them for the API's",
				"remove x-ath-* of APIs' replies by a filter of their clusters, as athd bootstrap prints it")
		}
	}
}
