package runtime

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy/bootstrap"
)

// proves: A-7
func TestNoAddressIsConnectedToThatMayNotBe(t *testing.T) {
	r := newRig(t)
	sink := r.serve(closedIP+":0", nil)
	names := map[string][]string{
		"closed": {closedIP}, "loopback": {"127.0.0.1"}, "metadata": {"169.254.169.254"}, "private": {"10.1.2.3"}, "cgnat": {"100.64.1.1"},
		"mapped": {"::ffff:" + closedIP}, "nat64": {"64:ff9b::7f00:3"}, "ula": {"fd00::1"}, "loopback6": {"::1"}, "linklocal": {"fe80::1"}, "unspecified": {"0.0.0.0"},
		"unspecified6": {"::"}, "compatible": {"::127.0.0.3"}, "sixtofour": {"2002:7f00:3::1"}, "multicast": {"224.0.0.1"}, "broadcast": {"255.255.255.255"},
	}
	for id, addresses := range names {
		r.dns.Set(id+".test", addresses...)
		r.add(id, "https://"+id+".test:"+sink.port)
		r.unreachable(id)
	}
	for id, host := range map[string]string{"a1": closedIP, "a2": "127.0.0.1", "a3": "169.254.169.254", "a4": "[::1]", "a5": "[fd00::1]", "a6": "[64:ff9b::7f00:3]"} {
		r.add(id, "https://"+host+":"+sink.port)
		r.unreachable(id)
	}
	if n := sink.connections.Load(); n != 0 {
		t.Errorf("%d connections to it", n)
	}
	r.untouched()
}

// An attacker's name has several addresses: where the connection to one fails, the
// next is tried (RFC 8305), which nobody was asked about.
// proves: A-7
func TestNoAddressIsTriedInPlaceOfTheOneThatWasJudged(t *testing.T) {
	r := newRig(t)
	sink := r.serve(closedIP+":0", nil) // nothing listens at this port of openIP
	for id, addresses := range map[string][]string{
		"first": {openIP, closedIP}, "second": {closedIP, openIP}, "many": {openIP, closedIP, openIP, closedIP}, "families": {"::1", openIP, closedIP, "::ffff:" + closedIP},
	} {
		r.dns.Set(id+".test", addresses...)
		r.add(id, "https://"+id+".test:"+sink.port)
		for range 3 {
			r.unreachable(id)
		}
	}
	if n := sink.connections.Load(); n != 0 {
		t.Errorf("%d connections to it", n)
	}
	t.Run("which it is where answers are not looked through", func(t *testing.T) {
		r.without("resolved_address_filter")
		r.get("first", "x")
		if sink.connections.Load() == 0 {
			t.Error("it is not: then what drops addresses from answers is of no use")
		}
		sink.connections.Store(0)
		// The filter of the cluster judges the first address by itself.
		r.dns.Set("alone.test", closedIP)
		r.add("alone", "https://alone.test:"+sink.port)
		r.unreachable("alone")
		if n := sink.connections.Load(); n != 0 {
			t.Errorf("%d connections to the one address that there is", n)
		}
	})
}

// proves: A-7
func TestANameThatChangesAfterTheCheck(t *testing.T) {
	r := newRig(t)
	api := r.tlsAPI(openIP, "api.tools.test")
	sink := r.serve(closedIP+":"+api.port, nil)
	r.dns.Set("api.tools.test", openIP)
	r.add("tools", "https://api.tools.test:"+api.port)
	if got := r.get("tools", "x"); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	r.dns.Set("api.tools.test", closedIP) // and TTLs are a second; Envoy takes five for it
	asked := r.dns.Asked("api.tools.test")
	for deadline := time.Now().Add(30 * time.Second); r.dns.Asked("api.tools.test") < asked+4 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got := r.get("tools", "x"); got.status != 200 && got.message != cannotBeReached {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	if r.dns.Asked("api.tools.test") == asked {
		t.Error("it was not looked up again")
	}
	if n := sink.connections.Load(); n != 0 {
		t.Errorf("%d connections to it", n)
	}
}

// The filter of the cluster refuses by itself, should answers not be looked through.
// proves: A-7
func TestTheAddressIsJudgedOnceMoreBeforeThereIsAConnection(t *testing.T) {
	r := newRig(t, func(_ *rig, c *bootstrap.Config) { c.Egress.AllowPrivate = true })
	for id, base := range map[string]string{
		"admin": "https://" + r.admin, "companion": "https://" + r.companion.addr, "adminname": "https://name.test:" + r.admin[strings.LastIndexByte(r.admin, ':')+1:],
		"another": "https://127.0.0.9:" + r.admin[strings.LastIndexByte(r.admin, ':')+1:],
	} {
		r.dns.Set("name.test", "127.0.0.1")
		r.add(id, base)
		r.unreachable(id)
		r.envoy.WaitAccessLog(`"host":"`+strings.TrimPrefix(base, "https://")+`"`, "rbac_access_denied")
	}
	r.untouched()
	if n := r.companion.connections.Load(); n > 3 { // health checks
		t.Logf("%d connections to the companion", n)
	}
}

// Without TLS nothing but the address says who answers: what listens for athd and
// Envoy beside what is allowed with a port is not connected to in place of an address
// that does not answer.
// proves: A-7
func TestWithoutTLSNoOwnListenerIsTriedInPlaceOfAnother(t *testing.T) {
	const silent = "10.255.255.254" // nothing answers there
	loopback := egress.Exception{Addresses: netip.MustParsePrefix("127.0.0.1/32"), Port: 3000}
	for name, change := range map[string]func(*egress.Policy){
		"http is allowed there": func(p *egress.Policy) {
			p.Allow = append(p.Allow, loopback, egress.Exception{Addresses: netip.MustParsePrefix(silent + "/32"), HTTP: true})
		},
		"http is allowed": func(p *egress.Policy) {
			p.AllowHTTP, p.Allow = true, append(p.Allow, loopback, egress.Exception{Addresses: netip.MustParsePrefix(silent + "/32")})
		},
		"development": func(p *egress.Policy) { p.AllowHTTP, p.AllowPrivate = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, c *bootstrap.Config) { change(&c.Egress) })
			r.dns.Set("api.tools.test", silent, "127.0.0.1")
			for id, own := range map[string]string{"admin": r.admin, "companion": r.companion.addr} {
				r.add(id, "http://api.tools.test:"+own[strings.LastIndexByte(own, ':')+1:])
				r.unreachable(id)
				r.envoy.WaitAccessLog(`"provider":"`+id+`"`, "rbac_access_denied")
			}
			r.untouched()
		})
	}
}

// proves: A-7
func TestAnExceptionIsForItsPort(t *testing.T) {
	var api, other *api
	r := newRig(t, func(r *rig, c *bootstrap.Config) {
		api, other = r.tlsAPI(openIP, "api.tools.test"), r.tlsAPI(openIP, "api.tools.test")
		c.Egress.Allow = []egress.Exception{{Addresses: netip.MustParsePrefix(openIP + "/32"), Port: uint16(number(r.t, api.port))}}
	})
	r.dns.Set("api.tools.test", openIP)
	r.add("tools", "https://api.tools.test:"+api.port)
	r.add("other", "https://api.tools.test:"+other.port)
	if got := r.get("tools", "x"); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	r.unreachable("other")
	if n := other.connections.Load(); n != 0 {
		t.Errorf("%d connections to it", n)
	}
}
