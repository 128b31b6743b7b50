package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/egress"
)

// proves: A-7, O-1
func TestWhereRuntimeProvidersMayBe(t *testing.T) {
	p := sources(configtest.NewMachine(t))
	load := func(text string) (*Settings, string) {
		s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(nil)+text+"\n"), p)
		if faults != nil {
			return nil, faults.Error()
		}
		return s, ""
	}
	t.Run("nothing private unless it is said", func(t *testing.T) {
		s, fault := load("")
		if fault != "" {
			t.Fatal(fault)
		}
		if len(s.Egress.Allow) != 0 || s.Egress.AllowPrivate || s.Egress.AllowsHTTP() || !s.Envoy.RuntimeProviders {
			t.Errorf("%+v, runtime providers %v", s.Egress, s.Envoy.RuntimeProviders)
		}
	})
	t.Run("each form of an entry", func(t *testing.T) {
		s, fault := load("egress: {allow: [10.20.0.0/16, 10.0.0.5, '10.0.0.5:8443', '127.0.0.1:3000', '[fd12::1]:443', 'fd12:3456::/48', {addresses: 10.30.0.0/16, port: 8080, http: true}, {addresses: 93.184.215.14, http: true}]}\nenvoy: {runtime_providers: false}")
		if fault != "" {
			t.Fatal(fault)
		}
		if len(s.Egress.Allow) != 8 || !s.Egress.AllowsHTTP() || s.Envoy.RuntimeProviders {
			t.Errorf("%+v", s.Egress)
		}
		for address, want := range map[string]struct{ tls, http bool }{
			"10.20.1.2:443": {true, false}, "10.21.1.2:443": {}, "10.0.0.5:1": {true, false}, "10.0.0.6:443": {},
			"127.0.0.1:3000": {true, false}, "127.0.0.1:3001": {}, "127.0.0.2:3000": {}, "[::ffff:127.0.0.1]:3000": {true, false},
			"[fd12::1]:443": {true, false}, "[fd12::1]:444": {}, "[fd12:3456::9]:1": {true, false},
			"10.30.0.1:8080": {true, true}, "10.30.0.1:8081": {}, "93.184.215.14:80": {true, true}, "1.1.1.1:80": {true, false},
			// athd's and Envoy's own, by the defaults and by their machine.
			"127.0.0.1:9000": {}, "127.0.0.1:9002": {}, "127.0.0.1:9901": {}, "127.0.0.1:8080": {}, "[::1]:8080": {}, "127.0.0.9:9901": {},
		} {
			at := netip.MustParseAddrPort(address)
			if got := s.Egress.Judge(at) == nil; got != want.tls {
				t.Errorf("%s: reached by TLS %v", address, got)
			}
			if got := s.Egress.JudgeHTTP(at) == nil; got != want.http {
				t.Errorf("%s: reached without TLS %v", address, got)
			}
		}
	})
	t.Run("development opens private addresses, and none of athd's own", func(t *testing.T) {
		s, fault := load("development: {allow_http: true, allow_private_hosts: true}\nlisten: {grpc: '127.0.0.1:9001', http: '10.1.2.3:9000'}\nenvoy: {athd_http: 'athd:9500', listen: '0.0.0.0:8080'}")
		if fault != "" {
			t.Fatal(fault)
		}
		for address, want := range map[string]bool{
			"127.0.0.1:3000": true, "10.1.2.3:443": true, "10.9.9.9:8080": true, "169.254.169.254:80": false, "127.0.0.1:9001": false,
			"10.1.2.3:9000": false, "10.1.2.4:9000": true, "10.7.7.7:9500": false, "1.1.1.1:9500": true, "127.0.0.1:8080": false, "127.0.0.1:9901": false,
		} {
			at := netip.MustParseAddrPort(address)
			if got := s.Egress.Judge(at) == nil; got != want {
				t.Errorf("%s: reached by TLS %v", address, got)
			}
			// Where these do not answer, Envoy tries athd in their place.
			beside := address == "10.1.2.4:9000" || address == "1.1.1.1:9500"
			if got := s.Egress.JudgeHTTP(at) == nil; got != (want && !beside) {
				t.Errorf("%s: reached without TLS %v", address, got)
			}
		}
	})
	for name, test := range map[string]struct{ allow, want string }{
		"a name":                           {"[api.internal]", "egress.allow[0]: want a network"},
		"nothing":                          {"['']", "egress.allow[0].addresses: is missing"},
		"no addresses":                     {"[{port: 80}]", "egress.allow[0].addresses: is missing"},
		"bits behind the length":           {"[10.20.1.0/16]", "want 10.20.0.0/16"},
		"loopback without a port":          {"[127.0.0.1]", "egress.allow[0]: has loopback addresses"},
		"IPv6 loopback without a port":     {"['::1']", "has loopback addresses"},
		"link-local":                       {"['169.254.1.1:80']", "has addresses of 169.254.0.0/16"},
		"metadata":                         {"[{addresses: 169.254.169.254, port: 80}]", "egress.allow[0].addresses: has addresses of 169.254.0.0/16"},
		"metadata within shared addresses": {"[100.64.0.0/10]", "has addresses of 100.100.100.200/32"},
		"metadata within ULA":              {"['fd00::/8']", "has addresses of fd00:ec2::/32"},
		"link-local IPv6":                  {"['fe80::/10']", "are no host's"},
		"NAT64":                            {"['64:ff9b::/96']", "are no host's"},
		"IPv4-mapped":                      {"['::ffff:10.0.0.1']", "want an IPv4 address as such"},
		"everything":                       {"[0.0.0.0/0]", "has addresses of"},
		"all of IPv6":                      {"['::/0']", "has addresses of"},
		"a zone":                           {"['fe80::1%eth0']", "want a network"},
		"port 0":                           {"['10.0.0.1:0']", "want a port from 1"},
		"a port of no port":                {"[{addresses: 10.0.0.1, port: 70000}]", "egress.allow[0].port: want a port from 1 to 65535"},
		"two ports":                        {"[{addresses: '10.0.0.1:80', port: 80}]", "egress.allow[0].port: is there twice"},
		"the same twice":                   {"[10.0.0.1, 10.0.0.1/32]", "egress.allow[1]: is there twice"},
		"Envoy's admin":                    {"['127.0.0.1:9901']", "egress.allow[0]: is envoy.admin"},
		"the companion":                    {"['127.0.0.1:9000']", "is listen.http"},
		"athd's admin by another address":  {"['127.0.0.7:9002']", "is listen.admin"},
		"Envoy":                            {"['[::1]:8080']", "is envoy.listen"},
		"an unknown key":                   {"[{addresses: 10.0.0.1, tls: true}]", `unknown key "tls"`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, fault := load("egress: {allow: " + test.allow + "}"); !strings.Contains(fault, test.want) || strings.Count(fault, "\n") > 0 {
				t.Errorf("got %q, want %q", fault, test.want)
			}
		})
	}
}

func TestAPolicySaysNothingIsAllowedUnlessItIs(t *testing.T) {
	for _, at := range []string{"127.0.0.1:443", "10.0.0.1:443", "100.64.0.1:443", "198.18.0.1:443", "1.1.1.1:0"} {
		if (egress.Policy{}).Judge(netip.MustParseAddrPort(at)) == nil {
			t.Errorf("A-7: %s is reached", at)
		}
	}
}
