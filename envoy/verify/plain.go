package verify

import (
	"slices"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	socketv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/transport_socket/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/envoy"
)

// plainSockets are the names of a cluster's ways without TLS, beside its first.
func plainSockets(c *clusterv3.Cluster) []string {
	var out []string
	for _, m := range c.GetTransportSocketMatches() {
		if !open(m.GetTransportSocket().GetTypedConfig(), &tlsv3.UpstreamTlsContext{}) {
			out = append(out, m.GetName())
		}
	}
	return out
}

// verifyPlain wants the way without TLS to be taken where athd's reply says so, and
// nowhere else.
func (c *chain) verifyPlain(w *target, where string, cluster *clusterv3.Cluster) {
	plain, allowed := plainSockets(cluster), c.expect.Egress.AllowsHTTP()
	const again = "generate Envoy's configuration again"
	switch {
	case len(plain) == 0 && allowed && c.expect.Runtime:
		c.warning(where, "it speaks TLS only, though athd takes providers without (egress.allow with http: true, or development.allow_http)", again)
	case len(plain) > 0 && !allowed:
		c.fault(where, "it has a way without TLS, which athd allows no provider: users' tokens may travel in plaintext", again)
	}
	if len(plain) == 0 {
		return
	}
	key, ok := chooses(cluster.GetTransportSocketMatcher(), plain)
	if !ok {
		c.fault(where, "the way without TLS is taken by something else than athd's reply: users' tokens may travel in plaintext", "set transport_socket_matcher "+bootstrapPrints)
		return
	}
	said := false
	for _, s := range c.statesOf(w) {
		if s.GetObjectKey() != key {
			continue
		}
		if said = s.GetFormatString().GetTextFormatSource().GetInlineString() == "%DYNAMIC_METADATA("+envoy.CheckFilter+":"+envoy.MetaUpstream+")%"; !said {
			c.fault(w.where, "the filter state "+envoy.Quote(key)+", by which no TLS is spoken, is not what athd's reply says: users' tokens may travel in plaintext",
				"set it by a set_filter_state filter to athd's dynamic metadata "+envoy.MetaUpstream+", "+bootstrapPrints)
			return
		}
	}
	if !said {
		c.fault(w.where, "the filter state "+envoy.Quote(key)+", by which no TLS is spoken, is set by no filter: providers without TLS are not reached",
			"put the set_filter_state filter "+envoy.Quote(envoy.TransportFilter)+" behind the guard, "+bootstrapPrints)
	}
}

// chooses returns the filter state by whose one value a way without TLS is taken;
// not ok if it is chosen by anything else.
func chooses(m *xdsmatcherv3.Matcher, plain []string) (key string, ok bool) {
	toPlain := func(on *xdsmatcherv3.Matcher_OnMatch) bool {
		var named socketv3.TransportSocketNameAction
		return on != nil && (!open(on.GetAction().GetTypedConfig(), &named) || slices.Contains(plain, named.GetName()))
	}
	if m.GetMatcherList() == nil || toPlain(m.GetOnNoMatch()) {
		return "", false
	}
	for _, one := range m.GetMatcherList().GetMatchers() {
		if !toPlain(one.GetOnMatch()) {
			continue
		}
		var input socketv3.FilterStateInput
		p := one.GetPredicate().GetSinglePredicate()
		if !open(p.GetInput().GetTypedConfig(), &input) || p.GetValueMatch().GetExact() != envoy.UpstreamHTTP || key != "" && key != input.GetKey() {
			return "", false
		}
		key = input.GetKey()
	}
	return key, key != ""
}

// statesOf are all that filters set into the filter state of requests on a target.
func (c *chain) statesOf(w *target) []*statev3.FilterStateValue {
	var out []*statev3.FilterStateValue
	read := func(config *anypb.Any) {
		var s setstatev3.Config
		if open(config, &s) {
			out = append(out, s.GetOnRequestHeaders()...)
		}
	}
	for _, f := range c.filters {
		if !open(f.config, &setstatev3.Config{}) || !f.runs(w) {
			continue
		}
		read(f.config)
		for _, s := range w.settings(f.name) {
			read(s.config)
		}
	}
	return out
}

// steering are keys of the filter state by which a request goes elsewhere, or takes
// another certificate, than its host says.
var steering = []string{
	"envoy.network.upstream_server_name", "envoy.network.upstream_subject_alt_names",
	"envoy.upstream.dynamic_host", "envoy.upstream.dynamic_port", "envoy.stream.upstream_address",
}

// verifyFilterState looks for what steers a request by other means than its host.
func (c *chain) verifyFilterState(w *target) {
	for _, s := range c.statesOf(w) {
		if key := s.GetObjectKey(); slices.Contains(steering, strings.ToLower(key)) {
			c.fault(w.where, "a filter sets "+envoy.Quote(key)+": the user's token goes elsewhere than athd's reply says, or to whoever has another certificate", "take it out of the set_filter_state filter")
		}
	}
}
