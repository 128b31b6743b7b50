package verify

import (
	"net/netip"
	"slices"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"

	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy"
)

// maxSamples is how many addresses are tried at most. What athd bootstrap writes takes
// some thousands.
const maxSamples = 1 << 17

// verifyEgress holds the addresses to which filters of the cluster let requests go
// against those that athd's policy names.
func (c *chain) verifyEgress(w *target, where string, cluster *clusterv3.Cluster) {
	const remedy = "put an rbac filter with action ALLOW among the cluster's http_filters that admits addresses by upstream_ip_port, " + bootstrapPrints
	var rules []*rbacv3.RBAC
	asleep := ""
	for _, f := range c.upstreamFilters(cluster) {
		var g guardv3.RBAC
		if !open(f.config, &g) {
			continue
		}
		if !f.runs(w) {
			asleep = f.name
			continue
		}
		r := g.GetRules()
		for _, s := range w.settings(f.name) {
			var per guardv3.RBACPerRoute
			if s.config != nil && open(s.config, &per) {
				r = per.GetRbac().GetRules()
				break
			}
		}
		if r != nil {
			rules = append(rules, r)
		}
	}
	if len(rules) == 0 {
		what := "no filter judges the addresses that hosts resolve to: a name leads into the private network, to metadata services, to athd and Envoy themselves"
		if asleep != "" {
			what = "the filter " + envoy.Quote(asleep) + " is disabled: " + what
		}
		c.fault(where, what, remedy)
		return
	}
	ways := []bool{false}
	if len(plainSockets(cluster)) > 0 {
		ways = append(ways, true)
	}
	for _, http := range ways {
		c.compareEgress(where, rules, http)
	}
}

// compareEgress compares all addresses and ports: between two neighbouring bounds
// of either side all are alike.
func (c *chain) compareEgress(where string, rules []*rbacv3.RBAC, http bool) {
	admit, refuse := c.expect.Egress.Rules(http)
	var bounds []netip.Prefix
	ports := []uint16{443, 1, 65535}
	for _, r := range slices.Concat(admit, refuse) {
		bounds, ports = append(append(bounds, r.In...), r.Except...), append(ports, r.Port)
	}
	bounds = append(bounds, c.expect.Egress.Unreachable()...)
	seen := matchersOf(rules)
	bounds, ports = append(bounds, seen.prefixes...), append(ports, seen.ports...)
	matches := func(all []egress.Rule, at netip.AddrPort) bool {
		return slices.ContainsFunc(all, func(r egress.Rule) bool { return r.Match(at) })
	}
	by := ""
	if http {
		by = " without TLS"
	}
	admitted := allMatch(rules, admits)
	samples, ats := samplesOf(bounds), around(ports)
	if len(samples)*len(ats) > maxSamples {
		c.fault(where, "its rules for addresses are too many to be verified", "generate Envoy's configuration again")
		return
	}
	more, fewer := false, false
	for _, port := range ats {
		for _, s := range samples {
			at := netip.AddrPortFrom(s.addr, port)
			want := matches(admit, at) && !matches(refuse, at)
			got := admitted(at, http)
			of := envoy.Quote(s.of.String()) + " at port " + strconv.Itoa(int(port)) + by
			switch {
			case got != no && !want && !more:
				more = true
				c.fault(where, "it connects to "+of+", which athd's egress keeps closed", "generate Envoy's configuration again: the filter "+envoy.Quote(envoy.EgressFilter)+" admits what is public, and what egress.allow names")
			case got == no && want && !fewer:
				fewer = true
				c.warning(where, "it refuses "+of+", where athd lets providers be", "generate Envoy's configuration again")
			}
		}
	}
}

// verifyResolved wants nothing left of what a name resolves to but what was judged,
// or may be connected to anyway: where a connection fails, the next address is
// tried, and no filter sees it.
func (v *verifier) verifyResolved(where string, cluster *clusterv3.Cluster) {
	const remedy = "set resolved_address_filter of dns_cache_config, " + bootstrapPrints
	lookup := lookupOf(cluster.GetClusterType().GetTypedConfig())
	drops := lookup.GetDnsCacheConfig().GetResolvedAddressFilter()
	if lookup.GetDnsCacheConfig() == nil {
		v.fault(where, "it looks hosts up in a way that was not verified (sub_clusters_config)", "set dns_cache_config, "+bootstrapPrints)
		return
	}
	var dropped []netip.Prefix
	for _, r := range drops.GetRanges() {
		if p, ok := prefixOf(r.GetAddressPrefix(), r.GetPrefixLen().GetValue()); ok {
			dropped = append(dropped, p)
		}
	}
	closed := v.expect.Egress.Unreachable()
	contains := func(all []netip.Prefix, addr netip.Addr) bool {
		return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	left, gone := false, false
	for _, s := range samplesOf(slices.Concat(closed, dropped)) {
		want, got := contains(closed, s.addr), contains(dropped, s.addr) != drops.GetInvertMatch()
		switch {
		case want && !got && !left:
			left = true
			v.fault(where, "a name may resolve to "+envoy.Quote(s.of.String())+" beside its first address: where that one does not answer, the next is connected to, and was not judged", remedy)
		case got && !want && !gone:
			gone = true
			v.warning(where, "names that resolve to "+envoy.Quote(s.of.String())+" are not found, where athd lets providers be", "generate Envoy's configuration again")
		}
	}
}
