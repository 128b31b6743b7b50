package bootstrap

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/envoy"
)

const tlsSocket = "envoy.transport_sockets.tls"

// upstreamTLS verifies the server: a trusted CA and exactly this name. Without
// both, Envoy's TLS verifies nothing and says nothing of it.
func (g *generator) upstreamTLS(name, caFile string, client *TLSFiles, grpc bool) *corev3.TransportSocket {
	san, sni := tlsv3.SubjectAltNameMatcher_DNS, name
	if envoy.IsIP(name) {
		san, sni = tlsv3.SubjectAltNameMatcher_IP_ADDRESS, "" // RFC 6066: a name, never an address
	}
	common := &tlsv3.CommonTlsContext{
		TlsParams: atLeastTLS12(),
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{
				TrustedCa: file(caFile),
				MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
					SanType: san,
					Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}},
				}},
			},
		},
	}
	if client != nil {
		common.TlsCertificates = []*tlsv3.TlsCertificate{certificate(client)}
	}
	if grpc {
		common.AlpnProtocols = []string{"h2"}
	}
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{
		TypedConfig: g.pack(&tlsv3.UpstreamTlsContext{Sni: sni, CommonTlsContext: common}),
	}}
}

// downstreamTLS serves the public listener.
func (g *generator) downstreamTLS(files []TLSFiles) *corev3.TransportSocket {
	var certificates []*tlsv3.TlsCertificate
	for _, f := range files {
		certificates = append(certificates, certificate(&f))
	}
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{
		TypedConfig: g.pack(&tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams:       atLeastTLS12(),
			TlsCertificates: certificates,
			AlpnProtocols:   []string{"h2", "http/1.1"},
		}}),
	}}
}

func atLeastTLS12() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2}
}

func certificate(f *TLSFiles) *tlsv3.TlsCertificate {
	return &tlsv3.TlsCertificate{CertificateChain: file(f.CertFile), PrivateKey: file(f.KeyFile)}
}

func file(name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: name}}
}
