package httpapi

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestClientsCannotChooseTheirAddress(t *testing.T) {
	verified := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
	for name, c := range map[string]struct {
		peer      string
		forwarded []string
		tls       *tls.ConnectionState
		want      string
	}{
		"Envoy on loopback is believed":                   {"127.0.0.1:1", []string{"198.51.100.7"}, nil, "198.51.100.7"},
		"and on a Unix socket":                            {"@", []string{"198.51.100.7"}, nil, "198.51.100.7"},
		"and with a certificate":                          {"10.9.9.9:1", []string{"198.51.100.7"}, verified, "198.51.100.7"},
		"and where the operator said so":                  {"10.1.2.3:1", []string{"198.51.100.7"}, nil, "198.51.100.7"},
		"nobody else is":                                  {"10.9.9.9:1", []string{"198.51.100.7"}, nil, "10.9.9.9"},
		"TLS without a verified certificate is nobody":    {"10.9.9.9:1", []string{"198.51.100.7"}, &tls.ConnectionState{}, "10.9.9.9"},
		"what stands before Envoy's word is the client's": {"127.0.0.1:1", []string{"1.2.3.4, 198.51.100.7"}, nil, "198.51.100.7"},
		"on a line of its own too":                        {"127.0.0.1:1", []string{"1.2.3.4", "198.51.100.7"}, nil, "198.51.100.7"},
		"what is no address is not believed":              {"127.0.0.1:1", []string{"198.51.100.7, x"}, nil, "127.0.0.1"},
		"nor is one with a port":                          {"127.0.0.1:1", []string{"198.51.100.7:80"}, nil, "127.0.0.1"},
		"nor nothing":                                     {"127.0.0.1:1", nil, nil, "127.0.0.1"},
		"an address of IPv6 is told whole":                {"127.0.0.1:1", []string{"2001:db8:1:2:3:4:5:6"}, nil, "2001:db8:1:2:3:4:5:6"},
		"a peer of IPv6 too":                              {"[2001:db8:1:2:3:4:5:6]:1", nil, nil, "2001:db8:1:2:3:4:5:6"},
		"IPv4 in IPv6 is IPv4":                            {"127.0.0.1:1", []string{"::ffff:198.51.100.7"}, nil, "198.51.100.7"},
		"a zone makes no other address":                   {"127.0.0.1:1", []string{"fe80::1%a"}, nil, "fe80::1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr, r.TLS = c.peer, c.tls
			for _, line := range c.forwarded {
				r.Header.Add("X-Forwarded-For", line)
			}
			if got := clientAddress(r, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}); got.String() != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAddressesOfOneNetworkCountAsOne(t *testing.T) {
	for told, want := range map[string]string{
		"198.51.100.7":         "198.51.100.7",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::",
		"fe80::1":              "fe80::",
	} {
		if got := Network(netip.MustParseAddr(told)); got.String() != want {
			t.Errorf("%s counts as %v, want %s", told, got, want)
		}
	}
	if got := Network(netip.Addr{}); got.IsValid() {
		t.Errorf("nothing counts as %v", got)
	}
}
