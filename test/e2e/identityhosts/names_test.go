package identityhosts

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/athd/athd/ath"
)

// unhurried is how long what meets no deadline may take, on a machine that has much
// else to do. What a deadline has decided says so.
const unhurried = busy

const (
	public4 = "93.184.215.14"
	public6 = "2606:4700::1111"
)

// A nameCase is what DNS says of a host, and what must come of it: as athd
// runs, and in development with private hosts allowed. "via" an address says
// that it is the only one that was connected to.
type nameCase struct {
	name              string
	say               func(query) answer
	want, development string
	atMost            time.Duration // zero: unhurried
}

// is says the same at every lookup.
func is(a answer) func(query) answer { return func(query) answer { return a } }

func at(list ...string) func(query) answer { return is(answer{addrs: addresses(list...)}) }

func nameCases() (cases []nameCase) {
	const refused, found4, found6 = "refused: " + notPublic, "accepted via " + public4, "accepted via " + public6
	add := func(name string, say func(query) answer, want, development string) {
		cases = append(cases, nameCase{name: name, say: say, want: want, development: development})
	}
	within := func(atMost time.Duration) { cases[len(cases)-1].atMost = atMost }

	for _, a := range []struct{ name, address, reached string }{
		{"public", public4, "always"}, {"public IPv6", public6, "always"},
		{"loopback", "127.0.0.1", ""}, {"loopback, not .1", "127.255.0.9", ""}, {"loopback IPv6", "::1", ""},
		{"private 10/8", "10.1.2.3", ""}, {"private 172.16/12", "172.16.0.1", ""}, {"private 172.16/12, its end", "172.31.255.254", ""},
		{"private 192.168/16", "192.168.1.1", ""}, {"unique local", "fd12:3456::1", ""}, {"unique local fc00::/8", "fc00::1", ""},
		{"IPv4-mapped loopback", "::ffff:127.0.0.1", "127.0.0.1"}, {"IPv4-mapped private", "::ffff:10.0.0.1", "10.0.0.1"},
		{"metadata", "169.254.169.254", "never"}, {"metadata of containers", "169.254.170.2", "never"}, {"metadata IPv6", "fd00:ec2::254", "never"},
		{"metadata IPv6, another cloud", "fd20:ce::254", "never"}, {"metadata in CGNAT", "100.100.100.200", "never"}, {"metadata in 192.0.0.0/24", "192.0.0.192", "never"},
		{"wire server", "168.63.129.16", "never"}, {"IPv4-mapped metadata", "::ffff:169.254.169.254", "never"},
		{"link-local", "169.254.1.1", "never"}, {"link-local IPv6", "fe80::1", "never"}, {"site-local IPv6", "fec0::1", "never"},
		{"CGNAT", "100.64.0.1", "never"}, {"CGNAT, its end", "100.127.255.254", "never"},
		{"multicast", "224.0.0.1", "never"}, {"multicast IPv6", "ff02::1", "never"}, {"broadcast", "255.255.255.255", "never"}, {"reserved", "240.0.0.1", "never"},
		{"unspecified", "0.0.0.0", "never"}, {"this network", "0.1.2.3", "never"}, {"unspecified IPv6", "::", "never"}, {"IPv4-mapped unspecified", "::ffff:0.0.0.0", "never"},
		{"IPv4-compatible loopback", "::127.0.0.1", "never"}, {"IPv4-translated loopback", "::ffff:0:127.0.0.1", "never"},
		{"NAT64 loopback", "64:ff9b::7f00:1", "never"}, {"NAT64 metadata", "64:ff9b::a9fe:a9fe", "never"}, {"local NAT64", "64:ff9b:1::7f00:1", "never"},
		{"6to4 loopback", "2002:7f00:1::1", "never"}, {"Teredo", "2001:0:7f00:1::f5ff:fffe", "never"}, {"ORCHID", "2001:20::1", "never"},
		{"benchmarks", "198.18.0.1", "never"}, {"documentation", "203.0.113.1", "never"}, {"documentation IPv6", "2001:db8::1", "never"},
		{"discard-only IPv6", "100::1", "never"}, {"segment routing", "5f00::1", "never"},
	} {
		want, development := refused, refused
		switch a.reached {
		case "always":
			want, development = "accepted via "+a.address, "accepted via "+a.address
		case "never":
		case "":
			development = "accepted via " + a.address
		default:
			development = "accepted via " + a.reached
		}
		add(a.name+" "+a.address, at(a.address), want, development)
	}

	add("a public and a private address", at("10.0.0.1", public4, "169.254.169.254"), found4, "accepted")
	add("public IPv4 and loopback IPv6", at(public4, "::1", "fd00:ec2::254"), found4, "accepted")
	add("loopback IPv4 and public IPv6", at("127.0.0.1", public6), found6, "accepted")
	add("metadata and loopback", at("169.254.169.254", "127.0.0.1", "fd00:ec2::254"), refused, "accepted via 127.0.0.1")
	add("every kind that is forbidden", at("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "fd00:ec2::254", "64:ff9b::7f00:1", "::ffff:127.0.0.1"), refused, "accepted")

	add("CNAME to localhost", is(answer{cnames: []string{"localhost"}, addrs: addresses("127.0.0.1", "::1")}), refused, "accepted")
	add("CNAME to localhost, without its address", is(answer{cnames: []string{"localhost"}}), "refused: no such host", "refused: no such host")
	add("CNAME to a metadata name", is(answer{cnames: []string{"metadata.google.internal"}, addrs: addresses("169.254.169.254")}), refused, refused)
	add("CNAME chain to a private address", is(answer{cnames: chain(20), addrs: addresses("192.168.0.10")}), refused, "accepted via 192.168.0.10")
	add("CNAME chain to a public address", is(answer{cnames: chain(20), addrs: addresses(public4)}), found4, found4)
	add("CNAME loop", is(answer{cnames: []string{"a." + domain, "b." + domain, "a." + domain}}), "refused: no such host", "refused: no such host")

	add("500 forbidden addresses, over TCP", overTCP(answer{addrs: many(500)}), refused, refused)
	add("500 forbidden addresses and a public one, over TCP", overTCP(answer{addrs: append(many(500), addresses(public4)...)}), found4, found4)
	add("more answers than a message may hold", overTCP(answer{spoil: func(b []byte) []byte { return append(b, make([]byte, 60_000)...) }}), "refused: no such host", "refused: no such host")
	add("truncated, and no TCP", func(q query) answer { return answer{truncated: true, addrs: addresses("127.0.0.1"), silent: q.tcp} }, "away: lookup", "away: lookup")
	within(connecting)
	add("garbage", is(answer{spoil: func(b []byte) []byte { return []byte(strings.Repeat("\xff", 600)) }}), "away: lookup", "away: lookup")
	within(connecting)
	add("cut off in its records", is(answer{addrs: addresses("127.0.0.1", "::1"), spoil: func(b []byte) []byte { return b[:len(b)-7] }}), "away: lookup", "away: lookup")
	within(connecting)
	add("a compressed name that points to itself", is(answer{addrs: addresses("127.0.0.1", "::1"), spoil: selfPointer}), "away: lookup", "away: lookup")
	within(connecting)
	add("another query's id", is(answer{addrs: addresses("127.0.0.1", "::1"), spoil: func(b []byte) []byte { b[0] ^= 1; return b }}), "away: lookup", "away: lookup")
	within(connecting)
	add("NXDOMAIN", is(answer{code: dnsmessage.RCodeNameError}), "refused: no such host", "refused: no such host")
	add("NXDOMAIN, with an address", is(answer{code: dnsmessage.RCodeNameError, addrs: addresses("127.0.0.1", "::1")}), "refused: no such host", "refused: no such host")
	add("no addresses", is(answer{}), "refused: no such host", "refused: no such host")
	add("SERVFAIL", is(answer{code: dnsmessage.RCodeServerFailure}), "away: server misbehaving", "away: server misbehaving")
	add("REFUSED", is(answer{code: dnsmessage.RCodeRefused}), "away: server misbehaving", "away: server misbehaving")
	add("no answer", is(answer{silent: true}), "away: i/o timeout", "away: i/o timeout")
	within(connecting)
	add("an answer after 4 s", is(answer{addrs: addresses(public4), after: 4 * time.Second}), "away: i/o timeout", "away: i/o timeout")
	within(connecting)
	add("an answer after 300 ms", is(answer{addrs: addresses(public4), after: 300 * time.Millisecond}), found4, found4)
	return cases
}

// chain returns so many names, one after the other.
func chain(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("link-%d.%s", i, domain))
	}
	return names
}

// many returns addresses that are never connected to.
func many(n int) (list []netip.Addr) {
	for i := range n {
		list = append(list, netip.AddrFrom4([4]byte{169, 254, byte(i >> 8), byte(i)}))
	}
	return list
}

// overTCP has the resolver ask again over TCP, where there is more room.
func overTCP(a answer) func(query) answer {
	return func(q query) answer {
		if !q.tcp {
			return answer{truncated: true}
		}
		return a
	}
}

// selfPointer has the name of the first record point to itself.
func selfPointer(b []byte) []byte {
	at := 12 // past the header and the question
	for b[at] != 0 {
		at += int(b[at]) + 1
	}
	at += 5
	b[at], b[at+1] = 0xc0|byte(at>>8), byte(at)
	return b
}

// names has identities verified whose hosts DNS lies about.
func (w *world) names(t *testing.T, table *table) {
	for _, c := range nameCases() {
		for _, development := range []bool{false, true} {
			name, want := c.name, c.want
			if development {
				name, want = c.name+" (private hosts allowed)", c.development
			}
			row := table.row(name, want)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if c.atMost == 0 {
					w.turn(t)
				}
				if strings.HasPrefix(want, "accepted") && want != "accepted via 127.0.0.1" {
					w.needsNamespace(t)
				}
				h := w.newHost(t, w.name())
				h.serveTLS(w.settings)
				w.dns.add(h.name, c.say)
				w.judgeName(t, h, row, c, development)
			})
		}
	}
	t.Run("rebinding", func(t *testing.T) { t.Parallel(); w.turn(t); w.rebinding(t, table) })
}

func (w *world) judgeName(t *testing.T, h *host, row *row, c nameCase, development bool) {
	s := newShared()
	start := time.Now()
	identity, err := h.verify(w.verifier(t, s, development), s, h.key)
	row.took = time.Since(start)
	row.got = outcome(t, identity, err)
	arrived := h.connections()
	row.connections = len(arrived)
	if err == nil && len(arrived) == 1 && row.want != "accepted" {
		row.got += " via " + arrived[0].String()
	}
	if !asWanted(row.got, row.want) {
		t.Errorf("got %s, want %s; connections to %v", row.got, row.want, arrived)
	}
	if err != nil && len(arrived) != 0 {
		t.Errorf("connections arrived at %v", arrived)
	}
	for _, a := range arrived {
		if reason := forbidden(a, development); reason != "" {
			t.Errorf("a connection arrived at %v: %s", a, reason)
		}
	}
	if err != nil && s.spent() {
		t.Error("A-5: a jti was spent")
	}
	if limit := max(c.atMost, unhurried); row.took > limit {
		t.Errorf("took %v, more than %v", row.took, limit)
	}
}

// forbidden says why a connection should not have arrived at an address, by
// this test's own idea of what is public.
func forbidden(a netip.Addr, development bool) string {
	switch {
	case a == netip.MustParseAddr(public4) || a == netip.MustParseAddr(public6):
		return ""
	case !development:
		return "not public"
	case a.IsLoopback(), a.IsPrivate():
		return ""
	}
	return "neither public nor private"
}

// rebinding changes what a name means between lookups: the address that is
// connected to is the one that is judged, each time.
func (w *world) rebinding(t *testing.T, table *table) {
	w.needsNamespace(t)
	for _, c := range []struct {
		name        string
		second      []string
		development bool
		want        string
		arrived     []string
	}{
		{"rebinding to loopback", []string{"127.0.0.1", "::1"}, false, "refused: " + notPublic, []string{public4}},
		{"rebinding to metadata (private hosts allowed)", []string{"169.254.169.254", "fd00:ec2::254"}, true, "refused: " + notPublic, []string{public4}},
		{"rebinding to another public address", []string{public6}, false, "accepted", []string{public4, public6}},
	} {
		row := table.row(c.name, c.want)
		h := w.newHost(t, w.name())
		h.serveTLS(w.settings)
		w.dns.add(h.name, func(q query) answer {
			if q.lookup > 1 {
				return answer{addrs: addresses(c.second...)}
			}
			return answer{addrs: addresses(public4)}
		})
		s := newShared()
		v := w.verifier(t, s, c.development)
		if _, err := h.verify(v, s, h.key); err != nil {
			t.Fatalf("A-7: %s: the first time: %v", c.name, err)
		}
		if n := w.dns.lookups(h.name); n != 1 {
			t.Errorf("A-7: %s: %d lookups for one fetch: what was judged may not be what was connected to", c.name, n)
		}
		s.pass(5 * time.Minute) // the document is no longer fresh
		start := time.Now()
		identity, err := h.verify(v, s, h.key)
		row.took, row.got = time.Since(start), outcome(t, identity, err)
		arrived := h.connections()
		row.connections = len(arrived)
		if got, want := fmt.Sprint(arrived), fmt.Sprint(addresses(c.arrived...)); !asWanted(row.got, c.want) || got != want {
			t.Errorf("A-7: %s: got %s, want %s; connections to %v, want %v", c.name, row.got, c.want, got, want)
		}
	}
}

// literals are hosts that are written as numbers: none of them is a way
// around the judge.
func (w *world) literals(t *testing.T, table *table) {
	for _, c := range []struct {
		want  string
		hosts []string
	}{
		{"refused: " + notPublic, []string{"127.0.0.1", "[::1]", "[::]", "0.0.0.0",
			"10.1.2.3", "169.254.169.254", "[fd00:ec2::254]", "[64:ff9b::7f00:1]", "localhost"}},
	} {
		for _, host := range c.hosts {
			row := table.row("https://"+host, c.want)
			t.Run(host, func(t *testing.T) {
				t.Parallel()
				w.turn(t)
				h := w.newHost(t, host)
				h.serveTLS(w.settings)
				w.judgeName(t, h, row, nameCase{}, false)
			})
		}
	}
	// Those that are not in canonical form are nobody's id.
	for _, host := range []string{"2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "0177.0.0.1", "127.0.0.1.", "LOCALHOST", "localhost.",
		"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]"} {
		if id, err := ath.ParseAgentID("https://"+host+"/agent.json", false); err == nil {
			t.Errorf("R-3: %q is an agent's id", id)
		}
	}
}
