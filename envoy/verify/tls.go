package verify

import (
	"net/url"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/athd/athd/envoy"
)

// socketsOf returns the transport sockets of a cluster; none is plaintext.
func socketsOf(c *clusterv3.Cluster) []*corev3.TransportSocket {
	out := []*corev3.TransportSocket{c.GetTransportSocket()}
	for _, m := range c.GetTransportSocketMatches() {
		out = append(out, m.GetTransportSocket())
	}
	return out
}

// verifyTLS wants a cluster to reach an https API by TLS that verifies its name.
// It reports whether it does.
func (v *verifier) verifyTLS(where string, c *clusterv3.Cluster, target *url.URL) bool {
	if target.Scheme != "https" {
		return false
	}
	verified := true
	for _, s := range socketsOf(c) {
		var t tlsv3.UpstreamTlsContext
		switch {
		case s == nil && len(c.GetTransportSocketMatches()) > 0:
			continue // the matches stand for it
		case s == nil || !open(s.GetTypedConfig(), &t):
			v.fault(where, "it does not speak TLS to "+envoy.Quote(target.Host)+", as far as can be read: the user's token travels in plaintext", "add a TLS transport socket")
			verified = false
		default:
			verified = v.verifyTLSContext(where, &t, httpOptionsOf(c), target.Hostname()) && verified
		}
	}
	return verified
}

// verifyTrust looks at whose certificates a TLS context takes, for whatever name. It
// reports whether only those of authorities that it trusts.
func (v *verifier) verifyTrust(where string, t *tlsv3.UpstreamTlsContext) bool {
	common := t.GetCommonTlsContext()
	if low(common.GetTlsParams().GetTlsMinimumProtocolVersion()) || low(common.GetTlsParams().GetTlsMaximumProtocolVersion()) {
		v.fault(where, "it allows TLS older than 1.2", "set tls_minimum_protocol_version: TLSv1_2")
	}
	validation, secret := validationOf(common)
	roots := secret || validation.GetTrustedCa() != nil || validation.GetSystemRootCerts() != nil || validation.GetCaCertificateProviderInstance() != nil
	good := roots
	if !roots {
		v.fault(where, "certificates are not verified: TLS without trusted_ca accepts any", "set validation_context.trusted_ca")
	}
	if validation.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED {
		v.fault(where, "certificates that nobody trusts are accepted (ACCEPT_UNTRUSTED)", "remove trust_chain_verification")
		good = false
	}
	if validation.GetAllowExpiredCertificate() {
		v.fault(where, "expired certificates are accepted", "remove allow_expired_certificate")
	}
	return good
}

// verifyTLSContext looks at one TLS context and returns whether the server's
// certificate must be good for host.
func (v *verifier) verifyTLSContext(where string, t *tlsv3.UpstreamTlsContext, o *httpv3.HttpProtocolOptions, host string) bool {
	good := v.verifyTrust(where, t)
	validation, _ := validationOf(t.GetCommonTlsContext())
	if validation.GetCustomValidatorConfig() != nil {
		v.warning(where, "certificates are verified by an extension, which was not looked at", "see by hand that it wants the name "+envoy.Quote(host))
	}
	auto := o.GetUpstreamHttpProtocolOptions()
	names := validation.GetMatchTypedSubjectAltNames()
	old := validation.GetMatchSubjectAltNames()
	switch {
	case len(names)+len(old) == 0 && (auto.GetAutoSanValidation() || t.GetAutoSniSanValidation()):
		// The name asked for, which is the rewritten host or the SNI below.
	case len(names)+len(old) == 0:
		v.fault(where, "a certificate for any name is accepted", "set match_typed_subject_alt_names to exactly "+envoy.Quote(host))
		good = false
	}
	for _, n := range names {
		if !envoy.SameName(n.GetMatcher().GetExact(), host) {
			v.fault(where, "certificates for other names than "+envoy.Quote(host)+" are accepted", "set match_typed_subject_alt_names to exactly "+envoy.Quote(host))
			good = false
		}
	}
	for _, n := range old {
		if !envoy.SameName(n.GetExact(), host) {
			v.fault(where, "certificates for other names than "+envoy.Quote(host)+" are accepted", "set match_typed_subject_alt_names to exactly "+envoy.Quote(host))
			good = false
		}
	}
	switch sni := t.GetSni(); {
	case auto.GetAutoSni() || t.GetAutoHostSni() || envoy.IsIP(host) && sni == "":
	case sni == "":
		v.warning(where, "it does not say which host it means (SNI): a server of several may show another's certificate", "set sni: "+host)
	case !envoy.SameName(sni, host):
		v.fault(where, "it asks for the host "+envoy.Quote(sni)+" (SNI), not "+envoy.Quote(host), "set sni: "+host)
	}
	return good
}

func low(p tlsv3.TlsParameters_TlsProtocol) bool {
	return p == tlsv3.TlsParameters_TLSv1_0 || p == tlsv3.TlsParameters_TLSv1_1
}

// validationOf returns what a certificate is held against, and whether its
// roots come as a secret, which a dump does not show.
func validationOf(c *tlsv3.CommonTlsContext) (*tlsv3.CertificateValidationContext, bool) {
	switch t := c.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		return t.ValidationContext, false
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		return nil, true
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		return t.CombinedValidationContext.GetDefaultValidationContext(), t.CombinedValidationContext.GetValidationContextSdsSecretConfig() != nil
	}
	return nil, false
}
