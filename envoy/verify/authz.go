package verify

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
)

// fewRequests is how many undecided requests at once are too few to allow.
const fewRequests = 4096

// verifyAthd wants athd itself to be asked, by a link that nobody else
// reads: its answer holds a user's token.
func (c *chain) verifyAthd(where string, service *corev3.GrpcService) {
	if google := service.GetGoogleGrpc(); google != nil {
		e, err := envoy.ParseEndpoint(strings.TrimPrefix(google.GetTargetUri(), "dns:///"))
		if err != nil {
			c.warning(where, "it cannot be said where "+envoy.Quote(google.GetTargetUri())+" leads", "use envoy_grpc and a cluster")
			return
		}
		c.verifyAuthzEndpoint(where, e, google.GetChannelCredentials().GetSslCredentials() != nil)
		return
	}
	name := service.GetEnvoyGrpc().GetClusterName()
	cluster := c.clusters[name]
	if cluster == nil {
		c.fault(where, "it asks the cluster "+envoy.Quote(name)+", which is not there", "add the cluster of athd's gRPC listener")
		return
	}
	where = "cluster " + envoy.Quote(name)
	to := c.destinationOf(cluster)
	if to.chosen != "" {
		c.fault(where, "it leads wherever "+to.chosen+" says, not to athd", "let it lead to athd's gRPC listener only")
	}
	if to.unknown != "" && len(c.expect.Authz) > 0 {
		c.warning(where, "it cannot be said where it leads: "+to.unknown, "see by hand that it is "+envoy.Quote(strings.Join(c.expect.Authz, ", ")))
	}
	if to.chosen == "" && to.unknown == "" && len(to.endpoints) == 0 {
		c.fault(where, "it has no endpoints: athd cannot be asked", "let it lead to athd's gRPC listener")
	}
	encrypted := c.verifyAuthzTLS(where, cluster)
	for _, e := range to.endpoints {
		c.verifyAuthzEndpoint(where, e, encrypted)
	}
	if !speaksHTTP2(cluster) {
		c.fault(where, "it does not speak HTTP/2, so that athd cannot be asked", "set http2_protocol_options")
	}
	c.verifyAuthzCapacity(where, cluster, service)
}

func (v *verifier) verifyAuthzEndpoint(where string, e envoy.Endpoint, encrypted bool) {
	is := func(address string) bool {
		want, _ := envoy.ParseEndpoint(address) // Verify has parsed it
		return e.Same(want)
	}
	if len(v.expect.Authz) > 0 && !slices.ContainsFunc(v.expect.Authz, is) {
		v.fault(where, "it asks "+envoy.Quote(e.String())+", not athd at "+envoy.Quote(strings.Join(v.expect.Authz, ", ")), "let it lead to athd's gRPC listener")
	}
	if e.Path == "" && !encrypted && !ath.IsLoopbackHost(e.Host) {
		v.say(v.ours(), where, "it asks "+envoy.Quote(e.String())+" in plaintext, and the answers hold users' tokens",
			"use a Unix socket, loopback, or TLS with client certificates")
	}
}

// verifyAuthzTLS reports whether the link is encrypted; if it is, athd must be
// verified too.
func (v *verifier) verifyAuthzTLS(where string, c *clusterv3.Cluster) bool {
	encrypted := true
	for _, s := range socketsOf(c) {
		if s == nil && len(c.GetTransportSocketMatches()) > 0 {
			continue
		}
		var t tlsv3.UpstreamTlsContext
		if s == nil || !open(s.GetTypedConfig(), &t) {
			encrypted = false
			continue
		}
		validation, secret := validationOf(t.GetCommonTlsContext())
		if !secret && validation.GetTrustedCa() == nil && validation.GetSystemRootCerts() == nil && validation.GetCaCertificateProviderInstance() == nil {
			v.fault(where, "certificates are not verified: TLS without trusted_ca accepts any", "set validation_context.trusted_ca")
		}
		if validation.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED {
			v.fault(where, "certificates that nobody trusts are accepted (ACCEPT_UNTRUSTED)", "remove trust_chain_verification")
		}
		if len(validation.GetMatchTypedSubjectAltNames())+len(validation.GetMatchSubjectAltNames()) == 0 && !t.GetAutoSniSanValidation() {
			v.fault(where, "a certificate for any name is accepted as athd's", "set match_typed_subject_alt_names to athd's name")
		}
	}
	return encrypted
}

func speaksHTTP2(c *clusterv3.Cluster) bool {
	o := httpOptionsOf(c)
	return c.GetHttp2ProtocolOptions() != nil || o.GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil ||
		o.GetUseDownstreamProtocolConfig().GetHttp2ProtocolOptions() != nil || o.GetAutoConfig() != nil
}

// verifyAuthzCapacity looks for what turns a burst of requests into refusals.
func (c *chain) verifyAuthzCapacity(where string, cluster *clusterv3.Cluster, service *corev3.GrpcService) {
	most := uint32(1024) // Envoy's default
	for _, t := range cluster.GetCircuitBreakers().GetThresholds() {
		if t.GetPriority() != 0 {
			continue
		}
		if n := t.GetMaxRequests(); n != nil {
			most = n.GetValue()
		}
		if n := t.GetMaxPendingRequests(); n != nil {
			most = min(most, n.GetValue())
		} else {
			most = min(most, 1024)
		}
	}
	if most < fewRequests {
		c.warning(where, "its circuit breaker allows few requests at once: a burst becomes refusals", "set max_requests and max_pending_requests to 20000")
	}
	// With panic mode off (or with a mesh that says nothing of it, but where one
	// of several goes) all may be out at once.
	panics := cluster.GetCommonLbConfig().GetHealthyPanicThreshold()
	if cluster.GetOutlierDetection() != nil && panics != nil && panics.GetValue() == 0 {
		c.warning(where, "outlier detection may put every athd out, and nobody is left to ask", "set common_lb_config.healthy_panic_threshold to 1, or remove outlier_detection")
	}
	c.verifyReplicas(where, cluster, service)
}
