package verify

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/athd/athd/envoy"
)

// verifyRuntimeCluster wants the cluster to connect to the host of a request, as its
// certificate says, at an address that may be connected to, and nowhere else.
func (c *chain) verifyRuntimeCluster(w *target) {
	cluster := c.clusters[w.cluster]
	where := "cluster " + envoy.Quote(w.cluster)
	o := httpOptionsOf(cluster)
	c.verifyAnyHostTLS(where, cluster, o)
	c.verifyPlain(w, where, cluster)
	c.verifyEgress(w, where, cluster)
	c.verifyResolved(where, cluster)
	if lookup := lookupOf(cluster.GetClusterType().GetTypedConfig()); lookup.GetAllowCoalescedConnections() {
		c.fault(where, "one host's connection is used for another (allow_coalesced_connections), whose address was not judged", "remove allow_coalesced_connections")
	}
	c.verifyReplies(w, cluster)
	if len(o.GetRequestMirrorPolicies()) > 0 {
		c.fault(where, "requests are mirrored: the user's token goes to another place too", "remove request_mirror_policies")
	}
	for _, f := range o.GetHttpFilters() {
		c.verifyUpstreamFilter(where, f)
	}
}

// verifyAnyHostTLS wants a cluster to reach whatever host by TLS that verifies the
// name of that very host.
func (v *verifier) verifyAnyHostTLS(where string, c *clusterv3.Cluster, o *httpv3.HttpProtocolOptions) {
	sockets := socketsOf(c)
	for i, s := range sockets {
		var t tlsv3.UpstreamTlsContext
		switch {
		case open(s.GetTypedConfig(), &t):
			v.verifyTrust(where, &t)
			v.verifyNameOfRequest(where, &t, o)
		case i == 0: // the others are looked at as ways without TLS
			v.fault(where, "it does not speak TLS, as far as can be read: users' tokens travel in plaintext to hosts all over the Internet", "add a TLS transport socket, "+bootstrapPrints)
		}
	}
}

// verifyNameOfRequest wants both names of a handshake to be the request's host.
func (v *verifier) verifyNameOfRequest(where string, t *tlsv3.UpstreamTlsContext, o *httpv3.HttpProtocolOptions) {
	auto := o.GetUpstreamHttpProtocolOptions()
	validation, _ := validationOf(t.GetCommonTlsContext())
	const remedy = "set upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}, and no names in the transport socket"
	switch {
	case auto.GetOverrideAutoSniHeader() != "":
		v.fault(where, "the name of the certificate is that of the header "+envoy.Quote(auto.GetOverrideAutoSniHeader())+", which the agent may send", "remove override_auto_sni_header")
	case !auto.GetAutoSanValidation() && !t.GetAutoSniSanValidation():
		v.fault(where, "a certificate for any name is accepted", remedy)
	}
	if !auto.GetAutoSni() || t.GetSni() != "" || t.GetAutoHostSni() {
		v.fault(where, "it asks for another host than the request's (SNI)", remedy)
	}
	if len(validation.GetMatchTypedSubjectAltNames())+len(validation.GetMatchSubjectAltNames()) > 0 {
		v.fault(where, "certificates for other names than the request's host are accepted, or no others", remedy)
	}
}
