package ath_test

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/net/idna"

	"github.com/athd/athd/ath"
)

// F-25, S-4
func TestHostHasOneForm(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	for in, want := range map[string]string{ // "": refused
		"app.example": "app.example", "App.Example.": "app.example", "APP.EXAMPLE:8080": "app.example:8080",
		"app.example:0443": "app.example:443", "app.example.:00080": "app.example:80", "localhost": "localhost",
		"my_app.example": "my_app.example", "a-b.c--d.example": "a-b.c--d.example", "1.2.3.example": "1.2.3.example",
		"127.0.0.1": "127.0.0.1", "127.0.0.1.": "127.0.0.1", "127.0.0.1:80": "127.0.0.1:80",
		"[::1]": "[::1]", "[::0001]:8080": "[::1]:8080", "[2001:DB8:0:0::1]": "[2001:db8::1]", "[::1.2.3.4]": "[::102:304]",
		"xn--mnchen-3ya.example": "xn--mnchen-3ya.example", "XN--MNCHEN-3YA.EXAMPLE": "xn--mnchen-3ya.example",
		"xn--80ak6aa92e.com": "xn--80ak6aa92e.com", "xn--4gbwdl.xn--wgbh1c": "xn--4gbwdl.xn--wgbh1c", "xn--fiqs8s": "xn--fiqs8s",
		label63 + ".example": label63 + ".example",

		"": "", ".": "", "..": "", "a..b": "", ".a": "", "a..": "", ":80": "", "a:": "", "a:x": "", "a:0": "", "a:65536": "", "a:-1": "", "a:1:2": "", "a:99999999999999999999": "",
		"::1": "", "[::1": "", "[::1]x": "", "[::1]:": "", "[]": "", "[1.2.3.4]": "", "[fe80::1%eth0]": "", "[::ffff:1.2.3.4]": "", "[::ffff:102:304]": "", "[x]": "",
		"127.1": "", "127.0.0.01": "", "0x7f.1": "", "0x7f.0.0.1": "", "0177.0.0.1": "", "2130706433": "", "0x7f000001": "", "1.2.3.4.5": "", "256.1.1.1": "", "a.0x": "", "a.1": "",
		"münchen.example": "", "a b": "", "a/b": "", "a@b": "", "a%2eb": "", "a,b": "", "*.example": "", "a\x00b": "", "a?b": "", "a#b": "", `a\b`: "",
		"-a.example": "", "a-.example": "", strings.Repeat("a", 64) + ".example": "", strings.Repeat("a.", 127) + "a": "",
		"xn--": "", "xn--a": "", "xn--paypal-": "", "xn--99999999": "", "xn--mnchen-3y": "", "xn--ls8h": "", // nothing, a control, ASCII, overflow, cut off, a picture
	} {
		h, err := ath.ParseHost(in)
		if (err == nil) != (want != "") || h.String() != want || h.IsZero() != (want == "") {
			t.Errorf("%q is %q (%v), want %q", in, h, err, want)
			continue
		}
		if err != nil {
			if in != "" && len(in) > 3 && strings.Contains(err.Error(), in) {
				t.Errorf("the error for %q repeats it: %v", in, err)
			}
			continue
		}
		if canonical, err := ath.ParseCanonicalHost(in); (err == nil) != (in == want) || !canonical.IsZero() != (in == want) {
			t.Errorf("canonical %q: %q, %v", in, canonical, err)
		}
		if again, err := ath.ParseHost(want); err != nil || again != h {
			t.Errorf("%q and %q are two hosts", in, want)
		}
	}
}

func TestHostTellsWhatIsNotCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"App.example": "lower case", "app.example.": "dot", "app.example.:8443": "dot", "app.example:08443": "leading zeros",
		"[::0001]": "[::1]", "[::1]:080": "leading zeros", "127.1": "four decimal parts", "m\u00fcnchen.example": "xn--",
	} {
		if _, err := ath.ParseCanonicalHost(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something about %q", in, err, want)
		}
	}
}

// proves
func TestHostPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, host string
		want          bool
	}{
		{"agents.example.com", "agents.example.com", true},
		{"agents.example.com", "agents.example.com:8443", true},
		{"Agents.Example.com.", "agents.example.com", true},
		{"agents.example.com", "x.agents.example.com", false},
		{"agents.example.com", "agents.example.co", false},
		{"*.example.com", "agents.example.com", true},
		{"*.example.com", "a.b.example.com:1", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", "badexample.com", false},
		{"*.example.com", "example.com.evil.example", false},
		{"*.com", "example.com", true},
		{"*.0.0.1.example", "127.0.0.1.example", true},
		{"127.0.0.1", "127.0.0.1:9000", true},
		{"[::1]", "[::1]:9000", true},
	} {
		p, err := ath.ParseHostPattern(tt.pattern)
		h, err2 := ath.ParseHost(tt.host)
		if err != nil || err2 != nil || p.Match(h) != tt.want {
			t.Errorf("%q and %q: %v, %v, %v", tt.pattern, tt.host, p.Match(h), err, err2)
		}
		found := false
		for _, x := range ath.PatternsOf(h) {
			found = found || x == p
			if !x.Match(h) {
				t.Errorf("%q is said to match %q", x, h)
			}
		}
		if found != tt.want {
			t.Errorf("%q among the patterns of %q: %v", p, h, found)
		}
	}
	for _, s := range []string{"", "*", "*.", "**.example.com", "*.*.example.com", "a.*.example", "agents.example.com:443", "*.127.0.0.1", "*.[::1]", "https://a.example", "a.example/", "m\u00fcnchen.example", "127.1"} {
		if p, err := ath.ParseHostPattern(s); err == nil || !p.IsZero() {
			t.Errorf("%q was taken as %q", s, p)
		}
	}
	var none ath.HostPattern
	h, _ := ath.ParseHost("a.example")
	if none.Match(h) || none.Match(ath.Host{}) || none.String() != "" || ath.PatternsOf(ath.Host{}) != nil {
		t.Error("the zero pattern matches")
	}
}

// FuzzParseHost holds that a host which is taken has one form, and that it
// means the same to others: to Go's address parser, and to IDNA as browsers use
// it.
func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"a.example", "A.Example.:080", "[::1]:80", "127.0.0.1", "xn--mnchen-3ya.example", "xn--80ak6aa92e", "xn--0ca", "xn--zca", "xn--a-ecp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ath.ParseHost(s)
		if err != nil {
			if !h.IsZero() {
				t.Fatal("refused, and yet a host")
			}
			return
		}
		again, err := ath.ParseCanonicalHost(h.String())
		if err != nil || again != h {
			t.Fatalf("%q is %q, which is %q (%v)", s, h, again, err)
		}
		if ip := net.ParseIP(h.Name()); (ip != nil) != h.IsAddr() || ip != nil && ip.String() != h.Name() {
			t.Fatalf("%q is the address %v", h, ip)
		}
		if h.IsAddr() {
			return
		}
		// What IDNA calls valid must come back as the same A-labels.
		if u, err := idna.Lookup.ToUnicode(h.Name()); err == nil {
			if a, err := idna.Lookup.ToASCII(u); err == nil && a != h.Name() {
				t.Fatalf("%q shows as %q, which is %q", h, u, a)
			}
		}
	})
}
