package traps

import (
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

func rawPath(c *authv3.CheckRequest) string {
	for _, h := range c.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		if h.Key == ":path" {
			return string(h.RawValue)
		}
	}
	return "(none)"
}

// targets are paths below a mount, plain and odd.
var targets = []string{
	"", "a", "a/b/", "a?x=1&y=%2F", "a//b", "a/./b", "a/../b", "a/%2e%2e/b", "a\\b", "a/..;x/b",
	"%70", "a;b=c", "a/;/b", "..%3b/x", "%252f", "%252e", "%25", "%23", "%3f", "%0d%0a", "%01", "%7f",
	"%c0%ae", "%ff", "%zz", "%", "%u002e", "...", "[]", "%e2%82%ac", "!", "a!b", "$&'()*+,=:@~-._",
	"\xff", "\xc0\xae", "\xe2\x82\xac", "a b", "a#b", "%2f", "%5c", "%00", "{}", "\"", "<>", "|", "^", "`",
}

// The path that is judged, its mount replaced by the API's base, is the path
// that goes up: over both protocols, whatever Envoy makes of it before.
// proves: P-7
func TestJudgedPathGoesUp(t *testing.T) {
	r := newRig(t)
	protocols := map[string]func(provider, target string){
		"HTTP/1.1": func(p, target string) { r.rawH1(r.h1(p, "GET", target)) },
		"HTTP/2":   func(p, target string) { r.rawH2(r.h2(p, "GET", target), "", nil) },
	}
	mounts := map[string]struct{ provider, mount, base string }{
		"below a mount with a base path": {"plain", "/ath/proxy/plain/", "/base/"},
		"an app below its mount":         {"app", "/ath/proxy/app/", "/"},
		"an app natively":                {"app", "/", "/"},
	}
	for protocol, send := range protocols {
		for name, m := range mounts {
			t.Run(name+" over "+protocol, func(t *testing.T) {
				passed := 0
				for _, target := range targets {
					if protocol == "HTTP/1.1" && strings.ContainsAny(target, " ") {
						continue // ends the target there
					}
					r.play(fixed(allow(m.provider), nil))
					send(m.provider, m.mount+target)
					judged, up := r.judged(), r.plain.take()
					if len(up) == 0 {
						continue // refused by Envoy, or another route's
					}
					passed++
					if len(judged) != 1 || len(up) != 1 {
						t.Errorf("%q: %d checks, %d requests at the API", target, len(judged), len(up))
						continue
					}
					rest, mounted := strings.CutPrefix(rawPath(judged[0]), m.mount)
					if want := m.base + rest; !mounted || up[0].target != want {
						t.Errorf("%q: judged %q, the API saw %q", target, rawPath(judged[0]), up[0].target)
					}
				}
				if passed < 20 {
					t.Errorf("only %d targets passed Envoy", passed)
				}
			})
		}
	}
}

// P-7: with athd's own decision, what is odd never goes up.
func TestP7OddPathsAreRefused(t *testing.T) {
	r := newRig(t)
	for _, target := range []string{
		"a;b=c", "a/;/b", "..%3b/x", "%252f", "%252e", "%25", "%23", "%3f", "%0d%0a", "%01", "%7f", "%c0%ae",
		"%ff", "%zz", "%", "%u002e", "...", "[]", "%e2%82%ac", "\xff", "\xc0\xae", "%2f", "%5c", "%00", "a#b",
	} {
		for _, mount := range []string{"/ath/proxy/app/", "/"} {
			r.play(askReal)
			response, body := r.rawH1(r.h1("app", "GET", mount+target))
			if response.StatusCode != 400 {
				t.Errorf("HTTP/1.1 %q: %s: %s", mount+target, response.Status, body)
			}
			if got := r.rawH2(r.h2("app", "GET", mount+target), "", nil); got != "400" && got != "reset" {
				t.Errorf("HTTP/2 %q: %s", mount+target, got)
			}
			if up := r.plain.take(); len(up) > 0 {
				t.Errorf("%q: the API saw %q", mount+target, up[0].target)
			}
		}
	}
	r.play(askReal)
	if response, body := r.rawH1(r.h1("app", "GET", "/ath/proxy/app/products/7?q=%2F")); response.StatusCode != 200 {
		t.Errorf("a canonical path: %s: %s", response.Status, body)
	}
}

// A byte that is not UTF-8 shows as '!' in the field path, and as itself in
// the raw header: only the latter is what goes up. (In the path proper Envoy
// refuses it over HTTP/1.1, and encodes it before anyone looks over HTTP/2.)
func TestRawPathHoldsWhatGoesUp(t *testing.T) {
	r := newRig(t)
	r.play(fixed(allow("plain"), nil))
	const target = "/ath/proxy/plain/a\xffb?c\xffd"
	if response, _ := r.rawH1(r.h1("plain", "GET", target)); response.StatusCode != 400 {
		t.Errorf("HTTP/1.1: %s", response.Status)
	}
	r.rawH2(r.h2("plain", "GET", target), "", nil)
	judged, up := r.judged(), r.plain.take()
	if len(judged) != 1 || len(up) != 1 {
		t.Fatalf("%d checks, %d requests at the API", len(judged), len(up))
	}
	if got := judged[0].Attributes.Request.Http.Path; got != "/ath/proxy/plain/a%FFb?c!d" {
		t.Errorf("the field says %q", got)
	}
	if got := rawPath(judged[0]); got != "/ath/proxy/plain/a%FFb?c\xffd" {
		t.Errorf("the raw header says %q", got)
	}
	if up[0].target != "/base/a%FFb?c\xffd" {
		t.Errorf("the API saw %q", up[0].target)
	}
}

// Where Envoy normalizes a provider's path into a path of the companion's,
// nothing is checked, nothing injected, and no API reached.
func TestPathsThatClimbOutOfTheMount(t *testing.T) { onEachRoute(t, pathsThatClimbOutOfTheMount) }

func pathsThatClimbOutOfTheMount(t *testing.T, newRig rigOf) {
	r := newRig(t)
	for _, target := range []string{"../../admin/x", "%2e%2e/%2e%2e/admin/x", "..\\..\\admin\\x", "..;x/..;x/admin/x"} {
		r.play(askReal)
		r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/"+target))
		if up := r.plain.take(); len(up) > 0 {
			t.Errorf("%q: the API saw %q", target, up[0].target)
		}
		for _, s := range r.companion.take() {
			if strings.Contains(s.header.Get("Authorization"), userToken) || !strings.HasPrefix(s.target, "/ath/admin/") {
				t.Errorf("%q: the companion saw %+v", target, s)
			}
		}
	}
}
