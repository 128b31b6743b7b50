package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/ratelimit"
)

func TestLimitsAreRead(t *testing.T) {
	p := sources(configtest.NewMachine(t))
	load := func(limits string) (*Settings, string) {
		s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(nil)+"limits: "+limits+"\n"), p)
		if faults != nil {
			return nil, faults.Error()
		}
		return s, ""
	}
	t.Run("what is written holds", func(t *testing.T) {
		s, fault := load("{per_address: 20/s, registrations_per_address: off, per_agent: 7/h, concurrent: 3, concurrent_per_address: 2, connections: 9, pending: 4, pending_per_domain: 5, pending_per_address: 6, sessions_per_agent: 8, envoy_addresses: [10.1.0.0/16, '2001:db8::1']}")
		if fault != "" {
			t.Fatal(fault)
		}
		got, want := s.Limits, httpapi.Limits{
			PerAddress: ratelimit.Rate{N: 20, Per: time.Second}, Registrations: ratelimit.Unlimited, PerAgent: ratelimit.Rate{N: 7, Per: time.Hour},
			Concurrent: 3, ConcurrentPerAddress: 2,
		}
		envoys := got.Envoys
		got.Envoys = nil
		if got.PerAddress != want.PerAddress || got.Registrations != want.Registrations || got.PerAgent != want.PerAgent ||
			got.Concurrent != 3 || got.ConcurrentPerAddress != 2 || s.Connections != 9 ||
			got.Pending != 4 || got.PendingPerDomain != 5 || got.PendingPerAddress != 6 || got.SessionsPerAgent != 8 {
			t.Errorf("got %+v and %d connections", got, s.Connections)
		}
		if len(envoys) != 2 || envoys[0] != netip.MustParsePrefix("10.1.0.0/16") || envoys[1] != netip.MustParsePrefix("2001:db8::1/128") {
			t.Errorf("got %v", envoys)
		}
	})
	t.Run("calls are not limited but where it is written", func(t *testing.T) {
		for limits, want := range map[string]ratelimit.Rate{"{}": ratelimit.Unlimited, "{calls_per_grant: off}": ratelimit.Unlimited, "{calls_per_grant: 600/m}": {N: 600, Per: time.Minute}} {
			if s, fault := load(limits); fault != "" || s.CallsPerGrant != want {
				t.Errorf("%s: %v %s", limits, s.CallsPerGrant, fault)
			}
		}
	})
	for name, test := range map[string]struct{ limits, want string }{
		"a rate has a unit":        {"{per_address: '20'}", "limits.per_address: want a rate"},
		"a rate's unit is known":   {"{per_address: 20/d}", "limits.per_address: want a rate"},
		"a rate is not nothing":    {"{per_agent: 0/s}", "limits.per_agent: want a rate"},
		"a rate is not negative":   {"{per_agent: -1/s}", "limits.per_agent: want a rate"},
		"a rate is not too much":   {"{registrations_per_address: 1000001/s}", "limits.registrations_per_address: want a rate"},
		"nothing under way":        {"{concurrent: 0}", "limits.concurrent: want a number from 2"},
		"nothing of an address":    {"{concurrent_per_address: 0}", "limits.concurrent_per_address: want a number from 1"},
		"no connection":            {"{connections: 0}", "limits.connections: want a number from 1"},
		"nothing under review":     {"{pending: 0}", "limits.pending: want a number from 1"},
		"no stream of a grant":     {"{streams: {per_grant: 0}}", "limits.streams.per_grant: want a number from 1"},
		"no stream of an agent":    {"{streams: {per_agent: -1}}", "limits.streams.per_agent: want a number from 1"},
		"too many streams":         {"{streams: {total: 1000001}}", "limits.streams.total: want a number from 1"},
		"no session":               {"{sessions_per_agent: -1}", "limits.sessions_per_agent: want a number from 1"},
		"an Envoy is no name":      {"{envoy_addresses: [envoy]}", "limits.envoy_addresses[0]: want an IP address"},
		"a network has no host":    {"{envoy_addresses: [10.1.0.1/16]}", "limits.envoy_addresses[0]: want an IP address"},
		"a network without a zone": {"{envoy_addresses: ['fe80::1%eth0']}", "limits.envoy_addresses[0]: want an IP address"},
		"calls are a rate":         {"{calls_per_grant: 100}", "limits.calls_per_grant: want a rate"},
		"an unknown limit":         {"{per_user: 1/s}", `unknown key "per_user"`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, fault := load(test.limits); !strings.Contains(fault, test.want) || strings.Count(fault, "\n") > 0 {
				t.Errorf("got %q, want %q", fault, test.want)
			}
		})
	}
}

func TestWhoCannotTellClientsApartIsTold(t *testing.T) {
	p := sources(configtest.NewMachine(t))
	for config, want := range map[string]bool{
		"listen: {http: '0.0.0.0:9000'}":                                           true,
		"listen: {http: '0.0.0.0:9000'}\nlimits: {envoy_addresses: [10.1.0.0/16]}": false,
		"listen: {http: '127.0.0.1:9000'}":                                         false,
		"listen: {http: 'unix:/run/athd/http.sock'}":                               false,
		"listen: {http: '0.0.0.0:9000', tls: {cert_file: cert.pem, key_file: key.pem, " +
			"client_ca_file: ca.pem, client_sans: [envoy]}}": false,
	} {
		s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(nil)+config+"\n"), p)
		if faults != nil {
			t.Fatal(faults)
		}
		if got := strings.Contains(strings.Join(s.Warnings, "\n"), "limits.envoy_addresses"); got != want {
			t.Errorf("%s\nwarnings: %q", config, s.Warnings)
		}
	}
}
