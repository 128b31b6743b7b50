package ath_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

func TestParseAgentID(t *testing.T) {
	for _, c := range []struct {
		name, id     string
		origin, host string // "": refused
	}{
		{"R-3: https with a host", "https://agent.example", "https://agent.example", "agent.example"},
		{"R-3: kept byte for byte", "https://agent.example:8443/A/../b?x=%7e&y", "https://agent.example:8443", "agent.example:8443"},
		{"R-3: an A-label", "https://xn--mnchen-3ya.example/a", "https://xn--mnchen-3ya.example", "xn--mnchen-3ya.example"},
		{"R-3: the port of another scheme", "https://agent.example:80/", "https://agent.example:80", "agent.example:80"},
		{"R-3: an address", "https://[2001:db8::1]:444/a", "https://[2001:db8::1]:444", "[2001:db8::1]:444"},
		{"R-3: exactly 2048 bytes", longID(2048), "https://a.example", "a.example"},

		{"R-3: 2049 bytes", longID(2049), "", ""},
		{"R-3: empty", "", "", ""},
		{"R-3: http without the development option", "http://agent.example/", "", ""},
		{"R-3: relative", "agent.example/a", "", ""},
		{"R-3: no scheme", "//agent.example/a", "", ""},
		{"R-3: another scheme", "ftp://agent.example/", "", ""},
		{"R-3: a scheme that only begins so", "httpsx://agent.example/", "", ""},
		{"R-3: no host", "https:///a", "", ""},
		{"R-3: a port without host", "https://:443/a", "", ""},
		{"R-3: opaque", "https:agent.example", "", ""},
		{"R-3: user", "https://user@agent.example/", "", ""},
		{"R-3: user and password", "https://user:pw@agent.example/", "", ""},
		{"R-3: empty user", "https://@agent.example/", "", ""},
		{"R-3: fragment", "https://agent.example/#key", "", ""},
		{"R-3: empty fragment", "https://agent.example/#", "", ""},
		{"R-3: scheme in capitals", "HTTPS://agent.example/", "", ""},
		{"R-3: space", "https://agent.example/a b", "", ""},
		{"R-3: leading space", " https://agent.example/", "", ""},
		{"R-3: newline", "https://agent.example/\n", "", ""},
		{"R-3: NUL", "https://agent.example/\x00", "", ""},
		{"R-3: not ASCII", "https://agent.example/ä", "", ""},
		{"R-3: backslash", `https://agent.example\@evil.example/`, "", ""},
		{"R-3: markup", `https://agent.example/<b>`, "", ""},
		{"R-3: bad port", "https://agent.example:port/", "", ""},
		{"R-3: an escaped host", "https://p%D0%B0ypal.example/", "", ""},
		{"R-3: an address with a zone", "https://[fe80::1%25eth0]/", "", ""},
		{"R-3: an empty port", "https://agent.example:/", "", ""},
		{"R-3: capitals in the host", "https://agents.paypaI.com/a", "", ""}, // S-4, with a capital i
		{"R-3: the default port", "https://agent.example:443/", "", ""},
		{"R-3: leading zeros in the port", "https://agent.example:0443/", "", ""},
		{"R-3: leading zeros in another port", "https://agent.example:08443/", "", ""},
		{"R-3: port 0", "https://agent.example:0/", "", ""},
		{"R-3: port 65536", "https://agent.example:65536/", "", ""},
		{"R-3: a trailing dot", "https://agent.example./", "", ""},
		{"R-3: a trailing dot before a port", "https://agent.example.:8443/", "", ""},
		{"R-3: two trailing dots", "https://agent.example../", "", ""},
		{"R-3: an empty label", "https://agent..example/", "", ""},
		{"R-3: a short address", "https://127.1/", "", ""},
		{"R-3: an address as one number", "https://2130706433/", "", ""},
		{"R-3: a hexadecimal address", "https://0x7f.1/", "", ""},
		{"R-3: an octal address", "https://0177.0.0.1/", "", ""},
		{"R-3: an address with leading zeros", "https://127.0.0.01/", "", ""},
		{"R-3: an address with a trailing dot", "https://127.0.0.1./", "", ""},
		{"R-3: a long IPv6 address", "https://[2001:db8:0:0:0:0:0:1]/", "", ""},
		{"R-3: leading zeros in an IPv6 address", "https://[::0001]/", "", ""},
		{"R-3: capitals in an IPv6 address", "https://[2001:DB8::1]/", "", ""},
		{"R-3: an IPv4-mapped address", "https://[::ffff:127.0.0.1]/", "", ""},
		{"R-3: an A-label that is none", "https://xn--a.example/", "", ""},
		{"R-3: an A-label of ASCII", "https://xn--paypal-.example/", "", ""},
		{"R-3: an A-label in capitals", "https://XN--mnchen-3ya.example/", "", ""},
		{"R-3: a full-width letter by A-label", "https://xn--paypa-1o4b.example/", "", ""},
		{"R-3: a label with a hyphen in front", "https://-agent.example/", "", ""},
		{"R-3: a sub-delimiter in the host", "https://agent!.example/", "", ""},
		{"R-3: bad escape", "https://agent.example/%zz", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ath.ParseAgentID(c.id, false)
			if c.origin == "" {
				if err == nil || !got.IsZero() {
					t.Fatalf("%q was taken", c.id)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != c.id || got.Origin() != c.origin || got.Host().String() != c.host || got.IsZero() {
				t.Fatalf("id %q, origin %q, host %q", got, got.Origin(), got.Host())
			}
		})
	}
	t.Run("R-3: http with the development option", func(t *testing.T) {
		got, err := ath.ParseAgentID("http://localhost:9000/agent.json", true)
		if err != nil || got.Origin() != "http://localhost:9000" {
			t.Fatal(got, err)
		}
		if _, err := ath.ParseAgentID("ftp://localhost/", true); err == nil {
			t.Fatal("the option allows more than http")
		}
	})
	t.Run("the zero id is nobody", func(t *testing.T) {
		var nobody ath.AgentID
		if !nobody.IsZero() || nobody.String() != "" || !nobody.Host().IsZero() || nobody.Origin() != "" {
			t.Fatal(nobody)
		}
	})
}

func longID(n int) string {
	const head = "https://a.example/"
	return head + strings.Repeat("x", n-len(head))
}

func TestLoopbackHostsAreRecognized(t *testing.T) {
	for host, want := range map[string][2]bool{ // as a host, as an IP
		"localhost": {true, false}, "a.localhost": {true, false}, "127.0.0.1": {true, true}, "127.9.9.9": {true, true},
		"::1": {true, true}, "[::1]": {true, true}, "::ffff:127.0.0.1": {true, true},
		"": {}, "localhost.evil.example": {}, "notlocalhost": {}, "0.0.0.0": {}, "::": {}, "10.0.0.1": {}, "127.0.0.1.evil.example": {}, "128.0.0.1": {},
	} {
		if got := [2]bool{ath.IsLoopbackHost(host), ath.IsLoopbackIP(host)}; got != want {
			t.Errorf("%q is %v, want %v", host, got, want)
		}
	}
	for addr, want := range map[string]bool{
		"127.0.0.1:9000": true, "localhost:1": true, "[::1]:9000": true,
		":9000": false, "0.0.0.0:9000": false, "[::]:9000": false, "127.0.0.1": false, "": false, "192.0.2.1:1": false,
	} {
		if got := ath.IsLoopbackAddr(addr); got != want {
			t.Errorf("%q: %v, want %v", addr, got, want)
		}
	}
}

// FuzzParseAgentID holds that an id which is taken means the same to us and to
// whoever parses it again.
func FuzzParseAgentID(f *testing.F) {
	for _, seed := range []string{"https://a.example/x?y", "http://h:1", "https://a@b", "https://a:/", "https:///", "https://%41/", "https://a\\b", "https://a#"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, s string, allowHTTP bool) {
		id, err := ath.ParseAgentID(s, allowHTTP)
		if err != nil {
			if !id.IsZero() {
				t.Fatal("refused, and yet somebody")
			}
			return
		}
		u, err := url.Parse(id.String())
		if err != nil || id.String() != s || len(s) > ath.MaxAgentIDBytes || u.User != nil || u.Fragment != "" || u.Hostname() == "" {
			t.Fatalf("%q was taken: %+v, %v", s, u, err)
		}
		if u.Scheme != "https" && !(allowHTTP && u.Scheme == "http") {
			t.Fatalf("scheme %q was taken", u.Scheme)
		}
		if !strings.HasPrefix(s, id.Origin()) || !strings.HasSuffix(id.Origin(), "://"+id.Host().String()) || ath.AgentHost(s) != id.Host() {
			t.Fatalf("%q has origin %q and host %q", s, id.Origin(), id.Host())
		}
		if id.Tag() != ath.AgentTag(s) || len(id.Tag()) != 16 {
			t.Fatalf("tag %q", id.Tag())
		}
	})
}
