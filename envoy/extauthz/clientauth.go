package extauthz

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
)

// DemandClient returns a copy of c that accepts only clients whose verified
// certificate carries one of these names. A certificate authority often signs
// for more than Envoy: belonging to it is not enough to be handed users'
// tokens.
func DemandClient(c *tls.Config, sans []string) (*tls.Config, error) {
	switch {
	case c.ClientAuth != tls.RequireAndVerifyClientCert || c.ClientCAs == nil:
		return nil, errors.New("envoy: TLS must require client certificates and verify them against a CA of its own")
	case c.GetConfigForClient != nil:
		return nil, errors.New("envoy: TLS that chooses its configuration per client would leave the client's name unchecked")
	case len(sans) == 0 || slices.Contains(sans, ""):
		return nil, errors.New("envoy: TLS needs the names that a client's certificate may carry, none of them empty")
	}
	out := c.Clone()
	out.MinVersion = max(out.MinVersion, tls.VersionTLS12)
	before := c.VerifyConnection
	// VerifyConnection, unlike VerifyPeerCertificate, also runs when a
	// session is resumed.
	out.VerifyConnection = func(state tls.ConnectionState) error {
		if before != nil {
			if err := before(state); err != nil {
				return err
			}
		}
		if len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 || !carriesName(state.PeerCertificates[0], sans) {
			return errors.New("the client's certificate carries none of the names that may ask")
		}
		return nil
	}
	return out, nil
}

func carriesName(cert *x509.Certificate, sans []string) bool {
	for _, name := range cert.DNSNames {
		if slices.Contains(sans, name) {
			return true
		}
	}
	for _, uri := range cert.URIs {
		if slices.Contains(sans, uri.String()) {
			return true
		}
	}
	return false
}
